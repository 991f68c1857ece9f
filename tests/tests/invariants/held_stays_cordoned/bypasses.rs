//! Ways around a hold in two steps: first remove or change the marks, then uncordon.

use anyhow::{Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use cordonhold_tests::AGENT_ACCOUNT;
use cordonhold_tests::identity::Impersonation;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::cluster::on_shared;
use crate::subject::{Subject, annotate, cordon, uncordon};
use crate::wire::{self, Write};

#[test]
fn removing_marks_first() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::held(cluster, "bypass-remove", Phase::Delaying).await?;
        for client in [&cluster.admin, &cluster.controller] {
            for body in removals(&subject.view().await?) {
                drop(
                    subject
                        .is_denied(client, Write::Merge, &body, "tampered-hold")
                        .await?,
                );
            }
        }
        Ok(())
    })
}

#[test]
fn removing_marks_through_the_status() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::held(cluster, "bypass-status", Phase::Delaying).await?;
        for body in removals(&subject.view().await?) {
            let before = subject.guarded().await?;
            let length = cluster.log_length().await?;
            let target = format!("{}/status", subject.name);
            let answer = wire::write(&cluster.admin, &target, Write::Merge, &body).await?;
            answer.denied()?;
            let decision = cluster.decision_since(length, &subject.name).await?;
            ensure!(decision["reason"] == "tampered-hold", "{decision}");
            subject.is_still(&before).await?;
        }
        Ok(())
    })
}

#[test]
fn removing_the_taint_first() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::held(cluster, "bypass-taint", Phase::Delaying).await?;
        for body in [
            json!({ "spec": { "taints": null } }),
            json!({ "spec": { "taints": [{ "key": keys::UNSCHEDULABLE_TAINT, "effect": keys::NO_SCHEDULE }] } }),
            json!({ "spec": { "taints": [{ "key": keys::REBOOTING, "effect": "PreferNoSchedule" }] } }),
        ] {
            drop(
                subject
                    .is_denied(&cluster.admin, Write::Merge, &body, "tampered-taint")
                    .await?,
            );
        }
        Ok(())
    })
}

#[test]
fn changing_marks_first() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::held(cluster, "bypass-change", Phase::Delaying).await?;
        for body in [
            phase(Some("wanted")),
            annotate(keys::UNTIL, Some("2020-01-01T00:00:00Z")),
            annotate(keys::HOLDER, Some("other/2026-01-01T00:00:00.000000000Z")),
            annotate(keys::WAS_UNSCHEDULABLE, Some("true")),
            annotate(keys::BOOT_ID, Some("22222222-2222-4222-8222-222222222222")),
            annotate(keys::WRITE, Some("00000000000000000000000000000000")),
            annotate(keys::ATTEMPT, Some("0")),
        ] {
            drop(
                subject
                    .is_denied(&cluster.admin, Write::Merge, &body, "tampered-hold")
                    .await?,
            );
            drop(
                subject
                    .is_denied(&cluster.controller, Write::Strategic, &body, "tampered-hold")
                    .await?,
            );
        }
        Ok(())
    })
}

/// Nobody may plant the annotations that the agent obeys: what it puts back at the end of a hold, and how long its slot is kept.
#[test]
fn found_s1_planting_what_the_agent_obeys() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::held(cluster, "bypass-obeyed", Phase::Delaying).await?;
        let wish = Subject::held(cluster, "bypass-obeyed-wish", Phase::Wanted).await?;
        let holder = subject.view().await?;
        let holder = holder.annotation(keys::HOLDER).unwrap_or_default();
        let was = json!({ "was": "evil/2026-01-01T00:00:00Z", "by": holder });
        let replaced = json!({ "annotations": { keys::HOLDER: was } }).to_string();
        for (key, value) in [
            (keys::REPLACED, replaced.as_str()),
            (keys::GIVEN_BACK, "2026-01-01T00:00:00Z 00"),
            (keys::RELEASE_AT, "2026-01-01T00:00:00Z 2099-01-01T00:00:00Z"),
        ] {
            let planted = annotate(key, Some(value));
            for node in [&subject, &wish] {
                for client in [&cluster.admin, &cluster.controller] {
                    drop(
                        node.is_denied(client, Write::Merge, &planted, "tampered-hold")
                            .await?,
                    );
                }
                ensure!(node.view().await?.annotation(key).is_none(), "{key} was planted");
            }
        }
        // On a Node without marks they may be written, and removing `release-at` ends the release delay.
        let free = Subject::new(cluster, "bypass-obeyed-free").await?;
        for value in [Some("2026-01-01T00:00:00Z 2099-01-01T00:00:00Z"), None] {
            let body = annotate(keys::RELEASE_AT, value);
            drop(free.passes(&cluster.controller, Write::Merge, &body).await?);
        }
        Ok(())
    })
}

/// With the label, the DaemonSet would remove the agent, and the hold would lapse.
#[test]
fn found_s7_taking_the_agent_off_a_held_node() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::held(cluster, "bypass-agent", Phase::Delaying).await?;
        let label = |value: Option<&str>| json!({ "metadata": { "labels": { keys::AGENT: value } } });
        for client in [&cluster.admin, &cluster.controller] {
            let answer = subject
                .is_denied(
                    client,
                    Write::Strategic,
                    &label(Some("disabled")),
                    "tampered-hold",
                )
                .await?;
            let message = answer.message();
            ensure!(
                message.contains(keys::AGENT)
                    && message.contains(keys::CANCEL)
                    && message.contains("take the agent away"),
                "{message}"
            );
        }
        // Bringing the agent back is allowed, for a label that was set while the webhook was down.
        for value in [Some("here"), None] {
            drop(
                subject
                    .passes(&cluster.controller, Write::Strategic, &label(value))
                    .await?,
            );
        }
        subject.give_back().await?;
        for value in [Some("disabled"), None] {
            drop(
                subject
                    .passes(&cluster.admin, Write::Strategic, &label(value))
                    .await?,
            );
        }
        Ok(())
    })
}

/// One write tries to remove the cordon together with the marks that protect it.
#[test]
fn removing_marks_and_cordon_together() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::held(cluster, "bypass-together", Phase::Delaying).await?;
        for mut body in removals(&subject.view().await?) {
            body["spec"] = json!({ "unschedulable": false, "taints": null });
            drop(
                subject
                    .is_denied(&cluster.admin, Write::Merge, &body, "held")
                    .await?,
            );
        }
        Ok(())
    })
}

/// After a hold has lapsed, the cordon may be cleared, but not the marks: they keep the place in the lock.
#[test]
fn a_lapsed_hold_loses_its_cordon_only() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::held(cluster, "bypass-lapsed", Phase::Delaying).await?;
        subject.renewed_before(SignedDuration::from_mins(13)).await?;
        drop(
            subject
                .is_denied(&cluster.admin, Write::Strategic, &uncordon(), "held")
                .await?,
        );

        subject.renewed_before(SignedDuration::from_mins(20)).await?;
        for body in removals(&subject.view().await?) {
            drop(
                subject
                    .is_denied(&cluster.admin, Write::Merge, &body, "tampered-hold")
                    .await?,
            );
        }
        let length = cluster.log_length().await?;
        let answer = subject.can_be_uncordoned(&cluster.controller).await?;
        let decision = cluster.decision_since(length, &subject.name).await?;
        ensure!(
            decision["verdict"] == "flag" && decision["reason"] == "lapsed",
            "{decision}"
        );
        ensure!(
            answer
                .warnings
                .iter()
                .any(|warning| warning.contains("not renewed")),
            "{answer:?}"
        );
        drop(
            subject
                .is_denied(&cluster.admin, Write::Merge, &phase(None), "tampered-hold")
                .await?,
        );
        Ok(())
    })
}

#[test]
fn a_wish_holds_nothing_but_its_marks_stay() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::held(cluster, "bypass-wanted", Phase::Wanted).await?;
        drop(subject.passes(&cluster.admin, Write::Merge, &cordon()).await?);
        let length = cluster.log_length().await?;
        drop(subject.can_be_uncordoned(&cluster.controller).await?);
        ensure!(
            cluster
                .decisions_since(length, "node", &subject.name)
                .await?
                .is_empty(),
            "the webhook saw the uncordon of a wish"
        );
        drop(
            subject
                .is_denied(
                    &cluster.admin,
                    Write::Merge,
                    &annotate(keys::HOLDER, None),
                    "tampered-hold",
                )
                .await?,
        );
        drop(
            subject
                .is_denied(
                    &cluster.admin,
                    Write::Merge,
                    &phase(Some("draining")),
                    "tampered-hold",
                )
                .await?,
        );
        Ok(())
    })
}

#[test]
fn marks_of_somebody_who_is_no_agent() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::new(cluster, "bypass-spoof").await?;
        let uid = subject.view().await?.metadata.uid;
        let holder = format!("{uid}/2026-01-01T00:00:00.000000000Z");
        let impostors = [
            cluster.admin.clone(),
            cluster.controller.clone(),
            // The agent's name in another namespace, with the right node claim.
            cluster
                .plane
                .client_as(
                    &Impersonation::service_account("default", AGENT_ACCOUNT)
                        .group("system:masters")
                        .on_node(&subject.name),
                )
                .await?,
        ];
        for client in impostors {
            for body in [
                annotate(keys::HOLDER, Some(&holder)),
                phase(Some("draining")),
                annotate(keys::UNTIL, Some("2099-01-01T00:00:00Z")),
                json!({ "spec": { "taints": [{ "key": keys::REBOOTING, "effect": keys::NO_SCHEDULE }] } }),
            ] {
                drop(
                    subject
                        .is_denied(&client, Write::Merge, &body, "spoofed-hold")
                        .await?,
                );
            }
        }
        Ok(())
    })
}

/// Patches that remove each mark of this Node, and all of them at once.
fn removals(node: &NodeView) -> Vec<Value> {
    let carried = || {
        let marks = keys::MARK_ANNOTATIONS.into_iter();
        marks.filter(|key| node.annotation(key).is_some())
    };
    let mut removals: Vec<Value> = carried().map(|key| annotate(key, None)).collect();
    removals.push(phase(None));
    let all: serde_json::Map<String, Value> = carried().map(|key| (key.to_owned(), Value::Null)).collect();
    removals.push(json!({ "metadata": { "labels": { keys::PHASE: null }, "annotations": all } }));
    removals
}

fn phase(phase: Option<&str>) -> Value {
    json!({ "metadata": { "labels": { keys::PHASE: phase } } })
}
