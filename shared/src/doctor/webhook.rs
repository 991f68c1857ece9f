//! The webhook: whether it is installed as it should be, and whether a request of the API server reaches it.

use super::{Checked, Code, Examined, Finding, Probe, named};
use crate::fleet::{Fleet, PLUGIN, Trouble, TroubleKind};
use crate::quote::quoted;

/// The webhook of the configuration that decides about uncordons.
const DECIDES: &str = "nodes.cordonhold.dev";
/// Words in the API server's error if the certificate is what it does not like (Go's `crypto/x509` and `crypto/tls`).
const OF_CERTIFICATES: [&str; 3] = ["x509:", "tls:", "certificate"];

/// The modes that deny nothing.
const LENIENT: [&str; 2] = ["warn", "audit"];

const ABOUT: &str = "webhook";

/// Whether this trouble is about the webhook.
pub(super) fn is_about(trouble: &Trouble) -> bool {
    match trouble.kind {
        TroubleKind::NoWebhook | TroubleKind::WebhookDown | TroubleKind::CaMissing | TroubleKind::CaEnds => {
            true
        }
        TroubleKind::ForeignMarks
        | TroubleKind::AgentSilent
        | TroubleKind::NotBack
        | TroubleKind::NotGoingDown
        | TroubleKind::Uncordoned
        | TroubleKind::DrainBlocked
        | TroubleKind::Ignored
        | TroubleKind::LockUnreadable
        | TroubleKind::LockByHand
        | TroubleKind::PoolUnreadable => false,
    }
}

/// What its objects show.
pub(super) fn installed(examined: &Examined, fleet: &Fleet) -> Checked {
    let webhook = &fleet.webhook;
    let namespace = quoted(&webhook.namespace);
    let troubles = fleet.troubles.iter().filter(|trouble| is_about(trouble));
    let mut findings: Vec<Finding> = troubles.cloned().map(Finding::of).collect();
    if let (Some(ready @ 1..), Some(wanted)) = (webhook.ready, webhook.replicas)
        && ready < wanted
    {
        let says =
            format!("{ready} of {wanted} replicas are ready; the others say in their log what they lack");
        findings.push(Finding::new(
            Code::ReplicasMissing,
            ABOUT,
            &says,
            format!("kubectl -n {namespace} get pods -l app.kubernetes.io/name=cordonhold-webhook"),
        ));
    }
    if let Some(mode) = webhook
        .mode
        .as_ref()
        .filter(|mode| LENIENT.contains(&mode.as_str()))
    {
        let says = format!(
            "its mode is {mode}, so held nodes can be uncordoned; once its log shows nobody who would be hurt, enforce"
        );
        findings.push(Finding::new(
            Code::NotEnforcing,
            ABOUT,
            &says,
            format!("kubectl -n {namespace} logs deployment/cordonhold-webhook"),
        ));
    }
    // While nothing is denied, nobody should wait for an answer either.
    let denies = webhook
        .mode
        .as_ref()
        .is_none_or(|mode| !LENIENT.contains(&mode.as_str()));
    findings.extend(of_configuration(examined, denies));
    if webhook.ready < webhook.replicas || examined.agents.iter().flatten().any(|set| set.ready < set.wanted)
    {
        findings.extend(refused(examined, &namespace));
    }
    let is_seen = webhook.registered.is_some() || webhook.deployed.is_some();
    Checked::or_fine(findings, ABOUT, is_seen.then(|| webhook.line(fleet.time)))
}

fn of_configuration(examined: &Examined, denies: bool) -> Vec<Finding> {
    let shows = || "kubectl get validatingwebhookconfiguration cordonhold -o yaml".to_owned();
    let mut findings = Vec::new();
    if denies
        && examined
            .registered
            .iter()
            .any(|one| one.name == DECIDES && one.fails_open)
    {
        let says = format!(
            "{DECIDES} has failurePolicy Ignore, so an uncordon of a held node passes while no replica answers: set Fail, unless this is an emergency"
        );
        findings.push(Finding::new(Code::FailsOpen, ABOUT, &says, shows()));
    }
    let bare = examined.registered.iter().filter(|one| !one.has_conditions);
    let bare: Vec<String> = bare.map(|one| one.name.clone()).collect();
    if !bare.is_empty() {
        let says = format!(
            "without matchConditions each write of a Node waits for the webhook, heartbeats too: apply the manifests again: {}",
            named(&bare)
        );
        findings.push(Finding::new(Code::Unconditional, ABOUT, &says, shows()));
    }
    findings
}

/// Pods that could not be created. Whoever wants them says so in Events alone.
fn refused(examined: &Examined, namespace: &str) -> Vec<Finding> {
    let of = |(object, message): &(String, String)| {
        Finding::new(
            Code::PodsRefused,
            &quoted(object),
            message,
            format!("kubectl -n {namespace} get events --field-selector=reason=FailedCreate"),
        )
    };
    examined.refused.iter().map(of).collect()
}

/// What became of a real request.
pub(super) fn probed(examined: &Examined) -> Checked {
    let namespace = quoted(&examined.seen.webhook.namespace);
    let logs = || format!("kubectl -n {namespace} logs deployment/cordonhold-webhook");
    let finding = match &examined.probe {
        Probe::Unasked => return Checked::default(),
        Probe::Answered(answer) => {
            let says = format!(
                "the API server reaches replica {}, version {}, mode {}",
                quoted(&answer.replica),
                quoted(&answer.version),
                quoted(&answer.mode)
            );
            return Checked::or_fine(Vec::new(), "probe", Some(says));
        }
        Probe::Silent => Finding::new(
            Code::Unanswered,
            "probe",
            "the API server let a dry run pass that the webhook should have answered: the configuration sends it to nobody, the program that answers is older or \
             another one, or it did not answer and failurePolicy is Ignore: apply the manifests of the webhook's version",
            "kubectl get validatingwebhookconfiguration cordonhold -o yaml".to_owned(),
        ),
        Probe::Failed(why) if OF_CERTIFICATES.iter().any(|word| why.contains(word)) => {
            let by = examined
                .written
                .as_ref()
                .map_or_else(String::new, |written| format!("; {written}"));
            let says = format!(
                "the API server does not trust the certificate that is served, so uncordons of held nodes fail{by}: see why certs does not write the caBundle, \
                 and whether somebody takes it out again: {why}"
            );
            let command = format!("kubectl -n {namespace} logs deployment/cordonhold-certs");
            Finding::new(Code::NotTrusted, "probe", &says, command)
        }
        Probe::Failed(why) => {
            let by = examined.applied.as_ref();
            let by = by.map_or_else(String::new, |applied| {
                format!(" The configuration {applied}: if you delete it, see that nothing applies it again.")
            });
            let says = format!(
                "the API server cannot reach the webhook, so uncordons of held nodes fail: look at its pods, its Service, and what is between it and the API server. \
                 {PLUGIN} status says who is held.{by} {why}"
            );
            Finding::new(Code::Unreachable, "probe", &says, logs())
        }
    };
    Checked::or_fine(vec![finding], "probe", None)
}
