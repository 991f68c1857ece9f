//! What people read: why a request was denied, and the whole way out, commands included.

use std::fmt::Write as _;

use super::{KuredPolicy, Reason, cancel_name};
use crate::hold;
use crate::keys;
use crate::node::NodeView;
use crate::{Reading, hold::Hold};

/// Kubernetes cuts longer warnings (k8s.io/api: admission/v1, `warnings`).
const WARNING_MAX_CHARS: usize = 256;
/// Enough for a holder; what others wrote is not repeated at any length.
const CLIP_CHARS: usize = 128;
/// The name in `manifests/base/webhook-configuration.yaml`.
pub(super) const CONFIGURATION: &str = "cordonhold";

/// A foreign text, short and on one line.
pub(super) fn clip(text: &str) -> String {
    clip_to(text, CLIP_CHARS)
}

fn clip_to(text: &str, max_chars: usize) -> String {
    let one_line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    if text.chars().count() <= max_chars {
        return one_line.collect();
    }
    one_line.take(max_chars.saturating_sub(1)).chain(['…']).collect()
}

/// The warning beside a request that passes although it would be denied in mode `enforce`.
pub(super) fn would_deny(reason: Reason, message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    clip_to(
        &format!("cordonhold would deny this ({}): {first}", reason.code()),
        WARNING_MAX_CHARS,
    )
}

/// The warning beside a request that passes by a cancel or by time.
pub(super) fn passing(reason: Reason, node: &NodeView) -> String {
    let name = node.name();
    let text = match (reason, hold::cancel(node)) {
        (Reason::Cancelled, Some(cancel)) => {
            format!(
                "cordonhold: the hold of node {name} was cancelled: {}",
                cancel.reason
            )
        }
        _ => format!(
            "cordonhold: the hold of node {name} was not renewed in time; its marks stay until its agent or a cancel removes them"
        ),
    };
    clip_to(&text, WARNING_MAX_CHARS)
}

/// The message of a denial.
pub(super) fn denial(
    reason: Reason,
    node: &NodeView,
    user: &str,
    kured: Option<&KuredPolicy>,
    failure: &str,
) -> String {
    let name = node.name();
    let user = clip(user);
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
        Reason::LookupFailed => lookup_failed(name, kured, failure),
        Reason::LockUnreadable | Reason::KuredHeld => kured_held(reason, name, kured),
        _ => held(reason, node),
    }
}

fn lookup_failed(name: &str, kured: Option<&KuredPolicy>, failure: &str) -> String {
    let mut text =
        format!("cordonhold cannot tell whether this may pass for node {name}: {failure}. Try again");
    if let Some(kured) = kured {
        // Writing into a String cannot fail, here and below.
        write!(
            text,
            "; kured's lock is read from daemonset {}/{}",
            kured.ds_namespace, kured.ds_name
        )
        .unwrap_or_default();
    }
    text + &webhook_in_the_way()
}

fn kured_held(reason: Reason, name: &str, kured: Option<&KuredPolicy>) -> String {
    let Some(KuredPolicy {
        ds_namespace,
        ds_name,
        lock_annotation,
        ..
    }) = kured
    else {
        return format!("node {name} is held by kured");
    };
    let what = match reason {
        Reason::KuredHeld => format!("node {name} is held by kured for a reboot: its lock names the node"),
        _ => format!("kured's lock cannot be read, so node {name} counts as held"),
    };
    format!(
        "{what} (daemonset {ds_namespace}/{ds_name}, annotation {lock_annotation}). kured uncordons it when it is back.\n\
         To read the lock: kubectl -n {ds_namespace} get daemonset {ds_name} -o yaml\n\
         To release it, where no reboot is under way: kubectl -n {ds_namespace} annotate daemonset {ds_name} {lock_annotation}-"
    ) + &webhook_in_the_way()
}

/// The hold, and every way past it.
fn held(reason: Reason, node: &NodeView) -> String {
    let name = node.name();
    let reading = hold::read(node);
    let what = match reason {
        Reason::TamperedHold => format!("the marks of the hold on node {name} are its agent's alone"),
        Reason::TamperedTaint => {
            format!(
                "the taint {} of the hold on node {name} is its agent's alone",
                keys::REBOOTING
            )
        }
        Reason::TooLate => {
            format!(
                "the hold of node {name} was cancelled too late: its reboot is under way, and it stays cordoned"
            )
        }
        _ => format!("node {name} is held for a reboot and stays cordoned"),
    };
    format!("{what}: {}.{}", describe(node, &reading), way_out(reason, node)) + &webhook_in_the_way()
}

fn describe(node: &NodeView, reading: &Reading<Hold>) -> String {
    match reading {
        Reading::Present(hold) => {
            let until = hold
                .until
                .map_or_else(|| "its agent ends it".to_owned(), |until| until.to_string());
            format!(
                "holder {}, phase {}, since {}, until {until}",
                clip(&hold.holder.to_string()),
                hold.phase,
                clip(&hold.holder.created)
            )
        }
        Reading::Malformed(why) => {
            let holder = clip(node.annotation(keys::HOLDER).unwrap_or("none"));
            let phase = clip(node.label(keys::PHASE).unwrap_or("none"));
            let until = clip(node.annotation(keys::UNTIL).unwrap_or("none"));
            format!(
                "its hold cannot be read, so it counts as held ({why}): holder {holder}, phase {phase}, until {until}"
            )
        }
        Reading::Absent => "marks without a holder".to_owned(),
    }
}

fn way_out(reason: Reason, node: &NodeView) -> String {
    let name = node.name();
    let marks: Vec<String> = keys::MARK_ANNOTATIONS
        .iter()
        .map(|key| format!("{key}-"))
        .collect();
    let by_hand = format!(
        "kubectl uncordon {name}; kubectl taint node {name} {}:{}-; kubectl label node {name} {}-; kubectl annotate node {name} {}",
        keys::REBOOTING,
        keys::NO_SCHEDULE,
        keys::PHASE,
        marks.join(" ")
    );
    if reason == Reason::TooLate {
        return format!(
            "\nWait until it is back or until that time has passed; where no agent is alive, then: {by_hand}"
        );
    }
    format!(
        "\nTo call the reboot off (the agent then gives the cordon back): kubectl annotate --overwrite node {name} {}='{} <your reason>'\
         \nWhere no agent is alive on the node, after that: {by_hand}",
        keys::CANCEL,
        clip(cancel_name(node)),
    )
}

fn webhook_in_the_way() -> String {
    format!(
        "\nWhere the webhook itself is the trouble: kubectl delete validatingwebhookconfiguration {CONFIGURATION}"
    )
}
