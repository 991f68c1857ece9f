//! A directory in the user's cache with one entry for each thing that is built once and kept.
//!
//! An entry appears by a rename, so it is never half built.
//! Not here: cleaning up old entries; nothing does that.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The path of an entry. Fills the entry first if it does not exist; other processes that want it wait.
pub(crate) fn entry(key: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let root = root()?;
    let directory = root.join(key);
    if directory.is_dir() {
        return Ok(directory);
    }
    std::fs::create_dir_all(&root).with_context(|| {
        format!(
            "failed to create {}; set XDG_CACHE_HOME to a directory that can be written",
            root.display()
        )
    })?;
    let lock_path = root.join(format!("{key}.lock"));
    let lock =
        File::create(&lock_path).with_context(|| format!("failed to create {}", lock_path.display()))?;
    lock.lock()
        .with_context(|| format!("failed to lock {}", lock_path.display()))?;
    // Another process may have filled it while we waited for the lock.
    if !directory.is_dir() {
        let unfinished = tempfile::Builder::new()
            .prefix(&format!("{key}."))
            .tempdir_in(&root)
            .with_context(|| format!("failed to create a directory in {}", root.display()))?;
        fill(unfinished.path())?;
        let finished = unfinished.keep();
        std::fs::rename(&finished, &directory).with_context(|| {
            format!(
                "failed to rename {} to {}",
                finished.display(),
                directory.display()
            )
        })?;
    }
    Ok(directory)
}

/// The part of a key that stands for this content, by FNV-1a: it must not change between compiler versions, and needs no protection against
/// attackers.
pub(super) fn hash(content: &[u8]) -> u64 {
    content.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn root() -> Result<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let cache = absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set; set one to keep the built control plane")?;
    Ok(cache.join("cordonhold").join("control-plane"))
}
