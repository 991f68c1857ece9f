//! Joins what several sources say about uncordons and pods to the reboots of a node: each uncordon is there once.
//!
//! Not here: the phases (`reboot`), and the lines of logs (`log`).

use jiff::Timestamp;

use super::{Answer, Event, Logs, Moment, Other, Outcome, Pods, Record, TEXT_MAX, Timeline, Uncordon, later};
use crate::admission::{Notice, Reason};
use crate::fleet::Told;
use crate::hold::{Phase, canonical};
use crate::keys;
use crate::node::NodeView;
use crate::quote::{one_line, quoted};
use crate::reboot::drain::pods_left;

/// Two sources that tell of an uncordon of one user on one node within this many seconds tell of the same one. Their clocks are those of
/// the webhook and of an API server.
const SAME_SECONDS: i64 = 2;
/// The reasons whose requests are uncordons, or may be: of another source nothing but the code is known.
const OF_UNCORDONS: [Reason; 9] = [
    Reason::Held,
    Reason::TooLate,
    Reason::Deferred,
    Reason::NotHeld,
    Reason::Lapsed,
    Reason::Cancelled,
    Reason::KuredHeld,
    Reason::KuredMarked,
    Reason::KuredExpired,
];

/// An uncordon of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) node: String,
    /// The `created` of the hold that the Node showed, if the source says so.
    pub(super) hold: Option<String>,
    pub(super) uncordon: Uncordon,
}

/// Whether this is the code of an uncordon's reason.
pub(super) fn is_uncordons(code: &str) -> bool {
    OF_UNCORDONS.iter().any(|reason| reason.code() == code)
}

/// All uncordons, each once. The webhook's log comes first, because it knows the hold; then the API server's; Events come last, because they
/// count several as one.
pub(super) fn asked(record: &Record) -> Vec<Asked> {
    let mut all: Vec<Asked> = record.logs.webhook.clone();
    let mut known = vec![false; all.len()];
    for of_audit in &record.logs.audit {
        let same = all
            .iter()
            .zip(known.iter())
            .position(|(one, is_known)| !is_known && is_same(one, of_audit));
        if let Some(known) = same.and_then(|place| known.get_mut(place)) {
            *known = true;
        } else {
            all.push(of_audit.clone());
            known.push(true);
        }
    }
    let of_events = record.denials.iter().filter_map(noted);
    let new: Vec<Asked> = of_events
        .filter(|noted| !all.iter().any(|one| is_same(one, noted)))
        .collect();
    all.extend(new);
    all.sort_by_key(|asked| asked.uncordon.at);
    all
}

/// Whether two sources tell of the same uncordon, or the first tells of one of those that the second has counted.
fn is_same(one: &Asked, other: &Asked) -> bool {
    let (a, b) = (&one.uncordon, &other.uncordon);
    let last = b.until.unwrap_or(b.at);
    one.node == other.node
        && quoted(&a.by) == quoted(&b.by)
        && a.answer == b.answer
        && b.at <= later(a.at, SAME_SECONDS)
        && a.at <= later(last, SAME_SECONDS)
}

/// The uncordons that an Event of the webhook tells of.
fn noted(told: &Told) -> Option<Asked> {
    let notice: Notice = told.note.parse().ok()?;
    let reason = notice.reason();
    is_uncordons(reason).then(|| Asked {
        node: told.node.clone(),
        hold: None,
        uncordon: Uncordon {
            at: told.since,
            until: (told.count > 1).then_some(told.at),
            count: told.count,
            by: one_line(&notice.user, TEXT_MAX),
            answer: if notice.is_denied {
                Answer::Denied
            } else {
                Answer::Deferred
            },
            reason: reason.to_owned(),
        },
    })
}

/// Gives each reboot its uncordons. A hold that only a log tells of becomes a reboot of which nothing else is known.
/// Returns the uncordons that belong to none.
pub(super) fn spread<'a>(
    timelines: &mut Vec<Timeline>,
    asked: impl Iterator<Item = &'a Asked>,
    name: &str,
    now: Timestamp,
) -> Vec<Other> {
    let mut others = Vec::new();
    for asked in asked {
        let (hold, at) = (asked.hold.as_deref(), asked.uncordon.at);
        let own = timelines.iter_mut().find(|timeline| timeline.has(hold, at));
        let created: Option<Timestamp> = hold.and_then(|hold| hold.parse().ok());
        match (own, hold.zip(created)) {
            (Some(timeline), _) => {
                // Of a hold that only a log tells of, the end is the last that was seen of it.
                if timeline.outcome == Outcome::Unknown {
                    timeline.to = timeline.to.max(asked.uncordon.until.unwrap_or(at));
                }
                timeline.uncordons.push(asked.uncordon.clone());
            }
            (None, Some((hold, from))) => timelines.push(Timeline {
                node: name.to_owned(),
                hold: Some(canonical(hold)),
                from: from.min(at),
                to: at.min(now.max(at)),
                uncordons: vec![asked.uncordon.clone()],
                ..Timeline::default()
            }),
            (None, None) => others.push(Other {
                node: name.to_owned(),
                uncordon: asked.uncordon.clone(),
            }),
        }
    }
    others
}

/// Gives a reboot its pods: one by one from a log, else as the sums of the drain.
pub(super) fn pods(timeline: &mut Timeline, logs: &Logs, view: Option<&NodeView>) {
    let (from, to) = (timeline.from, timeline.to);
    let mut moves: Vec<(Timestamp, i64)> = logs
        .pods
        .iter()
        .filter(|moved| moved.node == timeline.node && from <= moved.at && moved.at <= to)
        .map(|moved| (moved.at, moved.by))
        .collect();
    moves.sort_by_key(|(at, _)| *at);
    if moves.is_empty() {
        timeline.pods = sums(timeline, view);
        return;
    }
    // The node has had at least as many pods as left it before others came.
    let mut sum: i64 = 0;
    let lowest = moves.iter().map(|(_, by)| {
        sum += by;
        sum
    });
    let mut on = lowest.min().unwrap_or_default().min(0).saturating_neg();
    let as_pods = |at, on: i64| Pods {
        at,
        on: u64::try_from(on).unwrap_or_default(),
        about: false,
    };
    let mut pods = vec![as_pods(from, on)];
    for (at, by) in moves {
        on += by;
        pods.push(as_pods(at, on));
    }
    timeline.pods = pods;
}

/// The pods before and after the drain, as the agent has counted them.
fn sums(timeline: &Timeline, view: Option<&NodeView>) -> Vec<Pods> {
    let Some(drain) = timeline.spans.iter().find(|span| span.phase == Phase::Draining) else {
        return Vec::new();
    };
    let about = |at, on| Pods { at, on, about: true };
    let goes_on = timeline.outcome == Outcome::GoesOn;
    let is_draining = goes_on
        && timeline
            .spans
            .last()
            .is_some_and(|span| span.phase == Phase::Draining);
    if is_draining {
        let progress = view
            .and_then(|view| view.annotation(keys::DRAIN_PROGRESS))
            .and_then(pods_left);
        return progress.map_or_else(Vec::new, |(gone, left)| {
            vec![
                about(drain.from, gone.saturating_add(left)),
                about(timeline.to, left),
            ]
        });
    }
    match timeline.evicted {
        Some(evicted) if evicted > 0 => vec![about(drain.from, evicted), about(drain.to, 0)],
        Some(_) | None => Vec::new(),
    }
}

/// Adds what a source of its own has seen, and puts everything into order.
impl Timeline {
    /// Adds a moment.
    pub fn happened(&mut self, at: Timestamp, what: Event, says: &str) {
        self.moments.push(Moment {
            at,
            what,
            says: one_line(says, TEXT_MAX),
        });
    }
}
