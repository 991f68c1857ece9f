//! Compares the simulation's API server with the real one: sends the same random operations to both and compares the answers.
//!
//! Each side has its own uids and versions, so an operation names them relatively: the current one, another one, or none.
//! No controllers run, so nobody else writes.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use cordonhold_shared::reboot::moment::Uptime;
use cordonhold_shared::{hold, keys, selector};
use cordonhold_simulation::api_server::{
    Answer, ApiServer, Caller, Deletion, EventKind, Key, Request, Resource, Selector, Verb, Webhook,
    WebhookState,
};
use cordonhold_simulation::random::Random;
use cordonhold_tests::control_plane::ControlPlane;
use futures_util::TryStreamExt as _;
use kube::Client;
use kube::core::WatchEvent;
use serde_json::{Value, json};

const OPERATIONS: u64 = 600;
const WATCHES_EVERY: u64 = 60;
/// How long a watch of the real API server runs, in seconds. The longer one is used if the first has shown too little.
const WATCH_SECONDS: u32 = 1;
const WATCH_SECONDS_MAX: u32 = 10;
/// How many evictions with another uid are sent. Each takes the real API server ten seconds, because it retries the conflict.
const EVICTIONS_OF_ANOTHER_MAX: u32 = 1;
/// An annotation that the real API server adds to a DaemonSet.
const GENERATION: &str = "deprecated.daemonset.template.generation";

/// The version or uid that an operation names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    None,
    Current,
    Older,
}

#[derive(Clone, Debug)]
enum Operation {
    Get,
    List(&'static str, String),
    Create(Value),
    Apply(Value),
    Merge(Value, Named),
    MergeStatus(Value),
    Delete(Named, Option<u64>),
    Evict(Named),
}

/// The result of an operation, which must be the same on both sides.
#[derive(Debug, PartialEq)]
struct Outcome {
    code: u16,
    reason: String,
    /// The first of the status' causes.
    cause: Option<String>,
    /// Retry-After, in seconds.
    retry_after: u32,
    objects: Vec<Value>,
    /// Whether the object's version has changed.
    moved: bool,
}

struct Both {
    client: Client,
    ours: ApiServer,
    random: Random,
    caller: Rc<Caller>,
    /// The versions that each object has had: the real one, and the simulated one.
    versions: BTreeMap<Key, Vec<(String, u64)>>,
    /// All versions at which something changed, of both sides, to start watches from.
    marks: Vec<(String, u64)>,
    now: Uptime,
    evictions_of_another: u32,
}

#[test]
fn the_api_server_in_memory_answers_as_the_real_one_does() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let seed = match std::env::var("CORDONHOLD_SEED") {
        Ok(seed) => seed.parse()?,
        Err(_) => u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?,
    };
    writeln!(
        std::io::stderr(),
        "seed {seed}: CORDONHOLD_SEED={seed} repeats it"
    )?;
    runtime
        .block_on(compare(seed))
        .with_context(|| format!("seed {seed}"))
}

async fn compare(seed: u64) -> Result<()> {
    let plane = Box::pin(ControlPlane::start_alone()).await?;
    let webhook = Webhook {
        state: WebhookState::DownIgnored,
        ..Webhook::default()
    };
    let mut both = Both {
        client: plane.client(),
        ours: ApiServer::new(webhook),
        random: Random::new(seed),
        caller: Rc::new(Caller::default()),
        versions: BTreeMap::new(),
        marks: Vec::new(),
        now: Uptime::START,
        evictions_of_another: 0,
    };
    for count in 1..=OPERATIONS {
        let (key, operation) = both.draw();
        let what = format!("operation {count}: {operation:?} on {key:?}");
        let theirs = both.real(&key, &operation).await.with_context(|| what.clone())?;
        let ours = both.simulated(&key, &operation);
        let (mut theirs, ours) = both.settle(&key, theirs, ours).await?;
        if matches!(operation, Operation::Apply(_)) {
            // The real version only changes if the managed fields do, which are not modelled.
            theirs.moved = ours.moved;
        }
        ensure!(
            theirs == ours,
            "{what}\nthe real one:   {theirs:?}\nthe simulation: {ours:?}"
        );
        if count % WATCHES_EVERY == 0 {
            both.compare_watches()
                .await
                .with_context(|| format!("after {what}"))?;
        }
    }
    Ok(())
}

fn path(key: &Key) -> String {
    let namespace = &key.namespace;
    let resource = key.resource.as_str();
    let collection = match key.resource {
        Resource::Nodes => "/api/v1/nodes".to_owned(),
        Resource::Pods if namespace.is_empty() => "/api/v1/pods".to_owned(),
        Resource::Pods => format!("/api/v1/namespaces/{namespace}/{resource}"),
        Resource::Leases => format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/{resource}"),
        Resource::DaemonSets => format!("/apis/apps/v1/namespaces/{namespace}/{resource}"),
        Resource::PodDisruptionBudgets => format!("/apis/policy/v1/namespaces/{namespace}/{resource}"),
    };
    if key.name.is_empty() {
        collection
    } else {
        format!("{collection}/{}", key.name)
    }
}

/// The parts of an object that are modelled.
fn modelled(object: &Value) -> Value {
    let mut annotations = object["metadata"]["annotations"].clone();
    if let Some(annotations) = annotations.as_object_mut() {
        drop(annotations.remove(GENERATION));
    }
    if annotations == json!({}) {
        annotations = Value::Null;
    }
    json!({
        "name": object["metadata"]["name"],
        "labels": object["metadata"]["labels"],
        "annotations": annotations,
        "is_ending": object["metadata"]["deletionTimestamp"].is_string(),
        "grace": object["metadata"]["deletionGracePeriodSeconds"],
        "unschedulable": object["spec"]["unschedulable"],
        "taints": object["spec"]["taints"],
        "node": object["spec"]["nodeName"],
        "holder": object["spec"]["holderIdentity"],
        "phase": object["status"]["phase"],
        "boot": object["status"]["nodeInfo"]["bootID"].as_str().filter(|boot| !boot.is_empty()),
        "allowed": object["status"]["disruptionsAllowed"].as_u64().unwrap_or(0),
    })
}

impl Both {
    fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        let index = self.random.index(choices.len());
        choices[index].clone()
    }

    fn draw(&mut self) -> (Key, Operation) {
        let number = self.random.below(3);
        match self.random.below(20) {
            0..=8 => (Key::node(&format!("node-{number}")), self.draw_for_node()),
            9..=14 => {
                let key = Key::new(
                    Resource::Pods,
                    "default",
                    &format!("pod-{}", self.random.below(5)),
                );
                (key, self.draw_for_pod())
            }
            15..=16 => {
                let key = Key::new(Resource::PodDisruptionBudgets, "default", "web");
                (key, self.draw_for_budget())
            }
            17..=18 => (
                Key::new(Resource::Leases, "default", "lock"),
                self.draw_for_lease(),
            ),
            _ => (
                Key::new(Resource::DaemonSets, "default", "kured"),
                self.draw_for_daemon_set(),
            ),
        }
    }

    fn draw_for_node(&mut self) -> Operation {
        let fields = ["metadata.name=node-1".to_owned()];
        match self.random.below(12) {
            0 => Operation::Get,
            1 => Operation::List(
                "labelSelector",
                hold::held_selector(&selector::Selector::default()),
            ),
            2 => Operation::List("fieldSelector", self.pick(&fields)),
            3 => Operation::Create(json!({ "apiVersion": "v1", "kind": "Node", "metadata": {} })),
            4 => Operation::Delete(self.pick(&[Named::None, Named::Current, Named::Older]), None),
            5 => {
                let boot = self.pick(&["boot-1", "boot-2"]);
                Operation::MergeStatus(json!({ "status": { "nodeInfo": { "bootID": boot } } }))
            }
            _ => {
                let (patch, named) = (self.draw_node_patch(), self.draw_version());
                Operation::Merge(patch, named)
            }
        }
    }

    fn draw_version(&mut self) -> Named {
        self.pick(&[Named::None, Named::Current, Named::Current, Named::Older])
    }

    fn draw_node_patch(&mut self) -> Value {
        let taint = |key: &str| json!({ "key": key, "effect": "NoSchedule" });
        let rebooting = taint(keys::REBOOTING);
        let choices = [
            json!({ "spec": { "unschedulable": true } }),
            json!({ "spec": { "unschedulable": false } }),
            json!({ "spec": { "unschedulable": null } }),
            json!({ "spec": { "taints": [rebooting.clone()] } }),
            json!({ "spec": { "taints": [rebooting.clone(), taint(keys::UNSCHEDULABLE_TAINT)], "unschedulable": true } }),
            json!({ "spec": { "taints": [rebooting.clone(), rebooting] } }),
            json!({ "spec": { "taints": null } }),
            json!({ "spec": { "taints": [] } }),
            json!({ "metadata": { "labels": { keys::PHASE: "draining" } } }),
            json!({ "metadata": { "labels": { keys::PHASE: "wanted" } } }),
            json!({ "metadata": { "labels": { keys::PHASE: null } } }),
            json!({ "metadata": { "annotations": { keys::HOLDER: "x/y", keys::UNTIL: "z" } } }),
            json!({ "metadata": { "annotations": { keys::HOLDER: null } } }),
            json!({ "metadata": { "annotations": null } }),
            json!({ "status": { "nodeInfo": { "bootID": "not here" } } }),
            json!({}),
        ];
        self.pick(&choices)
    }

    fn draw_for_pod(&mut self) -> Operation {
        match self.random.below(12) {
            0 => Operation::Get,
            1 => Operation::List("fieldSelector", "spec.nodeName=node-1".to_owned()),
            2..=4 => {
                let (app, node) = (self.pick(&["web", "other"]), self.pick(&["node-1", "node-2"]));
                Operation::Create(json!({
                    "apiVersion": "v1", "kind": "Pod",
                    "metadata": { "labels": { "app": app } },
                    "spec": {
                        "nodeName": node,
                        "automountServiceAccountToken": false,
                        "containers": [{ "name": "main", "image": "none" }],
                    },
                }))
            }
            5..=6 => {
                let phase = self.pick(&["Running", "Running", "Running", "Succeeded"]);
                let ready = self.pick(&["True", "True", "False"]);
                let conditions = [json!({ "type": "Ready", "status": ready })];
                Operation::MergeStatus(json!({ "status": { "phase": phase, "conditions": conditions } }))
            }
            7 => Operation::Delete(
                self.pick(&[Named::None, Named::Current, Named::Older]),
                // For values in between, the result would depend on how long the pod has been terminating.
                self.pick(&[None, Some(0), Some(60)]),
            ),
            8 if self.evictions_of_another < EVICTIONS_OF_ANOTHER_MAX => {
                self.evictions_of_another += 1;
                Operation::Evict(Named::Older)
            }
            _ => Operation::Evict(self.pick(&[Named::None, Named::Current])),
        }
    }

    fn draw_for_budget(&mut self) -> Operation {
        match self.random.below(6) {
            0 => Operation::Get,
            1 => Operation::Create(json!({
                "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {},
                "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "web" } } },
            })),
            2 => Operation::Delete(Named::None, None),
            _ => {
                let allowed = self.random.below(3);
                Operation::MergeStatus(json!({ "status": {
                    "observedGeneration": 1, "disruptionsAllowed": allowed,
                    "currentHealthy": 3, "desiredHealthy": 3, "expectedPods": 3,
                }}))
            }
        }
    }

    fn draw_for_lease(&mut self) -> Operation {
        let empty = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "lock" } });
        match self.random.below(8) {
            0 => Operation::Get,
            1 => Operation::Delete(Named::None, None),
            2..=3 => Operation::Apply(empty),
            _ => {
                let text = self.pick(&[json!("{}"), json!("{\"locks\":[]}"), Value::Null]);
                let holder = self.pick(&[json!("node-1"), Value::Null]);
                let patch = json!({
                    "metadata": { "annotations": { keys::LOCK: text } }, "spec": { "holderIdentity": holder },
                });
                Operation::Merge(patch, self.draw_version())
            }
        }
    }

    fn draw_for_daemon_set(&mut self) -> Operation {
        match self.random.below(5) {
            0 => Operation::Get,
            1 => Operation::Create(json!({
                "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {},
                "spec": {
                    "selector": { "matchLabels": { "app": "kured" } },
                    "template": {
                        "metadata": { "labels": { "app": "kured" } },
                        "spec": { "containers": [{ "name": "main", "image": "none" }] },
                    },
                },
            })),
            _ => {
                let text = self.pick(&[json!("{}"), json!("{\"nodeID\":\"a\"}"), Value::Null]);
                let patch = json!({ "metadata": { "annotations": { keys::KURED_LOCK: text } } });
                Operation::Merge(patch, self.draw_version())
            }
        }
    }

    /// The version that an operation names: the real one, and the simulated one.
    fn named(&self, key: &Key, named: Named) -> Option<(String, String)> {
        let versions = self.versions.get(key);
        let last = versions.and_then(|versions| versions.last());
        match (named, last) {
            (Named::None, _) => None,
            (Named::Current, Some((theirs, ours))) => Some((theirs.clone(), ours.to_string())),
            (Named::Current | Named::Older, _) => Some(("1".to_owned(), "1".to_owned())),
        }
    }

    async fn real(&mut self, key: &Key, operation: &Operation) -> Result<Outcome> {
        let uid = self.real_uid(key).await?;
        let precondition = |named| match named {
            Named::None => Value::Null,
            Named::Current => json!({ "uid": uid }),
            Named::Older => json!({ "uid": "another" }),
        };
        let target = path(key);
        let collection = path(&Key::new(key.resource, &key.namespace, ""));
        let merge = "application/merge-patch+json";
        let (method, uri, kind, body) = match operation {
            Operation::Get => ("GET", target, "", Value::Null),
            Operation::List(parameter, selector) => {
                let escaped = selector.replace('!', "%21").replace('=', "%3D");
                (
                    "GET",
                    format!("{collection}?{parameter}={escaped}"),
                    "",
                    Value::Null,
                )
            }
            Operation::Create(value) => {
                let mut value = value.clone();
                value["metadata"]["name"] = json!(key.name);
                ("POST", collection, "application/json", value)
            }
            Operation::Apply(value) => {
                let uri = format!("{target}?fieldManager=test&force=true");
                ("PATCH", uri, "application/apply-patch+yaml", value.clone())
            }
            Operation::Merge(patch, named) => {
                let mut patch = patch.clone();
                if let Some((version, _)) = self.named(key, *named) {
                    patch["metadata"]["resourceVersion"] = json!(version);
                }
                ("PATCH", target, merge, patch)
            }
            Operation::MergeStatus(patch) => ("PATCH", format!("{target}/status"), merge, patch.clone()),
            Operation::Delete(named, grace) => {
                let options = json!({
                    "kind": "DeleteOptions", "apiVersion": "v1",
                    "preconditions": precondition(*named), "gracePeriodSeconds": grace,
                });
                ("DELETE", target, "application/json", options)
            }
            Operation::Evict(named) => {
                let eviction = json!({
                    "apiVersion": "policy/v1", "kind": "Eviction",
                    "metadata": { "name": key.name, "namespace": key.namespace },
                    "deleteOptions": { "preconditions": precondition(*named) },
                });
                ("POST", format!("{target}/eviction"), "application/json", eviction)
            }
        };
        self.send(method, &uri, kind, &body).await.map(|mut outcome| {
            if matches!(operation, Operation::Delete(..) | Operation::Evict(_)) {
                outcome.objects.clear();
            }
            outcome
        })
    }

    async fn send(&self, method: &str, uri: &str, kind: &str, body: &Value) -> Result<Outcome> {
        let bytes = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let request = http::Request::builder()
            .method(method)
            .uri(uri)
            .header("content-type", kind)
            .body(bytes)?;
        match self.client.request::<Value>(request).await {
            Ok(value) => {
                let items = value["items"].as_array().cloned();
                let mut objects: Vec<Value> = items
                    .unwrap_or_else(|| vec![value])
                    .iter()
                    .map(modelled)
                    .collect();
                objects.sort_by_key(|object| object["name"].to_string());
                Ok(Outcome {
                    code: 0,
                    reason: String::new(),
                    cause: None,
                    retry_after: 0,
                    objects,
                    moved: false,
                })
            }
            Err(kube::Error::Api(status)) => {
                let details = status.details.as_ref();
                Ok(Outcome {
                    code: status.code,
                    reason: status.reason.clone(),
                    cause: details
                        .and_then(|details| details.causes.first())
                        .filter(|_| status.code == 429)
                        .map(|cause| format!("{}: {}", cause.reason, cause.message)),
                    retry_after: details.map_or(0, |details| details.retry_after_seconds),
                    objects: Vec::new(),
                    moved: false,
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn real_uid(&self, key: &Key) -> Result<Option<String>> {
        Ok(self.real_object(key).await?["metadata"]["uid"]
            .as_str()
            .map(str::to_owned))
    }

    async fn real_object(&self, key: &Key) -> Result<Value> {
        let request = http::Request::get(path(key)).body(Vec::new())?;
        match self.client.request::<Value>(request).await {
            Ok(object) => Ok(object),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Value::Null),
            Err(error) => Err(error.into()),
        }
    }

    fn simulated(&mut self, key: &Key, operation: &Operation) -> Outcome {
        self.now += Duration::from_secs(1);
        let uid = self.ours.object(key).map(|object| object.uid().to_owned());
        let precondition = |named| match named {
            Named::None => None,
            Named::Current => uid.clone(),
            Named::Older => Some("another".to_owned()),
        };
        let verb = match operation {
            Operation::Get => Verb::Get,
            Operation::List("labelSelector", selector) => Verb::List(Selector::labels(selector)),
            Operation::List(_, selector) => Verb::List(Selector::fields(selector)),
            Operation::Create(value) => Verb::Create(value.clone()),
            Operation::Apply(value) => Verb::Apply(value.clone()),
            Operation::Merge(patch, named) => {
                let mut patch = patch.clone();
                if let Some((_, version)) = self.named(key, *named) {
                    patch["metadata"]["resourceVersion"] = json!(version);
                }
                Verb::Merge(patch)
            }
            Operation::MergeStatus(patch) => Verb::MergeStatus(patch.clone()),
            Operation::Delete(named, grace_seconds) => Verb::Delete(Deletion {
                uid: precondition(*named),
                grace_seconds: *grace_seconds,
            }),
            Operation::Evict(named) => Verb::Evict(Deletion {
                uid: precondition(*named),
                grace_seconds: None,
            }),
        };
        let request = Request {
            caller: Rc::clone(&self.caller),
            key: key.clone(),
            verb,
        };
        let (code, reason, cause, retry_after, objects) = match self.ours.handle(&request, self.now) {
            Ok(Answer::Object(object)) => (0, "", None, 0, vec![modelled(&object.value)]),
            Ok(Answer::List(items, _)) => (
                0,
                "",
                None,
                0,
                items.iter().map(|item| modelled(&item.value)).collect(),
            ),
            Ok(Answer::Done) => (0, "", None, 0, Vec::new()),
            Err(status) => {
                let cause = status.causes.first();
                let cause = cause.map(|cause| format!("{}: {}", cause.reason, cause.message));
                (
                    status.code,
                    status.reason,
                    cause,
                    status.retry_after_seconds,
                    Vec::new(),
                )
            }
        };
        Outcome {
            code,
            reason: reason.to_owned(),
            cause,
            retry_after,
            objects,
            moved: false,
        }
    }

    /// Reads the object on both sides after an operation, and notes its versions.
    async fn settle(
        &mut self,
        key: &Key,
        mut theirs: Outcome,
        mut ours: Outcome,
    ) -> Result<(Outcome, Outcome)> {
        let real = self.real_object(key).await?;
        let mine = self.ours.object(key).cloned();
        let before = self
            .versions
            .get(key)
            .and_then(|versions| versions.last())
            .cloned();
        let version = real["metadata"]["resourceVersion"].as_str();
        theirs.moved = version != before.as_ref().map(|(theirs, _)| theirs.as_str());
        ours.moved = mine.as_ref().map(|object| object.version) != before.map(|(_, ours)| ours);
        theirs.objects.push(if real.is_null() {
            real.clone()
        } else {
            modelled(&real)
        });
        ours.objects.push(
            mine.as_ref()
                .map_or(Value::Null, |object| modelled(&object.value)),
        );
        if let (Some(version), Some(object)) = (version, mine) {
            let versions = self.versions.entry(key.clone()).or_default();
            if theirs.moved || ours.moved {
                versions.push((version.to_owned(), object.version));
            }
            if theirs.moved && ours.moved {
                self.marks.push((version.to_owned(), object.version));
            }
        } else {
            drop(self.versions.remove(key));
        }
        Ok((theirs, ours))
    }

    /// The events that the real API server sends in a watch of this many seconds.
    async fn real_events(&self, uri: &str, seconds: u32) -> Result<Vec<(&'static str, Value)>> {
        let request = http::Request::get(format!("{uri}&timeoutSeconds={seconds}")).body(Vec::new())?;
        let mut stream = std::pin::pin!(self.client.request_events::<Value>(request).await?);
        let mut seen = Vec::new();
        while let Some(event) = stream.try_next().await? {
            seen.extend(real_event(&event));
        }
        Ok(seen)
    }

    async fn compare_watches(&mut self) -> Result<()> {
        let recent = self.marks.len().saturating_sub(60);
        let from = recent + self.random.index(self.marks.len() - recent);
        let Some((theirs, ours)) = self.marks.get(from).cloned() else {
            return Ok(());
        };
        let targets = [
            (
                Resource::Nodes,
                "fieldSelector",
                "metadata.name=node-1".to_owned(),
            ),
            (
                Resource::Nodes,
                "labelSelector",
                hold::held_selector(&selector::Selector::default()),
            ),
            (Resource::Pods, "fieldSelector", "spec.nodeName=node-1".to_owned()),
        ];
        for (resource, parameter, text) in targets {
            let key = Key::new(resource, "", "");
            let selector = if parameter == "labelSelector" {
                Selector::labels(&text)
            } else {
                Selector::fields(&text)
            };
            let mut watch = self
                .ours
                .watch(&key, selector, ours)
                .map_err(|status| anyhow::anyhow!("{status:?}"))?;
            let version = self.ours.version();
            let events = self
                .ours
                .events(&mut watch, version)
                .map_err(|status| anyhow::anyhow!("{status:?}"))?;
            let mine: Vec<(&str, Value)> = events
                .iter()
                .map(|event| (kind_of(event.kind), modelled(&event.object.value)))
                .collect();
            let escaped = text.replace('!', "%21").replace('=', "%3D");
            let uri = format!(
                "{}?watch=1&resourceVersion={theirs}&{parameter}={escaped}",
                path(&key)
            );
            let mut real = self.real_events(&uri, WATCH_SECONDS).await?;
            if real.len() < mine.len() {
                // A busy server may not have sent everything in the short time.
                real = self.real_events(&uri, WATCH_SECONDS_MAX).await?;
            }
            ensure!(
                real == mine,
                "a watch of {text}\nthe real one:   {real:?}\nthe simulation: {mine:?}"
            );
        }
        Ok(())
    }
}

fn real_event(event: &WatchEvent<Value>) -> Option<(&'static str, Value)> {
    match event {
        WatchEvent::Added(object) => Some(("ADDED", modelled(object))),
        WatchEvent::Modified(object) => Some(("MODIFIED", modelled(object))),
        WatchEvent::Deleted(object) => Some(("DELETED", modelled(object))),
        WatchEvent::Bookmark(_) => None,
        WatchEvent::Error(status) => Some(("ERROR", json!(status.message))),
    }
}

fn kind_of(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Added => "ADDED",
        EventKind::Modified => "MODIFIED",
        EventKind::Deleted => "DELETED",
    }
}
