//! NO-BLIND-REBOOT: a reboot happens only after a seal, on a node that is cordoned and empty, whoever uncordons it and whenever the
//! agent dies.

use anyhow::{Result, ensure};
use cordonhold_shared::hold::{self, Phase};
use cordonhold_tests::host::RebootCommand;
use cordonhold_tests::machine::Machine;

use crate::cluster::{on_fleet, on_shared};
use crate::fleet::{REBOOT_TIMEOUT, Site};
use crate::subject::{cordon, uncordon};

#[test]
fn a_clean_reboot_with_the_webhook() -> Result<()> {
    on_shared(async |cluster| clean_reboot(&Site::new(&cluster.plane, "clean-guarded", &[]).await?).await)
}

#[test]
fn a_clean_reboot_without_the_webhook() -> Result<()> {
    on_fleet(async |plane| clean_reboot(&Site::new(plane, "clean", &["--reboot-delay=2s"]).await?).await)
}

async fn clean_reboot(site: &Site) -> Result<()> {
    let pods: Vec<String> = (0..3).map(|number| format!("{}-{number}", site.name())).collect();
    for pod in &pods {
        site.add_pod(pod).await?;
    }
    site.machine.request_reboot()?;
    site.reboots_once_and_is_given_back().await?;
    for pod in &pods {
        ensure!(!site.has_pod(pod).await?, "{pod} was not evicted");
    }
    ensure!(
        !site.machine.host().sentinel().exists(),
        "the sentinel outlived the boot"
    );
    Ok(())
}

#[test]
fn d1_an_uncordon_in_the_delay_is_drained_again() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "redrain", &["--reboot-delay=8s"]).await?;
        site.machine.request_reboot()?;
        drop(site.wait_phase(Phase::Delaying).await?);
        drop(site.write(&uncordon()).await?);
        // Not waited for: the pod may be evicted before it runs.
        drop(site.create_pod("redrain-late").await?);
        site.reboots_once_and_is_given_back().await?;
        ensure!(
            !site.has_pod("redrain-late").await?,
            "the late pod was not evicted"
        );
        Ok(())
    })
}

/// No pod comes, so only the cleared cordon shows the disturbance.
#[test]
fn an_uncordon_that_brings_no_pod_is_cordoned_again() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "recordon", &["--reboot-delay=8s"]).await?;
        site.machine.request_reboot()?;
        drop(site.wait_phase(Phase::Delaying).await?);
        drop(site.write(&uncordon()).await?);
        site.reboots_once_and_is_given_back().await
    })
}

/// The cordon is back before the agent can read the Node again, but its watch still shows that it was cleared.
#[test]
fn an_uncordon_that_is_taken_back_is_noticed() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "taken-back", &["--reboot-delay=8s"]).await?;
        site.machine.request_reboot()?;
        drop(site.wait_phase(Phase::Delaying).await?);
        drop(site.write(&uncordon()).await?);
        drop(site.write(&cordon()).await?);
        site.reboots_once_and_is_given_back().await?;
        is_drained_again(&site, &["uncordoned"]).await?;
        let account = hold::last_reboot(&site.view().await?);
        let disturbed = account.as_ref().present().map(|account| &account.disturbed);
        let is_counted = disturbed.is_some_and(|disturbed| disturbed.contains_key("uncordoned"));
        ensure!(is_counted, "{account:?}");
        Ok(())
    })
}

#[test]
fn a_pod_that_slips_in_is_drained_again() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "slip", &["--reboot-delay=8s"]).await?;
        site.machine.request_reboot()?;
        drop(site.wait_phase(Phase::Delaying).await?);
        drop(site.write(&uncordon()).await?);
        // Not waited for: the pod may be evicted before it runs.
        drop(site.create_pod("slip-late").await?);
        drop(site.write(&cordon()).await?);
        site.reboots_once_and_is_given_back().await?;
        // Uncordon and pod come by different watches, so either may be noticed first.
        is_drained_again(&site, &["uncordoned", "pods"]).await
    })
}

/// Checks that the agent noticed a disturbance with one of these reasons, and drained again.
async fn is_drained_again(site: &Site, reasons: &[&str]) -> Result<()> {
    let line = site.wait_event("disturbed").await?;
    let reason = line["reason"].as_str().unwrap_or_default();
    ensure!(
        reasons.contains(&reason) && line["next"] == "drain_again",
        "{line}"
    );
    Ok(())
}

#[test]
fn with_abort_an_uncordon_calls_it_off() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "abort", &["--reboot-delay=30s", "--on-uncordon=abort"]).await?;
        site.machine.request_reboot()?;
        drop(site.wait_phase(Phase::Delaying).await?);
        drop(site.write(&uncordon()).await?);
        site.is_called_off().await
    })
}

#[test]
fn an_agent_killed_while_draining_goes_on() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "kill-draining", &[]).await?;
        site.add_blocked_pod("kill-draining").await?;
        site.machine.request_reboot()?;
        drop(site.wait_phase(Phase::Draining).await?);
        site.machine.kill_agent().await;
        site.unblock_pod("kill-draining").await?;
        site.machine.restart_agent().await?;
        site.reboots_once_and_is_given_back().await
    })
}

#[test]
fn an_agent_killed_while_delaying_goes_on() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "kill-delaying", &["--reboot-delay=8s"]).await?;
        site.machine.request_reboot()?;
        drop(site.wait_phase(Phase::Delaying).await?);
        site.machine.kill_agent().await;
        // The agent does not run now, so it cannot watch this.
        drop(site.write(&uncordon()).await?);
        site.add_pod("kill-delaying-late").await?;
        site.machine.restart_agent().await?;
        site.reboots_once_and_is_given_back().await
    })
}

/// An agent never reboots on a seal that another process made.
#[test]
fn an_agent_killed_after_the_seal_seals_again() -> Result<()> {
    on_fleet(async |plane| {
        plane.add_node("kill-sealed").await?;
        let mut site = Site::without_agent(plane, "kill-sealed").await?;
        site.machine.set_reboot_command(RebootCommand::DoesNothing)?;
        site.start_agent(&["--reboot-timeout=10s"]).await?;
        site.machine.request_reboot()?;
        drop(site.wait_phase(Phase::Sealed).await?);
        site.machine.kill_agent().await;
        drop(site.write(&uncordon()).await?);
        site.add_pod("kill-sealed-late").await?;
        site.machine.set_reboot_command(RebootCommand::Reboots)?;
        site.machine.restart_agent().await?;
        site.reboots_once_and_is_given_back().await
    })
}

/// `--verify-before-reboot=never` brings back the hole that Cordonhold closes.
#[test]
fn without_verification_the_hole_is_there() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(
            plane,
            "hole",
            &["--reboot-delay=8s", "--verify-before-reboot=never"],
        )
        .await?;
        site.machine.request_reboot()?;
        drop(site.wait_phase(Phase::Delaying).await?);
        drop(site.write(&uncordon()).await?);
        drop(site.create_pod("hole-late").await?);
        let machine: &Machine = &site.machine;
        let record = machine.wait_for_reboot(1, REBOOT_TIMEOUT).await?;
        ensure!(
            record.pods == ["default/hole-late"] && !record.unschedulable,
            "{record:?}"
        );
        let node = site.wait_over().await?;
        ensure!(!node.spec.unschedulable, "{node:?}");
        Ok(())
    })
}
