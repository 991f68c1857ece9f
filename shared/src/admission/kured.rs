//! The rules for stock kured: which Nodes its lock and marks protect from an uncordon, and who may edit the lock.
//!
//! Not here: the format of the lock ([`crate::lock`]), and how it is read from the cluster (the webhook's `lookup`).

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Evaluation, Fact, Known, Reason, Requester, Ruling, SKEW, ServiceAccount, Subject};
use crate::Reading;
use crate::kured::Kured;
use crate::lock::{Entry, Record};
use crate::node::NodeView;

/// The lock annotations on kured's DaemonSet, by key. Empty if there is no lock, or no such DaemonSet.
pub type Locks = BTreeMap<String, String>;

/// kured's DaemonSet as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KuredSeen {
    /// The DaemonSet and its ServiceAccount. `None`: the cluster has no such DaemonSet.
    pub found: Option<Kured>,
    /// The lock annotations of the DaemonSet.
    pub locks: Locks,
}

/// The webhook's settings for stock kured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KuredPolicy {
    /// kured's ServiceAccount, from `--kured-service-account`. `None`: it is read from kured's DaemonSet.
    pub service_account: Option<ServiceAccount>,
    /// Whether a token of kured that names no node is accepted on every node. Tokens of Kubernetes before 1.30 never name one.
    pub is_believed_without_node: bool,
    /// kured's annotations on a Node. They say that a reboot is wanted, and may be there for hours before and after it.
    pub marks: Vec<String>,
    /// Where the lock is. `None`: the lock is not read, and a mark alone protects the Node.
    pub lock: Option<KuredLock>,
}

/// Where kured's lock is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KuredLock {
    /// Namespace where kured's DaemonSet is looked for first.
    pub ds_namespace: String,
    /// Name under which kured's DaemonSet is looked for first.
    pub ds_name: String,
    /// Keys of the lock annotations. All are read, and each can hold a Node: during an upgrade of kured both versions run.
    pub annotations: Vec<String>,
    /// What happens to an uncordon if the lock cannot be looked up.
    pub on_lookup_failure: OnLookupFailure,
}

/// What happens to an uncordon if kured's lock cannot be looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnLookupFailure {
    /// The uncordon is denied.
    #[default]
    Deny,
    /// The uncordon passes with a warning.
    Allow,
}

/// An update of a DaemonSet: its lock annotations before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockEdit {
    /// The namespace of the DaemonSet.
    pub namespace: String,
    /// The name of the DaemonSet.
    pub name: String,
    /// The lock annotations before the update, by key.
    pub old: BTreeMap<String, String>,
    /// The lock annotations after the update, by key.
    pub new: BTreeMap<String, String>,
}

/// The ServiceAccount that the pods of kured's DaemonSet run as.
impl From<&Kured> for ServiceAccount {
    fn from(kured: &Kured) -> ServiceAccount {
        ServiceAccount {
            namespace: kured.namespace.clone(),
            name: kured.service_account.clone(),
        }
    }
}

impl KuredPolicy {
    /// Whether the requester is kured on this node, if kured's pods run as this ServiceAccount.
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
    /// Why the locks deny an uncordon of this node; `None` if they do not.
    ///
    /// kured's manual lock does not count: it keeps kured from starting reboots, but no node is cordoned for it.
    fn holds(&self, locks: &Locks, node: &str, now: Timestamp) -> Option<Reason> {
        let readings = self.annotations.iter().map(|key| read(locks, key));
        // The agents may share kured's lock annotation. Their entries do not count here: the marks on the Node show what they hold.
        // The webhook's clock may be ahead, so an entry counts as expired only `SKEW` after its end.
        let surely = now.checked_sub(SKEW).unwrap_or(now);
        let names_node = |entry: &Entry| is_kureds(entry, node) && !entry.has_expired(surely);
        let reasons = readings.filter_map(|reading| match reading {
            Reading::Absent => None,
            Reading::Malformed(_) => Some(Reason::LockUnreadable),
            Reading::Present(record) => record.entries.iter().any(names_node).then_some(Reason::KuredHeld),
        });
        // If one lock names the node and another cannot be read, the first is the better explanation (`KuredHeld` sorts first).
        reasons.min()
    }

    /// Whether an entry of kured names this node, expired or not.
    fn names(&self, locks: &Locks, node: &str) -> bool {
        let readings = self.annotations.iter().map(|key| read(locks, key));
        let mut records = readings.filter_map(Reading::present);
        records.any(|record| record.entries.iter().any(|entry| is_kureds(entry, node)))
    }
}

impl Evaluation<'_> {
    /// The rules of kured for an uncordon that no hold of Cordonhold forbids.
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
        // The watch may be stale, so it can only deny: "not held" is confirmed by a fresh read. A pod that may be kured skips the
        // watch, because whether it is kured is decided by the fresh read too.
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
                // The entry has expired for kured too, but the kured that wrote it may still drain or reboot the node.
                None if lock.names(&seen.locks, node.name()) => Reason::KuredExpired.into(),
                None => free.into(),
            },
        }
    }

    /// Whether the requester is a pod on its own node and could be kured: no flag names kured's ServiceAccount, so only kured's
    /// DaemonSet could tell.
    ///
    /// If that DaemonSet cannot be read, such a pod passes; the webhook configuration lets it pass while the webhook is down, too.
    /// Otherwise kured could not uncordon its node, would keep its lock, and no other node would be rebooted.
    pub(super) fn may_be_kured(&self) -> bool {
        let is_read = |kured: &KuredPolicy| kured.service_account.is_none() && kured.lock.is_some();
        let node = self.request.node().map_or("", NodeView::name);
        self.policy.kured.as_ref().is_some_and(is_read) && self.request.requester.is_pod_on(node)
    }

    /// kured's DaemonSet, if a lookup has found it. The fresh read comes before the watch.
    pub(super) fn kured_found(&self) -> Option<&Kured> {
        let facts = [&self.facts.kured_lock, &self.facts.watched_kured_lock];
        facts.into_iter().find_map(|known| known.value()?.found.as_ref())
    }

    /// Whether kured's lock, marks or identity played a part in the decision.
    pub(super) fn concerns_kured(&self, reason: Reason) -> bool {
        self.request.lock_edit().is_some()
            || reason.subject() == Subject::Kured
            || self.facts.watched_kured_lock.is_asked()
            || self.facts.kured_lock.is_asked()
    }

    /// The first of kured's lock annotations that cannot be read, and why; empty if all can.
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

    /// The rules for an edit of kured's lock: a pod may change only the entry of its own node.
    pub(super) fn lock_edit(&self, edit: &LockEdit) -> Reason {
        // The name of the DaemonSet does not matter: one that carries the annotation carries kured's lock.
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
        // An agent may remove another node's entry once the Node proves that it is over, so agents may edit every entry.
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

/// Whether this is an entry of kured, not of an agent, for this node.
fn is_kureds(entry: &Entry, node: &str) -> bool {
    entry.node == node && !entry.is_ours()
}

fn read(locks: &Locks, key: &str) -> Reading<Record> {
    Record::read(locks.get(key).map(String::as_str))
}

/// The reason for an edit of the lock by a pod's token: whether it changes only the entry of its own node.
///
/// Any pod may remove entries that have expired, as kured does. kured judges that by its own clock, which may be ahead of ours.
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

/// Whether two entries are equal in the fields that kured keeps when it rewrites the list.
fn is_same(a: &Entry, b: &Entry) -> bool {
    a.id() == b.id() && a.ttl_nanos == b.ttl_nanos && a.metadata == b.metadata
}
