//! The fields of a report's log line beside `event` and the text.
//!
//! Not here: which report has which fields, see [`super::Report::fields`].

use std::collections::BTreeSet;

use crate::quote::{one_line, quoted};

/// The fields of a log line. Their names never change their meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// The phase of the hold.
    pub phase: Option<&'static str>,
    /// Why something happened, as a word of a closed set; for a request, what it is for.
    pub reason: Option<&'static str>,
    /// The stage of the cycle in which an unexpected answer came.
    pub stage: Option<&'static str>,
    /// The answer that was not expected.
    pub answer: Option<&'static str>,
    /// Who or what the report is about: what disturbed the drain, what postpones the reboot, which nodes have the lock.
    pub by: Option<String>,
    /// What the agent does now, as a word of a closed set.
    pub next: Option<&'static str>,
    /// Why something happened, in a sentence.
    pub why: Option<String>,
    /// The first pods that are concerned, as `namespace/name`.
    pub pods: Option<String>,
    /// How many pods are concerned in all.
    pub pod_count: Option<usize>,
    /// Whether the node was cordoned before the reboot was prepared.
    pub was_unschedulable: Option<bool>,
    /// Whether the node is cordoned now.
    pub unschedulable: Option<bool>,
    /// Which drain of this hold it is, counted from 1.
    pub round: Option<u8>,
}

/// Most characters of one field that a sentence repeats: the note of an Event holds 1 KiB.
const DETAIL_MAX: usize = 1024;
/// Most pods that a log line names.
const PODS_MAX: usize = 10;

impl Fields {
    /// The text, followed by the fields that say why, in parentheses.
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

/// Joins names of nodes or controllers with commas. Each is quoted, because a node's name in the lock can be any text.
pub(super) fn joined(names: &BTreeSet<String>) -> String {
    let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    names.join(",")
}

/// Joins the first [`PODS_MAX`] of these pods with commas.
pub(super) fn first_pods(pods: &[String]) -> String {
    let named: Vec<&str> = pods.iter().take(PODS_MAX).map(String::as_str).collect();
    named.join(",")
}
