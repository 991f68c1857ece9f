//! What Flux and Argo CD make of the manifests when they put them into another namespace: what the documented overlay of two lines makes.
//!
//! Not here: whether that is right, see `manifests.rs`.

use anyhow::{Context as _, Result};
use cordonhold_tests::install::{Rendered, manifests};
use cordonhold_tests::{gitops, tree};

use crate::cluster::on_shared;
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
