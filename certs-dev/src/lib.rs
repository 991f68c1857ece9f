//! Makes a development CA and a serving certificate for the webhook, for tests, demos and a first try on a cluster.
//!
//! Not for production: the CA's key is thrown away, so no certificate can be renewed. Use a certificate manager there.
//! Not here: the command line and the files, see `main.rs`; the text of the `kubectl` commands, see [`cordonhold_shared::admission::trust`].

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cordonhold_shared::admission::trust;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

/// How long CA and certificate are valid: the longest that scanners accept for a modern configuration (Mozilla's guideline: 90 days).
const VALIDITY: Duration = Duration::from_hours(90 * 24);
/// How long before now the certificates begin, so that machines whose clock is behind accept them at once, also by the hour that a
/// wrong time zone makes.
const BACKDATED: Duration = Duration::from_hours(2);

/// A CA certificate, and a serving certificate with its key, all PEM.
#[derive(Clone)]
pub struct Issued {
    pub ca_pem: String,
    pub cert_pem: String,
    pub key_pem: String,
}

impl Issued {
    /// The value of `clientConfig.caBundle` in a webhook configuration: the CA's PEM in base64.
    pub fn ca_bundle(&self) -> String {
        ca_bundle(&self.ca_pem)
    }
}

/// The value of `clientConfig.caBundle` for a CA: its PEM in base64.
pub fn ca_bundle(ca_pem: &str) -> String {
    base64(ca_pem.as_bytes())
}

/// A command for a POSIX shell that creates or updates the Secret that the Deployment mounts, from the certificate and key in `directory`.
pub fn secret_command(directory: &Path) -> String {
    let file = |name| quoted(&directory.join(name).to_string_lossy());
    trust::secret_command("cordonhold", &file("tls.crt"), &file("tls.key"))
}

/// A command for a POSIX shell that writes the CA into every webhook of the configuration.
pub fn ca_command(ca_pem: &str) -> String {
    trust::ca_command("cordonhold", &ca_bundle(ca_pem))
}

/// Quotes a text, if it needs it, so that a POSIX shell reads it as one word.
fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:@%".contains(&byte);
    if text.bytes().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Why no certificate could be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a certificate needs at least one DNS name or IP address")]
    NoName,
    #[error("{name:?} is neither a DNS name nor an IP address: letters, digits, '-' and '.' make a DNS name")]
    BadName { name: String },
    #[error("failed to make a key for the {what}")]
    Key {
        what: &'static str,
        source: rcgen::Error,
    },
    #[error("failed to sign the {what}")]
    Sign {
        what: &'static str,
        source: rcgen::Error,
    },
}

/// Makes a new CA, and a serving certificate for these DNS names and IP addresses that the CA signs.
///
/// An error means that a name cannot be in a certificate, or that the crypto library failed.
pub fn issue(names: &[String]) -> Result<Issued, Error> {
    if names.is_empty() {
        return Err(Error::NoName);
    }
    let alternative_names = names
        .iter()
        .map(|name| parse_name(name))
        .collect::<Result<Vec<_>, _>>()?;

    let what = "CA";
    let mut params = with_validity(CertificateParams::default());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
        .distinguished_name
        .push(DnType::CommonName, "Cordonhold development CA");
    let key = KeyPair::generate().map_err(|source| Error::Key { what, source })?;
    let ca = CertifiedIssuer::self_signed(params, key).map_err(|source| Error::Sign { what, source })?;

    let what = "serving certificate";
    let mut params = with_validity(CertificateParams::default());
    params.subject_alt_names = alternative_names;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
        .distinguished_name
        .push(DnType::CommonName, "cordonhold-webhook");
    let key = KeyPair::generate().map_err(|source| Error::Key { what, source })?;
    let cert = params
        .signed_by(&key, &ca)
        .map_err(|source| Error::Sign { what, source })?;

    Ok(Issued {
        ca_pem: ca.pem(),
        cert_pem: cert.pem(),
        key_pem: key.serialize_pem(),
    })
}

fn parse_name(name: &str) -> Result<SanType, Error> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let bad = || Error::BadName {
        name: name.to_owned(),
    };
    let is_dns = name.split('.').all(|part| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'*')
    });
    if !is_dns {
        return Err(bad());
    }
    Ia5String::try_from(name).map(SanType::DnsName).map_err(|_| bad())
}

fn with_validity(mut params: CertificateParams) -> CertificateParams {
    // With a clock before 1970 the certificate is never accepted, which is no reason to fail here.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(BACKDATED);
    params.not_after = epoch + now.saturating_sub(BACKDATED) + VALIDITY;
    params
}

/// Base64 as in RFC 4648, section 4. It is the only encoding needed here, and not worth a dependency.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let sextet = (bits >> (18 - 6 * place)) & 0x3f;
            let letter = if place <= chunk.len() {
                ALPHABET[sextet as usize]
            } else {
                b'='
            };
            text.push(char::from(letter));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn base64_pads_as_the_rfc_says() {
        // RFC 4648, section 10.
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        for (path, word) in [
            ("target/certs-dev", "target/certs-dev"),
            ("with space", "'with space'"),
            ("it's $HOME", r"'it'\''s $HOME'"),
        ] {
            assert_eq!(quoted(path), word);
            let shell = Command::new("sh")
                .arg("-c")
                .arg(format!("printf %s {word}"))
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(shell.stdout).unwrap(), path);
        }
    }

    #[test]
    fn found_e5_the_command_for_the_secret_renews_it_too() {
        let command = secret_command(Path::new("/a b"));
        assert!(
            command.contains(" --cert='/a b/tls.crt' --key='/a b/tls.key' "),
            "{command}"
        );
        // `create` alone fails where the Secret exists.
        assert!(
            command.ends_with(" --dry-run=client -o yaml | kubectl apply -f -"),
            "{command}"
        );
    }

    #[test]
    fn names_are_addresses_or_dns_names() {
        assert!(matches!(parse_name("127.0.0.1"), Ok(SanType::IpAddress(_))));
        assert!(matches!(parse_name("::1"), Ok(SanType::IpAddress(_))));
        assert!(matches!(
            parse_name("webhook.cordonhold.svc"),
            Ok(SanType::DnsName(_))
        ));
        for bad in ["", "a..b", "with space", "https://host", "größe"] {
            assert!(matches!(parse_name(bad), Err(Error::BadName { .. })), "{bad:?}");
        }
        assert!(matches!(issue(&[]), Err(Error::NoName)));
    }

    #[test]
    fn a_pair_is_issued() {
        let issued = issue(&["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        assert!(issued.ca_pem.starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(issued.cert_pem.starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(issued.key_pem.starts_with("-----BEGIN PRIVATE KEY-----"));
        assert_ne!(issued.ca_pem, issued.cert_pem);
    }
}
