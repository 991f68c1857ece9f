//! Clusters of one, two and three nodes with everything in `manifests/`: each node is rebooted in turn, whatever runs there.

use anyhow::{Context, Result, ensure};
use cordonhold_tests::NAMESPACE;
use cordonhold_tests::control_plane::{ControlPlane, Options};
use cordonhold_tests::install::{WEBHOOK_DEPLOYMENT, install, manifests, webhook_runs};
use cordonhold_tests::webhook::{Mode, Protection, Webhook};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;

use crate::cluster::alone;
use crate::fleet::Site;

/// The priority of `system-cluster-critical` (kubernetes/kubernetes: pkg/apis/scheduling/types.go).
const CLUSTER_CRITICAL: i32 = 2_000_000_000;

#[test]
fn found_p5_a_cluster_of_one_node_reboots_as_shipped() -> Result<()> {
    alone(async || each_node_reboots(1).await)
}

#[test]
fn found_p5_a_cluster_of_two_nodes_reboots_as_shipped() -> Result<()> {
    alone(async || each_node_reboots(2).await)
}

#[test]
fn found_p5_a_cluster_of_three_nodes_reboots_as_shipped() -> Result<()> {
    alone(async || each_node_reboots(3).await)
}

async fn each_node_reboots(nodes: usize) -> Result<()> {
    let plane = ControlPlane::start(Options { nodes }).await?;
    let rendered = install(&plane, &manifests("base")).await?;
    let webhook = Webhook::start_with(&plane, Mode::Enforce, Protection::OwnHolds, &[]).await?;
    webhook.register(&plane, &rendered, "node-0").await?;
    let replicas = webhook_runs(&plane.client()).await?;
    let mut moved = 0;
    for node in 0..nodes {
        let mut site = Site::without_agent(&plane, &format!("node-{node}")).await?;
        site.start_agent(&[]).await?;
        let before = webhook_pods(&plane, site.name()).await?;
        site.machine.request_reboot()?;
        site.reboots_once_and_is_given_back().await?;
        moved += before;
        ensure!(
            webhook_runs(&plane.client()).await? == replicas,
            "a replica is lost"
        );
    }
    ensure!(
        moved >= usize::try_from(replicas)?,
        "only {moved} of its pods were drained"
    );
    Ok(())
}

/// The number of the webhook's pods on this node. Checks that each has the priority from the manifests.
async fn webhook_pods(plane: &ControlPlane, node: &str) -> Result<usize> {
    let pods: Api<Pod> = Api::namespaced(plane.client(), NAMESPACE);
    let params = ListParams::default()
        .labels(&format!("app.kubernetes.io/name={WEBHOOK_DEPLOYMENT}"))
        .fields(&format!("spec.nodeName={node}"));
    let pods = pods
        .list(&params)
        .await
        .context("failed to list the webhook's pods")?;
    for pod in &pods.items {
        let priority = pod.spec.as_ref().and_then(|spec| spec.priority);
        ensure!(priority == Some(CLUSTER_CRITICAL), "{pod:?}");
    }
    Ok(pods.items.len())
}
