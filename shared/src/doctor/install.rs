//! Before an install: whether you may create what is to be installed, and what is in the cluster already.

use super::{Checked, Code, Examined, Finding, named};
use crate::quote::quoted;

/// The kinds that the manifests have: API group and resource.
pub const INSTALLED: [(&str, &str); 11] = [
    ("", "namespaces"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("apps", "deployments"),
    ("apps", "daemonsets"),
    ("rbac.authorization.k8s.io", "roles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
];

/// What whoever asks may create.
#[derive(Clone, Debug, Default)]
pub struct Installing {
    /// The resources of [`INSTALLED`] that they may not create; `None`: it was not seen.
    pub missing: Option<Vec<String>>,
}

pub(super) fn rights(examined: &Examined, installing: &Installing) -> Checked {
    let Some(missing) = &installing.missing else {
        return Checked::default();
    };
    let namespace = quoted(&examined.seen.webhook.namespace);
    let says = format!(
        "you may not create all of it: install it as a cluster-admin: {}",
        missing.join(", ")
    );
    let finding = || {
        Finding::new(
            Code::MayNotInstall,
            "permissions",
            &says,
            format!("kubectl -n {namespace} auth can-i --list"),
        )
    };
    let findings = (!missing.is_empty()).then(finding).into_iter().collect();
    Checked::or_fine(
        findings,
        "permissions",
        Some("you may create what is to be installed".to_owned()),
    )
}

pub(super) fn kured(examined: &Examined) -> Checked {
    let Some(kureds) = &examined.kureds else {
        return Checked::default();
    };
    let names: Vec<String> = kureds.iter().map(ToString::to_string).collect();
    let finding = kureds.first().map(|kured| {
        let says = format!(
            "choose the chart's mode protect-kured, in which the webhook protects the nodes that kured reboots, or mixed, in which agents share its lock: {}",
            named(&names)
        );
        let command = format!("kubectl -n {} get daemonset {} -o yaml", quoted(&kured.namespace), quoted(&kured.name));
        Finding::new(Code::KuredThere, "kured", &says, command)
    });
    Checked::or_fine(
        finding.into_iter().collect(),
        "kured",
        Some("there is none".to_owned()),
    )
}

pub(super) fn installed(examined: &Examined) -> Checked {
    let webhook = &examined.seen.webhook;
    let is_there = webhook.registered == Some(true)
        || webhook.deployed == Some(true)
        || examined.agents.as_ref().is_some_and(|sets| !sets.is_empty());
    let finding = || {
        Finding::new(
            Code::InstalledAlready,
            "Cordonhold",
            "it is in the cluster already, so an install is an upgrade: look at what is there first",
            format!("{} doctor", crate::fleet::PLUGIN),
        )
    };
    let is_seen = webhook.registered.is_some() && webhook.deployed.is_some();
    let fine = is_seen.then(|| "nothing of it is in the cluster".to_owned());
    Checked::or_fine(is_there.then(finding).into_iter().collect(), "Cordonhold", fine)
}
