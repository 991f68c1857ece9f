//! What is wrong with the serving certificate, by itself and for the names that the API server expects.
//!
//! Not here: the CAs that must have signed it ([`super::ca`]).

use jiff::Timestamp;

use super::{
    Certificate, Configuration, Finding, Installation, Left, Name, Problem, Validity, Webhook, joined,
    secret_command, span,
};

/// The findings about the certificate itself: version, names, usage and validity.
pub(super) fn findings(
    certificate: &Certificate,
    configuration: &Configuration,
    installation: &Installation,
    now: Timestamp,
) -> Vec<Finding> {
    let Validity { from, to } = certificate.validity;
    let mut found = Vec::new();
    let mut add = |problem: Problem, text| {
        found.push(Finding {
            problem,
            about: to.to_string(),
            blocks: problem.is_refused(),
            text,
        });
    };
    if certificate.version < 3 {
        let text = "the serving certificate is of X.509 version 1, which cannot hold names and which the API server refuses: \
                    issue it anew as version 3 (`openssl x509 -req` needs -extfile for that)";
        add(Problem::CertificateVersion1, text.to_owned());
    } else if certificate.names.is_empty() {
        let text = format!(
            "the serving certificate has no subject alternative name, and the API server checks no other: issue it anew for {}",
            asked(configuration)
        );
        add(Problem::CertificateWithoutNames, text);
    }
    if !certificate.is_for_servers {
        let text = "the serving certificate has an extended key usage without serverAuth, so the API server refuses it: \
             issue it anew with serverAuth";
        add(Problem::CertificateNotForServers, text.to_owned());
    }
    if now < from {
        let text = format!(
            "the serving certificate is valid only from {from} on, in {}: issue it anew, or look at the clock of this node",
            span(from.duration_since(now))
        );
        add(Problem::CertificateNotYetValid, text);
    }
    let renew = format!(
        "issue it anew and put it into its Secret, without a restart: {}",
        secret_command(&installation.namespace, "tls.crt", "tls.key")
    );
    let left = span(to.duration_since(now));
    let ends = match Left::until(to, now) {
        Left::Enough => None,
        Left::Days30 => Some(Problem::CertificateEndsIn30Days),
        Left::Days7 => Some(Problem::CertificateEndsIn7Days),
        Left::Day1 => Some(Problem::CertificateEndsIn1Day),
        Left::Nothing => {
            let text = format!("the serving certificate ended {to}, {left} ago: {renew}");
            add(Problem::CertificateEnded, text);
            None
        }
    };
    if let Some(problem) = ends {
        let text = format!("the serving certificate ends {to}, in {left}: {renew}");
        add(problem, text);
    }
    found
}

/// The finding about webhooks whose name is not in the certificate.
pub(super) fn other_names(certificate: &Certificate, webhooks: &[Webhook]) -> Option<Finding> {
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
            "the serving certificate is for {}, and the API server expects the name {} ({}): issue it anew for that name",
            joined(certificate.names.iter().map(Name::as_text)),
            first.asks.as_text(),
            joined(others.iter().map(|webhook| webhook.name.as_str())),
        ),
    })
}

impl Name {
    /// The name as a person writes it.
    pub fn as_text(&self) -> String {
        match self {
            Name::Dns(name) => name.clone(),
            Name::Ip(address) => address.to_string(),
        }
    }

    /// Whether a certificate with this name is valid for `asked`, as Go's `crypto/x509` matches names: `*` is one whole first label.
    pub(super) fn covers(&self, asked: &Name) -> bool {
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

/// The names that the API server expects in the certificate, for a message.
fn asked(configuration: &Configuration) -> String {
    let Configuration::Present { webhooks, .. } = configuration else {
        return "SERVICE.NAMESPACE.svc".to_owned();
    };
    let mut names: Vec<String> = webhooks.iter().map(|webhook| webhook.asks.as_text()).collect();
    names.sort();
    names.dedup();
    names.join(", ")
}
