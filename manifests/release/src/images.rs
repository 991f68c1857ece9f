//! Makes the images of all programs, and pushes them.
//!
//! Not here: the command line (`bin/images.rs`), and the rest of a release ([`crate::release`]).

use std::io;
use std::path::{Path, PathBuf};

use crate::VERSION;
use crate::bill::{self, BillError};
use crate::compile::{CompileError, Compilers};
use crate::image::read::{self, ReadError};
use crate::image::{self, Image, sha256};
use crate::program::{Arch, Contents, PROGRAMS, Program, file_name};
use crate::push::repository::Repository;
use crate::push::{self, PushError};
use crate::source::{self, Commit};

/// Why there are no images, or why they are not pushed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum ImagesError {
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    Bill(#[from] BillError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Push(#[from] PushError),
    #[error("failed to read the program {}", .path.display())]
    Program { path: PathBuf, source: io::Error },
    #[error("failed to write {}: name a folder that can be written with --out", .path.display())]
    Write { path: PathBuf, source: io::Error },
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
    #[error("{} has no image of {program}: make the images with `cargo images`, or name their folder with --from", .folder.display())]
    NoImage { program: &'static str, folder: PathBuf },
}

/// Where and for what programs are built.
#[derive(Debug)]
pub struct Options {
    /// The folder for the results.
    pub out: PathBuf,
    pub arches: Vec<Arch>,
    /// What the repositories' names begin with.
    pub repository: String,
    /// Whether each program is built twice and compared.
    pub is_twice: bool,
}

/// A program that was built, with what was made of it.
#[derive(Debug)]
pub struct Made {
    pub program: &'static Program,
    pub arch: Arch,
    /// Bytes of the program.
    pub program_size: u64,
    /// The image; without one the program is a file.
    pub image: Option<Image>,
    /// The files in the folder of the results.
    pub files: Vec<PathBuf>,
}

/// What names repositories while nobody has named one: nobody can own a name below `.invalid`, and none resolves (RFC 6761).
pub const NO_REPOSITORY: &str = "repository-not-set.invalid";
/// The folder for the results, inside the workspace.
pub const OUT: &str = "target/images";
/// The folders in which programs are built, beside the results so that they are not built anew for each folder of results.
const BUILD: &str = "target/shipped";
const BUILD_AGAIN: &str = "target/shipped-again";
const TAR: &str = ".tar";
const BILL: &str = ".cdx.json";

/// Builds everything and writes it to the folder of the results.
pub fn make(options: &Options) -> Result<Vec<Made>, ImagesError> {
    let root = source::root();
    let commit = source::unchanged(&root);
    // All before the first build, which takes minutes.
    let compilers: Result<Vec<Compilers>, CompileError> =
        options.arches.iter().map(|arch| Compilers::find(*arch)).collect();
    let mut made = Vec::new();
    for compilers in compilers? {
        let arch = compilers.arch;
        for program in &PROGRAMS {
            let path = compilers.build(program, &root, &root.join(BUILD))?;
            let bytes = read_program(&path)?;
            if options.is_twice {
                compare(program, &compilers, &bytes)?;
            }
            let bill = bill::make(program, arch, &root, &bytes, &compilers.libc)?;
            made.push(write(program, arch, &bytes, &bill, commit.as_ref(), options)?);
        }
    }
    Ok(made)
}

/// Builds a program anew elsewhere. It must have the same bytes.
fn compare(program: &'static Program, compilers: &Compilers, bytes: &[u8]) -> Result<(), ImagesError> {
    let root = source::root();
    let place = root.join(BUILD_AGAIN);
    // What an earlier run left there would be taken without compiling.
    if place.exists() {
        std::fs::remove_dir_all(&place).map_err(|source| ImagesError::Write {
            path: place.clone(),
            source,
        })?;
    }
    let again = read_program(&compilers.build(program, &root, &place)?)?;
    if again == bytes {
        return Ok(());
    }
    Err(ImagesError::NotTheSame {
        program: program.name,
        arch: compilers.arch.name(),
        first: sha256(bytes),
        second: sha256(&again),
        place: root.join("target"),
    })
}

fn read_program(path: &Path) -> Result<Vec<u8>, ImagesError> {
    std::fs::read(path).map_err(|source| ImagesError::Program {
        path: path.to_owned(),
        source,
    })
}

/// Writes what is made of one program for one CPU.
fn write(
    program: &'static Program,
    arch: Arch,
    bytes: &[u8],
    bill: &str,
    commit: Option<&Commit>,
    options: &Options,
) -> Result<Made, ImagesError> {
    let mut files = Vec::new();
    let mut keep = |ending: &str, content: &[u8]| -> Result<(), ImagesError> {
        let path = options.out.join(file_name(program.name, arch, ending));
        store(&path, content)?;
        files.push(path);
        Ok(())
    };
    let image = match &program.image {
        None => {
            keep("", bytes)?;
            None
        }
        Some(contents) => {
            let image = packed(program.name, contents, arch, bytes, commit)?;
            let tar = image.to_tar(&name(&options.repository, program.name));
            keep(TAR, &tar.map_err(unmade(program.name))?)?;
            Some(image)
        }
    };
    keep(BILL, bill.as_bytes())?;
    Ok(Made {
        program,
        arch,
        program_size: bytes.len() as u64,
        image,
        files,
    })
}

fn packed(
    name: &'static str,
    contents: &Contents,
    arch: Arch,
    bytes: &[u8],
    commit: Option<&Commit>,
) -> Result<Image, ImagesError> {
    image::make(name, contents, arch, bytes, commit).map_err(unmade(name))
}

fn unmade(program: &'static str) -> impl Fn(io::Error) -> ImagesError {
    move |source| ImagesError::Make { program, source }
}

/// Writes a file, and the folder that it is in.
pub(crate) fn store(path: &Path, content: &[u8]) -> Result<(), ImagesError> {
    let written = path
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(path, content));
    written.map_err(|source| ImagesError::Write {
        path: path.to_owned(),
        source,
    })
}

/// The whole name of a program's image.
pub fn name(repository: &str, program: &str) -> String {
    format!("{repository}/{program}:{VERSION}")
}

/// Pushes the images in a folder under this version, all CPUs of a program as one. Gives the name and the digest of each.
pub async fn push(folder: &Path, repository: &Repository) -> Result<Vec<(String, String)>, ImagesError> {
    let mut pushed = Vec::new();
    for program in PROGRAMS.iter().filter(|program| program.image.is_some()) {
        let files = Arch::ALL.map(|arch| folder.join(file_name(program.name, arch, TAR)));
        let images: Result<Vec<Image>, ReadError> = files
            .iter()
            .filter(|path| path.exists())
            .map(|path| read::file(path))
            .collect();
        let images = images?;
        if images.is_empty() {
            return Err(ImagesError::NoImage {
                program: program.name,
                folder: folder.to_owned(),
            });
        }
        let digest = push::push(&images, &repository.join(program.name), VERSION).await?;
        pushed.push((name(&repository.to_string(), program.name), digest));
    }
    Ok(pushed)
}
