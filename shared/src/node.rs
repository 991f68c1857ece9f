//! What Cordonhold reads of a Node: the few fields that decisions depend on.
//!
//! It is decoded straight from the API server's JSON and ignores all other fields, so a newer Kubernetes cannot break it.
//! Writes are patches ([`crate::hold::NodePatch`]), so they do not drop those fields either.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::keys;
use crate::quote::quoted;

/// The fields of a Node that Cordonhold reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub struct NodeView {
    /// The Node's `metadata`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub metadata: Metadata,
    /// The Node's `spec`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub spec: Spec,
    /// The Node's `status`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub status: Status,
}

/// Fields of a Node's `metadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The Node's name.
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    /// The Node's uid. A Node created later under the same name has another.
    #[serde(default, deserialize_with = "null_is_default")]
    pub uid: String,
    /// The Node's version, for a compare-and-swap.
    #[serde(default, deserialize_with = "null_is_default")]
    pub resource_version: String,
    /// The Node's labels by key.
    #[serde(default, deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// The Node's annotations by key.
    #[serde(default, deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
}

/// Fields of a Node's `spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub struct Spec {
    /// Whether the Node is cordoned.
    #[serde(default, deserialize_with = "null_is_default")]
    pub unschedulable: bool,
    /// The Node's taints.
    #[serde(default, deserialize_with = "null_is_default")]
    pub taints: Vec<Taint>,
}

/// A taint. The API server replaces the list of taints as a whole, so unknown fields are kept and written back.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Taint {
    /// The taint's key. A Node has at most one taint with the same key and effect.
    pub key: String,
    /// The taint's effect: `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
    /// The taint's other fields, unchanged.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Fields of a Node's `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The Node's conditions.
    #[serde(default, deserialize_with = "null_is_default")]
    pub conditions: Vec<Condition>,
    /// What the kubelet reports about the machine.
    #[serde(default, deserialize_with = "null_is_default")]
    pub node_info: NodeInfo,
}

/// A condition of a Node or of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub struct Condition {
    /// The condition's type, such as `Ready`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The condition's status: `True`, `False` or `Unknown`.
    pub status: String,
    /// The condition's `lastTransitionTime`, as written.
    #[serde(rename = "lastTransitionTime", default, deserialize_with = "null_is_default")]
    pub since: String,
}

/// Fields of a Node's `status.nodeInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub struct NodeInfo {
    /// The kernel's boot id that the kubelet last reported.
    #[serde(rename = "bootID", default, deserialize_with = "null_is_default")]
    pub boot_id: String,
}

impl Taint {
    /// A taint with this key and the effect `NoSchedule`.
    pub fn no_schedule(key: &str) -> Taint {
        Taint {
            key: key.to_owned(),
            effect: keys::NO_SCHEDULE.to_owned(),
            rest: Map::new(),
        }
    }

    /// A taint with this key and the effect `PreferNoSchedule`.
    pub fn prefer_no_schedule(key: &str) -> Taint {
        Taint {
            effect: keys::PREFER_NO_SCHEDULE.to_owned(),
            ..Taint::no_schedule(key)
        }
    }

    /// Whether the taint has this key and the effect `NoSchedule`.
    pub fn is_no_schedule(&self, key: &str) -> bool {
        self.is_like(&Taint::no_schedule(key))
    }

    /// Whether both taints have the same key and effect, so that a Node cannot have both.
    pub fn is_like(&self, other: &Taint) -> bool {
        self.key == other.key && self.effect == other.effect
    }
}

impl NodeView {
    /// The Node's name.
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// The Node's `resourceVersion`.
    pub fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    /// The value of the annotation with this key.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.get(key).map(String::as_str)
    }

    /// The value of the label with this key.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.get(key).map(String::as_str)
    }

    /// Whether the Node has the taint `key:NoSchedule`.
    pub fn is_tainted(&self, key: &str) -> bool {
        self.spec.taints.iter().any(|taint| taint.is_no_schedule(key))
    }

    /// Whether the condition Ready is true. A Node without that condition has no kubelet yet and is not ready.
    pub fn is_ready(&self) -> bool {
        self.ready().is_some_and(|ready| ready.status == "True")
    }

    /// Whether the Node is Ready, and the phase of its hold, for a message of somebody who waits for it: `Ready, draining`.
    pub fn summary(&self) -> String {
        let phase = self
            .label(keys::PHASE)
            .map_or_else(|| "not held".to_owned(), quoted);
        let ready = self
            .ready()
            .map(|ready| (ready.status.as_str(), ready.since.as_str()));
        let state = match ready {
            Some(("True", _)) => "Ready".to_owned(),
            Some((_, "")) | None => "not Ready".to_owned(),
            Some((_, since)) => format!("not Ready since {}", quoted(since)),
        };
        format!("{state}, {phase}")
    }

    /// The condition of this type, if the Node has it.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        let mut conditions = self.status.conditions.iter();
        conditions.find(|condition| condition.kind == kind)
    }

    fn ready(&self) -> Option<&Condition> {
        self.condition("Ready")
    }

    /// Whether a kubelet of the boot `boot_id` has reported the Node as Ready.
    ///
    /// After a quick reboot, the Ready condition of the previous boot is still there, so it counts only with the right boot id.
    /// If the status has no boot id, its Ready condition is believed; every kubelet reports one.
    pub fn is_ready_in(&self, boot_id: &str) -> bool {
        let reported = &self.status.node_info.boot_id;
        let this_boot = reported.is_empty() || reported == boot_id;
        this_boot && self.is_ready()
    }
}

/// Reads `null` as the default value. The API server leaves empty fields out, but a client may have written `null`.
pub(crate) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
