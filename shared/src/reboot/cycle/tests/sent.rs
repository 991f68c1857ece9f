//! What a process remembers of its own writes of the Node: those that the watch has yet to show, and those without an answer.

use super::world::Applied;
use super::*;

fn lost() -> Failure {
    Failure::Unknown("timeout".to_owned())
}

fn delayed() -> Run {
    let mut run = agent();
    run.reach_delay();
    run
}

fn progressed(left: usize) -> Input {
    let progress = Progress {
        left,
        ..Progress::default()
    };
    Input::Event(Event::Drain(DrainNews::Progress(progress)))
}

#[test]
fn a_version_of_our_own_that_the_watch_shows_late_is_no_disturbance() {
    let mut run = agent();
    run.wish();
    for _ in 0..2 {
        run.due(Timer::Renew);
    }
    drop(run.news());
    while run.see_next() {}
    assert_eq!(run.news(), "");
    assert_eq!(run.world.phase(), Some(Phase::Draining));
}

#[test]
fn a_write_without_an_answer_is_remembered_although_many_were_refused_since() {
    let mut run = agent();
    run.wish();
    let unanswered = run.feed_until(progressed(99), "renew").unwrap();
    run.feed(Input::Answer(Answer::Patched(Err(lost()))));
    for left in 0..10 {
        let refused = Failure::Refused("policy: not this".to_owned());
        run.world.fail.push(("renew", refused, Applied::No));
        run.feed(progressed(left));
    }
    drop(run.world.carry_out(unanswered));
    drop(run.news());
    run.see();
    assert_eq!(run.news(), "", "it is ours");
}

#[test]
fn a_seal_costs_no_attempt_before_its_command_is_about_to_run() {
    let mut run = delayed();
    let seal = run.feed_until(Input::Event(Event::Due(Timer::Delay)), "sealed");
    run.world.record(seal.as_ref().unwrap());
    let recorded = |run: &Run| run.world.host.record.as_ref().map(|record| record.attempts);
    assert_eq!(recorded(&run), Some(0));
    run.send(seal);
    assert!(run.rebooted());
    assert_eq!(recorded(&run), Some(1));
}

/// A compare-and-swap on a version that is gone cannot land any more, so the node has not been sealed since then.
#[test]
fn no_blind_reboot_the_deadline_begins_anew_once_the_watch_shows_that_the_first_seal_has_lost() {
    let mut run = delayed();
    run.world.fail.push(("sealed", lost(), Applied::No));
    run.due(Timer::Delay);
    run.world.annotate("example.com/other", "write");
    run.see();
    run.acts.clear();
    run.due(Timer::Retry(0));
    assert!(run.rebooted());
    assert!(run.acts.contains(&Act::Arm(Timer::Deadline)));
}

#[test]
fn cordon_given_back_a_write_that_another_webhook_has_changed_ends_no_hold_after_a_gap_either() {
    let mut run = delayed();
    run.world.cancel("enough");
    let put_back: world::Change = |node| {
        let taint = crate::node::Taint::no_schedule(keys::REBOOTING);
        node.spec.taints.push(taint);
    };
    run.world.mutate.push(("give back", put_back));
    run.see();
    assert!(!run.is_unmarked());
    run.feed(Input::Event(Event::Gap));
    run.see();
    let _ = run.due_if_armed(Timer::Retry(0));
    assert!(run.is_clean() && !run.world.node.spec.unschedulable);
}

/// The Node shows exactly the wish, so the cordon has not landed, and the admin's cordon is no part of the hold.
#[test]
fn cordon_given_back_an_admins_cordon_that_came_in_a_gap_before_ours_stays() {
    let mut run = agent();
    run.world.fail.push(("draining", lost(), Applied::No));
    run.wish();
    run.feed(Input::Event(Event::Gap));
    run.world.set_unschedulable(true);
    run.see();
    run.drain();
    run.due(Timer::Delay);
    run.boot_and_return();
    assert!(run.world.node.spec.unschedulable);
}

/// It was on its way when the process ended that sent it.
#[test]
fn a_give_back_of_the_process_before_ends_the_hold_when_it_is_seen() {
    let mut run = delayed();
    run.due(Timer::Delay);
    run.boot();
    run.see();
    let give_back = run
        .feed_until(Input::Event(Event::Due(Timer::Soak)), "give back")
        .unwrap();
    run.world.record(&give_back);
    run.world.fail.push(("returning", lost(), Applied::No));
    run.restart();
    assert!(matches!(run.cycle.held(), Held::By(..)), "{:?}", run.cycle.held());
    drop(run.world.carry_out(give_back));
    run.see();
    assert_eq!(run.cycle.held(), Held::Nothing);
    run.due(Timer::Retry(0));
    assert!(run.is_clean() && run.cycle.is_idle());
}
