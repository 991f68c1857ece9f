//! A rollout of the agent's DaemonSet during a drain: the old agent finishes what it has sent, and the new one goes on.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_tests::NAMESPACE;
use cordonhold_tests::control_plane::ControlPlane;
use cordonhold_tests::host::RebootCommand;
use cordonhold_tests::wait;
use futures_util::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{EvictParams, Patch, PatchParams, WatchParams};
use kube::core::WatchEvent;
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::admission_policy::{self, Rule};
use crate::cluster::{alone, on_fleet};
use crate::fleet::{POD_TIMEOUT, Site, evictions_of, unguarded_plane};

/// A finalizer that keeps an evicted pod.
const FINALIZER: &str = "cordonhold.test/stays";

/// In the same case kured uncordons the node, reports a reboot, and releases its lock (its defect D4).
#[test]
fn d4_a_rollout_in_the_middle_of_a_drain_neither_undoes_nor_repeats_it() -> Result<()> {
    alone(async || {
        let plane = unguarded_plane(1).await?;
        let mut site = Site::without_agent(&plane, "node-0").await?;
        site.add_blocked_pod("blocked").await?;
        site.add_pod("leaving").await?;
        set_finalizer(&plane, "leaving", true).await?;
        site.start_agent(&["--reboot-delay=2s"]).await?;
        site.machine.request_reboot()?;
        let node = site.wait_phase(Phase::Draining).await?;
        let holder = node.annotation(keys::HOLDER).map(str::to_owned);
        let history = History::follow(&plane, "node-0", node.version());
        site.wait_evicted("leaving").await?;

        let pod = site.machine.agent_pod_uid().await?;
        roll_out(&plane).await?;
        site.machine.wait_new_agent_pod(pod.as_deref()).await?;
        site.machine.terminate_agent().await?;
        site.machine.restart_agent().await?;
        site.wait_logged("found our own hold on the Node: going on from its phase")
            .await?;
        set_finalizer(&plane, "leaving", false).await?;
        site.unblock_pod("blocked").await?;
        let reboot = site.wait_clean_reboot().await?;

        for seen in history.until(&reboot.at)? {
            ensure!(
                seen.unschedulable,
                "uncordoned in the middle of the drain: {seen:?}"
            );
            ensure!(seen.holder == holder, "another hold: {seen:?} and not {holder:?}");
        }
        let accepted = evictions_of(&plane, "leaving")?;
        ensure!(accepted == 1, "the pod was evicted {accepted} times");
        site.reboots_once_and_is_given_back().await
    })
}

/// If the client of an eviction goes away after the budget was reduced and before the pod is deleted, the budget blocks for two
/// minutes.
#[test]
fn an_agent_that_is_ended_waits_for_the_evictions_that_it_has_sent() -> Result<()> {
    alone(async || {
        let plane = unguarded_plane(1).await?;
        let mut site = Site::without_agent(&plane, "node-0").await?;
        site.add_pod("asked").await?;
        let webhook = SlowWebhook::start(&plane, "asked").await?;
        site.start_agent(&["--reboot-delay=2s"]).await?;
        site.machine.request_reboot()?;
        let question = webhook.question().await?;
        let answering = async {
            site.wait_logged("waiting for the answers to evictions").await?;
            ensure!(
                site.has_pod("asked").await?,
                "evicted without the webhook's answer"
            );
            drop(question);
            Ok(())
        };
        let (ended, answered) = tokio::join!(site.machine.terminate_agent(), answering);
        answered.and(ended)?;
        ensure!(!site.has_pod("asked").await?, "the eviction was cut off");
        site.machine.restart_agent().await?;
        site.reboots_once_and_is_given_back().await?;
        let accepted = evictions_of(&plane, "asked")?;
        ensure!(accepted == 1, "the pod was evicted {accepted} times");
        Ok(())
    })
}

/// If the agent ended earlier, the reboot command would die with its container.
#[test]
fn an_agent_that_is_ended_waits_for_its_reboot_command() -> Result<()> {
    on_fleet(async |plane| {
        plane.add_node("ended-rebooting").await?;
        let mut site = Site::without_agent(plane, "ended-rebooting").await?;
        site.machine.set_reboot_command(RebootCommand::Waits)?;
        site.start_agent(&[]).await?;
        site.machine.request_reboot()?;
        site.wait_logged("running the reboot command").await?;
        let letting_go = async {
            site.wait_logged("and the end of reboot commands").await?;
            site.machine.host().let_reboot_go()
        };
        let (ended, let_go) = tokio::join!(site.machine.terminate_agent(), letting_go);
        let_go.and(ended)?;
        site.reboots_once_and_is_given_back().await
    })
}

/// A webhook for the evictions of one pod. It takes as long as the test wants, and the API server then ignores its failure.
struct SlowWebhook(TcpListener);

impl SlowWebhook {
    /// Registers the webhook and waits until the API server calls it.
    async fn start(plane: &ControlPlane, pod: &str) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("https://{}/", listener.local_addr()?);
        let name = format!("request.name == '{pod}'");
        let rule = Rule::of_evictions(&name);
        admission_policy::create_webhook(&plane.client(), pod, &url, "Ignore", &rule).await?;
        let pods: Api<Pod> = Api::default_namespaced(plane.client());
        let mut params = EvictParams::default();
        params.post_options.dry_run = true;
        wait::until("the API server to ask the webhook", POD_TIMEOUT, || async {
            let mut eviction = std::pin::pin!(pods.evict(pod, &params));
            tokio::select! {
                accepted = listener.accept() => drop(accepted?),
                evicted = &mut eviction => return Ok(evicted.map(|_| None)?),
            }
            Ok(Some(eviction.await.map(drop)?))
        })
        .await?;
        Ok(Self(listener))
    }

    /// Waits until the API server calls the webhook. Dropping the connection leaves the call without an answer.
    async fn question(&self) -> Result<TcpStream> {
        let accepted = tokio::time::timeout(POD_TIMEOUT, self.0.accept()).await;
        let (stream, _) = accepted.context("the webhook was not asked")??;
        Ok(stream)
    }
}

async fn roll_out(plane: &ControlPlane) -> Result<()> {
    let sets: Api<DaemonSet> = Api::namespaced(plane.client(), NAMESPACE);
    let template =
        json!({ "spec": { "template": { "metadata": { "annotations": { "test/rollout": "1" } } } } });
    let patched = sets
        .patch(
            "cordonhold-agent",
            &PatchParams::default(),
            &Patch::Merge(template),
        )
        .await;
    patched
        .map(drop)
        .context("failed to change the DaemonSet's template")
}

async fn set_finalizer(plane: &ControlPlane, pod: &str, on: bool) -> Result<()> {
    let pods: Api<Pod> = Api::default_namespaced(plane.client());
    let finalizers: Vec<&str> = on.then_some(FINALIZER).into_iter().collect();
    let patch = json!({ "metadata": { "finalizers": finalizers } });
    let patched = pods
        .patch(pod, &PatchParams::default(), &Patch::Merge(patch))
        .await;
    patched
        .map(drop)
        .with_context(|| format!("failed to set the finalizers of the pod {pod}"))
}

/// All versions of a Node, from a watch.
pub(crate) struct History {
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    at: jiff::Timestamp,
    pub(crate) unschedulable: bool,
    pub(crate) holder: Option<String>,
}

impl History {
    pub(crate) fn follow(plane: &ControlPlane, node: &str, version: &str) -> Self {
        let nodes: Api<Node> = Api::all(plane.client());
        let params = WatchParams::default().fields(&format!("metadata.name={node}"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (list, version) = (Arc::clone(&seen), version.to_owned());
        let task = tokio::spawn(async move {
            let Ok(events) = nodes.watch(&params, &version).await else {
                return;
            };
            let mut events = events.into_stream().boxed();
            while let Some(Ok(event)) = events.next().await {
                let (WatchEvent::Added(node) | WatchEvent::Modified(node)) = event else {
                    continue;
                };
                list.lock().unwrap_or_else(PoisonError::into_inner).push(Seen {
                    at: jiff::Timestamp::now(),
                    unschedulable: node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true),
                    holder: node.annotations().get(keys::HOLDER).cloned(),
                });
            }
        });
        Self { seen, task }
    }

    /// The versions up to this time. An error if there are none.
    pub(crate) fn until(self, end: &jiff::Timestamp) -> Result<Vec<Seen>> {
        self.task.abort();
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen: Vec<Seen> = seen.iter().filter(|seen| seen.at <= *end).cloned().collect();
        ensure!(!seen.is_empty(), "the watch of the Node has shown nothing");
        Ok(seen)
    }
}
