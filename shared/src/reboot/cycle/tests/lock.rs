//! The lock as a waiter sees it: how many nodes may reboot, who is in the way, and what is reported.

use super::*;

const EARLIER: &str = "2026-11-23T09:00:00Z";

/// An agent on `a` with this policy, beside other nodes.
fn among(names: &[&str], policy: Settings) -> Run {
    let mut run = Run::new(policy);
    for name in names {
        drop(run.world.peers.insert((*name).to_owned(), World::new(name).node));
    }
    run
}

fn percent(percent: u8) -> Settings {
    Settings {
        concurrency: Share::Percent(percent),
        ..policy()
    }
}

/// Another node takes the lock and is drained.
fn reboots(run: &mut Run, name: &str) {
    let entry = Entry::new(name, &format!("uid-{name}"), EARLIER, false);
    run.world.change_lock(|entries| entries.push(entry));
    drop(
        run.world
            .peers
            .insert(name.to_owned(), peer(name, EARLIER, Phase::Draining)),
    );
}

fn is_not_ready(run: &mut Run, name: &str, since: &str) {
    let node = run.world.peers.get_mut(name).unwrap();
    let ready = &mut node.status.conditions[0];
    (ready.status, ready.since) = ("Unknown".to_owned(), since.to_owned());
}

#[test]
fn a_percentage_is_of_the_pool_as_it_is_when_the_lock_is_acquired() {
    let mut run = among(&["b", "c", "d"], percent(50));
    reboots(&mut run, "b");
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Draining), "two of four");
    assert_eq!(run.world.lock.max_owners, Some(2));

    let mut run = among(&["b", "c"], percent(50));
    reboots(&mut run, "b");
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Wanted), "one of three");
    // A node more, and somebody's release, which is when it is counted again.
    drop(run.world.peers.insert("d".to_owned(), World::new("d").node));
    run.world.change_lock(Vec::clear);
    drop(run.world.peers.insert("b".to_owned(), World::new("b").node));
    run.due(Timer::Poll);
    assert_eq!(run.world.phase(), Some(Phase::Draining));
}

#[test]
fn a_percentage_of_a_small_pool_is_one_node() {
    let mut run = among(&["b"], percent(10));
    reboots(&mut run, "b");
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Wanted));
    run.world.peers.clear();
    run.due(Timer::Poll);
    assert_eq!(run.world.phase(), Some(Phase::Draining));
}

#[test]
fn a_full_lock_counts_the_pool_once() {
    let mut run = among(&["b", "c", "d"], percent(25));
    reboots(&mut run, "b");
    run.wish();
    assert_eq!(run.news(), "read node,wanted,read lock,read peer,count pool");
    run.due(Timer::Poll);
    assert_eq!(run.news(), "read lock,read peer");
}

#[test]
fn no_reboot_begins_while_too_many_nodes_are_not_ready() {
    let strict = || Settings {
        concurrency: Share::Count(3),
        ..policy()
    };
    let among = |peers, policy, share| {
        let mut run = among(peers, policy);
        run.world.rules.max_unavailable = Some(share);
        run
    };
    let mut run = among(&["b", "c"], strict(), Share::Count(1));
    is_not_ready(&mut run, "b", "");
    is_not_ready(&mut run, "c", "");
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Wanted));
    let unready = BTreeSet::from(["b".to_owned(), "c".to_owned()]);
    let report = Report::Blocked(vec![Blocker::Unavailable { unready, allowed: 1 }]);
    assert!(run.reports.contains(&report), "{:?}", run.reports);
    drop(run.world.peers.remove("c"));
    run.due(Timer::Poll);
    assert_eq!(run.world.phase(), Some(Phase::Draining));

    // Those in a reboot are the lock's to count, and our own node may need just that reboot.
    let mut run = among(&["b", "c"], strict(), Share::Count(1));
    run.world.change(|node| node.status.conditions.clear());
    reboots(&mut run, "b");
    is_not_ready(&mut run, "b", "");
    is_not_ready(&mut run, "c", "");
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Draining));

    // A share of nothing is none.
    let mut run = among(&["b"], policy(), Share::Percent(10));
    is_not_ready(&mut run, "b", "");
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Wanted));
}

#[test]
fn nothing_stuck_a_dead_holder_stops_the_line_and_says_so() {
    let mut run = among(&["b"], policy());
    reboots(&mut run, "b");
    is_not_ready(&mut run, "b", "2026-11-23T09:10:00Z");
    run.wish();
    assert!(run.acts.contains(&Act::Arm(Timer::Stall)));
    for _ in 0..2 {
        run.reports.clear();
        run.due(Timer::Stall);
        let looks = vec![
            "b since 2026-11-23T09:00:00Z: its Node is not Ready since 2026-11-23T09:10:00Z, draining"
                .to_owned(),
        ];
        assert_eq!(run.reports, [Report::LockStalled(looks)]);
    }
    assert_eq!(run.world.phase(), Some(Phase::Wanted), "it keeps its place");
    // The same holders do not begin the wait anew; others do.
    run.acts.clear();
    run.due(Timer::Poll);
    assert!(!run.acts.contains(&Act::Arm(Timer::Stall)));
    // Its Node is deleted, and its place is free at the next look.
    run.world.peers.clear();
    run.due(Timer::Poll);
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    assert!(run.acts.contains(&Act::Disarm(Timer::Stall)));
}

#[test]
fn who_else_stands_in_the_way_is_named_too() {
    let mut run = agent();
    run.world
        .change_lock(|entries| entries.push(Entry::new("manual", "", "", false)));
    run.wish();
    run.due(Timer::Stall);
    let looks = vec!["manual: the lock was taken by hand".to_owned()];
    assert!(run.reports.contains(&Report::LockStalled(looks)));

    let mut run = among(&["b"], policy());
    reboots(&mut run, "b");
    run.world.change_lock(Vec::clear);
    run.wish();
    run.due(Timer::Stall);
    let looks = vec!["b: its Node is held, and the lock has no entry for it".to_owned()];
    assert!(run.reports.contains(&Report::LockStalled(looks)));
}

#[test]
fn many_holders_are_looked_up_by_one_list() {
    let names: Vec<String> = (0..20).map(|number| format!("node-{number}")).collect();
    let mut run = Run::new(Settings {
        concurrency: Share::Count(20),
        ..policy()
    });
    for name in &names {
        reboots(&mut run, name);
    }
    run.wish();
    assert_eq!(run.news(), "read node,wanted,read lock,list held");
    assert_eq!(run.world.phase(), Some(Phase::Wanted));
    // One is gone: only that one is read.
    drop(run.world.peers.remove("node-7"));
    run.due(Timer::Poll);
    assert_eq!(
        run.news(),
        "read lock,list held,read peer,list held,list blockers,write lock,draining"
    );
    assert!(run.world.lock.entries.iter().all(|entry| entry.node != "node-7"));
}

/// Its proof tells. On a Lease nobody but an agent writes entries, so one without a proof is nobody's.
#[test]
fn at_most_n_an_acquire_without_an_answer_has_landed_if_the_entry_has_its_proof() {
    let again = "read lock,list held,list blockers,write lock,draining";
    for (applied, is_planted, news) in [
        (Applied::Yes, false, "read lock,draining"),
        (Applied::No, false, again),
        (Applied::No, true, again),
    ] {
        let mut run = agent();
        let lost = Failure::Unknown("timeout".to_owned());
        run.world.fail.push(("write lock", lost, applied));
        run.wish();
        if is_planted {
            let created = hold::read(&run.world.node).present().unwrap().holder.created;
            let planted = Entry::new("a", "uid-a", &created, false);
            run.world.change_lock(|entries| entries.push(planted));
        }
        drop(run.news());
        run.due(Timer::Retry(1));
        assert_eq!(run.news(), news, "{is_planted}");
    }
}

#[test]
fn up_to_eight_holders_are_looked_up_one_by_one() {
    let mut run = Run::new(Settings {
        concurrency: Share::Count(8),
        ..policy()
    });
    for number in 0..8 {
        reboots(&mut run, &format!("node-{number}"));
    }
    run.wish();
    let peers = ["read peer"; 8].join(",");
    assert_eq!(run.news(), format!("read node,wanted,read lock,{peers}"));
}

/// What a write of the lock says of used requests, when a request asks for the reboot.
#[test]
fn a_request_is_noted_as_used_on_kureds_daemon_set_too() {
    for carrier in [Carrier::Lease, Carrier::DaemonSet] {
        let mut run = agent();
        run.world.carrier = carrier;
        let wanted = requested(&run, run.world.now);
        let Some(Ask::WriteLock(write)) = run.feed_until(wanted, "write lock") else {
            panic!("{:?}", run.world.log)
        };
        assert!(write.uses.is_some(), "{carrier:?}");
    }
}

/// It is later than the wish by more than a clock may be wrong, so the Node alone does not tell that it was cancelled too.
#[test]
fn a_cancel_uses_a_request_that_came_long_after_the_wish() {
    let mut run = agent();
    run.world
        .change_lock(|entries| entries.push(Entry::new("manual", "", "", false)));
    run.wish();
    let at = run
        .world
        .now
        .checked_add(jiff::SignedDuration::from_hours(2))
        .unwrap();
    let wanted = requested(&run, at);
    run.feed(wanted);
    run.world.cancel("enough");
    run.see();
    assert!(matches!(run.called_off(), Some(CallOff::Cancelled(_))));
    assert_eq!(run.cycle.used_up_to(), Some(at));
}

fn requested(run: &Run, at: jiff::Timestamp) -> Input {
    let request = RebootRequest {
        at,
        reason: "jo: a new kernel".to_owned(),
    };
    let created = format!("{:.9}", run.world.now);
    Input::Event(Event::Sentinel(Some(Wanted {
        request: Some(request),
        ..Wanted::by_host(created)
    })))
}

#[test]
fn a_node_that_left_its_pool_begins_no_reboot() {
    let mut run = Run::new(Settings {
        pool: "zone=b".parse().unwrap(),
        ..policy()
    });
    run.wish();
    assert!(run.reports.contains(&Report::NotInPool));
    assert_eq!(run.world.phase(), None);
    drop(
        run.world
            .node
            .metadata
            .labels
            .insert("zone".to_owned(), "b".to_owned()),
    );
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Draining));
}

#[test]
fn a_wish_that_waited_for_the_pool_looks_at_the_sentinel_again_once_the_node_joins_it() {
    let pool = || Settings {
        pool: "zone=b".parse().unwrap(),
        ..policy()
    };
    let joins = |run: &mut Run| {
        run.acts.clear();
        let label = ("zone".to_owned(), "b".to_owned());
        run.world.change(|node| node.metadata.labels.extend([label]));
        run.see();
        run.acts.contains(&Act::Arm(Timer::CheckSentinel))
    };
    let mut waiting = Run::new(pool());
    waiting.wish();
    waiting.acts.clear();
    waiting.world.annotate("example.org/note", "x");
    waiting.see();
    assert!(
        !waiting.acts.contains(&Act::Arm(Timer::CheckSentinel)),
        "it is not in the pool yet"
    );
    assert!(joins(&mut waiting));
    // Nothing waited for it.
    assert!(!joins(&mut Run::new(pool())));
    let mut withdrawn = Run::new(pool());
    withdrawn.wish();
    withdrawn.feed(Input::Event(Event::Sentinel(None)));
    assert!(!joins(&mut withdrawn));
}

#[test]
fn cordon_given_back_an_entry_of_the_node_before_says_nothing_about_this_one() {
    let mut run = agent();
    run.reach_delay();
    run.world.recreate();
    // An admin cordons the new Node before the agent starts again.
    run.world.set_unschedulable(true);
    run.restart();
    assert!(run.is_clean() && run.cycle.is_idle());
    assert!(run.world.node.spec.unschedulable, "it is the admin's");
}

#[test]
fn a_node_that_was_created_anew_is_not_held_while_the_entry_of_the_node_before_is_still_there() {
    let mut run = agent();
    run.reach_delay();
    assert!(matches!(run.cycle.held(), Held::By(..)));
    run.world.recreate();
    let failure = Failure::Unknown("no answer".to_owned());
    run.world.fail.push(("write lock", failure, Applied::No));
    drop(run.news());
    run.see();
    assert!(run.news().ends_with("write lock") && !run.cycle.is_idle());
    assert_eq!(run.cycle.held(), Held::Nothing);
    run.due(Timer::Retry(1));
    assert!(run.is_clean() && run.cycle.is_idle());
}

#[test]
fn at_most_n_a_lock_that_went_elsewhere_is_no_entry_of_ours() {
    // The object that carried it was deleted, and with --lock-on=auto another carries it now.
    let mut run = agent();
    run.reach_delay();
    run.world.change_lock(Vec::clear);
    run.due(Timer::Delay);
    assert_eq!(run.called_off(), Some(&CallOff::EntryLost));
    assert!(run.is_clean() && !run.rebooted());
}

#[test]
fn cordon_given_back_an_entry_left_in_a_lock_that_moved_speaks_once() {
    let mut run = agent();
    run.reach_delay();
    let left_behind = run.world.lock.entries.clone();
    run.world.change_lock(Vec::clear);
    run.due(Timer::Delay);
    // The next hold, under the lock where it is now, reboots and gives back.
    run.due(Timer::Backoff);
    run.world.pods.push("default/web".to_owned());
    run.reach_reboot();
    run.boot_and_return();
    // The lock is back where it was, and the agent starts again.
    run.world.change_lock(|entries| *entries = left_behind);
    let mut cordoned = run.clone();
    run.restart();
    assert!(run.is_clean() && run.cycle.is_idle());
    // An admin's new cordon looks like one of ours whose marks were lost. Only the proof of the give-back tells them apart, and
    // that hold is long over. So the cordon is taken for ours, once, and the entry goes.
    cordoned.world.set_unschedulable(true);
    cordoned.restart();
    assert!(cordoned.is_clean() && cordoned.cycle.is_idle());
    assert!(!cordoned.world.node.spec.unschedulable);
    cordoned.world.set_unschedulable(true);
    cordoned.restart();
    assert!(cordoned.is_clean() && cordoned.world.node.spec.unschedulable);
}
