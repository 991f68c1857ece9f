//! What is counted of final checks that did not end in a seal, and what is said anew after a drain.

use super::world::Applied;
use super::*;

/// What the final checks that failed have found so far.
fn unsealed(run: &Run) -> Vec<&'static str> {
    let counts = run.acts.iter().filter_map(|act| match act {
        Act::Count(Count::Unsealed(reason)) => Some(*reason),
        _ => None,
    });
    counts.collect()
}

fn delayed() -> Run {
    let mut run = agent();
    run.reach_delay();
    run
}

#[test]
fn a_seal_that_succeeds_counts_as_no_failure_and_neither_does_a_disturbance_before_the_check() {
    let mut run = delayed();
    run.due(Timer::Delay);
    assert!(run.rebooted());
    assert_eq!(unsealed(&run), [""; 0]);

    let mut run = delayed();
    run.world.set_unschedulable(false);
    run.see();
    assert!(run.was_disturbed(Disturbance::Uncordoned));
    assert_eq!(unsealed(&run), [""; 0]);
}

#[test]
fn each_check_that_finds_a_blocker_counts() {
    let mut run = delayed();
    run.world.annotate(keys::PAUSE, "wait");
    run.see();
    run.due(Timer::Delay);
    run.due(Timer::Retry(RETRIES_MAX));
    assert_eq!(unsealed(&run), ["blocked", "blocked"]);
    // The end of the wait is no further check.
    run.due(Timer::Blocked);
    assert!(matches!(run.called_off(), Some(CallOff::Blocked(_))));
    assert_eq!(unsealed(&run), ["blocked", "blocked"]);
}

#[test]
fn a_check_that_fails_counts_by_what_it_finds() {
    let mut run = delayed();
    run.world.pods.push("default/late".to_owned());
    run.due(Timer::Delay);
    assert_eq!(unsealed(&run), ["pods"]);

    let mut run = delayed();
    run.world.change_lock(Vec::clear);
    run.due(Timer::Delay);
    assert_eq!(unsealed(&run), ["entry_lost"]);

    for (failure, word) in [
        (Failure::Refused("no".to_owned()), "refused"),
        (Failure::Unknown("nothing".to_owned()), "unanswered"),
    ] {
        let mut run = delayed();
        run.world.fail.push(("list pods", failure, Applied::No));
        run.due(Timer::Delay);
        assert_eq!(unsealed(&run), [word]);
        run.due(Timer::Retry(0));
        assert!(run.rebooted());
    }
}

#[test]
fn a_command_that_was_not_run_in_time_counts_as_a_seal_that_failed() {
    let mut run = delayed();
    run.world.reboot = Err(RebootFailure::Expired);
    run.due(Timer::Delay);
    assert_eq!(unsealed(&run), ["seal_over"]);
}

#[test]
fn what_blocks_the_seal_is_said_although_the_same_blocked_the_wish() {
    let mut run = agent();
    run.world.annotate(keys::PAUSE, "wait");
    run.wish();
    let let_go = |node: &mut NodeView| drop(node.metadata.annotations.remove(keys::PAUSE));
    run.world.change(let_go);
    run.see();
    run.due(Timer::Turn);
    run.drain();
    run.world.annotate(keys::PAUSE, "wait");
    run.see();
    run.due(Timer::Delay);
    let is_said = |report: &&Report| matches!(report, Report::Blocked(_));
    assert_eq!(run.reports.iter().filter(is_said).count(), 2);
}

#[test]
fn a_node_that_is_ready_says_so_before_its_soak() {
    let mut run = agent();
    run.reach_reboot();
    run.reports.clear();
    run.boot_and_return();
    let names: Vec<&str> = run.reports.iter().map(Report::event).collect();
    let place = |name| names.iter().position(|event| *event == name);
    assert!(place("returned") < place("soaking"), "{names:?}");
    assert!(place("soaking") < place("given_back"), "{names:?}");
}

#[test]
fn no_blind_reboot_a_check_that_failed_is_made_again_when_its_pause_is_over_and_not_before() {
    let mut run = delayed();
    run.world
        .fail
        .push(("list pods", Failure::Unknown("nothing".to_owned()), Applied::No));
    run.due(Timer::Delay);
    drop(run.news());
    for event in [Event::LockChanged, Event::Due(Timer::Poll)] {
        run.feed(Input::Event(event));
        assert_eq!(run.news(), "");
    }
    run.due(Timer::Retry(0));
    assert!(run.rebooted());
}

/// The deadline is that of the command: without it a command that comes late would run on a seal that says nothing any more.
#[test]
fn no_blind_reboot_the_deadline_runs_from_the_first_seal_whatever_became_of_an_earlier_write() {
    for applied in [Applied::Yes, Applied::No] {
        let mut run = agent();
        run.wish();
        run.world
            .fail
            .push(("delaying", Failure::Unknown("nothing".to_owned()), applied));
        run.world.pods.clear();
        run.feed(Input::Event(Event::Drain(DrainNews::Drained(BTreeSet::new()))));
        let _ = run.due_if_armed(Timer::Retry(0));
        run.see();
        run.acts.clear();
        run.due(Timer::Delay);
        assert!(run.rebooted());
        assert!(run.acts.contains(&Act::Arm(Timer::Deadline)));
    }
}

#[test]
fn no_blind_reboot_the_deadline_runs_from_the_first_seal_while_a_renewal_has_no_answer_yet() {
    let mut run = delayed();
    run.world
        .fail
        .push(("renew", Failure::Unknown("nothing".to_owned()), Applied::No));
    run.due(Timer::Renew);
    run.due(Timer::Delay);
    assert!(run.rebooted());
    assert!(run.acts.contains(&Act::Arm(Timer::Deadline)));
}

#[test]
fn at_most_n_a_request_that_has_come_since_the_drain_is_no_entry_in_the_lock() {
    let mut run = delayed();
    let wanted = Wanted {
        request: Some(RebootRequest {
            at: run.world.now,
            reason: "jo: a new kernel".to_owned(),
        }),
        ..Wanted::by_host("2026-11-23T10:00:01Z".to_owned())
    };
    run.feed(Input::Event(Event::Sentinel(Some(wanted))));
    run.world.change_lock(Vec::clear);
    run.due(Timer::Delay);
    assert_eq!(run.called_off(), Some(&CallOff::EntryLost));
    assert!(run.is_clean() && !run.rebooted());
}
