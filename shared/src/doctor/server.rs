//! The API server, the clocks, and whether the namespace admits the agents' pods.

use jiff::Timestamp;

use super::{Checked, Code, Examined, Finding, named, skew};
use crate::quote::quoted;
use crate::span::span;

/// The oldest Kubernetes that is supported.
const OLDEST: (u32, u32) = (1, 32);
/// The level of pod security that the agents need: they use `hostPID`.
const PRIVILEGED: &str = "privileged";

/// The clock of this machine and that of the API server, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The time here.
    pub here: Timestamp,
    /// The time of the API server's answer, in whole seconds.
    pub server: Timestamp,
}

/// A heartbeat of a node: the node's clock wrote one time, and the API server's clock the other, in the same write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The Node's name.
    pub node: String,
    /// The time on the node.
    pub at: Timestamp,
    /// When the API server noted the write.
    pub noted: Timestamp,
}

/// The major and minor version in a text like `v1.37.2` or `0.1.0`.
pub(super) fn minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim_start_matches('v').split('.');
    let major = parts.next()?.parse().ok()?;
    let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
    Some((major, digits(parts.next()?).parse().ok()?))
}

pub(super) fn version(examined: &Examined) -> Checked {
    let Some(version) = &examined.server else {
        return Checked::default();
    };
    let shown = quoted(version);
    let findings = if minor(version).is_some_and(|version| version < OLDEST) {
        let says = format!(
            "it is {shown}, and the tokens of an API server before {}.{} may name no node, so that no agent is recognised: upgrade Kubernetes",
            OLDEST.0, OLDEST.1
        );
        vec![Finding::new(
            Code::KubernetesTooOld,
            "API server",
            &says,
            "kubectl version".to_owned(),
        )]
    } else {
        Vec::new()
    };
    Checked::or_fine(findings, "API server", Some(shown))
}

pub(super) fn policies(examined: &Examined) -> Checked {
    let missing = examined.has_policies == Some(false);
    let says = "it has no ValidatingAdmissionPolicy, which narrows the role for people who pause and can stand in for the webhook: do not turn that API off";
    let finding = || {
        let command = "kubectl api-resources --api-group=admissionregistration.k8s.io";
        Finding::new(Code::NoPolicies, "API server", says, command.to_owned())
    };
    let fine = (examined.has_policies == Some(true)).then(|| "ValidatingAdmissionPolicy is there".to_owned());
    Checked::or_fine(missing.then(finding).into_iter().collect(), "policies", fine)
}

pub(super) fn clocks(examined: &Examined) -> Checked {
    let mut findings = Vec::new();
    if let Some(apart) = examined.clock.and_then(|clock| skew(clock.here, clock.server)) {
        let says = format!(
            "it is {} {} the API server's, so the times and ages that this plugin prints are wrong: set it, for example by NTP",
            span(apart.abs()),
            if apart.is_negative() { "behind" } else { "ahead of" }
        );
        findings.push(Finding::new(
            Code::OwnClock,
            "the clock of this machine",
            &says,
            "kubectl get --raw=/version -v=8".to_owned(),
        ));
    }
    let off = examined
        .beats
        .iter()
        .filter(|beat| skew(beat.at, beat.noted).is_some());
    let off: Vec<String> = off.map(|beat| beat.node.clone()).collect();
    if let Some(first) = off.first() {
        let says = format!(
            "off that of the API server by more than 30 s, so the webhook may let an uncordon pass too early or keep it too long: set it, for example by NTP: {}",
            named(&off)
        );
        findings.push(Finding::new(
            Code::NodeClock,
            "the clock of nodes",
            &says,
            format!("kubectl get node {} -o yaml --show-managed-fields", quoted(first)),
        ));
    }
    let nodes = Some(examined.beats.len()).filter(|number| *number > 0);
    let nodes = nodes.map(|number| super::counted(number, "node"));
    let here = examined.clock.map(|_| "this machine".to_owned());
    let seen: Vec<String> = nodes.into_iter().chain(here).collect();
    let says = format!("{} within 30 s of the API server", seen.join(" and "));
    Checked::or_fine(findings, "clocks", (!seen.is_empty()).then_some(says))
}

pub(super) fn pod_security(examined: &Examined) -> Checked {
    let Some(level) = examined.pod_security.as_ref().filter(|level| !level.is_empty()) else {
        return Checked::default();
    };
    let namespace = quoted(&examined.seen.webhook.namespace);
    // Only the agents need it.
    let has_agents = examined.agents.as_ref().is_none_or(|sets| !sets.is_empty());
    let findings = if level == PRIVILEGED || !has_agents {
        Vec::new()
    } else {
        let says = format!(
            "it enforces the level {} of pod security, and the agents need hostPID, which only {PRIVILEGED} admits: no container is privileged",
            quoted(level)
        );
        vec![Finding::new(
            Code::PodSecurity,
            &format!("namespace {namespace}"),
            &says,
            format!(
                "kubectl label --overwrite namespace {namespace} pod-security.kubernetes.io/enforce={PRIVILEGED}"
            ),
        )]
    };
    Checked::or_fine(findings, "pod security", Some(format!("level {PRIVILEGED}")))
}
