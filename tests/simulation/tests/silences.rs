//! Checks that nothing but the silences depends on Alertmanager.

use cordonhold_simulation::{Options, run};

/// Each is run twice: some seconds on one core.
const SEEDS: u64 = 40;

#[test]
fn a_run_is_the_same_whether_alertmanager_answers_or_not() {
    let down = Options {
        is_alertmanager_down: true,
        ..Options::default()
    };
    for seed in 0..SEEDS {
        let with = run(seed, &Options::default()).unwrap();
        let without = run(seed, &down).unwrap();
        let decided = |run: &cordonhold_simulation::Statistics| {
            (run.hash, run.reboots, run.called_off, run.virtual_time)
        };
        assert_eq!(decided(&with), decided(&without), "seed {seed}");
    }
}
