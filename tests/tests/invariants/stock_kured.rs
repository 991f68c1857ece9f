//! Stock kured as the API server sees it: its DaemonSet and rights, and its requests in the shapes in which it sends them.
//!
//! After kubereboot/kured: pkg/daemonsetlock/daemonsetlock.go (a PUT of the whole DaemonSet that was read),
//! cmd/kured/main.go and kubernetes/kubectl: pkg/drain/cordon.go (strategic merge patches).

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::keys;
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
/// Its ServiceAccount, as the API server names it.
pub(crate) const USER: &str = "system:serviceaccount:kube-system:kured";
/// When an old entry was created.
pub(crate) const LONG_AGO: &str = "2026-01-01T00:00:00.123456789Z";
/// The webhook for edits of its lock (`manifests/components/protect-kured/sees-lock-edits.yaml`).
pub(crate) const LOCK_WEBHOOK: &str = "kured-lock.cordonhold.dev";
/// The DaemonSet controller makes the pod, KWOK runs it.
const POD_TIMEOUT: Duration = Duration::from_secs(60);
/// The DaemonSet controller writes the status; it is done in milliseconds.
const CONFLICT_TIMEOUT: Duration = Duration::from_secs(10);

/// The DaemonSet, and who may do what to its lock.
pub(crate) struct Kured {
    daemon_sets: Api<DaemonSet>,
}

/// One of its pods, by the token that Kubernetes gives it: bound to the pod, and so to the node.
pub(crate) struct KuredOnNode {
    pub(crate) client: Client,
    node: String,
}

impl Kured {
    /// As `kured-rbac.yaml` and `kured-ds.yaml` of its release, as far as the API server cares.
    pub(crate) async fn install(cluster: &Cluster) -> Result<Self> {
        let admin = &cluster.admin;
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

    /// By an admin's hand, as its documentation says to do it.
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

    /// Its pod on this node.
    pub(crate) async fn on_node(cluster: &Cluster, node: &str) -> Result<KuredOnNode> {
        let plane = &cluster.plane;
        let pods: Api<Pod> = Api::namespaced(cluster.admin.clone(), NAMESPACE);
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

    /// Its ServiceAccount without a node, as tokens were before Kubernetes 1.32, with all rights.
    pub(crate) fn impersonation() -> Impersonation {
        Impersonation::service_account(NAMESPACE, NAME).group("system:masters")
    }
}

impl KuredOnNode {
    /// Takes the lock for one owner: the annotation is the entry.
    pub(crate) async fn acquire(&self) -> Result<Answer> {
        let mine = Entry::now(&self.node);
        self.put_lock(|_| Ok(Some(mine.to_string()))).await
    }

    pub(crate) async fn release(&self) -> Result<Answer> {
        self.put_lock(|_| Ok(None)).await
    }

    /// Takes one of two slots: the entry is added to the list.
    pub(crate) async fn acquire_slot(&self) -> Result<Answer> {
        let mine = Entry::now(&self.node);
        self.put_lock(|old| {
            let mut list = List::read(old)?;
            list.locks.push(mine.clone());
            Ok(Some(list.to_string()))
        })
        .await
    }

    /// The list stays, even when it is empty.
    pub(crate) async fn release_slot(&self) -> Result<Answer> {
        self.put_lock(|old| {
            let mut list = List::read(old)?;
            list.locks.retain(|entry| entry.node != self.node);
            Ok(Some(list.to_string()))
        })
        .await
    }

    /// The whole DaemonSet as read, with another lock; after a conflict it reads again.
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

/// An entry to the letter as kured writes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    #[serde(rename = "nodeID")]
    pub(crate) node: String,
    pub(crate) metadata: Metadata,
    pub(crate) created: String,
    /// Nanoseconds.
    #[serde(rename = "TTL")]
    pub(crate) ttl: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Metadata {
    unschedulable: bool,
}

/// The record for several owners.
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

/// Denied by the webhook for its lock, for this reason.
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
