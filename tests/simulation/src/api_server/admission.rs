//! Admission of Node updates: the webhook's real decision, or the failurePolicy while the webhook is down.
//!
//! An agent's writes of its own Node bypass the webhook here, as the API server's `matchConditions` let them. The webhook would allow them.

use cordonhold_shared::admission::{
    self, Decision, Exempt, Fact, Facts, Known, Mode, OnDelete, OnLookupFailure, Outcome, Policy, Requester,
    ServiceAccount,
};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::moment::Uptime;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Object, Status, object, wall};

/// Who makes a request.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    pub requester: Requester,
    pub may_override: bool,
    /// For an agent: the index of its node, and the number of its process.
    pub process: Option<(usize, u64)>,
}

/// Whether the webhook answers, and what the API server does if not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookState {
    Up,
    /// Does not answer; updates pass, as with `failurePolicy: Ignore`.
    DownIgnored,
    /// Does not answer; updates that it would see fail, as with `failurePolicy: Fail`.
    DownFailing,
}

/// The simulated webhook.
#[derive(Clone, Debug)]
pub struct Webhook {
    pub state: WebhookState,
    pub policy: Policy,
    /// How far its wall clock is ahead of the true time; negative if behind.
    pub skew: SignedDuration,
    /// A defect: the webhook ignores the node claim of an agent's token.
    pub trusts_every_agent: bool,
}

impl Default for Webhook {
    fn default() -> Webhook {
        let service_account = |namespace: &str, name: &str| ServiceAccount {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        Webhook {
            state: WebhookState::Up,
            policy: Policy {
                modes: Mode::Enforce.into(),
                agent: service_account("cordonhold", "cordonhold-agent"),
                exempt: Exempt::default(),
                on_delete: OnDelete::Flag,
                kured: Some(admission::KuredPolicy {
                    service_account: Some(service_account("kube-system", "kured")),
                    is_believed_without_node: false,
                    marks: Vec::new(),
                    lock: Some(admission::KuredLock {
                        ds_namespace: "kube-system".to_owned(),
                        ds_name: "kured".to_owned(),
                        annotations: vec![keys::KURED_LOCK.to_owned()],
                        on_lookup_failure: OnLookupFailure::Deny,
                    }),
                }),
                replica: "webhook".to_owned(),
            },
            skew: SignedDuration::ZERO,
            trusts_every_agent: false,
        }
    }
}

impl Webhook {
    pub(crate) fn is_up(&self) -> bool {
        self.state == WebhookState::Up
    }

    pub(crate) fn clock(&self, now: Uptime) -> Timestamp {
        wall(now).saturating_add(self.skew).unwrap_or(Timestamp::MAX)
    }

    /// Changes an uncordon of a held Node as the mutating webhook does: its real decision, as far as there is one. While it is down nothing
    /// is changed (`failurePolicy: Ignore`).
    pub(super) fn defer(&self, caller: &Caller, old: &Object, value: &mut Value, now: Uptime) {
        let is_own = caller.process.is_some() && caller.requester.node_claim == [old.name()];
        if is_own || !self.is_up() {
            return;
        }
        let (old, new) = (old.node(), object::node_of(value));
        let request = admission::Request::update(caller.requester.clone(), old.clone(), new);
        let Some(deferral) = admission::defer(&request, &self.policy, self.clock(now)) else {
            return;
        };
        if deferral.cordons {
            value["spec"]["unschedulable"] = json!(true);
        }
        let mut taints = value["spec"]["taints"].as_array().cloned().unwrap_or_default();
        taints.extend(deferral.taint.map(|taint| json!(taint)));
        value["spec"]["taints"] = json!(taints);
        if let Some(text) = deferral.writes {
            value["metadata"]["annotations"][keys::UNCORDON_WANTED] = json!(text);
        }
        object::normalize(value);
    }

    /// Returns whether the webhook judged the update. The error is the status of an update that did not pass.
    pub(super) fn judge(
        &self,
        caller: &Caller,
        old: &NodeView,
        new: impl Fn() -> NodeView,
        now: Uptime,
        kured_lock: impl Fn() -> Option<String>,
    ) -> Result<bool, Status> {
        let is_own = caller.process.is_some() && caller.requester.node_claim == [old.name()];
        if is_own || !self.is_up() {
            let fails = self.state == WebhookState::DownFailing && !is_own;
            return if fails && reaches_webhook(old, &new()) {
                Err(Status::internal("failed calling webhook"))
            } else {
                Ok(is_own)
            };
        }
        let mut requester = caller.requester.clone();
        if self.trusts_every_agent {
            requester.node_claim = vec![old.name().to_owned()];
        }
        let request = admission::Request::update(requester, old.clone(), new());
        let mut facts = Facts::default();
        loop {
            match admission::decide(&request, &facts, &self.policy, self.clock(now)) {
                Decision::Need(Fact::Override) => facts.may_override = Known::Is(caller.may_override),
                // Who may cancel may ask for a reboot too.
                Decision::Need(Fact::Reboot) => facts.may_reboot = Known::Is(caller.may_override),
                // Nothing is watched here. A watch could only deny more.
                Decision::Need(Fact::WatchedKuredLock) => {
                    facts.watched_kured_lock = Known::Failed("no watch".to_owned());
                }
                Decision::Need(Fact::KuredLock) => {
                    let lock = kured_lock().map(|text| (keys::KURED_LOCK.to_owned(), text));
                    facts.kured_lock = Known::Is(admission::KuredSeen {
                        found: None,
                        locks: lock.into_iter().collect(),
                    });
                }
                Decision::Verdict(verdict) if verdict.outcome == Outcome::Deny => {
                    return Err(Status::forbidden(old.name(), &verdict.message));
                }
                Decision::Verdict(_) => return Ok(true),
            }
        }
    }
}

/// Whether `matchConditions` send an update to the webhook: uncordons, and changes of marks and cancels.
fn reaches_webhook(old: &NodeView, new: &NodeView) -> bool {
    !admission::Change::between(old, new).is_nothing()
}
