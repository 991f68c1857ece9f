//! The modes `warn` and `audit` deny nothing: `warn` sends the client a warning, and both write the decision to the log.

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_tests::identity::Identity;
use cordonhold_tests::webhook::{Mode, Protection, Webhook};
use serde_json::Value;

use crate::cluster::{Cluster, alone};
use crate::subject::{Subject, annotate, uncordon};
use crate::wire::{Answer, Write};

/// Longest warning in characters. Kubernetes may cut longer ones (k8s.io/api: admission/v1, `warnings`).
const WARNING_MAX_CHARS: usize = 256;

#[test]
fn warn_and_audit_let_pass_and_log() -> Result<()> {
    alone(async || {
        let mut cluster = Cluster::start("base", Mode::Warn, Protection::OwnHolds).await?;
        warn_mode(&cluster).await?;
        cluster.webhook.stop().await?;
        cluster.webhook = Webhook::start(&cluster.plane, Mode::Audit, Protection::OwnHolds).await?;
        cluster
            .webhook
            .register(&cluster.plane, &cluster.rendered, "node-0")
            .await?;
        audit_mode(&cluster).await
    })
}

async fn warn_mode(cluster: &Cluster) -> Result<()> {
    let subject = Subject::held(cluster, "warn", Phase::Delaying).await?;
    let (answer, decision) = uncordoned(&subject).await?;
    ensure!(decision["mode"] == "warn", "{decision}");
    let warning = only_warning(&answer)?;
    ensure!(
        warning.contains("would deny this (held)") && warning.contains("node warn is held"),
        "{warning}"
    );
    let marks = subject
        .passes(&cluster.admin, Write::Merge, &annotate(keys::HOLDER, None))
        .await?;
    ensure!(
        only_warning(&marks)?.contains("would deny this (tampered-hold)"),
        "{marks:?}"
    );

    let by_kubectl = Subject::held(cluster, "warn-kubectl", Phase::Delaying).await?;
    let output = cluster
        .plane
        .kubectl(Identity::Controller)
        .args(["uncordon", "warn-kubectl"])
        .output()
        .await
        .context("failed to run kubectl")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        said.contains("Warning: cordonhold would deny this (held)"),
        "{said}"
    );
    ensure!(!by_kubectl.is_cordoned().await?, "mode warn kept a node cordoned");
    Ok(())
}

async fn audit_mode(cluster: &Cluster) -> Result<()> {
    let subject = Subject::held(cluster, "audit", Phase::Delaying).await?;
    let (answer, decision) = uncordoned(&subject).await?;
    ensure!(decision["mode"] == "audit", "{decision}");
    ensure!(answer.warnings.is_empty(), "{answer:?}");
    Ok(())
}

async fn uncordoned(subject: &Subject<'_>) -> Result<(Answer, Value)> {
    let length = subject.cluster.log_length().await?;
    let answer = subject
        .passes(&subject.cluster.controller, Write::Strategic, &uncordon())
        .await?;
    ensure!(
        !subject.is_cordoned().await?,
        "{} is still cordoned",
        subject.name
    );
    let decision = subject.cluster.decision_since(length, &subject.name).await?;
    ensure!(
        decision["verdict"] == "flag" && decision["reason"] == "held",
        "{decision}"
    );
    Ok((answer, decision))
}

/// The text of the only warning header, `299 - "text"`.
fn only_warning(answer: &Answer) -> Result<&str> {
    let [header] = answer.warnings.as_slice() else {
        anyhow::bail!("expected one warning: {answer:?}");
    };
    let text = header
        .strip_prefix("299 - \"")
        .and_then(|rest| rest.strip_suffix('"'));
    let text = text.with_context(|| format!("no warning as RFC 7234 has it: {header}"))?;
    ensure!(text.chars().count() <= WARNING_MAX_CHARS, "too long: {text}");
    Ok(text)
}
