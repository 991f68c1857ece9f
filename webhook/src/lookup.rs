//! What the webhook asks of the cluster: may this user cancel, and whom does stock kured's lock name.
//!
//! Each question is one bounded request. Not here: what follows from the answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cordonhold_rt::client;
use cordonhold_shared::admission::{Known, KuredLock, Locks, Requester};
use futures_util::future::BoxFuture;
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};

use crate::Metrics;

mod permission;
mod watch;

use permission::Permissions;
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
    fn watched_kured_lock(&self) -> Known<Locks>;
    /// kured's lock as of now.
    fn kured_lock(&self) -> BoxFuture<'_, Known<Locks>>;
}

/// Asks the cluster.
pub(crate) struct ClusterLookup {
    permissions: Permissions,
    kured: Option<(KuredObject, Arc<KuredWatch>)>,
}

impl ClusterLookup {
    pub(crate) fn new(client: Client, kured: Option<&KuredLock>, metrics: &Arc<Metrics>) -> ClusterLookup {
        let kured = kured.map(|lock| {
            let object = KuredObject::new(&client, lock);
            let watch = Arc::new(KuredWatch::new(object.clone(), Arc::clone(metrics)));
            (object, watch)
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
}

impl Lookup for ClusterLookup {
    fn may_override<'a>(&'a self, requester: &'a Requester, node: &'a str) -> BoxFuture<'a, Known<bool>> {
        Box::pin(self.permissions.may_override(requester, node))
    }

    fn watched_kured_lock(&self) -> Known<Locks> {
        match &self.kured {
            Some((_, watch)) => watch.locks(),
            None => is_off(),
        }
    }

    fn kured_lock(&self) -> BoxFuture<'_, Known<Locks>> {
        Box::pin(async {
            match &self.kured {
                Some((object, _)) => object.get().await,
                None => is_off(),
            }
        })
    }
}

/// The decision does not ask where its policy has no lock.
fn is_off() -> Known<Locks> {
    Known::Failed("the lookup of kured's lock is off".to_owned())
}

/// The DaemonSet that carries kured's lock. Only its metadata is ever read.
#[derive(Clone)]
struct KuredObject {
    api: Api<DaemonSet>,
    namespace: String,
    name: String,
    annotations: Vec<String>,
}

impl fmt::Display for KuredObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "daemonset {}/{}", self.namespace, self.name)
    }
}

impl KuredObject {
    fn new(client: &Client, lock: &KuredLock) -> KuredObject {
        KuredObject {
            api: Api::namespaced(client.clone(), &lock.ds_namespace),
            namespace: lock.ds_namespace.clone(),
            name: lock.ds_name.clone(),
            annotations: lock.annotations.clone(),
        }
    }

    /// The lock annotations among these of the object.
    fn locks_of(&self, object: &PartialObjectMeta<DaemonSet>) -> Locks {
        let annotations = object.metadata.annotations.iter().flatten();
        annotations
            .filter(|(key, _)| self.annotations.contains(key))
            .map(|(key, text)| (key.clone(), text.clone()))
            .collect()
    }

    async fn get(&self) -> Known<Locks> {
        let what = format!("the lock on {self}");
        let fix = "allow the webhook's ServiceAccount to get it, and check --ds-namespace and --ds-name";
        // Where there is no such DaemonSet, its lock went with it.
        match bounded(&what, fix, self.api.get_metadata_opt(&self.name)).await {
            Ok(object) => Known::Is(object.map(|object| self.locks_of(&object)).unwrap_or_default()),
            Err(why) => Known::Failed(why),
        }
    }
}

async fn bounded<T>(
    what: &str,
    fix: &str,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, String> {
    match tokio::time::timeout(LOOKUP_TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!(
            "failed to look up {what}: {}: {fix}",
            client::explain(&error)
        )),
        Err(_) => Err(format!(
            "failed to look up {what}: no answer from the API server within {LOOKUP_TIMEOUT:?}"
        )),
    }
}
