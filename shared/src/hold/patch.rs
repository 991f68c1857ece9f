//! The patches of a Node: every change that an agent makes to the marks of its hold and to the cordon, and the JSON that is sent.
//!
//! Not here: what a patch changes beside the marks ([`super::Signs`]), and when it is sent ([`crate::reboot::cycle`]).

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::account::{Accounting, Tally};
use super::deferred::{DeferredUncordon, deferred_until_end, done_before_end};
use super::reboots::{OneMore, with_one_more};
use super::{FORCED, Hold, Phase, Proof, UNTIL_AHEAD, cancelled, has_marks, was_given_back};
use crate::host::HostRecord;
use crate::keys;
use crate::node::{NodeView, Taint};

/// The operator's settings for the times that a patch writes. The current time is an argument of its own.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The value of `--reboot-timeout`.
    pub reboot: SignedDuration,
    /// The value of `--lock-release-delay`.
    pub release: SignedDuration,
}

/// The purpose of a patch of the agent's own Node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PatchKind {
    /// Writes the wish.
    Stamp,
    /// Cordons the node: the drain begins.
    Cordon,
    /// Ends the drain; `--reboot-delay` begins.
    Delay,
    /// Sets `until` further ahead, and writes how far the drain has come.
    Renew,
    /// Seals the hold: the reboot comes next.
    Seal,
    /// Notes that the host has booted.
    Return,
    /// Ends the hold and restores the cordon.
    GiveBack,
    /// Changes something beside the marks.
    Tidy,
}

/// A JSON merge patch of a Node. It names the `resourceVersion` it was decided on, so it fails if the Node has changed since.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodePatch {
    /// The purpose of the patch.
    pub kind: PatchKind,
    /// The Node's name.
    pub name: String,
    /// The `resourceVersion` that the patch was decided on.
    pub version: String,
    /// Whether the patch sets `until`: `--reboot-timeout` ahead with the seal, [`UNTIL_AHEAD`] with any other write.
    pub sets_until: bool,
    /// The `created` of the hold whose lock entry is kept for `--lock-release-delay` from now on.
    pub release_of: Option<String>,
    /// The reboot that this write adds to [`keys::REBOOTS`], if it adds one.
    pub reboots: Option<OneMore>,
    /// What the write makes of the account of the reboot ([`super::Account`]), if it changes it.
    pub account: Option<Accounting>,
    /// New values of annotations by key; `None` removes one.
    pub annotations: BTreeMap<String, Option<String>>,
    /// New values of labels other than the phase, by key; `None` removes one.
    pub labels: BTreeMap<String, Option<String>>,
    /// The phase label, if it changes; `Some(None)` removes it.
    pub phase: Option<Option<Phase>>,
    /// `spec.unschedulable`, if it changes.
    pub unschedulable: Option<bool>,
    /// The whole list of taints, if it changes.
    pub taints: Option<Vec<Taint>>,
    /// The marks on the Node after the patch. `None` if it removes them or does not touch them.
    pub leaves: Option<Hold>,
    /// The `created` of the hold that the patch gives back, and the proof of this write.
    pub gives_back: Option<(String, Proof)>,
    /// What is written to the host's record before the patch is sent.
    pub record: Option<HostRecord>,
}

impl NodePatch {
    pub(super) fn of(node: &NodeView) -> NodePatch {
        NodePatch {
            kind: PatchKind::Tidy,
            name: node.name().to_owned(),
            version: node.version().to_owned(),
            sets_until: false,
            release_of: None,
            reboots: None,
            account: None,
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

    /// A patch that writes every mark but the taint and the holder, which is there already. It writes all of them, so that no value
    /// stays that somebody else wrote.
    fn marks(kind: PatchKind, node: &NodeView, leaves: Hold) -> NodePatch {
        let mut patch = NodePatch {
            kind,
            phase: Some(Some(leaves.phase)),
            sets_until: true,
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

    /// The patch that writes a wish on a Node without a hold. It removes a cancel that is there, which cannot name this hold.
    pub fn stamp(node: &NodeView, leaves: Hold) -> NodePatch {
        let holder = leaves.holder.to_string();
        let mut patch = NodePatch::marks(PatchKind::Stamp, node, leaves);
        patch.set(keys::HOLDER, holder);
        // Leftovers of an earlier hold do not apply to this one.
        for key in [
            keys::CANCEL,
            keys::RELEASE_AT,
            keys::DRAIN_PROGRESS,
            keys::REBOOT_ACCOUNT,
            keys::UNCORDON_WANTED,
        ] {
            patch.clear_if_set(node, key);
        }
        patch
    }

    /// The patch that cordons the node, and sets the taint `rebooting` if `taint` says so.
    ///
    /// On a Node that shows a wish it removes a deferred uncordon: a wish defers none, so somebody else has written it.
    /// An uncordon that was done under this hold becomes a deferred one, because this patch undoes it; but if somebody has cordoned the node
    /// since, it is over.
    pub fn cordon(node: &NodeView, leaves: Hold, taint: bool) -> NodePatch {
        let mut patch = NodePatch::marks(PatchKind::Cordon, node, leaves);
        patch.clear_if_set(node, keys::DRAIN_PROGRESS);
        patch.keep_done(node);
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

    /// The patch that ends the drain and begins the delay.
    pub fn delay(node: &NodeView, leaves: Hold) -> NodePatch {
        let mut patch = NodePatch::marks(PatchKind::Delay, node, leaves);
        patch.clear_if_set(node, keys::DRAIN_PROGRESS);
        patch
    }

    /// The patch that begins the delay after a drain that was given up. `left` says what is left, and stays readable on the Node.
    pub fn delay_forced(node: &NodeView, leaves: Hold, left: &str) -> NodePatch {
        let mut patch = NodePatch::marks(PatchKind::Delay, node, leaves);
        patch.set(keys::DRAIN_PROGRESS, format!("{FORCED}{left}"));
        patch
    }

    /// The patch that sets `until` further ahead, and writes how far the drain has come.
    pub fn renew(node: &NodeView, leaves: Hold, progress: Option<&str>) -> NodePatch {
        let mut patch = NodePatch::marks(PatchKind::Renew, node, leaves);
        if let Some(progress) =
            progress.filter(|progress| node.annotation(keys::DRAIN_PROGRESS) != Some(progress))
        {
            patch.set(keys::DRAIN_PROGRESS, progress.to_owned());
        }
        patch
    }

    /// The patch that notes that the host has booted.
    pub fn returning(node: &NodeView, leaves: Hold) -> NodePatch {
        NodePatch::marks(PatchKind::Return, node, leaves)
    }

    /// The patch, which also adds a reboot to those that the Node shows, and keeps the last `kept`.
    ///
    /// A Node that shows `returning` has it already: this write, or that of an earlier process, has landed before.
    #[must_use]
    pub fn noting_reboot(mut self, node: &NodeView, kept: usize) -> NodePatch {
        let is_noted = node.label(keys::PHASE) == Some(Phase::Returning.as_str());
        let wished = super::read(node)
            .present()
            .and_then(|hold| hold.holder.created.parse().ok());
        self.reboots = (kept > 0 && !is_noted).then(|| OneMore {
            before: node.annotation(keys::REBOOTS).unwrap_or_default().to_owned(),
            kept,
            wished,
        });
        self
    }

    /// The patch, which also goes on with the account of the reboot: a stamp begins it, a give-back makes it that of the last reboot.
    /// `why` is what asks for reboots, `adds` what has happened since the last write of the account.
    #[must_use]
    pub fn accounted(mut self, node: &NodeView, why: &str, adds: &Tally) -> NodePatch {
        let leaves = self
            .leaves
            .as_ref()
            .map(|leaves| (&leaves.holder.created, Some(leaves.phase)));
        let ends = self.gives_back.as_ref().map(|(created, _)| (created, None));
        self.account = leaves.or(ends).map(|(created, begins)| match self.kind {
            PatchKind::Stamp => Accounting::begun(created, why),
            PatchKind::Cordon
            | PatchKind::Delay
            | PatchKind::Renew
            | PatchKind::Seal
            | PatchKind::Return
            | PatchKind::GiveBack
            | PatchKind::Tidy => Accounting::continued(node, created, why, begins, adds),
        });
        self
    }

    /// The patch that seals the hold: the final check before the reboot.
    pub fn seal(node: &NodeView, leaves: Hold) -> NodePatch {
        NodePatch::marks(PatchKind::Seal, node, leaves)
    }

    /// The patch that ends a hold: it removes every mark, the cancel and the deferred uncordon, and gives the cordon back by precedence:
    /// it stays if a person wants it kept; else it goes if this Node shows a deferred uncordon of the hold; else it stays as it is now if an
    /// uncordon was done under the hold; else it is as before.
    ///
    /// The cordon stays as it is at the end of a wish, which never touched it. It also stays at the end of a cancelled hold on a node
    /// that was cordoned before: the webhook let people uncordon it, and that must not be undone.
    pub fn give_back(node: &NodeView, hold: &Hold, write: Proof) -> NodePatch {
        let created = hold.holder.created.clone();
        let mut patch = NodePatch::of(node);
        patch.set(keys::GIVEN_BACK, format!("{created} {}", write.as_str()));
        for key in keys::MARK_ANNOTATIONS.into_iter().chain([
            keys::CANCEL,
            keys::DRAIN_PROGRESS,
            keys::REBOOT_ACCOUNT,
            keys::UNCORDON_WANTED,
        ]) {
            patch.clear_if_set(node, key);
        }
        patch.kind = PatchKind::GiveBack;
        patch.phase = Some(None);
        patch.gives_back = Some((created, write));
        patch.change_taints(node, &[Taint::no_schedule(keys::REBOOTING)], []);
        let let_past = cancelled(node, &hold.holder).is_some() && hold.was_unschedulable == Some(true);
        let is_kept = node.annotation(keys::KEEP_CORDONED).is_some();
        let is_done = done_before_end(node, hold).is_some() && !is_kept;
        if hold.phase != Phase::Wanted && !let_past && !is_done {
            patch.restore(node, hold.was_unschedulable);
        }
        patch.uncordoning(node, deferred_until_end(node, hold).as_ref())
    }

    /// The patch that ends a hold, which also does this deferred uncordon of it. It is not done if a person wants the node kept cordoned.
    #[must_use]
    pub fn uncordoning(mut self, node: &NodeView, deferred: Option<&DeferredUncordon>) -> NodePatch {
        if deferred.is_some() {
            self.restore(node, Some(false));
        }
        self
    }

    /// The patch, which also takes the request for a reboot off.
    #[must_use]
    pub fn without_request(mut self, node: &NodeView) -> NodePatch {
        self.clear_if_set(node, keys::REBOOT_WANTED);
        self
    }

    /// Whether the Node shows that this write has landed, by its proof in the marks or in `given-back`.
    pub fn is_shown_on(&self, node: &NodeView) -> bool {
        let marks = self.leaves.as_ref().and_then(|leaves| leaves.write.as_ref());
        let shows_marks = marks.is_some_and(|write| node.annotation(keys::WRITE) == Some(write.as_str()));
        let gave_back = self.gives_back.as_ref();
        shows_marks || gave_back.is_some_and(|(created, write)| was_given_back(node, created, write))
    }

    /// The proof of this write; `None` if it does not touch the marks.
    pub fn proof(&self) -> Option<&Proof> {
        let leaves = self.leaves.as_ref().and_then(|leaves| leaves.write.as_ref());
        leaves.or(self.gives_back.as_ref().map(|(_, write)| write))
    }

    /// Whether the hold that this patch ends is gone from the Node, and the cordon is as the patch sets it.
    pub fn has_ended(&self, node: &NodeView) -> bool {
        let cordon = self.unschedulable;
        !has_marks(node) && cordon.is_none_or(|cordon| cordon == node.spec.unschedulable)
    }

    /// Whether the other patch is the same except for its proof and its account, on the same version of the Node. Of two copies only one
    /// can land.
    pub fn is_copy(&self, other: &NodePatch) -> bool {
        self.but_for_proof_and_account() == other.but_for_proof_and_account()
    }

    fn but_for_proof_and_account(&self) -> NodePatch {
        let mut patch = self.clone();
        patch.record = None;
        patch.account = None;
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

    /// The patch, which also starts the delay for which the lock entry of this hold is kept (`--lock-release-delay`).
    #[must_use]
    pub fn keeping_entry(mut self, hold: &Hold) -> NodePatch {
        self.release_of = Some(hold.holder.created.clone());
        self
    }

    /// The patch that ends the delay for which the lock entry is kept.
    pub fn end_release_delay(node: &NodeView) -> NodePatch {
        let mut patch = NodePatch::of(node);
        patch.clear_if_set(node, keys::RELEASE_AT);
        patch
    }

    /// Removes what a first cordon takes over from nobody, and keeps what a later one undoes: an uncordon that was done under the hold.
    fn keep_done(&mut self, node: &NodeView) {
        let done = self
            .leaves
            .as_ref()
            .and_then(|leaves| done_before_end(node, leaves));
        let shows_wish = node.label(keys::PHASE) == Some(Phase::Wanted.as_str());
        match done.filter(|_| !shows_wish) {
            Some(done) if !node.spec.unschedulable => self.set(keys::UNCORDON_WANTED, done.to_string()),
            Some(_) => self.clear_if_set(node, keys::UNCORDON_WANTED),
            None if shows_wish => self.clear_if_set(node, keys::UNCORDON_WANTED),
            None => {}
        }
    }

    /// Sets the cordon as it was before the hold, even if somebody changed it meanwhile.
    ///
    /// If it is unknown what it was (`None`), the cordon stays: a person can still uncordon the node, but pods that have started on it
    /// cannot be undone.
    fn restore(&mut self, node: &NodeView, was_unschedulable: Option<bool>) {
        let is_kept = node.annotation(keys::KEEP_CORDONED).is_some();
        match was_unschedulable {
            Some(true) if !node.spec.unschedulable => {
                self.unschedulable = Some(true);
                self.change_taints(node, &[], [Taint::no_schedule(keys::UNSCHEDULABLE_TAINT)]);
            }
            Some(false) if !is_kept => {
                self.unschedulable = node.spec.unschedulable.then_some(false);
                self.change_taints(node, &[Taint::no_schedule(keys::UNSCHEDULABLE_TAINT)], []);
            }
            Some(true | false) | None => {}
        }
    }

    /// Removes the taints `dropped` and adds the taints `added`. Taints are patched as a whole list, and only if it changes.
    pub(super) fn change_taints(
        &mut self,
        node: &NodeView,
        dropped: &[Taint],
        added: impl IntoIterator<Item = Taint>,
    ) {
        let mut taints = self.taints.take().unwrap_or_else(|| node.spec.taints.clone());
        taints.retain(|taint| !dropped.iter().any(|dropped| taint.is_like(dropped)));
        for taint in added {
            if !taints.iter().any(|there| there.is_like(&taint)) {
                taints.push(taint);
            }
        }
        self.taints = Some(taints).filter(|taints| *taints != node.spec.taints);
    }

    pub(super) fn set(&mut self, key: &str, value: String) {
        drop(self.annotations.insert(key.to_owned(), Some(value)));
    }

    pub(super) fn clear_if_set(&mut self, node: &NodeView, key: &str) {
        if node.annotation(key).is_some() {
            drop(self.annotations.insert(key.to_owned(), None));
        }
    }

    /// Whether the patch would change nothing.
    pub fn is_empty(&self) -> bool {
        !self.sets_until
            && self.release_of.is_none()
            && self.reboots.is_none()
            && self.account.is_none()
            && self.annotations.is_empty()
            && self.labels.is_empty()
            && self.phase.is_none()
            && self.unschedulable.is_none()
            && self.taints.is_none()
    }

    /// The patch as JSON, content type `application/merge-patch+json`.
    pub fn body(&self, now: Timestamp, terms: &Terms) -> Value {
        let mut metadata = json!({ "resourceVersion": self.version });
        let maps = [
            ("annotations", self.all_annotations(now, terms)),
            ("labels", self.all_labels()),
        ];
        for (field, changes) in maps {
            if !changes.is_empty() {
                metadata[field] = json!(changes);
            }
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

    /// The Node after the API server has applied [`NodePatch::body`] to it, except for its new `resourceVersion`.
    #[must_use]
    pub fn applied(&self, node: &NodeView, now: Timestamp, terms: &Terms) -> NodeView {
        let mut node = node.clone();
        merge(&mut node.metadata.annotations, self.all_annotations(now, terms));
        merge(&mut node.metadata.labels, self.all_labels());
        if let Some(unschedulable) = self.unschedulable {
            node.spec.unschedulable = unschedulable;
        }
        if let Some(taints) = &self.taints {
            node.spec.taints.clone_from(taints);
        }
        node
    }

    /// All changes of annotations, including those whose values depend on the current time.
    fn all_annotations(&self, now: Timestamp, terms: &Terms) -> Changes {
        let ahead = |by| format!("{:.0}", now.saturating_add(by).unwrap_or(Timestamp::MAX));
        let until = self.sets_until.then(|| {
            let until = ahead(match self.kind {
                PatchKind::Seal => terms.reboot,
                _ => UNTIL_AHEAD,
            });
            (keys::UNTIL.to_owned(), Some(until))
        });
        let release = self.release_of.as_ref().map(|created| {
            let release = format!("{created} {}", ahead(terms.release));
            (keys::RELEASE_AT.to_owned(), Some(release))
        });
        let reboots = self.reboots.as_ref().map(|reboot| {
            let reboots = with_one_more(reboot, now);
            (keys::REBOOTS.to_owned(), Some(reboots))
        });
        let account = self.account.as_ref().map(|account| {
            let (key, value) = account.annotation(now);
            (key.to_owned(), Some(value))
        });
        let mut all = self.annotations.clone();
        all.extend(until.into_iter().chain(release).chain(reboots).chain(account));
        all
    }

    /// All changes of labels, including the phase.
    fn all_labels(&self) -> Changes {
        let mut all = self.labels.clone();
        let phase = self
            .phase
            .map(|phase| (keys::PHASE.to_owned(), phase.map(|phase| phase.to_string())));
        all.extend(phase);
        all
    }
}

/// New values by key; `None` removes the key.
type Changes = BTreeMap<String, Option<String>>;

fn merge(map: &mut BTreeMap<String, String>, changes: Changes) {
    for (key, value) in changes {
        drop(match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        });
    }
}
