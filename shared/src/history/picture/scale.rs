//! The time axis: where a moment is, its ticks, and its cut.
//!
//! A node may wait for hours before a reboot that takes minutes. Then the wait is cut: it has a fixed width, and the rest the true scale.
//! Not here: how the axis is drawn.

use jiff::{SignedDuration, Timestamp};

use crate::history::Timeline;
use crate::hold::Phase;

/// Where the axis begins and ends.
pub(super) const LEFT: f64 = 112.0;
pub(super) const RIGHT: f64 = 936.0;
/// The width of a wait that is cut: enough for its name and length.
const CUT_WIDTH: f64 = 140.0;
/// A wait is cut if it is longer than this part of the whole.
const CUT_FROM: f64 = 0.4;
/// The least room of a tick.
const TICK_MIN: f64 = 76.0;
/// The steps of ticks, in seconds.
const STEPS: [i32; 18] = [
    1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400,
];
const DAY: i32 = 86_400;

#[derive(Clone, Debug)]
pub(super) struct Scale {
    from: Timestamp,
    to: Timestamp,
    /// The end of the wait that is cut.
    cut: Option<Timestamp>,
    /// What ticks are counted from.
    zero: Timestamp,
    is_cordon: bool,
}

impl Scale {
    pub(super) fn of(timeline: &Timeline) -> Scale {
        let cordon = timeline
            .spans
            .iter()
            .find(|span| span.phase != Phase::Wanted)
            .map(|span| span.from);
        let (from, to) = (timeline.from, timeline.to.max(timeline.from));
        let whole = seconds(from, to);
        let is_long = |at: &Timestamp| whole > 0.0 && seconds(from, *at) > CUT_FROM * whole;
        Scale {
            from,
            to,
            cut: cordon.filter(is_long).filter(|cordon| *cordon < to),
            zero: cordon.unwrap_or(from),
            is_cordon: cordon.is_some(),
        }
    }

    /// Where a moment is.
    pub(super) fn x(&self, at: Timestamp) -> f64 {
        let at = at.clamp(self.from, self.to);
        let between = |from, to, left: f64, right: f64| {
            let whole = seconds(from, to);
            let part = if whole > 0.0 {
                seconds(from, at) / whole
            } else {
                0.0
            };
            left + part * (right - left)
        };
        match self.cut {
            Some(cut) if at < cut => between(self.from, cut, LEFT, LEFT + CUT_WIDTH),
            Some(cut) => between(cut, self.to, LEFT + CUT_WIDTH, RIGHT),
            None => between(self.from, self.to, LEFT, RIGHT),
        }
    }

    /// Where the axis is cut.
    pub(super) fn cut(&self) -> Option<f64> {
        self.cut.map(|cut| self.x(cut))
    }

    /// The ticks: where, and what they say.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let from = self.cut.unwrap_or(self.from);
        let whole = seconds(from, self.to);
        let room = RIGHT - self.x(from);
        let fits = |step: i32| f64::from(step) / whole.max(1.0) * room >= TICK_MIN;
        let by_days = || (1..).map(|days: i32| days.saturating_mul(DAY)).take(400);
        let mut steps = STEPS.into_iter().chain(by_days());
        let step = steps.find(|step| fits(*step)).unwrap_or(i32::MAX);
        let unit: (i32, &str) = match step {
            ..60 => (1, "s"),
            60..3_600 => (60, "min"),
            _ => (3_600, "h"),
        };
        let first = -(seconds(from, self.zero) / f64::from(step)).floor();
        let mut ticks = Vec::new();
        let mut count = first;
        // As many as there is room for.
        while ticks.len() < 16 {
            let after = count * f64::from(step);
            let Ok(at) = SignedDuration::try_from_secs_f64(after)
                .map_err(drop)
                .and_then(|after| self.zero.checked_add(after).map_err(drop))
            else {
                break;
            };
            if at > self.to {
                break;
            }
            let shown = after / f64::from(unit.0);
            let shown = format!("{shown:.0}").replace('-', "−");
            let shown = if shown == "−0" { "0".to_owned() } else { shown };
            ticks.push((self.x(at), format!("{shown} {}", unit.1)));
            count += 1.0;
        }
        ticks
    }

    pub(super) fn caption(&self) -> String {
        let what = if self.is_cordon {
            "since the cordon"
        } else {
            "since the first that is known"
        };
        format!("time {what}, {:.0}", self.zero)
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}
