//! A real cert-manager, with `components/cert-manager` and with the overlay that `docs/certificates.md` documents for an issuer of yours:
//! it makes the webhook's Secret, and its CA injector writes the CA into each webhook.
//!
//! Not here: whether the webhook loads the Secret, see `webhook/tests`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cordonhold_tests::cert_manager::CertManager;
use cordonhold_tests::control_plane::ControlPlane;
use cordonhold_tests::identity::Identity;
use cordonhold_tests::install::manifests;
use cordonhold_tests::{NAMESPACE, tree, wait};
use k8s_openapi::api::admissionregistration::v1::{ValidatingWebhook, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use crate::cluster::alone;
use crate::manifests::{add_issued_overlay, add_overlay};

/// Longest run of kubectl: it first reads the API groups, which takes seconds on a busy machine.
const KUBECTL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time until a certificate is issued and injected. It takes about ten seconds: cert-manager asks an issuer that is not ready
/// again after five.
const INJECTED_TIMEOUT: Duration = Duration::from_mins(2);

/// An issuer as the page asks for: one that fills in `ca.crt`. Its own certificate is in cert-manager's namespace for `ClusterIssuers`.
const ISSUER: &str = "apiVersion: cert-manager.io/v1
kind: ClusterIssuer
metadata: {name: self-signed}
spec: {selfSigned: {}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: your-ca, namespace: kube-system}
spec: {isCA: true, commonName: your-ca, secretName: your-ca, issuerRef: {kind: ClusterIssuer, name: self-signed}}
---
apiVersion: cert-manager.io/v1
kind: ClusterIssuer
metadata: {name: your-ca}
spec: {ca: {secretName: your-ca}}
";

#[test]
fn a_real_cert_manager_makes_and_injects_the_certificate_of_an_issuer_of_yours() -> Result<()> {
    issues_and_injects(ISSUER, add_issued_overlay)
}

#[test]
fn a_real_cert_manager_makes_and_injects_the_certificate_of_the_component() -> Result<()> {
    let component = "resources: [../../base]\ncomponents: [../../components/cert-manager]\n";
    issues_and_injects("", |copy| add_overlay(copy, "component", component))
}

/// Installs an overlay beside cert-manager and these objects. The CA of the webhook's Secret must then be in each webhook.
fn issues_and_injects(before: &str, add: impl FnOnce(&Path) -> Result<PathBuf>) -> Result<()> {
    alone(async || {
        let plane = ControlPlane::start_alone().await?;
        let cert_manager = CertManager::start(&plane).await?;
        let kubectl = |arguments: [&str; 2]| plane.kubectl_line(Identity::Admin).args(arguments);
        if !before.is_empty() {
            let apply = kubectl(["apply", "--filename=-"]);
            drop(apply.run(before, KUBECTL_TIMEOUT).await?);
        }
        let copy = tempfile::tempdir().context("failed to create a directory")?;
        tree::copy(&manifests(""), copy.path())?;
        let install = kubectl(["apply", "--kustomize"]).arg(add(copy.path())?);
        drop(install.run("", KUBECTL_TIMEOUT).await?);

        let configurations: Api<ValidatingWebhookConfiguration> = Api::all(plane.client());
        let secrets: Api<Secret> = Api::namespaced(plane.client(), NAMESPACE);
        let injected = wait::until("the Secret's CA in each webhook", INJECTED_TIMEOUT, || async {
            let secret = secrets.get("cordonhold-webhook-tls").await?;
            let found = configurations.get("cordonhold").await?;
            let webhooks = found.webhooks.unwrap_or_default();
            let ca = secret.data.as_ref().and_then(|data| data.get("ca.crt"));
            let has_ca = |webhook: &ValidatingWebhook| webhook.client_config.ca_bundle.as_ref() == ca;
            let is_injected = ca.is_some() && !webhooks.is_empty() && webhooks.iter().all(has_ca);
            Ok(is_injected.then_some(secret))
        });
        let injected = injected.await;
        let secret = injected.with_context(|| cert_manager.log_tail())?;
        ensure!(
            secret.type_.as_deref() == Some("kubernetes.io/tls"),
            "{:?}",
            secret.type_
        );
        let names: Vec<String> = secret.data.unwrap_or_default().into_keys().collect();
        ensure!(names == ["ca.crt", "tls.crt", "tls.key"], "{names:?}");
        Ok(())
    })
}
