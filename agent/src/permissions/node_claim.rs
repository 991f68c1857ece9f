//! The check, at the agent's start, whether its token names its node: by that claim the webhook recognises the agent.
//!
//! Not here: what each token says ([`cordonhold_shared::claim`]).

use cordonhold_rt::own_token;
use tracing::{debug, warn};

use crate::api::{Api, Meaning as _};

/// Warns if the token does not name this node. The agent goes on: without the webhook, nobody asks for the claim.
pub(crate) async fn check(api: &Api, node: &str) {
    let claim = match own_token::node_claim(api.client()).await {
        Ok(claim) => claim,
        Err(error) => {
            // The check of the permissions asks the same API server and says it.
            let why = error.with_fix();
            debug!(node, why, "the API server does not say whose token this is");
            return;
        }
    };
    if let Some(why) = claim.flaw(node) {
        warn!(
            event = "token_without_node",
            node,
            why,
            "the agent's token does not name its node: if the webhook is installed, it denies what this agent writes"
        );
    }
}
