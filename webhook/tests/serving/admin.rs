//! The admin port of the program: its pages, and that other connections cannot keep a probe out.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::client::{ask, get};
use super::process::Webhook;

#[tokio::test]
async fn found_p13_the_page_is_in_the_format_that_is_asked_for() {
    let webhook = Webhook::start(&[]);
    for (accept, content_type, counter) in [
        (
            "text/plain",
            "text/plain; version=0.0.4; charset=utf-8",
            "# TYPE cordonhold_webhook_panics_total counter\n",
        ),
        (
            "text/plain;q=0.1,application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "# TYPE cordonhold_webhook_panics counter\n",
        ),
    ] {
        let mut stream = TcpStream::connect(webhook.admin).await.unwrap();
        let request = format!("GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n");
        let page = ask(&mut stream, &request).await;
        assert_eq!(page.header("content-type"), Some(content_type));
        assert!(page.text().contains(counter), "{}", page.text());
    }
}

/// More connections than the port has places for.
const MANY: usize = 200;

#[tokio::test]
async fn found_s4_nobody_keeps_a_probe_out() {
    let webhook = Webhook::start(&[]);
    let pipelined = get("/metrics").repeat(64);
    for (what, sent) in [
        ("idle", ""),
        ("half a head", "GET /livez HTTP/1.1\r\nHost: lo"),
        ("answers that nobody reads", pipelined.as_str()),
    ] {
        let mut held = Vec::new();
        for _ in 0..MANY {
            let mut stream = TcpStream::connect(webhook.admin).await.unwrap();
            // A connection that has already lost its place accepts no more bytes.
            drop(stream.write_all(sent.as_bytes()).await);
            held.push(stream);
        }
        for page in ["/livez", "/readyz"] {
            assert_eq!(
                webhook.admin(page).await.0,
                200,
                "{page} behind {MANY} with {what}"
            );
        }
    }
    let (_, page) = webhook.admin("/metrics").await;
    let displaced = "cordonhold_webhook_connections_refused_total{reason=\"displaced\"} ";
    let displaced = page
        .lines()
        .find_map(|line| line.strip_prefix(displaced))
        .unwrap();
    assert!(displaced.parse::<usize>().unwrap() > MANY, "{displaced}");
}
