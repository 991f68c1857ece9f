//! NO-BLIND-REBOOT, CORDON-GIVEN-BACK, AT-MOST-N and NOTHING-STUCK after a fault at any step: a sample of what `cargo faults --all` plays.

use anyhow::{Result, ensure};
use cordonhold_tests::faults::{self, Options, Run};

use crate::cluster::alone;

/// Draws the sample. Another seed is for `cargo faults --seed`.
const SEED: u64 = 20_261_130;
/// How many runs: about a minute.
const SAMPLE: usize = 16;

#[test]
fn every_invariant_holds_after_a_fault_at_any_step() -> Result<()> {
    alone(async || {
        let options = Options {
            seed: SEED,
            sample: Some(SAMPLE),
            fault: None,
            step: None,
            width: 8,
        };
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
