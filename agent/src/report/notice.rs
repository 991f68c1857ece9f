//! Writes Events on the Node, best effort, in a task of its own. One about a step has one attempt, one about a wait is tried again.
//!
//! Not here: the API calls ([`cordonhold_rt::events`]), and what an Event says ([`super`]).

use cordonhold_rt::events::{self, Key, Note, Outcome, Regarding, Series, Source};
use cordonhold_shared::keys;
use cordonhold_shared::reboot::cycle::{Level, Report};
use kube::Client;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::Subject;
use crate::api::Meaning as _;

/// Makes the Event of a report about this Node, if it has one.
pub(super) fn notice(report: &Report, about: &Subject) -> Option<Note> {
    // Before the Node has been seen: the kubelet writes its name as the uid, and `kubectl describe node` looks for both.
    let uid = if about.uid.is_empty() {
        &about.node
    } else {
        &about.uid
    };
    Some(Note {
        regarding: Regarding::node(&about.node, uid),
        action: "Reboot",
        reason: report.reason()?.to_owned(),
        is_warning: report.level() != Level::Info,
        text: report.sentence(),
        series: Series::Anew(report.course()),
    })
}

/// Writes each Event that waits in the queue, until the sender is gone.
pub(crate) async fn post(client: Client, node: String, notices: mpsc::Receiver<Note>) {
    let source = Source {
        controller: keys::AGENT_CONTROLLER,
        instance: node,
        generate_name: None,
    };
    events::write(client, source, notices, |key, outcome| match outcome {
        Outcome::Written => {}
        Outcome::Failed { error, in_a_row: 1 } => lost(key, &error.with_fix()),
        Outcome::Failed { error, in_a_row } => {
            let (node, why, reason) = (&key.regarding.name, error.with_fix(), &key.reason);
            debug!(node, why, reason, in_a_row, "failed again to write an Event");
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn about(uid: &str) -> Subject {
        Subject {
            node: "node-0".to_owned(),
            uid: uid.to_owned(),
            holder: None,
        }
    }

    #[test]
    fn an_event_before_the_node_was_seen_is_about_the_nodes_name_as_the_kubelets_are() {
        for (uid, shown) in [("", "node-0"), ("u", "u")] {
            let note = notice(&Report::Locked, &about(uid)).unwrap();
            assert_eq!(note.regarding.uid.as_deref(), Some(shown));
        }
    }
}
