//! The denials and warnings about stock kured's holds and its lock, and the hint for a kured that the webhook is not configured for.
//!
//! Not here: when kured holds a Node ([`super::super::kured`]).

use std::fmt::Write as _;

use super::super::{Evaluation, KuredLock, KuredPolicy, Requester, ServiceAccount};
use super::{FAILURE_MAX_CHARS, webhook_in_the_way};
use crate::kured::Kured;
use crate::quote::{one_line, quoted};

/// kured's lock, and namespace and name of the DaemonSet that carries it.
struct Place<'a> {
    lock: &'a KuredLock,
    namespace: &'a str,
    name: &'a str,
}

impl Evaluation<'_> {
    /// The settings for stock kured. `None` also if the failed lookup was the permission to cancel, which has nothing to do with kured.
    fn kured_policy(&self) -> Option<&KuredPolicy> {
        let kured = self.policy.kured.as_ref();
        kured.filter(|_| self.facts.may_override.failure().is_none())
    }

    /// The DaemonSet where kured was found, or else the one that the flags name.
    fn kured_place(&self) -> Option<Place<'_>> {
        let lock = self.kured_policy()?.lock.as_ref()?;
        let (namespace, name) = match self.kured_found() {
            Some(kured) => (&kured.namespace, &kured.name),
            None => (&lock.ds_namespace, &lock.ds_name),
        };
        Some(Place {
            lock,
            namespace,
            name,
        })
    }

    /// The warning for an edit of kured's lock by a person.
    pub(super) fn lock_edited(&self) -> String {
        let daemonset = self.request.lock_edit();
        let daemonset = daemonset.map(|edit| format!("{}/{}", edit.namespace, edit.name));
        format!(
            "kured's lock on daemonset {} was edited by hand: an entry that is removed frees its node's slot, even if that node still reboots",
            quoted(&daemonset.unwrap_or_default())
        )
    }

    pub(super) fn not_own_entry(&self, user: &str) -> String {
        self.lock_not_changed(&format!(
            "the token of {user} is a pod's, and a pod may change only the entry of its own node and remove entries that have expired"
        ))
    }

    pub(super) fn lock_unreadable(&self, node: &str) -> String {
        let why = one_line(&self.unreadable_lock(), FAILURE_MAX_CHARS);
        if self.request.lock_edit().is_some() {
            return self.lock_not_changed(&format!(
                "it cannot be read, so it is unknown whose entries this edit changes: {why}"
            ));
        }
        let Some(place) = self.kured_place() else {
            return held_by_kured(node);
        };
        let Place { namespace, name, .. } = place;
        format!(
            "kured's lock cannot be read, so every node counts as held, also node {node}: \
             daemonset {namespace}/{name}, {why}.\n\
             To repair it: kubectl -n {namespace} edit daemonset {name}\n\
             To remove it, {}",
            place.release()
        ) + &webhook_in_the_way()
    }

    /// The denial of an edit of the lock: why, and who may edit it.
    fn lock_not_changed(&self, why: &str) -> String {
        let edit = self.request.lock_edit();
        let (namespace, name) = edit.map_or(("", ""), |edit| (&edit.namespace, &edit.name));
        let (namespace, name) = (quoted(namespace), quoted(name));
        format!(
            "kured's lock on daemonset {namespace}/{name} may not be changed like this: {why}.\n\
             To read the lock: kubectl -n {namespace} get daemonset {name} -o yaml\n\
             People may edit it with a token of their own: kubectl -n {namespace} edit daemonset {name}"
        ) + &webhook_in_the_way()
    }

    pub(super) fn kured_held(&self, node: &str) -> String {
        let Some(place) = self.kured_place() else {
            return held_by_kured(node);
        };
        let Place {
            namespace,
            name,
            lock,
        } = place;
        format!(
            "node {node} is held by kured for a reboot: its lock names the node (daemonset {namespace}/{name}, \
             annotation {}). kured uncordons it when it is back.\n\
             To read the lock: kubectl -n {namespace} get daemonset {name} -o yaml\n\
             To release it, {}",
            lock.annotations.join(" or "),
            place.release()
        ) + &webhook_in_the_way()
    }

    pub(super) fn kured_marked(&self, node: &str) -> String {
        let is_there = |key: &&String| {
            let node = self.request.node();
            node.is_some_and(|node| node.annotation(key).is_some())
        };
        let marks = self.kured_policy().into_iter().flat_map(|kured| &kured.marks);
        let marks: Vec<String> = marks.filter(is_there).cloned().collect();
        format!(
            "node {node} is to be rebooted by kured and stays cordoned: it carries {}. kured uncordons it when it is back.\n\
             If no reboot is to come: kubectl annotate node {node} {}",
            marks.join(" and "),
            removed(&marks)
        ) + &webhook_in_the_way()
    }

    pub(super) fn lookup_failed(&self, node: &str) -> String {
        let failure = one_line(self.failure(), FAILURE_MAX_CHARS);
        let mut text =
            format!("cordonhold cannot tell whether this may pass for node {node}: {failure}. Try again");
        if let Some(lock) = self.kured_policy().and_then(|kured| kured.lock.as_ref()) {
            // Writing into a String cannot fail.
            write!(
                text,
                "; cordonhold looks for kured's lock on daemonset {}/{} first",
                lock.ds_namespace, lock.ds_name
            )
            .unwrap_or_default();
        }
        text + &webhook_in_the_way()
    }

    /// A hint for a requester that may be kured under a ServiceAccount that the webhook does not know. Empty for any other.
    ///
    /// Without the hint such a kured could never uncordon its node, and nobody would see why.
    pub(super) fn looks_like_kured(&self) -> String {
        let (Some(kured), Some(node)) = (self.kured_policy(), self.request.node()) else {
            return String::new();
        };
        let (requester, found) = (&self.request.requester, self.kured_found());
        let user = quoted(&requester.user);
        if names_no_node(requester, kured, found) {
            return format!(
                "\nYou are kured, {user}, but your token names no node, so it is unknown which node is yours. \
                 Tokens of Kubernetes before 1.30 never name one: there, --kured-token-without-node=allow lets you uncordon every node"
            );
        }
        if !requester.is_pod_on(node.name()) {
            return String::new();
        }
        format!(
            "\nYou look like kured, {user}: a pod on the node that kured holds. cordonhold takes another ServiceAccount for kured's: {}",
            how_to_name(kured, found)
        )
    }
}

impl Place<'_> {
    /// The condition and the command to remove the whole lock.
    fn release(&self) -> String {
        let Place {
            namespace,
            name,
            lock,
        } = self;
        format!(
            "if no reboot is under way (this removes other nodes' entries too): \
             kubectl -n {namespace} annotate daemonset {name} {}",
            removed(&lock.annotations)
        )
    }
}

/// The denial where no lock is configured, so that nothing more can be said.
fn held_by_kured(node: &str) -> String {
    format!("node {node} is held by kured")
}

/// Which flags to correct so that the webhook knows this kured.
fn how_to_name(kured: &KuredPolicy, found: Option<&Kured>) -> String {
    match (&kured.service_account, found) {
        (Some(account), _) => format!(
            "--kured-service-account and --ds-namespace say that kured is {}: correct them{}",
            account.user(),
            if kured.lock.is_some() {
                ", or leave --kured-service-account out, and it is read from kured's DaemonSet"
            } else {
                ""
            }
        ),
        (None, Some(found)) => format!(
            "daemonset {found} says that kured is the ServiceAccount {}: name your kured's DaemonSet with --ds-namespace and --ds-name",
            found.service_account
        ),
        (None, None) => {
            "kured's DaemonSet was not found: name it with --ds-namespace and --ds-name".to_owned()
        }
    }
}

/// Whether the requester is kured's ServiceAccount with a token that names no node.
fn names_no_node(requester: &Requester, kured: &KuredPolicy, found: Option<&Kured>) -> bool {
    let account = kured.service_account.clone();
    let account = account.or_else(|| found.map(ServiceAccount::from));
    requester.node_claim.is_empty() && account.is_some_and(|account| account.user() == requester.user)
}

/// The arguments of `kubectl annotate` that remove these annotations: `key-`.
fn removed(keys: &[String]) -> String {
    let removed: Vec<String> = keys.iter().map(|key| format!("{key}-")).collect();
    removed.join(" ")
}
