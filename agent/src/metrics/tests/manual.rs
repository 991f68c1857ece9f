//! Writes the table of metrics in `docs/agent.md`, and checks that a page has exactly these metrics, and that the manuals name no others.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::manual;
use crate::metrics::table::{BUILD, Row};

fn rows() -> impl Iterator<Item = &'static Row> {
    Table::ROWS.iter().chain([&BUILD])
}

fn codes(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

/// The row of the manual.
fn cells(row: &Row) -> [String; 4] {
    let labels: Vec<&str> = row.labels.iter().map(|label| label.name).collect();
    let labels = match labels.as_slice() {
        [] => String::new(),
        labels => format!("{{{}}}", labels.join(",")),
    };
    let values = row
        .labels
        .iter()
        .map(|label| (label.values)())
        .filter(|values| !values.is_empty())
        .map(|values| format!(": {}", codes(&values)));
    [
        format!("`{}{labels}`", row.name),
        row.kind.to_owned(),
        format!("{}{}", row.help, values.collect::<String>()),
        row.matters.to_owned(),
    ]
}

#[test]
fn the_table_of_metrics_is_what_the_code_says() {
    let head = manual::head(&["metric", "type", "what", "when it matters"]);
    let rows: String = rows().map(|row| manual::row(cells(row))).collect();
    manual::assert_table_written("agent.md", &head, &rows);
}

/// A page on which every metric has at least one sample.
async fn full_page() -> String {
    let windows = closed_now();
    let metrics = Metrics::new("n", windows);
    let root = tempfile::tempdir().unwrap();
    let sentinel = Sentinel::in_root(root.path(), PathBuf::from("/reboot-required"));
    metrics.watch_sentinel(sentinel.unwrap());
    let mut node = NodeView::default();
    let account =
        r#"{"created":"2026-11-23T10:00:00Z","ended":"2026-11-23T10:08:00Z","seconds":{"sealed":1}}"#;
    let account = (keys::LAST_REBOOT.to_owned(), account.to_owned());
    node.metadata.annotations.extend([account]);
    metrics.learn(&node);
    metrics.count(Count::Retry("read the Node"));
    metrics.stands(Standing {
        blocked_by: BTreeSet::new(),
        lock_wait: Some(LockWait {
            since: Timestamp::UNIX_EPOCH,
            oldest: Some(Timestamp::UNIX_EPOCH),
        }),
        pods_left: Some(0),
    });
    metrics.render(&HeaderMap::new()).await.unwrap().text
}

#[tokio::test]
async fn a_page_has_each_metric_of_the_table_with_its_type_and_labels_and_no_other() {
    let page = full_page().await;
    let mut shown = BTreeMap::new();
    for line in page.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            let sample = if kind == "histogram" {
                format!("{name}_sum{{")
            } else {
                format!("{name}{{")
            };
            let samples = page.lines().filter(|line| line.starts_with(&sample));
            let labels = samples.flat_map(|line| {
                let (_, labels) = line.split_once('{').unwrap();
                let (labels, _) = labels.split_once('}').unwrap();
                labels.split(',').map(|label| label.split_once('=').unwrap().0)
            });
            drop(shown.insert(name, (kind, labels.collect::<BTreeSet<_>>())));
        }
    }
    let listed: BTreeMap<_, _> = rows()
        .map(|row| {
            // The text format has no type for it.
            let kind = if row.kind == "info" { "gauge" } else { row.kind };
            let labels = row.labels.iter().map(|label| label.name).chain(["node"]);
            (row.name, (kind, labels.collect::<BTreeSet<_>>()))
        })
        .collect();
    assert_eq!(shown, listed, "{page}");
}

#[tokio::test]
async fn each_counter_is_there_from_the_start_for_every_value_of_its_label() {
    let page = Metrics::new("n", Windows::default());
    let page = page.render(&HeaderMap::new()).await.unwrap().text;
    for row in rows().filter(|row| row.kind == "counter") {
        for value in row.labels.iter().flat_map(|label| (label.values)()) {
            let label = row.labels[0].name;
            let sample = format!("{}{{node=\"n\",{label}=\"{value}\"}} 0\n", row.name);
            assert!(page.contains(&sample), "{sample}: {page}");
        }
    }
}

/// What a text says of metrics: each name with the label and the value that it asks for, if any.
fn named(text: &str) -> Vec<(&str, Option<(&str, &str)>)> {
    let mut found = Vec::new();
    for prefix in ["cordonhold_agent_", "kured_reboot_"] {
        for (at, _) in text.match_indices(prefix) {
            let rest = &text[at..];
            let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_');
            let (name, rest) = rest.split_at(end.unwrap_or(rest.len()));
            let matcher = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            // `{label}` alone is the head of a row.
            let asked = matcher.and_then(|(matcher, _)| matcher.split_once(['=', '!']));
            found.push((name, asked));
        }
    }
    found
}

#[test]
fn the_manuals_name_no_metric_label_or_value_that_is_not_there() {
    for page in [
        include_str!("../../../../docs/agent.md"),
        include_str!("../../../../docs/events.md"),
        include_str!("../../../../README.md"),
        include_str!("../../../../docs/operating.md"),
        include_str!("../../../../docs/install.md"),
    ] {
        for (name, asked) in named(page) {
            let row = rows().find(|row| row.name == name);
            let row = row.unwrap_or_else(|| panic!("no metric {name}"));
            let Some((label, values)) = asked else { continue };
            let label = row.labels.iter().find(|known| known.name == label);
            let known = (label.unwrap_or_else(|| panic!("{name} has no such label")).values)();
            let values = values.trim_matches(['=', '~', '"']).replace('\\', "");
            for value in values.split('|') {
                assert!(known.contains(&value), "{name}: {value} is none of {known:?}");
            }
        }
    }
}
