//! What is said about one node, and which ways are open, in each state.

use serde_json::json;

use super::*;
use crate::hold::Phase;

const CREATED: &str = "2026-11-29T10:40:00.000000001Z";

fn now() -> Timestamp {
    "2026-11-29T11:00:00Z".parse().unwrap()
}

fn node(phase: Option<Phase>, annotations: &[(&str, &str)]) -> NodeView {
    let mut node: NodeView = serde_json::from_value(json!({
        "metadata": { "name": "n", "uid": "u" },
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
    }))
    .unwrap();
    let mut all: Vec<(String, String)> = Vec::new();
    if let Some(phase) = phase {
        drop(
            node.metadata
                .labels
                .insert(keys::PHASE.to_owned(), phase.to_string()),
        );
        all.push((keys::HOLDER.to_owned(), format!("u/{CREATED}")));
        all.push((keys::UNTIL.to_owned(), "2026-11-29T11:09:00Z".to_owned()));
    }
    all.extend(
        annotations
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
    );
    node.metadata.annotations.extend(all);
    node
}

fn why(node: NodeView, facts: Facts) -> Why {
    let seen = Seen {
        nodes: vec![node],
        ..Seen::default()
    };
    Why::of("n", &seen, facts, now()).unwrap()
}

fn verbs(why: &Why) -> Vec<&str> {
    let words = why
        .ways
        .iter()
        .map(|way| way.command.split(' ').nth(2).unwrap_or_default());
    words.collect()
}

#[test]
fn each_state_has_the_ways_that_are_open_in_it() {
    for (phase, annotations, expected) in [
        (Some(Phase::Wanted), &[][..], &["pause", "cancel"][..]),
        (Some(Phase::Wanted), &[(keys::PAUSE, "x")], &["resume", "cancel"]),
        (Some(Phase::Draining), &[], &["keep", "cancel"]),
        (
            Some(Phase::Delaying),
            &[(keys::KEEP_CORDONED, "x")],
            &["unkeep", "cancel"],
        ),
        (Some(Phase::Sealed), &[], &["keep", "status"]),
        (Some(Phase::Returning), &[], &["keep", "cancel"]),
        (
            Some(Phase::Draining),
            &[(keys::UNTIL, "2026-11-29T10:00:00Z")],
            &["release"],
        ),
        (Some(Phase::Draining), &[(keys::HOLDER, "x")], &["release"]),
        (None, &[], &["pause", "reboot"]),
        (None, &[(keys::REBOOT_WANTED, "x")], &["pause"]),
    ] {
        let why = why(node(phase, annotations), Facts::default());
        assert_eq!(verbs(&why), expected, "{phase:?} {annotations:?}");
    }
}

#[test]
fn what_becomes_of_the_cordon_is_what_the_give_back_does() {
    let asked = format!("{CREATED} - jo");
    for (annotations, expected) in [
        (
            &[(keys::WAS_UNSCHEDULABLE, "false")][..],
            "is uncordoned: it was schedulable before",
        ),
        (
            &[(keys::WAS_UNSCHEDULABLE, "true")],
            "stays cordoned: somebody had cordoned it before",
        ),
        (
            &[(keys::WAS_UNSCHEDULABLE, "true"), (keys::UNCORDON_WANTED, &asked)],
            "is uncordoned: jo asked for that under this hold",
        ),
        (
            &[(keys::WAS_UNSCHEDULABLE, "false"), (keys::KEEP_CORDONED, "disk")],
            "stays cordoned: somebody asked for that: 'disk'",
        ),
        (
            &[],
            "stays cordoned: its marks do not say whether it was so before",
        ),
    ] {
        let mut node = node(Some(Phase::Draining), annotations);
        node.spec.unschedulable = true;
        assert_eq!(why(node, Facts::default()).afterwards, expected);
    }
    let wish = why(node(Some(Phase::Wanted), &[]), Facts::default());
    assert_eq!(
        wish.afterwards,
        "stays as it is: a wish does not touch the cordon"
    );
}

#[test]
fn the_agent_is_told_by_its_pods_and_by_what_it_renews() {
    let facts = |agents: Option<&[(&str, bool)]>| Facts {
        agents: agents.map(|pods| pods.iter().map(|(pod, is)| ((*pod).to_owned(), *is)).collect()),
        ..Facts::default()
    };
    for (until, agents, expected) in [
        (
            "2026-11-29T11:09:00Z",
            Some(&[("a-1", true)][..]),
            "pod a-1 is Ready; it has announced its hold until 2026-11-29T11:09:00Z",
        ),
        (
            "2026-11-29T10:00:00Z",
            Some(&[][..]),
            "no pod of it is on the node; it does not renew its hold",
        ),
        ("2026-11-29T10:00:00Z", None, "it does not renew its hold"),
    ] {
        let node = node(Some(Phase::Draining), &[(keys::UNTIL, until)]);
        assert_eq!(why(node, facts(agents)).agent, expected);
    }
}

#[test]
fn the_last_events_of_the_node_come_oldest_first_and_no_others() {
    let told = |node: &str, minute: usize| Told {
        node: node.to_owned(),
        reason: format!("R{minute}"),
        note: "a\nb".to_owned(),
        since: format!("2026-11-29T10:{minute:02}:00Z").parse().unwrap(),
        at: format!("2026-11-29T10:{minute:02}:00Z").parse().unwrap(),
        count: 1,
    };
    let seen = Seen {
        nodes: vec![node(None, &[])],
        told: (0..20)
            .rev()
            .map(|minute| told("n", minute))
            .chain([told("other", 30)])
            .collect(),
        ..Seen::default()
    };
    let why = Why::of("n", &seen, Facts::default(), now()).unwrap();
    let reasons: Vec<&str> = why.events.iter().map(|said| said.reason.as_str()).collect();
    assert_eq!(
        (reasons.first(), reasons.last(), reasons.len()),
        (Some(&"R8"), Some(&"R19"), EVENTS_MAX)
    );
    assert_eq!(why.events[0].note, "a b");
    assert_eq!(Why::of("nobody", &seen, Facts::default(), now()), None);
}

#[test]
fn the_troubles_of_other_nodes_are_not_told_of_this_one() {
    let marked = |name: &str| {
        let mut node = node(None, &[(keys::HOLDER, "nonsense")]);
        name.clone_into(&mut node.metadata.name);
        node
    };
    let seen = Seen {
        nodes: vec![marked("n"), marked("other")],
        ..Seen::default()
    };
    let why = Why::of("n", &seen, Facts::default(), now()).unwrap();
    let nodes: Vec<Option<&str>> = why
        .troubles
        .iter()
        .map(|trouble| trouble.node.as_deref())
        .collect();
    assert_eq!(nodes, [Some("n")]);
}
