//! Whether the API server can trust the webhook: what is wrong with the serving certificate, or with the
//! `ValidatingWebhookConfiguration`, or the mutating one of mode `defer`, and its `caBundle`, and who wrote the `caBundle` last.
//!
//! A finding with [`Finding::blocks`] makes the webhook unready, so that a rollout with a bad certificate stops at its first pod.
//! A finding blocks only if the API server can call none of the configuration's webhooks: if it can call one, the pod must be ready for it.
//! A missing `caBundle` does not block: it may be written only once the pods run, so an install that waits for ready pods would never end.
//!
//! Not here: parsing certificates and checking signatures (the webhook's `trust`).

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

mod ca;
mod certificate;
mod problem;
mod server;

pub use problem::Problem;
pub use server::Server;

/// The serving certificate, as far as it is checked here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The X.509 version, 1 to 3.
    pub version: u32,
    /// The subject alternative names.
    pub names: Vec<Name>,
    /// Whether the extended key usage is absent or includes `serverAuth`.
    pub is_for_servers: bool,
    /// When the certificate is valid.
    pub validity: Validity,
}

/// The time span in which a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The certificate's `notBefore`.
    pub from: Timestamp,
    /// The certificate's `notAfter`.
    pub to: Timestamp,
}

/// A name in a certificate, or the name that the API server expects there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// A DNS name.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
}

/// The `ValidatingWebhookConfiguration` and, if there is one, the `MutatingWebhookConfiguration` of the same name, as they were last read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Configuration {
    /// The configuration has not been read yet.
    #[default]
    Unread,
    /// The configuration could not be read. The text says why.
    Unreadable(String),
    /// The cluster has no such configuration.
    Missing,
    /// The configuration exists.
    Present {
        /// The webhooks in it that are served by this program.
        webhooks: Vec<Webhook>,
        /// Who has written to it.
        writes: Vec<Write>,
        /// Whether there is a mutating one. `None`: no uncordon is deferred, so nobody looked.
        mutates: Option<bool>,
    },
}

/// One webhook of the configuration: the name and the CA that the API server expects of the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// The webhook's name in the configuration.
    pub name: String,
    /// The name that the API server expects in the certificate.
    pub asks: Name,
    /// How its `caBundle` fits the serving certificate.
    pub ca: Ca,
    /// Whether it has `matchConditions`.
    pub has_conditions: bool,
}

/// How the `caBundle` of a webhook fits the serving certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ca {
    /// The `caBundle` is empty.
    Missing,
    /// The `caBundle` is not PEM of certificates. The text says why.
    Unreadable(String),
    /// CAs in the `caBundle` have signed the certificate; when each of these is valid.
    Signed(Vec<Validity>),
    /// No CA in the `caBundle` has signed the certificate.
    Stranger,
    /// The signature cannot be checked here. The API server may be able to.
    Unknown,
}

/// An entry of `metadata.managedFields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The field manager.
    pub manager: String,
    /// `Apply` or `Update`.
    pub operation: String,
    /// When it last wrote, if that is known.
    pub at: Option<Timestamp>,
    /// The webhooks whose `caBundle` this manager owns.
    pub ca_of: Vec<String>,
}

/// One problem with its text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub problem: Problem,
    /// The certificate or webhooks concerned. A finding with the same problem and the same `about` is the same finding as before.
    pub about: String,
    /// Whether the API server can call none of the webhooks, so that this one becomes unready.
    pub blocks: bool,
    /// What is wrong and how to fix it.
    pub text: String,
}

/// The names that the commands in the texts need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The name of the webhook configuration.
    pub configuration: String,
    /// The namespace of the certificate's Secret.
    pub namespace: String,
}

/// How much time is left of a validity, in the steps at which it is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    /// More than 30 days.
    Enough,
    /// 30 days or less.
    Days30,
    /// 7 days or less.
    Days7,
    /// A day or less.
    Day1,
    /// The end has passed.
    Nothing,
}

impl Left {
    /// The step for the time from `now` to `end`.
    pub fn until(end: Timestamp, now: Timestamp) -> Left {
        let left = end.duration_since(now);
        let days = |days: i64| SignedDuration::from_hours(24 * days);
        match left {
            left if left <= SignedDuration::ZERO => Left::Nothing,
            left if left <= days(1) => Left::Day1,
            left if left <= days(7) => Left::Days7,
            left if left <= days(30) => Left::Days30,
            _ => Left::Enough,
        }
    }
}

/// All findings at the time `now`. For a webhook that has a certificate: one without serves nothing.
pub fn findings(
    certificate: &Certificate,
    configuration: &Configuration,
    server: &Server,
    installation: &Installation,
    now: Timestamp,
) -> Vec<Finding> {
    let mut found = certificate::findings(certificate, configuration, installation, now);
    match configuration {
        Configuration::Unread => {}
        Configuration::Unreadable(why) => found.push(Finding {
            problem: Problem::ConfigurationUnreadable,
            about: String::new(),
            blocks: false,
            text: format!(
                "cannot check whether the API server trusts this webhook: {why}: allow the webhook's ServiceAccount to get the \
                 ValidatingWebhookConfiguration {}, or name another with --webhook-configuration",
                installation.configuration
            ),
        }),
        Configuration::Missing => found.push(Finding {
            problem: Problem::ConfigurationMissing,
            about: String::new(),
            blocks: false,
            text: format!(
                "there is no ValidatingWebhookConfiguration {}, so the API server calls no webhook and every uncordon passes: apply it, \
                 or name another with --webhook-configuration",
                installation.configuration
            ),
        }),
        Configuration::Present { webhooks, writes, .. } => {
            found.extend(certificate::other_names(certificate, webhooks));
            found.extend(ca::findings(webhooks, writes, installation, now));
        }
    }
    found.extend(server::findings(
        server,
        configuration,
        &installation.configuration,
    ));
    found
}

/// Who wrote these `caBundle`s last. If nobody owns them, who wrote the configuration last: a manager that removes a field
/// does not own it afterwards.
pub fn last_write(writes: &[Write], webhooks: &[&str]) -> Option<String> {
    let owns = |write: &&Write| write.ca_of.iter().any(|owned| webhooks.contains(&owned.as_str()));
    let owner = writes.iter().filter(owns).max_by_key(|write| write.at);
    let last = owner.or_else(|| writes.iter().max_by_key(|write| write.at))?;
    let what = if owner.is_some() {
        "it was"
    } else {
        "the configuration was last"
    };
    let at = last.at.map(|at| format!(" at {at}")).unwrap_or_default();
    let Write {
        manager, operation, ..
    } = last;
    Some(format!(
        "{what} written by the field manager {manager:?} ({operation}){at}"
    ))
}

fn joined<T: AsRef<str>>(texts: impl Iterator<Item = T>) -> String {
    let texts: Vec<T> = texts.collect();
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    texts.join(", ")
}

/// The length of a duration in its largest unit, without its sign.
fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().unsigned_abs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Shell command that writes a certificate and its key into the Secret that the Deployment mounts, or creates the Secret.
pub fn secret_command(namespace: &str, certificate: &str, key: &str) -> String {
    format!(
        "kubectl -n {namespace} create secret tls cordonhold-webhook-tls --cert={certificate} --key={key} --dry-run=client -o yaml | kubectl apply -f -"
    )
}

/// Shell command that writes a CA, in base64, into the `caBundle` of each webhook of the configurations: the validating one, and the mutating
/// one if it is there.
pub fn ca_command(configuration: &str, ca: &str) -> String {
    // Lists of webhooks are merged by name, so each patch leaves the others as they are.
    format!(
        r#"for kind in validatingwebhookconfiguration mutatingwebhookconfiguration; do for webhook in $(kubectl get $kind {configuration} --ignore-not-found -o jsonpath='{{.webhooks[*].name}}'); do kubectl patch $kind {configuration} --type=strategic -p '{{"webhooks":[{{"name":"'"$webhook"'","clientConfig":{{"caBundle":"{ca}"}}}}]}}'; done; done"#
    )
}

#[cfg(test)]
mod tests;
