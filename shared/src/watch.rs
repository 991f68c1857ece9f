//! What a watch of some objects tells of them, and how it is kept up: where it has come to, and when it is tried again.
//!
//! Not here: how its requests are sent, and what follows from a change.

use std::time::Duration;

use crate::backoff::retry_pause;

/// The code by which an API server says that it no longer has a version (k8s.io/apimachinery: `NewResourceExpired`).
pub const TOO_OLD: u16 = 410;

/// What became known of the objects that are watched.
#[derive(Clone, Debug)]
pub enum Change<T> {
    /// All there is, now: the watch begins here.
    Listed(Vec<T>),
    /// This object was created or changed.
    Present(T),
    /// This object was deleted.
    Gone(T),
    /// What happened between the last change and the next is unknown.
    Gap,
}

/// How long the server keeps one request of a watch. To resume costs another, which is all that an idle watch asks for.
pub const REQUEST_SECONDS: u32 = 290;

/// Longest silence of a watch: the server sends a bookmark each minute (k8s.io/apiserver: pkg/storage/cacher/cacher.go,
/// `defaultBookmarkFrequency`), so one that is silent for longer is dead. Below the client's own bound on silence.
pub const SILENCE_BOUND: Duration = Duration::from_secs(80);

/// Where a watch has come to. It never ends: it lists, follows, and resumes.
#[derive(Clone, Debug)]
pub struct Place {
    /// Of the last list or event; without one, the watch begins with a list.
    version: Option<String>,
    /// Counts what failed since the watch last worked.
    failures: u32,
    /// Where one object is watched, its end is an end of the watch too: the next one is another object.
    ends_with_object: bool,
}

/// How a watch goes on after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How long to pause before the next request, but for chance.
    pub pause: Duration,
    /// [`Change::Gap`] is to be told: its place was lost.
    pub has_gap: bool,
}

impl Place {
    /// Just after this version, or before a list of what is there.
    pub fn new(version: Option<String>, ends_with_object: bool) -> Place {
        Place {
            version,
            failures: 0,
            ends_with_object,
        }
    }

    /// The next request watches from just after this version; without one, it lists.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// A list of this version was told; it is followed at once.
    pub fn listed(&mut self, version: String) {
        self.version = Some(version);
    }

    /// The server said something as of this version, perhaps that an object is gone; whether the request ends with that.
    pub fn moved(&mut self, version: String, is_gone: bool) -> bool {
        self.failures = 0;
        let is_end = is_gone && self.ends_with_object;
        self.version = (!is_end).then_some(version);
        is_end
    }

    /// A request has ended, as each does: how long to pause before the next, but for chance.
    pub fn ended(&self) -> Duration {
        retry_pause(0)
    }

    /// A request failed, with this code if the server answered.
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
