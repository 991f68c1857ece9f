//! Turns each rule off and checks that the checker finds the violation: a model that cannot fail proves nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use cordonhold_model::{Bounds, Rule, check, counterexamples};

const BOUNDS: Bounds = Bounds {
    states: 5_000_000,
    time: Duration::from_secs(180),
    threads: 2,
};

#[test]
fn what_each_rule_is_for_is_found_without_it() {
    for example in counterexamples() {
        let outcome = check(example.scenario, BOUNDS, |_, _| {});
        let name = format!("{} {:?}", example.number.unwrap_or("-"), example.off);
        let found: Vec<_> = outcome.found.iter().map(|(violation, _)| *violation).collect();
        println!(
            "{name}: {} states, {:.1?}, {found:?}",
            outcome.states, outcome.time
        );
        assert!(
            example.expects.iter().any(|violation| found.contains(violation)),
            "{name}: expected one of {:?}, found {found:?}",
            example.expects
        );
    }
}

#[test]
fn each_rule_has_a_counterexample() {
    let off: BTreeSet<_> = counterexamples()
        .iter()
        .flat_map(|example| example.off.clone())
        .collect();
    assert_eq!(off, Rule::ALL.iter().copied().collect());
    let numbers: BTreeSet<_> = counterexamples()
        .iter()
        .filter_map(|example| example.number)
        .collect();
    let expected = [
        "C1", "C2", "C3a", "C3b", "C3c", "C4a", "C4b", "C4c", "C5", "C6", "C7", "C8", "C9", "C10", "C11",
        "C12", "C13", "A1", "A6b", "A6d", "A6e", "P1", "P4", "S3", "D1", "D3", "D4", "D7",
    ];
    assert_eq!(numbers, expected.into_iter().collect());
}
