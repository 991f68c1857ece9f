//! A Node under test. Its marks are written by the same patches and with the same identity as the agent's, without an agent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::{self, Hold, Holder, NodePatch, Phase, Proof, Terms};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use cordonhold_tests::wait;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::wire::{self, Answer, Write};

/// Longest write. Conflicts with heartbeats and the node controller end within milliseconds.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
const TERMS: Terms = Terms {
    reboot: SignedDuration::from_mins(30),
    release: SignedDuration::ZERO,
};

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

    /// Brings a Node without a hold to this phase, by the agent's steps.
    pub(crate) async fn hold(&self, phase: Phase) -> Result<Holder> {
        let holder = Holder {
            node_uid: self.view().await?.metadata.uid,
            created: format!("{:.9}", Timestamp::now()),
        };
        for step in Phase::ALL {
            self.patch_as_agent(Timestamp::now(), |node| step_to(step, node, &holder))
                .await?;
            if step == phase {
                break;
            }
        }
        ensure!(
            self.view().await?.label(keys::PHASE) == Some(phase.as_str()),
            "the marks of {} did not come about",
            self.name
        );
        Ok(holder)
    }

    /// Sets `until` as if the last renewal was `age` ago.
    pub(crate) async fn renewed_before(&self, age: SignedDuration) -> Result<()> {
        let then = Timestamp::now().checked_sub(age)?;
        self.patch_as_agent(then, |node| {
            let hold = hold_of(node)?;
            let leaves = hold.written(hold.phase, proof());
            Ok(NodePatch::renew(node, leaves, None))
        })
        .await
    }

    pub(crate) async fn give_back(&self) -> Result<()> {
        self.patch_as_agent(Timestamp::now(), |node| {
            Ok(NodePatch::give_back(node, &hold_of(node)?, proof()))
        })
        .await
    }

    /// Writes a patch as the agent. After a conflict the patch is made again for the new version.
    pub(crate) async fn patch_as_agent(
        &self,
        now: Timestamp,
        decide: impl Fn(&NodeView) -> Result<NodePatch>,
    ) -> Result<()> {
        let what = format!("the agent's write to {}", self.name);
        wait::until(&what, WRITE_TIMEOUT, || async {
            let patch = decide(&self.view().await?)?;
            let answer = self
                .write(&self.agent, Write::Merge, &patch.body(now, &TERMS))
                .await?;
            if answer.code == 409 {
                return Ok(None);
            }
            answer.passed().map(Some)
        })
        .await
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

fn step_to(step: Phase, node: &NodeView, holder: &Holder) -> Result<NodePatch> {
    if step == Phase::Wanted {
        return Ok(NodePatch::stamp(node, Hold::wish(holder.clone(), proof())));
    }
    let hold = hold_of(node)?;
    let leaves = Hold {
        boot_id: Some("11111111-1111-4111-8111-111111111111/1.0".to_owned()),
        was_unschedulable: hold.was_unschedulable.or(Some(node.spec.unschedulable)),
        ..hold.written(step, proof())
    };
    Ok(match step {
        Phase::Draining => NodePatch::cordon(node, leaves, true),
        Phase::Delaying => NodePatch::delay(node, leaves),
        Phase::Sealed => NodePatch::seal(node, leaves),
        Phase::Wanted | Phase::Returning => NodePatch::returning(node, leaves),
    })
}

/// A new proof; each write has its own.
fn proof() -> Proof {
    static WRITES: AtomicU64 = AtomicU64::new(1);
    Proof::new(WRITES.fetch_add(1, Ordering::Relaxed).into())
}

fn hold_of(node: &NodeView) -> Result<Hold> {
    hold::read(node)
        .present()
        .with_context(|| format!("{} carries no hold that can be read", node.name()))
}
