//! kured's defects on the way back, by their number in `docs/kured-defects.md`: each plays the sequence of events in which kured fails.
//!
//! Not here: D14, which is with the release delay.

use super::*;

#[test]
fn d6_a_failed_drain_leaves_an_admins_cordon_and_so_does_the_next_round() {
    let mut run = agent();
    run.world.set_unschedulable(true);
    run.wish();
    run.due(Timer::Drain);
    assert_eq!(run.called_off(), Some(&CallOff::DrainTimeout(None)));
    assert!(run.is_clean() && run.world.node.spec.unschedulable);
    run.due(Timer::Backoff);
    run.reach_reboot();
    run.boot_and_return();
    assert!(run.world.node.spec.unschedulable);
}

#[test]
fn d8_what_cannot_be_read_at_the_start_is_read_again_until_it_can() {
    for failing in ["read node", "read lock"] {
        let mut run = agent();
        run.reach_reboot();
        for _ in 0..20 {
            let failure = Failure::Unknown("no answer".to_owned());
            run.world.fail.push((failing, failure, Applied::No));
        }
        run.boot();
        let mut retries = 0;
        while !run.cycle.is_idle() {
            retries += 1;
            assert!(retries < 100, "{failing}");
            let _ = run.due_if_armed(Timer::Retry(1));
            let _ = run.due_if_armed(Timer::Soak);
        }
        assert!(run.is_clean() && !run.world.node.spec.unschedulable, "{failing}");
    }
}

#[test]
fn d15_what_fails_is_tried_again_and_ends_no_process() {
    let failing = [
        "read node",
        "wanted",
        "draining",
        "delaying",
        "sealed",
        "returning",
        "give back",
    ];
    for request in failing
        .into_iter()
        .chain(["read lock", "write lock", "list blockers", "list pods"])
    {
        let mut run = agent();
        let failure = Failure::Refused("forbidden".to_owned());
        run.world.fail.push((request, failure, Applied::No));
        let mut rounds = 0;
        while run.world.boots == 1 || !run.cycle.is_idle() {
            rounds += 1;
            assert!(rounds < 100, "{request}: {:?}", run.cycle);
            goes_on(&mut run);
        }
        assert!(run.is_clean() && run.reboots() == 1, "{request}");
    }
}

/// Everything that an agent may wait for happens once.
fn goes_on(run: &mut Run) {
    if run.rebooted() && run.world.boots == 1 {
        return run.boot();
    }
    if run.world.boots == 1 {
        run.wish();
    }
    let _ = run.due_if_armed(Timer::Retry(1));
    if run.world.phase() == Some(Phase::Draining) {
        run.drain();
    }
    run.see();
    let _ = run.due_if_armed(Timer::Delay);
    let _ = run.due_if_armed(Timer::Soak);
}

#[test]
fn d15_a_reboot_command_that_fails_leaves_a_node_that_is_drained_and_sealed_again() {
    let mut run = agent();
    run.reach_delay();
    run.world.reboot = Err(RebootFailure::Failed("exit status 1".to_owned()));
    run.due(Timer::Delay);
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    run.world.reboot = Ok(());
    run.drain();
    run.due(Timer::Delay);
    run.boot_and_return();
    assert_eq!(run.reboots(), 2);
}

#[test]
fn d16_a_reboot_that_hangs_is_told_of_and_undone_once_the_host_shows_that_it_will_not_come() {
    let mut run = agent();
    run.reach_reboot();
    for shutdown in [Shutdown::UnderWay, Shutdown::Unknown("no answer".to_owned())] {
        run.world.host.shutdown = shutdown;
        run.due(Timer::Reboot);
        assert!(matches!(run.reports.last(), Some(Report::StillSealed(_))));
        assert_eq!(run.world.phase(), Some(Phase::Sealed));
    }
    run.world.host.shutdown = Shutdown::No;
    run.due(Timer::Reboot);
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    run.drain();
    run.due(Timer::Delay);
    run.boot_and_return();
}

#[test]
fn d22_kureds_annotations_are_written_by_name_on_the_version_that_was_read() {
    let mut run = Run::new(Settings {
        signs: Signs {
            annotates: true,
            ..Signs::default()
        },
        ..policy()
    });
    let Some(Ask::PatchNode(patch)) = run.wish_until("wanted") else {
        panic!("no stamp")
    };
    assert_eq!(patch.version, run.world.node.version());
    let annotations: Vec<&str> = patch.annotations.keys().map(String::as_str).collect();
    assert_eq!(
        annotations,
        [
            keys::HOLDER,
            keys::REPLACED,
            keys::WRITE,
            keys::KURED_MOST_RECENT_REBOOT_NEEDED,
            keys::KURED_REBOOT_IN_PROGRESS
        ]
    );
    // No label, taint or cordon that somebody changes meanwhile is written back as it was.
    assert!(patch.labels.is_empty() && patch.taints.is_none() && patch.unschedulable.is_none());
}
