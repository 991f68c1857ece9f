//! The chart by Helm itself: what it renders is what our own reader renders and what kustomize makes of the components, the API server takes it,
//! and a release is installed, refused and removed.
//!
//! Not here: what the objects mean (`cordonhold-manifests`), and what they do (the other tests, which install them by kustomize).

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use cordonhold_manifests::chart::{self, Release};
use cordonhold_manifests::install;
use cordonhold_manifests::kustomize::{self, MODES};
use cordonhold_manifests::values::{Values, put_over};
use cordonhold_release::VERSION;
use cordonhold_release::program::PROGRAMS;
use cordonhold_release::push::repository::Repository;
use cordonhold_release::release::{Pinned, files, image_values};
use cordonhold_tests::cluster::{self, Cluster};
use cordonhold_tests::control_plane::{ControlPlane, Options};
use cordonhold_tests::gitops::{self, Capabilities};
use cordonhold_tests::helm::{self, Helm};
use cordonhold_tests::identity::Identity;
use cordonhold_tests::install::{Rendered, manifests};
use cordonhold_tests::{NAMESPACE, tree};
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::cluster::{alone, on_shared};
use crate::manifests::{add_overlay, is_same, is_taken};
use crate::uninstall::{ACCOUNT, nothing_is_left};

/// Values that together use each branch of the templates.
fn matrix() -> Vec<Value> {
    let kured = json!({"namespace": "care", "name": "reboots-kured"});
    vec![
        json!({}),
        json!({"webhook": {"mode": "enforce"}, "namespace": {"create": true}}),
        json!({"mode": "protect-kured", "kured": kured, "webhook": {"onDelete": "deny", "failurePolicy": "Ignore"}}),
        json!({"mode": "protect-kured", "kured": {"foundBy": "webhook"}, "namespace": {"create": true}}),
        json!({"mode": "mixed", "kured": kured, "configuration": {"lockAnnotation": "example.com/node-lock"}}),
        json!({"mode": "agents-only", "agent": {"lockOnDaemonset": true}, "kured": {"foundBy": "webhook"}}),
        json!({"mode": "agents-only", "webhook": {"mode": "defer", "deferBy": "policy"}}),
        json!({"webhook": {"mode": "defer"}}),
        json!({"webhook": {"mode": "defer", "deferBy": "policy"}}),
        json!({"mode": "mixed", "kured": kured, "webhook": {"mode": "defer", "deferBy": "both"}}),
        json!({"webhook": {
            "exempt": {"users": ["cluster-api", "it's \"me\""], "groups": ["break-glass"]}, "mode": "defer", "deferBy": "both",
            "modeFor": {"kured-marked": "warn"}, "modeForUser": {"system:serviceaccount:gpu:driver": "enforce"}, "modeForGroup": {"ops": "audit"},
        }}),
        json!({"webhook": {"hostNetwork": true, "port": 10260, "replicas": 3, "extraArgs": ["--no-events"], "extraEnv": [{"name": "A", "value": "b"}],
            "nodeSelector": {"a": "b"}, "tolerations": [{"key": "x", "operator": "Exists"}], "priorityClassName": "", "podAnnotations": {"a": "1"},
            "podLabels": {"b": "2"}, "annotations": {"c": "3"}, "configurationAnnotations": {"admissions.enforcer/disabled": "true"},
            "service": {"annotations": {"d": "4"}}, "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
            "extraVolumes": [{"name": "v", "emptyDir": {}}], "extraVolumeMounts": [{"name": "v", "mountPath": "/v"}],
            "extraContainers": [{"name": "beside", "image": "example.com/beside:1"}]}}),
        json!({"agent": {"nodeSelector": {"a": "b"}, "nodeExpressions": [{"key": "k", "operator": "Exists"}], "tolerations": [{"key": "x", "operator": "Exists"}],
            "priorityClassName": "", "podAnnotations": {"a": "1"}, "podLabels": {"b": "2"}, "annotations": {"c": "3"}, "extraArgs": ["--log-format=json"],
            "extraEnv": [{"name": "A", "value": "b"}], "extraVolumes": [{"name": "v", "emptyDir": {}}], "extraVolumeMounts": [{"name": "v", "mountPath": "/v"}],
            "extraContainers": [{"name": "beside", "image": "example.com/beside:1"}], "extraInitContainers": [{"name": "before", "image": "example.com/before:1"}],
            "updateStrategy": {"type": "OnDelete"}}}),
        json!({"images": {"webhook": {"repository": "r.example/w", "tag": "1"}, "agent": {"repository": "r.example/a", "digest": "sha256:0", "pullPolicy": "Always"},
            "pullSecrets": [{"name": "pull"}]}, "platform": {"anyUser": true, "criticalPodsQuota": 100}, "people": {"override": {"groups": ["oncall"], "users": ["alice"]}, "pause": {"groups": ["oncall"]}, "aggregateToView": false}}),
        json!({"configuration": {"rebootMethod": "logind", "volumeDetachTimeout": "5m", "nodeConditions": true}}),
        json!({"configuration": {"rebootMethod": "signal"}, "agent": {"extraVolumes": [{"name": "v", "emptyDir": {}}], "extraVolumeMounts": [{"name": "v", "mountPath": "/v"}]}}),
        json!({"configuration": {"rebootDays": ["sat", "sun"], "forceReboot": true, "annotateNodes": false, "lockTtl": "", "concurrency": 3, "drainGracePeriod": 45,
            "metricsPort": 9102, "metricsHost": "0.0.0.0", "messageTemplateDrain": "Drain of %s: \"begins\"", "rebootSentinelCommand": "sh -c \"exit $((1))\""}}),
        json!({"configuration": {"concurrency": "10%"}, "pools": [
            {"name": "control-plane", "nodeLabel": "node-role.kubernetes.io/control-plane", "configuration": {"concurrency": 1}},
            {"name": "gpu", "nodeLabel": "example.com/pool", "nodeLabelValue": "gpu"}]}),
        json!({"configuration": {"forceReboot": true, "maxUnavailable": 3}, "pools": [{"name": "quiet", "nodeLabel": "example.com/quiet",
            "configuration": {"forceReboot": false, "maxUnavailable": 0, "volumeDetachTimeout": "5m", "nodeConditions": true, "messageTemplateDrain": "", "blockerPromql": ["up == 0", 1_234_567]}}]}),
        json!({"webhook": {"mode": "warn", "modeFor": {"held": "enforce"}, "onDelete": "deny"}}),
        json!({"webhook": {"mode": "enforce", "modeForUser": {"alice": "defer"}}}),
        json!({"mode": "protect-kured", "kured": {"namespace": "care", "name": "1234567"}, "webhook": {"hostNetwork": true, "port": 10260, "adminPort": 10261}, "namespace": {"create": true}}),
        json!({"events": {"onlyInDefault": true}, "networkPolicy": {"enabled": true, "apiServer": [{"ipBlock": {"cidr": "10.0.0.1/32"}}]}}),
        json!({"tls": {"source": "cert-manager", "secretName": "other"}}),
        json!({"tls": {"source": "cert-manager", "certManager": {"issuerRef": {"kind": "ClusterIssuer", "name": "your-ca"}}}, "webhook": {"mode": "defer"}}),
        json!({"uninstall": {"enabled": false}}),
        json!({"policy": {"enabled": true}}),
        json!({"policy": {"enabled": true}, "webhook": {"mode": "warn"}}),
        json!({"policy": {"enabled": true}, "mode": "agents-only", "webhook": {"mode": "enforce", "onDelete": "deny"}}),
        json!({"policy": {"enabled": true}, "webhook": {"mode": "defer", "deferBy": "both", "onDelete": "deny", "exempt": {"users": ["cluster-api"], "groups": ["break-glass"]}}}),
        json!({"mode": "mixed", "kured": kured, "configuration": {"lockAnnotation": "example.com/node-lock"},
            "uninstall": {"timeout": "5m", "deadHolds": "give-back"}, "webhook": {"tolerations": [{"key": "x", "operator": "Exists"}],
            "nodeSelector": {"a": "b"}, "priorityClassName": ""}, "pools": [{"name": "gpu", "nodeLabel": "example.com/pool"}],
            "images": {"pullSecrets": [{"name": "pull"}], "webhook": {"pullPolicy": "Always"}}, "platform": {"anyUser": true}}),
        json!({"monitoring": {"podMonitor": {"enabled": true, "labels": {"a": "b"}, "namespace": "watch"}, "rules": {"enabled": true, "labels": {"a": "b"}}, "dashboard": {"enabled": true}}}),
    ]
}

/// A release of our chart in the namespace of the tests.
fn release<'a>(chart: &'a std::path::Path, values: &'a str) -> helm::Release<'a> {
    helm::Release {
        chart,
        name: "any",
        namespace: NAMESPACE,
        values,
    }
}

/// The objects that our own reader renders.
pub(crate) fn rendered_here(values: &Value) -> Result<Vec<Value>> {
    let values = Values::with(values.clone()).context("these are no values")?;
    let release = Release {
        name: "any".to_owned(),
        namespace: NAMESPACE.to_owned(),
    };
    let mut objects = Vec::new();
    for file in chart::render(&values, &release)? {
        objects.extend(file.objects()?);
    }
    Ok(objects)
}

#[tokio::test]
async fn helm_renders_what_our_own_reader_renders() -> Result<()> {
    let (helm, chart) = (Helm::new()?, manifests("chart"));
    for values in matrix() {
        let text = values.to_string();
        let release = release(&chart, &text);
        let by_helm = helm.template(&release, &[]).await?;
        is_same(&rendered_here(&values)?, by_helm.objects()).with_context(|| text.clone())?;
        helm.lint(&release).await.with_context(|| text.clone())?;
    }
    Ok(())
}

/// `kubectl cordonhold install` needs no Helm, and applies what Helm would, but for the Job that only Helm runs.
#[tokio::test]
async fn the_plugin_installs_what_helm_renders() -> Result<()> {
    let (helm, chart) = (Helm::new()?, manifests("chart"));
    for values in matrix() {
        let mut of_helm = json!({"namespace": {"create": true}, "uninstall": {"enabled": false}});
        put_over(&mut of_helm, values.clone());
        let text = of_helm.to_string();
        let by_helm = helm.template(&release(&chart, &text), &[]).await?;
        let is_hook = |object: &&Value| !object["metadata"]["annotations"]["helm.sh/hook"].is_null();
        let expected: Vec<Value> = by_helm
            .objects()
            .iter()
            .filter(|object| !is_hook(object))
            .cloned()
            .collect();
        is_same(&install::objects(&values, NAMESPACE)?, &expected).with_context(|| text.clone())?;
    }
    Ok(())
}

/// What people download: the chart of a release and its manifests for each mode have the same objects.
#[tokio::test]
async fn helm_renders_the_packed_chart_of_a_release_like_its_manifests() -> Result<()> {
    let repository: Repository = "registry.example/team".parse().map_err(anyhow::Error::msg)?;
    let images = PROGRAMS.iter().filter(|program| program.image.is_some());
    let pinned: Vec<Pinned> = images
        .map(|program| Pinned {
            program: program.name,
            repository: repository.join(program.name).to_string(),
            digest: format!("sha256:{}", "a".repeat(64)),
        })
        .collect();
    let files = files(&pinned, &repository)?;
    let find = |name: String| {
        let file = files.iter().find(|file| file.name == name);
        file.with_context(|| format!("a release has no {name}"))
    };
    let directory = tempfile::tempdir().context("failed to create a directory")?;
    let packed = find(format!("cordonhold-{VERSION}.tgz"))?;
    packed.store(directory.path())?;
    let chart = directory.path().join(&packed.name);
    let helm = Helm::new()?;
    for mode in &MODES {
        let mut with = (mode.values)();
        with["images"] = image_values(&pinned);
        let values = serde_json::to_string(&kustomize::values(with)?)?;
        let by_helm = helm.template(&release(&chart, &values), &[]).await?;
        let manifest = find(format!("install-{}.yaml", mode.name))?;
        let manifest = Rendered::from_yaml(std::str::from_utf8(&manifest.content)?)?;
        is_same(by_helm.objects(), manifest.objects()).context(mode.name)?;
    }
    // Without any value, the images are those of the release.
    let by_helm = helm.template(&release(&chart, "{}"), &[]).await?;
    let agents = by_helm
        .objects()
        .iter()
        .find(|object| object["kind"] == "DaemonSet");
    let image = agents.and_then(|agents| agents.pointer("/spec/template/spec/containers/0/image"));
    ensure!(
        image
            == Some(&json!(format!(
                "registry.example/team/cordonhold-agent:{VERSION}"
            ))),
        "{image:?}"
    );
    Ok(())
}

#[test]
fn a_strict_api_server_takes_what_the_chart_renders() -> Result<()> {
    on_shared(async |cluster| {
        for values in matrix() {
            let mut objects = rendered_here(&values)?;
            // Kinds of others, which this API server does not have.
            objects.retain(|object| {
                let version = object["apiVersion"].as_str().unwrap_or_default();
                !version.starts_with("cert-manager.io/") && !version.starts_with("monitoring.coreos.com/")
            });
            for object in &mut objects {
                // An apply would merge these with the installed ones.
                if ["Deployment", "DaemonSet", "Job"].contains(&object["kind"].as_str().unwrap_or_default()) {
                    object["metadata"]["name"] = json!("cordonhold-dry");
                }
            }
            is_taken(cluster, objects)
                .await
                .with_context(|| values.to_string())?;
        }
        Ok(())
    })
}

/// Each component, alone and with others, is what a value makes of the chart.
#[test]
fn the_components_of_kustomize_are_the_values_of_the_chart() -> Result<()> {
    on_shared(async |cluster| {
        let copy = tempfile::tempdir().context("failed to create a directory")?;
        tree::copy(&manifests(""), copy.path())?;
        // The way of each mode, and what people may put around it.
        let modes = MODES.iter().map(|mode| {
            let kustomization = format!("resources: [../../{}]\n", mode.folder);
            (kustomization, (mode.values)())
        });
        let others = kustomizations().into_iter();
        let others = others.map(|(kustomization, values)| (kustomization.to_owned(), values));
        for (kustomization, values) in modes.chain(others) {
            let directory = add_overlay(copy.path(), "chosen", &kustomization)?;
            let by_kustomize = Rendered::from_directory(&cluster.plane.assets().kubectl, &directory).await?;
            let values = kustomize::values(values).context("these are no values")?;
            let mut by_us = rendered_here(&serde_json::to_value(&values)?)?;
            let mut by_kustomize = by_kustomize.objects().to_vec();
            for object in by_us.iter_mut().chain(&mut by_kustomize) {
                sort(object);
                // kustomize takes these for objects of a namespace. The API server drops the field.
                if object["kind"]
                    .as_str()
                    .is_some_and(|kind| kind.contains("AdmissionPolicy"))
                    && let Some(metadata) = object["metadata"].as_object_mut()
                {
                    drop(metadata.remove("namespace"));
                }
            }
            is_same(&by_kustomize, &by_us).context(kustomization)?;
        }
        Ok(())
    })
}

fn kustomizations() -> Vec<(&'static str, Value)> {
    vec![
        (
            "resources: [../../overlays/lock-on-daemonset]\n",
            json!({"agent": {"lockOnDaemonset": true}}),
        ),
        (
            "resources: [../../base]\ncomponents: [../../components/defer, ../../components/defer-by-policy]\n",
            json!({"webhook": {"mode": "defer", "deferBy": "both"}}),
        ),
        (
            "resources: [../../overlays/protect-kured]\ncomponents: [../../components/defer-by-policy, ../../components/refuse-delete]\n",
            json!({"mode": "protect-kured", "webhook": {"mode": "defer", "deferBy": "policy", "onDelete": "deny"}}),
        ),
        (
            "resources: [../../overlays/protect-kured]\ncomponents: [../../components/audit, ../../components/network-policy, ../../components/cert-manager]\n",
            json!({"mode": "protect-kured", "webhook": {"mode": "audit"}, "networkPolicy": {"enabled": true}, "tls": {"source": "cert-manager"}}),
        ),
        (
            "resources: [../../overlays/agent-alone]\ncomponents: [../../components/defer-by-policy]\n",
            json!({"mode": "agents-only", "webhook": {"mode": "defer", "deferBy": "policy"}}),
        ),
        (
            "resources: [../../base]\ncomponents: [../../components/reboot-by-logind, ../../components/node-conditions, ../../components/volume-detach]\n",
            json!({"configuration": {"rebootMethod": "logind", "nodeConditions": true, "volumeDetachTimeout": "5m"}}),
        ),
        (
            "resources: [../../base]\ncomponents: [../../components/policy, ../../components/policy-refuse-delete, ../../components/defer]\n",
            json!({"policy": {"enabled": true}, "webhook": {"mode": "defer", "onDelete": "deny"}}),
        ),
        (
            "resources: [../../overlays/agent-alone]\ncomponents: [../../components/policy]\n",
            json!({"mode": "agents-only", "policy": {"enabled": true}}),
        ),
        (
            "resources: [../../base]\ncomponents: [../../components/reboot-by-signal, ../../components/events-in-default]\n",
            json!({"configuration": {"rebootMethod": "signal"}, "events": {"onlyInDefault": true}}),
        ),
        (
            "resources: [../../overlays/lock-on-daemonset]\ncomponents: [../../components/uninstall]\n",
            json!({"agent": {"lockOnDaemonset": true}, "uninstall": {"enabled": true}}),
        ),
    ]
}

/// The order of flags and of rules means nothing, and components append theirs in their own order.
fn sort(object: &mut Value) {
    for list in ["/spec/template/spec/containers/0/args", "/rules"] {
        if let Some(list) = object.pointer_mut(list).and_then(Value::as_array_mut) {
            list.sort_by_key(Value::to_string);
        }
    }
}

#[tokio::test]
async fn helm_unittest_runs_the_charts_own_tests() -> Result<()> {
    let said = helm::unittest(&manifests("chart")).await?;
    ensure!(said.contains("passed"), "{said}");
    Ok(())
}

/// Argo CD renders the chart by `helm template`, so it must be told where kured is.
#[test]
fn argo_cd_renders_the_chart_as_helm_does() -> Result<()> {
    on_shared(async |cluster| {
        let (helm, chart) = (Helm::new()?, manifests("chart"));
        let knows = Capabilities::of(&cluster.admin).await?;
        let values =
            json!({"mode": "protect-kured", "kured": {"namespace": "care", "name": "reboots-kured"}});
        let text = values.to_string();
        let by_argo = gitops::argo_helm(&helm, &release(&chart, &text), &knows).await?;
        is_same(by_argo.objects(), &rendered_here(&values)?)?;
        let unsaid = json!({"mode": "protect-kured"}).to_string();
        let refused = gitops::argo_helm(&helm, &release(&chart, &unsaid), &knows).await;
        says(refused, "set kured.namespace and kured.name")
    })
}

/// Checks that the error says this.
fn says<T: std::fmt::Debug>(result: Result<T>, what: &str) -> Result<()> {
    let Err(error) = result else {
        bail!("nothing says {what}")
    };
    let said = format!("{error:#}");
    ensure!(said.contains(what), "{said}");
    Ok(())
}

/// Where helm can ask the cluster, kured need not be named: it is found by its label, whatever its release is called.
#[test]
fn found_p8_a2_helm_finds_kured_or_says_who_might_be_it() -> Result<()> {
    alone(async || {
        let plane = ControlPlane::start(Options { nodes: 0 }).await?;
        let (helm, chart) = (Helm::new()?, manifests("chart"));
        let kubeconfig = plane.kubeconfig(Identity::Admin);
        let values = json!({"mode": "protect-kured"}).to_string();
        let release = release(&chart, &values);
        let asks = ["--dry-run=server", "--hide-notes"];
        says(
            helm.install(&kubeconfig, &release, &asks).await,
            "0 in this cluster look like it",
        )?;

        add_kured(&plane, "reboots-kured").await?;
        let rendered = helm.install(&kubeconfig, &release, &asks).await?;
        for argument in ["--ds-namespace=default", "--ds-name=reboots-kured"] {
            ensure!(
                rendered.contains(argument),
                "{argument} is missing in: {rendered}"
            );
        }
        add_kured(&plane, "second-kured").await?;
        let said = helm.install(&kubeconfig, &release, &asks).await;
        says(said, "default/reboots-kured, default/second-kured")
    })
}

async fn add_kured(plane: &ControlPlane, name: &str) -> Result<()> {
    let set: DaemonSet = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "kured"}},
        "spec": {
            "selector": {"matchLabels": {"a": name}},
            "template": {
                "metadata": {"labels": {"a": name}},
                "spec": {"serviceAccountName": name, "containers": [{"name": "kured", "image": "example.com/kured:1"}]},
            },
        },
    }))?;
    let sets: Api<DaemonSet> = Api::default_namespaced(plane.client());
    drop(sets.create(&PostParams::default(), &set).await?);
    Ok(())
}

/// The names of our objects do not follow the release, so a cluster has one release: a second one is refused before anything is changed. From
/// mode to mode only what the new one has is left, and an uninstall leaves nothing.
#[test]
fn a_second_release_is_refused_and_from_mode_to_mode_nothing_is_left_over() -> Result<()> {
    alone(async || {
        let cluster = Cluster::start(1).await?;
        let plane = &cluster.plane;
        let (helm, chart) = (Helm::new()?, manifests("chart"));
        let kubeconfig = plane.kubeconfig(Identity::Admin);
        let values = json!({"webhook": {"mode": "defer", "deferBy": "both"}, "networkPolicy": {"enabled": true}, "platform": {"criticalPodsQuota": 9},
            "monitoring": {"dashboard": {"enabled": true}}, "pools": [{"name": "gpu", "nodeLabel": "gpu"}]});
        let values = with_images(&values);
        let first = release(&chart, &values);
        let said = helm.install(&kubeconfig, &first, &[]).await?;
        for word in [
            "mode           agents",
            "webhook        defer",
            "rollout status deployment/cordonhold-webhook",
        ] {
            ensure!(said.contains(word), "the notes lack {word:?}: {said}");
        }
        let second = helm::Release {
            name: "another",
            namespace: "elsewhere",
            ..first
        };
        says(
            helm.install(&kubeconfig, &second, &[]).await,
            "cannot be imported into the current release",
        )?;
        let kured = json!({"namespace": "care", "name": "kured"});
        for values in [
            json!({"webhook": {"mode": "enforce"}, "tls": {"source": "secret"}}),
            json!({"mode": "protect-kured", "kured": kured}),
            json!({"mode": "mixed", "kured": kured}),
            json!({"mode": "agents-only"}),
            // Without any value Helm takes those of the last time.
            json!({"mode": "agents"}),
        ] {
            let text = with_images(&values);
            drop(helm.upgrade(&kubeconfig, &release(&chart, &text), &[]).await?);
            let mut expected: BTreeSet<(String, String)> =
                rendered_here(&values)?.iter().map(identity).collect();
            // The hook is there only while it runs.
            expected.retain(|(_, name)| name != ACCOUNT);
            let mut is_there = ours(plane).await?;
            // The agents made it; it goes with the uninstall.
            let _: bool = is_there.remove(&("Lease".to_owned(), "cordonhold-default".to_owned()));
            ensure!(is_there == expected, "{text}: {is_there:?}");
        }
        drop(helm.uninstall(&kubeconfig, &first, &[]).await?);
        let left = ours(plane).await?;
        ensure!(left.is_empty(), "{left:?}");
        nothing_is_left(&plane.client()).await
    })
}

/// These values, and the images of the cluster.
fn with_images(values: &Value) -> String {
    let mut values = values.clone();
    values["images"] = cluster::values()["images"].clone();
    values.to_string()
}

fn identity(object: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// Kind and name of all objects of ours that the chart can make.
async fn ours(plane: &ControlPlane) -> Result<BTreeSet<(String, String)>> {
    let kinds = "validatingwebhookconfigurations,mutatingwebhookconfigurations,mutatingadmissionpolicies,mutatingadmissionpolicybindings,\
                 validatingadmissionpolicies,validatingadmissionpolicybindings,clusterroles,clusterrolebindings,roles,rolebindings,\
                 serviceaccounts,deployments,daemonsets,services,networkpolicies,resourcequotas,configmaps,jobs,leases";
    let mut command = plane.kubectl(Identity::Admin);
    let output = command
        .args(["get", kinds, "--all-namespaces", "-o", "json"])
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let list: Value = serde_json::from_slice(&output.stdout).context("kubectl prints JSON")?;
    let items = list["items"].as_array().into_iter().flatten().map(identity);
    Ok(items.filter(|(_, name)| name.contains("cordonhold")).collect())
}

/// Everything of the uninstall exists only while Helm runs it; nothing of it is in what kustomize installs.
#[test]
fn the_uninstall_is_a_hook_before_the_deletion_and_nothing_else() -> Result<()> {
    let named = |values: &Value| -> Result<Vec<Value>> {
        let mut objects = rendered_here(values)?;
        objects.retain(|object| object["metadata"]["name"] == ACCOUNT);
        Ok(objects)
    };
    let hooks = named(&json!({}))?;
    ensure!(hooks.len() == 6, "{hooks:?}");
    for object in hooks {
        let annotations = &object["metadata"]["annotations"];
        ensure!(annotations["helm.sh/hook"] == "pre-delete", "{object}");
        let policy = &annotations["helm.sh/hook-delete-policy"];
        ensure!(policy == "before-hook-creation,hook-succeeded", "{object}");
        let runs_last = annotations["helm.sh/hook-weight"] == "0";
        ensure!(runs_last == (object["kind"] == "Job"), "{object}");
    }
    let off = named(&json!({"uninstall": {"enabled": false}}))?;
    ensure!(off.is_empty(), "{off:?}");
    let base = kustomize::files()?;
    let base: Vec<_> = base
        .iter()
        .filter(|file| file.name.starts_with("base/"))
        .collect();
    ensure!(
        !base.is_empty() && base.iter().all(|file| !file.text.contains(ACCOUNT)),
        "{base:?}"
    );
    Ok(())
}
