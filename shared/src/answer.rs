//! What a refusal of the API server means: to the cycle, and to a drain.
//!
//! Not here: how a request is sent, and what silence means (always [`Failure::Unknown`]).

use std::time::Duration;

use crate::cycle::Failure;
use crate::drain::Evicted;

/// The `Status` that answers a request which failed, as far as it is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusal<'a> {
    pub code: u16,
    pub reason: &'a str,
    pub message: &'a str,
    /// Of `details`: the object that it is about.
    pub name: &'a str,
    /// Of `details`: the first cause's message.
    pub cause: Option<&'a str>,
    pub retry_after_seconds: u32,
}

impl Refusal<'_> {
    /// `text` is what an operator reads.
    pub fn failure(&self, text: String) -> Failure {
        match (self.code, self.reason) {
            (409, _) => Failure::Conflict,
            // Only the API server itself knows what does not exist, not a proxy before it.
            (404, "NotFound") => Failure::NotFound,
            (408 | 429, _) => Failure::Unknown(text),
            (400..=499, _) => Failure::Refused(text),
            _ => Failure::Unknown(text),
        }
    }

    /// Whether a watch from this version can no longer be had.
    pub fn is_too_old(&self) -> bool {
        self.code == 410
    }

    /// Whether the API server says that the object of this name does not exist.
    pub fn is_gone(&self, name: &str) -> bool {
        self.code == 404 && self.reason == "NotFound" && self.name == name
    }

    /// What became of an eviction; `text` is what an operator reads.
    pub fn evicted(&self, text: String) -> Evicted {
        match (self.code, self.reason) {
            (404, "NotFound") => Evicted::Accepted,
            (429, _) => {
                let seconds = self.retry_after_seconds;
                Evicted::Blocked {
                    by: self.cause.unwrap_or(self.message).to_owned(),
                    retry_after: (seconds > 0).then(|| Duration::from_secs(u64::from(seconds))),
                }
            }
            _ => Evicted::Failed(text),
        }
    }
}
