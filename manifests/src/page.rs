//! The values for people: `values.yaml` with a comment on each, and the table of the chart's page. Both come from the schema.

use serde_json::Value;

/// Puts the description of each value above it.
pub(crate) fn commented(yaml: &str, schema: &Value) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut path: Vec<(usize, String)> = Vec::new();
    for line in yaml.lines() {
        let indent = line.len() - line.trim_start().len();
        if let Some((key, _)) = line.trim_start().split_once(':')
            && !key.starts_with('-')
        {
            path.retain(|(outer, _)| *outer < indent);
            path.push((indent, key.trim_matches('"').to_owned()));
            let names: Vec<&str> = path.iter().map(|(_, name)| name.as_str()).collect();
            let described = property(schema, &names).and_then(description).unwrap_or_default();
            let space = " ".repeat(indent);
            lines.extend(
                wrapped(&described, WIDTH)
                    .into_iter()
                    .map(|part| format!("{space}# {part}")),
            );
        }
        lines.push(line.to_owned());
    }
    lines.join("\n") + "\n"
}

/// Longest line of a comment, in bytes.
const WIDTH: usize = 110;

/// The page of the chart: each value, its default and its meaning.
pub(crate) fn table(schema: &Value) -> String {
    let mut rows = Vec::new();
    add_rows(schema, schema, &mut Vec::new(), &mut rows);
    format!(
        "{HEAD}\n| value | default | meaning |\n| --- | --- | --- |\n{}\n",
        rows.join("\n")
    )
}

const HEAD: &str = "\
# The chart

This page and `values.yaml` are written by `cargo manifests` from the types in `manifests/src/values.rs`.
`values.schema.json` refuses a value that is not in this table.
The keys of `configuration` are the agent's flags, and are in [docs/flags.md](../../docs/flags.md).
";

fn add_rows(schema: &Value, of: &Value, path: &mut Vec<String>, rows: &mut Vec<String>) {
    let Some(properties) = resolved(schema, of).get("properties").and_then(Value::as_object) else {
        return;
    };
    for (name, property) in properties {
        path.push(name.clone());
        let inner = resolved(schema, property);
        if inner.get("properties").is_some() && name != "configuration" {
            add_rows(schema, property, path, rows);
        } else if let Some(meaning) = description(property) {
            let default = property
                .get("default")
                .map_or_else(String::new, |value| format!("`{value}`"));
            rows.push(format!(
                "| `{}` | {default} | {} |",
                path.join("."),
                meaning.replace('|', "\\|")
            ));
        }
        path.truncate(path.len() - 1);
    }
}

fn description(property: &Value) -> Option<String> {
    let text = property.get("description")?.as_str()?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The schema of the value at a path.
pub(crate) fn property<'a>(schema: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(schema, |of, name| {
        resolved(schema, of).get("properties")?.get(*name)
    })
}

/// Follows a reference into the schema's definitions.
fn resolved<'a>(schema: &'a Value, of: &'a Value) -> &'a Value {
    let reference = of.get("$ref").and_then(Value::as_str);
    let target = reference.and_then(|reference| schema.pointer(reference.strip_prefix('#')?));
    target.unwrap_or(of)
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
