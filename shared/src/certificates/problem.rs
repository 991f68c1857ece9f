//! What keeps the certificates from being renewed, in words for people.
//!
//! Not here: requests that failed (the webhook's `certs`), and problems of the one who serves ([`crate::admission::trust::Problem`]).

use jiff::Timestamp;

/// What keeps something from being done. What is in service stays as it is meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum Problem {
    #[error(
        "the Secret of the CAs cannot be read ({0}), so nothing is renewed: put it back from a backup, or delete it: then a new CA is made, and the old one stays in the caBundles until its certificates have ended"
    )]
    RecordUnreadable(String),
    #[error(
        "it is {here} on this machine and {server} on the API server, so nothing is renewed: set the clocks; what is in service stays as it is"
    )]
    ClocksDiffer { here: Timestamp, server: Timestamp },
    #[error(
        "it is {here} on this machine, and the newest certificate begins later, at {begun}, so nothing is renewed: set the clock; if it is right, delete the Secrets of the CAs and of the certificate, and both are made anew"
    )]
    ClockBehind { here: Timestamp, begun: Timestamp },
    #[error(
        "cert-manager keeps the {what}, so nothing is written: leave `cordonhold-webhook certs` out of the installation, or delete cert-manager's Certificate of the webhook and then take the annotation {annotation} off"
    )]
    CertManager { what: String, annotation: &'static str },
    #[error(
        "the certificate in the {served} is valid until {until}, was not made by this part, and no caBundle has its CA, so nothing is written: leave `cordonhold-webhook certs` out of the installation and write its CA into the caBundles, or delete the {served}, and one is made in its place"
    )]
    ForeignCertificate { served: String, until: Timestamp },
}

impl Problem {
    /// Every code.
    pub const CODES: &[&str] = &[
        "record-unreadable",
        "clocks-differ",
        "clock-behind",
        "cert-manager",
        "foreign-certificate",
    ];

    /// The code in log, metric and Events. It never changes.
    pub fn code(&self) -> &'static str {
        match self {
            Problem::RecordUnreadable(_) => "record-unreadable",
            Problem::ClocksDiffer { .. } => "clocks-differ",
            Problem::ClockBehind { .. } => "clock-behind",
            Problem::CertManager { .. } => "cert-manager",
            Problem::ForeignCertificate { .. } => "foreign-certificate",
        }
    }
}
