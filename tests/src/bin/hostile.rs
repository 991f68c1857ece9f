//! `cargo hostile`: hostile clients write to held Nodes on a real control plane while real agents reboot them, and counts what came of it.
//!
//! Not here: how it is played, see `cordonhold_tests::hostile`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use cordonhold_rt::{duration, exit};
use cordonhold_tests::hostile::{self, Options, Outcome};

const ABOUT: &str = "\
Sixteen clients that may patch and update every Node uncordon held Nodes, strip their marks and their taint, and forge phases and holders, while
three nodes are rebooted again and again. Each write names the version of the Node that it has seen, so what passes has met the hold.

With --killed the webhook is killed half of the time, and writes then pass. A reboot is blind if its agent had not sealed the node while it was
cordoned and empty.

Exit code: 0 if writes were denied, nothing passed while the webhook answered, no reboot was blind, and every node came to rest, and without
--killed uncordoned; 1 if not; 2 for a wrong command line.

Examples:

  cargo hostile                 20 reboots of each node, about 6 minutes
  cargo hostile --killed        the same, with the webhook killed half of the time
  cargo hostile --cycles 2      a short one";

/// Write to held Nodes at speed, on a real control plane, and count what passes
#[derive(Parser)]
#[command(name = "cargo hostile", after_help = ABOUT)]
struct HostileArgs {
    /// Reboots of each of the three nodes
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    cycles: u16,
    /// Writes a second that the clients aim at
    #[arg(long, value_name = "N", default_value_t = 800, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Kill the webhook half of the time
    #[arg(long)]
    killed: bool,
    /// Longest run
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse)]
    bound: Duration,
    /// Print one object of JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args: HostileArgs = match exit::parse_args("hostile") {
        Ok(args) => args,
        Err(code) => return code,
    };
    let played = tokio::runtime::Runtime::new()
        .context("failed to start the runtime")
        .and_then(|runtime| runtime.block_on(run(&args)));
    exit::verdict("hostile", played)
}

/// Plays it and prints what was counted; `true` if all is as it must be.
async fn run(args: &HostileArgs) -> Result<bool> {
    let options = Options {
        cycles: usize::from(args.cycles),
        rate: args.rate,
        is_killed: args.killed,
        bound: args.bound,
    };
    let outcome = hostile::play(options, |now| {
        eprintln!(
            "{} attempts, {} denied; a node has had {} of {} reboots",
            now.attempts, now.denied, now.reboots, args.cycles
        );
    })
    .await?;
    if args.json {
        println!("{}", serde_json::to_string(&outcome)?);
    } else {
        print(&outcome);
    }
    Ok(outcome.holds())
}

#[expect(clippy::cast_precision_loss, reason = "a rate to one digit")]
fn print(outcome: &Outcome) {
    let rate = outcome.attempts as f64 / outcome.attacked_seconds;
    println!("attempts         {}, {rate:.0} a second", outcome.attempts);
    println!("denied           {}", outcome.denied);
    println!("came too late    {}", outcome.late);
    println!("not asked        {}", outcome.unanswered);
    println!("passed           {:?} while the webhook answered", outcome.passed);
    println!(
        "                 {} while it was dead ({} kills)",
        outcome.passed_without_webhook, outcome.kills
    );
    println!("other answers    {:?}", outcome.failed);
    println!("reboots          {}", outcome.reboots);
    println!("left cordoned    {}", outcome.left_cordoned.len());
    for (node, shown) in &outcome.left_cordoned {
        for line in shown {
            println!("  {node} {line}");
        }
    }
    println!(
        "after the seal   {} reboots took pods along, or a node that was uncordoned after it",
        outcome.after_seal.len()
    );
    println!("blind reboots    {}", outcome.blind.len());
    for why in &outcome.blind {
        println!("  {why}");
    }
}
