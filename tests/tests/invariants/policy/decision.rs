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
use super::state::State;
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
    decided(
        case.who,
        case.state,
        operation,
        matches!(case.tries, Try::Status(_)),
    )
}

/// The core's decision about a write of the Node in this state by this one, and its outcome in mode `enforce`.
pub(super) fn decided(
    who: Who,
    state: State,
    operation: Operation,
    is_of_status: bool,
) -> Result<(Reason, Outcome)> {
    let request = Request {
        requester: requester(who, state),
        operation,
        is_of_status,
        is_dry_run: false,
    };
    let is_admin = !matches!(who, Who::Controller | Who::Owner | Who::Elsewhere);
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
    pub(super) fn patched(&self, patch: &Value) -> Result<NodeView> {
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

fn requester(who: Who, state: State) -> Requester {
    let Some(somebody) = impersonation(who, &state.node()) else {
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
