//! Pools: each has its own budget, and no Node may be in two pools.

use anyhow::{Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_tests::NAMESPACE;
use cordonhold_tests::control_plane::ControlPlane;
use cordonhold_tests::install::permit_leases;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::first_of;
use crate::cluster::alone;
use crate::fleet::{Site, unguarded_plane};

const POOL: &str = "example.org/pool";

#[test]
fn pools_have_budgets_of_their_own_and_do_not_overlap() -> Result<()> {
    alone(async || {
        let plane = unguarded_plane(5).await?;
        permit_leases(&plane.client(), &["cordonhold-a", "cordonhold-b"]).await?;
        let mut sites = Vec::new();
        for (name, pool) in [("node-0", "a"), ("node-1", "a"), ("node-2", "b")] {
            let mut site = labelled(&plane, name, pool).await?;
            site.add_blocked_pod(&format!("blocked-{name}")).await?;
            site.machine.request_reboot()?;
            // Both pools may reboot one node: 50 % of two is one, and 50 % of one is rounded up to one.
            start(&mut site, pool, &["--concurrency=50%"]).await?;
            sites.push(site);
        }
        drop(sites[2].wait_phase(Phase::Draining).await?);
        let (one, other) = first_of(&sites[0], &sites[1]).await?;
        drop(other.wait_phase(Phase::Wanted).await?);
        let line = other.wait_event("lock_held").await?;
        ensure!(line["by"] == one.name(), "{line}");
        let leases: Api<Lease> = Api::namespaced(plane.client(), NAMESPACE);
        for (pool, holder) in [("a", one.name()), ("b", "node-2")] {
            let lease = leases.get(&format!("cordonhold-{pool}")).await?;
            let selector = format!("{POOL}={pool}");
            ensure!(
                lease.annotations().get(keys::POOL_SELECTOR) == Some(&selector),
                "{lease:?}"
            );
            let shown = lease.spec.and_then(|spec| spec.holder_identity);
            ensure!(shown.as_deref() == Some(holder), "{shown:?}");
        }

        overlaps_are_refused(&plane).await?;
        for site in &sites {
            site.unblock_pod(&format!("blocked-{}", site.name())).await?;
        }
        for site in &sites {
            site.reboots_once_and_is_given_back().await?;
        }
        Ok(())
    })
}

async fn overlaps_are_refused(plane: &ControlPlane) -> Result<()> {
    let mut stranger = labelled(plane, "node-3", "b").await?;
    start_wrong(&mut stranger, "a").await?;
    stranger
        .wait_refusal("the Node node-3 is not in the pool a: its labels do not match --pool-selector=example.org/pool=a")
        .await?;
    // A pool of all Nodes overlaps the other pools.
    let mut both = labelled(plane, "node-4", "b").await?;
    both.start_agent(&[]).await?;
    both.wait_refusal("the Node node-4 is in two pools: default, and the pool of the Lease cordonhold-b")
        .await?;
    let shown = stranger.view().await?.label(keys::PHASE).is_some();
    ensure!(!shown, "an agent that was refused stamped its Node");
    Ok(())
}

#[test]
fn no_reboot_begins_while_more_of_the_pool_is_not_ready_than_allowed() -> Result<()> {
    alone(async || {
        let plane = unguarded_plane(2).await?;
        plane.set_down("node-1", true).await?;
        let mut site = Site::without_agent(&plane, "node-0").await?;
        site.machine.request_reboot()?;
        site.start_agent(&["--max-unavailable=0"]).await?;
        let line = site.wait_event("blocked").await?;
        ensure!(line["by"] == "unavailable", "{line}");
        let why = line["why"].as_str().unwrap_or_default();
        ensure!(
            why.contains("1 (node-1), and --max-unavailable allows 0: bring them back"),
            "{line}"
        );
        let waiting = site.wait_phase(Phase::Wanted).await?;
        ensure!(!waiting.spec.unschedulable, "a wish cordoned the node");
        plane.set_down("node-1", false).await?;
        site.reboots_once_and_is_given_back().await
    })
}

async fn labelled(plane: &ControlPlane, name: &str, pool: &str) -> Result<Site> {
    let site = Site::without_agent(plane, name).await?;
    drop(
        site.write(&json!({ "metadata": { "labels": { POOL: pool } } }))
            .await?,
    );
    Ok(site)
}

async fn start(site: &mut Site, pool: &str, more: &[&str]) -> Result<()> {
    let (name, selector) = (format!("--pool={pool}"), format!("--pool-selector={POOL}={pool}"));
    let mut arguments = vec![name.as_str(), selector.as_str()];
    arguments.extend(more);
    site.start_agent(&arguments).await
}

async fn start_wrong(site: &mut Site, pool: &str) -> Result<()> {
    start(site, pool, &[]).await
}
