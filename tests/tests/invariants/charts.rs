//! The tools that charts are rendered, tested and installed with, on a chart of one ConfigMap.
//!
//! Not here: a chart of Cordonhold.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cordonhold_tests::gitops::{self, Capabilities};
use cordonhold_tests::helm::{self, Helm, Release};
use cordonhold_tests::identity::Identity;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;
use tempfile::TempDir;

use crate::cluster::on_shared;

const TEMPLATE: &str = r#"apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
  namespace: {{ .Release.Namespace }}
data:
  {{ .Values.key }}: {{ required "no greeting is set" .Values.greeting }}
  version: {{ .Capabilities.KubeVersion.Version }}
  apiservices: {{ .Capabilities.APIVersions.Has "apiregistration.k8s.io/v1/APIService" | quote }}
"#;
const UNITTEST: &str = "suite: greeting
templates: [config.yaml]
tests:
  - it: greets
    set: {greeting: hello}
    asserts:
      - equal: {path: data.greeting, value: hello}
";

fn chart() -> Result<TempDir> {
    let chart = tempfile::tempdir().context("failed to create a directory")?;
    write(
        chart.path(),
        "Chart.yaml",
        "apiVersion: v2\nname: hello\nversion: 0.1.0\n",
    )?;
    write(chart.path(), "values.yaml", "key: greeting\n")?;
    write(chart.path(), "templates/config.yaml", TEMPLATE)?;
    Ok(chart)
}

fn write(chart: &Path, name: &str, content: &str) -> Result<()> {
    let path = chart.join(name);
    std::fs::create_dir_all(path.parent().context("a file has a directory")?)
        .and_then(|()| std::fs::write(&path, content))
        .with_context(|| format!("failed to write {}", path.display()))
}

fn release<'a>(chart: &'a TempDir, name: &'a str, values: &'a str) -> Release<'a> {
    Release {
        chart: chart.path(),
        name,
        namespace: "charts",
        values,
    }
}

/// Checks that the error says this.
fn says<T: std::fmt::Debug>(result: Result<T>, what: &str) -> Result<()> {
    let error = format!(
        "{:#}",
        result.err().with_context(|| format!("nothing says {what}"))?
    );
    ensure!(error.contains(what), "{error}");
    Ok(())
}

#[tokio::test]
async fn helm_renders_and_lints_a_chart() -> Result<()> {
    let (helm, chart) = (Helm::new()?, chart()?);
    let hello = release(&chart, "hello", "greeting: good evening");
    let rendered = helm.template(&hello, &["--kube-version=1.32.0"]).await?;
    let [object] = rendered.objects() else {
        anyhow::bail!("{rendered:?}")
    };
    ensure!(
        object["metadata"] == json!({ "name": "hello", "namespace": "charts" }),
        "{object}"
    );
    let data = json!({ "greeting": "good evening", "version": "v1.32.0", "apiservices": "false" });
    ensure!(object["data"] == data, "{object}");
    helm.lint(&hello).await?;

    let silent = release(&chart, "hello", "");
    says(helm.template(&silent, &[]).await, "no greeting is set")?;
    write(chart.path(), "templates/broken.yaml", "a: {{ .Values")?;
    says(helm.lint(&hello).await, "broken.yaml")
}

#[tokio::test]
async fn helm_unittest_runs_the_tests_of_a_chart() -> Result<()> {
    let chart = chart()?;
    says(helm::unittest(chart.path()).await, "found no test")?;
    write(chart.path(), "tests/config_test.yaml", UNITTEST)?;
    let said = helm::unittest(chart.path()).await?;
    ensure!(said.contains("1 passed, 1 total"), "{said}");
    let wrong = UNITTEST.replace("value: hello", "value: goodbye");
    write(chart.path(), "tests/config_test.yaml", &wrong)?;
    says(helm::unittest(chart.path()).await, "goodbye")
}

#[test]
fn helm_installs_upgrades_and_uninstalls_a_chart() -> Result<()> {
    on_shared(async |cluster| {
        let (helm, chart) = (Helm::new()?, chart()?);
        let kubeconfig = cluster.plane.kubeconfig(Identity::Admin);
        let api: Api<ConfigMap> = Api::namespaced(cluster.admin.clone(), "charts");
        let greeting = async || -> Result<Option<String>> {
            let object = api
                .get_opt("hello")
                .await
                .context("failed to read the ConfigMap")?;
            Ok(object.and_then(|object| object.data?.remove("greeting")))
        };

        let first = release(&chart, "hello", "greeting: hello");
        drop(helm.install(&kubeconfig, &first, &[]).await?);
        ensure!(greeting().await? == Some("hello".to_owned()));
        let second = release(&chart, "hello", "greeting: good morning");
        says(helm.install(&kubeconfig, &second, &[]).await, "name")?;
        drop(helm.upgrade(&kubeconfig, &second, &[]).await?);
        ensure!(greeting().await? == Some("good morning".to_owned()));
        let refused = release(&chart, "hello", "{greeting: hello, key: 'not a key'}");
        says(helm.upgrade(&kubeconfig, &refused, &[]).await, "not a key")?;
        ensure!(greeting().await? == Some("good morning".to_owned()));
        drop(helm.uninstall(&kubeconfig, &second, &[]).await?);
        ensure!(greeting().await?.is_none());
        Ok(())
    })
}

#[test]
fn argo_cd_tells_a_chart_what_the_cluster_knows() -> Result<()> {
    on_shared(async |cluster| {
        let (helm, chart) = (Helm::new()?, chart()?);
        let knows = Capabilities::of(&cluster.admin).await?;
        let hello = release(&chart, "hello", "greeting: hello");
        let rendered = gitops::argo_helm(&helm, &hello, &knows).await?;
        let version = cluster.admin.apiserver_version().await?.git_version;
        let data = json!({ "greeting": "hello", "version": version, "apiservices": "true" });
        let [object] = rendered.objects() else {
            anyhow::bail!("{rendered:?}")
        };
        ensure!(
            object["data"] == data && object["metadata"]["namespace"] == "charts",
            "{object}"
        );
        Ok(())
    })
}
