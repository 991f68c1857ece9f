//! Hostile clients at speed: they write to held Nodes for whole cycles of reboots, while the webhook answers, or is killed half of the time.
//!
//! Not here: deleting Nodes, which passes by default because autoscalers do it (`tests/invariants/never_in_the_way.rs`), and programs that
//! people really run ([`crate::adversaries`]).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use futures_util::future::try_join_all;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::control_plane::{ControlPlane, Options as PlaneOptions};
use crate::follow::{Change, follow};
use crate::identity::Identity;
use crate::install::{install, manifests};
use crate::machine::Machine;
use crate::webhook::{self, Mode, Protection, Webhook};
use crate::{NAMESPACE, workload};

mod attack;
mod history;

use attack::Answer;
pub use attack::Attack;
use history::History;

/// What is played.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many reboots each node has.
    pub cycles: usize,
    /// Writes a second that all clients aim at.
    pub rate: u32,
    /// Whether the webhook is killed half of the time. Its configuration then lets writes pass that it cannot be asked about.
    pub is_killed: bool,
    /// Longest run.
    pub bound: Duration,
}

/// What was counted.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Outcome {
    /// Writes to held Nodes.
    pub attempts: u64,
    /// Those that the webhook denied.
    pub denied: u64,
    /// Those that came when the Node had changed already.
    pub late: u64,
    /// Those that the API server refused because it could not ask the webhook.
    pub unanswered: u64,
    /// Those that are on the Node, by what they were, while the webhook answered.
    pub passed: BTreeMap<String, u64>,
    /// Those that are on the Node while the webhook was dead, or while it was being killed or started.
    pub passed_without_webhook: u64,
    /// Other answers, and how many.
    pub failed: BTreeMap<String, u64>,
    pub reboots: usize,
    /// Reboots that took pods with them, or a schedulable node, because of what was written after the seal, when nothing can stop the host.
    pub after_seal: Vec<String>,
    /// Why reboots were blind.
    pub blind: Vec<String>,
    /// The nodes that nobody holds any more and that are cordoned, and what each showed since it was schedulable.
    pub left_cordoned: BTreeMap<String, Vec<String>>,
    pub kills: u32,
    /// How long the clients were at work.
    pub attacked_seconds: f64,
}

const NODES: [&str; 3] = ["hostile-0", "hostile-1", "hostile-2"];
const CLIENTS: u32 = 16;
/// How long the webhook lives, and how long it is dead.
const HALF: Duration = Duration::from_secs(12);
const PODS: u32 = 12;
const REBOOT_BOUND: Duration = Duration::from_mins(5);
const REST_BOUND: Duration = Duration::from_mins(2);

/// What all tasks share.
#[derive(Default)]
struct Stage {
    /// The Nodes as last seen.
    nodes: Mutex<BTreeMap<String, Arc<Value>>>,
    history: Mutex<History>,
    outcome: Mutex<Outcome>,
    /// How many writes were begun.
    turn: AtomicUsize,
    /// How many times the webhook was killed or was ready again; odd while it is dead.
    epoch: AtomicU32,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Plays it, and tells `tell` about each reboot.
pub async fn play(options: Options, tell: impl Fn(&Outcome)) -> Result<Outcome> {
    let plane = ControlPlane::start(PlaneOptions { nodes: 0 }).await?;
    let rendered = install(&plane, &manifests("base")).await?;
    for node in NODES {
        plane.add_node(node).await?;
    }
    let mut webhook = Webhook::start(&plane, Mode::Enforce, Protection::OwnHolds).await?;
    webhook.register(&plane, &rendered, NODES[0]).await?;
    if options.is_killed {
        webhook::pass_when_dead(&plane.client()).await?;
    }
    workload::deploy(&plane.client(), "work", PODS).await?;
    let stage = Arc::new(Stage::default());
    let _watches = watches(&plane.client(), &stage);
    let machines = try_join_all(NODES.map(|node| machine(&plane, node))).await?;
    let began = Instant::now();
    let mut clients = clients(&plane, &stage, options.rate).await?;

    let rebooting = try_join_all(
        machines
            .iter()
            .map(|machine| reboot(machine, options.cycles, &stage, &tell)),
    );
    tokio::select! {
        rebooted = tokio::time::timeout(options.bound, rebooting) => {
            drop(rebooted.with_context(|| format!("{} cycles took longer than {:?}", options.cycles, options.bound))??);
        }
        killed = kill(&mut webhook, &stage), if options.is_killed => match killed? {},
    }
    let attacked_seconds = began.elapsed().as_secs_f64();
    clients.shutdown().await;
    if options.is_killed {
        webhook.kill();
        webhook.start_again().await?;
    }
    let left = at_rest(&plane.client(), &machines).await?;
    let mut outcome = locked(&stage.outcome).clone();
    outcome.attacked_seconds = attacked_seconds;
    let history = locked(&stage.history);
    outcome.left_cordoned = left
        .iter()
        .map(|node| (node.clone(), history.since_schedulable(node)))
        .collect();
    for machine in &machines {
        let reboots = machine.reboots();
        outcome.reboots += reboots.len();
        let mut before = None;
        for reboot in &reboots {
            let why = history.blindness(machine.node(), reboot, before);
            outcome.blind.extend(why);
            before = Some(reboot.boot_id.as_str());
            if !reboot.unschedulable || !reboot.pods.is_empty() {
                outcome.after_seal.push(format!("{} {reboot:?}", machine.node()));
            }
        }
    }
    Ok(outcome)
}

/// Follows Nodes and pods.
fn watches(client: &Client, stage: &Arc<Stage>) -> JoinSet<Result<()>> {
    let mut tasks = JoinSet::new();
    let (nodes, pods): (Api<Node>, Api<Pod>) =
        (Api::all(client.clone()), Api::default_namespaced(client.clone()));
    let (of_nodes, of_pods) = (Arc::clone(stage), Arc::clone(stage));
    drop(tasks.spawn(async move {
        follow(nodes, move |change: Change<Node>| {
            locked(&of_nodes.history).node_changed(&change);
            if let Change::Updated(node) = change {
                let name = node.name_any();
                if let Ok(value) = serde_json::to_value(node) {
                    drop(locked(&of_nodes.nodes).insert(name, Arc::new(value)));
                }
            }
        })
        .await;
        Ok(())
    }));
    drop(tasks.spawn(async move {
        follow(pods, move |change| locked(&of_pods.history).pod_changed(&change)).await;
        Ok(())
    }));
    tasks
}

/// Starts the clients, which may update and patch every Node.
async fn clients(plane: &ControlPlane, stage: &Arc<Stage>, rate: u32) -> Result<JoinSet<Result<()>>> {
    let client = plane.client_from(&plane.kubeconfig(Identity::Controller)).await?;
    let every = Duration::from_secs(1) * CLIENTS / rate.max(1);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        drop(clients.spawn(attack_for_ever(client.clone(), Arc::clone(stage), every)));
    }
    Ok(clients)
}

async fn attack_for_ever(client: Client, stage: Arc<Stage>, every: Duration) -> Result<()> {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let _ = ticks.tick().await;
        let turn = stage.turn.fetch_add(1, Ordering::SeqCst);
        let attack = Attack::nth(turn);
        let Some(node) = stage.target(attack, turn) else {
            continue;
        };
        let epoch = stage.epoch.load(Ordering::SeqCst);
        let answer = attack.send(&client, &node).await?;
        let answers = epoch.is_multiple_of(2) && stage.epoch.load(Ordering::SeqCst) == epoch;
        locked(&stage.outcome).count(attack, answer, answers);
    }
}

impl Stage {
    /// A held Node that the attack would change.
    fn target(&self, attack: Attack, turn: usize) -> Option<Arc<Value>> {
        let nodes = locked(&self.nodes);
        let held: Vec<_> = nodes
            .values()
            .filter(|node| is_held(node) && attack.changes(node))
            .collect();
        let place = (turn / Attack::ALL.len()).checked_rem(held.len())?;
        held.get(place).map(|node| Arc::clone(node))
    }
}

/// Whether an agent holds the node, by its phase.
fn is_held(node: &Value) -> bool {
    let phase = node["metadata"]["labels"][keys::PHASE].as_str();
    phase.is_some_and(|phase| phase != Phase::Wanted.to_string())
}

impl Outcome {
    /// Whether writes were denied, none passed while the webhook answered, and no reboot was blind; and if the webhook was never killed,
    /// whether it always answered, and every cordon was given back.
    pub fn holds(&self) -> bool {
        let always = self.kills > 0
            || self.unanswered == 0 && self.after_seal.is_empty() && self.left_cordoned.is_empty();
        let none = self.passed.is_empty() && self.blind.is_empty() && self.failed.is_empty();
        none && always && self.denied > 0 && self.reboots > 0
    }

    fn count(&mut self, attack: Attack, answer: Answer, answers: bool) {
        self.attempts += 1;
        match answer {
            Answer::Denied => self.denied += 1,
            Answer::Late => self.late += 1,
            Answer::Unanswered => self.unanswered += 1,
            Answer::Passed if answers => *self.passed.entry(format!("{attack:?}")).or_default() += 1,
            Answer::Passed => self.passed_without_webhook += 1,
            Answer::Failed(why) => *self.failed.entry(why).or_default() += 1,
        }
    }
}

/// A machine with an agent that reboots whenever it may.
async fn machine(plane: &ControlPlane, node: &str) -> Result<Machine> {
    let mut machine = Machine::new(plane, node).await?;
    let arguments = [
        "--concurrency=3",
        "--log-format=json",
        "--period=1s",
        "--reboot-delay=1s",
        "--redrains=50",
        "--backoff=1s",
    ];
    machine.start_agent(&arguments.map(str::to_owned)).await?;
    Ok(machine)
}

/// Asks for one reboot after the other.
async fn reboot(machine: &Machine, cycles: usize, stage: &Stage, tell: &impl Fn(&Outcome)) -> Result<()> {
    for n in 1..=cycles {
        machine.request_reboot()?;
        drop(machine.wait_for_reboot(n, REBOOT_BOUND).await?);
        let what = format!("{} to be given back", machine.node());
        machine
            .wait_until(&what, REBOOT_BOUND, || async {
                let nodes = locked(&stage.nodes);
                let node = nodes.get(machine.node());
                Ok(node.filter(|node| !is_held(node)).map(drop))
            })
            .await?;
        let mut now = locked(&stage.outcome).clone();
        now.reboots = n;
        tell(&now);
    }
    Ok(())
}

/// Kills the webhook and starts it again, for ever. It is dead first, so that a short run has that too.
async fn kill(webhook: &mut Webhook, stage: &Stage) -> Result<Infallible> {
    loop {
        let _ = stage.epoch.fetch_add(1, Ordering::SeqCst);
        webhook.kill();
        locked(&stage.outcome).kills += 1;
        tokio::time::sleep(HALF).await;
        webhook.start_again().await?;
        let _ = stage.epoch.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(HALF).await;
    }
}

/// Waits until no node has marks, and the lock is free. Returns the nodes that are cordoned then.
async fn at_rest(client: &Client, machines: &[Machine]) -> Result<Vec<String>> {
    let nodes: Api<Node> = Api::all(client.clone());
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let mut left = Vec::new();
    for machine in machines {
        let name = machine.node();
        let what = format!("{name} to be without marks, and not in the lock");
        let rest = machine.wait_until(&what, REST_BOUND, || async {
            let node = nodes.get(name).await?;
            let listed = leases.list(&ListParams::default()).await?;
            let names_it = |text: &String| text.contains(&format!("\"{name}\""));
            let in_lock = listed
                .iter()
                .any(|lease| lease.annotations().values().any(names_it));
            let is_marked = node.labels().contains_key(keys::PHASE);
            Ok((!is_marked && !in_lock).then_some(node))
        });
        let node = rest.await?;
        if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
            left.push(name.to_owned());
        }
        ensure!(
            machine.agent_id().await.is_some(),
            "the agent of {name} has ended"
        );
    }
    Ok(left)
}
