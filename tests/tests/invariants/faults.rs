//! NO-BLIND-REBOOT, CORDON-GIVEN-BACK, AT-MOST-N and NOTHING-STUCK after a fault at any step: a sample of what `cargo faults --all` plays.

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use cordonhold_tests::faults::{self, Options, Run};

use crate::cluster::alone;

/// How many runs: about a minute.
const SAMPLE: usize = 16;

#[test]
fn every_invariant_holds_after_a_fault_at_any_step() -> Result<()> {
    alone(async || {
        let options = Options {
            seed: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
            sample: Some(SAMPLE),
            fault: None,
            step: None,
            width: 8,
        };
        // Written directly, because a test's captured output is not shown when it passes.
        writeln!(std::io::stderr(), "faults: seed {}", options.seed)?;
        let (_, runs) = faults::play(&options, |_| ()).await?;
        let failed: Vec<&Run> = runs.iter().filter(|run| run.failure.is_some()).collect();
        let repeat: Vec<String> = failed.iter().map(|run| run.repeat()).collect();
        ensure!(
            failed.is_empty() && runs.len() == SAMPLE,
            "{repeat:#?} {failed:#?}"
        );
        Ok(())
    })
}
