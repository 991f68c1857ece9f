//! A Node under test. Its marks are written by the same patches and with the same identity as the agent's, without an agent.

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::{Holder, Phase};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use cordonhold_tests::marks::Marks;
use jiff::SignedDuration;
use kube::Client;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::wire::{self, Answer, Write};

pub(crate) struct Subject<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) name: String,
    pub(crate) agent: Client,
}

/// The part of a Node that the webhook protects.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Guarded {
    pub(crate) unschedulable: bool,
    pub(crate) is_tainted: bool,
    pub(crate) phase: Option<String>,
    pub(crate) annotations: Vec<(&'static str, Option<String>)>,
}

impl Guarded {
    pub(crate) fn of(node: &NodeView) -> Self {
        let keys_of_ours = keys::MARK_ANNOTATIONS.into_iter().chain([keys::CANCEL]);
        Self {
            unschedulable: node.spec.unschedulable,
            is_tainted: node.is_tainted(keys::REBOOTING),
            phase: node.label(keys::PHASE).map(ToOwned::to_owned),
            annotations: keys_of_ours
                .map(|key| (key, node.annotation(key).map(ToOwned::to_owned)))
                .collect(),
        }
    }
}

impl<'a> Subject<'a> {
    /// Creates a Node: Ready, schedulable, without marks.
    pub(crate) async fn new(cluster: &'a Cluster, name: &str) -> Result<Self> {
        cluster.plane.add_node(name).await?;
        Ok(Self {
            cluster,
            name: name.to_owned(),
            agent: cluster.agent_on(name).await?,
        })
    }

    /// Creates a Node in this phase.
    pub(crate) async fn held(cluster: &'a Cluster, name: &str, phase: Phase) -> Result<Self> {
        let subject = Self::new(cluster, name).await?;
        drop(subject.hold(phase).await?);
        Ok(subject)
    }

    pub(crate) async fn json(&self) -> Result<Value> {
        let request = http::Request::get(format!("/api/v1/nodes/{}", self.name)).body(Vec::new())?;
        self.cluster
            .admin
            .request(request)
            .await
            .with_context(|| format!("failed to get the Node {}", self.name))
    }

    pub(crate) async fn view(&self) -> Result<NodeView> {
        serde_json::from_value(self.json().await?).context("failed to read a Node")
    }

    pub(crate) async fn guarded(&self) -> Result<Guarded> {
        Ok(Guarded::of(&self.view().await?))
    }

    pub(crate) async fn is_cordoned(&self) -> Result<bool> {
        Ok(self.view().await?.spec.unschedulable)
    }

    /// The marks of this Node.
    pub(crate) fn marks(&self) -> Marks {
        Marks::new(&self.name, self.cluster.admin.clone(), self.agent.clone())
    }

    /// Brings a Node without a hold to this phase, by the agent's steps.
    pub(crate) async fn hold(&self, phase: Phase) -> Result<Holder> {
        self.marks().hold(phase).await
    }

    /// Sets `until` as if the last renewal was `age` ago.
    pub(crate) async fn renewed_before(&self, age: SignedDuration) -> Result<()> {
        self.marks().renewed_before(age).await
    }

    pub(crate) async fn give_back(&self) -> Result<()> {
        self.marks().give_back().await
    }

    pub(crate) async fn write(&self, client: &Client, write: Write, body: &Value) -> Result<Answer> {
        wire::write(client, &self.name, write, body).await
    }

    /// Checks that a write is denied for this reason: by its status code, the webhook's name and the log line, and without effect.
    pub(crate) async fn is_denied(
        &self,
        client: &Client,
        write: Write,
        body: &Value,
        reason: &str,
    ) -> Result<Answer> {
        let before = self.guarded().await?;
        let length = self.cluster.log_length().await?;
        let answer = self.write(client, write, body).await?;
        let what = || format!("{write:?} {body} on {}", self.name);
        answer.denied().with_context(what)?;
        let decision = self
            .cluster
            .decision_since(length, &self.name)
            .await
            .with_context(what)?;
        ensure!(
            decision["verdict"] == "deny" && decision["reason"] == reason,
            "{}: expected {reason}, got {decision}",
            what()
        );
        self.is_still(&before).await.with_context(what)?;
        Ok(answer)
    }

    /// Checks that a write passes, whether or not the webhook sees it.
    pub(crate) async fn passes(&self, client: &Client, write: Write, body: &Value) -> Result<Answer> {
        let answer = self.write(client, write, body).await?;
        answer
            .passed()
            .with_context(|| format!("{write:?} {body} on {}", self.name))?;
        Ok(answer)
    }

    pub(crate) async fn is_still(&self, before: &Guarded) -> Result<()> {
        let after = self.guarded().await?;
        ensure!(
            after == *before,
            "the Node {} changed: {before:?} to {after:?}",
            self.name
        );
        Ok(())
    }

    /// Checks that kubectl's uncordon passes and takes effect.
    pub(crate) async fn can_be_uncordoned(&self, client: &Client) -> Result<Answer> {
        let answer = self.passes(client, Write::Strategic, &uncordon()).await?;
        ensure!(
            !self.is_cordoned().await?,
            "{} is cordoned after an uncordon that passed",
            self.name
        );
        Ok(answer)
    }
}

/// The patch that `kubectl uncordon` sends.
pub(crate) fn uncordon() -> Value {
    json!({ "spec": { "unschedulable": null } })
}

pub(crate) fn cordon() -> Value {
    json!({ "spec": { "unschedulable": true } })
}

pub(crate) fn annotate(key: &str, value: Option<&str>) -> Value {
    json!({ "metadata": { "annotations": { key: value } } })
}
