//! The counterexamples of the protocol, by number: each plays the sequence of events that ends badly without a rule, and shows
//! what happens with it.
//!
//! Not here: the webhook's part of C4c, C5 and C9 ([`crate::admission`]).

use super::*;

/// What ends a wish, a hold or a watch.
type End = fn(&mut Run);

#[test]
fn c1_an_entry_is_dropped_only_on_a_read_of_its_node_after_the_lock() {
    let mut pair = Pair::new();
    let old = Entry::new("a", "", "2026-11-23T09:00:00Z", false);
    pair.b().world.change_lock(|entries| entries.push(old));
    // b has read a's Node, and judged the entry over; then a stamps and acquires.
    let dropping = pair.b().wish_until("write lock");
    assert_eq!(
        pair.b().news(),
        "read node,wanted,read lock,read peer,list held,list blockers"
    );
    let cordoning = pair.a().wish_until("draining");
    let acquired = pair.a().world.lock.clone();
    pair.b().send(dropping);
    assert_eq!(pair.b().news(), "write lock lost");
    // What it knew of the Node is older than this lock: both are read again, in this order.
    pair.assert_b_waits_for("a");
    assert_eq!(pair.b().news(), "read lock,read peer");
    assert_eq!(pair.b().world.lock, acquired);
    pair.a().send(cordoning);
    pair.a().drain();
    pair.a().due(Timer::Delay);
    assert!(pair.a().rebooted());
    pair.assert_b_waits_for("a");
}

#[test]
fn c2_time_alone_undoes_no_reboot_that_was_issued() {
    for command in [Ok(()), Err(RebootFailure::Failed("exit status 1".to_owned()))] {
        // systemd hangs in a shutdown.
        let mut pair = Pair::new();
        pair.a().reach_delay();
        pair.a().world.reboot = command;
        pair.a().world.host.shutdown = Shutdown::UnderWay;
        pair.a().due(Timer::Delay);
        let sealed = pair.a().world.node.clone();
        drop(pair.a().news());
        pair.b().wish();
        for timer in [Timer::Reboot, Timer::Host, Timer::Deadline, Timer::Reboot] {
            let _ = pair.a().due_if_armed(timer);
            assert_eq!(pair.a().world.node, sealed, "{timer:?}");
            pair.assert_b_waits_for("a");
        }
        assert!(pair.a().news().split(',').all(|asked| asked == "ask host"));
        assert!(matches!(pair.a().reports.last(), Some(Report::StillSealed(_))));
        pair.a().boot_and_return();
        pair.assert_b_goes_on();
    }
}

#[test]
fn c2_a_reboot_is_undone_once_the_host_shows_that_it_will_not_come() {
    let mut run = agent();
    run.reach_delay();
    run.world.reboot = Err(RebootFailure::Failed("exit status 1".to_owned()));
    run.world.host.shutdown = Shutdown::UnderWay;
    run.due(Timer::Delay);
    drop(run.news());
    run.world.host.shutdown = Shutdown::No;
    run.due(Timer::Host);
    assert_eq!(run.news(), "ask host,draining");
    assert!(run.world.node.spec.unschedulable);
    assert_eq!(run.world.lock.entries.len(), 1);
}

#[test]
fn c3a_an_agent_restarted_under_a_shutdown_undoes_nothing() {
    for shutdown in [Shutdown::UnderWay, Shutdown::Unknown("no systemctl".to_owned())] {
        let mut pair = Pair::new();
        pair.a().reach_reboot();
        let sealed = pair.a().world.node.clone();
        drop(pair.a().news());
        // Killed by the shutdown, and started again in the same boot.
        pair.a().world.host.shutdown = shutdown;
        pair.a().restart();
        pair.a().wish();
        pair.a().see();
        pair.a().due(Timer::Host);
        assert_eq!(pair.a().news(), "ask host,ask host");
        assert_eq!(pair.a().world.node, sealed);
        pair.b().wish();
        pair.assert_b_waits_for("a");
        pair.a().boot_and_return();
        assert_eq!(pair.a().reboots(), 1);
        pair.assert_b_goes_on();
    }
}

#[test]
fn c3b_an_agent_restarted_on_a_seal_waits_it_out_and_never_issues_it() {
    let mut run = agent();
    run.reach_delay();
    // Killed between the seal and the command; the webhook is down.
    drop(run.feed_until(Input::Event(Event::Due(Timer::Delay)), "reboot"));
    run.world.set_unschedulable(false);
    run.world.pods.push("default/late".to_owned());
    drop(run.news());
    let mut recorded = run.clone();
    // Whoever cleans /run takes the record away: the other process may have issued it all the same.
    run.world.host.record = None;
    run.restart();
    run.see();
    run.wish();
    assert_eq!(run.news(), "ask host,read node,read lock");
    assert_eq!(run.world.phase(), Some(Phase::Sealed));
    run.world.host.shutdown = Shutdown::UnderWay;
    run.due(Timer::Reboot);
    assert_eq!(run.news(), "ask host");
    assert_eq!(run.world.phase(), Some(Phase::Sealed));
    run.world.host.shutdown = Shutdown::No;
    run.due(Timer::Host);
    assert_eq!(run.news(), "ask host,draining");
    // The record says that it was not: there is nothing to wait for.
    recorded.restart();
    assert_eq!(recorded.news(), "ask host,read node,read lock,draining");
    for mut run in [run, recorded] {
        assert!(run.world.node.spec.unschedulable && !run.rebooted());
        assert_eq!(run.world.lock.entries.len(), 1);
        run.drain();
        run.due(Timer::Delay);
        assert_eq!(
            run.news(),
            "delaying,list blockers,list pods,read lock,write lock,sealed,reboot"
        );
    }
}

#[test]
fn c3c_an_agent_asks_the_host_before_anything_else_even_where_its_node_shows_no_hold() {
    let mut run = agent();
    run.reach_reboot();
    drop(run.news());
    run.world.recreate();
    run.world.host.shutdown = Shutdown::UnderWay;
    run.restart();
    run.see();
    run.wish();
    run.due(Timer::Host);
    assert_eq!(run.news(), "ask host,ask host");
    assert!(run.is_unmarked() && !run.cycle.is_idle());
    run.boot();
    assert_eq!(run.news(), "ask host,read node,read lock,read lock,write lock");
    assert!(run.is_clean() && run.cycle.is_idle());
}

#[test]
fn c3c_nothing_begins_anew_on_a_host_that_was_told_to_reboot() {
    // The host does not show its shutdown yet, and neither Node nor lock say a word.
    let lost: [End; 3] = [
        |run| run.world.strip(),
        |run| run.world.recreate(),
        |run| {
            run.world.recreate();
            run.world.change_lock(Vec::clear);
        },
    ];
    for lose in lost {
        let mut run = agent();
        run.reach_reboot();
        let holder = run.world.node.annotation(keys::HOLDER).map(str::to_owned);
        lose(&mut run);
        let (node, lock) = (run.world.node.clone(), run.world.lock.clone());
        drop(run.news());
        run.restart();
        run.wish();
        run.see();
        assert_eq!(run.news(), "ask host");
        assert_eq!(run.reports.last(), holder.map(Report::HostTold).as_ref());
        run.world.host.shutdown = Shutdown::UnderWay;
        run.due(Timer::Host);
        run.wish();
        assert_eq!(run.news(), "ask host");
        assert_eq!((&run.world.node, &run.world.lock), (&node, &lock));
        run.boot();
        assert!(run.is_clean() && run.cycle.is_idle() && run.reboots() == 1);
    }
}

#[test]
fn c3c_a_host_that_was_told_and_stays_up_is_believed_once_the_time_is_over() {
    let mut run = agent();
    run.reach_reboot();
    drop(run.news());
    run.restart();
    assert_eq!(run.news(), "ask host");
    run.due(Timer::Host);
    assert_eq!(run.news(), "ask host", "the seal's deadline is still to come");
    run.world.host.told = Some(RebootDeadline::Passed);
    run.due(Timer::Host);
    assert_eq!(run.news(), "ask host,read node,read lock,draining");
    assert!(run.world.node.spec.unschedulable && run.reboots() == 1);
}

#[test]
fn c4a_an_undo_that_lands_a_cycle_later_changes_nothing() {
    let mut pair = Pair::new();
    pair.a().wish();
    // The drain has failed; the undo hangs in the network, and its agent dies.
    let undo = pair
        .a()
        .feed_until(Input::Event(Event::Due(Timer::Drain)), "give back")
        .unwrap();
    pair.a().restart();
    pair.a().drain();
    pair.a().due(Timer::Delay);
    assert!(pair.a().rebooted());
    let sealed = pair.a().world.node.clone();
    assert_eq!(
        pair.a().world.carry_out(undo),
        Input::Answer(Answer::Patched(Err(Failure::Conflict)))
    );
    assert_eq!(pair.a().world.node, sealed);
    pair.b().wish();
    pair.assert_b_waits_for("a");
}

#[test]
fn c4b_a_stamp_that_lands_a_cycle_later_changes_nothing() {
    let mut pair = Pair::new();
    let stamp = pair.a().wish_until("wanted").unwrap();
    pair.a().restart();
    pair.a().reach_reboot();
    let sealed = pair.a().world.node.clone();
    assert_eq!(
        pair.a().world.carry_out(stamp),
        Input::Answer(Answer::Patched(Err(Failure::Conflict)))
    );
    assert_eq!(pair.a().world.node, sealed);
    pair.b().wish();
    pair.assert_b_waits_for("a");
    pair.a().boot_and_return();
    assert!(!pair.a().world.node.spec.unschedulable);
}

#[test]
fn c4c_a_renewal_that_lands_after_the_give_back_changes_nothing() {
    let mut run = agent();
    run.wish();
    let renewal = run
        .feed_until(Input::Event(Event::Due(Timer::Renew)), "renew")
        .unwrap();
    run.restart();
    run.due(Timer::Drain);
    assert!(run.is_clean());
    assert_eq!(
        run.world.carry_out(renewal),
        Input::Answer(Answer::Patched(Err(Failure::Conflict)))
    );
    assert!(run.is_clean());
    // And if `until` alone were there, it would hold nothing and go with the next hold.
    run.world.annotate(keys::UNTIL, "2026-11-23T10:10:00Z");
    assert_eq!(hold::read(&run.world.node), Reading::Absent);
    run.restart();
    assert!(run.cycle.is_idle());
    run.reach_reboot();
    run.boot_and_return();
}

#[test]
fn c5_a_sealed_entry_outlives_marks_that_were_stripped() {
    let mut pair = Pair::new();
    pair.a().reach_reboot();
    // A slow boot: `until` passes while nobody renews it, and the marks go; so they do where the webhook is down.
    pair.a().world.strip();
    pair.b().wish();
    pair.assert_b_waits_for("a");
    assert_eq!(
        pair.b().news(),
        "read node,wanted,read lock,read peer,read lock,read peer"
    );
    drop(pair.a().news());
    pair.a().boot();
    assert_eq!(
        pair.a().news(),
        "ask host,read node,read lock,give back,read lock,write lock",
        "the entry says what the cordon was"
    );
    assert!(pair.a().is_clean() && !pair.a().world.node.spec.unschedulable);
    pair.assert_b_goes_on();
}

#[test]
fn c6_a_lost_hold_is_never_written_again() {
    for b_is_first in [true, false] {
        let mut pair = Pair::new();
        let cordoning = pair.a().wish_until("draining");
        pair.a().world.recreate();
        // b reads the lock, then the Node, which shows no hold: the entry is over.
        let dropping = pair.b().wish_until("write lock");
        drop((pair.a().news(), pair.b().news()));
        if b_is_first {
            pair.b().send(dropping);
            pair.a().send(cordoning);
            assert_eq!(pair.a().news(), "draining lost,watch,read lock");
            assert_eq!(pair.b().news(), "write lock,draining");
        } else {
            pair.a().send(cordoning);
            pair.b().send(dropping);
            assert_eq!(pair.a().news(), "draining lost,watch,read lock,write lock");
            assert_eq!(pair.b().news(), "write lock lost");
            pair.assert_b_goes_on();
        }
        assert_eq!(pair.a().called_off(), Some(&CallOff::HoldLost));
        assert!(pair.a().is_clean() && !pair.a().world.node.spec.unschedulable);
        // The next wish is another hold, and waits its turn.
        let lost = pair.a().reports.iter().find_map(wished);
        pair.a().reports.clear();
        pair.a().due(Timer::Backoff);
        pair.a().wish();
        assert_eq!(pair.a().world.phase(), Some(Phase::Wanted));
        assert_ne!(pair.a().reports.iter().find_map(wished), lost);
        assert_eq!(pair.a().world.lock.entries[0].node, "b");
    }
}

fn wished(report: &Report) -> Option<String> {
    match report {
        Report::Wished { holder, .. } => Some(holder.clone()),
        _ => None,
    }
}

#[test]
fn c7_what_the_cordon_was_is_decided_once() {
    // A restart repeats the cordon patch on a Node that is cordoned by us already.
    let mut run = agent();
    let lost = Failure::Unknown("timeout".to_owned());
    run.world.fail.push(("draining", lost, Applied::Yes));
    run.wish();
    run.restart();
    run.drain();
    run.restart();
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    assert_eq!(run.world.node.annotation(keys::WAS_UNSCHEDULABLE), Some("false"));
    run.drain();
    run.due(Timer::Delay);
    run.boot_and_return();
    assert!(!run.world.node.spec.unschedulable);

    // A redrain repeats it on a Node whose admin's cordon somebody else cleared.
    let mut run = agent();
    run.world.set_unschedulable(true);
    run.reach_delay();
    run.world.set_unschedulable(false);
    run.see();
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    assert_eq!(run.world.node.annotation(keys::WAS_UNSCHEDULABLE), Some("true"));
    run.drain();
    run.due(Timer::Delay);
    run.boot_and_return();
    assert!(run.world.node.spec.unschedulable);
}

#[test]
fn c8_the_end_of_a_wish_leaves_the_cordon_as_it_is() {
    let ends: [End; 3] = [
        |run| run.feed(Input::Event(Event::Sentinel(None))),
        |run| {
            run.world.cancel("not today");
            run.see();
        },
        // Another boot is somebody else's reboot, whatever boot id was left on the wish.
        |run| {
            run.world.annotate(keys::BOOT_ID, "boot-0");
            run.boot();
            run.feed(Input::Event(Event::Sentinel(None)));
        },
    ];
    for end in ends {
        let mut run = agent();
        run.world.set_unschedulable(true);
        run.world
            .change_lock(|entries| entries.push(Entry::new("manual", "", "", false)));
        run.wish();
        assert_eq!(run.world.phase(), Some(Phase::Wanted));
        end(&mut run);
        assert!(run.called_off().is_some());
        assert!(run.is_clean() && run.cycle.is_idle());
        assert!(run.world.node.spec.unschedulable);
        assert!(!run.world.log.iter().any(|name| name == "returning"));
    }
}

#[test]
fn c9_a_cancel_planted_before_the_hold_never_stands_on_a_held_node() {
    // Before the stamp: it goes with it.
    let mut run = agent();
    run.world.annotate(keys::CANCEL, "2020-01-01T00:00:00Z old");
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    assert!(run.world.node.annotation(keys::CANCEL).is_none());

    // After the stamp, and even between the read and the cordon patch: there is no hold.
    for before in ["read lock", "write lock", "draining"] {
        let mut run = agent();
        let next = run.wish_until(before);
        run.world.cancel("planted");
        drop(run.news());
        run.send(next);
        assert_eq!(run.called_off(), Some(&CallOff::Cancelled("planted".to_owned())));
        let undone = "give back,read lock,write lock";
        assert!(run.news().ends_with(undone));
        assert!(run.is_clean() && !run.world.node.spec.unschedulable);
        assert!(run.world.node.annotation(keys::CANCEL).is_none());
        assert!(!run.world.log.iter().any(|name| name == "draining"));
    }
}

#[test]
fn c10_the_node_is_given_back_before_the_lock_is_released() {
    let mut pair = Pair::new();
    pair.a().wish();
    drop(pair.a().news());
    // The drain has failed.
    let undo = pair
        .a()
        .feed_until(Input::Event(Event::Due(Timer::Drain)), "give back");
    pair.b().wish();
    pair.assert_b_waits_for("a");
    pair.a().send(undo);
    assert_eq!(pair.a().news(), "give back,read lock,write lock");
    pair.assert_b_goes_on();
}

#[test]
fn c10_every_way_out_gives_back_first() {
    // Cancelled, called off, done.
    let ends: [End; 3] = [
        |run| {
            run.world.cancel("not today");
            run.see();
        },
        |run| {
            run.world.set_unschedulable(false);
            run.see();
        },
        |run| {
            run.due(Timer::Delay);
            run.boot_and_return();
        },
    ];
    for end in ends {
        let mut run = Run::new(Settings {
            on_uncordon: OnUncordon::Abort,
            ..policy()
        });
        run.reach_delay();
        end(&mut run);
        assert!(run.news().ends_with("give back,read lock,write lock"));
        assert!(run.is_clean());
    }
}

#[test]
fn c11_a_cordon_that_was_cleared_and_put_back_is_noticed_by_a_watch_that_lags() {
    let mut run = agent();
    run.reach_delay();
    run.world.set_unschedulable(false);
    let uncordoned = run.world.node.clone();
    run.world.set_unschedulable(true);
    // The delay is over before the watch delivers what happened.
    drop(run.news());
    run.due(Timer::Delay);
    assert_eq!(
        run.news(),
        "list blockers,list pods,read lock,write lock,sealed lost"
    );
    run.feed(Input::Event(Event::Seen(uncordoned)));
    assert!(run.was_disturbed(Disturbance::Uncordoned));
    assert_eq!(run.news(), "draining lost,watch,draining lost,draining");
    run.drain();
    run.due(Timer::Delay);
    assert!(run.rebooted());
}

#[test]
fn c11_a_pod_that_landed_after_the_list_does_not_go_down_with_the_node() {
    let mut run = agent();
    run.reach_delay();
    let confirm = run.feed_until(Input::Event(Event::Due(Timer::Delay)), "write lock");
    run.world.set_unschedulable(false);
    let uncordoned = run.world.node.clone();
    run.world.pods.push("default/late".to_owned());
    run.world.set_unschedulable(true);
    drop(run.news());
    run.send(confirm);
    assert_eq!(run.news(), "write lock,sealed lost");
    run.feed(Input::Event(Event::Seen(uncordoned)));
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    assert!(!run.rebooted());
}

#[test]
fn c11_continuity_is_not_trusted_over_a_restart_or_a_gap() {
    let losses: [End; 2] = [Run::restart, |run| run.feed(Input::Event(Event::Gap))];
    for lose in losses {
        let mut run = agent();
        run.reach_delay();
        run.world.set_unschedulable(false);
        run.world.set_unschedulable(true);
        lose(&mut run);
        assert_eq!(run.world.phase(), Some(Phase::Draining));
        assert!(
            !run.due_if_armed(Timer::Delay) && !run.rebooted(),
            "it is drained first"
        );
        run.drain();
        run.due(Timer::Delay);
        assert!(run.rebooted());
    }
}

#[test]
fn c12_the_boot_id_is_that_of_the_cordon_patch() {
    let mut run = agent();
    run.world
        .change_lock(|entries| entries.push(Entry::new("manual", "", "", false)));
    run.wish();
    // Somebody else's reboot while it waits.
    run.boot();
    assert_eq!(run.world.phase(), Some(Phase::Wanted));
    run.world.change_lock(Vec::clear);
    run.reach_reboot();
    assert_eq!(run.world.node.annotation(keys::BOOT_ID), Some("boot-2/1.0"));
    // Restarted after the command, in the same boot: the reboot has not happened.
    let sealed = run.world.node.clone();
    run.restart();
    assert_eq!(run.world.node, sealed);
    assert!(!run.reports.contains(&Report::Returned));
    run.boot_and_return();
    assert!(run.reports.contains(&Report::Returned));
}

#[test]
fn c13_nothing_is_issued_on_a_seal_past_its_deadline() {
    let mut run = agent();
    run.reach_delay();
    run.acts.clear();
    // The deadline runs from when the seal is sent; then the process is paused.
    let seal = run.feed_until(Input::Event(Event::Due(Timer::Delay)), "sealed");
    assert_eq!(run.acts.last(), Some(&Act::Arm(Timer::Deadline)));
    run.acts.clear();
    run.world.reboot = Err(RebootFailure::Expired);
    drop(run.news());
    run.send(seal);
    assert!(!run.acts.contains(&Act::Arm(Timer::Deadline)));
    assert!(run.was_disturbed(Disturbance::SealOver));
    assert_eq!(run.news(), "sealed,reboot,draining");
    assert!(run.world.node.spec.unschedulable);
    assert_eq!(run.world.lock.entries.len(), 1, "the entry is kept");
}
