//! Pauses before something is tried again, spread by chance so that many programs do not come at once.
//!
//! Not here: how long they are ([`cordonhold_shared::backoff`]).

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use cordonhold_shared::backoff::{jittered, retry_pause};

/// A random number. The standard library seeds each `RandomState` anew, which is random enough to spread pauses.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// How long to pause before the try after this many failures.
pub fn before_retry(failures: u32) -> Duration {
    jittered(retry_pause(failures), random())
}
