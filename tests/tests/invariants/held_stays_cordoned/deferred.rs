//! Mode `defer`: an uncordon of a held node passes without its effect, and is kept on the Node. A webhook and a policy of the API server
//! do the same; the policy also while no replica of the webhook runs.
//!
//! Not here: when the agent does the uncordon (the core, the model and the simulation).

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cordonhold_shared::hold::{DeferredUncordon, Phase, deferred_of_hold, done_under_hold};
use cordonhold_shared::keys;
use cordonhold_tests::identity::{Identity, ORDINARY_CONTROLLER};
use cordonhold_tests::wait;
use cordonhold_tests::webhook::{Mode, Protection};
use jiff::SignedDuration;
use kube::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::uncordons::ways;
use crate::admission_policy::{Mutation, create_mutation, remove_mutation};
use crate::cluster::{Cluster, alone};
use crate::manifests::overlay;
use crate::policy::{POLICY, is_denied_by, is_in_force};
use crate::subject::{Subject, annotate, uncordon};
use crate::wire::{self, Answer, Write};

/// Longest time until the API server applies a policy or calls a webhook that was just registered.
pub(super) const APPLIED_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a write may come after one of somebody else. A Node that nobody works on is written every few seconds at most.
const VERSION_TRIES: usize = 10;
/// A value of its own for each write that only has to be a write.
pub(super) const NOTE: &str = "example.com/note";

/// What changes the uncordon on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deferrer {
    Webhook,
    Policy,
}

impl Deferrer {
    fn component(self) -> &'static str {
        match self {
            Self::Webhook => "defer",
            Self::Policy => "defer-by-policy",
        }
    }

    /// Starts a cluster with this one alone, and waits until an uncordon is deferred.
    pub(super) async fn start(self) -> Result<(Cluster, TempDir)> {
        self.start_with(&[]).await
    }

    /// Starts a cluster with this one and other components, and waits until an uncordon is deferred.
    async fn start_with(self, others: &[&str]) -> Result<(Cluster, TempDir)> {
        let copy = tempfile::tempdir().context("failed to create a directory")?;
        let component = self.component();
        let components = [&[component], others].concat();
        let components: Vec<String> = components
            .iter()
            .map(|name| format!("  - ../../components/{name}\n"))
            .collect();
        let text = format!("resources: [../../base]\ncomponents:\n{}", components.concat());
        let directory = overlay(copy.path(), component, &text)?;
        let cluster = Cluster::start_with(&directory, Mode::Defer, Protection::OwnHolds, &[]).await?;
        let probe = Subject::held(&cluster, "probe", Phase::Delaying).await?;
        let target = format!("{}?dryRun=All", probe.name);
        wait::until("an uncordon to be deferred", APPLIED_TIMEOUT, || async {
            let answer = wire::write(&cluster.controller, &target, Write::Strategic, &uncordon()).await?;
            Ok((answer.code == 200).then_some(()))
        })
        .await?;
        Ok((cluster, copy))
    }
}

/// The uncordon that is kept on a Node.
pub(super) async fn kept(subject: &Subject<'_>) -> Result<DeferredUncordon> {
    let node = subject.view().await?;
    let wanted = node.annotation(keys::UNCORDON_WANTED);
    deferred_of_hold(&node).with_context(|| format!("nothing is kept on {}: {wanted:?}", subject.name))
}

/// Checks that a write passes, that it changes neither the cordon nor a mark, and that the uncordon of the controller is kept.
async fn is_deferred(
    subject: &Subject<'_>,
    deferrer: Deferrer,
    write: Write,
    body: &Value,
) -> Result<Answer> {
    let what = || format!("{write:?} {body} on {}", subject.name);
    let before = subject.guarded().await?;
    ensure!(before.unschedulable, "{} is not cordoned", subject.name);
    let answer = subject.passes(&subject.cluster.controller, write, body).await?;
    subject.is_still(&before).await.with_context(what)?;
    let kept = kept(subject).await.with_context(what)?;
    ensure!(kept.user == ORDINARY_CONTROLLER, "{}: {kept:?}", what());
    ensure!(
        kept.at.is_some() == (deferrer == Deferrer::Webhook),
        "{}: {kept:?}",
        what()
    );
    Ok(answer)
}

async fn every_way_is_deferred(cluster: &Cluster, deferrer: Deferrer, phase: Phase) -> Result<()> {
    for (number, (write, _)) in ways("").into_iter().enumerate() {
        let subject = Subject::held(cluster, &format!("way-{phase}-{number}"), phase).await?;
        let (_, body) = ways(&subject.name).swap_remove(number);
        drop(is_deferred(&subject, deferrer, write, &body).await?);
    }
    Ok(())
}

/// A PUT, as a controller sends it that writes its own label with the uncordon.
async fn put_without_cordon(subject: &Subject<'_>, change: impl FnOnce(&mut Value)) -> Result<Value> {
    let mut node = subject.json().await?;
    node["spec"]["unschedulable"] = Value::Null;
    drop(
        node["metadata"]
            .as_object_mut()
            .and_then(|metadata| metadata.remove("resourceVersion")),
    );
    change(&mut node);
    Ok(node)
}

/// Takes a mark off, as the PUT of a copy from before the hold does.
fn without_until(node: &mut Value) {
    let annotations = node["metadata"]["annotations"].as_object_mut();
    drop(annotations.and_then(|annotations| annotations.remove(keys::UNTIL)));
}

async fn a_label_in_the_same_put_stays(cluster: &Cluster, deferrer: Deferrer) -> Result<()> {
    let subject = Subject::held(cluster, "put", Phase::Delaying).await?;
    let body = put_without_cordon(&subject, |node| {
        node["metadata"]["labels"]["plan"] = json!("done");
    })
    .await?;
    drop(is_deferred(&subject, deferrer, Write::Put, &body).await?);
    ensure!(
        subject.view().await?.label("plan") == Some("done"),
        "the label is lost"
    );
    Ok(())
}

/// Programs that drain put taints on and take all of them off again; ours comes back, in a list that is there and in a new one.
async fn the_taint_comes_back(cluster: &Cluster) -> Result<()> {
    for (name, others) in [
        ("untainted", json!([])),
        (
            "tainted",
            json!([{ "key": "example.com/a", "effect": "NoSchedule" }]),
        ),
    ] {
        let subject = Subject::held(cluster, name, Phase::Draining).await?;
        let body = put_without_cordon(&subject, |node| node["spec"]["taints"] = others.clone()).await?;
        drop(is_deferred(&subject, Deferrer::Webhook, Write::Put, &body).await?);
    }
    Ok(())
}

/// The first uncordon stays to the byte, and a second one makes no new version of the Node.
async fn the_first_one_stays(cluster: &Cluster, deferrer: Deferrer) -> Result<()> {
    let subject = Subject::held(cluster, "twice", Phase::Delaying).await?;
    drop(is_deferred(&subject, deferrer, Write::Strategic, &uncordon()).await?);
    let before = subject.view().await?;
    let wanted = |node: &cordonhold_shared::node::NodeView| {
        node.annotation(keys::UNCORDON_WANTED).map(ToOwned::to_owned)
    };
    for client in [&cluster.admin, &cluster.controller] {
        drop(subject.passes(client, Write::Strategic, &uncordon()).await?);
        let after = subject.view().await?;
        ensure!(
            after.spec.unschedulable && wanted(&after) == wanted(&before),
            "{after:?}"
        );
        ensure!(after.metadata.labels == before.metadata.labels, "{after:?}");
        for (write, body) in [(Write::Strategic, uncordon()), (Write::Merge, uncordon())] {
            makes_no_version(&subject, client, write, &body).await?;
        }
    }
    Ok(())
}

/// Checks that a write makes no new version of the Node. Others write the Node too, such as its kubelet, so one try of several is enough.
async fn makes_no_version(subject: &Subject<'_>, client: &Client, write: Write, body: &Value) -> Result<()> {
    for _ in 0..VERSION_TRIES {
        let before = subject.view().await?;
        let answer = subject.passes(client, write, body).await?;
        if answer.body["metadata"]["resourceVersion"] == before.version() {
            return Ok(());
        }
    }
    bail!(
        "{write:?} {body} on {} makes a new version each time",
        subject.name
    )
}

/// kubectl says nothing of it but the warning, and exits with 0.
async fn kubectl_shows_the_warning(cluster: &Cluster) -> Result<()> {
    let subject = Subject::held(cluster, "by-kubectl", Phase::Delaying).await?;
    let output = cluster
        .plane
        .kubectl(Identity::Controller)
        .args(["uncordon", &subject.name])
        .output()
        .await
        .context("failed to run kubectl")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success()
            && said.contains("Warning: cordonhold: node by-kubectl stays cordoned")
            && said.contains(keys::KEEP_CORDONED),
        "{said}"
    );
    ensure!(subject.is_cordoned().await?, "kubectl uncordoned it");
    Ok(())
}

/// One uncordon is one line, whether the validation sees it or not.
async fn each_is_one_line(cluster: &Cluster) -> Result<()> {
    let subject = Subject::held(cluster, "logged", Phase::Delaying).await?;
    for effect in ["deferred", "uncordon"] {
        let length = cluster.log_length().await?;
        drop(
            subject
                .passes(&cluster.controller, Write::Strategic, &uncordon())
                .await?,
        );
        let decisions = cluster.decisions_since(length, "node", &subject.name).await?;
        let [decision] = decisions.as_slice() else {
            bail!("expected one line: {decisions:?}")
        };
        ensure!(
            decision["reason"] == "deferred" && decision["verdict"] == "flag" && decision["mode"] == "defer",
            "{decision}"
        );
        ensure!(decision["effect"] == effect, "{decision}");
    }
    Ok(())
}

/// A cancelled hold is open, one that has lapsed is too, and that an uncordon was done is noted.
async fn an_open_hold_is_uncordoned(cluster: &Cluster) -> Result<()> {
    let cancelled = Subject::new(cluster, "cancelled").await?;
    let holder = cancelled.hold(Phase::Delaying).await?;
    let cancel = annotate(keys::CANCEL, Some(&format!("{} not now", holder.created)));
    drop(cancelled.passes(&cluster.admin, Write::Merge, &cancel).await?);
    drop(cancelled.can_be_uncordoned(&cluster.controller).await?);

    let lapsed = Subject::held(cluster, "lapsed", Phase::Delaying).await?;
    lapsed.renewed_before(SignedDuration::from_mins(20)).await?;
    drop(lapsed.can_be_uncordoned(&cluster.controller).await?);
    let done = done_under_hold(&lapsed.view().await?).context("that it was done is not noted")?;
    ensure!(done.user == ORDINARY_CONTROLLER && done.at.is_some(), "{done:?}");
    Ok(())
}

/// A hold that was cancelled too late keeps its cordon, and so the uncordon.
async fn too_late_is_deferred(cluster: &Cluster, deferrer: Deferrer) -> Result<()> {
    let subject = Subject::new(cluster, "too-late").await?;
    let holder = subject.hold(Phase::Sealed).await?;
    let cancel = annotate(keys::CANCEL, Some(&format!("{} not now", holder.created)));
    drop(subject.passes(&cluster.admin, Write::Merge, &cancel).await?);
    drop(is_deferred(&subject, deferrer, Write::Strategic, &uncordon()).await?);
    Ok(())
}

/// What is denied as ever: other marks in the same write, and whatever an uncordon of the requester's own cannot have written.
async fn nothing_else_passes(cluster: &Cluster) -> Result<()> {
    let subject = Subject::new(cluster, "forged").await?;
    let holder = subject.hold(Phase::Delaying).await?;
    let wanted = |user: &str| {
        annotate(
            keys::UNCORDON_WANTED,
            Some(&format!("{} - {user}", holder.created)),
        )
    };
    let another = wanted("somebody-else");
    drop(
        subject
            .is_denied(&cluster.controller, Write::Merge, &another, "forged-wish")
            .await?,
    );
    let stale = put_without_cordon(&subject, without_until).await?;
    drop(
        subject
            .is_denied(&cluster.controller, Write::Put, &stale, "tampered-hold")
            .await?,
    );

    // By nodes/status not even one's own: whoever may only write that may lift no cordon.
    let length = cluster.log_length().await?;
    let target = format!("{}/status", subject.name);
    let own = wanted(Identity::Admin.user());
    let answer = wire::write(&cluster.admin, &target, Write::Merge, &own).await?;
    answer.denied()?;
    let decision = cluster.decision_since(length, &subject.name).await?;
    ensure!(decision["reason"] == "forged-wish", "{decision}");

    drop(
        subject
            .passes(&cluster.controller, Write::Strategic, &uncordon())
            .await?,
    );
    let removal = annotate(keys::UNCORDON_WANTED, None);
    drop(
        subject
            .is_denied(&cluster.admin, Write::Merge, &removal, "forged-wish")
            .await?,
    );
    drop(
        subject
            .passes(&cluster.controller, Write::Merge, &removal)
            .await?,
    );
    let node = subject.view().await?;
    ensure!(
        node.annotation(keys::UNCORDON_WANTED).is_none() && node.spec.unschedulable,
        "{node:?}"
    );
    Ok(())
}

#[test]
fn last_wish_an_uncordon_is_kept_by_the_webhook() -> Result<()> {
    alone(async || {
        let (mut cluster, _copy) = Deferrer::Webhook.start().await?;
        for phase in [Phase::Draining, Phase::Sealed, Phase::Returning] {
            every_way_is_deferred(&cluster, Deferrer::Webhook, phase).await?;
        }
        a_label_in_the_same_put_stays(&cluster, Deferrer::Webhook).await?;
        the_taint_comes_back(&cluster).await?;
        the_first_one_stays(&cluster, Deferrer::Webhook).await?;
        too_late_is_deferred(&cluster, Deferrer::Webhook).await?;
        kubectl_shows_the_warning(&cluster).await?;
        each_is_one_line(&cluster).await?;
        an_open_hold_is_uncordoned(&cluster).await?;
        nothing_else_passes(&cluster).await?;
        // With no replica nothing is deferred, and the validation fails closed.
        let name = Subject::held(&cluster, "dead", Phase::Delaying).await?.name;
        cluster.webhook.kill();
        let agent = cluster.agent_on(&name).await?;
        let subject = Subject {
            cluster: &cluster,
            name,
            agent,
        };
        let answer = subject
            .write(&cluster.controller, Write::Strategic, &uncordon())
            .await?;
        ensure!(answer.code == 500 && subject.is_cordoned().await?, "{answer:?}");
        Ok(())
    })
}

#[test]
fn last_wish_an_uncordon_is_kept_by_the_policy_with_no_replica() -> Result<()> {
    alone(async || {
        let (mut cluster, _copy) = Deferrer::Policy.start().await?;
        let seen = Subject::held(&cluster, "seen", Phase::Delaying).await?;
        let length = cluster.log_length().await?;
        drop(is_deferred(&seen, Deferrer::Policy, Write::Strategic, &uncordon()).await?);
        let decision = cluster.decision_since(length, &seen.name).await?;
        ensure!(decision["reason"] == "deferred", "{decision}");
        too_late_is_deferred(&cluster, Deferrer::Policy).await?;
        nothing_else_passes(&cluster).await?;

        cluster.webhook.kill();
        for phase in [Phase::Draining, Phase::Sealed, Phase::Returning] {
            every_way_is_deferred(&cluster, Deferrer::Policy, phase).await?;
        }
        a_label_in_the_same_put_stays(&cluster, Deferrer::Policy).await?;
        the_first_one_stays(&cluster, Deferrer::Policy).await?;
        what_the_policy_leaves_fails_closed(&cluster).await
    })
}

/// The policies that deny see what the webhook has changed already. With the webhook dead, they deny what it would have deferred.
#[test]
fn last_wish_an_uncordon_is_kept_beside_the_policies_that_deny() -> Result<()> {
    alone(async || {
        let (mut cluster, _copy) = Deferrer::Webhook.start_with(&["policy"]).await?;
        is_in_force(&cluster.admin, "node-0", POLICY).await?;
        for phase in [Phase::Draining, Phase::Sealed, Phase::Returning] {
            every_way_is_deferred(&cluster, Deferrer::Webhook, phase).await?;
        }
        the_taint_comes_back(&cluster).await?;
        the_first_one_stays(&cluster, Deferrer::Webhook).await?;
        too_late_is_deferred(&cluster, Deferrer::Webhook).await?;

        cluster.webhook.kill();
        let subject = Subject::held(&cluster, "policy-alone", Phase::Delaying).await?;
        let before = subject.guarded().await?;
        let answer = subject
            .write(&cluster.controller, Write::Strategic, &uncordon())
            .await?;
        is_denied_by(&answer, POLICY, "held")?;
        subject.is_still(&before).await
    })
}

/// What the policy does not decide needs the webhook, which is dead here.
async fn what_the_policy_leaves_fails_closed(cluster: &Cluster) -> Result<()> {
    let fails = async |subject: &Subject<'_>, write: Write, body: &Value| {
        let before = subject.guarded().await?;
        let answer = subject.write(&cluster.controller, write, body).await?;
        ensure!(answer.code == 500, "{body} on {}: {answer:?}", subject.name);
        subject.is_still(&before).await
    };
    let down = Subject::held(cluster, "down", Phase::Sealed).await?;
    cluster.plane.set_down(&down.name, true).await?;
    fails(&down, Write::Strategic, &uncordon()).await?;

    let untainted = Subject::held(cluster, "untainted-unseen", Phase::Draining).await?;
    let body = put_without_cordon(&untainted, |node| node["spec"]["taints"] = json!([])).await?;
    fails(&untainted, Write::Put, &body).await?;

    let lapsed = Subject::held(cluster, "lapsed-unseen", Phase::Delaying).await?;
    lapsed.renewed_before(SignedDuration::from_mins(20)).await?;
    fails(&lapsed, Write::Strategic, &uncordon()).await?;

    let forged = Subject::new(cluster, "forged-unseen").await?;
    let holder = forged.hold(Phase::Delaying).await?;
    let another = annotate(
        keys::UNCORDON_WANTED,
        Some(&format!("{} - another", holder.created)),
    );
    fails(&forged, Write::Merge, &another).await?;
    let stale = put_without_cordon(&forged, without_until).await?;
    fails(&forged, Write::Put, &stale).await
}

/// Somebody else's mutation that uncordons again is undone again. One that is asked again after ours may have the last word; then the uncordon
/// is denied. One that strips our annotation loses the uncordon, and not the cordon: that nobody does so is an assumption.
#[test]
fn last_wish_the_cordon_stays_among_the_mutations_of_others() -> Result<()> {
    alone(async || {
        for deferrer in [Deferrer::Webhook, Deferrer::Policy] {
            let (cluster, _copy) = deferrer.start().await?;
            for reinvocation in ["Never", "IfNeeded"] {
                uncordons_again(&cluster, deferrer, reinvocation).await?;
                strips_the_annotation(&cluster, reinvocation).await?;
            }
        }
        Ok(())
    })
}

/// Waits until a new policy is applied: it then changes a write that it is for.
async fn is_applied(subject: &Subject<'_>, body: &Value, is_changed: impl Fn(&Value) -> bool) -> Result<()> {
    let target = format!("{}?dryRun=All", subject.name);
    wait::until("a policy to be applied", APPLIED_TIMEOUT, || async {
        let answer = wire::write(&subject.cluster.admin, &target, Write::Merge, body).await?;
        Ok(is_changed(&answer.body).then_some(()))
    })
    .await
}

async fn uncordons_again(cluster: &Cluster, deferrer: Deferrer, reinvocation: &str) -> Result<()> {
    let name = format!("again-{}", reinvocation.to_lowercase());
    let mutation = Mutation {
        name: &name,
        condition: "object.metadata.?annotations[?'example.com/note'].orValue('') == 'again'",
        patch: "[JSONPatch{op: 'add', path: '/spec/unschedulable', value: false}]",
        reinvocation,
    };
    create_mutation(&cluster.admin, &mutation).await?;
    let free = Subject::new(cluster, &format!("free-{name}")).await?;
    let cordon =
        json!({ "metadata": { "annotations": { NOTE: "again" } }, "spec": { "unschedulable": true } });
    is_applied(&free, &cordon, |node| node["spec"]["unschedulable"] != true).await?;

    let subject = Subject::held(cluster, &name, Phase::Delaying).await?;
    let body = json!({ "metadata": { "annotations": { NOTE: "again" } }, "spec": { "unschedulable": null } });
    if deferrer == Deferrer::Policy && reinvocation == "IfNeeded" {
        // The API server asks each policy once more, in an order that it does not promise.
        let before = subject.guarded().await?;
        let answer = subject.write(&cluster.controller, Write::Merge, &body).await?;
        match answer.code {
            200 => drop(kept(&subject).await?),
            _ => answer.denied()?,
        }
        subject.is_still(&before).await?;
    } else {
        drop(is_deferred(&subject, deferrer, Write::Merge, &body).await?);
    }
    remove_mutation(&cluster.admin, &name).await
}

async fn strips_the_annotation(cluster: &Cluster, reinvocation: &str) -> Result<()> {
    let name = format!("strip-{}", reinvocation.to_lowercase());
    let mutation = Mutation {
        name: &name,
        condition: "object.metadata.?annotations[?'example.com/note'].orValue('') == 'strip'",
        // With no annotation there, nothing is changed.
        patch: "object.metadata.?annotations[?'cordonhold.dev/uncordon-wanted'].hasValue() \
                ? [JSONPatch{op: 'remove', path: '/metadata/annotations/cordonhold.dev~1uncordon-wanted'}] : []",
        reinvocation,
    };
    create_mutation(&cluster.admin, &mutation).await?;
    let free = Subject::new(cluster, &format!("free-{name}")).await?;
    let stale = json!({ "metadata": { "annotations": { NOTE: "strip", keys::UNCORDON_WANTED: "x" } } });
    is_applied(&free, &stale, |node| {
        node["metadata"]["annotations"]
            .get(keys::UNCORDON_WANTED)
            .is_none()
            && node["kind"] == "Node"
    })
    .await?;

    let subject = Subject::held(cluster, &name, Phase::Delaying).await?;
    let body = json!({ "metadata": { "annotations": { NOTE: "strip" } }, "spec": { "unschedulable": null } });
    drop(subject.passes(&cluster.controller, Write::Merge, &body).await?);
    ensure!(subject.is_cordoned().await?, "the cordon of {name} is lost");
    remove_mutation(&cluster.admin, &name).await
}
