//! NEVER-IN-THE-WAY: while the webhook is down with `failurePolicy: Fail`, only a few requests fail: the uncordon of a held node,
//! and any write of an agent to another node, which no agent does. Where stock kured is protected, these fail too: every uncordon
//! except kured's own, and edits of another node's entry in kured's lock.

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_tests::identity::Impersonation;
use cordonhold_tests::webhook::{Mode, Protection};
use cordonhold_tests::{AGENT_ACCOUNT, NAMESPACE};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::cluster::{Cluster, alone};
use crate::stock_kured::{Kured, KuredOnNode, LOCK_WEBHOOK};
use crate::subject::{Subject, annotate, cordon, uncordon};
use crate::wire::{self, WEBHOOK, Write};

#[test]
fn a_dead_webhook_stops_only_what_opens_a_hold() -> Result<()> {
    alone(async || {
        let mut cluster = Cluster::start("base", Mode::Enforce, Protection::OwnHolds).await?;
        cluster.webhook.kill();
        the_agent_goes_through_its_cycle(&cluster).await?;
        others_write_what_is_not_ours(&cluster).await?;
        uncordons_without_a_hold_pass(&cluster).await?;
        an_uncordon_of_a_held_node_fails_closed(&cluster).await?;
        an_agent_elsewhere_fails_closed(&cluster).await?;
        a_held_node_can_be_deleted(&cluster).await?;
        cluster.webhook.start_again().await?;
        let subject = Subject::held(&cluster, "again", Phase::Delaying).await?;
        drop(
            subject
                .is_denied(&cluster.controller, Write::Strategic, &uncordon(), "held")
                .await?,
        );
        Ok(())
    })
}

#[test]
fn with_stock_kured_protected_only_uncordons_wait() -> Result<()> {
    alone(async || {
        let mut cluster = Cluster::start_beside_kured().await?;
        let kured = Kured::install(&cluster).await?;
        cluster.webhook.kill();
        the_agent_goes_through_its_cycle(&cluster).await?;
        others_write_what_is_not_ours(&cluster).await?;
        an_uncordon_of_a_held_node_fails_closed(&cluster).await?;
        a_held_node_can_be_deleted(&cluster).await?;
        let node = Subject::new(&cluster, "kured-alone").await?;
        let neighbour = Subject::new(&cluster, "kured-neighbour").await?;
        let (here, there) = (
            Kured::on_node(&cluster, &node.name).await?,
            Kured::on_node(&cluster, &neighbour.name).await?,
        );
        kured_goes_through_its_cycle(&node, &here, &there).await?;
        only_edits_of_anothers_entry_wait(&cluster, &kured, &here, &there).await?;
        // kured's lock is not on the Node, so CEL cannot know whether the node is held, and every uncordon fails.
        let subject = Subject::new(&cluster, "kured-not-held").await?;
        drop(subject.passes(&cluster.admin, Write::Merge, &cordon()).await?);
        fails_closed(&subject).await
    })
}

/// kured's cycle works while the webhook is down: lock, cordon, its own uncordon, release; with one owner and with several.
async fn kured_goes_through_its_cycle(
    node: &Subject<'_>,
    here: &KuredOnNode,
    there: &KuredOnNode,
) -> Result<()> {
    here.acquire().await?.passed()?;
    drop(node.passes(&here.client, Write::Strategic, &cordon()).await?);
    drop(node.can_be_uncordoned(&here.client).await?);
    here.release().await?.passed()?;
    for kured in [here, there] {
        kured.acquire_slot().await?.passed()?;
    }
    for kured in [here, there] {
        kured.release_slot().await?.passed()?;
    }
    Ok(())
}

async fn only_edits_of_anothers_entry_wait(
    cluster: &Cluster,
    kured: &Kured,
    here: &KuredOnNode,
    there: &KuredOnNode,
) -> Result<()> {
    kured
        .set_lock(keys::KURED_LOCK, None)
        .await
        .context("an edit by hand")?;
    here.acquire().await?.passed()?;
    let before = kured.lock().await?;
    let answer = there.release().await?;
    ensure!(
        answer.code == 500
            && answer
                .message()
                .contains(&format!("failed calling webhook \"{LOCK_WEBHOOK}\"")),
        "{answer:?}"
    );
    ensure!(kured.lock().await? == before, "the lock changed");
    // Agents may edit the lock: the webhook is not called for them.
    let agent = Impersonation::service_account(NAMESPACE, AGENT_ACCOUNT).on_node("kured-neighbour");
    let daemon_sets: Api<DaemonSet> = Api::namespaced(cluster.plane.client_as(&agent).await?, "kube-system");
    let released = json!({ "metadata": { "annotations": { keys::KURED_LOCK: null } } });
    drop(
        daemon_sets
            .patch("kured", &PatchParams::default(), &Patch::Merge(released))
            .await?,
    );
    Ok(())
}

/// Deleting a held Node is only flagged by default, so an autoscaler never waits for the webhook.
async fn a_held_node_can_be_deleted(cluster: &Cluster) -> Result<()> {
    let subject = Subject::held(cluster, "deleted-while-dead", Phase::Delaying).await?;
    let nodes: Api<Node> = Api::all(cluster.admin.clone());
    drop(nodes.delete(&subject.name, &DeleteParams::default()).await?);
    ensure!(
        nodes.get_opt(&subject.name).await?.is_none(),
        "the Node is still there"
    );
    Ok(())
}

async fn the_agent_goes_through_its_cycle(cluster: &Cluster) -> Result<()> {
    let subject = Subject::new(cluster, "agent-cycle").await?;
    drop(subject.hold(Phase::Returning).await?);
    ensure!(
        subject.is_cordoned().await?,
        "the agent's cordon did not come about"
    );
    subject.give_back().await?;
    let after = subject.guarded().await?;
    ensure!(
        !after.unschedulable && !after.is_tainted && after.phase.is_none(),
        "{after:?}"
    );
    Ok(())
}

async fn others_write_what_is_not_ours(cluster: &Cluster) -> Result<()> {
    let subject = Subject::held(cluster, "others", Phase::Delaying).await?;
    let before = subject.guarded().await?;
    for client in [&cluster.admin, &cluster.controller] {
        let label = json!({ "metadata": { "labels": { "team": "a" } } });
        drop(subject.passes(client, Write::Merge, &label).await?);
        drop(
            subject
                .passes(
                    client,
                    Write::Strategic,
                    &annotate("example.org/note", Some("hello")),
                )
                .await?,
        );
        drop(
            subject
                .passes(client, Write::Merge, &annotate(keys::PAUSE, Some("true")))
                .await?,
        );
        drop(subject.passes(client, Write::Merge, &cordon()).await?);
    }
    // A controller adds its own taint by writing the whole list, with our taint in it.
    let mut node = subject.json().await?;
    if let Some(taints) = node["spec"]["taints"].as_array_mut() {
        taints.push(json!({ "key": "example.org/maintenance", "effect": "NoExecute" }));
    }
    let taints = json!({ "spec": { "taints": node["spec"]["taints"] } });
    drop(subject.passes(&cluster.controller, Write::Merge, &taints).await?);
    let heartbeat = json!({ "status": { "conditions": [
        { "type": "DiskPressure", "status": "False", "reason": "KubeletHasNoDiskPressure", "message": "heartbeat" },
    ] } });
    let target = format!("{}/status", subject.name);
    wire::write(&cluster.admin, &target, Write::Strategic, &heartbeat)
        .await?
        .passed()?;
    cluster.plane.wait_node_ready(&subject.name, true).await?;
    subject.is_still(&before).await
}

async fn uncordons_without_a_hold_pass(cluster: &Cluster) -> Result<()> {
    let subject = Subject::new(cluster, "not-held").await?;
    drop(subject.passes(&cluster.admin, Write::Merge, &cordon()).await?);
    drop(subject.can_be_uncordoned(&cluster.controller).await?);
    drop(subject.hold(Phase::Wanted).await?);
    drop(subject.passes(&cluster.admin, Write::Merge, &cordon()).await?);
    drop(subject.can_be_uncordoned(&cluster.controller).await?);
    Ok(())
}

async fn an_uncordon_of_a_held_node_fails_closed(cluster: &Cluster) -> Result<()> {
    fails_closed(&Subject::held(cluster, "held", Phase::Delaying).await?).await
}

/// An agent's write to another node fails. No agent has to do that, so its own work never waits.
async fn an_agent_elsewhere_fails_closed(cluster: &Cluster) -> Result<()> {
    let own = Subject::new(cluster, "agent-here").await?;
    let other = Subject::new(cluster, "agent-elsewhere").await?;
    let label = json!({ "metadata": { "labels": { "team": "a" } } });
    drop(own.passes(&own.agent, Write::Merge, &label).await?);
    does_not_pass(&other, &own.agent, &label).await
}

async fn fails_closed(subject: &Subject<'_>) -> Result<()> {
    does_not_pass(subject, &subject.cluster.admin, &uncordon()).await
}

async fn does_not_pass(subject: &Subject<'_>, client: &Client, body: &Value) -> Result<()> {
    let before = subject.guarded().await?;
    let answer = subject.write(client, Write::Strategic, body).await?;
    ensure!(
        answer.code == 500
            && answer.body["reason"] == "InternalError"
            && answer
                .message()
                .contains(&format!("failed calling webhook \"{WEBHOOK}\"")),
        "{answer:?}"
    );
    subject.is_still(&before).await
}
