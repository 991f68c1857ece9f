//! A fleet as people see it: each node with its state, what it waits for and its place in the lock, and everything that is wrong, with the
//! command that mends it.
//!
//! [`Fleet::of`] judges one look at the cluster. What could not be read is named ([`Unseen`]), and the rest is judged without it.
//! Not here: reading the cluster, and how it is printed (the kubectl plugin); who cordoned a node ([`crate::cordoner`]).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use crate::Reading;
use crate::hold::{self, Phase};
use crate::keys;
use crate::lock::{Entry, EntryId, UsedRequests};
use crate::node::NodeView;
use crate::quote::quoted;
use crate::reboot::lock_object::{Carrier, SeenLock};
use crate::selector::{Selector, SelectorError};

mod row;
mod trouble;
mod webhook;
mod why;

pub use row::{Place, Row, State};
pub use trouble::{Trouble, TroubleKind};
pub use webhook::Webhook;
pub use why::{Facts, Outlook, Way, Why};

/// What every command of the plugin begins with.
pub const PLUGIN: &str = "kubectl cordonhold";
/// The pool of agents that name none.
pub const DEFAULT_POOL: &str = "default";

/// What was seen of the cluster. The locks were read before the Nodes, so that an entry can be judged by its Node.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The objects that may carry a lock.
    pub locks: Vec<SeenLock>,
    /// What the agents have said in Events about their Nodes.
    pub told: Vec<Told>,
    /// The Nodes.
    pub nodes: Vec<NodeView>,
    /// The webhook.
    pub webhook: Webhook,
    /// What could not be seen.
    pub unseen: Vec<Unseen>,
}

/// An Event of an agent about its Node, or of the webhook about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The Node's name.
    pub node: String,
    /// The Event's reason, such as `RebootBlocked`.
    pub reason: String,
    /// The Event's message.
    pub note: String,
    /// When it was first said.
    pub since: Timestamp,
    /// When it was last said.
    pub at: Timestamp,
    /// How often it was said.
    pub count: u64,
}

/// Something that could not be seen, and what it takes to see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unseen {
    /// What was looked for, such as `the webhook's Deployment`.
    pub what: String,
    /// The verb and the resource that RBAC must allow; absent if that is not what failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs: Option<String>,
    /// What failed, or which role to bind.
    pub says: String,
}

/// A pool and its lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// The pool's name.
    pub name: String,
    /// How many of the Nodes that were seen are in it.
    pub nodes: usize,
    /// The objects that carry its lock: kind, namespace and name.
    pub lock: Vec<String>,
    /// The nodes that have a place in the lock.
    pub holders: Vec<String>,
    /// How many nodes wait for a place.
    pub wishes: usize,
    /// The node that gets the next place, because it has waited longest and nothing blocks it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// What a person wrote to pause the pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// When its last reboot ended, if an agent has noted that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_reboot: Option<Timestamp>,
}

/// The fleet. As JSON it is what `status -o json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fleet {
    /// When the cluster was looked at.
    pub time: Timestamp,
    /// The webhook.
    pub webhook: Webhook,
    /// The pools, by name.
    pub pools: Vec<Pool>,
    /// The nodes, by state and name.
    pub nodes: Vec<Row>,
    /// What is wrong.
    pub troubles: Vec<Trouble>,
    /// What could not be seen.
    pub unseen: Vec<Unseen>,
}

impl Seen {
    /// Up to which time requests for reboots of this node were used, as the locks say.
    pub fn used_up_to(&self, node: &str) -> Option<Timestamp> {
        let texts = self
            .locks
            .iter()
            .map(|lock| lock.view.annotation(keys::REQUESTS_USED));
        let used = texts.filter_map(|text| UsedRequests::read(text).present());
        used.filter_map(|used| used.up_to(node)).max()
    }
}

impl Fleet {
    /// Judges what was seen at this time.
    pub fn of(seen: &Seen, now: Timestamp) -> Fleet {
        let look = Look::new(seen, now);
        let mut nodes: Vec<Row> = seen.nodes.iter().map(|node| look.row(node)).collect();
        nodes.sort_by(|a, b| (a.rank(), &a.node).cmp(&(b.rank(), &b.node)));
        let mut troubles = seen.webhook.troubles(now);
        troubles.extend(look.lock_troubles());
        troubles.extend(seen.nodes.iter().flat_map(|node| look.troubles(node)));
        Fleet {
            time: now,
            webhook: seen.webhook.clone(),
            pools: look.pools(),
            nodes,
            troubles,
            unseen: seen.unseen.clone(),
        }
    }
}

/// A lock, parsed.
struct Lock {
    /// Its object, for people.
    object: String,
    carrier: Carrier,
    namespace: String,
    name: String,
    /// `Err`: the record cannot be read, and why.
    entries: Result<Vec<Entry>, String>,
    expired: BTreeSet<EntryId>,
    paused: Option<String>,
    last_reboot: Option<Timestamp>,
    /// For a Lease: the pool that it is of.
    pool: Option<(String, Result<Selector, String>)>,
}

/// One look at the cluster, with the locks parsed.
struct Look<'a> {
    seen: &'a Seen,
    now: Timestamp,
    locks: Vec<Lock>,
    /// The nodes that wait for a place, by pool: the one that has waited longest comes first.
    waiting: BTreeMap<String, Vec<String>>,
}

impl Lock {
    fn of(seen: &SeenLock, now: Timestamp) -> Lock {
        let view = seen.read(now);
        let carrier = seen.object.carrier;
        Lock {
            object: seen.object.to_string(),
            carrier,
            namespace: seen.object.namespace.clone(),
            name: seen.object.name.clone(),
            entries: match view.record {
                Reading::Absent => Ok(Vec::new()),
                Reading::Present(record) => Ok(record.entries),
                Reading::Malformed(why) => Err(why),
            },
            expired: view.expired,
            paused: view.paused,
            last_reboot: view.last_reboot.present(),
            pool: match carrier {
                Carrier::Lease => seen.object.name.strip_prefix(keys::LEASE_PREFIX).map(|name| {
                    let selector = seen.view.pool_selector().unwrap_or_default();
                    (
                        name.to_owned(),
                        selector.parse().map_err(|why: SelectorError| why.to_string()),
                    )
                }),
                Carrier::DaemonSet => None,
            },
        }
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }
}

impl<'a> Look<'a> {
    fn new(seen: &'a Seen, now: Timestamp) -> Look<'a> {
        let mut look = Look {
            seen,
            now,
            locks: seen.locks.iter().map(|lock| Lock::of(lock, now)).collect(),
            waiting: BTreeMap::new(),
        };
        look.waiting = look.waiting();
        look
    }

    /// The pool that this node is in, if its Lease says so.
    fn pool_of(&self, node: &NodeView) -> Option<&str> {
        let pools = self.locks.iter().filter_map(|lock| lock.pool.as_ref());
        let mut of_node = pools.filter(|(_, selector)| {
            selector
                .as_ref()
                .is_ok_and(|selector| selector.matches(&node.metadata.labels))
        });
        of_node.next().map(|(name, _)| name.as_str())
    }

    fn is_in(&self, node: &NodeView, pool: &str) -> bool {
        self.pool_of(node) == Some(pool)
    }

    /// The entry for this node, an entry of ours before one of kured's, and the lock that has it.
    fn entry_of(&self, node: &str) -> Option<(&Lock, &Entry)> {
        let all = || {
            let locks = self.locks.iter();
            let entries = locks.flat_map(|lock| lock.entries().map(move |entry| (lock, entry)));
            entries.filter(|(lock, entry)| {
                entry.node == node && !entry.is_by_hand() && !lock.expired.contains(&entry.id())
            })
        };
        all().find(|(_, entry)| entry.is_ours()).or_else(|| all().next())
    }

    fn waiting(&self) -> BTreeMap<String, Vec<String>> {
        let mut wishes: Vec<(String, &NodeView)> = Vec::new();
        for node in &self.seen.nodes {
            let Some(hold) = hold::read(node).present() else {
                continue;
            };
            let is_next = hold.phase == Phase::Wanted
                && node.annotation(keys::PAUSE).is_none()
                && self
                    .entry_of(node.name())
                    .is_none_or(|(_, entry)| !entry.is_ours());
            if is_next {
                wishes.push((hold::canonical(&hold.holder.created), node));
            }
        }
        wishes.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut waiting: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (_, node) in wishes {
            let pool = self.pool_of(node).unwrap_or_default().to_owned();
            waiting.entry(pool).or_default().push(node.name().to_owned());
        }
        waiting
    }

    /// The nodes that have a place in the lock of this pool.
    fn holders(&self, pool: &str) -> Vec<String> {
        let mut holders = BTreeSet::new();
        for lock in &self.locks {
            let is_own = lock.pool.as_ref().is_some_and(|(name, _)| name == pool);
            for entry in lock.entries() {
                let node = self.seen.nodes.iter().find(|node| node.name() == entry.node);
                // kured's DaemonSet carries the places of every pool.
                if is_own || node.is_some_and(|node| self.is_in(node, pool)) {
                    let _ = holders.insert(entry.node.clone());
                }
            }
        }
        holders.into_iter().collect()
    }

    fn pools(&self) -> Vec<Pool> {
        let mut pools: Vec<Pool> = self.locks.iter().filter_map(|lock| self.pool(lock)).collect();
        pools.sort_by(|a, b| a.name.cmp(&b.name));
        pools
    }

    fn pool(&self, lock: &Lock) -> Option<Pool> {
        let (name, _) = lock.pool.as_ref()?;
        let shared = || {
            self.locks
                .iter()
                .filter(|lock| lock.carrier == Carrier::DaemonSet)
        };
        let wishes = self.waiting.get(name);
        let paused = lock
            .paused
            .clone()
            .or_else(|| shared().find_map(|lock| lock.paused.clone()));
        Some(Pool {
            name: name.clone(),
            nodes: self
                .seen
                .nodes
                .iter()
                .filter(|node| self.is_in(node, name))
                .count(),
            lock: std::iter::once(lock)
                .chain(shared())
                .map(|lock| lock.object.clone())
                .collect(),
            holders: self.holders(name),
            wishes: wishes.map_or(0, Vec::len),
            next: wishes
                .filter(|_| paused.is_none())
                .and_then(|wishes| wishes.first().cloned()),
            paused,
            last_reboot: shared()
                .filter_map(|lock| lock.last_reboot)
                .chain(lock.last_reboot)
                .max(),
        })
    }
}

/// A command of the plugin about this node.
fn command(verb: &str, node: &NodeView) -> String {
    format!("{PLUGIN} {verb} {}", quoted(node.name()))
}

#[cfg(test)]
mod tests;
