//! The lock: at most N nodes of a pool between acquire and release.
//!
//! Its record is kured's JSON (kubereboot/kured: pkg/daemonsetlock/daemonsetlock.go), single or multi, and both are read.
//! Every change here is a pure function from record to record; the shell writes it by compare-and-swap.
//! An entry of ours ends by evidence, never by time. Stock kured's entries end by kured's own rule, their TTL, and then only
//! where their Node does not show the contrary; the manual lock ends by hand.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

mod read;

use crate::Reading;
use crate::hold::{self, Proof};
use crate::host::Boot;
use crate::node::NodeView;

/// The lock as read: who holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// One for each node between acquire and release.
    pub entries: Vec<Entry>,
    /// `None`: kured's shape for one owner. `Some`: its list, and the owners that its last writer allowed, for people to read.
    pub max_owners: Option<i64>,
}

/// How many nodes of a pool: a number, or a share of its Nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Share {
    /// So many nodes.
    Count(usize),
    /// Rounded down.
    Percent(u8),
}

impl Share {
    /// How many that are of a pool of this size.
    pub fn of(self, size: usize) -> usize {
        match self {
            Share::Count(count) => count,
            Share::Percent(percent) => size.saturating_mul(usize::from(percent)) / 100,
        }
    }
}

/// The TTL of our own entries.
///
/// It is negative, so that no kured ever expires one: a TTL of 0 it may judge by its own `--lock-ttl` instead
/// (kubereboot/kured: pkg/daemonsetlock/daemonsetlock.go, `ttlExpired` and `effectiveTTL`).
/// kured keeps it when it writes the list anew, so it also tells our entries from kured's.
pub const OUR_TTL: i64 = -1;

/// One node's place in the lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Entry {
    /// The Node's name.
    #[serde(rename = "nodeID")]
    pub node: String,
    /// What kured writes down beside the name.
    #[serde(default)]
    pub metadata: EntryMetadata,
    /// The `created` of the hold it stands for. kured's manual lock has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created: String,
    /// Nanoseconds. 0: never expires; [`OUR_TTL`]: nor does it, and it is ours.
    #[serde(rename = "TTL", default)]
    pub ttl_nanos: i64,
    /// Of the Node object that it is about: one that was created anew under the name is another. Empty where kured has written the list since.
    #[serde(rename = "nodeUID", default, skip_serializing_if = "String::is_empty")]
    pub node_uid: String,
    /// Set by the confirm: from here on it ends for others only when the Node is gone, or when it shows neither this hold nor this boot.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sealed: bool,
    /// The boot in which it was acquired or, later, confirmed: the kernel's id.
    #[serde(rename = "bootID", default, skip_serializing_if = "String::is_empty")]
    pub boot_id: String,
    /// The same boot's init, see [`Boot`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub init: String,
    /// How many reboot commands may have been run for this hold; written before the command, where no reboot reaches.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts: u8,
    /// The Node has been given back, and the entry is kept for `--lock-release-delay`.
    #[serde(rename = "givenBack", default, skip_serializing_if = "std::ops::Not::not")]
    pub given_back: bool,
    /// What only the write that acquired it can have put there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<Proof>,
    /// What a newer version wrote, kept.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Of an entry's `metadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct EntryMetadata {
    /// What the cordon was: should the marks be lost, it is given back from here.
    #[serde(default)]
    pub unschedulable: bool,
}

impl Entry {
    /// An entry of ours for the hold stamped at `created`. `unschedulable` is what the cordon was.
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
            attempts: 0,
            given_back: false,
            write: None,
            rest: Map::new(),
        }
    }

    /// The same, acquired in this boot by this write.
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

    /// The boot that it names, as [`Boot`] displays it. None where kured has written the list since.
    pub fn boot(&self) -> Option<String> {
        let boot = Boot {
            id: self.boot_id.clone(),
            init: self.init.clone(),
        };
        (!boot.id.is_empty()).then(|| boot.to_string())
    }

    /// What names an entry.
    pub fn id(&self) -> EntryId {
        EntryId::new(&self.node, &self.created)
    }

    /// Whether an agent of Cordonhold wrote it.
    pub fn is_ours(&self) -> bool {
        self.ttl_nanos < 0 && !self.created.is_empty()
    }

    /// Whether a person wrote it, as `{"nodeID":"manual"}`: every program writes when. kured writes Go's zero time for none.
    ///
    /// It stops the whole pool until a person removes it.
    pub fn is_by_hand(&self) -> bool {
        self.created.is_empty() || self.created.starts_with("0001-01-01T00:00:00")
    }

    /// Whether it is about another Node object than this one of the same name.
    pub fn is_of_another(&self, node: &NodeView) -> bool {
        !self.node_uid.is_empty() && self.node_uid != node.metadata.uid
    }

    /// kured's own rule (`ttlExpired`). What is ours never expires, nor does a time that cannot be read.
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

/// Node name and `created`: the two fields that every writer of the record keeps.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId {
    /// The Node's name.
    pub node: String,
    /// As [`hold::canonical`] writes it: kured drops the zeros at the end of a fraction.
    created: String,
}

impl EntryId {
    /// The name of the entry for this Node with this `created`, however it is written.
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

/// The wire shape of the multi lock.
#[derive(Serialize)]
struct Multi {
    #[serde(rename = "maxOwners")]
    max_owners: i64,
    locks: Vec<Entry>,
}

impl Record {
    /// Reads the annotation's text.
    pub fn read(text: Option<&str>) -> Reading<Record> {
        let Some(text) = text else { return Reading::Absent };
        read::read(text).map_or_else(Reading::Malformed, Reading::Present)
    }

    /// The annotation's text; `None` removes it.
    ///
    /// An empty record is removed: a kured of one owner takes an empty list for an entry that never ends (its defect D10),
    /// and a kured of several reads nothing as an empty list.
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

    /// This entry, if the record has it.
    pub fn entry(&self, id: &EntryId) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.id() == *id)
    }

    /// The entries that have expired by their own TTL, and are therefore kured's.
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

    /// The entry for this node, whichever hold it stands for and whoever's it is; the manual lock is nobody's.
    pub fn of_node(&self, node: &str) -> Option<&Entry> {
        let mut of_node = self
            .entries
            .iter()
            .filter(|entry| entry.node == node && !entry.is_by_hand());
        let first = of_node.clone().next();
        of_node.find(|entry| entry.is_ours()).or(first)
    }

    /// The record without this entry and without any older one of ours for its node, or `None` if it has neither.
    pub fn released(&self, id: &EntryId) -> Option<Record> {
        let is_over = |entry: &Entry| entry.id() == *id || (entry.node == id.node && entry.is_ours());
        let mut record = self.clone();
        record.entries.retain(|entry| !is_over(entry));
        (record != *self).then_some(record)
    }

    /// The record with this entry sealed in this boot for this attempt, or `None` if it does not have it.
    ///
    /// It always changes the object, so that whoever dropped the entry meanwhile makes the compare-and-swap fail.
    pub fn confirmed(&self, id: &EntryId, boot: &Boot, attempts: u8) -> Option<Record> {
        self.changed(id, |entry| {
            entry.sealed = true;
            entry.boot_id.clone_from(&boot.id);
            entry.init.clone_from(&boot.init);
            entry.attempts = attempts;
        })
    }

    /// The record with this entry kept though its Node was given back, or `None` if it does not have it.
    pub fn kept(&self, id: &EntryId) -> Option<Record> {
        self.changed(id, |entry| entry.given_back = true)
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

    /// The record with `mine` added, or who is in the way.
    ///
    /// `over` are entries that ended by evidence, read after this record; `held` are the nodes that show a hold beyond a wish,
    /// listed after this record: such a node fills a slot even if a person removed its entry.
    /// An entry of kured's for our own node is in the way whatever `concurrency` is: two daemons must not reboot one node.
    /// So is one that a person wrote.
    ///
    /// A record that was a list stays one: a kured of several owners takes a single entry for an empty list (its defect D11).
    pub fn acquired(
        &self,
        mine: Entry,
        concurrency: usize,
        over: &BTreeSet<EntryId>,
        held: &BTreeSet<String>,
    ) -> Result<Record, BTreeSet<String>> {
        let mut record = self.without(over);
        // An older hold of our own Node is over: the Node shows the new one.
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

/// Whether the read of its Node can end an entry: ours always, kured's once its TTL is over, the manual lock never.
pub fn is_judged(entry: &Entry, expired: &BTreeSet<EntryId>) -> bool {
    entry.is_ours() || expired.contains(&entry.id())
}

/// Whether an entry is over, judged by a read of its Node that is younger than the read of the record.
/// `None` is a Node that is gone; `expired` are the entries that were when the record was read.
pub fn is_over(entry: &Entry, expired: &BTreeSet<EntryId>, node: Option<&NodeView>) -> bool {
    if !is_judged(entry, expired) {
        return false;
    }
    let Some(node) = node.filter(|node| !entry.is_of_another(node)) else {
        return true;
    };
    if !entry.is_ours() {
        // kured cordons the node it holds the lock for: a cordon that still stands may be a drain longer than its TTL.
        return !node.spec.unschedulable;
    }
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
