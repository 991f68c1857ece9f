//! `cargo adversaries`: plays the programs that are known to uncordon nodes against the webhook, on a real API server.
//!
//! Not here: how one is played, see `cordonhold_tests::adversaries`.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use cordonhold_rt::exit;
use cordonhold_shared::hold::Phase;
use cordonhold_tests::adversaries::{Line, Stage, every_phase, name, page};
use cordonhold_tests::control_plane::{ControlPlane, Options};
use cordonhold_tests::install::{install, manifests};
use cordonhold_tests::webhook::{Mode, Protection, Webhook};

const ABOUT: &str = "\
Each program is a small client in Go that sends what the program sends, as whom it sends it, and with its patience after a denial. Each is played
in every phase of a hold, on a node that was schedulable before and on one that the program itself had cordoned.

Each line of the output says: the row, the phase, the mode, what the node was before, the answer to the first uncordon, what the program did then,
and whether the node is schedulable at the end.

Examples:

  cargo adversaries                            all of it, about 10 minutes on two cores
  cargo adversaries --row 5 --row 11 --json    two rows, as lines of JSON
  cargo adversaries --write                    all of it, and docs/who-uncordons.md is written anew";

#[derive(Parser)]
#[command(name = "cargo adversaries", about = "Play the programs that uncordon nodes, on a real API server", after_help = ABOUT)]
struct AdversariesArgs {
    /// Play this row only; may be repeated
    #[arg(long = "row", value_name = "ID", conflicts_with = "write")]
    rows: Vec<String>,
    /// Play this phase only: none, wanted, draining, delaying, sealed or returning; may be repeated
    #[arg(long = "phase", value_name = "PHASE", value_parser = phase, conflicts_with = "write")]
    phases: Vec<Played>,
    /// What the webhook does with an update that it would deny; may be repeated
    #[arg(long = "mode", value_enum, value_name = "MODE", default_value = "enforce")]
    modes: Vec<Mode>,
    /// How many are played at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    at_once: u16,
    /// Print lines of JSON
    #[arg(long)]
    json: bool,
    /// Write the rows, the run and docs/who-uncordons.md
    #[arg(long)]
    write: bool,
}

/// A phase to play; `None` without a hold.
#[derive(Clone, Copy, Debug)]
struct Played(Option<Phase>);

fn phase(text: &str) -> Result<Played, String> {
    let found = every_phase().into_iter().find(|phase| name(*phase) == text);
    found
        .map(Played)
        .ok_or_else(|| "it is none of none, wanted, draining, delaying, sealed, returning".to_owned())
}

fn main() -> ExitCode {
    let args: AdversariesArgs = match exit::parse_args("adversaries") {
        Ok(args) => args,
        Err(code) => return code,
    };
    let result = tokio::runtime::Runtime::new()
        .context("failed to start the runtime")
        .and_then(|runtime| runtime.block_on(run(&args)));
    exit::code("adversaries", result)
}

async fn run(args: &AdversariesArgs) -> Result<()> {
    let phases: Vec<Option<Phase>> = if args.phases.is_empty() {
        every_phase()
    } else {
        args.phases.iter().map(|played| played.0).collect()
    };
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for mode in &args.modes {
        let plane = ControlPlane::start(Options { nodes: 1 }).await?;
        let mut rendered = install(&plane, &manifests("base")).await?;
        rendered.add_mode(*mode)?;
        let webhook = Webhook::start(&plane, *mode, Protection::OwnHolds).await?;
        webhook.register(&plane, &rendered, "node-0").await?;
        let stage = Stage::new(&plane, webhook.log_path().to_owned(), *mode).await?;
        let cells = stage.cells(&args.rows, &phases)?;
        let told = |line: &Line| tell(line, args.json);
        lines.extend(stage.play_all(cells, usize::from(args.at_once), told).await?);
        rows = stage.rows().to_vec();
    }
    if args.write {
        ensure!(!lines.is_empty(), "nothing was played");
        page::write(&rows, &lines)?;
    }
    Ok(())
}

fn tell(line: &Line, as_json: bool) {
    if as_json {
        if let Ok(text) = serde_json::to_string(line) {
            println!("{text}");
        }
        return;
    }
    let ends = if line.schedulable {
        "schedulable"
    } else {
        "cordoned"
    };
    println!(
        "{:<4} {:<10} {:<8} was {:<12} {:<24} ends {ends:<12} {}",
        line.row,
        line.phase,
        line.mode,
        format!("{:?}", line.before).to_lowercase(),
        line.verdict,
        line.then
    );
}
