//! The manifests on a real API server: they work in any namespace, no field is misspelt, and the agent has exactly the permissions
//! that it needs.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cordonhold_tests::certificates::{self, Certs};
use cordonhold_tests::control_plane::{ControlPlane, Options};
use cordonhold_tests::identity::Identity;
use cordonhold_tests::install::{Rendered, manifests};
use cordonhold_tests::wait;
use cordonhold_tests::webhook::http_get;
use cordonhold_tests::{NAMESPACE, tree};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::cluster::{Cluster, alone, on_shared};

pub(crate) const ELSEWHERE: &str = "elsewhere";
/// Longest run of kubectl. It first reads the API groups, which takes seconds on a busy machine; and a namespace with pods that really run is
/// deleted once they have ended, which takes up to their grace period, 30 s, and the namespace controller's next look.
const KUBECTL_TIMEOUT: Duration = Duration::from_mins(2);
/// Longest time until `certs` has written its CA. On an idle machine it takes a second.
const CERTS_TIMEOUT: Duration = Duration::from_secs(30);

/// The kustomizations that people render: the base, the overlays, and the base with each component.
pub(crate) const VARIANTS: [&str; 22] = [
    "resources: [../../base]\n",
    "resources: [../../overlays/protect-kured]\n",
    "resources: [../../overlays/agent-alone]\n",
    "resources: [../../overlays/kured-beside-agents]\n",
    "resources: [../../overlays/lock-on-daemonset]\n",
    "resources: [../../overlays/node-conditions]\n",
    "resources: [../../base]\ncomponents: [../../components/refuse-delete]\n",
    "resources: [../../base]\ncomponents: [../../components/audit]\n",
    "resources: [../../base]\ncomponents: [../../components/own-certificate]\n",
    "resources: [../../base]\ncomponents: [../../components/defer]\n",
    "resources: [../../base]\ncomponents: [../../components/defer, ../../components/defer-by-policy]\n",
    "resources: [../../overlays/protect-kured]\ncomponents: [../../components/defer-by-policy]\n",
    "resources: [../../overlays/agent-alone]\ncomponents: [../../components/defer-by-policy]\n",
    "resources: [../../base]\ncomponents: [../../components/policy]\n",
    "resources: [../../overlays/agent-alone]\ncomponents: [../../components/policy]\n",
    "resources: [../../base]\ncomponents: [../../components/policy, ../../components/policy-refuse-delete, ../../components/defer]\n",
    "resources: [../../base]\ncomponents: [../../components/volume-detach]\n",
    "resources: [../../base]\ncomponents: [../../components/network-policy]\n",
    "resources: [../../base]\ncomponents: [../../components/reboot-by-logind]\n",
    "resources: [../../base]\ncomponents: [../../components/reboot-by-signal]\n",
    "resources: [../../base]\ncomponents: [../../components/reboot-by-logind, ../../components/node-conditions]\n",
    "resources: [../../base]\ncomponents: [../../components/protect-kured, ../../components/network-policy]\n",
];

/// Renders each variant with kustomize's `namespace:`, in an overlay around it or in its own kustomization, as Flux'
/// `targetNamespace` and Argo CD's `kustomize.namespace` do. Each object stays the same except for its namespace.
#[test]
fn found_e4_each_variant_renders_right_under_a_namespace() -> Result<()> {
    on_shared(async |cluster| {
        let copy = tempfile::tempdir().context("failed to create a directory")?;
        tree::copy(&manifests(""), copy.path())?;
        let kubectl = &cluster.plane.assets().kubectl;
        let render = async |name: &str, text: &str| -> Result<Vec<Value>> {
            let directory = add_overlay(copy.path(), name, text)?;
            let rendered = Rendered::from_directory(kubectl, &directory).await?;
            Ok(rendered.objects().to_vec())
        };
        for variant in VARIANTS {
            let plain = render("plain", variant).await?;
            ensure!(
                plain
                    .iter()
                    .any(|object| object["metadata"]["namespace"] == NAMESPACE),
                "{variant}"
            );
            let expected: Vec<Value> = plain.into_iter().map(moved).collect();
            let within = render("within", &format!("namespace: {ELSEWHERE}\n{variant}")).await?;
            is_same(&within, &expected).with_context(|| variant.to_owned())?;
            let around = render(
                "around",
                &format!("namespace: {ELSEWHERE}\nresources: [../plain]\n"),
            )
            .await?;
            is_same(&around, &expected).with_context(|| format!("around {variant}"))?;
        }
        let documented = documented_overlay("namespace: elsewhere")?;
        let expected: Vec<Value> = render("plain", VARIANTS[0])
            .await?
            .into_iter()
            .map(moved)
            .collect();
        is_same(&render("documented", &documented).await?, &expected)
    })
}

/// Events about Nodes are in the namespace `default`. With the component `events-in-default`, agent and webhook may write Events
/// only there.
#[test]
fn found_s14_events_can_be_written_in_default_alone() -> Result<()> {
    on_shared(async |cluster| {
        let copy = tempfile::tempdir().context("failed to create a directory")?;
        let narrowed = "resources: [../../base]\ncomponents: [../../components/events-in-default]\n";
        let directory = overlay(copy.path(), "narrowed", narrowed)?;
        let rendered = Rendered::from_directory(&cluster.plane.assets().kubectl, &directory).await?;
        let objects = rendered.objects();
        for name in ["cordonhold-agent-events", "cordonhold-webhook-events"] {
            ensure!(
                find(objects, "ClusterRoleBinding", name).is_none(),
                "{name} is for all namespaces"
            );
            let binding =
                find(objects, "RoleBinding", name).with_context(|| format!("no RoleBinding {name}"))?;
            ensure!(
                binding["metadata"]["namespace"] == "default"
                    && binding["subjects"][0]["namespace"] == NAMESPACE,
                "{binding}"
            );
        }
        is_taken(cluster, objects.to_vec()).await
    })
}

/// The object as it must be in another namespace: its own namespace, the subjects of a binding, the Service of a webhook.
fn moved(mut object: Value) -> Value {
    let elsewhere = json!(ELSEWHERE);
    // kustomize takes these for objects of a namespace. The API server drops the field.
    let is_unknown = object["kind"]
        .as_str()
        .is_some_and(|kind| kind.contains("AdmissionPolicy"));
    if is_unknown || object["metadata"]["namespace"] == NAMESPACE {
        object["metadata"]["namespace"] = elsewhere.clone();
    }
    if object["kind"] == "Namespace" {
        object["metadata"]["name"] = elsewhere.clone();
    }
    // Not by an index, which would add a missing field.
    let subjects = object.get_mut("subjects").and_then(Value::as_array_mut);
    for subject in subjects.into_iter().flatten() {
        subject["namespace"] = elsewhere.clone();
    }
    let webhooks = object.get_mut("webhooks").and_then(Value::as_array_mut);
    for webhook in webhooks.into_iter().flatten() {
        webhook["clientConfig"]["service"]["namespace"] = elsewhere.clone();
    }
    object
}

/// Checks that both lists have the same objects, in any order.
pub(crate) fn is_same(rendered: &[Value], expected: &[Value]) -> Result<()> {
    ensure!(
        rendered.len() == expected.len(),
        "{} objects instead of {}",
        rendered.len(),
        expected.len()
    );
    for object in expected {
        let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
        let found = rendered
            .iter()
            .find(|other| other["kind"] == *kind && other["metadata"]["name"] == *name)
            .with_context(|| format!("the {kind} {name} is missing"))?;
        ensure!(found == object, "{found}\ninstead of\n{object}");
    }
    Ok(())
}

/// Of the agent, the overlay for stock kured has only the ServiceAccount, so that nobody else can use its name.
#[test]
fn the_overlay_for_stock_kured_brings_no_agent() -> Result<()> {
    on_shared(async |cluster| {
        let objects = render(cluster, "overlays/protect-kured").await?;
        ensure!(
            named(&objects, "cordonhold-agent") == ["ServiceAccount"],
            "{:?}",
            named(&objects, "cordonhold-agent")
        );
        ensure!(
            !objects.iter().any(|object| object["kind"] == "DaemonSet"),
            "{objects:?}"
        );
        let namespace = find(&objects, "Namespace", "cordonhold").context("no Namespace")?;
        ensure!(
            namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted",
            "without an agent nobody needs more: {namespace}"
        );
        is_taken(cluster, objects).await
    })
}

#[test]
fn the_overlay_for_agents_alone_brings_no_webhook() -> Result<()> {
    on_shared(async |cluster| {
        let objects = render(cluster, "overlays/agent-alone").await?;
        ensure!(
            named(&objects, "cordonhold-webhook") == ["ServiceAccount"]
                && named(&objects, "cordonhold")
                    .iter()
                    .all(|kind| kind == "Namespace"),
            "{objects:?}"
        );
        let base = render(cluster, "base").await?;
        for object in base
            .iter()
            .filter(|object| object["metadata"]["name"] == "cordonhold-agent")
        {
            ensure!(objects.contains(object), "it lacks {object}");
        }
        is_taken(cluster, objects).await
    })
}

/// Both components that defer are taken by a strict API server, and each sets the mode.
#[test]
fn last_wish_the_components_of_mode_defer_are_taken() -> Result<()> {
    on_shared(async |cluster| {
        let copy = tempfile::tempdir().context("failed to create a directory")?;
        tree::copy(&manifests(""), copy.path())?;
        for (components, webhooks) in [("defer", 3), ("defer-by-policy", 4)] {
            let text = format!("resources: [../../base]\ncomponents: [../../components/{components}]\n");
            let directory = add_overlay(copy.path(), components, &text)?;
            let rendered = Rendered::from_directory(&cluster.plane.assets().kubectl, &directory).await?;
            let objects = rendered.objects().to_vec();
            let deployment = find(&objects, "Deployment", "cordonhold-webhook").context("no Deployment")?;
            let arguments = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
            ensure!(arguments[0] == "--mode=defer", "{arguments}");
            let configuration =
                find(&objects, "ValidatingWebhookConfiguration", "cordonhold").context("no configuration")?;
            let registered = configuration["webhooks"].as_array().map(Vec::len);
            ensure!(registered == Some(webhooks), "{components}: {configuration}");
            is_taken(cluster, objects).await?;
        }
        Ok(())
    })
}

#[test]
fn the_overlay_for_kured_beside_agents_has_all_of_both() -> Result<()> {
    on_shared(async |cluster| {
        let objects = render(cluster, "overlays/kured-beside-agents").await?;
        for other in ["overlays/protect-kured", "overlays/lock-on-daemonset"] {
            for object in render(cluster, other).await? {
                let kind = object["kind"].as_str().unwrap_or_default();
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                ensure!(find(&objects, kind, name).is_some(), "it lacks the {kind} {name}");
            }
        }
        is_taken(cluster, objects).await
    })
}

/// The overlays on the page change what they say: the images, and cert-manager's annotation.
#[test]
fn the_documented_overlays_change_what_they_say() -> Result<()> {
    on_shared(async |cluster| {
        let copy = tempfile::tempdir().context("failed to create a directory")?;
        let directory = overlay(copy.path(), "pushed", &documented_overlay("newTag")?)?;
        let objects = Rendered::from_directory(&cluster.plane.assets().kubectl, &directory).await?;
        for (kind, name) in [
            ("DaemonSet", "cordonhold-agent"),
            ("Deployment", "cordonhold-webhook"),
        ] {
            let object = find(objects.objects(), kind, name).context("not rendered")?;
            let image = &object["spec"]["template"]["spec"]["containers"][0]["image"];
            ensure!(*image == format!("registry.example/team/{name}:0.1.0"), "{image}");
        }
        let directory = add_issued_overlay(copy.path())?;
        let objects = Rendered::from_directory(&cluster.plane.assets().kubectl, &directory).await?;
        let certificate =
            find(objects.objects(), "Certificate", "cordonhold-webhook").context("no Certificate")?;
        let configuration = find(objects.objects(), "ValidatingWebhookConfiguration", "cordonhold")
            .context("no configuration")?;
        let from = format!(
            "{}/{}",
            certificate["metadata"]["namespace"].as_str().unwrap_or_default(),
            certificate["metadata"]["name"].as_str().unwrap_or_default()
        );
        ensure!(
            configuration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"] == from.as_str(),
            "{configuration}"
        );
        let deployment =
            find(objects.objects(), "Deployment", "cordonhold-webhook").context("no Deployment")?;
        let volume = &deployment["spec"]["template"]["spec"]["volumes"][0];
        ensure!(
            volume["secret"]["secretName"] == certificate["spec"]["secretName"],
            "{volume}"
        );
        Ok(())
    })
}

/// Runs the numbered steps of `docs/install.md` by kubectl. The fake nodes run no program, so `certs` runs beside them.
#[test]
fn the_documented_steps_install_it() -> Result<()> {
    alone(async || {
        let plane = ControlPlane::start(Options { nodes: 1 }).await?;
        let steps = documented_steps("## Install\n")?;
        let [apply, rolled_out] = steps.as_slice() else {
            bail!("the page has other steps: {steps:?}")
        };
        let protects_kured = apply.replace("manifests/base", "manifests/overlays/protect-kured");
        ensure!(protects_kured != *apply, "{apply}");
        drop(shell(&plane, &protects_kured).await?);
        let mut certs = Certs::start(&plane, "certs", &[]).await?;
        each_webhook_is_trusted(&plane, 6).await?;
        // Another apply takes no CA out.
        drop(shell(&plane, &protects_kured).await?);
        each_webhook_is_trusted(&plane, 6)
            .await
            .context("after another apply")?;
        let (_, page) = http_get(certs.admin_address()?, "/metrics").await?;
        let repairs = page
            .lines()
            .filter(|line| line.starts_with("cordonhold_ca_bundle_repairs_total{"));
        let repairs: Vec<&str> = repairs.filter(|line| !line.ends_with(" 0")).collect();
        ensure!(repairs.is_empty(), "{repairs:?}");
        let said = shell(&plane, &format!("{rolled_out} --timeout=25s"))
            .await
            .context("the webhook's pods must fit the namespace's Pod Security level")?;
        ensure!(said.contains("successfully rolled out"), "{said}");
        let said = shell(&plane, "kubectl -n cordonhold get daemonsets -o name").await?;
        ensure!(said.is_empty(), "{said}");

        drop(shell(&plane, apply).await?);
        each_webhook_is_trusted(&plane, 3).await?;
        certs.stop().await
    })
}

/// The commands that `cargo certs-dev` prints make the Secret, as often as they are run, and write the CA.
#[test]
fn a_certificate_made_by_hand_is_installed_by_the_printed_commands() -> Result<()> {
    alone(async || {
        let plane = ControlPlane::start(Options { nodes: 0 }).await?;
        drop(shell(&plane, "kubectl apply -k manifests/base").await?);
        let files = tempfile::tempdir().context("failed to create a directory")?;
        let issued = cordonhold_certs_dev::issue(&["cordonhold-webhook.cordonhold.svc".to_owned()])?;
        for (name, pem) in [("tls.crt", &issued.cert_pem), ("tls.key", &issued.key_pem)] {
            std::fs::write(files.path().join(name), pem).context("failed to write the pair")?;
        }
        // Twice: renewing the certificate is the same command.
        for _ in 0..2 {
            drop(shell(&plane, &cordonhold_certs_dev::secret_command(files.path())).await?);
        }
        drop(shell(&plane, &cordonhold_certs_dev::ca_command(&issued.ca_pem)).await?);
        each_webhook_has(&plane, &issued.ca_bundle(), 3).await
    })
}

/// Waits until each webhook has the CA of `certs`.
async fn each_webhook_is_trusted(plane: &ControlPlane, count: usize) -> Result<()> {
    wait::until(
        "certs to write its CA into each webhook",
        CERTS_TIMEOUT,
        || async {
            let authorities = certificates::authorities(&plane.client()).await?;
            let pem: Vec<String> = authorities.into_iter().map(|known| known.certificate).collect();
            let bundle = cordonhold_certs_dev::ca_bundle(&pem.concat());
            Ok(each_webhook_has(plane, &bundle, count).await.ok())
        },
    )
    .await
}

/// The first command of each numbered step of a section; empty if the step has none.
pub(crate) fn documented_steps(heading: &str) -> Result<Vec<String>> {
    let page =
        std::fs::read_to_string(manifests("../docs/install.md")).context("failed to read docs/install.md")?;
    let (_, rest) = page.split_once(heading).context("no such section")?;
    let level = heading.split(' ').next().unwrap_or_default();
    let end = format!("\n{level} ");
    let section = rest.split(end.as_str()).next().unwrap_or_default();
    let steps = section
        .lines()
        .filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
    Ok(steps
        .map(|step| step.split('`').nth(1).unwrap_or_default().to_owned())
        .collect())
}

/// Runs a command as an admin in a POSIX shell at the root of the repository, and returns its output.
pub(crate) async fn shell(plane: &ControlPlane, command: &str) -> Result<String> {
    let kubectl = &plane.assets().kubectl;
    let mut path = vec![kubectl.parent().context("kubectl has no directory")?.to_owned()];
    path.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    let mut shell = tokio::process::Command::new("sh");
    let _ = shell
        .args(["-euc", command])
        .current_dir(manifests(".."))
        .env("PATH", std::env::join_paths(path)?)
        .env("KUBECONFIG", plane.kubeconfig(Identity::Admin))
        .env("HOME", plane.directory())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(KUBECTL_TIMEOUT, shell.output())
        .await
        .with_context(|| format!("{command} took over {KUBECTL_TIMEOUT:?}"))?
        .context("failed to run sh")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command}: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn each_webhook_has(plane: &ControlPlane, ca_bundle: &str, count: usize) -> Result<()> {
    let configurations: Api<ValidatingWebhookConfiguration> = Api::all(plane.client());
    let configuration = serde_json::to_value(configurations.get("cordonhold").await?)?;
    let webhooks = configuration["webhooks"].as_array().context("no webhooks")?;
    ensure!(
        webhooks.len() == count,
        "{} webhooks instead of {count}",
        webhooks.len()
    );
    for webhook in webhooks {
        let client = &webhook["clientConfig"];
        ensure!(
            client["caBundle"] == ca_bundle && client["service"]["name"] == "cordonhold-webhook",
            "{webhook}"
        );
    }
    Ok(())
}

#[test]
fn a_strict_api_server_takes_every_object() -> Result<()> {
    on_shared(async |cluster| {
        let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": ELSEWHERE } }))?;
        drop(
            Api::all(cluster.admin.clone())
                .create(&PostParams::default(), &namespace)
                .await?,
        );
        let objects = render_elsewhere(cluster).await?;
        is_taken(cluster, objects.clone()).await?;

        let mut misspelt = objects;
        let deployment = misspelt
            .iter_mut()
            .find(|object| object["kind"] == "Deployment")
            .context("no Deployment")?;
        deployment["spec"]["replica"] = json!(3);
        let said = dry_run(&cluster.plane, &misspelt).await?;
        ensure!(
            !said.0 && said.1.contains("unknown field") && said.1.contains("replica"),
            "{}",
            said.1
        );
        Ok(())
    })
}

#[test]
fn the_agent_may_do_what_it_does() -> Result<()> {
    on_shared(async |cluster| {
        let agent = cluster.agent_on("node-0").await?;
        for right in [
            Right::new("", "nodes", "get"),
            Right::new("", "nodes", "list"),
            Right::new("", "nodes", "watch"),
            Right::new("", "nodes", "patch"),
            Right::new("", "pods", "list"),
            Right::new("", "pods", "watch"),
            Right::new("", "pods/eviction", "create"),
            Right::new("apps", "daemonsets", "get"),
            Right::new("apps", "daemonsets", "list"),
            Right::new("events.k8s.io", "events", "create"),
            // The webhook's configuration recognises an agent by this permission.
            Right::new("cordonhold.dev", "rebootholds", "own"),
            Right::new("coordination.k8s.io", "leases", "patch").named("cordonhold", "cordonhold-default"),
            Right::new("coordination.k8s.io", "leases", "create").named("cordonhold", "cordonhold-default"),
            Right::new("coordination.k8s.io", "leases", "list").named("cordonhold", ""),
        ] {
            ensure!(may(&agent, right).await?, "the agent may not {right:?}");
        }
        Ok(())
    })
}

#[test]
fn the_agent_may_do_nothing_else() -> Result<()> {
    on_shared(async |cluster| {
        let agent = cluster.agent_on("node-0").await?;
        let mut rights = vec![
            Right::new("", "nodes/status", "patch"),
            Right::new("", "nodes/proxy", "get"),
            Right::new("", "pods/exec", "create"),
            Right::new("", "serviceaccounts/token", "create"),
            Right::new("", "serviceaccounts", "impersonate"),
            Right::new("", "users", "impersonate"),
            Right::new("coordination.k8s.io", "leases", "patch").named("kube-node-lease", "node-0"),
            Right::new("coordination.k8s.io", "leases", "patch").named("cordonhold", "cordonhold-other"),
            Right::new("coordination.k8s.io", "leases", "delete").named("cordonhold", "cordonhold-default"),
            Right::new("coordination.k8s.io", "leases", "list").named("kube-system", ""),
            Right::new("coordination.k8s.io", "leases", "get").named("cordonhold", "cordonhold-other"),
            Right::new("cordonhold.dev", "rebootholds", "override"),
            Right::new("cordonhold.dev", "rebootholds", "reboot"),
            Right::new("policy", "poddisruptionbudgets", "patch"),
            // Only the component `volume-detach` grants the next two.
            Right::new("", "persistentvolumeclaims", "get"),
            Right::new("storage.k8s.io", "volumeattachments", "list"),
            Right::new("events.k8s.io", "events", "patch"),
        ];
        for verb in ["create", "update", "delete", "deletecollection"] {
            rights.push(Right::new("", "nodes", verb));
        }
        for verb in ["create", "update", "patch", "delete"] {
            rights.push(Right::new("", "pods", verb));
            rights.push(Right::new(
                "admissionregistration.k8s.io",
                "validatingwebhookconfigurations",
                verb,
            ));
            rights.push(Right::new("rbac.authorization.k8s.io", "clusterroles", verb));
        }
        for verb in ["get", "list", "watch"] {
            rights.push(Right::new("", "secrets", verb));
            rights.push(Right::new("", "configmaps", verb));
        }
        for right in rights {
            ensure!(!may(&agent, right).await?, "the agent may {right:?}");
        }
        Ok(())
    })
}

/// kured may write its own privileged DaemonSet for the lock, so the token of one node can run anything on all nodes (its defect
/// D19).
#[test]
fn d19_an_agent_with_its_lock_in_a_lease_may_write_no_daemon_set() -> Result<()> {
    on_shared(async |cluster| {
        let agent = cluster.agent_on("node-0").await?;
        for verb in ["create", "update", "patch", "delete", "deletecollection"] {
            for right in [
                Right::new("apps", "daemonsets", verb),
                Right::new("apps", "daemonsets", verb).named("kube-system", "kured"),
                Right::new("apps", "daemonsets", verb).named("cordonhold", "cordonhold-agent"),
            ] {
                ensure!(!may(&agent, right).await?, "the agent may {right:?}");
            }
        }
        Ok(())
    })
}

/// kured's pod is privileged and mounts the whole `/var/run` of the host (its defect D21).
#[test]
fn d21_the_agents_pod_is_not_privileged_and_mounts_nothing_of_the_host() -> Result<()> {
    on_shared(async |cluster| {
        let objects = cluster.rendered.objects();
        let daemon_set = find(objects, "DaemonSet", "cordonhold-agent").context("no DaemonSet")?;
        let pod = &daemon_set["spec"]["template"]["spec"];
        ensure!(pod["volumes"].is_null(), "{pod}");
        for container in pod["containers"].as_array().into_iter().flatten() {
            let context = &container["securityContext"];
            ensure!(
                context["privileged"].is_null()
                    && context["readOnlyRootFilesystem"] == true
                    && context["capabilities"]["drop"] == json!(["ALL"])
                    && context["capabilities"]["add"] == json!(["SYS_ADMIN", "SYS_CHROOT", "SYS_PTRACE"]),
                "{container}"
            );
        }
        Ok(())
    })
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Right {
    group: &'static str,
    resource: &'static str,
    verb: &'static str,
    namespace: &'static str,
    name: &'static str,
}

impl Right {
    /// A permission in all namespaces, for all names.
    pub(crate) fn new(group: &'static str, resource: &'static str, verb: &'static str) -> Self {
        Self {
            group,
            resource,
            verb,
            namespace: "",
            name: "",
        }
    }

    fn named(self, namespace: &'static str, name: &'static str) -> Self {
        Self {
            namespace,
            name,
            ..self
        }
    }
}

pub(crate) async fn may(client: &Client, right: Right) -> Result<bool> {
    let (resource, subresource) = right.resource.split_once('/').unwrap_or((right.resource, ""));
    let mut review = SelfSubjectAccessReview::default();
    review.spec.resource_attributes = Some(ResourceAttributes {
        group: Some(right.group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: Some(subresource.to_owned()),
        verb: Some(right.verb.to_owned()),
        namespace: Some(right.namespace.to_owned()),
        name: Some(right.name.to_owned()),
        ..ResourceAttributes::default()
    });
    let answer = Api::<SelfSubjectAccessReview>::all(client.clone())
        .create(&PostParams::default(), &review)
        .await
        .context("failed to ask for a right")?;
    Ok(answer
        .status
        .context("a review came back without an answer")?
        .allowed)
}

async fn render(cluster: &Cluster, directory: &str) -> Result<Vec<Value>> {
    let rendered = Rendered::from_directory(&cluster.plane.assets().kubectl, &manifests(directory)).await?;
    Ok(rendered.objects().to_vec())
}

/// Renders the overlay with another namespace from `docs/install.md`, in a copy of the manifests.
async fn render_elsewhere(cluster: &Cluster) -> Result<Vec<Value>> {
    let copy = tempfile::tempdir().context("failed to create a directory")?;
    let directory = overlay(
        copy.path(),
        ELSEWHERE,
        &documented_overlay("namespace: elsewhere")?,
    )?;
    let rendered = Rendered::from_directory(&cluster.plane.assets().kubectl, &directory).await?;
    Ok(rendered.objects().to_vec())
}

/// The example in `docs/install.md` or `docs/certificates.md` that contains this text.
pub(crate) fn documented_overlay(marker: &str) -> Result<String> {
    let pages = ["../docs/install.md", "../docs/certificates.md"].map(|page| {
        std::fs::read_to_string(manifests(page)).with_context(|| format!("failed to read {page}"))
    });
    let pages: Vec<String> = pages.into_iter().collect::<Result<_>>()?;
    let pages = pages.concat();
    let examples = pages
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let example = examples.into_iter().find(|example| example.contains(marker));
    example
        .map(ToOwned::to_owned)
        .with_context(|| format!("neither page has an example with {marker}"))
}

/// Copies the manifests and adds this kustomization to the overlays. Returns its path.
pub(crate) fn overlay(copy: &Path, name: &str, kustomization: &str) -> Result<PathBuf> {
    tree::copy(&manifests(""), copy)?;
    add_overlay(copy, name, kustomization)
}

/// Adds the documented overlay for cert-manager, with its Certificate. Returns its path.
pub(crate) fn add_issued_overlay(copy: &Path) -> Result<PathBuf> {
    let directory = add_overlay(copy, "issued", &documented_overlay("inject-ca-from")?)?;
    let certificate = documented_overlay("kind: Certificate")?;
    std::fs::write(directory.join("certificate.yaml"), certificate)
        .context("failed to write the Certificate")?;
    Ok(directory)
}

pub(crate) fn add_overlay(copy: &Path, name: &str, kustomization: &str) -> Result<PathBuf> {
    let directory = copy.join("overlays").join(name);
    std::fs::create_dir_all(&directory).context("failed to create an overlay")?;
    std::fs::write(directory.join("kustomization.yaml"), kustomization)
        .context("failed to write an overlay")?;
    Ok(directory)
}

/// Checks that the API server accepts all objects.
pub(crate) async fn is_taken(cluster: &Cluster, mut objects: Vec<Value>) -> Result<()> {
    for object in &mut objects {
        // The registered configuration has a URL instead of a Service, and an apply would merge both.
        if object["kind"] == "ValidatingWebhookConfiguration" {
            object["metadata"]["name"] = json!("cordonhold-dry");
        }
    }
    let (taken, said) = dry_run(&cluster.plane, &objects).await?;
    ensure!(taken, "{said}");
    Ok(())
}

/// Applies the objects as a dry run. Returns whether all were accepted, and kubectl's output.
pub(crate) async fn dry_run(plane: &ControlPlane, objects: &[Value]) -> Result<(bool, String)> {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    let mut child = plane
        .kubectl(Identity::Admin)
        .args([
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "--validate=strict",
            "-f",
            "-",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("failed to run kubectl")?;
    let mut stdin = child.stdin.take().context("kubectl has no standard input")?;
    stdin
        .write_all(list.to_string().as_bytes())
        .await
        .context("failed to write to kubectl")?;
    drop(stdin);
    let output = tokio::time::timeout(KUBECTL_TIMEOUT, child.wait_with_output())
        .await
        .with_context(|| format!("kubectl apply took over {KUBECTL_TIMEOUT:?}"))?
        .context("failed to run kubectl")?;
    Ok((
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    ))
}

/// The kinds of the objects with this name.
fn named(objects: &[Value], name: &str) -> Vec<String> {
    objects
        .iter()
        .filter(|object| object["metadata"]["name"] == name)
        .filter_map(|object| object["kind"].as_str().map(ToOwned::to_owned))
        .collect()
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
}
