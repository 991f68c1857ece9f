//! DELETE of a held Node: only flagged by default, so that autoscalers never wait; denied if the admin configures that.

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_tests::identity::Impersonation;
use cordonhold_tests::webhook::{Mode, Protection};
use http::Request;
use kube::Client;
use kube::client::Body;
use serde_json::json;

use super::create::create;
use crate::cluster::{Cluster, alone, on_shared};
use crate::manifests::overlay;
use crate::subject::{Subject, annotate};
use crate::wire::{self, Answer, Write};

const WEBHOOK: &str = "deletes.nodes.cordonhold.dev";

#[test]
fn an_autoscaler_deletes_a_held_node_with_a_flag() -> Result<()> {
    on_shared(async |cluster| {
        let autoscaler =
            Impersonation::service_account("kube-system", "cluster-autoscaler").group("system:masters");
        let autoscaler = cluster.plane.client_as(&autoscaler).await?;
        let subject = Subject::held(cluster, "delete-flagged", Phase::Delaying).await?;
        let length = cluster.log_length().await?;
        let answer = delete(&autoscaler, &subject.name).await?;
        answer.passed()?;
        ensure!(
            answer
                .warnings
                .iter()
                .any(|warning| warning.contains("deleted while it is held")),
            "{answer:?}"
        );
        let decision = cluster.decision_since(length, &subject.name).await?;
        ensure!(
            decision["verdict"] == "flag"
                && decision["reason"] == "held-deleted"
                && decision["operation"] == "DELETE"
                && decision["user"] == "system:serviceaccount:kube-system:cluster-autoscaler",
            "{decision}"
        );
        ensure!(is_gone(cluster, &subject.name).await?, "the Node is still there");

        let free = Subject::new(cluster, "delete-free").await?;
        let length = cluster.log_length().await?;
        let answer = delete(&autoscaler, &free.name).await?;
        answer.passed()?;
        ensure!(answer.warnings.is_empty(), "{answer:?}");
        ensure!(
            cluster
                .decisions_since(length, "node", &free.name)
                .await?
                .is_empty(),
            "the webhook was asked about a Node without a hold"
        );
        Ok(())
    })
}

#[test]
fn refused_by_flag_until_it_is_cancelled() -> Result<()> {
    alone(async || {
        let copy = tempfile::tempdir().context("failed to create a directory")?;
        let kustomization = "resources: [../../base]\ncomponents: [../../components/refuse-delete]\n";
        let directory = overlay(copy.path(), "refusing", kustomization)?;
        let mut cluster = Cluster::start_with(
            &directory,
            Mode::Enforce,
            Protection::OwnHolds,
            &["--on-delete=deny"],
        )
        .await?;
        let subject = Subject::new(&cluster, "delete-refused").await?;
        let holder = subject.hold(Phase::Delaying).await?;
        let before = subject.guarded().await?;
        let collection = format!("?fieldSelector=metadata.name%3D{}", subject.name);
        for target in [subject.name.clone(), collection] {
            let length = cluster.log_length().await?;
            let answer = delete(&cluster.admin, &target).await?;
            let by_webhook = format!("admission webhook \"{WEBHOOK}\" denied the request");
            ensure!(
                answer.code == 403
                    && answer.body["reason"] == "Forbidden"
                    && answer.message().contains(&by_webhook),
                "{target}: {answer:?}"
            );
            let decision = cluster.decision_since(length, &subject.name).await?;
            ensure!(
                decision["verdict"] == "deny" && decision["reason"] == "held-deleted",
                "{decision}"
            );
            subject.is_still(&before).await?;
        }
        let cancel = annotate(
            keys::CANCEL,
            Some(&format!("{} the machine is gone", holder.created)),
        );
        drop(subject.passes(&cluster.admin, Write::Merge, &cancel).await?);
        delete(&cluster.admin, &subject.name).await?.passed()?;
        ensure!(is_gone(&cluster, &subject.name).await?, "the Node is still there");

        // While the webhook is down, a held Node cannot be deleted, but one with only a wish can.
        let (waits, passes) = ("delete-waits", "delete-passes");
        drop(Subject::held(&cluster, waits, Phase::Delaying).await?);
        drop(Subject::held(&cluster, passes, Phase::Wanted).await?);
        cluster.webhook.kill();
        let answer = delete(&cluster.admin, waits).await?;
        ensure!(
            answer.code == 500 && answer.message().contains("failed calling webhook"),
            "{answer:?}"
        );
        ensure!(!is_gone(&cluster, waits).await?, "a held Node is gone");
        delete(&cluster.admin, passes).await?.passed()?;
        ensure!(is_gone(&cluster, passes).await?, "the Node is still there");
        creates_wait(&cluster).await
    })
}

/// While the webhook is down, only a Node with a mark cannot be created.
async fn creates_wait(cluster: &Cluster) -> Result<()> {
    let marked = json!({ "metadata": { "labels": { keys::PHASE: "delaying" } } });
    let answer = create(&cluster.admin, "created-marked", &marked).await?;
    ensure!(
        answer.code == 500 && answer.message().contains("failed calling webhook"),
        "{answer:?}"
    );
    ensure!(is_gone(cluster, "created-marked").await?, "it is there");
    let answer = create(&cluster.admin, "created-free", &json!({})).await?;
    ensure!(answer.code == 201, "{answer:?}");
    Ok(())
}

/// Deletes a Node by its name, or Nodes by a query.
pub(super) async fn delete(client: &Client, target: &str) -> Result<Answer> {
    let path = if target.starts_with('?') {
        target.to_owned()
    } else {
        format!("/{target}")
    };
    let request = Request::delete(format!("/api/v1/nodes{path}")).body(Body::empty())?;
    wire::send(client, request).await
}

pub(super) async fn is_gone(cluster: &Cluster, node: &str) -> Result<bool> {
    let nodes: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(cluster.admin.clone());
    Ok(nodes.get_opt(node).await?.is_none())
}
