//! Generates `docs/flags.md`, the page of flags, and checks that it is up to date.
//!
//! Not here: what the page says of each flag beside the comparison with kured, which is the flag's help text.

use std::fmt::Write as _;

use cordonhold_shared::migration::{FLAGS, Kind, KuredFlag};

use super::kured::kured_flags;
use super::*;
use crate::manual;

const HEAD: &str = "\
# Flags of cordonhold-agent

Every flag of kured 1.23.0 is here with its name, its variable and its default.
So the arguments of kured's DaemonSet work unchanged.
The last column compares each flag with kured's: *same*, *better* (different on purpose), or *new*.

For all flags:

* The variable counts only if the command line does not have the flag; in kured the variable wins.
* Of a repeated flag the last one counts.
  A flag that takes a list can be repeated, or have its values separated by commas; what is given replaces the default.
* A word that belongs to no flag is an error; kured ignores it.
* Any mistake ends the agent at its start with exit code 2 and one line that names the flag or variable, and the fix.

This page is generated from the code: `CORDONHOLD_WRITE_MANUAL=1 cargo test -p cordonhold-agent manual` writes it anew.
";

fn page() -> String {
    let mut text = HEAD.to_owned();
    let mut heading = "";
    let command = command();
    for arg in command.get_arguments() {
        let group = arg.get_help_heading().unwrap();
        if group != heading {
            heading = group;
            write!(text, "\n## {heading}\n\n").unwrap();
            text += &manual::head(&["flag", "variable", "default", "meaning", "compared with kured"]);
        }
        text += &row(arg);
    }
    text
}

fn row(arg: &clap::Arg) -> String {
    let flag = arg.get_long().unwrap();
    let variable = arg.get_env().unwrap().to_str().unwrap();
    let defaults: Vec<&str> = arg
        .get_default_values()
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect();
    let default = match defaults.join(",") {
        text if text.is_empty() => String::new(),
        text => format!("`{text}`"),
    };
    let mut meaning = arg.get_help().unwrap().to_string();
    let values: Vec<String> = arg
        .get_possible_values()
        .iter()
        .map(|value| match value.get_help() {
            Some(help) => format!("`{}` ({help})", value.get_name()),
            None => format!("`{}`", value.get_name()),
        })
        .collect();
    if !values.is_empty() {
        write!(meaning, ": {}", values.join(", ")).unwrap();
    }
    let beside = match KuredFlag::named(flag).map(|known| known.differs) {
        Some(Some(how)) => format!("better: {how}"),
        Some(None) => "same".to_owned(),
        None => "new".to_owned(),
    };
    manual::row([
        format!("`--{flag}`"),
        format!("`{variable}`"),
        default,
        meaning,
        beside,
    ])
}

#[test]
fn the_manual_is_what_the_code_says() {
    manual::assert_written("flags.md", &page());
}

/// The core's table of kured's flags is the list that was read from kured's source.
#[test]
fn the_core_knows_the_flags_of_kured_and_their_kinds() {
    let kind = |of: &str| match of {
        "bool" => Kind::Switch,
        "int" => Kind::Number,
        "stringArray" | "stringSlice" => Kind::List,
        _ => Kind::Text,
    };
    let read: Vec<(String, Kind)> = kured_flags()
        .iter()
        .map(|flag| (flag.name.to_owned(), kind(flag.kind)))
        .collect();
    let known: Vec<(String, Kind)> = FLAGS
        .iter()
        .map(|flag| (flag.name.to_owned(), flag.kind))
        .collect();
    assert_eq!(known, read);
}
