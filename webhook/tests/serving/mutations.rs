//! Reviews that are sent to be changed, over the wire: what is answered, logged and counted, and that whatever goes wrong changes nothing.
//!
//! Not here: what is changed and when (the core's tests), and what the API server makes of it, which the workspace's `tests/` try.

use cordonhold_shared::keys;
use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::client::{get, post};
use super::process::Webhook;
use super::reviews::{node, review};

async fn asked(webhook: &Webhook, path: &str, body: &str) -> Value {
    let answer = webhook.ask(&(post(path, body.len()) + body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut answer: Value = serde_json::from_slice(&answer.body).unwrap();
    answer["response"].take()
}

/// The patch of an answer; it is base64 on the wire.
fn patch(response: &Value) -> Value {
    assert_eq!(response["patchType"], "JSONPatch", "{response}");
    let ByteString(json) = serde_json::from_value(response["patch"].clone()).unwrap();
    serde_json::from_slice(&json).unwrap()
}

fn wanting(mut node: Value, text: &str) -> Value {
    node["metadata"]["annotations"][keys::UNCORDON_WANTED] = json!(text);
    node
}

/// How often reviews came to this outcome, by the page of metrics.
async fn count(webhook: &Webhook, outcome: &str) -> String {
    let (_, page) = webhook.admin("/metrics").await;
    let name = format!("cordonhold_webhook_mutations_total{{outcome=\"{outcome}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_default().to_owned()
}

#[tokio::test]
async fn last_wish_an_uncordon_is_kept_and_recorded_once() {
    let mut webhook = Webhook::start(&["--mode=defer"]);
    let (held, free) = (node(true, None), node(false, None));
    let changed = asked(&webhook, "/mutate?timeout=2s", &review(&held, &free)).await;
    assert_eq!(
        (&changed["uid"], &changed["allowed"]),
        (&json!("r-1"), &json!(true))
    );
    let operations = patch(&changed);
    assert_eq!(
        operations[0],
        json!({"op": "add", "path": "/spec/unschedulable", "value": true})
    );
    assert_eq!(
        operations[1]["path"],
        "/metadata/annotations/cordonhold.dev~1uncordon-wanted"
    );
    let text = operations[1]["value"].as_str().unwrap();
    assert!(
        text.starts_with("2026-01-01T00:00:00.5Z ") && text.ends_with("Z controller"),
        "{text}"
    );
    assert_eq!(
        operations.as_array().map(Vec::len),
        Some(2),
        "the Node has no taint: {operations}"
    );
    // The validation sees the new annotation, so it alone warns and records.
    assert_eq!(
        (&changed["warnings"], &changed["auditAnnotations"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(count(&webhook, "deferred").await, "1");

    let kept = wanting(held, text);
    the_validation_lets_it_pass(&mut webhook, &kept).await;
    a_second_one_is_recorded_here(&mut webhook, &kept, &wanting(free, text)).await;
    let (_, page) = webhook.admin("/metrics").await;
    assert!(
        page.contains("cordonhold_webhook_decisions_total{verdict=\"flag\",reason=\"deferred\"} 2"),
        "{page}"
    );
}

/// The line of the log that the next decision leaves has these values.
fn is_logged(webhook: &mut Webhook, effect: &str) {
    let line = webhook.log_line("decision");
    for (field, value) in [
        ("verdict", "flag"),
        ("reason", "deferred"),
        ("mode", "defer"),
        ("effect", effect),
    ] {
        assert_eq!(line[field], value, "{line}");
    }
}

fn is_warned(response: &Value) {
    let warning = response["warnings"][0].as_str().unwrap_or_default();
    assert!(warning.contains("The uncordon is kept"), "{response}");
}

async fn the_validation_lets_it_pass(webhook: &mut Webhook, kept: &Value) {
    let passed = asked(webhook, "/validate", &review(&node(true, None), kept)).await;
    assert_eq!(passed["allowed"], true, "{passed}");
    is_warned(&passed);
    is_logged(webhook, "deferred");
}

/// Of a second uncordon the validation sees nothing: the answer of the mutation is the record.
async fn a_second_one_is_recorded_here(webhook: &mut Webhook, kept: &Value, uncordoned: &Value) {
    let again = asked(webhook, "/mutate", &review(kept, uncordoned)).await;
    let cordon = json!([{"op": "add", "path": "/spec/unschedulable", "value": true}]);
    assert_eq!(patch(&again), cordon);
    assert_eq!(again["auditAnnotations"]["reason"], "deferred");
    is_warned(&again);
    is_logged(webhook, "uncordon");
    assert_eq!(count(webhook, "deferred_before").await, "1");
}

#[tokio::test]
async fn whatever_goes_wrong_leaves_the_request_as_it_is_and_is_counted() {
    let webhook = Webhook::start(&["--mode=defer"]);
    let whole = review(&node(true, None), &node(false, None));
    let start = r#"{"kind":"AdmissionReview","request":{"uid":"r-1","object":""#;
    let too_large = format!("{start}{}", "x".repeat(20 * 1_024 * 1_024));
    for (body, number) in [(start, "1"), (too_large.as_str(), "2")] {
        let left = asked(&webhook, "/mutate", body).await;
        assert_eq!(left, json!({"uid": "r-1", "allowed": true}));
        assert_eq!(count(&webhook, "unreadable").await, number);
    }
    for (request, status) in [
        (post("/mutate", 2) + "{}", 400),
        (get("/mutate"), 405),
        (
            (post("/mutate", whole.len()) + &whole).replace("application/json", "text/plain"),
            415,
        ),
    ] {
        webhook.answers_with(&request, status).await;
    }
    let nothing = review(&node(true, None), &node(true, None));
    assert_eq!(
        asked(&webhook, "/mutate", &nothing).await,
        json!({"uid": "r-1", "allowed": true})
    );
    assert_eq!(count(&webhook, "unchanged").await, "1");
}

#[tokio::test]
async fn in_the_other_modes_nothing_is_changed() {
    for mode in ["enforce", "warn", "audit"] {
        let webhook = Webhook::start(&["--mode", mode]);
        let body = review(&node(true, None), &node(false, None));
        let left = asked(&webhook, "/mutate", &body).await;
        assert_eq!(left, json!({"uid": "r-1", "allowed": true}), "{mode}");
    }
}

/// The user of these reviews is `controller`.
#[tokio::test]
async fn one_user_can_be_denied_while_others_are_deferred() {
    let webhook = Webhook::start(&["--mode=defer", "--mode-for-user=controller=enforce"]);
    let (held, free) = (node(true, None), node(false, None));
    let left = asked(&webhook, "/mutate", &review(&held, &free)).await;
    assert_eq!(left, json!({"uid": "r-1", "allowed": true}));
    // A policy, which knows no such mode, has deferred it all the same: it is the uncordon that it was.
    let kept = wanting(held.clone(), "2026-01-01T00:00:00.5Z - controller");
    let denied = asked(&webhook, "/validate", &review(&held, &kept)).await;
    assert_eq!(
        (&denied["allowed"], &denied["auditAnnotations"]["reason"]),
        (&json!(false), &json!("held"))
    );
}
