//! AT-MOST-N, as far as one lock and two nodes show it: one after the other, and a wish that ends while it waits.

use std::fs;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::Phase;
use jiff::SignedDuration;

use crate::cluster::alone;
use crate::fleet::{Site, unguarded_plane};

/// The machine is down for 3 s, and the first node gives its place back only when it is Ready again.
const DOWN_TIME: SignedDuration = SignedDuration::from_secs(3);

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

#[test]
fn a_wish_that_ends_while_it_waits_is_taken_back() -> Result<()> {
    alone(async || {
        let plane = unguarded_plane(2).await?;
        let mut first = Site::without_agent(&plane, "node-0").await?;
        first.add_blocked_pod("blocked").await?;
        first.start_agent(&["--concurrency=1"]).await?;
        first.machine.request_reboot()?;
        drop(first.wait_phase(Phase::Draining).await?);
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
