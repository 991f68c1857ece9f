//! Label selectors in the syntax of `kubectl -l`, parsed here so that a wrong one is reported when the program starts
//! (kubernetes/apimachinery: pkg/labels/selector.go).
//!
//! Not here: valid keys and values ([`crate::names`]), and field selectors, which only the API server can check.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::names::{is_key, is_value};

/// What counts as blank (`isWhitespace`).
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// A label selector. The empty one matches every object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Requirement {
    key: String,
    demand: Demand,
}

/// What a requirement demands of the label with its key. `NotIn` and `Absent` also match an object without the label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Demand {
    Present,
    Absent,
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Above(i64),
    Below(i64),
}

/// Why a text is not a label selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// A requirement that is empty or has an unknown operator.
    #[error(
        "{0:?} is not a requirement: write key, !key, key=value, key!=value, key in (a,b) or key notin (a,b)"
    )]
    Requirement(String),
    /// A key that no label can have.
    #[error(
        "{0:?} is not a label key: [prefix/]name, the name up to 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
    )]
    Key(String),
    /// A value that no label can have.
    #[error(
        "{0:?} is not a label value: up to 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
    )]
    Value(String),
    /// The value after `>` or `<` is not an integer, or has a sign.
    #[error("{0:?} is not an integer without a sign, and > and < compare only such")]
    Number(String),
    /// Parentheses that do not match, or are nested.
    #[error("the parentheses in {0:?} do not match; each ( needs one ), and they cannot be nested")]
    Parentheses(String),
}

impl Selector {
    /// Whether an object with these labels matches.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match &requirement.demand {
                Demand::Present => value.is_some(),
                Demand::Absent => value.is_none(),
                Demand::In(values) => value.is_some_and(|value| values.contains(value)),
                Demand::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Demand::Above(bound) => number(value).is_some_and(|number| number > *bound),
                Demand::Below(bound) => number(value).is_some_and(|number| number < *bound),
            }
        })
    }

    /// Whether the selector is empty, so that it matches every object.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }
}

fn number(value: Option<&String>) -> Option<i64> {
    value?.parse().ok()
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Selector, SelectorError> {
        if trimmed(text).is_empty() {
            return Ok(Selector::default());
        }
        let requirements = terms(text)?.into_iter().map(Requirement::parse);
        Ok(Selector {
            requirements: requirements.collect::<Result<_, _>>()?,
        })
    }
}

/// The requirements as text: split at commas, except those in parentheses.
fn terms(text: &str) -> Result<Vec<&str>, SelectorError> {
    let (mut terms, mut start, mut is_open) = (Vec::new(), 0, false);
    let unbalanced = || SelectorError::Parentheses(text.to_owned());
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'(' | b')' if is_open == (byte == b'(') => return Err(unbalanced()),
            b'(' | b')' => is_open = !is_open,
            b',' if !is_open => {
                terms.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    if is_open {
        return Err(unbalanced());
    }
    terms.push(&text[start..]);
    Ok(terms)
}

impl Requirement {
    fn parse(term: &str) -> Result<Requirement, SelectorError> {
        let term = trimmed(term);
        let (key, demand) = if let Some(list) = term.strip_suffix(')') {
            let (head, values) = list
                .split_once('(')
                .ok_or_else(|| SelectorError::Parentheses(term.to_owned()))?;
            let values = values.split(',').map(value).collect::<Result<_, _>>()?;
            match trimmed(head).rsplit_once(BLANKS) {
                Some((key, "in")) => (key, Demand::In(values)),
                Some((key, "notin")) => (key, Demand::NotIn(values)),
                _ => return Err(SelectorError::Requirement(term.to_owned())),
            }
        } else if let Some((key, text)) = term.split_once("!=") {
            (key, Demand::NotIn(BTreeSet::from([value(text)?])))
        } else if let Some((key, text)) = term.split_once("==").or_else(|| term.split_once('=')) {
            (key, Demand::In(BTreeSet::from([value(text)?])))
        } else if let Some((key, text)) = term.split_once('>') {
            (key, Demand::Above(integer(text)?))
        } else if let Some((key, text)) = term.split_once('<') {
            (key, Demand::Below(integer(text)?))
        } else if let Some(key) = term.strip_prefix('!') {
            (key, Demand::Absent)
        } else if term.is_empty() {
            return Err(SelectorError::Requirement(term.to_owned()));
        } else {
            (term, Demand::Present)
        };
        let key = trimmed(key);
        if is_key(key) {
            Ok(Requirement {
                key: key.to_owned(),
                demand,
            })
        } else {
            Err(SelectorError::Key(key.to_owned()))
        }
    }
}

/// Parses a label value, which may be empty.
fn value(text: &str) -> Result<String, SelectorError> {
    let text = trimmed(text);
    if is_value(text) {
        Ok(text.to_owned())
    } else {
        Err(SelectorError::Value(text.to_owned()))
    }
}

/// Parses a number to compare with. The API server also wants it to be a label value, which has no sign.
fn integer(text: &str) -> Result<i64, SelectorError> {
    let text = trimmed(text);
    let number = text.parse().ok().filter(|_| is_value(text));
    number.ok_or_else(|| SelectorError::Number(text.to_owned()))
}

/// The text without blanks around it.
fn trimmed(text: &str) -> &str {
    text.trim_matches(BLANKS)
}

/// The selector in a normal form, as the API server accepts it in a query.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Requirement { key, demand }) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match demand {
                Demand::Present => write!(f, "{key}")?,
                Demand::Absent => write!(f, "!{key}")?,
                Demand::In(values) => write_values(f, key, values, ["=", "in"])?,
                Demand::NotIn(values) => write_values(f, key, values, ["!=", "notin"])?,
                Demand::Above(bound) => write!(f, "{key}>{bound}")?,
                Demand::Below(bound) => write!(f, "{key}<{bound}")?,
            }
        }
        Ok(())
    }
}

/// Writes one value with the operator `one`, several or none with the operator `many`.
fn write_values(
    f: &mut fmt::Formatter<'_>,
    key: &str,
    values: &BTreeSet<String>,
    [one, many]: [&str; 2],
) -> fmt::Result {
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    match values.as_slice() {
        [value] => write!(f, "{key}{one}{value}"),
        values => write!(f, "{key} {many} ({})", values.join(",")),
    }
}

#[cfg(test)]
mod tests;
