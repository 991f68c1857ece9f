//! Shutdown: every request that was sent here is answered, and the process does end.

use std::time::Instant;

use cordonhold_webhook::Limits;
use jiff::{SignedDuration, Timestamp};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::client::{ask, get, post, read_answer, until_closed};
use super::port::{PATIENCE, SHORT, Served, start, timeless};
use super::process::Webhook;

async fn ends(served: &Served) {
    assert!(served.tasks.close());
    tokio::time::timeout(PATIENCE, served.tasks.wait()).await.unwrap();
}

#[tokio::test]
async fn a_lame_duck_answers_and_closes() {
    let served = start(timeless()).await;
    let mut old = served.connect().await;
    let answer = ask(&mut old, &get("/ok")).await;
    assert_eq!((answer.status, answer.header("connection")), (200, None));
    served.closing.begin();
    for mut stream in [old, served.connect().await] {
        let answer = ask(&mut stream, &get("/ok")).await;
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        assert!(until_closed(&mut stream).await.is_empty());
    }
}

#[tokio::test]
async fn what_is_open_at_the_stop_is_answered_and_what_is_idle_is_closed() {
    let served = start(timeless()).await;
    let mut idle = served.connect().await;
    assert_eq!(ask(&mut idle, &get("/ok")).await.status, 200);
    let mut busy = served.connect().await;
    busy.write_all(post("/wait", 0).as_bytes()).await.unwrap();
    let mut fresh = served.connect().await;
    served.has_open(3).await;
    // An answer on another connection: the request of the busy one is under way by then, or comes as one that is fresh.
    served.closing.stop();
    assert!(until_closed(&mut idle).await.is_empty());
    assert!(
        TcpStream::connect(served.address).await.is_err(),
        "the port is closed"
    );
    let answer = ask(&mut fresh, &get("/ok")).await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    served.gate.add_permits(1);
    let answer = read_answer(&mut busy).await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    ends(&served).await;
}

#[tokio::test]
async fn the_drain_is_bounded() {
    let served = start(Limits {
        drain: SHORT,
        ..timeless()
    })
    .await;
    let mut busy = served.connect().await;
    busy.write_all(post("/wait", 0).as_bytes()).await.unwrap();
    served.has_open(1).await;
    let begun = Instant::now();
    served.closing.stop();
    ends(&served).await;
    assert!(begun.elapsed() >= SHORT);
    assert!(until_closed(&mut busy).await.is_empty());
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut webhook = Webhook::start(&["--shutdown-delay=1h"]);
    webhook.terminate();
    drop(webhook.log_line("shutting down"));
    let (status, said) = webhook.admin("/readyz").await;
    assert_eq!(status, 503);
    assert!(said.contains("running: it is shutting down"), "{said}");
    assert_eq!(webhook.admin("/livez").await.0, 200);
    webhook.terminate();
    let status = webhook.wait().await;
    assert_eq!(status.code(), Some(1));
}

#[tokio::test]
async fn errors_on_accept_pause_and_pass() {
    // The process has some ten files open by itself.
    let mut webhook = Webhook::start_with_open_files(40, &[]);
    let mut held = Vec::new();
    while held.len() < 60 {
        held.push(TcpStream::connect(webhook.admin).await.unwrap());
    }
    let mut failed_at = || -> Timestamp {
        let line = webhook.log_line("failed to accept a connection");
        line["timestamp"].as_str().unwrap().parse().unwrap()
    };
    let (first, second) = (failed_at(), failed_at());
    let pause = second.duration_since(first);
    assert!(pause >= SignedDuration::from_millis(100), "it spins: {pause:?}");
    drop(held);
    assert_eq!(webhook.admin("/livez").await.0, 200);
}
