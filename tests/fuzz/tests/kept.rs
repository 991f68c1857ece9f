//! Each target on the kept inputs, and on changes of them. The same inputs each time, so that a failure can be repeated.

use cordonhold_fuzz::{TARGETS, Target, corpus, mutation::Mutator};

/// How many changed inputs each target gets.
const CHANGED: usize = 2_000;
/// Most bytes of a file of inputs: the repository is not their only place, and each is run by every `cargo test`.
const FILE_MAX: usize = 256 * 1024;
const SEED: u64 = 21;

/// Says which input it was if the target fails.
struct Running<'a>(&'a Target, &'a [u8]);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "{} fails for this input; keep it as a line of {}:\n{}",
                self.0.name,
                corpus::file(self.0).display(),
                corpus::escaped(self.1)
            );
        }
    }
}

fn check(target: &Target, input: &[u8]) {
    let running = Running(target, input);
    (target.check)(input);
    drop(running);
}

fn check_all(target: &Target) {
    let kept = corpus::read(target).expect("the kept inputs can be read");
    assert!(!kept.is_empty(), "{} has no inputs", target.name);
    for input in &kept {
        check(target, input);
    }
    for input in Mutator::new(SEED, &kept, target.words).take(CHANGED) {
        check(target, &input);
    }
}

#[test]
fn each_target_keeps_its_promises_on_the_kept_inputs_and_on_changes_of_them() {
    // One that fails hides no other.
    let fails = |target: &&Target| std::panic::catch_unwind(|| check_all(target)).is_err();
    let failed: Vec<&str> = TARGETS.iter().filter(fails).map(|target| target.name).collect();
    assert!(failed.is_empty(), "broken: {failed:?}, see above");
}

#[test]
fn the_kept_inputs_stay_few() {
    for target in &TARGETS {
        let bytes = std::fs::read(corpus::file(target)).unwrap().len();
        assert!(
            bytes <= FILE_MAX,
            "{} keeps {bytes} bytes of inputs: keep the smallest of those that reach the same code",
            target.name
        );
    }
}
