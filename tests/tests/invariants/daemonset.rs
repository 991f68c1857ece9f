//! The agent's DaemonSet: where its pods run, and what an agent says if it lacks permissions.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::keys;
use cordonhold_tests::control_plane::ControlPlane;
use cordonhold_tests::identity::Impersonation;
use cordonhold_tests::{AGENT_ACCOUNT, NAMESPACE, wait};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::cluster::{alone, on_fleet};
use crate::fleet::{Site, unguarded_plane};
use crate::manifests::{Right, may};

const POD_TIMEOUT: Duration = Duration::from_secs(30);

/// kured only tolerates the two control-plane taints, so it does not run on nodes with other taints (its defect D28).
#[test]
fn d28_an_agent_runs_whatever_its_node_is_tainted_with() -> Result<()> {
    on_fleet(async |plane| {
        plane.add_node("tainted").await?;
        let taints = json!({ "spec": { "taints": [
            { "key": "example.com/dedicated", "value": "gpu", "effect": "NoSchedule" },
            { "key": "example.com/broken", "effect": "NoExecute" },
            { "key": "node-role.kubernetes.io/etcd", "effect": "NoExecute" },
        ] } });
        patch_node(plane, "tainted", &taints).await?;
        let before = wait_agent_pod(plane, "tainted", None).await?;
        let pods: Api<Pod> = Api::namespaced(plane.client(), NAMESPACE);
        drop(
            pods.delete(&before.name_any(), &DeleteParams::default().grace_period(0))
                .await
                .context("failed to delete an agent's pod")?,
        );
        drop(wait_agent_pod(plane, "tainted", before.metadata.uid.as_deref()).await?);
        Ok(())
    })
}

#[test]
fn a_node_that_opts_out_gets_no_agent() -> Result<()> {
    on_fleet(async |plane| {
        plane.add_node("opted-out").await?;
        drop(wait_agent_pod(plane, "opted-out", None).await?);
        let label = json!({ "metadata": { "labels": { keys::AGENT: "disabled" } } });
        patch_node(plane, "opted-out", &label).await?;
        wait::until("the agent's pod to go", POD_TIMEOUT, || async {
            Ok(agent_pods(plane, "opted-out").await?.is_empty().then_some(()))
        })
        .await
    })
}

#[test]
fn each_permission_that_is_missing_is_named() -> Result<()> {
    alone(async || {
        let plane = unguarded_plane(1).await?;
        let roles: Api<ClusterRole> = Api::all(plane.client());
        let mut role = roles.get(AGENT_ACCOUNT).await.context("failed to get the role")?;
        for rule in role.rules.iter_mut().flatten() {
            let resources = rule.resources.clone().unwrap_or_default();
            if resources == ["nodes"] {
                rule.verbs.retain(|verb| verb != "patch");
            }
            if resources == ["pods/eviction"] {
                rule.verbs = vec!["get".to_owned()];
            }
        }
        let smaller = json!({ "rules": role.rules });
        drop(
            roles
                .patch(AGENT_ACCOUNT, &PatchParams::default(), &Patch::Merge(smaller))
                .await
                .context("failed to change the role")?,
        );
        let agent = Impersonation::service_account(NAMESPACE, AGENT_ACCOUNT).on_node("node-0");
        let agent = plane.client_as(&agent).await?;
        // RBAC takes a moment to apply a change.
        wait::until("the role to be in force", POD_TIMEOUT, || async {
            let is_larger = may(&agent, Right::new("", "nodes", "patch")).await?
                || may(&agent, Right::new("", "pods/eviction", "create")).await?;
            Ok((!is_larger).then_some(()))
        })
        .await?;
        let mut site = Site::without_agent(&plane, "node-0").await?;
        site.start_agent(&[]).await?;
        let ended = wait::until("the agent to end", POD_TIMEOUT, || async {
            Ok(site.machine.check_agent().await.err())
        })
        .await?;
        let said = format!("{ended:#}");
        for missing in ["patch nodes", "create pods/eviction"] {
            ensure!(said.contains(missing), "{missing} is not named: {said}");
        }
        ensure!(
            said.contains("2 permissions are missing") && said.contains("rbac-agent.yaml"),
            "{said}"
        );
        Ok(())
    })
}

async fn patch_node(plane: &ControlPlane, name: &str, patch: &serde_json::Value) -> Result<()> {
    let nodes: Api<Node> = Api::all(plane.client());
    let patched = nodes
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await;
    patched
        .map(drop)
        .with_context(|| format!("failed to patch the Node {name}"))
}

async fn agent_pods(plane: &ControlPlane, node: &str) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(plane.client(), NAMESPACE);
    let on_node = ListParams::default()
        .fields(&format!("spec.nodeName={node}"))
        .labels("app.kubernetes.io/name=cordonhold-agent");
    Ok(pods.list(&on_node).await.context("failed to list pods")?.items)
}

/// A running pod of the agent's on this node that is not this one.
async fn wait_agent_pod(plane: &ControlPlane, node: &str, not: Option<&str>) -> Result<Pod> {
    wait::until(&format!("an agent's pod on {node}"), POD_TIMEOUT, || async {
        let pods = agent_pods(plane, node).await?;
        Ok(pods.into_iter().find(|pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            phase == Some("Running")
                && pod.metadata.deletion_timestamp.is_none()
                && pod.metadata.uid.as_deref() != not
        }))
    })
    .await
}
