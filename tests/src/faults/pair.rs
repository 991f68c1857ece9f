//! Two nodes of a pool of their own, of which one may reboot at a time: the fault happens to the agent of one, and both must reboot.
//!
//! Not here: which fault, see [`super::fault`]; who holds Nodes at the same time, see [`super::history`].

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_shared::lock::Record;
use cordonhold_shared::node::NodeView;
use futures_util::future::try_join;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use super::clock;
use super::fault::Fault;
use super::proxy::{Noted, Proxy};
use super::step::{Step, What};
use super::{Cell, POOL, Stage};
use crate::NAMESPACE;
use crate::host::RebootCommand;
use crate::machine::Machine;

/// Longest time until both nodes have rebooted and rest. Undisturbed it takes 20 s; a silent watch is given up after 80 s.
const REST_BOUND: Duration = Duration::from_mins(4);
/// Longest time until the disturbed agent has its place in the lock.
const ACQUIRE_BOUND: Duration = Duration::from_mins(2);
/// Longest time until the agent comes to the step of a fault that all agents share.
const HELD_BOUND: Duration = Duration::from_mins(2);
/// Longest time until the reboot command runs.
const COMMAND_BOUND: Duration = Duration::from_mins(1);
/// How many of the last requests a failure shows.
const SHOWN: usize = 40;

/// The nodes of one run.
pub(super) struct Pair {
    pool: String,
    client: Client,
    /// Its agent is disturbed.
    subject: Machine,
    other: Machine,
    proxy: Proxy,
    /// Of the other agent, whose requests are only forwarded.
    _forwarder: Proxy,
    cell: Option<Cell>,
    /// Whether an admin had cordoned the subject before.
    was_cordoned: bool,
}

impl Pair {
    /// Creates the nodes with a pod each, and lets their agents run. The fault happens when its step comes.
    pub(super) async fn start(stage: &Stage, cell: Option<Cell>) -> Result<Self> {
        let pool = stage.next_pool();
        let names = ["a", "b"].map(|which| format!("{pool}-{which}"));
        let was_cordoned = was_cordoned(cell);
        let (subject, other) = try_join(
            machine(stage, &names[0], &pool, was_cordoned),
            machine(stage, &names[1], &pool, false),
        )
        .await?;
        let upstreams = stage.upstreams(cell.map(|cell| cell.fault))?;
        let proxy = behind_proxy(stage, &subject, upstreams.clone()).await?;
        let forwarder = behind_proxy(stage, &other, upstreams).await?;
        let mut pair = Self {
            client: stage.plane.client(),
            pool,
            subject,
            other,
            proxy,
            _forwarder: forwarder,
            cell,
            was_cordoned,
        };
        match cell {
            Some(cell) if cell.step == Step::REBOOT => {
                pair.subject.set_reboot_command(command(cell.fault))?;
            }
            Some(cell) => pair.proxy.plan(cell),
            None => {}
        }
        if cell.is_some_and(|cell| cell.fault.is_of_clock()) {
            let environment = clock::environment(pair.proxy.clock())?;
            pair.subject.set_environment(environment).await;
        }
        let arguments = arguments(&pair.pool);
        // Before the agents run, so that the first steps are the same in each run.
        pair.subject.request_reboot()?;
        let _ = try_join(
            pair.subject.start_agent(&arguments),
            pair.other.start_agent(&arguments),
        )
        .await?;
        Ok(pair)
    }

    /// The node whose agent is disturbed.
    pub(super) fn node(&self) -> &str {
        self.subject.node()
    }

    /// Waits until its agent waits at the step of a fault that all agents share.
    pub(super) async fn wait_held(&self) -> Result<()> {
        let held = self.proxy.wait_held(HELD_BOUND).await;
        held.with_context(|| self.account())
    }

    /// Lets its agent go on.
    pub(super) fn go_on(&self) {
        self.proxy.go_on();
    }

    /// Whether the node shows a hold.
    pub(super) async fn is_held(&self) -> Result<bool> {
        let node = view(&self.client, self.node()).await?;
        Ok(node
            .label(keys::PHASE)
            .is_some_and(|phase| phase != Phase::Wanted.as_str()))
    }

    /// Waits until both nodes have rebooted and rest, and checks how. `false`: all was well, but the step of the fault never came.
    pub(super) async fn ends_well(&self, stage: &Stage) -> Result<bool> {
        let ended = self.ends(stage).await;
        ended.with_context(|| self.account())
    }

    async fn ends(&self, stage: &Stage) -> Result<bool> {
        self.proxy.wait_written(What::Acquire, ACQUIRE_BOUND).await?;
        self.other.request_reboot()?;
        if let Some(cell) = self.cell.filter(|cell| cell.step == Step::REBOOT) {
            self.disturb_reboot(cell.fault).await?;
        }
        for (machine, cordoned) in [(&self.subject, self.was_cordoned), (&self.other, false)] {
            self.rests(machine, cordoned).await?;
        }
        self.lock_is_free().await?;
        let most = stage.most_held(&self.pool);
        ensure!(most == 1, "{most} nodes of the pool were held at once");
        let has_happened = self.proxy.has_happened();
        if has_happened && self.cell.is_some_and(|cell| cell.fault == Fault::CaChanged) {
            // A run may come to rest without another request.
            self.proxy.wait_trusted(REST_BOUND).await?;
        }
        Ok(has_happened)
    }

    /// Lets the reboot command end as the fault says, and the next one work.
    async fn disturb_reboot(&self, fault: Fault) -> Result<()> {
        let host = self.subject.host();
        let what = format!("the reboot command of {}", self.subject.node());
        let runs = || async { Ok(host.is_reboot_asked().then_some(())) };
        self.subject.wait_until(&what, COMMAND_BOUND, runs).await?;
        self.subject.set_reboot_command(RebootCommand::Reboots)?;
        if fault == Fault::KilledInReboot {
            self.subject.restart_agent().await?;
            host.let_reboot_go()?;
        }
        Ok(())
    }

    /// Waits until the node has rebooted and its Node shows no hold, and checks that the reboot was the only one and not blind, and that the
    /// cordon is what it was.
    async fn rests(&self, machine: &Machine, cordoned: bool) -> Result<()> {
        let name = machine.node();
        let what = format!("{name} to have rebooted, without a hold");
        let node = machine
            .wait_until(&what, REST_BOUND, || async {
                let node = view(&self.client, name).await?;
                let rests = !machine.reboots().is_empty() && !is_marked(&node);
                Ok(rests.then_some(node))
            })
            .await?;
        let reboots = machine.reboots();
        let is_blind = reboots
            .iter()
            .any(|reboot| !reboot.pods.is_empty() || !reboot.unschedulable || !reboot.sealed);
        ensure!(!is_blind, "a blind reboot of {name}: {reboots:?}");
        ensure!(reboots.len() == 1, "{name} rebooted {} times", reboots.len());
        let is_cordoned = node.spec.unschedulable;
        ensure!(is_cordoned == cordoned, "{name} is cordoned: {is_cordoned}");
        machine.check_agent().await
    }

    async fn lock_is_free(&self) -> Result<()> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), NAMESPACE);
        let name = lease(&self.pool);
        let is_free = || async {
            let lease = leases.get(&name).await?;
            let record = lease.annotations().get(keys::LOCK).map(String::as_str);
            let entries = Record::read(record)
                .present()
                .map_or(0, |record| record.entries.len());
            Ok((entries == 0).then_some(()))
        };
        let what = format!("the lock of the pool {} to be free", self.pool);
        self.other.wait_until(&what, REST_BOUND, is_free).await
    }

    /// Every step that the agent has gone through, once.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        for Noted { step, .. } in self.proxy.noted() {
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
        steps
    }

    /// A text with the last requests of the disturbed agent.
    fn account(&self) -> String {
        let noted = self.proxy.noted();
        let skipped = noted.len().saturating_sub(SHOWN);
        let mut lines = vec![format!(
            "the last of {} requests of {}:",
            noted.len(),
            self.node()
        )];
        lines.extend(noted[skipped..].iter().map(ToString::to_string));
        lines.join("\n  ")
    }

    /// Deletes what the run has made, so that the next ones are not slowed down by it.
    pub(super) async fn remove(self) -> Result<()> {
        let (nodes, leases): (Api<Node>, Api<Lease>) = (
            Api::all(self.client.clone()),
            Api::namespaced(self.client.clone(), NAMESPACE),
        );
        let at_once = DeleteParams::default().grace_period(0);
        for machine in [&self.subject, &self.other] {
            machine.kill_agent().await;
            drop(
                nodes
                    .delete(machine.node(), &at_once)
                    .await
                    .context("failed to delete a Node")?,
            );
        }
        let deleted = leases.delete(&lease(&self.pool), &at_once).await;
        deleted.map(drop).context("failed to delete a Lease")
    }
}

/// Half of the subjects were cordoned before, and the same ones each time. None that somebody uncordons while there is no hold yet.
fn was_cordoned(cell: Option<Cell>) -> bool {
    if cell.is_some_and(|cell| cell.fault.is_of_webhook()) {
        return false;
    }
    let name = cell.map_or(String::new(), |cell| {
        format!("{}{}", cell.step, cell.fault.name())
    });
    name.bytes()
        .filter(|byte| byte.count_ones().is_multiple_of(2))
        .count()
        .is_multiple_of(2)
}

/// The command that a fault of the reboot begins with. It says that it was run.
fn command(fault: Fault) -> RebootCommand {
    match fault {
        Fault::RebootFails => RebootCommand::Fails,
        Fault::RebootDoesNothing => RebootCommand::DoesNothing,
        _ => RebootCommand::Waits,
    }
}

fn lease(pool: &str) -> String {
    format!("{}{pool}", keys::LEASE_PREFIX)
}

/// The agents' flags: every wait is short, but each step is there.
fn arguments(pool: &str) -> Vec<String> {
    let fixed = [
        "--concurrency=1",
        "--log-format=json",
        "--reboot-delay=1s",
        "--reboot-timeout=10s",
        "--lock-release-delay=1s",
        "--backoff=1s",
        "--redrains=50",
    ];
    let own = [format!("--pool={pool}"), format!("--pool-selector={POOL}={pool}")];
    fixed.map(str::to_owned).into_iter().chain(own).collect()
}

/// A proxy for the agent of this machine.
async fn behind_proxy(stage: &Stage, machine: &Machine, upstreams: Vec<Client>) -> Result<Proxy> {
    let proxy = Proxy::start(machine.again(), stage.plane.directory(), upstreams).await?;
    machine.set_endpoint(proxy.endpoint().clone()).await;
    Ok(proxy)
}

/// A node of this pool with its machine and a pod to evict.
async fn machine(stage: &Stage, name: &str, pool: &str, is_cordoned: bool) -> Result<Machine> {
    stage.plane.add_node(name).await?;
    let client = stage.plane.client();
    let nodes: Api<Node> = Api::all(client.clone());
    let change =
        json!({ "metadata": { "labels": { POOL: pool } }, "spec": { "unschedulable": is_cordoned } });
    let patched = nodes
        .patch(name, &PatchParams::default(), &Patch::Merge(change))
        .await;
    drop(patched.with_context(|| format!("failed to label the Node {name}"))?);
    let machine = Machine::new(&stage.plane, name).await?;
    let pods: Api<Pod> = Api::default_namespaced(client);
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": format!("work-{name}") },
        "spec": {
            "nodeName": name,
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "containers": [{ "name": "pause", "image": "registry.k8s.io/pause:3.10" }],
        },
    }))?;
    let created = pods.create(&PostParams::default(), &pod).await;
    drop(created.with_context(|| format!("failed to create a pod on {name}"))?);
    Ok(machine)
}

async fn view(client: &Client, name: &str) -> Result<NodeView> {
    let request = http::Request::get(format!("/api/v1/nodes/{name}")).body(Vec::new())?;
    let node = client.request(request).await;
    node.with_context(|| format!("failed to get the Node {name}"))
}

/// Whether a Node shows a wish, a hold, or an entry that is kept.
fn is_marked(node: &NodeView) -> bool {
    node.label(keys::PHASE).is_some()
        || keys::MARK_ANNOTATIONS
            .iter()
            .any(|key| node.annotation(key).is_some())
        || node.annotation(keys::RELEASE_AT).is_some()
        || node.is_tainted(keys::REBOOTING)
}
