//! A person's request for a reboot: whether an agent would act on it, and what is written.
//!
//! Not here: what a request says ([`crate::hold::RebootRequest`]), who may write it ([`crate::admission`]), and what the agent does about it
//! ([`crate::reboot::cycle`]).

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::Change;
use crate::fleet::PLUGIN;
use crate::hold::{self, Phase, RebootRequest};
use crate::keys;
use crate::node::NodeView;
use crate::quote::{QUOTED_MAX, always_quoted, quoted};

/// What is known of the node beside its Node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Around {
    /// Up to which time its requests were used, as the lock says.
    pub used_up_to: Option<Timestamp>,
    /// Whether its agents take requests (`--reboot-requests`); `None`: that could not be seen.
    pub takes_requests: Option<bool>,
}

/// Judges a request for a reboot of this node, made now; the patch is a JSON merge patch.
pub fn requested(node: &NodeView, around: Around, reason: &str, now: Timestamp) -> Change {
    let name = quoted(node.name());
    let refused = |why: &str, instead: String| Change::Refused {
        why: why.to_owned(),
        instead,
    };
    if around.takes_requests == Some(false) {
        let why = "its agent takes no requests: let it run with --reboot-requests (configuration.rebootRequests in the chart)";
        return refused(why, format!("{PLUGIN} why {name}"));
    }
    if node.label(keys::AGENT) == Some(keys::DISABLED) {
        let why = "a label keeps the agent off the node, so nobody would act on a request";
        return refused(why, format!("kubectl label node {name} {}-", keys::AGENT));
    }
    if hold::has_marks(node) {
        let is_wish = hold::read(node)
            .present()
            .is_some_and(|hold| hold.phase == Phase::Wanted);
        let why = if is_wish {
            "it wants a reboot already, and waits"
        } else {
            "it is held for a reboot already"
        };
        return refused(why, format!("{PLUGIN} why {name}"));
    }
    if let Some(there) = standing(node, around.used_up_to, now) {
        return Change::There { reason: there.reason };
    }
    // Later than the last one that was used, which a clock that was ahead may have made.
    let after = around
        .used_up_to
        .and_then(|used| used.checked_add(SignedDuration::from_nanos(1)).ok());
    let at = after.map_or(now, |after| after.max(now));
    let request = RebootRequest::new(at, reason);
    if request.flaw(now).is_some() {
        let why =
            "the last request that was used lies far ahead of the clock, so a new one would count as used";
        return refused(why, format!("{PLUGIN} why {name}"));
    }
    Change::Write {
        body: json!({ "metadata": {
            "resourceVersion": node.version(),
            "annotations": { keys::REBOOT_WANTED: request.to_string() },
        } }),
        then: then(node),
    }
}

/// The request on this Node that an agent may still act on.
pub fn standing(node: &NodeView, used_up_to: Option<Timestamp>, now: Timestamp) -> Option<RebootRequest> {
    let request = hold::reboot_request(node)?.ok()?;
    request.judged(used_up_to, now).is_none().then_some(request)
}

/// What the agent does about the request.
fn then(node: &NodeView) -> String {
    let waits = "the agent asks for a place in the lock, and waits for windows and blockers as for any reboot; \
                 within a day, or the request lapses";
    match node.annotation(keys::PAUSE) {
        Some(word) => format!(
            "{waits}; this node is paused: {}",
            always_quoted(word, QUOTED_MAX)
        ),
        None => waits.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-30T08:00:00Z";

    fn node(annotations: &[(&str, &str)]) -> NodeView {
        let mut node = NodeView::default();
        node.metadata.name = "n".to_owned();
        node.metadata.resource_version = "7".to_owned();
        for (key, value) in annotations {
            drop(
                node.metadata
                    .annotations
                    .insert((*key).to_owned(), (*value).to_owned()),
            );
        }
        node
    }

    fn asked(node: &NodeView, around: Around) -> Change {
        requested(node, around, "jo: new kernel", NOW.parse().unwrap())
    }

    fn why(change: Change) -> String {
        match change {
            Change::Refused { why, .. } => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_names_the_time_the_reason_and_the_version_that_was_looked_at() {
        let Change::Write { body, then } = asked(&node(&[(keys::PAUSE, "sale")]), Around::default()) else {
            panic!()
        };
        assert_eq!(
            body,
            json!({ "metadata": {
                "resourceVersion": "7",
                "annotations": { "cordonhold.dev/reboot-wanted": "2026-11-30T08:00:00.000000000Z jo: new kernel" },
            } })
        );
        assert!(then.contains("this node is paused: 'sale'"), "{then}");
    }

    #[test]
    fn a_request_that_nobody_would_act_on_is_refused() {
        let off = Around {
            takes_requests: Some(false),
            ..Around::default()
        };
        assert!(why(asked(&node(&[]), off)).contains("--reboot-requests"));
        let mut disabled = node(&[]);
        drop(
            disabled
                .metadata
                .labels
                .insert(keys::AGENT.to_owned(), keys::DISABLED.to_owned()),
        );
        assert!(why(asked(&disabled, Around::default())).contains("keeps the agent off"));
        for (phase, says) in [
            ("wanted", "wants a reboot"),
            ("draining", "is held"),
            ("x", "is held"),
        ] {
            let mut held = node(&[(keys::HOLDER, "u/2026-11-30T07:00:00Z")]);
            drop(
                held.metadata
                    .labels
                    .insert(keys::PHASE.to_owned(), phase.to_owned()),
            );
            let why = why(asked(&held, Around::default()));
            assert!(why.contains(says), "{phase}: {why}");
        }
    }

    #[test]
    fn a_request_is_later_than_the_last_that_was_used_also_if_that_was_ahead() {
        let used = |text: &str| Around {
            used_up_to: Some(text.parse().unwrap()),
            ..Around::default()
        };
        let Change::Write { body, .. } = asked(&node(&[]), used("2026-11-30T08:04:00Z")) else {
            panic!()
        };
        assert_eq!(
            body["metadata"]["annotations"][keys::REBOOT_WANTED],
            "2026-11-30T08:04:00.000000001Z jo: new kernel"
        );
        let why = why(asked(&node(&[]), used("2099-11-30T08:04:00Z")));
        assert!(why.contains("far ahead"), "{why}");
    }

    #[test]
    fn a_request_that_counts_is_there_already_and_one_that_does_not_is_written_over() {
        let there = node(&[(keys::REBOOT_WANTED, "2026-11-30T07:00:00Z al: disk")]);
        let reason = "al: disk".to_owned();
        assert_eq!(asked(&there, Around::default()), Change::There { reason });
        let used = Around {
            used_up_to: Some("2026-11-30T07:00:00Z".parse().unwrap()),
            ..Around::default()
        };
        assert!(matches!(asked(&there, used), Change::Write { .. }));
        for text in [
            "2026-11-28T07:00:00Z al: disk",
            "2026-11-30T09:00:00Z al: disk",
            "please",
        ] {
            let node = node(&[(keys::REBOOT_WANTED, text)]);
            assert!(
                matches!(asked(&node, Around::default()), Change::Write { .. }),
                "{text}"
            );
        }
    }
}
