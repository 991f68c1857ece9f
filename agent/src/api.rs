//! The API server: each request of the cycle as one call with a bound, its answer as the cycle understands it.
//!
//! Reads name no version, so that none is served from a cache. Answers are decoded straight into the few fields that
//! decisions rest on. Nothing is retried here.

use std::future::Future;
use std::time::Duration;

use cordonhold_shared::answer::Refusal;
use cordonhold_shared::cycle::{Failure, LockView, LockWrite};
use cordonhold_shared::drain::Evicted;
use cordonhold_shared::hold::{self, NodePatch, Terms};
use cordonhold_shared::keys;
use cordonhold_shared::lease::{self, LeaseView};
use cordonhold_shared::node::NodeView;
use cordonhold_shared::pod::{self, PodView};
use jiff::Timestamp;
use kube::Client;
use kube::core::params::{GetParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{Request, Status};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::args::value::is_name;

mod views;

pub(crate) use views::ListView;

/// Longest wait for an answer.
pub(crate) const CALL_BOUND: Duration = Duration::from_secs(10);
/// Longest wait for the answer to an eviction: the API server itself tries up to 10 s against a busy budget
/// (kubernetes/kubernetes: pkg/registry/core/pod/storage/eviction.go).
const EVICTION_BOUND: Duration = Duration::from_secs(15);

const NODES: &str = "/api/v1/nodes";
const PODS: &str = "/api/v1/pods";

/// The calls of one agent.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    node: String,
    lock_namespace: String,
    lock_name: String,
}

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("the API server did not answer within {0:?}")]
    Silent(Duration),
    #[error("the API server: {} (code {})", .0.message, .0.code)]
    Answered(Box<Status>),
    #[error("failed to reach the API server")]
    Kube(#[source] kube::Error),
    #[error("failed to build the request")]
    Request(#[from] kube::core::request::Error),
}

impl Api {
    pub(crate) fn new(client: Client, node: &str, lock_namespace: &str, lock_name: &str) -> Api {
        Api {
            client,
            node: node.to_owned(),
            lock_namespace: lock_namespace.to_owned(),
            lock_name: lock_name.to_owned(),
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Our own Node.
    pub(crate) async fn node(&self) -> Result<NodeView, Failure> {
        self.node_named(&self.node).await.map_err(|error| error.failure())
    }

    /// Another agent's Node; `None` only where the API server says that this very Node does not exist.
    pub(crate) async fn peer(&self, name: &str) -> Result<Option<NodeView>, Failure> {
        if !is_name(name) {
            return Err(Failure::Refused(format!("{name:?} cannot be the name of a Node")));
        }
        match self.node_named(name).await {
            Ok(node) => Ok(Some(node)),
            Err(error) if error.is_gone(name) => Ok(None),
            Err(error) => Err(error.failure()),
        }
    }

    /// Every Node whose phase label says that it may be held: a wish is none.
    pub(crate) async fn held(&self) -> Result<Vec<NodeView>, Failure> {
        let params = ListParams::default().labels(&hold::held_selector());
        let list: Result<ListView<NodeView>, _> = self.call(Request::new(NODES).list(&params)).await;
        list.map(|list| list.items).map_err(|error| error.failure())
    }

    /// A patch of our Node; the answer is the Node as written.
    pub(crate) async fn patch_node(&self, patch: &NodePatch, terms: &Terms) -> Result<NodeView, Failure> {
        let body = patch.body(Timestamp::now(), terms);
        let request = Request::new(NODES).patch(&patch.name, &as_agent(false), &Patch::Merge(body));
        self.call(request).await.map_err(|error| error.failure())
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

    /// The pods on our Node that a drain would evict, as `namespace/name`.
    pub(crate) async fn pods_left(&self) -> Result<Vec<String>, Failure> {
        let list = self.pods().await.map_err(|error| error.failure())?;
        let left = list
            .items
            .iter()
            .filter(|pod| pod::classify(pod) == pod::Drain::Evict);
        Ok(left.map(pod::name).collect())
    }

    /// Every pod on our Node.
    pub(crate) async fn pods(&self) -> Result<ListView<PodView>, CallError> {
        self.call(Request::new(PODS).list(&ListParams::default().fields(&self.pods_selector())))
            .await
    }

    /// Evicts this very pod, not a namesake.
    pub(crate) async fn evict(&self, pod: &PodView, grace_period: Option<u32>) -> Evicted {
        let body = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": { "name": pod.metadata.name, "namespace": pod.metadata.namespace },
            "deleteOptions": {
                "preconditions": { "uid": pod.metadata.uid },
                "gracePeriodSeconds": grace_period,
            },
        });
        let path = format!("/api/v1/namespaces/{}/pods", pod.metadata.namespace);
        let request = Request::new(path).create_subresource(
            "eviction",
            &pod.metadata.name,
            &PostParams::default(),
            body.to_string().into_bytes(),
        );
        let answer = self.call_within::<Value>(EVICTION_BOUND, request).await;
        answer.map_or_else(|error| error.evicted(), |_| Evicted::Accepted)
    }

    /// The lock object; one that does not exist holds nothing.
    pub(crate) async fn lock(&self) -> Result<LockView, Failure> {
        let request = Request::new(self.leases_path()).get(&self.lock_name, &GetParams::default());
        match self.call::<LeaseView>(request).await {
            Ok(lease) => Ok(lease.lock(Timestamp::now())),
            Err(error) if error.failure() == Failure::NotFound => Ok(LockView::default()),
            Err(error) => Err(error.failure()),
        }
    }

    /// A compare-and-swap of the lock object, creating it where it was not there.
    pub(crate) async fn write_lock(&self, write: &LockWrite, concurrency: usize) -> Result<(), Failure> {
        let version = match &write.version {
            Some(version) => version.clone(),
            None => self.create_lock().await?,
        };
        let body = lease::patch(write, &version, concurrency, Timestamp::now());
        let request =
            Request::new(self.leases_path()).patch(&self.lock_name, &as_agent(false), &Patch::Merge(body));
        self.call::<LeaseView>(request)
            .await
            .map(drop)
            .map_err(|error| error.failure())
    }

    /// The version of the lock object, created empty if need be.
    ///
    /// An apply of nothing creates what is not there and changes nothing of what is; RBAC can limit it to this name.
    /// Whatever somebody wrote there meanwhile is a lost compare-and-swap.
    async fn create_lock(&self) -> Result<String, Failure> {
        let body = lease::empty(&self.lock_namespace, &self.lock_name);
        let request =
            Request::new(self.leases_path()).patch(&self.lock_name, &as_agent(true), &Patch::Apply(body));
        let lease = self.call::<LeaseView>(request).await.map_err(|error| match error.failure() {
            Failure::NotFound => Failure::Refused(format!(
                "failed to create the Lease {0}/{1}: create the namespace {0}, or name another with --lock-namespace",
                self.lock_namespace, self.lock_name
            )),
            failure => failure,
        })?;
        lease.version_if_empty().ok_or(Failure::Conflict)
    }

    /// One call within [`CALL_BOUND`].
    pub(crate) async fn call<T: DeserializeOwned>(&self, request: Built) -> Result<T, CallError> {
        self.call_within(CALL_BOUND, request).await
    }

    pub(crate) fn lock_namespace(&self) -> &str {
        &self.lock_namespace
    }

    pub(crate) fn lock_name(&self) -> &str {
        &self.lock_name
    }

    pub(crate) fn node_selector(&self) -> String {
        format!("metadata.name={}", self.node)
    }

    pub(crate) fn pods_selector(&self) -> String {
        format!("spec.nodeName={}", self.node)
    }

    pub(crate) fn lock_selector(&self) -> String {
        format!("metadata.name={}", self.lock_name)
    }

    pub(crate) fn nodes_path() -> String {
        NODES.to_owned()
    }

    pub(crate) fn pods_path() -> String {
        PODS.to_owned()
    }

    pub(crate) fn leases_path(&self) -> String {
        format!(
            "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
            self.lock_namespace
        )
    }

    async fn node_named(&self, name: &str) -> Result<NodeView, CallError> {
        self.call(Request::new(NODES).get(name, &GetParams::default()))
            .await
    }

    async fn call_within<T: DeserializeOwned>(
        &self,
        bound: Duration,
        request: Built,
    ) -> Result<T, CallError> {
        within(bound, self.client.request(request?)).await
    }
}

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

impl CallError {
    pub(crate) fn failure(&self) -> Failure {
        let text = cordonhold_rt::exit::one_line(self);
        match self.refusal() {
            Some(refusal) => refusal.failure(text),
            None => Failure::Unknown(text),
        }
    }

    /// Whether a watch from this version can no longer be had.
    pub(crate) fn is_too_old(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.is_too_old())
    }

    /// Whether the API server says that the object of this name does not exist.
    fn is_gone(&self, name: &str) -> bool {
        self.refusal().is_some_and(|refusal| refusal.is_gone(name))
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
                .map(|cause| cause.message.as_str()),
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
mod tests;
