//! The stages from stock kured to the agents and back, by the real plugin on a cluster whose pods of ours really run; kured is played, with its own
//! tokens. In each stage a node is rebooted, and somebody uncordons it meanwhile.
//!
//! Not here: in which order a stage does what, and what breaks it off (`shared/src/migration/stage`).

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_tests::cluster::{Cluster, values};
use cordonhold_tests::identity::Identity;
use cordonhold_tests::{NAMESPACE, wait};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::cluster::alone;
use crate::fleet::Site;
use crate::kubectl_plugin::{Plugin, Told};
use crate::stock_kured::{Kured, KuredOnNode};
use crate::wire::{self, Answer, Write};

/// Longest stage: it waits for rollouts of two Deployments and two `DaemonSets`.
const STAGE: Duration = Duration::from_mins(5);
/// Longest time until an answer or a pod is as it should be.
const SOON: Duration = Duration::from_mins(1);

/// The object that carries the lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LockOn {
    Kured,
    Lease,
}

struct Fleet {
    cluster: Cluster,
    plugin: Plugin,
    kured: Kured,
    values: PathBuf,
    backup: PathBuf,
    /// An ordinary controller that may uncordon.
    controller: Client,
}

impl Fleet {
    async fn start(nodes: usize) -> Result<Self> {
        let cluster = Cluster::start(nodes).await?;
        let kured = Kured::install_as(&cluster.plane.client()).await?;
        let controller = cluster.plane.kubeconfig(Identity::Controller);
        let fleet = Self {
            controller: cluster.plane.client_from(&controller).await?,
            plugin: Plugin::new(&cluster.plane)?,
            values: cluster.plane.directory().join("plan.yaml"),
            backup: cluster.plane.directory().join("kured.yaml"),
            kured,
            cluster,
        };
        let planned = fleet
            .plugin
            .run(&["migrate", "plan", "-o", "yaml"])
            .await?
            .ended(0)?;
        let mut all: Value = serde_saphyr::from_str(&planned.text).context("the plan is no YAML")?;
        // What a person adds.
        for (key, value) in values().as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        std::fs::write(&fleet.values, all.to_string())?;
        Ok(fleet)
    }

    /// Runs a step of the migration.
    async fn step(&self, words: &[&str]) -> Result<Told> {
        let values = self.values.to_str().context("the path is not UTF-8")?;
        let line = [&["migrate"], words, &["-f", values, "--yes", "--timeout=2m"]].concat();
        self.plugin.run_within(STAGE, &line).await
    }

    async fn reaches(&self, words: &[&str], stage: &str) -> Result<()> {
        let told = self
            .step(words)
            .await?
            .ended(0)
            .with_context(|| format!("{words:?}"))?;
        told.says(&[&format!("the cluster is at: {stage}\n")])?;
        // Once more, and nothing is left to do.
        let again = self
            .step(words)
            .await?
            .ended(0)
            .with_context(|| format!("{words:?} again"))?;
        again.says(&["nothing is left to do"])
    }

    async fn is_refused(&self, words: &[&str], why: &str) -> Result<()> {
        self.step(words).await?.ended(1)?.complains(&[why])
    }

    async fn uncordons(&self, node: &str) -> Result<Answer> {
        wire::write(
            &self.controller,
            node,
            Write::Merge,
            &json!({ "spec": { "unschedulable": null } }),
        )
        .await
    }

    /// Whether kured's pod and an agent's pod are on a node.
    async fn daemons_on(&self, node: &str) -> Result<(bool, bool)> {
        let has = async |namespace: &str, label: &str| {
            let pods: Api<Pod> = Api::namespaced(self.cluster.plane.client(), namespace);
            let on_node = ListParams::default()
                .labels(label)
                .fields(&format!("spec.nodeName={node}"));
            anyhow::Ok(!pods.list(&on_node).await?.items.is_empty())
        };
        let agent = format!("app.kubernetes.io/name={}", keys::AGENTS);
        Ok((
            has("kube-system", "name=kured").await?,
            has(NAMESPACE, &agent).await?,
        ))
    }

    async fn has_kured_alone(&self, nodes: &[&str]) -> Result<()> {
        for node in nodes {
            ensure!(
                self.daemons_on(node).await? == (true, false),
                "{node}: {:?}",
                self.daemons_on(node).await?
            );
        }
        Ok(())
    }

    async fn has_agent_alone(&self, nodes: &[&str]) -> Result<()> {
        for node in nodes {
            ensure!(
                self.daemons_on(node).await? == (false, true),
                "{node}: {:?}",
                self.daemons_on(node).await?
            );
        }
        Ok(())
    }

    /// A node of kured's begins its reboot: it is in the lock and cordoned.
    async fn kured_begins(&self, node: &str) -> Result<KuredOnNode> {
        let kured = Kured::on_node_of(&self.cluster.plane, node).await?;
        kured.acquire().await?.passed()?;
        cordons(&kured.client, node, true).await?.passed()?;
        Ok(kured)
    }

    /// kured's reboot of a node, as kured does it, with an uncordon by somebody else in the middle.
    async fn kured_reboots(&self, node: &str, is_denied: bool) -> Result<()> {
        let kured = self.kured_begins(node).await?;
        let answer = self.uncordons(node).await?;
        if is_denied {
            answer.denied()?;
            ensure!(answer.message().contains("kured-held"), "{answer:?}");
        } else {
            answer.passed()?;
        }
        cordons(&kured.client, node, false).await?.passed()?;
        kured.release().await?.passed()
    }

    /// An agent's reboot of a node, with its entry in kured's lock or in the Lease, and with uncordons by somebody else.
    async fn agent_reboots(&self, number: usize, lock: LockOn) -> Result<()> {
        let site = Site::on(&self.cluster, number);
        let (name, nth) = (site.name(), site.machine.reboots().len() + 1);
        let pod = format!("blocked-{number}-{nth}");
        site.add_blocked_pod(&pod).await?;
        site.machine.request_reboot()?;
        drop(site.wait_phase(Phase::Draining).await?);
        let entries = self.entries(lock).await?;
        ensure!(entries.contains(name), "{name} is not in the lock: {entries}");
        self.uncordons(&format!("{name}?dryRun=All")).await?.denied()?;
        if lock == LockOn::Kured {
            drop(self.step(&["remove", "--dry-run"]).await?.ended(1)?);
        }
        site.unblock_pod(&pod).await?;
        self.is_rebooted(&site, nth, lock).await
    }

    /// The reboot was of a cordoned node without pods, and nothing of it is left.
    async fn is_rebooted(&self, site: &Site, nth: usize, lock: LockOn) -> Result<()> {
        let record = site.machine.wait_for_reboot(nth, SOON).await?;
        ensure!(record.pods.is_empty() && record.unschedulable, "{record:?}");
        let node = site.wait_over().await?;
        ensure!(!node.spec.unschedulable, "{} stayed cordoned", site.name());
        wait::until("the place in the lock to be free", SOON, || async {
            Ok((!self.entries(lock).await?.contains(site.name())).then_some(()))
        })
        .await?;
        ensure!(
            site.machine.reboots().len() == nth,
            "{:?}",
            site.machine.reboots()
        );
        Ok(())
    }

    /// The text of the lock that is on this object.
    async fn entries(&self, lock: LockOn) -> Result<String> {
        let text = match lock {
            LockOn::Kured => self.kured.lock().await?,
            LockOn::Lease => self.lease().await?,
        };
        Ok(text.unwrap_or_default())
    }

    async fn lease(&self) -> Result<Option<String>> {
        let leases: Api<Lease> = Api::namespaced(self.cluster.plane.client(), NAMESPACE);
        let lease = leases.get_opt("cordonhold-default").await?;
        Ok(lease.and_then(|lease| lease.annotations().get(keys::LOCK).cloned()))
    }

    async fn kureds_set(&self) -> Result<Option<Value>> {
        let sets: Api<DaemonSet> = Api::namespaced(self.cluster.plane.client(), "kube-system");
        Ok(sets.get_opt("kured").await?.map(|set| json!(set.spec)))
    }
}

async fn cordons(client: &Client, node: &str, is_cordon: bool) -> Result<Answer> {
    wire::write(
        client,
        node,
        Write::Strategic,
        &json!({ "spec": { "unschedulable": is_cordon } }),
    )
    .await
}

/// The whole way, and the whole way back.
#[test]
fn at_most_n_all_stages_forward_and_back_with_a_reboot_in_each() -> Result<()> {
    alone(async || {
        let fleet = Fleet::start(3).await?;
        let all = ["node-0", "node-1", "node-2"];
        let before = fleet.kureds_set().await?;
        fleet
            .is_refused(&["canary", "node-1"], "first kubectl cordonhold migrate observe")
            .await?;
        forward(&fleet, &all).await?;
        back(&fleet, &all).await?;
        let after = fleet.kureds_set().await?;
        ensure!(after == before, "{before:?} became {after:?}");
        Ok(())
    })
}

async fn forward(fleet: &Fleet, all: &[&str]) -> Result<()> {
    fleet.reaches(&["observe"], "observe").await?;
    fleet.kured_reboots("node-0", false).await?;
    fleet.reaches(&["protect"], "protect").await?;
    fleet.kured_reboots("node-0", true).await?;
    fleet.has_kured_alone(all).await?;

    // kured's pods are not replaced while one of them is at work.
    let busy = fleet.kured_begins("node-2").await?;
    fleet
        .is_refused(&["canary", "node-1"], "node node-2 has kured's lock")
        .await?;
    cordons(&busy.client, "node-2", false).await?.passed()?;
    busy.release().await?.passed()?;
    fleet.reaches(&["canary", "node-1"], "canary").await?;
    fleet.has_agent_alone(&["node-1"]).await?;
    fleet.has_kured_alone(&["node-0", "node-2"]).await?;
    canary(fleet).await?;

    fleet.reaches(&["fleet"], "fleet").await?;
    fleet.has_agent_alone(all).await?;
    fleet.agent_reboots(2, LockOn::Kured).await?;

    let backup = fleet.backup.to_str().context("the path is not UTF-8")?.to_owned();
    fleet.reaches(&["remove", "--backup", &backup], "remove").await?;
    let client = fleet.cluster.plane.client();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "kube-system");
    let roles: Api<ClusterRole> = Api::all(client);
    ensure!(
        fleet.kureds_set().await?.is_none()
            && accounts.get_opt("kured").await?.is_none()
            && roles.get_opt("kured").await?.is_none(),
        "something of kured's is left"
    );
    fleet.has_agent_alone(all).await?;
    fleet.agent_reboots(0, LockOn::Lease).await
}

/// Both on one lock: while kured has it, the agent waits, and no node that is in it changes its daemon.
async fn canary(fleet: &Fleet) -> Result<()> {
    let busy = fleet.kured_begins("node-0").await?;
    fleet
        .is_refused(&["canary", "node-0"], "node node-0 has kured's lock")
        .await?;
    let site = Site::on(&fleet.cluster, 1);
    site.machine.request_reboot()?;
    drop(site.wait_phase(Phase::Wanted).await?);
    fleet
        .is_refused(
            &["canary", "--undo", "node-1"],
            "is at its reboot, or waits for one",
        )
        .await?;
    site.wait_logged("lock_held").await?;
    ensure!(site.machine.reboots().is_empty(), "rebooted beside kured");
    cordons(&busy.client, "node-0", false).await?.passed()?;
    busy.release().await?.passed()?;
    fleet.is_rebooted(&site, 1, LockOn::Kured).await?;
    fleet.kured_reboots("node-0", true).await
}

async fn back(fleet: &Fleet, all: &[&str]) -> Result<()> {
    let backup = fleet.backup.to_str().context("the path is not UTF-8")?.to_owned();
    fleet
        .reaches(&["remove", "--undo", "--backup", &backup], "fleet")
        .await?;
    fleet.has_agent_alone(all).await?;
    fleet.agent_reboots(1, LockOn::Kured).await?;

    fleet.reaches(&["fleet", "--undo"], "canary").await?;
    fleet.has_agent_alone(all).await?;
    fleet.reaches(&["canary", "--undo", "node-0"], "canary").await?;
    fleet.has_kured_alone(&["node-0"]).await?;
    fleet.kured_reboots("node-0", true).await?;
    fleet.agent_reboots(2, LockOn::Kured).await?;

    fleet.reaches(&["canary", "--undo"], "protect").await?;
    fleet.has_kured_alone(all).await?;
    fleet.kured_reboots("node-1", true).await?;
    fleet.reaches(&["protect", "--undo"], "observe").await?;
    fleet.kured_reboots("node-2", false).await?;
    fleet.reaches(&["observe", "--undo"], "kured alone").await?;
    fleet.has_kured_alone(all).await?;
    fleet.kured_reboots("node-0", false).await
}
