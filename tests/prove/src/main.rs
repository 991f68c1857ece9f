//! `cargo prove`: runs the model and the simulation of the protocol at length, or the change of certificates on a real control plane, and
//! prints what they found.
//!
//! Not here: the model (`cordonhold_model`), the simulation (`cordonhold_simulation`), and the certificates
//! (`cordonhold_tests::certificates::proof`). It is a crate of its own so that nothing else waits for model and simulation to be built.

use std::io::{IsTerminal as _, Write as _};
use std::num::NonZero;
use std::process::{Command, ExitCode};
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};
use cordonhold_model::{Bounds, Counterexample, Outcome, Scenario, check, counterexamples, deep, quick};
use cordonhold_rt::{duration, exit};
use cordonhold_simulation::Options;
use cordonhold_tests::certificates::proof::{self, Proof};

/// A fifth of the simulation's time would go to the allocator of the C library.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ABOUT: &str = "\
Checks the same code in two ways: the agent's step, the lock's transitions and the
webhook's verdict.

  the model       explores every interleaving of agents, people, controllers,
                  crashes and lost messages, up to a bound. With all rules on, no
                  scenario may show a violation. Then each rule is turned off in
                  turn, and the violation that the rule prevents must be found
  the simulation  random runs on an API server in memory, each from its own seed:
                  hours of virtual time full of faults, then no more faults, and
                  everything must come to rest. It fails if a kind of fault never
                  happened; after 2,000,000 reboots, also if a kind of tampering was
                  written fewer than 100 times
  the certificates
                  only with --part certificates: admissions by a real API server while
                  CAs and certificates of seconds change, the two replicas of the webhook
                  are restarted in turn, and `certs` is killed. None may fail. It takes
                  about a quarter of an hour

Exit code: 0 if nothing was violated, every scenario was explored completely or up to
the bound that it names, every counterexample was found and every fault happened; 1 if
not; 2 for a wrong command line.

Examples:

  cargo prove                           both, at length
  cargo prove --part model --only crash scenarios with `crash` in their name
  cargo prove --part simulation --soak 8h
  cargo prove --part simulation --reboots 2000000
  cargo prove --part certificates       100,000 admissions over 20 changes of the CA
  cargo prove --seed 4711               repeat one run, with its trace if it fails";

/// Check the protocol by a model and by a simulation, and print what was found.
#[derive(Parser)]
#[command(name = "prove", after_help = ABOUT)]
struct ProveArgs {
    /// Run only this part.
    #[arg(long, value_enum)]
    part: Option<Part>,
    /// The model: run only scenarios and counterexamples whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// The model: longest time for one scenario.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse)]
    time: Duration,
    /// The model: most states generated in one scenario. Ten million take about 1 GiB of memory.
    #[arg(long, value_name = "N", default_value_t = 200_000_000)]
    states: usize,
    /// The simulation: how many runs, each with its own seed.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    seeds: u64,
    /// The simulation: instead of --seeds, run until this many reboots were simulated.
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    reboots: Option<u64>,
    /// The simulation: instead of --seeds, run for this long.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, conflicts_with_all = ["seeds", "reboots"])]
    soak: Option<Duration>,
    /// The simulation: the first seed. The default is taken from the clock.
    #[arg(long, value_name = "N")]
    first_seed: Option<u64>,
    /// The certificates: how many admissions, at least.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    admissions: u64,
    /// The certificates: how many changes of the CA, at least.
    #[arg(long, value_name = "N", default_value_t = 20)]
    rotations: usize,
    /// The simulation: repeat only the run of this seed.
    #[arg(long, value_name = "N", conflicts_with_all = ["part", "only", "seeds", "soak", "reboots", "first_seed"])]
    seed: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Model,
    Simulation,
    Certificates,
}

/// In a run of at least [`LONG`] reboots: how many times each kind of value must have been written on each mark in each phase.
const TAMPERED_MIN: u64 = 100;
/// Longest time for the part of the certificates. A change of the CA takes some 35 s.
const CERTIFICATES_BOUND: Duration = Duration::from_hours(2);
/// The number of reboots from which [`TAMPERED_MIN`] applies.
const LONG: u64 = 2_000_000;

/// Totals of the model over all scenarios and counterexamples.
#[derive(Default)]
struct Totals {
    states: usize,
    generated: usize,
    incomplete: usize,
    /// Scenarios that stopped at the bound that they name.
    bounded: usize,
    violations: usize,
    counterexamples: usize,
    missed: usize,
}

fn main() -> ExitCode {
    let args: ProveArgs = match exit::parse_args("prove") {
        Ok(args) => args,
        Err(code) => return code,
    };
    exit::verdict("prove", run(&args))
}

fn run(args: &ProveArgs) -> Result<bool> {
    if let Some(seed) = args.seed {
        return replay(seed);
    }
    match args.part {
        Some(Part::Certificates) => certify(args),
        Some(Part::Model) => model(args),
        Some(Part::Simulation) if args.only.is_none() => simulate(args),
        Some(Part::Simulation) => Ok(true),
        None => {
            let simulation_holds = args.only.is_some() || simulate(args)?;
            Ok(model(args)? && simulation_holds)
        }
    }
}

/// Changes CAs and certificates under load; `true` if no admission failed and everything asked for came about.
fn certify(args: &ProveArgs) -> Result<bool> {
    let proof = Proof {
        admissions: args.admissions,
        rotations: args.rotations,
        flags: proof::flags(
            Duration::from_secs(40),
            Duration::from_secs(26),
            Duration::from_secs(11),
        ),
        restart_every: Duration::from_secs(4),
        kill_after: Some(10),
        bound: CERTIFICATES_BOUND,
    };
    let progress = Progress::new("certificates");
    let runtime = tokio::runtime::Runtime::new().context("failed to start a runtime")?;
    let shown = runtime.block_on(proof::run(&proof, |shown| {
        progress.tell(|| {
            format!(
                "{} admissions, {} failed, {} rotations, {} connections",
                shown.admissions, shown.failed, shown.rotations, shown.connections
            )
        });
    }))?;
    progress.clear();
    for (text, count) in &shown.failures {
        say(&format!("failed {count} times: {text}"))?;
    }
    let seconds = shown.took.as_secs_f64();
    say(&format!(
        "admissions        {} in {seconds:.0} s",
        shown.admissions
    ))?;
    say(&format!("failed            {}", shown.failed))?;
    say(&format!(
        "changes of the CA {}, {} certificates",
        shown.rotations, shown.certificates
    ))?;
    say(&format!(
        "restarts          {} of replicas, {} of certs by SIGKILL",
        shown.restarts, shown.kills
    ))?;
    say(&format!(
        "connections       {}, each with a handshake",
        shown.connections
    ))?;
    Ok(shown.failed == 0 && shown.admissions >= proof.admissions && shown.rotations >= proof.rotations)
}

/// Repeats one run of the simulation; `true` if it has no violation.
fn replay(seed: u64) -> Result<bool> {
    match cordonhold_simulation::run(seed, &Options::default()) {
        Ok(statistics) => {
            say(&format!(
                "seed {seed}: {} steps, {} reboots, no violation",
                statistics.steps, statistics.reboots
            ))?;
            Ok(true)
        }
        Err(violation) => {
            say(&violation.to_string())?;
            Ok(false)
        }
    }
}

fn simulate(args: &ProveArgs) -> Result<bool> {
    let first = args.first_seed.unwrap_or_else(fresh_seed);
    let started = Instant::now();
    let is_open = args.soak.is_some() || args.reboots.is_some();
    let runs = if is_open { u64::MAX } else { args.seeds };
    say(&format!("simulating from seed {first} on"))?;
    let progress = Progress::new("simulation");
    let report = cordonhold_simulation::run_many(
        (first..).take(usize::try_from(runs).unwrap_or(usize::MAX)),
        &Options::default(),
        |statistics| {
            progress.tell(|| format!("{} runs, {} reboots", statistics.runs, statistics.reboots));
            let is_in_time = args.soak.is_none_or(|soak| started.elapsed() < soak);
            is_in_time && args.reboots.is_none_or(|reboots| statistics.reboots < reboots)
        },
    );
    progress.clear();
    for (name, count) in report.statistics.fired.counts() {
        say(&format!("  {name:<44} {count:>9}"))?;
    }
    for line in report.statistics.tampered.lines() {
        say(&format!("  {line}"))?;
    }
    for violation in &report.violations {
        say(&violation.to_string())?;
    }
    let unfired = report.unfired(&Options::default());
    for name in &unfired {
        say(&format!("never fired: {name}"))?;
    }
    let statistics = &report.statistics;
    let is_long = statistics.reboots >= LONG;
    let rare = if is_long {
        statistics.tampered.below(TAMPERED_MIN)
    } else {
        Vec::new()
    };
    for (cell, count) in &rare {
        say(&format!(
            "written fewer than {TAMPERED_MIN} times: {cell} ({count})"
        ))?;
    }
    let seconds = started.elapsed().as_secs_f64();
    say(&format!("seeds run         {}, from {first} on", statistics.runs))?;
    say(&format!(
        "reboots simulated {} in {seconds:.0} s, {} more called off",
        statistics.reboots, statistics.called_off
    ))?;
    say(&format!(
        "virtual time      {:.1} years",
        statistics.virtual_time.as_secs_f64() / (365.25 * 86_400.0)
    ))?;
    say(&format!("violations        {}", report.violations.len()))?;
    say(&format!("code              {}", code()))?;
    say("")?;
    Ok(report.violations.is_empty() && unfired.is_empty() && rare.is_empty())
}

/// The commit that the code is of, so that counts of several runs can be added and a seed be repeated.
fn code() -> String {
    let git = |arguments: &[&str]| {
        let root = env!("CARGO_MANIFEST_DIR");
        let output = Command::new("git")
            .args(["-C", root])
            .args(arguments)
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        output.status.success().then_some(text)
    };
    let Some(commit) = git(&["rev-parse", "HEAD"]) else {
        return "of no commit that git knows".to_owned();
    };
    let is_clean = git(&["status", "--porcelain"]).is_some_and(|changes| changes.is_empty());
    let changed = if is_clean { "" } else { ", changed since" };
    format!("commit {commit}{changed}")
}

/// A seed from the clock, different each time.
fn fresh_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or_default()
}

fn model(args: &ProveArgs) -> Result<bool> {
    let threads = available_parallelism().map_or(1, NonZero::get);
    let bounds = Bounds {
        states: args.states,
        time: args.time,
        threads,
    };
    let started = Instant::now();
    let mut totals = Totals::default();
    ensure!(
        is_anything_chosen(args),
        "no scenario has {:?} in its name: `cargo prove --part model` prints them all",
        args.only.as_deref().unwrap_or_default()
    );
    explore(args, bounds, &mut totals)?;
    refute(args, bounds, &mut totals)?;
    say("")?;
    say(&format!(
        "states explored   {} ({} generated) in {:.0} s on {threads} threads",
        totals.states,
        totals.generated,
        started.elapsed().as_secs_f64()
    ))?;
    say(&format!("not exhausted     {}", totals.incomplete))?;
    say(&format!("up to their bound {}", totals.bounded))?;
    say(&format!("violations        {}", totals.violations))?;
    say(&format!(
        "counterexamples   {} found, {} missed",
        totals.counterexamples, totals.missed
    ))?;
    Ok(totals.violations == 0 && totals.missed == 0 && totals.incomplete == 0)
}

fn is_chosen(args: &ProveArgs, name: &str) -> bool {
    args.only.as_ref().is_none_or(|text| name.contains(text.as_str()))
}

fn is_anything_chosen(args: &ProveArgs) -> bool {
    let scenarios = quick().into_iter().chain(deep());
    let examples = counterexamples();
    let mut names = scenarios
        .map(|scenario| scenario.name.to_owned())
        .chain(examples.iter().map(title));
    names.any(|name| is_chosen(args, &name))
}

/// Explores the scenarios with all rules on.
fn explore(args: &ProveArgs, bounds: Bounds, totals: &mut Totals) -> Result<()> {
    let chosen: Vec<Scenario> = quick()
        .into_iter()
        .chain(deep())
        .filter(|scenario| is_chosen(args, scenario.name))
        .collect();
    let count = chosen.len();
    for (index, scenario) in chosen.into_iter().enumerate() {
        let outcome = checked(
            &format!("{}/{count} {}", index + 1, scenario.name),
            scenario,
            bounds,
        );
        say(&outcome.to_string())?;
        totals.states += outcome.states;
        totals.generated += outcome.generated;
        totals.bounded += usize::from(outcome.bound.is_some());
        totals.incomplete += usize::from(!outcome.is_complete && outcome.bound.is_none());
        totals.violations += outcome.found.len();
    }
    Ok(())
}

/// Looks for the counterexample of each rule that is turned off, and of stock kured.
fn refute(args: &ProveArgs, bounds: Bounds, totals: &mut Totals) -> Result<()> {
    for example in counterexamples() {
        let name = title(&example);
        if !is_chosen(args, &name) {
            continue;
        }
        let outcome = checked(&name, example.scenario, bounds);
        let found = outcome
            .found
            .iter()
            .find(|(violation, _)| example.expects.contains(violation));
        if let Some((violation, path)) = found {
            totals.counterexamples += 1;
            say(&format!("{name}: {violation}, after {} steps", path.len()))?;
        } else {
            totals.missed += 1;
            say(&format!(
                "{name}: missed: expected one of {:?}, found none of them",
                example.expects
            ))?;
        }
        totals.states += outcome.states;
        totals.generated += outcome.generated;
    }
    Ok(())
}

fn title(example: &Counterexample) -> String {
    let off: Vec<String> = example.off.iter().map(|rule| format!("{rule:?}")).collect();
    let off = if off.is_empty() {
        "stock kured".to_owned()
    } else {
        format!("without {}", off.join(" and "))
    };
    match example.number {
        Some(number) => format!("{number} {off}"),
        None => off,
    }
}

fn checked(name: &str, scenario: Scenario, bounds: Bounds) -> Outcome {
    let progress = Progress::new(name);
    let outcome = check(scenario, bounds, |states, _| {
        progress.tell(|| format!("{states} states"));
    });
    progress.clear();
    outcome
}

/// Progress on standard error: on a terminal one line that is overwritten, elsewhere a line every 30 s.
struct Progress {
    name: String,
    is_terminal: bool,
    every: Duration,
    started: Instant,
    next: Mutex<Duration>,
}

impl Progress {
    fn new(name: &str) -> Progress {
        let is_terminal = std::io::stderr().is_terminal();
        let every = if is_terminal {
            Duration::from_millis(200)
        } else {
            Duration::from_secs(30)
        };
        Progress {
            name: name.to_owned(),
            is_terminal,
            every,
            started: Instant::now(),
            next: Mutex::new(every),
        }
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        let elapsed = self.started.elapsed();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if elapsed < *next {
            return;
        }
        *next = elapsed + self.every;
        let line = format!("{}: {}, {:.0} s", self.name, what(), elapsed.as_secs_f64());
        if self.is_terminal {
            eprint!("\r\x1b[2K{line}");
        } else {
            eprintln!("{line}");
        }
    }

    fn clear(&self) {
        if self.is_terminal {
            eprint!("\r\x1b[2K");
        }
    }
}

fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{line}").context("failed to write to standard output")
}
