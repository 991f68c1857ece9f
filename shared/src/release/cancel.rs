//! A cancel by a person: whether it can still end the hold, and what is known of its effect afterwards.
//!
//! Not here: what a cancel says ([`crate::hold::cancel`]), who may write it ([`crate::admission`]), and what the agent does about it
//! ([`crate::reboot::cycle`]).

use jiff::Timestamp;

use super::{Change, cancel_patch};
use crate::Reading;
use crate::admission::SKEW;
use crate::fleet::PLUGIN;
use crate::hold::{self, Hold, Phase};
use crate::node::NodeView;
use crate::quote::quoted;
use crate::reboot::cycle::ATTEMPTS_MAX;

/// What a Node shows of a hold that was cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// The hold is still there.
    Going,
    /// The reboot is under way: the cancel came too late.
    TooLate,
    /// The hold is over, and the node is schedulable or not.
    Over {
        /// Whether it is cordoned.
        cordoned: bool,
    },
    /// Another hold is there: the one that was cancelled is over.
    Another,
}

/// Judges a cancel of the hold on this Node; the patch is a JSON patch. `is_stuck`: the agent says that the host does not go down.
pub fn cancelled_by(node: &NodeView, reason: &str, is_stuck: bool, now: Timestamp) -> Change {
    let name = quoted(node.name());
    let refused = |why: &str, instead: String| Change::Refused {
        why: why.to_owned(),
        instead,
    };
    let hold = match hold::read(node) {
        Reading::Present(hold) if hold.holder.names(node) => hold,
        Reading::Absent if !hold::has_marks(node) => {
            return refused(
                "no reboot is prepared there, so there is nothing to cancel",
                format!("{PLUGIN} pause {name} --reason TEXT"),
            );
        }
        Reading::Present(_) | Reading::Absent | Reading::Malformed(_) => {
            return refused(
                "its marks are no hold of this Node, and no agent would act on a cancel",
                format!("{PLUGIN} release {name}"),
            );
        }
    };
    if let Some(reason) = hold::cancelled(node, &hold.holder) {
        return Change::There { reason };
    }
    if hold.phase == Phase::Sealed && !is_stuck && hold.attempts < ATTEMPTS_MAX && !hold.is_silent(now, SKEW)
    {
        let why = "it is too late: its reboot is under way, and the node comes back by itself";
        return refused(why, format!("{PLUGIN} status {name} --watch"));
    }
    if hold.phase != Phase::Sealed && hold.is_silent(now, SKEW) {
        let why = "its agent does not renew the hold, so nobody would act on a cancel";
        return refused(why, format!("{PLUGIN} release {name}"));
    }
    Change::Write {
        body: cancel_patch(node, reason),
        then: then(&hold).to_owned(),
    }
}

/// What the agent does once the hold is cancelled.
fn then(hold: &Hold) -> &'static str {
    match hold.phase {
        Phase::Wanted => "the agent takes its wish back, and leaves the cordon as it is",
        Phase::Draining | Phase::Delaying => {
            "the agent stops, gives the cordon back as it was, and releases the lock"
        }
        Phase::Sealed => "the agent ends the hold if the host is not going down",
        Phase::Returning => "the agent waits no longer, gives the cordon back, and releases the lock",
    }
}

impl After {
    /// Judges a Node some time after the hold with this `created` was cancelled.
    pub fn of(node: &NodeView, created: &str) -> After {
        match hold::read(node).present() {
            None if hold::has_marks(node) => After::Going,
            None => After::Over {
                cordoned: node.spec.unschedulable,
            },
            Some(hold) if hold::canonical(&hold.holder.created) != hold::canonical(created) => After::Another,
            Some(hold) if hold.phase == Phase::Sealed => After::TooLate,
            Some(_) => After::Going,
        }
    }
}
