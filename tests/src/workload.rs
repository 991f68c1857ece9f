//! Fills nodes with pods.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;

use crate::wait;

/// Longest start of all pods. 500 pods take about 15 s on two cores.
const RUNNING_TIMEOUT: Duration = Duration::from_mins(3);

/// Creates a Deployment in `default`, whose pods the scheduler spreads over the nodes, and waits until all of them run.
pub async fn deploy(client: &Client, name: &str, replicas: u32) -> Result<()> {
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": {
                    // A fake pod has no use for a token.
                    "automountServiceAccountToken": false,
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{ "name": "pause", "image": "registry.k8s.io/pause:3.10" }],
                    "topologySpreadConstraints": [{
                        "maxSkew": 1,
                        "topologyKey": "kubernetes.io/hostname",
                        "whenUnsatisfiable": "ScheduleAnyway",
                        "labelSelector": { "matchLabels": { "app": name } },
                    }],
                },
            },
        },
    }))?;
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    drop(
        deployments
            .create(&PostParams::default(), &deployment)
            .await
            .with_context(|| format!("failed to create the Deployment {name}"))?,
    );
    wait::until(
        &format!("{replicas} pods of {name} to run"),
        RUNNING_TIMEOUT,
        || async {
            let ready = deployments
                .get_status(name)
                .await?
                .status
                .and_then(|status| status.ready_replicas)
                .unwrap_or(0);
            Ok((i64::from(ready) >= i64::from(replicas)).then_some(()))
        },
    )
    .await
}
