//! The agents' shells: processes, watches, timers and the drain.

use cordonhold_shared::Reading;
use cordonhold_shared::cycle::{Act, Input, Report, Request, Timer};
use cordonhold_shared::hold;

use crate::protection::Protection;
use crate::protocol::{Action, Protocol, created, small};
use crate::world::{Drain, Event, Power, State, Timers};

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
            Request::Reboot { .. } => {
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
                // They only say something.
                Timer::Reboot | Timer::Stall => false,
                // An assumption: by then a host that goes down shows it.
                Timer::Deadline => {
                    node.power != Power::Issued || self.is_off(Protection::ShutdownShowsInTime)
                }
                _ => true,
            };
            if is_allowed {
                actions.push(Action::Due(id, timer));
            }
        }
        if self.is_off(Protection::EvidenceNotTime)
            && agent.timers.has(Timer::Reboot)
            && state.left.pauses > 0
        {
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
        if ghost.sealed_by == Some(small(index)) {
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
            // A look at the sentinel is possible at any time.
            Act::Arm(Timer::Look) => {}
            Act::Arm(timer) => agent.timers.arm(*timer),
            Act::Disarm(timer) => agent.timers.disarm(*timer),
            Act::Report(Report::CalledOff(_)) if self.is_off(Protection::NodeBeforeLock) => {
                let own = agent.node;
                self.drop_entries(state, own);
            }
            Act::Report(_) => {}
        }
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
            Timer::Drain => {
                state.left.drain_timeouts -= 1;
                let agent = &state.agents[index];
                // Whatever the agent makes of it, only a drain that was not over may be rebooted over.
                if self.scenario.force_reboot && agent.drain == Drain::Running {
                    state.nodes[usize::from(agent.node)].seen.forced = true;
                }
            }
            Timer::Seal => state.left.pauses -= 1,
            _ => {}
        }
        state.agents[index].timers.disarm(timer);
        self.feed(state, index, Input::Due(timer));
        true
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
