//! A watch that never ends: it resumes from the last version it saw, and says so where that is no longer possible.
//!
//! Not here: what follows from what is seen.

use std::time::Duration;

use cordonhold_shared::backoff::{jittered, retry_pause};
use cordonhold_shared::reboot::watch::Change;
use futures_util::TryStreamExt as _;
use kube::core::params::{ListParams, WatchParams};
use kube::core::{Request, WatchEvent};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokio::sync::mpsc::Sender;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::api::{Api, CALL_BOUND, CallError, ListView, within};
use crate::clock::random;

/// What is watched: a resource and the selectors that pick ours out of it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) path: String,
    pub(crate) fields: String,
    pub(crate) labels: Option<String>,
    /// Where one object is watched, its end is an end of the watch too: the next one is another object.
    pub(crate) ends_with_object: bool,
}

/// A watch and where it has come to.
pub(crate) struct Watch<T, M> {
    api: Api,
    target: Target,
    version: Option<String>,
    /// Counts what failed since the watch last worked.
    failures: u32,
    /// What its listener is told of a change.
    told: Box<dyn Fn(Change<T>) -> Option<M> + Send + Sync>,
    listener: Sender<M>,
}

/// Why a watch stopped, for now or for good.
enum Stop {
    /// It was a list, and the watch follows.
    Begun,
    /// The server ended it, as it ends each.
    Ended,
    /// From this version on it can no longer be had.
    TooOld,
    /// The object that it watched is gone.
    ObjectGone,
    /// Nobody listens any more.
    Unheard,
}

/// An object of a watch with its version, which the views of the domain need not know.
#[derive(Clone)]
struct Versioned<T> {
    version: String,
    view: T,
}

/// How long the server keeps a watch. One that resumes costs a request, which is all that an idle agent asks for.
const WATCH_SECONDS: u32 = 290;
/// Longest silence of a watch: the server sends a bookmark each minute (k8s.io/apiserver: pkg/storage/cacher/cacher.go,
/// `defaultBookmarkFrequency`), so one that is silent for longer is dead. Below the client's own bound on silence.
const SILENCE_BOUND: Duration = Duration::from_secs(80);

impl<T, M> Watch<T, M>
where
    T: Clone + DeserializeOwned + Send,
    M: Send,
{
    /// From just after this version on, or from a list of what is there.
    pub(crate) fn new(
        api: Api,
        target: Target,
        version: Option<String>,
        listener: Sender<M>,
        told: impl Fn(Change<T>) -> Option<M> + Send + Sync + 'static,
    ) -> Watch<T, M> {
        Watch {
            api,
            target,
            version,
            failures: 0,
            told: Box::new(told),
            listener,
        }
    }

    /// Tells its listener of each change, as long as there is one.
    pub(crate) async fn run(mut self) {
        loop {
            let pause = match self.once().await {
                Ok(Stop::Unheard) => return,
                Ok(Stop::Begun) => continue,
                Ok(Stop::Ended) => retry_pause(0),
                Ok(Stop::ObjectGone) => {
                    self.version = None;
                    retry_pause(0)
                }
                Ok(Stop::TooOld) => {
                    self.version = None;
                    if !self.tell(Change::Gap).await {
                        return;
                    }
                    retry_pause(0)
                }
                Err(error) => self.failed(&error),
            };
            sleep(jittered(pause, random())).await;
        }
    }

    fn failed(&mut self, error: &CallError) -> Duration {
        let pause = retry_pause(self.failures);
        self.failures = self.failures.saturating_add(1);
        let why = error.with_fix();
        warn!(
            event = "watch_lost",
            of = self.target.name,
            why,
            ?pause,
            "a watch failed and is tried again"
        );
        pause
    }

    async fn once(&mut self) -> Result<Stop, CallError> {
        let Some(version) = self.version.clone() else {
            let list = self.list().await?;
            self.version = Some(list.metadata.resource_version);
            let is_heard = self.tell(Change::Listed(list.items)).await;
            return Ok(if is_heard { Stop::Begun } else { Stop::Unheard });
        };
        match self.follow(&version).await {
            Err(error) if error.is_too_old() => Ok(Stop::TooOld),
            stop => stop,
        }
    }

    async fn list(&self) -> Result<ListView<T>, CallError> {
        let mut params = ListParams::default().fields(&self.target.fields);
        params.label_selector.clone_from(&self.target.labels);
        self.api
            .call(Request::new(self.target.path.clone()).list(&params))
            .await
    }

    async fn follow(&mut self, version: &str) -> Result<Stop, CallError> {
        let mut params = WatchParams::default()
            .fields(&self.target.fields)
            .timeout(WATCH_SECONDS);
        params.label_selector.clone_from(&self.target.labels);
        let request = Request::new(self.target.path.clone()).watch(&params, version)?;
        let client = self.api.client().clone();
        let events = within(CALL_BOUND, client.request_events::<Versioned<T>>(request)).await?;
        let mut events = std::pin::pin!(events);
        debug!(of = self.target.name, version, "watching");
        loop {
            let next = timeout(SILENCE_BOUND, events.try_next());
            let Some(event) = next.await.map_err(|_| CallError::Silent(SILENCE_BOUND))?? else {
                return Ok(Stop::Ended);
            };
            self.failures = 0;
            if let Some(stop) = self.take(event).await? {
                return Ok(stop);
            }
        }
    }

    async fn take(&mut self, event: WatchEvent<Versioned<T>>) -> Result<Option<Stop>, CallError> {
        let (version, change, stop) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                (object.version, Change::Present(object.view), None)
            }
            WatchEvent::Deleted(object) => {
                let stop = self.target.ends_with_object.then_some(Stop::ObjectGone);
                (object.version, Change::Gone(object.view), stop)
            }
            WatchEvent::Bookmark(bookmark) => {
                self.version = Some(bookmark.metadata.resource_version);
                return Ok(None);
            }
            WatchEvent::Error(status) => return Err(CallError::Answered(status)),
        };
        let is_heard = self.tell(change).await;
        self.version = Some(version);
        Ok(if is_heard { stop } else { Some(Stop::Unheard) })
    }

    /// Whether somebody listens.
    async fn tell(&self, change: Change<T>) -> bool {
        match (self.told)(change) {
            Some(message) => self.listener.send(message).await.is_ok(),
            None => !self.listener.is_closed(),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Versioned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Versioned<T>, D::Error> {
        use serde::de::Error;
        let object = Value::deserialize(deserializer)?;
        let version = object["metadata"]["resourceVersion"].as_str().map(str::to_owned);
        Ok(Versioned {
            version: version.ok_or_else(|| D::Error::custom("an object without metadata.resourceVersion"))?,
            view: serde_json::from_value(object).map_err(D::Error::custom)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use cordonhold_shared::node::NodeView;

    use super::*;

    #[test]
    fn an_object_of_a_watch_brings_its_version_or_is_an_error() {
        let json = r#"{"type":"MODIFIED","object":{"metadata":{"name":"n","resourceVersion":"7"},"spec":{"unschedulable":true}}}"#;
        let event: WatchEvent<Versioned<NodeView>> = serde_json::from_str(json).unwrap();
        let WatchEvent::Modified(object) = event else {
            panic!("{event:?}")
        };
        assert_eq!(object.version, "7");
        assert!(object.view.spec.unschedulable);
        assert!(serde_json::from_str::<Versioned<NodeView>>(r#"{"metadata":{}}"#).is_err());
    }
}
