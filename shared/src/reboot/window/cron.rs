//! A window that a cron expression opens, for a fixed time.
//!
//! The expression is matched against the clock of the window's time zone. The crate that reads it does this on a clock without
//! time zone; what daylight saving does to the clock is decided here.
//! Not here: how such a window is written on the command line.

use std::fmt;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::quote::{one_line, quoted};

/// A window that opens at each time of a cron expression, for a fixed time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronWindow {
    cron: Box<Cron>,
    /// The expression as it was written.
    text: String,
    lasts: SignedDuration,
    pub(super) zone: TimeZone,
}

/// Why a cron expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is not a cron expression of five fields ({why}): write minute, hour, day of month, month and day of week, like \"0 22 * * sat\"", quoted(.text))]
pub struct CronError {
    text: String,
    why: String,
}

/// Most changes of a zone's offset between now and the next time of an expression: 28 February to the next 29 February takes eight
/// years around 2100, and no zone changes more often than four times a year.
const JUMPS_MAX: usize = 40;
/// Most characters of the parser's error that ours repeats.
const WHY_MAX: usize = 200;
const TICK: SignedDuration = SignedDuration::from_nanos(1);

impl CronWindow {
    /// The window that opens for `lasts` at each time of this expression in this zone.
    pub fn new(text: &str, lasts: SignedDuration, zone: TimeZone) -> Result<CronWindow, CronError> {
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        match parser.parse(text) {
            Ok(cron) => Ok(CronWindow {
                cron: Box::new(cron),
                text: text.to_owned(),
                lasts,
                zone,
            }),
            Err(error) => Err(CronError {
                text: text.to_owned(),
                why: one_line(error.to_string().trim_end_matches('.'), WHY_MAX),
            }),
        }
    }

    /// When the window that is open at this moment closes.
    pub(super) fn open_until(&self, at: Timestamp) -> Option<Timestamp> {
        let end = self.opened(at)?.saturating_add(self.lasts);
        end.ok().filter(|end| at < *end)
    }

    /// The first time after this moment that the expression gives.
    pub(super) fn opens_after(&self, at: Timestamp) -> Option<Timestamp> {
        let (mut from, mut is_included) = (at, false);
        for _ in 0..JUMPS_MAX {
            // Up to the next jump of the clock, the offset stays as it is.
            let offset = self.zone.to_offset(from);
            let shown = offset.to_datetime(from);
            let found = self.cron.find_next_occurrence(&shown, is_included).ok()?;
            let found_at = offset.to_timestamp(found).ok()?;
            let Some(jump) = self.zone.following(from).next() else {
                return Some(found_at);
            };
            let jump_at = jump.timestamp();
            if found_at < jump_at {
                return Some(found_at);
            }
            if found < jump.offset().to_datetime(jump_at) {
                return Some(jump_at);
            }
            (from, is_included) = (jump_at, true);
        }
        None
    }

    /// The last time up to this moment that the expression gives, if the window may still be open from then.
    fn opened(&self, at: Timestamp) -> Option<Timestamp> {
        let earliest = at.checked_sub(self.lasts).unwrap_or(Timestamp::MIN);
        let mut until = at;
        for _ in 0..JUMPS_MAX {
            let offset = self.zone.to_offset(until);
            let shown: DateTime = offset.to_datetime(until);
            let found = self.cron.find_previous_occurrence(&shown, true).ok()?;
            let found_at = offset.to_timestamp(found).ok()?;
            let now_included = until.checked_add(TICK).ok()?;
            let Some(jump) = self.zone.preceding(now_included).next() else {
                return Some(found_at);
            };
            let jump_at = jump.timestamp();
            if found_at >= jump_at {
                return Some(found_at);
            }
            let before = jump_at.checked_sub(TICK).ok()?;
            let is_jumped_over = found >= self.zone.to_offset(before).to_datetime(jump_at);
            if is_jumped_over || jump_at <= earliest {
                return Some(jump_at).filter(|_| is_jumped_over);
            }
            until = before;
        }
        None
    }
}

impl fmt::Display for CronWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, zone) = (&self.text, super::name(&self.zone));
        write!(f, "{text} for {:#} in {zone}", self.lasts)
    }
}
