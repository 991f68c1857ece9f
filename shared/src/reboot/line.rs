//! The line of those who wait for the lock, as one of them sees it: whether it watches the lock, or looks away for a while.
//!
//! Each watcher costs the API server an event for every write of the lock. Where few wait, all of them watch, so that the next one begins as
//! soon as the lock is released. Where many wait, each looks away by chance for up to the time of a reboot, then watches until the next node has
//! taken the lock, and looks away again, for up to twice as long. So few of them watch at any time, however many wait. If nobody watched when the
//! lock was released, it stands free until the first of them is back; the others see that by the lock, and begin anew with patience.
//!
//! It is only about who looks when. Not here: whether a waiter may acquire the lock ([`crate::reboot::cycle`]), and its turn among those who
//! watch ([`crate::reboot::timers`]).

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::backoff::doubled;
use crate::lock::{Entry, EntryId};
use crate::reboot::lock_object::LockView;
use crate::reboot::moment::{Moment, Uptime};

/// How many nodes take the lock before a waiter looks away for the first time. By chance, up to twice as many, so that those who began
/// together do not leave together.
pub const PATIENCE: usize = 16;
/// How long a reboot takes, as long as none was seen to end.
const REBOOT: Duration = Duration::from_secs(10);
/// The longest time for which a waiter looks away is one reboot at first, doubles up to this many, and has these bounds.
const REBOOTS_MAX: u32 = 8;
const AWAY_MIN: Duration = Duration::from_secs(2);
const AWAY_MAX: Duration = Duration::from_mins(10);
/// The lock was free for longer than this before it was taken: nobody watched. The clocks of two nodes may differ, and one of the two times is in
/// whole seconds.
const UNWATCHED: SignedDuration = SignedDuration::from_secs(5);

/// What a waiter knows of the line.
#[derive(Debug)]
pub struct Line {
    /// The entries that were shown last, and since when each has its place, if it says so. `None`: nothing was shown since the watch began.
    shown: Option<BTreeMap<EntryId, Option<Timestamp>>>,
    /// Whether the lock, as last read or shown, leaves no slot for us.
    is_full: bool,
    /// How many nodes may take the lock before a waiter looks away for the first time.
    patience: usize,
    /// The same with what chance adds, once it is drawn.
    enough: Option<usize>,
    /// How many have taken it since the waiter began to watch, or came back.
    passed: usize,
    /// How often it has looked away since it had full patience.
    aways: u32,
    /// How long the last reboot took, of those that were seen to end.
    reboot: Duration,
    /// Until when the waiter looks away.
    away_until: Option<Uptime>,
    /// How often it has read a full lock although its watch was silent, since it began to watch, or came back.
    looks: u32,
}

impl Line {
    /// The line of a wait that begins, with [`PATIENCE`]; a simulation has fewer nodes.
    pub fn new(patience: usize) -> Line {
        Line {
            shown: None,
            is_full: false,
            patience,
            enough: None,
            passed: 0,
            aways: 0,
            reboot: REBOOT,
            away_until: None,
            looks: 0,
        }
    }

    /// Takes whether the lock, as read, leaves no slot for us.
    pub fn read(&mut self, is_full: bool) {
        self.is_full = is_full;
    }

    /// Whether the lock, as last read or shown, leaves no slot for us.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Takes what the watch shows of the lock, and whether that leaves no slot for us.
    pub fn show(&mut self, lock: &LockView, is_full: bool, wall: Timestamp) {
        self.is_full = is_full;
        let record = lock.record.as_ref().present();
        let entries = record.map_or(&[][..], |record| record.entries.as_slice());
        let now = entries.iter().map(|entry| (entry.id(), began(entry))).collect();
        let Some(before) = self.shown.replace(now) else {
            // The others have looked away for too long as well.
            if !is_full || was_unwatched(entries, lock) {
                (self.aways, self.enough) = (0, None);
            }
            return;
        };
        let is_new = |entry: &&Entry| !before.contains_key(&entry.id());
        self.passed += entries.iter().filter(is_new).count();
        let is_over = |id: &EntryId| entries.iter().all(|entry| entry.id() != *id);
        let over = before.iter().filter(|(id, _)| is_over(id));
        if let Some(began) = over.filter_map(|(_, began)| *began).max() {
            self.reboot = wall.duration_since(began).try_into().unwrap_or(self.reboot);
        }
    }

    /// Looks away if enough nodes have passed. Returns whether it does so now.
    pub fn leave(&mut self, at: Moment, random: u64) -> bool {
        let enough = self.enough(random);
        if self.is_away() || self.passed < enough {
            return false;
        }
        let longest = doubled(self.reboot, self.aways, self.reboot.saturating_mul(REBOOTS_MAX));
        let longest = longest.clamp(AWAY_MIN, AWAY_MAX);
        let thousandths = u32::try_from(random % 1001).unwrap_or(0);
        self.away_until = at.now.checked_add(longest / 1000 * thousandths);
        self.aways = self.aways.saturating_add(1);
        true
    }

    /// How many nodes are enough to look away. Drawn once, since it is asked again and again.
    fn enough(&mut self, random: u64) -> usize {
        if self.aways > 0 {
            return 1;
        }
        let patience = self.patience;
        *self.enough.get_or_insert_with(|| {
            let further = u64::try_from(patience)
                .ok()
                .and_then(|patience| random.checked_rem(patience));
            patience
                + further
                    .and_then(|further| usize::try_from(further).ok())
                    .unwrap_or(0)
        })
    }

    /// Whether the waiter looks away.
    pub fn is_away(&self) -> bool {
        self.away_until.is_some()
    }

    /// Until when it looks away.
    pub fn away_until(&self) -> Option<Uptime> {
        self.away_until
    }

    /// Looks again, if it is time to. Returns whether it is.
    pub fn come_back(&mut self, now: Uptime) -> bool {
        let is_time = self.away_until.take_if(|until| *until <= now).is_some();
        if is_time {
            (self.passed, self.looks) = (0, 0);
        }
        is_time
    }

    /// Notes that the watch has ended: what happens until the next one begins is not seen.
    pub fn lose_sight(&mut self) {
        self.shown = None;
    }

    /// Counts a pause before a full lock is read although the watch is silent, and says how many came before.
    pub fn pause(&mut self) -> u32 {
        let before = self.looks;
        self.looks = before.saturating_add(1);
        before
    }
}

/// When an entry was made. One that kured has rewritten tells only when its node began to wait.
fn began(entry: &Entry) -> Option<Timestamp> {
    entry.acquired.parse().ok()
}

/// Whether the lock was free for a while before the newest of its entries was made.
fn was_unwatched(entries: &[Entry], lock: &LockView) -> bool {
    let taken = entries.iter().filter_map(began).max();
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

    fn at(wall: Timestamp) -> Moment {
        Moment {
            now: Uptime::START,
            wall,
        }
    }

    /// How long a waiter without patience looks away, each time, when it has seen a reboot of these many seconds end.
    fn away(seconds: i64, random: u64) -> Vec<Duration> {
        let began: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
        let mut line = Line::new(1);
        line.show(&held_by("a", &began.to_string()), true, began);
        let over = began + SignedDuration::from_secs(seconds);
        let mut all = Vec::new();
        for next in ["b", "c", "d", "e", "f"] {
            // The others have no time of their own, as if kured had rewritten them.
            line.show(&held_by(next, ""), true, over);
            assert!(line.leave(at(over), random));
            assert!(!line.leave(at(over), random), "it is away already");
            let until = line.away_until().unwrap();
            all.push(until.since(Uptime::START));
            assert!(line.come_back(until));
        }
        all
    }

    #[test]
    fn a_waiter_looks_away_for_up_to_a_reboot_then_twice_as_long_and_so_on_within_bounds() {
        for (seconds, longest) in [
            (60, [60, 120, 240, 480, 480]),
            (1, [2, 2, 4, 8, 8]),
            (-5, [10, 20, 40, 80, 80]),
            (500, [500, 600, 600, 600, 600]),
        ] {
            let longest = longest.map(Duration::from_secs);
            assert_eq!(away(seconds, 1000), longest, "a reboot of {seconds} s");
            assert_eq!(away(seconds, 500), longest.map(|longest| longest / 2));
            assert_eq!(away(seconds, 0), [Duration::ZERO; 5], "by chance not at all");
        }
    }

    #[test]
    fn who_began_together_do_not_leave_together() {
        let leaves_after = |random: u64| {
            let mut line = Line::new(PATIENCE);
            let mut passed = 0;
            line.show(&held_by("0", ""), true, Timestamp::UNIX_EPOCH);
            // What chance says later makes no difference.
            let mut chance = random;
            while !line.leave(at(Timestamp::UNIX_EPOCH), chance) {
                passed += 1;
                chance = 0;
                line.show(&held_by(&passed.to_string(), ""), true, Timestamp::UNIX_EPOCH);
            }
            passed
        };
        let all: Vec<i32> = (0..16).map(leaves_after).collect();
        assert_eq!(all, (16..32).collect::<Vec<i32>>());
    }

    #[test]
    fn what_was_missed_while_no_watch_ran_costs_no_patience() {
        let mut line = Line::new(1);
        let now = at(Timestamp::UNIX_EPOCH);
        line.show(&held_by("a", ""), true, now.wall);
        line.lose_sight();
        line.show(&held_by("b", ""), true, now.wall);
        assert!(!line.leave(now, 0));
        line.show(&held_by("b", ""), true, now.wall);
        assert!(!line.leave(now, 0), "the same node again");
        line.show(&held_by("c", ""), true, now.wall);
        assert!(line.leave(now, 0));
    }
}
