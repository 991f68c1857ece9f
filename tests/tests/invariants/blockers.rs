//! Others who are asked before a reboot: pods on the node, and Prometheus, which a small HTTP server plays here.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, ensure};
use cordonhold_shared::hold::Phase;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;

use crate::cluster::alone;
use crate::fleet::{Site, unguarded_plane};

#[test]
fn a_pod_on_the_node_that_the_selector_takes_postpones_the_reboot_until_it_is_gone() -> Result<()> {
    alone(async || {
        let plane = unguarded_plane(1).await?;
        let mut site = Site::without_agent(&plane, "node-0").await?;
        site.add_pod("batch").await?;
        site.machine.request_reboot()?;
        site.start_agent(&["--blocking-pod-selector=app in (batch)"])
            .await?;
        let line = site.wait_event("blocked").await?;
        ensure!(line["by"] == "pods", "{line}");
        let why = line["why"].as_str().unwrap_or_default();
        ensure!(why.contains("default/batch"), "{line}");
        let waiting = site.wait_phase(Phase::Wanted).await?;
        ensure!(!waiting.spec.unschedulable, "a wish cordoned the node");
        let pods: Api<Pod> = Api::default_namespaced(plane.client());
        drop(
            pods.delete("batch", &DeleteParams::default().grace_period(0))
                .await?,
        );
        site.reboots_once_and_is_given_back().await
    })
}

#[test]
fn an_alert_and_a_prometheus_that_is_not_there_postpone_the_reboot() -> Result<()> {
    alone(async || {
        let plane = unguarded_plane(1).await?;
        let mut site = Site::without_agent(&plane, "node-0").await?;
        site.machine.request_reboot()?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("--prometheus-url=http://{}", listener.local_addr()?);
        drop(listener);
        site.start_agent(&[&url, "--alert-firing-only"]).await?;
        let line = site.wait_event("blocked").await?;
        ensure!(line["by"] == "unanswered", "{line}");
        let why = line["why"].as_str().unwrap_or_default();
        ensure!(why.contains("check --prometheus-url"), "{line}");

        // At the same port, now with an alert, until it is resolved.
        let fires = Arc::new(AtomicBool::new(true));
        play_prometheus(&url, &fires)?;
        let line = site.wait_nth_event("blocked", 2).await?;
        ensure!(line["by"] == "alerts", "{line}");
        let why = line["why"].as_str().unwrap_or_default();
        ensure!(why.contains("NodeDown"), "{line}");
        let waiting = site.wait_phase(Phase::Wanted).await?;
        ensure!(!waiting.spec.unschedulable, "a wish cordoned the node");
        fires.store(false, Ordering::SeqCst);
        site.reboots_once_and_is_given_back().await
    })
}

/// Answers queries for firing alerts at the port of this flag, for as long as the test runs.
fn play_prometheus(flag: &str, fires: &Arc<AtomicBool>) -> Result<()> {
    let address = flag.rsplit('/').next().unwrap_or_default();
    let listener = TcpListener::bind(address)?;
    let fires = Arc::clone(fires);
    drop(thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                head.push(byte[0]);
            }
            let asks_for_firing = String::from_utf8_lossy(&head).contains("alertstate%3D%22firing%22");
            let alert = r#"{"metric":{"alertname":"NodeDown","alertstate":"firing"},"value":[1,"1"]}"#;
            let result = if asks_for_firing && fires.load(Ordering::SeqCst) {
                alert
            } else {
                ""
            };
            let body =
                format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{result}]}}}}"#);
            let length = body.len();
            // An agent that is gone reads no answer.
            drop(write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            ));
        }
    }));
    Ok(())
}

#[test]
fn outside_of_its_window_a_node_shows_its_wish_and_nothing_else() -> Result<()> {
    alone(async || {
        let plane = unguarded_plane(1).await?;
        let mut site = Site::without_agent(&plane, "node-0").await?;
        site.machine.request_reboot()?;
        // The day after tomorrow, whatever the time zone.
        let today = Timestamp::now().to_zoned(TimeZone::UTC).weekday();
        let day = today.wrapping_add(2).to_sunday_zero_offset();
        site.start_agent(&[&format!("--reboot-days={day}"), "--time-zone=UTC"])
            .await?;
        let line = site.wait_event("blocked").await?;
        ensure!(line["by"] == "outside_window", "{line}");
        let waiting = site.wait_phase(Phase::Wanted).await?;
        ensure!(!waiting.spec.unschedulable, "a wish cordoned the node");
        ensure!(
            !site.is_in_lock().await?,
            "it took the lock outside of its window"
        );
        // Another process with another window goes on from the wish.
        site.machine.terminate_agent().await?;
        site.start_agent(&["--window=* * * * * for 5m"]).await?;
        site.reboots_once_and_is_given_back().await
    })
}
