//! What an adversary writes on a Node, and how often each of it has been written: mark by phase by kind of value.
//!
//! Not here: when he writes, and what the values are (`players`).

use crate::faults::names;

names! {
    /// What he writes: a mark of ours, a sign or a label beside them, or all marks at once.
    Mark {
        Holder => "holder",
        Phase => "phase",
        Until => "until",
        BootId => "boot-id",
        WasUnschedulable => "was-unschedulable",
        Write => "write",
        Attempt => "attempt",
        Taint => "taint",
        Cordon => "cordon",
        GivenBack => "given-back",
        ReleaseAt => "release-at",
        Replaced => "replaced",
        Cancel => "cancel",
        DrainProgress => "drain-progress",
        Pause => "pause",
        Agent => "agent",
        All => "all marks",
    }
}

names! {
    /// The phase that the node's own agent wrote last.
    At {
        None => "none",
        Wanted => "wanted",
        Draining => "draining",
        Delaying => "delaying",
        Sealed => "sealed",
        Returning => "returning",
    }
}

names! {
    /// The kind of value.
    Value {
        Removed => "removed",
        Garbage => "garbage",
        /// Well formed, and nobody's.
        Forged => "forged",
        /// From an older set of this node's own.
        Older => "older",
        /// It names the hold that the agent has.
        ThisHold => "of this hold",
        Past => "a past time",
        Future => "a future time",
        OfAnother => "another node's",
        Wanted => "wanted",
        Draining => "draining",
        Delaying => "delaying",
        Sealed => "sealed",
        Returning => "returning",
        True => "true",
        False => "false",
        Zero => "0",
        One => "1",
        Two => "2",
        Most => "255",
        ThisBoot => "this boot",
    }
}

impl Mark {
    /// Each kind of value that there is of it.
    pub(crate) fn values(self) -> &'static [Value] {
        use Value::{
            Delaying, Draining, False, Forged, Future, Garbage, Most, OfAnother, Older, One, Past, Removed,
            Returning, Sealed, ThisBoot, ThisHold, True, Two, Wanted, Zero,
        };
        match self {
            Mark::Holder => &[Removed, Garbage, Forged, Older, ThisHold, Future, OfAnother],
            // Another node's, or an older one, is one of these.
            Mark::Phase => &[Removed, Garbage, Wanted, Draining, Delaying, Sealed, Returning],
            Mark::Until => &[Removed, Garbage, Past, Future, Older, OfAnother],
            Mark::BootId => &[Removed, Garbage, Older, ThisBoot, OfAnother],
            Mark::WasUnschedulable => &[Removed, Garbage, True, False],
            Mark::Write => &[Removed, Garbage, Forged, Older, ThisHold, OfAnother],
            Mark::Attempt => &[Removed, Garbage, Zero, One, Two, Most],
            // Garbage is an effect that is not ours.
            Mark::Taint => &[Removed, Garbage, True],
            Mark::Cordon => &[True, False],
            Mark::GivenBack => &[Removed, Garbage, Forged, Older, ThisHold, Future, OfAnother],
            Mark::ReleaseAt => &[Removed, Garbage, Forged, ThisHold, Past, Future],
            Mark::Replaced => &[Removed, Garbage, Forged, ThisHold],
            Mark::Cancel => &[Removed, Garbage, Older, ThisHold, OfAnother],
            Mark::DrainProgress => &[Removed, Garbage, Forged],
            Mark::Pause => &[Removed, Forged],
            Mark::Agent => &[Removed, Garbage, Forged],
            Mark::All => &[Removed, Older, Wanted, OfAnother],
        }
    }

    /// Whether a Node in this phase can be given this value as a change.
    pub(crate) fn can_be(self, at: At, value: Value) -> bool {
        let is_shown = matches!(
            (at, value),
            (At::Wanted, Value::Wanted)
                | (At::Draining, Value::Draining)
                | (At::Delaying, Value::Delaying)
                | (At::Sealed, Value::Sealed)
                | (At::Returning, Value::Returning)
        );
        match (self, value) {
            // The phase that the agent has written is no other value.
            (Mark::Phase, _) if is_shown => false,
            // A wish put back on a wish, which is the newest, changes nothing.
            (Mark::All, Value::Wanted) if at == At::Wanted => false,
            // Without a hold nothing is of this hold.
            (_, Value::ThisHold) if at == At::None => false,
            _ => self.values().contains(&value),
        }
    }
}

/// How often each was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table(Vec<u64>);

/// One place of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub mark: Mark,
    pub at: At,
    pub value: Value,
}

impl Cell {
    fn slot(self) -> usize {
        let row = self.mark as usize * At::ALL.len() + self.at as usize;
        row * Value::ALL.len() + self.value as usize
    }

    /// Every one that can be.
    pub fn all() -> impl Iterator<Item = Cell> {
        Mark::ALL.iter().flat_map(|mark| {
            At::ALL.iter().flat_map(move |at| {
                let values = mark
                    .values()
                    .iter()
                    .filter(move |value| mark.can_be(*at, **value));
                values.map(move |value| Cell {
                    mark: *mark,
                    at: *at,
                    value: *value,
                })
            })
        })
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Cell { mark, at, value } = self;
        write!(f, "{} {}, {}", mark.as_str(), value.as_str(), at.as_str())
    }
}

impl Default for Table {
    fn default() -> Table {
        Table(vec![0; Mark::ALL.len() * At::ALL.len() * Value::ALL.len()])
    }
}

impl Table {
    pub(crate) fn count(&mut self, cell: Cell) {
        if let Some(count) = self.0.get_mut(cell.slot()) {
            *count += 1;
        }
    }

    pub(crate) fn add(&mut self, other: &Table) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }

    pub fn of(&self, cell: Cell) -> u64 {
        self.0.get(cell.slot()).copied().unwrap_or(0)
    }

    /// Those that were written less often than this.
    pub fn below(&self, least: u64) -> Vec<(Cell, u64)> {
        let counted = Cell::all().map(|cell| (cell, self.of(cell)));
        counted.filter(|(_, count)| *count < least).collect()
    }

    /// A line for each mark and kind of value, a column for each phase; `-` where it cannot be.
    pub fn lines(&self) -> Vec<String> {
        let mut head = format!("{:<34}", "written by somebody else");
        for at in At::ALL {
            head.extend([format!(" {:>9}", at.as_str())]);
        }
        let mut lines = vec![head];
        for mark in Mark::ALL {
            for value in mark.values() {
                let mut line = format!("{:<34}", format!("{} {}", mark.as_str(), value.as_str()));
                for at in At::ALL {
                    let count = mark.can_be(*at, *value).then(|| {
                        let (mark, at, value) = (*mark, *at, *value);
                        self.of(Cell { mark, at, value }).to_string()
                    });
                    line.extend([format!(" {:>9}", count.as_deref().unwrap_or("-"))]);
                }
                lines.push(line);
            }
        }
        lines
    }
}
