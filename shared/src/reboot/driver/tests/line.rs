//! How often a waiter looks at a lock that others have, and when it looks away.

use super::standing::{go_on, locked_by, wanting};
use super::*;
use crate::backoff::retry_pause;

/// When the lock was taken, each time.
const TAKEN: &str = "1970-01-01T00:00:00Z";
/// Longer than any turn.
const TURN: Duration = Duration::from_millis(600);

/// A waiter whose watch has shown the lock that `a` has, and which has read it.
fn waiting() -> Shell {
    let mut shell = wanting();
    locked_by(&mut shell, &[("a", TAKEN)]);
    go_on(&mut shell);
    show(&mut shell);
    assert!(shell.driver.cycle().is_waiting(), "{:?}", shell.log);
    shell.log.clear();
    shell
}

/// A node that asks for a reboot from its start, and looks at the sentinel each second.
fn looking_each_second() -> Shell {
    let mut setup = setup();
    setup.timing.period = Duration::from_secs(1);
    let mut shell = Shell::new(setup);
    shell.is_wanted = true;
    shell
}

/// The watch of the lock shows it as it is.
fn tell(shell: &mut Shell) {
    let lease = shell.lease();
    shell.observed(Observed::Lock(Change::Present(lease)));
}

/// It does, and the waiter goes on.
fn show(shell: &mut Shell) {
    tell(shell);
    go_on(shell);
}

/// Another node takes the lock, right after the one before has released it.
fn passes_to(shell: &mut Shell, node: &str) {
    locked_by(shell, &[(node, TAKEN)]);
    show(shell);
}

fn pass(shell: &mut Shell, times: usize) {
    for time in 0..times {
        passes_to(shell, &format!("b{time}"));
    }
}

fn is_watching(shell: &Shell) -> bool {
    shell.driver.epoch(Source::Lock).is_some()
}

/// Goes on at the next moment at which the driver wants to.
fn wake(shell: &mut Shell) {
    shell.now = shell
        .driver
        .next_wake(shell.now)
        .expect("nothing brings the waiter back");
    go_on(shell);
}

fn lock_reads(shell: &Shell) -> usize {
    shell.log.iter().filter(|call| *call == "ReadLock").count()
}

/// Once its turn is over, the waiter takes the lock.
fn assert_takes_the_lock(shell: &mut Shell) {
    shell.now += TURN;
    go_on(shell);
    assert!(
        shell.log.iter().any(|call| call == "PatchLock"),
        "{:?}",
        shell.log
    );
}

#[test]
fn a_lock_that_passes_from_one_node_to_another_is_not_read() {
    let mut shell = waiting();
    pass(&mut shell, 3);
    shell.now += TURN;
    go_on(&mut shell);
    assert_eq!(shell.log, [""; 0]);
}

#[test]
fn a_lock_that_is_free_is_read_after_a_turn() {
    let mut shell = waiting();
    locked_by(&mut shell, &[]);
    show(&mut shell);
    assert_eq!(lock_reads(&shell), 0, "{:?}", shell.log);
    assert_takes_the_lock(&mut shell);
}

#[test]
fn a_turn_ends_when_another_node_takes_the_lock_first() {
    let mut shell = waiting();
    locked_by(&mut shell, &[]);
    show(&mut shell);
    passes_to(&mut shell, "b");
    shell.now += TURN;
    go_on(&mut shell);
    assert_eq!(shell.log, [""; 0]);
    // Yet the wait has a bound.
    wake(&mut shell);
    assert!(lock_reads(&shell) > 0, "{:?}", shell.log);
}

#[test]
fn a_lock_that_was_free_for_no_longer_than_a_look_took_is_not_read() {
    let mut shell = waiting();
    for holders in [&[][..], &[("b", TAKEN)]] {
        locked_by(&mut shell, holders);
        tell(&mut shell);
    }
    go_on(&mut shell);
    shell.now += TURN;
    go_on(&mut shell);
    assert_eq!(shell.log, [""; 0]);
}

#[test]
fn a_full_lock_whose_watch_is_silent_is_read_again_more_and_more_seldom() {
    let mut shell = waiting();
    let mut pauses = Vec::new();
    let mut last = shell.now;
    while pauses.len() < 8 {
        let reads = lock_reads(&shell);
        wake(&mut shell);
        if lock_reads(&shell) > reads {
            pauses.push(shell.now.since(last).as_secs());
            last = shell.now;
        }
    }
    let longest = [10, 20, 40, 80, 120, 120, 120, 120];
    for (pause, longest) in pauses.iter().zip(longest) {
        assert!((longest * 4 / 5 - 1..=longest).contains(pause), "{pauses:?}");
    }
}

#[test]
fn a_look_at_the_sentinel_that_shows_the_same_again_reads_no_full_lock() {
    let mut shell = looking_each_second();
    locked_by(&mut shell, &[("a", TAKEN)]);
    go_on(&mut shell);
    shell.log.clear();
    for _ in 0..5 {
        shell.now += Duration::from_secs(1);
        go_on(&mut shell);
    }
    assert_eq!(shell.log, ["LookAtSentinel"; 5]);
    // But one that shows something else is news.
    shell.is_wanted = false;
    shell.now += Duration::from_secs(1);
    go_on(&mut shell);
    assert!(shell.driver.cycle().is_idle(), "{:?}", shell.log);
}

#[test]
fn a_look_that_shows_the_same_again_reads_a_lock_that_has_room() {
    let mut shell = looking_each_second();
    let pause = (keys::PAUSE.to_owned(), String::new());
    shell.node.metadata.annotations.extend([pause]);
    go_on(&mut shell);
    assert!(shell.driver.cycle().is_waiting(), "{:?}", shell.log);
    show(&mut shell);
    for _ in 0..3 {
        shell.log.clear();
        shell.now += Duration::from_secs(1);
        go_on(&mut shell);
        assert!(lock_reads(&shell) > 0, "{:?}", shell.log);
    }
}

#[test]
fn a_lock_that_cannot_be_read_is_read_again_after_each_retry_and_not_in_between() {
    let mut shell = waiting();
    locked_by(&mut shell, &[]);
    tell(&mut shell);
    let mut reads = Vec::new();
    while reads.len() < 20 {
        reads.extend(fail_to_read(&mut shell));
        shell.now = shell.driver.next_wake(shell.now).unwrap();
    }
    let pauses: Vec<Duration> = reads.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    // By then the retries are at their longest, and the pause that ran before them is over.
    let longest = retry_pause(u32::MAX);
    for pause in &pauses[10..] {
        assert!((longest * 4 / 5..=longest).contains(pause), "{pauses:?}");
    }
    assert!(is_watching(&shell));
}

/// Goes on while no read of the lock has an answer. Returns when it was read.
fn fail_to_read(shell: &mut Shell) -> Vec<Uptime> {
    let mut reads = Vec::new();
    while let Some(call) = shell.next_call() {
        let reply = match call {
            Call::ReadLock(_) => {
                reads.push(shell.now);
                Reply::Lock(Err(Failed::unknown("a test".to_owned())))
            }
            call => shell.carry_out(call),
        };
        shell.replied(reply);
    }
    reads
}

/// Others take the lock until the waiter looks away. Returns how many.
fn pass_until_away(shell: &mut Shell) -> usize {
    let mut passed = 0;
    while is_watching(shell) {
        assert!(passed < 2 * PATIENCE, "it never looks away");
        passed += 1;
        passes_to(shell, &format!("b{passed}"));
    }
    passed
}

/// Waits until the waiter watches again. Returns how long that took.
fn come_back(shell: &mut Shell) -> Duration {
    let left = shell.now;
    while !is_watching(shell) {
        wake(shell);
    }
    shell.now.since(left)
}

#[test]
fn a_waiter_looks_away_once_many_nodes_have_taken_the_lock() {
    let mut shell = waiting();
    let passed = pass_until_away(&mut shell);
    assert!((PATIENCE..2 * PATIENCE).contains(&passed), "{passed}");
    // The reboots here take no time, so it is away for the shortest time at most.
    let away = come_back(&mut shell);
    assert!(away <= Duration::from_secs(2), "{away:?}");
    assert_eq!(lock_reads(&shell), 0, "{:?}", shell.log);
    // Then one is enough.
    show(&mut shell);
    assert_eq!(pass_until_away(&mut shell), 1);
}

#[test]
fn a_waiter_that_comes_back_to_a_free_lock_takes_it() {
    let mut shell = waiting();
    let _: usize = pass_until_away(&mut shell);
    locked_by(&mut shell, &[]);
    let _: Duration = come_back(&mut shell);
    show(&mut shell);
    assert_takes_the_lock(&mut shell);
}

#[test]
fn a_waiter_that_comes_back_reads_the_lock_even_if_the_watch_stays_silent() {
    let mut shell = waiting();
    let _: usize = pass_until_away(&mut shell);
    let _: Duration = come_back(&mut shell);
    let since = shell.now;
    for _ in 0..5 {
        if lock_reads(&shell) == 0 {
            wake(&mut shell);
        }
    }
    assert!(lock_reads(&shell) > 0, "{:?}", shell.log);
    assert!(
        shell.now.since(since) <= Duration::from_secs(10),
        "{:?}",
        shell.now
    );
}

#[test]
fn a_waiter_that_looks_away_reads_the_lock_once_for_a_new_request() {
    let mut shell = waiting();
    // The reboots take a while, and chance makes it look away for at least half of the longest time.
    shell.wall += SignedDuration::from_hours(1);
    shell.chances = 500;
    let _: usize = pass_until_away(&mut shell);
    let request = (
        keys::REBOOT_WANTED.to_owned(),
        "1970-01-01T00:59:00.000000001Z jo: a new kernel".to_owned(),
    );
    shell.node.metadata.annotations.extend([request]);
    shell.observed(Observed::Node(Change::Present(shell.node.clone())));
    go_on(&mut shell);
    let away = come_back(&mut shell);
    assert!(away >= Duration::from_mins(5), "{away:?}");
    assert_eq!(lock_reads(&shell), 2, "one of each object: {:?}", shell.log);
}

#[test]
fn a_waiter_stays_if_the_lock_was_free_for_seconds_before_it_was_taken_or_is_free() {
    let taken = [("c", "1970-01-01T00:01:00Z")];
    for (holders, freed, stays) in [
        (&taken[..], "1970-01-01T00:00:54Z", true),
        (&taken[..], "1970-01-01T00:00:55Z", false),
        (&[], "1970-01-01T00:01:00Z", true),
    ] {
        let mut shell = waiting();
        let _: usize = pass_until_away(&mut shell);
        let _: Duration = come_back(&mut shell);
        locked_by(&mut shell, holders);
        shell.lease["metadata"]["annotations"][keys::LAST_REBOOT] = json!(freed);
        show(&mut shell);
        pass(&mut shell, 1);
        assert_eq!(is_watching(&shell), stays, "free since {freed}");
    }
}

#[test]
fn a_waiter_that_has_its_turn_does_not_look_away() {
    let mut setup = setup();
    setup.settings.concurrency = Share::Count(3);
    setup.patience = 1;
    let mut shell = Shell::new(setup);
    shell.is_wanted = true;
    let three = [("a", TAKEN), ("b", TAKEN), ("c", TAKEN)];
    locked_by(&mut shell, &three);
    go_on(&mut shell);
    show(&mut shell);
    shell.log.clear();
    // One write shows that one has come and two have gone.
    locked_by(&mut shell, &[("b", TAKEN), ("d", TAKEN)]);
    show(&mut shell);
    assert!(is_watching(&shell));
    // Nor while it cannot read the lock that has room.
    shell.now += TURN;
    assert_eq!(fail_to_read(&mut shell).len(), 1);
    assert!(is_watching(&shell));
    assert_takes_the_lock(&mut shell);
}

#[test]
fn a_waiter_that_was_too_late_waits_for_its_next_turn_and_plans_no_further_look() {
    let mut shell = waiting();
    locked_by(&mut shell, &[]);
    shell.now = shell.driver.timers.end(Timer::Poll).unwrap();
    while let Some(call) = shell.next_call() {
        let reply = match call {
            Call::PatchLock { .. } => Reply::Lock(Err(Failed {
                failure: Failure::Conflict,
                gone: None,
            })),
            call => shell.carry_out(call),
        };
        shell.replied(reply);
    }
    assert_eq!(shell.log.last().map(String::as_str), Some("PatchLock"));
    assert!(shell.driver.timers.end(Timer::Turn).is_some());
    assert_eq!(shell.driver.timers.end(Timer::Poll), None);
    assert_takes_the_lock(&mut shell);
}

#[test]
fn a_holder_that_the_watch_shows_is_the_oldest_of_the_standing() {
    let mut shell = waiting();
    locked_by(&mut shell, &[("b", "1970-01-01T00:05:00Z")]);
    show(&mut shell);
    let wait = shell.driver.standing(shell.now).lock_wait;
    assert_eq!(
        wait.and_then(|wait| wait.oldest),
        "1970-01-01T00:05:00Z".parse().ok()
    );
    assert_eq!(lock_reads(&shell), 0, "{:?}", shell.log);
}

#[test]
fn the_end_of_a_wait_ends_the_line() {
    let mut shell = waiting();
    let _: usize = pass_until_away(&mut shell);
    shell.is_wanted = false;
    shell.now += Duration::from_hours(1);
    go_on(&mut shell);
    assert!(shell.driver.cycle().is_idle(), "{:?}", shell.log);
    // What comes next is the end of the backoff.
    let next = shell.driver.next_wake(shell.now);
    assert_eq!(
        next.map(|next| next.since(shell.now)),
        Some(Duration::from_mins(5))
    );
}
