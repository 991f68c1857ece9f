//! Installs `manifests/`: renders them by kustomize and applies them with strict field validation.
//!
//! One thing is changed: the webhook configuration points at a process on this machine. The pods of the webhook's Deployment
//! are KWOK's fakes and serve nothing, but they are scheduled, evicted and drained like real pods.
//! Not here: an install that nothing is changed of, on a [`crate::cluster`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::{ApiCapabilities, ApiResource, Scope, pinned_kind};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::process::CommandLine;
use crate::webhook::Mode;
use crate::{AGENT_ACCOUNT, NAMESPACE, tree, wait};

/// Longest rendering. It only reads a dozen small files.
pub(crate) const RENDER_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest start of the webhook's two fake pods. It takes seconds, and longer on a busy machine.
const RUNNING_TIMEOUT: Duration = Duration::from_secs(90);
/// The name of the webhook's Deployment, and the value of its pods' label `app.kubernetes.io/name`.
pub const WEBHOOK_DEPLOYMENT: &str = "cordonhold-webhook";
const FIELD_MANAGER: &str = "cordonhold-tests";
/// The path for reviews where the webhook configuration names none.
const REVIEW_PATH: &str = "/validate";
const WEBHOOK_CONFIGURATIONS: [&str; 2] = ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"];

/// Grants the agents access to the Leases of further pools, as an operator must; without names, to all Leases of the namespace.
pub async fn permit_leases(client: &Client, names: &[&str]) -> Result<()> {
    let role: Role = serde_json::from_value(json!({
        "metadata": { "name": "cordonhold-agent-pools" },
        "rules": [{
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": names,
            "verbs": ["get", "list", "watch", "create", "patch"],
        }],
    }))?;
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": { "name": "cordonhold-agent-pools" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "cordonhold-agent-pools" },
        "subjects": [{ "kind": "ServiceAccount", "name": AGENT_ACCOUNT, "namespace": NAMESPACE }],
    }))?;
    let roles: Api<Role> = Api::namespaced(client.clone(), NAMESPACE);
    let created = roles.create(&PostParams::default(), &role).await;
    drop(created.context("failed to create a Role")?);
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), NAMESPACE);
    let created = bindings.create(&PostParams::default(), &binding).await;
    created.map(drop).context("failed to create a RoleBinding")
}

/// The path of a directory in this repository's `manifests/`, such as `base` or `overlays/protect-kured`.
pub fn manifests(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join("manifests")
        .join(name)
}

/// The objects that a kustomization renders.
#[derive(Debug, Clone, Default)]
pub struct Rendered {
    objects: Vec<Value>,
}

impl Rendered {
    /// Renders a directory with `kubectl kustomize`.
    pub async fn from_directory(kubectl: &Path, directory: &Path) -> Result<Self> {
        let line = CommandLine::new(kubectl).arg("kustomize").arg(directory);
        Self::from_yaml(&line.run("", RENDER_TIMEOUT).await?)
    }

    /// Renders an overlay of ours with these components of ours.
    pub async fn from_overlay(kubectl: &Path, overlay: &str, components: &[&str]) -> Result<Self> {
        // kustomize takes files below one directory alone.
        let copy = tempfile::tempdir().context("failed to create a directory")?;
        tree::copy(&manifests(""), copy.path())?;
        let components: Vec<String> = components
            .iter()
            .map(|name| format!("../components/{name}"))
            .collect();
        let kustomization = json!({ "resources": [format!("../{overlay}")], "components": components });
        let directory = copy.path().join("with-components");
        std::fs::create_dir(&directory)
            .and_then(|()| std::fs::write(directory.join("kustomization.yaml"), kustomization.to_string()))
            .with_context(|| format!("failed to write {}", directory.display()))?;
        Self::from_directory(kubectl, &directory).await
    }

    /// Reads the objects that a program has printed, one to a document. Empty documents are left out.
    pub fn from_yaml(text: &str) -> Result<Self> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(text)
            .with_context(|| format!("failed to read what was rendered:\n{text}"))?;
        let objects = documents.into_iter().filter(|object| !object.is_null());
        Ok(Self {
            objects: objects.collect(),
        })
    }

    pub fn objects(&self) -> &[Value] {
        &self.objects
    }

    /// Adds the objects of one file below `manifests/`, as they stand there.
    pub fn add_file(&mut self, name: &str) -> Result<()> {
        let path = manifests(name);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text)
            .with_context(|| format!("failed to understand {}", path.display()))?;
        self.objects.extend(objects);
        Ok(())
    }

    /// Adds what this mode of the webhook needs beside the base.
    pub fn add_mode(&mut self, mode: Mode) -> Result<()> {
        match mode {
            Mode::Defer => self.add_file("components/defer/defer-webhook.yaml"),
            Mode::Enforce | Mode::Warn | Mode::Audit => Ok(()),
        }
    }

    /// The ports that containers of these objects listen on.
    pub(crate) fn container_ports(&self) -> impl Iterator<Item = u16> {
        let containers = self.objects.iter().flat_map(|object| {
            let containers = object.pointer("/spec/template/spec/containers");
            containers.and_then(Value::as_array).into_iter().flatten()
        });
        let ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
        ports.filter_map(|port| u16::try_from(port["containerPort"].as_u64()?).ok())
    }

    /// Adds arguments of the agent, behind those that its DaemonSet has.
    pub fn add_agent_arguments(&mut self, arguments: &[&str]) -> Result<()> {
        let mut daemon_sets = self
            .objects
            .iter_mut()
            .filter(|object| object["kind"] == "DaemonSet");
        let daemon_set = daemon_sets.next().context("no DaemonSet was rendered")?;
        let own = daemon_set
            .pointer_mut("/spec/template/spec/containers/0/args")
            .and_then(Value::as_array_mut)
            .context("the agent's container has no arguments")?;
        own.extend(arguments.iter().map(|argument| json!(argument)));
        Ok(())
    }

    /// All objects, namespaces first.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = &Value> {
        let is_namespace = |object: &&Value| object["kind"] == "Namespace";
        let others = self.objects.iter().filter(move |object| !is_namespace(object));
        self.objects.iter().filter(is_namespace).chain(others)
    }

    /// Applies all objects except the webhook configurations, namespaces first.
    pub async fn apply_objects(&self, client: &Client) -> Result<()> {
        for object in self.in_order().filter(|object| !is_webhook_configuration(object)) {
            apply(client, object.clone(), FIELD_MANAGER).await?;
        }
        Ok(())
    }

    /// Applies the webhook configurations, with `origin`, a process on this machine, as their URL. `None`: somebody else writes the CA.
    pub async fn register_webhook(
        &self,
        client: &Client,
        origin: &str,
        ca_bundle: Option<&str>,
    ) -> Result<()> {
        for object in self
            .objects
            .iter()
            .filter(|object| is_webhook_configuration(object))
        {
            apply(
                client,
                pointed_at(object.clone(), origin, ca_bundle),
                FIELD_MANAGER,
            )
            .await?;
        }
        Ok(())
    }
}

/// Renders a directory of manifests and applies everything except its webhook configurations.
pub async fn install(plane: &ControlPlane, directory: &Path) -> Result<Rendered> {
    let rendered = Rendered::from_directory(&plane.assets().kubectl, directory).await?;
    rendered.apply_objects(&plane.client()).await?;
    if rendered
        .objects
        .iter()
        .any(|object| object["kind"] == "Deployment")
    {
        // The webhook's pods must be placed before a test adds its own nodes.
        let _replicas = webhook_runs(&plane.client()).await?;
    }
    Ok(rendered)
}

/// Waits until all replicas of the webhook's Deployment are ready, and returns how many. Does not wait if there is no node.
pub async fn webhook_runs(client: &Client) -> Result<i32> {
    let nodes: Api<Node> = Api::all(client.clone());
    let nodes = nodes.list(&ListParams::default().limit(1)).await;
    if nodes.context("failed to list the Nodes")?.items.is_empty() {
        return Ok(0);
    }
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let what = "all replicas of the webhook's Deployment to be ready";
    wait::until(what, RUNNING_TIMEOUT, || async {
        let deployment = deployments.get(WEBHOOK_DEPLOYMENT).await;
        let deployment = deployment.context("failed to get the webhook's Deployment")?;
        let wanted = deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1);
        let ready = deployment.status.and_then(|status| status.ready_replicas);
        Ok((ready.unwrap_or(0) >= wanted).then_some(wanted))
    })
    .await
}

pub(crate) fn is_webhook_configuration(object: &Value) -> bool {
    WEBHOOK_CONFIGURATIONS.iter().any(|kind| object["kind"] == *kind)
}

pub(crate) fn pointed_at(mut configuration: Value, origin: &str, ca_bundle: Option<&str>) -> Value {
    for webhook in configuration["webhooks"].as_array_mut().into_iter().flatten() {
        let path = webhook
            .pointer("/clientConfig/service/path")
            .and_then(Value::as_str)
            .unwrap_or(REVIEW_PATH)
            .to_owned();
        webhook["clientConfig"] = json!({ "url": format!("{origin}{path}") });
        if let Some(ca_bundle) = ca_bundle {
            webhook["clientConfig"]["caBundle"] = json!(ca_bundle);
        }
    }
    configuration
}

/// Applies an object by server-side apply as this field manager, and takes over what others have written of it.
pub(crate) async fn apply(client: &Client, object: Value, manager: &str) -> Result<()> {
    let (api, object) = find(client, object).await?;
    let parameters = PatchParams::apply(manager).force().validation_strict();
    let name = object.name_any();
    let applied = api.patch(&name, &parameters, &Patch::Apply(&object)).await;
    applied
        .map(drop)
        .with_context(|| format!("failed to apply {} {name}", kind(&object)))
}

/// Where an object is, whatever its kind.
pub(crate) async fn find(client: &Client, object: Value) -> Result<(Api<DynamicObject>, DynamicObject)> {
    let object: DynamicObject = serde_json::from_value(object).context("failed to read a rendered object")?;
    let types = object.types.clone().context("a rendered object has no kind")?;
    ensure!(object.metadata.name.is_some(), "a {} has no name", types.kind);
    let gvk = GroupVersionKind::try_from(&types)
        .with_context(|| format!("failed to read the apiVersion of {}", object.name_any()))?;
    let (resource, capabilities): (ApiResource, ApiCapabilities) = pinned_kind(client, &gvk)
        .await
        .with_context(|| format!("the API server does not know the kind {}", types.kind))?;
    let api: Api<DynamicObject> = match (&capabilities.scope, &object.metadata.namespace) {
        (Scope::Namespaced, Some(namespace)) => Api::namespaced_with(client.clone(), namespace, &resource),
        (Scope::Namespaced, None) => Api::default_namespaced_with(client.clone(), &resource),
        (Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
    };
    Ok((api, object))
}

fn kind(object: &DynamicObject) -> &str {
    object.types.as_ref().map_or("object", |types| &types.kind)
}
