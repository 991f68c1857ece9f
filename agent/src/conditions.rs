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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;
    use crate::api::fake;

    /// How often the conditions of a Node are written if the answers have these codes, and nothing else happens to the Node for an hour.
    async fn writes(codes: &'static [u16]) -> usize {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let api = fake::api(&[], move |path, _| {
            assert!(path.contains("/nodes/node-0/status"), "{path}");
            let code = codes[counted.fetch_add(1, Ordering::Relaxed)];
            let status = json!({ "kind": "Status", "status": "Failure", "code": code });
            let node = json!({ "metadata": { "name": "node-0" } });
            (code, if code == 200 { node } else { status })
        });
        let (sender, shown) = watch::channel(NodeView::default());
        let keeping = tokio::spawn(keep(api, Signs::default(), shown));
        sender.send(NodeView::default()).unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        // What the last write has made of it.
        let held = json!([{ "type": "cordonhold.dev/Held", "status": "False" }]);
        let node = json!({ "metadata": { "name": "node-0" }, "status": { "conditions": held } });
        sender.send(serde_json::from_value(node).unwrap()).unwrap();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        drop(sender);
        keeping.await.unwrap();
        asked.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_was_not_answered_is_tried_again_and_one_that_was_refused_is_not() {
        assert_eq!(writes(&[200]).await, 1);
        assert_eq!(writes(&[500, 503, 403]).await, 3);
        assert_eq!(writes(&[409]).await, 1);
        assert_eq!(writes(&[403]).await, 1);
    }
}
