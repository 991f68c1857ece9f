//! LAST-WISH on the agent's side: an uncordon that the webhook has deferred is done when the hold ends, however it ends.
//!
//! Most nodes here were cordoned by an admin before, so only the deferred uncordon can make them schedulable.
//! Not here: which uncordon is deferred ([`crate::admission`]).

use super::*;
use crate::hold::DeferredUncordon;

/// An end of a hold.
type End = fn(&mut Run);

/// Who asks for the uncordon.
const USER: &str = "system:serviceaccount:gpu-operator:nvidia-driver";

/// A node that an admin had cordoned, and that drains.
fn draining() -> Run {
    draining_where_it_was(true)
}

/// A node that drains, and that was cordoned before or not.
fn draining_where_it_was(is_cordoned: bool) -> Run {
    let mut run = agent();
    run.world.set_unschedulable(is_cordoned);
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    run
}

/// Each end of a hold, from the drain on.
const ENDS: [(&str, End); 14] = [
    ("after a boot", |run| {
        run.drain();
        run.due(Timer::Delay);
        run.boot_and_return();
    }),
    ("undone", |run| run.due(Timer::Drain)),
    ("cancelled", |run| {
        run.world.cancel("no");
        run.see();
    }),
    ("cancelled in another process", |run| {
        run.world.cancel("no");
        run.restart();
    }),
    ("no longer wanted", |run| {
        run.drain();
        run.world.reboot = Err(RebootFailure::Failed("exit status 1".to_owned()));
        run.world.host.shutdown = Shutdown::UnderWay;
        run.due(Timer::Delay);
        run.feed(Input::Event(Event::Sentinel(None)));
        run.world.host.shutdown = Shutdown::No;
        run.due(Timer::Host);
    }),
    ("marks lost", |run| {
        strip_marks(run);
        run.see();
    }),
    ("marks lost, by the host's record", |run| {
        strip_marks(run);
        run.restart();
    }),
    ("marks lost, by the lock entry", |run| {
        run.world.host.record = None;
        strip_marks(run);
        run.restart();
    }),
    ("marks lost, under another hold", |run| {
        let other = format!("{}/2026-11-23T09:00:00Z", run.world.node.metadata.uid);
        run.world.plant(&[(keys::HOLDER, &other)]);
        run.restart();
    }),
    ("marks lost while the host was down", |run| {
        run.drain();
        run.due(Timer::Delay);
        strip_marks(run);
        run.boot();
    }),
    ("no entry", |run| {
        run.world.change_lock(Vec::clear);
        run.restart();
    }),
    ("after a boot, by the marks alone", |run| {
        run.drain();
        run.due(Timer::Delay);
        run.world.change_lock(Vec::clear);
        run.boot_and_return();
    }),
    ("the give-back conflicts", |run| {
        let undo = run.feed_until(Input::Event(Event::Due(Timer::Drain)), "give back");
        run.world.change(|_| ());
        run.send(undo);
    }),
    ("the give-back is finished by another process", |run| {
        drop(run.feed_until(Input::Event(Event::Due(Timer::Drain)), "give back"));
        run.world.host.record = run.world.host.record.take().map(|record| HostRecord {
            phase: None,
            ..record
        });
        run.restart();
    }),
];

/// Somebody takes off the marks and nothing else; the webhook is down.
fn strip_marks(run: &mut Run) {
    run.world.change(|node| {
        for key in keys::MARK_ANNOTATIONS {
            drop(node.metadata.annotations.remove(key));
        }
        drop(node.metadata.labels.remove(keys::PHASE));
        node.spec.taints.retain(|taint| taint.key != keys::REBOOTING);
    });
}

fn was_given_back_for(run: &Run, user: Option<&str>) -> bool {
    let wanted_by = user.map(str::to_owned);
    let is_it =
        |report: &Report| matches!(report, Report::GivenBack { wanted_by: by, .. } if *by == wanted_by);
    run.reports.iter().any(is_it)
}

#[test]
fn last_wish_a_deferred_uncordon_is_done_at_each_end_of_the_hold() {
    for (name, end) in ENDS {
        let mut run = draining();
        run.world.defer(USER);
        end(&mut run);
        assert!(run.is_clean() && run.cycle.is_idle(), "{name}");
        assert!(!run.world.node.spec.unschedulable, "{name}");
        assert_eq!(run.world.node.annotation(keys::UNCORDON_WANTED), None, "{name}");
        assert!(was_given_back_for(&run, Some(USER)), "{name}: {:?}", run.reports);
    }
}

#[test]
fn cordon_given_back_at_each_end_of_a_hold_for_which_nobody_asked_for_an_uncordon() {
    for (name, end) in ENDS {
        let mut run = draining();
        end(&mut run);
        assert!(run.is_clean() && run.world.node.spec.unschedulable, "{name}");
        assert!(!was_given_back_for(&run, Some(USER)), "{name}");
    }
}

#[test]
fn last_wish_keep_cordoned_comes_before_a_deferred_uncordon() {
    for (name, end) in ENDS {
        let mut run = draining();
        run.world.defer(USER);
        run.world.annotate(keys::KEEP_CORDONED, "disk");
        end(&mut run);
        assert!(run.is_clean() && run.world.node.spec.unschedulable, "{name}");
        assert_eq!(run.world.node.annotation(keys::UNCORDON_WANTED), None, "{name}");
        assert!(!was_given_back_for(&run, Some(USER)), "{name}");
    }
}

#[test]
fn last_wish_an_uncordon_that_was_deferred_between_the_decision_and_the_write_is_read_anew() {
    let mut run = draining();
    let undo = run.feed_until(Input::Event(Event::Due(Timer::Drain)), "give back");
    drop(run.news());
    run.world.defer(USER);
    run.send(undo);
    assert_eq!(run.news(), "give back lost,watch,give back,read lock,write lock");
    assert!(run.is_clean() && !run.world.node.spec.unschedulable);
}

#[test]
fn last_wish_a_node_that_was_deleted_takes_its_deferred_uncordon_with_it() {
    let mut run = draining();
    run.world.defer(USER);
    run.see();
    run.world.recreate();
    run.world.set_unschedulable(true);
    let mut restarted = run.clone();
    run.see();
    restarted.restart();
    for run in [run, restarted] {
        assert!(run.is_clean() && run.cycle.is_idle() && run.world.node.spec.unschedulable);
    }
}

#[test]
fn last_wish_a_wish_for_a_reboot_defers_no_uncordon_and_no_hold_inherits_one() {
    for is_cordoned in [false, true] {
        let mut run = agent();
        run.world.set_unschedulable(is_cordoned);
        // As an earlier hold has left it.
        let earlier = "2026-11-23T09:00:00Z - jo";
        run.world.annotate(keys::UNCORDON_WANTED, earlier);
        let cordon = run.wish_until("draining");
        assert_eq!(run.world.node.annotation(keys::UNCORDON_WANTED), None);
        // Somebody writes one while the webhook is down.
        run.world.defer("jo");
        run.send(cordon);
        assert_eq!(run.world.phase(), Some(Phase::Draining));
        assert_eq!(run.world.node.annotation(keys::UNCORDON_WANTED), None);
        run.due(Timer::Drain);
        assert!(run.is_clean() && run.world.node.spec.unschedulable == is_cordoned);
        assert!(!was_given_back_for(&run, Some("jo")));
    }
    // The wish ends without a hold.
    let mut run = agent();
    run.world.set_unschedulable(true);
    drop(run.wish_until("read lock"));
    run.world.defer("jo");
    run.restart();
    run.world.cancel("no");
    run.see();
    assert!(run.is_clean() && run.world.node.spec.unschedulable);
    assert_eq!(run.world.node.annotation(keys::UNCORDON_WANTED), None);
}

#[test]
fn last_wish_where_forged_marks_made_the_webhook_defer_an_uncordon_it_is_done() {
    // On an idle agent's node.
    let mut run = agent();
    run.world.set_unschedulable(true);
    let forged = format!("{}/2026-11-23T09:00:00Z", run.world.node.metadata.uid);
    run.world
        .plant(&[(keys::HOLDER, &forged), (keys::PHASE, "draining")]);
    run.world.defer(USER);
    run.see();
    assert!(run.is_clean() && !run.world.node.spec.unschedulable);
    assert!(was_given_back_for(&run, Some(USER)));
    // Over a wish for a reboot, so that the webhook takes the node for held.
    let mut run = agent();
    run.world.set_unschedulable(true);
    drop(run.wish_until("read lock"));
    run.restart();
    run.world.label("draining");
    run.world.defer(USER);
    run.see();
    assert!(run.is_clean() && !run.world.node.spec.unschedulable);
}

#[test]
fn last_wish_one_that_somebody_removes_is_still_done() {
    let seen = |run: &mut Run| {
        run.world.defer(USER);
        run.see();
    };
    let removed: [(&str, End); 4] = [
        ("this process remembers it", |run| {
            run.world.strip_deferred();
            run.see();
            run.due(Timer::Drain);
        }),
        ("the host's record has it", |run| {
            run.due(Timer::Renew);
            run.world.strip_deferred();
            run.restart();
            run.due(Timer::Drain);
        }),
        ("the lock entry has it", |run| {
            run.drain();
            run.due(Timer::Delay);
            run.world.strip_deferred();
            run.boot_and_return();
        }),
        ("the lock entry alone has it", |run| {
            run.drain();
            run.due(Timer::Delay);
            run.world.strip();
            run.boot();
        }),
    ];
    for (name, end) in removed {
        let mut run = draining();
        seen(&mut run);
        end(&mut run);
        assert!(run.is_clean() && run.cycle.is_idle(), "{name}");
        assert!(!run.world.node.spec.unschedulable, "{name}");
        assert!(was_given_back_for(&run, Some(USER)), "{name}");
    }
}

#[test]
fn last_wish_the_first_stays_in_every_memory_and_is_told_once() {
    let mut run = draining();
    run.world.defer(USER);
    run.see();
    let first = run
        .world
        .node
        .annotation(keys::UNCORDON_WANTED)
        .map(str::to_owned);
    run.world.defer("another");
    run.see();
    run.drain();
    assert_eq!(run.world.host.record.as_ref().unwrap().uncordon_wanted, first);
    run.restart();
    run.drain();
    run.due(Timer::Delay);
    assert_eq!(Some(&run.world.lock.entries[0].uncordon_wanted), first.as_ref());
    run.boot_and_return();
    let told = run
        .reports
        .iter()
        .filter(|report| report.event() == "uncordon_deferred");
    let told: Vec<&Report> = told.collect();
    let uncordon = DeferredUncordon::parse(&first.unwrap()).unwrap();
    assert_eq!(told, [&Report::UncordonDeferred(uncordon)]);
    assert!(was_given_back_for(&run, Some(USER)));
}

#[test]
fn last_wish_a_deferred_uncordon_is_no_disturbance() {
    for on_uncordon in [OnUncordon::Redrain, OnUncordon::Abort] {
        let mut run = Run::new(Settings {
            on_uncordon,
            redrains_max: 0,
            ..policy()
        });
        run.reach_delay();
        run.world.defer(USER);
        run.see();
        assert_eq!(run.world.phase(), Some(Phase::Delaying));
        drop(run.news());
        // Asked again between the last version that the watch has shown and the seal.
        let seal = run.feed_until(Input::Event(Event::Due(Timer::Delay)), "sealed");
        run.world.defer("another");
        run.send(seal);
        assert_eq!(
            run.news(),
            "list blockers,list pods,read lock,write lock,sealed lost"
        );
        run.see();
        assert_eq!(run.news(), "sealed,reboot");
        assert!(!run.world.rebooted_blindly() && run.called_off().is_none());
        let disturbed = |report: &Report| matches!(report, Report::Disturbed { .. });
        assert!(!run.reports.iter().any(disturbed));
    }
}

#[test]
fn a_renewal_writes_the_hosts_record_only_while_that_lacks_a_deferred_uncordon() {
    let mut run = draining();
    let recorded = |run: &mut Run| {
        run.world.host.record = None;
        run.due(Timer::Renew);
        run.world.host.record.is_some()
    };
    assert!(!recorded(&mut run), "there is nothing to record");
    run.world.defer(USER);
    run.see();
    run.world
        .fail
        .push(("renew", Failure::Refused("no space".to_owned()), Applied::No));
    assert!(recorded(&mut run));
    // The hold must not lapse because the record cannot be written.
    run.world.host.record = None;
    run.due(Timer::Retry(0));
    assert!(run.world.host.record.is_none());
    // Each that is refused calls for one of the other kind.
    let refused = || ("renew", Failure::Refused("no space".to_owned()), Applied::No);
    run.world.fail.extend([refused(), refused()]);
    assert!(recorded(&mut run), "the refused one may not have been written");
    run.world.host.record = None;
    run.due(Timer::Retry(0));
    assert!(run.world.host.record.is_none());
    run.due(Timer::Retry(0));
    assert!(run.world.host.record.is_some());
    assert!(!recorded(&mut run), "it is there");
}

#[test]
fn a_deferred_uncordon_without_effect_is_told() {
    let mut run = draining();
    let ignored = |run: &mut Run, text: &str| {
        run.world.annotate(keys::UNCORDON_WANTED, text);
        hold::ignored(&run.world.node)
    };
    for (text, why) in [
        ("now please", "is not '<created> <time or -> <user>'"),
        ("2026-11-23T09:00:00Z - jo", "of jo names another hold"),
    ] {
        let told = ignored(&mut run, text).unwrap().to_string();
        assert!(
            told.contains(why) && told.ends_with("kubectl uncordon a"),
            "{told}"
        );
        run.see();
        run.due(Timer::Renew);
        assert_eq!(run.world.host.record.as_ref().unwrap().uncordon_wanted, None);
    }
    let created = hold::read(&run.world.node).present().unwrap().holder.created;
    assert_eq!(ignored(&mut run, &format!("{created} - jo")), None);
    run.world.label("wanted");
    let told = ignored(&mut run, &format!("{created} - jo")).unwrap();
    assert!(told.why.contains("does not hold the node yet"), "{told}");
}

/// The webhook lets an uncordon of a lapsed hold pass, and notes it in the same write.
fn is_uncordoned_as_lapsed(run: &mut Run) {
    let created = hold::read(&run.world.node).present().unwrap().holder.created;
    run.world
        .annotate(keys::UNCORDON_WANTED, &format!("{created} done:- {USER}"));
    run.world.set_unschedulable(false);
}

#[test]
fn last_wish_an_uncordon_of_a_lapsed_hold_is_not_undone_at_the_end() {
    // The agent comes to life again while the node is schedulable, or after somebody has cordoned it.
    for is_cordoned in [false, true] {
        let ends: [(&str, End); 3] = [
            ("the process goes on", |run| {
                while run.see_next() {}
                run.drain();
                run.due(Timer::Delay);
                run.boot_and_return();
            }),
            ("another process goes on", |run| {
                run.restart();
                run.drain();
                run.due(Timer::Delay);
                run.boot_and_return();
            }),
            ("the host has booted meanwhile", |run| run.boot_and_return()),
        ];
        for (name, end) in ends {
            for (was, is_deferred_before) in [(true, false), (true, true), (false, false), (false, true)] {
                let mut run = draining_where_it_was(was);
                if is_deferred_before {
                    run.world.defer(USER);
                    run.see();
                    run.due(Timer::Renew);
                }
                is_uncordoned_as_lapsed(&mut run);
                if is_cordoned {
                    run.world.set_unschedulable(true);
                }
                end(&mut run);
                assert!(run.is_clean() && run.cycle.is_idle(), "{name}");
                let what =
                    format!("{name}, was {was}, cordoned {is_cordoned}, deferred {is_deferred_before}");
                assert_eq!(run.world.node.spec.unschedulable, is_cordoned, "{what}");
            }
        }
    }
}
