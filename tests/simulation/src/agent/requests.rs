//! The cycle's requests as calls, and their answers as the cycle understands them: the real agent's `api.rs` in virtual time.

use std::rc::Rc;

use cordonhold_shared::hold::{self, NodePatch, PatchKind};
use cordonhold_shared::host::HostRecord;
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::cycle::{
    self, Ask, Failure, HostState, Input, PoolCount, RebootFailure, Shutdown, Timer,
};
use cordonhold_shared::reboot::lock_object::{self, Carrier, CarrierView, LockView, LockWrite};
use cordonhold_shared::reboot::pod::{self, PodView};
use serde::Deserialize as _;
use serde_json::Value;

use super::{Open, Purpose};
use crate::Flaw;
use crate::api_server::{Answer, Key, Request, Resource, Selector, Status, Stored, Verb};
use crate::faults::{Effect, Fault, Moment};
use crate::host::HostEvent;
use crate::network::{Message, Reply};
use crate::world::{Event, LOCK_NAME, LOCK_NAMESPACE, World};

/// Which call of a request is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Only,
    /// The Lease is created before it is written.
    Creating,
}

impl World {
    pub(super) fn ask(&mut self, agent: usize, asked: &Ask) {
        let effect = effect_of(asked);
        if self.dies(agent, effect, Moment::Before) {
            return;
        }
        let Some(process) = self.agents[agent].process.as_mut() else {
            return;
        };
        let creates = matches!(asked, Ask::WriteLock(write) if write.version.is_none());
        let stage = if creates { Stage::Creating } else { Stage::Only };
        process.open = Some(Open {
            asked: asked.clone(),
            effect,
            stage,
        });
        self.carry_out(agent, asked);
        let is_open = self.agents[agent]
            .process
            .as_ref()
            .is_some_and(|process| process.open.is_some());
        if is_open {
            let _ = self.dies(agent, effect, Moment::UnderWay);
        }
    }

    fn carry_out(&mut self, agent: usize, asked: &Ask) {
        let own = self.node_key(agent);
        let nodes = || Key::new(Resource::Nodes, "", "");
        match asked {
            Ask::AskHost => self.ask_host(agent),
            Ask::Reboot { record } => self.reboot(agent, record),
            Ask::ReadNode => self.call(agent, own, Verb::Get),
            Ask::ReadPeer(name) => self.call(agent, Key::node(name), Verb::Get),
            Ask::ListHeld => {
                let selector = Selector::labels(&hold::held_selector(&self.agents[agent].policy.pool));
                self.call(agent, nodes(), Verb::List(selector));
            }
            Ask::CountPool => self.call(agent, nodes(), Verb::List(Selector::default())),
            Ask::ReadLock => self.call(agent, World::lock_key(), Verb::Get),
            Ask::ListPods(_) => {
                let selector = Selector::fields(&format!("spec.nodeName={}", own.name));
                self.call(agent, Key::new(Resource::Pods, "", ""), Verb::List(selector));
            }
            Ask::PatchNode(patch) => self.patch_node(agent, patch),
            Ask::WriteLock(write) => self.write_lock(agent, write),
        }
    }

    fn call(&mut self, agent: usize, key: Key, verb: Verb) {
        self.call_for(agent, Purpose::Cycle, key, verb);
    }

    pub(super) fn call_for(&mut self, agent: usize, purpose: Purpose, key: Key, verb: Verb) {
        let Some(process) = self.process(agent) else {
            return;
        };
        let caller = Rc::clone(&process.caller);
        let request = Request { caller, key, verb };
        self.send(agent, purpose, Message::Request(request));
    }

    fn patch_node(&mut self, agent: usize, patch: &NodePatch) {
        if let Some(record) = &patch.record {
            if self.draws(Fault::RecordUnwritable) {
                return self.refuse(agent, "the host's record cannot be written: injected");
            }
            self.oracle.writes_down(agent, record);
            let record = self.counted(record);
            self.hosts[agent].write_down(&record, None, self.now);
            if self.dies(agent, kind_of(patch.kind), Moment::Recorded) {
                return;
            }
        }
        if let Some(leaves) = patch.leaves.as_ref().filter(|_| patch.kind == PatchKind::Cordon) {
            self.oracle.cordons(agent, &leaves.holder.created);
        }
        let who = &self.agents[agent];
        let mut body = patch.body(who.clock(self.now), &who.timing.terms());
        let is_give_back = patch.kind == PatchKind::GiveBack;
        let is_seal = patch.kind == PatchKind::Seal;
        match self.flaw {
            Some(Flaw::SealOnAnyVersion) if is_seal => forget_version(&mut body),
            Some(Flaw::GiveBackOnAnyVersion) if is_give_back => forget_version(&mut body),
            Some(Flaw::AlwaysUncordons) if is_give_back => body["spec"]["unschedulable"] = Value::Null,
            _ => {}
        }
        self.call(agent, Key::node(&patch.name), Verb::Merge(body));
    }

    /// The record that reaches the host.
    fn counted(&self, record: &HostRecord) -> HostRecord {
        let mut record = record.clone();
        if self.flaw == Some(Flaw::AttemptsUncounted) {
            record.attempts = 0;
        }
        record
    }

    /// Nothing is sent.
    fn refuse(&mut self, agent: usize, why: &str) {
        let pause = self.random.millis(1, 30);
        if let Some(to) = self.agents[agent].open_call(Purpose::Cycle) {
            let refused = Reply::Answer(Err(Status::new(422, "Invalid", why)));
            self.after(pause, Event::Reply(to, Box::new(refused)));
        }
    }

    fn write_lock(&mut self, agent: usize, write: &LockWrite) {
        let mut write = write.clone();
        if self.flaw == Some(Flaw::AttemptsUncounted) {
            write
                .record
                .entries
                .iter_mut()
                .for_each(|entry| entry.attempts = 0);
        }
        match &write.version {
            None => {
                let empty =
                    lock_object::registration(LOCK_NAMESPACE, LOCK_NAME, &self.agents[agent].policy.pool);
                self.call(agent, World::lock_key(), Verb::Apply(empty));
            }
            Some(version) => self.swap_lock(agent, &write, version),
        }
    }

    fn swap_lock(&mut self, agent: usize, write: &LockWrite, version: &str) {
        let who = &self.agents[agent];
        let is_release = write.record.entries.iter().all(|entry| entry.node != who.node);
        let mut body = lock_object::patch(write, keys::LOCK, version, who.clock(self.now));
        match self.flaw {
            Some(Flaw::LockOnAnyVersion) => forget_version(&mut body),
            Some(Flaw::NeverReleases) if is_release => {
                return self.call(
                    agent,
                    World::lock_key(),
                    Verb::Merge(Value::Object(serde_json::Map::new())),
                );
            }
            _ => {}
        }
        self.call(agent, World::lock_key(), Verb::Merge(body));
    }

    /// The input that a reply is, or `None` where the request goes on.
    pub(super) fn understand(&mut self, agent: usize, reply: Reply) -> Option<Input> {
        let now = self.agents[agent].clock(self.now);
        let open = self.process(agent)?.open.as_mut()?;
        let result = match reply {
            Reply::Answer(result) => result,
            Reply::Watching(_) | Reply::Refused => Err(Status::new(0, "", "connection refused")),
            Reply::Silence => Err(Status::new(0, "", "no answer in time")),
        };
        let failed = |status: &Status| status.refusal().failure(status.message.clone());
        let input = match &open.asked {
            Ask::ReadNode => Input::Answer(cycle::Answer::Node(
                result.map_err(|status| failed(&status)).map(one_node),
            )),
            Ask::PatchNode(_) => Input::Answer(cycle::Answer::Patched(
                result.map_err(|status| failed(&status)).map(one_node),
            )),
            Ask::ReadPeer(name) => Input::Answer(cycle::Answer::Peer(match result {
                Ok(answer) => Ok(Some(one_node(answer))),
                Err(status) if status.refusal().is_gone(name) => Ok(None),
                Err(status) => Err(failed(&status)),
            })),
            Ask::ListHeld => {
                Input::Answer(cycle::Answer::Held(result.map_err(|status| failed(&status)).map(
                    |answer| many(&answer).iter().map(|object| object.node().clone()).collect(),
                )))
            }
            Ask::CountPool => Input::Answer(cycle::Answer::Pool(
                result.map_err(|status| failed(&status)).map(|answer| {
                    let nodes = many(&answer).iter().map(|object| object.node());
                    PoolCount {
                        size: nodes.clone().count(),
                        unready: nodes
                            .filter(|node| !node.is_ready())
                            .map(|node| node.name().to_owned())
                            .collect(),
                    }
                }),
            )),
            Ask::ReadLock => Input::Answer(cycle::Answer::Lock(
                match result.map_err(|status| failed(&status)) {
                    Ok(answer) => Ok(lease_of(&answer)
                        .map(|lease| lease.lock(Carrier::Lease, keys::LOCK, now))
                        .unwrap_or_default()),
                    Err(Failure::NotFound) => Ok(LockView::default()),
                    Err(failure) => Err(failure),
                },
            )),
            Ask::ListPods(kept) => {
                let kept = kept.clone();
                Input::Answer(cycle::Answer::PodsLeft(
                    result.map_err(|status| failed(&status)).map(|answer| {
                        let pods: Vec<PodView> =
                            many(&answer).iter().map(|object| object.pod().clone()).collect();
                        let named = pod::daemon_sets(&pods).into_iter();
                        let missing = named
                            .filter(|daemon_set| !self.server.has_daemon_set(daemon_set))
                            .collect();
                        pod::left(&pods, &missing, &kept, None, now)
                    }),
                ))
            }
            Ask::WriteLock(write) if open.stage == Stage::Creating => match result {
                Ok(answer) => {
                    let (write, version) = (write.clone(), lease_of(&answer)?.version_if_empty());
                    open.stage = Stage::Only;
                    match version {
                        Some(version) => {
                            self.swap_lock(agent, &write, &version);
                            return None;
                        }
                        None => Input::Answer(cycle::Answer::LockWritten(Err(Failure::Conflict))),
                    }
                }
                Err(status) => Input::Answer(cycle::Answer::LockWritten(Err(failed(&status)))),
            },
            Ask::WriteLock(_) => Input::Answer(cycle::Answer::LockWritten(
                result.map(drop).map_err(|status| failed(&status)),
            )),
            Ask::AskHost | Ask::Reboot { .. } => return None,
        };
        Some(input)
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

    /// What the host says when it is asked.
    pub(crate) fn host_says(&mut self, agent: usize) -> HostState {
        let is_mute = self.draws(Fault::HostMute);
        let host = &self.hosts[agent];
        let shutdown = if self.flaw == Some(Flaw::ShutdownUnseen) {
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

    /// Records it, and until when it may come, and runs the reboot command, unless the deadline is over.
    fn reboot(&mut self, agent: usize, record: &HostRecord) {
        let timeout = self.agents[agent].timing.reboot_timeout;
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
        let record = self.counted(record);
        self.hosts[agent].write_down(&record, Some(timeout), self.now);
        if self.dies(agent, Effect::Reboot, Moment::Recorded) {
            return;
        }
        let deadline = self
            .process(agent)
            .and_then(|process| process.timers.end(Timer::Deadline));
        let is_over = deadline.is_none_or(|end| self.now >= end);
        if is_over && self.flaw != Some(Flaw::NoDeadline) {
            return self.after(pause, not_run(RebootFailure::Expired));
        }
        self.run_reboot_command(agent, number);
    }
}

fn effect_of(asked: &Ask) -> Effect {
    match asked {
        Ask::AskHost => Effect::AskHost,
        Ask::ReadNode => Effect::ReadNode,
        Ask::ReadPeer(_) => Effect::ReadPeer,
        Ask::ListHeld => Effect::ListHeld,
        Ask::CountPool => Effect::CountPool,
        Ask::ReadLock => Effect::ReadLock,
        Ask::WriteLock(_) => Effect::WriteLock,
        Ask::ListPods(_) => Effect::ListPods,
        Ask::Reboot { .. } => Effect::Reboot,
        Ask::PatchNode(patch) => kind_of(patch.kind),
    }
}

fn kind_of(patch: PatchKind) -> Effect {
    match patch {
        PatchKind::Stamp => Effect::Stamp,
        PatchKind::Cordon => Effect::Cordon,
        PatchKind::Delay => Effect::Delay,
        PatchKind::Renew => Effect::Renew,
        PatchKind::Seal => Effect::Seal,
        PatchKind::Return => Effect::Return,
        PatchKind::GiveBack => Effect::GiveBack,
        PatchKind::Tidy => Effect::Tidy,
    }
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

fn lease_of(answer: &Answer) -> Option<CarrierView> {
    match answer {
        Answer::Object(object) => CarrierView::deserialize(&object.value).ok(),
        Answer::List(..) | Answer::Done => None,
    }
}
