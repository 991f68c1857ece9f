//! `cargo faults`: lets a fault happen at each step of a reboot on a real control plane, and prints a table of what came of it.
//!
//! Not here: how it is played, see `cordonhold_tests::faults`.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use clap::Parser;
use cordonhold_rt::exit;
use cordonhold_tests::faults::{self, Fault, Options, Run, Step};

const ABOUT: &str = "\
Two undisturbed reboots show the steps of a cycle: every request of the agent, and its reboot command. Then each run has one fault at one step:
the agent is killed before or after it, the request is cut, delayed, doubled or refused, a watch ends or falls silent, the command fails.
Each run has two nodes, of which one may reboot at a time. Both must reboot once and not blind, every cordon must be given back, the lock
must be free at the end, and no two nodes held at once.

Exit code: 0 if all of that holds in every run; 1 if not, with the line that repeats the run; 2 for a wrong command line.

Examples:

  cargo faults --all                        every fault at every step
  cargo faults --fault killed-before --all  one fault at every step
  cargo faults --phase seal --all           every fault at steps with `seal` in their name
  cargo faults --sample 20 --seed 7         the same twenty each time";

/// Let faults happen at each step of a reboot, on a real control plane
#[derive(Parser)]
#[command(name = "cargo faults", after_help = ABOUT)]
struct FaultsArgs {
    /// Every run, and no sample
    #[arg(long, conflicts_with = "sample")]
    all: bool,
    /// How many runs
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u16).range(1..))]
    sample: u16,
    /// What the sample is drawn with. The default is taken from the clock
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Only this fault
    #[arg(long, value_name = "NAME", value_parser = fault_name)]
    fault: Option<String>,
    /// Only the step of this name or, if there is none, those whose name contains this
    #[arg(long, value_name = "NAME")]
    phase: Option<String>,
    /// How many runs go side by side
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=50))]
    width: u16,
}

fn fault_name(name: &str) -> Result<String, String> {
    let names: Vec<String> = Fault::ALL.into_iter().map(Fault::name).collect();
    if names.iter().any(|known| known == name) {
        return Ok(name.to_owned());
    }
    Err(format!(
        "there is no such fault: name one of {}",
        names.join(", ")
    ))
}

fn main() -> ExitCode {
    let args: FaultsArgs = match exit::parse_args("faults") {
        Ok(args) => args,
        Err(code) => return code,
    };
    let played = tokio::runtime::Runtime::new()
        .context("failed to start the runtime")
        .and_then(|runtime| runtime.block_on(run(&args)));
    exit::verdict("faults", played)
}

/// Plays it and prints the table; `true` if all is as it must be.
async fn run(args: &FaultsArgs) -> Result<bool> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let options = Options {
        seed: args.seed.unwrap_or(now.as_secs()),
        sample: (!args.all).then_some(usize::from(args.sample)),
        fault: args.fault.clone(),
        step: args.phase.clone(),
        width: usize::from(args.width),
    };
    if options.sample.is_some() {
        println!("seed {}", options.seed);
    }
    let (steps, runs) = faults::play(&options, tell).await?;
    print_table(&steps, &runs);
    let failed: Vec<&Run> = runs.iter().filter(|run| run.failure.is_some()).collect();
    println!("\n{} runs, {} failed", runs.len(), failed.len());
    for run in &failed {
        println!("repeat: {}", run.repeat());
    }
    Ok(failed.is_empty())
}

fn tell(run: &Run) {
    let seconds = run.took.as_secs();
    match &run.failure {
        None => println!("ok      {seconds:>4} s  {} at {}", run.fault.name(), run.step),
        Some(why) => println!(
            "FAILED  {seconds:>4} s  {} at {}: {why}",
            run.fault.name(),
            run.step
        ),
    }
}

/// A line for each step and a column for each fault: the seconds that the run took, or FAIL.
fn print_table(steps: &[Step], runs: &[Run]) {
    let faults: Vec<Fault> = Fault::ALL
        .into_iter()
        .filter(|fault| runs.iter().any(|run| run.fault == *fault))
        .collect();
    println!("\nSeconds that each run took:\n");
    for (number, fault) in faults.iter().enumerate() {
        println!("  {:>2}  {}", number + 1, fault.name());
    }
    let width = steps.iter().map(|step| step.to_string().len()).max().unwrap_or(0);
    print!("\n{:width$}", "");
    for number in 1..=faults.len() {
        print!(" {number:>4}");
    }
    println!();
    for step in steps {
        let row: String = faults.iter().map(|fault| cell(runs, *step, *fault)).collect();
        if !row.trim().is_empty() {
            println!("{:width$}{row}", step.to_string());
        }
    }
}

fn cell(runs: &[Run], step: Step, fault: Fault) -> String {
    let run = runs.iter().find(|run| run.step == step && run.fault == fault);
    let text = run.map_or(String::new(), |run| match run.failure {
        None => run.took.as_secs().to_string(),
        Some(_) => "FAIL".to_owned(),
    });
    format!(" {text:>4}")
}
