//! `cargo bench-drain`: measures how long `kubectl drain` and the agent take to drain a full node, in one run on one control plane.
//!
//! kubectl gets the options that kured sets in kubectl's drain library. The agent's time runs from the sentinel file to the
//! phase `delaying`, so it includes noticing the file, taking the lock and cordoning.

use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use cordonhold_rt::exit;
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_tests::control_plane::{ControlPlane, Options};
use cordonhold_tests::identity::Identity;
use cordonhold_tests::install::{install, manifests};
use cordonhold_tests::machine::Machine;
use cordonhold_tests::wait;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

/// Measure how long kubectl and the agent take to drain a full node, one after the other.
#[derive(Parser)]
#[command(name = "cargo bench-drain")]
struct BenchArgs {
    /// Number of pods on each node
    #[arg(long, value_name = "N", default_value_t = 250, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pods: u32,
    /// How often each of the two drains a new node; the median is printed
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10))]
    rounds: u32,
    /// More arguments for the agent, like --max-parallel-evictions=50
    #[arg(last = true, value_name = "AGENT ARGUMENTS")]
    agent_arguments: Vec<String>,
}

/// Longest drain. kubectl takes about 0.2 s for each pod.
const DRAIN_TIMEOUT: Duration = Duration::from_mins(10);
const PODS_TIMEOUT: Duration = Duration::from_mins(5);
/// How many pods are created in parallel.
const CREATED_AT_ONCE: usize = 20;

fn main() -> ExitCode {
    let args: BenchArgs = match exit::parse_args("bench-drain") {
        Ok(args) => args,
        Err(code) => return code,
    };
    let result = tokio::runtime::Runtime::new()
        .context("failed to start the runtime")
        .and_then(|runtime| runtime.block_on(run(&args)));
    exit::code("bench-drain", result)
}

async fn run(args: &BenchArgs) -> Result<()> {
    let plane = ControlPlane::start(Options { nodes: 1 }).await?;
    drop(install(&plane, &manifests("base")).await?);
    let (mut by_kubectl, mut by_agent) = (Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        let node = format!("kubectl-{round}");
        fill(&plane, &node, args.pods).await?;
        by_kubectl.push(kubectl_drains(&plane, &node).await?);
        let node = format!("agent-{round}");
        fill(&plane, &node, args.pods).await?;
        by_agent.push(agent_drains(&plane, &node, &args.agent_arguments).await?);
    }
    let (kubectl, agent) = (median(by_kubectl)?, median(by_agent)?);
    println!("drain of {} pods, median of {} rounds", args.pods, args.rounds);
    println!("kubectl drain     {:>7.1} s", kubectl.as_secs_f64());
    println!("cordonhold-agent  {:>7.1} s", agent.as_secs_f64());
    println!(
        "kubectl / agent   {:>7.1}",
        kubectl.as_secs_f64() / agent.as_secs_f64()
    );
    Ok(())
}

/// Adds a node with this many running pods. They have no controller, so nobody recreates them.
async fn fill(plane: &ControlPlane, node: &str, pods: u32) -> Result<()> {
    plane.add_node(node).await?;
    let api: Api<Pod> = Api::default_namespaced(plane.client());
    stream::iter(0..pods)
        .map(Ok)
        .try_for_each_concurrent(CREATED_AT_ONCE, async |number| {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": { "name": format!("{node}-{number}") },
                "spec": {
                    "nodeName": node,
                    "automountServiceAccountToken": false,
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{ "name": "pause", "image": "registry.k8s.io/pause:3.10" }],
                },
            }))?;
            let created = api.create(&PostParams::default(), &pod).await;
            created.map(drop).context("failed to create a pod")
        })
        .await?;
    wait::until(&format!("{pods} pods to run on {node}"), PODS_TIMEOUT, || async {
        let running = on_node(plane, node).await?.into_iter().filter(|pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            phase == Some("Running")
        });
        Ok((running.count() >= usize::try_from(pods)?).then_some(()))
    })
    .await
}

async fn on_node(plane: &ControlPlane, node: &str) -> Result<Vec<Pod>> {
    let api: Api<Pod> = Api::default_namespaced(plane.client());
    let params = ListParams::default().fields(&format!("spec.nodeName={node}"));
    Ok(api.list(&params).await.context("failed to list the pods")?.items)
}

async fn kubectl_drains(plane: &ControlPlane, node: &str) -> Result<Duration> {
    let mut command = plane.kubectl(Identity::Admin);
    let _ = command
        .args([
            "drain",
            node,
            "--force",
            "--ignore-daemonsets",
            "--delete-emptydir-data",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let begin = Instant::now();
    let status = tokio::time::timeout(DRAIN_TIMEOUT, command.status())
        .await
        .context("kubectl drain took too long")?
        .context("failed to run kubectl")?;
    let time = begin.elapsed();
    ensure!(status.success(), "kubectl drain failed: {status}");
    is_empty(plane, node).await?;
    Ok(time)
}

async fn agent_drains(plane: &ControlPlane, node: &str, arguments: &[String]) -> Result<Duration> {
    let mut machine = Machine::new(plane, node).await?;
    // The long delay keeps the agent from going on to the reboot.
    let mut all = vec!["--reboot-delay=1h".to_owned(), "--concurrency=500".to_owned()];
    all.extend_from_slice(arguments);
    machine.start_agent(&all).await?;
    let nodes: Api<Node> = Api::all(plane.client());
    let begin = Instant::now();
    machine.request_reboot()?;
    let what = format!("{node} to be drained");
    let look = || async {
        let node = nodes.get(node).await?;
        let phase = node.labels().get(keys::PHASE).map(String::as_str);
        Ok((phase == Some(Phase::Delaying.as_str())).then_some(()))
    };
    machine.wait_until(&what, DRAIN_TIMEOUT, look).await?;
    let time = begin.elapsed();
    machine.check_agent().await?;
    is_empty(plane, node).await?;
    Ok(time)
}

async fn is_empty(plane: &ControlPlane, node: &str) -> Result<()> {
    let left = on_node(plane, node).await?.len();
    ensure!(left == 0, "{left} pods are left on {node} after the drain");
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Result<Duration> {
    times.sort();
    times
        .get(times.len() / 2)
        .copied()
        .context("no drain was measured")
}
