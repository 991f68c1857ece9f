use super::*;

const KURED_SINGLE: &str = r#"{"nodeID":"n1","metadata":{"unschedulable":false},"created":"2026-11-23T19:29:21.427812824Z","TTL":0}"#;

fn record(text: &str) -> Record {
    Record::read(Some(text)).present().unwrap()
}

#[test]
fn kureds_shapes_are_read_and_written() {
    assert_eq!(record(KURED_SINGLE).render(1).as_deref(), Some(KURED_SINGLE));
    let multi = format!(r#"{{"maxOwners":2,"locks":[{KURED_SINGLE}]}}"#);
    assert_eq!(record(&multi), record(KURED_SINGLE));
    assert_eq!(record(KURED_SINGLE).render(2), Some(multi));
    for empty in [r#"{"maxOwners":2,"locks":[]}"#, r#"{"maxOwners":2,"locks":null}"#] {
        assert_eq!(record(empty), Record::default());
    }
    assert_eq!(Record::default().render(1), None);
    assert_eq!(
        Record::default().render(2).as_deref(),
        Some(r#"{"maxOwners":2,"locks":[]}"#)
    );
    let manual = record(r#"{"nodeID":"manual"}"#);
    assert_eq!(
        (
            manual.entries[0].node.as_str(),
            manual.entries[0].created.as_str()
        ),
        ("manual", "")
    );
}

#[test]
fn fail_safe_reading_a_record_that_cannot_be_read_is_not_empty() {
    assert_eq!(Record::read(None), Reading::Absent);
    for text in [
        "",
        "{",
        "[]",
        "null",
        r#"{"metadata":{}}"#,
        r#"{"locks":[{}],"maxOwners":1}"#,
        r#"{"locks":3}"#,
    ] {
        assert!(
            matches!(Record::read(Some(text)), Reading::Malformed(_)),
            "{text}"
        );
    }
}

#[test]
fn what_a_newer_version_wrote_is_kept() {
    let text = r#"{"nodeID":"n1","metadata":{"unschedulable":false},"created":"2026-11-23T19:29:21Z","TTL":0,"zone":"x"}"#;
    assert_eq!(record(text).render(1).as_deref(), Some(text));
}

#[test]
fn at_most_n_whatever_is_in_the_way() {
    let (none, nobody) = (BTreeSet::new(), BTreeSet::new());
    let mine = || Entry::new("a", "2026-11-23T10:00:00Z", false);
    let full = record(KURED_SINGLE);
    assert_eq!(
        full.acquired(mine(), 1, &none, &nobody),
        Err(BTreeSet::from(["n1".to_owned()]))
    );
    assert_eq!(
        full.acquired(mine(), 2, &none, &nobody)
            .map(|record| record.entries.len()),
        Ok(2)
    );
    // The same node by its entry and by its hold is one slot; by its hold alone it is one too.
    let held = BTreeSet::from(["n1".to_owned()]);
    assert!(full.acquired(mine(), 2, &none, &held).is_ok());
    assert!(Record::default().acquired(mine(), 1, &none, &held).is_err());
    // Over by evidence.
    let over = BTreeSet::from([full.entries[0].id()]);
    assert_eq!(
        full.acquired(mine(), 1, &over, &nobody),
        Ok(Record {
            entries: vec![mine()]
        })
    );
    // Zero is one: a fleet that may reboot no node says so by a pause.
    assert!(Record::default().acquired(mine(), 0, &none, &nobody).is_ok());
}

#[test]
fn a_sealed_entry_ends_only_with_another_boot() {
    let mut entry = Entry::new("a", "2026-11-23T10:00:00Z", false);
    let mut node = NodeView::default();
    node.status.node_info.boot_id = "boot-1".to_owned();
    assert!(is_over(&entry, Some(&node)));
    entry = Record {
        entries: vec![entry.clone()],
    }
    .confirmed(&entry.id(), "boot-1")
    .unwrap()
    .entries
    .remove(0);
    assert!(
        !is_over(&entry, Some(&node)),
        "stripped marks do not free the slot of a node that may be going down"
    );
    node.status.node_info.boot_id = "boot-2".to_owned();
    assert!(is_over(&entry, Some(&node)));
    assert!(is_over(&entry, None));
}

#[test]
fn a_confirm_always_changes_the_record() {
    let id = record(KURED_SINGLE).entries[0].id();
    let confirmed = record(KURED_SINGLE).confirmed(&id, "boot").unwrap();
    assert_ne!(confirmed.render(1), Some(KURED_SINGLE.to_owned()));
    assert_eq!(Record::default().confirmed(&id, "boot"), None);
}
