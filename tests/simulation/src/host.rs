//! The hosts: boot ids, shutdowns and the commands that begin them, the sentinel, the kubelet.
//!
//! Not here: what an agent makes of it.

use std::rc::Rc;
use std::time::Duration;

use cordonhold_shared::cycle::RebootFailure;
use serde_json::json;

use crate::api_server::{Deletion, Key, Resource, Verb};
use crate::faults::Fault;
use crate::world::{Event, World};

/// What happens to a host, in the boot that it is for.
#[derive(Clone, Debug)]
pub(crate) enum HostEvent {
    /// An agent's process asked it.
    Asked(u64),
    /// To the process that ran the command.
    CommandReturns(u64, Result<(), RebootFailure>),
    GoesDown,
    ComesUp,
    /// The kubelet looks at its Node and its pods.
    Kubelet,
    /// Its Ready condition changes.
    Ready(bool),
    PodEnds(String, String),
    PodRuns(String, String),
}

/// The longest that a shutdown stays unseen: below the seal's deadline, which is what makes a look at the host evidence.
const LAG_MAX_MILLIS: u64 = 8_000;

/// One host.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each named")]
pub(crate) struct Host {
    pub(crate) boot: u64,
    is_up: bool,
    is_ready: bool,
    pub(crate) sentinel: bool,
    /// The record in its `/run`.
    pub(crate) told_for: Option<String>,
    /// From when on it says that a shutdown is under way.
    shows_shutdown_from: Option<Duration>,
    /// It will go down because an agent asked for it.
    pub(crate) is_doomed: bool,
    is_going_down: bool,
    ticks: u64,
}

impl Host {
    pub(crate) fn new() -> Host {
        Host {
            boot: 1,
            is_up: true,
            is_ready: true,
            sentinel: false,
            told_for: None,
            shows_shutdown_from: None,
            is_doomed: false,
            is_going_down: false,
            ticks: 0,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.is_up
    }

    pub(crate) fn boot_id(&self, index: usize) -> String {
        format!("boot-{index}-{}", self.boot)
    }

    pub(crate) fn shows_shutdown(&self, now: Duration) -> bool {
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
            HostEvent::GoesDown => self.go_down(index),
            HostEvent::ComesUp => self.come_up(index),
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

    /// The reboot command: what it does, and what it says.
    pub(crate) fn run_reboot_command(&mut self, index: usize, process: u64) {
        self.trace(|| format!("host {index}: agent {index}.{process} runs the reboot command"));
        let judged = self.oracle.command(index, process, self.now);
        if let Some((invariant, what)) = judged {
            self.violated(invariant, what);
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
            self.begin_shutdown(index, Duration::ZERO);
            self.after(soon, returns(failed));
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
        let lag = if self.draws(Fault::ShutdownLags) {
            self.random.millis(500, LAG_MAX_MILLIS)
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

    /// Without being asked.
    pub(crate) fn lose_power(&mut self, index: usize) {
        if self.hosts[index].is_up {
            self.go_down(index);
        }
    }

    fn go_down(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        if !host.is_up {
            return;
        }
        host.is_up = false;
        if host.is_doomed {
            self.statistics.reboots += 1;
        }
        let boot = self.hosts[index].boot;
        self.trace(|| format!("host {index} goes down"));
        self.kill(index);
        let pause = if self.draws(Fault::SlowBoot) {
            self.random.seconds(300, 3_600)
        } else {
            self.random.seconds(4, 50)
        };
        self.after(pause, Event::Host(index, boot, HostEvent::ComesUp));
        if pause > Duration::from_secs(40) {
            // The node controller: no heartbeat.
            let status = self.status(index, false);
            let kubernetes = Rc::clone(&self.people.kubernetes);
            let request = self.request(&kubernetes, self.node_key(index), Verb::MergeStatus(status));
            self.after(Duration::from_secs(40), Event::Land(Box::new(request)));
        }
    }

    fn come_up(&mut self, index: usize) {
        let ready = self.random.millis(500, 8_000);
        let agent = self.random.millis(500, 8_000);
        let host = &mut self.hosts[index];
        host.boot += 1;
        host.is_up = true;
        host.is_ready = false;
        // On tmpfs.
        host.sentinel = false;
        host.told_for = None;
        host.shows_shutdown_from = None;
        host.is_doomed = false;
        host.is_going_down = false;
        let boot = host.boot;
        self.trace(|| format!("host {index} is up again"));
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

    /// The first Node of a host, and its kubelet's first look.
    pub(crate) fn boot_kubelet(&mut self, index: usize) {
        self.register(index);
        let boot = self.hosts[index].boot;
        self.after(
            Duration::from_secs(10),
            Event::Host(index, boot, HostEvent::Kubelet),
        );
    }

    fn register(&mut self, index: usize) {
        let node = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": { "labels": { "kubernetes.io/os": "linux" } },
        });
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
    }

    /// Whether the Node shows another boot, or that it is not Ready although it is.
    fn is_status_old(&self, index: usize) -> bool {
        let (host, node) = (&self.hosts[index], self.server.object(&self.node_key(index)));
        node.is_some_and(|node| node.node().is_ready_in(&host.boot_id(index)) != host.is_ready)
    }

    fn post_status(&mut self, index: usize) {
        let status = self.status(index, self.hosts[index].is_ready);
        let kubernetes = Rc::clone(&self.people.kubernetes);
        let request = self.request(&kubernetes, self.node_key(index), Verb::MergeStatus(status));
        let _ = self.write(&request);
    }

    /// The heartbeat is written once in about five minutes.
    fn status(&self, index: usize, is_ready: bool) -> serde_json::Value {
        let host = &self.hosts[index];
        let ready = if is_ready { "True" } else { "False" };
        json!({ "status": {
            "conditions": [{ "type": "Ready", "status": ready, "lastHeartbeatTime": host.ticks.to_string() }],
            "nodeInfo": { "bootID": host.boot_id(index) },
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
