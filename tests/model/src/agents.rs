//! The agents' processes, watches, timers and drains: what surrounds the real `Cycle::step`.

use cordonhold_shared::Reading;
use cordonhold_shared::hold;
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::cycle::{Act, Ask, Event, Input, Report, Timer, Wanted};

use crate::protocol::{Action, Protocol, created, proof, small};
use crate::rule::Rule;
use crate::world::{Delivery, Drain, Power, State, Timers};

/// The number of different proofs for each node: more than are ever in use at once.
const PROOFS_OF_A_NODE: u8 = 60;

impl Protocol {
    pub(crate) fn agent_actions(&self, state: &State, index: usize, actions: &mut Vec<Action>) {
        let agent = &state.agents[index];
        let id = small(index);
        let node = &state.nodes[usize::from(agent.node)];
        if agent.cycle.is_none() {
            let is_alone = state
                .agents
                .iter()
                .all(|other| other.node != agent.node || other.cycle.is_none());
            if node.power != Power::Down && (is_alone || self.is_off(Rule::LockFile)) {
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
        if self.is_off(Rule::NoReissueOnResume) {
            actions.push(Action::Reissue(id));
        }
        if let Some(request) = agent.request {
            self.request_actions(state, id, &self.requests.get(request), actions);
            return;
        }
        self.resting_actions(state, index, id, actions);
    }

    fn request_actions(&self, state: &State, id: u8, request: &Ask, actions: &mut Vec<Action>) {
        actions.push(Action::Serve(id));
        match request {
            Ask::AskHost => {}
            Ask::ListBlockers | Ask::ListMissing => {
                if state.left.blocks > 0 {
                    actions.push(Action::Block(id));
                }
            }
            Ask::Reboot { .. } => {
                if state.left.failed_reboots > 0 {
                    actions.push(Action::RebootFails(id));
                }
                if state.left.pauses > 0 && state.agents[usize::from(id)].timers.has(Timer::Deadline) {
                    actions.push(Action::Pause(id));
                }
            }
            request => {
                if state.left.altered_writes > 0 && matches!(request, Ask::PatchNode(_)) {
                    actions.push(Action::AlterWrite(id));
                }
                if state.left.copied_writes > 0 {
                    actions.push(Action::CopyWrite(id));
                }
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
            Drain::Running if self.must_leave(node) => actions.push(Action::Evict(id)),
            Drain::Running => actions.push(Action::Drained(id)),
            Drain::Over if self.must_leave(node) => actions.push(Action::PodArrived(id)),
            _ => {}
        }
        for timer in agent.timers.running() {
            let is_allowed = match timer {
                Timer::Renew => state.left.renewals > 0,
                Timer::Drain => state.left.drain_timeouts > 0,
                // These timers only lead to a report.
                Timer::Stall | Timer::Ready => false,
                // An assumption: when this timer is due, a host that was told to reboot shows its shutdown or has booted.
                Timer::Reboot => node.power == Power::Up || self.is_off(Rule::ShutdownShowsInTime),
                _ => true,
            };
            if is_allowed {
                actions.push(Action::Due(id, timer));
            }
        }
        if self.is_off(Rule::EvidenceNotTime) && agent.timers.has(Timer::Reboot) && state.left.pauses > 0 {
            actions.push(Action::TimeIsUp(id));
        }
        if self.is_off(Rule::FreshIds) {
            actions.push(Action::WriteHoldAgain(id));
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
        agent.is_lied_to =
            self.is_off(Rule::AskHostOnResume) || (self.is_off(Rule::AskHostFirst) && !shows_hold);
        self.feed(state, index, Input::Started);
    }

    pub(crate) fn crash(&self, state: &mut State, index: usize) -> bool {
        state.left.crashes -= 1;
        self.forget(state, index);
        let node = state.agents[index].node;
        let is_unknown = state.nodes[usize::from(node)].seen.taken && self.is_cordon_unknown(state, node);
        state.nodes[usize::from(node)].seen.unsure |= is_unknown;
        true
    }

    /// Ends a process of an agent.
    pub(crate) fn forget(&self, state: &mut State, index: usize) {
        let agent = &mut state.agents[index];
        let ghost = &mut state.nodes[usize::from(agent.node)].seen;
        if ghost.sealed_by == Some(small(index)) {
            ghost.sealed_by = None;
        }
        agent.stop();
    }

    /// The number of a new proof: the smallest of the node's numbers that is not in use anywhere. Proofs are only compared for
    /// equality, so the smallest will do, and it keeps the number of states small.
    fn chance(&self, state: &State, index: usize) -> u8 {
        let agent = &state.agents[index];
        let node = &state.nodes[usize::from(agent.node)];
        let mut used: Vec<String> = Vec::new();
        let of_view = |view: &NodeView, used: &mut Vec<String>| {
            used.extend(view.annotation(keys::WRITE).map(str::to_owned));
            let given_back = view
                .annotation(keys::GIVEN_BACK)
                .and_then(|text| text.split_once(' '));
            used.extend(given_back.map(|(_, proof)| proof.to_owned()));
        };
        of_view(&self.views.get(node.view), &mut used);
        if let Some(older) = node.older {
            of_view(&self.views.get(older), &mut used);
        }
        if let Some(record) = node.record {
            let record = self.host_records.get(record);
            used.extend([record.write.as_str().to_owned()]);
            used.extend(record.before.as_ref().map(|before| before.as_str().to_owned()));
        }
        for of_node in state.agents.iter().filter(|other| other.node == agent.node) {
            for event in of_node.queue.iter().flatten() {
                if let Delivery::Seen(view, _) = event {
                    of_view(&self.views.get(*view), &mut used);
                }
            }
            if let Some(cycle) = of_node.cycle {
                used.extend(
                    self.cycles
                        .get(cycle)
                        .proofs()
                        .map(|proof| proof.as_str().to_owned()),
                );
            }
        }
        let late = state.late.map(|late| self.requests.get(late.request));
        let held_back = agent.held_back.map(|request| self.requests.get(request));
        for request in late.into_iter().chain(held_back) {
            if let Ask::PatchNode(patch) = &*request {
                used.extend(patch.proof().map(|proof| proof.as_str().to_owned()));
            }
        }
        let entries = &self.records.get(state.lock.record).entries;
        used.extend(
            entries
                .iter()
                .filter_map(|entry| Some(entry.write.as_ref()?.as_str().to_owned())),
        );
        let first = agent.node * PROOFS_OF_A_NODE;
        (first + 1..first + PROOFS_OF_A_NODE)
            .find(|number| !used.iter().any(|used| used == proof(*number).as_str()))
            .unwrap_or(u8::MAX)
    }

    /// Gives an input to the real step, and carries out its acts.
    pub(crate) fn feed(&self, state: &mut State, index: usize, input: Input) {
        let Some(cycle) = state.agents[index].cycle else {
            return;
        };
        let (cycle, outcome) = self.step(cycle, input, |protocol| protocol.chance(state, index));
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
                let now = node.exists.then_some(Delivery::Seen(node.view, node.version));
                agent.queue = Some(now.into_iter().collect());
            }
            Act::Watch(Some(version)) => {
                // The new watch begins where the old one was read, so what the old one has not delivered yet stays in the queue.
                let from: u8 = version.parse().unwrap_or_default();
                debug_assert!(
                    agent.held_back.is_some() || from == node.version || agent.queue.is_some(),
                    "a watch that begins at an older version must follow another watch"
                );
                let later = |event: &Delivery| match event {
                    Delivery::Seen(_, version) => *version > from,
                    Delivery::Gap => from < node.version,
                };
                let queue = agent.queue.take().unwrap_or_default();
                agent.queue = Some(queue.into_iter().filter(later).collect());
            }
            Act::StartDrain => {
                agent.drain = Drain::Running;
                state.nodes[usize::from(agent.node)].put_back = 0;
            }
            Act::StopDrain => agent.drain = Drain::Off,
            Act::WatchLock(is_on) => {
                agent.watches_lock = *is_on;
                agent.lock_changed = *is_on;
            }
            // No timer is needed: the model allows a look at the sentinel at any time.
            Act::Arm(Timer::CheckSentinel) => {}
            Act::Arm(timer) => agent.timers.arm(*timer),
            Act::Disarm(timer) => agent.timers.disarm(*timer),
            Act::Forget => {
                let own = usize::from(agent.node);
                state.nodes[own].record = None;
                state.nodes[own].is_told = false;
            }
            Act::Report(Report::CalledOff(_)) if self.is_off(Rule::NodeBeforeLock) => {
                let own = agent.node;
                self.drop_entries(state, own);
            }
            Act::Report(_) | Act::Count(_) => {}
        }
    }

    /// Delivers the next event of the watch; `false` if there is none.
    pub(crate) fn deliver(&self, state: &mut State, index: usize) -> bool {
        let agent = &mut state.agents[index];
        let Some(queue) = agent.queue.as_mut().filter(|queue| !queue.is_empty()) else {
            return false;
        };
        let input = match queue.remove(0) {
            Delivery::Gap => Input::Event(Event::Gap),
            Delivery::Seen(view, version) => {
                let view = self.shown(&self.views.get(view), version);
                Input::Event(Event::Seen(self.believed(state, index, view)))
            }
        };
        self.feed(state, index, input);
        true
    }

    /// Ends the watch: events that were not delivered are lost, and a list follows.
    pub(crate) fn lose_watch(&self, state: &mut State, index: usize) -> bool {
        state.left.watch_gaps -= 1;
        let agent = &mut state.agents[index];
        let node = &state.nodes[usize::from(agent.node)];
        let gap = (!self.is_off(Rule::GapsAreTold)).then_some(Delivery::Gap);
        let now = node.exists.then_some(Delivery::Seen(node.view, node.version));
        agent.queue = Some(gap.into_iter().chain(now).collect());
        true
    }

    pub(crate) fn look(&self, state: &mut State, index: usize) -> bool {
        let node_number = state.agents[index].node;
        let node = &state.nodes[usize::from(node_number)];
        let wish = node
            .wants
            .then(|| Wanted::by_host(created(node_number, node.stamps + 1)));
        let is_idle = state.agents[index]
            .cycle
            .is_some_and(|cycle| self.cycles.get(cycle).is_idle());
        if is_idle && (!node.wants || node.stamps >= self.scenario.stamps_max) {
            return false;
        }
        self.feed(state, index, Input::Event(Event::Sentinel(wish)));
        if is_idle && state.agents[index].request.is_some() {
            state.nodes[usize::from(node_number)].stamps += 1;
        }
        true
    }

    pub(crate) fn due(&self, state: &mut State, index: usize, timer: Timer) -> bool {
        match timer {
            Timer::Renew => state.left.renewals -= 1,
            Timer::Drain => {
                state.left.drain_timeouts -= 1;
                let agent = &state.agents[index];
                // Only a drain that is not over may be forced, whatever the agent decides.
                if self.scenario.force_reboot && agent.drain == Drain::Running {
                    state.nodes[usize::from(agent.node)].seen.forced = true;
                }
            }
            _ => {}
        }
        state.agents[index].timers.disarm(timer);
        self.feed(state, index, Input::Event(Event::Due(timer)));
        true
    }

    /// The next timer that an undisturbed agent waits for.
    pub(crate) fn next_timer(timers: Timers, node: Power) -> Option<Timer> {
        timers.running().find(|timer| match timer {
            Timer::Renew | Timer::Drain | Timer::Poll | Timer::Ready => false,
            Timer::Reboot => node == Power::Up,
            _ => true,
        })
    }
}
