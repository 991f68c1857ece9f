//! Figures: how fast and how small, each beside its peer in the same run, because machines differ and are never alone.
//!
//! A figure is a ratio with a goal. Not here: what is printed and recorded (`cargo figures`).

use std::fmt;

use serde::Serialize;

pub mod api;
pub mod hop;
mod peer;
mod review;

/// A figure that was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    pub name: String,
    pub ours: f64,
    pub theirs: f64,
    /// Ours over theirs.
    pub ratio: f64,
    pub unit: &'static str,
    pub goal: Goal,
    pub met: bool,
}

/// What a ratio should be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// It is shown beside the others, and has no goal of its own.
    None,
}

impl Goal {
    fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(least) => ratio >= least,
            Self::AtMost(most) => ratio <= most,
            Self::None => true,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "≥ {least:.2}"),
            Self::AtMost(most) => write!(f, "≤ {most:.2}"),
            Self::None => f.write_str("-"),
        }
    }
}

impl Figure {
    pub fn new(name: impl Into<String>, (ours, theirs): (f64, f64), unit: &'static str, goal: Goal) -> Self {
        let ratio = ours / theirs;
        Self {
            name: name.into(),
            ours,
            theirs,
            ratio,
            unit,
            goal,
            met: goal.is_met(ratio),
        }
    }
}

/// The middle one of these values; of an even number the upper one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_or_not_by_the_ratio() {
        let of = |ours, goal| Figure::new("f", (ours, 10.0), "s", goal).met;
        assert!(of(120.0, Goal::AtLeast(12.0)) && !of(119.0, Goal::AtLeast(12.0)));
        assert!(of(1.0, Goal::AtMost(0.1)) && !of(1.1, Goal::AtMost(0.1)));
        // What could not be measured meets nothing.
        assert!(!of(f64::NAN, Goal::AtMost(0.1)) && !of(f64::NAN, Goal::AtLeast(0.1)));
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(Vec::new()).is_nan());
    }
}
