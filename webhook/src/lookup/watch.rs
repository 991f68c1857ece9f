//! kured's lock as a watch of its DaemonSet has it: enough to deny an uncordon by, without a request.
//!
//! What is too old counts as unknown, so a watch that died does no harm: the lock is then read afresh for each uncordon.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cordonhold_rt::client;
use cordonhold_shared::admission::{Known, KuredSeen, Locks};
use cordonhold_shared::backoff::{jittered, retry_pause};
use cordonhold_shared::kured::Kured;
use futures_util::TryStreamExt as _;
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::api::{ListParams, WatchParams};
use kube::core::{PartialObjectMeta, WatchEvent};
use kube::{Api, Client};
use tokio::sync::SetOnce;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::KuredLookup;
use crate::Metrics;

/// How long the server keeps a watch. It ends well before [`SILENCE_BOUND`], and resuming it shows that it still works.
const WATCH_SECONDS: u32 = 45;
/// Longest silence of a watch: the server should have ended it before.
const SILENCE_BOUND: Duration = Duration::from_secs(60);
/// Longest wait for the list that a watch begins with, and for the watch itself to begin.
const BEGIN_BOUND: Duration = Duration::from_secs(10);
/// Older than this, what was seen no longer counts. Above [`SILENCE_BOUND`] and one pause, so that one lost watch changes nothing.
pub(super) const MAX_AGE: Duration = Duration::from_secs(90);
/// How long one place is watched before kured is looked for again: it may have come to where the flags say, or to anywhere.
const LOOK_AGAIN: Duration = Duration::from_mins(5);

/// The watch, and what it has seen.
pub(crate) struct KuredWatch {
    client: Client,
    kured: KuredLookup,
    seen: Mutex<Seen>,
    listed: SetOnce<()>,
    metrics: Arc<Metrics>,
}

/// What the API server last showed, and when it last showed anything.
#[derive(Debug, Default)]
pub(super) struct Seen {
    kured: KuredSeen,
    at: Option<Instant>,
}

/// The DaemonSet that is watched. Only its metadata is read.
struct Watched {
    api: Api<DaemonSet>,
    only: String,
    /// `None`: it is looked out for where the flags say.
    found: Option<Kured>,
}

/// Why a watch ended, where nothing failed.
enum End {
    /// The server ends each after [`WATCH_SECONDS`].
    Ended,
    /// From this version on it can no longer be had.
    TooOld,
    /// kured may be elsewhere by now.
    Gone,
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

    /// The lock, if what was seen of it is young enough.
    pub(super) fn seen(&self) -> Known<KuredSeen> {
        self.with_seen(|seen| seen.kured_at(Instant::now()))
    }

    /// Waits until kured was looked for, and its lock read, for the first time.
    pub(crate) async fn listed(&self) {
        let () = self.listed.wait().await;
    }

    /// Watches until it is dropped: lists, follows, and begins again after a pause that grows with each failure in a row.
    pub(crate) async fn run(&self) {
        let mut failures = 0;
        loop {
            match self.list_and_follow(&mut failures).await {
                Ok(()) => {
                    debug!("the watch of kured's DaemonSet begins again with a list");
                    tokio::time::sleep(retry_pause(0)).await;
                }
                Err(why) => {
                    let pause = jittered(retry_pause(failures), RandomState::new().hash_one(failures));
                    failures = failures.saturating_add(1);
                    warn!(
                        why,
                        ?pause,
                        daemonset = %self.kured.finder,
                        "the watch of kured's DaemonSet failed and is tried again: check the way to the API server, \
                         and allow the webhook's ServiceAccount to get, list and watch daemonsets"
                    );
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Ends without an error where the list has become too old, or kured is to be looked for again.
    async fn list_and_follow(&self, failures: &mut u32) -> Result<(), String> {
        let began = Instant::now();
        let place = begun(self.kured.finder.find()).await?;
        let Known::Is(KuredSeen { found, .. }) = self.kured.seen(&place) else {
            // Of several nobody can tell which one to watch: each uncordon looks afresh.
            drop(self.listed.set(()));
            *failures = 0;
            tokio::time::sleep(LOOK_AGAIN).await;
            return Ok(());
        };
        let watched = self.watched(found);
        let list = begun(
            watched
                .api
                .list_metadata(&ListParams::default().fields(&watched.only)),
        )
        .await?;
        let locks = list.items.first().map(|object| self.locks_of(object));
        self.see(Some(KuredSeen {
            found: watched.found.clone(),
            locks: locks.unwrap_or_default(),
        }));
        // Already set by an earlier list: nothing to tell.
        drop(self.listed.set(()));
        let mut version = list.metadata.resource_version.unwrap_or_default();
        while began.elapsed() < LOOK_AGAIN {
            match self.follow(&watched, &mut version).await? {
                End::Ended => {
                    *failures = 0;
                    tokio::time::sleep(retry_pause(0)).await;
                }
                End::TooOld | End::Gone => return Ok(()),
            }
        }
        Ok(())
    }
    fn watched(&self, found: Option<Kured>) -> Watched {
        let (namespace, name) = match &found {
            Some(kured) => (kured.namespace.as_str(), kured.name.as_str()),
            None => self.kured.finder.configured(),
        };
        Watched {
            api: Api::namespaced(self.client.clone(), namespace),
            only: format!("metadata.name={name}"),
            found,
        }
    }

    fn locks_of(&self, object: &PartialObjectMeta<DaemonSet>) -> Locks {
        self.kured.locks_of(object.metadata.annotations.iter().flatten())
    }

    async fn follow(&self, watched: &Watched, version: &mut String) -> Result<End, String> {
        let params = WatchParams::default()
            .fields(&watched.only)
            .timeout(WATCH_SECONDS);
        let stream = begun(watched.api.watch_metadata(&params, version)).await?;
        self.see(None);
        let mut stream = pin!(stream);
        loop {
            let next = timeout(SILENCE_BOUND, stream.try_next())
                .await
                .map_err(|_| format!("silent for {SILENCE_BOUND:?}"))?;
            let (locks, seen_version) = match next.map_err(|error| client::explain(&error))? {
                None => return Ok(End::Ended),
                Some(WatchEvent::Error(status)) if status.code == 410 => return Ok(End::TooOld),
                Some(WatchEvent::Error(status)) => return Err(status.message.clone()),
                Some(WatchEvent::Bookmark(mark)) => (None, Some(mark.metadata.resource_version)),
                Some(WatchEvent::Modified(object)) => {
                    (Some(self.locks_of(&object)), object.metadata.resource_version)
                }
                Some(WatchEvent::Added(_)) => return Ok(End::Gone),
                Some(WatchEvent::Deleted(_)) => {
                    // Its lock went with it.
                    self.see(Some(KuredSeen::default()));
                    return Ok(End::Gone);
                }
            };
            self.see(locks.map(|locks| KuredSeen {
                found: watched.found.clone(),
                locks,
            }));
            if let Some(seen) = seen_version {
                *version = seen;
            }
        }
    }

    /// The API server has shown this, or only that it is there.
    fn see(&self, kured: Option<KuredSeen>) {
        self.with_seen(|seen| seen.see(kured, Instant::now()));
        self.metrics.kured_watch_heard();
    }

    fn with_seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
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

async fn begun<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
    match timeout(BEGIN_BOUND, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(client::explain(&error)),
        Err(_) => Err(format!("no answer from the API server within {BEGIN_BOUND:?}")),
    }
}
