//! Plays stock kured: installs its DaemonSet and its RBAC permissions, and sends its requests in the same form.
//!
//! After kubereboot/kured: pkg/daemonsetlock/daemonsetlock.go (a PUT of the whole DaemonSet that was read),
//! cmd/kured/main.go and kubernetes/kubectl: pkg/drain/cordon.go (strategic merge patches).

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::keys;
use cordonhold_tests::control_plane::ControlPlane;
use cordonhold_tests::identity::{Credential, Impersonation};
use cordonhold_tests::wait;
use http::{Method, Request, header};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::wire::{self, Answer};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "kured";
/// The user name of kured's ServiceAccount.
pub(crate) const USER: &str = "system:serviceaccount:kube-system:kured";
/// The `created` of an old entry.
pub(crate) const LONG_AGO: &str = "2026-01-01T00:00:00.123456789Z";
/// The name of the webhook for edits of kured's lock (`manifests/chart/templates/webhook-configuration.yaml`).
pub(crate) const LOCK_WEBHOOK: &str = "kured-lock.cordonhold.dev";
/// Longest wait for a pod: the DaemonSet controller creates it, KWOK runs it.
const POD_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time with conflicts. The DaemonSet controller writes the status for some milliseconds.
const CONFLICT_TIMEOUT: Duration = Duration::from_secs(10);

/// kured's DaemonSet, and functions to write its lock.
pub(crate) struct Kured {
    daemon_sets: Api<DaemonSet>,
}

/// A pod of kured, with its real token, which is bound to the pod and so to the node.
pub(crate) struct KuredOnNode {
    pub(crate) client: Client,
    node: String,
}

impl Kured {
    /// Installs what kured's `kured-rbac.yaml` and `kured-ds.yaml` contain, as far as the API server is concerned.
    pub(crate) async fn install(cluster: &Cluster) -> Result<Self> {
        Self::install_as(&cluster.admin).await
    }

    /// The same, with this client of an admin.
    pub(crate) async fn install_as(admin: &Client) -> Result<Self> {
        create(
            &Api::<ServiceAccount>::namespaced(admin.clone(), NAMESPACE),
            json!({ "metadata": { "name": NAME } }),
        )
        .await?;
        let nodes = json!({ "metadata": { "name": NAME }, "rules": [
            { "apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "patch"] },
            { "apiGroups": [""], "resources": ["pods"], "verbs": ["list", "delete", "get"] },
            { "apiGroups": ["apps"], "resources": ["daemonsets"], "verbs": ["get"] },
            { "apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create"] },
        ] });
        create(&Api::<ClusterRole>::all(admin.clone()), nodes).await?;
        let lock = json!({ "metadata": { "name": NAME }, "rules": [
            { "apiGroups": ["apps"], "resources": ["daemonsets"], "resourceNames": [NAME], "verbs": ["update"] },
        ] });
        create(&Api::<Role>::namespaced(admin.clone(), NAMESPACE), lock).await?;
        let binding = |kind: &str| {
            json!({
                "metadata": { "name": NAME },
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": NAME },
                "subjects": [{ "kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE }],
            })
        };
        create(
            &Api::<ClusterRoleBinding>::all(admin.clone()),
            binding("ClusterRole"),
        )
        .await?;
        create(
            &Api::<RoleBinding>::namespaced(admin.clone(), NAMESPACE),
            binding("Role"),
        )
        .await?;
        let daemon_sets: Api<DaemonSet> = Api::namespaced(admin.clone(), NAMESPACE);
        let kured = Self { daemon_sets };
        kured.create_daemon_set().await?;
        Ok(kured)
    }

    pub(crate) async fn create_daemon_set(&self) -> Result<()> {
        let daemon_set = json!({
            "metadata": { "name": NAME },
            "spec": {
                "selector": { "matchLabels": { "name": NAME } },
                "template": {
                    "metadata": { "labels": { "name": NAME } },
                    "spec": {
                        "serviceAccountName": NAME,
                        "tolerations": [{ "operator": "Exists" }],
                        "containers": [{ "name": NAME, "image": "ghcr.io/kubereboot/kured:1.23.0" }],
                    },
                },
            },
        });
        create(&self.daemon_sets, daemon_set).await
    }

    pub(crate) async fn remove_daemon_set(&self) -> Result<()> {
        let removed = self.daemon_sets.delete(NAME, &DeleteParams::default()).await;
        removed.map(drop).context("failed to delete kured's DaemonSet")
    }

    /// Sets or removes the lock by hand, as an admin, as kured's documentation describes.
    pub(crate) async fn set_lock(&self, key: &str, lock: Option<&str>) -> Result<()> {
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { key: lock } } }));
        let patched = self
            .daemon_sets
            .patch(NAME, &PatchParams::default(), &patch)
            .await;
        patched.map(drop).context("failed to set kured's lock")
    }

    pub(crate) async fn lock(&self) -> Result<Option<String>> {
        let daemon_set = self
            .daemon_sets
            .get(NAME)
            .await
            .context("failed to get kured's DaemonSet")?;
        Ok(daemon_set.annotations().get(keys::KURED_LOCK).cloned())
    }

    /// Waits for kured's pod on this node, and returns a client with its token.
    pub(crate) async fn on_node(cluster: &Cluster, node: &str) -> Result<KuredOnNode> {
        Self::on_node_of(&cluster.plane, node).await
    }

    /// The same, on this control plane.
    pub(crate) async fn on_node_of(plane: &ControlPlane, node: &str) -> Result<KuredOnNode> {
        let pods: Api<Pod> = Api::namespaced(plane.client(), NAMESPACE);
        let on_node = ListParams::default()
            .labels("name=kured")
            .fields(&format!("spec.nodeName={node}"));
        let what = format!("kured's pod on {node}");
        let pod = wait::until(&what, POD_TIMEOUT, || async {
            Ok(pods.list(&on_node).await?.items.pop())
        })
        .await?;
        let token = plane.service_account_token(NAMESPACE, NAME, Some(&pod)).await?;
        let path = plane.directory().join(format!("kured-on-{node}.kubeconfig"));
        plane
            .endpoint()
            .write_kubeconfig(&path, USER, &Credential::Token(token))?;
        Ok(KuredOnNode {
            client: plane.client_from(&path).await?,
            node: node.to_owned(),
        })
    }

    /// kured's ServiceAccount without a node claim, as in tokens before Kubernetes 1.32, with all permissions.
    pub(crate) fn impersonation() -> Impersonation {
        Impersonation::service_account(NAMESPACE, NAME).group("system:masters")
    }
}

impl KuredOnNode {
    /// Acquires the lock as kured does with one owner: the annotation is the entry.
    pub(crate) async fn acquire(&self) -> Result<Answer> {
        let mine = Entry::now(&self.node);
        self.put_lock(|_| Ok(Some(mine.to_string()))).await
    }

    pub(crate) async fn release(&self) -> Result<Answer> {
        self.put_lock(|_| Ok(None)).await
    }

    /// Acquires one of two slots: adds the entry to the list.
    pub(crate) async fn acquire_slot(&self) -> Result<Answer> {
        let mine = Entry::now(&self.node);
        self.put_lock(|old| {
            let mut list = List::read(old)?;
            list.locks.push(mine.clone());
            Ok(Some(list.to_string()))
        })
        .await
    }

    /// Releases a slot. The list stays, even if it is empty.
    pub(crate) async fn release_slot(&self) -> Result<Answer> {
        self.put_lock(|old| {
            let mut list = List::read(old)?;
            list.locks.retain(|entry| entry.node != self.node);
            Ok(Some(list.to_string()))
        })
        .await
    }

    /// Writes the whole DaemonSet with another lock, by a PUT. After a conflict it reads again.
    pub(crate) async fn put_lock(
        &self,
        lock: impl Fn(Option<&str>) -> Result<Option<String>>,
    ) -> Result<Answer> {
        let uri = format!("/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/{NAME}");
        wait::until("kured's write of its lock", CONFLICT_TIMEOUT, || async {
            let get = Request::get(&uri).body(Vec::new())?;
            let mut daemon_set: Value = self
                .client
                .request(get)
                .await
                .context("kured cannot read its DaemonSet")?;
            let old = daemon_set["metadata"]["annotations"][keys::KURED_LOCK]
                .as_str()
                .map(str::to_owned);
            let annotations = daemon_set["metadata"]["annotations"].as_object_mut();
            let annotations = annotations.context("the DaemonSet controller annotates each")?;
            match lock(old.as_deref())? {
                Some(text) => drop(annotations.insert(keys::KURED_LOCK.to_owned(), json!(text))),
                None => drop(annotations.remove(keys::KURED_LOCK)),
            }
            let put = Request::builder()
                .method(Method::PUT)
                .uri(&uri)
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from(daemon_set.to_string().into_bytes()))?;
            let answer = wire::send(&self.client, put).await?;
            Ok((answer.code != 409).then_some(answer))
        })
        .await
    }
}

/// An entry exactly as kured writes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    #[serde(rename = "nodeID")]
    pub(crate) node: String,
    pub(crate) metadata: Metadata,
    pub(crate) created: String,
    /// The TTL in nanoseconds.
    #[serde(rename = "TTL")]
    pub(crate) ttl: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Metadata {
    unschedulable: bool,
}

/// The record with several owners.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct List {
    #[serde(rename = "maxOwners")]
    pub(crate) max_owners: u8,
    pub(crate) locks: Vec<Entry>,
}

impl Entry {
    pub(crate) fn new(node: &str, created: &str, ttl: i64) -> Self {
        let metadata = Metadata { unschedulable: false };
        let (node, created) = (node.to_owned(), created.to_owned());
        Self {
            node,
            metadata,
            created,
            ttl,
        }
    }

    fn now(node: &str) -> Self {
        Self::new(node, &Timestamp::now().to_string(), 0)
    }
}

impl List {
    pub(crate) fn of(locks: Vec<Entry>) -> Self {
        Self { max_owners: 2, locks }
    }

    fn read(text: Option<&str>) -> Result<Self> {
        text.map_or_else(
            || Ok(Self::of(Vec::new())),
            |text| serde_json::from_str(text).with_context(|| format!("no list of kured's: {text}")),
        )
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

async fn create<K>(api: &Api<K>, object: Value) -> Result<()>
where
    K: Resource + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let object: K = serde_json::from_value(object)?;
    let created = api.create(&PostParams::default(), &object).await;
    created
        .map(drop)
        .with_context(|| format!("failed to create {object:?}"))
}

/// Checks that the webhook for the lock denied the edit for this reason.
pub(crate) async fn is_edit_denied(
    cluster: &Cluster,
    length: usize,
    answer: &Answer,
    reason: &str,
) -> Result<()> {
    let by_webhook = format!("admission webhook \"{LOCK_WEBHOOK}\" denied the request");
    ensure!(
        answer.code == 403 && answer.body["reason"] == "Forbidden" && answer.message().contains(&by_webhook),
        "was not denied by the webhook for kured's lock: {answer:?}"
    );
    let decision = cluster
        .decision_with(length, "daemonset", "kube-system/kured")
        .await?;
    ensure!(
        decision["verdict"] == "deny" && decision["reason"] == reason,
        "{decision}"
    );
    Ok(())
}
