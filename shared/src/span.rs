//! How long something has taken, for people: in its largest units.
//!
//! Not here: the durations of flags, which are Go's.

use jiff::SignedDuration;

/// A duration in words: `50 s`, `4 min`, `1 h 30 min`, `3 d 2 h`.
pub fn span(duration: SignedDuration) -> String {
    let (minutes, hours) = (duration.as_mins(), duration.as_hours());
    match (minutes, hours) {
        (0, _) => format!("{} s", duration.as_secs()),
        (_, 0) => format!("{minutes} min"),
        (_, 1..48) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{} d {} h", hours / 24, hours % 24),
    }
}

/// A duration for the column of a table: `50s`, `4m`, `1h30m`, `3d2h`.
pub fn short_span(duration: SignedDuration) -> String {
    span(duration).replace(" min", "m").replace([' '], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_its_two_largest_units() {
        for (seconds, long, short) in [
            (0, "0 s", "0s"),
            (59, "59 s", "59s"),
            (60, "1 min", "1m"),
            (3_599, "59 min", "59m"),
            (5_400, "1 h 30 min", "1h30m"),
            (172_799, "47 h 59 min", "47h59m"),
            (266_400, "3 d 2 h", "3d2h"),
        ] {
            let duration = SignedDuration::from_secs(seconds);
            assert_eq!(
                (span(duration).as_str(), short_span(duration).as_str()),
                (long, short)
            );
        }
    }
}
