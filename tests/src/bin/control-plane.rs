//! `cargo control-plane`: starts a cluster to try Cordonhold on, prints what to type there, and runs until Ctrl-C.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use cordonhold_rt::exit;
use cordonhold_rt::shutdown::Signals;
use cordonhold_tests::NAMESPACE;
use cordonhold_tests::assets::{self, Assets};
use cordonhold_tests::cluster::{Cluster, values};
use cordonhold_tests::helm::{Helm, Release};
use cordonhold_tests::identity::Identity;
use cordonhold_tests::install::manifests;
use cordonhold_tests::machine::hosts_directory;
use cordonhold_tests::programs::{self, Program};
use cordonhold_tests::workload;

const EXAMPLES: &str = "\
Nothing of ours is installed. docs/start-here.md leads through an install, a reboot and a denied uncordon.
When all of it runs, it prints lines for your shell on standard output, then READY, and runs until Ctrl-C or SIGTERM:

  KUBECONFIG  a cluster-admin
  CONTROLLER  a kubeconfig of an ordinary controller that may update and patch nodes
  VALUES      values for the chart: the images that this cluster has
  HOSTS       has a directory for each node; the file HOSTS/node-0/run/reboot-required makes node-0 want a reboot
  LOGS        has a log of each pod of ours, NAMESPACE_POD.log
  PATH        has kubectl and helm

Pods with the label app.kubernetes.io/part-of=cordonhold really run, in any namespace; all others only look as if they did.

Examples:

  cargo control-plane                                          three nodes
  cargo control-plane --install --pods 30                      also a release of the chart, and pods to drain
  cargo control-plane --install -- --set webhook.mode=enforce  arguments after -- go to helm install

The first start builds Kubernetes and helm from source, which takes minutes and needs Go. It uses etcd, Kubernetes and KWOK of PATH instead \
if a package manager installed them and they are new enough; it says so, or why not. KUBEBUILDER_ASSETS names a directory with binaries instead.";

#[derive(Parser)]
#[command(name = "cargo control-plane", about = "A real Kubernetes control plane with fake nodes, on which Cordonhold's own pods really run", after_help = EXAMPLES)]
struct ControlPlaneArgs {
    /// Number of nodes, named node-0 and so on
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    nodes: u16,
    /// Number of pods that the scheduler spreads over the nodes
    #[arg(long, value_name = "N", default_value_t = 0)]
    pods: u32,
    /// Install the chart of this repository, as `helm install` does
    #[arg(long)]
    install: bool,
    /// More arguments for helm install
    #[arg(last = true, value_name = "HELM ARGUMENTS", requires = "install")]
    helm_arguments: Vec<String>,
}

fn main() -> ExitCode {
    let args: ControlPlaneArgs = match exit::parse_args("control-plane") {
        Ok(args) => args,
        Err(code) => return code,
    };
    exit::code("control-plane", run(&args))
}

fn run(args: &ControlPlaneArgs) -> Result<()> {
    // Before we catch signals, so that Ctrl-C ends a build as it ends any program.
    for line in Assets::take_installed()? {
        eprintln!("control-plane: {line}");
    }
    drop(Assets::find()?);
    let helm = assets::helm()?;
    drop(programs::build_all(&[
        Program::Leash,
        Program::Webhook,
        Program::Agent,
    ])?);
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let started = tokio::select! {
            started = start(args, &helm) => started?,
            name = signals.next() => {
                eprintln!("control-plane: stopped by {name} before READY");
                return Ok(());
            }
        };
        print!("{}", announcement(&started)?);
        let name = signals.next().await;
        eprintln!("{name}: stopping the cluster");
        drop(started);
        Ok(())
    })
}

/// What is announced.
struct Started {
    values: PathBuf,
    programs: PathBuf,
    cluster: Cluster,
}

async fn start(args: &ControlPlaneArgs, helm: &Path) -> Result<Started> {
    eprintln!("starting etcd, kube-apiserver, kube-controller-manager, kube-scheduler and KWOK");
    let cluster = Cluster::start(usize::from(args.nodes)).await?;
    if args.pods > 0 {
        eprintln!("starting {} pods", args.pods);
        workload::deploy(&cluster.plane.client(), "filler", args.pods).await?;
    }
    if args.install {
        eprintln!("installing the chart");
        let release = Release {
            chart: &manifests("chart"),
            name: "cordonhold",
            namespace: NAMESPACE,
            values: &values().to_string(),
        };
        let more = args.helm_arguments.iter().map(String::as_str);
        let arguments: Vec<&str> = std::iter::once("--wait").chain(more).collect();
        eprintln!(
            "{}",
            Helm::new()?
                .install(&cluster.admin(), &release, &arguments)
                .await?
        );
    }
    Ok(Started {
        values: cluster.write_values()?,
        programs: cluster.programs(helm)?,
        cluster,
    })
}

/// Lines that a shell takes, and READY.
fn announcement(started: &Started) -> Result<String> {
    let plane = &started.cluster.plane;
    let mut lines = Vec::new();
    for (name, path) in [
        ("KUBECONFIG", &started.cluster.admin()),
        ("CONTROLLER", &plane.kubeconfig(Identity::Controller)),
        ("VALUES", &started.values),
        ("HOSTS", &hosts_directory(plane)),
        ("LOGS", &plane.directory().join("logs")),
    ] {
        lines.push(format!("export {name}={}", quoted(path)?));
    }
    lines.push(format!("export PATH={}:\"$PATH\"", quoted(&started.programs)?));
    lines.push("READY\n".to_owned());
    Ok(lines.join("\n"))
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> Result<String> {
    let text = path
        .to_str()
        .with_context(|| format!("{} is no text: set TMPDIR to another directory", path.display()))?;
    Ok(shlex::try_quote(text)
        .with_context(|| format!("failed to quote {text}"))?
        .into_owned())
}
