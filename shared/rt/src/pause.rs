//! Random pauses before a retry, so that many programs do not retry at the same moment.
//!
//! Not here: how long a pause is ([`cordonhold_shared::backoff`]).

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use cordonhold_shared::backoff::{jittered, retry_pause};

/// A random number, good enough to spread pauses: the standard library seeds each `RandomState` differently.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The pause, with jitter, before the retry after `failures` earlier failures.
pub fn before_retry(failures: u32) -> Duration {
    jittered(retry_pause(failures), random())
}
