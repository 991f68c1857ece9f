//! What goes wrong at night between Cordonhold and a cluster that it is installed on: the failure is really there, what people then see leads to
//! a row of `docs/troubleshooting.md`, that row to a page, and the commands of that page end it.
//!
//! `tests/failures.md` lists all failures, with the test of each. Not here: those with an alert (`rehearsal`).

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cordonhold_shared::hold::{self, Phase};
use cordonhold_tests::cluster::Cluster;
use cordonhold_tests::gitops::{self, Sync};
use cordonhold_tests::wait;
use serde_json::{Value, json};

use crate::cluster::alone;
use crate::desk::{Desk, filled, page, section, spans};
use crate::fleet::Site;
use crate::installed::Installed;
use crate::uninstall::nothing_is_left;

/// Longest time until something is seen. A controller that is refused a pod tries again later and later.
const SEEN: Duration = Duration::from_secs(90);
/// How often Argo CD applies here. It takes minutes, or less after a change.
const SYNC_EVERY: Duration = Duration::from_millis(500);
const CONFIGURATION: &str = "validatingwebhookconfiguration cordonhold";
/// What GKE has in its API servers: outside of kube-system, critical pods need a quota
/// (kubernetes/website: `content/en/docs/concepts/policy/resource-quotas.md`).
const ADMISSION: &str = "apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
  - name: ResourceQuota
    configuration:
      apiVersion: apiserver.config.k8s.io/v1
      kind: ResourceQuotaConfiguration
      limitedResources:
        - resource: pods
          matchScopes:
            - scopeName: PriorityClass
              operator: In
              values: [system-node-critical, system-cluster-critical]
";

/// An error unless `seen` has this text, and a row of the page with this text leads to this link.
fn leads(seen: &str, text: &str, link: &str) -> Result<()> {
    ensure!(seen.contains(text), "{text:?} is not seen: {seen}");
    let page = page("troubleshooting.md")?;
    let link = format!("]({link})");
    let mut rows = page.lines().filter(|line| line.starts_with("| "));
    let row = rows.find(|row| row.contains(text) && row.contains(&link));
    ensure!(row.is_some(), "no row with {text:?} has {link}");
    Ok(())
}

fn values() -> Value {
    json!({
        "webhook": { "mode": "enforce" },
        "configuration": { "backoff": "5s" },
        "platform": { "criticalPodsQuota": 20 },
    })
}

struct Night {
    installed: Installed,
    desk: Desk,
}

impl Night {
    fn site(&self, number: usize) -> Site {
        Site::on(&self.installed.cluster, number)
    }

    /// Runs a command until it prints this, and returns all that it prints. Whether it works does not count: `doctor` ends with 1.
    async fn sees(&self, command: &str, text: &str) -> Result<String> {
        let line = format!("{command} 2>&1 || true");
        wait::until(&format!("{command} to say {text:?}"), SEEN, || async {
            let said = self.desk.run(&line).await?;
            ensure!(said.contains(text), "it says: {said}");
            Ok(Some(said))
        })
        .await
    }

    /// Runs the command of a section of a page that begins so.
    async fn follow(&self, name: &str, heading: &str, begin: &str, node: &str) -> Result<()> {
        let page = page(name)?;
        let command = spans(section(&page, heading)?, begin).into_iter().next();
        let command = command.with_context(|| format!("{name}, {heading} has no command {begin}"))?;
        self.desk.run(&filled(command, node)?).await.map(drop)
    }

    /// Lets a budget stop the drain of node-0, until it is deleted by this name.
    async fn hold(&self, budget: &str) -> Result<Site> {
        let site = self.site(0);
        site.add_blocked_pod(budget).await?;
        site.machine.request_reboot()?;
        drop(site.wait_phase(Phase::Draining).await?);
        Ok(site)
    }

    /// Failure 13: GKE creates no critical pod without a quota.
    async fn no_quota(&self) -> Result<()> {
        self.installed.upgrade(&["platform.criticalPodsQuota=0"]).await?;
        let delete =
            "kubectl -n cordonhold delete pod -l app.kubernetes.io/name=cordonhold-webhook --wait=false";
        drop(self.desk.run(delete).await?);
        let text = "insufficient quota to match these scopes";
        let said = self.sees("kubectl cordonhold doctor", text).await?;
        ensure!(said.contains("CH112"), "{said}");
        leads(&said, text, "install.md#platforms")?;
        let install = page("install.md")?;
        let setting = spans(section(&install, "### Platforms")?, "platform.criticalPodsQuota")[0];
        self.installed.upgrade(&[&setting.replace(": ", "=")]).await?;
        self.installed.runs().await
    }

    /// Failure 20: the lock's annotation is garbage.
    async fn lock_is_garbage(&self) -> Result<()> {
        let spoil =
            "kubectl -n cordonhold annotate lease cordonhold-default cordonhold.dev/lock='{' --overwrite";
        drop(self.desk.run(spoil).await?);
        let site = self.site(1);
        site.machine.request_reboot()?;
        let said = self.sees("kubectl get events", "RebootLockUnreadable").await?;
        leads(&said, "RebootLockUnreadable", "events.md#rebootlockunreadable")?;
        drop(
            self.sees("kubectl cordonhold status", "cordonhold.dev/lock")
                .await?,
        );
        self.follow(
            "events.md",
            "### RebootLockUnreadable",
            "kubectl -n cordonhold annotate lease",
            site.name(),
        )
        .await?;
        site.reboots_once_and_is_given_back().await
    }

    /// Failure 21: nothing on the host says whether it is going down. Flags for hosts without systemd are tried with their inits (`privileges`).
    async fn host_without_systemd(&self) -> Result<()> {
        let site = self.site(0);
        site.machine.host().set_systemd(false)?;
        site.machine.request_reboot()?;
        let text = "the host does not say whether it is going down";
        let said = self.sees("kubectl get events", text).await?;
        leads(&said, text, "agent.md#hosts-without-systemd")?;
        ensure!(said.contains("RebootHostBusy"), "{said}");
        site.machine.host().set_systemd(true)?;
        site.reboots_once_and_is_given_back().await
    }

    /// Failure 19: while there is no configuration, somebody writes marks that name another Node.
    async fn marks_of_nobody(&self) -> Result<()> {
        let site = self.site(1);
        drop(self.desk.run(&format!("kubectl delete {CONFIGURATION}")).await?);
        let forge = "kubectl cordon node-1; kubectl label node node-1 cordonhold.dev/phase=draining; \
                     kubectl annotate node node-1 cordonhold.dev/until=$(date -u -d '+9 minutes' +%FT%TZ) \
                     cordonhold.dev/holder=00000000-0000-4000-8000-000000000000/2026-11-30T00:00:00Z";
        drop(self.desk.run(forge).await?);
        let said = self.sees("kubectl get events", "HoldNotOurs").await?;
        leads(
            &said,
            "HoldNotOurs",
            "operating.md#marks-that-an-agent-does-not-trust",
        )?;
        let text = "a denied uncordon of the Node prints the commands";
        ensure!(said.contains(text), "{said}");
        // "Apply the manifests again."
        self.installed.upgrade(&["webhook.mode=enforce"]).await?;
        self.installed.runs().await?;
        let denial = self.sees("kubectl uncordon node-1", "\nThen: ").await?;
        let steps: Vec<&str> = denial
            .lines()
            .filter_map(|line| {
                line.strip_prefix("First: ")
                    .or_else(|| line.strip_prefix("Then: "))
            })
            .collect();
        for step in &steps {
            // A shell of a person goes on where there is nothing to remove.
            let run = self.desk.run(&format!("set +e; {step}")).await;
            drop(run.with_context(|| format!("{steps:?} of {denial}"))?);
        }
        let node = site.view().await?;
        ensure!(!hold::has_marks(&node), "{node:?}");
        ensure!(
            site.machine.reboots().len() == 1,
            "it was rebooted by forged marks"
        );
        if node.spec.unschedulable {
            drop(self.desk.run("kubectl uncordon node-1").await?);
        }
        Ok(())
    }

    /// Failures 12 and 22: a firewall closes the webhook's port. Somebody deletes the configuration, and Argo CD applies it again.
    async fn port_is_closed_and_a_tool_stands_by(&self) -> Result<()> {
        let site = self.hold("port").await?;
        self.installed.cluster.kubelet.drop_service_traffic(true);
        self.is_unreachable("context deadline exceeded", "helm").await?;
        let chart = self.installed.configuration(&values()).await?;
        let plane = &self.installed.cluster.plane;
        let delete = format!("kubectl delete {CONFIGURATION}");
        let tool = async {
            loop {
                // A sync fails if the object goes between its read and its write; the next one makes it again.
                match gitops::argo_syncs(plane, &chart, Sync::Apply).await {
                    Err(error) if format!("{error:#}").contains("(NotFound)") => {}
                    synced => synced?,
                }
                tokio::time::sleep(SYNC_EVERY).await;
            }
        };
        let meanwhile = async {
            drop(self.desk.run(&delete).await?);
            let get = format!("kubectl get {CONFIGURATION}");
            drop(self.sees(&get, "cordonhold ").await?);
            self.is_unreachable("failed calling webhook", "argocd-controller")
                .await
        };
        tokio::select! {
            ended = tool => ended,
            seen = meanwhile => seen,
        }?;
        let (again, link) = (
            "uncordons are refused again",
            "gitops.md#when-the-webhook-is-in-the-way",
        );
        leads(again, again, link)?;
        let page = page("gitops.md")?;
        let way = section(&page, "## When the webhook is in the way")?;
        ensure!(
            way.contains("argocd app set NAME --sync-policy none") && way.contains(&delete),
            "{way}"
        );
        // The tool is stopped, as the page says first.
        drop(self.desk.run(&delete).await?);
        drop(
            self.desk
                .run(&format!("kubectl uncordon {}", site.name()))
                .await?,
        );

        self.installed.cluster.kubelet.drop_service_traffic(false);
        self.installed.upgrade(&["webhook.mode=enforce"]).await?;
        self.installed.runs().await?;
        drop(site.wait_phase(Phase::Draining).await?);
        site.unblock_pod("port").await?;
        let node = site.wait_over().await?;
        ensure!(!node.spec.unschedulable, "{} stayed cordoned", site.name());
        ensure!(site.machine.reboots().len() == 2, "{:?}", site.machine.reboots());
        Ok(())
    }

    /// An uncordon of node-0 fails with this text, and `doctor` says so and who applied the configuration last.
    async fn is_unreachable(&self, text: &str, by: &str) -> Result<()> {
        // Without effect: what passes costs a drain.
        let attempt = "kubectl uncordon node-0 --dry-run=server";
        let failed = "failed calling webhook \"nodes.cordonhold.dev\"";
        let said = self.sees(attempt, failed).await?;
        leads(&said, text, "runbooks/CordonholdWebhookUnreachable.md")?;
        let said = self.sees("kubectl cordonhold doctor", "CH107").await?;
        let by = format!("applied last by the field manager {by} at");
        ensure!(said.contains(text) && said.contains(&by), "{said}");
        Ok(())
    }

    /// Failure 23: the release is deleted in mid-drain, without the Job that ends holds.
    async fn uninstalled_in_mid_drain(&self) -> Result<()> {
        let site = self.hold("uninstall").await?;
        drop(
            self.desk
                .run("helm uninstall cordonhold --namespace cordonhold --no-hooks --wait")
                .await?,
        );
        let told = self.sees("kubectl cordonhold why node-0", "draining").await?;
        let row = "Cordonhold was deleted without [its uninstall]";
        leads(row, row, "install.md#uninstall")?;
        ensure!(told.contains("release"), "{told}");
        let early = self
            .sees("kubectl cordonhold release node-0 --agent-is-gone --yes", "until")
            .await?;
        ensure!(
            site.view().await?.spec.unschedulable,
            "it was given back: {early}"
        );
        // "Install it again, and uninstall it as the page says."
        self.installed.install(&values()).await?;
        let page = page("install.md")?;
        let uninstall = section(&page, "### Uninstall with Helm")?;
        let uninstall = uninstall.lines().find(|line| line.starts_with("helm uninstall "));
        drop(self.desk.run(uninstall.context("no command")?).await?);
        nothing_is_left(&self.installed.cluster.plane.client()).await?;
        let node = site.view().await?;
        ensure!(!node.spec.unschedulable, "{node:?}");
        Ok(())
    }
}

#[test]
fn each_failure_at_night_leads_to_its_fix_by_what_is_seen() -> Result<()> {
    alone(async || {
        let place = tempfile::tempdir().context("failed to create a directory")?;
        let file = place.path().join("admission.yaml");
        std::fs::write(&file, ADMISSION).context("failed to write a file")?;
        let flag = format!("--admission-control-config-file={}", file.display());
        let cluster = Cluster::start_with(2, &[&flag]).await?;
        let installed = Installed::by_helm_on(cluster, &values()).await?;
        let desk = Desk::of(&installed.cluster)?;
        let night = Night { installed, desk };
        night.no_quota().await.context("13, no quota")?;
        night.lock_is_garbage().await.context("20, the lock is garbage")?;
        night.host_without_systemd().await.context("21, no systemd")?;
        night.marks_of_nobody().await.context("19, marks of nobody")?;
        let closed = night.port_is_closed_and_a_tool_stands_by().await;
        closed.context("12 and 22, a closed port and a tool")?;
        night.uninstalled_in_mid_drain().await.context("23, uninstalled")
    })
}
