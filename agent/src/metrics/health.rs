//! What the loop does at the moment, and whether that has taken too long.
//!
//! The agent has one thread: where that hangs, nothing answers here, which a probe sees as well.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use cordonhold_rt::sync::locked;

/// Longest request of the loop: each has a shorter bound of its own, the reboot command's minute being the longest.
const REQUEST_MAX: Duration = Duration::from_secs(300);

/// What the loop does.
#[derive(Debug)]
pub(crate) struct Health(Mutex<Doing>);

#[derive(Clone, Debug)]
enum Doing {
    /// It has not begun: reaching the API server, waiting for the host, asking for permissions.
    Starting,
    Waiting,
    Asking {
        what: &'static str,
        since: Instant,
    },
}

/// What a probe is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) is_well: bool,
    pub(crate) text: String,
}

impl Health {
    pub(crate) fn new() -> Health {
        Health(Mutex::new(Doing::Starting))
    }

    /// The loop waits for an event.
    pub(crate) fn waiting(&self) {
        self.set(Doing::Waiting);
    }

    /// The loop waits for the answer to the request of this name.
    pub(crate) fn asking(&self, what: &'static str) {
        self.set(Doing::Asking {
            what,
            since: Instant::now(),
        });
    }

    /// Whether to let the process live.
    pub(crate) fn live(&self, now: Instant) -> Said {
        let (is_well, text) = match self.doing() {
            Doing::Starting => (
                true,
                "starting: waiting for the host or the API server".to_owned(),
            ),
            Doing::Waiting => (true, "the loop waits for an event".to_owned()),
            Doing::Asking { what, since } => {
                let waited = now.saturating_duration_since(since);
                let text = format!("the loop has waited for {what} for {} s", waited.as_secs());
                (waited <= REQUEST_MAX, text)
            }
        };
        Said { is_well, text }
    }

    /// Whether the node is being looked after.
    pub(crate) fn ready(&self, now: Instant) -> Said {
        let live = self.live(now);
        Said {
            is_well: live.is_well && !matches!(self.doing(), Doing::Starting),
            text: live.text,
        }
    }

    fn doing(&self) -> Doing {
        locked(&self.0).clone()
    }

    fn set(&self, doing: Doing) {
        *locked(&self.0) = doing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_never_ends_makes_the_agent_sick() {
        let health = Health::new();
        let after = |pause| Instant::now() + pause;
        let is_well = |pause| {
            (
                health.live(after(pause)).is_well,
                health.ready(after(pause)).is_well,
            )
        };
        assert_eq!(is_well(Duration::ZERO), (true, false));
        health.waiting();
        assert_eq!(is_well(REQUEST_MAX * 2), (true, true));

        health.asking("ReadPeer");
        assert_eq!(is_well(REQUEST_MAX / 2), (true, true));
        assert_eq!(is_well(REQUEST_MAX + Duration::from_secs(1)), (false, false));
        let said = health.live(after(Duration::from_secs(1)));
        assert!(
            said.text.starts_with("the loop has waited for ReadPeer for "),
            "{}",
            said.text
        );
    }
}
