//! Everything of a release, from a tag: images, chart, manifests, bills of materials, checksums, a signature.
//!
//! It needs no registry: the digests of the images are known before anything is pushed, and the manifests name them.
//! Not here: pushing the images ([`crate::images`]), and the tag itself.

use std::io;
use std::path::PathBuf;

use cordonhold_manifests::chart::{self, RenderError};
use cordonhold_manifests::kustomize;
use cordonhold_manifests::values::Values;
use serde_json::{Value, json};

use crate::VERSION;
use crate::image::{self, Image, sha256};
use crate::images::{self, ImagesError, Made};
use crate::program::{Arch, PROGRAMS};
use crate::push::repository::Repository;
use crate::sign::{Key, KeyError};
use crate::source::{self, SourceError};

mod package;

pub use package::PackageError;

/// Why there is no release.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum ReleaseError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Images(#[from] ImagesError),
    #[error(transparent)]
    Package(#[from] PackageError),
    #[error("{} is there already: name a new folder with --out", .0.display())]
    Exists(PathBuf),
    #[error("the manifests of mode {mode} cannot be rendered")]
    Render { mode: &'static str, source: RenderError },
    #[error("the values of mode {mode} are none: {problem}")]
    Values {
        mode: &'static str,
        problem: serde_json::Error,
    },
    #[error("the index of an image cannot be written")]
    Index(#[source] io::Error),
}

/// What a release is made from.
#[derive(Debug)]
pub struct Options {
    pub tag: String,
    /// What the repositories' names begin with.
    pub repository: Repository,
    /// The folder for it, which is not there yet.
    pub out: PathBuf,
    pub arches: Vec<Arch>,
    pub key: Option<PathBuf>,
}

/// A way to install Cordonhold, with the chart's values for it beside those of the base.
struct Mode {
    name: &'static str,
    values: fn() -> Value,
}

/// The same ways as in the table of manifests/README.md.
const MODES: [Mode; 4] = [
    Mode {
        name: "agents",
        values: || json!({}),
    },
    Mode {
        name: "agents-only",
        values: || json!({"mode": "agents-only"}),
    },
    Mode {
        name: "mixed",
        values: || json!({"mode": "mixed", "agent": {"lockOnDaemonset": true}}),
    },
    Mode {
        name: "protect-kured",
        values: || json!({"mode": "protect-kured"}),
    },
];

/// The checksums of all other files, as `sha256sum --check` reads them, and their signature.
pub const CHECKSUMS: &str = "SHA256SUMS";
pub const SIGNATURE: &str = "SHA256SUMS.sig";
/// The names of the images with their digests.
const IMAGES: &str = "images.txt";

/// A program's image for all CPUs: its repository, and the digest by which it is pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    pub program: &'static str,
    pub repository: String,
    pub digest: String,
}

/// Makes a release, and gives the names of its files in the folder.
pub fn make(options: &Options) -> Result<Vec<String>, ReleaseError> {
    let key = options.key.as_deref().map(Key::read).transpose()?;
    drop(source::tagged(&source::root(), &options.tag, VERSION)?);
    if options.out.exists() {
        return Err(ReleaseError::Exists(options.out.clone()));
    }
    let made = images::make(&images::Options {
        out: options.out.clone(),
        arches: options.arches.clone(),
        repository: options.repository.to_string(),
        is_twice: false,
    })?;
    let pinned = pinned(&made, &options.repository)?;
    for (name, content) in files(&pinned, &options.repository)? {
        images::store(&options.out.join(name), &content)?;
    }
    seal(options, key.as_ref())
}

/// The files of a release beside what is made of the programs.
pub fn files(pinned: &[Pinned], repository: &Repository) -> Result<Vec<(String, Vec<u8>)>, ReleaseError> {
    let lines = pinned
        .iter()
        .map(|image| format!("{}:{VERSION}@{}\n", image.repository, image.digest));
    let mut files = vec![
        (IMAGES.to_owned(), lines.collect::<String>().into_bytes()),
        (
            format!("cordonhold-{VERSION}.tgz"),
            package::chart(&repository.to_string())?,
        ),
    ];
    for mode in &MODES {
        files.push((
            format!("install-{}.yaml", mode.name),
            manifest(mode, pinned)?.into_bytes(),
        ));
    }
    Ok(files)
}

/// Which images the manifests name.
fn pinned(made: &[Made], repository: &Repository) -> Result<Vec<Pinned>, ReleaseError> {
    let mut all = Vec::new();
    for program in PROGRAMS.iter().filter(|program| program.image.is_some()) {
        let images = made.iter().filter(|made| made.program.name == program.name);
        let images: Vec<Image> = images.filter_map(|made| made.image.clone()).collect();
        let (index, _) = image::index(&images).map_err(ReleaseError::Index)?;
        all.push(Pinned {
            program: program.name,
            repository: repository.join(program.name).to_string(),
            digest: index.digest,
        });
    }
    Ok(all)
}

/// All manifests of a mode in one file, as the base or an overlay has them, with the images by their digests.
fn manifest(mode: &Mode, pinned: &[Pinned]) -> Result<String, ReleaseError> {
    let mut with = (mode.values)();
    for image in pinned {
        // The chart's values call an image by the program's name without the project's.
        let name = image.program.trim_start_matches("cordonhold-");
        with["images"][name] = json!({"repository": image.repository, "digest": image.digest});
    }
    let values: Values = kustomize::values(with).map_err(|problem| ReleaseError::Values {
        mode: mode.name,
        problem,
    })?;
    let release = kustomize::release();
    let rendered = chart::render(&values, &release).map_err(|source| ReleaseError::Render {
        mode: mode.name,
        source,
    })?;
    let head = format!(
        "# Cordonhold {VERSION}, mode {}: kubectl apply -f this file. Written by `cargo release`.\n",
        mode.name
    );
    let texts = rendered.iter().map(|file| {
        let lines: Vec<&str> = file.text.lines().filter(|line| !line.trim().is_empty()).collect();
        let text = lines.join("\n");
        let text = text.strip_prefix("---\n").unwrap_or(&text);
        format!("---\n{text}\n")
    });
    Ok(std::iter::once(head).chain(texts).collect())
}

/// Writes the checksums of everything in the folder, and their signature. Gives the names of all files.
fn seal(options: &Options, key: Option<&Key>) -> Result<Vec<String>, ReleaseError> {
    let failed = |source| {
        ReleaseError::Images(ImagesError::Write {
            path: options.out.clone(),
            source,
        })
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&options.out).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let mut lines = Vec::new();
    for name in &names {
        let bytes = std::fs::read(options.out.join(name)).map_err(failed)?;
        let sum = sha256(&bytes);
        lines.push(format!(
            "{}  {name}
",
            sum.trim_start_matches("sha256:")
        ));
    }
    let sums = lines.concat();
    images::store(&options.out.join(CHECKSUMS), sums.as_bytes())?;
    names.push(CHECKSUMS.to_owned());
    if let Some(key) = key {
        images::store(&options.out.join(SIGNATURE), &key.sign(sums.as_bytes()))?;
        names.push(SIGNATURE.to_owned());
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
