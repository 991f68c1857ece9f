//! TLS of the admission port: which certificate, which versions, which clients.
//!
//! The certificate with its key and the client CAs come from files, which are read again while the server runs. If new contents cannot
//! be used, that is reported and the last good ones stay in use.
//! Another source of certificates could install its own in the same [`Slot`].
//! Not here: whether the API server trusts the certificate ([`crate::trust`]).

mod certificate;
mod clients;
mod files;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::Metrics;
use crate::config::{TlsConfig, TlsVersion};
use crate::metrics::{Reload, ReloadOutcome};
use crate::trust::Trust;
use certificate::Unusable;
pub(crate) use certificate::{Certificate, Slot};
use clients::ClientCheck;
use files::{Files, NamedFile, ReadError};

/// The type of a Secret with a certificate and its key, and the keys of these in it (k8s.io/api: core/v1/types.go, `SecretTypeTLS`).
pub(crate) const SECRET_TYPE: &str = "kubernetes.io/tls";
pub(crate) const CERTIFICATE_KEY: &str = "tls.crt";
pub(crate) const PRIVATE_KEY_KEY: &str = "tls.key";

/// How often the files are read. That is often enough: the kubelet itself takes up to a minute to bring a changed Secret.
const POLL_EVERY: Duration = Duration::from_secs(2);

/// Why TLS cannot be set up, or new files cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum TlsError {
    #[error(transparent)]
    Read(#[from] ReadError),
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
    #[error("the client CA file {} has no usable PEM certificate ({why}): name a PEM file of CAs with --client-ca-file", .path.display())]
    ClientCa { path: PathBuf, why: String },
    #[error("failed to set up TLS")]
    Config(#[source] rustls::Error),
}

/// The TLS server, and the files behind it.
pub(crate) struct Tls {
    pair: Files<2>,
    trust: Arc<Trust>,
    clients: Option<(Files<1>, Arc<ClientCheck>)>,
    acceptor: TlsAcceptor,
    metrics: Arc<Metrics>,
}

impl Tls {
    /// Loads the files. Fails if they cannot be used; whether the API server trusts the certificate is checked by `trust`.
    pub(crate) async fn load(
        config: &TlsConfig,
        trust: Arc<Trust>,
        metrics: Arc<Metrics>,
    ) -> Result<Tls, TlsError> {
        let named = |what, flag, path: &PathBuf| NamedFile {
            what,
            flag,
            path: path.clone(),
        };
        let (pair, contents) = Files::open([
            named("certificate", "--tls-cert-file", &config.cert_file),
            named("private key", "--tls-private-key-file", &config.key_file),
        ])
        .await?;
        trust.slot().install(certificate(&pair, &contents)?);
        trust.check(Timestamp::now());
        let clients = match &config.clients {
            None => None,
            Some(clients) => {
                let file = named("client CA", "--client-ca-file", &clients.ca_file);
                let (files, [ca_pem]) = Files::open([file]).await?;
                let check = ClientCheck::new(&ca_pem, &clients.allowed_names)
                    .map_err(|why| client_ca(&files, why))?;
                Some((files, Arc::new(check)))
            }
        };
        let check = clients.as_ref().map(|(_, check)| Arc::clone(check));
        let resolver = Arc::clone(trust.slot()) as _;
        let server = server_config(resolver, check, config.min_version).map_err(TlsError::Config)?;
        Ok(Tls {
            pair,
            trust,
            clients,
            acceptor: TlsAcceptor::from(Arc::new(server)),
            metrics,
        })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// Reads the files again for ever, and lets `trust` check the certificate each time.
    pub(crate) async fn poll(mut self) {
        loop {
            tokio::time::sleep(POLL_EVERY).await;
            self.reload_pair().await;
            self.reload_client_ca().await;
            self.trust.check(Timestamp::now());
        }
    }

    async fn reload_pair(&mut self) {
        let Some(contents) = self.pair.poll().await else {
            return;
        };
        let loaded = contents
            .map_err(TlsError::from)
            .and_then(|contents| certificate(&self.pair, &contents));
        match loaded {
            Ok(certificate) => {
                self.trust.slot().install(certificate);
                self.trust.check(Timestamp::now());
                self.metrics.reloaded(Reload::Certificate, ReloadOutcome::Loaded);
                info!(certificate = %self.pair.path(0).display(), "serving a new certificate");
            }
            Err(error) => {
                self.metrics.reloaded(Reload::Certificate, ReloadOutcome::Refused);
                warn!(%error, "kept the last good certificate");
            }
        }
    }

    async fn reload_client_ca(&mut self) {
        let Some((files, check)) = &mut self.clients else {
            return;
        };
        let Some(contents) = files.poll().await else {
            return;
        };
        let loaded = contents
            .map_err(TlsError::from)
            .and_then(|[ca_pem]| check.install(&ca_pem).map_err(|why| client_ca(files, why)));
        match loaded {
            Ok(()) => {
                self.metrics.reloaded(Reload::ClientCa, ReloadOutcome::Loaded);
                info!(client_ca = %files.path(0).display(), "checking clients against new CAs");
            }
            Err(error) => {
                self.metrics.reloaded(Reload::ClientCa, ReloadOutcome::Refused);
                warn!(%error, "kept the last good client CAs");
            }
        }
    }
}

/// The certificate from the contents of the files; an error names the files.
fn certificate(files: &Files<2>, [chain, key]: &[Vec<u8>; 2]) -> Result<Certificate, TlsError> {
    let (cert_path, key_path) = (files.path(0).to_owned(), files.path(1).to_owned());
    Certificate::from_pem(chain, key).map_err(|unusable| match unusable {
        Unusable::Certificate(why) => TlsError::Certificate { path: cert_path, why },
        Unusable::Key(why) => TlsError::Key { path: key_path, why },
        Unusable::Mismatch(source) => TlsError::Mismatch {
            cert: cert_path,
            key: key_path,
            source,
        },
    })
}

fn client_ca(files: &Files<1>, why: String) -> TlsError {
    TlsError::ClientCa {
        path: files.path(0).to_owned(),
        why,
    }
}

fn server_config(
    resolver: Arc<dyn ResolvesServerCert>,
    clients: Option<Arc<ClientCheck>>,
    min_version: TlsVersion,
) -> Result<ServerConfig, rustls::Error> {
    let versions: &[_] = match min_version {
        TlsVersion::Tls12 => &[&TLS13, &TLS12],
        TlsVersion::Tls13 => &[&TLS13],
    };
    let verifier: Arc<dyn ClientCertVerifier> = match clients {
        Some(check) => check,
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(resolver);
    // No resumption: the API server's client keeps no sessions, and every handshake then shows the current certificate
    // and is checked against the current CAs.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    // A client that offers only HTTP/2 is refused in the handshake.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
