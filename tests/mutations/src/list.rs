//! The mutants: which there are, as cargo-mutants lists them, and which of them are asked for.
//!
//! Not here: what cargo-mutants leaves out (`.cargo/mutants.toml`).

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use cordonhold_simulation::random::Random;
use serde_json::Value;

/// How to get the tool that lists the mutants.
const INSTALL: &str = "cargo install cargo-mutants --locked";

/// A line and a column in a source, both from 1, as cargo-mutants counts them.
pub(crate) type Position = (usize, usize);

/// One change of the core.
#[derive(Clone, Debug)]
pub(crate) struct Mutant {
    /// Its place in the whole list. It switches the mutant on.
    pub(crate) id: usize,
    pub(crate) genre: Genre,
    /// The source, as a path from the root.
    pub(crate) file: String,
    pub(crate) start: Position,
    /// What stands there instead; empty if something is left out.
    pub(crate) replacement: String,
    /// As cargo-mutants calls it: the file, the line, the column, and what is changed.
    pub(crate) name: String,
}

/// What kind of change it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Genre {
    /// A function returns a fixed value.
    FnValue,
    /// Another operator between two values.
    BinaryOperator,
    /// An operator before a value is left out.
    UnaryOperator,
    /// An arm of a `match` is left out.
    MatchArm,
    /// The condition of an arm is always or never true.
    MatchArmGuard,
    /// A field of a struct is left out, and comes from its `..rest`.
    StructField,
    /// Of a cargo-mutants that knows more.
    Other,
}

impl Mutant {
    /// The name without line and column, which other changes of the file would move.
    pub(crate) fn lasting_name(&self) -> String {
        let what = self.name.splitn(4, ':').nth(3).unwrap_or_default();
        format!("{}:{what}", self.file)
    }

    fn read(id: usize, mutant: &Value) -> Option<Mutant> {
        let text = |key: &str| mutant[key].as_str().map(str::to_owned);
        let start = &mutant["span"]["start"];
        let number = |key: &str| usize::try_from(start[key].as_u64()?).ok();
        Some(Mutant {
            id,
            genre: Genre::named(mutant["genre"].as_str()?),
            file: text("file")?,
            start: (number("line")?, number("column")?),
            replacement: text("replacement")?,
            name: text("name")?,
        })
    }
}

impl Genre {
    fn named(name: &str) -> Genre {
        match name {
            "FnValue" => Genre::FnValue,
            "BinaryOperator" => Genre::BinaryOperator,
            "UnaryOperator" => Genre::UnaryOperator,
            "MatchArm" => Genre::MatchArm,
            "MatchArmGuard" => Genre::MatchArmGuard,
            "StructField" => Genre::StructField,
            _ => Genre::Other,
        }
    }
}

/// All mutants of the core.
pub(crate) fn all(root: &Path) -> Result<Vec<Mutant>> {
    let output = Command::new("cargo-mutants")
        .args(["mutants", "--list", "--json"])
        .current_dir(root)
        .output()
        .with_context(|| {
            format!("cargo-mutants, which lists the mutants, cannot be run: install it with `{INSTALL}`")
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("cargo mutants --list --json ended with {}: {said}", output.status);
    }
    read(&output.stdout)
}

fn read(json: &[u8]) -> Result<Vec<Mutant>> {
    let list: Vec<Value> = serde_json::from_slice(json).context("the list of cargo-mutants is not JSON")?;
    ensure!(
        !list.is_empty(),
        "cargo-mutants lists no mutant: see .cargo/mutants.toml"
    );
    let mutants = list.iter().enumerate().map(|(id, mutant)| {
        let read = Mutant::read(id, mutant);
        read.with_context(|| format!("cargo-mutants lists what this version cannot read: {mutant}"))
    });
    mutants.collect()
}

/// The mutants of files whose path matches the pattern: `*` stands for any text, and a pattern without it is a part of the path.
pub(crate) fn of_files(mutants: Vec<Mutant>, pattern: &str) -> Vec<Mutant> {
    let is_meant = |file: &str| {
        if pattern.contains('*') {
            matches(pattern, file)
        } else {
            file.contains(pattern)
        }
    };
    mutants
        .into_iter()
        .filter(|mutant| is_meant(&mutant.file))
        .collect()
}

fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(first) else {
        return false;
    };
    let mut ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    ends.any(|at| matches(rest, &text[at..]))
}

/// So many of the mutants, drawn with this seed, in the order of the list.
pub(crate) fn sample(mut mutants: Vec<Mutant>, size: usize, seed: u64) -> Vec<Mutant> {
    let mut random = Random::new(seed);
    while mutants.len() > size {
        drop(mutants.swap_remove(random.index(mutants.len())));
    }
    mutants.sort_by_key(|mutant| mutant.id);
    mutants
}

/// The ids of these mutants.
pub(crate) fn ids(mutants: &[Mutant]) -> BTreeSet<usize> {
    mutants.iter().map(|mutant| mutant.id).collect()
}

#[cfg(test)]
mod tests;
