//! Images that were made before, read from a folder: all of them, before one is pushed, and only if they belong together.
//!
//! Not here: whether one file is whole ([`crate::image::read`]).

use std::io;
use std::path::{Path, PathBuf};

use super::{Ready, TAR, name};
use crate::VERSION;
use crate::image::read::{self, Origin, ReadError};
use crate::program::{Arch, file_name, with_image};
use crate::push::repository::Repository;

/// Why the images in a folder are not pushed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum FolderError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{} has no image of {program}: make the images with `cargo images`, or name their folder with --from", .folder.display())]
    NoImage { program: &'static str, folder: PathBuf },
    #[error("{} is an image of {found}, not of {expected}: make the images again with `cargo images`", .path.display())]
    Another {
        path: PathBuf,
        found: String,
        expected: String,
    },
    #[error(
        "{} is version {found}, and this clone is {VERSION}: push it from a clone at the tag v{found}, or make it again with `cargo images`",
        .path.display()
    )]
    OtherVersion { path: PathBuf, found: String },
    #[error(
        "{} does not say from which commit it was made, because its tree had changes: commit them and make the images again, or push right after the build with `cargo images --push` without --from",
        .path.display()
    )]
    NoCommit { path: PathBuf },
    #[error(
        "{} was made from the commit {first_commit}, but {} from {second_commit}: make the images for all CPUs from one commit, or remove the old ones",
        .first.display(), .second.display()
    )]
    OtherCommit {
        first: PathBuf,
        first_commit: String,
        second: PathBuf,
        second_commit: String,
    },
    #[error("the list {} cannot be read: {source}: take the folder as `cargo release` has made it", .path.display())]
    List { path: PathBuf, source: io::Error },
    #[error(
        "{} lists {listed}, but the images in its folder would be pushed as {found}: name the repository of the release with --repository, and take the folder as `cargo release` has made it",
        .path.display()
    )]
    NotListed {
        path: PathBuf,
        listed: String,
        found: String,
    },
}

/// The list of a release: the names of its images with their digests.
pub const LIST: &str = "images.txt";

/// A line of the list, without its end.
pub fn line(image: &str, digest: &str) -> String {
    format!("{image}@{digest}")
}

/// Reads all images in a folder. They must be of this version and of one commit, and, if the folder is that of a release, those of its list.
pub fn read(folder: &Path, repository: &Repository) -> Result<Vec<Ready>, FolderError> {
    let mut all = Vec::new();
    let mut commits = Vec::new();
    for program in with_image() {
        let mut images = Vec::new();
        for arch in Arch::ALL {
            let path = folder.join(file_name(program.name, arch, TAR));
            if !path.exists() {
                continue;
            }
            let image = read::file(&path)?;
            let origin = read::origin(&image).map_err(|problem| ReadError::Broken {
                path: path.clone(),
                problem,
            })?;
            commits.push((path.clone(), commit(path, origin, program.name, arch)?));
            images.push(image);
        }
        if images.is_empty() {
            return Err(FolderError::NoImage {
                program: program.name,
                folder: folder.to_owned(),
            });
        }
        all.push(Ready { program, images });
    }
    of_one(&commits)?;
    listed(folder, &all, repository)?;
    Ok(all)
}

/// The commit that an image was made from, if it is the image that its file's name says.
fn commit(path: PathBuf, origin: Origin, program: &str, arch: Arch) -> Result<String, FolderError> {
    let of = |title: &str, arch: &str| format!("{title} for {arch}");
    let (found, expected) = (of(&origin.title, &origin.architecture), of(program, arch.name()));
    if found != expected {
        return Err(FolderError::Another {
            path,
            found,
            expected,
        });
    }
    if origin.version != VERSION {
        return Err(FolderError::OtherVersion {
            path,
            found: origin.version,
        });
    }
    origin.revision.ok_or(FolderError::NoCommit { path })
}

fn of_one(commits: &[(PathBuf, String)]) -> Result<(), FolderError> {
    for pair in commits.windows(2) {
        if let [(first, first_commit), (second, second_commit)] = pair
            && first_commit != second_commit
        {
            return Err(FolderError::OtherCommit {
                first: first.clone(),
                first_commit: first_commit.clone(),
                second: second.clone(),
                second_commit: second_commit.clone(),
            });
        }
    }
    Ok(())
}

/// Checks that a release, whose manifests name its images, would get just these.
fn listed(folder: &Path, ready: &[Ready], repository: &Repository) -> Result<(), FolderError> {
    let path = folder.join(LIST);
    let failed = |source| FolderError::List {
        path: path.clone(),
        source,
    };
    let text = match std::fs::read_to_string(&path) {
        // A folder of `cargo images` has no list.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(failed)?,
    };
    let mut lines = Vec::new();
    for ready in ready {
        let image = name(&repository.to_string(), ready.program.name);
        lines.push(line(&image, &ready.digest().map_err(failed)?));
    }
    let (found, listed) = (lines.join(" "), text.lines().collect::<Vec<_>>().join(" "));
    if found == listed {
        return Ok(());
    }
    Err(FolderError::NotListed { path, listed, found })
}

#[cfg(test)]
mod tests;
