//! AT-MOST-N: nodes reboot one after the other and without delay; a dead holder, and one whose Node is gone.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_tests::control_plane::ControlPlane;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::DeleteParams;

use crate::cluster::alone;
use crate::drain::Workload;
use crate::fleet::{Site, unguarded_plane};
use crate::subject::cordon;

mod daemon_set;
mod pools;

/// Shortest time between two reboots: a machine is down for 3 s, and its node keeps its place until it is Ready again.
const DOWN_TIME: SignedDuration = SignedDuration::from_secs(3);

/// Lets node-0 take the only place in the lock, and keeps it draining until its pod `blocked` may be evicted.
async fn kept_draining(plane: &ControlPlane) -> Result<Site> {
    let mut site = Site::without_agent(plane, "node-0").await?;
    site.add_blocked_pod("blocked").await?;
    site.machine.request_reboot()?;
    site.start_agent(&["--concurrency=1"]).await?;
    drop(site.wait_phase(Phase::Draining).await?);
    Ok(site)
}

/// Waits until one of two nodes drains. Returns that one first.
async fn first_of<'a>(a: &'a Site, b: &'a Site) -> Result<(&'a Site, &'a Site)> {
    tokio::select! {
        phase = a.wait_phase(Phase::Draining) => phase.map(|_| (a, b)),
        phase = b.wait_phase(Phase::Draining) => phase.map(|_| (b, a)),
    }
}

#[test]
fn two_nodes_reboot_one_after_the_other() -> Result<()> {
    alone(async || {
        let plane = unguarded_plane(2).await?;
        let mut sites = Vec::new();
        for name in ["node-0", "node-1"] {
            let mut site = Site::without_agent(&plane, name).await?;
            site.start_agent(&["--concurrency=1"]).await?;
            sites.push(site);
        }
        for site in &sites {
            site.machine.request_reboot()?;
        }
        let mut times = Vec::new();
        for site in &sites {
            times.push(site.wait_clean_reboot().await?.at);
        }
        times.sort();
        ensure!(
            times[1].duration_since(times[0]) >= DOWN_TIME,
            "both at once: {times:?}"
        );
        for site in &sites {
            site.reboots_once_and_is_given_back().await?;
        }
        Ok(())
    })
}

/// Longest time from a release to the next drain. It takes less than 1 s on an idle machine; polling would take at least 8 s.
const HAND_OVER: Duration = Duration::from_secs(5);

#[test]
fn d18_the_next_node_begins_when_the_lock_is_released_not_a_period_later() -> Result<()> {
    alone(async || {
        let plane = unguarded_plane(2).await?;
        let first = kept_draining(&plane).await?;
        let mut second = Site::without_agent(&plane, "node-1").await?;
        second.add_blocked_pod("blocked-too").await?;
        second.machine.request_reboot()?;
        second.start_agent(&["--concurrency=1", "--period=1h"]).await?;
        drop(second.wait_phase(Phase::Wanted).await?);
        drop(second.wait_event("lock_held").await?);
        first.unblock_pod("blocked").await?;
        drop(first.wait_over().await?);
        let released = Instant::now();
        drop(second.wait_phase(Phase::Draining).await?);
        let took = released.elapsed();
        ensure!(took < HAND_OVER, "the next node began {took:?} after the release");
        second.unblock_pod("blocked-too").await?;
        second.reboots_once_and_is_given_back().await
    })
}

#[test]
fn a_dead_holder_is_named_and_its_place_is_free_once_its_node_is_gone() -> Result<()> {
    alone(async || {
        let plane = unguarded_plane(2).await?;
        let mut first = kept_draining(&plane).await?;
        first.machine.kill_agent().await;
        plane.set_down("node-0", true).await?;
        let mut second = Site::without_agent(&plane, "node-1").await?;
        second.machine.request_reboot()?;
        // The agent reports a stalled lock once the same holders have kept it for `--reboot-timeout`.
        second
            .start_agent(&["--concurrency=1", "--reboot-timeout=2s"])
            .await?;
        let line = second.wait_event("lock_stalled").await?;
        let by = line["by"].as_str().unwrap_or_default();
        ensure!(
            by.starts_with("node-0 since ") && by.contains("its Node is not Ready since "),
            "{line}"
        );
        let told = Workload::new(&plane, &second)
            .wait_event("RebootLockStalled")
            .await?;
        ensure!(told.contains("node-0 since"), "{told}");

        // The Node is deleted and created again, and an admin cordons it before its agent starts.
        let nodes: Api<Node> = Api::all(plane.client());
        drop(
            nodes
                .delete("node-0", &DeleteParams::default())
                .await
                .context("failed to delete a Node")?,
        );
        first.unblock_pod("blocked").await?;
        plane.add_node("node-0").await?;
        drop(first.write(&cordon()).await?);
        drop(second.wait_clean_reboot().await?);
        fs::remove_file(first.machine.host().sentinel()).context("failed to remove the sentinel")?;
        first.start_agent(&["--concurrency=1"]).await?;
        // Number 2 is that of the second process.
        drop(first.wait_nth_event("lock_chosen", 2).await?);
        drop(second.wait_over().await?);
        let node = first.wait_over().await?;
        ensure!(node.spec.unschedulable, "the admin's cordon was taken off");
        Ok(())
    })
}

#[test]
fn a_wish_that_ends_while_it_waits_is_taken_back() -> Result<()> {
    alone(async || {
        let plane = unguarded_plane(2).await?;
        let first = kept_draining(&plane).await?;
        let mut second = Site::without_agent(&plane, "node-1").await?;
        second.start_agent(&["--concurrency=1"]).await?;
        second.machine.request_reboot()?;
        let waiting = second.wait_phase(Phase::Wanted).await?;
        ensure!(!waiting.spec.unschedulable, "a wish cordoned the node");
        fs::remove_file(second.machine.host().sentinel()).context("failed to remove the sentinel")?;
        second.is_called_off().await?;
        first.unblock_pod("blocked").await?;
        first.reboots_once_and_is_given_back().await
    })
}
