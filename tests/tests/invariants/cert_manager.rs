//! A real cert-manager and the overlay that `manifests/README.md` documents for it: it makes the webhook's Secret, and its CA injector
//! writes the CA into each webhook.
//!
//! Not here: whether the webhook loads the Secret, see `webhook/tests`.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cordonhold_tests::cert_manager::CertManager;
use cordonhold_tests::control_plane::ControlPlane;
use cordonhold_tests::identity::Identity;
use cordonhold_tests::install::manifests;
use cordonhold_tests::{NAMESPACE, tree, wait};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use crate::cluster::alone;
use crate::manifests::add_issued_overlay;

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
fn a_real_cert_manager_issues_and_injects_what_the_page_documents() -> Result<()> {
    alone(async || {
        let plane = ControlPlane::start_alone().await?;
        let cert_manager = CertManager::start(&plane).await?;
        let issuer = plane
            .kubectl_line(Identity::Admin)
            .args(["apply", "--filename=-"]);
        drop(issuer.run(ISSUER, KUBECTL_TIMEOUT).await?);
        let copy = tempfile::tempdir().context("failed to create a directory")?;
        tree::copy(&manifests(""), copy.path())?;
        let directory = add_issued_overlay(copy.path())?;
        let install = plane
            .kubectl_line(Identity::Admin)
            .args(["apply", "--kustomize"])
            .arg(&directory);
        drop(install.run("", KUBECTL_TIMEOUT).await?);

        let configurations: Api<ValidatingWebhookConfiguration> = Api::all(plane.client());
        let secrets: Api<Secret> = Api::namespaced(plane.client(), NAMESPACE);
        let injected = wait::until("the CA in each webhook", INJECTED_TIMEOUT, || async {
            let found = configurations.get("cordonhold").await?;
            let webhooks = found.webhooks.unwrap_or_default();
            let bundles: Option<Vec<ByteString>> = webhooks
                .into_iter()
                .map(|webhook| webhook.client_config.ca_bundle)
                .collect();
            Ok(bundles)
        });
        let injected = injected.await;
        let injected = injected.with_context(|| cert_manager.log_tail())?;
        let secret = secrets.get("cordonhold-webhook-tls").await?;
        ensure!(
            secret.type_.as_deref() == Some("kubernetes.io/tls"),
            "{:?}",
            secret.type_
        );
        let data = secret.data.context("the Secret is empty")?;
        ensure!(data.contains_key("tls.crt") && data.contains_key("tls.key"));
        let ca = data.get("ca.crt").context("the Secret has no ca.crt")?;
        ensure!(
            injected.len() == 3 && injected.iter().all(|bundle| bundle == ca),
            "{injected:?}"
        );
        Ok(())
    })
}
