//! The webhook's decision: may this update or delete of a Node pass, or this edit of stock kured's lock?
//!
//! One pure, total function. It neither looks anything up nor reads a clock: where it needs a fact it says which,
//! the shell answers, and it is asked again. A fact that could not be had is a value too, and it fails closed.
//! Not here: what an owner does with its hold ([`crate::reboot::cycle`]) and how a review looks on the wire (the webhook's).

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::Reading;
use crate::hold::{self, Hold, Phase};
use crate::keys;
use crate::node::NodeView;
use crate::quote;

mod change;
mod kured;
mod mode;
mod reason;
mod text;
pub mod trust;

pub use crate::hold::{UNREADABLE, cancel_name};
pub use change::Change;
pub use kured::{KuredLock, KuredPolicy, KuredSeen, LockEdit, Locks, OnLookupFailure};
pub use mode::{Mode, Modes};
pub use reason::Reason;

/// How far the webhook's clock may lag behind the agents': the same margin client-go's leader election lives with, in a cluster with NTP.
pub const SKEW: SignedDuration = SignedDuration::from_secs(30);

/// An audit annotation, as the ones below: what became of the request. The API server puts the webhook's name before each key.
pub const AUDIT_VERDICT: &str = "verdict";
/// The reason's code.
pub const AUDIT_REASON: &str = "reason";
/// As on the Node.
pub const AUDIT_HOLDER: &str = "holder";
/// As on the Node.
pub const AUDIT_PHASE: &str = "phase";
/// Seconds since the hold was stamped, with the unit: `90s`.
pub const AUDIT_AGE: &str = "age";
/// Of a request that should not pass.
pub const AUDIT_MODE: &str = "mode";

/// Of the user name of every ServiceAccount (k8s.io/apiserver: pkg/authentication/serviceaccount/util.go).
const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// Audit annotations by key.
pub type Audit = BTreeMap<&'static str, String>;

/// A write, as admission sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub requester: Requester,
    pub operation: Operation,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    CreateNode { new: NodeView },
    UpdateNode { old: NodeView, new: NodeView },
    DeleteNode { old: NodeView },
    UpdateDaemonSet(LockEdit),
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Requester {
    pub user: String,
    pub uid: String,
    pub groups: Vec<String>,
    /// The node of the pod that the token is bound to: every value of [`keys::NODE_NAME_EXTRA`].
    pub node_claim: Vec<String>,
    /// What else `userInfo.extra` says.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What the admin has decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub modes: Modes,
    pub agent: ServiceAccount,
    /// Who passes whatever is held.
    pub exempt: Exempt,
    pub on_delete: OnDelete,
    /// Set where the nodes that stock kured is about to reboot are protected too.
    pub kured: Option<KuredPolicy>,
}

/// Users and groups that no rule is for. None by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exempt {
    pub users: Vec<String>,
    pub groups: Vec<String>,
}

/// What happens to the DELETE of a held Node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnDelete {
    /// It passes with a warning: autoscalers delete Nodes whose machines are gone.
    #[default]
    Flag,
    Deny,
}

/// A ServiceAccount by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    pub namespace: String,
    pub name: String,
}

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
    pub watched_kured_lock: Known<KuredSeen>,
    pub kured_lock: Known<KuredSeen>,
}

/// The answer, or what is needed for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Need(Fact),
    Verdict(Verdict),
}

/// What becomes of the request, the gravest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    Allow,
    /// It passes and is worth a look: a cancel was used, a held Node deleted, or the mode does not deny.
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
    pub audit: Audit,
}

impl Request {
    pub fn update(requester: Requester, old: NodeView, new: NodeView) -> Request {
        Request {
            requester,
            operation: Operation::UpdateNode { old, new },
        }
    }

    /// The Node before the write, or the one that is to be created, where it is about one.
    pub fn node(&self) -> Option<&NodeView> {
        match &self.operation {
            Operation::CreateNode { new: node }
            | Operation::UpdateNode { old: node, .. }
            | Operation::DeleteNode { old: node } => Some(node),
            Operation::UpdateDaemonSet(_) => None,
        }
    }
}

impl Policy {
    /// kured's lock, where it is looked at.
    pub fn kured_lock(&self) -> Option<&KuredLock> {
        self.kured.as_ref()?.lock.as_ref()
    }

    /// Whether a decision, or what it says, can rest on the label or annotation with this key, of a Node or of kured's `DaemonSet`.
    ///
    /// Whoever sends a review chooses how many others there are, so they are told by name, and not by what they begin with.
    pub fn reads(&self, key: &str) -> bool {
        [keys::PHASE, keys::AGENT, keys::CANCEL].contains(&key)
            || keys::MARK_ANNOTATIONS.contains(&key)
            || keys::OWNERS_ANNOTATIONS.contains(&key)
            || keys::TOLD_ANNOTATIONS.contains(&key)
            || self.kured.as_ref().is_some_and(|kured| {
                let locks = kured.lock.iter().flat_map(|lock| &lock.annotations);
                kured.marks.iter().chain(locks).any(|read| read == key)
            })
    }
}

impl Requester {
    /// The token belongs to a pod on this node, and on no other.
    fn is_on(&self, node: &str) -> bool {
        !node.is_empty() && matches!(self.node_claim.as_slice(), [claim] if claim == node)
    }

    fn is_service_account(&self) -> bool {
        self.user.starts_with(SERVICE_ACCOUNT_PREFIX)
    }

    /// A pod's token on this very node, whoever's: kured's is one.
    fn is_pod_on(&self, node: &str) -> bool {
        self.is_service_account() && self.is_on(node)
    }

    /// Bytes that groups, node claim and extra take in memory, where an empty text is no nothing.
    pub fn identity_bytes(&self) -> usize {
        let extra = self.extra.iter();
        let extra = extra.flat_map(|(key, values)| std::iter::once(key).chain(values));
        let texts = self.groups.iter().chain(&self.node_claim).chain(extra);
        texts.map(|text| text.len() + size_of::<String>()).sum()
    }
}

impl Exempt {
    fn includes(&self, requester: &Requester) -> bool {
        self.users.contains(&requester.user)
            || requester.groups.iter().any(|group| self.groups.contains(group))
    }
}

impl ServiceAccount {
    /// The user name of its tokens.
    pub fn user(&self) -> String {
        format!("{SERVICE_ACCOUNT_PREFIX}{}:{}", self.namespace, self.name)
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

impl Verdict {
    /// A request that could not be judged: denied as far as the mode denies. `why` says what to fix.
    pub fn unjudged(reason: Reason, mode: Mode, why: &str) -> Verdict {
        let why = quote::one_line(why, text::FAILURE_MAX_CHARS);
        let audit = Audit::from([(AUDIT_REASON, reason.code().to_owned())]);
        let message = format!("cordonhold cannot judge this request: {why}");
        Verdict::denies(reason, mode, &message, audit)
    }

    fn passes(outcome: Outcome, reason: Reason, warnings: Vec<String>, mut audit: Audit) -> Verdict {
        if reason != Reason::NothingOfOurs {
            let _ = audit.insert(AUDIT_VERDICT, outcome.as_str().to_owned());
        }
        Verdict {
            outcome,
            reason,
            message: String::new(),
            warnings,
            audit,
        }
    }

    /// What should not pass, as far as the mode denies.
    fn denies(reason: Reason, mode: Mode, message: &str, mut audit: Audit) -> Verdict {
        let _ = audit.insert(AUDIT_MODE, mode.as_str().to_owned());
        match mode {
            Mode::Enforce => {
                let _ = audit.insert(AUDIT_VERDICT, Outcome::Deny.as_str().to_owned());
                Verdict {
                    outcome: Outcome::Deny,
                    reason,
                    message: format!("{}: {message}", reason.code()),
                    warnings: Vec::new(),
                    audit,
                }
            }
            Mode::Warn => Verdict::passes(
                Outcome::Flag,
                reason,
                vec![text::would_deny(reason, message)],
                audit,
            ),
            Mode::Audit => Verdict::passes(Outcome::Flag, reason, Vec::new(), audit),
        }
    }
}

/// Decides. Ask again with the fact filled in while it answers [`Decision::Need`]: at most once for each [`Fact`].
pub fn decide(request: &Request, facts: &Facts, policy: &Policy, now: Timestamp) -> Decision {
    let judgement = Judgement {
        request,
        facts,
        policy,
        now,
    };
    let reason = match &request.operation {
        Operation::CreateNode { new } => Ok(judgement.create(new)),
        Operation::UpdateNode { old, new } => judgement.update(old, new),
        Operation::DeleteNode { old } => Ok(judgement.delete(old)),
        Operation::UpdateDaemonSet(edit) => Ok(judgement.lock_edit(edit)),
    };
    match reason {
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
}

impl Judgement<'_> {
    /// The rule for the CREATE of a Node: a hold is stamped by the agent of a Node that is there, so one that comes with it is nobody's.
    fn create(&self, new: &NodeView) -> Reason {
        if !hold::has_marks(new) {
            return Reason::NothingOfOurs;
        }
        if self.is_exempt() {
            return Reason::Exempt;
        }
        Reason::SpoofedHold
    }

    /// The rules for an update of a Node in the order of the design, or the fact that is missing.
    fn update(&self, old: &NodeView, new: &NodeView) -> Result<Reason, Fact> {
        let change = Change::between(old, new);
        let is_elsewhere = self.is_agent_elsewhere(old);
        if is_elsewhere && (change.is_nothing() || self.denies(Reason::NotOwnNode)) {
            return Ok(Reason::NotOwnNode);
        }
        if change.is_nothing() {
            return Ok(Reason::NothingOfOurs);
        }
        if self.is_exempt() {
            return Ok(Reason::Exempt);
        }
        if !is_elsewhere && self.is_agent() {
            return Ok(Reason::Owner);
        }
        if change.cancel && !change.uncordons && !change.touches_marks() {
            return self.cancel_written(old, new);
        }
        let hold = hold::read(old);
        let (is_held, is_marked) = (hold::is_held(&hold), hold::has_marks(old));
        let is_ended =
            is_cancelled(old) && !change.cancel && !change.sets_marks && (is_held || change.touches_marks());
        let is_sealed = self.is_sealed(old, &hold);
        let rules = [
            (is_elsewhere, Reason::NotOwnNode),
            (change.cancel, Reason::CancelAlone),
            (!is_marked && change.touches_marks(), Reason::SpoofedHold),
            (is_ended && is_sealed, Reason::TooLate),
            (is_ended && !is_sealed, Reason::Cancelled),
            (
                !is_ended && change.uncordons && is_held && !self.has_lapsed(&hold),
                Reason::Held,
            ),
            (
                !is_ended && is_marked && change.annotations_or_phase,
                Reason::TamperedHold,
            ),
            (!is_ended && is_marked && change.taint, Reason::TamperedTaint),
        ];
        let apply = || {
            rules
                .iter()
                .filter(|(applies, _)| *applies)
                .map(|(_, reason)| *reason)
        };
        // One that is only to warn must not open what another one denies.
        if let Some(reason) = apply().find(|reason| self.denies(*reason)) {
            return Ok(reason);
        }
        let passing = if is_held { Reason::Lapsed } else { Reason::NotHeld };
        self.unless_kureds(old, change, apply().next().unwrap_or(passing))
    }

    /// The rules for the DELETE of a Node: no agent deletes another one.
    fn delete(&self, old: &NodeView) -> Reason {
        let reason = self.delete_of_a_hold(old);
        let is_elsewhere = self.is_agent_elsewhere(old);
        if is_elsewhere && (self.denies(Reason::NotOwnNode) || !self.denies(reason)) {
            return Reason::NotOwnNode;
        }
        reason
    }

    /// To everybody else only our hold counts.
    fn delete_of_a_hold(&self, old: &NodeView) -> Reason {
        let hold = hold::read(old);
        if !hold::is_held(&hold) {
            return Reason::NothingOfOurs;
        }
        if self.is_exempt() {
            return Reason::Exempt;
        }
        if is_cancelled(old) && !self.is_sealed(old, &hold) {
            return Reason::Cancelled;
        }
        if self.has_lapsed(&hold) {
            return Reason::Lapsed;
        }
        // Whoever cancelled it must not be told to cancel.
        if is_cancelled(old) && self.policy.on_delete == OnDelete::Deny {
            return Reason::TooLate;
        }
        Reason::HeldDeleted
    }

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

    fn has_lapsed(&self, hold: &Reading<Hold>) -> bool {
        matches!(hold, Reading::Present(hold) if hold.has_lapsed(self.now, SKEW))
    }

    fn cancel_written(&self, old: &NodeView, new: &NodeView) -> Result<Reason, Fact> {
        let permission = match &self.facts.may_override {
            Known::Unasked => return Err(Fact::Override),
            Known::Is(true) => Reason::Override,
            Known::Is(false) => Reason::NoOverride,
            Known::Failed(_) => Reason::LookupFailed,
        };
        let text = new.annotation(keys::CANCEL);
        let is_bad = text.is_some_and(|text| hold::cancel_flaw(old, text).is_some());
        // To whoever may not cancel, how it is done is no help.
        Ok(if is_bad && !self.denies(permission) {
            Reason::BadCancel
        } else {
            permission
        })
    }

    /// A reboot is under way, so even a cancelled hold stays until it is back or late.
    fn is_sealed(&self, node: &NodeView, hold: &Reading<Hold>) -> bool {
        let is_before = |until: Timestamp| until.checked_add(SKEW).is_ok_and(|bound| self.now <= bound);
        match hold {
            Reading::Absent => false,
            Reading::Present(hold) => hold.phase == Phase::Sealed && hold.until.is_none_or(is_before),
            // Broken marks must keep a way out, so only a term that can be read counts.
            Reading::Malformed(_) => {
                let until = node.annotation(keys::UNTIL).and_then(|text| text.parse().ok());
                node.label(keys::PHASE) == Some(Phase::Sealed.as_str()) && until.is_some_and(is_before)
            }
        }
    }

    /// This reason for an update that our own hold lets pass, unless it is an uncordon and kured holds the Node.
    fn unless_kureds(&self, node: &NodeView, change: Change, reason: Reason) -> Result<Reason, Fact> {
        if !change.uncordons {
            return Ok(reason);
        }
        let kured = self.kured(node)?;
        let is_graver = self.gravity(kured) > self.gravity(reason);
        Ok(if is_graver || reason == Reason::NotHeld {
            kured
        } else {
            reason
        })
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
                if matches!(self.facts.kured_lock, Known::Failed(_))
                    && (lock.is_some_and(|lock| lock.on_lookup_failure == OnLookupFailure::Allow)
                        || self.may_be_kured()) =>
            {
                Outcome::Flag
            }
            _ => reason.outcome(),
        }
    }

    fn verdict(&self, reason: Reason) -> Verdict {
        let mode = self.policy.modes.of(reason);
        match self.outcome(reason) {
            Outcome::Allow if reason == Reason::NothingOfOurs => {
                Verdict::passes(Outcome::Allow, reason, Vec::new(), BTreeMap::new())
            }
            Outcome::Allow => Verdict::passes(Outcome::Allow, reason, Vec::new(), self.audit(reason)),
            Outcome::Flag => {
                let warning = || text::passing(reason, self.request, self.failure());
                let warnings = (mode != Mode::Audit).then(warning).into_iter().collect();
                Verdict::passes(Outcome::Flag, reason, warnings, self.audit(reason))
            }
            Outcome::Deny => Verdict::denies(reason, mode, &self.denial_message(reason), self.audit(reason)),
        }
    }

    /// Who holds the Node, how far it is, and for how long.
    fn audit(&self, reason: Reason) -> Audit {
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
        if let Reading::Present(hold) = hold::read(node) {
            let age = hold.age(self.now).as_secs();
            let _ = audit.insert(AUDIT_AGE, format!("{age}s"));
        }
        audit
    }

    fn denial_message(&self, reason: Reason) -> String {
        // Where the right to cancel could not be asked for, kured has no part in it.
        let is_about_kured = !matches!(self.facts.may_override, Known::Failed(_));
        let kured = self.policy.kured.as_ref().filter(|_| is_about_kured);
        let failure = match reason {
            Reason::LockUnreadable => self.unreadable_lock(),
            _ => self.failure().to_owned(),
        };
        text::denial(
            reason,
            self.request,
            kured,
            self.kured_found(),
            &failure,
            self.now,
        )
    }

    /// Why a fact could not be had.
    fn failure(&self) -> &str {
        match (&self.facts.may_override, &self.facts.kured_lock) {
            (Known::Failed(why), _) | (_, Known::Failed(why)) => why,
            _ => "",
        }
    }
}

/// The Node carries a cancel that names its hold.
fn is_cancelled(node: &NodeView) -> bool {
    hold::has_marks(node) && hold::cancel(node).is_some_and(|cancel| cancel.created == cancel_name(node))
}

#[cfg(test)]
mod tests;
