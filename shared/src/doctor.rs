//! What is wrong with an installation, or with a cluster before one: each finding with a stable code, the command that mends it, and the page
//! that explains it.
//!
//! [`Diagnosis::of`] judges what was examined. A part that was not seen is judged by nobody: it is among the [`Unseen`].
//! Not here: examining the cluster, and how the findings are printed (the kubectl plugin); what is wrong with single nodes and locks, which is
//! taken from [`crate::fleet`].

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::admission::ProbeAnswer;
use crate::fleet::{Fleet, Seen, Trouble, Unseen};
use crate::kured::Kured;
use crate::quote::one_line;

mod agents;
mod code;
mod install;
mod server;
mod webhook;

pub use code::{Code, Severity};
pub use install::{INSTALLED, Installing};
pub use server::{Beat, Clock};

/// Longest text of a finding in characters.
const SAYS_MAX: usize = 600;
/// Most nodes that one finding names.
const NAMED_MAX: usize = 4;

/// What was examined. `None`, and an empty list where it says so: it was not seen.
#[derive(Clone, Debug, Default)]
pub struct Examined {
    /// The fleet.
    pub seen: Seen,
    /// The version of this program.
    pub plugin: String,
    /// The `gitVersion` of the API server.
    pub server: Option<String>,
    /// Whether the API server has `ValidatingAdmissionPolicy`.
    pub has_policies: Option<bool>,
    /// The clock of this machine, and that of the API server.
    pub clock: Option<Clock>,
    /// The heartbeats of the nodes; empty if they were not seen.
    pub beats: Vec<Beat>,
    /// What became of the probe.
    pub probe: Probe,
    /// The webhooks of the configuration; empty if it was not seen.
    pub registered: Vec<Registered>,
    /// Who wrote the `caBundle`s last, in words.
    pub written: Option<String>,
    /// Who applied the configuration last, in words; not the program that writes the `caBundle`s.
    pub applied: Option<String>,
    /// The image of the webhook.
    pub webhook_image: Option<String>,
    /// The agents' `DaemonSets`.
    pub agents: Option<Vec<AgentSet>>,
    /// The `DaemonSets` that look like kured's.
    pub kureds: Option<Vec<Kured>>,
    /// The level of pod security that the namespace enforces; empty if it says none.
    pub pod_security: Option<String>,
    /// Why pods of ours could not be created lately: the object that wants them, and what the API server said.
    pub refused: Vec<(String, String)>,
    /// The answers to what the `ServiceAccounts` may do.
    pub rights: Vec<Right>,
}

impl Examined {
    /// Whether agents are installed; `None`: that was not seen.
    fn has_agents(&self) -> Option<bool> {
        self.agents.as_ref().map(|sets| !sets.is_empty())
    }
}

/// What became of a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Probe {
    /// Nobody has asked, or the answer says nothing.
    #[default]
    Unasked,
    /// A replica has answered.
    Answered(ProbeAnswer),
    /// The dry run passed, and nobody has answered.
    Silent,
    /// The API server could not call the webhook, and why.
    Failed(String),
}

/// A webhook of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Its name.
    pub name: String,
    /// Whether requests pass while it does not answer (`failurePolicy: Ignore`).
    pub fails_open: bool,
    /// Whether it has `matchConditions`.
    pub has_conditions: bool,
}

/// A `DaemonSet` of agents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentSet {
    /// Its name.
    pub name: String,
    /// Its agents' image.
    pub image: String,
    /// On how many nodes its agents should run.
    pub wanted: i32,
    /// How many of them are ready.
    pub ready: i32,
    /// The `DaemonSet` of kured's, as `namespace/name`, that carries the lock if it is there. `None`: the lock is in a Lease in any case.
    pub shares_with: Option<String>,
}

/// Whether a ServiceAccount may do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// The permission.
    pub needed: Needed,
    /// Whether it is granted.
    pub is_granted: bool,
}

/// A permission of one of our `ServiceAccounts` that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needed {
    /// The ServiceAccount's name.
    pub account: &'static str,
    /// The verb.
    pub verb: &'static str,
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The resource.
    pub resource: &'static str,
    /// The subresource; empty for none.
    pub subresource: &'static str,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Its code.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: `webhook`, `node NAME`, an object.
    pub about: String,
    /// What is wrong, in words.
    pub says: String,
    /// The command that mends it, or that shows how.
    pub command: String,
    /// The section that explains it.
    pub page: String,
}

/// Something that was looked at and is as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fine {
    /// What was looked at.
    pub about: String,
    /// What was seen, in words.
    pub says: String,
}

/// The result. As JSON it is what `doctor -o json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// When the cluster was examined.
    pub time: Timestamp,
    /// The version of the program that judges.
    pub version: String,
    /// What was found, problems first.
    pub findings: Vec<Finding>,
    /// What is as it should be.
    pub fine: Vec<Fine>,
    /// What could not be seen.
    pub unseen: Vec<Unseen>,
}

/// What one check says: findings or, if there are none and something was seen, what is fine.
#[derive(Default)]
struct Checked {
    findings: Vec<Finding>,
    fine: Option<Fine>,
}

impl Finding {
    fn new(code: Code, about: &str, says: &str, command: String) -> Finding {
        Finding {
            code,
            severity: code.severity(),
            about: about.to_owned(),
            says: one_line(says, SAYS_MAX),
            command,
            page: code.page(),
        }
    }

    fn of(trouble: Trouble) -> Finding {
        Finding::new(
            Code::from(trouble.kind),
            &trouble.about,
            &trouble.says,
            trouble.command,
        )
    }
}

impl Checked {
    /// The findings, or else that this is fine.
    fn or_fine(findings: Vec<Finding>, about: &str, says: Option<String>) -> Checked {
        let says = says.filter(|_| findings.is_empty());
        Checked {
            findings,
            fine: says.map(|says| Fine {
                about: about.to_owned(),
                says,
            }),
        }
    }
}

impl Diagnosis {
    /// Judges what was examined of an installation.
    pub fn of(examined: &Examined, now: Timestamp) -> Diagnosis {
        let fleet = Fleet::of(&examined.seen, now);
        let checks = vec![
            server::version(examined),
            webhook::installed(examined, &fleet),
            webhook::probed(examined),
            agents::running(examined),
            agents::versions(examined),
            agents::pools(examined),
            agents::kured(examined),
            agents::rights(examined),
            server::clocks(examined),
            server::pod_security(examined),
            of_nodes_and_locks(&fleet),
        ];
        Diagnosis::from(examined, checks, now)
    }

    /// Judges what was examined of a cluster in which nothing of ours is installed yet.
    pub fn before_install(examined: &Examined, installing: &Installing, now: Timestamp) -> Diagnosis {
        let checks = vec![
            server::version(examined),
            server::policies(examined),
            install::rights(examined, installing),
            install::kured(examined),
            install::installed(examined),
            server::pod_security(examined),
            server::clocks(examined),
        ];
        Diagnosis::from(examined, checks, now)
    }

    fn from(examined: &Examined, checks: Vec<Checked>, now: Timestamp) -> Diagnosis {
        let mut findings = Vec::new();
        let mut fine = Vec::new();
        for check in checks {
            findings.extend(check.findings);
            fine.extend(check.fine);
        }
        findings.sort_by_key(|finding| (finding.severity, finding.code));
        Diagnosis {
            time: now,
            version: examined.plugin.clone(),
            findings,
            fine,
            unseen: examined.seen.unseen.clone(),
        }
    }

    /// How many findings are this bad.
    pub fn count(&self, severity: Severity) -> usize {
        let of = |finding: &&Finding| finding.severity == severity;
        self.findings.iter().filter(of).count()
    }
}

/// What `status` finds wrong with nodes, pools and locks.
fn of_nodes_and_locks(fleet: &Fleet) -> Checked {
    let troubles = fleet
        .troubles
        .iter()
        .filter(|trouble| !webhook::is_about(trouble));
    let findings = troubles.cloned().map(Finding::of).collect();
    let (nodes, pools) = (fleet.nodes.len(), fleet.pools.len());
    let says = format!(
        "{} and {} without trouble",
        counted(nodes, "node"),
        counted(pools, "pool")
    );
    // A cluster without a node is one whose nodes were not seen.
    Checked::or_fine(findings, "holds and locks", (nodes > 0).then_some(says))
}

/// A number and what is counted.
fn counted(number: usize, what: &str) -> String {
    if number == 1 {
        format!("1 {what}")
    } else {
        format!("{number} {what}s")
    }
}

/// The first few names, and how many more there are.
fn named(names: &[String]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(NAMED_MAX)
        .map(|name| crate::quote::quoted(name))
        .collect();
    let more = names.len().saturating_sub(NAMED_MAX);
    if more == 0 {
        shown.join(", ")
    } else {
        format!("{} and {more} more", shown.join(", "))
    }
}

/// How far two clocks are apart, if that is more than this project allows for.
fn skew(one: Timestamp, other: Timestamp) -> Option<SignedDuration> {
    let apart = one.duration_since(other);
    (apart.abs() > crate::admission::SKEW).then_some(apart)
}

#[cfg(test)]
mod tests;
