//! The agent without its I/O: which input the cycle takes next, and what is to be carried out.
//!
//! The agent runs the driver on the real API server and host, the simulation on those in memory.
//! Both ask for the next effect ([`Driver::next`]), carry it out, and hand back what comes of it: the reply to a call, a change
//! from a watch, the end of a task of the drain. Clock readings and random numbers are arguments.
//!
//! Not here: the cycle's decisions ([`crate::reboot::cycle`]), how a call is sent, and how a watch is kept up.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::hold::{Proof, RebootRequest};
use crate::node::NodeView;
use crate::reboot::blocker::{self, Memory};
use crate::reboot::cycle::{Act, Answer, Ask, Count, Cycle, Event, Input, Report, Settings, Wanted};
use crate::reboot::drain::{self, Done, Drain, Task, Trouble};
use crate::reboot::line::Line;
use crate::reboot::lock_object::{Carrier, CarrierView, LockObject, LockObjects};
use crate::reboot::moment::{Moment, Uptime};
use crate::reboot::pod::PodView;
use crate::reboot::readiness::Readiness;
use crate::reboot::timers::{Dates, Timer, Timers, Timing};
use crate::reboot::watch::{self, LockShown};
use crate::reboot::window::{MustEnd, Windows};
use crate::watch::Change;

mod gate;
mod request;
mod requests;
mod standing;

#[cfg(test)]
mod tests;

pub use request::{BLOCKING_PODS_MAX, Call, Reply};
pub use standing::{LockWait, Standing};

use gate::Gate;
use request::{Progress, Request};
use requests::{LOOK_GAP, Requests};
use standing::Waits;

/// What an agent runs with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The operator's settings of the cycle.
    pub settings: Settings,
    /// The operator's times: periods, delays and timeouts.
    pub timing: Timing,
    /// The operator's options of a drain.
    pub drain: drain::Options,
    /// What others are asked about before a reboot.
    pub rules: blocker::Rules,
    /// What must be there, beside the Node's Ready, before the cordon is given back after a reboot.
    pub ready_when: Vec<Readiness>,
    /// Where the lock can be.
    pub lock: LockObjects,
    /// Which object carried the lock when it was last read.
    pub carrier: Carrier,
    /// When a reboot may begin.
    pub windows: Windows,
    /// Whether a reboot must end in a window too, and what is known of how long it takes.
    pub must_end: Option<MustEnd>,
    /// How many nodes may take the lock before a waiter looks away: [`PATIENCE`](crate::reboot::line::PATIENCE).
    pub patience: usize,
    /// `--reboot-requests`: whether a request on the Node counts.
    pub takes_requests: bool,
}

/// Random numbers, drawn anew for each call of [`Driver::next`].
#[derive(Clone, Copy, Debug)]
pub struct Chance {
    /// Becomes the proof of a write, so nobody may be able to guess it.
    pub proof: u128,
    /// Spreads pauses, and chooses which of several inputs comes first.
    pub number: u64,
}

/// Something for the caller to carry out or to note, in the order in which it is given.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// The cycle has taken this input. Only to note: there is nothing to carry out.
    Took(Input),
    /// The lock is on the other object now: with `--lock-on=auto`, because kured's DaemonSet has come or gone.
    LockMoved,
    /// Watch this, in place of any older watch of the same source. Hand each change to [`Driver::observed`].
    Watch {
        /// What to watch.
        source: Source,
        /// To be handed over with each change, so that changes from an older watch are dropped.
        epoch: u64,
        /// Watch from just after this version on; without a version, from a list of what is there.
        from: Option<String>,
    },
    /// Stop watching it, if it is watched.
    StopWatch(Source),
    /// The timer was started. [`Driver::next_wake`] says when to come back for it.
    Armed(Timer),
    /// The timer was stopped.
    Disarmed(Timer),
    /// Report this to people.
    Report(Report),
    /// Count this, which no report tells.
    Count(Count),
    /// Carry out this call, and hand the reply to [`Driver::replied`]. Until then there is no other call.
    Call(Call),
    /// Carry out this task of the drain, beside other tasks and the call. Hand the result and this epoch to [`Driver::done`].
    Drain(u64, Task),
    /// End the process because of this bug in the agent: the next process goes on from what this one has written down.
    End(Defect),
}

/// An answer that no request of this stage can have ([`Report::Unexpected`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defect {
    /// What the cycle was doing.
    pub stage: &'static str,
    /// What the answer was about.
    pub answer: &'static str,
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Our own Node.
    Node,
    /// The object that carries the lock: [`Driver::lock_object`].
    Lock,
    /// The pods on our Node that a drain looks at.
    Pods,
}

/// A change that a watch has shown.
#[derive(Clone, Debug)]
pub enum Observed {
    /// A change of our own Node.
    Node(Change<NodeView>),
    /// A change of the object that carries the lock.
    Lock(Change<CarrierView>),
    /// A change of the pods on our Node.
    Pods(Change<PodView>),
}

/// One process of an agent.
#[derive(Debug)]
pub struct Driver {
    setup: Setup,
    cycle: Cycle,
    timers: Timers,
    /// What the lengths of timers depend on, as our Node last showed it.
    dates: Dates,
    gate: Gate,
    waits: Waits,
    /// Whether the last answer was that something postpones the reboot.
    is_blocked: bool,
    /// When the sentinel is looked at next.
    next_look: Uptime,
    /// When the sentinel was looked at last.
    last_look: Uptime,
    /// Whether the host asked for a reboot when its sentinel was last readable.
    asked_by_host: bool,
    /// The request on our Node.
    requests: Requests,
    /// The `created` of the last wish: each wish is later than the one before.
    last_wish: Timestamp,
    /// Counts the watches of all sources.
    epochs: u64,
    /// The epoch of each source's watch, while there is one.
    watched: [Option<u64>; 3],
    lock_shown: LockShown,
    line: Line,
    drain: Option<Draining>,
    /// The input that comes next: the start, or the answer to the call that was open.
    input: Option<Input>,
    /// Events from watches and the drain that the cycle has not taken yet.
    inbox: VecDeque<(Source, Event)>,
    /// Effects to hand out, before anything else.
    effects: VecDeque<Effect>,
    /// Acts of the last step, to be turned into effects before its request is sent.
    acts: VecDeque<Act>,
    /// Whether the host's record is to be removed before the next request.
    forgets: bool,
    /// The request of the last step, while it is not yet begun.
    asked: Option<Ask>,
    /// What the open call is for, while there is one.
    open: Option<Open>,
    /// What is known of blockers from earlier looks.
    memory: Memory,
    /// The first defect, and when the process ends for it.
    defect: Option<(Uptime, Defect)>,
}

/// How long a process goes on after a defect: its Event gets out, and a Prometheus that scrapes each minute sees the metric.
const DEFECT_SHOWN: Duration = Duration::from_mins(2);

/// A drain that runs.
#[derive(Debug)]
struct Draining {
    work: Drain,
    /// How many of its tasks have not ended.
    under_way: usize,
}

/// What the open call is for.
#[derive(Debug)]
enum Open {
    Sentinel,
    Forgetting,
    Request(Box<Request>),
}

/// What the cycle gets next.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
enum Next {
    Input(Input),
    /// The sentinel is looked at, and what it shows is the next input.
    Look,
}

/// Who has something for the cycle.
#[derive(Clone, Copy)]
enum Ready {
    /// A watch or the drain.
    Told,
    Timer,
    Sentinel,
}

impl Driver {
    /// A driver of an agent that starts now.
    pub fn new(setup: Setup, now: Uptime) -> Driver {
        Driver {
            cycle: Cycle::new(setup.settings.clone()),
            timers: Timers::new(setup.timing.clone()),
            gate: Gate::new(setup.windows.clone(), setup.must_end),
            waits: Waits::default(),
            line: Line::new(setup.patience),
            setup,
            dates: Dates::default(),
            is_blocked: false,
            next_look: now,
            last_look: now,
            asked_by_host: false,
            requests: Requests::default(),
            last_wish: Timestamp::MIN,
            epochs: 0,
            watched: [None; 3],
            lock_shown: LockShown::default(),
            drain: None,
            input: Some(Input::Started),
            inbox: VecDeque::new(),
            effects: VecDeque::new(),
            acts: VecDeque::new(),
            forgets: false,
            asked: None,
            open: None,
            memory: Memory::default(),
            defect: None,
        }
    }

    /// The cycle, as it is between two steps.
    pub fn cycle(&self) -> &Cycle {
        &self.cycle
    }

    /// The request that the open call is part of.
    pub fn asked(&self) -> Option<&Ask> {
        match &self.open {
            Some(Open::Request(request)) => Some(&request.ask),
            _ => None,
        }
    }

    /// Whether a call is open: meanwhile the cycle takes nothing but its answer.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// What the node stands at now.
    pub fn standing(&self, now: Uptime) -> Standing {
        let left = self.drain.as_ref().and_then(|drain| drain.work.left(now));
        self.waits.standing(left)
    }

    /// The object that carries the lock, as of the last read of the lock.
    pub fn lock_object(&self) -> &LockObject {
        self.setup.lock.object(self.setup.carrier)
    }

    /// The next effect to carry out, if there is one now.
    pub fn next(&mut self, at: Moment, chance: Chance) -> Option<Effect> {
        if let Some((_, defect)) = self.defect.take_if(|(end, _)| *end <= at.now) {
            return Some(Effect::End(defect));
        }
        while self.effects.is_empty() && self.goes_on(at, chance) {}
        self.effects.pop_front()
    }

    /// When to call [`Driver::next`] again if no reply, change or result of a task comes before; `None` if there is no effect before one
    /// of these comes.
    pub fn next_wake(&self, now: Uptime) -> Option<Uptime> {
        let drain = self
            .drain
            .as_ref()
            .and_then(|drain| drain.work.next_due(now, drain.under_way));
        // An idle agent waits for no window.
        let gate = self.gate.next_wake().filter(|_| !self.cycle.is_idle());
        let line = self.line.away_until().filter(|_| self.cycle.is_waiting());
        let events = [self.timers.next_end(), Some(self.next_look), gate, line];
        let events = events.into_iter().filter(|_| self.open.is_none());
        let end = self.defect.map(|(end, _)| end);
        events.chain([drain, end]).flatten().min()
    }

    /// Takes the reply to the open call. A reply that does not belong to it is ignored.
    pub fn replied(&mut self, reply: Reply, at: Moment) {
        match (&mut self.open, reply) {
            (Some(Open::Sentinel), Reply::Sentinel(found, reason)) => {
                self.open = None;
                self.cycle.wanted_for(reason);
                let request = self.request_that_counts(at.wall);
                if let Some(span) = self.requests.changes_in(at.wall) {
                    self.next_look = self.next_look.min(at.now + span);
                }
                // Without an answer the host still asks if it did when there was one last, but begins nothing. What the request says is known.
                let is_known = found.is_some() || request.is_some() || self.cycle.is_requested();
                let last = self.asked_by_host && !self.cycle.is_idle();
                let by_host = found.unwrap_or(last);
                self.asked_by_host = by_host;
                // A look that shows the same again is no reason to read a full lock again.
                let is_same = self.cycle.is_asked_by(by_host, request.as_ref());
                let wanted = self.wanted(by_host, request, at.wall);
                if is_known && !(is_same && self.waits_in_line()) {
                    self.input = Some(Input::Event(Event::Sentinel(wanted)));
                }
            }
            (Some(Open::Forgetting), Reply::Forgotten) => self.open = None,
            (Some(Open::Request(request)), reply) => {
                let progress = request.replied(reply, &self.setup, &mut self.memory, at);
                let waived = self.memory.unanswered.take_waived().into_iter();
                self.effects
                    .extend(waived.map(|blocker| Effect::Report(Report::BlockerWaived(blocker))));
                if let Some(progress) = progress {
                    self.go_on(progress);
                }
            }
            _ => {}
        }
    }

    /// Takes a change that a watch has shown. One from a watch that was replaced or stopped is ignored.
    pub fn observed(&mut self, epoch: u64, observed: Observed, at: Moment) {
        let source = observed.source();
        if self.epoch(source) != Some(epoch) {
            return;
        }
        let event = match observed {
            Observed::Node(change) => Event::of_node(change),
            Observed::Lock(change) => Event::of_lock(&change)
                .filter(|_| self.lock_shown.is_news(&change))
                .filter(|_| self.may_have_room(&change, at)),
            Observed::Pods(change) => {
                if let Some(drain) = &mut self.drain {
                    drain.work.observe(change, at);
                }
                None
            }
        };
        self.inbox.extend(event.map(|event| (source, event)));
    }

    /// Whether this change of the lock may leave a slot for us. If not, the turn that an older change began would be in vain.
    fn may_have_room(&mut self, change: &Change<CarrierView>, at: Moment) -> bool {
        let Some(view) = watch::shown(change) else {
            return true;
        };
        let lock = self.lock_object().read(view, at.wall);
        self.waits.learn(&lock);
        let is_full = self.cycle.is_full(&lock);
        self.line.show(&lock, is_full, at.wall);
        if is_full {
            self.inbox.retain(|(from, _)| *from != Source::Lock);
            self.timers.disarm(Timer::Turn);
        }
        !is_full
    }

    /// Takes what became of a task of the drain, and returns what went wrong, if that is news.
    /// `number` is random, and spreads the pause that follows.
    pub fn done(&mut self, epoch: u64, done: Done, at: Moment, number: u64) -> Option<Trouble> {
        let is_current = self.epoch(Source::Pods) == Some(epoch);
        let drain = self.drain.as_mut().filter(|_| is_current)?;
        drain.under_way = drain.under_way.saturating_sub(1);
        drain.work.note(done, at, number)
    }

    /// Does one thing towards the next effect, and says whether there was anything to do.
    fn goes_on(&mut self, at: Moment, chance: Chance) -> bool {
        if let Some(act) = self.acts.pop_front() {
            let effect = self.perform(act, at, chance.number);
            self.effects.extend(effect);
            return true;
        }
        // A drain goes on while a call is open; the cycle does not.
        self.drain_goes_on(at.now);
        if self.open.is_some() {
            return false;
        }
        if self.opens_call(at) {
            return true;
        }
        if self.cycle.is_waiting() {
            self.keep_in_line(at, chance.number);
        }
        match self.next_input(at, chance.number) {
            Some(Next::Input(input)) => self.deliver(input, chance.proof),
            Some(Next::Look) => {
                self.last_look = at.now;
                self.next_look = at.now + self.setup.timing.period;
                self.open = Some(Open::Sentinel);
                self.effects.push_back(Effect::Call(Call::LookAtSentinel));
            }
            None => return false,
        }
        true
    }

    /// Whether the cycle waits for a lock that was full, and watches it or looks away for a while.
    fn waits_in_line(&self) -> bool {
        let is_in_line = self.epoch(Source::Lock).is_some() || self.line.is_away();
        self.cycle.is_waiting() && is_in_line && self.line.is_full()
    }

    /// Looks away from the lock, or looks again, as the line is.
    fn keep_in_line(&mut self, at: Moment, number: u64) {
        let is_turn = self.timers.end(Timer::Turn).is_some() || !self.inbox.is_empty();
        if self.line.come_back(at.now) {
            let effect = self.watch(Source::Lock, None);
            self.effects.push_back(effect);
        } else if !is_turn && self.waits_in_line() && self.line.leave(at, number) {
            let effect = self.stop_watch(Source::Lock);
            self.effects.push_back(effect);
            self.timers.disarm(Timer::Poll);
        }
        if !is_turn {
            self.keep_looking(at, number);
        }
    }

    /// A waiter that watches the lock and expects nothing else looks at it even so, after a pause.
    fn keep_looking(&mut self, at: Moment, number: u64) {
        let is_watched = self.epoch(Source::Lock).is_some();
        if is_watched && self.timers.end(Timer::Poll).is_none() && !self.timers.is_retrying() {
            let effect = self.perform(Act::Arm(Timer::Poll), at, number);
            self.effects.extend(effect);
        }
    }

    /// Opens the next call, if there is one: first the removal of the host's record, then the cycle's request, which may write
    /// a new record.
    fn opens_call(&mut self, at: Moment) -> bool {
        if std::mem::take(&mut self.forgets) {
            self.open = Some(Open::Forgetting);
            self.effects.push_back(Effect::Call(Call::Forget));
            return true;
        }
        let Some(ask) = self.asked.take() else {
            return false;
        };
        // The window costs no call, so it is looked at first.
        if ask == Ask::ListBlockers
            && let Some(outside) = self.gate.outside(at.wall)
        {
            self.input = Some(Input::Answer(Answer::Blockers(Ok(vec![outside]))));
            return true;
        }
        let deadline = self.timers.end(Timer::Deadline);
        let (request, progress) = Request::begin(ask, &self.setup, deadline, at.wall);
        self.open = Some(Open::Request(Box::new(request)));
        self.go_on(progress);
        true
    }

    /// Sends the next call of a request, or keeps its answer as the next input.
    fn go_on(&mut self, progress: Progress) {
        match progress {
            Progress::Call(call) => self.effects.push_back(Effect::Call(call)),
            Progress::Answer(answer) => {
                self.open = None;
                self.is_blocked = matches!(&answer, Answer::Blockers(Ok(blockers)) if !blockers.is_empty());
                self.input = Some(Input::Answer(answer));
            }
        }
    }

    /// The next thing to do: hand over the start or the answer to the last call; without these, an event or a look at the sentinel.
    /// If several are ready, `number` chooses.
    fn next_input(&mut self, at: Moment, number: u64) -> Option<Next> {
        let now = at.now;
        if let Some(input) = self.input.take() {
            return Some(Next::Input(input));
        }
        // Before any other event, so that the cycle takes none in a window that is over.
        if let Some(event) = self.gate.news(at, number) {
            return Some(Next::Input(Input::Event(event)));
        }
        let is_timer_due = self.timers.next_end().is_some_and(|end| end <= now);
        let ready = [
            (!self.inbox.is_empty()).then_some(Ready::Told),
            is_timer_due.then_some(Ready::Timer),
            (self.next_look <= now).then_some(Ready::Sentinel),
        ];
        let ready: Vec<Ready> = ready.into_iter().flatten().collect();
        let count = u64::try_from(ready.len()).ok().filter(|count| *count > 0)?;
        let chosen = usize::try_from(number % count).unwrap_or(0);
        let event = match ready.get(chosen)? {
            Ready::Told => self.inbox.pop_front().map(|(_, event)| event),
            Ready::Timer => self.timers.pop_due(now).map(Event::Due),
            Ready::Sentinel => return Some(Next::Look),
        };
        event.map(|event| Next::Input(Input::Event(event)))
    }

    /// Gives an input to the cycle, and takes up what the step leads to.
    fn deliver(&mut self, input: Input, proof: u128) {
        self.learn(&input);
        self.effects.push_back(Effect::Took(input.clone()));
        if let Some(drain) = &mut self.drain {
            self.cycle.drain_cost(drain.work.take_cost());
        }
        let step = self.cycle.step(input, Proof::new(proof));
        self.acts.extend(step.acts);
        self.asked = step.request;
    }

    /// Updates what the driver itself keeps from an input: when to look at the sentinel, where the lock is, and the dates on our Node.
    fn learn(&mut self, input: &Input) {
        if let Input::Answer(Answer::Lock(Ok(lock))) = input {
            self.gate
                .learn(lock, &self.setup.settings.node, self.dates.stamped);
            self.waits.learn(lock);
            self.line.read(self.cycle.is_full(lock));
        }
        if let Input::Answer(Answer::Blockers(Ok(blockers))) = input {
            self.waits.blocked(blockers);
        }
        match input {
            // After a pause the cycle needs a fresh look at the sentinel, not the one of the next period.
            Input::Event(Event::Due(timer)) if timer.calls_for_look() => self.next_look = Uptime::START,
            // The watch of the lock follows it to the other object.
            Input::Answer(Answer::Lock(Ok(lock))) if lock.carrier != self.setup.carrier => {
                self.setup.carrier = lock.carrier;
                self.effects.push_back(Effect::LockMoved);
                if self.epoch(Source::Lock).is_some() {
                    let effect = self.watch(Source::Lock, None);
                    self.effects.push_back(effect);
                }
            }
            _ => {}
        }
        if let Some(node) = input.node() {
            self.dates = Dates::of(node);
            self.requests.show(node);
            if self.requests.take_news() {
                self.next_look = self.next_look.min(self.last_look + LOOK_GAP);
            }
        }
    }

    /// Turns an act of the cycle into an effect.
    fn perform(&mut self, act: Act, at: Moment, number: u64) -> Option<Effect> {
        Some(match act {
            Act::Watch(from) => self.watch(Source::Node, from),
            Act::WatchLock(is_on) => {
                self.line = Line::new(self.setup.patience);
                if is_on {
                    self.watch(Source::Lock, None)
                } else {
                    self.stop_watch(Source::Lock)
                }
            }
            Act::StartDrain => {
                self.drain = Some(Draining {
                    work: Drain::new(self.setup.drain.clone(), self.setup.timing.drain_delay, at.now),
                    under_way: 0,
                });
                self.watch(Source::Pods, None)
            }
            Act::StopDrain => {
                self.drain = None;
                self.stop_watch(Source::Pods)
            }
            // The line says when to look again.
            Act::Arm(Timer::Poll) if self.line.is_away() && self.line.is_full() => return None,
            Act::Arm(timer) => {
                let is_look = timer == Timer::Poll && self.line.is_full();
                let is_of_gate = timer == Timer::Blocked;
                let dates = Dates {
                    shut_until: is_of_gate.then(|| self.gate.shut_until(at.wall)).flatten(),
                    is_blocked: self.is_blocked,
                    looks: if is_look { self.line.pause() } else { 0 },
                    ..self.dates
                };
                self.timers.arm(timer, dates, at, number);
                Effect::Armed(timer)
            }
            Act::Disarm(timer) => {
                self.timers.disarm(timer);
                Effect::Disarmed(timer)
            }
            Act::Forget => {
                self.forgets = true;
                return None;
            }
            Act::Report(report) => {
                self.gate.note(&report, at.wall);
                self.waits.note(&report, at.wall);
                if let Report::Unexpected { stage, answer } = report {
                    let end = at.now + DEFECT_SHOWN;
                    let _ = self.defect.get_or_insert((end, Defect { stage, answer }));
                }
                Effect::Report(report)
            }
            Act::Count(count) => Effect::Count(count),
        })
    }

    fn watch(&mut self, source: Source, from: Option<String>) -> Effect {
        self.forget_watch(source);
        self.epochs += 1;
        let epoch = self.epochs;
        self.watched[source as usize] = Some(epoch);
        Effect::Watch { source, epoch, from }
    }

    fn stop_watch(&mut self, source: Source) -> Effect {
        self.forget_watch(source);
        Effect::StopWatch(source)
    }

    /// Forgets the watch of this source, and drops its events that the cycle has not taken yet.
    fn forget_watch(&mut self, source: Source) {
        self.watched[source as usize] = None;
        self.inbox.retain(|(from, _)| *from != source);
        if source == Source::Lock {
            self.lock_shown = LockShown::default();
            self.line.lose_sight();
        }
    }

    fn epoch(&self, source: Source) -> Option<u64> {
        self.watched[source as usize]
    }

    /// Takes the tasks that are due from the drain, and its news.
    fn drain_goes_on(&mut self, now: Uptime) {
        let Some((drain, epoch)) = self.drain.as_mut().zip(self.watched[Source::Pods as usize]) else {
            return;
        };
        let tasks = drain.work.take_due(now, drain.under_way);
        drain.under_way += tasks.len();
        let tasks = tasks.into_iter().map(|task| Effect::Drain(epoch, task));
        self.effects.extend(tasks);
        let news = drain.work.tell(now).into_iter();
        self.inbox
            .extend(news.map(|news| (Source::Pods, Event::Drain(news))));
    }

    /// What asks for a reboot, with the `created` of a new wish for it.
    fn wanted(&mut self, by_host: bool, request: Option<RebootRequest>, wall: Timestamp) -> Option<Wanted> {
        (by_host || request.is_some()).then(|| Wanted {
            created: self.new_wish(wall),
            by_host,
            request,
        })
    }

    /// The request on our Node, if it counts. That it does not is reported once.
    fn request_that_counts(&mut self, wall: Timestamp) -> Option<RebootRequest> {
        let judged = self
            .requests
            .judge(&self.cycle, self.setup.takes_requests, wall)?;
        if let Err(flaw) = &judged {
            let ignored = self.requests.ignored(*flaw);
            self.effects
                .extend(ignored.map(|why| Effect::Report(Report::Ignored(why))));
        }
        judged.ok()
    }

    /// The `created` of a new wish: now or, if the clock has gone back, just after the wish before.
    fn new_wish(&mut self, wall: Timestamp) -> String {
        let next = self
            .last_wish
            .saturating_add(SignedDuration::from_nanos(1))
            .unwrap_or(Timestamp::MAX);
        self.last_wish = wall.max(next);
        format!("{:.9}", self.last_wish)
    }
}

impl Source {
    /// Whether the watch ends when its object is deleted: a Node that is created anew under the name is another Node.
    pub fn ends_with_object(self) -> bool {
        self == Source::Node
    }
}

impl Observed {
    fn source(&self) -> Source {
        match self {
            Observed::Node(_) => Source::Node,
            Observed::Lock(_) => Source::Lock,
            Observed::Pods(_) => Source::Pods,
        }
    }
}
