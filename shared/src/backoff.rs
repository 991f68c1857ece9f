//! How long to pause before a retry. Random bits are an argument.
//!
//! Not here: what is retried, and how often.

use std::time::Duration;

/// The shortest pause before a retry. The longest is `RETRY_MAX`.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// The pause before the retry number `count`, counted from 0: 200 ms, doubling up to 10 s.
pub fn retry_pause(count: u32) -> Duration {
    doubled(RETRY_FIRST, count, RETRY_MAX)
}

/// The pause `first`, doubled `times` times, at most `max`.
pub fn doubled(first: Duration, times: u32, max: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times)).min(max)
}

/// The pause, up to a fifth shorter by chance, so that many agents do not retry at the same moment.
pub fn jittered(pause: Duration, random: u64) -> Duration {
    shortened(pause, random % 201)
}

/// The pause, up to half shorter by chance, so that of many agents who wait for the same thing one comes first.
pub fn spread(pause: Duration, random: u64) -> Duration {
    shortened(pause, random % 501)
}

fn shortened(pause: Duration, thousandths: u64) -> Duration {
    let thousandths = u32::try_from(thousandths).unwrap_or(0);
    pause.saturating_sub(pause / 1000 * thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_have_their_bounds() {
        assert_eq!(retry_pause(0), Duration::from_millis(200));
        assert_eq!(retry_pause(200), Duration::from_secs(10));
        for random in (0..1000).chain([1_000_000, u64::MAX]) {
            let pause = jittered(Duration::from_secs(10), random);
            assert!(
                (Duration::from_secs(8)..=Duration::from_secs(10)).contains(&pause),
                "{pause:?}"
            );
            let pause = spread(Duration::from_secs(10), random);
            assert!(
                (Duration::from_secs(5)..=Duration::from_secs(10)).contains(&pause),
                "{pause:?}"
            );
        }
        assert_eq!(spread(Duration::from_secs(10), 500), Duration::from_secs(5));
    }
}
