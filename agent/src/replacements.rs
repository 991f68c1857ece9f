//! Follows the pods that were evicted until they are replaced, and measures how long that takes. Beside the loop: nothing waits for it,
//! and what finds no room is counted as not measured.
//!
//! Not here: who is followed and for how long ([`cordonhold_shared::reboot::replacements`]).

use std::sync::Arc;

use cordonhold_shared::reboot::cycle::Unmeasured;
use cordonhold_shared::reboot::moment::Moment;
use cordonhold_shared::reboot::pod::PodView;
use cordonhold_shared::reboot::replacements::{Controller, Listed, Outcome, Replacements};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tracing::{debug, info};

use crate::api::Api;
use crate::clock::Clock;
use crate::metrics::Metrics;

/// Most evictions that wait to be taken in: as many as a drain of a full node sends at once, with room to spare.
const WAITING_MAX: usize = 256;

/// What the follower is told.
pub(crate) enum Told {
    /// This pod was evicted, at this time.
    Evicted(Box<PodView>, Moment),
    /// `--reboot-delay` begins.
    DelayBegins,
    /// `--reboot-delay` is over, and the node will be rebooted.
    DelayEnds,
}

/// Where evictions are handed over. Clones share the queue.
#[derive(Clone)]
pub(crate) struct Follower {
    queue: mpsc::Sender<Told>,
    metrics: Arc<Metrics>,
}

impl Follower {
    /// A follower, and the evictions that it is handed, for [`follow`].
    pub(crate) fn new(metrics: Arc<Metrics>) -> (Follower, mpsc::Receiver<Told>) {
        let (queue, told) = mpsc::channel(WAITING_MAX);
        (Follower { queue, metrics }, told)
    }

    /// Takes in that this pod was evicted, without waiting.
    pub(crate) fn evicted(&self, pod: PodView, at: Moment) {
        if self.queue.try_send(Told::Evicted(Box::new(pod), at)).is_err() {
            self.metrics.replacement(Outcome::Unmeasured(Unmeasured::TooMany));
        }
    }

    /// Takes in that `--reboot-delay` begins. Without room, nothing is said of its use.
    pub(crate) fn delay_begins(&self) {
        drop(self.queue.try_send(Told::DelayBegins));
    }

    /// Takes in that `--reboot-delay` is over.
    pub(crate) fn delay_ends(&self) {
        drop(self.queue.try_send(Told::DelayEnds));
    }
}

/// What the delay before the reboot was good for, as far as an agent can see: replacements of evicted pods that became Ready in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Delay {
    /// Evicted pods without a replacement when it began.
    missing: usize,
    /// Those that got one in it.
    replaced: usize,
}

impl Delay {
    fn begin(replacements: &Replacements) -> Delay {
        Delay {
            missing: replacements.waiting(),
            replaced: 0,
        }
    }

    fn take(&mut self, outcome: Outcome) {
        if let Outcome::Replaced(_) = outcome {
            self.replaced += 1;
        }
    }

    fn still_missing(self) -> usize {
        self.missing.saturating_sub(self.replaced)
    }

    fn sentence(self) -> &'static str {
        match (self.missing, self.still_missing()) {
            (0, _) => {
                "when it began, no evicted pod was known to lack a Ready replacement: a shorter delay may do"
            }
            (_, 0) => "in it the last evicted pods got a Ready replacement",
            _ => "some evicted pods have no Ready replacement yet: a longer delay may give them one",
        }
    }

    fn log(self, node: &str) {
        info!(
            event = "delay_used",
            node,
            missing = self.missing,
            replaced = self.replaced,
            still_missing = self.still_missing(),
            "--reboot-delay is over: {}",
            self.sentence()
        );
    }
}

/// Follows each eviction, until every [`Follower`] is gone.
pub(crate) async fn follow(
    api: Api,
    clock: Clock,
    metrics: Arc<Metrics>,
    node: String,
    mut told: mpsc::Receiver<Told>,
) {
    let mut replacements = Replacements::default();
    let mut delay = None;
    let mut lists = FuturesUnordered::new();
    loop {
        while let Some(controller) = replacements.take_due(clock.now(), lists.len()) {
            lists.push(list(&api, controller));
        }
        let wake = replacements.next_due(lists.len());
        tokio::select! {
            told = told.recv() => match told {
                None => return,
                Some(Told::Evicted(pod, at)) => {
                    if let Some(why) = replacements.evicted(&pod, at) {
                        metrics.replacement(Outcome::Unmeasured(why));
                    }
                }
                Some(Told::DelayBegins) => {
                    delay = Some(Delay::begin(&replacements));
                }
                Some(Told::DelayEnds) => {
                    if let Some(delay) = delay.take() {
                        delay.log(&node);
                    }
                }
            },
            Some((controller, listed)) = lists.next() => {
                let at = clock.moment();
                for outcome in replacements.listed(&controller, &listed, at) {
                    if let Some(delay) = &mut delay {
                        delay.take(outcome);
                    }
                    metrics.replacement(outcome);
                }
            }
            () = clock.at(wake) => {}
        }
    }
}

/// Lists the pods of a controller.
async fn list(api: &Api, controller: Controller) -> (Controller, Listed) {
    let listed = api.pods_of(&controller).await.unwrap_or_else(|why| {
        debug!(why, "failed to list the pods that may replace an evicted one");
        Listed::Failed
    });
    (controller, listed)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use cordonhold_shared::reboot::replacements::LIST_BYTES_MAX;
    use cordonhold_shared::reboot::window::Windows;
    use http::HeaderMap;
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::fake;

    fn pod() -> PodView {
        let owner = json!({ "kind": "ReplicaSet", "name": "web", "uid": "c", "controller": true });
        let metadata = json!({
            "name": "web-1", "namespace": "ns", "uid": "p",
            "labels": { "pod-template-hash": "abc" }, "ownerReferences": [owner],
        });
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    async fn page(metrics: &Metrics) -> String {
        metrics.render(&HeaderMap::new()).await.unwrap().text
    }

    #[tokio::test(start_paused = true)]
    async fn an_eviction_is_followed_by_lists_from_the_cache_until_its_replacement_is_ready() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let api = fake::api(&[], move |path, _| {
            assert!(path.starts_with("/api/v1/namespaces/ns/pods?"), "{path}");
            assert!(path.contains("labelSelector=pod-template-hash%3Dabc"), "{path}");
            assert!(path.contains("resourceVersion=0"), "{path}");
            let mut replacement = json!({
                "metadata": {
                    "uid": "r", "creationTimestamp": Timestamp::now().to_string(),
                    "ownerReferences": [{ "kind": "ReplicaSet", "name": "web", "uid": "c", "controller": true }],
                },
                "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
            });
            match counted.fetch_add(1, Ordering::Relaxed) {
                // A list that fails is made again.
                0 => return (500, json!({ "kind": "Status", "status": "Failure", "code": 500 })),
                1 => replacement["status"] = Value::Null,
                _ => {}
            }
            (
                200,
                json!({ "metadata": { "resourceVersion": "1" }, "items": [replacement] }),
            )
        });
        let metrics = Arc::new(Metrics::new("n", Windows::default()));
        let clock = Clock::start();
        let (follower, told) = Follower::new(Arc::clone(&metrics));
        let following = tokio::spawn(follow(api, clock, Arc::clone(&metrics), "n".to_owned(), told));
        follower.evicted(pod(), clock.moment());
        let count = "cordonhold_agent_replacement_seconds_count{node=\"n\"} 1\n";
        while !page(&metrics).await.contains(count) {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        assert_eq!(asked.load(Ordering::Relaxed), 3);
        // The third list, 10 s after the second, which was as long after the first.
        let page = page(&metrics).await;
        assert!(
            page.contains("replacement_seconds_bucket{node=\"n\",le=\"20.0\"} 0\n"),
            "{page}"
        );
        drop(follower);
        following.await.unwrap();
    }

    #[test]
    fn what_a_delay_was_good_for_is_told_from_the_replacements_in_it() {
        let at = Clock::start().moment();
        let mut replacements = Replacements::default();
        let none = Delay::begin(&replacements);
        assert_eq!((none.missing, none.still_missing()), (0, 0));
        assert!(none.sentence().contains("a shorter delay"));
        assert_eq!(replacements.evicted(&pod(), at), None);
        let mut delay = Delay::begin(&replacements);
        assert_eq!((delay.missing, delay.still_missing()), (1, 1));
        delay.take(Outcome::Unmeasured(Unmeasured::TooLong));
        assert!(delay.sentence().contains("a longer delay"));
        delay.take(Outcome::Replaced(std::time::Duration::from_secs(1)));
        assert_eq!((delay.replaced, delay.still_missing()), (1, 0));
        assert!(delay.sentence().contains("got a Ready replacement"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_without_end_is_not_read_and_its_eviction_counts_as_not_measured() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let api = fake::api(&[], move |_, _| {
            let _ = counted.fetch_add(1, Ordering::Relaxed);
            let name = "x".repeat(LIST_BYTES_MAX);
            (
                200,
                json!({ "metadata": { "resourceVersion": "1" }, "items": [{ "metadata": { "name": name } }] }),
            )
        });
        let metrics = Arc::new(Metrics::new("n", Windows::default()));
        let clock = Clock::start();
        let (follower, told) = Follower::new(Arc::clone(&metrics));
        let following = tokio::spawn(follow(api, clock, Arc::clone(&metrics), "n".to_owned(), told));
        follower.evicted(pod(), clock.moment());
        let sample = "cordonhold_agent_replacements_unmeasured_total{node=\"n\",reason=\"too_many\"} 1\n";
        while !page(&metrics).await.contains(sample) {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        drop(follower);
        following.await.unwrap();
    }

    #[tokio::test]
    async fn what_finds_no_room_is_counted_and_waits_for_nothing() {
        let metrics = Arc::new(Metrics::new("n", Windows::default()));
        let (follower, _told) = Follower::new(Arc::clone(&metrics));
        for _ in 0..WAITING_MAX + 2 {
            follower.evicted(pod(), Clock::start().moment());
        }
        let page = page(&metrics).await;
        let sample = "cordonhold_agent_replacements_unmeasured_total{node=\"n\",reason=\"too_many\"} 2\n";
        assert!(page.contains(sample), "{page}");
    }
}
