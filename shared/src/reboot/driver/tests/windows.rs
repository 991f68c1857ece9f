//! Reboots begin in their windows, and an agent that waits for one asks for nothing.

use super::*;
use crate::Reading;
use crate::node::Condition;
use crate::reboot::cycle::{Blocker, CallOff};
use crate::reboot::window::{CronWindow, Window};
use jiff::tz::TimeZone;

/// Opens for an hour each day at 22:00.
fn late() -> Windows {
    let lasts = SignedDuration::from_hours(1);
    let window = CronWindow::new("0 22 * * *", lasts, TimeZone::UTC).unwrap();
    Windows::new(vec![Window::Cron(window)])
}

fn setup_with(must_end: Option<MustEnd>) -> Setup {
    Setup {
        windows: late(),
        must_end,
        ..setup()
    }
}

fn started(must_end: Option<MustEnd>, wall: &str) -> Shell {
    let mut shell = Shell::new(setup_with(must_end));
    shell.is_wanted = true;
    shell.wall = wall.parse().unwrap();
    assert_eq!(shell.run(), None);
    shell
}

impl Shell {
    fn pass(&mut self, seconds: u64) {
        let span = Duration::from_secs(seconds);
        self.now += span;
        self.wall = self
            .wall
            .saturating_add(SignedDuration::try_from(span).unwrap())
            .unwrap();
    }

    /// Passes the time up to the next wake.
    fn sleep(&mut self) -> Duration {
        let wake = self.driver.next_wake(self.now).unwrap();
        let span = wake.since(self.now);
        self.pass(span.as_secs() + 1);
        span
    }

    fn calls(&mut self) -> String {
        assert_eq!(self.run(), None);
        std::mem::take(&mut self.log).join(" ")
    }

    /// What blocks the reboot, as the cycle was told last by its windows.
    fn told(&self) -> Option<&Blocker> {
        self.taken.iter().rev().find_map(|input| match input {
            Input::Event(Event::Window(outside)) => Some(outside.as_ref()),
            _ => None,
        })?
    }
}

#[test]
fn outside_the_window_a_wish_asks_the_api_server_for_nothing_and_goes_on_when_it_opens() {
    let mut shell = started(None, "2026-01-05T00:00:00Z");
    let calls = shell.log.join(" ");
    assert!(
        calls.ends_with(" LookAtSentinel ReadNode WriteRecord PatchNode"),
        "{calls}"
    );
    shell.log.clear();
    let told = shell.told().unwrap().to_string();
    assert!(
        told.contains("2026-01-05T22:00:00+00:00 (UTC)") && told.contains("0 22 * * * for 1h in UTC"),
        "{told}"
    );
    // The sentinel is on the host.
    for _ in 0..21 {
        shell.pass(3600);
        assert_eq!(shell.calls(), "LookAtSentinel");
    }
    shell.pass(3590);
    assert_eq!(shell.calls(), "");
    let mut calls = String::new();
    while calls.is_empty() {
        assert!(shell.sleep() <= Duration::from_secs(60));
        calls = shell.calls();
    }
    assert!(
        calls.starts_with("ReadLock ReadLock ListNodes ReadNode") && calls.contains("PatchLock"),
        "{calls}"
    );
    let late = shell.wall.duration_since("2026-01-05T22:00:00Z".parse().unwrap());
    assert!(!late.is_negative() && late.as_secs() <= 11, "{late}");
}

#[test]
fn a_clock_that_is_set_is_noticed_within_a_minute() {
    let mut shell = started(None, "2026-01-05T00:00:00Z");
    shell.log.clear();
    shell.wall = "2026-01-05T22:30:00Z".parse().unwrap();
    assert!(shell.sleep() <= Duration::from_secs(60));
    assert!(shell.calls().contains("PatchLock"));
    let mut shell = started(None, "2026-01-05T22:30:00Z");
    assert!(shell.log.join(" ").contains("PatchLock") && shell.told().is_none());
    shell.log.clear();
    shell.wall = "2026-01-05T20:00:00Z".parse().unwrap();
    let _ = shell.sleep();
    assert_eq!(shell.calls(), "");
    assert!(shell.told().is_some());
}

#[test]
fn a_node_that_is_drained_when_its_window_has_closed_is_given_back_at_once_without_a_read() {
    let mut shell = started(None, "2026-01-05T22:59:00Z");
    shell.log.clear();
    shell.pass(90);
    shell.observed(Observed::Pods(Change::Listed(Vec::new())));
    let mut reports = Vec::new();
    while let Some(effect) = shell.next() {
        match effect {
            Effect::Call(call) => {
                let reply = shell.carry_out(call);
                shell.replied(reply);
            }
            Effect::Report(report) => reports.push(report),
            _ => {}
        }
    }
    let is_off = |report: &Report| matches!(report, Report::CalledOff(CallOff::Blocked(_)));
    assert!(reports.iter().any(is_off), "{reports:?}");
    // The phase `delaying`, and then the give-back and the release.
    assert!(
        shell
            .log
            .join(" ")
            .starts_with("WriteRecord PatchNode WriteRecord PatchNode ReadLock"),
        "{:?}",
        shell.log
    );
    assert!(!shell.node.spec.unschedulable);
}

#[test]
fn a_reboot_that_must_end_in_the_window_begins_only_where_it_fits() {
    let expected = Some(MustEnd::Expected(SignedDuration::from_mins(40)));
    for (wall, begins) in [("2026-01-05T22:20:00Z", true), ("2026-01-05T22:20:01Z", false)] {
        let shell = started(expected, wall);
        assert_eq!(shell.log.join(" ").contains("PatchLock"), begins, "{wall}");
        if let Some(told) = shell.told() {
            let told = told.to_string();
            assert!(
                told.contains("takes 40m") && told.contains("2026-01-06T22:00:00+00:00"),
                "{told}"
            );
        }
    }
    // What a reboot under way has used of its time is not asked for again.
    let mut shell = started(expected, "2026-01-05T22:20:00Z");
    shell.pass(20 * 60);
    shell.observed(Observed::Pods(Change::Listed(Vec::new())));
    assert!(matches!(shell.run(), Some(Call::Reboot { .. })));
    // It ends when the window is so short that it does not fit any more, also while it waits for the lock.
    let mut shell = Shell::new(setup_with(expected));
    shell.wall = "2026-01-05T22:19:00Z".parse().unwrap();
    assert_eq!((shell.run(), shell.told()), (None, None));
    shell.pass(61);
    assert_eq!(shell.run(), None);
    assert!(shell.told().is_some());
}

#[test]
fn a_reboot_is_expected_to_take_as_long_as_the_last_one() {
    let mut shell = started(Some(MustEnd::AsLastTime), "2026-01-05T22:55:00Z");
    shell.pass(240);
    shell.observed(Observed::Pods(Change::Listed(Vec::new())));
    assert!(
        matches!(shell.run(), Some(Call::Reboot { .. })),
        "nothing is known yet"
    );
    // The next process finds in the lock when the reboot began.
    let mut next = Shell::new(setup_with(Some(MustEnd::AsLastTime)));
    (next.node, next.lease, next.version) = (shell.node, shell.lease, shell.version + 10);
    (next.boot, next.wall, next.now) = ("boot-2", shell.wall, shell.now);
    next.node.status.node_info.boot_id = "boot-2".to_owned();
    next.node.status.conditions = vec![Condition {
        kind: "Ready".to_owned(),
        status: "True".to_owned(),
        ..Condition::default()
    }];
    next.pass(6 * 60);
    assert_eq!(next.run(), None);
    let node = next.node.clone();
    next.observed(Observed::Node(Change::Listed(vec![node])));
    assert_eq!(next.run(), None);
    assert!(
        next.driver.cycle().is_idle() && !next.node.spec.unschedulable,
        "{:?}",
        next.log
    );
    // From the lock at 22:55 to the cordon given back: ten minutes.
    for (wall, fits) in [("2026-01-06T22:49:59Z", true), ("2026-01-06T22:51:00Z", false)] {
        next.wall = wall.parse().unwrap();
        next.now += Duration::from_mins(2);
        assert_eq!(next.run(), None);
        assert_eq!(next.told().is_none(), fits, "{wall} {:?}", next.told());
    }
    let told = next.told().unwrap().to_string();
    assert!(told.contains("takes 10m 1s"), "{told}");
}

/// The moment of this time of day, as the gate is asked at it. The monotonic clock stands still.
fn at(time: &str) -> Moment {
    Moment {
        now: Uptime::START,
        wall: format!("2026-01-05T{time}Z").parse().unwrap(),
    }
}

fn is_shut(gate: &Gate, time: &str) -> bool {
    gate.outside(at(time).wall).is_some()
}

/// Otherwise all agents would ask the API server in the same second.
#[test]
fn a_window_opens_later_by_a_part_of_the_spread_that_is_drawn_by_chance() {
    let mut gate = Gate::new(late(), None);
    assert!(matches!(
        gate.news(at("21:00:00"), 1501),
        Some(Event::Window(Some(_)))
    ));
    assert_eq!(gate.news(at("22:00:04.999"), 0), None);
    assert_eq!(gate.news(at("22:00:05"), 0), Some(Event::Window(None)));
}

#[test]
fn a_window_shuts_on_time_and_the_clock_is_looked_at_again_within_a_minute() {
    let mut gate = Gate::new(late(), None);
    assert_eq!(gate.news(at("22:58:58"), 1000), None);
    assert_eq!(gate.next_wake(), Some(Uptime::START + Duration::from_secs(60)));
    assert_eq!(gate.news(at("22:59:58"), 1000), None);
    assert_eq!(
        gate.next_wake(),
        Some(Uptime::START + Duration::from_nanos(2_000_000_001))
    );
    assert_eq!(gate.news(at("22:59:59"), 0), None);
    assert!(matches!(
        gate.news(at("23:00:01"), 0),
        Some(Event::Window(Some(_)))
    ));
}

#[test]
fn a_reboot_that_was_called_off_does_not_tell_how_long_one_takes() {
    let needs = |gate: &Gate| match gate.outside(at("12:00:00").wall) {
        Some(Blocker::OutsideWindow { needs, .. }) => needs,
        other => panic!("{other:?}"),
    };
    let given_back = Report::GivenBack {
        unschedulable: false,
        is_back: false,
        wanted_by: None,
    };
    let mut gate = Gate::new(late(), Some(MustEnd::AsLastTime));
    gate.note(&Report::Locked, at("10:00:00").wall);
    gate.note(&given_back, at("10:10:00").wall);
    assert_eq!(needs(&gate), None);
    gate.note(&Report::Locked, at("11:00:00").wall);
    gate.note(&Report::Returned, at("11:05:00").wall);
    gate.note(&given_back, at("11:10:00").wall);
    assert_eq!(needs(&gate), Some(SignedDuration::from_secs(601)));
}

#[test]
fn the_entry_of_another_hold_does_not_tell_when_this_reboot_began() {
    let stamped = "2026-01-05T22:19:00Z";
    let mut entry = crate::lock::Entry::new("node-0", "uid", stamped, false);
    entry.acquired = "2026-01-05T22:20:00Z".to_owned();
    let record = crate::lock::Record {
        entries: vec![entry],
        ..crate::lock::Record::default()
    };
    let lock = LockView {
        record: Reading::Present(record),
        ..LockView::default()
    };
    for (hold, is_known) in [
        (Some("2026-01-05T22:18:00Z"), false),
        (None, false),
        (Some(stamped), true),
    ] {
        let expected = MustEnd::Expected(SignedDuration::from_mins(40));
        let mut gate = Gate::new(late(), Some(expected));
        gate.learn(&lock, "node-0", hold.map(|hold| hold.parse().unwrap()));
        // Ten of its forty minutes are used, if it is this one.
        assert_eq!(is_shut(&gate, "22:30:00"), !is_known, "{hold:?}");
    }
}
