//! The agent's loop: it carries out each effect that the driver asks for, and hands the result back to the driver.
//!
//! Not here: deciding what to do next, see [`cordonhold_shared::reboot::driver`].

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use cordonhold_rt::events;
use cordonhold_rt::pause::random;
use cordonhold_rt::shutdown::Signals;
use cordonhold_rt::watch::Target;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::cycle::{DrainNews, Event, Input, Report};
use cordonhold_shared::reboot::drain::{Done, Evicted, Task, Trouble};
use cordonhold_shared::reboot::driver::{Chance, Defect, Driver, Effect, Observed, Reply, Setup, Source};
use cordonhold_shared::reboot::moment::Moment;
use cordonhold_shared::watch::Change;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch as watch_channel};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::api::Api;
use crate::clock::Clock;
use crate::conditions;
use crate::host::Host;
use crate::host::sentinel::Sentinel;
use crate::metrics::Metrics;
use crate::notify::outbox::{Outbox, Post};
use crate::prometheus::Prometheus;
use crate::replacements::{self, Follower};
use crate::report::{NodeEvents, Reporter, Sink, post};
use crate::silence::{Silencer, Silences};

mod calls;

use calls::Hands;

/// Why the loop ended without a signal.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum AgentError {
    #[error("the task `{0}` ended, which is a bug in the agent: the agent ends, so that it is restarted")]
    TaskEnded(&'static str),
    #[error("a task of the agent panicked, which is a bug: the agent ends, so that it is restarted")]
    TaskPanicked(#[source] JoinError),
    #[error(
        "the system gives no random bits, without which the agent writes nothing: look at the kernel of the host, or at what forbids the system call getrandom"
    )]
    NoRandomBits(#[source] getrandom::Error),
    #[error(
        "the agent got an answer that it did not expect ({}, in the stage `{}`), which is a bug in the agent: the agent ends, so that it is restarted",
        .0.answer, .0.stage
    )]
    UnexpectedAnswer(Defect),
}

/// Everything that an agent needs to run, made at the start.
pub(crate) struct Parts {
    pub(crate) setup: Setup,
    pub(crate) api: Api,
    pub(crate) host: Host,
    pub(crate) sentinel: Sentinel,
    pub(crate) prometheus: Option<Prometheus>,
    /// The queue of messages to people, and what sends them; `None` if they go nowhere.
    pub(crate) messages: Option<(Outbox, Post)>,
    /// What shows the hold to the task that keeps silences, and that task; `None` if there are none to keep.
    pub(crate) silences: Option<(Silencer, Silences)>,
    pub(crate) metrics: Arc<Metrics>,
}

/// A running agent: the driver, and the calls, watches and tasks that are under way for it.
struct Agent {
    driver: Driver,
    node: String,
    hands: Hands,
    metrics: Arc<Metrics>,
    follower: Follower,
    /// Whether there is a `--reboot-delay`.
    has_delay: bool,
    reporter: Reporter,
    /// Passes our Node, as last seen, to the task that writes its conditions.
    shown: Option<watch_channel::Sender<NodeView>>,
    /// Passes our hold to the task that keeps silences.
    silencer: Option<Silencer>,
    tasks: JoinSet<&'static str>,
    /// The task of each watch, by [`Source`].
    watches: [Option<AbortHandle>; 3],
    /// Changes from the watches of the Node and the lock.
    changes: Channel,
    /// Changes from the watch of pods. They have a channel of their own, because a drain goes on while a call is open.
    pods: Channel,
    /// The call that has no reply yet.
    call: Option<BoxFuture<'static, Reply>>,
    /// The drain's tasks. Each gives its result with the epoch that the driver gave it.
    drain_tasks: FuturesUnordered<BoxFuture<'static, (u64, Done)>>,
}

/// Both ends of a channel for changes from watches.
type Channel = (mpsc::Sender<Message>, mpsc::Receiver<Message>);

/// A change from a watch, with the epoch that the driver gave that watch.
struct Message {
    epoch: u64,
    observed: Observed,
}

/// Most changes that wait in a channel. If it is full, the watch waits.
const CHANGES_MAX: usize = 64;
/// Most Events on the Node that wait to be written. More are dropped.
const NOTICES_MAX: usize = 32;
/// Longest wait at the end for what is under way. It must be shorter than the DaemonSet's `terminationGracePeriodSeconds`.
const END_BOUND: Duration = Duration::from_secs(25);

impl Parts {
    /// Runs the agent until a signal comes. Nothing is undone then: the next agent process goes on from the marks.
    pub(crate) async fn run(self, signals: &mut Signals) -> Result<(), AgentError> {
        let mut agent = Agent::new(self);
        loop {
            agent.carry_out_all()?;
            tokio::select! {
                // A signal comes first, however much else there is to do.
                biased;
                signal = signals.next() => {
                    info!(event = "stopping", node = agent.node, signal, "ending; nothing is undone, the next agent goes on from the marks");
                    agent.end(signals).await;
                    return Ok(());
                }
                happened = agent.next_happening() => happened?,
            }
        }
    }
}

impl Agent {
    fn new(parts: Parts) -> Agent {
        let signs = parts.setup.settings.signs.clone();
        let (notices, waiting_notices) = events::queue(NOTICES_MAX);
        let clock = Clock::start();
        let node = parts.setup.settings.node.clone();
        let has_delay = !parts.setup.timing.reboot_delay.is_zero();
        let (outbox, messages) = parts.messages.unzip();
        let (follower, told) = Follower::new(Arc::clone(&parts.metrics));
        let (silencer, kept) = parts.silences.unzip();
        let mut sinks: Vec<Box<dyn Sink>> = vec![Box::new(NodeEvents(notices))];
        sinks.extend(outbox.clone().map(|outbox| Box::new(outbox) as Box<dyn Sink>));
        let mut agent = Agent {
            driver: Driver::new(parts.setup, clock.now()),
            hands: Hands {
                api: parts.api,
                host: Arc::new(parts.host),
                sentinel: parts.sentinel,
                clock,
                prometheus: parts.prometheus,
                outbox,
            },
            reporter: Reporter::new(&node, sinks, Arc::clone(&parts.metrics)),
            node,
            metrics: parts.metrics,
            follower,
            has_delay,
            shown: None,
            silencer,
            tasks: JoinSet::new(),
            watches: [None, None, None],
            changes: mpsc::channel(CHANGES_MAX),
            pods: mpsc::channel(CHANGES_MAX),
            call: None,
            drain_tasks: FuturesUnordered::new(),
        };
        let api = agent.hands.api.clone();
        let writing = post(api.client().clone(), agent.node.clone(), waiting_notices);
        drop(agent.spawn("write Events", writing));
        let following = replacements::follow(
            api.clone(),
            clock,
            Arc::clone(&agent.metrics),
            agent.node.clone(),
            told,
        );
        drop(agent.spawn("follow replacements", following));
        if let Some(messages) = messages {
            drop(agent.spawn("send messages", messages.run()));
        }
        if let Some(kept) = kept {
            drop(agent.spawn("keep silences", kept.run()));
        }
        if signs.shows_conditions {
            let (sender, shown) = watch_channel::channel(NodeView::default());
            agent.shown = Some(sender);
            drop(agent.spawn("write conditions", conditions::keep(api, signs, shown)));
        }
        agent
    }

    /// Carries out effects until the driver has no more.
    fn carry_out_all(&mut self) -> Result<(), AgentError> {
        while let Some(effect) = self.driver.next(self.moment(), chance()?) {
            debug!(?effect, "carrying out");
            self.carry_out(effect)?;
        }
        self.metrics.stands(self.driver.standing(self.hands.clock.now()));
        if let Some(silencer) = &self.silencer {
            silencer.show(self.reporter.uid(), &self.driver.cycle().held());
        }
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect) -> Result<(), AgentError> {
        match effect {
            Effect::Took(input) => self.took(&input),
            Effect::Armed(_) | Effect::Disarmed(_) => {}
            Effect::LockMoved => self.lock_moved(),
            Effect::Watch { source, epoch, from } => self.watch(source, epoch, from),
            Effect::StopWatch(source) => self.stop_watch(source),
            Effect::Report(report) => {
                match report {
                    Report::Delaying { .. } if self.has_delay => self.follower.delay_begins(),
                    Report::Sealed { .. } => self.follower.delay_ends(),
                    _ => {}
                }
                self.reporter.tell(&report);
            }
            Effect::Count(count) => self.metrics.count(count),
            Effect::Call(call) => {
                if let Some(asked) = self.driver.asked() {
                    self.metrics.health.asking(asked.name());
                }
                self.call = Some(Box::pin(self.hands.clone().carry_out(call)));
            }
            Effect::Drain(epoch, task) => self.drain(epoch, task),
            Effect::End(defect) => return Err(AgentError::UnexpectedAnswer(defect)),
        }
        Ok(())
    }

    fn drain(&mut self, epoch: u64, task: Task) {
        let evicted = match &task {
            Task::Evict(pod) => Some(pod.clone()),
            Task::LookUp(_) | Task::ListVolumes => None,
        };
        let done = self.hands.api.clone().carry_out(task);
        let (follower, clock) = (self.follower.clone(), self.hands.clock);
        self.drain_tasks.push(Box::pin(async move {
            let at = clock.moment();
            let done = done.await;
            if let (Some(pod), Done::Evicted(_, Evicted::Accepted)) = (evicted, &done) {
                follower.evicted(pod, at);
            }
            (epoch, done)
        }));
    }

    /// Logs and passes on what an input says, once the cycle has taken that input.
    fn took(&mut self, input: &Input) {
        if let Input::Event(Event::Drain(DrainNews::Drained(_))) = input {
            info!(event = "drained", node = self.node, "nothing is left to evict");
        }
        let Some(node) = input.node() else { return };
        self.reporter.learn(node);
        if let Some(shown) = &self.shown {
            drop(shown.send_replace(node.clone()));
        }
    }

    /// Waits for the next thing that happens, and hands it to the driver.
    async fn next_happening(&mut self) -> Result<(), AgentError> {
        let wake = self.driver.next_wake(self.hands.clock.now());
        tokio::select! {
            reply = reply_to(&mut self.call) => self.replied(reply),
            // While a call is open the driver would only queue them, without a bound. The channel has one.
            Some(message) = self.changes.1.recv(), if !self.driver.is_open() => self.observed(message),
            Some(message) = self.pods.1.recv() => self.observed(message),
            Some((epoch, done)) = self.drain_tasks.next() => self.done(epoch, done),
            () = self.hands.clock.at(wake) => {}
            Some(ended) = self.tasks.join_next() => must_be_cancelled(ended)?,
        }
        Ok(())
    }

    fn replied(&mut self, reply: Reply) {
        self.call = None;
        self.driver.replied(reply, self.moment());
        if self.driver.asked().is_none() {
            self.metrics.health.waiting();
        }
    }

    fn observed(&mut self, message: Message) {
        let at = self.moment();
        self.driver.observed(message.epoch, message.observed, at);
    }

    fn done(&mut self, epoch: u64, done: Done) {
        let node = &self.node;
        if let Done::Evicted(uid, evicted) = &done {
            self.metrics.count(evicted.count());
            if *evicted == Evicted::Accepted {
                debug!(event = "pod_evicted", node, uid, "evicted a pod");
            }
        }
        let Some(Trouble { of, budget, why }) = self.driver.done(epoch, done, self.moment(), random()) else {
            return;
        };
        if let Some(budget) = budget {
            warn!(
                event = "eviction_blocked",
                node,
                pod = of,
                budget,
                reason = why,
                "a PodDisruptionBudget blocks an eviction: trying again; it allows the eviction once more of its pods are healthy, or its minAvailable is lower"
            );
        } else {
            warn!(
                event = "eviction_failed",
                node,
                pod = of,
                reason = why,
                "an eviction failed or was refused: trying again; look at the admission webhook or the permission that refuses it"
            );
        }
    }

    fn moment(&self) -> Moment {
        self.hands.clock.moment()
    }

    fn lock_moved(&self) {
        let lock = self.driver.lock_object();
        warn!(
            event = "lock_moved",
            node = self.node,
            lock = %lock,
            annotation = lock.key,
            "the lock is on the {lock} now: a reboot that has its lock elsewhere is called off at the final check"
        );
    }

    fn watch(&mut self, source: Source, epoch: u64, from: Option<String>) {
        self.stop_watch(source);
        let api = self.hands.api.clone();
        let (changes, pods) = (self.changes.0.clone(), self.pods.0.clone());
        let task = match source {
            Source::Node => {
                let target = api.node_target();
                self.spawn(
                    "watch the Node",
                    follow(&api, target, from, changes, epoch, Observed::Node),
                )
            }
            Source::Lock => {
                let target = Api::lock_target(self.driver.lock_object());
                self.spawn(
                    "watch the lock",
                    follow(&api, target, from, changes, epoch, Observed::Lock),
                )
            }
            Source::Pods => {
                let target = api.pods_target();
                self.spawn(
                    "watch pods",
                    follow(&api, target, from, pods, epoch, Observed::Pods),
                )
            }
        };
        self.watches[source as usize] = Some(task);
    }

    fn stop_watch(&mut self, source: Source) {
        if let Some(task) = self.watches[source as usize].take() {
            task.abort();
        }
        if source == Source::Pods {
            self.drain_tasks.clear();
        }
    }

    /// Starts nothing more, and waits for what has begun, for the messages to people, and for the silences.
    async fn end(&mut self, signals: &mut Signals) {
        self.stop_watch(Source::Pods);
        let outbox = self.hands.outbox.clone();
        let messages = async {
            if let Some(outbox) = &outbox {
                outbox.end().await;
            }
        };
        let silences = async {
            if let Some(silencer) = &self.silencer {
                silencer.end().await;
            }
        };
        let _ = tokio::join!(messages, silences, self.finish(signals));
    }

    /// Waits for the answers to evictions, and for the end of a reboot command, which would be killed with its container.
    /// [`END_BOUND`] or a second signal ends the wait.
    async fn finish(&self, signals: &mut Signals) {
        let (api, host, node) = (&self.hands.api, &self.hands.host, &self.node);
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
            () = sleep(END_BOUND) => "they took too long",
            signal = signals.next() => signal,
        };
        let (evictions, commands) = open();
        warn!(
            event = "cut_off",
            node,
            why,
            evictions,
            commands,
            "ending without these answers: the PodDisruptionBudget of an eviction may allow no other for two minutes"
        );
    }

    /// Starts a background task. It gives its name when it ends, which is an error unless it was aborted.
    fn spawn(&mut self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.tasks.spawn(async move {
            work.await;
            name
        })
    }
}

/// Watches the target and sends each change to the loop, until the loop is gone.
fn follow<T: Clone + DeserializeOwned + Send + 'static>(
    api: &Api,
    target: Target,
    from: Option<String>,
    listener: mpsc::Sender<Message>,
    epoch: u64,
    observed: fn(Change<T>) -> Observed,
) -> impl Future<Output = ()> + Send + use<T> {
    let changes = api.watch(target, from);
    async move {
        let mut changes = pin!(changes);
        while let Some(change) = changes.next().await {
            let observed = observed(change);
            if listener.send(Message { epoch, observed }).await.is_err() {
                return;
            }
        }
    }
}

/// Waits for the reply to the open call; for ever if none is open.
async fn reply_to(call: &mut Option<BoxFuture<'static, Reply>>) -> Reply {
    match call {
        Some(call) => call.await,
        None => pending().await,
    }
}

/// Draws the random numbers for the driver. The proof comes from the system's generator, so that nobody can guess it before the
/// write that carries it.
fn chance() -> Result<Chance, AgentError> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(AgentError::NoRandomBits)?;
    Ok(Chance {
        proof: u128::from_le_bytes(bits),
        number: random(),
    })
}

/// Checks how a task ended. Tasks run until they are aborted, so any other end is an error.
fn must_be_cancelled(ended: Result<&'static str, JoinError>) -> Result<(), AgentError> {
    match ended {
        Ok(name) => Err(AgentError::TaskEnded(name)),
        Err(error) if error.is_cancelled() => Ok(()),
        Err(error) => Err(AgentError::TaskPanicked(error)),
    }
}
