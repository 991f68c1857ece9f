//! The world of one run: its clock, its queue of events, and everybody in it.
//!
//! It has one thread, no real clock, no random numbers but the seed's, and no collection without a fixed order. So the same seed
//! gives the same run.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Duration;

use cordonhold_shared::admission::{Mode, Requester};
use cordonhold_shared::reboot::driver::Setup;
use cordonhold_shared::reboot::moment::Uptime;

use crate::agent::{Agent, Budget, Task};
use crate::alertmanager::{Alertmanager, SilenceEvent};
use crate::api_server::{ApiServer, Caller, Commit, Key, Request, Resource, Verb, Webhook};
use crate::faults::{Fault, Mixture};
use crate::host::{Host, HostEvent};
use crate::invariants::Oracle;
use crate::network::{Call, Reply, To};
use crate::pace::Pace;
use crate::players::{Adversary, Operator, Player, Requesters};
use crate::random::Random;
use crate::trace::Trace;
use crate::{Defect, Invariant, Options, Statistics, Violation};

/// The namespace of the lock.
pub(crate) const LOCK_NAMESPACE: &str = "cordonhold";
pub(crate) const LOCK_NAME: &str = "cordonhold-default";
/// The namespace of the pods that are drained.
pub(crate) const WORKLOAD_NAMESPACE: &str = "default";

/// Something that happens at a planned time.
#[derive(Debug)]
pub(crate) enum Event {
    /// A request reaches the API server.
    Arrive(Box<Call>),
    /// An answer reaches its agent.
    Reply(To, Box<Reply>),
    /// The agent stops waiting for an answer.
    Timeout(To),
    /// The agent wakes up: a timer, a look at the sentinel or an eviction may be due.
    Wake(usize, u64),
    /// A watch delivers the events up to this version.
    Deliver(Task, u64),
    /// A watch ends; `true` if by an error.
    WatchEnds(Task, bool),
    /// A watch opens its next connection.
    WatchGoesOn(Task),
    Start(usize),
    Host(usize, u64, HostEvent),
    Player(Player),
    Operator(Operator),
    /// Something between an agent and Alertmanager.
    Silence(SilenceEvent),
    /// A write of somebody who is not an agent arrives.
    Land(Box<Request>),
    /// All faults end.
    Quiet,
    /// Checks whether everything is at rest.
    Look,
}

/// The webhook of a run. It defers uncordons in runs that have this fault class.
fn webhook(defect: Option<Defect>, mixture: &Mixture) -> Webhook {
    let mut webhook = Webhook::default();
    if mixture.has(Fault::UncordonDeferred) || defect == Some(Defect::DeferredUndone) {
        webhook.policy.modes = Mode::Defer.into();
    }
    if defect == Some(Defect::WebhookWarns) {
        webhook.policy.modes = Mode::Warn.into();
    }
    webhook.trusts_every_agent = defect == Some(Defect::WebhookTrustsEveryAgent);
    webhook
}

/// An event in the queue: its time, and a number that orders events of the same time.
struct Queued(Uptime, u64, Event);

impl PartialEq for Queued {
    fn eq(&self, other: &Queued) -> bool {
        self.1 == other.1
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Queued) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Queued) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// Who writes to the API server besides the agents.
#[derive(Debug)]
pub(crate) struct People {
    /// A controller with cluster-admin rights that uncordons.
    pub(crate) controller: Rc<Caller>,
    /// An admin who may write a cancel.
    pub(crate) admin: Rc<Caller>,
    /// Kubernetes itself: kubelets, scheduler, controllers.
    pub(crate) kubernetes: Rc<Caller>,
}

/// A violated invariant, and the node that it is about.
struct Wrong {
    invariant: Invariant,
    what: String,
    node: Option<usize>,
}

/// The index of the first node that a text names.
fn named(text: &str) -> Option<usize> {
    let mut words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '-');
    words.find_map(World::index_of)
}

/// The state of one run.
pub(crate) struct World {
    pub(crate) now: Uptime,
    queue: BinaryHeap<Reverse<Queued>>,
    queued: u64,
    pub(crate) random: Random,
    pub(crate) server: ApiServer,
    pub(crate) down_until: Uptime,
    pub(crate) down_silent: bool,
    pub(crate) agents: Vec<Agent>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) people: People,
    pub(crate) adversary: Adversary,
    pub(crate) requesters: Requesters,
    pub(crate) oracle: Oracle,
    pub(crate) alertmanager: Alertmanager,
    pub(crate) mixture: Mixture,
    pub(crate) pace: Pace,
    pub(crate) statistics: Statistics,
    pub(crate) defect: Option<Defect>,
    pub(crate) budget_blocks: bool,
    pub(crate) repair_planned: bool,
    pub(crate) pods: u64,
    pub(crate) pods_wanted: usize,
    /// The last version whose commit was processed.
    looked_at: u64,
    at_rest: u32,
    quiet_until: Uptime,
    seed: u64,
    hash: u64,
    trace: Option<Trace>,
    violation: Option<Wrong>,
}

impl World {
    pub(crate) fn new(seed: u64, options: &Options, is_traced: bool) -> World {
        let mut random = Random::new(seed);
        let mut mixture = Mixture::new(&mut random);
        if !options.tampering {
            mixture.leave_out(Fault::Tampering);
        }
        let nodes = 2 + random.index(5);
        let concurrency = 1 + random.index((nodes / 2).max(1));
        let pace = Pace::draw(seed, nodes, options.defect);
        pace.limit(&mut mixture);
        let alertmanager = Alertmanager::draw(seed, options, &mut mixture);
        let requesters = Requesters::draw(seed, options.defect, nodes, &mut mixture);
        let person = |user: &str, may_override| {
            Rc::new(Caller {
                requester: Requester {
                    user: user.to_owned(),
                    ..Requester::default()
                },
                may_override,
                process: None,
            })
        };
        let mut world = World {
            now: Uptime::START,
            queue: BinaryHeap::new(),
            queued: 0,
            server: ApiServer::new(webhook(options.defect, &mixture)),
            down_until: Uptime::START,
            down_silent: false,
            agents: Vec::new(),
            hosts: Vec::new(),
            people: People {
                controller: person("system:serviceaccount:kube-system:scaler", false),
                admin: person("admin", true),
                kubernetes: person("system:kubernetes", false),
            },
            adversary: Adversary::draw(nodes, &mut random),
            oracle: Oracle::new(&requesters, nodes, concurrency, &pace),
            requesters,
            alertmanager,
            mixture,
            pace,
            statistics: Statistics::default(),
            defect: options.defect,
            budget_blocks: false,
            repair_planned: false,
            pods: 0,
            pods_wanted: nodes + random.index(nodes),
            looked_at: 0,
            at_rest: 0,
            quiet_until: Uptime::after(options.faults + options.quiet),
            seed,
            hash: 0xcbf2_9ce4_8422_2325,
            trace: is_traced.then(|| Trace::new(options.trace_lines, nodes)),
            violation: None,
            random,
        };
        world.populate(nodes, concurrency);
        world.after(options.faults, Event::Quiet);
        world
    }

    fn populate(&mut self, nodes: usize, concurrency: usize) {
        for index in 0..nodes {
            let budget = Budget { nodes, concurrency };
            let mut agent = Agent::draw(index, budget, self.defect, &mut self.random);
            let Setup { settings, rules, .. } = &mut agent.setup;
            self.pace.set(settings, rules, self.defect);
            self.oracle.may_force(index, agent.forces_after());
            self.agents.push(agent);
            self.hosts
                .push(Host::draw(index, &self.mixture, &mut self.random));
            self.boot_kubelet(index);
            let pause = self.random.millis(0, 20_000);
            self.after(pause, Event::Start(index));
        }
        self.begin_play();
        self.look_at_commits();
    }

    /// Runs until everything is at rest, or until a violation.
    pub(crate) fn run(mut self) -> Result<Statistics, Box<Violation>> {
        while let Some(Reverse(Queued(time, _, event))) = self.queue.pop() {
            self.now = time;
            self.statistics.steps += 1;
            if !matches!(event, Event::Silence(_)) {
                self.mix(u64::try_from(time.since_start().as_micros()).unwrap_or(0));
            }
            if matches!(event, Event::Look) && self.look() {
                break;
            }
            self.happen(event);
            self.look_at_commits();
            if self.violation.is_some() {
                break;
            }
        }
        self.statistics.virtual_time = self.now.since_start();
        self.statistics.runs = 1;
        self.statistics.exempt = self.oracle.exempted();
        self.mix(self.server.version());
        self.statistics.hash = self.hash;
        match self.violation {
            None => Ok(self.statistics),
            Some(Wrong {
                invariant,
                what,
                node,
            }) => {
                let (trace, of_node) = self.trace.map(|trace| trace.end(node)).unwrap_or_default();
                Err(Box::new(Violation {
                    seed: self.seed,
                    time: self.now.since_start(),
                    invariant,
                    what,
                    trace,
                    of_node,
                }))
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive(call) => self.arrive(&call),
            Event::Reply(to, reply) => self.replied(to, *reply),
            Event::Timeout(to) => self.replied(to, Reply::Silence),
            Event::Wake(agent, process) => self.wake(agent, process),
            Event::Deliver(task, up_to) => self.deliver(task, up_to),
            Event::WatchEnds(task, is_error) => self.watch_ends(task, is_error),
            Event::WatchGoesOn(task) => self.watch_goes_on(task),
            Event::Start(agent) => self.start(agent),
            Event::Host(host, boot, event) => self.host_event(host, boot, event),
            Event::Player(player) => self.play(player),
            Event::Operator(operator) => self.operate(operator),
            Event::Silence(event) => self.silence_event(event),
            Event::Land(request) => {
                let _ = self.write(&request);
            }
            Event::Quiet => self.quiet(),
            Event::Look => {}
        }
    }

    fn mix(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x0100_0000_01b3);
    }

    pub(crate) fn after(&mut self, pause: Duration, event: Event) {
        self.at(self.now + pause, event);
    }

    pub(crate) fn at(&mut self, time: Uptime, event: Event) {
        self.queued += 1;
        self.queue
            .push(Reverse(Queued(time.max(self.now), self.queued, event)));
    }

    pub(crate) fn fired(&mut self, fault: Fault) {
        self.statistics.fired.count(fault);
    }

    /// Draws whether a fault of this class happens now, and counts it.
    pub(crate) fn draws(&mut self, fault: Fault) -> bool {
        let rate = self.mixture.rate(fault);
        let fires = self.random.chance(rate);
        if fires {
            self.fired(fault);
        }
        fires
    }

    pub(crate) fn trace(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.add(self.now, &line(), None);
        }
    }

    /// Adds a trace line about this node.
    pub(crate) fn trace_of(&mut self, node: usize, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.add(self.now, &line(), Some(node));
        }
    }

    /// Adds a trace line about an object: for its node, or for every node if it is the lock.
    pub(crate) fn trace_object(&mut self, key: &Key, line: impl FnOnce() -> String) {
        let nodes = match key.resource {
            Resource::Nodes => World::index_of(&key.name).map_or(0..0, |index| index..index + 1),
            Resource::Leases => 0..self.hosts.len(),
            Resource::Pods | Resource::DaemonSets | Resource::PodDisruptionBudgets => 0..0,
        };
        if let Some(trace) = &mut self.trace {
            trace.add(self.now, &line(), nodes);
        }
    }

    /// Ends the run with a violation of this node. `None`: of the first that `what` names.
    pub(crate) fn violated(&mut self, node: Option<usize>, invariant: Invariant, what: String) {
        if self.violation.is_none() {
            self.violation = Some(Wrong {
                invariant,
                node: node.or_else(|| named(&what)),
                what,
            });
        }
    }

    /// Carries out a request of somebody who is not an agent; `true` if it worked. It fails while the API server is down.
    pub(crate) fn write(&mut self, request: &Request) -> bool {
        if self.is_down() {
            return false;
        }
        let result = self.server.handle(request, self.now);
        let is_done = result.is_ok();
        self.trace_object(&request.key, || {
            let outcome = match &result {
                Ok(_) => "done".to_owned(),
                Err(status) => format!("{} {}", status.code, status.reason),
            };
            let (user, key) = (&request.caller.requester.user, &request.key);
            format!("{user}: {} {:?}: {outcome}", key.name, request.verb)
        });
        self.look_at_commits();
        is_done
    }

    pub(crate) fn request(&self, caller: &Rc<Caller>, key: Key, verb: Verb) -> Request {
        let _ = self;
        Request {
            caller: Rc::clone(caller),
            key,
            verb,
        }
    }

    pub(crate) fn is_down(&self) -> bool {
        self.now < self.down_until
    }

    pub(crate) fn node_key(&self, index: usize) -> Key {
        let _ = self;
        Key::node(&format!("node-{index}"))
    }

    pub(crate) fn lock_key() -> Key {
        Key::new(Resource::Leases, LOCK_NAMESPACE, LOCK_NAME)
    }

    /// The index of the node with this name.
    pub(crate) fn index_of(name: &str) -> Option<usize> {
        name.strip_prefix("node-")?.parse().ok()
    }

    /// Gives each new commit to the watches, to Kubernetes' controllers and to the oracle.
    pub(crate) fn look_at_commits(&mut self) {
        while let Some(commit) = self.next_commit() {
            self.looked_at = commit.version;
            self.mix(commit.version);
            self.tell_watches(&commit);
            self.control(&commit);
            self.note_hold(&commit);
            let found = self.oracle.commit(&commit, &self.server, &self.hosts, self.now);
            if let Some((invariant, what)) = found {
                self.violated(World::index_of(&commit.key.name), invariant, what);
            }
        }
    }

    fn next_commit(&self) -> Option<Commit> {
        self.server.commits_after(self.looked_at).next().cloned()
    }

    /// Ends all faults, and repairs what was broken or left behind.
    fn quiet(&mut self) {
        self.trace(|| "the faults end".to_owned());
        self.mixture.end();
        self.end_play();
        self.after(Duration::from_secs(60), Event::Look);
    }

    /// Whether the run is over: everything has been at rest for a while, or the time for that is over, which is a violation.
    fn look(&mut self) -> bool {
        let restless = self.restless();
        self.at_rest = if restless.is_none() { self.at_rest + 1 } else { 0 };
        self.check_silences(self.at_rest);
        if self.at_rest >= 12 {
            if let Some((node, invariant, what)) = self.oracle.at_rest(&self.server) {
                self.violated(Some(node), invariant, what);
            }
            return true;
        }
        if self.now > self.quiet_until {
            let (node, what) = restless.unwrap_or_else(|| (None, "not at rest for long enough".to_owned()));
            self.violated(node, Invariant::NothingStuck, what);
            return true;
        }
        self.after(Duration::from_secs(60), Event::Look);
        false
    }

    /// What is not at rest yet, and on which node; `None` if everything is.
    fn restless(&self) -> Option<(Option<usize>, String)> {
        for (index, (agent, host)) in self.agents.iter().zip(&self.hosts).enumerate() {
            let what = host.restless().map(str::to_owned).or_else(|| agent.restless());
            if let Some(what) = what {
                return Some((Some(index), format!("node-{index}: {what}")));
            }
        }
        self.oracle.restless(&self.server)
    }
}
