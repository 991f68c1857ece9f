//! The conditions of a Node, for `--node-conditions`: whether it is held, and the phase of the hold as Kubernetes' own lifecycle conditions
//! (KEP-5683; k8s.io/api v0.37: `core/v1/types.go`).
//!
//! They are for people and other programs; Cordonhold decides nothing by them.
//! Not here: the marks, by which everything is decided ([`super::read`]).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Hold, Phase, Signs, is_forced, is_held, read};
use crate::Reading;
use crate::keys;
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
const LIFECYCLE: [Condition; 4] = [PLANNED, DRAINING, DRAINED, IN_PROGRESS];

/// The lifecycle conditions that are true in a phase. `is_forced`: the drain was given up.
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

/// Whether the node is held, for `kubectl wait`. So it is written as false too, also on a Node that was never held.
const HELD: Condition = Condition {
    kind: keys::HELD_CONDITION,
    reason: "Reboot",
    message: "the node is held for a reboot: nobody but its agent uncordons it",
};
const NOT_HELD: (&str, &str) = ("NoReboot", "no reboot holds the node");

/// The strategic merge patch of the Node's status that makes its conditions fit its marks; `None` if they do.
///
/// It names the `resourceVersion` of this read, so it fails if the Node has changed since: `cordonhold.dev/Held` is written as false only
/// over a version that is not held. A lifecycle condition that was never true is not written as false. The patch that ends the lifecycle
/// conditions of a hold also takes the protection from autoscalers off the Node, which `signs` have left there.
pub fn conditions_patch(node: &NodeView, signs: &Signs, now: Timestamp) -> Option<Value> {
    let reading = read(node);
    let mut changed: Vec<Value> = held_change(node, &reading, now).into_iter().collect();
    let mut annotations = BTreeMap::new();
    match &reading {
        Reading::Present(hold) => changed.extend(lifecycle_changes(node, signs, Some(hold.phase), now)),
        Reading::Absent => {
            changed.extend(lifecycle_changes(node, signs, None, now));
            annotations = signs.unprotected(node);
        }
        // Marks that cannot be read are not ours: they hold the node, and nobody knows in which phase.
        Reading::Malformed(_) => {}
    }
    if changed.is_empty() && annotations.is_empty() {
        return None;
    }
    let mut patch = json!({ "metadata": { "resourceVersion": node.version() } });
    if !changed.is_empty() {
        patch["status"] = json!({ "conditions": changed });
    }
    if !annotations.is_empty() {
        patch["metadata"]["annotations"] = json!(annotations);
    }
    Some(patch)
}

/// The condition that says whether the node is held, if it is to change.
fn held_change(node: &NodeView, reading: &Reading<Hold>, now: Timestamp) -> Option<Value> {
    let (status, (reason, message)) = if is_held(reading) {
        ("True", (HELD.reason, HELD.message))
    } else {
        ("False", NOT_HELD)
    };
    let is_shown = status_of(node, &HELD) == Some(status);
    (!is_shown).then(|| condition(&HELD, status, (reason, message), now))
}

/// The lifecycle conditions that are to change.
fn lifecycle_changes(node: &NodeView, signs: &Signs, phase: Option<Phase>, now: Timestamp) -> Vec<Value> {
    let now_true = phase.map_or(&[][..], |phase| true_in(phase, is_forced(node)));
    let change = |kind: &Condition| {
        let is_true = now_true.contains(kind);
        let is_shown = status_of(node, kind) == Some("True");
        match (is_true, is_shown) {
            (true, false) if !signs.may_show(node) => None,
            (true, false) => Some(condition(kind, "True", (kind.reason, kind.message), now)),
            (false, true) => Some(condition(kind, "False", OVER, now)),
            (true, true) | (false, false) => None,
        }
    };
    LIFECYCLE.iter().filter_map(change).collect()
}

/// The status of this condition on the Node, if it is there.
fn status_of<'a>(node: &'a NodeView, condition: &Condition) -> Option<&'a str> {
    let mut shown = node.status.conditions.iter();
    let shown = shown.find(|shown| shown.kind == condition.kind)?;
    Some(&shown.status)
}

/// A condition as the API has it.
fn condition(kind: &Condition, status: &str, (reason, message): (&str, &str), now: Timestamp) -> Value {
    let now = format!("{now:.0}");
    json!({
        "type": kind.kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    })
}

/// Whether any of the lifecycle conditions is true on this Node.
pub(super) fn is_shown(node: &NodeView) -> bool {
    let is_true = |condition| status_of(node, condition) == Some("True");
    LIFECYCLE.iter().any(is_true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node;

    const HELD: &str = "cordonhold.dev/Held";
    const NOT_HELD: &str = "cordonhold.dev/Held=False";

    /// A Node in this phase that shows these conditions: true, or as `=` says.
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
            .map(|shown| {
                let (kind, status) = shown.split_once('=').unwrap_or((shown, "True"));
                node::Condition {
                    kind: kind.to_owned(),
                    status: status.to_owned(),
                    since: String::new(),
                }
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
        assert_eq!(changes(None, &["Ready", NOT_HELD]), [""; 0]);
        assert_eq!(
            changes(Some(Phase::Wanted), &["Ready", NOT_HELD]),
            ["MaintenancePlanned=True"]
        );
        assert_eq!(
            changes(Some(Phase::Draining), &["MaintenancePlanned", HELD]),
            ["DrainInProgress=True"]
        );
        assert_eq!(
            changes(
                Some(Phase::Delaying),
                &["MaintenancePlanned", "DrainInProgress", HELD]
            ),
            [
                "MaintenancePlanned=False",
                "DrainInProgress=False",
                "Drained=True",
                "MaintenanceInProgress=True"
            ]
        );
        for phase in [Phase::Sealed, Phase::Returning] {
            assert_eq!(
                changes(Some(phase), &["Drained", "MaintenanceInProgress", HELD]),
                [""; 0]
            );
        }
        assert_eq!(
            changes(None, &["Ready", "Drained", "MaintenanceInProgress", NOT_HELD]),
            ["Drained=False", "MaintenanceInProgress=False"]
        );
    }

    #[test]
    fn a_node_is_shown_as_held_from_the_cordon_to_the_end_of_the_hold_and_as_not_held_before_and_after() {
        for shown in [&["Ready"][..], &["Ready", HELD]] {
            assert_eq!(changes(None, shown), [NOT_HELD]);
            assert!(changes(Some(Phase::Wanted), shown).contains(&NOT_HELD.to_owned()));
        }
        for phase in [Phase::Draining, Phase::Delaying, Phase::Sealed, Phase::Returning] {
            for shown in [&["Ready"][..], &["Ready", NOT_HELD]] {
                assert!(
                    changes(Some(phase), shown).contains(&format!("{HELD}=True")),
                    "{phase}"
                );
            }
        }
    }

    #[test]
    fn a_drain_that_was_given_up_is_not_told_as_drained() {
        let mut node = in_phase(Some(Phase::Delaying), &[HELD]);
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
        let mut node = in_phase(Some(Phase::Wanted), &[NOT_HELD]);
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
    fn fail_safe_reading_marks_that_cannot_be_read_hold_the_node_and_show_nothing_else() {
        let shown = |shown: &[&str]| {
            let mut node = in_phase(Some(Phase::Draining), shown);
            drop(node.metadata.annotations.remove(keys::HOLDER));
            conditions_patch(&node, &Signs::default(), Timestamp::UNIX_EPOCH)
        };
        assert_eq!(shown(&[HELD]), None);
        let patch = shown(&[NOT_HELD, "MaintenancePlanned"]).unwrap();
        let conditions = patch["status"]["conditions"].as_array().unwrap();
        assert_eq!(conditions.len(), 1, "{patch}");
        assert_eq!(
            (&conditions[0]["type"], &conditions[0]["status"]),
            (&json!(HELD), &json!("True"))
        );
    }
}
