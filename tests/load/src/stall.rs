//! Finds when the load itself stood still because its core was taken from it. What was under way then took longer, and not by the server.
//!
//! A thread that runs spends processor time as fast as time goes by. Not here: a server that stands still, during which we go on.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A shorter time without the core is not told from the time that an interrupt takes.
const SHORTEST: Duration = Duration::from_micros(100);

/// When the load last stood still.
pub(crate) struct Stalls {
    looked: Instant,
    spent: Duration,
    over: Instant,
}

impl Stalls {
    pub(crate) fn begin() -> Self {
        let now = Instant::now();
        Self {
            looked: now,
            spent: spent(),
            over: now,
        }
    }

    /// Finds out whether the load stood still since the last look. It must not have slept.
    pub(crate) fn look(&mut self) {
        self.ran_until(Instant::now(), spent());
    }

    fn ran_until(&mut self, now: Instant, spent: Duration) {
        let stood = (now - self.looked).saturating_sub(spent.saturating_sub(self.spent));
        (self.looked, self.spent) = (now, spent);
        if stood >= SHORTEST {
            // What has gathered meanwhile is sent at once, and the server needs a while for it.
            self.over = now + stood;
        }
    }

    /// Whether the load has run since this moment, and that had no part in an earlier stall.
    pub(crate) fn is_after(&self, moment: Instant) -> bool {
        moment >= self.over
    }
}

/// The processor time that this thread has spent.
fn spent() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_due_before_the_end_of_a_stall_does_not_count() {
        let begin = Instant::now();
        let at = |micros| begin + Duration::from_micros(micros);
        let mut stalls = Stalls {
            looked: begin,
            spent: Duration::ZERO,
            over: begin,
        };
        // It ran all the time but for an interrupt.
        stalls.ran_until(at(5000), Duration::from_micros(4950));
        assert!(stalls.is_after(begin));
        // Of three milliseconds it ran one. For as long as it stood still, the server makes up for that.
        stalls.ran_until(at(8000), Duration::from_micros(5950));
        assert!(!stalls.is_after(at(8000)) && !stalls.is_after(at(9900)) && stalls.is_after(at(10_000)));
    }
}
