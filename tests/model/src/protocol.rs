//! The protocol as a model: which actions a state allows, and what each action leads to.

use std::sync::Arc;

use cordonhold_shared::hold::{Proof, Signs};
use cordonhold_shared::host::HostRecord;
use cordonhold_shared::lock::{Record, Share};
use cordonhold_shared::node::{Condition, NodeView};
use cordonhold_shared::reboot::cycle::{
    Act, Ask, Cycle, DrainNews, Event, Input, Report, Settings, Step, Timer,
};
use cordonhold_shared::selector::Selector;
use dashmap::DashMap;
use stateright::{Model, Property};

use crate::forgeries::Forgery;
use crate::intern::{Id, Interner};
use crate::requests::Delivery;
use crate::rest::Rest;
use crate::rule::Rule;
use crate::scenarios::Scenario;
use crate::violation::Violation;
use crate::world::{Agent, Drain, Ghost, Kured, KuredAt, Lock, Node, Power, State, Timers};

/// Something that happens. The number is that of an agent or of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// An agent's open request is carried out and answered.
    Serve(u8),
    /// An agent's open request is carried out, and the answer is lost.
    ServeUnanswered(u8),
    /// An agent's open request is lost and never carried out.
    LoseRequest(u8),
    /// The agent gives up waiting for its open write, which is carried out later.
    DelayWrite(u8),
    /// The late write arrives.
    LateWriteLands,
    Crash(u8),
    Start(u8),
    /// The agent's watch delivers an event.
    Deliver(u8),
    /// The agent's watch loses its place, so it has a gap.
    Gap(u8),
    LockChanged(u8),
    LookAtSentinel(u8),
    Due(u8, Timer),
    /// The agent's process stands still until the seal's deadline is over.
    Pause(u8),
    Evict(u8),
    Drained(u8),
    PodArrived(u8),
    RebootFails(u8),
    ShutdownShows(u8),
    GoesDown(u8),
    Boots(u8),
    Uncordon(u8),
    /// Admission allows an uncordon, which is written later.
    Admit(u8),
    AdmittedLands(u8),
    Recordon(u8),
    Strip(u8),
    /// Somebody removes the deferred uncordon.
    StripUncordon(u8),
    Cancel(u8),
    PlantCancel(u8),
    AdminCordon(u8),
    Delete(u8),
    Recreate(u8),
    RemoveEntry(u8),
    /// Somebody forges marks on the Node.
    Forge(u8, Forgery),
    /// Somebody cleans the host's `/run`.
    CleanRun(u8),
    /// The agent's open request for blockers is answered with one.
    Block(u8),
    /// The agent's open write is carried out, but another webhook has removed the cordon from it.
    AlterWrite(u8),
    /// The agent's open write arrives twice, and the answer to the second copy comes back.
    CopyWrite(u8),
    WebhookFails,
    Expire(u8),
    /// A scheduler decides to put a pod on the node.
    Schedule(u8),
    /// The bind of that decision is written.
    Bind(u8),
    WantAgain(u8),
    ForeignReboot(u8),
    /// kured takes its next step.
    Kured(u8),
    KuredRestarts(u8),
    KuredExpires(u8),
    /// Only with [`Rule::EvidenceNotTime`] off: the agent gives up because its time is over.
    TimeIsUp(u8),
    /// Only with [`Rule::NoReissueOnResume`] off: the agent reboots on a seal that an earlier process made.
    Reissue(u8),
    /// Only with [`Rule::FreshIds`] off: a lost hold is written again.
    WriteHoldAgain(u8),
    /// Only with [`Rule::StampBeforeAcquire`] off: the stamp that was held back is written.
    StampNow(u8),
}

/// The model of the protocol, for one scenario.
pub struct Protocol {
    pub(crate) scenario: Scenario,
    policies: Vec<Settings>,
    pub(crate) cycles: Interner<Cycle>,
    pub(crate) requests: Interner<Ask>,
    pub(crate) inputs: Interner<Input>,
    pub(crate) views: Interner<NodeView>,
    pub(crate) records: Interner<Record>,
    pub(crate) host_records: Interner<HostRecord>,
    steps: DashMap<(Id<Cycle>, Id<Input>, u8), Transition>,
    pub(crate) resting: DashMap<u64, Rest>,
}

/// The result of a step: the next cycle, and what the step asks for.
type Transition = (Id<Cycle>, Arc<Step>);

/// The name of the property that some state must have: a check in which no node ever reboots would prove nothing.
pub(crate) const REBOOTED: &str = "every node has rebooted";

/// The name of the Node with this number.
pub(crate) fn name(node: u8) -> String {
    char::from(b'a' + node).to_string()
}

/// The number of the node with this name.
pub(crate) fn number(name: &str) -> Option<u8> {
    name.bytes().next().map(|byte| byte.wrapping_sub(b'a'))
}

/// The `created` of a hold, by the number of its node and the number of its stamp on that node.
pub(crate) fn created(node: u8, stamp: u8) -> String {
    format!("2026-11-23T1{node}:{stamp:02}:00.000000001Z")
}

/// An index as the number that actions use.
pub(crate) fn small(index: usize) -> u8 {
    u8::try_from(index).unwrap_or(u8::MAX)
}

/// The number of a proof for steps that write nothing.
const UNUSED: u8 = 0;

/// Whether a step asks for a write, which carries a proof.
fn writes(outcome: &Step) -> bool {
    matches!(outcome.request, Some(Ask::PatchNode(_) | Ask::WriteLock(_)))
}

/// The proof with this number.
pub(crate) fn proof(number: u8) -> Proof {
    Proof::new(number.into())
}

pub(crate) fn boot_id(node: u8, boot: u8) -> String {
    format!("boot-{node}-{boot}")
}

impl Protocol {
    pub fn new(scenario: Scenario) -> Protocol {
        let policy = |node| Settings {
            node: name(node),
            pool: Selector::default(),
            concurrency: Share::Count(scenario.concurrency),
            verify: true,
            on_uncordon: scenario.on_uncordon,
            redrains_max: scenario.redrains_max,
            delays_release: scenario.delays_release,
            gates_return: scenario.gates_return,
            reboots_kept: 0,
            keeps_interval: false,
            asked_by: None,
            signs: Signs::default(),
            force_reboot: scenario.force_reboot,
        };
        Protocol {
            policies: (0..scenario.nodes).map(policy).collect(),
            scenario,
            cycles: Interner::default(),
            requests: Interner::default(),
            inputs: Interner::default(),
            views: Interner::default(),
            records: Interner::default(),
            host_records: Interner::default(),
            steps: DashMap::new(),
            resting: DashMap::new(),
        }
    }

    pub(crate) fn is_off(&self, rule: Rule) -> bool {
        self.scenario.off.contains(&rule)
    }

    /// Runs the real step, or takes its result from the cache. Only a step that writes gets a new proof.
    pub(crate) fn step(
        &self,
        cycle: Id<Cycle>,
        input: Input,
        chance: impl Fn(&Protocol) -> u8,
    ) -> Transition {
        let input = self.inputs.id(input);
        let step = self.step_with(cycle, input, UNUSED);
        if writes(&step.1) {
            return self.step_with(cycle, input, chance(self));
        }
        step
    }

    fn step_with(&self, cycle: Id<Cycle>, input: Id<Input>, chance: u8) -> Transition {
        if let Some(known) = self.steps.get(&(cycle, input, chance)) {
            return (known.0, Arc::clone(&known.1));
        }
        let mut next = (*self.cycles.get(cycle)).clone();
        let step = next.step((*self.inputs.get(input)).clone(), proof(chance));
        let is_unexpected = |act: &Act| matches!(act, Act::Report(Report::Unexpected { .. }));
        assert!(
            !step.acts.iter().any(is_unexpected),
            "the agent got an answer that does not fit its open request: {step:?}"
        );
        let (next, step) = (self.cycles.id(next), Arc::new(step));
        drop(
            self.steps
                .insert((cycle, input, chance), (next, Arc::clone(&step))),
        );
        (next, step)
    }

    pub(crate) fn new_cycle(&self, node: u8) -> Id<Cycle> {
        self.cycles
            .id(Cycle::new(self.policies[usize::from(node)].clone()))
    }

    pub(crate) fn first_view(&self, node: u8, uid: u8, boot: u8, unschedulable: bool) -> NodeView {
        let mut view = NodeView::default();
        view.metadata.name = name(node);
        view.metadata.uid = format!("uid-{node}-{uid}");
        view.spec.unschedulable = unschedulable;
        view.status.node_info.boot_id = boot_id(node, boot);
        view.status.conditions.push(Condition {
            kind: "Ready".to_owned(),
            status: "True".to_owned(),
            since: String::new(),
        });
        view
    }

    fn first_node(&self, node: u8) -> Node {
        let unschedulable = self.scenario.cordoned.contains(&node);
        Node {
            view: self.views.id(self.first_view(node, 0, 0, unschedulable)),
            version: 1,
            exists: true,
            pods: 1,
            put_back: 0,
            bind: None,
            boot: 0,
            power: Power::Up,
            record: None,
            is_told: false,
            older: None,
            wants: true,
            stamps: 0,
            expired: false,
            admitted: None,
            seen: Ghost {
                wants_cordon: unschedulable,
                ..Ghost::default()
            },
        }
    }

    fn first_state(&self) -> State {
        let has_agent = |node: &u8| !self.scenario.kured.contains(node);
        let agents = (0..self.scenario.nodes)
            .filter(has_agent)
            .chain(self.scenario.second_agents.iter().copied());
        let mut state = State {
            nodes: (0..self.scenario.nodes)
                .map(|node| self.first_node(node))
                .collect(),
            agents: agents.map(Agent::stopped).collect(),
            kureds: self.scenario.kured.iter().map(|node| Kured::new(*node)).collect(),
            lock: Lock {
                record: self.records.id(Record::default()),
                version: 1,
            },
            late: None,
            left: self.scenario.faults,
            webhook_up: true,
            violations: 0,
        };
        let firsts = state.agents.len() - self.scenario.second_agents.len();
        for agent in 0..firsts {
            self.start(&mut state, agent);
            self.run_to_rest(&mut state, agent);
        }
        state
    }
}

impl Agent {
    fn stopped(node: u8) -> Agent {
        Agent {
            node,
            cycle: None,
            request: None,
            queue: None,
            watches_lock: false,
            lock_changed: false,
            timers: Timers::default(),
            drain: Drain::Off,
            cache: None,
            is_lied_to: false,
            last_write: None,
            held_back: None,
        }
    }

    /// Ends the process; its memory is lost.
    pub(crate) fn stop(&mut self) {
        *self = Agent::stopped(self.node);
    }
}

impl Kured {
    fn new(node: u8) -> Kured {
        Kured {
            node,
            at: KuredAt::Idle,
            was_unschedulable: false,
            expired: false,
            acquired: 0,
            rebooted: false,
        }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.first_state()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // States after a violation are not explored: they show nothing new.
        if state.violations != 0 {
            return;
        }
        for agent in 0..state.agents.len() {
            self.agent_actions(state, agent, actions);
        }
        for node in 0..state.nodes.len() {
            self.host_actions(state, node, actions);
            self.player_actions(state, node, actions);
        }
        for kured in 0..state.kureds.len() {
            self.kured_actions(state, kured, actions);
        }
        if state.late.is_some() {
            actions.push(Action::LateWriteLands);
        }
        if state.webhook_up && state.left.webhook_failures > 0 {
            actions.push(Action::WebhookFails);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        if !self.act(&mut state, action) {
            return None;
        }
        self.settle(&mut state);
        self.count(&mut state);
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Protocol>> {
        // A macro, because a property of stateright is a function pointer without data.
        macro_rules! never {
            ($($violation:ident),+) => {
                vec![$(Property::<Protocol>::always(Violation::$violation.name(), |_, state| {
                    state.violations & Violation::$violation.bit() == 0
                })),+]
            };
        }
        let mut properties = never![
            HeldUncordoned,
            MarksChanged,
            SealedWithoutCordon,
            SealedAfterDisturbance,
            SealedUnlisted,
            SealedUnconfirmed,
            RebootWithoutSeal,
            RebootAfterDeadline,
            DownUnsealed,
            DownUnderNewPods,
            TooManyBetween,
            LiveEntryDropped,
            TooManyDown,
            OtherNode,
            WrongCordon,
            TooManyReboots,
            KuredRebootsUncordoned,
            KuredUncordonsUnrebooted,
            KuredTooMany
        ];
        properties.push(Property::<Protocol>::sometimes(REBOOTED, |_, state| {
            state.nodes.iter().all(|node| node.boot > 0)
        }));
        // Without mode `defer`, a cordon that nobody wants at rest is stuck.
        properties.push(Property::<Protocol>::always(
            Violation::LastWish.name(),
            |model, state| {
                let is_asked = model.scenario.defers && model.scenario.checks_rest;
                let is_broken = state.violations & Violation::LastWish.bit() != 0;
                !is_broken && (!is_asked || model.rest_of(state) != Rest::OtherCordon)
            },
        ));
        if self.scenario.checks_rest {
            properties.push(Property::<Protocol>::always(
                Violation::Stuck.name(),
                |model, state| match model.rest_of(state) {
                    Rest::Clean => true,
                    Rest::OtherCordon => model.scenario.defers,
                    Rest::Stuck => false,
                },
            ));
        }
        properties
    }
}

impl Protocol {
    /// Carries out an action; `false` if it cannot happen.
    pub(crate) fn act(&self, state: &mut State, action: Action) -> bool {
        match action {
            Action::Serve(agent) => self.serve(state, agent.into(), Delivery::Answered),
            Action::ServeUnanswered(agent) => self.serve(state, agent.into(), Delivery::Unanswered),
            Action::LoseRequest(agent) => self.serve(state, agent.into(), Delivery::Lost),
            Action::DelayWrite(agent) => self.serve(state, agent.into(), Delivery::Late),
            Action::LateWriteLands => self.land(state),
            Action::Crash(agent) => self.crash(state, agent.into()),
            Action::Start(agent) => {
                self.start(state, agent.into());
                true
            }
            Action::Deliver(agent) => self.deliver(state, agent.into()),
            Action::Gap(agent) => self.lose_watch(state, agent.into()),
            Action::LockChanged(agent) => {
                state.agents[usize::from(agent)].lock_changed = false;
                self.feed(state, agent.into(), Input::Event(Event::LockChanged));
                true
            }
            Action::LookAtSentinel(agent) => self.look(state, agent.into()),
            Action::Due(agent, timer) => self.due(state, agent.into(), timer),
            Action::Pause(agent) => {
                state.left.pauses -= 1;
                state.agents[usize::from(agent)].timers.disarm(Timer::Deadline);
                true
            }
            Action::Evict(agent) => {
                let node = state.agents[usize::from(agent)].node;
                self.evict(&mut state.nodes[usize::from(node)]);
                true
            }
            Action::Drained(agent) => {
                self.drained(state, agent.into());
                true
            }
            Action::PodArrived(agent) => {
                self.feed(
                    state,
                    agent.into(),
                    Input::Event(Event::Drain(DrainNews::PodArrived("default/web".to_owned()))),
                );
                true
            }
            Action::Block(agent) => self.block(state, agent.into()),
            Action::AlterWrite(agent) => self.serve(state, agent.into(), Delivery::Altered),
            Action::CopyWrite(agent) => self.serve(state, agent.into(), Delivery::Copied),
            Action::RebootFails(agent) => self.fail_reboot(state, agent.into()),
            Action::TimeIsUp(agent) => self.give_up_by_time(state, agent.into()),
            Action::Reissue(agent) => self.reissue(state, agent.into()),
            Action::WriteHoldAgain(agent) => self.write_hold_again(state, agent.into()),
            Action::StampNow(agent) => self.stamp_now(state, agent.into()),
            Action::Kured(kured) => self.kured_step(state, kured.into()),
            Action::KuredRestarts(kured) => self.kured_restarts(state, kured.into()),
            Action::KuredExpires(kured) => {
                state.left.kured_expiries -= 1;
                state.kureds[usize::from(kured)].expired = true;
                true
            }
            other => self.play(state, other),
        }
    }

    /// Delivers all events at once, in scenarios where watches do not lag.
    fn settle(&self, state: &mut State) {
        if self.scenario.watches_lag {
            return;
        }
        for agent in 0..state.agents.len() {
            while state.agents[agent].request.is_none() && self.deliver(state, agent) {}
        }
    }

    /// Counts the nodes for AT-MOST-N.
    fn count(&self, state: &mut State) {
        let between = state.nodes.iter().filter(|node| node.seen.between).count();
        let kureds = state.kureds.iter().filter(|kured| kured.is_between()).count();
        // An entry that kured's TTL has expired does not count, by kured's own rule.
        let unexpired = state
            .kureds
            .iter()
            .filter(|kured| kured.is_between() && !kured.expired)
            .count();
        if between > 0 && between + unexpired > self.scenario.concurrency {
            state.violate(Violation::TooManyBetween);
        }
        if between == 0 && kureds > self.scenario.concurrency {
            state.violate(Violation::KuredTooMany);
        }
        // A Node that was deleted no longer counts, though its host may still reboot.
        let down = state
            .nodes
            .iter()
            .filter(|node| node.power != Power::Up && node.seen.issued.is_some() && !node.seen.deleted)
            .count();
        if down > self.scenario.concurrency {
            state.violate(Violation::TooManyDown);
        }
    }
}

impl State {
    pub(crate) fn violate(&mut self, violation: Violation) {
        self.violations |= violation.bit();
    }
}
