//! A review on the wire, as far as it is read. Texts are borrowed from the body; whatever is not named is passed over,
//! and so are other people's labels, annotations and taints, of which a Node may have any number.
//!
//! The API server leaves empty fields out, but `null` is taken for empty too.
//! A field that is there twice makes the review unreadable; of a label or annotation that is there twice the last counts, as in Go.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use cordonhold_shared::keys;
use cordonhold_shared::node::{Metadata, NodeView, Spec, Taint};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

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
    #[serde(borrow, default)]
    pub(super) groups: List<Text<'a>, GROUPS_MAX>,
    #[serde(borrow, default)]
    pub(super) extra: Map<'a, List<Text<'a>, EXTRA_MAX>, EXTRA_MAX>,
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
    spec: Option<SpecRecord>,
}

#[derive(Default, serde::Deserialize)]
struct MetadataRecord<'a> {
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    uid: Text<'a>,
    // Which of them are read is the policy's to say: see `keep`.
    #[serde(borrow)]
    labels: Option<&'a RawValue>,
    #[serde(borrow)]
    annotations: Option<&'a RawValue>,
}

#[derive(Default, serde::Deserialize)]
struct SpecRecord {
    unschedulable: Option<bool>,
    #[serde(default)]
    taints: Taints,
}

#[derive(serde::Deserialize)]
struct TaintRecord<'a> {
    #[serde(borrow)]
    key: Text<'a>,
    #[serde(borrow)]
    effect: Text<'a>,
}

/// Of the taints one thing is of interest.
#[derive(Default)]
struct Taints {
    has_ours: bool,
}

/// A string of the body, or `null` for an empty one. It is copied only where it has escapes.
#[derive(Default)]
pub(super) struct Text<'a>(Cow<'a, str>);

/// Groups. Some tens are usual; empty texts take eight times as much in memory as on the wire.
const GROUPS_MAX: usize = 1_000;
/// Keys of a user's extra, and values of each. Some few are usual.
const EXTRA_MAX: usize = 100;
/// Bytes that one of a text takes at most where it is escaped, as `\\u003c`.
const ESCAPED_MAX: usize = 6;
/// Bytes of one text that is read. The longest are annotations, of which an object has at most so many bytes together
/// (k8s.io/apimachinery: `TotalAnnotationSizeLimitB`).
const TEXT_MAX: usize = 256 * 1_024;

/// At most so many of them.
pub(super) struct List<T, const MAX: usize>(pub(super) Vec<T>);

/// At most so many texts and what belongs to them, in their order.
pub(super) struct Map<'a, V, const MAX: usize>(pub(super) Vec<(Name<'a>, V)>);

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

impl<const MAX: usize> List<Text<'_>, MAX> {
    pub(super) fn into_strings(self) -> Vec<String> {
        self.0.into_iter().map(Text::into_string).collect()
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

impl ObjectRecord<'_> {
    /// The object with the labels and annotations that are read. Of the taints only ours is.
    pub(super) fn view(self, is_read: impl Fn(&str) -> bool) -> Result<NodeView, String> {
        let metadata = self.metadata.unwrap_or_default();
        let spec = self.spec.unwrap_or_default();
        let ours = spec.taints.has_ours.then(|| Taint::no_schedule(keys::REBOOTING));
        Ok(NodeView {
            metadata: Metadata {
                name: metadata.name.into_string(),
                uid: metadata.uid.into_string(),
                labels: keep(metadata.labels, &is_read).map_err(|error| format!("labels: {error}"))?,
                annotations: keep(metadata.annotations, &is_read)
                    .map_err(|error| format!("annotations: {error}"))?,
                ..Metadata::default()
            },
            spec: Spec {
                unschedulable: spec.unschedulable.unwrap_or_default(),
                taints: ours.into_iter().collect(),
            },
            ..NodeView::default()
        })
    }
}

/// The labels or annotations that are read. The others take no memory.
fn keep(
    entries: Option<&RawValue>,
    is_read: impl Fn(&str) -> bool,
) -> serde_json::Result<BTreeMap<String, String>> {
    let Some(entries) = entries else {
        return Ok(BTreeMap::new());
    };
    serde_json::Deserializer::from_str(entries.get()).deserialize_map(EntriesVisitor(is_read))
}

struct EntriesVisitor<F>(F);

impl<'de, F: Fn(&str) -> bool> Visitor<'de> for EntriesVisitor<F> {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BTreeMap<String, String>, A::Error> {
        let mut kept = BTreeMap::new();
        while let Some(key) = map.next_key::<Name<'de>>()? {
            if !(self.0)(key.as_str()) {
                let IgnoredAny = map.next_value()?;
                continue;
            }
            let value: Text<'de> = map.next_value()?;
            drop(kept.insert(key.into_string(), value.into_string()));
        }
        Ok(kept)
    }
}

impl<'de> Deserialize<'de> for Taints {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TaintsVisitor)
    }
}

struct TaintsVisitor;

impl<'de> Visitor<'de> for TaintsVisitor {
    type Value = Taints;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of taints")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut taints: A) -> Result<Taints, A::Error> {
        let mut has_ours = false;
        while let Some(taint) = taints.next_element::<TaintRecord<'de>>()? {
            has_ours |= taint.key.as_str() == keys::REBOOTING && taint.effect.as_str() == keys::NO_SCHEDULE;
        }
        Ok(Taints { has_ours })
    }

    fn visit_unit<E: Error>(self) -> Result<Taints, E> {
        Ok(Taints::default())
    }
}

/// Looked at before it is decoded: what has escapes is decoded into memory that the decoder keeps.
impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        if raw.len() > TEXT_MAX * ESCAPED_MAX {
            return Err(D::Error::custom(format_args!(
                "a text of more than {TEXT_MAX} bytes"
            )));
        }
        let text = serde_json::Deserializer::from_str(raw).deserialize_any(TextVisitor);
        text.map_err(D::Error::custom)
    }
}

/// The name of a field. It is decoded where it stands: see [`super::names_are_short`].
pub(super) struct Name<'a>(Cow<'a, str>);

impl Name<'_> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn into_string(self) -> String {
        self.0.into_owned()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor).map(|text| Name(text.0))
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
        is_of_a_size(text)?;
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
        is_of_a_size(text)?;
        Ok(Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Text<'de>, E> {
        Ok(Text::default())
    }
}

/// One with escapes is copied, which must not double what a review takes.
fn is_of_a_size<E: Error>(text: &str) -> Result<(), E> {
    if text.len() > TEXT_MAX {
        return Err(E::custom(format_args!("a text of more than {TEXT_MAX} bytes")));
    }
    Ok(())
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
