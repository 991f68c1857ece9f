//! The ways past a webhook that is in the way, as `docs/gitops.md` has them: each command does what its row says, and so does its way back.
//!
//! Not here: pausing Flux and Argo CD, whose own programs do that.

use anyhow::{Context as _, Result, bail, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_tests::certificates::{self, Certs};
use cordonhold_tests::control_plane::{ControlPlane, Options};
use cordonhold_tests::install::manifests;
use cordonhold_tests::marks::Marks;
use cordonhold_tests::wait;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::cluster::alone;
use crate::manifests::shell;

/// The commands of the table, from the softest to the hardest.
fn documented() -> Result<[String; 3]> {
    let path = manifests("../docs/gitops.md");
    let page =
        std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let rows = page.lines().filter(|line| {
        let rest = line.strip_prefix("| ");
        rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    });
    let commands: Vec<String> = rows
        .filter_map(|row| Some(row.split('`').nth(1)?.replace("\\|", "|")))
        .collect();
    let count = commands.len();
    commands
        .try_into()
        .map_err(|_| anyhow::anyhow!("the page has {count} ways"))
}

/// What an uncordon of the held node meets. No webhook runs, so an answer is never given.
async fn uncordon(plane: &ControlPlane, node: &str) -> Result<()> {
    let nodes: Api<Node> = Api::all(plane.client());
    let patch = Patch::Merge(json!({"spec": {"unschedulable": null}}));
    drop(nodes.patch(node, &PatchParams::default(), &patch).await?);
    Ok(())
}

async fn is_refused(plane: &ControlPlane, node: &str) -> Result<()> {
    let Err(error) = uncordon(plane, node).await else {
        bail!("the uncordon passed")
    };
    let said = format!("{error:#}");
    ensure!(
        said.contains("failed calling webhook \"nodes.cordonhold.dev\""),
        "{said}"
    );
    Ok(())
}

async fn cordon(plane: &ControlPlane, node: &str) -> Result<()> {
    let nodes: Api<Node> = Api::all(plane.client());
    let patch = Patch::Merge(json!({"spec": {"unschedulable": true}}));
    drop(nodes.patch(node, &PatchParams::default(), &patch).await?);
    Ok(())
}

#[test]
fn each_documented_way_past_the_webhook_works_and_leads_back() -> Result<()> {
    alone(async || {
        let plane = ControlPlane::start(Options { nodes: 1 }).await?;
        let [audit, ignore, delete] = documented()?;
        let apply = "kubectl apply -k manifests/base";
        let node = "node-0";
        drop(shell(&plane, apply).await?);
        let _holder = Marks::of(&plane, node).await?.hold(Phase::Draining).await?;
        is_refused(&plane, node).await.context("before")?;

        drop(shell(&plane, &audit).await?);
        let mode = "kubectl -n cordonhold get deployment cordonhold-webhook -o 'jsonpath={.spec.template.spec.containers[0].args[0]}'";
        ensure!(shell(&plane, mode).await? == "--mode=audit", "{audit}");
        drop(shell(&plane, &audit.replace("--mode=audit", "--mode=enforce")).await?);
        ensure!(shell(&plane, mode).await? == "--mode=enforce", "its way back");

        for way in [ignore, delete] {
            drop(shell(&plane, &way).await?);
            uncordon(&plane, node).await.with_context(|| way.clone())?;
            cordon(&plane, node).await?;
            drop(shell(&plane, apply).await?);
            is_refused(&plane, node)
                .await
                .with_context(|| format!("the way back from {way}"))?;
        }

        // What was deleted has no CA: certs writes it.
        let mut certs = Certs::start(&plane, "certs", &[]).await?;
        wait::until("certs to write the CA", certificates::READY_TIMEOUT, || async {
            let bundle = "kubectl get validatingwebhookconfiguration cordonhold -o 'jsonpath={.webhooks[*].clientConfig.caBundle}'";
            Ok((shell(&plane, bundle).await?.split_whitespace().count() == 3).then_some(()))
        })
        .await?;
        certs.stop().await
    })
}
