//! The lock: at most N nodes of a pool are between acquire and release at any time.
//!
//! Its record is kured's JSON (kubereboot/kured: pkg/daemonsetlock/daemonsetlock.go), in its shape for one node or for several.
//! Every change is a pure function from record to record; the agent writes the result by compare-and-swap.
//! An entry of ours never expires: it ends only when its Node proves that it is over. An entry of stock kured ends by its TTL,
//! unless its Node is still cordoned. The manual lock is removed only by hand.
//! Not here: the object that carries the record ([`crate::reboot::lock_object`]), and when an agent acquires or releases
//! ([`crate::reboot::cycle`]).

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

mod read;
mod requests;

pub use requests::{USED_BYTES_MAX, UsedRequests};

use crate::Reading;
use crate::hold::{self, DeferredUncordon, Proof};
use crate::host::Boot;
use crate::node::NodeView;

/// The content of the lock: which nodes have a place in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// One entry for each node between acquire and release.
    pub entries: Vec<Entry>,
    /// `None`: kured's format for one node. `Some`: kured's list format, with the number of nodes that the last writer allowed.
    /// The number is for people; nothing here decides by it.
    pub max_owners: Option<i64>,
}

/// A number of nodes of a pool, or a percentage of its Nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Share {
    /// This many nodes.
    Count(usize),
    /// This percentage of the pool's Nodes, rounded down.
    Percent(u8),
}

impl Share {
    /// The number of nodes in a pool of this size.
    pub fn of(self, size: usize) -> usize {
        match self {
            Share::Count(count) => count,
            Share::Percent(percent) => size.saturating_mul(usize::from(percent)) / 100,
        }
    }

    /// The number of nodes in a pool of this size that may be in a reboot at once. A small share of a small pool is one node, or it would
    /// never reboot.
    pub fn at_least_one_of(self, size: usize) -> usize {
        self.of(size).max(1)
    }
}

/// The TTL of our own entries.
///
/// It is negative so that no kured ever expires one; for a TTL of 0, kured may use its own `--lock-ttl` instead
/// (kubereboot/kured: pkg/daemonsetlock/daemonsetlock.go, `ttlExpired` and `effectiveTTL`).
/// kured keeps the value when it rewrites the list, so it also tells our entries from kured's.
pub const OUR_TTL: i64 = -1;

/// One node's place in the lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Entry {
    /// The Node's name.
    #[serde(rename = "nodeID")]
    pub node: String,
    /// What kured stores about the Node beside its name.
    #[serde(default)]
    pub metadata: EntryMetadata,
    /// The `created` of the hold that the entry belongs to. Empty in kured's manual lock.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created: String,
    /// The TTL in nanoseconds. 0: the entry never expires. [`OUR_TTL`]: it never expires and it is ours.
    #[serde(rename = "TTL", default)]
    pub ttl_nanos: i64,
    /// The uid of the Node object, so that a Node created later under the same name is not taken for it. Empty after kured has rewritten
    /// the list.
    #[serde(rename = "nodeUID", default, skip_serializing_if = "String::is_empty")]
    pub node_uid: String,
    /// Set by [`Record::confirmed`] before the reboot. From then on, others may remove the entry only when the Node is gone, or shows
    /// neither this hold nor this boot.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sealed: bool,
    /// The kernel's boot id when the entry was acquired or, later, confirmed.
    #[serde(rename = "bootID", default, skip_serializing_if = "String::is_empty")]
    pub boot_id: String,
    /// [`Boot::init`] of the boot that `boot_id` names.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub init: String,
    /// When the entry was acquired, RFC 3339. Only `--must-end-in-window` goes by it. Empty after kured has rewritten the list.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub acquired: String,
    /// How many reboot commands may have been run for this hold. Written before the command, because the lock survives the reboot.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts: u8,
    /// Whether the Node has been given back and the entry is only kept for `--lock-release-delay`.
    #[serde(rename = "givenBack", default, skip_serializing_if = "std::ops::Not::not")]
    pub given_back: bool,
    /// The uncordon that is deferred until the end of the hold, as it is written on the Node; empty if the agent had seen none when it
    /// confirmed the entry.
    #[serde(rename = "uncordonWanted", default, skip_serializing_if = "String::is_empty")]
    pub uncordon_wanted: String,
    /// The request that this entry has used, by its time; empty if the host alone asked for the reboot.
    #[serde(rename = "requestedAt", default, skip_serializing_if = "String::is_empty")]
    pub requested_at: String,
    /// Random bits that prove which write acquired the entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<Proof>,
    /// Fields of a newer version, kept as they are.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// The `metadata` of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct EntryMetadata {
    /// Whether the Node was cordoned before. The cordon is restored from this if the marks are lost.
    #[serde(default)]
    pub unschedulable: bool,
}

impl Entry {
    /// An entry of ours for the hold stamped at `created`. `unschedulable`: whether the Node was cordoned before.
    pub fn new(node: &str, node_uid: &str, created: &str, unschedulable: bool) -> Entry {
        Entry {
            node: node.to_owned(),
            node_uid: node_uid.to_owned(),
            metadata: EntryMetadata { unschedulable },
            created: created.to_owned(),
            ttl_nanos: OUR_TTL,
            sealed: false,
            boot_id: String::new(),
            init: String::new(),
            acquired: String::new(),
            attempts: 0,
            given_back: false,
            uncordon_wanted: String::new(),
            requested_at: String::new(),
            write: None,
            rest: Map::new(),
        }
    }

    /// The entry with the boot, the number of reboot commands so far, and the proof of the write that acquires it.
    #[must_use]
    pub fn acquired_in(self, boot: &Boot, attempts: u8, write: Proof) -> Entry {
        Entry {
            boot_id: boot.id.clone(),
            init: boot.init.clone(),
            attempts,
            write: Some(write),
            ..self
        }
    }

    /// The boot that the entry names, as [`Boot`] displays it. `None` after kured has rewritten the list.
    pub fn boot(&self) -> Option<String> {
        let boot = Boot {
            id: self.boot_id.clone(),
            init: self.init.clone(),
        };
        (!boot.id.is_empty()).then(|| boot.to_string())
    }

    /// The uncordon that is deferred until the end of the hold, if the entry has a readable one.
    pub fn deferred(&self) -> Option<DeferredUncordon> {
        DeferredUncordon::parse(&self.uncordon_wanted)
    }

    /// The time of the request that the entry has used, if it has used one.
    pub fn requested_at(&self) -> Option<Timestamp> {
        self.requested_at.parse().ok()
    }

    /// Since when this entry is in the lock. kured's `created` is that time. Ours is the time of the wish, which is all that is left once
    /// kured has rewritten the entry.
    pub fn began(&self) -> Option<Timestamp> {
        if self.is_by_hand() {
            return None;
        }
        self.acquired.parse().or_else(|_| self.created.parse()).ok()
    }

    /// The name and `created` that identify the entry.
    pub fn id(&self) -> EntryId {
        EntryId::new(&self.node, &self.created)
    }

    /// Whether an agent of Cordonhold wrote the entry. A person may give the manual lock a negative TTL too.
    pub fn is_ours(&self) -> bool {
        self.ttl_nanos < 0 && !self.is_by_hand()
    }

    /// Whether the reboot command may have been run for this entry, and nobody has noted the end of that reboot yet. The end is noted in
    /// the write that marks the entry as given back, or that removes it.
    pub fn is_unnoted(&self) -> bool {
        self.is_ours() && self.sealed && !self.given_back
    }

    /// Whether this is the manual lock, such as `{"nodeID":"manual"}`, which a person wrote: it has no `created`, and every program writes
    /// one. When kured rewrites the list, the manual lock gets Go's zero time.
    ///
    /// The manual lock stops the whole pool until a person removes it.
    pub fn is_by_hand(&self) -> bool {
        self.created.is_empty() || self.created.starts_with("0001-01-01T00:00:00")
    }

    /// Whether the entry is about another Node object of the same name.
    pub fn is_of_another(&self, node: &NodeView) -> bool {
        !self.node_uid.is_empty() && self.node_uid != node.metadata.uid
    }

    /// Whether the entry has expired by kured's rule (`ttlExpired`). Entries of ours, and entries whose `created` cannot be read,
    /// never expire.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        if self.ttl_nanos <= 0 {
            return false;
        }
        let created = self.created.parse::<Timestamp>().ok();
        let end = created.and_then(|created| {
            created
                .checked_add(SignedDuration::from_nanos(self.ttl_nanos))
                .ok()
        });
        end.is_some_and(|end| end <= now)
    }
}

/// The identity of an entry: Node name and `created`, the two fields that every writer of the record keeps.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId {
    /// The Node's name.
    pub node: String,
    /// In the form of [`hold::canonical`], because kured drops trailing zeros of the fraction.
    created: String,
}

impl EntryId {
    /// The identity for this Node and this `created`, in whatever form the time is written.
    pub fn new(node: &str, created: &str) -> EntryId {
        EntryId {
            node: node.to_owned(),
            created: hold::canonical(created),
        }
    }

    /// When the hold was stamped: RFC 3339 in UTC with nanoseconds; empty for the manual lock.
    pub fn created(&self) -> &str {
        &self.created
    }
}

/// kured's list format, as JSON.
#[derive(Serialize)]
struct Multi {
    #[serde(rename = "maxOwners")]
    max_owners: i64,
    locks: Vec<Entry>,
}

impl Record {
    /// Reads the record from the text of the annotation.
    pub fn read(text: Option<&str>) -> Reading<Record> {
        let Some(text) = text else { return Reading::Absent };
        read::read(text).map_or_else(Reading::Malformed, Reading::Present)
    }

    /// The text for the annotation. `None`: remove the annotation, because the record is empty.
    ///
    /// An empty list must not be written: a kured with one owner takes it for an entry that never ends (kured's defect D10).
    /// A kured with several owners reads a missing annotation as an empty list.
    pub fn render(&self) -> Option<String> {
        let text = match (self.entries.as_slice(), self.max_owners) {
            ([], _) => return None,
            ([entry], None) => serde_json::to_string(entry),
            (entries, max_owners) => serde_json::to_string(&Multi {
                max_owners: max_owners.unwrap_or_else(|| as_owners(entries.len())),
                locks: entries.to_vec(),
            }),
        };
        Some(text.expect("a record of strings, numbers and maps always renders"))
    }

    /// The entry with this identity, if the record has it.
    pub fn entry(&self, id: &EntryId) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.id() == *id)
    }

    /// The entries that have expired by their TTL. Only entries of kured can.
    pub fn expired(&self, now: Timestamp) -> BTreeSet<EntryId> {
        let expired = self.entries.iter().filter(|entry| entry.has_expired(now));
        expired.map(Entry::id).collect()
    }

    /// The record without these entries.
    #[must_use]
    pub fn without(&self, gone: &BTreeSet<EntryId>) -> Record {
        Record {
            entries: self
                .entries
                .iter()
                .filter(|entry| !gone.contains(&entry.id()))
                .cloned()
                .collect(),
            max_owners: self.max_owners,
        }
    }

    /// The entry for this node, of any hold and any writer but the manual lock. An entry of ours comes before one of kured.
    pub fn of_node(&self, node: &str) -> Option<&Entry> {
        let mut of_node = self
            .entries
            .iter()
            .filter(|entry| entry.node == node && !entry.is_by_hand());
        let first = of_node.clone().next();
        of_node.find(|entry| entry.is_ours()).or(first)
    }

    /// The record without this entry and without any other entry of ours for its node; `None` if that changes nothing.
    pub fn released(&self, id: &EntryId) -> Option<Record> {
        let is_over = |entry: &Entry| entry.id() == *id || (entry.node == id.node && entry.is_ours());
        let mut record = self.clone();
        record.entries.retain(|entry| !is_over(entry));
        (record != *self).then_some(record)
    }

    /// The record with this entry sealed, in this boot and for this attempt, with what the cordon was before the hold, if that is known, and
    /// with the uncordon that is deferred until its end; `None` if the record does not have the entry.
    ///
    /// All of it is written anew: an uncordon that was done since the last confirm is deferred no longer, and a cordon that somebody has set
    /// since is theirs.
    /// The write always changes the object, so the compare-and-swap fails if somebody removed the entry meanwhile.
    pub fn confirmed(
        &self,
        id: &EntryId,
        boot: &Boot,
        attempts: u8,
        was_unschedulable: Option<bool>,
        deferred: Option<&DeferredUncordon>,
    ) -> Option<Record> {
        self.changed(id, |entry| {
            entry.sealed = true;
            entry.metadata.unschedulable = was_unschedulable.unwrap_or(entry.metadata.unschedulable);
            entry.boot_id.clone_from(&boot.id);
            entry.init.clone_from(&boot.init);
            entry.attempts = attempts;
            entry.uncordon_wanted = deferred.map(ToString::to_string).unwrap_or_default();
        })
    }

    /// The record with this entry marked as given back but kept; `None` if the record does not have the entry.
    pub fn kept(&self, id: &EntryId) -> Option<Record> {
        self.changed(id, |entry| entry.given_back = true)
    }

    /// Writes into the entry of ours of this node when it is acquired, unless that is there or is over.
    pub fn date(&mut self, node: &str, now: Timestamp) {
        let is_new = |entry: &&mut Entry| {
            entry.node == node
                && entry.is_ours()
                && entry.acquired.is_empty()
                && !entry.sealed
                && !entry.given_back
        };
        for entry in self.entries.iter_mut().filter(is_new) {
            entry.acquired = format!("{now:.0}");
        }
    }

    fn changed(&self, id: &EntryId, change: impl Fn(&mut Entry)) -> Option<Record> {
        let _ = self.entry(id)?;
        let mut record = self.clone();
        record
            .entries
            .iter_mut()
            .filter(|entry| entry.id() == *id)
            .for_each(change);
        Some(record)
    }

    /// The record with `mine` added, or the nodes that fill the slots.
    ///
    /// `over`: entries whose Nodes, read after this record, prove that they are over. `held`: nodes that show a hold beyond a wish,
    /// listed after this record. Such a node fills a slot even if a person removed its entry.
    /// An entry of kured for our own node always forbids it, whatever `concurrency` is: two daemons must not reboot one node.
    /// So does the manual lock.
    ///
    /// A list stays a list: a kured with several owners takes a single entry for an empty list (kured's defect D11).
    pub fn acquired(
        &self,
        mine: Entry,
        concurrency: usize,
        over: &BTreeSet<EntryId>,
        held: &BTreeSet<String>,
    ) -> Result<Record, BTreeSet<String>> {
        let mut record = self.without(over);
        // Any older entry of our own Node is over, because the Node shows the new hold.
        record
            .entries
            .retain(|entry| entry.node != mine.node || !entry.is_ours());
        let mut slots: BTreeSet<String> = record.entries.iter().map(|entry| entry.node.clone()).collect();
        let is_taken = slots.contains(&mine.node) || record.entries.iter().any(Entry::is_by_hand);
        slots.extend(held.iter().filter(|node| **node != mine.node).cloned());
        if is_taken || slots.len() >= concurrency.max(1) {
            return Err(slots);
        }
        record.entries.push(mine);
        if concurrency > 1 {
            record.max_owners = Some(as_owners(concurrency));
        }
        Ok(record)
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(count: &u8) -> bool {
    *count == 0
}

fn as_owners(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Whether reading the entry's Node can prove that it is over: ours always, kured's once it has expired, the manual lock never.
pub fn is_judged(entry: &Entry, expired: &BTreeSet<EntryId>) -> bool {
    entry.is_ours() || expired.contains(&entry.id())
}

/// Whether an entry is over. `node` must have been read after the record; `None`: the Node is gone.
/// `expired`: the entries that had expired when the record was read.
pub fn is_over(entry: &Entry, expired: &BTreeSet<EntryId>, node: Option<&NodeView>) -> bool {
    if !is_judged(entry, expired) {
        return false;
    }
    let Some(node) = node.filter(|node| !entry.is_of_another(node)) else {
        return true;
    };
    if !entry.is_ours() {
        // kured cordons the node that it holds the lock for. If it is still cordoned, kured may be in a drain longer than the TTL.
        return !node.spec.unschedulable;
    }
    // Whether the Node no longer shows the entry's hold. Marks that cannot be read may still be that hold.
    let lost = match hold::read(node) {
        Reading::Absent => !hold::delays_release(node, &entry.created),
        Reading::Present(hold) => EntryId::new(&entry.node, &hold.holder.created) != entry.id(),
        Reading::Malformed(_) => false,
    };
    let other_boot =
        !node.status.node_info.boot_id.is_empty() && node.status.node_info.boot_id != entry.boot_id;
    lost && (!entry.sealed || other_boot)
}

#[cfg(test)]
mod tests;
