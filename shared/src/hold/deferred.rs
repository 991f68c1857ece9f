//! A deferred uncordon: the annotation which says that somebody asked for an uncordon while the node was held. It is done when the hold ends.
//!
//! Like a cancel it names the hold, so that it never counts for a later one.
//! The same annotation notes an uncordon that was done under the hold: it passed because the hold had lapsed. There `done:` is before the
//! time. Nothing is left to do then; the cordon that the node had before the hold is over.
//! Not here: who may write or remove it ([`crate::admission`]), and how a hold ends with one ([`super::NodePatch`]).

use std::fmt;

use jiff::Timestamp;

use super::{Hold, Holder, Ignored, Phase, canonical, is_created, is_held};
use crate::Reading;
use crate::keys;
use crate::node::NodeView;
use crate::quote::{QUOTED_MAX, always_quoted, quoted};

/// Longest value that is read or written, in bytes: a `created`, a time, and a user name of 1 KiB, which is the longest that the webhook takes.
pub const DEFERRED_MAX_BYTES: usize = 1_200;

/// Stands for the time if the writer has no clock, as a policy of the API server has none.
const NO_CLOCK: &str = "-";
/// Stands before the time of an uncordon that was done.
const DONE: &str = "done:";

/// An uncordon that somebody asked for while the node was held.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeferredUncordon {
    /// The `created` of the hold that the node had then, as written.
    pub created: String,
    /// When the uncordon was asked for; `None` from a writer that has no clock.
    pub at: Option<Timestamp>,
    /// The user who asked for it.
    pub user: String,
}

impl DeferredUncordon {
    /// Whether it was asked for while this hold was there.
    pub fn is_of(&self, holder: &Holder) -> bool {
        canonical(&self.created) == canonical(&holder.created)
    }

    /// The value that notes this uncordon as one that was done.
    pub fn done(&self) -> String {
        let DeferredUncordon { created, user, .. } = self;
        format!("{created} {DONE}{} {user}", self.time())
    }

    fn time(&self) -> String {
        self.at
            .map_or_else(|| NO_CLOCK.to_owned(), |at| format!("{at:.0}"))
    }

    fn parse_done(text: &str) -> Option<DeferredUncordon> {
        let (created, rest) = text.split_once(' ')?;
        let rest = rest.strip_prefix(DONE)?;
        DeferredUncordon::parse(&format!("{created} {rest}"))
    }

    /// Reads the value as it is written on the Node, in the host's record and in the lock; `None` if it is malformed.
    pub fn parse(text: &str) -> Option<DeferredUncordon> {
        let (created, rest) = text.split_once(' ')?;
        let (at, user) = rest.split_once(' ')?;
        let at = match at {
            NO_CLOCK => None,
            at => Some(at.parse().ok()?),
        };
        let is_whole = is_created(created) && !user.is_empty() && text.len() <= DEFERRED_MAX_BYTES;
        is_whole.then(|| DeferredUncordon {
            created: created.to_owned(),
            at,
            user: user.to_owned(),
        })
    }
}

/// The value as it is written on the Node, with a time in whole seconds.
impl fmt::Display for DeferredUncordon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.created, self.time(), self.user)
    }
}

/// The deferred uncordon on a Node; absent if the Node shows one that was done. One that is malformed has no effect: nobody knows which hold
/// it is of.
pub fn deferred_uncordon(node: &NodeView) -> Reading<DeferredUncordon> {
    let Some(text) = node.annotation(keys::UNCORDON_WANTED) else {
        return Reading::Absent;
    };
    match DeferredUncordon::parse(text) {
        Some(deferred) => Reading::Present(deferred),
        None if DeferredUncordon::parse_done(text).is_some() => Reading::Absent,
        None => Reading::Malformed(format!(
            "{} is not '<created> <time or -> <user>': {}",
            keys::UNCORDON_WANTED,
            always_quoted(text, QUOTED_MAX)
        )),
    }
}

/// The uncordon that was done, as a Node notes it.
pub fn done_uncordon(node: &NodeView) -> Option<DeferredUncordon> {
    DeferredUncordon::parse_done(node.annotation(keys::UNCORDON_WANTED)?)
}

/// The hold on this Node, if an uncordon can be deferred until its end: the node is held, by marks that can be read and that name this Node.
/// Nobody would do an uncordon that waits for any other marks.
pub fn deferring_hold(node: &NodeView) -> Option<Hold> {
    let reading = super::read(node);
    let is_held = is_held(&reading);
    let hold = reading.present()?;
    (is_held && hold.holder.node_uid == node.metadata.uid).then_some(hold)
}

/// The uncordon that is deferred until the end of the hold on this Node.
pub fn deferred_of_hold(node: &NodeView) -> Option<DeferredUncordon> {
    let deferred = deferred_uncordon(node).present()?;
    deferred.is_of(&deferring_hold(node)?.holder).then_some(deferred)
}

/// The uncordon that was done under the hold on this Node.
pub fn done_under_hold(node: &NodeView) -> Option<DeferredUncordon> {
    done_before_end(node, &deferring_hold(node)?)
}

/// The uncordon that this Node shows to be deferred until the end of this hold.
///
/// A wish holds nothing and defers nothing, so none counts if the hold is a wish, both as the agent knows it and as the Node shows it.
/// Marks that somebody has forged beyond a wish do count: the webhook took the node for held, and deferred the uncordon.
pub fn deferred_until_end(node: &NodeView, hold: &Hold) -> Option<DeferredUncordon> {
    let deferred = deferred_uncordon(node).present()?;
    let is_of_it = hold.holder.node_uid == node.metadata.uid && deferred.is_of(&hold.holder);
    let counts = is_of_it && (hold.phase != Phase::Wanted || deferred_of_hold(node).is_some());
    counts.then_some(deferred)
}

/// The uncordon that this Node notes as done under this hold: the hold had lapsed then. What the cordon was before the hold is over with it,
/// and a cordon that is there now is that of somebody who cordoned the node since.
pub fn done_before_end(node: &NodeView, hold: &Hold) -> Option<DeferredUncordon> {
    let is_of_it =
        |done: &DeferredUncordon| hold.holder.node_uid == node.metadata.uid && done.is_of(&hold.holder);
    done_uncordon(node).filter(is_of_it)
}

/// Why the deferred uncordon on this Node has no effect, and what to do instead. `None` if there is none, it counts, or no hold can be read
/// with which to compare it.
pub(super) fn ignored(node: &NodeView) -> Option<Ignored> {
    let why = match deferred_uncordon(node) {
        Reading::Absent => return None,
        Reading::Malformed(why) => why,
        Reading::Present(deferred) => {
            let shown = super::read(node).present()?;
            if deferred_until_end(node, &shown).is_some() {
                return None;
            }
            let why = if deferred.is_of(&shown.holder) {
                "names a reboot that does not hold the node yet"
            } else {
                "names another hold"
            };
            format!("{} of {} {why}", keys::UNCORDON_WANTED, quoted(&deferred.user))
        }
    };
    Some(Ignored {
        why: format!("{why}: it does nothing"),
        purpose: "to ask for an uncordon",
        command: format!("kubectl uncordon {}", quoted(node.name())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATED: &str = "2026-11-29T10:00:00.000000001Z";

    fn read(text: &str) -> Reading<DeferredUncordon> {
        let mut node = NodeView::default();
        drop(
            node.metadata
                .annotations
                .insert(keys::UNCORDON_WANTED.to_owned(), text.to_owned()),
        );
        deferred_uncordon(&node)
    }

    #[test]
    fn a_deferred_uncordon_is_read_as_it_was_written() {
        for (at, user) in [
            (None, "system:serviceaccount:gpu-operator:nvidia-driver"),
            (Some("2026-11-29T10:05:00Z"), "CN=Jo Doe, O=ops"),
            (None, " - "),
        ] {
            let written = DeferredUncordon {
                created: CREATED.to_owned(),
                at: at.map(|at| at.parse().unwrap()),
                user: user.to_owned(),
            };
            assert_eq!(read(&written.to_string()), Reading::Present(written));
        }
    }

    #[test]
    fn an_uncordon_that_was_done_is_not_deferred_any_more() {
        let asked = read(&format!("{CREATED} 2026-11-29T10:05:00Z jo"))
            .present()
            .unwrap();
        let mut node = NodeView::default();
        let annotations = &mut node.metadata.annotations;
        drop(annotations.insert(keys::UNCORDON_WANTED.to_owned(), asked.done()));
        assert_eq!(
            node.annotation(keys::UNCORDON_WANTED),
            Some("2026-11-29T10:00:00.000000001Z done:2026-11-29T10:05:00Z jo")
        );
        assert_eq!(deferred_uncordon(&node), Reading::Absent);
        assert_eq!(done_uncordon(&node), Some(asked));
    }

    #[test]
    fn it_counts_for_the_hold_that_it_names_alone() {
        let deferred = read(&format!("{CREATED} - jo")).present().unwrap();
        let holder = |created: &str| Holder {
            node_uid: "u".to_owned(),
            created: created.to_owned(),
        };
        assert!(deferred.is_of(&holder(CREATED)));
        assert!(deferred.is_of(&holder("2026-11-29T11:00:00.000000001+01:00")));
        assert!(!deferred.is_of(&holder("2026-11-29T10:00:00Z")));
    }

    #[test]
    fn fail_safe_reading_what_names_no_hold_no_time_or_no_user_is_malformed() {
        let long = format!("{CREATED} - {}", "x".repeat(DEFERRED_MAX_BYTES));
        for text in [
            "",
            CREATED,
            &format!("{CREATED} -"),
            &format!("{CREATED} - "),
            &format!("{CREATED} now jo"),
            "yesterday - jo",
            &long,
        ] {
            let Reading::Malformed(why) = read(text) else {
                panic!("{text}")
            };
            assert!(why.len() < 1_000, "{why}");
        }
        assert_eq!(deferred_uncordon(&NodeView::default()), Reading::Absent);
    }
}
