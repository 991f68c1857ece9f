//! What idle connections cost, and what forged reviews do. `cargo test -p cordonhold-webhook --test serving memory -- --nocapture` prints it.

use serde_json::{Value, json};

use super::client::{ask, get, post};
use super::process::Webhook;
use super::reviews::{node, review};

/// Below [`cordonhold_webhook::Limits::connections`], and what the process may have open by default.
const CONNECTIONS: u32 = 400;
/// With all connections open, this leaves room in the 128 MiB of the Deployment.
const MOST_KIB_EACH: u32 = 60;

#[tokio::test]
async fn an_idle_connection_costs_little() {
    let webhook = Webhook::start(&[]);
    // The first one brings what all share.
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

/// Near the 8 MiB that a body may have.
const FORGED_BYTES: usize = 7 * 1_024 * 1_024;
/// Of 128 MiB, beside what runs idle and what the connections of the test above take.
const MOST_KIB_FORGED: u32 = 64 * 1_024;

/// Whoever reaches the port can send them.
#[tokio::test]
async fn forged_reviews_do_not_grow_in_memory() {
    let webhook = Webhook::start(&[]);
    assert!(webhook.is_trusted_by(&webhook.issued.ca_pem).await);
    let before = webhook.peak_kib();
    let texts = |bytes: usize| json!(vec![""; bytes / 3]);
    let extra: serde_json::Map<String, Value> = (0..1_000)
        .map(|key| (key.to_string(), texts(FORGED_BYTES / 1_000)))
        .collect();
    for (place, forged) in [
        ("/request/userInfo/username", json!("u".repeat(FORGED_BYTES))),
        ("/request/userInfo/groups", texts(FORGED_BYTES)),
        ("/request/userInfo/groups", json!(["g".repeat(FORGED_BYTES)])),
        ("/request/userInfo/extra", Value::Object(extra)),
        (
            "/request/oldObject/metadata/name",
            json!("n".repeat(FORGED_BYTES)),
        ),
    ] {
        let mut forgery: Value =
            serde_json::from_str(&review(&node(true, None), &node(false, None))).unwrap();
        *forgery.pointer_mut(place).unwrap() = forged;
        // Each is another one to whatever is kept.
        for uid in 0..4 {
            forgery["request"]["oldObject"]["metadata"]["uid"] = json!(format!("u-{uid}"));
            let body = forgery.to_string();
            let answer = webhook.ask(&(post("/validate", body.len()) + &body)).await;
            let answer: Value = serde_json::from_str(&answer.text()).unwrap();
            let message = answer["response"]["status"]["message"]
                .as_str()
                .unwrap_or_default();
            assert!(message.starts_with("malformed-review: "), "{place}: {answer}");
        }
    }
    let after = webhook.peak_kib();
    println!("{before} KiB at most before forged reviews, {after} KiB after them");
    assert!(after - before <= MOST_KIB_FORGED, "{} KiB more", after - before);
}
