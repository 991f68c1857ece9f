//! The page's table lists exactly the metrics of the code, with their labels.

use std::collections::{BTreeMap, BTreeSet};

use cordonhold_shared::admission::{Mode, Reason};

use super::*;

/// A page on which every metric has at least one sample.
fn full_page() -> String {
    let metrics = Metrics::new();
    metrics.kured_watch_heard();
    metrics.kured_is(KuredFound::Configured);
    let verdict = Verdict::unjudged(Reason::MalformedReview, Mode::Enforce, "");
    metrics.decided(&verdict, Duration::ZERO);
    metrics.render(&HeaderMap::new()).unwrap().text
}

/// The labels of each metric on a page, by the metric's name. What the format itself adds is left out.
fn metrics_of(page: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let histograms: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" histogram"))
        .collect();
    let mut metrics: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for sample in page.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = sample.split_at(sample.find(['{', ' ']).unwrap());
        let histogram = histograms.iter().find(|histogram| name.starts_with(**histogram));
        let labels = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        metrics
            .entry(histogram.unwrap_or(&name))
            .or_default()
            .extend(labels.into_iter().flat_map(|(labels, _)| label_names(labels)));
    }
    metrics
}

fn label_names(labels: &str) -> impl Iterator<Item = &str> {
    labels
        .split(',')
        .map(|label| label.split('=').next().unwrap_or(label))
        .filter(|name| *name != "le")
}

/// The labels of each metric in the page's table, which has `name{label,label}` in the first cell of each row.
fn documented(manual: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let (_, table) = manual.split_once("| metric | what |\n| --- | --- |\n").unwrap();
    table
        .lines()
        .map_while(|row| row.strip_prefix("| `")?.split_once('`'))
        .map(|(cell, _)| match cell.split_once('{') {
            Some((name, labels)) => (name, label_names(labels.trim_end_matches('}')).collect()),
            None => (cell, BTreeSet::new()),
        })
        .collect()
}

#[test]
fn every_metric_is_in_the_page_with_its_labels() {
    let page = full_page();
    assert_eq!(
        documented(include_str!("../../../docs/webhook.md")),
        metrics_of(&page)
    );
}

#[test]
fn every_value_of_a_label_is_there_from_the_start() {
    let page = Metrics::new().render(&HeaderMap::new()).unwrap().text;
    for (name, values) in [
        ("decisions_total{", Reason::ALL.len()),
        ("mutations_total{outcome", MutationOutcome::ALL.len()),
        ("connections_refused_total{reason", Refusal::ALL.len()),
        ("requests_rejected_total{reason", Rejection::ALL.len()),
        ("tls_reloads_total{", Reload::ALL.len() * ReloadOutcome::ALL.len()),
        ("lookups_total{", LookupKind::ALL.len() * LookupOutcome::ALL.len()),
        ("events_total{outcome", EventOutcome::ALL.len()),
        ("trust_problem{", Problem::ALL.len()),
    ] {
        let found = page
            .lines()
            .filter(|line| line.contains(name) && line.ends_with(" 0"));
        assert_eq!(found.count(), values, "{name}");
    }
    assert!(!page.contains("kured_watch_age"), "nothing is watched");
}
