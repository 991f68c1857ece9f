//! `cargo abuse`: abuses the port of a real webhook while a real API server asks it, and prints what that cost.
//!
//! Not here: how it is played, see `cordonhold_tests::abuse`.

use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use cordonhold_rt::exit;
use cordonhold_tests::abuse::{self, Options};

const ABOUT: &str = "\
Connections say nothing, half a TLS handshake or noise, send heads and bodies byte by byte, too much, or of a wrong length, ask fifty times at
once, or are reset; all from the address of the API server itself. Meanwhile two clients uncordon a held node again and again.

Exit code: 0 if the webhook denied each of these uncordons within 1 s, stayed below 64 MiB and closed each connection; 1 if not; 2 for a wrong
command line.";

/// Abuse the webhook's port while the API server asks it
#[derive(Parser)]
#[command(name = "cargo abuse", after_help = ABOUT)]
struct AbuseArgs {
    /// Connections in all
    #[arg(long, value_name = "N", default_value_t = Options::default().attempts)]
    attempts: usize,
    /// Connections at once. The webhook has at most 1,024 open
    #[arg(long, value_name = "N", default_value_t = Options::default().at_once)]
    at_once: usize,
    /// Connections a second, at most
    #[arg(long, value_name = "N", default_value_t = Options::default().rate)]
    rate: u32,
    /// Print one object of JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args: AbuseArgs = match exit::parse_args("abuse") {
        Ok(args) => args,
        Err(code) => return code,
    };
    let result = tokio::runtime::Runtime::new()
        .context("failed to start the runtime")
        .and_then(|runtime| runtime.block_on(run(&args)));
    exit::code("abuse", result)
}

async fn run(args: &AbuseArgs) -> Result<()> {
    let outcome = abuse::play(Options {
        attempts: args.attempts,
        at_once: args.at_once,
        rate: args.rate,
    })
    .await?;
    if args.json {
        println!("{}", serde_json::to_string(&outcome)?);
    } else {
        println!("{outcome}");
    }
    ensure!(outcome.holds(), "the webhook did not hold out");
    Ok(())
}
