//! The sentinel file: what says that the host wants a reboot.

use std::path::{Path, PathBuf};

use super::HostError;
use super::root::{Files, Root};

/// A path whose presence asks for a reboot. It is meant in the host's root.
///
/// kured's path is one in its container: its manifests mount the host's `/var/run` on `/sentinel` and name `/sentinel/reboot-required`.
/// So a path whose directory the host does not have is looked for where the agent itself would find it.
#[derive(Clone, Debug)]
pub struct Sentinel {
    files: Files,
    path: PathBuf,
}

impl Sentinel {
    pub(super) fn new(files: Files, path: PathBuf) -> Sentinel {
        Sentinel { files, path }
    }

    /// For tests: without a host that was taken.
    #[cfg(test)]
    pub(crate) fn in_root(root: &Path, path: PathBuf) -> Result<Sentinel, HostError> {
        Ok(Sentinel::new(Files::new(Root::open(root)?), path))
    }

    /// Where it is, inside the host's root.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is there, as a regular file; kured takes anything of this name.
    pub async fn is_present(&self) -> Result<bool, HostError> {
        self.files.run_blocking(&self.path, Root::has_sentinel).await
    }

    /// Whether its directory is anywhere; without one it can never be there.
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
