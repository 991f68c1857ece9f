//! Upgrades from an older version of Cordonhold, and downgrades back to it, with the real programs of both and a node in each phase. And agents
//! of a next version beside this one's, under this one's webhook.
//!
//! They run only with the feature `long`, see `.ci/long`. `docs/versions.md` says under "Upgrade" what follows from them.
//! Not here: where the older version comes from, see `cordonhold_tests::compat`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use cordonhold_shared::hold::{Phase, cancel_name};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use cordonhold_tests::NAMESPACE;
use cordonhold_tests::compat::{NEXT_ANNOTATION, NEXT_FIELD, NEXT_PHASE, Older, next_agent};
use cordonhold_tests::control_plane::{ControlPlane, Options};
use cordonhold_tests::host::RebootCommand;
use cordonhold_tests::install::{Rendered, install, manifests};
use cordonhold_tests::programs::{self, Program};
use cordonhold_tests::webhook::{Mode, Protection, Webhook};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::cluster::{Cluster, alone};
use crate::fleet::{REBOOT_TIMEOUT, Site};
use crate::manifests::overlay;
use crate::rollout::History;
use crate::subject::{annotate, cordon, uncordon};
use crate::wire::{self, Write};

/// The programs and the manifests of one version.
struct Version {
    agent: PathBuf,
    webhook: PathBuf,
    base: PathBuf,
}

impl Version {
    fn older() -> Result<Self> {
        let older = Older::find()?;
        Ok(Self {
            base: older.manifests("base"),
            agent: older.agent,
            webhook: older.webhook,
        })
    }

    fn newer() -> Result<Self> {
        let [agent, webhook] = programs::build([Program::Agent, Program::Webhook])?;
        Ok(Self {
            agent,
            webhook,
            base: manifests("base"),
        })
    }

    /// Starts a control plane with this version on it, but without agents.
    async fn start(&self) -> Result<Cluster> {
        let plane = ControlPlane::start(Options { nodes: 1 }).await?;
        let rendered = install(&plane, &self.base).await?;
        let webhook = self.start_webhook(&plane).await?;
        Cluster::of(plane, rendered, webhook).await
    }

    async fn start_webhook(&self, plane: &ControlPlane) -> Result<Webhook> {
        Webhook::start_program(&self.webhook, plane, Mode::Enforce, Protection::OwnHolds, &[]).await
    }

    /// Applies the manifests of this version over those of the other.
    async fn apply(&self, cluster: &mut Cluster) -> Result<()> {
        let kubectl = &cluster.plane.assets().kubectl;
        let rendered = Rendered::from_directory(kubectl, &self.base).await?;
        rendered.apply_objects(&cluster.plane.client()).await?;
        cluster
            .webhook
            .register(&cluster.plane, &rendered, "node-0")
            .await?;
        cluster.rendered = rendered;
        Ok(())
    }
}

/// What a node is in the middle of while the versions change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    /// It waits for the lock. There is room only for one node, and the others have it.
    Wanted,
    /// A PodDisruptionBudget blocks its drain.
    Draining,
    /// The same, on a node that an admin had cordoned before.
    Cordoned,
    Delaying,
    /// Its reboot command runs, and its host does not go down yet.
    Sealed,
    /// It is back, and its soak has begun.
    Returning,
}

impl Case {
    const ALL: [Self; 6] = [
        Self::Draining,
        Self::Cordoned,
        Self::Delaying,
        Self::Sealed,
        Self::Returning,
        Self::Wanted,
    ];

    fn node(self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::Draining => "draining",
            Self::Cordoned => "cordoned",
            Self::Delaying => "delaying",
            Self::Sealed => "sealed",
            Self::Returning => "returning",
        }
    }

    fn phase(self) -> Phase {
        match self {
            Self::Wanted => Phase::Wanted,
            Self::Draining | Self::Cordoned => Phase::Draining,
            Self::Delaying => Phase::Delaying,
            Self::Sealed => Phase::Sealed,
            Self::Returning => Phase::Returning,
        }
    }

    /// The arguments that keep an agent in this phase.
    fn staying(self) -> &'static [&'static str] {
        match self {
            Self::Wanted => &["--concurrency=1"],
            Self::Draining | Self::Cordoned | Self::Sealed => &[],
            Self::Delaying => &["--reboot-delay=10m"],
            Self::Returning => &["--soak=10m"],
        }
    }

    /// The arguments with which it goes on.
    fn going_on(self) -> &'static [&'static str] {
        match self {
            Self::Wanted => &["--concurrency=1", "--backoff=1s"],
            _ => &["--backoff=1s"],
        }
    }

    /// Whether it stays in its phase after its agent was started anew, until the test lets it go on.
    fn is_blocked(self) -> bool {
        matches!(self, Self::Draining | Self::Cordoned | Self::Sealed)
    }
}

/// A node in the middle of a reboot.
struct Member {
    case: Case,
    site: Site,
    holder: Option<String>,
    /// Whether it stays cordoned when its hold ends.
    stays_cordoned: bool,
    /// All versions of its Node since then.
    history: Option<History>,
}

impl Member {
    /// Brings a node there with the agent of this version.
    async fn new(cluster: &Cluster, case: Case, version: &Version) -> Result<Self> {
        let name = case.node();
        cluster.plane.add_node(name).await?;
        let mut site = Site::without_agent(&cluster.plane, name).await?;
        match case {
            Case::Cordoned => {
                drop(site.write(&cordon()).await?);
                site.add_blocked_pod(name).await?;
            }
            Case::Draining => site.add_blocked_pod(name).await?,
            Case::Delaying => site.add_pod(name).await?,
            Case::Sealed => site.machine.set_reboot_command(RebootCommand::Waits)?,
            Case::Wanted | Case::Returning => {}
        }
        site.start_program(&version.agent, case.staying()).await?;
        site.machine.request_reboot()?;
        let node = site.wait_phase(case.phase()).await?;
        if case == Case::Sealed {
            site.wait_logged("running the reboot command").await?;
        }
        Ok(Self {
            case,
            holder: node.annotation(keys::HOLDER).map(str::to_owned),
            stays_cordoned: case == Case::Cordoned,
            history: Some(History::follow(&cluster.plane, name, node.version())),
            site,
        })
    }

    /// Ends the agent and starts that of this version, which goes on.
    async fn replace_agent(&mut self, version: &Version) -> Result<()> {
        if self.case == Case::Sealed {
            // On SIGTERM it would wait for its reboot command.
            self.site.machine.kill_agent().await;
        } else {
            self.site.machine.terminate_agent().await?;
        }
        self.site
            .start_program(&version.agent, self.case.going_on())
            .await
    }

    /// Checks that nobody but its agent can uncordon the node or take its marks away, and that nobody has.
    async fn is_held(&self, cluster: &Cluster) -> Result<()> {
        let name = self.site.name();
        for (write, body) in [
            (Write::Strategic, uncordon()),
            (Write::Merge, annotate(keys::HOLDER, None)),
            (Write::Merge, annotate(keys::UNTIL, Some("2000-01-01T00:00:00Z"))),
            (
                Write::Merge,
                json!({ "metadata": { "labels": { keys::PHASE: null } } }),
            ),
        ] {
            let answer = wire::write(&cluster.controller, name, write, &body).await?;
            answer.denied().with_context(|| body.to_string())?;
        }
        let node = self.site.view().await?;
        ensure!(
            node.spec.unschedulable && node.label(keys::PHASE) == Some(self.case.phase().as_str()),
            "{node:?}"
        );
        self.site.machine.check_agent().await
    }

    /// Uncordons the node as an ordinary controller, and checks that this is kept for the end of the hold.
    async fn defer_uncordon(&mut self, cluster: &Cluster) -> Result<()> {
        let name = self.site.name();
        let answer = wire::write(&cluster.controller, name, Write::Strategic, &uncordon()).await?;
        answer.passed()?;
        let node = self.site.view().await?;
        ensure!(
            node.spec.unschedulable && node.annotation(keys::UNCORDON_WANTED).is_some(),
            "{node:?}"
        );
        self.stays_cordoned = false;
        Ok(())
    }

    /// Lets it go on, and checks that it reboots once in all, cordoned and empty, and ends as it was before. `history` is its history up to here,
    /// if its hold has to last until the reboot.
    async fn ends_well(&self, history: Option<History>, by_older: bool) -> Result<()> {
        let site = &self.site;
        match self.case {
            Case::Draining | Case::Cordoned => site.unblock_pod(site.name()).await?,
            Case::Sealed => site.machine.host().let_reboot_go()?,
            Case::Wanted | Case::Delaying | Case::Returning => {}
        }
        let reboot = site.wait_clean_reboot().await?;
        if let Some(history) = history {
            for seen in history.until(&reboot.at)? {
                ensure!(
                    seen.unschedulable && seen.holder == self.holder,
                    "before the reboot: {seen:?}, and its holder was {:?}",
                    self.holder
                );
            }
        }
        if by_older {
            let node = wait_over_by_older(site).await?;
            return is_as_before(self.stays_cordoned, site, &node, 1).await;
        }
        is_over(self.stays_cordoned, site, 1).await
    }
}

/// Waits until the hold is over, and checks that nothing of it is left and that the node has rebooted this often.
async fn is_over(stays_cordoned: bool, site: &Site, reboots: usize) -> Result<()> {
    let node = site.wait_over().await?;
    is_as_before(stays_cordoned, site, &node, reboots).await
}

/// Waits until an older agent has ended the hold. It leaves the marks that it does not know.
async fn wait_over_by_older(site: &Site) -> Result<NodeView> {
    let look = || async {
        let node = site.view().await?;
        let is_marked = node.label(keys::PHASE).is_some()
            || node.annotation(keys::HOLDER).is_some()
            || node.is_tainted(keys::REBOOTING);
        Ok((!is_marked && !site.is_in_lock().await?).then_some(node))
    };
    let what = "an older agent to end the hold";
    site.machine.wait_until(what, REBOOT_TIMEOUT, look).await
}

async fn is_as_before(stays_cordoned: bool, site: &Site, node: &NodeView, reboots: usize) -> Result<()> {
    ensure!(
        node.spec.unschedulable == stays_cordoned,
        "its cordon is another than before: {node:?}"
    );
    let made = site.machine.reboots();
    ensure!(made.len() == reboots, "not {reboots} reboots: {made:?}");
    for reboot in made {
        ensure!(reboot.pods.is_empty() && reboot.unschedulable, "{reboot:?}");
    }
    site.machine.check_agent().await
}

/// Brings a node into each of these phases with the agents of this version.
async fn hold(cluster: &Cluster, cases: &[Case], version: &Version) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    for case in cases {
        let member = Member::new(cluster, *case, version).await;
        members.push(member.with_context(|| format!("{case:?}, by its first agent"))?);
    }
    Ok(members)
}

/// Checks all that are held. With `blocked`, only those whose agents cannot have gone on.
async fn are_held(cluster: &Cluster, members: &[Member], blocked: bool, when: &str) -> Result<()> {
    for member in members {
        if member.case != Case::Wanted && (member.case.is_blocked() || !blocked) {
            let held = member.is_held(cluster).await;
            held.with_context(|| format!("{:?}, {when}", member.case))?;
        }
    }
    Ok(())
}

async fn replace_agents(members: &mut [Member], version: &Version) -> Result<()> {
    for member in members {
        let replaced = member.replace_agent(version).await;
        replaced.with_context(|| format!("{:?}, by its second agent", member.case))?;
    }
    Ok(())
}

async fn end_well(mut members: Vec<Member>, by_older: bool) -> Result<Vec<Member>> {
    for member in &mut members {
        let is_unbroken = matches!(member.case, Case::Draining | Case::Cordoned | Case::Delaying);
        let history = member.history.take().filter(|_| is_unbroken);
        let ended = member.ends_well(history, by_older).await;
        ended.with_context(|| format!("the end of {:?}", member.case))?;
    }
    Ok(members)
}

#[test]
fn an_upgrade_of_the_agents_first_keeps_every_hold_and_ends_it() -> Result<()> {
    alone(async || {
        let (older, newer) = (Version::older()?, Version::newer()?);
        let mut cluster = older.start().await?;
        let mut members = hold(&cluster, &Case::ALL, &older).await?;
        are_held(&cluster, &members, false, "before").await?;
        // Programs that are newer than their manifests, as in the middle of an upgrade.
        replace_agents(&mut members, &newer).await?;
        are_held(&cluster, &members, true, "with newer agents").await?;
        newer.apply(&mut cluster).await?;
        are_held(&cluster, &members, true, "with newer agents and manifests").await?;
        cluster.webhook.replace(&newer.webhook).await?;
        are_held(&cluster, &members, true, "with everything newer").await?;
        drop(end_well(members, false).await?);
        Ok(())
    })
}

#[test]
fn an_upgrade_of_the_webhook_first_keeps_every_hold_and_ends_it() -> Result<()> {
    alone(async || {
        let (older, newer) = (Version::older()?, Version::newer()?);
        let mut cluster = older.start().await?;
        let mut members = hold(&cluster, &Case::ALL, &older).await?;
        newer.apply(&mut cluster).await?;
        are_held(&cluster, &members, false, "with newer manifests").await?;
        cluster.webhook.replace(&newer.webhook).await?;
        are_held(&cluster, &members, false, "with a newer webhook").await?;
        // Its pod is replaced before its image is: the older agent starts anew under the newer permissions.
        let draining = members.iter().find(|member| member.case == Case::Draining);
        let draining = draining.context("no node is draining")?;
        draining.site.machine.restart_agent().await?;
        are_held(&cluster, &members, false, "with an older agent that started anew").await?;
        replace_agents(&mut members, &newer).await?;
        are_held(&cluster, &members, true, "with everything newer").await?;
        drop(end_well(members, false).await?);
        Ok(())
    })
}

/// The older webhook does not know the mode `defer`, nor half of the marks. What it does not know it leaves alone.
#[test]
fn a_downgrade_of_the_webhook_keeps_every_newer_hold_and_its_deferred_uncordon() -> Result<()> {
    alone(async || {
        let (older, newer) = (Version::older()?, Version::newer()?);
        let copy = tempfile::tempdir().context("failed to create a directory")?;
        let with_defer = "resources: [../../base]\ncomponents: [../../components/defer]\n";
        let directory = overlay(copy.path(), "defer", with_defer)?;
        let mut cluster = Cluster::start_with(&directory, Mode::Defer, Protection::OwnHolds, &[]).await?;
        let mut members = hold(&cluster, &Case::ALL, &newer).await?;
        for member in members.iter_mut().filter(|member| member.case == Case::Cordoned) {
            member.defer_uncordon(&cluster).await?;
        }
        // As the page says: first no mode that the older webhook lacks, and no configuration that only the newer one serves.
        let mutating: Api<MutatingWebhookConfiguration> = Api::all(cluster.plane.client());
        let deleted = mutating.delete("cordonhold", &DeleteParams::default()).await;
        drop(deleted.context("failed to delete the MutatingWebhookConfiguration")?);
        cluster.webhook.stop().await?;
        cluster.webhook = older.start_webhook(&cluster.plane).await?;
        newer.apply(&mut cluster).await?;
        are_held(&cluster, &members, false, "with an older webhook").await?;
        older.apply(&mut cluster).await?;
        are_held(&cluster, &members, false, "with an older webhook and manifests").await?;
        replace_agents(&mut members, &newer).await?;
        drop(end_well(members, false).await?);
        Ok(())
    })
}

/// An older agent takes each boot for another than the one that a newer agent has noted: it gives the cordon back, and begins anew. So
/// nothing is lost but the work of the drain, as long as no reboot has been set off.
#[test]
fn a_downgrade_of_the_agents_before_a_seal_begins_anew_and_an_upgrade_after_it_finds_nothing_wrong()
-> Result<()> {
    alone(async || {
        let (older, newer) = (Version::older()?, Version::newer()?);
        let mut cluster = newer.start().await?;
        let not_sealed = Case::ALL.into_iter().filter(|case| *case != Case::Sealed);
        let mut members = hold(&cluster, &not_sealed.collect::<Vec<_>>(), &newer).await?;
        replace_agents(&mut members, &older).await?;
        for member in &mut members {
            // An older agent gives the cordon back in between.
            member.history = None;
        }
        let mut members = end_well(members, true).await?;
        cluster.webhook.replace(&older.webhook).await?;
        older.apply(&mut cluster).await?;

        // The record of the newer agent may still be on a host that has not rebooted since.
        newer.apply(&mut cluster).await?;
        cluster.webhook.replace(&newer.webhook).await?;
        replace_agents(&mut members, &newer).await?;
        for Member { case, site, .. } in &members {
            site.machine.request_reboot()?;
            drop(site.machine.wait_for_reboot(2, REBOOT_TIMEOUT).await?);
            let over = is_over(*case == Case::Cordoned, site, 2).await;
            over.with_context(|| format!("{case:?}, after the second upgrade"))?;
        }
        Ok(())
    })
}

/// Why the page says that no node may be sealed: the older agent gives the cordon back while the reboot is still to come.
#[test]
fn a_downgrade_of_the_agents_after_a_seal_gives_the_cordon_back_too_early() -> Result<()> {
    alone(async || {
        let (older, newer) = (Version::older()?, Version::newer()?);
        let cluster = newer.start().await?;
        let mut members = hold(&cluster, &[Case::Sealed], &newer).await?;
        for Member { site, .. } in &members {
            // So that the older agent does not begin anew at once.
            std::fs::remove_file(site.machine.host().sentinel())?;
        }
        replace_agents(&mut members, &older).await?;
        let [Member { site, .. }] = &members[..] else {
            bail!("not one node")
        };
        let node = wait_over_by_older(site).await?;
        ensure!(
            !node.spec.unschedulable && site.machine.reboots().is_empty(),
            "an older agent knows the boot: then docs/versions.md asks for too much: {node:?}"
        );
        site.machine.host().let_reboot_go()?;
        let reboot = site.machine.wait_for_reboot(1, REBOOT_TIMEOUT).await?;
        ensure!(!reboot.unschedulable, "{reboot:?}");
        Ok(())
    })
}

/// The rows of docs/versions.md, with an agent of the next version that is a program: what it writes holds a node under this version's webhook, it
/// shares the lock with an agent of this version, and an agent of this version that comes after it leaves its marks to a person.
#[test]
fn agents_of_the_next_version_hold_their_nodes_under_this_webhook_and_share_the_lock() -> Result<()> {
    alone(async || {
        let directory = tempfile::tempdir().context("failed to create a directory")?;
        let this = Version::newer()?;
        let next = Version {
            agent: next_agent(directory.path())?,
            ..Version::newer()?
        };
        let cluster = this.start().await?;
        let mut ahead = delayed_by_next(&cluster, "ahead", &next).await?;
        let mut gone_back = delayed_by_next(&cluster, "gone-back", &next).await?;
        is_held_unknown(&cluster, &ahead).await?;

        let neighbour = Site::new(&cluster.plane, "neighbour", &["--concurrency=3"]).await?;
        neighbour.machine.request_reboot()?;
        neighbour.reboots_once_and_is_given_back().await?;
        has_field(&cluster, &["ahead", "gone-back"]).await?;

        gone_back.machine.terminate_agent().await?;
        gone_back.start_program(&this.agent, &["--concurrency=3"]).await?;
        drop(gone_back.wait_event("marks_foreign").await?);
        is_held_unknown(&cluster, &gone_back).await?;
        let cancel = format!(
            "{} gone back to the older version",
            cancel_name(&gone_back.view().await?)
        );
        gone_back
            .write(&annotate(keys::CANCEL, Some(&cancel)))
            .await?
            .passed()?;
        gone_back.write(&uncordon()).await?.passed()?;

        ahead.machine.terminate_agent().await?;
        ahead.start_program(&next.agent, &["--concurrency=3"]).await?;
        ahead.reboots_once_and_is_given_back().await?;
        ensure!(
            gone_back.machine.reboots().is_empty(),
            "{:?}",
            gone_back.machine.reboots()
        );
        Ok(())
    })
}

/// A node whose agent of the next version waits in a phase that this version does not know.
async fn delayed_by_next(cluster: &Cluster, name: &str, next: &Version) -> Result<Site> {
    cluster.plane.add_node(name).await?;
    let mut site = Site::without_agent(&cluster.plane, name).await?;
    site.add_pod(name).await?;
    site.start_program(&next.agent, &["--reboot-delay=10m", "--concurrency=3"])
        .await?;
    site.machine.request_reboot()?;
    let look = || async {
        let node = site.view().await?;
        let is_there =
            node.label(keys::PHASE) == Some(NEXT_PHASE) && node.annotation(NEXT_ANNOTATION).is_some();
        Ok(is_there.then_some(()))
    };
    let what = format!("{name} to be {NEXT_PHASE}");
    site.machine.wait_until(&what, REBOOT_TIMEOUT, look).await?;
    Ok(site)
}

/// Checks that an ordinary controller can neither uncordon the node nor change its marks, and that the unknown annotation is anybody's.
async fn is_held_unknown(cluster: &Cluster, site: &Site) -> Result<()> {
    let name = site.name();
    for (write, body) in [
        (Write::Strategic, uncordon()),
        (Write::Merge, annotate(keys::HOLDER, None)),
        (
            Write::Merge,
            json!({ "metadata": { "labels": { keys::PHASE: null } } }),
        ),
    ] {
        let answer = wire::write(&cluster.controller, name, write, &body).await?;
        answer.denied().with_context(|| body.to_string())?;
    }
    let answer = wire::write(
        &cluster.controller,
        name,
        Write::Merge,
        &annotate(NEXT_ANNOTATION, Some("y")),
    )
    .await?;
    answer.passed()?;
    let node = site.view().await?;
    ensure!(
        node.spec.unschedulable && node.label(keys::PHASE) == Some(NEXT_PHASE) && site.is_in_lock().await?,
        "{node:?}"
    );
    site.machine.check_agent().await
}

/// Checks that the lock's entries of these nodes still have the field of the next version.
async fn has_field(cluster: &Cluster, nodes: &[&str]) -> Result<()> {
    let leases: Api<Lease> = Api::namespaced(cluster.plane.client(), NAMESPACE);
    let lease = leases
        .get("cordonhold-default")
        .await
        .context("failed to get the lock")?;
    let record = lease
        .annotations()
        .get(keys::LOCK)
        .context("the lock has no entries")?;
    let record: Value = serde_json::from_str(record).context("the lock is not JSON")?;
    let entries = record["lockAnnotations"].as_array().into_iter().flatten();
    let with_field: BTreeSet<&str> = entries
        .filter(|entry| entry[NEXT_FIELD] == true)
        .filter_map(|entry| entry["nodeID"].as_str())
        .collect();
    ensure!(with_field == nodes.iter().copied().collect(), "{record:#}");
    Ok(())
}
