//! The sentinel: the file on the host whose presence asks for a reboot.
//!
//! Not here: when it is checked, see [`cordonhold_shared::reboot::driver`].

use std::path::{Path, PathBuf};

use super::HostError;
use super::root::{Files, Root};

/// The path of a file whose presence asks for a reboot, in the host's root.
///
/// In kured it is a path in the container: kured's manifests mount the host's `/var/run` on `/sentinel` and name
/// `/sentinel/reboot-required`. So if the host does not have the file's directory, the path is looked up in the agent's own container.
#[derive(Clone, Debug)]
pub struct Sentinel {
    files: Files,
    path: PathBuf,
}

impl Sentinel {
    pub(super) fn new(files: Files, path: PathBuf) -> Sentinel {
        Sentinel { files, path }
    }

    /// For tests: a sentinel without a [`Host`](super::Host).
    #[cfg(test)]
    pub(crate) fn in_root(root: &Path, path: PathBuf) -> Result<Sentinel, HostError> {
        Ok(Sentinel::new(Files::new(Root::open(root)?), path))
    }

    /// The path of the file, in the host's root.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the sentinel is there. It must be a regular file; kured accepts anything of this name.
    pub async fn is_present(&self) -> Result<bool, HostError> {
        self.files.run_blocking(&self.path, Root::has_sentinel).await
    }

    /// Whether the file's directory exists, on the host or in the container. If not, nothing can ask for a reboot.
    pub async fn has_place(&self) -> Result<bool, HostError> {
        self.files.run_blocking(&self.path, Root::has_place).await
    }
}

impl Root {
    fn has_sentinel(&self, path: &Path) -> Result<bool, HostError> {
        if self.has_directory(directory_of(path))? {
            self.has_file(path)
        } else {
            Ok(path.is_file())
        }
    }

    fn has_place(&self, path: &Path) -> Result<bool, HostError> {
        let directory = directory_of(path);
        Ok(self.has_directory(directory)? || directory.is_dir())
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}
