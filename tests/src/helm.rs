//! Helm and helm-unittest, the real ones, on a chart in a directory.
//!
//! They find nothing of the user who runs the tests, and no repository: each [`Helm`] has a cache, configuration and data of its own.
//! Not here: what is in the chart; how Argo CD calls helm, see [`crate::gitops`]; how they are built, see [`crate::assets`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::assets;
use crate::install::{RENDER_TIMEOUT, Rendered};
use crate::process::CommandLine;

/// How long helm itself may take to change a release, hooks included.
const CHANGE_TIMEOUT: Duration = Duration::from_mins(2);
/// Longest run of helm when it changes a release. Past its own time-out it still notes in the release that it failed.
const CHANGE_BOUND: Duration = CHANGE_TIMEOUT.saturating_add(Duration::from_secs(30));
/// Longest run of helm-unittest. Each test renders the chart once, which takes milliseconds.
const UNITTEST_TIMEOUT: Duration = Duration::from_mins(1);

/// A chart with a name, a namespace and values.
#[derive(Debug, Clone, Copy)]
pub struct Release<'a> {
    /// The chart's directory.
    pub chart: &'a Path,
    pub name: &'a str,
    pub namespace: &'a str,
    /// YAML or JSON, over the chart's own values.
    pub values: &'a str,
}

/// Helm with its files in a directory of its own.
#[derive(Debug)]
pub struct Helm {
    program: PathBuf,
    home: TempDir,
}

impl Helm {
    /// Finds helm, or builds it.
    pub fn new() -> Result<Self> {
        Ok(Self {
            program: assets::helm()?,
            home: tempfile::tempdir().context("failed to create a directory for helm's files")?,
        })
    }

    /// Renders a release as `helm template` does, without a cluster, with further arguments.
    pub async fn template(&self, release: &Release<'_>, more: &[&str]) -> Result<Rendered> {
        let line = self.line("template").args([release.name]).arg(release.chart);
        let line = line
            .args(["--namespace", release.namespace, "--values=-"])
            .args(more);
        Rendered::from_yaml(&line.run(release.values, RENDER_TIMEOUT).await?)
    }

    /// Checks the chart with these values as `helm lint --strict` does. The error has what helm says.
    pub async fn lint(&self, release: &Release<'_>) -> Result<()> {
        let line = self.line("lint").arg(release.chart);
        let line = line.args(["--strict", "--namespace", release.namespace, "--values=-"]);
        line.run(release.values, RENDER_TIMEOUT).await.map(drop)
    }

    /// Installs a release with the rights of this kubeconfig, with further arguments. Creates the namespace. Returns what helm prints.
    pub async fn install(&self, kubeconfig: &Path, release: &Release<'_>, more: &[&str]) -> Result<String> {
        let line = self.change("install", kubeconfig, release);
        let line = line.arg(release.chart).args(["--create-namespace", "--values=-"]);
        line.args(more).run(release.values, CHANGE_BOUND).await
    }

    /// Upgrades an installed release, like [`Self::install`].
    pub async fn upgrade(&self, kubeconfig: &Path, release: &Release<'_>, more: &[&str]) -> Result<String> {
        let line = self.change("upgrade", kubeconfig, release);
        let line = line.arg(release.chart).arg("--values=-");
        line.args(more).run(release.values, CHANGE_BOUND).await
    }

    /// Uninstalls a release. Its namespace stays.
    pub async fn uninstall(&self, kubeconfig: &Path, release: &Release<'_>, more: &[&str]) -> Result<String> {
        let line = self.change("uninstall", kubeconfig, release);
        line.args(more).run("", CHANGE_BOUND).await
    }

    /// The beginning of a line that changes a release.
    fn change(&self, verb: &str, kubeconfig: &Path, release: &Release<'_>) -> CommandLine {
        let timeout = format!("--timeout={}s", CHANGE_TIMEOUT.as_secs());
        let line = self.line(verb).arg(release.name);
        let line = line.arg("--kubeconfig").arg(kubeconfig);
        line.args(["--namespace", release.namespace]).arg(timeout)
    }

    /// The beginning of a line with this subcommand. Helm's cache of the API server's groups is below HOME.
    pub(crate) fn line(&self, subcommand: &str) -> CommandLine {
        let home = self.home.path();
        CommandLine::new(&self.program)
            .env("HOME", home)
            .env("HELM_CACHE_HOME", home.join("cache"))
            .env("HELM_CONFIG_HOME", home.join("config"))
            .env("HELM_DATA_HOME", home.join("data"))
            .arg(subcommand)
    }
}

/// Runs the tests in the chart's directory `tests` with helm-unittest, strictly, and returns what it prints. A chart without tests fails.
pub async fn unittest(chart: &Path) -> Result<String> {
    let line = CommandLine::new(assets::helm_unittest()?);
    let line = line.args(["--strict", "--color=false"]).arg(chart);
    let said = line.run("", UNITTEST_TIMEOUT).await?;
    // Like `Tests:       0 passed, 0 total`.
    let totals = said.lines().filter(|line| line.starts_with("Tests:"));
    ensure!(
        totals.clone().count() == 1 && !totals.clone().any(|line| line.ends_with(" 0 total")),
        "helm-unittest found no test in {}: {said}",
        chart.display()
    );
    Ok(said)
}
