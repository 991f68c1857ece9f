//! The chart as `helm package` would pack it, but the same each time.
//!
//! Not here: what is in the chart ([`cordonhold_manifests::chart`]).

use std::io;
use std::path::{Path, PathBuf};

use crate::archive::{Archive, FILE, gzip};
use crate::images::NO_REPOSITORY;
use crate::program::with_image;
use crate::source::{self, SourceError};

/// Why the chart cannot be packed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum PackageError {
    #[error("failed to pack {}: take the chart from the clone again, with `git checkout`", .path.display())]
    Pack { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// The folder of the chart in the clone.
const FOLDER: &str = "manifests/chart/";
/// The name of the chart, which is that of the folder in its package.
const NAME: &str = "cordonhold";
/// The folder with its tests, which nobody needs to install it.
const TESTS: &str = "tests/";

/// The chart with these repositories as its defaults. What is in its folder but not in git, such as an editor's file, is left out.
pub(super) fn chart(root: &Path, repository: &str) -> Result<Vec<u8>, PackageError> {
    let mut archive = Archive::default();
    for path in source::tracked(root, FOLDER)? {
        let inside = path.trim_start_matches(FOLDER);
        if inside.starts_with(TESTS) {
            continue;
        }
        let place = root.join(&path);
        std::fs::read_to_string(&place)
            .and_then(|text| {
                let text = named(text, repository);
                archive.file(&format!("{NAME}/{inside}"), FILE, text.as_bytes())
            })
            .map_err(|source| PackageError::Pack { path: place, source })?;
    }
    archive
        .finish()
        .and_then(|tar| gzip(&tar))
        .map_err(|source| PackageError::Pack {
            path: root.join(FOLDER),
            source,
        })
}

/// The text with the repositories in place of the names that stand for none. NOTES.txt, which looks for those, names no program with them.
fn named(text: String, repository: &str) -> String {
    with_image().fold(text, |text, program| {
        let of = |repository: &str| format!("{repository}/{}", program.name);
        text.replace(&of(NO_REPOSITORY), &of(repository))
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::source::tests::run;

    /// The names in a packed chart.
    fn names(packed: &[u8]) -> Vec<String> {
        let mut tar = Vec::new();
        let _ = flate2::read::GzDecoder::new(packed)
            .read_to_end(&mut tar)
            .unwrap();
        let mut tar = tar::Archive::new(tar.as_slice());
        let entries = tar.entries().unwrap();
        entries
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect()
    }

    #[test]
    fn a_chart_is_packed_from_what_git_has() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        run(root, &["init", "--quiet"]);
        for path in [
            "chart/Chart.yaml",
            "chart/templates/x.yaml",
            "chart/tests/x.yaml",
            "README.md",
        ] {
            let path = root.join("manifests").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "{}").unwrap();
        }
        run(root, &["add", "."]);
        std::fs::write(root.join("manifests/chart/templates/x.yaml~"), "{}").unwrap();
        let packed = chart(root, "registry.example").unwrap();
        assert_eq!(
            names(&packed),
            ["cordonhold/Chart.yaml", "cordonhold/templates/x.yaml"]
        );
        std::fs::remove_file(root.join("manifests/chart/Chart.yaml")).unwrap();
        let line = chart(root, "registry.example").unwrap_err().to_string();
        assert!(
            line.contains("manifests/chart/Chart.yaml") && line.contains("git checkout"),
            "{line}"
        );
    }
}
