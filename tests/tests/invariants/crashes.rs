//! CORDON-GIVEN-BACK and NOTHING-STUCK: the agent, the machine or the API server dies at each phase, and everything ends as in an
//! undisturbed run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_shared::node::{NodeView, Taint};
use cordonhold_tests::control_plane::ControlPlane;
use cordonhold_tests::host::RebootCommand;
use cordonhold_tests::wait;
use futures_util::future::try_join_all;
use serde_json::json;

use crate::admission_policy::{self, Rule};
use crate::cluster::{alone, on_fleet};
use crate::fleet::{Site, unguarded_plane};
use crate::signs::SIGNS;
use crate::subject::cordon;
use crate::wire::{self, Write};

/// A moment in an agent's cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// The node has its entry in the lock, and is not cordoned yet.
    Wanted,
    Draining,
    Delaying,
    Sealed,
    Returning,
    ReleaseDelay,
}

/// What dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    Agent,
    Machine,
}

/// A node that has reached a moment of its cycle, and whether an admin had cordoned it before.
struct Case {
    site: Site,
    moment: Moment,
    was_cordoned: bool,
}

/// How long each moment lasts: long enough to be seen on a busy machine.
const STEP: &str = "10s";
const RELEASE_DELAY_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest time until a policy applies. It usually takes a second or two.
const POLICY_TIMEOUT: Duration = Duration::from_mins(1);

impl Moment {
    const ALL: [Moment; 6] = [
        Moment::Wanted,
        Moment::Draining,
        Moment::Delaying,
        Moment::Sealed,
        Moment::Returning,
        Moment::ReleaseDelay,
    ];

    fn name(self) -> &'static str {
        match self {
            Moment::Wanted => "wanted",
            Moment::Draining => "draining",
            Moment::Delaying => "delaying",
            Moment::Sealed => "sealed",
            Moment::Returning => "returning",
            Moment::ReleaseDelay => "release-delay",
        }
    }

    fn flag(self) -> Option<String> {
        let flag = match self {
            Moment::Wanted | Moment::Draining => return None,
            // The next process waits until `--reboot-timeout` is over, because the reboot may still come.
            Moment::Sealed => "--reboot-timeout",
            Moment::Delaying => "--reboot-delay",
            Moment::Returning => "--soak",
            Moment::ReleaseDelay => "--lock-release-delay",
        };
        Some(format!("{flag}={STEP}"))
    }

    async fn add_node(self, plane: &ControlPlane, prefix: &str) -> Result<()> {
        plane.add_node(&format!("{prefix}-{}", self.name())).await
    }

    /// Brings a node to this moment, where it stays for a while.
    async fn reach(self, plane: &ControlPlane, prefix: &str, was_cordoned: bool) -> Result<Case> {
        let name = format!("{prefix}-{}", self.name());
        let mut site = Site::without_agent(plane, &name).await?;
        if was_cordoned {
            drop(site.write(&cordon()).await?);
        }
        match self {
            Moment::Wanted => refuse_cordon(plane, &name).await?,
            Moment::Draining => site.add_blocked_pod(&name).await?,
            Moment::Sealed => site.machine.set_reboot_command(RebootCommand::DoesNothing)?,
            _ => {}
        }
        let flag = self.flag();
        let arguments: Vec<&str> = SIGNS.into_iter().chain(flag.as_deref()).collect();
        site.start_agent(&arguments).await?;
        site.machine.request_reboot()?;
        match self {
            Moment::Wanted => wait_refused(&site, was_cordoned).await?,
            Moment::Draining => drop(site.wait_phase(Phase::Draining).await?),
            Moment::Delaying => drop(site.wait_phase(Phase::Delaying).await?),
            Moment::Sealed => drop(site.wait_phase(Phase::Sealed).await?),
            Moment::Returning => drop(site.wait_phase(Phase::Returning).await?),
            Moment::ReleaseDelay => wait_release_delay(&site).await?,
        }
        Ok(Case {
            site,
            moment: self,
            was_cordoned,
        })
    }
}

/// Creates a policy that forbids the cordon for a reboot on this node, and waits until it applies.
async fn refuse_cordon(plane: &ControlPlane, name: &str) -> Result<()> {
    let phase = format!("object.metadata.?labels[?'{}']", keys::PHASE);
    let rule = Rule {
        operation: "UPDATE",
        resource: "nodes",
        expression: &format!(
            "request.name != '{name}' || {phase}.orValue('') != '{}'",
            Phase::Draining
        ),
        message: &format!("{name} is not to be drained"),
    };
    admission_policy::create(&plane.client(), name, &rule).await?;
    let draining = json!({ "metadata": { "labels": { keys::PHASE: Phase::Draining.as_str() } } });
    let target = format!("{name}?dryRun=All");
    wait::until(&format!("the policy {name}"), POLICY_TIMEOUT, || async {
        let answer = wire::write(&plane.client(), &target, Write::Merge, &draining).await?;
        Ok((answer.code == 403).then_some(()))
    })
    .await
}

/// Waits until the agent's cordon was refused, so that it has a wish and an entry in the lock.
async fn wait_refused(site: &Site, was_cordoned: bool) -> Result<()> {
    site.wait_logged("is not to be drained").await?;
    let node = site.wait_phase(Phase::Wanted).await?;
    ensure!(
        site.is_in_lock().await? && node.spec.unschedulable == was_cordoned,
        "{node:?}"
    );
    Ok(())
}

async fn wait_release_delay(site: &Site) -> Result<()> {
    let what = format!("{} to be in its release delay", site.name());
    wait::until(&what, RELEASE_DELAY_TIMEOUT, || async {
        let node = site.view().await?;
        Ok(node.annotation(keys::RELEASE_AT).map(drop))
    })
    .await?;
    ensure!(
        site.is_in_lock().await?,
        "{} has left the lock already",
        site.name()
    );
    Ok(())
}

impl Case {
    /// Removes what blocks the reboot.
    async fn goes_on(&self, plane: &ControlPlane) -> Result<()> {
        match self.moment {
            Moment::Wanted => admission_policy::remove(&plane.client(), self.site.name()).await,
            Moment::Draining => self.site.unblock_pod(self.site.name()).await,
            Moment::Sealed => self.site.machine.set_reboot_command(RebootCommand::Reboots),
            _ => Ok(()),
        }
    }

    /// Checks that the machine has rebooted `boots` times and that the Node is as an undisturbed run leaves it.
    async fn ends_like(&self, undisturbed: &Shape, boots: usize) -> Result<()> {
        let name = self.site.name();
        let node = self.site.wait_over().await?;
        let shape = Shape::of(&node);
        ensure!(shape == *undisturbed, "{name}: {shape:?} and not {undisturbed:?}");
        self.is_as_it_was(&node, boots).await
    }

    /// Checks that the power cut was the only reboot, and that the Node shows no trace of a drain or a return.
    async fn is_called_off(&self) -> Result<()> {
        let node = self.site.wait_over().await?;
        let shape = Shape::of(&node);
        ensure!(
            shape.annotations.contains(keys::KURED_MOST_RECENT_REBOOT_NEEDED)
                && !shape.annotations.contains(keys::KURED_REBOOT_IN_PROGRESS)
                && !shape.annotations.contains(keys::REPLACED)
                && !shape.labels.contains_key("kured")
                && shape.taints.is_empty(),
            "{shape:?}"
        );
        self.is_as_it_was(&node, 1).await
    }

    async fn is_as_it_was(&self, node: &NodeView, boots: usize) -> Result<()> {
        ensure!(
            node.spec.unschedulable == self.was_cordoned,
            "{} is cordoned: {}",
            self.site.name(),
            node.spec.unschedulable
        );
        let reboots = self.site.machine.reboots();
        ensure!(reboots.len() == boots, "{}: {reboots:?}", self.site.name());
        self.site.machine.check_agent().await
    }
}

/// Everything that a run may leave on a Node, except the cordon and values that differ from run to run.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    labels: BTreeMap<String, String>,
    annotations: BTreeSet<String>,
    taints: Vec<Taint>,
}

impl Shape {
    fn of(node: &NodeView) -> Self {
        let mut labels = node.metadata.labels.clone();
        drop(labels.remove("kubernetes.io/hostname"));
        // The node controller sets these by itself, for the cordon and for a node that is not Ready.
        let is_of_cluster = |taint: &&Taint| taint.key.starts_with("node.kubernetes.io/");
        Self {
            labels,
            annotations: node.metadata.annotations.keys().cloned().collect(),
            taints: node
                .spec
                .taints
                .iter()
                .filter(|taint| !is_of_cluster(taint))
                .cloned()
                .collect(),
        }
    }
}

/// What a run leaves on a Node if nothing dies.
async fn undisturbed(plane: &ControlPlane, name: &str) -> Result<Shape> {
    let site = Site::new(plane, name, &SIGNS).await?;
    site.machine.request_reboot()?;
    drop(site.wait_clean_reboot().await?);
    let shape = Shape::of(&site.wait_over().await?);
    let left = [keys::GIVEN_BACK, keys::KURED_MOST_RECENT_REBOOT_NEEDED].map(str::to_owned);
    ensure!(shape.annotations.is_superset(&left.into()), "{shape:?}");
    ensure!(
        shape.labels.get("kured").map(String::as_str) == Some("done") && shape.taints.is_empty(),
        "{shape:?}"
    );
    ensure!(
        ![
            keys::REPLACED,
            keys::SCALE_DOWN_DISABLED,
            keys::DO_NOT_DISRUPT,
            keys::KURED_REBOOT_IN_PROGRESS
        ]
        .iter()
        .any(|key| shape.annotations.contains(*key)),
        "{shape:?}"
    );
    Ok(shape)
}

async fn at_each_moment(plane: &ControlPlane, prefix: &str, death: Death) -> Result<()> {
    let undisturbed = undisturbed(plane, &format!("{prefix}-undisturbed")).await?;
    let cases = Moment::ALL.into_iter().enumerate().map(async |(index, moment)| {
        moment.add_node(plane, prefix).await?;
        let case = moment.reach(plane, prefix, index % 2 == 0).await?;
        match death {
            Death::Agent => {
                case.site.machine.kill_agent().await;
                case.goes_on(plane).await?;
                case.site.machine.restart_agent().await?;
            }
            Death::Machine => {
                case.site.machine.power_cycle().await?;
                case.goes_on(plane).await?;
            }
        }
        Ok::<Case, anyhow::Error>(case)
    });
    for case in try_join_all(cases).await? {
        let ended = match (death, case.moment) {
            // The power cut empties `/run` with the sentinel in it, so the reboot is no longer wanted.
            (Death::Machine, Moment::Wanted) => case.is_called_off().await,
            // The power cut comes after the reboot, so there are two boots.
            (Death::Machine, Moment::Returning | Moment::ReleaseDelay) => {
                case.ends_like(&undisturbed, 2).await
            }
            _ => case.ends_like(&undisturbed, 1).await,
        };
        ended.with_context(|| format!("{death:?} died while {:?}", case.moment))?;
    }
    Ok(())
}

#[test]
fn an_agent_that_is_killed_at_any_moment_ends_as_if_it_had_not_been() -> Result<()> {
    on_fleet(async |plane| at_each_moment(plane, "killed", Death::Agent).await)
}

#[test]
fn a_power_cut_at_any_moment_ends_as_if_there_had_been_none() -> Result<()> {
    on_fleet(async |plane| at_each_moment(plane, "cut", Death::Machine).await)
}

/// kured gives up for ever if it cannot read the API server when it starts (its defect D8).
#[test]
fn d8_an_api_server_that_is_gone_at_any_moment_is_waited_for() -> Result<()> {
    alone(async || {
        let mut plane = unguarded_plane(1).await?;
        let undisturbed = undisturbed(&plane, "gone-undisturbed").await?;
        for (index, moment) in Moment::ALL.into_iter().enumerate() {
            moment.add_node(&plane, "gone").await?;
            let case = moment.reach(&plane, "gone", index % 2 == 0).await?;
            plane.stop_api_server();
            // At two moments the agent keeps running; at the others it is started while the API server is down.
            if !matches!(moment, Moment::Delaying | Moment::Returning) {
                case.site.machine.kill_agent().await;
                case.site.machine.restart_agent().await?;
            }
            plane.start_api_server().await?;
            case.goes_on(&plane).await?;
            // One case after the other: a machine cannot reboot while the API server is down.
            case.ends_like(&undisturbed, 1)
                .await
                .with_context(|| format!("the API server was gone while {:?}", case.moment))?;
        }
        Ok(())
    })
}
