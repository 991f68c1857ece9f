//! The cancel: the annotation by which a person ends a hold, what it must say, and what is wrong with one that has no effect.
//!
//! A cancel names the hold, so that it never ends a later one. One that names no hold has no effect, because it may be older than the
//! hold on the Node.
//! Not here: who may write a cancel ([`crate::admission`]), and what the agent does about it ([`crate::reboot::cycle`]).

use std::fmt;

use super::{is_created, read};
use crate::Reading;
use crate::keys;
use crate::node::NodeView;
use crate::quote::{QUOTED_MAX, always_quoted, one_line, quoted};

/// What a cancel names instead of `created` if the holder cannot be read. Without it, a broken hold could not be cancelled.
pub const UNREADABLE: &str = "unreadable";

/// Placeholder for the reason in a command to copy.
const YOUR_REASON: &str = "<your reason>";

/// A parsed cancel annotation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cancel {
    /// The `created` of the hold that the cancel ends, or [`UNREADABLE`].
    pub created: String,
    /// The person's reason.
    pub reason: String,
}

/// Why a cancel ends nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CancelFlaw {
    /// Nothing on the Node can be cancelled.
    NoHold,
    /// The cancel names no hold.
    NamesNone,
    /// The cancel names another hold than the one on the Node.
    NamesAnother,
    /// The cancel names the hold, but gives no reason.
    NoReason,
}

impl CancelFlaw {
    /// What is wrong with the cancel, for a message.
    pub fn as_str(self) -> &'static str {
        match self {
            CancelFlaw::NoHold => "the node carries no hold",
            CancelFlaw::NamesNone => "it does not begin with the time stamp of a hold",
            CancelFlaw::NamesAnother => "it names another hold",
            CancelFlaw::NoReason => "it gives no reason",
        }
    }
}

/// The cancel on a Node, if it has both a `created` and a reason.
pub fn cancel(node: &NodeView) -> Option<Cancel> {
    let (created, reason) = node.annotation(keys::CANCEL)?.split_once(' ')?;
    let reason = reason.trim();
    (!reason.is_empty()).then(|| Cancel {
        created: created.to_owned(),
        reason: reason.to_owned(),
    })
}

/// What a cancel of this Node's hold must name: the `created` of its holder, or [`UNREADABLE`].
///
/// Only the holder matters, so the cancel stays valid while a person removes the other marks one by one.
pub fn cancel_name(node: &NodeView) -> &str {
    node.annotation(keys::HOLDER)
        .and_then(|holder| holder.split_once('/'))
        .map(|(_, created)| created)
        .filter(|created| is_created(created))
        .unwrap_or(UNREADABLE)
}

/// What is wrong with this text as a cancel of the hold on this Node; `None` if it would end the hold.
pub fn cancel_flaw(node: &NodeView, text: &str) -> Option<CancelFlaw> {
    if !super::has_marks(node) {
        return Some(CancelFlaw::NoHold);
    }
    let (created, reason) = text.split_once(' ').unwrap_or((text, ""));
    if created != cancel_name(node) {
        let names_one = is_created(created) || created == UNREADABLE;
        return Some(if names_one {
            CancelFlaw::NamesAnother
        } else {
            CancelFlaw::NamesNone
        });
    }
    reason.trim().is_empty().then_some(CancelFlaw::NoReason)
}

/// The command that cancels the hold on this Node. The reason is taken from `text`, a faulty cancel; a placeholder if it has none.
pub fn cancel_command(node: &NodeView, text: &str) -> String {
    let created = cancel_name(node);
    let reason = match cancel_flaw(node, text) {
        Some(CancelFlaw::NamesNone) => text,
        Some(CancelFlaw::NoHold | CancelFlaw::NamesAnother | CancelFlaw::NoReason) | None => {
            text.split_once(' ').map_or("", |(_, reason)| reason)
        }
    };
    let reason = match reason.trim() {
        "" => YOUR_REASON.to_owned(),
        reason => one_line(reason, QUOTED_MAX),
    };
    format!(
        "kubectl annotate --overwrite node {} {}={}",
        quoted(node.name()),
        keys::CANCEL,
        always_quoted(&format!("{created} {reason}"), 2 * QUOTED_MAX)
    )
}

/// The command that keeps a node from its next reboot.
pub fn pause_command(node: &NodeView) -> String {
    let (name, pause) = (quoted(node.name()), keys::PAUSE);
    format!("kubectl annotate node {name} {pause}='{YOUR_REASON}'")
}

/// An annotation without effect. What others wrote is in `why` alone, in quotes; so nobody has to look for the command in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// Which annotation it is, and why it has no effect.
    pub why: String,
    /// What the command is for.
    pub purpose: &'static str,
    /// The command to run instead.
    pub command: String,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}: {}", self.why, self.purpose, self.command)
    }
}

/// Why the cancel or the deferred uncordon on this Node has no effect, and what to write instead. `None` if neither is there, both are
/// valid, or the marks cannot be read.
pub fn ignored(node: &NodeView) -> Option<Ignored> {
    ignored_cancel(node).or_else(|| super::deferred::ignored(node))
}

fn ignored_cancel(node: &NodeView) -> Option<Ignored> {
    let reading = read(node);
    let text = node.annotation(keys::CANCEL)?;
    if matches!(reading, Reading::Malformed(_)) {
        return None;
    }
    let flaw = cancel_flaw(node, text)?;
    let (purpose, command) = match flaw {
        CancelFlaw::NoHold => ("to keep the node from its next reboot", pause_command(node)),
        CancelFlaw::NamesNone | CancelFlaw::NamesAnother | CancelFlaw::NoReason => {
            ("to cancel the reboot", cancel_command(node, text))
        }
    };
    let (cancel, text, why) = (keys::CANCEL, quoted(text), flaw.as_str());
    Some(Ignored {
        why: format!("{cancel} {text} does nothing: {why}"),
        purpose,
        command,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATED: &str = "2026-01-01T00:00:00.000000001Z";

    fn node(phase: Option<&str>, annotations: &[(&str, &str)]) -> NodeView {
        let mut node = NodeView::default();
        node.metadata.name = "n".to_owned();
        if let Some(phase) = phase {
            drop(
                node.metadata
                    .labels
                    .insert(keys::PHASE.to_owned(), phase.to_owned()),
            );
            let holder = format!("u/{CREATED}");
            drop(node.metadata.annotations.insert(keys::HOLDER.to_owned(), holder));
        }
        for (key, value) in annotations {
            drop(
                node.metadata
                    .annotations
                    .insert((*key).to_owned(), (*value).to_owned()),
            );
        }
        node
    }

    #[test]
    fn found_e6_what_the_agent_passes_over_it_says_with_what_to_write() {
        let right = format!("kubectl annotate --overwrite node n cordonhold.dev/cancel='{CREATED} ");
        for (text, why, line) in [
            (
                "disk",
                "it does not begin with the time stamp",
                format!("{right}disk'"),
            ),
            (
                "the disk is broken",
                "it does not begin with the time stamp",
                format!("{right}the disk is broken'"),
            ),
            (
                "2025-01-01T00:00:00Z it's old",
                "it names another hold",
                format!("{right}it’s old'"),
            ),
            ("unreadable x", "it names another hold", format!("{right}x'")),
            (CREATED, "it gives no reason", format!("{right}<your reason>'")),
            ("", "it does not begin", format!("{right}<your reason>'")),
            (
                "'; id; '",
                "it does not begin with the time stamp",
                format!("{right}’; id; ’'"),
            ),
        ] {
            for phase in ["wanted", "draining", "sealed"] {
                let told = ignored(&node(Some(phase), &[(keys::CANCEL, text)]))
                    .unwrap()
                    .to_string();
                assert!(told.contains(why) && told.ends_with(&line), "{text}: {told}");
            }
        }
        let right = format!("{CREATED} disk");
        assert_eq!(ignored(&node(Some("draining"), &[(keys::CANCEL, &right)])), None);
        assert_eq!(ignored(&node(Some("draining"), &[])), None);
        let told = ignored(&node(None, &[(keys::CANCEL, "disk")]))
            .unwrap()
            .to_string();
        assert!(
            told.contains("carries no hold")
                && told.contains("kubectl annotate node n cordonhold.dev/pause="),
            "{told}"
        );
    }
}
