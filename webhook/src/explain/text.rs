//! The cases of `explain` as text for people.

use std::fmt::Write as _;

use cordonhold_shared::admission::{self, Change, Deferral, LockEdit, Operation, Outcome, Request, Verdict};
use cordonhold_shared::keys;
use cordonhold_shared::quote::{always_quoted, quoted};

use super::cases::Cases;

/// Longest annotation that is shown, in characters: a time, another one, and a long user name.
const WANTED_CHARS: usize = 300;

/// The whole text that is printed.
pub(super) fn render(request: &Request, deferral: Option<&Deferral>, cases: &Cases) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail, here and below.
    writeln!(
        text,
        "{} by {}",
        what(&request.operation),
        quoted(&request.requester.user)
    )
    .unwrap_or_default();
    if let Some(deferral) = deferral {
        text.push_str(&on_its_way(deferral));
    }
    for case in &cases.all {
        if !case.assumptions.is_empty() {
            write!(text, "\nIf {}:\n", case.assumptions.join(", and ")).unwrap_or_default();
        }
        text.push_str(&verdict(&case.verdict));
    }
    if let Some(kured) = &cases.kured {
        writeln!(text, "\nkured:   {kured}").unwrap_or_default();
    }
    for why in &cases.failures {
        writeln!(
            text,
            "\nCould not be looked up here, though the webhook's own ServiceAccount may be able to: {why}"
        )
        .unwrap_or_default();
    }
    if cases.all.len() > 1 {
        text.push_str(
            "\nTo learn which of them applies, give a --kubeconfig whose user may ask, or --may-override and --kured-lock.\n",
        );
    }
    if cases.may_be_denied() {
        text.push_str(
            "\nNot looked at: the matchConditions of the webhook's configuration. A request that they keep from the webhook passes.\n",
        );
    }
    text
}

/// What mode `defer` changes of the request before the verdict.
fn on_its_way(deferral: &Deferral) -> String {
    let (cordon, without) = if deferral.cordons {
        ("the cordon stays", "the uncordon is denied")
    } else {
        ("the uncordon passes", "it passes all the same")
    };
    let taint = deferral.taint.as_ref().map_or("", |_| ", and so does the taint");
    let wanted = match &deferral.writes {
        Some(text) => format!(
            "{} becomes {}",
            keys::UNCORDON_WANTED,
            always_quoted(text, WANTED_CHARS)
        ),
        None => format!("{} stays as it is", keys::UNCORDON_WANTED),
    };
    format!(
        "changed: {cordon}{taint}; {wanted} (by the MutatingWebhookConfiguration; without it, {without})\n"
    )
}

fn verdict(verdict: &Verdict) -> String {
    let outcome = match verdict.outcome {
        Outcome::Allow => "passes",
        Outcome::Flag => "passes, flagged",
        Outcome::Deny => "denied",
    };
    let reason = verdict.reason;
    let mut lines = vec![
        format!("verdict: {outcome}"),
        format!("reason:  {}", reason.code()),
        format!("rule:    {}", reason.rule()),
    ];
    if reason.outcome() != Outcome::Allow {
        lines.push(format!("mode:    {}", verdict.mode.as_str()));
    }
    for key in [
        admission::AUDIT_HOLDER,
        admission::AUDIT_PHASE,
        admission::AUDIT_AGE,
    ] {
        if let Some(value) = verdict.audit.get(key) {
            lines.push(format!("{:<9}{}", format!("{key}:"), quoted(value)));
        }
    }
    lines.extend(
        verdict
            .warnings
            .iter()
            .map(|warning| format!("warning: {warning}")),
    );
    if !verdict.message.is_empty() {
        lines.push(format!("\n{}", verdict.message));
    }
    lines.join("\n") + "\n"
}

/// The request in a few words.
fn what(operation: &Operation) -> String {
    match operation {
        Operation::CreateNode { new } => format!("create of node {}", quoted(new.name())),
        Operation::UpdateNode { old, new } => {
            let effect = match Change::between(old, new).to_string() {
                effect if effect.is_empty() => "nothing that is protected".to_owned(),
                effect => effect,
            };
            let state = if old.spec.unschedulable {
                ""
            } else {
                ", which is not cordoned"
            };
            format!("update of node {}{state} ({effect})", quoted(old.name()))
        }
        Operation::DeleteNode { old } => format!("delete of node {}", quoted(old.name())),
        Operation::UpdateDaemonSet(LockEdit { namespace, name, .. }) => {
            format!("update of daemonset {}/{}", quoted(namespace), quoted(name))
        }
    }
}
