//! What people read: why a request was denied, and the whole way out, commands included.
//!
//! Each reason has its words here: a new one does not compile without them.

use super::{Evaluation, Operation, Reason, change};
use crate::hold;
use crate::keys;
use crate::node::NodeView;
use crate::quote::{one_line, quoted};

mod held;
mod kured;

use held::Held;

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

impl Evaluation<'_> {
    /// The warning beside a request that passes and is worth a look.
    pub(super) fn warning(&self, reason: Reason) -> String {
        let name = self.node_name();
        let text = match reason {
            Reason::Cancelled => format!("the hold of node {name} was cancelled: {}", self.cancel_reason()),
            Reason::Lapsed => format!(
                "the hold of node {name} was not renewed in time; its marks stay until its agent or a cancel removes them"
            ),
            Reason::HeldDeleted => {
                format!("node {name} is deleted while it is held for a reboot; its slot in the lock is free")
            }
            Reason::KuredMarked => {
                format!("kured wants to reboot node {name}, and its lock does not name it yet")
            }
            Reason::KuredExpired => format!(
                "kured's entry for node {name} is over by its TTL, and kured may still be at work there: \
                 set its --lock-ttl longer than drain and delay take together"
            ),
            Reason::LockEdited => self.lock_edited(),
            Reason::LookupFailed => format!("node {name} may be held by kured; {}", self.failure()),
            // They pass without a word, or are denied.
            Reason::NothingOfOurs
            | Reason::Owner
            | Reason::NotOwnNode
            | Reason::Override
            | Reason::NoOverride
            | Reason::BadCancel
            | Reason::CancelAlone
            | Reason::SpoofedHold
            | Reason::TooLate
            | Reason::NotHeld
            | Reason::Held
            | Reason::TamperedHold
            | Reason::TamperedTaint
            | Reason::Exempt
            | Reason::KuredHeld
            | Reason::KuredOwner
            | Reason::OwnEntry
            | Reason::NotOwnEntry
            | Reason::LockUnreadable
            | Reason::MalformedReview
            | Reason::InternalError => String::new(),
        };
        one_line(&format!("cordonhold: {text}"), WARNING_MAX_CHARS)
    }

    /// The message of a denial, after the reason's code.
    pub(super) fn denial(&self, reason: Reason) -> String {
        let (name, user) = (self.node_name(), quoted(&self.request.requester.user));
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
            Reason::BadCancel => self.bad_cancel(),
            Reason::CancelAlone => format!(
                "{} on node {name} is written, changed or removed by itself: send it without the uncordon and the marks, then send those",
                keys::CANCEL
            ),
            Reason::SpoofedHold => self.spoofed_hold(),
            Reason::TooLate => self.held(Held::too_late),
            Reason::Held => self.held(Held::stays_cordoned),
            Reason::TamperedHold => self.tampered_hold(),
            Reason::TamperedTaint => self.held(Held::taint),
            Reason::HeldDeleted => self.held(Held::deleted),
            Reason::KuredHeld => self.kured_held(&name) + &self.looks_like_kured(),
            Reason::KuredMarked => self.kured_marked(&name) + &self.looks_like_kured(),
            Reason::NotOwnEntry => self.not_own_entry(&user),
            Reason::LockUnreadable => self.lock_unreadable(&name) + &self.looks_like_kured(),
            Reason::LookupFailed => self.lookup_failed(&name),
            // They pass, or what they say is told where they are found.
            Reason::NothingOfOurs
            | Reason::Owner
            | Reason::Override
            | Reason::Cancelled
            | Reason::NotHeld
            | Reason::Lapsed
            | Reason::Exempt
            | Reason::KuredExpired
            | Reason::KuredOwner
            | Reason::OwnEntry
            | Reason::LockEdited
            | Reason::MalformedReview
            | Reason::InternalError => String::new(),
        }
    }

    fn node_name(&self) -> String {
        quoted(self.request.node().map_or("", NodeView::name))
    }

    fn cancel_reason(&self) -> String {
        let cancel = self.request.node().and_then(hold::cancel);
        cancel.map_or_else(String::new, |cancel| quoted(&cancel.reason))
    }

    /// What its hold says, in these words.
    fn held<'e>(&'e self, words: impl FnOnce(&Held<'e>) -> String) -> String {
        let held = self.request.node().map(|node| Held {
            node,
            hold: &self.hold,
            now: self.now,
        });
        held.as_ref().map(words).unwrap_or_default()
    }

    fn bad_cancel(&self) -> String {
        let text = self.request.node_after();
        let text = text.and_then(|node| node.annotation(keys::CANCEL));
        self.held(|held| held.bad_cancel(text.unwrap_or_default()))
    }

    fn spoofed_hold(&self) -> String {
        match &self.request.operation {
            Operation::CreateNode { new } => created_with_marks(new),
            Operation::UpdateNode { .. } | Operation::DeleteNode { .. } | Operation::UpdateDaemonSet(_) => {
                format!(
                    "node {} carries no hold, and only its own agent stamps one: {} and the other marks are not for {} to write",
                    self.node_name(),
                    keys::HOLDER,
                    quoted(&self.request.requester.user)
                )
            }
        }
    }

    fn tampered_hold(&self) -> String {
        let (old, new) = (self.request.node(), self.request.node_after());
        let is_of_label = |(old, new)| change::is_of_agent_label_alone(old, new);
        if old.zip(new).is_some_and(is_of_label) {
            self.held(Held::agent_label)
        } else {
            self.held(Held::marks)
        }
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

fn webhook_in_the_way() -> String {
    format!(
        "\nWhere the webhook itself is the trouble: kubectl delete validatingwebhookconfiguration {CONFIGURATION}"
    )
}
