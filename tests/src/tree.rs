//! Copies a directory, so that a program may change what it is given.

use std::path::Path;

use anyhow::{Context, Result};

/// Copies a directory with all that is in it. What is copied can be written, even where the original cannot.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("failed to create {}", to.display()))?;
    let listed = std::fs::read_dir(from).with_context(|| format!("failed to list {}", from.display()))?;
    for entry in listed {
        let entry = entry.with_context(|| format!("failed to list {}", from.display()))?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            let content = std::fs::read(entry.path());
            content
                .and_then(|content| std::fs::write(&target, content))
                .with_context(|| format!("failed to copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}
