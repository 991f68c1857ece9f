//! Writes the Node's conditions, best effort, in a task of its own: each time the Node is seen, and again after a write that was not
//! answered. What was refused waits until the Node is seen again.
//!
//! Not here: which conditions there are, see [`cordonhold_shared::hold::conditions_patch`].

use std::time::Duration;

use cordonhold_shared::hold::{Signs, conditions_patch};
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::cycle::Failure;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::api::{Api, Meaning as _};

/// The pause after a write that was not answered. Somebody may wait for a condition, and without a change the watch is silent for minutes.
const RETRY: Duration = Duration::from_secs(15);

/// Updates the conditions each time the Node is seen, until the sender is gone.
pub(crate) async fn keep(api: Api, signs: Signs, mut shown: watch::Receiver<NodeView>) {
    let mut is_open = false;
    loop {
        let seen = if is_open {
            // When the pause is over, the version that was seen last is tried again.
            timeout(RETRY, shown.changed()).await.unwrap_or(Ok(()))
        } else {
            shown.changed().await
        };
        if seen.is_err() {
            return;
        }
        let node = shown.borrow_and_update().clone();
        let patch = conditions_patch(&node, &signs, Timestamp::now());
        is_open = match patch {
            Some(patch) => !is_settled(&api, &node, &patch).await,
            None => false,
        };
    }
}

/// Writes the conditions. `false` if nobody knows whether they are written.
async fn is_settled(api: &Api, node: &NodeView, patch: &Value) -> bool {
    let failure = match api.patch_status(patch).await.map_err(|error| error.failure()) {
        Ok(()) => {
            debug!(
                event = "conditions_written",
                node = node.name(),
                "wrote conditions"
            );
            return true;
        }
        // The watch is about to show the version that was in the way.
        Err(Failure::Conflict) => return true,
        Err(failure) => failure,
    };
    warn!(
        event = "conditions_lost",
        node = node.name(),
        why = %failure,
        "failed to write the conditions of the Node"
    );
    match failure {
        Failure::Unknown(_) => false,
        Failure::Conflict | Failure::NotFound | Failure::Refused(_) => true,
    }
}
