//! What ends a request: it is taken off, lapses, is cancelled, or is satisfied by another reboot. And a lock that is gone.

use super::*;

#[test]
fn a_request_that_is_taken_off_ends_the_wish_while_the_sentinel_gives_no_answer() {
    let mut node = Node::idle();
    node.fill_lock();
    node.shell.is_sentinel_readable = false;
    node.write(Some(REQUEST));
    assert_eq!(node.phase(), Some("wanted"));
    node.write(None);
    assert_eq!((node.phase(), node.used()), (None, None));
    // What the host has said before still holds.
    node.shell.is_sentinel_readable = true;
    node.shell.is_wanted = true;
    node.pass(2 * 60 * 60);
    node.write(Some(REQUEST));
    node.shell.is_sentinel_readable = false;
    node.write(None);
    assert_eq!(node.phase(), Some("wanted"));
    node.free_lock();
    node.pass(60 * 60);
    assert_eq!(node.reboots, 1);
    // But it begins nothing.
    node.shell.is_wanted = true;
    node.pass(2 * 60 * 60);
    assert_eq!((node.reboots, node.phase()), (1, None));
}

#[test]
fn a_request_lapses_on_time_although_nobody_looks_for_hours_and_the_sentinel_gives_no_answer() {
    for is_readable in [true, false] {
        let mut setup = setup();
        setup.timing.period = Duration::from_hours(48);
        let mut node = Node::with(setup);
        node.fill_lock();
        node.shell.is_sentinel_readable = is_readable;
        node.write(Some(REQUEST));
        node.pass(24 * 60 * 60 - 90);
        assert_eq!(node.phase(), Some("wanted"));
        // REQUEST is of 09:59, and the day began at 10:00.
        node.pass(30);
        assert_eq!((node.phase(), node.used()), (None, None), "{is_readable}");
        assert!(node.ignored()[0].contains(RequestFlaw::Stale.as_str()));
    }
}

#[test]
fn a_request_that_lies_ahead_counts_as_soon_as_it_may() {
    let mut node = Node::idle();
    node.write(Some("2026-11-23T10:06:00Z jo: a fast clock"));
    assert_eq!(node.reboots, 0);
    node.pass(55);
    assert_eq!(node.reboots, 1);
}

#[test]
fn a_request_that_is_taken_off_while_the_lock_is_acquired_cordons_nothing() {
    let mut node = Node::idle();
    node.withdraws = true;
    node.write(Some(REQUEST));
    node.pass(60 * 60);
    assert!(!node.withdraws && node.reports.contains(&Report::Locked));
    assert_eq!((node.reboots, node.phase()), (0, None));
    let is_cordoned = |report: &Report| matches!(report, Report::Draining { .. });
    assert!(!node.reports.iter().any(is_cordoned), "{:?}", node.reports);
    assert_eq!(node.record(), Record::default());
}

#[test]
fn a_request_that_is_taken_off_before_the_look_acquires_no_lock() {
    let mut node = Node::idle();
    node.fill_lock();
    node.write(Some(REQUEST));
    // The change before was looked at a moment ago, so this one is not yet.
    node.annotate(keys::REBOOT_WANTED, Some("2026-11-23T10:00:00Z jo: more"));
    node.show();
    node.run();
    node.annotate(keys::REBOOT_WANTED, None);
    node.show();
    node.free_lock();
    let lease = node.shell.lease();
    node.shell.observed(Observed::Lock(Change::Present(lease)));
    for _ in 0..4 {
        node.pass(1);
    }
    node.pass(60 * 60);
    assert_eq!((node.reboots, node.phase(), node.used()), (0, None, None));
    assert!(!node.reports.contains(&Report::Locked), "{:?}", node.reports);
}

#[test]
fn a_request_that_is_taken_off_while_the_node_drains_ends_the_hold() {
    // Also a process that was started anew, and has no answer of the sentinel.
    for is_restarted in [false, true] {
        let mut node = Node::idle();
        node.drains = false;
        node.write(Some(REQUEST));
        assert_eq!(node.phase(), Some("draining"));
        if is_restarted {
            node.shell.is_sentinel_readable = false;
            node.restart();
            node.annotate(keys::REBOOT_WANTED, None);
            node.run();
            node.pass(10);
        } else {
            node.write(None);
        }
        assert_eq!((node.phase(), node.reboots), (None, 0), "{is_restarted}");
        assert!(!node.shell.node.spec.unschedulable);
        let off = Report::CalledOff(CallOff::NoLongerWanted);
        assert!(node.reports.contains(&off), "{:?}", node.reports);
        // It is used all the same.
        node.write(Some(REQUEST));
        node.pass(60 * 60);
        assert_eq!(node.phase(), None, "{is_restarted}");
    }
}

#[test]
fn a_request_that_comes_while_the_node_drains_is_satisfied_by_that_reboot() {
    for is_wanted in [true, false] {
        let mut node = Node::idle();
        node.drains = false;
        if is_wanted {
            node.shell.is_wanted = true;
            node.pass(60 * 60);
        } else {
            node.write(Some(REQUEST));
        }
        assert_eq!(node.phase(), Some("draining"), "{is_wanted}");
        let now = node.shell.wall;
        let later = format!("{now:.9} jo: another");
        node.write(Some(&later));
        assert_eq!(node.phase(), Some("draining"), "{is_wanted}");
        node.drains = true;
        node.shell.observed(Observed::Pods(Change::Listed(Vec::new())));
        node.run();
        assert_eq!((node.reboots, node.request()), (1, None), "{is_wanted}");
        assert_eq!(node.used(), Some(at(&later)));
        node.pass(2 * 60 * 60);
        assert_eq!(node.reboots, 1, "{is_wanted}");
    }
}

#[test]
fn a_cancel_uses_the_request_also_in_a_process_that_has_not_looked_yet() {
    let mut node = Node::idle();
    node.fill_lock();
    node.write(Some(REQUEST));
    assert_eq!(node.phase(), Some("wanted"));
    node.cancel();
    node.restart();
    node.run();
    assert_eq!((node.phase(), node.request()), (None, None));
    assert_eq!(node.used(), Some(at(REQUEST)));
    node.free_lock();
    node.pass(2 * 60 * 60);
    assert_eq!((node.reboots, node.phase()), (0, None));
}

#[test]
fn a_cancel_uses_no_request_that_lies_in_the_future() {
    let mut node = Node::idle();
    node.shell.is_wanted = true;
    node.fill_lock();
    node.pass(2 * 60 * 60);
    assert_eq!(node.phase(), Some("wanted"));
    // Somebody has planted it, so that no honest request would count any more.
    node.annotate(keys::REBOOT_WANTED, Some("2099-01-01T00:00:00Z mallory: x"));
    node.cancel();
    node.restart();
    node.run();
    assert_eq!((node.phase(), node.used()), (None, None));
}

#[test]
fn a_lock_that_is_lost_while_the_host_is_down_makes_no_second_reboot_of_the_same_request() {
    let mut node = Node::idle();
    node.loses_lock = true;
    node.write(Some(REQUEST));
    assert_eq!((node.reboots, node.phase(), node.request()), (1, None, None));
    node.pass(2 * 60 * 60);
    // The new lock knows it, so it is not used again by whoever writes it again.
    assert_eq!(node.used(), Some(at(REQUEST)));
    node.restart();
    node.write(Some(REQUEST));
    node.pass(2 * 60 * 60);
    assert_eq!(node.reboots, 1);
}

#[test]
fn the_end_of_a_hold_waits_for_no_lock_that_is_gone() {
    let mut setup = setup();
    setup.lock.otherwise = None;
    setup.carrier = Carrier::DaemonSet;
    let mut node = Node::with(setup);
    node.write(Some(REQUEST));
    // There is no DaemonSet to write.
    assert_eq!((node.phase(), node.reboots), (Some("wanted"), 0));
    node.cancel();
    node.show();
    node.run();
    assert_eq!(node.phase(), None);
    assert!(node.reports.contains(&Report::Released), "{:?}", node.reports);
    assert!(node.shell.driver.cycle().is_idle());
}
