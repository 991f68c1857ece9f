//! The agents' shells: requests carried out, watches, timers, the drain and the host.

use std::collections::BTreeSet;
use std::sync::Arc;

use cordonhold_shared::Reading;
use cordonhold_shared::cycle::{
    Act, Failure, HostState, Input, LockView, LockWrite, RebootFailure, Report, Request, Shutdown, Timer,
};
use cordonhold_shared::hold::{self, Hold, NodePatch, Phase};
use cordonhold_shared::keys;
use cordonhold_shared::lock::Record;
use cordonhold_shared::node::NodeView;

use crate::property::Wrong;
use crate::protection::Protection;
use crate::protocol::{Action, Protocol, boot_id, created, name, number};
use crate::world::{Drain, Event, Ghost, Late, Power, State, Timers};

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    Answered,
    Unanswered,
    Lost,
    Late,
}

/// The one time there is; a flag of the node says whether it has passed.
pub(crate) const UNTIL: &str = "2026-11-23T20:00:00Z";

impl Protocol {
    pub(crate) fn agent_actions(&self, state: &State, index: usize, actions: &mut Vec<Action>) {
        let agent = &state.agents[index];
        let id = u8::try_from(index).unwrap_or(u8::MAX);
        let node = &state.nodes[usize::from(agent.node)];
        if agent.cycle.is_none() {
            let is_alone = state
                .agents
                .iter()
                .all(|other| other.node != agent.node || other.cycle.is_none());
            if node.power != Power::Down && (is_alone || self.is_off(Protection::LockFile)) {
                actions.push(Action::Start(id));
            }
            return;
        }
        if state.left.crashes > 0 {
            actions.push(Action::Crash(id));
        }
        if state.left.watch_gaps > 0 && agent.queue.is_some() && agent.request.is_none() {
            actions.push(Action::Gap(id));
        }
        if agent.held_back.is_some() {
            actions.push(Action::StampNow(id));
        }
        if let Some(request) = agent.request {
            self.request_actions(state, id, &self.requests.get(request), actions);
            return;
        }
        self.resting_actions(state, index, id, actions);
    }

    fn request_actions(&self, state: &State, id: u8, request: &Request, actions: &mut Vec<Action>) {
        actions.push(Action::Serve(id));
        match request {
            Request::AskHost => {}
            Request::Reboot => {
                if state.left.failed_reboots > 0 {
                    actions.push(Action::RebootFails(id));
                }
                if state.left.pauses > 0 && state.agents[usize::from(id)].timers.has(Timer::Deadline) {
                    actions.push(Action::Pause(id));
                }
            }
            _ => {
                if state.left.lost_answers > 0 {
                    actions.push(Action::ServeUnanswered(id));
                }
                if state.left.lost_requests > 0 {
                    actions.push(Action::LoseRequest(id));
                }
                if state.left.late_writes > 0 && state.late.is_none() {
                    actions.push(Action::DelayWrite(id));
                }
            }
        }
    }

    fn resting_actions(&self, state: &State, index: usize, id: u8, actions: &mut Vec<Action>) {
        let agent = &state.agents[index];
        let node = &state.nodes[usize::from(agent.node)];
        if agent.queue.as_ref().is_some_and(|queue| !queue.is_empty()) {
            actions.push(Action::Deliver(id));
        }
        if agent.watches_lock && agent.lock_changed {
            actions.push(Action::LockChanged(id));
        }
        actions.push(Action::LookAtSentinel(id));
        match agent.drain {
            Drain::Running if node.pods > 0 => actions.push(Action::Evict(id)),
            Drain::Running => actions.push(Action::Drained(id)),
            Drain::Over if node.pods > 0 => actions.push(Action::PodArrived(id)),
            _ => {}
        }
        for timer in agent.timers.running() {
            let is_allowed = match timer {
                Timer::Renew => state.left.renewals > 0,
                Timer::Drain => state.left.drain_timeouts > 0,
                Timer::Seal => state.left.pauses > 0,
                Timer::Reboot => false,
                // An assumption: by then a host that goes down shows it.
                Timer::Deadline => node.power != Power::Issued || self.is_off(Protection::ShutdownShowsInTime),
                _ => true,
            };
            if is_allowed {
                actions.push(Action::Due(id, timer));
            }
        }
        if self.is_off(Protection::EvidenceNotTime) && agent.timers.has(Timer::Reboot) && state.left.pauses > 0 {
            actions.push(Action::TimeIsUp(id));
        }
        if self.is_off(Protection::FreshIds) {
            actions.push(Action::WriteHoldAgain(id));
        }
        if self.is_off(Protection::NoReissueOnResume) {
            actions.push(Action::Reissue(id));
        }
    }

    pub(crate) fn start(&self, state: &mut State, index: usize) {
        let agent = &mut state.agents[index];
        agent.stop();
        agent.cycle = Some(self.new_cycle(agent.node));
        let shows_hold = {
            let node = &state.nodes[usize::from(agent.node)];
            node.exists && hold::read(&self.views.get(node.view)) != Reading::Absent
        };
        agent.is_lied_to = self.is_off(Protection::AskHostOnResume)
            || (self.is_off(Protection::AskHostFirst) && !shows_hold);
        self.feed(state, index, Input::Started);
    }

    pub(crate) fn crash(&self, state: &mut State, index: usize) -> bool {
        state.left.crashes -= 1;
        self.forget(state, index);
        true
    }

    /// The process ends.
    pub(crate) fn forget(&self, state: &mut State, index: usize) {
        let agent = &mut state.agents[index];
        let ghost = &mut state.nodes[usize::from(agent.node)].seen;
        if ghost.sealed_by == u8::try_from(index).ok() {
            ghost.sealed_by = None;
        }
        agent.stop();
    }

    /// One input into the real step, and its acts.
    pub(crate) fn feed(&self, state: &mut State, index: usize, input: Input) {
        let Some(cycle) = state.agents[index].cycle else {
            return;
        };
        let (cycle, outcome) = self.step(cycle, input);
        state.agents[index].cycle = Some(cycle);
        state.agents[index].request = None;
        for act in &outcome.acts {
            self.perform(state, index, act);
        }
        state.agents[index].request = outcome.request.clone().map(|request| self.requests.id(request));
    }

    fn perform(&self, state: &mut State, index: usize, act: &Act) {
        let agent = &mut state.agents[index];
        let node = &state.nodes[usize::from(agent.node)];
        match act {
            Act::Watch(None) => {
                let now = node.exists.then_some(Event::Seen(node.view, node.version));
                agent.queue = Some(now.into_iter().collect());
            }
            Act::Watch(Some(version)) => {
                debug_assert!(
                    agent.held_back.is_some() || *version == node.version.to_string(),
                    "a watch begins at the version just read or written"
                );
                agent.queue = Some(Vec::new());
            }
            Act::StartDrain => agent.drain = Drain::Running,
            Act::StopDrain => agent.drain = Drain::Off,
            Act::WatchLock(is_on) => {
                agent.watches_lock = *is_on;
                agent.lock_changed = *is_on;
            }
            Act::Arm(timer) => agent.timers.arm(*timer),
            Act::Disarm(timer) => agent.timers.disarm(*timer),
            Act::Report(Report::CalledOff(_)) if self.is_off(Protection::NodeBeforeLock) => {
                let own = agent.node;
                self.drop_entries(state, own);
            }
            Act::Report(_) => {}
        }
    }

    pub(crate) fn drop_entries(&self, state: &mut State, node: u8) {
        let mut record = (*self.records.get(state.lock.record)).clone();
        record.entries.retain(|entry| entry.node != name(node));
        self.put_record(state, record);
    }

    /// The next event of the watch, if there is one.
    pub(crate) fn deliver(&self, state: &mut State, index: usize) -> bool {
        let agent = &mut state.agents[index];
        let Some(queue) = agent.queue.as_mut().filter(|queue| !queue.is_empty()) else {
            return false;
        };
        let input = match queue.remove(0) {
            Event::Gap => Input::Gap,
            Event::Seen(view, version) => Input::Seen(self.shown(&self.views.get(view), version)),
        };
        self.feed(state, index, input);
        true
    }

    /// Everything undelivered is lost; a list follows.
    pub(crate) fn lose_watch(&self, state: &mut State, index: usize) -> bool {
        state.left.watch_gaps -= 1;
        let agent = &mut state.agents[index];
        let node = &state.nodes[usize::from(agent.node)];
        let gap = (!self.is_off(Protection::GapsAreTold)).then_some(Event::Gap);
        let now = node.exists.then_some(Event::Seen(node.view, node.version));
        agent.queue = Some(gap.into_iter().chain(now).collect());
        true
    }

    pub(crate) fn look(&self, state: &mut State, index: usize) -> bool {
        let node_number = state.agents[index].node;
        let node = &state.nodes[usize::from(node_number)];
        let wish = node.wants.then(|| created(node_number, node.stamps + 1));
        let is_idle = state.agents[index]
            .cycle
            .is_some_and(|cycle| self.cycles.get(cycle).is_idle());
        if is_idle && (!node.wants || node.stamps >= self.scenario.stamps_max) {
            return false;
        }
        self.feed(state, index, Input::Sentinel(wish));
        if is_idle && state.agents[index].request.is_some() {
            state.nodes[usize::from(node_number)].stamps += 1;
        }
        true
    }

    pub(crate) fn due(&self, state: &mut State, index: usize, timer: Timer) -> bool {
        match timer {
            Timer::Renew => state.left.renewals -= 1,
            Timer::Drain => state.left.drain_timeouts -= 1,
            Timer::Seal => state.left.pauses -= 1,
            _ => {}
        }
        state.agents[index].timers.disarm(timer);
        self.feed(state, index, Input::Due(timer));
        true
    }

    /// The open request. A read that a compare-and-swap on the same object follows is carried out together with it:
    /// whatever changed the object between the two would make the second fail.
    pub(crate) fn serve(&self, state: &mut State, index: usize, delivery: Delivery) -> bool {
        match delivery {
            Delivery::Answered => {}
            Delivery::Unanswered => state.left.lost_answers -= 1,
            Delivery::Lost => state.left.lost_requests -= 1,
            Delivery::Late => state.left.late_writes -= 1,
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

    fn take_request(&self, state: &mut State, index: usize) -> Option<Arc<Request>> {
        let id = state.agents[index].request.take()?;
        Some(self.requests.get(id))
    }

    fn serve_chain(&self, state: &mut State, index: usize, delivery: Delivery) -> bool {
        loop {
            let Some(request) = self.take_request(state, index) else {
                return false;
            };
            if state.agents[index].held_back.is_some() && matches!(*request, Request::ReadNode) {
                return false;
            }
            let is_write = matches!(*request, Request::PatchNode(_) | Request::WriteLock(_));
            let input = match (delivery, is_write) {
                (Delivery::Answered, _) | (_, false) => self.answer(state, index, &request),
                (Delivery::Unanswered, true) => {
                    let _ = self.answer(state, index, &request);
                    unknown(&request)
                }
                (Delivery::Lost, true) => unknown(&request),
                (Delivery::Late, true) => {
                    state.late = Some(Late {
                        agent: u8::try_from(index).unwrap_or(u8::MAX),
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
            let belongs = match (&*request, next.as_deref()) {
                (Request::ReadNode, Some(Request::PatchNode(_))) => true,
                (Request::ReadLock, Some(Request::WriteLock(_))) => true,
                _ => false,
            };
            if !belongs {
                return delivery == Delivery::Answered;
            }
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

    /// A late write arrives; nobody hears of it.
    pub(crate) fn land(&self, state: &mut State) -> bool {
        let Some(late) = state.late.take() else {
            return false;
        };
        let _ = self.answer(state, late.agent.into(), &self.requests.get(late.request));
        true
    }

    fn answer(&self, state: &mut State, index: usize, request: &Request) -> Input {
        let own = state.agents[index].node;
        match request {
            Request::AskHost => Input::Host(self.host_state(state, index)),
            Request::ReadNode => Input::Node(self.read(state, own).ok_or(Failure::NotFound)),
            Request::ReadPeer(peer) => Input::Peer(Ok(self.read_peer(state, index, peer))),
            Request::ListHeld => Input::Held(Ok(self.list_held(state))),
            Request::ReadLock => Input::Lock(Ok(self.read_lock(state, index))),
            Request::WriteLock(write) => Input::LockWritten(self.write_lock(state, index, write)),
            Request::PatchNode(patch) => Input::Patched(self.patch(state, index, patch)),
            Request::ListPods => {
                let node = &mut state.nodes[usize::from(own)];
                let left = vec!["default/web".to_owned(); usize::from(node.pods)];
                node.seen.listed = left.is_empty() && !node.seen.disturbed;
                Input::PodsLeft(Ok(left))
            }
            Request::Reboot => Input::RebootIssued(self.reboot(state, index)),
        }
    }

    fn host_state(&self, state: &State, index: usize) -> HostState {
        let agent = &state.agents[index];
        let node = &state.nodes[usize::from(agent.node)];
        let is_shown = node.power == Power::GoingDown && !agent.is_lied_to;
        HostState {
            boot_id: boot_id(agent.node, node.boot),
            shutdown: if is_shown { Shutdown::UnderWay } else { Shutdown::No },
        }
    }

    /// A Node as an agent is shown it.
    fn shown(&self, view: &NodeView, version: u8) -> NodeView {
        let mut view = view.clone();
        view.metadata.resource_version = version.to_string();
        let is_wish = view.label(keys::PHASE) == Some(Phase::Wanted.as_str());
        if self.is_off(Protection::CancelIsPermitted) && is_wish {
            let _ = view.metadata.annotations.remove(keys::CANCEL);
        }
        view
    }

    pub(crate) fn read(&self, state: &State, node: u8) -> Option<NodeView> {
        let node = &state.nodes[usize::from(node)];
        node.exists.then(|| self.shown(&self.views.get(node.view), node.version))
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
        if self.is_off(Protection::HeldNodesFillSlots) {
            return Vec::new();
        }
        (0..state.nodes.len())
            .filter_map(|node| self.read(state, u8::try_from(node).unwrap_or(u8::MAX)))
            .filter(|view| view.label(keys::PHASE).is_some_and(|phase| phase != Phase::Wanted.as_str()))
            .collect()
    }

    fn read_lock(&self, state: &State, index: usize) -> LockView {
        let mut record = (*self.records.get(state.lock.record)).clone();
        let own = state.agents[index].node;
        let is_delaying = self
            .read(state, own)
            .is_some_and(|view| view.label(keys::PHASE) == Some(Phase::Delaying.as_str()));
        if self.is_off(Protection::Confirm) && is_delaying {
            // It believes that it has its entry.
            let stamp = state.nodes[usize::from(own)].stamps;
            let entry = cordonhold_shared::lock::Entry::new(&name(own), &created(own, stamp), false);
            record.entries = vec![entry];
        }
        let expired = state
            .kureds
            .iter()
            .filter(|kured| kured.expired)
            .flat_map(|kured| {
                let of_it = record.entries.iter().filter(|entry| entry.node == name(kured.node));
                of_it.map(cordonhold_shared::lock::Entry::id).collect::<BTreeSet<_>>()
            })
            .collect();
        LockView {
            version: Some(state.lock.version.to_string()),
            record: Reading::Present(record),
            expired,
            paused: None,
        }
    }

    fn write_lock(&self, state: &mut State, index: usize, write: &LockWrite) -> Result<(), Failure> {
        let own = state.agents[index].node;
        let is_confirm = write
            .record
            .entries
            .iter()
            .any(|entry| entry.node == name(own) && entry.sealed);
        if self.is_off(Protection::Confirm) && is_confirm {
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

    /// What the checker remembers of a write of the lock.
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
                state.go_wrong(Wrong::LiveEntryDropped);
            }
        }
        for entry in &after.entries {
            if entry.node != name(own) || !entry.is_ours() {
                continue;
            }
            // An entry whose Node has lost the hold is over as soon as it is written.
            let is_held_back = state
                .agents
                .iter()
                .any(|agent| agent.node == own && agent.held_back.is_some());
            let is_shown = is_held_back || self.shows_hold(state, own, &entry.created);
            let ghost = &mut state.nodes[usize::from(own)].seen;
            ghost.between |= before.entry(&entry.id()).is_none() && is_shown;
            ghost.confirmed |= entry.sealed;
        }
        // The Node first, then the lock: where the Node still shows the hold, it has not been released.
        let has_entry = after.entries.iter().any(|entry| entry.node == name(own));
        let shows_none = self
            .read(state, own)
            .is_none_or(|view| hold::read(&view) == Reading::Absent);
        if !has_entry && shows_none {
            state.nodes[usize::from(own)].seen.between = false;
        }
    }

    /// Whether the Node shows the hold of this `created`.
    fn shows_hold(&self, state: &State, node: u8, created: &str) -> bool {
        self.read(state, node)
            .and_then(|view| hold::read(&view).present())
            .is_some_and(|hold| hold.holder.created == created)
    }

    pub(crate) fn put_record(&self, state: &mut State, mut record: Record) {
        if self.is_off(Protection::SealedEntryOutlivesMarks) {
            for entry in &mut record.entries {
                entry.sealed = false;
                entry.boot_id = String::new();
            }
        }
        state.lock.record = self.records.id(record);
        state.lock.version += 1;
        for agent in &mut state.agents {
            agent.lock_changed |= agent.watches_lock;
        }
    }

    /// A patch of an agent, as its switch leaves it.
    fn patch(&self, state: &mut State, index: usize, patch: &NodePatch) -> Result<NodeView, Failure> {
        let own = state.agents[index].node;
        if patch.name != name(own) {
            state.go_wrong(Wrong::OtherNode);
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
        if self.is_off(Protection::StampBeforeAcquire) && patch.phase == Some(Some(Phase::Wanted)) {
            state.agents[index].held_back = Some(self.requests.id(Request::PatchNode(patch.clone())));
            return Ok(self.shown(&apply(&old, patch), node.version));
        }
        self.commit(state, index, patch, &old);
        self.read(state, own).ok_or(Failure::NotFound)
    }

    /// Whether a switch sends this patch without a version.
    fn passes_unchecked(&self, patch: &NodePatch, old: &NodeView) -> bool {
        let kind = patch.phase;
        self.is_off(Protection::UndoIsCas) && kind == Some(None)
            || self.is_off(Protection::StampIsCas) && kind == Some(Some(Phase::Wanted))
            || self.is_off(Protection::RenewalIsCas) && kind.is_none()
            || self.is_off(Protection::SealIsCas) && kind == Some(Some(Phase::Sealed))
            || self.is_off(Protection::SealOnWatchedVersion)
                && kind == Some(Some(Phase::Sealed))
                && old.spec.unschedulable
                && old.label(keys::PHASE) == Some(Phase::Delaying.as_str())
    }

    fn commit(&self, state: &mut State, index: usize, patch: &NodePatch, old: &NodeView) {
        let own = state.agents[index].node;
        let mut new = apply(old, patch);
        self.alter(state, own, patch, old, &mut new);
        self.note_patch(state, index, patch, old, &new);
        if patch.until.is_some() {
            state.nodes[usize::from(own)].expired = false;
        }
        self.put_view(state, own, new);
        if self.is_off(Protection::DropReadsNodeAfterLock) && patch.phase == Some(Some(Phase::Wanted)) {
            let known = state.nodes.iter().map(|node| node.exists.then_some(node.view));
            state.agents[index].cache = Some(known.collect());
        }
    }

    /// What a switch makes of a patch.
    fn alter(&self, state: &State, own: u8, patch: &NodePatch, old: &NodeView, new: &mut NodeView) {
        let node = &state.nodes[usize::from(own)];
        let set = |view: &mut NodeView, key: &str, value: String| {
            let _ = view.metadata.annotations.insert(key.to_owned(), value);
        };
        if patch.phase == Some(Some(Phase::Draining)) {
            if self.is_off(Protection::WasDecidedOnce) {
                set(new, keys::WAS_UNSCHEDULABLE, old.spec.unschedulable.to_string());
            }
            if self.is_off(Protection::BootIdOfCordon) {
                set(new, keys::BOOT_ID, boot_id(own, node.seen.stamp_boot));
            }
        }
        let was_wish = old.label(keys::PHASE) == Some(Phase::Wanted.as_str());
        if self.is_off(Protection::WishLeavesCordon) && patch.phase == Some(None) && was_wish {
            new.spec.unschedulable = false;
        }
    }

    /// What the checker remembers of a patch.
    fn note_patch(&self, state: &mut State, index: usize, patch: &NodePatch, old: &NodeView, new: &NodeView) {
        let own = state.agents[index].node;
        let mut wrong = Vec::new();
        let node = &mut state.nodes[usize::from(own)];
        let boot = node.boot;
        let ghost = &mut node.seen;
        match patch.phase {
            None | Some(Some(Phase::Delaying)) => {}
            Some(Some(Phase::Wanted)) => {
                *ghost = Ghost {
                    between: ghost.between,
                    issued: ghost.issued,
                    lured: ghost.lured,
                    stamp_boot: boot,
                    ..Ghost::default()
                };
            }
            Some(Some(Phase::Draining)) => {
                ghost.disturbed = false;
                ghost.listed = false;
                ghost.confirmed = false;
                ghost.sealed_by = None;
                ghost.was = ghost.was.or(Some(old.spec.unschedulable));
            }
            Some(Some(Phase::Sealed)) => {
                if !new.spec.unschedulable || hold::read(new).present().is_none() {
                    wrong.push(Wrong::SealedWithoutCordon);
                }
                if ghost.disturbed {
                    wrong.push(Wrong::SealedAfterDisturbance);
                }
                if !ghost.listed {
                    wrong.push(Wrong::SealedUnlisted);
                }
                if !ghost.confirmed {
                    wrong.push(Wrong::SealedUnconfirmed);
                }
                ghost.sealed_by = u8::try_from(index).ok();
            }
            Some(Some(Phase::Returning)) => ghost.sealed_by = None,
            Some(None) => {
                let is_let_past = ghost.cancelled && ghost.was == Some(true);
                let expected = ghost.was.unwrap_or(old.spec.unschedulable);
                if new.spec.unschedulable != expected && !is_let_past && !ghost.taken {
                    wrong.push(Wrong::WrongCordon);
                }
                *ghost = Ghost {
                    issued: ghost.issued,
                    ..Ghost::default()
                };
            }
        }
        for wrong in wrong {
            state.go_wrong(wrong);
        }
    }

    /// A Node gets another content, and with it another version.
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
        let event = Event::Seen(id, node.version);
        for agent in state.agents.iter_mut().filter(|agent| agent.node == number) {
            if let Some(queue) = &mut agent.queue {
                queue.push(event);
            }
        }
    }

    fn reboot(&self, state: &mut State, index: usize) -> Result<(), RebootFailure> {
        let own = state.agents[index].node;
        let is_late = !state.agents[index].timers.has(Timer::Deadline);
        if is_late && !self.is_off(Protection::Deadline) {
            return Err(RebootFailure::Expired);
        }
        if is_late {
            state.go_wrong(Wrong::RebootAfterDeadline);
        }
        self.issue(state, index, own);
        Ok(())
    }

    fn issue(&self, state: &mut State, index: usize, own: u8) {
        let shown = self.read(state, own).and_then(|view| hold::read(&view).present());
        let node = &mut state.nodes[usize::from(own)];
        if node.seen.sealed_by != u8::try_from(index).ok() {
            state.wrong |= Wrong::RebootWithoutSeal.bit();
        }
        let stamps = 1..=node.stamps;
        let of_hold = shown.and_then(|hold| {
            stamps
                .into_iter()
                .find(|stamp| hold.holder.created == created(own, *stamp))
        });
        node.seen.issued = of_hold.or(Some(node.stamps));
        if node.power == Power::Up {
            node.power = if self.scenario.hosts_lag {
                Power::Issued
            } else {
                Power::GoingDown
            };
        }
    }

    pub(crate) fn fail_reboot(&self, state: &mut State, index: usize) -> bool {
        state.left.failed_reboots -= 1;
        let _ = self.take_request(state, index);
        let failed = RebootFailure::Failed("exit code 1".to_owned());
        self.feed(state, index, Input::RebootIssued(Err(failed)));
        true
    }

    /// An agent that takes the end of its waiting for evidence starts over, and believes that nothing is under way.
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

    /// The Node has lost the hold that the lock still names: it is written again, and its agent goes on from it.
    pub(crate) fn write_hold_again(&self, state: &mut State, index: usize) -> bool {
        let own = state.agents[index].node;
        let record = self.records.get(state.lock.record);
        let Some(entry) = record.entries.iter().find(|entry| entry.node == name(own)) else {
            return false;
        };
        let Some(mut view) = self.read(state, own).filter(|view| hold::read(view) == Reading::Absent) else {
            return false;
        };
        view.metadata.resource_version = String::new();
        let holder = hold::Holder {
            node_uid: view.metadata.uid.clone(),
            created: entry.created.clone(),
        };
        let again = Hold {
            holder: holder.clone(),
            phase: Phase::Wanted,
            until: None,
            boot_id: None,
            was_unschedulable: None,
        };
        let boot = boot_id(own, state.nodes[usize::from(own)].boot);
        let stamped = apply(&view, &NodePatch::stamp(&view, &holder));
        let cordoned = apply(&stamped, &NodePatch::cordon(&stamped, &again, &boot, true));
        self.put_view(state, own, cordoned);
        let ghost = &mut state.nodes[usize::from(own)].seen;
        ghost.between = true;
        ghost.taken = false;
        self.forget(state, index);
        self.start(state, index);
        true
    }

    /// The stamp that was held back until the lock was acquired.
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
        let Request::PatchNode(patch) = &*self.requests.get(id) else {
            return false;
        };
        let old = self.views.get(state.nodes[usize::from(own)].view);
        let between = state.nodes[usize::from(own)].seen.between;
        self.commit(state, index, patch, &old);
        state.nodes[usize::from(own)].seen.between = between;
        true
    }

    pub(crate) fn host_actions(&self, state: &State, index: usize, actions: &mut Vec<Action>) {
        let id = u8::try_from(index).unwrap_or(u8::MAX);
        match state.nodes[index].power {
            Power::Up => {
                if state.left.foreign_reboots > 0 {
                    actions.push(Action::ForeignReboot(id));
                }
            }
            Power::Issued => actions.push(Action::ShutdownShows(id)),
            Power::GoingDown => actions.push(Action::GoesDown(id)),
            Power::Down => actions.push(Action::Boots(id)),
        }
    }

    /// The host goes down: its processes end, its pods die.
    pub(crate) fn go_down(&self, state: &mut State, number: u8) {
        let view = self.read(state, number);
        let node = &mut state.nodes[usize::from(number)];
        node.power = Power::Down;
        node.pods = 0;
        let ghost = node.seen;
        if let Some(stamp) = ghost.issued.filter(|_| node.exists && !ghost.taken) {
            let is_sealed = view.and_then(|view| hold::read(&view).present()).is_some_and(|hold| {
                hold.phase == Phase::Sealed && hold.holder.created == created(number, stamp)
            });
            if !is_sealed {
                state.go_wrong(Wrong::DownUnsealed);
            }
            if ghost.lured {
                state.go_wrong(Wrong::DownUnderNewPods);
            }
        }
        state.nodes[usize::from(number)].seen.lured = false;
        for agent in 0..state.agents.len() {
            if state.agents[agent].node == number {
                self.forget(state, agent);
            }
        }
    }

    pub(crate) fn boot(&self, state: &mut State, number: u8) {
        let node = &mut state.nodes[usize::from(number)];
        node.power = Power::Up;
        node.boot += 1;
        node.wants = false;
        node.seen.issued = None;
        let boot = node.boot;
        if node.exists {
            let mut view = (*self.views.get(node.view)).clone();
            view.status.node_info.boot_id = boot_id(number, boot);
            self.put_view(state, number, view);
        }
    }

    /// Every timer that an undisturbed agent may wait for.
    pub(crate) fn next_timer(timers: Timers, node: Power) -> Option<Timer> {
        timers.running().find(|timer| match timer {
            Timer::Renew | Timer::Drain | Timer::Seal | Timer::Reboot | Timer::Poll => false,
            Timer::Deadline => node != Power::Issued,
            _ => true,
        })
    }
}

/// No answer, whatever became of the request.
fn unknown(request: &Request) -> Input {
    let failure = Failure::Unknown("no answer".to_owned());
    match request {
        Request::ReadNode | Request::AskHost | Request::Reboot => Input::Node(Err(failure)),
        Request::ReadPeer(_) => Input::Peer(Err(failure)),
        Request::ListHeld => Input::Held(Err(failure)),
        Request::ReadLock => Input::Lock(Err(failure)),
        Request::WriteLock(_) => Input::LockWritten(Err(failure)),
        Request::PatchNode(_) => Input::Patched(Err(failure)),
        Request::ListPods => Input::PodsLeft(Err(failure)),
    }
}

/// The Node after a patch.
pub(crate) fn apply(node: &NodeView, patch: &NodePatch) -> NodeView {
    let mut node = node.clone();
    node.metadata.resource_version = String::new();
    let annotations = &mut node.metadata.annotations;
    for (key, value) in &patch.annotations {
        let _ = match value {
            Some(value) => annotations.insert((*key).to_owned(), value.clone()),
            None => annotations.remove(*key),
        };
    }
    if patch.until.is_some() {
        let _ = annotations.insert(keys::UNTIL.to_owned(), UNTIL.to_owned());
    }
    if let Some(phase) = patch.phase {
        let _ = match phase {
            Some(phase) => node
                .metadata
                .labels
                .insert(keys::PHASE.to_owned(), phase.as_str().to_owned()),
            None => node.metadata.labels.remove(keys::PHASE),
        };
    }
    if let Some(unschedulable) = patch.unschedulable {
        node.spec.unschedulable = unschedulable;
    }
    if let Some(taints) = &patch.taints {
        node.spec.taints.clone_from(taints);
    }
    node
}
