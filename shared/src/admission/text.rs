//! The texts of denials and warnings: what was denied, why, and the commands that help.
//!
//! The matches name every [`Reason`], so a new reason does not compile without its text.
//! Not here: which reason a request gets ([`super::decide`]).

use super::deferral::Deferred;
use super::{Evaluation, Mode, Operation, Reason, change};
use crate::fleet::PLUGIN;
use crate::hold;
use crate::keys;
use crate::node::NodeView;
use crate::quote::{one_line, quoted};

mod held;
mod kured;

use held::Held;

/// Longest warning in characters: the API server cuts longer ones (k8s.io/api: admission/v1, `warnings`).
const WARNING_MAX_CHARS: usize = 256;
/// What each warning begins with.
pub(super) const SPEAKER: &str = "cordonhold: ";
/// Longest failure text in characters. It has a bound because it may repeat what a client sent.
pub(super) const FAILURE_MAX_CHARS: usize = 512;
/// Name of the `ValidatingWebhookConfiguration` in `manifests/chart/templates/webhook-configuration.yaml`.
pub(super) const CONFIGURATION: &str = "cordonhold";

/// The warning for a request that passes only because its mode is `warn`: mode `enforce` would deny it.
pub(super) fn would_deny(reason: Reason, message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    one_line(
        &format!("cordonhold would deny this ({}): {first}", reason.code()),
        WARNING_MAX_CHARS,
    )
}

/// What to look for if nothing has deferred an uncordon. Both components are in `manifests/components`.
const NOT_DEFERRED: &str = "\nMode defer keeps such an uncordon until the hold ends, but nothing has changed this request on its way: \
     see that the MutatingWebhookConfiguration or MutatingAdmissionPolicy of the component defer or defer-by-policy is installed, and that it works";

impl Evaluation<'_> {
    /// The warning for a request that passes with [`super::Outcome::Flag`].
    pub(super) fn warning(&self, reason: Reason) -> String {
        let name = self.node_name();
        let text = match reason {
            Reason::Cancelled => format!("the hold of node {name} was cancelled: {}", self.cancel_reason()),
            Reason::Lapsed => format!(
                "the hold of node {name} was not renewed in time, so this passes; \
                 its marks stay until its agent removes them, or a person after a cancel"
            ),
            Reason::Deferred => self.deferred(),
            Reason::HeldDeleted => {
                format!(
                    "node {name} is deleted while it is held for a reboot; this frees its slot in the lock"
                )
            }
            Reason::KuredMarked => {
                format!("kured wants to reboot node {name}, but kured's lock does not name the node yet")
            }
            Reason::KuredExpired => format!(
                "kured's lock entry for node {name} has expired by its TTL, but kured may still be at work there: \
                 set kured's --lock-ttl longer than drain and delay take together"
            ),
            Reason::LockEdited => self.lock_edited(),
            Reason::LookupFailed => format!(
                "node {name} may be held by kured, which cannot be checked: {}",
                self.failure()
            ),
            Reason::Probed => self.answer().to_string(),
            // Requests with these reasons pass without a warning, or are denied.
            Reason::NothingOfOurs
            | Reason::Owner
            | Reason::NotOwnNode
            | Reason::Override
            | Reason::NoOverride
            | Reason::BadCancel
            | Reason::CancelAlone
            | Reason::Requested
            | Reason::NoRequest
            | Reason::BadRequest
            | Reason::SpoofedHold
            | Reason::TooLate
            | Reason::NotHeld
            | Reason::Held
            | Reason::TamperedHold
            | Reason::TamperedTaint
            | Reason::ForgedWish
            | Reason::StrayProbe
            | Reason::Exempt
            | Reason::KuredHeld
            | Reason::KuredOwner
            | Reason::OwnEntry
            | Reason::NotOwnEntry
            | Reason::LockUnreadable
            | Reason::MalformedReview
            | Reason::InternalError => String::new(),
        };
        one_line(&format!("{SPEAKER}{text}"), WARNING_MAX_CHARS)
    }

    /// The message of a denial, without the reason's code that precedes it.
    pub(super) fn denial(&self, reason: Reason) -> String {
        let (name, user) = (self.node_name(), quoted(&self.request.requester.user));
        match reason {
            Reason::NotOwnNode => format!(
                "{user} is not the agent of node {name}: an agent may change only the node that its token names. \
                 Run the agent as a pod of its DaemonSet, so that its token is bound to the pod and names its node"
            ),
            Reason::NoOverride => format!(
                "{user} may not write {} on node {name}: that needs the RBAC verb {} on {}.{}. \
                 Bind the ClusterRole cordonhold-override to those who may cancel",
                keys::CANCEL,
                keys::OVERRIDE_VERB,
                keys::OVERRIDE_RESOURCE,
                keys::OVERRIDE_GROUP
            ),
            Reason::BadCancel => self.bad_cancel(),
            Reason::CancelAlone => format!(
                "{} on node {name} must be changed in a request of its own: \
                 first send the cancel, then the uncordon or the change of marks in a second request",
                keys::CANCEL
            ),
            Reason::NoRequest => format!(
                "{user} may not write {} on node {name}: that needs the RBAC verb {} on {}.{}. \
                 Bind the ClusterRole cordonhold-reboot to those who may ask for reboots",
                keys::REBOOT_WANTED,
                keys::REBOOT_VERB,
                keys::OVERRIDE_RESOURCE,
                keys::OVERRIDE_GROUP
            ),
            Reason::BadRequest => self.bad_request(&name),
            Reason::SpoofedHold => self.spoofed_hold(),
            Reason::TooLate => self.held(Held::too_late) + self.not_deferred(reason),
            Reason::Held => self.held(Held::stays_cordoned) + self.not_deferred(reason),
            Reason::TamperedHold => self.tampered_hold(),
            Reason::TamperedTaint => self.held(Held::taint),
            Reason::ForgedWish => self.forged_wish(&name),
            Reason::StrayProbe => format!(
                "nothing may carry {}: it is a question to the webhook, and is asked in a dry run of an update of the Node. Send it with \
                 dryRun=All, as {PLUGIN} doctor does",
                keys::PROBE
            ),
            Reason::HeldDeleted => self.held(Held::deleted),
            Reason::KuredHeld => self.kured_held(&name) + &self.looks_like_kured(),
            Reason::KuredMarked => self.kured_marked(&name) + &self.looks_like_kured(),
            Reason::NotOwnEntry => self.not_own_entry(&user),
            Reason::LockUnreadable => self.lock_unreadable(&name) + &self.looks_like_kured(),
            Reason::LookupFailed => self.lookup_failed(&name),
            // Requests with these reasons pass, or their text is made where the failure is found: see `Verdict::unjudged`.
            Reason::NothingOfOurs
            | Reason::Owner
            | Reason::Override
            | Reason::Requested
            | Reason::Cancelled
            | Reason::NotHeld
            | Reason::Lapsed
            | Reason::Deferred
            | Reason::Probed
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

    fn old_and_new(&self) -> Option<(&NodeView, &NodeView)> {
        self.request.existing_node().zip(self.request.node_after())
    }

    /// The warning of an uncordon that is kept for the end of the hold, or that is taken back.
    fn deferred(&self) -> String {
        let is_taken_back =
            |(old, new)| !self.change.uncordons && self.deferred_change(old, new) == Deferred::TakenBack;
        if self.old_and_new().is_some_and(is_taken_back) {
            return format!(
                "the uncordon of node {} that was kept until its hold ends is removed from the Node; \
                 its agent may have a copy: to keep the node cordoned, set {}",
                self.node_name(),
                keys::KEEP_CORDONED
            );
        }
        self.held(Held::kept)
    }

    /// What to look for if mode `defer` denies an uncordon that it could keep; empty for other denials.
    fn not_deferred(&self, reason: Reason) -> &'static str {
        let could_be = self.mode(reason) == Mode::Defer
            && self
                .request
                .existing_node()
                .is_some_and(|old| self.is_deferrable(old));
        if could_be { NOT_DEFERRED } else { "" }
    }

    fn forged_wish(&self, name: &str) -> String {
        let forged = self
            .old_and_new()
            .map(|(old, new)| self.deferred_change(old, new));
        let why = match forged {
            Some(Deferred::Forged(why)) => why,
            Some(Deferred::Untouched | Deferred::Asked | Deferred::Done | Deferred::TakenBack) | None => "",
        };
        format!(
            "{} may not change {wanted} on node {name}: {why}. The annotation keeps an uncordon until the hold ends, and is written by an \
             uncordon.\nTo ask for one: kubectl uncordon {name}\
             \nTo keep the node cordoned whatever was asked: kubectl annotate node {name} {}=true",
            quoted(&self.request.requester.user),
            keys::KEEP_CORDONED,
            wanted = keys::UNCORDON_WANTED,
        )
    }

    fn cancel_reason(&self) -> String {
        let cancel = self.request.node().and_then(hold::cancel);
        cancel.map_or_else(String::new, |cancel| quoted(&cancel.reason))
    }

    /// The text that `words` makes of the Node and its hold; empty for a request without a Node.
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

    fn bad_request(&self, name: &str) -> String {
        let new = match &self.request.operation {
            Operation::CreateNode { new } | Operation::UpdateNode { new, .. } => Some(new),
            Operation::DeleteNode { .. } | Operation::UpdateDaemonSet(_) => None,
        };
        let flaw = new.and_then(|new| hold::bad_request(new, self.now));
        format!(
            "{} on node {name} leads to no reboot: {}. To ask for one: {}",
            keys::REBOOT_WANTED,
            flaw.map_or("", hold::RequestFlaw::as_str),
            hold::reboot_command(new.map_or("", NodeView::name))
        )
    }

    fn spoofed_hold(&self) -> String {
        match &self.request.operation {
            Operation::CreateNode { new } => created_with_marks(new),
            Operation::UpdateNode { .. } | Operation::DeleteNode { .. } | Operation::UpdateDaemonSet(_) => {
                format!(
                    "node {} carries no hold, and only its own agent may write one: {} may not write {} or the other marks",
                    self.node_name(),
                    quoted(&self.request.requester.user),
                    keys::HOLDER
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

/// The denial of a Node that is created with marks: a restored backup, or somebody who wants to fill a slot of the lock.
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
        "node {} may not be created with the marks of a hold: only its own agent writes them, once it runs there. Leave out {}",
        quoted(node.name()),
        marks.join(", ")
    ) + &webhook_in_the_way()
}

/// The last resort of a denial: how to remove the webhook if it is broken.
fn webhook_in_the_way() -> String {
    format!(
        "\nIf the webhook itself is the problem: kubectl delete validatingwebhookconfiguration {CONFIGURATION}"
    )
}
