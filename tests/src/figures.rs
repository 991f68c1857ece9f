//! Figures: how fast and how small, each beside its peer in the same run, because machines differ and are never alone.
//!
//! A figure is a value of ours, mostly beside a peer's, with a goal. Not here: what is printed (`cargo figures`).

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

pub mod agent;
pub mod api;
mod benchmark;
pub mod compute;
pub mod drain;
pub mod hop;
pub mod page;
mod peer;
mod picture;
pub mod record;
mod review;
pub mod rollout;
pub mod size;

pub use benchmark::Benchmark;

/// A figure that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figure {
    /// It begins with the name of the benchmark and `-`.
    pub name: String,
    pub ours: f64,
    /// `None`: no peer could be had.
    pub theirs: Option<f64>,
    /// Ours over theirs.
    pub ratio: Option<f64>,
    /// More is better of what is per second, and less of the rest.
    pub unit: String,
    pub goal: Goal,
    pub met: bool,
    /// How many times worse than the recorded ratio a later one may be: the noise of this figure.
    pub margin: f64,
}

/// What a ratio, or our value, should be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Goal {
    /// The ratio.
    AtLeast(f64),
    AtMost(f64),
    /// Our value.
    OursAtLeast(f64),
    OursAtMost(f64),
    /// It is shown beside the others, and has no goal of its own.
    None,
}

/// The noise of most figures on a machine that others use too.
const MARGIN: f64 = 1.5;

impl Goal {
    fn is_met(self, ours: f64, ratio: Option<f64>) -> bool {
        match self {
            Self::AtLeast(least) => ratio.is_some_and(|ratio| ratio >= least),
            Self::AtMost(most) => ratio.is_some_and(|ratio| ratio <= most),
            Self::OursAtLeast(least) => ours >= least,
            Self::OursAtMost(most) => ours <= most,
            Self::None => true,
        }
    }
}

/// As in a table: a ratio is told from a value by the sign `×`.
impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "≥ {least:.2}×"),
            Self::AtMost(most) => write!(f, "≤ {most:.2}×"),
            Self::OursAtLeast(least) => write!(f, "≥ {least}"),
            Self::OursAtMost(most) => write!(f, "≤ {most}"),
            Self::None => f.write_str("-"),
        }
    }
}

impl Figure {
    /// Ours beside a peer's.
    pub fn new(name: impl Into<String>, (ours, theirs): (f64, f64), unit: &str, goal: Goal) -> Self {
        Self::of(name.into(), ours, Some(theirs), unit, goal)
    }

    /// Ours alone, where no peer can be had.
    pub fn alone(name: impl Into<String>, ours: f64, unit: &str, goal: Goal) -> Self {
        Self::of(name.into(), ours, None, unit, goal)
    }

    fn of(name: String, ours: f64, theirs: Option<f64>, unit: &str, goal: Goal) -> Self {
        let ratio = theirs.map(|theirs| ours / theirs);
        Self {
            name,
            ours,
            theirs,
            ratio,
            unit: unit.to_owned(),
            goal,
            met: goal.is_met(ours, ratio),
            margin: MARGIN,
        }
    }

    /// The same with another margin.
    #[must_use]
    pub fn within(self, margin: f64) -> Self {
        Self { margin, ..self }
    }

    /// Which benchmark it is of.
    fn benchmark(&self) -> &str {
        self.name.split('-').next().unwrap_or_default()
    }

    /// With four digits, which is more than any run is sure of.
    fn rounded(&self) -> Self {
        Self {
            ours: rounded(self.ours),
            theirs: self.theirs.map(rounded),
            ratio: self.ratio.map(rounded),
            ..self.clone()
        }
    }

    fn is_more_better(&self) -> bool {
        self.unit.ends_with("/s")
    }
}

/// Writes a file that a program reads.
fn written(directory: &Path, name: &str, content: &[u8]) -> Result<PathBuf> {
    let path = directory.join(name);
    std::fs::write(&path, content).with_context(|| format!("failed to write {}", path.display()))?;
    Ok(path)
}

fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// Bytes in megabytes (a million bytes), in steps of 1000 bytes. Values of 4 TB and more are cut off.
fn megabytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1000).unwrap_or(u32::MAX)) / 1000.0
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
    fn a_goal_is_met_or_not_by_the_ratio_or_the_value() {
        let of = |ours, goal| Figure::new("f", (ours, 10.0), "s", goal).met;
        let alone = |ours, goal| Figure::alone("f", ours, "s", goal).met;
        assert!(of(120.0, Goal::AtLeast(12.0)) && !of(119.0, Goal::AtLeast(12.0)));
        assert!(of(1.0, Goal::AtMost(0.1)) && !of(1.1, Goal::AtMost(0.1)));
        assert!(of(9.0, Goal::OursAtMost(9.0)) && !alone(9.1, Goal::OursAtMost(9.0)));
        assert!(alone(9.0, Goal::OursAtLeast(9.0)) && !of(8.9, Goal::OursAtLeast(9.0)));
        // What could not be measured, or has no peer, meets nothing.
        assert!(!alone(1.0, Goal::AtMost(2.0)) && !alone(f64::NAN, Goal::OursAtMost(1.0)));
        assert!(!of(f64::NAN, Goal::AtMost(0.1)) && !of(f64::NAN, Goal::AtLeast(0.1)));
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(Vec::new()).is_nan());
    }
}
