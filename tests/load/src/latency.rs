//! What was measured, as one object of JSON.

use std::time::Duration;

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use serde::Serialize;

/// The longest latency that is told apart. A request is given up after that.
pub(crate) const LONGEST: Duration = Duration::from_secs(30);
const DIGITS: u8 = 3;

/// Latencies of answers, and how many requests had none.
pub(crate) struct Latencies {
    microseconds: Histogram<u64>,
    disturbed: u64,
    failed: u64,
    first_failure: Option<String>,
}

/// Latencies in microseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    answered: u64,
    /// Of these, those whose latency does not count.
    disturbed: u64,
    failed: u64,
    seconds: f64,
    p50: u64,
    p99: u64,
    p999: u64,
    longest: u64,
}

impl Latencies {
    pub(crate) fn new() -> Result<Self> {
        let longest = u64::try_from(LONGEST.as_micros()).context("the longest latency")?;
        Ok(Self {
            microseconds: Histogram::new_with_max(longest, DIGITS).context("failed to make a histogram")?,
            disturbed: 0,
            failed: 0,
            first_failure: None,
        })
    }

    pub(crate) fn answered(&mut self, after: Duration) {
        let after = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.saturating_record(after);
    }

    /// An answer whose latency is more than the server's.
    pub(crate) fn disturbed(&mut self) {
        self.disturbed += 1;
    }

    pub(crate) fn failed(&mut self, why: &anyhow::Error) {
        self.failed += 1;
        let _: &mut String = self.first_failure.get_or_insert_with(|| format!("{why:#}"));
    }

    /// The first failure, if there was one.
    pub(crate) fn why(&self) -> Option<&str> {
        self.first_failure.as_deref()
    }

    pub(crate) fn measured(&self, time: Duration) -> Measured {
        let at = |quantile| self.microseconds.value_at_quantile(quantile);
        Measured {
            answered: self.microseconds.len() + self.disturbed,
            disturbed: self.disturbed,
            failed: self.failed,
            seconds: time.as_secs_f64(),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            longest: self.microseconds.max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_percentile_is_the_latency_that_so_many_were_below() {
        let mut latencies = Latencies::new().unwrap();
        for number in 1..=1000 {
            latencies.answered(Duration::from_micros(number * 10));
        }
        let measured = latencies.measured(Duration::from_secs(2));
        let near = |actual: u64, exact: u64| actual.abs_diff(exact) <= exact / 500;
        assert!(
            near(measured.p50, 5000) && near(measured.p99, 9900),
            "{measured:?}"
        );
        assert!(
            near(measured.p999, 9990) && measured.answered == 1000,
            "{measured:?}"
        );
    }
}
