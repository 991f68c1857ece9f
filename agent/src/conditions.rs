//! Writes the Node's conditions, best effort: one attempt each time the Node is seen, in a task of its own.
//!
//! A failed write is not retried: the next attempt comes when the watch shows the Node again, as it does after a conflict.
//! Not here: which conditions there are, see [`cordonhold_shared::hold::conditions_patch`].

use cordonhold_shared::hold::{Signs, conditions_patch};
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::cycle::Failure;
use jiff::Timestamp;
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::api::{Api, Meaning as _};

/// Updates the conditions each time the Node is seen, until the sender is gone.
pub(crate) async fn keep(api: Api, signs: Signs, mut shown: watch::Receiver<NodeView>) {
    while shown.changed().await.is_ok() {
        let node = shown.borrow_and_update().clone();
        let Some(patch) = conditions_patch(&node, &signs, Timestamp::now()) else {
            continue;
        };
        match api.patch_status(&patch).await.map_err(|error| error.failure()) {
            Ok(()) => debug!(
                event = "conditions_written",
                node = node.name(),
                "wrote conditions"
            ),
            Err(Failure::Conflict) => {}
            Err(failure) => warn!(
                event = "conditions_lost",
                node = node.name(),
                why = %failure,
                "failed to write the conditions of the Node"
            ),
        }
    }
}
