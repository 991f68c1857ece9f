//! Everything of a release, from a tag: images, chart, manifests, bills of materials, checksums, a signature.
//!
//! It needs no registry: the digests of the images are known before anything is pushed, and the manifests name them.
//! Not here: pushing the images ([`crate::images`]), and the tag itself.

use std::io;
use std::path::PathBuf;

use cordonhold_manifests::chart::{self, RenderError};
use cordonhold_manifests::kustomize::{self, MODES, Mode};
use serde_json::{Value, json};

use crate::VERSION;
use crate::image::sha256;
use crate::images::folder::{self, LIST};
use crate::images::{self, ImagesError, Made, Output, Ready};
use crate::plugin::{self, Address, Archived};
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
    /// Where its files can be downloaded once they are published, which the plugin's manifest names.
    pub address: Option<Address>,
    /// The folder for it, which is not there yet.
    pub out: PathBuf,
    pub arches: Vec<Arch>,
    pub key: Option<PathBuf>,
}

/// The checksums of all other files, as `sha256sum --check` reads them, and their signature.
pub const CHECKSUMS: &str = "SHA256SUMS";
pub const SIGNATURE: &str = "SHA256SUMS.sig";

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
    let root = source::root();
    let commit = source::tagged(&root, &options.tag, VERSION)?;
    if options.out.exists() {
        return Err(ReleaseError::Exists(options.out.clone()));
    }
    let building = images::Options {
        arches: options.arches.clone(),
        programs: PROGRAMS.iter().collect(),
        repository: options.repository.to_string(),
        is_twice: false,
    };
    let made = images::make(&building, Some(&commit))?;
    let pinned = pinned(&images::ready(&made), &options.repository)?;
    let krew = krew(&made, options.address.as_ref());
    let mut all: Vec<Output> = made.into_iter().flat_map(|made| made.files).collect();
    all.push(krew);
    all.extend(files(&pinned, &options.repository)?);
    seal(&mut all, key.as_ref());
    // The build took minutes, and chart and bills were read after it. Nothing is written from a tree that is not the tag's any more.
    source::still(&root, Some(&commit))?;
    for file in &all {
        file.store(&options.out)?;
    }
    Ok(all.into_iter().map(|file| file.name).collect())
}

/// The files of a release beside what is made of the programs.
pub fn files(pinned: &[Pinned], repository: &Repository) -> Result<Vec<Output>, ReleaseError> {
    let lines = pinned.iter().map(|image| {
        let name = format!("{}:{VERSION}", image.repository);
        format!("{}\n", folder::line(&name, &image.digest))
    });
    let mut files = vec![
        Output::new(LIST.to_owned(), lines.collect::<String>().into_bytes()),
        Output::new(
            format!("cordonhold-{VERSION}.tgz"),
            package::chart(&source::root(), &repository.to_string())?,
        ),
    ];
    for mode in &MODES {
        let text = manifest(mode, pinned)?;
        files.push(Output::new(
            format!("install-{}.yaml", mode.name),
            text.into_bytes(),
        ));
    }
    Ok(files)
}

/// The manifest with which krew installs the plugin.
fn krew(made: &[Made], address: Option<&Address>) -> Output {
    let archives = made.iter().filter(|made| made.image.is_none());
    let of = |made: &Made| -> Option<Archived> {
        let name = plugin::archive_name(made.program.name, made.arch);
        let archive = made.files.iter().find(|file| file.name == name)?;
        Some(Archived {
            sha256: sha256(&archive.content),
            name,
        })
    };
    let archives: Vec<Archived> = archives.filter_map(of).collect();
    Output::new(
        plugin::MANIFEST.to_owned(),
        plugin::manifest(&archives, address).into_bytes(),
    )
}

/// Which images the manifests name.
fn pinned(ready: &[Ready], repository: &Repository) -> Result<Vec<Pinned>, ReleaseError> {
    let of = |ready: &Ready| -> Result<Pinned, ReleaseError> {
        Ok(Pinned {
            program: ready.program.name,
            repository: repository.join(ready.program.name).to_string(),
            digest: ready.digest().map_err(ReleaseError::Index)?,
        })
    };
    ready.iter().map(of).collect()
}

/// The chart's values that name these images.
pub fn image_values(pinned: &[Pinned]) -> Value {
    let mut images = json!({});
    for image in pinned {
        // The chart calls an image by the program's name without the project's.
        let name = image.program.trim_start_matches("cordonhold-");
        images[name] = json!({"repository": image.repository, "digest": image.digest});
    }
    images
}

/// All manifests of a mode in one file, as the base or an overlay has them, with the images by their digests.
fn manifest(mode: &Mode, pinned: &[Pinned]) -> Result<String, ReleaseError> {
    let mut with = (mode.values)();
    with["images"] = image_values(pinned);
    let values = kustomize::values(with).map_err(|problem| ReleaseError::Values {
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
        let text = kustomize::without_empty_lines(&file.text);
        format!("---\n{}", text.strip_prefix("---\n").unwrap_or(&text))
    });
    Ok(std::iter::once(head).chain(texts).collect())
}

/// Adds the checksums of all files, and their signature.
fn seal(files: &mut Vec<Output>, key: Option<&Key>) {
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let lines = files.iter().map(|file| {
        let sum = sha256(&file.content);
        format!("{}  {}\n", sum.trim_start_matches("sha256:"), file.name)
    });
    let sums: String = lines.collect();
    let signature = key.map(|key| key.sign(sums.as_bytes()));
    files.push(Output::new(CHECKSUMS.to_owned(), sums.into_bytes()));
    files.extend(signature.map(|signature| Output::new(SIGNATURE.to_owned(), signature)));
}

#[cfg(test)]
mod tests;
