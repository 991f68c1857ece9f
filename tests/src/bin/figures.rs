//! `cargo figures`: measures Cordonhold beside its peers, and prints a table.
//!
//! Not here: how each is measured, see `cordonhold_tests::figures`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use cordonhold_rt::{duration, exit};
use cordonhold_tests::figures::hop::Options;
use cordonhold_tests::figures::{Figure, api, hop};

const ABOUT: &str = "\
Each figure is ours and a peer's in the same run, by turns, since machines differ and are never alone. A goal is about their ratio.

  hop   reviews over TLS, one core for the server and one for the load: ours as it ships, a plain webhook in Go, and TLS and HTTP alone. First as
        many as each can take; then at a constant rate, 20, 50 and 80 percent of what the peer can take. About 6 minutes, and a release build
  api   what admission adds to the PATCH that uncordons, through a real API server: our policies, ours as it ships, the webhook in Go. One minute

It needs two cores that nothing else uses. Exit code: 0 if all goals are met, 1 if not.

Examples:

  cargo figures                      all
  cargo figures hop --json           one object a line
  cargo figures hop --rounds 1       a quick look";

/// Measure Cordonhold beside its peers
#[derive(Parser)]
#[command(name = "cargo figures", after_help = ABOUT)]
struct FiguresArgs {
    /// Which to measure. All without a name
    #[arg(value_name = "NAME")]
    names: Vec<Name>,
    /// How often each side is measured; the median counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// How long, each time
    #[arg(long = "for", value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    time: Duration,
    /// Print one object of JSON a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    Hop,
    Api,
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

/// Measures and prints; `true` if all goals are met.
async fn run(args: &FiguresArgs) -> Result<bool> {
    let options = Options {
        rounds: args.rounds,
        time: args.time,
    };
    let is_wanted = |name| args.names.is_empty() || args.names.contains(&name);
    let mut figures = Vec::new();
    if is_wanted(Name::Hop) {
        figures.extend(hop::measure(options, |step| eprintln!("hop: {step}")).await?);
    }
    if is_wanted(Name::Api) {
        figures.extend(api::measure(options.rounds, |step| eprintln!("api: {step}")).await?);
    }
    if args.json {
        for figure in &figures {
            println!("{}", serde_json::to_string(figure)?);
        }
    } else {
        print_table(&figures);
    }
    Ok(figures.iter().all(|figure| figure.met))
}

fn print_table(figures: &[Figure]) {
    println!(
        "{:<24} {:>10} {:>10} {:>8}  {:<10} {:<8}",
        "FIGURE", "OURS", "THEIRS", "RATIO", "UNIT", "GOAL"
    );
    for figure in figures {
        println!(
            "{:<24} {:>10.2} {:>10.2} {:>8.3}  {:<10} {:<8} {}",
            figure.name,
            figure.ours,
            figure.theirs,
            figure.ratio,
            figure.unit,
            figure.goal.to_string(),
            if figure.met { "" } else { "missed" }
        );
    }
}
