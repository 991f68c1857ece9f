//! When a reboot may begin: windows of time, each in its own time zone.
//!
//! A reboot may begin while any window is open. There are two kinds: kured's, with days and times of day ([`Daily`]), and one that
//! a cron expression opens for a while ([`CronWindow`]).
//!
//! Daylight saving, for both kinds: where the clock jumps over a time, that time is when the clock jumps. Where the clock shows a
//! time twice, a window of kured's kind opens with the first and closes with the second, and a cron expression opens its window
//! twice.
//!
//! Not here: what is done while no window is open ([`crate::reboot::driver`]), and how windows are written on the command line.

use std::fmt;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

mod cron;
mod daily;

#[cfg(test)]
mod tests;

pub use cron::{CronError, CronWindow};
pub use daily::{Daily, Days};

/// The windows in which a reboot may begin. Without any, it may begin at any time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows(Vec<Window>);

/// One window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Window {
    /// kured's window.
    Daily(Daily),
    /// A window that a cron expression opens.
    Cron(CronWindow),
}

/// What `--must-end-in-window` goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MustEnd {
    /// A reboot takes this long (`--expected-duration`).
    Expected(SignedDuration),
    /// A reboot takes as long as the last one of this node. Until one is known, no time is kept for it.
    AsLastTime,
}

/// Most openings that [`Windows::opens_for`] looks at: three years of daily windows, or four days of windows every five minutes.
const OPENINGS_MAX: usize = 1100;

impl Windows {
    /// These windows.
    pub fn new(windows: Vec<Window>) -> Windows {
        Windows(windows)
    }

    /// Whether there is no window, so that a reboot may begin at any time.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a reboot may begin at this moment.
    pub fn is_open(&self, at: Timestamp) -> bool {
        self.is_empty() || self.open_until(at).is_some()
    }

    /// When no window is open any more, if that is less than `within` away. For a moment when none is open, that moment.
    pub fn closes(&self, at: Timestamp, within: SignedDuration) -> Option<Timestamp> {
        if self.is_empty() {
            return None;
        }
        let goal = at.saturating_add(within).unwrap_or(Timestamp::MAX);
        let mut end = at;
        while end < goal {
            // Windows that overlap or follow each other at once are one.
            match self.open_until(end) {
                Some(later) => end = later,
                None => return Some(end),
            }
        }
        None
    }

    /// Whether a reboot may begin at this moment and, if it takes this long, also ends before no window is open any more.
    pub fn fits(&self, at: Timestamp, span: SignedDuration) -> bool {
        self.is_open(at) && self.closes(at, span).is_none()
    }

    /// The first moment, from this one on, when a reboot may begin. `None`: never.
    pub fn opens(&self, at: Timestamp) -> Option<Timestamp> {
        if self.is_open(at) {
            return Some(at);
        }
        self.0.iter().filter_map(|window| window.opens_after(at)).min()
    }

    /// When the next window opens, while none is open. `None`: one is, or none ever opens.
    pub fn opens_next(&self, at: Timestamp) -> Option<Timestamp> {
        self.opens(at).filter(|opens| *opens != at)
    }

    /// The first moment, from this one on, when a reboot that takes this long may begin and still ends in a window. `None`: none of
    /// the next openings, up to a bound, is long enough.
    pub fn opens_for(&self, at: Timestamp, span: SignedDuration) -> Option<Timestamp> {
        let mut start = self.opens(at)?;
        for _ in 0..OPENINGS_MAX {
            match self.closes(start, span) {
                None => return Some(start),
                Some(end) => start = self.opens(end)?,
            }
        }
        None
    }

    /// This moment in the time zone of the window that is open then; in UTC if none is.
    pub fn show(&self, at: Timestamp) -> String {
        let open = self.0.iter().find(|window| window.open_until(at).is_some());
        let zone = open.map_or(TimeZone::UTC, |window| window.zone().clone());
        let shown = at.to_zoned(zone.clone());
        format!("{} ({})", shown.strftime("%Y-%m-%dT%H:%M:%S%:z"), name(&zone))
    }

    /// When the window that is open now and closes last closes by itself. `None`: none is open.
    fn open_until(&self, at: Timestamp) -> Option<Timestamp> {
        self.0.iter().filter_map(|window| window.open_until(at)).max()
    }
}

impl Window {
    fn open_until(&self, at: Timestamp) -> Option<Timestamp> {
        match self {
            Window::Daily(daily) => daily.open_until(at),
            Window::Cron(cron) => cron.open_until(at),
        }
    }

    /// The first time after this moment that the window opens, whether or not it is open already.
    fn opens_after(&self, at: Timestamp) -> Option<Timestamp> {
        match self {
            Window::Daily(daily) => daily.opens_after(at),
            Window::Cron(cron) => cron.opens_after(at),
        }
    }

    fn zone(&self) -> &TimeZone {
        match self {
            Window::Daily(daily) => &daily.zone,
            Window::Cron(cron) => &cron.zone,
        }
    }
}

impl fmt::Display for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let windows: Vec<String> = self.0.iter().map(Window::to_string).collect();
        if windows.is_empty() {
            f.write_str("at any time")
        } else {
            f.write_str(&windows.join(", or "))
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Window::Daily(daily) => daily.fmt(f),
            Window::Cron(cron) => cron.fmt(f),
        }
    }
}

/// The name of a time zone. One that was read from a file has none.
fn name(zone: &TimeZone) -> &str {
    zone.iana_name().unwrap_or("Local")
}
