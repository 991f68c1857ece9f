//! The agent's monotonic clock, as times since its start, and its chance.
//!
//! Not here: how long anything takes ([`cordonhold_shared::timers`]).

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Times since its start.
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

    pub(crate) fn now(self) -> Duration {
        self.start.elapsed()
    }

    /// As the host's commands want it; a time out of reach is none.
    pub(crate) fn instant(self, time: Duration) -> Option<Instant> {
        self.start.checked_add(time)
    }

    /// At this time, or never.
    pub(crate) async fn at(self, time: Option<Duration>) {
        match time.and_then(|time| self.instant(time)) {
            Some(end) => sleep_until(end).await,
            None => std::future::pending().await,
        }
    }
}

/// The standard library seeds each `RandomState` anew; that is random enough to spread pauses.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
