//! The stages of a move from kured to the agents: what is to be done to reach one, and why it may not be done now.
//!
//! | stage | our webhook | our agents | kured |
//! | --- | --- | --- | --- |
//! | observe | notes | none | all its nodes |
//! | protect | denies | none | all its nodes |
//! | canary | denies | nodes with the label `cordonhold.dev/agent=enabled` | nodes without that label |
//! | fleet | denies | all nodes | none, but its lock is the one that is used |
//! | remove | denies | all nodes | gone |
//!
//! No node ever has an agent and kured at once: between the two it has the label with the value `disabled`, which lets neither run there.
//! Not here: looking at the cluster and doing it (the kubectl plugin).

use serde_json::{Map, Value, json};

use super::kured_set::{KuredSet, RunsOn, keeper};
use crate::hold;
use crate::keys;
use crate::node::NodeView;
use crate::quote::quoted;

/// The value of [`keys::AGENT`] that asks for an agent.
pub const ENABLED: &str = "enabled";

/// A stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The webhook notes what it would deny.
    Observe,
    /// The webhook keeps the nodes cordoned that kured reboots.
    Protect,
    /// Some nodes have an agent.
    Canary,
    /// All nodes have an agent.
    Fleet,
    /// kured is gone.
    Remove,
}

impl Stage {
    /// All, in their order.
    pub const ALL: [Stage; 5] = [
        Stage::Observe,
        Stage::Protect,
        Stage::Canary,
        Stage::Fleet,
        Stage::Remove,
    ];

    /// The word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Observe => "observe",
            Stage::Protect => "protect",
            Stage::Canary => "canary",
            Stage::Fleet => "fleet",
            Stage::Remove => "remove",
        }
    }

    /// The stage before; `None` is kured alone.
    pub fn before(self) -> Option<Stage> {
        Stage::ALL.into_iter().rev().find(|stage| *stage < self)
    }

    /// Where kured runs in this stage; `None`: it is gone.
    fn kured(self) -> Option<RunsOn> {
        match self {
            Stage::Observe | Stage::Protect => Some(RunsOn::All),
            Stage::Canary => Some(RunsOn::Unlabelled),
            Stage::Fleet => Some(RunsOn::Nowhere),
            Stage::Remove => None,
        }
    }

    /// What the cluster is like, for people.
    fn means(stage: Option<Stage>) -> &'static str {
        match stage {
            None => "kured alone",
            Some(Stage::Observe) => "observe: the webhook notes, kured reboots",
            Some(Stage::Protect) => "protect: the webhook denies, kured reboots",
            Some(Stage::Canary) => "canary: agents on nodes with the label, kured on the others",
            Some(Stage::Fleet) => "fleet: agents on all nodes, kured on none",
            Some(Stage::Remove) => "remove: the agents alone",
        }
    }
}

/// What of ours is installed.
#[derive(Clone, Debug, PartialEq)]
pub struct Ours {
    /// The stage that it is right for; `None` inside: nothing is installed. The error says what is there instead.
    pub stage: Result<Option<Stage>, String>,
    /// Whether all replicas of the webhook are ready.
    pub is_ready: bool,
    /// Helm, Flux or Argo CD, if one of them keeps it.
    pub keeper: Option<String>,
}

impl Ours {
    /// Reads the webhook's Deployment and the agents' `DaemonSets`.
    pub fn read(deployment: Option<&Value>, agents: &[Value]) -> Ours {
        let is_rolled_out = |deployment: &Value| {
            let (spec, status) = (&deployment["spec"], &deployment["status"]);
            let wanted = spec["replicas"].as_i64().unwrap_or(1);
            let count = |key: &str| status[key].as_i64().unwrap_or(0);
            status["observedGeneration"] == deployment["metadata"]["generation"]
                && count("updatedReplicas") == wanted
                && count("readyReplicas") >= wanted
        };
        let metadata = deployment
            .or(agents.first())
            .map(|object| object["metadata"].clone());
        let metadata = metadata.unwrap_or_default();
        let release = metadata["annotations"]["meta.helm.sh/release-name"].as_str();
        Ours {
            stage: stage_of_ours(deployment, agents),
            is_ready: deployment.is_some_and(is_rolled_out),
            keeper: keeper(&metadata).or_else(|| Some(format!("Helm (release {})", quoted(release?)))),
        }
    }
}

fn stage_of_ours(deployment: Option<&Value>, agents: &[Value]) -> Result<Option<Stage>, String> {
    let Some(deployment) = deployment else {
        return match agents {
            [] => Ok(None),
            _ => Err("the agents run without the webhook, which is no stage of a migration".to_owned()),
        };
    };
    let words = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array();
    let words: Vec<&str> = words.into_iter().flatten().filter_map(Value::as_str).collect();
    let value = |flag: &str| {
        words
            .iter()
            .rev()
            .find_map(|word| word.strip_prefix(flag)?.strip_prefix('='))
    };
    let does_deny = match value("--mode") {
        Some("enforce" | "defer") => true,
        Some("audit" | "warn") => false,
        other => {
            return Err(format!(
                "the webhook's mode cannot be told from --mode={}",
                other.unwrap_or_default()
            ));
        }
    };
    let protects = value("--protect-kured") == Some("lock");
    let of_some: Vec<bool> = agents.iter().map(is_for_some_nodes).collect();
    match (does_deny, protects, of_some.as_slice()) {
        (false, true, []) => Ok(Some(Stage::Observe)),
        (true, true, []) => Ok(Some(Stage::Protect)),
        (true, true, some) if some.iter().all(|some| *some) => Ok(Some(Stage::Canary)),
        (true, true, some) if !some.iter().any(|some| *some) => Ok(Some(Stage::Fleet)),
        (true, false, some) if !some.is_empty() && !some.iter().any(|some| *some) => Ok(Some(Stage::Remove)),
        _ => Err(format!(
            "the webhook (--mode={}, --protect-kured={}) and {} DaemonSets of agents together are no stage of a migration: install one with {} install",
            value("--mode").unwrap_or_default(),
            value("--protect-kured").unwrap_or("off"),
            agents.len(),
            crate::fleet::PLUGIN
        )),
    }
}

/// The expression by which agents run on nodes with the label alone.
fn on_labelled() -> Value {
    json!({ "key": keys::AGENT, "operator": "In", "values": [ENABLED] })
}

fn is_for_some_nodes(set: &Value) -> bool {
    let terms = &set["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        ["nodeSelectorTerms"];
    let mut terms = terms.as_array().into_iter().flatten();
    terms.any(|term| {
        term["matchExpressions"]
            .as_array()
            .is_some_and(|all| all.contains(&on_labelled()))
    })
}

/// What the cluster shows.
#[derive(Clone, Debug)]
pub struct Seen {
    /// kured's `DaemonSet`.
    pub kured: Option<KuredSet>,
    /// What of ours is installed.
    pub ours: Ours,
    /// All Nodes.
    pub nodes: Vec<NodeView>,
}

/// What a person wants.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The stage.
    pub stage: Stage,
    /// Go back to the stage before.
    pub is_undo: bool,
    /// With [`Stage::Canary`], the nodes; without any, for undo all.
    pub nodes: Vec<String>,
    /// The values of the chart.
    pub values: Value,
    /// The tool that keeps kured does not write now.
    pub is_keeper_paused: bool,
}

/// One thing to be done. They are done in their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Ours is installed with the first values; what the second ones rendered, and these do not, is removed.
    Install {
        /// The new values; `None`: all of ours goes.
        values: Option<Value>,
        /// The values of the stage that is left.
        before: Option<Value>,
    },
    /// kured's pods may run there.
    KuredRuns(RunsOn),
    /// These nodes get an agent in kured's place.
    ToAgents(Vec<String>),
    /// These nodes get kured in an agent's place.
    ToKured(Vec<String>),
    /// These nodes, which have an agent, get the label that says so.
    Label(Vec<String>),
    /// kured goes.
    RemoveKured,
    /// kured comes back, on no node.
    CreateKured,
}

/// What is to be done, or why not.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Where the cluster is, for people.
    pub from: String,
    /// Why nothing may be done now.
    pub refusals: Vec<String>,
    /// What is to be done.
    pub acts: Vec<Act>,
    /// What a person has to do after that, before this can go on.
    pub then: Option<String>,
    /// What a person should know beside it.
    pub notes: Vec<String>,
}

/// Decides what leads to the stage that is wished for.
pub fn decide(seen: &Seen, wish: &Wish) -> Decision {
    let target = if wish.is_undo {
        wish.stage.before()
    } else {
        Some(wish.stage)
    };
    let mut refusals = reached(seen, wish);
    let from = match &seen.ours.stage {
        Ok(stage) => Stage::means(*stage).to_owned(),
        Err(why) => why.clone(),
    };
    if refusals.is_empty() {
        refusals.extend(obstacles(seen, wish));
    }
    let mut acts = if refusals.is_empty() {
        acts(seen, wish, target)
    } else {
        Vec::new()
    };
    refusals.extend(disagreements(seen, wish, &acts));
    refusals.extend(would_be_taken_back(seen, wish, &acts));
    let then = left_to_a_person(seen, wish, &mut acts);
    let notes = notes(seen, wish);
    Decision {
        from,
        refusals,
        acts,
        then,
        notes,
    }
}

/// Whether the cluster is at this stage, at the one before, or between the two.
fn reached(seen: &Seen, wish: &Wish) -> Vec<String> {
    let two = [wish.stage.before(), Some(wish.stage)];
    let mut refusals = Vec::new();
    match &seen.ours.stage {
        Err(why) => refusals.push(why.clone()),
        Ok(stage) if !two.contains(stage) => {
            let undo = if *stage > Some(wish.stage) { " --undo" } else { "" };
            let next = if *stage > Some(wish.stage) {
                *stage
            } else {
                Stage::ALL.into_iter().find(|next| Some(*next) > *stage)
            };
            let next = next.map(Stage::as_str).unwrap_or_default();
            refusals.push(format!(
                "this step is between {} and {}, and the cluster is at {}: first {} migrate {next}{undo}",
                two[0].map_or("kured alone", Stage::as_str),
                wish.stage.as_str(),
                Stage::means(*stage),
                crate::fleet::PLUGIN
            ));
        }
        Ok(_) => {}
    }
    let may_be_gone = wish.stage == Stage::Remove;
    match &seen.kured {
        None if !may_be_gone => {
            refusals.push("there is no DaemonSet of kured's: there is nothing to migrate from".to_owned());
        }
        None => {}
        Some(kured) => match &kured.runs_on {
            Err(why) => refusals.push(why.clone()),
            Ok(runs_on) => {
                let right = two
                    .iter()
                    .map(|stage| stage.map_or(Some(RunsOn::All), Stage::kured));
                if !right.clone().any(|right| right == Some(*runs_on)) {
                    refusals.push(format!(
                        "kured's DaemonSet {} is made for another stage: {runs_on:?}",
                        kured.name()
                    ));
                }
            }
        },
    }
    refusals
}

/// What has to be true of the cluster at this moment.
fn obstacles(seen: &Seen, wish: &Wish) -> Vec<String> {
    let mut all = Vec::new();
    let kured_changes = |to: RunsOn| seen.kured.as_ref().is_some_and(|kured| kured.runs_on != Ok(to));
    if let Some(kured) = &seen.kured {
        if kured.is_locked_elsewhere {
            all.push(format!(
                "kured's lock is not on its own DaemonSet {}, but where --ds-namespace and --ds-name say: these stages know only a lock that is on it",
                kured.name()
            ));
        }
        // A new version of kured's pods ends one in the middle of a drain, which then uncordons its node.
        let restarts = match (wish.stage, wish.is_undo) {
            (Stage::Canary, false) => kured_changes(RunsOn::Unlabelled),
            (Stage::Canary, true) => kured_changes(RunsOn::All) && wish.nodes.is_empty(),
            (Stage::Remove, false) => true,
            _ => false,
        };
        if restarts {
            all.extend(kured.taken());
        }
        if let (Stage::Remove, false, Some(why)) = (wish.stage, wish.is_undo, &kured.paused) {
            all.push(format!(
                "the pause of the pool ({}) would go with kured's DaemonSet: end it first, with {} resume --pool",
                quoted(why),
                crate::fleet::PLUGIN
            ));
        }
    }
    let needs_webhook = !wish.is_undo && wish.stage > Stage::Observe;
    if needs_webhook && !seen.ours.is_ready {
        all.push("not every replica of the webhook is ready: kubectl cordonhold doctor says why".to_owned());
    }
    if wish.stage == Stage::Remove {
        let held = seen.nodes.iter().filter(|node| hold::is_held(&hold::read(node)));
        all.extend(held.map(|node| {
            format!("node {} is held for a reboot, and its place in the lock would be lost: wait until it is back", quoted(node.name()))
        }));
    }
    for name in &wish.nodes {
        if !seen.nodes.iter().any(|node| node.name() == name) {
            all.push(format!("there is no node {}", quoted(name)));
        }
    }
    if wish.stage == Stage::Canary
        && !wish.is_undo
        && wish.nodes.is_empty()
        && labelled(seen, ENABLED).is_empty()
    {
        all.push("no node is named: name those that get an agent first".to_owned());
    }
    all
}

/// What kured and the values must say alike, because both use one lock.
fn disagreements(seen: &Seen, wish: &Wish, acts: &[Act]) -> Vec<String> {
    let installs = acts
        .iter()
        .any(|act| matches!(act, Act::Install { values: Some(_), .. }));
    let Some(kured) = seen.kured.as_ref().filter(|_| installs && !wish.is_undo) else {
        return Vec::new();
    };
    let configuration = &wish.values["configuration"];
    let text = |value: &Value, default: &str| match value {
        Value::Null => default.to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let mut all = Vec::new();
    let ours = text(&configuration["concurrency"], "1");
    if [Stage::Canary, Stage::Fleet].contains(&wish.stage) && ours != kured.concurrency {
        all.push(format!(
            "configuration.concurrency is {}, and kured's --concurrency {}: both count one lock, so set the same in both",
            quoted(&ours),
            quoted(&kured.concurrency)
        ));
    }
    if text(&configuration["lockAnnotation"], keys::KURED_LOCK) != kured.lock_key {
        all.push(format!(
            "kured's lock is in the annotation {}: set configuration.lockAnnotation to it",
            quoted(&kured.lock_key)
        ));
    }
    all
}

/// Whether a change of kured's `DaemonSet` would not stay.
fn would_be_taken_back(seen: &Seen, wish: &Wish, acts: &[Act]) -> Option<String> {
    let changes_kured = |act: &Act| matches!(act, Act::KuredRuns(_) | Act::RemoveKured);
    let keeper = seen.kured.as_ref()?.keeper.as_ref()?;
    (!wish.is_keeper_paused && acts.iter().any(changes_kured)).then(|| {
        format!("{keeper} keeps kured's DaemonSet and would take the change back: make it write nothing there, then run this again with --keeper-is-paused")
    })
}

/// What of ours another tool installs: the acts end before it.
fn left_to_a_person(seen: &Seen, wish: &Wish, acts: &mut Vec<Act>) -> Option<String> {
    let keeper = seen.ours.keeper.as_ref()?;
    let at = acts.iter().position(|act| matches!(act, Act::Install { .. }))?;
    let rest = acts.split_off(at);
    match rest.first() {
        Some(Act::Install {
            values: Some(values), ..
        }) => Some(format!(
            "{keeper} keeps our own objects: give it these values, then run this again: {}",
            differences(values, &wish.values)
        )),
        _ => Some(format!(
            "{keeper} keeps our own objects: uninstall them there, then run this again"
        )),
    }
}

fn notes(seen: &Seen, wish: &Wish) -> Vec<String> {
    if wish.stage < Stage::Canary {
        return Vec::new();
    }
    let away = labelled(seen, keys::DISABLED)
        .into_iter()
        .filter(|name| !wish.nodes.contains(name));
    away.map(|name| {
        let name = quoted(&name);
        format!(
            "node {name} has the label {}={}, so no agent runs there: {} migrate canary {name} gives it one",
            keys::AGENT,
            keys::DISABLED,
            crate::fleet::PLUGIN
        )
    })
    .collect()
}

/// What a stage sets beside the values that a person has.
fn differences(values: &Value, of_person: &Value) -> Value {
    let all = values.as_object().into_iter().flatten();
    let changed = all.filter(|(key, value)| of_person[key.as_str()] != **value);
    let changed: Map<String, Value> = changed
        .map(|(key, value)| {
            let theirs = &of_person[key.as_str()];
            let is_map = value.is_object() && theirs.is_object();
            (
                key.clone(),
                if is_map {
                    differences(value, theirs)
                } else {
                    value.clone()
                },
            )
        })
        .collect();
    Value::Object(changed)
}

fn labelled(seen: &Seen, value: &str) -> Vec<String> {
    let nodes = seen
        .nodes
        .iter()
        .filter(|node| node.label(keys::AGENT) == Some(value));
    nodes.map(|node| node.name().to_owned()).collect()
}

/// The acts to the target, in the order in which no node has both, and none loses its lock.
fn acts(seen: &Seen, wish: &Wish, target: Option<Stage>) -> Vec<Act> {
    let mut way = Way {
        seen,
        wish,
        target,
        acts: Vec::new(),
    };
    if wish.is_undo {
        way.back();
    } else {
        way.forward();
    }
    way.acts
}

/// The way to a stage.
struct Way<'a> {
    seen: &'a Seen,
    wish: &'a Wish,
    target: Option<Stage>,
    acts: Vec<Act>,
}

impl Way<'_> {
    fn forward(&mut self) {
        match self.wish.stage {
            Stage::Observe | Stage::Protect => self.install(),
            Stage::Canary => {
                self.kured_runs(RunsOn::Unlabelled);
                self.install();
                let names = self.named(|node| node.label(keys::AGENT) != Some(ENABLED));
                self.nodes(Act::ToAgents, names);
            }
            Stage::Fleet => {
                self.nodes(Act::ToAgents, self.unchosen());
                // A node that joins has neither until the agents run on all.
                self.kured_runs(RunsOn::Nowhere);
                self.install();
            }
            Stage::Remove => {
                if self.seen.kured.is_some() {
                    self.acts.push(Act::RemoveKured);
                }
                self.install();
            }
        }
    }

    fn back(&mut self) {
        match self.wish.stage {
            Stage::Observe | Stage::Protect => self.install(),
            Stage::Canary if self.wish.nodes.is_empty() => {
                self.nodes(Act::ToKured, labelled(self.seen, ENABLED));
                self.install();
                self.kured_runs(RunsOn::All);
            }
            Stage::Canary => {
                let names = self.named(|node| node.label(keys::AGENT).is_some());
                self.nodes(Act::ToKured, names);
            }
            Stage::Fleet => {
                self.nodes(Act::Label, self.unchosen());
                self.install();
                self.kured_runs(RunsOn::Unlabelled);
            }
            Stage::Remove => {
                // Without the right to write kured's lock, agents that find it end.
                self.install();
                if self.seen.kured.is_none() {
                    self.acts.push(Act::CreateKured);
                }
            }
        }
    }

    fn install(&mut self) {
        if self.seen.ours.stage == Ok(self.target) {
            return;
        }
        let left = if self.wish.is_undo {
            Some(self.wish.stage)
        } else {
            self.wish.stage.before()
        };
        let kured = self.seen.kured.as_ref();
        let values = |stage: Option<Stage>| stage.map(|stage| overlaid(&self.wish.values, stage, kured));
        self.acts.push(Act::Install {
            values: values(self.target),
            before: values(left),
        });
    }

    fn kured_runs(&mut self, on: RunsOn) {
        let kured = self.seen.kured.as_ref();
        if kured.is_some_and(|kured| kured.runs_on != Ok(on)) {
            self.acts.push(Act::KuredRuns(on));
        }
    }

    fn nodes(&mut self, act: fn(Vec<String>) -> Act, names: Vec<String>) {
        if !names.is_empty() {
            self.acts.push(act(names));
        }
    }

    /// The nodes that a person has named, and of which this is true.
    fn named(&self, is_so: fn(&NodeView) -> bool) -> Vec<String> {
        let nodes = self.seen.nodes.iter().filter(|node| is_so(node));
        let names = nodes.map(|node| node.name().to_owned());
        names.filter(|name| self.wish.nodes.contains(name)).collect()
    }

    /// The nodes of which nobody has said whose they are. The label `disabled` is somebody's choice.
    fn unchosen(&self) -> Vec<String> {
        let is_chosen = |node: &&NodeView| matches!(node.label(keys::AGENT), Some(ENABLED | keys::DISABLED));
        let nodes = self.seen.nodes.iter().filter(|node| !is_chosen(node));
        nodes.map(|node| node.name().to_owned()).collect()
    }
}

/// The values of a person with what the stage sets.
fn overlaid(values: &Value, stage: Stage, kured: Option<&KuredSet>) -> Value {
    let mut values = values.clone();
    values["mode"] = json!(match stage {
        Stage::Observe | Stage::Protect => "protect-kured",
        Stage::Canary | Stage::Fleet => "mixed",
        Stage::Remove => "agents",
    });
    let asked = values["webhook"]["mode"].as_str().unwrap_or_default().to_owned();
    values["webhook"]["mode"] = json!(match (stage, asked.as_str()) {
        (Stage::Observe, "warn") => "warn",
        (Stage::Observe, _) => "audit",
        (_, "defer") => "defer",
        (_, _) => "enforce",
    });
    if let Some(kured) = kured {
        values["kured"]["namespace"] = json!(kured.place.0);
        values["kured"]["name"] = json!(kured.place.1);
    }
    if stage == Stage::Canary {
        let mut expressions = values["agent"]["nodeExpressions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        expressions.push(on_labelled());
        values["agent"]["nodeExpressions"] = Value::Array(expressions);
    }
    values
}

#[cfg(test)]
mod tests;
