//! What Cordonhold reads of a Node: the few fields that decisions rest on.
//!
//! It is decoded straight from the API server's JSON, so a field that a newer Kubernetes adds can neither break it
//! nor be dropped by a write of ours: writes are patches, see [`crate::hold::NodePatch`].

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::keys;
use crate::quote::quoted;

/// A Node as far as Cordonhold looks at it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub struct NodeView {
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

/// Of `metadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Its name.
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    /// One object, not a namesake that was created later.
    #[serde(default, deserialize_with = "null_is_default")]
    pub uid: String,
    /// Its version, for a compare-and-swap.
    #[serde(default, deserialize_with = "null_is_default")]
    pub resource_version: String,
    /// Its labels by key.
    #[serde(default, deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// Its annotations by key.
    #[serde(default, deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
}

/// Of `spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub struct Spec {
    /// Whether it is cordoned.
    #[serde(default, deserialize_with = "null_is_default")]
    pub unschedulable: bool,
    /// Its taints.
    #[serde(default, deserialize_with = "null_is_default")]
    pub taints: Vec<Taint>,
}

/// A taint. Taints are an atomic list, so what is not understood is kept and written back.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Taint {
    /// Its key; a Node has one taint for a key and an effect.
    pub key: String,
    /// What it does to pods: `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
    /// Its other fields, as they came.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Of `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Its conditions.
    #[serde(default, deserialize_with = "null_is_default")]
    pub conditions: Vec<Condition>,
    /// What its kubelet says of the machine.
    #[serde(default, deserialize_with = "null_is_default")]
    pub node_info: NodeInfo,
}

/// A condition of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub struct Condition {
    /// Which condition: `Ready`, for one.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// `lastTransitionTime`, as written.
    #[serde(rename = "lastTransitionTime", default, deserialize_with = "null_is_default")]
    pub since: String,
}

/// Of `status.nodeInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub struct NodeInfo {
    /// The kernel's boot id, as the kubelet reported it last.
    #[serde(rename = "bootID", default, deserialize_with = "null_is_default")]
    pub boot_id: String,
}

impl Taint {
    /// A taint with a key and the effect `NoSchedule`.
    pub fn no_schedule(key: &str) -> Taint {
        Taint {
            key: key.to_owned(),
            effect: keys::NO_SCHEDULE.to_owned(),
            rest: Map::new(),
        }
    }

    /// A taint with a key and the effect `PreferNoSchedule`.
    pub fn prefer_no_schedule(key: &str) -> Taint {
        Taint {
            effect: keys::PREFER_NO_SCHEDULE.to_owned(),
            ..Taint::no_schedule(key)
        }
    }

    /// Whether it has this key and the effect `NoSchedule`.
    pub fn is_no_schedule(&self, key: &str) -> bool {
        self.is_like(&Taint::no_schedule(key))
    }

    /// Whether the two have the same key and effect, which a Node has once.
    pub fn is_like(&self, other: &Taint) -> bool {
        self.key == other.key && self.effect == other.effect
    }
}

impl NodeView {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// The version that a compare-and-swap names.
    pub fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    /// The value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.get(key).map(String::as_str)
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.get(key).map(String::as_str)
    }

    /// Whether it has the taint `key:NoSchedule`.
    pub fn is_tainted(&self, key: &str) -> bool {
        self.spec.taints.iter().any(|taint| taint.is_no_schedule(key))
    }

    /// Whether its kubelet says so. A Node without a Ready condition has none yet.
    pub fn is_ready(&self) -> bool {
        self.ready().is_some_and(|ready| ready.status == "True")
    }

    /// Ready or not, and the phase of its hold, for whoever waits for it.
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

    fn ready(&self) -> Option<&Condition> {
        self.status
            .conditions
            .iter()
            .find(|condition| condition.kind == "Ready")
    }

    /// Ready, by a kubelet of the boot `boot_id`.
    ///
    /// The condition of the boot before outlives a quick reboot, so it counts only beside the right boot id;
    /// a status without boot id (no kubelet leaves it out) is taken at its word.
    pub fn is_ready_in(&self, boot_id: &str) -> bool {
        let reported = &self.status.node_info.boot_id;
        let this_boot = reported.is_empty() || reported == boot_id;
        this_boot && self.is_ready()
    }
}

/// The API server leaves empty fields out, but a client may have written `null`.
pub(crate) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
