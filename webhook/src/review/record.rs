//! A review on the wire, as far as it is read. Texts are borrowed from the body; whatever is not named is passed over.
//!
//! The API server leaves empty fields out, but `null` is taken for empty too.
//! A field that is there twice makes the review unreadable; of a label or annotation that is there twice the last counts, as in Go.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use cordonhold_shared::keys;
use cordonhold_shared::node::{Metadata, NodeView, Spec, Taint};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReviewRecord<'a> {
    #[serde(borrow)]
    pub(super) api_version: Text<'a>,
    #[serde(borrow)]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) request: RequestRecord<'a>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RequestRecord<'a> {
    #[serde(borrow)]
    pub(super) uid: Text<'a>,
    #[serde(borrow)]
    pub(super) kind: KindRecord<'a>,
    #[serde(borrow, default)]
    pub(super) namespace: Text<'a>,
    #[serde(borrow, default)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) operation: Text<'a>,
    #[serde(borrow)]
    pub(super) user_info: UserRecord<'a>,
    // Of a DaemonSet only the metadata is of interest, and that is the same.
    #[serde(borrow)]
    pub(super) object: Option<ObjectRecord<'a>>,
    #[serde(borrow)]
    pub(super) old_object: Option<ObjectRecord<'a>>,
    pub(super) dry_run: Option<bool>,
    #[serde(borrow)]
    pub(super) options: Option<OptionsRecord<'a>>,
}

#[derive(serde::Deserialize)]
pub(super) struct KindRecord<'a> {
    #[serde(borrow, default)]
    pub(super) group: Text<'a>,
    #[serde(borrow)]
    pub(super) kind: Text<'a>,
}

#[derive(serde::Deserialize)]
pub(super) struct UserRecord<'a> {
    #[serde(borrow, default)]
    pub(super) username: Text<'a>,
    #[serde(borrow, default)]
    pub(super) uid: Text<'a>,
    #[serde(default)]
    pub(super) groups: List<String, LIST_MAX>,
    #[serde(borrow, default)]
    pub(super) extra: Map<'a, List<String, EXTRA_MAX>, EXTRA_MAX>,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OptionsRecord<'a> {
    #[serde(borrow, default)]
    pub(super) kind: Text<'a>,
    #[serde(borrow, default)]
    pub(super) field_manager: Text<'a>,
}

#[derive(serde::Deserialize)]
pub(super) struct ObjectRecord<'a> {
    #[serde(borrow)]
    metadata: Option<MetadataRecord<'a>>,
    #[serde(borrow)]
    spec: Option<SpecRecord<'a>>,
}

#[derive(Default, serde::Deserialize)]
struct MetadataRecord<'a> {
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    uid: Text<'a>,
    #[serde(borrow, default)]
    labels: Entries<'a>,
    #[serde(borrow, default)]
    annotations: Entries<'a>,
}

#[derive(Default, serde::Deserialize)]
struct SpecRecord<'a> {
    unschedulable: Option<bool>,
    #[serde(borrow, default)]
    taints: List<TaintRecord<'a>, LIST_MAX>,
}

#[derive(serde::Deserialize)]
struct TaintRecord<'a> {
    #[serde(borrow)]
    key: Text<'a>,
    #[serde(borrow)]
    effect: Text<'a>,
}

/// A string of the body, or `null` for an empty one. It is copied only where it has escapes.
#[derive(Default)]
pub(super) struct Text<'a>(Cow<'a, str>);

/// Groups, or taints. Some tens are usual; empty texts take eight times as much in memory as on the wire.
const LIST_MAX: usize = 1_000;
/// Keys of a user's extra, and values of each. Some few are usual.
const EXTRA_MAX: usize = 100;
/// Labels, or annotations, for which a Node has 256 KiB.
const ENTRIES_MAX: usize = 50_000;

/// At most so many of them.
pub(super) struct List<T, const MAX: usize>(pub(super) Vec<T>);

/// At most so many texts and what belongs to them, in their order.
pub(super) struct Map<'a, V, const MAX: usize>(pub(super) Vec<(Text<'a>, V)>);

/// Labels or annotations.
type Entries<'a> = Map<'a, Text<'a>, ENTRIES_MAX>;

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        List(Vec::new())
    }
}

impl<V, const MAX: usize> Default for Map<'_, V, MAX> {
    fn default() -> Self {
        Map(Vec::new())
    }
}

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn into_string(self) -> String {
        self.0.into_owned()
    }
}

impl Entries<'_> {
    /// Those that somebody reads.
    fn keep(self, is_read: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
        self.0
            .into_iter()
            .filter(|(key, _)| is_read(key.as_str()))
            .map(|(key, value)| (key.into_string(), value.into_string()))
            .collect()
    }
}

impl ObjectRecord<'_> {
    /// The object with the labels and annotations that are read. Of the taints only ours is.
    pub(super) fn view(self, is_read: impl Fn(&str) -> bool) -> NodeView {
        let metadata = self.metadata.unwrap_or_default();
        let spec = self.spec.unwrap_or_default();
        let taints = spec.taints.0;
        NodeView {
            metadata: Metadata {
                name: metadata.name.into_string(),
                uid: metadata.uid.into_string(),
                labels: metadata.labels.keep(&is_read),
                annotations: metadata.annotations.keep(&is_read),
                ..Metadata::default()
            },
            spec: Spec {
                unschedulable: spec.unschedulable.unwrap_or_default(),
                taints: taints
                    .into_iter()
                    .filter(|taint| taint.key.as_str() == keys::REBOOTING)
                    .map(|taint| Taint {
                        key: taint.key.into_string(),
                        effect: taint.effect.into_string(),
                        rest: serde_json::Map::new(),
                    })
                    .collect(),
            },
            ..NodeView::default()
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Text<'de>, E> {
        Ok(Text::default())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor::<T, MAX>(PhantomData))
    }
}

struct ListVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for ListVisitor<T, MAX> {
    type Value = List<T, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<T, MAX>, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = seq.next_element()? {
            if list.len() == MAX {
                return Err(A::Error::custom(format_args!("a list of more than {MAX}")));
            }
            list.push(element);
        }
        Ok(List(list))
    }

    fn visit_unit<E: Error>(self) -> Result<List<T, MAX>, E> {
        Ok(List::default())
    }
}

impl<'de: 'a, 'a, V: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Map<'a, V, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MapVisitor(PhantomData))
    }
}

struct MapVisitor<'a, V, const MAX: usize>(PhantomData<Map<'a, V, MAX>>);

impl<'de: 'a, 'a, V: Deserialize<'de>, const MAX: usize> Visitor<'de> for MapVisitor<'a, V, MAX> {
    type Value = Map<'a, V, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Map<'a, V, MAX>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            if entries.len() == MAX {
                return Err(A::Error::custom(format_args!("a map of more than {MAX}")));
            }
            entries.push(entry);
        }
        Ok(Map(entries))
    }

    fn visit_unit<E: Error>(self) -> Result<Map<'a, V, MAX>, E> {
        Ok(Map::default())
    }
}
