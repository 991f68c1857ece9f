//! The lock's record, and the requests that were used: what is read is written as it was, and no change of it lets more nodes in.

use std::collections::BTreeSet;

use cordonhold_shared::Reading;
use cordonhold_shared::host::Boot;
use cordonhold_shared::lock::{Entry, Record, UsedRequests};
use jiff::Timestamp;
use serde_json::Value;

use super::policy::NOW;
use super::{is_one_line, text};

pub(super) const WORDS: &[&str] = &[
    "{\"nodeID\":\"",
    "\"nodeID\":",
    "\"NODEID\":",
    "\"metadata\":{\"unschedulable\":true}",
    "\"created\":\"2026-11-23T10:00:00.5Z\"",
    "\"created\":\"0001-01-01T00:00:00Z\"",
    "\"created\":\"2026-11-23T10:00:00+01:00\"",
    "\"TTL\":-1",
    "\"TTL\":1800000000000",
    "\"TTL\":0",
    "\"maxOwners\":2",
    "\"locks\":[",
    "\"nodeUID\":",
    "\"sealed\":true",
    "\"attempts\":1",
    "\"write\":\"7\"",
    "\"nodes\":",
    "\"up_to\":",
    "\"x\":{}",
    "null",
    "[]",
    "{}",
    ",",
];

pub(super) fn check(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let mut record = match Record::read(Some(text)) {
        Reading::Absent => unreachable!("a text is there"),
        // Held by somebody else, for as long as it is so.
        Reading::Malformed(why) => return is_one_line(&why),
        Reading::Present(record) => record,
    };
    for entry in &mut record.entries {
        assert!(!entry.node.is_empty());
        entry.rest.values_mut().for_each(without_fractions);
    }
    if let Some(rendered) = record.render() {
        let again = Record::read(Some(&rendered))
            .present()
            .expect("it was written by us");
        assert_eq!(again.entries, record.entries, "{rendered}");
        assert_eq!(again.render().as_deref(), Some(rendered.as_str()));
    } else {
        assert!(record.entries.is_empty());
    }
    for entry in &record.entries {
        ours_never_ends_by_time(entry);
        changes_touch_one_node(&record, entry);
    }
    only_where_there_is_room(&record);
}

/// Takes the fractions out of fields that nobody knows: the last digit of one may come back another.
fn without_fractions(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => *value = Value::Null,
        Value::Array(values) => values.iter_mut().for_each(without_fractions),
        Value::Object(values) => values.values_mut().for_each(without_fractions),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn ours_never_ends_by_time(entry: &Entry) {
    assert!(
        !(entry.is_ours() && entry.has_expired(Timestamp::MAX)),
        "{entry:?}"
    );
    // The manual lock is removed by hand alone, unless somebody gave it a TTL.
    assert!(!(entry.is_by_hand() && entry.ttl_nanos <= 0 && entry.has_expired(Timestamp::MAX)));
    drop((entry.boot(), entry.deferred(), entry.requested_at()));
}

fn changes_touch_one_node(record: &Record, entry: &Entry) {
    let id = entry.id();
    let boot = Boot {
        id: "b".to_owned(),
        init: "1.0".to_owned(),
    };
    let others = |record: &Record| -> Vec<Entry> {
        let others = record.entries.iter().filter(|other| other.node != entry.node);
        others.cloned().collect()
    };
    let changed = [
        record.confirmed(&id, &boot, 1, None, None),
        record.kept(&id),
        record.released(&id),
    ];
    for changed in changed {
        let changed = changed.expect("the entry is there");
        assert_eq!(others(&changed), others(record));
    }
    let released = record.released(&id).expect("the entry is there");
    assert!(released.entry(&id).is_none());
}

/// AT-MOST-N: who acquires finds fewer nodes than may be in a reboot, and drops no entry that is not its own.
fn only_where_there_is_room(record: &Record) {
    let mine = || Entry::new("n-0", "u", "2026-11-23T10:00:00.000000000Z", false);
    let (over, held) = (record.expired(NOW), BTreeSet::new());
    for concurrency in 1..4 {
        let Ok(next) = record.acquired(mine(), concurrency, &over, &held) else {
            continue;
        };
        let nodes: BTreeSet<&str> = next.entries.iter().map(|entry| entry.node.as_str()).collect();
        assert!(nodes.len() <= concurrency, "{next:?}");
        assert!(
            !next.entries.iter().any(Entry::is_by_hand),
            "past the manual lock: {next:?}"
        );
        let is_kept = |entry: &&Entry| !over.contains(&entry.id()) && entry.node != "n-0";
        assert!(
            record
                .entries
                .iter()
                .filter(is_kept)
                .all(|entry| next.entries.contains(entry))
        );
        let read = Record::read(next.render().as_deref()).present();
        assert_eq!(read.map(|read| read.entries), Some(next.entries));
    }
}

pub(super) fn check_used(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let used = match UsedRequests::read(Some(text)) {
        Reading::Absent => unreachable!("a text is there"),
        Reading::Malformed(why) => return is_one_line(&why),
        Reading::Present(used) => used,
    };
    assert_eq!(
        UsedRequests::read(Some(&used.render())),
        Reading::Present(used.clone())
    );
    for node in ["a", "b", "n-0"] {
        // What was used stays used, whatever comes after.
        let before = used.up_to(node);
        if let Some(after) = used.with(node, NOW) {
            assert!(after.has(node, NOW) && before.is_none_or(|before| after.has(node, before)));
        }
    }
}
