//! `--lock-release-delay`: the cordon is given back at once and the lock entry released later, also across restarts.

use super::*;

fn delaying() -> Settings {
    Settings {
        delays_release: true,
        ..policy()
    }
}

/// A node that is back, with its entry still in the lock; b waits for it.
fn returned() -> Pair {
    let mut pair = Pair::of(&delaying());
    pair.a().reach_reboot();
    pair.b().wish();
    pair.a().boot();
    pair.a().due(Timer::Soak);
    let a = pair.a();
    assert!(a.is_unmarked() && !a.world.node.spec.unschedulable && !a.cycle.is_idle());
    pair.assert_b_waits_for("a");
    pair
}

#[test]
fn the_entry_is_kept_until_the_delay_is_over() {
    let mut pair = returned();
    drop(pair.a().news());
    // No new wish meanwhile.
    pair.a().wish();
    pair.a().due(Timer::Release);
    assert_eq!(pair.a().news(), "read node,tidy,read lock,write lock");
    assert!(pair.a().is_clean() && pair.a().cycle.is_idle());
    assert_eq!(pair.a().world.node.annotation(keys::RELEASE_AT), None);
    pair.assert_b_goes_on();
}

/// kured sleeps in its process: a restart uncordons again, also an admin's new cordon, and sleeps again (its defect D14).
#[test]
fn d14_a_restart_in_the_delay_neither_repeats_the_return_nor_the_delay() {
    let mut pair = returned();
    pair.a().world.set_unschedulable(true);
    pair.a().reports.clear();
    let at = pair
        .a()
        .world
        .node
        .annotation(keys::RELEASE_AT)
        .map(str::to_owned);
    drop(pair.a().news());
    pair.a().restart();
    assert_eq!(pair.a().news(), "ask host,read node,read lock");
    assert_eq!(pair.a().reports, [Report::ReleaseDelayed]);
    assert_eq!(pair.a().world.node.annotation(keys::RELEASE_AT), at.as_deref());
    pair.assert_b_waits_for("a");
    pair.a().due(Timer::Release);
    assert!(pair.a().is_clean() && pair.a().world.node.spec.unschedulable);
    pair.assert_b_goes_on();
}

#[test]
fn an_agent_that_dies_at_the_end_of_the_delay_releases_all_the_same() {
    for before in ["tidy", "read lock", "write lock"] {
        let mut pair = returned();
        drop(
            pair.a()
                .feed_until(Input::Event(Event::Due(Timer::Release)), before),
        );
        pair.a().restart();
        let _ = pair.a().due_if_armed(Timer::Release);
        assert!(pair.a().is_clean() && pair.a().cycle.is_idle(), "{before}");
        pair.assert_b_goes_on();
    }
}

#[test]
fn a_change_of_the_node_that_has_nothing_to_do_with_the_delay_does_not_end_it() {
    let mut pair = returned();
    pair.a().world.annotate("example.org/note", "x");
    pair.a().see();
    assert!(!pair.a().cycle.is_idle());
    pair.assert_b_waits_for("a");
}

#[test]
fn a_person_ends_the_delay_by_its_annotation() {
    let mut pair = returned();
    pair.a()
        .world
        .change(|node| drop(node.metadata.annotations.remove(keys::RELEASE_AT)));
    pair.a().see();
    assert!(pair.a().is_clean() && pair.a().cycle.is_idle());
    pair.assert_b_goes_on();
}

#[test]
fn the_entry_of_a_node_that_is_gone_is_over_in_the_delay_too() {
    let mut pair = returned();
    let b = pair.b();
    drop(b.world.peers.remove("a"));
    b.due(Timer::Poll);
    assert_eq!(b.world.phase(), Some(Phase::Draining));
}

/// kured sleeps before it uncordons a node whose drain has failed.
#[test]
fn a_reboot_that_was_called_off_releases_at_once() {
    let mut run = Run::new(delaying());
    run.wish();
    drop(run.news());
    run.due(Timer::Drain);
    assert_eq!(run.news(), "give back,read lock,write lock");
    assert!(run.is_clean() && run.cycle.is_idle());
}

#[test]
fn what_fails_at_the_end_of_the_delay_is_tried_again() {
    for failing in ["read node", "tidy"] {
        let mut pair = returned();
        let failure = Failure::Unknown("no answer".to_owned());
        pair.a().world.fail.push((failing, failure, Applied::No));
        pair.a().due(Timer::Release);
        assert!(!pair.a().is_clean());
        pair.a().due(Timer::Retry(1));
        assert!(pair.a().is_clean() && pair.a().cycle.is_idle(), "{failing}");
    }
}

#[test]
fn cordon_given_back_a_kept_entry_says_so_where_the_record_and_the_annotation_are_gone() {
    let mut pair = returned();
    let a = pair.a();
    assert!(a.world.lock.entries[0].given_back);
    a.world.set_unschedulable(true);
    a.world
        .change(|node| drop(node.metadata.annotations.remove(keys::RELEASE_AT)));
    a.world.host.record = None;
    a.restart();
    assert!(a.is_clean() && a.cycle.is_idle());
    assert!(a.world.node.spec.unschedulable, "it is the admin's");
}
