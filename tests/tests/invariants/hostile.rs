//! HELD-STAYS-CORDONED and NO-BLIND-REBOOT under hostile clients at speed: a short run of what `cargo hostile` plays at length.

use std::time::Duration;

use anyhow::{Result, ensure};
use cordonhold_tests::hostile::{self, Options};

use crate::cluster::alone;

/// Longest run. One reboot of three nodes takes some 15 s.
const BOUND: Duration = Duration::from_mins(4);

fn options(is_killed: bool) -> Options {
    Options {
        cycles: 1,
        rate: 200,
        is_killed,
        bound: BOUND,
    }
}

#[test]
fn held_stays_cordoned_and_no_blind_reboot_under_hostile_clients_at_speed() -> Result<()> {
    alone(async || {
        let outcome = hostile::play(options(false), |_| ()).await?;
        ensure!(
            outcome.holds() && outcome.passed_without_webhook == 0,
            "{outcome:?}"
        );
        ensure!(outcome.reboots == 3 && outcome.denied > 100, "{outcome:?}");
        Ok(())
    })
}

#[test]
fn no_blind_reboot_under_hostile_clients_while_the_webhook_is_killed_again_and_again() -> Result<()> {
    alone(async || {
        let outcome = hostile::play(options(true), |_| ()).await?;
        ensure!(outcome.holds(), "{outcome:?}");
        ensure!(
            outcome.reboots == 3 && outcome.passed_without_webhook > 0,
            "{outcome:?}"
        );
        Ok(())
    })
}
