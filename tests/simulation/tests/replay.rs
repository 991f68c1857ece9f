//! Checks that the same seed gives the same run.

use cordonhold_simulation::{Defect, Options, run};

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [7, 1_000_000_007] {
        let first = run(seed, &Options::default()).unwrap();
        let second = run(seed, &Options::default()).unwrap();
        assert_eq!(first, second);
        assert_ne!(first.hash, run(seed + 1, &Options::default()).unwrap().hash);
    }
}

#[test]
fn a_violation_names_its_seed_and_shows_what_came_before() {
    let options = Options {
        defect: Some(Defect::NoVerification),
        ..Options::default()
    };
    let violation = (0..20).find_map(|seed| run(seed, &options).err()).unwrap();
    let text = violation.to_string();
    let replay = format!("replay it: cargo prove --seed {}", violation.seed);
    assert!(text.ends_with(&replay), "{text}");
    assert!(text.contains("NO-BLIND-REBOOT violated"), "{text}");
    assert!(!violation.trace.is_empty() && violation.trace.len() <= options.trace_lines);
    let again = run(violation.seed, &options).unwrap_err();
    assert_eq!((again.time, &again.trace), (violation.time, &violation.trace));
}
