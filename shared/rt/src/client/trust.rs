//! Error messages that say how to fix a certificate, key or login that the client cannot use. Those of rustls and kube only name types of
//! their own.
//!
//! Not here: the webhook's serving certificate (`shared`'s `admission::trust`).

use std::error::Error as StdError;
use std::io;
use std::path::Path;

use kube::client::{AuthError, RustlsTlsError};
use rustls::{CertificateError, Error as TlsError};

/// The message about a certificate of X.509 version 1. OpenSSL still issues and accepts these, so people have them.
const VERSION_1: &str = "is X.509 version 1, which TLS libraries no longer take: issue it anew as version 3 (`openssl x509 -req` does so with any -extfile; microk8s with `microk8s refresh-certs`)";

/// Why no client could be built, and how to fix it.
pub(super) fn unusable(error: &kube::Error, has_ca: bool) -> String {
    match error {
        kube::Error::RustlsTls(error) => unusable_tls(error, has_ca),
        kube::Error::Auth(error) => unusable_login(error),
        error => format!(
            "{}: check its cluster and user with `kubectl config view`",
            crate::exit::one_line(error)
        ),
    }
}

fn unusable_tls(error: &RustlsTlsError, has_ca: bool) -> String {
    match error {
        RustlsTlsError::InvalidPrivateKey(TlsError::InvalidCertificate(why)) if is_version_1(why) => {
            format!("the client certificate {VERSION_1}, or give the user a token")
        }
        RustlsTlsError::InvalidPrivateKey(TlsError::InvalidCertificate(why)) => format!(
            "the client certificate cannot be read ({why}): check client-certificate-data with `openssl x509 -text`"
        ),
        RustlsTlsError::InvalidPrivateKey(TlsError::InconsistentKeys(_)) => {
            "the client certificate and the client key do not belong together: take client-certificate-data and client-key-data from one pair".to_owned()
        }
        RustlsTlsError::InvalidPrivateKey(why) => {
            format!("the client key cannot be used ({why}): name an RSA, ECDSA or Ed25519 key with client-key-data")
        }
        RustlsTlsError::MissingCertificate => {
            "the client certificate is missing or not PEM: put one into client-certificate-data".to_owned()
        }
        RustlsTlsError::MissingPrivateKey
        | RustlsTlsError::UnknownPrivateKeyFormat
        | RustlsTlsError::InvalidIdentityPem(_) => {
            "the client key is missing, encrypted or not PEM: put a key without a password into client-key-data (`openssl pkey` writes one)".to_owned()
        }
        RustlsTlsError::AddRootCertificate(why) if has_ca => format!(
            "the cluster's CA cannot be used ({why}): check certificate-authority-data with `openssl x509 -text`"
        ),
        RustlsTlsError::AddRootCertificate(why) => format!(
            "the kubeconfig names no CA, and this system has none that can be used ({why}): put the cluster's CA into certificate-authority-data"
        ),
        RustlsTlsError::InvalidServerName(why) => {
            format!("tls-server-name is not a host name ({why}): write one from the API server's certificate")
        }
        why @ RustlsTlsError::NoValidNativeRootCA(_) => {
            format!("{why}: check its certificates and keys")
        }
    }
}

fn unusable_login(error: &AuthError) -> String {
    let why = crate::exit::one_line(error);
    match error {
        AuthError::AuthExecStart(_) | AuthError::AuthExecRun { .. } | AuthError::AuthExec(_) => format!(
            "the exec command of the kubeconfig's user returned no credentials ({why}): run that command by hand to see why, or name a kubeconfig with a token"
        ),
        AuthError::ReadTokenFile(..) => format!("{why}: name a readable file with tokenFile, or write token"),
        _ => {
            format!("the kubeconfig's user cannot log in ({why}): name a user with a token or a certificate")
        }
    }
}

/// What is wrong with a server's certificate, and how to fix it; `None` if the error has another cause. `ca_file` has the CA that is trusted,
/// if that is a file.
pub(super) fn mistrust(error: &(dyn StdError + 'static), ca_file: Option<&Path>) -> Option<String> {
    let TlsError::InvalidCertificate(why) = tls_error(error)? else {
        return None;
    };
    let issuer = ca_file.map_or_else(
        || "name the cluster's CA with certificate-authority-data".to_owned(),
        |file| {
            format!(
                "write the cluster's CA to {}, which is read again once a minute",
                file.display()
            )
        },
    );
    let (what, fix) = match why {
        why if is_version_1(why) => return Some(format!("its certificate {VERSION_1}")),
        // `BadSignature`: it was signed by another CA with the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            ("is not signed by the CA that is trusted here", issuer.as_str())
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            "is not for that name",
            "name the server as its certificate does, or give that name with tls-server-name",
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("has ended", "renew it, or set this machine's clock")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("is not valid yet", "set this machine's clock")
        }
        _ => return None,
    };
    Some(format!("its certificate {what}: {fix}"))
}

/// Whether the certificate is X.509 version 1. Compared as text, because the error's type is webpki's, which is not a dependency of ours.
fn is_version_1(why: &CertificateError) -> bool {
    matches!(why, CertificateError::Other(other) if other.0.to_string() == "UnsupportedCertVersion")
}

/// The TLS error in the chain of causes. An I/O error does not return the error inside it as its source, so that one is asked for too.
fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a TlsError> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(tls) = error.downcast_ref::<TlsError>() {
            return Some(tls);
        }
        let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        current = match carried {
            Some(carried) => Some(carried),
            None => error.source(),
        };
    }
    None
}
