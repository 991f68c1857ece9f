//! Joins what several sources say about uncordons and pods to the reboots of a node: each uncordon is there once.
//!
//! Not here: the phases (`reboot`), and the lines of logs (`log`).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::log::{Move, Moved};
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

/// All uncordons, each once. The webhook's log comes first, because it knows the hold; then the API server's, which knows what was written;
/// Events come last, because they count several as one.
pub(super) fn asked(record: &Record) -> Vec<Asked> {
    let mut all: Vec<Asked> = record.logs.webhook.clone();
    let mut of_webhook = Known::of(&all);
    for of_audit in &record.logs.audit {
        let same = of_webhook.find(of_audit, &all).next();
        match same.and_then(|place| Some((place, all.get_mut(place)?))) {
            Some((place, known)) => {
                of_webhook.remove(known, place);
                known.uncordon.answer = of_audit.uncordon.answer;
            }
            None => all.push(of_audit.clone()),
        }
    }
    let of_logs = Known::of(&all);
    let of_events: Vec<Asked> = record
        .denials
        .iter()
        .filter_map(noted)
        .filter_map(|mut noted| {
            let known = u64::try_from(of_logs.find(&noted, &all).count()).unwrap_or(u64::MAX);
            noted.uncordon.count = noted.uncordon.count.saturating_sub(known);
            (noted.uncordon.count > 0).then_some(noted)
        })
        .collect();
    all.extend(of_events);
    all.sort_by_key(|asked| asked.uncordon.at);
    all
}

/// Uncordons by node, user and time: logs have many.
struct Known(BTreeMap<(String, String), BTreeSet<(Timestamp, usize)>>);

impl Known {
    fn of(all: &[Asked]) -> Known {
        let mut known = Known(BTreeMap::new());
        for (place, one) in all.iter().enumerate() {
            let of_user = known.0.entry(Known::key(one)).or_default();
            let _ = of_user.insert((one.uncordon.at, place));
        }
        known
    }

    fn key(one: &Asked) -> (String, String) {
        (one.node.clone(), quoted(&one.uncordon.by))
    }

    fn remove(&mut self, one: &Asked, place: usize) {
        if let Some(of_user) = self.0.get_mut(&Known::key(one)) {
            let _ = of_user.remove(&(one.uncordon.at, place));
        }
    }

    /// The places in `all` of those of which `other` may tell too, or which it has counted.
    fn find<'a>(&'a self, other: &'a Asked, all: &'a [Asked]) -> impl Iterator<Item = usize> + 'a {
        let (from, to) = (
            other.uncordon.at,
            other.uncordon.until.unwrap_or(other.uncordon.at),
        );
        let near = (later(from, -SAME_SECONDS), 0)..=(later(to, SAME_SECONDS), usize::MAX);
        let of_user = self.0.get(&Known::key(other));
        let is_same = |answer: Answer| answer == other.uncordon.answer || answer == Answer::Allowed;
        of_user
            .into_iter()
            .flat_map(move |of_user| of_user.range(near.clone()))
            .map(|(_, place)| *place)
            .filter(move |place| all.get(*place).is_some_and(|one| is_same(one.uncordon.answer)))
    }
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

/// Gives a reboot its pods: one by one from a log, else as the sums of the drain. A pod that ends by itself is in no log: it counts as there.
pub(super) fn pods(timeline: &mut Timeline, logs: &Logs, view: Option<&NodeView>) {
    let (from, to) = (timeline.from, timeline.to);
    let mut moves: Vec<&Moved> = logs
        .pods
        .iter()
        .filter(|moved| from <= moved.at && moved.at <= to)
        .collect();
    moves.sort_by_key(|moved| moved.at);
    let changes = changes(&timeline.node, &moves);
    if changes.is_empty() {
        timeline.pods = sums(timeline, view);
        return;
    }
    // A pod that was evicted and had not come since then was there from the beginning.
    let mut on = changes
        .iter()
        .filter(|(_, change)| *change == Change::LeftFromBefore)
        .count();
    let mut pods = vec![(from, on)];
    for (at, change) in changes {
        on = match change {
            Change::Came => on.saturating_add(1),
            Change::Left | Change::LeftFromBefore => on.saturating_sub(1),
        };
        pods.push((at, on));
    }
    let as_pods = |(at, on)| Pods {
        at,
        on: u64::try_from(on).unwrap_or(u64::MAX),
        about: false,
    };
    timeline.pods = pods.into_iter().map(as_pods).collect();
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Came,
    Left,
    LeftFromBefore,
}

/// What changed the number of pods on this node. A pod leaves once, also if it is evicted twice, or evicted and then deleted.
fn changes(node: &str, moves: &[&Moved]) -> Vec<(Timestamp, Change)> {
    let (mut on, mut left) = (BTreeSet::new(), BTreeSet::new());
    let mut changes = Vec::new();
    for Moved { at, pod, how } in moves.iter().copied() {
        let change = match how {
            Move::Bound(to) if to == node => on.insert(pod).then_some(Change::Came),
            Move::Evicted(_) | Move::Deleted if on.remove(pod) => Some(Change::Left),
            Move::Evicted(from) if from == node && left.insert(pod) => Some(Change::LeftFromBefore),
            Move::Bound(_) | Move::Evicted(_) | Move::Deleted => None,
        };
        if *how == Move::Deleted || change == Some(Change::Left) {
            // The same name may come again, as of a StatefulSet.
            let _ = left.insert(pod);
        }
        changes.extend(change.map(|change| (*at, change)));
    }
    changes
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
