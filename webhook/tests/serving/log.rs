//! If nobody reads standard output, reviews are answered all the same, and lost log lines are counted and reported.

use cordonhold_shared::keys;
use serde_json::{Value, json};

use super::client::{ask, get, post};
use super::process::Webhook;

/// A pipe holds 64 KiB, some 130 lines; then 1024 wait.
const REVIEWS: usize = 2_000;

/// A review in which somebody who is not an agent sets a mark: it is denied and logged.
fn review(number: usize) -> String {
    let node = |annotations: &Value| json!({"metadata": {"name": "n", "uid": "u", "annotations": annotations}, "spec": {}});
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": number.to_string(), "kind": {"group": "", "version": "v1", "kind": "Node"}, "operation": "UPDATE",
            "userInfo": {"username": "somebody"},
            "oldObject": node(&json!({})), "object": node(&json!({keys::HOLDER: "u/2026-01-01T00:00:00Z"})),
        },
    })
    .to_string()
}

fn lost(page: &str) -> u64 {
    let name = "cordonhold_webhook_log_lines_lost_total ";
    let sample = page.lines().find_map(|line| line.strip_prefix(name));
    sample.unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_no_answer() {
    let mut webhook = Webhook::start(&[]);
    let (_, page) = webhook.admin("/metrics").await;
    assert_eq!(lost(&page), 0);
    let mut stream = webhook.connect().await;
    for number in 0..REVIEWS {
        let body = review(number);
        let answer = ask(&mut stream, &(post("/validate", body.len()) + &body)).await;
        let answered: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answered["response"]["uid"], number.to_string());
        assert_eq!(answered["response"]["auditAnnotations"]["reason"], "spoofed-hold");
    }
    let (_, page) = webhook.admin("/metrics").await;
    let counted = lost(&page);
    assert!(counted > 0, "{REVIEWS} lines fit: send more");
    // Now somebody reads, and is told.
    let told = webhook
        .log_line("log lines were lost since the program started: standard output was not read in time");
    assert_eq!((&told["level"], &told["lost"]), (&json!("WARN"), &json!(counted)));
    assert_eq!(ask(&mut stream, &get("/")).await.status, 404);
}

#[tokio::test]
async fn a_log_that_nobody_reads_keeps_no_process() {
    let mut webhook = Webhook::start(&["--shutdown-delay=0s"]);
    let mut stream = webhook.connect().await;
    for number in 0..REVIEWS {
        let body = review(number);
        let request = post("/validate", body.len()) + &body;
        assert_eq!(ask(&mut stream, &request).await.status, 200);
    }
    assert!(lost(&webhook.admin("/metrics").await.1) > 0);
    drop(stream);
    webhook.terminate();
    assert!(webhook.wait().await.success());
}
