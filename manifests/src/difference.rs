//! The difference of two renderings, as a component of kustomize: objects that come, objects that go, and a JSON patch (RFC 6902) for each
//! object that changes.
//!
//! Components must work together, so a patch only appends to a list, or changes an element whose name it tests first.
//! Not here: which renderings are compared ([`crate::kustomize`]).

use serde_json::{Value, json};

/// One object that changes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Patch {
    pub kind: String,
    pub name: String,
    pub operations: Vec<Value>,
}

/// Why a difference cannot be a component.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{object}: the list at {path} loses an element, which no patch can do without knowing its place: render it at the end, or in a map"
)]
pub struct DifferenceError {
    object: String,
    path: String,
}

/// The kind and the name of an object.
pub(crate) fn identity(object: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// The patch from one object to another of the same name; `None` if they are equal.
pub(crate) fn patch(old: &Value, new: &Value) -> Result<Option<Patch>, DifferenceError> {
    let (kind, name) = identity(old);
    let mut operations = Vec::new();
    compare(old, new, "", &mut operations).map_err(|path| DifferenceError {
        object: format!("{kind} {name}"),
        path,
    })?;
    Ok((!operations.is_empty()).then_some(Patch {
        kind,
        name,
        operations,
    }))
}

/// Adds what leads from one value to the other. The error is the path of a list that cannot be patched.
fn compare(old: &Value, new: &Value, path: &str, operations: &mut Vec<Value>) -> Result<(), String> {
    match (old, new) {
        _ if old == new => {}
        (Value::Object(before), Value::Object(after)) => {
            for key in before.keys().filter(|key| !after.contains_key(*key)) {
                operations.push(json!({"op": "remove", "path": below(path, key)}));
            }
            for (key, value) in after {
                match before.get(key) {
                    Some(known) => compare(known, value, &below(path, key), operations)?,
                    None => operations.push(json!({"op": "add", "path": below(path, key), "value": value})),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            if before.len() > after.len() {
                return Err(path.to_owned());
            }
            for (place, (known, value)) in before.iter().zip(after).enumerate() {
                if known == value {
                    continue;
                }
                let element = format!("{path}/{place}");
                if let Some(name) = known.get("name") {
                    operations.push(json!({"op": "test", "path": format!("{element}/name"), "value": name}));
                }
                if known.get("name").is_some() && known.get("name") == value.get("name") {
                    compare(known, value, &element, operations)?;
                } else {
                    operations.push(json!({"op": "replace", "path": element, "value": value}));
                }
            }
            for value in &after[before.len()..] {
                operations.push(json!({"op": "add", "path": format!("{path}/-"), "value": value}));
            }
        }
        _ => operations.push(json!({"op": "replace", "path": path, "value": new})),
    }
    Ok(())
}

/// A path one level down (RFC 6901).
fn below(path: &str, key: &str) -> String {
    format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations(old: &Value, new: &Value) -> Vec<Value> {
        let found = patch(old, new).expect("it can be patched");
        found.map(|patch| patch.operations).unwrap_or_default()
    }

    #[test]
    fn a_list_grows_at_its_end_and_an_element_is_changed_by_its_name() {
        let old = json!({"kind": "A", "metadata": {"name": "a"}, "list": [{"name": "x", "v": 1}, "--m=1"], "gone": 1, "a/b": 1});
        let new = json!({"kind": "A", "metadata": {"name": "a"}, "list": [{"name": "x", "v": 2}, "--m=2", "--n"], "a/b": 2, "new": {}});
        let mut found = operations(&old, &new);
        found.sort_by_key(Value::to_string);
        let mut expected = vec![
            json!({"op": "remove", "path": "/gone"}),
            json!({"op": "replace", "path": "/a~1b", "value": 2}),
            json!({"op": "test", "path": "/list/0/name", "value": "x"}),
            json!({"op": "replace", "path": "/list/0/v", "value": 2}),
            json!({"op": "replace", "path": "/list/1", "value": "--m=2"}),
            json!({"op": "add", "path": "/list/-", "value": "--n"}),
            json!({"op": "add", "path": "/new", "value": {}}),
        ];
        expected.sort_by_key(Value::to_string);
        assert_eq!(found, expected);
        assert_eq!(operations(&new, &new), Vec::<Value>::new());
    }

    #[test]
    fn an_element_that_takes_anothers_place_is_replaced_after_a_look_at_the_old_name() {
        let old = json!({"list": [{"name": "x", "v": 1}]});
        let new = json!({"list": [{"name": "y", "v": 1}]});
        assert_eq!(
            operations(&old, &new),
            [
                json!({"op": "test", "path": "/list/0/name", "value": "x"}),
                json!({"op": "replace", "path": "/list/0", "value": {"name": "y", "v": 1}}),
            ]
        );
    }

    #[test]
    fn a_list_that_loses_an_element_is_refused() {
        let error = patch(
            &json!({"kind": "A", "metadata": {"name": "a"}, "l": [1, 2]}),
            &json!({"l": [1]}),
        );
        let text = error.map(|_| ()).expect_err("it is refused").to_string();
        assert!(text.starts_with("A a: the list at /l loses an element"), "{text}");
    }
}
