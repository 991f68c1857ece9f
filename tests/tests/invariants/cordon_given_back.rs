//! CORDON-GIVEN-BACK: however a reboot ends, the cordon is what it was before, and the node's place in the lock is free again.

use anyhow::{Result, ensure};
use cordonhold_shared::hold::{self, Phase};
use cordonhold_shared::keys;

use crate::cluster::on_fleet;
use crate::fleet::Site;
use crate::subject::{annotate, cordon, uncordon};

#[test]
fn a_node_that_was_cordoned_stays_cordoned() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "was-cordoned", &[]).await?;
        drop(site.write(&cordon()).await?);
        site.machine.request_reboot()?;
        drop(site.wait_clean_reboot().await?);
        let node = site.wait_over().await?;
        ensure!(node.spec.unschedulable, "{node:?}");
        Ok(())
    })
}

/// What the cordon was before is decided once, and not decided again when the node is drained again.
#[test]
fn a_node_that_was_cordoned_stays_so_after_an_uncordon_meanwhile() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "was-cordoned-once", &["--reboot-delay=8s"]).await?;
        drop(site.write(&cordon()).await?);
        site.machine.request_reboot()?;
        drop(site.wait_phase(Phase::Delaying).await?);
        drop(site.write(&uncordon()).await?);
        drop(site.wait_clean_reboot().await?);
        let node = site.wait_over().await?;
        ensure!(node.spec.unschedulable, "{node:?}");
        Ok(())
    })
}

#[test]
fn a_node_that_somebody_wants_cordoned_on_return_stays() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "keep", &["--reboot-delay=8s"]).await?;
        site.machine.request_reboot()?;
        drop(site.wait_phase(Phase::Delaying).await?);
        drop(
            site.write(&annotate(keys::KEEP_CORDONED, Some("the disk is next")))
                .await?,
        );
        drop(site.wait_clean_reboot().await?);
        let node = site.wait_over().await?;
        ensure!(node.spec.unschedulable, "{node:?}");
        Ok(())
    })
}

#[test]
fn a_power_cycle_in_the_delay_is_the_reboot() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "power", &["--reboot-delay=30s"]).await?;
        site.machine.request_reboot()?;
        drop(site.wait_phase(Phase::Delaying).await?);
        site.machine.power_cycle().await?;
        site.reboots_once_and_is_given_back().await
    })
}

#[test]
fn a_cancel_in_the_delay_calls_it_off() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "cancel", &["--reboot-delay=30s"]).await?;
        site.machine.request_reboot()?;
        let node = site.wait_phase(Phase::Delaying).await?;
        let created = match hold::read(&node).present() {
            Some(hold) => hold.holder.created,
            None => anyhow::bail!("no hold that can be read: {node:?}"),
        };
        // A cancel of another hold has no effect, so the phase stays.
        drop(
            site.write(&annotate(keys::CANCEL, Some("2026-01-01T00:00:00Z old")))
                .await?,
        );
        drop(site.wait_phase(Phase::Delaying).await?);
        let cancel = format!("{created} the rack is on fire");
        drop(site.write(&annotate(keys::CANCEL, Some(&cancel))).await?);
        site.is_called_off().await
    })
}

#[test]
fn a_drain_that_takes_too_long_is_called_off() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "drain-timeout", &["--drain-timeout=3s"]).await?;
        site.add_blocked_pod("drain-timeout").await?;
        site.machine.request_reboot()?;
        let line = site.wait_event("called_off").await?;
        ensure!(line["reason"] == "drain_timeout", "{line}");
        site.is_called_off().await?;
        ensure!(
            site.has_pod("drain-timeout").await?,
            "a pod went although its budget forbade it"
        );
        Ok(())
    })
}

/// A wish has changed no cordon, so when it ends there is nothing to give back: somebody else's cordon stays.
#[test]
fn a_node_without_a_wish_is_left_alone() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "no-wish", &[]).await?;
        drop(site.write(&cordon()).await?);
        site.machine.power_cycle().await?;
        let node = site.wait_over().await?;
        ensure!(node.spec.unschedulable, "{node:?}");
        Ok(())
    })
}
