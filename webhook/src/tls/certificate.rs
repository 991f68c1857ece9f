//! A certificate with its key, ready for handshakes, and the slot that holds the one being served.
//!
//! Not here: where certificates come from ([`super::Tls`]), and whether the API server trusts them ([`crate::trust`]).

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use cordonhold_shared::admission::trust;
use rustls::InconsistentKeys;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::parse_x509_certificate;

use crate::Metrics;
use crate::trust::certificate_facts;

/// Why a pair cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("{0}")]
    Certificate(String),
    #[error("{0}")]
    Key(String),
    #[error("{0}")]
    Mismatch(rustls::Error),
}

/// A certificate with its key that can be served, though the API server may not trust it.
pub(crate) struct Certificate {
    key: Arc<CertifiedKey>,
    facts: trust::Certificate,
}

impl Certificate {
    /// Reads a chain in PEM, the serving certificate first, and its key in PEM: PKCS#8, PKCS#1 or SEC1.
    pub(crate) fn from_pem(chain: &[u8], key: &[u8]) -> Result<Certificate, Unusable> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Unusable::Certificate(error.to_string()))?;
        let first = chain
            .first()
            .ok_or_else(|| Unusable::Certificate("it has none".to_owned()))?;
        let (_, parsed) =
            parse_x509_certificate(first).map_err(|error| Unusable::Certificate(error.to_string()))?;
        let facts = certificate_facts(&parsed);
        let of_certificate = parsed.public_key().raw.to_vec();
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| Unusable::Key(error.to_string()))?;
        let key = aws_lc_rs::default_provider()
            .key_provider
            .load_private_key(key)
            .map_err(|error| Unusable::Key(error.to_string()))?;
        // rustls' own comparison is not used, because it refuses a certificate of version 1, and the error would blame the key.
        if key.public_key().is_none_or(|key| key.as_ref() != of_certificate) {
            return Err(Unusable::Mismatch(InconsistentKeys::KeyMismatch.into()));
        }
        Ok(Certificate {
            key: Arc::new(CertifiedKey::new(chain, key)),
            facts,
        })
    }

    pub(crate) fn facts(&self) -> &trust::Certificate {
        &self.facts
    }

    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }
}

/// Holds the certificate that new handshakes use.
pub(crate) struct Slot {
    current: ArcSwapOption<Certificate>,
    metrics: Arc<Metrics>,
}

impl Slot {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Slot {
        Slot {
            current: ArcSwapOption::empty(),
            metrics,
        }
    }

    pub(crate) fn install(&self, certificate: Certificate) {
        self.metrics
            .certificate_expires(certificate.facts.validity.to.as_second());
        self.current.store(Some(Arc::new(certificate)));
    }

    pub(crate) fn served(&self) -> Option<Arc<Certificate>> {
        self.current.load_full()
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

impl ResolvesServerCert for Slot {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current
            .load()
            .as_ref()
            .map(|certificate| Arc::clone(&certificate.key))
    }
}
