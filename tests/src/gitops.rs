//! What Flux and Argo CD make of a directory that they put into another namespace, and of a chart; and how they apply what they have rendered.
//!
//! They change the kustomization itself, so each call works on a copy.
//! Not here: Flux' helm-controller, which installs by Helm's library, as [`crate::helm::Helm::install`] does.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use kube::Client;
use kube::api::{Patch, PatchParams};
use kube::discovery::Discovery;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::assets;
use crate::control_plane::ControlPlane;
use crate::helm::{Helm, Release};
use crate::identity::Identity;
use crate::install::{RENDER_TIMEOUT, Rendered, apply, find};
use crate::process::CommandLine;
use crate::tree;

/// Renders `directory`, a path below `root`, as Flux' kustomize-controller does with `spec.targetNamespace`.
pub async fn flux(root: &Path, directory: &str, namespace: &str) -> Result<Rendered> {
    let copy = copy(root)?;
    let line = CommandLine::new(assets::renderers()?)
        .arg("flux")
        .arg(copy.path());
    let line = line.arg(copy.path().join(directory)).arg(namespace);
    Rendered::from_yaml(&line.run("", RENDER_TIMEOUT).await?)
}

/// Renders `directory`, a path below `root`, as Argo CD's repo-server does with `spec.source.kustomize.namespace`: it edits the
/// kustomization by kustomize's own program and then builds it (`Build` in `util/kustomize/kustomize.go`).
pub async fn argo(root: &Path, directory: &str, namespace: &str) -> Result<Rendered> {
    let copy = copy(root)?;
    let directory = copy.path().join(directory);
    let kustomize = || -> Result<CommandLine> { Ok(CommandLine::new(assets::renderers()?).arg("kustomize")) };
    let edit = kustomize()?.args(["edit", "set", "namespace", "--", namespace]);
    drop(edit.directory(&directory).run("", RENDER_TIMEOUT).await?);
    let build = kustomize()?.arg("build").arg(&directory);
    Rendered::from_yaml(&build.directory(copy.path()).run("", RENDER_TIMEOUT).await?)
}

/// Renders a chart as Argo CD does for an Application with this name, destination and `helm.values` (`template` in `util/helm/cmd.go`).
pub async fn argo_helm(helm: &Helm, release: &Release<'_>, cluster: &Capabilities) -> Result<Rendered> {
    let versions = cluster
        .api_versions
        .iter()
        .flat_map(|version| ["--api-versions", version]);
    let line = helm.line("template").arg(".");
    let line = line
        .args(["--name-template", release.name, "--namespace", release.namespace])
        .args(["--kube-version", &cluster.version, "--values=-"])
        .args(versions)
        .arg("--include-crds")
        .directory(release.chart);
    Rendered::from_yaml(&line.run(release.values, RENDER_TIMEOUT).await?)
}

/// The field manager of Flux' kustomize-controller.
const FLUX: &str = "kustomize-controller";
/// What the names of the field managers begin with whose fields it takes over.
const TAKEN_OVER: [&str; 2] = ["kubectl", "before-first-apply"];
/// The annotation of objects of which it takes over nothing, with the value `Merge`.
const SSA: &str = "kustomize.toolkit.fluxcd.io/ssa";
/// The field manager of Argo CD.
const ARGO: &str = "argocd-controller";
/// Longest run of kubectl for some dozens of objects.
const APPLY_TIMEOUT: Duration = Duration::from_mins(1);

/// Applies as Flux does: by server-side apply, after it has made itself the manager of all that kubectl has written (`apply` in
/// `internal/controller/kustomization_controller.go` of kustomize-controller, `cleanupMetadata` in `ssa/manager_apply.go` of fluxcd/pkg).
pub async fn flux_applies(client: &Client, rendered: &Rendered) -> Result<()> {
    for object in rendered.in_order() {
        if object["metadata"]["annotations"][SSA] != "Merge" {
            take_over(client, object).await?;
        }
        apply(client, object.clone(), FLUX).await?;
    }
    Ok(())
}

async fn take_over(client: &Client, object: &Value) -> Result<()> {
    let (api, object) = find(client, object.clone()).await?;
    let name = object.metadata.name.unwrap_or_default();
    let Some(live) = api
        .get_opt(&name)
        .await
        .with_context(|| format!("failed to get {name}"))?
    else {
        return Ok(());
    };
    let mut entries = live.metadata.managed_fields.unwrap_or_default();
    for entry in &mut entries {
        let manager = entry.manager.clone().unwrap_or_default();
        if entry.subresource.is_none() && TAKEN_OVER.iter().any(|begin| manager.starts_with(begin)) {
            entry.manager = Some(FLUX.to_owned());
            entry.operation = Some("Apply".to_owned());
        }
    }
    let patch = json!({ "metadata": { "resourceVersion": live.metadata.resource_version, "managedFields": entries } });
    let patched = api
        .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
        .await;
    patched
        .map(drop)
        .with_context(|| format!("failed to take over {name}"))
}

/// How an Application tells Argo CD to sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Without an option.
    Apply,
    /// `ServerSideApply=true`.
    ServerSideApply,
    /// `Replace=true`.
    Replace,
}

/// Applies as Argo CD does: by the code of kubectl (`pkg/utils/kube/resource_ops.go` of gitops-engine).
pub async fn argo_syncs(plane: &ControlPlane, rendered: &Rendered, sync: Sync) -> Result<()> {
    let how: &[&str] = match sync {
        Sync::Apply => &["apply", "--field-manager", ARGO],
        Sync::ServerSideApply => &[
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager",
            ARGO,
        ],
        Sync::Replace => &["replace"],
    };
    let documents: Vec<String> = rendered.in_order().map(Value::to_string).collect();
    let line = plane.kubectl_line(Identity::Admin).args(how.iter().copied());
    let line = line.args(["--filename", "-"]);
    line.run(&documents.join("\n---\n"), APPLY_TIMEOUT)
        .await
        .map(drop)
}

/// What Argo CD tells helm about the cluster, the `.Capabilities` of a chart.
#[derive(Debug, Clone)]
pub struct Capabilities {
    /// Like `1.37.2`.
    pub version: String,
    /// Like `apps/v1` and `apps/v1/Deployment`.
    pub api_versions: BTreeSet<String>,
}

impl Capabilities {
    /// Asks the API server.
    pub async fn of(client: &Client) -> Result<Self> {
        let version = client.apiserver_version().await;
        let version = version.context("failed to ask for the API server's version")?;
        let groups = Discovery::new(client.clone()).run_aggregated().await;
        let groups = groups.context("failed to ask for the API server's kinds")?;
        let mut api_versions = BTreeSet::new();
        for group in groups.groups() {
            for version in group.versions() {
                for (resource, _) in group.versioned_resources(version) {
                    let _: bool = api_versions.insert(format!("{}/{}", resource.api_version, resource.kind));
                    let _: bool = api_versions.insert(resource.api_version);
                }
            }
        }
        Ok(Self {
            version: version.git_version.trim_start_matches('v').to_owned(),
            api_versions,
        })
    }
}

fn copy(root: &Path) -> Result<TempDir> {
    let copy = tempfile::tempdir().context("failed to create a directory")?;
    tree::copy(root, copy.path())?;
    Ok(copy)
}
