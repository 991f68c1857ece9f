//! A real containerd of its own, that imports images and runs containers from them, as root.
//!
//! Not here: kubelets, and containers that run on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::{CommandLine, Kennel, Process};
use crate::wait;

/// A running containerd.
pub struct Containerd {
    /// It ends when this is dropped.
    _process: Process,
    socket: PathBuf,
}

/// Longest start. It takes a tenth of a second, and longer on a busy machine.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time for one command of `ctr`: unpacking an image of some megabytes, or running a program that only prints.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

impl Containerd {
    /// Starts a containerd with everything that it writes in this directory, and waits until it answers.
    pub async fn start(kennel: &Kennel, directory: &Path) -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "containerd runs as root alone: run this test as root"
        );
        let directory = directory.join("containerd");
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("failed to create {}", directory.display()))?;
        let shown = directory.display();
        let socket = directory.join("socket");
        let configuration = directory.join("config.toml");
        // What it would do for a kubelet is left out.
        let text = format!(
            "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\nroot = \"{shown}/root\"\nstate = \"{shown}/state\"\n[grpc]\naddress = \"{}\"\n",
            socket.display()
        );
        std::fs::write(&configuration, text)
            .with_context(|| format!("failed to write {}", configuration.display()))?;
        let line = CommandLine::new("containerd").arg("--config").arg(&configuration);
        let process = kennel
            .start("containerd", &line)
            .context("install containerd and runc as README.md says")?;
        let containerd = Self {
            _process: process,
            socket,
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
        let line = [
            &["run", "--rm", "--snapshotter=native"],
            options,
            &[image, "container"],
            words,
        ];
        self.ctr(&line.concat()).await
    }

    async fn ctr(&self, words: &[&str]) -> Result<String> {
        let line = CommandLine::new("ctr")
            .arg("--address")
            .arg(&self.socket)
            .args(words.iter().copied());
        line.run("", COMMAND_TIMEOUT).await
    }
}
