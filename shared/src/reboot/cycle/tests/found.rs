//! Defects that were found in the protocol after it had been written, by number, each by the sequence of events that shows it.
//!
//! A mark is *planted* if another webhook, a controller or a person writes it on a Node while our webhook is down.

use super::*;

/// The `created` of a run's first wish.
const CREATED: &str = "2026-11-23T10:00:00.000000001Z";

/// What happens to an agent or its node.
type Deed = fn(&mut Run);

fn lost() -> Failure {
    Failure::Unknown("timeout".to_owned())
}

fn refused() -> Failure {
    Failure::Refused("policy: not this".to_owned())
}

fn aborting() -> Run {
    Run::new(Settings {
        on_uncordon: OnUncordon::Abort,
        ..policy()
    })
}

/// The lock is taken by hand, so a wish waits.
fn waiting(mut run: Run) -> Run {
    run.world
        .change_lock(|entries| entries.push(Entry::new("manual", "", "", false)));
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Wanted));
    run
}

/// The host's `/run` is cleaned, and the agent starts again.
fn restart_without_record(run: &mut Run) {
    run.world.host.record = None;
    run.world.host.told = None;
    run.restart();
}

fn has_returned(run: &Run) -> bool {
    run.reports
        .iter()
        .any(|report| matches!(report, Report::Returned | Report::Booted(_)))
}

/// Drained and delayed again, it reboots on a seal of its own, and all is as it was.
fn goes_on(mut run: Run) {
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    run.drain();
    run.due(Timer::Delay);
    assert!(run.rebooted() && !run.world.rebooted_blindly());
    run.boot_and_return();
    assert!(!run.world.node.spec.unschedulable);
}

#[test]
fn found_a1_a_planted_sealed_and_a_lost_seal_do_not_reboot() {
    let learns: [Deed; 2] = [Run::see, |run| run.feed(Input::Event(Event::Gap))];
    for learn in learns {
        let mut run = agent();
        run.reach_delay();
        run.world.fail.push(("sealed", lost(), Applied::No));
        run.due(Timer::Delay);
        // Every mark that the seal would have left, but for its proof.
        run.world.plant(&[(keys::PHASE, "sealed"), (keys::ATTEMPT, "1")]);
        drop(run.news());
        run.due(Timer::Retry(1));
        assert_eq!(
            run.news(),
            "list blockers,list pods,read lock,write lock,sealed lost"
        );
        learn(&mut run);
        assert!(!run.rebooted());
        goes_on(run);
    }
}

#[test]
fn found_a1_a_seal_that_landed_and_was_changed_before_it_was_seen_does_not_reboot() {
    let changes: [fn(&mut World); 6] = [
        |world| world.plant(&[(keys::ATTEMPT, "2")]),
        |world| world.plant(&[(keys::WAS_UNSCHEDULABLE, "true")]),
        |world| world.plant(&[(keys::BOOT_ID, "boot-0/1.0")]),
        |world| world.plant(&[(keys::PHASE, "returning")]),
        |world| world.set_unschedulable(false),
        |world| world.change(|node| node.spec.taints.clear()),
    ];
    for change in changes {
        let mut run = agent();
        run.reach_delay();
        run.world.fail.push(("sealed", lost(), Applied::Yes));
        run.due(Timer::Delay);
        change(&mut run.world);
        run.see();
        assert!(!run.rebooted());
        assert_eq!(run.world.node.annotation(keys::ATTEMPT), None, "none was made");
        goes_on(run);
    }
}

#[test]
fn found_a1_a_planted_wish_and_a_lost_stamp_are_not_followed() {
    let mut run = agent();
    run.world.fail.push(("wanted", lost(), Applied::No));
    run.wish();
    let holder = format!("uid-a/{CREATED}");
    run.world
        .plant(&[(keys::HOLDER, &holder), (keys::PHASE, "wanted")]);
    drop(run.news());
    run.due(Timer::Retry(1));
    assert_eq!(run.news(), "read node,read node,give back,read lock");
    assert_eq!(run.called_off(), Some(&CallOff::Unproven));
    assert!(run.is_clean());
}

#[test]
fn found_a1_a_planted_entry_and_a_lost_acquire_are_acquired_anew() {
    let planted = |was| Entry::new("a", "uid-a", CREATED, was);
    let mut run = agent();
    run.world.fail.push(("write lock", lost(), Applied::No));
    run.wish();
    // It would leave the node cordoned, should the record be lost.
    run.world.change_lock(|entries| entries.push(planted(true)));
    drop(run.news());
    run.due(Timer::Retry(1));
    assert_eq!(
        run.news(),
        "read lock,list held,list blockers,write lock,draining"
    );
    let entry = &run.world.lock.entries[0];
    assert!(!entry.metadata.unschedulable && entry.write.is_some());
    goes_on(run);

    // Where kured shares the lock, an entry may lose its proof, but never says anything else.
    for (was, news) in [
        (false, "read lock,draining"),
        (true, "read lock,list held,list blockers,write lock,draining"),
    ] {
        let mut run = agent();
        run.world.carrier = Carrier::DaemonSet;
        run.world.fail.push(("write lock", lost(), Applied::No));
        run.wish();
        run.world.change_lock(|entries| entries.push(planted(was)));
        drop(run.news());
        run.due(Timer::Retry(1));
        assert_eq!(run.news(), news);
        goes_on(run);
    }
}

#[test]
fn found_a1_a_planted_draining_and_a_lost_cordon_begin_no_drain() {
    for applied in [Applied::No, Applied::Yes] {
        let mut run = agent();
        run.world.fail.push(("draining", lost(), applied));
        run.wish();
        // Where it has landed, its proof is there to read.
        run.world
            .plant(&[(keys::PHASE, "draining"), (keys::WAS_UNSCHEDULABLE, "true")]);
        run.world.set_unschedulable(true);
        run.acts.clear();
        run.see();
        if applied == Applied::No {
            assert_eq!(run.called_off(), Some(&CallOff::Disturbed(Disturbance::Tampered)));
            assert!(!run.acts.contains(&Act::StartDrain));
            // The watch has shown that ours never landed, so the cordon is theirs.
            assert!(run.is_clean() && run.world.node.spec.unschedulable);
        } else {
            assert_eq!(run.world.node.annotation(keys::WAS_UNSCHEDULABLE), Some("false"));
            goes_on(run);
        }
    }
}

#[test]
fn found_a1_a_planted_delaying_and_a_lost_delay_begin_no_delay() {
    let mut run = agent();
    run.wish();
    run.world.fail.push(("delaying", lost(), Applied::No));
    run.feed(Input::Event(Event::Drain(DrainNews::Drained(BTreeSet::new()))));
    run.world.plant(&[(keys::PHASE, "delaying")]);
    run.see();
    assert!(run.was_disturbed(Disturbance::Tampered));
    assert!(!run.due_if_armed(Timer::Delay));
    run.world.pods.clear();
    goes_on(run);

    // It has landed, and the watch shows it.
    let mut run = agent();
    run.wish();
    run.world.fail.push(("delaying", lost(), Applied::Yes));
    run.world.pods.clear();
    run.feed(Input::Event(Event::Drain(DrainNews::Drained(BTreeSet::new()))));
    assert!(!run.armed.contains(&Timer::Delay));
    run.see();
    run.due(Timer::Delay);
    assert!(run.rebooted() && !run.world.rebooted_blindly());
}

#[test]
fn found_a1_a_planted_given_back_and_a_lost_give_back_leave_no_cordon() {
    let ends: [Deed; 2] = [
        |run| run.due(Timer::Drain),
        |run| {
            run.drain();
            run.due(Timer::Delay);
            run.boot();
            run.see();
            run.due(Timer::Soak);
        },
    ];
    for end in ends {
        let mut run = agent();
        run.wish();
        run.world.fail.push(("give back", lost(), Applied::No));
        end(&mut run);
        run.world.strip();
        let given_back = format!("{CREATED} {:032x}", 7);
        run.world.plant(&[(keys::GIVEN_BACK, &given_back)]);
        // It loses, and the watch shows that none of ours has landed.
        run.due(Timer::Retry(1));
        assert!(run.is_clean() && !run.world.node.spec.unschedulable);

        // It has landed; a person cordons the node, and somebody writes over what says so.
        let mut run = agent();
        run.wish();
        run.world.fail.push(("give back", lost(), Applied::Yes));
        end(&mut run);
        run.world.set_unschedulable(true);
        run.world.plant(&[(keys::GIVEN_BACK, &given_back)]);
        // The watch is behind.
        run.tell(Input::Event(Event::Due(Timer::Retry(1))));
        while run.see_next() {}
        assert!(run.is_clean() && run.world.node.spec.unschedulable);
    }
}

#[test]
fn found_a1_a_cordon_that_landed_is_ours_however_often_it_is_tried_again() {
    let mut run = agent();
    run.world.fail.push(("draining", lost(), Applied::Yes));
    run.wish();
    for _ in 0..20 {
        run.world.fail.push(("draining", lost(), Applied::No));
        run.due(Timer::Retry(1));
    }
    run.see();
    goes_on(run);
}

/// A proxy has sent each twice, and what comes back is the answer to the copy that lost.
#[test]
fn found_a1_a_write_that_loses_to_a_copy_of_itself_is_ours() {
    let steps = ["draining", "delaying", "sealed", "returning", "give back"];
    for failure in [Failure::Conflict, refused()] {
        let mut run = agent();
        // A refused wish waits for the next look at the sentinel.
        run.world.fail.push(("wanted", Failure::Conflict, Applied::Yes));
        for step in steps {
            run.world.fail.push((step, failure.clone(), Applied::Yes));
        }
        run.wish();
        settle(&mut run, |run| run.world.phase() == Some(Phase::Draining));
        run.drain();
        settle(&mut run, |run| run.world.phase() == Some(Phase::Delaying));
        run.due(Timer::Delay);
        settle(&mut run, Run::rebooted);
        assert!(!run.world.rebooted_blindly());
        run.boot();
        settle(&mut run, Run::is_clean);
        assert!(!run.world.node.spec.unschedulable);
        assert_eq!(run.called_off(), None, "{failure:?}");
    }
}

/// The watch delivers, and what waits for a pause or for the end of the return goes on, until this is so.
fn settle(run: &mut Run, is_so: impl Fn(&Run) -> bool) {
    for _ in 0..20 {
        while run.see_next() {}
        if is_so(run) {
            return;
        }
        for timer in [Timer::Retry(1), Timer::Soak] {
            let _ = run.due_if_armed(timer);
        }
    }
    let news = run.news();
    panic!(
        "it does not come to it: {:?} {:?} {news}",
        run.world.phase(),
        run.armed
    );
}

#[test]
fn found_a1_a_refused_read_forgets_no_cordon_that_may_have_landed() {
    let mut run = agent();
    run.world.fail.push(("draining", lost(), Applied::Yes));
    run.wish();
    run.feed(Input::Event(Event::Gap));
    run.world.fail.push(("read node", refused(), Applied::No));
    run.due(Timer::Retry(1));
    run.due(Timer::Retry(1));
    goes_on(run);
}

#[test]
fn found_a1_a_cordon_that_landed_before_a_gap_is_given_back_whatever_was_written_over_it() {
    let mut run = agent();
    run.world.fail.push(("draining", lost(), Applied::Yes));
    run.wish();
    run.world.plant(&[(keys::WRITE, "0123")]);
    run.tell(Input::Event(Event::Gap));
    // The watch delivers what is there before anybody reads it.
    run.see();
    if !run.is_clean() {
        run.due(Timer::Drain);
    }
    assert!(run.is_clean() && !run.world.node.spec.unschedulable);
}

#[test]
fn found_a1_a_lost_give_back_that_somebody_altered_is_no_give_back() {
    let mut run = agent();
    run.wish();
    run.world
        .mutate
        .push(("give back", |node| node.spec.unschedulable = true));
    run.world.fail.push(("give back", lost(), Applied::Yes));
    run.due(Timer::Drain);
    assert!(run.world.node.spec.unschedulable);
    while run.see_next() {}
    run.due(Timer::Retry(1));
    assert!(run.is_clean() && !run.world.node.spec.unschedulable);
}

#[test]
fn found_a1_a_give_back_that_a_renewal_finds_is_the_end_of_the_way_back() {
    let mut run = Run::new(Settings {
        delays_release: true,
        ..policy()
    });
    run.reach_reboot();
    run.boot();
    run.see();
    run.world.fail.push(("give back", lost(), Applied::Yes));
    run.due(Timer::Soak);
    run.world.undelivered.clear();
    run.due(Timer::Renew);
    assert_eq!(run.called_off(), None);
    assert!(run.armed.contains(&Timer::Release));
}

#[test]
fn found_a1_a_watch_that_is_behind_forgets_no_give_back_that_landed() {
    let mut run = agent();
    run.wish();
    let behind = run.world.node.clone();
    run.world.strip();
    run.world.fail.push(("give back", lost(), Applied::Yes));
    run.cycle = Cycle::new(run.cycle.settings.clone());
    let reading = run.feed_until(Input::Started, "read lock");
    run.world.undelivered.push_back(behind);
    run.send(reading);
    // The cordon that stands there now is a person's.
    run.world.set_unschedulable(true);
    while run.see_next() {}
    run.due(Timer::Retry(1));
    assert!(run.is_clean() && run.world.node.spec.unschedulable);
}

#[test]
fn found_a2_no_write_of_ours_changes_nothing() {
    // The world refuses a write that changes nothing; here everything but the proof is there already.
    let mut run = agent();
    run.world.set_unschedulable(true);
    run.wish();
    for _ in 0..2 {
        let version = run.world.node.version().to_owned();
        run.due(Timer::Renew);
        assert_ne!(run.world.node.version(), version);
    }
    for patch in ["draining", "delaying", "sealed"] {
        let mut run = agent();
        run.wish();
        let input = match patch {
            "draining" => Input::Event(Event::Gap),
            _ => Input::Event(Event::Drain(DrainNews::Drained(BTreeSet::new()))),
        };
        let request = if patch == "sealed" {
            run.drain();
            run.feed_until(Input::Event(Event::Due(Timer::Delay)), patch)
        } else {
            run.feed_until(input, patch)
        };
        let Some(Ask::PatchNode(patch)) = request else {
            panic!("no {patch}")
        };
        let shown = hold::read(&run.world.node).present().unwrap();
        let leaves = patch.leaves.unwrap();
        assert!(leaves.write.is_some() && leaves.write != shown.write);
    }
}

#[test]
fn found_a2_a_planted_delaying_is_a_disturbance() {
    // The watch tells of it before the drain has ended, or not until then.
    for told in [true, false] {
        let mut run = agent();
        run.wish();
        run.world.plant(&[(keys::PHASE, "delaying")]);
        run.world.pods.clear();
        if told {
            run.see();
        } else {
            run.feed(Input::Event(Event::Drain(DrainNews::Drained(BTreeSet::new()))));
        }
        assert!(run.was_disturbed(Disturbance::Tampered));
        assert!(!run.due_if_armed(Timer::Delay) && !run.rebooted());
        goes_on(run);
    }
}

#[test]
fn found_a5_marks_that_a_person_has_to_look_at_are_told_each_time_they_come() {
    let foreign = |run: &Run| {
        let is_foreign = |report: &&Report| matches!(report, Report::Foreign(_));
        run.reports.iter().filter(is_foreign).count()
    };
    let mut run = agent();
    run.world.plant(&[(keys::HOLDER, "garbage")]);
    run.see();
    assert_eq!(foreign(&run), 1);
    // A heartbeat is no news; another reason is.
    run.world.change(|_| ());
    run.see();
    assert_eq!(foreign(&run), 1);
    run.world.plant(&[(keys::PHASE, "wanted")]);
    run.see();
    assert_eq!(foreign(&run), 2);
    // A person has cleared them; the same ones come again, on an idle node and on a held one.
    run.world.strip();
    run.see();
    run.wish();
    run.world
        .plant(&[(keys::HOLDER, "garbage"), (keys::PHASE, "wanted")]);
    run.see();
    assert_eq!(foreign(&run), 3);
    run.world.strip();
    run.see();
    assert!(run.is_clean() && !run.world.node.spec.unschedulable);
}

#[test]
fn found_a6_a_planted_was_unschedulable_on_a_wish_loses_no_admins_cordon() {
    let planted = &[(keys::WAS_UNSCHEDULABLE, "false")];
    // Seen while it waits.
    let mut run = agent();
    run.world.set_unschedulable(true);
    let mut run = waiting(run);
    run.world.plant(planted);
    run.see();
    assert_eq!(run.called_off(), Some(&CallOff::Disturbed(Disturbance::Tampered)));
    assert!(run.is_unmarked() && run.world.node.spec.unschedulable);

    // Not seen before the cordon is sent, or not before the process starts again.
    let arrivals: [fn(&mut Run, Option<Ask>); 2] = [Run::send, |run, _| {
        restart_without_record(run);
        run.wish();
    }];
    for arrive in arrivals {
        let mut run = agent();
        run.world.set_unschedulable(true);
        let cordoning = run.wish_until("draining");
        run.world.plant(planted);
        arrive(&mut run, cordoning);
        run.see();
        if !run.is_clean() {
            run.due(Timer::Drain);
        }
        assert!(run.is_clean() && run.world.node.spec.unschedulable);
    }
}

#[test]
fn found_a6_a_planted_wanted_with_abort_gives_the_cordon_back() {
    let learns: [Deed; 3] = [Run::see, Run::restart, restart_without_record];
    for learn in learns {
        let mut run = aborting();
        run.wish();
        run.world.plant(&[(keys::PHASE, "wanted")]);
        learn(&mut run);
        if !run.is_clean() {
            run.due(Timer::Drain);
        }
        assert!(run.is_clean() && !run.world.node.spec.unschedulable);
    }
}

#[test]
fn found_a6_a_planted_wanted_and_a_boot_give_the_cordon_back() {
    // The boot takes the record away: the lock's entry says what the cordon was.
    for strips in [false, true] {
        let mut run = agent();
        run.reach_reboot();
        if strips {
            let holder = run.world.node.annotation(keys::HOLDER).unwrap().to_owned();
            run.world.strip();
            run.world.plant(&[(keys::HOLDER, &holder)]);
        }
        run.world.plant(&[(keys::PHASE, "wanted")]);
        run.boot_and_return();
        assert!(!run.world.node.spec.unschedulable);
    }
}

#[test]
fn found_a6_a_wish_that_is_put_back_over_a_cordon_is_none_for_the_next_process_either() {
    let mut run = agent();
    let cordoning = run.wish_until("draining");
    let wish = run.world.node.clone();
    run.send(cordoning);
    run.world.change(|node| {
        node.metadata.annotations.clone_from(&wish.metadata.annotations);
        node.metadata.labels.clone_from(&wish.metadata.labels);
        node.spec.taints.clear();
    });
    // The lock's entry knows better, and the process dies between its record and its patch.
    run.world.host.record = None;
    run.cycle = Cycle::new(run.cycle.settings.clone());
    let Some(Ask::PatchNode(patch)) = run.feed_until(Input::Started, "draining") else {
        panic!("no cordon")
    };
    run.world.host.record = patch.record;
    run.restart();
    run.feed(Input::Event(Event::Sentinel(None)));
    if !run.is_clean() {
        run.due(Timer::Drain);
    }
    assert!(run.is_clean() && !run.world.node.spec.unschedulable);
}

#[test]
fn found_a6_a_planted_boot_id_and_a_restart_in_the_delay_are_no_return() {
    let restarts: [Deed; 2] = [Run::restart, restart_without_record];
    for restart in restarts {
        let mut run = agent();
        run.reach_delay();
        run.world.plant(&[(keys::BOOT_ID, "boot-0/1.0")]);
        restart(&mut run);
        assert!(!has_returned(&run) && !run.rebooted());
        goes_on(run);
    }
}

#[test]
fn found_a6_stripped_marks_a_planted_given_back_and_a_restart_give_the_cordon_back() {
    let restarts: [Deed; 2] = [Run::restart, restart_without_record];
    for restart in restarts {
        for created in [CREATED, "2126-01-01T00:00:00Z"] {
            let mut run = agent();
            run.reach_delay();
            run.world.strip();
            let given_back = format!("{created} {:032x}", 7);
            run.world.plant(&[(keys::GIVEN_BACK, &given_back)]);
            restart(&mut run);
            assert!(run.is_clean() && !run.world.node.spec.unschedulable);
        }
    }
}

#[test]
fn found_a6_an_answer_of_200_without_cordon_taint_or_proof_is_not_rebooted_on() {
    let mutations: [world::Change; 6] = [
        |node| node.spec.unschedulable = false,
        |node| node.spec.taints.clear(),
        |node| drop(node.metadata.annotations.remove(keys::WRITE)),
        |node| drop(node.metadata.annotations.remove(keys::ATTEMPT)),
        |node| {
            let phase = (keys::PHASE.to_owned(), "delaying".to_owned());
            node.metadata.labels.extend([phase]);
        },
        |node| drop(node.metadata.annotations.remove(keys::HOLDER)),
    ];
    for mutation in mutations {
        let mut run = agent();
        run.reach_delay();
        run.world.mutate.push(("sealed", mutation));
        run.due(Timer::Delay);
        assert!(!run.rebooted());
        // A webhook that takes the holder away has made it a Node that cannot be read.
        if run.world.phase().is_some() {
            goes_on(run);
        }

        // The same of a cordon: nothing is drained on it.
        let mut run = agent();
        run.world.mutate.push(("draining", mutation));
        run.wish();
        let is_whole = run.world.node.spec.unschedulable
            && run.world.node.is_tainted(keys::REBOOTING)
            && run.world.phase() == Some(Phase::Draining)
            && run.world.node.annotation(keys::WRITE).is_some();
        assert_eq!(run.acts.contains(&Act::StartDrain), is_whole);
    }
}

#[test]
fn found_a6_a_planted_phase_and_a_restart_neither_reboot_nor_return() {
    for phase in ["sealed", "returning", "draining"] {
        let restarts: [Deed; 2] = [Run::restart, restart_without_record];
        for restart in restarts {
            let mut run = agent();
            run.reach_delay();
            run.world.plant(&[(keys::PHASE, phase)]);
            restart(&mut run);
            run.wish();
            // A seal that is neither the record's nor ours is waited out: another process may have issued it.
            let _ = run.due_if_armed(Timer::Reboot);
            assert!(!has_returned(&run) && !run.rebooted());
            goes_on(run);
        }
        // On a wish that waits for the lock, there is nothing to give back.
        let mut run = waiting(agent());
        run.world.plant(&[(keys::PHASE, phase)]);
        run.restart();
        run.see();
        assert!(run.is_unmarked() && !has_returned(&run) && !run.rebooted());
    }
}

#[test]
fn found_a6_a_forged_hold_on_an_idle_node_goes_and_the_cordon_stays() {
    let learns: [Deed; 2] = [Run::see, Run::restart];
    for learn in learns {
        for cordoned in [false, true] {
            for phase in Phase::ALL.into_iter().filter(|phase| *phase != Phase::Wanted) {
                let mut run = agent();
                run.world.set_unschedulable(cordoned);
                run.world.plant(&[
                    (keys::HOLDER, "uid-a/2026-11-23T09:00:00Z"),
                    (keys::PHASE, phase.as_str()),
                    (keys::BOOT_ID, "boot-1/1.0"),
                    (keys::WAS_UNSCHEDULABLE, "false"),
                    (keys::WRITE, "forged"),
                ]);
                learn(&mut run);
                assert_eq!(run.called_off(), Some(&CallOff::Unproven));
                assert!(run.is_clean() && run.cycle.is_idle());
                assert_eq!(run.world.node.spec.unschedulable, cordoned);
                let wrote = |name: &str| run.world.log.iter().any(|entry| entry == name);
                assert!(!wrote("draining") && !wrote("write lock") && !run.rebooted());
            }
        }
    }
}

#[test]
fn found_a6_a_forged_holder_over_ours_goes_and_the_cordon_is_given_back() {
    let learns: [Deed; 3] = [Run::see, Run::restart, restart_without_record];
    for learn in learns {
        for cordoned in [false, true] {
            let mut run = agent();
            run.world.set_unschedulable(cordoned);
            run.reach_delay();
            run.world.plant(&[
                (keys::HOLDER, "uid-a/2026-11-23T09:00:00Z"),
                (keys::WAS_UNSCHEDULABLE, if cordoned { "false" } else { "true" }),
            ]);
            learn(&mut run);
            assert_eq!(run.called_off(), Some(&CallOff::HoldLost));
            assert!(run.is_clean() && !run.rebooted());
            assert_eq!(run.world.node.spec.unschedulable, cordoned);
        }
    }
}

/// The host comes up, or never went down, and shows nothing of it.
fn comes_up_the_same(run: &mut Run, cleans_run: bool) {
    if cleans_run {
        run.boot_as(world::boot(world::BOOT));
        run.wish();
        // Nothing says that the command has run: it is waited for as long as a reboot may take.
        run.due(Timer::Reboot);
    } else {
        run.world.host.told = Some(RebootDeadline::Passed);
        let is_cleaned = run.world.host.record.is_none();
        run.restart();
        run.wish();
        if is_cleaned {
            run.due(Timer::Reboot);
        }
    }
}

#[test]
fn found_p1_p2_a_host_whose_boot_never_changes_is_rebooted_twice_for_one_wish() {
    let ends: [(Deed, CallOff); 2] = [
        (
            |run| {
                run.world.cancel("the board has no random seed");
                run.see();
            },
            CallOff::Cancelled("the board has no random seed".to_owned()),
        ),
        (
            |run| run.feed(Input::Event(Event::Sentinel(None))),
            CallOff::NoLongerWanted,
        ),
    ];
    for cleans_run in [true, false] {
        for (end, reason) in &ends {
            let mut run = agent();
            run.reach_reboot();
            comes_up_the_same(&mut run, cleans_run);
            run.drain();
            run.due(Timer::Delay);
            assert_eq!(run.reboots(), 2);
            for cleans_run in [cleans_run, true, false] {
                run.reports.clear();
                comes_up_the_same(&mut run, cleans_run);
                assert!(matches!(run.reports.last(), Some(Report::StillSealed(_))));
                // Said again, for as long as it lasts.
                run.reports.clear();
                run.due(Timer::Reboot);
                assert!(matches!(run.reports[..], [Report::StillSealed(_)]));
                assert!(!run.due_if_armed(Timer::Delay));
                assert_eq!((run.reboots(), run.world.lock.entries.len()), (2, 1));
            }
            end(&mut run);
            assert_eq!(run.called_off(), Some(reason));
            assert!(run.is_clean() && !run.world.node.spec.unschedulable);
        }
    }
}

#[test]
fn found_p1_p2_a_wish_has_no_attempt_behind_it_whoever_says_so() {
    let mut run = waiting(agent());
    run.world.change_lock(Vec::clear);
    run.world.host.record = None;
    run.world.plant(&[(keys::ATTEMPT, "2")]);
    run.restart();
    run.wish();
    run.see();
    assert_eq!(run.called_off(), Some(&CallOff::Disturbed(Disturbance::Tampered)));
    assert!(run.is_clean());
}

#[test]
fn found_p1_p2_the_count_of_attempts_is_nobody_elses() {
    // Not on the Node, while the lock or the record tells it.
    for cleans_run in [true, false] {
        let mut run = agent();
        run.reach_reboot();
        for reboots in [2, 2] {
            run.world.plant(&[(keys::ATTEMPT, "0")]);
            comes_up_the_same(&mut run, cleans_run);
            if run.world.phase() == Some(Phase::Draining) {
                run.drain();
                run.due(Timer::Delay);
            }
            assert_eq!(run.reboots(), reboots);
        }
        assert!(matches!(run.reports.last(), Some(Report::StillSealed(_))));
    }
}

#[test]
fn found_p1_p2_a_boot_is_shown_by_the_start_of_its_init() {
    // A reboot that empties /run, and one of userspace, which does not.
    for soft in [false, true] {
        let mut run = agent();
        run.reach_reboot();
        let record = run.world.host.record.clone();
        let init = if soft { "1.1" } else { "2.0" };
        run.boot_as(Boot {
            init: init.to_owned(),
            ..world::boot(world::BOOT)
        });
        if soft {
            run.world.host.record = record;
            run.restart();
        }
        assert!(run.reports.contains(&Report::Booted(BootEvidence::Init)));
        run.due(Timer::Soak);
        assert!(run.is_clean() && !run.world.node.spec.unschedulable);
        assert_eq!(run.reboots(), 1);
    }
}

#[test]
fn found_s3_told_and_waiting_nothing_is_undone_by_an_agent_that_restarts() {
    for mut run in [agent(), aborting()] {
        // A delay inhibitor holds the reboot back, and the host says that it is running.
        run.reach_reboot();
        run.world.cancel("too late");
        let (node, lock) = (run.world.node.clone(), run.world.lock.clone());
        drop(run.news());
        run.restart();
        run.feed(Input::Event(Event::Sentinel(None)));
        for _ in 0..5 {
            run.see();
            run.due(Timer::Host);
        }
        assert!(run.news().split(',').all(|asked| asked == "ask host"));
        assert_eq!((&run.world.node, &run.world.lock), (&node, &lock));
        assert!(matches!(run.reports.last(), Some(Report::HostTold(_))));
        run.boot_and_return();
        assert!(!run.world.node.spec.unschedulable && run.reboots() == 1);
    }
}

#[test]
fn found_s3_a_command_that_ends_without_a_word_may_have_worked() {
    let mut run = agent();
    run.world.reboot = Err(RebootFailure::Unclear("killed by signal 15".to_owned()));
    run.reach_reboot();
    run.feed(Input::Event(Event::Sentinel(None)));
    drop(run.news());
    // The host shows nothing yet: it has until `--reboot-timeout`.
    run.see();
    assert_eq!((run.news().as_str(), run.called_off()), ("", None));
    run.due(Timer::Reboot);
    assert_eq!(run.called_off(), Some(&CallOff::NoLongerWanted));
    assert!(run.is_clean());
}

#[test]
fn found_s3_told_and_over_the_node_is_drained_again_with_abort_too() {
    for mut run in [agent(), aborting()] {
        run.reach_reboot();
        run.restart();
        run.world.host.told = Some(RebootDeadline::Passed);
        run.due(Timer::Host);
        assert_eq!(run.called_off(), None);
        run.world.host.told = None;
        goes_on(run);
    }
    // The same for the process that issued it.
    for mut run in [agent(), aborting()] {
        run.reach_reboot();
        run.due(Timer::Reboot);
        assert_eq!(run.called_off(), None);
        goes_on(run);
    }
}

/// The host's record is gone, and somebody has written the Node: the entry, which was confirmed before the command, still says that
/// a reboot may have been set off.
#[test]
fn found_s3_a_confirmed_entry_alone_is_waited_out_whatever_the_node_shows() {
    let deeds: [Deed; 4] = [
        |_| (),
        |run| run.world.plant(&[(keys::PHASE, "draining")]),
        |run| run.world.plant(&[(keys::PHASE, "wanted")]),
        |run| {
            run.world.strip();
            run.world.set_unschedulable(false);
        },
    ];
    for deed in deeds {
        let mut run = agent();
        run.reach_reboot();
        deed(&mut run);
        let before = run.world.node.clone();
        restart_without_record(&mut run);
        run.wish();
        run.see();
        assert_eq!((&run.world.node, run.world.lock.entries.len()), (&before, 1));
        assert_eq!(run.called_off(), None);
        // By then the host would have shown its shutdown.
        run.due(Timer::Reboot);
        if run.world.phase().is_some() {
            goes_on(run);
        } else {
            assert!(run.is_clean() && !run.world.node.spec.unschedulable);
        }
    }
}

/// The entry of an older agent names the kernel's boot id alone, and no start of the init. It is of this boot all the same.
#[test]
fn a_confirmed_entry_of_an_older_agent_is_waited_out_too() {
    let mut run = agent();
    run.reach_reboot();
    run.world.change_lock(|entries| entries[0].init.clear());
    let before = run.world.node.clone();
    restart_without_record(&mut run);
    run.see();
    assert_eq!((&run.world.node, run.world.lock.entries.len()), (&before, 1));
    run.due(Timer::Reboot);
    goes_on(run);
}

/// The pauses after failures, as they were armed.
fn pauses(run: &Run) -> Vec<u8> {
    run.acts
        .iter()
        .filter_map(|act| match act {
            Act::Arm(Timer::Retry(count)) => Some(*count),
            _ => None,
        })
        .collect()
}

fn assert_backs_off(run: &mut Run, what: &'static str, why: &str) {
    for _ in 1..14 {
        run.due(Timer::Retry(1));
    }
    let expected: Vec<u8> = (1..=14).map(|count: u8| count.min(RETRIES_MAX)).collect();
    assert_eq!(pauses(run), expected);
    let why = why.to_owned();
    let refused = Report::Refused { what, why };
    assert_eq!(run.reports.iter().filter(|report| **report == refused).count(), 1);
}

fn refuse(run: &mut Run, name: &'static str) {
    for _ in 0..20 {
        run.world.fail.push((name, refused(), Applied::No));
    }
}

#[test]
fn found_s5_a_give_back_that_is_refused_backs_off_and_is_said() {
    let mut run = agent();
    run.reach_reboot();
    run.boot();
    refuse(&mut run, "give back");
    run.acts.clear();
    run.due(Timer::Soak);
    assert_backs_off(&mut run, "give the cordon back", "policy: not this");

    let mut run = agent();
    run.wish();
    refuse(&mut run, "give back");
    run.acts.clear();
    run.due(Timer::Drain);
    assert_backs_off(&mut run, "give the cordon back", "policy: not this");

    // And of a hold that was lost, which a process that starts gives back.
    let mut run = agent();
    run.wish();
    run.world.strip();
    refuse(&mut run, "give back");
    run.acts.clear();
    run.restart();
    assert_backs_off(&mut run, "give the cordon back", "policy: not this");
}

#[test]
fn found_s5_a_lock_that_cannot_be_read_backs_off_and_is_said() {
    // By a process that starts, and by one that releases.
    let begins: [(Deed, &str); 2] = [
        (Run::restart, "read the lock"),
        (|run| run.due(Timer::Drain), "release the lock"),
    ];
    for (begin, what) in begins {
        let mut run = agent();
        run.wish();
        run.world.unreadable = Some("a comma too many");
        run.acts.clear();
        begin(&mut run);
        assert_backs_off(&mut run, what, "a comma too many");
        run.world.unreadable = None;
        run.due(Timer::Retry(1));
        assert!(run.is_clean() || run.world.phase() == Some(Phase::Draining));
    }
}

#[test]
fn found_s5_a_refused_stamp_is_said_at_once() {
    let mut run = agent();
    refuse(&mut run, "wanted");
    run.wish();
    let refused = Report::Refused {
        what: "stamp the wish",
        why: "policy: not this".to_owned(),
    };
    assert!(run.reports.contains(&refused));
    // It is looked for again, and said once.
    run.due(Timer::CheckSentinel);
    run.wish();
    assert_eq!(run.reports.iter().filter(|report| **report == refused).count(), 1);
}

#[test]
fn found_s5_until_is_renewed_while_the_give_back_is_refused() {
    let mut run = agent();
    run.reach_reboot();
    run.boot();
    refuse(&mut run, "give back");
    run.due(Timer::Soak);
    run.acts.clear();
    drop(run.news());
    for _ in 0..3 {
        run.due(Timer::Renew);
        assert_eq!(run.news(), "read node,renew,give back");
    }
    // A renewal that lands is not what was wanted: the pauses grow on.
    assert_eq!(pauses(&run), [2, 3, 4]);
    run.world.fail.clear();
    run.due(Timer::Retry(1));
    assert!(run.is_clean() && !run.world.node.spec.unschedulable);
}

/// A webhook answers 500 for some seconds, because our own drain evicted its pods; or nobody answers at all.
#[test]
fn found_p16_a_seal_that_is_refused_costs_neither_a_drain_nor_the_reboot() {
    for failure in [refused(), lost()] {
        for mut run in [agent(), aborting()] {
            run.reach_delay();
            for _ in 0..20 {
                run.world.fail.push(("sealed", failure.clone(), Applied::No));
            }
            drop(run.news());
            run.acts.clear();
            run.due(Timer::Delay);
            for _ in 0..20 {
                assert_eq!(run.news(), "list blockers,list pods,read lock,write lock,sealed");
                run.due(Timer::Retry(1));
            }
            assert_eq!(
                run.news(),
                "list blockers,list pods,read lock,write lock,sealed,reboot"
            );
            let expected: Vec<u8> = (1..=20).map(|count: u8| count.min(RETRIES_MAX)).collect();
            assert_eq!(pauses(&run), expected);
            let is_drain = |report: &&Report| {
                matches!(
                    report,
                    Report::Draining { .. } | Report::Disturbed { .. } | Report::CalledOff(_)
                )
            };
            assert_eq!(
                run.reports.iter().filter(is_drain).count(),
                1,
                "{:?}",
                run.reports
            );
            assert!(!run.world.rebooted_blindly());
        }
    }
    // Who refuses is said, in an Event too.
    let mut run = agent();
    run.reach_delay();
    refuse(&mut run, "sealed");
    run.acts.clear();
    run.due(Timer::Delay);
    assert_backs_off(&mut run, "seal the node", "policy: not this");
}

#[test]
fn found_p16_until_is_renewed_while_the_seal_is_refused() {
    let mut run = agent();
    run.reach_delay();
    refuse(&mut run, "sealed");
    run.due(Timer::Delay);
    drop(run.news());
    for _ in 0..3 {
        run.due(Timer::Renew);
        assert_eq!(run.news(), "renew");
        run.due(Timer::Retry(1));
        assert_eq!(run.news(), "list blockers,list pods,read lock,write lock,sealed");
    }
    // And what is seen meanwhile still counts.
    run.world.set_unschedulable(false);
    run.see();
    assert_eq!(run.world.phase(), Some(Phase::Draining));
}

/// Others write the Node all the time: the next look waits a while, and nothing is drained again.
#[test]
fn found_p16_a_seal_that_is_outrun_waits_and_costs_no_drain() {
    let mut run = agent();
    run.reach_delay();
    run.world.change(|_| ());
    run.acts.clear();
    run.due(Timer::Delay);
    for _ in 1..SEAL_TRIES_MAX {
        run.world.change(|_| ());
        assert!(run.see_next());
    }
    assert_eq!(pauses(&run), Vec::<u8>::new());
    run.see();
    assert_eq!(pauses(&run), [1]);
    assert_eq!(run.world.phase(), Some(Phase::Delaying));
    run.due(Timer::Retry(1));
    assert!(run.rebooted() && !run.world.rebooted_blindly());
    let drains = run
        .reports
        .iter()
        .filter(|report| matches!(report, Report::Draining { .. }));
    assert_eq!(drains.count(), 1);
}

/// Two budgets on one pod: no try will ever succeed.
#[test]
fn found_p18_a_pod_that_can_never_be_evicted_calls_the_reboot_off() {
    let why = "default/web: This pod has more than one PodDisruptionBudget".to_owned();
    let mut run = agent();
    run.wish();
    run.feed(Input::Event(Event::Drain(DrainNews::Unevictable(why.clone()))));
    assert_eq!(run.called_off(), Some(&CallOff::Unevictable(why.clone())));
    assert!(run.is_clean() && !run.world.node.spec.unschedulable && run.world.lock.entries.is_empty());

    // Whoever forces the reboot has said how long the drain may try.
    let mut run = Run::new(Settings {
        force_reboot: true,
        ..policy()
    });
    run.wish();
    run.feed(Input::Event(Event::Drain(DrainNews::Unevictable(why))));
    assert_eq!(
        (run.called_off(), run.world.phase()),
        (None, Some(Phase::Draining))
    );
    run.due(Timer::Drain);
    run.due(Timer::Delay);
    assert!(run.rebooted());
}

#[test]
fn found_p4_the_final_check_leaves_out_what_the_drain_left_and_a_new_drain_begins_anew() {
    let owner = || BTreeSet::from(["ReplicaSet kube-system/operator".to_owned()]);
    let mut run = agent();
    run.wish();
    run.feed(Input::Event(Event::Drain(DrainNews::Drained(owner()))));
    assert!(run.reports.contains(&Report::PodsKept(owner())));
    let asked = run.feed_until(Input::Event(Event::Due(Timer::Delay)), "list pods");
    assert_eq!(asked, Some(Ask::ListPods(owner())));
    // A pod that it does not leave out: another drain, in which nobody has put anything back yet.
    run.feed(Input::Answer(Answer::PodsLeft(Ok(vec![
        "default/web".to_owned(),
    ]))));
    run.feed(Input::Event(Event::Drain(DrainNews::Drained(BTreeSet::new()))));
    let asked = run.feed_until(Input::Event(Event::Due(Timer::Delay)), "list pods");
    assert_eq!(asked, Some(Ask::ListPods(BTreeSet::new())));
}
