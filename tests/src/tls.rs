//! TLS on loopback: for the servers of the harness itself, and for its clients of the webhook.
//!
//! Not here: what the servers serve, see [`crate::foreign_webhook`] and [`crate::faults`].

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use cordonhold_certs_dev::Issued;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Longest handshake. A client on this machine takes milliseconds.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after a connection that could not be accepted.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What makes handshakes as 127.0.0.1, and the certificate for it, of a CA of its own.
pub(crate) fn acceptor() -> Result<(TlsAcceptor, Issued)> {
    let issued = cordonhold_certs_dev::issue(&["127.0.0.1".to_owned()])
        .context("failed to issue a certificate for 127.0.0.1")?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(issued.cert_pem.as_bytes())
        .collect::<Result<_, _>>()
        .context("failed to read an issued certificate")?;
    let key =
        PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).context("failed to read an issued key")?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .context("failed to set up TLS")?;
    Ok((TlsAcceptor::from(Arc::new(config)), issued))
}

/// What makes handshakes with a server whose certificate is of this CA.
pub(crate) fn connector(ca_pem: &str) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes()).context("failed to read a CA")?;
    roots.add(ca).context("failed to trust a CA")?;
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .context("failed to set up TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
