//! The state of a watch: from which version it goes on, and when it is retried.
//!
//! Not here: sending its requests (`shared/rt`), and what the watching program does on a change.

use std::time::Duration;

use crate::backoff::retry_pause;

/// The status code of an API server that no longer has the requested version (k8s.io/apimachinery: `NewResourceExpired`).
pub const TOO_OLD: u16 = 410;

/// A change of the watched objects.
#[derive(Clone, Debug)]
pub enum Change<T> {
    /// All objects that exist now. The watch begins, or begins again, with them.
    Listed(Vec<T>),
    /// This object was created or changed.
    Present(T),
    /// This object was deleted.
    Gone(T),
    /// Changes may have been missed since the previous one. A list follows.
    Gap,
}

/// How long the server keeps one request of a watch open, in seconds. Then the watch is resumed by another request; an idle watch sends no
/// others.
pub const REQUEST_SECONDS: u32 = 290;

/// Longest silence of a watch. The server sends a bookmark each minute (k8s.io/apiserver: pkg/storage/cacher/cacher.go,
/// `defaultBookmarkFrequency`), so a watch that is silent for longer is dead. Shorter than the read timeout of the client.
pub const SILENCE_BOUND: Duration = Duration::from_secs(80);

/// The position of a watch that lists once, then follows and resumes without end.
#[derive(Clone, Debug)]
pub struct Place {
    /// The version of the last list or event. `None`: the next request is a list.
    version: Option<String>,
    /// Failures since the watch last worked.
    failures: u32,
    /// For a watch of one object: whether to list again when it is deleted, because the next one of that name is another object.
    ends_with_object: bool,
}

/// How a watch is retried after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How long to pause before the next request, before jitter.
    pub pause: Duration,
    /// Whether the position was lost, so that [`Change::Gap`] must be reported.
    pub has_gap: bool,
}

impl Place {
    /// The position just after this version. `None`: the watch begins with a list.
    pub fn new(version: Option<String>, ends_with_object: bool) -> Place {
        Place {
            version,
            failures: 0,
            ends_with_object,
        }
    }

    /// The version after which the next request watches. `None`: the next request is a list.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Notes that a list of this version was read. The watch follows it at once.
    pub fn listed(&mut self, version: String) {
        self.version = Some(version);
    }

    /// Notes an event of this version; `is_gone`: it says that an object was deleted. Returns whether to end the request and list again.
    pub fn moved(&mut self, version: String, is_gone: bool) -> bool {
        self.failures = 0;
        let is_end = is_gone && self.ends_with_object;
        self.version = (!is_end).then_some(version);
        is_end
    }

    /// How long to pause after a request that the server ended as usual, before jitter.
    pub fn ended(&self) -> Duration {
        retry_pause(0)
    }

    /// Notes that a request failed, with this status code if the server answered.
    pub fn failed(&mut self, code: Option<u16>) -> Retry {
        let has_gap = code == Some(TOO_OLD);
        if has_gap {
            self.version = None;
            return Retry {
                pause: self.ended(),
                has_gap,
            };
        }
        let pause = retry_pause(self.failures);
        self.failures = self.failures.saturating_add(1);
        Retry { pause, has_gap }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(ends_with_object: bool) -> Place {
        Place::new(Some("5".to_owned()), ends_with_object)
    }

    #[test]
    fn a_watch_resumes_from_the_last_version_that_it_saw() {
        let mut place = place(false);
        assert_eq!(place.version(), Some("5"));
        assert!(!place.moved("6".to_owned(), false) && !place.moved("7".to_owned(), true));
        assert_eq!((place.version(), place.ended()), (Some("7"), retry_pause(0)));
    }

    #[test]
    fn a_failure_loses_no_place_and_pauses_grow_until_the_watch_works() {
        let mut place = place(false);
        let pauses = [None, Some(500), Some(429)].map(|code| place.failed(code));
        let retry = |failures| Retry {
            pause: retry_pause(failures),
            has_gap: false,
        };
        assert_eq!(pauses, [0, 1, 2].map(retry));
        assert_eq!(place.version(), Some("5"));
        let _ = place.moved("6".to_owned(), false);
        assert_eq!(place.failed(None), retry(0));
    }

    #[test]
    fn a_version_that_is_too_old_is_a_gap_and_then_a_list() {
        let mut place = place(false);
        let retry = place.failed(Some(TOO_OLD));
        assert_eq!((retry.has_gap, place.version()), (true, None));
        place.listed("9".to_owned());
        assert_eq!(place.version(), Some("9"));
    }

    #[test]
    fn a_watch_of_one_object_ends_with_it() {
        let mut place = place(true);
        assert!(!place.moved("6".to_owned(), false));
        assert!(place.moved("7".to_owned(), true));
        assert_eq!(place.version(), None);
    }
}
