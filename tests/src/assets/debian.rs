//! A Debian for machines, and a kernel for those that are computers of their own: made once by mmdebstrap, from the mirror that this machine's apt
//! uses.
//!
//! The mirror's newest packages are taken when an entry is made, and kept: the key of the cache knows their names, not their versions. To have
//! newer ones, remove the entry.
//! Not here: what is changed of it for a node, see [`crate::real_node`].

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::cache;
use super::progress::Progress;

/// What a node is made of. systemd brings logind, which listens on the bus of dbus.
const NODE_PACKAGES: [&str; 7] = [
    "containerd",
    "containernetworking-plugins",
    "dbus",
    "iproute2",
    "runc",
    "systemd",
    "systemd-sysv",
];
/// The kernel with drivers for emulated computers alone.
const KERNEL_PACKAGES: [&str; 1] = ["linux-image-cloud-amd64"];
/// Left out: nobody reads it.
const UNREAD: [&str; 3] = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"];
/// Where apt's sources are, the first that is there.
const SOURCES: [&str; 2] = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"];

/// Finds the file system of a node, a tar, and makes it if it is missing. That takes two minutes and shows its progress on standard error.
pub fn node() -> Result<PathBuf> {
    let variant = [&["--variant=minbase"], NODE_PACKAGES.as_slice()].concat();
    let title = "making the file system of a node from Debian's packages, once (about 2 minutes)";
    Ok(made("node", &variant, title)?.join("root.tar"))
}

/// Finds a kernel, a tar with its modules, and fetches it if it is missing.
pub fn kernel() -> Result<PathBuf> {
    // It is only unpacked: no boot loader is set up, and no file system for its boot is made.
    let variant = [&["--variant=extract"], KERNEL_PACKAGES.as_slice()].concat();
    let title = "fetching a kernel from Debian's packages, once";
    Ok(made("kernel", &variant, title)?.join("root.tar"))
}

/// The entry of the cache with what mmdebstrap makes of this variant and these packages.
fn made(name: &str, recipe: &[&str], title: &str) -> Result<PathBuf> {
    let suite = suite()?;
    let content = [recipe, &UNREAD].concat().join(" ");
    let key = format!("{suite}-{:016x}-{name}", cache::hash(content.as_bytes()));
    cache::entry(&key, |directory| make(directory, &suite, recipe, title))
}

/// The release of Debian that this machine has. Its mirror is known to have that one.
fn suite() -> Result<String> {
    let path = "/etc/os-release";
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {path}"))?;
    let field = |name: &str| {
        let mut values = text.lines().filter_map(|line| line.strip_prefix(name));
        values.next().map(|value| value.trim_matches('"').to_owned())
    };
    ensure!(
        field("ID=").as_deref() == Some("debian"),
        "a machine with a Debian of its own is made from the mirror of this machine's apt, and {path} does not say that this is a Debian"
    );
    field("VERSION_CODENAME=").with_context(|| format!("{path} names no release"))
}

fn make(directory: &Path, suite: &str, recipe: &[&str], title: &str) -> Result<()> {
    let Some(sources) = SOURCES.into_iter().find(|path| Path::new(path).is_file()) else {
        bail!(
            "apt has no sources in {}: name a mirror there",
            SOURCES.join(" or ")
        );
    };
    let (variant, packages) = recipe.split_first().context("a recipe names a variant")?;
    let mut progress = Progress::new(title.to_owned());
    let mut child = Command::new("mmdebstrap")
        .args(["--mode=root", "--format=tar", variant])
        .arg("--aptopt=APT::Install-Recommends \"false\"")
        .args(UNREAD.map(|path| format!("--dpkgopt=path-exclude={path}")))
        .arg(format!("--include={}", packages.join(",")))
        .arg(suite)
        .arg(directory.join("root.tar"))
        .arg(sources)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("failed to run mmdebstrap: apt-get install mmdebstrap")?;
    let stderr = child.stderr.take().context("mmdebstrap has no standard error")?;
    let said = progress.follow(stderr);
    let status = child.wait().context("failed to wait for mmdebstrap")?;
    progress.end(if status.success() { "done" } else { "failed" });
    ensure!(
        status.success(),
        "mmdebstrap failed ({status}); it needs the mirror that {sources} names, and root; it said:\n{}",
        said.join("\n")
    );
    Ok(())
}
