//! Carries out each call of the driver, and each task of the drain, on the host or the API server.
//!
//! Not here: the order of the calls and the meaning of their replies, see [`cordonhold_shared::reboot::driver`].

use std::sync::Arc;

use cordonhold_rt::exit::one_line;
use cordonhold_shared::reboot::api_status::Failed;
use cordonhold_shared::reboot::blocker::Found;
use cordonhold_shared::reboot::drain::{Done, Task};
use cordonhold_shared::reboot::driver::{Call, Reply};
use cordonhold_shared::reboot::prometheus::Series;

use crate::api::{Api, CallError, Meaning as _};
use crate::clock::Clock;
use crate::host::Host;
use crate::host::sentinel::Sentinel;
use crate::notify::outbox::Outbox;
use crate::prometheus::Prometheus;

/// What is needed to carry out calls: the API server, the host, the sentinel and the clock.
#[derive(Clone)]
pub(super) struct Hands {
    pub(super) api: Api,
    pub(super) host: Arc<Host>,
    pub(super) sentinel: Sentinel,
    pub(super) clock: Clock,
    /// `None` if nothing is asked there.
    pub(super) prometheus: Option<Prometheus>,
    /// `None` if messages go nowhere.
    pub(super) outbox: Option<Outbox>,
}

impl Hands {
    pub(super) async fn carry_out(self, call: Call) -> Reply {
        let Hands { api, host, .. } = &self;
        match call {
            Call::LookAtSentinel => {
                let found = self.sentinel.look().await;
                let reason = match found {
                    Some(true) => self.sentinel.reason().await,
                    Some(false) | None => String::new(),
                };
                Reply::Sentinel(found, reason)
            }
            Call::AskHost => Reply::Host(host.ask().await),
            Call::WriteRecord(record) => {
                let written = host.write_record(&record).await;
                Reply::Recorded(written.map_err(|error| one_line(&error)))
            }
            Call::Forget => {
                host.forget().await;
                Reply::Forgotten
            }
            Call::Reboot {
                record,
                timeout,
                deadline,
            } => {
                let deadline = deadline.and_then(|end| self.clock.instant(end));
                if let Some(outbox) = &self.outbox {
                    outbox.before_reboot(deadline).await;
                }
                Reply::Rebooted(host.reboot(&record, timeout, deadline).await)
            }
            Call::ReadNode(name) => Reply::Node(api.read_node(&name).await),
            Call::ListNodes(labels) => Reply::Nodes(api.nodes(&labels).await.map_err(failed)),
            Call::CountNodes { labels, look } => {
                Reply::Pool(api.count_nodes(&labels, &look).await.map_err(failed))
            }
            Call::PatchNode { name, body } => Reply::Node(api.patch_node(&name, body).await.map_err(failed)),
            Call::ReadLock(carrier) => Reply::Lock(api.read_lock(carrier).await.map_err(failed)),
            Call::ApplyLease(body) => Reply::Lock(api.apply_lease(body).await.map_err(Failed::from)),
            Call::PatchLock { carrier, body } => {
                Reply::Lock(api.patch_lock(carrier, body).await.map_err(failed))
            }
            Call::ListPods => Reply::Pods(api.pods().await.map_err(failed)),
            Call::ListAllPods => Reply::Pods(api.all_pods().await.map_err(failed)),
            Call::LookUp(daemon_sets) => Reply::Missing(api.missing(daemon_sets).await.map_err(failed)),
            Call::Query(expression) => Reply::Found(self.query(&expression).await.map(Found::Series)),
            Call::ListBlockingPods(rule) => {
                let pods = api.blocking_pods(&rule).await;
                Reply::Found(pods.map(Found::Pods).map_err(|error| error.with_fix()))
            }
            Call::ListBudgets => {
                let drainable = api.drainable().await;
                Reply::Found(drainable.map(Found::Drainable).map_err(|error| error.with_fix()))
            }
            Call::AskObject(rule) => Reply::Found(api.ask_object(rule).await.map(Found::Truth)),
            Call::ListInhibitors => {
                let holders = host.inhibitors().await;
                Reply::Found(holders.map(Found::Inhibitors).map_err(|error| one_line(&error)))
            }
        }
    }

    async fn query(&self, expression: &str) -> Result<Vec<Series>, String> {
        match &self.prometheus {
            Some(prometheus) => prometheus.query(expression).await,
            // The command line refuses such a question.
            None => Err("no Prometheus is named: set --prometheus-url".to_owned()),
        }
    }
}

impl Api {
    pub(super) async fn carry_out(self, task: Task) -> Done {
        match task {
            Task::Evict(pod) => {
                let evicted = self.evict(&pod).await;
                Done::Evicted(pod.metadata.uid, evicted)
            }
            Task::LookUp(daemon_set) => {
                let exists = self.daemon_set_exists(&daemon_set).await;
                Done::LookedUp(daemon_set, exists.map_err(|error| one_line(&error)))
            }
            Task::ListVolumes => {
                let attached = self.attached_volumes().await;
                Done::Volumes(attached.map_err(|error| one_line(&error)))
            }
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn failed(error: CallError) -> Failed {
    error.failed()
}
