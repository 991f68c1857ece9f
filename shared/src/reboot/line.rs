//! The line of those who wait for the lock, as one of them sees it: whether it watches the lock, or looks away for a while.
//!
//! Each watcher costs the API server an event for every write of the lock. Where few wait, all of them watch, so that the next one begins as
//! soon as the lock is released. Where many wait, each looks away for about as long as a few reboots take, then watches until the next node has
//! taken the lock, and looks away again. So a few of them watch at any time, however many there are. If nobody watched when the lock was
//! released, the lock says so, and those who see that stay.
//!
//! It is only about who looks when. Not here: whether a waiter may acquire the lock ([`crate::reboot::cycle`]), and its turn among those who
//! watch ([`crate::reboot::timers`]).

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::backoff::spread;
use crate::lock::{Entry, EntryId};
use crate::reboot::lock_object::LockView;
use crate::reboot::moment::{Moment, Uptime};

/// How many nodes take the lock before a waiter looks away for the first time.
pub const PATIENCE: usize = 16;
/// For how many reboots a waiter looks away.
const REBOOTS_AWAY: u32 = 5;
/// How long a reboot takes, as long as none was seen to end.
const REBOOT: Duration = Duration::from_secs(10);
/// The shortest and longest time for which a waiter looks away.
const AWAY_MIN: Duration = Duration::from_secs(10);
const AWAY_MAX: Duration = Duration::from_mins(10);
/// The lock was free for longer than this before it was taken: nobody watched. The clocks of two nodes may differ, and one of the two times is in
/// whole seconds.
const UNWATCHED: SignedDuration = SignedDuration::from_secs(5);

/// What a waiter knows of the line.
#[derive(Debug)]
pub struct Line {
    /// The entries that were shown last, and since when each has its place. `None`: nothing was shown since the watch began.
    shown: Option<BTreeMap<EntryId, Option<Timestamp>>>,
    /// How many nodes may take the lock before a waiter looks away for the first time.
    longest: usize,
    /// How many may yet take it.
    patience: usize,
    /// How long the last reboot took, of those that were seen to end.
    reboot: Duration,
    /// Until when the waiter looks away.
    away_until: Option<Uptime>,
    /// How often the waiter has looked at the lock although its watch was silent.
    looks: u32,
}

impl Line {
    /// The line of a wait that begins. [`PATIENCE`] nodes may take the lock before the waiter looks away; a simulation has fewer nodes.
    pub fn new(patience: usize) -> Line {
        Line {
            shown: None,
            longest: patience,
            patience,
            reboot: REBOOT,
            away_until: None,
            looks: 0,
        }
    }

    /// Takes what the watch shows of the lock.
    pub fn show(&mut self, lock: &LockView, wall: Timestamp) {
        let record = lock.record.as_ref().present();
        let entries = record.map_or(&[][..], |record| record.entries.as_slice());
        let now = entries.iter().map(|entry| (entry.id(), entry.began())).collect();
        let Some(before) = self.shown.replace(now) else {
            // Others have looked away for too long too.
            if was_unwatched(entries, lock) {
                self.patience = self.longest;
            }
            return;
        };
        let is_new = |entry: &&Entry| !before.contains_key(&entry.id());
        let came = entries.iter().filter(is_new).count();
        self.patience = self.patience.saturating_sub(came);
        let is_over = |id: &EntryId| entries.iter().all(|entry| entry.id() != *id);
        let over = before.iter().filter(|(id, _)| is_over(id));
        if let Some(began) = over.filter_map(|(_, began)| *began).max() {
            self.reboot = wall.duration_since(began).try_into().unwrap_or(self.reboot);
        }
    }

    /// Looks away if the line is long. Returns whether it does so now.
    pub fn leave(&mut self, at: Moment, random: u64) -> bool {
        if self.patience > 0 || self.is_away() {
            return false;
        }
        let longest = self.reboot.saturating_mul(REBOOTS_AWAY).clamp(AWAY_MIN, AWAY_MAX);
        self.away_until = at.now.checked_add(spread(longest, random));
        true
    }

    /// Notes that the watch has ended: what happens until the next one begins is not seen.
    pub fn lose_sight(&mut self) {
        self.shown = None;
    }

    /// Whether the waiter looks away.
    pub fn is_away(&self) -> bool {
        self.away_until.is_some()
    }

    /// Until when it looks away.
    pub fn away_until(&self) -> Option<Uptime> {
        self.away_until
    }

    /// Looks again, if it is time to. From now on a single node that takes the lock is enough to look away.
    pub fn come_back(&mut self, now: Uptime) -> bool {
        let is_time = self.away_until.take_if(|until| *until <= now).is_some();
        if is_time {
            self.patience = 1;
        }
        is_time
    }

    /// Counts a look at the lock, and says how many came before.
    pub fn look(&mut self) -> u32 {
        let before = self.looks;
        self.looks = before.saturating_add(1);
        before
    }
}

/// Whether the lock was free for a while before the newest of its entries was made.
fn was_unwatched(entries: &[Entry], lock: &LockView) -> bool {
    let taken = entries.iter().filter_map(Entry::began).max();
    let freed = lock.last_reboot.as_ref().present();
    taken
        .zip(freed)
        .is_some_and(|(taken, freed)| taken.duration_since(*freed) > UNWATCHED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reading;
    use crate::lock::Record;

    fn held_by(node: &str, acquired: &str) -> LockView {
        let entry = Entry {
            acquired: acquired.to_owned(),
            ..Entry::new(node, "uid", "2026-12-01T00:00:00Z", false)
        };
        LockView {
            record: Reading::Present(Record {
                entries: vec![entry],
                max_owners: None,
            }),
            ..LockView::default()
        }
    }

    /// How long a waiter without patience looks away when it has seen a reboot of these many seconds end.
    fn away(seconds: i64, random: u64) -> Duration {
        let began: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
        let mut line = Line::new(1);
        line.show(&held_by("a", &began.to_string()), began);
        let over = began + SignedDuration::from_secs(seconds);
        line.show(&held_by("b", &over.to_string()), over);
        let at = Moment {
            now: Uptime::START,
            wall: over,
        };
        assert!(line.leave(at, random));
        assert!(!line.leave(at, random), "it is away already");
        line.away_until().unwrap().since(Uptime::START)
    }

    #[test]
    fn a_waiter_looks_away_for_five_reboots_within_bounds_and_up_to_half_shorter_by_chance() {
        for (seconds, longest) in [(60, 300), (1, 10), (-5, 50), (100_000, 600)] {
            let longest = Duration::from_secs(longest);
            assert_eq!(away(seconds, 0), longest, "a reboot of {seconds} s");
            assert_eq!(away(seconds, 500), longest / 2, "a reboot of {seconds} s");
        }
    }

    #[test]
    fn what_was_missed_while_no_watch_ran_costs_no_patience() {
        let mut line = Line::new(1);
        let at = |node| held_by(node, "2026-12-01T00:00:00Z");
        line.show(&at("a"), Timestamp::UNIX_EPOCH);
        line.lose_sight();
        line.show(&at("b"), Timestamp::UNIX_EPOCH);
        let now = Moment {
            now: Uptime::START,
            wall: Timestamp::UNIX_EPOCH,
        };
        assert!(!line.leave(now, 0));
        line.show(&at("b"), Timestamp::UNIX_EPOCH);
        assert!(!line.leave(now, 0), "the same node again");
        line.show(&at("c"), Timestamp::UNIX_EPOCH);
        assert!(line.leave(now, 0));
    }
}
