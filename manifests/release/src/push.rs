//! Pushes images to a registry: their blobs, a manifest for each CPU, and under the tag an index of these.
//!
//! What the registry has already is not sent again, so a push that broke off is simply done once more.
//! Not here: the HTTP of a registry ([`registry`]), and who may push ([`login`]).

use std::io;

use crate::image::{INDEX, Image, MANIFEST, index};

pub mod login;
pub mod registry;
pub mod repository;

use login::LoginError;
use registry::{Registry, RegistryError};
use repository::Repository;

/// Why images were not pushed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum PushError {
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("the index of the images cannot be written")]
    Index(#[source] io::Error),
}

/// Pushes the images of one program under a tag. Gives the digest by which they can be pulled.
pub async fn push(images: &[Image], repository: &Repository, tag: &str) -> Result<String, PushError> {
    let login = login::find(&repository.registry)?;
    let mut registry = Registry::new(repository, login)?;
    for image in images {
        for (digest, bytes) in &image.blobs {
            if *digest != image.manifest.digest && !registry.has_blob(digest).await? {
                registry.send_blob(digest, bytes).await?;
            }
        }
        let digest = &image.manifest.digest;
        registry
            .send_manifest(digest, MANIFEST, &image.blobs[digest])
            .await?;
    }
    let (described, bytes) = index(images).map_err(PushError::Index)?;
    registry.send_manifest(tag, INDEX, &bytes).await?;
    Ok(described.digest)
}
