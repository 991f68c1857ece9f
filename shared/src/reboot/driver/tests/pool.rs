//! What is read of the lock and of other nodes to find out what postpones a reboot.
//!
//! Not here: what blocks by that ([`crate::reboot::blocker`]).

use super::*;
use crate::lock::{Entry, Record};
use crate::reboot::cycle::PoolCount;

/// A driver that spreads by zone, on a node in zone a. These nodes are in the lock.
fn spreading(holders: &[&str]) -> Shell {
    let mut shell = Shell::idle();
    shell.driver.setup.rules.spread_by = vec!["zone".to_owned()];
    let zone = ("zone".to_owned(), "a".to_owned());
    shell.node.metadata.labels.extend([zone]);
    let entries = holders
        .iter()
        .map(|name| Entry::new(name, "", "2026-11-29T11:00:00Z", false));
    let record = Record {
        entries: entries.collect(),
        max_owners: None,
    };
    shell.lease["metadata"]["annotations"][keys::LOCK] = json!(record.render());
    shell
}

/// A held Node in this zone.
fn held(name: &str, zone: &str) -> NodeView {
    let mut node = node("1");
    name.clone_into(&mut node.metadata.name);
    let labels = [("zone", zone), (keys::PHASE, "draining")];
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    node.metadata.labels.extend(labels.map(owned));
    let holder = (keys::HOLDER, "uid/2026-11-29T11:00:00Z");
    node.metadata.annotations.extend([owned(holder)]);
    node
}

/// Answers each call of the request. `pool` are the Nodes of the pool, `others` those that are read one by one.
fn look(shell: &mut Shell, pool: &[NodeView], others: &[(&str, Result<NodeView, Failed>)]) -> Option<Answer> {
    let mut call = shell.ask(Ask::ListBlockers);
    while let Some(open) = call {
        let reply = match open {
            Call::CountNodes { labels, look } => {
                assert_eq!(labels, "");
                let mut count = PoolCount::default();
                for node in pool {
                    count.add(node, &look);
                }
                Reply::Pool(Ok(count))
            }
            Call::ReadNode(name) if name != "node-0" => {
                let other = others.iter().find(|(known, _)| *known == name);
                Reply::Node(other.unwrap().1.clone())
            }
            open => shell.carry_out(open),
        };
        shell.replied(reply);
        call = next_question(shell);
    }
    shell.answer()
}

fn spread(others: &[(&str, Option<&str>)]) -> Answer {
    let owned = |(name, zone): &(&str, Option<&str>)| ((*name).to_owned(), zone.map(str::to_owned));
    let blocker = Blocker::Spread {
        label: "zone".to_owned(),
        ours: Some("a".to_owned()),
        others: others.iter().map(owned).collect(),
    };
    let blockers = Vec::from_iter((!others.is_empty()).then_some(blocker));
    Answer::Blockers(Ok(blockers))
}

#[test]
fn the_lock_is_read_before_the_pool_and_only_holders_that_are_not_in_the_pool_one_by_one() {
    let mut shell = spreading(&["inside", "outside", "gone"]);
    let pool = [held("inside", "a"), held("held", "b")];
    let others = [("outside", Ok(held("outside", "c"))), ("gone", Err(gone("gone")))];
    let answer = look(&mut shell, &pool, &others);
    assert_eq!(
        answer,
        Some(spread(&[("held", Some("b")), ("outside", Some("c"))]))
    );
    assert_eq!(
        shell.log.join(" "),
        "ReadNode ReadLock ReadLock CountNodes ReadNode ReadNode"
    );
    // Without the flag, nothing of that is read.
    let mut shell = spreading(&["outside"]);
    shell.driver.setup.rules.spread_by.clear();
    assert_eq!(look(&mut shell, &[], &[]), Some(spread(&[])));
    assert_eq!(shell.log.join(" "), "ReadNode ReadLock ReadLock");
}

#[test]
fn a_holder_that_no_node_can_be_called_is_like_no_other_and_one_that_cannot_be_read_fails_the_request() {
    let refused = || Failed::from(Failure::Refused("no such name".to_owned()));
    let mut shell = spreading(&["No Name"]);
    let answer = look(&mut shell, &[], &[("No Name", Err(refused()))]);
    assert_eq!(answer, Some(spread(&[("No Name", None)])));
    let silent = Failed::unknown("no answer".to_owned());
    let mut shell = spreading(&["outside"]);
    let answer = look(&mut shell, &[], &[("outside", Err(silent))]);
    assert!(
        matches!(answer, Some(Answer::Blockers(Err(Failure::Unknown(_))))),
        "{answer:?}"
    );
}

#[test]
fn the_interval_begins_with_the_end_that_the_lock_s_object_shows() {
    let mut shell = Shell::idle();
    shell.driver.setup.rules.min_interval = Some(SignedDuration::from_hours(1));
    assert_eq!(look(&mut shell, &[], &[]), Some(Answer::Blockers(Ok(Vec::new()))));
    shell.lease["metadata"]["annotations"][keys::LAST_REBOOT] = json!("1970-01-01T00:00:00Z");
    let Some(Answer::Blockers(Ok(blockers))) = look(&mut shell, &[], &[]) else {
        panic!("no blockers")
    };
    assert!(
        matches!(blockers[..], [Blocker::MinInterval { .. }]),
        "{blockers:?}"
    );
    shell.now += Duration::from_hours(1);
    assert_eq!(look(&mut shell, &[], &[]), Some(Answer::Blockers(Ok(Vec::new()))));
}
