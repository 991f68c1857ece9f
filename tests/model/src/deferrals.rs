//! Mode `defer`: uncordons of held nodes that the webhook keeps for the end of the hold, and what the checker remembers of them.
//!
//! Not here: what the agent does with them (the real `Cycle::step`), and the updates that the webhook only judges (`players`).

use cordonhold_shared::admission::{self, Deferral};
use cordonhold_shared::hold::{self, DeferredUncordon};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;

use crate::players::Who;
use crate::protocol::{Protocol, name};
use crate::rule::Rule;
use crate::world::State;

impl Protocol {
    /// How the webhook changes this uncordon, by its real decision; `None` if it defers nothing.
    pub(crate) fn deferral(&self, state: &State, id: u8, new: &NodeView, who: Who) -> Option<Deferral> {
        if !self.scenario.defers || !state.webhook_up {
            return None;
        }
        let (request, now) = self.request(state, id, new, who);
        admission::defer(&request, &self.webhook_policy(), now)
    }

    /// Carries out an uncordon of a held node that the webhook changes: it is kept for the end of the hold, or noted as done.
    pub(crate) fn defer(&self, state: &mut State, id: u8, new: &NodeView, deferral: &Deferral) -> bool {
        if !deferral.cordons {
            return self.note_done(state, id, new, deferral);
        }
        let node = &state.nodes[usize::from(id)];
        let old = self.views.get(node.view);
        // The node controller takes off its taint only where the cordon is gone.
        let mut asked = new.clone();
        asked.spec.taints.clone_from(&old.spec.taints);
        let mut kept = deferral.applied(&asked);
        if self.is_off(Rule::FirstUncordonStays)
            && let Some(first) = hold::deferred_uncordon(&old).present()
        {
            // Each time by another of two users, so that each time the Node changes.
            let user = format!("controller-{}", node.version % 2);
            let later = DeferredUncordon { user, ..first };
            let key = keys::UNCORDON_WANTED.to_owned();
            drop(kept.metadata.annotations.insert(key, later.to_string()));
        } else if !self.passes(state, id, &kept, Who::Stranger) {
            return false;
        }
        let seen = &mut state.nodes[usize::from(id)].seen;
        seen.uncordon = true;
        seen.wants_cordon = false;
        // Without the rule it is denied, and people wish it all the same.
        if !self.is_off(Rule::DeniedIsAWish) {
            self.put_view(state, id, kept);
        }
        true
    }

    /// Carries out an uncordon that passes because the hold has lapsed. It is the last wish, unless somebody cordons the node after it.
    fn note_done(&self, state: &mut State, id: u8, new: &NodeView, deferral: &Deferral) -> bool {
        let noted = deferral.applied(new);
        if !self.passes(state, id, &noted, Who::Stranger) {
            return false;
        }
        self.wish_cordon(state, id, false);
        let is_off = self.is_off(Rule::DoneIsNoted);
        self.put_view(state, id, if is_off { new.clone() } else { noted });
        true
    }

    /// Somebody changes the cordon under a hold that has lapsed, and that counts.
    fn wish_cordon(&self, state: &mut State, id: u8, is_cordoned: bool) {
        let seen = &mut state.nodes[usize::from(id)].seen;
        seen.uncordon = false;
        seen.was = Some(is_cordoned);
        seen.wants_cordon = is_cordoned;
    }

    /// Somebody cordons a held node again. That counts after an uncordon that was noted as done.
    pub(crate) fn recordon(&self, state: &mut State, id: u8) -> bool {
        state.left.recordons -= 1;
        let mut view = (*self.views.get(state.nodes[usize::from(id)].view)).clone();
        if hold::done_under_hold(&view).is_some() {
            self.wish_cordon(state, id, true);
        }
        view.spec.unschedulable = true;
        self.put_view(state, id, view);
        true
    }

    /// Whoever has asked for an uncordon that is deferred asks again.
    pub(crate) fn ask_again(&self, state: &mut State, id: u8) {
        let view = self.views.get(state.nodes[usize::from(id)].view);
        if !state.nodes[usize::from(id)].seen.uncordon || view.annotation(keys::UNCORDON_WANTED).is_none() {
            return;
        }
        let new = self.uncordoned(state, id);
        if let Some(deferral) = self.deferral(state, id, &new, Who::Stranger) {
            let _ = self.defer(state, id, &new, &deferral);
        }
    }

    /// Whether a deferred uncordon of this Node is kept where no crash and no reboot reaches: the lock's entry has it, or the host's record,
    /// from which a later process takes it before the entry is confirmed.
    pub(crate) fn is_uncordon_kept(&self, state: &State, id: u8) -> bool {
        let node = &state.nodes[usize::from(id)];
        let is_shown = hold::deferred_uncordon(&self.views.get(node.view))
            .present()
            .is_some();
        let lock = self.records.get(state.lock.record);
        let entry = lock.entries.iter().find(|entry| entry.node == name(id));
        let is_in_entry = entry.is_some_and(|entry| !entry.uncordon_wanted.is_empty());
        let is_confirmed = entry.is_none_or(|entry| entry.sealed);
        let record = node.record.map(|record| self.host_records.get(record));
        let is_in_record = record.is_some_and(|record| record.uncordon_wanted.is_some());
        is_shown && (is_in_entry || (is_in_record && !is_confirmed))
    }

    /// Somebody removes the deferred uncordon, and nothing else.
    pub(crate) fn strip_uncordon(&self, state: &mut State, id: u8) -> bool {
        state.left.stripped_uncordons -= 1;
        let mut view = (*self.views.get(state.nodes[usize::from(id)].view)).clone();
        drop(view.metadata.annotations.remove(keys::UNCORDON_WANTED));
        self.put_view(state, id, view);
        true
    }
}
