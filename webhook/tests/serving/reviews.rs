//! Reviews over the wire: how they are answered, logged and counted.
//!
//! Not here: what the API server makes of the answers, which the workspace's `tests/` try on a real one.

use std::time::Instant;

use cordonhold_shared::keys;
use serde_json::{Value, json};

use super::client::{get, post};
use super::port::PATIENCE;
use super::process::Webhook;

pub(crate) fn node(unschedulable: bool, cancel: Option<&str>) -> Value {
    let mut node = json!({
        "apiVersion": "v1", "kind": "Node", "newer": {"field": [1]},
        "metadata": {
            "name": "node-0", "uid": "n-1", "labels": {keys::PHASE: "delaying"},
            "annotations": {keys::HOLDER: "n-1/2026-01-01T00:00:00.5Z", keys::UNTIL: "9000-01-01T00:00:00Z"},
        },
        "spec": {"unschedulable": unschedulable, "taints": null, "podCIDR": "10.0.0.0/24"},
        "status": {"images": [{"names": ["x"]}]},
    });
    if let Some(cancel) = cancel {
        node["metadata"]["annotations"][keys::CANCEL] = json!(cancel);
    }
    node
}

pub(crate) fn review(old: &Value, new: &Value) -> String {
    let user = json!({"username": "controller", "groups": ["a", "b"], "extra": {"k": ["v"]}});
    let kind = json!({"group": "", "version": "v1", "kind": "Node"});
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "r-1", "kind": kind, "operation": "UPDATE", "name": "node-0", "userInfo": user,
            "oldObject": old, "object": new, "dryRun": true,
        },
    })
    .to_string()
}

async fn validate(webhook: &Webhook, body: &str) -> Value {
    let request = post("/validate?timeout=5s", body.len()) + body;
    let answer = webhook.ask(&request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

#[tokio::test]
async fn held_stays_cordoned_over_the_wire() {
    let mut webhook = Webhook::start(&[]);
    let answer = validate(&webhook, &review(&node(true, None), &node(false, None))).await;
    assert_eq!(
        (&answer["apiVersion"], &answer["kind"]),
        (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
    );
    let response = &answer["response"];
    assert_eq!(
        (&response["uid"], &response["allowed"]),
        (&json!("r-1"), &json!(false))
    );
    assert_eq!(
        (&response["status"]["code"], &response["status"]["reason"]),
        (&json!(403), &json!("Forbidden"))
    );
    assert!(
        response["status"]["message"]
            .as_str()
            .unwrap()
            .contains("kubectl annotate")
    );
    assert_eq!(response["auditAnnotations"]["reason"], "held");

    let line = webhook.log_line("decision");
    for (field, value) in [
        ("user", json!("controller")),
        ("groups", json!("a,b")),
        ("operation", json!("UPDATE")),
        ("node", json!("node-0")),
        ("holder", json!("n-1/2026-01-01T00:00:00.5Z")),
        ("phase", json!("delaying")),
        ("until", json!("9000-01-01T00:00:00Z")),
        ("verdict", json!("deny")),
        ("reason", json!("held")),
        ("mode", json!("enforce")),
        ("dry_run", json!(true)),
        ("effect", json!("uncordon")),
        ("kured", json!(false)),
        ("uid", json!("r-1")),
    ] {
        assert_eq!(line[field], value, "{field} in {line}");
    }
    assert!(line["latency_us"].is_u64());

    // Nothing of ours changes: no line, which the next decision's line shows.
    let answer = validate(&webhook, &review(&node(true, None), &node(true, None))).await;
    assert_eq!(answer["response"]["allowed"], true);
    // The API server is not there, so a permission cannot be looked up.
    let answer = validate(&webhook, &review(&node(true, None), &node(true, Some("x y")))).await;
    assert_eq!(answer["response"]["allowed"], false);
    assert_eq!(webhook.log_line("decision")["reason"], "lookup-failed");

    let (status, page) = webhook.admin("/metrics").await;
    assert_eq!(status, 200);
    for metric in [
        "cordonhold_webhook_decisions_total{verdict=\"deny\",reason=\"held\"} 1",
        "cordonhold_webhook_decisions_total{verdict=\"allow\",reason=\"nothing-of-ours\"} 1",
        "cordonhold_webhook_decision_latency_seconds_count 3",
        "cordonhold_webhook_certificate_expiry_timestamp_seconds 1",
        "cordonhold_webhook_build_info{version=",
    ] {
        assert!(page.contains(metric), "{metric} is missing in {page}");
    }
}

#[tokio::test]
async fn warn_and_audit_let_pass_and_say_so() {
    for (mode, warnings) in [("warn", 1), ("audit", 0)] {
        let webhook = Webhook::start(&["--mode", mode]);
        let response =
            validate(&webhook, &review(&node(true, None), &node(false, None))).await["response"].take();
        assert_eq!(response["allowed"], true);
        assert_eq!(
            response["warnings"].as_array().map_or(0, Vec::len),
            warnings,
            "{mode}"
        );
        assert_eq!(response["auditAnnotations"]["reason"], "held");
    }
}

#[tokio::test]
async fn a_review_that_cannot_be_read_is_denied_with_its_uid_and_logged() {
    let mut webhook = Webhook::start(&[]);
    let whole = review(&node(true, None), &node(false, None));
    let mut bad_label = node(false, None);
    bad_label["metadata"]["labels"] = json!({keys::PHASE: 1});
    let start_of_one = r#"{"kind":"AdmissionReview","request":{"uid":"r-1","object":"#;
    let bodies = [
        start_of_one.to_owned(),
        review(&Value::Null, &node(false, None)),
        review(&node(true, None), &bad_label),
    ];
    for body in bodies {
        let response = validate(&webhook, &body).await["response"].take();
        assert_eq!(
            (&response["uid"], &response["allowed"]),
            (&json!("r-1"), &json!(false))
        );
        assert_eq!(response["auditAnnotations"]["reason"], "malformed-review");
        let line = webhook.log_line("decision");
        assert_eq!((&line["uid"], &line["verdict"]), (&json!("r-1"), &json!("deny")));
        assert!(!line["error"].as_str().unwrap().is_empty());
    }
    let huge = " ".repeat(19 * 1_024 * 1_024 + 1);
    for (request, status) in [
        (post("/validate", huge.len()) + &huge, 413),
        (post("/validate", 2) + "{}", 400),
        (get("/validate"), 405),
        (post("/elsewhere", whole.len()) + &whole, 404),
        (
            (post("/validate", whole.len()) + &whole).replace("application/json", "text/plain"),
            415,
        ),
    ] {
        webhook.answers_with(&request, status).await;
    }
}

/// `failurePolicy: Ignore` would let the DELETE of a held Node pass where there is no answer.
#[tokio::test]
async fn found_s9_a_review_that_is_too_large_is_denied_with_its_uid_and_logged() {
    let mut webhook = Webhook::start(&[]);
    let start = concat!(
        r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"r-9","kind":{"group":"","version":"v1","kind":"Node"},"#,
        r#""name":"node-0","operation":"DELETE","userInfo":{"username":"autoscaler"},"object":null,"oldObject":{"status":""#
    );
    let body = format!("{start}{}\"}}}}}}", "x".repeat(20 * 1_024 * 1_024));
    let announced = post("/validate", body.len()) + &body;
    let head = "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked = format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for request in [announced, chunked] {
        let answer = webhook.ask(&request).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        let response = &answer["response"];
        assert_eq!(
            (
                &response["uid"],
                &response["allowed"],
                &response["status"]["code"]
            ),
            (&json!("r-9"), &json!(false), &json!(403))
        );
        let message = response["status"]["message"].as_str().unwrap();
        assert!(
            message.starts_with("malformed-review: ") && message.contains("19922944 bytes"),
            "{message}"
        );
        let line = webhook.log_line("decision");
        for (field, value) in [
            ("verdict", "deny"),
            ("reason", "malformed-review"),
            ("uid", "r-9"),
            ("operation", "DELETE"),
            ("node", "node-0"),
            ("user", "autoscaler"),
        ] {
            assert_eq!(line[field], value, "{line}");
        }
    }
}

#[tokio::test]
async fn it_is_ready_then_unready_then_gone() {
    let mut webhook = Webhook::start(&["--shutdown-delay=1h"]);
    assert_eq!(webhook.admin("/livez").await.0, 200);
    assert_eq!(webhook.admin("/readyz").await.0, 200);
    webhook.terminate();
    drop(webhook.log_line("shutting down"));
    let begun = Instant::now();
    while webhook.admin("/readyz").await.0 != 503 {
        assert!(begun.elapsed() < PATIENCE, "still ready");
    }
    let answer = validate(&webhook, &review(&node(true, None), &node(false, None))).await;
    assert_eq!(answer["response"]["allowed"], false, "a lame duck still answers");
    // That it ends by itself after its delay is seen in `rolling`.
    webhook.terminate();
    assert_eq!(webhook.wait().await.code(), Some(1));
}
