//! A seeded simulation: agents that run the real driver, an API server in memory, hosts, and everybody who disturbs them.
//!
//! A run has two phases: first faults, then none, and in the second everything must come to rest. The invariants are checked
//! after each step, against what the API server committed and what the hosts did, never against an agent's memory.
//! The same seed gives the same run. Not here: real time, threads within a run, and the bytes on the network.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub mod api_server;
pub mod faults;
pub mod random;
pub mod tampering;

mod agent;
mod alertmanager;
mod host;
mod invariants;
mod network;
mod pace;
mod players;
mod trace;
mod world;

use faults::{Fault, Fired};
use tampering::Table;
use world::World;

/// Options of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long the faults last, in virtual time.
    pub faults: Duration,
    /// After the faults: how long everything may take to come to rest, in virtual time.
    pub quiet: Duration,
    /// A defect to build in, which the oracle must find. For tests of the oracle.
    pub defect: Option<Defect>,
    /// Whether Alertmanager answers nobody, from the beginning to the end.
    pub is_alertmanager_down: bool,
    /// Whether an adversary writes marks, mostly while the webhook is down.
    pub tampering: bool,
    /// How many trace lines a violation shows.
    pub trace_lines: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            faults: Duration::from_hours(2),
            quiet: Duration::from_hours(12),
            defect: None,
            is_alertmanager_down: false,
            tampering: true,
            trace_lines: 60,
        }
    }
}

/// A defect to build into every agent, or into the webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// The agents run with `--verify-before-reboot=never`.
    NoVerification,
    /// The seal is written without a resourceVersion.
    SealOnAnyVersion,
    /// The patch that gives the cordon back is written without a resourceVersion.
    GiveBackOnAnyVersion,
    /// The lock is written without a resourceVersion.
    LockOnAnyVersion,
    /// The reboot command runs however old the seal is.
    NoDeadline,
    /// The host always answers that no shutdown is under way.
    ShutdownUnseen,
    /// Giving the cordon back always uncordons, even a node that was cordoned before.
    AlwaysUncordons,
    /// The lock entry is never released.
    NeverReleases,
    /// Every write carries the same proof.
    SameProof,
    /// The host's record and the lock entry always say that no reboot command was run.
    AttemptsUncounted,
    /// The webhook runs in mode `warn`.
    WebhookWarns,
    /// The webhook takes any agent for the agent of the node that is changed.
    WebhookTrustsEveryAgent,
    /// The agents run without the `--spread-by` that they should have.
    ZonesUnseen,
    /// The end of a reboot is not noted on the lock's object.
    EndsUnnoted,
    /// The account of a reboot is left out of the patch that gives the cordon back.
    AccountLost,
    /// Whatever ends a hold restores the cordon from before, also if an uncordon was deferred.
    DeferredUndone,
    /// The lock forgets which requests were used.
    RequestsForgotten,
    /// A silence ends hours ahead.
    SilencesForHours,
    /// No silence is cut.
    SilencesUncut,
}

/// The invariants that are checked, named as in ARCHITECTURE.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    HeldStaysCordoned,
    NoBlindReboot,
    AtMostN,
    OneNodeOneAgent,
    OneWishTwoReboots,
    CordonGivenBack,
    LastWish,
    NothingStuck,
    /// Not an invariant of its own there: what `--spread-by` promises.
    SpreadBy,
    /// Likewise for `--min-interval`.
    MinInterval,
    /// Likewise for the account of a reboot on its Node.
    Account,
    /// Likewise for `--reboot-requests`: a request is used at most once.
    RequestUsedOnce,
    /// Likewise: a host that asks for no reboot has one only for a request that is on its Node.
    RequestThere,
    /// Likewise for `--silence-url`: a silence is a lease, and gone when the hold is.
    Silence,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Invariant::HeldStaysCordoned => "HELD-STAYS-CORDONED",
            Invariant::NoBlindReboot => "NO-BLIND-REBOOT",
            Invariant::AtMostN => "AT-MOST-N",
            Invariant::OneNodeOneAgent => "ONE-NODE-ONE-AGENT",
            Invariant::OneWishTwoReboots => "ONE-WISH-TWO-REBOOTS",
            Invariant::CordonGivenBack => "CORDON-GIVEN-BACK",
            Invariant::LastWish => "LAST-WISH",
            Invariant::NothingStuck => "NOTHING-STUCK",
            Invariant::SpreadBy => "SPREAD-BY",
            Invariant::MinInterval => "MIN-INTERVAL",
            Invariant::Account => "ACCOUNT",
            Invariant::RequestUsedOnce => "REQUEST-USED-ONCE",
            Invariant::RequestThere => "REQUEST-THERE",
            Invariant::Silence => "SILENCE",
        })
    }
}

/// What happened in one run, or in many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    pub runs: u64,
    pub steps: u64,
    /// Number of reboots that happened because an agent ran the command.
    pub reboots: u64,
    /// Number of reboots that were called off.
    pub called_off: u64,
    /// Number of reboots that were forced after the drain took too long.
    pub forced: u64,
    /// Number of cordons that were not given back as they were, but that the oracle exempts.
    pub exempt: u64,
    pub virtual_time: Duration,
    pub fired: Fired,
    /// How many times the adversary wrote each kind of value on Nodes.
    pub tampered: Table,
    /// A hash of every event and commit in order; over many runs, the XOR of theirs.
    pub hash: u64,
}

impl Statistics {
    pub fn add(&mut self, other: &Statistics) {
        self.runs += other.runs;
        self.steps += other.steps;
        self.reboots += other.reboots;
        self.called_off += other.called_off;
        self.forced += other.forced;
        self.exempt += other.exempt;
        self.virtual_time += other.virtual_time;
        self.fired.add(&other.fired);
        self.tampered.add(&other.tampered);
        // XOR, because runs on several threads end in any order.
        self.hash ^= other.hash;
    }
}

/// An invariant that did not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    pub seed: u64,
    /// Virtual time since the beginning of the run.
    pub time: Duration,
    pub invariant: Invariant,
    pub what: String,
    /// The last trace lines of the run.
    pub trace: Vec<String>,
    /// Trace lines of the node that the violation is about, from further back.
    pub of_node: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.of_node.is_empty() {
            writeln!(f, "What happened to the node:")?;
        }
        for line in &self.of_node {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "What happened last:")?;
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        writeln!(
            f,
            "{} violated in the run of seed {}, {:.3} s after its beginning: {}",
            self.invariant,
            self.seed,
            self.time.as_secs_f64(),
            self.what
        )?;
        write!(f, "replay it: cargo prove --seed {}", self.seed)
    }
}

impl std::error::Error for Violation {}

/// Runs one seed. The error is a violation of an invariant.
///
/// A run that fails is repeated with a trace: tracing every run would take most of the time.
pub fn run(seed: u64, options: &Options) -> Result<Statistics, Box<Violation>> {
    World::new(seed, options, false)
        .run()
        .map_err(|violation| match World::new(seed, options, true).run() {
            Err(traced) => traced,
            Ok(_) => violation,
        })
}

/// The result of many runs.
#[derive(Debug, Default)]
pub struct Report {
    pub statistics: Statistics,
    /// The violations that were found. After the first one no new run begins.
    pub violations: Vec<Violation>,
}

impl Report {
    /// Names of the fault classes and kinds of tampering that never happened, although the options ask for them.
    pub fn unfired(&self, options: &Options) -> Vec<String> {
        let counts = self.statistics.fired.counts();
        let is_asked_for = |name: &str| options.tampering || name != Fault::Tampering.as_str();
        let unfired = counts
            .into_iter()
            .filter(|(name, count)| *count == 0 && is_asked_for(name));
        let least = u64::from(options.tampering);
        let unwritten = self.statistics.tampered.below(least).into_iter();
        let unwritten = unwritten.map(|(cell, _)| cell.to_string());
        unfired.map(|(name, _)| name).chain(unwritten).collect()
    }
}

/// Runs these seeds on all cores. Stops when one fails, or when `progress`, called after each run, returns `false`.
pub fn run_many<S, P>(seeds: S, options: &Options, progress: P) -> Report
where
    S: Iterator<Item = u64> + Send,
    P: Fn(&Statistics) -> bool + Sync,
{
    let seeds = Mutex::new(seeds);
    let report = Mutex::new(Report::default());
    let is_over = AtomicBool::new(false);
    let work = || {
        while !is_over.load(Ordering::Relaxed) {
            let Some(seed) = seeds.lock().unwrap_or_else(PoisonError::into_inner).next() else {
                return;
            };
            let result = run(seed, options);
            let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(statistics) => report.statistics.add(&statistics),
                Err(violation) => {
                    is_over.store(true, Ordering::Relaxed);
                    report.violations.push(*violation);
                }
            }
            if !progress(&report.statistics) {
                is_over.store(true, Ordering::Relaxed);
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            drop(scope.spawn(work));
        }
    });
    report.into_inner().unwrap_or_else(PoisonError::into_inner)
}
