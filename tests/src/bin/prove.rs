//! `cargo prove`: explores the protocol at length, and says what it found.
//!
//! It is the command line only; what is explored is `cordonhold_model`.

use std::io::{IsTerminal as _, Write as _};
use std::num::NonZero;
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use cordonhold_model::{Bounds, Counterexample, Outcome, Scenario, check, counterexamples, deep, quick};
use cordonhold_rt::{duration, exit};

const ABOUT: &str = "\
The model is the real decisions (the agent's step, the lock's transitions, the
webhook's verdict) under every interleaving of agents, people, controllers,
crashes and lost messages, up to a bound. Two things are shown:

  what holds    each scenario is explored until it is exhausted
  what it is    each protection is switched off in turn, and what it is for
  for           must be found: a check that cannot fail proves nothing

Exit code: 0 if everything holds and every counterexample was found, 1 if not,
2 for a wrong command line.

Examples:

  cargo prove                       everything, at length
  cargo prove --quick               what `cargo test` explores
  cargo prove --time 1h --states 500000000   larger bounds
  cargo prove --only crash          scenarios with `crash` in their name";

/// Explore the protocol and print what was found.
#[derive(Parser)]
#[command(name = "prove", after_help = ABOUT)]
struct ProveArgs {
    /// Only what `cargo test` explores.
    #[arg(long)]
    quick: bool,
    /// Only scenarios whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Longest exploration of one scenario.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse)]
    time: Duration,
    /// Most states generated in one scenario; each takes memory: about 1 GiB for ten million.
    #[arg(long, value_name = "N", default_value_t = 200_000_000)]
    states: usize,
    /// Threads; by default as many as there are processors.
    #[arg(long, value_name = "N")]
    threads: Option<NonZero<usize>>,
}

/// What all of it came to.
#[derive(Default)]
struct Totals {
    states: usize,
    generated: usize,
    incomplete: usize,
    violations: usize,
    counterexamples: usize,
    missed: usize,
}

fn main() -> ExitCode {
    let args: ProveArgs = match exit::parse_args("prove") {
        Ok(args) => args,
        Err(code) => return code,
    };
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("prove: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &ProveArgs) -> Result<bool> {
    let threads = args
        .threads
        .or_else(|| available_parallelism().ok())
        .map_or(1, NonZero::get);
    let bounds = Bounds {
        states: args.states,
        time: args.time,
        threads,
    };
    let started = Instant::now();
    let mut totals = Totals::default();
    explore(args, bounds, &mut totals)?;
    refute(args, bounds, &mut totals)?;
    let mut out = std::io::stdout().lock();
    writeln!(out)?;
    writeln!(
        out,
        "states explored   {} ({} generated)",
        totals.states, totals.generated
    )?;
    writeln!(out, "not exhausted     {}", totals.incomplete)?;
    writeln!(out, "violations        {}", totals.violations)?;
    writeln!(
        out,
        "counterexamples   {} found, {} missed",
        totals.counterexamples, totals.missed
    )?;
    writeln!(
        out,
        "time              {:.0?} on {threads} threads",
        started.elapsed()
    )?;
    Ok(totals.violations == 0 && totals.missed == 0)
}

fn is_chosen(args: &ProveArgs, name: &str) -> bool {
    args.only.as_ref().is_none_or(|text| name.contains(text.as_str()))
}

/// What holds.
fn explore(args: &ProveArgs, bounds: Bounds, totals: &mut Totals) -> Result<()> {
    let more = if args.quick { Vec::new() } else { deep() };
    let chosen: Vec<Scenario> = quick()
        .into_iter()
        .chain(more)
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
        totals.incomplete += usize::from(!outcome.is_complete);
        totals.violations += outcome.found.len();
    }
    Ok(())
}

/// What each protection is for.
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
            .find(|(wrong, _)| example.expects.contains(wrong));
        if let Some((wrong, path)) = found {
            totals.counterexamples += 1;
            say(&format!("{name}: {wrong}, after {} steps", path.len()))?;
        } else {
            totals.missed += 1;
            say(&format!(
                "{name}: expected {:?}, and did not find it",
                example.expects
            ))?;
        }
        totals.states += outcome.states;
        totals.generated += outcome.generated;
    }
    Ok(())
}

fn title(example: &Counterexample) -> String {
    let off: Vec<String> = example.off.iter().map(|switch| format!("{switch:?}")).collect();
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

/// One check, with progress on a terminal, and each half minute elsewhere.
fn checked(name: &str, scenario: Scenario, bounds: Bounds) -> Outcome {
    let is_terminal = std::io::stderr().is_terminal();
    let every = if is_terminal {
        Duration::from_millis(200)
    } else {
        Duration::from_secs(30)
    };
    let mut next = every;
    let outcome = check(scenario, bounds, |states, elapsed| {
        if elapsed < next {
            return;
        }
        next = elapsed + every;
        let line = format!("{name}: {states} states, {:.0}s", elapsed.as_secs_f64());
        if is_terminal {
            eprint!("\r\x1b[2K{line}");
        } else {
            eprintln!("{line}");
        }
    });
    if is_terminal {
        eprint!("\r\x1b[2K");
    }
    outcome
}

fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{line}").context("failed to write to standard output")
}
