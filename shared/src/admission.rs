//! The webhook's decision: whether a create, update or delete of a Node, or an edit of stock kured's lock, may pass.
//!
//! [`decide`] is a pure function: no I/O, no clock. If it needs a fact from the cluster, it returns which one; the caller looks it up
//! and calls again. A lookup that failed is also passed in, and the request is denied unless the policy says otherwise.
//! Not here: what the agent does with its hold ([`crate::reboot::cycle`]), and the JSON of a review (the webhook's `review`).

use jiff::{SignedDuration, Timestamp};

use crate::Reading;
use crate::hold::Hold;
use crate::keys;
use crate::node::NodeView;
use crate::quote;

mod change;
mod deferral;
mod kured;
mod mode;
mod node;
mod notice;
mod policy;
mod probe;
mod reason;
mod request;
mod text;
pub mod trust;
mod verdict;

pub use crate::hold::{UNREADABLE, cancel_name};
pub use change::Change;
pub use deferral::{Deferral, defer};
pub use kured::{KuredLock, KuredPolicy, KuredSeen, LockEdit, Locks, OnLookupFailure};
pub use mode::{Mode, Modes};
pub use notice::{NoNotice, Notice};
pub use policy::{Exempt, OnDelete, Policy, ServiceAccount};
pub use probe::ProbeAnswer;
pub use reason::{Reason, Subject};
pub use request::{Operation, Request, Requester};
pub use verdict::{
    AUDIT_AGE, AUDIT_HOLDER, AUDIT_MODE, AUDIT_PHASE, AUDIT_REASON, AUDIT_VERDICT, Audit, Outcome, Verdict,
};

/// How far the webhook's clock and the clocks of others may differ. client-go's leader election assumes the same in a cluster with NTP.
pub const SKEW: SignedDuration = SignedDuration::from_secs(30);

/// A fact that the decision may need from the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fact {
    /// Whether the requester has the verb `override` on `rebootholds.cordonhold.dev` named as the Node.
    Override,
    /// Whether the requester has the verb `reboot` on `rebootholds.cordonhold.dev` named as the Node.
    Reboot,
    /// kured's lock as a watch of its DaemonSet last showed it. It may be stale, so it can only deny.
    WatchedKuredLock,
    /// kured's DaemonSet, looked for and read by a fresh request.
    KuredLock,
}

/// The state of a fact: not asked, answered, or failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Known<T> {
    /// The fact has not been looked up yet.
    #[default]
    Unasked,
    /// The lookup brought this answer.
    Is(T),
    /// The lookup failed. The text says why, and how to fix it.
    Failed(String),
}

impl<T> Known<T> {
    /// The answer, if there is one.
    fn value(&self) -> Option<&T> {
        match self {
            Known::Is(value) => Some(value),
            Known::Unasked | Known::Failed(_) => None,
        }
    }

    /// Why the lookup failed, if it did.
    fn failure(&self) -> Option<&str> {
        match self {
            Known::Failed(why) => Some(why),
            Known::Unasked | Known::Is(_) => None,
        }
    }

    fn is_asked(&self) -> bool {
        match self {
            Known::Is(_) | Known::Failed(_) => true,
            Known::Unasked => false,
        }
    }
}

/// The facts that the caller has looked up so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The state of [`Fact::Override`].
    pub may_override: Known<bool>,
    /// The state of [`Fact::Reboot`].
    pub may_reboot: Known<bool>,
    /// The state of [`Fact::WatchedKuredLock`].
    pub watched_kured_lock: Known<KuredSeen>,
    /// The state of [`Fact::KuredLock`].
    pub kured_lock: Known<KuredSeen>,
}

/// The verdict, or the fact that is missing for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Look this fact up and call [`decide`] again.
    Need(Fact),
    /// The answer to the request.
    Verdict(Verdict),
}

/// Decides about a request. On [`Decision::Need`], call it again with that fact filled in; it asks for each [`Fact`] at most once.
pub fn decide(request: &Request, facts: &Facts, policy: &Policy, now: Timestamp) -> Decision {
    let evaluation = Evaluation::of(request, facts, policy, now);
    let ruling = match &request.operation {
        Operation::CreateNode { new } => evaluation.create(new),
        Operation::UpdateNode { old, new } => evaluation.update(old, new),
        Operation::DeleteNode { old } => evaluation.delete(old).into(),
        Operation::UpdateDaemonSet(edit) => evaluation.lock_edit(edit).into(),
    };
    match ruling {
        Ruling::Reason(reason) => Decision::Verdict(evaluation.verdict(reason)),
        Ruling::Need(fact) => Decision::Need(fact),
    }
}

/// The result of the rules.
enum Ruling {
    Reason(Reason),
    /// The rules need this fact first.
    Need(Fact),
}

impl From<Reason> for Ruling {
    fn from(reason: Reason) -> Ruling {
        Ruling::Reason(reason)
    }
}

/// One request under evaluation, with what the rules look at.
struct Evaluation<'a> {
    request: &'a Request,
    facts: &'a Facts,
    policy: &'a Policy,
    now: Timestamp,
    /// What the update of a Node changes in cordon, marks, cancel and request.
    change: Change,
    /// The hold on the Node before the write; for a CREATE, on the new Node.
    hold: Reading<Hold>,
}

impl<'a> Evaluation<'a> {
    fn of(request: &'a Request, facts: &'a Facts, policy: &'a Policy, now: Timestamp) -> Evaluation<'a> {
        Evaluation {
            request,
            facts,
            policy,
            now,
            change: request.change(),
            hold: request.hold(),
        }
    }
}

impl Evaluation<'_> {
    fn is_agent(&self) -> bool {
        self.request.requester.user == self.policy.agent.user()
    }

    /// Whether the requester is an agent whose token does not name this Node. Such an agent may not write to it at all.
    fn is_agent_elsewhere(&self, node: &NodeView) -> bool {
        self.is_agent() && !self.request.requester.is_on(node.name()) && !self.is_exempt()
    }

    fn is_exempt(&self) -> bool {
        self.policy.exempt.includes(&self.request.requester)
    }

    fn mode(&self, reason: Reason) -> Mode {
        let of = |reason| self.policy.modes.of_requester(reason, &self.request.requester);
        match reason {
            // Told as the mode says that has deferred it, which may be the mode of one reason alone.
            Reason::Deferred => [Reason::Held, Reason::TooLate]
                .map(of)
                .into_iter()
                .find(|mode| *mode == Mode::Defer)
                .unwrap_or_else(|| of(reason)),
            reason => of(reason),
        }
    }

    fn denies(&self, reason: Reason) -> bool {
        self.outcome(reason) == Outcome::Deny && self.mode(reason).denies()
    }

    /// How severe a reason is, for comparison: its outcome under its mode, then its outcome in mode `enforce`.
    fn gravity(&self, reason: Reason) -> (Outcome, Outcome) {
        let outcome = self.outcome(reason);
        let is_let_off = outcome == Outcome::Deny && !self.denies(reason);
        (if is_let_off { Outcome::Flag } else { outcome }, outcome)
    }

    /// The outcome of a reason in mode `enforce`, under the flags of the policy.
    fn outcome(&self, reason: Reason) -> Outcome {
        let lock = self.policy.kured_lock();
        match reason {
            Reason::HeldDeleted if self.policy.on_delete == OnDelete::Deny => Outcome::Deny,
            // The mark only says that kured wants a reboot. kured's lock says whether it has begun; without the lock the mark must do.
            Reason::KuredMarked if lock.is_none() => Outcome::Deny,
            Reason::LookupFailed
                if self.facts.kured_lock.failure().is_some()
                    && (lock.is_some_and(|lock| lock.on_lookup_failure == OnLookupFailure::Allow)
                        || self.may_be_kured()) =>
            {
                Outcome::Flag
            }
            // No flag concerns the others: see the table in `reason.rs`.
            _ => reason.outcome(),
        }
    }

    fn verdict(&self, reason: Reason) -> Verdict {
        let mode = self.mode(reason);
        let verdict = match self.outcome(reason) {
            Outcome::Allow => Verdict {
                // The answer to a question, which no mode keeps back.
                warnings: (reason == Reason::Probed)
                    .then(|| self.warning(reason))
                    .into_iter()
                    .collect(),
                ..Verdict::new(Outcome::Allow, reason, mode, self.audit(reason))
            },
            Outcome::Flag => Verdict {
                warnings: match mode {
                    Mode::Enforce | Mode::Defer | Mode::Warn => vec![self.warning(reason)],
                    Mode::Audit => Vec::new(),
                },
                ..Verdict::new(Outcome::Flag, reason, mode, self.audit(reason))
            },
            Outcome::Deny => Verdict::denies(reason, mode, &self.denial(reason), self.audit(reason)),
        };
        Verdict {
            change: self.change,
            concerns_kured: self.concerns_kured(reason),
            ..verdict
        }
    }

    /// The audit annotations: the reason, and holder, phase and age of the hold.
    fn audit(&self, reason: Reason) -> Audit {
        if reason == Reason::NothingOfOurs {
            return Audit::new();
        }
        let mut audit = Audit::from([(AUDIT_REASON, reason.code().to_owned())]);
        if reason == Reason::Deferred {
            drop(audit.insert(AUDIT_MODE, self.mode(reason).as_str().to_owned()));
        }
        let Some(node) = self.request.node() else {
            return audit;
        };
        let marks = [
            (AUDIT_HOLDER, node.annotation(keys::HOLDER)),
            (AUDIT_PHASE, node.label(keys::PHASE)),
        ];
        let marks = marks
            .into_iter()
            .filter_map(|(key, value)| Some((key, quote::one_line(value?, quote::QUOTED_MAX))));
        audit.extend(marks);
        if let Reading::Present(hold) = &self.hold {
            let age = hold.age(self.now).as_secs();
            drop(audit.insert(AUDIT_AGE, format!("{age}s")));
        }
        audit
    }

    /// Why a lookup failed; empty if none did.
    fn failure(&self) -> &str {
        let failure = self.facts.may_override.failure();
        failure
            .or_else(|| self.facts.may_reboot.failure())
            .or_else(|| self.facts.kured_lock.failure())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
