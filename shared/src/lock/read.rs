//! Parses the text of the lock's record as kured does, which means as Go's `encoding/json` does.
//!
//! Like Go: names match in any case, `null` leaves a field as it is, and of equal names the last one counts.
//! More lenient than Go: the manual lock is also understood in quotes, as people paste it from a shell.
//! Stricter than Go: an entry without a node is an error, because nothing writes one.
//! Not here: what the record means ([`super`]).

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{Entry, Record};
use crate::quote::quoted;

/// The JSON keys of the record, as kured and the agents write them.
const NAMES: [&str; 17] = [
    LOCKS,
    MAX_OWNERS,
    NODE,
    "metadata",
    "unschedulable",
    "created",
    "TTL",
    "nodeUID",
    "sealed",
    "bootID",
    "init",
    "acquired",
    "attempts",
    "givenBack",
    "uncordonWanted",
    "requestedAt",
    "write",
];
const LOCKS: &str = "locks";
const MAX_OWNERS: &str = "maxOwners";
const NODE: &str = "nodeID";

/// The end of an error message: what a person can write instead.
const SHAPES: &str = r#"the manual lock is {"nodeID":"manual"}, and an entry {"nodeID":"<node>","metadata":{"unschedulable":false},"created":"<RFC 3339>","TTL":0}"#;

/// Parses the record. The error says what cannot be read, where, and what could be written instead.
pub(super) fn read(text: &str) -> Result<Record, String> {
    plain(text).or_else(|why| {
        manual_in_quotes(text).ok_or_else(|| format!("{why}; it reads {}; {SHAPES}", quoted(text)))
    })
}

fn plain(text: &str) -> Result<Record, String> {
    let GoValue(value) = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    let Value::Object(mut object) = value else {
        return Err("it is not a JSON object".to_owned());
    };
    let Some(locks) = object.remove(LOCKS) else {
        let entries = vec![entry(&object, || "it".to_owned())?];
        return Ok(Record {
            entries,
            max_owners: None,
        });
    };
    let max_owners = match object.get(MAX_OWNERS) {
        None => 0,
        Some(count) => count
            .as_i64()
            .ok_or_else(|| format!("{MAX_OWNERS} is not a whole number: {}", shown(count)))?,
    };
    let locks = match locks {
        Value::Null => Vec::new(),
        Value::Array(locks) => locks,
        other => return Err(format!("{LOCKS} is not a list: {}", shown(&other))),
    };
    let entries = locks.into_iter().enumerate().map(|(index, lock)| {
        let place = || format!("entry {} of {LOCKS}", index + 1);
        match lock {
            Value::Object(lock) => entry(&lock, place),
            other => Err(format!("{} is not an object: {}", place(), shown(&other))),
        }
    });
    Ok(Record {
        entries: entries.collect::<Result<_, _>>()?,
        max_owners: Some(max_owners),
    })
}

fn entry(object: &Map<String, Value>, place: impl Fn() -> String) -> Result<Entry, String> {
    let node = object.get(NODE).and_then(Value::as_str).unwrap_or_default();
    if node.is_empty() {
        return Err(format!("{} names no node in {NODE}", place()));
    }
    Entry::deserialize(object).map_err(|error| {
        let place = place();
        let wrong = object.iter().find(|(name, value)| !can_be(name, value));
        match wrong {
            Some((name, value)) => format!("{name} of {place} is {}, not {}", shown(value), expected(&error)),
            None => format!("{place} is not {}", expected(&error)),
        }
    })
}

/// The part of serde's error that says what was expected, in quotes because it may repeat what others wrote.
fn expected(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let expected = text.rsplit_once(", expected ").map(|(_, expected)| expected);
    quoted(expected.unwrap_or(&text))
}

/// Whether an entry can have this value for this key.
fn can_be(name: &str, value: &Value) -> bool {
    let mut alone = Map::from_iter([(NODE.to_owned(), Value::from("n"))]);
    drop(alone.insert(name.to_owned(), value.clone()));
    serde_json::from_value::<Entry>(Value::Object(alone)).is_ok()
}

fn shown(value: &Value) -> String {
    quoted(&value.to_string())
}

/// kured's manual lock, if the quotes of a command line were written along with it.
///
/// Nothing else is read from inside quotes: kured cannot read that either, so it is unknown what kured will do about it.
fn manual_in_quotes(text: &str) -> Option<Record> {
    let text = text.trim();
    let as_text = serde_json::from_str::<String>(text).ok();
    let inside = as_text.or_else(|| {
        let between = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote).map(str::to_owned);
        between('\'').or_else(|| between('"'))
    })?;
    let record = plain(&inside).ok()?;
    let is_manual = !record.entries.is_empty() && record.entries.iter().all(Entry::is_by_hand);
    is_manual.then_some(record)
}

/// JSON decoded like Go does, with the keys in the case of [`NAMES`].
struct GoValue(Value);

struct GoVisitor;

impl<'de> Deserialize<'de> for GoValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<GoValue, D::Error> {
        deserializer.deserialize_any(GoVisitor)
    }
}

impl<'de> Visitor<'de> for GoVisitor {
    type Value = GoValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<GoValue, A::Error> {
        let mut object = Map::new();
        while let Some((name, GoValue(value))) = map.next_entry::<String, GoValue>()? {
            let known = known(&name);
            // Go leaves the field as it is, except for a list, which `null` makes empty.
            let is_left = value.is_null() && known.is_some_and(|known| known != LOCKS);
            if is_left {
                continue;
            }
            match (known.and_then(|known| object.get_mut(known)), value) {
                // Go decodes a second object for the same name into the first.
                (Some(Value::Object(there)), Value::Object(more)) => there.extend(more),
                (_, value) => {
                    let name = known.map_or(name, str::to_owned);
                    drop(object.insert(name, value));
                }
            }
        }
        Ok(GoValue(Value::Object(object)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<GoValue, A::Error> {
        let mut list = Vec::new();
        while let Some(GoValue(value)) = seq.next_element()? {
            list.push(value);
        }
        Ok(GoValue(Value::Array(list)))
    }

    fn visit_str<E>(self, text: &str) -> Result<GoValue, E> {
        Ok(GoValue(Value::from(text)))
    }

    fn visit_bool<E>(self, value: bool) -> Result<GoValue, E> {
        Ok(GoValue(Value::from(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<GoValue, E> {
        Ok(GoValue(Value::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<GoValue, E> {
        Ok(GoValue(Value::from(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<GoValue, E> {
        Ok(GoValue(Value::from(value)))
    }

    fn visit_unit<E>(self) -> Result<GoValue, E> {
        Ok(GoValue(Value::Null))
    }
}

/// The key of [`NAMES`] that this name stands for.
fn known(name: &str) -> Option<&'static str> {
    // Nearly every name is written as we write it, and equal texts are found fast.
    let same = NAMES.into_iter().find(|known| *known == name);
    same.or_else(|| NAMES.into_iter().find(|known| is_same_name(known, name)))
}

/// Whether Go's `encoding/json` takes the two names for the same: it ignores case, including the two letters beyond ASCII that fold
/// into it.
fn is_same_name(known: &str, name: &str) -> bool {
    let folded = |c: char| match c {
        'ſ' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    known.chars().map(folded).eq(name.chars().map(folded))
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer as _;
    use serde::de::value::{BytesDeserializer, Error};

    use super::*;

    #[test]
    fn what_is_not_json_is_told_what_was_expected() {
        let bytes: BytesDeserializer<'_, Error> = b"{}".as_slice().into_deserializer();
        let why = GoValue::deserialize(bytes).err().map(|error| error.to_string());
        assert_eq!(why.as_deref(), Some("invalid type: byte array, expected JSON"));
    }
}
