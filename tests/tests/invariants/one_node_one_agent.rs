//! ONE-NODE-ONE-AGENT: the token of the agent on one node writes no other Node.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_tests::identity::{Credential, Impersonation};
use cordonhold_tests::{AGENT_ACCOUNT, NAMESPACE, wait};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::cluster::{Cluster, on_shared};
use crate::subject::{Subject, annotate, cordon, uncordon};
use crate::wire::{self, Write};

/// Longest wait for a pod: the DaemonSet controller creates it, KWOK runs it.
const POD_TIMEOUT: Duration = Duration::from_secs(30);

#[test]
fn a_real_token_changes_its_own_node() -> Result<()> {
    on_shared(async |cluster| {
        let mut subject = Subject::new(cluster, "own-node").await?;
        subject.agent = with_real_token(cluster, "own-node").await?;
        drop(subject.hold(Phase::Returning).await?);
        ensure!(
            subject.is_cordoned().await?,
            "the agent's cordon did not come about"
        );
        subject.give_back().await?;
        let after = subject.guarded().await?;
        ensure!(
            !after.unschedulable && !after.is_tainted && after.phase.is_none(),
            "{after:?}"
        );
        Ok(())
    })
}

#[test]
fn a_real_token_changes_no_other_node() -> Result<()> {
    on_shared(async |cluster| {
        let own = Subject::new(cluster, "neighbour").await?;
        let held = Subject::held(cluster, "other-held", Phase::Delaying).await?;
        let free = Subject::new(cluster, "other-free").await?;
        let impersonated = cluster.agent_on(&own.name).await?;
        for agent in [with_real_token(cluster, &own.name).await?, impersonated] {
            is_not_own_node(&held, &free, &agent).await?;
        }
        Ok(())
    })
}

/// A token that is not bound to a pod names no node, so it is not the agent of any node.
#[test]
fn a_token_without_a_node_changes_none() -> Result<()> {
    on_shared(async |cluster| {
        let held = Subject::held(cluster, "unbound-held", Phase::Delaying).await?;
        let free = Subject::new(cluster, "unbound-free").await?;
        let token = cluster
            .plane
            .service_account_token(NAMESPACE, AGENT_ACCOUNT, None)
            .await?;
        let agent = client_with(cluster, "unbound", token).await?;
        is_not_own_node(&held, &free, &agent).await?;
        let of_two = Impersonation::service_account(NAMESPACE, AGENT_ACCOUNT)
            .on_node(&held.name)
            .on_node(&free.name);
        is_not_own_node(&held, &free, &cluster.plane.client_as(&of_two).await?).await
    })
}

/// An agent's write to another node is denied whatever it changes and however it is sent, even if anybody else may do the same.
#[test]
fn found_s2_an_agent_writes_nothing_at_all_on_another_node() -> Result<()> {
    on_shared(async |cluster| {
        let own = Subject::new(cluster, "s2-own").await?;
        let held = Subject::held(cluster, "s2-held", Phase::Delaying).await?;
        let free = Subject::new(cluster, "s2-free").await?;
        for other in [&held, &free] {
            for body in nothing_of_ours() {
                for write in [Write::Merge, Write::Strategic] {
                    drop(other.is_denied(&own.agent, write, &body, "not-own-node").await?);
                }
            }
            writes_no_status(cluster, other, &own.name).await?;
        }
        // On the agent's own Node the webhook is not called for the same writes.
        let length = cluster.log_length().await?;
        for body in nothing_of_ours() {
            drop(own.passes(&own.agent, Write::Merge, &body).await?);
        }
        let seen = cluster.decisions_since(length, "node", &own.name).await?;
        ensure!(seen.is_empty(), "{seen:?}");
        Ok(())
    })
}

pub(crate) fn nothing_of_ours() -> Vec<Value> {
    let away = json!({ "key": "example.org/away", "effect": "NoExecute" });
    let mut bodies = vec![
        json!({ "metadata": { "labels": { "team": "a" } } }),
        json!({ "metadata": { "labels": { keys::AGENT: "disabled" } } }),
        // Together with the cordon, which the taints of the node controller follow.
        json!({ "spec": { "unschedulable": true, "taints": [away] } }),
    ];
    for key in [keys::GIVEN_BACK, keys::REPLACED, keys::PAUSE, "example.org/note"] {
        bodies.push(annotate(key, Some("x")));
    }
    bodies
}

/// Tries to write the status of another node with all RBAC permissions. The component for conditions grants the status, and a
/// careless admin might grant everything.
async fn writes_no_status(cluster: &Cluster, other: &Subject<'_>, own: &str) -> Result<()> {
    let agent = Impersonation::service_account(NAMESPACE, AGENT_ACCOUNT)
        .group("system:masters")
        .on_node(own);
    let agent = cluster.plane.client_as(&agent).await?;
    let length = cluster.log_length().await?;
    let body = json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } });
    let target = format!("{}/status", other.name);
    wire::write(&agent, &target, Write::Strategic, &body)
        .await?
        .denied()?;
    let decision = cluster.decision_since(length, &other.name).await?;
    ensure!(decision["reason"] == "not-own-node", "{decision}");
    let mut whole = other.json().await?;
    whole["metadata"]["labels"]["team"] = json!("a");
    let metadata = whole["metadata"].as_object_mut();
    drop(metadata.and_then(|metadata| metadata.remove("resourceVersion")));
    drop(
        other
            .is_denied(&agent, Write::Put, &whole, "not-own-node")
            .await?,
    );
    Ok(())
}

async fn is_not_own_node(held: &Subject<'_>, free: &Subject<'_>, agent: &Client) -> Result<()> {
    let taint = json!({ "spec": { "taints": [{ "key": keys::REBOOTING, "effect": keys::NO_SCHEDULE }] } });
    let draining = json!({ "metadata": { "labels": { keys::PHASE: "draining" } } });
    let stamp: Value = annotate(keys::HOLDER, Some("uid/2026-01-01T00:00:00.000000000Z"));
    for body in [&stamp, &draining, &taint, &cordon()] {
        drop(free.is_denied(agent, Write::Merge, body, "not-own-node").await?);
    }
    let admin = &free.cluster.admin;
    drop(free.passes(admin, Write::Merge, &cordon()).await?);
    drop(
        free.is_denied(agent, Write::Merge, &uncordon(), "not-own-node")
            .await?,
    );
    drop(free.passes(admin, Write::Merge, &uncordon()).await?);
    let untainted = json!({ "spec": { "taints": null } });
    let together =
        json!({ "metadata": { "labels": { keys::PHASE: null } }, "spec": { "unschedulable": null } });
    for body in [&stamp, &draining, &untainted, &together, &uncordon()] {
        drop(held.is_denied(agent, Write::Merge, body, "not-own-node").await?);
    }
    let cancel = annotate(
        keys::CANCEL,
        Some("2026-01-01T00:00:00.000000000Z from the neighbour"),
    );
    drop(
        held.is_denied(agent, Write::Merge, &cancel, "not-own-node")
            .await?,
    );
    Ok(())
}

/// A client with a real token of the agent's pod on this node.
pub(crate) async fn with_real_token(cluster: &Cluster, node: &str) -> Result<Client> {
    let pods: Api<Pod> = Api::namespaced(cluster.admin.clone(), NAMESPACE);
    let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let what = format!("the agent's pod on {node}");
    let pod = wait::until(&what, POD_TIMEOUT, || async {
        let listed = pods.list(&on_node).await?;
        Ok(listed
            .items
            .into_iter()
            .find(|pod| pod.name_any().starts_with(AGENT_ACCOUNT)))
    })
    .await?;
    let token = cluster
        .plane
        .service_account_token(NAMESPACE, AGENT_ACCOUNT, Some(&pod))
        .await?;
    client_with(cluster, node, token).await
}

async fn client_with(cluster: &Cluster, name: &str, token: String) -> Result<Client> {
    let path = cluster
        .plane
        .directory()
        .join(format!("token-of-{name}.kubeconfig"));
    cluster
        .plane
        .endpoint()
        .write_kubeconfig(&path, AGENT_ACCOUNT, &Credential::Token(token))
        .context("failed to write the agent's kubeconfig")?;
    cluster.plane.client_from(&path).await
}
