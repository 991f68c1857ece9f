//! `cargo control-plane`: starts a cluster to try Cordonhold on, prints where everything is, and runs until Ctrl-C.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use cordonhold_rt::exit;
use cordonhold_rt::shutdown::Signals;
use cordonhold_tests::assets::Assets;
use cordonhold_tests::control_plane::{ControlPlane, Options};
use cordonhold_tests::identity::Identity;
use cordonhold_tests::install::{install, manifests};
use cordonhold_tests::machine::{Machine, hosts_directory, machines};
use cordonhold_tests::programs::{self, Program};
use cordonhold_tests::webhook::{Mode, Protection, Webhook};
use cordonhold_tests::workload;

const EXAMPLES: &str = "\
Prints NAME=VALUE lines on standard output, then READY, and runs until Ctrl-C or SIGTERM:

  ADMIN_KUBECONFIG       a cluster-admin
  CONTROLLER_KUBECONFIG  an ordinary controller that may update and patch nodes
  HOSTS                  has a directory for each node; with --agents, the file HOSTS/node-0/run/reboot-required
                         makes node-0 want a reboot
  WEBHOOK_LOG            the webhook's log, with a line for each decision

Examples:

  cargo control-plane                                  three nodes, and the webhook
  cargo control-plane --agents --pods 30               also agents, and pods to drain
  cargo control-plane --agents -- --reboot-delay=20s   arguments after -- go to every agent

  kubectl --kubeconfig \"$ADMIN_KUBECONFIG\" get nodes -L cordonhold.dev/phase
  touch \"$HOSTS\"/node-0/run/reboot-required
  kubectl --kubeconfig \"$CONTROLLER_KUBECONFIG\" uncordon node-0

The first start builds Kubernetes from source, which takes minutes and needs Go; KUBEBUILDER_ASSETS names a directory with binaries instead.";

#[derive(Parser)]
#[command(name = "cargo control-plane", about = "A real Kubernetes control plane with fake nodes, the webhook, and agents on request", after_help = EXAMPLES)]
struct ControlPlaneArgs {
    /// Number of nodes, named node-0 and so on
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=500))]
    nodes: u16,
    /// Number of pods that the scheduler spreads over the nodes
    #[arg(long, value_name = "N", default_value_t = 0)]
    pods: u32,
    /// Protect stock kured too: its nodes' cordons and its lock
    #[arg(long, conflicts_with = "without_webhook")]
    protect_kured: bool,
    /// Neither start nor register the webhook
    #[arg(long)]
    without_webhook: bool,
    /// Run an agent for each node
    #[arg(long)]
    agents: bool,
    /// What the webhook does with an update that it would deny; `defer` also registers the webhook that defers
    #[arg(
        long,
        value_enum,
        default_value = "enforce",
        conflicts_with = "without_webhook"
    )]
    mode: Mode,
    /// More arguments for every agent
    #[arg(last = true, value_name = "AGENT ARGUMENTS", requires = "agents")]
    agent_arguments: Vec<String>,
}

/// Everything that runs until the program ends. Stopped in this order.
struct Cluster {
    machines: Vec<Machine>,
    webhook: Option<Webhook>,
    plane: ControlPlane,
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
    drop(Assets::find()?);
    let mut needed = vec![Program::Leash];
    needed.extend((!args.without_webhook).then_some(Program::Webhook));
    needed.extend(args.agents.then_some(Program::Agent));
    drop(programs::build_all(&needed)?);
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let cluster = tokio::select! {
            cluster = start(args) => cluster?,
            name = signals.next() => {
                eprintln!("control-plane: stopped by {name} before READY");
                return Ok(());
            }
        };
        announce(&cluster);
        let name = signals.next().await;
        eprintln!("{name}: stopping the cluster");
        let Cluster {
            machines,
            webhook,
            plane,
        } = cluster;
        drop((machines, webhook));
        drop(plane);
        Ok(())
    })
}

async fn start(args: &ControlPlaneArgs) -> Result<Cluster> {
    eprintln!("starting etcd, kube-apiserver, kube-controller-manager, kube-scheduler and KWOK");
    let plane = ControlPlane::start(Options {
        nodes: usize::from(args.nodes),
    })
    .await?;
    let (directory, protection) = if args.protect_kured {
        (
            manifests("overlays/kured-beside-agents"),
            Protection::OwnHoldsAndKured,
        )
    } else {
        (manifests("base"), Protection::OwnHolds)
    };
    eprintln!("applying the manifests");
    let mut rendered = install(&plane, &directory).await?;
    rendered.add_mode(args.mode)?;
    let nodes: Vec<String> = (0..args.nodes).map(|number| format!("node-{number}")).collect();
    let mut machines = machines(&plane, &nodes).await?;
    let webhook = if args.without_webhook {
        None
    } else {
        eprintln!("starting the webhook");
        let webhook = Webhook::start(&plane, args.mode, protection).await?;
        webhook.register(&plane, &rendered, &nodes[0]).await?;
        Some(webhook)
    };
    if args.pods > 0 {
        eprintln!("starting {} pods", args.pods);
        workload::deploy(&plane.client(), "filler", args.pods).await?;
    }
    if args.agents {
        eprintln!("starting the agents");
        for machine in &mut machines {
            machine.start_agent(&args.agent_arguments).await?;
        }
        for machine in &machines {
            machine.check_agent().await?;
        }
    }
    Ok(Cluster {
        machines,
        webhook,
        plane,
    })
}

fn announce(cluster: &Cluster) {
    println!(
        "ADMIN_KUBECONFIG={}",
        cluster.plane.kubeconfig(Identity::Admin).display()
    );
    println!(
        "CONTROLLER_KUBECONFIG={}",
        cluster.plane.kubeconfig(Identity::Controller).display()
    );
    println!("HOSTS={}", hosts_directory(&cluster.plane).display());
    if let Some(webhook) = &cluster.webhook {
        println!("WEBHOOK_LOG={}", webhook.log_path().display());
    }
    println!("READY");
}
