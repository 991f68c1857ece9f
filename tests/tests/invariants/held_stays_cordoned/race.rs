//! Uncordons that race the hold: whatever order they land in, no node is at rest both held and schedulable.

use anyhow::{Result, ensure};
use cordonhold_shared::hold::{Holder, Phase};
use futures_util::future::try_join_all;

use crate::cluster::on_shared;
use crate::subject::{Subject, cordon, uncordon};
use crate::wire::Write;

const ROUNDS: usize = 5;
const WRITERS: usize = 8;
const UNCORDONS_PER_WRITER: usize = 25;

#[test]
fn two_hundred_uncordons_race_the_cordon() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::new(cluster, "race").await?;
        for round in 0..ROUNDS {
            // Cordon first, so that the first uncordons change something.
            drop(subject.passes(&cluster.admin, Write::Merge, &cordon()).await?);
            let (hold, denied) = tokio::join!(subject.hold(Phase::Draining), uncordons(&subject));
            let (_, denied): (Holder, usize) = (hold?, denied?);
            ensure!(
                subject.is_cordoned().await?,
                "round {round}: held and schedulable, {denied} uncordons denied"
            );
            drop(
                subject
                    .is_denied(&cluster.controller, Write::Strategic, &uncordon(), "held")
                    .await?,
            );
            subject.give_back().await?;
        }
        Ok(())
    })
}

/// Sends uncordons and returns how many were denied. Those that come before the cordon of the hold may pass.
async fn uncordons(subject: &Subject<'_>) -> Result<usize> {
    let writers = (0..WRITERS).map(async |_| {
        let mut denied = 0;
        for _ in 0..UNCORDONS_PER_WRITER {
            let answer = subject
                .write(&subject.cluster.controller, Write::Strategic, &uncordon())
                .await?;
            match answer.code {
                // The API server answers 409 after five tries of its own. Such an uncordon had no effect.
                200 | 409 => {}
                _ => {
                    answer.denied()?;
                    denied += 1;
                }
            }
        }
        anyhow::Ok(denied)
    });
    Ok(try_join_all(writers).await?.into_iter().sum())
}
