//! `cargo demo`: shows what Cordonhold is for, and exits non-zero if an act did not show it.
//!
//! Not here: the acts themselves, see `cordonhold_tests::demo`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use cordonhold_rt::exit;
use cordonhold_rt::shutdown::Signals;
use cordonhold_tests::assets::Assets;
use cordonhold_tests::demo::{Demo, page};
use cordonhold_tests::programs::{self, Program};

const ACTS: &str = "\
A node is drained for a reboot. Before it reboots, a controller uncordons it.
Three acts on one cluster show what happens then. In each act the nodes have
pods, a Deployment grows, and a controller uncordons its node whenever it finds
it cordoned and drained:

  1  the hole          the agent behaves like kured
                       (--verify-before-reboot=never), and there is no webhook:
                       pods land on the node, and it is rebooted under them
  2  the agent alone   the agent notices each uncordon: it cordons and drains
                       again, or calls the reboot off
  3  with the webhook  every uncordon is denied: one drain, one clean reboot,
                       and the cordon is given back

The control plane is real (etcd, API server, controller manager, scheduler), and
so are the agents, the webhook and their RBAC permissions. KWOK plays the
kubelets, and each machine is a directory. Each line shows the seconds since the
start, who, and what. The demo takes about a minute and ends with a table: how
many uncordons were tried and denied, how often the node was drained, and how
many pods were on it when it went down.

Exit code: 0 if each act showed what it must; 1 if not, with a line for each
thing that was missing; 2 for a wrong command line.

Examples:

  cargo demo                  watch it
  cargo demo --html demo.html  and see it as pictures
  cargo demo | tee demo.txt   without colour; on a terminal, NO_COLOR=1 does that
  cargo demo --keep           look around afterwards with kubectl

The first start builds Kubernetes from source, which takes minutes and needs Go.
It uses etcd, Kubernetes and KWOK of PATH instead if a package manager installed
them and they are new enough; it says so, or why not. KUBEBUILDER_ASSETS names a
directory with binaries instead.";

#[derive(Parser)]
#[command(name = "cargo demo", about = "Show what Cordonhold is for, on a real Kubernetes control plane", after_help = ACTS)]
struct DemoArgs {
    /// Leave the cluster up at the end, until Ctrl-C, and print its kubeconfig
    #[arg(long)]
    keep: bool,
    /// Write what happened as a page with pictures
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write what happened as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
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
    // Before we catch signals, so that Ctrl-C ends a build as it ends any program.
    for line in Assets::take_installed()? {
        eprintln!("demo: {line}");
    }
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
                eprintln!("demo: stopped by {name} before it was over");
                return Ok(ExitCode::FAILURE);
            }
        };
        let missing = demo.missing();
        for line in &missing {
            eprintln!("demo: failed: {line}");
        }
        write(args, &demo)?;
        if args.keep {
            println!("\nKUBECONFIG={}", demo.kubeconfig().display());
            println!("The cluster and the webhook run until Ctrl-C; the agents ended with their acts.");
            let name = signals.next().await;
            eprintln!("{name}: stopping the cluster");
        }
        Ok(if missing.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    })
}

fn write(args: &DemoArgs, demo: &Demo) -> Result<()> {
    let scenes = demo.scenes();
    let as_json = serde_json::to_string_pretty(&scenes).context("failed to write the demo as JSON")? + "\n";
    for (path, text) in [(&args.html, page(&scenes)), (&args.json, as_json)] {
        if let Some(path) = path {
            std::fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))?;
            println!("\nwritten: {}", path.display());
        }
    }
    Ok(())
}
