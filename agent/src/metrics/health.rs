//! The agent's health: what its loop is doing, and whether that has taken too long.
//!
//! If the agent's only thread hangs, nothing answers at all, and a probe fails for that reason.
//! Not here: the HTTP endpoint ([`super::server`]).

use std::sync::Mutex;
use std::time::{Duration, Instant};

use cordonhold_rt::sync::locked;

/// Longest wait of the loop for one answer. Every request has a shorter limit of its own; the longest is a minute, for the
/// reboot command and the sentinel's command.
const REQUEST_MAX: Duration = Duration::from_secs(300);

/// The health of the agent: what its loop is doing.
#[derive(Debug)]
pub(crate) struct Health(Mutex<Doing>);

#[derive(Clone, Debug)]
enum Doing {
    /// The loop has not begun: the agent waits for the host or the API server, or asks for its permissions.
    Starting,
    /// The loop waits for an event.
    Waiting,
    /// The loop waits for an answer, since this time.
    Asking { what: &'static str, since: Instant },
}

/// The answer to a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) is_well: bool,
    pub(crate) text: String,
}

impl Health {
    pub(crate) fn new() -> Health {
        Health(Mutex::new(Doing::Starting))
    }

    /// Notes that the loop waits for an event.
    pub(crate) fn waiting(&self) {
        self.set(Doing::Waiting);
    }

    /// Notes that the loop waits, from now on, for the answer to this request.
    pub(crate) fn asking(&self, what: &'static str) {
        self.set(Doing::Asking {
            what,
            since: Instant::now(),
        });
    }

    /// The answer to the liveness probe: bad if the loop has waited too long for an answer.
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

    /// The answer to the readiness probe: good once the loop has begun, while the liveness probe is good.
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
