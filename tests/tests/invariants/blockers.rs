//! What postpones a reboot: its own Node, other nodes and the lock, and others who are asked: pods on the node, objects, budgets, and
//! Prometheus, which a small HTTP server plays here.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_tests::audit::Asked;
use cordonhold_tests::control_plane::ControlPlane;
use cordonhold_tests::{AGENT_ACCOUNT, NAMESPACE, wait};
use http::Method;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::cluster::alone;
use crate::fleet::{REBOOT_TIMEOUT, Site, unguarded_plane};
use crate::subject::annotate;

#[test]
fn a_pod_on_the_node_that_the_selector_takes_postpones_the_reboot_until_it_is_gone() -> Result<()> {
    alone(async || {
        let plane = unguarded_plane(1).await?;
        let mut site = Site::without_agent(&plane, "node-0").await?;
        site.add_pod("batch").await?;
        site.machine.request_reboot()?;
        site.start_agent(&["--blocking-pod-selector=app in (batch)"])
            .await?;
        let line = site.wait_event("blocked").await?;
        ensure!(line["by"] == "pods", "{line}");
        let why = line["why"].as_str().unwrap_or_default();
        ensure!(why.contains("default/batch"), "{line}");
        let waiting = site.wait_phase(Phase::Wanted).await?;
        ensure!(!waiting.spec.unschedulable, "a wish cordoned the node");
        let pods: Api<Pod> = Api::default_namespaced(plane.client());
        drop(
            pods.delete("batch", &DeleteParams::default().grace_period(0))
                .await?,
        );
        site.reboots_once_and_is_given_back().await
    })
}

#[test]
fn a_pod_of_a_namespace_and_a_phase_postpones_the_reboot_as_kubectl_would_list_it() -> Result<()> {
    alone(async || {
        let plane = unguarded_plane(1).await?;
        let mut site = Site::without_agent(&plane, "node-0").await?;
        site.add_pod("batch").await?;
        site.machine.request_reboot()?;
        site.start_agent(&[
            // The pod is in another namespace, and in another phase: neither selects it.
            "--blocking-pods=-n kube-system -l app=batch",
            "--blocking-pods=-l app=batch --field-selector status.phase=Pending",
            "--blocking-pods=-n default -l 'app in (batch)' --field-selector status.phase=Running,metadata.name!=other",
        ])
        .await?;
        let line = site.wait_event("blocked").await?;
        ensure!(line["by"] == "pods", "{line}");
        let why = line["why"].as_str().unwrap_or_default();
        ensure!(why.matches("default/batch").count() == 1, "{line}");
        ensure!(why.contains("--blocking-pods selects"), "{line}");
        let pods: Api<Pod> = Api::default_namespaced(plane.client());
        drop(
            pods.delete("batch", &DeleteParams::default().grace_period(0))
                .await?,
        );
        site.reboots_once_and_is_given_back().await
    })
}

const SITE: &str = "/api/v1/namespaces/default/configmaps";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
const ROLE_BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";

/// Sends a request as an admin. It must succeed.
async fn send(plane: &ControlPlane, method: Method, path: &str, body: &Value) -> Result<()> {
    let what = format!("{method} {path}");
    let mut request = http::Request::builder().method(method.clone()).uri(path);
    if method == Method::PATCH {
        request = request.header("content-type", "application/merge-patch+json");
    }
    let request = request.body(body.to_string().into_bytes())?;
    let answer: Result<Value, _> = plane.client().request(request).await;
    answer.map(drop).context(what)
}

/// Waits for a report of what blocks that is of this kind and says this.
async fn is_blocked(site: &Site, by: &str, says: &str) -> Result<()> {
    for n in 1.. {
        let line = site.wait_nth_event("blocked", n).await;
        let line = line.with_context(|| format!("nothing of the kind {by} says {says:?}"))?;
        let why = line["why"].as_str().unwrap_or_default();
        if line["by"] == by && why.contains(says) {
            break;
        }
    }
    Ok(())
}

#[test]
fn an_object_postpones_the_reboot_while_its_expression_is_true_or_it_cannot_be_read() -> Result<()> {
    alone(async || {
        let plane = unguarded_plane(1).await?;
        let mut site = Site::without_agent(&plane, "node-0").await?;
        let map = |data: Value| json!({ "metadata": { "name": "site" }, "data": data });
        send(&plane, Method::POST, SITE, &map(json!({ "reboots": "no" }))).await?;
        site.machine.request_reboot()?;
        site.start_agent(&["--blocker-object=v1/ConfigMap/default/site: self.data.reboots != 'yes'"])
            .await?;
        let rule = "{apiGroups: [\"\"], resources: [\"configmaps\"], resourceNames: [\"site\"], verbs: [\"get\"]} \
                    in a Role and a RoleBinding in the namespace default";
        is_blocked(&site, "unanswered", rule).await?;

        // Exactly what it asks for.
        let granted = json!({ "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["site"], "verbs": ["get"] });
        let wanted = json!({ "metadata": { "name": "site" }, "rules": [granted] });
        send(&plane, Method::POST, ROLES, &wanted).await?;
        let binding = json!({
            "metadata": { "name": "site" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "site" },
            "subjects": [{ "kind": "ServiceAccount", "name": AGENT_ACCOUNT, "namespace": NAMESPACE }],
        });
        send(&plane, Method::POST, ROLE_BINDINGS, &binding).await?;
        is_blocked(&site, "object", "is true of v1/ConfigMap/default/site").await?;
        let waiting = site.wait_phase(Phase::Wanted).await?;
        ensure!(!waiting.spec.unschedulable, "a wish cordoned the node");

        let path = format!("{SITE}/site");
        let huge = map(json!({ "reboots": "yes", "more": "x".repeat(300 * 1024) }));
        send(&plane, Method::PATCH, &path, &huge).await?;
        is_blocked(&site, "unanswered", "larger than 256 KiB").await?;
        let other = json!({ "data": { "reboots": null, "more": null } });
        send(&plane, Method::PATCH, &path, &other).await?;
        is_blocked(&site, "unanswered", "there: check the name, and guard").await?;
        send(&plane, Method::DELETE, &path, &Value::Null).await?;
        is_blocked(&site, "unanswered", "it does not exist").await?;
        send(&plane, Method::POST, SITE, &map(json!({ "reboots": "yes" }))).await?;
        site.reboots_once_and_is_given_back().await
    })
}

#[test]
fn ceph_postpones_the_reboot_until_it_is_healthy_even_if_its_kind_is_unknown_at_first() -> Result<()> {
    alone(async || {
        let plane = unguarded_plane(1).await?;
        let mut site = Site::without_agent(&plane, "node-0").await?;
        site.machine.request_reboot()?;
        site.start_agent(&[
            "--blocker-object=ceph.rook.io/v1/CephCluster/default/rook-ceph: self.status.ceph.health != \"HEALTH_OK\"",
        ])
        .await?;
        is_blocked(&site, "unanswered", "the API server has no ceph.rook.io/v1").await?;
        let role = json!({
            "metadata": { "name": "ceph" },
            "rules": [{ "apiGroups": ["ceph.rook.io"], "resources": ["cephclusters"], "verbs": ["get"] }],
        });
        let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
        send(&plane, Method::POST, roles, &role).await?;
        let binding = json!({
            "metadata": { "name": "ceph" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "ceph" },
            "subjects": [{ "kind": "ServiceAccount", "name": AGENT_ACCOUNT, "namespace": NAMESPACE }],
        });
        let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        send(&plane, Method::POST, bindings, &binding).await?;
        let definition = json!({
            "metadata": { "name": "cephclusters.ceph.rook.io" },
            "spec": {
                "group": "ceph.rook.io",
                "scope": "Namespaced",
                "names": { "kind": "CephCluster", "plural": "cephclusters" },
                "versions": [{
                    "name": "v1",
                    "served": true,
                    "storage": true,
                    "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
                }],
            },
        });
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        send(&plane, Method::POST, definitions, &definition).await?;
        is_blocked(&site, "unanswered", "it does not exist").await?;
        let clusters = "/apis/ceph.rook.io/v1/namespaces/default/cephclusters";
        let cluster = json!({
            "apiVersion": "ceph.rook.io/v1",
            "kind": "CephCluster",
            "metadata": { "name": "rook-ceph" },
            "status": { "ceph": { "health": "HEALTH_WARN" } },
        });
        send(&plane, Method::POST, clusters, &cluster).await?;
        is_blocked(
            &site,
            "object",
            "is true of ceph.rook.io/v1/CephCluster/default/rook-ceph",
        )
        .await?;
        let healthy = json!({ "status": { "ceph": { "health": "HEALTH_OK" } } });
        send(&plane, Method::PATCH, &format!("{clusters}/rook-ceph"), &healthy).await?;
        site.reboots_once_and_is_given_back().await
    })
}

#[test]
fn a_budget_that_allows_no_eviction_postpones_the_reboot_by_name_and_nothing_is_evicted_to_find_out()
-> Result<()> {
    alone(async || {
        let plane = unguarded_plane(1).await?;
        let mut site = Site::without_agent(&plane, "node-0").await?;
        site.add_blocked_pod("web").await?;
        site.add_pod("free").await?;
        site.machine.request_reboot()?;
        site.start_agent(&["--preflight"]).await?;
        is_blocked(
            &site,
            "budgets",
            "the budget default/web allows no eviction now (default/web)",
        )
        .await?;
        let waiting = site.wait_phase(Phase::Wanted).await?;
        ensure!(!waiting.spec.unschedulable, "a wish cordoned the node");
        ensure!(!site.is_in_lock().await?, "it took the lock");

        // Asked again and again, it has evicted nothing, not even as a dry run.
        let is_asked = |asked: &&Asked| asked.uri.contains("/poddisruptionbudgets");
        wait::until("the budgets to be read again", REBOOT_TIMEOUT, || async {
            let asked = plane.requests_of_agents()?;
            Ok((asked.iter().filter(is_asked).count() >= 3).then_some(()))
        })
        .await?;
        let asked = plane.requests_of_agents()?;
        let evicts = |asked: &&Asked| asked.uri.contains("/eviction") || asked.uri.contains("dryRun");
        ensure!(!asked.iter().any(|asked| evicts(&asked)), "{asked:?}");
        ensure!(site.has_pod("free").await?, "a pod was evicted");
        site.unblock_pod("web").await?;
        site.reboots_once_and_is_given_back().await
    })
}

#[test]
fn an_alert_and_a_prometheus_that_is_not_there_postpone_the_reboot() -> Result<()> {
    alone(async || {
        let plane = unguarded_plane(1).await?;
        let mut site = Site::without_agent(&plane, "node-0").await?;
        site.machine.request_reboot()?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("--prometheus-url=http://{}", listener.local_addr()?);
        drop(listener);
        site.start_agent(&[&url, "--alert-firing-only"]).await?;
        let line = site.wait_event("blocked").await?;
        ensure!(line["by"] == "unanswered", "{line}");
        let why = line["why"].as_str().unwrap_or_default();
        ensure!(why.contains("check --prometheus-url"), "{line}");

        // At the same port, now with an alert, until it is resolved.
        let fires = Arc::new(AtomicBool::new(true));
        play_prometheus(&url, &fires)?;
        let line = site.wait_nth_event("blocked", 2).await?;
        ensure!(line["by"] == "alerts", "{line}");
        let why = line["why"].as_str().unwrap_or_default();
        ensure!(why.contains("NodeDown"), "{line}");
        let waiting = site.wait_phase(Phase::Wanted).await?;
        ensure!(!waiting.spec.unschedulable, "a wish cordoned the node");
        fires.store(false, Ordering::SeqCst);
        site.reboots_once_and_is_given_back().await
    })
}

/// Answers queries for firing alerts at the port of this flag, for as long as the test runs.
fn play_prometheus(flag: &str, fires: &Arc<AtomicBool>) -> Result<()> {
    let address = flag.rsplit('/').next().unwrap_or_default();
    let listener = TcpListener::bind(address)?;
    let fires = Arc::clone(fires);
    drop(thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                head.push(byte[0]);
            }
            let asks_for_firing = String::from_utf8_lossy(&head).contains("alertstate%3D%22firing%22");
            let alert = r#"{"metric":{"alertname":"NodeDown","alertstate":"firing"},"value":[1,"1"]}"#;
            let result = if asks_for_firing && fires.load(Ordering::SeqCst) {
                alert
            } else {
                ""
            };
            let body =
                format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{result}]}}}}"#);
            let length = body.len();
            // An agent that is gone reads no answer.
            drop(write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            ));
        }
    }));
    Ok(())
}

#[test]
fn outside_of_its_window_a_node_shows_its_wish_and_nothing_else() -> Result<()> {
    alone(async || {
        let plane = unguarded_plane(1).await?;
        let mut site = Site::without_agent(&plane, "node-0").await?;
        site.machine.request_reboot()?;
        // The day after tomorrow, whatever the time zone.
        let today = Timestamp::now().to_zoned(TimeZone::UTC).weekday();
        let day = today.wrapping_add(2).to_sunday_zero_offset();
        site.start_agent(&[&format!("--reboot-days={day}"), "--time-zone=UTC"])
            .await?;
        let line = site.wait_event("blocked").await?;
        ensure!(line["by"] == "outside_window", "{line}");
        let waiting = site.wait_phase(Phase::Wanted).await?;
        ensure!(!waiting.spec.unschedulable, "a wish cordoned the node");
        ensure!(
            !site.is_in_lock().await?,
            "it took the lock outside of its window"
        );
        // Another process with another window goes on from the wish.
        site.machine.terminate_agent().await?;
        site.start_agent(&["--window=* * * * * for 5m"]).await?;
        site.reboots_once_and_is_given_back().await
    })
}

/// Waits until the agent says for the `nth` time that it is blocked, by this.
async fn wait_blocked(site: &Site, nth: usize, by: &str) -> Result<String> {
    let line = site.wait_nth_event("blocked", nth).await?;
    ensure!(line["by"] == by, "{line}");
    let node = site.view().await?;
    ensure!(!node.spec.unschedulable, "a wish cordoned the node: {node:?}");
    ensure!(!site.is_in_lock().await?, "it took the lock: {line}");
    Ok(line["why"].as_str().unwrap_or_default().to_owned())
}

fn label(key: &str, value: Option<&str>) -> Value {
    json!({ "metadata": { "labels": { key: value } } })
}

#[test]
fn what_its_own_node_and_others_show_postpones_the_reboot_until_it_is_gone() -> Result<()> {
    alone(async || {
        let plane = unguarded_plane(2).await?;
        let mut site = Site::without_agent(&plane, "node-0").await?;
        let other = Site::without_agent(&plane, "node-1").await?;
        drop(site.write(&label("role", Some("db"))).await?);
        drop(site.write(&annotate("example.com/hold", Some("yes"))).await?);
        drop(
            other
                .write(&label("nvidia.com/mig.config.state", Some("rebooting")))
                .await?,
        );
        site.machine.request_reboot()?;
        site.start_agent(&[
            "--concurrency=1",
            "--blocking-node-selector=role in (db)",
            "--blocking-node-annotation=example.com/hold=yes",
            "--foreign-reboot=karpenter,nvidia-mig",
        ])
        .await?;
        let why = wait_blocked(&site, 1, "foreign_reboot,node_annotation,node_labels").await?;
        ensure!(why.contains("node-1 (nvidia-mig: label"), "{why}");
        drop(site.write(&label("role", None)).await?);
        drop(site.write(&annotate("example.com/hold", Some("no"))).await?);
        drop(wait_blocked(&site, 2, "foreign_reboot").await?);
        drop(other.write(&label("nvidia.com/mig.config.state", None)).await?);
        site.reboots_once_and_is_given_back().await
    })
}

#[test]
fn the_next_reboot_waits_for_the_interval_and_a_node_that_reboots_in_vain_for_a_person() -> Result<()> {
    alone(async || {
        let plane = unguarded_plane(1).await?;
        let mut site = Site::without_agent(&plane, "node-0").await?;
        site.machine.request_reboot()?;
        site.start_agent(&["--reboots-max=1 within 1h", "--min-interval=1h", "--period=2s"])
            .await?;
        site.reboots_once_and_is_given_back().await?;
        let noted = site.view().await?;
        let ended: Timestamp = noted
            .annotation(keys::REBOOTS)
            .context("no reboot is noted")?
            .parse()?;
        site.machine.request_reboot()?;
        let why = wait_blocked(&site, 1, "min_interval,reboots_max").await?;
        ensure!(why.contains(&format!("the last time at {ended}")), "{why}");
        drop(site.write(&annotate(keys::REBOOTS, None)).await?);
        drop(wait_blocked(&site, 2, "min_interval").await?);
        // As if an hour had gone by.
        let leases: Api<Lease> = Api::namespaced(plane.client(), NAMESPACE);
        let lease = leases.get("cordonhold-default").await?;
        let text = lease
            .annotations()
            .get(keys::LAST_REBOOT)
            .context("no end is noted")?;
        let _: Timestamp = text.parse()?;
        let old = Patch::Merge(annotate(keys::LAST_REBOOT, Some("2026-01-01T00:00:00Z")));
        drop(
            leases
                .patch("cordonhold-default", &PatchParams::default(), &old)
                .await?,
        );
        drop(site.machine.wait_for_reboot(2, REBOOT_TIMEOUT).await?);
        drop(site.wait_over().await?);
        site.machine.check_agent().await
    })
}

#[test]
fn nodes_of_one_zone_go_together_and_another_zone_waits_until_they_are_back() -> Result<()> {
    alone(async || {
        let plane = unguarded_plane(3).await?;
        let zone = "topology.kubernetes.io/zone";
        let mut sites = Vec::new();
        for (name, value) in [("node-0", "a"), ("node-1", "a"), ("node-2", "b")] {
            let site = Site::without_agent(&plane, name).await?;
            drop(site.write(&label(zone, Some(value))).await?);
            site.machine.request_reboot()?;
            sites.push(site);
        }
        let arguments = ["--concurrency=3", "--spread-by=topology.kubernetes.io/zone"];
        let [first, second, other] = &mut sites[..] else {
            unreachable!()
        };
        first.add_blocked_pod("blocked").await?;
        first.start_agent(&arguments).await?;
        drop(first.wait_phase(Phase::Draining).await?);
        second.start_agent(&arguments).await?;
        other.start_agent(&arguments).await?;
        let why = wait_blocked(other, 1, "spread_by").await?;
        ensure!(why.contains("node-0 (topology.kubernetes.io/zone=a)"), "{why}");
        second.reboots_once_and_is_given_back().await?;
        ensure!(
            other.machine.reboots().is_empty(),
            "{:?}",
            other.machine.reboots()
        );
        first.unblock_pod("blocked").await?;
        first.reboots_once_and_is_given_back().await?;
        other.reboots_once_and_is_given_back().await
    })
}
