//! The API server: each call with a bound.
//!
//! Reads name no version, so that none is served from a cache. Answers are decoded straight into the few fields that
//! decisions rest on. Nothing is retried here, and what an answer means is said in [`cordonhold_shared::reboot::api_status`].

use std::future::Future;
use std::time::Duration;

use cordonhold_rt::client;
use cordonhold_shared::keys;
use cordonhold_shared::names::is_name;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::api_status::{Cause, Failed, Refusal};
use cordonhold_shared::reboot::cycle::{Failure, PoolCount, Settings};
use cordonhold_shared::reboot::drain::Evicted;
use cordonhold_shared::reboot::lock_object::LockObjects;
use cordonhold_shared::selector::Selector;
use kube::Client;
use kube::core::params::{GetParams, ListParams, Patch, PatchParams};
use kube::core::{Request, Status};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::args::drain::DrainConfig;
use crate::args::lock::LockConfig;
use crate::watch::Target;

mod lock;
mod pods;
mod views;

pub(crate) use views::ListView;

/// Longest wait for an answer.
pub(crate) const CALL_BOUND: Duration = Duration::from_secs(10);
/// Longest wait for the answer to an eviction: the API server itself tries up to 10 s against a busy budget
/// (kubernetes/kubernetes: pkg/registry/core/pod/storage/eviction.go).
const EVICTION_BOUND: Duration = Duration::from_secs(15);

/// Longest wait for what takes many calls: a pool of thousands of Nodes, the `DaemonSets` of all pods.
const CALLS_BOUND: Duration = Duration::from_mins(1);

/// How many objects one answer may hold: a Node is some kilobytes, and a cluster may have thousands.
const PAGE: u32 = 100;

const NODES: &str = "/api/v1/nodes";

/// The calls of one agent.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    node: String,
    pool: Selector,
    lock: LockConfig,
    lock_objects: LockObjects,
    drain: DrainConfig,
    /// The evictions that have no answer yet.
    evictions: TaskTracker,
}

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("the API server did not answer within {0:?}")]
    Silent(Duration),
    #[error("the API server: {} (code {})", .0.message, .0.code)]
    Answered(Box<Status>),
    #[error("{}", client::explain(.0))]
    Kube(kube::Error),
    #[error("failed to build the request")]
    Request(#[from] kube::core::request::Error),
}

impl Api {
    pub(crate) fn new(client: Client, policy: &Settings, lock: LockConfig, drain: DrainConfig) -> Api {
        Api {
            client,
            node: policy.node.clone(),
            pool: policy.pool.clone(),
            lock_objects: lock::objects(&lock),
            lock,
            drain,
            evictions: TaskTracker::new(),
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn node_name(&self) -> &str {
        &self.node
    }

    /// Our own Node.
    pub(crate) async fn node(&self) -> Result<NodeView, Failure> {
        self.node_named(&self.node).await.map_err(|error| error.failure())
    }

    /// The Node of this name, which may be anything that somebody wrote into the lock.
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

    /// The Nodes that this label selector takes.
    pub(crate) async fn nodes(&self, labels: &str) -> Result<Vec<NodeView>, CallError> {
        let params = ListParams::default().labels(labels);
        let list: ListView<NodeView> = self.call(Request::new(NODES).list(&params)).await?;
        Ok(list.items)
    }

    /// How many Nodes this label selector takes.
    pub(crate) async fn count_nodes(&self, labels: &str) -> Result<PoolCount, CallError> {
        let mut pool = PoolCount::default();
        let params = ListParams::default().labels(labels);
        self.each(NODES, params, |node: NodeView| pool.add(&node)).await?;
        Ok(pool)
    }

    /// Every object of a list, page by page, within [`CALLS_BOUND`]; [`PAGE`] at a time where the parameters say nothing else.
    async fn each<T: DeserializeOwned>(
        &self,
        path: &str,
        params: ListParams,
        mut visit: impl FnMut(T),
    ) -> Result<(), CallError> {
        let mut params = ListParams {
            limit: params.limit.or(Some(PAGE)),
            ..params
        };
        within_bound(async {
            loop {
                let page: ListView<T> = self.call(Request::new(path).list(&params)).await?;
                page.items.into_iter().for_each(&mut visit);
                match page.metadata.next_page {
                    Some(token) if !token.is_empty() => params = params.continue_token(&token),
                    _ => return Ok(()),
                }
            }
        })
        .await
    }

    /// A merge patch; the answer is the Node as written.
    pub(crate) async fn patch_node(&self, name: &str, body: Value) -> Result<NodeView, CallError> {
        let request = Request::new(NODES).patch(name, &as_agent(false), &Patch::Merge(body));
        self.call(request).await
    }

    /// A strategic merge patch of our Node's status.
    pub(crate) async fn patch_status(&self, patch: &Value) -> Result<(), CallError> {
        let request = Request::new(NODES).patch_subresource(
            "status",
            &self.node,
            &as_agent(false),
            &Patch::Strategic(patch),
        );
        self.call::<NodeView>(request).await.map(drop)
    }

    /// One call within [`CALL_BOUND`].
    pub(crate) async fn call<T: DeserializeOwned>(&self, request: Built) -> Result<T, CallError> {
        self.call_within(CALL_BOUND, request).await
    }

    pub(crate) fn pool_selector(&self) -> &Selector {
        &self.pool
    }

    pub(crate) fn node_target(&self) -> Target {
        Target {
            name: "the Node",
            path: NODES.to_owned(),
            fields: format!("metadata.name={}", self.node),
            labels: None,
            ends_with_object: true,
        }
    }

    async fn call_within<T: DeserializeOwned>(
        &self,
        bound: Duration,
        request: Built,
    ) -> Result<T, CallError> {
        within(bound, self.client.request(request?)).await
    }
}

const LOGIN: &str = "check the agent's login: the token of its ServiceAccount, or the user of --kubeconfig";

/// A request of kube's, or why it could not be built.
pub(crate) type Built = Result<http::Request<Vec<u8>>, kube::core::request::Error>;

/// The answer, if it comes in time.
pub(crate) async fn within<T>(
    bound: Duration,
    answer: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, CallError> {
    timeout(bound, answer)
        .await
        .map_err(|_| CallError::Silent(bound))?
        .map_err(CallError::from)
}

/// The outcome of many calls, if it comes within [`CALLS_BOUND`].
async fn within_bound<T>(calls: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    timeout(CALLS_BOUND, calls)
        .await
        .unwrap_or(Err(CallError::Silent(CALLS_BOUND)))
}

impl CallError {
    /// What it was, and what to look at where it goes on.
    pub(crate) fn with_fix(&self) -> String {
        format!("{}: {}", cordonhold_rt::exit::one_line(self), self.fix())
    }

    fn fix(&self) -> &'static str {
        match self {
            CallError::Kube(kube::Error::Auth(_)) => LOGIN,
            // It was about the login, and nothing was asked yet.
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
                    "grant it to the agent's ServiceAccount, as manifests/base/rbac-agent.yaml does; where an admission webhook denied it, look there"
                }
                404 => "check that this is the API server of the agent's own cluster",
                400..=499 => "look at what it names; the agent tries on",
                _ => "look at what it names, and at the health and the log of the API server",
            },
        }
    }

    pub(crate) fn failure(&self) -> Failure {
        self.failed().failure
    }

    pub(crate) fn failed(&self) -> Failed {
        let text = self.with_fix();
        match self.refusal() {
            Some(refusal) => refusal.failed(text),
            None => Failed::unknown(text),
        }
    }

    /// Whether a watch from this version can no longer be had.
    pub(crate) fn is_too_old(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.is_too_old())
    }

    /// Whether the API server says that the object of this name does not exist.
    fn is_gone(&self, name: &str) -> bool {
        self.refusal().and_then(|refusal| refusal.gone()) == Some(name)
    }

    fn evicted(&self) -> Evicted {
        let text = cordonhold_rt::exit::one_line(self);
        match self.refusal() {
            Some(refusal) => refusal.evicted(text),
            None => Evicted::Failed(text),
        }
    }

    fn refusal(&self) -> Option<Refusal<'_>> {
        let CallError::Answered(status) = self else {
            return None;
        };
        let details = status.details.as_ref();
        Some(Refusal {
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
}

impl From<kube::Error> for CallError {
    fn from(error: kube::Error) -> CallError {
        match error {
            kube::Error::Api(status) => CallError::Answered(status),
            error => CallError::Kube(error),
        }
    }
}

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
