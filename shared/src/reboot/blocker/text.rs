//! What a blocker says to people: what postpones the reboot, and when or how it goes on.
//!
//! What others wrote is quoted and has a bound. Not here: which blockers there are ([`super`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::budgets::Refusal;
use super::{Blocker, Foreign, RebootsMax};
use crate::keys;
use crate::quote::{QUOTED_MAX, always_quoted, quoted};

/// Most names in a sentence about a blocker, as in kured.
const NAMED_MAX: usize = 10;

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&match self {
            Blocker::OutsideWindow {
                windows,
                opens,
                needs,
            } => outside(windows, opens.as_deref(), *needs),
            Blocker::NodePaused(word) => paused("this node", word, "the Node"),
            Blocker::PoolPaused(word) => paused("the pool", word, "the lock's object"),
            Blocker::Unavailable { unready, allowed } => unavailable(unready, *allowed),
            Blocker::Alerts(names) => alerts(names),
            Blocker::Series {
                expression,
                count,
                first,
            } => series(expression, *count, first),
            Blocker::Pods { flag, names } => pods(flag, names),
            Blocker::Object { object, expression } => being(object, expression),
            Blocker::Budgets(refusals) => budgets(refusals),
            Blocker::Inhibitors(holders) => inhibitors(holders),
            Blocker::NodeLabels(selector) => node_labels(selector),
            Blocker::NodeAnnotation { key, value } => node_annotation(key, value),
            Blocker::Loop { count, max, last } => looping(*count, *max, *last),
            Blocker::LoopUnreadable(why) => unreadable(keys::REBOOTS, "the Node", "--reboots-max", why),
            Blocker::MinInterval {
                ended,
                interval,
                until,
            } => min_interval(*ended, *interval, *until),
            Blocker::LastRebootUnreadable(why) => {
                unreadable(keys::LAST_REBOOT, "the lock's object", "--min-interval", why)
            }
            Blocker::Spread { label, ours, others } => spread(label, ours.as_deref(), others),
            Blocker::ForeignReboot(foreign) => foreign_reboot(*foreign),
            Blocker::ForeignReboots {
                foreign,
                others,
                allowed,
            } => foreign_reboots(foreign, *others, *allowed),
            Blocker::Unanswered { question, since, why } => unanswered(question, *since, why),
        })
    }
}

/// That no window is open, or none for long enough, and when one opens.
fn outside(windows: &str, opens: Option<&str>, needs: Option<SignedDuration>) -> String {
    match (opens, needs) {
        (Some(opens), None) => {
            format!("outside of the window: a reboot may begin again at {opens}; the window is {windows}")
        }
        (Some(opens), Some(needs)) => format!(
            "a reboot, which takes {needs:#}, would not end in the window: one may begin at {opens}; the window is {windows}"
        ),
        (None, None) => format!("outside of the window, which never opens: it is {windows}"),
        (None, Some(needs)) => format!(
            "a reboot takes {needs:#}, and the window is never open for that long: make it longer, or say how long a reboot takes with --expected-duration; it is {windows}"
        ),
    }
}

fn paused(whom: &str, word: &str, object: &str) -> String {
    let (word, key) = (quoted(word), keys::PAUSE);
    format!("a person paused {whom} ({word}): it goes on when the annotation {key} is removed from {object}")
}

fn unavailable(unready: &BTreeSet<String>, allowed: usize) -> String {
    let (count, names) = (unready.len(), listed(unready));
    format!(
        "Nodes that are not Ready: {count} ({names}), and --max-unavailable allows {allowed}: bring them back, or allow more"
    )
}

fn alerts(names: &BTreeSet<String>) -> String {
    let names = listed(names);
    format!(
        "alerts are active in Prometheus: {names}: it goes on when they are resolved, or when --alert-filter-regexp ignores them"
    )
}

fn series(expression: &str, count: usize, first: &str) -> String {
    let expression = always_quoted(expression, QUOTED_MAX);
    format!(
        "--blocker-promql={expression} returns {count} series, such as {first}: it goes on when it returns none"
    )
}

fn pods(flag: &str, names: &BTreeSet<String>) -> String {
    let names = listed(names);
    format!("pods on this node that {flag} selects: {names}: it goes on when they have ended or left")
}

fn being(object: &str, expression: &str) -> String {
    let expression = always_quoted(expression, QUOTED_MAX);
    format!("{expression} is true of {object} (--blocker-object): it goes on when it is false")
}

fn budgets(refusals: &[Refusal]) -> String {
    let refusals = bounded(refusals.iter().map(Refusal::to_string));
    format!(
        "a drain would be refused (--preflight): {refusals}: it goes on when the budgets allow an eviction, such as when more of their pods are Ready"
    )
}

fn inhibitors(holders: &BTreeSet<String>) -> String {
    let holders = listed(holders);
    format!(
        "programs on the host block its shutdown: {holders}: it goes on when they no longer do; systemd-inhibit --list on the host shows them"
    )
}

fn node_labels(selector: &str) -> String {
    let selector = always_quoted(selector, QUOTED_MAX);
    format!(
        "--blocking-node-selector={selector} selects this node: it goes on when the Node's labels no longer match"
    )
}

fn node_annotation(key: &str, value: &str) -> String {
    let value = always_quoted(value, QUOTED_MAX);
    format!(
        "the Node has the annotation {key}={value}, which --blocking-node-annotation names: it goes on when that is removed from the Node"
    )
}

fn looping(count: usize, max: RebootsMax, last: Timestamp) -> String {
    let (within, allowed, key) = (max.within, max.count, keys::REBOOTS);
    format!(
        "this node has rebooted {count} times in the {within:#} before this wish, the last time at {last:.0}, and --reboots-max allows {allowed}: \
         find out why it still asks for a reboot; it goes on when the annotation {key} is removed from the Node"
    )
}

/// That an annotation which a flag needs cannot be read.
fn unreadable(key: &str, object: &str, flag: &str, why: &str) -> String {
    format!(
        "{flag} needs the annotation {key} of {object}, and it cannot be read: {why}: it goes on when the annotation is removed there"
    )
}

fn min_interval(ended: Timestamp, interval: SignedDuration, until: Timestamp) -> String {
    format!(
        "the last reboot of the pool ended at {ended:.0}, and --min-interval keeps {interval:#} between two: it goes on at {until:.0}"
    )
}

fn spread(label: &str, ours: Option<&str>, others: &BTreeMap<String, Option<String>>) -> String {
    let value = |value: Option<&str>| {
        value.map_or_else(|| "no such label".to_owned(), |value| format!("{label}={value}"))
    };
    let ours = value(ours);
    let others = others
        .iter()
        .map(|(name, theirs)| format!("{} ({})", quoted(name), value(theirs.as_deref())));
    format!(
        "--spread-by={label} keeps nodes of different values apart: this node has {ours}, and these are in a reboot: {}: it goes on when they are back",
        bounded(others)
    )
}

fn foreign_reboot(foreign: Foreign) -> String {
    format!("somebody else reboots this node ({foreign}): it goes on when the Node no longer shows that")
}

fn foreign_reboots(foreign: &BTreeMap<String, Foreign>, others: usize, allowed: usize) -> String {
    let (count, names) = (
        foreign.len(),
        bounded(
            foreign
                .iter()
                .map(|(name, foreign)| format!("{} ({foreign})", quoted(name))),
        ),
    );
    format!(
        "somebody else reboots {count} nodes of the pool: {names}; {others} more are in the lock or held, and --concurrency allows {allowed}: it goes on when one of them is back"
    )
}

fn unanswered(question: &str, since: Timestamp, why: &str) -> String {
    format!("{question}: no answer since {since:.0}: {why}; --blocker-timeout can limit how long that blocks")
}

/// These kinds, each once, separated by commas.
pub fn kinds<'a>(kinds: impl Iterator<Item = &'a str>) -> String {
    let kinds: BTreeSet<&str> = kinds.collect();
    kinds.into_iter().collect::<Vec<_>>().join(",")
}

/// Each of these as a sentence, separated by semicolons.
pub fn sentences(of: &[impl fmt::Display]) -> String {
    let sentences: Vec<String> = of.iter().map(ToString::to_string).collect();
    sentences.join("; ")
}

/// The first of these names, each quoted, and how many more there are.
pub(crate) fn listed(names: &BTreeSet<String>) -> String {
    bounded(names.iter().map(|name| quoted(name)))
}

/// The first of these texts, and how many more there are.
fn bounded(texts: impl ExactSizeIterator<Item = String>) -> String {
    let more = texts.len().saturating_sub(NAMED_MAX);
    let mut shown: Vec<String> = texts.take(NAMED_MAX).collect();
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown.join(", ")
}
