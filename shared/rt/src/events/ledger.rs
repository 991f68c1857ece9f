//! Decides which Events are to be written and when, within a rate limit. It reads no clock.
//!
//! Not here: sending them ([`super::write`]).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Key, Kind, Note};
use cordonhold_shared::quote::clipped;

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
/// Pause before a series that could not be written is retried.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// The state of one Event.
#[derive(Debug)]
struct Series {
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
    series: BTreeMap<Key, Series>,
    /// Number of notes without a series so far.
    singles: u64,
    /// State of the rate limit: each write moves this by [`REFILL_EVERY`], and it may be at most [`BURST`] writes ahead of now.
    paid_until: Option<Instant>,
}

impl Ledger {
    /// Adds a note. Returns its key if there is no room for it.
    pub(super) fn note(&mut self, note: Note, now: Instant, time: Timestamp) -> Option<Key> {
        let key = Key {
            regarding: note.regarding,
            reason: note.reason,
            kind: note.series.map_or_else(|| self.single(), Kind::Series),
        };
        if let Some(series) = self.series.get_mut(&key).filter(|series| !series.is_over(now)) {
            series.count = series.count.saturating_add(1);
            series.last = time;
            series.repeated = now;
            let _ = series.due.get_or_insert(now + UPDATE_EVERY);
            return None;
        }
        if self.series.len() >= SERIES_MAX {
            self.series.retain(|_, series| !series.is_over(now));
        }
        if self.series.len() >= SERIES_MAX {
            return Some(key);
        }
        let begun = Series {
            action: note.action,
            is_warning: note.is_warning,
            text: clipped(&note.text, NOTE_MAX_BYTES).to_owned(),
            first: time,
            last: time,
            count: 1,
            repeated: now,
            name: None,
            due: Some(now),
        };
        drop(self.series.insert(key, begun));
        None
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
        let due = |series: &Series| series.due.filter(|due| *due <= now);
        let (key, series) = self
            .series
            .iter_mut()
            .filter(|(_, series)| due(series).is_some())
            .min_by_key(|(_, series)| series.due)?;
        series.due = None;
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
            series.name = Some(name);
        }
    }

    /// Notes that an Event could not be written. A series is retried until it is over, as a new Event, because the old one may be gone.
    pub(super) fn failed(&mut self, key: &Key, now: Instant) {
        if matches!(key.kind, Kind::Single(_)) {
            drop(self.series.remove(key));
        } else if let Some(series) = self.series.get_mut(key) {
            series.name = None;
            series.due = (!series.is_over(now)).then(|| now + RETRY_AFTER);
        }
    }
}

impl Series {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.repeated) > SERIES_IDLE
    }
}

#[cfg(test)]
mod tests {
    use super::super::Regarding;
    use super::*;

    /// A note about this node, of this series.
    fn note(node: &str, series: Option<&str>) -> Note {
        Note {
            regarding: Regarding::node(node, "u"),
            action: "Deny",
            reason: "Held".to_owned(),
            is_warning: true,
            text: "it is held".to_owned(),
            series: series.map(str::to_owned),
        }
    }

    fn denial(node: &str, user: &str) -> Note {
        note(node, Some(user))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_storm_is_one_event_whose_count_is_brought_up_to_date_now_and_then() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        assert!(ledger.note(denial("n", "a"), start, at(0)).is_none());
        assert_eq!(ledger.wake(start), Some(start));
        let first = ledger.next(start).unwrap();
        assert_eq!(
            (first.name, first.count, first.text.as_str()),
            (None, 1, "it is held")
        );
        ledger.written(&first.key, "e-1".to_owned());
        assert_eq!(ledger.wake(start), None);

        for _ in 0..1_000 {
            assert!(ledger.note(denial("n", "a"), start, at(1)).is_none());
        }
        assert_eq!(ledger.next(start), None);
        let later = start + UPDATE_EVERY;
        assert_eq!(ledger.wake(start), Some(later));
        let update = ledger.next(later).unwrap();
        assert_eq!(
            (update.name.as_deref(), update.count, update.first, update.last),
            (Some("e-1"), 1_001, at(0), at(1))
        );
        assert_eq!((ledger.next(later), ledger.wake(later)), (None, None));
    }

    #[test]
    fn each_node_user_and_quiet_time_has_an_event_of_its_own() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        for denial in [denial("n", "a"), denial("m", "a"), denial("n", "b")] {
            assert!(ledger.note(denial, start, at(0)).is_none());
        }
        let mut names = 0..;
        while let Some(write) = ledger.next(start) {
            ledger.written(&write.key, format!("e-{}", names.next().unwrap()));
        }
        assert_eq!(names.start, 3);
        let later = start + SERIES_IDLE + Duration::from_secs(1);
        assert!(ledger.note(denial("n", "a"), later, at(400)).is_none());
        let again = ledger.next(later).unwrap();
        assert_eq!((again.name, again.count, again.first), (None, 1, at(400)));
    }

    #[test]
    fn a_single_note_is_an_event_of_its_own_and_has_one_try() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        for _ in 0..2 {
            assert!(ledger.note(note("n", None), start, at(0)).is_none());
        }
        let (first, second) = (ledger.next(start).unwrap(), ledger.next(start).unwrap());
        assert_eq!((first.count, second.count), (1, 1));
        ledger.written(&first.key, "e-1".to_owned());
        ledger.failed(&second.key, start);
        assert!(ledger.series.is_empty());
    }

    #[test]
    fn writes_are_limited_and_none_is_lost_by_it() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        for node in 0..2 * BURST {
            assert!(
                ledger
                    .note(denial(&node.to_string(), "a"), start, at(0))
                    .is_none()
            );
        }
        let burst = std::iter::from_fn(|| ledger.next(start)).count();
        assert_eq!(burst, usize::try_from(BURST).unwrap());
        for second in 0..BURST {
            let (before, now) = (start + REFILL_EVERY * second, start + REFILL_EVERY * (second + 1));
            assert_eq!(ledger.wake(before), Some(now));
            assert!(ledger.next(now).is_some());
            assert_eq!(ledger.next(now), None);
        }
        assert_eq!(ledger.wake(start + REFILL_EVERY * BURST), None);
    }

    #[test]
    fn series_are_bounded_and_make_room_when_they_are_over() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        for node in 0..SERIES_MAX {
            assert!(
                ledger
                    .note(denial(&node.to_string(), "a"), start, at(0))
                    .is_none()
            );
        }
        assert!(ledger.note(denial("one more", "a"), start, at(0)).is_some());
        let later = start + SERIES_IDLE + Duration::from_secs(1);
        assert!(ledger.note(denial("one more", "a"), later, at(0)).is_none());
        assert_eq!(ledger.series.len(), 1);
    }

    #[test]
    fn what_failed_is_tried_again_as_a_new_event_until_it_is_old() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        assert!(ledger.note(denial("n", "a"), start, at(0)).is_none());
        let first = ledger.next(start).unwrap();
        ledger.failed(&first.key, start);
        assert_eq!(ledger.next(start), None);
        let later = start + RETRY_AFTER;
        assert_eq!(ledger.next(later).map(|write| write.name), Some(None));
        ledger.failed(&first.key, start + SERIES_IDLE + Duration::from_secs(1));
        assert_eq!(ledger.wake(later), None);
    }

    #[test]
    fn a_note_is_no_longer_than_the_api_server_takes() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        let long = Note {
            text: "ü".repeat(NOTE_MAX_BYTES),
            ..denial("n", "a")
        };
        assert!(ledger.note(long, start, at(0)).is_none());
        assert_eq!(ledger.next(start).unwrap().text.len(), NOTE_MAX_BYTES);
    }
}
