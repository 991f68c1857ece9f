//! Other versions of Cordonhold than this one: the oldest from which an upgrade is tested, and a stand-in for the next one.
//!
//! The oldest, its programs and its manifests, is built from this repository's own history, once, into the cache of [`crate::assets`].
//! The next one is this version's agent with a few lines changed: it writes a phase, an annotation and a field of the lock's entry that this
//! version does not know.
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

/// What the next version's agent shows instead of the phase `delaying`.
pub const NEXT_PHASE: &str = "warming";
/// The annotation that it writes with each wish.
pub const NEXT_ANNOTATION: &str = "cordonhold.dev/of-tomorrow";
/// The field of each of its entries in the lock.
pub const NEXT_FIELD: &str = "ofTomorrow";

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

/// Builds the agent of a next version into a directory, and returns its path. It takes about three minutes on two cores.
pub fn next_agent(directory: &Path) -> Result<PathBuf> {
    let place = tempfile::tempdir().context("failed to create a temporary directory")?;
    copy_tracked(place.path())?;
    for (file, of_this, of_next) in next_lines() {
        change(&place.path().join(file), of_this, &of_next)?;
    }
    eprintln!("building the agent of a next version (about 3 minutes on 2 cores)");
    let built = build(place.path(), &[AGENT]).context("the next version")?;
    let agent = directory.join("next-agent");
    copy(&built.join(AGENT), &agent)?;
    Ok(agent)
}

/// By file: a line of this version, and the next version's.
fn next_lines() -> [(&'static str, &'static str, String); 3] {
    [
        (
            "shared/src/hold.rs",
            r#"Phase::Delaying => "delaying","#,
            format!("Phase::Delaying => {NEXT_PHASE:?},"),
        ),
        (
            "shared/src/hold/patch.rs",
            "patch.set(keys::HOLDER, holder);",
            format!("patch.set(keys::HOLDER, holder); patch.set({NEXT_ANNOTATION:?}, String::new());"),
        ),
        (
            "shared/src/lock.rs",
            "rest: Map::new(),",
            format!("rest: Map::from_iter([({NEXT_FIELD:?}.to_owned(), true.into())]),"),
        ),
    ]
}

fn change(file: &Path, from: &str, to: &str) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
    let found = text.matches(from).count();
    ensure!(
        found == 1,
        "{} has {from:?} {found} times, not once: change what makes the next version, in tests/src/compat.rs",
        file.display()
    );
    std::fs::write(file, text.replace(from, to))
        .with_context(|| format!("failed to write {}", file.display()))
}

fn fill(directory: &Path) -> Result<()> {
    let place = tempfile::tempdir().context("failed to create a temporary directory")?;
    extract(place.path())?;
    eprintln!(
        "building Cordonhold {} from source, once (about 4 minutes on 2 cores)",
        &COMMIT[..7]
    );
    let built = build(place.path(), &[AGENT, WEBHOOK]).with_context(|| format!("the version of {COMMIT}"))?;
    for program in [AGENT, WEBHOOK] {
        copy(&built.join(program), &directory.join(program))?;
    }
    tree::copy(&place.path().join(MANIFESTS), &directory.join(MANIFESTS))
}

/// Builds programs of the sources in a directory, and returns the directory that they are in.
fn build(sources: &Path, programs: &[&str]) -> Result<PathBuf> {
    let target = sources.join("target");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(&cargo)
        .current_dir(sources)
        .args(["build", "--quiet", "--locked", "--target-dir"])
        .arg(&target)
        .args(programs.iter().flat_map(|program| ["-p", program]))
        // Nobody debugs them, and without this they take three times the room.
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("failed to run {}", cargo.display()))?;
    ensure!(
        status.success(),
        "failed to build {programs:?}; cargo says why above"
    );
    Ok(target.join("debug"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = std::fs::copy(from, to);
    copied
        .map(drop)
        .with_context(|| format!("failed to copy {}", from.display()))
}

fn git(arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    let _ = command
        .arg("-C")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .args(arguments)
        .stdin(Stdio::null());
    command
}

/// Copies the files of this repository as they are now into a directory.
fn copy_tracked(directory: &Path) -> Result<()> {
    let listed = git(&["ls-files", "-z"])
        .output()
        .context("failed to run git, which lists the sources; install git")?;
    ensure!(
        listed.status.success(),
        "git ls-files failed: {}",
        String::from_utf8_lossy(&listed.stderr).trim()
    );
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let names = String::from_utf8(listed.stdout).context("a file's name is not text")?;
    for name in names.split('\0').filter(|name| root.join(name).is_file()) {
        let target = directory.join(name);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("failed to create {}", parent.display()))?;
        }
        copy(&root.join(name), &target)?;
    }
    Ok(())
}

/// Writes its sources into a directory.
fn extract(directory: &Path) -> Result<()> {
    let known = git(&["cat-file", "-e", COMMIT])
        .output()
        .context("failed to run git, which the older version's sources come from; install git")?;
    ensure!(
        known.status.success(),
        "this clone lacks the commit {COMMIT}, whose programs the upgrade is tested with ({}): fetch it with `git fetch --unshallow`",
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
