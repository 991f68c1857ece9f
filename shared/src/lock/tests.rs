//! Tests of the lock: kured's formats, which entries are over, and who may acquire.

use super::*;

mod properties;

fn boot(id: &str) -> Boot {
    Boot {
        id: id.to_owned(),
        init: "1.0".to_owned(),
    }
}

const KURED_SINGLE: &str = r#"{"nodeID":"n1","metadata":{"unschedulable":false},"created":"2026-11-23T19:29:21.427812824Z","TTL":0}"#;

fn record(text: &str) -> Record {
    Record::read(Some(text)).present().unwrap()
}

#[test]
fn kureds_shapes_are_read_and_written() {
    assert_eq!(record(KURED_SINGLE).render().as_deref(), Some(KURED_SINGLE));
    let multi = format!(r#"{{"maxOwners":2,"locks":[{KURED_SINGLE}]}}"#);
    assert_eq!(record(&multi).entries, record(KURED_SINGLE).entries);
    assert_eq!(record(&multi).render(), Some(multi));
    for empty in [r#"{"maxOwners":2,"locks":[]}"#, r#"{"maxOwners":2,"locks":null}"#] {
        assert_eq!(record(empty).entries, []);
    }
    assert_eq!(Record::default().render(), None);
    let manual = record(r#"{"nodeID":"manual","metadata":null,"created":null,"TTL":null}"#);
    assert_eq!(manual, record(r#"{"nodeID":"manual"}"#));
    assert_eq!(manual.entries[0].id(), EntryId::new("manual", ""));
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

/// If our reader missed a key that kured reads, a held node would count as free, or every uncordon would be denied.
#[test]
fn found_p17_a_record_is_read_as_gos_decoder_takes_it() {
    let plain = record(KURED_SINGLE);
    for text in [
        KURED_SINGLE.replace("nodeID", "nodeId"),
        KURED_SINGLE.replace("nodeID", "NodeID"),
        KURED_SINGLE.replace("nodeID", "NODEID"),
        KURED_SINGLE.replace("TTL", "ttl").replace("created", "Created"),
        KURED_SINGLE.replace("unschedulable", "Un\u{17f}chedulable"),
        KURED_SINGLE.replace("\"unschedulable\":false", "\"unschedulable\":null"),
        KURED_SINGLE.replace("{\"unschedulable\":false}", "null"),
        KURED_SINGLE.replace("\"nodeID\":", "\"nodeID\":\"n0\",\"nodeid\":"),
        KURED_SINGLE.replace("\"TTL\":0", "\"TTL\":9,\"ttl\":0,\"TTL\":null"),
        KURED_SINGLE.replace("\"TTL\"", "\"metadata\":{},\"TTL\""),
    ] {
        assert_eq!(
            Record::read(Some(&text)),
            Reading::Present(plain.clone()),
            "{text}"
        );
    }
    let lists = format!(r#"{{"MaxOwners":2,"Locks":[{KURED_SINGLE}]}}"#);
    let list = format!(r#"{{"maxOwners":2,"locks":[{KURED_SINGLE}]}}"#);
    assert_eq!(record(&lists), record(&list));
    assert_eq!(record(r#"{"maxOwners":null,"locks":null}"#).entries, []);
    let unschedulable = KURED_SINGLE.replace("false}", "true},\"Metadata\":{\"Unschedulable\":true}");
    assert!(record(&unschedulable).entries[0].metadata.unschedulable);
}

#[test]
fn found_p17_the_manual_lock_is_understood_in_its_quotes_and_nothing_else_is() {
    let manual = record(r#"{"nodeID":"manual"}"#);
    for text in [
        r#"'{"nodeID":"manual"}'"#,
        r#""{\"nodeID\":\"manual\"}""#,
        r#""{"nodeID":"manual"}""#,
        " '{\"nodeID\": \"manual\"}'\n",
    ] {
        assert_eq!(record(text), manual, "{text}");
    }
    let entry = format!("'{KURED_SINGLE}'");
    let list = r#"'{"maxOwners":2,"locks":[]}'"#.to_owned();
    for text in [entry, list, "'manual'".to_owned(), "''".to_owned()] {
        assert!(
            matches!(Record::read(Some(&text)), Reading::Malformed(_)),
            "{text}"
        );
    }
}

#[test]
fn found_p17_what_cannot_be_read_is_told_with_its_place_and_what_could_stand_there() {
    for (text, parts) in [
        (
            "{nodeID: manual}",
            &["it is not JSON", "line 1 column 2", "'{nodeID: manual}'"][..],
        ),
        (r#"{"nodeID":"a","TTL":"5m"}"#, &["TTL of it is '\"5m\"'", "i64"]),
        (
            r#"{"locks":[{"nodeID":"a"},{"nodeID":"b","metadata":7}]}"#,
            &["metadata of entry 2 of locks is 7"],
        ),
        (
            r#"{"locks":[{"nodeID":"a"},{}]}"#,
            &["entry 2 of locks names no node in nodeID"],
        ),
        (r#"{"locks":[3]}"#, &["entry 1 of locks is not an object: 3"]),
        (r#"{"locks":{}}"#, &["locks is not a list: '{}'"]),
        (
            r#"{"maxOwners":"2","locks":[]}"#,
            &["maxOwners is not a whole number"],
        ),
        (r#"{"nodeID":null}"#, &["it names no node"]),
    ] {
        let Reading::Malformed(why) = Record::read(Some(text)) else {
            panic!("{text}")
        };
        for part in parts.iter().chain(&[r#"the manual lock is {"nodeID":"manual"}"#]) {
            assert!(why.contains(part), "{part} is missing in: {why}");
        }
    }
    let Reading::Malformed(why) = Record::read(Some(&"';id;'".repeat(10_000))) else {
        panic!()
    };
    assert!(why.len() < 600 && !why.contains("';id;'"), "{why}");
}

#[test]
fn what_a_newer_version_wrote_is_kept() {
    let text = r#"{"nodeID":"n1","metadata":{"unschedulable":false},"created":"2026-11-23T19:29:21Z","TTL":0,"zone":"x"}"#;
    assert_eq!(record(text).render().as_deref(), Some(text));
}

#[test]
fn at_most_n_whatever_is_in_the_way() {
    let (none, nobody) = (BTreeSet::new(), BTreeSet::new());
    let mine = || Entry::new("a", "", "2026-11-23T10:00:00Z", false);
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
    // Its Node has shown that the entry is over.
    let over = BTreeSet::from([full.entries[0].id()]);
    assert_eq!(
        full.acquired(mine(), 1, &over, &nobody),
        Ok(Record {
            entries: vec![mine()],
            max_owners: None
        })
    );
    // A concurrency of 0 counts as 1: the way to stop all reboots is a pause.
    assert!(Record::default().acquired(mine(), 0, &none, &nobody).is_ok());
}

#[test]
fn c5_a_sealed_entry_ends_only_with_another_boot() {
    // AT-MOST-N.
    let unexpired = BTreeSet::new();
    let entry = Entry::new("a", "", "2026-11-23T10:00:00Z", false);
    let mut node = NodeView::default();
    node.status.node_info.boot_id = "boot-1".to_owned();
    assert!(is_over(&entry, &unexpired, Some(&node)));
    let record = Record {
        entries: vec![entry.clone()],
        max_owners: None,
    };
    let sealed = record
        .confirmed(&entry.id(), &boot("boot-1"), 1, None, None)
        .unwrap()
        .entries
        .remove(0);
    assert!(
        !is_over(&sealed, &unexpired, Some(&node)),
        "stripped marks do not free the slot of a node that may be going down"
    );
    node.status.node_info.boot_id = "boot-2".to_owned();
    assert!(is_over(&sealed, &unexpired, Some(&node)));
    assert!(is_over(&sealed, &unexpired, None));
}

#[test]
fn at_most_n_kureds_entries_end_by_its_ttl_and_not_under_a_cordon() {
    let text = r#"{"nodeID":"n1","metadata":{"unschedulable":false},"created":"2026-11-23T10:00:00Z","TTL":60000000000}"#;
    let (entry, mut node) = (record(text).entries.remove(0), NodeView::default());
    let at = |time: &str| record(text).expired(time.parse().unwrap());
    assert!(at("2026-11-23T10:00:59Z").is_empty());
    assert!(!is_over(&entry, &BTreeSet::new(), None), "it may only be slow");
    let expired = at("2026-11-23T10:01:00Z");
    assert!(is_over(&entry, &expired, None) && is_over(&entry, &expired, Some(&node)));
    node.spec.unschedulable = true;
    assert!(!is_over(&entry, &expired, Some(&node)));
}

#[test]
fn at_most_n_no_ttl_ends_what_never_expires() {
    let ever = "2126-01-01T00:00:00Z".parse().unwrap();
    let ours = Record {
        entries: vec![Entry::new("a", "", "2026-11-23T10:00:00Z", false)],
        max_owners: None,
    };
    let manual = r#"{"nodeID":"manual"}"#;
    // The manual lock after kured has rewritten the list: `created` is Go's zero time.
    let rewritten = r#"{"maxOwners":2,"locks":[{"nodeID":"manual","metadata":{"unschedulable":false},"created":"0001-01-01T00:00:00Z","TTL":0}]}"#;
    let unreadable = r#"{"nodeID":"n1","created":"yesterday","TTL":1}"#;
    let overflowing = r#"{"nodeID":"n1","created":"9999-12-30T00:00:00Z","TTL":9223372036854775807}"#;
    let records = [KURED_SINGLE, manual, rewritten, unreadable, overflowing].map(record);
    for record in records.iter().chain([&ours]) {
        let expired = record.expired(ever);
        assert!(expired.is_empty(), "{record:?}");
        let is_over = is_over(&record.entries[0], &expired, None);
        assert_eq!(
            is_over,
            record == &ours,
            "only ours ends with its Node: {record:?}"
        );
    }
}

#[test]
fn an_entry_of_ours_survives_kured_writing_the_list_anew() {
    // Go keeps nodeID, metadata.unschedulable, created and TTL, and drops the zeros at the end of a fraction.
    let mine = Entry::new("a", "", "2026-11-23T10:00:00.120000000Z", true);
    let rewritten = record(
        r#"{"maxOwners":2,"locks":[{"nodeID":"a","metadata":{"unschedulable":true},"created":"2026-11-23T10:00:00.12Z","TTL":-1}]}"#,
    );
    let entry = rewritten.entry(&mine.id()).unwrap();
    assert!(entry.is_ours() && entry.metadata.unschedulable);
    assert_eq!(rewritten.released(&mine.id()).unwrap().entries, []);
}

#[test]
fn a_list_stays_a_list_while_it_has_entries() {
    // A peer that expects a list would take a single entry for an empty one.
    let list = record(&format!(r#"{{"maxOwners":2,"locks":[{KURED_SINGLE}]}}"#));
    let (none, nobody) = (BTreeSet::from([list.entries[0].id()]), BTreeSet::new());
    let mine = Entry::new("a", "", "2026-11-23T10:00:00Z", false);
    let acquired = list.acquired(mine, 1, &none, &nobody).unwrap();
    assert!(
        acquired
            .render()
            .unwrap()
            .starts_with(r#"{"maxOwners":2,"locks":[{"nodeID":"a""#)
    );
}

#[test]
fn at_most_n_an_entry_of_kureds_for_our_own_node_is_in_the_way() {
    let nobody = BTreeSet::new();
    let kured = record(KURED_SINGLE);
    let mine = Entry::new("n1", "", "2026-11-23T19:30:00Z", false);
    assert!(
        kured
            .acquired(mine.clone(), 3, &BTreeSet::new(), &nobody)
            .is_err()
    );
    let older = Record {
        entries: vec![Entry::new("n1", "", "2026-11-23T10:00:00Z", false)],
        max_owners: None,
    };
    let acquired = older
        .acquired(mine.clone(), 1, &BTreeSet::new(), &nobody)
        .unwrap();
    assert_eq!(acquired.entries, [mine]);
}

#[test]
fn a_confirm_always_changes_the_record() {
    let id = record(KURED_SINGLE).entries[0].id();
    let confirmed = record(KURED_SINGLE)
        .confirmed(&id, &boot("boot"), 1, None, None)
        .unwrap();
    assert_ne!(confirmed.render(), Some(KURED_SINGLE.to_owned()));
    assert_eq!(
        Record::default().confirmed(&id, &boot("boot"), 1, None, None),
        None
    );
}

/// A seal came to nothing, and in between the deferred uncordon was done, and somebody has cordoned the node.
#[test]
fn last_wish_a_later_confirm_says_what_counts_then() {
    let id = record(KURED_SINGLE).entries[0].id();
    let deferred = DeferredUncordon::parse("2026-11-23T19:29:21.427812824Z - jo").unwrap();
    let first = record(KURED_SINGLE)
        .confirmed(&id, &boot("boot"), 1, Some(false), Some(&deferred))
        .unwrap();
    assert_eq!(first.entries[0].deferred(), Some(deferred));
    assert!(!first.entries[0].metadata.unschedulable);
    let second = first.confirmed(&id, &boot("boot"), 2, Some(true), None).unwrap();
    assert_eq!(second.entries[0].deferred(), None);
    assert!(second.entries[0].metadata.unschedulable);
}

#[test]
fn d10_an_empty_list_that_was_left_over_is_no_lock_and_none_is_left() {
    let nobody = BTreeSet::new();
    let mine = Entry::new("a", "", "2026-11-23T10:00:00Z", false);
    for leftover in [r#"{"maxOwners":2,"locks":[]}"#, r#"{"maxOwners":2,"locks":null}"#] {
        let acquired = record(leftover)
            .acquired(mine.clone(), 1, &BTreeSet::new(), &nobody)
            .unwrap();
        assert_eq!(acquired.released(&mine.id()).unwrap().render(), None);
    }
}

/// The second is what kured makes of the first when it rewrites the list.
#[test]
fn at_most_n_a_manual_lock_that_never_expires_is_no_entry_of_ours() {
    for text in [
        r#"{"nodeID":"manual","TTL":-1}"#,
        r#"{"nodeID":"manual","metadata":{"unschedulable":false},"created":"0001-01-01T00:00:00Z","TTL":-1}"#,
    ] {
        let entry = &record(text).entries[0];
        assert!(entry.is_by_hand() && !entry.is_ours(), "{text}");
        assert!(!is_over(entry, &BTreeSet::new(), None), "{text}");
    }
}

#[test]
fn d11_the_manual_lock_and_a_live_single_entry_count_whatever_the_concurrency() {
    let (none, nobody) = (BTreeSet::new(), BTreeSet::new());
    let mine = || Entry::new("a", "", "2026-11-23T10:00:00Z", false);
    let by_hand = [
        r#"{"nodeID":"manual"}"#,
        r#"{"nodeID":"no reboots before the sale"}"#,
        // As kured rewrites it in its list.
        r#"{"maxOwners":5,"locks":[{"nodeID":"manual","metadata":{"unschedulable":false},"created":"0001-01-01T00:00:00Z","TTL":0}]}"#,
    ];
    for text in by_hand {
        assert!(
            record(text).acquired(mine(), 500, &none, &nobody).is_err(),
            "{text}"
        );
    }
    let acquired = record(KURED_SINGLE).acquired(mine(), 2, &none, &nobody).unwrap();
    let text = acquired.render().unwrap();
    assert!(
        text.starts_with(r#"{"maxOwners":2,"locks":[{"nodeID":"n1","#),
        "{text}"
    );
    assert!(
        acquired
            .acquired(
                Entry::new("b", "", "2026-11-23T10:00:01Z", false),
                2,
                &none,
                &nobody
            )
            .is_err()
    );
}

#[test]
fn d12_one_node_never_has_two_entries() {
    let (none, nobody) = (BTreeSet::new(), BTreeSet::new());
    let older = Record::default()
        .acquired(
            Entry::new("a", "u", "2026-11-23T10:00:00Z", false),
            3,
            &none,
            &nobody,
        )
        .unwrap();
    let newer = older
        .acquired(
            Entry::new("a", "u", "2026-11-23T11:00:00Z", false),
            3,
            &none,
            &nobody,
        )
        .unwrap();
    assert_eq!(newer.entries.len(), 1);
    let kured = record(KURED_SINGLE);
    assert!(
        kured
            .acquired(
                Entry::new("n1", "u", "2026-11-23T11:00:00Z", false),
                3,
                &none,
                &nobody
            )
            .is_err()
    );
    // Two entries of one node, as a defect of kured leaves them, need one release each, and fill one slot until then.
    let twice = record(&format!(
        r#"{{"maxOwners":2,"locks":[{KURED_SINGLE},{KURED_SINGLE}]}}"#
    ));
    assert!(
        twice
            .acquired(
                Entry::new("b", "u", "2026-11-23T11:00:00Z", false),
                2,
                &none,
                &nobody
            )
            .is_ok()
    );
    assert_eq!(twice.released(&twice.entries[0].id()).unwrap().entries, []);
}

#[test]
fn at_most_n_an_entry_ends_with_the_node_object_that_it_is_about() {
    let entry = Entry::new("a", "uid-1", "2026-11-23T10:00:00Z", false);
    let mut node = NodeView::default();
    node.metadata.uid = "uid-1".to_owned();
    node.status.node_info.boot_id = "boot-1".to_owned();
    let sealed = Entry {
        sealed: true,
        boot_id: "boot-1".to_owned(),
        ..entry.clone()
    };
    let unexpired = BTreeSet::new();
    assert!(!is_over(&sealed, &unexpired, Some(&node)));
    node.metadata.uid = "uid-2".to_owned();
    assert!(is_over(&sealed, &unexpired, Some(&node)), "that Node is gone");
    // After kured has rewritten the list, the uid is unknown.
    let rewritten = Entry {
        node_uid: String::new(),
        ..sealed
    };
    assert!(!is_over(&rewritten, &unexpired, Some(&node)));
}

#[test]
fn only_a_new_entry_of_ours_gets_the_time_of_its_acquire() {
    let ours = Entry::new("n1", "", "2026-11-23T10:00:00Z", false);
    let kureds = record(KURED_SINGLE).entries.remove(0);
    let with = |change: fn(&mut Entry)| {
        let mut entry = ours.clone();
        change(&mut entry);
        entry
    };
    let undated = [
        with(|entry| entry.node = "n2".to_owned()),
        with(|entry| entry.sealed = true),
        with(|entry| entry.given_back = true),
        with(|entry| entry.acquired = "2026-11-23T10:00:01Z".to_owned()),
        kureds,
    ];
    let mut record = Record {
        entries: undated.iter().cloned().chain([ours.clone()]).collect(),
        max_owners: None,
    };
    record.date("n1", "2026-11-23T10:00:02.9Z".parse().unwrap());
    let dated = record.entries.pop().unwrap();
    assert_eq!(dated.acquired, "2026-11-23T10:00:02Z");
    assert_eq!(record.entries, undated);
}

#[test]
fn the_end_of_a_reboot_is_unnoted_from_the_confirm_until_the_entry_says_that_it_was_given_back() {
    let entry = Entry::new("n1", "", "2026-11-23T10:00:00Z", false);
    let id = entry.id();
    let record_of = |entries: Vec<Entry>| Record {
        entries,
        max_owners: None,
    };
    assert!(!entry.is_unnoted());
    let other = Entry::new("n2", "", "2026-11-23T10:00:00Z", false);
    let acquired = record_of(vec![entry, other.clone()]);
    let sealed = acquired.confirmed(&id, &boot("b"), 1, None, None).unwrap();
    assert!(sealed.entries[0].is_unnoted());
    let kept = sealed.kept(&id).unwrap();
    assert!(!kept.entries[0].is_unnoted());
    assert_eq!(kept.entries[1], other, "nothing is written into another's entry");
    // kured notes no end.
    let kureds = Entry {
        sealed: true,
        ..record(KURED_SINGLE).entries.remove(0)
    };
    assert!(!kureds.is_unnoted());
    assert_eq!(Record::default().kept(&id), None);
}

#[test]
fn a_share_is_rounded_down() {
    for (share, size, count) in [
        (Share::Count(3), 100, 3),
        (Share::Percent(10), 19, 1),
        (Share::Percent(10), 20, 2),
        (Share::Percent(10), 9, 0),
        (Share::Percent(100), 7, 7),
    ] {
        assert_eq!(share.of(size), count, "{share:?} of {size}");
    }
}

/// The number of reboot commands so far is what keeps a host from rebooting again and again.
#[test]
fn an_entry_is_acquired_with_the_boot_its_init_and_the_commands_so_far() {
    let entry = Entry::new("n", "", "2026-11-23T10:00:00Z", false).acquired_in(&boot("b"), 2, Proof::new(3));
    assert_eq!(
        (entry.boot_id.as_str(), entry.init.as_str(), entry.attempts),
        ("b", "1.0", 2)
    );
    assert_eq!(entry.write, Some(Proof::new(3)));
}

#[test]
fn fail_safe_reading_a_number_with_a_fraction_is_no_ttl_as_for_go() {
    let text = KURED_SINGLE.replace("\"TTL\":0", "\"TTL\":1.5");
    assert!(
        matches!(Record::read(Some(&text)), Reading::Malformed(_)),
        "{text}"
    );
}

#[test]
fn what_is_wrong_with_a_record_is_said_of_the_key_with_the_wrong_value() {
    for (right, wrong, key) in [
        ("\"2026-11-23T19:29:21.427812824Z\"", "5", "created"),
        ("{\"unschedulable\":false}", "5", "metadata"),
        ("\"TTL\":0", "\"TTL\":[]", "TTL"),
    ] {
        let text = KURED_SINGLE.replace(right, wrong);
        let Reading::Malformed(why) = Record::read(Some(&text)) else {
            panic!("{text} is read");
        };
        assert!(why.starts_with(&format!("{key} of ")), "{why}");
    }
}
