//! The way back with `--ready-when`: what is missing is named, and the node stays cordoned until it is there.

use anyhow::{Context as _, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_tests::control_plane::ControlPlane;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::cluster::alone;
use crate::fleet::{Site, unguarded_plane};

const CONDITION: &str = "NetworkReady";

#[test]
fn a_node_that_is_back_stays_cordoned_until_it_has_what_ready_when_names() -> Result<()> {
    alone(async || {
        let plane = unguarded_plane(1).await?;
        let mut site = Site::without_agent(&plane, "node-0").await?;
        set_pods_ready(&plane, false).await?;
        site.start_agent(&[
            "--ready-when=condition=NetworkReady",
            "--ready-when=daemonset-pods",
            "--ready-timeout=1s",
        ])
        .await?;
        site.machine.request_reboot()?;

        let line = site.wait_event("return_waits").await?;
        ensure!(line["by"] == "condition", "{line}");
        let why = line["why"].as_str().unwrap_or_default();
        ensure!(
            why.contains("condition NetworkReady must be True, and is not there"),
            "{line}"
        );
        let line = site.wait_event("return_overdue").await?;
        ensure!(line["by"] == "condition", "{line}");
        ensure!(site.wait_phase(Phase::Returning).await?.spec.unschedulable);

        set_condition(&plane).await?;
        let line = site.wait_nth_event("return_waits", 2).await?;
        ensure!(line["by"] == "daemonset_pods", "{line}");
        ensure!(site.wait_phase(Phase::Returning).await?.spec.unschedulable);

        set_pods_ready(&plane, true).await?;
        site.reboots_once_and_is_given_back().await
    })
}

async fn set_condition(plane: &ControlPlane) -> Result<()> {
    let nodes: Api<Node> = Api::all(plane.client());
    let body = json!({ "status": { "conditions": [{ "type": CONDITION, "status": "True" }] } });
    let patched = nodes
        .patch_status("node-0", &PatchParams::default(), &Patch::Strategic(body))
        .await;
    patched.map(drop).context("failed to write a Node's condition")
}

/// Sets the condition Ready of each pod of a DaemonSet on the node; at least the agent's own pod is there.
async fn set_pods_ready(plane: &ControlPlane, is_ready: bool) -> Result<()> {
    let all: Api<Pod> = Api::all(plane.client());
    let on_node = ListParams::default().fields("spec.nodeName=node-0");
    let pods = all.list(&on_node).await.context("failed to list pods")?;
    let status = if is_ready { "True" } else { "False" };
    let body = json!({ "status": { "conditions": [{ "type": "Ready", "status": status }] } });
    let mut count = 0;
    for pod in pods {
        let owners = pod.metadata.owner_references.unwrap_or_default();
        let (Some(namespace), Some(name)) = (pod.metadata.namespace, pod.metadata.name) else {
            continue;
        };
        if owners.iter().all(|owner| owner.kind != "DaemonSet") {
            continue;
        }
        let pods: Api<Pod> = Api::namespaced(plane.client(), &namespace);
        let patched = pods
            .patch_status(&name, &PatchParams::default(), &Patch::Strategic(body.clone()))
            .await;
        drop(patched.with_context(|| format!("failed to write the status of {name}"))?);
        count += 1;
    }
    ensure!(count > 0, "there is no pod of a DaemonSet on the node");
    Ok(())
}
