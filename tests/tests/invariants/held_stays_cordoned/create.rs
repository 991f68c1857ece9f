//! CREATE of a Node with marks is denied: the hold would fill a slot of its pool, and no agent would ever end it.

use anyhow::{Result, ensure};
use cordonhold_shared::keys;
use http::{Request, header};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::delete::is_gone;
use crate::cluster::on_shared;
use crate::wire::{self, Answer};

const WEBHOOK: &str = "creates.nodes.cordonhold.dev";

#[test]
fn found_s11_no_node_is_created_with_a_mark() -> Result<()> {
    on_shared(async |cluster| {
        let taint = json!({ "key": keys::REBOOTING, "effect": "NoSchedule" });
        let marks = [
            json!({ "metadata": { "labels": { keys::PHASE: "delaying" } } }),
            json!({ "metadata": { "annotations": { keys::HOLDER: "u/2026-01-01T00:00:00Z" } } }),
            json!({ "metadata": { "annotations": { keys::WRITE: "x" } } }),
            json!({ "spec": { "taints": [taint] } }),
        ];
        let agent = cluster.agent_on("created-marked").await?;
        for (number, mark) in marks.iter().enumerate() {
            let name = format!("created-marked-{number}");
            // RBAC lets the admin create Nodes, so the webhook must deny it. RBAC does not let the agent.
            let length = cluster.log_length().await?;
            let answer = create(&cluster.admin, &name, mark).await?;
            let by_webhook = format!("admission webhook \"{WEBHOOK}\" denied the request: spoofed-hold: ");
            ensure!(
                answer.code == 403
                    && answer.body["reason"] == "Forbidden"
                    && answer.message().contains(&by_webhook)
                    && answer.message().contains("Leave out "),
                "{mark}: {answer:?}"
            );
            let decision = cluster.decision_since(length, &name).await?;
            ensure!(
                decision["verdict"] == "deny"
                    && decision["reason"] == "spoofed-hold"
                    && decision["operation"] == "CREATE"
                    && decision["effect"] == "create"
                    && decision["verb"] == "create",
                "{decision}"
            );
            ensure!(is_gone(cluster, &name).await?, "{name} is there");
            ensure!(create(&agent, &name, mark).await?.code == 403, "{mark}");
        }
        // A Node as a kubelet creates it: the webhook is not called.
        let name = "created-free";
        let length = cluster.log_length().await?;
        let own = json!({ "spec": { "taints": [{ "key": "node.kubernetes.io/not-ready", "effect": "NoSchedule" }], "unschedulable": true } });
        let answer = create(&cluster.admin, name, &own).await?;
        ensure!(answer.code == 201, "{answer:?}");
        ensure!(
            cluster.decisions_since(length, "node", name).await?.is_empty(),
            "the webhook was asked about a Node without a mark"
        );
        Ok(())
    })
}

/// Creates a Node of this name with these fields.
pub(super) async fn create(client: &Client, name: &str, with: &Value) -> Result<Answer> {
    let mut node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } });
    for (section, fields) in with.as_object().into_iter().flatten() {
        for (field, value) in fields.as_object().into_iter().flatten() {
            node[section][field] = value.clone();
        }
    }
    let request = Request::post("/api/v1/nodes")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(node.to_string().into_bytes()))?;
    wire::send(client, request).await
}
