//! What a wrong word of a command line is told with, and the kinds of values that both programs take.
//!
//! Arguments mostly come from YAML and Secrets, which leave quotes, white space and line ends on them: those are named.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use cordonhold_shared::names::{self, PART_MAX};

/// Why a command line cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum Mistake {
    #[error("{0}")]
    CommandLine(String),
    /// `name` is a flag, or the variable that its value came from.
    #[error("{name}: {why}")]
    Value { name: String, why: String },
    #[error(
        "{word:?} belongs to no flag: write --flag=VALUE or --flag VALUE; a flag that is on or off takes its value only after ="
    )]
    LooseWord { word: String },
    #[error("{flag} and {value:?} came as one word: write {flag}={value}, or each as a word of its own")]
    OneWord { flag: String, value: String },
    #[error("{word}: flags begin with two dashes: see --help")]
    OneDash { word: String },
}

impl Mistake {
    /// What clap found, under the name that the value was given by: `name_of` gives a flag's.
    pub fn of(error: &clap::Error, name_of: impl Fn(&str) -> String) -> Mistake {
        let context = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => text.as_str(),
            _ => "",
        };
        let named = context(ContextKind::InvalidArg);
        // clap names a flag with its value: `--period <DURATION>`.
        let flag = named.split([' ', '=', '[']).next().unwrap_or(named);
        let name = || name_of(flag);
        let said = || crate::exit::usage_line(&error.to_string());
        match (error.kind(), std::error::Error::source(error)) {
            (ErrorKind::ValueValidation | ErrorKind::InvalidValue, why) => {
                let oddity = oddity(&name(), context(ContextKind::InvalidValue));
                match oddity.or_else(|| why.map(ToString::to_string)) {
                    Some(why) => Mistake::Value { name: name(), why },
                    None if name() == flag => Mistake::CommandLine(said()),
                    None => Mistake::Value {
                        name: name(),
                        why: said(),
                    },
                }
            }
            (ErrorKind::UnknownArgument, _) if !named.starts_with('-') => Mistake::LooseWord {
                word: named.to_owned(),
            },
            (ErrorKind::UnknownArgument, _) if named.contains(char::is_whitespace) => {
                let (flag, value) = named.split_once(char::is_whitespace).unwrap_or((named, ""));
                Mistake::OneWord {
                    flag: flag.to_owned(),
                    value: value.trim().to_owned(),
                }
            }
            (ErrorKind::UnknownArgument, _) if !named.starts_with("--") => Mistake::OneDash {
                word: named.to_owned(),
            },
            _ if name() == flag => Mistake::CommandLine(said()),
            _ => Mistake::Value {
                name: name(),
                why: said(),
            },
        }
    }
}

impl Mistake {
    /// Of a variable whose flag is either given or not.
    pub(crate) fn boolean(name: &str, value: &OsStr) -> Mistake {
        let value = value.to_string_lossy();
        let why = oddity(name, &value)
            .unwrap_or_else(|| format!("{value:?} is neither true nor false: write true or false"));
        Mistake::Value {
            name: name.to_owned(),
            why,
        }
    }
}

/// What YAML or a Secret left on a value, and what to write instead. `name` is a flag or a variable.
fn oddity(name: &str, value: &str) -> Option<String> {
    // A URL may hold a password.
    let is_secret = name.to_lowercase().ends_with("url");
    let instead = |value: &str| {
        let value = if is_secret && !value.is_empty() {
            "URL"
        } else {
            value
        };
        match (name.strip_prefix("--"), value) {
            (Some(_), "") => format!("write `- {name}=`, or leave the line out"),
            (Some(_), value) => format!("write `- {name}={value}`"),
            (None, "") => "leave the variable out".to_owned(),
            (None, value) => format!("set it to {value}"),
        }
    };
    let trimmed = value.trim();
    match unquoted(trimmed) {
        Some("") => Some(format!(
            "its value is two quote characters, which is not the empty text: YAML keeps quotes that stand inside a word: {}",
            instead("")
        )),
        Some(inner) => Some(format!(
            "the quotes around its value are part of it: YAML keeps quotes that stand inside a word: {}",
            instead(inner.trim())
        )),
        None if trimmed != value => Some(format!(
            "its value begins or ends with white space or a line end, as a Secret made from a file does: {}",
            instead(trimmed)
        )),
        None => None,
    }
}

/// What stands between two quotes of one kind.
fn unquoted(text: &str) -> Option<&str> {
    let between = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    ['"', '\''].into_iter().find_map(between)
}

/// Whether this is how YAML's `--flag=""` comes: no flag means it so.
pub fn is_two_quotes(text: &str) -> bool {
    unquoted(text) == Some("")
}

/// The path of a file or directory. No such name begins or ends with quotes or white space, but values do.
pub fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("its value is empty: name a path, or leave it out".to_owned());
    }
    if text.trim() != text || unquoted(text).is_some() {
        return Err(format!(
            "{text:?} is no path: write it without quotes and white space"
        ));
    }
    Ok(PathBuf::from(text))
}

/// A text that says something, such as the name of a user, and is no pair of quotes.
pub fn text(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || unquoted(text).is_some() {
        return Err(format!(
            "{text:?} says nothing: write it without quotes, or leave it out"
        ));
    }
    Ok(text.to_owned())
}

/// The name of a Kubernetes object.
pub fn name(text: &str) -> Result<String, String> {
    if names::is_name(text) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is not a name that Kubernetes knows: use lower case letters, digits, '-' and '.'"
        ))
    }
}

/// A part of a name, without dots; a namespace's.
pub fn label_name(text: &str) -> Result<String, String> {
    if names::is_namespace(text) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} cannot be part of an object's name: use at most {PART_MAX} lower case letters, digits and '-'"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_x1_what_yaml_leaves_on_a_value_is_named_with_the_line_to_write() {
        for (name, value, parts) in [
            (
                "--f",
                "\"\"",
                ["two quote characters", "write `- --f=`, or leave"],
            ),
            ("--f", "''", ["two quote characters", "`- --f=`"]),
            ("F", "\"\"", ["two quote characters", "leave the variable out"]),
            ("--f", "\"5m\"", ["quotes around", "write `- --f=5m`"]),
            ("F", "'5m'", ["quotes around", "set it to 5m"]),
            ("--f", "5m\n", ["line end", "write `- --f=5m`"]),
            ("--f", " \"5m\" ", ["quotes around", "`- --f=5m`"]),
            ("--a-url", "\"secret\"", ["quotes around", "`- --a-url=URL`"]),
        ] {
            let said = oddity(name, value).unwrap();
            assert!(
                parts.iter().all(|part| said.contains(part)) && !said.contains("secret"),
                "{value}: {said}"
            );
        }
        for value in ["", "5m", "\"", "a\"b\"", "\"a\" b"] {
            assert_eq!(oddity("--f", value), None, "{value}");
        }
    }

    #[test]
    fn paths_have_no_quotes_around_them() {
        assert_eq!(path("/a/b c"), Ok(PathBuf::from("/a/b c")));
        for text in ["", "\"\"", "\"/a\"", "/a\n", " /a"] {
            assert!(path(text).is_err(), "{text:?}");
        }
    }
}
