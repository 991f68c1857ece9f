//! A certificate with its key, as the handshake takes it, and the slot that holds the one being served.
//!
//! Where certificates come from is not known here: whoever has a new one installs it.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::parse_x509_certificate;

use crate::Metrics;
use crate::readiness::Condition;

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

/// A certificate that can be served.
pub(crate) struct Certificate {
    key: Arc<CertifiedKey>,
    not_before: i64,
    /// Seconds since 1970 at which it ends.
    not_after: i64,
}

impl Certificate {
    /// A chain, the end's certificate first, and its key: PKCS#8, PKCS#1 or SEC1.
    pub(crate) fn from_pem(chain: &[u8], key: &[u8]) -> Result<Certificate, Unusable> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Unusable::Certificate(error.to_string()))?;
        let first = chain
            .first()
            .ok_or_else(|| Unusable::Certificate("it has none".to_owned()))?;
        let (_, parsed) =
            parse_x509_certificate(first).map_err(|error| Unusable::Certificate(error.to_string()))?;
        let validity = parsed.validity();
        let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| Unusable::Key(error.to_string()))?;
        let key = aws_lc_rs::default_provider()
            .key_provider
            .load_private_key(key)
            .map_err(|error| Unusable::Key(error.to_string()))?;
        let key = CertifiedKey::new(chain, key);
        key.keys_match().map_err(Unusable::Mismatch)?;
        Ok(Certificate {
            key: Arc::new(key),
            not_before,
            not_after,
        })
    }
}

/// The certificate of every handshake from now on. Readiness has a condition for it: it is there, and valid today.
pub(crate) struct Slot {
    current: ArcSwapOption<Certificate>,
    is_valid: Condition,
    metrics: Arc<Metrics>,
}

impl Slot {
    pub(crate) fn new(is_valid: Condition, metrics: Arc<Metrics>) -> Slot {
        Slot {
            current: ArcSwapOption::empty(),
            is_valid,
            metrics,
        }
    }

    pub(crate) fn install(&self, certificate: Certificate) {
        self.metrics.certificate_expires(certificate.not_after);
        self.current.store(Some(Arc::new(certificate)));
        self.check(Timestamp::now());
    }

    /// To be called every now and then, since a certificate ends without anybody touching it.
    pub(crate) fn check(&self, now: Timestamp) {
        let now = now.as_second();
        let current = self.current.load();
        self.is_valid.set(
            current
                .as_ref()
                .is_some_and(|it| it.not_before <= now && now < it.not_after),
        );
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
