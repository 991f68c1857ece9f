//! What is said of stock kured's holds and its lock, and to a kured that nobody told the webhook of.

use std::fmt::Write as _;

use super::super::{Evaluation, KuredLock, KuredPolicy, Requester, ServiceAccount};
use super::{FAILURE_MAX_CHARS, webhook_in_the_way};
use crate::kured::Kured;
use crate::quote::{one_line, quoted};

/// kured's lock, and the DaemonSet that carries it.
struct Place<'a> {
    lock: &'a KuredLock,
    namespace: &'a str,
    name: &'a str,
}

impl Evaluation<'_> {
    /// kured as installed. Where the right to cancel could not be asked for, it has no part in it.
    fn kured_policy(&self) -> Option<&KuredPolicy> {
        let kured = self.policy.kured.as_ref();
        kured.filter(|_| self.facts.may_override.failure().is_none())
    }

    /// Where kured was found, or else where the flags say.
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

    /// The warning for an edit by people.
    pub(super) fn lock_edited(&self) -> String {
        let daemonset = self.request.lock_edit();
        let daemonset = daemonset.map(|edit| format!("{}/{}", edit.namespace, edit.name));
        format!(
            "kured's lock on daemonset {} was edited by hand: an entry that goes frees its node's slot, and the node may still be in its reboot",
            quoted(&daemonset.unwrap_or_default())
        )
    }

    pub(super) fn not_own_entry(&self, user: &str) -> String {
        self.lock_not_changed(&format!(
            "the token of {user} is a pod's, and changes only the entry of its own node, and entries whose TTL is over"
        ))
    }

    pub(super) fn lock_unreadable(&self, node: &str) -> String {
        let why = one_line(&self.unreadable_lock(), FAILURE_MAX_CHARS);
        if self.request.lock_edit().is_some() {
            return self.lock_not_changed(&format!(
                "it cannot be read, so nobody can tell whose entries this edit changes: {why}"
            ));
        }
        let Some(place) = self.kured_place() else {
            return held_by_kured(node);
        };
        let Place { namespace, name, .. } = place;
        format!(
            "kured's lock cannot be read, so node {node} counts as held, as every node does: \
             daemonset {namespace}/{name}, {why}.\n\
             To mend it: kubectl -n {namespace} edit daemonset {name}\n\
             To remove it, {}",
            place.release()
        ) + &webhook_in_the_way()
    }

    /// Why an edit of the lock is denied, and who may do it.
    fn lock_not_changed(&self, why: &str) -> String {
        let edit = self.request.lock_edit();
        let (namespace, name) = edit.map_or(("", ""), |edit| (&edit.namespace, &edit.name));
        let (namespace, name) = (quoted(namespace), quoted(name));
        format!(
            "kured's lock on daemonset {namespace}/{name} is not changed: {why}.\n\
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
             Where no reboot is to come: kubectl annotate node {node} {}",
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
                "; kured's lock is looked for on daemonset {}/{} first",
                lock.ds_namespace, lock.ds_name
            )
            .unwrap_or_default();
        }
        text + &webhook_in_the_way()
    }

    /// To a token that may be kured's: it may be the very kured that is to uncordon the node, under a name that nobody told.
    pub(super) fn looks_like_kured(&self) -> String {
        let (Some(kured), Some(node)) = (self.kured_policy(), self.request.node()) else {
            return String::new();
        };
        let (requester, found) = (&self.request.requester, self.kured_found());
        let user = quoted(&requester.user);
        if names_no_node(requester, kured, found) {
            return format!(
                "\nYou are kured, {user}, but your token names no node, and so kured's node could be anybody's. \
                 Tokens of Kubernetes before 1.30 never name one: there --kured-token-without-node=allow lets you uncordon every node"
            );
        }
        if !requester.is_pod_on(node.name()) {
            return String::new();
        }
        format!(
            "\nYou look like kured, {user}: a pod on the node that kured holds. cordonhold is configured for another one: {}",
            how_to_name(kured, found)
        )
    }
}

impl Place<'_> {
    fn release(&self) -> String {
        let Place {
            namespace,
            name,
            lock,
        } = self;
        format!(
            "where no reboot is under way (other nodes' entries go with it): \
             kubectl -n {namespace} annotate daemonset {name} {}",
            removed(&lock.annotations)
        )
    }
}

fn held_by_kured(node: &str) -> String {
    format!("node {node} is held by kured")
}

/// Which flags name another kured.
fn how_to_name(kured: &KuredPolicy, found: Option<&Kured>) -> String {
    match (&kured.service_account, found) {
        (Some(account), _) => format!(
            "--kured-service-account and --ds-namespace say that kured is {}: correct them{}",
            account.user(),
            if kured.lock.is_some() {
                ", or leave the first out, and kured's DaemonSet says it"
            } else {
                ""
            }
        ),
        (None, Some(found)) => format!(
            "daemonset {found} says that kured is the ServiceAccount {}: name your kured's DaemonSet with --ds-namespace and --ds-name",
            found.service_account
        ),
        (None, None) => {
            "kured's DaemonSet was found nowhere: name it with --ds-namespace and --ds-name".to_owned()
        }
    }
}

/// Whether kured asks, by a token that could be of any node's.
fn names_no_node(requester: &Requester, kured: &KuredPolicy, found: Option<&Kured>) -> bool {
    let account = kured.service_account.clone();
    let account = account.or_else(|| found.map(ServiceAccount::from));
    requester.node_claim.is_empty() && account.is_some_and(|account| account.user() == requester.user)
}

/// As kubectl wants annotations that shall go.
fn removed(keys: &[String]) -> String {
    let removed: Vec<String> = keys.iter().map(|key| format!("{key}-")).collect();
    removed.join(" ")
}
