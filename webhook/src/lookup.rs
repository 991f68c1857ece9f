//! What the webhook asks the cluster: may this user cancel or ask for a reboot, where is stock kured, and which nodes does its lock name.
//!
//! Each lookup is bounded in time. Not here: what the decision makes of the answers ([`cordonhold_shared::admission`]).

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

/// Longest time of a lookup. Together with the time for reading the body it is less than the 5 s that the API server waits for us.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// Looks up the facts that a decision needs: one function for each [`cordonhold_shared::admission::Fact`].
pub trait Lookup: Send + Sync {
    /// Whether the requester has this verb on `rebootholds.cordonhold.dev` named as this Node.
    fn may<'a>(
        &'a self,
        verb: &'static str,
        requester: &'a Requester,
        node: &'a str,
    ) -> BoxFuture<'a, Known<bool>>;
    /// Where kured is, and its lock, as a watch last showed them. Makes no request.
    fn watched_kured_lock(&self) -> Known<KuredSeen>;
    /// Where kured is, and its lock, read afresh.
    fn kured_lock(&self) -> BoxFuture<'_, Known<KuredSeen>>;
}

/// Looks facts up in the cluster.
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

    /// Where kured was found last, as text; `None` if it was not looked for yet, or never is.
    pub(crate) fn kureds_place(&self) -> Option<String> {
        self.kured.as_ref().and_then(|(kured, _)| kured.finder.told())
    }
}

impl Lookup for ClusterLookup {
    fn may<'a>(
        &'a self,
        verb: &'static str,
        requester: &'a Requester,
        node: &'a str,
    ) -> BoxFuture<'a, Known<bool>> {
        Box::pin(self.permissions.may(verb, requester, node))
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

/// The answer if the policy does not read kured's lock; the decision never asks then.
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

    /// kured as this search found it. No DaemonSet means no lock. Several are a failure, because nobody can tell whose lock counts.
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

/// The answer to a question, within its time, or a message that names `what` was asked, why there is no answer, and how to fix it.
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
                format!(
                    "failed to look up {what}: {why}: look at its load, and at the network on the way there"
                )
            }
            _ => format!("failed to look up {what}: {why}: {fix}"),
        }
    })
}
