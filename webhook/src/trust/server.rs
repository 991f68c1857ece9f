//! Asks the API server what it shows of itself: whether tokens name nodes, and which kinds of policies it has.
//!
//! Not here: what its answers mean ([`cordonhold_shared::admission::trust`]).

use cordonhold_rt::api::{CALL_BOUND, CallError, within};
use cordonhold_rt::exit::one_line;
use cordonhold_rt::own_token;
use cordonhold_shared::admission::trust::Server;
use cordonhold_shared::claim::NodeClaim;
use kube::Client;
use tracing::debug;

const ADMISSION: &str = "admissionregistration.k8s.io/v1";
const MUTATING_POLICIES: &str = "mutatingadmissionpolicies";

/// What is known so far, and what the API server says now about what it has not shown yet: an upgrade of the API server brings it.
pub(super) async fn asked(client: &Client, known: Server, defers: bool) -> Server {
    let own_token = match known.own_token {
        Some(NodeClaim::Names(node)) => Some(NodeClaim::Names(node)),
        Some(NodeClaim::PodAlone | NodeClaim::Unbound) | None => {
            answered(own_token::node_claim(client).await)
        }
    };
    let has_mutating_policies = match known.has_mutating_policies {
        Some(true) => Some(true),
        Some(false) | None if defers => answered(has_mutating_policies(client).await),
        Some(false) | None => None,
    };
    Server {
        own_token,
        has_mutating_policies,
    }
}

async fn has_mutating_policies(client: &Client) -> Result<bool, CallError> {
    let listed = within(CALL_BOUND, client.list_api_group_resources(ADMISSION)).await?;
    Ok(listed
        .resources
        .iter()
        .any(|resource| resource.name == MUTATING_POLICIES))
}

/// The answer, if there is one. Without one nothing is said: the configuration is asked for in the same round, and its failures are reported.
fn answered<T>(answer: Result<T, CallError>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(error) => {
            let why = one_line(&error);
            debug!(why, "the API server does not say what it has");
            None
        }
    }
}
