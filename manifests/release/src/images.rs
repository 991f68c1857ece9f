//! Makes the images of all programs, and pushes them.
//!
//! Not here: the command line (`bin/images.rs`), reading images that were made before ([`folder`]), and the rest of a release
//! ([`crate::release`]).

use std::io;
use std::path::{Path, PathBuf};

use crate::VERSION;
use crate::bill::{self, BillError};
use crate::compile::{CompileError, Compilers};
use crate::image::{self, Image, sha256};
use crate::plugin;
use crate::program::{self, Arch, Program, file_name};
use crate::push::repository::Repository;
use crate::push::{Push, PushError};
use crate::source::{self, Commit, SourceError};

mod elsewhere;
pub mod folder;

use elsewhere::Elsewhere;
pub use folder::FolderError;

/// Why there are no images, or why they are not pushed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum ImagesError {
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    Bill(#[from] BillError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Push(#[from] PushError),
    #[error("failed to read the program {}", .path.display())]
    Program { path: PathBuf, source: io::Error },
    #[error("failed to write {}: name a folder that can be written with --out", .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("failed to copy the clone to {}, where it is built once more", .place.display())]
    Copy { place: PathBuf, source: io::Error },
    #[error("failed to make the image of {program}")]
    Make {
        program: &'static str,
        source: io::Error,
    },
    #[error("{program} for {arch} is not the same when it is built again: {first}, then {second}; both are kept in {}", .place.display())]
    NotTheSame {
        program: &'static str,
        arch: &'static str,
        first: String,
        second: String,
        place: PathBuf,
    },
}

/// Where and for what programs are built.
#[derive(Debug)]
pub struct Options {
    /// The CPUs, in any order.
    pub arches: Vec<Arch>,
    pub programs: Vec<&'static Program>,
    /// What the repositories' names begin with.
    pub repository: String,
    /// Whether each program is built twice, the second time elsewhere, and compared.
    pub is_twice: bool,
}

/// A program that was built, with what was made of it.
#[derive(Debug)]
pub struct Made {
    pub program: &'static Program,
    pub arch: Arch,
    /// Bytes of the program.
    pub program_size: u64,
    /// The image; without one the program is in an archive.
    pub image: Option<Image>,
    /// What belongs into the folder of the results.
    pub files: Vec<Output>,
}

/// A file of the results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its name in their folder.
    pub name: String,
    pub content: Vec<u8>,
}

/// The images of one program, for all its CPUs, which are pushed as one.
#[derive(Debug)]
pub struct Ready {
    pub program: &'static Program,
    pub images: Vec<Image>,
}

/// What names repositories while nobody has named one: nobody can own a name below `.invalid`, and none resolves (RFC 6761).
pub const NO_REPOSITORY: &str = "repository-not-set.invalid";
/// The folder for the results, inside the workspace.
pub const OUT: &str = "target/images";
/// The folder in which programs are built, beside the results so that they are not built anew for each folder of results.
pub const BUILD: &str = "target/shipped";
const TAR: &str = ".tar";
const BILL: &str = ".cdx.json";

impl Output {
    /// A file of this name and content.
    pub fn new(name: String, content: Vec<u8>) -> Self {
        Self { name, content }
    }

    /// Writes it into a folder, which is made if it is not there.
    pub fn store(&self, folder: &Path) -> Result<(), ImagesError> {
        let path = folder.join(&self.name);
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, &self.content));
        written.map_err(|source| ImagesError::Write { path, source })
    }
}

impl Ready {
    /// The digest by which all its CPUs are pulled.
    pub fn digest(&self) -> io::Result<String> {
        image::index(&self.images).map(|(described, _)| described.digest)
    }
}

/// Builds everything from this commit, or from a tree that is none. Writes nothing but what the compilers write.
pub fn make(options: &Options, commit: Option<&Commit>) -> Result<Vec<Made>, ImagesError> {
    let root = source::root();
    let mut arches = options.arches.clone();
    arches.sort();
    arches.dedup();
    // All before the first build, which takes minutes.
    let compilers: Result<Vec<Compilers>, CompileError> = arches.into_iter().map(Compilers::find).collect();
    let compilers = compilers?;
    let copy = options.is_twice.then(|| Elsewhere::make(&root)).transpose()?;
    let mut made = Vec::new();
    for compilers in &compilers {
        for program in options.programs.iter().copied() {
            let path = compilers.build(program, &root, &root.join(BUILD))?;
            let bytes = read_program(&path)?;
            if let Some(copy) = &copy {
                compare(program, compilers, &bytes, copy)?;
            }
            let bill = bill::make(program, compilers.arch, &root, &bytes, &compilers.linked)?;
            made.push(results(program, compilers.arch, &bytes, bill, commit, options)?);
        }
    }
    // What the images say they were made from must still be true.
    source::still(&root, commit)?;
    Ok(made)
}

/// Writes what was made into a folder.
pub fn store(made: &[Made], folder: &Path) -> Result<(), ImagesError> {
    made.iter()
        .flat_map(|made| &made.files)
        .try_for_each(|file| file.store(folder))
}

/// The images that were made, by program.
pub fn ready(made: &[Made]) -> Vec<Ready> {
    program::with_image()
        .map(|program| {
            let of = made.iter().filter(|made| made.program.name == program.name);
            Ready {
                program,
                images: of.filter_map(|made| made.image.clone()).collect(),
            }
        })
        .collect()
}

/// Builds a program anew, from a copy of the clone in another folder. It must have the same bytes.
fn compare(
    program: &'static Program,
    compilers: &Compilers,
    bytes: &[u8],
    copy: &Elsewhere,
) -> Result<(), ImagesError> {
    let again = read_program(&compilers.build(program, &copy.root, &copy.build)?)?;
    if again == bytes {
        return Ok(());
    }
    Err(ImagesError::NotTheSame {
        program: program.name,
        arch: compilers.arch.name(),
        first: sha256(bytes),
        second: sha256(&again),
        place: source::root().join("target"),
    })
}

fn read_program(path: &Path) -> Result<Vec<u8>, ImagesError> {
    std::fs::read(path).map_err(|source| ImagesError::Program {
        path: path.to_owned(),
        source,
    })
}

/// What is made of one program for one CPU.
fn results(
    program: &'static Program,
    arch: Arch,
    bytes: &[u8],
    bill: String,
    commit: Option<&Commit>,
    options: &Options,
) -> Result<Made, ImagesError> {
    let failed = |source| ImagesError::Make {
        program: program.name,
        source,
    };
    let program_size = bytes.len() as u64;
    let (image, shipped) = match &program.image {
        None => {
            let archive = plugin::archive(program.name, bytes).map_err(failed)?;
            (
                None,
                Output::new(plugin::archive_name(program.name, arch), archive),
            )
        }
        Some(contents) => {
            let image = image::make(program.name, contents, arch, bytes, commit).map_err(failed)?;
            let tar = image.to_tar(&name(&options.repository, program.name));
            let tar = tar.map_err(failed)?;
            (Some(image), Output::new(file_name(program.name, arch, TAR), tar))
        }
    };
    let bill = Output::new(file_name(program.name, arch, BILL), bill.into_bytes());
    Ok(Made {
        program,
        arch,
        program_size,
        image,
        files: vec![shipped, bill],
    })
}

/// The whole name of a program's image.
pub fn name(repository: &str, program: &str) -> String {
    format!("{repository}/{program}:{VERSION}")
}

/// Pushes images under this version, all CPUs of a program as one. Gives the name and the digest of each.
///
/// Nothing is sent unless each of them can be: a tag that has something else is not replaced, unless `may_overwrite`.
pub async fn push(
    ready: &[Ready],
    repository: &Repository,
    may_overwrite: bool,
) -> Result<Vec<(String, String)>, ImagesError> {
    let mut all = Vec::new();
    for Ready { program, images } in ready {
        let mut push = Push::new(images, &repository.join(program.name), VERSION)?;
        if !may_overwrite {
            push.replaces_nothing().await?;
        }
        all.push((name(&repository.to_string(), program.name), push));
    }
    let mut pushed = Vec::new();
    for (name, push) in all {
        pushed.push((name, push.send().await?));
    }
    Ok(pushed)
}

#[cfg(test)]
mod tests;
