//! Every way to clear `spec.unschedulable` that a client has, tried in every phase by a cluster-admin and by an ordinary controller.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_tests::identity::Identity;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::cluster::{Cluster, on_shared};
use crate::subject::{Subject, annotate, uncordon};
use crate::wire::{WEBHOOK, Write};

/// Longest run of kubectl. It first reads the API groups, which takes seconds on a busy machine.
const KUBECTL_TIMEOUT: Duration = Duration::from_secs(30);

#[test]
fn while_draining() -> Result<()> {
    on_shared(async |cluster| held_in(cluster, Phase::Draining).await)
}

#[test]
fn while_delaying() -> Result<()> {
    on_shared(async |cluster| held_in(cluster, Phase::Delaying).await)
}

#[test]
fn while_sealed() -> Result<()> {
    on_shared(async |cluster| held_in(cluster, Phase::Sealed).await)
}

#[test]
fn while_returning() -> Result<()> {
    on_shared(async |cluster| held_in(cluster, Phase::Returning).await)
}

async fn held_in(cluster: &Cluster, phase: Phase) -> Result<()> {
    let subject = Subject::held(cluster, &format!("uncordon-{phase}"), phase).await?;
    every_way_is_denied(&subject).await?;
    kubectl_uncordon_is_denied(&subject, Identity::Admin).await
}

#[test]
fn with_marks_that_cannot_be_read() -> Result<()> {
    on_shared(async |cluster| {
        let broken = [
            (
                "phase-unknown",
                json!({ "metadata": { "labels": { keys::PHASE: "rebooting" } } }),
            ),
            (
                "phase-gone",
                json!({ "metadata": { "labels": { keys::PHASE: null } } }),
            ),
            ("holder-gone", annotate(keys::HOLDER, None)),
            ("holder-unreadable", annotate(keys::HOLDER, Some("nobody"))),
            ("until-unreadable", annotate(keys::UNTIL, Some("tomorrow"))),
            (
                "was-unreadable",
                annotate(keys::WAS_UNSCHEDULABLE, Some("perhaps")),
            ),
        ];
        for (name, change) in broken {
            let subject = Subject::held(cluster, &format!("uncordon-{name}"), Phase::Delaying).await?;
            drop(subject.passes(&subject.agent, Write::Merge, &change).await?);
            every_way_is_denied(&subject).await?;
        }
        Ok(())
    })
}

/// A wish that cannot be read completely counts as held, although the CEL in the configuration lets readable wishes bypass the
/// webhook.
#[test]
fn with_a_wish_that_cannot_be_read() -> Result<()> {
    on_shared(async |cluster| {
        let broken = [
            ("until", annotate(keys::UNTIL, Some("2026-02-30T00:00:00Z"))),
            (
                "holder",
                annotate(keys::HOLDER, Some("uid/2026-13-01T00:00:00.000000000Z")),
            ),
            ("was", annotate(keys::WAS_UNSCHEDULABLE, Some("perhaps"))),
        ];
        for (name, change) in broken {
            let subject = Subject::held(cluster, &format!("uncordon-wish-{name}"), Phase::Wanted).await?;
            drop(
                subject
                    .passes(&subject.agent, Write::Merge, &crate::subject::cordon())
                    .await?,
            );
            drop(subject.passes(&subject.agent, Write::Merge, &change).await?);
            drop(
                subject
                    .is_denied(&cluster.admin, Write::Strategic, &uncordon(), "held")
                    .await?,
            );
        }
        Ok(())
    })
}

#[test]
fn by_kubectl_edit_and_replace() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::held(cluster, "uncordon-kubectl", Phase::Delaying).await?;
        for identity in [Identity::Admin, Identity::Controller] {
            kubectl_uncordon_is_denied(&subject, identity).await?;
            kubectl_edit_is_denied(&subject, identity).await?;
            kubectl_replace_is_denied(&subject, identity).await?;
        }
        Ok(())
    })
}

/// An uncordon is denied also when the same write changes something else.
#[test]
fn beside_changes_that_are_nobodys_business() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::held(cluster, "uncordon-beside", Phase::Delaying).await?;
        let body = json!({ "metadata": { "labels": { "team": "a" } }, "spec": { "unschedulable": false } });
        drop(
            subject
                .is_denied(&cluster.controller, Write::Merge, &body, "held")
                .await?,
        );
        let label = json!({ "metadata": { "labels": { "team": "a" } } });
        drop(subject.passes(&cluster.controller, Write::Merge, &label).await?);
        ensure!(subject.is_cordoned().await?, "a label cleared the cordon");
        Ok(())
    })
}

#[test]
fn a_dry_run_is_denied_too_and_changes_nothing() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::held(cluster, "uncordon-dry", Phase::Delaying).await?;
        let before = subject.guarded().await?;
        let length = cluster.log_length().await?;
        let target = format!("{}?dryRun=All", subject.name);
        let answer = crate::wire::write(&cluster.admin, &target, Write::Merge, &uncordon()).await?;
        answer.denied()?;
        let decision = cluster.decision_since(length, &subject.name).await?;
        ensure!(
            decision["dry_run"] == true && decision["reason"] == "held",
            "{decision}"
        );
        subject.is_still(&before).await
    })
}

#[test]
fn the_message_says_who_what_when_and_the_way_out() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::new(cluster, "uncordon-message").await?;
        let holder = subject.hold(Phase::Delaying).await?;
        let until = subject
            .view()
            .await?
            .annotation(keys::UNTIL)
            .context("no until")?
            .to_owned();
        let answer = subject
            .is_denied(&cluster.controller, Write::Strategic, &uncordon(), "held")
            .await?;
        for part in [
            format!("holder {holder}"),
            "phase delaying".to_owned(),
            format!("since {}", holder.created),
            format!("until {until}"),
            format!(
                "kubectl annotate --overwrite node uncordon-message {}='{} ",
                keys::CANCEL,
                holder.created
            ),
            "its agent has held it for ".to_owned(),
        ] {
            ensure!(
                answer.message().contains(&part),
                "{part:?} is missing in: {}",
                answer.message()
            );
        }
        Ok(())
    })
}

#[test]
fn a_decision_is_one_line_of_the_log() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::new(cluster, "uncordon-log").await?;
        let holder = subject.hold(Phase::Delaying).await?;
        let length = cluster.log_length().await?;
        subject
            .write(&cluster.controller, Write::Strategic, &uncordon())
            .await?
            .denied()?;
        let decision = cluster.decision_since(length, &subject.name).await?;
        for (field, value) in [
            ("user", json!("ordinary-controller")),
            ("operation", json!("UPDATE")),
            ("holder", json!(holder.to_string())),
            ("phase", json!("delaying")),
            ("verdict", json!("deny")),
            ("reason", json!("held")),
            ("mode", json!("enforce")),
            ("dry_run", json!(false)),
            ("effect", json!("uncordon")),
        ] {
            ensure!(decision[field] == value, "{field}: {decision}");
        }
        let uid = decision["uid"].as_str().unwrap_or_default();
        ensure!(uid.len() == 36 && decision["latency_us"].is_u64(), "{decision}");
        Ok(())
    })
}

async fn every_way_is_denied(subject: &Subject<'_>) -> Result<()> {
    let cluster = subject.cluster;
    for client in [&cluster.admin, &cluster.controller] {
        for (write, body) in ways(&subject.name) {
            drop(subject.is_denied(client, write, &body, "held").await?);
        }
        for value in [Value::Null, json!(false)] {
            put_is_denied(subject, client, &value).await?;
        }
        kube_uncordon_is_denied(subject, client).await?;
    }
    Ok(())
}

/// All ways to uncordon except PUT, which needs the whole current Node.
pub(crate) fn ways(node: &str) -> Vec<(Write, Value)> {
    let false_ = json!({ "spec": { "unschedulable": false } });
    vec![
        (Write::Strategic, uncordon()),
        (Write::Strategic, false_.clone()),
        (Write::Merge, uncordon()),
        (Write::Merge, false_),
        (
            Write::Json,
            json!([{ "op": "remove", "path": "/spec/unschedulable" }]),
        ),
        (
            Write::Json,
            json!([{ "op": "replace", "path": "/spec/unschedulable", "value": false }]),
        ),
        (
            Write::Apply,
            json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": node }, "spec": { "unschedulable": false } }),
        ),
    ]
}

/// Checks that a PUT is denied. It names a version, so it is tried again after a conflict.
async fn put_is_denied(subject: &Subject<'_>, client: &Client, unschedulable: &Value) -> Result<()> {
    let mut node = subject.json().await?;
    node["spec"]["unschedulable"] = unschedulable.clone();
    drop(
        node["metadata"]
            .as_object_mut()
            .and_then(|metadata| metadata.remove("resourceVersion")),
    );
    drop(subject.is_denied(client, Write::Put, &node, "held").await?);
    Ok(())
}

async fn kube_uncordon_is_denied(subject: &Subject<'_>, client: &Client) -> Result<()> {
    let before = subject.guarded().await?;
    match Api::<Node>::all(client.clone()).uncordon(&subject.name).await {
        Err(kube::Error::Api(status)) => ensure!(
            status.code == 403 && status.reason == "Forbidden" && status.message.contains(WEBHOOK),
            "{status:?}"
        ),
        other => anyhow::bail!("kube's uncordon of {} was not denied: {other:?}", subject.name),
    }
    subject.is_still(&before).await
}

/// kubectl exits 0 when an uncordon is denied, so its exit code says nothing.
async fn kubectl_uncordon_is_denied(subject: &Subject<'_>, identity: Identity) -> Result<()> {
    kubectl_is_denied(subject, identity, &["uncordon", &subject.name], None).await
}

async fn kubectl_edit_is_denied(subject: &Subject<'_>, identity: Identity) -> Result<()> {
    let editor = "sed -i '/^  unschedulable: true$/d'";
    kubectl_is_denied(subject, identity, &["edit", "node", &subject.name], Some(editor)).await
}

async fn kubectl_replace_is_denied(subject: &Subject<'_>, identity: Identity) -> Result<()> {
    let mut node = subject.json().await?;
    drop(
        node["spec"]
            .as_object_mut()
            .and_then(|spec| spec.remove("unschedulable")),
    );
    drop(
        node["metadata"]
            .as_object_mut()
            .and_then(|metadata| metadata.remove("resourceVersion")),
    );
    let file = tempfile::NamedTempFile::new().context("failed to create a file")?;
    std::fs::write(file.path(), node.to_string()).context("failed to write a Node")?;
    let path = path_text(file.path())?;
    kubectl_is_denied(subject, identity, &["replace", "-f", path], None).await
}

async fn kubectl_is_denied(
    subject: &Subject<'_>,
    identity: Identity,
    arguments: &[&str],
    editor: Option<&str>,
) -> Result<()> {
    let before = subject.guarded().await?;
    let length = subject.cluster.log_length().await?;
    let mut command = subject.cluster.plane.kubectl(identity);
    let _ = command.args(arguments).stdin(Stdio::null());
    if let Some(editor) = editor {
        let _ = command.env("KUBE_EDITOR", editor);
    }
    let output = tokio::time::timeout(KUBECTL_TIMEOUT, command.output())
        .await
        .with_context(|| format!("kubectl {arguments:?} took over {KUBECTL_TIMEOUT:?}"))?
        .context("failed to run kubectl")?;
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    ensure!(
        said.contains(WEBHOOK) && said.contains("is held for a reboot"),
        "kubectl {arguments:?}: {said}"
    );
    let decisions = subject
        .cluster
        .decisions_since(length, "node", &subject.name)
        .await?;
    ensure!(
        !decisions.is_empty() && decisions.iter().all(|decision| decision["reason"] == "held"),
        "kubectl {arguments:?}: {decisions:?}"
    );
    subject.is_still(&before).await
}

fn path_text(path: &Path) -> Result<&str> {
    path.to_str().context("a temporary path is no UTF-8")
}
