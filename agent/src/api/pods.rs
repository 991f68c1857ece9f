//! The calls for the pods on our node: listing and evicting them, and finding the volumes that they leave attached.
//!
//! Not here: which pods a drain evicts, see [`cordonhold_shared::reboot::pod`].

use std::collections::BTreeSet;

use cordonhold_rt::watch::Target;
use cordonhold_shared::reboot::blocker::budgets::{BudgetView, Drainable};
use cordonhold_shared::reboot::blocker::pods::PodRule;
use cordonhold_shared::reboot::drain::Evicted;
use cordonhold_shared::reboot::driver::BLOCKING_PODS_MAX;
use cordonhold_shared::reboot::pod::{self, DaemonSet, PodView};
use cordonhold_shared::reboot::replacements::{Candidate, Controller, LIST_BYTES_MAX, Listed};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use kube::core::Request;
use kube::core::params::{GetParams, ListParams, PostParams};
use serde::Deserialize;
use serde_json::{Value, json};

use super::object::Unread;
use super::{Api, CALLS_BOUND, CallError, EVICTION_BOUND, ListView, Meaning as _, within};

const PODS: &str = "/api/v1/pods";
const VOLUME_ATTACHMENTS: &str = "/apis/storage.k8s.io/v1/volumeattachments";
const BUDGETS: &str = "/apis/policy/v1/poddisruptionbudgets";
/// How many budgets to ask for per page. They are small, and a cluster may have thousands.
const BUDGETS_PAGE: u32 = 500;
/// How many `VolumeAttachments` to ask for per page. They are small, and a selector cannot limit the list to one node.
const ATTACHMENTS_PAGE: u32 = 500;
/// Most objects that are looked up at the same time.
const LOOK_UPS_MAX: usize = 10;

/// A pod, with only the fields that name its volumes.
#[derive(Debug, Deserialize)]
struct VolumesView {
    metadata: NameView,
    spec: VolumesSpec,
}

#[derive(Debug, Deserialize)]
struct NameView {
    name: String,
    #[serde(default)]
    namespace: String,
}

#[derive(Debug, Deserialize)]
struct VolumesSpec {
    #[serde(default)]
    volumes: Vec<VolumeView>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VolumeView {
    name: String,
    persistent_volume_claim: Option<ClaimView>,
    /// An ephemeral volume. Its claim is named `<pod>-<volume>`.
    ephemeral: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimView {
    claim_name: String,
}

/// A `VolumeAttachment` (k8s.io/api: storage/v1/types.go).
#[derive(Debug, Deserialize)]
struct AttachmentView {
    metadata: NameView,
    spec: AttachmentSpec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AttachmentSpec {
    node_name: String,
    source: AttachmentSource,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AttachmentSource {
    persistent_volume_name: Option<String>,
}

impl Api {
    /// What to watch to follow the pods that a drain considers.
    pub(crate) fn pods_target(&self) -> Target {
        Target {
            labels: self.pods_selector(),
            ..Target::new("pods", PODS.to_owned(), self.pods_on_node())
        }
    }

    /// The field selector for every pod on our Node.
    fn pods_on_node(&self) -> String {
        format!("spec.nodeName={}", self.node)
    }

    /// The label selector for the pods that a drain considers (`--drain-pod-selector`).
    fn pods_selector(&self) -> Option<String> {
        self.drain.pods.as_ref().map(ToString::to_string)
    }

    /// Whether a drain waits for volumes to be detached (`--volume-detach-timeout`).
    pub(crate) fn waits_for_volumes(&self) -> bool {
        self.drain.options.volumes.is_some()
    }

    /// Lists the pods on our Node that a drain considers.
    pub(crate) async fn pods(&self) -> Result<Vec<PodView>, CallError> {
        self.list_pods(self.pods_selector()).await
    }

    /// Lists all pods on our Node.
    pub(crate) async fn all_pods(&self) -> Result<Vec<PodView>, CallError> {
        self.list_pods(None).await
    }

    async fn list_pods(&self, labels: Option<String>) -> Result<Vec<PodView>, CallError> {
        let mut params = ListParams::default().fields(&self.pods_on_node());
        params.label_selector = labels;
        let pods: ListView<PodView> = self.call(Request::new(PODS).list(&params)).await?;
        Ok(pods.items)
    }

    /// Lists the pods of this controller, from the API server's cache: nothing is decided by them. That answer has no pages, so a longer
    /// one than [`LIST_BYTES_MAX`] is not read. The error says why it failed.
    pub(crate) async fn pods_of(&self, controller: &Controller) -> Result<Listed, String> {
        let params = ListParams::default().labels(&controller.labels).match_any();
        let path = format!("/api/v1/namespaces/{}/pods", controller.namespace);
        let request = Request::new(path).list(&params);
        let request = request.map_err(|error| CallError::from(error).with_fix())?;
        let read = self.read(&request.uri().to_string(), LIST_BYTES_MAX).await;
        match read {
            Ok(ListView::<Candidate> { items, .. }) => Ok(Listed::Pods(items)),
            Err(Unread::TooLarge(_)) => Ok(Listed::TooLong),
            Err(error @ (Unread::Failed(_) | Unread::Garbage(_))) => Err(error.with_fix()),
        }
    }

    /// Lists pods on our Node that this selects and that have not ended, as `namespace/name`. kured leaves out the same phases
    /// (kubereboot/kured: pkg/blockers/kubernetespod.go).
    pub(crate) async fn blocking_pods(&self, rule: &PodRule) -> Result<BTreeSet<String>, CallError> {
        let mut fields = format!(
            "{},status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown",
            self.pods_on_node()
        );
        let more = rule.fields.to_string();
        if !more.is_empty() {
            fields = format!("{fields},{more}");
        }
        let params = ListParams::default()
            .fields(&fields)
            .labels(&rule.labels.to_string())
            .limit(BLOCKING_PODS_MAX);
        let path = match &rule.namespace {
            Some(namespace) => format!("/api/v1/namespaces/{namespace}/pods"),
            None => PODS.to_owned(),
        };
        let pods: ListView<PodView> = self.call(Request::new(path).list(&params)).await?;
        Ok(pods.items.iter().map(pod::name).collect())
    }

    /// Finds out which of these `DaemonSets` do not exist.
    pub(crate) async fn missing(
        &self,
        daemon_sets: BTreeSet<DaemonSet>,
    ) -> Result<BTreeSet<DaemonSet>, CallError> {
        let missing = stream::iter(daemon_sets)
            .map(async |daemon_set| {
                let exists = self.daemon_set_exists(&daemon_set).await?;
                Ok::<_, CallError>((!exists).then_some(daemon_set))
            })
            .buffer_unordered(LOOK_UPS_MAX)
            .try_filter_map(async |missing| Ok(missing))
            .try_collect();
        within(CALLS_BOUND, missing).await
    }

    /// Evicts the pod with this uid, and no other pod of the same name.
    ///
    /// The request runs in a task of its own, so that it gets its answer even if the caller is dropped. The API server takes from the
    /// budget before it deletes the pod, and a client that disconnects in between blocks that budget for two minutes
    /// (kubernetes/kubernetes: pkg/registry/core/pod/storage/eviction.go; pkg/controller/disruption/disruption.go,
    /// `DeletionTimeout`).
    pub(crate) async fn evict(&self, pod: &PodView) -> Evicted {
        let body = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": { "name": pod.metadata.name, "namespace": pod.metadata.namespace },
            "deleteOptions": {
                "preconditions": { "uid": pod.metadata.uid },
                "gracePeriodSeconds": self.drain.grace_period,
            },
        });
        let path = format!("/api/v1/namespaces/{}/pods", pod.metadata.namespace);
        let request = Request::new(path).create_subresource(
            "eviction",
            &pod.metadata.name,
            &PostParams::default(),
            body.to_string().into_bytes(),
        );
        let client = self.client.clone();
        let sent = self
            .evictions
            .spawn(async move { within(EVICTION_BOUND, client.request::<Value>(request?)).await });
        match sent.await {
            Ok(Ok(_)) => Evicted::Accepted,
            Ok(Err(error)) => match error.evicted() {
                Evicted::Never(why) => Evicted::Never(format!("{why} {}", self.budgets_in_words(pod).await)),
                evicted => evicted,
            },
            Err(error) => Evicted::Failed(cordonhold_rt::exit::one_line(&error)),
        }
    }

    /// Names the budgets of a pod in a sentence. The API server refuses to evict a pod with two, but does not name them.
    async fn budgets_in_words(&self, pod: &PodView) -> String {
        match self.budgets_of(pod).await {
            Ok(budgets) => format!(
                "They are {}: take the pod out of all but one of them",
                budgets.join(" and ")
            ),
            Err(error) => format!(
                "Failed to find out which they are ({}): look with kubectl get poddisruptionbudgets -n {}",
                cordonhold_rt::exit::one_line(&error),
                pod.metadata.namespace
            ),
        }
    }

    /// Lists the budgets that select this pod, as `namespace/name`.
    async fn budgets_of(&self, pod: &PodView) -> Result<Vec<String>, CallError> {
        let namespace = &pod.metadata.namespace;
        let path = format!("/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets");
        let mut its = Vec::new();
        self.each(&path, ListParams::default(), |budget: BudgetView| {
            if budget.takes(pod) {
                its.push(budget.name());
            }
        })
        .await?;
        Ok(its)
    }

    /// Lists what decides whether budgets would refuse a drain: the pods that it looks at, and the budgets of their namespaces.
    pub(crate) async fn drainable(&self) -> Result<Drainable, CallError> {
        let pods = self.pods().await?;
        let missing = self.missing(pod::daemon_sets(&pods)).await?;
        let namespaces: BTreeSet<&str> = pods.iter().map(|pod| pod.metadata.namespace.as_str()).collect();
        let mut budgets = Vec::new();
        // One list, however many namespaces the pods are in.
        self.each(
            BUDGETS,
            ListParams::default().limit(BUDGETS_PAGE),
            |budget: BudgetView| {
                if namespaces.contains(budget.metadata.namespace.as_str()) {
                    budgets.push(budget);
                }
            },
        )
        .await?;
        Ok(Drainable {
            pods,
            missing,
            budgets,
        })
    }

    /// How many evictions have no answer yet.
    pub(crate) fn evictions_under_way(&self) -> usize {
        self.evictions.len()
    }

    /// Waits until each eviction that was sent has its answer, which takes [`EVICTION_BOUND`] at most.
    pub(crate) async fn evictions_answered(&self) {
        let _ = self.evictions.close();
        self.evictions.wait().await;
    }

    /// Whether this DaemonSet exists. It is absent only if the API server itself says so; a 404 by a proxy is an error.
    pub(crate) async fn daemon_set_exists(&self, daemon_set: &DaemonSet) -> Result<bool, CallError> {
        let path = format!("/apis/apps/v1/namespaces/{}/daemonsets", daemon_set.namespace);
        let request = Request::new(path).get(&daemon_set.name, &GetParams::default());
        match self.call::<serde::de::IgnoredAny>(request).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_gone(&daemon_set.name) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Lists the names of the `VolumeAttachments` of our Node, without those of volumes that pods on the Node still use.
    pub(crate) async fn attached_volumes(&self) -> Result<Vec<String>, CallError> {
        let kept = self.volumes_in_use().await?;
        let mut attached = Vec::new();
        self.each(
            VOLUME_ATTACHMENTS,
            ListParams::default().limit(ATTACHMENTS_PAGE),
            |attachment: AttachmentView| {
                let volume = attachment.spec.source.persistent_volume_name.as_ref();
                let is_kept = volume.is_some_and(|volume| kept.contains(volume));
                if attachment.spec.node_name == self.node && !is_kept {
                    attached.push(attachment.metadata.name);
                }
            },
        )
        .await?;
        Ok(attached)
    }

    /// Lists the names of the `PersistentVolumes` that pods on our Node use.
    async fn volumes_in_use(&self) -> Result<BTreeSet<String>, CallError> {
        let params = ListParams::default().fields(&self.pods_on_node());
        let pods: ListView<VolumesView> = self.call(Request::new(PODS).list(&params)).await?;
        let claims: BTreeSet<(String, String)> = pods.items.iter().flat_map(claims).collect();
        stream::iter(claims)
            .map(|(namespace, claim)| self.volume_of(namespace, claim))
            .buffer_unordered(LOOK_UPS_MAX)
            .try_filter_map(async |volume| Ok(volume))
            .try_collect()
            .await
    }

    /// The name of the `PersistentVolume` that is bound to this claim, if any.
    async fn volume_of(&self, namespace: String, claim: String) -> Result<Option<String>, CallError> {
        let path = format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims");
        let request = Request::new(path).get(&claim, &GetParams::default());
        match self.call::<Value>(request).await {
            Ok(found) => Ok(found["spec"]["volumeName"].as_str().map(str::to_owned)),
            Err(error) if error.is_gone(&claim) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The `PersistentVolumeClaims` of a pod, as namespace and name.
fn claims(pod: &VolumesView) -> Vec<(String, String)> {
    let name_of = |volume: &VolumeView| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some(claim.claim_name.clone()),
        (None, Some(_)) => Some(format!("{}-{}", pod.metadata.name, volume.name)),
        (None, None) => None,
    };
    let names = pod.spec.volumes.iter().filter_map(name_of);
    names.map(|name| (pod.metadata.namespace.clone(), name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_names_its_claims_and_those_of_its_ephemeral_volumes() {
        let json = r#"{"metadata":{"name":"db-0","namespace":"ns"},"spec":{"volumes":[
            {"name":"data","persistentVolumeClaim":{"claimName":"data-db-0"}},
            {"name":"scratch","ephemeral":{"volumeClaimTemplate":{}}},
            {"name":"token","projected":{}}]}}"#;
        let pod: VolumesView = serde_json::from_str(json).unwrap();
        let expected = ["data-db-0", "db-0-scratch"].map(|name| ("ns".to_owned(), name.to_owned()));
        assert_eq!(claims(&pod), expected);
    }
}
