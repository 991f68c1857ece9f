//! The page of flags, `FLAGS.md`.

use std::fmt::Write as _;

use super::kured::kured_flags;
use super::*;
use crate::manual;

/// Where a flag of kured's differs from kured, on purpose.
const BETTER: &[(&str, &str)] = &[
    (
        "alert-filter-regexp",
        "an empty expression filters nothing; in kured it silences every alert; `\\\\Q`, `\\\\p` and octal escapes are refused",
    ),
    (
        "annotate-nodes",
        "written with the wish, on that very version of the Node; the first is removed however the wish ends",
    ),
    (
        "blocking-pod-selector",
        "its variable works, with `;` between selectors; an empty selector, which would always block, is refused",
    ),
    ("concurrency", "also a percentage; 0 is refused"),
    (
        "drain-delay",
        "lies between the cordon and the first eviction; in kured before the cordon, while pods still land; negative durations are refused, here and elsewhere",
    ),
    (
        "drain-grace-period",
        "the variable takes hexadecimal and octal numbers too, here and elsewhere",
    ),
    (
        "drain-timeout",
        "whatever refuses an eviction is asked again until then; in kured a webhook that refuses one ends the drain at once",
    ),
    ("end-time", "`5:00pm` works, as kured's manual says"),
    (
        "force-reboot",
        "waives the look at the pods alone, and only after `--drain-timeout`; a value without `=` is refused; kured takes `--force-reboot false` for true, here and elsewhere",
    ),
    (
        "lock-release-delay",
        "survives a restart; no delay where no reboot happened",
    ),
    (
        "lock-ttl",
        "changes nothing: an entry ends by what its Node shows, never by time",
    ),
    (
        "log-format",
        "a word that is neither is said to be taken for text; every line is JSON, or none",
    ),
    ("message-template-drain", "a text without one `%s` is refused"),
    ("message-template-reboot", "a text without one `%s` is refused"),
    ("message-template-uncordon", "a text without one `%s` is refused"),
    (
        "metrics-host",
        "an IPv6 address needs no brackets; beside an IP address, 127.0.0.1 is served; one that cannot be had is tried again",
    ),
    ("metrics-port", "0 serves nothing"),
    ("node-id", "checked to be a name"),
    (
        "notify-url",
        "the service is checked at the start; the URL is never printed",
    ),
    (
        "period",
        "0 is refused; the first look comes at once, and watches wake the agent earlier where they can",
    ),
    (
        "post-reboot-node-labels",
        "checked at the start; put also on a node that stays cordoned",
    ),
    (
        "pre-reboot-node-labels",
        "checked at the start; as they were again where the reboot is called off",
    ),
    (
        "prefer-no-schedule-taint",
        "on the node as long as it wants a reboot, removed however that ends",
    ),
    (
        "reboot-command",
        "where it fails the node is drained again, in kured the process ends; after a minute without failing it counts as accepted",
    ),
    (
        "reboot-days",
        "a list without a day is refused; in kured no reboot would ever begin",
    ),
    (
        "reboot-delay",
        "the node is watched meanwhile and checked at the end",
    ),
    (
        "reboot-sentinel",
        "symlinks are resolved as on the host; a directory of that name asks for nothing",
    ),
    ("slack-channel", "deprecated: said to have no effect, as in kured"),
    (
        "slack-hook-url",
        "deprecated: a wrong address is refused; in kured nothing is sent",
    ),
    (
        "slack-username",
        "deprecated: said to have no effect, as in kured",
    ),
    ("start-time", "`5:00pm` works, as kured's manual says"),
    ("time-zone", "needs no zone files in the image"),
];

const HEAD: &str = "\
# Flags of cordonhold-agent

Every flag of kured 1.23.0 is here with its name, its variable and its default, so a kured DaemonSet's arguments work unchanged.
The last column compares: *same* as in kured, *better* on purpose, or *new*.
**Not yet** means that this version reads and checks the flag, and refuses to start if it is set to anything but its default.

What holds for all of them:

* A variable is read where the command line does not name the flag; in kured the variable wins.
* The last of a repeated flag counts; lists add up, or are separated by commas, and replace the default.
* A word that belongs to no flag is an error; kured passes over it.
* Whatever cannot be used ends the agent at its start with exit code 2, and one line that names the flag or the variable, and the fix.

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
            text += &manual::head(&["flag", "variable", "default", "meaning", "beside kured"]);
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
    let beside = match BETTER.iter().find(|(name, _)| *name == flag) {
        Some((_, how)) => format!("better: {how}"),
        None if kured_flags().iter().any(|known| known.name == flag) => "same".to_owned(),
        None => "new".to_owned(),
    };
    let not_yet = if not_yet::FLAGS.iter().any(|(name, _)| *name == flag) {
        "**Not yet.** "
    } else {
        ""
    };
    manual::row([
        format!("`--{flag}`"),
        format!("`{variable}`"),
        default,
        not_yet.to_owned() + &meaning,
        beside,
    ])
}

#[test]
fn the_manual_is_what_the_code_says() {
    manual::assert_written("FLAGS.md", &page());
}

#[test]
fn what_is_better_than_in_kured_is_a_flag_of_kured() {
    let flags = kured_flags();
    for (name, _) in BETTER {
        assert!(flags.iter().any(|flag| flag.name == *name), "{name}");
    }
}
