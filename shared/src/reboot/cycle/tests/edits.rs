//! A write of the Node that waits: for the watch, or for its next try. What makes it go on, and what does not.

use super::world::Applied;
use super::*;

fn lost() -> Failure {
    Failure::Unknown("timeout".to_owned())
}

fn drained() -> Input {
    Input::Event(Event::Drain(DrainNews::Drained(BTreeSet::new())))
}

/// An agent whose drain is over, and the write that says so has got no answer.
fn ending_drain(verify: bool) -> Run {
    let mut run = Run::new(Settings { verify, ..policy() });
    run.wish();
    run.world.pods.clear();
    run.world.fail.push(("delaying", lost(), Applied::No));
    run.feed(drained());
    drop(run.news());
    run
}

#[test]
fn a_gap_before_it_is_written_that_the_drain_is_over_begins_the_drain_anew_and_is_no_disturbance() {
    let mut run = ending_drain(true);
    run.feed(Input::Event(Event::Gap));
    assert_eq!(run.news(), "read node,draining");
    assert!(!run.was_disturbed(Disturbance::Gap));
}

#[test]
fn without_verification_a_gap_begins_no_drain_anew() {
    let mut run = ending_drain(false);
    run.feed(Input::Event(Event::Gap));
    assert_eq!(run.news(), "");

    let mut run = Run::new(Settings {
        verify: false,
        ..policy()
    });
    run.wish();
    drop(run.news());
    run.feed(Input::Event(Event::Gap));
    assert_eq!(run.news(), "");
}

/// Every write of the Node makes a version that the watch shows. If each began the next try, there would be no pause.
#[test]
fn an_undo_that_was_refused_waits_for_its_next_try_whatever_the_watch_shows() {
    let mut run = agent();
    run.wish();
    let refused = Failure::Refused("policy: not this".to_owned());
    run.world.fail.push(("give back", refused, Applied::No));
    run.due(Timer::Drain);
    drop(run.news());
    run.world.annotate("example.com/other", "write");
    run.see();
    assert_eq!(run.news(), "");
    run.due(Timer::Retry(0));
    assert!(run.is_clean());
}

#[test]
fn nothing_stuck_a_write_that_has_lost_reads_the_node_if_the_watch_has_a_gap() {
    let mut run = agent();
    run.wish();
    run.world.fail.push(("give back", Failure::Conflict, Applied::No));
    let _ = run.armed.remove(&Timer::Drain);
    run.tell(Input::Event(Event::Due(Timer::Drain)));
    assert!(!run.is_unmarked());
    drop(run.news());
    run.tell(Input::Event(Event::Gap));
    assert_eq!(run.news(), "read node,give back,read lock,write lock");
    assert!(run.is_clean());
}

#[test]
fn the_hold_goes_on_being_renewed_after_a_seal_that_has_lost() {
    let mut run = agent();
    run.reach_delay();
    run.world.annotate("example.com/other", "write");
    run.due(Timer::Delay);
    assert!(!run.rebooted());
    run.due(Timer::Renew);
    assert!(run.armed.contains(&Timer::Renew));
}

#[test]
fn marks_that_are_lost_before_the_give_back_is_tried_again_end_the_hold_at_once() {
    let mut run = agent();
    run.reach_reboot();
    run.boot();
    run.see();
    run.world.fail.push(("give back", lost(), Applied::No));
    run.due(Timer::Soak);
    run.world.strip();
    run.see();
    assert_eq!(run.called_off(), Some(&CallOff::HoldLost));
    assert!(run.is_clean() && !run.world.node.spec.unschedulable);
}

#[test]
fn nothing_stuck_a_node_that_is_gone_before_its_cordon_is_given_back_frees_the_lock() {
    let mut run = agent();
    run.wish();
    run.world.fail.push(("give back", Failure::NotFound, Applied::No));
    run.due(Timer::Drain);
    assert_eq!(run.world.lock.entries, []);
    assert!(run.cycle.is_idle());
}

#[test]
fn a_refusal_is_told_to_people_when_it_has_lasted_and_a_missing_answer_never() {
    for (failure, is_told) in [
        (Failure::Refused("policy: no taints".to_owned()), true),
        (lost(), false),
    ] {
        let mut run = agent();
        for _ in 0..=RETRIES_MAX {
            run.world.fail.push(("draining", failure.clone(), Applied::No));
        }
        run.wish();
        let told = |run: &Run| {
            let is_refused = |report: &Report| matches!(report, Report::Refused { .. });
            run.reports.iter().any(is_refused)
        };
        for _ in 1..RETRIES_MAX {
            assert!(!told(&run));
            run.due(Timer::Retry(0));
        }
        assert_eq!(told(&run), is_told);
    }
}

/// That would be a defect, and only the two names show where.
#[test]
fn an_answer_that_nothing_has_asked_for_is_reported_with_the_stage_and_what_it_is_about() {
    for (answer, about) in [
        (Answer::LockWritten(Ok(())), "a write of the lock"),
        (Answer::Peer(Ok(None)), "another Node"),
    ] {
        let mut run = agent();
        run.feed(Input::Answer(answer));
        let report = Report::Unexpected {
            stage: "idle",
            answer: about,
        };
        assert_eq!(run.reports.last(), Some(&report));
    }
    let mut run = agent();
    run.wish();
    run.feed(Input::Answer(Answer::Peer(Ok(None))));
    assert!(matches!(
        run.reports.last(),
        Some(Report::Unexpected {
            stage: "draining",
            ..
        })
    ));
}

#[test]
fn a_request_is_called_what_it_is() {
    for ask in [Ask::AskHost, Ask::ReadNode, Ask::ReadPeer("b".to_owned())] {
        let shown = format!("{ask:?}");
        assert_eq!(shown.split('(').next(), Some(ask.name()));
    }
}
