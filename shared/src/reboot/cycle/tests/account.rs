//! The account of a reboot on its Node, through disturbances, restarts and lost answers.

use super::*;
use crate::hold::{Account, account, last_reboot};
use crate::reboot::drain::Cost;

fn accounting() -> Run {
    Run::new(Settings {
        asked_by: Some("file /run/reboot-required".to_owned()),
        ..policy()
    })
}

fn running(run: &Run) -> Account {
    let reading = account(&run.world.node);
    reading.clone().present().unwrap_or_else(|| panic!("{reading:?}"))
}

fn last(run: &Run) -> Account {
    let reading = last_reboot(&run.world.node);
    reading.clone().present().unwrap_or_else(|| panic!("{reading:?}"))
}

/// Lets time pass on the agent's wall clock.
fn pass(run: &mut Run, seconds: i64) {
    run.world.now += jiff::SignedDuration::from_secs(seconds);
}

fn seconds(account: &Account) -> Vec<u64> {
    account.seconds.values().copied().collect()
}

/// Goes from the wish to the reboot command, 10 s in each phase.
fn reach_reboot_slowly(run: &mut Run) {
    run.wish();
    pass(run, 10);
    run.drain();
    pass(run, 10);
    run.due(Timer::Delay);
    pass(run, 10);
}

#[test]
fn a_reboot_that_came_back_leaves_its_account_and_no_running_one() {
    let mut run = accounting();
    run.cycle.wanted_for("linux-image-6.12".to_owned());
    reach_reboot_slowly(&mut run);
    assert_eq!(running(&run).phase, Some(Phase::Sealed));
    run.boot();
    pass(&mut run, 10);
    run.due(Timer::Soak);
    assert!(run.is_clean());
    assert_eq!(account(&run.world.node), Reading::Absent);
    let last = last(&run);
    assert_eq!(last.why, "file /run/reboot-required: linux-image-6.12");
    // The lock is free at once, so the wish took no time.
    assert_eq!(seconds(&last), [0, 10, 10, 10, 10]);
    assert_eq!(last.ended, Some("2026-11-23T10:00:40Z".parse().unwrap()));
    assert!(!last.partial && last.disturbed.is_empty(), "{last:?}");
}

#[test]
fn nothing_is_written_where_no_account_is_kept() {
    let mut run = agent();
    run.cycle.drain_cost(Cost {
        evicted: 1,
        refused: 1,
    });
    run.reach_reboot();
    run.boot_and_return();
    assert_eq!(account(&run.world.node), Reading::Absent);
    assert_eq!(last_reboot(&run.world.node), Reading::Absent);
}

/// Brings a node to a phase.
type Reach = fn(&mut Run);

#[test]
fn a_process_that_restarts_in_any_phase_goes_on_with_the_account() {
    let phases: [(Phase, Reach); 5] = [
        (Phase::Wanted, |run| {
            run.world.annotate(keys::PAUSE, "sale");
            run.wish();
        }),
        (Phase::Draining, Run::wish),
        (Phase::Delaying, Run::reach_delay),
        (Phase::Sealed, |run| {
            run.reach_reboot();
            run.world.host.told = None;
        }),
        (Phase::Returning, |run| {
            run.reach_reboot();
            run.boot();
        }),
    ];
    for (phase, reach) in phases {
        let mut run = accounting();
        reach(&mut run);
        let before = running(&run);
        assert_eq!(before.phase, Some(phase));
        pass(&mut run, 10);
        run.restart();
        let after = running(&run);
        assert!(after.created == before.created && !after.partial, "{after:?}");
        // A wish is only waited for, so a process that finds one writes nothing.
        let expected = (phase != Phase::Wanted).then_some(10);
        assert_eq!(after.seconds.get(&phase).copied(), expected, "{after:?}");
    }
}

#[test]
fn a_disturbance_is_counted_once_whatever_becomes_of_the_answer_to_the_next_cordon() {
    for applied in [Applied::Yes, Applied::No] {
        let mut run = accounting();
        run.reach_delay();
        let failure = Failure::Unknown("no answer".to_owned());
        run.world.fail.push(("draining", failure, applied));
        run.world.set_unschedulable(false);
        run.see();
        let _ = run.due_if_armed(Timer::Retry(1));
        while run.see_next() {}
        run.drain();
        assert_eq!(run.world.phase(), Some(Phase::Delaying));
        run.world.set_unschedulable(false);
        run.see();
        run.drain();
        run.due(Timer::Delay);
        run.boot_and_return();
        let disturbed = BTreeMap::from([("uncordoned".to_owned(), 2)]);
        assert_eq!(last(&run).disturbed, disturbed);
    }
}

#[test]
fn what_the_drains_of_two_processes_cost_adds_up() {
    let mut run = accounting();
    run.wish();
    run.cycle.drain_cost(Cost {
        evicted: 2,
        refused: 1,
    });
    run.drain();
    run.restart();
    run.cycle.drain_cost(Cost {
        evicted: 1,
        refused: 0,
    });
    run.drain();
    run.due(Timer::Delay);
    run.boot_and_return();
    let last = last(&run);
    assert_eq!((last.evicted, last.refused), (3, 1));
}

#[test]
fn a_reboot_command_that_came_to_nothing_is_counted_and_the_second_goes_on_with_the_account() {
    let mut run = accounting();
    run.reach_reboot();
    run.world.host.told = None;
    run.due(Timer::Reboot);
    run.drain();
    run.due(Timer::Delay);
    run.boot_and_return();
    let last = last(&run);
    assert_eq!(last.disturbed, BTreeMap::from([("seal_over".to_owned(), 1)]));
    assert!(!last.partial, "{last:?}");
}

#[test]
fn a_reboot_that_is_called_off_leaves_the_account_of_the_one_before() {
    let mut run = accounting();
    run.reach_reboot();
    run.boot_and_return();
    let before = last(&run);
    run.reach_delay();
    run.world.cancel("not now");
    run.see();
    assert!(run.is_clean() && run.called_off().is_some());
    assert_eq!(account(&run.world.node), Reading::Absent);
    assert_eq!(last(&run), before);
}

#[test]
fn no_hand_on_the_account_disturbs_the_reboot_and_the_next_write_begins_it_anew() {
    let mut run = accounting();
    run.reach_delay();
    run.world.annotate(keys::REBOOT_ACCOUNT, &"x".repeat(1_000_000));
    run.world.annotate(keys::LAST_REBOOT, "never");
    run.see();
    assert_eq!(run.world.phase(), Some(Phase::Delaying));
    run.due(Timer::Delay);
    run.boot_and_return();
    assert_eq!(run.reboots(), 1);
    assert!(last(&run).partial && last(&run).disturbed.is_empty());
}
