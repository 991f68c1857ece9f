//! The protocol as it is: nothing goes wrong.

use std::time::Duration;

use cordonhold_model::{Bounds, check, deep, quick};

#[test]
fn nothing_goes_wrong() {
    for scenario in if std::env::var("DEEP").is_ok() { deep() } else { quick() } {
        let bounds = Bounds {
            states: 100_000_000,
            time: Duration::from_secs(300),
            threads: 2,
        };
        let outcome = check(scenario, bounds, |_, _| {});
        println!(
            "{}: {} states, {} generated, depth {}, {:.1?}, complete {}",
            outcome.name, outcome.states, outcome.generated, outcome.depth, outcome.time, outcome.is_complete
        );
        for (wrong, path) in &outcome.found {
            println!("  {wrong} {}: {}", path.len(), path.join(" "));
        }
    }
}
