//! Durations on the command line in Go's syntax: `90s`, `1h30m`, `1.5h`, `100ms`, `0`.
//!
//! kured's flags are Go durations, and its arguments must keep their meaning. Negative durations are refused, because no flag needs one.

use std::time::Duration;

/// Units as in Go's `time.ParseDuration`, in nanoseconds.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000), // U+00B5
    ("μs", 1_000), // U+03BC
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Longest duration in nanoseconds. Go has the same limit, a signed 64-bit number: about 292 years.
const MAX_NANOS: u128 = i64::MAX as u128;
/// Digits of a fraction that are read. More of them make no difference in nanoseconds, even in a fraction of an hour.
const MAX_FRACTION_DIGITS: usize = 15;

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum ParseError {
    #[error("an empty duration: write one like 90s, 1h30m or 0")]
    Empty,
    #[error("{text:?} is negative: write a duration of 0 or more, like 90s")]
    Negative { text: String },
    #[error("{text:?} lacks a unit: write one of ns, us, ms, s, m, h, like {text}s")]
    NoUnit { text: String },
    #[error("{text:?} has the unknown unit {unit:?}: use ns, us, ms, s, m, h, like 90s or 1h30m")]
    UnknownUnit { text: String, unit: String },
    #[error("{text:?} is not a duration: write one like 90s, 1h30m or 0")]
    NotANumber { text: String },
    #[error("{text:?} is too long: a duration is at most about 292 years")]
    TooLong { text: String },
}

/// Parses a Go duration. Fits clap's `value_parser`.
pub fn parse(text: &str) -> Result<Duration, ParseError> {
    let owned = || text.to_owned();
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    if unsigned.is_empty() {
        return Err(ParseError::Empty);
    }
    if unsigned.starts_with('-') {
        return Err(ParseError::Negative { text: owned() });
    }
    if unsigned == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = unsigned;
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let number_end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        if number.is_empty() {
            return Err(ParseError::NotANumber { text: owned() });
        }
        if unit.is_empty() {
            return Err(ParseError::NoUnit { text: owned() });
        }
        let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(ParseError::UnknownUnit {
                text: owned(),
                unit: unit.to_owned(),
            });
        };
        nanos = nanos.saturating_add(part(text, number, *scale)?);
        rest = after;
    }
    if nanos > MAX_NANOS {
        return Err(ParseError::TooLong { text: owned() });
    }
    let nanos = u64::try_from(nanos).map_err(|_| ParseError::TooLong { text: owned() })?;
    Ok(Duration::from_nanos(nanos))
}

/// One part such as `1.5h` in nanoseconds, rounded down as in Go.
fn part(text: &str, number: &str, scale: u128) -> Result<u128, ParseError> {
    let not_a_number = || ParseError::NotANumber {
        text: text.to_owned(),
    };
    let too_long = || ParseError::TooLong {
        text: text.to_owned(),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return Err(not_a_number());
    }
    let whole: u128 = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| too_long())?
    };
    let fraction = &fraction[..fraction.len().min(MAX_FRACTION_DIGITS)];
    let digits = u32::try_from(fraction.len()).map_err(|_| not_a_number())?;
    let fraction: u128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().map_err(|_| not_a_number())?
    };
    let whole = whole.checked_mul(scale).ok_or_else(too_long)?;
    whole
        .checked_add(fraction * scale / 10_u128.pow(digits))
        .ok_or_else(too_long)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_mean_what_they_mean_in_go() {
        for (text, nanos) in [
            ("0", 0),
            ("+0", 0),
            ("0s", 0),
            ("90s", 90_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("100ms", 100_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1us", 1_000),
            ("1µs", 1_000),
            ("0.1ns", 0),
            ("0.3333333333333333333h", 1_200_000_000_000 - 1),
            ("2540400h10m10s", 9_145_440_610_000_000_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn a_wrong_duration_is_named_with_its_fix() {
        assert_eq!(parse(""), Err(ParseError::Empty));
        for (text, says) in [
            ("-5s", "negative"),
            ("90", "90s"),
            ("1h30", "unit"),
            ("5 s", "unknown unit"),
            ("5d", "unknown unit"),
            ("s", "not a duration"),
            (".s", "not a duration"),
            ("1.2.3s", "not a duration"),
            ("soon", "not a duration"),
            ("9999999999999h", "too long"),
            ("99999999999999999999999999999999999999999999s", "too long"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
