//! The writes of agents: what each changes, how it differs while a rule is off, and what the checker remembers of it.

use cordonhold_shared::Reading;
use cordonhold_shared::hold::{self, DeferredUncordon, NodePatch, PatchKind, Phase, Terms, UNTIL_AHEAD};
use cordonhold_shared::keys;
use cordonhold_shared::lock::Record;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::cycle::{Ask, Failure};
use cordonhold_shared::reboot::lock_object::LockWrite;
use jiff::Timestamp;

use crate::protocol::{Protocol, name, number, small};
use crate::rule::Rule;
use crate::violation::Violation;
use crate::world::{Delivery, Ghost, Power, State};

/// The time of every write, 2026-11-23T19:50:00Z. Every time in a patch is the same; a flag of the node says whether it has
/// passed.
const NOW: Timestamp = Timestamp::constant(1_795_463_400, 0);

impl Protocol {
    pub(crate) fn write_lock(
        &self,
        state: &mut State,
        index: usize,
        write: &LockWrite,
    ) -> Result<(), Failure> {
        let own = state.agents[index].node;
        let is_confirm = write
            .record
            .entries
            .iter()
            .any(|entry| entry.node == name(own) && entry.sealed);
        if self.is_off(Rule::Confirm) && is_confirm {
            return Ok(());
        }
        if write.version != Some(state.lock.version.to_string()) {
            return Err(Failure::Conflict);
        }
        let before = self.records.get(state.lock.record);
        self.note_entries(state, own, &before, &write.record);
        self.put_record(state, write.record.clone());
        Ok(())
    }

    /// Updates what the checker remembers after a write of the lock.
    fn note_entries(&self, state: &mut State, own: u8, before: &Record, after: &Record) {
        for entry in &before.entries {
            if after.entry(&entry.id()).is_some() || entry.node == name(own) {
                continue;
            }
            let Some(node) = number(&entry.node).filter(|node| usize::from(*node) < state.nodes.len()) else {
                continue;
            };
            let is_live = if entry.is_ours() {
                let ghost = &state.nodes[usize::from(node)].seen;
                ghost.between && !ghost.taken
            } else {
                state
                    .kureds
                    .iter()
                    .any(|kured| kured.node == node && kured.is_between() && !kured.expired)
            };
            if is_live {
                state.violate(Violation::LiveEntryDropped);
            }
            // If marks and record are gone too, nothing says any more what the cordon was.
            let node = &mut state.nodes[usize::from(node)];
            node.seen.unsure |= entry.is_ours() && node.seen.taken && node.record.is_none();
        }
        for entry in &after.entries {
            if entry.node != name(own) || !entry.is_ours() {
                continue;
            }
            // An entry whose Node no longer shows the hold is over at once, so it counts no slot.
            let is_held_back = state
                .agents
                .iter()
                .any(|agent| agent.node == own && agent.held_back.is_some());
            let is_shown = is_held_back || self.shows_hold(state, own, &entry.created);
            let ghost = &mut state.nodes[usize::from(own)].seen;
            ghost.between |= before.entry(&entry.id()).is_none() && is_shown;
            ghost.confirmed |= entry.sealed;
        }
        // A release needs both: no entry, and no hold on the Node, which is given back first.
        let has_entry = after.entries.iter().any(|entry| entry.node == name(own));
        let shows_none = self
            .read(state, own)
            .is_none_or(|view| hold::read(&view) == Reading::Absent);
        if !has_entry && shows_none {
            state.nodes[usize::from(own)].seen.between = false;
        }
    }

    /// Whether the Node shows the hold with this `created`.
    pub(crate) fn shows_hold(&self, state: &State, node: u8, created: &str) -> bool {
        self.read(state, node)
            .and_then(|view| hold::read(&view).present())
            .is_some_and(|hold| hold.holder.created == created)
    }

    pub(crate) fn put_record(&self, state: &mut State, mut record: Record) {
        if self.is_off(Rule::SealedEntryOutlivesMarks) {
            for entry in &mut record.entries {
                entry.sealed = false;
                entry.boot_id = String::new();
                entry.init = String::new();
            }
        }
        if self.is_off(Rule::EntryNamesUid) {
            for entry in &mut record.entries {
                entry.node_uid = String::new();
            }
        }
        state.lock.record = self.records.id(record);
        state.lock.version += 1;
        for agent in &mut state.agents {
            agent.lock_changed |= agent.watches_lock;
        }
    }

    pub(crate) fn drop_entries(&self, state: &mut State, node: u8) {
        let mut record = (*self.records.get(state.lock.record)).clone();
        record.entries.retain(|entry| entry.node != name(node));
        self.put_record(state, record);
    }

    /// Carries out a patch of an agent, changed as the rules that are off demand.
    pub(crate) fn patch(
        &self,
        state: &mut State,
        index: usize,
        patch: &NodePatch,
    ) -> Result<NodeView, Failure> {
        let own = state.agents[index].node;
        if patch.name != name(own) {
            state.violate(Violation::OtherNode);
        }
        let node = &state.nodes[usize::from(own)];
        if !node.exists {
            return Err(Failure::NotFound);
        }
        let old = self.views.get(node.view);
        let is_current = patch.version == node.version.to_string();
        if !is_current && !self.passes_unchecked(patch, &old) {
            return Err(Failure::Conflict);
        }
        if self.is_off(Rule::StampBeforeAcquire) && patch.kind == PatchKind::Stamp {
            state.agents[index].held_back = Some(self.requests.id(Ask::PatchNode(patch.clone())));
            return Ok(self.shown(&apply(&old, patch), node.version));
        }
        self.commit(state, index, patch, &old);
        let node = self.read(state, own).ok_or(Failure::NotFound)?;
        Ok(self.believed(state, index, node))
    }

    /// Whether this patch is sent without a version, because a rule is off.
    fn passes_unchecked(&self, patch: &NodePatch, old: &NodeView) -> bool {
        match patch.kind {
            PatchKind::GiveBack => self.is_off(Rule::UndoIsCas) || self.is_off(Rule::UncordonIsReadInSwap),
            PatchKind::Stamp => self.is_off(Rule::StampIsCas),
            PatchKind::Renew => self.is_off(Rule::RenewalIsCas),
            PatchKind::Seal => {
                let is_as_watched =
                    old.spec.unschedulable && old.label(keys::PHASE) == Some(Phase::Delaying.as_str());
                self.is_off(Rule::SealIsCas) || (self.is_off(Rule::SealOnWatchedVersion) && is_as_watched)
            }
            _ => false,
        }
    }

    pub(crate) fn commit(&self, state: &mut State, index: usize, patch: &NodePatch, old: &NodeView) {
        let own = state.agents[index].node;
        let mut new = apply(old, patch);
        self.alter(patch, old, &mut new);
        self.note_patch(state, index, patch, old, &new);
        let is_kept = self.scenario.faults.forgeries > 0 && patch.kind != PatchKind::Renew;
        if is_kept && hold::read(old).present().is_some() {
            state.nodes[usize::from(own)].older = Some(self.views.id(old.clone()));
        }
        if patch.sets_until {
            state.nodes[usize::from(own)].expired = false;
        }
        self.put_view(state, own, new);
        if self.is_off(Rule::DropReadsNodeAfterLock) && patch.kind == PatchKind::Stamp {
            let known = state.nodes.iter().map(|node| node.exists.then_some(node.view));
            state.agents[index].cache = Some(known.collect());
        }
    }

    /// Changes the result of a patch as the rules that are off demand.
    fn alter(&self, patch: &NodePatch, old: &NodeView, new: &mut NodeView) {
        if self.is_off(Rule::NoUncordonIsInherited) {
            inherit_uncordon(patch, old, new);
        }
        if patch.kind != PatchKind::GiveBack {
            return;
        }
        let is_wish = old.label(keys::PHASE) == Some(Phase::Wanted.as_str());
        if self.is_off(Rule::WishLeavesCordon) && is_wish {
            new.spec.unschedulable = false;
        }
        if self.is_off(Rule::MemoryOverNode) {
            new.spec.unschedulable = match old.annotation(keys::WAS_UNSCHEDULABLE) {
                Some(was) if !is_wish => was == "true",
                _ => old.spec.unschedulable,
            };
        }
    }

    /// Updates what the checker remembers after a patch, and checks the patch.
    fn note_patch(&self, state: &mut State, index: usize, patch: &NodePatch, old: &NodeView, new: &NodeView) {
        let own = state.agents[index].node;
        let mut violations = Vec::new();
        let node = &mut state.nodes[usize::from(own)];
        let boot = node.boot;
        let is_going_down = node.power != Power::Up && node.seen.issued.is_some();
        if is_going_down && !matches!(patch.kind, PatchKind::Renew | PatchKind::Tidy) {
            violations.push(Violation::DownUnsealed);
        }
        let ghost = &mut node.seen;
        match patch.kind {
            PatchKind::Delay | PatchKind::Renew | PatchKind::Tidy => {}
            PatchKind::Stamp => {
                *ghost = Ghost {
                    between: ghost.between,
                    issued: ghost.issued,
                    deleted: ghost.deleted,
                    lured: ghost.lured,
                    stamp_boot: boot,
                    wants_cordon: if ghost.unsure {
                        old.spec.unschedulable
                    } else {
                        ghost.wants_cordon
                    },
                    ..Ghost::default()
                };
            }
            PatchKind::Cordon => {
                ghost.disturbed = false;
                ghost.listed = false;
                ghost.forced = false;
                ghost.confirmed = false;
                ghost.is_altered = false;
                ghost.forged = false;
                ghost.sealed_by = None;
                ghost.was = ghost.was.or(Some(old.spec.unschedulable));
            }
            PatchKind::Seal => {
                violations.extend(violations_of_seal(ghost, new));
                ghost.sealed_by = Some(small(index));
            }
            PatchKind::Return => ghost.sealed_by = None,
            PatchKind::GiveBack => {
                let is_let_past = ghost.cancelled && ghost.was == Some(true);
                let before = ghost.was.unwrap_or(old.spec.unschedulable);
                let is_exempt = (is_let_past && !ghost.uncordon) || ghost.taken || ghost.unsure;
                if new.spec.unschedulable != (before && !ghost.uncordon) && !is_exempt {
                    violations.push(if ghost.uncordon {
                        Violation::LastWish
                    } else {
                        Violation::WrongCordon
                    });
                }
                *ghost = Ghost {
                    issued: ghost.issued,
                    deleted: ghost.deleted,
                    wants_cordon: if is_let_past {
                        new.spec.unschedulable
                    } else {
                        ghost.wants_cordon
                    },
                    unsure: ghost.unsure,
                    ..Ghost::default()
                };
            }
        }
        for violation in violations {
            state.violate(violation);
        }
    }

    /// Sets the content of a Node. If it differs, the Node gets a new version and its watchers an event.
    pub(crate) fn put_view(&self, state: &mut State, number: u8, view: NodeView) {
        let is_cordoned = view.spec.unschedulable;
        let id = self.views.id(view);
        let node = &mut state.nodes[usize::from(number)];
        if node.view == id {
            return;
        }
        node.view = id;
        node.version += 1;
        if !is_cordoned {
            node.seen.disturbed = true;
            node.seen.listed = false;
        }
        let event = Delivery::Seen(id, node.version);
        for agent in state.agents.iter_mut().filter(|agent| agent.node == number) {
            if let Some(queue) = &mut agent.queue {
                queue.push(event);
            }
        }
    }
}

/// The violations of a seal. A cordon that another webhook removed from the seal is none: the agent must not reboot on it.
fn violations_of_seal(ghost: &Ghost, new: &NodeView) -> impl Iterator<Item = Violation> {
    let is_cordoned = new.spec.unschedulable || ghost.is_altered;
    let found = [
        (
            !is_cordoned || hold::read(new).present().is_none(),
            Violation::SealedWithoutCordon,
        ),
        (ghost.disturbed, Violation::SealedAfterDisturbance),
        (!ghost.listed && !ghost.forced, Violation::SealedUnlisted),
        (!ghost.confirmed, Violation::SealedUnconfirmed),
    ];
    found
        .into_iter()
        .filter_map(|(is_broken, violation)| is_broken.then_some(violation))
}

/// Keeps a deferred uncordon on the Node, under the name of the hold that the Node shows after this patch.
fn inherit_uncordon(patch: &NodePatch, old: &NodeView, new: &mut NodeView) {
    let Some(deferred) = hold::deferred_uncordon(old).present() else {
        return;
    };
    let created = patch.leaves.as_ref().map(|leaves| leaves.holder.created.clone());
    let inherited = DeferredUncordon {
        created: created.unwrap_or_else(|| deferred.created.clone()),
        ..deferred
    };
    let key = keys::UNCORDON_WANTED.to_owned();
    drop(new.metadata.annotations.insert(key, inherited.to_string()));
}

/// The Node after a patch.
pub(crate) fn apply(node: &NodeView, patch: &NodePatch) -> NodeView {
    let terms = Terms {
        reboot: UNTIL_AHEAD,
        release: UNTIL_AHEAD,
    };
    let mut node = patch.applied(node, NOW, &terms);
    node.metadata.resource_version = String::new();
    node
}
