//! The host: its files, which are reached through its root directory, and the commands that run on it.
//!
//! Not here: what the agent does with the host's answers, see [`cordonhold_shared::reboot::cycle`].

use std::collections::BTreeSet;
use std::error::Error;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cordonhold_shared::host::{Boot, HostFile, HostRecord};
use cordonhold_shared::reboot::cycle::{HostState, RebootFailure, Shutdown};
use rustix::fs::{Mode, OFlags};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

pub mod enter;
pub mod init;
pub mod preset;
pub mod sentinel;
pub(crate) mod told;

mod boot;
mod bus;
mod command;
mod record;
mod root;
mod systemd;

use crate::clock::boot_clock;
use boot::BOOT_ID;
use bus::{Bus, BusError};
use command::{Command, CommandError};
use init::{InitError, InitSignal};
use record::RECORD_FILE;
use root::{FILES_TIMEOUT, Files, Root};
use sentinel::{Sentinel, SentinelConfig};
pub(crate) use systemd::is_systemctl;
use systemd::{Delayed, Systemd};

/// How the host is reached, and which commands run on it.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// The host's root directory as the agent sees it.
    pub root: PathBuf,
    /// The words that are put before each command (`--host-exec`).
    pub exec: Vec<String>,
    /// What reboots the host.
    pub reboot: Reboot,
    /// How the host is asked whether it is shutting down.
    pub shutdown_check: ShutdownCheck,
    /// A shutdown that logind has scheduled within this time counts as under way.
    pub shutdown_within: Duration,
}

/// What reboots the host (`--reboot-method`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reboot {
    /// The words of a command that runs on the host.
    Command(Vec<String>),
    /// A signal to the host's init.
    Signal(InitSignal),
    /// A call to logind on the host's system bus.
    Logind,
    /// That call if logind is there at that moment, else the words of a command that runs on the host.
    Auto(Vec<String>),
}

/// How the host is asked whether it is shutting down (`--shutdown-check`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShutdownCheck {
    /// By the words of a command that runs on the host. If it names systemctl, systemd's other commands are asked too.
    Command(Vec<String>),
    /// By questions to systemd and logind on the host's system bus.
    Bus,
}

/// Why the host cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum HostError {
    #[error(
        "failed to open the host's root {}: run as root, with hostPID and the DaemonSet's capabilities, or name another directory with --host-root",
        .path.display()
    )]
    Root { path: PathBuf, source: io::Error },
    #[error("failed to open {} in the host's root {}: run as root, and let --host-root be the root of a Linux host", .path.display(), .root.display())]
    Open {
        root: PathBuf,
        path: PathBuf,
        source: io::Error,
    },
    #[error("failed to read {} in the host's root {}: run as root, and let --host-root be the root of a Linux host", .path.display(), .root.display())]
    Read {
        root: PathBuf,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{} in the host's root {} is empty: let --host-root be the root of a Linux host", .path.display(), .root.display())]
    Empty { root: PathBuf, path: PathBuf },
    #[error("failed to write {} in the host's root {}: run as root, and check whether the host's /run is full", .path.display(), .root.display())]
    Write {
        root: PathBuf,
        path: PathBuf,
        source: io::Error,
    },
    #[error("failed to lock {} in the host's root {}: the host's /run must be a local file system, such as tmpfs", .path.display(), .root.display())]
    Lock {
        root: PathBuf,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{} in the host's root {} does not say when PID 1 started: let --host-root be the root of a Linux host", .path.display(), .root.display())]
    Stat { root: PathBuf, path: PathBuf },
    #[error(
        "failed to read {} on the host, in which an earlier agent process recorded what it did: remove it if no reboot is under way on this host",
        .path.display()
    )]
    Record {
        path: PathBuf,
        source: Box<dyn Error + Send + Sync>,
    },
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Init(#[from] InitError),
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("access to {} in the host's root took longer than {FILES_TIMEOUT:?}: the file system hangs: look at the mounts of the host", .path.display())]
    Hangs { path: PathBuf },
}

/// The host, locked for this process: no other agent acts on the host while this value lives.
#[derive(Debug)]
pub struct Host {
    files: Files,
    /// For connections to the system bus: one that hangs does not hold up the record.
    bus_files: Files,
    config: HostConfig,
    /// systemd's programs, if a configured command names systemctl.
    systemd: Option<Systemd>,
    /// systemd's count of soft reboots. Once known it is kept, because no process survives a soft reboot. `None` inside if there is no
    /// systemd to ask.
    soft_reboots: OnceCell<Option<u64>>,
    /// The reboot commands that have not ended yet.
    commands: TaskTracker,
    /// Keeps the lock file open, and so locked.
    _taken: File,
}

/// The file that an agent locks to have the host for itself. It is in `/run`, which a reboot empties.
const LOCK_FILE: &str = "/run/cordonhold-agent.lock";
/// What a shutdown check prints while the host shuts down, as `systemctl is-system-running` does.
const STOPPING: &str = "stopping";
/// What a shutdown check prints if it could not ask init, perhaps because of a shutdown (systemd: man systemctl, is-system-running).
const CANNOT_SAY: [&str; 3] = ["", "offline", "unknown"];

/// The pause between two attempts to lock the host.
const TAKE_PAUSE: Duration = Duration::from_millis(500);
/// Longest time for one question to the host's init. All questions are asked at once.
const CHECK_BOUND: Duration = Duration::from_secs(5);
/// A reboot command that has run this long without failing counts as accepted.
const REBOOT_BOUND: Duration = Duration::from_secs(60);

impl Reboot {
    /// The words of the command, if it is one.
    fn words(&self) -> &[String] {
        match self {
            Reboot::Command(words) | Reboot::Auto(words) => words,
            Reboot::Signal(_) | Reboot::Logind => &[],
        }
    }
}

impl ShutdownCheck {
    /// The words of the command, if it is one.
    fn words(&self) -> &[String] {
        match self {
            ShutdownCheck::Command(words) => words,
            ShutdownCheck::Bus => &[],
        }
    }
}

impl Host {
    /// Opens the host's root, and waits until no other agent has the host. Fails at once if the host cannot be rebooted as configured.
    pub async fn take(config: HostConfig) -> Result<Host, HostError> {
        if let Reboot::Signal(signal) = config.reboot {
            signal.check()?;
        }
        let root = Root::open(&config.root)?;
        let path = Path::new(LOCK_FILE);
        let mut said = false;
        loop {
            // Opened anew each time, because the file there may be another one by now.
            let file = root.open_file(path, OFlags::RDWR | OFlags::CREATE, Mode::RUSR | Mode::WUSR)?;
            match file.try_lock() {
                Ok(()) => {
                    let files = Files::new(root);
                    return Ok(Host {
                        bus_files: files.apart(),
                        files,
                        systemd: Systemd::named_by([config.shutdown_check.words(), config.reboot.words()]),
                        config,
                        soft_reboots: OnceCell::new(),
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
                        "another agent runs on this host: waiting until it has ended; `fuser -v` on the file names its process"
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

    /// Asks the host which boot this is, what an earlier agent process recorded, and whether a shutdown is under way. If anything cannot be
    /// found out, the shutdown is [`Shutdown::Unknown`].
    pub async fn ask(&self) -> HostState {
        let (boot, file, [checked, preparing, scheduled]) = tokio::join!(
            self.boot(),
            self.files.run_blocking(RECORD_FILE, Root::read_record),
            self.signs(),
        );
        let (boot, boot_said) = known(boot);
        let (file, file_said) = known(file);
        HostState {
            shutdown: most([checked, preparing, scheduled, boot_said, file_said]),
            told: file
                .as_ref()
                .and_then(|file| file.told(&boot, boot_clock().as_secs())),
            record: file.map(|file| file.record),
            boot,
        }
    }

    /// The sentinel of this host, which is the node of this name.
    pub fn sentinel(&self, config: SentinelConfig, node: &str) -> Sentinel {
        match config {
            SentinelConfig::File(path) => Sentinel::file(node, self.files.apart(), path),
            SentinelConfig::Command { words, meaning } => {
                Sentinel::command(node, self.command(&words), meaning)
            }
        }
    }

    /// Writes the record of what is about to be written on the Node.
    pub async fn write_record(&self, record: &HostRecord) -> Result<(), HostError> {
        self.write(record, None).await
    }

    /// The programs on the host that block its shutdown, each with the reason it gives. Where a command would take its place, a logind that
    /// is not there blocks nothing.
    pub async fn inhibitors(&self) -> Result<BTreeSet<String>, HostError> {
        let asked = match self.bus().await {
            Ok(bus) => bus.inhibitors().await.map_err(HostError::Bus),
            Err(error) => Err(error),
        };
        match (asked, &self.config.reboot) {
            (Err(HostError::Bus(error)), Reboot::Auto(_)) if error.is_absence() => Ok(BTreeSet::new()),
            (asked, _) => asked,
        }
    }

    /// Records that the host is told to reboot within `timeout`, then tells it: by the command, the signal or the call. It is not told if the
    /// deadline has passed, which is checked last. If that is seen to have failed, the entry is taken out of the record again.
    pub async fn reboot(
        &self,
        record: &HostRecord,
        timeout: Duration,
        deadline: Option<Instant>,
    ) -> Result<(), RebootFailure> {
        let Err(error) = self.tell_and_run(record, timeout, deadline).await else {
            return Ok(());
        };
        // An error other than the command's own means that no command ran and no signal was sent.
        let is_over = match &error {
            HostError::Command(error) => error.shows_failure(),
            HostError::Bus(error) => error.shows_failure(),
            _ => true,
        };
        if is_over && let Err(error) = self.write_record(record).await {
            let why = cordonhold_rt::exit::one_line(&error);
            warn!(
                event = "record_stays",
                why,
                "failed to change the record, which still says that the host was told to reboot: an agent that restarts waits for the rest of --reboot-timeout"
            );
        }
        Err(match error {
            HostError::Command(CommandError::CalledOff) => RebootFailure::Expired,
            // logind was told nothing, so the final check is made again, and waits for the program there.
            HostError::Bus(error @ BusError::Inhibited(_)) => {
                let why = cordonhold_rt::exit::one_line(&error);
                warn!(
                    event = "reboot_inhibited",
                    why, "the reboot was not told to logind, because a program blocks it"
                );
                RebootFailure::Expired
            }
            error if is_over => RebootFailure::Failed(cordonhold_rt::exit::one_line(&error)),
            error => RebootFailure::Unclear(cordonhold_rt::exit::one_line(&error)),
        })
    }

    /// Removes the record of a hold that is over. A failure is only logged, because the next hold replaces the record.
    pub async fn forget(&self) {
        let remove = |root: &Root, path: &Path| root.remove(path);
        if let Err(error) = self.files.run_blocking(RECORD_FILE, remove).await {
            let why = cordonhold_rt::exit::one_line(&error);
            warn!(
                event = "record_stays",
                why, "failed to remove the record of a hold that is over"
            );
        }
    }

    async fn tell_and_run(
        &self,
        record: &HostRecord,
        timeout: Duration,
        deadline: Option<Instant>,
    ) -> Result<(), HostError> {
        self.write(record, Some(timeout)).await?;
        let is_too_late = || deadline.is_none_or(|end| Instant::now() >= end);
        match &self.config.reboot {
            Reboot::Command(words) => self.run(words, is_too_late).await,
            Reboot::Signal(signal) => {
                let number = signal.number();
                info!(
                    event = "reboot_signal",
                    signal = number,
                    "sending the reboot signal to the host's init"
                );
                if is_too_late() {
                    return Err(CommandError::CalledOff.into());
                }
                Ok(signal.send()?)
            }
            Reboot::Logind => self.bus().await?.reboot(is_too_late).await,
            Reboot::Auto(words) => {
                let told = match self.bus().await {
                    Ok(bus) => bus.reboot(&is_too_late).await,
                    Err(error) => Err(error),
                };
                match told {
                    // Then logind has been told nothing, for sure. After anything else it may have been, or it has a reason to refuse.
                    Err(HostError::Bus(error)) if error.is_absence() => {
                        let why = cordonhold_rt::exit::one_line(&error);
                        info!(
                            event = "reboot_without_logind",
                            why, "logind is not there: the reboot command is for this host"
                        );
                        self.run(words, is_too_late).await
                    }
                    told => told,
                }
            }
        }
    }

    /// Runs the reboot command.
    async fn run(&self, words: &[String], is_too_late: impl FnOnce() -> bool) -> Result<(), HostError> {
        let command = self.command(words);
        info!(event = "reboot_command", command = %command, "running the reboot command");
        let outcome = command.run_unless(&self.commands, REBOOT_BOUND, is_too_late);
        Ok(outcome.await?)
    }

    async fn write(&self, record: &HostRecord, told_for: Option<Duration>) -> Result<(), HostError> {
        let file = HostFile {
            record: record.clone(),
            written_in: self.boot().await?.to_string(),
            // Rounded up, because a reader's clock is rounded down to whole seconds.
            told_until: told_for.map(|time| boot_clock().saturating_add(time).as_secs().saturating_add(1)),
        };
        let write = move |root: &Root, path: &Path| root.replace_json(path, &file);
        self.files.run_blocking(RECORD_FILE, write).await
    }

    /// How many reboot commands have not ended yet.
    pub fn commands_running(&self) -> usize {
        self.commands.len()
    }

    /// Waits until each reboot command that was started has ended.
    pub async fn commands_ended(&self) {
        let _ = self.commands.close();
        self.commands.wait().await;
    }

    /// Reads which boot of the host this is.
    async fn boot(&self) -> Result<Boot, HostError> {
        let count = self.soft_reboots.get_or_try_init(|| self.count_soft_reboots());
        let (files, count) = tokio::join!(self.files.run_blocking(BOOT_ID, Root::boot_files), count);
        Ok(files?.boot(*count?))
    }

    /// Connects to the host's system bus.
    async fn bus(&self) -> Result<Bus, HostError> {
        Bus::open(&self.bus_files).await
    }

    /// Asks systemd for its count of soft reboots; `None` if no systemd is configured.
    async fn count_soft_reboots(&self) -> Result<Option<u64>, HostError> {
        if self.config.shutdown_check == ShutdownCheck::Bus {
            return Ok(Some(self.bus().await?.soft_reboots().await?));
        }
        let Some(systemd) = &self.systemd else {
            return Ok(None);
        };
        let ended = self.command(&systemd.soft_reboots()).output(CHECK_BOUND).await?;
        let count = systemd::soft_reboots(&ended).ok_or_else(|| ended.no_answer())?;
        Ok(Some(count))
    }

    /// What init says of a shutdown, and what logind says of one that it delays or has scheduled.
    async fn signs(&self) -> [Shutdown; 3] {
        match &self.config.shutdown_check {
            ShutdownCheck::Command(words) => {
                let (preparing, scheduled) = (Delayed::Preparing, Delayed::Scheduled);
                tokio::join!(
                    self.check(words),
                    self.delayed(preparing),
                    self.delayed(scheduled)
                )
                .into()
            }
            ShutdownCheck::Bus => match self.bus().await {
                Ok(bus) => self.asked_on(&bus).await,
                Err(error) => [unknown(&error), Shutdown::No, Shutdown::No],
            },
        }
    }

    /// As [`Host::signs`], on the system bus. As by a command, a logind that is not there or does not say has no shutdown in hand.
    async fn asked_on(&self, bus: &Bus) -> [Shutdown; 3] {
        let (state, preparing, scheduled) = tokio::join!(bus.state(), bus.is_preparing(), bus.scheduled());
        let state = match state {
            Ok(state) => by_state(&state).unwrap_or_else(|| {
                Shutdown::Unknown(format!(
                    "systemd on the host's system bus says that its state is {state:?}"
                ))
            }),
            Err(error) => unknown(&error),
        };
        let end = self.shutdown_end();
        let scheduled = scheduled.map(|(kind, at)| systemd::is_shutdown_by(&kind, at, end));
        let said = [preparing, scheduled].map(|said| match said {
            Ok(true) => Shutdown::UnderWay,
            Ok(false) => Shutdown::No,
            Err(error) if error.is_no_word() => Shutdown::No,
            Err(error) => unknown(&error),
        });
        let [preparing, scheduled] = said;
        [state, preparing, scheduled]
    }

    /// The time since 1970 up to which a scheduled shutdown counts as under way.
    fn shutdown_end(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.saturating_add(self.config.shutdown_within)
    }

    /// Runs the shutdown check.
    async fn check(&self, words: &[String]) -> Shutdown {
        match self.command(words).output(CHECK_BOUND).await {
            Ok(ended) => by_state(&ended.stdout).unwrap_or_else(|| unknown(&ended.no_answer())),
            Err(error) => unknown(&error),
        }
    }

    /// Asks logind for a shutdown that is delayed or scheduled. If the question fails at once, there is no logind, or asking is not
    /// allowed, which counts as no shutdown: a reboot by an agent is still in the record.
    async fn delayed(&self, delayed: Delayed) -> Shutdown {
        let Some(systemd) = &self.systemd else {
            return Shutdown::No;
        };
        let end = self.shutdown_end();
        match self.command(&systemd.delayed(delayed)).output(CHECK_BOUND).await {
            Ok(ended) if !ended.status.success() => Shutdown::No,
            Ok(ended) => match delayed.is_under_way(&ended.stdout, end) {
                Some(true) => Shutdown::UnderWay,
                Some(false) => Shutdown::No,
                None => unknown(&ended.no_answer()),
            },
            Err(error) if error.is_missing() => Shutdown::No,
            Err(error) => unknown(&error),
        }
    }

    fn command(&self, words: &[String]) -> Command {
        Command::new(self.config.exec.iter().chain(words).cloned().collect())
    }
}

/// What init's state says of a shutdown, if it says anything.
fn by_state(state: &str) -> Option<Shutdown> {
    match state {
        STOPPING => Some(Shutdown::UnderWay),
        state if CANNOT_SAY.contains(&state) => None,
        _ => Some(Shutdown::No),
    }
}

fn unknown(error: &dyn Error) -> Shutdown {
    Shutdown::Unknown(cordonhold_rt::exit::one_line(error))
}

/// Splits a result into its value, or the default, and what an error says about a shutdown: that it is unknown.
fn known<T: Default>(read: Result<T, HostError>) -> (T, Shutdown) {
    match read {
        Ok(value) => (value, Shutdown::No),
        Err(error) => (T::default(), unknown(&error)),
    }
}

/// Sums the answers up: a shutdown is under way if any says so, else unknown if any cannot say, else there is none.
fn most<const N: usize>(said: [Shutdown; N]) -> Shutdown {
    if said.contains(&Shutdown::UnderWay) {
        return Shutdown::UnderWay;
    }
    said.into_iter()
        .find(|said| *said != Shutdown::No)
        .unwrap_or(Shutdown::No)
}

#[cfg(test)]
mod tests;
