//! The request: the annotation by which a person asks for one reboot of a node, what it must say, and for how long it counts.
//!
//! A request is a second reason for a wish, beside the sentinel. Its time names it, so that it is used once.
//! Not here: who may write it ([`crate::admission`]), which requests were used ([`crate::lock::UsedRequests`]), and what the agent does
//! about one ([`crate::reboot::cycle`]).

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::keys;
use crate::node::NodeView;
use crate::quote::{QUOTED_MAX, always_quoted, one_line, quoted};

use super::is_created;

/// How long a request counts. A reboot that nobody could begin for a day may no longer be wanted, and a patch that somebody keeps in a file
/// becomes harmless by itself.
pub const REQUEST_AGE_MAX: SignedDuration = SignedDuration::from_hours(24);
/// How far ahead of the agent's clock a request may be. Clocks differ by less; a time that lies further ahead would count for longer than
/// [`REQUEST_AGE_MAX`].
pub const REQUEST_AHEAD_MAX: SignedDuration = SignedDuration::from_mins(5);

/// A parsed request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RebootRequest {
    /// When it was made. This is its identity: a request with the same or an earlier time is the same or an older one.
    pub at: Timestamp,
    /// What the person wrote after the time: who asks, and why. At most [`QUOTED_MAX`] characters of it.
    pub reason: String,
}

/// Why a request leads to no reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestFlaw {
    /// It does not begin with a time.
    NoTime,
    /// It gives no reason.
    NoReason,
    /// It is older than [`REQUEST_AGE_MAX`].
    Stale,
    /// Its time lies ahead by more than [`REQUEST_AHEAD_MAX`].
    Ahead,
    /// It was used, or is older than what the lock still remembers.
    Used,
    /// The agent runs without `--reboot-requests`.
    Off,
}

impl RequestFlaw {
    /// What is wrong with the request, for a message.
    pub fn as_str(self) -> &'static str {
        match self {
            RequestFlaw::NoTime => "it does not begin with a time such as 2026-11-30T08:00:00Z",
            RequestFlaw::NoReason => "it gives no reason",
            RequestFlaw::Stale => "it is older than 24 hours",
            RequestFlaw::Ahead => "its time lies in the future",
            RequestFlaw::Used => "it was used already, or is older than the lock remembers",
            RequestFlaw::Off => "the agent runs without --reboot-requests",
        }
    }
}

impl RebootRequest {
    /// Reads the text of the annotation. The error is what is wrong with its form.
    pub fn parse(text: &str) -> Result<RebootRequest, RequestFlaw> {
        let (time, reason) = text.split_once(' ').unwrap_or((text, ""));
        // In UTC alone, as the policy reads it too.
        let at = time
            .parse()
            .ok()
            .filter(|_| is_created(time) && time.ends_with('Z'));
        let at = at.ok_or(RequestFlaw::NoTime)?;
        // Trimmed before it is cut, and again, because what cannot be shown becomes blank.
        let shown = one_line(reason.trim(), QUOTED_MAX);
        match shown.trim() {
            "" => Err(RequestFlaw::NoReason),
            reason => Ok(RebootRequest {
                at,
                reason: reason.to_owned(),
            }),
        }
    }

    /// A request that is made now.
    pub fn new(at: Timestamp, reason: &str) -> RebootRequest {
        RebootRequest {
            at,
            reason: reason.to_owned(),
        }
    }

    /// What is wrong with the time of the request at this time; `None` if it counts.
    pub fn flaw(&self, now: Timestamp) -> Option<RequestFlaw> {
        let age = now.duration_since(self.at);
        if age > REQUEST_AGE_MAX {
            Some(RequestFlaw::Stale)
        } else if age < -REQUEST_AHEAD_MAX {
            Some(RequestFlaw::Ahead)
        } else {
            None
        }
    }

    /// What is wrong with the request at this time, where requests up to `used_up_to` were used; `None` if it counts.
    pub fn judged(&self, used_up_to: Option<Timestamp>, now: Timestamp) -> Option<RequestFlaw> {
        let is_used = used_up_to.is_some_and(|used| self.at <= used);
        is_used.then_some(RequestFlaw::Used).or_else(|| self.flaw(now))
    }

    /// How long it takes until the request counts or, if it does, until it no longer does; `None` if it is too old.
    pub fn changes_in(&self, now: Timestamp) -> Option<Duration> {
        let age = now.duration_since(self.at);
        let ends = [-REQUEST_AHEAD_MAX, REQUEST_AGE_MAX];
        let end = ends.into_iter().find(|end| age <= *end)?;
        // A second more: at the very end nothing has changed yet.
        let left = end
            .saturating_sub(age)
            .saturating_add(SignedDuration::from_secs(1));
        Duration::try_from(left).ok()
    }

    /// The request in words, for the account of the reboot.
    pub fn told(&self) -> String {
        format!("a request, {}", always_quoted(&self.reason, QUOTED_MAX))
    }
}

/// The text for the annotation.
impl fmt::Display for RebootRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.9} {}", self.at, one_line(&self.reason, QUOTED_MAX))
    }
}

/// The request on a Node. The error is what is wrong with its form.
pub fn reboot_request(node: &NodeView) -> Option<Result<RebootRequest, RequestFlaw>> {
    node.annotation(keys::REBOOT_WANTED).map(RebootRequest::parse)
}

/// Why the request on this Node would lead to no reboot if it were written now, as far as it says itself.
pub fn bad_request(node: &NodeView, now: Timestamp) -> Option<RequestFlaw> {
    match reboot_request(node)? {
        Ok(request) => request.flaw(now),
        Err(flaw) => Some(flaw),
    }
}

/// What the time of the request on this Node is, if the Node has one that can be read.
pub fn requested_at(node: &NodeView) -> Option<Timestamp> {
    reboot_request(node)?.ok().map(|request| request.at)
}

/// The command that asks for a reboot of this node now.
pub fn reboot_command(name: &str) -> String {
    format!("kubectl cordonhold reboot {} --reason TEXT", quoted(name))
}

/// What people are told of the request on this Node that has this flaw.
pub fn ignored_request(node: &NodeView, flaw: RequestFlaw) -> super::Ignored {
    let text = node.annotation(keys::REBOOT_WANTED).unwrap_or_default();
    let (key, text, why) = (keys::REBOOT_WANTED, quoted(text), flaw.as_str());
    let (purpose, command) = match flaw {
        RequestFlaw::Off => (
            "to take it off",
            format!("kubectl annotate node {} {key}-", quoted(node.name())),
        ),
        RequestFlaw::NoTime
        | RequestFlaw::NoReason
        | RequestFlaw::Stale
        | RequestFlaw::Ahead
        | RequestFlaw::Used => ("to ask for a reboot", reboot_command(node.name())),
    };
    super::Ignored {
        why: format!("{key} {text} does nothing: {why}"),
        purpose,
        command,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_request_is_a_time_and_a_reason() {
        let request = RebootRequest::parse("2026-11-30T08:00:00.000000001Z jo: new kernel ").unwrap();
        assert_eq!(
            (request.at, request.reason.as_str()),
            (at("2026-11-30T08:00:00.000000001Z"), "jo: new kernel")
        );
        assert_eq!(RebootRequest::parse(&request.to_string()), Ok(request));
        let blank = RebootRequest::parse("2026-11-30T08:00:00Z \u{19}new kernel").unwrap();
        assert_eq!(blank.reason, "new kernel");
        assert_eq!(RebootRequest::parse(&blank.to_string()), Ok(blank));
        for (text, flaw) in [
            ("", RequestFlaw::NoTime),
            ("true", RequestFlaw::NoTime),
            ("now please", RequestFlaw::NoTime),
            (" 2026-11-30T08:00:00Z x", RequestFlaw::NoTime),
            ("2026-11-30T10:00:00+02:00 x", RequestFlaw::NoTime),
            ("2026-11-30T08:00:00Z", RequestFlaw::NoReason),
            ("2026-11-30T08:00:00Z  ", RequestFlaw::NoReason),
            // Nobody would see this one.
            ("2026-11-30T08:00:00Z \u{19}", RequestFlaw::NoReason),
        ] {
            assert_eq!(RebootRequest::parse(text), Err(flaw), "{text:?}");
        }
    }

    #[test]
    fn a_request_counts_for_a_day_and_not_before_its_time() {
        let request = RebootRequest::new(at("2026-11-30T08:00:00Z"), "x");
        for (now, flaw) in [
            ("2026-11-30T07:54:59Z", Some(RequestFlaw::Ahead)),
            ("2026-11-30T07:55:00Z", None),
            ("2026-11-30T08:00:00Z", None),
            ("2026-12-01T08:00:00Z", None),
            ("2026-12-01T08:00:01Z", Some(RequestFlaw::Stale)),
        ] {
            assert_eq!(request.flaw(at(now)), flaw, "{now}");
        }
        // Its text names that day.
        assert!(RequestFlaw::Stale.as_str().contains("24 hours") && REQUEST_AGE_MAX.as_hours() == 24);
    }

    #[test]
    fn a_request_is_judged_anew_when_time_alone_changes_what_it_is() {
        let request = RebootRequest::new(at("2026-11-30T08:00:00Z"), "x");
        for now in [
            "2026-11-30T07:00:00Z",
            "2026-11-30T07:54:59Z",
            "2026-11-30T07:55:00Z",
            "2026-11-30T12:00:00Z",
            "2026-12-01T08:00:00Z",
        ] {
            let span = SignedDuration::try_from(request.changes_in(at(now)).unwrap()).unwrap();
            let then = at(now).saturating_add(span).unwrap();
            let just_before = then.saturating_sub(SignedDuration::from_secs(2)).unwrap();
            assert_ne!(request.flaw(then), request.flaw(just_before), "{now}");
        }
        assert_eq!(request.changes_in(at("2026-12-01T08:00:01Z")), None);
    }

    #[test]
    fn a_long_reason_is_cut() {
        let text = format!("2026-11-30T08:00:00Z {}", "ä".repeat(200_000));
        let request = RebootRequest::parse(&text).unwrap();
        assert_eq!(request.reason.chars().count(), QUOTED_MAX);
    }
}
