//! The signs: what an agent writes on its Node for others to read, beside the marks. A sign does not hold the Node.
//!
//! No sign costs a write of its own: it is part of a patch that writes marks. The wish carries kured's annotations and the soft taint, the
//! cordon carries labels and the protection from autoscalers, and the give-back carries the labels for after a reboot.
//! With `--node-conditions` the wish carries that protection already, and it stays until the conditions no longer show: they invite an
//! autoscaler to remove the node (KEP-5683, story 8). So it goes in the write that ends them ([`super::conditions`]).
//!
//! The value that a sign replaces is stored on the Node. When the hold ends it is put back, unless somebody has changed the sign meanwhile.
//! Labels are not put back after a reboot, only if the reboot was called off.
//! Anybody who may annotate the Node can forge the stored values. So only keys and values are put back that an agent can have stored:
//! a forgery changes no other key, and cannot make the API server refuse the patch.
//!
//! Not here: the marks ([`super::patch`]), and the Node's conditions ([`super::conditions`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::conditions::is_shown;
use super::{Hold, NodePatch, Phase};
use crate::keys;
use crate::names::{is_key, is_value};
use crate::node::{NodeView, Taint};

/// The signs that the operator has asked for. None by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Signs {
    /// `--annotate-nodes`: whether to write kured's two annotations.
    pub annotates: bool,
    /// `--pre-reboot-node-labels`: labels to set with the cordon.
    pub pre_reboot_labels: BTreeMap<String, String>,
    /// `--post-reboot-node-labels`: labels to set once the node is back from a reboot, cordoned or not.
    pub post_reboot_labels: BTreeMap<String, String>,
    /// `--prefer-no-schedule-taint`: the key of a `PreferNoSchedule` taint for a node that wants a reboot.
    pub soft_taint: Option<String>,
    /// `--protect-from-autoscaler`: whether to keep autoscalers from removing the node while it is held.
    pub protects: bool,
    /// `--node-conditions`: whether the Node's conditions show the hold.
    pub shows_conditions: bool,
}

/// What the signs have replaced on a Node: the value of [`keys::REPLACED`].
#[derive(Debug, Default, Deserialize, Serialize)]
struct Replaced {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, Replacement>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, Replacement>,
    /// The keys of the taints that were added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    taints: Vec<String>,
}

/// One replaced value: what it was, if it existed, and what replaced it.
#[derive(Debug, Deserialize, Serialize)]
struct Replacement {
    was: Option<String>,
    by: String,
}

/// The protecting annotations, of cluster-autoscaler and Karpenter.
const PROTECTIONS: [&str; 3] = [
    keys::SCALE_DOWN_DISABLED,
    keys::DO_NOT_DISRUPT,
    keys::DO_NOT_REPAIR,
];
/// Their value.
const PROTECTED: &str = "true";

fn is_protection(key: &str) -> bool {
    PROTECTIONS.contains(&key)
}

impl Signs {
    /// The patch of the wish made at `created`, with its signs. kured's annotations say since when a reboot is wanted, so an existing one
    /// stays.
    #[must_use]
    pub fn wished(&self, mut patch: NodePatch, node: &NodeView, created: &str) -> NodePatch {
        let mut replaced = self.kept_on(node);
        if self.shows_conditions {
            replaced.annotations.extend(self.protected(node, &mut patch));
        }
        if self.annotates && node.annotation(keys::KURED_REBOOT_IN_PROGRESS).is_none() {
            let since = created
                .parse::<jiff::Timestamp>()
                .map_or_else(|_| created.to_owned(), |time| format!("{time:.0}"));
            patch.set(keys::KURED_REBOOT_IN_PROGRESS, since.clone());
            patch.set(keys::KURED_MOST_RECENT_REBOOT_NEEDED, since.clone());
            let change = Replacement { was: None, by: since };
            drop(
                replaced
                    .annotations
                    .insert(keys::KURED_REBOOT_IN_PROGRESS.to_owned(), change),
            );
        }
        let is_there = |taint: &Taint| node.spec.taints.iter().any(|there| there.is_like(taint));
        let missing = self.taint().filter(|taint| !is_there(taint));
        replaced.taints.extend(missing.map(|taint| taint.key));
        patch.change_taints(node, &[], self.taint());
        replaced.remember(&mut patch, node);
        patch
    }

    /// The patch that cordons the node, with its signs. Only the first such patch of a hold writes signs and records what they replace:
    /// a later one could lose the values from before the hold.
    #[must_use]
    pub fn cordoned(&self, mut patch: NodePatch, node: &NodeView, hold: &Hold) -> NodePatch {
        if hold.phase != Phase::Wanted {
            return patch;
        }
        let mut replaced = self.replaced(node);
        replaced.annotations.extend(self.protected(node, &mut patch));
        replaced.labels = replace(&node.metadata.labels, &self.pre_reboot_labels, &mut patch.labels);
        replaced.remember(&mut patch, node);
        patch
    }

    /// The patch that ends a hold, without its signs. After a reboot the labels are those of `--post-reboot-node-labels`, as with kured;
    /// after a reboot that was called off, they are put back.
    #[must_use]
    pub fn given_back(&self, mut patch: NodePatch, node: &NodeView, has_rebooted: bool) -> NodePatch {
        let mut replaced = self.replaced(node);
        let kept = if self.shows_conditions && is_shown(node) {
            self.kept_on(node)
        } else {
            Replaced::default()
        };
        replaced
            .annotations
            .retain(|key, _| !kept.annotations.contains_key(key));
        put_back(replaced.annotations, &mut patch.annotations);
        if !has_rebooted {
            put_back(replaced.labels, &mut patch.labels);
        }
        kept.remember(&mut patch, node);
        if has_rebooted {
            drop(replace(
                &node.metadata.labels,
                &self.post_reboot_labels,
                &mut patch.labels,
            ));
        }
        if self.annotates {
            patch.clear_if_set(node, keys::KURED_REBOOT_IN_PROGRESS);
        }
        // Also a taint that an agent with other flags added.
        let were = replaced.taints.iter().map(|key| Taint::prefer_no_schedule(key));
        let soft: Vec<Taint> = self.taint().chain(were).collect();
        patch.change_taints(node, &soft, []);
        patch
    }

    /// The patch that removes signs from a Node without a hold; `None` if there are none.
    pub fn leftover(&self, node: &NodeView) -> Option<NodePatch> {
        Some(self.given_back(NodePatch::of(node), node, false)).filter(|patch| !patch.is_empty())
    }

    /// The changes of annotations that take the protection off a Node without a hold.
    pub(super) fn unprotected(&self, node: &NodeView) -> BTreeMap<String, Option<String>> {
        let mut replaced = self.replaced(node);
        let kept = self.kept_on(node);
        replaced.annotations.retain(|key, _| !is_protection(key));
        let mut patch = NodePatch::of(node);
        if !kept.annotations.is_empty() {
            put_back(kept.annotations, &mut patch.annotations);
            replaced.remember(&mut patch, node);
        }
        patch.annotations
    }

    /// Whether the conditions may say that the node is in maintenance: an autoscaler may then prefer to remove it. A person may have
    /// decided otherwise.
    pub(super) fn may_show(&self, node: &NodeView) -> bool {
        !self.protects || node.annotation(keys::SCALE_DOWN_DISABLED).is_some()
    }

    /// Adds the protection to the patch, and returns what it replaces.
    fn protected(&self, node: &NodeView, patch: &mut NodePatch) -> BTreeMap<String, Replacement> {
        let wanted = PROTECTIONS.into_iter().filter(|_| self.protects);
        let wanted = wanted.map(|key| (key.to_owned(), PROTECTED.to_owned())).collect();
        replace(&node.metadata.annotations, &wanted, &mut patch.annotations)
    }

    /// What the protection has replaced that is on the Node now, of this hold or of one before it.
    fn kept_on(&self, node: &NodeView) -> Replaced {
        let mut kept = Replaced {
            annotations: self.replaced(node).annotations,
            ..Replaced::default()
        };
        kept.annotations.retain(|key, _| is_protection(key));
        kept
    }

    fn taint(&self) -> impl Iterator<Item = Taint> {
        self.soft_taint.iter().map(|key| Taint::prefer_no_schedule(key))
    }

    /// The replacements stored on the Node, without those that no agent can have written and those that somebody has changed since.
    ///
    /// Only the flags say which labels are signs, so a stored label counts only if the current flags name it.
    fn replaced(&self, node: &NodeView) -> Replaced {
        let text = node.annotation(keys::REPLACED);
        let remembered: Option<Replaced> = text.and_then(|text| serde_json::from_str(text).ok());
        let mut replaced = remembered.unwrap_or_default();
        replaced
            .annotations
            .retain(|key, change| is_annotation(key, change) && node.annotation(key) == Some(&change.by));
        replaced.labels.retain(|key, change| {
            self.writes_label(key)
                && change.was.as_deref().is_none_or(is_value)
                && node.label(key) == Some(&change.by)
        });
        replaced.taints.retain(|key| {
            let soft = Taint::prefer_no_schedule(key);
            is_key(key) && !is_reserved(key) && node.spec.taints.iter().any(|there| there.is_like(&soft))
        });
        replaced
    }

    fn writes_label(&self, key: &str) -> bool {
        let is_named = self.pre_reboot_labels.contains_key(key) || self.post_reboot_labels.contains_key(key);
        is_named && is_key(key) && !key.starts_with(keys::DOMAIN)
    }
}

/// Whether this is an annotation that the signs write, and a change that they can have made.
fn is_annotation(key: &str, change: &Replacement) -> bool {
    match key {
        // It is written only if there was none.
        keys::KURED_REBOOT_IN_PROGRESS => change.was.is_none(),
        key => is_protection(key) && change.by == PROTECTED,
    }
}

/// Whether a taint with this key is Cordonhold's or Kubernetes' own, and so cannot be an operator's soft taint.
fn is_reserved(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let is_in = |parent: &str| {
        domain
            .strip_suffix(parent)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    key.starts_with(keys::DOMAIN) || is_in("kubernetes.io") || is_in("k8s.io")
}

impl Replaced {
    fn remember(&self, patch: &mut NodePatch, node: &NodeView) {
        if self.annotations.is_empty() && self.labels.is_empty() && self.taints.is_empty() {
            patch.clear_if_set(node, keys::REPLACED);
        } else {
            let text = serde_json::to_string(self).expect("maps of strings always render");
            if node.annotation(keys::REPLACED) != Some(text.as_str()) {
                patch.set(keys::REPLACED, text);
            }
        }
    }
}

/// Adds to the patch what is wanted and not there yet, and returns what that replaces.
fn replace(
    there: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
    patch: &mut BTreeMap<String, Option<String>>,
) -> BTreeMap<String, Replacement> {
    let missing = wanted
        .iter()
        .filter(|(key, value)| there.get(*key) != Some(*value));
    missing
        .map(|(key, value)| {
            drop(patch.insert(key.clone(), Some(value.clone())));
            let change = Replacement {
                was: there.get(key).cloned(),
                by: value.clone(),
            };
            (key.clone(), change)
        })
        .collect()
}

/// Adds to the patch the values from before the replacements.
fn put_back(replaced: BTreeMap<String, Replacement>, patch: &mut BTreeMap<String, Option<String>>) {
    patch.extend(replaced.into_iter().map(|(key, change)| (key, change.was)));
}

#[cfg(test)]
mod tests;
