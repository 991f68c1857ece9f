//! kured's lock as a watch of its DaemonSet shows it, so that an uncordon can be denied without a request.
//!
//! The watch may be stale, so nothing passes because of it. What it showed too long ago counts as unknown, so a dead watch does no
//! harm: the lock is then read afresh for each uncordon. Not here: the fresh read ([`super::ClusterLookup`]).

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cordonhold_rt::api::{CALL_BOUND, CallError, within};
use cordonhold_rt::exit::one_line;
use cordonhold_rt::pause;
use cordonhold_rt::sync::locked;
use cordonhold_rt::watch::{News, Target, Watch};
use cordonhold_shared::admission::{Known, KuredSeen};
use cordonhold_shared::kured::{DaemonSetView, Kured};
use cordonhold_shared::watch::Change;
use futures_util::StreamExt as _;
use kube::Client;
use tokio::sync::SetOnce;
use tokio::time::{sleep, sleep_until, timeout_at};
use tracing::{debug, warn};

use super::KuredLookup;
use super::place::daemon_sets;
use crate::Metrics;

/// How long the server keeps one watch request. It ends well before [`SILENCE_BOUND`], and resuming it shows that the watch still works.
const WATCH_SECONDS: u32 = 45;
/// A watch that is silent for longer is dead, because the server should have ended the request before.
const SILENCE_BOUND: Duration = Duration::from_secs(60);
/// How long what the watch has shown counts. Longer than [`SILENCE_BOUND`] and one pause, so that one lost watch changes nothing.
pub(super) const MAX_AGE: Duration = Duration::from_secs(90);
/// How long one DaemonSet is watched before kured is looked for again, because it may have been installed elsewhere meanwhile.
const LOOK_AGAIN: Duration = Duration::from_mins(5);

/// The watch of kured's DaemonSet, and what it has shown.
pub(crate) struct KuredWatch {
    client: Client,
    kured: KuredLookup,
    seen: Mutex<Seen>,
    listed: SetOnce<()>,
    metrics: Arc<Metrics>,
}

/// What the watch last showed, and when it last received anything.
#[derive(Debug, Default)]
pub(super) struct Seen {
    kured: KuredSeen,
    at: Option<Instant>,
}

impl KuredWatch {
    pub(super) fn new(client: Client, kured: KuredLookup, metrics: Arc<Metrics>) -> KuredWatch {
        KuredWatch {
            client,
            kured,
            seen: Mutex::default(),
            listed: SetOnce::new(),
            metrics,
        }
    }

    /// kured as the watch last showed it, unless that is too old.
    pub(super) fn seen(&self) -> Known<KuredSeen> {
        self.with_seen(|seen| seen.kured_at(Instant::now()))
    }

    /// Waits until kured was looked for, and its lock read, once.
    pub(crate) async fn listed(&self) {
        let () = self.listed.wait().await;
    }

    /// Runs until it is dropped: looks for kured, follows its DaemonSet, and begins again after a pause that grows with each failure
    /// in a row.
    pub(crate) async fn run(&self) {
        let mut failures = 0;
        loop {
            match self.find_and_follow(&mut failures).await {
                Ok(()) => {
                    debug!("the watch of kured's DaemonSet begins again with a list");
                    sleep(pause::before_retry(0)).await;
                }
                Err(error) => {
                    let (why, pause) = (one_line(&error), pause::before_retry(failures));
                    failures = failures.saturating_add(1);
                    warn!(
                        why,
                        ?pause,
                        daemonset = %self.kured.finder,
                        "the watch of kured's DaemonSet failed and is tried again: check the way to the API server, \
                         and allow the webhook's ServiceAccount to get, list and watch daemonsets"
                    );
                    sleep(pause).await;
                }
            }
        }
    }

    /// Looks for kured and follows its DaemonSet. Returns without an error when kured must be looked for again.
    async fn find_and_follow(&self, failures: &mut u32) -> Result<(), CallError> {
        let end = tokio::time::Instant::now() + LOOK_AGAIN;
        let place = within(CALL_BOUND, self.kured.finder.find()).await?;
        let Known::Is(KuredSeen { found, .. }) = self.kured.seen(&place) else {
            // With several candidates nobody can tell which one to watch, so each uncordon looks afresh.
            drop(self.listed.set(()));
            *failures = 0;
            sleep_until(end).await;
            return Ok(());
        };
        let watch = Watch::new(self.client.clone(), self.target(found.as_ref()), None);
        let mut news = pin!(watch.news());
        let mut is_there = false;
        while let Ok(Some(next)) = timeout_at(end, news.next()).await {
            match next? {
                News::Began => self.see(None),
                News::Bookmark => {
                    *failures = 0;
                    self.see(None);
                }
                News::Change(Change::Listed(objects)) => {
                    is_there = !objects.is_empty();
                    self.see(Some(self.shown(found.as_ref(), objects.first())));
                    // An error means that an earlier list has set it already.
                    drop(self.listed.set(()));
                }
                News::Change(Change::Present(object)) if is_there => {
                    *failures = 0;
                    self.see(Some(self.shown(found.as_ref(), Some(&object))));
                }
                News::Change(Change::Gone(_)) => {
                    // The lock is gone with its DaemonSet.
                    self.see(Some(KuredSeen::default()));
                    return Ok(());
                }
                // The DaemonSet has just been created, or events about it were missed.
                News::Change(Change::Present(_) | Change::Gap) => return Ok(()),
            }
        }
        Ok(())
    }

    /// What to watch: kured's DaemonSet where it was found, else where the flags say, should it appear there. Metadata only.
    fn target(&self, found: Option<&Kured>) -> Target {
        let (namespace, name) = match found {
            Some(kured) => (kured.namespace.as_str(), kured.name.as_str()),
            None => self.kured.finder.configured(),
        };
        Target {
            only_metadata: true,
            seconds: WATCH_SECONDS,
            silence: SILENCE_BOUND,
            ..Target::new(
                "kured's DaemonSet",
                daemon_sets(namespace),
                format!("metadata.name={name}"),
            )
        }
    }

    fn shown(&self, found: Option<&Kured>, object: Option<&DaemonSetView>) -> KuredSeen {
        let annotations = object.into_iter().flat_map(|object| &object.metadata.annotations);
        KuredSeen {
            found: found.cloned(),
            locks: self.kured.locks_of(annotations),
        }
    }

    /// Notes that the API server has shown this; `None`: only that the watch is alive.
    fn see(&self, kured: Option<KuredSeen>) {
        self.with_seen(|seen| seen.see(kured, Instant::now()));
        self.metrics.kured_watch_heard();
    }

    fn with_seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut locked(&self.seen))
    }
}

impl Seen {
    pub(super) fn see(&mut self, kured: Option<KuredSeen>, now: Instant) {
        if let Some(kured) = kured {
            self.kured = kured;
        }
        self.at = Some(now);
    }

    pub(super) fn kured_at(&self, now: Instant) -> Known<KuredSeen> {
        match self.at {
            Some(at) if now.duration_since(at) <= MAX_AGE => Known::Is(self.kured.clone()),
            Some(_) => Known::Failed("the watch is silent".to_owned()),
            None => Known::Failed("the watch has not begun".to_owned()),
        }
    }
}
