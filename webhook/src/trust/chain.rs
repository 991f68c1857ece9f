//! Reads from a certificate what the trust checks need to know, and checks whether a CA has signed it.
//!
//! Not here: which of these facts is a problem ([`cordonhold_shared::admission::trust`]).

use std::net::IpAddr;
use std::time::Duration;

use cordonhold_shared::admission::trust::{Ca, Certificate, Name, Validity};
use jiff::Timestamp;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::aws_lc_rs;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// What the checks need to know of a certificate.
pub(crate) fn certificate_facts(parsed: &X509Certificate<'_>) -> Certificate {
    let usage = parsed.extended_key_usage().ok().flatten();
    Certificate {
        version: parsed.version().0.saturating_add(1),
        names: names(parsed),
        is_for_servers: usage.is_none_or(|usage| usage.value.any || usage.value.server_auth),
        validity: validity(parsed),
    }
}

/// The alternative names that the API server compares. Names that cannot be read count as none, as they do for the API server.
fn names(parsed: &X509Certificate<'_>) -> Vec<Name> {
    let Ok(Some(extension)) = parsed.subject_alternative_name() else {
        return Vec::new();
    };
    let names = extension
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(Name::Dns((*name).to_owned())),
            GeneralName::IPAddress(bytes) => address(bytes).map(Name::Ip),
            _ => None,
        });
    names.collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(ipv4) = <[u8; 4]>::try_from(bytes) {
        return Some(ipv4.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// When a certificate is valid.
pub(crate) fn validity(parsed: &X509Certificate<'_>) -> Validity {
    let validity = parsed.validity();
    // jiff does not know years after 9999, which nobody here will see.
    let time = |seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    Validity {
        from: time(validity.not_before.timestamp()),
        to: time(validity.not_after.timestamp()),
    }
}

/// Whether a CA of this `caBundle` has signed a chain, whose first certificate is the served one.
/// Whether the served certificate is valid now is not checked here.
pub(super) fn ca(
    bundle: Option<&[u8]>,
    chain: &[CertificateDer<'_>],
    served: Validity,
    now: Timestamp,
) -> Ca {
    let Some(bundle) = bundle.filter(|bundle| !bundle.is_empty()) else {
        return Ca::Missing;
    };
    let authorities: Vec<CertificateDer<'_>> = match CertificateDer::pem_slice_iter(bundle).collect() {
        Ok(authorities) => authorities,
        Err(error) => return Ca::Unreadable(error.to_string()),
    };
    if authorities.is_empty() {
        return Ca::Unreadable("it has no certificate".to_owned());
    }
    let mut signed = Vec::new();
    let mut is_sure = true;
    for authority in &authorities {
        // At a time when the served certificate is valid: one that has ended is a problem of its own, not the CA's.
        match has_signed(authority, chain, now.clamp(served.from, served.to)) {
            Some(true) => match parse_x509_certificate(authority) {
                Ok((_, parsed)) => signed.push(validity(&parsed)),
                Err(_) => is_sure = false,
            },
            Some(false) => {}
            None => is_sure = false,
        }
    }
    match (signed.is_empty(), is_sure) {
        (false, _) => Ca::Signed(signed),
        (true, true) => Ca::Stranger,
        (true, false) => Ca::Unknown,
    }
}

/// When the last CA of a `caBundle` ends; `None` if it has none that can be read.
pub fn bundle_end(bundle: &[u8]) -> Option<Timestamp> {
    let authorities = CertificateDer::pem_slice_iter(bundle).filter_map(Result::ok);
    let ends = authorities.filter_map(|authority| {
        let (_, parsed) = parse_x509_certificate(&authority).ok()?;
        Some(validity(&parsed).to)
    });
    ends.max()
}

/// Whether this CA has signed the chain. `None`: it cannot be told, because the check failed for a reason that the API server may not
/// share.
pub(crate) fn has_signed(
    authority: &CertificateDer<'_>,
    chain: &[CertificateDer<'_>],
    now: Timestamp,
) -> Option<bool> {
    let (leaf, intermediates) = chain.split_first()?;
    // Go accepts a certificate that is itself in the bundle.
    if leaf == authority {
        return Some(true);
    }
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone().into_owned()).ok()?;
    let leaf = ParsedCertificate::try_from(leaf).ok()?;
    let now = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default());
    let algorithms = aws_lc_rs::default_provider()
        .signature_verification_algorithms
        .all;
    let now = UnixTime::since_unix_epoch(now);
    match verify_server_cert_signed_by_trust_anchor(&leaf, &roots, intermediates, now, algorithms) {
        Ok(()) => Some(true),
        Err(rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => Some(false),
        Err(_) => None,
    }
}
