//! The agent's monotonic clock, and the host's boot clock.
//!
//! Not here: how long anything may take, see [`cordonhold_shared::reboot::timers`].

use std::time::Duration;

use cordonhold_shared::reboot::moment::{Moment, Uptime};
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, sleep_until};

/// A monotonic clock that starts with the agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock {
            start: Instant::now(),
        }
    }

    /// The time since the clock started.
    pub(crate) fn now(self) -> Uptime {
        Uptime::after(self.start.elapsed())
    }

    /// The present, by this clock and by the wall clock.
    pub(crate) fn moment(self) -> Moment {
        Moment {
            now: self.now(),
            wall: Timestamp::now(),
        }
    }

    /// Converts a time to a tokio `Instant`; `None` if it is too far away for one.
    pub(crate) fn instant(self, time: Uptime) -> Option<Instant> {
        self.start.checked_add(time.since_start())
    }

    /// Waits until this time; for ever if there is none.
    pub(crate) async fn at(self, time: Option<Uptime>) {
        match time.and_then(|time| self.instant(time)) {
            Some(end) => sleep_until(end).await,
            None => std::future::pending().await,
        }
    }
}

/// The time since the host's boot, including time asleep. It goes on across processes, so one can leave such a time for the next.
pub(crate) fn boot_clock() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}
