//! What the oldest Kubernetes lacks, on a real API server of that release. `docs/versions.md` has the table.
//!
//! It runs only with the feature `long`, see `.ci/long`, which also runs the invariants on that release.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use cordonhold_tests::assets::Kubernetes;
use cordonhold_tests::control_plane::{ControlPlane, Options};
use cordonhold_tests::identity::Credential;
use cordonhold_tests::install::{Rendered, WEBHOOK_DEPLOYMENT, install, manifests};
use cordonhold_tests::webhook::{Mode, Protection, Webhook};
use cordonhold_tests::{NAMESPACE, WEBHOOK_ACCOUNT};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde_json::Value;

use crate::cluster::alone;
use crate::fleet::Site;
use crate::manifests::{dry_run, overlay};
use crate::server::wait_named;

/// Kubernetes 1.32 can behave as 1.31, where the feature gate is not locked yet.
const WITHOUT_NODES_IN_TOKENS: [&str; 2] = [
    "--emulated-version=1.31",
    "--feature-gates=ServiceAccountTokenPodNodeInfo=false",
];

/// The components that only a newer API server takes: what the older refuses, without what both refuse, such as kinds of cert-manager.
/// The releases between are not run: their rows follow from when Kubernetes has what (k8s.io/kubernetes: `pkg/features/kube_features.go`,
/// `MutatingAdmissionPolicy`: alpha in 1.32, beta in 1.34, both off by default, and on from 1.36; `ManifestBasedAdmissionControlConfig`: alpha
/// in 1.36, off by default, and on from 1.37).
#[test]
fn what_is_lost_on_each_release_is_what_the_page_says() -> Result<()> {
    alone(async || {
        let [oldest, newest] = [
            refused(Kubernetes::Oldest).await?,
            refused(Kubernetes::Newest).await?,
        ];
        for (kubernetes, refused) in [(Kubernetes::Oldest, &oldest), (Kubernetes::Newest, &newest)] {
            let lost: BTreeSet<&String> = refused.difference(&newest).collect();
            let row = row_of(kubernetes.minor())?;
            let named = lost
                .iter()
                .filter(|name| row.contains(&format!("`components/{name}`")))
                .count();
            ensure!(
                named == lost.len() && named == row.matches("`components/").count(),
                "lost on {}: {lost:?}, and the page says: {row}",
                kubernetes.minor()
            );
        }
        ensure!(
            !oldest.is_subset(&newest),
            "nothing is lost on the oldest, so the table is out of date"
        );
        Ok(())
    })
}

/// The names of the components that an API server of this release refuses.
async fn refused(kubernetes: Kubernetes) -> Result<BTreeSet<String>> {
    let plane = ControlPlane::start_on(kubernetes, Options { nodes: 0 }, &[]).await?;
    // It has the namespaces that the components' objects go to.
    drop(install(&plane, &manifests("base")).await?);
    let copy = tempfile::tempdir().context("failed to create a directory")?;
    let mut refused = BTreeSet::new();
    for entry in std::fs::read_dir(manifests("components")).context("failed to list the components")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let text = format!("resources: [../../base]\ncomponents: [../../components/{name}]\n");
        let directory = overlay(copy.path(), &format!("only-{name}"), &text)?;
        let rendered = Rendered::from_directory(&plane.assets().kubectl, &directory).await;
        let objects = rendered.with_context(|| name.clone())?.objects().to_vec();
        let (is_taken, said) = dry_run(&plane, &objects).await?;
        if !is_taken {
            println!("{} refuses {name}: {said}", kubernetes.minor());
            let _ = refused.insert(name);
        }
    }
    Ok(refused)
}

/// The row of this release in the table of `docs/versions.md`. A row that says "the same" stands for the one above it.
fn row_of(minor: &str) -> Result<String> {
    let page = include_str!("../../../docs/versions.md");
    let mut above = "";
    for line in page.lines().filter(|line| line.starts_with("| 1.")) {
        if !line.contains("| the same |") {
            above = line;
        }
        if line.starts_with(&format!("| {minor} |")) {
            return Ok(above.to_owned());
        }
    }
    bail!("docs/versions.md has no row for Kubernetes {minor}")
}

#[test]
fn one_node_one_agent_an_api_server_that_leaves_the_node_out_of_tokens_is_named_by_both_programs()
-> Result<()> {
    alone(async || {
        let options = Options { nodes: 1 };
        let plane = ControlPlane::start_on(Kubernetes::Oldest, options, &WITHOUT_NODES_IN_TOKENS).await?;
        drop(install(&plane, &manifests("base")).await?);

        let site = Site::new(&plane, "nameless", &[]).await?;
        let said: Value = site.wait_event("token_without_node").await?;
        let why = said["why"].as_str().unwrap_or_default();
        ensure!(why.contains("ServiceAccountTokenPodNodeInfo"), "{said}");

        let pods: Api<Pod> = Api::namespaced(plane.client(), NAMESPACE);
        let selector = format!("app.kubernetes.io/name={WEBHOOK_DEPLOYMENT}");
        let listed = pods.list(&ListParams::default().labels(&selector)).await?;
        let pod = listed.items.first().context("no pod of the webhook")?;
        let token = plane
            .service_account_token(NAMESPACE, WEBHOOK_ACCOUNT, Some(pod))
            .await?;
        let mut webhook = Webhook::start(&plane, Mode::Enforce, Protection::OwnHolds).await?;
        webhook.stop().await?;
        // With a token as the kubelet mounts it.
        plane.endpoint().write_kubeconfig(
            &plane.directory().join("webhook/kubeconfig"),
            WEBHOOK_ACCOUNT,
            &Credential::Token(token),
        )?;
        webhook.start_again().await?;
        let says = [
            "the agents' writes to their own Nodes are denied",
            "ServiceAccountTokenPodNodeInfo",
        ];
        wait_named(&webhook, &says, true).await
    })
}
