//! The three acts: the same reboot and the same controller, each act with more protection than the one before.
//!
//! Each act is also judged here. The judgement uses what the machine recorded at its reboot, what the Nodes showed and what
//! the controller's requests returned. An agent's log is used for one thing: that it released the lock.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use cordonhold_shared::history::Event;

use super::Cluster;
use super::controller::{Controller, Tally};
use super::observer::NodeState;
use super::timeline::{Row, Tone, Who};
use crate::identity::Identity;
use crate::machine::{Machine, RebootRecord};
use crate::webhook::{Mode, Protection, Webhook};

/// Longest time from the sentinel file to the end of the drain. It usually takes 2 s.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time from the sentinel file to the wish. The agents look for the file each second.
const WISH_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest time from the first uncordon to the end of the cycle, including the reboot. It usually takes 15 s.
const CYCLE_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest wait for the controller's first uncordon. It looks every 200 ms.
const CONTROLLER_TIMEOUT: Duration = Duration::from_secs(30);
/// How many pods the Deployment grows by while the node is in its reboot delay.
const GROWTH: u32 = 12;
const TRIES_BEFORE_GIVING_UP: usize = 3;
const REDRAINS: usize = 3;

const HOLE: &str = "1 the hole";
const AGENT_ALONE: &str = "2 the agent alone";
const WITH_WEBHOOK: &str = "3 with the webhook";

/// What each act is about, for whoever watches.
const HOLE_ABOUT: &str = "The agent behaves like kured (--verify-before-reboot=never): it drains, waits, and reboots without\n\
     checking again. There is no webhook. A controller uncordons the node when it finds it drained.";
const ALONE_ABOUT: &str = "The agent with its defaults: it watches its Node, and reboots only if the node stayed cordoned\n\
     and empty since the drain; meanwhile its taint keeps pods away. There is still no webhook.\n\
     On node-1 the controller never stops, so after --redrains=3 the reboot is called off.\n\
     On node-2 the controller gives up after three tries. Only one node at a time may reboot,\n\
     so node-2 waits for node-1.";
const WEBHOOK_ABOUT: &str = "The same agent, and the controller never stops. Now the API server asks the webhook about every\n\
     update that would clear the cordon of a held node.";

/// What the act of this name is about.
pub(super) fn about(act: &str) -> &'static str {
    match act {
        HOLE => HOLE_ABOUT,
        AGENT_ALONE => ALONE_ABOUT,
        _ => WEBHOOK_ABOUT,
    }
}

/// The result of an act on one node.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) row: Row,
    /// What the act had to show and did not.
    pub(super) missing: Vec<String>,
}

/// What an act on one node is judged by.
struct Evidence {
    tally: Tally,
    state: NodeState,
    reboots: Vec<RebootRecord>,
}

/// Act 1: the agent behaves like kured, and there is no webhook.
pub(super) async fn the_hole(cluster: &mut Cluster) -> Result<Vec<Seen>> {
    let node = "node-0";
    cluster.timeline.heading("1  The hole", HOLE_ABOUT);
    let arguments = ["--verify-before-reboot=never", "--reboot-delay=8s"];
    let machine = cluster.machine(node, &arguments).await?;
    let controller = cluster.controller(node, None).await?;
    machine.request_reboot()?;
    cluster.wait_drained(node).await?;
    controller.first_try(CONTROLLER_TIMEOUT).await?;
    cluster.grow().await?;
    let evidence = cluster.wait_end(&machine, &controller).await?;
    cluster.timeline.finish();
    Ok(vec![evidence.judge(HOLE, node, Evidence::hole)])
}

/// Act 2: the agent checks before it reboots, and there is no webhook.
pub(super) async fn the_agent_alone(cluster: &mut Cluster) -> Result<Vec<Seen>> {
    let (stubborn, patient) = ("node-1", "node-2");
    cluster.timeline.heading("2  The agent alone", ALONE_ABOUT);
    let redrains = format!("--redrains={REDRAINS}");
    // The delay leaves time for the second node's wish. It never ends: the controller uncordons the node first.
    let first = cluster
        .machine(stubborn, &["--reboot-delay=20s", &redrains])
        .await?;
    let second = cluster
        .machine(patient, &["--reboot-delay=5s", "--redrains=5"])
        .await?;
    first.request_reboot()?;
    cluster.wait_drained(stubborn).await?;
    second.request_reboot()?;
    cluster.wait_wished(patient).await?;
    let never_stops = cluster.controller(stubborn, None).await?;
    let gives_up = cluster.controller(patient, Some(TRIES_BEFORE_GIVING_UP)).await?;
    never_stops.first_try(CONTROLLER_TIMEOUT).await?;
    cluster.grow().await?;
    let called_off = cluster.wait_end(&first, &never_stops).await?;
    let rebooted = cluster.wait_end(&second, &gives_up).await?;
    cluster.timeline.finish();
    Ok(vec![
        called_off.judge(AGENT_ALONE, stubborn, Evidence::called_off),
        rebooted.judge(AGENT_ALONE, patient, Evidence::drained_again),
    ])
}

/// Act 3: the same agent, and the webhook.
pub(super) async fn with_the_webhook(cluster: &mut Cluster) -> Result<Vec<Seen>> {
    let node = "node-3";
    cluster.timeline.heading("3  With the webhook", WEBHOOK_ABOUT);
    let webhook = Webhook::start(&cluster.plane, Mode::Enforce, Protection::OwnHolds).await?;
    webhook
        .register(&cluster.plane, &cluster.rendered, "node-4")
        .await?;
    cluster.webhook = Some(webhook);
    cluster.timeline.say(
        Who::Demo,
        Tone::Plain,
        "the webhook runs and is registered with failurePolicy: Fail",
    );
    let machine = cluster.machine(node, &["--reboot-delay=8s"]).await?;
    let controller = cluster.controller(node, None).await?;
    machine.request_reboot()?;
    cluster.wait_drained(node).await?;
    controller.first_try(CONTROLLER_TIMEOUT).await?;
    cluster.grow().await?;
    let evidence = cluster.wait_end(&machine, &controller).await?;
    cluster.timeline.finish();
    Ok(vec![evidence.judge(WITH_WEBHOOK, node, Evidence::all_denied)])
}

impl Cluster {
    /// A machine for the node, with a running agent whose log goes into the timeline.
    async fn machine(&mut self, node: &str, arguments: &[&str]) -> Result<Machine> {
        let mut machine = Machine::new(&self.plane, node).await?;
        self.observer.read_log(node, machine.agent_log());
        let always = ["--log-format=json", "--backoff=1h"];
        let arguments: Vec<String> = arguments
            .iter()
            .chain(&always)
            .map(|text| (*text).to_owned())
            .collect();
        machine.start_agent(&arguments).await?;
        Ok(machine)
    }

    async fn controller(&self, node: &str, tries: Option<usize>) -> Result<Controller> {
        let client = self
            .plane
            .client_from(&self.plane.kubeconfig(Identity::Controller))
            .await?;
        Ok(Controller::start(client, node, tries, self.timeline.clone()))
    }

    async fn wait_drained(&self, node: &str) -> Result<()> {
        let begun = |state: &NodeState| state.drains > 0 && state.phase.as_deref() != Some("draining");
        self.observer
            .wait_for(node, "to be drained", DRAIN_TIMEOUT, begun)
            .await
            .map(drop)
    }

    async fn wait_wished(&self, node: &str) -> Result<()> {
        let wished = |state: &NodeState| state.phase.is_some();
        self.observer
            .wait_for(node, "to wish for a reboot", WISH_TIMEOUT, wished)
            .await
            .map(drop)
    }

    /// Waits until the hold has ended and the lock is released, and collects the evidence.
    async fn wait_end(&self, machine: &Machine, controller: &Controller) -> Result<Evidence> {
        let node = machine.node();
        let rebooted = async || -> Infallible {
            if let Ok(record) = machine.wait_for_reboot(1, CYCLE_TIMEOUT).await {
                self.tell_reboot(node, &record);
            }
            std::future::pending().await
        };
        let over = |state: &NodeState| state.cycles > 0 && state.releases > 0;
        let ended = self
            .observer
            .wait_for(node, "to end its cycle", CYCLE_TIMEOUT, over);
        let ended = tokio::select! {
            ended = ended => ended,
            never = rebooted() => match never {},
        };
        machine.check_agent().await?;
        Ok(Evidence {
            tally: controller.tally(),
            state: ended?,
            reboots: machine.reboots(),
        })
    }

    fn tell_reboot(&self, node: &str, record: &RebootRecord) {
        let pods = record.pods.len();
        let chronicle = &self.timeline.chronicle;
        chronicle.pods(node, record.at, pods);
        chronicle.happened(node, record.at, Event::Reboot, "");
        let (tone, text) = if pods == 0 {
            (Tone::Good, "goes down: no pods on it".to_owned())
        } else {
            let (first, more) = (&record.pods[0], pods - 1);
            (
                Tone::Bad,
                format!("GOES DOWN WITH {pods} PODS ON IT: {first} and {more} more"),
            )
        };
        self.timeline
            .say_at(record.at, Who::Machine(node.to_owned()), tone, text);
    }

    /// Scales the Deployment up, as can happen at any time. The scheduler prefers the emptiest node.
    async fn grow(&mut self) -> Result<()> {
        self.replicas += GROWTH;
        let scale = json!({ "spec": { "replicas": self.replicas } });
        let deployments: Api<Deployment> = Api::default_namespaced(self.plane.client());
        let text = format!("the Deployment grows by {GROWTH} pods, to {}", self.replicas);
        self.timeline.say(Who::Demo, Tone::Plain, text);
        let scaled = deployments
            .patch(super::DEPLOYMENT, &PatchParams::default(), &Patch::Merge(scale))
            .await;
        ensure!(scaled.is_ok(), "failed to scale the Deployment: {scaled:?}");
        Ok(())
    }
}

impl Evidence {
    fn judge(self, act: &'static str, node: &str, wanted: fn(&Self) -> Vec<(bool, String)>) -> Seen {
        let mut missing: Vec<String> = wanted(&self)
            .into_iter()
            .filter(|(is_so, _)| !is_so)
            .map(|(_, what)| format!("{act}: {node} {what}"))
            .collect();
        missing.extend(
            self.tally
                .failures
                .iter()
                .map(|failure| format!("{act}: {failure}")),
        );
        let pods_at_reboot = self.reboots.first().map(|record| record.pods.len());
        let (tone, outcome) = match pods_at_reboot {
            None => (Tone::Warning, "called off, not rebooted".to_owned()),
            Some(0) if self.state.drains == 1 => (Tone::Good, "rebooted empty, after one drain".to_owned()),
            Some(0) => (Tone::Good, "rebooted empty".to_owned()),
            Some(pods) => (Tone::Bad, format!("rebooted with {pods} pods on it")),
        };
        Seen {
            row: Row {
                act,
                node: node.to_owned(),
                uncordons: self.tally.tried(),
                denied: self.tally.denied,
                drains: self.state.drains,
                pods_at_reboot,
                outcome,
                outcome_tone: tone,
            },
            missing,
        }
    }

    fn hole(&self) -> Vec<(bool, String)> {
        vec![
            self.reboots_are(1),
            (
                self.reboots.iter().all(|record| !record.pods.is_empty()),
                "was rebooted without pods: the hole was not shown".to_owned(),
            ),
            self.denied_are(0),
            self.is_schedulable(),
        ]
    }

    fn called_off(&self) -> Vec<(bool, String)> {
        vec![
            self.reboots_are(0),
            self.denied_are(0),
            self.drains_are(REDRAINS + 1),
            self.is_schedulable(),
        ]
    }

    fn drained_again(&self) -> Vec<(bool, String)> {
        let mut wanted = self.clean_reboot();
        wanted.extend([self.denied_are(0), self.drains_are(TRIES_BEFORE_GIVING_UP + 1)]);
        wanted
    }

    fn all_denied(&self) -> Vec<(bool, String)> {
        let mut wanted = self.clean_reboot();
        wanted.extend([
            (self.tally.denied > 0, "saw no uncordon denied".to_owned()),
            self.denied_are(self.tally.tried()),
            self.drains_are(1),
        ]);
        wanted
    }

    fn clean_reboot(&self) -> Vec<(bool, String)> {
        vec![
            self.reboots_are(1),
            (
                self.reboots.iter().all(|record| record.pods.is_empty()),
                "was rebooted with pods on it".to_owned(),
            ),
            (
                self.reboots.iter().all(|record| record.unschedulable),
                "was rebooted while it was schedulable".to_owned(),
            ),
            self.is_schedulable(),
        ]
    }

    fn reboots_are(&self, count: usize) -> (bool, String) {
        let seen = self.reboots.len();
        (
            seen == count,
            format!("was rebooted {seen} times instead of {count}"),
        )
    }

    fn denied_are(&self, count: usize) -> (bool, String) {
        let (seen, tried) = (self.tally.denied, self.tally.tried());
        (
            seen == count,
            format!("had {seen} of {tried} uncordons denied instead of {count}"),
        )
    }

    fn drains_are(&self, count: usize) -> (bool, String) {
        let seen = self.state.drains;
        (
            seen == count,
            format!("was drained {seen} times instead of {count}"),
        )
    }

    fn is_schedulable(&self) -> (bool, String) {
        (
            !self.state.cordoned,
            "is still cordoned: its cordon was not given back".to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn reboot(pods: &[&str], unschedulable: bool) -> RebootRecord {
        RebootRecord {
            at: Timestamp::UNIX_EPOCH,
            pods: pods.iter().map(|pod| (*pod).to_owned()).collect(),
            unschedulable,
            sealed: true,
            boot_id: String::new(),
        }
    }

    fn evidence(allowed: usize, denied: usize, drains: usize, reboots: Vec<RebootRecord>) -> Evidence {
        Evidence {
            tally: Tally {
                allowed,
                denied,
                failures: Vec::new(),
            },
            state: NodeState {
                drains,
                ..NodeState::default()
            },
            reboots,
        }
    }

    fn missing(evidence: Evidence, wanted: fn(&Evidence) -> Vec<(bool, String)>) -> usize {
        evidence.judge("act", "node-0", wanted).missing.len()
    }

    #[test]
    fn an_act_that_shows_what_it_must_misses_nothing() {
        let under_pods = reboot(&["default/a"], false);
        assert_eq!(missing(evidence(1, 0, 1, vec![under_pods]), Evidence::hole), 0);
        assert_eq!(missing(evidence(4, 0, 4, vec![]), Evidence::called_off), 0);
        let clean = reboot(&[], true);
        assert_eq!(
            missing(evidence(3, 0, 4, vec![clean.clone()]), Evidence::drained_again),
            0
        );
        assert_eq!(missing(evidence(0, 9, 1, vec![clean]), Evidence::all_denied), 0);
    }

    #[test]
    fn an_act_that_shows_anything_else_says_so() {
        let (clean, under_pods) = (reboot(&[], true), reboot(&["default/a"], false));
        assert_eq!(missing(evidence(1, 0, 1, vec![clean.clone()]), Evidence::hole), 1);
        assert_eq!(
            missing(evidence(4, 0, 4, vec![under_pods.clone()]), Evidence::called_off),
            1
        );
        assert_eq!(
            missing(evidence(3, 0, 4, vec![under_pods]), Evidence::drained_again),
            2
        );
        assert_eq!(
            missing(evidence(1, 8, 1, vec![clean.clone()]), Evidence::all_denied),
            1
        );
        let mut undecided = evidence(0, 8, 1, vec![clean]);
        undecided.tally.failures.push("timeout".to_owned());
        assert_eq!(missing(undecided, Evidence::all_denied), 2);
    }
}
