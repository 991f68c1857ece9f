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

/// What the served certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Of X.509: 1 to 3.
    pub version: u32,
    /// Its subject alternative names.
    pub names: Vec<Name>,
    /// Whether its extended key usage, if it has one, lets a server show it.
    pub is_for_servers: bool,
    pub validity: Validity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub from: Timestamp,
    pub to: Timestamp,
}

/// What the API server looks for in a certificate, or what one has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    Dns(String),
    Ip(IpAddr),
}

/// The webhook configuration, as it was last read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Configuration {
    #[default]
    Unread,
    Unreadable(String),
    Missing,
    Present {
        webhooks: Vec<Webhook>,
        writes: Vec<Write>,
    },
}

/// One webhook of it: by which name the API server asks, and by which CA it knows whom it asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    pub name: String,
    pub asks: Name,
    pub ca: Ca,
}

/// What its `caBundle` makes of the served certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ca {
    Missing,
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
    pub manager: String,
    pub operation: String,
    pub at: Option<Timestamp>,
    /// The webhooks whose `caBundle` is its own.
    pub ca_of: Vec<String>,
}

/// What can be wrong; the metric and the Event are named after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Problem {
    CertificateWithoutNames,
    CertificateForOtherName,
    CertificateVersion1,
    CertificateNotForServers,
    CertificateNotYetValid,
    CertificateEndsIn30Days,
    CertificateEndsIn7Days,
    CertificateEndsIn1Day,
    CertificateEnded,
    CaMissing,
    CaUnreadable,
    CaIsAnother,
    CaNotYetValid,
    CaEndsIn30Days,
    CaEndsIn7Days,
    CaEndsIn1Day,
    CaEnded,
    ConfigurationMissing,
    ConfigurationUnreadable,
}

impl Problem {
    pub const ALL: [Problem; 19] = [
        Problem::CertificateWithoutNames,
        Problem::CertificateForOtherName,
        Problem::CertificateVersion1,
        Problem::CertificateNotForServers,
        Problem::CertificateNotYetValid,
        Problem::CertificateEndsIn30Days,
        Problem::CertificateEndsIn7Days,
        Problem::CertificateEndsIn1Day,
        Problem::CertificateEnded,
        Problem::CaMissing,
        Problem::CaUnreadable,
        Problem::CaIsAnother,
        Problem::CaNotYetValid,
        Problem::CaEndsIn30Days,
        Problem::CaEndsIn7Days,
        Problem::CaEndsIn1Day,
        Problem::CaEnded,
        Problem::ConfigurationMissing,
        Problem::ConfigurationUnreadable,
    ];

    pub fn code(self) -> &'static str {
        match self {
            Problem::CertificateWithoutNames => "certificate-without-names",
            Problem::CertificateForOtherName => "certificate-for-other-name",
            Problem::CertificateVersion1 => "certificate-version-1",
            Problem::CertificateNotForServers => "certificate-not-for-servers",
            Problem::CertificateNotYetValid => "certificate-not-yet-valid",
            Problem::CertificateEndsIn30Days => "certificate-ends-in-30-days",
            Problem::CertificateEndsIn7Days => "certificate-ends-in-7-days",
            Problem::CertificateEndsIn1Day => "certificate-ends-in-1-day",
            Problem::CertificateEnded => "certificate-ended",
            Problem::CaMissing => "ca-missing",
            Problem::CaUnreadable => "ca-unreadable",
            Problem::CaIsAnother => "ca-is-another",
            Problem::CaNotYetValid => "ca-not-yet-valid",
            Problem::CaEndsIn30Days => "ca-ends-in-30-days",
            Problem::CaEndsIn7Days => "ca-ends-in-7-days",
            Problem::CaEndsIn1Day => "ca-ends-in-1-day",
            Problem::CaEnded => "ca-ended",
            Problem::ConfigurationMissing => "configuration-missing",
            Problem::ConfigurationUnreadable => "configuration-unreadable",
        }
    }
}

/// One problem, told to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub problem: Problem,
    /// Which certificate or webhooks it is about: with [`Finding::problem`], what makes it the same one at the next look.
    pub about: String,
    /// Whether the webhook cannot be asked at all.
    pub blocks: bool,
    pub text: String,
}

/// Where things are, for the commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The name of the webhook configuration.
    pub configuration: String,
    /// The namespace of the certificate's Secret.
    pub namespace: String,
}

/// How long before its end something is told of: [`Left::Day1`] from the last day on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    Enough,
    Days30,
    Days7,
    Day1,
    Nothing,
}

impl Left {
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
    place: &Place,
    now: Timestamp,
) -> Vec<Finding> {
    let mut found = of_certificate(certificate, configuration, place, now);
    match configuration {
        Configuration::Unread => {}
        Configuration::Unreadable(why) => found.push(Finding {
            problem: Problem::ConfigurationUnreadable,
            about: String::new(),
            blocks: false,
            text: format!(
                "whether the API server trusts this webhook is not known: {why}: allow the webhook's ServiceAccount to get the \
                 ValidatingWebhookConfiguration {}, or name another with --webhook-configuration",
                place.configuration
            ),
        }),
        Configuration::Missing => found.push(Finding {
            problem: Problem::ConfigurationMissing,
            about: String::new(),
            blocks: false,
            text: format!(
                "there is no ValidatingWebhookConfiguration {}, so the API server asks nobody and every uncordon passes: apply it, \
                 or name another with --webhook-configuration",
                place.configuration
            ),
        }),
        Configuration::Present { webhooks, writes } => {
            found.extend(of_names(certificate, webhooks));
            found.extend(of_ca(webhooks, writes, place, now));
        }
    }
    found
}

fn of_certificate(
    certificate: &Certificate,
    configuration: &Configuration,
    place: &Place,
    now: Timestamp,
) -> Vec<Finding> {
    let Validity { from, to } = certificate.validity;
    let mut found = Vec::new();
    let mut add = |problem, blocks, text| {
        found.push(Finding {
            problem,
            about: to.to_string(),
            blocks,
            text,
        });
    };
    if certificate.version < 3 {
        let text = "the serving certificate is of X.509 version 1, which has no place for names, and which the API server refuses: \
                    issue it anew as version 3 (with `openssl x509 -req` that takes -extfile)";
        add(Problem::CertificateVersion1, true, text.to_owned());
    } else if certificate.names.is_empty() {
        let text = format!(
            "the serving certificate has no subject alternative name, and the API server looks at no other: issue it anew for {}",
            asked(configuration)
        );
        add(Problem::CertificateWithoutNames, true, text);
    }
    if !certificate.is_for_servers {
        let text = "the serving certificate may not be shown by a server, by its extended key usage: issue it anew with serverAuth";
        add(Problem::CertificateNotForServers, true, text.to_owned());
    }
    if now < from {
        let text = format!(
            "the serving certificate is valid only from {from} on, in {}: issue it anew, or look at the clock of this node",
            span(from.duration_since(now))
        );
        add(Problem::CertificateNotYetValid, true, text);
    }
    let renew = format!(
        "issue it anew and put it into its Secret, without a restart: {}",
        secret_command(&place.namespace, "tls.crt", "tls.key")
    );
    let left = span(to.duration_since(now));
    let ends = match Left::until(to, now) {
        Left::Enough => None,
        Left::Days30 => Some(Problem::CertificateEndsIn30Days),
        Left::Days7 => Some(Problem::CertificateEndsIn7Days),
        Left::Day1 => Some(Problem::CertificateEndsIn1Day),
        Left::Nothing => {
            let text = format!("the serving certificate ended {to}, {left} ago: {renew}");
            add(Problem::CertificateEnded, true, text);
            None
        }
    };
    if let Some(problem) = ends {
        let text = format!("the serving certificate ends {to}, in {left}: {renew}");
        add(problem, false, text);
    }
    found
}

/// The webhooks that ask by a name that the certificate has not.
fn of_names(certificate: &Certificate, webhooks: &[Webhook]) -> Option<Finding> {
    if certificate.names.is_empty() {
        return None;
    }
    let others: Vec<&Webhook> = webhooks
        .iter()
        .filter(|webhook| !certificate.names.iter().any(|name| name.covers(&webhook.asks)))
        .collect();
    let first = others.first()?;
    Some(Finding {
        problem: Problem::CertificateForOtherName,
        about: joined(others.iter().map(|webhook| webhook.name.as_str())),
        blocks: others.len() == webhooks.len(),
        text: format!(
            "the serving certificate is for {}, and the API server asks by the name {} ({}): issue it anew for that name",
            joined(certificate.names.iter().map(Name::as_text)),
            first.asks.as_text(),
            joined(others.iter().map(|webhook| webhook.name.as_str())),
        ),
    })
}

/// What is wrong with the CAs, each problem once for all the webhooks that have it.
fn of_ca(webhooks: &[Webhook], writes: &[Write], place: &Place, now: Timestamp) -> Vec<Finding> {
    let mut by_problem: Vec<(Problem, String, Vec<&str>)> = Vec::new();
    for webhook in webhooks {
        let Some((problem, what)) = webhook.ca.problem(now) else {
            continue;
        };
        match by_problem.iter_mut().find(|(known, ..)| *known == problem) {
            Some((.., names)) => names.push(&webhook.name),
            None => by_problem.push((problem, what, vec![&webhook.name])),
        }
    }
    let distrusted = webhooks
        .iter()
        .filter(|webhook| webhook.ca.is_of_no_use(now))
        .count();
    let all_distrust = distrusted == webhooks.len();
    let found = by_problem.into_iter().map(|(problem, what, names)| {
        let about = joined(names.iter().copied());
        let who = last_write(writes, &names).map(|write| format!("; {write}"));
        let command = ca_command(&place.configuration, "'\"$(base64 -w0 ca.crt)\"'");
        let text = format!(
            "the caBundle of {about} in the configuration {} {what}{}: write the CA there: {command}",
            place.configuration,
            who.unwrap_or_default(),
        );
        Finding {
            problem,
            blocks: all_distrust && problem.is_of_no_use(),
            about,
            text,
        }
    });
    found.collect()
}

impl Problem {
    /// Whether the API server refuses a webhook for it. Without a `caBundle` it may know it by its own host's CAs.
    fn is_of_no_use(self) -> bool {
        matches!(
            self,
            Problem::CaUnreadable | Problem::CaIsAnother | Problem::CaNotYetValid | Problem::CaEnded
        )
    }
}

impl Ca {
    fn problem(&self, now: Timestamp) -> Option<(Problem, String)> {
        let signed = match self {
            Ca::Unknown => return None,
            Ca::Missing => {
                let what =
                    "is missing, so the API server knows this webhook by the CAs of its own host, if at all";
                return Some((Problem::CaMissing, what.to_owned()));
            }
            Ca::Unreadable(why) => return Some((Problem::CaUnreadable, format!("cannot be read ({why})"))),
            Ca::Stranger => {
                let what = "has not signed the certificate that is served, so the API server refuses it";
                return Some((Problem::CaIsAnother, what.to_owned()));
            }
            Ca::Signed(signed) => signed,
        };
        let begun = || signed.iter().filter(|ca| ca.from <= now);
        let Some(end) = begun().map(|ca| ca.to).max() else {
            return Some((Problem::CaNotYetValid, "is not valid yet".to_owned()));
        };
        let left = span(end.duration_since(now));
        let problem = match Left::until(end, now) {
            Left::Enough => return None,
            Left::Nothing => return Some((Problem::CaEnded, format!("ended {end}, {left} ago"))),
            Left::Days30 => Problem::CaEndsIn30Days,
            Left::Days7 => Problem::CaEndsIn7Days,
            Left::Day1 => Problem::CaEndsIn1Day,
        };
        Some((
            problem,
            format!("ends {end}, in {left}; issue a CA and a certificate anew"),
        ))
    }

    fn is_of_no_use(&self, now: Timestamp) -> bool {
        self.problem(now)
            .is_some_and(|(problem, _)| problem.is_of_no_use())
    }
}

/// Who wrote these `caBundle`s, or else the configuration: who takes a field away owns nothing of it.
fn last_write(writes: &[Write], webhooks: &[&str]) -> Option<String> {
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

impl Name {
    fn as_text(&self) -> String {
        match self {
            Name::Dns(name) => name.clone(),
            Name::Ip(address) => address.to_string(),
        }
    }

    /// Whether a certificate with this name is one for `asked`, as Go's `crypto/x509` matches them: `*` is one whole first label.
    fn covers(&self, asked: &Name) -> bool {
        let (own, asked) = match (self, asked) {
            (Name::Dns(own), Name::Dns(asked)) => (own, asked),
            (own, asked) => return own == asked,
        };
        let trimmed = asked.strip_suffix('.').unwrap_or(asked);
        match (own.strip_prefix("*."), trimmed.split_once('.')) {
            (Some(own), Some((_, rest))) => own.eq_ignore_ascii_case(rest),
            _ => own.eq_ignore_ascii_case(trimmed),
        }
    }
}

/// By which names the API server asks.
fn asked(configuration: &Configuration) -> String {
    let Configuration::Present { webhooks, .. } = configuration else {
        return "SERVICE.NAMESPACE.svc".to_owned();
    };
    let mut names: Vec<String> = webhooks.iter().map(|webhook| webhook.asks.as_text()).collect();
    names.sort();
    names.dedup();
    names.join(", ")
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
