//! The policies of the API server that keep held nodes cordoned: with no replica of the webhook running, beside it, and without it.
//!
//! Not here: mode defer's policy (`held_stays_cordoned/deferred.rs`), the one for people (`roles.rs`), and policies in files
//! (`static_admission.rs`).

mod cases;
mod decision;
mod generated;
mod page;
mod state;
mod table;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_tests::control_plane::{ControlPlane, Options};
use cordonhold_tests::identity::Identity;
use cordonhold_tests::install::install;
use cordonhold_tests::wait;
use cordonhold_tests::webhook::{Mode, Protection};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::{Cluster, alone};
use crate::fleet::Site;
use crate::held_stays_cordoned::ways;
use crate::manifests::overlay;
use crate::one_node_one_agent::nothing_of_ours;
use crate::subject::{Subject, annotate, uncordon};
use crate::wire::{self, Answer, Write};

/// The policy for updates, and what its denials begin with.
pub(crate) const POLICY: &str = "cordonhold-hold";
pub(crate) const WITH_POLICY: &str = "resources: [../../base]\ncomponents:\n  - ../../components/policy\n";
/// Longest time until the API server applies a policy, or no longer does.
pub(crate) const IN_FORCE_TIMEOUT: Duration = Duration::from_secs(30);

/// Checks that a policy of ours, and nothing else, denied the request for this reason.
pub(crate) fn is_denied_by(answer: &Answer, policy: &str, code: &str) -> Result<()> {
    let said =
        format!("ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request: {code}: ");
    ensure!(
        answer.code == 403 && answer.body["reason"] == "Forbidden" && answer.message().contains(&said),
        "not denied by {policy} for {code}: {answer:?}"
    );
    Ok(())
}

/// Waits until this policy denies, as a dry run, that somebody writes a mark.
pub(crate) async fn is_in_force(client: &Client, node: &str, policy: &str) -> Result<()> {
    let target = format!("{node}?dryRun=All");
    let forged = annotate(keys::UNTIL, Some("2099-01-01T00:00:00Z"));
    wait::until("the policy to be in force", IN_FORCE_TIMEOUT, || async {
        let answer = wire::write(client, &target, Write::Merge, &forged).await?;
        let denies = ["spoofed-hold", "tampered-hold"]
            .iter()
            .any(|code| is_denied_by(&answer, policy, code).is_ok());
        Ok(denies.then_some(()))
    })
    .await
}

/// Deletes the bindings of the policies, which turns them off, as `docs/policy.md` says.
pub(crate) async fn unbind(client: &Client) -> Result<()> {
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    for binding in bindings.list(&ListParams::default()).await? {
        let name = binding.metadata.name.unwrap_or_default();
        if name.starts_with(POLICY) {
            drop(bindings.delete(&name, &DeleteParams::default()).await?);
        }
    }
    Ok(())
}

/// Starts a cluster with webhook and policies.
async fn with_both() -> Result<(Cluster, TempDir)> {
    let copy = tempfile::tempdir().context("failed to create a directory")?;
    let directory = overlay(copy.path(), "policy", WITH_POLICY)?;
    let cluster = Cluster::start_with(&directory, Mode::Enforce, Protection::OwnHolds, &[]).await?;
    is_in_force(&cluster.admin, "node-0", POLICY).await?;
    Ok((cluster, copy))
}

/// Makes every webhook let pass what it cannot be asked about, as an admin does in an emergency.
async fn let_pass_without_the_webhook(client: &Client) -> Result<()> {
    let configurations: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let mut webhooks = json!(configurations.get("cordonhold").await?.webhooks);
    for webhook in webhooks.as_array_mut().into_iter().flatten() {
        webhook["failurePolicy"] = json!("Ignore");
    }
    let patch = Patch::Merge(json!({ "webhooks": webhooks }));
    let patched = configurations
        .patch("cordonhold", &PatchParams::default(), &patch)
        .await;
    patched.map(drop).context("failed to set failurePolicy")
}

#[test]
fn held_stays_cordoned_with_no_replica_running() -> Result<()> {
    alone(async || {
        let (mut cluster, _copy) = with_both().await?;
        cluster.webhook.kill();
        let_pass_without_the_webhook(&cluster.admin).await?;
        for phase in [Phase::Draining, Phase::Delaying, Phase::Sealed, Phase::Returning] {
            let subject = Subject::held(&cluster, &format!("no-replica-{phase}"), phase).await?;
            every_way_is_denied(&subject).await?;
            kubectl_is_denied(&subject).await?;
        }
        the_stolen_token_writes_no_other_node(&cluster).await?;
        its_own_agent_gives_it_back(&cluster).await?;
        the_printed_way_out_works(&cluster).await?;
        // That it is the policy which keeps them: without it they pass.
        unbind(&cluster.admin).await?;
        let subject = Subject::held(&cluster, "no-policy", Phase::Delaying).await?;
        wait::until(
            "an uncordon to pass without the policy",
            IN_FORCE_TIMEOUT,
            || async {
                let answer = subject
                    .write(&cluster.controller, Write::Strategic, &uncordon())
                    .await?;
                Ok((answer.code == 200).then_some(()))
            },
        )
        .await?;
        ensure!(
            !subject.is_cordoned().await?,
            "nothing keeps it, and it stays cordoned"
        );
        Ok(())
    })
}

async fn every_way_is_denied(subject: &Subject<'_>) -> Result<()> {
    let before = subject.guarded().await?;
    for client in [&subject.cluster.admin, &subject.cluster.controller] {
        for (write, body) in ways(&subject.name) {
            let answer = subject.write(client, write, &body).await?;
            is_denied_by(&answer, POLICY, "held").with_context(|| format!("{write:?} {body}"))?;
        }
        let mut node = subject.json().await?;
        node["spec"]["unschedulable"] = Value::Null;
        node["metadata"]["resourceVersion"] = Value::Null;
        is_denied_by(&subject.write(client, Write::Put, &node).await?, POLICY, "held")?;
        let strip = annotate(keys::HOLDER, None);
        is_denied_by(
            &subject.write(client, Write::Merge, &strip).await?,
            POLICY,
            "tampered-hold",
        )?;
    }
    subject.is_still(&before).await
}

async fn kubectl_is_denied(subject: &Subject<'_>) -> Result<()> {
    let mut kubectl = subject.cluster.plane.kubectl(Identity::Admin);
    let output = kubectl
        .args(["uncordon", &subject.name])
        .output()
        .await
        .context("failed to run kubectl")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let created = subject.view().await?;
    let created = cases::created(&created);
    let cancel = format!(
        "kubectl annotate --overwrite node {} {}='{created} ",
        subject.name,
        keys::CANCEL
    );
    ensure!(
        said.contains("is held for a reboot and stays cordoned")
            && said.contains(&cancel)
            && said.contains("phase "),
        "{said}"
    );
    ensure!(subject.is_cordoned().await?, "kubectl uncordoned it");
    Ok(())
}

/// Whoever has taken over a node has the token of its agent.
async fn the_stolen_token_writes_no_other_node(cluster: &Cluster) -> Result<()> {
    let own = Subject::new(cluster, "stolen").await?;
    let stolen = crate::one_node_one_agent::with_real_token(cluster, &own.name).await?;
    let held = Subject::held(cluster, "stolen-held", Phase::Delaying).await?;
    let free = Subject::new(cluster, "stolen-free").await?;
    for other in [&held, &free] {
        let before = other.guarded().await?;
        let mut bodies = nothing_of_ours();
        bodies.extend([
            uncordon(),
            annotate(keys::HOLDER, None),
            annotate(keys::UNTIL, Some("2099-01-01T00:00:00Z")),
        ]);
        for body in bodies {
            let answer = other.write(&stolen, Write::Merge, &body).await?;
            is_denied_by(&answer, POLICY, "not-own-node").with_context(|| body.to_string())?;
        }
        other.is_still(&before).await?;
    }
    drop(
        own.passes(
            &stolen,
            Write::Merge,
            &json!({ "metadata": { "labels": { "team": "a" } } }),
        )
        .await?,
    );
    Ok(())
}

async fn its_own_agent_gives_it_back(cluster: &Cluster) -> Result<()> {
    let subject = Subject::held(cluster, "given-back", Phase::Returning).await?;
    subject.give_back().await?;
    let after = subject.guarded().await?;
    ensure!(
        !after.unschedulable && !after.is_tainted && after.phase.is_none(),
        "{after:?}"
    );
    drop(
        subject
            .passes(&cluster.admin, Write::Merge, &crate::subject::cordon())
            .await?,
    );
    drop(subject.can_be_uncordoned(&cluster.controller).await?);
    Ok(())
}

/// The commands of the message, as an admin copies them, end a hold that no agent works on.
async fn the_printed_way_out_works(cluster: &Cluster) -> Result<()> {
    let subject = Subject::held(cluster, "way-out", Phase::Delaying).await?;
    let denial = subject
        .write(&cluster.admin, Write::Strategic, &uncordon())
        .await?;
    is_denied_by(&denial, POLICY, "held")?;
    let message = denial.message();
    let (_, rest) = message
        .split_once("To call the reboot off: ")
        .context("no way out")?;
    let (cancel, rest) = rest
        .split_once(". If no agent works on it, then uncordon the node as it should be, and: ")
        .context("no cancel")?;
    let (by_hand, _) = rest.split_once(". ").context("no commands")?;
    let cancel = cancel.replace("<your reason>", "reason");
    let steps = [cancel.as_str(), "kubectl uncordon way-out"]
        .into_iter()
        .chain(by_hand.split("; "));
    for step in steps {
        let words: Vec<String> = step
            .split_whitespace()
            .skip(1)
            .map(|word| word.replace('\'', ""))
            .collect();
        // The only argument with a space is the text of the cancel.
        let words = match words.as_slice() {
            [before @ .., created, reason] if created.contains(keys::CANCEL) => {
                let mut words = before.to_vec();
                words.push(format!("{created} {reason}"));
                words
            }
            _ => words,
        };
        cluster.run_kubectl(&words).await.context(step.to_owned())?;
    }
    let after = subject.guarded().await?;
    let is_bare = |(key, value): &(&str, Option<String>)| *key == keys::CANCEL || value.is_none();
    ensure!(
        !after.unschedulable
            && !after.is_tainted
            && after.phase.is_none()
            && after.annotations.iter().all(is_bare),
        "{after:?}"
    );
    Ok(())
}

/// A whole reboot with real agents, with an uncordon in the middle: with webhook and policies, then with the policies alone.
#[test]
fn held_stays_cordoned_with_policy_and_webhook_a_whole_reboot_goes_as_ever() -> Result<()> {
    alone(async || {
        let (mut cluster, _copy) = with_both().await?;
        a_whole_reboot(&cluster, "both").await?;
        cluster.webhook.kill();
        let configurations: Api<ValidatingWebhookConfiguration> = Api::all(cluster.admin.clone());
        drop(
            configurations
                .delete("cordonhold", &DeleteParams::default())
                .await
                .context("failed to delete the webhook configuration")?,
        );
        a_whole_reboot(&cluster, "policy-alone").await
    })
}

async fn a_whole_reboot(cluster: &Cluster, name: &str) -> Result<()> {
    let site = Site::new(&cluster.plane, name, &["--reboot-delay=3s"]).await?;
    site.add_pod(name).await?;
    site.machine.request_reboot()?;
    drop(site.wait_phase(Phase::Delaying).await?);
    let answer = wire::write(&cluster.controller, name, Write::Strategic, &uncordon()).await?;
    is_denied_by(&answer, POLICY, "held")?;
    site.reboots_once_and_is_given_back().await
}

/// The modes that let pass: `warn` tells the client, `audit` does not.
#[test]
fn warn_and_audit_let_pass_what_the_policy_would_deny() -> Result<()> {
    alone(async || {
        let plane = ControlPlane::start(Options { nodes: 1 }).await?;
        let copy = tempfile::tempdir().context("failed to create a directory")?;
        drop(install(&plane, &overlay(copy.path(), "policy", WITH_POLICY)?).await?);
        let client = plane.client();
        is_in_force(&client, "node-0", POLICY).await?;
        let forged = annotate(keys::UNTIL, Some("2099-01-01T00:00:00Z"));
        for (actions, warnings) in [(json!(["Warn", "Audit"]), 1), (json!(["Audit"]), 0)] {
            let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
            let patch = json!({ "spec": { "validationActions": actions } });
            drop(
                bindings
                    .patch(POLICY, &PatchParams::default(), &Patch::Merge(patch))
                    .await?,
            );
            wait::until("the mode to change", IN_FORCE_TIMEOUT, || async {
                let answer = wire::write(&client, "node-0?dryRun=All", Write::Merge, &forged).await?;
                let as_told = answer.code == 200 && answer.warnings.len() == warnings;
                let is_said = answer
                    .warnings
                    .iter()
                    .all(|warning| warning.contains("spoofed-hold: "));
                ensure!(is_said, "{answer:?}");
                Ok(as_told.then_some(()))
            })
            .await?;
        }
        Ok(())
    })
}
