//! The hold: the marks that an agent writes on its Node, how they are read, and every change that is ever made to them.
//!
//! Not here: who may change them ([`crate::admission`]) and when the agent does ([`crate::reboot::cycle`]).

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::Reading;
use crate::host::HostRecord;
use crate::keys;
use crate::node::{NodeView, Taint};
use crate::selector::Selector;

mod cancel;
mod conditions;
mod signs;

pub use cancel::{
    Cancel, CancelFlaw, UNREADABLE, cancel, cancel_command, cancel_flaw, cancel_name, ignored, pause_command,
};
pub use conditions::conditions_patch;
pub use signs::Signs;

/// How long after `until` the webhook still keeps a node cordoned.
pub const UNTIL_GRACE: SignedDuration = SignedDuration::from_mins(5);
/// How far ahead `until` is set while the agent works; it renews it every [`RENEW_EVERY`].
pub const UNTIL_AHEAD: SignedDuration = SignedDuration::from_mins(10);
/// How often `until` is renewed while draining and delaying.
pub const RENEW_EVERY: SignedDuration = SignedDuration::from_mins(3);

/// The identity of one hold: which Node object, and when it was stamped. Never written again once it has left the Node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Holder {
    pub node_uid: String,
    /// RFC 3339 with nanoseconds, kept as written: lock entries are compared with it as text.
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
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node_uid, self.created)
    }
}

/// Whether this is the time of a stamp, and nothing but that: it is one word, also in a command line.
fn is_created(text: &str) -> bool {
    let is_plain = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-:.+".contains(c));
    is_plain && text.parse::<Timestamp>().is_ok()
}

/// One text for one instant: RFC 3339 in UTC with nanoseconds. What is no time stays as it is.
pub fn canonical(created: &str) -> String {
    created
        .parse::<Timestamp>()
        .map_or_else(|_| created.to_owned(), |time| format!("{time:.9}"))
}

/// What only one write of an agent can have put on its Node: 128 random bits. Compared for equality, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Proof(String);

impl Proof {
    /// From 128 bits of chance.
    pub fn new(bits: u128) -> Proof {
        Proof(format!("{bits:032x}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How far a hold has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// A wish: it waits for window, blockers or lock. The cordon is not ours, and the node is not held.
    Wanted,
    Draining,
    Delaying,
    /// The reboot is being issued or under way.
    Sealed,
    /// The node is back, and the cordon is about to be given back.
    Returning,
}

impl Phase {
    pub const ALL: [Phase; 5] = [
        Phase::Wanted,
        Phase::Draining,
        Phase::Delaying,
        Phase::Sealed,
        Phase::Returning,
    ];

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

/// The marks of a Node, understood.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hold {
    pub holder: Holder,
    pub phase: Phase,
    /// `None`: the webhook never lets it pass by time.
    pub until: Option<Timestamp>,
    /// The boot in which the node was cordoned, as [`crate::host::Boot`] displays it.
    pub boot_id: Option<String>,
    /// Decided once, by the patch to `draining`.
    pub was_unschedulable: Option<bool>,
    /// How many reboot commands may have been run for it.
    pub attempts: u8,
    /// The last write of these marks.
    pub write: Option<Proof>,
}

impl Hold {
    /// Whether these are the very marks that one write left.
    ///
    /// `until` is left out: it is the webhook's, and nothing that an agent does rests on it.
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

    /// How long it has stood, by the holder's `created`; zero where that is still to come.
    pub fn age(&self, now: Timestamp) -> SignedDuration {
        let created: Option<Timestamp> = self.holder.created.parse().ok();
        created
            .map_or(SignedDuration::ZERO, |created| now.duration_since(created))
            .max(SignedDuration::ZERO)
    }

    /// Whether its agent has let it be: two renewals are missing or, once it is sealed, the time for its reboot is over.
    pub fn is_silent(&self, now: Timestamp, skew: SignedDuration) -> bool {
        let Some(until) = self.until else { return true };
        let ahead = match self.phase {
            Phase::Sealed => SignedDuration::ZERO,
            _ => UNTIL_AHEAD.saturating_sub(RENEW_EVERY.saturating_mul(2)),
        };
        let bound = until.checked_sub(ahead).and_then(|bound| bound.checked_add(skew));
        bound.is_ok_and(|bound| now > bound)
    }

    /// Whether the webhook lets an uncordon pass because the hold was not renewed in time.
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

/// The hold, or the key that cannot be read.
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

/// Whether the node is held: an understood hold beyond a wish, or marks that cannot be read.
pub fn is_held(reading: &Reading<Hold>) -> bool {
    match reading {
        Reading::Absent => false,
        Reading::Present(hold) => hold.phase != Phase::Wanted,
        Reading::Malformed(_) => true,
    }
}

/// The label selector of every Node of the pool that may be held: a wish is no hold, and an unknown phase is one.
pub fn held_selector(pool: &Selector) -> String {
    let comma = if pool.is_everything() { "" } else { "," };
    format!("{0},{0}!={1}{comma}{pool}", keys::PHASE, Phase::Wanted)
}

/// The reason given, if the Node carries a cancel that names this hold.
pub fn cancelled(node: &NodeView, holder: &Holder) -> Option<String> {
    cancel(node)
        .filter(|cancel| cancel.created == holder.created)
        .map(|cancel| cancel.reason)
}

/// Whether this very write gave this hold back: a cordon that stands there now is somebody else's.
///
/// Whoever reads `given-back` knows the proof, so it is compared for equality and for nothing else.
pub fn was_given_back(node: &NodeView, created: &str, write: &Proof) -> bool {
    node.annotation(keys::GIVEN_BACK)
        .and_then(|text| text.split_once(' '))
        .is_some_and(|(of, proof)| canonical(of) == canonical(created) && proof == write.as_str())
}

/// Whether this hold was given back and its lock entry is kept for a while: `--lock-release-delay`.
pub fn delays_release(node: &NodeView, created: &str) -> bool {
    node.annotation(keys::RELEASE_AT)
        .and_then(|text| text.split_whitespace().next())
        .is_some_and(|of| canonical(of) == canonical(created))
}

/// When the lock entry that is kept for a while is to be released. One without a time that can be read is due.
pub fn release_at(node: &NodeView) -> Option<Timestamp> {
    let (_, time) = node.annotation(keys::RELEASE_AT)?.split_once(' ')?;
    time.parse().ok()
}

/// How [`keys::DRAIN_PROGRESS`] begins on a Node whose drain was given up by `--force-reboot`.
const FORCED: &str = "given up by force: ";

/// Whether the drain of this hold was given up, and the reboot goes on over what it left.
fn is_forced(node: &NodeView) -> bool {
    node.annotation(keys::DRAIN_PROGRESS)
        .is_some_and(|text| text.starts_with(FORCED))
}

/// What an operator decided about the times that a patch names. The shell knows what time it is.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// `--reboot-timeout`.
    pub reboot: SignedDuration,
    /// `--lock-release-delay`.
    pub release: SignedDuration,
}

/// How far ahead a patch sets `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Term {
    /// [`UNTIL_AHEAD`] from now.
    Work,
    /// `--reboot-timeout` from now.
    Reboot,
}

/// What a patch of our Node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PatchKind {
    Stamp,
    Cordon,
    Delay,
    Renew,
    Seal,
    Return,
    GiveBack,
    /// Something beside the marks.
    Tidy,
}

/// A JSON merge patch of a Node: a compare-and-swap on the version it was decided on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodePatch {
    pub kind: PatchKind,
    pub name: String,
    pub version: String,
    pub until: Option<Term>,
    /// The `created` whose lock entry is kept for `--lock-release-delay` from now on.
    pub release_of: Option<String>,
    pub annotations: BTreeMap<String, Option<String>>,
    /// Labels but for the phase.
    pub labels: BTreeMap<String, Option<String>>,
    /// `Some(None)` removes the label.
    pub phase: Option<Option<Phase>>,
    pub unschedulable: Option<bool>,
    pub taints: Option<Vec<Taint>>,
    /// The marks that it leaves; none where it takes them away, or is not about them.
    pub leaves: Option<Hold>,
    /// The hold that it gives back, and the proof of that.
    pub gives_back: Option<(String, Proof)>,
    /// What goes into the host's record before it is sent.
    pub record: Option<HostRecord>,
}

impl NodePatch {
    fn of(node: &NodeView) -> NodePatch {
        NodePatch {
            kind: PatchKind::Tidy,
            name: node.name().to_owned(),
            version: node.version().to_owned(),
            until: None,
            release_of: None,
            annotations: BTreeMap::new(),
            labels: BTreeMap::new(),
            phase: None,
            unschedulable: None,
            taints: None,
            leaves: None,
            gives_back: None,
            record: None,
        }
    }

    /// The whole set of marks but for the holder, which is there: none of them is ever left as somebody else may have written it.
    fn marks(kind: PatchKind, node: &NodeView, leaves: Hold, until: Term) -> NodePatch {
        let mut patch = NodePatch {
            kind,
            phase: Some(Some(leaves.phase)),
            until: Some(until),
            ..NodePatch::of(node)
        };
        let values = [
            (keys::BOOT_ID, leaves.boot_id.clone()),
            (
                keys::WAS_UNSCHEDULABLE,
                leaves.was_unschedulable.map(|was| was.to_string()),
            ),
            (
                keys::ATTEMPT,
                Some(leaves.attempts)
                    .filter(|count| *count > 0)
                    .map(|count| count.to_string()),
            ),
            (
                keys::WRITE,
                leaves.write.as_ref().map(|write| write.as_str().to_owned()),
            ),
        ];
        for (key, value) in values {
            match value {
                Some(value) => patch.set(key, value),
                None => patch.clear_if_set(node, key),
            }
        }
        patch.leaves = Some(leaves);
        patch
    }

    /// The wish, on a Node that shows no hold. A cancel that waited there names no hold of ours and goes.
    pub fn stamp(node: &NodeView, leaves: Hold) -> NodePatch {
        let holder = leaves.holder.to_string();
        let mut patch = NodePatch::marks(PatchKind::Stamp, node, leaves, Term::Work);
        patch.set(keys::HOLDER, holder);
        // Leftovers of a hold that was lost say nothing about this one.
        for key in [keys::CANCEL, keys::RELEASE_AT, keys::DRAIN_PROGRESS] {
            patch.clear_if_set(node, key);
        }
        patch
    }

    /// The cordon.
    pub fn cordon(node: &NodeView, leaves: Hold, taint: bool) -> NodePatch {
        let mut patch = NodePatch::marks(PatchKind::Cordon, node, leaves, Term::Work);
        patch.clear_if_set(node, keys::DRAIN_PROGRESS);
        patch.unschedulable = Some(true);
        let taints = taint.then(|| Taint::no_schedule(keys::REBOOTING));
        patch.change_taints(
            node,
            &[],
            taints
                .into_iter()
                .chain([Taint::no_schedule(keys::UNSCHEDULABLE_TAINT)]),
        );
        patch
    }

    /// The drain has ended; the delay begins.
    pub fn delay(node: &NodeView, leaves: Hold) -> NodePatch {
        let mut patch = NodePatch::marks(PatchKind::Delay, node, leaves, Term::Work);
        patch.clear_if_set(node, keys::DRAIN_PROGRESS);
        patch
    }

    /// The drain was given up with this left, and the delay begins all the same: the Node goes on saying so.
    pub fn delay_forced(node: &NodeView, leaves: Hold, left: &str) -> NodePatch {
        let mut patch = NodePatch::marks(PatchKind::Delay, node, leaves, Term::Work);
        patch.set(keys::DRAIN_PROGRESS, format!("{FORCED}{left}"));
        patch
    }

    /// `until`, further ahead, and how far the drain has come.
    pub fn renew(node: &NodeView, leaves: Hold, progress: Option<&str>) -> NodePatch {
        let mut patch = NodePatch::marks(PatchKind::Renew, node, leaves, Term::Work);
        if let Some(progress) =
            progress.filter(|progress| node.annotation(keys::DRAIN_PROGRESS) != Some(progress))
        {
            patch.set(keys::DRAIN_PROGRESS, progress.to_owned());
        }
        patch
    }

    /// The reboot happened.
    pub fn returning(node: &NodeView, leaves: Hold) -> NodePatch {
        NodePatch::marks(PatchKind::Return, node, leaves, Term::Work)
    }

    /// The final check and its proof.
    pub fn seal(node: &NodeView, leaves: Hold) -> NodePatch {
        NodePatch::marks(PatchKind::Seal, node, leaves, Term::Reboot)
    }

    /// The end of a hold: every mark and the cancel go, and the cordon is as it was, whatever the Node shows of it.
    ///
    /// A wish never touched the cordon, so it leaves it as it is; so does the end of a cancelled hold
    /// for a node that was cordoned before, because a person was let past it.
    pub fn give_back(node: &NodeView, hold: &Hold, write: Proof) -> NodePatch {
        let created = hold.holder.created.clone();
        let mut patch = NodePatch::of(node);
        patch.set(keys::GIVEN_BACK, format!("{created} {}", write.as_str()));
        for key in keys::MARK_ANNOTATIONS
            .into_iter()
            .chain([keys::CANCEL, keys::DRAIN_PROGRESS])
        {
            patch.clear_if_set(node, key);
        }
        patch.kind = PatchKind::GiveBack;
        patch.phase = Some(None);
        patch.gives_back = Some((created, write));
        patch.change_taints(node, &[Taint::no_schedule(keys::REBOOTING)], []);
        let let_past = cancelled(node, &hold.holder).is_some() && hold.was_unschedulable == Some(true);
        if hold.phase != Phase::Wanted && !let_past {
            patch.restore(node, hold.was_unschedulable);
        }
        patch
    }

    /// Whether the Node shows that this very write has landed: the marks with its proof, or the cordon given back with it.
    pub fn is_shown_on(&self, node: &NodeView) -> bool {
        let marks = self.leaves.as_ref().and_then(|leaves| leaves.write.as_ref());
        let shows_marks = marks.is_some_and(|write| node.annotation(keys::WRITE) == Some(write.as_str()));
        let gave_back = self.gives_back.as_ref();
        shows_marks || gave_back.is_some_and(|(created, write)| was_given_back(node, created, write))
    }

    /// What only this write can have put on the Node; none where it is beside the marks.
    pub fn proof(&self) -> Option<&Proof> {
        let leaves = self.leaves.as_ref().and_then(|leaves| leaves.write.as_ref());
        leaves.or(self.gives_back.as_ref().map(|(_, write)| write))
    }

    /// Whether nothing of the hold that it ends is left on this Node, and the cordon is as it was written.
    pub fn has_ended(&self, node: &NodeView) -> bool {
        let cordon = self.unschedulable;
        !has_marks(node) && cordon.is_none_or(|cordon| cordon == node.spec.unschedulable)
    }

    /// Whether both write the same on the same version, but for their proofs: where one has landed, the other has lost.
    pub fn is_copy(&self, other: &NodePatch) -> bool {
        self.but_for_proofs() == other.but_for_proofs()
    }

    fn but_for_proofs(&self) -> NodePatch {
        let mut patch = self.clone();
        patch.record = None;
        for key in [keys::WRITE, keys::GIVEN_BACK] {
            drop(patch.annotations.remove(key));
        }
        if let Some(leaves) = &mut patch.leaves {
            leaves.write = None;
        }
        if let Some((_, proof)) = &mut patch.gives_back {
            *proof = Proof::new(0);
        }
        patch
    }

    /// The same after a reboot: the lock entry is kept for a while, and says so.
    #[must_use]
    pub fn keeping_entry(mut self, hold: &Hold) -> NodePatch {
        self.release_of = Some(hold.holder.created.clone());
        self
    }

    /// The lock entry has been kept for long enough: it is over.
    pub fn end_release_delay(node: &NodeView) -> NodePatch {
        let mut patch = NodePatch::of(node);
        patch.clear_if_set(node, keys::RELEASE_AT);
        patch
    }

    /// The cordon as it was, whoever changed it meanwhile.
    ///
    /// What was never decided stays as it is: a person can uncordon, and nobody can take back a pod that ran.
    fn restore(&mut self, node: &NodeView, was_unschedulable: Option<bool>) {
        let is_kept = node.annotation(keys::KEEP_CORDONED).is_some();
        match was_unschedulable {
            Some(true) if !node.spec.unschedulable => {
                self.unschedulable = Some(true);
                self.change_taints(node, &[], [Taint::no_schedule(keys::UNSCHEDULABLE_TAINT)]);
            }
            Some(false) if !is_kept => {
                if node.spec.unschedulable {
                    self.unschedulable = Some(false);
                }
                self.change_taints(node, &[Taint::no_schedule(keys::UNSCHEDULABLE_TAINT)], []);
            }
            _ => {}
        }
    }

    /// The whole list, without these and with those, if that changes it.
    fn change_taints(&mut self, node: &NodeView, dropped: &[Taint], added: impl IntoIterator<Item = Taint>) {
        let mut taints = self.taints.take().unwrap_or_else(|| node.spec.taints.clone());
        taints.retain(|taint| !dropped.iter().any(|dropped| taint.is_like(dropped)));
        for taint in added {
            if !taints.iter().any(|there| there.is_like(&taint)) {
                taints.push(taint);
            }
        }
        self.taints = Some(taints).filter(|taints| *taints != node.spec.taints);
    }

    fn set(&mut self, key: &str, value: String) {
        let _ = self.annotations.insert(key.to_owned(), Some(value));
    }

    fn clear_if_set(&mut self, node: &NodeView, key: &str) {
        if node.annotation(key).is_some() {
            let _ = self.annotations.insert(key.to_owned(), None);
        }
    }

    /// Whether it would change nothing.
    pub fn is_empty(&self) -> bool {
        self.until.is_none()
            && self.release_of.is_none()
            && self.annotations.is_empty()
            && self.labels.is_empty()
            && self.phase.is_none()
            && self.unschedulable.is_none()
            && self.taints.is_none()
    }

    /// The patch as JSON, content type `application/merge-patch+json`.
    pub fn body(&self, now: Timestamp, terms: &Terms) -> Value {
        let mut annotations = object(&self.annotations);
        let ahead = |by| format!("{:.0}", now.saturating_add(by).unwrap_or(Timestamp::MAX));
        if let Some(term) = self.until {
            let until = ahead(match term {
                Term::Work => UNTIL_AHEAD,
                Term::Reboot => terms.reboot,
            });
            let _ = annotations.insert(keys::UNTIL.to_owned(), json!(until));
        }
        if let Some(created) = &self.release_of {
            let release = format!("{created} {}", ahead(terms.release));
            let _ = annotations.insert(keys::RELEASE_AT.to_owned(), json!(release));
        }
        let mut metadata = json!({ "resourceVersion": self.version });
        if !annotations.is_empty() {
            metadata["annotations"] = Value::Object(annotations);
        }
        let mut labels = object(&self.labels);
        if let Some(phase) = self.phase {
            let _ = labels.insert(keys::PHASE.to_owned(), json!(phase.map(Phase::as_str)));
        }
        if !labels.is_empty() {
            metadata["labels"] = Value::Object(labels);
        }
        let mut body = json!({ "metadata": metadata });
        if let Some(unschedulable) = self.unschedulable {
            body["spec"]["unschedulable"] = if unschedulable { json!(true) } else { Value::Null };
        }
        if let Some(taints) = &self.taints {
            body["spec"]["taints"] = if taints.is_empty() {
                Value::Null
            } else {
                json!(taints)
            };
        }
        body
    }
}

fn object(map: &BTreeMap<String, Option<String>>) -> Map<String, Value> {
    map.iter()
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect()
}

#[cfg(test)]
mod tests;
