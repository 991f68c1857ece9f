//! What blocks by our Node, the lock and the pool alone.

use super::*;
use crate::lock::Entry;
use crate::reboot::moment::Uptime;

fn node(name: &str) -> NodeView {
    let mut node = NodeView::default();
    name.clone_into(&mut node.metadata.name);
    node
}

fn labelled(name: &str, labels: &[(&str, &str)]) -> NodeView {
    let mut node = node(name);
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    node.metadata.labels.extend(labels.iter().map(owned));
    node
}

fn annotated(key: &str, value: &str) -> NodeView {
    let mut node = node("a");
    drop(node.metadata.annotations.insert(key.to_owned(), value.to_owned()));
    node
}

/// What blocks by our Node alone.
fn by_node(node: &NodeView, rules: &Rules) -> Vec<Blocker> {
    let lock = LockView::default();
    let facts = Facts {
        node,
        lock: &lock,
        pool: None,
    };
    blockers(&facts, rules)
}

#[test]
fn each_node_selector_that_takes_our_node_blocks() {
    let selector = |text: &str| text.parse::<Selector>().unwrap();
    let rules = Rules {
        node_labels: vec![selector("role=db"), selector("!safe"), selector("tier in (x)")],
        ..Rules::default()
    };
    let found = by_node(&labelled("a", &[("role", "db")]), &rules);
    let blocker = |text: &str| Blocker::NodeLabels(text.to_owned());
    assert_eq!(found, [blocker("role=db"), blocker("!safe")]);
    assert!(found[0].to_string().contains("'role=db' selects this node"));
    assert_eq!(by_node(&labelled("a", &[("safe", "")]), &rules), []);
    assert!(!rules.needs_pool());
}

#[test]
fn a_node_annotation_blocks_by_its_key_or_by_its_key_and_value() {
    let annotation = |value: Option<&str>| Annotation {
        key: "example.com/hold".to_owned(),
        value: value.map(str::to_owned),
    };
    let rules = |value| Rules {
        node_annotations: vec![annotation(value)],
        ..Rules::default()
    };
    let blocks = |value, wanted| !by_node(&annotated("example.com/hold", value), &rules(wanted)).is_empty();
    assert!(blocks("", None) && blocks("no", None));
    assert!(blocks("yes", Some("yes")) && blocks("", Some("")));
    assert!(!blocks("no", Some("yes")) && !blocks("yes", Some("")));
    assert_eq!(by_node(&annotated("example.com/other", "yes"), &rules(None)), []);
    // What somebody wrote there is shown in bounds.
    let long = "x\n".repeat(1_000);
    let found = by_node(&annotated("example.com/hold", &long), &rules(None));
    let text = found[0].to_string();
    assert!(text.len() < 400 && !text.contains('\n'), "{text}");
}

/// A Node with a wish made at noon and these reboots.
fn wishing(reboots: &str) -> NodeView {
    let mut node = annotated(keys::REBOOTS, reboots);
    let holder = "uid/2026-11-29T12:00:00.000000001Z".to_owned();
    drop(node.metadata.annotations.insert(keys::HOLDER.to_owned(), holder));
    drop(
        node.metadata
            .labels
            .insert(keys::PHASE.to_owned(), "wanted".to_owned()),
    );
    node
}

#[test]
fn only_reboots_within_the_time_before_the_wish_are_a_loop() {
    let max = |count, hours| Rules {
        reboots_max: Some(RebootsMax {
            count,
            within: SignedDuration::from_hours(hours),
        }),
        ..Rules::default()
    };
    let blocks = |reboots, rules: &Rules| !by_node(&wishing(reboots), rules).is_empty();
    let two = "2026-11-29T09:00:00Z 2026-11-29T11:00:00Z";
    assert!(blocks(two, &max(2, 4)) && blocks(two, &max(1, 2)));
    assert!(!blocks(two, &max(3, 4)) && !blocks(two, &max(2, 2)) && !blocks(two, &max(1, 1)));
    // The clock was ahead when that was written.
    assert!(blocks("2027-01-01T00:00:00Z", &max(1, 1)));
    assert!(!blocks("", &max(1, 1)) && !blocks(two, &Rules::default()));
    // Times that nobody can go back from.
    assert!(blocks(two, &max(2, 10_000_000)));
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A moment this long after the start of the process, at noon, by a right clock.
fn after(minutes: u64) -> Moment {
    Moment {
        now: Uptime::after(Duration::from_mins(minutes)),
        wall: time("2026-11-29T12:00:00Z")
            .saturating_add(Duration::from_mins(minutes))
            .unwrap(),
    }
}

/// What blocks by a `--min-interval` of an hour when the last reboot ended then.
fn interval(memory: &mut Memory, last_reboot: Reading<Timestamp>, at: Moment) -> Option<Blocker> {
    let rules = Rules {
        min_interval: Some(SignedDuration::from_hours(1)),
        ..Rules::default()
    };
    let lock = LockView {
        last_reboot,
        ..LockView::default()
    };
    let facts = Facts {
        node: &wishing(""),
        lock: &lock,
        pool: None,
    };
    assert_eq!(memory.min_interval(&facts, &Rules::default(), at), None);
    memory.min_interval(&facts, &rules, at)
}

#[test]
fn the_next_reboot_begins_when_the_interval_since_the_last_is_over_and_not_before() {
    let mut memory = Memory::default();
    let ended = time("2026-11-29T11:30:00Z");
    let look = |memory: &mut Memory, minutes| interval(memory, Reading::Present(ended), after(minutes));
    let blocker = look(&mut memory, 0).unwrap();
    assert!(
        blocker.to_string().contains("it goes on at 2026-11-29T12:30:00Z"),
        "{blocker}"
    );
    // The same blocker, so that it is told once.
    assert_eq!(look(&mut memory, 29), Some(blocker));
    assert_eq!(look(&mut memory, 30), None);
    assert_eq!(interval(&mut memory, Reading::Absent, after(0)), None);
    // An old time is over at once.
    let long_ago = Reading::Present(Timestamp::MIN);
    assert_eq!(interval(&mut Memory::default(), long_ago, after(0)), None);
}

#[test]
fn nothing_stuck_a_clock_that_is_ahead_blocks_no_longer_than_the_interval() {
    for ended in ["2026-11-29T12:10:00Z", "2036-01-01T00:00:00Z"]
        .map(time)
        .into_iter()
        .chain([Timestamp::MAX])
    {
        let mut memory = Memory::default();
        let look = |memory: &mut Memory, minutes| interval(memory, Reading::Present(ended), after(minutes));
        let blocker = look(&mut memory, 5).unwrap();
        assert!(
            blocker.to_string().contains("it goes on at 2026-11-29T13:05:00Z"),
            "{blocker}"
        );
        assert_eq!(look(&mut memory, 64), Some(blocker));
        assert_eq!(look(&mut memory, 65), None);
        // Our own clock is set back meanwhile.
        let back = Moment {
            wall: time("2016-01-01T00:00:00Z"),
            ..after(70)
        };
        assert_eq!(interval(&mut memory, Reading::Present(ended), back), None);
        // Another reboot begins another interval.
        let next = Reading::Present(time("2026-11-29T13:10:00Z"));
        assert!(interval(&mut memory, next, after(71)).is_some());
    }
}

#[test]
fn fail_safe_reading_an_end_that_cannot_be_read_blocks_and_says_what_to_remove() {
    let garbage = Reading::Malformed("'soon' is no time".to_owned());
    let blocker = interval(&mut Memory::default(), garbage, after(0)).unwrap();
    let text = blocker.to_string();
    assert!(
        text.contains("'soon' is no time") && text.contains(keys::LAST_REBOOT),
        "{text}"
    );
}

#[test]
fn a_node_that_has_the_lock_is_not_kept_back_by_a_reboot_that_ends_later() {
    let created = "2026-11-29T12:00:00.000000001Z";
    let lock = |node: &str, created: &str| LockView {
        last_reboot: Reading::Present(time("2026-11-29T12:00:00Z")),
        record: Reading::Present(Record {
            entries: vec![Entry::new(node, "uid", created, false)],
            max_owners: None,
        }),
        ..LockView::default()
    };
    let rules = Rules {
        min_interval: Some(SignedDuration::from_hours(1)),
        ..Rules::default()
    };
    let blocks = |lock: &LockView| {
        let facts = Facts {
            node: &wishing(""),
            lock,
            pool: None,
        };
        Memory::default().min_interval(&facts, &rules, after(1)).is_some()
    };
    assert!(!blocks(&lock("a", created)));
    assert!(blocks(&lock("b", created)) && blocks(&lock("a", "2026-11-29T11:00:00Z")));
}
