//! The content of the Secret of the CAs: one JSON document, oldest CA first.
//!
//! One document, so that the CAs, their keys and what is noted of them are written together or not at all.
//! Not here: reading the certificates in it, and the Secret itself (the webhook's `certs`).

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Reading;

/// The key of the document in the Secret.
pub const KEY: &str = "authorities.json";

/// A CA as the Secret keeps it.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stored {
    /// The certificate in PEM.
    pub certificate: String,
    /// Its private key in PEM, PKCS#8. `None`: it is only trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// When the last certificate that it has signed ends; `None`: it has signed none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_until: Option<Timestamp>,
}

/// Leaves the key out.
impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored")
            .field("certificate", &self.certificate)
            .field("has_key", &self.key.is_some())
            .field("signed_until", &self.signed_until)
            .finish()
    }
}

/// Reads the document. Absent: there is none, or it is empty.
pub fn read(document: Option<&[u8]>) -> Reading<Vec<Stored>> {
    let Some(document) = document.filter(|document| !document.is_empty()) else {
        return Reading::Absent;
    };
    match serde_json::from_slice(document) {
        Ok(stored) => Reading::Present(stored),
        // The text of serde's error could repeat a key.
        Err(error) => Reading::Malformed(format!(
            "{KEY} is not our JSON, line {} column {}",
            error.line(),
            error.column()
        )),
    }
}

/// The document with these CAs. An error would be a defect: texts and times can always be written.
pub fn render(stored: &[Stored]) -> Result<String, serde_json::Error> {
    serde_json::to_string(stored)
}
