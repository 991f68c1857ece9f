//! The serving certificate: loaded, and loaded again when its files change.
//!
//! Files are compared by content every few seconds: the kubelet swaps a symlink above them, which file watches miss.
//! A pair that cannot be used is reported, and the last good one stays.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};
use x509_parser::parse_x509_certificate;

use crate::Metrics;

/// The kubelet itself takes up to a minute to bring a changed Secret.
const POLL_EVERY: Duration = Duration::from_secs(5);

/// Why a pair cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    #[error("failed to read the {what} {}: {source}: name a readable PEM file with {flag}", .path.display())]
    Read {
        what: &'static str,
        flag: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the certificate file {} has no readable PEM certificate ({why}): name a PEM file with --tls-cert-file", .path.display())]
    Certificate { path: PathBuf, why: String },
    #[error("the key file {} has no readable PEM private key ({why}): name a PEM file with --tls-private-key-file", .path.display())]
    Key { path: PathBuf, why: String },
    #[error("the certificate {} and the key {} do not belong together ({source}): issue both anew, or name the files of one pair", .cert.display(), .key.display())]
    Mismatch {
        cert: PathBuf,
        key: PathBuf,
        source: rustls::Error,
    },
}

/// Why there is no TLS server.
#[derive(Debug, thiserror::Error)]
#[error("failed to set up TLS")]
pub struct ConfigError(#[source] rustls::Error);

/// Where the certificate and its key are.
#[derive(Clone, Debug)]
pub struct Pair {
    cert: PathBuf,
    key: PathBuf,
}

/// A pair as read from its files.
#[derive(PartialEq, Eq)]
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
}

/// A pair that can be served.
struct Loaded {
    key: Arc<CertifiedKey>,
    /// Seconds since 1970 at which the certificate ends.
    not_after: i64,
}

/// The certificate that is served now.
pub(crate) struct ReloadingCertificate {
    pair: Pair,
    contents: Contents,
    current: Arc<Current>,
    metrics: Arc<Metrics>,
}

struct Current(ArcSwap<CertifiedKey>);

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Pair {
    pub fn new(cert: &Path, key: &Path) -> Pair {
        Pair {
            cert: cert.to_owned(),
            key: key.to_owned(),
        }
    }

    fn read(&self) -> Result<Contents, PairError> {
        let read = |what, flag, path: &Path| {
            std::fs::read(path).map_err(|source| PairError::Read {
                what,
                flag,
                path: path.to_owned(),
                source,
            })
        };
        Ok(Contents {
            cert: read("certificate", "--tls-cert-file", &self.cert)?,
            key: read("private key", "--tls-private-key-file", &self.key)?,
        })
    }

    fn load(&self, contents: &Contents) -> Result<Loaded, PairError> {
        let bad_cert = |why: String| PairError::Certificate {
            path: self.cert.clone(),
            why,
        };
        let chain = CertificateDer::pem_slice_iter(&contents.cert)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| bad_cert(error.to_string()))?;
        let first = chain
            .first()
            .ok_or_else(|| bad_cert("the file has none".to_owned()))?;
        let (_, parsed) = parse_x509_certificate(first).map_err(|error| bad_cert(error.to_string()))?;
        let not_after = parsed.validity().not_after.timestamp();
        let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|error| PairError::Key {
            path: self.key.clone(),
            why: error.to_string(),
        })?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|source| {
            PairError::Mismatch {
                cert: self.cert.clone(),
                key: self.key.clone(),
                source,
            }
        })?;
        Ok(Loaded {
            key: Arc::new(key),
            not_after,
        })
    }
}

impl ReloadingCertificate {
    /// The first pair must be good.
    pub(crate) fn load(pair: Pair, metrics: Arc<Metrics>) -> Result<ReloadingCertificate, PairError> {
        let contents = pair.read()?;
        let loaded = pair.load(&contents)?;
        metrics.certificate_expires(loaded.not_after);
        let current = Arc::new(Current(ArcSwap::new(loaded.key)));
        Ok(ReloadingCertificate {
            pair,
            contents,
            current,
            metrics,
        })
    }

    /// Looks at the files for ever.
    pub(crate) async fn poll(mut self) {
        let mut last_complaint = String::new();
        loop {
            tokio::time::sleep(POLL_EVERY).await;
            match self.reload() {
                Ok(false) => {}
                Ok(true) => {
                    last_complaint.clear();
                    info!(certificate = %self.pair.cert.display(), "serving a new certificate");
                }
                Err(error) => {
                    self.metrics.certificate_reload_failed();
                    let complaint = error.to_string();
                    if complaint != last_complaint {
                        warn!(error = %complaint, "kept the last good certificate");
                        last_complaint = complaint;
                    }
                }
            }
        }
    }

    /// Whether another pair is served now.
    fn reload(&mut self) -> Result<bool, PairError> {
        let contents = self.pair.read()?;
        if contents == self.contents {
            return Ok(false);
        }
        let loaded = self.pair.load(&contents)?;
        self.contents = contents;
        self.current.0.store(loaded.key);
        self.metrics.certificate_expires(loaded.not_after);
        Ok(true)
    }
}

/// A TLS server for whichever certificate is current.
pub(crate) fn acceptor(certificate: &ReloadingCertificate) -> Result<TlsAcceptor, ConfigError> {
    let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(&certificate.current) as _;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(ConfigError)?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
