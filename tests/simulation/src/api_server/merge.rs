//! JSON merge patch, and the fields that a patch cannot change.

use serde_json::{Map, Value};

use super::Resource;

/// Applies a JSON merge patch (RFC 7386).
pub(crate) fn apply(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(fields) = target.as_object_mut() else {
        return;
    };
    for (key, change) in changes {
        if change.is_null() {
            drop(fields.remove(key));
        } else {
            apply(fields.entry(key.as_str()).or_insert(Value::Null), change);
        }
    }
}

/// Restores what a write cannot change: the server's own metadata, and `status` or, for a write of the status, everything else.
pub(crate) fn keep_what_is_not_theirs(value: &mut Value, old: &Value, resource: Resource, of_status: bool) {
    for key in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        restore(&mut value["metadata"], &old["metadata"], key);
    }
    let has_status = resource != Resource::Leases;
    if of_status {
        restore(value, old, "spec");
    } else if has_status {
        restore(value, old, "status");
    }
}

fn restore(value: &mut Value, old: &Value, key: &str) {
    let Some(fields) = value.as_object_mut() else {
        return;
    };
    drop(match old.get(key) {
        Some(kept) if fields.get(key) == Some(kept) => None,
        Some(kept) => fields.insert(key.to_owned(), kept.clone()),
        None => fields.remove(key),
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_merge_patch_is_as_rfc_7386_has_it() {
        for (target, patch, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (
                json!({"a":{"b":"c"}}),
                json!({"a":{"b":"d","c":null}}),
                json!({"a":{"b":"d"}}),
            ),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (
                json!({}),
                json!({"a":{"bb":{"ccc":null}}}),
                json!({"a":{"bb":{}}}),
            ),
        ] {
            let mut merged = target.clone();
            apply(&mut merged, &patch);
            assert_eq!(merged, result, "{target} {patch}");
        }
    }
}
