//! The copy of the sources that the mutants are built into. The sources themselves stay as they are.
//!
//! Not here: what is written into it (`switch.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::list::Mutant;
use crate::switch::{self, Place};

/// The root of the crate that the mutants are in.
const CRATE_ROOT: &str = "shared/src/lib.rs";

pub(crate) struct Copy {
    sources: PathBuf,
    /// Where the copy is.
    pub(crate) directory: PathBuf,
}

/// The mutants that are in the copy.
#[derive(Default)]
pub(crate) struct Written {
    /// Where they are, by file.
    pub(crate) places: BTreeMap<String, Vec<Place>>,
    pub(crate) mutants: Vec<Mutant>,
}

impl Copy {
    /// A copy of what git has or would add, without what an earlier one left.
    pub(crate) fn new(sources: &Path, directory: PathBuf) -> Result<Copy> {
        if directory.exists() {
            fs::remove_dir_all(&directory)
                .with_context(|| format!("failed to remove {}", directory.display()))?;
        }
        for file in files(sources)? {
            let from = sources.join(&file);
            // Git has a file that was deleted until that is committed.
            if from.exists() {
                copy(&from, &directory.join(&file))?;
            }
        }
        Ok(Copy {
            sources: sources.to_owned(),
            directory,
        })
    }

    /// Writes the sources with a switch for each of the mutants that has a place and is not refused. A source of which all are refused is
    /// as it was.
    pub(crate) fn write(&self, mutants: &[Mutant], refused: &BTreeSet<usize>) -> Result<Written> {
        let mut by_file: BTreeMap<&str, Vec<&Mutant>> = BTreeMap::from([(CRATE_ROOT, Vec::new())]);
        for mutant in mutants {
            let of_file = by_file.entry(&mutant.file).or_default();
            if !refused.contains(&mutant.id) {
                of_file.push(mutant);
            }
        }
        let mut written = Written::default();
        for (file, mutants) in by_file {
            let from = self.sources.join(file);
            let source =
                fs::read_to_string(&from).with_context(|| format!("failed to read {}", from.display()))?;
            let mut switched = switch::switched(&source, &mutants)
                .with_context(|| format!("failed to switch the mutants of {file}"))?;
            if file == CRATE_ROOT {
                switched.text.push_str(switch::DEFINITION);
            }
            let to = self.directory.join(file);
            fs::write(&to, switched.text).with_context(|| format!("failed to write {}", to.display()))?;
            drop(written.places.insert(file.to_owned(), switched.places));
            let has_place = |mutant: &&&Mutant| switched.ids.contains(&mutant.id);
            let placed = mutants.iter().filter(has_place);
            written.mutants.extend(placed.map(|mutant| Mutant::clone(mutant)));
        }
        written.mutants.sort_by_key(|mutant| mutant.id);
        Ok(written)
    }
}

fn files(sources: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(sources)
        .output()
        .context("failed to run git, which lists the sources: install git")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "git ls-files ended with {}: {said}",
        output.status
    );
    let names = String::from_utf8(output.stdout).context("a source has a name that is not UTF-8")?;
    let names = names.split('\0').filter(|name| !name.is_empty());
    Ok(names.map(PathBuf::from).collect())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().unwrap_or(to);
    fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let copied = fs::copy(from, to).map(drop);
    copied.with_context(|| format!("failed to copy {}", from.display()))
}

#[cfg(test)]
mod tests {
    use crate::list::Genre;

    use super::*;

    #[test]
    fn a_source_of_which_all_mutants_are_refused_is_as_it_was() {
        let directory = tempfile::tempdir().expect("a directory");
        let [sources, copied] = ["sources", "copy"].map(|name| directory.path().join(name));
        let file = "shared/src/span.rs";
        let text = "fn seven() -> u8 { 7 }\n";
        for root in [&sources, &copied] {
            fs::create_dir_all(root.join("shared/src")).expect("a folder");
            fs::write(root.join(CRATE_ROOT), "mod span;\n").expect("a source");
            fs::write(root.join(file), text).expect("a source");
        }
        let copy = Copy {
            sources,
            directory: copied,
        };
        let mutant = Mutant {
            id: 5,
            genre: Genre::FnValue,
            file: file.to_owned(),
            start: (1, 20),
            replacement: "0".to_owned(),
            name: "replace seven with 0".to_owned(),
        };
        let read = || fs::read_to_string(copy.directory.join(file)).expect("a source");
        let write = |refused: &[usize]| {
            let refused = refused.iter().copied().collect();
            let written = copy.write(std::slice::from_ref(&mutant), &refused);
            written.expect("it is written").mutants.len()
        };
        assert_eq!(write(&[]), 1);
        assert!(read().contains("__mutant(5)"), "{}", read());
        assert_eq!(write(&[5]), 0);
        assert_eq!(read(), text);
    }
}
