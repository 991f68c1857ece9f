//! kured's window: days of the week, and times of day (kubereboot/kured: pkg/timewindow/timewindow.go).
//!
//! The day is the day of the calendar at that moment, also after midnight: Monday to Friday, 21:00 to 5:00, is open on Monday at
//! 0:30 and closed on Saturday at 0:30.
//! Not here: which texts are days and times, see the agent's command line.

use std::fmt;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan as _};

/// A window on some days of the week, between two times of day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daily {
    /// The days of the week.
    pub days: Days,
    /// The first time of day.
    pub start: Time,
    /// The last time of day, that whole second included. If it is before the start, the window is closed between the two.
    pub end: Time,
    /// The time zone of days and times.
    pub zone: TimeZone,
}

/// A set of days of the week, one bit for each, Sunday lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days(u8);

/// From when to when the window is open, the end not included.
type Part = (Timestamp, Timestamp);

/// How many days ahead are looked at: three weeks, because a clock that jumps over the whole window closes it for a week.
const DAYS_AHEAD: i32 = 21;

impl Daily {
    /// When the window that is open at this moment closes.
    pub(super) fn open_until(&self, at: Timestamp) -> Option<Timestamp> {
        // A day more on each side, because a clock that goes back over midnight shows a day again.
        let parts = self.parts(at, -1..=1);
        let open = parts.filter(|(from, to)| *from <= at && at < *to);
        open.map(|(_, to)| to).max()
    }

    pub(super) fn opens_after(&self, at: Timestamp) -> Option<Timestamp> {
        self.parts(at, -1..=DAYS_AHEAD)
            .map(|(from, _)| from)
            .filter(|from| *from > at)
            .min()
    }

    /// The parts of the window on the days that are this far from the day of this moment.
    fn parts(
        &self,
        at: Timestamp,
        days: std::ops::RangeInclusive<i32>,
    ) -> impl Iterator<Item = Part> + use<'_> {
        let today = at.to_zoned(self.zone.clone()).date();
        days.filter_map(move |ahead| today.checked_add(ahead.days()).ok())
            .filter(|date| self.days.contains(date.weekday()))
            .flat_map(|date| self.parts_of(date))
            .flatten()
            .filter(|(from, to)| from < to)
    }

    /// The parts of the window on this day.
    fn parts_of(&self, date: Date) -> [Option<Part>; 2] {
        let part = |from: Option<Timestamp>, to: Option<Timestamp>| from.zip(to);
        let start = first(&self.zone, date.to_datetime(self.start));
        let end = after(&self.zone, date.to_datetime(self.end));
        if self.start <= self.end {
            return [part(start, end), None];
        }
        let midnight = first(&self.zone, date.to_datetime(Time::midnight()));
        let next = date.tomorrow().ok();
        let next = next.and_then(|next| first(&self.zone, next.to_datetime(Time::midnight())));
        [part(midnight, end), part(start, next)]
    }
}

/// The first moment when the clock shows this time, or has jumped over it.
fn first(zone: &TimeZone, time: DateTime) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(time);
    match ambiguous.offset() {
        AmbiguousOffset::Gap { .. } => jump(zone, ambiguous.earlier().ok()?),
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
    }
}

/// The first moment after the last second when the clock shows this time, or the moment when the clock jumps over it.
fn after(zone: &TimeZone, time: DateTime) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(time);
    match ambiguous.offset() {
        AmbiguousOffset::Gap { .. } => jump(zone, ambiguous.earlier().ok()?),
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => {
            let last = ambiguous.later().ok()?;
            last.checked_add(SignedDuration::from_secs(1)).ok()
        }
    }
}

/// The first change of the offset after this moment.
fn jump(zone: &TimeZone, before: Timestamp) -> Option<Timestamp> {
    Some(zone.following(before).next()?.timestamp())
}

impl fmt::Display for Daily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end, zone) = (self.start, self.end, super::name(&self.zone));
        write!(f, "{} from {start} to {end} in {zone}", self.days)
    }
}

/// The days of the week, Sunday first, with their short names.
const WEEK: [(Weekday, &str); 7] = [
    (Weekday::Sunday, "su"),
    (Weekday::Monday, "mo"),
    (Weekday::Tuesday, "tu"),
    (Weekday::Wednesday, "we"),
    (Weekday::Thursday, "th"),
    (Weekday::Friday, "fr"),
    (Weekday::Saturday, "sa"),
];

impl Days {
    /// Whether the set has this day.
    pub fn contains(self, day: Weekday) -> bool {
        self.0 & Days::bit(day) != 0
    }

    fn bit(day: Weekday) -> u8 {
        1 << day.to_sunday_zero_offset()
    }
}

impl FromIterator<Weekday> for Days {
    fn from_iter<I: IntoIterator<Item = Weekday>>(days: I) -> Days {
        Days(days.into_iter().fold(0, |all, day| all | Days::bit(day)))
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = WEEK.iter().filter(|(day, _)| self.contains(*day));
        let names: Vec<&str> = has.map(|(_, name)| *name).collect();
        if names.len() == WEEK.len() {
            f.write_str("every day")
        } else {
            f.write_str(&names.join(","))
        }
    }
}
