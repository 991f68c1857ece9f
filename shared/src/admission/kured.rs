//! Stock kured: whose node its lock and marks name, and who may edit that lock.
//!
//! Not here: the record itself ([`crate::lock`]), and how it is read from the cluster.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Evaluation, Fact, Known, Reason, Requester, Ruling, SKEW, ServiceAccount, Subject};
use crate::Reading;
use crate::kured::Kured;
use crate::lock::{Entry, Record};
use crate::node::NodeView;

/// The lock annotations that are on kured's DaemonSet, by key. None: no lock, or no such DaemonSet.
pub type Locks = BTreeMap<String, String>;

/// What a look at kured's DaemonSet has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KuredSeen {
    /// `None`: the cluster has no such DaemonSet.
    pub found: Option<Kured>,
    /// Its lock annotations.
    pub locks: Locks,
}

/// Stock kured, as installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KuredPolicy {
    /// Whose pods are kured's, where a flag says so. `None`: its DaemonSet says it.
    pub service_account: Option<ServiceAccount>,
    /// Whether a token of kured's that names no node is believed on every node. Those of Kubernetes before 1.30 name none.
    pub is_believed_without_node: bool,
    /// Its Node annotations. They say that a reboot is wanted, and may stay for hours before and after it.
    pub marks: Vec<String>,
    /// `None`: the lock is not read, and a mark by itself holds the Node.
    pub lock: Option<KuredLock>,
}

/// Where kured's lock is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KuredLock {
    /// With the name: where its DaemonSet is looked for first.
    pub ds_namespace: String,
    /// `--kured-ds-name`.
    pub ds_name: String,
    /// Each is read, and each can hold: a fleet between two versions of kured has both.
    pub annotations: Vec<String>,
    /// What becomes of an uncordon where it cannot be read.
    pub on_lookup_failure: OnLookupFailure,
}

/// What happens to an uncordon where kured's lock cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnLookupFailure {
    /// It is denied.
    #[default]
    Deny,
    /// It passes, flagged.
    Allow,
}

/// An update of a DaemonSet: its lock annotations before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockEdit {
    /// The namespace of the DaemonSet.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its lock annotations before the update, by key.
    pub old: BTreeMap<String, String>,
    /// Its lock annotations after it.
    pub new: BTreeMap<String, String>,
}

/// Of its pods, as its DaemonSet says it.
impl From<&Kured> for ServiceAccount {
    fn from(kured: &Kured) -> ServiceAccount {
        ServiceAccount {
            namespace: kured.namespace.clone(),
            name: kured.service_account.clone(),
        }
    }
}

impl KuredPolicy {
    /// kured on this very node, where its pods run as this ServiceAccount.
    fn is_owner(&self, requester: &Requester, account: &ServiceAccount, node: &str) -> bool {
        requester.user == account.user() && self.is_claim_fitting(requester, node)
    }

    fn is_claim_fitting(&self, requester: &Requester, node: &str) -> bool {
        requester.is_on(node) || (self.is_believed_without_node && requester.node_claim.is_empty())
    }

    fn has_mark(&self, node: &NodeView) -> bool {
        self.marks.iter().any(|key| node.annotation(key).is_some())
    }
}

impl KuredLock {
    /// Why an uncordon of this node is denied by what the locks say, if it is.
    ///
    /// The manual lock names no node: it keeps kured from starting a reboot, and holds no cordon.
    fn holds(&self, locks: &Locks, node: &str, now: Timestamp) -> Option<Reason> {
        let readings = self.annotations.iter().map(|key| read(locks, key));
        // Where our lock is kured's annotation, our own entries are there too: what they hold the Node itself shows.
        let surely = now.checked_sub(SKEW).unwrap_or(now);
        let names_node = |entry: &Entry| is_kureds(entry, node) && !entry.has_expired(surely);
        let reasons = readings.filter_map(|reading| match reading {
            Reading::Absent => None,
            Reading::Malformed(_) => Some(Reason::LockUnreadable),
            Reading::Present(record) => record.entries.iter().any(names_node).then_some(Reason::KuredHeld),
        });
        // A lock that names the node says more than one that cannot be read.
        reasons.min()
    }

    /// Whether an entry of kured's names this node, be it over or not.
    fn names(&self, locks: &Locks, node: &str) -> bool {
        let readings = self.annotations.iter().map(|key| read(locks, key));
        let mut records = readings.filter_map(Reading::present);
        records.any(|record| record.entries.iter().any(|entry| is_kureds(entry, node)))
    }
}

impl Evaluation<'_> {
    /// An uncordon that no hold of ours forbids: does kured's?
    pub(super) fn kured(&self, node: &NodeView) -> Ruling {
        let Some(kured) = &self.policy.kured else {
            return Reason::NotHeld.into();
        };
        let requester = &self.request.requester;
        let is_owner = |account: &ServiceAccount| kured.is_owner(requester, account, node.name());
        if kured.service_account.as_ref().is_some_and(is_owner) {
            return Reason::KuredOwner.into();
        }
        let free = if kured.has_mark(node) {
            Reason::KuredMarked
        } else {
            Reason::NotHeld
        };
        let Some(lock) = &kured.lock else {
            return free.into();
        };
        // The watch may be stale, so it can only deny: "not held" is confirmed by a fresh read, and so is whose pods are kured's.
        match &self.facts.watched_kured_lock {
            _ if kured.service_account.is_none()
                && requester.is_service_account()
                && kured.is_claim_fitting(requester, node.name()) => {}
            Known::Unasked => return Ruling::Need(Fact::WatchedKuredLock),
            Known::Is(seen) => {
                if let Some(reason) = lock.holds(&seen.locks, node.name(), self.now) {
                    return reason.into();
                }
            }
            Known::Failed(_) => {}
        }
        match &self.facts.kured_lock {
            Known::Unasked => Ruling::Need(Fact::KuredLock),
            Known::Failed(_) => Reason::LookupFailed.into(),
            Known::Is(seen)
                if kured.service_account.is_none()
                    && seen.found.as_ref().is_some_and(|found| is_owner(&found.into())) =>
            {
                Reason::KuredOwner.into()
            }
            Known::Is(seen) => match lock.holds(&seen.locks, node.name(), self.now) {
                Some(reason) => reason.into(),
                // kured takes it for over too, but whoever wrote it may still drain or reboot the node.
                None if lock.names(&seen.locks, node.name()) => Reason::KuredExpired.into(),
                None => free.into(),
            },
        }
    }

    /// A pod on this very node, where only kured's DaemonSet says whose pods are kured's.
    ///
    /// The configuration lets it pass with the webhook dead, and the decision does where that DaemonSet cannot be read:
    /// a kured that may not uncordon its node keeps its lock, and no other node is rebooted.
    pub(super) fn may_be_kured(&self) -> bool {
        let is_read = |kured: &KuredPolicy| kured.service_account.is_none() && kured.lock.is_some();
        let node = self.request.node().map_or("", NodeView::name);
        self.policy.kured.as_ref().is_some_and(is_read) && self.request.requester.is_pod_on(node)
    }

    /// Where kured is, as far as it is known.
    pub(super) fn kured_found(&self) -> Option<&Kured> {
        let facts = [&self.facts.kured_lock, &self.facts.watched_kured_lock];
        facts.into_iter().find_map(|known| known.value()?.found.as_ref())
    }

    /// Whether kured's lock, marks or identity took part.
    pub(super) fn concerns_kured(&self, reason: Reason) -> bool {
        self.request.lock_edit().is_some()
            || reason.subject() == Subject::Kured
            || self.facts.watched_kured_lock.is_asked()
            || self.facts.kured_lock.is_asked()
    }

    /// Which of kured's locks cannot be read, and why.
    pub(super) fn unreadable_lock(&self) -> String {
        let locks_of =
            |known: &Known<KuredSeen>| known.value().map(|seen| seen.locks.clone()).unwrap_or_default();
        let found = match self.request.lock_edit() {
            Some(edit) => [
                (" before this edit", edit.old.clone()),
                (" after this edit", edit.new.clone()),
            ],
            None => [
                ("", locks_of(&self.facts.watched_kured_lock)),
                ("", locks_of(&self.facts.kured_lock)),
            ],
        };
        let keys = self
            .policy
            .kured_lock()
            .map_or(&[][..], |lock| lock.annotations.as_slice());
        let mut unreadable = found.iter().flat_map(|(when, locks)| {
            keys.iter().filter_map(move |key| match read(locks, key) {
                Reading::Malformed(why) => Some(format!("annotation {key}{when}: {why}")),
                Reading::Absent | Reading::Present(_) => None,
            })
        });
        unreadable.next().unwrap_or_default()
    }

    /// The rules for an edit of kured's lock: a pod's token changes the entry of its own node.
    pub(super) fn lock_edit(&self, edit: &LockEdit) -> Reason {
        // Whichever DaemonSet it is: the annotation says that it carries kured's lock.
        let Some(lock) = self.policy.kured_lock() else {
            return Reason::NothingOfOurs;
        };
        let mut changed = lock
            .annotations
            .iter()
            .filter(|key| edit.old.get(*key) != edit.new.get(*key))
            .peekable();
        if changed.peek().is_none() {
            return Reason::NothingOfOurs;
        }
        let requester = &self.request.requester;
        if self.is_exempt() {
            return Reason::Exempt;
        }
        // Agents drop entries of other nodes by evidence; the lock trusts them.
        if self.is_agent() {
            return Reason::Owner;
        }
        if requester.node_claim.is_empty() {
            return Reason::LockEdited;
        }
        let reasons = changed
            .map(|key| entries_changed(requester, &read(&edit.old, key), &read(&edit.new, key), self.now));
        reasons
            .max_by_key(|reason| self.gravity(*reason))
            .unwrap_or(Reason::NothingOfOurs)
    }
}

/// An entry of this node that is not an agent's.
fn is_kureds(entry: &Entry, node: &str) -> bool {
    entry.node == node && !entry.is_ours()
}

fn read(locks: &Locks, key: &str) -> Reading<Record> {
    Record::read(locks.get(key).map(String::as_str))
}

/// Whether a token changes, between these two records, entries of its own node only.
///
/// Expired ones anybody may drop, as kured does; by its own clock, which may be ahead.
fn entries_changed(
    requester: &Requester,
    old: &Reading<Record>,
    new: &Reading<Record>,
    now: Timestamp,
) -> Reason {
    let (old, new) = match (old, new) {
        (Reading::Malformed(_), _) | (_, Reading::Malformed(_)) => return Reason::LockUnreadable,
        (old, new) => (entries(old), entries(new)),
    };
    let is_foreign = |entry: &&Entry| !requester.is_on(&entry.node);
    let is_kept = old
        .iter()
        .filter(is_foreign)
        .filter(|entry| !entry.has_expired(now.checked_add(SKEW).unwrap_or(now)))
        .all(|entry| new.iter().any(|other| is_same(entry, other)));
    let is_invented = new
        .iter()
        .filter(is_foreign)
        .any(|entry| !old.iter().any(|other| is_same(entry, other)));
    if is_kept && !is_invented {
        Reason::OwnEntry
    } else {
        Reason::NotOwnEntry
    }
}

fn entries(reading: &Reading<Record>) -> &[Entry] {
    match reading {
        Reading::Present(record) => &record.entries,
        Reading::Absent | Reading::Malformed(_) => &[],
    }
}

/// In all that kured keeps when it writes the list anew.
fn is_same(a: &Entry, b: &Entry) -> bool {
    a.id() == b.id() && a.ttl_nanos == b.ttl_nanos && a.metadata == b.metadata
}
