//! A simulated agent: the real driver ([`cordonhold_shared::reboot::driver`]), run in virtual time.
//!
//! Not here: the agent's log, Events and command line; the host (`host`) and the network (`network`).

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use cordonhold_shared::admission::Requester;
use cordonhold_shared::hold::{NodePatch, PatchKind, Signs};
use cordonhold_shared::keys;
use cordonhold_shared::lock::Share;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::blocker::{Blocker, Rules};
use cordonhold_shared::reboot::cycle::{
    Answer, Ask, Event as CycleEvent, HostState, Input, OnUncordon, RebootFailure, Report, Settings,
};
use cordonhold_shared::reboot::drain;
use cordonhold_shared::reboot::driver::{self, Call, Chance, Driver, Setup, Source};
use cordonhold_shared::reboot::line::PATIENCE;
use cordonhold_shared::reboot::lock_object::{Carrier, LockObject, LockObjects};
use cordonhold_shared::reboot::moment::{self, Uptime};
use cordonhold_shared::reboot::readiness::Readiness;
use cordonhold_shared::reboot::timers::Timing;
use cordonhold_shared::reboot::window::Windows;
use cordonhold_shared::selector::Selector;
use jiff::{SignedDuration, Timestamp};

use crate::alertmanager::Silencer;
use crate::api_server::{Caller, wall};
use crate::faults::{Effect, Moment};
use crate::host::SETTLED;
use crate::network::{Reply, To};
use crate::players::Operator;
use crate::random::Random;
use crate::world::{Event, LOCK_NAME, LOCK_NAMESPACE, World};
use crate::{Defect, Invariant};

mod calls;
mod follower;

pub(crate) use follower::{Follower, Task};

/// Longest wait for an answer, as in the real agent.
pub(crate) const CALL_BOUND: Duration = Duration::from_secs(10);
/// Longest wait for the answer to an eviction, as in the real agent.
const EVICTION_BOUND: Duration = Duration::from_secs(15);

/// What a message is for.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    /// The driver's open call.
    Call(Call),
    List(Task),
    Open(Task),
    /// The eviction of the pod with this uid, for the drain of this epoch.
    Evict(u64, String),
}

impl Purpose {
    pub(crate) fn bound(&self) -> Duration {
        match self {
            Purpose::Evict(..) => EVICTION_BOUND,
            _ => CALL_BOUND,
        }
    }
}

/// What stays of an agent when its process ends.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each named")]
pub(crate) struct Agent {
    pub(crate) node: String,
    pub(crate) setup: Setup,
    /// How far its wall clock is ahead of the true time; negative if behind.
    pub(crate) skew: SignedDuration,
    pub(crate) cut_off_until: Uptime,
    pub(crate) process: Option<Process>,
    /// How many processes have been started so far; also the number of the last one.
    pub(crate) processes: u64,
    pub(crate) is_start_planned: bool,
    /// An operator will power the host off and on.
    pub(crate) is_power_cycle_planned: bool,
    /// An operator will look at the Node's marks and remove them if they are nobody's.
    pub(crate) is_clearing_planned: bool,
    /// An operator will look why the node reboots again and again.
    pub(crate) is_forgetting_planned: bool,
    /// How many times an operator has tried to remove the Node's marks since that last worked.
    pub(crate) clearings: u32,
}

/// A running agent.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) number: u64,
    pub(crate) caller: Rc<Caller>,
    pub(crate) driver: Driver,
    /// When the earliest planned wake-up is due.
    wake: Option<Uptime>,
    messages: BTreeMap<u64, Purpose>,
    last_message: u64,
    pub(crate) silencer: Silencer,
    /// The agent's watches, indexed by their source.
    followers: [Option<Follower>; 3],
}

/// The number of nodes, and how many of them may be in a reboot at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) nodes: usize,
    pub(crate) concurrency: usize,
}

impl Budget {
    /// An agent's `--concurrency`: a number or, at random, a percentage that comes to the same number while all nodes exist.
    fn share(self, random: &mut Random) -> Share {
        let percent = u8::try_from((100 * self.concurrency).div_ceil(self.nodes));
        match percent {
            Ok(percent) if random.chance(3_000) => Share::Percent(percent),
            _ => Share::Count(self.concurrency),
        }
    }
}

impl Agent {
    /// Draws an agent with random settings, as somebody may have configured it.
    #[expect(clippy::too_many_lines, reason = "one setting after the other")]
    pub(crate) fn draw(index: usize, budget: Budget, defect: Option<Defect>, random: &mut Random) -> Agent {
        let node = format!("node-{index}");
        let timing = Timing {
            period: random.seconds(5, 60),
            drain_delay: random.millis(0, 5_000),
            drain_timeout: random.chance(9_000).then(|| random.seconds(60, 900)),
            reboot_delay: random.millis(0, 20_000),
            reboot_timeout: random.seconds(600, 1_800),
            ready_timeout: Duration::from_secs(900),
            soak: random.millis(0, 10_000),
            lock_release_delay: random.millis(0, 20_000),
            backoff: random.seconds(5, 90),
        };
        let concurrency = budget.share(random);
        let max_unavailable = random.chance(3_000).then_some(Share::Count(1));
        let settings = Settings {
            node: node.clone(),
            pool: Selector::default(),
            concurrency,
            verify: defect != Some(Defect::NoVerification),
            on_uncordon: if random.chance(7_500) {
                OnUncordon::Redrain
            } else {
                OnUncordon::Abort
            },
            redrains_max: 1 + u8::try_from(random.below(5)).unwrap_or(0),
            reboots_kept: 0,
            keeps_interval: false,
            asked_by: Some(format!("the sentinel of {node}")),
            delays_release: random.chance(5_000),
            // Drawn below.
            gates_return: false,
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
            parallel: 1 + random.index(20),
            by_priority: random.chance(5_000),
            skip_wait: None,
            returning: drain::Returning::Leave,
            volumes: random.chance(3_000).then(|| random.seconds(1, 30)),
        };
        // Drawn last, so that older seeds draw the rest as before.
        let rules = Rules {
            promql: Vec::from_iter(random.chance(2_000).then(|| "up == 0".to_owned())),
            timeout: random.chance(5_000).then(|| random.seconds(10, 120)),
            max_unavailable,
            ..Rules::default()
        };
        let condition = Readiness::Condition {
            kind: SETTLED.to_owned(),
            status: "True".to_owned(),
        };
        let ready_when = [condition, Readiness::DaemonSetPods];
        let ready_when: Vec<Readiness> = ready_when.into_iter().filter(|_| random.chance(3_000)).collect();
        // With so few nodes no line is long.
        let patience = if random.chance(5_000) {
            random.index(4)
        } else {
            PATIENCE
        };
        Agent {
            node,
            setup: Setup {
                settings: Settings {
                    gates_return: !ready_when.is_empty(),
                    ..settings
                },
                timing,
                drain,
                rules,
                ready_when,
                lock: lock_objects(),
                carrier: Carrier::Lease,
                windows: Windows::default(),
                must_end: None,
                patience,
                takes_requests: true,
            },
            skew: SignedDuration::ZERO,
            cut_off_until: Uptime::START,
            process: None,
            processes: 0,
            is_start_planned: true,
            is_power_cycle_planned: false,
            is_clearing_planned: false,
            is_forgetting_planned: false,
            clearings: 0,
        }
    }

    /// The earliest time after its cordon at which this agent may reboot with pods left; `None` means never.
    pub(crate) fn forces_after(&self) -> Option<Duration> {
        let Setup { settings, timing, .. } = &self.setup;
        let timeout = timing.drain_timeout.filter(|_| settings.force_reboot)?;
        Some(timeout + timing.drain_delay)
    }

    pub(crate) fn clock(&self, now: Uptime) -> Timestamp {
        wall(now).saturating_add(self.skew).unwrap_or(Timestamp::MAX)
    }

    pub(crate) fn restless(&self) -> Option<String> {
        match &self.process {
            None => Some("no agent runs".to_owned()),
            Some(process) => {
                let cycle = process.driver.cycle();
                (!cycle.is_idle()).then(|| format!("the agent is not idle: {cycle:?}"))
            }
        }
    }

    /// Numbers a new message of the running process, so that its answer finds the process; `None` if no process runs.
    pub(crate) fn open_message(&mut self, purpose: Purpose) -> Option<To> {
        let agent = World::index_of(&self.node)?;
        let process = self.process.as_mut()?;
        process.last_message += 1;
        drop(process.messages.insert(process.last_message, purpose));
        Some(To {
            agent,
            process: process.number,
            message: process.last_message,
        })
    }
}

impl World {
    pub(crate) fn process(&mut self, agent: usize) -> Option<&mut Process> {
        self.agents.get_mut(agent)?.process.as_mut()
    }

    /// The running process, if it still has this number.
    fn running(&mut self, agent: usize, number: u64) -> Option<&mut Process> {
        self.process(agent).filter(|process| process.number == number)
    }

    /// Plans the start of the next process, as a kubelet restarts a container.
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
            driver: Driver::new(agent.setup.clone(), now),
            wake: None,
            messages: BTreeMap::new(),
            last_message: 0,
            silencer: Silencer::new(agent.setup.timing.reboot_timeout, now),
            followers: [None, None, None],
        });
        self.oracle.started(index, number, boot);
        self.trace_of(index, || format!("agent {index}.{number} starts"));
        self.pump(index);
    }

    /// Ends the process at once. Requests that it has sent still arrive.
    pub(crate) fn kill(&mut self, agent: usize) {
        if let Some(process) = self.agents[agent].process.take() {
            let number = process.number;
            self.trace_of(agent, || format!("agent {agent}.{number} dies"));
        }
    }

    /// Decides whether the process dies at this effect, and if so kills it and plans the next process.
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

    /// Carries out everything that the driver asks for, until it asks for nothing more.
    pub(crate) fn pump(&mut self, agent: usize) {
        while let Some(effect) = self.next_effect(agent) {
            let deadly = self.deadly(agent, &effect);
            if deadly.is_some_and(|(effect, moment)| self.dies(agent, effect, moment)) {
                return;
            }
            self.carry_out(agent, effect);
        }
        self.keep_silences(agent);
        self.plan_wake(agent);
    }

    fn next_effect(&mut self, agent: usize) -> Option<driver::Effect> {
        let at = self.moment(agent);
        let bits = self.random.bits();
        let chance = Chance {
            proof: if self.defect == Some(Defect::SameProof) {
                1
            } else {
                bits
            },
            number: self.random.number(),
        };
        self.process(agent)?.driver.next(at, chance)
    }

    pub(crate) fn moment(&self, agent: usize) -> moment::Moment {
        moment::Moment {
            now: self.now,
            wall: self.agents[agent].clock(self.now),
        }
    }

    /// The kind of death that the process may die just before this effect is carried out: an effect and a moment in it. `None` if there is
    /// none.
    fn deadly(&mut self, agent: usize, effect: &driver::Effect) -> Option<(Effect, Moment)> {
        let effect = match effect {
            driver::Effect::Watch { source, .. } => match source {
                Source::Node => Effect::Watch,
                Source::Lock => Effect::WatchLock,
                Source::Pods => Effect::StartDrain,
            },
            driver::Effect::StopWatch(Source::Lock) => Effect::WatchLock,
            driver::Effect::StopWatch(_) => Effect::StopDrain,
            driver::Effect::Armed(_) => Effect::Arm,
            driver::Effect::Disarmed(_) => Effect::Disarm,
            driver::Effect::Report(_) => Effect::Report,
            driver::Effect::Call(Call::Forget) => Effect::Forget,
            driver::Effect::Call(call) => return self.process(agent)?.deadly_call(call),
            driver::Effect::Took(_)
            | driver::Effect::LockMoved
            | driver::Effect::Count(_)
            | driver::Effect::Drain(..)
            | driver::Effect::End(_) => return None,
        };
        Some((effect, Moment::Before))
    }

    fn carry_out(&mut self, agent: usize, effect: driver::Effect) {
        match effect {
            driver::Effect::Took(input) => {
                self.trace_of(agent, || format!("agent {agent} takes {}", brief(&input)));
                self.oracle.told(agent, &input);
                if let Some((process, node)) = self.process(agent).zip(input.node()) {
                    process.silencer.learn(&node.metadata.uid);
                }
            }
            driver::Effect::Watch { source, epoch, from } => {
                self.follow(agent, source, epoch, from);
            }
            driver::Effect::StopWatch(source) => self.unfollow(agent, source),
            driver::Effect::Report(report) => self.report(agent, &report),
            driver::Effect::Call(call) => self.begin_call(agent, call),
            driver::Effect::Drain(epoch, task) => self.begin_drain_task(agent, epoch, task),
            // The report two minutes before was a violation already.
            driver::Effect::End(_) => {}
            driver::Effect::LockMoved
            | driver::Effect::Count(_)
            | driver::Effect::Armed(_)
            | driver::Effect::Disarmed(_) => {}
        }
    }

    /// Plans what an operator does about a report.
    fn report(&mut self, agent: usize, report: &Report) {
        self.trace_of(agent, || format!("agent {agent} reports {report:?}"));
        if matches!(report, Report::CalledOff(_)) {
            self.statistics.called_off += 1;
        }
        if matches!(report, Report::Forced(_)) {
            self.statistics.forced += 1;
        }
        if matches!(report, Report::Unexpected { .. }) {
            self.violated(Some(agent), Invariant::NothingStuck, format!("{report:?}"));
        }
        let who = &mut self.agents[agent];
        let (operator, is_planned) = match report {
            Report::StillSealed(_) => (Operator::PowerCycle(agent), &mut who.is_power_cycle_planned),
            Report::Foreign(_) => (Operator::ClearMarks(agent), &mut who.is_clearing_planned),
            Report::Blocked(blockers) if blockers.iter().any(is_loop) => {
                (Operator::ForgetReboots(agent), &mut who.is_forgetting_planned)
            }
            _ => return,
        };
        if !std::mem::replace(is_planned, true) {
            let pause = self.random.seconds(60, 900);
            self.after(pause, Event::Operator(operator));
        }
    }

    /// Gives the driver the reply to its open call.
    fn call_ends(&mut self, agent: usize, reply: driver::Reply) {
        let at = self.moment(agent);
        let Some(process) = self.process(agent) else {
            return;
        };
        let effect = process.driver.asked().map(effect_of);
        process.driver.replied(reply, at);
        let is_answered = process.driver.asked().is_none();
        if let Some(effect) = effect.filter(|_| is_answered) {
            let _ = self.dies(agent, effect, Moment::After);
        }
    }

    /// Gives the process the reply to one of its messages.
    pub(crate) fn replied(&mut self, to: To, reply: Reply) {
        let Some(purpose) = self
            .running(to.agent, to.process)
            .and_then(|process| process.messages.remove(&to.message))
        else {
            return;
        };
        match purpose {
            Purpose::Call(call) => {
                if let Some(reply) = calls::understand(&call, reply) {
                    self.call_ends(to.agent, reply);
                }
                self.pump(to.agent);
            }
            Purpose::List(task) => self.listed(task, reply),
            Purpose::Open(task) => self.opened(task, reply),
            Purpose::Evict(epoch, uid) => self.evicted(to.agent, epoch, uid, reply),
        }
    }

    pub(crate) fn host_answered(&mut self, agent: usize, number: u64, state: HostState) {
        if self.running(agent, number).is_some() {
            self.call_ends(agent, driver::Reply::Host(state));
            self.pump(agent);
        }
    }

    pub(crate) fn command_returned(&mut self, agent: usize, number: u64, result: Result<(), RebootFailure>) {
        let asked = self
            .running(agent, number)
            .and_then(|process| process.driver.asked().cloned());
        let Some(Ask::Reboot { record }) = asked else {
            return;
        };
        // Where the command may have worked, the record keeps the time until which the reboot may come.
        if matches!(result, Err(RebootFailure::Expired | RebootFailure::Failed(_))) {
            self.hosts[agent].write_down(&record, None, self.now);
        }
        self.call_ends(agent, driver::Reply::Rebooted(result));
        self.pump(agent);
    }

    fn plan_wake(&mut self, agent: usize) {
        let now = self.now;
        let Some(process) = self.process(agent) else {
            return;
        };
        let Some(next) = process.driver.next_wake(now).map(|next| next.max(now)) else {
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
    /// The effect that this call is part of, and the moment just before the call: `Recorded` if the call patches the Node after the host's
    /// record was written, else `Before`.
    fn deadly_call(&self, call: &Call) -> Option<(Effect, Moment)> {
        let asked = self.driver.asked()?;
        let is_recorded = matches!(
            (asked, call),
            (
                Ask::PatchNode(NodePatch { record: Some(_), .. }),
                Call::PatchNode { .. }
            )
        );
        let moment = if is_recorded {
            Moment::Recorded
        } else {
            Moment::Before
        };
        Some((effect_of(asked), moment))
    }

    fn follower(&self, source: Source) -> Option<&Follower> {
        self.followers[source as usize].as_ref()
    }
}

/// The object with the lock: always a Lease, because the simulation has no DaemonSet of kured.
fn lock_objects() -> LockObjects {
    let object = |carrier, name: &str, key: &str| LockObject {
        carrier,
        namespace: LOCK_NAMESPACE.to_owned(),
        name: name.to_owned(),
        key: key.to_owned(),
    };
    LockObjects {
        lease: object(Carrier::Lease, LOCK_NAME, keys::LOCK),
        daemon_set: object(Carrier::DaemonSet, "kured", keys::KURED_LOCK),
        first: Carrier::Lease,
        otherwise: None,
    }
}

fn effect_of(asked: &Ask) -> Effect {
    match asked {
        Ask::AskHost => Effect::AskHost,
        Ask::ReadNode => Effect::ReadNode,
        Ask::ReadPeer(_) => Effect::ReadPeer,
        Ask::ListHeld => Effect::ListHeld,
        Ask::CountPool => Effect::CountPool,
        Ask::ListBlockers => Effect::ListBlockers,
        Ask::ListMissing => Effect::ListMissing,
        Ask::ReadLock => Effect::ReadLock,
        Ask::WriteLock(_) => Effect::WriteLock,
        Ask::ListPods(_) => Effect::ListPods,
        Ask::Reboot { .. } => Effect::Reboot,
        Ask::PatchNode(patch) => match patch.kind {
            PatchKind::Stamp => Effect::Stamp,
            PatchKind::Cordon => Effect::Cordon,
            PatchKind::Delay => Effect::Delay,
            PatchKind::Renew => Effect::Renew,
            PatchKind::Seal => Effect::Seal,
            PatchKind::Return => Effect::Return,
            PatchKind::GiveBack => Effect::GiveBack,
            PatchKind::Tidy => Effect::Tidy,
        },
    }
}

/// Whether a node waits for a person because it reboots again and again.
fn is_loop(blocker: &Blocker) -> bool {
    matches!(blocker, Blocker::Loop { .. } | Blocker::LoopUnreadable(_))
}

/// An input as one line of text, for the trace.
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
        Input::Answer(Answer::Node(Ok(read))) => format!("Node({})", node(read)),
        Input::Answer(Answer::Patched(Ok(written))) => format!("Patched({})", node(written)),
        Input::Event(CycleEvent::Seen(seen)) => format!("Seen({})", node(seen)),
        Input::Answer(Answer::Peer(Ok(Some(peer)))) => format!("Peer({})", node(peer)),
        Input::Answer(Answer::Held(Ok(nodes))) => {
            format!("Held({:?})", nodes.iter().map(NodeView::name).collect::<Vec<_>>())
        }
        Input::Answer(Answer::Lock(Ok(lock))) => format!("Lock({:?} {:?})", lock.version, lock.record),
        input => format!("{input:?}"),
    }
}
