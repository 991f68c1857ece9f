//! Nodes as large as etcd allows: other data on them neither hides a hold nor stops the heartbeats.

use anyhow::{Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use serde_json::{Value, json};

use super::create::create;
use super::delete::{delete, is_gone};
use crate::cluster::on_shared;
use crate::subject::{Subject, annotate, uncordon};
use crate::wire::{self, Write};

/// The number of `<` on the Node. The API server sends each as 6 bytes, and the Node twice.
const ESCAPED_BYTES: usize = 700_000;
/// The number of taints that fit into etcd's 1.5 MiB, with keys of three letters and the two shorter effects.
const TAINTS: usize = 71_500;

#[test]
fn found_s9_a_large_node_is_cancelled_and_its_delete_leaves_a_line() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::new(cluster, "large-held").await?;
        let holder = subject.hold(Phase::Delaying).await?;
        let conditions = json!({ "status": { "conditions": [
            { "type": "Talkative", "status": "True", "message": "<".repeat(ESCAPED_BYTES) },
        ] } });
        let status = format!("{}/status", subject.name);
        wire::write(&cluster.admin, &status, Write::Strategic, &conditions)
            .await?
            .passed()?;
        let mut taints: Vec<Value> = (0..1_001)
            .map(|number| json!({ "key": format!("t{number}"), "effect": "PreferNoSchedule" }))
            .collect();
        taints.push(json!({ "key": keys::REBOOTING, "effect": "NoSchedule" }));
        let tainted = json!({ "spec": { "taints": taints } });
        drop(subject.passes(&cluster.admin, Write::Strategic, &tainted).await?);

        drop(
            subject
                .is_denied(&cluster.controller, Write::Strategic, &uncordon(), "held")
                .await?,
        );
        let length = cluster.log_length().await?;
        let reason = format!("{} it talks too much", holder.created);
        let cancel = annotate(keys::CANCEL, Some(&reason));
        drop(subject.passes(&cluster.admin, Write::Merge, &cancel).await?);
        let decision = cluster.decision_since(length, &subject.name).await?;
        ensure!(decision["reason"] == "override", "{decision}");
        let uncancel = annotate(keys::CANCEL, None);
        drop(subject.passes(&cluster.admin, Write::Merge, &uncancel).await?);

        let length = cluster.log_length().await?;
        delete(&cluster.admin, &subject.name).await?.passed()?;
        let decision = cluster.decision_since(length, &subject.name).await?;
        ensure!(
            decision["verdict"] == "flag" && decision["reason"] == "held-deleted",
            "{decision}"
        );
        Ok(())
    })
}

#[test]
fn found_s13_no_number_of_taints_stops_a_heartbeat() -> Result<()> {
    on_shared(async |cluster| {
        let name = "large-tainted";
        let answer = create(
            &cluster.admin,
            name,
            &json!({ "spec": { "taints": many_taints() } }),
        )
        .await?;
        ensure!(answer.code == 201, "{answer:?}");
        let heartbeat = json!({ "status": { "conditions": [
            { "type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z" },
        ] } });
        let status = format!("{name}/status");
        wire::write(&cluster.admin, &status, Write::Strategic, &heartbeat)
            .await?
            .passed()?;
        // The matchConditions do not compare taints one by one: the webhook judges each change of the list.
        let mut taints = many_taints();
        taints.push(json!({ "key": keys::REBOOTING, "effect": "NoSchedule" }));
        let length = cluster.log_length().await?;
        let ours = json!({ "spec": { "taints": taints } });
        wire::write(&cluster.admin, name, Write::Merge, &ours)
            .await?
            .denied()?;
        let decision = cluster.decision_since(length, name).await?;
        ensure!(decision["reason"] == "spoofed-hold", "{decision}");
        let fewer = json!({ "spec": { "taints": &many_taints()[1..] } });
        wire::write(&cluster.admin, name, Write::Merge, &fewer)
            .await?
            .passed()?;
        // Deleted at once, so that no other test has to list such a large Node.
        delete(&cluster.admin, name).await?.passed()?;
        ensure!(is_gone(cluster, name).await?, "{name} is still there");
        Ok(())
    })
}

fn many_taints() -> Vec<Value> {
    let effects = ["NoSchedule", "NoExecute"];
    let digit = |number: usize| char::from_digit(u32::try_from(number % 36).unwrap_or(0), 36).unwrap_or('0');
    (0..TAINTS)
        .map(|number| {
            let key = number / effects.len();
            let key: String = [key / 1_296, key / 36, key].into_iter().map(digit).collect();
            json!({ "key": key, "effect": effects[number % effects.len()] })
        })
        .collect()
}
