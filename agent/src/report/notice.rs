//! Writes Events on the Node, best effort, in a task of its own. One about a step has one attempt, one about a wait is tried again.
//!
//! Not here: the API calls ([`cordonhold_rt::events`]), and what an Event says ([`super`]).

use cordonhold_rt::events::{self, Key, Note, Outcome, Regarding, Series, Source};
use cordonhold_shared::reboot::cycle::{Level, Report};
use kube::Client;
use tokio::sync::mpsc;
use tracing::warn;

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

#[cfg(test)]
mod tests {
    use cordonhold_shared::reboot::blocker::Blocker;
    use cordonhold_shared::reboot::cycle::{CallOff, Course, Disturbance, Next};
    use cordonhold_shared::reboot::drain::Progress;

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

    #[test]
    fn the_events_of_a_reboot_with_waits_and_a_disturbance_are_written_at_once() {
        let blocked = Report::Blocked(vec![Blocker::NodePaused("x".to_owned())]);
        let draining = |round| Report::Draining {
            was_unschedulable: false,
            round,
        };
        let reports = [
            Report::Wished(String::new()),
            Report::LockHeld(["other".to_owned()].into()),
            Report::LockStalled(vec!["other".to_owned()]),
            blocked.clone(),
            Report::Locked,
            draining(1),
            Report::DrainBlocked(Progress::default()),
            Report::Delaying { is_forced: false },
            Report::Disturbed {
                by: Disturbance::Uncordoned,
                next: Next::DrainAgain,
            },
            draining(2),
            Report::Delaying { is_forced: false },
            blocked,
            Report::Sealed { attempt: 1 },
            Report::RebootFailed("x".to_owned()),
            Report::CalledOff(CallOff::NoLongerWanted),
            Report::GivenBack {
                unschedulable: false,
                is_back: false,
            },
            Report::Released,
        ];
        let notes = reports.iter().map(|report| notice(report, &about("u")));
        let notes: Vec<Note> = notes.map(|note| note.expect("each has an Event")).collect();
        assert!(notes.len() < usize::try_from(events::BURST).unwrap());
        let waits = notes
            .iter()
            .filter(|note| note.series == Series::Anew(Course::Wait));
        assert_eq!(waits.count(), 4);
    }
}
