//! The verdicts on a request: one, or one for each possible answer to what could not be looked up.
//!
//! This module only looks up facts. Not here: the decision, which is the server's own ([`admission::decide`]).

use std::sync::Arc;

use cordonhold_shared::admission::{
    self, Decision, Fact, Facts, Known, KuredSeen, Locks, Outcome, Policy, Request, Verdict,
};
use cordonhold_shared::keys;
use cordonhold_shared::kured::Kured;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::quote::quoted;
use jiff::Timestamp;
use kube::Client;
use serde_json::json;

use crate::lookup::ClusterLookup;
use crate::{Lookup, Metrics};

/// Where facts come from. Each is looked up only if the decision needs it.
pub(super) struct Sources {
    pub(super) lookup: Option<ClusterLookup>,
    pub(super) may_override: Option<bool>,
    pub(super) may_reboot: Option<bool>,
    pub(super) kured_lock: Option<KuredSeen>,
}

/// A verdict, and the assumptions that it rests on.
pub(super) struct Case {
    pub(super) assumptions: Vec<String>,
    pub(super) verdict: Verdict,
}

/// All cases: one, or several if something could not be looked up.
#[derive(Default)]
pub(super) struct Cases {
    pub(super) all: Vec<Case>,
    /// Where kured was found, or is assumed to be, if the decision needed its lock.
    pub(super) kured: Option<String>,
    /// Why lookups failed. The webhook asks as its own ServiceAccount, so its lookups may succeed.
    pub(super) failures: Vec<String>,
}

impl Cases {
    /// The one case of a verdict that rests on nothing that was looked up.
    pub(super) fn known(verdict: Verdict) -> Cases {
        Cases {
            all: vec![Case {
                assumptions: Vec::new(),
                verdict,
            }],
            ..Cases::default()
        }
    }

    /// Whether any case is a denial.
    pub(super) fn may_be_denied(&self) -> bool {
        self.all.iter().any(|case| case.verdict.outcome == Outcome::Deny)
    }
}

impl Sources {
    /// The cluster that this client reaches, as this policy looks into it. Without a client nothing is looked up.
    pub(super) fn of(client: Option<Client>, policy: &Policy) -> Sources {
        let lock = policy.kured_lock();
        Sources {
            lookup: client.map(|client| ClusterLookup::new(client, lock, &Arc::new(Metrics::new()))),
            may_override: None,
            may_reboot: None,
            kured_lock: None,
        }
    }

    pub(super) async fn cases(&self, request: &Request, policy: &Policy, now: Timestamp) -> Cases {
        let mut cases = Cases::default();
        // A branch is a set of facts and assumptions. A question with two possible answers makes two branches of one.
        let mut open = vec![(Facts::default(), Vec::new())];
        while let Some((mut facts, assumptions)) = open.pop() {
            match admission::decide(request, &facts, policy, now) {
                Decision::Verdict(verdict) => cases.all.push(Case { assumptions, verdict }),
                // The server's watch only denies faster what the lock itself denies, so the verdict is the same without it.
                Decision::Need(Fact::WatchedKuredLock) => {
                    facts.watched_kured_lock = Known::Failed("nothing is watched".to_owned());
                    open.push((facts, assumptions));
                }
                Decision::Need(Fact::Override) => {
                    let verb = keys::OVERRIDE_VERB;
                    let asked = self.may(verb, self.may_override, request).await;
                    let answers = answers(asked, either_permission(verb, request), &mut cases.failures);
                    open.extend(assuming(&facts, &assumptions, answers, |facts, may| {
                        facts.may_override = Known::Is(may);
                    }));
                }
                Decision::Need(Fact::Reboot) => {
                    let verb = keys::REBOOT_VERB;
                    let asked = self.may(verb, self.may_reboot, request).await;
                    let answers = answers(asked, either_permission(verb, request), &mut cases.failures);
                    open.extend(assuming(&facts, &assumptions, answers, |facts, may| {
                        facts.may_reboot = Known::Is(may);
                    }));
                }
                Decision::Need(Fact::KuredLock) => {
                    let asked = self.kured_lock().await;
                    cases.kured = self.kureds_place(policy);
                    let answers = answers(asked, either_lock(request, policy), &mut cases.failures);
                    open.extend(assuming(&facts, &assumptions, answers, |facts, lock| {
                        facts.kured_lock = Known::Is(lock);
                    }));
                }
            }
        }
        cases
    }

    /// Whether the requester has this verb: as it is given, else as the cluster says.
    async fn may(&self, verb: &'static str, given: Option<bool>, request: &Request) -> Known<bool> {
        match (given, &self.lookup) {
            (Some(answer), _) => Known::Is(answer),
            (None, Some(lookup)) => {
                let node = request.node().map(NodeView::name).unwrap_or_default();
                lookup.may(verb, &request.requester, node).await
            }
            (None, None) => Known::Unasked,
        }
    }

    async fn kured_lock(&self) -> Known<KuredSeen> {
        match (&self.kured_lock, &self.lookup) {
            (Some(seen), _) => Known::Is(seen.clone()),
            (None, Some(lookup)) => lookup.kured_lock().await,
            (None, None) => Known::Unasked,
        }
    }

    fn kureds_place(&self, policy: &Policy) -> Option<String> {
        match &self.lookup {
            Some(lookup) if self.kured_lock.is_none() => lookup.kureds_place(),
            _ => as_configured(policy).map(|kured| {
                format!(
                    "not looked for, taken to be daemonset {kured}, ServiceAccount {}",
                    kured.service_account
                )
            }),
        }
    }
}

/// Where kured is assumed to be if the cluster is not asked: where the flags say, with a ServiceAccount named like the DaemonSet,
/// as in kured's manifest and chart.
fn as_configured(policy: &Policy) -> Option<Kured> {
    policy.kured_lock().map(|lock| Kured {
        namespace: lock.ds_namespace.clone(),
        name: lock.ds_name.clone(),
        service_account: lock.ds_name.clone(),
    })
}

/// The known answer, with no assumption; if nobody could be asked, each possible answer with the assumption that it makes.
fn answers<T>(
    asked: Known<T>,
    either: [(T, String); 2],
    failures: &mut Vec<String>,
) -> Vec<(T, Option<String>)> {
    match asked {
        Known::Is(answer) => return vec![(answer, None)],
        Known::Failed(why) => failures.push(why),
        Known::Unasked => {}
    }
    either
        .into_iter()
        .map(|(answer, assumption)| (answer, Some(assumption)))
        .collect()
}

/// The two possible answers: the requester does not have this verb, and has it.
fn either_permission(verb: &str, request: &Request) -> [(bool, String); 2] {
    let (resource, group) = (keys::OVERRIDE_RESOURCE, keys::OVERRIDE_GROUP);
    let assumption = |word: &str| {
        let user = quoted(&request.requester.user);
        format!("{user} {word} the verb {verb} on {resource}.{group}")
    };
    [(false, assumption("does not have")), (true, assumption("has"))]
}

/// The two possible answers: no lock, and a lock that names the Node.
fn either_lock(request: &Request, policy: &Policy) -> [(KuredSeen, String); 2] {
    let node = request.node().map(NodeView::name).unwrap_or_default();
    let shown = quoted(node);
    let naming = json!({ "nodeID": node }).to_string();
    [
        (
            kured_with_lock(policy, ""),
            format!("kured's lock does not name node {shown}"),
        ),
        (
            kured_with_lock(policy, &naming),
            format!("kured's lock names node {shown}"),
        ),
    ]
}

/// One branch for each answer: the facts with that answer, and the assumptions with its own.
fn assuming<T>(
    facts: &Facts,
    assumptions: &[String],
    answers: Vec<(T, Option<String>)>,
    set: impl Fn(&mut Facts, T),
) -> Vec<(Facts, Vec<String>)> {
    let one = |(answer, assumption)| {
        let mut facts = facts.clone();
        set(&mut facts, answer);
        (facts, assumptions.iter().cloned().chain(assumption).collect())
    };
    answers.into_iter().map(one).collect()
}

/// kured where the flags say, with this text as its lock annotation.
pub(super) fn kured_with_lock(policy: &Policy, text: &str) -> KuredSeen {
    KuredSeen {
        found: as_configured(policy),
        locks: locks(policy, text),
    }
}

/// A lock annotation with this text, under the first key of `--lock-annotation`; none if the text is empty.
fn locks(policy: &Policy, text: &str) -> Locks {
    let lock = policy.kured_lock();
    let key = lock.and_then(|lock| lock.annotations.first());
    key.filter(|_| !text.is_empty())
        .map(|key| (key.clone(), text.to_owned()))
        .into_iter()
        .collect()
}
