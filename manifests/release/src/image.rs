//! An image: one layer with the program on an empty root, in an OCI layout, which `ctr images import` reads.
//!
//! The JSON types are our own. Those of `oci-spec` keep annotations in a map without an order, so two runs would write two images.
//! Not here: reading a layout ([`read`]), and pushing one ([`crate::push`]).

use std::collections::BTreeMap;
use std::io;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::VERSION;
use crate::archive::{self, Archive, zstd};
use crate::program::{Arch, Contents, FOLDER};
use crate::source::Commit;

pub mod read;

/// An image for one CPU, with everything that it consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Which bytes are its manifest.
    pub manifest: Descriptor,
    /// Manifest, configuration and layer, by digest.
    pub blobs: BTreeMap<String, Vec<u8>>,
}

/// What names bytes, and says what they are (image-spec: descriptor.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
}

/// An image for one CPU (image-spec: manifest.md).
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub schema_version: u8,
    pub media_type: String,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

/// Images for several CPUs (image-spec: image-index.md).
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    pub schema_version: u8,
    #[serde(default)]
    pub media_type: String,
    pub manifests: Vec<Descriptor>,
}

/// How a container is made of the image (image-spec: config.md).
#[derive(Debug, Serialize)]
struct Configuration<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    architecture: &'a str,
    os: &'a str,
    config: Started<'a>,
    rootfs: RootFs,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Started<'a> {
    user: &'a str,
    env: [&'a str; 1],
    entrypoint: [String; 1],
    labels: BTreeMap<&'a str, &'a str>,
}

#[derive(Debug, Serialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: [String; 1],
}

pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIGURATION: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const PLAIN_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const OS: &str = "linux";
/// Where programs are looked for, for the commands that the agent runs on the host by their name alone. It is what most images have.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The annotation by which containerd names an image that it imports.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// The labels by which an image says what it is and what it was made from (image-spec: annotations.md).
pub(crate) const TITLE: &str = "org.opencontainers.image.title";
pub(crate) const VERSION_LABEL: &str = "org.opencontainers.image.version";
pub(crate) const REVISION: &str = "org.opencontainers.image.revision";
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
pub(crate) const LAYOUT_FILE: &str = "oci-layout";
pub(crate) const INDEX_FILE: &str = "index.json";
pub(crate) const BLOBS: &str = "blobs/sha256";

/// Makes the image of a program. Without a commit it says neither when nor from what it was made.
pub fn make(
    name: &str,
    contents: &Contents,
    arch: Arch,
    program: &[u8],
    commit: Option<&Commit>,
) -> io::Result<Image> {
    let layer = layer(name, contents, program)?;
    let stored = (LAYER, zstd(&layer)?);
    of(name, contents.user, arch, &layer, stored, commit)
}

/// Makes an image of a layer that somebody else has packed, without compressing it, which takes long: for tests. It starts `name` in [`FOLDER`].
pub fn of_layer(name: &str, user: &str, arch: Arch, layer: Vec<u8>) -> io::Result<Image> {
    let diff = layer.clone();
    of(name, user, arch, &diff, (PLAIN_LAYER, layer), None)
}

/// The image of a layer, which is stored as these bytes of this media type.
fn of(
    name: &str,
    user: &str,
    arch: Arch,
    layer: &[u8],
    (layer_type, stored): (&str, Vec<u8>),
    commit: Option<&Commit>,
) -> io::Result<Image> {
    let mut labels = BTreeMap::from([
        (TITLE, name),
        (VERSION_LABEL, VERSION),
        ("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE")),
    ]);
    if let Some(commit) = commit {
        let _ = labels.insert(REVISION, &commit.id);
    }
    let configuration = Configuration {
        created: commit.map(|commit| commit.time.to_string()),
        architecture: arch.name(),
        os: OS,
        config: Started {
            user,
            env: [PATH],
            entrypoint: [format!("/{FOLDER}/{name}")],
            labels,
        },
        rootfs: RootFs {
            kind: "layers",
            diff_ids: [sha256(layer)],
        },
    };
    let mut blobs = BTreeMap::new();
    let mut keep = |media_type: &str, bytes: Vec<u8>| {
        let found = described(media_type, &bytes);
        drop(blobs.insert(found.digest.clone(), bytes));
        found
    };
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST.to_owned(),
        config: keep(CONFIGURATION, serde_json::to_vec(&configuration)?),
        layers: vec![keep(layer_type, stored)],
    };
    let mut manifest = keep(MANIFEST, serde_json::to_vec(&manifest)?);
    manifest.platform = Some(Platform {
        architecture: arch.name().to_owned(),
        os: OS.to_owned(),
    });
    Ok(Image { manifest, blobs })
}

/// The layer, as a tar.
fn layer(name: &str, contents: &Contents, program: &[u8]) -> io::Result<Vec<u8>> {
    let mut layer = Archive::default();
    for (end, _) in FOLDER.match_indices('/') {
        layer.directory(&FOLDER[..end])?;
    }
    layer.directory(FOLDER)?;
    layer.file(&format!("{FOLDER}/{name}"), archive::PROGRAM, program)?;
    for also in contents.also {
        layer.link(&format!("{FOLDER}/{also}"), name)?;
    }
    layer.finish()
}

/// The index of these images, and what names it. It is the same whatever their order.
pub fn index(images: &[Image]) -> io::Result<(Descriptor, Vec<u8>)> {
    let mut manifests: Vec<Descriptor> = images.iter().map(|image| image.manifest.clone()).collect();
    manifests.sort_by(|a, b| a.platform.cmp(&b.platform));
    let index = Index {
        schema_version: 2,
        media_type: INDEX.to_owned(),
        manifests,
    };
    let bytes = serde_json::to_vec(&index)?;
    Ok((described(INDEX, &bytes), bytes))
}

impl Image {
    /// The image as a tar, under this whole name: registry, repository and tag.
    pub fn to_tar(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut manifest = self.manifest.clone();
        let tag = name.rsplit(':').next().unwrap_or(name);
        manifest.annotations = BTreeMap::from([
            (CONTAINERD_NAME.to_owned(), name.to_owned()),
            ("org.opencontainers.image.ref.name".to_owned(), tag.to_owned()),
        ]);
        let index = Index {
            schema_version: 2,
            media_type: INDEX.to_owned(),
            manifests: vec![manifest],
        };
        let mut tar = Archive::default();
        tar.file(LAYOUT_FILE, archive::FILE, LAYOUT)?;
        tar.file(INDEX_FILE, archive::FILE, &serde_json::to_vec(&index)?)?;
        tar.directory("blobs")?;
        tar.directory(BLOBS)?;
        for (digest, bytes) in &self.blobs {
            let path = digest.replace("sha256:", &format!("{BLOBS}/"));
            tar.file(&path, archive::FILE, bytes)?;
        }
        tar.finish()
    }
}

fn described(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: sha256(bytes),
        size: bytes.len() as u64,
        platform: None,
        annotations: BTreeMap::new(),
    }
}

/// The digest of these bytes, as images write it.
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(digest(&SHA256, bytes).as_ref()))
}

/// Bytes in hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

#[cfg(test)]
mod tests;
