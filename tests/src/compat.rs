//! The oldest version of Cordonhold from which an upgrade is tested, and back to which a downgrade is: its programs, and its manifests.
//!
//! They are built from this repository's own history, once, into the cache of [`crate::assets`].
//! Not here: what is tested with them, see `tests/invariants/compat.rs`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::assets::cache;
use crate::tree;

/// The commit, and what the name of its entry in the cache begins with.
const COMMIT: &str = "0e3b248ca1cff6820346d21b0d68869a0d6c16bc";
/// Of its tree, everything that the programs are built from, and the manifests.
const PARTS: [&str; 9] = [
    "rust-toolchain.toml",
    "Cargo.toml",
    "Cargo.lock",
    "shared",
    "webhook",
    "agent",
    "certs-dev",
    "tests",
    "manifests",
];
const AGENT: &str = "cordonhold-agent";
const WEBHOOK: &str = "cordonhold-webhook";
const MANIFESTS: &str = "manifests";

/// The older version.
#[derive(Debug, Clone)]
pub struct Older {
    /// Its agent.
    pub agent: PathBuf,
    /// Its webhook.
    pub webhook: PathBuf,
    manifests: PathBuf,
}

impl Older {
    /// Finds it, and builds it if it is missing. The build takes about four minutes on two cores.
    pub fn find() -> Result<Self> {
        let directory = cache::entry(&format!("{}-cordonhold", &COMMIT[..7]), fill)?;
        Ok(Self {
            agent: directory.join(AGENT),
            webhook: directory.join(WEBHOOK),
            manifests: directory.join(MANIFESTS),
        })
    }

    /// The path of a directory in its manifests, such as `base`.
    pub fn manifests(&self, name: &str) -> PathBuf {
        self.manifests.join(name)
    }
}

fn fill(directory: &Path) -> Result<()> {
    let place = tempfile::tempdir().context("failed to create a temporary directory")?;
    extract(place.path())?;
    let target = place.path().join("target");
    eprintln!(
        "building Cordonhold {} from source, once (about 4 minutes on 2 cores)",
        &COMMIT[..7]
    );
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(&cargo)
        .current_dir(place.path())
        .args([
            "build",
            "--quiet",
            "--locked",
            "-p",
            AGENT,
            "-p",
            WEBHOOK,
            "--target-dir",
        ])
        .arg(&target)
        // Nobody debugs them, and without this they take three times the room.
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("failed to run {}", cargo.display()))?;
    ensure!(
        status.success(),
        "failed to build the agent and the webhook of {COMMIT}; cargo says why above"
    );
    for program in [AGENT, WEBHOOK] {
        let built = target.join("debug").join(program);
        let copied = std::fs::copy(&built, directory.join(program));
        let _ = copied.with_context(|| format!("failed to copy {}", built.display()))?;
    }
    tree::copy(&place.path().join(MANIFESTS), &directory.join(MANIFESTS))
}

/// Writes its sources into a directory.
fn extract(directory: &Path) -> Result<()> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        let _ = command
            .arg("-C")
            .arg(&repository)
            .args(arguments)
            .stdin(Stdio::null());
        command
    };
    let known = git(&["cat-file", "-e", COMMIT])
        .output()
        .context("failed to run git, which the older version's sources come from; install git")?;
    ensure!(
        known.status.success(),
        "{} lacks the commit {COMMIT}, whose programs the upgrade is tested with ({}): fetch it with `git fetch --unshallow`",
        repository.display(),
        String::from_utf8_lossy(&known.stderr).trim()
    );
    let archive = directory.join("sources.tar");
    let written = git(&["archive", "--format=tar", "--output"])
        .arg(&archive)
        .arg(COMMIT)
        .args(PARTS)
        .output()
        .context("failed to run git archive")?;
    if !written.status.success() {
        bail!(
            "git archive failed: {}",
            String::from_utf8_lossy(&written.stderr).trim()
        );
    }
    let unpacked = Command::new("tar")
        .arg("-xf")
        .arg(&archive)
        .arg("-C")
        .arg(directory)
        .output()
        .context("failed to run tar, which unpacks the older version's sources; install tar")?;
    ensure!(
        unpacked.status.success(),
        "tar failed: {}",
        String::from_utf8_lossy(&unpacked.stderr).trim()
    );
    Ok(())
}
