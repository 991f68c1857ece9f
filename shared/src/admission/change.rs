//! What an update of a Node changes in the things that Cordonhold guards: the cordon, the marks, the cancel, the request for a reboot,
//! the deferred uncordon and the probe.
//!
//! Not here: whether the change is allowed ([`super::decide`]).

use std::fmt;

use crate::hold;
use crate::keys;
use crate::node::NodeView;

/// The changes of one update of a Node, as far as the rules or the audit trail need them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent observations, each named"
)]
pub struct Change {
    /// `spec.unschedulable` goes from true to false.
    pub uncordons: bool,
    /// `spec.unschedulable` goes from false to true. No rule needs this; it is for the audit trail.
    pub cordons: bool,
    /// A mark that is an annotation changes, or the phase label. On a Node that carries marks also the other labels and annotations
    /// that only the agent may change, see `guarded`.
    pub annotations_or_phase: bool,
    /// The taint of a hold is added or removed.
    pub taint: bool,
    /// A mark is added or gets another value. False if marks are only removed.
    pub sets_marks: bool,
    /// The cancel is written, changed or removed.
    pub cancel: bool,
    /// The request for a reboot is written, changed or removed.
    pub request: bool,
    /// The deferred uncordon is written or replaced, or one that counts for the hold is removed.
    pub deferred: bool,
    /// The probe is written or gets another value. False if it is removed.
    pub probes: bool,
}

impl Change {
    /// What changes from `old` to `new`.
    pub fn between(old: &NodeView, new: &NodeView) -> Change {
        let marks = || guarded(old, new);
        let taint = (old.is_tainted(keys::REBOOTING), new.is_tainted(keys::REBOOTING));
        Change {
            uncordons: old.spec.unschedulable && !new.spec.unschedulable,
            cordons: !old.spec.unschedulable && new.spec.unschedulable,
            annotations_or_phase: marks().any(|(old, new)| old != new),
            taint: taint.0 != taint.1,
            sets_marks: taint == (false, true) || marks().any(|(old, new)| new.is_some() && old != new),
            cancel: old.annotation(keys::CANCEL) != new.annotation(keys::CANCEL),
            request: old.annotation(keys::REBOOT_WANTED) != new.annotation(keys::REBOOT_WANTED),
            deferred: old.annotation(keys::UNCORDON_WANTED) != new.annotation(keys::UNCORDON_WANTED)
                && (new.annotation(keys::UNCORDON_WANTED).is_some()
                    || hold::deferred_of_hold(old).is_some()
                    || hold::done_under_hold(old).is_some()),
            probes: new.annotation(keys::PROBE).is_some()
                && old.annotation(keys::PROBE) != new.annotation(keys::PROBE),
        }
    }

    /// Whether a mark changes, or something that is guarded like a mark.
    pub fn touches_marks(&self) -> bool {
        self.annotations_or_phase || self.taint
    }

    /// Whether the probe is all that a rule looks at.
    pub(super) fn is_probe_alone(self) -> bool {
        let others = Change {
            probes: false,
            ..self
        };
        self.probes && others.is_nothing()
    }

    /// Whether the update changes nothing that a rule looks at.
    pub fn is_nothing(&self) -> bool {
        !self.request && self.is_nothing_but_request()
    }

    /// Whether the update changes nothing that a rule looks at, except for the request for a reboot.
    pub(super) fn is_nothing_but_request(self) -> bool {
        !self.uncordons && !self.touches_marks() && !self.cancel && !self.deferred && !self.probes
    }
}

/// The changes as the audit trail lists them: `uncordon`, `cordon`, `hold`, `taint`, `cancel`, `request`, `deferred`, `probe`, joined by commas.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change {
            uncordons,
            cordons,
            annotations_or_phase,
            taint,
            cancel,
            request,
            deferred,
            probes,
            // Not listed: it only says how the marks change, which `hold` and `taint` already cover.
            sets_marks: _,
        } = *self;
        let effects = [
            ("uncordon", uncordons),
            ("cordon", cordons),
            ("hold", annotations_or_phase),
            ("taint", taint),
            ("cancel", cancel),
            ("request", request),
            ("deferred", deferred),
            ("probe", probes),
        ];
        let effects: Vec<&str> = effects
            .into_iter()
            .filter_map(|(effect, is_there)| is_there.then_some(effect))
            .collect();
        f.write_str(&effects.join(","))
    }
}

/// The values before and after of everything guarded but the taint: the marks and, on a Node that carries marks, the annotations
/// that the agent acts on beside them.
///
/// The agent label counts only when it becomes `disabled`: the DaemonSet then removes the agent that should end the hold.
fn guarded<'a>(
    old: &'a NodeView,
    new: &'a NodeView,
) -> impl Iterator<Item = (Option<&'a str>, Option<&'a str>)> {
    let beside = hold::has_marks(old)
        .then_some(keys::OWNERS_ANNOTATIONS)
        .into_iter()
        .flatten();
    let annotations = keys::MARK_ANNOTATIONS.into_iter().chain(beside);
    // Anybody may change the label so that the agent comes back.
    let takes_agent = hold::has_marks(old) && takes_agent(old, new);
    let agent = takes_agent.then(|| (old.label(keys::AGENT), new.label(keys::AGENT)));
    annotations
        .map(|key| (old.annotation(key), new.annotation(key)))
        .chain([(old.label(keys::PHASE), new.label(keys::PHASE))])
        .chain(agent)
}

/// Whether an update sets the label that makes the DaemonSet remove the agent from the node.
fn takes_agent(old: &NodeView, new: &NodeView) -> bool {
    let is_disabled = |node: &NodeView| node.label(keys::AGENT) == Some(keys::DISABLED);
    !is_disabled(old) && is_disabled(new)
}

/// Whether setting the agent label to `disabled` is the only guarded change of an update. The taint is not looked at.
pub(super) fn is_of_agent_label_alone(old: &NodeView, new: &NodeView) -> bool {
    let is_changed = |(old, new): &(Option<&str>, Option<&str>)| old != new;
    takes_agent(old, new) && guarded(old, new).filter(is_changed).count() == 1
}
