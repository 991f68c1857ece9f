//! The fields of `docs/audit.md` are exactly those of a log line.

use std::io::Write;
use std::sync::{Arc, Mutex};

use cordonhold_shared::admission::{Mode, Reason};
use serde_json::Value;

use super::*;
use crate::review::Head;

/// A writer that keeps a log line for a test.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The line as the program's own JSON format writes it.
fn line(entry: &LogLine<'_>) -> Value {
    let page = Page::default();
    let writer = page.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_writer(move || writer.clone())
        .finish();
    let verdict = Verdict::unjudged(Reason::MalformedReview, Mode::Warn, "");
    tracing::subscriber::with_default(subscriber, || {
        entry.write(&verdict, Duration::from_micros(7));
    });
    let bytes = page.0.lock().unwrap().clone();
    serde_json::from_slice(&bytes).unwrap()
}

/// The fields of the page's table, in its order; a row can have several.
fn documented() -> Vec<&'static str> {
    let (_, table) = include_str!("../../../docs/audit.md")
        .split_once("| field | what |\n| --- | --- |\n")
        .unwrap();
    table
        .lines()
        .map_while(|row| row.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|cell| cell.split(", "))
        .map(|field| field.trim_matches('`'))
        .collect()
}

#[test]
fn every_line_has_the_fields_of_the_page() {
    let unreadable = Unreadable {
        head: Head {
            uid: Some("r-1".to_owned()),
            user: "who".to_owned(),
            operation: "DELETE".to_owned(),
            name: "node-0".to_owned(),
        },
        why: "cut off".to_owned(),
    };
    let line = line(&LogLine::unreadable(&unreadable));
    let mut fields: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    let mut documented = documented();
    fields.sort_unstable();
    documented.sort_unstable();
    assert_eq!(fields, documented);
    assert_eq!((&line["uid"], &line["verdict"]), (&"r-1".into(), &"flag".into()));
    assert_eq!(
        (&line["user"], &line["operation"], &line["node"]),
        (&"who".into(), &"DELETE".into(), &"node-0".into())
    );
    assert_eq!((&line["mode"], &line["latency_us"]), (&"warn".into(), &7.into()));
}

#[test]
fn a_line_is_bounded_whatever_a_client_sent() {
    let long = "ü".repeat(FIELD_MAX_BYTES);
    let entry = LogLine {
        user: &long,
        groups: long.clone(),
        error: &long,
        ..LogLine::default()
    };
    let line = line(&entry);
    for field in ["user", "groups", "error"] {
        assert_eq!(line[field].as_str().unwrap().len(), FIELD_MAX_BYTES, "{field}");
    }
}
