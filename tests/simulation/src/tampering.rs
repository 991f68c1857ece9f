//! The kinds of tampering (mark, phase, kind of value), and how many times each has happened.
//!
//! Not here: when the adversary writes, and the values themselves (`players/adversary.rs`).

use crate::faults::names;

names! {
    /// What is written: one of our marks, a sign or label beside them, or all marks at once.
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
        /// Well formed, but of no hold.
        Forged => "forged",
        /// From an older version of this Node.
        Older => "older",
        /// Names the agent's current hold.
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
    /// The kinds of value that this mark can get.
    pub(crate) fn values(self) -> &'static [Value] {
        use Value::{
            Delaying, Draining, False, Forged, Future, Garbage, Most, OfAnother, Older, One, Past, Removed,
            Returning, Sealed, ThisBoot, ThisHold, True, Two, Wanted, Zero,
        };
        match self {
            Mark::Holder => &[Removed, Garbage, Forged, Older, ThisHold, Future, OfAnother],
            // These are all values; one of another node or an older one is among them.
            Mark::Phase => &[Removed, Garbage, Wanted, Draining, Delaying, Sealed, Returning],
            Mark::Until => &[Removed, Garbage, Past, Future, Older, OfAnother],
            Mark::BootId => &[Removed, Garbage, Older, ThisBoot, OfAnother],
            Mark::WasUnschedulable => &[Removed, Garbage, True, False],
            Mark::Write => &[Removed, Garbage, Forged, Older, ThisHold, OfAnother],
            Mark::Attempt => &[Removed, Garbage, Zero, One, Two, Most],
            // `Garbage` is our taint with another effect.
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

    /// Whether writing this value changes a Node in this phase.
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
            // The Node already shows this phase.
            (Mark::Phase, _) if is_shown => false,
            // Putting the newest wish back on a wish changes nothing.
            (Mark::All, Value::Wanted) if at == At::Wanted => false,
            // There is no current hold.
            (_, Value::ThisHold) if at == At::None => false,
            _ => self.values().contains(&value),
        }
    }
}

/// How many times each kind of tampering has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table(Vec<u64>);

/// One kind of tampering, and a cell of the table.
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

    /// All kinds of tampering that are possible.
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

    /// The kinds that have happened fewer times than `least`, and how many times.
    pub fn below(&self, least: u64) -> Vec<(Cell, u64)> {
        let counted = Cell::all().map(|cell| (cell, self.of(cell)));
        counted.filter(|(_, count)| *count < least).collect()
    }

    /// The table as text: a line for each mark and kind of value, a column for each phase; `-` where it is not possible.
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
