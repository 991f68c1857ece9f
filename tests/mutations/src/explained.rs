//! The mutants that no test can notice, each with its reason: `explained.txt`.
//!
//! Not here: which mutants survived (`run.rs`).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};

use crate::list::Mutant;

/// Of a hundred mutants, so many may be explained.
const PERCENT_MAX: usize = 2;

/// Seal, lock and give-back: a test notices each of their mutants.
const NEVER: [&str; 5] = [
    "shared/src/lock.rs",
    "shared/src/lock/",
    "shared/src/reboot/cycle/sealing.rs",
    "shared/src/reboot/cycle/lock_edit.rs",
    "shared/src/reboot/cycle/returning.rs",
];

/// The names without line and column, and how many mutants of that name are explained.
#[derive(Debug)]
pub(crate) struct Explained(BTreeMap<String, usize>);

/// Which mutants ran.
pub(crate) struct Ran<'a> {
    /// The whole list, even if only a part of it ran.
    pub(crate) all: &'a [Mutant],
    /// Those that no test noticed.
    pub(crate) survivors: &'a BTreeSet<usize>,
    /// Those of which only cargo-mutants itself can say it.
    pub(crate) unswitched: &'a BTreeSet<usize>,
    /// Whether all of the list ran.
    pub(crate) is_whole: bool,
}

impl Explained {
    /// Reads a row for each mutant: its name without line and column, a tab, the reason. A line with `#` is a comment.
    pub(crate) fn read(text: &str) -> Result<Explained> {
        let mut rows = BTreeMap::new();
        for line in text.lines() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let row = line
                .split_once('\t')
                .filter(|(_, reason)| !reason.trim().is_empty());
            let (name, _) = row.with_context(|| format!("the line has no tab and reason: {line}"))?;
            *rows.entry(name.to_owned()).or_default() += 1;
        }
        Ok(Explained(rows))
    }

    /// The survivors that are not explained.
    pub(crate) fn unexplained<'a>(&self, ran: &Ran<'a>) -> Vec<&'a Mutant> {
        let mut left = self.0.clone();
        let survivors = ran.all.iter().filter(|mutant| ran.survivors.contains(&mutant.id));
        let unexplained = survivors.filter(|mutant| match left.get_mut(&mutant.lasting_name()) {
            Some(rows) if *rows > 0 => {
                *rows -= 1;
                false
            }
            _ => true,
        });
        unexplained.collect()
    }

    /// What is wrong with the rows themselves.
    pub(crate) fn faults(&self, ran: &Ran<'_>) -> Vec<String> {
        let never = self
            .0
            .keys()
            .filter(|name| NEVER.iter().any(|file| name.starts_with(file)));
        let mut faults: Vec<String> = never
            .map(|name| format!("explained, but of seal, lock or give-back, so it needs a test: {name}"))
            .collect();
        if !ran.is_whole {
            return faults;
        }
        let mut may_survive: BTreeMap<String, usize> = BTreeMap::new();
        for mutant in ran.all {
            let may = ran.survivors.contains(&mutant.id) || ran.unswitched.contains(&mutant.id);
            *may_survive.entry(mutant.lasting_name()).or_default() += usize::from(may);
        }
        for (name, rows) in &self.0 {
            match may_survive.get(name) {
                None => faults.push(format!("explained, but there is no such mutant: {name}")),
                Some(may) if may < rows => faults.push(format!(
                    "explained {rows} times, but only {may} of that name survive: {name}"
                )),
                Some(_) => {}
            }
        }
        let rows: usize = self.0.values().sum();
        if rows * 100 > ran.all.len() * PERCENT_MAX {
            faults.push(format!(
                "{rows} of {} mutants are explained, more than {PERCENT_MAX} %",
                ran.all.len()
            ));
        }
        faults
    }
}

#[cfg(test)]
mod tests;
