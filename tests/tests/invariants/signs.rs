//! The signs that an agent writes on its Node beside the marks: for users of kured, for autoscalers, and as conditions.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_shared::node::{NodeView, Taint};
use cordonhold_tests::control_plane::{ControlPlane, Options};
use cordonhold_tests::install::{install, manifests};
use cordonhold_tests::wait;
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{WatchEvent, WatchParams};
use serde_json::json;

use crate::cluster::{alone, on_fleet};
use crate::fleet::Site;
use crate::subject::annotate;

const SOFT: &str = "weave.works/kured-node-reboot";
/// The flags that turn on all signs.
pub(crate) const SIGNS: [&str; 5] = [
    "--annotate-nodes",
    "--protect-from-autoscaler",
    "--prefer-no-schedule-taint=weave.works/kured-node-reboot",
    "--pre-reboot-node-labels=kured=rebooting",
    "--post-reboot-node-labels=kured=done",
];
const CONDITIONS_TIMEOUT: Duration = Duration::from_secs(30);

fn with_signs<'a>(more: &[&'a str]) -> Vec<&'a str> {
    SIGNS.iter().chain(more).copied().collect()
}

#[test]
fn a_node_in_a_drain_shows_what_was_asked_for() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "signs", &with_signs(&["--reboot-delay=8s"])).await?;
        site.machine.request_reboot()?;
        let node = site.wait_phase(Phase::Delaying).await?;
        let since = node
            .annotation(keys::KURED_REBOOT_IN_PROGRESS)
            .context("no annotation")?;
        let _: jiff::Timestamp = since.parse().context("no time")?;
        ensure!(node.annotation(keys::KURED_MOST_RECENT_REBOOT_NEEDED) == Some(since));
        ensure!(
            node.annotation(keys::SCALE_DOWN_DISABLED) == Some("true"),
            "{node:?}"
        );
        ensure!(node.annotation(keys::DO_NOT_DISRUPT) == Some("true"), "{node:?}");
        ensure!(node.label("kured") == Some("rebooting"), "{node:?}");
        ensure!(
            node.spec.taints.contains(&Taint::prefer_no_schedule(SOFT)),
            "{node:?}"
        );
        site.reboots_once_and_is_given_back().await?;
        let node = site.view().await?;
        ensure!(node.label("kured") == Some("done"), "{node:?}");
        is_tidy(&node)
    })
}

fn is_tidy(node: &NodeView) -> Result<()> {
    for key in [
        keys::KURED_REBOOT_IN_PROGRESS,
        keys::SCALE_DOWN_DISABLED,
        keys::DO_NOT_DISRUPT,
        keys::DO_NOT_REPAIR,
        keys::REPLACED,
        keys::RELEASE_AT,
    ] {
        ensure!(node.annotation(key).is_none(), "{key} is left: {node:?}");
    }
    ensure!(
        !node.spec.taints.iter().any(|taint| taint.key == SOFT),
        "{node:?}"
    );
    Ok(())
}

/// When a drain fails, kured does not take back the labels that it has set.
#[test]
fn a_drain_that_fails_leaves_labels_as_they_were() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "signs-undone", &with_signs(&["--drain-timeout=10s"])).await?;
        drop(
            site.write(&json!({ "metadata": { "labels": { "kured": "serves" } } }))
                .await?,
        );
        site.add_blocked_pod("signs-undone").await?;
        site.machine.request_reboot()?;
        let node = site.wait_phase(Phase::Draining).await?;
        ensure!(node.label("kured") == Some("rebooting"), "{node:?}");
        site.is_called_off().await?;
        let node = site.view().await?;
        ensure!(node.label("kured") == Some("serves"), "{node:?}");
        is_tidy(&node)
    })
}

#[test]
fn a_protection_that_a_person_has_set_stays() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "signs-person", &SIGNS).await?;
        drop(site.write(&annotate(keys::DO_NOT_DISRUPT, Some("true"))).await?);
        site.machine.request_reboot()?;
        site.reboots_once_and_is_given_back().await?;
        let node = site.view().await?;
        ensure!(node.annotation(keys::DO_NOT_DISRUPT) == Some("true"), "{node:?}");
        ensure!(node.annotation(keys::SCALE_DOWN_DISABLED).is_none(), "{node:?}");
        Ok(())
    })
}

/// Without the webhook, anybody who may annotate a Node can plant values for the agent to put back; it must not do so.
#[test]
fn found_s1_what_was_planted_is_not_put_back() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "signs-planted", &with_signs(&["--reboot-delay=8s"])).await?;
        site.machine.request_reboot()?;
        let node = site.wait_phase(Phase::Delaying).await?;
        let holder = node.annotation(keys::HOLDER).context("no holder")?;
        let planted = json!({
            "annotations": { keys::HOLDER: { "was": "evil/2026-01-01T00:00:00Z", "by": holder } },
            "labels": {
                "kured": { "was": "no value/", "by": "rebooting" },
                "kubernetes.io/hostname": { "was": "elsewhere", "by": site.name() },
            },
        });
        drop(
            site.write(&annotate(keys::REPLACED, Some(&planted.to_string())))
                .await?,
        );
        site.reboots_once_and_is_given_back().await?;
        let node = site.view().await?;
        for key in [keys::HOLDER, keys::REPLACED] {
            ensure!(node.annotation(key).is_none(), "{key} is left: {node:?}");
        }
        ensure!(node.label("kured") == Some("done"), "{node:?}");
        ensure!(
            node.label("kubernetes.io/hostname") != Some("elsewhere"),
            "{node:?}"
        );
        Ok(())
    })
}

#[test]
fn conditions_follow_the_cycle() -> Result<()> {
    alone(async || {
        let plane = ControlPlane::start(Options { nodes: 1 }).await?;
        drop(install(&plane, &manifests("overlays/node-conditions")).await?);
        let mut site = Site::without_agent(&plane, "node-0").await?;
        site.add_blocked_pod("conditions").await?;
        let began = site.view().await?;
        site.start_agent(&[
            "--node-conditions",
            "--protect-from-autoscaler",
            "--reboot-delay=10s",
        ])
        .await?;
        site.machine.request_reboot()?;
        wait_conditions(&site, &["DrainInProgress", "MaintenancePlanned"]).await?;
        site.unblock_pod("conditions").await?;
        wait_conditions(&site, &["Drained", "MaintenanceInProgress"]).await?;
        site.reboots_once_and_is_given_back().await?;
        wait_conditions(&site, &[]).await?;
        is_tidy(&site.view().await?)?;
        for node in versions(&plane, &began, &site.view().await?).await? {
            let is_protected = node.annotation(keys::SCALE_DOWN_DISABLED) == Some("true");
            let shown = shown(&node);
            ensure!(
                shown.is_empty() || is_protected,
                "{shown:?} without protection: {node:?}"
            );
        }
        Ok(())
    })
}

/// Every version of a Node after the first of these, up to the second.
async fn versions(plane: &ControlPlane, from: &NodeView, to: &NodeView) -> Result<Vec<NodeView>> {
    let nodes: Api<Node> = Api::all(plane.client());
    let one = WatchParams::default().fields(&format!("metadata.name={}", from.name()));
    let mut events = Box::pin(nodes.watch(&one, from.version()).await?);
    let mut versions = Vec::new();
    while versions
        .last()
        .is_none_or(|last: &NodeView| last.version() != to.version())
    {
        let event = events.next().await.context("the watch ended too early")??;
        let WatchEvent::Modified(node) = event else {
            bail!("{event:?}")
        };
        versions.push(serde_json::from_value(serde_json::to_value(node)?)?);
    }
    Ok(versions)
}

/// Waits until exactly these of our conditions are true.
async fn wait_conditions(site: &Site, expected: &[&str]) -> Result<()> {
    let what = format!("the conditions {expected:?} on {}", site.name());
    wait::until(&what, CONDITIONS_TIMEOUT, || async {
        let node = site.view().await?;
        Ok((shown(&node) == expected).then_some(()))
    })
    .await
}

/// Those of our conditions that are true.
fn shown(node: &NodeView) -> Vec<&str> {
    let ours = [
        "DrainInProgress",
        "Drained",
        "MaintenanceInProgress",
        "MaintenancePlanned",
    ];
    let conditions = node.status.conditions.iter();
    let mut shown: Vec<&str> = conditions
        .filter(|shown| shown.status == "True" && ours.contains(&shown.kind.as_str()))
        .map(|shown| shown.kind.as_str())
        .collect();
    shown.sort_unstable();
    shown
}

/// Conditions are only for people: the cycle works without them.
#[test]
fn without_the_right_to_write_conditions_the_cycle_goes_on() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "signs-forbidden", &["--node-conditions"]).await?;
        site.machine.request_reboot()?;
        site.reboots_once_and_is_given_back().await?;
        site.wait_logged("patch nodes/status").await
    })
}
