//! The protections of the protocol that have no number among the counterexamples, each through a trace that it ends well.

use super::*;

#[test]
fn the_stamp_comes_before_the_acquire() {
    let mut run = agent();
    // A stamp whose answer never came is read back before anything is acquired.
    let lost = Failure::Unknown("timeout".to_owned());
    run.world.fail.push(("wanted", lost, Applied::Yes));
    run.wish();
    assert_eq!(run.news(), "read node,wanted");
    let acquire = run.feed_until(Input::Due(Timer::Retry(1)), "write lock");
    assert_eq!(run.news(), "read node,read lock,list held");
    let id = EntryId::new(
        "a",
        &hold::read(&run.world.node).present().unwrap().holder.created,
    );
    run.send(acquire);
    assert_eq!(run.world.lock.entries[0].id(), id);
    assert_eq!(run.news(), "write lock,read node,draining");
}

#[test]
fn the_seal_is_a_compare_and_swap() {
    // An uncordon between the last look and the reboot.
    let mut run = agent();
    run.reach_delay();
    let seal = run.feed_until(Input::Due(Timer::Delay), "sealed");
    run.world.set_unschedulable(false);
    let _ = run.news();
    run.send(seal);
    assert_eq!(run.news(), "sealed lost");
    run.see();
    assert_eq!(run.news(), "read node,draining");
    assert!(run.world.node.spec.unschedulable && !run.rebooted());
}

#[test]
fn an_entry_removed_by_hand_frees_no_slot_and_lets_nothing_reboot_unconfirmed() {
    // NO-BLIND-REBOOT: until the confirm it ends the hold.
    let mut pair = Pair::new();
    pair.a().reach_delay();
    pair.a().world.change_lock(Vec::clear);
    pair.b().wish();
    pair.assert_b_waits_for("a");
    let _ = pair.a().news();
    pair.a().due(Timer::Delay);
    assert_eq!(pair.a().called_off(), Some(&Reason::EntryLost));
    assert_eq!(
        pair.a().news(),
        "list pods,read lock,read node,give back,read lock"
    );
    assert!(pair.a().is_clean() && !pair.a().rebooted());
    pair.assert_b_goes_on();

    // AT-MOST-N: after the confirm the Node itself fills the slot, before the seal and after it.
    for before in ["sealed", "reboot"] {
        let mut pair = Pair::new();
        pair.a().reach_delay();
        let next = pair.a().feed_until(Input::Due(Timer::Delay), before);
        pair.a().world.change_lock(Vec::clear);
        pair.b().wish();
        pair.assert_b_waits_for("a");
        pair.a().send(next);
        assert!(pair.a().rebooted());
        pair.assert_b_waits_for("a");
        pair.a().boot_and_return();
        pair.assert_b_goes_on();
    }
}

#[test]
fn the_confirm_changes_the_object() {
    for b_is_first in [false, true] {
        let mut pair = Pair::new();
        let cordoning = pair.a().wish_until("draining");
        // b goes by a stale read of a's Node: the entry seems over.
        let unmarked = World::new("a").node;
        let _ = pair.b().wish_until("read peer");
        let dropping = pair.b().feed_until(Input::Peer(Ok(Some(unmarked))), "write lock");
        pair.a().send(cordoning);
        pair.a().drain();
        if b_is_first {
            pair.b().send(dropping);
            pair.a().due(Timer::Delay);
            assert_eq!(pair.a().called_off(), Some(&Reason::EntryLost));
            assert!(pair.a().is_clean() && !pair.a().rebooted());
        } else {
            pair.a().due(Timer::Delay);
            let _ = pair.b().news();
            pair.b().send(dropping);
            assert_eq!(pair.b().news(), "write lock lost");
            assert!(pair.a().rebooted());
            pair.assert_b_waits_for("a");
        }
    }
}

#[test]
fn a_cordon_after_the_give_back_is_somebody_elses() {
    // The answer to the give-back never came, and an admin cordons the node.
    for restarted in [false, true] {
        let mut run = agent();
        run.wish();
        let lost = Failure::Unknown("timeout".to_owned());
        run.world.fail.push(("give back", lost, Applied::Yes));
        run.due(Timer::Drain);
        run.world.set_unschedulable(true);
        let _ = run.news();
        if restarted {
            run.restart();
            assert_eq!(run.news(), "ask host,read node,read lock,read lock,write lock");
        } else {
            run.due(Timer::Retry(1));
            assert_eq!(run.news(), "read node,read lock,write lock");
        }
        assert!(run.is_clean() && run.world.node.spec.unschedulable);
    }
}
