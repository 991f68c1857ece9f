//! The metrics of a real agent while it waits, drains, is disturbed and reboots, read by Prometheus' own parser; and the Events of the
//! steps.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context as _, Result, ensure};
use cordonhold_shared::keys;
use cordonhold_tests::webhook::{http_get, http_get_as};
use cordonhold_tests::{metrics_lint, wait};
use serde_json::json;

use crate::cluster::on_fleet;
use crate::drain::Workload;
use crate::fleet::{REBOOT_TIMEOUT, Site};
use crate::subject::uncordon;

/// The metrics of the agent of one node.
struct Scraped {
    node: &'static str,
    address: SocketAddr,
}

impl Scraped {
    /// A free port for the agent of this node.
    fn new(node: &'static str) -> Result<Scraped> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        Ok(Scraped { node, address })
    }

    fn flag(&self) -> String {
        format!("--metrics-port={}", self.address.port())
    }

    /// The value of this metric with this further label; `None` if it is absent or nobody answers.
    async fn value(&self, name: &str, label: Option<(&str, &str)>) -> Option<f64> {
        let (_, page) = http_get(self.address, "/metrics").await.ok()?;
        let more = label.map(|(label, value)| format!(",{label}=\"{value}\""));
        let sample = format!(
            "cordonhold_agent_{name}{{node=\"{}\"{}}} ",
            self.node,
            more.unwrap_or_default()
        );
        let value = page.lines().find_map(|line| line.strip_prefix(&sample))?;
        value.parse().ok()
    }

    async fn wait(&self, name: &str, label: Option<(&str, &str)>, least: f64) -> Result<()> {
        let what = format!("{name} {label:?} to be {least} at least");
        wait::until(&what, REBOOT_TIMEOUT, || async {
            let value = self.value(name, label).await;
            Ok(value.filter(|value| *value >= least).map(drop))
        })
        .await
    }

    async fn lint(&self) -> Result<()> {
        for format in [metrics_lint::OPEN_METRICS, metrics_lint::TEXT] {
            let (_, page) = http_get_as(self.address, "/metrics", format).await?;
            metrics_lint::lint(&page, format)?;
        }
        Ok(())
    }
}

#[test]
fn a_reboot_is_in_the_metrics_of_its_agent_and_each_step_is_an_event() -> Result<()> {
    on_fleet(async |plane| {
        let name = "agent-metrics";
        plane.add_node(name).await?;
        let scraped = Scraped::new(name)?;
        let mut site = Site::without_agent(plane, name).await?;
        let paused = |value: Option<&str>| json!({ "metadata": { "annotations": { keys::PAUSE: value } } });
        drop(site.write(&paused(Some("wait"))).await?);
        site.add_blocked_pod(name).await?;
        site.machine.request_reboot()?;
        site.start_agent(&[&scraped.flag()]).await?;
        let paused_by = Some(("blocker", "node_paused"));
        scraped.wait("blocked", paused_by, 1.0).await?;
        ensure!(scraped.value("wishes_total", None).await == Some(1.0));
        ensure!(scraped.value("pods_left", None).await.is_none());

        drop(site.write(&paused(None)).await?);
        scraped.wait("pods_left", None, 1.0).await?;
        ensure!(scraped.value("blocked", paused_by).await == Some(0.0));
        let budget = Some(("reason", "budget"));
        scraped.wait("evictions_refused_total", budget, 1.0).await?;
        drop(site.write(&uncordon()).await?);
        scraped
            .wait("disturbances_total", Some(("reason", "uncordoned")), 1.0)
            .await?;
        scraped
            .wait("drains_total", Some(("result", "begun")), 2.0)
            .await?;
        scraped.lint().await?;

        site.unblock_pod(name).await?;
        site.reboots_once_and_is_given_back().await?;
        scraped
            .wait("reboots_total", Some(("result", "returned")), 1.0)
            .await?;
        let workload = Workload::new(plane, &site);
        for reason in [
            "RebootBlocked",
            "RebootWanted",
            "RebootLocked",
            "RebootDraining",
            "RebootDrained",
            "Rebooted",
            "RebootNodeReady",
            "RebootGivenBack",
            "RebootReleased",
        ] {
            drop(workload.wait_event(reason).await.context(reason)?);
        }
        Ok(())
    })
}

/// The Deployment puts its pod back on the node, and the pod that stays there is Ready.
#[test]
fn the_time_from_an_eviction_to_a_ready_replacement_is_measured_while_the_drain_goes_on() -> Result<()> {
    on_fleet(async |plane| {
        let name = "replacements";
        let scraped = Scraped::new(name)?;
        let site = Site::new(plane, name, &[&scraped.flag(), "--reboot-delay=1s"]).await?;
        let workload = Workload::new(plane, &site);
        workload.deploy_operator(name).await?;
        site.add_blocked_pod("replacements-blocked").await?;
        site.machine.request_reboot()?;
        scraped.wait("evictions_total", None, 1.0).await?;
        scraped.wait("replacement_seconds_count", None, 1.0).await?;
        site.unblock_pod("replacements-blocked").await?;
        let reboot = site.machine.wait_for_reboot(1, REBOOT_TIMEOUT).await?;
        ensure!(reboot.unschedulable, "{reboot:?}");
        drop(site.wait_over().await?);
        let used = site.wait_event("delay_used").await?;
        ensure!(
            used["still_missing"].is_u64() && used["level"] == "INFO",
            "{used}"
        );
        Ok(())
    })
}
