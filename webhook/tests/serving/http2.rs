//! HTTP/2: its own slow shapes, limits and goodbyes.

use std::time::Instant;

use axum::body::Bytes;
use cordonhold_webhook::Limits;
use h2::SendStream;
use h2::client::{Connection, ResponseFuture, SendRequest};
use http::{Method, Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::client::{HTTP2, until_closed};
use super::port::{LARGE, PATIENCE, SHORT, Served, start, timeless};

type Driver = tokio::task::JoinHandle<Result<(), h2::Error>>;

async fn connect(served: &Served) -> (SendRequest<Bytes>, Driver) {
    let (sender, connection): (_, Connection<TlsStream<TcpStream>, Bytes>) =
        h2::client::handshake(served.connect(HTTP2).await).await.unwrap();
    (sender, tokio::spawn(connection))
}

async fn send(
    sender: &SendRequest<Bytes>,
    method: Method,
    path: &str,
    ends: bool,
) -> (ResponseFuture, SendStream<Bytes>) {
    let request = Request::builder()
        .method(method)
        .uri(format!("https://localhost{path}"))
        .header("content-type", "application/json")
        .body(())
        .unwrap();
    let mut sender = sender.clone().ready().await.unwrap();
    sender.send_request(request, ends).unwrap()
}

async fn get(sender: &SendRequest<Bytes>, path: &str) -> Result<StatusCode, h2::Error> {
    let (response, _) = send(sender, Method::GET, path, true).await;
    let response = tokio::time::timeout(PATIENCE, response).await.unwrap()?;
    let (parts, mut body) = response.into_parts();
    while let Some(data) = body.data().await {
        drop(data?);
    }
    Ok(parts.status)
}

async fn ended(driver: Driver) -> Result<(), h2::Error> {
    tokio::time::timeout(PATIENCE, driver).await.unwrap().unwrap()
}

#[tokio::test]
async fn half_a_body_is_answered() {
    let served = start(Limits {
        body: SHORT,
        ..timeless()
    })
    .await;
    let (sender, _driver) = connect(&served).await;
    let begun = Instant::now();
    let (response, mut body) = send(&sender, Method::POST, "/validate", false).await;
    body.send_data(Bytes::from_static(b"{"), false).unwrap();
    assert_eq!(response.await.unwrap().status(), StatusCode::REQUEST_TIMEOUT);
    assert!(begun.elapsed() >= SHORT);
    assert_eq!(get(&sender, "/ok").await.unwrap(), 200, "the connection goes on");
}

#[tokio::test]
async fn an_answer_that_nobody_reads_ends_the_connection() {
    let served = start(Limits {
        request: SHORT,
        write: SHORT,
        ..timeless()
    })
    .await;
    let (sender, driver) = connect(&served).await;
    let begun = Instant::now();
    let (response, _) = send(&sender, Method::GET, "/large", true).await;
    // The body is held, so that its window stays used up; the connection itself is read.
    let _unread = response.await.unwrap();
    drop(ended(driver).await);
    assert!(begun.elapsed() >= 2 * SHORT);
    served.refused("write_timeout").await;
}

#[tokio::test]
async fn silence_between_requests_ends_with_goaway() {
    let served = start(Limits {
        idle: SHORT,
        ..timeless()
    })
    .await;
    let (sender, driver) = connect(&served).await;
    // The server's clock starts before the answer is here.
    let begun = Instant::now();
    assert_eq!(get(&sender, "/ok").await.unwrap(), 200);
    ended(driver).await.unwrap();
    assert!(begun.elapsed() >= SHORT);
    assert!(sender.ready().await.is_err());
}

#[tokio::test]
async fn an_old_connection_ends_with_goaway() {
    let served = start(Limits {
        idle: 10 * SHORT,
        age: 11 * SHORT,
        ..timeless()
    })
    .await;
    let begun = Instant::now();
    let (sender, driver) = connect(&served).await;
    assert_eq!(get(&sender, "/ok").await.unwrap(), 200);
    ended(driver).await.unwrap();
    assert!(begun.elapsed() >= SHORT);
}

#[tokio::test]
async fn pings_that_are_not_answered_end_it() {
    let served = start(Limits {
        http2_ping: SHORT,
        http2_pong: SHORT,
        ..timeless()
    })
    .await;
    let begun = Instant::now();
    let (sender, mut connection): (SendRequest<Bytes>, Connection<_, Bytes>) =
        h2::client::handshake(served.connect(HTTP2).await).await.unwrap();
    let (response, _) = {
        let mut sender = sender;
        sender
            .send_request(Request::get("https://localhost/ok").body(()).unwrap(), true)
            .unwrap()
    };
    // The connection is only driven until it has its answer, and no longer reads then.
    tokio::select! {
        answer = response => assert_eq!(answer.unwrap().status(), 200),
        end = &mut connection => panic!("{end:?}"),
    }
    served.has_open(0).await;
    assert!(begun.elapsed() >= 2 * SHORT);
}

#[tokio::test]
async fn streams_at_once_are_bounded_and_those_beyond_the_limit_for_all_are_shed() {
    let served = start(Limits {
        requests: 1,
        http2_streams: 7,
        ..timeless()
    })
    .await;
    let (sender, _driver) = connect(&served).await;
    let (waiting, _) = send(&sender, Method::POST, "/wait", true).await;
    assert_eq!(get(&sender, "/ok").await.unwrap(), 503);
    assert_eq!(sender.current_max_send_streams(), 7);
    served.gate.add_permits(1);
    assert_eq!(waiting.await.unwrap().status(), 200);
    served.rejected("too_many").await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let served = start(timeless()).await;
    let (sender, _driver) = connect(&served).await;
    let request = Request::get("https://localhost/ok").header("x-field", "x".repeat(17 * 1_024));
    let mut ready = sender.clone().ready().await.unwrap();
    let (response, _) = ready.send_request(request.body(()).unwrap(), true).unwrap();
    assert_eq!(response.await.unwrap().status(), 431);
    assert_eq!(get(&sender, "/ok").await.unwrap(), 200);
}

/// A frame (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The error code of the GOAWAY among these frames.
fn goaway(mut frames: &[u8]) -> Option<u32> {
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = frames {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let (payload, behind) = rest.split_at_checked(length)?;
        if let (7, [_, _, _, _, code @ ..]) = (*kind, payload) {
            return Some(u32::from_be_bytes(code.get(..4)?.try_into().unwrap()));
        }
        frames = behind;
    }
    None
}

/// CVE-2023-44487: `HEADERS` and `RST_STREAM` in turn, in one go.
#[tokio::test]
async fn a_flood_of_resets_ends_the_connection() {
    const ENHANCE_YOUR_CALM: u32 = 11;
    let served = start(timeless()).await;
    let mut flood = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    flood.extend(frame(4, 0, 0, &[]));
    for stream in (1..400).step_by(2) {
        // GET https / from HPACK's static table, ended.
        flood.extend(frame(1, 5, stream, &[0x82, 0x87, 0x84]));
        flood.extend(frame(3, 0, stream, &[0, 0, 0, 8]));
    }
    let mut stream = served.connect(HTTP2).await;
    stream.write_all(&flood).await.unwrap();
    // It may hang up before it has read everything.
    drop(stream.flush().await);
    let frames = until_closed(&mut stream).await;
    assert_eq!(goaway(&frames), Some(ENHANCE_YOUR_CALM), "{frames:?}");
    served.has_open(0).await;
}

#[tokio::test]
async fn a_lame_duck_says_goaway_and_answers_what_it_has() {
    let served = start(timeless()).await;
    let (sender, driver) = connect(&served).await;
    assert_eq!(get(&sender, "/ok").await.unwrap(), 200);
    let (waiting, _) = send(&sender, Method::POST, "/wait", true).await;
    // It is under way once another answer has come.
    assert_eq!(get(&sender, "/ok").await.unwrap(), 200);
    served.closing.begin();
    served.gate.add_permits(1);
    assert_eq!(waiting.await.unwrap().status(), 200);
    ended(driver).await.unwrap();

    // Whoever comes now is still served, once.
    let (sender, driver) = connect(&served).await;
    let (response, _) = send(&sender, Method::GET, "/ok", true).await;
    assert_eq!(response.await.unwrap().status(), 200);
    ended(driver).await.unwrap();
}

#[tokio::test]
async fn a_client_without_alpn_gets_http1() {
    let served = start(timeless()).await;
    let mut config = super::client::trusting(&served.issued.ca_pem, HTTP2);
    config.alpn_protocols.clear();
    let mut stream = super::client::tls(served.address, config).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), None);
    let answer = super::client::ask(&mut stream, &super::client::get("/large")).await;
    assert_eq!((answer.status, answer.body.len()), (200, LARGE));
    served.closing.stop();
    assert_eq!(stream.read(&mut [0]).await.unwrap_or_default(), 0);
}
