//! One review without network: the bytes of the review in, the decision, the bytes of the answer out. Beside it decoding the same review into Kubernetes'
//! types alone, and for memory the review itself.
//!
//! The webhook watches no Nodes. What it keeps that grows with a cluster is kured's lock, if it protects kured; the largest that an annotation can hold is
//! measured too. Not here: the loop itself (the crate `tests/compute`).

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cordonhold_release::program as shipped;
use serde::Deserialize;
use serde_json::json;

use super::{Figure, Goal, review, written};
use crate::programs::{self, Program};

/// Sizes of the reviews, in KiB.
const KIB: [usize; 3] = [5, 40, 200];
/// The size that has the goals: a usual Node's, twice.
const USUAL: usize = 40;
/// The goals of that size.
const P99_MICROSECONDS: f64 = 100.0;
const REVIEWS_PER_SECOND: f64 = 10_000.0;
/// Longest run for one review: at most 50 rounds of 250 ms for each side, and some for the start.
const RUN_TIMEOUT: Duration = Duration::from_mins(2);
/// Most bytes of all annotations of an object (apimachinery: validation/objectmeta.go, `TotalAnnotationSizeLimitB`), less some for others.
const LOCK_BYTES: usize = 250 * 1024;
/// The noise of a time of some microseconds of a core, whose caches others use too.
const TIME_MARGIN: f64 = 1.5;
/// Memory has no noise; the log line has a varying number of digits.
const MEMORY_MARGIN: f64 = 1.1;

/// As if it were shipped like the webhook.
const COMPUTE: shipped::Program = shipped::Program {
    name: "cordonhold-compute",
    package: "cordonhold-compute",
    profile: "release",
    image: None,
};

/// What is measured, and how it was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// As the webhook is shipped.
    Shipped,
    /// As for the tests, so that nothing more is built. Only the usual size.
    Tests,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Measured {
    ours: Cost,
    theirs: Cost,
}

/// Of one review. Times are in microseconds.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Cost {
    p50: f64,
    p99: f64,
    per_second: f64,
    allocations: u32,
    allocated_bytes: u32,
}

/// The program, and the directory of what it reads and writes.
struct Bench {
    program: PathBuf,
    directory: tempfile::TempDir,
    rounds: u32,
}

/// Measures reviews of each size, each of the two sides this often.
pub async fn measure(build: Build, rounds: u32, tell: impl Fn(&str)) -> Result<Vec<Figure>> {
    tell("building the loop around the webhook's code");
    let (kind, [program]) = match build {
        Build::Shipped => ("compute", programs::build_shipped([&COMPUTE])?),
        Build::Tests => ("quick", programs::build([Program::Compute])?),
    };
    let directory = tempfile::tempdir().context("failed to create a directory")?;
    let bench = Bench {
        program,
        directory,
        rounds,
    };
    let mut figures = Vec::new();
    for kib in KIB
        .into_iter()
        .filter(|kib| build == Build::Shipped || *kib == USUAL)
    {
        tell(&format!("{kib} KiB"));
        let review = review::review(kib);
        let measured = bench.run(&review, None).await?;
        figures.extend(of_size(kind, kib, review.len(), measured));
    }
    if build == Build::Shipped {
        let lock = kured_lock();
        tell(&format!(
            "{USUAL} KiB, and kured's lock has {} KiB",
            lock.len() / 1024
        ));
        let measured = bench.run(&review::unheld(USUAL), Some(&lock)).await?;
        figures.extend(with_lock(measured));
    }
    Ok(figures)
}

fn of_size(kind: &str, kib: usize, bytes: usize, Measured { ours, theirs }: Measured) -> [Figure; 5] {
    let name = |what: &str| format!("{kind}-{what}-{kib}k");
    // What the tests' build does is no promise of the shipped one.
    let goal = |goal| {
        if kib == USUAL && kind == "compute" {
            goal
        } else {
            Goal::None
        }
    };
    let of = |what, both, unit, goal, margin| Figure::new(name(what), both, unit, goal).within(margin);
    let own = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
    let allocated = (f64::from(ours.allocated_bytes), own);
    let allocations = (f64::from(ours.allocations), f64::from(theirs.allocations));
    let rates = (ours.per_second, theirs.per_second);
    [
        of("p50", (ours.p50, theirs.p50), "µs", Goal::None, TIME_MARGIN),
        of(
            "p99",
            (ours.p99, theirs.p99),
            "µs",
            goal(Goal::OursAtMost(P99_MICROSECONDS)),
            2.0 * TIME_MARGIN,
        ),
        of(
            "rate",
            rates,
            "reviews/s",
            goal(Goal::OursAtLeast(REVIEWS_PER_SECOND)),
            TIME_MARGIN,
        ),
        of(
            "allocations",
            allocations,
            "allocations",
            Goal::None,
            MEMORY_MARGIN,
        ),
        of("allocated", allocated, "bytes", Goal::AtMost(1.0), MEMORY_MARGIN),
    ]
}

fn with_lock(Measured { ours, theirs }: Measured) -> [Figure; 2] {
    let name = |what: &str| format!("compute-{what}-{USUAL}k-lock");
    let goal = Goal::OursAtMost(P99_MICROSECONDS);
    [
        Figure::new(name("p50"), (ours.p50, theirs.p50), "µs", Goal::None).within(TIME_MARGIN),
        Figure::new(name("p99"), (ours.p99, theirs.p99), "µs", goal).within(2.0 * TIME_MARGIN),
    ]
}

impl Bench {
    async fn run(&self, review: &str, kured_lock: Option<&str>) -> Result<Measured> {
        let directory = self.directory.path();
        let to = directory.join("figures.json");
        let mut command = tokio::process::Command::new(&self.program);
        let _ = command
            .arg("--body")
            .arg(written(directory, "review.json", review.as_bytes())?);
        if let Some(lock) = kured_lock {
            let _ = command
                .arg("--kured-lock")
                .arg(written(directory, "lock.json", lock.as_bytes())?);
        }
        let _ = command
            .args(["--rounds", &self.rounds.to_string()])
            .arg("--to")
            .arg(&to)
            // The log.
            .stdout(Stdio::null())
            .kill_on_drop(true);
        let status = tokio::time::timeout(RUN_TIMEOUT, command.status())
            .await
            .with_context(|| format!("{} took over {RUN_TIMEOUT:?}", self.program.display()))?
            .with_context(|| format!("failed to run {}", self.program.display()))?;
        ensure!(
            status.success(),
            "{} failed ({status}), and says why above",
            self.program.display()
        );
        read(&to)
    }
}

fn read(path: &Path) -> Result<Measured> {
    let text = std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("failed to understand {}", path.display()))
}

/// A lock of kured with as many nodes as an annotation can hold, the last of them the review's.
fn kured_lock() -> String {
    let entry = |node: &str| json!({ "nodeID": node, "metadata": { "unschedulable": false }, "created": "2026-01-01T00:00:00Z", "TTL": 0 });
    let mut locks = Vec::new();
    let mut bytes = 0;
    while bytes < LOCK_BYTES {
        let one = entry(&format!(
            "ip-10-0-{}-{}.example.internal",
            locks.len() / 256,
            locks.len() % 256
        ));
        bytes += one.to_string().len() + 1;
        locks.push(one);
    }
    locks.push(entry("node-0"));
    json!({ "maxOwners": locks.len(), "locks": locks }).to_string()
}

#[cfg(test)]
mod tests {
    use cordonhold_shared::lock::Record;

    use super::*;

    #[test]
    fn the_largest_lock_of_kured_fits_an_annotation_and_names_the_node_of_the_review() {
        let lock = kured_lock();
        assert!((LOCK_BYTES..256 * 1024).contains(&lock.len()), "{}", lock.len());
        let record = Record::read(Some(&lock)).present().unwrap();
        assert!(record.of_node("node-0").is_some());
    }
}
