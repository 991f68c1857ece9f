//! What people read: why a request was denied, and the whole way out, commands included.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::{KuredLock, KuredPolicy, LockEdit, Operation, Reason, Request, ServiceAccount, change};
use crate::hold;
use crate::keys;
use crate::kured::Kured;
use crate::node::NodeView;
use crate::quote::{one_line, quoted};

mod held;

/// Kubernetes cuts longer warnings (k8s.io/api: admission/v1, `warnings`).
const WARNING_MAX_CHARS: usize = 256;
/// Why something failed: it may repeat what a client sent.
pub(super) const FAILURE_MAX_CHARS: usize = 512;
/// The name in `manifests/base/webhook-configuration.yaml`.
pub(super) const CONFIGURATION: &str = "cordonhold";

/// The warning beside a request that passes although it would be denied in mode `enforce`.
pub(super) fn would_deny(reason: Reason, message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    one_line(
        &format!("cordonhold would deny this ({}): {first}", reason.code()),
        WARNING_MAX_CHARS,
    )
}

/// The warning beside a request that passes and is worth a look. `failure` is why a lookup failed.
pub(super) fn passing(reason: Reason, request: &Request, failure: &str) -> String {
    let text = match &request.operation {
        Operation::CreateNode { new: node }
        | Operation::UpdateNode { old: node, .. }
        | Operation::DeleteNode { old: node } => node_passing(reason, node, failure),
        Operation::UpdateDaemonSet(edit) => format!(
            "kured's lock on daemonset {} was edited by hand: an entry that goes frees its node's slot, and the node may still be in its reboot",
            quoted(&format!("{}/{}", edit.namespace, edit.name))
        ),
    };
    one_line(&format!("cordonhold: {text}"), WARNING_MAX_CHARS)
}

fn node_passing(reason: Reason, node: &NodeView, failure: &str) -> String {
    let name = quoted(node.name());
    match (reason, hold::cancel(node)) {
        (Reason::Cancelled, Some(cancel)) => {
            format!(
                "the hold of node {name} was cancelled: {}",
                quoted(&cancel.reason)
            )
        }
        (Reason::HeldDeleted, _) => {
            format!("node {name} is deleted while it is held for a reboot; its slot in the lock is free")
        }
        (Reason::KuredMarked, _) => {
            format!("kured wants to reboot node {name}, and its lock does not name it yet")
        }
        (Reason::KuredExpired, _) => format!(
            "kured's entry for node {name} is over by its TTL, and kured may still be at work there: \
             set its --lock-ttl longer than drain and delay take together"
        ),
        (Reason::LookupFailed, _) => format!("node {name} may be held by kured; {failure}"),
        _ => format!(
            "the hold of node {name} was not renewed in time; its marks stay until its agent or a cancel removes them"
        ),
    }
}

/// The message of a denial.
pub(super) fn denial(
    reason: Reason,
    request: &Request,
    kured: Option<&KuredPolicy>,
    found: Option<&Kured>,
    failure: &str,
    now: Timestamp,
) -> String {
    let user = quoted(&request.requester.user);
    let failure = &one_line(failure, FAILURE_MAX_CHARS);
    match &request.operation {
        Operation::UpdateNode { old, new }
            if reason == Reason::TamperedHold && change::is_of_agent_label_alone(old, new) =>
        {
            held::agent_label(old, now)
        }
        Operation::UpdateNode { old, new } if reason == Reason::BadCancel => {
            held::bad_cancel(old, new.annotation(keys::CANCEL).unwrap_or_default())
        }
        Operation::CreateNode { new } => created_with_marks(new),
        Operation::UpdateNode { old, .. } | Operation::DeleteNode { old } => {
            node_denial(reason, old, &user, kured, found, failure, now)
                + &looks_like_kured(reason, request, kured, found)
        }
        Operation::UpdateDaemonSet(edit) => lock_edit(reason, edit, &user, failure) + &webhook_in_the_way(),
    }
}

/// A backup that is restored, or somebody who wants a slot.
fn created_with_marks(node: &NodeView) -> String {
    let taint = || format!("the taint {}:{}", keys::REBOOTING, keys::NO_SCHEDULE);
    let annotations = keys::MARK_ANNOTATIONS.into_iter();
    let marks: Vec<String> = node
        .label(keys::PHASE)
        .map(|_| format!("the label {}", keys::PHASE))
        .into_iter()
        .chain(
            annotations
                .filter(|key| node.annotation(key).is_some())
                .map(|key| format!("the annotation {key}")),
        )
        .chain(node.is_tainted(keys::REBOOTING).then(taint))
        .collect();
    format!(
        "node {} is created with the marks of a hold, and only its own agent stamps one, once it runs there. Leave out {}",
        quoted(node.name()),
        marks.join(", ")
    ) + &webhook_in_the_way()
}

fn node_denial(
    reason: Reason,
    node: &NodeView,
    user: &str,
    kured: Option<&KuredPolicy>,
    found: Option<&Kured>,
    failure: &str,
    now: Timestamp,
) -> String {
    let name = &quoted(node.name());
    match reason {
        Reason::NotOwnNode => format!(
            "{user} is not the agent of node {name}: an agent changes only the node that its token names. \
             Run the agent as a pod of its DaemonSet, so that its token is bound to the pod"
        ),
        Reason::NoOverride => format!(
            "{user} may not write {} on node {name}: it needs the verb {} on {}.{}. \
             Bind the ClusterRole cordonhold-override to whoever may cancel",
            keys::CANCEL,
            keys::OVERRIDE_VERB,
            keys::OVERRIDE_RESOURCE,
            keys::OVERRIDE_GROUP
        ),
        Reason::CancelAlone => format!(
            "{} on node {name} is written, changed or removed by itself: send it without the uncordon and the marks, then send those",
            keys::CANCEL
        ),
        Reason::SpoofedHold => format!(
            "node {name} carries no hold, and only its own agent stamps one: {} and the other marks are not for {user} to write",
            keys::HOLDER
        ),
        Reason::LookupFailed => lookup_failed(name, kured.and_then(|kured| kured.lock.as_ref()), failure),
        Reason::LockUnreadable | Reason::KuredHeld => {
            let lock = kured.and_then(|kured| kured.lock.as_ref());
            kured_held(reason, name, lock, found, failure)
        }
        Reason::KuredMarked => kured_marked(node, kured),
        _ => held::held(reason, node, now),
    }
}

fn lock_edit(reason: Reason, edit: &LockEdit, user: &str, failure: &str) -> String {
    let (namespace, name) = (quoted(&edit.namespace), quoted(&edit.name));
    let what = match reason {
        Reason::LockUnreadable => {
            format!("it cannot be read, so nobody can tell whose entries this edit changes: {failure}")
        }
        _ => format!(
            "the token of {user} is a pod's, and changes only the entry of its own node, and entries whose TTL is over"
        ),
    };
    format!(
        "kured's lock on daemonset {namespace}/{name} is not changed: {what}.\n\
         To read the lock: kubectl -n {namespace} get daemonset {name} -o yaml\n\
         People may edit it with a token of their own: kubectl -n {namespace} edit daemonset {name}"
    )
}

fn lookup_failed(name: &str, kured: Option<&KuredLock>, failure: &str) -> String {
    let mut text =
        format!("cordonhold cannot tell whether this may pass for node {name}: {failure}. Try again");
    if let Some(kured) = kured {
        // Writing into a String cannot fail, here and below.
        write!(
            text,
            "; kured's lock is looked for on daemonset {}/{} first",
            kured.ds_namespace, kured.ds_name
        )
        .unwrap_or_default();
    }
    text + &webhook_in_the_way()
}

fn kured_held(
    reason: Reason,
    name: &str,
    kured: Option<&KuredLock>,
    found: Option<&Kured>,
    failure: &str,
) -> String {
    let Some(KuredLock {
        ds_namespace,
        ds_name,
        annotations,
        ..
    }) = kured
    else {
        return format!("node {name} is held by kured");
    };
    let (ds_namespace, ds_name) =
        found.map_or((ds_namespace, ds_name), |kured| (&kured.namespace, &kured.name));
    let release = format!(
        "where no reboot is under way (other nodes' entries go with it): \
         kubectl -n {ds_namespace} annotate daemonset {ds_name} {}",
        removed(annotations)
    );
    let text = match reason {
        Reason::KuredHeld => format!(
            "node {name} is held by kured for a reboot: its lock names the node (daemonset {ds_namespace}/{ds_name}, \
             annotation {}). kured uncordons it when it is back.\n\
             To read the lock: kubectl -n {ds_namespace} get daemonset {ds_name} -o yaml\n\
             To release it, {release}",
            annotations.join(" or ")
        ),
        _ => format!(
            "kured's lock cannot be read, so node {name} counts as held, as every node does: \
             daemonset {ds_namespace}/{ds_name}, {failure}.\n\
             To mend it: kubectl -n {ds_namespace} edit daemonset {ds_name}\n\
             To remove it, {release}"
        ),
    };
    text + &webhook_in_the_way()
}

fn kured_marked(node: &NodeView, kured: Option<&KuredPolicy>) -> String {
    let name = quoted(node.name());
    let marks: Vec<String> = kured
        .into_iter()
        .flat_map(|kured| &kured.marks)
        .filter(|key| node.annotation(key).is_some())
        .cloned()
        .collect();
    format!(
        "node {name} is to be rebooted by kured and stays cordoned: it carries {}. kured uncordons it when it is back.\n\
         Where no reboot is to come: kubectl annotate node {name} {}",
        marks.join(" and "),
        removed(&marks)
    ) + &webhook_in_the_way()
}

/// To a token that may be kured's: it may be the very kured that is to uncordon it, under a name that nobody told.
fn looks_like_kured(
    reason: Reason,
    request: &Request,
    kured: Option<&KuredPolicy>,
    found: Option<&Kured>,
) -> String {
    let is_kureds = matches!(
        reason,
        Reason::KuredHeld | Reason::KuredMarked | Reason::LockUnreadable
    );
    let Some(kured) = kured.filter(|_| is_kureds) else {
        return String::new();
    };
    if names_no_node(request, kured, found) {
        return format!(
            "\nYou are kured, {}, but your token names no node, and so kured's node could be anybody's. \
             Tokens of Kubernetes before 1.30 never name one: there --kured-token-without-node=allow lets you uncordon every node",
            quoted(&request.requester.user)
        );
    }
    let node = request.node().map_or("", NodeView::name);
    if !request.requester.is_pod_on(node) {
        return String::new();
    }
    let configured = match (&kured.service_account, found) {
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
    };
    format!(
        "\nYou look like kured, {}: a pod on the node that kured holds. cordonhold is configured for another one: {configured}",
        quoted(&request.requester.user)
    )
}

/// Whether kured asks, by a token that could be of any node's.
fn names_no_node(request: &Request, kured: &KuredPolicy, found: Option<&Kured>) -> bool {
    let requester = &request.requester;
    let account = kured
        .service_account
        .clone()
        .or_else(|| found.map(ServiceAccount::from));
    requester.node_claim.is_empty() && account.is_some_and(|account| account.user() == requester.user)
}

/// As kubectl wants annotations that shall go.
fn removed(keys: &[String]) -> String {
    let removed: Vec<String> = keys.iter().map(|key| format!("{key}-")).collect();
    removed.join(" ")
}

fn webhook_in_the_way() -> String {
    format!(
        "\nWhere the webhook itself is the trouble: kubectl delete validatingwebhookconfiguration {CONFIGURATION}"
    )
}
