//! The pods of a node, what blocks their evictions, and what the agent reports about that.

use std::time::Duration;

use anyhow::{Context, Result};
use cordonhold_shared::keys;
use cordonhold_tests::control_plane::ControlPlane;
use cordonhold_tests::wait;
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::admission_policy::{self, Rule};
use crate::fleet::Site;

/// Longest wait. The first progress comes after 5 s; the rest is for a busy machine.
pub(super) const TIMEOUT: Duration = Duration::from_secs(90);

/// A URL where nothing listens, for a webhook that is down.
pub(crate) const NOBODY: &str = "https://127.0.0.1:1/";

/// The pods and other objects of one node.
pub(crate) struct Workload<'a> {
    client: Client,
    site: &'a Site,
}

impl<'a> Workload<'a> {
    pub(crate) fn new(plane: &ControlPlane, site: &'a Site) -> Self {
        Self {
            client: plane.client(),
            site,
        }
    }

    fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }

    pub(super) fn log(&self) -> Result<String> {
        std::fs::read_to_string(self.site.machine.agent_log()).context("failed to read the agent's log")
    }

    /// Waits until the agent's log has `count` lines with this word.
    pub(super) async fn wait_log(&self, word: &str, count: usize) -> Result<()> {
        wait::until(
            &format!("{count} lines with {word} in the agent's log"),
            TIMEOUT,
            || async {
                let found = self.log()?.lines().filter(|line| line.contains(word)).count();
                Ok((found >= count).then_some(()))
            },
        )
        .await
    }

    /// Waits until the Node's `drain-progress` has these words, and returns it.
    pub(super) async fn wait_progress(&self, words: &str) -> Result<String> {
        let what = format!("{} on {}: {words}", keys::DRAIN_PROGRESS, self.site.name());
        wait::until(&what, TIMEOUT, || async {
            let node = self.site.view().await?;
            let text = node.annotation(keys::DRAIN_PROGRESS).map(str::to_owned);
            Ok(text.filter(|text| text.contains(words)))
        })
        .await
    }

    /// Waits for an Event about the Node with this reason, and returns its note.
    pub(crate) async fn wait_event(&self, reason: &str) -> Result<String> {
        let events: Api<Event> = Api::default_namespaced(self.client.clone());
        let fields = format!(
            "involvedObject.kind=Node,involvedObject.name={},reason={reason}",
            self.site.name()
        );
        wait::until(&format!("an Event {fields}"), TIMEOUT, || async {
            let found = events.list(&ListParams::default().fields(&fields)).await?;
            Ok(found.items.into_iter().find_map(|event| event.message))
        })
        .await
    }

    pub(super) async fn wait_gone(&self, name: &str) -> Result<()> {
        wait::until(&format!("the pod {name} to be gone"), TIMEOUT, || async {
            Ok(self.pods().get_opt(name).await?.is_none().then_some(()))
        })
        .await
    }

    /// The number of evictions that the API server has refused with 429.
    pub(super) async fn refused_evictions(&self) -> Result<u64> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let text = self
            .client
            .request_text(request)
            .await
            .context("failed to get the metrics")?;
        let is_refusal = |line: &&str| {
            line.starts_with("apiserver_request_total{")
                && line.contains("subresource=\"eviction\"")
                && line.contains("code=\"429\"")
        };
        let counts = text
            .lines()
            .filter(is_refusal)
            .filter_map(|line| line.rsplit(' ').next());
        Ok(counts.filter_map(|count| count.parse::<u64>().ok()).sum())
    }

    async fn create(&self, path: &str, body: &Value) -> Result<Value> {
        let request = http::Request::post(path).header("content-type", "application/json");
        let request = request.body(serde_json::to_vec(body)?)?;
        self.client
            .request(request)
            .await
            .with_context(|| format!("failed to create {body}"))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let request = http::Request::delete(path).body(Vec::new())?;
        let deleted: Result<Value, _> = self.client.request(request).await;
        deleted
            .map(drop)
            .with_context(|| format!("failed to delete {path}"))
    }

    /// A pod on this node, placed without the scheduler.
    pub(super) fn pod(&self, name: &str) -> Result<Pod> {
        self.pod_with(name, json!({}), json!({}))
    }

    fn pod_with(&self, name: &str, metadata: Value, spec: Value) -> Result<Pod> {
        let mut pod = json!({
            "metadata": { "name": name, "labels": { "app": name } },
            "spec": {
                "nodeName": self.site.name(),
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 0,
                "containers": [{ "name": "pause", "image": "registry.k8s.io/pause:3.10" }],
            },
        });
        merge(&mut pod["metadata"], metadata);
        merge(&mut pod["spec"], spec);
        Ok(serde_json::from_value(pod)?)
    }

    /// Creates a pod, waits until it runs, and returns its version.
    pub(super) async fn add(&self, name: &str, metadata: Value, spec: Value) -> Result<String> {
        let pod = self.pod_with(name, metadata, spec)?;
        drop(self.pods().create(&PostParams::default(), &pod).await?);
        wait::until(&format!("the pod {name} to run"), TIMEOUT, || async {
            let pod = self.pods().get(name).await?;
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            Ok(pod.resource_version().filter(|_| phase == Some("Running")))
        })
        .await
    }

    /// Creates a pod whose deletion has begun and does not end.
    pub(super) async fn add_stuck_pod(&self, name: &str) -> Result<()> {
        drop(self.add_slow_pod(name, 0).await?);
        drop(self.pods().delete(name, &DeleteParams::default()).await?);
        Ok(())
    }

    /// Creates a pod with this grace period, in seconds, and a finalizer that keeps it until it is removed. Returns its version.
    pub(super) async fn add_slow_pod(&self, name: &str, grace_period: i64) -> Result<String> {
        let metadata = json!({ "finalizers": ["example.com/slow"] });
        self.add(
            name,
            metadata,
            json!({ "terminationGracePeriodSeconds": grace_period }),
        )
        .await
    }

    pub(super) async fn add_priority_class(&self, name: &str, value: i32) -> Result<()> {
        let class = json!({ "metadata": { "name": name }, "value": value });
        self.create("/apis/scheduling.k8s.io/v1/priorityclasses", &class)
            .await
            .map(drop)
    }

    pub(super) async fn add_pod_of_class(&self, name: &str, class: &str) -> Result<()> {
        // Admission takes a moment to know a new PriorityClass.
        wait::until(&format!("the pod {name} of {class}"), TIMEOUT, || async {
            let added = self.add(name, json!({}), json!({ "priorityClassName": class }));
            added.await.map(|_| Some(()))
        })
        .await
    }

    /// Creates a budget that lets nobody evict this pod.
    pub(super) async fn block(&self, name: &str) -> Result<()> {
        self.add_budget(name, name, 0).await
    }

    /// Creates a budget for the pods with this label `app`.
    pub(super) async fn add_budget(&self, name: &str, app: &str, max_unavailable: u8) -> Result<()> {
        let budget = json!({
            "metadata": { "name": name },
            "spec": { "maxUnavailable": max_unavailable, "selector": { "matchLabels": { "app": app } } },
        });
        drop(
            self.create("/apis/policy/v1/namespaces/default/poddisruptionbudgets", &budget)
                .await?,
        );
        let budgets: Api<PodDisruptionBudget> = Api::default_namespaced(self.client.clone());
        wait::until("the disruption controller to see the budget", TIMEOUT, || async {
            let status = budgets.get(name).await?.status;
            Ok(status.and_then(|status| status.observed_generation).map(drop))
        })
        .await
    }

    pub(super) async fn remove_budget(&self, name: &str) -> Result<()> {
        self.delete(&format!(
            "/apis/policy/v1/namespaces/default/poddisruptionbudgets/{name}"
        ))
        .await
    }

    /// Creates a Deployment of one pod that tolerates everything and fits on this node only, as some operators and CNI plugins do.
    pub(crate) async fn deploy_operator(&self, name: &str) -> Result<()> {
        let deployment = json!({
            "metadata": { "name": name },
            "spec": {
                "replicas": 1,
                "selector": { "matchLabels": { "app": name } },
                "template": {
                    "metadata": { "labels": { "app": name } },
                    "spec": {
                        "tolerations": [{ "operator": "Exists" }],
                        "nodeSelector": { "kubernetes.io/hostname": self.site.name() },
                        "automountServiceAccountToken": false,
                        "terminationGracePeriodSeconds": 0,
                        "containers": [{ "name": "pause", "image": "registry.k8s.io/pause:3.10" }],
                    },
                },
            },
        });
        drop(
            self.create("/apis/apps/v1/namespaces/default/deployments", &deployment)
                .await?,
        );
        let labels = ListParams::default().labels(&format!("app={name}"));
        wait::until(&format!("the pod of {name} to run"), TIMEOUT, || async {
            let pods = self.pods().list(&labels).await?.items;
            let runs =
                |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
            Ok(pods.iter().any(runs).then_some(()))
        })
        .await
    }

    /// Creates a policy that denies evictions of this pod with 403.
    pub(super) async fn deny_eviction_of(&self, pod: &str) -> Result<()> {
        let others = format!("request.name != '{pod}'");
        let rule = Rule {
            message: &format!("{pod} is busy"),
            ..Rule::of_evictions(&others)
        };
        admission_policy::create(&self.client, pod, &rule).await?;
        self.wait_refused(pod).await
    }

    /// Creates a webhook that is down, so that evictions of this pod fail with 500.
    pub(super) async fn fail_eviction_of(&self, pod: &str) -> Result<()> {
        let name = format!("request.name == '{pod}'");
        let rule = Rule::of_evictions(&name);
        admission_policy::create_webhook(&self.client, pod, NOBODY, "Fail", &rule).await?;
        self.wait_refused(pod).await
    }

    /// Waits, by dry runs, until evictions of this pod are refused: admission takes a moment to apply its rules.
    async fn wait_refused(&self, pod: &str) -> Result<()> {
        wait::until(&format!("evictions of {pod} to be refused"), TIMEOUT, || async {
            let code = self.evict(pod, json!({ "dryRun": ["All"] })).await?;
            Ok((code == 403 || code == 500).then_some(()))
        })
        .await
    }

    pub(super) async fn allow_evictions(&self, pods: [&str; 2]) -> Result<()> {
        admission_policy::remove(&self.client, pods[0]).await?;
        admission_policy::remove_webhook(&self.client, pods[1]).await
    }

    pub(super) async fn evict_with_uid(&self, pod: &str, uid: &str) -> Result<u16> {
        self.evict(pod, json!({ "preconditions": { "uid": uid } })).await
    }

    /// Sends an eviction and returns the HTTP status.
    async fn evict(&self, pod: &str, options: Value) -> Result<u16> {
        let body = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": { "name": pod, "namespace": "default" },
            "deleteOptions": options,
        });
        let path = format!("/api/v1/namespaces/default/pods/{pod}/eviction");
        let request = http::Request::post(path).header("content-type", "application/json");
        match self
            .client
            .request::<Value>(request.body(serde_json::to_vec(&body)?)?)
            .await
        {
            Ok(_) => Ok(201),
            Err(kube::Error::Api(status)) => Ok(status.code),
            Err(error) => Err(error).context("failed to send an eviction"),
        }
    }

    /// Creates a `VolumeAttachment` for the node, as the attach-detach controller does.
    pub(super) async fn attach_volume(&self, name: &str) -> Result<()> {
        let attachment = json!({
            "metadata": { "name": name },
            "spec": {
                "attacher": "csi.example.com",
                "nodeName": self.site.name(),
                "source": { "persistentVolumeName": format!("pv-{name}") },
            },
        });
        self.create("/apis/storage.k8s.io/v1/volumeattachments", &attachment)
            .await
            .map(drop)
    }

    pub(super) async fn detach_volume(&self, name: &str) -> Result<()> {
        self.delete(&format!("/apis/storage.k8s.io/v1/volumeattachments/{name}"))
            .await
    }

    /// Deletes the pod and creates one of the same name on another node, as a `StatefulSet` does.
    pub(super) async fn move_pod(&self, name: &str, node: &str) -> Result<()> {
        drop(
            self.pods()
                .delete(name, &DeleteParams::default().grace_period(0))
                .await?,
        );
        self.wait_gone(name).await?;
        self.add(name, json!({}), json!({ "nodeName": node }))
            .await
            .map(drop)
    }
}

fn merge(target: &mut Value, changes: Value) {
    let (Some(target), Value::Object(changes)) = (target.as_object_mut(), changes) else {
        return;
    };
    target.extend(changes);
}
