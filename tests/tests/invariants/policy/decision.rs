//! What the core decides for a case.

use anyhow::{Context, Result, bail};
use cordonhold_shared::admission::{
    Decision, Facts, Known, Mode as CoreMode, OnDelete, Operation, Outcome, Policy as CorePolicy, Reason,
    Request, Requester, ServiceAccount, decide,
};
use cordonhold_shared::node::NodeView;
use cordonhold_tests::identity::{Identity, Impersonation, ORDINARY_CONTROLLER};
use cordonhold_tests::{AGENT_ACCOUNT, NAMESPACE};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::cases::{Case, Try, Who};
use super::table::ELSEWHERE;

/// A Node as the API server has it, and as the core sees it.
#[derive(Default)]
pub(super) struct Stored {
    pub(super) json: Value,
    pub(super) view: NodeView,
}

/// The core's decision, and its outcome in mode `enforce`.
pub(super) fn of_the_core(case: &Case, node: &Stored) -> Result<(Reason, Outcome)> {
    let operation = match case.tries {
        Try::Patch(body) | Try::Status(body) => Operation::UpdateNode {
            old: node.view.clone(),
            new: node.patched(&body(&node.view))?,
        },
        Try::Create(body) => Operation::CreateNode {
            new: Stored::default().patched(&body())?,
        },
        Try::Delete => Operation::DeleteNode {
            old: node.view.clone(),
        },
    };
    let request = Request {
        requester: requester(case),
        operation,
        is_of_status: matches!(case.tries, Try::Status(_)),
        is_dry_run: false,
    };
    let is_admin = !matches!(case.who, Who::Controller | Who::Owner | Who::Elsewhere);
    let facts = Facts {
        may_override: Known::Is(is_admin),
        may_reboot: Known::Is(is_admin),
        ..Facts::default()
    };
    let policy = CorePolicy {
        modes: CoreMode::Enforce.into(),
        agent: ServiceAccount {
            namespace: NAMESPACE.to_owned(),
            name: AGENT_ACCOUNT.to_owned(),
        },
        exempt: cordonhold_shared::admission::Exempt::default(),
        on_delete: OnDelete::Deny,
        kured: None,
        replica: "webhook-0".to_owned(),
    };
    match decide(&request, &facts, &policy, Timestamp::now()) {
        Decision::Verdict(verdict) => Ok((verdict.reason, verdict.outcome)),
        Decision::Need(fact) => bail!("the core needs {fact:?}"),
    }
}

/// Puts a JSON merge patch (RFC 7386) over a value.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            let object = target.as_object_mut();
            drop(object.and_then(|object| object.remove(key)));
        } else {
            merge(&mut target[key], value);
        }
    }
}

impl Stored {
    pub(super) fn new(json: Value) -> Result<Self> {
        let view = serde_json::from_value(json.clone()).context("failed to read a Node")?;
        Ok(Self { json, view })
    }

    /// The Node after this patch.
    fn patched(&self, patch: &Value) -> Result<NodeView> {
        let mut all = self.json.clone();
        merge(&mut all, patch);
        serde_json::from_value(all).context("failed to read a patched Node")
    }
}

pub(super) fn impersonation(who: Who, node: &str) -> Option<Impersonation> {
    let agent = |on: &str| Impersonation::service_account(NAMESPACE, AGENT_ACCOUNT).on_node(on);
    match who {
        Who::Admin => None,
        Who::Controller => Some(Impersonation::user(ORDINARY_CONTROLLER)),
        Who::Owner => Some(agent(node)),
        Who::Elsewhere => Some(agent(ELSEWHERE)),
        Who::ElsewhereAsAdmin => Some(agent(ELSEWHERE).group("system:masters")),
        Who::OwnerAsAdmin => Some(agent(node).group("system:masters")),
        Who::Namesake => Some(
            Impersonation::service_account("default", AGENT_ACCOUNT)
                .group("system:masters")
                .on_node(node),
        ),
    }
}

fn requester(case: &Case) -> Requester {
    let Some(somebody) = impersonation(case.who, &case.state.node()) else {
        return Requester {
            user: Identity::Admin.user().to_owned(),
            groups: vec!["system:masters".to_owned()],
            ..Requester::default()
        };
    };
    Requester {
        user: somebody.user,
        groups: somebody.groups,
        node_claim: somebody.extra.into_iter().map(|(_, node)| node).collect(),
        ..Requester::default()
    }
}
