//! A real Prometheus is asked before a reboot: its alerts, expressions, errors, and the ways in which it lets nobody else ask.
//!
//! Not here: what is done with its answers beside the alerts, see `shared/src/reboot/prometheus.rs`; a bearer token, which Prometheus
//! does not check itself, see `agent/src/prometheus/tests.rs`.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_tests::control_plane::ControlPlane;
use cordonhold_tests::prometheus::{PASSWORD, Prometheus, Rule, USER};
use serde_json::Value;

use crate::cluster::on_fleet;
use crate::fleet::Site;

/// Longest time until an agent that waits has asked again.
const ASKED_TIMEOUT: Duration = Duration::from_secs(60);

/// A Node whose host asks for a reboot, without an agent.
async fn wishing(plane: &ControlPlane, name: &str) -> Result<Site> {
    plane.add_node(name).await?;
    let site = Site::without_agent(plane, name).await?;
    site.machine.request_reboot()?;
    Ok(site)
}

/// Ends the agent, and starts another one.
async fn restart(site: &mut Site, arguments: &[&str]) -> Result<()> {
    site.machine.terminate_agent().await?;
    site.start_agent(arguments).await
}

/// Waits until what the agent last said of its blockers is of this kind, has all of these texts and none of those.
async fn wait_blocked(site: &Site, by: &str, has: &[&str], lacks: &[&str]) -> Result<()> {
    let path = site.machine.agent_log();
    let what = format!("{} to be blocked by {by} with {has:?}", site.name());
    let look = || async {
        let log = std::fs::read_to_string(&path).context("failed to read an agent's log")?;
        let mut lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let last = lines.rfind(|line| line["event"] == "blocked");
        Ok(last.filter(|line| {
            let why = line["why"].as_str().unwrap_or_default();
            let is_said = |text: &&str| why.contains(*text);
            line["by"] == by && has.iter().all(is_said) && !lacks.iter().any(is_said)
        }))
    };
    drop(site.machine.wait_until(&what, ASKED_TIMEOUT, look).await?);
    let waiting = site.wait_phase(Phase::Wanted).await?;
    ensure!(!waiting.spec.unschedulable, "a wish cordoned the node");
    Ok(())
}

#[test]
fn alerts_of_a_real_prometheus_postpone_the_reboot_unless_they_are_ignored() -> Result<()> {
    on_fleet(async |plane| {
        let (down, full, watchdog) = (
            Rule::Firing("NodeDown"),
            Rule::Pending("DiskFills"),
            Rule::Firing("Watchdog"),
        );
        let prometheus = Prometheus::start(plane, "alerts", false, &[], &[down, full, watchdog]).await?;
        let mut site = wishing(plane, "asks-for-alerts").await?;
        let url = format!("--prometheus-url=http://{}", prometheus.address());
        let ignores = "--alert-filter-regexp=^Watchdog$";
        site.start_agent(&[&url, ignores]).await?;
        wait_blocked(&site, "alerts", &["NodeDown", "DiskFills"], &["Watchdog"]).await?;
        // One is resolved while the agent waits.
        prometheus.set_rules(&[full, watchdog]).await?;
        wait_blocked(&site, "alerts", &["DiskFills"], &["NodeDown", "Watchdog"]).await?;
        restart(&mut site, &[&url, ignores, "--alert-filter-match-only"]).await?;
        wait_blocked(&site, "alerts", &["Watchdog"], &["DiskFills"]).await?;
        // What is left is pending, or ignored.
        restart(&mut site, &[&url, ignores, "--alert-firing-only"]).await?;
        site.reboots_once_and_is_given_back().await
    })
}

#[test]
fn an_expression_postpones_the_reboot_while_a_real_prometheus_returns_series_or_refuses_it() -> Result<()> {
    on_fleet(async |plane| {
        // Nobody answers there yet.
        let target = TcpListener::bind("127.0.0.1:0")?;
        let prometheus = Prometheus::start(plane, "expressions", false, &[target.local_addr()?], &[]).await?;
        let mut site = wishing(plane, "asks-for-series").await?;
        let url = format!("--prometheus-url=http://{}", prometheus.address());
        site.start_agent(&[&url, "--blocker-promql=up{job=\"storage\"} =="])
            .await?;
        let says = ["bad_data", "parse error: unexpected end of input", "HTTP 400"];
        wait_blocked(&site, "unanswered", &says, &[]).await?;
        let expression = "up{job=\"storage\"} == 0";
        prometheus.wait_series(expression).await?;
        restart(&mut site, &[&url, &format!("--blocker-promql={expression}")]).await?;
        wait_blocked(&site, "promql", &["returns 1 series", "up{", "storage"], &[]).await?;
        serve_metrics(target);
        site.reboots_once_and_is_given_back().await
    })
}

/// Answers whoever reads metrics here, for as long as the test runs.
fn serve_metrics(listener: TcpListener) {
    drop(thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut head = [0; 4096];
            // One read has a head as small as Prometheus' is. Whoever has given up reads no answer.
            drop(stream.read(&mut head));
            let page = "storage_healthy 1\n";
            drop(write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}",
                page.len()
            ));
        }
    }));
}

#[test]
fn a_real_prometheus_that_is_guarded_is_asked_with_ca_certificate_and_password() -> Result<()> {
    on_fleet(async |plane| {
        let down = Rule::Firing("NodeDown");
        let prometheus = Prometheus::start(plane, "guarded", true, &[], &[down]).await?;
        let guard = prometheus.guard().context("it is not guarded")?;
        let mut site = wishing(plane, "asks-a-guarded").await?;
        let flag = |name: &str, path: &std::path::Path| format!("--prometheus-{name}={}", path.display());
        let ca = flag("ca-file", &guard.ca);
        let certificate = flag("cert-file", &guard.certificate);
        let key = flag("key-file", &guard.key);
        let url = |password: &str| {
            format!(
                "--prometheus-url=https://{USER}:{password}@{}",
                prometheus.address()
            )
        };
        let right = url(PASSWORD);

        site.start_agent(&[&right, &certificate, &key]).await?;
        let says = ["UnknownIssuer", "--prometheus-ca-file"];
        wait_blocked(&site, "unanswered", &says, &[PASSWORD]).await?;
        restart(&mut site, &[&right, &ca]).await?;
        let says = ["CertificateRequired", "--prometheus-cert-file"];
        wait_blocked(&site, "unanswered", &says, &[PASSWORD]).await?;
        restart(&mut site, &[&url("wrong"), &ca, &certificate, &key]).await?;
        let says = ["HTTP 401", "the user and password in --prometheus-url"];
        wait_blocked(&site, "unanswered", &says, &["wrong"]).await?;
        restart(&mut site, &[&right, &ca, &certificate, &key]).await?;
        wait_blocked(&site, "alerts", &["NodeDown"], &[]).await?;
        prometheus.set_rules(&[]).await?;
        site.reboots_once_and_is_given_back().await
    })
}
