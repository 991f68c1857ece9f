//! What the cluster says, and what the agent says of it: at its start, and in each phase of its cycle.

use serde_json::{Value, json};

use super::cluster::{Cluster, Has, Says};
use super::place::{Parts, Place};

/// What the cluster has and says, the agent's words, the line's `event` and `reason`, and what it says.
type Row<'a> = (Vec<Has>, Vec<Says>, &'a [&'a str], (&'a str, &'a str), Parts<'a>);

/// The same of an agent that ends.
type Ends<'a> = (Vec<Has>, Vec<Says>, &'a [&'a str], Parts<'a>);

const NODE: &str = "/api/v1/nodes/n";
const GET_NODE: &str = "GET /api/v1/nodes/n";
const PATCH_NODE: &str = "PATCH /api/v1/nodes/n";
const LIST_NODES: &str = "GET /api/v1/nodes?";
const OTHER: &str = "/api/v1/nodes/other";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/cordonhold/leases/cordonhold-default";
const GET_LEASE: &str = "GET /apis/coordination.k8s.io/v1/namespaces/cordonhold/leases/cordonhold-default";
const PATCH_LEASE: &str =
    "PATCH /apis/coordination.k8s.io/v1/namespaces/cordonhold/leases/cordonhold-default";
const ANOTHER_LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/cordonhold/leases/cordonhold-db";
const GET_DAEMON_SET: &str = "GET /apis/apps/v1/namespaces/kube-system/daemonsets/kured";
const DAEMON_SET: &str = "/apis/apps/v1/namespaces/kube-system/daemonsets/kured";
const ASK_PERMISSION: &str = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const ASK_RULES: &str = "POST /apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
const POD: &str = "/api/v1/namespaces/default/pods/web";
const EVICT: &str = "POST /api/v1/namespaces/default/pods/web/eviction";

fn node() -> Has {
    (NODE, json!({"metadata": {"uid": "u"}}))
}

fn node_with(labels: &Value, annotations: &Value) -> Has {
    let metadata = json!({"uid": "u", "labels": labels, "annotations": annotations});
    (NODE, json!({"metadata": metadata}))
}

/// In a reboot.
fn other() -> Has {
    let metadata = json!({
        "uid": "u2", "labels": {"cordonhold.dev/phase": "draining"},
        "annotations": {"cordonhold.dev/holder": "u2/2026-01-01T00:00:00Z"},
    });
    (
        OTHER,
        json!({"metadata": metadata, "spec": {"unschedulable": true}}),
    )
}

fn lock(text: &str) -> Has {
    (
        LEASE,
        json!({"metadata": {"annotations": {"cordonhold.dev/lock": text}}}),
    )
}

const LOCK_OF_OTHER: &str =
    r#"{"nodeID":"other","metadata":{"unschedulable":false},"created":"2026-01-01T00:00:00Z","TTL":-1}"#;

/// One that is to be evicted.
fn pod() -> Has {
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "controller": true});
    let metadata = json!({"namespace": "default", "uid": "p", "ownerReferences": [owner]});
    let body = json!({"metadata": metadata, "spec": {"nodeName": "n"}, "status": {"phase": "Running"}});
    (POD, body)
}

fn blocked() -> Says {
    let message = "The disruption budget web needs 3 healthy pods and has 3 currently";
    let cause = json!({"reason": "DisruptionBudget", "message": message});
    let body = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 429, "reason": "TooManyRequests",
        "message": "Cannot evict pod", "details": {"causes": [cause]},
    });
    Says::json(EVICT, 429, body)
}

/// Each with a host and an API server of its own, beside one another.
fn all_wait(table: Vec<Row<'_>>) {
    std::thread::scope(|scope| {
        for (has, says, words, line, parts) in table {
            drop(scope.spawn(move || {
                let place = Place::new(&format!("http://{}", Cluster::start(has, says)));
                place.waits_with(words, line, parts);
            }));
        }
    });
}

#[test]
fn found_e8_every_answer_that_ends_the_agent_names_thing_try_and_fix() {
    let denied = || Says::json(ASK_PERMISSION, 201, json!({"status": {"allowed": false}}));
    let selector = json!({"metadata": {"annotations": {"cordonhold.dev/pool-selector": ""}}});
    let table: [Ends<'_>; 6] = [
        (
            vec![node()],
            vec![denied()],
            &[],
            [
                "permissions are missing",
                "patch nodes",
                "manifests/base/rbac-agent.yaml",
            ],
        ),
        (
            vec![node()],
            vec![denied().with("daemonsets")],
            &["--lock-on=daemonset"],
            [
                "permissions are missing",
                "patch daemonsets kube-system/kured",
                "manifests/components/lock-on-daemonset",
            ],
        ),
        (
            vec![node()],
            vec![denied().with("volumeattachments")],
            &["--volume-detach-timeout=1m"],
            [
                "1 permissions are missing",
                "list volumeattachments",
                "manifests/components/volume-detach",
            ],
        ),
        (
            vec![node()],
            vec![denied().with("poddisruptionbudgets")],
            &["--preflight"],
            [
                "1 permissions are missing",
                "list poddisruptionbudgets",
                "manifests/base/rbac-agent.yaml",
            ],
        ),
        (
            vec![node()],
            vec![],
            &["--pool=gpu", "--pool-selector=gpu=yes"],
            ["not in the pool gpu", "--pool-selector=gpu=yes", "label the Node"],
        ),
        (
            vec![node(), (ANOTHER_LEASE, selector)],
            vec![],
            &[],
            [
                "the Node n is in two pools",
                "the Lease cordonhold-db, whose selector is",
                "give each pool a --pool-selector",
            ],
        ),
    ];
    for (has, says, words, parts) in table {
        let place = Place::new(&format!("http://{}", Cluster::start(has, says)));
        place.ends_with(1, words, &[], parts);
    }
}

#[test]
fn found_e8_every_answer_at_the_start_that_makes_the_agent_wait_names_thing_try_and_fix() {
    const LOGIN: &str = "the token of its ServiceAccount, or the user of --kubeconfig";
    const HEALTH: &str = "the health and the log of the API server";
    let refused = Place::new("http://127.0.0.1:1");
    refused.waits_with(
        &[],
        ("permissions_unknown", ""),
        [
            "permissions cannot be asked for",
            "http://127.0.0.1:1: ",
            "check the way to the API server",
        ],
    );
    let answers = [
        (401, "Unauthorized", LOGIN),
        (403, "forbidden: no", "manifests/base/rbac-agent.yaml"),
        (404, "page not found", "the API server of the agent's own cluster"),
        (410, "gone", "look at what it names"),
        (429, "too many requests", "look at what it names"),
        (500, "etcd has no leader", HEALTH),
        (503, "shutting down", HEALTH),
    ];
    let texts = answers.map(|(code, message, _)| format!("the API server: {message} (code {code})"));
    let mut table = Vec::new();
    for ((code, message, fix), text) in answers.into_iter().zip(&texts) {
        let row = |start, event, thing| -> Row<'_> {
            let says = vec![Says::refused(start, code, message)];
            (vec![node()], says, &[], event, [thing, text.as_str(), fix])
        };
        table.push(row(
            ASK_PERMISSION,
            ("permissions_unknown", ""),
            "permissions cannot be asked for",
        ));
        table.push(row(GET_NODE, ("retrying", "read the Node"), "read the Node"));
        table.push(row(GET_LEASE, ("retrying", "read the lock"), "read the lock"));
    }
    table.push((
        vec![node()],
        vec![Says::nothing(ASK_RULES)],
        &[],
        ("permissions_unknown", ""),
        [
            "permissions cannot be asked for",
            "did not answer within 10s",
            "check the way to the API server",
        ],
    ));
    all_wait(table);
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn found_e8_every_object_that_is_missing_or_cannot_be_read_is_named_with_the_fix() {
    let text = || json!("text");
    let held = |phase: &str| json!({"cordonhold.dev/phase": phase});
    let by = |holder: &str| json!({"cordonhold.dev/holder": holder});
    all_wait(vec![
        (
            vec![],
            vec![],
            &[],
            ("retrying", "read the Node"),
            ["\"node\":\"n\"", "does not exist", "check --node-id"],
        ),
        (
            vec![],
            vec![Says::json(GET_NODE, 200, text())],
            &[],
            ("retrying", "read the Node"),
            ["read the Node", "invalid type", "an API server of Kubernetes"],
        ),
        (
            vec![node()],
            vec![Says::json(GET_LEASE, 200, text())],
            &[],
            ("retrying", "read the lock"),
            ["read the lock", "invalid type", "an API server of Kubernetes"],
        ),
        // A DaemonSet that is no object of apps/v1, or none at all.
        (
            vec![node()],
            vec![Says::json(GET_DAEMON_SET, 200, json!({"kind": "Table"}))],
            &["--lock-on=daemonset"],
            ("retrying", "read the lock"),
            ["read the lock", "missing field", "an API server of Kubernetes"],
        ),
        (
            vec![node()],
            vec![],
            &["--lock-on=daemonset"],
            ("retrying", "acquire the lock"),
            [
                "the DaemonSet kube-system/kured",
                "does not exist",
                "name kured's with --ds-namespace and --ds-name",
            ],
        ),
        (
            vec![node()],
            vec![Says::not_found(PATCH_LEASE, "cordonhold")],
            &[],
            ("retrying", "acquire the lock"),
            [
                "the Lease cordonhold/cordonhold-default",
                "failed to create",
                "create the namespace cordonhold, or name another with --lock-namespace",
            ],
        ),
        (
            vec![node(), lock("x{")],
            vec![],
            &[],
            ("retrying", "read the lock"),
            [
                "cordonhold.dev/lock of the Lease cordonhold/cordonhold-default",
                "it is not JSON",
                "mend it there, or remove it",
            ],
        ),
        (
            vec![
                node(),
                (
                    DAEMON_SET,
                    json!({"metadata": {"annotations": {"weave.works/kured-node-lock": "[]"}}}),
                ),
            ],
            vec![],
            &["--lock-on=auto"],
            ("retrying", "read the lock"),
            [
                "weave.works/kured-node-lock of the DaemonSet kube-system/kured",
                "it is not a JSON object",
                "mend it there, or remove it",
            ],
        ),
        (
            vec![node_with(&held("draining"), &json!({}))],
            vec![],
            &[],
            ("marks_foreign", ""),
            [
                "annotation cordonhold.dev/holder is missing",
                "leaves the marks on the Node alone",
                "remove them by hand: a denied uncordon",
            ],
        ),
        (
            vec![node_with(&held("draining"), &by("v/2026-01-01T00:00:00Z"))],
            vec![],
            &[],
            ("marks_foreign", ""),
            [
                "holder v/2026-01-01T00:00:00Z",
                "names another Node object",
                "remove them by hand: a denied uncordon",
            ],
        ),
    ]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn found_e8_whatever_an_agent_waits_for_before_its_drain_is_named_with_the_fix() {
    let pause = json!({"cordonhold.dev/pause": "sale"});
    let unready = json!({"type": "Ready", "status": "False"});
    let first_lock = json!({"metadata": {"name": "cordonhold-default", "resourceVersion": "1"}});
    all_wait(vec![
        (
            vec![node(), lock(LOCK_OF_OTHER), other()],
            vec![],
            &[],
            ("lock_held", ""),
            [
                "\"by\":\"other\"",
                "as many as --concurrency allows",
                "kubectl get nodes -L",
            ],
        ),
        (
            vec![node(), lock(LOCK_OF_OTHER), other()],
            vec![],
            &["--reboot-timeout=1s"],
            ("lock_stalled", ""),
            [
                "other since 2026-01-01T00:00:00Z: its Node is",
                "longer than a reboot takes",
                "delete its Node, which frees its place",
            ],
        ),
        (
            vec![node(), lock(r#"{"nodeID":"manual"}"#)],
            vec![],
            &["--reboot-timeout=1s"],
            ("lock_stalled", ""),
            [
                "manual: the lock was taken by hand",
                "longer than a reboot takes",
                "has to be removed from the annotation",
            ],
        ),
        (
            vec![node(), lock("x{")],
            vec![Says::json_once(GET_LEASE, first_lock)],
            &[],
            ("lock_unreadable", ""),
            [
                "cordonhold.dev/lock of the Lease cordonhold/cordonhold-default",
                "it is not JSON",
                "mend it there, or remove it",
            ],
        ),
        (
            vec![node_with(&json!({}), &pause)],
            vec![],
            &[],
            ("blocked", ""),
            [
                "sale",
                "a person paused this node",
                "when the annotation cordonhold.dev/pause is removed from the Node",
            ],
        ),
        (
            vec![node(), (LEASE, json!({"metadata": {"annotations": pause}}))],
            vec![],
            &[],
            ("blocked", ""),
            [
                "sale",
                "a person paused the pool",
                "when the annotation cordonhold.dev/pause is removed from the lock's object",
            ],
        ),
        (
            vec![node(), (OTHER, json!({"status": {"conditions": [unready]}}))],
            vec![],
            &["--max-unavailable=0"],
            ("blocked", ""),
            [
                "\"by\":\"unavailable\"",
                "Nodes that are not Ready: 1 (other), and --max-unavailable allows 0",
                "bring them back",
            ],
        ),
        // Of the pool, as far as could be read, when the agent began.
        (
            vec![node()],
            vec![Says::once(GET_NODE, 500)],
            &["--pool-selector=gpu=yes"],
            ("not_in_pool", ""),
            ["\"node\":\"n\"", "do not match --pool-selector", "label the Node"],
        ),
        (
            vec![node()],
            vec![Says::refused(PATCH_NODE, 403, "a webhook denied it")],
            &[],
            ("refused", "stamp the wish"),
            ["stamp the wish", "a webhook denied it (code 403)", "look there"],
        ),
        (
            vec![node()],
            vec![Says::refused(PATCH_LEASE, 403, "leases is forbidden").with("holderIdentity")],
            &[],
            ("retrying", "acquire the lock"),
            [
                "acquire the lock",
                "leases is forbidden (code 403)",
                "manifests/base/rbac-agent.yaml",
            ],
        ),
        (
            vec![node()],
            vec![Says::refused(LIST_NODES, 503, "shutting down").with("labelSelector")],
            &[],
            ("retrying", "read the other Nodes"),
            ["read the other Nodes", "shutting down (code 503)", "the health"],
        ),
        (
            vec![node()],
            vec![Says::refused(LIST_NODES, 403, "watching is forbidden").with("watch=true")],
            &[],
            ("watch_lost", ""),
            [
                "\"of\":\"the Node\"",
                "watching is forbidden (code 403)",
                "manifests/base/rbac-agent.yaml",
            ],
        ),
    ]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn found_e8_whatever_stops_a_drain_or_what_follows_is_named_with_the_fix() {
    let timeout = &["--drain-timeout=1s"];
    let attached =
        json!({"metadata": {}, "spec": {"nodeName": "n", "source": {"persistentVolumeName": "v"}}});
    let returning = json!({
        "cordonhold.dev/holder": "u/2026-01-01T00:00:00Z", "cordonhold.dev/boot-id": "before",
        "cordonhold.dev/was-unschedulable": "false",
    });
    all_wait(vec![
        (
            vec![node()],
            vec![Says::refused(PATCH_NODE, 403, "a webhook denied it").with("\"unschedulable\":true")],
            &[],
            ("retrying", "cordon the node"),
            ["cordon the node", "a webhook denied it (code 403)", "look there"],
        ),
        (
            vec![node()],
            vec![Says::drops(PATCH_NODE, "spec").with("\"unschedulable\":true")],
            &[],
            ("retrying", "cordon the node"),
            [
                "cordon the node",
                "is not as it was written",
                "look for a mutating webhook",
            ],
        ),
        (
            vec![node(), pod()],
            vec![blocked()],
            &[],
            ("eviction_blocked", ""),
            [
                "\"budget\":\"default/web\"",
                "needs 3 healthy pods",
                "once more of its pods are healthy",
            ],
        ),
        (
            vec![node(), pod()],
            vec![blocked()],
            &[],
            ("drain_blocked", ""),
            [
                "blocked by PodDisruptionBudget default/web",
                "0 gone, 1 left",
                "--drain-timeout, or cancel",
            ],
        ),
        (
            vec![node(), pod()],
            vec![Says::refused(EVICT, 403, "a webhook denied it")],
            &[],
            ("eviction_failed", ""),
            [
                "default/web",
                "a webhook denied it (code 403)",
                "look at the admission webhook or the permission",
            ],
        ),
        (
            vec![
                node(),
                ("/apis/storage.k8s.io/v1/volumeattachments/csi-1", attached),
            ],
            vec![],
            &["--volume-detach-timeout=1h"],
            ("drain_blocked", ""),
            [
                "waiting for volumes csi-1",
                "0 gone, 0 left",
                "--drain-timeout, or cancel",
            ],
        ),
        (
            vec![node()],
            vec![Says::refused("GET /api/v1/pods?", 403, "pods is forbidden")],
            &[],
            ("watch_lost", ""),
            [
                "\"of\":\"pods\"",
                "pods is forbidden (code 403)",
                "manifests/base/rbac-agent.yaml",
            ],
        ),
        (
            vec![node()],
            vec![Says::refused(PATCH_NODE, 500, "no leader").with("\"delaying\"")],
            &[],
            ("retrying", "begin the delay"),
            ["begin the delay", "no leader (code 500)", "the health"],
        ),
        (
            vec![node()],
            vec![Says::refused(PATCH_NODE, 500, "no leader").with("\"sealed\"")],
            &[],
            ("retrying", "seal the node"),
            ["seal the node", "no leader (code 500)", "the health"],
        ),
        (
            vec![node(), pod()],
            vec![
                blocked(),
                Says::refused(PATCH_NODE, 500, "no leader").with("\"cordonhold.dev/holder\":null"),
            ],
            timeout,
            ("retrying", "give the cordon back"),
            ["give the cordon back", "no leader (code 500)", "the health"],
        ),
        (
            vec![node(), pod()],
            vec![
                blocked(),
                Says::refused(PATCH_LEASE, 500, "no leader").with("\"holderIdentity\":null"),
            ],
            timeout,
            ("retrying", "release the lock"),
            ["release the lock", "no leader (code 500)", "the health"],
        ),
        (
            vec![node_with(&json!({"cordonhold.dev/phase": "sealed"}), &returning)],
            vec![],
            &[],
            ("returned", ""),
            [
                "\"node\":\"n\"",
                "the host has booted: waiting for the node to be Ready",
                "kubectl describe node",
            ],
        ),
    ]);
}
