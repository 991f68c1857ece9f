//! The object that carries the lock: how it is read, and the bodies of the requests that write it.
//!
//! A write is a merge patch with the version that was read, and never a whole object: kured's DaemonSet belongs to somebody else.
//!
//! Not here: the lock's record ([`crate::lock`]) and when it is written ([`crate::reboot::cycle`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Reading;
use crate::keys;
use crate::lock::{EntryId, Record, UsedRequests};
use crate::node::null_is_default;
use crate::quote::{QUOTED_MAX, always_quoted, quoted};
use crate::selector::Selector;

/// Which object carries the lock of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// A Lease of ours.
    #[default]
    Lease,
    /// kured's DaemonSet, in the annotation that kured uses too.
    DaemonSet,
}

/// One of the objects that may carry the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockObject {
    /// Which kind of object it is.
    pub carrier: Carrier,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The key of the annotation that holds the lock's record.
    pub key: String,
}

impl LockObject {
    /// Reads the lock on this object. `now` decides which entries of kured's have expired.
    pub fn read(&self, view: &CarrierView, now: Timestamp) -> LockView {
        let mut lock = view.lock(self.carrier, &self.key, now);
        if let Reading::Malformed(why) = &mut lock.record {
            *why = format!(
                "the annotation {} of the {self} cannot be read: {why}: mend it there, or remove it while no node is in a reboot",
                self.key
            );
        }
        if let Reading::Malformed(why) = &mut lock.used {
            *why = format!(
                "the annotation {} of the {self}, which says which requests were used, cannot be read: {why}; until it is mended no request \
                 leads to a reboot; so that all until now count as used: {}",
                keys::REQUESTS_USED,
                self.using_up()
            );
        }
        lock
    }

    /// The command after which every request that was made before it counts as used. To remove the annotation would make used ones count again.
    fn using_up(&self) -> String {
        format!(
            r#"kubectl -n {} annotate --overwrite {} {} {}="{{\"up_to\":\"$(date -u +%Y-%m-%dT%H:%M:%SZ)\",\"nodes\":{{}}}}""#,
            quoted(&self.namespace),
            self.kind().to_lowercase(),
            quoted(&self.name),
            keys::REQUESTS_USED
        )
    }

    fn kind(&self) -> &'static str {
        match self.carrier {
            Carrier::Lease => "Lease",
            Carrier::DaemonSet => "DaemonSet",
        }
    }

    /// What is applied to create the Lease of a pool: the pool's selector and nothing else, so that the lock on a Lease that exists
    /// already stays as it is.
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
        write!(f, "{} {}/{}", self.kind(), self.namespace, self.name)
    }
}

/// An object that may carry a lock, as read.
#[derive(Clone, Debug)]
pub struct SeenLock {
    /// Which object, and which of its annotations.
    pub object: LockObject,
    /// What was read of it.
    pub view: CarrierView,
}

impl SeenLock {
    /// The lock on it. `now` decides which entries of kured's have expired.
    pub fn read(&self, now: Timestamp) -> LockView {
        self.object.read(&self.view, now)
    }
}

/// The objects that may carry the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockObjects {
    /// A Lease of ours.
    pub lease: LockObject,
    /// kured's DaemonSet.
    pub daemon_set: LockObject,
    /// Which one is read first.
    pub first: Carrier,
    /// Which one is read if the first does not exist. `None`: the lock is on the first even so, and nobody holds it.
    pub otherwise: Option<Carrier>,
}

impl LockObjects {
    /// Whether it may change which object carries the lock, as with `--lock-on=auto`.
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

/// The lock as read. By default its object does not exist, and nobody holds the lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LockView {
    /// Which object was read. A write goes to the same one.
    pub carrier: Carrier,
    /// The `resourceVersion` that was read. `None`: the object does not exist yet.
    pub version: Option<String>,
    /// The lock's record.
    pub record: Reading<Record>,
    /// The entries that have expired by their own TTL. Only kured's do.
    pub expired: BTreeSet<EntryId>,
    /// What a person wrote to pause the whole pool, if one has.
    pub paused: Option<String>,
    /// When the pool's last reboot ended.
    pub last_reboot: Reading<Timestamp>,
    /// Which requests for reboots were used.
    pub used: Reading<UsedRequests>,
}

/// A write of the lock, as a compare-and-swap.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LockWrite {
    /// Which object is written.
    pub carrier: Carrier,
    /// The `resourceVersion` that was read. `None`: the object is created first.
    pub version: Option<String>,
    /// The record to write.
    pub record: Record,
    /// Whether a reboot of the pool ends with this write, so that its time is noted.
    pub ends_reboot: bool,
    /// The requests that are used from this write on, if it uses one.
    pub uses: Option<UsedRequests>,
}

/// A Lease or a DaemonSet: the fields that the lock needs.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct CarrierView {
    /// Its `metadata`.
    pub metadata: Metadata,
}

/// The fields of its `metadata` that the lock needs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Its name.
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    /// Its `resourceVersion`, for a compare-and-swap.
    pub resource_version: String,
    /// Its annotations by key.
    #[serde(default, deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
}

impl CarrierView {
    /// Reads the lock in this annotation. `now` decides which entries of kured's have expired.
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
            used: UsedRequests::read(self.annotation(keys::REQUESTS_USED)),
            last_reboot: match self.annotation(keys::LAST_REBOOT) {
                None => Reading::Absent,
                Some(text) => text.parse().map_or_else(
                    |_| Reading::Malformed(format!("{} is no time", always_quoted(text, QUOTED_MAX))),
                    Reading::Present,
                ),
            },
        }
    }

    /// The `resourceVersion`, if the object carries neither a record nor a pause, nor used requests.
    pub fn version_if_empty(self) -> Option<String> {
        let is_empty = [keys::LOCK, keys::PAUSE, keys::REQUESTS_USED]
            .iter()
            .all(|key| self.annotation(key).is_none());
        is_empty.then_some(self.metadata.resource_version)
    }

    /// The label selector of this Lease's pool, if it has one.
    pub fn pool_selector(&self) -> Option<&str> {
        self.annotation(keys::POOL_SELECTOR)
    }

    /// The value of this annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.get(key).map(String::as_str)
    }
}

/// The merge patch that writes the lock into this annotation, as a compare-and-swap at this version.
pub fn patch(write: &LockWrite, key: &str, version: &str, now: Timestamp) -> Value {
    let mut body = json!({
        "metadata": {
            "resourceVersion": version,
            "annotations": { key: write.record.render() },
        },
    });
    // The time makes every write change the object, also a confirm that writes the same record again.
    match write.carrier {
        Carrier::Lease => {
            let nodes: Vec<&str> = write
                .record
                .entries
                .iter()
                .map(|entry| entry.node.as_str())
                .collect();
            // For people: kubectl shows the holder of a Lease.
            let holders = (!nodes.is_empty()).then(|| nodes.join(","));
            body["spec"] = json!({ "holderIdentity": holders, "renewTime": format!("{now:.6}") });
        }
        Carrier::DaemonSet => {
            body["metadata"]["annotations"][keys::LOCK_WRITTEN] = json!(format!("{now:.9}"));
        }
    }
    if let Some(used) = &write.uses {
        body["metadata"]["annotations"][keys::REQUESTS_USED] = json!(used.render());
    }
    if write.ends_reboot {
        body["metadata"]["annotations"][keys::LAST_REBOOT] = json!(format!("{now:.0}"));
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

    fn lease() -> LockObject {
        LockObject {
            carrier: Carrier::Lease,
            namespace: "cordonhold".to_owned(),
            name: "pool-a".to_owned(),
            key: keys::LOCK.to_owned(),
        }
    }

    #[test]
    fn a_lease_is_registered_with_the_selector_of_its_pool_alone() {
        let registration = lease().registration(&"pool=a".parse().unwrap());
        let metadata = json!({ "name": "pool-a", "namespace": "cordonhold", "annotations": { keys::POOL_SELECTOR: "pool=a" } });
        let kind = ("coordination.k8s.io/v1", "Lease");
        assert_eq!(
            registration,
            json!({ "apiVersion": kind.0, "kind": kind.1, "metadata": metadata })
        );
    }

    #[test]
    fn used_requests_that_cannot_be_read_come_with_the_command_that_uses_up_all_until_now() {
        let lock = lease().read(
            &view(r#"{"cordonhold.dev/requests-used":"["}"#),
            Timestamp::UNIX_EPOCH,
        );
        let Reading::Malformed(why) = lock.used else {
            panic!("{:?}", lock.used);
        };
        let command = r#"kubectl -n cordonhold annotate --overwrite lease pool-a cordonhold.dev/requests-used="{\"up_to\":\"$(date -u"#;
        assert!(why.contains(command), "{why}");
    }

    #[test]
    fn the_lock_may_move_where_a_second_object_is_named() {
        let objects = |otherwise| LockObjects {
            lease: lease(),
            daemon_set: LockObject {
                carrier: Carrier::DaemonSet,
                ..lease()
            },
            first: Carrier::DaemonSet,
            otherwise,
        };
        assert!(objects(Some(Carrier::Lease)).is_auto() && !objects(None).is_auto());
    }

    #[test]
    fn a_lease_names_its_holders_for_people_and_nobody_once_it_is_free() {
        let holder = |entries: Vec<Entry>| {
            let write = LockWrite {
                carrier: Carrier::Lease,
                version: Some("7".to_owned()),
                record: Record {
                    entries,
                    ..Record::default()
                },
                uses: None,
                ends_reboot: false,
            };
            patch(&write, keys::LOCK, "7", Timestamp::UNIX_EPOCH)["spec"]["holderIdentity"].clone()
        };
        let entry = |node: &str| Entry::new(node, "", "2026-11-23T10:00:00Z", false);
        assert_eq!(holder(vec![entry("a"), entry("b")]), json!("a,b"));
        assert_eq!(holder(Vec::new()), Value::Null);
    }

    #[test]
    fn a_lock_that_somebody_wrote_meanwhile_is_not_overwritten() {
        assert_eq!(view("null").version_if_empty(), Some("7".to_owned()));
        assert_eq!(view(r#"{"other":"x"}"#).version_if_empty(), Some("7".to_owned()));
        assert_eq!(view(r#"{"cordonhold.dev/lock":"{}"}"#).version_if_empty(), None);
        assert_eq!(view(r#"{"cordonhold.dev/pause":"x"}"#).version_if_empty(), None);
        let used = view(r#"{"cordonhold.dev/requests-used":"{}"}"#);
        assert_eq!(used.version_if_empty(), None);
    }

    #[test]
    fn d20_the_daemon_set_is_patched_in_its_annotations_and_nowhere_else() {
        let mut write = LockWrite {
            carrier: Carrier::DaemonSet,
            version: Some("7".to_owned()),
            record: Record::default(),
            ends_reboot: false,
            uses: None,
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
        assert!(
            released["metadata"]["annotations"]
                .get(keys::LAST_REBOOT)
                .is_none()
        );
    }

    #[test]
    fn the_end_of_a_reboot_is_written_beside_the_record_on_either_object_and_read_again() {
        let now: Timestamp = "2026-11-23T10:00:00.5Z".parse().unwrap();
        for carrier in [Carrier::Lease, Carrier::DaemonSet] {
            let write = LockWrite {
                carrier,
                version: Some("7".to_owned()),
                record: Record::default(),
                ends_reboot: true,
                uses: None,
            };
            let annotations = &patch(&write, keys::KURED_LOCK, "7", now)["metadata"]["annotations"];
            assert!(annotations[keys::KURED_LOCK].is_null());
            let text = &annotations[keys::LAST_REBOOT];
            assert_eq!(text, "2026-11-23T10:00:00Z");
            let read = |text: &Value| {
                let view = view(&json!({ keys::LAST_REBOOT: text }).to_string());
                view.lock(carrier, keys::KURED_LOCK, now).last_reboot
            };
            assert_eq!(
                read(text),
                Reading::Present("2026-11-23T10:00:00Z".parse().unwrap())
            );
            let garbage = read(&json!("yesterday"));
            assert_eq!(garbage, Reading::Malformed("'yesterday' is no time".to_owned()));
        }
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
