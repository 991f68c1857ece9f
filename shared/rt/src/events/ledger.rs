//! Decides which Events are to be written and when, within a rate limit. It reads no clock.
//!
//! Not here: sending them ([`super::write`]).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Key, Kind, Note, Regarding, Series};
use cordonhold_shared::backoff::doubled;
use cordonhold_shared::quote::clipped;
use cordonhold_shared::reboot::cycle::Course;

/// Longest note that the API server accepts (k8s.io/api: events/v1/types.go).
const NOTE_MAX_BYTES: usize = 1024;
/// Most Events that are remembered at once.
const SERIES_MAX: usize = 256;
/// A series ends after this time without a repetition, as in client-go's recorder (`tools/events/event_broadcaster.go`).
const SERIES_IDLE: Duration = Duration::from_mins(6);
/// How often the count of a series is updated on the API server.
const UPDATE_EVERY: Duration = Duration::from_secs(10);
/// Most writes at once; after that, one each [`REFILL_EVERY`]. client-go's spam filter allows the same number for one object
/// (`tools/record/events_cache.go`).
const BURST: u32 = 25;
/// Time after which one more write is allowed.
const REFILL_EVERY: Duration = Duration::from_secs(1);
/// Pause before a series that could not be written is retried. After each failure in a row it is twice as long, up to [`REMIND_EVERY`]:
/// a missing permission or a full quota lasts.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// Shortest time between two Events of one series that is created anew. A text that changes with each look, such as the names of
/// alerts, makes six Events an hour at most. The API server lets nobody change the text of an Event
/// (kubernetes/kubernetes: pkg/apis/core/validation/events.go, `ValidateEventUpdate`).
const CHANGED_EVERY: Duration = Duration::from_mins(10);
/// How often the Event of a wait that has not changed is created anew. The API server keeps an Event for an hour by default
/// (`--event-ttl`), so that one is there for as long as the wait goes on.
const REMIND_EVERY: Duration = Duration::from_mins(30);
/// Shortest time between two Events of one series with a step in between, which is told at once apart from that. Steps that come and go,
/// such as those of a node that is not steadily Ready, are no flood of Events then.
const AGAIN_AFTER: Duration = Duration::from_mins(1);

/// The state of one Event, or of those that follow each other in a series.
#[derive(Debug)]
struct State {
    action: &'static str,
    is_warning: bool,
    text: String,
    first: Timestamp,
    last: Timestamp,
    count: i32,
    /// When the last repetition came.
    repeated: Instant,
    /// The Event's name on the API server, once it has been written.
    name: Option<String>,
    /// When it is to be written next; `None` if the API server has the latest count.
    due: Option<Instant>,
    /// Whether this is a wait that goes on.
    stands: bool,
    /// When a series that is created anew was last written, and with which text.
    told: Option<(Instant, String)>,
    /// If it has ended since it was last told: how long after that it may be told again.
    ended: Option<Duration>,
    /// How many attempts to write it have failed in a row.
    failures: u32,
}

/// A write that is due: without a name, it creates an Event; with one, it updates the series of that Event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) key: Key,
    pub(super) name: Option<String>,
    pub(super) action: &'static str,
    pub(super) is_warning: bool,
    pub(super) text: String,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) count: i32,
}

/// All Events that are not over, and the state of the rate limit.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    series: BTreeMap<Key, State>,
    /// Number of notes without a series so far.
    singles: u64,
    /// State of the rate limit: each write moves this by [`REFILL_EVERY`], and it may be at most [`BURST`] writes ahead of now.
    paid_until: Option<Instant>,
}

impl Ledger {
    /// Adds a note. Returns its key if there is no room for it.
    pub(super) fn note(&mut self, note: Note, now: Instant, time: Timestamp) -> Option<Key> {
        let stands = note.series == Series::Anew(Course::Wait);
        match note.series {
            Series::Anew(Course::Step) => self.end_all(&note.regarding, now),
            Series::Anew(Course::Wait | Course::Timed) => {
                self.end_waits(&note.regarding, &note.reason, now);
            }
            Series::Anew(Course::Repeated | Course::Remark) | Series::Updated(_) => {}
        }
        let key = Key {
            regarding: note.regarding,
            reason: note.reason,
            kind: match note.series {
                Series::Updated(series) => Kind::Updated(series),
                Series::Anew(Course::Wait | Course::Timed | Course::Repeated) => Kind::Anew,
                Series::Anew(Course::Step | Course::Remark) => self.single(),
            },
        };
        let text = clipped(&note.text, NOTE_MAX_BYTES).to_owned();
        if let Some(series) = self.series.get_mut(&key).filter(|series| !series.is_over(now)) {
            series.count = series.count.saturating_add(1);
            series.last = time;
            series.repeated = now;
            if key.kind == Kind::Anew {
                series.stands = stands;
                series.repeats(text, now);
            } else {
                let _ = series.due.get_or_insert(now + UPDATE_EVERY);
            }
            return None;
        }
        if self.series.len() >= SERIES_MAX {
            self.series.retain(|_, series| !series.is_over(now));
        }
        if self.series.len() >= SERIES_MAX {
            return Some(key);
        }
        let begun = State {
            action: note.action,
            is_warning: note.is_warning,
            text,
            first: time,
            last: time,
            count: 1,
            repeated: now,
            name: None,
            due: Some(now),
            stands,
            told: None,
            ended: None,
            failures: 0,
        };
        drop(self.series.insert(key, begun));
        None
    }

    /// Ends all that is said of this object for as long as it goes on: a step has come.
    fn end_all(&mut self, regarding: &Regarding, now: Instant) {
        for (_, series) in self.series_of(regarding) {
            series.end(AGAIN_AFTER, now);
        }
    }

    /// Ends the waits of this object, except for the one with this reason. Waits that take turns are like a text that changes.
    fn end_waits(&mut self, regarding: &Regarding, reason: &str, now: Instant) {
        for (key, series) in self.series_of(regarding) {
            if series.stands && key.reason != *reason {
                series.end(CHANGED_EVERY, now);
            }
        }
    }

    /// The series about this object that are created anew. By name: the uid may not have been known when they began.
    fn series_of(&mut self, regarding: &Regarding) -> impl Iterator<Item = (&Key, &mut State)> {
        self.series.iter_mut().filter(|(key, _)| {
            let is_same = (key.regarding.kind, &key.regarding.name) == (regarding.kind, &regarding.name);
            key.kind == Kind::Anew && is_same
        })
    }

    fn single(&mut self) -> Kind {
        self.singles += 1;
        Kind::Single(self.singles)
    }

    /// When the next write is due and allowed; `None` if nothing is to be written.
    pub(super) fn wake(&self, now: Instant) -> Option<Instant> {
        let due = self.series.values().filter_map(|series| series.due).min()?;
        Some(due.max(self.may_write_from(now)))
    }

    /// From when the rate limit allows a write.
    fn may_write_from(&self, now: Instant) -> Instant {
        self.paid_until
            .and_then(|paid| paid.checked_sub(REFILL_EVERY.saturating_mul(BURST - 1)))
            .map_or(now, |from| from.max(now))
    }

    /// Takes the write that has been due for longest, if one is due and the rate limit allows it.
    pub(super) fn next(&mut self, now: Instant) -> Option<Write> {
        if self.may_write_from(now) > now {
            return None;
        }
        let due = |series: &State| series.due.filter(|due| *due <= now);
        let (key, series) = self
            .series
            .iter_mut()
            .filter(|(_, series)| due(series).is_some())
            .min_by_key(|(_, series)| series.due)?;
        series.due = None;
        if key.kind == Kind::Anew {
            series.tell(now);
        }
        self.paid_until = Some(self.paid_until.map_or(now, |paid| paid.max(now)) + REFILL_EVERY);
        Some(Write {
            key: key.clone(),
            name: series.name.clone(),
            action: series.action,
            is_warning: series.is_warning,
            text: series.text.clone(),
            first: series.first,
            last: series.last,
            count: series.count,
        })
    }

    /// Notes that an Event was written under this name.
    pub(super) fn written(&mut self, key: &Key, name: String) {
        if matches!(key.kind, Kind::Single(_)) {
            drop(self.series.remove(key));
        } else if let Some(series) = self.series.get_mut(key) {
            series.failures = 0;
            series.name = matches!(key.kind, Kind::Updated(_)).then_some(name);
        }
    }

    /// Notes that an Event could not be written. A series is retried until it is over, as a new Event, because the old one may be gone.
    /// Returns how many attempts have failed in a row.
    pub(super) fn failed(&mut self, key: &Key, now: Instant) -> u32 {
        if matches!(key.kind, Kind::Single(_)) {
            drop(self.series.remove(key));
            return 1;
        }
        self.series.get_mut(key).map_or(1, |series| series.fail(now))
    }
}

impl State {
    fn is_over(&self, now: Instant) -> bool {
        match (&self.told, self.ended) {
            _ if self.stands => false,
            (Some((at, _)), Some(pause)) => now.duration_since(*at) >= pause,
            (Some(_), None) => now.duration_since(self.repeated) > REMIND_EVERY,
            (None, _) => now.duration_since(self.repeated) > SERIES_IDLE,
        }
    }

    /// Takes in that it goes on no longer, and may be told again this long after it was told. One that was written already is not written
    /// again, and one that is yet to be written is, unless it has to wait for that.
    fn end(&mut self, pause: Duration, now: Instant) {
        self.stands = false;
        self.due = self
            .due
            .filter(|due| self.told.is_none() && *due <= now + RETRY_AFTER);
        self.ended = self.told.as_ref().map(|_| pause);
    }

    /// Takes in that an attempt to write it has failed. Returns how many have in a row.
    fn fail(&mut self, now: Instant) -> u32 {
        let pause = doubled(RETRY_AFTER, self.failures, REMIND_EVERY);
        self.failures = self.failures.saturating_add(1);
        self.name = None;
        self.told = None;
        let is_young = self.stands || now.duration_since(self.repeated) <= SERIES_IDLE;
        self.due = is_young.then(|| now + pause);
        self.failures
    }

    /// Takes in a repetition, with its text. One that is not written yet is written with this text, too.
    fn repeats(&mut self, text: String, now: Instant) {
        if let Some((at, told)) = &self.told {
            let pause = self.ended.unwrap_or(if *told == text {
                REMIND_EVERY
            } else {
                CHANGED_EVERY
            });
            self.due = Some(now.max(*at + pause));
        }
        self.text = text;
    }

    /// Takes in that it is created anew now. A wait that goes on without a word counts as a repetition.
    fn tell(&mut self, now: Instant) {
        let is_reminder = self.told.as_ref().is_some_and(|(at, _)| self.repeated <= *at);
        if is_reminder {
            self.count = self.count.saturating_add(1);
            let passed = now.duration_since(self.repeated);
            self.last = self.last.saturating_add(passed).unwrap_or(self.last);
            self.repeated = now;
        }
        self.told = Some((now, self.text.clone()));
        self.ended = None;
        self.due = self.stands.then(|| now + REMIND_EVERY);
    }
}

#[cfg(test)]
mod tests;
