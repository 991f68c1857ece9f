//! What Flux and Argo CD make of a directory that they put into another namespace, and of a chart.
//!
//! They change the kustomization itself, so each call works on a copy.
//! Not here: what they do with the objects that they have rendered; Flux' helm-controller, which installs by Helm's library, as
//! [`crate::helm::Helm::install`] does.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use kube::Client;
use kube::discovery::Discovery;
use tempfile::TempDir;

use crate::assets;
use crate::helm::{Helm, Release};
use crate::install::{RENDER_TIMEOUT, Rendered};
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
