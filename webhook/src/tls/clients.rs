//! Checks client certificates, if `--client-ca-file` is given.
//!
//! The API server presents one only if its `AdmissionConfiguration` names one, which managed clusters do not offer.
//! Revocation is not checked, so use a CA that signs the API server's client certificate and nothing else.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// Verifies a client certificate against the current CAs, then by its names.
pub(crate) struct ClientCheck {
    verifier: ArcSwap<Arc<dyn ClientCertVerifier>>,
    /// The names of which a certificate must have one; if empty, any name will do.
    names: Vec<String>,
}

impl ClientCheck {
    pub(crate) fn new(ca_pem: &[u8], names: &[String]) -> Result<ClientCheck, String> {
        Ok(ClientCheck {
            verifier: ArcSwap::from_pointee(verifier(ca_pem)?),
            names: names.to_vec(),
        })
    }

    pub(crate) fn install(&self, ca_pem: &[u8]) -> Result<(), String> {
        self.verifier.store(Arc::new(verifier(ca_pem)?));
        Ok(())
    }
}

fn verifier(ca_pem: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Err("it has none".to_owned());
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| error.to_string())
}

/// Whether the certificate has one of the names, as a common name or as an alternative name (DNS, URI or e-mail).
fn bears_one_of(certificate: &CertificateDer<'_>, names: &[String]) -> bool {
    let Ok((_, certificate)) = parse_x509_certificate(certificate) else {
        return false;
    };
    let is_allowed = |name: &str| names.iter().any(|allowed| allowed == name);
    let common = certificate
        .subject()
        .iter_common_name()
        .any(|name| name.as_str().is_ok_and(is_allowed));
    let alternative = certificate.subject_alternative_name().ok().flatten();
    common
        || alternative.is_some_and(|extension| {
            extension.value.general_names.iter().any(|name| match name {
                GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => {
                    is_allowed(name)
                }
                _ => false,
            })
        })
}

impl fmt::Debug for ClientCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCheck")
    }
}

impl ClientCertVerifier for ClientCheck {
    /// Tells clients no names of CAs: a client with one certificate sends that one anyway, and the CAs may change while the server runs.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .verifier
            .load()
            .verify_client_cert(end_entity, intermediates, now)?;
        if self.names.is_empty() || bears_one_of(end_entity, &self.names) {
            return Ok(verified);
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.load().verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.load().verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.load().supported_verify_schemes()
    }
}
