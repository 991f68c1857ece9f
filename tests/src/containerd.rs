//! A real containerd of its own, that imports images and runs containers from them, as root.
//!
//! Not here: kubelets, and containers that run on.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::{CommandLine, Kennel, Process};
use crate::wait;

/// A running containerd.
pub struct Containerd {
    /// It ends when this is dropped.
    _process: Process,
    directory: PathBuf,
    /// Its own among all containerds of the machine: by it and by the container's name, the kernel's cgroups and the shims' sockets are named.
    namespace: String,
    /// How many containers it has run.
    containers: AtomicU32,
}

/// How many containerds this process has started.
static STARTED: AtomicU32 = AtomicU32::new(0);
/// The name of its socket in its directory.
const SOCKET: &str = "socket";
/// Longest start. It takes a tenth of a second, and longer on a busy machine.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time for one command of `ctr`: unpacking an image of some megabytes, or running a program that only prints.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

impl Containerd {
    /// Starts a containerd and waits until it answers. What it writes is in this directory, but for the sockets of its shims: they are in
    /// `/run/containerd/s`, each named by a hash of this containerd's own socket, its namespace and the container.
    pub async fn start(kennel: &Kennel, directory: &Path) -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "containerd runs as root alone: run this test as root"
        );
        let directory = directory.join("containerd");
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("failed to create {}", directory.display()))?;
        let shown = directory.display();
        let configuration = directory.join("config.toml");
        // What it would do for a kubelet is left out, and what would change containers from outside.
        let text = format!(
            "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.nri.v1.nri\"]\nroot = \"{shown}/root\"\nstate = \"{shown}/state\"\n[grpc]\naddress = \"{shown}/{SOCKET}\"\n[plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{shown}/opt\"\n"
        );
        std::fs::write(&configuration, text)
            .with_context(|| format!("failed to write {}", configuration.display()))?;
        let line = CommandLine::new("containerd").arg("--config").arg(&configuration);
        let process = kennel
            .start("containerd", &line)
            .context("install containerd and runc as README.md says")?;
        let containerd = Self {
            _process: process,
            directory,
            namespace: format!(
                "cordonhold-{}-{}",
                std::process::id(),
                STARTED.fetch_add(1, Ordering::Relaxed)
            ),
            containers: AtomicU32::new(0),
        };
        let answered = wait::until("containerd to answer", READY_TIMEOUT, || async {
            Ok(containerd.ctr(&["version"]).await.ok())
        });
        drop(answered.await?);
        Ok(containerd)
    }

    /// Imports the images in a tar.
    pub async fn import(&self, tar: &Path) -> Result<String> {
        let tar = tar.display().to_string();
        // Its own snapshotter copies files, and so works on any file system.
        self.ctr(&["images", "import", "--snapshotter=native", &tar])
            .await
    }

    /// Runs a container from an image to its end, with these options of `ctr run` and these words in place of the image's own.
    /// Returns what it prints. An error means that it failed.
    pub async fn run(&self, image: &str, options: &[&str], words: &[&str]) -> Result<String> {
        let shown = self.directory.display();
        let (fifos, runc) = (
            format!("--fifo-dir={shown}/fifos"),
            format!("--runc-root={shown}/runc"),
        );
        let container = format!("container-{}", self.containers.fetch_add(1, Ordering::Relaxed));
        let line = [
            &["run", "--rm", "--snapshotter=native", &fifos, &runc],
            options,
            &[image, &container],
            words,
        ];
        self.ctr(&line.concat()).await
    }

    async fn ctr(&self, words: &[&str]) -> Result<String> {
        let line = CommandLine::new("ctr")
            .arg("--address")
            .arg(self.directory.join(SOCKET))
            .args(["--namespace", &self.namespace])
            .args(words.iter().copied());
        line.run("", COMMAND_TIMEOUT).await
    }
}
