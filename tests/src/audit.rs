//! What agents ask of the API server, by the API server's own audit log.
//!
//! Others are not logged: their requests are many, and nothing here is about them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{AGENT_ACCOUNT, NAMESPACE};

/// One request of an agent.
#[derive(Debug, Clone)]
pub struct Asked {
    /// When it came, or for a watch when it began.
    pub at: Timestamp,
    pub verb: String,
    pub uri: String,
    /// `None` while it is answered.
    pub code: Option<i64>,
    /// By the node claim of its token.
    pub node: String,
}

/// Of `audit.k8s.io/v1`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: Value,
    response_status: Option<Value>,
    request_received_timestamp: Timestamp,
}

/// The policy that an API server takes with `--audit-policy-file`.
pub(crate) fn policy() -> Value {
    let agent = format!("system:serviceaccount:{NAMESPACE}:{AGENT_ACCOUNT}");
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{ "level": "Metadata", "users": [agent] }, { "level": "None" }],
    })
}

pub(crate) fn log_path(directory: &Path) -> PathBuf {
    directory.join("logs").join("audit.log")
}

/// Each request once. A watch is logged when it begins and again when it ends.
pub(crate) fn read(directory: &Path) -> Result<Vec<Asked>> {
    let path = log_path(directory);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text.with_context(|| format!("failed to read {}", path.display()))?,
    };
    let (mut asked, mut known) = (Vec::new(), BTreeSet::new());
    // The last line may be half written.
    for event in text
        .lines()
        .filter_map(|line| serde_json::from_str::<Event>(line).ok())
    {
        if !known.insert(event.audit_id) {
            continue;
        }
        let node = &event.user["extra"]["authentication.kubernetes.io/node-name"][0];
        asked.push(Asked {
            at: event.request_received_timestamp,
            verb: event.verb,
            uri: event.request_uri,
            code: event.response_status.and_then(|status| status["code"].as_i64()),
            node: node.as_str().unwrap_or_default().to_owned(),
        });
    }
    Ok(asked)
}
