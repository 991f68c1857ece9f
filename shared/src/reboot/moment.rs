//! When something is: on a monotonic clock, by which pauses end, and on the wall clock, which others read too.
//!
//! A span is a [`Duration`]. Not here: how long anything takes ([`crate::reboot::timers`]).

use std::ops::{Add, AddAssign};
use std::time::Duration;

use jiff::Timestamp;

/// A moment on a monotonic clock that began at some start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uptime(Duration);

/// Now, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// By which every pause ends.
    pub now: Uptime,
    /// By which the Node and the API server name times.
    pub wall: Timestamp,
}

impl Uptime {
    /// When the clock began.
    pub const START: Uptime = Uptime(Duration::ZERO);

    /// So long after the start.
    pub const fn after(span: Duration) -> Uptime {
        Uptime(span)
    }

    /// How long ago the clock began.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// How much later this is; zero if it is not.
    pub const fn since(self, earlier: Uptime) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// None where no clock gets that far.
    pub fn checked_add(self, span: Duration) -> Option<Uptime> {
        self.0.checked_add(span).map(Uptime)
    }
}

/// What is out of reach is as far off as can be.
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
