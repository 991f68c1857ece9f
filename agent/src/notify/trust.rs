//! The CAs that sign the certificates of receivers: those of `--notify-ca-file`, else those of the system.
//!
//! No list of CAs is built in: it would grow old with the program. Where the image has none, a URL that needs TLS is refused at the start.
//! Not here: the API server's CA ([`cordonhold_rt::client`]).

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::NotifyConfig;
use super::mail::Roots;
use super::service::{Delivery, delivery};
use super::target::Target;

/// Why there are no CAs to trust.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum TrustError {
    #[error("failed to read {}: name a readable file with --notify-ca-file", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} has no certificate in PEM: let --notify-ca-file name one with the CAs", .path.display())]
    NotPem { path: PathBuf },
    #[error(
        "--notify-url needs TLS, and the system has no CA certificates: mount them at /etc/ssl/certs, set SSL_CERT_FILE, or name a file with --notify-ca-file"
    )]
    NoRoots,
}

/// The CAs, and a TLS client that trusts them. Without a CA, nothing that needs TLS is trusted.
pub(super) fn load(config: &NotifyConfig) -> Result<(Arc<ClientConfig>, Roots), TrustError> {
    let roots = match &config.ca_file {
        Some(path) => {
            let pem = std::fs::read(path).map_err(|source| TrustError::Read {
                path: path.clone(),
                source,
            })?;
            let found: Result<Vec<CertificateDer<'static>>, _> =
                CertificateDer::pem_slice_iter(&pem).collect();
            found
                .ok()
                .filter(|found| !found.is_empty())
                .ok_or_else(|| TrustError::NotPem { path: path.clone() })?
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    if roots.is_empty() && config.targets.iter().any(needs_tls) {
        return Err(TrustError::NoRoots);
    }
    let mut store = RootCertStore::empty();
    // A certificate that rustls cannot use is passed over: systems have some that are very old.
    let _ = store.add_parsable_certificates(roots.iter().cloned());
    let tls = ClientConfig::builder()
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok((Arc::new(tls), Arc::new(roots)))
}

fn needs_tls(target: &Target) -> bool {
    match delivery(target, "", Timestamp::UNIX_EPOCH) {
        Ok(Delivery::Http(requests)) => requests.iter().any(|request| request.url.starts_with("https:")),
        Ok(Delivery::Matrix(matrix)) => matrix.joined("").url.starts_with("https:"),
        Ok(Delivery::Mail(mail)) => mail.needs_tls(),
        // A target has been made once without a mistake.
        Err(_) => false,
    }
}
