//! Somebody changes the marks of a node at random while it drains or delays, the webhook is down, the watch lags, answers get lost
//! and processes start again.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Move {
    /// Somebody writes a mark, on a Node that shows a holder.
    Plant(&'static str, &'static str),
    /// Somebody takes a mark away that may be missing.
    Clear(&'static str),
    /// Somebody takes all of them away.
    Strip,
    Unschedulable(bool),
    Untaint,
    Heartbeat,
    /// The watch delivers the next version.
    Watch,
    Gap,
    PodArrived,
    Drained,
    /// One of the timers that run is over.
    Due(usize),
    Restart {
        cleans_run: bool,
    },
    /// The next answer to this is lost.
    Lose(&'static str, bool),
}

fn any_move() -> impl Strategy<Value = Move> {
    let planted = proptest::sample::select(vec![
        (keys::PHASE, "wanted"),
        (keys::PHASE, "draining"),
        (keys::PHASE, "delaying"),
        (keys::PHASE, "sealed"),
        (keys::PHASE, "returning"),
        (keys::WAS_UNSCHEDULABLE, "true"),
        (keys::WAS_UNSCHEDULABLE, "false"),
        (keys::BOOT_ID, "boot-0/1.0"),
        (keys::BOOT_ID, "boot-1/1.0"),
        (keys::ATTEMPT, "1"),
        (keys::ATTEMPT, "2"),
        (keys::WRITE, "forged"),
        (keys::HOLDER, "uid-a/2026-11-23T09:00:00Z"),
        (keys::GIVEN_BACK, "2026-11-23T10:00:00.000000001Z forged"),
    ]);
    let cleared = proptest::sample::select(vec![
        keys::WAS_UNSCHEDULABLE,
        keys::BOOT_ID,
        keys::ATTEMPT,
        keys::WRITE,
    ]);
    let lost = proptest::sample::select(vec![
        "draining",
        "delaying",
        "renew",
        "sealed",
        "returning",
        "give back",
        "write lock",
        "read lock",
        "read node",
        "list blockers",
        "list pods",
    ]);
    prop_oneof![
        4 => planted.prop_map(|(key, value)| Move::Plant(key, value)),
        1 => cleared.prop_map(Move::Clear),
        1 => Just(Move::Strip),
        2 => any::<bool>().prop_map(Move::Unschedulable),
        1 => Just(Move::Untaint),
        1 => Just(Move::Heartbeat),
        8 => Just(Move::Watch),
        1 => Just(Move::Gap),
        1 => Just(Move::PodArrived),
        4 => Just(Move::Drained),
        8 => (0..8_usize).prop_map(Move::Due),
        1 => any::<bool>().prop_map(|cleans_run| Move::Restart { cleans_run }),
        2 => (lost, any::<bool>()).prop_map(|(name, applied)| Move::Lose(name, applied)),
    ]
}

fn play(run: &mut Run, one: Move) {
    // What is written on a node that is nobody's any more is another matter.
    let is_marked = run.world.node.annotation(keys::HOLDER).is_some();
    match one {
        Move::Plant(key, value) if is_marked => run.world.plant(&[(key, value)]),
        Move::Clear(key) if is_marked => run
            .world
            .change(|node| drop(node.metadata.annotations.remove(key))),
        Move::Strip if is_marked => run.world.strip(),
        Move::Unschedulable(unschedulable) if is_marked => run.world.set_unschedulable(unschedulable),
        Move::Untaint => run.world.change(|node| node.spec.taints.clear()),
        Move::Heartbeat => run.world.change(|_| ()),
        Move::Watch => drop(run.see_next()),
        Move::Gap => {
            run.world.undelivered = [run.world.node.clone()].into();
            run.tell(Input::Event(Event::Gap));
        }
        Move::PodArrived => run.tell(Input::Event(Event::Drain(DrainNews::PodArrived(
            "default/late".to_owned(),
        )))),
        Move::Drained => {
            run.world.pods.clear();
            run.tell(Input::Event(Event::Drain(DrainNews::Drained(BTreeSet::new()))));
        }
        Move::Due(which) => {
            let armed: Vec<Timer> = run.armed.iter().copied().collect();
            if !armed.is_empty() {
                is_over(run, armed[which % armed.len()]);
            }
        }
        Move::Restart { cleans_run } => {
            if cleans_run {
                run.world.host.record = None;
                run.world.host.told = None;
            }
            run.restart();
        }
        Move::Lose(name, applied) => {
            let applied = if applied { Applied::Yes } else { Applied::No };
            run.world
                .fail
                .push((name, Failure::Unknown("timeout".to_owned()), applied));
        }
        Move::Plant(..) | Move::Clear(_) | Move::Strip | Move::Unschedulable(_) => {}
    }
}

fn is_over(run: &mut Run, timer: Timer) {
    let _ = run.armed.remove(&timer);
    run.tell(Input::Event(Event::Due(timer)));
}

/// Nobody touches anything any more, and every answer comes. A host that was told to reboot does.
fn is_left_alone(run: &mut Run) {
    run.world.fail.clear();
    for _ in 0..100 {
        while run.see_next() {}
        if run.cycle.is_idle() && run.is_clean() {
            return;
        }
        if run.world.host.told == Some(RebootDeadline::Ahead) {
            run.boot();
        }
        if run.world.phase() == Some(Phase::Draining) {
            play(run, Move::Drained);
        }
        let over: Vec<Timer> = run
            .armed
            .iter()
            .copied()
            .filter(|timer| !matches!(timer, Timer::Drain | Timer::Renew))
            .collect();
        for timer in over {
            is_over(run, timer);
        }
        run.tell(Input::Event(Event::Sentinel(None)));
    }
    panic!(
        "stuck: {:?}\n{:?}\n{:?}",
        run.cycle, run.world.node, run.world.log
    );
}

proptest! {
    #[test]
    fn found_a1_a2_a6_no_tampering_makes_a_blind_reboot_or_keeps_a_cordon(
        cordoned in any::<bool>(), aborts in any::<bool>(), moves in proptest::collection::vec(any_move(), 0..60),
    ) {
        let on_uncordon = if aborts { OnUncordon::Abort } else { OnUncordon::Redrain };
        let mut run = Run::new(Settings { on_uncordon, ..policy() });
        run.world.set_unschedulable(cordoned);
        run.wish();
        // An entry alone puts no admin's cordon back that somebody else has cleared.
        let is_played = |one: &Move| !(cordoned && matches!(one, Move::Unschedulable(false)));
        for one in moves.into_iter().filter(is_played) {
            play(&mut run, one);
            prop_assert!(!run.world.rebooted_blindly(), "{:?}", run.world.log);
        }
        is_left_alone(&mut run);
        prop_assert!(!run.world.rebooted_blindly(), "{:?}", run.world.log);
        prop_assert_eq!(run.world.node.spec.unschedulable, cordoned, "{:?}", run.world.log);
    }
}
