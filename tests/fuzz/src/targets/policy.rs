//! The webhook's decision under a policy, and what it must come to whatever was read.

use cordonhold_shared::Reading;
use cordonhold_shared::admission::{
    Decision, Exempt, Facts, Known, KuredSeen, Mode, OnDelete, Operation, Outcome, Policy, Request,
    ServiceAccount, Verdict, decide,
};
use cordonhold_shared::hold::{self, Phase, UNTIL_GRACE};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use jiff::{SignedDuration, Timestamp};

use super::is_one_line;

/// The time of every decision. Inputs name times before and after it.
pub(super) const NOW: Timestamp = Timestamp::constant(1_795_000_000, 0);
/// Longer than any clock may differ.
const MARGIN: SignedDuration = SignedDuration::from_mins(2);

/// The policy of every decision: the webhook's defaults, with this mode.
pub(super) fn policy(mode: Mode) -> Policy {
    Policy {
        modes: mode.into(),
        agent: ServiceAccount {
            namespace: "cordonhold".to_owned(),
            name: "cordonhold-agent".to_owned(),
        },
        exempt: Exempt::default(),
        on_delete: OnDelete::default(),
        kured: None,
        replica: "webhook-0".to_owned(),
    }
}

/// The verdict for somebody who has no permission beyond writing the Node. Checks what must hold of any.
pub(super) fn judged(request: &Request, policy: &Policy) -> Verdict {
    let facts = Facts {
        may_override: Known::Is(false),
        may_reboot: Known::Is(false),
        watched_kured_lock: Known::Is(KuredSeen::default()),
        kured_lock: Known::Is(KuredSeen::default()),
    };
    let verdict = match decide(request, &facts, policy, NOW) {
        Decision::Verdict(verdict) => Some(verdict),
        Decision::Need(_) => None,
    };
    let verdict = verdict.expect("every fact was given");
    for warning in &verdict.warnings {
        is_one_line(warning);
    }
    if let Operation::UpdateNode { old, new } = &request.operation
        && !request.is_of_status
        && !is_agent(request, policy)
    {
        held_stays_cordoned(old, new, &verdict);
        marks_are_the_agents(old, new, &verdict);
    }
    verdict
}

fn is_agent(request: &Request, policy: &Policy) -> bool {
    let agent = format!(
        "system:serviceaccount:{}:{}",
        policy.agent.namespace, policy.agent.name
    );
    request.requester.user == agent
}

/// HELD-STAYS-CORDONED and FAIL-SAFE-READING, without the code that reads holds: whoever has marks beyond a wish is held, however they read.
fn held_stays_cordoned(old: &NodeView, new: &NodeView, verdict: &Verdict) {
    let is_uncordon = old.spec.unschedulable && !new.spec.unschedulable;
    let has_marks = old.annotation(keys::HOLDER).is_some() || old.label(keys::PHASE).is_some();
    let may_be_wish = old.label(keys::PHASE) == Some(Phase::Wanted.as_str());
    if is_uncordon && has_marks && !may_be_wish && !is_open(old) {
        assert_eq!(verdict.outcome, Outcome::Deny, "{verdict:?} of {old:?}");
    }
}

/// Whether something may let an uncordon of a held node pass: its time is over, or a person has cancelled.
fn is_open(node: &NodeView) -> bool {
    let until = node.annotation(keys::UNTIL).map(str::parse::<Timestamp>);
    let end = match until {
        None | Some(Err(_)) => None,
        Some(Ok(until)) => until.checked_add(UNTIL_GRACE).ok(),
    };
    let is_over = end.is_some_and(|end| end < NOW.saturating_add(MARGIN).unwrap_or(Timestamp::MAX));
    is_over || node.annotation(keys::CANCEL).is_some()
}

/// No mark is written, changed or removed by anybody but the agent, unless a person has cancelled.
fn marks_are_the_agents(old: &NodeView, new: &NodeView, verdict: &Verdict) {
    let marks = |node: &NodeView| {
        let annotations = keys::MARK_ANNOTATIONS.map(|key| node.annotation(key).map(str::to_owned));
        (annotations, node.label(keys::PHASE).map(str::to_owned))
    };
    if marks(old) != marks(new) && old.annotation(keys::CANCEL).is_none() {
        assert_eq!(
            verdict.outcome,
            Outcome::Deny,
            "{verdict:?} of {old:?} to {new:?}"
        );
    }
}

/// What a Node's marks say, and that a Node is held if it has marks that cannot be read.
pub(super) fn hold_of(node: &NodeView) -> Option<hold::Hold> {
    let reading = hold::read(node);
    let has_any = node.annotation(keys::HOLDER).is_some() || node.label(keys::PHASE).is_some();
    assert_eq!(reading == Reading::Absent, !has_any, "{node:?}");
    if let Reading::Malformed(why) = &reading {
        is_one_line(why);
        assert!(hold::is_held(&reading));
    }
    reading.present()
}
