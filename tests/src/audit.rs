//! Reads the requests of the agents and of the webhook from the API server's own audit log.
//!
//! Not here: requests of others; the audit policy leaves them out, because there are many and no test looks at them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::certificates;
use crate::{AGENT_ACCOUNT, NAMESPACE, WEBHOOK_ACCOUNT};

/// One request of an agent or of the webhook.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The `ServiceAccount` that sent it, without its namespace.
    pub account: String,
    /// When the API server received the request.
    pub at: Timestamp,
    pub verb: String,
    pub uri: String,
    /// What it is about.
    pub object: Object,
    /// Whether no role grants it.
    pub is_forbidden: bool,
    /// The HTTP status; `None` where the first log entry of the request has none.
    pub code: Option<i64>,
    /// The node that the token of the request names; empty if it names none.
    pub node: String,
}

/// The object of a request, as RBAC sees it: empty where the request names nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Object {
    pub api_group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
}

/// The fields used of an `Event` of `audit.k8s.io/v1`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: Value,
    #[serde(default)]
    object_ref: Object,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    response_status: Option<Value>,
    request_received_timestamp: Timestamp,
}

/// The audit policy, for the API server's `--audit-policy-file`.
pub(crate) fn policy() -> Value {
    let ours = [AGENT_ACCOUNT, WEBHOOK_ACCOUNT, certificates::ACCOUNT]
        .map(|account| format!("{}{account}", prefix()));
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{ "level": "Metadata", "users": ours }, { "level": "None" }],
    })
}

/// What the names of our users begin with.
fn prefix() -> String {
    format!("system:serviceaccount:{NAMESPACE}:")
}

pub(crate) fn log_path(directory: &Path) -> PathBuf {
    directory.join("logs").join("audit.log")
}

/// All requests of agents and of the webhook, each once: a watch is logged twice, when it begins and when it ends.
pub(crate) fn read(directory: &Path) -> Result<Vec<Asked>> {
    let path = log_path(directory);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text.with_context(|| format!("failed to read {}", path.display()))?,
    };
    let (mut asked, mut known) = (Vec::new(), BTreeSet::new());
    // A last line that is still being written does not parse and is skipped.
    for event in text
        .lines()
        .filter_map(|line| serde_json::from_str::<Event>(line).ok())
    {
        if !known.insert(event.audit_id) {
            continue;
        }
        let node = &event.user["extra"]["authentication.kubernetes.io/node-name"][0];
        let user = event.user["username"].as_str().unwrap_or_default();
        let decision = event.annotations.get("authorization.k8s.io/decision");
        asked.push(Asked {
            account: user.strip_prefix(&prefix()).unwrap_or(user).to_owned(),
            object: event.object_ref,
            is_forbidden: decision.is_some_and(|decision| decision == "forbid"),
            at: event.request_received_timestamp,
            verb: event.verb,
            uri: event.request_uri,
            code: event.response_status.and_then(|status| status["code"].as_i64()),
            node: node.as_str().unwrap_or_default().to_owned(),
        });
    }
    Ok(asked)
}

/// How often each kind of request was sent: its verb and its resource, whatever the object's name.
pub(crate) fn kinds(asked: &[Asked]) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for Asked {
        verb, object, uri, ..
    } in asked
    {
        let of_resource = [object.resource.as_str(), object.subresource.as_str()].join("/");
        // What is about no resource, such as the API server's version, has a path alone.
        let what = match of_resource.trim_end_matches('/') {
            "" => uri.split('?').next().unwrap_or_default(),
            resource => resource,
        };
        *kinds.entry(format!("{verb} {what}")).or_default() += 1;
    }
    kinds
}
