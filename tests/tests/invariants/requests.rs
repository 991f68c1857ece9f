//! A request for a reboot (`cordonhold.dev/reboot-wanted`): who may write it as the webhook decides, and how often an agent uses it, with nobody
//! in the way of who writes it.
//!
//! Not here: what the policy says without the webhook (`policy/cases.rs`), and what the plugin writes (`kubectl_plugin.rs`).

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::{self, Phase, RebootRequest};
use cordonhold_shared::keys;
use cordonhold_shared::lock::UsedRequests;
use cordonhold_tests::NAMESPACE;
use cordonhold_tests::control_plane::ControlPlane;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::cluster::{on_fleet, on_shared};
use crate::fleet::{REBOOT_TIMEOUT, Site};
use crate::subject::{Subject, annotate, uncordon};
use crate::wire::Write;

/// The flag without which an agent takes no request.
const TAKES: &str = "--reboot-requests";

#[test]
fn a_request_is_denied_without_the_verb_and_passes_with_it() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::new(cluster, "request-verb").await?;
        let request = request(Timestamp::now());
        let answer = subject
            .is_denied(&cluster.controller, Write::Merge, &request, "no-request")
            .await?;
        ensure!(answer.message().contains("cordonhold-reboot"), "{answer:?}");
        ensure!(requested(&subject).await?.is_none(), "it was written");

        let person = cluster
            .somebody_with("request-person", "cordonhold-reboot")
            .await?;
        let length = cluster.log_length().await?;
        drop(subject.passes(&person, Write::Merge, &request).await?);
        let decision = cluster.decision_since(length, &subject.name).await?;
        ensure!(
            decision["verdict"] == "allow"
                && decision["reason"] == "requested"
                && decision["effect"] == "request"
                && decision["user"] == "request-person"
                && Some(decision["request"].as_str().unwrap_or_default())
                    == requested(&subject).await?.as_deref(),
            "{decision}"
        );

        // Nor may others change it, or take it off.
        let another = annotate(keys::REBOOT_WANTED, Some("2099-01-01T00:00:00Z mine"));
        for body in [another, annotate(keys::REBOOT_WANTED, None)] {
            let before = requested(&subject).await?;
            drop(
                subject
                    .is_denied(&cluster.controller, Write::Merge, &body, "no-request")
                    .await?,
            );
            ensure!(requested(&subject).await? == before, "it was changed");
        }
        drop(
            subject
                .passes(&person, Write::Merge, &annotate(keys::REBOOT_WANTED, None))
                .await?,
        );
        ensure!(requested(&subject).await?.is_none(), "it is still there");
        Ok(())
    })
}

#[test]
fn a_request_that_leads_to_nothing_is_denied_with_what_to_write() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::new(cluster, "request-form").await?;
        let at = |hours| Timestamp::now() + SignedDuration::from_hours(hours);
        let (late, early) = (format!("{:.9} late", at(-25)), format!("{:.9} early", at(6)));
        for text in [
            "true",
            "",
            "2026-11-30T08:00:00Z",
            "2026-11-30T08:00:00Z  ",
            "tomorrow please",
            &late,
            &early,
        ] {
            let body = annotate(keys::REBOOT_WANTED, Some(text));
            let answer = subject
                .is_denied(&cluster.admin, Write::Merge, &body, "bad-request")
                .await?;
            let command = format!("kubectl cordonhold reboot {}", subject.name);
            ensure!(answer.message().contains(&command), "{answer:?}");
            ensure!(requested(&subject).await?.is_none(), "{text:?} was written");
        }
        Ok(())
    })
}

/// The permission to ask for a reboot is none to uncordon, in the same write or in another.
#[test]
fn held_stays_cordoned_whoever_may_ask_for_a_reboot() -> Result<()> {
    on_shared(async |cluster| {
        let subject = Subject::held(cluster, "request-uncordon", Phase::Delaying).await?;
        let person = cluster
            .somebody_with("request-uncordoner", "cordonhold-reboot")
            .await?;
        let mut both = request(Timestamp::now());
        both["spec"] = json!({ "unschedulable": null });
        for body in [both, uncordon()] {
            drop(subject.is_denied(&person, Write::Merge, &body, "held").await?);
            ensure!(requested(&subject).await?.is_none(), "it was written");
        }
        Ok(())
    })
}

/// With no webhook in the way: the same patch reboots the node once, whoever writes it how often, and whatever starts anew meanwhile.
#[test]
fn one_request_one_reboot_however_often_it_is_written() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "request-once", &[TAKES]).await?;
        let first = request(Timestamp::now());
        drop(site.write(&first).await?);
        drop(site.wait_clean_reboot().await?);
        let node = site.wait_over().await?;
        ensure!(
            !node.spec.unschedulable && node.annotation(keys::REBOOT_WANTED).is_none(),
            "{node:?}"
        );
        let account = hold::last_reboot(&node).present().context("no account")?;
        ensure!(
            account.why == "a request, 'the test: a new kernel'",
            "{account:?}"
        );
        let at = used(plane, site.name())
            .await?
            .context("the lock does not say that it was used")?;

        // As a GitOps loop would, before and after a restart of the agent; and an older one.
        drop(site.write(&first).await?);
        drop(site.wait_nth_event("annotation_ignored", 1).await?);
        site.machine.restart_agent().await?;
        drop(site.wait_nth_event("annotation_ignored", 2).await?);
        let older = at.checked_sub(SignedDuration::from_mins(1))?;
        drop(site.write(&request(older)).await?);
        let line = site.wait_nth_event("annotation_ignored", 3).await?;
        ensure!(
            line["why"]
                .as_str()
                .is_some_and(|why| why.contains("used already")),
            "{line}"
        );
        ensure!(site.machine.reboots().len() == 1, "{:?}", site.machine.reboots());

        // A new one is another one, and the only one that counted meanwhile.
        drop(site.write(&request(Timestamp::now())).await?);
        drop(site.machine.wait_for_reboot(2, REBOOT_TIMEOUT).await?);
        drop(site.wait_over().await?);
        ensure!(site.machine.reboots().len() == 2, "{:?}", site.machine.reboots());
        site.machine.check_agent().await
    })
}

#[test]
fn a_request_that_is_stale_or_not_to_be_taken_is_told_and_reboots_nothing() -> Result<()> {
    on_fleet(async |plane| {
        let site = Site::new(plane, "request-stale", &[TAKES]).await?;
        let yesterday = Timestamp::now().checked_sub(SignedDuration::from_hours(25))?;
        drop(site.write(&request(yesterday)).await?);
        let line = site.wait_event("annotation_ignored").await?;
        ensure!(
            line["why"]
                .as_str()
                .is_some_and(|why| why.contains("older than 24 hours")),
            "{line}"
        );
        let off = Site::new(plane, "request-off", &["--period=1s"]).await?;
        drop(off.write(&request(Timestamp::now())).await?);
        let line = off.wait_event("annotation_ignored").await?;
        ensure!(
            line["why"].as_str().is_some_and(|why| why.contains(TAKES)),
            "{line}"
        );
        for site in [site, off] {
            site.is_called_off().await?;
            ensure!(used(plane, site.name()).await?.is_none(), "it was used");
        }
        Ok(())
    })
}

/// A wish by a request is cancelled like any other, and its request is used: nobody has to take it off.
#[test]
fn a_request_whose_wish_was_cancelled_is_not_taken_up_again() -> Result<()> {
    on_fleet(async |plane| {
        let arguments = [
            TAKES,
            "--blocking-node-annotation=example.org/busy",
            "--backoff=1s",
        ];
        plane.add_node("request-cancel").await?;
        let mut site = Site::without_agent(plane, "request-cancel").await?;
        drop(site.write(&annotate("example.org/busy", Some("true"))).await?);
        site.start_agent(&arguments).await?;
        let request = request(Timestamp::now());
        drop(site.write(&request).await?);
        let node = site.wait_phase(Phase::Wanted).await?;
        drop(site.wait_event("blocked").await?);
        let cancel = format!("{} not today", hold::cancel_name(&node));
        drop(site.write(&annotate(keys::CANCEL, Some(&cancel))).await?);
        site.is_called_off().await?;
        drop(site.wait_event("released").await?);
        ensure!(
            used(plane, site.name()).await?.is_some(),
            "the lock does not know it"
        );
        drop(site.wait_nth_event("annotation_ignored", 1).await?);
        drop(site.write(&annotate("example.org/busy", None)).await?);
        drop(site.write(&request).await?);
        drop(site.wait_nth_event("annotation_ignored", 2).await?);
        site.is_called_off().await
    })
}

/// A request of this time.
fn request(at: Timestamp) -> Value {
    let request = RebootRequest::new(at, "the test: a new kernel");
    annotate(keys::REBOOT_WANTED, Some(&request.to_string()))
}

async fn requested(subject: &Subject<'_>) -> Result<Option<String>> {
    let node = subject.view().await?;
    Ok(node.annotation(keys::REBOOT_WANTED).map(str::to_owned))
}

/// Up to which time the requests of this node were used, as the lock says.
async fn used(plane: &ControlPlane, node: &str) -> Result<Option<Timestamp>> {
    let leases: Api<Lease> = Api::namespaced(plane.client(), NAMESPACE);
    let lease = leases.get("cordonhold-default").await.context("the lock")?;
    let text = lease.annotations().get(keys::REQUESTS_USED);
    let used = UsedRequests::read(text.map(String::as_str)).present();
    Ok(used.and_then(|used| used.up_to(node)))
}
