//! A cluster in memory for the manual: an API server that is a function, with a small fleet in the middle of its work. An agent that is alive
//! answers a cancel at the next read of its Node.
//!
//! Not here: whether a real API server answers alike (the invariants of the crate `tests`).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use cordonhold_shared::hold::{Hold, Holder};
use cordonhold_shared::keys;
use cordonhold_shared::lock::{Entry, Record};
use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::args::CommonArgs;
use crate::cluster::Cluster;

/// The hold of the node that drains, and of the one whose agent is dead.
const DRAINS: &str = "2026-11-28T02:41:07.123456789Z";
/// The last heartbeat of each node.
const BEAT: &str = "2026-11-28T02:58:12Z";
const DEAD: &str = "2026-11-28T01:10:00.000000001Z";

/// What the webhook says to a probe.
const ANSWER: &str = r#"299 - "cordonhold: the probe has reached the webhook: version 0.1.0, mode enforce, replica cordonhold-webhook-7c9f-p4d2x""#;

pub(super) type Objects = BTreeMap<String, Value>;

/// What is changed before a request of this method and path.
pub(super) type Change = fn(&Method, &str, &mut Objects);

/// A client of a new cluster.
pub(super) fn cluster(common: &CommonArgs) -> Cluster {
    changing(common, |_, _, _| {})
}

/// A client of a new cluster that others change.
pub(super) fn changing(common: &CommonArgs, change: Change) -> Cluster {
    let objects = Arc::new(Mutex::new(fleet()));
    let service = tower::service_fn(move |request: Request<Body>| {
        let objects = Arc::clone(&objects);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap_or_default();
            let (code, answer) = {
                let mut objects = objects.lock().unwrap();
                change(&head.method, head.uri.path(), &mut objects);
                answer(&mut objects, &head, &body)
            };
            let answer = Body::from(answer.to_string().into_bytes());
            let mut response = Response::builder()
                .status(code)
                .header(http::header::DATE, "Sat, 28 Nov 2026 03:00:00 GMT");
            if String::from_utf8_lossy(&body).contains(keys::PROBE) {
                response = response.header(http::header::WARNING, ANSWER);
            }
            Ok::<_, Infallible>(response.body(answer).unwrap())
        }
    });
    Cluster::new(Client::new(service, "default"), common)
}

fn answer(objects: &mut Objects, head: &http::request::Parts, body: &[u8]) -> (u16, Value) {
    let path = head.uri.path().to_owned();
    let query = head.uri.query().unwrap_or_default();
    if head.method == Method::POST {
        return (201, review(&path, &String::from_utf8_lossy(body)));
    }
    if head.method == Method::PATCH {
        let kind = head.headers[http::header::CONTENT_TYPE].to_str().unwrap();
        return patched(
            objects,
            path.trim_end_matches("/status"),
            kind,
            body,
            query.contains("dryRun"),
        );
    }
    agents_work(objects, &path);
    if let Some(object) = objects.get(&path) {
        return (200, object.clone());
    }
    let parent = format!("{path}/");
    let is_wanted = |object: &Value| {
        let node = |key: &str| {
            query
                .split_once(key)
                .map(|(_, rest)| rest.split('&').next().unwrap_or_default().to_owned())
        };
        let of_node = node("spec.nodeName%3D").is_none_or(|node| object["spec"]["nodeName"] == node.as_str());
        let by = node("reportingComponent%3D")
            .map(|by| by.split("%2C").next().unwrap_or_default().replace("%2F", "/"));
        of_node
            && by.is_none_or(|by| object["reportingComponent"] == by.as_str())
            && node("involvedObject.name%3D")
                .is_none_or(|node| object["involvedObject"]["name"] == node.as_str())
    };
    let is_child = |key: &&String| key.strip_prefix(&parent).is_some_and(|rest| !rest.contains('/'));
    let items: Vec<Value> = objects
        .keys()
        .filter(is_child)
        .map(|key| objects[key].clone())
        .filter(is_wanted)
        .collect();
    let is_list = ["nodes", "leases", "daemonsets", "events", "pods"]
        .iter()
        .any(|kind| path.ends_with(kind));
    if is_list {
        return (
            200,
            json!({ "metadata": { "resourceVersion": "1" }, "items": items }),
        );
    }
    (404, status(404, &format!("{path} not found")))
}

fn status(code: u16, message: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": "X", "code": code })
}

fn review(path: &str, body: &str) -> Value {
    if path.ends_with("selfsubjectreviews") {
        return json!({ "metadata": {}, "status": { "userInfo": { "username": "jo" } } });
    }
    // No agent may override a hold.
    let allowed = !(path.ends_with("/subjectaccessreviews") && body.contains(keys::OVERRIDE_VERB));
    json!({ "metadata": {}, "spec": {}, "status": { "allowed": allowed } })
}

fn patched(objects: &mut Objects, path: &str, kind: &str, body: &[u8], is_dry: bool) -> (u16, Value) {
    let Some(object) = objects.get(path) else {
        return (404, status(404, &format!("{path} not found")));
    };
    let mut new = object.clone();
    let body: Value = serde_json::from_slice(body).unwrap();
    if kind.starts_with("application/json-patch") {
        for operation in body.as_array().unwrap() {
            let pointer = operation["path"].as_str().unwrap();
            if operation["op"] == "test" {
                if new.pointer(pointer) != Some(&operation["value"]) {
                    return (422, status(422, "the test of the patch failed"));
                }
                continue;
            }
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            let key = key.replace("~1", "/").replace("~0", "~");
            if operation["op"] == "remove" {
                drop(
                    new.pointer_mut(parent)
                        .unwrap()
                        .as_object_mut()
                        .unwrap()
                        .remove(&key),
                );
                continue;
            }
            new.pointer_mut(parent).unwrap()[key] = operation["value"].clone();
        }
    } else {
        merge(&mut new, &body);
    }
    if !is_dry {
        drop(objects.insert(path.to_owned(), new.clone()));
    }
    (200, new)
}

/// RFC 7396.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, change) in changes {
        if change.is_null() {
            drop(into.as_object_mut().unwrap().remove(key));
        } else {
            merge(&mut into[key], change);
        }
    }
}

/// What an agent does about a cancel of its hold.
fn agents_work(objects: &mut Objects, path: &str) {
    let Some(node) = objects
        .get_mut(path)
        .filter(|node| node["metadata"]["annotations"][keys::CANCEL].is_string())
    else {
        return;
    };
    let annotations = node["metadata"]["annotations"].as_object_mut().unwrap();
    // The other one's agent is dead.
    if !annotations
        .get(keys::HOLDER)
        .is_some_and(|holder| holder.as_str().unwrap().ends_with(DRAINS))
    {
        return;
    }
    annotations.retain(|key, _| !keys::is_ours(key));
    drop(
        node["metadata"]["labels"]
            .as_object_mut()
            .unwrap()
            .remove(keys::PHASE),
    );
    node["spec"] = json!({});
    let lease = objects
        .get_mut("/apis/coordination.k8s.io/v1/namespaces/cordonhold/leases/cordonhold-default")
        .unwrap();
    lease["metadata"]["annotations"][keys::LOCK] = lock(&[("worker-31", DEAD)]);
}

/// The record of the lock with these entries.
fn lock(entries: &[(&str, &str)]) -> Value {
    let entries = entries
        .iter()
        .map(|(node, created)| Entry::new(node, &format!("uid-{node}"), created, false));
    let record = Record {
        entries: entries.collect(),
        max_owners: Some(2),
    };
    json!(record.render())
}

fn node(name: &str) -> Value {
    json!({
        "metadata": {
            "name": name, "uid": format!("uid-{name}"), "resourceVersion": "7", "labels": {}, "annotations": {},
            "managedFields": [kubelet()],
        },
        "spec": {},
        "status": { "conditions": [{ "type": "Ready", "status": "True", "lastHeartbeatTime": BEAT }], "nodeInfo": { "bootID": "b1" } },
    })
}

/// A node with these marks, which its agent wrote.
fn held(name: &str, phase: &str, created: &str, until: &str) -> Value {
    let holder = Holder {
        node_uid: format!("uid-{name}"),
        created: created.to_owned(),
    };
    let hold = Hold::wish(holder, cordonhold_shared::hold::Proof::new(1));
    let mut node = node(name);
    node["metadata"]["labels"][keys::PHASE] = json!(phase);
    let account =
        json!({ "created": created, "why": "file /run/reboot-required", "phase": phase, "since": created });
    let annotations = &mut node["metadata"]["annotations"];
    annotations[keys::HOLDER] = json!(hold.holder.to_string());
    annotations[keys::UNTIL] = json!(until);
    annotations[keys::REBOOT_ACCOUNT] = json!(account.to_string());
    if phase != "wanted" {
        annotations[keys::WAS_UNSCHEDULABLE] = json!("false");
        annotations[keys::BOOT_ID] = json!("b1/1.0");
        node["spec"] =
            json!({ "unschedulable": true, "taints": [{ "key": keys::REBOOTING, "effect": "NoSchedule" }] });
        node["metadata"]["managedFields"] = by(keys::FIELD_MANAGER, created);
    }
    node
}

/// Who cordoned a node, and when.
fn by(manager: &str, at: &str) -> Value {
    let cordons = json!({ "manager": manager, "operation": "Update", "time": at, "fieldsV1": { "f:spec": { "f:unschedulable": {} } } });
    json!([kubelet(), cordons])
}

/// Who writes the heartbeats.
fn kubelet() -> Value {
    let conditions = json!({ r#"k:{"type":"Ready"}"#: { "f:lastHeartbeatTime": {} } });
    json!({ "manager": "kubelet", "operation": "Update", "time": BEAT, "fieldsV1": { "f:status": { "f:conditions": conditions } } })
}

fn event(node: &str, at: &str, reason: &str, message: &str) -> Value {
    json!({
        "metadata": {}, "involvedObject": { "name": node }, "eventTime": at, "reason": reason, "message": message,
        "reportingComponent": keys::AGENT_CONTROLLER,
    })
}

/// What the webhook has said about the uncordons of a controller.
fn denial() -> Value {
    let message = "Denied system:serviceaccount:gpu-operator:driver: held: node worker-17 is held for a reboot and stays cordoned";
    let mut denial = event("worker-17", "2026-11-28T02:44:10.000000Z", "Held", message);
    denial["reportingComponent"] = json!(keys::WEBHOOK_CONTROLLER);
    denial["series"] = json!({ "count": 12, "lastObservedTime": "2026-11-28T02:57:40.000000Z" });
    denial
}

/// The account of the last reboot of an idle node.
fn rebooted(mut node: Value) -> Value {
    let account = json!({
        "created": "2026-11-27T21:49:12Z", "why": "file /run/reboot-required", "ended": "2026-11-27T22:10:00Z",
        "seconds": { "wanted": 588, "draining": 254, "delaying": 300, "sealed": 71, "returning": 35 }, "evicted": 42, "refused": 3,
    });
    node["metadata"]["annotations"][keys::LAST_REBOOT] = json!(account.to_string());
    node
}

fn nodes() -> Vec<Value> {
    let mut drains = held("worker-17", "draining", DRAINS, "2026-11-28T03:08:00Z");
    drains["metadata"]["annotations"][keys::DRAIN_PROGRESS] =
        json!("38 gone, 2 left; blocked by budget db/pg; waiting for pods db/pg-0, db/pg-1");
    let dead = held("worker-31", "delaying", DEAD, "2026-11-28T02:20:00Z");
    let waits = held(
        "worker-03",
        "wanted",
        "2026-11-28T00:49:00Z",
        "2026-11-28T03:07:00Z",
    );
    let mut paused = held(
        "worker-08",
        "wanted",
        "2026-11-28T02:34:00Z",
        "2026-11-28T03:09:00Z",
    );
    paused["metadata"]["annotations"][keys::PAUSE] = json!("release freeze");
    let mut cordoned = node("worker-22");
    cordoned["spec"] = json!({ "unschedulable": true });
    cordoned["metadata"]["managedFields"] = by("kubectl", "2026-11-25T03:00:00Z");
    let mut idle = ["worker-01", "worker-02", "worker-04"].map(node);
    idle[0] = rebooted(node("worker-01"));
    [drains, dead, waits, paused, cordoned]
        .into_iter()
        .chain(idle)
        .collect()
}

fn fleet() -> Objects {
    let mut objects = Objects::new();
    let mut put = |path: &str, name: &str, object: Value| {
        drop(objects.insert(format!("{path}/{name}"), object));
    };
    for node in nodes() {
        let name = node["metadata"]["name"].as_str().unwrap().to_owned();
        put("/api/v1/nodes", &name, node);
    }
    let lease = json!({ "metadata": { "name": "cordonhold-default", "resourceVersion": "3", "annotations": {
        keys::POOL_SELECTOR: "", keys::LOCK: lock(&[("worker-17", DRAINS), ("worker-31", DEAD)]), keys::LAST_REBOOT: "2026-11-27T22:10:00Z",
    } } });
    put(
        "/apis/coordination.k8s.io/v1/namespaces/cordonhold/leases",
        "cordonhold-default",
        lease,
    );
    let webhook = json!({
        "metadata": { "name": "cordonhold-webhook" },
        "spec": { "replicas": 2, "selector": {}, "template": { "spec": { "containers": [{ "name": "webhook", "image": "example.org/cordonhold-webhook:0.1.0", "args": [
            "--mode=enforce", "--tls-cert-file=/tls.crt", "--tls-private-key-file=/tls.key",
        ] }] } } },
        "status": { "readyReplicas": 2 },
    });
    put(
        "/apis/apps/v1/namespaces/cordonhold/deployments",
        "cordonhold-webhook",
        webhook,
    );
    let agents = json!({
        "metadata": { "name": "cordonhold-agent" },
        "spec": { "selector": {}, "template": { "spec": { "containers": [{
            "name": "agent", "image": "example.org/cordonhold-agent:0.1.0", "args": ["--lock-on=lease", "--reboot-requests"],
        }] } } },
        "status": { "desiredNumberScheduled": 8, "numberReady": 7, "currentNumberScheduled": 8, "numberMisscheduled": 0 },
    });
    put(
        "/apis/apps/v1/namespaces/cordonhold/daemonsets",
        "cordonhold-agent",
        agents,
    );
    let client = json!({ "caBundle": "eA==" });
    let configuration = json!({ "metadata": { "name": "cordonhold" }, "webhooks": [{
        "name": "nodes.cordonhold.dev", "clientConfig": client, "sideEffects": "None", "failurePolicy": "Fail",
        "matchConditions": [{ "name": "c", "expression": "true" }], "admissionReviewVersions": ["v1"],
    }] });
    put(
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
        "cordonhold",
        configuration,
    );
    let pod = json!({
        "metadata": { "name": "cordonhold-agent-x7k2p" }, "spec": { "nodeName": "worker-17" },
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
    });
    put(
        "/api/v1/namespaces/cordonhold/pods",
        "cordonhold-agent-x7k2p",
        pod,
    );
    put("/api/v1/namespaces/default/events", "Held", denial());
    for (reason, event) in events() {
        put("/api/v1/namespaces/default/events", reason, event);
    }
    add_server(&mut objects);
    objects
}

/// What the API server says of itself, and the namespace.
fn add_server(objects: &mut Objects) {
    let enforces = json!({ "pod-security.kubernetes.io/enforce": "privileged" });
    let namespace = json!({ "metadata": { "name": "cordonhold", "labels": enforces } });
    let policies = json!([{ "name": "validatingadmissionpolicies", "singularName": "", "namespaced": false, "kind": "ValidatingAdmissionPolicy", "verbs": [] }]);
    let resources = json!({ "groupVersion": "admissionregistration.k8s.io/v1", "resources": policies });
    for (path, object) in [
        ("/api/v1/namespaces/cordonhold", namespace),
        ("/version", json!({ "gitVersion": "v1.37.0" })),
        ("/apis/admissionregistration.k8s.io/v1", resources),
    ] {
        drop(objects.insert(path.to_owned(), object));
    }
}

/// kured comes, as its manifest and an admin have made it.
pub(super) fn add_kured(_: &Method, _: &str, objects: &mut Objects) {
    let container = json!({
        "name": "kured", "image": "ghcr.io/kubereboot/kured:1.23.0", "command": ["/usr/bin/kured"],
        "args": [
            "--reboot-sentinel=/sentinel/reboot-required", "--period=20m", "--start-time=22:00", "--end-time=04:00",
            "--time-zone=Europe/Berlin", "--concurrency=1", "--lock-ttl=30m", "--drain-grace-period", "45",
        ],
        "env": [{ "name": "KURED_NOTIFY_URL", "valueFrom": { "secretKeyRef": { "name": "kured", "key": "notify" } } }],
        "volumeMounts": [{ "name": "sentinel", "mountPath": "/sentinel" }],
    });
    let kured = json!({
        "metadata": { "name": "kured", "namespace": "kube-system" },
        "spec": { "selector": {}, "template": { "spec": {
            "containers": [container], "volumes": [{ "name": "sentinel", "hostPath": { "path": "/var/run" } }],
            "tolerations": [{ "key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule" }],
        } } },
    });
    drop(objects.insert("/apis/apps/v1/daemonsets/kured".to_owned(), kured));
}

/// What the agent of the node that drains has said.
fn events() -> Vec<(&'static str, Value)> {
    let events = [
        ("02:41:08", "RebootLocked", "this node has the lock"),
        (
            "02:41:09",
            "RebootDraining",
            "the node is cordoned and held: draining it",
        ),
        (
            "02:58:30",
            "RebootDrainBlocked",
            "the drain is blocked and keeps trying: fix what blocks it, limit the drain with --drain-timeout, or cancel the reboot: budget db/pg",
        ),
    ];
    let of = |(at, reason, message): (&str, &'static str, &str)| {
        let at = format!("2026-11-28T{at}.000000Z");
        (reason, event("worker-17", &at, reason, message))
    };
    events.into_iter().map(of).collect()
}
