//! Stock kured's hold: its lock is an annotation on its DaemonSet. The webhook's watch of it may deny; only a fresh read lets pass.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_tests::identity::Impersonation;
use cordonhold_tests::install::manifests;
use cordonhold_tests::wait;
use cordonhold_tests::webhook::{Mode, Protection, http_get};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::cluster::{Cluster, alone};
use crate::stock_kured::{self, Entry, Kured, KuredOnNode, LONG_AGO, List, is_edit_denied};
use crate::subject::{Subject, annotate, cordon, uncordon};
use crate::wire::{Answer, Write};

/// Longest time until the webhook's watch shows a change of the lock. It usually takes milliseconds.
const WATCH_TIMEOUT: Duration = Duration::from_secs(10);

#[test]
fn a_node_that_kureds_lock_names() -> Result<()> {
    alone(async || {
        let cluster = Cluster::start_beside_kured().await?;
        let named = Subject::new(&cluster, "kured-named").await?;
        let other = Subject::new(&cluster, "kured-other").await?;
        passes(&named, "not-held").await.context("without a DaemonSet")?;
        let kured = Kured::install(&cluster).await?;
        passes(&named, "not-held").await.context("without a lock")?;
        for key in [keys::KURED_LOCK, keys::KURED_V2_LOCK] {
            for lock in [
                entry("kured-named").to_string(),
                List::of(vec![entry("kured-elsewhere"), entry("kured-named")]).to_string(),
            ] {
                kured.set_lock(key, Some(&lock)).await?;
                is_kured_held(&cluster, &named, key)
                    .await
                    .with_context(|| lock.clone())?;
                passes(&other, "not-held").await.with_context(|| lock.clone())?;
            }
            kured.set_lock(key, None).await?;
            // Wait until the watch has seen the removal, or it would deny for this lock instead of the next one.
            passes(&named, "not-held")
                .await
                .with_context(|| format!("without {key}"))?;
        }
        kured
            .set_lock(keys::KURED_LOCK, Some(&entry("kured-named").to_string()))
            .await?;
        kureds_own_agent_passes(&cluster, &named).await?;
        released_or_over(&kured, &named).await?;
        kured.set_lock(keys::KURED_LOCK, Some("{\"nodeID\": ")).await?;
        let denied = is_cordoned_and_denied(&other, "lock-unreadable").await?;
        // What is wrong comes first, then how to mend it, and last what takes the entries of all nodes.
        for part in [
            "kured-node-lock",
            "column 11",
            "To repair it: kubectl -n kube-system edit",
            "To remove it, if no reboot is under way",
        ] {
            ensure!(denied.message().contains(part), "{part} is missing in {denied:?}");
        }
        kured.remove_daemon_set().await?;
        passes(&other, "not-held")
            .await
            .context("after the DaemonSet went")?;
        let own = Subject::held(&cluster, "kured-own-hold", Phase::Delaying).await?;
        drop(
            own.is_denied(&cluster.controller, Write::Strategic, &uncordon(), "held")
                .await?,
        );
        a_mark_is_flagged(&cluster, &other).await
    })
}

/// kured as its chart installs it for the release `my-release` in another namespace, and no flag of the webhook names it.
#[test]
fn found_p8_e2_kured_elsewhere_is_protected_and_uncordons_its_own_node() -> Result<()> {
    alone(async || {
        let mut cluster = Cluster::start_beside_kured().await?;
        let named = Subject::new(&cluster, "elsewhere-named").await?.name;
        install_release(&cluster, &entry(&named).to_string()).await?;
        let kured = Impersonation::service_account(RELEASE_NAMESPACE, RELEASE)
            .group("system:masters")
            .on_node(&named);
        let kured = cluster.plane.client_as(&kured).await?;
        let another = Impersonation::service_account(RELEASE_NAMESPACE, "another")
            .group("system:masters")
            .on_node(&named);
        let another = cluster.plane.client_as(&another).await?;
        {
            let subject = Subject {
                cluster: &cluster,
                name: named.clone(),
                agent: cluster.agent_on(&named).await?,
            };
            drop(is_cordoned_and_denied(&subject, "kured-held").await?);
            drop(subject.passes(&cluster.admin, Write::Merge, &cordon()).await?);
            let answer = subject.write(&another, Write::Strategic, &uncordon()).await?;
            for part in [
                "kured-held",
                "You look like kured",
                "ServiceAccount my-release-kured",
                "daemonset ops/my-release-kured",
            ] {
                ensure!(
                    answer.code == 403 && answer.message().contains(part),
                    "{part}: {answer:?}"
                );
            }
            ensure!(subject.is_cordoned().await?, "a denied uncordon took effect");
            is_cordoned_and_passes(&subject, &kured, "kured-owner").await?;
        }
        let (_, page) = http_get(cluster.webhook.admin_address(), "/metrics").await?;
        ensure!(
            page.contains("cordonhold_webhook_kured_daemonset{found=\"elsewhere\"} 1"),
            "{page}"
        );
        // While the webhook is down, kured can still uncordon its own node, and nobody else can.
        cluster.webhook.kill();
        let subject = Subject {
            cluster: &cluster,
            name: named.clone(),
            agent: cluster.agent_on(&named).await?,
        };
        drop(subject.passes(&cluster.admin, Write::Merge, &cordon()).await?);
        let answer = subject
            .write(&cluster.admin, Write::Strategic, &uncordon())
            .await?;
        ensure!(answer.code == 500 && subject.is_cordoned().await?, "{answer:?}");
        subject.can_be_uncordoned(&kured).await.map(drop)
    })
}

const RELEASE_NAMESPACE: &str = "ops";
const RELEASE: &str = "my-release-kured";

async fn install_release(cluster: &Cluster, lock: &str) -> Result<()> {
    let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": RELEASE_NAMESPACE } }))?;
    let namespaces: Api<Namespace> = Api::all(cluster.admin.clone());
    drop(namespaces.create(&PostParams::default(), &namespace).await?);
    let labels = json!({ "app.kubernetes.io/name": "kured", "app.kubernetes.io/instance": "my-release" });
    let daemon_set: DaemonSet = serde_json::from_value(json!({
        "metadata": { "name": RELEASE, "labels": labels, "annotations": { keys::KURED_LOCK: lock } },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "serviceAccountName": RELEASE,
                    "containers": [{ "name": "kured", "image": "ghcr.io/kubereboot/kured:1.23.0" }],
                },
            },
        },
    }))?;
    let daemon_sets: Api<DaemonSet> = Api::namespaced(cluster.admin.clone(), RELEASE_NAMESPACE);
    drop(daemon_sets.create(&PostParams::default(), &daemon_set).await?);
    Ok(())
}

/// `--protect-kured=marks`: a mark alone denies, anybody can end that by removing the mark, and the lock is not read.
#[test]
fn marks_alone_hold_where_the_lock_is_not_read() -> Result<()> {
    alone(async || {
        let cluster = Cluster::start_with(
            &manifests("overlays/protect-kured"),
            Mode::Enforce,
            Protection::OwnHolds,
            &["--protect-kured=marks"],
        )
        .await?;
        let kured = Kured::install(&cluster).await?;
        let named = Subject::new(&cluster, "marks-named").await?;
        kured
            .set_lock(keys::KURED_LOCK, Some(&entry("marks-named").to_string()))
            .await?;
        is_cordoned_and_passes(&named, &cluster.controller, "not-held").await?;
        let marked = Subject::new(&cluster, "marks-marked").await?;
        for key in [keys::KURED_REBOOT_IN_PROGRESS, keys::KURED_V2_REBOOT_IN_PROGRESS] {
            let mark = annotate(key, Some("2026-01-01T00:00:00Z"));
            drop(marked.passes(&cluster.admin, Write::Merge, &mark).await?);
            drop(is_cordoned_and_denied(&marked, "kured-marked").await?);
            let answer = marked
                .is_denied(&cluster.admin, Write::Strategic, &uncordon(), "kured-marked")
                .await?;
            let message = answer.message();
            ensure!(
                message.contains("marks-marked") && message.contains(key),
                "{message}"
            );
            drop(
                marked
                    .passes(&cluster.admin, Write::Merge, &annotate(key, None))
                    .await?,
            );
            is_cordoned_and_passes(&marked, &cluster.controller, "not-held").await?;
        }
        let mark = annotate(keys::KURED_REBOOT_IN_PROGRESS, Some("x"));
        drop(marked.passes(&cluster.admin, Write::Merge, &mark).await?);
        drop(marked.passes(&cluster.admin, Write::Merge, &cordon()).await?);
        let elsewhere = Kured::impersonation().on_node("marks-named");
        let elsewhere = cluster.plane.client_as(&elsewhere).await?;
        drop(
            marked
                .is_denied(&elsewhere, Write::Strategic, &uncordon(), "kured-marked")
                .await?,
        );
        found_s12_a_token_without_a_node_is_anybodys(&cluster, &marked, "kured-marked").await?;
        let itself = Kured::impersonation().on_node(&marked.name);
        let itself = cluster.plane.client_as(&itself).await?;
        is_cordoned_and_passes(&marked, &itself, "kured-owner").await
    })
}

/// kured's whole cycle: lock, cordon, delay, an uncordon by others, boot, its own uncordon, release; with one owner, then with two.
#[test]
fn the_whole_life_of_kured() -> Result<()> {
    alone(async || {
        let cluster = Cluster::start_beside_kured().await?;
        let kured = Kured::install(&cluster).await?;
        let node = Subject::new(&cluster, "kured-life").await?;
        let neighbour = Subject::new(&cluster, "kured-neighbour").await?;
        let here = Kured::on_node(&cluster, &node.name).await?;
        let there = Kured::on_node(&cluster, &neighbour.name).await?;
        let quiet = cluster.log_length().await?;

        wants(&node, &here).await?;
        here.acquire().await?.passed()?;
        reboots(&cluster, &node, &here).await?;
        edits_of_the_neighbour(&cluster, &kured, &here, &there).await?;
        returns(&node, &here).await?;
        here.release().await?.passed()?;
        ensure!(kured.lock().await?.is_none(), "the lock was not given back");
        passes(&node, "not-held").await.context("after the release")?;

        here.acquire_slot().await?.passed()?;
        there.acquire_slot().await?.passed()?;
        for (subject, owner) in [(&node, &here), (&neighbour, &there)] {
            reboots(&cluster, subject, owner).await?;
            returns(subject, owner).await?;
            owner.release_slot().await?.passed()?;
            passes(subject, "not-held")
                .await
                .context("after the release of a slot")?;
        }
        ensure!(
            kured.lock().await?.as_deref() == Some(r#"{"maxOwners":2,"locks":[]}"#),
            "{:?}",
            kured.lock().await?
        );
        // Of kured's own allowed requests, the webhook saw only the uncordons of its own node, which have `failurePolicy: Ignore`,
        // so none of them can fail with the webhook. It also saw that the neighbour's kured dropped an entry whose TTL was over;
        // that shows twice if there was a conflict.
        let mut by_kured = cluster.decisions_since(quiet, "user", stock_kured::USER).await?;
        by_kured.retain(|decision| decision["verdict"] != "deny");
        let is_own_uncordon = |decision: &Value| {
            decision["reason"] == "kured-owner"
                && decision["effect"] == "uncordon"
                && decision["node_claim"] == decision["node"]
        };
        let drops = by_kured.iter().filter(|decision| !is_own_uncordon(decision));
        ensure!(
            by_kured.iter().any(is_own_uncordon)
                && drops.clone().next().is_some()
                && drops.clone().all(|decision| {
                    decision["node_claim"] == "kured-neighbour" && decision["reason"] == "own-entry"
                }),
            "{by_kured:?}"
        );
        Ok(())
    })
}

/// Annotates the Node as kured does with `--annotate-nodes`, by a strategic merge patch.
async fn wants(node: &Subject<'_>, here: &KuredOnNode) -> Result<()> {
    for key in [
        keys::KURED_REBOOT_IN_PROGRESS,
        "weave.works/kured-most-recent-reboot-needed",
    ] {
        drop(
            node.passes(
                &here.client,
                Write::Strategic,
                &annotate(key, Some("2026-01-01T00:00:00Z")),
            )
            .await?,
        );
    }
    Ok(())
}

/// kured has the lock: it cordons, and in the delay after that uncordons by others are denied.
async fn reboots(cluster: &Cluster, node: &Subject<'_>, here: &KuredOnNode) -> Result<()> {
    drop(node.passes(&here.client, Write::Strategic, &cordon()).await?);
    for client in [&cluster.admin, &cluster.controller] {
        drop(
            node.is_denied(client, Write::Strategic, &uncordon(), "kured-held")
                .await?,
        );
        drop(
            node.is_denied(
                client,
                Write::Merge,
                &json!({ "spec": { "unschedulable": false } }),
                "kured-held",
            )
            .await?,
        );
    }
    let mut whole = node.json().await?;
    whole["spec"]["unschedulable"] = json!(false);
    drop(
        whole["metadata"]
            .as_object_mut()
            .and_then(|metadata| metadata.remove("resourceVersion")),
    );
    drop(
        node.is_denied(&cluster.controller, Write::Put, &whole, "kured-held")
            .await?,
    );
    Ok(())
}

/// After the boot kured still has the lock: it uncordons its node, and removes the annotation by a JSON patch.
async fn returns(node: &Subject<'_>, here: &KuredOnNode) -> Result<()> {
    node.cluster.plane.set_down(&node.name, true).await?;
    node.cluster.plane.set_down(&node.name, false).await?;
    drop(node.can_be_uncordoned(&here.client).await?);
    if node
        .view()
        .await?
        .annotation(keys::KURED_REBOOT_IN_PROGRESS)
        .is_some()
    {
        let path = format!(
            "/metadata/annotations/{}",
            keys::KURED_REBOOT_IN_PROGRESS.replace('/', "~1")
        );
        drop(
            node.passes(
                &here.client,
                Write::Json,
                &json!([{ "op": "remove", "path": path }]),
            )
            .await?,
        );
    }
    Ok(())
}

/// While the lock names one node, the kured pod of another node cannot change the entry or make it unreadable.
async fn edits_of_the_neighbour(
    cluster: &Cluster,
    kured: &Kured,
    here: &KuredOnNode,
    there: &KuredOnNode,
) -> Result<()> {
    let before = kured.lock().await?;
    for (text, reason) in [
        (None, "not-own-entry"),
        (Some(entry("kured-neighbour").to_string()), "not-own-entry"),
        (Some(r#"{"nodeID":"manual"}"#.to_owned()), "not-own-entry"),
        (Some("{".to_owned()), "lock-unreadable"),
        (Some(String::new()), "lock-unreadable"),
    ] {
        let length = cluster.log_length().await?;
        let answer = there.put_lock(|_| Ok(text.clone())).await?;
        is_edit_denied(cluster, length, &answer, reason)
            .await
            .with_context(|| format!("{text:?}"))?;
        ensure!(
            kured.lock().await? == before,
            "the lock changed: {:?}",
            kured.lock().await?
        );
    }
    // The pod on the node itself cannot write an entry for another node either.
    let length = cluster.log_length().await?;
    let answer = here
        .put_lock(|_| Ok(Some(entry("kured-neighbour").to_string())))
        .await?;
    is_edit_denied(cluster, length, &answer, "not-own-entry").await?;
    // Any kured pod may drop an entry whose TTL is over.
    kured
        .set_lock(
            keys::KURED_LOCK,
            Some(&Entry::new("kured-life", LONG_AGO, 60_000_000_000).to_string()),
        )
        .await?;
    let length = cluster.log_length().await?;
    there.acquire().await?.passed()?;
    let decision = cluster
        .decision_with(length, "daemonset", "kube-system/kured")
        .await?;
    ensure!(
        decision["verdict"] == "allow" && decision["reason"] == "own-entry",
        "{decision}"
    );
    // People may edit the lock; it is flagged.
    let length = cluster.log_length().await?;
    kured.set_lock(keys::KURED_LOCK, before.as_deref()).await?;
    let decision = cluster
        .decision_with(length, "daemonset", "kube-system/kured")
        .await?;
    ensure!(
        decision["verdict"] == "flag" && decision["reason"] == "lock-edited",
        "{decision}"
    );
    Ok(())
}

fn entry(node: &str) -> Entry {
    Entry::new(node, LONG_AGO, 0)
}

async fn is_kured_held(cluster: &Cluster, subject: &Subject<'_>, key: &str) -> Result<()> {
    for client in [&cluster.admin, &cluster.controller] {
        drop(subject.passes(client, Write::Merge, &cordon()).await?);
        let answer = subject
            .is_denied(client, Write::Strategic, &uncordon(), "kured-held")
            .await?;
        for part in [
            "is held by kured for a reboot",
            "daemonset kube-system/kured",
            key,
        ] {
            ensure!(
                answer.message().contains(part),
                "{part:?} is missing in: {}",
                answer.message()
            );
        }
    }
    Ok(())
}

async fn found_s12_a_token_without_a_node_is_anybodys(
    cluster: &Cluster,
    subject: &Subject<'_>,
    reason: &str,
) -> Result<()> {
    let nowhere = cluster.plane.client_as(&Kured::impersonation()).await?;
    let answer = subject
        .is_denied(&nowhere, Write::Strategic, &uncordon(), reason)
        .await?;
    ensure!(
        answer.message().contains("--kured-token-without-node=allow"),
        "{}",
        answer.message()
    );
    Ok(())
}

/// kured uncordons its node while it still holds the lock. So its token on that node must pass, and its token on another node must
/// not.
async fn kureds_own_agent_passes(cluster: &Cluster, named: &Subject<'_>) -> Result<()> {
    drop(named.passes(&cluster.admin, Write::Merge, &cordon()).await?);
    let kured = Kured::impersonation();
    let neighbour = cluster
        .plane
        .client_as(&kured.clone().on_node("kured-other"))
        .await?;
    drop(
        named
            .is_denied(&neighbour, Write::Strategic, &uncordon(), "kured-held")
            .await?,
    );
    another_service_account_is_told_how_to_name_kured(cluster, named).await?;
    drop(named.passes(&cluster.admin, Write::Merge, &cordon()).await?);
    found_s12_a_token_without_a_node_is_anybodys(cluster, named, "kured-held").await?;
    let length = cluster.log_length().await?;
    let itself = kured.clone().on_node(&named.name);
    drop(
        named
            .can_be_uncordoned(&cluster.plane.client_as(&itself).await?)
            .await?,
    );
    let decision = cluster.decision_since(length, &named.name).await?;
    ensure!(
        decision["verdict"] == "allow" && decision["reason"] == "kured-owner",
        "{decision}"
    );
    // kured may not end a hold of ours, even on its own node.
    let own = Subject::held(cluster, "kured-not-its-own", Phase::Delaying).await?;
    let there = cluster.plane.client_as(&kured.on_node(&own.name)).await?;
    drop(
        own.is_denied(&there, Write::Strategic, &uncordon(), "held")
            .await?,
    );
    Ok(())
}

/// A kured that runs as another ServiceAccount than its DaemonSet says is denied, and its log has what to do.
async fn another_service_account_is_told_how_to_name_kured(
    cluster: &Cluster,
    named: &Subject<'_>,
) -> Result<()> {
    let other = Impersonation::service_account("kube-system", "rebooter").group("system:masters");
    let there = cluster.plane.client_as(&other.on_node(&named.name)).await?;
    let answer = named.write(&there, Write::Strategic, &uncordon()).await?;
    let by = "admission webhook \"kured.nodes.cordonhold.dev\" denied the request: kured-held";
    ensure!(answer.code == 403 && answer.message().contains(by), "{answer:?}");
    ensure!(named.is_cordoned().await?, "it was uncordoned");
    for part in [
        "You look like kured, system:serviceaccount:kube-system:rebooter",
        "takes another ServiceAccount for kured's",
        "--ds-namespace",
    ] {
        ensure!(answer.message().contains(part), "{part} is missing in {answer:?}");
    }
    Ok(())
}

async fn released_or_over(kured: &Kured, named: &Subject<'_>) -> Result<()> {
    for lock in [
        None,
        Some(json!({ "maxOwners": 2, "locks": [] }).to_string()),
        Some(json!({ "maxOwners": 2, "locks": null }).to_string()),
        // This entry keeps kured from starting a reboot, but holds no node.
        Some(json!({ "nodeID": "manual" }).to_string()),
    ] {
        // The entry of an old kured, without dates and TTL.
        let very_old = json!({ "nodeID": named.name }).to_string();
        kured.set_lock(keys::KURED_LOCK, Some(&very_old)).await?;
        drop(is_cordoned_and_denied(named, "kured-held").await?);
        kured.set_lock(keys::KURED_LOCK, lock.as_deref()).await?;
        passes(named, "not-held")
            .await
            .with_context(|| format!("with the lock {lock:?}"))?;
    }
    // A TTL of one minute that began in January is over.
    let over = Entry::new(&named.name, LONG_AGO, 60_000_000_000).to_string();
    kured.set_lock(keys::KURED_LOCK, Some(&over)).await?;
    let answer = passes_as(named, "flag", "kured-expired").await?;
    ensure!(
        answer
            .warnings
            .iter()
            .any(|warning| warning.contains("--lock-ttl")),
        "{answer:?}"
    );
    Ok(())
}

async fn a_mark_is_flagged(cluster: &Cluster, subject: &Subject<'_>) -> Result<()> {
    drop(
        subject
            .passes(
                &cluster.admin,
                Write::Merge,
                &annotate(keys::KURED_REBOOT_IN_PROGRESS, Some("x")),
            )
            .await?,
    );
    drop(subject.passes(&cluster.admin, Write::Merge, &cordon()).await?);
    let length = cluster.log_length().await?;
    let answer = subject.can_be_uncordoned(&cluster.controller).await?;
    let decision = cluster.decision_since(length, &subject.name).await?;
    ensure!(
        decision["verdict"] == "flag" && decision["reason"] == "kured-marked",
        "{decision}"
    );
    ensure!(
        answer
            .warnings
            .iter()
            .any(|warning| warning.contains("kured wants to reboot")),
        "{answer:?}"
    );
    Ok(())
}

async fn is_cordoned_and_denied(subject: &Subject<'_>, reason: &str) -> Result<Answer> {
    let cluster = subject.cluster;
    drop(subject.passes(&cluster.admin, Write::Merge, &cordon()).await?);
    subject
        .is_denied(&cluster.controller, Write::Strategic, &uncordon(), reason)
        .await
}

async fn is_cordoned_and_passes(subject: &Subject<'_>, client: &Client, reason: &str) -> Result<()> {
    let cluster = subject.cluster;
    drop(subject.passes(&cluster.admin, Write::Merge, &cordon()).await?);
    let length = cluster.log_length().await?;
    drop(subject.can_be_uncordoned(client).await?);
    let decision = cluster.decision_since(length, &subject.name).await?;
    ensure!(
        decision["verdict"] == "allow" && decision["reason"] == reason,
        "{decision}"
    );
    Ok(())
}

async fn passes(subject: &Subject<'_>, reason: &str) -> Result<()> {
    passes_as(subject, "allow", reason).await.map(drop)
}

/// Waits until an uncordon passes, and checks its decision. It is denied for a moment while the webhook's watch still shows
/// "held".
async fn passes_as(subject: &Subject<'_>, verdict: &str, reason: &str) -> Result<Answer> {
    let cluster = subject.cluster;
    drop(subject.passes(&cluster.admin, Write::Merge, &cordon()).await?);
    let length = cluster.log_length().await?;
    let what = format!("an uncordon of {} that passes", subject.name);
    let answer = wait::until(&what, WATCH_TIMEOUT, || async {
        let answer = subject
            .write(&cluster.controller, Write::Strategic, &uncordon())
            .await?;
        Ok((answer.code == 200).then_some(answer))
    })
    .await?;
    ensure!(
        !subject.is_cordoned().await?,
        "{} is cordoned after an uncordon that passed",
        subject.name
    );
    let decisions = cluster.decisions_since(length, "node", &subject.name).await?;
    let decision = decisions.last().context("no decision in the webhook's log")?;
    ensure!(
        decision["verdict"] == verdict && decision["reason"] == reason && decision["kured"] == true,
        "{decision}"
    );
    Ok(answer)
}
