//! The requests of an agent: how each is delivered, and its answer.
//!
//! Not here: what a write changes ([`crate::writes`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use cordonhold_shared::Reading;
use cordonhold_shared::hold::Phase;
use cordonhold_shared::host::{Boot, HostRecord, RebootDeadline};
use cordonhold_shared::keys;
use cordonhold_shared::lock::{Entry, Record};
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::cycle::{
    Answer, Ask, Blocker, Failure, HostState, Input, Missing, PoolCount, Shutdown,
};
use cordonhold_shared::reboot::lock_object::{Carrier, LockView};

use crate::drain::OWNER;
use crate::forgeries::FORGED;
use crate::protocol::{Protocol, boot_id, created, name, number, proof, small};
use crate::rule::Rule;
use crate::scenarios::Hosts;
use crate::world::{Late, Node, Power, State};

/// How a request is delivered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    Answered,
    Unanswered,
    Lost,
    Late,
    /// Answered, but another webhook has changed what was written.
    Altered,
    /// Carried out twice, and the answer is that of the second copy.
    Copied,
}

impl Protocol {
    /// Delivers the open request. A read is carried out together with the compare-and-swap that follows it on the same object:
    /// any change between the two would only make the second fail.
    pub(crate) fn serve(&self, state: &mut State, index: usize, delivery: Delivery) -> bool {
        match delivery {
            Delivery::Answered => {}
            Delivery::Unanswered => state.left.lost_answers -= 1,
            Delivery::Lost => state.left.lost_requests -= 1,
            Delivery::Late => state.left.late_writes -= 1,
            Delivery::Altered => state.left.altered_writes -= 1,
            Delivery::Copied => state.left.copied_writes -= 1,
        }
        let before = state.clone();
        if self.serve_chain(state, index, delivery) {
            return true;
        }
        if delivery != Delivery::Lost {
            return false;
        }
        // No write followed: the read itself is lost.
        *state = before;
        let Some(request) = self.take_request(state, index) else {
            return false;
        };
        self.feed(state, index, unknown(&request));
        true
    }

    pub(crate) fn take_request(&self, state: &mut State, index: usize) -> Option<Arc<Ask>> {
        let id = state.agents[index].request.take()?;
        Some(self.requests.get(id))
    }

    /// Answers the open request for what postpones the reboot, or the return, with one thing that does.
    pub(crate) fn block(&self, state: &mut State, index: usize) -> bool {
        let Some(request) = self.take_request(state, index) else {
            return false;
        };
        state.left.blocks -= 1;
        let answer = match *request {
            Ask::ListMissing => Answer::Missing(Ok(vec![Missing::Pods(BTreeSet::default())])),
            _ => Answer::Blockers(Ok(vec![Blocker::PoolPaused("sale".to_owned())])),
        };
        self.feed(state, index, Input::Answer(answer));
        true
    }

    fn serve_chain(&self, state: &mut State, index: usize, delivery: Delivery) -> bool {
        loop {
            let Some(request) = self.take_request(state, index) else {
                return false;
            };
            if state.agents[index].held_back.is_some() && matches!(*request, Ask::ReadNode) {
                return false;
            }
            let is_write = matches!(*request, Ask::PatchNode(_) | Ask::WriteLock(_));
            self.note_request(state, index, &request);
            let input = match (delivery, is_write) {
                (Delivery::Answered, _) | (_, false) => self.answer(state, index, &request),
                (Delivery::Altered, true) => self.alter_write(state, index, &request),
                (Delivery::Copied, true) => self.copy_write(state, index, &request),
                (Delivery::Unanswered, true) => {
                    drop(self.answer(state, index, &request));
                    unknown(&request)
                }
                (Delivery::Lost, true) => unknown(&request),
                (Delivery::Late, true) => {
                    state.late = Some(Late {
                        agent: small(index),
                        request: self.requests.id((*request).clone()),
                    });
                    unknown(&request)
                }
            };
            self.feed(state, index, input);
            if is_write {
                return true;
            }
            let next = state.agents[index].request.map(|id| self.requests.get(id));
            let belongs = matches!(
                (&*request, next.as_deref()),
                (Ask::ReadNode, Some(Ask::PatchNode(_)))
                    | (Ask::ReadLock, Some(Ask::WriteLock(_)))
                    // In the model nobody else can change the blockers, so nothing can come in between.
                    | (Ask::ListBlockers | Ask::ListMissing, Some(_))
            );
            if !belongs {
                return delivery == Delivery::Answered;
            }
        }
    }

    /// Does what a real agent does before it sends a patch: writes the host's record.
    fn note_request(&self, state: &mut State, index: usize, request: &Ask) {
        let Ask::PatchNode(patch) = request else {
            return;
        };
        let own = usize::from(state.agents[index].node);
        if let Some(record) = patch.record.clone() {
            state.nodes[own].record = Some(self.host_records.id(record));
            state.nodes[own].is_told = false;
        }
        if self.is_off(Rule::WritesAreProven) {
            state.agents[index].last_write = Some(self.requests.id(request.clone()));
        }
    }

    /// Carries out a write that arrives twice. The answer is that of the second copy: a conflict with the first.
    fn copy_write(&self, state: &mut State, index: usize, request: &Ask) -> Input {
        match request {
            Ask::PatchNode(patch) => {
                let mut patch = patch.clone();
                if self.is_off(Rule::ConflictsAreUnknown) && patch.leaves.is_some() {
                    // Without the rule, the agent does not recognise its own write: so it lands with another proof.
                    let forgotten = proof(FORGED).as_str().to_owned();
                    drop(patch.annotations.insert(keys::WRITE.to_owned(), Some(forgotten)));
                }
                drop(self.answer(state, index, &Ask::PatchNode(patch)));
                Input::Answer(Answer::Patched(Err(Failure::Conflict)))
            }
            request => {
                drop(self.answer(state, index, request));
                Input::Answer(Answer::LockWritten(Err(Failure::Conflict)))
            }
        }
    }

    /// Carries out a write of an agent from which another webhook has removed the cordon.
    fn alter_write(&self, state: &mut State, index: usize, request: &Ask) -> Input {
        let Ask::PatchNode(patch) = request else {
            return self.answer(state, index, request);
        };
        let mut altered = patch.clone();
        altered.unschedulable = Some(false);
        let own = usize::from(state.agents[index].node);
        let before = state.nodes[own].version;
        let was_altered = std::mem::replace(&mut state.nodes[own].seen.is_altered, true);
        let answer = self.answer(state, index, &Ask::PatchNode(altered));
        if state.nodes[own].version == before {
            state.nodes[own].seen.is_altered = was_altered;
        }
        match answer {
            Input::Answer(Answer::Patched(Ok(mut node))) if self.is_off(Rule::AnswersAreRead) => {
                node.spec.unschedulable = true;
                Input::Answer(Answer::Patched(Ok(node)))
            }
            answer => answer,
        }
    }

    /// Runs an agent by itself until it waits for something.
    pub(crate) fn run_to_rest(&self, state: &mut State, index: usize) {
        loop {
            if state.agents[index].request.is_some() {
                if !self.serve(state, index, Delivery::Answered) {
                    return;
                }
            } else if !self.deliver(state, index) {
                return;
            }
        }
    }

    /// Carries out the late write. Nobody gets the answer.
    pub(crate) fn land(&self, state: &mut State) -> bool {
        let Some(late) = state.late.take() else {
            return false;
        };
        drop(self.answer(state, late.agent.into(), &self.requests.get(late.request)));
        true
    }

    fn answer(&self, state: &mut State, index: usize, request: &Ask) -> Input {
        let own = state.agents[index].node;
        match request {
            Ask::AskHost => Input::Answer(Answer::Host(self.host_state(state, index))),
            Ask::ReadNode => {
                let node = self
                    .read(state, own)
                    .map(|node| self.believed(state, index, node));
                Input::Answer(Answer::Node(node.ok_or(Failure::NotFound)))
            }
            Ask::ReadPeer(peer) => Input::Answer(Answer::Peer(Ok(self.read_peer(state, index, peer)))),
            Ask::ListHeld => Input::Answer(Answer::Held(Ok(self.list_held(state)))),
            Ask::CountPool => Input::Answer(Answer::Pool(Ok(PoolCount::default()))),
            Ask::ListBlockers => Input::Answer(Answer::Blockers(Ok(Vec::new()))),
            Ask::ListMissing => Input::Answer(Answer::Missing(Ok(Vec::new()))),
            Ask::ReadLock => Input::Answer(Answer::Lock(Ok(self.read_lock(state, index)))),
            Ask::WriteLock(write) => Input::Answer(Answer::LockWritten(self.write_lock(state, index, write))),
            Ask::PatchNode(patch) => Input::Answer(Answer::Patched(self.patch(state, index, patch))),
            Ask::ListPods(kept) => {
                let node = &mut state.nodes[usize::from(own)];
                let pods = if kept.contains(OWNER) && self.seems_tolerant() {
                    0
                } else {
                    node.pods
                };
                let left = vec!["default/web".to_owned(); usize::from(pods)];
                let is_empty = node.pods == 0 || self.is_wanted_there(node);
                node.seen.listed = is_empty && left.is_empty() && !node.seen.disturbed;
                Input::Answer(Answer::PodsLeft(Ok(left)))
            }
            Ask::Reboot { record } => {
                let told = Some(self.host_records.id(record.clone()));
                state.nodes[usize::from(own)].record = told;
                Input::Answer(Answer::RebootIssued(self.reboot(state, index)))
            }
        }
    }

    fn host_state(&self, state: &State, index: usize) -> HostState {
        let agent = &state.agents[index];
        let node = &state.nodes[usize::from(agent.node)];
        let is_shown = node.power == Power::GoingDown && !agent.is_lied_to;
        let is_recorded = !self.is_off(Rule::RebootIsRecorded);
        let record = node.record.filter(|_| is_recorded);
        let told = (node.is_told && is_recorded).then(|| {
            // An assumption: the deadline in the record is later than the shutdown.
            let may_come = node.power == Power::Issued && !self.is_off(Rule::ShutdownShowsInTime);
            if may_come {
                RebootDeadline::Ahead
            } else {
                RebootDeadline::Passed
            }
        });
        HostState {
            boot: self.boot_of(agent.node, node.boot),
            shutdown: if is_shown {
                Shutdown::UnderWay
            } else {
                Shutdown::No
            },
            record: record.map(|record| self.as_recorded(node, (*self.host_records.get(record)).clone())),
            told,
        }
    }

    /// The identity of a boot, as the host shows it.
    pub(crate) fn boot_of(&self, node: u8, boot: u8) -> Boot {
        let stays = self.scenario.hosts != Hosts::Ordinary;
        let counts = self.scenario.hosts == Hosts::Soft;
        Boot {
            id: boot_id(node, if stays { 0 } else { boot }),
            init: if counts { boot.to_string() } else { String::new() },
        }
    }

    /// The host's record as an agent reads it, changed as the rules that are off demand.
    fn as_recorded(&self, node: &Node, mut record: HostRecord) -> HostRecord {
        let view = self.views.get(node.view);
        if self.is_off(Rule::WasDecidedOnce) {
            record.was_unschedulable = Some(view.spec.unschedulable);
        }
        if self.is_off(Rule::AttemptsAreCounted) {
            record.attempts = 0;
        }
        if self.is_off(Rule::UncordonIsCopied) || self.is_off(Rule::EndsDoTheUncordon) {
            record.uncordon_wanted = None;
        }
        let created = record.holder.split_once('/').map_or("", |(_, created)| created);
        let given_back = view
            .annotation(keys::GIVEN_BACK)
            .and_then(|text| text.split_once(' '));
        if self.is_off(Rule::GivenBackIsProven) && given_back.is_some_and(|(of, _)| of == created) {
            record.phase = None;
            record.write = proof(FORGED);
        }
        record
    }

    /// The Node as an agent without `WritesAreProven` sees it: if it looks like the agent's last write, it is taken for that.
    pub(crate) fn believed(&self, state: &State, index: usize, mut view: NodeView) -> NodeView {
        let Some(request) = state.agents[index].last_write else {
            return view;
        };
        let Ask::PatchNode(patch) = &*self.requests.get(request) else {
            return view;
        };
        let Some(leaves) = &patch.leaves else { return view };
        let is_alike = view.label(keys::PHASE) == Some(leaves.phase.as_str())
            && view.annotation(keys::HOLDER) == Some(leaves.holder.to_string().as_str());
        if is_alike {
            for key in keys::MARK_ANNOTATIONS {
                if let Some(Some(value)) = patch.annotations.get(key) {
                    drop(view.metadata.annotations.insert(key.to_owned(), value.clone()));
                }
            }
        }
        view
    }

    /// A Node as the API server shows it to an agent.
    pub(crate) fn shown(&self, view: &NodeView, version: u8) -> NodeView {
        let mut view = view.clone();
        view.metadata.resource_version = version.to_string();
        if self.is_off(Rule::GivenBackIsRecorded) {
            drop(view.metadata.annotations.remove(keys::GIVEN_BACK));
        }
        if self.is_off(Rule::EndsDoTheUncordon) {
            drop(view.metadata.annotations.remove(keys::UNCORDON_WANTED));
        }
        let is_wish = view.label(keys::PHASE) == Some(Phase::Wanted.as_str());
        if self.is_off(Rule::CancelIsPermitted) && is_wish {
            drop(view.metadata.annotations.remove(keys::CANCEL));
        }
        view
    }

    pub(crate) fn read(&self, state: &State, node: u8) -> Option<NodeView> {
        let node = &state.nodes[usize::from(node)];
        node.exists
            .then(|| self.shown(&self.views.get(node.view), node.version))
    }

    fn read_peer(&self, state: &State, index: usize, peer: &str) -> Option<NodeView> {
        let peer = number(peer)?;
        if let Some(cache) = &state.agents[index].cache {
            let known = cache.get(usize::from(peer)).copied().flatten();
            return known.map(|view| self.shown(&self.views.get(view), 0));
        }
        self.read(state, peer)
    }

    fn list_held(&self, state: &State) -> Vec<NodeView> {
        if self.is_off(Rule::HeldNodesFillSlots) {
            return Vec::new();
        }
        (0..state.nodes.len())
            .filter_map(|node| self.read(state, small(node)))
            .filter(|view| {
                view.label(keys::PHASE)
                    .is_some_and(|phase| phase != Phase::Wanted.as_str())
            })
            .collect()
    }

    fn read_lock(&self, state: &State, index: usize) -> LockView {
        let mut record = (*self.records.get(state.lock.record)).clone();
        let own = state.agents[index].node;
        let is_delaying = self
            .read(state, own)
            .is_some_and(|view| view.label(keys::PHASE) == Some(Phase::Delaying.as_str()));
        self.as_locked(state, own, &mut record);
        if self.is_off(Rule::Confirm) && is_delaying {
            // Without the confirm, the agent believes that it still has its entry.
            let stamp = state.nodes[usize::from(own)].stamps;
            let entry = Entry::new(&name(own), "", &created(own, stamp), false);
            record.entries = vec![entry];
        }
        let expired = state
            .kureds
            .iter()
            .filter(|kured| kured.expired)
            .flat_map(|kured| {
                let of_it = record
                    .entries
                    .iter()
                    .filter(|entry| entry.node == name(kured.node));
                of_it.map(Entry::id).collect::<BTreeSet<_>>()
            })
            .collect();
        LockView {
            carrier: Carrier::default(),
            version: Some(state.lock.version.to_string()),
            record: Reading::Present(record),
            expired,
            paused: None,
            last_reboot: Reading::Absent,
            used: Reading::Absent,
        }
    }
}

impl Protocol {
    /// Changes the entry of the agent's own node as the rules that are off demand.
    fn as_locked(&self, state: &State, own: u8, record: &mut Record) {
        let node = &state.nodes[usize::from(own)];
        let of_own = record
            .entries
            .iter_mut()
            .filter(|entry| entry.node == name(own) && entry.is_ours());
        for entry in of_own {
            let is_held = self.shows_hold(state, own, &entry.created);
            if self.is_off(Rule::WasDecidedOnce) && is_held {
                entry.metadata.unschedulable = self.views.get(node.view).spec.unschedulable;
            }
            if self.is_off(Rule::BootIdOfCordon) {
                let stamped = self.boot_of(own, node.seen.stamp_boot);
                entry.boot_id = stamped.id;
                entry.init = stamped.init;
            }
            if self.is_off(Rule::AttemptsAreCounted) {
                entry.attempts = 0;
            }
            if self.is_off(Rule::ConfirmedEntryIsWaitedOut) {
                entry.sealed = false;
            }
            if self.is_off(Rule::UncordonIsCopied) || self.is_off(Rule::EndsDoTheUncordon) {
                entry.uncordon_wanted = String::new();
            }
        }
    }
}

/// The input for a request without an answer.
fn unknown(request: &Ask) -> Input {
    let failure = Failure::Unknown("no answer".to_owned());
    match request {
        Ask::ReadNode | Ask::AskHost | Ask::Reboot { .. } => Input::Answer(Answer::Node(Err(failure))),
        Ask::ReadPeer(_) => Input::Answer(Answer::Peer(Err(failure))),
        Ask::ListHeld => Input::Answer(Answer::Held(Err(failure))),
        Ask::CountPool => Input::Answer(Answer::Pool(Err(failure))),
        Ask::ListBlockers => Input::Answer(Answer::Blockers(Err(failure))),
        Ask::ListMissing => Input::Answer(Answer::Missing(Err(failure))),
        Ask::ReadLock => Input::Answer(Answer::Lock(Err(failure))),
        Ask::WriteLock(_) => Input::Answer(Answer::LockWritten(Err(failure))),
        Ask::PatchNode(_) => Input::Answer(Answer::Patched(Err(failure))),
        Ask::ListPods(_) => Input::Answer(Answer::PodsLeft(Err(failure))),
    }
}
