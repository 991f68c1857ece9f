//! The sentinel file: what says that the host wants a reboot.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{HostError, LOOK_BOUND, Root};

/// A path whose presence asks for a reboot. It is meant in the host's root.
///
/// kured's path is one in its container: its manifests mount the host's `/var/run` on `/sentinel` and name `/sentinel/reboot-required`.
/// So a path whose directory the host does not have is looked for where the agent itself would find it.
#[derive(Clone, Debug)]
pub struct Sentinel {
    root: Arc<Root>,
    path: PathBuf,
    /// One look at a time: a mount that hangs holds one thread, not one for each look.
    looking: Arc<Semaphore>,
}

impl Sentinel {
    pub(super) fn new(root: Arc<Root>, path: PathBuf) -> Sentinel {
        Sentinel {
            root,
            path,
            looking: Arc::new(Semaphore::new(1)),
        }
    }

    /// For tests: without a host that was taken.
    #[cfg(test)]
    pub(crate) fn in_root(root: &Path, path: PathBuf) -> Result<Sentinel, HostError> {
        Ok(Sentinel::new(Arc::new(Root::open(root)?), path))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is there, as a regular file; kured takes anything of this name.
    pub async fn is_present(&self) -> Result<bool, HostError> {
        self.look(Root::has_sentinel).await
    }

    /// Whether its directory is anywhere; without one it can never be there.
    pub async fn has_place(&self) -> Result<bool, HostError> {
        self.look(Root::has_place).await
    }

    async fn look(&self, look: fn(&Root, &Path) -> Result<bool, HostError>) -> Result<bool, HostError> {
        let (root, path) = (Arc::clone(&self.root), self.path.clone());
        let bounded = timeout(LOOK_BOUND, async {
            let looking = Arc::clone(&self.looking).acquire_owned().await;
            let task = tokio::task::spawn_blocking(move || {
                let _looking = looking;
                look(&root, &path)
            });
            task.await
        });
        match bounded.await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(HostError::Hangs {
                path: self.path.clone(),
            }),
        }
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
