//! The JSON of a review, as far as it is read. Strings are borrowed from the body. Fields that are not named here are skipped,
//! and so are other people's labels, annotations and taints, of which a Node may have any number.
//!
//! The API server leaves empty fields out, but `null` is accepted as empty too.
//! A field that occurs twice makes the review unreadable; of a label or annotation that occurs twice the last counts, as in Go.
//! Not here: what the fields mean ([`super::read`]).

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
    #[serde(borrow, default)]
    pub(super) sub_resource: Text<'a>,
    #[serde(borrow)]
    pub(super) user_info: UserRecord<'a>,
    // A Node or a DaemonSet: only the metadata of a DaemonSet is needed, and that looks the same.
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
    // Decoded later, by `keep`: the policy says which of them are read.
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

/// All that is read of the taints: whether there is a list of them, and whether ours is in it.
#[derive(Default)]
struct Taints {
    is_list: bool,
    has_ours: bool,
}

/// A string; `null` is an empty one. It is borrowed from the body, and copied only if it has escapes.
#[derive(Default)]
pub(super) struct Text<'a>(Cow<'a, str>);

/// Most groups of a user. Some tens are usual. The bound is needed because an empty string takes eight times as much in memory as on the wire.
const GROUPS_MAX: usize = 1_000;
/// Most keys in a user's extra, and most values of one key. A few are usual.
const EXTRA_MAX: usize = 100;
/// Most bytes that one byte of a string takes when it is escaped, as in `\\u003c`.
const ESCAPED_MAX: usize = 6;
/// Most bytes of a string that is read. The longest are annotations, and all annotations of an object have at most this many bytes
/// together (k8s.io/apimachinery: `TotalAnnotationSizeLimitB`).
const TEXT_MAX: usize = 256 * 1_024;

/// A list of at most `MAX` elements.
pub(super) struct List<T, const MAX: usize>(pub(super) Vec<T>);

/// A map of at most `MAX` entries, in the order of the body.
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
    /// Whether the object has a list of taints, be it an empty one.
    pub(super) fn has_taints(&self) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.taints.is_list)
    }

    /// The object, with only those labels and annotations for which `is_read` is true, and of the taints only ours.
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

/// The labels or annotations for which `is_read` is true. The others take no memory.
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
        Ok(Taints {
            is_list: true,
            has_ours,
        })
    }

    fn visit_unit<E: Error>(self) -> Result<Taints, E> {
        Ok(Taints::default())
    }
}

/// Checks the length before decoding, because a string with escapes is decoded into memory that the decoder keeps.
impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        if raw.len() > TEXT_MAX * ESCAPED_MAX {
            return Err(D::Error::custom(format_args!(
                "a string of more than {TEXT_MAX} bytes"
            )));
        }
        let text = serde_json::Deserializer::from_str(raw).deserialize_any(TextVisitor);
        text.map_err(D::Error::custom)
    }
}

/// The name of a field. Its length was checked before, by [`super::names_are_short`].
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

/// Checks the length of a string: one with escapes is copied, and copies must not double the memory that a review takes.
fn is_of_a_size<E: Error>(text: &str) -> Result<(), E> {
    if text.len() > TEXT_MAX {
        return Err(E::custom(format_args!("a string of more than {TEXT_MAX} bytes")));
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
