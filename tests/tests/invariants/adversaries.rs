//! The programs that are known to uncordon nodes, played against the webhook: a few of them, with requests of different shapes.
//!
//! Not here: all of them in every phase, see `cargo adversaries` and `docs/who-uncordons.md`.

use anyhow::{Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_tests::adversaries::{Line, Stage, page};
use cordonhold_tests::webhook::Mode;

use crate::cluster::on_shared;

/// The drain library with a pod's token, a PUT through a proxy, a strategic patch by `system:masters`, controller-runtime's cache, an
/// informer's cache that is changed in place, kubectl itself, server-side apply, and a PUT of an old object without a resourceVersion.
const ROWS: [&str; 8] = ["1", "6", "15", "20", "21", "28", "a", "b"];
const AT_ONCE: usize = 8;

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
