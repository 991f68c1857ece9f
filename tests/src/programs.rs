//! Builds the project's own programs, so that tests run what a user runs: `cordonhold-agent`, `cordonhold-webhook`, `leash`.
//!
//! Cargo decides what is out of date, and holds no lock while it runs the test or program that calls this.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};

/// A program of this workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    Agent,
    Webhook,
    Leash,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Agent => "cordonhold-agent",
            Self::Webhook => "cordonhold-webhook",
            Self::Leash => "leash",
        }
    }
}

/// Builds these programs, in one go, and returns where each is; what this process built before is not built again.
pub fn build<const N: usize>(programs: [Program; N]) -> Result<[PathBuf; N]> {
    let built = build_all(&programs)?;
    Ok(programs.map(|program| built[&program].clone()))
}

/// Like [`build`], for a list that is known only when the program runs; what was built before is in the answer too.
pub fn build_all(programs: &[Program]) -> Result<BTreeMap<Program, PathBuf>> {
    static BUILT: Mutex<BTreeMap<Program, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let missing: Vec<Program> = programs
        .iter()
        .copied()
        .filter(|program| !built.contains_key(program))
        .collect();
    if !missing.is_empty() {
        built.extend(cargo_build(&missing)?);
    }
    Ok(built.clone())
}

fn cargo_build(programs: &[Program]) -> Result<BTreeMap<Program, PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the tests crate has no workspace around it")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    // The whole workspace, so that the features of shared dependencies are those that `cargo test --workspace` built.
    let _ = command
        .current_dir(root)
        .args([
            "build",
            "--workspace",
            "--quiet",
            "--message-format=json-render-diagnostics",
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    for program in programs {
        let _ = command.args(["--bin", program.name()]);
    }
    if std::env::current_exe().is_ok_and(|path| path.components().any(|part| part.as_os_str() == "release")) {
        let _ = command.arg("--release");
    }
    let output = command
        .output()
        .with_context(|| format!("failed to run {}", cargo.display()))?;
    ensure!(
        output.status.success(),
        "failed to build {programs:?}; cargo says why above"
    );
    let found = executables(&output.stdout);
    programs
        .iter()
        .map(|program| match found.get(program.name()) {
            Some(path) => Ok((*program, path.clone())),
            None => bail!("cargo built no {}", program.name()),
        })
        .collect()
}

/// Builds the agent as it is shipped: by itself, with the profile `agent`.
pub fn build_shipped_agent() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the tests crate has no workspace around it")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(&cargo)
        .current_dir(root)
        .args(["build", "--profile=agent", "--locked", "-p", "cordonhold-agent"])
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("failed to run {}", cargo.display()))?;
    ensure!(
        output.status.success(),
        "failed to build the agent; cargo says why above"
    );
    executables(&output.stdout)
        .remove(Program::Agent.name())
        .context("cargo built no agent")
}

fn executables(messages: &[u8]) -> BTreeMap<String, PathBuf> {
    String::from_utf8_lossy(messages)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| {
            let name = message["target"]["name"].as_str()?.to_owned();
            Some((name, PathBuf::from(message["executable"].as_str()?)))
        })
        .collect()
}
