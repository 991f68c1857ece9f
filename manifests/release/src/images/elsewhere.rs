//! A copy of the clone in another folder, to see that what is built does not depend on where.
//!
//! Not here: the comparison ([`super`]). Another machine, user or home of Cargo: two people who make the same tag compare these.

use std::io;
use std::path::{Path, PathBuf};

use super::ImagesError;
use crate::source;

/// Where the clone is built once more.
pub(super) struct Elsewhere {
    /// The root of the copy.
    pub(super) root: PathBuf,
    /// The compilers' own folder there, which is empty at first: what an earlier run left would be taken without compiling.
    pub(super) build: PathBuf,
}

/// Everything of the second build. The two folders in it are named so that no path has the length or the depth of the first build's.
const PLACE: &str = "target/shipped-again";
const ROOT: &str = "another/place/of/the-clone";
const BUILD: &str = "built";

impl Elsewhere {
    /// Copies the files of a clone as they are now, so also a tree with changes can be built twice.
    pub(super) fn make(root: &Path) -> Result<Self, ImagesError> {
        let place = root.join(PLACE);
        let copy = Elsewhere {
            root: place.join(ROOT),
            build: place.join(BUILD),
        };
        copy.fill(root, &source::present(root)?, &place)
            .map_err(|source| ImagesError::Copy { place, source })?;
        Ok(copy)
    }

    fn fill(&self, root: &Path, names: &[String], place: &Path) -> io::Result<()> {
        if place.exists() {
            std::fs::remove_dir_all(place)?;
        }
        for name in names {
            let to = self.root.join(name);
            to.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            let _ = std::fs::copy(root.join(name), &to)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tests::run;

    #[test]
    fn a_copy_has_each_file_that_git_does_not_ignore_as_it_is_now() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        run(root, &["init", "--quiet"]);
        let write = |name: &str, text: &str| std::fs::write(root.join(name), text).unwrap();
        write(".gitignore", "target\n");
        for name in ["kept", "removed"] {
            write(name, "one");
        }
        run(root, &["add", "."]);
        write("kept", "two");
        write("new", "");
        std::fs::remove_file(root.join("removed")).unwrap();
        // What an earlier run left.
        std::fs::create_dir_all(root.join(PLACE).join(BUILD)).unwrap();
        write("target/shipped-again/built/stale", "");
        let copy = Elsewhere::make(root).unwrap();
        let mut names: Vec<String> = std::fs::read_dir(&copy.root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, [".gitignore", "kept", "new"]);
        assert_eq!(std::fs::read_to_string(copy.root.join("kept")).unwrap(), "two");
        assert!(!copy.build.exists());
    }
}
