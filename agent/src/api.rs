//! The agent's calls to the API server. Each has a time limit.
//!
//! Reads set no `resourceVersion`, so that no cache answers them; only the pods that may replace an evicted one are read from a cache.
//! Only the few fields that decisions need are decoded.
//! Not here: retries (the cycle decides them), and what a status code means ([`cordonhold_shared::reboot::api_status`]).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) use cordonhold_rt::api::CallError;
use cordonhold_rt::api::{Built, ListView, call, each, within};
use cordonhold_rt::watch::{News, Target, Watch};
use cordonhold_shared::keys;
use cordonhold_shared::names::is_name;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::api_status::{Cause, ErrorStatus, Failed};
use cordonhold_shared::reboot::blocker::Look;
use cordonhold_shared::reboot::cycle::{Failure, PoolCount, Settings};
use cordonhold_shared::reboot::drain::Evicted;
use cordonhold_shared::reboot::driver::Source;
use cordonhold_shared::selector::Selector;
use cordonhold_shared::watch::Change;
use futures_util::future::ready;
use futures_util::{Stream, StreamExt as _};
use kube::Client;
use kube::core::Request;
use kube::core::params::{GetParams, ListParams, Patch, PatchParams};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::config::{DrainConfig, LockConfig};

mod lock;
mod object;
mod pods;

use object::Resource;

/// Longest wait for the answer to an eviction. The API server itself retries for up to 10 s if a budget is busy
/// (kubernetes/kubernetes: pkg/registry/core/pod/storage/eviction.go).
const EVICTION_BOUND: Duration = Duration::from_secs(15);

/// Longest wait for an operation of many calls, such as listing thousands of Nodes, or looking up the `DaemonSets` of all pods.
const CALLS_BOUND: Duration = Duration::from_mins(1);

const NODES: &str = "/api/v1/nodes";

/// The API server, with what the agent's calls need: our Node's name, the pool, the lock's objects and the drain's options.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    node: String,
    pool: Selector,
    lock: LockConfig,
    drain: DrainConfig,
    /// The evictions that have no answer yet.
    evictions: TaskTracker,
    /// The resources of the kinds of `--blocker-object`, by API version and kind, as far as the API server has named them.
    resources: Arc<Mutex<BTreeMap<(String, String), Resource>>>,
}

/// What a failed call means to the agent.
pub(crate) trait Meaning {
    /// The error in one line, with what to check if it persists.
    fn with_fix(&self) -> String;
    /// The kind of failure, without the time after which to retry.
    fn failure(&self) -> Failure {
        self.failed().failure
    }
    /// The failure as the cycle's requests report it.
    fn failed(&self) -> Failed;
    /// Whether the API server says that the object of this name does not exist.
    fn is_gone(&self, name: &str) -> bool;
    /// What became of the eviction that was answered like this.
    fn evicted(&self) -> Evicted;
}

impl Api {
    pub(crate) fn new(client: Client, policy: &Settings, lock: LockConfig, drain: DrainConfig) -> Api {
        Api {
            client,
            node: policy.node.clone(),
            pool: policy.pool.clone(),
            lock,
            drain,
            evictions: TaskTracker::new(),
            resources: Arc::default(),
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Reads our own Node.
    pub(crate) async fn node(&self) -> Result<NodeView, Failure> {
        self.node_named(&self.node).await.map_err(|error| error.failure())
    }

    /// Reads the Node of this name. The name may come from the lock, where somebody may have written any text, so it is checked first.
    pub(crate) async fn read_node(&self, name: &str) -> Result<NodeView, Failed> {
        if !is_name(name) {
            return Err(Failure::Refused(format!("{name:?} cannot be the name of a Node")).into());
        }
        self.node_named(name).await.map_err(|error| error.failed())
    }

    async fn node_named(&self, name: &str) -> Result<NodeView, CallError> {
        self.call(Request::new(NODES).get(name, &GetParams::default()))
            .await
    }

    /// Lists the Nodes that this label selector selects.
    pub(crate) async fn nodes(&self, labels: &str) -> Result<Vec<NodeView>, CallError> {
        let params = ListParams::default().labels(labels);
        let list: ListView<NodeView> = self.call(Request::new(NODES).list(&params)).await?;
        Ok(list.items)
    }

    /// Counts the Nodes that this label selector selects, and keeps of each what is looked for.
    pub(crate) async fn count_nodes(&self, labels: &str, look: &Look) -> Result<PoolCount, CallError> {
        let mut pool = PoolCount::default();
        let params = ListParams::default().labels(labels);
        self.each(NODES, params, |node: NodeView| pool.add(&node, look))
            .await?;
        Ok(pool)
    }

    /// Visits every object of a list, page by page, within [`CALLS_BOUND`].
    async fn each<T: DeserializeOwned>(
        &self,
        path: &str,
        params: ListParams,
        visit: impl FnMut(T),
    ) -> Result<(), CallError> {
        within(CALLS_BOUND, each(&self.client, path, params, visit)).await
    }

    /// Watches for ever and gives each change: those after `version`, or without one first what a list shows.
    /// A failure is logged, and the watch is tried again.
    pub(crate) fn watch<T>(
        &self,
        target: Target,
        version: Option<String>,
    ) -> impl Stream<Item = Change<T>> + Send + use<T>
    where
        T: Clone + DeserializeOwned + Send + 'static,
    {
        let name = target.name;
        let watch = Watch::new(self.client.clone(), target, version);
        watch.news().filter_map(move |news| {
            let change = match news {
                Ok(News::Change(change)) => Some(change),
                Ok(News::Began | News::Bookmark) => None,
                Err(error) => {
                    let why = error.with_fix();
                    warn!(
                        event = "watch_lost",
                        of = name,
                        why,
                        "a watch failed and is tried again"
                    );
                    None
                }
            };
            ready(change)
        })
    }

    /// Sends a merge patch of a Node. Gives the Node as written.
    pub(crate) async fn patch_node(&self, name: &str, body: Value) -> Result<NodeView, CallError> {
        let request = Request::new(NODES).patch(name, &as_agent(false), &Patch::Merge(body));
        self.call(request).await
    }

    /// Sends a strategic merge patch of our Node's status.
    pub(crate) async fn patch_status(&self, patch: &Value) -> Result<(), CallError> {
        let request = Request::new(NODES).patch_subresource(
            "status",
            &self.node,
            &as_agent(false),
            &Patch::Strategic(patch),
        );
        self.call::<NodeView>(request).await.map(drop)
    }

    /// Sends one request, within the time limit of [`cordonhold_rt::api::call`].
    pub(crate) async fn call<T: DeserializeOwned>(&self, request: Built) -> Result<T, CallError> {
        call(&self.client, request).await
    }

    pub(crate) fn pool_selector(&self) -> &Selector {
        &self.pool
    }

    /// What to watch to follow our Node.
    pub(crate) fn node_target(&self) -> Target {
        Target {
            ends_with_object: Source::Node.ends_with_object(),
            ..Target::new(
                "the Node",
                NODES.to_owned(),
                format!("metadata.name={}", self.node),
            )
        }
    }
}

const LOGIN: &str = "check the agent's login: the token of its ServiceAccount, or the user of --kubeconfig";

impl Meaning for CallError {
    fn with_fix(&self) -> String {
        format!("{}: {}", cordonhold_rt::exit::one_line(self), fix(self))
    }

    fn failed(&self) -> Failed {
        let text = self.with_fix();
        match refusal(self) {
            Some(refusal) => refusal.failed(text),
            None => Failed::unknown(text),
        }
    }

    fn is_gone(&self, name: &str) -> bool {
        refusal(self).and_then(|refusal| refusal.gone()) == Some(name)
    }

    fn evicted(&self) -> Evicted {
        let text = cordonhold_rt::exit::one_line(self);
        match refusal(self) {
            Some(refusal) => refusal.evicted(text),
            None => Evicted::Failed(text),
        }
    }
}

/// What to check for this error if it persists.
fn fix(error: &CallError) -> &'static str {
    match error {
        CallError::Kube(kube::Error::Auth(_)) => LOGIN,
        // kube wraps a kube error only if getting the credentials failed, before the request was sent.
        CallError::Kube(kube::Error::Service(error)) if error.is::<kube::Error>() => LOGIN,
        CallError::Kube(kube::Error::SerdeError(_)) => {
            "check that what answers there is an API server of Kubernetes"
        }
        CallError::Silent(_) | CallError::Kube(_) => {
            "check the way to the API server: its address, proxies and network policies"
        }
        CallError::Request(_) => "check the names in the agent's flags",
        CallError::Answered(status) => match status.code {
            401 => LOGIN,
            403 => {
                "grant it to the agent's ServiceAccount, as manifests/base/rbac-agent.yaml does; if an admission webhook denied it, look there"
            }
            404 => "check that this is the API server of the agent's own cluster",
            400..=499 => "look at what it names; the agent keeps trying",
            _ => "look at what it names, and at the health and the log of the API server",
        },
    }
}

/// The API server's own refusal, if it gave one.
fn refusal(error: &CallError) -> Option<ErrorStatus<'_>> {
    let CallError::Answered(status) = error else {
        return None;
    };
    let details = status.details.as_ref();
    Some(ErrorStatus {
        code: status.code,
        reason: &status.reason,
        message: &status.message,
        name: details.map_or("", |details| &details.name),
        cause: details
            .and_then(|details| details.causes.first())
            .map(|cause| Cause {
                reason: &cause.reason,
                message: &cause.message,
            }),
        retry_after_seconds: details.map_or(0, |details| details.retry_after_seconds),
    })
}

/// The parameters of every patch: the agent's field manager, and whether to force an apply.
fn as_agent(force: bool) -> PatchParams {
    PatchParams {
        field_manager: Some(keys::FIELD_MANAGER.to_owned()),
        force,
        ..PatchParams::default()
    }
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
