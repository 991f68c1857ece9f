//! The cycle's timers: how long each is, and which are running.
//!
//! Clock readings and random numbers are arguments.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::backoff::{doubled, jittered, retry_pause, spread};
use crate::hold::{self, Terms};
use crate::node::NodeView;
use crate::reboot::moment::{Moment, Uptime};

/// A timer of the cycle. Arming a running one starts it anew, except for [`Timer::Turn`] and [`Timer::Blocked`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Timer {
    /// The pause before a failed request is tried again. It grows with the count.
    Retry(u8),
    /// The pause of a waiter before it tries to acquire the lock. The older its wish, the shorter, so that the oldest tries first.
    Turn,
    /// The pause before a waiter looks at the lock again although its watch is silent.
    Poll,
    /// How long the same nodes may fill the lock before a waiter reports it: `--reboot-timeout`.
    Stall,
    /// The pause before `until` is renewed.
    Renew,
    /// How long a drain may take: `--drain-delay` and `--drain-timeout` together.
    Drain,
    /// `--reboot-delay`.
    Delay,
    /// How long a drained node waits while something postpones its reboot. No time at all if the window opens later than that.
    Blocked,
    /// How long after the seal was sent the reboot command may still be run.
    Deadline,
    /// `--reboot-timeout`.
    Reboot,
    /// `--ready-timeout`: how long a node that is back may lack something before that is reported.
    Ready,
    /// The pause before a node that is back is looked at again, because it lacks something that no watch shows.
    LookAgain,
    /// `--soak`.
    Soak,
    /// The rest of `--lock-release-delay`.
    Release,
    /// `--backoff`: how long after an undo no new wish is stamped.
    Backoff,
    /// The pause before the host is asked again.
    Host,
    /// The pause before the sentinel is looked at again because a wish could not be followed.
    CheckSentinel,
}

impl Timer {
    /// Whether arming it again leaves it running. What arms these happens again and again, and must not put their end off.
    fn runs_on(self) -> bool {
        matches!(self, Timer::Turn | Timer::Blocked)
    }

    /// Whether the sentinel is looked at when this timer ends, and not only with the next `--period`.
    pub fn calls_for_look(self) -> bool {
        matches!(self, Timer::Backoff | Timer::Host | Timer::CheckSentinel)
    }
}

/// The times that the operator's flags set.
#[derive(Clone, Debug)]
pub struct Timing {
    /// How often the sentinel is looked at.
    pub period: Duration,
    /// `--drain-delay`: from the cordon to the first eviction.
    pub drain_delay: Duration,
    /// `--drain-timeout`: from the first eviction on. `None`: no limit.
    pub drain_timeout: Option<Duration>,
    /// `--reboot-delay`: from the end of the drain to the seal.
    pub reboot_delay: Duration,
    /// `--reboot-timeout`: how long after the command the reboot may still come.
    pub reboot_timeout: Duration,
    /// `--ready-timeout`: how long after the boot the node may lack something before that is reported.
    pub ready_timeout: Duration,
    /// `--soak`: how long the node is Ready before its cordon is given back.
    pub soak: Duration,
    /// `--lock-release-delay`: how long the lock entry is kept after a reboot.
    pub lock_release_delay: Duration,
    /// `--backoff`: how long after an undo no new wish is stamped.
    pub backoff: Duration,
}

impl Timing {
    /// Whether there is a `--lock-release-delay`.
    pub fn delays_release(&self) -> bool {
        !self.lock_release_delay.is_zero()
    }

    /// The times that patches name.
    pub fn terms(&self) -> Terms {
        let signed = |duration: Duration| duration.try_into().unwrap_or(SignedDuration::MAX);
        Terms {
            reboot: signed(self.reboot_timeout),
            release: signed(self.lock_release_delay),
        }
    }
}

/// What the lengths of some timers depend on: times on the wall clock, and what the cycle was told last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dates {
    /// When our hold was stamped.
    pub stamped: Option<Timestamp>,
    /// When the lock entry that is kept is to be released.
    pub release_at: Option<Timestamp>,
    /// Until when no window is open. `None`: one is open.
    pub shut_until: Option<Timestamp>,
    /// Whether something postponed the reboot when that was last asked. A pause that ends is seen by a watch, and the rest ends slowly.
    pub is_blocked: bool,
    /// How often this wait for the lock has looked at it although its watch was silent.
    pub looks: u32,
}

/// The timers that are running.
#[derive(Debug)]
pub struct Timers {
    timing: Timing,
    running: BTreeMap<Timer, Uptime>,
}

/// The turn of a waiter whose wish is new.
const TURN_MAX: Duration = Duration::from_millis(500);
/// The age of a wish from which its turn has no length.
const TURN_AGE_MAX: Duration = Duration::from_hours(24);
const POLL: Duration = Duration::from_secs(10);
/// What the watch of the lock does not show is seldom: a holder whose Node is gone or has rebooted without a word, an entry of kured's that
/// expires, a lock that moves to another object.
const POLL_MAX: Duration = Duration::from_mins(2);
const POLL_BLOCKED: Duration = Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_secs(10);
const HOST: Duration = Duration::from_secs(2);
const CHECK_SENTINEL: Duration = Duration::from_secs(10);

impl Timers {
    /// Timers of these lengths, none of which is running.
    pub fn new(timing: Timing) -> Timers {
        Timers {
            timing,
            running: BTreeMap::new(),
        }
    }

    /// Starts a timer. One that runs is started anew, except where [`Timer`] says otherwise.
    pub fn arm(&mut self, timer: Timer, dates: Dates, at: Moment, random: u64) {
        if timer.runs_on() && self.running.contains_key(&timer) {
            return;
        }
        let end = self
            .length(timer, dates, at.wall, random)
            .and_then(|length| at.now.checked_add(length));
        let _ = match end {
            Some(end) => self.running.insert(timer, end),
            None => self.running.remove(&timer),
        };
    }

    /// Stops a timer, if it runs.
    pub fn disarm(&mut self, timer: Timer) {
        let _ = self.running.remove(&timer);
    }

    /// When this timer ends, if it is running.
    pub fn end(&self, timer: Timer) -> Option<Uptime> {
        self.running.get(&timer).copied()
    }

    /// Whether the pause before a failed request is tried again is running.
    pub fn is_retrying(&self) -> bool {
        self.running.keys().any(|timer| matches!(timer, Timer::Retry(_)))
    }

    /// When the next timer ends.
    pub fn next_end(&self) -> Option<Uptime> {
        self.running.values().min().copied()
    }

    /// Takes a timer that has ended, the earliest first.
    pub fn pop_due(&mut self, now: Uptime) -> Option<Timer> {
        let (timer, end) = self.running.iter().min_by_key(|(_, end)| **end)?;
        let (timer, is_due) = (*timer, *end <= now);
        is_due.then(|| {
            self.disarm(timer);
            timer
        })
    }

    /// How long a timer is. `None`: it never ends.
    fn length(&self, timer: Timer, dates: Dates, wall: Timestamp, random: u64) -> Option<Duration> {
        match timer {
            Timer::Retry(count) => Some(jittered(retry_pause(u32::from(count)), random)),
            Timer::Turn => Some(spread(turn(dates.wish_age(wall)), random)),
            Timer::Poll if dates.is_blocked => Some(jittered(POLL_BLOCKED, random)),
            Timer::Poll => Some(jittered(doubled(POLL, dates.looks, POLL_MAX), random)),
            Timer::Renew => hold::RENEW_EVERY.try_into().ok(),
            Timer::Drain => self
                .timing
                .drain_timeout
                .map(|timeout| timeout.saturating_add(self.timing.drain_delay)),
            Timer::Delay => Some(self.timing.reboot_delay),
            Timer::Blocked => {
                let longest = self.timing.drain_timeout.unwrap_or(self.timing.reboot_timeout);
                let is_too_long = dates.shut_for(wall) > longest;
                Some(if is_too_long { Duration::ZERO } else { longest })
            }
            Timer::Deadline => Some(DEADLINE),
            Timer::Reboot | Timer::Stall => Some(self.timing.reboot_timeout),
            Timer::Ready => Some(self.timing.ready_timeout),
            Timer::LookAgain => Some(jittered(LOOK_AGAIN, random)),
            Timer::Soak => Some(self.timing.soak),
            // A wall clock that was set back must not make it longer than the flag says.
            Timer::Release => Some(dates.release_in(wall).min(self.timing.lock_release_delay)),
            Timer::Backoff => Some(self.timing.backoff),
            Timer::Host => Some(HOST),
            Timer::CheckSentinel => Some(jittered(CHECK_SENTINEL, random)),
        }
    }
}

impl Dates {
    /// The times that this Node shows.
    pub fn of(node: &NodeView) -> Dates {
        Dates {
            stamped: hold::read(node)
                .present()
                .and_then(|hold| hold.holder.created.parse().ok()),
            release_at: hold::release_at(node),
            shut_until: None,
            is_blocked: false,
            looks: 0,
        }
    }

    fn shut_for(self, wall: Timestamp) -> Duration {
        self.shut_until.map_or(Duration::ZERO, |end| between(wall, end))
    }

    fn wish_age(self, wall: Timestamp) -> Duration {
        self.stamped
            .map_or(Duration::ZERO, |stamped| between(stamped, wall))
    }

    fn release_in(self, wall: Timestamp) -> Duration {
        self.release_at.map_or(Duration::ZERO, |at| between(wall, at))
    }
}

/// The time from one to the other; zero if the other is earlier.
fn between(from: Timestamp, to: Timestamp) -> Duration {
    to.duration_since(from).try_into().unwrap_or(Duration::ZERO)
}

/// How long a waiter's turn is at most. It shrinks with the logarithm of the wish's age: a minute counts for much among young wishes and
/// for little among old ones.
fn turn(age: Duration) -> Duration {
    let share = (1.0 + age.as_secs_f64()).ln() / (1.0 + TURN_AGE_MAX.as_secs_f64()).ln();
    TURN_MAX.mul_f64((1.0 - share).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timers() -> Timers {
        Timers::new(Timing {
            period: Duration::from_secs(1),
            drain_delay: Duration::ZERO,
            drain_timeout: None,
            reboot_delay: Duration::from_secs(60),
            reboot_timeout: Duration::from_secs(1800),
            ready_timeout: Duration::from_secs(1800),
            soak: Duration::ZERO,
            lock_release_delay: Duration::from_secs(600),
            backoff: Duration::from_secs(300),
        })
    }

    fn moment(now: Uptime) -> Moment {
        Moment {
            now,
            wall: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn timers_end_in_order_and_once() {
        let (mut timers, now) = (timers(), Uptime::START);
        timers.arm(Timer::Delay, Dates::default(), moment(now), 0);
        timers.arm(Timer::Deadline, Dates::default(), moment(now), 0);
        timers.arm(Timer::Soak, Dates::default(), moment(now), 0);
        assert_eq!(timers.pop_due(now), Some(Timer::Soak));
        assert_eq!(timers.pop_due(now), None);
        assert_eq!(timers.next_end(), timers.end(Timer::Deadline));
        let later = now + Duration::from_secs(60);
        assert_eq!(timers.pop_due(later), Some(Timer::Deadline));
        assert_eq!(timers.pop_due(later), Some(Timer::Delay));
        assert_eq!(timers.pop_due(later), None);
    }

    #[test]
    fn arming_again_starts_anew_and_no_drain_timeout_never_ends() {
        let (mut timers, now) = (timers(), Uptime::START);
        timers.arm(Timer::Deadline, Dates::default(), moment(now), 0);
        let later = now + Duration::from_secs(3);
        timers.arm(Timer::Deadline, Dates::default(), moment(later), 0);
        assert_eq!(timers.end(Timer::Deadline), Some(later + DEADLINE));
        timers.disarm(Timer::Deadline);
        timers.arm(Timer::Drain, Dates::default(), moment(now), 0);
        assert_eq!(timers.next_end(), None);
    }

    #[test]
    fn the_delay_before_the_first_eviction_is_added_to_the_drain_alone() {
        let mut timers = timers();
        timers.timing.drain_delay = Duration::from_secs(5);
        for (timeout, drain, blocked) in [(Some(600), Some(605), 600), (None, None, 1800)] {
            timers.timing.drain_timeout = timeout.map(Duration::from_secs);
            for timer in [Timer::Drain, Timer::Blocked] {
                timers.disarm(timer);
                timers.arm(timer, Dates::default(), moment(Uptime::START), 0);
            }
            let ends =
                [drain, Some(blocked)].map(|end| end.map(|end| Uptime::after(Duration::from_secs(end))));
            assert_eq!(
                [Timer::Drain, Timer::Blocked].map(|timer| timers.end(timer)),
                ends
            );
        }
    }

    #[test]
    fn a_drained_node_does_not_wait_for_a_window_that_opens_too_late() {
        let at = |seconds| Timestamp::from_second(seconds).ok();
        for (shut_until, waits) in [
            (None, 1800),
            (at(-5), 1800),
            (at(1800), 1800),
            (at(1801), 0),
            (Some(Timestamp::MAX), 0),
        ] {
            let dates = Dates {
                shut_until,
                ..Dates::default()
            };
            let mut timers = timers();
            timers.arm(Timer::Blocked, dates, moment(Uptime::START), 0);
            let end = Uptime::after(Duration::from_secs(waits));
            assert_eq!(timers.end(Timer::Blocked), Some(end), "{shut_until:?}");
        }
    }

    #[test]
    fn a_waiter_that_something_blocks_looks_again_less_often() {
        for (is_blocked, least) in [(false, POLL), (true, POLL_BLOCKED)] {
            let mut timers = timers();
            let dates = Dates {
                is_blocked,
                ..Dates::default()
            };
            timers.arm(Timer::Poll, dates, moment(Uptime::START), 0);
            let pause = timers.end(Timer::Poll).map(|end| end.since(Uptime::START));
            assert!(
                pause.is_some_and(|pause| pause.abs_diff(least) <= least / 2),
                "{pause:?}"
            );
        }
    }

    #[test]
    fn a_turn_that_runs_is_not_put_off() {
        let mut timers = timers();
        let at = |millis| Uptime::after(Duration::from_millis(millis));
        timers.arm(Timer::Turn, Dates::default(), moment(at(0)), 0);
        timers.arm(Timer::Turn, Dates::default(), moment(at(400)), 0);
        assert_eq!(timers.pop_due(at(500)), Some(Timer::Turn));
        timers.arm(Timer::Turn, Dates::default(), moment(at(600)), 0);
        assert_eq!(timers.end(Timer::Turn), Some(at(1100)));
    }

    #[test]
    fn a_release_is_as_far_off_as_the_node_says_and_never_further_than_the_flag() {
        let at = |seconds| Dates {
            release_at: Timestamp::from_second(seconds).ok(),
            ..Dates::default()
        };
        for (dates, seconds) in [
            (at(90), 90),
            (at(-90), 0),
            (at(100_000), 600),
            (Dates::default(), 0),
        ] {
            let (mut timers, now) = (timers(), Uptime::START);
            timers.arm(Timer::Release, dates, moment(now), 0);
            assert_eq!(
                timers.end(Timer::Release),
                Some(now + Duration::from_secs(seconds))
            );
        }
    }

    #[test]
    fn the_older_wish_has_the_shorter_turn() {
        let ages = [0, 1, 10, 60, 3600, 86_399, 86_400].map(Duration::from_secs);
        let turns = ages.map(turn);
        assert_eq!(turns[0], TURN_MAX);
        assert!(turns.is_sorted_by(|a, b| a > b), "{turns:?}");
        assert_eq!(turns[6], Duration::ZERO);
        assert_eq!(turn(Duration::from_secs(10_000_000)), Duration::ZERO);
    }

    #[test]
    fn a_turn_goes_by_when_the_wish_was_stamped() {
        let mut timers = timers();
        let dates = Dates {
            stamped: Timestamp::from_second(-3600).ok(),
            ..Dates::default()
        };
        timers.arm(Timer::Turn, dates, moment(Uptime::START), 0);
        let end = Uptime::START + turn(Duration::from_hours(1));
        assert_eq!(timers.end(Timer::Turn), Some(end));
        assert!(end < Uptime::START + TURN_MAX);
    }

    #[test]
    fn a_release_is_delayed_if_the_flag_gives_it_a_time() {
        let mut timing = timers().timing;
        assert!(timing.delays_release());
        timing.lock_release_delay = Duration::ZERO;
        assert!(!timing.delays_release());
    }

    #[test]
    fn wishes_of_one_age_have_turns_of_several_lengths() {
        let length = |random| {
            let mut timers = timers();
            timers.arm(Timer::Turn, Dates::default(), moment(Uptime::START), random);
            timers.end(Timer::Turn)
        };
        assert_eq!(length(0), Some(Uptime::START + TURN_MAX));
        assert_eq!(length(500), Some(Uptime::START + TURN_MAX / 2));
    }
}
