//! Bad input to the webhook: it always denies, and its answer has the request's uid if there is one.

use anyhow::{Context, Result, ensure};
use http::{Request, header};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;

use crate::cluster::{Cluster, on_shared};
use crate::wire::{self, Answer};

#[test]
fn a_review_that_cannot_be_read_is_denied_with_its_uid_and_logged() -> Result<()> {
    on_shared(async |cluster| {
        let client = webhook_client(cluster).await?;
        for (uid, body) in [
            (
                "bad-0001",
                r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"bad-0001","obj"#,
            ),
            (
                "bad-0002",
                r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"bad-0002"}}"#,
            ),
            (
                "bad-0003",
                r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"bad-0003","kind":{"group":"","version":"v1","kind":"Node"},"operation":"UPDATE","userInfo":{},"object":{"metadata":{"labels":7}},"oldObject":{}}}"#,
            ),
        ] {
            let length = cluster.log_length().await?;
            let answer = review(&client, body).await?;
            let response = &answer.body["response"];
            ensure!(
                answer.code == 200
                    && response["uid"] == uid
                    && response["allowed"] == false
                    && response["status"]["code"] == 403
                    && response["status"]["reason"] == "Forbidden",
                "{answer:?}"
            );
            let logged = cluster.decision_with(length, "uid", uid).await?;
            ensure!(
                logged["verdict"] == "deny" && logged["reason"] == "malformed-review",
                "{logged}"
            );
        }
        Ok(())
    })
}

#[test]
fn what_is_no_review_gets_no_answer_that_allows() -> Result<()> {
    on_shared(async |cluster| {
        let client = webhook_client(cluster).await?;
        for body in ["", "null", "[]", "{}", "\u{0}", r#"{"request":{}}"#] {
            let answer = review(&client, body).await?;
            ensure!(answer.code == 400, "{body:?}: {answer:?}");
        }
        Ok(())
    })
}

async fn review(client: &Client, body: &str) -> Result<Answer> {
    let request = Request::post("/validate")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.as_bytes().to_vec()))
        .context("failed to build a request")?;
    wire::send(client, request).await
}

/// A client that trusts the webhook by the CA bundle of its configuration.
async fn webhook_client(cluster: &Cluster) -> Result<Client> {
    let kubeconfig: Kubeconfig = serde_json::from_value(json!({
        "clusters": [{
            "name": "webhook",
            "cluster": { "server": cluster.webhook.origin(), "certificate-authority-data": cluster.webhook.ca_bundle() },
        }],
        "contexts": [{ "name": "webhook", "context": { "cluster": "webhook" } }],
        "current-context": "webhook",
    }))?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    Client::try_from(config).context("failed to build a client")
}
