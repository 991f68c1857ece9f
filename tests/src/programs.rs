//! Builds the programs of this workspace that tests run: `cordonhold-agent`, `cordonhold-webhook`, `kubectl-cordonhold`,
//! `cordonhold-images`, `leash`, `cordonhold-compute`, `cordonhold-load`.
//!
//! It calls cargo, which rebuilds only what is out of date. That cannot deadlock: while cargo runs a test it holds no build lock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use cordonhold_release::compile::Compilers;
use cordonhold_release::images::BUILD as SHIPPED;
use cordonhold_release::program as shipped;

/// A program of this workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    Agent,
    Webhook,
    Kubectl,
    Images,
    Leash,
    Compute,
    Load,
}

impl Program {
    /// The name of its file, and of its image.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agent => "cordonhold-agent",
            Self::Webhook => "cordonhold-webhook",
            Self::Kubectl => "kubectl-cordonhold",
            Self::Images => "cordonhold-images",
            Self::Leash => "leash",
            Self::Compute => "cordonhold-compute",
            Self::Load => "cordonhold-load",
        }
    }
}

/// Builds these programs by one call of cargo and returns their paths. What this process has built before is not built again.
pub fn build<const N: usize>(programs: [Program; N]) -> Result<[PathBuf; N]> {
    let built = build_all(&programs)?;
    Ok(programs.map(|program| built[&program].clone()))
}

/// Like [`build`], for a list of any length. Returns the paths of all programs that this process has built so far.
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
    let root = root()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    // The whole workspace, so that dependencies get the same features as in `cargo test --workspace` and are not built twice.
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

/// Builds each of these programs as it is shipped, for this machine's CPU. Returns their paths.
pub fn build_shipped<const N: usize>(programs: [&shipped::Program; N]) -> Result<[PathBuf; N]> {
    let arch = shipped::Arch::of_host().context("programs cannot be built for this CPU")?;
    let compilers = Compilers::find(arch)?;
    let root = root()?;
    let mut paths = Vec::new();
    for program in programs {
        paths.push(compilers.build(program, root, &root.join(SHIPPED))?);
    }
    Ok(paths.try_into().expect("a path for each program"))
}

/// The shipped program of this name.
pub fn shipped(name: &str) -> Result<&'static shipped::Program> {
    let mut all = shipped::PROGRAMS.iter();
    all.find(|program| program.name == name)
        .with_context(|| format!("no program {name} is shipped"))
}

/// Builds each of these crates alone, with the cargo profile `release`. Returns the paths of their programs, which have the names of their crates.
pub fn build_released<const N: usize>(names: [&str; N]) -> Result<[PathBuf; N]> {
    let mut paths = Vec::new();
    for name in names {
        paths.push(build_alone(name, "release")?);
    }
    Ok(paths.try_into().expect("a path for each name"))
}

fn root() -> Result<&'static Path> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.context("the crate `tests` is not inside its workspace")
}

fn build_alone(name: &str, profile: &str) -> Result<PathBuf> {
    let root = root()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(&cargo)
        .current_dir(root)
        .args(["build", "--locked", "--profile", profile, "--package", name])
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("failed to run {}", cargo.display()))?;
    ensure!(
        output.status.success(),
        "failed to build {name}; cargo says why above"
    );
    executables(&output.stdout)
        .remove(name)
        .with_context(|| format!("cargo built no {name}"))
}

/// Compiles a program of one file, linked statically as the shipped ones are, for an image. Returns its path in this directory.
pub fn compile(directory: &Path, name: &str, source: &str) -> Result<PathBuf> {
    let (file, target) = (directory.join(format!("{name}.rs")), directory.join(name));
    std::fs::write(&file, source).with_context(|| format!("failed to write {}", file.display()))?;
    let status = Command::new("rustc")
        .args([
            "--edition=2024",
            "-Ctarget-feature=+crt-static",
            "-Cstrip=symbols",
            "-o",
        ])
        .arg(&target)
        .arg(&file)
        .status()
        .context("failed to run rustc")?;
    ensure!(status.success(), "rustc failed ({status})");
    Ok(target)
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
