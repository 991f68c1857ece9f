//! Random numbers: everything random in a run comes from here, in a fixed order from one seed.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random(ChaCha8Rng);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(ChaCha8Rng::seed_from_u64(seed))
    }

    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub fn bits(&mut self) -> u128 {
        (u128::from(self.number()) << 64) | u128::from(self.number())
    }

    /// A random number from 0 up to, not including, `end`; 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        let product = u128::from(self.number()) * u128::from(end);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// A random index into something of this length; 0 if it is empty.
    pub fn index(&mut self, length: usize) -> usize {
        let end = u64::try_from(length).unwrap_or(u64::MAX);
        usize::try_from(self.below(end)).unwrap_or(0)
    }

    /// `true` with this probability, in 10 000ths.
    pub fn chance(&mut self, of_10_000: u32) -> bool {
        of_10_000 > 0 && self.below(10_000) < u64::from(of_10_000)
    }

    /// A random one of the choices, all equally likely; `None` if there are none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(self.index(choices.len()))
    }

    /// A random time span between `from` and `to`.
    pub fn between(&mut self, from: Duration, to: Duration) -> Duration {
        let span = u64::try_from(to.saturating_sub(from).as_micros()).unwrap_or(u64::MAX);
        from + Duration::from_micros(self.below(span))
    }

    pub(crate) fn millis(&mut self, from: u64, to: u64) -> Duration {
        self.between(Duration::from_millis(from), Duration::from_millis(to))
    }

    pub(crate) fn seconds(&mut self, from: u64, to: u64) -> Duration {
        self.between(Duration::from_secs(from), Duration::from_secs(to))
    }
}
