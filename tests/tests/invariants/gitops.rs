//! What Flux and Argo CD make of the manifests when they put them into another namespace: what the documented overlay of two lines makes.
//! And whether the CA stays in the webhook configuration when they apply them.
//!
//! Not here: whether that is right, see `manifests.rs`.

use anyhow::{Context as _, Result, ensure};
use cordonhold_release::images::NO_REPOSITORY;
use cordonhold_tests::cluster::Cluster;
use cordonhold_tests::gitops::Sync;
use cordonhold_tests::identity::Identity;
use cordonhold_tests::install::{Rendered, manifests};
use cordonhold_tests::kubelet::image::repository;
use cordonhold_tests::programs::Program;
use cordonhold_tests::{NAMESPACE, gitops, tree, wait};

use crate::certificates::SECONDS;
use crate::cluster::{alone, on_shared};
use crate::installed::{ROLLED_OUT, bundle, is_rolled_out};
use crate::manifests::{ELSEWHERE, VARIANTS, add_overlay, documented_overlay, is_same};

#[test]
fn flux_and_argo_cd_move_the_base_as_the_documented_overlay_does() -> Result<()> {
    on_shared(async |cluster| {
        let copy = tempfile::tempdir().context("failed to create a directory")?;
        tree::copy(&manifests(""), copy.path())?;
        let overlay = add_overlay(
            copy.path(),
            ELSEWHERE,
            &documented_overlay("namespace: elsewhere")?,
        )?;
        let expected = Rendered::from_directory(&cluster.plane.assets().kubectl, &overlay).await?;
        let flux = gitops::flux(&manifests(""), "base", ELSEWHERE).await?;
        is_same(flux.objects(), expected.objects()).context("Flux")?;
        let argo = gitops::argo(&manifests(""), "base", ELSEWHERE).await?;
        is_same(argo.objects(), expected.objects()).context("Argo CD")
    })
}

#[test]
fn flux_and_argo_cd_move_each_variant_as_an_overlay_around_it_does() -> Result<()> {
    on_shared(async |cluster| {
        let copy = tempfile::tempdir().context("failed to create a directory")?;
        tree::copy(&manifests(""), copy.path())?;
        let around = format!("namespace: {ELSEWHERE}\nresources: [../plain]\n");
        let around = add_overlay(copy.path(), "around", &around)?;
        for variant in VARIANTS {
            drop(add_overlay(copy.path(), "plain", variant)?);
            let expected = Rendered::from_directory(&cluster.plane.assets().kubectl, &around).await?;
            let flux = gitops::flux(copy.path(), "overlays/plain", ELSEWHERE).await?;
            is_same(flux.objects(), expected.objects()).with_context(|| format!("Flux: {variant}"))?;
            let argo = gitops::argo(copy.path(), "overlays/plain", ELSEWHERE).await?;
            is_same(argo.objects(), expected.objects()).with_context(|| format!("Argo CD: {variant}"))?;
        }
        Ok(())
    })
}

/// The part of a kustomization that names the images of a cluster whose pods of ours run.
pub(crate) fn images() -> String {
    let rows = [Program::Agent, Program::Webhook].map(|program| {
        let name = format!("{NO_REPOSITORY}/{}", program.name());
        format!("  - {{name: {name}, newName: {}}}\n", repository(program))
    });
    format!("images:\n{}", rows.concat())
}

/// Somebody applies by hand, then comes Flux, then Argo CD: none of them takes the CA out. `Replace=true` does, and is named once it is repaired.
#[test]
fn flux_and_argo_cd_leave_the_ca_in_the_configuration_or_are_named() -> Result<()> {
    alone(async || {
        let cluster = Cluster::start(1).await?;
        let (plane, client) = (&cluster.plane, cluster.plane.client());
        let copy = tempfile::tempdir().context("failed to create a directory")?;
        tree::copy(&manifests(""), copy.path())?;
        let overlay = add_overlay(
            copy.path(),
            "yours",
            &format!("resources: [../../base]\n{}", images()),
        )?;
        let by_hand = plane
            .kubectl_line(Identity::Admin)
            .args(["apply", "--kustomize"])
            .arg(overlay);
        drop(by_hand.run("", ROLLED_OUT).await?);
        wait::until("certs and the webhook to be ready", ROLLED_OUT, || async {
            is_rolled_out(&client, "cordonhold-certs").await?;
            is_rolled_out(&client, "cordonhold-webhook").await.map(Some)
        })
        .await?;
        let ca = bundle(&client).await?;
        ensure!(ca.contains("BEGIN CERTIFICATE"), "{ca}");

        let flux = gitops::flux(copy.path(), "overlays/yours", NAMESPACE).await?;
        for round in 0..2 {
            gitops::flux_applies(&client, &flux).await?;
            ensure!(bundle(&client).await? == ca, "Flux took it out, in round {round}");
        }
        let argo = gitops::argo(copy.path(), "overlays/yours", NAMESPACE).await?;
        for sync in [Sync::Apply, Sync::ServerSideApply] {
            gitops::argo_syncs(plane, &argo, sync).await?;
            ensure!(bundle(&client).await? == ca, "Argo CD took it out, by {sync:?}");
        }
        ensure!(
            said(&cluster, "repaired a caBundle")?.is_empty(),
            "repaired what was right"
        );

        gitops::argo_syncs(plane, &argo, Sync::Replace).await?;
        wait::until("the CA to come back", SECONDS, || async {
            Ok((bundle(&client).await? == ca).then_some(()))
        })
        .await?;
        let lines = wait::until("the repairs in the log", SECONDS, || async {
            let lines = said(&cluster, "repaired a caBundle")?;
            Ok((lines.len() == 3).then_some(lines))
        })
        .await?;
        // A write that only removes fields leaves no name, so it is the one who wrote last before: here the same tool.
        ensure!(
            lines
                .iter()
                .all(|line| line.contains("perhaps by the field manager argocd-controller")),
            "{lines:?}"
        );
        Ok(())
    })
}

/// The lines of certs' log with this text.
fn said(cluster: &Cluster, text: &str) -> Result<Vec<String>> {
    let pods = cluster.kubelet.running_on("node-0");
    let pod = pods.iter().find(|pod| pod.name.starts_with("cordonhold-certs"));
    let path = cluster.kubelet.log_path(pod.context("certs does not run")?);
    let log = std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(log
        .lines()
        .filter(|line| line.contains(text))
        .map(str::to_owned)
        .collect())
}
