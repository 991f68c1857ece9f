//! What this version makes of what the next one may write: a phase, an annotation and a field of the lock's entry that it does not know.
//!
//! docs/versions.md has these rows as a table, from which follows which versions may run beside each other.
//! Not here: older versions, whose programs are run themselves.

use super::*;
use crate::admission::{
    Decision, Exempt, Facts, Mode, OnDelete, Operation, Outcome, Policy, Reason, Request, Requester,
    ServiceAccount, decide,
};
use crate::hold;

/// A row of the table, and what shows that it is true.
struct Row {
    who: &'static str,
    finds: &'static str,
    does: &'static str,
    shown: fn(),
}

const ROWS: [Row; 7] = [
    Row {
        who: "webhook",
        finds: "a phase",
        does: "the node is held: its uncordon is denied, and nobody but its agent changes the marks",
        shown: webhook_and_phase,
    },
    Row {
        who: "webhook",
        finds: "an annotation",
        does: "the hold is read as before, and the annotation is anybody's",
        shown: webhook_and_annotation,
    },
    Row {
        who: "another node's agent",
        finds: "a phase",
        does: "the node fills a slot of the lock, and its entry stays",
        shown: peer_and_phase,
    },
    Row {
        who: "another node's agent",
        finds: "a field in the lock's entry",
        does: "the field is kept when the agent writes the lock",
        shown: peer_and_field,
    },
    Row {
        who: "another node's agent",
        finds: "a field in the lock's used requests",
        does: "the field is kept when the agent writes the lock",
        shown: peer_and_used,
    },
    Row {
        who: "the node's own agent, after going back",
        finds: "a phase",
        does: "the agent leaves the marks alone and says so; a person cancels, as the denial of the uncordon says",
        shown: own_and_phase,
    },
    Row {
        who: "the node's own agent, after going back",
        finds: "an annotation or a field in the lock's entry",
        does: "the agent goes on with the reboot",
        shown: own_and_others,
    },
];

const PHASE: &str = "warming";
const KEY: &str = "cordonhold.dev/of-tomorrow";
const FIELD: &str = "ofTomorrow";

/// An agent of the next version in the middle of a drain. Only what it wrote is left of it.
fn next_version(phase: Option<&str>) -> Run {
    let mut run = agent();
    run.reach_delay();
    run.world.plant(&[(KEY, "x")]);
    if let Some(phase) = phase {
        run.world.plant(&[(keys::PHASE, phase)]);
    }
    for entry in &mut run.world.lock.entries {
        drop(entry.rest.insert(FIELD.to_owned(), "x".into()));
    }
    run
}

/// What a webhook of this version says to an update by an admin.
fn said(node: &NodeView, change: impl FnOnce(&mut NodeView)) -> (Outcome, Reason) {
    let mut new = node.clone();
    change(&mut new);
    let requester = Requester {
        user: "admin".to_owned(),
        groups: vec!["system:masters".to_owned()],
        ..Requester::default()
    };
    let request = Request {
        requester,
        operation: Operation::UpdateNode {
            old: node.clone(),
            new,
        },
        is_of_status: false,
        is_dry_run: false,
    };
    let policy = Policy {
        modes: Mode::Enforce.into(),
        agent: ServiceAccount {
            namespace: "cordonhold".to_owned(),
            name: "cordonhold-agent".to_owned(),
        },
        exempt: Exempt::default(),
        on_delete: OnDelete::Flag,
        kured: None,
        replica: "webhook-0".to_owned(),
    };
    let now = "2026-11-23T10:00:00Z".parse().unwrap();
    match decide(&request, &Facts::default(), &policy, now) {
        Decision::Verdict(verdict) => (verdict.outcome, verdict.reason),
        Decision::Need(fact) => panic!("it needs {fact:?}"),
    }
}

fn uncordon(node: &mut NodeView) {
    node.spec.unschedulable = false;
}

fn webhook_and_phase() {
    let node = next_version(Some(PHASE)).world.node;
    assert_eq!(said(&node, uncordon), (Outcome::Deny, Reason::Held));
    let strips = |node: &mut NodeView| drop(node.metadata.labels.remove(keys::PHASE));
    assert_eq!(said(&node, strips), (Outcome::Deny, Reason::TamperedHold));
}

fn webhook_and_annotation() {
    let node = next_version(None).world.node;
    assert!(matches!(hold::read(&node), Reading::Present(hold) if hold.phase == Phase::Delaying));
    assert_eq!(said(&node, uncordon), (Outcome::Deny, Reason::Held));
    let removes = |node: &mut NodeView| drop(node.metadata.annotations.remove(KEY));
    assert_eq!(said(&node, removes), (Outcome::Allow, Reason::NothingOfOurs));
}

fn peer_and_phase() {
    let world = next_version(Some(PHASE)).world;
    assert!(hold::is_held(&hold::read(&world.node)));
    // The list of the Nodes that fill slots has it too.
    let selector = hold::held_selector(&crate::selector::Selector::default());
    assert_eq!(selector, format!("{0},{0}!=wanted", keys::PHASE));
    let entry = &world.lock.entries[0];
    assert!(!is_over(entry, &BTreeSet::new(), Some(&world.node)));
}

fn peer_and_field() {
    let record = next_version(None).world.lock;
    let text = record.render().unwrap();
    let Reading::Present(mut read) = Record::read(Some(&text)) else {
        panic!("{text} cannot be read")
    };
    read.entries
        .push(Entry::new("b", "uid-b", "2026-11-23T10:00:00Z", false));
    let written = read.render().unwrap();
    assert!(written.contains(&format!("\"{FIELD}\":\"x\"")), "{written}");
}

fn peer_and_used() {
    let text = r#"{"nodes":{},"by":{"b":"jo"}}"#;
    let used = crate::lock::UsedRequests::read(Some(text)).present().unwrap();
    let written = used.with("a", "2026-11-23T10:00:00Z".parse().unwrap()).unwrap();
    assert!(
        written.render().contains(r#""by":{"b":"jo"}"#),
        "{}",
        written.render()
    );
}

fn own_and_phase() {
    let mut run = next_version(Some(PHASE));
    let marks = run.world.node.clone();
    run.restart();
    assert!(
        matches!(run.reports.last(), Some(Report::Foreign(_))),
        "{:?}",
        run.reports
    );
    assert_eq!(run.world.node, marks);
    let cancelled = format!("{} gone back", hold::cancel_name(&run.world.node));
    run.world.plant(&[(keys::CANCEL, &cancelled)]);
    assert_eq!(
        said(&run.world.node, uncordon),
        (Outcome::Flag, Reason::Cancelled)
    );
}

fn own_and_others() {
    let mut run = next_version(None);
    run.restart();
    run.drain();
    run.due(Timer::Delay);
    assert!(run.rebooted());
    run.boot();
    run.see();
    run.due(Timer::Soak);
    assert!(run.is_clean() && !run.world.node.spec.unschedulable);
}

#[test]
fn fail_safe_reading_what_the_next_version_writes_is_held_and_kept_as_the_page_says() {
    let page = include_str!("../../../../../docs/versions.md");
    let (_, rows) = page
        .split_once("| who | finds what it does not know | and then |")
        .unwrap();
    let rows = rows.lines().skip(2).take_while(|line| line.starts_with('|'));
    let told = ROWS
        .iter()
        .map(|Row { who, finds, does, .. }| format!("| {who} | {finds} | {does} |"));
    assert!(rows.eq(told), "docs/versions.md has other rows");
    for row in &ROWS {
        (row.shown)();
    }
}
