//! The drain: which pods it evicts and which it leaves, how it reports what blocks it, and that a failed drain never counts as done.

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_tests::control_plane::ControlPlane;
use cordonhold_tests::wait;
use serde_json::Value;

use crate::cluster::{alone, on_fleet};
use crate::fleet::{REBOOT_TIMEOUT, Site, unguarded_plane};
use crate::subject::{cordon, uncordon};

mod leaving;
mod workload;

pub(crate) use workload::Workload;

#[test]
fn d25_a_budget_that_blocks_is_named_in_log_event_and_node() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "drain-budget", &[]).await?;
        let workload = Workload::new(plane, &site);
        site.add_blocked_pod("drain-budget").await?;
        site.add_pod("drain-budget-free").await?;
        site.machine.request_reboot()?;
        let text = workload.wait_progress("1 gone, 1 left; blocked by").await?;
        let expected = "1 gone, 1 left; blocked by PodDisruptionBudget default/drain-budget; waiting for pods default/drain-budget";
        ensure!(text == expected, "{text}");
        let told = workload.wait_event("RebootDrainBlocked").await?;
        ensure!(
            told.contains("PodDisruptionBudget default/drain-budget"),
            "{told}"
        );
        let log = workload.log()?;
        let is_named =
            |line: &str| line.contains("eviction_blocked") && line.contains("default/drain-budget");
        ensure!(log.lines().filter(|line| is_named(line)).count() == 1, "{log}");
        site.unblock_pod("drain-budget").await?;
        site.reboots_once_and_is_given_back().await?;
        let node = site.view().await?;
        ensure!(node.annotation(keys::DRAIN_PROGRESS).is_none(), "{node:?}");
        Ok(())
    })
}

/// kured prints the progress of its drain as plain text between JSON lines (its defect D24).
#[test]
fn d24_every_line_of_a_whole_reboot_is_json() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "d24", &[]).await?;
        let workload = Workload::new(plane, &site);
        site.add_blocked_pod("d24").await?;
        site.machine.request_reboot()?;
        workload.wait_log("eviction_blocked", 1).await?;
        site.unblock_pod("d24").await?;
        site.reboots_once_and_is_given_back().await?;
        // The log of both processes, before and after the reboot.
        let log = workload.log()?;
        ensure!(log.matches("\"event\":\"started\"").count() == 2, "{log}");
        for line in log.lines() {
            let read: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
            ensure!(read["event"].is_string(), "{line}");
        }
        Ok(())
    })
}

/// Since kubectl 0.35, kured tries an eviction five times a second, and reads the pod as often.
#[test]
fn d13_a_blocked_pod_costs_few_requests() -> Result<()> {
    alone(async || {
        let plane = unguarded_plane(1).await?;
        let site = Site::new(&plane, "d13", &[]).await?;
        let workload = Workload::new(&plane, &site);
        site.add_blocked_pod("d13").await?;
        site.machine.request_reboot()?;
        let (begin, before) = wait::until("four refusals", REBOOT_TIMEOUT, || async {
            let asked = std::time::Instant::now();
            let refused = workload.refused_evictions().await?;
            Ok((refused >= 4).then_some((asked, refused)))
        })
        .await?;
        wait::until("another two refusals", REBOOT_TIMEOUT, || async {
            let refused = workload.refused_evictions().await?;
            Ok((refused >= before + 2).then_some(()))
        })
        .await?;
        // After pauses of 1, 2 and 4 s each pause is 5 s, or up to a fifth shorter. One of those lies between these two refusals.
        ensure!(
            begin.elapsed().as_secs() >= 3,
            "two refusals within {:?}",
            begin.elapsed()
        );
        Ok(())
    })
}

/// kubectl, and so kured, gives up on a pod when a webhook first refuses its eviction.
#[test]
fn a_webhook_that_refuses_or_fails_for_a_while_is_outlasted() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "drain-webhook", &[]).await?;
        let workload = Workload::new(plane, &site);
        for name in ["drain-webhook-403", "drain-webhook-500"] {
            site.add_pod(name).await?;
        }
        workload.deny_eviction_of("drain-webhook-403").await?;
        workload.fail_eviction_of("drain-webhook-500").await?;
        site.machine.request_reboot()?;
        let text = workload.wait_progress("2 left; blocked by").await?;
        ensure!(text.contains("drain-webhook-403 is busy"), "{text}");
        let log = workload.log()?;
        ensure!(log.contains("eviction_failed"), "{log}");
        workload
            .allow_evictions(["drain-webhook-403", "drain-webhook-500"])
            .await?;
        site.reboots_once_and_is_given_back().await
    })
}

#[test]
fn d2_a_pod_that_lands_during_the_drain_is_evicted_too() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "d2", &[]).await?;
        let workload = Workload::new(plane, &site);
        site.add_blocked_pod("d2").await?;
        site.machine.request_reboot()?;
        drop(workload.wait_progress("blocked by").await?);
        // Not waited for: the pod may be evicted before it runs.
        drop(site.create_pod("d2-late").await?);
        workload.wait_gone("d2-late").await?;
        site.unblock_pod("d2").await?;
        site.reboots_once_and_is_given_back().await
    })
}

/// An admin has cordoned the node, and somebody uncordons it during the drain delay: it is cordoned and drained again.
#[test]
fn d3_an_uncordon_in_the_drain_delay_is_seen() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "d3", &["--drain-delay=10s"]).await?;
        drop(site.write(&cordon()).await?);
        site.add_pod("d3").await?;
        site.machine.request_reboot()?;
        drop(site.wait_phase(Phase::Draining).await?);
        drop(site.write(&uncordon()).await?);
        drop(site.wait_clean_reboot().await?);
        let node = site.wait_over().await?;
        ensure!(node.spec.unschedulable, "the admin's cordon is lost: {node:?}");
        let log = Workload::new(plane, &site).log()?;
        ensure!(log.contains("uncordoned"), "{log}");
        Ok(())
    })
}

#[test]
fn d6_failed_drains_leave_an_admins_cordon_for_good() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "d6", &["--drain-timeout=2s", "--backoff=1s"]).await?;
        let workload = Workload::new(plane, &site);
        drop(site.write(&cordon()).await?);
        site.add_blocked_pod("d6").await?;
        site.machine.request_reboot()?;
        workload.wait_log("called_off", 2).await?;
        let node = site.view().await?;
        ensure!(
            node.spec.unschedulable && site.machine.reboots().is_empty(),
            "{node:?}"
        );
        site.unblock_pod("d6").await?;
        drop(site.wait_clean_reboot().await?);
        let node = site.wait_over().await?;
        ensure!(node.spec.unschedulable, "the admin's cordon is lost: {node:?}");
        Ok(())
    })
}

#[test]
fn a_failed_drain_is_never_a_success_but_by_force() -> Result<()> {
    on_fleet(async |plane| {
        // What blocks is reported after 5 s, and again after 20 s.
        let arguments = ["--drain-timeout=15s", "--force-reboot", "--reboot-delay=1s"];
        let site = Site::new(plane, "drain-force", &arguments).await?;
        let workload = Workload::new(plane, &site);
        site.add_blocked_pod("drain-force").await?;
        site.machine.request_reboot()?;
        let record = site.machine.wait_for_reboot(1, REBOOT_TIMEOUT).await?;
        ensure!(
            record.pods == ["default/drain-force"] && record.unschedulable,
            "{record:?}"
        );
        let node = site.wait_over().await?;
        ensure!(!node.spec.unschedulable, "{node:?}");
        let told = workload.wait_event("RebootForced").await?;
        ensure!(told.contains("PodDisruptionBudget default/drain-force"), "{told}");
        ensure!(workload.log()?.contains("forced"), "{}", workload.log()?);
        Ok(())
    })
}

#[test]
fn no_blind_reboot_force_does_not_pass_an_uncordon() -> Result<()> {
    on_fleet(async |plane| {
        let arguments = ["--drain-timeout=5s", "--force-reboot", "--reboot-delay=8s"];
        let site = Site::new(plane, "force-uncordon", &arguments).await?;
        site.add_blocked_pod("force-uncordon").await?;
        site.machine.request_reboot()?;
        let node = site.wait_phase(Phase::Delaying).await?;
        let told = node.annotation(keys::DRAIN_PROGRESS).unwrap_or_default();
        ensure!(told.starts_with("given up by force: "), "{node:?}");
        drop(site.write(&uncordon()).await?);
        // Not waited for: the pod may be evicted before it runs.
        drop(site.create_pod("force-uncordon-late").await?);
        let record = site.machine.wait_for_reboot(1, REBOOT_TIMEOUT).await?;
        // The pods that can be evicted were evicted.
        ensure!(
            record.pods == ["default/force-uncordon"] && record.unschedulable,
            "{record:?}"
        );
        drop(site.wait_over().await?);
        let log = Workload::new(plane, &site).log()?;
        ensure!(log.contains("uncordoned"), "{log}");
        Ok(())
    })
}

/// Drain and final check use the same decision, so a pod that the selector leaves out does not block the seal.
#[test]
fn pods_that_the_selector_leaves_out_stay_and_stop_nothing() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(
            plane,
            "drain-select",
            &["--drain-pod-selector=app=drain-select-in"],
        )
        .await?;
        for name in ["drain-select-in", "drain-select-out"] {
            site.add_pod(name).await?;
        }
        site.machine.request_reboot()?;
        let record = site.machine.wait_for_reboot(1, REBOOT_TIMEOUT).await?;
        ensure!(
            record.pods == ["default/drain-select-out"] && record.unschedulable,
            "{record:?}"
        );
        drop(site.wait_over().await?);
        ensure!(site.has_pod("drain-select-out").await?, "it was evicted");
        Ok(())
    })
}

#[test]
fn a_pod_stuck_in_its_deletion_is_waited_for_or_skipped_as_told() -> Result<()> {
    on_fleet(async |plane| {
        let mut site = Site::new(plane, "drain-stuck", &[]).await?;
        let workload = Workload::new(plane, &site);
        workload.add_stuck_pod("drain-stuck").await?;
        site.machine.request_reboot()?;
        let text = workload.wait_progress("1 ending").await?;
        ensure!(
            text == "0 gone, 1 left (1 ending); waiting for pods default/drain-stuck",
            "{text}"
        );
        site.machine.kill_agent().await;
        site.start_agent(&["--skip-wait-for-delete-timeout=1"]).await?;
        let record = site.machine.wait_for_reboot(1, REBOOT_TIMEOUT).await?;
        ensure!(
            record.pods == ["default/drain-stuck"] && record.unschedulable,
            "{record:?}"
        );
        drop(site.wait_over().await?);
        Ok(())
    })
}

/// kured's drain delay comes before the cordon, where it is useless: the node still gets new pods.
#[test]
fn the_drain_delay_lies_between_the_cordon_and_the_first_eviction() -> Result<()> {
    on_fleet(async |plane| {
        let mut site = Site::new(plane, "drain-delay", &["--drain-delay=1h"]).await?;
        let workload = Workload::new(plane, &site);
        site.add_pod("drain-delay").await?;
        site.machine.request_reboot()?;
        let text = workload.wait_progress("1 left").await?;
        ensure!(
            text == "0 gone, 1 left; waiting for pods default/drain-delay",
            "{text}"
        );
        let node = site.view().await?;
        ensure!(
            node.spec.unschedulable && site.has_pod("drain-delay").await?,
            "{node:?}"
        );
        site.machine.kill_agent().await;
        site.start_agent(&["--drain-delay=1s"]).await?;
        site.reboots_once_and_is_given_back().await
    })
}

#[test]
fn the_wave_of_a_higher_priority_waits_for_the_one_before() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "drain-waves", &["--drain-by-priority"]).await?;
        let workload = Workload::new(plane, &site);
        workload.add_priority_class("drain-waves-low", -10).await?;
        workload
            .add_pod_of_class("drain-waves-low", "drain-waves-low")
            .await?;
        workload.block("drain-waves-low").await?;
        workload
            .add_pod_of_class("drain-waves-critical", "system-node-critical")
            .await?;
        site.machine.request_reboot()?;
        let text = workload.wait_progress("2 left; blocked by").await?;
        ensure!(
            text.starts_with("0 gone, 2 left; blocked by PodDisruptionBudget default/drain-waves-low"),
            "{text}"
        );
        ensure!(site.has_pod("drain-waves-critical").await?, "it went first");
        site.unblock_pod("drain-waves-low").await?;
        site.reboots_once_and_is_given_back().await
    })
}

#[test]
fn volumes_are_waited_for_until_they_are_detached_or_their_time_is_up() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "drain-volume", &["--volume-detach-timeout=1h"]).await?;
        let workload = Workload::new(plane, &site);
        workload.attach_volume("drain-volume").await?;
        site.add_pod("drain-volume").await?;
        site.machine.request_reboot()?;
        let text = workload.wait_progress("volumes").await?;
        ensure!(
            text == "1 gone, 0 left; waiting for volumes drain-volume",
            "{text}"
        );
        workload.detach_volume("drain-volume").await?;
        site.reboots_once_and_is_given_back().await?;

        let site = Site::new(plane, "drain-volume-stuck", &["--volume-detach-timeout=3s"]).await?;
        let workload = Workload::new(plane, &site);
        workload.attach_volume("drain-volume-stuck").await?;
        site.machine.request_reboot()?;
        site.reboots_once_and_is_given_back().await?;
        let told = workload.wait_event("RebootDrainBlocked").await?;
        ensure!(told.contains("volumes drain-volume-stuck"), "{told}");
        workload.detach_volume("drain-volume-stuck").await
    })
}

/// kubectl evicts pods by name, so it can hit a pod of the same name on another node (of a `StatefulSet`, moved meanwhile).
#[test]
fn a_namesake_on_another_node_is_not_hit() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "drain-namesake", &[]).await?;
        let workload = Workload::new(plane, &site);
        plane.add_node("drain-namesake-other").await?;
        site.add_blocked_pod("drain-namesake").await?;
        site.machine.request_reboot()?;
        drop(workload.wait_progress("blocked by").await?);
        workload
            .move_pod("drain-namesake", "drain-namesake-other")
            .await?;
        site.unblock_pod("drain-namesake").await?;
        site.reboots_once_and_is_given_back().await?;
        ensure!(site.has_pod("drain-namesake").await?, "the namesake was evicted");
        Ok(())
    })
}

/// The agent's evictions name the pod's uid. The drain relies on these answers of the API server for another uid.
#[test]
fn an_eviction_with_another_uid_is_blocked_or_lost_and_evicts_nobody() -> Result<()> {
    on_fleet(async |plane: &'static ControlPlane| {
        plane.add_node("drain-uid").await?;
        let site = Site::without_agent(plane, "drain-uid").await?;
        let workload = Workload::new(plane, &site);
        site.add_blocked_pod("drain-uid").await?;
        let code = workload.evict_with_uid("drain-uid", "another").await?;
        ensure!(code == 429, "{code}");
        site.unblock_pod("drain-uid").await?;
        let code = workload.evict_with_uid("drain-uid", "another").await?;
        ensure!(code == 409, "{code}");
        ensure!(site.has_pod("drain-uid").await?, "it was evicted");
        Ok(())
    })
    .context("the API server answers otherwise than the drain takes it")
}
