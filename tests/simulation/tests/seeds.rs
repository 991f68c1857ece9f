//! Runs fixed and fresh seeds: there is no violation, and every fault class happens.

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use cordonhold_simulation::{Options, Report, run_many};

/// The number of fixed seeds: about ten seconds on two cores.
const FIXED: u64 = 300;
const FRESH: u64 = 20;

fn check(report: &Report) {
    let violations: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    assert!(violations.is_empty(), "{}", violations.join("\n\n"));
}

#[test]
fn fixed_seeds_hold_every_invariant_and_every_fault_class_fires() {
    let report = run_many(0..FIXED, &Options::default(), |_| true);
    check(&report);
    assert_eq!(report.statistics.runs, FIXED);
    assert!(report.statistics.forced > 0, "no reboot was forced");
    assert_eq!(report.unfired(&Options::default()), Vec::<String>::new());
}

#[test]
fn fresh_seeds_hold_every_invariant() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let first = u64::try_from(now.as_millis()).unwrap() * 1_000;
    // Written directly, because a test's captured output is not shown when it passes.
    writeln!(std::io::stderr(), "fresh seeds: {first} to {}", first + FRESH - 1).unwrap();
    check(&run_many(first..first + FRESH, &Options::default(), |_| true));
}
