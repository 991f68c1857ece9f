//! The only way past a hold: a cancel that names the hold, by a person with the permission, in a write of its own, before the seal.

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::{Holder, NodePatch, Phase};
use cordonhold_shared::keys;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::cluster::on_shared;
use crate::subject::{Subject, annotate, cordon, uncordon};
use crate::wire::Write;

#[test]
fn without_permission() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::new(cluster, "cancel-forbidden").await?;
        let holder = subject.hold(Phase::Delaying).await?;
        let answer = subject
            .is_denied(&cluster.controller, Write::Merge, &cancel(&holder), "no-override")
            .await?;
        ensure!(answer.message().contains("cordonhold-override"), "{answer:?}");
        drop(
            subject
                .is_denied(&cluster.controller, Write::Strategic, &uncordon(), "held")
                .await?,
        );
        Ok(())
    })
}

#[test]
fn by_a_person_who_may() -> Result<()> {
    on_shared(async |cluster| {
        let person = cluster
            .somebody_with("cancel-person", "cordonhold-override")
            .await?;
        let subject = Subject::new(cluster, "cancel-allowed").await?;
        let holder = subject.hold(Phase::Delaying).await?;
        // The permission alone does not let an uncordon pass: it takes a cancel first.
        drop(
            subject
                .is_denied(&person, Write::Strategic, &uncordon(), "held")
                .await?,
        );

        let length = cluster.log_length().await?;
        drop(subject.passes(&person, Write::Merge, &cancel(&holder)).await?);
        let decision = cluster.decision_since(length, &subject.name).await?;
        ensure!(
            decision["verdict"] == "allow"
                && decision["reason"] == "override"
                && decision["user"] == "cancel-person"
                && decision["cancel"] == format!("{} the rack is on fire", holder.created),
            "{decision}"
        );
        ensure!(
            subject.is_cordoned().await?,
            "a cancel by itself cleared the cordon"
        );

        let length = cluster.log_length().await?;
        let answer = subject.can_be_uncordoned(&cluster.controller).await?;
        let decision = cluster.decision_since(length, &subject.name).await?;
        ensure!(
            decision["verdict"] == "flag" && decision["reason"] == "cancelled",
            "{decision}"
        );
        ensure!(
            answer
                .warnings
                .iter()
                .any(|warning| warning.contains("the rack is on fire")),
            "{answer:?}"
        );
        Ok(())
    })
}

#[test]
fn the_way_out_by_hand_works_as_printed() -> Result<()> {
    on_shared(async |cluster| {
        for (name, was_cordoned) in [("cancel-by-hand", false), ("cancel-by-hand-cordoned", true)] {
            let subject = Subject::new(cluster, name).await?;
            if was_cordoned {
                drop(subject.passes(&cluster.admin, Write::Merge, &cordon()).await?);
            }
            by_hand_as_printed(&subject, was_cordoned).await.context(name)?;
        }
        Ok(())
    })
}

/// The Node is as it was before its hold once the printed commands were run: cordoned, if somebody had cordoned it.
async fn by_hand_as_printed(subject: &Subject<'_>, was_cordoned: bool) -> Result<()> {
    let cluster = subject.cluster;
    let holder = subject.hold(Phase::Delaying).await?;
    // The agent has missed two renewals.
    subject.renewed_before(SignedDuration::from_mins(7)).await?;
    let denial = subject
        .is_denied(&cluster.admin, Write::Strategic, &uncordon(), "held")
        .await?;
    drop(
        subject
            .passes(&cluster.admin, Write::Merge, &cancel(&holder))
            .await?,
    );
    let keeps = denial.message().contains("somebody had cordoned it before");
    ensure!(keeps == was_cordoned, "{denial:?}");
    let by_hand = denial
        .message()
        .lines()
        .find_map(|line| line.strip_prefix("Then: "))
        .context("the message prints no way out")?;
    for step in by_hand.split("; ") {
        let words: Vec<&str> = step.split_whitespace().skip(1).collect();
        cluster.run_kubectl(&words).await.context(step.to_owned())?;
    }
    let after = subject.guarded().await?;
    ensure!(
        after.unschedulable == was_cordoned
            && !after.is_tainted
            && after.phase.is_none()
            && after
                .annotations
                .iter()
                .all(|(key, value)| *key == keys::CANCEL || value.is_none()),
        "{after:?}"
    );
    Ok(())
}

#[test]
fn never_beside_another_change() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::new(cluster, "cancel-alone").await?;
        let holder = subject.hold(Phase::Delaying).await?;
        let mut with_uncordon = cancel(&holder);
        with_uncordon["spec"] = json!({ "unschedulable": null });
        let mut with_mark = cancel(&holder);
        with_mark["metadata"]["annotations"][keys::UNTIL] = Value::Null;
        for body in [with_uncordon, with_mark] {
            drop(
                subject
                    .is_denied(&cluster.admin, Write::Merge, &body, "cancel-alone")
                    .await?,
            );
        }
        Ok(())
    })
}

#[test]
fn found_e6_of_another_hold_it_is_refused_with_the_right_line_and_opens_nothing() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::new(cluster, "cancel-other").await?;
        let holder = subject.hold(Phase::Delaying).await?;
        let right = format!("{}='{} ", keys::CANCEL, holder.created);
        for text in ["2026-01-01T00:00:00.000000000Z planted before", "no-reason", ""] {
            let answer = subject
                .is_denied(
                    &cluster.admin,
                    Write::Merge,
                    &annotate(keys::CANCEL, Some(text)),
                    "bad-cancel",
                )
                .await?;
            ensure!(answer.message().contains(&right), "{answer:?}");
            drop(
                subject
                    .is_denied(&cluster.admin, Write::Strategic, &uncordon(), "held")
                    .await?,
            );
        }
        Ok(())
    })
}

#[test]
fn after_the_seal_it_is_too_late() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::new(cluster, "cancel-late").await?;
        let holder = subject.hold(Phase::Sealed).await?;
        drop(
            subject
                .passes(&cluster.admin, Write::Merge, &cancel(&holder))
                .await?,
        );
        drop(
            subject
                .is_denied(&cluster.admin, Write::Strategic, &uncordon(), "too-late")
                .await?,
        );
        drop(
            subject
                .is_denied(
                    &cluster.admin,
                    Write::Merge,
                    &annotate(keys::HOLDER, None),
                    "too-late",
                )
                .await?,
        );
        Ok(())
    })
}

/// The agent's next stamp removes an old cancel, so that it does not end the next hold too.
#[test]
fn does_not_outlive_its_hold() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::new(cluster, "cancel-next").await?;
        let holder = subject.hold(Phase::Delaying).await?;
        drop(
            subject
                .passes(&cluster.admin, Write::Merge, &cancel(&holder))
                .await?,
        );
        subject.give_back().await?;
        drop(
            subject
                .is_denied(&cluster.admin, Write::Merge, &cancel(&holder), "bad-cancel")
                .await?,
        );
        // An old cancel, as if written while the webhook was down.
        let text = format!("{} the rack is on fire", holder.created);
        subject
            .marks()
            .patch(Timestamp::now(), |node| {
                let mut patch = NodePatch::end_release_delay(node);
                drop(
                    patch
                        .annotations
                        .insert(keys::CANCEL.to_owned(), Some(text.clone())),
                );
                Ok(patch)
            })
            .await?;
        drop(subject.hold(Phase::Delaying).await?);
        drop(
            subject
                .is_denied(&cluster.admin, Write::Strategic, &uncordon(), "held")
                .await?,
        );
        Ok(())
    })
}

fn cancel(holder: &Holder) -> Value {
    annotate(
        keys::CANCEL,
        Some(&format!("{} the rack is on fire", holder.created)),
    )
}
