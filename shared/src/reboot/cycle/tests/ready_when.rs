//! `--ready-when`: a node that is back stays cordoned until it has what is asked for.

use super::*;

fn gated() -> Run {
    let mut run = Run::new(Settings {
        gates_return: true,
        ..policy()
    });
    run.reach_reboot();
    run
}

fn lacks(name: &str) -> Vec<Missing> {
    vec![Missing::Pods(BTreeSet::from([name.to_owned()]))]
}

/// Boots the host, and lets the watch show all there is.
fn boot(run: &mut Run) {
    run.boot();
    while run.see_next() {}
}

#[test]
fn cordon_given_back_only_when_nothing_is_missing_before_and_after_the_soak() {
    let mut run = gated();
    run.world.missing = lacks("kube-system/cni");
    boot(&mut run);
    assert!(run.world.node.spec.unschedulable);
    assert!(
        run.reports
            .contains(&Report::ReturnWaits(lacks("kube-system/cni")))
    );
    // Nothing is asked before the pause is over, whatever the watch shows.
    drop(run.news());
    run.world
        .change(|node| drop(node.metadata.labels.insert("x".to_owned(), "y".to_owned())));
    run.see();
    assert_eq!(run.news(), "");
    run.world.missing.clear();
    run.due(Timer::LookAgain);
    assert_eq!(run.news(), "list missing");
    // It is gone again at the end of the soak.
    run.world.missing = lacks("kube-system/gpu");
    run.due(Timer::Soak);
    assert!(run.world.node.spec.unschedulable);
    assert!(
        run.reports
            .contains(&Report::ReturnWaits(lacks("kube-system/gpu")))
    );
    run.world.missing.clear();
    run.due(Timer::LookAgain);
    run.due(Timer::Soak);
    while run.see_next() {}
    assert!(run.is_clean() && run.cycle.is_idle());
}

#[test]
fn what_is_missing_is_reported_when_it_changes_and_loudly_after_the_timeout() {
    let mut run = gated();
    run.world.missing = lacks("kube-system/cni");
    boot(&mut run);
    run.due(Timer::LookAgain);
    run.due(Timer::LookAgain);
    let waits = |run: &Run| {
        let is_wait = |report: &&Report| matches!(report, Report::ReturnWaits(_));
        run.reports.iter().filter(is_wait).count()
    };
    assert_eq!(waits(&run), 1);
    for _ in 0..2 {
        run.due(Timer::Ready);
        assert_eq!(
            run.reports.last(),
            Some(&Report::ReturnOverdue(lacks("kube-system/cni")))
        );
        assert!(run.world.node.spec.unschedulable, "it stays held");
    }
    run.world.missing = lacks("kube-system/gpu");
    run.due(Timer::LookAgain);
    assert_eq!(waits(&run), 2);
}

#[test]
fn what_cannot_be_asked_holds_the_node_and_says_why() {
    let mut run = gated();
    let failure = Failure::Refused("pods is forbidden".to_owned());
    run.world.fail.push(("list missing", failure, Applied::No));
    boot(&mut run);
    let unknown = vec![Missing::Unknown("pods is forbidden".to_owned())];
    assert_eq!(run.reports.last(), Some(&Report::ReturnWaits(unknown)));
    run.due(Timer::LookAgain);
    run.due(Timer::Soak);
    while run.see_next() {}
    assert!(run.is_clean() && run.cycle.is_idle());
}

#[test]
fn a_cancel_gives_the_cordon_back_although_something_is_missing() {
    let mut run = gated();
    run.world.missing = lacks("kube-system/cni");
    boot(&mut run);
    run.world.cancel("the gate is wrong");
    while run.see_next() {}
    assert!(
        run.is_clean() && run.cycle.is_idle(),
        "{:?} {:?}",
        run.news(),
        run.cycle
    );
}

#[test]
fn a_node_that_loses_ready_while_it_waits_is_asked_again_when_it_is_ready() {
    let mut run = gated();
    run.world.missing = lacks("kube-system/cni");
    boot(&mut run);
    run.world
        .change(|node| node.status.conditions[0].status = "False".to_owned());
    run.see();
    run.world.missing.clear();
    drop(run.news());
    run.world
        .change(|node| node.status.conditions[0].status = "True".to_owned());
    run.see();
    assert_eq!(run.news(), "list missing");
    run.due(Timer::Soak);
    while run.see_next() {}
    assert!(run.is_clean() && run.cycle.is_idle());
}

#[test]
fn a_soak_that_begins_anew_is_said_again_and_so_ends_the_wait_before_it() {
    let mut run = agent();
    run.reach_reboot();
    boot(&mut run);
    let soaks = |run: &Run| {
        let is_soak = |report: &&Report| matches!(report, Report::Soaking);
        run.reports.iter().filter(is_soak).count()
    };
    assert_eq!(soaks(&run), 1);
    let ready = run.world.node.status.conditions.clone();
    run.world.change(|node| node.status.conditions.clear());
    run.see();
    run.due(Timer::Ready);
    assert!(matches!(run.reports.last(), Some(Report::ReturnOverdue(_))));
    run.world.change(|node| node.status.conditions = ready);
    run.see();
    assert_eq!(soaks(&run), 2);
    assert_eq!(run.reports.last(), Some(&Report::Soaking));
}
