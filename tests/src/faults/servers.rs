//! Faults that all agents share: of the API server, of etcd, and of the webhook. All runs of one such fault wait at their steps until each has
//! come there; then it happens, once, and they go on.
//!
//! Not here: faults of one agent's requests, see [`super::proxy`].

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use rustix::process::Signal;
use serde_json::json;

use super::clock;
use super::fault::{Fault, LATE, PAUSE};
use super::pair::Pair;
use super::proxy::upstream;
use super::relay::{Flow, Relay};
use super::{PROBED, Stage};
use crate::control_plane::Server;
use crate::webhook::{CONFIGURATION, pass_when_dead};

/// The one member of etcd where there is one.
const ETCD: usize = 0;
/// By how much one of three API servers is behind the others.
const LAG: Duration = Duration::from_secs(2);

/// Two more API servers on the same etcd, of which the second hears of it through a relay.
pub(super) struct Further {
    relay: Relay,
    clients: [Client; 2],
}

impl Stage {
    /// What the agents ask: one API server, or three in turn.
    pub(super) fn upstreams(&self, fault: Option<Fault>) -> Result<Vec<Client>> {
        let mut upstreams = vec![upstream(self.plane.endpoint())?];
        if fault.is_some_and(Fault::needs_three_servers) {
            let further = self.further.as_ref().context("there is one API server")?;
            upstreams.extend(further.clients.iter().cloned());
        }
        Ok(upstreams)
    }

    /// Starts what this fault needs.
    pub(super) async fn prepare(&mut self, fault: Fault) -> Result<()> {
        if !fault.needs_three_servers() || self.further.is_some() {
            return Ok(());
        }
        let etcd = self.plane.etcd_port()?;
        let relay = Relay::start(etcd).await?;
        let second = self.plane.start_further_api_server("second", etcd).await?;
        let third = self.plane.start_further_api_server("third", relay.port()).await?;
        let clients = [upstream(&second)?, upstream(&third)?];
        self.further = Some(Further { relay, clients });
        Ok(())
    }

    /// Lets it happen, and lets the agents go on when it has begun. Returns when the servers run again.
    pub(super) async fn happens(&mut self, fault: Fault, pairs: &[Pair]) -> Result<()> {
        match fault {
            Fault::ApiServerStopped => {
                self.plane.stop_api_server();
                for_a_while(pairs, LATE).await;
                self.plane.start_api_server().await
            }
            Fault::EtcdStopped => {
                self.plane.stop_etcd(ETCD);
                for_a_while(pairs, LATE).await;
                self.plane.start_etcd(ETCD).await
            }
            Fault::ApiServerPaused => self.pause(Server::ApiServer, pairs).await,
            Fault::EtcdPaused => self.pause(Server::Etcd(ETCD), pairs).await,
            Fault::EtcdLeaderStopped => {
                let leader = self.plane.etcd_leader(None).await?;
                self.plane.stop_etcd(leader);
                self.another_leads(leader, LATE, pairs).await?;
                self.plane.start_etcd(leader).await?;
                self.plane.etcd_leader(None).await.map(drop)
            }
            Fault::EtcdLeaderPaused => {
                let leader = self.plane.etcd_leader(None).await?;
                self.plane.signal(Server::Etcd(leader), Signal::STOP)?;
                self.another_leads(leader, PAUSE, pairs).await?;
                self.plane.signal(Server::Etcd(leader), Signal::CONT)?;
                self.plane.etcd_leader(None).await.map(drop)
            }
            Fault::ServerLags => self.relayed(Flow::Late(LAG), pairs),
            Fault::ServerFrozen => {
                self.relayed(Flow::Frozen, pairs)?;
                tokio::time::sleep(PAUSE).await;
                self.relayed(Flow::Free, pairs)
            }
            Fault::WebhookDead => {
                self.webhook.kill();
                self.uncordon(pairs, Uncordon::Refused).await
            }
            Fault::WebhookIgnored => {
                pass_when_dead(&self.plane.client()).await?;
                self.webhook.kill();
                self.uncordon(pairs, Uncordon::Passes).await
            }
            Fault::WebhookDeleted => {
                let configurations: Api<ValidatingWebhookConfiguration> = Api::all(self.plane.client());
                let deleted = configurations
                    .delete(CONFIGURATION, &DeleteParams::default())
                    .await;
                drop(deleted.context("failed to delete the webhook's configuration")?);
                self.uncordon(pairs, Uncordon::Passes).await
            }
            Fault::WebhookAhead => {
                self.set_webhook_clock(clock::AHEAD).await?;
                self.uncordon(pairs, Uncordon::Passes).await
            }
            Fault::WebhookBehind => {
                self.set_webhook_clock(clock::BEHIND).await?;
                self.uncordon(pairs, Uncordon::Refused).await
            }
            _ => Ok(()),
        }
    }

    /// Undoes what is left of it, so that the next fault begins as the first did.
    pub(super) async fn is_over(&mut self, fault: Fault) -> Result<()> {
        if let Some(further) = &self.further {
            further.relay.set(Flow::Free);
        }
        if fault.is_of_webhook() {
            self.webhook.kill();
            self.webhook.set_environment(Vec::new());
            self.webhook.start_again().await?;
            self.webhook.register(&self.plane, &self.rendered, PROBED).await?;
        }
        Ok(())
    }

    async fn pause(&self, server: Server, pairs: &[Pair]) -> Result<()> {
        self.plane.signal(server, Signal::STOP)?;
        for_a_while(pairs, PAUSE).await;
        self.plane.signal(server, Signal::CONT)
    }

    /// Lets the agents go on while etcd has lost its leader, and then another leads for a while.
    async fn another_leads(&self, lost: usize, length: Duration, pairs: &[Pair]) -> Result<()> {
        go_on(pairs);
        let _ = self.plane.etcd_leader(Some(lost)).await?;
        tokio::time::sleep(length).await;
        Ok(())
    }

    fn relayed(&self, flow: Flow, pairs: &[Pair]) -> Result<()> {
        let further = self.further.as_ref().context("there is one API server")?;
        further.relay.set(flow);
        go_on(pairs);
        Ok(())
    }

    async fn set_webhook_clock(&mut self, offset: &str) -> Result<()> {
        let file = self.plane.directory().join("webhook.clock");
        self.webhook.set_environment(clock::environment(&file)?);
        clock::set(&file, offset)?;
        self.webhook.kill();
        self.webhook.start_again().await
    }

    /// Uncordons each node that is held, as an admin. Then the agents go on.
    async fn uncordon(&self, pairs: &[Pair], expected: Uncordon) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.plane.client());
        let uncordon = json!({ "spec": { "unschedulable": null } });
        for pair in pairs {
            let is_held = pair.is_held().await?;
            let parameters = PatchParams::default();
            let answer = nodes
                .patch(pair.node(), &parameters, &Patch::Merge(&uncordon))
                .await;
            let is_right = match expected {
                Uncordon::Passes => answer.is_ok(),
                Uncordon::Refused => answer.is_err() == is_held,
            };
            ensure!(
                is_right,
                "an uncordon of {} was not {expected:?}: {answer:?}",
                pair.node()
            );
        }
        go_on(pairs);
        Ok(())
    }
}

/// What must become of an uncordon of a held node.
#[derive(Clone, Copy, Debug)]
enum Uncordon {
    Passes,
    Refused,
}

fn go_on(pairs: &[Pair]) {
    for pair in pairs {
        pair.go_on();
    }
}

/// Lets the agents go on, and the fault last for a while.
async fn for_a_while(pairs: &[Pair], length: Duration) {
    go_on(pairs);
    tokio::time::sleep(length).await;
}
