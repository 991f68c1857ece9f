//! Lists all objects of a kind, and then delivers every change, for ever.
//!
//! Not here: a store of them; whoever follows keeps what it needs.

use std::pin::pin;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

/// Pause before a watch that ended begins again.
const WATCH_PAUSE: Duration = Duration::from_millis(100);

/// One change that [`follow`] delivers. A new list arrives as [`Change::Forget`] and then an update for each object.
pub(crate) enum Change<K> {
    Forget,
    Updated(K),
    Deleted(K),
}

/// Delivers all objects, and then every change, for ever.
pub(crate) async fn follow<K>(api: Api<K>, mut deliver: impl FnMut(Change<K>) + Send)
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    loop {
        // Whether the watch failed or just ended: list again and watch on.
        drop(follow_once(&api, &mut deliver).await);
        tokio::time::sleep(WATCH_PAUSE).await;
    }
}

async fn follow_once<K>(api: &Api<K>, deliver: &mut impl FnMut(Change<K>)) -> kube::Result<()>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let listed = api.list(&ListParams::default()).await?;
    let version = listed.metadata.resource_version.clone().unwrap_or_default();
    deliver(Change::Forget);
    for object in listed {
        deliver(Change::Updated(object));
    }
    let events = api.watch(&WatchParams::default(), &version).await?;
    let mut events = pin!(events.boxed());
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => deliver(Change::Updated(object)),
            WatchEvent::Deleted(object) => deliver(Change::Deleted(object)),
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(_) => return Ok(()),
        }
    }
    Ok(())
}
