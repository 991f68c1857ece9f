//! Exempt users and groups: by a flag of the webhook, or by the overlay of `docs/install.md`, which does not call it at all.

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_tests::identity::Impersonation;
use cordonhold_tests::webhook::{Mode, Protection};

use crate::cluster::{Cluster, alone};
use crate::manifests::{documented_overlay, overlay};
use crate::subject::{Subject, uncordon};
use crate::wire::Write;

#[test]
fn by_flag_and_by_match_conditions() -> Result<()> {
    alone(async || {
        let copy = tempfile::tempdir().context("failed to create a directory")?;
        let directory = overlay(copy.path(), "exempting", &documented_overlay("not-exempt")?)?;
        let flags = ["--exempt-user", "by-flag", "--exempt-group", "group-by-flag"];
        let mut cluster =
            Cluster::start_with(&directory, Mode::Enforce, Protection::OwnHolds, &flags).await?;
        let somebody = |name: &str| Impersonation::user(name).group("system:masters");
        let flagged = [somebody("by-flag"), somebody("another").group("group-by-flag")];
        for who in &flagged {
            let subject =
                Subject::held(&cluster, &format!("exempt-{}", who.groups.len()), Phase::Delaying).await?;
            let length = cluster.log_length().await?;
            drop(
                subject
                    .can_be_uncordoned(&cluster.plane.client_as(who).await?)
                    .await?,
            );
            let decision = cluster.decision_since(length, &subject.name).await?;
            ensure!(
                decision["verdict"] == "allow"
                    && decision["reason"] == "exempt"
                    && decision["user"] == who.user.as_str(),
                "{decision}"
            );
        }

        // The names from the README. The webhook is not called for them, so it may be down.
        let by_conditions = [somebody("cluster-api"), somebody("another").group("break-glass")];
        cluster.webhook.kill();
        for who in &by_conditions {
            let subject = Subject::held(
                &cluster,
                &format!("unasked-{}", who.groups.len()),
                Phase::Delaying,
            )
            .await?;
            drop(
                subject
                    .can_be_uncordoned(&cluster.plane.client_as(who).await?)
                    .await?,
            );
        }
        let subject = Subject::held(&cluster, "not-exempt", Phase::Delaying).await?;
        for who in flagged
            .iter()
            .chain([&somebody("break-glass"), &somebody("nobody")])
        {
            let answer = subject
                .write(
                    &cluster.plane.client_as(who).await?,
                    Write::Strategic,
                    &uncordon(),
                )
                .await?;
            ensure!(
                answer.code == 500 && subject.is_cordoned().await?,
                "{who:?}: {answer:?}"
            );
        }
        Ok(())
    })
}
