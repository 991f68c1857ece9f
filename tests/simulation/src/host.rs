//! The hosts: boots, shutdowns, the reboot command, `/run` with the record, and the kubelet.
//!
//! Not here: the agent on the host, see `agent`.

use std::rc::Rc;
use std::time::Duration;

use cordonhold_shared::host::{Boot, HostFile, HostRecord, RebootDeadline};
use cordonhold_shared::reboot::cycle::RebootFailure;
use cordonhold_shared::reboot::moment::Uptime;
use cordonhold_shared::reboot::pod::PodView;
use serde_json::json;

use crate::api_server::{Deletion, Key, Resource, Verb};
use crate::faults::{Fault, Mixture};
use crate::pace::ZONE;
use crate::random::Random;
use crate::world::{Event, World};

/// Something that happens on a host. An event is dropped if the host has booted since it was planned.
#[derive(Clone, Debug)]
pub(crate) enum HostEvent {
    /// The agent's process with this number asked the host.
    Asked(u64),
    /// The reboot command returns, to the process with this number.
    CommandReturns(u64, Result<(), RebootFailure>),
    GoesDown,
    /// The host boots; with `is_soft` only userspace does.
    ComesUp {
        is_soft: bool,
    },
    /// The kubelet looks at its Node and its pods.
    Kubelet,
    /// The Ready condition of its Node changes.
    Ready(bool),
    PodEnds(String, String),
    PodRuns(String, String),
}

/// A shutdown that our command began shows this long before the record's deadline, at the latest. The margin is for a slow
/// reboot command.
const SHOWS_BEFORE_DEADLINE: Duration = Duration::from_secs(5);

/// A condition of the Node that turns true some time after the node is Ready, as that of a network plugin does.
pub(crate) const SETTLED: &str = "Settled";

/// The start time of PID 1, in ticks, where it is the same after every boot.
const EARLY: u64 = 12;

/// What shows that a host has booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    /// Each boot has a new boot id.
    BootId,
    /// The boot id stays, but PID 1 has another start time: a container that plays a node.
    Init,
    /// Nothing: a board that has neither a clock nor random bits when it boots.
    Nothing,
}

impl Shows {
    fn draw(mixture: &Mixture, random: &mut Random) -> Shows {
        if mixture.has(Fault::BootShowsNothing) && random.chance(2_000) {
            Shows::Nothing
        } else if mixture.has(Fault::BootIdStays) && random.chance(3_000) {
            Shows::Init
        } else {
            Shows::BootId
        }
    }
}

/// One host.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each named")]
pub(crate) struct Host {
    index: usize,
    shows: Shows,
    /// The number of boots, soft reboots included.
    pub(crate) boot: u64,
    /// The number of kernel starts.
    kernel: u64,
    /// The number of soft reboots since the kernel started.
    soft_reboots: u64,
    /// When the boot clock was 0.
    clock_began: Uptime,
    is_up: bool,
    is_ready: bool,
    /// Whether the condition [`SETTLED`] is true: some time after the node is Ready.
    is_settled: bool,
    /// Whether the sentinel exists. It is in `/run`, like the record.
    pub(crate) sentinel: bool,
    record: Option<HostFile>,
    /// From when on the host says that a shutdown is under way.
    shows_shutdown_from: Option<Uptime>,
    /// The host will go down because an agent ran the reboot command.
    pub(crate) is_doomed: bool,
    is_going_down: bool,
    ticks: u64,
}

impl Host {
    pub(crate) fn draw(index: usize, mixture: &Mixture, random: &mut Random) -> Host {
        Host {
            index,
            shows: Shows::draw(mixture, random),
            boot: 1,
            kernel: 1,
            soft_reboots: 0,
            clock_began: Uptime::START,
            is_up: true,
            is_ready: true,
            is_settled: true,
            sentinel: false,
            record: None,
            shows_shutdown_from: None,
            is_doomed: false,
            is_going_down: false,
            ticks: 0,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.is_up
    }

    /// The kernel's boot id.
    pub(crate) fn boot_id(&self) -> String {
        let kernel = if self.shows == Shows::BootId {
            self.kernel
        } else {
            1
        };
        format!("boot-{}-{kernel}", self.index)
    }

    /// The identity of the boot, as an agent sees it.
    pub(crate) fn identity(&self) -> Boot {
        let start = if self.shows == Shows::Init {
            self.kernel
        } else {
            EARLY
        };
        Boot {
            id: self.boot_id(),
            init: format!("{start}.{}", self.soft_reboots),
        }
    }

    /// Writes the record; with `told_for`, also until when a reboot that is commanded now may come.
    pub(crate) fn write_down(&mut self, record: &HostRecord, told_for: Option<Duration>, now: Uptime) {
        let clock = now.since(self.clock_began);
        self.record = Some(HostFile {
            record: record.clone(),
            written_in: self.identity().to_string(),
            // Rounded up, because a reader drops fractions of a second.
            told_until: told_for.map(|time| (clock + time).as_secs() + 1),
        });
    }

    pub(crate) fn record(&self) -> Option<HostRecord> {
        self.record.as_ref().map(|file| file.record.clone())
    }

    pub(crate) fn told(&self, now: Uptime) -> Option<RebootDeadline> {
        let clock = now.since(self.clock_began).as_secs();
        self.record.as_ref()?.told(&self.identity(), clock)
    }

    /// Removes the record; `true` if there was one.
    pub(crate) fn forget(&mut self) -> bool {
        self.record.take().is_some()
    }

    pub(crate) fn shows_shutdown(&self, now: Uptime) -> bool {
        self.shows_shutdown_from.is_some_and(|from| from <= now)
    }

    pub(crate) fn restless(&self) -> Option<&'static str> {
        if !self.is_up || self.is_going_down {
            Some("the host is down")
        } else if self.sentinel {
            Some("it still wants its reboot")
        } else {
            None
        }
    }

    /// Starts the kernel, or with `is_soft` only userspace.
    fn boot(&mut self, is_soft: bool, now: Uptime) {
        self.boot += 1;
        self.is_up = true;
        self.is_ready = false;
        self.is_settled = false;
        self.shows_shutdown_from = None;
        self.is_doomed = false;
        self.is_going_down = false;
        if is_soft {
            self.soft_reboots += 1;
            return;
        }
        self.kernel += 1;
        self.soft_reboots = 0;
        // `/run` is a tmpfs: a boot empties it.
        self.sentinel = false;
        self.record = None;
        // A container keeps its host's boot clock.
        if self.shows != Shows::Init {
            self.clock_began = now;
        }
    }
}

impl World {
    pub(crate) fn host_event(&mut self, index: usize, boot: u64, event: HostEvent) {
        if self.hosts[index].boot != boot {
            return;
        }
        match event {
            HostEvent::Asked(process) if self.hosts[index].is_up => {
                let state = self.host_says(index);
                self.host_answered(index, process, state);
            }
            HostEvent::CommandReturns(process, result) => self.command_returned(index, process, result),
            HostEvent::GoesDown => self.shut_down(index),
            HostEvent::ComesUp { is_soft } => self.come_up(index, is_soft),
            HostEvent::Kubelet if self.hosts[index].is_up => self.kubelet(index),
            HostEvent::Ready(is_ready) if self.hosts[index].is_up => {
                self.hosts[index].is_ready = is_ready;
                self.post_status(index);
            }
            HostEvent::PodEnds(name, uid) if self.hosts[index].is_up => self.end_pod(&name, &uid),
            HostEvent::PodRuns(name, uid) if self.hosts[index].is_up => self.run_pod(index, &name, &uid),
            _ => {}
        }
    }

    /// Runs the reboot command: decides what it does and what it returns.
    pub(crate) fn run_reboot_command(&mut self, index: usize, process: u64) {
        self.trace_of(index, || {
            format!("host {index}: agent {index}.{process} runs the reboot command")
        });
        let judged = self.oracle.command(index, process, self.now);
        if let Some((invariant, what)) = judged {
            self.violated(Some(index), invariant, what);
        }
        let boot = self.hosts[index].boot;
        let returns = |result| Event::Host(index, boot, HostEvent::CommandReturns(process, result));
        let failed = Err(RebootFailure::Failed("injected".to_owned()));
        let soon = self.random.millis(20, 1_500);
        if self.hosts[index].is_going_down {
            self.after(soon, returns(Ok(())));
        } else if self.draws(Fault::RebootFails) {
            self.after(soon, returns(failed));
        } else if self.draws(Fault::RebootFailsYetGoesDown) {
            // Either it fails although the shutdown shows, or it is killed before it can return.
            if self.random.below(2) == 0 {
                self.begin_shutdown(index, Duration::ZERO);
                self.after(soon, returns(failed));
            } else {
                self.lag_then_shutdown(index);
                self.after(soon, returns(Err(RebootFailure::Unclear("killed".to_owned()))));
            }
        } else if self.draws(Fault::RebootDoesNothing) {
            self.after(soon, returns(Ok(())));
        } else if self.draws(Fault::RebootHangs) {
            self.lag_then_shutdown(index);
            self.after(Duration::from_secs(60), returns(Ok(())));
        } else {
            self.lag_then_shutdown(index);
            self.after(soon, returns(Ok(())));
        }
    }

    fn lag_then_shutdown(&mut self, index: usize) {
        let timeout = self.agents[index].setup.timing.reboot_timeout;
        let longest = timeout.saturating_sub(SHOWS_BEFORE_DEADLINE);
        let lag = if self.draws(Fault::ShutdownLags) {
            self.random.millis(500, 8_000)
        } else if self.draws(Fault::ShutdownInhibited) {
            self.random.between(Duration::from_secs(8), longest)
        } else {
            self.random.millis(0, 300)
        };
        self.begin_shutdown(index, lag);
    }

    fn begin_shutdown(&mut self, index: usize, lag: Duration) {
        let drags = self.draws(Fault::ShutdownDrags);
        let rest = if drags {
            self.random.seconds(120, 2_400)
        } else {
            self.random.millis(500, 10_000)
        };
        let (now, host) = (self.now, &mut self.hosts[index]);
        host.shows_shutdown_from = Some(now + lag);
        host.is_doomed = true;
        host.is_going_down = true;
        let boot = host.boot;
        self.after(lag + rest, Event::Host(index, boot, HostEvent::GoesDown));
    }

    /// Takes the power away from the host; no agent asked for that.
    pub(crate) fn lose_power(&mut self, index: usize) {
        if self.hosts[index].is_up {
            self.go_down(index, false);
        }
    }

    /// Ends a shutdown: the host goes down.
    fn shut_down(&mut self, index: usize) {
        if self.hosts[index].is_up {
            let is_soft = self.draws(Fault::SoftReboot);
            self.go_down(index, is_soft);
        }
    }

    fn go_down(&mut self, index: usize, is_soft: bool) {
        let host = &mut self.hosts[index];
        host.is_up = false;
        if host.is_doomed {
            self.statistics.reboots += 1;
        }
        let boot = self.hosts[index].boot;
        self.trace_of(index, || {
            let what = if is_soft { ", its userspace alone" } else { "" };
            format!("host {index} goes down{what}")
        });
        self.kill(index);
        let pause = if is_soft {
            self.random.seconds(2, 10)
        } else if self.draws(Fault::SlowBoot) {
            self.random.seconds(300, 3_600)
        } else {
            self.random.seconds(4, 50)
        };
        self.after(pause, Event::Host(index, boot, HostEvent::ComesUp { is_soft }));
        if pause > Duration::from_secs(40) {
            // The node controller marks a Node without heartbeats as not Ready.
            let status = self.status(index, false);
            let kubernetes = Rc::clone(&self.people.kubernetes);
            let request = self.request(&kubernetes, self.node_key(index), Verb::MergeStatus(status));
            self.after(Duration::from_secs(40), Event::Land(Box::new(request)));
        }
    }

    fn come_up(&mut self, index: usize, is_soft: bool) {
        let ready = self.random.millis(500, 8_000);
        let agent = self.random.millis(500, 8_000);
        let now = self.now;
        self.hosts[index].boot(is_soft, now);
        if !is_soft {
            self.oracle.run_lost(index);
            match self.hosts[index].shows {
                Shows::BootId => {}
                Shows::Init => self.fired(Fault::BootIdStays),
                Shows::Nothing => self.fired(Fault::BootShowsNothing),
            }
        }
        let boot = self.hosts[index].boot;
        self.trace_of(index, || format!("host {index} is up again"));
        self.agents[index].is_start_planned = false;
        self.plan_start(index, agent);
        self.after(
            Duration::from_millis(300),
            Event::Host(index, boot, HostEvent::Kubelet),
        );
        self.after(ready, Event::Host(index, boot, HostEvent::Ready(true)));
        if self.draws(Fault::NotReadyAgain) {
            let (end, again) = (self.random.seconds(1, 40), self.random.seconds(1, 60));
            self.after(ready + end, Event::Host(index, boot, HostEvent::Ready(false)));
            self.after(
                ready + end + again,
                Event::Host(index, boot, HostEvent::Ready(true)),
            );
        }
    }

    /// Somebody removes the record from a host's `/run`, without a boot.
    pub(crate) fn clean_run(&mut self, index: usize) {
        if self.hosts[index].forget() {
            self.fired(Fault::RunCleaned);
            self.oracle.run_lost(index);
            self.trace_of(index, || format!("host {index}: somebody cleans /run"));
        }
    }

    /// Registers the Node of a host, and plans its kubelet's first run.
    pub(crate) fn boot_kubelet(&mut self, index: usize) {
        self.register(index);
        let boot = self.hosts[index].boot;
        self.after(
            Duration::from_secs(10),
            Event::Host(index, boot, HostEvent::Kubelet),
        );
    }

    fn register(&mut self, index: usize) {
        let mut node = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": { "labels": { "kubernetes.io/os": "linux" } },
        });
        if let Some(zone) = self.pace.zones.get(index).cloned().flatten() {
            node["metadata"]["labels"][ZONE] = json!(zone);
        }
        let kubernetes = Rc::clone(&self.people.kubernetes);
        let request = self.request(&kubernetes, self.node_key(index), Verb::Create(node));
        let _ = self.write(&request);
        self.post_status(index);
    }

    fn kubelet(&mut self, index: usize) {
        let boot = self.hosts[index].boot;
        let pause = self.random.seconds(15, 45);
        self.after(pause, Event::Host(index, boot, HostEvent::Kubelet));
        if self.is_down() {
            return;
        }
        if self.server.object(&self.node_key(index)).is_none() {
            return self.register(index);
        }
        self.hosts[index].ticks += 1;
        self.hosts[index].is_settled |= self.hosts[index].is_ready && self.random.chance(5_000);
        if self.hosts[index].ticks.is_multiple_of(10) || self.is_status_old(index) {
            self.post_status(index);
        }
        let name = format!("node-{index}");
        let ending: Vec<(String, String)> = self
            .server
            .all(Resource::Pods)
            .filter(|pod| pod.pod().spec.node_name == name && pod.pod().metadata.deletion_timestamp.is_some())
            .map(|pod| (pod.name().to_owned(), pod.uid().to_owned()))
            .collect();
        for (pod, uid) in ending {
            self.end_pod(&pod, &uid);
        }
        self.run_stranded_pods(index, &name);
    }

    /// Runs the pods that a reboot kept from getting ready.
    fn run_stranded_pods(&mut self, index: usize, node: &str) {
        if !self.hosts[index].is_ready {
            return;
        }
        let is_stranded = |pod: &PodView| {
            pod.spec.node_name == node && pod.metadata.deletion_timestamp.is_none() && !pod.is_ready()
        };
        let stranded: Vec<(String, String)> = self
            .server
            .all(Resource::Pods)
            .filter(|pod| is_stranded(pod.pod()))
            .map(|pod| (pod.name().to_owned(), pod.uid().to_owned()))
            .collect();
        for (pod, uid) in stranded {
            self.run_pod(index, &pod, &uid);
        }
    }

    /// Whether the Node's status does not match the host: it shows another boot, or another condition.
    fn is_status_old(&self, index: usize) -> bool {
        let (host, node) = (&self.hosts[index], self.server.object(&self.node_key(index)));
        node.is_some_and(|node| {
            let settled = node.node().condition(SETTLED);
            let is_settled = settled.is_some_and(|settled| settled.status == "True");
            node.node().is_ready_in(&host.boot_id()) != host.is_ready || is_settled != host.is_settled
        })
    }

    fn post_status(&mut self, index: usize) {
        let status = self.status(index, self.hosts[index].is_ready);
        let kubernetes = Rc::clone(&self.people.kubernetes);
        let request = self.request(&kubernetes, self.node_key(index), Verb::MergeStatus(status));
        let _ = self.write(&request);
    }

    /// The status that the kubelet writes. The heartbeat changes about every five minutes.
    fn status(&self, index: usize, is_ready: bool) -> serde_json::Value {
        let host = &self.hosts[index];
        let status = |is_true| if is_true { "True" } else { "False" };
        json!({ "status": {
            "conditions": [
                { "type": "Ready", "status": status(is_ready), "lastHeartbeatTime": host.ticks.to_string() },
                { "type": SETTLED, "status": status(host.is_settled) },
            ],
            "nodeInfo": { "bootID": host.boot_id() },
        }})
    }

    fn end_pod(&mut self, name: &str, uid: &str) {
        let deletion = Deletion {
            uid: Some(uid.to_owned()),
            grace_seconds: Some(0),
        };
        let key = Key::new(Resource::Pods, crate::world::WORKLOAD_NAMESPACE, name);
        let kubernetes = Rc::clone(&self.people.kubernetes);
        let request = self.request(&kubernetes, key, Verb::Delete(deletion));
        let _ = self.write(&request);
    }

    fn run_pod(&mut self, index: usize, name: &str, uid: &str) {
        let key = Key::new(Resource::Pods, crate::world::WORKLOAD_NAMESPACE, name);
        if self.server.object(&key).is_none_or(|pod| pod.uid() != uid) {
            return;
        }
        let kubernetes = Rc::clone(&self.people.kubernetes);
        let running = json!({ "status": {
            "phase": "Running",
            "conditions": [{ "type": "Ready", "status": "True" }],
        }});
        let request = self.request(&kubernetes, key, Verb::MergeStatus(running));
        if !self.write(&request) {
            let (boot, again) = (
                self.hosts[index].boot,
                HostEvent::PodRuns(name.to_owned(), uid.to_owned()),
            );
            self.after(Duration::from_secs(5), Event::Host(index, boot, again));
        }
    }
}
