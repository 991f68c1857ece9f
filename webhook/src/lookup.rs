//! What the webhook asks of the cluster: may this user cancel, where is stock kured, and whom does its lock name.
//!
//! Each question is one bounded request. Not here: what follows from the answers.

use std::sync::Arc;
use std::time::Duration;

use cordonhold_rt::api::{CallError, within};
use cordonhold_rt::exit::one_line;
use cordonhold_shared::admission::{Known, KuredLock, KuredSeen, Locks, Requester};
use cordonhold_shared::kured::Whereabouts;
use futures_util::future::BoxFuture;
use kube::Client;

use crate::Metrics;

mod permission;
mod place;
mod watch;

use permission::Permissions;
use place::{Finder, Located};
pub(crate) use watch::KuredWatch;

#[cfg(test)]
mod tests;

/// With the body's own bound, below the 5 s that the API server waits for us.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// What [`cordonhold_shared::admission::Fact`] asks for.
pub trait Lookup: Send + Sync {
    /// Whether the requester may cancel the hold of this Node.
    fn may_override<'a>(&'a self, requester: &'a Requester, node: &'a str) -> BoxFuture<'a, Known<bool>>;
    /// kured's lock as a watch has it, without a request.
    fn watched_kured_lock(&self) -> Known<KuredSeen>;
    /// Where kured is, and its lock, as of now.
    fn kured_lock(&self) -> BoxFuture<'_, Known<KuredSeen>>;
}

/// Asks the cluster.
pub(crate) struct ClusterLookup {
    permissions: Permissions,
    kured: Option<(KuredLookup, Arc<KuredWatch>)>,
}

impl ClusterLookup {
    pub(crate) fn new(client: Client, kured: Option<&KuredLock>, metrics: &Arc<Metrics>) -> ClusterLookup {
        let kured = kured.map(|lock| {
            let kured = KuredLookup {
                finder: Finder::new(client.clone(), lock, Arc::clone(metrics)),
                annotations: lock.annotations.clone(),
            };
            let watch = KuredWatch::new(client.clone(), kured.clone(), Arc::clone(metrics));
            (kured, Arc::new(watch))
        });
        ClusterLookup {
            permissions: Permissions::new(client),
            kured,
        }
    }

    /// The watch of kured's DaemonSet, which somebody must [run](KuredWatch::run).
    pub(crate) fn kured_watch(&self) -> Option<Arc<KuredWatch>> {
        self.kured.as_ref().map(|(_, watch)| Arc::clone(watch))
    }

    /// Where kured was found last, in words.
    pub(crate) fn kureds_place(&self) -> Option<String> {
        self.kured.as_ref().and_then(|(kured, _)| kured.finder.told())
    }
}

impl Lookup for ClusterLookup {
    fn may_override<'a>(&'a self, requester: &'a Requester, node: &'a str) -> BoxFuture<'a, Known<bool>> {
        Box::pin(self.permissions.may_override(requester, node))
    }

    fn watched_kured_lock(&self) -> Known<KuredSeen> {
        match &self.kured {
            Some((_, watch)) => watch.seen(),
            None => is_off(),
        }
    }

    fn kured_lock(&self) -> BoxFuture<'_, Known<KuredSeen>> {
        Box::pin(async {
            match &self.kured {
                Some((kured, _)) => kured.read().await,
                None => is_off(),
            }
        })
    }
}

/// The decision does not ask where its policy has no lock.
fn is_off() -> Known<KuredSeen> {
    Known::Failed("the lookup of kured's lock is off".to_owned())
}

/// Finds kured, and reads its lock.
#[derive(Clone)]
struct KuredLookup {
    finder: Finder,
    annotations: Vec<String>,
}

impl KuredLookup {
    /// The lock annotations among these.
    fn locks_of<'a>(&self, annotations: impl IntoIterator<Item = (&'a String, &'a String)>) -> Locks {
        annotations
            .into_iter()
            .filter(|(key, _)| self.annotations.contains(key))
            .map(|(key, text)| (key.clone(), text.clone()))
            .collect()
    }

    async fn read(&self) -> Known<KuredSeen> {
        let what = format!("the lock on daemonset {}", self.finder);
        let fix = "allow the webhook's ServiceAccount to get it, and check --ds-namespace and --ds-name";
        match looked_up(&what, fix, self.finder.find()).await {
            Ok(located) => self.seen(&located),
            Err(why) => Known::Failed(why),
        }
    }

    /// Where there is no such DaemonSet, its lock went with it. Of several, nobody can tell whose lock counts.
    fn seen(&self, located: &Located) -> Known<KuredSeen> {
        if matches!(located.whereabouts, Whereabouts::Several(_)) {
            return Known::Failed(self.finder.told().unwrap_or_default());
        }
        let annotations = located
            .object
            .iter()
            .flat_map(|object| &object.metadata.annotations);
        Known::Is(KuredSeen {
            locks: self.locks_of(annotations),
            found: located.whereabouts.kured().cloned(),
        })
    }
}

/// The answer to a question, or why there is none, with the fix where that helps.
async fn looked_up<T, E>(
    what: &str,
    fix: &str,
    asked: impl Future<Output = Result<T, E>>,
) -> Result<T, String>
where
    CallError: From<E>,
{
    within(LOOKUP_TIMEOUT, asked).await.map_err(|error| {
        let why = one_line(&error);
        match error {
            CallError::Silent(_) => {
                format!("failed to look up {what}: {why}: look at its load, and at the way there")
            }
            _ => format!("failed to look up {what}: {why}: {fix}"),
        }
    })
}
