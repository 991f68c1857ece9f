//! `cordonhold-load`: sends reviews to a webhook as API servers do, over TLS and kept connections, and measures the answers; and the floor beside it, a
//! server that does nothing but TLS and HTTP.
//!
//! A crate of its own, so that it is optimised while the rest of the tests is not. Not here: which servers are compared, and how the figures are
//! shown (`cordonhold_tests::figures`).

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cordonhold_rt::exit;

mod floor;
mod latency;
mod send;
mod stall;

/// Send reviews to a webhook and measure the answers, or be the floor to compare it with
#[derive(Parser)]
#[command(name = "cordonhold-load")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Send(send::SendArgs),
    Floor(floor::FloorArgs),
}

fn main() -> ExitCode {
    let args: Args = match exit::parse_args("cordonhold-load") {
        Ok(args) => args,
        Err(code) => return code,
    };
    let result = match &args.command {
        Command::Send(args) => send::run(args),
        Command::Floor(args) => floor::run(args),
    };
    exit::code("cordonhold-load", result)
}
