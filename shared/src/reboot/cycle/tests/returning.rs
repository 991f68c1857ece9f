//! What a node does between its boot and the end of its entry, and what is told of the end of a reboot.

use super::world::Applied;
use super::*;

/// A node that is back and Ready, in its soak.
fn soaking() -> Run {
    let mut run = agent();
    run.reach_reboot();
    run.boot();
    run.see();
    run
}

#[test]
fn cordon_given_back_a_give_back_whose_answer_is_lost_ends_a_reboot_and_calls_nothing_off() {
    let mut run = soaking();
    run.world
        .fail
        .push(("give back", Failure::Unknown("nothing".to_owned()), Applied::Yes));
    run.due(Timer::Soak);
    run.see();
    assert!(run.is_clean() && run.cycle.is_idle());
    assert_eq!((run.called_off(), run.world.ends), (None, 1));
}

#[test]
fn cordon_given_back_at_once_when_the_marks_are_lost_in_the_soak() {
    let mut run = soaking();
    run.world.strip();
    run.see();
    assert_eq!(run.called_off(), Some(&CallOff::HoldLost));
    assert!(run.is_clean() && !run.world.node.spec.unschedulable);
}

#[test]
fn nothing_stuck_a_soak_is_looked_at_again_and_again() {
    let mut run = soaking();
    run.due(Timer::Ready);
    assert!(run.armed.contains(&Timer::Ready) && run.armed.contains(&Timer::Soak));
}

#[test]
fn nothing_stuck_an_undo_on_a_node_object_that_is_not_ours_and_cannot_be_read_frees_the_lock() {
    let mut run = agent();
    run.wish();
    assert_eq!(run.world.lock.entries.len(), 1);
    run.world.recreate();
    run.world.label("pondering");
    run.see();
    assert_eq!(run.called_off(), Some(&CallOff::HoldLost));
    assert_eq!(run.world.lock.entries, []);
}

#[test]
fn a_reboot_that_is_called_off_before_any_boot_ends_no_reboot_of_the_pool() {
    let mut run = agent();
    run.world.reboot = Err(RebootFailure::Failed("exit status 1".to_owned()));
    run.reach_delay();
    run.due(Timer::Delay);
    run.world.cancel("enough");
    run.see();
    assert!(matches!(run.called_off(), Some(CallOff::Cancelled(_))));
    assert!(run.is_clean());
    assert_eq!(run.world.ends, 0);
}

#[test]
fn cordon_given_back_a_hold_that_is_lost_after_the_last_attempt_is_called_off() {
    let mut run = agent();
    run.world.reboot = Err(RebootFailure::Failed("exit status 1".to_owned()));
    run.reach_delay();
    run.due(Timer::Delay);
    run.drain();
    run.due(Timer::Delay);
    assert!(matches!(run.reports.last(), Some(Report::StillSealed(_))));
    run.world.strip();
    run.see();
    assert_eq!(run.called_off(), Some(&CallOff::HoldLost));
    assert!(run.is_clean() && !run.world.node.spec.unschedulable);
}

/// Another webhook may drop any part of our write. The entry must not be released on a node that is still held.
#[test]
fn cordon_given_back_a_give_back_that_another_webhook_has_changed_is_tried_again() {
    let put_back: world::Change = |node| {
        node.spec
            .taints
            .push(crate::node::Taint::no_schedule(keys::REBOOTING));
    };
    let mut returning = soaking();
    returning.world.mutate.push(("give back", put_back));
    returning.due(Timer::Soak);
    let mut called_off = agent();
    called_off.reach_delay();
    called_off.world.cancel("enough");
    called_off.world.mutate.push(("give back", put_back));
    called_off.see();
    for mut run in [returning, called_off] {
        assert!(!run.is_unmarked() && run.world.lock.entries.len() == 1);
        run.due(Timer::Retry(0));
        run.see();
        assert!(run.is_clean() && !run.world.node.spec.unschedulable);
    }
}

/// Nothing but the proof of the give-back tells it from marks that are lost. The proof of the return is gone here, so that the process still
/// remembers the give-back that the process before it was about to send.
#[test]
fn cordon_given_back_one_of_the_process_before_that_is_seen_after_a_gap_ends_a_reboot_and_calls_nothing_off()
{
    let mut run = soaking();
    let Some(Ask::PatchNode(mut late)) = run.feed_until(Input::Event(Event::Due(Timer::Soak)), "give back")
    else {
        panic!("it is not given back: {:?}", run.world.log);
    };
    run.world.host.record.clone_from(&late.record);
    let loses_proof: world::Change = |node| drop(node.metadata.annotations.remove(keys::WRITE));
    run.world.mutate.push(("returning", loses_proof));
    run.restart();
    assert_eq!(run.world.phase(), Some(Phase::Returning));
    late.version = run.world.node.version().to_owned();
    drop(run.world.carry_out(Ask::PatchNode(late)));
    run.feed(Input::Event(Event::Gap));
    run.see();
    assert!(run.is_clean() && run.cycle.is_idle());
    assert_eq!((run.called_off(), run.world.ends), (None, 1));
}
