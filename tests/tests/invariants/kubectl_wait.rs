//! `kubectl wait` for the end of a hold, by the line of `docs/good-neighbour.md`: through a whole reboot, after a cancel, on a node that was
//! never held, and while the agent is dead.
//!
//! Not here: which conditions there are (`shared/src/hold/conditions.rs`), and those that follow the cycle (`signs.rs`).

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_tests::control_plane::{ControlPlane, Options};
use cordonhold_tests::identity::Identity;
use cordonhold_tests::install::{install, manifests};
use cordonhold_tests::marks::Marks;
use jiff::SignedDuration;
use tokio::process::{Child, Command};

use crate::cluster::alone;
use crate::fleet::Site;
use crate::good_neighbour::block;
use crate::subject::annotate;

/// Longest time until a condition is written, and until kubectl sees it.
const SEEN_TIMEOUT: Duration = Duration::from_secs(30);
const FLAG: &str = "--node-conditions";
/// The agent is seen in each phase, so that nothing passes too fast for a look.
const SLOW: [&str; 3] = [FLAG, "--reboot-delay=3s", "--soak=3s"];

#[test]
fn kubectl_waits_for_the_end_of_a_hold_and_no_longer() -> Result<()> {
    alone(async || {
        let plane = ControlPlane::start(Options { nodes: 1 }).await?;
        drop(install(&plane, &manifests("overlays/node-conditions")).await?);
        let whole = async { through_a_reboot(&plane).await.context("a whole reboot") };
        let cancelled = async { after_a_cancel(&plane).await.context("a cancel") };
        let never = async { never_held(&plane).await.context("a node that was never held") };
        let dead = async { with_a_dead_agent(&plane).await.context("a dead agent") };
        tokio::try_join!(whole, cancelled, never, dead).map(drop)
    })
}

async fn through_a_reboot(plane: &ControlPlane) -> Result<()> {
    let site = held(plane, "whole").await?;
    // The second time the condition is there from the first reboot.
    for n in 1..=2 {
        let mut kubectl = waits(plane, site.name(), "60s")?;
        site.unblock_pod(site.name()).await?;
        for phase in [Phase::Delaying, Phase::Returning] {
            drop(site.wait_phase(phase).await?);
            ensure!(kubectl.try_wait()?.is_none(), "{phase}: kubectl did not wait");
        }
        ends(&mut kubectl).await?;
        ensure!(
            site.view().await?.label(keys::PHASE).is_none(),
            "kubectl was too early"
        );
        ensure!(site.machine.reboots().len() == n, "{:?}", site.machine.reboots());
        drop(site.wait_over().await?);
        if n == 1 {
            blocks_again(&site).await?;
        }
    }
    site.machine.check_agent().await
}

/// Asks for another reboot, whose drain is blocked.
async fn blocks_again(site: &Site) -> Result<()> {
    site.add_blocked_pod(site.name()).await?;
    site.machine.request_reboot()?;
    is_shown_as_held(site).await
}

async fn after_a_cancel(plane: &ControlPlane) -> Result<()> {
    let site = held(plane, "cancelled").await?;
    let mut kubectl = waits(plane, site.name(), "60s")?;
    cancel(&site).await?;
    ends(&mut kubectl).await?;
    let node = site.view().await?;
    ensure!(
        node.label(keys::PHASE).is_none() && !node.spec.unschedulable,
        "{node:?}"
    );
    ensure!(site.machine.reboots().is_empty(), "it was rebooted");
    Ok(())
}

async fn never_held(plane: &ControlPlane) -> Result<()> {
    let _site = Site::new(plane, "never", &[FLAG]).await?;
    ends(&mut waits(plane, "never", "60s")?).await
}

/// The condition stays for as long as the marks do, also when the hold has lapsed. It goes with the next agent, or by hand.
async fn with_a_dead_agent(plane: &ControlPlane) -> Result<()> {
    let site = held(plane, "dead").await?;
    site.machine.kill_agent().await;
    let marks = Marks::of(plane, site.name()).await?;
    marks.renewed_before(SignedDuration::from_mins(20)).await?;
    let kubectl = waits(plane, site.name(), "2s")?.wait_with_output().await?;
    let said = String::from_utf8_lossy(&kubectl.stderr);
    ensure!(!kubectl.status.success() && said.contains("timed out"), "{said}");

    let mut kubectl = waits(plane, site.name(), "60s")?;
    cancel(&site).await?;
    site.machine.restart_agent().await?;
    ends(&mut kubectl).await?;
    drop(site.wait_over().await?);

    site.machine.kill_agent().await;
    drop(marks.hold(Phase::Delaying).await?);
    let by_hand = |status: &str| command_by_hand(site.name()).map(|line| line.replace("False", status));
    shell(plane, &by_hand("True")?).await?;
    let mut kubectl = waits(plane, site.name(), "60s")?;
    marks.give_back().await?;
    ensure!(kubectl.try_wait()?.is_none(), "kubectl did not wait");
    shell(plane, &by_hand("False")?).await?;
    ends(&mut kubectl).await
}

/// A node with an agent and a hold whose drain is blocked by a pod of the node's name. The condition shows the hold.
async fn held(plane: &ControlPlane, name: &str) -> Result<Site> {
    let site = Site::new(plane, name, &SLOW).await?;
    site.add_blocked_pod(name).await?;
    site.machine.request_reboot()?;
    is_shown_as_held(&site).await?;
    Ok(site)
}

async fn is_shown_as_held(site: &Site) -> Result<()> {
    let what = format!("{} to be shown as held", site.name());
    let look = || async {
        let node = site.view().await?;
        let is_shown = |shown: &cordonhold_shared::node::Condition| {
            shown.kind == keys::HELD_CONDITION && shown.status == "True"
        };
        Ok(node.status.conditions.iter().any(is_shown).then_some(()))
    };
    site.machine.wait_until(&what, SEEN_TIMEOUT, look).await
}

async fn cancel(site: &Site) -> Result<()> {
    let node = site.view().await?;
    let holder = node.annotation(keys::HOLDER).context("no holder")?;
    let (_, created) = holder.split_once('/').context("no hold")?;
    let cancel = annotate(keys::CANCEL, Some(&format!("{created} not now")));
    site.write(&cancel).await.map(drop)
}

/// The line of the page, with this timeout.
fn waits(plane: &ControlPlane, node: &str, timeout: &str) -> Result<Child> {
    let line = block("sh", "kubectl wait")?.replace("--timeout=1h", &format!("--timeout={timeout}"));
    ensure!(
        line.contains(keys::HELD_CONDITION) && line.contains(timeout),
        "{line}"
    );
    let mut command = as_admin(plane, &line)?;
    let _ = command.env("NODE", node);
    command.spawn().context("failed to run sh")
}

async fn ends(kubectl: &mut Child) -> Result<()> {
    let ended = tokio::time::timeout(SEEN_TIMEOUT, kubectl.wait()).await;
    let status = ended.context("kubectl did not see the end of the hold")??;
    ensure!(status.success(), "kubectl ended with {status}");
    Ok(())
}

/// The command of `docs/operating.md` that writes the condition by hand.
fn command_by_hand(node: &str) -> Result<String> {
    let page = std::fs::read_to_string(manifests("../docs/operating.md"))
        .context("failed to read docs/operating.md")?;
    let line = page.lines().find(|line| line.contains("--subresource=status"));
    let command = line.and_then(|line| line.split('`').find(|part| part.starts_with("kubectl patch")));
    let command = command.context("docs/operating.md has no command for the condition")?;
    Ok(command.replace("NAME", node))
}

async fn shell(plane: &ControlPlane, line: &str) -> Result<()> {
    let ended = tokio::time::timeout(SEEN_TIMEOUT, as_admin(plane, line)?.status()).await;
    let status = ended.with_context(|| format!("{line} did not end"))??;
    ensure!(status.success(), "{line}: {status}");
    Ok(())
}

fn as_admin(plane: &ControlPlane, line: &str) -> Result<Command> {
    let kubectl = plane.assets().kubectl.parent().context("kubectl is nowhere")?;
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("sh");
    let _ = command
        .args(["-euc", line])
        .env("KUBECONFIG", plane.kubeconfig(Identity::Admin))
        .env("HOME", plane.directory())
        .env("PATH", format!("{}:{path}", kubectl.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    Ok(command)
}
