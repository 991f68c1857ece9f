//! Keeps what the demo saw of each node, as the timelines from which pictures are drawn.
//!
//! Times are those of the watches, of the controller's requests and of the machine's own record.
//! Not here: how it is drawn (`cordonhold_shared::history`), and what is printed meanwhile (`timeline`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

use cordonhold_shared::history::{Answer, Event, Outcome, Pods, Span, Timeline, Uncordon};
use cordonhold_shared::hold::Phase;

/// What asks for the reboots of the demo.
const WHY: &str = "the file /var/run/reboot-required";
/// Who uncordons the nodes of the demo.
const CONTROLLER: &str = "controller";
/// How much of a node is shown once its cordon is given back.
const AFTERWARDS: SignedDuration = SignedDuration::from_millis(500);

/// What has been seen of the nodes. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Chronicle {
    nodes: Arc<Mutex<BTreeMap<String, Timeline>>>,
}

impl Chronicle {
    /// The node is in this phase from now on; without one its hold is over.
    pub(super) fn phase(&self, node: &str, phase: Option<Phase>) {
        let now = Timestamp::now();
        self.change(node, |timeline| {
            if let Some(last) = timeline.spans.last_mut() {
                last.to = now;
            }
            timeline.to = now;
            match phase {
                Some(phase) => {
                    if timeline.spans.is_empty() {
                        timeline.from = now;
                    }
                    timeline.spans.push(Span {
                        phase,
                        from: now,
                        to: now,
                        about: false,
                    });
                }
                None => timeline.happened(now, Event::GivenBack, ""),
            }
        });
    }

    /// The controller sent an uncordon then, and this became of it.
    pub(super) fn uncordon(&self, node: &str, at: Timestamp, answer: Answer) {
        let reason = if answer == Answer::Denied { "held" } else { "" };
        self.change(node, |timeline| {
            timeline.uncordons.push(Uncordon {
                at,
                until: None,
                count: 1,
                by: CONTROLLER.to_owned(),
                answer,
                reason: reason.to_owned(),
            });
        });
    }

    /// The node has so many pods from then on.
    pub(super) fn pods(&self, node: &str, at: Timestamp, on: usize) {
        let on = u64::try_from(on).unwrap_or(u64::MAX);
        let pods = Pods { at, on, about: false };
        self.change(node, |timeline| timeline.pods.push(pods));
    }

    pub(super) fn happened(&self, node: &str, at: Timestamp, what: Event, says: &str) {
        self.change(node, |timeline| timeline.happened(at, what, says));
    }

    /// What was seen of a node from its wish on, in order.
    pub(super) fn of(&self, node: &str) -> Timeline {
        let mut timeline = self.nodes().get(node).cloned().unwrap_or_default();
        timeline.to = timeline.to.saturating_add(AFTERWARDS).unwrap_or(timeline.to);
        let (from, to) = (timeline.from, timeline.to);
        timeline.moments.sort_by_key(|moment| moment.at);
        timeline.uncordons.retain(|one| from <= one.at && one.at <= to);
        timeline.uncordons.sort_by_key(|one| one.at);
        timeline.pods.sort_by_key(|pods| pods.at);
        let before = timeline.pods.iter().rfind(|pods| pods.at <= from).copied();
        timeline.pods.retain(|pods| from < pods.at && pods.at <= to);
        if let Some(before) = before {
            timeline.pods.insert(0, Pods { at: from, ..before });
        }
        timeline.pods.dedup_by_key(|pods| pods.on);
        let has = |what| timeline.moments.iter().any(|moment| moment.what == what);
        timeline.outcome = if has(Event::Reboot) {
            Outcome::Rebooted
        } else {
            Outcome::CalledOff
        };
        timeline
    }

    fn change(&self, node: &str, change: impl FnOnce(&mut Timeline)) {
        change(self.nodes().entry(node.to_owned()).or_insert_with(|| Timeline {
            node: node.to_owned(),
            why: WHY.to_owned(),
            ..Timeline::default()
        }));
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<String, Timeline>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
