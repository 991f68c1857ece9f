//! A small world: one Node, one lock, some pods, one host.
//!
//! It answers each request at once and atomically. A test can change it between any two requests.

use std::collections::VecDeque;

use super::*;
use crate::node::Condition;
use crate::reboot::blocker::{Facts, Rules};

pub(super) const BOOT: &str = "boot-1";
/// The time at which a lock is read: long after any TTL.
const LATE: &str = "2126-01-01T00:00:00Z";

pub(super) fn boot(id: &str) -> Boot {
    Boot {
        id: id.to_owned(),
        init: "1.0".to_owned(),
    }
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) node: NodeView,
    pub(super) peers: BTreeMap<String, NodeView>,
    revision: u32,
    pub(super) lock: Record,
    pub(super) lock_revision: u32,
    pub(super) pods: Vec<String>,
    /// What the node lacks of `--ready-when`.
    pub(super) missing: Vec<Missing>,
    pub(super) rules: Rules,
    pub(super) concurrency: Share,
    /// How many times the end of a reboot was noted on the lock's object.
    pub(super) ends: u32,
    pub(super) host: HostState,
    pub(super) boots: u32,
    /// The agent's wall clock.
    pub(super) now: jiff::Timestamp,
    pub(super) reboot: Result<(), RebootFailure>,
    /// The requests that were carried out, in order.
    pub(super) log: Vec<String>,
    /// Failures to answer with, by the name of the request. Each is used once.
    pub(super) fail: Vec<(&'static str, Failure, Applied)>,
    /// What a mutating webhook changes in our writes, by the name of the request. Each is used once.
    pub(super) mutate: Vec<(&'static str, Change)>,
    pub(super) carrier: Carrier,
    /// Why the lock's record cannot be read, if it cannot.
    pub(super) unreadable: Option<&'static str>,
    /// The versions that the watch has yet to deliver.
    pub(super) undelivered: VecDeque<NodeView>,
    proven: Proven,
}

/// A change that somebody makes to the Node.
pub(super) type Change = fn(&mut NodeView);

/// What the world knows of the ground for a reboot, whatever the agent believes.
#[derive(Clone, Debug, Default)]
struct Proven {
    /// The marks as the agent's last write left them. `None` if somebody has changed them, the cordon or the taint since the
    /// node was cordoned.
    marks: Option<Hold>,
    /// Whether the last seal to land has landed as it was written, on a Node that nobody had changed since it was cordoned.
    sealed: bool,
    /// Whether a reboot command was run without such a seal.
    blind: bool,
}

/// Whether a write was carried out although its answer was lost.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Applied {
    Yes,
    No,
}

impl World {
    pub(super) fn new(name: &str) -> World {
        let mut node = NodeView::default();
        node.metadata.name = name.to_owned();
        node.metadata.uid = format!("uid-{name}");
        node.metadata.resource_version = "1".to_owned();
        node.status.node_info.boot_id = BOOT.to_owned();
        node.status.conditions.push(Condition {
            kind: "Ready".to_owned(),
            status: "True".to_owned(),
            since: String::new(),
        });
        World {
            node,
            peers: BTreeMap::new(),
            revision: 1,
            lock: Record::default(),
            lock_revision: 1,
            pods: vec!["default/web".to_owned()],
            missing: Vec::new(),
            rules: Rules::default(),
            concurrency: Share::Count(1),
            ends: 0,
            host: HostState {
                boot: boot(BOOT),
                shutdown: Shutdown::No,
                record: None,
                told: None,
            },
            boots: 1,
            now: "2026-11-23T10:00:00Z".parse().unwrap(),
            reboot: Ok(()),
            log: Vec::new(),
            fail: Vec::new(),
            mutate: Vec::new(),
            carrier: Carrier::Lease,
            unreadable: None,
            undelivered: VecDeque::new(),
            proven: Proven::default(),
        }
    }

    /// Somebody changes the Node.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut NodeView)) {
        self.write(change);
        if !self.shows_what_was_written() {
            self.proven.marks = None;
        }
    }

    /// Changes the Node, whoever does it, and makes a new version that the watch has yet to deliver.
    fn write(&mut self, change: impl FnOnce(&mut NodeView)) {
        change(&mut self.node);
        self.revision += 1;
        self.node.metadata.resource_version = self.revision.to_string();
        self.undelivered.push_back(self.node.clone());
    }

    fn shows_what_was_written(&self) -> bool {
        let shown = hold::read(&self.node).present();
        let marks = self.proven.marks.as_ref();
        let is_same = shown
            .zip(marks)
            .is_some_and(|(shown, marks)| shown.is_same(marks));
        is_same && self.node.spec.unschedulable && self.node.is_tainted(keys::REBOOTING)
    }

    /// Whether a reboot was issued on anything but a seal that left exactly our marks, cordon and taint,
    /// on a Node where nobody had touched them since it was cordoned.
    pub(super) fn rebooted_blindly(&self) -> bool {
        self.proven.blind
    }

    /// A write of the agent has landed.
    fn landed(&mut self, patch: &NodePatch) {
        let is_unbroken = self.proven.marks.is_some() || patch.kind == PatchKind::Cordon;
        self.proven.marks = patch.leaves.clone().filter(|_| is_unbroken);
        if !self.shows_what_was_written() {
            self.proven.marks = None;
        }
        self.proven.sealed = patch.kind == PatchKind::Seal && self.proven.marks.is_some();
    }

    pub(super) fn annotate(&mut self, key: &str, value: &str) {
        self.change(|node| drop(node.metadata.annotations.insert(key.to_owned(), value.to_owned())));
    }

    /// Somebody else writes these marks; the webhook is down.
    pub(super) fn plant(&mut self, marks: &[(&str, &str)]) {
        self.change(|node| {
            for (key, value) in marks {
                let map = match *key {
                    keys::PHASE => &mut node.metadata.labels,
                    _ => &mut node.metadata.annotations,
                };
                drop(map.insert((*key).to_owned(), (*value).to_owned()));
            }
        });
    }

    /// Somebody else writes the phase.
    pub(super) fn label(&mut self, phase: &str) {
        self.change(|node| {
            drop(
                node.metadata
                    .labels
                    .insert(keys::PHASE.to_owned(), phase.to_owned()),
            );
        });
    }

    pub(super) fn set_unschedulable(&mut self, unschedulable: bool) {
        self.change(|node| node.spec.unschedulable = unschedulable);
    }

    /// Somebody takes the marks off, all but the taint.
    pub(super) fn strip(&mut self) {
        self.change(|node| {
            node.metadata.annotations.clear();
            node.metadata.labels.clear();
        });
    }

    /// The Node is deleted and created again under its name.
    pub(super) fn recreate(&mut self) {
        let fresh = World::new(self.node.name()).node;
        let uid = format!("{}-again", self.node.metadata.uid);
        self.change(|node| {
            *node = fresh;
            node.metadata.uid = uid;
        });
    }

    /// Somebody changes the lock.
    pub(super) fn change_lock(&mut self, change: impl FnOnce(&mut Vec<Entry>)) {
        change(&mut self.lock.entries);
        self.lock_revision += 1;
    }

    pub(super) fn phase(&self) -> Option<Phase> {
        hold::read(&self.node).present().map(|hold| hold.phase)
    }

    pub(super) fn cancel(&mut self, reason: &str) {
        let created = hold::read(&self.node).present().unwrap().holder.created;
        self.annotate(keys::CANCEL, &format!("{created} {reason}"));
    }

    /// Somebody asks for an uncordon of the held node, and the webhook defers it.
    pub(super) fn defer(&mut self, user: &str) {
        let created = hold::read(&self.node).present().unwrap().holder.created;
        self.annotate(keys::UNCORDON_WANTED, &format!("{created} - {user}"));
    }

    /// Somebody removes the deferred uncordon from the Node; the webhook is down.
    pub(super) fn strip_deferred(&mut self) {
        self.change(|node| drop(node.metadata.annotations.remove(keys::UNCORDON_WANTED)));
    }

    /// Patches the Node as the API server does: if the body names a version, it must be the Node's.
    fn patch(&mut self, patch: &NodePatch) -> Result<NodeView, Failure> {
        let terms = hold::Terms {
            reboot: jiff::SignedDuration::from_mins(30),
            release: jiff::SignedDuration::from_mins(5),
        };
        let written = patch.applied(&self.node, self.now, &terms);
        if patch.version != self.node.version() {
            return Err(Failure::Conflict);
        }
        let before = self.node.clone();
        let mutated = self
            .mutate
            .iter()
            .position(|(name, _)| *name == name_of_patch(patch))
            .map(|i| self.mutate.remove(i).1);
        self.write(|node| {
            *node = written;
            if let Some(mutate) = mutated {
                mutate(node);
            }
        });
        self.landed(patch);
        let after = &self.node;
        let is_changed = (
            &before.metadata.annotations,
            &before.metadata.labels,
            &before.spec,
        ) != (&after.metadata.annotations, &after.metadata.labels, &after.spec);
        assert!(
            is_changed || mutated.is_some(),
            "a write of ours changed nothing: {patch:?}"
        );
        Ok(self.node.clone())
    }

    fn pool(&self) -> PoolCount {
        let nodes = || self.peers.values().chain([&self.node]);
        let mut pool = PoolCount::default();
        let look = self.rules.look(self.node.name(), self.lock_view());
        nodes().for_each(|node| pool.add(node, &look));
        pool
    }

    fn blockers(&self) -> Vec<Blocker> {
        let facts = Facts {
            node: &self.node,
            lock: &self.lock_view(),
            pool: Some(&self.pool()),
            concurrency: self.concurrency,
        };
        blocker::blockers(&facts, &self.rules)
    }

    pub(super) fn lock_view(&self) -> LockView {
        LockView {
            version: Some(self.lock_revision.to_string()),
            record: match self.unreadable {
                Some(why) => Reading::Malformed(why.to_owned()),
                None => Reading::Present(self.lock.clone()),
            },
            expired: self.lock.expired(LATE.parse().unwrap()),
            carrier: self.carrier,
            ..LockView::default()
        }
    }

    /// A write that changes nothing makes no new version.
    fn write_lock(&mut self, write: LockWrite) -> Result<(), Failure> {
        if write.version != self.lock_view().version {
            return Err(Failure::Conflict);
        }
        self.ends += u32::from(write.ends_reboot);
        if write.record != self.lock || write.ends_reboot {
            self.lock = write.record;
            self.lock_revision += 1;
        }
        Ok(())
    }

    /// The host's record is written before anything is sent.
    pub(super) fn record(&mut self, request: &Ask) {
        if let Ask::PatchNode(NodePatch {
            record: Some(record), ..
        }) = request
        {
            self.host.record = Some(record.clone());
        }
    }

    pub(super) fn answer(&mut self, request: Ask) -> Input {
        let name = name_of(&request);
        let failing = self
            .fail
            .iter()
            .position(|(failing, ..)| *failing == name)
            .map(|i| self.fail.remove(i));
        let answer = match failing {
            None => self.carry_out(request),
            Some((_, failure, applied)) => {
                if applied == Applied::Yes {
                    drop(self.carry_out(request.clone()));
                } else {
                    self.record(&request);
                }
                match request {
                    Ask::ReadNode => Input::Answer(Answer::Node(Err(failure))),
                    Ask::PatchNode(_) => Input::Answer(Answer::Patched(Err(failure))),
                    Ask::ListBlockers => Input::Answer(Answer::Blockers(Err(failure))),
                    Ask::ListMissing => Input::Answer(Answer::Missing(Err(failure))),
                    Ask::ReadLock => Input::Answer(Answer::Lock(Err(failure))),
                    Ask::WriteLock(_) => Input::Answer(Answer::LockWritten(Err(failure))),
                    Ask::ListPods(_) => Input::Answer(Answer::PodsLeft(Err(failure))),
                    other => panic!("{other:?} does not fail here"),
                }
            }
        };
        let lost = matches!(
            answer,
            Input::Answer(
                Answer::Patched(Err(Failure::Conflict)) | Answer::LockWritten(Err(Failure::Conflict))
            )
        );
        self.log
            .push(format!("{name}{}", if lost { " lost" } else { "" }));
        answer
    }

    /// The request reaches the API server or the host, however late.
    pub(super) fn carry_out(&mut self, request: Ask) -> Input {
        self.record(&request);
        match request {
            Ask::AskHost => Input::Answer(Answer::Host(self.host.clone())),
            Ask::ReadNode => Input::Answer(Answer::Node(Ok(self.node.clone()))),
            Ask::ReadPeer(name) => Input::Answer(Answer::Peer(Ok(self.peers.get(&name).cloned()))),
            Ask::ListHeld => Input::Answer(Answer::Held(Ok(self
                .peers
                .values()
                .chain([&self.node])
                .filter(|node| node.label(keys::PHASE).is_some())
                .cloned()
                .collect()))),
            Ask::CountPool => Input::Answer(Answer::Pool(Ok(self.pool()))),
            Ask::ListBlockers => Input::Answer(Answer::Blockers(Ok(self.blockers()))),
            Ask::ListMissing => Input::Answer(Answer::Missing(Ok(self.missing.clone()))),
            Ask::ReadLock => Input::Answer(Answer::Lock(Ok(self.lock_view()))),
            Ask::WriteLock(write) => Input::Answer(Answer::LockWritten(self.write_lock(write))),
            Ask::PatchNode(patch) => Input::Answer(Answer::Patched(self.patch(&patch))),
            Ask::ListPods(_) => Input::Answer(Answer::PodsLeft(Ok(self.pods.clone()))),
            Ask::Reboot { record } => {
                self.proven.blind |= !self.proven.sealed;
                self.host.record = Some(record);
                self.host.told = self.reboot.is_ok().then_some(RebootDeadline::Ahead);
                Input::Answer(Answer::RebootIssued(self.reboot.clone()))
            }
        }
    }
}

pub(super) fn name_of(request: &Ask) -> &'static str {
    match request {
        Ask::AskHost => "ask host",
        Ask::ReadNode => "read node",
        Ask::ReadPeer(_) => "read peer",
        Ask::ListHeld => "list held",
        Ask::CountPool => "count pool",
        Ask::ListBlockers => "list blockers",
        Ask::ListMissing => "list missing",
        Ask::ReadLock => "read lock",
        Ask::WriteLock(_) => "write lock",
        Ask::PatchNode(patch) => name_of_patch(patch),
        Ask::ListPods(_) => "list pods",
        Ask::Reboot { .. } => "reboot",
    }
}

fn name_of_patch(patch: &NodePatch) -> &'static str {
    match patch.kind {
        PatchKind::Stamp => "wanted",
        PatchKind::Cordon => "draining",
        PatchKind::Delay => "delaying",
        PatchKind::Seal => "sealed",
        PatchKind::Return => "returning",
        PatchKind::GiveBack => "give back",
        PatchKind::Renew => "renew",
        PatchKind::Tidy => "tidy",
    }
}

/// The Node of another agent that shows this hold.
pub(super) fn peer(name: &str, created: &str, phase: Phase) -> NodeView {
    let mut world = World::new(name);
    let holder = Holder {
        node_uid: world.node.metadata.uid.clone(),
        created: created.to_owned(),
    };
    world.annotate(keys::HOLDER, &holder.to_string());
    world.label(phase.as_str());
    world.node
}
