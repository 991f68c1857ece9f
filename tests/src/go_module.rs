//! Runs one of our Go modules, which are small programs that ask the libraries of others.
//!
//! Not here: programs that are built once and kept, see [`crate::assets`].

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result};

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
