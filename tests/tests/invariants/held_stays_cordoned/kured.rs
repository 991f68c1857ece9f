//! Stock kured's own hold: its lock is an annotation on its DaemonSet, which the webhook reads afresh for every uncordon.

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_tests::identity::Impersonation;
use cordonhold_tests::webhook::{Mode, Protection};
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::cluster::{Cluster, alone};
use crate::subject::{Subject, cordon, uncordon};
use crate::wire::Write;

#[test]
fn a_node_that_kureds_lock_names() -> Result<()> {
    alone(async || {
        let cluster = Cluster::start(
            "overlays/protect-kured",
            Mode::Enforce,
            Protection::OwnHoldsAndKured,
        )
        .await?;
        let named = Subject::new(&cluster, "kured-named").await?;
        let other = Subject::new(&cluster, "kured-other").await?;
        passes(&named, "not-held").await.context("without a DaemonSet")?;
        let kured = Kured::install(&cluster).await?;
        passes(&named, "not-held").await.context("without a lock")?;
        for lock in [
            single("kured-named", 0),
            multi(&["kured-elsewhere", "kured-named"]),
        ] {
            kured.set_lock(Some(&lock.to_string())).await?;
            is_kured_held(&cluster, &named)
                .await
                .with_context(|| lock.to_string())?;
            passes(&other, "not-held")
                .await
                .with_context(|| lock.to_string())?;
        }
        kureds_own_agent_passes(&cluster, &named).await?;
        released_or_over(&kured, &named).await?;
        kured.set_lock(Some("{\"nodeID\": ")).await?;
        is_cordoned_and_denied(&other, "lock-unreadable").await?;
        kured.remove().await?;
        passes(&other, "not-held")
            .await
            .context("after the DaemonSet went")?;
        let own = Subject::held(&cluster, "kured-own-hold", Phase::Delaying).await?;
        drop(
            own.is_denied(&cluster.controller, Write::Strategic, &uncordon(), "held")
                .await?,
        );
        Ok(())
    })
}

struct Kured {
    daemon_sets: Api<DaemonSet>,
}

impl Kured {
    /// No node fits, so no pod of it runs: only its lock is of interest.
    async fn install(cluster: &Cluster) -> Result<Self> {
        let daemon_set: DaemonSet = serde_json::from_value(json!({
            "metadata": { "name": "kured" },
            "spec": {
                "selector": { "matchLabels": { "name": "kured" } },
                "template": {
                    "metadata": { "labels": { "name": "kured" } },
                    "spec": {
                        "nodeSelector": { "example.org/none": "none" },
                        "containers": [{ "name": "kured", "image": "ghcr.io/kubereboot/kured:1.23.0" }],
                    },
                },
            },
        }))?;
        let daemon_sets: Api<DaemonSet> = Api::namespaced(cluster.admin.clone(), "kube-system");
        drop(
            daemon_sets
                .create(&PostParams::default(), &daemon_set)
                .await
                .context("failed to create kured's DaemonSet")?,
        );
        Ok(Self { daemon_sets })
    }

    async fn set_lock(&self, lock: Option<&str>) -> Result<()> {
        let patch = json!({ "metadata": { "annotations": { keys::KURED_LOCK: lock } } });
        let patched = self
            .daemon_sets
            .patch("kured", &PatchParams::default(), &Patch::Merge(patch))
            .await;
        patched.map(drop).context("failed to set kured's lock")
    }

    async fn remove(&self) -> Result<()> {
        let removed = self.daemon_sets.delete("kured", &DeleteParams::default()).await;
        removed.map(drop).context("failed to delete kured's DaemonSet")
    }
}

fn entry(node: &str, ttl_nanos: i64) -> Value {
    json!({
        "nodeID": node,
        "metadata": { "unschedulable": false },
        "created": "2026-01-01T00:00:00.123456789Z",
        "TTL": ttl_nanos,
    })
}

fn single(node: &str, ttl_nanos: i64) -> Value {
    entry(node, ttl_nanos)
}

fn multi(nodes: &[&str]) -> Value {
    let locks: Vec<Value> = nodes.iter().map(|node| entry(node, 0)).collect();
    json!({ "maxOwners": 2, "locks": locks })
}

async fn is_kured_held(cluster: &Cluster, subject: &Subject<'_>) -> Result<()> {
    for client in [&cluster.admin, &cluster.controller] {
        drop(subject.passes(client, Write::Merge, &cordon()).await?);
        let answer = subject
            .is_denied(client, Write::Strategic, &uncordon(), "kured-held")
            .await?;
        for part in [
            "is held by kured for a reboot",
            "daemonset kube-system/kured",
            keys::KURED_LOCK,
        ] {
            ensure!(
                answer.message().contains(part),
                "{part:?} is missing in: {}",
                answer.message()
            );
        }
        drop(
            subject
                .is_denied(
                    client,
                    Write::Merge,
                    &json!({ "spec": { "unschedulable": false } }),
                    "kured-held",
                )
                .await?,
        );
    }
    Ok(())
}

/// kured uncordons while it still holds its lock, so its own token on that node must pass, and its token on another must not.
async fn kureds_own_agent_passes(cluster: &Cluster, named: &Subject<'_>) -> Result<()> {
    let kured = Impersonation::service_account("kube-system", "kured").group("system:masters");
    let neighbour = cluster
        .plane
        .client_as(&kured.clone().on_node("kured-other"))
        .await?;
    drop(
        named
            .is_denied(&neighbour, Write::Strategic, &uncordon(), "kured-held")
            .await?,
    );
    // Tokens before Kubernetes 1.32 carry no node.
    for owner in [kured.clone(), kured.on_node(&named.name)] {
        drop(named.passes(&cluster.admin, Write::Merge, &cordon()).await?);
        let length = cluster.log_length();
        drop(
            named
                .can_be_uncordoned(&cluster.plane.client_as(&owner).await?)
                .await?,
        );
        let decision = cluster.decision_since(length, &named.name).await?;
        ensure!(
            decision["verdict"] == "allow" && decision["reason"] == "kured-owner",
            "{decision}"
        );
    }
    Ok(())
}

async fn released_or_over(kured: &Kured, named: &Subject<'_>) -> Result<()> {
    for lock in [
        None,
        Some(json!({ "maxOwners": 2, "locks": [] }).to_string()),
        Some(json!({ "maxOwners": 2, "locks": null }).to_string()),
        Some(json!({ "nodeID": "manual" }).to_string()),
        // A minute, counted from January.
        Some(single(&named.name, 60_000_000_000).to_string()),
    ] {
        kured.set_lock(Some(&single(&named.name, 0).to_string())).await?;
        is_cordoned_and_denied(named, "kured-held").await?;
        kured.set_lock(lock.as_deref()).await?;
        passes(named, "not-held")
            .await
            .with_context(|| format!("with the lock {lock:?}"))?;
    }
    Ok(())
}

async fn is_cordoned_and_denied(subject: &Subject<'_>, reason: &str) -> Result<()> {
    let cluster = subject.cluster;
    drop(subject.passes(&cluster.admin, Write::Merge, &cordon()).await?);
    drop(
        subject
            .is_denied(&cluster.controller, Write::Strategic, &uncordon(), reason)
            .await?,
    );
    Ok(())
}

async fn passes(subject: &Subject<'_>, reason: &str) -> Result<()> {
    let cluster = subject.cluster;
    drop(subject.passes(&cluster.admin, Write::Merge, &cordon()).await?);
    let length = cluster.log_length();
    drop(subject.can_be_uncordoned(&cluster.controller).await?);
    let decision = cluster.decision_since(length, &subject.name).await?;
    ensure!(
        decision["verdict"] == "allow" && decision["reason"] == reason && decision["kured"] == true,
        "{decision}"
    );
    Ok(())
}
