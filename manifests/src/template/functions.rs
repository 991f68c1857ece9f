//! The functions that the chart uses, as Go's templates, Sprig (masterminds.github.io/sprig) and Helm define them.

use serde_json::{Map, Value};

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CallError {
    /// The template says so itself.
    Refused(String),
    Problem(String),
}

/// Go's idea of truth: false, zero and everything empty are false.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
    }
}

/// The text of a value in the rendered file.
pub(super) fn printed(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, CallError> {
    let count = arguments.len();
    match (name, arguments) {
        // Go's `and` and `or` give one of their arguments.
        ("and", [.., last]) => Ok(arguments
            .iter()
            .find(|value| !is_true(value))
            .unwrap_or(last)
            .clone()),
        ("or", [.., last]) => Ok(arguments
            .iter()
            .find(|value| is_true(value))
            .unwrap_or(last)
            .clone()),
        ("not", [value]) => Ok(Value::Bool(!is_true(value))),
        ("eq", [first, others @ ..]) if !others.is_empty() => Ok(Value::Bool(others.contains(first))),
        ("ne", [first, second]) => Ok(Value::Bool(first != second)),
        ("default", [otherwise, value]) => Ok(if is_true(value) { value } else { otherwise }.clone()),
        ("quote", [value]) => Ok(Value::String(Value::String(printed(value)).to_string())),
        ("toJson", [value]) => Ok(Value::String(value.to_string())),
        ("toYaml", [value]) => yaml(value).map(Value::String),
        ("fromYaml", [Value::String(text)]) => {
            serde_saphyr::from_str(text).map_err(|error| CallError::Problem(format!("fromYaml: {error}")))
        }
        ("nindent", [Value::Number(width), Value::String(text)]) => {
            Ok(Value::String(format!("\n{}", indented(text, width.as_u64()))))
        }
        ("indent", [Value::Number(width), Value::String(text)]) => {
            Ok(Value::String(indented(text, width.as_u64())))
        }
        ("printf", [Value::String(format), values @ ..]) => formatted(format, values).map(Value::String),
        ("join", [Value::String(between), Value::Array(list)]) => {
            let texts: Vec<String> = list.iter().map(printed).collect();
            Ok(Value::String(texts.join(between)))
        }
        ("list", values) => Ok(Value::Array(values.to_vec())),
        ("dict", pairs) if count.is_multiple_of(2) => Ok(Value::Object(object(pairs))),
        ("has", [value, Value::Array(list)]) => Ok(Value::Bool(list.contains(value))),
        ("int", [value]) => Ok(Value::from(whole(value))),
        ("len", [Value::Array(list)]) => Ok(Value::from(list.len())),
        ("index", [Value::Object(object), Value::String(key)]) => {
            Ok(object.get(key).cloned().unwrap_or(Value::Null))
        }
        // The last one that has a key wins.
        ("mergeOverwrite", objects) => Ok(Value::Object(merged(objects))),
        ("kindIs", [Value::String(kind), value]) => Ok(Value::Bool(kind == kind_of(value))),
        ("kebabcase", [Value::String(name)]) => Ok(Value::String(kebab_case(name))),
        ("first", [Value::Array(list)]) => Ok(list.first().cloned().unwrap_or(Value::Null)),
        ("append", [Value::Array(list), value]) => {
            Ok(Value::Array(list.iter().chain([value]).cloned().collect()))
        }
        ("base", [Value::String(path)]) => Ok(Value::from(path.rsplit('/').next().unwrap_or(path))),
        ("dir", [Value::String(path)]) => Ok(Value::from(path.rsplit_once('/').map_or(".", |(dir, _)| dir))),
        // There is no cluster to ask, as in `helm template`.
        ("lookup", [_, _, _, _]) => Ok(Value::Object(Map::new())),
        ("fail", [text]) => Err(CallError::Refused(printed(text))),
        ("required", [_, value]) if is_true(value) => Ok(value.clone()),
        ("required", [text, _]) => Err(CallError::Refused(printed(text))),
        _ => Err(CallError::Problem(format!(
            "{name} with {count} arguments like these is not known here"
        ))),
    }
}

fn yaml(value: &Value) -> Result<String, CallError> {
    let text =
        serde_saphyr::to_string(value).map_err(|error| CallError::Problem(format!("toYaml: {error}")))?;
    Ok(text.trim_end().to_owned())
}

fn indented(text: &str, width: Option<u64>) -> String {
    let space = " ".repeat(width.and_then(|width| usize::try_from(width).ok()).unwrap_or(0));
    let lines: Vec<String> = text.split('\n').map(|line| format!("{space}{line}")).collect();
    lines.join("\n")
}

/// `%s`, `%v` and `%d`, each for one value, and `%q` for one in quotes.
fn formatted(format: &str, values: &[Value]) -> Result<String, CallError> {
    let mut text = String::new();
    let mut values = values.iter();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let verb = letters.next();
        match verb {
            Some('%') => text.push('%'),
            Some('s' | 'v' | 'd') => text.push_str(&printed(next(&mut values, format)?)),
            Some('q') => {
                let inner = printed(next(&mut values, format)?);
                text.push_str(&Value::String(inner).to_string());
            }
            _ => return Err(CallError::Problem(format!("printf cannot do {format}"))),
        }
    }
    Ok(text)
}

fn next<'a>(values: &mut impl Iterator<Item = &'a Value>, format: &str) -> Result<&'a Value, CallError> {
    values
        .next()
        .ok_or_else(|| CallError::Problem(format!("printf has too few values for {format}")))
}

fn object(pairs: &[Value]) -> Map<String, Value> {
    pairs
        .chunks_exact(2)
        .map(|pair| (printed(&pair[0]), pair[1].clone()))
        .collect()
}

fn whole(value: &Value) -> i64 {
    match value {
        Value::Number(number) => number.as_i64().unwrap_or(0),
        Value::String(text) => text.parse().unwrap_or(0),
        Value::Bool(true) => 1,
        Value::Bool(false) | Value::Null | Value::Array(_) | Value::Object(_) => 0,
    }
}

fn merged(objects: &[Value]) -> Map<String, Value> {
    let mut all = Map::new();
    for (key, value) in objects.iter().filter_map(Value::as_object).flatten() {
        drop(all.insert(key.clone(), value.clone()));
    }
    all
}

/// The name that Go has for the type of a value which was read from YAML.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

fn kebab_case(name: &str) -> String {
    name.chars().fold(String::new(), |mut text, letter| {
        if letter.is_ascii_uppercase() {
            text.push('-');
        }
        text.push(letter.to_ascii_lowercase());
        text
    })
}
