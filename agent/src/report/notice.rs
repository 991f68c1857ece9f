//! Events on the Node, best effort: one try each, beside the agent's work.
//!
//! Not here: how Events are written ([`cordonhold_rt::events`]).

use cordonhold_rt::events::{self, Key, Note, Outcome, Regarding, Source};
use kube::Client;
use tokio::sync::mpsc;
use tracing::warn;

use crate::api::Meaning as _;

/// What one Event on this Node says.
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

/// Writes what waits, as long as something can come.
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

fn lost(key: &Key, why: &str) {
    warn!(
        event = "notice_lost",
        node = key.regarding.name,
        why,
        reason = key.reason,
        "failed to write an Event"
    );
}
