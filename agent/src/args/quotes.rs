//! Takes off the quotes that YAML keeps around the values of kured's flags, as in `- --notify-url=""`, with one warning for all.
//!
//! kured takes them off `--notify-url` and `--slack-hook-url` (kubereboot/kured: `cmd/kured/main.go`, `stripQuotes`). It starts with
//! most other values in quotes too, so a DaemonSet that has them must start here.
//! Not here: our own flags, whose values in quotes are refused ([`cordonhold_rt::argument`]).

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use clap::{Arg, Command};
use cordonhold_rt::argument;

/// What the names of the variables of kured's flags begin with. No other flag has such a variable.
const VARIABLES: &str = "KURED_";

/// A command line and variables without such quotes.
#[derive(Default)]
pub(super) struct Plain {
    /// The words of the command line.
    pub(super) line: Vec<OsString>,
    /// The variables whose values had quotes.
    pub(super) variables: BTreeMap<String, OsString>,
    /// The flags and variables whose values had quotes.
    names: Vec<String>,
}

/// A flag of kured's.
struct Flag {
    /// As it is written: `--period`.
    name: String,
    variable: String,
    /// Whether its value may be the next word.
    may_be_two_words: bool,
}

impl Plain {
    /// Takes the quotes off each word of the line and each variable that is the value of a flag of kured's.
    pub(super) fn new(
        command: &Command,
        line: impl IntoIterator<Item = OsString>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Plain {
        let flags: Vec<Flag> = command.get_arguments().filter_map(Flag::of).collect();
        let mut plain = Plain::default();
        let mut given = Vec::new();
        let mut awaits_value: Option<&Flag> = None;
        for word in line {
            // What is not UTF-8 is no value of any flag.
            let text = word.to_str().unwrap_or_default();
            let (name, value) = text
                .split_once('=')
                .map_or((text, None), |(name, value)| (name, Some(value)));
            let flag = flags.iter().find(|flag| flag.name == name);
            let inner = match (awaits_value.take(), flag, value) {
                (Some(before), ..) => plain.take(&before.name, text),
                (None, Some(flag), Some(value)) => {
                    let inner = plain.take(&flag.name, value);
                    inner.map(|inner| format!("{name}={inner}"))
                }
                (None, Some(flag), None) => {
                    awaits_value = Some(flag).filter(|flag| flag.may_be_two_words);
                    None
                }
                (None, None, _) => None,
            };
            given.extend(flag.map(|flag| &flag.variable));
            plain.line.push(inner.map_or(word, OsString::from));
        }
        for flag in flags.iter().filter(|flag| !given.contains(&&flag.variable)) {
            let value = variable(&flag.variable);
            let inner = value.and_then(|value| plain.take(&flag.variable, value.to_str()?));
            if let Some(inner) = inner {
                drop(plain.variables.insert(flag.variable.clone(), inner.into()));
            }
        }
        plain
    }

    /// The value inside of its quotes, if it has some.
    fn take(&mut self, name: &str, value: &str) -> Option<String> {
        let inner = argument::unquoted(value.trim())?;
        if !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_owned());
        }
        Some(inner.to_owned())
    }

    /// The warning about the quotes that were taken off. It repeats no value, because some are secrets.
    pub(super) fn warning(&self) -> Option<String> {
        (!self.names.is_empty()).then(|| {
            format!(
                "the quotes around the value of {} are not taken as a part of it: YAML keeps quotes inside a word, so write --flag=VALUE without any, or put them around the whole word",
                self.names.join(", ")
            )
        })
    }
}

impl Flag {
    fn of(arg: &Arg) -> Option<Flag> {
        let variable = arg.get_env().and_then(OsStr::to_str)?;
        variable.starts_with(VARIABLES).then_some(Flag {
            name: format!("--{}", arg.get_long()?),
            variable: variable.to_owned(),
            may_be_two_words: !arg.is_require_equals_set(),
        })
    }
}
