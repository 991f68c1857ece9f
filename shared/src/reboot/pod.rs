//! What a drain does with a pod. The rules are those of kubectl drain with `--force --ignore-daemonsets --delete-emptydir-data`
//! (k8s.io/kubectl: pkg/drain/filters.go), as kured sets them.
//!
//! The drain and the final check use the same rules, so that a pod which the drain leaves alone never stops the final check.
//!
//! Not here: how pods are listed (the API server applies `--drain-pod-selector`) and evicted ([`super::drain`]).

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::keys;
use crate::node::{Condition, Taint, null_is_default};

/// A pod: the fields that a drain looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub struct PodView {
    /// Its `metadata`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub metadata: Metadata,
    /// Its `spec`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub spec: Spec,
    /// Its `status`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub status: Status,
}

/// The fields of a pod's `metadata` that a drain looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Its name.
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    /// Its namespace.
    #[serde(default, deserialize_with = "null_is_default")]
    pub namespace: String,
    /// The uid, which tells the pod from one that was created later under the same name.
    #[serde(default, deserialize_with = "null_is_default")]
    pub uid: String,
    /// By when it should be gone, RFC 3339, once somebody has deleted it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub deletion_timestamp: Option<String>,
    /// Its labels by key.
    #[serde(default, deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// Its annotations by key.
    #[serde(default, deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
    /// The pod's owners.
    #[serde(default, deserialize_with = "null_is_default")]
    pub owner_references: Vec<OwnerReference>,
}

/// An owner of the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference {
    /// The API group and version of the owner.
    #[serde(default)]
    pub api_version: String,
    /// The kind of the owner.
    #[serde(default)]
    pub kind: String,
    /// The name of the owner, in the namespace of the pod.
    #[serde(default)]
    pub name: String,
    /// The uid of the owner.
    #[serde(default)]
    pub uid: String,
    /// Whether this owner is the controller, which replaces the pod.
    #[serde(default, deserialize_with = "null_is_default")]
    pub controller: bool,
}

/// The fields of a pod's `spec` that a drain looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The Node that it is on.
    #[serde(default, deserialize_with = "null_is_default")]
    pub node_name: String,
    /// The priority, as its priority class sets it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub priority: i32,
    /// Which taints do not keep the pod from a node.
    #[serde(default, deserialize_with = "null_is_default")]
    pub tolerations: Vec<Toleration>,
}

/// A toleration: taints that do not keep the pod from a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub struct Toleration {
    /// The key of the taint; empty for any.
    #[serde(default, deserialize_with = "null_is_default")]
    pub key: String,
    /// `Exists` or `Equal`; empty for `Equal`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub operator: String,
    /// The value of the taint.
    #[serde(default, deserialize_with = "null_is_default")]
    pub value: String,
    /// The effect of the taint; empty for any.
    #[serde(default, deserialize_with = "null_is_default")]
    pub effect: String,
}

impl Toleration {
    /// Whether this tolerates a taint without a value, as ours and the cordon's are.
    /// The scheduler's rule (k8s.io/api: core/v1/toleration.go, `ToleratesTaint`).
    fn tolerates(&self, taint: &Taint) -> bool {
        (self.effect.is_empty() || self.effect == taint.effect)
            && (self.key.is_empty() || self.key == taint.key)
            && match self.operator.as_str() {
                "Exists" => true,
                "" | "Equal" => !self.key.is_empty() && self.value.is_empty(),
                _ => false,
            }
    }
}

/// The fields of a pod's `status` that a drain looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub struct Status {
    /// The phase, such as `Running`, `Succeeded` or `Failed`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub phase: String,
    /// Its conditions, such as `Ready`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub conditions: Vec<Condition>,
}

impl PodView {
    /// Whether the pod's condition Ready is true.
    pub fn is_ready(&self) -> bool {
        let mut conditions = self.status.conditions.iter();
        conditions.any(|condition| condition.kind == "Ready" && condition.status == "True")
    }
}

/// What a drain does with a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It must be gone before the reboot.
    Evict,
    /// It stays, because its DaemonSet would put it back at once. If that DaemonSet does not exist, it must leave.
    DaemonSet(DaemonSet),
    /// It stays: it is a mirror pod (the kubelet's, from a file on the host), or of another API group's DaemonSet.
    Stay,
}

/// The DaemonSet that a pod names as its controller.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DaemonSet {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The pod as `namespace/name`.
pub fn name(pod: &PodView) -> String {
    format!("{}/{}", pod.metadata.namespace, pod.metadata.name)
}

/// The annotation of mirror pods (k8s.io/api: `core/v1/annotation_key_constants.go`).
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What a drain does with this pod. As with kubectl, a finished pod of a DaemonSet is evicted.
///
/// Pods of a DaemonSet of another API group (`OpenKruise` has one) stay. kubectl evicts them, and they come back at once:
/// a drain that also evicts pods which come late would never end.
pub fn classify(pod: &PodView) -> Fate {
    let finished = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
    match daemon_set(pod) {
        Some(owner) if !finished && owner.api_version.starts_with("apps/") => Fate::DaemonSet(DaemonSet {
            namespace: pod.metadata.namespace.clone(),
            name: owner.name.clone(),
        }),
        Some(_) if !finished => Fate::Stay,
        _ if pod.metadata.annotations.contains_key(MIRROR) => Fate::Stay,
        _ => Fate::Evict,
    }
}

/// The `DaemonSet`, of any API group, that controls the pod, if one does.
pub fn daemon_set(pod: &PodView) -> Option<&OwnerReference> {
    let mut owners = pod.metadata.owner_references.iter();
    owners.find(|owner| owner.controller && owner.kind == "DaemonSet")
}

/// How much longer a drain waits for a pod. `None`: without end; zero: not any more.
///
/// `skip_wait` is `--skip-wait-for-delete-timeout`: how long after its `deletionTimestamp` a pod is still waited for.
pub fn patience(pod: &PodView, skip_wait: Option<SignedDuration>, now: Timestamp) -> Option<SignedDuration> {
    let deleted: Timestamp = pod.metadata.deletion_timestamp.as_ref()?.parse().ok()?;
    let end = deleted.checked_add(skip_wait?).ok()?;
    Some(end.duration_since(now).max(SignedDuration::ZERO))
}

/// The pod's controller, which replaces it when it is evicted, as `kind namespace/name`.
pub fn controller(pod: &PodView) -> Option<String> {
    let mut owners = pod.metadata.owner_references.iter();
    let owner = owners.find(|owner| owner.controller)?;
    Some(format!(
        "{} {}/{}",
        owner.kind, pod.metadata.namespace, owner.name
    ))
}

/// Whether the pod tolerates both the taint of a cordon and ours, so that neither keeps it from a node.
pub fn tolerates_drain(pod: &PodView) -> bool {
    [keys::UNSCHEDULABLE_TAINT, keys::REBOOTING]
        .map(Taint::no_schedule)
        .iter()
        .all(|taint| {
            pod.spec
                .tolerations
                .iter()
                .any(|toleration| toleration.tolerates(taint))
        })
}

/// Whether the pod stays because its owner wants it on the node. `kept` are the controllers that have put pods back too often
/// in this drain.
pub fn is_kept(pod: &PodView, kept: &BTreeSet<String>) -> bool {
    tolerates_drain(pod) && controller(pod).is_some_and(|controller| kept.contains(&controller))
}

/// The `DaemonSets` of these pods. Whether they exist decides what a drain does with the pods.
pub fn daemon_sets(pods: &[PodView]) -> BTreeSet<DaemonSet> {
    let named = pods.iter().filter_map(|pod| match classify(pod) {
        Fate::DaemonSet(daemon_set) => Some(daemon_set),
        Fate::Evict | Fate::Stay => None,
    });
    named.collect()
}

/// The pods of this list that a drain would evict or wait for, as `namespace/name`: the names of [`leaving`].
pub fn left(
    pods: &[PodView],
    missing: &BTreeSet<DaemonSet>,
    kept: &BTreeSet<String>,
    skip_wait: Option<SignedDuration>,
    now: Timestamp,
) -> Vec<String> {
    leaving(pods, missing, kept, skip_wait, now).map(name).collect()
}

/// The pods of this list that a drain would evict or wait for.
///
/// `missing` are the `DaemonSets` that do not exist, and `kept` the controllers of [`is_kept`].
pub fn leaving<'a>(
    pods: &'a [PodView],
    missing: &BTreeSet<DaemonSet>,
    kept: &BTreeSet<String>,
    skip_wait: Option<SignedDuration>,
    now: Timestamp,
) -> impl Iterator<Item = &'a PodView> {
    let leaves = |pod: &&PodView| match classify(pod) {
        Fate::Evict => true,
        Fate::DaemonSet(daemon_set) => missing.contains(&daemon_set),
        Fate::Stay => false,
    };
    let is_waited_for = move |pod: &&PodView| patience(pod, skip_wait, now) != Some(SignedDuration::ZERO);
    let is_kept = |pod: &&PodView| is_kept(pod, kept);
    pods.iter()
        .filter(move |pod| leaves(pod) && is_waited_for(pod) && !is_kept(pod))
}

#[cfg(test)]
mod tests;
