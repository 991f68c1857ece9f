//! The patch of a Node: every change that an agent makes to the marks of its hold and to the cordon, and its body on the wire.
//!
//! Not here: what rides on it beside the marks ([`super::Signs`]), and when it is sent ([`crate::reboot::cycle`]).

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{FORCED, Hold, Phase, Proof, UNTIL_AHEAD, cancelled, has_marks, was_given_back};
use crate::host::HostRecord;
use crate::keys;
use crate::node::{NodeView, Taint};

/// What an operator decided about the times that a patch names. The shell knows what time it is.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// `--reboot-timeout`.
    pub reboot: SignedDuration,
    /// `--lock-release-delay`.
    pub release: SignedDuration,
}

/// What a patch of our Node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PatchKind {
    /// Writes the wish.
    Stamp,
    /// Cordons the node: the drain begins.
    Cordon,
    /// Begins the delay.
    Delay,
    /// Sets `until` anew, and tells how far the drain has come.
    Renew,
    /// Seals: the reboot comes next.
    Seal,
    /// Notes that the host has booted.
    Return,
    /// Ends the hold.
    GiveBack,
    /// Something beside the marks.
    Tidy,
}

/// A JSON merge patch of a Node: a compare-and-swap on the version it was decided on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodePatch {
    /// What it is for.
    pub kind: PatchKind,
    /// The Node's name.
    pub name: String,
    /// The `resourceVersion` that it was decided on.
    pub version: String,
    /// Whether it sets `until`: `--reboot-timeout` ahead with the seal, [`UNTIL_AHEAD`] with any other write.
    pub sets_until: bool,
    /// The `created` whose lock entry is kept for `--lock-release-delay` from now on.
    pub release_of: Option<String>,
    /// Annotations by key; `None` removes one.
    pub annotations: BTreeMap<String, Option<String>>,
    /// Labels but for the phase.
    pub labels: BTreeMap<String, Option<String>>,
    /// `Some(None)` removes the label.
    pub phase: Option<Option<Phase>>,
    /// The cordon, if it changes.
    pub unschedulable: Option<bool>,
    /// The whole list of taints, if it changes.
    pub taints: Option<Vec<Taint>>,
    /// The marks that it leaves; none where it takes them away, or is not about them.
    pub leaves: Option<Hold>,
    /// The hold that it gives back, and the proof of that.
    pub gives_back: Option<(String, Proof)>,
    /// What goes into the host's record before it is sent.
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

    /// The wish, on a Node that shows no hold. A cancel that waited there names no hold of ours and goes.
    pub fn stamp(node: &NodeView, leaves: Hold) -> NodePatch {
        let holder = leaves.holder.to_string();
        let mut patch = NodePatch::marks(PatchKind::Stamp, node, leaves);
        patch.set(keys::HOLDER, holder);
        // Leftovers of a hold that was lost say nothing about this one.
        for key in [keys::CANCEL, keys::RELEASE_AT, keys::DRAIN_PROGRESS] {
            patch.clear_if_set(node, key);
        }
        patch
    }

    /// The cordon.
    pub fn cordon(node: &NodeView, leaves: Hold, taint: bool) -> NodePatch {
        let mut patch = NodePatch::marks(PatchKind::Cordon, node, leaves);
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
        let mut patch = NodePatch::marks(PatchKind::Delay, node, leaves);
        patch.clear_if_set(node, keys::DRAIN_PROGRESS);
        patch
    }

    /// The drain was given up with this left, and the delay begins all the same: the Node goes on saying so.
    pub fn delay_forced(node: &NodeView, leaves: Hold, left: &str) -> NodePatch {
        let mut patch = NodePatch::marks(PatchKind::Delay, node, leaves);
        patch.set(keys::DRAIN_PROGRESS, format!("{FORCED}{left}"));
        patch
    }

    /// `until`, further ahead, and how far the drain has come.
    pub fn renew(node: &NodeView, leaves: Hold, progress: Option<&str>) -> NodePatch {
        let mut patch = NodePatch::marks(PatchKind::Renew, node, leaves);
        if let Some(progress) =
            progress.filter(|progress| node.annotation(keys::DRAIN_PROGRESS) != Some(progress))
        {
            patch.set(keys::DRAIN_PROGRESS, progress.to_owned());
        }
        patch
    }

    /// The reboot happened.
    pub fn returning(node: &NodeView, leaves: Hold) -> NodePatch {
        NodePatch::marks(PatchKind::Return, node, leaves)
    }

    /// The final check and its proof.
    pub fn seal(node: &NodeView, leaves: Hold) -> NodePatch {
        NodePatch::marks(PatchKind::Seal, node, leaves)
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
            Some(true | false) | None => {}
        }
    }

    /// The whole list, without these and with those, if that changes it.
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

    /// Whether it would change nothing.
    pub fn is_empty(&self) -> bool {
        !self.sets_until
            && self.release_of.is_none()
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

    /// What the API server makes of this Node by [`NodePatch::body`], but for the version that it gives it.
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

    /// Those whose values are times, too.
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
        let mut all = self.annotations.clone();
        all.extend(until.into_iter().chain(release));
        all
    }

    /// The phase too.
    fn all_labels(&self) -> Changes {
        let mut all = self.labels.clone();
        let phase = self
            .phase
            .map(|phase| (keys::PHASE.to_owned(), phase.map(|phase| phase.to_string())));
        all.extend(phase);
        all
    }
}

/// New values by their keys; without one the key is removed.
type Changes = BTreeMap<String, Option<String>>;

fn merge(map: &mut BTreeMap<String, String>, changes: Changes) {
    for (key, value) in changes {
        drop(match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        });
    }
}
