//! How much memory idle connections and forged reviews take. `cargo test -p cordonhold-webhook --test serving memory -- --nocapture` prints it.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::client::{ask, get, post, until_closed};
use super::port::PATIENCE;
use super::process::Webhook;
use super::reviews::{node, review};

/// Below [`cordonhold_webhook::Limits::connections`], and what the process may have open by default.
const CONNECTIONS: u32 = 400;
/// With all connections open, this leaves room in the 128 MiB of the Deployment.
const MOST_KIB_EACH: u32 = 60;

#[tokio::test]
async fn an_idle_connection_costs_little() {
    let webhook = Webhook::start(&[]);
    // The first connection also allocates what all share.
    assert!(webhook.is_trusted_by(&webhook.issued.ca_pem).await);
    let before = webhook.resident_kib();
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = webhook.connect().await;
        assert_eq!(ask(&mut stream, &get("/")).await.status, 404);
        open.push(stream);
    }
    let after = webhook.resident_kib();
    let each = (after - before) / CONNECTIONS;
    println!("{before} KiB resident, {after} KiB with {CONNECTIONS} idle TLS connections: {each} KiB each");
    assert!(each <= MOST_KIB_EACH, "{each} KiB each");
}

/// Near the 19 MiB that a body may have.
const FORGED_BYTES: usize = 18 * 1_024 * 1_024;
/// What forged reviews may take of the 128 MiB, beside the idle process and the connections of the test above.
const MOST_KIB_FORGED: u32 = 40 * 1_024;
/// More than fit into `all_body_bytes`.
const AT_ONCE: usize = 6;

/// Whoever reaches the port can send such reviews, as many at once as they like.
#[tokio::test(flavor = "multi_thread")]
async fn found_s10_forged_reviews_do_not_grow_in_memory() {
    let webhook = Webhook::start(&[]);
    assert!(webhook.is_trusted_by(&webhook.issued.ca_pem).await);
    let before = webhook.peak_kib();
    for (place, forged, is_judged) in forgeries() {
        let mut forgery: Value =
            serde_json::from_str(&review(&node(true, None), &node(false, None))).unwrap();
        *forgery.pointer_mut(place).unwrap() = json!("FORGED");
        // As the API server writes it: the uid comes first.
        drop(forgery["request"].as_object_mut().unwrap().remove("uid"));
        let body = forgery
            .to_string()
            .replacen("\"request\":{", "\"request\":{\"uid\":\"r-1\",", 1)
            .replace("\"FORGED\"", &forged);
        let head = post("/validate", body.len()).replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
        // Each has another Node's uid, so that whatever is kept would be kept for each of them.
        let requests: Vec<String> = (0..AT_ONCE)
            .map(|number| head.clone() + &body.replace("\"n-1\"", &format!("\"n-{number}\"")))
            .collect();
        let asked = requests.iter().map(|request| answer(&webhook, request));
        drop(futures_util::future::join_all(asked).await);
        // Alone it fits, once the requests before it have given back their room.
        let alone = async {
            loop {
                if let Some(answer) = answer(&webhook, &requests[0]).await {
                    return answer;
                }
            }
        };
        let answer = tokio::time::timeout(PATIENCE, alone).await.unwrap();
        let response = &answer["response"];
        let message = response["status"]["message"].as_str().unwrap_or_default();
        let start = if is_judged { "held: " } else { "malformed-review: " };
        assert!(message.starts_with(start), "{place}: {answer}");
        println!("{place}: {} KiB at most", webhook.peak_kib());
    }
    let after = webhook.peak_kib();
    println!("{before} KiB at most before forged reviews, {after} KiB after them");
    assert!(after - before <= MOST_KIB_FORGED, "{} KiB more", after - before);
}

/// The place in the review, the JSON to put there, and whether that is skipped, so that the review is judged.
fn forgeries() -> Vec<(&'static str, String, bool)> {
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes));
    // One escape makes a copy of it.
    let escaped = |bytes: usize| format!("\"\\n{}\"", "x".repeat(bytes));
    let texts = |bytes: usize| format!("[{}\"\"]", "\"\",".repeat(bytes / 3));
    let entry = |key: usize| format!("\"{key}\":\"\"");
    let entries = |begin: &str, bytes: usize| {
        let entries: Vec<String> = (0..bytes / (entry(1_000_000).len() + begin.len() + 1))
            .map(|key| entry(1_000_000 + key).replacen('"', &format!("\"{begin}"), 1))
            .collect();
        format!("{{{}}}", entries.join(","))
    };
    let extra: Vec<String> = (0..1_000)
        .map(|key| format!("\"{key}\":{}", texts(FORGED_BYTES / 1_000)))
        .collect();
    let one_key = |key: String| format!("{{{key}:\"\"}}");
    vec![
        ("/request/userInfo/username", text(FORGED_BYTES), false),
        ("/request/userInfo/username", escaped(FORGED_BYTES), false),
        ("/request/userInfo/groups", texts(FORGED_BYTES), false),
        (
            "/request/userInfo/groups",
            format!("[{}]", escaped(FORGED_BYTES)),
            false,
        ),
        (
            "/request/userInfo/extra",
            format!("{{{}}}", extra.join(",")),
            false,
        ),
        ("/request/oldObject/metadata/name", text(FORGED_BYTES), false),
        (
            "/request/object/metadata/labels",
            one_key(escaped(FORGED_BYTES)),
            false,
        ),
        ("/request/object/metadata/labels", entries("", FORGED_BYTES), true),
        (
            "/request/object/metadata/annotations",
            entries("cordonhold.dev/", FORGED_BYTES),
            true,
        ),
        (
            "/request/object/spec/taints",
            format!(
                "[{}{{\"key\":\"\",\"effect\":\"\"}}]",
                "{\"key\":\"\",\"effect\":\"\"},".repeat(FORGED_BYTES / 24)
            ),
            true,
        ),
    ]
}

/// The answered review; `None` for a request that finds no room and gets 503, or that is read too slowly on a busy machine and gets 408
/// or is cut off.
async fn answer(webhook: &Webhook, request: &str) -> Option<Value> {
    let mut stream = webhook.connect().await;
    stream.write_all(request.as_bytes()).await.ok()?;
    let answer = String::from_utf8(until_closed(&mut stream).await).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(!head.starts_with("HTTP/1.1 400 "), "{answer}");
    head.starts_with("HTTP/1.1 200 ")
        .then(|| serde_json::from_str(body).unwrap())
}
