//! A real node with the agent on it, the pods that tests start there, and a witness: a file on the machine's disk, into which init, pods and tests
//! write lines, so that it has everything in the order in which it happened.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cordonhold_shared::Reading;
use cordonhold_shared::hold::{self, Phase};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use cordonhold_tests::real_node::{AGENT_ARGUMENTS, BUSYBOX, Kind, NAME, RealNode, WITNESS};
use cordonhold_tests::{AGENT_ACCOUNT, NAMESPACE, wait};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

/// Longest time for one step. Most take seconds; the rest is for a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// What init writes.
pub(crate) const BOOTED: &str = "the machine has booted";
pub(crate) const DOWN: &str = "the machine goes down";
/// The program of a pod with two words: its name, and how many seconds it takes to end.
const PROGRAM: &str = "trap 'echo \"$0 is told to end\" >>/witness; sleep $1; echo \"$0 has ended\" >>/witness; exit 0' TERM; \
    echo \"$0 runs\" >>/witness; while :; do sleep 60 & wait $!; done";

/// A pod that is the program above.
pub(crate) fn pod(name: &str, seconds: u32) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": "default", "labels": { "app": name } },
        "spec": {
            "terminationGracePeriodSeconds": 60,
            "containers": [{
                "name": "main",
                "image": BUSYBOX,
                "command": ["/usr/bin/sh", "-c", PROGRAM, name, seconds.to_string()],
                "volumeMounts": [{ "name": "witness", "mountPath": "/witness" }],
            }],
            "volumes": [{ "name": "witness", "hostPath": { "path": format!("/{WITNESS}"), "type": "File" } }],
        },
    })
}

/// A node with the agent on it, which is Ready.
pub(crate) struct Site(pub(crate) RealNode);

impl Site {
    pub(crate) async fn start() -> Result<Self> {
        let site = Self(RealNode::start(Kind::Busybox).await?);
        site.0.install_agent(&[], &AGENT_ARGUMENTS).await?;
        drop(site.agent_is_ready(None).await?);
        Ok(site)
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.0.plane.client())
    }

    /// Waits until an agent's pod other than this one is Ready, and returns its uid.
    pub(crate) async fn agent_is_ready(&self, other_than: Option<&str>) -> Result<String> {
        let pods: Api<Pod> = Api::namespaced(self.0.plane.client(), NAMESPACE);
        let of_agent = ListParams::default().labels(&format!("app.kubernetes.io/name={AGENT_ACCOUNT}"));
        let ready = wait::until("the agent's pod to be Ready", PATIENCE, || async {
            let listed = pods.list(&of_agent).await?;
            let mut ready = listed
                .iter()
                .filter(|pod| is_ready(pod) && pod.metadata.deletion_timestamp.is_none());
            Ok(ready.find_map(|pod| pod.uid().filter(|uid| Some(uid.as_str()) != other_than)))
        });
        ready.await.map_err(|error| self.0.explain(error))
    }

    pub(crate) async fn add_pod(&self, pod: &Value) -> Result<()> {
        let pod: Pod = serde_json::from_value(pod.clone())?;
        let name = pod.name_any();
        drop(self.pods().create(&PostParams::default(), &pod).await?);
        self.0.wait_witness(&format!("{name} runs"), PATIENCE).await
    }

    pub(crate) async fn view(&self) -> Result<NodeView> {
        let request = http::Request::get(format!("/api/v1/nodes/{NAME}")).body(Vec::new())?;
        self.0
            .plane
            .client()
            .request(request)
            .await
            .context("failed to get the Node")
    }

    /// Waits for a phase of the hold and returns its holder.
    pub(crate) async fn wait_phase(&self, phase: Phase) -> Result<String> {
        wait::until(&format!("the phase {}", phase.as_str()), PATIENCE, || async {
            let node = self.view().await?;
            let reached = node.label(keys::PHASE) == Some(phase.as_str());
            Ok(node
                .annotation(keys::HOLDER)
                .filter(|_| reached)
                .map(str::to_owned))
        })
        .await
        .map_err(|error| self.0.explain(error))
    }

    /// Checks that the node is still being drained for this holder.
    pub(crate) async fn is_draining(&self, holder: &str) -> Result<()> {
        let node = self.view().await?;
        ensure!(
            node.spec.unschedulable,
            "uncordoned in the middle of the drain: {node:?}"
        );
        ensure!(
            node.label(keys::PHASE) == Some(Phase::Draining.as_str()),
            "{node:?}"
        );
        ensure!(node.annotation(keys::HOLDER) == Some(holder), "{node:?}");
        ensure!(
            self.0.boots() == 1 && self.position(DOWN)?.is_none(),
            "{:?}",
            self.0.witness()
        );
        Ok(())
    }

    /// Waits until the machine has rebooted once, and its node is Ready and given back.
    pub(crate) async fn reboots_once_and_is_given_back(&self, boot_id: &str) -> Result<()> {
        let given_back = wait::until("the node to be given back", PATIENCE, || async {
            let node = self.view().await?;
            let is_over = self.0.boots() > 1 && !hold::has_marks(&node) && node.is_ready();
            Ok((is_over && !node.spec.unschedulable).then_some(node))
        });
        let node = given_back.await.map_err(|error| self.0.explain(error))?;
        ensure!(self.0.boots() == 2, "{} boots", self.0.boots());
        let Reading::Present(account) = hold::last_reboot(&node) else {
            bail!("no account of the reboot: {node:?}");
        };
        ensure!(!account.partial && account.ended.is_some(), "{account:?}");
        ensure!(
            self.boot_id().await? != boot_id,
            "the Node has the boot id of the boot before"
        );
        // The kubelet's own word for it.
        let events: Api<Event> = Api::default_namespaced(self.0.plane.client());
        let rebooted =
            ListParams::default().fields("reason=Rebooted,involvedObject.kind=Node,source=kubelet");
        let seen = events.list(&rebooted).await?.items.len();
        ensure!(seen == 1, "{seen} events Rebooted of the kubelet");
        Ok(())
    }

    pub(crate) async fn boot_id(&self) -> Result<String> {
        let node = Api::<Node>::all(self.0.plane.client()).get(NAME).await?;
        let info = node.status.and_then(|status| status.node_info);
        Ok(info.context("no node info")?.boot_id)
    }

    /// Where the witness has this line first.
    pub(crate) fn position(&self, line: &str) -> Result<Option<usize>> {
        Ok(self.0.witness()?.iter().position(|seen| seen == line))
    }

    /// Checks that these lines are all there, and came in this order.
    pub(crate) fn came_in_order(&self, lines: &[&str]) -> Result<()> {
        let mut positions = Vec::new();
        for line in lines {
            positions.push(
                self.position(line)?
                    .with_context(|| format!("no line '{line}' in {:?}", self.0.witness()))?,
            );
        }
        ensure!(
            positions.is_sorted(),
            "{lines:?} came otherwise: {:?}",
            self.0.witness()?
        );
        Ok(())
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref());
    let mut conditions = conditions.unwrap_or_default().iter();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// A budget that allows no eviction of this pod.
pub(crate) async fn guard(budgets: &Api<PodDisruptionBudget>, app: &str) -> Result<()> {
    let budget: PodDisruptionBudget = serde_json::from_value(json!({
        "metadata": { "name": app },
        "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": app } } },
    }))?;
    drop(budgets.create(&PostParams::default(), &budget).await?);
    Ok(())
}
