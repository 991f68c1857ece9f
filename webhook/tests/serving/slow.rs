//! The five kinds of slow clients: silent before or after the handshake, half a head, half a body, an answer that is not read.

use std::time::{Duration, Instant};

use cordonhold_webhook::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::{HALF_A_HEAD, ask, closes_after_short, get, post, read_answer, until_closed};
use super::port::{PATIENCE, SHORT, start, start_plain, timeless};

#[tokio::test]
async fn silence_before_or_in_the_handshake_ends() {
    // A TLS record of a handshake, of 256 bytes that never come.
    let half_a_hello: &[u8] = &[22, 3, 1, 1, 0, 1];
    for sent in [&b""[..], half_a_hello] {
        let served = start(Limits {
            handshake: SHORT,
            ..timeless()
        })
        .await;
        let begun = Instant::now();
        let mut stream = served.connect_plain().await;
        stream.write_all(sent).await.unwrap();
        closes_after_short(stream, begun).await;
        served.refused("handshake_timeout").await;
    }
}

#[tokio::test]
async fn silence_after_the_handshake_ends() {
    let served = start(Limits {
        first_request: SHORT,
        ..timeless()
    })
    .await;
    let begun = Instant::now();
    closes_after_short(served.connect().await, begun).await;
    served.refused("first_request_timeout").await;
    let served = start_plain(Limits {
        first_request: SHORT,
        ..timeless()
    })
    .await;
    let begun = Instant::now();
    closes_after_short(served.connect_plain().await, begun).await;
}

#[tokio::test]
async fn half_of_the_first_head_ends() {
    let served = start(Limits {
        first_request: SHORT,
        ..timeless()
    })
    .await;
    let begun = Instant::now();
    let mut stream = served.connect().await;
    stream.write_all(HALF_A_HEAD).await.unwrap();
    drop(until_closed(&mut stream).await);
    assert!(begun.elapsed() >= SHORT);
    served.refused("first_request_timeout").await;
}

#[tokio::test]
async fn half_of_a_later_head_ends_even_if_it_trickles() {
    let served = start(Limits {
        headers: SHORT,
        ..timeless()
    })
    .await;
    let mut stream = served.connect().await;
    assert_eq!(ask(&mut stream, &get("/ok")).await.status, 200);
    let begun = Instant::now();
    stream.write_all(HALF_A_HEAD).await.unwrap();
    let trickle = async {
        while stream.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, trickle).await.is_ok(),
        "it is still open"
    );
    assert!(begun.elapsed() >= SHORT);
    served.refused("headers_timeout").await;
}

#[tokio::test]
async fn half_a_body_is_answered_and_ends() {
    let served = start(Limits {
        body: SHORT,
        ..timeless()
    })
    .await;
    let begun = Instant::now();
    let mut stream = served.connect().await;
    stream.write_all(post("/validate", 100).as_bytes()).await.unwrap();
    stream.write_all(b"{").await.unwrap();
    assert_eq!(read_answer(&mut stream).await.status, 408);
    assert!(begun.elapsed() >= SHORT);
    assert!(until_closed(&mut stream).await.is_empty());
    served.rejected("body_timeout").await;
}

#[tokio::test]
async fn a_handler_that_takes_too_long_is_answered() {
    let served = start(Limits {
        request: SHORT,
        ..timeless()
    })
    .await;
    let mut stream = served.connect().await;
    let answer = ask(&mut stream, &post("/wait", 0)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, None));
    served.rejected("timeout").await;
    assert_eq!(
        ask(&mut stream, &get("/ok")).await.status,
        200,
        "the connection goes on"
    );
}

#[tokio::test]
async fn an_answer_that_nobody_reads_ends() {
    let served = start(Limits {
        write: SHORT,
        ..timeless()
    })
    .await;
    let mut stream = served.connect().await;
    let begun = Instant::now();
    stream.write_all(get("/large").as_bytes()).await.unwrap();
    served.refused("write_timeout").await;
    assert!(begun.elapsed() >= SHORT);
    served.has_open(0).await;
    // Reading a little now and then does not help: the time is for the whole.
    let served = start(Limits {
        write: SHORT,
        ..timeless()
    })
    .await;
    let mut stream = served.connect().await;
    stream.write_all(get("/large").as_bytes()).await.unwrap();
    let mut some = [0; 512];
    let trickle = async {
        while stream.read(&mut some).await.is_ok_and(|read| read > 0) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = trickle => {}
        () = served.refused("write_timeout") => {}
    }
    served.has_open(0).await;
}

#[tokio::test]
async fn silence_between_requests_ends() {
    let served = start(Limits {
        idle: SHORT,
        ..timeless()
    })
    .await;
    let mut stream = served.connect().await;
    // Taken before the request, because the idle time begins before the answer has arrived here.
    let begun = Instant::now();
    assert_eq!(ask(&mut stream, &get("/ok")).await.status, 200);
    closes_after_short(stream, begun).await;
    // An ordinary end, which counts as no refusal.
    let page = served.metrics().await;
    let mut refused = page
        .lines()
        .filter(|line| line.contains("connections_refused_total{"));
    assert!(refused.all(|line| line.ends_with(" 0")), "{page}");
}
