//! The agent's monotonic clock, and the host's boot clock.
//!
//! Not here: how long anything takes ([`cordonhold_shared::reboot::timers`]).

use std::time::Duration;

use cordonhold_shared::reboot::moment::Uptime;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, sleep_until};

/// A monotonic clock that began with the agent.
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

    pub(crate) fn now(self) -> Uptime {
        Uptime::after(self.start.elapsed())
    }

    /// As the host's commands want it; a time out of reach is none.
    pub(crate) fn instant(self, time: Uptime) -> Option<Instant> {
        self.start.checked_add(time.since_start())
    }

    /// At this time, or never.
    pub(crate) async fn at(self, time: Option<Uptime>) {
        match time.and_then(|time| self.instant(time)) {
            Some(end) => sleep_until(end).await,
            None => std::future::pending().await,
        }
    }
}

/// Since the host's boot, the time that it slept included: one process can leave such a time for the next.
pub(crate) fn boot_clock() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}
