//! Whether a reboot may begin now by its windows, when that is looked at again, and how long the last reboot took.
//!
//! It costs no call: the cycle is told when a window opens or closes, and until one opens it asks for nothing.
//! Not here: when a window is open ([`crate::reboot::window`]), and what the cycle does while none is.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::Reading;
use crate::lock::Entry;
use crate::reboot::blocker::Blocker;
use crate::reboot::cycle::{Event, Report};
use crate::reboot::lock_object::LockView;
use crate::reboot::moment::{Moment, Uptime};
use crate::reboot::window::{MustEnd, Windows};

/// The windows of an agent, and what it knows of the length of a reboot.
#[derive(Debug)]
pub(super) struct Gate {
    windows: Windows,
    must_end: Option<MustEnd>,
    /// When the lock was acquired for the reboot that is under way.
    began: Option<Timestamp>,
    /// Whether the host has booted for that reboot.
    has_booted: bool,
    /// How long the last reboot took, from the lock to the cordon given back.
    took: Option<SignedDuration>,
    /// What the cycle was told last; at first, that a window is open.
    told: Option<Blocker>,
    /// From when to when what was told holds. Outside of that, it is looked at again.
    holds: Option<(Timestamp, Timestamp)>,
    /// When the clock is looked at again.
    wake: Uptime,
}

/// Longest time between two looks at the wall clock while something waits: a clock that is set is noticed within it.
const CLOCK_LOOK: Duration = Duration::from_mins(1);
/// Longest time that what was told holds while a window is open.
const OPEN_LOOK: SignedDuration = SignedDuration::from_hours(1);
/// How far the agents spread by chance when a window opens, so that they do not all ask the API server in the same second. As long as
/// the first pause between two looks at the lock.
const SPREAD: Duration = Duration::from_secs(10);

impl Gate {
    pub(super) fn new(windows: Windows, must_end: Option<MustEnd>) -> Gate {
        Gate {
            windows,
            must_end,
            began: None,
            has_booted: false,
            took: None,
            told: None,
            holds: None,
            wake: Uptime::START,
        }
    }

    /// What the cycle is to be told, if it is news. `number` is random.
    pub(super) fn news(&mut self, at: Moment, number: u64) -> Option<Event> {
        if self.windows.is_empty() {
            return None;
        }
        if let Some((from, to)) = self.holds
            && from <= at.wall
            && at.wall < to
        {
            self.wake = wake(at, to);
            return None;
        }
        let outside = self.outside(at.wall);
        let end = match self.opens(at.wall) {
            Some(opens) if outside.is_some() => {
                let thousandths = u32::try_from(number % 1001).unwrap_or(0);
                opens.saturating_add(SPREAD / 1000 * thousandths)
            }
            Some(_) => self.shuts(at.wall),
            None => at.wall.saturating_add(OPEN_LOOK),
        };
        let end = end.unwrap_or(Timestamp::MAX);
        self.holds = Some((at.wall, end));
        self.wake = wake(at, end);
        (outside != self.told).then(|| {
            self.told.clone_from(&outside);
            Event::Window(outside)
        })
    }

    /// Until when no reboot may begin; `None` if one may now.
    pub(super) fn shut_until(&self, wall: Timestamp) -> Option<Timestamp> {
        let is_shut = self.outside(wall).is_some();
        is_shut.then(|| self.opens(wall).unwrap_or(Timestamp::MAX))
    }

    /// When the clock is to be looked at again, while something waits for it.
    pub(super) fn next_wake(&self) -> Option<Uptime> {
        (!self.windows.is_empty()).then_some(self.wake)
    }

    /// What blocks a reboot at this moment, if no window is open, or none for long enough.
    pub(super) fn outside(&self, wall: Timestamp) -> Option<Blocker> {
        if self.windows.fits(wall, self.needs(wall)) {
            return None;
        }
        let opens = self.opens(wall);
        Some(Blocker::OutsideWindow {
            windows: self.windows.to_string(),
            opens: opens.map(|opens| self.windows.show(opens)),
            // The whole time, which stays the same while a reboot is under way, so that it is not told anew again and again.
            needs: self.whole(),
        })
    }

    /// When a reboot may begin next, or go on; this moment if it may now.
    fn opens(&self, wall: Timestamp) -> Option<Timestamp> {
        self.windows.opens_for(wall, self.needs(wall))
    }

    /// When a reboot may not begin any more, or be looked at again, while one may now.
    fn shuts(&self, wall: Timestamp) -> Result<Timestamp, jiff::Error> {
        let needs = self.needs(wall);
        match self.windows.closes(wall, needs.saturating_add(OPEN_LOOK)) {
            // The first moment from which it does not fit any more.
            Some(closes) => closes
                .checked_sub(needs)?
                .checked_add(SignedDuration::from_nanos(1)),
            None => wall.checked_add(OPEN_LOOK),
        }
    }

    /// How much of the window a reboot still needs. One that is under way has used a part of it.
    fn needs(&self, wall: Timestamp) -> SignedDuration {
        let used = self.began.map(|began| wall.duration_since(began));
        let used = used.unwrap_or_default().max(SignedDuration::ZERO);
        let left = self.whole().unwrap_or_default().saturating_sub(used);
        left.max(SignedDuration::ZERO)
    }

    /// How long a reboot that has to end in a window takes, if that is known.
    fn whole(&self) -> Option<SignedDuration> {
        match self.must_end {
            None => None,
            Some(MustEnd::Expected(span)) => Some(span),
            Some(MustEnd::AsLastTime) => self.took,
        }
    }

    /// Learns from what the cycle reports when a reboot began, and how long it took.
    pub(super) fn note(&mut self, report: &Report, wall: Timestamp) {
        if *report == Report::Locked {
            (self.began, self.has_booted) = (Some(wall), false);
        } else if matches!(report, Report::Booted(_) | Report::Returned) {
            self.has_booted = true;
        } else if matches!(report, Report::GivenBack { .. }) {
            let took = self.began.map(|began| wall.duration_since(began));
            let took = took.filter(|took| self.has_booted && took.is_positive());
            // Whole seconds are enough, and are read more easily.
            let took = took.map(|took| SignedDuration::from_secs(took.as_secs().saturating_add(1)));
            self.took = took.or(self.took);
            self.end();
        } else if matches!(report, Report::CalledOff(_) | Report::Released) {
            self.end();
        }
    }

    /// Learns from the lock when the reboot of the hold stamped then began: an earlier process may have acquired it.
    pub(super) fn learn(&mut self, lock: &LockView, node: &str, stamped: Option<Timestamp>) {
        let Reading::Present(record) = &lock.record else {
            return;
        };
        let is_of_hold = |entry: &&Entry| stamped.is_some() && entry.created.parse().ok() == stamped;
        let entry = record.of_node(node).filter(is_of_hold);
        let acquired = entry.and_then(|entry| entry.acquired.parse().ok());
        self.began = acquired.or(self.began);
    }

    /// The reboot is over. The next one needs its whole time again.
    fn end(&mut self) {
        (self.began, self.has_booted, self.holds) = (None, false, None);
    }
}

/// When to look at the clock again for something that is due then.
fn wake(at: Moment, due: Timestamp) -> Uptime {
    let until = due.duration_since(at.wall).try_into().unwrap_or(Duration::ZERO);
    at.now + until.min(CLOCK_LOOK)
}
