//! The uninstall on the real API server, with the rights that the manifests give its Job and no others: nothing of Cordonhold is left, and
//! each node ends as it would have ended with its agent.
//!
//! Most run the program beside a cluster whose nodes run no Job, with a token of the Job's ServiceAccount.
//! Not here: the order of the writes (`shared/src/uninstall`), and the Job as Helm's hook (`chart`, `installed`).

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cordonhold_shared::hold::{self, Phase};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use cordonhold_tests::cluster::Cluster;
use cordonhold_tests::control_plane::{ControlPlane, Options};
use cordonhold_tests::identity::{Credential, Identity};
use cordonhold_tests::install::{Rendered, install, manifests};
use cordonhold_tests::marks::Marks;
use cordonhold_tests::process::CommandLine;
use cordonhold_tests::programs::{self, Program};
use cordonhold_tests::webhook::{Mode, Protection, Webhook};
use cordonhold_tests::{NAMESPACE, tree, wait};
use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::cluster::alone;
use crate::fleet::Site;
use crate::gitops::images;
use crate::manifests::{add_overlay, documented_overlay, documented_steps, overlay, shell};
use crate::wire::{self, Write};

/// The Job's ServiceAccount.
pub(crate) const ACCOUNT: &str = "cordonhold-uninstall";
/// Longest uninstall: a reboot, and some rounds.
const BOUND: Duration = Duration::from_mins(2);
/// Longest time until the Job is there, once somebody has been told to create it.
const JOB_TIMEOUT: Duration = Duration::from_secs(60);
/// What it prints last if nothing is left.
const LAST: &str = "0 nodes carry anything of Cordonhold\n";
/// Long enough for each agent that is alive to have renewed its hold.
const SILENT: SignedDuration = SignedDuration::from_mins(9);

/// Applies the base with these components and that of the uninstall.
async fn installed(plane: &ControlPlane, components: &[&str]) -> Result<Rendered> {
    let copy = tempfile::tempdir().context("failed to create a directory")?;
    let components: Vec<String> = components
        .iter()
        .chain(&["uninstall"])
        .map(|name| format!("../../components/{name}"))
        .collect();
    let kustomization = format!(
        "resources: [../../base]\ncomponents: [{}]\n",
        components.join(", ")
    );
    install(plane, &overlay(copy.path(), "going", &kustomization)?).await
}

/// Runs the program with the Job's rights and these flags, and returns what it prints. The error has what it prints too.
async fn uninstall(plane: &ControlPlane, flags: &[String]) -> Result<String> {
    let [program] = programs::build([Program::Webhook])?;
    let token = plane.service_account_token(NAMESPACE, ACCOUNT, None).await?;
    let kubeconfig = plane.directory().join("uninstall.kubeconfig");
    plane
        .endpoint()
        .write_kubeconfig(&kubeconfig, ACCOUNT, &Credential::Token(token))?;
    let line = CommandLine::new(program)
        .args(["uninstall", "--namespace", NAMESPACE, "--kubeconfig"])
        .arg(kubeconfig)
        .args(flags.iter().map(String::as_str));
    line.run("", BOUND).await
}

fn flags(flags: &[&str]) -> Vec<String> {
    flags.iter().map(|flag| (*flag).to_owned()).collect()
}

/// Checks that it stops with exit code 1, and says all of this. Returns what it says.
async fn stops(plane: &ControlPlane, these: &[&str], says: &[&str]) -> Result<String> {
    match uninstall(plane, &flags(these)).await {
        Ok(said) => bail!("it did not stop: {said}"),
        Err(error) => {
            let said = format!("{error:#}");
            ensure!(said.contains("exit status: 1"), "{said}");
            for text in says {
                ensure!(said.contains(text), "it does not say {text:?}: {said}");
            }
            Ok(said)
        }
    }
}

async fn nodes(client: &Client) -> Result<Vec<NodeView>> {
    let request = http::Request::get("/api/v1/nodes").body(Vec::new())?;
    let list: Value = client
        .request(request)
        .await
        .context("failed to list the Nodes")?;
    serde_json::from_value(list["items"].clone()).context("failed to read the Nodes")
}

async fn node(client: &Client, name: &str) -> Result<NodeView> {
    let nodes = nodes(client).await?;
    let node = nodes.into_iter().find(|node| node.name() == name);
    node.with_context(|| format!("there is no Node {name}"))
}

/// Checks what the program said last, by other means than its own: no Node has a key of ours, and locks, agents and certificates are gone.
pub(crate) async fn nothing_is_left(client: &Client) -> Result<()> {
    for node in nodes(client).await? {
        let text = serde_json::to_string(&node.metadata.annotations)?
            + &serde_json::to_string(&node.metadata.labels)?
            + &serde_json::to_string(&node.spec.taints)?;
        ensure!(!text.contains("cordonhold"), "{}: {text}", node.name());
        ensure!(node.condition(keys::HELD_CONDITION).is_none(), "{node:?}");
    }
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let leases = leases.list(&ListParams::default()).await?.items;
    ensure!(leases.is_empty(), "{leases:?}");
    let sets: Api<DaemonSet> = Api::namespaced(client.clone(), NAMESPACE);
    let sets = sets.list(&ListParams::default()).await?.items;
    ensure!(sets.is_empty(), "{sets:?}");
    Ok(())
}

/// A Secret as `certs` makes it, or as somebody else does.
async fn add_secret(client: &Client, name: &str, is_ours: bool) -> Result<()> {
    let part_of = if is_ours { "cordonhold" } else { "another" };
    let secret: Secret = serde_json::from_value(
        json!({ "metadata": { "name": name, "labels": { "app.kubernetes.io/part-of": part_of } } }),
    )?;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    drop(secrets.create(&PostParams::default(), &secret).await?);
    Ok(())
}

async fn secrets(client: &Client) -> Result<Vec<String>> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let secrets = secrets.list(&ListParams::default()).await?.items;
    Ok(secrets.iter().map(ResourceExt::name_any).collect())
}

/// A fleet in the middle of its work: one node drains, one waits out its delay, one reboots, one wants a reboot that a pause postpones, and
/// one was cordoned by somebody.
#[test]
fn cordon_given_back_a_fleet_in_mid_cycle_is_finished_or_undone_and_nothing_is_left() -> Result<()> {
    alone(async || {
        let plane = ControlPlane::start(Options { nodes: 1 }).await?;
        let rendered = installed(&plane, &[]).await?;
        let webhook = Webhook::start(&plane, Mode::Enforce, Protection::OwnHolds).await?;
        webhook.register(&plane, &rendered, "node-0").await?;
        let client = plane.client();
        // Its agent asks for the next reboot at once, and so may do so while everything is being removed.
        let eager = "--backoff=1s";
        let drains = Site::new(&plane, "drains", &[eager]).await?;
        drains.add_blocked_pod("blocked").await?;
        let delays = Site::new(&plane, "delays", &["--reboot-delay=1h", eager]).await?;
        let reboots = Site::new(&plane, "reboots", &[]).await?;
        let wants = Site::new(&plane, "wants", &[]).await?;
        let cordoned = Site::new(&plane, "cordoned", &[]).await?;
        let others = json!({ "metadata": { "annotations": { keys::KEEP_CORDONED: "disk" } }, "spec": { "unschedulable": true } });
        drop(cordoned.write(&others).await?);
        let pause = json!({ "metadata": { "annotations": { keys::PAUSE: "later" } } });
        drop(wants.write(&pause).await?);
        for site in [&drains, &delays, &wants, &reboots] {
            site.machine.request_reboot()?;
        }
        drop(drains.wait_phase(Phase::Draining).await?);
        drop(delays.wait_phase(Phase::Delaying).await?);
        drop(wants.wait_phase(Phase::Wanted).await?);
        drop(reboots.wait_clean_reboot().await?);
        add_secret(&client, "cordonhold-ca", true).await?;
        add_secret(&client, "cordonhold-webhook-tls", false).await?;

        let said = uninstall(&plane, &flags(&["--lock-on=lease"])).await?;
        ensure!(said.ends_with(LAST), "{said}");
        for line in [
            "paused reboots on Lease cordonhold/cordonhold-default\n",
            "node drains: cancelled its hold (draining)\n",
            "node delays: cancelled its hold (delaying)\n",
            "deleted DaemonSet cordonhold/cordonhold-agent\n",
            "deleted Deployment cordonhold/cordonhold-certs\n",
            "deleted Lease cordonhold/cordonhold-default\n",
            "deleted Secret cordonhold/cordonhold-ca\n",
        ] {
            ensure!(said.contains(line), "{line:?} is missing: {said}");
        }
        nothing_is_left(&client).await?;
        ensure!(secrets(&client).await? == ["cordonhold-webhook-tls"], "{said}");
        for (site, is_cordoned, reboots) in [
            (&drains, false, 0),
            (&delays, false, 0),
            (&wants, false, 0),
            (&reboots, false, 1),
            (&cordoned, true, 0),
        ] {
            let node = site.view().await?;
            ensure!(node.spec.unschedulable == is_cordoned, "{node:?}");
            ensure!(
                site.machine.reboots().len() == reboots,
                "{}: {:?}",
                site.name(),
                site.machine.reboots()
            );
        }
        ensure!(drains.has_pod("blocked").await?, "its pod was evicted");
        // It can be run again, and then has nothing to do.
        ensure!(uninstall(&plane, &flags(&["--lock-on=lease"])).await? == LAST);
        Ok(())
    })
}

async fn add_node(client: &Client, name: &str) -> Result<()> {
    let node: Node = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
    drop(
        Api::all(client.clone())
            .create(&PostParams::default(), &node)
            .await?,
    );
    Ok(())
}

/// A held Node whose agent is gone for long, with these annotations beside its marks, written before the webhook is there.
async fn add_dead(plane: &ControlPlane, name: &str, phase: Phase, was_cordoned: bool) -> Result<Marks> {
    let client = plane.client();
    add_node(&client, name).await?;
    if was_cordoned {
        let cordon = json!({ "spec": { "unschedulable": true } });
        wire::write(&client, name, Write::Merge, &cordon)
            .await?
            .passed()?;
    }
    let marks = Marks::of(plane, name).await?;
    drop(marks.hold(phase).await?);
    marks.renewed_before(SILENT).await?;
    Ok(marks)
}

async fn lease(client: &Client, annotations: Value) -> Result<()> {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": "cordonhold-default", "annotations": annotations },
    });
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let by = PatchParams::apply("test");
    drop(
        leases
            .patch("cordonhold-default", &by, &Patch::Apply(lease))
            .await?,
    );
    Ok(())
}

/// By default a dead holder stops everything, and nothing is changed. With `--dead-holds=give-back` its node ends as its agent would have
/// ended it, also the uncordon that somebody asked for meanwhile; the webhook is in mode `defer`, and keeps no uncordon that this one sends.
#[test]
fn last_wish_a_dead_hold_stops_it_or_is_given_back_as_its_agent_would_have_done() -> Result<()> {
    alone(async || {
        let plane = ControlPlane::start_alone().await?;
        let client = plane.client();
        let rendered = installed(&plane, &["defer"]).await?;
        add_node(&client, "probe").await?;
        for (name, phase, was_cordoned) in [
            ("drains", Phase::Draining, false),
            ("cordoned", Phase::Delaying, true),
            ("deferred", Phase::Draining, true),
            ("kept", Phase::Returning, false),
            ("wish", Phase::Wanted, true),
        ] {
            drop(add_dead(&plane, name, phase, was_cordoned).await?);
        }
        lease(&client, json!({ keys::POOL_SELECTOR: "" })).await?;
        let webhook = Webhook::start(&plane, Mode::Defer, Protection::OwnHolds).await?;
        webhook.register(&plane, &rendered, "probe").await?;
        let controller = plane.client_from(&plane.kubeconfig(Identity::Controller)).await?;
        let uncordon = json!({ "spec": { "unschedulable": null } });
        // The API server may learn of the mutating configuration later than of the other one.
        wait::until("an uncordon to be kept", JOB_TIMEOUT, || async {
            let answer = wire::write(&controller, "deferred", Write::Merge, &uncordon).await?;
            Ok(answer.passed().is_ok().then_some(()))
        })
        .await?;
        let keep = json!({ "metadata": { "annotations": { keys::KEEP_CORDONED: "disk" } } });
        wire::write(&client, "kept", Write::Merge, &keep)
            .await?
            .passed()?;
        let before = nodes(&client).await?;

        let said = stops(
            &plane,
            &[],
            &["node drains: its hold of", "node kept:", "--dead-holds=give-back"],
        )
        .await?;
        ensure!(
            !said.contains("node wish") && !said.contains("paused reboots"),
            "{said}"
        );
        ensure!(nodes(&client).await? == before, "a Node was changed: {said}");

        let said = uninstall(&plane, &flags(&["--dead-holds=give-back"])).await?;
        ensure!(said.ends_with(LAST), "{said}");
        nothing_is_left(&client).await?;
        for (name, is_cordoned) in [
            ("drains", false),
            ("cordoned", true),
            ("deferred", false),
            ("kept", true),
            ("wish", true),
        ] {
            let node = node(&client, name).await?;
            ensure!(node.spec.unschedulable == is_cordoned, "{node:?} after: {said}");
        }
        Ok(())
    })
}

/// No flag makes it touch a node whose host may be rebooting. Once the Node shows that the host has booted, its cordon is given back.
#[test]
fn no_blind_reboot_a_sealed_node_without_an_agent_is_left_alone_until_it_has_booted() -> Result<()> {
    alone(async || {
        let plane = ControlPlane::start_alone().await?;
        let client = plane.client();
        let rendered = installed(&plane, &[]).await?;
        add_node(&client, "probe").await?;
        drop(add_dead(&plane, "sealed", Phase::Sealed, false).await?);
        // The seal sets `until` by `--reboot-timeout`; a renewal of long ago stands for one that is over.
        let marks = Marks::of(&plane, "sealed").await?;
        marks.renewed_before(SignedDuration::from_hours(2)).await?;
        let webhook = Webhook::start(&plane, Mode::Enforce, Protection::OwnHolds).await?;
        webhook.register(&plane, &rendered, "probe").await?;
        let give_back = "--dead-holds=give-back";
        let before = node(&client, "sealed").await?;
        let says = [
            "node sealed: it is sealed and its agent is silent",
            "kubectl delete node sealed",
        ];
        drop(stops(&plane, &[give_back], &says).await?);
        ensure!(node(&client, "sealed").await? == before, "the Node was changed");

        let booted = Patch::Merge(json!({ "status": { "nodeInfo": {
            "bootID": "22222222-2222-4222-8222-222222222222", "machineID": "", "systemUUID": "", "kernelVersion": "", "osImage": "",
            "containerRuntimeVersion": "", "kubeletVersion": "", "kubeProxyVersion": "", "operatingSystem": "", "architecture": "",
        } } }));
        let api: Api<Node> = Api::all(client.clone());
        drop(
            api.patch_status("sealed", &PatchParams::default(), &booted)
                .await?,
        );
        let said = uninstall(&plane, &flags(&[give_back])).await?;
        ensure!(said.ends_with(LAST), "{said}");
        ensure!(
            !node(&client, "sealed").await?.spec.unschedulable,
            "it stayed cordoned"
        );
        nothing_is_left(&client).await
    })
}

/// A hold that does not end in time is named, and the pause of this run is taken back: Cordonhold goes on as before.
#[test]
fn nothing_stuck_a_hold_that_does_not_end_in_time_is_named_and_reboots_go_on() -> Result<()> {
    alone(async || {
        let plane = ControlPlane::start_alone().await?;
        let client = plane.client();
        drop(installed(&plane, &[]).await?);
        add_node(&client, "returns").await?;
        drop(Marks::of(&plane, "returns").await?.hold(Phase::Returning).await?);
        lease(&client, json!({ keys::POOL_SELECTOR: "" })).await?;
        let says = [
            "still waiting after 1s",
            "node returns: it is back",
            "resumed reboots on Lease",
        ];
        drop(stops(&plane, &["--timeout=1s"], &says).await?);
        let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
        let lease = leases.get("cordonhold-default").await?;
        ensure!(lease.annotations().get(keys::PAUSE).is_none(), "{lease:?}");
        let sets: Api<DaemonSet> = Api::namespaced(client.clone(), NAMESPACE);
        drop(
            sets.get("cordonhold-agent")
                .await
                .context("the agents were removed")?,
        );
        ensure!(
            hold::has_marks(&node(&client, "returns").await?),
            "the marks were removed"
        );
        Ok(())
    })
}

/// On kured's DaemonSet only what is ours goes; and kured is not left without the label that its DaemonSet asks for.
#[test]
fn d20_kureds_daemon_set_loses_what_is_ours_and_nothing_else() -> Result<()> {
    alone(async || {
        let plane = ControlPlane::start_alone().await?;
        let client = plane.client();
        drop(installed(&plane, &["lock-on-daemonset"]).await?);
        let kureds = json!({ "nodeID": "b", "metadata": { "unschedulable": false }, "created": "2026-11-23T10:00:00Z", "TTL": 0 });
        let ours = json!({ "nodeID": "gone", "metadata": { "unschedulable": false }, "created": "2026-11-23T10:00:00.000000001Z", "TTL": -1 });
        let lock = json!({ "maxOwners": 2, "locks": [kureds, ours] }).to_string();
        let set: DaemonSet = serde_json::from_value(json!({
            "metadata": { "name": "kured", "annotations": {
                keys::KURED_LOCK: lock, keys::LOCK_WRITTEN: "x", keys::LAST_REBOOT: "2026-11-23T10:00:00Z", "theirs": "t",
            } },
            "spec": {
                "selector": { "matchLabels": { "a": "b" } },
                "template": { "metadata": { "labels": { "a": "b" } }, "spec": {
                    "nodeSelector": { keys::AGENT: keys::DISABLED },
                    "containers": [{ "name": "kured", "image": "example.com/kured:1" }],
                } },
            },
        }))?;
        let sets: Api<DaemonSet> = Api::namespaced(client.clone(), "kube-system");
        drop(sets.create(&PostParams::default(), &set).await?);
        add_node(&client, "b").await?;
        let label = json!({ "metadata": { "labels": { keys::AGENT: keys::DISABLED } } });
        wire::write(&client, "b", Write::Merge, &label).await?.passed()?;

        let says = ["DaemonSet kube-system/kured runs only on nodes with the label cordonhold.dev/agent"];
        drop(stops(&plane, &[], &says).await?);
        ensure!(
            node(&client, "b").await?.label(keys::AGENT).is_some(),
            "the label is gone"
        );

        let everywhere =
            json!({ "spec": { "template": { "spec": { "nodeSelector": { keys::AGENT: null } } } } });
        drop(
            sets.patch("kured", &PatchParams::default(), &Patch::Merge(everywhere))
                .await?,
        );
        let said = uninstall(&plane, &[]).await?;
        ensure!(said.ends_with(LAST), "{said}");
        nothing_is_left(&client).await?;
        let left = sets.get("kured").await?;
        let annotations = left.annotations();
        ensure!(
            !annotations.keys().any(|key| keys::is_ours(key)) && annotations.get("theirs").is_some(),
            "{annotations:?}"
        );
        let lock: Value = serde_json::from_str(&annotations[keys::KURED_LOCK])?;
        ensure!(
            lock["locks"].as_array().map(Vec::len) == Some(1) && lock["locks"][0]["nodeID"] == "b",
            "{lock}"
        );
        Ok(())
    })
}

/// Runs the numbered steps of `docs/install.md` by kubectl.
#[test]
fn the_documented_steps_uninstall_it() -> Result<()> {
    alone(async || {
        let cluster = Cluster::start(1).await?;
        let plane = &cluster.plane;
        let steps = documented_steps("### Uninstall with kustomize\n")?;
        let [apply, waits, delete] = steps.as_slice() else {
            bail!("the page has other steps: {steps:?}")
        };
        let copy = tempfile::tempdir().context("failed to create a directory")?;
        tree::copy(&manifests(""), copy.path())?;
        let kustomization = format!("{}{}", documented_overlay("components/uninstall")?, images());
        let directory = add_overlay(copy.path(), "yours", &kustomization)?;
        let directory = directory.to_str().context("a path that is no text")?;
        let in_it = |step: &str| step.replace("YOUR-OVERLAY", directory);
        ensure!(in_it(apply) != *apply && in_it(delete) != *delete, "{steps:?}");
        drop(shell(plane, &in_it(apply)).await?);
        drop(shell(plane, waits).await?);
        drop(shell(plane, &in_it(delete)).await?);
        let left = shell(
            plane,
            "kubectl get clusterroles,clusterrolebindings,validatingwebhookconfigurations,namespaces -o name",
        )
        .await?;
        ensure!(!left.contains("cordonhold"), "{left}");
        nothing_is_left(&plane.client()).await
    })
}
