//! Nodes with machines and real agents, and functions that wait for their states.

#[cfg(feature = "long")]
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cordonhold_shared::Reading;
use cordonhold_shared::hold::{self, Phase};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use cordonhold_tests::audit::Asked;
use cordonhold_tests::cluster::Cluster;
use cordonhold_tests::control_plane::{ControlPlane, Options};
use cordonhold_tests::install::install;
use cordonhold_tests::machine::{Machine, RebootRecord};
use cordonhold_tests::{NAMESPACE, wait};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::manifests::overlay;
use crate::wire::{self, Answer, Write};

/// Longest reboot. The machine is down for 3 s; the rest is for a busy machine.
pub(crate) const REBOOT_TIMEOUT: Duration = Duration::from_secs(60);
const PHASE_TIMEOUT: Duration = Duration::from_secs(60);
pub(crate) const POD_TIMEOUT: Duration = Duration::from_secs(30);

/// How many evictions of this pod by agents were accepted.
pub(crate) fn evictions_of(plane: &ControlPlane, pod: &str) -> Result<usize> {
    let path = format!("/pods/{pod}/eviction");
    let asked = plane.requests_of_agents()?;
    let granted = |asked: &&Asked| asked.uri.contains(&path) && asked.code == Some(201);
    Ok(asked.iter().filter(granted).count())
}

/// Starts a control plane without the webhook.
pub(crate) async fn unguarded_plane(nodes: usize) -> Result<ControlPlane> {
    let plane = ControlPlane::start(Options { nodes }).await?;
    // With the permissions that `--volume-detach-timeout` needs.
    let copy = tempfile::tempdir().context("failed to create a directory")?;
    let with_volumes = "resources: [../../base]\ncomponents: [../../components/volume-detach]\n";
    drop(install(&plane, &overlay(copy.path(), "fleet", with_volumes)?).await?);
    Ok(plane)
}

/// Checks that the Node has a whole account of its last reboot, and that no reboot goes on that has one.
fn has_account(node: &NodeView) -> Result<()> {
    let Reading::Present(account) = hold::last_reboot(node) else {
        bail!("no account of the reboot: {:?}", hold::last_reboot(node));
    };
    let created: Timestamp = account.created.parse()?;
    let ended = account.ended.context("a reboot that has not ended")?;
    let sum: u64 = account.seconds.values().sum();
    let all = u64::try_from(ended.as_second() - created.as_second())?;
    ensure!(!account.partial && sum <= all, "{account:?}");
    let is_counted = |phase| account.seconds.contains_key(&phase);
    ensure!(
        is_counted(Phase::Wanted) && is_counted(Phase::Returning),
        "{account:?}"
    );
    ensure!(account.why.starts_with("file "), "{account:?}");
    ensure!(
        hold::account(node) == Reading::Absent || node.label(keys::PHASE).is_some(),
        "a running account is left: {node:?}"
    );
    Ok(())
}

/// The arguments of an agent, and before them those for a budget that is never full: other tests hold Nodes of the same pool at the same time.
fn in_a_large_budget(arguments: &[&str]) -> Vec<String> {
    let before = ["--concurrency=500", "--log-format=json"];
    let all = before.iter().chain(arguments);
    all.map(|argument| (*argument).to_owned()).collect()
}

/// A Node with its machine and its agent.
pub(crate) struct Site {
    pub(crate) machine: Machine,
    admin: Client,
}

impl Site {
    /// Creates a Node with a machine and an agent. Unless `arguments` set `--concurrency`, the budget is never full.
    pub(crate) async fn new(plane: &ControlPlane, name: &str, arguments: &[&str]) -> Result<Self> {
        plane.add_node(name).await?;
        let mut site = Self::without_agent(plane, name).await?;
        site.start_agent(arguments).await?;
        Ok(site)
    }

    pub(crate) async fn without_agent(plane: &ControlPlane, name: &str) -> Result<Self> {
        Ok(Self {
            machine: Machine::new(plane, name).await?,
            admin: plane.client(),
        })
    }

    /// A Node whose pods really run, and among them its agent.
    pub(crate) fn on(cluster: &Cluster, number: usize) -> Self {
        Self {
            machine: cluster.machines[number].again(),
            admin: cluster.plane.client(),
        }
    }

    pub(crate) async fn start_agent(&mut self, arguments: &[&str]) -> Result<()> {
        self.machine.start_agent(&in_a_large_budget(arguments)).await
    }

    /// Like [`Self::start_agent`], with this program as the agent.
    #[cfg(feature = "long")]
    pub(crate) async fn start_program(&mut self, program: &Path, arguments: &[&str]) -> Result<()> {
        let arguments = in_a_large_budget(arguments);
        self.machine.start_program(program, &arguments).await
    }

    pub(crate) fn name(&self) -> &str {
        self.machine.node()
    }

    pub(crate) async fn view(&self) -> Result<NodeView> {
        let request = http::Request::get(format!("/api/v1/nodes/{}", self.name())).body(Vec::new())?;
        let node: Value = self
            .admin
            .request(request)
            .await
            .context("failed to get a Node")?;
        serde_json::from_value(node).context("failed to read a Node")
    }

    /// Patches the Node as an admin. The patch must pass.
    pub(crate) async fn write(&self, body: &Value) -> Result<Answer> {
        let answer = wire::write(&self.admin, self.name(), Write::Merge, body).await?;
        answer.passed()?;
        Ok(answer)
    }

    /// Creates a pod on this node without the scheduler, and waits until it runs. A drain evicts it.
    pub(crate) async fn add_pod(&self, name: &str) -> Result<()> {
        let pods = self.create_pod(name).await?;
        wait::until(&format!("the pod {name} to run"), POD_TIMEOUT, || async {
            let pod = pods.get(name).await?;
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            Ok((phase == Some("Running")).then_some(()))
        })
        .await
    }

    /// Creates a pod on this node without the scheduler, and does not wait until it runs.
    pub(crate) async fn create_pod(&self, name: &str) -> Result<Api<Pod>> {
        let pods: Api<Pod> = Api::default_namespaced(self.admin.clone());
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": name, "labels": { "app": name } },
            "spec": {
                "nodeName": self.name(),
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 0,
                "containers": [{ "name": "pause", "image": "registry.k8s.io/pause:3.10" }],
            },
        }))?;
        drop(
            pods.create(&PostParams::default(), &pod)
                .await
                .with_context(|| format!("failed to create the pod {name}"))?,
        );
        Ok(pods)
    }

    /// Creates a pod, and a budget that lets nobody evict it.
    pub(crate) async fn add_blocked_pod(&self, name: &str) -> Result<()> {
        self.add_pod(name).await?;
        let budget = serde_json::from_value(json!({
            "metadata": { "name": name },
            "spec": { "maxUnavailable": 0, "selector": { "matchLabels": { "app": name } } },
        }))?;
        let budgets: Api<k8s_openapi::api::policy::v1::PodDisruptionBudget> =
            Api::default_namespaced(self.admin.clone());
        drop(
            budgets
                .create(&PostParams::default(), &budget)
                .await
                .context("failed to create a PodDisruptionBudget")?,
        );
        wait::until(
            "the disruption controller to see the budget",
            POD_TIMEOUT,
            || async {
                let budget = budgets.get(name).await?;
                Ok(budget
                    .status
                    .is_some_and(|status| status.observed_generation.is_some())
                    .then_some(()))
            },
        )
        .await
    }

    pub(crate) async fn unblock_pod(&self, name: &str) -> Result<()> {
        let budgets: Api<k8s_openapi::api::policy::v1::PodDisruptionBudget> =
            Api::default_namespaced(self.admin.clone());
        let deleted = budgets.delete(name, &DeleteParams::default()).await;
        deleted
            .map(drop)
            .context("failed to delete a PodDisruptionBudget")
    }

    pub(crate) async fn has_pod(&self, name: &str) -> Result<bool> {
        let pods: Api<Pod> = Api::default_namespaced(self.admin.clone());
        let pod = pods.get_opt(name).await.context("failed to get a pod")?;
        Ok(pod.is_some_and(|pod| pod.metadata.deletion_timestamp.is_none() && !pod.name_any().is_empty()))
    }

    /// Waits until an eviction of this pod was accepted.
    pub(crate) async fn wait_evicted(&self, name: &str) -> Result<()> {
        let pods: Api<Pod> = Api::default_namespaced(self.admin.clone());
        wait::until(&format!("an eviction of {name}"), POD_TIMEOUT, || async {
            let pod = pods.get(name).await?;
            Ok(pod.metadata.deletion_timestamp.map(drop))
        })
        .await
    }

    /// Waits until the agent's log contains this text.
    pub(crate) async fn wait_logged(&self, text: &str) -> Result<()> {
        let log = self.machine.agent_log();
        let what = format!("{text:?} in {}", log.display());
        let look = || async {
            let said = std::fs::read_to_string(&log).context("failed to read an agent's log")?;
            Ok(said.contains(text).then_some(()))
        };
        self.machine.wait_until(&what, PHASE_TIMEOUT, look).await
    }

    pub(crate) async fn wait_phase(&self, phase: Phase) -> Result<NodeView> {
        let what = format!("{} to be {phase}", self.name());
        let look = || async {
            let node = self.view().await?;
            let reached = node.label(keys::PHASE) == Some(phase.as_str());
            Ok(reached.then_some(node))
        };
        self.machine.wait_until(&what, PHASE_TIMEOUT, look).await
    }

    /// Waits for the first line of the agent's log with this `event`.
    pub(crate) async fn wait_event(&self, event: &str) -> Result<Value> {
        self.wait_nth_event(event, 1).await
    }

    /// Waits for the `n`-th line (from 1) of the agent's log with this `event`, over all its processes.
    pub(crate) async fn wait_nth_event(&self, event: &str, n: usize) -> Result<Value> {
        let path = self.machine.agent_log();
        let what = format!("event {event} number {n} in {}", path.display());
        let look = || async {
            let log = std::fs::read(&path).context("failed to read an agent's log")?;
            let lines = String::from_utf8_lossy(&log).into_owned();
            Ok(lines
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .filter(|line| line["event"] == event)
                .nth(n - 1))
        };
        self.machine.wait_until(&what, PHASE_TIMEOUT, look).await
    }

    /// Waits until the agent has ended, and checks that its log says why.
    pub(crate) async fn wait_refusal(&self, why: &str) -> Result<()> {
        let look = || async { Ok(self.machine.agent_id().await.is_none().then_some(())) };
        self.machine
            .wait_until("the agent to end", PHASE_TIMEOUT, look)
            .await?;
        let log =
            std::fs::read_to_string(self.machine.agent_log()).context("failed to read an agent's log")?;
        ensure!(log.contains(why), "it does not say {why:?}: {log}");
        Ok(())
    }

    /// Waits until the Node has no marks and no taint, and the Lease has no entry for it.
    pub(crate) async fn wait_over(&self) -> Result<NodeView> {
        drop(self.wait_over_but_for_lock().await?);
        let what = format!("the entry of {} to be released", self.name());
        let look = || async { Ok((!self.is_in_lock().await?).then_some(())) };
        self.machine.wait_until(&what, PHASE_TIMEOUT, look).await?;
        // Read again: with `--lock-release-delay` the agent writes the Node once more before it releases the lock.
        self.view().await
    }

    /// Waits until the Node has no marks and no taint. The lock may still have its entry.
    pub(crate) async fn wait_over_but_for_lock(&self) -> Result<NodeView> {
        let what = format!("{} to be without a hold", self.name());
        let look = || async {
            let node = self.view().await?;
            let is_marked = node.label(keys::PHASE).is_some()
                || keys::MARK_ANNOTATIONS
                    .iter()
                    .any(|key| node.annotation(key).is_some())
                || node.is_tainted(keys::REBOOTING)
                || node.annotation(keys::CANCEL).is_some();
            Ok((!is_marked).then_some(node))
        };
        let node = self.machine.wait_until(&what, PHASE_TIMEOUT, look).await?;
        ensure!(
            node.is_tainted(keys::UNSCHEDULABLE_TAINT) == node.spec.unschedulable,
            "cordon and taint of {} differ: {node:?}",
            self.name()
        );
        Ok(node)
    }

    pub(crate) async fn is_in_lock(&self) -> Result<bool> {
        let leases: Api<Lease> = Api::namespaced(self.admin.clone(), NAMESPACE);
        let lease = leases
            .get_opt("cordonhold-default")
            .await
            .context("failed to get the lock")?;
        let record = lease.and_then(|lease| lease.annotations().get(keys::LOCK).cloned());
        Ok(record.is_some_and(|record| record.contains(&format!("\"{}\"", self.name()))))
    }

    /// Waits for the first reboot, and checks that the node was cordoned and empty.
    pub(crate) async fn wait_clean_reboot(&self) -> Result<RebootRecord> {
        let record = self.machine.wait_for_reboot(1, REBOOT_TIMEOUT).await?;
        ensure!(record.pods.is_empty() && record.unschedulable, "{record:?}");
        Ok(record)
    }

    /// Checks that the node reboots once, cordoned and empty, and is schedulable afterwards.
    pub(crate) async fn reboots_once_and_is_given_back(&self) -> Result<()> {
        let record = self.wait_clean_reboot().await?;
        let node = self.wait_over().await?;
        ensure!(!node.spec.unschedulable, "{} stayed cordoned", self.name());
        ensure!(self.machine.reboots().len() == 1, "{:?}", self.machine.reboots());
        ensure!(
            node.status.node_info.boot_id == record.boot_id,
            "another boot: {node:?}"
        );
        has_account(&node)?;
        self.machine.check_agent().await
    }

    /// Checks that the reboot is called off: no reboot, and the node is schedulable afterwards.
    pub(crate) async fn is_called_off(&self) -> Result<()> {
        let node = self.wait_over().await?;
        ensure!(!node.spec.unschedulable, "{} stayed cordoned", self.name());
        ensure!(self.machine.reboots().is_empty(), "{:?}", self.machine.reboots());
        self.machine.check_agent().await
    }
}
