//! Whether the API server can trust the webhook: what is wrong with the certificate that is served,
//! or with the configuration that names the webhook and its CA, and who wrote that last.
//!
//! Not here: parsing certificates and checking signatures, which the webhook's shell does.
//!
//! What [`Finding::blocks`] makes the webhook unready. That is only what keeps every webhook of the configuration from being asked,
//! so that being unready takes nothing away that still works; a rollout of it then stops at the first pod. A `caBundle` that is
//! missing does not: it is written after the pods are there, and an install that waits for them would wait for ever.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

mod ca;
mod certificate;
mod problem;

pub use problem::Problem;

/// What the served certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Of X.509: 1 to 3.
    pub version: u32,
    /// Its subject alternative names.
    pub names: Vec<Name>,
    /// Whether its extended key usage, if it has one, lets a server show it.
    pub is_for_servers: bool,
    /// From when until when it is valid.
    pub validity: Validity,
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Not before.
    pub from: Timestamp,
    /// Not after.
    pub to: Timestamp,
}

/// What the API server looks for in a certificate, or what one has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// A DNS name.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
}

/// The webhook configuration, as it was last read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Configuration {
    /// Nobody has read it yet.
    #[default]
    Unread,
    /// It could not be read, and why.
    Unreadable(String),
    /// There is none.
    Missing,
    /// It is there.
    Present {
        /// Its webhooks of ours.
        webhooks: Vec<Webhook>,
        /// Who wrote it.
        writes: Vec<Write>,
    },
}

/// One webhook of it: by which name the API server asks, and by which CA it knows whom it asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its name in the configuration.
    pub name: String,
    /// Which name the certificate must have.
    pub asks: Name,
    /// What its `caBundle` says.
    pub ca: Ca,
}

/// What its `caBundle` makes of the served certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ca {
    /// It is empty.
    Missing,
    /// It is no PEM of certificates, and why.
    Unreadable(String),
    /// These of its CAs have signed it.
    Signed(Vec<Validity>),
    /// None has.
    Stranger,
    /// It cannot be told here, though the API server may know better.
    Unknown,
}

/// An entry of `metadata.managedFields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The field manager.
    pub manager: String,
    /// `Apply` or `Update`.
    pub operation: String,
    /// When, if that is known.
    pub at: Option<Timestamp>,
    /// The webhooks whose `caBundle` is its own.
    pub ca_of: Vec<String>,
}

/// One problem, told to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub problem: Problem,
    /// Which certificate or webhooks it is about: with [`Finding::problem`], what makes it the same one at the next look.
    pub about: String,
    /// Whether the webhook cannot be asked at all.
    pub blocks: bool,
    /// What is wrong and how to put it right, in a sentence.
    pub text: String,
}

/// Where things are, for the commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The name of the webhook configuration.
    pub configuration: String,
    /// The namespace of the certificate's Secret.
    pub namespace: String,
}

/// How long before its end something is told of: [`Left::Day1`] from the last day on.
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
    /// It is over.
    Nothing,
}

impl Left {
    /// How long from `now` to `end`.
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

/// Everything that is wrong now. Without a certificate nothing is served, and nothing is said here.
pub fn findings(
    certificate: &Certificate,
    configuration: &Configuration,
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
                "whether the API server trusts this webhook is not known: {why}: allow the webhook's ServiceAccount to get the \
                 ValidatingWebhookConfiguration {}, or name another with --webhook-configuration",
                installation.configuration
            ),
        }),
        Configuration::Missing => found.push(Finding {
            problem: Problem::ConfigurationMissing,
            about: String::new(),
            blocks: false,
            text: format!(
                "there is no ValidatingWebhookConfiguration {}, so the API server asks nobody and every uncordon passes: apply it, \
                 or name another with --webhook-configuration",
                installation.configuration
            ),
        }),
        Configuration::Present { webhooks, writes } => {
            found.extend(certificate::other_names(certificate, webhooks));
            found.extend(ca::findings(webhooks, writes, installation, now));
        }
    }
    found
}

fn joined<T: AsRef<str>>(texts: impl Iterator<Item = T>) -> String {
    let texts: Vec<T> = texts.collect();
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    texts.join(", ")
}

/// In its largest unit, whatever its sign.
fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().unsigned_abs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// For a POSIX shell: puts a pair into the Secret that the Deployment mounts, whether it is there or not.
pub fn secret_command(namespace: &str, certificate: &str, key: &str) -> String {
    format!(
        "kubectl -n {namespace} create secret tls cordonhold-webhook-tls --cert={certificate} --key={key} --dry-run=client -o yaml | kubectl apply -f -"
    )
}

/// For a POSIX shell: puts a CA, in base64, into each webhook of the configuration, whatever their number.
pub fn ca_command(configuration: &str, ca: &str) -> String {
    // Lists of webhooks are merged by name, so each patch leaves the others as they are.
    format!(
        r#"for webhook in $(kubectl get validatingwebhookconfiguration {configuration} -o jsonpath='{{.webhooks[*].name}}'); do kubectl patch validatingwebhookconfiguration {configuration} --type=strategic -p '{{"webhooks":[{{"name":"'"$webhook"'","clientConfig":{{"caBundle":"{ca}"}}}}]}}'; done"#
    )
}

#[cfg(test)]
mod tests;
