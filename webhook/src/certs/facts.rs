//! What the objects of the cluster say about certificates, for the decision.
//!
//! Not here: reading the objects ([`super::cluster`]), and what follows ([`cordonhold_shared::certificates`]).

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use cordonhold_shared::Reading;
use cordonhold_shared::admission::trust::{Name, Validity, Write};
use cordonhold_shared::certificates::record::{self, Stored};
use cordonhold_shared::certificates::{Authority, Bundle, Id, Leaf, MANAGER, Seen, Trusted};
use jiff::Timestamp;
use rcgen::{KeyPair, PublicKeyData as _};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::parse_x509_certificate;

use super::cluster::Snapshot;
use crate::tls;
use crate::trust::{has_signed, validity};

/// A certificate of a CA.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) id: Id,
    pub(super) validity: Validity,
    pub(super) common_name: String,
    pub(super) pem: String,
    pub(super) der: CertificateDer<'static>,
}

/// What was read, and what the decision is to know of it.
pub(super) struct Facts {
    pub(super) seen: Seen,
    /// The CAs as the Secret has them, if they can be read.
    pub(super) stored: Vec<Stored>,
    /// Every CA that was found, in the Secret or in a `caBundle`.
    pub(super) found: BTreeMap<Id, Certificate>,
}

impl Facts {
    /// The CAs of the Secret, in the order of `stored`.
    pub(super) fn known(&self) -> &[Authority] {
        match &self.seen.authorities {
            Reading::Present(known) => known,
            Reading::Absent | Reading::Malformed(_) => &[],
        }
    }

    /// `names` are those that the serving certificate must have.
    pub(super) fn of(snapshot: &Snapshot, names: &[Name], now: Timestamp) -> Facts {
        let mut found = BTreeMap::new();
        let stored = record::read(
            snapshot
                .authorities
                .as_ref()
                .and_then(|secret| secret.get(record::KEY)),
        );
        let authorities = match &stored {
            Reading::Absent => Reading::Absent,
            Reading::Malformed(why) => Reading::Malformed(why.clone()),
            Reading::Present(stored) => known(stored, &mut found),
        };
        let mut bundles = Vec::new();
        for configuration in snapshot.configurations() {
            for webhook in &configuration.webhooks {
                bundles.push(Bundle {
                    webhook: configuration.label(&webhook.name),
                    trusted: trusted(webhook.bundle.as_deref(), &mut found),
                    is_ours: is_ours(&configuration.writes, &webhook.name),
                });
            }
        }
        let leaf = leaf(snapshot, names, &found, now);
        Facts {
            seen: Seen {
                authorities,
                leaf,
                bundles,
                of_cert_manager: snapshot.of_cert_manager(),
            },
            stored: stored.present().unwrap_or_default(),
            found,
        }
    }
}

/// The CAs of the Secret. Malformed if any of them cannot be used, because a part of them would be a different set.
fn known(stored: &[Stored], found: &mut BTreeMap<Id, Certificate>) -> Reading<Vec<Authority>> {
    let mut known = Vec::new();
    for (number, stored) in (1..).zip(stored) {
        let certificate =
            match certificates(stored.certificate.as_bytes()).map(|mut all| (all.len(), all.pop())) {
                Ok((1, Some(certificate))) => certificate,
                Ok((count, _)) => return Reading::Malformed(format!("CA {number} has {count} certificates")),
                Err(why) => return Reading::Malformed(format!("the certificate of CA {number}: {why}")),
            };
        if let Some(key) = &stored.key
            && !is_key_of(key, &certificate)
        {
            return Reading::Malformed(format!("the key of CA {number} is not that of its certificate"));
        }
        known.push(Authority {
            id: certificate.id.clone(),
            validity: certificate.validity,
            has_key: stored.key.is_some(),
            signed_until: stored.signed_until,
        });
        drop(found.insert(certificate.id.clone(), certificate));
    }
    Reading::Present(known)
}

fn is_key_of(key: &str, certificate: &Certificate) -> bool {
    let parsed = parse_x509_certificate(&certificate.der);
    match (KeyPair::from_pem(key), parsed) {
        (Ok(key), Ok((_, parsed))) => key.subject_public_key_info() == parsed.public_key().raw,
        (Err(_), _) | (_, Err(_)) => false,
    }
}

fn trusted(bundle: Option<&[u8]>, found: &mut BTreeMap<Id, Certificate>) -> Reading<Vec<Trusted>> {
    let Some(bundle) = bundle.filter(|bundle| !bundle.is_empty()) else {
        return Reading::Absent;
    };
    match certificates(bundle) {
        Ok(all) if all.is_empty() => Reading::Malformed("it has no certificate".to_owned()),
        Ok(all) => {
            let trusted = all.iter().map(|ca| Trusted {
                id: ca.id.clone(),
                validity: ca.validity,
            });
            let trusted = trusted.collect();
            found.extend(all.into_iter().map(|ca| (ca.id.clone(), ca)));
            Reading::Present(trusted)
        }
        Err(why) => Reading::Malformed(why),
    }
}

fn is_ours(writes: &[Write], webhook: &str) -> bool {
    let owners = writes
        .iter()
        .filter(|write| write.ca_of.iter().any(|owned| owned == webhook));
    owners.into_iter().any(|write| write.manager == MANAGER)
}

/// The certificate in the Secret that the webhook mounts.
fn leaf(
    snapshot: &Snapshot,
    names: &[Name],
    found: &BTreeMap<Id, Certificate>,
    now: Timestamp,
) -> Reading<Leaf> {
    let Some(secret) = &snapshot.served else {
        return Reading::Absent;
    };
    let Some(chain) = secret.get(tls::CERTIFICATE_KEY).filter(|chain| !chain.is_empty()) else {
        return Reading::Absent;
    };
    // Without its key it is not usable, and yet a replica may serve it.
    let key = secret.get(tls::PRIVATE_KEY_KEY).unwrap_or_default();
    let certificate = match tls::Certificate::from_pem(chain, key) {
        Ok(certificate) => certificate,
        Err(why) => return Reading::Malformed(why.to_string()),
    };
    let facts = certificate.facts();
    let at = now.clamp(facts.validity.from, facts.validity.to);
    let issuer = found.values().find(|ca| {
        // A CA that has ended signed it all the same.
        has_signed(
            &ca.der,
            certificate.chain(),
            at.clamp(ca.validity.from, ca.validity.to),
        ) == Some(true)
    });
    Reading::Present(Leaf {
        issuer: issuer.map(|ca| ca.id.clone()),
        validity: facts.validity,
        fits: facts.version == 3
            && facts.is_for_servers
            && names.iter().all(|name| facts.names.contains(name)),
        is_ours: secret.is_ours,
        of: secret.what.clone(),
    })
}

/// The certificates of some PEM. An error if any of them cannot be read.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<Certificate>, String> {
    let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let each = CertificateDer::pem_slice_iter(pem).map(|der| {
        let der = der.map_err(|error| error.to_string())?;
        let (_, parsed) = parse_x509_certificate(&der).map_err(|error| error.to_string())?;
        let common_name = parsed
            .subject()
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok());
        Ok(Certificate {
            id: id(&der),
            validity: validity(&parsed),
            common_name: common_name.unwrap_or_default().to_owned(),
            pem: pem::encode_config(&pem::Pem::new("CERTIFICATE", der.to_vec()), lines),
            der: der.clone(),
        })
    });
    each.collect()
}

fn id(der: &[u8]) -> Id {
    let digest = digest(&SHA256, der);
    let digits = digest.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    Id(digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect())
}
