//! Writes Events on the Node, best effort: one attempt for each, in a task of its own.
//!
//! Not here: the API calls ([`cordonhold_rt::events`]), and what an Event says ([`super`]).

use cordonhold_rt::events::{self, Key, Note, Outcome, Regarding, Source};
use kube::Client;
use tokio::sync::mpsc;
use tracing::warn;

use crate::api::Meaning as _;

/// Makes an Event about this Node.
pub(super) fn notice(node: &str, uid: &str, reason: &str, is_warning: bool, text: String) -> Note {
    Note {
        regarding: Regarding::node(node, uid),
        action: "Reboot",
        reason: reason.to_owned(),
        is_warning,
        text,
        series: None,
    }
}

/// Writes each Event that waits in the queue, until the sender is gone.
pub(crate) async fn post(client: Client, node: String, notices: mpsc::Receiver<Note>) {
    let source = Source {
        controller: "cordonhold.dev/agent",
        instance: node,
        generate_name: None,
    };
    events::write(client, source, notices, |key, outcome| match outcome {
        Outcome::Written => {}
        Outcome::Failed(error) => lost(key, &error.with_fix()),
        Outcome::Dropped => lost(key, TOO_MANY),
    })
    .await;
}

pub(super) const TOO_MANY: &str = "too many Events are waiting to be written";

/// Logs that an Event was not written.
fn lost(key: &Key, why: &str) {
    warn!(
        event = "notice_lost",
        node = key.regarding.name,
        why,
        reason = key.reason,
        "failed to write an Event"
    );
}
