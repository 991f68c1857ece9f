//! Tests the harness itself: it starts, and nothing of it is left, however its parent process ends.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cordonhold_tests::control_plane::{ControlPlane, Options, is_node_ready};
use cordonhold_tests::identity::{Identity, Impersonation};
use cordonhold_tests::install::{install, manifests};
use cordonhold_tests::machine::Machine;
use cordonhold_tests::{AGENT_ACCOUNT, NAMESPACE, wait};
use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::json;

const PODS_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time until processes and directory are gone. It usually takes 0.1 s.
const GONE_TIMEOUT: Duration = Duration::from_secs(15);
const REBOOT_TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_ready_and_the_daemon_set_runs() -> Result<()> {
    let plane = ControlPlane::start(Options { nodes: 2 }).await?;
    let nodes: Api<Node> = Api::all(plane.client());
    let listed = nodes.list(&ListParams::default()).await?;
    ensure!(
        listed.items.len() == 2 && listed.iter().all(is_node_ready),
        "{:?}",
        listed.items
    );

    drop(install(&plane, &manifests("base")).await?);
    let pods: Api<Pod> = Api::namespaced(plane.client(), NAMESPACE);
    wait::until("an agent's pod to run on each node", PODS_TIMEOUT, || async {
        let listed = pods.list(&ListParams::default()).await?;
        let running = listed.iter().filter(|pod| {
            let status = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            pod.name_any().starts_with(AGENT_ACCOUNT) && status == Some("Running")
        });
        Ok((running.count() == 2).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn identities_have_their_own_rights() -> Result<()> {
    let plane = ControlPlane::start(Options { nodes: 1 }).await?;
    let cordon = Patch::Merge(json!({ "spec": { "unschedulable": true } }));
    let controller = plane.client_from(&plane.kubeconfig(Identity::Controller)).await?;
    drop(
        Api::<Node>::all(controller.clone())
            .patch("node-0", &PatchParams::default(), &cordon)
            .await?,
    );

    let pods = Api::<Pod>::default_namespaced(controller)
        .delete("nothing", &kube::api::DeleteParams::default())
        .await;
    let refused = pods.err().context("an ordinary controller deletes pods")?;
    ensure!(
        matches!(&refused, kube::Error::Api(status) if status.code == 403),
        "{refused}"
    );

    let somebody = plane
        .client_as(&Impersonation::user("somebody").on_node("node-0"))
        .await?;
    let refused = Api::<Node>::all(somebody)
        .get("node-0")
        .await
        .err()
        .context("somebody reads nodes")?;
    ensure!(refused.to_string().contains("User \"somebody\""), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reboot_takes_the_node_down_and_brings_it_back() -> Result<()> {
    let plane = ControlPlane::start(Options { nodes: 1 }).await?;
    let machine = Machine::new(&plane, "node-0").await?;
    let before = machine.host().boot_id()?;
    let nodes: Api<Node> = Api::all(plane.client());
    let version = nodes
        .get("node-0")
        .await?
        .resource_version()
        .context("a Node without a version")?;
    machine.request_reboot()?;
    let command = Command::new("/bin/sh")
        .arg(machine.host().root().join("sbin/reboot"))
        .status()?;
    ensure!(command.success(), "{command}");

    let record = machine.wait_for_reboot(1, REBOOT_TIMEOUT).await?;
    ensure!(
        record.boot_id != before && record.pods.is_empty() && !record.unschedulable,
        "{record:?}"
    );
    let node = tokio::time::timeout(REBOOT_TIMEOUT, down_and_up(&nodes, &version))
        .await
        .context("the node was not seen down and up")??;
    let shown = node
        .status
        .and_then(|status| status.node_info)
        .map(|info| info.boot_id);
    ensure!(shown.as_deref() == Some(record.boot_id.as_str()), "{shown:?}");
    ensure!(
        !machine.host().sentinel().exists(),
        "the sentinel outlived the boot"
    );
    Ok(())
}

/// Waits until the only Node has been not Ready after this version and is Ready again. A watch sees even a short time.
async fn down_and_up(nodes: &Api<Node>, version: &str) -> Result<Node> {
    let events = nodes.watch(&WatchParams::default(), version).await?;
    let mut events = std::pin::pin!(events);
    let mut was_down = false;
    while let Some(event) = events.try_next().await? {
        let WatchEvent::Modified(node) = event else {
            continue;
        };
        if was_down && is_node_ready(&node) {
            return Ok(node);
        }
        was_down |= !is_node_ready(&node);
    }
    anyhow::bail!("the watch of the Node has ended")
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stays_after_sigkill() -> Result<()> {
    nothing_stays_after(Signal::KILL).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stays_after_sigterm() -> Result<()> {
    nothing_stays_after(Signal::TERM).await
}

async fn nothing_stays_after(signal: Signal) -> Result<()> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_control-plane"))
        .args(["--nodes", "1"])
        .stdout(Stdio::piped())
        .spawn()?;
    let directory = directory_when_ready(&mut child)?;
    let processes = process_ids(&directory)?;
    ensure!(
        processes.len() >= 5 && processes.iter().all(|id| runs(*id)),
        "{processes:?}"
    );

    kill_process(Pid::from_child(&child), signal)?;
    let begun = Instant::now();
    let status = child.wait()?;
    ensure!(status.success() == (signal == Signal::TERM), "{status}");
    wait::until("processes and directory to be gone", GONE_TIMEOUT, || async {
        let left: Vec<Pid> = processes.iter().copied().filter(|id| runs(*id)).collect();
        ensure!(left.is_empty(), "still running: {left:?}");
        Ok((!directory.exists()).then_some(()))
    })
    .await?;
    eprintln!("gone {:?} after the signal", begun.elapsed());
    Ok(())
}

/// Waits for READY. Without a bound, because the program may first build the control plane; everything after that is bounded.
fn directory_when_ready(child: &mut Child) -> Result<PathBuf> {
    let stdout = child.stdout.take().context("no standard output")?;
    let mut directory = None;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        if let Some(hosts) = line.strip_prefix("export HOSTS=") {
            directory = Path::new(hosts).parent().map(Path::to_owned);
        }
        if line == "READY" {
            return directory.context("READY without HOSTS");
        }
    }
    anyhow::bail!("control-plane ended before READY")
}

fn process_ids(directory: &Path) -> Result<Vec<Pid>> {
    let list = std::fs::read_to_string(directory.join("processes"))?;
    list.lines()
        .map(|line| {
            let id = line
                .rsplit(' ')
                .next()
                .and_then(|id| id.parse().ok())
                .and_then(Pid::from_raw);
            id.with_context(|| format!("no process id in {line:?}"))
        })
        .collect()
}

fn runs(id: Pid) -> bool {
    // A zombie that its new parent has not reaped yet counts as ended.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", id.as_raw_nonzero())).unwrap_or_default();
    test_kill_process(id).is_ok() && !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
}
