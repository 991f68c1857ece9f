//! How each act of a stage is done. Every one may be done again, and waits until the cluster shows that it is done.
//!
//! Not here: which acts, and in which order ([`cordonhold_shared::migration::stage`]); kured's removal (`remove`).

use std::collections::BTreeSet;

use cordonhold_shared::fleet::PLUGIN;
use cordonhold_shared::hold;
use cordonhold_shared::keys;
use cordonhold_shared::migration::kured_set::{KuredSet, RunsOn, affinity};
use cordonhold_shared::migration::stage::{Act, ENABLED, Stage};
use cordonhold_shared::node::NodeView;
use cordonhold_shared::quote::quoted;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use super::stages::Step;
use crate::apply::{named, path};
use crate::cluster::{NODES, unreachable};
use crate::patch::{Kind, Written, node_path, say_refused};
use crate::{Ending, Error, install, output};

/// How often the cluster is looked at while pods come and go, which takes seconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Most nodes that change their daemon at the same time: each waits for pods, and so none waits for all.
const NODES_AT_ONCE: usize = 10;
/// Most tries of a write that others outrun: the DaemonSet controller writes the status for some seconds.
pub(super) const TRIES_MAX: usize = 20;
/// What the writes of a stage need.
const NEEDS: (&str, &str) = ("patch nodes and daemonsets.apps", "ask a cluster-admin");

impl Step<'_> {
    pub(super) async fn perform(&self, act: &Act) -> Result<Ending, Error> {
        match act {
            Act::Install { values, before } => self.install(values.as_ref(), before.as_ref()).await,
            Act::KuredRuns(to) => self.let_kured_run(*to).await,
            Act::ToAgents(nodes) => self.each(nodes, true).await,
            Act::ToKured(nodes) => self.each(nodes, false).await,
            Act::Label(nodes) => {
                for node in nodes {
                    if !self.label(node, Some(ENABLED)).await? {
                        return Ok(Ending::Trouble);
                    }
                }
                Ok(Ending::Fine)
            }
            Act::RemoveKured => self.remove_kured().await,
            Act::CreateKured => self.create_kured().await,
        }
    }

    /// Applies ours, removes what the stage before had and this one has not, and waits until the pods are of this version.
    async fn install(&self, values: Option<&Value>, before: Option<&Value>) -> Result<Ending, Error> {
        let render = |values: Option<&Value>| match values {
            Some(values) => install::rendered(values, &self.cluster.namespace),
            None => Ok(Vec::new()),
        };
        let (new, old) = (render(values)?, render(before)?);
        if self.cluster.apply(&new, false).await? == Ending::Trouble {
            return Ok(Ending::Trouble);
        }
        let kept: BTreeSet<String> = new.iter().map(path).collect();
        // The webhook's configuration, which is rendered last, goes before the webhook.
        for object in old.iter().rev() {
            if kept.contains(&path(object)) || object["kind"] == "Namespace" {
                continue;
            }
            if !matches!(self.cluster.remove(object, None).await?, Written::Done) {
                return Ok(Ending::Trouble);
            }
        }
        for object in &new {
            if ["Deployment", "DaemonSet"]
                .iter()
                .any(|kind| object["kind"] == *kind)
                && !self.is_rolled_out(object).await?
            {
                return Ok(Ending::Trouble);
            }
        }
        Ok(Ending::Fine)
    }

    /// Waits until all pods of a Deployment or a `DaemonSet` are of its newest version, are ready, and are where they should be.
    pub(super) async fn is_rolled_out(&self, object: &Value) -> Result<bool, Error> {
        let at = path(object);
        let what = format!("the pods of {} to be replaced", named(object));
        self.until(&what, async || {
            let found = self.cluster.at(&at).await?.unwrap_or_default();
            let (spec, status) = (&found["spec"], &found["status"]);
            let count = |key: &str| status[key].as_i64().unwrap_or(0);
            let is_seen = status["observedGeneration"] == found["metadata"]["generation"];
            Ok(is_seen
                && if found["kind"] == "DaemonSet" {
                    let wanted = count("desiredNumberScheduled");
                    // With OnDelete, nobody replaces a pod.
                    let is_new = spec["updateStrategy"]["type"] == "OnDelete"
                        || count("updatedNumberScheduled") == wanted;
                    is_new && count("numberReady") == wanted && count("numberMisscheduled") == 0
                } else {
                    let wanted = spec["replicas"].as_i64().unwrap_or(1);
                    count("updatedReplicas") == wanted
                        && count("readyReplicas") == wanted
                        && count("replicas") == wanted
                })
        })
        .await
    }

    /// Waits until this is so. `false`: it was not in time, which has been said.
    pub(super) async fn until(
        &self,
        what: &str,
        is_so: impl AsyncFn() -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let end = Instant::now() + self.timeout;
        while !is_so().await? {
            if Instant::now() >= end {
                say_refused(&format!(
                    "waited {:?} for {what}, in vain: see why with kubectl describe",
                    self.timeout
                ));
                return Ok(false);
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(true)
    }

    /// kured's `DaemonSet` as it is now.
    pub(super) async fn kured_now(&self) -> Result<(Value, KuredSet), Error> {
        let gone = || Error::Usage("kured's DaemonSet is gone: run the command again".to_owned());
        let (namespace, name) = self.kured.as_ref().ok_or_else(gone)?;
        let at = format!("/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}");
        let set = self.cluster.at(&at).await?.ok_or_else(gone)?;
        let read = KuredSet::read(&set).ok_or_else(gone)?;
        Ok((set, read))
    }

    /// Lets kured's pods run there, in one write with the look at its lock, and waits until they do.
    async fn let_kured_run(&self, to: RunsOn) -> Result<Ending, Error> {
        if self.stage == Stage::Fleet && self.is_undo && !self.are_newcomers_free().await? {
            return Ok(Ending::Trouble);
        }
        for _ in 0..TRIES_MAX {
            let (set, kured) = self.kured_now().await?;
            // In a fleet no pod of kured's runs that could be ended in the middle of a drain.
            if let Some(why) = kured.taken().filter(|_| self.stage == Stage::Canary) {
                say_refused(&why);
                return Ok(Ending::Trouble);
            }
            let now = &set["spec"]["template"]["spec"]["affinity"];
            let place = "/spec/template/spec/affinity";
            let new = affinity(now, to);
            let edit = if new.is_null() {
                json!({ "op": "remove", "path": place })
            } else {
                json!({ "op": "add", "path": place, "value": new })
            };
            let version = &set["metadata"]["resourceVersion"];
            let body = json!([{ "op": "test", "path": "/metadata/resourceVersion", "value": version }, edit]);
            let object = json!({ "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "namespace": kured.place.0, "name": kured.place.1 } });
            match self
                .cluster
                .patch(&path(&object), (Kind::Json, &body), false, NEEDS)
                .await?
            {
                Written::Done => {
                    let is_there = self.is_rolled_out(&object).await?;
                    output::line(&format!("✓ changed where kured runs: {}", kured.name()))?;
                    return Ok(if is_there { Ending::Fine } else { Ending::Trouble });
                }
                Written::Outrun(_) => sleep(LOOK_EVERY).await,
                Written::Refused => return Ok(Ending::Trouble),
            }
        }
        say_refused("kured's DaemonSet changes all the time: run the command again");
        Ok(Ending::Trouble)
    }

    /// A node that joined while the agents ran on all nodes has no label, and its agent is gone: whether that left nothing there.
    async fn are_newcomers_free(&self) -> Result<bool, Error> {
        let nodes = self.cluster.list::<NodeView>(NODES, ListParams::default()).await;
        let nodes = nodes.map_err(|error| unreachable("the Nodes", error))?;
        let held = nodes
            .iter()
            .find(|node| node.label(keys::AGENT).is_none() && hold::has_marks(node));
        if let Some(node) = held {
            say_refused(&format!(
                "node {name} has joined, and wants a reboot by its agent: kubectl label node {name} {}={ENABLED}",
                keys::AGENT,
                name = quoted(node.name())
            ));
        }
        Ok(held.is_none())
    }

    /// Changes the daemon of each of these nodes, some at once.
    async fn each(&self, nodes: &[String], is_to_agents: bool) -> Result<Ending, Error> {
        let changed = stream::iter(nodes).map(async |node: &String| {
            if is_to_agents {
                self.to_agent(node).await
            } else {
                self.to_kured(node).await
            }
        });
        let changed: Vec<bool> = changed.buffer_unordered(NODES_AT_ONCE).try_collect().await?;
        Ok(if changed.contains(&false) {
            Ending::Trouble
        } else {
            Ending::Fine
        })
    }

    /// Gives a node an agent in kured's place: kured leaves, its lock shows that it was doing nothing, the agent comes.
    async fn to_agent(&self, name: &str) -> Result<bool, Error> {
        let node: NodeView = self.cluster.node(name).await?;
        let before = node.label(keys::AGENT).map(str::to_owned);
        if self.is_kured_busy(name).await? {
            return Ok(false);
        }
        if !self.label(name, Some(keys::DISABLED)).await? || !self.has(name, None).await? {
            return Ok(false);
        }
        // kured may have begun before its pod ended. Its next pod there ends what it began.
        if self.is_kured_busy(name).await? {
            let _ = self.label(name, before.as_deref()).await?;
            return Ok(false);
        }
        if !self.label(name, Some(ENABLED)).await? || !self.has(name, Some(Daemon::Agent)).await? {
            return Ok(false);
        }
        output::line(&format!("✓ node {} has an agent", quoted(name)))?;
        Ok(true)
    }

    async fn is_kured_busy(&self, name: &str) -> Result<bool, Error> {
        let is_busy = self.kured_now().await?.1.has_place_of(name);
        if is_busy {
            say_refused(&format!(
                "node {} has kured's lock: wait until it is back",
                quoted(name)
            ));
        }
        Ok(is_busy)
    }

    /// Gives a node kured in the agent's place: the agent leaves, the Node shows that it was doing nothing, kured comes.
    async fn to_kured(&self, name: &str) -> Result<bool, Error> {
        if self.is_agent_busy(name).await? {
            return Ok(false);
        }
        // The webhook denies this while the Node carries marks.
        if !self.label(name, Some(keys::DISABLED)).await? || !self.has(name, None).await? {
            return Ok(false);
        }
        if self.is_agent_busy(name).await? {
            let _ = self.label(name, Some(ENABLED)).await?;
            return Ok(false);
        }
        if !self.label(name, None).await? || !self.has(name, Some(Daemon::Kured)).await? {
            return Ok(false);
        }
        output::line(&format!("✓ node {} has kured", quoted(name)))?;
        Ok(true)
    }

    /// Whether an agent has begun something on this node that only an agent ends.
    async fn is_agent_busy(&self, name: &str) -> Result<bool, Error> {
        let node: NodeView = self.cluster.node(name).await?;
        let is_busy = hold::has_marks(&node)
            || node.annotation(keys::RELEASE_AT).is_some()
            || self.kured_now().await?.1.has_place_of(name);
        if is_busy {
            let name = quoted(name);
            say_refused(&format!(
                "node {name} is at its reboot, or waits for one: wait until it is back, or call it off with {PLUGIN} cancel {name} --reason TEXT"
            ));
        }
        Ok(is_busy)
    }

    /// Sets or removes the label that says whose a node is. `false`: it was refused, which has been said.
    async fn label(&self, name: &str, value: Option<&str>) -> Result<bool, Error> {
        let body = json!({ "metadata": { "labels": { keys::AGENT: value } } });
        match self
            .cluster
            .patch(&node_path(name), (Kind::Merge, &body), false, NEEDS)
            .await?
        {
            Written::Done => Ok(true),
            Written::Outrun(said) => {
                say_refused(&format!("node {} was not labelled: {said}", quoted(name)));
                Ok(false)
            }
            Written::Refused => Ok(false),
        }
    }

    /// Waits until a node has this daemon, ready, or with `None` neither of the two.
    async fn has(&self, name: &str, daemon: Option<Daemon>) -> Result<bool, Error> {
        let what = match daemon {
            None => format!("the pods of kured and of agents to leave node {}", quoted(name)),
            Some(daemon) => format!("{daemon:?}'s pod on node {}", quoted(name)),
        };
        self.until(&what, async || {
            let on_node = ListParams::default().fields(&format!("spec.nodeName={name}"));
            let mut found = Vec::new();
            for (which, namespace, set) in self.daemons() {
                let at = format!("/api/v1/namespaces/{namespace}/pods");
                let pods = self.cluster.list::<Value>(&at, on_node.clone()).await;
                let pods = pods.map_err(|error| unreachable(&format!("the pods in {namespace}"), error))?;
                let of_set = pods.into_iter().filter(|pod| is_of(pod, which, &set));
                found.extend(of_set.map(|pod| (which, is_ready(&pod))));
            }
            Ok(match daemon {
                None => found.is_empty(),
                Some(daemon) => found.contains(&(daemon, true)),
            })
        })
        .await
    }

    /// The two kinds of daemons: the namespace of each, and the name of its `DaemonSet`.
    fn daemons(&self) -> Vec<(Daemon, String, String)> {
        let agents = (
            Daemon::Agent,
            self.cluster.namespace.clone(),
            keys::AGENTS.to_owned(),
        );
        let kured = self
            .kured
            .clone()
            .map(|(namespace, name)| (Daemon::Kured, namespace, name));
        std::iter::once(agents).chain(kured).collect()
    }
}

/// Who may reboot a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Daemon {
    Agent,
    Kured,
}

/// Whether a pod is of this `DaemonSet`; those of agents of further pools have longer names.
fn is_of(pod: &Value, daemon: Daemon, set: &str) -> bool {
    let owners = pod["metadata"]["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten();
    let mut sets = owners.filter(|owner| owner["kind"] == "DaemonSet");
    sets.any(|owner| {
        let name = owner["name"].as_str().unwrap_or_default();
        name == set || (daemon == Daemon::Agent && name.starts_with(set))
    })
}

fn is_ready(pod: &Value) -> bool {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let is_true = conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    is_true && pod["metadata"]["deletionTimestamp"].is_null()
}
