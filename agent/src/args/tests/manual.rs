//! Generates `docs/flags.md`, the page of flags, and checks that it is up to date.
//!
//! Not here: what the page says of each flag beside the comparison with kured, which is the flag's help text.

use std::fmt::Write as _;

use super::kured::kured_flags;
use super::*;
use crate::manual;

/// The flags of kured that differ from kured on purpose, and how they differ.
const BETTER: &[(&str, &str)] = &[
    (
        "alert-filter-regexp",
        "an empty expression ignores no alert, in kured it ignores every alert; `\\Q`, `\\p` and octal escapes are refused",
    ),
    (
        "annotate-nodes",
        "written in the same write as the wish, so no other change of the Node is lost; weave.works/kured-reboot-in-progress is removed however the wish ends",
    ),
    (
        "blocking-pod-selector",
        "has a variable, with `;` between selectors; an empty selector, which would always block, is refused",
    ),
    ("concurrency", "also a percentage; 0 is refused"),
    (
        "drain-delay",
        "waits between the cordon and the first eviction, in kured before the cordon, while pods still land; negative durations are refused, for this and every other flag",
    ),
    (
        "drain-grace-period",
        "the variable takes hexadecimal and octal numbers too, as for every number",
    ),
    (
        "drain-timeout",
        "a refused eviction is tried again until then, in kured a webhook that refuses one ends the drain at once",
    ),
    (
        "end-time",
        "`5:00pm` works, as kured's manual says; the window is asked again right before the reboot",
    ),
    (
        "force-reboot",
        "skips only the check for pods, and only after `--drain-timeout`; a value needs `=`, as for every on/off flag: `--force-reboot false` is refused, in kured it means true",
    ),
    (
        "lock-release-delay",
        "survives a restart of the agent; no delay if no reboot happened",
    ),
    (
        "lock-ttl",
        "has no effect: an entry ends by what its Node shows, never by time",
    ),
    (
        "log-format",
        "warns of an unknown word; with json every line is JSON",
    ),
    ("message-template-drain", "a text without one `%s` is refused"),
    ("message-template-reboot", "a text without one `%s` is refused"),
    ("message-template-uncordon", "a text without one `%s` is refused"),
    (
        "metrics-host",
        "an IPv6 address needs no brackets; with an IP address, 127.0.0.1 is served as well; an address that cannot be bound is tried again",
    ),
    ("metrics-port", "0 serves none"),
    ("node-id", "must be a valid name of a Node"),
    (
        "notify-url",
        "checked at the start, as far as the service's URL goes; may be repeated; sent beside the loop, so a receiver that hangs delays nothing; never printed; see [operating.md](operating.md#messages-to-people)",
    ),
    (
        "period",
        "0 is refused; the first check comes at once, and watches wake the agent earlier where they can",
    ),
    (
        "post-reboot-node-labels",
        "checked at the start; also put on a node that stays cordoned",
    ),
    (
        "pre-reboot-node-labels",
        "checked at the start; put back as they were if the reboot is called off",
    ),
    (
        "prefer-no-schedule-taint",
        "on the node from the wish on, also outside of the window, removed however the reboot ends",
    ),
    (
        "reboot-command",
        "if it fails the node is drained again, in kured the process ends; if it has not failed after a minute, it counts as accepted",
    ),
    (
        "reboot-days",
        "a list without a day is refused, in kured no reboot would ever begin",
    ),
    (
        "reboot-delay",
        "the node is watched meanwhile and checked at the end",
    ),
    (
        "reboot-method",
        "also `logind` and `auto`; `signal` is refused where PID 1 is not the host's init; a host that does not go down is told of, for each",
    ),
    (
        "reboot-sentinel",
        "symlinks are followed as on the host; a directory of that name asks for nothing",
    ),
    (
        "reboot-sentinel-command",
        "no answer is neither yes nor no, and told once; in kured it is no, or ends the process; a command that hangs is killed",
    ),
    (
        "reboot-signal",
        "checked at the start: a number that is no signal is refused",
    ),
    ("slack-channel", "deprecated; warns that it has no effect"),
    (
        "slack-hook-url",
        "deprecated; warns of a URL that is no webhook, to which nothing is sent, as in kured",
    ),
    ("slack-username", "deprecated; warns that it has no effect"),
    ("start-time", "`5:00pm` works, as kured's manual says"),
    ("time-zone", "needs no zone files in the image"),
];

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
    let beside = match BETTER.iter().find(|(name, _)| *name == flag) {
        Some((_, how)) => format!("better: {how}"),
        None if kured_flags().iter().any(|known| known.name == flag) => "same".to_owned(),
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

#[test]
fn what_is_better_than_in_kured_is_a_flag_of_kured() {
    let flags = kured_flags();
    for (name, _) in BETTER {
        assert!(flags.iter().any(|flag| flag.name == *name), "{name}");
    }
}
