//! Carries out the driver's calls and the drain's tasks: some by the host, the others by the API server.
//!
//! Not here: which call comes next and what a reply means; the real driver decides that.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use cordonhold_shared::hold::{self, PatchKind};
use cordonhold_shared::host::HostRecord;
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::api_status::Failed;
use cordonhold_shared::reboot::blocker::Found;
use cordonhold_shared::reboot::cycle::{Ask, HostState, PoolCount, RebootFailure, Shutdown};
use cordonhold_shared::reboot::drain::{Done, Evicted, Task};
use cordonhold_shared::reboot::driver::{self, Call};
use cordonhold_shared::reboot::lock_object::CarrierView;
use cordonhold_shared::reboot::moment::Uptime;
use cordonhold_shared::reboot::pod::DaemonSet;
use cordonhold_shared::reboot::prometheus;
use serde_json::{Value, json};

use super::{Purpose, effect_of};
use crate::Defect;
use crate::api_server::{Answer, Deletion, Key, Request, Resource, Selector, Stored, Verb};
use crate::faults::{Effect, Fault, Moment};
use crate::host::HostEvent;
use crate::network::{Message, Reply};
use crate::world::{Event, World};

impl World {
    pub(super) fn begin_call(&mut self, agent: usize, call: Call) {
        let call = self.with_flaw(agent, call);
        match call {
            Call::LookAtSentinel => {
                let is_unreadable = self.draws(Fault::SentinelUnreadable);
                let found = (!is_unreadable).then(|| self.hosts[agent].sentinel);
                return self.call_ends(agent, driver::Reply::Sentinel(found, "a package".to_owned()));
            }
            Call::Forget => {
                let _ = self.hosts[agent].forget();
                return self.call_ends(agent, driver::Reply::Forgotten);
            }
            Call::WriteRecord(record) => {
                let written = self.write_record(agent, &record);
                return self.call_ends(agent, driver::Reply::Recorded(written));
            }
            // Answered at once, like the look-ups of a drain.
            Call::LookUp(daemon_sets) => {
                let missing = self.missing(daemon_sets);
                return self.call_ends(agent, driver::Reply::Missing(Ok(missing)));
            }
            // Somebody outside of the cluster, who answers at once or not at all.
            Call::Query(_) => {
                let found = self.query();
                return self.call_ends(agent, driver::Reply::Found(found));
            }
            Call::AskHost => self.ask_host(agent),
            Call::Reboot {
                record,
                timeout,
                deadline,
            } => self.reboot(agent, &record, timeout, deadline),
            call => self.ask_api_server(agent, call),
        }
        let asked = self.process(agent).and_then(|process| process.driver.asked());
        if let Some(effect) = asked.map(effect_of) {
            let _ = self.dies(agent, effect, Moment::UnderWay);
        }
    }

    /// Changes a call as the [`Defect`] under test says.
    fn with_flaw(&mut self, agent: usize, mut call: Call) -> Call {
        let Some(defect) = self.defect else { return call };
        let node = self.agents[agent].node.clone();
        let keeps_cordon = defect == Defect::DeferredUndone && self.shows_deferred_over_cordon(agent);
        let asked = self.process(agent).and_then(|process| process.driver.asked());
        let kind = match asked {
            Some(Ask::PatchNode(patch)) => Some(patch.kind),
            _ => None,
        };
        match (defect, &mut call) {
            (Defect::SealOnAnyVersion, Call::PatchNode { body, .. }) if kind == Some(PatchKind::Seal) => {
                forget_version(body);
            }
            (Defect::GiveBackOnAnyVersion, Call::PatchNode { body, .. })
                if kind == Some(PatchKind::GiveBack) =>
            {
                forget_version(body);
            }
            (Defect::AlwaysUncordons, Call::PatchNode { body, .. }) if kind == Some(PatchKind::GiveBack) => {
                body["spec"]["unschedulable"] = Value::Null;
            }
            (Defect::AccountLost, Call::PatchNode { body, .. }) if kind == Some(PatchKind::GiveBack) => {
                if let Some(annotations) = body["metadata"]["annotations"].as_object_mut() {
                    drop(annotations.remove(keys::LAST_REBOOT));
                }
            }
            (Defect::DeferredUndone, Call::PatchNode { body, .. })
                if kind == Some(PatchKind::GiveBack) && keeps_cordon =>
            {
                body["spec"]["unschedulable"] = json!(true);
            }
            (Defect::LockOnAnyVersion, Call::PatchLock { body, .. }) => forget_version(body),
            (Defect::NoDeadline, Call::Reboot { deadline, .. }) => {
                *deadline = Some(Uptime::after(Duration::MAX));
            }
            (Defect::AttemptsUncounted, Call::WriteRecord(record) | Call::Reboot { record, .. }) => {
                record.attempts = 0;
            }
            (Defect::EndsUnnoted, Call::PatchLock { body, .. }) => {
                if let Some(annotations) = body["metadata"]["annotations"].as_object_mut() {
                    drop(annotations.remove(keys::LAST_REBOOT));
                }
            }
            (Defect::RequestsForgotten, Call::PatchLock { body, .. }) => {
                if let Some(annotations) = body["metadata"]["annotations"].as_object_mut() {
                    drop(annotations.remove(keys::REQUESTS_USED));
                }
            }
            (_, Call::PatchLock { body, .. }) => {
                if let Some(Ask::WriteLock(write)) = asked {
                    let mut record = write.record.clone();
                    if defect == Defect::AttemptsUncounted {
                        record.entries.iter_mut().for_each(|entry| entry.attempts = 0);
                        body["metadata"]["annotations"][keys::LOCK] = json!(record.render());
                    }
                    if defect == Defect::NeverReleases && record.of_node(&node).is_none() {
                        *body = json!({});
                    }
                }
            }
            _ => {}
        }
        call
    }

    /// Whether the agent's Node shows a deferred uncordon, and that it was cordoned before the hold.
    fn shows_deferred_over_cordon(&self, agent: usize) -> bool {
        let shown = self.server.object(&self.node_key(agent));
        shown.is_some_and(|node| {
            let was = node.annotation(keys::WAS_UNSCHEDULABLE);
            was == Some("true") && hold::deferred_of_hold(node.node()).is_some()
        })
    }

    fn write_record(&mut self, agent: usize, record: &HostRecord) -> Result<(), String> {
        if self.draws(Fault::RecordUnwritable) {
            return Err("the host's record cannot be written: injected".to_owned());
        }
        self.oracle.writes_down(agent, record);
        self.hosts[agent].write_down(record, None, self.now);
        Ok(())
    }

    /// What Prometheus answers: nothing, a series that blocks, or no series.
    fn query(&mut self) -> Result<Found, String> {
        if self.draws(Fault::QueryUnanswered) {
            return Err("no answer in time".to_owned());
        }
        let result = if self.draws(Fault::QueryBlocks) {
            json!([{ "metric": { "__name__": "up" }, "value": [0, "0"] }])
        } else {
            json!([])
        };
        let body = json!({ "status": "success", "data": { "resultType": "vector", "result": result } });
        prometheus::read(body.to_string().as_bytes()).map(Found::Series)
    }

    fn missing(&self, daemon_sets: BTreeSet<DaemonSet>) -> BTreeSet<DaemonSet> {
        daemon_sets
            .into_iter()
            .filter(|daemon_set| !self.server.has_daemon_set(daemon_set))
            .collect()
    }

    fn ask_api_server(&mut self, agent: usize, call: Call) {
        let nodes = || Key::new(Resource::Nodes, "", "");
        let (key, verb) = match &call {
            Call::ReadNode(name) => (Key::node(name), Verb::Get),
            Call::ListNodes(labels) | Call::CountNodes { labels, .. } => {
                (nodes(), Verb::List(Selector::labels(labels)))
            }
            Call::PatchNode { name, body } => {
                self.note_cordon(agent);
                (Key::node(name), Verb::Merge(body.clone()))
            }
            Call::ReadLock(_) => (World::lock_key(), Verb::Get),
            Call::ApplyLease(body) => (World::lock_key(), Verb::Apply(body.clone())),
            Call::PatchLock { body, .. } => (World::lock_key(), Verb::Merge(body.clone())),
            Call::ListPods | Call::ListAllPods => {
                let selector = Selector::fields(&format!("spec.nodeName={}", self.agents[agent].node));
                (Key::new(Resource::Pods, "", ""), Verb::List(selector))
            }
            Call::LookAtSentinel
            | Call::AskHost
            | Call::WriteRecord(_)
            | Call::Forget
            | Call::Reboot { .. }
            | Call::LookUp(_)
            | Call::Query(_)
            | Call::ListBlockingPods(_)
            | Call::AskObject(_)
            | Call::ListBudgets
            | Call::ListInhibitors => return,
        };
        self.request_for(agent, Purpose::Call(call), key, verb);
    }

    pub(super) fn request_for(&mut self, agent: usize, purpose: Purpose, key: Key, verb: Verb) {
        let Some(process) = self.process(agent) else {
            return;
        };
        let caller = Rc::clone(&process.caller);
        let request = Request { caller, key, verb };
        self.send(agent, purpose, Message::Request(request));
    }

    /// Tells the oracle when an agent sends a cordon patch, and for which hold.
    fn note_cordon(&mut self, agent: usize) {
        let asked = self.process(agent).and_then(|process| process.driver.asked());
        let cordon = match asked {
            Some(Ask::PatchNode(patch)) if patch.kind == PatchKind::Cordon => patch.leaves.as_ref(),
            _ => None,
        };
        if let Some(created) = cordon.map(|leaves| leaves.holder.created.clone()) {
            self.oracle.cordons(agent, &created);
        }
    }

    fn ask_host(&mut self, agent: usize) {
        let pause = self.random.millis(5, 200);
        let Some(process) = self.process(agent) else {
            return;
        };
        let event = HostEvent::Asked(process.number);
        let boot = self.hosts[agent].boot;
        self.after(pause, Event::Host(agent, boot, event));
    }

    /// The host's answer when an agent asks it.
    pub(crate) fn host_says(&mut self, agent: usize) -> HostState {
        let is_mute = self.draws(Fault::HostMute);
        let host = &self.hosts[agent];
        let shutdown = if self.defect == Some(Defect::ShutdownUnseen) {
            Shutdown::No
        } else if is_mute {
            Shutdown::Unknown("injected".to_owned())
        } else if host.shows_shutdown(self.now) {
            Shutdown::UnderWay
        } else {
            Shutdown::No
        };
        HostState {
            shutdown,
            record: host.record(),
            told: host.told(self.now),
            boot: host.identity(),
        }
    }

    /// Writes into the host's record until when the reboot may come, and runs the reboot command. Does not run it after the
    /// deadline.
    fn reboot(&mut self, agent: usize, record: &HostRecord, timeout: Duration, deadline: Option<Uptime>) {
        let pause = self.random.millis(1, 30);
        let boot = self.hosts[agent].boot;
        let Some(number) = self.process(agent).map(|process| process.number) else {
            return;
        };
        let not_run = |why| Event::Host(agent, boot, HostEvent::CommandReturns(number, Err(why)));
        if self.draws(Fault::RecordUnwritable) {
            let failed = RebootFailure::Failed("the host's record cannot be written: injected".to_owned());
            return self.after(pause, not_run(failed));
        }
        self.hosts[agent].write_down(record, Some(timeout), self.now);
        if self.dies(agent, Effect::Reboot, Moment::Recorded) {
            return;
        }
        if deadline.is_none_or(|end| self.now >= end) {
            return self.after(pause, not_run(RebootFailure::Expired));
        }
        self.run_reboot_command(agent, number);
    }

    /// Starts a task of the drain. An eviction goes to the API server; the other tasks are answered at once.
    pub(super) fn begin_drain_task(&mut self, agent: usize, epoch: u64, task: Task) {
        let done = match task {
            Task::Evict(pod) => {
                let key = Key::new(Resource::Pods, &pod.metadata.namespace, &pod.metadata.name);
                let uid = pod.metadata.uid;
                let deletion = Deletion {
                    uid: Some(uid.clone()),
                    grace_seconds: None,
                };
                return self.request_for(agent, Purpose::Evict(epoch, uid), key, Verb::Evict(deletion));
            }
            Task::LookUp(daemon_set) => {
                let exists = self.server.has_daemon_set(&daemon_set);
                let is_lost = self.random.chance(500);
                let result = if is_lost {
                    Err("injected".to_owned())
                } else {
                    Ok(exists)
                };
                Done::LookedUp(daemon_set, result)
            }
            Task::ListVolumes => {
                let is_attached = self.random.chance(5_000);
                Done::Volumes(Ok(vec!["csi-1".to_owned(); usize::from(is_attached)]))
            }
        };
        self.end_drain_task(agent, epoch, done);
    }

    pub(super) fn evicted(&mut self, agent: usize, epoch: u64, uid: String, reply: Reply) {
        let evicted = match reply {
            Reply::Answer(Ok(_)) => Evicted::Accepted,
            Reply::Answer(Err(status)) => status.error_status().evicted(status.message.clone()),
            Reply::Watching(_) | Reply::Refused | Reply::Silence => Evicted::Failed("no answer".to_owned()),
        };
        self.end_drain_task(agent, epoch, Done::Evicted(uid, evicted));
        self.pump(agent);
    }

    fn end_drain_task(&mut self, agent: usize, epoch: u64, done: Done) {
        let (at, number) = (self.moment(agent), self.random.number());
        if let Some(process) = self.process(agent) {
            drop(process.driver.done(epoch, done, at, number));
        }
    }
}

/// The driver's reply that an answer of the API server, or no answer, gives to a call. `None` for calls that do not go to the
/// API server.
pub(super) fn understand(call: &Call, reply: Reply) -> Option<driver::Reply> {
    let result = match reply {
        Reply::Answer(result) => {
            result.map_err(|status| status.error_status().failed(status.message.clone()))
        }
        Reply::Watching(_) | Reply::Refused => Err(Failed::unknown("connection refused".to_owned())),
        Reply::Silence => Err(Failed::unknown("no answer in time".to_owned())),
    };
    Some(match call {
        Call::ReadNode(_) | Call::PatchNode { .. } => driver::Reply::Node(result.map(one_node)),
        Call::ListNodes(_) => driver::Reply::Nodes(result.map(|answer| nodes(&answer).cloned().collect())),
        Call::CountNodes { look, .. } => driver::Reply::Pool(result.map(|answer| {
            let mut pool = PoolCount::default();
            nodes(&answer).for_each(|node| pool.add(node, look));
            pool
        })),
        Call::ReadLock(_) | Call::ApplyLease(_) | Call::PatchLock { .. } => {
            driver::Reply::Lock(result.and_then(lease))
        }
        Call::ListPods | Call::ListAllPods => {
            let pods = |answer| many(&answer).iter().map(|object| object.pod().clone()).collect();
            driver::Reply::Pods(result.map(pods))
        }
        Call::LookAtSentinel
        | Call::AskHost
        | Call::WriteRecord(_)
        | Call::Forget
        | Call::Reboot { .. }
        | Call::LookUp(_)
        | Call::Query(_)
        | Call::ListBlockingPods(_)
        | Call::AskObject(_)
        | Call::ListBudgets
        | Call::ListInhibitors => return None,
    })
}

fn forget_version(body: &mut Value) {
    if let Some(metadata) = body["metadata"].as_object_mut() {
        drop(metadata.remove("resourceVersion"));
    }
}

fn one_node(answer: Answer) -> NodeView {
    match answer {
        Answer::Object(object) => object.node().clone(),
        Answer::List(..) | Answer::Done => NodeView::default(),
    }
}

fn many(answer: &Answer) -> &[Stored] {
    match answer {
        Answer::List(items, _) => items,
        Answer::Object(_) | Answer::Done => &[],
    }
}

fn nodes(answer: &Answer) -> impl Iterator<Item = &NodeView> {
    many(answer).iter().map(|object| object.node())
}

fn lease(answer: Answer) -> Result<CarrierView, Failed> {
    let lease = match answer {
        Answer::Object(object) => object.carrier().cloned(),
        Answer::List(..) | Answer::Done => None,
    };
    lease.ok_or_else(|| Failed::unknown("no object that could carry a lock".to_owned()))
}
