//! The agents, their pools, their versions and rights, and stock kured beside them.

use std::collections::BTreeMap;

use super::server::minor;
use super::{AgentSet, Checked, Code, Examined, Finding, Needed, Probe, counted, named};
use crate::keys;
use crate::quote::quoted;
use crate::reboot::lock_object::Carrier;
use crate::selector::Selector;

const WEBHOOK_ACCOUNT: &str = "cordonhold-webhook";
const VIRTUAL: (&str, &str) = (keys::OVERRIDE_GROUP, keys::OVERRIDE_RESOURCE);

const fn needed(
    account: &'static str,
    verb: &'static str,
    of: (&'static str, &'static str),
    sub: &'static str,
) -> Needed {
    Needed {
        account,
        verb,
        group: of.0,
        resource: of.1,
        subresource: sub,
    }
}

impl Needed {
    /// Without these nothing works. An agent names each other permission that it lacks when it starts.
    pub const ALL: [Needed; 6] = [
        needed(keys::AGENTS, "patch", ("", "nodes"), ""),
        needed(keys::AGENTS, "list", ("", "pods"), ""),
        needed(keys::AGENTS, "create", ("", "pods"), "eviction"),
        needed(keys::AGENTS, keys::OWN_VERB, VIRTUAL, ""),
        needed(
            WEBHOOK_ACCOUNT,
            "create",
            ("authorization.k8s.io", "subjectaccessreviews"),
            "",
        ),
        needed(keys::AGENTS, keys::OVERRIDE_VERB, VIRTUAL, ""),
    ];

    /// Whether it is one that nobody should have.
    pub fn is_too_much(&self) -> bool {
        self.account == keys::AGENTS && self.verb == keys::OVERRIDE_VERB
    }

    /// The resource as kubectl writes it.
    fn of(&self) -> String {
        let sub = if self.subresource.is_empty() { "" } else { "/" };
        let dot = if self.group.is_empty() { "" } else { "." };
        format!("{}{dot}{}{sub}{}", self.resource, self.group, self.subresource)
    }

    /// The command that asks whether it is granted.
    fn asks(&self, namespace: &str) -> String {
        let subresource = if self.subresource.is_empty() {
            String::new()
        } else {
            format!(" --subresource={}", self.subresource)
        };
        let dot = if self.group.is_empty() { "" } else { "." };
        format!(
            "kubectl auth can-i {} {}{dot}{}{subresource} --all-namespaces --as=system:serviceaccount:{namespace}:{}",
            self.verb, self.resource, self.group, self.account
        )
    }
}

pub(super) fn running(examined: &Examined) -> Checked {
    let Some(sets) = &examined.agents else {
        return Checked::default();
    };
    let namespace = quoted(&examined.seen.webhook.namespace);
    let mut findings = Vec::new();
    for set in sets {
        let about = format!("DaemonSet {}", quoted(&set.name));
        if set.wanted == 0 {
            findings.push(Finding::new(
                Code::AgentsNowhere,
                &about,
                "it selects no node, so no node of its pool reboots: look at its nodeSelector and affinity",
                format!(
                    "kubectl -n {namespace} get daemonset {} -o yaml",
                    quoted(&set.name)
                ),
            ));
        } else if set.ready < set.wanted {
            let says = format!(
                "{} of {} agents are ready; the log of each other one says what it lacks. Nodes without an agent do not reboot",
                set.ready, set.wanted
            );
            findings.push(Finding::new(
                Code::AgentsNotReady,
                &about,
                &says,
                format!(
                    "kubectl -n {namespace} get pods -o wide -l {}={}",
                    keys::PART_OF.0,
                    keys::PART_OF.1
                ),
            ));
        }
    }
    let (ready, wanted) = sets.iter().fold((0, 0), |(ready, wanted), set| {
        (ready + set.ready, wanted + set.wanted)
    });
    let says = match sets.len() {
        0 => "none are installed".to_owned(),
        number => format!("{ready} of {wanted} ready, in {}", counted(number, "DaemonSet")),
    };
    Checked::or_fine(findings, "agents", Some(says))
}

/// The version in the tag of an image; `None` if it has no tag, or one that is no version.
fn version(image: &str) -> Option<&str> {
    let name = image.split('@').next().unwrap_or_default();
    let (_, tag) = name.rsplit('/').next()?.split_once(':')?;
    minor(tag).map(|_| tag)
}

/// Whether two versions may run beside each other: at most one minor version apart. docs/versions.md has the rule.
fn may_run_beside(one: &str, other: &str) -> bool {
    let (Some(one), Some(other)) = (minor(one), minor(other)) else {
        return true;
    };
    one.0 == other.0 && one.1.abs_diff(other.1) <= 1
}

pub(super) fn versions(examined: &Examined) -> Checked {
    let answered = match &examined.probe {
        Probe::Answered(answer) => Some(answer.version.as_str()),
        Probe::Unasked | Probe::Silent | Probe::Failed(_) => None,
    };
    let of_webhook = answered.or_else(|| examined.webhook_image.as_deref().and_then(version));
    let mut parts: Vec<(String, &str)> = vec![("this plugin".to_owned(), examined.plugin.as_str())];
    parts.extend(of_webhook.map(|version| ("the webhook".to_owned(), version)));
    let sets = examined.agents.iter().flatten();
    let known = |set: &AgentSet| version(&set.image).is_some();
    parts.extend(sets.clone().filter_map(|set| {
        Some((
            format!("the agents of {}", quoted(&set.name)),
            version(&set.image)?,
        ))
    }));
    let namespace = quoted(&examined.seen.webhook.namespace);
    let mut findings = Vec::new();
    for (index, (one, one_version)) in parts.iter().enumerate() {
        for (other, other_version) in parts.iter().skip(index + 1) {
            if !may_run_beside(one_version, other_version) {
                let says = format!(
                    "{one} has version {}, and {other} {}: they may be one minor version apart: upgrade the older one",
                    quoted(one_version),
                    quoted(other_version)
                );
                findings.push(Finding::new(
                    Code::VersionsApart,
                    "versions",
                    &says,
                    format!("kubectl -n {namespace} get deployments,daemonsets -o wide"),
                ));
            }
        }
    }
    let hidden = sets.filter(|set| !known(set)).count();
    let mut shown: Vec<String> = parts
        .iter()
        .map(|(part, version)| format!("{part} {}", quoted(version)))
        .collect();
    if hidden > 0 {
        shown.push("agents whose image has no version in its tag".to_owned());
    }
    Checked::or_fine(findings, "versions", Some(shown.join(", ")))
}

/// Two Leases whose selectors select the same Node: two agents there, and two budgets.
pub(super) fn pools(examined: &Examined) -> Checked {
    let leases = examined
        .seen
        .locks
        .iter()
        .filter(|lock| lock.object.carrier == Carrier::Lease);
    let pools: Vec<(&str, Selector)> = leases
        .filter_map(|lock| {
            let name = lock.object.name.strip_prefix(keys::LEASE_PREFIX)?;
            let selector = lock.view.pool_selector().unwrap_or_default().parse().ok()?;
            Some((name, selector))
        })
        .collect();
    let mut shared: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for node in &examined.seen.nodes {
        let of_node = pools
            .iter()
            .filter(|(_, selector)| selector.matches(&node.metadata.labels));
        let of_node: Vec<&str> = of_node.map(|(name, _)| *name).collect();
        for (index, one) in of_node.iter().enumerate() {
            for other in of_node.iter().skip(index + 1) {
                shared
                    .entry((*one, *other))
                    .or_default()
                    .push(node.name().to_owned());
            }
        }
    }
    let namespace = quoted(&examined.seen.webhook.namespace);
    let findings = shared.iter().map(|((one, other), nodes)| {
        let says = format!(
            "both select {}: give each node one pool, by --pool-selector and by the nodeSelector of the DaemonSet: {}",
            counted(nodes.len(), "node"),
            named(nodes)
        );
        Finding::new(
            Code::PoolsOverlap,
            &format!("pools {} and {}", quoted(one), quoted(other)),
            &says,
            format!("kubectl -n {namespace} get leases -o yaml"),
        )
    });
    let is_seen = !pools.is_empty() && !examined.seen.nodes.is_empty();
    let says = is_seen.then(|| format!("{}, and no node is in two", counted(pools.len(), "pool")));
    Checked::or_fine(findings.collect(), "pools", says)
}

pub(super) fn kured(examined: &Examined) -> Checked {
    let Some(kureds) = &examined.kureds else {
        return Checked::default();
    };
    let [kured] = kureds.as_slice() else {
        let names: Vec<String> = kureds.iter().map(ToString::to_string).collect();
        let says = format!(
            "it cannot be told which of them is kured's: name it by --ds-namespace and --ds-name, and remove what is left over: {}",
            named(&names)
        );
        let command = || "kubectl get daemonsets --all-namespaces -o wide".to_owned();
        let several =
            (!kureds.is_empty()).then(|| Finding::new(Code::SeveralKureds, "kured", &says, command()));
        return Checked::or_fine(
            several.into_iter().collect(),
            "kured",
            Some("there is none".to_owned()),
        );
    };
    let place = kured.to_string();
    let name = quoted(&place);
    let shows = format!(
        "kubectl -n {} get daemonset {} -o yaml",
        quoted(&kured.namespace),
        quoted(&kured.name)
    );
    let apart = examined
        .agents
        .iter()
        .flatten()
        .filter(|set| set.shares_with.as_deref() != Some(place.as_str()));
    let apart: Vec<String> = apart.map(|set| set.name.clone()).collect();
    let mut findings = Vec::new();
    if !apart.is_empty() {
        let says = format!(
            "it keeps a lock of its own, and so do the agents, so more nodes than --concurrency may be in a reboot at once: share its lock by --lock-on=daemonset, \
             --ds-namespace and --ds-name, or remove kured: {}",
            named(&apart)
        );
        findings.push(Finding::new(
            Code::KuredBeside,
            &format!("kured {name}"),
            &says,
            shows.clone(),
        ));
    }
    let webhook = &examined.seen.webhook;
    if webhook.deployed == Some(true) && webhook.protects_kured == Some(false) {
        findings.push(Finding::new(
            Code::KuredUnprotected,
            &format!("kured {name}"),
            "the webhook lets uncordons of the nodes pass that it reboots: use the chart's mode protect-kured or mixed, or --protect-kured=lock",
            shows,
        ));
    }
    let shares = if examined.has_agents() == Some(true) {
        ", whose lock the agents share"
    } else {
        ""
    };
    Checked::or_fine(findings, "kured", Some(format!("{name}{shares}")))
}

pub(super) fn rights(examined: &Examined) -> Checked {
    let namespace = quoted(&examined.seen.webhook.namespace);
    // The modes without agents, and the one without the webhook, have no rights for what is not there.
    let has_agents = examined.has_agents() != Some(false);
    let has_webhook = examined.seen.webhook.deployed != Some(false);
    let is_wrong = |right: &&super::Right| {
        let is_there = if right.needed.account == keys::AGENTS {
            has_agents
        } else {
            has_webhook
        };
        is_there && right.is_granted == right.needed.is_too_much()
    };
    let findings = examined.rights.iter().filter(is_wrong).map(|right| {
        let needed = &right.needed;
        let about = format!("ServiceAccount {}", needed.account);
        let (code, says) = if needed.is_too_much() {
            (
                Code::AgentIsAdmin,
                format!(
                    "it may {} {}, so the API server takes the agents for admins, and their writes wait for the webhook: bind it to its own role alone",
                    needed.verb,
                    needed.of()
                ),
            )
        } else {
            (
                Code::RightMissing,
                format!("it may not {} {}: apply the manifests again, and see who changed its role", needed.verb, needed.of()),
            )
        };
        Finding::new(code, &about, &says, needed.asks(&namespace))
    });
    let says = (!examined.rights.is_empty()).then(|| "the ServiceAccounts may do what they must".to_owned());
    Checked::or_fine(findings.collect(), "permissions", says)
}
