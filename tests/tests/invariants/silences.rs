//! A real Alertmanager silences the node's alerts for as long as the hold lives, and one that does not answer delays nothing.
//!
//! Not here: what the silences are in each phase, see `shared/src/reboot/silence/tests.rs`; what happens when somebody dies or is slow, see
//! the simulation.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::reboot::silence::{Found, LEASE, Matchers};
use cordonhold_tests::alertmanager::Alertmanager;
use cordonhold_tests::host::RebootCommand;
use cordonhold_tests::wait;
use jiff::Timestamp;

use crate::cluster::on_fleet;
use crate::fleet::Site;

/// Longest time until a silence shows what the node does.
const SHOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// Waits until the silence for a node is as it should be.
async fn wait_silence(
    there: &Alertmanager,
    node: &str,
    what: &str,
    is_right: impl Fn(&[Found]) -> bool,
) -> Result<Vec<Found>> {
    let matchers: Matchers = "node=%s".parse().map_err(anyhow::Error::msg)?;
    wait::until(what, SHOWN_TIMEOUT, || async {
        let found = there.silences(&matchers.of(node)).await?;
        Ok(Some(found).filter(|found| is_right(found)))
    })
    .await
}

fn left(found: &Found) -> i64 {
    found.ends.duration_since(Timestamp::now()).as_secs()
}

#[test]
fn a_real_alertmanager_silences_a_node_while_it_drains_and_reboots_and_no_longer() -> Result<()> {
    on_fleet(async |plane| {
        let name = "silenced";
        plane.add_node(name).await?;
        let there = Alertmanager::start(plane.kennel(), plane.directory(), "alertmanager").await?;
        let mut site = Site::without_agent(plane, name).await?;
        site.add_blocked_pod(name).await?;
        // So that the agent lives until the silence of the seal has been seen.
        site.machine.set_reboot_command(RebootCommand::Waits)?;
        site.machine.request_reboot()?;
        let url = format!("--silence-url={}", there.url());
        site.start_agent(&[&url, "--silence-matcher=node=%s", "--soak=10s"])
            .await?;
        drop(site.wait_phase(Phase::Draining).await?);
        let made = wait_silence(&there, name, "a silence while the node drains", |found| {
            found.len() == 1
        })
        .await?;
        ensure!(left(&made[0]) <= LEASE.as_secs(), "{made:?}");
        let is_it = |found: &Found| found.id == made[0].id;

        // The next process finds it, and makes no second one.
        site.machine.restart_agent().await?;
        drop(site.wait_event("resumed").await?);
        drop(site.wait_nth_event("draining", 2).await?);
        site.unblock_pod(name).await?;
        let what = "the same silence, extended over the reboot";
        drop(
            wait_silence(&there, name, what, |found| {
                found.len() == 1 && is_it(&found[0]) && left(&found[0]) > LEASE.as_secs()
            })
            .await?,
        );
        site.machine.host().let_reboot_go()?;
        site.reboots_once_and_is_given_back().await?;
        drop(
            wait_silence(
                &there,
                name,
                "no silence once the cordon is given back",
                <[Found]>::is_empty,
            )
            .await?,
        );
        Ok(())
    })
}

#[test]
fn an_alertmanager_that_never_answers_delays_no_reboot_and_is_told_without_its_password() -> Result<()> {
    on_fleet(async |plane| {
        let name = "unsilenced";
        plane.add_node(name).await?;
        // It takes connections, and says nothing.
        let hangs = TcpListener::bind("127.0.0.1:0")?;
        let refuses = TcpListener::bind("127.0.0.1:0")?;
        let closed = refuses.local_addr()?;
        drop(refuses);
        let mut site = Site::without_agent(plane, name).await?;
        site.machine.request_reboot()?;
        let urls = format!(
            "--silence-url=http://me:s3cret@{closed} http://me:s3cret@{}",
            hangs.local_addr()?
        );
        site.start_agent(&[&urls]).await?;
        site.reboots_once_and_is_given_back().await?;
        let log =
            std::fs::read_to_string(site.machine.agent_log()).context("failed to read an agent's log")?;
        ensure!(
            log.contains("\"silence_failed\"") && log.contains("check --silence-url"),
            "{log}"
        );
        ensure!(!log.contains("s3cret"), "the password is in the log");
        Ok(())
    })
}
