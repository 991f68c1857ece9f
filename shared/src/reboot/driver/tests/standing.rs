//! What a node stands at: what postpones its reboot, since when it waits for the lock and for whom, and how many pods are left.

use super::*;
use crate::lock::{Entry, Record};
use crate::reboot::pod::PodView;

/// What the lock holds: nodes, with when they got their places.
pub(super) fn locked_by(shell: &mut Shell, holders: &[(&str, &str)]) {
    let entries = holders.iter().map(|(node, acquired)| Entry {
        acquired: (*acquired).to_owned(),
        ..Entry::new(node, "", "2026-11-29T11:00:00Z", false)
    });
    let record = Record {
        entries: entries.collect(),
        max_owners: None,
    };
    shell.lease["metadata"]["annotations"] = match record.render() {
        Some(record) => json!({ keys::LOCK: record }),
        None => json!({}),
    };
}

/// Goes on until something else has to happen. The Nodes of other holders show their holds.
pub(super) fn go_on(shell: &mut Shell) {
    while let Some(call) = shell.next_call() {
        let reply = match call {
            Call::ReadNode(name) if name != "node-0" => {
                let mut peer = node("1");
                name.clone_into(&mut peer.metadata.name);
                let holder = (keys::HOLDER, "uid/2026-11-29T11:00:00.000000000Z");
                let marks = [
                    holder,
                    (keys::UNTIL, "2026-11-29T12:00:00Z"),
                    (keys::BOOT_ID, "b"),
                    (keys::WAS_UNSCHEDULABLE, "false"),
                ];
                let owned = marks.map(|(key, value)| (key.to_owned(), value.to_owned()));
                peer.metadata.annotations.extend(owned);
                let phase = (keys::PHASE.to_owned(), "draining".to_owned());
                peer.metadata.labels.extend([phase]);
                Reply::Node(Ok(peer))
            }
            call => shell.carry_out(call),
        };
        shell.replied(reply);
    }
}

fn stands(shell: &Shell) -> Standing {
    shell.driver.standing(shell.now)
}

/// A node that asks for a reboot as of now.
pub(super) fn wanting() -> Shell {
    let mut shell = Shell::idle();
    shell.is_wanted = true;
    shell.now += Duration::from_hours(1);
    shell
}

#[test]
fn a_wait_for_the_lock_says_since_when_and_how_old_the_oldest_holder_is() {
    let mut shell = wanting();
    let (young, old) = ("2026-11-29T11:30:00Z", "2026-11-29T11:10:00Z");
    locked_by(&mut shell, &[("young", young), ("old", old)]);
    go_on(&mut shell);
    let wait = LockWait {
        since: WALL,
        oldest: old.parse().ok(),
    };
    assert_eq!(stands(&shell).lock_wait, Some(wait));

    // Others have it now. The wait goes on, since the same time.
    shell.wall += SignedDuration::from_mins(10);
    locked_by(&mut shell, &[("young", young)]);
    shell.now += Duration::from_mins(10);
    go_on(&mut shell);
    let wait = LockWait {
        oldest: young.parse().ok(),
        ..wait
    };
    assert_eq!(stands(&shell).lock_wait, Some(wait));

    locked_by(&mut shell, &[]);
    shell.now += Duration::from_mins(10);
    go_on(&mut shell);
    assert_eq!(stands(&shell).lock_wait, None);
}

#[test]
fn a_place_that_was_taken_by_hand_has_no_age() {
    let mut shell = wanting();
    shell.lease["metadata"]["annotations"][keys::LOCK] = json!(r#"{"nodeID":"manual"}"#);
    go_on(&mut shell);
    let wait = LockWait {
        since: WALL,
        oldest: None,
    };
    assert_eq!(stands(&shell).lock_wait, Some(wait));
}

#[test]
fn what_blocks_is_shown_until_it_does_not_block_any_more() {
    let mut shell = wanting();
    let pause = (keys::PAUSE.to_owned(), String::new());
    shell.node.metadata.annotations.extend([pause]);
    go_on(&mut shell);
    let blocked = |shell: &Shell| Vec::from_iter(stands(shell).blocked_by);
    assert_eq!(blocked(&shell), ["node_paused"]);
    // While the lock is full, nothing else is asked.
    locked_by(&mut shell, &[("other", "2026-11-29T11:30:00Z")]);
    shell.now += Duration::from_mins(10);
    go_on(&mut shell);
    assert_eq!(blocked(&shell), [""; 0]);
    assert!(stands(&shell).lock_wait.is_some());
    locked_by(&mut shell, &[]);
    shell.now += Duration::from_mins(10);
    go_on(&mut shell);
    assert_eq!(blocked(&shell), ["node_paused"]);
    assert_eq!(stands(&shell).lock_wait, None);
}

#[test]
fn pods_are_counted_while_a_drain_runs() {
    let mut shell = wanting();
    assert_eq!(stands(&shell).pods_left, None);
    go_on(&mut shell);
    assert_eq!(stands(&shell).pods_left, None, "they are not listed yet");
    let pod = |uid: &str| {
        let mut pod = PodView::default();
        uid.clone_into(&mut pod.metadata.uid);
        pod
    };
    shell.observed(Observed::Pods(Change::Listed(vec![pod("a"), pod("b")])));
    assert_eq!(stands(&shell).pods_left, Some(2));
    shell.observed(Observed::Pods(Change::Gone(pod("a"))));
    assert_eq!(stands(&shell).pods_left, Some(1));
    shell.observed(Observed::Pods(Change::Gone(pod("b"))));
    assert!(matches!(shell.run(), Some(Call::Reboot { .. })));
    assert_eq!(stands(&shell).pods_left, None, "the drain is over");
}

#[test]
fn every_kind_of_blocker_is_listed_once() {
    let kinds: BTreeSet<&str> = Blocker::KINDS.iter().copied().collect();
    assert_eq!(kinds.len(), Blocker::KINDS.len());
}
