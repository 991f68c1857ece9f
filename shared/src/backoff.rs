//! How long to pause before something that failed is tried again.
//!
//! Chance is passed in. Not here: what is tried, and how often.

use std::time::Duration;

/// The first pause before a request is tried again, and the longest.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// The pause before the try after this many, doubling up to a bound.
pub fn retry_pause(count: u32) -> Duration {
    doubled(RETRY_FIRST, count, RETRY_MAX)
}

/// A pause that doubles so many times, up to a bound.
pub fn doubled(first: Duration, times: u32, max: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times)).min(max)
}

/// Up to a fifth shorter, so that many agents do not come at once.
pub fn jittered(pause: Duration, random: u64) -> Duration {
    let thousandths = u32::try_from(random % 201).unwrap_or(0);
    pause.saturating_sub(pause / 1000 * thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_have_their_bounds() {
        assert_eq!(retry_pause(0), Duration::from_millis(200));
        assert_eq!(retry_pause(200), Duration::from_secs(10));
        for random in 0..1000 {
            let pause = jittered(Duration::from_secs(10), random);
            assert!(
                (Duration::from_secs(8)..=Duration::from_secs(10)).contains(&pause),
                "{pause:?}"
            );
        }
    }
}
