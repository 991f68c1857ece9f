//! The rules of the protocol that have no number among the counterexamples: each plays the sequence of events that it is for.

use super::*;

#[test]
fn the_stamp_comes_before_the_acquire() {
    let mut run = agent();
    // A stamp whose answer never came is read back before anything is acquired.
    let lost = Failure::Unknown("timeout".to_owned());
    run.world.fail.push(("wanted", lost, Applied::Yes));
    run.wish();
    assert_eq!(run.news(), "read node,wanted");
    let acquire = run.feed_until(Input::Event(Event::Due(Timer::Retry(1))), "write lock");
    assert_eq!(run.news(), "read node,read lock,list held,list blockers");
    let id = EntryId::new(
        "a",
        &hold::read(&run.world.node).present().unwrap().holder.created,
    );
    run.send(acquire);
    assert_eq!(run.world.lock.entries[0].id(), id);
    assert_eq!(run.news(), "write lock,draining");
}

#[test]
fn the_seal_is_a_compare_and_swap() {
    // An uncordon between the last look and the reboot.
    let mut run = agent();
    run.reach_delay();
    let seal = run.feed_until(Input::Event(Event::Due(Timer::Delay)), "sealed");
    run.world.set_unschedulable(false);
    drop(run.news());
    run.send(seal);
    assert_eq!(run.news(), "sealed lost");
    run.see();
    assert_eq!(run.news(), "draining");
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
    drop(pair.a().news());
    pair.a().due(Timer::Delay);
    assert_eq!(pair.a().called_off(), Some(&CallOff::EntryLost));
    assert_eq!(
        pair.a().news(),
        "list blockers,list pods,read lock,give back,read lock"
    );
    assert!(pair.a().is_clean() && !pair.a().rebooted());
    pair.assert_b_goes_on();

    // AT-MOST-N: after the confirm the Node itself fills the slot, before the seal and after it.
    for before in ["sealed", "reboot"] {
        let mut pair = Pair::new();
        pair.a().reach_delay();
        let next = pair
            .a()
            .feed_until(Input::Event(Event::Due(Timer::Delay)), before);
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
        drop(pair.b().wish_until("read peer"));
        let dropping = pair
            .b()
            .feed_until(Input::Answer(Answer::Peer(Ok(Some(unmarked)))), "write lock");
        pair.a().send(cordoning);
        pair.a().drain();
        if b_is_first {
            pair.b().send(dropping);
            pair.a().due(Timer::Delay);
            assert_eq!(pair.a().called_off(), Some(&CallOff::EntryLost));
            assert!(pair.a().is_clean() && !pair.a().rebooted());
        } else {
            pair.a().due(Timer::Delay);
            drop(pair.b().news());
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
        drop(run.news());
        if restarted {
            run.restart();
            assert_eq!(run.news(), "ask host,read node,read lock,read lock,write lock");
        } else {
            run.due(Timer::Retry(1));
            assert_eq!(run.news(), "give back lost,watch,read lock,write lock");
        }
        assert!(run.is_clean() && run.world.node.spec.unschedulable);
    }
}

#[test]
fn cordon_given_back_a_cordon_of_the_process_before_that_lands_late() {
    for wishes in [false, true] {
        let mut run = agent();
        let cordoning = run.wish_until("draining").unwrap();
        run.world.record(&cordoning);
        // Killed with the patch on its way, and started again: the Node shows the wish, and nothing has changed.
        run.restart();
        assert_eq!(run.world.phase(), Some(Phase::Wanted));
        assert!(matches!(
            run.world.carry_out(cordoning),
            Input::Answer(Answer::Patched(Ok(_)))
        ));
        if wishes {
            run.wish();
        }
        run.see();
        if !run.is_clean() {
            run.due(Timer::Drain);
        }
        assert!(run.is_clean() && !run.world.node.spec.unschedulable);
    }
}

#[test]
fn at_most_n_a_wish_whose_end_was_not_written_is_ended_by_the_next_process() {
    let mut run = agent();
    run.world
        .change_lock(|entries| entries.push(Entry::new("manual", "", "", false)));
    run.wish();
    let lost = Failure::Unknown("timeout".to_owned());
    run.world.fail.push(("give back", lost, Applied::No));
    run.feed(Input::Event(Event::Sentinel(None)));
    run.restart();
    assert!(run.is_clean() && run.cycle.is_idle());
    assert!(!run.world.node.spec.unschedulable, "the lock is another's");
}

#[test]
fn nothing_stuck_a_stamp_that_was_not_written_keeps_no_wish_back() {
    let mut run = agent();
    let stamp = run.wish_until("wanted").unwrap();
    run.world.record(&stamp);
    run.restart();
    assert_eq!(run.called_off(), None);
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Draining));
}

#[test]
fn only_a_command_that_may_have_run_is_an_attempt() {
    let shown = |run: &Run| run.world.node.annotation(keys::ATTEMPT).map(str::to_owned);
    // One has failed; then somebody drops the proof of the next seal.
    let mut run = agent();
    run.world.reboot = Err(RebootFailure::Failed("exit status 1".to_owned()));
    run.reach_delay();
    run.due(Timer::Delay);
    assert_eq!((run.reboots(), shown(&run).as_deref()), (1, Some("1")));
    let drops_proof = |node: &mut NodeView| drop(node.metadata.annotations.remove(keys::WRITE));
    run.world.mutate.push(("sealed", drops_proof));
    run.drain();
    run.due(Timer::Delay);
    assert_eq!((run.reboots(), shown(&run).as_deref()), (1, Some("1")));

    // A pod arrives before anybody knows that the seal has landed.
    let mut run = agent();
    run.reach_delay();
    let lost = Failure::Unknown("timeout".to_owned());
    run.world.fail.push(("sealed", lost, Applied::Yes));
    run.due(Timer::Delay);
    run.feed(Input::Event(Event::Drain(DrainNews::PodArrived(
        "default/late".to_owned(),
    ))));
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    assert_eq!((run.reboots(), shown(&run)), (0, None));

    // Past its deadline.
    let mut run = agent();
    run.world.reboot = Err(RebootFailure::Expired);
    run.reach_delay();
    run.due(Timer::Delay);
    assert_eq!(shown(&run), None);
}
