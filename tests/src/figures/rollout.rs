//! A rollout: many nodes want a reboot at once, and one after another is rebooted, while the others wait.
//!
//! From the release of the lock to the next node's cordon, and what all agents ask meanwhile for each rebooted node, from the API server's audit log.
//! The nodes are empty, so there are no evictions. Not here: a drain, see `drain`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use cordonhold_shared::keys;
use cordonhold_shared::lock::Record;
use futures_util::stream::{self, TryStreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, ResourceExt as _};

use super::{Figure, Goal, median};
use crate::audit;
use crate::control_plane::{ControlPlane, Options};
use crate::follow::{Change, follow};
use crate::install::{install, manifests};
use crate::machine::{Machine, machines};
use crate::{NAMESPACE, programs, wait};

/// Reboots that are not counted: at first all agents stamp their wish and watch the lock, until each has looked away once.
const FIRST: usize = 32;
/// Reboots that are counted.
const COUNTED: usize = 10;
/// How many agents are started at a time.
const STARTED_AT_ONCE: usize = 10;
/// Longest time for all reboots. One takes about 7 s, of which the machine is down for 3.
const TIMEOUT: Duration = Duration::from_mins(15);
/// The shortest delay, since nothing happens in it here.
const FLAGS: [&str; 1] = ["--reboot-delay=1s"];

/// What the objects showed: which nodes are cordoned and have the lock, and when that began or ended.
#[derive(Default)]
struct Seen {
    cordoned: BTreeSet<String>,
    holders: BTreeSet<String>,
    cordons: Vec<Timestamp>,
    releases: Vec<Timestamp>,
}

/// Rolls through pools of these many nodes.
pub async fn measure(pools: &[usize], tell: impl Fn(&str)) -> Result<Vec<Figure>> {
    let [agent] = programs::build([programs::Program::Agent])?;
    let mut figures = Vec::new();
    for &nodes in pools {
        tell(&format!("{nodes} nodes"));
        let plane = ControlPlane::start(Options { nodes }).await?;
        drop(install(&plane, &manifests("base")).await?);
        let names: Vec<String> = (0..nodes).map(|number| format!("node-{number}")).collect();
        let mut machines = machines(&plane, &names).await?;
        stream::iter(machines.iter_mut().map(Ok))
            .try_for_each_concurrent(STARTED_AT_ONCE, async |machine: &mut Machine| {
                machine.start_program(&agent, &FLAGS.map(str::to_owned)).await
            })
            .await?;
        tell(&format!("{} reboots", FIRST + COUNTED));
        let seen = rolled(&plane, &machines).await?;
        let handovers = handovers(&seen);
        let (from, to) = (seen.releases[FIRST - 1], seen.releases[FIRST + COUNTED - 1]);
        let mut asked = plane.requests_of_agents()?;
        asked.retain(|asked| asked.at > from && asked.at <= to);
        for (kind, count) in audit::kinds(&asked) {
            tell(&format!("{:.1} a reboot: {kind}", each(count)));
        }
        let of = |what: &str, value, unit, goal| {
            Figure::alone(format!("rollout-{what}-{nodes}"), value, unit, goal)
        };
        let worst = handovers.iter().copied().fold(0.0, f64::max);
        figures.push(of("handover", median(handovers), "s", Goal::None));
        figures.push(of("handover-worst", worst, "s", Goal::OursAtMost(1.0)));
        figures.push(of(
            "requests",
            each(asked.len()),
            "requests",
            Goal::OursAtMost(15.0),
        ));
    }
    Ok(figures)
}

/// Asks for a reboot of every machine, and waits until enough of them are over.
async fn rolled(plane: &ControlPlane, machines: &[Machine]) -> Result<Seen> {
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let (of_nodes, of_lock) = (Arc::clone(&seen), Arc::clone(&seen));
    let nodes = tokio::spawn(follow(Api::<Node>::all(plane.client()), move |change| {
        if let Change::Updated(node) = change {
            lock(&of_nodes).node(&node);
        }
    }));
    let leases = Api::<Lease>::namespaced(plane.client(), NAMESPACE);
    let leases = tokio::spawn(follow(leases, move |change| {
        if let Change::Updated(lease) = change {
            lock(&of_lock).lease(&lease);
        }
    }));
    for machine in machines {
        machine.request_reboot()?;
    }
    let over = || async { Ok((lock(&seen).releases.len() >= FIRST + COUNTED).then_some(())) };
    let waited = wait::until("enough nodes to be rebooted", TIMEOUT, over).await;
    nodes.abort();
    leases.abort();
    waited?;
    for machine in machines {
        machine.check_agent().await?;
    }
    let seen = std::mem::take(&mut *lock(&seen));
    ensure!(
        seen.cordons.len() >= FIRST + COUNTED,
        "fewer nodes were cordoned than released"
    );
    Ok(seen)
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seen {
    fn node(&mut self, node: &Node) {
        let spec = node.spec.as_ref();
        let is_cordoned = spec.and_then(|spec| spec.unschedulable).unwrap_or(false);
        let name = node.name_any();
        if !is_cordoned {
            let _: bool = self.cordoned.remove(&name);
        } else if self.cordoned.insert(name) {
            self.cordons.push(Timestamp::now());
        }
    }

    fn lease(&mut self, lease: &Lease) {
        let record = Record::read(lease.annotations().get(keys::LOCK).map(String::as_str));
        let entries = record.present().map(|record| record.entries).unwrap_or_default();
        let holders: BTreeSet<String> = entries.into_iter().map(|entry| entry.node).collect();
        let gone = self.holders.difference(&holders).count();
        self.releases.extend(std::iter::repeat_n(Timestamp::now(), gone));
        self.holders = holders;
    }
}

/// From each counted release to the cordon of the node that is next, in seconds.
fn handovers(seen: &Seen) -> Vec<f64> {
    let releases = seen.releases.iter().skip(FIRST - 1).take(COUNTED);
    // One node at a time: the first has no release before it.
    let next = seen.cordons.iter().skip(FIRST);
    releases
        .zip(next)
        .map(|(released, cordoned)| cordoned.duration_since(*released).as_secs_f64())
        .collect()
}

fn each(count: usize) -> f64 {
    let of = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    of(count) / of(COUNTED)
}
