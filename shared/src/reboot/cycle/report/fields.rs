//! The fields of a report's log line, beside `event` and the text.
//!
//! Not here: which report has which ([`super::Report::fields`]).

use std::collections::BTreeSet;

use crate::quote::{one_line, quoted};

/// The fields of a log line. Their names never change their meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// How far the hold has come.
    pub phase: Option<&'static str>,
    /// Why, as a word; of a request, what it is for.
    pub reason: Option<&'static str>,
    /// Which stage of the cycle.
    pub stage: Option<&'static str>,
    /// Which answer.
    pub answer: Option<&'static str>,
    /// What disturbed the drain, or who is in the way.
    pub by: Option<String>,
    /// What happens now.
    pub next: Option<&'static str>,
    /// Why, in words.
    pub why: Option<String>,
    /// Some pods, as `namespace/name`.
    pub pods: Option<String>,
    /// How many pods.
    pub pod_count: Option<usize>,
    /// What the cordon was before the reboot.
    pub was_unschedulable: Option<bool>,
    /// What the cordon is now.
    pub unschedulable: Option<bool>,
    /// Which drain of this hold; the first is 1.
    pub round: Option<u8>,
}

/// How much of one field a sentence repeats, in characters: an Event takes no more.
const DETAIL_MAX: usize = 1024;
/// How many pods a line names.
const PODS_MAX: usize = 10;

impl Fields {
    /// The text, and in parentheses the fields that say why.
    pub(super) fn sentence(&self, text: &str) -> String {
        let details = [
            self.reason,
            self.stage,
            self.answer,
            self.by.as_deref(),
            self.why.as_deref(),
            self.pods.as_deref(),
        ];
        let details: Vec<String> = details
            .into_iter()
            .flatten()
            .map(|detail| one_line(detail, DETAIL_MAX))
            .collect();
        if details.is_empty() {
            text.to_owned()
        } else {
            format!("{text} ({})", details.join(": "))
        }
    }
}

/// Names of nodes or controllers. What an entry of the lock calls a node can be any text.
pub(super) fn joined(names: &BTreeSet<String>) -> String {
    let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    names.join(",")
}

/// The first of these pods.
pub(super) fn first_pods(pods: &[String]) -> String {
    let named: Vec<&str> = pods.iter().take(PODS_MAX).map(String::as_str).collect();
    named.join(",")
}
