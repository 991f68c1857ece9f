//! `docs/kured-defects.md` tells kured's defects by number: here it is held against the tests of the whole repository, which carry those numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

/// How many defects are known.
const DEFECTS: u32 = 28;

type Tests = BTreeMap<u32, BTreeSet<String>>;

/// The number of a defect's test, like 4 of `d4_a_rollout`.
fn number(name: &str) -> Option<u32> {
    name.strip_prefix('d')?.split_once('_')?.0.parse().ok()
}

/// The function that begins on this line.
fn function(line: &str) -> Option<String> {
    let line = line.trim_start();
    let line = line.strip_prefix("async ").unwrap_or(line);
    let (name, _) = line.strip_prefix("fn ")?.split_once('(')?;
    Some(name.to_owned())
}

/// The tests in the sources below this directory.
fn collect(directory: &Path, tests: &mut Tests) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            collect(&path, tests)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            for name in text.lines().filter_map(function) {
                if let Some(number) = number(&name) {
                    let _ = tests.entry(number).or_default().insert(name);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn every_defect_of_kured_is_told_and_has_the_tests_that_are_named() {
    let mut tests = Tests::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), &mut tests).unwrap();
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/kured-defects.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| D")).collect();
    assert_eq!(rows.len(), usize::try_from(DEFECTS).unwrap());
    for (defect, row) in (1..=DEFECTS).zip(rows) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [title, _, here, shown] = cells[..] else {
            panic!("{row}")
        };
        assert_eq!(title, format!("D{defect}"));
        let named: BTreeSet<String> = shown
            .split(", ")
            .filter(|name| !name.is_empty())
            .map(|name| name.trim_matches('`').to_owned())
            .collect();
        assert_eq!(named, tests.remove(&defect).unwrap_or_default(), "{title}");
        let needs_none = ["Not yet: ", "Measured: "]
            .iter()
            .any(|word| here.starts_with(word));
        assert_eq!(named.is_empty(), needs_none, "{title}: {here}");
    }
    assert!(tests.is_empty(), "tests of no defect: {tests:?}");
}
