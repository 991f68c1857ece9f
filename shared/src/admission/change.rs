//! What an update changes of what is ours: the cordon, each mark by itself, the cancel.
//!
//! Not here: whether it may.

use std::fmt;

use crate::hold;
use crate::keys;
use crate::node::NodeView;

/// The changes of one update that anybody here cares about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent observations, each named"
)]
pub struct Change {
    /// `spec.unschedulable` goes from true to false.
    pub uncordons: bool,
    /// The other way round: no rule rests on it, but the audit trail tells it.
    pub cordons: bool,
    /// Marks that are annotations, the phase; and on a Node that carries marks what else is its owner's, see `guarded`.
    pub annotations_or_phase: bool,
    /// The taint of a hold is added or removed.
    pub taint: bool,
    /// A mark is added or gets another value, rather than removed.
    pub sets_marks: bool,
    /// The cancel is written, changed or removed.
    pub cancel: bool,
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
        }
    }

    /// Whether a mark changes, or what is guarded like one.
    pub fn touches_marks(&self) -> bool {
        self.annotations_or_phase || self.taint
    }

    /// Whether nothing changes that a rule rests on.
    pub fn is_nothing(&self) -> bool {
        !self.uncordons && !self.touches_marks() && !self.cancel
    }
}

/// As the audit trail names it: `uncordon`, `cordon`, `hold`, `taint`, `cancel`, joined by commas.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change {
            uncordons,
            cordons,
            annotations_or_phase,
            taint,
            cancel,
            // How marks change is no change of its own.
            sets_marks: _,
        } = *self;
        let effects = [
            ("uncordon", uncordons),
            ("cordon", cordons),
            ("hold", annotations_or_phase),
            ("taint", taint),
            ("cancel", cancel),
        ];
        let effects: Vec<&str> = effects
            .into_iter()
            .filter_map(|(effect, is_there)| is_there.then_some(effect))
            .collect();
        f.write_str(&effects.join(","))
    }
}

/// Before and after: every mark but the taint, and with any mark on the Node what the agent obeys beside them.
///
/// The label is among those where it becomes `disabled`: the DaemonSet takes the agent away that is to end the hold.
fn guarded<'a>(
    old: &'a NodeView,
    new: &'a NodeView,
) -> impl Iterator<Item = (Option<&'a str>, Option<&'a str>)> {
    let beside = hold::has_marks(old)
        .then_some(keys::OWNERS_ANNOTATIONS)
        .into_iter()
        .flatten();
    let annotations = keys::MARK_ANNOTATIONS.into_iter().chain(beside);
    // Whoever lets the agent come back is not kept from it.
    let takes_agent = hold::has_marks(old) && takes_agent(old, new);
    let agent = takes_agent.then(|| (old.label(keys::AGENT), new.label(keys::AGENT)));
    annotations
        .map(|key| (old.annotation(key), new.annotation(key)))
        .chain([(old.label(keys::PHASE), new.label(keys::PHASE))])
        .chain(agent)
}

/// Whether an update makes the DaemonSet take the agent off the node.
fn takes_agent(old: &NodeView, new: &NodeView) -> bool {
    let is_disabled = |node: &NodeView| node.label(keys::AGENT) == Some(keys::DISABLED);
    !is_disabled(old) && is_disabled(new)
}

/// Whether the label that says whether an agent runs there is all that an update changes of what is guarded.
pub(super) fn is_of_agent_label_alone(old: &NodeView, new: &NodeView) -> bool {
    let is_changed = |(old, new): &(Option<&str>, Option<&str>)| old != new;
    takes_agent(old, new) && guarded(old, new).filter(is_changed).count() == 1
}
