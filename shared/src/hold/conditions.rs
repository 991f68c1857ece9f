//! The lifecycle conditions of a Node, for `--node-conditions`: the phase of the hold as Kubernetes' own conditions
//! (KEP-5683; k8s.io/api v0.37: `core/v1/types.go`).
//!
//! They are for other programs; Cordonhold decides nothing by them.
//! Not here: the marks, by which everything is decided ([`super::read`]).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Phase, Signs, is_forced, read};
use crate::Reading;
use crate::node::NodeView;

/// A condition, with its reason and message while it is true.
#[derive(PartialEq)]
struct Condition {
    kind: &'static str,
    reason: &'static str,
    message: &'static str,
}

const PLANNED: Condition = Condition {
    kind: "MaintenancePlanned",
    reason: "RebootWanted",
    message: "the host wants a reboot",
};
const DRAINING: Condition = Condition {
    kind: "DrainInProgress",
    reason: "RebootDrainStarted",
    message: "the node is being drained for a reboot",
};
const DRAINED: Condition = Condition {
    kind: "Drained",
    reason: "RebootDrainCompleted",
    message: "nothing is left to evict before the reboot",
};
const IN_PROGRESS: Condition = Condition {
    kind: "MaintenanceInProgress",
    reason: "Rebooting",
    message: "the node is about to reboot, is rebooting, or is coming back",
};
const ALL: [Condition; 4] = [PLANNED, DRAINING, DRAINED, IN_PROGRESS];

/// The conditions that are true in a phase. `is_forced`: the drain was given up.
fn true_in(phase: Phase, is_forced: bool) -> &'static [Condition] {
    match phase {
        Phase::Wanted => &[PLANNED],
        Phase::Draining => &[PLANNED, DRAINING],
        // `MaintenanceInProgress` begins with the end of the drain: once the host goes down, it is too late to write it.
        Phase::Delaying | Phase::Sealed | Phase::Returning if is_forced => &[IN_PROGRESS],
        Phase::Delaying | Phase::Sealed | Phase::Returning => &[DRAINED, IN_PROGRESS],
    }
}

/// Reason and message of a condition that is no longer true.
const OVER: (&str, &str) = ("NoReboot", "no reboot needs this condition now");

/// The strategic merge patch of the Node's status that makes its conditions fit its phase; `None` if they do.
///
/// It names the `resourceVersion` of this read, so it fails if the Node has changed since. A condition that was never true is not
/// written as false. The patch that ends the conditions of a hold also takes the protection from autoscalers off the Node, which `signs`
/// have left there.
pub fn conditions_patch(node: &NodeView, signs: &Signs, now: Timestamp) -> Option<Value> {
    let phase = match read(node) {
        Reading::Present(hold) => Some(hold.phase),
        Reading::Absent => None,
        // Marks that cannot be read are not ours, so nothing can be said about them.
        Reading::Malformed(_) => return None,
    };
    let now = format!("{now:.0}");
    let now_true = phase.map_or(&[][..], |phase| true_in(phase, is_forced(node)));
    let changed: Vec<Value> = ALL
        .iter()
        .filter_map(|condition| {
            let is_true = now_true.contains(condition);
            let shown = node
                .status
                .conditions
                .iter()
                .find(|shown| shown.kind == condition.kind);
            let is_shown = shown.is_some_and(|shown| shown.status == "True");
            let (status, (reason, message)) = match (is_true, is_shown) {
                (true, false) if !signs.may_show(node) => return None,
                (true, false) => ("True", (condition.reason, condition.message)),
                (false, true) => ("False", OVER),
                (true, true) | (false, false) => return None,
            };
            Some(json!({
                "type": condition.kind,
                "status": status,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": now,
                "lastTransitionTime": now,
            }))
        })
        .collect();
    let annotations = match phase {
        Some(_) => BTreeMap::new(),
        None => signs.unprotected(node),
    };
    let mut patch = json!({ "metadata": { "resourceVersion": node.version() } });
    if changed.is_empty() && annotations.is_empty() {
        return None;
    }
    if !changed.is_empty() {
        patch["status"] = json!({ "conditions": changed });
    }
    if !annotations.is_empty() {
        patch["metadata"]["annotations"] = json!(annotations);
    }
    Some(patch)
}

/// Whether any of the conditions is true on this Node.
pub(super) fn is_shown(node: &NodeView) -> bool {
    let is_ours = |kind: &str| ALL.iter().any(|condition| condition.kind == kind);
    let mut conditions = node.status.conditions.iter();
    conditions.any(|shown| shown.status == "True" && is_ours(&shown.kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys;
    use crate::node;

    fn in_phase(phase: Option<Phase>, shown: &[&str]) -> NodeView {
        let mut node = NodeView::default();
        node.metadata.resource_version = "7".to_owned();
        if let Some(phase) = phase {
            drop(
                node.metadata
                    .labels
                    .insert(keys::PHASE.to_owned(), phase.to_string()),
            );
            let holder = "uid/2026-11-23T10:00:00.000000001Z".to_owned();
            drop(node.metadata.annotations.insert(keys::HOLDER.to_owned(), holder));
        }
        node.status.conditions = shown
            .iter()
            .map(|kind| node::Condition {
                kind: (*kind).to_owned(),
                status: "True".to_owned(),
                since: String::new(),
            })
            .collect();
        node
    }

    fn changes(phase: Option<Phase>, shown: &[&str]) -> Vec<String> {
        let Some(patch) = conditions_patch(&in_phase(phase, shown), &Signs::default(), Timestamp::UNIX_EPOCH)
        else {
            return Vec::new();
        };
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        let conditions = patch["status"]["conditions"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        conditions
            .iter()
            .map(|condition| format!("{}={}", text(&condition["type"]), text(&condition["status"])))
            .collect()
    }

    #[test]
    fn a_cycle_goes_planned_draining_drained_and_over() {
        assert_eq!(changes(None, &["Ready"]), [""; 0]);
        assert_eq!(
            changes(Some(Phase::Wanted), &["Ready"]),
            ["MaintenancePlanned=True"]
        );
        assert_eq!(
            changes(Some(Phase::Draining), &["MaintenancePlanned"]),
            ["DrainInProgress=True"]
        );
        assert_eq!(
            changes(Some(Phase::Delaying), &["MaintenancePlanned", "DrainInProgress"]),
            [
                "MaintenancePlanned=False",
                "DrainInProgress=False",
                "Drained=True",
                "MaintenanceInProgress=True"
            ]
        );
        for phase in [Phase::Sealed, Phase::Returning] {
            assert_eq!(
                changes(Some(phase), &["Drained", "MaintenanceInProgress"]),
                [""; 0]
            );
        }
        assert_eq!(
            changes(None, &["Ready", "Drained", "MaintenanceInProgress"]),
            ["Drained=False", "MaintenanceInProgress=False"]
        );
    }

    #[test]
    fn a_drain_that_was_given_up_is_not_told_as_drained() {
        let mut node = in_phase(Some(Phase::Delaying), &[]);
        let hold = read(&node).present().unwrap();
        let patch = crate::hold::NodePatch::delay_forced(&node, hold, "1 pod is left");
        for (key, value) in patch.annotations {
            drop(node.metadata.annotations.insert(key, value.unwrap()));
        }
        let patch = conditions_patch(&node, &Signs::default(), Timestamp::UNIX_EPOCH).unwrap();
        let conditions = patch["status"]["conditions"].as_array().unwrap();
        let kinds: Vec<&str> = conditions
            .iter()
            .filter_map(|condition| condition["type"].as_str())
            .collect();
        assert_eq!(kinds, ["MaintenanceInProgress"]);
    }

    /// A wish may be that of an earlier process, which ran without `--protect-from-autoscaler`.
    #[test]
    fn no_condition_is_shown_before_the_node_is_protected() {
        let signs = |protects| Signs {
            protects,
            shows_conditions: true,
            ..Signs::default()
        };
        let shows = |node: &NodeView, protects| {
            conditions_patch(node, &signs(protects), Timestamp::UNIX_EPOCH).is_some()
        };
        let mut node = in_phase(Some(Phase::Wanted), &[]);
        assert!(!shows(&node, true) && shows(&node, false));
        // Also where a person has decided that the node may be removed.
        for value in ["true", "false"] {
            let key = keys::SCALE_DOWN_DISABLED.to_owned();
            drop(node.metadata.annotations.insert(key, value.to_owned()));
            assert!(shows(&node, true), "{value}");
        }
        // What shows already is taken back all the same.
        assert!(shows(&in_phase(None, &["MaintenancePlanned"]), true));
    }

    #[test]
    fn marks_that_cannot_be_read_change_nothing() {
        let mut node = in_phase(Some(Phase::Draining), &[]);
        drop(node.metadata.annotations.remove(keys::HOLDER));
        assert_eq!(
            conditions_patch(&node, &Signs::default(), Timestamp::UNIX_EPOCH),
            None
        );
    }
}
