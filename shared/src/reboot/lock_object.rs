//! The object that carries the lock: how it is read, and the bodies of the requests that write it.
//!
//! A write is a merge patch of metadata with the version that was read, never a whole object: kured's DaemonSet is its owner's.
//! Not here: the record inside ([`crate::lock`]) and who writes it when ([`crate::reboot::cycle`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Reading;
use crate::keys;
use crate::lock::{EntryId, Record};
use crate::node::null_is_default;
use crate::selector::Selector;

/// Which object carries the lock of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// A Lease of ours.
    #[default]
    Lease,
    /// The annotation on kured's DaemonSet, shared with kured.
    DaemonSet,
}

/// One of the objects that may carry the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockObject {
    /// What kind of object.
    pub carrier: Carrier,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The annotation that is the lock.
    pub key: String,
}

impl LockObject {
    /// The lock on this object as of now.
    pub fn read(&self, view: &CarrierView, now: Timestamp) -> LockView {
        let mut lock = view.lock(self.carrier, &self.key, now);
        if let Reading::Malformed(why) = &mut lock.record {
            *why = format!(
                "the annotation {} of the {self} cannot be read: {why}: mend it there, or remove it while no node is in a reboot",
                self.key
            );
        }
        lock
    }

    /// What is applied to create the Lease of a pool: which Nodes are its own, and nothing else,
    /// so that the lock of one that is there stays as it is.
    pub fn registration(&self, selector: &Selector) -> Value {
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "annotations": { keys::POOL_SELECTOR: selector.to_string() },
            },
        })
    }
}

impl fmt::Display for LockObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.carrier {
            Carrier::Lease => "Lease",
            Carrier::DaemonSet => "DaemonSet",
        };
        write!(f, "{kind} {}/{}", self.namespace, self.name)
    }
}

/// Where the lock may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockObjects {
    /// A Lease of ours.
    pub lease: LockObject,
    /// kured's DaemonSet.
    pub daemon_set: LockObject,
    /// Which one is read first.
    pub first: Carrier,
    /// Which one is read where the first does not exist; without it, the lock is on the first all the same, and nobody holds it.
    pub otherwise: Option<Carrier>,
}

impl LockObjects {
    /// `--lock-on=auto`: which object it is may change.
    pub fn is_auto(&self) -> bool {
        self.otherwise.is_some()
    }

    /// The object of this kind.
    pub fn object(&self, carrier: Carrier) -> &LockObject {
        match carrier {
            Carrier::Lease => &self.lease,
            Carrier::DaemonSet => &self.daemon_set,
        }
    }
}

/// A read of the lock object. By default there is none, and nobody holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LockView {
    /// Which object was read: a write goes to the same.
    pub carrier: Carrier,
    /// `None`: the object does not exist yet.
    pub version: Option<String>,
    /// The lock's record.
    pub record: Reading<Record>,
    /// Its entries that have expired by their own TTL: only kured's do.
    pub expired: BTreeSet<EntryId>,
    /// A person paused the whole pool, with this word.
    pub paused: Option<String>,
}

/// A write of the lock object: a compare-and-swap.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LockWrite {
    /// Which object.
    pub carrier: Carrier,
    /// `None`: create it.
    pub version: Option<String>,
    /// The record that is written.
    pub record: Record,
}

/// A Lease or a DaemonSet, as far as the lock goes.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct CarrierView {
    /// Its `metadata`.
    pub metadata: Metadata,
}

/// Of its `metadata`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Its name.
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    /// Its version, for a compare-and-swap.
    pub resource_version: String,
    /// Its annotations by key.
    #[serde(default, deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
}

impl CarrierView {
    /// The lock in this annotation as of now: kured's entries may have expired.
    fn lock(&self, carrier: Carrier, key: &str, now: Timestamp) -> LockView {
        let record = Record::read(self.annotation(key));
        LockView {
            carrier,
            version: Some(self.metadata.resource_version.clone()),
            expired: record
                .as_ref()
                .present()
                .map(|record| record.expired(now))
                .unwrap_or_default(),
            record,
            paused: self.annotation(keys::PAUSE).map(str::to_owned),
        }
    }

    /// The version, if there is neither a record nor a pause.
    pub fn version_if_empty(self) -> Option<String> {
        let is_empty = self.annotation(keys::LOCK).is_none() && self.annotation(keys::PAUSE).is_none();
        is_empty.then_some(self.metadata.resource_version)
    }

    /// Which Nodes the pool of this Lease takes, if it says so.
    pub fn pool_selector(&self) -> Option<&str> {
        self.annotation(keys::POOL_SELECTOR)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.get(key).map(String::as_str)
    }
}

/// The merge patch that is a compare-and-swap of the lock in this annotation, at this version.
pub fn patch(write: &LockWrite, key: &str, version: &str, now: Timestamp) -> Value {
    let mut body = json!({
        "metadata": {
            "resourceVersion": version,
            "annotations": { key: write.record.render() },
        },
    });
    // The time makes each write change the object.
    match write.carrier {
        Carrier::Lease => {
            let nodes: Vec<&str> = write
                .record
                .entries
                .iter()
                .map(|entry| entry.node.as_str())
                .collect();
            // For people: kubectl shows the holder.
            let holders = (!nodes.is_empty()).then(|| nodes.join(","));
            body["spec"] = json!({ "holderIdentity": holders, "renewTime": format!("{now:.6}") });
        }
        Carrier::DaemonSet => {
            body["metadata"]["annotations"][keys::LOCK_WRITTEN] = json!(format!("{now:.9}"));
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::Entry;

    fn view(annotations: &str) -> CarrierView {
        let json = format!(r#"{{"metadata":{{"resourceVersion":"7","annotations":{annotations}}}}}"#);
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn a_lock_that_somebody_wrote_meanwhile_is_not_overwritten() {
        assert_eq!(view("null").version_if_empty(), Some("7".to_owned()));
        assert_eq!(view(r#"{"other":"x"}"#).version_if_empty(), Some("7".to_owned()));
        assert_eq!(view(r#"{"cordonhold.dev/lock":"{}"}"#).version_if_empty(), None);
        assert_eq!(view(r#"{"cordonhold.dev/pause":"x"}"#).version_if_empty(), None);
    }

    #[test]
    fn d20_the_daemon_set_is_patched_in_its_annotations_and_nowhere_else() {
        let mut write = LockWrite {
            carrier: Carrier::DaemonSet,
            version: Some("7".to_owned()),
            record: Record::default(),
        };
        write
            .record
            .entries
            .push(Entry::new("a", "", "2026-11-23T10:00:00Z", false));
        let now: Timestamp = "2026-11-23T10:00:00.5Z".parse().unwrap();
        let body = patch(&write, keys::KURED_LOCK, "7", now);
        assert_eq!(
            body,
            json!({ "metadata": {
                "resourceVersion": "7",
                "annotations": {
                    "weave.works/kured-node-lock":
                        r#"{"nodeID":"a","metadata":{"unschedulable":false},"created":"2026-11-23T10:00:00Z","TTL":-1}"#,
                    "cordonhold.dev/lock-written": "2026-11-23T10:00:00.500000000Z",
                },
            } })
        );
        // A confirm that writes the same record again is a change all the same.
        let later = patch(
            &write,
            keys::KURED_LOCK,
            "7",
            now.saturating_add(jiff::SignedDuration::from_nanos(1)).unwrap(),
        );
        assert_ne!(body, later);
        write.record.entries.clear();
        let released = patch(&write, keys::KURED_LOCK, "8", now);
        assert!(released["metadata"]["annotations"][keys::KURED_LOCK].is_null());
    }

    #[test]
    fn the_lock_is_read_from_the_annotation_that_was_named() {
        let view = view(r#"{"example.com/lock":"{\"nodeID\":\"n1\"}","cordonhold.dev/pause":"sale"}"#);
        let lock = view.lock(Carrier::DaemonSet, "example.com/lock", Timestamp::MIN);
        assert_eq!(lock.record.present().map(|record| record.entries.len()), Some(1));
        assert_eq!(
            (lock.carrier, lock.paused.as_deref()),
            (Carrier::DaemonSet, Some("sale"))
        );
        let other = view.lock(Carrier::DaemonSet, keys::KURED_LOCK, Timestamp::MIN);
        assert_eq!(other.record, crate::Reading::Absent);
    }
}
