//! The time, which the tests stop, so that what is printed is always the same.

use jiff::Timestamp;

/// The time of the tests.
#[cfg(test)]
pub(crate) const STOPPED: &str = "2026-11-28T03:00:00Z";

/// The time now.
pub(crate) fn now() -> Timestamp {
    #[cfg(test)]
    return STOPPED.parse().expect("it is a time");
    #[cfg(not(test))]
    Timestamp::now()
}
