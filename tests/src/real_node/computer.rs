//! The computer of a real node: QEMU with software emulation, which needs no virtualization of the machine that it is on. Its kernel and its
//! Debian are its own. A reset ends QEMU, and the harness starts it again: a reset inside it takes a minute more.
//!
//! Not here: when it is started, see [`super::machine`].

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::network::{self, inside};
use super::{ADDRESS, images, machine};
use crate::assets::debian;

/// The address of the router, which is QEMU. What is sent there reaches the network of the harness.
pub(super) const GATEWAY: &str = "192.0.2.2";
/// Its network, in which the node's address is the same as that of any real node.
const NETWORK: &str = "192.0.2.0/24";
/// The port that runs commands, and the kubelet's; each is open on loopback in the network of the node.
const CONTROL_PORT: u16 = 2222;
/// The size of the disk; what is not written takes no room.
const DISK_BYTES: u64 = 3 << 30;
/// Memory of the computer: systemd, containerd, a kubelet and some pods take 700 MB.
const MEMORY_MIB: &str = "1280";
/// Drivers in the order in which they are loaded: the disk, the network, and what pods' networks are made of. The kernel has ext4.
const MODULES: [&str; 10] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_blk",
    "failover",
    "net_failover",
    "virtio_net",
    "veth",
];
/// No check of what an emulator cannot have, and no wait for entropy.
const KERNEL_WORDS: &str = "console=ttyS0 loglevel=5 mitigations=off nokaslr random.trust_cpu=on net.ifnames=0 nowatchdog systemd.show_status=0";
/// What ends what a command prints: its exit code.
const EXIT: &str = "exit code ";

/// Makes a computer in this directory, with this directory as what is on its disk.
pub(super) fn make(directory: &Path, content: &Path) -> Result<()> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("failed to create {}", directory.display()))?;
    let unpacked = directory.join("kernel");
    std::fs::create_dir(&unpacked).with_context(|| format!("failed to create {}", unpacked.display()))?;
    unpack(&debian::kernel()?, &unpacked)?;
    let kernel = find(&unpacked.join("boot"), |name| name.starts_with("vmlinuz-"))?;
    std::fs::rename(&kernel, directory.join("vmlinuz"))
        .with_context(|| format!("failed to move {}", kernel.display()))?;
    let initrd = directory.join("initrd");
    std::fs::write(&initrd, first_files(&unpacked)?)
        .with_context(|| format!("failed to write {}", initrd.display()))?;
    std::fs::remove_dir_all(&unpacked).with_context(|| format!("failed to remove {}", unpacked.display()))?;
    let disk = directory.join("disk");
    std::fs::File::create(&disk)
        .and_then(|file| file.set_len(DISK_BYTES))
        .with_context(|| format!("failed to create {}", disk.display()))?;
    images::run(
        Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-d"])
            .arg(content)
            .arg(&disk),
    )
    .map(drop)
}

/// Unpacks a tar with owners and modes.
pub(super) fn unpack(tar: &Path, directory: &Path) -> Result<()> {
    images::run(
        Command::new("tar")
            .args(["--extract", "--preserve-permissions", "--numeric-owner", "--file"])
            .arg(tar)
            .arg("--directory")
            .arg(directory),
    )
    .map(drop)
}

/// The words that run the computer in this directory, with these further words for its kernel.
pub(super) fn words(directory: &Path, kernel_words: &[&str]) -> Vec<String> {
    let path = |name: &str| directory.join(name).display().to_string();
    let network = format!(
        "user,id=network,net={NETWORK},host={GATEWAY},dhcpstart=192.0.2.100,\
         hostfwd=tcp:127.0.0.1:{kubelet}-{ADDRESS}:{kubelet},hostfwd=tcp:127.0.0.1:{CONTROL_PORT}-{ADDRESS}:{CONTROL_PORT}",
        kubelet = network::KUBELET_PORT,
    );
    let kernel_words = [&[KERNEL_WORDS], kernel_words].concat().join(" ");
    let disk = format!("file={},if=virtio,format=raw,cache=unsafe", path("disk"));
    let (kernel, initrd) = (path("vmlinuz"), path("initrd"));
    let words = [
        "qemu-system-x86_64",
        "-accel",
        "tcg,thread=multi",
        "-machine",
        "q35",
        "-cpu",
        "max",
        "-smp",
        "2",
        "-m",
        MEMORY_MIB,
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
        "-monitor",
        "none",
        "-serial",
        "stdio",
        "-kernel",
        &kernel,
        "-initrd",
        &initrd,
        "-append",
        &kernel_words,
        "-drive",
        &disk,
        "-netdev",
        &network,
        "-device",
        "virtio-net-pci,netdev=network,romfile=",
    ];
    words.map(str::to_owned).to_vec()
}

/// Runs words on the computer in this network, and returns what they print.
pub(super) async fn run(network: u32, words: &[&str], bound: Duration) -> Result<String> {
    let line = shlex::try_join(words.iter().copied()).context("a word that no shell takes")?;
    let script = format!("exec 2>&1\n{{ {line}; }} </dev/null\necho \"{EXIT}$?\"\n");
    let asked = tokio::task::spawn_blocking(move || ask(network, &script, bound));
    let said = asked
        .await?
        .with_context(|| format!("failed to run {line} on the computer"))?;
    let (printed, code) = said
        .rsplit_once(EXIT)
        .with_context(|| format!("the computer ended in the middle of {line}; it said: {said}"))?;
    ensure!(
        code.trim() == "0",
        "{line} failed ({EXIT}{}): {printed}",
        code.trim()
    );
    Ok(printed.to_owned())
}

fn ask(network: u32, script: &str, bound: Duration) -> Result<String> {
    let address: SocketAddr = format!("127.0.0.1:{CONTROL_PORT}").parse()?;
    let mut stream = inside(network, move || TcpStream::connect_timeout(&address, bound))?;
    stream.set_read_timeout(Some(bound))?;
    stream.set_write_timeout(Some(bound))?;
    stream.write_all(script.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut said = Vec::new();
    // A machine that ends in the middle resets the connection; what it has said counts.
    let read = stream.read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said).into_owned();
    if let (Err(error), false) = (read, said.contains(EXIT)) {
        bail!("{error}; it said: {said}");
    }
    Ok(said)
}

/// The only entry of this directory with such a name.
fn find(directory: &Path, is_it: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let what = || format!("failed to list {}", directory.display());
    for entry in std::fs::read_dir(directory).with_context(what)? {
        let entry = entry.with_context(what)?;
        if is_it(&entry.file_name().to_string_lossy()) {
            return Ok(entry.path());
        }
    }
    bail!(
        "{} has no such file: another kernel package?",
        directory.display()
    )
}

/// The files that the kernel starts with, as a cpio archive: busybox, the drivers, and what loads them.
fn first_files(unpacked: &Path) -> Result<Vec<u8>> {
    let modules = find(&unpacked.join("lib/modules"), |_| true)?;
    let listed = std::fs::read_to_string(modules.join("modules.order"))
        .context("failed to read which modules the kernel has")?;
    let mut archive = Cpio::default();
    for directory in ["bin", "dev", "lib", "proc", "root"] {
        archive.directory(directory);
    }
    for name in MODULES {
        let file = format!("/{name}.ko");
        let path = listed.lines().find(|path| path.ends_with(&file));
        let path = modules.join(path.with_context(|| format!("the kernel has no module {name}"))?);
        archive.program(&format!("lib/{name}.ko"), &read(&path)?);
    }
    archive.program(
        "modules",
        MODULES.map(|name| format!("{name}.ko\n")).concat().as_bytes(),
    );
    archive.program("bin/busybox", &read(Path::new("/usr/bin/busybox"))?);
    archive.link("bin/sh", "busybox");
    archive.program("init", &read(&machine::files().join("computer/init"))?);
    Ok(archive.finish())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}

/// An archive in the format of cpio that the kernel reads (Linux: Documentation/driver-api/early-userspace/buffer-format.rst).
#[derive(Default)]
struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
}

impl Cpio {
    fn directory(&mut self, name: &str) {
        self.entry(name, 0o040_755, &[]);
    }

    fn program(&mut self, name: &str, content: &[u8]) {
        self.entry(name, 0o100_755, content);
    }

    fn link(&mut self, name: &str, to: &str) {
        self.entry(name, 0o120_777, to.as_bytes());
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(content.len()).expect("no file here has 4 GiB");
        let name_size = u32::try_from(name.len() + 1).expect("names are short");
        // inode, mode, owner, group, links, time, size, two devices of two numbers each, size of the name, checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08X}").bytes());
        }
        self.bytes.extend(name.bytes().chain([0]));
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    /// Everything begins at a multiple of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }
}
