//! The webhook's decision: may this create, update or delete of a Node pass, or this edit of stock kured's lock?
//!
//! One pure, total function. It neither looks anything up nor reads a clock: where it needs a fact it says which,
//! the shell answers, and it is asked again. A fact that could not be had is a value too, and it fails closed.
//! Not here: what an owner does with its hold ([`crate::reboot::cycle`]) and how a review looks on the wire (the webhook's).

use jiff::{SignedDuration, Timestamp};

use crate::Reading;
use crate::hold::Hold;
use crate::keys;
use crate::node::NodeView;
use crate::quote;

mod change;
mod kured;
mod mode;
mod node;
mod policy;
mod reason;
mod request;
mod text;
pub mod trust;
mod verdict;

pub use crate::hold::{UNREADABLE, cancel_name};
pub use change::Change;
pub use kured::{KuredLock, KuredPolicy, KuredSeen, LockEdit, Locks, OnLookupFailure};
pub use mode::{Mode, Modes};
pub use policy::{Exempt, OnDelete, Policy, ServiceAccount};
pub use reason::{Reason, Subject};
pub use request::{Operation, Request, Requester};
pub use verdict::{
    AUDIT_AGE, AUDIT_HOLDER, AUDIT_MODE, AUDIT_PHASE, AUDIT_REASON, AUDIT_VERDICT, Audit, Outcome, Verdict,
};

/// How far the webhook's clock may lag behind the agents': the same margin client-go's leader election lives with, in a cluster with NTP.
pub const SKEW: SignedDuration = SignedDuration::from_secs(30);

/// Something the decision may need to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fact {
    /// Whether the requester has the verb `override` on `rebootholds.cordonhold.dev` named as the Node.
    Override,
    /// What a watch of kured's DaemonSet says: enough to deny by, not to let pass.
    WatchedKuredLock,
    /// kured's DaemonSet, found and read afresh.
    KuredLock,
}

/// A fact, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Known<T> {
    /// Nobody has asked yet.
    #[default]
    Unasked,
    /// It was asked, and this is the answer.
    Is(T),
    /// Asked and not answered: why, and how to fix it.
    Failed(String),
}

impl<T> Known<T> {
    /// The fact, where it is known.
    fn value(&self) -> Option<&T> {
        match self {
            Known::Is(value) => Some(value),
            Known::Unasked | Known::Failed(_) => None,
        }
    }

    /// Why it could not be had.
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

/// What the shell has found out so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// [`Fact::Override`].
    pub may_override: Known<bool>,
    /// [`Fact::WatchedKuredLock`].
    pub watched_kured_lock: Known<KuredSeen>,
    /// [`Fact::KuredLock`].
    pub kured_lock: Known<KuredSeen>,
}

/// The answer, or what is needed for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Find this out and ask again.
    Need(Fact),
    /// The answer.
    Verdict(Verdict),
}

/// Decides. Ask again with the fact filled in while it answers [`Decision::Need`]: at most once for each [`Fact`].
pub fn decide(request: &Request, facts: &Facts, policy: &Policy, now: Timestamp) -> Decision {
    let evaluation = Evaluation {
        request,
        facts,
        policy,
        now,
        change: request.change(),
        hold: request.hold(),
    };
    let ruling = match &request.operation {
        Operation::CreateNode { new } => evaluation.create(new).into(),
        Operation::UpdateNode { old, new } => evaluation.update(old, new),
        Operation::DeleteNode { old } => evaluation.delete(old).into(),
        Operation::UpdateDaemonSet(edit) => evaluation.lock_edit(edit).into(),
    };
    match ruling {
        Ruling::Reason(reason) => Decision::Verdict(evaluation.verdict(reason)),
        Ruling::Need(fact) => Decision::Need(fact),
    }
}

/// What the rules come to.
enum Ruling {
    Reason(Reason),
    /// They cannot go on without this fact.
    Need(Fact),
}

impl From<Reason> for Ruling {
    fn from(reason: Reason) -> Ruling {
        Ruling::Reason(reason)
    }
}

/// One evaluation of the policy: what it looks at, each read once.
struct Evaluation<'a> {
    request: &'a Request,
    facts: &'a Facts,
    policy: &'a Policy,
    now: Timestamp,
    /// What the update of a Node changes of ours.
    change: Change,
    /// The hold that the Node shows before the write, or comes with.
    hold: Reading<Hold>,
}

impl Evaluation<'_> {
    fn is_agent(&self) -> bool {
        self.request.requester.user == self.policy.agent.user()
    }

    /// An agent whose token does not name this Node: it has no business there at all.
    fn is_agent_elsewhere(&self, node: &NodeView) -> bool {
        self.is_agent() && !self.request.requester.is_on(node.name()) && !self.is_exempt()
    }

    fn is_exempt(&self) -> bool {
        self.policy.exempt.includes(&self.request.requester)
    }

    fn denies(&self, reason: Reason) -> bool {
        self.outcome(reason) == Outcome::Deny && self.policy.modes.of(reason) == Mode::Enforce
    }

    /// What a reason comes to, and what it would come to in mode `enforce`.
    fn gravity(&self, reason: Reason) -> (Outcome, Outcome) {
        let outcome = self.outcome(reason);
        let is_let_off = outcome == Outcome::Deny && !self.denies(reason);
        (if is_let_off { Outcome::Flag } else { outcome }, outcome)
    }

    /// What a reason comes to in mode `enforce`.
    fn outcome(&self, reason: Reason) -> Outcome {
        let lock = self.policy.kured_lock();
        match reason {
            Reason::HeldDeleted if self.policy.on_delete == OnDelete::Deny => Outcome::Deny,
            // kured's mark says that a reboot is wanted; whether it has begun, its lock says.
            Reason::KuredMarked if lock.is_none() => Outcome::Deny,
            Reason::LookupFailed
                if self.facts.kured_lock.failure().is_some()
                    && (lock.is_some_and(|lock| lock.on_lookup_failure == OnLookupFailure::Allow)
                        || self.may_be_kured()) =>
            {
                Outcome::Flag
            }
            // Its row says it.
            _ => reason.outcome(),
        }
    }

    fn verdict(&self, reason: Reason) -> Verdict {
        let mode = self.policy.modes.of(reason);
        let verdict = match self.outcome(reason) {
            Outcome::Allow => Verdict::new(Outcome::Allow, reason, mode, self.audit(reason)),
            Outcome::Flag => Verdict {
                warnings: match mode {
                    Mode::Enforce | Mode::Warn => vec![self.warning(reason)],
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

    /// Who holds the Node, how far it is, and for how long.
    fn audit(&self, reason: Reason) -> Audit {
        if reason == Reason::NothingOfOurs {
            return Audit::new();
        }
        let mut audit = Audit::from([(AUDIT_REASON, reason.code().to_owned())]);
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

    /// Why a fact could not be had.
    fn failure(&self) -> &str {
        let failure = self.facts.may_override.failure();
        failure
            .or_else(|| self.facts.kured_lock.failure())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
