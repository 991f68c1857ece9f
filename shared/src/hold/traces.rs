//! The traces: everything of Cordonhold on a Node, whoever wrote it, and the patches that take it off.
//!
//! Only an uninstall sends these patches; it is no agent, so with the webhook a hold must be cancelled first.
//! Not here: when they are sent ([`crate::uninstall`]), and how an agent ends its own hold ([`super::patch`]).

use serde_json::{Value, json};

use super::{Hold, NodePatch, Proof, Signs};
use crate::keys;
use crate::node::{NodeView, Taint};

/// The traces on a Node, for people: `label KEY`, `annotation KEY`, `taint KEY`, `condition KEY`.
pub fn traces(node: &NodeView) -> Vec<String> {
    let labels = named("label", node.metadata.labels.keys());
    let annotations = named("annotation", node.metadata.annotations.keys());
    let taints = named("taint", node.spec.taints.iter().map(|taint| &taint.key));
    let conditions = node.status.conditions.iter().map(|condition| &condition.kind);
    let conditions = named("condition", conditions);
    labels
        .chain(annotations)
        .chain(taints)
        .chain(conditions)
        .collect()
}

/// Those of the keys that are ours, each after its kind.
fn named<'a>(kind: &'a str, keys: impl Iterator<Item = &'a String>) -> impl Iterator<Item = String> {
    keys.filter(|key| keys::is_ours(key))
        .map(move |key| format!("{kind} {key}"))
}

/// The strategic merge patch of the Node's status that removes [`keys::HELD_CONDITION`]; `None` if the Node does not have it.
pub fn condition_removed(node: &NodeView) -> Option<Value> {
    let condition = node.condition(keys::HELD_CONDITION)?;
    Some(json!({ "status": { "conditions": [{ "type": condition.kind, "$patch": "delete" }] } }))
}

impl NodePatch {
    /// The patch that ends a cancelled hold in the place of its agent, which is gone, and gives the cordon back by the same precedence.
    /// `has_rebooted`: whether the host has booted since the cordon.
    ///
    /// It writes no proof, and leaves the cancel: the webhook lets the marks go only while the cancel is there and nothing is written.
    pub fn give_back_for_agent(node: &NodeView, hold: &Hold, has_rebooted: bool) -> NodePatch {
        let mut patch = NodePatch::give_back(node, hold, Proof::new(0));
        patch.gives_back = None;
        for key in [keys::GIVEN_BACK, keys::CANCEL] {
            drop(patch.annotations.remove(key));
        }
        Signs::default().given_back(patch, node, has_rebooted)
    }

    /// The patch that removes marks of which no hold can be read, and leaves the cordon as it is.
    pub fn without_marks(node: &NodeView) -> NodePatch {
        let mut patch = NodePatch::of(node);
        for key in keys::MARK_ANNOTATIONS {
            patch.clear_if_set(node, key);
        }
        patch.phase = node.label(keys::PHASE).map(|_| None);
        patch.change_taints(node, &[Taint::no_schedule(keys::REBOOTING)], []);
        patch
    }

    /// The patch that removes every trace from a Node without marks but the condition, and puts back what the signs have replaced.
    pub fn without_traces(node: &NodeView) -> NodePatch {
        let mut patch = Signs::default()
            .leftover(node)
            .unwrap_or_else(|| NodePatch::of(node));
        let ours = |key: &&String| keys::is_ours(key);
        for key in node.metadata.annotations.keys().filter(ours) {
            patch.clear_if_set(node, key);
        }
        for key in node.metadata.labels.keys().filter(ours) {
            drop(patch.labels.insert(key.clone(), None));
        }
        let taints = node.spec.taints.iter();
        let taints: Vec<Taint> = taints
            .filter(|taint| keys::is_ours(&taint.key))
            .cloned()
            .collect();
        patch.change_taints(node, &taints, []);
        patch
    }
}
