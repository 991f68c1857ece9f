//! The beginning of a review, before its objects: enough to answer and to log a review whose rest is broken or too large.
//!
//! The API server writes uid, name, operation and user first (k8s.io/api: admission/v1, `AdmissionRequest`).
//! No decision rests on what is read here.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::is_uid;
use super::record::{Name, Text};

/// Bytes of a review in which its head is looked for, and that are kept of a review that is too large.
pub(crate) const HEAD_BYTES: usize = 64 * 1_024;

/// What was found at the beginning of a review. Empty fields were not found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// The uid of the request. Without it the review cannot be answered.
    pub(crate) uid: Option<String>,
    pub(crate) operation: String,
    /// Name of the object.
    pub(crate) name: String,
    pub(crate) user: String,
}

impl Head {
    /// Reads the head, as far as the beginning of the body can be read.
    pub(super) fn of(body: &[u8]) -> Head {
        let mut head = Head::default();
        let beginning = &body[..body.len().min(HEAD_BYTES)];
        let mut decoder = serde_json::Deserializer::from_slice(beginning);
        // The error is dropped: whoever tried to read the whole review reports it. What was found before it counts.
        drop(Place::Review(&mut head).deserialize(&mut decoder));
        head.uid = head.uid.filter(|uid| is_uid(uid));
        head
    }
}

/// The JSON object that is being read, with what has been found so far.
enum Place<'h> {
    Review(&'h mut Head),
    Request(&'h mut Head),
    User(&'h mut Head),
}

impl Place<'_> {
    fn read_field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let text = match (self, key) {
            (Place::Review(head), "request") => return map.next_value_seed(Place::Request(head)),
            (Place::Request(head), "userInfo") => return map.next_value_seed(Place::User(head)),
            // Only the first uid is surely the API server's; a later one could be forged by text that broke out of its string.
            (Place::Request(head), "uid") if head.uid.is_none() => {
                head.uid = Some(map.next_value::<Text<'de>>()?.into_string());
                return Ok(());
            }
            (Place::Request(head), "operation") => &mut head.operation,
            (Place::Request(head), "name") => &mut head.name,
            (Place::User(head), "username") => &mut head.user,
            _ => return map.next_value().map(|IgnoredAny| ()),
        };
        *text = map.next_value::<Text<'de>>()?.into_string();
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Name<'de>>()? {
            self.read_field(key.as_str(), &mut map)?;
        }
        Ok(())
    }
}
