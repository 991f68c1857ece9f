//! Builds the tests with the switches. What the compiler refuses is left out, in rounds, until it takes the rest.
//!
//! Not here: the switches (`switch.rs`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::copy::{Copy, Written};
use crate::list::Mutant;
use crate::switch::{Place, SWITCH};

/// How many rounds there may be. The compiler stops after types, and again after borrows, so there are a few of each.
const ROUNDS_MAX: usize = 25;

/// After so many rounds, all mutants at the place of an error are left out, not just the one that it seems to be about.
const NARROW_ROUNDS: usize = 8;

/// How many errors are shown that are about no mutant.
const SHOWN_MAX: usize = 3;

const PACKAGE: &str = "cordonhold-shared";
const PROFILE: &str = "mutants";

/// The tests, with the mutants that could be switched in.
pub(crate) struct Built {
    pub(crate) program: PathBuf,
    pub(crate) mutants: Vec<Mutant>,
}

/// Writes the mutants into the copy without those that do not compile, and builds its tests in this directory.
pub(crate) fn build(copy: &Copy, mutants: &[Mutant], target: &Path, tell: impl Fn(&str)) -> Result<Built> {
    let mut refused = BTreeSet::new();
    for round in 1..=ROUNDS_MAX {
        let written = copy.write(mutants, &refused)?;
        let errors = check(copy, target)?;
        if errors.is_empty() {
            tell(&format!(
                "round {round}: {} mutants compile",
                written.mutants.len()
            ));
            let program = tests(copy, target)?;
            return Ok(Built {
                program,
                mutants: written.mutants,
            });
        }
        let more = blamed_by_all(copy, &written, &errors, round <= NARROW_ROUNDS)?;
        tell(&format!("round {round}: {} mutants do not compile", more.len()));
        refused.extend(more);
    }
    bail!(
        "after {ROUNDS_MAX} rounds there are still mutants that do not compile: this is a defect of `cargo mutations`"
    )
}

fn cargo(copy: &Copy, target: &Path, command: &[&str]) -> Result<(bool, Vec<Value>, String)> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(command)
        .args(["--locked", "--message-format", "json", "--package", PACKAGE])
        .args(["--profile", PROFILE, "--target-dir"])
        .arg(target)
        .current_dir(&copy.directory)
        .output()
        .context("failed to run cargo")?;
    let lines = output.stdout.split(|byte| *byte == b'\n');
    let messages = lines.filter_map(|line| serde_json::from_slice(line).ok());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output.status.success(), messages.collect(), said))
}

/// The errors of the compiler.
fn check(copy: &Copy, target: &Path) -> Result<Vec<Value>> {
    let (is_good, messages, said) = cargo(copy, target, &["check", "--tests"])?;
    let messages = messages.into_iter().map(|mut message| message["message"].take());
    let errors: Vec<Value> = messages.filter(|message| message["level"] == "error").collect();
    ensure!(
        is_good || !errors.is_empty(),
        "the sources are not checked: {said}"
    );
    Ok(errors)
}

/// The program with the tests.
fn tests(copy: &Copy, target: &Path) -> Result<PathBuf> {
    let (is_good, messages, said) = cargo(copy, target, &["test", "--lib", "--no-run"])?;
    ensure!(is_good, "the tests with the switches are not built: {said}");
    let mut programs = messages
        .iter()
        .filter_map(|message| message["executable"].as_str());
    let program = programs.next().context("cargo names no program with the tests")?;
    Ok(PathBuf::from(program))
}

/// The mutants that the errors are about.
fn blamed_by_all(
    copy: &Copy,
    written: &Written,
    errors: &[Value],
    is_narrow: bool,
) -> Result<BTreeSet<usize>> {
    let mut all = BTreeSet::new();
    let mut strange = Vec::new();
    for error in errors {
        let blamed = blamed(copy, written, error, is_narrow);
        if blamed.is_empty() {
            strange.push(error["rendered"].as_str().unwrap_or_default());
        }
        all.extend(blamed);
    }
    strange.truncate(SHOWN_MAX);
    ensure!(
        !all.is_empty(),
        "the sources do not compile, whichever mutants are left out: {}",
        strange.concat()
    );
    Ok(all)
}

/// The mutants that one error is about: at its place or, if none is there, where it says that its cause is.
fn blamed(copy: &Copy, written: &Written, error: &Value, is_narrow: bool) -> Vec<usize> {
    let mut spans: Vec<&Value> = error["spans"].as_array().into_iter().flatten().collect();
    spans.sort_by_key(|span| span["is_primary"] != true);
    let blamed = spans.into_iter().map(|span| {
        let file = span["file_name"].as_str()?;
        let places = written.places.get(file)?;
        let text = std::fs::read_to_string(copy.directory.join(file)).ok()?;
        let start = usize::try_from(span["byte_start"].as_u64()?).ok()?;
        let end = usize::try_from(span["byte_end"].as_u64()?).ok()?;
        Some(at(places, &text, start, end, is_narrow))
    });
    blamed.flatten().find(|ids| !ids.is_empty()).unwrap_or_default()
}

/// The mutants at this part of the text: if possible only the one whose switch is the last before it.
fn at(places: &[Place], text: &str, start: usize, end: usize, is_narrow: bool) -> Vec<usize> {
    let around = places
        .iter()
        .filter(|place| place.range.start <= start && end <= place.range.end);
    let around: Vec<&Place> = around.collect();
    let near = text.get(..start).and_then(last_switch);
    if is_narrow
        && let Some(id) = near
        && around.iter().any(|place| place.ids.contains(&id))
    {
        return vec![id];
    }
    let innermost = around.into_iter().min_by_key(|place| place.range.len());
    innermost.map(|place| place.ids.clone()).unwrap_or_default()
}

/// The number of the last switch in the text.
fn last_switch(text: &str) -> Option<usize> {
    let (_, rest) = text.rsplit_once(SWITCH)?;
    rest.split_once(')')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_about_the_last_switch_before_it_and_later_about_all_at_its_place() {
        let text = "if crate::__mutant(3) { a } else if crate::__mutant(4) { b } else { c } d";
        let places = [
            Place {
                range: 0..71,
                ids: vec![3, 4],
            },
            Place {
                range: 0..text.len(),
                ids: vec![7],
            },
        ];
        let at = |what: &str, is_narrow| {
            let start = text.find(what).expect("in the text");
            at(&places, text, start, start + what.len(), is_narrow)
        };
        assert_eq!(at("a }", true), [3]);
        assert_eq!(at("b }", true), [4]);
        assert_eq!(at("b }", false), [3, 4]);
        assert_eq!(at(" d", true), [7]);
        assert_eq!(at(" d", false), [7]);
    }
}
