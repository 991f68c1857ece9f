//! The drain: evicts what a drain evicts, waits until it is gone, then tells of what arrives.
//!
//! Pods are tried beside one another, each with its own pauses; pods that are ending are only waited for.
//! Not here: which pods those are and when each is tried ([`cordonhold_shared::drain`]), and what follows when they are gone.

use std::time::Duration;

use cordonhold_shared::cycle::Input;
use cordonhold_shared::drain::{self, Evicted};
use cordonhold_shared::pod::PodView;
use cordonhold_shared::watch::Change;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::{debug, info, warn};

use crate::api::Api;
use crate::clock::{Clock, random};
use crate::watch::{Target, Watch};

/// How often the log says what is left.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// Changes that wait to be looked at; the watch waits when there are more.
const CHANGES_MAX: usize = 64;
/// How many budgets, and how many pods, a progress line names.
const NAMED_MAX: usize = 5;

/// One drain of one node.
pub(crate) struct Drain {
    api: Api,
    node: String,
    grace_period: Option<u32>,
    clock: Clock,
    work: drain::Drain,
}

impl Drain {
    pub(crate) fn new(api: Api, node: &str, grace_period: Option<u32>, clock: Clock) -> Drain {
        Drain {
            api,
            node: node.to_owned(),
            grace_period,
            clock,
            work: drain::Drain::default(),
        }
    }

    /// Works until nobody listens any more.
    pub(crate) async fn run<M: Send + 'static>(
        mut self,
        listener: mpsc::Sender<M>,
        message: impl Fn(Input) -> M,
    ) {
        let (sender, mut changes) = mpsc::channel(CHANGES_MAX);
        let target = Target {
            name: "pods",
            path: Api::pods_path(),
            fields: self.api.pods_selector(),
            ends_with_object: false,
        };
        let mut watch = std::pin::pin!(Watch::new(self.api.clone(), target, None, sender, Some).run());
        let mut evictions = FuturesUnordered::new();
        let mut progress = interval_at(Instant::now() + PROGRESS_EVERY, PROGRESS_EVERY);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            for pod in self.work.take_due(self.clock.now(), evictions.len()) {
                evictions.push(evict(self.api.clone(), pod, self.grace_period));
            }
            let next = self.work.next_due(evictions.len());
            let mut said = Vec::new();
            tokio::select! {
                () = &mut watch => return,
                change = changes.recv() => said = change.map_or_else(Vec::new, |change| self.observe(change)),
                Some((uid, evicted)) = evictions.next() => self.note(&uid, evicted),
                () = self.clock.at(next) => {}
                _ = progress.tick(), if !self.work.is_over() => self.say_progress(),
            }
            for input in said {
                if listener.send(message(input)).await.is_err() {
                    return;
                }
            }
        }
    }

    /// What the cycle is told of this change.
    fn observe(&mut self, change: Change<PodView>) -> Vec<Input> {
        let said = self.work.observe(change, self.clock.now());
        if said.contains(&Input::Drained) {
            info!(event = "drained", node = self.node, "nothing is left to evict");
        }
        said
    }

    fn note(&mut self, uid: &str, evicted: Evicted) {
        let (node, name) = (&self.node, self.work.name(uid));
        let is_news = self.work.note(uid, &evicted, self.clock.now(), random());
        match evicted {
            Evicted::Accepted => debug!(event = "pod_evicted", node, pod = name, "evicted a pod"),
            Evicted::Blocked { by, .. } if is_news => {
                warn!(
                    event = "eviction_blocked",
                    node,
                    pod = name,
                    reason = by,
                    "an eviction is blocked: trying on"
                );
            }
            Evicted::Failed(why) if is_news => {
                warn!(
                    event = "eviction_failed",
                    node,
                    pod = name,
                    reason = why,
                    "an eviction failed: trying on"
                );
            }
            Evicted::Blocked { .. } | Evicted::Failed(_) => {}
        }
    }

    fn say_progress(&self) {
        let progress = self.work.progress(NAMED_MAX);
        info!(
            event = "drain_progress",
            node = self.node,
            left = progress.left,
            ending = progress.ending,
            pods = progress.named.join(","),
            blocked_by = progress.blockers.join("; "),
            "waiting for pods to leave the node"
        );
    }
}

async fn evict(api: Api, pod: PodView, grace_period: Option<u32>) -> (String, Evicted) {
    let evicted = api.evict(&pod, grace_period).await;
    (pod.metadata.uid, evicted)
}
