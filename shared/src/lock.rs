//! The lock: at most N nodes of a pool between acquire and release.
//!
//! Its record is kured's JSON (kubereboot/kured: pkg/daemonsetlock/daemonsetlock.go), single or multi, and both are read.
//! Every change here is a pure function from record to record; the shell writes it by compare-and-swap.
//! An entry ends by evidence, never by time: entries that are not ours are never judged here.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Reading;
use crate::hold;
use crate::node::NodeView;

/// The lock as read: who holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    pub entries: Vec<Entry>,
}

/// One node's place in the lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Entry {
    /// The Node's name.
    #[serde(rename = "nodeID")]
    pub node: String,
    #[serde(default)]
    pub metadata: EntryMetadata,
    /// The `created` of the hold it stands for. kured's manual lock has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created: String,
    /// Nanoseconds; 0: never expires, so that no kured drops an entry of ours.
    #[serde(rename = "TTL", default)]
    pub ttl_nanos: i64,
    /// Set by the confirm: from here on it ends for others only when the Node is gone, or when it shows neither this hold nor this boot.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sealed: bool,
    #[serde(rename = "bootID", default, skip_serializing_if = "String::is_empty")]
    pub boot_id: String,
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
    pub fn new(node: &str, created: &str, unschedulable: bool) -> Entry {
        Entry {
            node: node.to_owned(),
            metadata: EntryMetadata { unschedulable },
            created: created.to_owned(),
            ttl_nanos: 0,
            sealed: false,
            boot_id: String::new(),
            rest: Map::new(),
        }
    }

    /// What names an entry.
    pub fn id(&self) -> EntryId {
        EntryId {
            node: self.node.clone(),
            created: self.created.clone(),
        }
    }
}

/// Node name and `created`: the two fields that every writer of the record keeps.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId {
    pub node: String,
    pub created: String,
}

/// The wire shape of the multi lock.
#[derive(Deserialize, Serialize)]
struct Multi {
    #[serde(rename = "maxOwners")]
    max_owners: usize,
    #[serde(deserialize_with = "crate::node::null_is_default")]
    locks: Vec<Entry>,
}

impl Record {
    /// Reads the annotation's text.
    pub fn read(text: Option<&str>) -> Reading<Record> {
        let Some(text) = text else { return Reading::Absent };
        let value: Value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(error) => return Reading::Malformed(error.to_string()),
        };
        let entries = if value.get("locks").is_some() {
            serde_json::from_value::<Multi>(value).map(|multi| multi.locks)
        } else {
            serde_json::from_value::<Entry>(value).map(|entry| vec![entry])
        };
        match entries {
            Ok(entries) => Reading::Present(Record { entries }),
            Err(error) => Reading::Malformed(error.to_string()),
        }
    }

    /// The annotation's text; `None` removes it. The shape is kured's for this concurrency,
    /// and the list wherever a single entry would lose a holder.
    pub fn render(&self, concurrency: usize) -> Option<String> {
        let text = match (self.entries.as_slice(), concurrency) {
            ([], 0 | 1) => return None,
            ([entry], 0 | 1) => serde_json::to_string(entry),
            (entries, _) => serde_json::to_string(&Multi {
                max_owners: concurrency,
                locks: entries.to_vec(),
            }),
        };
        Some(text.expect("a record of strings, numbers and maps always renders"))
    }

    /// This entry, if the record has it.
    pub fn entry(&self, id: &EntryId) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|entry| entry.node == id.node && entry.created == id.created)
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
        }
    }

    /// The record without this entry, or `None` if it does not have it.
    pub fn released(&self, id: &EntryId) -> Option<Record> {
        let _ = self.entry(id)?;
        Some(self.without(&BTreeSet::from([id.clone()])))
    }

    /// The record with this entry sealed in this boot, or `None` if it does not have it.
    ///
    /// It always changes the object, so that whoever dropped the entry meanwhile makes the compare-and-swap fail.
    pub fn confirmed(&self, id: &EntryId, boot_id: &str) -> Option<Record> {
        let _ = self.entry(id)?;
        let mut record = self.clone();
        for entry in record.entries.iter_mut().filter(|entry| entry.id() == *id) {
            entry.sealed = true;
            boot_id.clone_into(&mut entry.boot_id);
        }
        Some(record)
    }

    /// The record with `mine` added, or who is in the way.
    ///
    /// `over` are entries that ended by evidence, read after this record; `held` are the nodes that show a hold beyond a wish,
    /// listed after this record: such a node fills a slot even if a person removed its entry.
    pub fn acquired(
        &self,
        mine: Entry,
        concurrency: usize,
        over: &BTreeSet<EntryId>,
        held: &BTreeSet<String>,
    ) -> Result<Record, BTreeSet<String>> {
        let mut record = self.without(over);
        // An older hold of our own Node is over: the Node shows the new one.
        record.entries.retain(|entry| entry.node != mine.node);
        let mut slots: BTreeSet<String> = record.entries.iter().map(|entry| entry.node.clone()).collect();
        slots.extend(held.iter().filter(|node| **node != mine.node).cloned());
        if slots.len() >= concurrency.max(1) {
            return Err(slots);
        }
        record.entries.push(mine);
        Ok(record)
    }
}

/// Whether an entry of ours is over, judged by a read of its Node that is younger than the read of the record.
/// `None` is a Node that is gone.
pub fn is_over(entry: &Entry, node: Option<&NodeView>) -> bool {
    // kured's manual lock and very old entries: not ours to judge.
    if entry.created.is_empty() {
        return false;
    }
    let Some(node) = node else { return true };
    let lost = match hold::read(node) {
        Reading::Absent => true,
        Reading::Present(hold) => hold.holder.created != entry.created,
        Reading::Malformed(_) => false,
    };
    let other_boot =
        !node.status.node_info.boot_id.is_empty() && node.status.node_info.boot_id != entry.boot_id;
    lost && (!entry.sealed || other_boot)
}

#[cfg(test)]
mod tests;
