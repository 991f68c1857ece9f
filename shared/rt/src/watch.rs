//! A watch that never ends: it lists, follows, and resumes from the last version it saw. If the API server no longer has that version,
//! the watch reports a gap and lists again.
//!
//! It replaces `kube::runtime::watcher`, which cannot begin after the version that a write returned, and does not report a gap.
//! Not here: its position and when it is retried ([`cordonhold_shared::watch`]), and what the watching program does on a
//! change.

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

/// What is watched: a resource, selectors for its objects, and how long one request may last.
#[derive(Clone, Debug)]
pub struct Target {
    /// The name of the watch in the log.
    pub name: &'static str,
    /// The path of the resource on the API server.
    pub path: String,
    /// The field selector; empty for none.
    pub fields: String,
    /// The label selector; `None` for every object.
    pub labels: Option<String>,
    /// Whether the server is asked for the objects' metadata only.
    pub only_metadata: bool,
    /// For a watch of one object: whether to list again when it is deleted, because the next one of that name is another object.
    pub ends_with_object: bool,
    /// How long the server keeps one request open, in seconds. Then the watch is resumed by another request; an idle watch sends no others.
    pub seconds: u32,
    /// Longest silence of the server, after which the watch counts as dead and is retried. It must be longer than the time between two
    /// bookmarks, or than `seconds`.
    pub silence: Duration,
}

impl Target {
    /// The objects of this path that match this field selector, with the default time limits.
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

/// What a watch reports.
#[derive(Clone, Debug)]
pub enum News<T> {
    /// Objects have changed.
    Change(Change<T>),
    /// A request of the watch has begun.
    Began,
    /// The server has sent a bookmark: nothing has happened, and the watch works.
    Bookmark,
}

type Events<T> = BoxStream<'static, Result<WatchEvent<Versioned<T>>, kube::Error>>;

/// A watch and its position.
pub struct Watch<T> {
    client: Client,
    target: Target,
    place: Place,
    /// The answer to the open request, if there is one.
    events: Option<Events<T>>,
    /// How long to wait before the next request.
    pause: Option<Duration>,
}

/// An object of a watch with its version, so that `T` itself need not have one.
#[derive(Clone)]
struct Versioned<T> {
    version: String,
    view: T,
}

impl<T: Clone + DeserializeOwned + Send + 'static> Watch<T> {
    /// A watch that begins just after this version. `None`: it begins with a list.
    pub fn new(client: Client, target: Target, version: Option<String>) -> Watch<T> {
        Watch {
            client,
            place: Place::new(version, target.ends_with_object),
            target,
            events: None,
            pause: None,
        }
    }

    /// Everything that the watch reports, without end. After an error, the next poll retries the watch, after a pause that grows.
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
                // The server has ended the request, as it does after `seconds`.
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

    /// Closes the open request. The next one follows after this pause, with jitter.
    fn end_request(&mut self, pause: Duration) {
        self.events = None;
        self.pause = Some(jittered(pause, pause::random()));
    }

    /// Does one step: lists, opens a request, or reads the next event of the open one. `None`: the request has ended.
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
