//! Writes `docs/webhook-flags.md`, the page of flags, and checks that it is up to date. With `CORDONHOLD_WRITE_MANUAL` set, the test writes
//! the page anew first.
//!
//! Not here: what the pages say about single flags, see `documents.rs`.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};
use cordonhold_webhook::{Args, CertsArgs, ExplainArgs, UninstallArgs};

const HEAD: &str = "\
# Flags of cordonhold-webhook

The program has three commands beside the webhook itself, each with flags of its own; `--help` prints the same.
The variable counts only if the command line does not have the flag.
Any mistake ends the program at its start with exit code 2 and one line that names the flag or variable, and the fix.
[webhook.md](webhook.md), [stock-kured.md](stock-kured.md) and [certificates.md](certificates.md) say what they are for.

This page is generated from the code: `CORDONHOLD_WRITE_MANUAL=1 cargo test -p cordonhold-webhook manual` writes it anew.
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for (heading, command) in [
        ("The webhook", Args::command()),
        ("`cordonhold-webhook explain`", ExplainArgs::command()),
        ("`cordonhold-webhook certs`", CertsArgs::command()),
        ("`cordonhold-webhook uninstall`", UninstallArgs::command()),
    ] {
        write!(page, "\n## {heading}\n").unwrap();
        page += &tables(&command);
    }
    page
}

/// A table for each group of flags, in the order of the groups' first flags.
fn tables(command: &Command) -> String {
    let flags: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| arg.get_long().is_some())
        .collect();
    let mut groups: Vec<Option<&str>> = Vec::new();
    for flag in &flags {
        let group = flag.get_help_heading();
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    let mut text = String::new();
    for group in groups {
        if let Some(heading) = group {
            write!(text, "\n### {heading}\n").unwrap();
        }
        text += "\n| flag | variable | default | meaning |\n| --- | --- | --- | --- |\n";
        text.extend(
            flags
                .iter()
                .filter(|flag| flag.get_help_heading() == group)
                .map(|flag| row(flag)),
        );
    }
    text
}

fn row(flag: &Arg) -> String {
    let code = |text: &str| {
        if text.is_empty() {
            String::new()
        } else {
            format!("`{text}`")
        }
    };
    let variable = flag.get_env().map_or("", |name| name.to_str().unwrap());
    let defaults: Vec<&str> = flag
        .get_default_values()
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect();
    let mut meaning = flag.get_help().map(ToString::to_string).unwrap_or_default();
    let values: Vec<String> = flag
        .get_possible_values()
        .iter()
        .filter(|_| flag.get_action().takes_values())
        .map(|value| match value.get_help() {
            Some(help) => format!("`{}` ({help})", value.get_name()),
            None => code(value.get_name()),
        })
        .collect();
    if !values.is_empty() {
        write!(meaning, ": {}", values.join(", ")).unwrap();
    }
    format!(
        "| `--{}` | {} | {} | {} |\n",
        flag.get_long().unwrap(),
        code(variable),
        code(&defaults.join(",")),
        meaning.replace('|', "\\|").replace('\n', " ")
    )
}

#[test]
fn the_manual_has_every_flag() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/webhook-flags.md");
    if std::env::var_os("CORDONHOLD_WRITE_MANUAL").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page(),
        "docs/webhook-flags.md is out of date: write it anew with `CORDONHOLD_WRITE_MANUAL=1 cargo test -p cordonhold-webhook manual`"
    );
}
