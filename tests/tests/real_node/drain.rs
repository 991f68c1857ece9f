//! Drains, from the sentinel to the node that is given back after a reboot.

use anyhow::{Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_tests::real_node::{NAME, Service};
use cordonhold_tests::{AGENT_ACCOUNT, NAMESPACE, wait};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::site::{BOOTED, DOWN, PATIENCE, Site, guard, pod};

const FINALIZER: &str = "cordonhold.test/stays";

/// A pod whose hook takes three seconds before it is ended.
fn hooked() -> Value {
    let mut hooked = pod("hooked", 1);
    let hook = "echo 'hooked runs its hook' >>/witness; sleep 3; echo 'hooked has run its hook' >>/witness";
    hooked["spec"]["containers"][0]["lifecycle"] =
        json!({ "preStop": { "exec": { "command": ["/usr/bin/sh", "-c", hook] } } });
    hooked
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reboot_waits_for_grace_periods_hooks_finalizers_and_budgets_and_leaves_static_pods() -> Result<()>
{
    let site = Site::start().await?;
    site.0.add_static_pod(&pod("static", 0))?;
    site.0.wait_witness("static runs", PATIENCE).await?;
    site.add_pod(&pod("slow", 4)).await?;
    site.add_pod(&hooked()).await?;
    let mut kept = pod("kept", 0);
    kept["metadata"]["finalizers"] = json!([FINALIZER]);
    site.add_pod(&kept).await?;
    site.add_pod(&pod("guarded", 0)).await?;
    let budgets: Api<PodDisruptionBudget> = Api::default_namespaced(site.0.plane.client());
    guard(&budgets, "guarded").await?;
    let boot_id = site.boot_id().await?;

    site.0.request_reboot().await?;
    let holder = site.wait_phase(Phase::Draining).await?;
    for ended in ["slow has ended", "hooked has ended", "kept has ended"] {
        site.0.wait_witness(ended, PATIENCE).await?;
    }
    site.is_draining(&holder).await?;
    site.0.testify("the budget is lifted")?;
    drop(budgets.delete("guarded", &DeleteParams::default()).await?);
    site.0.wait_witness("guarded has ended", PATIENCE).await?;
    // Of what must leave, only the pod with the finalizer is left.
    wait::until("the other pods to go", PATIENCE, || async {
        let mut names: Vec<String> = site
            .pods()
            .list(&ListParams::default())
            .await?
            .iter()
            .map(ResourceExt::name_any)
            .collect();
        names.sort();
        Ok((names == ["kept", "static-node-0"]).then_some(()))
    })
    .await?;
    site.is_draining(&holder).await?;
    site.0.testify("the finalizer is removed")?;
    let without = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    drop(
        site.pods()
            .patch("kept", &PatchParams::default(), &without)
            .await?,
    );

    site.reboots_once_and_is_given_back(&boot_id).await?;
    site.came_in_order(&["slow is told to end", "slow has ended", "the budget is lifted"])?;
    site.came_in_order(&[
        "hooked runs its hook",
        "hooked has run its hook",
        "hooked is told to end",
        "hooked has ended",
        DOWN,
    ])?;
    site.came_in_order(&[
        "the budget is lifted",
        "guarded is told to end",
        "guarded has ended",
        "the finalizer is removed",
        DOWN,
    ])?;
    // It runs as long as the machine does, and again after the boot.
    if let (Some(ended), Some(down)) = (site.position("static is told to end")?, site.position(DOWN)?) {
        ensure!(down < ended, "{:?}", site.0.witness()?);
    }
    wait::until("the static pod to run again", PATIENCE, || async {
        let lines = site.0.witness()?;
        let runs = lines.iter().filter(|line| *line == "static runs").count();
        let boots = lines.iter().filter(|line| *line == BOOTED).count();
        Ok((runs == 2 && boots == 2).then_some(()))
    })
    .await
}

/// The pod's container ends while nobody can tell the API server, and the node is not Ready meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_kubelet_that_is_down_in_the_middle_of_a_drain_delays_the_reboot_until_it_is_back() -> Result<()> {
    let site = Site::start().await?;
    site.add_pod(&pod("slow", 5)).await?;
    let boot_id = site.boot_id().await?;
    site.0.request_reboot().await?;
    let holder = site.wait_phase(Phase::Draining).await?;
    site.0.wait_witness("slow is told to end", PATIENCE).await?;
    site.0.stop(Service::Kubelet).await?;
    site.0.wait_witness("slow has ended", PATIENCE).await?;
    site.0.plane.wait_node_ready(NAME, false).await?;
    site.is_draining(&holder).await?;
    let slow = site.pods().get("slow").await?;
    ensure!(slow.metadata.deletion_timestamp.is_some(), "{slow:?}");

    site.0.testify("the kubelet is started")?;
    site.0.start_again(Service::Kubelet)?;
    site.reboots_once_and_is_given_back(&boot_id).await?;
    site.came_in_order(&[
        "slow is told to end",
        "slow has ended",
        "the kubelet is started",
        DOWN,
    ])
}

/// Containers outlive their containerd. The budget keeps the drain from its end until containerd is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_container_runtime_in_the_middle_of_a_drain_neither_cuts_a_pod_short_nor_ends_the_agent()
-> Result<()> {
    let site = Site::start().await?;
    site.add_pod(&pod("slow", 8)).await?;
    site.add_pod(&pod("guarded", 0)).await?;
    let budgets: Api<PodDisruptionBudget> = Api::default_namespaced(site.0.plane.client());
    guard(&budgets, "guarded").await?;
    let boot_id = site.boot_id().await?;
    let agent = site.0.run(&["pidof", AGENT_ACCOUNT]).await?;
    site.0.request_reboot().await?;
    let holder = site.wait_phase(Phase::Draining).await?;
    site.0.wait_witness("slow is told to end", PATIENCE).await?;
    site.0.restart(Service::Containerd).await?;
    site.0.testify("containerd has ended")?;
    site.0.wait_witness("slow has ended", PATIENCE).await?;
    wait::until("the pod to go", PATIENCE, || async {
        Ok(site.pods().get_opt("slow").await?.is_none().then_some(()))
    })
    .await?;
    site.is_draining(&holder).await?;
    ensure!(
        site.0.run(&["pidof", AGENT_ACCOUNT]).await? == agent,
        "the agent was started again"
    );
    drop(budgets.delete("guarded", &DeleteParams::default()).await?);

    site.reboots_once_and_is_given_back(&boot_id).await?;
    site.came_in_order(&[
        "slow is told to end",
        "containerd has ended",
        "slow has ended",
        DOWN,
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_of_the_daemon_set_in_the_middle_of_a_drain_neither_undoes_nor_repeats_it() -> Result<()> {
    let site = Site::start().await?;
    site.add_pod(&pod("slow", 2)).await?;
    site.add_pod(&pod("guarded", 0)).await?;
    let budgets: Api<PodDisruptionBudget> = Api::default_namespaced(site.0.plane.client());
    guard(&budgets, "guarded").await?;
    let boot_id = site.boot_id().await?;
    let before = site.agent_is_ready(None).await?;
    site.0.request_reboot().await?;
    let holder = site.wait_phase(Phase::Draining).await?;
    site.0.wait_witness("slow is told to end", PATIENCE).await?;
    let sets: Api<DaemonSet> = Api::namespaced(site.0.plane.client(), NAMESPACE);
    let rollout = json!({ "spec": { "template": { "metadata": { "annotations": { "cordonhold.test/rollout": "1" } } } } });
    drop(
        sets.patch(AGENT_ACCOUNT, &PatchParams::default(), &Patch::Merge(rollout))
            .await?,
    );
    drop(site.agent_is_ready(Some(&before)).await?);
    site.0.wait_witness("slow has ended", PATIENCE).await?;
    site.is_draining(&holder).await?;
    site.0.testify("the budget is lifted")?;
    drop(budgets.delete("guarded", &DeleteParams::default()).await?);

    site.reboots_once_and_is_given_back(&boot_id).await?;
    site.came_in_order(&[
        "slow has ended",
        "the budget is lifted",
        "guarded has ended",
        DOWN,
    ])
}
