//! Without each of its protections the protocol breaks, and the checker finds it.

use std::time::Duration;

use cordonhold_model::{Bounds, check, counterexamples};

#[test]
fn each_protection_off_is_found() {
    for example in counterexamples() {
        let bounds = Bounds {
            states: 4_000_000,
            time: Duration::from_secs(60),
            threads: 2,
        };
        let outcome = check(example.scenario, bounds, |_, _| {});
        let found: Vec<_> = outcome.found.iter().map(|(wrong, _)| *wrong).collect();
        for (_, path) in &outcome.found { println!("   {}", path.join(" ")); }
        println!(
            "{:?}: expects {:?}, found {found:?} in {} states, {:.1?}, steps {:?}",
            example.protection, example.expects, outcome.states, outcome.time,
            outcome.found.iter().map(|(_, path)| path.len()).collect::<Vec<_>>()
        );
    }
}
