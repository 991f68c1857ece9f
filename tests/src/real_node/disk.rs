//! What is on the disk of a real node before its first boot.
//!
//! Not here: what the files are for, see `tests/real-node`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::computer::{self, GATEWAY};
use super::{ADDRESS, Kind, NAME, WITNESS, machine};
use crate::assets::debian;
use crate::control_plane::{ControlPlane, SERVICE};
use crate::identity::{Credential, Endpoint, Identity};

/// How long a shutdown hangs while `hangs.service` runs.
pub(crate) const HANG: Duration = Duration::from_secs(40);
/// What a machine has that is only namespaces with busybox's init: the rest is the programs of the machine that it is on.
const DIRECTORIES: [&str; 12] = [
    "dev",
    "etc/cni/net.d",
    "etc/kubernetes/manifests",
    "etc/stopped",
    "opt/kubelet",
    "proc",
    "run",
    "sys",
    "tmp",
    "usr",
    "var/lib",
    "var/log",
];
const LINKS: [(&str, &str); 5] = [
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
    ("var/run", "../run"),
];
/// Where systemd finds what it starts.
const UNITS: &str = "etc/systemd/system";
/// What systemd starts at each boot, and for which target.
const STARTED: [(&str, &str); 4] = [
    ("node.service", "multi-user.target"),
    ("kubelet.service", "multi-user.target"),
    ("control.socket", "sockets.target"),
    ("clock.service", "sysinit.target"),
];
/// What it starts by itself, and nobody needs. The first two would change the kernel that namespaces share; terminals would wait for their devices,
/// without a udev in vain.
const MASKED: [&str; 13] = [
    "systemd-sysctl.service",
    "systemd-modules-load.service",
    "modprobe@.service",
    "getty.target",
    "console-getty.service",
    "timers.target",
    "e2scrub_reap.service",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
    "dev-hugepages.mount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
];
/// An id of this Debian, so that systemd takes no boot for its first one.
const MACHINE_ID: &str = "c0de0000000000000000000000000001\n";

/// Makes the disk of such a machine in the directory of this control plane. Returns what the machine is started with.
pub(super) fn make(kind: Kind, plane: &ControlPlane, kubelet: &Path, images: &[PathBuf]) -> Result<PathBuf> {
    let disk = plane.directory().join(NAME);
    std::fs::create_dir(&disk).with_context(|| made(&disk))?;
    match kind {
        Kind::Busybox => write_bare(&disk)?,
        Kind::Nspawn | Kind::Qemu => write_debian(&disk)?,
    }
    write_node(kind, &disk, kubelet, plane)?;
    for image in images {
        copy(image, &disk.join(self::image(image)?))?;
    }
    if kind != Kind::Qemu {
        return Ok(disk);
    }
    let directory = plane.directory().join("computer");
    computer::make(&directory, &disk)?;
    std::fs::remove_dir_all(&disk).with_context(|| format!("failed to remove {}", disk.display()))?;
    Ok(directory)
}

/// Where on the disk this image is.
pub(super) fn image(tar: &Path) -> Result<String> {
    let name = tar.file_name().context("an image is a file")?;
    Ok(format!("var/images/{}", name.display()))
}

fn made(what: &Path) -> String {
    format!("failed to make {}", what.display())
}

fn make_directory(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| made(path))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = std::fs::copy(from, to);
    copied.map(drop).with_context(|| made(to))
}

fn link(target: &str, at: &Path) -> Result<()> {
    std::os::unix::fs::symlink(target, at).with_context(|| made(at))
}

fn write_bare(disk: &Path) -> Result<()> {
    for name in DIRECTORIES {
        make_directory(&disk.join(name))?;
    }
    for (name, to) in LINKS {
        link(to, &disk.join(name))?;
    }
    Ok(())
}

fn write_debian(disk: &Path) -> Result<()> {
    computer::unpack(&debian::node()?, disk)?;
    write(disk, "etc/machine-id", MACHINE_ID)?;
    let units = disk.join(UNITS);
    for (unit, target) in STARTED {
        let wants = units.join(format!("{target}.wants"));
        make_directory(&wants)?;
        link(&format!("/{UNITS}/{unit}"), &wants.join(unit))?;
    }
    for unit in MASKED {
        link("/dev/null", &units.join(unit))?;
    }
    Ok(())
}

/// Writes what makes the machine a node of this control plane.
fn write_node(kind: Kind, disk: &Path, kubelet: &Path, plane: &ControlPlane) -> Result<()> {
    for name in ["etc/kubernetes/manifests", "opt/kubelet", "var/images"] {
        make_directory(&disk.join(name))?;
    }
    let (own, cgroups, with_systemd) = match kind {
        Kind::Busybox => ("busybox", "cgroupfs", false),
        // The cgroups of a machine in namespaces are not all its systemd's.
        Kind::Nspawn => ("systemd", "cgroupfs", false),
        Kind::Qemu => ("systemd", "systemd", true),
    };
    let values = [
        ("{name}", NAME.to_owned()),
        ("{address}", ADDRESS.to_owned()),
        ("{gateway}", GATEWAY.to_owned()),
        ("{witness}", WITNESS.to_owned()),
        ("{cgroup_driver}", cgroups.to_owned()),
        ("{systemd_cgroups}", with_systemd.to_string()),
        ("{hang}", HANG.as_secs().to_string()),
    ];
    for files in ["common", own] {
        copy_filled(&machine::files().join(files), disk, &values)?;
    }
    copy(kubelet, &disk.join("opt/kubelet/kubelet"))?;
    copy(&plane.endpoint().ca_file, &disk.join("etc/kubernetes/ca.crt"))?;
    write(disk, WITNESS, "")?;
    let user = Identity::Kubelet.user();
    let token = std::fs::read_to_string(plane.token_file(Identity::Kubelet))
        .context("failed to read the kubelet's token")?;
    let endpoint = Endpoint {
        url: format!("https://{SERVICE}"),
        ca_file: "/etc/kubernetes/ca.crt".into(),
    };
    endpoint.write_kubeconfig(
        &disk.join("etc/kubernetes/kubelet.kubeconfig"),
        user,
        &Credential::Token(token),
    )
}

/// Copies the files below a directory, with values in the place of their names.
fn copy_filled(from: &Path, to: &Path, values: &[(&str, String)]) -> Result<()> {
    make_directory(to)?;
    let listed = std::fs::read_dir(from).with_context(|| format!("failed to list {}", from.display()))?;
    for entry in listed {
        let entry = entry.with_context(|| format!("failed to list {}", from.display()))?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_filled(&entry.path(), &target, values)?;
            continue;
        }
        let text = std::fs::read_to_string(entry.path())
            .with_context(|| format!("failed to read {}", entry.path().display()))?;
        let filled = values
            .iter()
            .fold(text, |text, (name, value)| text.replace(name, value));
        std::fs::write(&target, filled).with_context(|| made(&target))?;
    }
    Ok(())
}

pub(super) fn write(disk: &Path, name: &str, content: &str) -> Result<()> {
    let path = disk.join(name);
    std::fs::write(&path, content).with_context(|| format!("failed to write {}", path.display()))
}
