//! Answers of every kind to a query, and how Prometheus is reached.

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use cordonhold_rt::exit::one_line;
use http::Response;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

/// What Prometheus answers if this is its answer to every query.
async fn answered(code: u16, body: impl Into<Vec<u8>>) -> Result<Vec<Series>, String> {
    let body = body.into();
    let service = tower::service_fn(move |_: Request<Body>| {
        let body = Body::from(body.clone());
        async move { Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap()) }
    });
    let prometheus = Prometheus(HttpApi {
        about: &ABOUT,
        client: Client::new(service, "default"),
        timeout: Duration::from_secs(10),
        token_file: None,
    });
    prometheus.query("ALERTS").await
}

fn empty() -> Value {
    json!({ "status": "success", "data": { "resultType": "vector", "result": [] } })
}

#[tokio::test]
async fn an_answer_that_cannot_be_used_is_named_with_what_to_check() {
    assert_eq!(answered(200, empty().to_string()).await, Ok(Vec::new()));
    let bad = json!({ "status": "error", "errorType": "bad_data", "error": "1:4: parse error" });
    for (code, body, says) in [
        (
            401,
            "Unauthorized".to_owned(),
            "(HTTP 401 Unauthorized): check --prometheus-token-file",
        ),
        (404, "404 page not found".to_owned(), "Mimir needs …/prometheus"),
        (
            400,
            bad.to_string(),
            "(bad_data): 1:4: parse error (HTTP 400 Bad Request)",
        ),
        (200, "<html>login</html>".to_owned(), "not one of Prometheus"),
        (200, String::new(), "not one of Prometheus"),
        (200, "x".repeat(10 * 1024 * 1024), "larger than 4 MiB"),
    ] {
        let why = answered(code, body).await.unwrap_err();
        assert!(why.contains(says) && why.len() < 1_000, "{code}: {why}");
    }
}

fn config(url: &str) -> HttpApiConfig {
    HttpApiConfig {
        url: url.parse().unwrap(),
        timeout: Duration::from_secs(10),
        token_file: None,
        ca_file: None,
        client_certificate: None,
    }
}

/// Takes one request on a socket of its own, answers it, and gives its head.
fn one_request() -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            head.push(byte[0]);
        }
        let body = empty().to_string();
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
        .unwrap();
        String::from_utf8(head).unwrap()
    });
    (address, server)
}

#[tokio::test]
async fn path_login_and_expression_reach_prometheus_as_they_were_written() {
    let (address, server) = one_request();
    let url = format!("http://user:s%40crt@{address}/prometheus");
    let prometheus = Prometheus::new(&config(&url)).unwrap();
    assert_eq!(prometheus.query("up{job=\"a b\"} > 0").await, Ok(Vec::new()));
    let head = server.join().unwrap();
    let first = head.lines().next().unwrap_or_default();
    assert_eq!(
        first,
        "GET /prometheus/api/v1/query?query=up%7Bjob%3D%22a%20b%22%7D%20%3E%200&partial_response=false HTTP/1.1"
    );
    // user:s@crt in base64 (RFC 7617).
    assert!(
        head.to_lowercase()
            .contains("authorization: basic dxnlcjpzqgnyda=="),
        "{head}"
    );
}

#[tokio::test]
async fn a_token_is_sent_and_a_file_that_cannot_be_read_is_named_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let token_file = dir.path().join("token");
    std::fs::write(&token_file, "abc\n").unwrap();
    let (address, server) = one_request();
    let prometheus = Prometheus::new(&HttpApiConfig {
        token_file: Some(token_file),
        ..config(&format!("http://{address}"))
    });
    assert_eq!(prometheus.unwrap().query("ALERTS").await, Ok(Vec::new()));
    let head = server.join().unwrap().to_lowercase();
    assert!(head.contains("authorization: bearer abc\r\n"), "{head}");
    let missing = Prometheus::new(&HttpApiConfig {
        token_file: Some("/nowhere/token".into()),
        ..config("http://127.0.0.1:1")
    });
    let why = one_line(&missing.err().unwrap());
    assert!(
        why.contains("/nowhere/token") && why.contains("--prometheus-token-file"),
        "{why}"
    );
}

#[tokio::test]
async fn a_prometheus_that_is_not_there_is_named_with_what_to_check() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let prometheus = Prometheus::new(&config(&format!("http://me:secret@{address}"))).unwrap();
    let why = prometheus.query("ALERTS").await.unwrap_err();
    assert!(
        why.contains("--prometheus-url") && !why.contains("secret"),
        "{why}"
    );
}

#[tokio::test]
async fn d27_a_prometheus_that_gives_no_answer_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let prometheus = Prometheus::new(&HttpApiConfig {
        timeout: Duration::from_millis(200),
        ..config(&format!("http://{address}"))
    });
    let why = prometheus.unwrap().query("ALERTS").await.unwrap_err();
    assert!(
        why.contains("--prometheus-timeout") || why.contains("timed out"),
        "{why}"
    );
    drop(listener);
}
