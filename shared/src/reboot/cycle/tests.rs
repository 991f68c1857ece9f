//! Tests of the cycle on a Node, a lock, pods and a host in memory ([`world`]). A name that begins with an invariant says which one is tested.
//!
//! Not here: the counterexamples of the protocol, kured's defects and defects that were found later, which have files of their own.

use std::collections::BTreeMap;

use super::*;
use crate::Reading;
use crate::hold::{Holder, NodePatch, PatchKind, Phase};
use crate::host::{BootEvidence, RebootDeadline};
use crate::keys;
use crate::lock::{Entry, Record, is_over};
use crate::reboot::blocker;
use crate::reboot::lock_object::{Carrier, LockView, LockWrite};

mod account;
mod blockers;
mod counterexamples;
mod deferred;
mod drains;
mod edits;
mod found;
mod interval;
mod kureds_defects;
mod kureds_return;
mod lock;
mod protections;
mod ready_when;
mod release_delay;
mod returning;
mod run;
mod seals;
mod sent;
mod skew;
mod starts;
mod tampering;
mod world;

use run::{Pair, Run, agent, policy};
use world::{Applied, World, peer};

/// The requests and their order are those of the table in ARCHITECTURE.md.
#[test]
fn a_whole_reboot_goes_lock_cordon_drain_delay_seal_reboot_return() {
    let mut run = agent();
    run.reach_delay();
    assert!(run.world.node.spec.unschedulable);
    assert!(
        run.world.node.is_tainted(keys::REBOOTING) && run.world.node.is_tainted(keys::UNSCHEDULABLE_TAINT)
    );
    run.due(Timer::Delay);
    assert_eq!(run.world.phase(), Some(Phase::Sealed));
    assert!(run.rebooted());
    run.boot();
    run.see();
    run.due(Timer::Soak);
    assert!(run.is_clean() && !run.world.node.spec.unschedulable && run.cycle.is_idle());
    let page = include_str!("../../../../ARCHITECTURE.md");
    let (_, rows) = page
        .split_once("| the API server and the host see | what it is for |")
        .unwrap();
    let rows = rows.lines().skip(2).take_while(|line| line.starts_with('|'));
    let order: Vec<String> = rows
        .map(|row| row.split('|').nth(1).unwrap().trim().replace(", ", ","))
        .collect();
    assert_eq!(run.world.log.join(","), order.join(","));
}

#[test]
fn cordon_given_back_whoever_cordoned() {
    for cordoned in [false, true] {
        let mut run = agent();
        run.world.set_unschedulable(cordoned);
        run.reach_delay();
        run.due(Timer::Delay);
        run.boot();
        run.due(Timer::Soak);
        assert!(run.is_clean());
        assert_eq!(run.world.node.spec.unschedulable, cordoned);
    }
}

#[test]
fn cordon_given_back_when_the_marks_were_lost() {
    let mut run = agent();
    run.wish();
    run.world.strip();
    let mut restarted = run.clone();
    run.see();
    assert_eq!(run.called_off(), Some(&CallOff::HoldLost));
    assert!(run.is_clean() && !run.world.node.spec.unschedulable);
    // A process that remembers nothing does so too: the lock entry says what the cordon was.
    restarted.restart();
    assert!(restarted.is_clean() && !restarted.world.node.spec.unschedulable);
}

#[test]
fn no_blind_reboot_over_a_lost_taint_a_gap_or_a_pod() {
    type Disturb = fn(&mut Run);
    let disturbances: [(Disturb, Disturbance); 4] = [
        (
            |run| {
                run.world
                    .change(|node| node.spec.taints.retain(|taint| taint.key != keys::REBOOTING));
                run.see();
            },
            Disturbance::Untainted,
        ),
        (|run| run.feed(Input::Event(Event::Gap)), Disturbance::Gap),
        (
            |run| {
                run.feed(Input::Event(Event::Drain(DrainNews::PodArrived(
                    "default/late".to_owned(),
                ))));
            },
            Disturbance::Pods(vec!["default/late".to_owned()]),
        ),
        (
            |run| {
                run.world.pods.push("default/late".to_owned());
                run.due(Timer::Delay);
            },
            Disturbance::Pods(vec!["default/late".to_owned()]),
        ),
    ];
    for (disturb, by) in disturbances {
        let mut run = agent();
        run.reach_delay();
        disturb(&mut run);
        assert!(!run.rebooted(), "{by:?}");
        assert!(run.was_disturbed(by));
        assert_eq!(run.world.phase(), Some(Phase::Draining));
        assert!(run.world.node.is_tainted(keys::REBOOTING));
    }
}

#[test]
fn no_blind_reboot_policy_abort_and_too_many_redrains_call_it_off() {
    let mut run = Run::new(Settings {
        on_uncordon: OnUncordon::Abort,
        ..policy()
    });
    run.reach_delay();
    run.world.set_unschedulable(false);
    run.see();
    assert_eq!(
        run.called_off(),
        Some(&CallOff::Disturbed(Disturbance::Uncordoned))
    );
    assert!(run.is_clean() && !run.rebooted());
    run.wish();
    assert_eq!(run.world.phase(), None, "it backs off first");

    let mut run = agent();
    run.wish();
    for _ in 0..3 {
        run.world.set_unschedulable(false);
        run.see();
    }
    assert_eq!(
        run.called_off(),
        Some(&CallOff::TooManyRedrains(Disturbance::Uncordoned))
    );
    assert!(run.is_clean() && !run.world.node.spec.unschedulable && !run.rebooted());
}

#[test]
fn no_blind_reboot_when_the_seal_loses_or_its_answer_does() {
    // A heartbeat: the seal waits for the watch and is tried again from the version that it delivers.
    let mut run = agent();
    run.reach_delay();
    run.world.change(|_| ());
    run.due(Timer::Delay);
    assert!(!run.rebooted());
    run.see();
    assert!(run.rebooted());

    // The answer is lost: the watch shows it where it has landed. Where it has not, it is sent again from the same version,
    // so that two of them never land.
    for applied in [Applied::Yes, Applied::No] {
        let mut run = agent();
        run.reach_delay();
        run.world
            .fail
            .push(("sealed", Failure::Unknown("timeout".to_owned()), applied));
        drop(run.news());
        run.due(Timer::Delay);
        assert!(!run.rebooted(), "nobody knows yet");
        run.acts.clear();
        run.due(Timer::Retry(1));
        if applied == Applied::Yes {
            let sent = "list blockers,list pods,read lock,write lock,sealed";
            assert_eq!(run.news(), format!("{sent},{sent} lost"));
            run.see();
            assert_eq!(run.news(), "reboot");
        } else {
            let sent = "list blockers,list pods,read lock,write lock,sealed";
            assert_eq!(run.news(), format!("{sent},{sent},reboot"));
        }
        assert!(
            !run.acts.contains(&Act::Arm(Timer::Deadline)),
            "it runs from the first"
        );
        assert_eq!(run.world.phase(), Some(Phase::Sealed));
    }
}

#[test]
fn without_verification_it_reboots_as_kured_does() {
    let mut run = Run::new(Settings {
        verify: false,
        ..policy()
    });
    run.wish();
    run.drain();
    assert!(!run.world.node.is_tainted(keys::REBOOTING));
    run.world.set_unschedulable(false);
    run.see();
    run.world.pods.push("default/late".to_owned());
    run.feed(Input::Event(Event::Drain(DrainNews::PodArrived(
        "default/late".to_owned(),
    ))));
    run.due(Timer::Delay);
    assert!(
        run.rebooted(),
        "on a schedulable node with a pod: that is the hole"
    );
}

#[test]
fn nothing_stuck_a_reboot_that_failed_is_tried_twice() {
    let mut run = agent();
    run.world.reboot = Err(RebootFailure::Failed("exit status 1".to_owned()));
    run.reach_delay();
    run.due(Timer::Delay);
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    // Two commands have failed: the node stays sealed, keeps its entry, and the agent reports it.
    run.drain();
    run.due(Timer::Delay);
    assert_eq!(run.world.phase(), Some(Phase::Sealed));
    assert!(matches!(run.reports.last(), Some(Report::StillSealed(_))));
    assert_eq!(run.world.lock.entries.len(), 1);
    assert!(run.cycle.has_given_up());
    run.feed(Input::Event(Event::Sentinel(None)));
    assert!(!run.cycle.has_given_up() && run.is_clean());
}

#[test]
fn nothing_stuck_each_write_may_fail_or_lose_its_answer() {
    let writes = [
        "wanted",
        "write lock",
        "draining",
        "delaying",
        "sealed",
        "returning",
        "give back",
    ];
    for write in writes {
        for applied in [Applied::Yes, Applied::No] {
            let mut run = agent();
            run.world
                .fail
                .push((write, Failure::Unknown("timeout".to_owned()), applied));
            for _ in 0..6 {
                run.wish();
                let _ = run.due_if_armed(Timer::Retry(1));
                if run.world.phase() == Some(Phase::Draining) {
                    run.drain();
                }
                run.see();
                let _ = run.due_if_armed(Timer::Delay);
                if run.rebooted() && run.world.phase() == Some(Phase::Sealed) {
                    run.boot();
                }
                let _ = run.due_if_armed(Timer::Retry(1));
                let _ = run.due_if_armed(Timer::Soak);
                let _ = run.due_if_armed(Timer::Backoff);
                if run.rebooted() && run.cycle.is_idle() {
                    break;
                }
            }
            assert!(run.rebooted(), "{write}");
            assert!(
                run.is_clean() && !run.world.node.spec.unschedulable,
                "{write}: {:?}",
                run.world.log
            );
        }
    }
}

#[test]
fn a_cancel_stops_it_before_the_seal_and_is_too_late_after() {
    let mut run = agent();
    run.reach_delay();
    run.world.cancel("the customer is on stage");
    run.see();
    assert_eq!(
        run.called_off(),
        Some(&CallOff::Cancelled("the customer is on stage".to_owned()))
    );
    assert!(run.is_clean() && !run.rebooted() && run.world.node.annotation(keys::CANCEL).is_none());

    let mut run = agent();
    run.reach_delay();
    run.due(Timer::Delay);
    run.world.cancel("too late");
    run.see();
    assert_eq!(run.world.phase(), Some(Phase::Sealed));
    assert!(matches!(run.reports.last(), Some(Report::TooLateToCancel(_))));
}

#[test]
fn fail_safe_reading_marks_that_cannot_be_read_are_someone_elses() {
    let mut run = agent();
    run.world.label("pondering");
    let before = run.world.node.clone();
    run.restart();
    run.wish();
    run.see();
    assert_eq!(run.world.node, before);
    assert!(matches!(run.reports.last(), Some(Report::Foreign(_))));
    // A person clears them: it goes on.
    run.world.change(|node| node.metadata.labels.clear());
    run.see();
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Draining));
}

#[test]
fn a_host_that_goes_down_or_cannot_be_asked_is_waited_for() {
    for shutdown in [Shutdown::UnderWay, Shutdown::Unknown("no systemctl".to_owned())] {
        let mut run = agent();
        run.reach_delay();
        run.world.host.shutdown = shutdown;
        run.restart();
        run.wish();
        run.see();
        assert_eq!(run.world.phase(), Some(Phase::Delaying));
        run.world.host.shutdown = Shutdown::No;
        run.due(Timer::Host);
        assert_eq!(run.world.phase(), Some(Phase::Draining));
    }
}

#[test]
fn at_most_n_waits_for_a_live_entry_and_for_a_hold_without_entry() {
    let other = "2026-11-23T09:00:00Z";
    let mut with_entry = agent();
    with_entry
        .world
        .change_lock(|entries| entries.push(Entry::new("b", "", other, false)));
    drop(
        with_entry
            .world
            .peers
            .insert("b".to_owned(), peer("b", other, Phase::Wanted)),
    );
    let mut without_entry = agent();
    drop(
        without_entry
            .world
            .peers
            .insert("b".to_owned(), peer("b", other, Phase::Sealed)),
    );
    for mut run in [with_entry, without_entry] {
        run.wish();
        assert_eq!(run.world.phase(), Some(Phase::Wanted));
        let holders = BTreeSet::from(["b".to_owned()]);
        assert!(run.reports.contains(&Report::LockHeld(holders)));
        // The other is done.
        run.world.peers.clear();
        run.world.change_lock(Vec::clear);
        run.feed(Input::Event(Event::LockChanged));
        run.due(Timer::Turn);
        assert_eq!(run.world.phase(), Some(Phase::Draining));
    }
}

#[test]
fn at_most_n_frees_the_entry_of_a_vanished_node_and_keeps_the_manual_lock() {
    let mut run = agent();
    run.world
        .change_lock(|entries| entries.push(Entry::new("b", "", "2026-11-23T09:00:00Z", false)));
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    assert_eq!(run.world.lock.entries.len(), 1);

    let mut run = agent();
    run.world
        .change_lock(|entries| entries.push(Entry::new("manual", "", "", false)));
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Wanted));
    assert!(!is_over(&run.world.lock.entries[0], &BTreeSet::new(), None));
}

#[test]
fn nothing_stuck_a_soak_longer_than_a_renewal_ends() {
    let mut run = agent();
    run.reach_delay();
    run.due(Timer::Delay);
    run.boot();
    run.acts.clear();
    run.due(Timer::Renew);
    assert!(run.acts.contains(&Act::Arm(Timer::Renew)) && !run.acts.contains(&Act::Arm(Timer::Soak)));
    // Nor does the soak begin anew if a heartbeat makes the last patch conflict.
    run.world.fail.push(("give back", Failure::Conflict, Applied::No));
    run.due(Timer::Soak);
    assert!(run.is_clean() && run.cycle.is_idle());
}

#[test]
fn nothing_stuck_a_node_that_never_gets_ready_is_said_again() {
    let mut run = agent();
    run.reach_delay();
    run.due(Timer::Delay);
    run.world.change(|node| node.status.conditions.clear());
    run.boot();
    assert!(!run.due_if_armed(Timer::Soak));
    run.due(Timer::Renew);
    assert_eq!(run.world.phase(), Some(Phase::Returning));
    run.due(Timer::Ready);
    let overdue = Report::ReturnOverdue(vec![Missing::Ready]);
    assert_eq!(run.reports.last(), Some(&overdue));
    assert_eq!(run.world.lock.entries.len(), 1, "it stops the line");
}

#[test]
fn the_hold_is_renewed_while_it_delays() {
    let mut run = agent();
    run.wish();
    // The drain ends while the API server is silent, and the renewal falls due in between.
    let silent = Failure::Unknown("timeout".to_owned());
    run.world.fail.push(("delaying", silent, Applied::No));
    run.feed(Input::Event(Event::Drain(DrainNews::Drained(BTreeSet::new()))));
    run.due(Timer::Renew);
    run.acts.clear();
    run.due(Timer::Retry(1));
    assert_eq!(run.world.phase(), Some(Phase::Delaying));
    assert!(run.acts.contains(&Act::Arm(Timer::Renew)));
}

#[test]
fn cordon_given_back_restores_an_admins_cordon_that_another_cleared() {
    let mut run = Run::new(Settings {
        on_uncordon: OnUncordon::Abort,
        ..policy()
    });
    run.world.set_unschedulable(true);
    run.wish();
    run.world.set_unschedulable(false);
    run.see();
    assert!(run.is_clean() && run.world.node.spec.unschedulable);
}

#[test]
fn at_most_n_an_entry_that_names_no_node_fills_one_slot_and_no_more() {
    let mut run = Run::new(Settings {
        concurrency: Share::Count(2),
        ..policy()
    });
    let nowhere = Entry::new("Not A Node", "", "2026-11-23T09:00:00Z", false);
    run.world.change_lock(|entries| entries.push(nowhere));
    drop(run.wish_until("read peer"));
    run.feed(Input::Answer(Answer::Peer(Err(Failure::Refused(
        "no such name".to_owned(),
    )))));
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    assert_eq!(run.world.lock.entries.len(), 2);
}

#[test]
fn nothing_stuck_a_wish_that_somebody_made_a_hold_is_undone() {
    // Two such nodes would wait for each other for ever.
    let mut run = agent();
    run.world
        .change_lock(|entries| entries.push(Entry::new("manual", "", "", false)));
    run.wish();
    run.world.label("sealed");
    run.see();
    assert_eq!(run.called_off(), Some(&CallOff::Disturbed(Disturbance::Tampered)));
    assert_eq!(run.world.phase(), None);
}

/// If the Node cannot be read for the wish, the sentinel is looked at again soon, and not only after a whole `--period`.
#[test]
fn nothing_stuck_a_wish_that_could_not_be_followed_is_looked_for_again() {
    let mut run = agent();
    run.world
        .fail
        .push(("read node", Failure::Unknown("no answer".to_owned()), Applied::No));
    run.wish();
    assert!(run.cycle.is_idle());
    run.due(Timer::CheckSentinel);
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Draining));

    // The wish is seen while the agent still reads what an earlier process has left.
    let mut run = agent();
    run.world
        .fail
        .push(("read node", Failure::Unknown("no answer".to_owned()), Applied::No));
    run.restart();
    run.wish();
    run.due(Timer::Retry(1));
    assert!(run.cycle.is_idle());
    run.due(Timer::CheckSentinel);
}

/// A person's entry stops the whole pool until that person removes it.
#[test]
fn an_entry_by_hand_is_no_leftover_of_ours() {
    let mut run = agent();
    let by_hand = Entry::new(run.world.node.name(), "", "", false);
    run.world.change_lock(|entries| entries.push(by_hand.clone()));
    run.restart();
    assert!(run.cycle.is_idle());
    assert_eq!(run.world.lock.entries, [by_hand]);
}

/// Somebody's admission policy forbids the cordon: it is tried again and again, and reported where people look.
#[test]
fn nothing_stuck_what_is_refused_again_and_again_is_said_once() {
    let mut run = agent();
    for _ in 0..30 {
        let failure = Failure::Refused("policy: no taints".to_owned());
        run.world.fail.push(("draining", failure, Applied::No));
    }
    run.wish();
    for _ in 0..29 {
        run.due(Timer::Retry(1));
    }
    let refused = Report::Refused {
        what: "cordon the node",
        why: "policy: no taints".to_owned(),
    };
    assert_eq!(run.reports.iter().filter(|report| **report == refused).count(), 1);
    run.due(Timer::Retry(1));
    assert_eq!(run.world.phase(), Some(Phase::Draining));
}
