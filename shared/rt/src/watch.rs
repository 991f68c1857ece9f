//! A watch that never ends: it lists, follows, and resumes from the last version it saw. Where that version is too old,
//! it tells of a gap and begins with a list again.
//!
//! Our own, because `kube::runtime::watcher` neither begins just after a version that a write returned nor tells of the gap.
//! Not here: what follows from what is told.

use std::time::Duration;

use cordonhold_shared::backoff::jittered;
use cordonhold_shared::watch::{Change, Place, REQUEST_SECONDS, SILENCE_BOUND};
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use kube::Client;
use kube::core::params::{ListParams, WatchParams};
use kube::core::{Request, WatchEvent};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokio::time::sleep;
use tracing::debug;

use crate::api::{CALL_BOUND, CallError, ListView, call, within};
use crate::pause;

/// What is watched: a resource, the selectors that pick ours out of it, and how long one request for it may last.
#[derive(Clone, Debug)]
pub struct Target {
    /// For the log.
    pub name: &'static str,
    /// The path of the resource on the API server.
    pub path: String,
    /// The field selector; empty for none.
    pub fields: String,
    /// The label selector.
    pub labels: Option<String>,
    /// Nothing but the objects' metadata is sent.
    pub only_metadata: bool,
    /// Where one object is watched, its end is an end of the watch too: the next one is another object.
    pub ends_with_object: bool,
    /// How long the server keeps one request. To resume costs another, which is all that an idle watch asks for.
    pub seconds: u32,
    /// Longest silence. It must outlast the pause between two bookmarks or between two requests: one that is silent for longer is dead.
    pub silence: Duration,
}

impl Target {
    /// The objects of this path that this field selector takes.
    pub fn new(name: &'static str, path: String, fields: String) -> Target {
        Target {
            name,
            path,
            fields,
            labels: None,
            only_metadata: false,
            ends_with_object: false,
            seconds: REQUEST_SECONDS,
            silence: SILENCE_BOUND,
        }
    }

    fn listing(&self) -> crate::api::Built {
        let mut params = ListParams::default().fields(&self.fields);
        params.label_selector.clone_from(&self.labels);
        let request = Request::new(self.path.clone());
        if self.only_metadata {
            request.list_metadata(&params)
        } else {
            request.list(&params)
        }
    }

    fn following(&self, version: &str) -> crate::api::Built {
        let mut params = WatchParams::default().fields(&self.fields).timeout(self.seconds);
        params.label_selector.clone_from(&self.labels);
        let request = Request::new(self.path.clone());
        if self.only_metadata {
            request.watch_metadata(&params, version)
        } else {
            request.watch(&params, version)
        }
    }
}

/// What the server says on a watch.
#[derive(Clone, Debug)]
pub enum News<T> {
    /// This changed.
    Change(Change<T>),
    /// A request of the watch has begun.
    Began,
    /// Nothing has happened, and the watch goes on.
    Bookmark,
}

type Events<T> = BoxStream<'static, Result<WatchEvent<Versioned<T>>, kube::Error>>;

/// A watch and where it has come to.
pub struct Watch<T> {
    client: Client,
    target: Target,
    place: Place,
    /// The request that is open.
    events: Option<Events<T>>,
    /// How long to wait before the next request.
    pause: Option<Duration>,
}

/// An object of a watch with its version, which the views of the domain need not know.
#[derive(Clone)]
struct Versioned<T> {
    version: String,
    view: T,
}

impl<T: Clone + DeserializeOwned + Send + 'static> Watch<T> {
    /// From just after this version on, or from a list of what is there.
    pub fn new(client: Client, target: Target, version: Option<String>) -> Watch<T> {
        Watch {
            client,
            place: Place::new(version, target.ends_with_object),
            target,
            events: None,
            pause: None,
        }
    }

    /// All that the server says, without end. Whoever goes on after an error has the watch tried again, after a pause that grows.
    pub fn news(self) -> impl Stream<Item = Result<News<T>, CallError>> + Send {
        stream::unfold(self, async |mut watch| {
            let news = watch.next().await;
            Some((news, watch))
        })
    }

    async fn next(&mut self) -> Result<News<T>, CallError> {
        loop {
            if let Some(pause) = self.pause.take() {
                sleep(pause).await;
            }
            match self.step().await {
                Ok(Some(news)) => return Ok(news),
                // The server ends each request after a while.
                Ok(None) => self.end_request(self.place.ended()),
                Err(error) => {
                    let retry = self.place.failed(error.code());
                    self.end_request(retry.pause);
                    if retry.has_gap {
                        return Ok(News::Change(Change::Gap));
                    }
                    return Err(error);
                }
            }
        }
    }

    /// The next request follows after this pause.
    fn end_request(&mut self, pause: Duration) {
        self.events = None;
        self.pause = Some(jittered(pause, pause::random()));
    }

    /// The next thing that the open request says, or nothing where it has ended; without one, the next request.
    async fn step(&mut self) -> Result<Option<News<T>>, CallError> {
        let Some(version) = self.place.version() else {
            let list: ListView<T> = call(&self.client, self.target.listing()).await?;
            self.place.listed(list.metadata.resource_version);
            return Ok(Some(News::Change(Change::Listed(list.items))));
        };
        let Some(events) = &mut self.events else {
            let request = self.target.following(version)?;
            let events = within(CALL_BOUND, self.client.request_events(request)).await?;
            debug!(of = self.target.name, version, "watching");
            self.events = Some(events.boxed());
            return Ok(Some(News::Began));
        };
        let Some(event) = within(self.target.silence, events.try_next()).await? else {
            return Ok(None);
        };
        self.take(event).map(Some)
    }

    fn take(&mut self, event: WatchEvent<Versioned<T>>) -> Result<News<T>, CallError> {
        let (version, news) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                (object.version, News::Change(Change::Present(object.view)))
            }
            WatchEvent::Deleted(object) => (object.version, News::Change(Change::Gone(object.view))),
            WatchEvent::Bookmark(bookmark) => (bookmark.metadata.resource_version, News::Bookmark),
            WatchEvent::Error(status) => return Err(CallError::Answered(status)),
        };
        let is_gone = matches!(news, News::Change(Change::Gone(_)));
        if self.place.moved(version, is_gone) {
            self.end_request(self.place.ended());
        }
        Ok(news)
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
mod tests;
