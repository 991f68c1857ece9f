//! Drains that take too long, with and without `--force-reboot`, and how their progress is shown.

use super::*;

fn progress(left: usize) -> Progress {
    Progress {
        left,
        pods: vec!["default/web".to_owned()],
        blockers: vec!["PodDisruptionBudget default/web".to_owned()],
        ..Progress::default()
    }
}

fn forcing() -> Run {
    Run::new(Settings {
        force_reboot: true,
        ..policy()
    })
}

/// An agent whose drain has taken too long, because a pod never leaves.
fn stuck(mut run: Run) -> Run {
    run.world.pods.push("default/web".to_owned());
    run.wish();
    drop(run.news());
    run.due(Timer::Drain);
    run
}

fn was_forced(run: &Run) -> bool {
    run.reports
        .iter()
        .any(|report| matches!(report, Report::Forced(_)))
}

#[test]
fn a_drain_that_takes_too_long_is_undone_at_once_the_node_before_the_lock() {
    let mut run = stuck(agent());
    assert_eq!(run.news(), "give back,read lock,write lock");
    assert_eq!(run.called_off(), Some(&CallOff::DrainTimeout(None)));
    assert!(run.is_clean() && !run.world.node.spec.unschedulable && !run.rebooted());
}

#[test]
fn a_forced_reboot_leaves_out_the_look_at_the_pods_and_nothing_else() {
    let mut run = stuck(forcing());
    assert!(was_forced(&run) && run.acts.contains(&Act::StopDrain));
    run.see();
    run.due(Timer::Delay);
    assert_eq!(
        run.news(),
        "delaying,list blockers,read lock,write lock,sealed,reboot"
    );
    assert_eq!(run.called_off(), None);
    run.boot_and_return();
    assert!(!run.world.node.spec.unschedulable);
}

#[test]
fn no_blind_reboot_force_passes_no_uncordon_no_lost_hold_and_no_lost_entry() {
    // Uncordoned in the delay: cordoned and drained again, from the beginning.
    let mut run = stuck(forcing());
    run.world.set_unschedulable(false);
    run.see();
    assert!(run.was_disturbed(Disturbance::Uncordoned));
    assert!(!run.due_if_armed(Timer::Delay) && !run.rebooted());
    // A drain that succeeds this time forces nothing: pods count again.
    run.drain();
    run.world.pods.push("default/late".to_owned());
    run.due(Timer::Delay);
    assert!(run.was_disturbed(Disturbance::Pods(vec!["default/late".to_owned()])) && !run.rebooted());

    let mut run = stuck(forcing());
    run.world.strip();
    run.see();
    assert!(run.called_off() == Some(&CallOff::HoldLost) && !run.rebooted());

    let mut run = stuck(forcing());
    run.see();
    run.world.change_lock(Vec::clear);
    run.due(Timer::Delay);
    assert!(run.called_off() == Some(&CallOff::EntryLost) && !run.rebooted());

    // A cordon that was cleared behind the watch: the seal loses, and waits for what it has not seen.
    let mut run = stuck(forcing());
    run.see();
    run.world.set_unschedulable(false);
    run.due(Timer::Delay);
    assert!(!run.rebooted());
    run.see();
    assert!(run.was_disturbed(Disturbance::Uncordoned) && !run.rebooted());
}

#[test]
fn only_a_drain_that_is_not_over_is_forced() {
    let mut run = forcing();
    run.wish();
    run.world
        .fail
        .push(("delaying", Failure::Unknown("no answer".to_owned()), Applied::No));
    run.world.pods.clear();
    run.feed(Input::Event(Event::Drain(DrainNews::Drained(BTreeSet::new()))));
    assert!(!run.due_if_armed(Timer::Drain), "it was in time");
    run.due(Timer::Retry(1));
    run.see();
    drop(run.news());
    run.due(Timer::Delay);
    assert_eq!(
        run.news(),
        "list blockers,list pods,read lock,write lock,sealed,reboot"
    );
}

#[test]
fn a_forced_reboot_that_is_interrupted_by_a_restart_drains_again() {
    let mut run = stuck(forcing());
    run.restart();
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    assert!(!run.due_if_armed(Timer::Delay) && !run.rebooted());
}

#[test]
fn progress_is_on_the_node_while_it_drains_and_gone_after() {
    let shown = |run: &Run| run.world.node.annotation(keys::DRAIN_PROGRESS).map(str::to_owned);
    let text = Some(progress(2).to_string());

    let mut run = agent();
    run.wish();
    drop(run.news());
    run.feed(Input::Event(Event::Drain(DrainNews::Progress(progress(2)))));
    assert_eq!((run.news().as_str(), shown(&run)), ("renew", text.clone()));
    run.due(Timer::Renew);
    assert_eq!(shown(&run), text);
    // The annotation is no disturbance, and it goes at the end of the drain.
    run.see();
    run.drain();
    assert_eq!(shown(&run), None);
    run.feed(Input::Event(Event::Drain(DrainNews::Progress(progress(1)))));
    assert_eq!(shown(&run), None, "the drain is over");

    // It goes with a new drain and with the end of the hold, too.
    for timer in [None, Some(Timer::Drain)] {
        let mut run = agent();
        run.wish();
        run.feed(Input::Event(Event::Drain(DrainNews::Progress(progress(2)))));
        assert_eq!(shown(&run), text);
        match timer {
            None => run.feed(Input::Event(Event::Gap)),
            Some(timer) => run.due(timer),
        }
        assert_eq!(shown(&run), None);
    }
}

#[test]
fn progress_is_written_by_compare_and_swap_until_it_lands() {
    let mut run = agent();
    run.wish();
    let renewal = run.feed_until(
        Input::Event(Event::Drain(DrainNews::Progress(progress(2)))),
        "renew",
    );
    run.world.annotate("example.com/other", "write");
    drop(run.news());
    run.send(renewal);
    assert_eq!(run.news(), "renew lost,watch");
    run.due(Timer::Retry(0));
    assert_eq!(run.news(), "renew");
    assert!(run.world.node.annotation(keys::DRAIN_PROGRESS).is_some());
}

#[test]
fn who_blocks_is_told_when_it_changes_and_what_was_left_at_the_end() {
    let mut run = agent();
    run.wish();
    run.reports.clear();
    let other = Progress {
        blockers: vec!["PodDisruptionBudget default/db".to_owned()],
        ..progress(1)
    };
    for progress in [progress(3), progress(2), other.clone(), other.clone()] {
        run.feed(Input::Event(Event::Drain(DrainNews::Progress(progress))));
    }
    let expected = [
        Report::DrainBlocked(progress(3)),
        Report::Progress(progress(2)),
        Report::DrainBlocked(other.clone()),
        // The same again is a reminder.
        Report::DrainBlocked(other.clone()),
    ];
    assert_eq!(run.reports, expected);
    run.due(Timer::Drain);
    assert_eq!(run.called_off(), Some(&CallOff::DrainTimeout(Some(other))));
}
