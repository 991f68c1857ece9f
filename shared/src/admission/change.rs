//! What an update changes of what is ours: the cordon, each mark by itself, the cancel.
//!
//! Not here: whether it may.

use crate::keys;
use crate::node::NodeView;

/// The changes of one update that anybody here cares about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent observations, each named"
)]
pub struct Change {
    /// `spec.unschedulable` goes from true to false.
    pub uncordons: bool,
    /// The other way round: nobody's business, unless the agent of another node does it.
    pub cordons: bool,
    pub annotations_or_phase: bool,
    pub taint: bool,
    /// A mark is added or gets another value, rather than removed.
    pub sets_marks: bool,
    pub cancel: bool,
}

impl Change {
    pub fn between(old: &NodeView, new: &NodeView) -> Change {
        let marks = || {
            let annotations = keys::MARK_ANNOTATIONS.map(|key| (old.annotation(key), new.annotation(key)));
            annotations
                .into_iter()
                .chain([(old.label(keys::PHASE), new.label(keys::PHASE))])
        };
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

    pub fn touches_marks(&self) -> bool {
        self.annotations_or_phase || self.taint
    }

    pub fn is_nothing(&self) -> bool {
        !self.uncordons && !self.touches_marks() && !self.cancel
    }
}

/// Whether the Node carries any mark at all.
pub(super) fn has_marks(node: &NodeView) -> bool {
    node.label(keys::PHASE).is_some()
        || node.is_tainted(keys::REBOOTING)
        || keys::MARK_ANNOTATIONS
            .iter()
            .any(|key| node.annotation(key).is_some())
}
