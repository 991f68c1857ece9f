//! A machine's directory: what an agent sees of its host, and what a reboot does to it.
//!
//! It runs nothing; `machine` plays the power switch.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{CWD, Mode, mkfifoat};

use crate::control_plane::random_id;

/// What happens when the reboot command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RebootCommand {
    /// The machine goes down and comes back.
    Reboots,
    /// The command exits non-zero, and nothing happens.
    Fails,
    /// The command exits zero, and nothing happens.
    DoesNothing,
    /// The machine goes down once [`Host::let_reboot_go`] was called.
    Waits,
}

/// Emptied by a boot, like all of `/run`.
const GO: &str = "run/go";

/// The directory of one machine.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
}

impl Host {
    pub(crate) fn create(root: PathBuf) -> Result<Self> {
        let host = Self { root };
        for directory in ["run", "var", "proc/sys/kernel/random", "dev", "sbin"] {
            let path = host.path(directory);
            std::fs::create_dir_all(&path).with_context(|| format!("failed to create {}", path.display()))?;
        }
        // Absolute, as on real hosts; only whoever resolves it inside the root finds the right place.
        std::os::unix::fs::symlink("/run", host.path("var/run")).context("failed to link var/run")?;
        mkfifoat(CWD, host.initctl(), Mode::RUSR | Mode::WUSR).context("failed to create dev/initctl")?;
        host.boot()?;
        host.set_reboot_command(RebootCommand::Reboots)?;
        Ok(host)
    }

    /// What is `/` to the machine.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The sentinel file.
    pub fn sentinel(&self) -> PathBuf {
        self.path("run/reboot-required")
    }

    /// The FIFO that the reboot command writes to.
    pub fn initctl(&self) -> PathBuf {
        self.path("dev/initctl")
    }

    pub fn boot_id(&self) -> Result<String> {
        let path = self.boot_id_path();
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    pub fn set_reboot_command(&self, command: RebootCommand) -> Result<()> {
        let initctl = self.initctl();
        let script = match command {
            RebootCommand::Reboots => format!("echo reboot > '{}'\n", initctl.display()),
            RebootCommand::Fails => "echo 'Failed to start reboot.target' >&2\nexit 1\n".to_owned(),
            RebootCommand::DoesNothing => format!("echo ignore > '{}'\n", initctl.display()),
            RebootCommand::Waits => format!(
                "while [ ! -e '{}' ]; do sleep 0.05; done\necho reboot > '{}'\n",
                self.path(GO).display(),
                initctl.display()
            ),
        };
        self.write("sbin/reboot", &script)
    }

    /// What [`RebootCommand::Waits`] waits for.
    pub fn let_reboot_go(&self) -> Result<()> {
        self.write(GO, "")
    }

    /// The arguments that make an agent take this directory for its host.
    pub(crate) fn agent_arguments(&self) -> Vec<String> {
        let root = self.root.display();
        vec![
            format!("--host-root={root}"),
            "--host-exec=".to_owned(),
            format!("--reboot-command=/bin/sh '{root}/sbin/reboot'"),
            format!("--shutdown-check-command=/bin/cat '{root}/run/system-state'"),
        ]
    }

    pub(crate) fn request_reboot(&self) -> Result<()> {
        self.write("run/reboot-required", "")
    }

    pub(crate) fn begin_shutdown(&self) -> Result<()> {
        self.write("run/system-state", "stopping\n")
    }

    /// What a boot does: an empty tmpfs on `/run`, and a new boot id.
    pub(crate) fn boot(&self) -> Result<()> {
        let run = self.path("run");
        let entries = std::fs::read_dir(&run).with_context(|| format!("failed to list {}", run.display()))?;
        for entry in entries {
            let path = entry
                .with_context(|| format!("failed to list {}", run.display()))?
                .path();
            let removed = if path.is_dir() && !path.is_symlink() {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            };
            removed.with_context(|| format!("failed to remove {}", path.display()))?;
        }
        self.write("proc/sys/kernel/random/boot_id", &format!("{}\n", random_id()?))?;
        self.write("run/system-state", "running\n")
    }

    fn boot_id_path(&self) -> PathBuf {
        self.path("proc/sys/kernel/random/boot_id")
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside)
    }

    fn write(&self, inside: &str, content: &str) -> Result<()> {
        let path = self.path(inside);
        std::fs::write(&path, content).with_context(|| format!("failed to write {}", path.display()))
    }
}
