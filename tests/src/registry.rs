//! A real container registry on loopback, which keeps everything in memory.
//!
//! Not here: how it is built, see [`crate::assets`].

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};

use crate::assets;
use crate::process::{CommandLine, Kennel, Process};
use crate::prometheus::listening;

/// A running registry.
pub struct Registry {
    /// It ends when this is dropped.
    _process: Process,
    pub address: SocketAddr,
}

impl Registry {
    /// Starts a registry with its files in this directory. With `users`, which has the lines of an `htpasswd` file, it asks for a login.
    pub async fn start(kennel: &Kennel, directory: &Path, name: &str, users: Option<&str>) -> Result<Self> {
        let directory = directory.join(name);
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("failed to create {}", directory.display()))?;
        if let Some(users) = users {
            std::fs::write(directory.join("htpasswd"), users).context("failed to write the users")?;
        }
        let line = CommandLine::new(assets::registry()?).arg(&directory);
        let mut process = kennel.start(name, &line)?;
        let address = listening(&mut process, "the registry").await?;
        Ok(Self {
            _process: process,
            address,
        })
    }
}
