//! The drain: evicts what a drain evicts, waits until it is gone, then tells of what arrives.
//!
//! Pods are tried beside one another, each with its own pauses; pods that are ending are only waited for.
//! Not here: which pods those are and when each is tried ([`cordonhold_shared::reboot::drain`]), and what follows when they are gone.

use cordonhold_shared::reboot::drain::{self, Done, DrainNews, Evicted, Moment, Task, Trouble};
use cordonhold_shared::reboot::pod::PodView;
use cordonhold_shared::reboot::watch::Change;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::api::Api;
use crate::args::drain::DrainConfig;
use crate::clock::{Clock, random};
use crate::watch::{Target, Watch};

/// Changes that wait to be looked at; the watch waits when there are more.
const CHANGES_MAX: usize = 64;

/// One drain of one node.
pub(crate) struct Drain {
    api: Api,
    node: String,
    grace_period: Option<u32>,
    clock: Clock,
    work: drain::Drain,
}

impl Drain {
    pub(crate) fn new(api: Api, node: &str, config: &DrainConfig, clock: Clock) -> Drain {
        Drain {
            api,
            node: node.to_owned(),
            grace_period: config.drain_grace_period,
            clock,
            work: drain::Drain::new(config.options(), clock.now()),
        }
    }

    /// Works until nobody listens any more.
    pub(crate) async fn run<M: Send + 'static>(
        mut self,
        listener: mpsc::Sender<M>,
        message: impl Fn(DrainNews) -> M,
    ) {
        let (sender, mut changes) = mpsc::channel::<Change<PodView>>(CHANGES_MAX);
        let target = Target {
            name: "pods",
            path: Api::pods_path(),
            fields: self.api.pods_on_node(),
            labels: self.api.pods_selector(),
            ends_with_object: false,
        };
        let mut watch = std::pin::pin!(Watch::new(self.api.clone(), target, None, sender, Some).run());
        let mut tasks = FuturesUnordered::new();
        loop {
            for task in self.work.take_due(self.clock.now(), tasks.len()) {
                tasks.push(carry_out(self.api.clone(), task, self.grace_period));
            }
            for news in self.work.tell(self.clock.now()) {
                if matches!(news, DrainNews::Drained(_)) {
                    info!(event = "drained", node = self.node, "nothing is left to evict");
                }
                if listener.send(message(news)).await.is_err() {
                    return;
                }
            }
            let next = self.work.next_due(self.clock.now(), tasks.len());
            tokio::select! {
                () = &mut watch => return,
                Some(change) = changes.recv() => self.work.observe(change, self.moment()),
                Some(done) = tasks.next() => self.note(done),
                () = self.clock.at(next) => {}
            }
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self.clock.now(),
            wall: Timestamp::now(),
        }
    }

    fn note(&mut self, done: Done) {
        if let Done::Evicted(uid, Evicted::Accepted) = &done {
            debug!(event = "pod_evicted", node = self.node, uid, "evicted a pod");
        }
        let Some(Trouble { of, budget, why }) = self.work.note(done, self.moment(), random()) else {
            return;
        };
        let node = &self.node;
        if let Some(budget) = budget {
            warn!(
                event = "eviction_blocked",
                node,
                pod = of,
                budget,
                reason = why,
                "a PodDisruptionBudget blocks an eviction: trying on; it allows the eviction once more of its pods are healthy, or its minAvailable is lower"
            );
        } else {
            warn!(
                event = "eviction_failed",
                node,
                pod = of,
                reason = why,
                "an eviction is refused or failed: trying on; look at the admission webhook or the permission that refuses it"
            );
        }
    }
}

async fn carry_out(api: Api, task: Task, grace_period: Option<u32>) -> Done {
    match task {
        Task::Evict(pod) => {
            let evicted = api.evict(&pod, grace_period).await;
            Done::Evicted(pod.metadata.uid, evicted)
        }
        Task::LookUp(daemon_set) => {
            let exists = api.daemon_set_exists(&daemon_set).await;
            Done::LookedUp(
                daemon_set,
                exists.map_err(|error| cordonhold_rt::exit::one_line(&error)),
            )
        }
        Task::ListVolumes => {
            let attached = api.attached_volumes().await;
            Done::Volumes(attached.map_err(|error| cordonhold_rt::exit::one_line(&error)))
        }
    }
}
