//! The audit trail: one log line for each decision but `nothing-of-ours`. `docs/audit.md` says what its fields mean.
//!
//! Every line has every field, so that a reader needs no special cases.

use std::time::Duration;

use cordonhold_shared::admission::{LockEdit, Operation, Verdict};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::quote::clipped;
use tracing::info;

use crate::review::{Review, Unreadable};

/// Most bytes that are logged of a value that a client sent.
const FIELD_MAX_BYTES: usize = 1024;

/// The fields of a line that come from the review; those of the verdict are added when it is written.
/// The default is for a review of which nothing is known.
#[derive(Default)]
pub(crate) struct LogLine<'a> {
    uid: &'a str,
    user: &'a str,
    groups: String,
    node_claim: String,
    operation: &'a str,
    verb: &'a str,
    field_manager: &'a str,
    node: &'a str,
    daemonset: String,
    effect: String,
    holder: &'a str,
    phase: &'a str,
    until: &'a str,
    cancel: &'a str,
    request: &'a str,
    is_dry_run: bool,
    error: &'a str,
}

impl<'a> LogLine<'a> {
    pub(crate) fn of(review: &'a Review, verdict: &Verdict) -> LogLine<'a> {
        let requester = &review.request.requester;
        let operation = &review.request.operation;
        let known = LogLine {
            uid: &review.uid,
            user: &requester.user,
            groups: requester.groups.join(","),
            node_claim: requester.node_claim.join(","),
            operation: &review.operation,
            verb: review.verb,
            field_manager: &review.field_manager,
            effect: effect(operation, verdict),
            is_dry_run: review.request.is_dry_run,
            ..LogLine::default()
        };
        match operation {
            Operation::UpdateNode { old, new } => LogLine {
                cancel: new.annotation(keys::CANCEL).unwrap_or_default(),
                request: new.annotation(keys::REBOOT_WANTED).unwrap_or_default(),
                ..known.about(old)
            },
            Operation::CreateNode { new } => LogLine {
                request: new.annotation(keys::REBOOT_WANTED).unwrap_or_default(),
                ..known.about(new)
            },
            // A DELETE has no new object; the cancel on the old one may be what lets it pass.
            Operation::DeleteNode { old } => LogLine {
                cancel: old.annotation(keys::CANCEL).unwrap_or_default(),
                ..known.about(old)
            },
            Operation::UpdateDaemonSet(LockEdit { namespace, name, .. }) => LogLine {
                daemonset: format!("{namespace}/{name}"),
                ..known
            },
        }
    }

    pub(crate) fn unreadable(unreadable: &'a Unreadable) -> LogLine<'a> {
        LogLine {
            uid: unreadable.head.uid.as_deref().unwrap_or_default(),
            user: &unreadable.head.user,
            operation: &unreadable.head.operation,
            node: &unreadable.head.name,
            error: &unreadable.why,
            ..LogLine::default()
        }
    }

    fn about(self, node: &'a NodeView) -> LogLine<'a> {
        LogLine {
            node: node.name(),
            holder: node.annotation(keys::HOLDER).unwrap_or_default(),
            phase: node.label(keys::PHASE).unwrap_or_default(),
            until: node.annotation(keys::UNTIL).unwrap_or_default(),
            ..self
        }
    }

    pub(crate) fn write(&self, verdict: &Verdict, latency: Duration) {
        info!(
            verdict = verdict.outcome.as_str(),
            reason = verdict.reason.code(),
            mode = verdict.mode.as_str(),
            uid = bounded(self.uid),
            user = bounded(self.user),
            groups = bounded(&self.groups),
            node_claim = bounded(&self.node_claim),
            operation = bounded(self.operation),
            verb = self.verb,
            field_manager = bounded(self.field_manager),
            node = bounded(self.node),
            daemonset = bounded(&self.daemonset),
            effect = self.effect.as_str(),
            holder = bounded(self.holder),
            phase = bounded(self.phase),
            until = bounded(self.until),
            cancel = bounded(self.cancel),
            request = bounded(self.request),
            dry_run = self.is_dry_run,
            kured = verdict.concerns_kured,
            error = bounded(self.error),
            latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX),
            "decision"
        );
    }
}

/// What the request changes of ours: the field `effect`.
fn effect(operation: &Operation, verdict: &Verdict) -> String {
    match operation {
        Operation::CreateNode { .. } => "create".to_owned(),
        Operation::UpdateNode { .. } => verdict.change.to_string(),
        Operation::DeleteNode { .. } => "delete".to_owned(),
        Operation::UpdateDaemonSet(_) => "lock".to_owned(),
    }
}

fn bounded(text: &str) -> &str {
    clipped(text, FIELD_MAX_BYTES)
}

#[cfg(test)]
mod tests;
