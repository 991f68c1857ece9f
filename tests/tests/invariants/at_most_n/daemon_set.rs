//! The lock on kured's DaemonSet: kured's nodes and ours share one budget, and the lock moves with the DaemonSet.
//!
//! kured is simulated by its writes: a PUT of the whole object, with the record in kured's types, which drop unknown fields
//! (kubereboot/kured: pkg/daemonsetlock/daemonsetlock.go).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::Reading;
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_shared::lock::Record;
use cordonhold_tests::control_plane::{ControlPlane, Options};
use cordonhold_tests::install::{install, manifests};
use cordonhold_tests::wait;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::first_of;
use crate::cluster::alone;
use crate::fleet::{Site, unguarded_plane};

/// Longest write. A PUT of the whole object conflicts now and then with the agents and the DaemonSet controller.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
const OWNERS: usize = 2;

#[test]
fn kured_and_our_agents_share_one_budget() -> Result<()> {
    alone(async || {
        let plane = ControlPlane::start(Options { nodes: 2 }).await?;
        drop(install(&plane, &manifests("overlays/lock-on-daemonset")).await?);
        let kured = Kured::install(&plane).await?;
        ensure!(kured.acquire("kured-node").await?, "the lock was free");
        let mut sites = Vec::new();
        for name in ["node-0", "node-1"] {
            let mut site = Site::without_agent(&plane, name).await?;
            site.add_blocked_pod(&format!("blocked-{name}")).await?;
            site.machine.request_reboot()?;
            site.start_agent(&["--concurrency=2", "--backoff=1s"]).await?;
            let line = site.wait_event("lock_chosen").await?;
            ensure!(line["lock"] == "DaemonSet kube-system/kured", "{line}");
            sites.push(site);
        }
        // Besides kured's node one of ours may reboot. Then the lock is full, for us and for kured.
        let (one, other) = first_of(&sites[0], &sites[1]).await?;
        drop(other.wait_event("lock_held").await?);
        ensure!(kured.owners().await? == ["kured-node", one.name()]);
        ensure!(!kured.acquire("kured-other").await?, "kured took a third place");

        // kured's release rewrites the list without the fields that it does not know. Then our other node is next.
        kured.release("kured-node").await?;
        drop(other.wait_phase(Phase::Draining).await?);
        ensure!(kured.owners().await?.len() == OWNERS);
        ensure!(!kured.acquire("kured-other").await?, "kured took a third place");
        for site in &sites {
            site.unblock_pod(&format!("blocked-{}", site.name())).await?;
        }
        for site in &sites {
            site.reboots_once_and_is_given_back().await?;
        }
        wait::until("our entries to be released", WRITE_TIMEOUT, || async {
            Ok(kured.lock().await?.is_none().then_some(()))
        })
        .await?;
        ensure!(kured.acquire("kured-other").await?, "the lock was free");
        // D20: only annotations of the DaemonSet were written.
        let generation = kured.get().await?.metadata.generation;
        ensure!(generation == Some(1), "{generation:?}");
        Ok(())
    })
}

#[test]
fn the_lock_moves_with_kureds_daemon_set() -> Result<()> {
    alone(async || {
        let plane = unguarded_plane(1).await?;
        let mut site = Site::without_agent(&plane, "node-0").await?;
        let kured = Kured::install(&plane).await?;
        site.start_agent(&[]).await?;
        site.wait_refusal("patch daemonsets kube-system/kured").await?;
        site.machine.kill_agent().await;
        kured.remove().await?;
        drop(install(&plane, &manifests("overlays/lock-on-daemonset")).await?);

        site.add_blocked_pod("blocked").await?;
        site.machine.request_reboot()?;
        site.start_agent(&["--concurrency=1", "--backoff=1s"]).await?;
        drop(site.wait_phase(Phase::Draining).await?);
        ensure!(site.is_in_lock().await?, "the lock is in the Lease");
        // kured is installed: the reboot with its entry in the Lease is called off, and begins again with kured's lock.
        let kured = Kured::install(&plane).await?;
        site.unblock_pod("blocked").await?;
        let line = site.wait_event("called_off").await?;
        ensure!(line["reason"] == "entry_lost", "{line}");
        let moved = site.wait_event("lock_moved").await?;
        ensure!(moved["lock"] == "DaemonSet kube-system/kured", "{moved}");
        drop(site.wait_clean_reboot().await?);
        // kured is removed while the node is down: no other node may begin, and the node comes back all the same.
        kured.remove().await?;
        let node = site.wait_over_but_for_lock().await?;
        ensure!(!node.spec.unschedulable, "the node stayed cordoned");
        ensure!(site.machine.reboots().len() == 1);
        Ok(())
    })
}

/// Pools that share one lock share its budget, so a Node in two pools is still counted once.
#[test]
fn pools_that_lock_on_one_daemon_set_share_its_budget_though_they_overlap() -> Result<()> {
    alone(async || {
        let plane = ControlPlane::start(Options { nodes: 2 }).await?;
        drop(install(&plane, &manifests("overlays/lock-on-daemonset")).await?);
        let kured = Kured::install(&plane).await?;
        let mut sites = Vec::new();
        for (name, pool, selector) in [
            ("node-0", "a", "kubernetes.io/os"),
            ("node-1", "b", "kubernetes.io/os=linux"),
        ] {
            let mut site = Site::without_agent(&plane, name).await?;
            site.add_blocked_pod(&format!("blocked-{name}")).await?;
            site.machine.request_reboot()?;
            let (pool, selector) = (format!("--pool={pool}"), format!("--pool-selector={selector}"));
            site.start_agent(&["--lock-on=daemonset", "--concurrency=1", &pool, &selector])
                .await?;
            sites.push(site);
        }
        let (one, other) = first_of(&sites[0], &sites[1]).await?;
        let line = other.wait_event("lock_held").await?;
        ensure!(line["by"] == one.name(), "{line}");
        drop(other.wait_phase(Phase::Wanted).await?);
        ensure!(kured.owners().await? == [one.name()]);
        one.unblock_pod(&format!("blocked-{}", one.name())).await?;
        one.reboots_once_and_is_given_back().await?;
        drop(other.wait_phase(Phase::Draining).await?);
        ensure!(kured.owners().await? == [other.name()]);
        other.unblock_pod(&format!("blocked-{}", other.name())).await?;
        other.reboots_once_and_is_given_back().await
    })
}

/// kured's DaemonSet, to write its lock as kured does.
struct Kured {
    daemon_sets: Api<DaemonSet>,
}

/// An entry with the fields that kured keeps when it rewrites the list.
#[derive(Deserialize, Serialize)]
struct Entry {
    #[serde(rename = "nodeID")]
    node: String,
    #[serde(default)]
    metadata: Metadata,
    created: String,
    #[serde(rename = "TTL", default)]
    ttl: i64,
}

#[derive(Default, Deserialize, Serialize)]
struct Metadata {
    #[serde(default)]
    unschedulable: bool,
}

#[derive(Deserialize, Serialize)]
struct Multi {
    #[serde(rename = "maxOwners")]
    max_owners: usize,
    locks: Vec<Entry>,
}

impl Kured {
    /// Installs kured's DaemonSet with a selector that no node has, so that no pod runs: only the lock is needed.
    async fn install(plane: &ControlPlane) -> Result<Self> {
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
        let daemon_sets: Api<DaemonSet> = Api::namespaced(plane.client(), "kube-system");
        let created = daemon_sets.create(&PostParams::default(), &daemon_set).await;
        drop(created.context("failed to create kured's DaemonSet")?);
        Ok(Self { daemon_sets })
    }

    async fn remove(&self) -> Result<()> {
        let removed = self.daemon_sets.delete("kured", &DeleteParams::default()).await;
        removed.map(drop).context("failed to delete kured's DaemonSet")
    }

    async fn get(&self) -> Result<DaemonSet> {
        self.daemon_sets
            .get("kured")
            .await
            .context("failed to get kured's DaemonSet")
    }

    async fn lock(&self) -> Result<Option<String>> {
        Ok(self.get().await?.annotations().get(keys::KURED_LOCK).cloned())
    }

    async fn owners(&self) -> Result<Vec<String>> {
        let lock = self.lock().await?;
        match Record::read(lock.as_deref()) {
            Reading::Present(record) => Ok(record.entries.into_iter().map(|entry| entry.node).collect()),
            other => anyhow::bail!("the lock cannot be read: {other:?}"),
        }
    }

    /// Tries to acquire the lock for a node of kured; `true` if it got a place.
    async fn acquire(&self, node: &str) -> Result<bool> {
        self.write(|multi| {
            if multi.locks.len() >= OWNERS {
                return false;
            }
            multi.locks.push(Entry {
                node: node.to_owned(),
                metadata: Metadata::default(),
                created: Timestamp::now().to_string(),
                ttl: 0,
            });
            true
        })
        .await
    }

    async fn release(&self, node: &str) -> Result<()> {
        self.write(|multi| {
            multi.locks.retain(|entry| entry.node != node);
            true
        })
        .await
        .map(drop)
    }

    /// Changes the lock by a GET and a PUT of the whole object, and retries on a conflict. Writes nothing if `change` returns
    /// `false`.
    async fn write(&self, change: impl Fn(&mut Multi) -> bool) -> Result<bool> {
        wait::until("kured to write its lock", WRITE_TIMEOUT, || async {
            let mut daemon_set = self.get().await?;
            let text = daemon_set.annotations().get(keys::KURED_LOCK);
            let mut multi = match text {
                Some(text) => serde_json::from_str(text).context("kured cannot read the list")?,
                None => Multi {
                    max_owners: OWNERS,
                    locks: Vec::new(),
                },
            };
            if !change(&mut multi) {
                return Ok(Some(false));
            }
            for entry in &mut multi.locks {
                entry.created = as_go_writes_it(&entry.created)?;
            }
            let text = serde_json::to_string(&multi)?;
            drop(
                daemon_set
                    .annotations_mut()
                    .insert(keys::KURED_LOCK.to_owned(), text),
            );
            match self
                .daemon_sets
                .replace("kured", &PostParams::default(), &daemon_set)
                .await
            {
                Ok(_) => Ok(Some(true)),
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
                Err(error) => Err(error).context("failed to replace kured's DaemonSet"),
            }
        })
        .await
    }
}

/// A time in Go's `RFC3339Nano`, which has no zeros at the end of the fraction.
fn as_go_writes_it(time: &str) -> Result<String> {
    let time: Timestamp = time.parse().context("kured cannot read a time")?;
    Ok(time.to_string())
}
