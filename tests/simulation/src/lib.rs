//! A seeded simulation: agents that run the real cycle, an API server in memory, hosts, and everybody who gets in their way.
//!
//! A run has two phases: faults, then quiet, in which everything must come to rest clean. The invariants are checked after
//! each step, against the API server's own history and the hosts, never against an agent's memory.
//! A run is a function of its seed. Not here: real time, threads within a run, and the network's bytes.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub mod api_server;
pub mod faults;
pub mod random;
pub mod tampering;

mod agent;
mod host;
mod invariants;
mod network;
mod players;
mod trace;
mod world;

use faults::{Fault, Fired};
use tampering::Table;
use world::World;

/// What a run is given.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long the faults last, in virtual time.
    pub faults: Duration,
    /// How long everything may take then to come to rest.
    pub quiet: Duration,
    /// Something to be found: a test that the oracle can fail.
    pub defect: Option<Defect>,
    /// Whether somebody puts every value on every mark while nobody forbids it.
    pub tampering: bool,
    /// How many lines a violation shows of what came before it.
    pub trace_lines: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            faults: Duration::from_hours(2),
            quiet: Duration::from_hours(12),
            defect: None,
            tampering: true,
            trace_lines: 60,
        }
    }
}

/// A defect to put into every agent, or into the webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// `--verify-before-reboot=never`.
    NoVerification,
    /// The seal names whatever version the Node has.
    SealOnAnyVersion,
    /// What gives the cordon back names whatever version the Node has.
    GiveBackOnAnyVersion,
    /// Writes of the lock name whatever version it has.
    LockOnAnyVersion,
    /// The command is run however old the seal is.
    NoDeadline,
    /// The host is never asked: it always says that no shutdown is under way.
    ShutdownUnseen,
    /// The cordon's past is forgotten: it is always taken off.
    AlwaysUncordons,
    /// The entry is never released.
    NeverReleases,
    /// Every write has the same proof.
    SameProof,
    /// What a process leaves to the next does not say how many reboot commands it has run.
    AttemptsUncounted,
    /// The webhook's mode is `warn`.
    WebhookWarns,
    /// The webhook takes every agent for the one on the node that is changed.
    WebhookTrustsEveryAgent,
}

/// What is checked; the names are the design's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    HeldStaysCordoned,
    NoBlindReboot,
    AtMostN,
    OneNodeOneAgent,
    OneWishTwoReboots,
    CordonGivenBack,
    NothingStuck,
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
            Invariant::NothingStuck => "NOTHING-STUCK",
        })
    }
}

/// What happened in one run, or in many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    pub runs: u64,
    pub steps: u64,
    /// Reboots that an agent asked for and that happened.
    pub reboots: u64,
    /// Reboots that were called off.
    pub called_off: u64,
    /// Drains that took too long and were rebooted over.
    pub forced: u64,
    /// Cordons that are not as they were, by an exemption of the oracle.
    pub exempt: u64,
    pub virtual_time: Duration,
    pub fired: Fired,
    /// What was written on Nodes by somebody else.
    pub tampered: Table,
    /// Of every event and commit in their order.
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
        // Whichever order the runs ended in.
        self.hash ^= other.hash;
    }
}

/// An invariant that did not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    pub seed: u64,
    /// Since the run began, in virtual time.
    pub time: Duration,
    pub invariant: Invariant,
    pub what: String,
    /// What happened last.
    pub trace: Vec<String>,
    /// What happened to the node that it is about, from further back.
    pub of_node: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.of_node.is_empty() {
            writeln!(f, "What became of the node:")?;
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

/// One run.
///
/// A violation is replayed with a trace: to write one for every run would take most of the time.
pub fn run(seed: u64, options: &Options) -> Result<Statistics, Box<Violation>> {
    World::new(seed, options, false)
        .run()
        .map_err(|violation| match World::new(seed, options, true).run() {
            Err(traced) => traced,
            Ok(_) => violation,
        })
}

/// What many runs brought.
#[derive(Debug, Default)]
pub struct Report {
    pub statistics: Statistics,
    /// Of the first runs that failed; after the first no new run begins.
    pub violations: Vec<Violation>,
}

impl Report {
    /// The fault classes, and what somebody may write on a Node, that never fired though they were asked for.
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

/// Runs these seeds on all cores, until one fails or `progress`, called after each run, says that it is enough.
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
