//! Watches Nodes, the pods on them and the agents' logs, and adds what happens to the timeline.
//!
//! The acts are judged by what Nodes and pods show. Lines of an agent's log are only printed, because an agent that claims to
//! have drained proves nothing. The one exception is the release of the lock, which only the log tells.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client, ResourceExt};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::watch;
use tokio::task::JoinSet;

use cordonhold_shared::history::Event;
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;

use super::timeline::{Timeline, Tone, Who};
use crate::control_plane::is_node_ready;
use crate::follow::{Change, follow};
use crate::machine::drain_evicts;

/// Pods come and go in bursts, so changes within this time share a line.
const PODS_INTERVAL: Duration = Duration::from_millis(250);
/// How often a log is read. Well below the time for which the timeline holds lines back.
const LOG_INTERVAL: Duration = Duration::from_millis(20);

/// The last known state of one node, and counts of what happened to it.
#[derive(Debug, Clone, Default)]
pub(super) struct NodeState {
    /// Whether the Node itself was seen. An entry can also exist because of pods on the node.
    pub(super) is_known: bool,
    pub(super) phase: Option<String>,
    pub(super) cordoned: bool,
    pub(super) ready: bool,
    /// How many times a drain began.
    pub(super) drains: usize,
    /// How many times a hold ended.
    pub(super) cycles: usize,
    /// How many times its agent logged that it released the lock.
    pub(super) releases: usize,
    /// How many pods on the node a drain would evict.
    pub(super) pods: usize,
}

type States = BTreeMap<String, NodeState>;

/// Watches the cluster until it is dropped.
pub(super) struct Observer {
    view: View,
    tasks: JoinSet<()>,
}

/// What the watches share.
#[derive(Clone)]
struct View {
    states: Arc<watch::Sender<States>>,
    /// The number of pods on each node that the timeline showed last.
    pods_said: Arc<Mutex<BTreeMap<String, usize>>>,
    timeline: Timeline,
}

impl Observer {
    pub(super) fn start(client: &Client, timeline: Timeline) -> Self {
        let (states, _) = watch::channel(States::new());
        let view = View {
            states: Arc::new(states),
            pods_said: Arc::default(),
            timeline,
        };
        let mut tasks = JoinSet::new();
        let (nodes, pods) = (Api::all(client.clone()), Api::default_namespaced(client.clone()));
        let (node_view, mut pods_on, burst_view) = (view.clone(), PodsOn::new(view.clone()), view.clone());
        drop(tasks.spawn(follow(nodes, move |change| node_view.node_changed(&change))));
        drop(tasks.spawn(follow(pods, move |change| pods_on.changed(change))));
        drop(tasks.spawn(async move {
            let mut ticks = tokio::time::interval(PODS_INTERVAL);
            loop {
                let _ = ticks.tick().await;
                burst_view.tell_all_pods();
            }
        }));
        Self { view, tasks }
    }

    /// Also adds the lines of this agent's log to the timeline, from its beginning.
    pub(super) fn read_log(&mut self, node: &str, log: PathBuf) {
        drop(self.tasks.spawn(self.view.clone().read_log(node.to_owned(), log)));
    }

    pub(super) fn state(&self, node: &str) -> NodeState {
        self.view.states.borrow().get(node).cloned().unwrap_or_default()
    }

    /// Waits until `is_so` holds for the node. `what` describes the condition, for the error.
    pub(super) async fn wait_for(
        &self,
        node: &str,
        what: &str,
        bound: Duration,
        mut is_so: impl FnMut(&NodeState) -> bool,
    ) -> Result<NodeState> {
        let mut states = self.view.states.subscribe();
        let reached = tokio::time::timeout(
            bound,
            states.wait_for(|states| states.get(node).is_some_and(&mut is_so)),
        );
        let states = reached
            .await
            .with_context(|| {
                format!(
                    "waited {bound:?} in vain for {node} {what}; its last state: {:?}",
                    self.state(node)
                )
            })?
            .context("the watches have ended")?;
        Ok(states[node].clone())
    }
}

impl View {
    fn node_changed(&self, change: &Change<Node>) {
        let Change::Updated(node) = change else { return };
        let name = node.name_any();
        // The lines are added inside `send_modify`, so that who waits for this change continues only after its line.
        self.states.send_modify(|states| {
            let now = states.entry(name.clone()).or_default();
            let before = now.clone();
            now.is_known = true;
            now.phase = node.labels().get(keys::PHASE).cloned();
            now.cordoned = node
                .spec
                .as_ref()
                .and_then(|spec| spec.unschedulable)
                .unwrap_or(false);
            now.ready = is_node_ready(node);
            if !before.is_known {
                return;
            }
            if before.phase != now.phase {
                now.drains += usize::from(is(now, Phase::Draining));
                now.cycles += usize::from(now.phase.is_none());
                self.tell_pods(&name, now.pods);
                self.tell_phase(&name, &before, now);
                let phase = Phase::ALL.into_iter().find(|phase| is(now, *phase));
                self.timeline.chronicle.phase(&name, phase);
            }
            self.tell_readiness(&name, &before, now);
        });
    }

    fn tell_phase(&self, name: &str, before: &NodeState, now: &NodeState) {
        let agent = Who::Agent(name.to_owned());
        let pods = now.pods;
        let (tone, text) = match now.phase.as_deref() {
            Some("wanted") => (
                Tone::Plain,
                "its host wants a reboot: writes the wish on the Node".to_owned(),
            ),
            Some("draining") if is(before, Phase::Wanted) => (
                Tone::Plain,
                format!("cordons the node and drains it of {}", count(pods)),
            ),
            Some("draining") => (
                Tone::Good,
                format!(
                    "cordons the node again and drains it again: {} on it",
                    count(pods)
                ),
            ),
            Some("delaying") => (
                Tone::Plain,
                "the drain is over; the reboot delay begins".to_owned(),
            ),
            Some("sealed") if !now.cordoned => (
                Tone::Bad,
                "reboots without checking: the node is no longer cordoned".to_owned(),
            ),
            Some("sealed") => (
                Tone::Good,
                format!(
                    "the node stayed cordoned, {} on it: seals the hold and reboots",
                    count(pods)
                ),
            ),
            Some("returning") => (
                Tone::Plain,
                "runs again after the boot; waits for the node to be Ready".to_owned(),
            ),
            Some(other) => (Tone::Warning, format!("phase {other}")),
            None if now.cordoned => (
                Tone::Warning,
                "removes its marks; the node stays cordoned".to_owned(),
            ),
            None => (
                Tone::Plain,
                "gives the cordon back: the node is schedulable, as before".to_owned(),
            ),
        };
        self.timeline.say(agent, tone, text);
    }

    fn tell_readiness(&self, name: &str, before: &NodeState, now: &NodeState) {
        if before.ready && !now.ready {
            self.timeline
                .say(Who::Machine(name.to_owned()), Tone::Plain, "is not Ready");
        } else if !before.ready && now.ready {
            self.timeline
                .say(Who::Machine(name.to_owned()), Tone::Plain, "is Ready again");
        }
    }

    fn tell_all_pods(&self) {
        let states = self.states.borrow().clone();
        for (name, state) in &states {
            // Nodes that are not held get the evicted pods of others: not worth a line.
            if state.phase.as_deref().is_some_and(|phase| phase != "wanted") {
                self.tell_pods(name, state.pods);
            } else {
                let _ = self.said().insert(name.clone(), state.pods);
            }
        }
    }

    fn tell_pods(&self, name: &str, pods: usize) {
        let before = self.said().insert(name.to_owned(), pods).unwrap_or(pods);
        if pods > before {
            let text = format!("places {} on {name}: {pods} on it", count(pods - before));
            self.timeline.say(Who::Scheduler, Tone::Warning, text);
        } else if pods < before {
            let text = format!("{} evicted, {pods} left", count(before - pods));
            self.timeline.say(Who::Agent(name.to_owned()), Tone::Plain, text);
        }
    }

    fn said(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, usize>> {
        self.pods_said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read_log(self, node: String, path: PathBuf) {
        let mut ticks = tokio::time::interval(LOG_INTERVAL);
        let file = loop {
            let _ = ticks.tick().await;
            if let Ok(file) = tokio::fs::File::open(&path).await {
                break file;
            }
        };
        let mut log = BufReader::new(file);
        let mut line = String::new();
        loop {
            // 0 means the end of the file so far. A line without a newline is not complete yet: read on.
            match log.read_line(&mut line).await {
                Ok(0) => drop(ticks.tick().await),
                Ok(_) if line.ends_with('\n') => {
                    self.log_line(&node, &line);
                    line.clear();
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    fn log_line(&self, node: &str, line: &str) {
        let Ok(line) = serde_json::from_str::<LogLine>(line) else {
            return;
        };
        if let Some((tone, text)) = line.told() {
            self.timeline
                .say_at(line.timestamp, Who::Agent(node.to_owned()), tone, text);
        }
        let happened = match line.event.as_str() {
            "disturbed" => Some(Event::Disturbed),
            "called_off" => Some(Event::CalledOff),
            _ => None,
        };
        if let Some(what) = happened {
            let chronicle = &self.timeline.chronicle;
            chronicle.happened(node, line.timestamp, what, &line.reason);
        }
        if line.event == "released" {
            self.states.send_modify(|states| {
                states.entry(node.to_owned()).or_default().releases += 1;
            });
        }
    }
}

/// The fields of an agent's log line that the demo uses.
#[derive(Deserialize)]
struct LogLine {
    timestamp: Timestamp,
    level: String,
    event: String,
    message: String,
    #[serde(default)]
    by: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    next: String,
    #[serde(default)]
    why: String,
}

impl LogLine {
    /// The line for the timeline; `None` if the Node shows the same.
    fn told(&self) -> Option<(Tone, String)> {
        let Self { by, reason, why, .. } = self;
        Some(match self.event.as_str() {
            "lock_held" => (Tone::Plain, format!("waits for the lock: {by} holds it")),
            "locked" => (Tone::Plain, "has the lock".to_owned()),
            "released" => (Tone::Plain, "releases the lock".to_owned()),
            "disturbed" if self.next == "call_off" => (
                Tone::Good,
                format!("notices the disturbance ({reason}): it was one too many"),
            ),
            "disturbed" => (
                Tone::Good,
                format!("notices the disturbance ({reason}): must drain again"),
            ),
            "called_off" => (Tone::Good, format!("calls the reboot off ({reason})")),
            _ if self.level == "INFO" => return None,
            _ => (Tone::Warning, format!("{}: {why}", self.message)),
        })
    }
}

/// The node of each pod, by the pod's name.
struct PodsOn {
    view: View,
    nodes: HashMap<String, String>,
}

impl PodsOn {
    fn new(view: View) -> Self {
        Self {
            view,
            nodes: HashMap::new(),
        }
    }

    fn changed(&mut self, change: Change<Pod>) {
        let node = match change {
            Change::Forget => {
                self.nodes.clear();
                return;
            }
            Change::Updated(pod) => {
                let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) else {
                    return;
                };
                if !drain_evicts(&pod) {
                    return;
                }
                drop(self.nodes.insert(pod.name_any(), node.clone()));
                node
            }
            Change::Deleted(pod) => match self.nodes.remove(&pod.name_any()) {
                Some(node) => node,
                None => return,
            },
        };
        let pods = self.nodes.values().filter(|on| **on == node).count();
        self.view.timeline.chronicle.pods(&node, Timestamp::now(), pods);
        self.view
            .states
            .send_modify(|states| states.entry(node).or_default().pods = pods);
    }
}

fn is(state: &NodeState, phase: Phase) -> bool {
    state.phase.as_deref() == Some(phase.as_str())
}

fn count(pods: usize) -> String {
    match pods {
        0 => "no pod".to_owned(),
        1 => "1 pod".to_owned(),
        _ => format!("{pods} pods"),
    }
}
