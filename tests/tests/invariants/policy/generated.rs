//! Writes made at random from parts of the table's, tried with the policies alone and asked of the core. The table has each part by itself;
//! here they meet.
//!
//! Where the two differ, the table must have that difference, and so has the manual.
//! Not here: the parts themselves, each with a reason (`cases.rs`).

use anyhow::Result;
use cordonhold_shared::admission::{Operation, Outcome, Reason, UNREADABLE};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use cordonhold_simulation::random::Random;
use cordonhold_tests::identity::ORDINARY_CONTROLLER;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::cases::{Case, Policy, Who, cancel, created, phase, rebooting};
use super::decision::{Stored, decided};
use super::state::State;
use crate::subject::{annotate, cordon, uncordon};

/// How many writes are tried. One takes some milliseconds.
pub(super) const WRITES: usize = if cfg!(feature = "long") { 5_000 } else { 1_000 };
const SEED: u64 = 21;
/// Most parts of one write.
const PARTS_MAX: usize = 3;

/// What a Node of the table carries in these states leaves no room for more.
const FULL: [State; 4] = [
    State::ManyTaints,
    State::HeldManyTaints,
    State::LongHolder,
    State::LongUntil,
];
/// The states in which the policies take a Node for held longer than the webhook does, as rows of the table say.
const HELD_LONGER: [State; 6] = [
    State::WishWithOffset,
    State::SealedOffset,
    State::SealedOver,
    State::SealedQuiet,
    State::LapsedQuiet,
    State::LapsedAnothers,
];
/// Those whom a policy can tell apart. The table has an agent that is bound to cluster-admin.
const WHO: [Who; 5] = [
    Who::Admin,
    Who::Controller,
    Who::Owner,
    Who::Elsewhere,
    Who::Namesake,
];

/// A write of a Node by somebody, and what the core says to it.
pub(super) struct Attempt {
    pub(super) state: State,
    pub(super) who: Who,
    /// Whether it goes to `nodes/status`.
    pub(super) is_of_status: bool,
    pub(super) body: Value,
    pub(super) reason: Reason,
    pub(super) outcome: Outcome,
}

impl Attempt {
    /// Whether the policies may answer this: as the core does, or by a difference that the table has.
    pub(super) fn may_be(&self, cases: &[Case], denied: Option<&str>) -> Answered {
        let is_denied = self.outcome == Outcome::Deny;
        if denied == is_denied.then(|| self.reason.code()) {
            return Answered::Alike;
        }
        let is_named = self.is_in_table(cases, denied)
            || self.is_held_longer() && denied.is_some()
            || self.is_kept_by_hand();
        if is_named {
            Answered::AsTheTableSays
        } else {
            Answered::Otherwise
        }
    }

    /// The table has this difference for this state. Its differences of requests are in times and texts that are not made here.
    fn is_in_table(&self, cases: &[Case], denied: Option<&str>) -> bool {
        cases.iter().any(|case| {
            let is_so = match case.policy {
                Policy::Same => false,
                Policy::Passes(_) => denied.is_none(),
                Policy::Denies(reason, _) => denied == Some(reason.code()),
            };
            let is_this = case.state == self.state && case.reason == self.reason;
            is_so && is_this && case.reason != Reason::BadRequest
        })
    }

    /// The policies take the Node for held when the webhook no longer does: they may deny an uncordon, or name the hold where the webhook names
    /// what else the write changes.
    fn is_held_longer(&self) -> bool {
        let is_uncordon = self.body.pointer("/spec/unschedulable") == Some(&Value::Null);
        HELD_LONGER.contains(&self.state) && (is_uncordon || self.outcome == Outcome::Deny)
    }

    /// An uncordon that is noted by hand, which the policies do not take for one.
    fn is_kept_by_hand(&self) -> bool {
        let noted = &self.body["metadata"]["annotations"][keys::UNCORDON_WANTED];
        noted.is_string() && matches!(self.reason, Reason::Held | Reason::TooLate)
    }
}

/// How the policies have answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    Alike,
    AsTheTableSays,
    Otherwise,
}

/// All writes, the same each time. `node` gives the Node of a state.
pub(super) fn attempts<'a>(node: impl Fn(State) -> &'a Stored) -> Result<Vec<Attempt>> {
    let mut random = Random::new(SEED);
    let states: Vec<State> = State::ALL
        .into_iter()
        .filter(|state| !FULL.contains(state))
        .collect();
    let mut attempts = Vec::new();
    for _ in 0..WRITES {
        let state = states[random.index(states.len())];
        let who = WHO[random.index(WHO.len())];
        let stored = node(state);
        let mut body = json!({});
        for _ in 0..=random.index(PARTS_MAX) {
            merge_all(&mut body, &part(&mut random, &stored.view));
        }
        // The API server takes no part of `spec` from such a write, and no agent may make one.
        let may_write_status = body.get("spec").is_none() && matches!(who, Who::Admin | Who::Namesake);
        let is_of_status = may_write_status && random.index(2) == 0;
        let operation = Operation::UpdateNode {
            old: stored.view.clone(),
            new: stored.patched(&body)?,
        };
        let (reason, outcome) = decided(who, state, operation, is_of_status)?;
        attempts.push(Attempt {
            state,
            who,
            is_of_status,
            body,
            reason,
            outcome,
        });
    }
    Ok(attempts)
}

/// Puts a patch over a patch, where `null` is a value.
fn merge_all(target: &mut Value, patch: &Value) {
    match patch {
        Value::Object(patch) if target.is_object() => {
            for (key, value) in patch {
                match target.get_mut(key) {
                    Some(there) => merge_all(there, value),
                    None => target[key] = value.clone(),
                }
            }
        }
        _ => *target = patch.clone(),
    }
}

/// One part of a write.
fn part(random: &mut Random, node: &NodeView) -> Value {
    let created = created(node).to_owned();
    let taints = |taints: &[Value]| json!({ "spec": { "taints": taints } });
    let another = json!({ "key": "example.org/maintenance", "effect": "NoSchedule" });
    match random.index(17) {
        0..=3 => uncordon(),
        4 => cordon(),
        5 => json!({ "metadata": { "labels": { "team": "a" } } }),
        6 | 7 => {
            let key = keys::MARK_ANNOTATIONS[random.index(keys::MARK_ANNOTATIONS.len())];
            let value = [
                None,
                node.annotation(key),
                Some("2099-01-01T00:00:00Z"),
                Some("true"),
                Some(""),
            ];
            annotate(key, value[random.index(value.len())])
        }
        8 => phase(
            [
                None,
                Some("wanted"),
                Some("returning"),
                Some("unknown"),
                node.label(keys::PHASE),
            ][random.index(5)],
        ),
        9 => taints(&[]),
        10 => taints(&[rebooting(), another]),
        11 => cancel(node, ["the rack is on fire", "", " "][random.index(3)]),
        12 => {
            let text = [
                None,
                Some(format!("{UNREADABLE} the rack is on fire")),
                Some(format!("{created}x no")),
                node.annotation(keys::CANCEL).map(str::to_owned),
            ];
            annotate(keys::CANCEL, text[random.index(4)].as_deref())
        }
        13 => {
            let key = keys::OWNERS_ANNOTATIONS[random.index(keys::OWNERS_ANNOTATIONS.len())];
            annotate(key, [None, Some("x"), node.annotation(key)][random.index(3)])
        }
        14 => {
            let value = [Value::Null, json!(keys::DISABLED), json!("x")][random.index(3)].clone();
            json!({ "metadata": { "labels": { keys::AGENT: value } } })
        }
        15 => {
            let asked = [
                None,
                Some("please do".to_owned()),
                Some(format!("{:.0} a kernel", Timestamp::now())),
            ];
            annotate(keys::REBOOT_WANTED, asked[random.index(3)].as_deref())
        }
        _ => {
            let text = [
                None,
                Some(format!("{created} - admin")),
                Some(format!("{created} - {ORDINARY_CONTROLLER}")),
                node.annotation(keys::UNCORDON_WANTED).map(str::to_owned),
            ];
            annotate(keys::UNCORDON_WANTED, text[random.index(4)].as_deref())
        }
    }
}
