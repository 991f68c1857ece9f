//! `cargo demo`: one command that shows what Cordonhold is for, and exits non-zero if it did not.
//!
//! It is the command line only; the show is `cordonhold_tests::demo`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use cordonhold_rt::exit;
use cordonhold_rt::shutdown::Signals;
use cordonhold_tests::assets::Assets;
use cordonhold_tests::demo::Demo;
use cordonhold_tests::programs::{self, Program};

const ACTS: &str = "\
A node is drained for a reboot; the reboot waits a moment; meanwhile some
controller uncordons the node. Three acts on one cluster show what then happens,
each time with pods on the nodes, more pods on their way, and a controller that
uncordons every node that it finds cordoned and drained:

  1  the hole          the agent behaves like kured
                       (--verify-before-reboot=never), and there is no webhook:
                       pods land on the node, and it is rebooted under them
  2  the agent alone   the agent notices each uncordon: it cordons and drains
                       again, or calls the reboot off
  3  with the webhook  every uncordon is denied: one drain, one clean reboot,
                       and the cordon is given back

The control plane is real (etcd, API server, controller manager, scheduler), and
so are agents, webhook and their rights; KWOK plays the nodes, and machines are
directories. Each line is: seconds since the start, who, what. It takes about
a minute and ends with a table: how many uncordons were tried and denied,
how often the node was drained, and how many pods were on it when it went down.

Exit code: 0 if each act showed what it must, 1 if not, with a line for each
thing that was missing, 2 for a wrong command line.

Examples:

  cargo demo                  watch it
  cargo demo | tee demo.txt   without colour, as NO_COLOR=1 is on a terminal
  cargo demo --keep           look around afterwards with kubectl

The first start builds Kubernetes from source, which takes minutes and needs Go;
KUBEBUILDER_ASSETS names a directory with binaries instead.";

#[derive(Parser)]
#[command(name = "cargo demo", about = "Show what Cordonhold is for, on a real Kubernetes control plane", after_help = ACTS)]
struct DemoArgs {
    /// Leave the cluster up at the end, until Ctrl-C, and print its kubeconfig
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    let args: DemoArgs = match exit::parse_args("demo") {
        Ok(args) => args,
        Err(code) => return code,
    };
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &DemoArgs) -> Result<ExitCode> {
    // Before the signals are ours: a Ctrl-C ends a build as it would any program.
    drop(Assets::find()?);
    drop(programs::build([
        Program::Leash,
        Program::Webhook,
        Program::Agent,
    ])?);
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let demo = tokio::select! {
            demo = Demo::play() => demo?,
            name = signals.next() => {
                eprintln!("demo: {name} before the end");
                return Ok(ExitCode::FAILURE);
            }
        };
        let missing = demo.missing();
        for line in &missing {
            eprintln!("demo: this is not what it must show: {line}");
        }
        if args.keep {
            println!("\nKUBECONFIG={}", demo.kubeconfig().display());
            println!("The cluster and the webhook stay until Ctrl-C; the agents have ended with their acts.");
            let name = signals.next().await;
            eprintln!("{name}: ending the cluster");
        }
        Ok(if missing.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    })
}
