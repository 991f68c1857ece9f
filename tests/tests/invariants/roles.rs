//! The roles for people, by trying: what a user who is bound to each may do, and what is denied to them. They are part of `manifests/base`.
//!
//! `cordonhold-pause` must grant `patch` on Nodes, because `kubectl annotate` needs it; a policy narrows it to the annotations for people.
//! Not here: who may cancel as far as the webhook decides it (`held_stays_cordoned/cancel.rs`).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_tests::identity::{Identity, Impersonation};
use cordonhold_tests::{NAMESPACE, wait};
use http::Request;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::cluster::{Cluster, on_shared};
use crate::subject::{Subject, annotate, cordon, uncordon};
use crate::wire::{self, Answer, Write};

const VIEW: &str = "cordonhold-view";
const PAUSE: &str = "cordonhold-pause";
const OVERRIDE: &str = "cordonhold-override";
/// The policy that narrows [`PAUSE`].
const POLICY: &str = "cordonhold-people";
const LEASE: &str = "cordonhold-default";
/// Longest time until a policy or an aggregated role is in force.
const IN_FORCE_TIMEOUT: Duration = Duration::from_secs(30);

#[test]
fn roles_who_may_view_sees_holds_and_changes_nothing() -> Result<()> {
    on_shared(async |cluster| {
        has_roles(cluster)?;
        lease_exists(cluster).await?;
        let subject = Subject::held(cluster, "roles-view", Phase::Delaying).await?;
        // Kubernetes' own role, which ours is aggregated into, and ours by itself.
        for role in ["view", VIEW] {
            let viewer = bound(cluster, &format!("roles-{role}"), &[role]).await?;
            let nodes: Api<Node> = Api::all(viewer.clone());
            wait::until("the role to be in force", IN_FORCE_TIMEOUT, || async {
                Ok(nodes.get(&subject.name).await.is_ok().then_some(()))
            })
            .await?;
            drop(nodes.list(&ListParams::default().limit(1)).await?);
            let leases: Api<Lease> = Api::namespaced(viewer.clone(), NAMESPACE);
            drop(leases.get(LEASE).await.context("the lock")?);
            for body in [annotate(keys::PAUSE, Some("no")), uncordon()] {
                let answer = subject.write(&viewer, Write::Merge, &body).await?;
                is_forbidden(&answer, "cannot patch resource")?;
            }
            let answer = write_lease(&viewer, &annotate(keys::PAUSE, Some("no"))).await?;
            is_forbidden(&answer, "cannot patch resource")?;
        }
        Ok(())
    })
}

#[test]
fn roles_who_may_pause_pauses_and_keeps_cordoned_and_does_nothing_else() -> Result<()> {
    on_shared(async |cluster| {
        has_roles(cluster)?;
        lease_exists(cluster).await?;
        let subject = Subject::held(cluster, "roles-pause", Phase::Delaying).await?;
        let pauser = bound(cluster, "roles-pauser", &[PAUSE]).await?;
        is_narrowed(&subject, &pauser).await?;
        for key in [keys::PAUSE, keys::KEEP_CORDONED] {
            for value in [Some("the disk is next"), None] {
                drop(
                    subject
                        .passes(&pauser, Write::Merge, &annotate(key, value))
                        .await?,
                );
                ensure!(
                    subject.view().await?.annotation(key) == value,
                    "{key} is not {value:?}"
                );
            }
        }
        write_lease(&pauser, &annotate(keys::PAUSE, Some("roles")))
            .await?
            .passed()?;
        write_lease(&pauser, &annotate(keys::PAUSE, None))
            .await?
            .passed()?;

        let holder = subject.view().await?;
        let (_, created) = holder
            .annotation(keys::HOLDER)
            .and_then(|holder| holder.split_once('/'))
            .context("no holder")?;
        let cancel = annotate(keys::CANCEL, Some(&format!("{created} no")));
        changes_nothing(&subject, &pauser, &cancel, POLICY).await?;
        for body in everything_else() {
            changes_nothing(&subject, &pauser, &body, POLICY).await?;
        }
        let lock = write_lease(&pauser, &annotate(keys::LOCK, Some("{}"))).await?;
        is_forbidden(&lock, POLICY)?;
        let spec = write_lease(&pauser, &json!({ "spec": { "holderIdentity": "jo" } })).await?;
        is_forbidden(&spec, POLICY)?;
        // By other ways RBAC itself refuses.
        let put = subject.json().await?;
        is_forbidden(
            &subject.write(&pauser, Write::Put, &put).await?,
            "cannot update resource",
        )?;
        let status = format!("{}/status", subject.name);
        let answer = wire::write(&pauser, &status, Write::Merge, &annotate(keys::PAUSE, Some("no"))).await?;
        is_forbidden(&answer, "cannot patch resource")
    })
}

#[test]
fn roles_who_may_override_too_cancels_and_still_uncordons_nothing() -> Result<()> {
    on_shared(async |cluster| {
        has_roles(cluster)?;
        let subject = Subject::new(cluster, "roles-override").await?;
        let holder = subject.hold(Phase::Delaying).await?;
        let cancel = annotate(keys::CANCEL, Some(&format!("{} not now", holder.created)));
        // The verb alone reaches no Node.
        let alone = bound(cluster, "roles-overrider", &[OVERRIDE]).await?;
        changes_nothing(&subject, &alone, &cancel, "cannot patch resource").await?;

        let canceller = bound(cluster, "roles-canceller", &[PAUSE, OVERRIDE]).await?;
        is_narrowed(&subject, &canceller).await?;
        changes_nothing(&subject, &canceller, &uncordon(), POLICY).await?;
        drop(subject.passes(&canceller, Write::Merge, &cancel).await?);
        ensure!(
            subject.view().await?.annotation(keys::CANCEL).is_some(),
            "no cancel"
        );
        changes_nothing(&subject, &canceller, &uncordon(), POLICY).await
    })
}

/// `kubectl annotate` sends a patch, after a GET: the role has what it needs.
#[test]
fn roles_kubectl_annotates_with_them() -> Result<()> {
    on_shared(async |cluster| {
        has_roles(cluster)?;
        lease_exists(cluster).await?;
        let subject = Subject::new(cluster, "roles-kubectl").await?;
        drop(bound(cluster, "roles-typist", &[PAUSE]).await?);
        let pause = format!("{}=the reason", keys::PAUSE);
        let of_lease = [
            "--namespace",
            NAMESPACE,
            "annotate",
            "lease",
            LEASE,
            "--overwrite",
        ];
        for words in [&["annotate", "node", &subject.name][..], &of_lease] {
            for argument in [pause.clone(), format!("{}-", keys::PAUSE)] {
                let mut kubectl = cluster.plane.kubectl(Identity::Admin);
                let _ = kubectl.args(words).arg(&argument).args(["--as", "roles-typist"]);
                let output = kubectl.output().await.context("failed to run kubectl")?;
                let said = String::from_utf8_lossy(&output.stderr);
                ensure!(output.status.success(), "{words:?} {argument}: {said}");
            }
        }
        Ok(())
    })
}

/// A role that may only annotate takes nothing from people who may `update` Nodes by another one.
#[test]
fn roles_narrow_nobody_who_may_update_the_object() -> Result<()> {
    on_shared(async |cluster| {
        has_roles(cluster)?;
        let subject = Subject::new(cluster, "roles-both").await?;
        let note = annotate("example.com/note", Some("a"));
        bind(cluster, "roles-ordinary", Identity::Controller.user(), PAUSE).await?;
        for client in [&cluster.controller, &cluster.admin] {
            for body in [&note, &cordon(), &uncordon()] {
                drop(subject.passes(client, Write::Merge, body).await?);
            }
        }
        Ok(())
    })
}

/// What the role may not change of a held Node, beside a cancel.
fn everything_else() -> Vec<Value> {
    vec![
        uncordon(),
        json!({ "metadata": { "labels": { "example.com/a": "b" } } }),
        json!({ "metadata": { "labels": { keys::AGENT: keys::DISABLED } } }),
        json!({ "metadata": { "labels": { keys::PHASE: null } } }),
        json!({ "metadata": { "finalizers": ["example.com/a"] } }),
        json!({ "spec": { "taints": [] } }),
        json!({ "spec": { "podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"] } }),
        annotate("example.com/note", Some("a")),
        annotate(keys::UNTIL, None),
        annotate(keys::RELEASE_AT, Some("x")),
        // In one request with what is allowed.
        json!({ "metadata": { "annotations": { keys::PAUSE: "a" } }, "spec": { "unschedulable": null } }),
    ]
}

/// Checks that a write is denied with 403 by whom the message names, and that it has no effect.
async fn changes_nothing(subject: &Subject<'_>, client: &Client, body: &Value, by: &str) -> Result<()> {
    let what = || format!("{body} on {}", subject.name);
    let before = subject.json().await?;
    let answer = subject.write(client, Write::Merge, body).await?;
    is_forbidden(&answer, by).with_context(what)?;
    let after = subject.json().await?;
    let of_people = |node: &Value| {
        let metadata = &node["metadata"];
        json!([
            metadata["annotations"],
            metadata["labels"],
            metadata["finalizers"],
            node["spec"]
        ])
    };
    ensure!(of_people(&after) == of_people(&before), "{}: it changed", what());
    Ok(())
}

fn is_forbidden(answer: &Answer, by: &str) -> Result<()> {
    ensure!(
        answer.code == 403 && answer.body["reason"] == "Forbidden" && answer.message().contains(by),
        "not denied by {by:?}: {answer:?}"
    );
    Ok(())
}

/// Waits until the policy is in force for this user.
async fn is_narrowed(subject: &Subject<'_>, client: &Client) -> Result<()> {
    let target = format!("{}?dryRun=All", subject.name);
    let note = annotate("example.com/probe", Some("a"));
    wait::until("the policy to be in force", IN_FORCE_TIMEOUT, || async {
        let answer = wire::write(client, &target, Write::Merge, &note).await?;
        Ok(answer.message().contains(POLICY).then_some(()))
    })
    .await
}

fn has_roles(cluster: &Cluster) -> Result<()> {
    for (kind, name) in [
        ("ClusterRole", VIEW),
        ("ClusterRole", PAUSE),
        ("ClusterRole", OVERRIDE),
        ("ValidatingAdmissionPolicy", POLICY),
        ("ValidatingAdmissionPolicyBinding", POLICY),
    ] {
        let mut objects = cluster.rendered.objects().iter();
        ensure!(
            objects.any(|object| object["kind"] == kind && object["metadata"]["name"] == name),
            "manifests/base has no {kind} {name}"
        );
    }
    Ok(())
}

/// Creates the lock's Lease as an agent does, with nothing in it, unless an agent has done so.
async fn lease_exists(cluster: &Cluster) -> Result<()> {
    let leases: Api<Lease> = Api::namespaced(cluster.admin.clone(), NAMESPACE);
    let empty =
        json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": LEASE } });
    let parameters = PatchParams::apply("cordonhold-tests");
    let applied = leases.patch(LEASE, &parameters, &Patch::Apply(empty)).await;
    applied.map(drop).context("failed to create the Lease")
}

/// A client of a new user who is bound to these roles in the whole cluster.
async fn bound(cluster: &Cluster, user: &str, roles: &[&str]) -> Result<Client> {
    for role in roles {
        bind(cluster, &format!("{user}-{role}"), user, role).await?;
    }
    cluster.plane.client_as(&Impersonation::user(user)).await
}

async fn bind(cluster: &Cluster, name: &str, user: &str, role: &str) -> Result<()> {
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
    }))?;
    let bindings: Api<ClusterRoleBinding> = Api::all(cluster.admin.clone());
    let created = bindings.create(&PostParams::default(), &binding).await;
    created
        .map(drop)
        .with_context(|| format!("failed to bind {role}"))
}

async fn write_lease(client: &Client, body: &Value) -> Result<Answer> {
    let request = Request::patch(format!(
        "/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{LEASE}"
    ))
    .header(http::header::CONTENT_TYPE, "application/merge-patch+json")
    .body(Body::from(body.to_string().into_bytes()))
    .context("failed to build a request")?;
    wire::send(client, request).await
}
