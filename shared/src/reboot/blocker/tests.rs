//! What blocks by our Node, the lock and the pool alone.

use super::*;

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
