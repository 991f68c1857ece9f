//! Runs one of our Go modules, which are small programs that ask the libraries of others.
//!
//! Not here: programs that are built once and kept, see [`crate::assets`].

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

/// Builds the module in this folder, and returns the path of its program in `directory`.
pub fn build(folder: &str, directory: &Path) -> Result<PathBuf> {
    build_with(folder, directory, &[])
}

/// Like [`build`], without debug information, as programs in Go are shipped.
pub fn build_shipped(folder: &str, directory: &Path) -> Result<PathBuf> {
    build_with(folder, directory, &["-trimpath", "-ldflags=-s -w"])
}

fn build_with(folder: &str, directory: &Path, flags: &[&str]) -> Result<PathBuf> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let path = directory.join(folder);
    let status = Command::new("go")
        .args(["build", "-buildvcs=false"])
        .args(flags)
        .arg("-o")
        .arg(&path)
        .arg(".")
        .current_dir(&module)
        .status()
        .context("failed to run go; install Go as README.md says")?;
    ensure!(
        status.success(),
        "failed to build {}; go says why above",
        module.display()
    );
    Ok(path)
}

/// What the module in this folder prints for `input`, and whether it could read all of that. The first call compiles it, which takes a
/// minute or two. A module that could not be built has not read its input either, so look at its output first.
pub fn run(folder: &str, arguments: &[&str], input: &str) -> Result<(Output, Result<()>)> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut running = Command::new("go")
        .args(["run", "-buildvcs=false", "."])
        .args(arguments)
        .current_dir(&module)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| {
            format!(
                "failed to run go in {}; install Go as README.md says",
                module.display()
            )
        })?;
    let mut stdin = running.stdin.take().context("the module has no standard input")?;
    let sent = stdin
        .write_all(input.as_bytes())
        .with_context(|| format!("{folder} did not read all of its input"));
    drop(stdin);
    let output = running
        .wait_with_output()
        .with_context(|| format!("failed to wait for {folder}"))?;
    Ok((output, sent))
}
