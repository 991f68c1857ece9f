//! What postpones a reboot, before the lock is acquired and at the beginning of the final check.

use super::world::{Applied, peer};
use super::*;
use crate::reboot::blocker::RebootsMax;

fn paused(word: &str) -> Report {
    Report::Blocked(vec![Blocker::NodePaused(word.to_owned())])
}

fn let_go(run: &mut Run) {
    run.world
        .change(|node| drop(node.metadata.annotations.remove(keys::PAUSE)));
    run.see();
}

#[test]
fn a_blocked_wish_takes_no_lock_also_after_a_restart() {
    let mut run = agent();
    run.world.annotate(keys::PAUSE, "on stage");
    run.wish();
    assert!(run.reports.contains(&paused("on stage")), "{:?}", run.reports);
    run.restart();
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Wanted));
    assert!(run.world.lock.entries.is_empty() && !run.world.node.spec.unschedulable);
}

#[test]
fn what_blocks_is_said_once_until_it_changes() {
    let mut run = agent();
    run.world.annotate(keys::PAUSE, "on stage");
    run.wish();
    run.due(Timer::Poll);
    run.due(Timer::Poll);
    let count = |run: &Run, word| run.reports.iter().filter(|said| **said == paused(word)).count();
    assert_eq!(count(&run, "on stage"), 1);
    run.world.annotate(keys::PAUSE, "encore");
    run.due(Timer::Poll);
    assert_eq!(count(&run, "encore"), 1);
}

#[test]
fn nothing_stuck_a_pause_that_ends_lets_the_wish_go_on_at_once() {
    let mut run = agent();
    run.world.annotate(keys::PAUSE, "the disk is next");
    run.wish();
    run.see();
    assert!(!run.due_if_armed(Timer::Turn), "still paused");
    let_go(&mut run);
    run.due(Timer::Turn);
    assert_eq!(run.world.phase(), Some(Phase::Draining));
}

#[test]
fn found_e6_a_pause_after_the_drain_began_is_said_and_reboots_nothing_until_it_ends() {
    let mut run = agent();
    run.reach_delay();
    run.world.annotate(keys::PAUSE, "wait");
    run.see();
    run.due(Timer::Delay);
    assert!(!run.rebooted() && run.reports.contains(&paused("wait")));
    assert_eq!(run.world.phase(), Some(Phase::Delaying));
    assert!(run.armed.contains(&Timer::Blocked));
    let_go(&mut run);
    run.due(Timer::Retry(RETRIES_MAX));
    assert!(run.rebooted() && !run.armed.contains(&Timer::Blocked));
}

#[test]
fn nothing_stuck_a_node_whose_seal_is_blocked_for_too_long_is_given_back() {
    let mut run = agent();
    run.reach_delay();
    run.world.annotate(keys::PAUSE, "wait");
    run.see();
    run.due(Timer::Delay);
    run.due(Timer::Retry(RETRIES_MAX));
    run.due(Timer::Blocked);
    let blockers = vec![Blocker::NodePaused("wait".to_owned())];
    assert_eq!(run.called_off(), Some(&CallOff::Blocked(blockers)));
    assert!(run.is_clean() && !run.rebooted() && !run.world.node.spec.unschedulable);
}

/// The first look of the check: nothing is written for a reboot that is postponed.
#[test]
fn the_seal_asks_for_blockers_before_anything_else() {
    let mut run = agent();
    run.reach_delay();
    drop(run.news());
    run.due(Timer::Delay);
    let news = run.news();
    assert!(
        news.starts_with("list blockers,list pods,read lock,write lock"),
        "{news}"
    );
}

fn outside(opens: &str) -> Blocker {
    Blocker::OutsideWindow {
        windows: "@daily for 1h in UTC".to_owned(),
        opens: Some(opens.to_owned()),
        needs: None,
    }
}

fn told(run: &mut Run, outside: Option<Blocker>) {
    run.feed(Input::Event(Event::Window(outside)));
}

#[test]
fn outside_the_window_a_wish_waits_without_a_request_and_goes_on_when_it_opens() {
    let mut run = agent();
    told(&mut run, Some(outside("then")));
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Wanted));
    let blocked = Report::Blocked(vec![outside("then")]);
    assert!(run.reports.contains(&blocked), "{:?}", run.reports);
    assert_eq!(run.acts.last(), Some(&Act::Disarm(Timer::Stall)));
    drop(run.news());
    // Whatever happens meanwhile.
    for event in [
        Event::LockChanged,
        Event::Due(Timer::Turn),
        Event::Due(Timer::Poll),
        Event::Due(Timer::Stall),
    ] {
        run.feed(Input::Event(event));
    }
    run.wish();
    assert_eq!(run.news(), "");
    assert_eq!(run.reports.iter().filter(|report| **report == blocked).count(), 1);
    // A window that opens at another time than was told is told again.
    told(&mut run, Some(outside("later")));
    assert_eq!(run.reports.last(), Some(&Report::Blocked(vec![outside("later")])));
    told(&mut run, None);
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    assert!(run.acts.contains(&Act::WatchLock(true)));
}

#[test]
fn a_window_that_closes_ends_the_wait_for_the_lock_and_a_cancel_still_ends_the_wish() {
    let mut run = agent();
    run.world.annotate(keys::PAUSE, "on stage");
    run.wish();
    assert!(run.armed.contains(&Timer::Poll));
    told(&mut run, Some(outside("then")));
    assert!(!run.armed.contains(&Timer::Poll));
    assert_eq!(run.reports.last(), Some(&Report::Blocked(vec![outside("then")])));
    run.world.cancel("no");
    run.see();
    assert_eq!(run.called_off(), Some(&CallOff::Cancelled("no".to_owned())));
}

#[test]
fn blockers_that_cannot_be_asked_postpone_the_reboot_and_are_asked_again() {
    let mut run = agent();
    run.reach_delay();
    let failure = Failure::Unknown("no answer".to_owned());
    run.world.fail.push(("list blockers", failure, Applied::No));
    run.due(Timer::Delay);
    assert!(!run.rebooted());
    run.due(Timer::Retry(1));
    assert!(run.rebooted());
}

/// The value of the annotation with the reboots.
fn noted(run: &Run) -> Option<&str> {
    run.world.node.annotation(keys::REBOOTS)
}

fn looping() -> Run {
    let mut run = Run::new(Settings {
        reboots_kept: 2,
        ..policy()
    });
    run.world.rules.reboots_max = Some(RebootsMax {
        count: 2,
        within: jiff::SignedDuration::from_hours(1),
    });
    run
}

#[test]
fn a_node_that_reboots_in_vain_waits_for_a_person_and_takes_no_lock() {
    let mut run = looping();
    run.world.annotate(keys::REBOOTS, "2026-11-23T09:30:00Z");
    run.reach_reboot();
    run.boot_and_return();
    assert!(run.is_clean());
    assert_eq!(noted(&run), Some("2026-11-23T09:30:00Z 2026-11-23T10:00:00Z"));
    run.restart();
    run.wish();
    run.due(Timer::Poll);
    assert_eq!(run.world.phase(), Some(Phase::Wanted));
    assert!(run.world.lock.entries.is_empty() && !run.world.node.spec.unschedulable);
    let Some(Report::Blocked(blockers)) = run.reports.last() else {
        panic!("{:?}", run.reports)
    };
    assert!(
        matches!(blockers[..], [Blocker::Loop { count: 2, .. }]),
        "{blockers:?}"
    );
    assert!(
        blockers[0].to_string().contains("rebooted 2 times"),
        "{}",
        blockers[0]
    );
    run.world
        .change(|node| drop(node.metadata.annotations.remove(keys::REBOOTS)));
    run.due(Timer::Poll);
    assert_eq!(run.world.phase(), Some(Phase::Draining));
}

#[test]
fn a_reboot_is_noted_once_whatever_is_lost_or_restarted_on_the_way_back() {
    for applied in [Applied::Yes, Applied::No] {
        let mut run = looping();
        run.reach_reboot();
        let failure = Failure::Unknown("no answer".to_owned());
        run.world.fail.push(("returning", failure, applied));
        run.boot();
        run.due(Timer::Retry(1));
        assert_eq!(run.world.phase(), Some(Phase::Returning));
        run.restart();
        assert_eq!(noted(&run), Some("2026-11-23T10:00:00Z"));
    }
}

#[test]
fn fail_safe_reading_reboots_that_cannot_be_read_block_and_say_so() {
    let mut run = looping();
    run.world.annotate(keys::REBOOTS, "twice");
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Wanted));
    let blocker = Blocker::LoopUnreadable("'twice' is no time".to_owned());
    assert!(
        run.reports.contains(&Report::Blocked(vec![blocker])),
        "{:?}",
        run.reports
    );
    // Without the flag nobody reads it, and nobody changes it.
    let mut run = agent();
    run.world.annotate(keys::REBOOTS, "twice");
    run.reach_reboot();
    run.boot_and_return();
    assert_eq!(noted(&run), Some("twice"));
}

/// An agent in zone a with room for two, whose nodes are kept apart by zone.
fn spread_by_zone() -> Run {
    let mut run = Run::new(Settings {
        concurrency: Share::Count(2),
        ..policy()
    });
    run.world.rules.spread_by = vec!["zone".to_owned()];
    run.world.concurrency = Share::Count(2);
    run.world
        .change(|node| drop(node.metadata.labels.insert("zone".to_owned(), "a".to_owned())));
    run
}

/// The node b of this zone acquires the lock.
fn b_acquires(run: &mut Run, zone: &str) {
    let created = "2026-11-23T09:00:00Z";
    let entry = Entry::new("b", "uid-b", created, false);
    run.world.change_lock(|entries| entries.push(entry));
    let mut b = peer("b", created, Phase::Draining);
    drop(b.metadata.labels.insert("zone".to_owned(), zone.to_owned()));
    drop(run.world.peers.insert("b".to_owned(), b));
}

/// The blockers are read after the version of the lock that the acquire is a compare-and-swap on.
#[test]
fn two_values_are_never_in_the_lock_at_once_however_close_they_come() {
    for before in ["read lock", "list held", "list blockers", "write lock"] {
        let mut run = spread_by_zone();
        let request = run.wish_until(before);
        assert!(request.is_some(), "{before}");
        b_acquires(&mut run, "b");
        run.send(request);
        for _ in 0..3 {
            let _ = run.due_if_armed(Timer::Turn) || run.due_if_armed(Timer::Poll);
        }
        assert_eq!(run.world.phase(), Some(Phase::Wanted), "{before}");
        assert_eq!(run.world.lock.entries.len(), 1, "{before}");
        let Some(Report::Blocked(blockers)) = run.reports.last() else {
            panic!("{before}: {:?}", run.reports)
        };
        assert!(matches!(blockers[..], [Blocker::Spread { .. }]), "{blockers:?}");
    }
    // One value twice.
    let mut run = spread_by_zone();
    b_acquires(&mut run, "a");
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    assert_eq!(run.world.lock.entries.len(), 2);
}
