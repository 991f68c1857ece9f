//! The Event that a denial leaves, and whether Prometheus can read the webhook's metrics.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_tests::webhook::{Mode, Protection, http_get, http_get_as};
use cordonhold_tests::{metrics_lint, wait};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;

use crate::cluster::{Cluster, alone};
use crate::subject::{Subject, uncordon};
use crate::wire::{self, Write};

/// Longest wait for an Event. The webhook updates its count every 10 s.
const EVENT_TIMEOUT: Duration = Duration::from_secs(60);
const STORM: i32 = 30;

#[test]
fn a_storm_of_denials_is_one_event_on_the_node_and_a_dry_run_none() -> Result<()> {
    alone(async || {
        let cluster = Cluster::start("base", Mode::Enforce, Protection::OwnHolds).await?;
        let dry = Subject::held(&cluster, "evidence-dry", Phase::Delaying).await?;
        let answer = wire::write(
            &cluster.controller,
            "evidence-dry?dryRun=All",
            Write::Strategic,
            &uncordon(),
        )
        .await?;
        answer.denied()?;
        let stormy = Subject::held(&cluster, "evidence-storm", Phase::Delaying).await?;
        for _ in 0..STORM {
            let answer = stormy
                .write(&cluster.controller, Write::Strategic, &uncordon())
                .await?;
            answer.denied()?;
        }
        let event = wait::until("the Event of the storm", EVENT_TIMEOUT, || async {
            let events = events_of(&stormy).await?;
            ensure!(events.len() <= 1, "a storm is more than one Event: {events:?}");
            let whole = |event: &Event| event.series.as_ref().is_some_and(|series| series.count >= STORM);
            Ok(events.into_iter().find(whole))
        })
        .await?;
        is_as_documented(&event, &stormy).await?;
        // Events are written in order, so one for the dry run would be there by now.
        let none = events_of(&dry).await?;
        ensure!(none.is_empty(), "a dry run left an Event: {none:?}");
        prometheus_reads_the_page(&cluster).await
    })
}

async fn is_as_documented(event: &Event, subject: &Subject<'_>) -> Result<()> {
    let uid = subject.view().await?.metadata.uid;
    let regarding = event
        .regarding
        .as_ref()
        .context("an Event that regards nothing")?;
    ensure!(
        regarding.kind.as_deref() == Some("Node") && regarding.uid.as_deref() == Some(&uid),
        "{event:?}"
    );
    let note = event.note.as_deref().unwrap_or_default();
    ensure!(
        event.reason.as_deref() == Some("Held")
            && event.type_.as_deref() == Some("Warning")
            && note.starts_with("Denied ")
            && note.contains("node evidence-storm is held"),
        "{event:?}"
    );
    Ok(())
}

/// The Events that the webhook wrote about this Node.
async fn events_of(subject: &Subject<'_>) -> Result<Vec<Event>> {
    let events: Api<Event> = Api::namespaced(subject.cluster.admin.clone(), "default");
    let params = ListParams::default().fields(&format!("regarding.name={}", subject.name));
    let mut found = events.list(&params).await.context("failed to list Events")?.items;
    found.retain(|event| event.reporting_controller.as_deref() == Some("cordonhold.dev/webhook"));
    Ok(found)
}

async fn prometheus_reads_the_page(cluster: &Cluster) -> Result<()> {
    let (status, page) = http_get(cluster.webhook.admin_address(), "/metrics").await?;
    ensure!(status == 200, "/metrics answered {status}: {page}");
    let denied = "cordonhold_webhook_decisions_total{verdict=\"deny\",reason=\"held\"} ";
    let denied = page.lines().find_map(|line| line.strip_prefix(denied));
    let denied: i32 = denied.with_context(|| format!("no denials in {page}"))?.parse()?;
    // There can be more, because the API server asks again after a conflict.
    ensure!(
        denied > STORM,
        "{denied} denials, and one of each write is missing"
    );
    for sample in [
        "cordonhold_webhook_events_total{outcome=\"dropped\"} 0",
        "cordonhold_webhook_events_total{outcome=\"failed\"} 0",
    ] {
        ensure!(page.lines().any(|line| line == sample), "no {sample} in {page}");
    }
    for format in [metrics_lint::OPEN_METRICS, metrics_lint::TEXT] {
        let (_, page) = http_get_as(cluster.webhook.admin_address(), "/metrics", format).await?;
        metrics_lint::lint(&page, format)?;
        let broken = page.replace("cordonhold_webhook_panics_total ", "cordonhold_webhook_panics ");
        ensure!(
            metrics_lint::lint(&broken, format).is_err(),
            "the linter takes a counter without _total as {format}"
        );
    }
    Ok(())
}
