//! The Lease that carries the lock: how it is read, and the bodies of the two requests that write it.
//!
//! Not here: the record inside it ([`crate::lock`]) and who writes it when ([`crate::cycle`]).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cycle::{LockView, LockWrite};
use crate::keys;
use crate::lock::Record;
use crate::node::null_is_default;

/// The Lease of a pool.
#[derive(Clone, Debug, Deserialize)]
pub struct LeaseView {
    pub metadata: Metadata,
}

/// Of its `metadata`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    pub resource_version: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
}

impl LeaseView {
    /// The lock as of now: kured's entries may have expired.
    pub fn lock(&self, now: Timestamp) -> LockView {
        let record = Record::read(self.annotation(keys::LOCK));
        LockView {
            version: Some(self.metadata.resource_version.clone()),
            expired: record
                .as_ref()
                .present()
                .map(|record| record.expired(now))
                .unwrap_or_default(),
            record,
            paused: self.annotation(keys::PAUSE).map(str::to_owned),
        }
    }

    /// The version, if there is neither a record nor a pause.
    pub fn version_if_empty(self) -> Option<String> {
        let is_empty = self.annotation(keys::LOCK).is_none() && self.annotation(keys::PAUSE).is_none();
        is_empty.then_some(self.metadata.resource_version)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.get(key).map(String::as_str)
    }
}

/// What is applied to create the Lease: nothing, so that one that is there stays as it is.
pub fn empty(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": name, "namespace": namespace },
    })
}

/// The merge patch that is a compare-and-swap of the lock at this version.
pub fn patch(write: &LockWrite, version: &str, concurrency: usize, now: Timestamp) -> Value {
    let nodes: Vec<&str> = write
        .record
        .entries
        .iter()
        .map(|entry| entry.node.as_str())
        .collect();
    let holders = (!nodes.is_empty()).then(|| nodes.join(","));
    json!({
        "metadata": {
            "resourceVersion": version,
            "annotations": { keys::LOCK: write.record.render(concurrency) },
        },
        // For people: kubectl shows the holder. The time makes each write change the object.
        "spec": { "holderIdentity": holders, "renewTime": format!("{now:.6}") },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_somebody_wrote_meanwhile_is_not_overwritten() {
        let lease = |annotations: &str| -> LeaseView {
            serde_json::from_str(&format!(
                r#"{{"metadata":{{"resourceVersion":"7","annotations":{annotations}}}}}"#
            ))
            .unwrap()
        };
        assert_eq!(lease("null").version_if_empty(), Some("7".to_owned()));
        assert_eq!(lease(r#"{"other":"x"}"#).version_if_empty(), Some("7".to_owned()));
        assert_eq!(lease(r#"{"cordonhold.dev/lock":"{}"}"#).version_if_empty(), None);
        assert_eq!(lease(r#"{"cordonhold.dev/pause":"x"}"#).version_if_empty(), None);
    }
}
