//! Explores the protocol with all its rules: nothing is violated, whatever faults happen.

use std::time::Duration;

use cordonhold_model::{Bounds, check, quick};

const BOUNDS: Bounds = Bounds {
    states: 20_000_000,
    time: Duration::from_secs(300),
    threads: 2,
};

#[test]
fn nothing_goes_wrong() {
    for scenario in quick() {
        let outcome = check(scenario, BOUNDS, |_, _| {});
        println!("{outcome}");
        assert!(outcome.is_complete && outcome.has_rebooted, "{outcome}");
    }
}
