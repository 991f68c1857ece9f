//! A real node with the agent on it and something to drain, on which scenarios are played.
//!
//! Not here: which scenarios there are, see [`super::scenario`].

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cordonhold_shared::Reading;
use cordonhold_shared::hold::{self, Phase};
use cordonhold_shared::keys;
use cordonhold_shared::lock::Record;
use cordonhold_shared::node::NodeView;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::{Moment, Scenario};
use crate::real_node::{BUSYBOX, HANG, Kind, NAME, RealNode, SENTINEL};
use crate::{AGENT_ACCOUNT, NAMESPACE};

/// What is drained, and comes back.
const WORKLOAD: &str = "workload";
/// What keeps a drain from its end.
const SLOW: &str = "slow";
/// Ends when it is told to.
const ENDS: &str = "trap 'exit 0' TERM; while :; do sleep 60 & wait $!; done";
/// Does not, and has this many seconds for it.
const STAYS: &str = "trap '' TERM; while :; do sleep 60; done";
const GRACE_SECONDS: u32 = 3600;
/// What the clock shows at most of a boot in 1970.
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// A node with an agent.
pub(super) struct Site {
    node: RealNode,
    kind: Kind,
    /// What the agent's DaemonSet was last applied for.
    installed: Option<(&'static [&'static str], &'static [&'static str])>,
    /// The ids of all boots.
    boot_ids: BTreeSet<String>,
    /// How often the machine had been started when the last reboot had ended well.
    boots: usize,
}

impl Site {
    pub(super) async fn start(kind: Kind) -> Result<Self> {
        let site = Self {
            node: RealNode::start(kind).await?,
            kind,
            installed: None,
            boot_ids: BTreeSet::new(),
            boots: 1,
        };
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": { "name": WORKLOAD },
            "spec": {
                "selector": { "matchLabels": { "app": WORKLOAD } },
                "template": { "metadata": { "labels": { "app": WORKLOAD } }, "spec": pod_spec(ENDS, 30) },
            },
        }))?;
        let deployments: Api<Deployment> = Api::default_namespaced(site.node.plane.client());
        let created = deployments.create(&PostParams::default(), &deployment).await;
        drop(created.context("failed to create a Deployment")?);
        Ok(site)
    }

    /// Longest wait for one thing: a whole reboot, or a pod. An emulated computer takes a minute for the one, and ten seconds for the
    /// other; the rest is for a busy machine.
    fn patience(&self) -> Duration {
        match self.kind {
            Kind::Busybox | Kind::Nspawn => Duration::from_mins(3),
            Kind::Qemu => Duration::from_mins(12),
        }
    }

    /// Installs the agent for this scenario and waits until there is something to drain. Returns the uid of the pod that must come back as another.
    pub(super) async fn prepare(&mut self, scenario: Scenario) -> Result<String> {
        let wanted = (scenario.components(), scenario.arguments());
        if self.installed != Some(wanted) {
            self.node.install_agent(wanted.0, wanted.1).await?;
            self.is_rolled_out().await?;
            self.installed = Some(wanted);
        }
        let workload = self.workload_runs(None).await?;
        if scenario.interrupted() == Some(Moment::InDrain) {
            self.add_slow_pod().await?;
        }
        if scenario == Scenario::HungShutdown {
            drop(self.node.run(&["systemctl", "start", "hangs.service"]).await?);
        }
        let id = self.own_boot_id().await?;
        let _ = self.boot_ids.insert(id);
        let boots = self.node.boots() - self.boots;
        ensure!(
            boots == 0,
            "{boots} boots more after the last reboot had ended well"
        );
        Ok(workload)
    }

    /// Lets the machine be rebooted as the scenario says, and checks what comes of it.
    pub(super) async fn reboot(&mut self, scenario: Scenario, workload: &str) -> Result<()> {
        if scenario == Scenario::Clock1970 {
            self.node.set_kernel_words(&["cordonhold.clock=1970"]);
        }
        self.node.request_reboot().await?;
        match scenario {
            Scenario::Clean(_) => {}
            Scenario::Reset(moment) => {
                self.comes_to(moment).await?;
                self.node.cut_power();
            }
            Scenario::SysrqB(moment) => {
                self.comes_to(moment).await?;
                ensure!(
                    scenario.fits(self.kind),
                    "sysrq would reboot the machine that this runs on"
                );
                // No answer comes of it.
                drop(self.node.run(&["sh", "-c", "echo b >/proc/sysrq-trigger"]).await);
            }
            Scenario::HungShutdown => self.hangs().await?,
            Scenario::Clock1970 => self.clock_starts_in_1970().await?,
        }
        self.ends_well(scenario, workload).await
    }

    async fn comes_to(&self, moment: Moment) -> Result<()> {
        let phase = match moment {
            Moment::InDrain => Phase::Draining,
            Moment::InDelay => Phase::Delaying,
            Moment::AfterSeal => Phase::Sealed,
        };
        self.wait_phase(phase).await?;
        if moment == Moment::InDrain {
            let pods = self.pods();
            self.until("the slow pod to be evicted", || async {
                let pod = pods.get(SLOW).await?;
                Ok(pod.metadata.deletion_timestamp.map(drop))
            })
            .await?;
        }
        Ok(())
    }

    /// The shutdown takes longer than the agent's `--reboot-timeout`, and the node stays as it is meanwhile.
    async fn hangs(&self) -> Result<()> {
        self.wait_phase(Phase::Sealed).await?;
        let sealed = Instant::now();
        self.until("the next boot", || async {
            let node = self.view().await?;
            if self.node.boots() > self.boots {
                return Ok(Some(Ok(())));
            }
            let stays = node.spec.unschedulable && node.label(keys::PHASE) == Some(Phase::Sealed.as_str());
            Ok((!stays).then(|| Err(anyhow::anyhow!("it was not held while it went down: {node:?}"))))
        })
        .await??;
        let took = sealed.elapsed();
        ensure!(took >= HANG / 2, "the shutdown did not hang: it took {took:?}");
        Ok(())
    }

    async fn clock_starts_in_1970(&self) -> Result<()> {
        self.until("a boot in 1970", || async {
            if self.node.boots() == self.boots {
                return Ok(None);
            }
            let now: u64 = self.node.run(&["date", "+%s"]).await?.trim().parse()?;
            ensure!(now < DAY_SECONDS, "the clock shows {now} s");
            Ok(Some(()))
        })
        .await?;
        self.node.set_kernel_words(&[]);
        // No certificate is valid yet, so the kubelet reaches nobody.
        self.until("the node to be not Ready", || async {
            let node = self.view().await?;
            Ok((!node.is_ready()).then_some(()))
        })
        .await?;
        let node = self.view().await?;
        let is_held = node.spec.unschedulable && node.label(keys::PHASE) == Some(Phase::Sealed.as_str());
        ensure!(is_held, "it is not held any more: {node:?}");
        let now = format!("--set=@{}", Timestamp::now().as_second());
        self.node.run(&["date", &now]).await.map(drop)
    }

    /// Waits until it is over, and asks each witness.
    async fn ends_well(&mut self, scenario: Scenario, workload: &str) -> Result<()> {
        let node = self
            .until("the node to be back, Ready and without a hold", || async {
                let node = self.view().await?;
                let is_back =
                    self.node.boots() > self.boots && !self.boot_ids.contains(&node.status.node_info.boot_id);
                Ok((is_back && node.is_ready() && !hold::has_marks(&node)).then_some(node))
            })
            .await?;
        ensure!(
            !node.spec.unschedulable,
            "the cordon was not given back: {node:?}"
        );
        let id = self.own_boot_id().await?;
        ensure!(
            node.status.node_info.boot_id == id,
            "the Node shows another boot than {id}: {node:?}"
        );
        self.kubelet_has_said(&id).await?;
        self.lock_is_free().await?;
        drop(
            self.node
                .run(&["test", "!", "-e", SENTINEL])
                .await
                .context("the sentinel is there")?,
        );
        let Reading::Present(account) = hold::last_reboot(&node) else {
            bail!("no account of the reboot: {node:?}");
        };
        ensure!(account.ended.is_some(), "{account:?}");
        self.was_not_blind(scenario)?;
        drop(self.workload_runs(Some(workload)).await?);
        let pods = self.pods();
        self.until("the pod that was evicted to go", || async {
            Ok(pods.get_opt(SLOW).await?.is_none().then_some(()))
        })
        .await?;
        // Last, so that a second reboot has had its time; a later one is seen before the next.
        let boots = self.node.boots() - self.boots;
        ensure!(boots == 1, "{boots} boots");
        self.boots += 1;
        Ok(())
    }

    /// Checks what the Node showed when the machine went down.
    fn was_not_blind(&self, scenario: Scenario) -> Result<()> {
        let ends = self.node.ends();
        let end = ends.last().context("no boot has ended")?;
        ensure!(
            end.unschedulable,
            "the node was schedulable when it went down: {end:?}"
        );
        let is_sealed = match scenario.interrupted() {
            None | Some(Moment::AfterSeal) => true,
            Some(Moment::InDrain | Moment::InDelay) => false,
        };
        ensure!(end.sealed == is_sealed, "{end:?}");
        let has_pods = scenario.interrupted() == Some(Moment::InDrain);
        ensure!(end.pods.is_empty() != has_pods, "{end:?}");
        Ok(())
    }

    async fn own_boot_id(&self) -> Result<String> {
        let id = self.node.run(&["cat", "/proc/sys/kernel/random/boot_id"]).await?;
        Ok(id.trim().to_owned())
    }

    /// Waits for the kubelet's Event about this boot.
    async fn kubelet_has_said(&self, boot_id: &str) -> Result<()> {
        let events: Api<Event> = Api::default_namespaced(self.node.plane.client());
        let rebooted =
            ListParams::default().fields("reason=Rebooted,involvedObject.kind=Node,source=kubelet");
        self.until("the kubelet's Event about the boot", || async {
            let listed = events.list(&rebooted).await?;
            let is_of_it = |event: &Event| event.message.as_deref().unwrap_or_default().contains(boot_id);
            Ok(listed.iter().any(is_of_it).then_some(()))
        })
        .await
    }

    async fn lock_is_free(&self) -> Result<()> {
        let leases: Api<Lease> = Api::namespaced(self.node.plane.client(), NAMESPACE);
        let lease = format!("{}default", keys::LEASE_PREFIX);
        self.until("the lock to be free", || async {
            let lease = leases.get(&lease).await?;
            let record = lease.annotations().get(keys::LOCK).map(String::as_str);
            let is_free = match Record::read(record) {
                Reading::Absent => true,
                Reading::Present(record) => record.entries.is_empty(),
                Reading::Malformed(_) => false,
            };
            Ok(is_free.then_some(()))
        })
        .await
    }

    async fn is_rolled_out(&self) -> Result<()> {
        let sets: Api<DaemonSet> = Api::namespaced(self.node.plane.client(), NAMESPACE);
        self.until("the agent's pod of this DaemonSet to be Ready", || async {
            let set = sets.get(AGENT_ACCOUNT).await?;
            let generation = set.metadata.generation;
            let status = set.status.unwrap_or_default();
            let is_new =
                status.observed_generation == generation && status.updated_number_scheduled == Some(1);
            Ok((is_new && status.number_available == Some(1)).then_some(()))
        })
        .await
    }

    /// Waits until a pod of the workload other than this one is Ready, and returns its uid.
    async fn workload_runs(&self, other_than: Option<&str>) -> Result<String> {
        let pods = self.pods();
        let of_it = ListParams::default().labels(&format!("app={WORKLOAD}"));
        self.until("the workload to run", || async {
            let listed = pods.list(&of_it).await?;
            let mut runs = listed.iter().filter(|pod| is_ready(pod));
            Ok(runs.find_map(|pod| pod.uid().filter(|uid| Some(uid.as_str()) != other_than)))
        })
        .await
    }

    async fn add_slow_pod(&self) -> Result<()> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": SLOW },
            "spec": pod_spec(STAYS, GRACE_SECONDS),
        }))?;
        let pods = self.pods();
        // It is gone after each reboot, unless that has failed.
        drop(pods.delete(SLOW, &DeleteParams::default().grace_period(0)).await);
        let created = pods.create(&PostParams::default(), &pod).await;
        drop(created.context("failed to create a pod")?);
        self.until("the slow pod to run", || async {
            Ok(is_ready(&pods.get(SLOW).await?).then_some(()))
        })
        .await
    }

    async fn wait_phase(&self, phase: Phase) -> Result<()> {
        self.until(&format!("the phase {}", phase.as_str()), || async {
            let node = self.view().await?;
            Ok((node.label(keys::PHASE) == Some(phase.as_str())).then_some(()))
        })
        .await
    }

    async fn until<T, F>(&self, what: &str, ask: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<Option<T>>>,
    {
        self.node.until(what, self.patience(), ask).await
    }

    async fn view(&self) -> Result<NodeView> {
        let request = http::Request::get(format!("/api/v1/nodes/{NAME}")).body(Vec::new())?;
        let node = self.node.plane.client().request(request).await;
        node.context("failed to get the Node")
    }

    fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.node.plane.client())
    }

    /// What the Node shows, and how the logs on the machine end: for the error of a run.
    pub(super) async fn account(&self) -> String {
        let shown = match self.view().await {
            Ok(node) => format!("{node:?}"),
            Err(error) => format!("{error:#}"),
        };
        let script = "tail -n 30 /var/log/pods/cordonhold_*/agent/*.log; tail -n 15 /var/log/kubelet.log; cat /proc/uptime";
        let logs = self.node.run(&["sh", "-c", script]).await;
        let logs = logs.unwrap_or_else(|_| "none: the machine does not answer".to_owned());
        format!(
            "{} boots, which ended: {:?}\nthe Node: {shown}\nlogs:\n{logs}\nthe machine said:\n{}",
            self.node.boots(),
            self.node.ends(),
            self.node.console()
        )
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref());
    let mut conditions = conditions.unwrap_or_default().iter();
    pod.metadata.deletion_timestamp.is_none()
        && conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// A pod that runs this script. It is on the node's network: after a power cut what CNI has kept of another may be cut short, and then containerd
/// cannot end that pod.
fn pod_spec(script: &str, grace_seconds: u32) -> Value {
    json!({
        "hostNetwork": true,
        "terminationGracePeriodSeconds": grace_seconds,
        "containers": [{ "name": "main", "image": BUSYBOX, "command": ["/usr/bin/sh", "-c", script] }],
    })
}
