//! The images on a real node: the sandbox of each pod, busybox for the pods of tests, and the agent under the name that its manifest has.
//!
//! The agent's program is the one of this build, with the libraries that it is linked to. The shipped image has a static one without them, which
//! takes minutes to build; `.ci/long` runs that one in the tests of images.
//! Not here: how images are written, see `manifests/release`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cordonhold_release::archive::{Archive, FILE, PROGRAM};
use cordonhold_release::image;
use cordonhold_release::images::{NO_REPOSITORY, name};
use cordonhold_release::program::{Arch, FOLDER};

use crate::AGENT_ACCOUNT;
use crate::programs;

/// The name that `tests/real-node/common/etc/containerd.toml` has.
const PAUSE: &str = "localhost/pause:1";
/// The name of an image with busybox, for the pods of tests. Nodes pull no image.
pub const BUSYBOX: &str = "localhost/busybox:1";
/// Its program. 15 is SIGTERM.
const PAUSES: &str = "
unsafe extern \"C\" {
    fn signal(number: i32, handler: extern \"C\" fn(i32)) -> usize;
    fn _exit(code: i32) -> !;
}
extern \"C\" fn end(_: i32) {
    unsafe { _exit(0) }
}
fn main() {
    let _ = unsafe { signal(15, end) };
    loop {
        std::thread::park()
    }
}
";
/// The names of the programs in busybox that pods use.
const APPLETS: [&str; 3] = ["sh", "sleep", "touch"];

/// Writes all images into this directory, each a tar.
pub(super) fn make(directory: &Path, agent: &Path) -> Result<Vec<PathBuf>> {
    let busybox = read(Path::new("/usr/bin/busybox"))?;
    let mut pause = Archive::default();
    pause.file(&format!("{FOLDER}/pause"), PROGRAM, &waiting(directory)?)?;
    let mut pods = Archive::default();
    pods.file(&format!("{FOLDER}/busybox"), PROGRAM, &busybox)?;
    for applet in APPLETS {
        pods.link(&format!("{FOLDER}/{applet}"), "busybox")?;
    }
    let agent_image = name(NO_REPOSITORY, AGENT_ACCOUNT);
    [
        ("pause", PAUSE, pause),
        ("busybox", BUSYBOX, pods),
        (
            AGENT_ACCOUNT,
            agent_image.as_str(),
            agent_layer(directory, agent)?,
        ),
    ]
    .into_iter()
    .map(|(program, name, layer)| {
        let arch = Arch::of_host().context("no image is made for this machine")?;
        let tar = image::of_layer(program, "0:0", arch, layer.finish()?)?.to_tar(name)?;
        let path = directory.join(format!("{program}.tar"));
        std::fs::write(&path, tar).with_context(|| format!("failed to write {}", path.display()))?;
        Ok(path)
    })
    .collect()
}

/// A program that waits until it is told to end, linked statically. It is PID 1 of its pod, so without a handler of its own it would not even see
/// that, and a shutdown would wait for it.
fn waiting(directory: &Path) -> Result<Vec<u8>> {
    read(&programs::compile(directory, "pause", PAUSES)?)
}

/// The agent without what only a debugger reads, and its libraries where it looks for them.
fn agent_layer(directory: &Path, agent: &Path) -> Result<Archive> {
    let stripped = directory.join("agent");
    drop(run(Command::new("strip").arg("-o").arg(&stripped).arg(agent))?);
    let mut layer = Archive::default();
    layer.file(&format!("{FOLDER}/{AGENT_ACCOUNT}"), PROGRAM, &read(&stripped)?)?;
    let libraries = run(Command::new("ldd").arg(agent))?;
    // Such as `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`.
    for path in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        let mode = if path.contains("/ld-") { PROGRAM } else { FILE };
        layer.file(path.trim_start_matches('/'), mode, &read(Path::new(path))?)?;
    }
    Ok(layer)
}

/// Runs a command to its end, and returns what it has printed.
pub(super) fn run(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("failed to run {command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{command:?} failed ({}): {errors}",
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}
