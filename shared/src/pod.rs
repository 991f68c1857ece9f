//! What a drain does with a pod. The rules are kubectl drain's with `--force --ignore-daemonsets --delete-emptydir-data`
//! (k8s.io/kubectl: pkg/drain/filters.go), which is what kured asks for.
//!
//! Not here: how pods are listed and evicted.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::node::null_is_default;

/// A pod as far as a drain looks at it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub struct PodView {
    #[serde(default, deserialize_with = "null_is_default")]
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "null_is_default")]
    pub spec: Spec,
    #[serde(default, deserialize_with = "null_is_default")]
    pub status: Status,
}

/// Of `metadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub namespace: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub uid: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub deletion_timestamp: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub owner_references: Vec<OwnerReference>,
}

/// Who made the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference {
    #[serde(default)]
    pub api_version: String,
    #[serde(default)]
    pub kind: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub controller: bool,
}

/// Of `spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    #[serde(default, deserialize_with = "null_is_default")]
    pub node_name: String,
}

/// Of `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub struct Status {
    #[serde(default, deserialize_with = "null_is_default")]
    pub phase: String,
}

/// What a drain does with a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Drain {
    /// It must be gone before the reboot.
    Evict,
    /// Its DaemonSet would put it back at once: it stays.
    DaemonSet,
    /// The kubelet's own, from a file on the host: the API cannot remove it.
    Mirror,
}

/// `namespace/name`.
pub fn name(pod: &PodView) -> String {
    format!("{}/{}", pod.metadata.namespace, pod.metadata.name)
}

/// Annotation of mirror pods (k8s.io/api: `core/v1/annotation_key_constants.go`).
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What a drain does with this pod. A finished pod of a DaemonSet is evicted, as by kubectl.
pub fn classify(pod: &PodView) -> Drain {
    let finished = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
    let of_daemon_set = pod
        .metadata
        .owner_references
        .iter()
        .any(|owner| owner.controller && owner.kind == "DaemonSet" && owner.api_version == "apps/v1");
    if of_daemon_set && !finished {
        Drain::DaemonSet
    } else if pod.metadata.annotations.contains_key(MIRROR) {
        Drain::Mirror
    } else {
        Drain::Evict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(json: &str) -> PodView {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_drain_evicts_all_but_daemon_set_and_mirror_pods() {
        let cases = [
            (r#"{"metadata":{"name":"bare"}}"#, Drain::Evict),
            (
                r#"{"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","controller":true}]}}"#,
                Drain::Evict,
            ),
            (
                r#"{"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","kind":"DaemonSet","controller":true}]}}"#,
                Drain::DaemonSet,
            ),
            (
                r#"{"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","kind":"DaemonSet","controller":true}]},
                   "status":{"phase":"Failed"}}"#,
                Drain::Evict,
            ),
            (
                r#"{"metadata":{"annotations":{"kubernetes.io/config.mirror":"x"}}}"#,
                Drain::Mirror,
            ),
            (r#"{"status":{"phase":"Succeeded"}}"#, Drain::Evict),
        ];
        for (json, expected) in cases {
            assert_eq!(classify(&pod(json)), expected, "{json}");
        }
    }
}
