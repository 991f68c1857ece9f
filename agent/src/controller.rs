//! The loop: one input at a time into the cycle's step, its acts and its request carried out.
//!
//! While a request is open nothing else is delivered: what happens meanwhile waits in the channel and the timers.
//! No decision is taken here.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cordonhold_rt::shutdown::Signals;
use cordonhold_shared::hold::{NodePatch, Proof, Terms};
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::cycle::{
    self, Act, Answer, Ask, Cycle, Event, Failure, Input, Settings, Timer,
};
use cordonhold_shared::reboot::lock_object::{Carrier, CarrierView};
use cordonhold_shared::reboot::timers::{Dates, Timers, Timing};
use cordonhold_shared::reboot::watch::{Change, LockShown};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch as watch_channel};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};
use tracing::{debug, info, warn};

use crate::api::Api;
use crate::args::drain::DrainConfig;
use crate::clock::{Clock, random};
use crate::conditions;
use crate::drain::Drain;
use crate::host::Host;
use crate::host::sentinel::Sentinel;
use crate::metrics::Metrics;
use crate::report::{NodeEvents, Reporter, post};
use crate::watch::Watch;

mod feed;

use feed::{Feed, Message, Source};

/// Why the loop ended of itself.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    #[error(
        "the task `{0}` ended, which it never should: a defect of the agent, which ends so that it starts anew"
    )]
    TaskEnded(&'static str),
    #[error("a task of the agent panicked: the agent ends so that it starts anew")]
    TaskPanicked(#[source] JoinError),
    #[error(
        "the system gives no random bits: the agent writes nothing that it could not prove to be its own"
    )]
    NoRandomBits(#[source] getrandom::Error),
}

/// What the loop works with.
pub(crate) struct Controller {
    pub(crate) policy: Settings,
    pub(crate) api: Api,
    /// Which object carried the lock when it was last read.
    pub(crate) carrier: Carrier,
    pub(crate) host: Host,
    pub(crate) sentinel: Sentinel,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) timing: Timing,
    pub(crate) drain: DrainConfig,
    /// `--node-conditions`.
    pub(crate) shows_conditions: bool,
}

/// The loop's hands: what is running on the cycle's behalf.
struct Shell {
    parts: Controller,
    terms: Terms,
    clock: Clock,
    timers: Timers,
    reporter: Reporter,
    looks: Interval,
    /// When the last wish was made: each is later than the one before.
    last_wish: Timestamp,
    /// As our Node last showed them.
    dates: Dates,
    tasks: JoinSet<&'static str>,
    sender: mpsc::Sender<Message>,
    events: mpsc::Receiver<Message>,
    /// Our Node as it was last seen, for its conditions.
    shown: Option<watch_channel::Sender<NodeView>>,
    node_watch: Feed,
    lock_watch: Feed,
    drain: Feed,
    /// The host's record is to be removed, before anything else is asked for.
    forgets: bool,
}

/// Events that wait to be taken; whoever has more waits too.
const EVENTS_MAX: usize = 64;
/// Events on the Node that wait to be written; more are dropped.
const NOTICES_MAX: usize = 32;
/// Longest wait at the end: within the DaemonSet's `terminationGracePeriodSeconds`.
const END_BOUND: Duration = Duration::from_secs(25);

impl Controller {
    /// Runs the cycle until a signal comes. Nothing is undone then: the next agent goes on from the marks.
    pub(crate) async fn run(self, signals: &mut Signals) -> Result<(), ControllerError> {
        let mut cycle = Cycle::new(self.policy.clone());
        let mut shell = Shell::new(self);
        let mut input = Input::Started;
        loop {
            debug!(?input, "taking");
            let (next, outcome) = cycle::step(cycle, input, proof()?);
            cycle = next;
            for act in outcome.acts {
                shell.perform(act);
            }
            input = tokio::select! {
                biased;
                signal = signals.next() => {
                    info!(event = "stopping", node = shell.parts.policy.node, signal, "ending; nothing is undone");
                    shell.end(signals).await;
                    return Ok(());
                }
                input = shell.next_input(outcome.request) => input?,
            };
            shell.learn(&input);
        }
    }
}

impl Shell {
    fn new(parts: Controller) -> Shell {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let (notices, waiting_notices) = mpsc::channel(NOTICES_MAX);
        let mut looks = interval(parts.timing.period);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shell = Shell {
            terms: parts.timing.terms(),
            clock: Clock::start(),
            timers: Timers::new(parts.timing.clone()),
            reporter: Reporter::new(
                &parts.policy.node,
                vec![Box::new(NodeEvents(notices))],
                Arc::clone(&parts.metrics),
            ),
            looks,
            last_wish: Timestamp::MIN,
            dates: Dates::default(),
            tasks: JoinSet::new(),
            sender,
            events,
            shown: None,
            node_watch: Feed::default(),
            lock_watch: Feed::default(),
            drain: Feed::default(),
            forgets: false,
            parts,
        };
        let api = shell.parts.api.clone();
        drop(shell.spawn("write Events", post(api.clone(), waiting_notices)));
        if shell.parts.shows_conditions {
            let (sender, shown) = watch_channel::channel(NodeView::default());
            shell.shown = Some(sender);
            drop(shell.spawn("write conditions", conditions::keep(api, shown)));
        }
        shell
    }

    /// The answer to the request or, without one, the next event.
    async fn next_input(&mut self, request: Option<Ask>) -> Result<Input, ControllerError> {
        if std::mem::take(&mut self.forgets) {
            self.parts.host.forget().await;
        }
        if let Some(request) = request {
            self.parts.metrics.health.asking(request.name());
            Ok(Input::Answer(self.answer(request).await))
        } else {
            self.parts.metrics.health.waiting();
            self.event().await.map(Input::Event)
        }
    }

    async fn answer(&mut self, request: Ask) -> Answer {
        let api = &self.parts.api;
        debug!(?request, "asking");
        match request {
            Ask::AskHost => Answer::Host(self.parts.host.ask().await),
            Ask::ReadNode => Answer::Node(api.node().await),
            Ask::ReadPeer(name) => Answer::Peer(api.peer(&name).await),
            Ask::ListHeld => Answer::Held(api.held().await),
            Ask::ReadLock => Answer::Lock(api.lock().await),
            Ask::CountPool => Answer::Pool(api.pool().await),
            Ask::WriteLock(write) => Answer::LockWritten(api.write_lock(&write).await),
            Ask::PatchNode(patch) => Answer::Patched(self.patch_node(&patch).await),
            Ask::ListPods(kept) => Answer::PodsLeft(api.pods_left(&kept).await),
            Ask::Reboot { record } => {
                let deadline = self.timers.end(Timer::Deadline);
                let deadline = deadline.and_then(|end| self.clock.instant(end));
                let timeout = self.parts.timing.reboot_timeout;
                Answer::RebootIssued(self.parts.host.reboot(&record, timeout, deadline).await)
            }
        }
    }

    /// The host's record first: a process that starts must know of every write that can have been sent.
    async fn patch_node(&self, patch: &NodePatch) -> Result<NodeView, Failure> {
        if let Some(record) = &patch.record
            && let Err(error) = self.parts.host.write_record(record).await
        {
            return Err(Failure::Refused(cordonhold_rt::exit::one_line(&error)));
        }
        self.parts.api.patch_node(patch, &self.terms).await
    }

    async fn event(&mut self) -> Result<Event, ControllerError> {
        loop {
            let event = tokio::select! {
                Some(message) = self.events.recv() => self.current(message),
                () = self.clock.at(self.timers.next_end()) => self.timers.pop_due(self.clock.now()).map(Event::Due),
                _ = self.looks.tick() => self.look_at_sentinel().await,
                Some(ended) = self.tasks.join_next() => {
                    must_be_cancelled(ended)?;
                    None
                }
            };
            if let Some(event) = event {
                return Ok(event);
            }
        }
    }

    /// What a message says, unless its source was replaced since.
    fn current(&self, message: Message) -> Option<Event> {
        let feed = match message.source {
            Source::Node => &self.node_watch,
            Source::Lock => &self.lock_watch,
            Source::Drain => &self.drain,
        };
        feed.is_current(message.epoch).then_some(message.event)
    }

    async fn look_at_sentinel(&mut self) -> Option<Event> {
        match self.parts.sentinel.is_present().await {
            Ok(true) => Some(Event::Sentinel(Some(self.new_wish()))),
            Ok(false) => Some(Event::Sentinel(None)),
            Err(error) => {
                let why = cordonhold_rt::exit::one_line(&error);
                warn!(
                    event = "sentinel_unreadable",
                    node = self.parts.policy.node,
                    why,
                    "the sentinel cannot be looked at"
                );
                None
            }
        }
    }

    /// Now, or just after the wish before, should the clock have gone back.
    fn new_wish(&mut self) -> String {
        let next = self
            .last_wish
            .saturating_add(SignedDuration::from_nanos(1))
            .unwrap_or(Timestamp::MAX);
        self.last_wish = Timestamp::now().max(next);
        format!("{:.9}", self.last_wish)
    }

    fn learn(&mut self, input: &Input) {
        // After a pause the cycle needs a fresh look at the sentinel, not the one of the next period.
        if matches!(input, Input::Event(Event::Due(timer)) if timer.calls_for_look()) {
            self.looks.reset_immediately();
        }
        if let Input::Answer(Answer::Lock(Ok(lock))) = input
            && lock.carrier != self.parts.carrier
        {
            self.lock_moved(lock.carrier);
        }
        let (Input::Answer(Answer::Node(Ok(node)))
        | Input::Answer(Answer::Patched(Ok(node)))
        | Input::Event(Event::Seen(node))) = input
        else {
            return;
        };
        self.reporter.learn(node);
        if let Some(shown) = &self.shown {
            let _ = shown.send_replace(node.clone());
        }
        self.dates = Dates::of(node);
    }

    /// With `--lock-on=auto`, kured's DaemonSet has come or gone.
    fn lock_moved(&mut self, carrier: Carrier) {
        self.parts.carrier = carrier;
        let place = self.parts.api.place(carrier);
        warn!(
            event = "lock_moved",
            node = self.parts.policy.node,
            lock = %place,
            annotation = place.key,
            "the lock is on the {place} now: a reboot that was locked elsewhere is called off at its final check"
        );
        if self.lock_watch.is_running() {
            self.watch_lock();
        }
    }

    fn perform(&mut self, act: Act) {
        debug!(?act, "performing");
        match act {
            Act::Watch(version) => self.watch_node(version),
            Act::StartDrain => self.start_drain(),
            Act::StopDrain => self.drain.stop(),
            Act::WatchLock(true) => self.watch_lock(),
            Act::WatchLock(false) => self.lock_watch.stop(),
            Act::Arm(timer) => {
                let (wall, now) = (Timestamp::now(), self.clock.now());
                self.timers.arm(timer, self.dates, wall, now, random());
            }
            Act::Disarm(timer) => self.timers.disarm(timer),
            Act::Forget => self.forgets = true,
            Act::Report(report) => self.reporter.tell(&report),
        }
    }

    fn watch_node(&mut self, version: Option<String>) {
        let epoch = self.node_watch.next_epoch();
        let api = self.parts.api.clone();
        let watch = Watch::new(
            api.clone(),
            feed::node_target(&api),
            version,
            self.sender.clone(),
            move |change| {
                Event::of_node(change).map(|event| Message {
                    source: Source::Node,
                    epoch,
                    event,
                })
            },
        );
        let task = self.spawn("watch the Node", watch.run());
        self.node_watch.started(task);
    }

    fn watch_lock(&mut self) {
        let epoch = self.lock_watch.next_epoch();
        let api = self.parts.api.clone();
        let shown = Mutex::new(LockShown::default());
        let watch = Watch::new(
            api.clone(),
            feed::lock_target(&api.place(self.parts.carrier)),
            None,
            self.sender.clone(),
            move |change: Change<CarrierView>| {
                let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
                let event = Event::of_lock(&change).filter(|_| shown.is_news(&change))?;
                Some(Message {
                    source: Source::Lock,
                    epoch,
                    event,
                })
            },
        );
        let task = self.spawn("watch the lock", watch.run());
        self.lock_watch.started(task);
    }

    fn start_drain(&mut self) {
        let epoch = self.drain.next_epoch();
        let drain = Drain::new(
            self.parts.api.clone(),
            &self.parts.policy.node,
            &self.parts.drain,
            self.clock,
        );
        let work = drain.run(self.sender.clone(), move |news| Message {
            source: Source::Drain,
            epoch,
            event: Event::Drain(news),
        });
        let task = self.spawn("drain", work);
        self.drain.started(task);
    }

    /// Begins nothing more, and waits for what has begun: the answers to evictions, and the end of a reboot command, which
    /// would die with its container. A second signal ends the wait.
    async fn end(&mut self, signals: &mut Signals) {
        self.drain.stop();
        let (api, host, node) = (&self.parts.api, &self.parts.host, &self.parts.policy.node);
        let open = || (api.evictions_under_way(), host.commands_running());
        let (evictions, commands) = open();
        if (evictions, commands) == (0, 0) {
            return;
        }
        info!(
            event = "finishing",
            node, evictions, commands, "waiting for the answers to evictions and the end of reboot commands"
        );
        let ended = async { tokio::join!(api.evictions_answered(), host.commands_ended()) };
        let why = tokio::select! {
            _ = ended => return,
            () = sleep(END_BOUND) => "its time is over",
            signal = signals.next() => signal,
        };
        let (evictions, commands) = open();
        warn!(
            event = "cut_off",
            node,
            why,
            evictions,
            commands,
            "ending before all has ended: the budget of an eviction may allow no other for two minutes"
        );
    }

    fn spawn(
        &mut self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::AbortHandle {
        self.tasks.spawn(async move {
            work.await;
            name
        })
    }
}

/// From the system: nobody can know it before it has landed.
fn proof() -> Result<Proof, ControllerError> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(ControllerError::NoRandomBits)?;
    Ok(Proof::new(u128::from_le_bytes(bits)))
}

/// Tasks end only when they are stopped.
fn must_be_cancelled(ended: Result<&'static str, JoinError>) -> Result<(), ControllerError> {
    match ended {
        Ok(name) => Err(ControllerError::TaskEnded(name)),
        Err(error) if error.is_cancelled() => Ok(()),
        Err(error) => Err(ControllerError::TaskPanicked(error)),
    }
}
