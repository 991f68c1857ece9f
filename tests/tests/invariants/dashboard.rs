//! Each panel of the dashboard shows something in a real Prometheus that reads real agents and a real webhook.
//!
//! Not here: whether the expressions parse, see `alerts.rs`.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, Result};
use cordonhold_shared::hold::Phase;
use cordonhold_tests::prometheus::Prometheus;
use cordonhold_tests::webhook::{Mode, Protection};

use crate::cluster::{Cluster, alone};
use crate::fleet::Site;
use crate::subject::uncordon;
use crate::wire::{self, Write};

/// Creates a Node whose host asks for a reboot, and an agent that serves its metrics. One node at a time is rebooted.
async fn asking(cluster: &Cluster, name: &str) -> Result<(Site, SocketAddr)> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    cluster.plane.add_node(name).await?;
    let mut site = Site::without_agent(&cluster.plane, name).await?;
    if name == FIRST {
        site.add_blocked_pod(name).await?;
    }
    site.machine.request_reboot()?;
    let port = format!("--metrics-port={}", address.port());
    site.start_agent(&["--concurrency=1", &port]).await?;
    Ok((site, address))
}

/// The node that has the lock first. A budget stops its drain.
const FIRST: &str = "dashboard-first";

#[test]
fn each_panel_of_the_dashboard_shows_what_agents_and_webhook_say() -> Result<()> {
    alone(async || {
        let cluster = Cluster::start("base", Mode::Enforce, Protection::OwnHolds).await?;
        let (first, first_metrics) = asking(&cluster, FIRST).await?;
        drop(first.wait_phase(Phase::Draining).await?);
        let (_second, second_metrics) = asking(&cluster, "dashboard-second").await?;
        let targets = [first_metrics, second_metrics, cluster.webhook.admin_address()];
        let prometheus = Prometheus::start(&cluster.plane, "dashboard", false, &targets, &[]).await?;
        wire::write(&cluster.controller, FIRST, Write::Merge, &uncordon())
            .await?
            .denied()?;

        let shown = cordonhold_manifests::dashboard::expressions();
        let (after, during): (Vec<_>, Vec<_>) = shown
            .into_iter()
            .partition(|expression| expression.contains("last_reboot"));
        for expression in &during {
            prometheus.wait_series(expression).await?;
        }
        first.unblock_pod(FIRST).await?;
        first.reboots_once_and_is_given_back().await?;
        for expression in &after {
            prometheus
                .wait_series(expression)
                .await
                .context("after a reboot")?;
        }
        Ok(())
    })
}
