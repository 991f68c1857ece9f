//! The bounds on connections, requests and bytes: what is beyond is answered or closed, never left hanging.

use std::time::Instant;

use cordonhold_webhook::Limits;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::{Answer, ask, get, post, read_answer, until_closed};
use super::port::{PATIENCE, SHORT, start, start_plain, timeless};

const MIB: usize = 1_024 * 1_024;

/// Sends a request again and again until the answer has another status.
async fn first_but<S: AsyncRead + AsyncWrite + Unpin>(status: u16, stream: &mut S, request: &str) -> Answer {
    let asking = async {
        loop {
            let answer = ask(stream, request).await;
            if answer.status != status {
                return answer;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap()
}

#[tokio::test]
async fn found_s4_a_connection_beyond_the_limit_takes_the_place_of_the_longest_idle() {
    let served = start_plain(Limits {
        connections: 2,
        ..timeless()
    })
    .await;
    let mut first = served.connect_plain().await;
    let mut second = served.connect_plain().await;
    for stream in [&mut first, &mut second] {
        assert_eq!(ask(stream, &get("/ok")).await.status, 200);
    }
    assert_eq!(ask(&mut first, &get("/ok")).await.status, 200);
    let mut third = served.connect_plain().await;
    assert_eq!(ask(&mut third, &get("/ok")).await.status, 200);
    assert!(until_closed(&mut second).await.is_empty());
    served.refused("displaced").await;
    served.has_open(2).await;
    assert_eq!(ask(&mut first, &get("/ok")).await.status, 200);
}

#[tokio::test]
async fn found_s4_an_answer_that_nobody_reads_keeps_no_place() {
    let served = start_plain(Limits {
        connections: 1,
        ..timeless()
    })
    .await;
    let mut unread = served.connect_plain().await;
    unread.write_all(get("/large").as_bytes()).await.unwrap();
    let newest = async {
        // Until the sockets are full the answer is still being sent, and its connection keeps its place.
        loop {
            let mut stream = served.connect_plain().await;
            stream.write_all(get("/ok").as_bytes()).await.unwrap();
            if until_closed_or_answered(&mut stream).await {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, newest).await.unwrap();
}

#[tokio::test]
async fn few_connections_that_lost_their_place_are_open_at_once() {
    let served = start_plain(Limits {
        connections: 2,
        leaving: 1,
        ..timeless()
    })
    .await;
    // The port accepts none of them before all are there: this test's only thread has not let it run.
    let connect = |_| std::net::TcpStream::connect(served.address).unwrap();
    let streams: Vec<_> = (0..100).map(connect).collect();
    let most_open = async {
        let mut most = 0;
        loop {
            let page = served.metrics().await;
            let value = |name: &str| {
                page.lines()
                    .find_map(|line| line.strip_prefix(name)?.parse::<u32>().ok())
            };
            most = most.max(value("cordonhold_webhook_connections ").unwrap());
            if value("cordonhold_webhook_connections_refused_total{reason=\"displaced\"} ") == Some(98) {
                return most;
            }
            tokio::task::yield_now().await;
        }
    };
    let most = tokio::time::timeout(PATIENCE, most_open).await.unwrap();
    assert!(most <= 3, "{most} were open at once");
    drop(streams);
}

/// Whether anything came before the end.
async fn until_closed_or_answered(stream: &mut TcpStream) -> bool {
    stream.read(&mut [0]).await.is_ok_and(|read| read > 0)
}

#[tokio::test]
async fn a_connection_beyond_the_limit_is_closed_at_once_where_all_are_at_work() {
    let served = start_plain(Limits {
        connections: 2,
        ..timeless()
    })
    .await;
    let mut first = served.connect_plain().await;
    let mut second = served.connect_plain().await;
    for stream in [&mut first, &mut second] {
        stream.write_all(post("/wait", 0).as_bytes()).await.unwrap();
    }
    served.entered.acquire_many(2).await.unwrap().forget();
    assert!(until_closed(&mut served.connect_plain().await).await.is_empty());
    served.refused("too_many").await;
    served.has_open(2).await;
    served.gate.add_permits(2);
    assert_eq!(read_answer(&mut first).await.status, 200);
    assert_eq!(read_answer(&mut second).await.status, 200);
}

#[tokio::test]
async fn a_request_beyond_the_limit_is_shed_at_once_and_served_later() {
    let served = start(Limits {
        requests: 1,
        ..timeless()
    })
    .await;
    let mut busy = served.connect().await;
    busy.write_all(post("/wait", 0).as_bytes()).await.unwrap();
    let mut shed = served.connect().await;
    // The first may still be on its way.
    let answer = first_but(200, &mut shed, &get("/ok")).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(answer.text(), "too many requests at once\n");
    served.rejected("too_many").await;
    // The same with a body that is sent in full.
    let body = "x".repeat(MIB);
    let request = post("/validate", body.len()) + &body;
    assert_eq!(ask(&mut shed, &request).await.status, 503);

    served.gate.add_permits(1);
    assert_eq!(read_answer(&mut busy).await.status, 200);
    assert_eq!(
        ask(&mut shed, &get("/ok")).await.status,
        200,
        "on the same connection"
    );
}

#[tokio::test]
async fn bodies_beyond_the_memory_for_all_are_shed() {
    let served = start(Limits {
        all_body_bytes: MIB,
        ..timeless()
    })
    .await;
    let mut shed = served.connect().await;
    let body = " ".repeat(64 * 1_024);
    let request = post("/validate", body.len()) + &body;
    // The second request is rejected. If that is the one that should hold the room, it tries again.
    let (mut holding, answer) = tokio::time::timeout(PATIENCE, async {
        loop {
            let mut holding = served.connect().await;
            holding
                .write_all(post("/validate", MIB).as_bytes())
                .await
                .unwrap();
            holding.write_all(&vec![b' '; MIB - 1]).await.unwrap();
            holding.flush().await.unwrap();
            for _ in 0..200 {
                let answer = ask(&mut shed, &request).await;
                if answer.status != 400 {
                    return (holding, answer);
                }
            }
        }
    })
    .await
    .unwrap();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    holding.write_all(b" ").await.unwrap();
    assert_eq!(
        read_answer(&mut holding).await.status,
        400,
        "no review, but read to its end"
    );
    assert_eq!(
        ask(&mut shed, &request).await.status,
        400,
        "and there is room again"
    );
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_whether_announced_or_not() {
    let served = start(timeless()).await;
    let body = " ".repeat(20 * MIB);
    let mut stream = served.connect().await;
    let answer = ask(&mut stream, &(post("/validate", body.len()) + &body)).await;
    assert_eq!(answer.status, 413);
    assert_eq!(
        ask(&mut stream, &get("/ok")).await.status,
        200,
        "the connection goes on"
    );

    let head = "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked = format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    assert_eq!(ask(&mut stream, &chunked).await.status, 413);
    served
        .counted("requests_rejected_total{reason=\"too_large\"} 2")
        .await;
}

#[tokio::test]
async fn every_bad_request_has_its_answer() {
    let served = start(timeless()).await;
    let many = "X-Field: 1\r\n".repeat(65);
    let long = format!("X-Field: {}\r\n", "x".repeat(17 * 1_024));
    let fields = |fields: &str| format!("GET /ok HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    for (request, status, text) in [
        (get("/elsewhere"), 404, "POST /validate"),
        (get("/validate"), 405, "another method"),
        (
            post("/validate", 2).replace("json", "yaml") + "{}",
            415,
            "application/json",
        ),
        (post("/validate", 2) + "{}", 400, "no uid"),
        (fields(&many), 431, ""),
        (fields(&long), 431, ""),
        ("NOT HTTP\r\n\r\n".to_owned(), 400, ""),
    ] {
        let answer = ask(&mut served.connect().await, &request).await;
        assert_eq!(answer.status, status, "{request}");
        assert!(answer.text().contains(text), "{answer:?}");
        if status == 405 {
            assert_eq!(answer.header("allow"), Some("POST"));
        }
    }
    // Truncated: the sender ends in the middle of the body.
    let mut stream = served.connect().await;
    stream
        .write_all((post("/validate", 100) + "{").as_bytes())
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_answer(&mut stream).await.status, 400);
    for reason in ["not_found", "method", "content_type", "no_uid", "truncated"] {
        served.rejected(reason).await;
    }
}

#[tokio::test]
async fn a_panic_is_an_answer_and_a_count() {
    let served = start(timeless()).await;
    let mut stream = served.connect().await;
    assert_eq!(ask(&mut stream, &get("/panic")).await.status, 500);
    served.counted("panics_total 1").await;
    assert_eq!(ask(&mut stream, &get("/ok")).await.status, 200);
}

#[tokio::test]
async fn an_old_connection_ends_with_an_answer() {
    let served = start(Limits {
        idle: 10 * SHORT,
        age: 11 * SHORT,
        ..timeless()
    })
    .await;
    let begun = Instant::now();
    let mut stream = served.connect().await;
    while ask(&mut stream, &get("/ok")).await.header("connection") != Some("close") {}
    assert!(begun.elapsed() >= SHORT, "age less idle");
    assert!(until_closed(&mut stream).await.is_empty());
}

#[tokio::test]
async fn an_old_connection_ends_without_one_too() {
    let served = start(Limits {
        age: SHORT,
        ..timeless()
    })
    .await;
    let begun = Instant::now();
    let mut stream = served.connect().await;
    assert!(until_closed(&mut stream).await.is_empty());
    assert!(begun.elapsed() >= SHORT);
}
