//! The manifests on a real API server: names follow the namespace, no field is misspelt, and the agent's rights are what it needs and no more.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_tests::identity::Identity;
use cordonhold_tests::install::{Rendered, manifests};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::cluster::{Cluster, on_shared};

const ELSEWHERE: &str = "elsewhere";
/// kubectl asks for the API's groups first; on a busy machine that takes seconds.
const KUBECTL_TIMEOUT: Duration = Duration::from_secs(30);

#[test]
fn another_namespace_reaches_every_name() -> Result<()> {
    on_shared(async |cluster| {
        let objects = render_elsewhere(cluster, false).await?;
        for object in &objects {
            let namespace = object["metadata"]["namespace"].as_str();
            ensure!(
                namespace.is_none_or(|namespace| namespace == ELSEWHERE),
                "{object}"
            );
            for subject in object["subjects"].as_array().into_iter().flatten() {
                ensure!(subject["namespace"] == ELSEWHERE, "{object}");
            }
        }
        ensure!(
            find(&objects, "Namespace", ELSEWHERE).is_some(),
            "the Namespace kept its name"
        );
        let configuration =
            find(&objects, "ValidatingWebhookConfiguration", "cordonhold").context("no configuration")?;
        is_elsewhere(configuration, 2)
    })
}

/// The service of each webhook, and the agent wherever a condition names it.
fn is_elsewhere(configuration: &Value, named: usize) -> Result<()> {
    let mut found = 0;
    for webhook in configuration["webhooks"].as_array().into_iter().flatten() {
        ensure!(
            webhook["clientConfig"]["service"]["namespace"] == ELSEWHERE,
            "{webhook}"
        );
        for condition in webhook["matchConditions"].as_array().into_iter().flatten() {
            let expression = condition["expression"].as_str().unwrap_or_default();
            let count = expression.matches("'cordonhold-agent'").count();
            let moved = "'system:serviceaccount:' + 'elsewhere' + ':' + 'cordonhold-agent'";
            ensure!(expression.matches(moved).count() == count, "{expression}");
            found += count;
        }
    }
    ensure!(
        found == named,
        "the agent is named {found} times instead of {named}"
    );
    Ok(())
}

#[test]
fn another_namespace_reaches_the_overlay_for_kured() -> Result<()> {
    on_shared(async |cluster| {
        let objects = render_elsewhere(cluster, true).await?;
        let binding = find(&objects, "RoleBinding", "cordonhold-webhook-kured").context("no RoleBinding")?;
        ensure!(
            binding["metadata"]["namespace"] == "kube-system"
                && binding["subjects"][0]["namespace"] == ELSEWHERE,
            "an overlay's namespace must reach the subject and leave the Role with kured's DaemonSet: {binding}"
        );
        let configuration =
            find(&objects, "ValidatingWebhookConfiguration", "cordonhold").context("no configuration")?;
        is_elsewhere(configuration, 3)
    })
}

/// The Role says where kured's DaemonSet is; what else names it follows.
#[test]
fn another_daemon_set_of_kureds_reaches_every_name() -> Result<()> {
    on_shared(async |cluster| {
        let copy = tempfile::tempdir().context("failed to create a directory")?;
        let directory = overlay(
            copy.path(),
            "moved",
            "resources: [../../base]\ncomponents: [../../components/protect-kured]\n",
        )?;
        let role = copy.path().join("components/protect-kured/rbac-kured.yaml");
        let text = std::fs::read_to_string(&role).context("failed to read the Role")?;
        let text = text
            .replacen("namespace: kube-system", "namespace: ops", 1)
            .replace("[kured]", "[reboots]");
        std::fs::write(&role, text).context("failed to write the Role")?;
        let rendered = Rendered::from_directory(&cluster.plane.assets().kubectl, &directory).await?;
        let objects = rendered.objects();
        let binding = find(objects, "RoleBinding", "cordonhold-webhook-kured").context("no RoleBinding")?;
        ensure!(binding["metadata"]["namespace"] == "ops", "{binding}");
        let deployment = find(objects, "Deployment", "cordonhold-webhook").context("no Deployment")?;
        let args = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
        for arg in ["--ds-namespace=ops", "--ds-name=reboots", "--protect-kured=lock"] {
            ensure!(
                args.as_array().is_some_and(|args| args.contains(&json!(arg))),
                "{args}"
            );
        }
        let configuration =
            find(objects, "ValidatingWebhookConfiguration", "cordonhold").context("no configuration")?;
        let text = configuration["webhooks"].to_string();
        ensure!(
            text.matches("request.namespace == 'ops' && request.name == 'reboots'")
                .count()
                == 2
                && text.contains("'system:serviceaccount:' + 'ops' + ':' + 'kured'")
                && !text.contains("kube-system"),
            "{text}"
        );
        Ok(())
    })
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
        let mut objects = render_elsewhere(cluster, false).await?;
        let configuration = objects
            .iter_mut()
            .find(|object| object["kind"] == "ValidatingWebhookConfiguration")
            .context("no configuration")?;
        // The registered one has a URL instead of a Service, and an apply would keep both.
        configuration["metadata"]["name"] = json!("cordonhold-elsewhere");
        let said = dry_run(cluster, &objects).await?;
        ensure!(said.0, "{}", said.1);

        let mut misspelt = objects.clone();
        let deployment = misspelt
            .iter_mut()
            .find(|object| object["kind"] == "Deployment")
            .context("no Deployment")?;
        deployment["spec"]["replica"] = json!(3);
        let said = dry_run(cluster, &misspelt).await?;
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
            Right::new("events.k8s.io", "events", "create"),
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
            Right::new("policy", "poddisruptionbudgets", "patch"),
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

/// kured's lock is on its own privileged DaemonSet: the token of one node can make every node run anything (its defect D19).
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

/// kured's is privileged, and mounts the host's `/var/run` whole (its defect D21).
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
struct Right {
    group: &'static str,
    resource: &'static str,
    verb: &'static str,
    namespace: &'static str,
    name: &'static str,
}

impl Right {
    /// In every namespace, by any name.
    fn new(group: &'static str, resource: &'static str, verb: &'static str) -> Self {
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

async fn may(client: &Client, right: Right) -> Result<bool> {
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

/// The overlay that `manifests/README.md` gives, beside a copy of the manifests; and the one around it that protects kured.
async fn render_elsewhere(cluster: &Cluster, protects_kured: bool) -> Result<Vec<Value>> {
    let copy = tempfile::tempdir().context("failed to create a directory")?;
    let mut directory = overlay(
        copy.path(),
        ELSEWHERE,
        &documented_overlay("namespace: elsewhere")?,
    )?;
    if protects_kured {
        let around = "resources: [../elsewhere]\ncomponents: [../../components/protect-kured]\n";
        directory = add_overlay(copy.path(), "elsewhere-with-kured", around)?;
    }
    let rendered = Rendered::from_directory(&cluster.plane.assets().kubectl, &directory).await?;
    Ok(rendered.objects().to_vec())
}

/// The example in `manifests/README.md` that has this text in it.
pub(crate) fn documented_overlay(marker: &str) -> Result<String> {
    let readme =
        std::fs::read_to_string(manifests("README.md")).context("failed to read manifests/README.md")?;
    let examples = readme
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let example = examples.into_iter().find(|example| example.contains(marker));
    example
        .map(ToOwned::to_owned)
        .with_context(|| format!("manifests/README.md has no example with {marker}"))
}

/// A copy of the manifests with this kustomization among its overlays.
pub(crate) fn overlay(copy: &Path, name: &str, kustomization: &str) -> Result<PathBuf> {
    copy_tree(&manifests(""), copy)?;
    add_overlay(copy, name, kustomization)
}

fn add_overlay(copy: &Path, name: &str, kustomization: &str) -> Result<PathBuf> {
    let directory = copy.join("overlays").join(name);
    std::fs::create_dir_all(&directory).context("failed to create an overlay")?;
    std::fs::write(directory.join("kustomization.yaml"), kustomization)
        .context("failed to write an overlay")?;
    Ok(directory)
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("failed to create {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("failed to list {}", from.display()))? {
        let (path, target) = entry.map(|entry| (entry.path(), to.join(entry.file_name())))?;
        if path.is_dir() {
            copy_tree(&path, &target)?;
        } else {
            let _: u64 = std::fs::copy(&path, &target)
                .with_context(|| format!("failed to copy {}", path.display()))?;
        }
    }
    Ok(())
}

/// Whether the API server takes them all, and what it says.
async fn dry_run(cluster: &Cluster, objects: &[Value]) -> Result<(bool, String)> {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    let mut child = cluster
        .plane
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

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
}
