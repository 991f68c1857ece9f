//! `kubectl cordonhold doctor` on a real control plane: before an install, on a sound installation, and after each of a row of mishaps. And the
//! probe itself: who is answered, and who is denied.
//!
//! Not here: each finding by itself (`shared/src/doctor`).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cordonhold_shared::admission::ProbeAnswer;
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_tests::NAMESPACE;
use cordonhold_tests::control_plane::{ControlPlane, Options};
use cordonhold_tests::install::{WEBHOOK_DEPLOYMENT, install, manifests};
use cordonhold_tests::wait;
use cordonhold_tests::webhook::{Mode, Protection, Webhook};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Secret};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::cluster::{Cluster, alone, on_shared};
use crate::kubectl_plugin::{Plugin, Told, bound};
use crate::stock_kured::Kured;
use crate::subject::{Subject, annotate};
use crate::wire::{self, Write};

/// Longest time until the API server and the controllers have taken a change in.
const SOON: Duration = Duration::from_secs(60);

/// A secret that is planted in the cluster.
const PLANTED: &str = "Zx81-planted-Qy7";

fn probe() -> Value {
    annotate(keys::PROBE, Some("2026-11-30T00:00:00Z a test"))
}

#[test]
fn probe_is_answered_in_a_dry_run_whatever_the_node_is_and_denied_otherwise() -> Result<()> {
    on_shared(async |cluster| {
        let free = Subject::new(cluster, "probe-free").await?;
        let held = Subject::held(cluster, "probe-held", Phase::Delaying).await?;
        for subject in [&free, &held] {
            let target = format!("{}?dryRun=All", subject.name);
            let answer = wire::write(&cluster.controller, &target, Write::Merge, &probe()).await?;
            answer.passed()?;
            let said = answer.warnings.iter().find_map(|warning| {
                let (_, text) = warning.split_once('"')?;
                ProbeAnswer::read(text.trim_end_matches('"'))
            });
            let said = said.with_context(|| format!("nobody has answered: {answer:?}"))?;
            ensure!(said.mode == "enforce" && !said.replica.is_empty(), "{said:?}");
            let denied = subject
                .is_denied(&cluster.controller, Write::Merge, &probe(), "stray-probe")
                .await?;
            ensure!(denied.message().contains("dryRun=All"), "{denied:?}");
            let view = subject.view().await?;
            ensure!(
                view.annotation(keys::PROBE).is_none(),
                "the probe was written: {view:?}"
            );
        }
        // A dry run of an uncordon stays what it is with a probe in it.
        let mut both = probe();
        both["spec"] = json!({ "unschedulable": false });
        let target = format!("{}?dryRun=All", held.name);
        let answer = wire::write(&cluster.controller, &target, Write::Merge, &both).await?;
        answer.denied()?;
        ensure!(answer.message().contains("held: node probe-held"), "{answer:?}");
        // Who may only annotate may ask.
        bound(cluster, "probe-pauser", &["cordonhold-pause"]).await?;
        let plugin = Plugin::new(&cluster.plane)?;
        let told = wait::until("the role to be in force", SOON, || async {
            let told = plugin
                .run(&["doctor", "--as", "probe-pauser", "-o", "wide"])
                .await?;
            Ok(told.text.contains("✓ probe: ").then_some(told))
        })
        .await?;
        told.says(&["probe: the API server reaches replica", "mode enforce"])
    })
}

#[test]
fn doctor_names_each_mishap_with_its_code_and_a_sound_installation_has_no_problem() -> Result<()> {
    alone(async || {
        let plane = ControlPlane::start(Options { nodes: 1 }).await?;
        let plugin = Plugin::new(&plane)?;
        before_the_install(&plugin).await?;
        let rendered = install(&plane, &manifests("base")).await?;
        let webhook = Webhook::start_with(
            &plane,
            Mode::Enforce,
            Protection::OwnHolds,
            &["--instance=replica-0"],
        )
        .await?;
        let mut cluster = Cluster::of(plane, rendered, webhook).await?;
        sound(&plugin).await?;
        viewer(&cluster, &plugin).await?;
        pools(&cluster, &plugin).await?;
        pod_security(&cluster, &plugin).await?;
        kured(&cluster, &plugin).await?;
        report(&cluster, &plugin).await?;
        the_way_to_the_webhook(&mut cluster, &plugin).await
    })
}

async fn before_the_install(plugin: &Plugin) -> Result<()> {
    let told = plugin.run(&["doctor", "--pre"]).await?.ended(0)?;
    told.says(&[
        "✓ API server: v1.",
        "✓ policies: ValidatingAdmissionPolicy is there",
        "✓ permissions: you may create what is to be installed",
        "✓ kured: there is none",
        "✓ Cordonhold: nothing of it is in the cluster",
        "no problem, no warning",
    ])?;
    let told = plugin
        .run(&["doctor", "--pre", "--as", "doctor-nobody"])
        .await?
        .ended(1)?;
    told.says(&[
        "! CH501 permissions: you may not create all of it",
        "needs list daemonsets.apps in the whole cluster",
    ])
}

/// Everything runs that was installed: KWOK plays the pods.
async fn sound(plugin: &Plugin) -> Result<()> {
    let told = wait::until("no problem to be found", SOON, || async {
        let told = plugin.run(&["doctor"]).await?;
        Ok((told.code == Some(0) && !told.text.contains("CH202")).then_some(told))
    })
    .await?;
    told.says(&[
        "✓ webhook: 2 of 2 replicas ready, mode enforce",
        "✓ probe: the API server reaches replica replica-0, version",
        "✓ agents: 1 of 1 ready, in 1 DaemonSet",
        "✓ kured: there is none",
        "✓ permissions: the ServiceAccounts may do what they must",
        "✓ clocks: 1 node and this machine within 30 s of the API server",
        "✓ pod security: level privileged",
    ])?;
    ensure!(!told.text.contains("\n? "), "something was not seen: {told:?}");
    let read = plugin.run(&["doctor", "--no-probe"]).await?.ended(0)?;
    ensure!(!read.text.contains("probe"), "{read:?}");
    Ok(())
}

/// Somebody who may only look is told what was not seen, and which right it takes, and all else.
async fn viewer(cluster: &Cluster, plugin: &Plugin) -> Result<()> {
    bound(cluster, "doctor-viewer", &["cordonhold-view"]).await?;
    let told = wait::until("the role to be in force", SOON, || async {
        let told = plugin.run(&["doctor", "--as", "doctor-viewer"]).await?;
        Ok(told.text.contains("mode enforce").then_some(told))
    })
    .await?
    .ended(0)?;
    told.says(&[
        "✓ webhook: 2 of 2 replicas ready",
        "could not see whether the API server reaches the webhook: needs patch nodes: bind the ClusterRole cordonhold-pause",
        "could not see whether kured is in the cluster: needs list daemonsets.apps in the whole cluster",
        "could not see what the ServiceAccounts may do: needs create subjectaccessreviews",
        "could not see whether pods are refused: needs list events in the namespace cordonhold",
    ])
}

async fn pools(cluster: &Cluster, plugin: &Plugin) -> Result<()> {
    let leases: Api<Lease> = Api::namespaced(cluster.admin.clone(), NAMESPACE);
    for pool in ["one", "two"] {
        let lease = serde_json::from_value(json!({
            "metadata": { "name": format!("{}{pool}", keys::LEASE_PREFIX), "annotations": { keys::POOL_SELECTOR: "" } },
        }))?;
        drop(leases.create(&PostParams::default(), &lease).await?);
    }
    drop(finds(plugin, 1, "CH204 pools one and two: both select 1 node").await?);
    for pool in ["one", "two"] {
        let name = format!("{}{pool}", keys::LEASE_PREFIX);
        drop(leases.delete(&name, &DeleteParams::default()).await?);
    }
    Ok(())
}

async fn pod_security(cluster: &Cluster, plugin: &Plugin) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(cluster.admin.clone());
    for (level, code) in [("baseline", 1), ("privileged", 0)] {
        let label = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": level } } });
        drop(
            namespaces
                .patch(NAMESPACE, &PatchParams::default(), &Patch::Merge(label))
                .await?,
        );
        let told = plugin.run(&["doctor"]).await?.ended(code)?;
        ensure!(told.text.contains("CH304") == (code == 1), "{level}: {told:?}");
    }
    Ok(())
}

/// Sends a JSON patch as an admin.
async fn edit(cluster: &Cluster, uri: &str, edits: &Value) -> Result<()> {
    let request = http::Request::patch(uri)
        .header("Content-Type", "application/json-patch+json")
        .body(edits.to_string().into_bytes())?;
    let edited: Value = cluster
        .admin
        .request(request)
        .await
        .with_context(|| uri.to_owned())?;
    ensure!(edited["metadata"].is_object(), "{edited}");
    Ok(())
}

/// kured comes beside agents that look for it elsewhere, and beside a webhook that does not look for it.
async fn kured(cluster: &Cluster, plugin: &Plugin) -> Result<()> {
    let kured = Kured::install(cluster).await?;
    drop(finds(plugin, 0, "CH206 (warning) kured kube-system/kured").await?);
    let flag = json!([{ "op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--lock-on=lease" }]);
    let agents = format!("/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/{}", keys::AGENTS);
    edit(cluster, &agents, &flag).await?;
    drop(finds(plugin, 1, "CH205 kured kube-system/kured").await?);
    plans(cluster, plugin).await?;
    kured.remove_daemon_set().await
}

/// kured's settings become values that the chart takes, and arguments of the agents.
async fn plans(cluster: &Cluster, plugin: &Plugin) -> Result<()> {
    let sets: Api<DaemonSet> = Api::namespaced(cluster.admin.clone(), "kube-system");
    let args = [
        "--period=20m",
        "--concurrency=2",
        "--reboot-days=sat,sun",
        "--force-reboot",
    ];
    let edits = json!([{ "op": "add", "path": "/spec/template/spec/containers/0/args", "value": args }]);
    edit(
        cluster,
        "/apis/apps/v1/namespaces/kube-system/daemonsets/kured",
        &edits,
    )
    .await?;
    let told = plugin.run(&["migrate", "plan"]).await?.ended(0)?;
    told.says(&[
        "the DaemonSet kube-system/kured",
        "--drain-timeout",
        "advice",
        "mode: mixed",
    ])?;
    let yaml = plugin
        .run(&["migrate", "plan", "-o", "yaml"])
        .await?
        .ended(0)?
        .text;
    let values: Value = serde_saphyr::from_str(&yaml).context("the values are no YAML")?;
    let mut with_images = values.clone();
    with_images["images"] = cordonhold_tests::cluster::values()["images"].clone();
    let objects = crate::chart::rendered_here(&with_images)?;
    let agents = objects
        .iter()
        .find(|object| object["kind"] == "DaemonSet" && object["metadata"]["name"] == keys::AGENTS);
    let rendered =
        agents.context("the chart has no agents")?["spec"]["template"]["spec"]["containers"][0]["args"]
            .to_string();
    for part in ["--period=20m", "--concurrency=2", "sat", "sun", "--force-reboot"] {
        ensure!(rendered.contains(part), "{part} is missing in {rendered}");
    }
    // The same from a file, without a cluster.
    let directory = tempfile::tempdir().context("failed to create a directory")?;
    let file = directory.path().join("kured.yaml");
    let set = json!({ "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": "kured", "namespace": "kube-system" },
        "spec": sets.get("kured").await?.spec });
    std::fs::write(&file, set.to_string())?;
    let place = file.to_str().context("the path is not UTF-8")?;
    let of_file = plugin
        .run(&["migrate", "plan", "-o", "yaml", "--from", place])
        .await?
        .ended(0)?;
    ensure!(of_file.text == yaml, "{of_file:?}");
    plugin
        .run(&["migrate", "plan", "--kured", "ops/none"])
        .await?
        .ended(2)?
        .complains(&["--kured NAMESPACE/NAME"])
}

/// Writes what is secret into all kinds of places.
async fn plant(cluster: &Cluster) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(cluster.admin.clone(), NAMESPACE);
    let secret = json!({ "metadata": { "name": "planted" }, "stringData": { "password": PLANTED } });
    drop(
        secrets
            .create(&PostParams::default(), &serde_json::from_value(secret)?)
            .await?,
    );
    let container = "/spec/template/spec/containers/0";
    let planted = json!([
        { "op": "add", "path": format!("{container}/env/-"), "value": { "name": "API_TOKEN", "value": PLANTED } },
        { "op": "add", "path": format!("{container}/env/-"), "value": { "name": "HOOK", "value": format!("https://hooks.example.org/{PLANTED}") } },
        { "op": "add", "path": "/metadata/annotations/other", "value": PLANTED },
    ]);
    let webhook = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{WEBHOOK_DEPLOYMENT}");
    edit(cluster, &webhook, &planted).await?;
    let nodes: Api<Node> = Api::all(cluster.admin.clone());
    let note = annotate("example.org/credential", Some(PLANTED));
    drop(
        nodes
            .patch("node-0", &PatchParams::default(), &Patch::Merge(note))
            .await?,
    );
    Ok(())
}

/// What is secret in the cluster is not in the archive, wherever it was written.
async fn report(cluster: &Cluster, plugin: &Plugin) -> Result<()> {
    plant(cluster).await?;
    let directory = tempfile::tempdir().context("failed to create a directory")?;
    let file = directory.path().join("report.tar.gz");
    let line = [
        "report",
        "--file",
        file.to_str().context("the path is not UTF-8")?,
    ];
    let told = plugin.run(&line).await?.ended(0)?;
    told.says(&["✓ wrote", "Secrets are not in it"])?;
    let files = unpacked(&file)?;
    for name in [
        "doctor",
        "status",
        "nodes",
        "leases",
        "deployments",
        "daemonsets",
        "pods",
        "validatingwebhookconfigurations",
        "unseen",
    ] {
        let known = files
            .iter()
            .filter(|(path, _)| path.ends_with(&format!("/{name}.json")));
        ensure!(known.count() == 1, "{name} is missing in {:?}", files.keys());
    }
    for (path, content) in &files {
        ensure!(!content.contains(PLANTED), "{path} has the secret: {content}");
    }
    let of = |name: &str| {
        let found = files.iter().find(|(path, _)| path.ends_with(name));
        found.map(|(_, content)| content.as_str()).unwrap_or_default()
    };
    ensure!(
        of("deployments.json").contains("https://hooks.example.org/…"),
        "{}",
        of("deployments.json")
    );
    ensure!(of("nodes.json").contains("node-0"), "{}", of("nodes.json"));
    let doctor: Value = serde_json::from_str(of("doctor.json"))?;
    ensure!(
        doctor["fine"].is_array() && doctor["time"].is_string(),
        "{doctor}"
    );
    // What is there is not overwritten.
    plugin
        .run(&line)
        .await?
        .ended(2)?
        .complains(&["failed to write", "--file"])
}

/// The files of an archive by their paths.
fn unpacked(file: &Path) -> Result<BTreeMap<String, String>> {
    let packed = std::fs::File::open(file).context("the report is not there")?;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
    let mut files = BTreeMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.display().to_string();
        let mut content = String::new();
        let _ = std::io::Read::read_to_string(&mut entry, &mut content)?;
        drop(files.insert(path, content));
    }
    Ok(files)
}

/// The API server's own word: without a process behind the address, with another CA, without conditions, and without the configuration.
async fn the_way_to_the_webhook(cluster: &mut Cluster, plugin: &Plugin) -> Result<()> {
    let stranger = cordonhold_certs_dev::issue(&["127.0.0.1".to_owned()])?.ca_bundle();
    let register = async |cluster: &Cluster, bundle: &str| {
        let origin = cluster.webhook.origin();
        cluster
            .rendered
            .register_webhook(&cluster.admin, &origin, Some(bundle))
            .await
    };
    register(cluster, &stranger).await?;
    let told = finds(
        plugin,
        1,
        "CH104 probe: the API server does not trust the certificate",
    )
    .await?;
    told.says(&[
        "cordonhold-tests",
        "x509",
        "kubectl -n cordonhold logs deployment/cordonhold-certs",
    ])?;
    register(cluster, cluster.webhook.ca_bundle()).await?;
    drop(finds(plugin, 0, "✓ probe").await?);

    cluster.webhook.kill();
    let told = finds(plugin, 1, "CH107 probe: the API server cannot reach the webhook").await?;
    told.says(&["connection refused"])?;
    cluster.webhook.start_again().await?;

    let configurations: Api<ValidatingWebhookConfiguration> = Api::all(cluster.admin.clone());
    // As an older configuration has it: nothing of the probe.
    let expression = json!([{ "op": "replace", "path": "/webhooks/0/matchConditions", "value": [{ "name": "never", "expression": "false" }] }]);
    let configuration = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/cordonhold";
    edit(cluster, configuration, &expression).await?;
    drop(finds(plugin, 1, "CH108 probe: the API server let a dry run pass").await?);

    drop(
        configurations
            .delete("cordonhold", &DeleteParams::default())
            .await?,
    );
    drop(finds(plugin, 1, "CH101 webhook: its configuration is gone").await?);
    Ok(())
}

/// Waits until `doctor` says this and ends so.
async fn finds(plugin: &Plugin, code: i32, says: &str) -> Result<Told> {
    wait::until(&format!("doctor to say {says:?}"), SOON, || async {
        let told = plugin.run(&["doctor", "-o", "wide"]).await?;
        Ok((told.code == Some(code) && told.text.contains(says)).then_some(told))
    })
    .await
}
