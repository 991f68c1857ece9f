//! The machine of a real node: namespaces whose PID 1 is busybox's init. It is started again when that asks for a reboot, and is off when that halts.
//!
//! Not here: what its scripts do inside, see `tests/real-node`.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::process::{CommandLine, Kennel, Process, Remover};

/// How often it is looked whether the machine has asked to be started again.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A program that the machine's init keeps running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    Kubelet,
    Containerd,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::Kubelet => "kubelet",
            Self::Containerd => "containerd",
        }
    }

    /// The file on the machine's disk that stops it.
    pub(super) fn stopped(self) -> String {
        format!("etc/stopped/{}", self.name())
    }

    /// The file with its process id.
    pub(super) fn process_id(self) -> String {
        format!("run/{}.pid", self.name())
    }

    pub(super) fn log(self) -> String {
        format!("var/log/{}.log", self.name())
    }
}

/// A machine. It is off, and nothing of it is left, once this is dropped.
pub(super) struct Machine {
    power: Arc<Mutex<Power>>,
    /// Dropped after the machine: a cgroup with processes cannot be removed.
    _cgroups: Remover,
}

struct Power {
    process: Process,
    boots: usize,
}

/// The directory with the files of the machine.
pub(super) fn files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("real-node")
}

impl Machine {
    /// Starts a machine in the network of this process, with this directory as its disk.
    pub(super) fn power_on(
        tasks: &mut JoinSet<()>,
        kennel: &Kennel,
        leash: &Path,
        network: u32,
        disk: &Path,
    ) -> Result<Self> {
        // Its own among all machines here: the process has the network of one alone.
        let name = format!("cordonhold-{network}");
        let cgroups = Remover::start(leash, "--remove-cgroups", OsStr::new(&name))?;
        let line = CommandLine::new("nsenter")
            .arg(format!("--net=/proc/{network}/ns/net"))
            .arg(files().join("power-on"))
            .arg(&name)
            .arg(disk);
        let power = Power {
            process: kennel.start("machine", &line)?,
            boots: 1,
        };
        let power = Arc::new(Mutex::new(power));
        drop(tasks.spawn(reboots(Arc::clone(&power), kennel.clone(), line)));
        Ok(Self {
            power,
            _cgroups: cgroups,
        })
    }

    pub(super) fn boots(&self) -> usize {
        lock(&self.power).boots
    }

    /// A command line that runs these words on the machine.
    pub(super) fn line(&self, words: &[&str]) -> Result<CommandLine> {
        let process = lock(&self.power).process.id();
        let children = format!("/proc/{process}/task/{process}/children");
        let init =
            std::fs::read_to_string(&children).with_context(|| format!("failed to read {children}"))?;
        let init = init.split(' ').next().filter(|id| !id.is_empty());
        let init = init.context("the machine is off")?;
        Ok(CommandLine::new("nsenter")
            .args(["--target", init])
            .args(["--mount", "--pid", "--net", "--cgroup", "--ipc", "--uts", "--"])
            .args(words.iter().copied()))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // With its PID 1 the kernel ends all its processes.
        lock(&self.power).process.kill();
    }
}

fn lock(power: &Mutex<Power>) -> MutexGuard<'_, Power> {
    power.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the machine again each time it asks for that. reboot(2) ends the init of a PID namespace by SIGHUP then, and by SIGINT if it is to halt.
async fn reboots(power: Arc<Mutex<Power>>, kennel: Kennel, line: CommandLine) {
    let mut turns = tokio::time::interval(LOOK_EVERY);
    loop {
        let _ = turns.tick().await;
        let mut power = lock(&power);
        let ended = power.process.exited().and_then(|status| status.signal());
        if ended != Some(Signal::HUP.as_raw()) {
            continue;
        }
        // A machine that cannot be started stays off; its log says why.
        let Ok(process) = kennel.start("machine", &line) else {
            return;
        };
        power.process = process;
        power.boots += 1;
    }
}
