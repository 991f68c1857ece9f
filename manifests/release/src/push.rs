//! Pushes images to a registry: their blobs, a manifest for each CPU, and under the tag an index of these.
//!
//! What the registry has already is not sent again, so a push that broke off is simply done once more.
//! Not here: the HTTP of a registry ([`registry`]), and who may push ([`login`]).

use std::io;

use crate::image::{Descriptor, INDEX, Image, MANIFEST, index};

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
    #[error(
        "{repository}:{tag} is there already with other content ({found}, and this is {new}): set another version in Cargo.toml, or replace it with --overwrite"
    )]
    Taken {
        repository: Repository,
        tag: String,
        found: String,
        new: String,
    },
}

/// The images of one program on their way to a tag.
pub struct Push<'a> {
    registry: Registry,
    images: &'a [Image],
    tag: &'a str,
    index: Descriptor,
    bytes: Vec<u8>,
}

impl<'a> Push<'a> {
    pub fn new(images: &'a [Image], repository: &Repository, tag: &'a str) -> Result<Self, PushError> {
        let login = login::find(&repository.registry)?;
        let (index, bytes) = index(images).map_err(PushError::Index)?;
        Ok(Self {
            registry: Registry::new(repository, login)?,
            images,
            tag,
            index,
            bytes,
        })
    }

    /// Checks that the tag is free, or has what is pushed already. Whoever has pulled a tag counts on it.
    pub async fn replaces_nothing(&mut self) -> Result<(), PushError> {
        match self.registry.manifest(self.tag).await? {
            Some(found) if found != self.index.digest => Err(PushError::Taken {
                repository: self.registry.repository().clone(),
                tag: self.tag.to_owned(),
                found,
                new: self.index.digest.clone(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Sends everything, the tag last. Gives the digest by which the images can be pulled.
    pub async fn send(mut self) -> Result<String, PushError> {
        for image in self.images {
            for (digest, bytes) in &image.blobs {
                if *digest != image.manifest.digest && !self.registry.has_blob(digest).await? {
                    self.registry.send_blob(digest, bytes).await?;
                }
            }
            let digest = &image.manifest.digest;
            self.registry
                .send_manifest(digest, MANIFEST, &image.blobs[digest])
                .await?;
        }
        self.registry.send_manifest(self.tag, INDEX, &self.bytes).await?;
        Ok(self.index.digest)
    }
}
