//! What a process makes of marks, records and entries that it did not write itself, and of a stamp whose answer it never got.

use super::world::Applied;
use super::*;

const FORGED: &str = "uid-a/2026-11-23T09:00:00Z";

fn lost() -> Failure {
    Failure::Unknown("timeout".to_owned())
}

/// An idle agent on a node that an admin has cordoned. Somebody forges a hold there, and the write that would end it is lost.
fn forged() -> Run {
    let mut run = agent();
    run.world.set_unschedulable(true);
    run.world.plant(&[
        (keys::HOLDER, FORGED),
        (keys::PHASE, "draining"),
        (keys::BOOT_ID, "boot-1/1.0"),
        (keys::WAS_UNSCHEDULABLE, "false"),
    ]);
    run.world.fail.push(("give back", lost(), Applied::No));
    run.see();
    assert_eq!(run.called_off(), Some(&CallOff::Unproven));
    assert!(!run.is_unmarked());
    run
}

/// Somebody takes off all marks and the taint.
fn bare(node: &mut NodeView) {
    node.metadata.annotations.clear();
    node.metadata.labels.clear();
    node.spec.taints.retain(|taint| taint.key != keys::REBOOTING);
}

#[test]
fn cordon_given_back_forged_marks_never_clear_an_admins_cordon_although_their_end_was_not_written() {
    let mut run = forged();
    run.restart();
    assert!(run.is_clean() && run.world.node.spec.unschedulable);

    let mut run = forged();
    run.world.change(bare);
    run.restart();
    assert!(run.is_clean() && run.world.node.spec.unschedulable);
}

#[test]
fn forged_marks_that_are_gone_by_themselves_lead_to_no_write_of_the_node() {
    let mut run = forged();
    run.world.change(bare);
    run.see();
    drop(run.news());
    run.due(Timer::Retry(0));
    assert_eq!(run.news(), "read lock");
    assert!(run.is_clean() && run.cycle.is_idle());
}

#[test]
fn fail_safe_reading_marks_that_name_another_node_object_are_left_alone_and_told() {
    let mut run = agent();
    run.world.plant(&[
        (keys::HOLDER, "uid-b/2026-11-23T09:00:00Z"),
        (keys::PHASE, "sealed"),
    ]);
    let before = run.world.node.clone();
    run.restart();
    run.wish();
    assert_eq!(run.world.node, before);
    assert!(run.cycle.is_foreign());
    assert!(matches!(run.reports.last(), Some(Report::Foreign(why)) if why.contains("uid-b")));
    run.world.change(bare);
    run.see();
    assert!(!run.cycle.is_foreign());
}

/// The boot has emptied the host's `/run`. The lock still says in which boot the node was cordoned.
#[test]
fn after_a_boot_the_marks_name_the_boot_that_the_lock_has_and_not_what_somebody_wrote() {
    let mut run = agent();
    run.reach_reboot();
    run.world.plant(&[(keys::BOOT_ID, "boot-0/1.0")]);
    run.boot();
    assert_eq!(run.world.phase(), Some(Phase::Returning));
    assert_eq!(run.world.node.annotation(keys::BOOT_ID), Some("boot-1/1.0"));
}

#[test]
fn a_hold_whose_marks_are_gone_counts_as_sealed_while_its_reboot_may_still_come() {
    let mut run = agent();
    run.reach_reboot();
    run.world.host.record = None;
    run.world.host.told = None;
    run.world.change(bare);
    run.restart();
    assert!(
        matches!(run.cycle.held(), Held::By(_, Phase::Sealed)),
        "{:?}",
        run.cycle.held()
    );
}

#[test]
fn last_wish_an_uncordon_that_the_lock_entry_alone_has_is_done_on_a_node_without_any_marks() {
    let mut run = agent();
    run.world.set_unschedulable(true);
    run.wish();
    run.world.defer("jo");
    run.see();
    run.drain();
    run.due(Timer::Delay);
    run.world.change(bare);
    run.boot();
    assert!(run.is_clean() && run.cycle.is_idle());
    assert!(!run.world.node.spec.unschedulable);
}

#[test]
fn cordon_given_back_by_the_next_process_if_the_write_never_landed() {
    let mut run = agent();
    run.wish();
    run.world.fail.push(("give back", lost(), Applied::No));
    run.due(Timer::Drain);
    assert!(!run.is_unmarked());
    run.restart();
    assert!(run.is_clean() && !run.world.node.spec.unschedulable);
}

/// Somebody has written on the wish what the cordon was. A wish has no cordon, so that says nothing.
#[test]
fn cordon_given_back_the_end_of_a_wish_that_was_not_written_clears_no_cordon() {
    let mut run = agent();
    run.world
        .change_lock(|entries| entries.push(Entry::new("manual", "", "", false)));
    run.wish();
    run.world.set_unschedulable(true);
    run.see();
    run.world.fail.push(("give back", lost(), Applied::No));
    run.feed(Input::Event(Event::Sentinel(None)));
    run.world.plant(&[(keys::WAS_UNSCHEDULABLE, "false")]);
    run.restart();
    assert!(run.is_clean() && run.world.node.spec.unschedulable);
}

/// A node whose lock is acquired, with the wish on it and no cordon. The process dies, and the host's record is lost.
fn acquired() -> Run {
    let mut run = agent();
    drop(run.wish_until("draining"));
    run.world.host.record = None;
    assert_eq!(run.world.lock.entries.len(), 1);
    run
}

#[test]
fn a_wish_with_an_entry_in_the_lock_is_still_a_wish_for_the_next_process() {
    let mut run = acquired();
    run.restart();
    assert_eq!(run.world.phase(), Some(Phase::Wanted));
    assert!(!run.world.node.spec.unschedulable);
}

#[test]
fn an_entry_whose_node_shows_neither_marks_nor_a_cordon_is_released_and_nothing_is_called_off() {
    let mut run = acquired();
    run.world.change(bare);
    drop(run.news());
    run.restart();
    assert_eq!(run.news(), "ask host,read node,read lock,read lock,write lock");
    assert_eq!(run.called_off(), None);
    assert!(run.is_clean() && run.cycle.is_idle());
}

#[test]
fn any_trace_of_a_cordon_on_a_wish_with_an_entry_shows_that_somebody_has_changed_the_phase() {
    let tainted: world::Change = |node| {
        let taint = crate::node::Taint::no_schedule(keys::REBOOTING);
        node.spec.taints.push(taint);
    };
    let annotated =
        |key: &'static str, value: &'static str| move |run: &mut Run| run.world.plant(&[(key, value)]);
    let traces: [&dyn Fn(&mut Run); 4] = [
        &annotated(keys::WAS_UNSCHEDULABLE, "false"),
        &annotated(keys::BOOT_ID, "boot-1/1.0"),
        &annotated(keys::ATTEMPT, "1"),
        &|run| run.world.change(tainted),
    ];
    for (place, trace) in traces.iter().enumerate() {
        let mut run = acquired();
        trace(&mut run);
        run.restart();
        assert_eq!(run.world.phase(), Some(Phase::Draining), "{place}");
    }
}

/// An agent whose stamp has got no answer.
fn unanswered(applied: Applied) -> Run {
    let mut run = agent();
    run.world.fail.push(("wanted", lost(), applied));
    run.wish();
    drop(run.news());
    run
}

#[test]
fn a_stamp_without_an_answer_is_followed_as_soon_as_the_watch_shows_it() {
    let mut run = unanswered(Applied::Yes);
    for event in [Event::LockChanged, Event::Seen(World::new("a").node)] {
        run.feed(Input::Event(event));
        assert_eq!(run.news(), "");
    }
    run.see();
    assert_eq!(run.world.phase(), Some(Phase::Draining));
}

#[test]
fn a_stamp_that_somebody_has_changed_before_it_was_seen_is_not_followed() {
    let mut run = unanswered(Applied::Yes);
    run.world.plant(&[(keys::PHASE, "draining")]);
    run.due(Timer::Retry(0));
    assert_eq!(run.called_off(), Some(&CallOff::Unproven));
    assert!(run.is_clean() && run.world.lock_revision == 1);
}

#[test]
fn a_process_that_has_rested_looks_for_no_entry_where_the_node_shows_no_hold() {
    let mut run = unanswered(Applied::No);
    run.due(Timer::Retry(0));
    assert_eq!(run.news(), "read node");
    assert!(run.cycle.is_idle());
}

#[test]
fn nothing_stuck_a_stamp_that_lands_while_the_agent_rests_is_known_as_its_own() {
    let mut run = agent();
    let stamp = run.wish_until("wanted").unwrap();
    run.feed(Input::Answer(Answer::Patched(Err(lost()))));
    run.due(Timer::Retry(0));
    assert!(run.cycle.is_idle());
    drop(run.world.carry_out(stamp));
    run.see();
    assert_eq!(
        (run.called_off(), run.world.phase()),
        (None, Some(Phase::Draining))
    );
}

#[test]
fn a_process_that_does_not_know_yet_what_is_wanted_leaves_the_lock_alone() {
    let mut run = agent();
    run.world
        .change_lock(|entries| entries.push(Entry::new("manual", "", "", false)));
    run.wish();
    run.restart();
    drop(run.news());
    for timer in [Timer::Turn, Timer::Poll, Timer::Stall, Timer::Retry(1)] {
        run.feed(Input::Event(Event::Due(timer)));
        assert_eq!(run.news(), "", "{timer:?}");
    }
    run.wish();
    assert_eq!(run.news(), "read lock");
    run.feed(Input::Event(Event::Gap));
    assert_eq!(run.news(), "", "nothing calls for a look");
}
