//! Reviews: what the webhook picks out of one is what the API's own types have there.

use std::collections::BTreeMap;

use cordonhold_shared::admission::{LockEdit, Mode, Operation, Policy, Request, Requester};
use cordonhold_shared::keys;
use cordonhold_shared::node::{Metadata, NodeView, Spec, Taint};
use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::core::v1::Node;
use serde_json::Value;

use super::{is_one_line, policy};

pub(super) const WORDS: &[&str] = &[
    "\"uid\":",
    "\"kind\":",
    "\"request\":",
    "\"userInfo\":",
    "\"username\":",
    "\"groups\":",
    "\"extra\":",
    "\"object\":",
    "\"oldObject\":",
    "\"metadata\":",
    "\"labels\":",
    "\"annotations\":",
    "\"spec\":",
    "\"unschedulable\":true",
    "\"unschedulable\":false",
    "\"taints\":",
    "\"options\":",
    "\"dryRun\":true",
    "\"subResource\":\"status\"",
    "\"operation\":\"UPDATE\"",
    "\"operation\":\"CREATE\"",
    "\"operation\":\"DELETE\"",
    "\"DaemonSet\"",
    "\"apps\"",
    "null",
    "{}",
    "[]",
    "\"\"",
    "\\u0061",
    "\\n",
    keys::HOLDER,
    keys::PHASE,
    keys::UNTIL,
    keys::CANCEL,
    keys::WRITE,
    keys::UNCORDON_WANTED,
    keys::REBOOTING,
    "draining",
    "wanted",
];

/// Why a review is refused that the API's types can read. Each denies, so none opens anything.
const REFUSALS: [&str; 7] = [
    // The API server writes each field once.
    "duplicate field",
    "duplicate entry",
    // Bounds.
    "longer than",
    "more than",
    "has 1 to",
    // The API server requires both of a taint.
    "missing field `key`",
    "missing field `effect`",
];

pub(super) fn check(input: &[u8]) {
    let policy = policy::policy(Mode::Enforce);
    let theirs = reference(input, &policy);
    match (cordonhold_webhook::read_request(input, &policy), theirs) {
        (Ok(ours), theirs) => {
            if let Some(theirs) = theirs {
                assert_eq!(ours, theirs, "the webhook's reading, and that of the API's types");
            }
            drop(policy::judged(&ours, &policy));
        }
        (Err(why), theirs) => {
            is_one_line(&why);
            let is_known = REFUSALS.iter().any(|refusal| why.contains(refusal));
            assert!(theirs.is_none() || is_known, "refused: {why}");
        }
    }
}

/// The request as the API's types have it, with only what the policy reads; `None` if they cannot read it, or it is not judged.
fn reference(input: &[u8], policy: &Policy) -> Option<Request> {
    let review: Value = serde_json::from_slice(input).ok()?;
    let texts = [
        (&review["apiVersion"], "admission.k8s.io/v1"),
        (&review["kind"], "AdmissionReview"),
    ];
    if texts.iter().any(|(value, text)| value.as_str() != Some(*text)) {
        return None;
    }
    let request = review["request"].as_object()?;
    let part = |name: &str| request.get(name).unwrap_or(&Value::Null);
    let text = |value: &Value| match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    };
    let kind = (text(&part("kind")["group"])?, text(&part("kind")["kind"])?);
    let (operation, name, namespace) = (part("operation"), text(part("name"))?, text(part("namespace"))?);
    // The answer names it, so there is none without it.
    let _ = part("uid").as_str()?;
    options(part("options"))?;
    let node = |value: &Value| -> Option<NodeView> {
        Some(view(&serde_json::from_value(value.clone()).ok()?, policy))
    };
    // What is not needed is read all the same, and must be right.
    let (old, new) = (part("oldObject"), part("object"));
    let is_readable = |value: &Value| value.is_null() || node(value).is_some();
    if !is_readable(old) || !is_readable(new) {
        return None;
    }
    let operation = match ((kind.0.as_str(), kind.1.as_str()), operation.as_str()?) {
        (("", "Node"), "CREATE") => Operation::CreateNode { new: node(new)? },
        (("", "Node"), "UPDATE") => Operation::UpdateNode {
            old: node(old)?,
            new: node(new)?,
        },
        (("", "Node"), "DELETE") => Operation::DeleteNode { old: node(old)? },
        (("apps", "DaemonSet"), "UPDATE") => Operation::UpdateDaemonSet(LockEdit {
            namespace,
            name,
            old: node(old)?.metadata.annotations,
            new: node(new)?.metadata.annotations,
        }),
        _ => return None,
    };
    Some(Request {
        requester: requester(part("userInfo"))?,
        operation,
        is_of_status: !text(part("subResource"))?.is_empty(),
        is_dry_run: match part("dryRun") {
            Value::Null => false,
            value => value.as_bool()?,
        },
    })
}

/// The texts that are read of the options of the request.
fn options(options: &Value) -> Option<()> {
    let is_text = |value: &Value| value.is_null() || value.is_string();
    let is_right = match options {
        Value::Null => true,
        Value::Object(options) => ["kind", "fieldManager"]
            .iter()
            .all(|key| options.get(*key).is_none_or(is_text)),
        _ => false,
    };
    is_right.then_some(())
}

fn requester(user: &Value) -> Option<Requester> {
    let user: UserInfo = serde_json::from_value(user.clone()).ok()?;
    let mut extra: BTreeMap<String, Vec<String>> = user.extra.unwrap_or_default();
    Some(Requester {
        user: user.username.unwrap_or_default(),
        uid: user.uid.unwrap_or_default(),
        groups: user.groups.unwrap_or_default(),
        node_claim: extra.remove(keys::NODE_NAME_EXTRA).unwrap_or_default(),
        extra,
    })
}

/// What the policy reads of a Node.
fn view(node: &Node, policy: &Policy) -> NodeView {
    let read = |map: &Option<BTreeMap<String, String>>| {
        let entries = map.iter().flatten().filter(|(key, _)| policy.reads(key));
        entries.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let spec = node.spec.clone().unwrap_or_default();
    let is_ours = |taint: &k8s_openapi::api::core::v1::Taint| {
        taint.key == keys::REBOOTING && taint.effect == keys::NO_SCHEDULE
    };
    let has_ours = spec.taints.iter().flatten().any(is_ours);
    NodeView {
        metadata: Metadata {
            name: node.metadata.name.clone().unwrap_or_default(),
            uid: node.metadata.uid.clone().unwrap_or_default(),
            labels: read(&node.metadata.labels),
            annotations: read(&node.metadata.annotations),
            ..Metadata::default()
        },
        spec: Spec {
            unschedulable: spec.unschedulable.unwrap_or_default(),
            taints: has_ours
                .then(|| Taint::no_schedule(keys::REBOOTING))
                .into_iter()
                .collect(),
        },
        ..NodeView::default()
    }
}
