//! Who gets an answer, and what the pages show of texts that others wrote.

use cordonhold_shared::fleet::{Fleet, Seen};
use cordonhold_shared::history::Record;
use http_body_util::BodyExt as _;
use serde_json::json;
use tower::ServiceExt as _;

use super::*;

const TOKEN: &str = "0123456789abcdef";

/// A site with one node whose drain is told in hostile words.
fn site() -> (Site, tokio::sync::watch::Sender<Arc<Snapshot>>) {
    let node = serde_json::from_value(json!({
        "metadata": { "name": "n1", "uid": "u", "labels": { "cordonhold.dev/phase": "draining" }, "annotations": {
            "cordonhold.dev/holder": "u/2026-11-28T02:41:07.123456789Z", "cordonhold.dev/until": "2026-11-28T03:08:00Z",
            "cordonhold.dev/boot-id": "b1/1.0", "cordonhold.dev/was-unschedulable": "false",
            "cordonhold.dev/drain-progress": "1 gone, 1 left; <script>alert(1)</script>",
        } },
        "spec": { "unschedulable": true },
    }))
    .unwrap();
    let seen = Seen {
        nodes: vec![node],
        ..Seen::default()
    };
    let snapshot = Snapshot {
        fleet: Some(Fleet::of(&seen, crate::clock::now())),
        record: Record {
            nodes: seen.nodes,
            ..Record::default()
        },
        stale: Vec::new(),
    };
    let (sender, receiver) = tokio::sync::watch::channel(Arc::new(snapshot));
    (Site::new(8099, TOKEN.to_owned(), receiver), sender)
}

async fn asked(method: &str, path: &str, host: &str, body: &'static str) -> (u16, String, Response<()>) {
    let (site, _sender) = site();
    let mut request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", host);
    if !body.is_empty() {
        request = request.header("content-length", body.len());
    }
    let request = request.body(Body::from(body)).unwrap();
    let (head, body) = router(site).oneshot(request).await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    (head.status.as_u16(), text, Response::from_parts(head, ()))
}

#[tokio::test]
async fn only_a_request_with_the_secret_path_to_loopback_that_writes_nothing_is_answered() {
    let own = format!("/{TOKEN}/");
    for (method, path, host, body, code) in [
        ("GET", own.as_str(), "127.0.0.1:8099", "", 200),
        ("GET", own.as_str(), "localhost:8099", "", 200),
        // A name that was pointed at loopback, another port, none.
        ("GET", own.as_str(), "evil.example:8099", "", 403),
        ("GET", own.as_str(), "127.0.0.1:80", "", 403),
        ("GET", own.as_str(), "127.0.0.1", "", 403),
        ("GET", "/", "127.0.0.1:8099", "", 404),
        ("GET", "/0123456789abcdee/", "127.0.0.1:8099", "", 404),
        ("GET", "/0123456789abcdee/live", "127.0.0.1:8099", "", 404),
        ("POST", own.as_str(), "127.0.0.1:8099", "", 405),
        ("DELETE", own.as_str(), "127.0.0.1:8099", "", 405),
        ("GET", own.as_str(), "127.0.0.1:8099", "x", 413),
    ] {
        let (is, text, _) = asked(method, path, host, body).await;
        assert_eq!(is, code, "{method} {path} {host}: {text}");
        assert_eq!(text.contains("n1"), code == 200, "{text}");
    }
    let path = format!("/{TOKEN}/node/n1");
    assert_eq!(asked("GET", &path, "127.0.0.1:8099", "").await.0, 200);
    let path = format!("/{TOKEN}/node/other");
    assert_eq!(asked("GET", &path, "127.0.0.1:8099", "").await.0, 404);
}

#[tokio::test]
async fn what_others_wrote_is_text_and_no_script_of_theirs_would_run() {
    for path in [format!("/{TOKEN}/"), format!("/{TOKEN}/node/n1")] {
        let (_, text, answer) = asked("GET", &path, "127.0.0.1:8099", "").await;
        assert!(text.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{text}");
        assert!(!text.contains("<script>"), "{text}");
        let policy = answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'nonce-"),
            "{policy}"
        );
        assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(answer.headers()[REFERRER_POLICY], "no-referrer");
    }
}

#[tokio::test]
async fn a_page_that_is_open_gets_each_change() {
    let (site, sender) = site();
    let request = http::Request::builder()
        .uri(format!("/{TOKEN}/live"))
        .header("host", "127.0.0.1:8099")
        .body(Body::empty())
        .unwrap();
    let answer = router(site).oneshot(request).await.unwrap();
    let mut body = answer.into_body();
    let mut next = async || {
        let frame = body.frame().await.unwrap().unwrap();
        String::from_utf8_lossy(frame.data_ref().unwrap()).into_owned()
    };
    let first = next().await;
    assert!(
        first.starts_with("data:") && first.contains("draining"),
        "{first}"
    );
    let empty = Snapshot {
        fleet: Some(Fleet::of(&Seen::default(), crate::clock::now())),
        ..Snapshot::default()
    };
    drop(sender.send_replace(Arc::new(empty)));
    let second = next().await;
    assert!(!second.contains("draining"), "{second}");
}

#[tokio::test]
async fn a_connection_too_many_is_closed_and_a_slow_head_has_a_bound() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (site, _sender) = site();
    let serving = tokio::spawn(serve(listener, site));
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        open.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    let mut more = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut end = [0; 1];
    // Closed at once, long before the bound of a head that does not come.
    let read = tokio::io::AsyncReadExt::read(&mut more, &mut end);
    let read = tokio::time::timeout(HEADERS / 2, read).await;
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "{read:?}");
    // Those that say nothing are closed then.
    let read = tokio::io::AsyncReadExt::read(&mut open[0], &mut end);
    let read = tokio::time::timeout(HEADERS * 3, read).await;
    assert!(matches!(read, Ok(Ok(_) | Err(_))), "{read:?}");
    serving.abort();
}
