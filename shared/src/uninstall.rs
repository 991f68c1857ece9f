//! The uninstall: which writes come next until a cluster carries nothing of Cordonhold.
//!
//! [`next`] judges one look at the cluster. The caller carries the writes out and looks again, so each write may fail, and the program may
//! be started anew at any point.
//! The order keeps every promise until the end: no new reboot, then no hold, then no agent, and only then is anything taken away. An agent
//! writes its wish without a lock, so a Node is cleaned only once no agent runs that could write there again.
//! Not here: reading and writing (the webhook's `uninstall`), and what an agent makes of a cancel ([`crate::reboot::cycle`]).

use std::collections::BTreeSet;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::Reading;
use crate::admission::SKEW;
use crate::hold::{self, Hold, NodePatch, Phase, Terms};
use crate::keys;
use crate::lock::{self, EntryId, Record};
use crate::node::NodeView;
use crate::quote::quoted;
use crate::reboot::lock_object::{Carrier, LockView, SeenLock};

/// The reason in each pause and cancel that an uninstall writes. A pause with another reason is a person's.
pub const REASON: &str = "cordonhold is being uninstalled";

/// A patch of an uninstall sets none of the times that these are for.
const TERMS: Terms = Terms {
    reboot: SignedDuration::ZERO,
    release: SignedDuration::ZERO,
};

/// What becomes of a hold whose agent is silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeadHolds {
    /// The uninstall stops and names it.
    #[default]
    Stop,
    /// Its cordon is given back in the agent's place, unless its host may be rebooting.
    GiveBack,
}

/// What was seen of the cluster: the locks first, then the pods, then the Nodes.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The objects that may carry a lock.
    pub locks: Vec<SeenLock>,
    /// What runs agents and what makes certificates: `DaemonSet`s and `Deployment`s of ours.
    pub workloads: Vec<Object>,
    /// The names of the nodes on which pods of these workloads run, or have run until the node was lost.
    pub pods_on: BTreeSet<String>,
    /// `DaemonSet`s of others that run only where [`keys::AGENT`] is set.
    pub selecting: Vec<Object>,
    /// Every Node.
    pub nodes: Vec<NodeView>,
    /// The Secrets that were made by ours.
    pub secrets: Vec<Object>,
}

/// The kinds of the objects that an uninstall writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A Node.
    Node,
    /// The lock of a pool.
    Lease,
    /// That of agents, or kured's.
    DaemonSet,
    /// What makes certificates.
    Deployment,
    /// The certificates.
    Secret,
}

/// An object by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for a Node.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// `Node NAME`, `Lease NAMESPACE/NAME`.
impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Node => write!(f, "Node {}", self.name),
            Kind::Lease | Kind::DaemonSet | Kind::Deployment | Kind::Secret => {
                write!(f, "{:?} {}/{}", self.kind, self.namespace, self.name)
            }
        }
    }
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What it does, for people.
    pub says: String,
    /// What is written.
    pub object: Object,
    /// How.
    pub write: Write,
}

/// How an object is written.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// By this JSON merge patch.
    Patch(Value),
    /// Its status, by this strategic merge patch.
    Status(Value),
    /// It is deleted, and what it owns after it.
    Delete,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// These writes, in this order; then look again.
    Write(Vec<Step>),
    /// Nothing but to look again later: each line says what is waited for.
    Wait(Vec<String>),
    /// The uninstall must stop: each line says why, and what to do.
    Stop(Vec<String>),
    /// Nothing of Cordonhold is left but what the installer itself removes.
    Done,
}

/// What becomes of a Node that an agent is at work on.
enum Fate {
    /// No agent is at work on it.
    Free,
    /// Its hold is cancelled first.
    Cancel,
    /// Its agent ends the hold. The text says what is waited for.
    Ending(String),
    /// The hold is ended in the agent's place.
    GiveBack(Hold),
    /// Nobody may end the hold. The text says why, and what to do.
    Stuck(String),
}

/// What one part of the order has to do: first the writes, and if there is none, the waits.
#[derive(Default)]
struct Part {
    steps: Vec<Step>,
    waits: Vec<String>,
}

impl Part {
    fn deletes(objects: &[Object]) -> Self {
        let steps = objects.iter().map(|object| Step {
            says: format!("deleted {object}"),
            object: object.clone(),
            write: Write::Delete,
        });
        Self {
            steps: steps.collect(),
            waits: Vec::new(),
        }
    }
}

/// What comes next. `now` is the time at which the cluster was looked at.
pub fn next(seen: &Seen, dead_holds: DeadHolds, now: Timestamp) -> Next {
    let look = Look {
        seen,
        dead_holds,
        now,
    };
    let obstacles = look.obstacles();
    if !obstacles.is_empty() {
        return Next::Stop(obstacles);
    }
    let order = [
        Look::pause,
        Look::end_holds,
        Look::remove_workloads,
        Look::wait_for_pods,
        Look::clean_nodes,
        Look::remove_locks,
        Look::remove_secrets,
    ];
    for part in order {
        let Part { steps, waits } = part(&look);
        if !steps.is_empty() {
            return Next::Write(steps);
        }
        if !waits.is_empty() {
            return Next::Wait(waits);
        }
    }
    Next::Done
}

/// The writes that let reboots begin again after an uninstall that stopped: they take back its own pauses. None once the agents are gone.
pub fn resumed(seen: &Seen) -> Vec<Step> {
    let is_ours = |lock: &&SeenLock| lock.view.annotation(keys::PAUSE) == Some(REASON);
    let locks = seen.locks.iter().filter(is_ours);
    let has_agents = seen.has_agents();
    locks
        .filter(|_| has_agents)
        .map(|lock| Step {
            says: format!("resumed reboots on {}", lock.object),
            object: target(lock),
            write: annotated(keys::PAUSE, None),
        })
        .collect()
}

impl Seen {
    /// How many Nodes carry anything of Cordonhold.
    pub fn carriers(&self) -> usize {
        let carries = |node: &&NodeView| !hold::traces(node).is_empty();
        self.nodes.iter().filter(carries).count()
    }

    fn has_agents(&self) -> bool {
        self.workloads.iter().any(|object| object.kind == Kind::DaemonSet)
    }

    fn node(&self, name: &str) -> Option<&NodeView> {
        self.nodes.iter().find(|node| node.name() == name)
    }
}

/// One look at the cluster, and by what it is judged.
struct Look<'a> {
    seen: &'a Seen,
    dead_holds: DeadHolds,
    now: Timestamp,
}

impl Look<'_> {
    /// Why nothing may be done: what a person has to do first.
    fn obstacles(&self) -> Vec<String> {
        let selecting = self.seen.selecting.iter().map(|object| {
            format!(
                "{object} runs only on nodes with the label {key}, which an uninstall removes: take {key} out of its nodeSelector first",
                key = keys::AGENT
            )
        });
        let unreadable = self.locks().filter_map(|(_, lock)| match lock.record {
            Reading::Malformed(why) => Some(why),
            Reading::Absent | Reading::Present(_) => None,
        });
        let stuck = self.fates().filter_map(|(_, fate)| match fate {
            Fate::Stuck(why) => Some(why),
            Fate::Free | Fate::Cancel | Fate::Ending(_) | Fate::GiveBack(_) => None,
        });
        selecting.chain(unreadable).chain(stuck).collect()
    }

    /// No new reboot begins. The write makes a new version of the lock, so an agent that has read it before cannot acquire it any more.
    fn pause(&self) -> Part {
        if !self.seen.has_agents() {
            return Part::default();
        }
        let running = self.seen.locks.iter();
        let running = running.filter(|lock| lock.view.annotation(keys::PAUSE).is_none());
        let steps = running.map(|lock| Step {
            says: format!("paused reboots on {}", lock.object),
            object: target(lock),
            write: annotated(keys::PAUSE, Some(REASON)),
        });
        Part {
            steps: steps.collect(),
            waits: Vec::new(),
        }
    }

    /// Each hold ends: its agent ends it, or it is ended in the place of one that is gone. Then its place in the lock.
    fn end_holds(&self) -> Part {
        let mut part = Part::default();
        for (node, fate) in self.fates() {
            match fate {
                Fate::Free | Fate::Stuck(_) => {}
                Fate::Cancel => part.steps.push(cancelled(node)),
                Fate::Ending(what) => part.waits.push(what),
                Fate::GiveBack(hold) => part.steps.push(self.given_back(node, &hold)),
            }
        }
        let is_named = |node: &str| part.waits.iter().any(|wait| wait.starts_with(&of_node(node)));
        let mut entries: Vec<String> = self.open_entries().collect();
        entries.retain(|node| !is_named(node));
        let of_entries = entries.iter().map(|node| {
            format!(
                "{}its place in the lock is not over: a reboot command may have been run, and its agent waits for the host",
                of_node(node)
            )
        });
        part.waits.extend(of_entries);
        part
    }

    fn remove_workloads(&self) -> Part {
        Part::deletes(&self.seen.workloads)
    }

    /// A pod on a node that is not Ready counts as ended: the API server shows it until the node is back, and its token ends with it.
    fn wait_for_pods(&self) -> Part {
        let is_ready = |name: &&String| self.seen.node(name).is_some_and(NodeView::is_ready);
        let running = self.seen.pods_on.iter().filter(is_ready);
        Part {
            steps: Vec::new(),
            waits: running
                .map(|node| format!("{}its pod of ours has not ended yet", of_node(node)))
                .collect(),
        }
    }

    fn clean_nodes(&self) -> Part {
        Part {
            steps: self
                .seen
                .nodes
                .iter()
                .filter_map(|node| self.cleaned(node))
                .collect(),
            waits: Vec::new(),
        }
    }

    /// The next write that takes something of ours off a Node that no agent is at work on; `None` if nothing is left there.
    fn cleaned(&self, node: &NodeView) -> Option<Step> {
        let traces = hold::traces(node);
        if traces.is_empty() {
            return None;
        }
        if hold::has_marks(node) {
            let is_cancelled = node
                .annotation(keys::CANCEL)
                .is_some_and(|text| hold::cancel_flaw(node, text).is_none());
            return Some(match hold::read(node).present() {
                _ if !is_cancelled => cancelled(node),
                Some(hold) => self.given_back(node, &hold),
                None => self.patched(node, &NodePatch::without_marks(node), "removed marks of no hold"),
            });
        }
        let patch = NodePatch::without_traces(node);
        if !patch.is_empty() {
            let says = format!("removed {}", traces.join(", "));
            return Some(self.patched(node, &patch, &says));
        }
        hold::condition_removed(node).map(|body| Step {
            says: format!("{}removed {}", of_node(node.name()), traces.join(", ")),
            object: object_of(node),
            write: Write::Status(body),
        })
    }

    /// Our entries and annotations leave kured's DaemonSet; a Lease is ours as a whole.
    fn remove_locks(&self) -> Part {
        let steps = self.locks().filter_map(|(seen, lock)| match lock.carrier {
            Carrier::Lease => Some(Step {
                says: format!("deleted {}", seen.object),
                object: target(seen),
                write: Write::Delete,
            }),
            Carrier::DaemonSet => {
                let record = lock.record.present().unwrap_or_default();
                left_to_kured(seen, &record)
            }
        });
        Part {
            steps: steps.collect(),
            waits: Vec::new(),
        }
    }

    fn remove_secrets(&self) -> Part {
        Part::deletes(&self.seen.secrets)
    }

    fn locks(&self) -> impl Iterator<Item = (&SeenLock, LockView)> {
        let locks = self.seen.locks.iter();
        locks.map(|lock| (lock, lock.read(self.now)))
    }

    /// The entries of ours in all locks.
    fn entries(&self) -> impl Iterator<Item = (lock::Entry, BTreeSet<EntryId>)> {
        self.locks().flat_map(|(_, lock)| {
            let expired = lock.expired;
            let entries = lock.record.present().unwrap_or_default().entries;
            let ours = entries.into_iter().filter(lock::Entry::is_ours);
            ours.map(move |entry| (entry, expired.clone()))
        })
    }

    /// The Nodes that may be in a reboot by an entry of the lock. One that is only kept for a while after its hold is none.
    fn open_entries(&self) -> impl Iterator<Item = String> {
        let open = self.entries().filter(|(entry, expired)| {
            let node = self.seen.node(&entry.node);
            let is_kept =
                entry.given_back || node.is_some_and(|node| hold::delays_release(node, &entry.created));
            !is_kept && !lock::is_over(entry, expired, node)
        });
        open.map(|(entry, _)| entry.node)
    }

    fn is_in_lock(&self, node: &NodeView, hold: &Hold) -> bool {
        let id = EntryId::new(node.name(), &hold.holder.created);
        self.entries().any(|(entry, _)| entry.id() == id)
    }

    fn fates(&self) -> impl Iterator<Item = (&NodeView, Fate)> {
        self.seen.nodes.iter().map(|node| (node, self.fate(node)))
    }

    fn fate(&self, node: &NodeView) -> Fate {
        let foreign = |why: &str| {
            Fate::Stuck(format!(
                "{}its marks are no hold of this Node ({why}), so nobody knows whether its host is rebooting: if it is not, cancel and \
                 remove them as docs/operating.md says under \"Marks that an agent does not trust\"",
                of_node(node.name())
            ))
        };
        match hold::read(node) {
            Reading::Absent => Fate::Free,
            Reading::Malformed(why) => foreign(&why),
            Reading::Present(hold) if !hold.holder.names(node) => foreign("they name another Node object"),
            Reading::Present(hold) => self.fate_of(node, hold),
        }
    }

    fn fate_of(&self, node: &NodeView, hold: Hold) -> Fate {
        let is_silent = hold.is_silent(self.now, SKEW);
        let is_cancelled = hold::cancelled(node, &hold.holder).is_some();
        let ending = |what: &str| Fate::Ending(format!("{}{what}", of_node(node.name())));
        match hold.phase {
            // It has no lock, and gets none while that is paused.
            Phase::Wanted if !self.is_in_lock(node, &hold) => Fate::Free,
            Phase::Wanted | Phase::Draining | Phase::Delaying if !is_silent && !is_cancelled => Fate::Cancel,
            Phase::Wanted | Phase::Draining | Phase::Delaying if !is_silent => {
                ending("its hold is cancelled, and its agent gives the cordon back")
            }
            Phase::Sealed if !is_silent => ending("its reboot is under way"),
            Phase::Returning if !is_silent => {
                ending("it is back from its reboot, and its agent waits until it is ready")
            }
            Phase::Sealed if hold::may_be_rebooting(node, &hold) => Fate::Stuck(format!(
                "{}it is sealed and its agent is silent, so its host may be rebooting: bring it back, or, if it is gone for good: kubectl \
                 delete node {}",
                of_node(node.name()),
                quoted(node.name())
            )),
            // A wish has not touched the cordon, so ending it harms nobody.
            Phase::Draining | Phase::Delaying | Phase::Sealed | Phase::Returning
                if self.dead_holds == DeadHolds::Stop =>
            {
                Fate::Stuck(format!(
                    "{}its hold of {} ({}) was not renewed, so its agent is silent: bring the agent back; or let its cordon be given back \
                     without it, by --dead-holds=give-back (in the chart: uninstall.deadHolds)",
                    of_node(node.name()),
                    hold.holder.created,
                    hold.phase
                ))
            }
            Phase::Wanted | Phase::Draining | Phase::Delaying | Phase::Sealed | Phase::Returning
                if !is_cancelled =>
            {
                Fate::Cancel
            }
            Phase::Wanted | Phase::Draining | Phase::Delaying | Phase::Sealed | Phase::Returning => {
                Fate::GiveBack(hold)
            }
        }
    }

    fn given_back(&self, node: &NodeView, hold: &Hold) -> Step {
        let patch = NodePatch::give_back_for_agent(node, hold, hold::has_rebooted(node, hold));
        let cordon = match (node.spec.unschedulable, patch.unschedulable) {
            (true, Some(false)) => "uncordoned it",
            (false, Some(true)) => "cordoned it, as it was before",
            (true, _) => "it stays cordoned",
            (false, _) => "it stays schedulable",
        };
        let says = format!("ended the {} hold in its agent's place, {cordon}", hold.phase);
        self.patched(node, &patch, &says)
    }

    fn patched(&self, node: &NodeView, patch: &NodePatch, says: &str) -> Step {
        Step {
            says: format!("{}{says}", of_node(node.name())),
            object: object_of(node),
            write: Write::Patch(patch.body(self.now, &TERMS)),
        }
    }
}

/// The step that cancels the hold on a Node. It names the hold, so it does nothing to a later one.
fn cancelled(node: &NodeView) -> Step {
    let text = format!("{} {REASON}", hold::cancel_name(node));
    let phase = node
        .label(keys::PHASE)
        .map_or_else(|| "unreadable".to_owned(), quoted);
    Step {
        says: format!("{}cancelled its hold ({phase})", of_node(node.name())),
        object: object_of(node),
        write: annotated(keys::CANCEL, Some(&text)),
    }
}

/// What takes our entries and annotations off kured's DaemonSet; `None` if there are none.
fn left_to_kured(seen: &SeenLock, record: &Record) -> Option<Step> {
    let mut left = record.clone();
    left.entries.retain(|entry| !entry.is_ours());
    let annotations = seen.view.metadata.annotations.keys();
    let mut changes: Map<String, Value> = annotations
        .filter(|key| keys::is_ours(key))
        .map(|key| (key.clone(), Value::Null))
        .collect();
    if left != *record {
        drop(changes.insert(seen.object.key.clone(), json!(left.render())));
    }
    let metadata = json!({ "resourceVersion": seen.view.metadata.resource_version, "annotations": changes });
    (!changes.is_empty()).then(|| Step {
        says: format!("removed what is ours from {}", seen.object),
        object: target(seen),
        write: Write::Patch(json!({ "metadata": metadata })),
    })
}

fn annotated(key: &str, value: Option<&str>) -> Write {
    Write::Patch(json!({ "metadata": { "annotations": { key: value } } }))
}

fn target(lock: &SeenLock) -> Object {
    Object {
        kind: match lock.object.carrier {
            Carrier::Lease => Kind::Lease,
            Carrier::DaemonSet => Kind::DaemonSet,
        },
        namespace: lock.object.namespace.clone(),
        name: lock.object.name.clone(),
    }
}

fn object_of(node: &NodeView) -> Object {
    Object {
        kind: Kind::Node,
        namespace: String::new(),
        name: node.name().to_owned(),
    }
}

/// How a line about a Node begins.
fn of_node(name: &str) -> String {
    format!("node {}: ", quoted(name))
}

#[cfg(test)]
mod tests;
