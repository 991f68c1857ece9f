//! A controller that puts a node back into service: whenever it finds its node cordoned and drained, it uncordons it.
//!
//! It is an ordinary client with permission to patch nodes, and sends the patch that `kubectl uncordon` sends.

use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use cordonhold_shared::history::Answer;
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;

use super::timeline::{Timeline, Tone, Who};

const INTERVAL: Duration = Duration::from_millis(200);

/// How many of the controller's uncordons were allowed and denied so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) allowed: usize,
    pub(super) denied: usize,
    /// Errors other than a denial, one text for each.
    pub(super) failures: Vec<String>,
}

impl Tally {
    pub(super) fn tried(&self) -> usize {
        self.allowed + self.denied + self.failures.len()
    }
}

/// The controller at work on one node; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Controller {
    tally: watch::Receiver<Tally>,
    task: JoinHandle<()>,
}

impl Controller {
    /// Starts a controller for `node`. It stops after `tries` uncordons; with `None` it never stops.
    pub(super) fn start(client: Client, node: &str, tries: Option<usize>, timeline: Timeline) -> Self {
        let (sender, tally) = watch::channel(Tally::default());
        let work = Work {
            nodes: Api::all(client),
            node: node.to_owned(),
            tries,
            tally: sender,
            timeline,
        };
        Self {
            tally,
            task: tokio::spawn(work.run()),
        }
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally.borrow().clone()
    }

    /// Waits until the controller has tried one uncordon.
    pub(super) async fn first_try(&self, bound: Duration) -> Result<()> {
        let mut tally = self.tally.clone();
        let tried = tokio::time::timeout(bound, tally.wait_for(|tally| tally.tried() > 0)).await;
        let tried =
            tried.with_context(|| format!("waited {bound:?} in vain for the controller's first uncordon"))?;
        tried.map(drop).context("the controller has ended")
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Work {
    nodes: Api<Node>,
    node: String,
    tries: Option<usize>,
    tally: watch::Sender<Tally>,
    timeline: Timeline,
}

impl Work {
    async fn run(self) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let _ = ticks.tick().await;
            if let Ok(node) = self.nodes.get(&self.node).await
                && is_cordoned(&node)
                && is_drained(&node)
            {
                self.uncordon().await;
            }
            let tried = self.tally.borrow().tried();
            if self.tries.is_some_and(|tries| tried >= tries) {
                self.timeline.say(
                    Who::Controller,
                    Tone::Plain,
                    format!("gives up on {} after {tried} tries", self.node),
                );
                // Does not return: the tally can be read only while its sender lives.
                return std::future::pending().await;
            }
        }
    }

    async fn uncordon(&self) {
        let patch = Patch::Strategic(json!({ "spec": { "unschedulable": null } }));
        let parameters = PatchParams::default();
        // Others may see the effect of the patch before we get the answer, so the line gets the time of sending.
        let sent = Timestamp::now();
        match self.nodes.patch(&self.node, &parameters, &patch).await {
            // The agent gave the cordon back between our read and our patch, so this was no uncordon.
            Ok(node) if !is_drained(&node) => {}
            Ok(_) => {
                let text = format!("uncordons {}: allowed", self.node);
                self.timeline.say_at(sent, Who::Controller, Tone::Warning, text);
                self.timeline.chronicle.uncordon(&self.node, sent, Answer::Passed);
                self.tally.send_modify(|tally| tally.allowed += 1);
            }
            Err(kube::Error::Api(status)) if status.code == 403 => {
                self.timeline.say_denied(sent, &self.node, &status.message);
                self.timeline.chronicle.uncordon(&self.node, sent, Answer::Denied);
                self.tally.send_modify(|tally| tally.denied += 1);
            }
            Err(error) => {
                let text = format!("uncordons {}: {error}", self.node);
                self.timeline
                    .say_at(sent, Who::Controller, Tone::Bad, text.clone());
                self.tally.send_modify(|tally| tally.failures.push(text));
            }
        }
    }
}

fn is_cordoned(node: &Node) -> bool {
    node.spec
        .as_ref()
        .and_then(|spec| spec.unschedulable)
        .unwrap_or(false)
}

/// Whether the drain of a held node is over. The controller waits for that only to make the demo easier to follow:
/// uncordons during the drain would show the same.
fn is_drained(node: &Node) -> bool {
    let phase = node.labels().get(keys::PHASE).map(String::as_str);
    [Phase::Delaying, Phase::Sealed, Phase::Returning]
        .into_iter()
        .any(|drained| phase == Some(drained.as_str()))
}
