//! The actions of agents that are possible only while a rule is off.

use cordonhold_shared::Reading;
use cordonhold_shared::hold::{self, Hold, NodePatch, Phase};
use cordonhold_shared::keys;
use cordonhold_shared::reboot::cycle::Ask;

use crate::forgeries::FORGED;
use crate::protocol::{Protocol, name, proof};
use crate::world::{Power, State};
use crate::writes::apply;

impl Protocol {
    /// Without `EvidenceNotTime`: an agent whose waiting time is over starts again, and assumes that no shutdown is under way.
    pub(crate) fn give_up_by_time(&self, state: &mut State, index: usize) -> bool {
        state.left.pauses -= 1;
        self.forget(state, index);
        self.start(state, index);
        state.agents[index].is_lied_to = true;
        true
    }

    pub(crate) fn reissue(&self, state: &mut State, index: usize) -> bool {
        let own = state.agents[index].node;
        let is_sealed = self
            .read(state, own)
            .is_some_and(|view| view.label(keys::PHASE) == Some(Phase::Sealed.as_str()));
        let was_issued = state.nodes[usize::from(own)].power != Power::Up;
        if !is_sealed || was_issued || state.nodes[usize::from(own)].seen.sealed_by.is_some() {
            return false;
        }
        self.issue(state, index, own);
        true
    }

    /// Without `FreshIds`: the hold that the lock still names is gone from the Node, is written again, and its agent goes on from it.
    pub(crate) fn write_hold_again(&self, state: &mut State, index: usize) -> bool {
        let own = state.agents[index].node;
        let record = self.records.get(state.lock.record);
        let Some(entry) = record.entries.iter().find(|entry| entry.node == name(own)) else {
            return false;
        };
        let Some(mut view) = self
            .read(state, own)
            .filter(|view| hold::read(view) == Reading::Absent)
        else {
            return false;
        };
        view.metadata.resource_version = String::new();
        let holder = hold::Holder {
            node_uid: view.metadata.uid.clone(),
            created: entry.created.clone(),
        };
        let wish = Hold::wish(holder, proof(FORGED));
        let again = Hold {
            boot_id: Some(self.boot_of(own, state.nodes[usize::from(own)].boot).to_string()),
            was_unschedulable: Some(view.spec.unschedulable),
            ..wish.written(Phase::Draining, proof(FORGED))
        };
        let stamped = apply(&view, &NodePatch::stamp(&view, wish));
        let cordoned = apply(&stamped, &NodePatch::cordon(&stamped, again, true));
        self.put_view(state, own, cordoned);
        let ghost = &mut state.nodes[usize::from(own)].seen;
        ghost.between = true;
        ghost.taken = false;
        self.forget(state, index);
        self.start(state, index);
        true
    }

    /// Without `StampBeforeAcquire`: writes the stamp that was held back until the lock was acquired.
    pub(crate) fn stamp_now(&self, state: &mut State, index: usize) -> bool {
        let own = state.agents[index].node;
        let is_acquired = {
            let record = self.records.get(state.lock.record);
            record.entries.iter().any(|entry| entry.node == name(own))
        };
        if !is_acquired {
            return false;
        }
        let Some(id) = state.agents[index].held_back.take() else {
            return false;
        };
        let Ask::PatchNode(patch) = &*self.requests.get(id) else {
            return false;
        };
        let old = self.views.get(state.nodes[usize::from(own)].view);
        let between = state.nodes[usize::from(own)].seen.between;
        self.commit(state, index, patch, &old);
        state.nodes[usize::from(own)].seen.between = between;
        true
    }
}
