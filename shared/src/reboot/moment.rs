//! Points in time: on the monotonic clock, by which every wait ends, and on the wall clock, for times that others read.
//!
//! A time span is a [`Duration`]. Not here: how long each timer is ([`crate::reboot::timers`]).

use std::ops::{Add, AddAssign};
use std::time::Duration;

use jiff::Timestamp;

/// A point in time on the monotonic clock, as the time since the clock began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uptime(Duration);

/// The same point in time on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// On the monotonic clock, by which every wait ends.
    pub now: Uptime,
    /// On the wall clock, by which times on the Node are given.
    pub wall: Timestamp,
}

impl Uptime {
    /// When the clock began.
    pub const START: Uptime = Uptime(Duration::ZERO);

    /// This long after the clock began.
    pub const fn after(span: Duration) -> Uptime {
        Uptime(span)
    }

    /// How long ago the clock began.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// How much later this is than `earlier`; zero if it is not later.
    pub const fn since(self, earlier: Uptime) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// This much later; `None` if that is out of range.
    pub fn checked_add(self, span: Duration) -> Option<Uptime> {
        self.0.checked_add(span).map(Uptime)
    }
}

/// This much later. What is out of range is as late as possible.
impl Add<Duration> for Uptime {
    type Output = Uptime;

    fn add(self, span: Duration) -> Uptime {
        Uptime(self.0.saturating_add(span))
    }
}

impl AddAssign<Duration> for Uptime {
    fn add_assign(&mut self, span: Duration) {
        *self = *self + span;
    }
}
