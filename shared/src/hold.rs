//! The hold: the marks that an agent writes on its Node, and how they are read.
//!
//! Every change of the marks is a [`NodePatch`].
//! Not here: who may change them ([`crate::admission`]), and when the agent does ([`crate::reboot::cycle`]).

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Reading;
use crate::keys;
use crate::node::NodeView;
use crate::selector::Selector;

mod account;
mod cancel;
mod conditions;
mod deferred;
mod patch;
mod reboots;
mod request;
mod signs;
mod traces;

pub use account::{Account, Accounting, Tally, account, last_reboot};
pub use cancel::{
    Cancel, CancelFlaw, Ignored, UNREADABLE, cancel, cancel_command, cancel_flaw, cancel_name, ignored,
    pause_command,
};
pub use conditions::conditions_patch;
pub use deferred::{
    DEFERRED_MAX_BYTES, DeferredUncordon, deferred_of_hold, deferred_uncordon, deferred_until_end,
    deferring_hold, done_before_end, done_uncordon, done_under_hold,
};
pub use patch::{NodePatch, PatchKind, Terms};
pub use reboots::{OneMore, REBOOTS_KEPT_MAX, reboots};
pub use request::{
    REQUEST_AGE_MAX, REQUEST_AHEAD_MAX, RebootRequest, RequestFlaw, bad_request, ignored_request,
    reboot_command, reboot_request, requested_at,
};
pub use signs::Signs;
pub use traces::{condition_removed, traces};

/// How long after `until` the webhook still denies an uncordon.
pub const UNTIL_GRACE: SignedDuration = SignedDuration::from_mins(5);
/// How far ahead an agent sets `until` while it works. It renews it every [`RENEW_EVERY`].
pub const UNTIL_AHEAD: SignedDuration = SignedDuration::from_mins(10);
/// How often `until` is renewed while draining and delaying.
pub const RENEW_EVERY: SignedDuration = SignedDuration::from_mins(3);

/// The identity of one hold: the Node object, and when the hold was stamped. Once it is off the Node, it is never written again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Holder {
    /// The `metadata.uid` of the Node object.
    pub node_uid: String,
    /// When the hold was stamped: RFC 3339 with nanoseconds, kept as it is written on the Node.
    pub created: String,
}

impl Holder {
    fn parse(text: &str) -> Option<Holder> {
        let (node_uid, created) = text.split_once('/')?;
        let readable = !node_uid.is_empty() && is_created(created);
        readable.then(|| Holder {
            node_uid: node_uid.to_owned(),
            created: created.to_owned(),
        })
    }

    /// Whether it is a hold of this Node object, and not of another one or of an earlier one of this name.
    pub fn names(&self, node: &NodeView) -> bool {
        self.node_uid == node.metadata.uid
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node_uid, self.created)
    }
}

/// Whether this is a timestamp and safe as one word on a command line.
fn is_created(text: &str) -> bool {
    let is_plain = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-:.+".contains(c));
    is_plain && text.parse::<Timestamp>().is_ok()
}

/// The time in one form, RFC 3339 in UTC with nanoseconds, so that equal times are equal texts. Text that is no time stays as it is.
pub fn canonical(created: &str) -> String {
    created
        .parse::<Timestamp>()
        .map_or_else(|_| created.to_owned(), |time| format!("{time:.9}"))
}

/// Proof of one write of an agent: 128 random bits that only this write can have put on the Node. It is only compared for equality.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Proof(String);

impl Proof {
    /// A proof from 128 random bits.
    pub fn new(bits: u128) -> Proof {
        Proof(format!("{bits:032x}"))
    }

    /// The proof as it is written on the Node and in the lock: 32 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How far a hold has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// A wish: the agent waits for the window, the blockers or the lock. It has not cordoned the node, and the node is not held.
    Wanted,
    /// The node is cordoned, and its pods are evicted.
    Draining,
    /// The drain is over, and `--reboot-delay` runs.
    Delaying,
    /// The reboot is being issued or under way.
    Sealed,
    /// The node is back, and the cordon is about to be given back.
    Returning,
}

impl Phase {
    /// Every phase, in the order of a reboot.
    pub const ALL: [Phase; 5] = [
        Phase::Wanted,
        Phase::Draining,
        Phase::Delaying,
        Phase::Sealed,
        Phase::Returning,
    ];

    /// The value of the label [`keys::PHASE`].
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Wanted => "wanted",
            Phase::Draining => "draining",
            Phase::Delaying => "delaying",
            Phase::Sealed => "sealed",
            Phase::Returning => "returning",
        }
    }

    fn parse(text: &str) -> Option<Phase> {
        Phase::ALL.into_iter().find(|phase| phase.as_str() == text)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The marks of a Node, parsed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hold {
    /// The identity of the hold.
    pub holder: Holder,
    /// How far the hold has come.
    pub phase: Phase,
    /// The webhook denies an uncordon until this time plus [`UNTIL_GRACE`]. `None`: without end.
    pub until: Option<Timestamp>,
    /// The boot in which the node was cordoned, as [`crate::host::Boot`] displays it.
    pub boot_id: Option<String>,
    /// Whether the node was cordoned before. Decided once, by the patch to `draining`; `None` before that.
    pub was_unschedulable: Option<bool>,
    /// How many reboot commands may have been run for this hold.
    pub attempts: u8,
    /// The proof of the last write of these marks.
    pub write: Option<Proof>,
}

impl Hold {
    /// Whether both are the marks that one and the same write left.
    ///
    /// `until` is not compared: only the webhook uses it, and no agent decides by it.
    pub fn is_same(&self, other: &Hold) -> bool {
        self.write.is_some()
            && *self
                == Hold {
                    until: self.until,
                    ..other.clone()
                }
    }

    /// The marks of a new wish.
    pub fn wish(holder: Holder, write: Proof) -> Hold {
        Hold {
            holder,
            phase: Phase::Wanted,
            until: None,
            boot_id: None,
            was_unschedulable: None,
            attempts: 0,
            write: Some(write),
        }
    }

    /// The marks that a later write leaves.
    #[must_use]
    pub fn written(&self, phase: Phase, write: Proof) -> Hold {
        Hold {
            phase,
            until: None,
            write: Some(write),
            ..self.clone()
        }
    }

    /// The age of the hold since the holder's `created`; zero if that is in the future.
    pub fn age(&self, now: Timestamp) -> SignedDuration {
        let created: Option<Timestamp> = self.holder.created.parse().ok();
        created
            .map_or(SignedDuration::ZERO, |created| now.duration_since(created))
            .max(SignedDuration::ZERO)
    }

    /// Whether the agent has stopped working on the hold: two renewals are missing or, once sealed, the time for the reboot is over.
    pub fn is_silent(&self, now: Timestamp, skew: SignedDuration) -> bool {
        let Some(until) = self.until else { return true };
        let ahead = match self.phase {
            Phase::Sealed => SignedDuration::ZERO,
            Phase::Wanted | Phase::Draining | Phase::Delaying | Phase::Returning => {
                UNTIL_AHEAD.saturating_sub(RENEW_EVERY.saturating_mul(2))
            }
        };
        let bound = until.checked_sub(ahead).and_then(|bound| bound.checked_add(skew));
        bound.is_ok_and(|bound| now > bound)
    }

    /// Whether the hold has run out: the webhook then lets an uncordon pass, because `until` was not renewed in time.
    pub fn has_lapsed(&self, now: Timestamp, skew: SignedDuration) -> bool {
        let Some(until) = self.until else { return false };
        let bound = UNTIL_GRACE
            .checked_add(skew)
            .and_then(|margin| until.checked_add(margin).ok());
        bound.is_some_and(|bound| now > bound)
    }
}

/// Reads the marks of a Node.
pub fn read(node: &NodeView) -> Reading<Hold> {
    let holder = node.annotation(keys::HOLDER);
    let phase = node.label(keys::PHASE);
    match (holder, phase) {
        (None, None) => Reading::Absent,
        (Some(_), None) => Reading::Malformed(format!("label {} is missing", keys::PHASE)),
        (None, Some(_)) => Reading::Malformed(format!("annotation {} is missing", keys::HOLDER)),
        (Some(holder), Some(phase)) => match read_all(node, holder, phase) {
            Ok(hold) => Reading::Present(hold),
            Err(key) => Reading::Malformed(format!("{key} cannot be read")),
        },
    }
}

/// Parses all marks. The error is the key that cannot be read.
fn read_all(node: &NodeView, holder: &str, phase: &str) -> Result<Hold, &'static str> {
    let until = match node.annotation(keys::UNTIL) {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| keys::UNTIL)?),
    };
    let was_unschedulable = match node.annotation(keys::WAS_UNSCHEDULABLE) {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => return Err(keys::WAS_UNSCHEDULABLE),
    };
    let attempts = match node.annotation(keys::ATTEMPT) {
        None => 0,
        Some(text) => text.parse().map_err(|_| keys::ATTEMPT)?,
    };
    Ok(Hold {
        holder: Holder::parse(holder).ok_or(keys::HOLDER)?,
        phase: Phase::parse(phase).ok_or(keys::PHASE)?,
        until,
        boot_id: node.annotation(keys::BOOT_ID).map(str::to_owned),
        was_unschedulable,
        attempts,
        write: node.annotation(keys::WRITE).map(|text| Proof(text.to_owned())),
    })
}

/// Whether the Node carries any mark at all, readable or not.
pub fn has_marks(node: &NodeView) -> bool {
    node.label(keys::PHASE).is_some()
        || node.is_tainted(keys::REBOOTING)
        || keys::MARK_ANNOTATIONS
            .iter()
            .any(|key| node.annotation(key).is_some())
}

/// Whether the node is held: by a hold beyond a wish, or by marks that cannot be read.
pub fn is_held(reading: &Reading<Hold>) -> bool {
    match reading {
        Reading::Absent => false,
        Reading::Present(hold) => hold.phase != Phase::Wanted,
        Reading::Malformed(_) => true,
    }
}

/// The label selector for the Nodes of the pool that may be held: those with a phase other than `wanted`, unknown ones included.
pub fn held_selector(pool: &Selector) -> String {
    let comma = if pool.is_everything() { "" } else { "," };
    format!("{0},{0}!={1}{comma}{pool}", keys::PHASE, Phase::Wanted)
}

/// The person's reason, if the Node carries a cancel that names this hold.
pub fn cancelled(node: &NodeView, holder: &Holder) -> Option<String> {
    cancel(node)
        .filter(|cancel| cancel.created == holder.created)
        .map(|cancel| cancel.reason)
}

/// Whether the write with this proof gave this hold back. If so, a cordon that is there now is somebody else's.
///
/// Once it is in `given-back`, anybody can read the proof, so it is compared for equality and used for nothing else.
pub fn was_given_back(node: &NodeView, created: &str, write: &Proof) -> bool {
    node.annotation(keys::GIVEN_BACK)
        .and_then(|text| text.split_once(' '))
        .is_some_and(|(of, proof)| canonical(of) == canonical(created) && proof == write.as_str())
}

/// Whether this hold was given back, but its lock entry is kept for `--lock-release-delay`.
pub fn delays_release(node: &NodeView, created: &str) -> bool {
    node.annotation(keys::RELEASE_AT)
        .and_then(|text| text.split_whitespace().next())
        .is_some_and(|of| canonical(of) == canonical(created))
}

/// When the lock entry that is kept for `--lock-release-delay` is due for release. `None`: there is no readable time; an entry that is
/// kept all the same is due at once.
pub fn release_at(node: &NodeView) -> Option<Timestamp> {
    let (_, time) = node.annotation(keys::RELEASE_AT)?.split_once(' ')?;
    time.parse().ok()
}

/// Whether the host has booted since the cordon of this hold, as the Node shows it. If its kubelet has not said so yet, a reboot may be
/// under way.
pub fn has_rebooted(node: &NodeView, hold: &Hold) -> bool {
    let reported = &node.status.node_info.boot_id;
    let before = hold.boot_id.as_deref().and_then(|boot| boot.split('/').next());
    hold.phase == Phase::Returning
        || (!reported.is_empty() && before.is_some_and(|before| before != reported))
}

/// Whether the reboot command may have been run, and the Node does not show the boot after it. Then the host may be going down or be down,
/// whatever the time says: Ready stays True for most of a minute after a host has gone.
pub fn may_be_rebooting(node: &NodeView, hold: &Hold) -> bool {
    hold.phase == Phase::Sealed && !has_rebooted(node, hold)
}

/// Whether the marks seal the node: nobody but its agent may end the hold before `until` and `skew` are over, nor ever without an `until`.
pub fn is_sealed(node: &NodeView, now: Timestamp, skew: SignedDuration) -> bool {
    let is_before = |until: Timestamp| until.checked_add(skew).is_ok_and(|bound| now <= bound);
    match read(node) {
        Reading::Absent => false,
        Reading::Present(hold) => hold.phase == Phase::Sealed && hold.until.is_none_or(is_before),
        // Broken marks must have a way out, so here only an `until` that can be read keeps the node.
        Reading::Malformed(_) => {
            let until = node.annotation(keys::UNTIL).and_then(|text| text.parse().ok());
            node.label(keys::PHASE) == Some(Phase::Sealed.as_str()) && until.is_some_and(is_before)
        }
    }
}

/// How [`keys::DRAIN_PROGRESS`] begins on a Node whose drain was given up because of `--force-reboot`.
const FORCED: &str = "given up by force: ";

/// Whether the drain was given up, and the reboot goes on although pods are left.
fn is_forced(node: &NodeView) -> bool {
    node.annotation(keys::DRAIN_PROGRESS)
        .is_some_and(|text| text.starts_with(FORCED))
}

#[cfg(test)]
mod tests;
