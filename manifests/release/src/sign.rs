//! The signature of a release: Ed25519 over the list of checksums, which OpenSSL verifies and which is the same each time.
//!
//! Not here: making keys. `openssl genpkey -algorithm ed25519` does.

use std::path::{Path, PathBuf};

use aws_lc_rs::signature::Ed25519KeyPair;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;

/// A private key that signs.
#[derive(Debug)]
pub struct Key(Ed25519KeyPair);

/// Why a key cannot be used. No text repeats a part of the key.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum KeyError {
    #[error("failed to read the key {}: {source}: name a readable file with --key", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error(
        "{} is no private key that can be used here ({problem}): make one with `openssl genpkey -algorithm ed25519 -out ../release.pem`, outside of the clone",
        .path.display()
    )]
    NoKey { path: PathBuf, problem: &'static str },
}

/// How files begin that hold a key, but not one of PKCS #8 without a password, and what they hold.
const OTHERS: [(&str, &str); 5] = [
    ("BEGIN ENCRYPTED PRIVATE KEY", "it has a password"),
    ("BEGIN OPENSSH PRIVATE KEY", "it is one of OpenSSH"),
    ("BEGIN EC PRIVATE KEY", "it is one for ECDSA, and not in PKCS #8"),
    ("BEGIN RSA PRIVATE KEY", "it is one for RSA"),
    ("BEGIN PUBLIC KEY", "it is a public one"),
];

impl Key {
    /// Reads a key from a file in PEM.
    pub fn read(path: &Path) -> Result<Key, KeyError> {
        let bytes = std::fs::read(path).map_err(|source| KeyError::Read {
            path: path.to_owned(),
            source,
        })?;
        parse(&bytes).map_err(|problem| KeyError::NoKey {
            path: path.to_owned(),
            problem,
        })
    }

    /// The signature of these bytes: 64 bytes.
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.0.sign(bytes).as_ref().to_vec()
    }
}

fn parse(bytes: &[u8]) -> Result<Key, &'static str> {
    let text = String::from_utf8_lossy(bytes);
    let der = PrivatePkcs8KeyDer::from_pem_slice(bytes).map_err(|_| {
        let other = OTHERS.iter().find(|(begin, _)| text.contains(begin));
        other.map_or("it has no private key in PEM", |(_, what)| what)
    })?;
    // OpenSSL writes keys without their public part, which `from_pkcs8` alone would ask for.
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der())
        .map(Key)
        .map_err(|_| "it is one for another algorithm than Ed25519")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Runs OpenSSL, as a person would. Gives whether it succeeded.
    fn openssl(words: &[&str], directory: &Path) -> bool {
        let output = Command::new("openssl")
            .args(words)
            .current_dir(directory)
            .output();
        output.expect("openssl can be run").status.success()
    }

    #[test]
    fn openssl_verifies_what_a_key_of_its_own_signs() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        assert!(openssl(
            &["genpkey", "-algorithm", "ed25519", "-out", "key.pem"],
            place
        ));
        assert!(openssl(
            &["pkey", "-in", "key.pem", "-pubout", "-out", "pub.pem"],
            place
        ));
        let key = Key::read(&place.join("key.pem")).unwrap();
        let signature = key.sign(b"list");
        assert_eq!(signature, key.sign(b"list"));
        std::fs::write(place.join("list"), b"list").unwrap();
        std::fs::write(place.join("list.sig"), signature).unwrap();
        let verify = [
            "pkeyutl", "-verify", "-pubin", "-inkey", "pub.pem", "-rawin", "-in", "list", "-sigfile",
            "list.sig",
        ];
        assert!(openssl(&verify, place));
        std::fs::write(place.join("list"), b"lost").unwrap();
        assert!(!openssl(&verify, place));
    }

    #[test]
    fn a_key_that_is_none_is_refused_in_one_line_with_the_fix() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        let made = [
            (
                vec!["genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:x"],
                "it has a password",
            ),
            (
                vec![
                    "genpkey",
                    "-algorithm",
                    "EC",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                ],
                "another algorithm than Ed25519",
            ),
            (vec!["genrsa", "-traditional"], "it is one for RSA"),
        ];
        let path = place.join("key.pem");
        let refused = |problem: &str| {
            let line = Key::read(&path).unwrap_err().to_string();
            assert!(
                line.contains(problem) && line.contains("openssl genpkey -algorithm ed25519"),
                "{line}"
            );
            assert_eq!(line.lines().count(), 1);
        };
        for (mut words, problem) in made {
            words.extend(["-out", "key.pem"]);
            assert!(openssl(&words, place), "{words:?}");
            refused(problem);
        }
        for (text, problem) in [
            ("", "it has no private key in PEM"),
            ("cosign", "it has no private key in PEM"),
            (
                "-----BEGIN OPENSSH PRIVATE KEY-----\nAA==\n-----END OPENSSH PRIVATE KEY-----\n",
                "one of OpenSSH",
            ),
            (
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                "another algorithm",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            refused(problem);
        }
        let line = Key::read(&place.join("absent")).unwrap_err().to_string();
        assert!(line.contains("absent") && line.contains("--key"), "{line}");
    }
}
