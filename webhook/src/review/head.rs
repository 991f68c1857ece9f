//! What a review says of itself before its objects: enough to answer it, and to say whose it was, where the rest is broken or too large.
//!
//! The API server writes uid, name, operation and user first (k8s.io/api: admission/v1, `AdmissionRequest`).
//! Nothing is decided by it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::is_uid;
use super::record::{Name, Text};

/// How much of a review is looked at, and kept of one that is too large.
pub(crate) const HEAD_BYTES: usize = 64 * 1_024;

/// What is empty was not found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// Without one nobody can be answered.
    pub(crate) uid: Option<String>,
    pub(crate) operation: String,
    /// Of the object.
    pub(crate) name: String,
    pub(crate) user: String,
}

impl Head {
    /// As far as the beginning of the body can be read.
    pub(super) fn of(body: &[u8]) -> Head {
        let mut head = Head::default();
        let beginning = &body[..body.len().min(HEAD_BYTES)];
        let mut decoder = serde_json::Deserializer::from_slice(beginning);
        // Where it breaks off is told by whoever has read the whole of it; what was found until then counts.
        drop(Place::Review(&mut head).deserialize(&mut decoder));
        head.uid = head.uid.filter(|uid| is_uid(uid));
        head
    }
}

/// An object in which something is looked for.
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
            // The first one is the API server's; any other is somebody's who has broken out of a text.
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
