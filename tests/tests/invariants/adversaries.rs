//! The programs that are known to uncordon nodes, played against the webhook: a few of them, with requests of different shapes.
//!
//! Not here: all of them in every phase, see `cargo adversaries` and `docs/who-uncordons.md`.

use anyhow::{Context as _, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_tests::adversaries::{Before, Line, Stage, page};
use cordonhold_tests::webhook::{Mode, Protection};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::cluster::{Cluster, alone, on_shared};
use crate::manifests::overlay;

/// The drain library with a pod's token, a PUT through a proxy, a strategic patch by `system:masters`, controller-runtime's cache, an
/// informer's cache that is changed in place, kubectl itself, server-side apply, and a PUT of an old object without a resourceVersion.
const ROWS: [&str; 8] = ["1", "6", "15", "20", "21", "28", "a", "b"];
const AT_ONCE: usize = 8;

/// Those that are played against real agents too: the drain library, which asks four times; the Update and the JSON merge patch of
/// controller-runtime, which ask for ever; server-side apply, for ever too; and the stale PUT, once.
const LIVE_ROWS: [&str; 5] = ["11", "20", "25", "a", "b"];
const LIVE_AT_ONCE: usize = 10;

#[test]
fn held_stays_cordoned_whoever_asks_and_the_page_of_them_tells_what_happens() -> Result<()> {
    on_shared(async |cluster| {
        let log = cluster.webhook.log_path().to_owned();
        let stage = Stage::new(&cluster.plane, log, Mode::Enforce).await?;
        ensure!(
            stage.rows() == page::written_rows()?,
            "the table of programs has changed: run `cargo adversaries --write`"
        );
        let phases = [Some(Phase::Draining), Some(Phase::Sealed)];
        let cells = stage.cells(&ROWS.map(ToOwned::to_owned), &phases)?;
        let expected = ROWS.len() * phases.len() * 2;
        let lines = stage.play_all(cells, AT_ONCE, |_| ()).await?;
        ensure!(lines.len() == expected, "{} of {expected}", lines.len());
        let written = page::written_lines()?;
        for line in &lines {
            ensure!(line.verdict.starts_with("denied: "), "{line:?}");
            let before: Vec<&Line> = written.iter().filter(|other| is_same_cell(other, line)).collect();
            ensure!(
                before == [line],
                "the last run had {before:?}, now it is {line:?}"
            );
        }
        Ok(())
    })
}

fn is_same_cell(one: &Line, other: &Line) -> bool {
    (&one.row, &one.phase, &one.mode, one.before) == (&other.row, &other.phase, &other.mode, other.before)
}

#[test]
fn last_wish_with_real_agents_and_denials() -> Result<()> {
    on_shared(async |cluster| plays_live(cluster, Mode::Enforce).await)
}

#[test]
fn last_wish_with_real_agents_and_deferred_uncordons() -> Result<()> {
    alone(async || {
        let copy = tempfile::tempdir().context("failed to create a directory")?;
        let text = "resources: [../../base]\ncomponents: [../../components/defer]\n";
        let directory = overlay(copy.path(), "live", text)?;
        let cluster = Cluster::start_with(&directory, Mode::Defer, Protection::OwnHolds, &[]).await?;
        plays_live(&cluster, Mode::Defer).await
    })
}

/// Each program asks in `delaying` or in `returning`, and the node ends as LAST-WISH says.
async fn plays_live(cluster: &Cluster, mode: Mode) -> Result<()> {
    let stage = Stage::new(&cluster.plane, cluster.webhook.log_path().to_owned(), mode).await?;
    let phases = [Some(Phase::Delaying), Some(Phase::Returning)];
    let cells = stage.cells(&LIVE_ROWS.map(ToOwned::to_owned), &phases)?;
    let expected = LIVE_ROWS.len() * phases.len() * 2;
    let played = stream::iter(&cells).map(async |cell| {
        let line = stage.play_live(cell).await;
        line.with_context(|| format!("row {}, {:?}, {:?}", cell.row.id, cell.phase, cell.before))
    });
    let lines: Vec<Line> = played.buffered(LIVE_AT_ONCE).try_collect().await?;
    ensure!(lines.len() == expected, "{} of {expected}", lines.len());
    let written = page::written_lines()?;
    for line in &lines {
        ends_as_last_wish_says(line)?;
        let without_agent: Vec<&Line> = written.iter().filter(|other| is_same_cell(other, line)).collect();
        ensure!(
            without_agent == [line],
            "with an agent {line:?}, without one {without_agent:?}"
        );
    }
    Ok(())
}

/// An uncordon that was accepted is the last wish, whether it was kept until the end of the hold or passed after it. One that was denied for
/// good is none: then the node is what it was before the hold.
fn ends_as_last_wish_says(line: &Line) -> Result<()> {
    let is_wished =
        line.verdict == "allowed: deferred" || line.then == "asks again until the node is schedulable";
    let is_denied = line.verdict == "denied: held" || line.verdict == "denied: tampered-hold";
    ensure!(is_denied || line.verdict == "allowed: deferred", "{line:?}");
    ensure!(
        line.schedulable == (is_wished || line.before == Before::Schedulable),
        "it does not end as the last wish says: {line:?}"
    );
    Ok(())
}
