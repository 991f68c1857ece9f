//! The writes of hostile clients to a held Node, each by its own version of it: so an answer says what became of a write that met the hold.
//!
//! Not here: when they are sent, and what is counted.

use anyhow::{Context, Result};
use cordonhold_shared::keys;
use kube::Client;
use serde_json::{Value, json};

/// The name by which the API server remembers the writes of hostile clients.
pub(super) const FIELD_MANAGER: &str = "hostile";

/// The holder that is forged.
const FORGED_HOLDER: &str = "hostile/2000-01-01T00:00:00.000000000Z";

/// What a hostile client tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attack {
    /// Clears the cordon by a merge patch.
    Uncordon,
    /// Clears the cordon by a PUT of the whole Node.
    UncordonByPut,
    /// Takes the marks and the cordon away in one PUT.
    StripAll,
    /// Takes the marks away and leaves the cordon.
    StripMarks,
    /// Takes the taint away.
    StripTaint,
    /// Writes the phase `returning`, with which an agent gives the node back.
    ForgeReturning,
    /// Writes the phase `sealed`, with which an agent reboots.
    ForgeSealed,
    /// Writes a holder of its own.
    ForgeHolder,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is on the Node, and the Node had the hold.
    Passed,
    /// The webhook denied it.
    Denied,
    /// The Node had changed already.
    Late,
    /// The API server could not ask the webhook.
    Unanswered,
    /// Something else.
    Failed(String),
}

impl Attack {
    pub(super) const ALL: [Self; 8] = [
        Self::Uncordon,
        Self::UncordonByPut,
        Self::StripAll,
        Self::StripMarks,
        Self::StripTaint,
        Self::ForgeReturning,
        Self::ForgeSealed,
        Self::ForgeHolder,
    ];

    /// Each in turn.
    pub(super) fn nth(n: usize) -> Self {
        Self::ALL[n % Self::ALL.len()]
    }

    /// Sends it to this version of a Node.
    pub(super) async fn send(self, client: &Client, node: &Value) -> Result<Answer> {
        let name = node["metadata"]["name"]
            .as_str()
            .context("a Node without a name")?;
        let uri = format!("/api/v1/nodes/{name}?fieldManager={FIELD_MANAGER}");
        let (request, body) = if let Some(patch) = self.patch(node) {
            let request = http::Request::patch(uri).header("Content-Type", "application/merge-patch+json");
            (request, patch)
        } else {
            let request = http::Request::put(uri).header("Content-Type", "application/json");
            (request, self.replaced(node))
        };
        let request = request.body(body.to_string().into_bytes())?;
        Ok(match client.request::<Value>(request).await {
            Ok(_) => Answer::Passed,
            Err(kube::Error::Api(status)) => match (status.code, status.message.as_str()) {
                (403, said) if said.contains("cordonhold.dev\" denied the request") => Answer::Denied,
                (409, _) => Answer::Late,
                (500, said) if said.contains("failed calling webhook") => Answer::Unanswered,
                (code, said) => Answer::Failed(format!("{self:?}: {code} {said}")),
            },
            Err(error) => Answer::Failed(format!("{self:?}: {error}")),
        })
    }

    /// The merge patch; `None` for what is a PUT.
    fn patch(self, node: &Value) -> Option<Value> {
        let without = Value::Null;
        let mut patch = match self {
            Self::UncordonByPut | Self::StripAll => return None,
            Self::Uncordon => json!({ "spec": { "unschedulable": without } }),
            Self::StripMarks => {
                let marks = keys::MARK_ANNOTATIONS.map(|key| (key.to_owned(), Value::Null));
                let annotations: serde_json::Map<String, Value> = marks.into_iter().collect();
                json!({ "metadata": { "annotations": annotations, "labels": { keys::PHASE: without } } })
            }
            Self::StripTaint => json!({ "spec": { "taints": other_taints(node) } }),
            Self::ForgeReturning => json!({ "metadata": { "labels": { keys::PHASE: "returning" } } }),
            Self::ForgeSealed => json!({ "metadata": { "labels": { keys::PHASE: "sealed" } } }),
            Self::ForgeHolder => {
                json!({ "metadata": { "annotations": { keys::HOLDER: FORGED_HOLDER } } })
            }
        };
        patch["metadata"]["resourceVersion"] = node["metadata"]["resourceVersion"].clone();
        Some(patch)
    }

    /// The Node of a PUT. It has the version that was seen.
    fn replaced(self, node: &Value) -> Value {
        let mut node = node.clone();
        node["spec"]["unschedulable"] = Value::Null;
        if self == Self::StripAll {
            node["spec"]["taints"] = Value::Array(other_taints(&node));
            if let Some(annotations) = node["metadata"]["annotations"].as_object_mut() {
                annotations.retain(|key, _| !keys::MARK_ANNOTATIONS.contains(&key.as_str()));
            }
            if let Some(labels) = node["metadata"]["labels"].as_object_mut() {
                drop(labels.remove(keys::PHASE));
            }
        }
        node["metadata"]["managedFields"] = Value::Null;
        node
    }

    /// Whether it would change this Node. A write that changes nothing passes, and means nothing.
    pub(super) fn changes(self, node: &Value) -> bool {
        let phase = node["metadata"]["labels"][keys::PHASE].as_str();
        match self {
            Self::Uncordon | Self::UncordonByPut | Self::StripAll => node["spec"]["unschedulable"] == true,
            Self::StripMarks => phase.is_some(),
            Self::StripTaint => {
                other_taints(node).len() < node["spec"]["taints"].as_array().map_or(0, Vec::len)
            }
            Self::ForgeReturning => phase != Some("returning"),
            Self::ForgeSealed => phase != Some("sealed"),
            Self::ForgeHolder => node["metadata"]["annotations"][keys::HOLDER] != FORGED_HOLDER,
        }
    }
}

/// The taints of a Node but Cordonhold's own.
fn other_taints(node: &Value) -> Vec<Value> {
    let taints = node["spec"]["taints"].as_array().into_iter().flatten();
    taints
        .filter(|taint| taint["key"] != keys::REBOOTING)
        .cloned()
        .collect()
}
