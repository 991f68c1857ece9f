//! Least privilege: whole cycles of agents and webhook on the real API server, with exactly the shipped roles. The API server's audit log says
//! that nothing which they asked for was forbidden, and that nothing which they are granted was never asked for.
//!
//! `docs/privileges.md` is the table of all grants; a test writes or compares it. Not here: what Linux lets the agent do on its host, see
//! `agent/tests/messages/privileges.rs`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use cordonhold_tests::audit::Asked;
use cordonhold_tests::certificates::{self, Certs};
use cordonhold_tests::control_plane::ControlPlane;
use cordonhold_tests::install::manifests;
use cordonhold_tests::webhook::{Mode, Protection};
use cordonhold_tests::{AGENT_ACCOUNT, NAMESPACE, WEBHOOK_ACCOUNT, wait};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::certificates::{strip, wait_right};
use crate::cluster::{Cluster, alone};
use crate::fleet::Site;
use crate::manifests::overlay;
use crate::stock_kured::Kured;
use crate::subject::{annotate, cordon, uncordon};
use crate::wire::{self, Write};

/// Longest time until a request is in the audit log. The count of an Event is brought up to date after 10 s.
const ASKED_TIMEOUT: Duration = Duration::from_secs(60);
const CREATED: i64 = 201;
/// What is asked for now and then, or without that anybody waits for it: the role and the permission.
const LATE_IN_BASE: [(&str, &str); 4] = [
    ("cordonhold-agent-events", "create events.events.k8s.io"),
    ("cordonhold-webhook-events", "create events.events.k8s.io"),
    ("cordonhold-webhook-events", "patch events.events.k8s.io"),
    WATCHES_TRUST,
];
const LATE_IN_EVERYTHING: [(&str, &str); 5] = [
    ("cordonhold-agent", "patch nodes/status"),
    ("cordonhold-agent-events", "create events.events.k8s.io"),
    ("cordonhold-webhook-events", "create events.events.k8s.io"),
    (
        "cordonhold-webhook",
        "get mutatingwebhookconfigurations.admissionregistration.k8s.io",
    ),
    WATCHES_TRUST,
];
const LATE_IN_CERTIFICATES: [(&str, &str); 2] = [
    ("cordonhold-certs-events", "create events.events.k8s.io"),
    ("cordonhold-certs-events", "patch events.events.k8s.io"),
];
const WATCHES_TRUST: (&str, &str) = (
    "cordonhold-webhook",
    "get validatingwebhookconfigurations.admissionregistration.k8s.io",
);
/// The overlay with every component that grants something.
const EVERYTHING: &str = "resources: [../../overlays/kured-beside-agents]\n\
    components: [../../components/node-conditions, ../../components/volume-detach, ../../components/defer]\n";
/// What no request shows: the grant by its verb and resource, and where it is used.
const UNSEEN: [(&str, &str); 1] = [(
    "own rebootholds.cordonhold.dev",
    "the API server itself asks for it in `matchConditions`; `a_dead_webhook_stops_only_what_opens_a_hold` fails without it",
)];

/// One verb on one resource, as a role grants it to one of our `ServiceAccounts`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Grant {
    account: String,
    role: String,
    group: String,
    /// With the part of it after a `/`, if it is one.
    resource: String,
    verb: String,
    /// The only object that it is for.
    name: Option<String>,
}

/// What was granted and asked for in one run.
struct Run {
    grants: BTreeSet<Grant>,
    asked: Vec<Asked>,
}

/// How a grant was used in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// The run has no such grant.
    NotGranted,
    Unused,
    /// Another rule grants each request that it was used for.
    Covered,
    Needed,
}

#[test]
fn least_privilege_what_is_asked_for_is_granted_and_what_is_granted_is_asked_for() -> Result<()> {
    alone(async || {
        let base = base().await.context("the base")?;
        base.asked_for_nothing_forbidden()?;
        let everything = everything().await.context("every component")?;
        everything.asked_for_nothing_forbidden()?;
        let certificates = certificates().await.context("the certificates")?;
        certificates.asked_for_nothing_forbidden()?;
        let page = page([&base, &everything, &certificates])?;
        println!("{page}");
        let path = manifests("../docs/privileges.md");
        if std::env::var_os("CORDONHOLD_WRITE_MANUAL").is_some() {
            std::fs::write(&path, &page).context("failed to write the page")?;
        }
        let written = std::fs::read_to_string(&path).context("failed to read docs/privileges.md")?;
        ensure!(
            written == page,
            "docs/privileges.md is out of date: write it anew with `CORDONHOLD_WRITE_MANUAL=1 cargo test --workspace --test invariants least_privilege`"
        );
        Ok(())
    })
}

/// The base: a reboot, an uncordon that is denied twice, a cancel that is denied, and a drain that two budgets block.
async fn base() -> Result<Run> {
    let cluster = Cluster::start("base", Mode::Enforce, Protection::OwnHolds).await?;
    let site = Site::new(&cluster.plane, "whole", &["--reboot-delay=5s"]).await?;
    site.add_pod("whole").await?;
    site.machine.request_reboot()?;
    drop(site.wait_phase(Phase::Delaying).await?);
    for _ in 0..2 {
        wire::write(&cluster.controller, site.name(), Write::Strategic, &uncordon())
            .await?
            .denied()?;
    }
    let cancel = annotate(keys::CANCEL, Some(&format!("{} no", created(&site).await?)));
    wire::write(&cluster.controller, site.name(), Write::Merge, &cancel)
        .await?
        .denied()?;
    site.reboots_once_and_is_given_back().await?;

    let blocked = Site::new(&cluster.plane, "blocked", &[]).await?;
    blocked.add_blocked_pod("blocked").await?;
    add_budget(&cluster, "blocked-too", "blocked").await?;
    blocked.machine.request_reboot()?;
    drop(blocked.wait_event("called_off").await?);
    Run::once_all_are_used(&cluster.plane, cluster.rendered.objects(), &LATE_IN_BASE).await
}

/// Every component: the lock on kured's DaemonSet, conditions, volumes, an uncordon that is kept, and one that passes.
async fn everything() -> Result<Run> {
    let copy = tempfile::tempdir().context("failed to create a directory")?;
    let directory = overlay(copy.path(), "everything", EVERYTHING)?;
    let cluster = Cluster::start_with(&directory, Mode::Defer, Protection::OwnHoldsAndKured, &[]).await?;
    drop(Kured::install(&cluster).await?);
    let flags = [
        "--node-conditions",
        "--volume-detach-timeout=1s",
        "--preflight",
        "--reboot-delay=5s",
    ];
    let site = Site::new(
        &cluster.plane,
        "whole",
        &[&flags[..], &["--lock-on=daemonset"]].concat(),
    )
    .await?;
    add_kept_pod_with_volume(&cluster, "whole").await?;
    site.machine.request_reboot()?;
    drop(site.wait_phase(Phase::Delaying).await?);
    wire::write(&cluster.controller, site.name(), Write::Strategic, &uncordon())
        .await?
        .passed()?;
    drop(site.machine.wait_for_reboot(1, ASKED_TIMEOUT).await?);
    drop(site.wait_over().await?);

    cluster.plane.add_node("free").await?;
    for change in [cordon(), uncordon()] {
        wire::write(&cluster.controller, "free", Write::Strategic, &change)
            .await?
            .passed()?;
    }
    Run::once_all_are_used(&cluster.plane, cluster.rendered.objects(), &LATE_IN_EVERYTHING).await
}

/// `certs` by itself: it makes everything, and mends what is stripped and deleted.
async fn certificates() -> Result<Run> {
    let (plane, rendered) = certificates::installed("https://127.0.0.1:9").await?;
    let client = plane.client();
    let mut certs = Certs::start(&plane, "certs", &["--settle=11s"]).await?;
    certs.wait_ready().await?;
    // The second Event about the same is a patch of the first one.
    for _ in 0..2 {
        strip(&client, "somebody", None).await?;
        drop(wait_right(&client, "the caBundles to be repaired").await?);
    }
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    for name in [certificates::SERVED_SECRET, certificates::CA_SECRET] {
        drop(secrets.delete(name, &DeleteParams::default()).await?);
        drop(wait_right(&client, "what was deleted").await?);
    }
    let run = Run::once_all_are_used(&plane, rendered.objects(), &LATE_IN_CERTIFICATES).await?;
    certs.stop().await?;
    Ok(run)
}

/// The `created` of the hold of a Node.
async fn created(site: &Site) -> Result<String> {
    let node = site.view().await?;
    let holder = node.annotation(keys::HOLDER).context("no holder")?;
    let (_, created) = holder.split_once('/').context("no hold")?;
    Ok(created.to_owned())
}

async fn add_budget(cluster: &Cluster, name: &str, app: &str) -> Result<()> {
    let budget = serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": { "maxUnavailable": 0, "selector": { "matchLabels": { "app": app } } },
    }))?;
    let budgets: Api<k8s_openapi::api::policy::v1::PodDisruptionBudget> =
        Api::default_namespaced(cluster.admin.clone());
    let created = budgets.create(&PostParams::default(), &budget).await;
    created
        .map(drop)
        .context("failed to create a PodDisruptionBudget")
}

/// A pod that a drain leaves, as the API server shows a static pod, with a claim of a volume.
async fn add_kept_pod_with_volume(cluster: &Cluster, node: &str) -> Result<()> {
    let pod = serde_json::from_value(json!({
        "metadata": { "name": "kept", "annotations": { "kubernetes.io/config.mirror": "kept" } },
        "spec": {
            "nodeName": node,
            "automountServiceAccountToken": false,
            "containers": [{ "name": "pause", "image": "registry.k8s.io/pause:3.10" }],
            "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": "data" } }],
        },
    }))?;
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::default_namespaced(cluster.admin.clone());
    let created = pods.create(&PostParams::default(), &pod).await;
    created.map(drop).context("failed to create a pod with a volume")
}

impl Run {
    /// Waits until these permissions are used.
    async fn once_all_are_used(
        plane: &ControlPlane,
        objects: &[Value],
        late: &[(&str, &str)],
    ) -> Result<Self> {
        wait::until("each late request in the audit log", ASKED_TIMEOUT, || async {
            let run = Self::of(plane, objects)?;
            let is_used = |(role, words): &(&str, &str)| {
                let mut grants = run.grants.iter();
                grants.any(|grant| {
                    grant.role == *role && grant.words() == *words && run.uses(grant) != Use::Unused
                })
            };
            Ok(late.iter().all(is_used).then_some(run))
        })
        .await
    }

    fn of(plane: &ControlPlane, objects: &[Value]) -> Result<Self> {
        let mut asked = plane.requests_of_ours()?;
        // A server-side apply that creates its object is logged as a patch; RBAC is asked for both verbs.
        let creating = asked
            .iter()
            .filter(|asked| asked.verb == "patch" && asked.code == Some(CREATED));
        let created: Vec<Asked> = creating
            .map(|asked| Asked {
                verb: "create".to_owned(),
                ..asked.clone()
            })
            .collect();
        asked.extend(created);
        Ok(Self {
            grants: grants(objects)?,
            asked,
        })
    }

    fn asked_for_nothing_forbidden(&self) -> Result<()> {
        let forbidden: Vec<&Asked> = self.asked.iter().filter(|asked| asked.is_forbidden).collect();
        ensure!(forbidden.is_empty(), "no role grants {forbidden:#?}");
        Ok(())
    }

    fn uses(&self, grant: &Grant) -> Use {
        if !self.grants.contains(grant) {
            return Use::NotGranted;
        }
        let mut granted = self.asked.iter().filter(|asked| grant.allows(asked)).peekable();
        if granted.peek().is_none() {
            return Use::Unused;
        }
        let others: Vec<&Grant> = self.grants.iter().filter(|other| *other != grant).collect();
        let is_covered = |asked: &Asked| others.iter().any(|other| other.allows(asked));
        if granted.all(is_covered) {
            Use::Covered
        } else {
            Use::Needed
        }
    }
}

impl Grant {
    fn allows(&self, asked: &Asked) -> bool {
        let object = &asked.object;
        let resource = match object.subresource.as_str() {
            "" => object.resource.clone(),
            part => format!("{}/{part}", object.resource),
        };
        self.account == asked.account
            && self.verb == asked.verb
            && (&self.group, &self.resource) == (&object.api_group, &resource)
            && self.name.as_ref().is_none_or(|name| *name == object.name)
    }

    /// The verb and the resource, as people write them.
    fn words(&self) -> String {
        let Self { resource, group, .. } = self;
        let dot = if group.is_empty() { "" } else { "." };
        format!("{} {resource}{dot}{group}", self.verb)
    }
}

/// What the bindings among these objects grant to our `ServiceAccounts`.
fn grants(objects: &[Value]) -> Result<BTreeSet<Grant>> {
    let mut grants = BTreeSet::new();
    let is_binding =
        |object: &&Value| object["kind"] == "ClusterRoleBinding" || object["kind"] == "RoleBinding";
    for binding in objects.iter().filter(is_binding) {
        let role = &binding["roleRef"];
        let role = objects
            .iter()
            .find(|object| object["kind"] == role["kind"] && object["metadata"]["name"] == role["name"])
            .with_context(|| format!("no role for {binding}"))?;
        for subject in each(&binding["subjects"]) {
            // People are none of our programs.
            if subject["kind"] != "ServiceAccount" {
                continue;
            }
            let account = text(&subject["name"]);
            let is_ours = [AGENT_ACCOUNT, WEBHOOK_ACCOUNT, certificates::ACCOUNT].contains(&account.as_str());
            ensure!(
                is_ours && subject["namespace"] == NAMESPACE,
                "bound to another: {binding}"
            );
            for rule in each(&role["rules"]) {
                grants.extend(of_rule(&account, &text(&role["metadata"]["name"]), rule)?);
            }
        }
    }
    Ok(grants)
}

fn of_rule(account: &str, named: &str, rule: &Value) -> Result<Vec<Grant>> {
    let only: Vec<Option<String>> = match rule.get("resourceNames") {
        None => vec![None],
        Some(listed) => each(listed).map(|name| Some(text(name))).collect(),
    };
    let mut grants = Vec::new();
    for group in each(&rule["apiGroups"]) {
        for resource in each(&rule["resources"]) {
            for verb in each(&rule["verbs"]) {
                ensure!(
                    ![group, resource, verb].contains(&&json!("*")),
                    "a wildcard: {rule}"
                );
                for name in &only {
                    grants.push(Grant {
                        account: account.to_owned(),
                        role: named.to_owned(),
                        group: text(group),
                        resource: text(resource),
                        verb: text(verb),
                        name: name.clone(),
                    });
                }
            }
        }
    }
    ensure!(!grants.is_empty(), "it grants nothing: {rule}");
    Ok(grants)
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The page. An error names a grant that nobody uses, and a use that no request can show but one did.
fn page(runs: [&Run; 3]) -> Result<String> {
    let mut page = INTRODUCTION.to_owned();
    let all: BTreeSet<&Grant> = runs.iter().flat_map(|run| &run.grants).collect();
    for grant in all {
        let uses = runs.map(|run| run.uses(grant));
        let unseen = UNSEEN.iter().find(|(words, _)| *words == grant.words());
        let is_used = uses.iter().any(|used| matches!(used, Use::Needed | Use::Covered));
        let elsewhere = match (unseen, is_used) {
            (Some((_, where_used)), false) => *where_used,
            (None, true) => "",
            (Some(_), true) => bail!("a request shows the use of {grant:?}"),
            (None, false) => bail!("nobody uses {grant:?}"),
        };
        let only = grant
            .name
            .as_ref()
            .map_or_else(String::new, |name| format!("`{name}`"));
        writeln!(
            page,
            "| `{}` | {} | {only} | {} | {} | {} | {elsewhere} |",
            grant.role,
            grant.words(),
            uses[0].words(),
            uses[1].words(),
            uses[2].words()
        )?;
    }
    Ok(page)
}

impl Use {
    fn words(self) -> &'static str {
        match self {
            Self::NotGranted => "not granted",
            Self::Unused => "",
            Self::Covered => "used, another rule grants it too",
            Self::Needed => "used",
        }
    }
}

const INTRODUCTION: &str = "\
# What each permission is used for

Agent, webhook and `certs` have the permissions of this table, and no others.
A test lets them go through whole cycles on a real API server, with exactly these roles, and reads the API server's audit log.
It fails if a request was forbidden, or if nobody used a permission.

RBAC cannot limit `patch nodes` to the agent's own Node.
The webhook does, and so does [the policy](policy.md) with no replica of the webhook running: with an agent's token, every write to another Node is denied.
Without both, that token may write every Node.

* *Base*: the manifests of `base`. A reboot, an uncordon that is denied twice, a cancel that is denied, and a drain that two budgets block.
* *Everything*: `overlays/kured-beside-agents` with `node-conditions`, `volume-detach` and `defer`, and the agent's flags `--node-conditions`, `--volume-detach-timeout`, `--preflight` and `--lock-on=daemonset`. A reboot, an uncordon that is kept, and one of a node that nobody holds.
* *Certificates*: `certs` alone. It makes CA and certificate, and mends what is stripped and deleted.

An empty cell: granted in that run, and not asked for there.
*Used, another rule grants it too*: the rule could do without this permission.

| role | permission | only on | base | everything | certificates | where else |
| --- | --- | --- | --- | --- | --- | --- |
";
