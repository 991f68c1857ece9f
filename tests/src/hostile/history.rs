//! Everything that happened to Nodes and pods, in the API server's own order, and whether a reboot was blind.
//!
//! A reboot is blind unless the agent sealed the node before it, while the node was cordoned and no pod was on it that a drain evicts.
//! What a hostile client writes after the seal does not count: the host is going down then, and nothing can stop it.
//! Not here: the watches ([`crate::follow`]).

use std::collections::BTreeMap;

use cordonhold_shared::keys;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Resource, ResourceExt as _};

use super::attack::FIELD_MANAGER;
use crate::follow::Change;
use crate::machine::{RebootRecord, drain_evicts};

/// All seals, and all stays of pods on nodes.
#[derive(Debug, Default)]
pub(super) struct History {
    phases: BTreeMap<String, String>,
    /// What each version of a Node showed, if it was something else than the one before.
    shown: BTreeMap<String, Vec<Shown>>,
    seals: Vec<Seal>,
    /// The first version of a Node that shows a boot, by boot id.
    boots: BTreeMap<String, u64>,
    /// By uid.
    stays: BTreeMap<String, Stay>,
}

/// The cordon and the marks of a version of a Node.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    is_cordoned: bool,
    text: String,
}

/// A version of a Node in which its agent has sealed it.
#[derive(Debug, Clone)]
struct Seal {
    node: String,
    version: u64,
    is_cordoned: bool,
}

/// A pod on a node that a drain evicts, from one version to another.
#[derive(Debug, Clone)]
struct Stay {
    name: String,
    node: String,
    from: u64,
    to: Option<u64>,
}

impl History {
    pub(super) fn node_changed(&mut self, change: &Change<Node>) {
        let Change::Updated(node) = change else { return };
        let name = node.name_any();
        let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
        if let Some(info) = info {
            let _ = self.boots.entry(info.boot_id.clone()).or_insert(version(node));
        }
        self.show(node);
        let phase = node.labels().get(keys::PHASE).cloned().unwrap_or_default();
        let before = self.phases.insert(name.clone(), phase.clone());
        if phase != "sealed" || before.as_deref() == Some("sealed") || is_forged(node) {
            return;
        }
        self.seals.push(Seal {
            node: name,
            version: version(node),
            is_cordoned: is_cordoned(node),
        });
    }

    fn show(&mut self, node: &Node) {
        let marks = keys::MARK_ANNOTATIONS.iter().filter_map(|key| {
            let value = node.annotations().get(*key)?;
            let name = key.rsplit('/').next().unwrap_or(key);
            Some(format!(" {name}={value}"))
        });
        let phase = node.labels().get(keys::PHASE).map_or("-", String::as_str);
        let shown = Shown {
            is_cordoned: is_cordoned(node),
            text: format!(
                "phase={phase} cordoned={}{}",
                is_cordoned(node),
                marks.collect::<String>()
            ),
        };
        let all = self.shown.entry(node.name_any()).or_default();
        if all.last() != Some(&shown) {
            all.push(shown);
        }
    }

    /// What a Node showed since it was schedulable last.
    pub(super) fn since_schedulable(&self, node: &str) -> Vec<String> {
        let all = self.shown.get(node).map(Vec::as_slice).unwrap_or_default();
        let begin = all
            .iter()
            .rposition(|shown| !shown.is_cordoned)
            .unwrap_or_default();
        all[begin..].iter().map(|shown| shown.text.clone()).collect()
    }

    pub(super) fn pod_changed(&mut self, change: &Change<Pod>) {
        match change {
            Change::Forget => {}
            Change::Updated(pod) => {
                let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
                let (Some(node), true) = (node, drain_evicts(pod)) else {
                    return;
                };
                let stay = Stay {
                    name: pod.name_any(),
                    node: node.clone(),
                    from: version(pod),
                    to: None,
                };
                let _ = self.stays.entry(pod.uid().unwrap_or_default()).or_insert(stay);
            }
            Change::Deleted(pod) => {
                if let Some(stay) = self.stays.get_mut(&pod.uid().unwrap_or_default()) {
                    stay.to = Some(version(pod));
                }
            }
        }
    }

    /// Why a reboot was blind; `None` if it was not. `before` is the boot that it ended, if that was a reboot too.
    pub(super) fn blindness(
        &self,
        node: &str,
        reboot: &RebootRecord,
        before: Option<&str>,
    ) -> Option<String> {
        let what = format!("the reboot of {node} at {}", reboot.at);
        let version_of = |boot: &str| self.boots.get(boot).copied();
        let Some(end) = version_of(&reboot.boot_id) else {
            return Some(format!("{what} is not on the Node"));
        };
        let begin = before.and_then(version_of).unwrap_or_default();
        let seals = self.seals.iter();
        let of_it = seals.filter(|seal| seal.node == node && (begin..end).contains(&seal.version));
        let Some(seal) = of_it.max_by_key(|seal| seal.version) else {
            return Some(format!("{what} was without a seal of its agent"));
        };
        if !seal.is_cordoned {
            return Some(format!("{what} was after a seal while the node was schedulable"));
        }
        let is_there = |stay: &&Stay| {
            stay.node == node && stay.from < seal.version && stay.to.is_none_or(|to| to > seal.version)
        };
        let pod = self.stays.values().find(is_there)?;
        Some(format!(
            "{what} was after a seal with the pod {} on the node",
            pod.name
        ))
    }
}

/// The version of an object. Versions of all kinds are numbers of one order (KEP-5504).
fn version<K: Resource>(object: &K) -> u64 {
    let version = object.meta().resource_version.as_deref().unwrap_or_default();
    version.parse().unwrap_or_default()
}

fn is_cordoned(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true)
}

/// Whether a hostile client has written the phase.
fn is_forged(node: &Node) -> bool {
    node.managed_fields().iter().any(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && fields.is_some_and(|fields| {
                !fields["f:metadata"]["f:labels"][format!("f:{}", keys::PHASE)].is_null()
            })
    })
}
