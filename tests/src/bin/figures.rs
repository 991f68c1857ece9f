//! `cargo figures`: measures Cordonhold beside its peers, prints a table, and compares with the record.
//!
//! Not here: how each is measured, see `cordonhold_tests::figures`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use cordonhold_rt::{duration, exit};
use cordonhold_tests::figures::{
    Benchmark, Figure, agent, api, compute, drain, hop, page, record, rollout, size,
};

const ABOUT: &str = "\
Each figure is ours and a peer's in the same run, by turns, since machines differ and are never alone. A goal with × is about their ratio.

  compute   one review without network, beside decoding it. Half a minute, and a release build
  quick     the same, built as the tests are. Seconds
  drain     a node of 250 pods, and one with a budget, beside kubectl and the least that a drain needs. Four minutes
  rollout   from the release of the lock to the next node's cordon, and the requests of agents that wait. 15 minutes
  size      programs, images, memory, start, a changed certificate. A minute, and a release build of both programs
  agent     memory and requests of an agent, idle and blocked. 25 minutes
  hop       reviews over TLS, beside a plain webhook in Go, and TLS and HTTP alone. About 6 minutes, and a release build
  api       what admission adds to the PATCH that uncordons, through a real API server: our policies, ours, the webhook in Go. One minute, and a
            release build

It needs two cores that nothing else uses. docs/figures.md has what was recorded. Exit code: 0 if all goals are met or, with --check, nothing is worse
than recorded; 1 if not.

Examples:

  cargo figures                      all
  cargo figures hop --json           one object a line
  cargo figures hop --rounds 1       a quick look
  cargo figures quick --check        has it become worse?
  cargo figures compute --record     keep what is measured, and write the page";

/// How often most are measured.
const ROUNDS: u32 = 5;
const LOAD: Duration = Duration::from_secs(5);
/// An idle agent's watch restarts about every five minutes.
const WINDOW: Duration = Duration::from_mins(11);

/// Small, and large enough to show how the cost grows.
const POOLS: [usize; 2] = [60, 200];

/// Measure Cordonhold beside its peers
#[derive(Parser)]
#[command(name = "cargo figures", after_help = ABOUT)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
struct FiguresArgs {
    /// Which to measure. All without a name
    #[arg(value_name = "NAME", conflicts_with = "write")]
    names: Vec<Benchmark>,
    /// How often each side is measured; the median counts [default: 5, drain: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: Option<u32>,
    /// How long a load is sent, each time, and an agent is watched [default: 5s, agent: 11m]
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
    time: Option<Duration>,
    /// How many nodes the pools of a rollout have [default: 60 and 200]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(43..))]
    nodes: Vec<u16>,
    /// Print one object of JSON a line
    #[arg(long)]
    json: bool,
    /// Compare the ratios with those in tests/figures.jsonl, and fail if one is worse by more than its margin
    #[arg(long, conflicts_with = "record")]
    check: bool,
    /// Keep what is measured in tests/figures.jsonl, and write docs/figures.md anew
    #[arg(long)]
    record: bool,
    /// Measure nothing, and write docs/figures.md from tests/figures.jsonl
    #[arg(long, conflicts_with_all = ["check", "record", "json"])]
    write: bool,
}

fn main() -> ExitCode {
    let args: FiguresArgs = match exit::parse_args("figures") {
        Ok(args) => args,
        Err(code) => return code,
    };
    let measured = tokio::runtime::Runtime::new()
        .context("failed to start the runtime")
        .and_then(|runtime| runtime.block_on(run(&args)));
    exit::verdict("figures", measured)
}

/// Measures and prints; `true` if all goals are met or, with `--check`, nothing is worse than recorded.
async fn run(args: &FiguresArgs) -> Result<bool> {
    if args.write {
        return written();
    }
    let mut figures = Vec::new();
    for benchmark in Benchmark::ALL {
        if args.names.is_empty() || args.names.contains(&benchmark) {
            figures.extend(measure(benchmark, args).await?);
        }
    }
    let lines = record::of_this_run(&figures)?;
    if args.json {
        for line in &lines {
            println!("{}", serde_json::to_string(line)?);
        }
    } else {
        print_table(&figures);
    }
    if args.check {
        let regressions = record::regressions(&record::kept()?, &figures);
        for regression in &regressions {
            eprintln!("figures: {regression}");
        }
        return Ok(regressions.is_empty());
    }
    if args.record {
        record::keep(lines)?;
        return written();
    }
    Ok(figures.iter().all(|figure| figure.met))
}

fn written() -> Result<bool> {
    for name in page::write()? {
        eprintln!("figures: wrote docs/{name}");
    }
    Ok(true)
}

async fn measure(benchmark: Benchmark, args: &FiguresArgs) -> Result<Vec<Figure>> {
    let tell = |step: &str| eprintln!("{}: {step}", benchmark.name());
    match benchmark {
        Benchmark::Compute => {
            compute::measure(compute::Build::Shipped, args.rounds.unwrap_or(ROUNDS), tell).await
        }
        Benchmark::Quick => {
            compute::measure(compute::Build::Tests, args.rounds.unwrap_or(ROUNDS), tell).await
        }
        Benchmark::Hop => {
            let options = hop::Options {
                rounds: args.rounds.unwrap_or(ROUNDS),
                time: args.time.unwrap_or(LOAD),
            };
            hop::measure(options, tell).await
        }
        Benchmark::Api => api::measure(args.rounds.unwrap_or(ROUNDS), tell).await,
        Benchmark::Rollout => {
            let pools: Vec<usize> = args.nodes.iter().copied().map(usize::from).collect();
            rollout::measure(if pools.is_empty() { &POOLS } else { &pools }, tell).await
        }
        Benchmark::Size => size::measure(args.rounds.unwrap_or(ROUNDS), tell).await,
        Benchmark::Agent => agent::measure(args.time.unwrap_or(WINDOW), tell).await,
        // A round takes minutes.
        Benchmark::Drain => drain::measure(args.rounds.unwrap_or(1), tell).await,
    }
}

fn print_table(figures: &[Figure]) {
    println!(
        "{:<28} {:>12} {:>12} {:>8}  {:<10} {:<8}",
        "FIGURE", "OURS", "THEIRS", "RATIO", "UNIT", "GOAL"
    );
    let shown = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    for figure in figures {
        println!(
            "{:<28} {:>12.2} {:>12} {:>8}  {:<10} {:<8} {}",
            figure.name,
            figure.ours,
            shown(figure.theirs, 2),
            shown(figure.ratio, 3),
            figure.unit,
            figure.goal.to_string(),
            if figure.met { "" } else { "missed" }
        );
    }
}
