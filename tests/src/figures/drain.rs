//! The drain of a full node: ours beside `kubectl drain`, and beside the floor, a bare client that asks for 50 evictions at a time and watches the pods go.
//!
//! kubectl gets the options that kured sets in kubectl's drain library, and its time is that of the program. Ours runs from the cordon to the phase after
//! the drain, and so without noticing the wish and taking the lock. KWOK plays the kubelet; pods end at once, so that the requests are measured, or after
//! their grace. Each drains a node of its own, by turns. Not here: what the agent does then.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{
    DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Figure, Goal, median};
use crate::control_plane::{ControlPlane, FULL_GRACE_ANNOTATION, Options};
use crate::follow::{Change, follow};
use crate::identity::Identity;
use crate::install::{install, manifests};
use crate::machine::Machine;
use crate::wait;

/// Pods without a budget, as bare pods.
const PODS: u32 = 250;
/// Pods with a budget, of one Deployment, and how many of them it lets be away at a time.
const GUARDED: u32 = 50;
const AWAY: u32 = 5;
/// The grace of each pod, in seconds.
const GRACE: u32 = 30;
/// Longest drain. kubectl takes about 0.2 s for each pod, and with a budget 5 s for each time that it lets some go.
const DRAIN_TIMEOUT: Duration = Duration::from_mins(10);
const PODS_TIMEOUT: Duration = Duration::from_mins(5);
/// How many pods are created in parallel.
const CREATED_AT_ONCE: usize = 20;
/// How many evictions a bare client has under way.
const EVICTED_AT_ONCE: usize = 50;
/// After this a bare client asks again whether a budget lets a pod go.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// The label of nodes that may have pods with a budget.
const POOL: &str = "figures/pool";
/// Where the pods with a budget go.
const SPARE: &str = "spare";
/// The noise of a drain of seconds; kubectl's takes as long on a slower machine, and ours takes longer.
const MARGIN: f64 = 3.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Ours,
    Kubectl,
    Floor,
}

const ALL: [Who; 3] = [Who::Ours, Who::Kubectl, Who::Floor];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Bare,
    Grace,
    Guarded,
}

impl Case {
    fn pods(self) -> u32 {
        match self {
            Self::Bare | Self::Grace => PODS,
            Self::Guarded => GUARDED,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Bare => "",
            Self::Grace => "-grace",
            Self::Guarded => "-budget",
        }
    }

    /// The goal beside kubectl, and beside the floor.
    fn goals(self) -> [Goal; 2] {
        match self {
            Self::Bare => [Goal::AtMost(0.05), Goal::AtMost(1.1)],
            // The grace or the budget alone says how long it takes.
            Self::Grace | Self::Guarded => [Goal::None, Goal::AtMost(1.1)],
        }
    }
}

/// Measures drains of each kind of node, each side this often.
pub async fn measure(rounds: u32, tell: impl Fn(&str)) -> Result<Vec<Figure>> {
    let plane = ControlPlane::start(Options { nodes: 1 }).await?;
    drop(install(&plane, &manifests("base")).await?);
    plane.add_node(SPARE).await?;
    let mut figures = Vec::new();
    for case in [Case::Bare, Case::Grace, Case::Guarded] {
        let mut seen: [Vec<f64>; 3] = Default::default();
        for round in 1..=rounds {
            for (who, times) in ALL.into_iter().zip(&mut seen) {
                let node = format!("{}{}-{round}", format!("{who:?}").to_lowercase(), case.name());
                tell(&format!("{} pods, {who:?}", case.pods()));
                fill(&plane, case, &node).await?;
                let drained = timeout(DRAIN_TIMEOUT, drained(&plane, who, &node)).await;
                let time =
                    drained.with_context(|| format!("the drain of {node} took over {DRAIN_TIMEOUT:?}"))??;
                times.push(time.as_secs_f64());
                clear(&plane, case, &node).await?;
            }
        }
        let [ours, kubectl, floor] = seen.map(median);
        let [beside_kubectl, beside_floor] = case.goals();
        let name = |peer: &str| format!("drain{}-{peer}-{}", case.name(), case.pods());
        figures.push(Figure::new(name("kubectl"), (ours, kubectl), "s", beside_kubectl).within(MARGIN));
        figures.push(Figure::new(name("floor"), (ours, floor), "s", beside_floor).within(MARGIN));
    }
    Ok(figures)
}

/// Adds a node with the running pods of this case.
async fn fill(plane: &ControlPlane, case: Case, node: &str) -> Result<()> {
    plane.add_node(node).await?;
    match case {
        Case::Bare | Case::Grace => create_pods(plane, case, node).await?,
        Case::Guarded => deploy(plane, node).await?,
    }
    let pods = case.pods();
    wait::until(&format!("{pods} pods to run on {node}"), PODS_TIMEOUT, || async {
        let running = on_node(plane, node).await?.into_iter().filter(|pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            phase == Some("Running")
        });
        Ok((running.count() >= usize::try_from(pods)?).then_some(()))
    })
    .await?;
    if case == Case::Guarded {
        wait_for_budget(plane, node).await?;
        pool(plane, SPARE, json!(node)).await?;
    }
    Ok(())
}

/// Pods without a controller, so nobody recreates them.
async fn create_pods(plane: &ControlPlane, case: Case, node: &str) -> Result<()> {
    let api: Api<Pod> = Api::default_namespaced(plane.client());
    stream::iter(0..PODS)
        .map(Ok)
        .try_for_each_concurrent(CREATED_AT_ONCE, async |number| {
            let mut spec = spec();
            spec["nodeName"] = json!(node);
            let mut pod = json!({ "metadata": { "name": format!("{node}-{number}") }, "spec": spec });
            if case == Case::Grace {
                pod["metadata"]["annotations"] = json!({ FULL_GRACE_ANNOTATION: "true" });
            }
            let pod: Pod = serde_json::from_value(pod)?;
            let created = api.create(&PostParams::default(), &pod).await;
            created.map(drop).context("failed to create a pod")
        })
        .await
}

/// A Deployment with a budget, whose pods may run on this node alone, so far.
async fn deploy(plane: &ControlPlane, node: &str) -> Result<()> {
    pool(plane, node, json!(node)).await?;
    let mut spec = spec();
    spec["nodeSelector"] = json!({ POOL: node });
    let labels = json!({ "app": node });
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": { "name": node },
        "spec": {
            "replicas": GUARDED,
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": spec },
        },
    }))?;
    let budget: PodDisruptionBudget = serde_json::from_value(json!({
        "metadata": { "name": node },
        "spec": { "maxUnavailable": AWAY, "selector": { "matchLabels": labels } },
    }))?;
    let deployments: Api<Deployment> = Api::default_namespaced(plane.client());
    let created = deployments.create(&PostParams::default(), &deployment).await;
    drop(created.context("failed to create a Deployment")?);
    let created = budgets(plane).create(&PostParams::default(), &budget).await;
    created
        .map(drop)
        .context("failed to create a PodDisruptionBudget")
}

fn spec() -> Value {
    json!({
        "automountServiceAccountToken": false,
        "terminationGracePeriodSeconds": GRACE,
        "containers": [{ "name": "pause", "image": "registry.k8s.io/pause:3.10" }],
    })
}

fn budgets(plane: &ControlPlane) -> Api<PodDisruptionBudget> {
    Api::default_namespaced(plane.client())
}

async fn wait_for_budget(plane: &ControlPlane, name: &str) -> Result<()> {
    wait::until(
        &format!("the budget {name} to allow evictions"),
        PODS_TIMEOUT,
        || async {
            let status = budgets(plane).get(name).await?.status;
            let allowed = status.map_or(0, |status| status.disruptions_allowed);
            Ok((i64::from(allowed) == i64::from(AWAY)).then_some(()))
        },
    )
    .await
}

/// Lets the pods with a budget of this node run on that node too.
async fn pool(plane: &ControlPlane, node: &str, of: Value) -> Result<()> {
    patch(plane, node, json!({ "metadata": { "labels": { POOL: of } } })).await
}

async fn patch(plane: &ControlPlane, node: &str, patch: Value) -> Result<()> {
    let nodes: Api<Node> = Api::all(plane.client());
    let patched = nodes
        .patch(node, &PatchParams::default(), &Patch::Merge(patch))
        .await;
    patched
        .map(drop)
        .with_context(|| format!("failed to patch the Node {node}"))
}

/// Removes what is left of this case, so that the next drain has the API server for itself.
async fn clear(plane: &ControlPlane, case: Case, node: &str) -> Result<()> {
    let left = on_node(plane, node).await?.len();
    ensure!(left == 0, "{left} pods are left on {node} after the drain");
    if case != Case::Guarded {
        return Ok(());
    }
    let deployments: Api<Deployment> = Api::default_namespaced(plane.client());
    let deleted = deployments.delete(node, &DeleteParams::background()).await;
    drop(deleted.context("failed to delete a Deployment")?);
    let gone = || async { Ok(on_node(plane, SPARE).await?.is_empty().then_some(())) };
    wait::until("the pods to be deleted", PODS_TIMEOUT, gone).await
}

async fn on_node(plane: &ControlPlane, node: &str) -> Result<Vec<Pod>> {
    let api: Api<Pod> = Api::default_namespaced(plane.client());
    let listed = api
        .list(&ListParams::default().fields(&format!("spec.nodeName={node}")))
        .await;
    Ok(listed.context("failed to list the pods")?.items)
}

async fn drained(plane: &ControlPlane, who: Who, node: &str) -> Result<Duration> {
    match who {
        Who::Ours => by_agent(plane, node).await,
        Who::Kubectl => by_kubectl(plane, node).await,
        Who::Floor => by_bare_client(plane, node).await,
    }
}

async fn by_kubectl(plane: &ControlPlane, node: &str) -> Result<Duration> {
    let mut command = plane.kubectl(Identity::Admin);
    let _ = command
        .args([
            "drain",
            node,
            "--force",
            "--ignore-daemonsets",
            "--delete-emptydir-data",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let begin = Instant::now();
    let status = command.status().await.context("failed to run kubectl")?;
    let time = begin.elapsed();
    ensure!(status.success(), "kubectl drain failed: {status}");
    Ok(time)
}

/// From the cordon to the phase after the drain, as a watch shows both.
async fn by_agent(plane: &ControlPlane, node: &str) -> Result<Duration> {
    let mut machine = Machine::new(plane, node).await?;
    // The long delay keeps the agent from going on to the reboot.
    let flags = ["--reboot-delay=1h", "--concurrency=500"].map(str::to_owned);
    machine.start_agent(&flags).await?;
    let seen: Arc<Mutex<[Option<Instant>; 2]>> = Arc::default();
    let (watched, shown) = (node.to_owned(), Arc::clone(&seen));
    let watch = tokio::spawn(follow(Api::<Node>::all(plane.client()), move |change| {
        if let Change::Updated(node) = change
            && node.name_any() == watched
        {
            note(&mut shown.lock().unwrap_or_else(PoisonError::into_inner), &node);
        }
    }));
    machine.request_reboot()?;
    let look = || async {
        let [begin, end] = *seen.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(begin.zip(end))
    };
    let both = machine
        .wait_until(&format!("{node} to be drained"), DRAIN_TIMEOUT, look)
        .await;
    watch.abort();
    let (begin, end) = both?;
    machine.check_agent().await?;
    Ok(end.duration_since(begin))
}

/// Notes when a Node was first cordoned, and when it was first in the phase after the drain.
fn note([begin, end]: &mut [Option<Instant>; 2], node: &Node) {
    let now = Instant::now();
    let is_cordoned = node
        .spec
        .as_ref()
        .and_then(|spec| spec.unschedulable)
        .unwrap_or(false);
    if is_cordoned {
        let _ = begin.get_or_insert(now);
    }
    if node.labels().get(keys::PHASE).map(String::as_str) == Some(Phase::Delaying.as_str()) {
        let _ = end.get_or_insert(now);
    }
}

/// The least that a drain needs: one patch, one list, one watch, and an eviction of each pod that is asked for until it is granted.
async fn by_bare_client(plane: &ControlPlane, node: &str) -> Result<Duration> {
    let api: Api<Pod> = Api::default_namespaced(plane.client());
    let fields = format!("spec.nodeName={node}");
    let begin = Instant::now();
    patch(plane, node, json!({ "spec": { "unschedulable": true } })).await?;
    let pods = api.list(&ListParams::default().fields(&fields)).await?;
    let version = pods.metadata.resource_version.clone().unwrap_or_default();
    let gone = all_gone(&api, &fields, version, pods.items.len());
    let evicted = stream::iter(pods.iter().map(|pod| Ok(pod.name_any())))
        .try_for_each_concurrent(EVICTED_AT_ONCE, async |name: String| evicted(&api, &name).await);
    let ((), ()) = tokio::try_join!(gone, evicted)?;
    Ok(begin.elapsed())
}

/// Waits until this many pods are deleted.
async fn all_gone(api: &Api<Pod>, fields: &str, mut version: String, mut left: usize) -> Result<()> {
    let params = WatchParams::default().fields(fields);
    while left > 0 {
        let mut events = api.watch(&params, &version).await?.boxed();
        // A watch on which nothing has happened for a while ends.
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                    version = pod.resource_version().unwrap_or(version);
                }
                WatchEvent::Deleted(pod) => {
                    version = pod.resource_version().unwrap_or(version);
                    left -= 1;
                }
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(status) => bail!("the watch of pods ended: {status}"),
            }
            if left == 0 {
                break;
            }
        }
    }
    Ok(())
}

async fn evicted(api: &Api<Pod>, name: &str) -> Result<()> {
    loop {
        match api.evict(name, &EvictParams::default()).await {
            Ok(_) => return Ok(()),
            // It was granted, though the answer that said so came too late.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 429 | 504) => {
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Err(error) => return Err(error).with_context(|| format!("failed to evict {name}")),
        }
    }
}
