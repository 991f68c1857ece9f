//! `cargo real-node`: starts a node with a real kubelet and a real container runtime, with the agent on it, prints what to type there, and runs until
//! Ctrl-C.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use cordonhold_rt::exit;
use cordonhold_rt::shutdown::Signals;
use cordonhold_tests::assets::{self, Assets, Kubernetes};
use cordonhold_tests::identity::Identity;
use cordonhold_tests::programs::{self, Program};
use cordonhold_tests::real_node::{AGENT_ARGUMENTS, BUSYBOX, Kind, RealNode};

const EXAMPLES: &str = "\
It prints lines for your shell on standard output, then READY, and runs until Ctrl-C or SIGTERM:

  KUBECONFIG  a cluster-admin
  DISK        the directory that is the machine's disk; DISK/var/log has the logs of kubelet, containerd and pods
  IMAGE       an image with busybox that the node has; it pulls none
  PATH        has kubectl

Try there:

  kubectl --namespace=cordonhold logs --follow daemonset/cordonhold-agent
  kubectl run sleeper --image=$IMAGE --command -- sleep 1000
  touch $DISK/run/reboot-required      the agent drains the node, and the machine reboots
  kubectl get nodes --watch --label-columns=cordonhold.dev/phase

It needs root, cgroup v1, and Debian's packages that README.md names. The first start builds Kubernetes from source, which takes minutes and needs Go.";

#[derive(Parser)]
#[command(name = "cargo real-node", about = "A real kubelet with a real container runtime, and the agent as its manifests ship it", after_help = EXAMPLES)]
struct RealNodeArgs {
    /// Do not install the agent
    #[arg(long)]
    bare: bool,
}

fn main() -> ExitCode {
    let args: RealNodeArgs = match exit::parse_args("real-node") {
        Ok(args) => args,
        Err(code) => return code,
    };
    exit::code("real-node", run(&args))
}

fn run(args: &RealNodeArgs) -> Result<()> {
    // Before we catch signals, so that Ctrl-C ends a build as it ends any program.
    drop(Assets::of(Kubernetes::Newest)?);
    drop(assets::kubelet()?);
    drop(programs::build_all(&[Program::Leash, Program::Agent])?);
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let node = tokio::select! {
            started = start(args) => started?,
            name = signals.next() => {
                eprintln!("real-node: stopped by {name} before READY");
                return Ok(());
            }
        };
        announce(&node)?;
        let name = signals.next().await;
        eprintln!("{name}: stopping the node");
        drop(node);
        Ok(())
    })
}

async fn start(args: &RealNodeArgs) -> Result<RealNode> {
    eprintln!("starting a control plane, and a machine with containerd and a kubelet");
    let node = RealNode::start(Kind::Busybox).await?;
    if !args.bare {
        eprintln!("installing the agent");
        node.install_agent(&[], &AGENT_ARGUMENTS).await?;
    }
    Ok(node)
}

fn announce(node: &RealNode) -> Result<()> {
    let kubectl = node.plane.assets().kubectl.parent();
    let kubectl = kubectl.context("kubectl is in no directory")?;
    println!(
        "export KUBECONFIG={}",
        node.plane.kubeconfig(Identity::Admin).display()
    );
    println!("export DISK={}", node.disk().display());
    println!("export IMAGE={BUSYBOX}");
    println!("export PATH={}:$PATH", kubectl.display());
    println!("READY");
    Ok(())
}
