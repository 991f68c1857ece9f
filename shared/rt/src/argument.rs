//! The errors for wrong command lines, and the parsers of values that both programs take.
//!
//! Arguments mostly come from YAML and Secrets, which may leave quotes, white space and line ends on them. The errors point that out.
//! Not here: reading the command line ([`crate::command_line`]).

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use cordonhold_shared::names::{self, PART_MAX};

/// What is wrong with a command line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum Mistake {
    #[error("{0}")]
    CommandLine(String),
    /// `name` is the flag, or the environment variable that its value came from.
    #[error("{name}: {why}")]
    Value { name: String, why: String },
    #[error(
        "{word:?} belongs to no flag: write --flag=VALUE or --flag VALUE; a flag that is true or false takes its value only after ="
    )]
    LooseWord { word: String },
    #[error(
        "{flag} and {value:?} came as one argument: write {flag}={}, or write them as two arguments",
        .value.escape_debug()
    )]
    OneWord { flag: String, value: String },
    #[error("{}: flags begin with two dashes: see --help", .word.escape_debug())]
    OneDash { word: String },
}

impl Mistake {
    /// The mistake that clap found. `name_of` turns the name of a flag into the name by which the user gave the value: the flag or its
    /// environment variable.
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
                word: unless_url(named).to_owned(),
            },
            (ErrorKind::UnknownArgument, _) if named.contains(char::is_whitespace) => {
                let (flag, value) = named.split_once(char::is_whitespace).unwrap_or((named, ""));
                Mistake::OneWord {
                    flag: flag.to_owned(),
                    value: unless_url(value.trim()).to_owned(),
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
    /// The mistake of an environment variable that is neither `true` nor `false`, for a flag without a value.
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

/// The word, unless it is a URL, which may hold a password.
fn unless_url(word: &str) -> &str {
    if word.contains("://") { "URL" } else { word }
}

/// What YAML or a Secret left on a value, and what to write instead. `name` is a flag or an environment variable.
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
            "its value is two quote characters, which is not the empty string: YAML keeps quotes inside a word: {}",
            instead("")
        )),
        Some(inner) => Some(format!(
            "the quotes around its value are part of it: YAML keeps quotes inside a word: {}",
            instead(inner.trim())
        )),
        None if trimmed != value => Some(format!(
            "its value begins or ends with white space or a line end, as a Secret made from a file does: {}",
            instead(trimmed)
        )),
        None => None,
    }
}

/// The text inside one pair of double or single quotes; `None` if the text is not in quotes, or has more of them inside, as `"a" "b"` has.
pub fn unquoted(text: &str) -> Option<&str> {
    let between = |quote| {
        let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
        (!inner.contains(quote)).then_some(inner)
    };
    ['"', '\''].into_iter().find_map(between)
}

/// Whether the value is a pair of quotes with nothing inside, as YAML's `--flag=""` passes it on. No flag has that as a value.
pub fn is_two_quotes(text: &str) -> bool {
    unquoted(text) == Some("")
}

/// Parses the path of a file or directory. Quotes and white space around it are refused: they come from YAML or a Secret.
pub fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("its value is empty: name a path, or leave it out".to_owned());
    }
    if text.trim() != text || unquoted(text).is_some() {
        return Err(format!(
            "{text:?} is not a path: write it without quotes and white space"
        ));
    }
    Ok(PathBuf::from(text))
}

/// Parses a text that must not be empty or in quotes, such as the name of a user.
pub fn text(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || unquoted(text).is_some() {
        return Err(format!(
            "{text:?} is empty or in quotes: write a value without quotes, or leave the flag out"
        ));
    }
    Ok(text.to_owned())
}

/// Parses the name of a Kubernetes object.
pub fn name(text: &str) -> Result<String, String> {
    if names::is_name(text) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is not a valid name of a Kubernetes object: use lower case letters, digits, '-' and '.'"
        ))
    }
}

/// Parses a namespace, or a part of an object's name without dots.
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
        for value in ["", "5m", "\"", "a\"b\"", "\"a\" b", "\"a\" \"b\""] {
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
