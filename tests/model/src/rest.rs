//! NOTHING-STUCK: from any state, without further faults, the system comes to rest and is clean.
//!
//! In each round, everybody who can go on does so. A system that still changes after `ROUNDS_MAX` rounds has a livelock. Only one order
//! within a round is tried, not all. Whoever has asked for a deferred uncordon asks again right before each seal, as a reconciler does.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use cordonhold_shared::Reading;
use cordonhold_shared::hold::PatchKind;
use cordonhold_shared::reboot::cycle::{Ask, DrainNews, Event, Input, Timer};
use cordonhold_shared::{hold, keys};

use crate::protocol::{Action, Protocol, small};
use crate::requests::Delivery;
use crate::world::{Drain, Faults, Node, Power, State};

/// How a system comes to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// At rest and clean, each cordon as people want it.
    Clean,
    /// At rest and clean, but a cordon is not as people want it.
    OtherCordon,
    /// Never at rest, or not clean then.
    Stuck,
}

/// A Node with more versions than this is written for ever.
const VERSIONS_MAX: u8 = 200;

/// A system that is not at rest after this many rounds counts as one that never will be.
const ROUNDS_MAX: usize = 200;

impl Protocol {
    /// How this state comes to rest.
    pub(crate) fn rest_of(&self, state: &State) -> Rest {
        let mut state = state.clone();
        state.left = Faults::default();
        let mut passed = Vec::new();
        let mut rest = None;
        for _ in 0..ROUNDS_MAX {
            let key = key_of(&state);
            if let Some(known) = self.resting.get(&key) {
                rest = Some(*known);
                break;
            }
            passed.push(key);
            let before = state.clone();
            self.round(&mut state);
            if state == before {
                rest = Some(self.judge(&state));
                break;
            }
            if state.nodes.iter().any(|node| node.version > VERSIONS_MAX) {
                break;
            }
        }
        let rest = rest.unwrap_or(Rest::Stuck);
        for key in passed {
            let _ = self.resting.insert(key, rest);
        }
        rest
    }

    fn round(&self, state: &mut State) {
        if state.late.is_some() {
            let _ = self.land(state);
        }
        for index in 0..state.nodes.len() {
            let id = small(index);
            let node = &state.nodes[index];
            let next = match (node.exists, node.power, node.bind) {
                (false, ..) => Action::Recreate(id),
                (_, Power::Issued, _) => Action::ShutdownShows(id),
                (_, Power::GoingDown, _) => Action::GoesDown(id),
                (_, Power::Down, _) => Action::Boots(id),
                (_, Power::Up, Some(_)) => Action::Bind(id),
                (_, Power::Up, None) => continue,
            };
            let _ = self.act(state, next);
        }
        for index in 0..state.agents.len() {
            self.agent_goes_on(state, index);
        }
        for index in 0..state.kureds.len() {
            let mut actions = Vec::new();
            self.kured_actions(state, index, &mut actions);
            for action in actions {
                let _ = self.act(state, action);
            }
        }
    }

    fn agent_goes_on(&self, state: &mut State, index: usize) {
        let own = state.agents[index].node;
        let power = state.nodes[usize::from(own)].power;
        if state.agents[index].cycle.is_none() {
            let is_alone = state
                .agents
                .iter()
                .all(|other| other.node != own || other.cycle.is_none());
            if power == Power::Down || !is_alone {
                return;
            }
            self.start(state, index);
        }
        self.run_beside_reconciler(state, index);
        self.a_person_looks(state, index);
        self.run_beside_reconciler(state, index);
        if state.agents[index].lock_changed && state.agents[index].watches_lock {
            state.agents[index].lock_changed = false;
            self.feed(state, index, Input::Event(Event::LockChanged));
            self.run_beside_reconciler(state, index);
        }
        let _ = self.look(state, index);
        self.run_beside_reconciler(state, index);
        match state.agents[index].drain {
            Drain::Running => {
                while self.must_leave(&state.nodes[usize::from(own)]) {
                    self.evict(&mut state.nodes[usize::from(own)]);
                }
                self.drained(state, index);
            }
            Drain::Over if self.must_leave(&state.nodes[usize::from(own)]) => {
                self.feed(
                    state,
                    index,
                    Input::Event(Event::Drain(DrainNews::PodArrived("default/web".to_owned()))),
                );
            }
            _ => {}
        }
        self.run_beside_reconciler(state, index);
        let power = state.nodes[usize::from(own)].power;
        if let Some(timer) = Protocol::next_timer(state.agents[index].timers, power) {
            let _ = self.due(state, index, timer);
            self.run_beside_reconciler(state, index);
        } else if state.agents[index].timers.has(Timer::Poll) {
            let _ = self.due(state, index, Timer::Poll);
            self.run_beside_reconciler(state, index);
        }
    }

    /// Runs an agent until it waits for something, while whoever has asked for a deferred uncordon asks again.
    fn run_beside_reconciler(&self, state: &mut State, index: usize) {
        loop {
            let request = state.agents[index].request.map(|id| self.requests.get(id));
            let is_seal =
                |request: &Ask| matches!(request, Ask::PatchNode(patch) if patch.kind == PatchKind::Seal);
            if request.is_some_and(|request| is_seal(&request)) {
                let own = state.agents[index].node;
                self.ask_again(state, own);
            }
            let goes_on = match state.agents[index].request {
                Some(_) => self.serve(state, index, Delivery::Answered),
                None => self.deliver(state, index),
            };
            if !goes_on {
                return;
            }
        }
    }

    /// If the agent reports that it has given up, a person removes what asks for the reboot.
    fn a_person_looks(&self, state: &mut State, index: usize) {
        let own = usize::from(state.agents[index].node);
        let has_given_up = state.agents[index]
            .cycle
            .is_some_and(|cycle| self.cycles.get(cycle).has_given_up());
        state.nodes[own].wants &= !has_given_up;
    }

    fn judge(&self, state: &State) -> Rest {
        match (self.is_clean(state), self.is_as_wished(state)) {
            (true, true) => Rest::Clean,
            (true, false) => Rest::OtherCordon,
            (false, _) => Rest::Stuck,
        }
    }

    /// Whether each cordon is as people want it.
    fn is_as_wished(&self, state: &State) -> bool {
        // Not checked with kured: it uncordons its node whatever others have done in between.
        let is_as_wished = |node: &Node| {
            node.seen.unsure || self.views.get(node.view).spec.unschedulable == node.seen.wants_cordon
        };
        !self.scenario.kured.is_empty() || state.nodes.iter().all(is_as_wished)
    }

    /// Whether there are no marks and no entries, all agents are idle, and no wish is left that could be granted.
    fn is_clean(&self, state: &State) -> bool {
        let is_unmarked = state.nodes.iter().all(|node| {
            let view = self.views.get(node.view);
            let has_leftover = keys::MARK_ANNOTATIONS
                .iter()
                .any(|key| view.annotation(key).is_some());
            hold::read(&view) == Reading::Absent && !has_leftover && !view.is_tainted(keys::REBOOTING)
        });
        let is_unlocked = self.records.get(state.lock.record).entries.is_empty();
        let are_idle = state
            .agents
            .iter()
            .filter_map(|agent| agent.cycle)
            .all(|cycle| self.cycles.get(cycle).is_idle());
        let are_granted = state.nodes.iter().all(|node| {
            !node.wants || node.stamps >= self.scenario.stamps_max || !self.scenario.kured.is_empty()
        });
        is_unmarked && is_unlocked && are_idle && are_granted
    }
}

fn key_of(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}
