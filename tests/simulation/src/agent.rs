//! An agent: the real cycle, and a shell in virtual time that does for it what the real shell does.
//!
//! The bodies of its requests, what answers mean, the timers and the drain's bookkeeping are the real agent's own code.
//! Not here: its log, Events and command line, and what hosts and networks do to it.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use cordonhold_shared::admission::Requester;
use cordonhold_shared::hold::{Proof, Signs};
use cordonhold_shared::keys;
use cordonhold_shared::lock::Share;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::cycle::{
    self, Act, Ask, Cycle, HostState, Input, OnUncordon, RebootFailure, Report, Settings,
};
use cordonhold_shared::reboot::drain::{self, Drain};
use cordonhold_shared::reboot::timers::{Dates, Timers, Timing};
use cordonhold_shared::selector::Selector;
use jiff::{SignedDuration, Timestamp};

use crate::Flaw;
use crate::api_server::{Caller, wall};
use crate::faults::{Effect, Fault, Moment};
use crate::network::{Reply, To};
use crate::players::Operator;
use crate::random::Random;
use crate::world::{Event, World};

mod follower;
mod requests;

pub(crate) use follower::{Follower, Source, Task};
use requests::Stage;

/// Longest wait for an answer, and for that to an eviction: the real agent's.
const CALL_BOUND: Duration = Duration::from_secs(10);
const EVICTION_BOUND: Duration = Duration::from_secs(15);

/// What a call is for.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    /// The cycle's open request.
    Cycle,
    List(Task),
    Open(Task),
    Evict(Task, String),
}

impl Purpose {
    pub(crate) fn bound(&self) -> Duration {
        match self {
            Purpose::Evict(..) => EVICTION_BOUND,
            _ => CALL_BOUND,
        }
    }
}

/// What outlives a process of the agent.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) node: String,
    pub(crate) policy: Settings,
    pub(crate) timing: Timing,
    drain: drain::Options,
    /// How far its clock is off.
    pub(crate) skew: SignedDuration,
    pub(crate) cut_off_until: Duration,
    pub(crate) process: Option<Process>,
    /// How many processes there were.
    pub(crate) processes: u64,
    pub(crate) is_start_planned: bool,
    /// An operator is on his way to power the host off, or to look at its Node's marks.
    pub(crate) is_power_cycle_planned: bool,
    pub(crate) is_clearing_planned: bool,
    /// How often an operator has tried to take its Node's marks away.
    pub(crate) clearings: u32,
}

/// A running agent.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) number: u64,
    pub(crate) caller: Rc<Caller>,
    pub(crate) cycle: Option<Cycle>,
    open: Option<Open>,
    inbox: VecDeque<(Source, u64, cycle::Event)>,
    timers: Timers,
    next_look: Duration,
    last_wish: Timestamp,
    dates: Dates,
    /// The earliest wake that is planned.
    wake: Option<Duration>,
    calls: BTreeMap<u64, Purpose>,
    last_call: u64,
    last_task: u64,
    followers: [Option<Follower>; 3],
    drain: Drain,
    evictions: usize,
}

/// The request that the cycle waits for.
#[derive(Debug)]
pub(crate) struct Open {
    asked: Ask,
    effect: Effect,
    stage: Stage,
}

/// How many of these nodes may be in a reboot at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) nodes: usize,
    pub(crate) concurrency: usize,
}

impl Budget {
    /// As a number, or as the percentage that comes to it while all nodes are there.
    fn share(self, random: &mut Random) -> Share {
        let percent = u8::try_from((100 * self.concurrency).div_ceil(self.nodes));
        match percent {
            Ok(percent) if random.chance(3_000) => Share::Percent(percent),
            _ => Share::Count(self.concurrency),
        }
    }
}

impl Agent {
    /// As somebody may have configured it.
    pub(crate) fn draw(index: usize, budget: Budget, flaw: Option<Flaw>, random: &mut Random) -> Agent {
        let node = format!("node-{index}");
        let timing = Timing {
            period: random.seconds(5, 60),
            drain_delay: random.millis(0, 5_000),
            drain_timeout: random.chance(9_000).then(|| random.seconds(60, 900)),
            reboot_delay: random.millis(0, 20_000),
            reboot_timeout: random.seconds(600, 1_800),
            soak: random.millis(0, 10_000),
            lock_release_delay: random.millis(0, 20_000),
            backoff: random.seconds(5, 90),
        };
        let policy = Settings {
            node: node.clone(),
            pool: Selector::default(),
            concurrency: budget.share(random),
            max_unavailable: random.chance(3_000).then_some(Share::Count(1)),
            verify: flaw != Some(Flaw::NoVerification),
            on_uncordon: if random.chance(7_500) {
                OnUncordon::Redrain
            } else {
                OnUncordon::Abort
            },
            redrains_max: 1 + u8::try_from(random.below(5)).unwrap_or(0),
            delays_release: random.chance(5_000),
            signs: Signs {
                annotates: random.chance(5_000),
                soft_taint: random
                    .chance(5_000)
                    .then(|| "weave.works/kured-node-reboot".to_owned()),
                protects: random.chance(5_000),
                ..Signs::default()
            },
            force_reboot: random.chance(3_000),
        };
        let drain = drain::Options {
            delay: timing.drain_delay,
            parallel: 1 + random.index(20),
            by_priority: random.chance(5_000),
            skip_wait: None,
            returning: drain::Returning::Leave,
            volumes: random.chance(3_000).then(|| random.seconds(1, 30)),
        };
        Agent {
            node,
            policy,
            timing,
            drain,
            skew: SignedDuration::ZERO,
            cut_off_until: Duration::ZERO,
            process: None,
            processes: 0,
            is_start_planned: true,
            is_power_cycle_planned: false,
            is_clearing_planned: false,
            clearings: 0,
        }
    }

    /// How long after its cordon this agent may reboot under pods at the earliest; `None` is never.
    pub(crate) fn forces_after(&self) -> Option<Duration> {
        let timeout = self.timing.drain_timeout.filter(|_| self.policy.force_reboot)?;
        Some(timeout + self.timing.drain_delay)
    }

    pub(crate) fn clock(&self, now: Duration) -> Timestamp {
        wall(now).saturating_add(self.skew).unwrap_or(Timestamp::MAX)
    }

    pub(crate) fn restless(&self) -> Option<String> {
        match &self.process {
            None => Some("no agent runs".to_owned()),
            Some(process) => match &process.cycle {
                Some(cycle) if !cycle.is_idle() => Some(format!("the agent is not idle: {cycle:?}")),
                _ => None,
            },
        }
    }

    pub(crate) fn open_call(&mut self, purpose: Purpose) -> Option<To> {
        let agent = World::index_of(&self.node)?;
        let process = self.process.as_mut()?;
        process.last_call += 1;
        drop(process.calls.insert(process.last_call, purpose));
        Some(To {
            agent,
            process: process.number,
            call: process.last_call,
        })
    }
}

impl World {
    pub(crate) fn process(&mut self, agent: usize) -> Option<&mut Process> {
        self.agents.get_mut(agent)?.process.as_mut()
    }

    /// The process, if it is still this one.
    fn running(&mut self, agent: usize, number: u64) -> Option<&mut Process> {
        self.process(agent).filter(|process| process.number == number)
    }

    /// Plans the next process, as a kubelet starts an ended container anew.
    pub(crate) fn plan_start(&mut self, agent: usize, pause: Duration) {
        if !self.agents[agent].is_start_planned {
            self.agents[agent].is_start_planned = true;
            self.after(pause, Event::Start(agent));
        }
    }

    pub(crate) fn start(&mut self, index: usize) {
        let now = self.now;
        self.agents[index].is_start_planned = false;
        if !self.hosts[index].is_up() || self.agents[index].process.is_some() || self.is_disabled(index) {
            return;
        }
        let boot = self.hosts[index].boot;
        let agent = &mut self.agents[index];
        agent.processes += 1;
        let number = agent.processes;
        let caller = Caller {
            requester: Requester {
                user: "system:serviceaccount:cordonhold:cordonhold-agent".to_owned(),
                node_claim: vec![agent.node.clone()],
                ..Requester::default()
            },
            may_override: false,
            process: Some((index, number)),
        };
        agent.process = Some(Process {
            number,
            caller: Rc::new(caller),
            cycle: Some(Cycle::new(agent.policy.clone())),
            open: None,
            inbox: VecDeque::new(),
            timers: Timers::new(agent.timing.clone()),
            next_look: now,
            last_wish: Timestamp::MIN,
            dates: Dates::default(),
            wake: None,
            calls: BTreeMap::new(),
            last_call: 0,
            last_task: 0,
            followers: [None, None, None],
            drain: Drain::new(agent.drain.clone(), now),
            evictions: 0,
        });
        self.oracle.started(index, number, boot);
        self.trace_of(index, || format!("agent {index}.{number} starts"));
        self.take(index, Input::Started);
        self.pump(index);
    }

    /// The process ends where it is; what it has sent goes its way.
    pub(crate) fn kill(&mut self, agent: usize) {
        if let Some(process) = self.agents[agent].process.take() {
            let number = process.number;
            self.trace_of(agent, || format!("agent {agent}.{number} dies"));
        }
    }

    /// Whether the process dies at this effect.
    pub(crate) fn dies(&mut self, agent: usize, effect: Effect, moment: Moment) -> bool {
        let mut rate = self.mixture.death_rate;
        if self.mixture.is_on() && self.mixture.death == (effect, moment) {
            rate = 1_000;
        }
        if !self.random.chance(rate) {
            return false;
        }
        self.statistics.fired.count_death(effect, moment);
        self.trace_of(agent, || format!("death {} {}", moment.as_str(), effect.as_str()));
        self.kill(agent);
        let pause = if self.random.chance(7_000) {
            self.random.millis(500, 5_000)
        } else {
            self.random.seconds(5, 400)
        };
        self.plan_start(agent, pause);
        true
    }

    pub(crate) fn wake(&mut self, agent: usize, number: u64) {
        let now = self.now;
        let Some(process) = self.running(agent, number) else {
            return;
        };
        if process.wake.is_some_and(|wake| wake <= now) {
            process.wake = None;
        }
        self.pump(agent);
    }

    /// Lets the shell go on: events as long as no request is open, and evictions.
    pub(crate) fn pump(&mut self, agent: usize) {
        self.drain_goes_on(agent);
        while let Some(event) = self.next_event(agent) {
            self.take(agent, Input::Event(event));
        }
        self.plan_wake(agent);
    }

    /// What the loop would take next: whichever of its sources has something, in no order.
    fn next_event(&mut self, agent: usize) -> Option<cycle::Event> {
        loop {
            let now = self.now;
            let process = self.process(agent)?;
            if process.open.is_some() {
                return None;
            }
            let ready = [
                !process.inbox.is_empty(),
                process.timers.next_end().is_some_and(|end| end <= now),
                process.next_look <= now,
            ];
            let count = ready.iter().filter(|is_ready| **is_ready).count();
            let chosen = if count > 1 { self.random.index(count) } else { 0 };
            let source = (0..ready.len()).filter(|index| ready[*index]).nth(chosen)?;
            let input = match source {
                0 => self.process(agent)?.next_message(),
                1 => self.process(agent)?.timers.pop_due(now).map(cycle::Event::Due),
                _ => self.look_at_sentinel(agent),
            };
            if input.is_some() {
                return input;
            }
        }
    }

    fn look_at_sentinel(&mut self, agent: usize) -> Option<cycle::Event> {
        let (now, clock) = (self.now, self.agents[agent].clock(self.now));
        let period = self.agents[agent].timing.period;
        let is_unreadable = self.draws(Fault::SentinelUnreadable);
        let is_wanted = self.hosts[agent].sentinel;
        let process = self.process(agent)?;
        process.next_look = now + period;
        if is_unreadable {
            return None;
        }
        let wish = is_wanted.then(|| process.new_wish(clock));
        Some(cycle::Event::Sentinel(wish))
    }

    /// One step of the cycle, its acts, and its request.
    fn take(&mut self, agent: usize, input: Input) {
        self.trace_of(agent, || format!("agent {agent} takes {}", brief(&input)));
        let bits = self.random.bits();
        let chance = Proof::new(if self.flaw == Some(Flaw::SameProof) {
            1
        } else {
            bits
        });
        self.oracle.told(agent, &input);
        let Some(process) = self.process(agent) else {
            return;
        };
        process.learn(&input);
        if matches!(input, Input::Event(cycle::Event::Due(timer)) if timer.calls_for_look()) {
            process.next_look = Duration::ZERO;
        }
        let Some(cycle) = process.cycle.take() else { return };
        let (next, outcome) = cycle::step(cycle, input, chance);
        process.cycle = Some(next);
        let number = process.number;
        for act in outcome.acts {
            if self.dies(agent, effect_of(&act), Moment::Before) {
                return;
            }
            self.perform(agent, act);
        }
        if let Some(asked) = outcome.request
            && self.running(agent, number).is_some()
        {
            self.ask(agent, &asked);
        }
    }

    fn perform(&mut self, agent: usize, act: Act) {
        let (now, random) = (self.now, self.random.number());
        let clock = self.agents[agent].clock(now);
        match act {
            Act::Watch(version) => self.follow(agent, Source::Node, version.as_deref()),
            Act::WatchLock(true) => self.follow(agent, Source::Lock, None),
            Act::WatchLock(false) => self.unfollow(agent, Source::Lock),
            Act::StartDrain => {
                self.follow(agent, Source::Drain, None);
                let options = self.agents[agent].drain.clone();
                if let Some(process) = self.process(agent) {
                    process.drain = Drain::new(options, now);
                    process.evictions = 0;
                }
            }
            Act::StopDrain => self.unfollow(agent, Source::Drain),
            Act::Arm(timer) => {
                if let Some(process) = self.process(agent) {
                    process.timers.arm(timer, process.dates, clock, now, random);
                }
            }
            Act::Disarm(timer) => {
                if let Some(process) = self.process(agent) {
                    process.timers.disarm(timer);
                }
            }
            Act::Forget => {
                let _ = self.hosts[agent].forget();
            }
            Act::Report(report) => self.report(agent, &report),
        }
    }

    /// What a person does who reads it.
    fn report(&mut self, agent: usize, report: &Report) {
        self.trace_of(agent, || format!("agent {agent} reports {report:?}"));
        if matches!(report, Report::CalledOff(_)) {
            self.statistics.called_off += 1;
        }
        if matches!(report, Report::Forced(_)) {
            self.statistics.forced += 1;
        }
        let who = &mut self.agents[agent];
        let (operator, is_planned) = match report {
            Report::StillSealed(_) => (Operator::PowerCycle(agent), &mut who.is_power_cycle_planned),
            Report::Foreign(_) => (Operator::ClearMarks(agent), &mut who.is_clearing_planned),
            _ => return,
        };
        if !std::mem::replace(is_planned, true) {
            let pause = self.random.seconds(60, 900);
            self.after(pause, Event::Operator(operator));
        }
    }

    /// The answer to the open request, into the cycle.
    fn answer(&mut self, agent: usize, input: Input) {
        let Some(open) = self.process(agent).and_then(|process| process.open.take()) else {
            return;
        };
        if !self.dies(agent, open.effect, Moment::After) {
            self.take(agent, input);
            self.pump(agent);
        }
    }

    /// What a call brought.
    pub(crate) fn replied(&mut self, to: To, reply: Reply) {
        let Some(purpose) = self
            .running(to.agent, to.process)
            .and_then(|process| process.calls.remove(&to.call))
        else {
            return;
        };
        match purpose {
            Purpose::Cycle => {
                if let Some(input) = self.understand(to.agent, reply) {
                    self.answer(to.agent, input);
                }
            }
            Purpose::List(task) => self.listed(task, reply),
            Purpose::Open(task) => self.opened(task, reply),
            Purpose::Evict(task, uid) => self.evicted(task, &uid, reply),
        }
    }

    pub(crate) fn host_answered(&mut self, agent: usize, number: u64, state: HostState) {
        let is_asked = |open: &Open| open.asked == Ask::AskHost;
        let is_waiting = self
            .running(agent, number)
            .and_then(|process| process.open.as_ref())
            .is_some_and(is_asked);
        if is_waiting {
            self.answer(agent, Input::Answer(cycle::Answer::Host(state)));
        }
    }

    pub(crate) fn command_returned(&mut self, agent: usize, number: u64, result: Result<(), RebootFailure>) {
        let open = self
            .running(agent, number)
            .and_then(|process| process.open.as_ref());
        let Some(Ask::Reboot { record }) = open.map(|open| open.asked.clone()) else {
            return;
        };
        // What may have worked stays written.
        if matches!(result, Err(RebootFailure::Expired | RebootFailure::Failed(_))) {
            self.hosts[agent].write_down(&record, None, self.now);
        }
        self.answer(agent, Input::Answer(cycle::Answer::RebootIssued(result)));
    }

    fn plan_wake(&mut self, agent: usize) {
        let now = self.now;
        let Some(process) = self.process(agent) else {
            return;
        };
        let mut next = process.next_of_drain(now);
        if process.open.is_none() {
            let loop_next = [process.timers.next_end(), Some(process.next_look)];
            next = loop_next.into_iter().chain([next]).flatten().min();
        }
        let Some(next) = next.map(|next| next.max(now)) else {
            return;
        };
        if process.wake.is_none_or(|wake| next < wake) {
            process.wake = Some(next);
            let number = process.number;
            self.at(next, Event::Wake(agent, number));
        }
    }
}

impl Process {
    fn next_message(&mut self) -> Option<cycle::Event> {
        let (source, task, event) = self.inbox.pop_front()?;
        let is_current = self
            .follower(source)
            .is_some_and(|follower| follower.task == task);
        is_current.then_some(event)
    }

    fn follower(&self, source: Source) -> Option<&Follower> {
        self.followers.get(source as usize)?.as_ref()
    }

    /// Now, or just after the wish before, should the clock have gone back.
    fn new_wish(&mut self, clock: Timestamp) -> String {
        let next = self
            .last_wish
            .saturating_add(SignedDuration::from_nanos(1))
            .unwrap_or(Timestamp::MAX);
        self.last_wish = clock.max(next);
        format!("{:.9}", self.last_wish)
    }

    fn learn(&mut self, input: &Input) {
        let (Input::Answer(cycle::Answer::Node(Ok(node)))
        | Input::Answer(cycle::Answer::Patched(Ok(node)))
        | Input::Event(cycle::Event::Seen(node))) = input
        else {
            return;
        };
        self.dates = Dates::of(node);
    }
}

fn effect_of(act: &Act) -> Effect {
    match act {
        Act::Watch(_) => Effect::Watch,
        Act::StartDrain => Effect::StartDrain,
        Act::StopDrain => Effect::StopDrain,
        Act::WatchLock(_) => Effect::WatchLock,
        Act::Arm(_) => Effect::Arm,
        Act::Disarm(_) => Effect::Disarm,
        Act::Forget => Effect::Forget,
        Act::Report(_) => Effect::Report,
    }
}

/// An input in a line.
fn brief(input: &Input) -> String {
    let node = |node: &NodeView| {
        let marks = keys::MARK_ANNOTATIONS.map(|key| node.annotation(key).unwrap_or("-"));
        format!(
            "version {} {} unschedulable={} {}",
            node.version(),
            node.label(keys::PHASE).unwrap_or("-"),
            node.spec.unschedulable,
            marks.join(" ")
        )
    };
    match input {
        Input::Answer(cycle::Answer::Node(Ok(read))) => format!("Node({})", node(read)),
        Input::Answer(cycle::Answer::Patched(Ok(written))) => format!("Patched({})", node(written)),
        Input::Event(cycle::Event::Seen(seen)) => format!("Seen({})", node(seen)),
        Input::Answer(cycle::Answer::Peer(Ok(Some(peer)))) => format!("Peer({})", node(peer)),
        Input::Answer(cycle::Answer::Held(Ok(nodes))) => {
            format!("Held({:?})", nodes.iter().map(NodeView::name).collect::<Vec<_>>())
        }
        Input::Answer(cycle::Answer::Lock(Ok(lock))) => format!("Lock({:?} {:?})", lock.version, lock.record),
        input => format!("{input:?}"),
    }
}
