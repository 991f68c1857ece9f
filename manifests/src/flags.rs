//! The keys of `configuration`: each flag of the agent, as its manual lists them.
//!
//! The manual is generated from the agent's command line, so the chart needs no list of its own.

use serde_json::{Map, Value, json};

const MANUAL: &str = include_str!("../../docs/flags.md");
/// What the chart sets itself, or what has a value of its own.
const NOT_HERE: [&str; 8] = [
    "node-id",
    "host-root",
    "kubeconfig",
    "lock-namespace",
    "ds-namespace",
    "ds-name",
    "pool",
    "pool-selector",
];

/// The JSON schema of `configuration`.
pub(crate) fn schema() -> Value {
    let properties: Map<String, Value> = flags()
        .map(|(flag, meaning)| {
            let property = json!({
                "description": meaning,
                "type": ["string", "integer", "boolean", "array"],
                "items": {"type": ["string", "integer"]},
            });
            (camel_case(flag), property)
        })
        .collect();
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

/// Each flag without its dashes, and its meaning.
fn flags() -> impl Iterator<Item = (&'static str, &'static str)> {
    MANUAL.lines().filter_map(|line| {
        let mut columns = line.strip_prefix("| `--")?.split(" | ");
        let flag = columns.next()?.strip_suffix('`')?;
        let meaning = columns.nth(2)?;
        (!NOT_HERE.contains(&flag)).then_some((flag, meaning))
    })
}

fn camel_case(flag: &str) -> String {
    let mut words = flag.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut name, word| {
        let mut letters = word.chars();
        if let Some(letter) = letters.next() {
            name.push(letter.to_ascii_uppercase());
        }
        name.push_str(letters.as_str());
        name
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_a_key_as_in_kureds_chart() {
        assert_eq!(
            camel_case("skip-wait-for-delete-timeout"),
            "skipWaitForDeleteTimeout"
        );
        let keys = schema()["properties"].take();
        assert!(flags().count() > 80, "{}", flags().count());
        assert!(
            keys["rebootDelay"]["description"]
                .as_str()
                .is_some_and(|text| text.starts_with("Wait between"))
        );
        assert!(keys.get("nodeId").is_none());
    }
}
