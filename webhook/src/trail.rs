//! The audit trail: one log line for each decision about anything of ours. `AUDIT.md` says what its fields mean.
//!
//! Every line has every field, so that whoever reads them needs no cases.

use std::time::Duration;

use cordonhold_shared::admission::{Change, LockEdit, Mode, Operation, Verdict};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use tracing::info;

use crate::review::{Review, Unreadable};

/// What a client sent is not repeated at any length.
const FIELD_MAX_BYTES: usize = 1024;

/// One line, but for what the decision itself adds. The default is the line of a review of which nothing is known.
#[derive(Default)]
pub(crate) struct Entry<'a> {
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
    is_dry_run: bool,
    is_about_kured: bool,
    error: &'a str,
}

impl<'a> Entry<'a> {
    pub(crate) fn of(review: &'a Review, is_about_kured: bool) -> Entry<'a> {
        let requester = &review.request.requester;
        let operation = &review.request.operation;
        let known = Entry {
            uid: &review.uid,
            user: &requester.user,
            groups: requester.groups.join(","),
            node_claim: requester.node_claim.join(","),
            operation: &review.operation,
            verb: review.verb,
            field_manager: &review.field_manager,
            effect: effect(operation),
            is_dry_run: review.dry_run,
            is_about_kured,
            ..Entry::default()
        };
        match operation {
            Operation::UpdateNode { old, new } => Entry {
                cancel: new.annotation(keys::CANCEL).unwrap_or_default(),
                ..known.about(old)
            },
            Operation::CreateNode { new } => known.about(new),
            // The one that lets it pass, if there is one.
            Operation::DeleteNode { old } => Entry {
                cancel: old.annotation(keys::CANCEL).unwrap_or_default(),
                ..known.about(old)
            },
            Operation::UpdateDaemonSet(LockEdit { namespace, name, .. }) => Entry {
                daemonset: format!("{namespace}/{name}"),
                ..known
            },
        }
    }

    pub(crate) fn unreadable(unreadable: &'a Unreadable) -> Entry<'a> {
        Entry {
            uid: unreadable.head.uid.as_deref().unwrap_or_default(),
            user: &unreadable.head.user,
            operation: &unreadable.head.operation,
            node: &unreadable.head.name,
            error: &unreadable.why,
            ..Entry::default()
        }
    }

    fn about(self, node: &'a NodeView) -> Entry<'a> {
        Entry {
            node: node.name(),
            holder: node.annotation(keys::HOLDER).unwrap_or_default(),
            phase: node.label(keys::PHASE).unwrap_or_default(),
            until: node.annotation(keys::UNTIL).unwrap_or_default(),
            ..self
        }
    }

    pub(crate) fn write(&self, verdict: &Verdict, mode: Mode, latency: Duration) {
        info!(
            verdict = verdict.outcome.as_str(),
            reason = verdict.reason.code(),
            mode = mode.as_str(),
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
            dry_run = self.is_dry_run,
            kured = self.is_about_kured,
            error = bounded(self.error),
            latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX),
            "decision"
        );
    }
}

/// What the request would change of what is ours.
pub(crate) fn effect(operation: &Operation) -> String {
    let (old, new) = match operation {
        Operation::CreateNode { .. } => return "create".to_owned(),
        Operation::UpdateNode { old, new } => (old, new),
        Operation::DeleteNode { .. } => return "delete".to_owned(),
        Operation::UpdateDaemonSet(_) => return "lock".to_owned(),
    };
    let change = Change::between(old, new);
    let effects = [
        ("uncordon", change.uncordons),
        ("cordon", change.cordons),
        ("hold", change.annotations_or_phase),
        ("taint", change.taint),
        ("cancel", change.cancel),
    ];
    let effects: Vec<&str> = effects
        .into_iter()
        .filter_map(|(effect, is_there)| is_there.then_some(effect))
        .collect();
    effects.join(",")
}

fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(FIELD_MAX_BYTES)]
}

#[cfg(test)]
mod tests;
