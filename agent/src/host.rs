//! The host: a root directory, in which every path is resolved, and commands that run on it.
//!
//! Not here: what follows from what the host says.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cordonhold_shared::cycle::{HostState, RebootFailure, Shutdown};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

pub mod sentinel;

mod command;

use command::{Command, CommandError};
use sentinel::Sentinel;

/// How the host is reached.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// The host's root directory as the agent sees it.
    pub root: PathBuf,
    /// Words before each command.
    pub exec: Vec<String>,
    pub reboot: Vec<String>,
    pub shutdown_check: Vec<String>,
}

/// Why the host cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(
        "failed to open the host's root {}: run as root with hostPID and the DaemonSet's capabilities, or name another directory with --host-root",
        .path.display()
    )]
    Root { path: PathBuf, source: io::Error },
    #[error("failed to open {} in the host's root {}", .path.display(), .root.display())]
    Open {
        root: PathBuf,
        path: PathBuf,
        source: io::Error,
    },
    #[error("failed to read {} in the host's root {}", .path.display(), .root.display())]
    Read {
        root: PathBuf,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{} in the host's root {} is empty: is --host-root the root of a Linux host?", .path.display(), .root.display())]
    Empty { root: PathBuf, path: PathBuf },
    #[error("failed to write {} in the host's root {}", .path.display(), .root.display())]
    Write {
        root: PathBuf,
        path: PathBuf,
        source: io::Error,
    },
    #[error("failed to lock {} in the host's root {}", .path.display(), .root.display())]
    Lock {
        root: PathBuf,
        path: PathBuf,
        source: io::Error,
    },
    #[error("a look at {} in the host's root did not end within {LOOK_BOUND:?}: its file system hangs", .path.display())]
    Hangs { path: PathBuf },
}

/// The host, taken: no other agent acts on it while this lives.
#[derive(Debug)]
pub struct Host {
    root: Arc<Root>,
    config: HostConfig,
    /// The reboot commands that have not ended.
    commands: TaskTracker,
    _taken: File,
}

/// A directory in which paths are resolved as if it were `/`.
#[derive(Debug)]
struct Root {
    path: PathBuf,
    directory: OwnedFd,
}

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// In `/run`, which a reboot empties.
const LOCK_FILE: &str = "/run/cordonhold-agent.lock";
/// Beside it: the hold that the host was told to reboot for, and the boot in which it was told, a line each.
const TOLD_FILE: &str = "/run/cordonhold-agent.reboot";
/// What a shutdown check prints while the host goes down, as `systemctl is-system-running` does.
const STOPPING: &str = "stopping";
/// What it prints where it could not ask init, which a shutdown may be the reason of (systemd: man systemctl, is-system-running).
const CANNOT_SAY: [&str; 2] = ["offline", "unknown"];

/// Pause between two tries to take the host.
const TAKE_PAUSE: Duration = Duration::from_millis(500);
/// Longest look at a file of the host.
const LOOK_BOUND: Duration = Duration::from_secs(5);
/// Longest shutdown check.
const CHECK_BOUND: Duration = Duration::from_secs(5);
/// A reboot command that has run this long without failing counts as accepted.
const REBOOT_BOUND: Duration = Duration::from_secs(60);
/// openat2 answers EAGAIN while a rename is under way somewhere on the host.
const OPEN_TRIES_MAX: u8 = 16;
/// A boot id has 37 bytes.
const READ_MAX: u64 = 4096;

impl Host {
    /// Opens the host's root and waits until no other agent has the host.
    pub async fn take(config: HostConfig) -> Result<Host, HostError> {
        let root = Root::open(&config.root)?;
        let path = Path::new(LOCK_FILE);
        let mut said = false;
        loop {
            // Opened anew each time: a reboot of the host leaves another file there.
            let file = root.open_file(path, OFlags::RDWR | OFlags::CREATE, Mode::RUSR | Mode::WUSR)?;
            match file.try_lock() {
                Ok(()) => {
                    return Ok(Host {
                        root: Arc::new(root),
                        config,
                        commands: TaskTracker::new(),
                        _taken: file,
                    });
                }
                Err(TryLockError::WouldBlock) if said => {}
                Err(TryLockError::WouldBlock) => {
                    said = true;
                    warn!(
                        event = "host_taken",
                        file = LOCK_FILE,
                        "another agent runs on this host: waiting until it has ended"
                    );
                }
                Err(TryLockError::Error(source)) => {
                    return Err(HostError::Lock {
                        root: root.path,
                        path: path.to_owned(),
                        source,
                    });
                }
            }
            sleep(TAKE_PAUSE).await;
        }
    }

    /// The boot id, whether an agent of this boot told the host to reboot, and whether a shutdown is under way.
    pub async fn ask(&self) -> HostState {
        match self.look(BOOT_ID, Root::boot_and_record).await {
            Ok((boot_id, told_for)) => HostState {
                boot_id,
                shutdown: self.shutdown().await,
                told_for,
            },
            Err(error) => HostState {
                boot_id: String::new(),
                shutdown: Shutdown::Unknown(cordonhold_rt::exit::one_line(&error)),
                told_for: None,
            },
        }
    }

    /// What is looked at for the host's wish.
    pub fn sentinel(&self, path: PathBuf) -> Sentinel {
        Sentinel::new(Arc::clone(&self.root), path)
    }

    /// Leaves word that the host is told to reboot for this holder, then runs the reboot command, unless the deadline is over: that is checked last.
    pub async fn reboot(&self, holder: &str, deadline: Option<Instant>) -> Result<(), RebootFailure> {
        let holder = holder.to_owned();
        let record = move |root: &Root, path: &Path| root.record(path, &holder);
        if let Err(error) = self.look(TOLD_FILE, record).await {
            return Err(RebootFailure::Failed(cordonhold_rt::exit::one_line(&error)));
        }
        let command = self.command(&self.config.reboot);
        info!(event = "reboot_command", command = %command, "running the reboot command");
        let is_too_late = || deadline.is_none_or(|end| Instant::now() >= end);
        let outcome = command.run_unless(&self.commands, REBOOT_BOUND, is_too_late);
        match outcome.await {
            Ok(()) => Ok(()),
            Err(CommandError::CalledOff) => Err(RebootFailure::Expired),
            Err(error) => Err(RebootFailure::Failed(cordonhold_rt::exit::one_line(&error))),
        }
    }

    /// How many reboot commands have not ended.
    pub fn commands_running(&self) -> usize {
        self.commands.len()
    }

    /// Until each reboot command that was run has ended, whoever waited for it.
    pub async fn commands_ended(&self) {
        let _ = self.commands.close();
        self.commands.wait().await;
    }

    async fn shutdown(&self) -> Shutdown {
        let command = self.command(&self.config.shutdown_check);
        match command.output(CHECK_BOUND).await {
            Ok(text) if text.trim().is_empty() => Shutdown::Unknown(format!("{command} printed nothing")),
            Ok(text) if text.trim() == STOPPING => Shutdown::UnderWay,
            Ok(text) if CANNOT_SAY.contains(&text.trim()) => {
                Shutdown::Unknown(format!("{command} printed {:?}", text.trim()))
            }
            Ok(_) => Shutdown::No,
            Err(error) => Shutdown::Unknown(cordonhold_rt::exit::one_line(&error)),
        }
    }

    fn command(&self, words: &[String]) -> Command {
        Command::new(self.config.exec.iter().chain(words).cloned().collect())
    }

    /// Off the agent's one thread and with a bound: a mount of the host may hang.
    async fn look<T: Send + 'static>(
        &self,
        path: impl AsRef<Path>,
        look: impl FnOnce(&Root, &Path) -> Result<T, HostError> + Send + 'static,
    ) -> Result<T, HostError> {
        let (root, path) = (Arc::clone(&self.root), path.as_ref().to_owned());
        let hangs = HostError::Hangs { path: path.clone() };
        let task = tokio::task::spawn_blocking(move || look(&root, &path));
        match timeout(LOOK_BOUND, task).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(hangs),
        }
    }
}

impl Root {
    fn open(path: &Path) -> Result<Root, HostError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| HostError::Root {
            path: path.to_owned(),
            source: error.into(),
        })?;
        Ok(Root {
            path: path.to_owned(),
            directory,
        })
    }

    /// Symlinks, absolute ones too, and `..` stay inside the root.
    fn resolve(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let mut tries = 1;
        loop {
            let flags = flags | OFlags::CLOEXEC;
            match rustix::fs::openat2(&self.directory, path, flags, mode, ResolveFlags::IN_ROOT) {
                Err(Errno::AGAIN) if tries < OPEN_TRIES_MAX => tries += 1,
                result => return result,
            }
        }
    }

    fn open_file(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<File, HostError> {
        self.resolve(path, flags, mode)
            .map(File::from)
            .map_err(|error| HostError::Open {
                root: self.path.clone(),
                path: path.to_owned(),
                source: error.into(),
            })
    }

    fn has_directory(&self, path: &Path) -> Result<bool, HostError> {
        self.has(path, FileType::Directory)
    }

    fn has_file(&self, path: &Path) -> Result<bool, HostError> {
        self.has(path, FileType::RegularFile)
    }

    fn has(&self, path: &Path, kind: FileType) -> Result<bool, HostError> {
        let failed = |error: Errno| HostError::Open {
            root: self.path.clone(),
            path: path.to_owned(),
            source: error.into(),
        };
        match self.resolve(path, OFlags::PATH, Mode::empty()) {
            Ok(found) => {
                let stat = rustix::fs::fstat(&found).map_err(failed)?;
                Ok(FileType::from_raw_mode(stat.st_mode) == kind)
            }
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// The boot id, and the holder of this boot's record, if there is one.
    fn boot_and_record(&self, boot_id: &Path) -> Result<(String, Option<String>), HostError> {
        let boot_id = self.read(boot_id)?;
        let path = Path::new(TOLD_FILE);
        if !self.has_file(path)? {
            return Ok((boot_id, None));
        }
        let record = match self.read(path) {
            // The agent ended while it wrote: it never came to the command.
            Err(HostError::Empty { .. }) => return Ok((boot_id, None)),
            record => record?,
        };
        let (holder, boot) = record.split_once('\n').unwrap_or((&record, ""));
        // One without a boot is as good as one of this boot.
        let is_of_this_boot = boot.is_empty() || boot == boot_id;
        let told_for = is_of_this_boot.then(|| holder.to_owned());
        Ok((boot_id, told_for))
    }

    fn record(&self, path: &Path, holder: &str) -> Result<(), HostError> {
        let boot_id = self.read(Path::new(BOOT_ID))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        let mut file = self.open_file(path, flags, Mode::RUSR | Mode::WUSR)?;
        file.write_all(format!("{holder}\n{boot_id}\n").as_bytes())
            .map_err(|source| HostError::Write {
                root: self.path.clone(),
                path: path.to_owned(),
                source,
            })
    }

    /// A short text, without the white space around it.
    fn read(&self, path: &Path) -> Result<String, HostError> {
        let file = self.open_file(path, OFlags::RDONLY, Mode::empty())?;
        let mut text = String::new();
        let (root, path) = (self.path.clone(), path.to_owned());
        match file.take(READ_MAX).read_to_string(&mut text) {
            Err(source) => Err(HostError::Read { root, path, source }),
            Ok(_) if text.trim().is_empty() => Err(HostError::Empty { root, path }),
            Ok(_) => Ok(text.trim().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
