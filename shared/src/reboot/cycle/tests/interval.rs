//! `--min-interval`: the end of each reboot of the pool is noted on the lock's object, once, whoever does it.
//!
//! Not here: when that end keeps the next reboot back ([`crate::reboot::blocker`]).

use super::world::{Applied, peer};
use super::*;

#[test]
fn the_end_of_a_reboot_is_noted_once_also_with_a_release_delay() {
    let mut run = agent();
    run.reach_reboot();
    assert_eq!(run.world.ends, 0);
    run.boot_and_return();
    assert!(run.is_clean());
    assert_eq!(run.world.ends, 1);

    let mut run = Run::new(Settings {
        delays_release: true,
        ..policy()
    });
    run.reach_reboot();
    run.boot();
    run.due(Timer::Soak);
    assert_eq!((run.world.ends, run.world.lock.entries.len()), (1, 1));
    run.due(Timer::Release);
    assert_eq!((run.world.ends, run.world.lock.entries.len()), (1, 0));
}

#[test]
fn a_reboot_that_is_called_off_notes_no_end() {
    let mut run = agent();
    run.reach_delay();
    run.world.cancel("no");
    run.see();
    assert!(run.is_clean() && run.called_off().is_some());
    assert_eq!(run.world.ends, 0);
}

#[test]
fn a_reboot_whose_marks_were_lost_while_the_host_was_down_notes_its_end() {
    let mut run = agent();
    run.reach_reboot();
    run.world.change(|node| {
        node.metadata.labels.clear();
        node.metadata.annotations.clear();
    });
    run.boot();
    while run.see_next() {}
    assert!(matches!(run.called_off(), Some(CallOff::HoldLost)));
    assert_eq!((run.world.ends, run.world.lock.entries.len()), (1, 0));
}

#[test]
fn an_agent_that_dies_before_the_release_notes_the_end_when_it_is_back() {
    for applied in [Applied::Yes, Applied::No] {
        let mut run = agent();
        run.reach_reboot();
        run.boot();
        let failure = Failure::Unknown("no answer".to_owned());
        run.world.fail.push(("write lock", failure, applied));
        run.due(Timer::Soak);
        assert!(!run.cycle.is_idle());
        run.restart();
        assert!(run.is_clean());
        assert_eq!(run.world.ends, 1);
    }
}

/// b has been given back after a reboot, and has yet to release its entry.
fn beside_an_ended_reboot(keeps_interval: bool, seal: bool) -> Run {
    let mut run = Run::new(Settings {
        keeps_interval,
        ..policy()
    });
    let created = "2026-11-23T09:00:00Z";
    let mut entry = Entry::new("b", "uid-b", created, false);
    (entry.sealed, entry.boot_id) = (seal, "boot-0".to_owned());
    run.world.change_lock(|entries| entries.push(entry));
    let mut node = peer("b", created, Phase::Returning);
    node.metadata.annotations.clear();
    node.metadata.labels.clear();
    drop(run.world.peers.insert("b".to_owned(), node));
    run
}

#[test]
fn a_waiter_notes_the_end_of_a_reboot_whose_agent_has_not_before_it_begins_its_own() {
    let mut run = beside_an_ended_reboot(true, true);
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Wanted));
    assert_eq!((run.world.ends, run.world.lock.entries.len()), (1, 0));
    // By then the interval may keep it back. Here nothing does.
    run.due(Timer::Turn);
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    assert_eq!(run.world.ends, 1);

    // Without the flag, or for an entry that never came to a reboot, nothing is noted.
    for (keeps_interval, seal) in [(false, true), (true, false)] {
        let mut run = beside_an_ended_reboot(keeps_interval, seal);
        run.wish();
        assert_eq!(run.world.phase(), Some(Phase::Draining));
        assert_eq!(run.world.ends, 0);
    }
}

#[test]
fn a_waiter_that_loses_the_race_to_note_an_end_looks_again() {
    let mut run = beside_an_ended_reboot(true, true);
    run.world
        .fail
        .push(("write lock", Failure::Conflict, Applied::No));
    run.wish();
    assert_eq!((run.world.phase(), run.world.ends), (Some(Phase::Wanted), 0));
    run.due(Timer::Turn);
    assert_eq!((run.world.phase(), run.world.ends), (Some(Phase::Wanted), 1));
}

/// Found by the simulation: the process that noted nothing dies after the give-back, and the delay goes on.
#[test]
fn an_agent_that_dies_before_it_keeps_its_entry_notes_the_end_when_it_is_back_and_only_then() {
    let mut run = Run::new(Settings {
        delays_release: true,
        ..policy()
    });
    run.reach_reboot();
    run.boot();
    let failure = Failure::Unknown("no answer".to_owned());
    run.world.fail.push(("write lock", failure, Applied::No));
    run.due(Timer::Soak);
    assert_eq!((run.world.ends, run.world.lock.entries.len()), (0, 1));
    run.restart();
    assert_eq!((run.world.ends, run.world.lock.entries.len()), (1, 1));
    run.due(Timer::Release);
    assert_eq!((run.world.ends, run.world.lock.entries.len()), (1, 0));
}
