//! The question of `--blocker-object`: finds the resource of the object's kind, reads the object, and evaluates the expression.
//!
//! Not here: what an expression may do ([`cordonhold_shared::reboot::expression`]), and what follows from the answer.

use std::thread;

use cordonhold_rt::api::{CALL_BOUND, CallError, within};
use cordonhold_rt::sync::locked;
use cordonhold_shared::reboot::expression::OBJECT_MAX;
use cordonhold_shared::reboot::object::{ObjectName, ObjectRule};
use http::Request;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kube::client::Body;
use kube::core::Status;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::oneshot;

use super::{Api, Meaning as _};

/// Largest list of the kinds of one API version. Kubernetes' own have some ten kilobytes.
const KINDS_MAX: usize = 1024 * 1024;

/// The stack of an evaluation in bytes, some ten times what the deepest expression takes. Only what is used of it takes memory.
const STACK: usize = 16 * 1024 * 1024;

/// What the API server says of a kind (k8s.io/apimachinery: pkg/apis/meta/v1/types.go, `APIResource`).
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Resource {
    /// The plural, which stands in paths and in RBAC; with a `/` for a part of a resource.
    name: String,
    kind: String,
    namespaced: bool,
}

#[derive(Deserialize)]
struct ResourceList {
    #[serde(default)]
    resources: Vec<Resource>,
}

/// Why nothing was read.
pub(super) enum Unread {
    Failed(CallError),
    /// The answer has more bytes than these.
    TooLarge(usize),
    /// The answer is not what it should be.
    Garbage(serde_json::Error),
}

impl From<CallError> for Unread {
    fn from(error: CallError) -> Unread {
        Unread::Failed(error)
    }
}

impl Unread {
    /// The status code of the API server's answer, if it answered.
    fn code(&self) -> Option<u16> {
        match self {
            Unread::Failed(error) => error.code(),
            Unread::TooLarge(_) | Unread::Garbage(_) => None,
        }
    }

    /// The error in one line, with what to check.
    pub(super) fn with_fix(&self) -> String {
        match self {
            Unread::Failed(error) => error.with_fix(),
            Unread::TooLarge(max) => format!(
                "the answer is larger than {} KiB: ask about a smaller object",
                max / 1024
            ),
            Unread::Garbage(error) => {
                format!(
                    "the answer cannot be read ({error}): check that an API server of Kubernetes answers there"
                )
            }
        }
    }
}

impl Api {
    /// Whether the rule's expression is true of its object, or why there is no answer, with the fix.
    pub(crate) async fn ask_object(&self, rule: ObjectRule) -> Result<bool, String> {
        let object = self.object(&rule.object).await?;
        // In a thread of its own: while it is evaluated, the agent goes on. There is one at most, as there is one call at most.
        let (answer, evaluated) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("expression".to_owned())
            .stack_size(STACK);
        let begun = thread.spawn(move || drop(answer.send(rule.expression.eval(&object))));
        drop(
            begun
                .map_err(|error| format!("no thread to evaluate it: {error}: give the agent more memory"))?,
        );
        evaluated
            .await
            .unwrap_or_else(|_| Err("evaluating it ended early: write it in another way".to_owned()))
    }

    async fn object(&self, object: &ObjectName) -> Result<Value, String> {
        let resource = self.resource(object).await?;
        let path = object.collection_path(&resource.name, resource.namespaced)?;
        let read = self.read(&format!("{path}/{}", object.name), OBJECT_MAX).await;
        read.map_err(|error| match &error {
            Unread::Failed(failed) if failed.is_gone(&object.name) => {
                "it does not exist: check its name, or create it".to_owned()
            }
            error if error.code() == Some(403) => format!(
                "the agent may not read it: grant its ServiceAccount {}",
                object.permission(&resource.name)
            ),
            error => error.with_fix(),
        })
    }

    /// The resource of the object's kind, as the API server said when it was first asked.
    async fn resource(&self, object: &ObjectName) -> Result<Resource, String> {
        let key = (object.api_version(), object.kind.clone());
        if let Some(known) = locked(&self.resources).get(&key) {
            return Ok(known.clone());
        }
        let list: Result<ResourceList, Unread> = self.read(&object.version_path(), KINDS_MAX).await;
        let list = list.map_err(|error| match error.code() {
            Some(404) => format!(
                "the API server has no {}: check the group and the version, or install what defines it",
                object.api_version()
            ),
            _ => error.with_fix(),
        })?;
        let found = list
            .resources
            .into_iter()
            .find(|resource| resource.kind == object.kind && !resource.name.contains('/'));
        let resource = found.ok_or_else(|| {
            format!(
                "{} has no kind {}: kubectl api-resources lists the kinds",
                object.api_version(),
                object.kind
            )
        })?;
        drop(locked(&self.resources).insert(key, resource.clone()));
        Ok(resource)
    }

    /// GET of this path, of which at most `max` bytes are read.
    pub(super) async fn read<T: DeserializeOwned>(&self, path: &str, max: usize) -> Result<T, Unread> {
        let bytes = within(CALL_BOUND, self.bytes(path, max)).await??;
        serde_json::from_slice(&bytes).map_err(Unread::Garbage)
    }

    /// The bytes of the answer. The outer error is that of the call.
    async fn bytes(&self, path: &str, max: usize) -> Result<Result<Vec<u8>, Unread>, kube::Error> {
        let request = Request::get(path).header(http::header::ACCEPT, "application/json");
        let request = request.body(Body::empty()).map_err(kube::Error::HttpError)?;
        let (head, body) = self.client().send(request).await?.into_parts();
        let body = match Limited::new(body, max).collect().await {
            Ok(body) => body,
            Err(error) if error.is::<LengthLimitError>() => return Ok(Err(Unread::TooLarge(max))),
            Err(error) => return Err(kube::Error::Service(error)),
        };
        let bytes = body.to_bytes().to_vec();
        if head.status.is_success() {
            return Ok(Ok(bytes));
        }
        // As kube itself reads an error, which a proxy may have written.
        let status = serde_json::from_slice(&bytes).unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(&bytes);
            Status::failure(text.trim(), "Failed to parse error data").with_code(head.status.as_u16())
        });
        Err(kube::Error::Api(Box::new(status)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::fake;

    const RULE: &str = "ceph.rook.io/v1/CephCluster/rook-ceph/main: self.status.ceph.health != 'HEALTH_OK'";

    fn kinds() -> Value {
        json!({ "kind": "APIResourceList", "resources": [
            { "name": "cephclusters/status", "kind": "CephCluster", "namespaced": true },
            { "name": "cephclusters", "kind": "CephCluster", "namespaced": true },
        ] })
    }

    async fn ask(
        rule: &str,
        answers: impl Fn(&str) -> (u16, Value) + Send + Sync + 'static,
    ) -> Result<bool, String> {
        let api = fake::api(&[], move |path, _| answers(path));
        api.ask_object(rule.parse().unwrap()).await
    }

    #[tokio::test]
    async fn an_object_is_found_by_its_kind_and_the_kind_is_looked_up_once() {
        let lists = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = std::sync::Arc::clone(&lists);
        let api = fake::api(&[], move |path, _| match path {
            "/apis/ceph.rook.io/v1" => {
                let _ = counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                (200, kinds())
            }
            "/apis/ceph.rook.io/v1/namespaces/rook-ceph/cephclusters/main" => {
                (200, json!({ "status": { "ceph": { "health": "HEALTH_WARN" } } }))
            }
            path => panic!("{path}"),
        });
        for _ in 0..3 {
            assert_eq!(api.ask_object(RULE.parse().unwrap()).await, Ok(true));
        }
        assert_eq!(lists.load(std::sync::atomic::Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn each_reason_for_no_answer_is_named_with_its_fix() {
        let status = |code: u16, reason: &str, name: &str| {
            (
                code,
                json!({ "kind": "Status", "code": code, "reason": reason, "message": "m", "details": { "name": name } }),
            )
        };
        let answered = move |path: &str, object: (u16, Value)| match path {
            "/apis/ceph.rook.io/v1" => (200, kinds()),
            _ => object,
        };
        for (object, says) in [
            (
                status(404, "NotFound", "main"),
                "it does not exist: check its name",
            ),
            (status(404, "NotFound", ""), "check that this is the API server"),
            (
                status(403, "Forbidden", "main"),
                "{apiGroups: [\"ceph.rook.io\"], resources: [\"cephclusters\"], resourceNames: [\"main\"], verbs: [\"get\"]} \
                 in a Role and a RoleBinding in the namespace rook-ceph",
            ),
            (status(500, "InternalError", ""), "look at what it names"),
            ((502, json!("a proxy")), "a proxy"),
            (
                (200, json!({ "x": "y".repeat(OBJECT_MAX) })),
                "larger than 256 KiB",
            ),
            ((200, json!([])), "check the types of the fields"),
            ((200, json!({ "status": {} })), "has no ceph there"),
        ] {
            let why = ask(RULE, move |path| answered(path, object.clone()))
                .await
                .unwrap_err();
            assert!(why.contains(says) && !why.contains('\n'), "{says}: {why}");
        }
        let other_kind = RULE.replace("CephCluster", "CephBlockPool");
        let why = ask(&other_kind, |_| (200, kinds())).await.unwrap_err();
        assert!(why.contains("ceph.rook.io/v1 has no kind CephBlockPool"), "{why}");
        let no_namespace = RULE.replace("rook-ceph/", "");
        let why = ask(&no_namespace, |_| (200, kinds())).await.unwrap_err();
        assert!(
            why.contains("ceph.rook.io/v1/CephCluster/NAMESPACE/main"),
            "{why}"
        );
        let why = ask(RULE, |_| (404, json!("404 page not found")))
            .await
            .unwrap_err();
        assert!(why.contains("has no ceph.rook.io/v1: check the group"), "{why}");
        let why = ask(RULE, |_| (200, json!({ "x": "y".repeat(KINDS_MAX) })))
            .await
            .unwrap_err();
        assert!(why.contains("larger than 1024 KiB"), "{why}");
    }
}
