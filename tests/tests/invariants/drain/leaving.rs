//! Special cases of pods that leave: their DaemonSet is gone, their namespace is being deleted, their grace period, and more.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_tests::control_plane::ControlPlane;
use cordonhold_tests::wait;
use futures_util::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, WatchParams};
use kube::core::WatchEvent;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::workload::{NOBODY, TIMEOUT, Workload};
use crate::admission_policy::{self, Rule};
use crate::cluster::on_fleet;
use crate::fleet::{REBOOT_TIMEOUT, Site, evictions_of};

/// As `kubectl drain --force` does: nothing would recreate such a pod.
#[test]
fn a_pod_whose_daemon_set_is_gone_is_evicted_and_others_of_daemon_sets_stay() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "drain-orphan", &[]).await?;
        let workload = Workload::new(plane, &site);
        // The API version of the owner no longer exists, so the garbage collector cannot look it up and does not delete the pod.
        let owner = json!({
            "apiVersion": "apps/v1beta2", "kind": "DaemonSet", "name": "gone", "uid": "gone", "controller": true,
        });
        let _version = workload
            .add("drain-orphan", json!({ "ownerReferences": [owner] }), json!({}))
            .await?;
        // The agent's own pod belongs to a DaemonSet that exists.
        let stays = site.machine.agent_pod_uid().await?;
        ensure!(stays.is_some(), "the agent has no pod");
        site.machine.request_reboot()?;
        site.reboots_once_and_is_given_back().await?;
        ensure!(
            evictions_of(plane, "drain-orphan")? >= 1,
            "the orphan was not evicted"
        );
        workload.wait_gone("drain-orphan").await?;
        ensure!(
            site.machine.agent_pod_uid().await? == stays,
            "the agent's pod was evicted"
        );
        Ok(())
    })
}

/// The API server forbids evictions in such a namespace; the deletion of the namespace deletes the pod.
#[test]
fn a_pod_of_a_namespace_that_is_being_deleted_is_waited_for() -> Result<()> {
    on_fleet(async |plane: &'static ControlPlane| {
        let name = "drain-ending";
        let site = Site::new(plane, name, &[]).await?;
        let workload = Workload::new(plane, &site);
        let namespaces: Api<Namespace> = Api::all(plane.client());
        let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
        let created = namespaces.create(&PostParams::default(), &namespace).await;
        drop(created.context("failed to create a namespace")?);
        let pods: Api<Pod> = Api::namespaced(plane.client(), name);
        wait::until("a pod in the new namespace", TIMEOUT, || async {
            let created = pods.create(&PostParams::default(), &workload.pod(name)?).await;
            Ok(Some(created.map(drop)?))
        })
        .await?;
        keep(plane, &pods, name).await?;
        let deleted = namespaces.delete(name, &DeleteParams::default()).await;
        drop(deleted.context("failed to delete a namespace")?);

        site.machine.request_reboot()?;
        let text = workload.wait_progress("blocked by").await?;
        let expected = "0 gone, 1 left; blocked by its namespace is being deleted, and the pod with it; waiting for pods drain-ending/drain-ending";
        ensure!(text == expected, "{text}");
        ensure!(evictions_of(plane, name)? == 0, "it was evicted");
        let pod = pods.get(name).await.context("the pod has gone")?;
        ensure!(pod.metadata.deletion_timestamp.is_none(), "{pod:?}");
        admission_policy::remove(&plane.client(), name).await?;
        // As the namespace controller does. Its own next try may come first, or only after a minute.
        wait::until("the pod to be deleted", TIMEOUT, || async {
            match pods.delete(name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(Some(())),
                deleted => Ok(Some(deleted.map(drop)?)),
            }
        })
        .await?;
        site.reboots_once_and_is_given_back().await
    })
}

/// Creates a policy that lets nobody delete this pod, and waits until it applies.
async fn keep(plane: &ControlPlane, pods: &Api<Pod>, name: &str) -> Result<()> {
    let rule = Rule {
        operation: "DELETE",
        resource: "pods",
        expression: &format!("oldObject.metadata.name != '{name}'"),
        message: &format!("{name} stays"),
    };
    admission_policy::create(&plane.client(), name, &rule).await?;
    wait::until(&format!("the policy {name}"), TIMEOUT, || async {
        match pods.delete(name, &DeleteParams::default().dry_run()).await {
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(Some(())),
            other => Ok(other.map(|_| None)?),
        }
    })
    .await
}

#[test]
fn the_grace_period_is_the_flags_or_the_pods_own() -> Result<()> {
    on_fleet(async |plane| {
        let given = async |name: &str, argument: &str| -> Result<i64> {
            let site = Site::new(plane, name, &[argument]).await?;
            let workload = Workload::new(plane, &site);
            let version = workload.add_slow_pod(name, OWN_SECONDS).await?;
            site.machine.request_reboot()?;
            let given = grace_period(plane, name, &version).await?;
            let pods: Api<Pod> = Api::default_namespaced(plane.client());
            let let_go = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
            drop(pods.patch(name, &PatchParams::default(), &let_go).await?);
            site.reboots_once_and_is_given_back().await?;
            Ok(given)
        };
        let (own, flag, none) = futures_util::try_join!(
            given("drain-grace-own", "--drain-grace-period=-1"),
            given("drain-grace", "--drain-grace-period=7"),
            given("drain-grace-none", "--drain-grace-period=0"),
        )?;
        ensure!((own, flag, none) == (OWN_SECONDS, 7, 0), "{own}, {flag}, {none}");
        Ok(())
    })
}

const OWN_SECONDS: i64 = 25;

/// The grace period in the first version of this pod that is being deleted. KWOK ends pods at once and overwrites it.
async fn grace_period(plane: &ControlPlane, name: &str, version: &str) -> Result<i64> {
    let pods: Api<Pod> = Api::default_namespaced(plane.client());
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    let events = pods
        .watch(&params, version)
        .await
        .context("failed to watch a pod")?;
    let mut events = events.boxed();
    let first = async {
        while let Some(event) = events.try_next().await? {
            if let WatchEvent::Modified(pod) = event
                && pod.metadata.deletion_timestamp.is_some()
            {
                return pod
                    .metadata
                    .deletion_grace_period_seconds
                    .with_context(|| format!("{} has no grace period", pod.name_any()));
            }
        }
        anyhow::bail!("the watch of {name} ended")
    };
    tokio::time::timeout(GRACE_TIMEOUT, first)
        .await
        .with_context(|| format!("{name} was not evicted in {GRACE_TIMEOUT:?}"))?
}

const GRACE_TIMEOUT: Duration = Duration::from_mins(2);

/// Without this rule the drain would never end, and kured would reboot with the pod on the node.
#[test]
fn found_p4_a_pod_that_its_owner_puts_back_three_times_is_left_and_named() -> Result<()> {
    on_fleet(async |plane| {
        let name = "found-p4";
        let site = Site::new(plane, name, &[]).await?;
        let workload = Workload::new(plane, &site);
        workload.deploy_operator(name).await?;
        site.machine.request_reboot()?;
        let reboot = site.machine.wait_for_reboot(1, REBOOT_TIMEOUT).await?;
        let is_its = |pod: &String| pod.starts_with("default/found-p4-");
        ensure!(
            reboot.pods.len() == 1 && reboot.pods.iter().all(is_its),
            "{reboot:?}"
        );
        ensure!(reboot.unschedulable, "{reboot:?}");
        let asked = plane.requests_of_agents()?;
        let evictions = asked.iter().filter(|asked| {
            asked.code == Some(201)
                && asked.uri.contains("/pods/found-p4-")
                && asked.uri.contains("/eviction")
        });
        ensure!(evictions.count() == 3, "{asked:?}");
        let told = workload.wait_event("RebootPodsLeft").await?;
        ensure!(told.contains("ReplicaSet default/found-p4-"), "{told}");
        let log = workload.log()?;
        let is_told = |line: &&str| {
            line.contains("\"event\":\"pods_left\"") && line.contains("ReplicaSet default/found-p4-")
        };
        ensure!(log.lines().filter(is_told).count() == 1, "{log}");
        ensure!(
            log.contains("3 gone, 0 left; staying because their owner puts them back default/found-p4-"),
            "{log}"
        );
        drop(site.wait_over().await?);
        Ok(())
    })
}

/// No eviction of this pod can ever succeed, so the pool does not wait for it.
#[test]
fn found_p18_a_pod_with_two_budgets_calls_the_reboot_off_and_both_are_named() -> Result<()> {
    on_fleet(async |plane| {
        let name = "found-p18";
        let site = Site::new(plane, name, &["--backoff=5s"]).await?;
        let workload = Workload::new(plane, &site);
        site.add_blocked_pod(name).await?;
        workload.add_budget("found-p18-too", name, 1).await?;
        site.machine.request_reboot()?;
        let told = workload.wait_event("RebootCalledOff").await?;
        for part in [
            "default/found-p18: ",
            "more than one PodDisruptionBudget",
            "default/found-p18 and default/found-p18-too",
        ] {
            ensure!(told.contains(part), "{part}: {told}");
        }
        ensure!(site.wait_event("called_off").await?["reason"] == "unevictable");
        site.is_called_off().await?;
        ensure!(!site.is_in_lock().await?, "the pool waits");
        // Both, because either would block the pod alone: the second budget allows nothing for a pod without a controller.
        for budget in [name, "found-p18-too"] {
            workload.remove_budget(budget).await?;
        }
        site.reboots_once_and_is_given_back().await
    })
}

/// Such a webhook fails closed, and the drain itself may have evicted its pods.
#[test]
fn found_p16_a_webhook_that_fails_at_the_seal_costs_no_drain_and_is_named() -> Result<()> {
    on_fleet(async |plane| {
        let name = "found-p16";
        let site = Site::new(plane, name, &["--on-uncordon=abort"]).await?;
        let rule = Rule {
            operation: "UPDATE",
            resource: "nodes",
            expression: "object.metadata.name == 'found-p16' && object.metadata.labels[?'cordonhold.dev/phase'].orValue('') == 'sealed'",
            message: "",
        };
        admission_policy::create_webhook(&plane.client(), name, NOBODY, "Fail", &rule).await?;
        site.machine.request_reboot()?;
        let refused = site.wait_nth_event("retrying", 4).await?;
        let why = refused["why"].as_str().unwrap_or_default();
        ensure!(
            refused["reason"] == "seal the node" && why.contains("found-p16.example.com"),
            "{refused}"
        );
        ensure!(site.machine.reboots().is_empty(), "{:?}", site.machine.reboots());
        admission_policy::remove_webhook(&plane.client(), name).await?;
        site.reboots_once_and_is_given_back().await?;
        let log = Workload::new(plane, &site).log()?;
        ensure!(log.matches("\"event\":\"draining\"").count() == 1, "{log}");
        ensure!(!log.contains("\"event\":\"disturbed\""), "{log}");
        Ok(())
    })
}
