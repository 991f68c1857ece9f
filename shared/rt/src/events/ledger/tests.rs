//! Which Events are written and when: those that are updated, those that are created anew, and those that stand alone.

use cordonhold_shared::reboot::blocker::Blocker;
use cordonhold_shared::reboot::cycle::{CallOff, Disturbance, Next, Report};
use cordonhold_shared::reboot::drain::Progress;

use super::*;

/// A note about this node, of this series.
fn note(node: &str, series: Series) -> Note {
    Note {
        regarding: Regarding::node(node, "u"),
        action: "Deny",
        reason: "Held".to_owned(),
        is_warning: true,
        text: "it is held".to_owned(),
        series,
    }
}

fn denial(node: &str, user: &str) -> Note {
    note(node, Series::Updated(user.to_owned()))
}

/// A note of this course about the node `n`, with this reason and text.
fn of(course: Course, reason: &str, text: &str) -> Note {
    Note {
        reason: reason.to_owned(),
        text: text.to_owned(),
        ..note("n", Series::Anew(course))
    }
}

/// A ledger, when it began, and what it has written: the second, the reason, the text and the count.
struct Run {
    ledger: Ledger,
    start: Instant,
    written: Vec<(u64, String, String, i32)>,
}

impl Run {
    fn new() -> Run {
        Run {
            ledger: Ledger::default(),
            start: Instant::now(),
            written: Vec::new(),
        }
    }

    /// Writes all that is due up to this second, each when it is due. Then adds the note.
    fn note(&mut self, second: u64, note: Note) {
        self.write_up_to(second);
        let now = self.start + Duration::from_secs(second);
        let time = at(i64::try_from(second).unwrap());
        assert!(self.ledger.note(note, now, time).is_none());
    }

    fn write_up_to(&mut self, second: u64) {
        let end = self.start + Duration::from_secs(second);
        let mut now = self.start;
        while let Some(wake) = self.ledger.wake(now).filter(|wake| *wake < end) {
            now = wake;
            let write = self.ledger.next(now).unwrap();
            assert_eq!(write.name, None, "nothing is updated");
            let passed = now.duration_since(self.start).as_secs();
            self.written
                .push((passed, write.key.reason.clone(), write.text, write.count));
            self.ledger.written(&write.key, "e".to_owned());
        }
    }

    /// What was written with this reason: seconds and counts.
    fn of(&self, reason: &str) -> Vec<(u64, i32)> {
        let its = self.written.iter().filter(|(_, of, ..)| of == reason);
        its.map(|(second, _, _, count)| (*second, *count)).collect()
    }
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

#[test]
fn a_wait_is_written_at_once_and_again_while_it_goes_on() {
    let mut run = Run::new();
    run.note(0, of(Course::Wait, "Blocked", "an alert"));
    run.note(2 * HOUR, of(Course::Step, "Locked", "locked"));
    run.write_up_to(9 * HOUR);
    let half_hours = [0, 30, 60, 90].map(|minutes| minutes * MINUTE);
    let counted = half_hours.into_iter().zip(1..).collect::<Vec<_>>();
    assert_eq!(run.of("Blocked"), counted);
    assert_eq!(run.of("Locked"), [(2 * HOUR, 1)]);
}

#[test]
fn a_wait_whose_text_changes_all_the_time_is_no_flood_and_its_last_text_is_told() {
    let mut run = Run::new();
    for second in 0..HOUR {
        run.note(second, of(Course::Wait, "Blocked", &second.to_string()));
    }
    run.write_up_to(HOUR + 15 * MINUTE);
    let seconds: Vec<u64> = run.of("Blocked").iter().map(|(second, _)| *second).collect();
    assert_eq!(
        seconds,
        [0, 10, 20, 30, 40, 50, 60].map(|minutes| minutes * MINUTE)
    );
    let (_, _, text, count) = run.written.last().unwrap();
    assert_eq!((text.as_str(), *count), ("3599", 3600));
}

#[test]
fn waits_that_take_turns_are_no_flood() {
    let mut run = Run::new();
    for second in 0..HOUR {
        let reason = if second % 2 == 0 {
            "Blocked"
        } else {
            "WaitsForLock"
        };
        run.note(second, of(Course::Wait, reason, "the same"));
    }
    run.write_up_to(HOUR);
    for reason in ["Blocked", "WaitsForLock"] {
        let written = run.of(reason);
        assert!(matches!(written.len(), 1..=7), "{reason}: {written:?}");
    }
}

#[test]
fn a_remark_does_not_end_a_wait_and_what_is_repeated_is_not_reminded_of() {
    let mut run = Run::new();
    run.note(0, of(Course::Wait, "Blocked", "an alert"));
    run.note(1, of(Course::Remark, "Ignored", "a cancel"));
    run.note(2, of(Course::Remark, "Ignored", "a cancel"));
    run.note(3, of(Course::Repeated, "DrainBlocked", "a budget"));
    run.write_up_to(HOUR);
    assert_eq!(run.of("Ignored"), [(1, 1), (2, 1)]);
    assert_eq!(run.of("DrainBlocked"), [(3, 1)]);
    assert_eq!(run.of("Blocked"), [(0, 1), (30 * MINUTE, 2)]);
}

#[test]
fn a_wait_for_a_time_ends_the_wait_before_it_and_is_told_once() {
    let mut run = Run::new();
    run.note(0, of(Course::Wait, "WaitsForLock", "the lock"));
    run.note(MINUTE, of(Course::Timed, "Blocked", "no window"));
    run.write_up_to(9 * HOUR);
    assert_eq!(run.of("WaitsForLock"), [(0, 1)]);
    assert_eq!(run.of("Blocked"), [(MINUTE, 1)]);
}

#[test]
fn what_is_repeated_is_counted() {
    let mut run = Run::new();
    for minute in (0..=60).step_by(5) {
        run.note(minute * MINUTE, of(Course::Repeated, "DrainBlocked", "a budget"));
    }
    run.write_up_to(2 * HOUR);
    let counted = [(0, 1), (30 * MINUTE, 7), (60 * MINUTE, 13)];
    assert_eq!(run.of("DrainBlocked"), counted);
}

#[test]
fn a_wait_that_could_not_be_written_is_tried_again_while_it_goes_on() {
    let (mut ledger, start) = (Ledger::default(), Instant::now());
    assert!(
        ledger
            .note(of(Course::Wait, "Blocked", "an alert"), start, at(0))
            .is_none()
    );
    let mut now = start;
    for _ in 0..100 {
        let write = ledger.next(now).unwrap();
        let _ = ledger.failed(&write.key, now);
        now = ledger.wake(now).unwrap();
    }
    let step = of(Course::Step, "Locked", "locked");
    assert!(ledger.note(step, now, at(0)).is_none());
    let reasons = std::iter::from_fn(|| {
        let write = ledger.next(now)?;
        ledger.written(&write.key, "e".to_owned());
        Some(write.key.reason)
    });
    assert_eq!(reasons.collect::<Vec<_>>(), ["Blocked", "Locked"]);
    now += Duration::from_secs(HOUR);
    assert_eq!(ledger.next(now), None);
}

#[test]
fn what_fails_is_tried_less_and_less_often_until_it_is_written() {
    let (mut ledger, start) = (Ledger::default(), Instant::now());
    let wait = of(Course::Wait, "Blocked", "an alert");
    assert!(ledger.note(wait, start, at(0)).is_none());
    let mut now = start;
    let mut fail = |ledger: &mut Ledger| {
        let write = ledger.next(now).unwrap();
        let in_a_row = ledger.failed(&write.key, now);
        let next = ledger.wake(now).unwrap();
        let tried = std::mem::replace(&mut now, next);
        (in_a_row, next.duration_since(tried).as_secs())
    };
    let pauses = [30, 60, 120, 240, 480, 960, 1800, 1800];
    for expected in (1..).zip(pauses) {
        assert_eq!(fail(&mut ledger), expected);
    }
    for _ in 0..100 {
        assert_eq!(fail(&mut ledger).1, 1800);
    }
    let write = ledger.next(now).unwrap();
    ledger.written(&write.key, "e".to_owned());
    now = ledger.wake(now).unwrap();
    let write = ledger.next(now).unwrap();
    assert_eq!(ledger.failed(&write.key, now), 1);
    assert_eq!(ledger.wake(now), Some(now + RETRY_AFTER));
}

#[test]
fn a_wait_that_has_ended_is_not_written_long_after_because_it_failed() {
    let (mut ledger, start) = (Ledger::default(), Instant::now());
    let wait = of(Course::Wait, "Blocked", "an alert");
    assert!(ledger.note(wait, start, at(0)).is_none());
    let (mut now, mut due) = (start, start);
    for _ in 0..3 {
        now = due;
        let write = ledger.next(now).unwrap();
        let _ = ledger.failed(&write.key, now);
        due = ledger.wake(now).unwrap();
    }
    let step = of(Course::Step, "Locked", "locked");
    assert!(ledger.note(step, now, at(0)).is_none());
    assert_eq!(ledger.next(now).unwrap().key.reason, "Locked");
    assert_eq!(ledger.wake(now), None);
}

#[test]
fn a_wait_that_begins_anew_after_a_step_is_told_at_once_but_not_twice_a_minute() {
    let mut run = Run::new();
    for minute in [0, 5] {
        run.note(minute * MINUTE, of(Course::Wait, "Blocked", "an alert"));
        run.note(minute * MINUTE + 10, of(Course::Step, "Locked", "locked"));
    }
    for second in [20, 21, 30] {
        run.note(5 * MINUTE + second, of(Course::Wait, "Blocked", "an alert"));
    }
    run.write_up_to(7 * MINUTE);
    assert_eq!(run.of("Blocked"), [(0, 1), (5 * MINUTE, 1), (6 * MINUTE, 4)]);
}

#[test]
fn a_wait_that_takes_turns_with_another_is_told_again_within_minutes() {
    let mut run = Run::new();
    run.note(0, of(Course::Wait, "Blocked", "an alert"));
    run.note(MINUTE, of(Course::Wait, "WaitsForLock", "the lock"));
    run.note(2 * MINUTE, of(Course::Wait, "Blocked", "an alert"));
    run.note(21 * MINUTE, of(Course::Wait, "WaitsForLock", "the lock"));
    run.write_up_to(22 * MINUTE);
    assert_eq!(run.of("Blocked"), [(0, 1), (10 * MINUTE, 2)]);
    assert_eq!(run.of("WaitsForLock"), [(MINUTE, 1), (21 * MINUTE, 1)]);
}

#[test]
fn a_step_ends_what_was_repeated_and_what_is_told_of_a_time() {
    for course in [Course::Repeated, Course::Timed] {
        let mut run = Run::new();
        for minute in [0, 5] {
            run.note(minute * MINUTE, of(course, "Blocked", "a budget"));
        }
        run.note(10 * MINUTE, of(Course::Step, "Drained", "drained"));
        run.write_up_to(2 * HOUR);
        assert_eq!(run.of("Blocked"), [(0, 1)], "{course:?}");
    }
}

#[test]
fn the_events_of_a_reboot_with_waits_and_a_disturbance_are_written_at_once() {
    let blocked = Report::Blocked(vec![Blocker::NodePaused("x".to_owned())]);
    let draining = |round| Report::Draining {
        was_unschedulable: false,
        round,
    };
    let reports = [
        Report::Wished {
            holder: String::new(),
            request: None,
        },
        Report::LockHeld(["other".to_owned()].into()),
        Report::LockStalled(vec!["other".to_owned()]),
        blocked.clone(),
        Report::Locked,
        draining(1),
        Report::DrainBlocked(Progress::default()),
        Report::Delaying { is_forced: false },
        Report::Disturbed {
            by: Disturbance::Uncordoned,
            next: Next::DrainAgain,
        },
        draining(2),
        Report::Delaying { is_forced: false },
        blocked,
        Report::Sealed { attempt: 1 },
        Report::RebootFailed("x".to_owned()),
        Report::CalledOff(CallOff::NoLongerWanted),
        Report::GivenBack {
            unschedulable: false,
            is_back: false,
            wanted_by: None,
        },
        Report::Released,
    ];
    let (mut run, mut seconds) = (Run::new(), (0..).step_by(120));
    let mut expected = Vec::new();
    for (report, second) in reports.iter().zip(&mut seconds) {
        let reason = report.reason().expect("each has an Event");
        run.note(second, of(report.course(), reason, &report.sentence()));
        expected.push((second, reason.to_owned()));
    }
    run.write_up_to(seconds.next().unwrap());
    let written = run
        .written
        .iter()
        .map(|(second, reason, ..)| (*second, reason.clone()));
    assert_eq!(written.collect::<Vec<_>>(), expected);
    assert!(expected.len() < usize::try_from(BURST).unwrap());
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn a_storm_is_one_event_whose_count_is_brought_up_to_date_now_and_then() {
    let (mut ledger, start) = (Ledger::default(), Instant::now());
    assert!(ledger.note(denial("n", "a"), start, at(0)).is_none());
    assert_eq!(ledger.wake(start), Some(start));
    let first = ledger.next(start).unwrap();
    assert_eq!(
        (first.name, first.count, first.text.as_str()),
        (None, 1, "it is held")
    );
    ledger.written(&first.key, "e-1".to_owned());
    assert_eq!(ledger.wake(start), None);

    for _ in 0..1_000 {
        assert!(ledger.note(denial("n", "a"), start, at(1)).is_none());
    }
    assert_eq!(ledger.next(start), None);
    let later = start + UPDATE_EVERY;
    assert_eq!(ledger.wake(start), Some(later));
    let update = ledger.next(later).unwrap();
    assert_eq!(
        (update.name.as_deref(), update.count, update.first, update.last),
        (Some("e-1"), 1_001, at(0), at(1))
    );
    assert_eq!((ledger.next(later), ledger.wake(later)), (None, None));
}

#[test]
fn each_node_user_and_quiet_time_has_an_event_of_its_own() {
    let (mut ledger, start) = (Ledger::default(), Instant::now());
    for denial in [denial("n", "a"), denial("m", "a"), denial("n", "b")] {
        assert!(ledger.note(denial, start, at(0)).is_none());
    }
    let mut names = 0..;
    while let Some(write) = ledger.next(start) {
        ledger.written(&write.key, format!("e-{}", names.next().unwrap()));
    }
    assert_eq!(names.start, 3);
    let later = start + SERIES_IDLE + Duration::from_secs(1);
    assert!(ledger.note(denial("n", "a"), later, at(400)).is_none());
    let again = ledger.next(later).unwrap();
    assert_eq!((again.name, again.count, again.first), (None, 1, at(400)));
}

#[test]
fn a_single_note_is_an_event_of_its_own_and_has_one_try() {
    let (mut ledger, start) = (Ledger::default(), Instant::now());
    for _ in 0..2 {
        let single = note("n", Series::Anew(Course::Step));
        assert!(ledger.note(single, start, at(0)).is_none());
    }
    let (first, second) = (ledger.next(start).unwrap(), ledger.next(start).unwrap());
    assert_eq!((first.count, second.count), (1, 1));
    ledger.written(&first.key, "e-1".to_owned());
    assert_eq!(ledger.failed(&second.key, start), 1);
    assert!(ledger.series.is_empty());
}

#[test]
fn writes_are_limited_and_none_is_lost_by_it() {
    let (mut ledger, start) = (Ledger::default(), Instant::now());
    for node in 0..2 * BURST {
        assert!(
            ledger
                .note(denial(&node.to_string(), "a"), start, at(0))
                .is_none()
        );
    }
    let burst = std::iter::from_fn(|| ledger.next(start)).count();
    assert_eq!(burst, usize::try_from(BURST).unwrap());
    for second in 0..BURST {
        let (before, now) = (start + REFILL_EVERY * second, start + REFILL_EVERY * (second + 1));
        assert_eq!(ledger.wake(before), Some(now));
        assert!(ledger.next(now).is_some());
        assert_eq!(ledger.next(now), None);
    }
    assert_eq!(ledger.wake(start + REFILL_EVERY * BURST), None);
}

#[test]
fn series_are_bounded_and_make_room_when_they_are_over() {
    let (mut ledger, start) = (Ledger::default(), Instant::now());
    for node in 0..SERIES_MAX {
        assert!(
            ledger
                .note(denial(&node.to_string(), "a"), start, at(0))
                .is_none()
        );
    }
    assert!(ledger.note(denial("one more", "a"), start, at(0)).is_some());
    let later = start + SERIES_IDLE + Duration::from_secs(1);
    assert!(ledger.note(denial("one more", "a"), later, at(0)).is_none());
    assert_eq!(ledger.series.len(), 1);
}

#[test]
fn what_failed_is_tried_again_as_a_new_event_until_it_is_old() {
    let (mut ledger, start) = (Ledger::default(), Instant::now());
    assert!(ledger.note(denial("n", "a"), start, at(0)).is_none());
    let first = ledger.next(start).unwrap();
    assert_eq!(ledger.failed(&first.key, start), 1);
    assert_eq!(ledger.next(start), None);
    let later = start + RETRY_AFTER;
    assert_eq!(ledger.next(later).map(|write| write.name), Some(None));
    let late = start + SERIES_IDLE + Duration::from_secs(1);
    assert_eq!(ledger.failed(&first.key, late), 2);
    assert_eq!(ledger.wake(later), None);
}

#[test]
fn a_note_is_no_longer_than_the_api_server_takes() {
    let (mut ledger, start) = (Ledger::default(), Instant::now());
    let long = Note {
        text: "ü".repeat(NOTE_MAX_BYTES),
        ..denial("n", "a")
    };
    assert!(ledger.note(long, start, at(0)).is_none());
    assert_eq!(ledger.next(start).unwrap().text.len(), NOTE_MAX_BYTES);
}
