//! What the programs find in the cluster: their permissions, their tokens, and the Node as they left it before the hold.
//!
//! Not here: the hold, see [`crate::marks`].

use std::time::Duration;

use anyhow::{Context, Result};
use cordonhold_shared::keys;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Before, Cell, Row, RowToken, name};
use crate::control_plane::ControlPlane;
use crate::wait;

/// Longest time until the taint of a cordon is there. It takes milliseconds, and longer on a busy machine.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(20);
/// The name of the role of all programs, and of the role of those that impersonate.
const ROLE: &str = "adversaries";
const PROXY_ROLE: &str = "adversaries-proxies";

/// Lets each program read and write Nodes, as its own manifests do.
pub(super) async fn grant(plane: &ControlPlane, rows: &[Row]) -> Result<()> {
    let users = rows.iter().map(|row| row.identity.user.clone());
    let nodes = json!([{ "apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch", "update", "patch"] }]);
    bind(plane, ROLE, nodes, users.collect()).await?;
    let proxies = rows
        .iter()
        .filter_map(|row| Some(format!("system:serviceaccount:{}", row.identity.proxy.as_ref()?)));
    let impersonate = json!([{ "apiGroups": [""], "resources": ["users", "groups", "serviceaccounts"], "verbs": ["impersonate"] }]);
    bind(plane, PROXY_ROLE, impersonate, proxies.collect()).await
}

async fn bind(plane: &ControlPlane, role: &str, granted: Value, mut users: Vec<String>) -> Result<()> {
    users.sort();
    users.dedup();
    let subjects: Vec<Value> = users
        .iter()
        .map(|user| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }))
        .collect();
    let roles: Api<ClusterRole> = Api::all(plane.client());
    create(&roles, json!({ "metadata": { "name": role }, "rules": granted })).await?;
    let bindings: Api<ClusterRoleBinding> = Api::all(plane.client());
    let binding = json!({
        "metadata": { "name": role },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
        "subjects": subjects,
    });
    create(&bindings, binding).await
}

/// The name of the Node of a cell.
pub(super) fn node_name(cell: &Cell) -> String {
    let before = match cell.before {
        Before::Schedulable => "schedulable",
        Before::Cordoned => "cordoned",
    };
    format!("row-{}-{}-{before}", cell.row.id, name(cell.phase))
}

/// Adds the Node, with what the program has put on it before the hold.
pub(super) async fn prepare(plane: &ControlPlane, cell: &Cell, node: &str) -> Result<()> {
    plane.add_node(node).await?;
    let mut patch = json!({ "spec": {} });
    if let Some(annotation) = &cell.row.owns {
        patch["metadata"] = json!({ "annotations": { annotation: "true" } });
    }
    if let Some(taint) = &cell.row.taint {
        patch["spec"]["taints"] = json!([{ "key": taint, "effect": "NoSchedule" }]);
    }
    if cell.before == Before::Cordoned {
        patch["spec"]["unschedulable"] = json!(true);
    }
    let nodes: Api<Node> = Api::all(plane.client());
    let patched = nodes
        .patch(node, &PatchParams::default(), &Patch::Strategic(patch))
        .await;
    patched
        .map(drop)
        .with_context(|| format!("failed to prepare the Node {node}"))
}

/// Waits until the node controller has given the Node the taint of its cordon. A kubelet's PUT of a Node that lacks it yet is refused, because
/// a kubelet may not change taints.
pub(super) async fn settle(plane: &ControlPlane, node: &str) -> Result<()> {
    let nodes: Api<Node> = Api::all(plane.client());
    let what = format!("the taint of the cordon of {node}");
    wait::until(&what, SETTLE_TIMEOUT, || async {
        let spec = nodes.get(node).await?.spec.unwrap_or_default();
        let taints = spec.taints.unwrap_or_default();
        let is_tainted = taints.iter().any(|taint| taint.key == keys::UNSCHEDULABLE_TAINT);
        Ok((is_tainted == spec.unschedulable.unwrap_or(false)).then_some(()))
    })
    .await
}

/// The token with which a row speaks, if it has one of its own.
pub(super) async fn token(plane: &ControlPlane, row: &Row, node: &str) -> Result<Option<String>> {
    match row.identity.token {
        None => Ok(None),
        Some(RowToken::Proxy) => {
            let proxy = row.identity.proxy.as_ref().context("a proxy has no name")?;
            let (namespace, account) = proxy.split_once(':').context("a proxy is no namespace:name")?;
            create_account(plane, namespace, account).await?;
            plane
                .service_account_token(namespace, account, None)
                .await
                .map(Some)
        }
        Some(RowToken::Pod) => {
            let user = row.identity.user.strip_prefix("system:serviceaccount:");
            let (namespace, account) = user
                .and_then(|user| user.split_once(':'))
                .context("a pod's user is no ServiceAccount")?;
            create_account(plane, namespace, account).await?;
            let pod = pod_of(plane, namespace, account, node).await?;
            plane
                .service_account_token(namespace, account, Some(&pod))
                .await
                .map(Some)
        }
    }
}

async fn create_account(plane: &ControlPlane, namespace: &str, account: &str) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(plane.client());
    create(&namespaces, json!({ "metadata": { "name": namespace } })).await?;
    let accounts: Api<ServiceAccount> = namespaced(plane, namespace);
    create(&accounts, json!({ "metadata": { "name": account } })).await
}

async fn pod_of(plane: &ControlPlane, namespace: &str, account: &str, node: &str) -> Result<Pod> {
    let pods: Api<Pod> = namespaced(plane, namespace);
    let pod = json!({
        "metadata": { "name": node },
        "spec": {
            "nodeName": node,
            "serviceAccountName": account,
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "containers": [{ "name": "pause", "image": "registry.k8s.io/pause:3.10" }],
        },
    });
    create(&pods, pod).await?;
    pods.get(node)
        .await
        .with_context(|| format!("failed to get the pod {node}"))
}

fn namespaced<K>(plane: &ControlPlane, namespace: &str) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    Api::namespaced(plane.client(), namespace)
}

/// Creates an object unless there is one of its name.
async fn create<K>(api: &Api<K>, object: Value) -> Result<()>
where
    K: Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    let what = object["metadata"]["name"].to_string();
    let object = serde_json::from_value(object).with_context(|| format!("failed to build {what}"))?;
    match api.create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        other => other
            .map(drop)
            .with_context(|| format!("failed to create {what}")),
    }
}

/// Removes the Node, so that a long run does not fill the control plane.
pub(super) async fn remove(plane: &ControlPlane, node: &str) -> Result<()> {
    let nodes: Api<Node> = Api::all(plane.client());
    let deleted = nodes.delete(node, &DeleteParams::default()).await;
    deleted
        .map(drop)
        .with_context(|| format!("failed to delete the Node {node}"))
}
