//! The conditions on the Node, best effort: one try for each look at the Node, beside the agent's work.
//!
//! A write that lost its compare-and-swap is followed by another look, so nothing is tried again here.
//! Not here: which conditions those are ([`cordonhold_shared::hold::conditions_patch`]).

use cordonhold_shared::hold::conditions_patch;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::cycle::Failure;
use jiff::Timestamp;
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::api::{Api, Meaning as _};

/// Brings the conditions in line with each Node that is shown, as long as one can come.
pub(crate) async fn keep(api: Api, mut shown: watch::Receiver<NodeView>) {
    while shown.changed().await.is_ok() {
        let node = shown.borrow_and_update().clone();
        let Some(patch) = conditions_patch(&node, Timestamp::now()) else {
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
