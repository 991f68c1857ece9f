//! A small world: one Node, one lock, some pods, one host.
//!
//! It answers each request at once and atomically; a test changes it between any two requests.

use serde_json::json;

use super::*;
use crate::node::{Condition, Taint};

pub(super) const BOOT: &str = "boot-1";
/// The time at which a lock is read: long after any TTL.
const LATE: &str = "2126-01-01T00:00:00Z";

#[derive(Clone)]
pub(super) struct World {
    pub(super) node: NodeView,
    pub(super) peers: BTreeMap<String, NodeView>,
    revision: u32,
    pub(super) lock: Record,
    pub(super) lock_revision: u32,
    pub(super) pods: Vec<String>,
    pub(super) host: HostState,
    pub(super) boots: u32,
    pub(super) reboot: Result<(), RebootFailure>,
    /// What happened, in order.
    pub(super) log: Vec<String>,
    /// Answers that fail instead, once each, by the request's name.
    pub(super) fail: Vec<(&'static str, Failure, Applied)>,
}

/// Whether a write whose answer is lost was carried out.
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
            host: HostState {
                boot_id: BOOT.to_owned(),
                shutdown: Shutdown::No,
                told_for: None,
            },
            boots: 1,
            reboot: Ok(()),
            log: Vec::new(),
            fail: Vec::new(),
        }
    }

    /// Somebody changes the Node.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut NodeView)) {
        change(&mut self.node);
        self.revision += 1;
        self.node.metadata.resource_version = self.revision.to_string();
    }

    pub(super) fn annotate(&mut self, key: &str, value: &str) {
        self.change(|node| drop(node.metadata.annotations.insert(key.to_owned(), value.to_owned())));
    }

    /// Somebody else writes the phase.
    pub(super) fn label(&mut self, phase: &str) {
        self.change(|node| {
            let _ = node
                .metadata
                .labels
                .insert(keys::PHASE.to_owned(), phase.to_owned());
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

    /// As the API server does it: the version counts where the body names one.
    fn patch(&mut self, patch: &NodePatch) -> Result<NodeView, Failure> {
        let body = patch.body(
            "2026-11-23T10:00:00Z".parse().unwrap(),
            &hold::Terms {
                reboot: jiff::SignedDuration::from_mins(30),
                release: jiff::SignedDuration::from_mins(5),
            },
        );
        let version = body["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if !version.is_empty() && version != self.node.version() {
            return Err(Failure::Conflict);
        }
        self.change(|node| merge(node, &body));
        Ok(self.node.clone())
    }

    fn pool(&self) -> PoolCount {
        let nodes = || self.peers.values().chain([&self.node]);
        let unready = nodes().filter(|node| !node.is_ready());
        PoolCount {
            size: nodes().count(),
            unready: unready.map(|node| node.name().to_owned()).collect(),
        }
    }

    pub(super) fn lock_view(&self) -> LockView {
        LockView {
            version: Some(self.lock_revision.to_string()),
            record: Reading::Present(self.lock.clone()),
            expired: self.lock.expired(LATE.parse().unwrap()),
            ..LockView::default()
        }
    }

    /// A write that changes nothing makes no new version.
    fn write_lock(&mut self, write: LockWrite) -> Result<(), Failure> {
        if write.version != self.lock_view().version {
            return Err(Failure::Conflict);
        }
        if write.record != self.lock {
            self.lock = write.record;
            self.lock_revision += 1;
        }
        Ok(())
    }

    pub(super) fn answer(&mut self, request: Request) -> Input {
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
                    let _ = self.carry_out(request.clone());
                }
                match request {
                    Request::ReadNode => Input::Node(Err(failure)),
                    Request::PatchNode(_) => Input::Patched(Err(failure)),
                    Request::ReadLock => Input::Lock(Err(failure)),
                    Request::WriteLock(_) => Input::LockWritten(Err(failure)),
                    Request::ListPods => Input::PodsLeft(Err(failure)),
                    other => panic!("{other:?} does not fail here"),
                }
            }
        };
        let lost = matches!(
            answer,
            Input::Patched(Err(Failure::Conflict)) | Input::LockWritten(Err(Failure::Conflict))
        );
        self.log
            .push(format!("{name}{}", if lost { " lost" } else { "" }));
        answer
    }

    /// The request reaches the API server or the host, however late.
    pub(super) fn carry_out(&mut self, request: Request) -> Input {
        match request {
            Request::AskHost => Input::Host(self.host.clone()),
            Request::ReadNode => Input::Node(Ok(self.node.clone())),
            Request::ReadPeer(name) => Input::Peer(Ok(self.peers.get(&name).cloned())),
            Request::ListHeld => Input::Held(Ok(self
                .peers
                .values()
                .chain([&self.node])
                .filter(|node| node.label(keys::PHASE).is_some())
                .cloned()
                .collect())),
            Request::CountPool => Input::Pool(Ok(self.pool())),
            Request::ReadLock => Input::Lock(Ok(self.lock_view())),
            Request::WriteLock(write) => Input::LockWritten(self.write_lock(write)),
            Request::PatchNode(patch) => Input::Patched(self.patch(&patch)),
            Request::ListPods => Input::PodsLeft(Ok(self.pods.clone())),
            Request::Reboot { holder } => {
                self.host.told_for = Some(holder);
                Input::RebootIssued(self.reboot.clone())
            }
        }
    }
}

pub(super) fn name_of(request: &Request) -> &'static str {
    match request {
        Request::AskHost => "ask host",
        Request::ReadNode => "read node",
        Request::ReadPeer(_) => "read peer",
        Request::ListHeld => "list held",
        Request::CountPool => "count pool",
        Request::ReadLock => "read lock",
        Request::WriteLock(_) => "write lock",
        Request::PatchNode(patch) => match patch.phase {
            Some(Some(phase)) => phase.as_str(),
            Some(None) => "give back",
            None if patch.until.is_some() => "renew",
            None => "tidy",
        },
        Request::ListPods => "list pods",
        Request::Reboot { .. } => "reboot",
    }
}

/// A JSON merge patch, as far as the agent's patches go.
fn merge(node: &mut NodeView, body: &serde_json::Value) {
    let apply = |map: &mut BTreeMap<String, String>, changes: &serde_json::Value| {
        for (key, value) in changes.as_object().into_iter().flatten() {
            match value.as_str() {
                Some(value) => drop(map.insert(key.clone(), value.to_owned())),
                None => drop(map.remove(key)),
            }
        }
    };
    apply(&mut node.metadata.annotations, &body["metadata"]["annotations"]);
    apply(&mut node.metadata.labels, &body["metadata"]["labels"]);
    let Some(spec) = body["spec"].as_object() else {
        return;
    };
    if let Some(unschedulable) = spec.get("unschedulable") {
        node.spec.unschedulable = *unschedulable == json!(true);
    }
    if let Some(taints) = spec.get("taints") {
        node.spec.taints = serde_json::from_value::<Option<Vec<Taint>>>(taints.clone())
            .unwrap()
            .unwrap_or_default();
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
