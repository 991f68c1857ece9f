//! Reads the tar of an image, and checks that it is whole.
//!
//! Not here: writing one ([`super`]).

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{BLOBS, Descriptor, INDEX_FILE, Image, Index, Manifest, REVISION, TITLE, VERSION_LABEL, sha256};

/// Why a file is no image that can be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum ReadError {
    #[error("failed to read {}: {source}: make the images with `cargo images`, or name their folder with --from", .path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{} is cut off, or is no image of `cargo images` ({problem}): make it again with `cargo images`", .path.display())]
    Broken { path: PathBuf, problem: String },
}

/// What an image says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The program in it.
    pub title: String,
    pub version: String,
    /// The commit that it was made from; none if its tree had changes.
    pub revision: Option<String>,
    pub architecture: String,
}

/// What is read of an image's configuration.
#[derive(Debug, Deserialize)]
struct Configuration {
    architecture: String,
    config: Started,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Started {
    labels: BTreeMap<String, String>,
}

/// Most bytes of an image that are read. Ours have less than a tenth of it.
const IMAGE_MAX: u64 = 256 * 1024 * 1024;

/// Reads an image from a file.
pub fn file(path: &Path) -> Result<Image, ReadError> {
    let failed = |source| ReadError::File {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(path).map_err(failed)?;
    let _ = opened.take(IMAGE_MAX).read_to_end(&mut bytes).map_err(failed)?;
    image(&bytes).map_err(|problem| ReadError::Broken {
        path: path.to_owned(),
        problem,
    })
}

/// Reads an image from the bytes of its tar. The error says what is wrong with them.
pub fn image(bytes: &[u8]) -> Result<Image, String> {
    let mut files = BTreeMap::new();
    let mut tar = tar::Archive::new(bytes);
    for entry in tar.entries().map_err(|error| error.to_string())? {
        let mut entry = entry.map_err(|error| error.to_string())?;
        let path = entry
            .path()
            .map_err(|error| error.to_string())?
            .display()
            .to_string();
        let mut content = Vec::new();
        let _ = entry
            .read_to_end(&mut content)
            .map_err(|error| error.to_string())?;
        drop(files.insert(path, content));
    }
    let index = files.get(INDEX_FILE).ok_or("it has no index.json")?;
    let index: Index = serde_json::from_slice(index).map_err(|error| format!("index.json: {error}"))?;
    let [found] = &index.manifests[..] else {
        return Err(format!("it has {} images instead of one", index.manifests.len()));
    };
    // The name of the tar is not that under which the image is pushed.
    let named = Descriptor {
        annotations: BTreeMap::new(),
        ..found.clone()
    };
    let mut image = Image {
        manifest: named,
        blobs: BTreeMap::new(),
    };
    let mut keep = |what: &Descriptor| -> Result<Vec<u8>, String> {
        let bytes = blob(&files, what)?;
        drop(image.blobs.insert(what.digest.clone(), bytes.clone()));
        Ok(bytes)
    };
    let manifest: Manifest =
        serde_json::from_slice(&keep(found)?).map_err(|error| format!("its manifest: {error}"))?;
    for what in std::iter::once(&manifest.config).chain(&manifest.layers) {
        drop(keep(what)?);
    }
    Ok(image)
}

/// What a whole image says of itself. The error says what is wrong with it.
pub fn origin(image: &Image) -> Result<Origin, String> {
    let blob = |digest: &str| {
        image
            .blobs
            .get(digest)
            .ok_or_else(|| format!("{digest} is missing"))
    };
    let manifest: Manifest = serde_json::from_slice(blob(&image.manifest.digest)?)
        .map_err(|error| format!("its manifest: {error}"))?;
    let configuration: Configuration = serde_json::from_slice(blob(&manifest.config.digest)?)
        .map_err(|error| format!("its configuration: {error}"))?;
    let mut labels = configuration.config.labels;
    let mut label = |name: &str| {
        labels
            .remove(name)
            .ok_or_else(|| format!("it has no label {name}"))
    };
    Ok(Origin {
        title: label(TITLE)?,
        version: label(VERSION_LABEL)?,
        revision: label(REVISION).ok(),
        architecture: configuration.architecture,
    })
}

fn blob(files: &BTreeMap<String, Vec<u8>>, what: &Descriptor) -> Result<Vec<u8>, String> {
    let path = what.digest.replace("sha256:", &format!("{BLOBS}/"));
    let bytes = files.get(&path).ok_or_else(|| format!("{path} is missing"))?;
    if sha256(bytes) == what.digest {
        Ok(bytes.clone())
    } else {
        Err(format!("{path} has other bytes than its name says"))
    }
}
