//! The chart as `helm package` would pack it, but the same each time.
//!
//! Not here: what is in the chart ([`cordonhold_manifests::chart`]).

use std::io;
use std::path::{Path, PathBuf};

use crate::archive::{Archive, FILE, gzip};
use crate::images::NO_REPOSITORY;
use crate::program::PROGRAMS;

/// Why the chart cannot be packed.
#[derive(Debug, thiserror::Error)]
#[error("failed to pack {}: take the chart from the clone again, with `git checkout`", .path.display())]
pub struct PackageError {
    path: PathBuf,
    source: io::Error,
}

/// The name of the chart, which is that of the folder in its package.
const NAME: &str = "cordonhold";
/// The folder with its tests, which nobody needs to install it.
const TESTS: &str = "tests";

/// The chart with these repositories as its defaults.
pub(super) fn chart(repository: &str) -> Result<Vec<u8>, PackageError> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = here.parent().unwrap_or(here).join("chart");
    let mut archive = Archive::default();
    add(&mut archive, &folder, NAME, repository).and_then(|()| {
        let failed = |source| PackageError {
            path: folder.clone(),
            source,
        };
        gzip(&archive.finish().map_err(failed)?).map_err(failed)
    })
}

/// Adds what is in a folder, in the order of the names.
fn add(archive: &mut Archive, folder: &Path, name: &str, repository: &str) -> Result<(), PackageError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| PackageError { path, source }
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
        paths.push(entry.map_err(failed(folder))?.path());
    }
    paths.sort();
    for path in paths {
        let last = path
            .file_name()
            .map_or_else(String::new, |last| last.to_string_lossy().into_owned());
        let name = format!("{name}/{last}");
        if path.is_file() {
            let text = std::fs::read_to_string(&path).map_err(failed(&path))?;
            let text = named(text, repository);
            archive
                .file(&name, FILE, text.as_bytes())
                .map_err(failed(&path))?;
        } else if last != TESTS {
            add(archive, &path, &name, repository)?;
        }
    }
    Ok(())
}

/// The text with the repositories in place of the names that stand for none. NOTES.txt, which looks for those, names no program with them.
fn named(text: String, repository: &str) -> String {
    PROGRAMS.iter().fold(text, |text, program| {
        let of = |repository: &str| format!("{repository}/{}", program.name);
        text.replace(&of(NO_REPOSITORY), &of(repository))
    })
}
