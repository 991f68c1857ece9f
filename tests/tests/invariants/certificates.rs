//! Certificates without help: `cordonhold-webhook certs` makes, renews and repairs them, with the rights of `rules()` and no others.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cordonhold_tests::certificates::proof::{self, Proof};
use cordonhold_tests::certificates::{
    CA_SECRET, CONFIGURATION, Certs, NODE, Replicas, SERVED_SECRET, admit, authorities, plane,
};
use cordonhold_tests::control_plane::ControlPlane;
use cordonhold_tests::identity::Identity;
use cordonhold_tests::webhook::http_get;
use cordonhold_tests::{NAMESPACE, wait};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::cluster::alone;

/// "Within seconds", on a busy machine.
pub(crate) const SECONDS: Duration = Duration::from_secs(10);
/// Nothing is called there: for tests that send no admission.
const NOWHERE: &str = "https://127.0.0.1:9";

/// Each `caBundle` of both configurations.
async fn bundles(client: &Client) -> Result<Vec<Vec<u8>>> {
    let validating: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let validating = validating
        .get(CONFIGURATION)
        .await?
        .webhooks
        .into_iter()
        .flatten();
    let mutating = mutating.get(CONFIGURATION).await?.webhooks.into_iter().flatten();
    let clients = validating
        .map(|webhook| webhook.client_config)
        .chain(mutating.map(|webhook| webhook.client_config));
    Ok(clients
        .map(|client| client.ca_bundle.unwrap_or_default().0)
        .collect())
}

/// Waits until each `caBundle` has exactly the CAs of the Secret, and a certificate is there. Returns their PEM.
pub(crate) async fn wait_right(client: &Client, what: &str) -> Result<String> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    wait::until(what, SECONDS, || async {
        let cas: Vec<String> = authorities(client)
            .await?
            .iter()
            .map(|ca| ca.certificate.clone())
            .collect();
        let pem: String = cas.concat().split_whitespace().collect();
        let bundles = bundles(client).await?;
        let bare = |bundle: &Vec<u8>| {
            String::from_utf8_lossy(bundle)
                .split_whitespace()
                .collect::<String>()
        };
        ensure!(bundles.len() == 4, "{} webhooks", bundles.len());
        let is_right = !cas.is_empty() && bundles.iter().all(|bundle| bare(bundle) == pem);
        let is_served = secrets.get_opt(SERVED_SECRET).await?.is_some();
        Ok((is_right && is_served).then(|| cas.concat()))
    })
    .await
}

#[test]
fn two_and_three_processes_that_start_at_once_make_one_ca() -> Result<()> {
    alone(async || {
        let plane = plane(NOWHERE).await?;
        let secrets: Api<Secret> = Api::namespaced(plane.client(), NAMESPACE);
        for (round, count) in [2, 3, 2, 3, 3].into_iter().enumerate() {
            let mut racing = Vec::new();
            for number in 0..count {
                racing.push(Certs::start(&plane, &format!("racer-{round}-{number}"), &[]).await?);
            }
            for certs in &racing {
                certs.wait_ready().await?;
            }
            let _pem = wait_right(&plane.client(), "all to be right after a race").await?;
            let cas = authorities(&plane.client()).await?;
            ensure!(
                cas.len() == 1,
                "{} CAs from {count} processes: {cas:?}",
                cas.len()
            );
            let made: usize = racing
                .iter()
                .map(|certs| Ok(certs.logged("made a CA")?.len()))
                .sum::<Result<_>>()?;
            ensure!(made == 1, "{made} CAs were made by {count} processes");
            for certs in &mut racing {
                certs.stop().await?;
            }
            drop(secrets.delete(CA_SECRET, &DeleteParams::default()).await?);
            drop(secrets.delete(SERVED_SECRET, &DeleteParams::default()).await?);
            unregister(&plane).await?;
        }
        Ok(())
    })
}

/// Takes the CAs out of both configurations again.
async fn unregister(plane: &ControlPlane) -> Result<()> {
    strip(&plane.client(), "somebody", None).await?;
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(plane.client());
    let configuration = mutating.get(CONFIGURATION).await?;
    let names = configuration
        .webhooks
        .into_iter()
        .flatten()
        .map(|webhook| webhook.name);
    let webhooks = with_bundle(names, None);
    let patch = Patch::Strategic(json!({ "webhooks": webhooks }));
    drop(
        mutating
            .patch(CONFIGURATION, &PatchParams::default(), &patch)
            .await?,
    );
    Ok(())
}

/// The webhooks of a patch that gives each of these this `caBundle`, in base64, or none.
fn with_bundle(names: impl Iterator<Item = String>, bundle: Option<&str>) -> Vec<Value> {
    names
        .map(|name| json!({ "name": name, "clientConfig": { "caBundle": bundle } }))
        .collect()
}

/// Writes this `caBundle`, in base64, or none into every webhook of the validating configuration, as this field manager. Also changes a label,
/// as a program that applies the whole object does.
pub(crate) async fn strip(client: &Client, manager: &str, bundle: Option<&str>) -> Result<()> {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let configuration = api.get(CONFIGURATION).await?;
    let names = configuration
        .webhooks
        .into_iter()
        .flatten()
        .map(|webhook| webhook.name);
    let webhooks = with_bundle(names, bundle);
    let patch = json!({
        "metadata": { "labels": { "applied": format!("{:?}", Instant::now()).replace(|c: char| !c.is_ascii_alphanumeric(), "") } },
        "webhooks": webhooks,
    });
    let parameters = PatchParams {
        field_manager: Some(manager.to_owned()),
        ..PatchParams::default()
    };
    drop(
        api.patch(CONFIGURATION, &parameters, &Patch::Strategic(patch))
            .await?,
    );
    Ok(())
}

#[test]
fn a_bundle_that_is_stripped_or_replaced_is_repaired_within_seconds_and_who_did_it_is_named() -> Result<()> {
    alone(async || {
        let plane = plane(NOWHERE).await?;
        let client = plane.client();
        let certs = Certs::start(&plane, "certs", &[]).await?;
        certs.wait_ready().await?;
        let stranger = cordonhold_certs_dev::issue(&["localhost".to_owned()])?.ca_bundle();
        for (manager, bundle, label, says) in [
            (
                "kubectl-edit",
                None,
                "kubectl",
                "removed, perhaps by the field manager kubectl-edit",
            ),
            (
                "argocd-controller",
                Some(stranger.as_str()),
                "argocd",
                "changed by the field manager argocd-controller",
            ),
            (
                "kustomize-controller",
                Some("bm9uc2Vuc2U="),
                "flux",
                "changed by the field manager kustomize-controller",
            ),
        ] {
            let advised = certs.logged("caBundles are changed again and again")?;
            ensure!(advised.is_empty(), "too early, before {manager}: {advised:?}");
            let before = certs.logged("repaired a caBundle")?.len();
            match strip(&client, manager, bundle).await {
                Ok(()) => {}
                // The API server itself refuses what is not PEM.
                Err(error) if bundle == Some("bm9uc2Vuc2U=") => {
                    ensure!(format!("{error:#}").contains("caBundle"), "{error:#}");
                    strip(&client, manager, Some(&stranger)).await?;
                }
                Err(error) => return Err(error),
            }
            let _pem = wait_right(&client, "the caBundles to be repaired").await?;
            let lines = wait::until("the repairs in the log", SECONDS, || async {
                let lines = certs.logged("repaired a caBundle")?.split_off(before);
                Ok((lines.len() == 3).then_some(lines))
            })
            .await?;
            for line in lines {
                let why = line["why"].as_str().unwrap_or_default();
                ensure!(why.contains(says) && line["meddler"] == label, "{line}");
            }
            let (_, page) = http_get(certs.admin_address()?, "/metrics").await?;
            let counted = format!("cordonhold_ca_bundle_repairs_total{{manager=\"{label}\"}} 3\n");
            ensure!(page.contains(&counted), "{page}");
        }
        wait::until("the advice after the third repair", SECONDS, || async {
            let advised = certs.logged("caBundles are changed again and again")?;
            ensure!(advised.len() <= 1, "{advised:?}");
            Ok((advised.len() == 1).then_some(()))
        })
        .await?;
        repair_in_events(client).await
    })
}

async fn repair_in_events(client: Client) -> Result<()> {
    let events: Api<Event> = Api::namespaced(client, "default");
    wait::until("the Event of a repair", SECONDS, || async {
        let listed = events.list(&ListParams::default()).await?.items;
        let is_it = |event: &&Event| {
            event.reason.as_deref() == Some("CaBundleRepaired")
                && event
                    .note
                    .as_deref()
                    .is_some_and(|note| note.contains("argocd-controller"))
        };
        Ok(listed.iter().find(is_it).map(drop))
    })
    .await
}

#[test]
fn deleted_secrets_come_back_and_no_admission_fails_meanwhile() -> Result<()> {
    alone(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let plane = plane(&format!("https://{}", listener.local_addr()?)).await?;
        let client = plane.client();
        // A CA settles for longer than the replicas take to read the configuration.
        let mut certs = Certs::start(&plane, "certs", &["--settle=11s"]).await?;
        certs.wait_ready().await?;
        let _replicas = Replicas::start(&plane, 2, listener).await?;
        let controller = plane.client_from(&plane.kubeconfig(Identity::Controller)).await?;
        wait::until("the API server to trust the replicas", SECONDS, || async {
            admit(&controller).await.map(Some)
        })
        .await?;
        let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
        drop(secrets.delete(SERVED_SECRET, &DeleteParams::default()).await?);
        let first = wait_right(&client, "the certificate to come back").await?;
        admit(&controller).await?;

        drop(secrets.delete(CA_SECRET, &DeleteParams::default()).await?);
        let deadline = Instant::now() + SECONDS;
        let both = loop {
            admit(&controller).await?;
            let pem = wait_right(&client, "the CAs to come back").await?;
            if pem != first {
                break pem;
            }
            ensure!(Instant::now() < deadline, "the CAs stayed away");
        };
        ensure!(both.contains(first.trim()), "the old CA is not trusted any more");
        wait::until("the new CA to sign", Duration::from_secs(180), || async {
            // Each look is an admission too.
            admit(&controller).await?;
            Ok((certs.signers()?.len() == 2).then_some(()))
        })
        .await?;
        admit(&controller).await?;
        certs.stop().await?;
        // While that part is down, nothing stops.
        admit(&controller).await
    })
}

/// The order of docs/certificates.md, "Somebody has read a key". In any other order the old CA comes back.
#[test]
fn after_somebody_has_read_a_key_no_bundle_has_the_old_ca() -> Result<()> {
    alone(async || {
        let plane = plane(NOWHERE).await?;
        let client = plane.client();
        let mut certs = Certs::start(&plane, "certs", &[]).await?;
        certs.wait_ready().await?;
        let stolen = wait_right(&client, "the first CA").await?;

        certs.stop().await?;
        let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
        for name in [CA_SECRET, SERVED_SECRET] {
            drop(secrets.delete(name, &DeleteParams::default()).await?);
        }
        unregister(&plane).await?;
        certs.start_again()?;

        let new = wait_right(&client, "the next CA").await?;
        ensure!(!new.contains(stolen.trim()), "the old CA is still trusted");
        ensure!(
            authorities(&client).await?.len() == 1,
            "more than the new CA is trusted: {new}"
        );
        Ok(())
    })
}

#[test]
fn what_cert_manager_or_somebody_else_keeps_is_left_alone_until_they_give_it_up() -> Result<()> {
    alone(async || {
        let plane = plane(NOWHERE).await?;
        let client = plane.client();
        let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
        let theirs = cordonhold_certs_dev::issue(&["localhost".to_owned()])?;
        let secret: Secret = serde_json::from_value(json!({
            "metadata": { "name": SERVED_SECRET, "annotations": { "cert-manager.io/certificate-name": "webhook" } },
            "type": "kubernetes.io/tls",
            "stringData": { "tls.crt": theirs.cert_pem, "tls.key": theirs.key_pem },
        }))?;
        let created = secrets.create(&PostParams::default(), &secret).await?;
        let certs = Certs::start(&plane, "certs", &[]).await?;
        unready_for(
            &certs,
            "cert-manager keeps the Secret cordonhold/cordonhold-webhook-tls",
        )
        .await?;
        let (_, page) = http_get(certs.admin_address()?, "/metrics").await?;
        ensure!(
            page.contains("cordonhold_certs_problem{problem=\"cert-manager\"} 1\n"),
            "{page}"
        );

        let patch = json!({ "metadata": { "annotations": { "cert-manager.io/certificate-name": null } } });
        drop(
            secrets
                .patch(SERVED_SECRET, &PatchParams::default(), &Patch::Merge(patch))
                .await?,
        );
        unready_for(&certs, "no caBundle has its CA").await?;
        let kept = secrets.get(SERVED_SECRET).await?;
        ensure!(kept.data == created.data, "their certificate was overwritten");
        ensure!(authorities(&client).await?.is_empty(), "a CA was made");

        annotate(&client, json!("cordonhold/webhook")).await?;
        drop(secrets.delete(SERVED_SECRET, &DeleteParams::default()).await?);
        unready_for(
            &certs,
            "cert-manager keeps the ValidatingWebhookConfiguration cordonhold",
        )
        .await?;
        ensure!(
            bundles(&client).await?.iter().all(Vec::is_empty),
            "a caBundle was written"
        );
        annotate(&client, json!(null)).await?;
        certs.wait_ready().await?;
        let _pem = wait_right(&client, "all to be right once nobody else keeps it").await?;
        Ok(())
    })
}

async fn unready_for(certs: &Certs, why: &str) -> Result<()> {
    wait::until(&format!("readyz to say {why:?}"), SECONDS, || async {
        let (status, text) = http_get(certs.admin_address()?, "/readyz").await?;
        Ok((status == 503 && text.contains(why)).then_some(()))
    })
    .await
}

/// Sets cert-manager's annotation of the validating configuration.
async fn annotate(client: &Client, value: Value) -> Result<()> {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let patch = json!({ "metadata": { "annotations": { "cert-manager.io/inject-ca-from": value } } });
    drop(
        api.patch(CONFIGURATION, &PatchParams::default(), &Patch::Merge(patch))
            .await?,
    );
    Ok(())
}

#[test]
fn no_admission_fails_while_cas_change_and_replicas_restart() -> Result<()> {
    alone(async || {
        let proof = Proof {
            admissions: 2_000,
            rotations: 3,
            flags: proof::flags(
                Duration::from_secs(30),
                Duration::from_secs(17),
                Duration::from_secs(11),
            ),
            restart_every: Duration::from_secs(3),
            kill_after: None,
            bound: Duration::from_mins(4),
        };
        let shown = proof::run(&proof, |_| {}).await?;
        println!("{shown:?}");
        ensure!(shown.failed == 0, "{shown:#?}");
        ensure!(
            shown.admissions >= proof.admissions && shown.rotations >= proof.rotations,
            "{shown:#?}"
        );
        ensure!(shown.restarts >= 2 && shown.connections >= 100, "{shown:#?}");
        Ok(())
    })
}

#[test]
fn without_a_right_the_log_names_it_and_readyz_says_so() -> Result<()> {
    alone(async || {
        let plane = plane(NOWHERE).await?;
        let roles: Api<k8s_openapi::api::rbac::v1::Role> = Api::namespaced(plane.client(), NAMESPACE);
        drop(roles.delete("cordonhold-certs", &DeleteParams::default()).await?);
        let certs = Certs::start(&plane, "certs", &[]).await?;
        let (_, text) = wait::until("readyz to name the Secret", SECONDS, || async {
            let (status, text) = http_get(certs.admin_address()?, "/readyz").await?;
            Ok(text.contains("failed to read").then_some((status, text)))
        })
        .await?;
        ensure!(
            text.contains("Secret cordonhold/cordonhold-webhook-tls") && text.contains("403"),
            "{text}"
        );
        ensure!(!text.contains(NODE), "{text}");
        let nothing = authorities(&plane.client()).await?;
        ensure!(nothing.is_empty(), "{nothing:?}");
        let said = certs.logged("keeping the certificates")?;
        ensure!(!said.is_empty(), "it did not say that it runs");
        Ok(())
    })
}
