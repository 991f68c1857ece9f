//! Faults of a real control plane, of the network and of the agent at each step of a reboot: every step with every fault that fits it.
//!
//! The first runs are undisturbed; their requests are the steps. Each further run has a fault at one step, on two new nodes with a lock of
//! their own, so runs go side by side. After it: both nodes have rebooted once and not blind, every cordon is what it was, the lock is
//! free, and no two nodes were held at once.
//! Not here: random faults at many steps (`tests/simulation`), and a host that loses power (`tests/invariants/crashes.rs`).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::future::{join_all, try_join_all};
use futures_util::stream::{StreamExt as _, iter};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use tokio::task::JoinHandle;

use crate::control_plane::{ControlPlane, ETCD_MEMBERS, ETCD_MEMBERS_MAX, Options as PlaneOptions};
use crate::follow::follow;
use crate::install::{Rendered, install, manifests, permit_leases};
use crate::webhook::{Mode, Protection, Webhook};

mod clock;
mod fault;
mod history;
mod pair;
mod proxy;
mod relay;
mod servers;
mod step;

pub use fault::Fault;
use history::History;
use pair::Pair;
use servers::Further;
pub use step::Step;

/// The label of the nodes of one run.
const POOL: &str = "example.org/faults";
/// The Node about which the webhook is asked when it is registered.
const PROBED: &str = "node-0";
/// Most runs of a fault until its step comes.
const TRIES_MAX: usize = 4;
/// How many undisturbed runs say which steps there are. A read that only one of them has depends on the speed of others.
const UNDISTURBED: usize = 2;

/// Which runs are made.
#[derive(Debug, Clone)]
pub struct Options {
    /// The seed of the sample.
    pub seed: u64,
    /// How many runs, drawn by the seed; `None`: all.
    pub sample: Option<usize>,
    /// Only faults of this name.
    pub fault: Option<String>,
    /// Only the step of this name, or if there is none, those whose name contains this.
    pub step: Option<String>,
    /// How many runs go side by side.
    pub width: usize,
}

/// A fault at a step.
#[derive(Clone, Copy, Debug)]
struct Cell {
    step: Step,
    fault: Fault,
}

/// One run with a fault.
#[derive(Debug)]
pub struct Run {
    pub fault: Fault,
    pub step: Step,
    /// Why it failed; `None` if all was well.
    pub failure: Option<String>,
    pub took: Duration,
}

/// What the runs have in common.
struct Stage {
    history: Arc<Mutex<History>>,
    watch: JoinHandle<()>,
    webhook: Webhook,
    rendered: Rendered,
    /// How many pools there were.
    pools: AtomicUsize,
    /// There once a fault needs them.
    further: Option<Further>,
    plane: ControlPlane,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Plays it, and tells `tell` about each run that has ended. Gives all steps too, in the order in which they come.
pub async fn play(options: &Options, tell: impl Fn(&Run)) -> Result<(Vec<Step>, Vec<Run>)> {
    let mut stage = Stage::start(ETCD_MEMBERS).await?;
    let steps = undisturbed(&stage).await?;
    let chosen = chosen(&steps, options);
    ensure!(!chosen.is_empty(), "no step and fault is named like that");
    let (shared, own): (Vec<Cell>, Vec<Cell>) = chosen.into_iter().partition(|cell| cell.fault.is_shared());
    let runs = iter(own).map(async |cell| {
        let run = disturbed(&stage, cell).await;
        tell(&run);
        run
    });
    let mut runs: Vec<Run> = runs.buffer_unordered(options.width.max(1)).collect().await;
    let (of_three, of_one): (Vec<Cell>, Vec<Cell>) = shared
        .into_iter()
        .partition(|cell| cell.fault.needs_three_members());
    runs.extend(stage.disturbed_in_turn(&of_one, &tell).await?);
    if !of_three.is_empty() {
        // One control plane at a time.
        drop(stage);
        let mut stage = Stage::start(ETCD_MEMBERS_MAX).await?;
        runs.extend(stage.disturbed_in_turn(&of_three, &tell).await?);
    }
    Ok((steps, runs))
}

/// Makes the undisturbed runs, and gives the steps that all of them had.
async fn undisturbed(stage: &Stage) -> Result<Vec<Step>> {
    let runs = (0..UNDISTURBED).map(async |_| {
        let pair = Pair::start(stage, None).await?;
        let _ = pair.ends_well(stage).await.context("without any fault")?;
        let steps = pair.steps();
        pair.remove().await?;
        Ok::<Vec<Step>, anyhow::Error>(steps)
    });
    let runs = try_join_all(runs).await?;
    let mut steps = runs.first().cloned().unwrap_or_default();
    steps.retain(|step| runs.iter().all(|run| run.contains(step)));
    steps.push(Step::REBOOT);
    Ok(steps)
}

/// Makes one run of a fault that happens to one agent. It is made again if its step does not come: the other agent, for one, may release an
/// entry whose time is over first.
async fn disturbed(stage: &Stage, cell: Cell) -> Run {
    let began = Instant::now();
    let played = async {
        for _ in 0..TRIES_MAX {
            let pair = Pair::start(stage, Some(cell)).await?;
            if ends_well(stage, pair).await? {
                return Ok(());
            }
        }
        bail!("in none of {TRIES_MAX} runs the step of the fault came")
    };
    Run::new(cell, played.await, began)
}

/// Judges a run, and removes what it has made. `false`: its step never came.
async fn ends_well(stage: &Stage, pair: Pair) -> Result<bool> {
    let has_happened = pair.ends_well(stage).await?;
    pair.remove().await?;
    Ok(has_happened)
}

impl Run {
    /// The command that makes this run again.
    pub fn repeat(&self) -> String {
        format!(
            "cargo faults --all --fault {} --phase '{}'",
            self.fault.name(),
            self.step
        )
    }

    fn new(cell: Cell, played: Result<()>, began: Instant) -> Self {
        Self {
            fault: cell.fault,
            step: cell.step,
            failure: played.err().map(|error| format!("{error:?}")),
            took: began.elapsed(),
        }
    }
}

/// The steps with the faults that the options choose. A sample has no more than one of the faults that all agents share, because those
/// happen one after the other.
fn chosen(steps: &[Step], options: &Options) -> Vec<Cell> {
    let is_whole_name = |name: &String| steps.iter().any(|step| step.to_string() == *name);
    let is_meant = |step: &Step, name: &String| {
        let step = step.to_string();
        step == *name || step.contains(name) && !is_whole_name(name)
    };
    let is_named = |cell: &Cell| {
        options
            .fault
            .as_ref()
            .is_none_or(|name| *name == cell.fault.name())
            && options
                .step
                .as_ref()
                .is_none_or(|name| is_meant(&cell.step, name))
    };
    let cells = steps.iter().flat_map(|step| {
        let fitting = Fault::ALL.into_iter().filter(|fault| fault.fits(*step));
        fitting.map(|fault| Cell { step: *step, fault })
    });
    let mut all: Vec<Cell> = cells.filter(is_named).collect();
    let Some(sample) = options.sample else {
        return all;
    };
    let mut random = fastrand::Rng::with_seed(options.seed);
    let mut drawn: Vec<Cell> = Vec::new();
    while drawn.len() < sample && !all.is_empty() {
        let cell = all.swap_remove(random.usize(..all.len()));
        let mut shared = drawn.iter().filter(|drawn| drawn.fault.is_shared());
        if !cell.fault.is_shared() || shared.all(|drawn| drawn.fault == cell.fault) {
            drawn.push(cell);
        }
    }
    drawn
}

impl Stage {
    /// Starts it with so many members of etcd.
    async fn start(etcd_members: usize) -> Result<Self> {
        let plane = ControlPlane::start_with_etcd(PlaneOptions { nodes: 1 }, etcd_members).await?;
        let rendered = install(&plane, &manifests("base")).await?;
        let webhook = Webhook::start(&plane, Mode::Enforce, Protection::OwnHolds).await?;
        webhook.register(&plane, &rendered, PROBED).await?;
        permit_leases(&plane.client(), &[]).await?;
        let history: Arc<Mutex<History>> = Arc::default();
        let nodes: Api<Node> = Api::all(plane.client());
        let told = Arc::clone(&history);
        let watch = tokio::spawn(follow(nodes, move |change| locked(&told).changed(&change)));
        Ok(Self {
            history,
            watch,
            webhook,
            rendered,
            pools: AtomicUsize::new(0),
            further: None,
            plane,
        })
    }

    /// Makes the runs of faults that happen to all agents at once, one fault after the other.
    async fn disturbed_in_turn(&mut self, cells: &[Cell], tell: impl Fn(&Run)) -> Result<Vec<Run>> {
        let mut runs = Vec::new();
        for fault in Fault::ALL {
            let of_fault = cells.iter().filter(|cell| cell.fault == fault);
            let of_fault: Vec<Cell> = of_fault.copied().collect();
            if of_fault.is_empty() {
                continue;
            }
            let ended = self.disturbed_together(fault, &of_fault).await;
            let ended = ended.with_context(|| fault.name())?;
            ended.iter().for_each(&tell);
            runs.extend(ended);
        }
        Ok(runs)
    }

    /// Makes the runs of a fault that happens to all agents at once.
    async fn disturbed_together(&mut self, fault: Fault, cells: &[Cell]) -> Result<Vec<Run>> {
        let began = Instant::now();
        self.prepare(fault).await?;
        let pairs = cells.iter().map(|cell| Pair::start(self, Some(*cell)));
        let pairs = try_join_all(pairs).await?;
        let held = join_all(pairs.iter().map(Pair::wait_held)).await;
        self.happens(fault, &pairs).await?;
        let stage = &*self;
        let ended = pairs.into_iter().zip(held).map(async |(pair, held)| {
            held?;
            ends_well(stage, pair).await
        });
        let ended = join_all(ended).await;
        self.is_over(fault).await?;
        let runs = cells.iter().zip(ended).map(|(cell, ended)| {
            let played = ended.and_then(|has_happened| {
                ensure!(has_happened, "the step of the fault never came");
                Ok(())
            });
            Run::new(*cell, played, began)
        });
        Ok(runs.collect())
    }

    /// A name for the pool of the next run.
    fn next_pool(&self) -> String {
        format!("f{}", self.pools.fetch_add(1, Ordering::Relaxed))
    }

    fn most_held(&self, pool: &str) -> usize {
        locked(&self.history).most_held(pool)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.watch.abort();
    }
}
