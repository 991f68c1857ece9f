//! Each alert on a cluster on which Cordonhold is installed as people install it: the fault is really there, a real Prometheus with our rules raises
//! the alert, the commands of its runbook work meanwhile, and what the runbook says ends it.
//!
//! Two things differ from a cluster of people: the times in the rules and of the agents are short, and the fault is brought about.
//! Not here: each alert by made-up series, with its true times (`alerts`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_tests::certificates::authorities;
use cordonhold_tests::host::RebootCommand;
use cordonhold_tests::install::manifests;
use cordonhold_tests::kubelet::{PodName, UnreadLog};
use cordonhold_tests::prometheus::Prometheus;
use cordonhold_tests::webhook::{http_get, http_status};
use cordonhold_tests::{NAMESPACE, wait};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::cluster::alone;
use crate::desk::{Desk, filled, page, section, spans};
use crate::fleet::Site;
use crate::installed::Installed;
use crate::wire::{self, Write};

/// Each time in the rules, and what it is here. Reboots take seconds here, and what is counted is read each second.
const TIMES: [(&str, &str); 9] = [
    ("for: 1w", "for: 4s"),
    ("for: 2h", "for: 4s"),
    ("for: 1h", "for: 4s"),
    ("for: 15m", "for: 4s"),
    ("for: 5m", "for: 4s"),
    ("> 7200", "> 12"),
    ("[1h]", "[30s]"),
    ("[10m]", "[20s]"),
    ("offset 10m", "offset 20s"),
];
/// Longest time until an alert fires or is over. The longest has two reboot commands that fail, and no other change for the window of its rule.
const ALERT_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest time until what a command looks for is there.
const LOOKED_TIMEOUT: Duration = Duration::from_secs(30);
/// Most attempts until lines of the log are lost: the webhook keeps 1024 lines, and the pipe behind it less than that.
const ATTEMPTS_MAX: usize = 6000;
/// How many are made between two looks at the count of lost lines.
const ATTEMPTS_AT_ONCE: usize = 200;
const LOST: &str = "cordonhold_webhook_log_lines_lost_total ";

/// A fault, and the alerts that it raises.
struct Rehearsal {
    fault: Fault,
    /// Their names, and a label that they must have.
    raises: &'static [(&'static str, (&'static str, &'static str))],
    /// What the runbooks say.
    mend: Mend,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// A budget blocks the drain of node-0, and node-1 waits for the lock.
    DrainBlocked,
    /// Somebody uncordons node-2 in the middle of its drain, in mode `audit`.
    UncordonPasses,
    /// The same program uncordons again and again, and now it is denied.
    UncordonsAgainAndAgain,
    /// Somebody has paused node-1.
    Paused,
    /// The machine of node-0 goes down and stays down, and node-1 waits for the lock.
    MachineStaysDown,
    /// The reboot command of node-2 ends with an error.
    CommandFails,
    /// Somebody takes the conditions out of the configuration.
    ConditionsGone,
    /// The Secret with the CA is damaged.
    RecordDamaged,
    /// `cordonhold-certs` is down for so long that the certificate ends within a day.
    CertificateEnds,
    /// `cordonhold-certs` loses its rights, and somebody takes the CA out of the configuration.
    CaGone,
    /// Somebody deletes the configuration.
    ConfigurationGone,
    /// No replica of the webhook runs.
    NoReplica,
    /// Nobody reads the log of the webhook.
    LogUnread,
}

/// How a fault is mended.
#[derive(Debug, Clone, Copy)]
enum Mend {
    /// By the command of this runbook that begins so, about this node.
    Page(&'static str, &'static str, &'static str),
    /// "Apply the manifests again", or with another setting.
    Upgrade(&'static str),
    /// By what is no command of kubectl, see [`Scene::mend`].
    ByHand,
}

use Fault::{
    CaGone, CertificateEnds, CommandFails, ConditionsGone, ConfigurationGone, DrainBlocked, LogUnread,
    MachineStaysDown, NoReplica, Paused, RecordDamaged, UncordonPasses, UncordonsAgainAndAgain,
};
use Mend::{ByHand, Page, Upgrade};

/// The first fault, in the mode of a new install.
const IN_AUDIT: &[Rehearsal] = &[Rehearsal {
    fault: UncordonPasses,
    raises: &[("CordonholdUncordonedWhileHeld", ("reason", "uncordoned"))],
    mend: Upgrade("webhook.mode=enforce"),
}];
/// Then these, one after another, about the nodes.
const NODES: &[Rehearsal] = &[
    Rehearsal {
        fault: UncordonsAgainAndAgain,
        raises: &[("CordonholdUncordonsDenied", ("reason", "held"))],
        mend: ByHand,
    },
    Rehearsal {
        fault: DrainBlocked,
        raises: &[
            ("CordonholdNodeHeldTooLong", ("node", "node-0")),
            ("CordonholdRebootOverdue", ("node", "node-1")),
            ("CordonholdNodeDoesNotComeBack", ("severity", "critical")),
        ],
        mend: Page("CordonholdNodeHeldTooLong", "kubectl cordonhold cancel", "node-0"),
    },
    Rehearsal {
        fault: Paused,
        raises: &[("CordonholdRebootOverdue", ("node", "node-1"))],
        mend: Page(
            "CordonholdRebootOverdue",
            "kubectl cordonhold resume NAME",
            "node-1",
        ),
    },
    Rehearsal {
        fault: CommandFails,
        raises: &[("CordonholdRebootFailed", ("result", "failed"))],
        mend: Page("CordonholdRebootFailed", "kubectl cordonhold cancel", "node-2"),
    },
];
/// Beside them these, which leave a replica that answers.
const BESIDE_NODES: &[Rehearsal] = &[
    Rehearsal {
        fault: CertificateEnds,
        raises: &[
            (
                "CordonholdCertificateExpiring",
                ("problem", "certificate-ends-in-1-day"),
            ),
            (
                "CordonholdCertificateEnds",
                ("problem", "certificate-ends-in-1-day"),
            ),
        ],
        mend: Page("CordonholdCertificateEnds", "kubectl -n cordonhold scale", ""),
    },
    Rehearsal {
        fault: RecordDamaged,
        raises: &[("CordonholdCertsProblem", ("problem", "record-unreadable"))],
        mend: Page(
            "CordonholdCertsProblem",
            "kubectl -n cordonhold delete secret",
            "",
        ),
    },
];
/// Then these, about the webhook.
const WEBHOOK: &[Rehearsal] = &[
    Rehearsal {
        fault: ConditionsGone,
        raises: &[(
            "CordonholdWebhookMisconfigured",
            ("problem", "conditions-missing"),
        )],
        mend: Upgrade("webhook.mode=enforce"),
    },
    Rehearsal {
        fault: CaGone,
        raises: &[
            ("CordonholdWebhookNotTrusted", ("problem", "ca-missing")),
            ("CordonholdCertsProblem", ("problem", "request-failed")),
        ],
        mend: Upgrade("webhook.mode=enforce"),
    },
    Rehearsal {
        fault: ConfigurationGone,
        raises: &[(
            "CordonholdWebhookNotTrusted",
            ("problem", "configuration-missing"),
        )],
        mend: Upgrade("webhook.mode=enforce"),
    },
    Rehearsal {
        fault: NoReplica,
        raises: &[("CordonholdWebhookUnreachable", ("name", "nodes.cordonhold.dev"))],
        mend: Page("CordonholdWebhookUnreachable", "kubectl -n cordonhold scale", ""),
    },
];
/// Before them this: a hold needs the webhook.
const MACHINE: &[Rehearsal] = &[Rehearsal {
    fault: MachineStaysDown,
    raises: &[("CordonholdNodeDoesNotComeBack", ("severity", "critical"))],
    mend: ByHand,
}];
/// At last this, for which no pod may move.
const AT_LAST: &[Rehearsal] = &[Rehearsal {
    fault: LogUnread,
    raises: &[("CordonholdAuditLinesLost", ("severity", "warning"))],
    mend: ByHand,
}];
/// Alerts that are not raised here.
const NOT_RAISED: [(&str, &str); 1] = [(
    "CordonholdDefect",
    "it takes a bug; `an_unexpected_answer_says_where_and_which` and the tests of the webhook's server count made ones",
)];
/// Commands of the runbooks that are not run here.
const NOT_RUN: [(&str, &str); 1] = [(
    "kubectl -n cordonhold describe certificate cordonhold-webhook",
    "there is no cert-manager",
)];

/// Commands that fail because of a fault, and what they say then. The page must say what that means.
const FAILS: [(Fault, &str, &str); 2] = [
    (
        CertificateEnds,
        "kubectl -n cordonhold logs deployment/cordonhold-certs --tail=50",
        "timed out waiting for the condition",
    ),
    (
        ConfigurationGone,
        "kubectl describe validatingwebhookconfiguration cordonhold",
        "NotFound",
    ),
];

fn runbook(alert: &str) -> Result<String> {
    page(&format!("runbooks/{alert}.md"))
}

/// The commands of kubectl in a section of a page.
fn commands<'a>(page: &'a str, heading: &str) -> Result<Vec<&'a str>> {
    Ok(spans(section(page, &format!("## {heading}"))?, "kubectl "))
}

/// Our rules with short times. An error if they have a time that [`TIMES`] lacks, or the other way round.
fn hurried(rules: &str) -> Result<String> {
    let mut hurried = rules.to_owned();
    for (time, short) in TIMES {
        ensure!(hurried.contains(time), "no rule has {time}");
        hurried = hurried.replace(time, short);
    }
    let known: Vec<&str> = TIMES.iter().flat_map(|(_, short)| words(short)).collect();
    let rules = hurried.lines().filter(|line| {
        let line = line.trim_start();
        line.starts_with("expr: ") || line.starts_with("for: ")
    });
    for word in rules.flat_map(words) {
        let digits = word.trim_end_matches(|end: char| end.is_ascii_lowercase());
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let is_time = is_number && (digits != word || digits.len() > 2);
        ensure!(!is_time || known.contains(&word), "a rule has the time {word}");
    }
    Ok(hurried)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|part: char| !part.is_ascii_alphanumeric() && part != '_')
}

fn rules() -> Result<String> {
    let path = manifests("monitoring/rules.yaml");
    std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
}

/// The cluster, and what is at hand there.
struct Scene {
    installed: Installed,
    prometheus: Prometheus,
    desk: Desk,
    /// Which pods Prometheus reads.
    read: Mutex<Vec<SocketAddr>>,
    unread: Mutex<Vec<UnreadLog>>,
}

impl Scene {
    async fn set() -> Result<Self> {
        let values = json!({
            "configuration": { "rebootTimeout": "10s", "backoff": "20s" },
            "tls": { "extraArgs": ["--settle=10s"] },
        });
        let installed = Installed::by_helm(3, &values).await?;
        let desk = Desk::of(&installed.cluster)?;
        let prometheus =
            Prometheus::with_rules(&installed.cluster.plane, "rehearsal", &hurried(&rules()?)?).await?;
        Ok(Self {
            installed,
            prometheus,
            desk,
            read: Mutex::default(),
            unread: Mutex::default(),
        })
    }

    fn site(&self, number: usize) -> Site {
        Site::on(&self.installed.cluster, number)
    }

    /// Lets Prometheus read the pods that are there, as the chart's `PodMonitor` does. Never ends.
    async fn follow_pods(&self) -> Result<()> {
        let mut turns = tokio::time::interval(Duration::from_secs(1));
        loop {
            let _ = turns.tick().await;
            let found = self.metrics_addresses().await?;
            let mut read = self.read.lock().expect("no holder panics");
            if *read != found {
                self.prometheus
                    .read_cluster(&self.installed.cluster.plane, &found)?;
                *read = found;
            }
        }
    }

    async fn metrics_addresses(&self) -> Result<Vec<SocketAddr>> {
        let pods: Api<Pod> = Api::namespaced(self.installed.cluster.plane.client(), NAMESPACE);
        let ours = ListParams::default().labels("app.kubernetes.io/part-of=cordonhold");
        let pods = pods.list(&ours).await?;
        let mut found: Vec<SocketAddr> = pods.iter().filter_map(|pod| self.address(pod)).collect();
        found.sort();
        Ok(found)
    }

    /// Where a pod serves its metrics.
    fn address(&self, pod: &Pod) -> Option<SocketAddr> {
        let shown: Ipv4Addr = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
        let ports = pod
            .spec
            .as_ref()?
            .containers
            .iter()
            .flat_map(|one| one.ports.iter().flatten());
        let port = ports
            .filter(|port| matches!(port.name.as_deref(), Some("metrics" | "admin")))
            .find_map(|port| u16::try_from(port.container_port).ok())?;
        let address = self.installed.cluster.kubelet.real_address(shown)?;
        Some(SocketAddr::new(IpAddr::V4(address), port))
    }

    /// Waits until an alert with this label fires, or no longer does.
    async fn wait_alert(&self, name: &str, (label, value): (&str, &str), fires: bool) -> Result<()> {
        let what = format!("{name} with {label}={value} to fire: {fires}");
        wait::until(&what, ALERT_TIMEOUT, || async {
            let firing = self.prometheus.firing().await?;
            let is_firing = firing
                .iter()
                .any(|labels| labels["alertname"] == name && labels[label] == value);
            Ok((is_firing == fires).then_some(()))
        })
        .await
    }

    /// Runs each command with which the alert's page looks. `grep` fails if it finds nothing.
    async fn look(&self, fault: Fault, alert: &str, node: &str) -> Result<()> {
        let page = runbook(alert)?;
        for command in commands(&page, "How to look")? {
            if NOT_RUN.iter().any(|(other, _)| *other == command) {
                continue;
            }
            let fails = FAILS
                .iter()
                .find(|(of, other, _)| *of == fault && *other == command);
            let command = filled(command, node)?;
            let Some((_, _, says)) = fails else {
                let what = format!("{command} of the page of {alert} to work");
                let run = || async { self.desk.run(&command).await.map(Some) };
                drop(wait::until(&what, LOOKED_TIMEOUT, run).await?);
                continue;
            };
            let error = self.desk.run(&command).await.err();
            let error = format!("{:#}", error.with_context(|| format!("{command} works"))?);
            ensure!(error.contains(says), "{command} does not say {says}: {error}");
            ensure!(
                page.contains(says),
                "the page of {alert} does not say what {says} means"
            );
        }
        Ok(())
    }

    /// One rehearsal: fault, alert, look, mend, and the alert is over.
    async fn rehearse(&self, rehearsal: &Rehearsal) -> Result<()> {
        let Rehearsal { fault, raises, mend } = rehearsal;
        for (alert, label) in *raises {
            self.wait_alert(alert, *label, false).await?;
        }
        self.provoke(*fault).await.context("while the fault was made")?;
        for (alert, label) in *raises {
            self.wait_alert(alert, *label, true).await?;
        }
        // What the log has lost it says once it is read again.
        if *fault == LogUnread {
            self.mend(*fault).await?;
        }
        for (alert, (label, value)) in *raises {
            let node = if *label == "node" { *value } else { fault.node() };
            self.look(*fault, alert, node).await?;
        }
        match mend {
            Page(alert, begin, node) => self.follow_page(alert, begin, node).await?,
            Upgrade(setting) => self.installed.upgrade(&[*setting]).await?,
            ByHand => {}
        }
        if *fault != LogUnread {
            self.mend(*fault).await.context("while the fault was mended")?;
        }
        for (alert, label) in *raises {
            self.wait_alert(alert, *label, false).await?;
        }
        Ok(())
    }

    async fn rehearse_everything(&self) -> Result<()> {
        // A counter grows only for a Prometheus that has read it before.
        let counter = "cordonhold_agent_disturbances_total{reason=\"uncordoned\"}";
        let is_read = format!("count(count_over_time({counter}[30s]) > 1) == 3");
        self.prometheus.wait_series(&is_read).await?;
        self.rehearse_all(IN_AUDIT).await?;
        let (nodes, beside) = (self.rehearse_all(NODES), self.rehearse_all(BESIDE_NODES));
        let _: ((), ()) = tokio::try_join!(nodes, beside)?;
        // Not beside each other, because a hold needs the webhook.
        for rehearsals in [MACHINE, WEBHOOK, AT_LAST] {
            self.rehearse_all(rehearsals).await?;
        }
        Ok(())
    }

    async fn rehearse_all(&self, rehearsals: &[Rehearsal]) -> Result<()> {
        for rehearsal in rehearsals {
            self.rehearse(rehearsal)
                .await
                .with_context(|| format!("{:?}", rehearsal.fault))?;
        }
        Ok(())
    }

    /// Runs the command of a page that begins so.
    async fn follow_page(&self, alert: &str, begin: &str, node: &str) -> Result<()> {
        let page = runbook(alert)?;
        let command = commands(&page, "How to mend it")?
            .into_iter()
            .find(|command| command.starts_with(begin))
            .with_context(|| format!("the page of {alert} has no command {begin}"))?;
        let mut command = filled(command, node)?;
        if command.starts_with("kubectl cordonhold ") {
            // The answer of a person, who has a terminal.
            command.push_str(" --yes");
        }
        self.desk.run(&command).await.map(drop)
    }
}

impl Fault {
    /// The node that it is about, for pages whose alert does not name one.
    fn node(self) -> &'static str {
        match self {
            UncordonPasses | UncordonsAgainAndAgain | CommandFails => "node-2",
            Paused => "node-1",
            DrainBlocked | MachineStaysDown | ConditionsGone | RecordDamaged | CertificateEnds | CaGone
            | ConfigurationGone | NoReplica | LogUnread => "node-0",
        }
    }
}

/// What makes the faults, and what ends them where that is no command of kubectl.
impl Scene {
    async fn provoke(&self, fault: Fault) -> Result<()> {
        match fault {
            DrainBlocked => {
                self.hold(0).await?;
                self.site(1).machine.request_reboot()
            }
            UncordonPasses => {
                self.hold(2).await?;
                self.installed.uncordon("node-2").await?.passed()
            }
            UncordonsAgainAndAgain => {
                for _ in 0..30 {
                    self.installed.uncordon("node-2").await?.denied()?;
                }
                Ok(())
            }
            Paused => {
                drop(
                    self.desk
                        .run("kubectl cordonhold pause node-1 --reason 'a rehearsal' --yes")
                        .await?,
                );
                self.site(1).machine.request_reboot()
            }
            MachineStaysDown => self.break_machine().await,
            CommandFails => {
                let machine = self.site(2).machine;
                machine.set_reboot_command(RebootCommand::Fails)?;
                machine.request_reboot()?;
                self.site(2).wait_logged("still_sealed").await
            }
            ConditionsGone => self.remove_from_configuration("matchConditions").await,
            RecordDamaged => {
                self.kubectl("patch secret cordonhold-ca -p '{\"stringData\":{\"authorities.json\":\"{}\"}}'")
                    .await
            }
            CertificateEnds => self.serve_last_day().await,
            CaGone => {
                drop(
                    self.desk
                        .run("kubectl delete clusterrolebinding cordonhold-certs")
                        .await?,
                );
                self.wait_forbidden().await?;
                self.remove_from_configuration("clientConfig/caBundle").await
            }
            ConfigurationGone => self
                .desk
                .run("kubectl delete validatingwebhookconfiguration cordonhold")
                .await
                .map(drop),
            NoReplica => {
                self.kubectl("scale deployment cordonhold-webhook --replicas=0")
                    .await?;
                self.wait_unreachable().await
            }
            LogUnread => self.lose_lines().await,
        }
    }

    async fn mend(&self, fault: Fault) -> Result<()> {
        match fault {
            DrainBlocked => {
                self.site(1).reboots_once_and_is_given_back().await?;
                let site = self.site(0);
                site.is_called_off().await?;
                // Otherwise it asks again after --backoff.
                std::fs::remove_file(site.machine.host().sentinel())?;
                site.unblock_pod("blocks-node-0").await
            }
            UncordonPasses => {
                wait::until("uncordons to be denied", LOOKED_TIMEOUT, || async {
                    // Without effect: one that passes costs a drain.
                    let answer = self.installed.uncordon("node-2?dryRun=All").await?;
                    answer.denied().map(Some)
                })
                .await
            }
            UncordonsAgainAndAgain => {
                self.site(2).unblock_pod("blocks-node-2").await?;
                self.site(2).reboots_once_and_is_given_back().await
            }
            MachineStaysDown => self.repair_machine().await,
            CommandFails => {
                let machine = self.site(2).machine;
                machine.set_reboot_command(RebootCommand::Reboots)?;
                std::fs::remove_file(machine.host().sentinel())?;
                let node = self.site(2).wait_over().await?;
                ensure!(!node.spec.unschedulable, "node-2 stayed cordoned");
                Ok(())
            }
            LogUnread => {
                let unread = std::mem::take(&mut *self.unread.lock().expect("no holder panics"));
                unread.into_iter().try_for_each(UnreadLog::read_again)
            }
            ConditionsGone | CaGone | ConfigurationGone | NoReplica => {
                wait::until("the webhook to answer", LOOKED_TIMEOUT, || async {
                    self.attempt().await?.denied().map(Some)
                })
                .await
            }
            Paused => self.site(1).wait_over().await.map(drop),
            RecordDamaged | CertificateEnds => Ok(()),
        }
    }

    /// Runs kubectl in our namespace.
    async fn kubectl(&self, words: &str) -> Result<()> {
        let command = format!("kubectl -n {NAMESPACE} {words}");
        self.desk.run(&command).await.map(drop)
    }

    /// Lets a budget stop the drain of a node.
    async fn hold(&self, number: usize) -> Result<()> {
        let site = self.site(number);
        site.add_blocked_pod(&format!("blocks-{}", site.name())).await?;
        site.machine.request_reboot()?;
        site.wait_phase(Phase::Draining).await.map(drop)
    }

    async fn break_machine(&self) -> Result<()> {
        let site = self.site(0);
        site.machine.set_reboot_command(RebootCommand::Waits)?;
        site.machine.request_reboot()?;
        drop(site.wait_phase(Phase::Sealed).await?);
        site.machine.cut_power().await?;
        self.installed.cluster.plane.set_down(site.name(), true).await?;
        self.site(1).machine.request_reboot()
    }

    async fn repair_machine(&self) -> Result<()> {
        let site = self.site(0);
        site.machine.set_reboot_command(RebootCommand::Reboots)?;
        self.installed.cluster.plane.set_down(site.name(), false).await?;
        site.machine.restore_power().await?;
        for number in [0, 1] {
            let node = self.site(number).wait_over().await?;
            ensure!(!node.spec.unschedulable, "node-{number} stayed cordoned");
        }
        Ok(())
    }

    /// Takes something out of the webhook `nodes.cordonhold.dev`, the first.
    async fn remove_from_configuration(&self, path: &str) -> Result<()> {
        let removal = json!([{ "op": "remove", "path": format!("/webhooks/0/{path}") }]);
        let command =
            format!("kubectl patch validatingwebhookconfiguration cordonhold --type=json -p '{removal}'");
        self.desk.run(&command).await.map(drop)
    }

    /// Waits until the API server has learned that `cordonhold-certs` lost its rights.
    async fn wait_forbidden(&self) -> Result<()> {
        let account = "system:serviceaccount:cordonhold:cordonhold-certs";
        let asked =
            format!("! kubectl auth can-i patch validatingwebhookconfigurations/cordonhold --as={account}");
        let run = || async { self.desk.run(&asked).await.map(Some) };
        wait::until("the rights to be gone", LOOKED_TIMEOUT, run)
            .await
            .map(drop)
    }

    /// Serves a certificate of the CA that ends within a day.
    async fn serve_last_day(&self) -> Result<()> {
        self.kubectl("scale deployment cordonhold-certs --replicas=0")
            .await?;
        let place = tempfile::tempdir()?;
        let cas = authorities(&self.installed.cluster.plane.client()).await?;
        let ca = cas
            .iter()
            .rfind(|ca| ca.key.is_some())
            .context("no CA has a key")?;
        std::fs::write(place.path().join("ca.crt"), &ca.certificate)?;
        std::fs::write(place.path().join("ca.key"), ca.key.as_deref().unwrap_or_default())?;
        let script = format!(
            "cd '{}'
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout tls.key -subj /CN=last-day -out tls.csr
            printf 'subjectAltName=DNS:cordonhold-webhook.{NAMESPACE}.svc\\nextendedKeyUsage=serverAuth\\n' > tls.ext
            openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -days 1 -extfile tls.ext -out tls.crt
            kubectl -n {NAMESPACE} create secret tls cordonhold-webhook-tls --cert=tls.crt --key=tls.key --dry-run=client -o yaml | kubectl apply -f -",
            place.path().display()
        );
        self.desk.run(&script).await.map(drop)
    }

    /// Tries, without effect, what the API server must ask the webhook about on any node.
    async fn attempt(&self) -> Result<wire::Answer> {
        let mark = json!({ "metadata": { "annotations": { "cordonhold.dev/holder": "somebody" } } });
        wire::write(
            &self.installed.controller,
            "node-0?dryRun=All",
            Write::Merge,
            &mark,
        )
        .await
    }

    async fn wait_unreachable(&self) -> Result<()> {
        wait::until("the webhook to be gone", LOOKED_TIMEOUT, || async {
            let answer = self.attempt().await?;
            let failed = "failed calling webhook \"nodes.cordonhold.dev\"";
            Ok(answer.message().contains(failed).then_some(()))
        })
        .await
    }

    /// Asks the webhook more often than its log has room for.
    async fn lose_lines(&self) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.installed.cluster.plane.client(), NAMESPACE);
        let webhooks = ListParams::default().labels("app.kubernetes.io/name=cordonhold-webhook");
        let mut addresses = Vec::new();
        for pod in pods.list(&webhooks).await? {
            let name = PodName {
                namespace: NAMESPACE.to_owned(),
                name: pod.name_any(),
            };
            let unread = self.installed.cluster.kubelet.stop_reading(&name).await?;
            self.unread.lock().expect("no holder panics").push(unread);
            let address = self.address(&pod).context("a pod without an address")?;
            // One after the other, so that the webhook answers meanwhile.
            wait::until("the replica to be ready again", LOOKED_TIMEOUT, || async {
                Ok((http_status(address, "/readyz").await? == 200).then_some(()))
            })
            .await?;
            addresses.push(address);
        }
        for _ in 0..ATTEMPTS_MAX / ATTEMPTS_AT_ONCE {
            for _ in 0..ATTEMPTS_AT_ONCE {
                drop(self.attempt().await?);
            }
            for address in &addresses {
                let (_, page) = http_get(*address, "/metrics").await?;
                let mut lines = page.lines().filter_map(|line| line.strip_prefix(LOST));
                if lines.any(|count| count.trim() != "0") {
                    return Ok(());
                }
            }
        }
        bail!("no line was lost of {ATTEMPTS_MAX}")
    }
}

#[test]
fn each_alert_is_raised_by_its_fault_and_ended_by_its_runbook() -> Result<()> {
    alone(async || {
        let scene = Scene::set().await?;
        tokio::select! {
            done = scene.rehearse_everything() => done,
            ended = scene.follow_pods() => ended,
        }
    })
}

#[test]
fn each_alert_is_rehearsed_or_it_is_said_why_not() -> Result<()> {
    let rehearsals = [IN_AUDIT, NODES, BESIDE_NODES, WEBHOOK, MACHINE, AT_LAST];
    let rehearsals = rehearsals.into_iter().flatten();
    let raised = rehearsals
        .flat_map(|rehearsal| rehearsal.raises)
        .map(|(alert, _)| *alert);
    let mut named: Vec<&str> = raised.chain(NOT_RAISED.iter().map(|(alert, _)| *alert)).collect();
    named.sort_unstable();
    named.dedup();
    let rules = rules()?;
    let mut alerts: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("- alert: "))
        .collect();
    alerts.sort_unstable();
    ensure!(named == alerts, "{named:?}\n{alerts:?}");
    let mut pages = String::new();
    for alert in alerts {
        pages.push_str(&runbook(alert)?);
    }
    let excused = NOT_RUN.iter().map(|(command, _)| *command);
    for command in excused.chain(FAILS.iter().map(|(_, command, _)| *command)) {
        ensure!(pages.contains(&format!("`{command}`")), "no page has {command}");
    }
    Ok(())
}

#[test]
fn a_rule_with_a_time_that_is_not_known_is_refused() -> Result<()> {
    let rules = rules()?;
    let hurried_once = hurried(&rules)?;
    ensure!(hurried_once.matches("for: 4s").count() == rules.matches("for: ").count());
    for (right, other) in [
        ("for: 2h\n        labels", "for: 3h\n        labels"),
        ("[10m]", "[10m:1m]"),
        ("> 7200", "> 7200 and vector(1) < 9000"),
        ("> 20\"", "> 20 offset 1d\""),
    ] {
        ensure!(rules.contains(right), "no rule has {right}");
        ensure!(
            hurried(&rules.replacen(right, other, 1)).is_err(),
            "{other} is taken"
        );
    }
    Ok(())
}
