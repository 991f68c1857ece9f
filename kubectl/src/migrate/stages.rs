//! The stages of a migration: looks at the cluster, says what leads to a stage, asks, and does it.
//!
//! Not here: what leads to a stage ([`cordonhold_shared::migration::stage`]), and how each act is done (`acts`, `remove`).

use std::path::Path;
use std::time::Duration;

use cordonhold_shared::fleet::PLUGIN;
use cordonhold_shared::keys;
use cordonhold_shared::migration::kured_set::{KuredSet, RunsOn};
use cordonhold_shared::migration::stage::{self, Act, Decision, ENABLED, Ours, Seen, Stage, Wish};
use cordonhold_shared::node::NodeView;
use cordonhold_shared::quote::quoted;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::{kured_among, remove};
use crate::args::{MigrateStep, StageArgs, WriteArgs};
use crate::cluster::{Cluster, NODES, unreachable};
use crate::patch::say_refused;
use crate::{Ending, Error, ask, install, output};

/// Most names of nodes in a line.
const NAMES_MAX: usize = 10;

/// What an act needs beside itself.
pub(super) struct Step<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) stage: Stage,
    pub(super) is_undo: bool,
    /// Where the cluster is afterwards.
    target: Option<Stage>,
    /// kured's `DaemonSet`, by its namespace and name.
    pub(super) kured: Option<(String, String)>,
    /// The file with kured's objects.
    pub(super) backup: &'a Path,
    /// Longest wait for pods.
    pub(super) timeout: Duration,
}

pub(crate) async fn run(cluster: &Cluster, step: &MigrateStep) -> Result<Ending, Error> {
    let (stage, nodes, backup, args) = match step {
        MigrateStep::Observe(args) => (Stage::Observe, Vec::new(), None, args),
        MigrateStep::Protect(args) => (Stage::Protect, Vec::new(), None, args),
        MigrateStep::Canary(args) => (Stage::Canary, args.nodes.clone(), None, &args.stage),
        MigrateStep::Fleet(args) => (Stage::Fleet, Vec::new(), None, args),
        MigrateStep::Remove(args) => (
            Stage::Remove,
            Vec::new(),
            Some(args.backup.as_path()),
            &args.stage,
        ),
        MigrateStep::Plan(_) => return Ok(Ending::Fine),
    };
    let backup = backup.unwrap_or(Path::new("kured-backup.yaml"));
    let seen = cluster.migrating(args.kured.as_deref()).await?;
    let mut kured = seen.kured.as_ref().map(|kured| kured.place.clone());
    let mut values = args.values.read()?;
    if kured.is_none() && stage == Stage::Remove && args.undo {
        let place = remove::place_in(backup)?;
        values["kured"] = json!({ "namespace": place.0, "name": place.1 });
        kured = Some(place);
    }
    let wish = Wish {
        stage,
        is_undo: args.undo,
        nodes,
        values,
        is_keeper_paused: args.keeper_is_paused,
    };
    let decision = stage::decide(&seen, &wish);
    if !told(&decision, cluster)? {
        return Ok(Ending::Trouble);
    }
    let step = Step {
        cluster,
        stage,
        is_undo: args.undo,
        // With nodes that go back, others stay.
        target: if args.undo && wish.nodes.is_empty() {
            stage.before()
        } else {
            Some(stage)
        },
        kured,
        backup,
        timeout: args.timeout,
    };
    done(&step, &decision, args).await
}

/// Asks, and does it.
async fn done(step: &Step<'_>, decision: &Decision, args: &StageArgs) -> Result<Ending, Error> {
    if args.dry_run {
        output::line("dry run: nothing was written")?;
        return Ok(Ending::Fine);
    }
    if !decision.acts.is_empty() {
        let write = WriteArgs {
            dry_run: false,
            yes: args.yes,
        };
        if !ask::may("Do this?", write)? {
            output::line("nothing was written")?;
            return Ok(Ending::Trouble);
        }
    }
    for act in &decision.acts {
        if step.perform(act).await? == Ending::Trouble {
            let undo = if step.is_undo { " --undo" } else { "" };
            let again = format!("{PLUGIN} migrate {}{undo}", step.stage.as_str());
            say_refused(&format!(
                "this step is not done: once that is mended, run it again: {again}"
            ));
            return Ok(Ending::Trouble);
        }
    }
    if let Some(then) = &decision.then {
        say_refused(then);
        return Ok(Ending::Trouble);
    }
    output::line(&format!(
        "✓ the cluster is at: {}",
        step.target.map_or("kured alone", Stage::as_str)
    ))?;
    Ok(Ending::Fine)
}

/// Says where the cluster is and what is to be done. `false`: it may not be done.
fn told(decision: &Decision, cluster: &Cluster) -> Result<bool, Error> {
    output::line(&format!("now: {}", decision.from))?;
    for note in &decision.notes {
        output::line(&format!("- {note}"))?;
    }
    for why in &decision.refusals {
        say_refused(why);
    }
    if !decision.refusals.is_empty() {
        return Ok(false);
    }
    for act in &decision.acts {
        if let Act::Install {
            values: Some(values), ..
        } = act
        {
            install::are_chosen(&install::rendered(values, &cluster.namespace)?)?;
        }
        output::line(&format!("- {}", shown(act, &cluster.namespace)))?;
    }
    if decision.acts.is_empty() && decision.then.is_none() {
        output::line("- nothing is left to do")?;
    }
    Ok(true)
}

/// An act, for people.
fn shown(act: &Act, namespace: &str) -> String {
    match act {
        Act::Install { values: None, .. } => {
            format!("remove all of ours but the namespace {namespace}, and what certs made there")
        }
        Act::Install {
            values: Some(values), ..
        } => format!(
            "install ours in the namespace {namespace}: mode {}, webhook.mode {}{}",
            values["mode"].as_str().unwrap_or_default(),
            values["webhook"]["mode"].as_str().unwrap_or_default(),
            if values.to_string().contains(ENABLED) {
                ", agents on nodes with the label"
            } else {
                ""
            }
        ),
        Act::KuredRuns(RunsOn::All) => {
            "let kured run on all its nodes, as before: its pods are replaced".to_owned()
        }
        Act::KuredRuns(RunsOn::Unlabelled) => {
            format!(
                "keep kured off nodes with the label {}: its pods are replaced",
                keys::AGENT
            )
        }
        Act::KuredRuns(RunsOn::Nowhere) => {
            "let kured run on no node: its DaemonSet stays, because its lock is there".to_owned()
        }
        Act::ToAgents(nodes) => format!("give an agent, in kured's place, to {}", names(nodes)),
        Act::ToKured(nodes) => format!("give kured, in the agent's place, to {}", names(nodes)),
        Act::Label(nodes) => format!("label {}={ENABLED}: {}", keys::AGENT, names(nodes)),
        Act::RemoveKured => {
            "write kured's objects into the file, then remove its DaemonSet, ServiceAccount and roles"
                .to_owned()
        }
        Act::CreateKured => "create kured's objects from the file, with no node to run on".to_owned(),
    }
}

fn names(nodes: &[String]) -> String {
    let shown: Vec<String> = nodes.iter().take(NAMES_MAX).map(|name| quoted(name)).collect();
    let more = match nodes.len().saturating_sub(NAMES_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", shown.join(", "))
}

impl Cluster {
    /// Looks at kured, at what of ours is installed, and at all Nodes.
    async fn migrating(&self, wanted: Option<&str>) -> Result<Seen, Error> {
        let sets = self.daemon_sets().await?;
        let kured = match kured_among(&sets, wanted)? {
            Some(set) => {
                let no_container = || Error::Usage("kured's DaemonSet has no container".to_owned());
                Some(KuredSet::read(set).ok_or_else(no_container)?)
            }
            None => None,
        };
        let is_ours = |set: &&Value| {
            let name = set["metadata"]["name"].as_str().unwrap_or_default();
            set["metadata"]["namespace"] == self.namespace.as_str() && name.starts_with(keys::AGENTS)
        };
        let agents: Vec<Value> = sets.iter().filter(is_ours).cloned().collect();
        let deployments = format!("/apis/apps/v1/namespaces/{}/deployments", self.namespace);
        let deployment = self.at(&format!("{deployments}/cordonhold-webhook")).await?;
        let nodes = self.list::<NodeView>(NODES, ListParams::default()).await;
        Ok(Seen {
            kured,
            ours: Ours::read(deployment.as_ref(), &agents),
            nodes: nodes.map_err(|error| unreachable("the Nodes", error))?,
        })
    }
}
