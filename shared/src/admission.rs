//! The webhook's decision: may this update of a Node pass?
//!
//! One pure, total function. It neither looks anything up nor reads a clock: where it needs a fact it says which,
//! the shell answers, and it is asked again. A fact that could not be had is a value too, and it fails closed.
//! Not here: what an owner does with its hold ([`crate::cycle`]) and how a review looks on the wire (the webhook's).

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::Reading;
use crate::hold::{self, Hold, Phase};
use crate::keys;
use crate::lock::Record;
use crate::node::NodeView;

mod change;
mod text;

pub use change::Change;

/// How far the webhook's clock may lag behind the agents': the same margin client-go's leader election lives with, in a cluster with NTP.
pub const SKEW: SignedDuration = SignedDuration::from_secs(30);

/// The `created` that a cancel names where the holder itself cannot be read: without it, a broken hold would have no way out.
pub const UNREADABLE: &str = "unreadable";

/// The audit annotation that carries the reason's code.
pub const AUDIT_REASON: &str = "reason";

/// An update of a Node, as admission sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub requester: Requester,
    pub old: NodeView,
    pub new: NodeView,
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requester {
    pub user: String,
    pub groups: Vec<String>,
    /// The node of the pod that the token is bound to: every value of [`keys::NODE_NAME_EXTRA`].
    pub node_claim: Vec<String>,
}

/// What happens to a request that should not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It is denied.
    Enforce,
    /// It passes, with a warning and audit annotations.
    Warn,
    /// It passes, with audit annotations.
    Audit,
}

/// What the admin has decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub mode: Mode,
    pub agent: ServiceAccount,
    /// Set where the nodes that stock kured's lock names are protected too.
    pub kured: Option<KuredPolicy>,
}

/// A ServiceAccount by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    pub namespace: String,
    pub name: String,
}

/// Stock kured, as installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KuredPolicy {
    pub service_account: ServiceAccount,
    pub ds_namespace: String,
    pub ds_name: String,
    pub lock_annotation: String,
}

/// Something the decision may need to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fact {
    /// Whether the requester has the verb `override` on `rebootholds.cordonhold.dev` named as the Node.
    Override,
    /// The lock annotation of kured's DaemonSet, read afresh.
    KuredLock,
}

/// A fact, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Known<T> {
    #[default]
    Unasked,
    Is(T),
    /// Asked and not answered: why, and how to fix it.
    Failed(String),
}

/// What the shell has found out so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub may_override: Known<bool>,
    /// `None`: there is no such annotation, or no such DaemonSet.
    pub kured_lock: Known<Option<String>>,
}

/// The answer, or what is needed for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Need(Fact),
    Verdict(Verdict),
}

/// Why. The one vocabulary of log, metrics, audit annotations and messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    NothingOfOurs,
    Owner,
    NotOwnNode,
    Override,
    NoOverride,
    CancelAlone,
    SpoofedHold,
    Cancelled,
    TooLate,
    NotHeld,
    Lapsed,
    Held,
    TamperedHold,
    TamperedTaint,
    KuredHeld,
    KuredOwner,
    LockUnreadable,
    LookupFailed,
    MalformedReview,
    InternalError,
}

/// What becomes of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Allow,
    /// It passes and is worth a look: a cancel was used, or the mode does not deny.
    Flag,
    Deny,
}

/// The whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub outcome: Outcome,
    pub reason: Reason,
    /// For the person whose request was denied; empty where it passes.
    pub message: String,
    pub warnings: Vec<String>,
    pub audit: BTreeMap<&'static str, String>,
}

impl ServiceAccount {
    /// The user name of its tokens (k8s.io/apiserver: pkg/authentication/serviceaccount/util.go).
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }
}

impl Mode {
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Enforce => "enforce",
            Mode::Warn => "warn",
            Mode::Audit => "audit",
        }
    }
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Allow => "allow",
            Outcome::Flag => "flag",
            Outcome::Deny => "deny",
        }
    }
}

impl Reason {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Reason::NothingOfOurs => "nothing-of-ours",
            Reason::Owner => "owner",
            Reason::NotOwnNode => "not-own-node",
            Reason::Override => "override",
            Reason::NoOverride => "no-override",
            Reason::CancelAlone => "cancel-alone",
            Reason::SpoofedHold => "spoofed-hold",
            Reason::Cancelled => "cancelled",
            Reason::TooLate => "too-late",
            Reason::NotHeld => "not-held",
            Reason::Lapsed => "lapsed",
            Reason::Held => "held",
            Reason::TamperedHold => "tampered-hold",
            Reason::TamperedTaint => "tampered-taint",
            Reason::KuredHeld => "kured-held",
            Reason::KuredOwner => "kured-owner",
            Reason::LockUnreadable => "lock-unreadable",
            Reason::LookupFailed => "lookup-failed",
            Reason::MalformedReview => "malformed-review",
            Reason::InternalError => "internal-error",
        }
    }
}

impl Verdict {
    /// A request that could not be judged: denied as far as the mode denies. `why` says what to fix.
    pub fn unjudged(reason: Reason, mode: Mode, why: &str) -> Verdict {
        denial(
            reason,
            mode,
            format!("cordonhold cannot judge this request: {why}"),
            BTreeMap::new(),
        )
    }
}

/// Decides. Ask again with the fact filled in while it answers [`Decision::Need`]: at most twice.
pub fn decide(request: &Request, facts: &Facts, policy: &Policy, now: Timestamp) -> Decision {
    let judgement = Judgement {
        request,
        facts,
        policy,
        now,
        change: Change::between(&request.old, &request.new),
    };
    match judgement.reason() {
        Ok(reason) => Decision::Verdict(judgement.verdict(reason)),
        Err(need) => Decision::Need(need),
    }
}

/// What one decision looks at.
struct Judgement<'a> {
    request: &'a Request,
    facts: &'a Facts,
    policy: &'a Policy,
    now: Timestamp,
    change: Change,
}

impl Judgement<'_> {
    /// The rules in the order of the design, or the fact that is missing.
    fn reason(&self) -> Result<Reason, Fact> {
        let change = &self.change;
        let is_agent = self.request.requester.user == self.policy.agent.user();
        if change.is_nothing() && !(is_agent && change.cordons) {
            return Ok(Reason::NothingOfOurs);
        }
        if is_agent {
            return Ok(if self.is_on_own_node() {
                Reason::Owner
            } else {
                Reason::NotOwnNode
            });
        }
        if change.cancel {
            return self.cancel_written();
        }
        if !change::has_marks(&self.request.old) && change.touches_marks() {
            return Ok(Reason::SpoofedHold);
        }
        let hold = hold::read(&self.request.old);
        let is_held = hold::is_held(&hold);
        if self.is_cancelled() && !change.sets_marks && (is_held || change.touches_marks()) {
            return Ok(if self.is_sealed(&hold) {
                Reason::TooLate
            } else {
                Reason::Cancelled
            });
        }
        let has_lapsed = matches!(&hold, Reading::Present(hold) if hold.has_lapsed(self.now, SKEW));
        if change.uncordons && is_held && !has_lapsed {
            return Ok(Reason::Held);
        }
        if change.annotations_or_phase {
            return Ok(Reason::TamperedHold);
        }
        if change.taint {
            return Ok(Reason::TamperedTaint);
        }
        if is_held { Ok(Reason::Lapsed) } else { self.kured() }
    }

    /// The token belongs to a pod on the very node that is changed.
    fn is_on_own_node(&self) -> bool {
        let name = self.request.old.name();
        !name.is_empty()
            && self.request.new.name() == name
            && matches!(self.request.requester.node_claim.as_slice(), [claim] if claim == name)
    }

    fn cancel_written(&self) -> Result<Reason, Fact> {
        if self.change.uncordons || self.change.touches_marks() {
            return Ok(Reason::CancelAlone);
        }
        match &self.facts.may_override {
            Known::Unasked => Err(Fact::Override),
            Known::Is(true) => Ok(Reason::Override),
            Known::Is(false) => Ok(Reason::NoOverride),
            Known::Failed(_) => Ok(Reason::LookupFailed),
        }
    }

    /// The old Node carries a cancel that names its hold.
    fn is_cancelled(&self) -> bool {
        let node = &self.request.old;
        change::has_marks(node)
            && hold::cancel(node).is_some_and(|cancel| cancel.created == cancel_name(node))
    }

    /// A reboot is under way, so even a cancelled hold stays until it is back or late.
    fn is_sealed(&self, hold: &Reading<Hold>) -> bool {
        let is_before = |until: Timestamp| until.checked_add(SKEW).is_ok_and(|bound| self.now <= bound);
        match hold {
            Reading::Absent => false,
            Reading::Present(hold) => hold.phase == Phase::Sealed && hold.until.is_none_or(is_before),
            // Broken marks must keep a way out, so only a term that can be read counts.
            Reading::Malformed(_) => {
                let node = &self.request.old;
                let until = node.annotation(keys::UNTIL).and_then(|text| text.parse().ok());
                node.label(keys::PHASE) == Some(Phase::Sealed.as_str()) && until.is_some_and(is_before)
            }
        }
    }

    /// An uncordon of a Node that we do not hold: does stock kured?
    fn kured(&self) -> Result<Reason, Fact> {
        let Some(kured) = &self.policy.kured else {
            return Ok(Reason::NotHeld);
        };
        let requester = &self.request.requester;
        // Tokens before Kubernetes 1.32 carry no node claim.
        let is_claim_fitting = requester.node_claim.is_empty() || self.is_on_own_node();
        if requester.user == kured.service_account.user() && is_claim_fitting {
            return Ok(Reason::KuredOwner);
        }
        let text = match &self.facts.kured_lock {
            Known::Unasked => return Err(Fact::KuredLock),
            Known::Failed(_) => return Ok(Reason::LookupFailed),
            Known::Is(text) => text.as_deref(),
        };
        let record = match Record::read(text) {
            Reading::Absent => return Ok(Reason::NotHeld),
            Reading::Malformed(_) => return Ok(Reason::LockUnreadable),
            Reading::Present(record) => record,
        };
        // Where our lock is kured's annotation, our own entries are there too: what they hold the Node itself shows.
        let names_node = record.entries.iter().any(|entry| {
            entry.node == self.request.old.name() && !entry.is_ours() && !entry.has_expired(self.now)
        });
        Ok(if names_node {
            Reason::KuredHeld
        } else {
            Reason::NotHeld
        })
    }

    fn verdict(&self, reason: Reason) -> Verdict {
        let node = &self.request.old;
        let mut audit = BTreeMap::new();
        if reason != Reason::NothingOfOurs {
            let _ = audit.insert(AUDIT_REASON, reason.code().to_owned());
            let marks = [
                ("holder", node.annotation(keys::HOLDER)),
                ("phase", node.label(keys::PHASE)),
            ];
            audit.extend(
                marks
                    .into_iter()
                    .filter_map(|(key, value)| Some((key, text::clip(value?)))),
            );
        }
        match reason {
            Reason::NothingOfOurs
            | Reason::Owner
            | Reason::Override
            | Reason::NotHeld
            | Reason::KuredOwner => Verdict {
                outcome: Outcome::Allow,
                reason,
                message: String::new(),
                warnings: Vec::new(),
                audit,
            },
            Reason::Cancelled | Reason::Lapsed => {
                let warning = text::passing(reason, node);
                let warnings = if self.policy.mode == Mode::Audit {
                    Vec::new()
                } else {
                    vec![warning]
                };
                Verdict {
                    outcome: Outcome::Flag,
                    reason,
                    message: String::new(),
                    warnings,
                    audit,
                }
            }
            _ => denial(reason, self.policy.mode, self.denial_message(reason), audit),
        }
    }

    fn denial_message(&self, reason: Reason) -> String {
        let failure = match (&self.facts.may_override, &self.facts.kured_lock) {
            (Known::Failed(why), _) | (_, Known::Failed(why)) => why.as_str(),
            _ => "",
        };
        let user = &self.request.requester.user;
        text::denial(
            reason,
            &self.request.old,
            user,
            self.policy.kured.as_ref(),
            failure,
        )
    }
}

/// What a cancel of this Node's hold must name.
///
/// The holder alone is looked at: a person who removes the marks one after the other still has the cancel.
pub fn cancel_name(node: &NodeView) -> &str {
    node.annotation(keys::HOLDER)
        .and_then(|holder| holder.split_once('/'))
        .map(|(_, created)| created)
        .filter(|created| !created.is_empty() && !created.contains(char::is_whitespace))
        .unwrap_or(UNREADABLE)
}

fn denial(reason: Reason, mode: Mode, message: String, mut audit: BTreeMap<&'static str, String>) -> Verdict {
    let _ = audit.insert(AUDIT_REASON, reason.code().to_owned());
    let _ = audit.insert("mode", mode.as_str().to_owned());
    match mode {
        Mode::Enforce => Verdict {
            outcome: Outcome::Deny,
            reason,
            message,
            warnings: Vec::new(),
            audit,
        },
        Mode::Warn => {
            let warnings = vec![text::would_deny(reason, &message)];
            Verdict {
                outcome: Outcome::Flag,
                reason,
                message: String::new(),
                warnings,
                audit,
            }
        }
        Mode::Audit => Verdict {
            outcome: Outcome::Flag,
            reason,
            message: String::new(),
            warnings: Vec::new(),
            audit,
        },
    }
}

#[cfg(test)]
mod tests;
