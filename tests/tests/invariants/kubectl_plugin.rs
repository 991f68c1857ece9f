//! `kubectl cordonhold` on the real API server: the real program, run by people with the roles that the manifests have for them, beside real
//! agents and the real webhook.
//!
//! Not here: what is said about every state of a fleet, and when a hold may be ended by hand (`shared/src/fleet`, `shared/src/release`).

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::{self, Phase};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use cordonhold_tests::NAMESPACE;
use cordonhold_tests::control_plane::ControlPlane;
use cordonhold_tests::identity::Identity;
use cordonhold_tests::marks::Marks;
use cordonhold_tests::programs::{self, Program};
use cordonhold_tests::wait;
use cordonhold_tests::webhook::{Mode, Protection};
use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::cluster::{Cluster, alone, on_shared};
use crate::fleet::Site;
use crate::stock_kured::{Entry, Kured, LONG_AGO};
use crate::subject::{Subject, annotate, cordon};
use crate::wire::Write;

mod history;

/// Longest run of a command that follows nothing: some ten requests.
const BOUND: Duration = Duration::from_secs(60);
/// Longest time until a role is in force, or a line of a watch is there.
const SOON: Duration = Duration::from_secs(30);
/// Long enough for each agent that is alive to have renewed its hold.
const SILENT: SignedDuration = SignedDuration::from_mins(9);

#[test]
fn plugin_status_shows_every_phase_and_a_viewer_learns_what_is_hidden_and_why() -> Result<()> {
    on_shared(async |cluster| {
        let plugin = Plugin::new(&cluster.plane)?;
        let mut names = Vec::new();
        for phase in Phase::ALL {
            let subject = Subject::held(cluster, &format!("plugin-{phase}"), phase).await?;
            names.push(subject.name);
        }
        let line: Vec<&str> = std::iter::once("status")
            .chain(names.iter().map(String::as_str))
            .collect();
        let told = plugin.run(&line).await?.ended(0)?;
        for phase in Phase::ALL {
            told.has_line(&[&format!("plugin-{phase}"), phase.as_str()])?;
        }
        // The fake webhook of the tests has no Deployment of its own replicas; its configuration is there.
        told.says(&["mode enforce"])?;
        let json: Vec<&str> = line.iter().copied().chain(["-o", "json"]).collect();
        let fleet: Value = serde_json::from_str(&plugin.run(&json).await?.ended(0)?.text)?;
        let sealed = &fleet["nodes"][0];
        ensure!(
            sealed["node"] == "plugin-sealed" && sealed["state"] == "sealed",
            "{fleet}"
        );
        ensure!(
            sealed["cordoned"] == true && fleet["webhook"]["registered"] == true,
            "{fleet}"
        );

        bound(cluster, "plugin-viewer", &["cordonhold-view"]).await?;
        let as_viewer: Vec<&str> = line.iter().copied().chain(["--as", "plugin-viewer"]).collect();
        let seen = plugin.until_allowed(&as_viewer).await?;
        seen.has_line(&["plugin-draining", "draining"])?;
        seen.says(&[
            "mode enforce",
            "could not see what the agents say in Events: needs list events in the namespace default",
        ])?;
        // One thing is hidden from a viewer, and nothing else.
        ensure!(seen.text.matches("could not see").count() == 1, "{seen:?}");
        let nobody = plugin.run(&["status", "--as", "plugin-nobody"]).await?.ended(2)?;
        nobody.complains(&[
            "cannot list resource \"nodes\"",
            "bind the ClusterRole cordonhold-view",
        ])?;
        let missing = plugin.run(&["status", "plugin-missing"]).await?.ended(2)?;
        missing.complains(&["there is no node plugin-missing", "kubectl get nodes"])
    })
}

#[test]
fn plugin_says_why_a_node_is_cordoned_by_us_by_a_person_or_by_kured_and_what_an_uncordon_meets() -> Result<()>
{
    alone(async || {
        let cluster = Cluster::start_beside_kured().await?;
        let plugin = Plugin::new(&cluster.plane)?;
        let held = Subject::held(&cluster, "why-held", Phase::Delaying).await?;
        let told = plugin.run(&["why", &held.name]).await?.ended(0)?;
        told.says(&[
            "node why-held: delaying",
            "is uncordoned: it was schedulable before",
            "by   admin: denied (held)",
            "kubectl cordonhold cancel why-held --reason TEXT",
        ])?;

        let person = Subject::new(&cluster, "why-person").await?;
        let mut kubectl = cluster.plane.kubectl(Identity::Admin);
        let cordoned = kubectl.args(["cordon", &person.name]).output().await?;
        ensure!(cordoned.status.success(), "{cordoned:?}");
        let note = annotate("talos.dev/cordoned", Some("true"));
        drop(person.passes(&cluster.admin, Write::Merge, &note).await?);
        let told = plugin.run(&["why", &person.name]).await?.ended(0)?;
        told.says(&[
            "node why-person: cordoned",
            "by kubectl cordon",
            "field manager kubectl",
            "Talos: Talos cordoned the node",
            "admin: passes (not-held)",
            "kubectl uncordon why-person",
        ])?;

        let kured = Kured::install(&cluster).await?;
        let named = Subject::new(&cluster, "why-kured").await?;
        drop(named.passes(&cluster.admin, Write::Merge, &cordon()).await?);
        let lock = Entry::new(&named.name, LONG_AGO, 0).to_string();
        kured.set_lock(keys::KURED_LOCK, Some(&lock)).await?;
        let told = plugin.run(&["why", &named.name, "--for", "jo"]).await?.ended(0)?;
        told.says(&[
            "node why-kured: kured",
            "kured has the lock for it",
            "jo: denied (kured-held)",
        ])?;
        // The whole explanation, with the webhook's own flags from its Deployment.
        let told = plugin
            .run(&["explain", "--node", &named.name, "--for", "jo"])
            .await?
            .ended(1)?;
        told.says(&["update of node why-kured (uncordon) by jo", "reason:  kured-held"])?;
        pauses_a_pool(&cluster, &plugin).await
    })
}

/// The lock of the pool is on kured's `DaemonSet` there, so that is what a pause of the pool annotates.
async fn pauses_a_pool(cluster: &Cluster, plugin: &Plugin) -> Result<()> {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": "cordonhold-default", "annotations": { keys::POOL_SELECTOR: "" } },
    });
    let leases: Api<k8s_openapi::api::coordination::v1::Lease> =
        Api::namespaced(cluster.admin.clone(), NAMESPACE);
    let by = PatchParams::apply("test");
    drop(
        leases
            .patch("cordonhold-default", &by, &Patch::Apply(lease))
            .await?,
    );
    let sets: Api<k8s_openapi::api::apps::v1::DaemonSet> =
        Api::namespaced(cluster.admin.clone(), "kube-system");
    let paused = async || {
        let set = sets.get("kured").await?;
        Ok::<_, anyhow::Error>(
            set.metadata
                .annotations
                .unwrap_or_default()
                .get(keys::PAUSE)
                .cloned(),
        )
    };
    let told = plugin
        .run(&["pause", "--pool", "--reason", "sale", "--yes"])
        .await?
        .ended(0)?;
    told.says(&["paused 'pool default'"])?;
    ensure!(paused().await?.as_deref() == Some("sale"), "{told:?}");
    plugin
        .run(&["status"])
        .await?
        .ended(0)?
        .says(&["paused: 'sale'", "kubectl cordonhold resume --pool"])?;
    drop(plugin.run(&["resume", "--pool", "--yes"]).await?.ended(0)?);
    ensure!(paused().await?.is_none(), "it is still paused");
    plugin
        .run(&["pause", "--pool=gpu", "--reason", "x", "--yes"])
        .await?
        .ended(2)?
        .complains(&["no pool gpu"])
}

#[test]
fn plugin_cancel_stops_a_drain_and_says_what_the_agent_did_then() -> Result<()> {
    on_shared(async |cluster| {
        let plugin = Plugin::new(&cluster.plane)?;
        let site = Site::new(&cluster.plane, "plugin-cancel", &[]).await?;
        site.add_blocked_pod("plugin-cancel").await?;
        site.machine.request_reboot()?;
        drop(site.wait_phase(Phase::Draining).await?);
        let cancel = ["cancel", "plugin-cancel", "--reason", "pg's disk", "--yes"];
        // A dry run asks the API server and the webhook, and writes nothing.
        let dry = plugin
            .run(&[&cancel[..], &["--dry-run"]].concat())
            .await?
            .ended(0)?;
        dry.says(&["draining", "dry run: nothing was written"])?;
        ensure!(
            site.view().await?.annotation(keys::CANCEL).is_none(),
            "it was written"
        );
        bound(cluster, "plugin-pauser", &["cordonhold-pause"]).await?;
        let told = plugin
            .until_allowed(&[&cancel[..], &["--as", "plugin-pauser"]].concat())
            .await?
            .ended(1)?;
        told.complains(&[
            "cordonhold-people",
            "bind the ClusterRoles cordonhold-pause and cordonhold-override",
        ])?;
        bound(
            cluster,
            "plugin-canceller",
            &["cordonhold-pause", "cordonhold-override"],
        )
        .await?;
        let told = plugin
            .until_allowed(&[&cancel[..], &["--as", "plugin-canceller"]].concat())
            .await?
            .ended(0)?;
        told.says(&[
            "then   the agent stops, gives the cordon back",
            "cancelled the reboot of plugin-cancel",
            "the agent has ended the hold: it is schedulable",
            "it has no place in the lock any more",
            "kubectl cordonhold pause plugin-cancel",
        ])?;
        site.is_called_off().await?;
        ensure!(site.has_pod("plugin-cancel").await?, "its pod was evicted");
        let again = plugin.run(&cancel).await?.ended(1)?;
        again.says(&[
            "nothing to cancel",
            "kubectl cordonhold pause plugin-cancel --reason TEXT",
        ])
    })
}

#[test]
fn plugin_reboot_asks_an_agent_that_takes_requests_for_those_who_may() -> Result<()> {
    alone(async || {
        let cluster = Cluster::start("base", Mode::Enforce, Protection::OwnHolds).await?;
        let plugin = Plugin::new(&cluster.plane)?;
        // By default no agent takes requests, as the DaemonSet says.
        let idle = Subject::new(&cluster, "plugin-no-reboot").await?;
        let told = plugin.run(&["reboot", &idle.name, "--yes"]).await?.ended(1)?;
        told.says(&["its agent takes no requests", "--reboot-requests"])?;
        let sets: Api<DaemonSet> = Api::namespaced(cluster.admin.clone(), NAMESPACE);
        let flag = json!([{ "name": "CORDONHOLD_REBOOT_REQUESTS", "value": "true" }]);
        let containers = json!([{ "name": "agent", "env": flag }]);
        let patch = json!({ "spec": { "template": { "spec": { "containers": containers } } } });
        let patched = sets
            .patch(keys::AGENTS, &PatchParams::default(), &Patch::Strategic(patch))
            .await;
        drop(patched.context("failed to patch the agents' DaemonSet")?);

        let site = Site::new(&cluster.plane, "plugin-reboot", &["--reboot-requests"]).await?;
        let reboot = ["reboot", "plugin-reboot", "--reason", "a new kernel", "--yes"];
        let dry = plugin
            .run(&[&reboot[..], &["--dry-run"]].concat())
            .await?
            .ended(0)?;
        dry.says(&["asks for a place in the lock", "dry run: nothing was written"])?;
        ensure!(
            site.view().await?.annotation(keys::REBOOT_WANTED).is_none(),
            "it was written"
        );
        bound(&cluster, "plugin-pauser", &["cordonhold-pause"]).await?;
        let told = plugin
            .until_allowed(&[&reboot[..], &["--as", "plugin-pauser"]].concat())
            .await?
            .ended(1)?;
        told.complains(&[
            "cordonhold-people",
            "bind the ClusterRoles cordonhold-pause and cordonhold-reboot",
        ])?;
        let roles = ["cordonhold-pause", "cordonhold-reboot"];
        bound(&cluster, "plugin-rebooter", &roles).await?;
        let told = plugin
            .until_allowed(&[&reboot[..], &["--as", "plugin-rebooter"]].concat())
            .await?
            .ended(0)?;
        told.says(&["asked for a reboot of plugin-reboot"])?;
        drop(site.wait_clean_reboot().await?);
        let node = site.wait_over().await?;
        let account = hold::last_reboot(&node).present().context("no account")?;
        ensure!(
            account.why == "a request, 'plugin-rebooter: a new kernel'",
            "{account:?}"
        );
        ensure!(site.machine.reboots().len() == 1, "{:?}", site.machine.reboots());
        site.machine.check_agent().await
    })
}

#[test]
fn plugin_pauses_keeps_and_refuses_what_a_role_does_not_grant() -> Result<()> {
    on_shared(async |cluster| {
        let plugin = Plugin::new(&cluster.plane)?;
        let subject = Subject::held(cluster, "plugin-pause", Phase::Delaying).await?;
        bound(cluster, "plugin-pauses", &["cordonhold-pause"]).await?;
        let name = subject.name.as_str();
        let pauser = ["--as", "plugin-pauses", "--yes"];
        for (verb, key) in [("pause", keys::PAUSE), ("keep", keys::KEEP_CORDONED)] {
            let line = [&[verb, name, "--reason", "the disk"][..], &pauser].concat();
            drop(plugin.until_allowed(&line).await?.ended(0)?);
            ensure!(
                subject.view().await?.annotation(key) == Some("the disk"),
                "{verb}"
            );
            plugin
                .run(&line)
                .await?
                .ended(0)?
                .says(&["it says so already: 'the disk'"])?;
        }
        plugin
            .run(&["status", name])
            .await?
            .ended(0)?
            .says(&["paused: 'the disk'; to stay cordoned: 'the disk'"])?;
        for (verb, key) in [("resume", keys::PAUSE), ("unkeep", keys::KEEP_CORDONED)] {
            drop(
                plugin
                    .run(&[&[verb, name][..], &pauser].concat())
                    .await?
                    .ended(0)?,
            );
            ensure!(subject.view().await?.annotation(key).is_none(), "{verb}");
        }
        bound(cluster, "plugin-looks", &["cordonhold-view"]).await?;
        let line = ["pause", name, "--reason", "x", "--yes", "--as", "plugin-looks"];
        let refused = plugin.until_allowed(&line).await?.ended(1)?;
        refused.complains(&[
            "cannot patch resource \"nodes\"",
            "needs patch nodes: bind the ClusterRole cordonhold-pause",
        ])?;
        // Nobody can be asked without a terminal.
        plugin
            .run(&["pause", name, "--reason", "x"])
            .await?
            .ended(2)?
            .complains(&["--yes"])?;
        ensure!(
            subject.view().await?.annotation(keys::PAUSE).is_none(),
            "it was written"
        );
        // A released hold needs more than a role for people.
        subject.renewed_before(SILENT).await?;
        fail_probe(cluster, name).await?;
        let release = [&["release", name][..], &pauser].concat();
        // Who may not list pods cannot see whether the agent is gone.
        let unseen = plugin.run(&release).await?.ended(1)?;
        unseen.says(&["whether its agent is there could not be seen", "--agent-is-gone"])?;
        let refused = plugin
            .run(&[&release[..], &["--agent-is-gone"]].concat())
            .await?
            .ended(1)?;
        refused.complains(&["cordonhold-people", "override rebootholds.cordonhold.dev"])?;
        ensure!(
            subject.view().await?.label(keys::PHASE) == Some("delaying"),
            "it was released"
        );
        Ok(())
    })
}

#[test]
fn plugin_release_ends_the_hold_of_a_killed_agent_and_of_no_other() -> Result<()> {
    on_shared(async |cluster| {
        let plugin = Plugin::new(&cluster.plane)?;
        let site = Site::new(&cluster.plane, "plugin-release", &[]).await?;
        site.add_blocked_pod("plugin-release").await?;
        site.machine.request_reboot()?;
        drop(site.wait_phase(Phase::Draining).await?);
        let release = ["release", "plugin-release", "--yes"];
        let told = plugin.run(&release).await?.ended(1)?;
        told.says(&[
            "its agent is alive",
            "kubectl cordonhold cancel plugin-release --reason TEXT",
        ])?;
        site.machine.kill_agent().await;
        Marks::of(&cluster.plane, "plugin-release")
            .await?
            .renewed_before(SILENT)
            .await?;
        let told = plugin.run(&release).await?.ended(1)?;
        told.says(&["a pod of an agent is Ready there"])?;
        // The kubelet's probe fails.
        fail_probe(cluster, "plugin-release").await?;
        let before = site.view().await?;
        let dry = plugin
            .run(&["release", "plugin-release", "--dry-run"])
            .await?
            .ended(0)?;
        dry.says(&[
            "cancel its hold",
            "uncordon it, because it was schedulable before",
            "touch its place in the lock (Lease cordonhold/cordonhold-default)",
            "dry run: nothing was written",
        ])?;
        ensure!(
            without_version(site.view().await?) == without_version(before),
            "the dry run wrote"
        );
        let told = plugin.run(&release).await?.ended(0)?;
        told.says(&["node plugin-release carries no hold any more, and is schedulable"])?;
        let node = site.view().await?;
        let is_clean = keys::MARK_ANNOTATIONS
            .iter()
            .chain([&keys::CANCEL])
            .all(|key| node.annotation(key).is_none());
        ensure!(
            is_clean && node.label(keys::PHASE).is_none() && !node.is_tainted(keys::REBOOTING),
            "{node:?}"
        );
        ensure!(
            !node.spec.unschedulable && site.has_pod("plugin-release").await?,
            "{node:?}"
        );
        plugin
            .run(&release)
            .await?
            .ended(0)?
            .says(&["nothing to release"])
    })
}

#[test]
fn plugin_watch_in_a_pipe_prints_a_line_for_each_change_and_ends_at_a_signal() -> Result<()> {
    on_shared(async |cluster| {
        let plugin = Plugin::new(&cluster.plane)?;
        let subject = Subject::held(cluster, "plugin-watch", Phase::Draining).await?;
        let mut child = plugin
            .command(&["status", &subject.name, "--watch"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("failed to start the plugin")?;
        let stdout = child.stdout.take().context("no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let mut next = async |part: &str| -> Result<()> {
            let look = async {
                while let Some(line) = lines.next_line().await? {
                    if line.contains(part) {
                        return Ok(());
                    }
                }
                anyhow::bail!("the watch has ended before {part:?}")
            };
            tokio::time::timeout(SOON, look)
                .await
                .with_context(|| format!("no line has {part:?}"))?
        };
        next("plugin-watch draining").await?;
        subject
            .marks()
            .patch(jiff::Timestamp::now(), |node| {
                let hold = cordonhold_shared::hold::read(node).present().context("no hold")?;
                let leaves = hold.written(Phase::Delaying, cordonhold_shared::hold::Proof::new(77));
                Ok(cordonhold_shared::hold::NodePatch::delay(node, leaves))
            })
            .await?;
        next("plugin-watch draining → delaying").await?;
        subject.give_back().await?;
        next("plugin-watch delaying → idle").await?;
        let id = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(id.context("it has ended")?, rustix::process::Signal::INT)?;
        let status = tokio::time::timeout(SOON, child.wait())
            .await
            .context("it does not end")??;
        ensure!(status.success(), "{status}");
        Ok(())
    })
}

#[test]
fn plugin_is_found_and_completed_by_a_real_kubectl() -> Result<()> {
    on_shared(async |cluster| {
        let plugin = Plugin::new(&cluster.plane)?;
        let subject = Subject::held(cluster, "plugin-kubectl", Phase::Delaying).await?;
        let directory = tempfile::tempdir().context("failed to create a directory")?;
        std::os::unix::fs::symlink(&plugin.program, directory.path().join("kubectl-cordonhold"))?;
        let script = plugin.run(&["completion"]).await?.ended(0)?.text;
        let completion = directory.path().join("kubectl_complete-cordonhold");
        std::fs::write(&completion, script)?;
        let executable = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
        std::fs::set_permissions(&completion, executable)?;
        let path = format!("{}:/usr/bin:/bin", directory.path().display());
        let kubectl = async |words: &[&str]| -> Result<String> {
            let mut command = Command::new(&cluster.plane.assets().kubectl);
            let _ = command
                .args(words)
                .env("PATH", &path)
                .env("KUBECONFIG", cluster.plane.kubeconfig(Identity::Admin))
                .env("HOME", directory.path())
                .kill_on_drop(true);
            let output = tokio::time::timeout(BOUND, command.output()).await??;
            ensure!(output.status.success(), "{words:?}: {output:?}");
            Ok(String::from_utf8(output.stdout)?)
        };
        let told = kubectl(&[
            "cordonhold",
            "status",
            &subject.name,
            "--context",
            "test",
            "-o",
            "wide",
        ])
        .await?;
        ensure!(told.contains("plugin-kubectl   delaying"), "{told}");
        let names = kubectl(&["__complete", "cordonhold", "why", "plugin-kub"]).await?;
        ensure!(names.lines().any(|line| line == "plugin-kubectl"), "{names}");
        let words = kubectl(&["__complete", "cordonhold", "re"]).await?;
        ensure!(
            words.contains("resume\n") && words.contains("release\n"),
            "{words}"
        );
        Ok(())
    })
}

/// The program, as people run it.
pub(crate) struct Plugin {
    program: PathBuf,
    kubeconfig: PathBuf,
}

#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) code: Option<i32>,
    pub(crate) text: String,
    pub(crate) errors: String,
}

impl Plugin {
    pub(crate) fn new(plane: &ControlPlane) -> Result<Self> {
        let [program] = programs::build([Program::Kubectl])?;
        Ok(Self {
            program,
            kubeconfig: plane.kubeconfig(Identity::Admin),
        })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        let _ = command
            .args(words)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .env_clear()
            .env("COLUMNS", "500")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    pub(crate) async fn run(&self, words: &[&str]) -> Result<Told> {
        self.run_within(BOUND, words).await
    }

    /// The same, for a command that waits for pods.
    pub(crate) async fn run_within(&self, bound: Duration, words: &[&str]) -> Result<Told> {
        let ended = tokio::time::timeout(bound, self.command(words).output());
        let output = ended
            .await
            .with_context(|| format!("{words:?} does not end"))?
            .context("failed to run the plugin")?;
        Ok(Told {
            code: output.status.code(),
            text: String::from_utf8(output.stdout)?,
            errors: String::from_utf8(output.stderr)?,
        })
    }

    /// Runs the command again until the roles of its user are in force.
    pub(crate) async fn until_allowed(&self, words: &[&str]) -> Result<Told> {
        wait::until("the roles to be in force", SOON, || async {
            let told = self.run(words).await?;
            let is_early = told.code == Some(2) && told.errors.contains("is forbidden");
            Ok((!is_early).then_some(told))
        })
        .await
    }
}

impl Told {
    pub(crate) fn ended(self, code: i32) -> Result<Self> {
        ensure!(self.code == Some(code), "not {code}: {self:?}");
        Ok(self)
    }

    pub(crate) fn says(&self, parts: &[&str]) -> Result<()> {
        for part in parts {
            ensure!(self.text.contains(part), "{part:?} is missing in {self:?}");
        }
        Ok(())
    }

    pub(crate) fn complains(&self, parts: &[&str]) -> Result<()> {
        let errors = self.errors.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in parts {
            ensure!(errors.contains(part), "{part:?} is missing in {self:?}");
        }
        Ok(())
    }

    fn has_line(&self, words: &[&str]) -> Result<()> {
        let mut lines = self.text.lines();
        let has = lines.any(|line| {
            let mut found = line.split_whitespace();
            words.iter().all(|word| found.next() == Some(word))
        });
        ensure!(has, "no line begins with {words:?} in {self:?}");
        Ok(())
    }
}

/// Binds these roles to a new user in the whole cluster.
pub(crate) async fn bound(cluster: &Cluster, user: &str, roles: &[&str]) -> Result<()> {
    let bindings: Api<ClusterRoleBinding> = Api::all(cluster.admin.clone());
    for role in roles {
        let binding: ClusterRoleBinding = serde_json::from_value(json!({
            "metadata": { "name": format!("{user}-{role}") },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
        }))?;
        drop(bindings.create(&PostParams::default(), &binding).await?);
    }
    Ok(())
}

/// Says of the agents' pods on this node that they are not Ready, as a kubelet does whose probes fail.
async fn fail_probe(cluster: &Cluster, node: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(cluster.admin.clone(), NAMESPACE);
    let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    wait::until("the agent's pod to be not Ready", SOON, || async {
        let mut is_unready = true;
        for pod in pods.list(&on_node).await?.items {
            let name = pod.metadata.name.context("a pod without a name")?;
            let conditions = pod
                .status
                .and_then(|status| status.conditions)
                .unwrap_or_default();
            let is_ready = conditions
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True");
            is_unready &= !is_ready;
            let status = json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } });
            drop(
                pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(status))
                    .await?,
            );
        }
        Ok(is_unready.then_some(()))
    })
    .await
}

fn without_version(mut node: NodeView) -> NodeView {
    node.metadata.resource_version.clear();
    node.status = cordonhold_shared::node::Status::default();
    node
}
