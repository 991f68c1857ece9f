//! Makes CAs and serving certificates: ECDSA with P-256, signed with SHA-256.
//!
//! Not here: when ([`cordonhold_shared::certificates`]).

use std::time::Duration;

use cordonhold_shared::admission::trust::{Name, Validity};
use jiff::Timestamp;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::facts::Certificate;
use crate::trust::has_signed;

/// A certificate and its key, both PEM.
pub(super) struct Made {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
pub(super) enum MintError {
    #[error("failed to make or use a key, or to sign")]
    Crypto(#[from] rcgen::Error),
    #[error("{0} cannot be a name in a certificate: check --service, --namespace and --also-for")]
    Name(String),
    #[error(
        "a certificate that was just signed is not trusted by its CA, which is a defect of cordonhold: report it"
    )]
    Untrusted,
}

/// Makes a CA.
pub(super) fn authority(validity: Validity) -> Result<Made, MintError> {
    let key = KeyPair::generate()?;
    // The name tells one CA from another for whoever looks at a bundle, also of two that were made in the same second: it ends with a part of
    // the public key.
    let id = key
        .public_key_raw()
        .last_chunk()
        .map_or(0, |end| u32::from_be_bytes(*end));
    let name = format!("Cordonhold CA {} {id:08x}", validity.from);
    let certificate = authority_params(&name, validity).self_signed(&key)?;
    Ok(Made {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

fn authority_params(common_name: &str, validity: Validity) -> CertificateParams {
    let mut params = valid(validity);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// Makes a serving certificate for these names, signed by this CA, whose key is PEM.
pub(super) fn leaf(
    ca: &Certificate,
    ca_key: &str,
    validity: Validity,
    names: &[Name],
) -> Result<Made, MintError> {
    // Only the name and the key of these parameters are used.
    let issuer = Issuer::new(
        authority_params(&ca.common_name, ca.validity),
        KeyPair::from_pem(ca_key)?,
    );
    let mut params = valid(validity);
    params.subject_alt_names = names.iter().map(alternative_name).collect::<Result<_, _>>()?;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
        .distinguished_name
        .push(DnType::CommonName, "cordonhold-webhook");
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    // Another version of this program has made the CA perhaps, and the issuer's name must be the same to the byte.
    if has_signed(
        &ca.der,
        &[certificate.der().clone()],
        validity.from.max(ca.validity.from),
    ) != Some(true)
    {
        return Err(MintError::Untrusted);
    }
    Ok(Made {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

fn alternative_name(name: &Name) -> Result<SanType, MintError> {
    match name {
        Name::Dns(name) => {
            let bad = |_| MintError::Name(name.clone());
            Ia5String::try_from(name.as_str())
                .map(SanType::DnsName)
                .map_err(bad)
        }
        Name::Ip(address) => Ok(SanType::IpAddress(*address)),
    }
}

fn valid(Validity { from, to }: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(from);
    params.not_after = epoch + since_epoch(to);
    params
}

fn since_epoch(time: Timestamp) -> Duration {
    Duration::from_secs(u64::try_from(time.as_second()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_cas_that_are_made_in_the_same_second_have_names_of_their_own() {
        let validity = Validity {
            from: "2026-11-23T10:00:00Z".parse().unwrap(),
            to: "2027-11-23T10:00:00Z".parse().unwrap(),
        };
        let name = || {
            let made = authority(validity).unwrap();
            let pem = x509_parser::pem::parse_x509_pem(made.certificate.as_bytes())
                .unwrap()
                .1;
            let subject = pem.parse_x509().unwrap().subject().to_string();
            assert!(
                subject.starts_with("CN=Cordonhold CA 2026-11-23T10:00:00Z "),
                "{subject}"
            );
            subject
        };
        assert_ne!(name(), name());
    }
}
