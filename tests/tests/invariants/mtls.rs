//! HELD-STAYS-CORDONED where only the API server may send reviews: it presents a client certificate, and the webhook takes no other.
//!
//! Not here: which certificates the webhook takes, see `webhook/tests/serving/tls.rs`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_tests::control_plane::{ControlPlane, Options};
use cordonhold_tests::install::{install, manifests};
use cordonhold_tests::webhook::{Mode, Protection, Webhook};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use crate::cluster::{Cluster, alone};
use crate::subject::{Subject, uncordon};
use crate::wire::Write;

/// The name in the API server's certificate.
const CLIENT: &str = "kube-apiserver";
/// The CA that the webhook is told to trust, in the directory of the test.
const CLIENT_CA: &str = "client-ca.crt";

fn authority(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// Writes what docs/webhook.md tells an admin to write: certificate and key of the API server, the kubeconfig that names them, and the
/// `AdmissionConfiguration` that names the kubeconfig.
fn write_files(directory: &Path, ca: &CertifiedIssuer<'static, KeyPair>) -> Result<()> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.distinguished_name.push(DnType::CommonName, CLIENT);
    let certificate = params.signed_by(&key, ca)?;
    let place = directory.display();
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\nusers:\n  - name: '*'\n    user:\n      client-certificate: {place}/client.crt\n      client-key: {place}/client.key\n"
    );
    let configuration = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n  - name: ValidatingAdmissionWebhook\n    configuration:\n      apiVersion: apiserver.config.k8s.io/v1\n      kind: WebhookAdmissionConfiguration\n      kubeConfigFile: {place}/kubeconfig\n"
    );
    for (name, text) in [
        (CLIENT_CA, ca.pem()),
        ("client.crt", certificate.pem()),
        ("client.key", key.serialize_pem()),
        ("kubeconfig", kubeconfig),
        ("admission.yaml", configuration),
    ] {
        std::fs::write(directory.join(name), text).with_context(|| format!("failed to write {name}"))?;
    }
    Ok(())
}

async fn start(directory: &Path) -> Result<Cluster> {
    let flag = format!(
        "--admission-control-config-file={}",
        directory.join("admission.yaml").display()
    );
    let plane = ControlPlane::start_with(Options { nodes: 1 }, &[&flag]).await?;
    let rendered = install(&plane, &manifests("base")).await?;
    let ca = format!("--client-ca-file={}", directory.join(CLIENT_CA).display());
    let names = format!("--client-allowed-names={CLIENT}");
    let webhook = Webhook::start_with(&plane, Mode::Enforce, Protection::OwnHolds, &[&ca, &names]).await?;
    Cluster::of(plane, rendered, webhook).await
}

#[test]
fn held_stays_cordoned_where_only_the_api_server_may_send_reviews() -> Result<()> {
    alone(async || {
        let directory = tempfile::tempdir().context("failed to create a directory")?;
        write_files(directory.path(), &authority("clients")?)?;
        let mut cluster = start(directory.path()).await?;
        let subject = Subject::held(&cluster, "mutual", Phase::Delaying).await?;
        let denied = subject
            .is_denied(&cluster.controller, Write::Strategic, &uncordon(), "held")
            .await?;
        drop(denied);
        // Its certificate is what lets the API server in: with another CA the webhook refuses it too.
        cluster.webhook.kill();
        std::fs::write(directory.path().join(CLIENT_CA), authority("others")?.pem())?;
        cluster.webhook.start_again().await?;
        let subject = Subject::held(&cluster, "refused", Phase::Delaying).await?;
        let answer = subject
            .write(&cluster.controller, Write::Strategic, &uncordon())
            .await?;
        ensure!(
            answer.code == 500 && answer.message().contains("failed calling webhook"),
            "{answer:?}"
        );
        ensure!(
            subject.is_cordoned().await?,
            "a request that nobody judged has passed"
        );
        Ok(())
    })
}
