//! kured's defects that cost a workload or a node, by their number in `docs/kured-defects.md`: each plays the sequence of events in which
//! kured fails.

use super::*;

#[test]
fn d1_the_node_and_its_pods_are_looked_at_again_after_the_delay() {
    // Uncordoned in the delay, and a pod lands. The watch tells at once, late, or not at all.
    for told in [true, false] {
        let mut run = agent();
        run.reach_delay();
        run.world.set_unschedulable(false);
        run.world.pods.push("default/late".to_owned());
        drop(run.news());
        if told {
            run.see();
            assert!(run.was_disturbed(Disturbance::Uncordoned));
            assert_eq!(run.news(), "draining");
        } else {
            run.due(Timer::Delay);
            assert!(run.was_disturbed(Disturbance::Pods(vec!["default/late".to_owned()])));
            assert_eq!(run.news(), "list blockers,list pods,draining lost,watch,draining");
        }
        assert!(!run.due_if_armed(Timer::Delay));
        assert!(run.world.node.spec.unschedulable && !run.rebooted());
        run.drain();
        run.due(Timer::Delay);
        assert_eq!(
            run.news(),
            "delaying,list blockers,list pods,read lock,write lock,sealed,reboot"
        );
    }
}

#[test]
fn d2_a_pod_that_lands_after_the_drain_began_is_drained_without_any_delay_too() {
    // As the delay begins: the drain is over, and its end is not yet on the Node.
    let mut run = agent();
    run.wish();
    run.drain();
    run.world.pods.push("default/late".to_owned());
    run.feed(Input::Event(Event::Drain(DrainNews::PodArrived(
        "default/late".to_owned(),
    ))));
    assert!(run.was_disturbed(Disturbance::Pods(vec!["default/late".to_owned()])));
    run.drain();
    // And between the last look of the drain and the final check.
    run.world.pods.push("default/later".to_owned());
    run.due(Timer::Delay);
    assert!(run.was_disturbed(Disturbance::Pods(vec!["default/later".to_owned()])));
    assert!(!run.rebooted());
}

#[test]
fn d3_the_cordon_is_written_on_the_node_as_it_is_not_as_it_was() {
    // Cordoned by an admin, and uncordoned by others after it was read.
    let mut run = agent();
    run.world.set_unschedulable(true);
    let cordoning = run.wish_until("draining");
    run.world.set_unschedulable(false);
    drop(run.news());
    run.send(cordoning);
    // The lock's entry is to say what it was, too.
    let anew = "read lock,list held,list blockers,write lock";
    assert_eq!(run.news(), format!("draining lost,watch,{anew},draining"));
    assert!(run.world.node.spec.unschedulable && !run.world.lock.entries[0].metadata.unschedulable);
    run.drain();
    run.due(Timer::Delay);
    run.boot_and_return();
    assert!(
        !run.world.node.spec.unschedulable,
        "as it was when we cordoned it"
    );

    // And uncordoned while it is drained: cordoned and drained again.
    let mut run = agent();
    run.world.set_unschedulable(true);
    run.wish();
    run.world.set_unschedulable(false);
    run.see();
    assert!(run.was_disturbed(Disturbance::Uncordoned));
    assert!(run.world.node.spec.unschedulable && !run.rebooted());
}

#[test]
fn d4_an_agent_that_restarts_before_the_reboot_uncordons_and_releases_nothing() {
    for delaying in [false, true] {
        let mut pair = Pair::new();
        pair.a().wish();
        if delaying {
            pair.a().drain();
        }
        drop(pair.a().news());
        pair.a().restart();
        assert_eq!(pair.a().news(), "ask host,read node,read lock,draining");
        assert!(pair.a().world.node.spec.unschedulable);
        let reports = &pair.a().reports;
        let is_over = |report: &Report| {
            matches!(
                report,
                Report::Returned | Report::GivenBack { .. } | Report::Released
            )
        };
        assert!(!reports.iter().any(is_over));
        pair.b().wish();
        pair.assert_b_waits_for("a");
        pair.a().drain();
        pair.a().due(Timer::Delay);
        pair.a().boot_and_return();
        pair.assert_b_goes_on();
    }
}

#[test]
fn d7_a_drain_that_outlives_every_ttl_keeps_the_lock() {
    let mut pair = Pair::new();
    pair.a().wish();
    pair.b().wish();
    for timer in [Timer::Renew, Timer::Renew] {
        pair.assert_b_waits_for("a");
        pair.a().due(timer);
    }
    assert_eq!(
        pair.a().news(),
        "read node,wanted,read lock,list held,list blockers,write lock,draining,renew,renew"
    );
    pair.assert_b_waits_for("a");

    // kured's own drain too, though its TTL is over: its cordon still stands.
    let mut run = agent();
    let mut kured = Entry::new("k", "", "2026-11-23T09:00:00Z", false);
    kured.ttl_nanos = 60_000_000_000;
    run.world.change_lock(|entries| entries.push(kured));
    let mut node = World::new("k").node;
    node.spec.unschedulable = true;
    drop(run.world.peers.insert("k".to_owned(), node.clone()));
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Wanted));
    node.spec.unschedulable = false;
    drop(run.world.peers.insert("k".to_owned(), node));
    run.due(Timer::Poll);
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    assert_eq!(run.world.lock.entries.len(), 1);
}

#[test]
fn d5_the_lock_is_confirmed_right_before_the_reboot() {
    // Somebody took it away in the delay, and gave it to another.
    let mut run = agent();
    run.reach_delay();
    run.world.change_lock(|entries| {
        entries.clear();
        entries.push(Entry::new("b", "", "2026-11-23T11:00:00Z", false));
    });
    run.due(Timer::Delay);
    assert_eq!(run.called_off(), Some(&CallOff::EntryLost));
    assert!(!run.rebooted() && run.is_clean() && !run.world.node.spec.unschedulable);
    assert_eq!(run.world.lock.entries.len(), 1, "the other's stays");
}

#[test]
fn d9_an_entry_that_is_old_or_gone_gives_the_cordon_back_all_the_same() {
    for gone in [false, true] {
        let mut run = agent();
        run.reach_reboot();
        if gone {
            run.world.change_lock(Vec::clear);
        }
        // The world reads the lock a hundred years later.
        run.boot();
        run.due(Timer::Soak);
        assert!(run.is_clean() && !run.world.node.spec.unschedulable);
    }
}

#[test]
fn d10_a_list_that_was_left_over_holds_nobody_up() {
    let mut run = agent();
    run.world.lock.max_owners = Some(2);
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Draining));
}

#[test]
fn d18_a_release_is_told_and_not_polled_for() {
    let mut pair = Pair::new();
    pair.a().wish();
    pair.b().wish();
    pair.a().drain();
    pair.a().due(Timer::Delay);
    pair.a().boot_and_return();
    let b = pair.b();
    b.acts.clear();
    b.feed(Input::Event(Event::LockChanged));
    assert!(b.acts.contains(&Act::Arm(Timer::Turn)), "at most half a second");
    b.due(Timer::Turn);
    assert_eq!(b.world.phase(), Some(Phase::Draining));
}

#[test]
fn d23_a_wrong_clock_frees_no_entry_of_ours_and_none_of_kureds_that_stands_cordoned() {
    // The world reads the lock a hundred years later.
    let mut pair = Pair::new();
    pair.a().wish();
    pair.b().wish();
    pair.assert_b_waits_for("a");
    let mut run = agent();
    let mut kured = Entry::new("k", "", "2026-11-23T09:00:00Z", false);
    kured.ttl_nanos = 1;
    run.world.change_lock(|entries| entries.push(kured));
    let mut node = World::new("k").node;
    node.spec.unschedulable = true;
    drop(run.world.peers.insert("k".to_owned(), node));
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Wanted));
}
