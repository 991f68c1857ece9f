//! Runs the tests once for each mutant: the near tests first, because they notice most.
//!
//! Not here: how the tests are built (`compiler.rs`).

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::compiler::Built;
use crate::list::Mutant;
use crate::switch;

/// The address space of a run, in KiB. The tests need a tenth; a mutant may fill a list without end.
const MEMORY_KIB: u32 = 4 << 20;

/// The processor time of a run without slow tests, in seconds. It needs about two; a mutant may make a loop endless.
const QUICK_SECONDS: u32 = 20;

/// The processor time of a run of all tests, in seconds. It needs about ten.
const WHOLE_SECONDS: u32 = 60;

/// The time of a run by the clock, in seconds: for one that waits and computes nothing.
const CLOCK_SECONDS: u32 = 600;

/// The stack of each test. A mutant may take the end off a recursion, which then must not end the process before it is counted.
const STACK_BYTES: &str = "33554432";

/// The cases of a property in the first runs. Most mutants that a property notices, it notices in a few.
const FEW_CASES: &str = "24";

/// A test is slow if it takes more than one in so many parts of the time of all.
const SLOW_PART: f64 = 50.0;

/// How often the progress is told.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// What became of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A test failed, or the process broke down.
    Caught {
        by: Option<String>,
    },
    /// The tests did not end within the bounds. That is noticed too.
    TimedOut,
    Survived,
}

/// The program with the tests, and which of them are slow.
pub(crate) struct Tests {
    program: PathBuf,
    /// Where cargo would run it.
    directory: PathBuf,
    slow: Vec<String>,
}

/// Which tests run.
#[derive(Clone, Copy)]
enum Pass<'a> {
    /// Those of one module but the slow ones, with few cases.
    Near(&'a str),
    /// All but the slow ones, with few cases.
    Quick,
    /// All, with few cases. Says how long each takes.
    Timed,
    /// All, as `cargo test` runs them.
    Whole,
}

impl Tests {
    /// Runs the tests with every mutant off: they must pass.
    pub(crate) fn new(built: &Built, copy: &Path) -> Result<Tests> {
        let mut tests = Tests {
            program: built.program.clone(),
            directory: copy.join("shared"),
            slow: Vec::new(),
        };
        for pass in [Pass::Timed, Pass::Whole] {
            let (outcome, times) = tests.run(None, pass)?;
            ensure!(
                outcome == Outcome::Survived,
                "the tests do not pass without a mutant, {outcome:?}: run cargo test --package cordonhold-shared --lib"
            );
            if matches!(pass, Pass::Timed) {
                tests.slow = slow(&times);
            }
        }
        Ok(tests)
    }

    /// Runs all mutants, so many side by side, and tells of the progress.
    pub(crate) fn run_all(
        &self,
        mutants: &[Mutant],
        jobs: usize,
        tell: impl Fn(&str) + Sync,
    ) -> Result<BTreeMap<usize, Outcome>> {
        let next = AtomicUsize::new(0);
        let outcomes: Mutex<BTreeMap<usize, Outcome>> = Mutex::default();
        let progress = Progress::new(mutants.len());
        let work = || -> Result<()> {
            while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
                let outcome = self.outcome(mutant)?;
                let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                drop(outcomes.insert(mutant.id, outcome));
                if let Some(line) = progress.line(outcomes.len()) {
                    tell(&line);
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().expect("the work does not panic"))
        })?;
        Ok(outcomes.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn outcome(&self, mutant: &Mutant) -> Result<Outcome> {
        let module = module(&mutant.file);
        for pass in [Pass::Near(&module), Pass::Quick, Pass::Whole] {
            let (outcome, _) = self.run(Some(mutant.id), pass)?;
            if outcome != Outcome::Survived {
                return Ok(outcome);
            }
        }
        Ok(Outcome::Survived)
    }

    /// One run: what became of it, and how long each test took, in seconds.
    fn run(&self, mutant: Option<usize>, pass: Pass<'_>) -> Result<(Outcome, BTreeMap<String, f64>)> {
        let mut command = self.command(pass);
        let _ = command.env_remove(switch::VARIABLE);
        if let Some(id) = mutant {
            let _ = command.env(switch::VARIABLE, id.to_string());
        }
        let output = command
            .output()
            .context("failed to run sh, which runs the tests")?;
        let lines = output.stdout.split(|byte| *byte == b'\n');
        let events: Vec<Value> = lines
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect();
        Ok((outcome(output.status, &events), times(&events)))
    }

    fn command(&self, pass: Pass<'_>) -> Command {
        let seconds = if pass.is_quick() {
            QUICK_SECONDS
        } else {
            WHOLE_SECONDS
        };
        let bounds = format!(
            "ulimit -v {MEMORY_KIB} && ulimit -t {seconds} && exec timeout -s KILL {CLOCK_SECONDS} \"$@\""
        );
        let mut command = Command::new("sh");
        let _ = command
            .args(["-c", &bounds, "sh"])
            .arg(&self.program)
            .args(["-Zunstable-options", "--fail-fast", "--test-threads=1"])
            .args(["--format=json", "--report-time"])
            .current_dir(&self.directory)
            // The options above are those of a compiler that is not released.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUST_MIN_STACK", STACK_BYTES)
            .env("RUST_BACKTRACE", "0")
            .env("PROPTEST_MAX_SHRINK_ITERS", "0")
            .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true");
        if let Pass::Near(module) = pass {
            let _ = command.arg(module);
        }
        if pass.is_quick() {
            let _ = command.args(self.slow.iter().flat_map(|test| ["--skip", test]));
        }
        if !matches!(pass, Pass::Whole) {
            let _ = command.env("PROPTEST_CASES", FEW_CASES);
        }
        command
    }
}

impl Pass<'_> {
    /// Whether it leaves out the slow tests.
    fn is_quick(self) -> bool {
        matches!(self, Pass::Near(_) | Pass::Quick)
    }
}

/// When the progress was last told, and since when the mutants run.
struct Progress {
    began: Instant,
    told: Mutex<Instant>,
    all: usize,
}

impl Progress {
    fn new(all: usize) -> Progress {
        let began = Instant::now();
        Progress {
            began,
            told: Mutex::new(began),
            all,
        }
    }

    /// What to tell after so many mutants, if it is time to.
    fn line(&self, done: usize) -> Option<String> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() < TOLD_EVERY {
            return None;
        }
        *told = Instant::now();
        let left = self.all.saturating_sub(done);
        let one = self.began.elapsed() / u32::try_from(done.max(1)).unwrap_or(u32::MAX);
        let left = one.saturating_mul(u32::try_from(left).unwrap_or(u32::MAX));
        Some(format!("{done} of {}, {} s left", self.all, left.as_secs()))
    }
}

/// The tests that are nearest to a file: those of its module and, if there is one, its submodule.
fn module(file: &str) -> String {
    let path = file.trim_start_matches("shared/src/").trim_end_matches(".rs");
    if path == "lib" {
        return String::new();
    }
    let parts: Vec<&str> = path.split('/').take(2).collect();
    parts.join("::") + "::"
}

fn outcome(status: ExitStatus, events: &[Value]) -> Outcome {
    if status.success() {
        return Outcome::Survived;
    }
    let is_failure = |event: &&Value| event["type"] == "test" && event["event"] == "failed";
    if let Some(failure) = events.iter().find(is_failure) {
        return Outcome::Caught {
            by: failure["name"].as_str().map(str::to_owned),
        };
    }
    // SIGKILL is how `timeout` and the bound of the processor's time end it; a shell adds 128.
    let signal = status.signal().or(status.code().map(|code| code - 128));
    if signal == Some(9) || signal == Some(24) {
        return Outcome::TimedOut;
    }
    Outcome::Caught { by: None }
}

fn times(events: &[Value]) -> BTreeMap<String, f64> {
    let tests = events.iter().filter(|event| event["type"] == "test");
    let times =
        tests.filter_map(|test| Some((test["name"].as_str()?.to_owned(), test["exec_time"].as_f64()?)));
    times.collect()
}

fn slow(times: &BTreeMap<String, f64>) -> Vec<String> {
    let all: f64 = times.values().sum();
    let slow = times.iter().filter(|(_, time)| **time > all / SLOW_PART);
    slow.map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_tests_are_those_of_the_module() {
        assert_eq!(module("shared/src/lib.rs"), "");
        assert_eq!(module("shared/src/lock.rs"), "lock::");
        assert_eq!(module("shared/src/reboot/cycle/start.rs"), "reboot::cycle::");
    }

    #[test]
    fn a_failed_test_a_breakdown_and_an_end_by_the_bounds_are_told_apart() {
        let failed = serde_json::json!({"type": "test", "event": "failed", "name": "lock::tests::x"});
        let by = Some("lock::tests::x".to_owned());
        let code = |code: i32| ExitStatus::from_raw(code << 8);
        assert_eq!(outcome(code(0), &[]), Outcome::Survived);
        assert_eq!(outcome(code(101), &[failed]), Outcome::Caught { by });
        assert_eq!(outcome(code(134), &[]), Outcome::Caught { by: None });
        assert_eq!(outcome(code(137), &[]), Outcome::TimedOut);
        assert_eq!(outcome(ExitStatus::from_raw(9), &[]), Outcome::TimedOut);
    }

    #[test]
    fn a_test_is_slow_if_it_takes_much_of_the_time_of_all() {
        let times = [("a", 0.1), ("b", 9.0), ("c", 0.2)];
        let times = times.map(|(name, time)| (name.to_owned(), time));
        assert_eq!(slow(&BTreeMap::from(times)), ["b", "c"]);
    }
}
