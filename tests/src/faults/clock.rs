//! The wall clock of one process, set by libfaketime. Its monotonic clock goes on as ever.
//!
//! Not here: whose clock is set, see [`super::fault`].

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::machine::replace;
use crate::process::Environment;

/// A clock that is an hour ahead, and one that is an hour behind.
pub(super) const AHEAD: &str = "+3600";
pub(super) const BEHIND: &str = "-3600";
/// A clock that is right.
pub(super) const RIGHT: &str = "+0";

/// The environment of a process whose clock is off by what this file says, in seconds.
pub(super) fn environment(file: &Path) -> Result<Environment> {
    set(file, RIGHT)?;
    let variables = [
        ("LD_PRELOAD", library()?.into_os_string()),
        ("FAKETIME_TIMESTAMP_FILE", file.into()),
        // The file is read each time, so that the clock jumps when it changes.
        ("FAKETIME_NO_CACHE", "1".into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
    ];
    Ok(variables.map(|(name, value)| (name.into(), value)).into())
}

/// Sets the clock.
pub(super) fn set(file: &Path, offset: &str) -> Result<()> {
    replace(file, &format!("{offset}\n"))
}

/// libfaketime, where Debian has it: in a directory of the architecture.
fn library() -> Result<PathBuf> {
    let architectures = std::fs::read_dir("/usr/lib").context("failed to list /usr/lib")?;
    architectures
        .filter_map(|entry| Some(entry.ok()?.path().join("faketime/libfaketimeMT.so.1")))
        .find(|path| path.exists())
        .context("no faketime/libfaketimeMT.so.1 below /usr/lib: install libfaketime (apt-get install libfaketime)")
}
