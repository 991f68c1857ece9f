//! The machine of a real node, of one of three kinds. It is started again when it asks for a reboot, or when its power was cut.
//!
//! Not here: what its scripts do inside, see `tests/real-node`; the disk and the kernel of a computer, see [`super::computer`].

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use kube::Client;
use rustix::process::Signal;
use tokio::task::JoinSet;

use super::{NAME, computer};
use crate::machine::{AtEnd, at_end};
use crate::process::{CommandLine, Kennel, Process, Remover};

/// How often it is looked whether the machine has asked to be started again.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The name of its process.
const MACHINE: &str = "machine";
/// How systemd-nspawn ends if its machine wants to be started again.
const NSPAWN_REBOOTS: i32 = 133;

/// What a machine is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Namespaces with busybox's init, and the programs of the machine that it is on.
    Busybox,
    /// Namespaces with systemd and a Debian of its own, by systemd-nspawn.
    Nspawn,
    /// An emulated computer with a kernel and a Debian of its own, by QEMU.
    Qemu,
}

impl Kind {
    /// The script that makes namespaces such a machine; `None` for a computer.
    fn boot(self) -> Option<&'static str> {
        match self {
            Self::Busybox => Some("boot-busybox"),
            Self::Nspawn => Some("boot-systemd"),
            Self::Qemu => None,
        }
    }

    /// Whether a machine that ends like this wants to be started again. reboot(2) ends the init of a PID namespace by SIGHUP then, and by
    /// SIGINT if it is to halt. A computer is emulated up to its reset, and nobody here turns one off.
    fn wants_to_boot(self, status: ExitStatus) -> bool {
        match self {
            Self::Busybox => status.signal() == Some(Signal::HUP.as_raw()),
            Self::Nspawn => status.code() == Some(NSPAWN_REBOOTS),
            Self::Qemu => status.success(),
        }
    }

    /// Where its init is among the first children of its process: how many down.
    fn depth_of_init(self) -> usize {
        match self {
            Self::Busybox => 1,
            // systemd-nspawn is in between.
            Self::Nspawn | Self::Qemu => 2,
        }
    }
}

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
    kind: Kind,
    network: u32,
    power: Arc<Mutex<Power>>,
    /// Dropped after the machine: a cgroup with processes cannot be removed.
    _cgroups: Option<Remover>,
}

struct Power {
    process: Process,
    line: CommandLine,
    /// Whether the process was killed here, so that its end says nothing about what the machine wants.
    is_cut: bool,
    /// Why it stays off.
    off: Option<String>,
    ends: Vec<AtEnd>,
}

/// The directory with the files of the machine.
pub(super) fn files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("real-node")
}

impl Machine {
    /// Starts a machine in the network of this process, with this directory as its disk or this directory of a computer.
    pub(super) fn power_on(
        tasks: &mut JoinSet<()>,
        kind: Kind,
        (kennel, leash): (&Kennel, &Path),
        network: u32,
        disk: &Path,
        client: Client,
    ) -> Result<Self> {
        let inside = CommandLine::new("nsenter").arg(format!("--net=/proc/{network}/ns/net"));
        let (line, cgroups) = match kind.boot() {
            None => (inside.args(computer::words(disk, &[])), None),
            Some(boot) => {
                // Its own among all machines here: the process has the network of one alone.
                let name = format!("cordonhold-{network}");
                let cgroups = Remover::start(leash, "--remove-cgroups", OsStr::new(&name))?;
                let line = inside.arg(files().join("power-on")).args([&name, boot]).arg(disk);
                (line, Some(cgroups))
            }
        };
        let power = Power {
            process: kennel.start(MACHINE, &line)?,
            line,
            is_cut: false,
            off: None,
            ends: Vec::new(),
        };
        let power = Arc::new(Mutex::new(power));
        let observe = move || {
            let client = client.clone();
            async move { at_end(&client, NAME).await }
        };
        drop(tasks.spawn(reboots(kind, Arc::clone(&power), kennel.clone(), observe)));
        Ok(Self {
            kind,
            network,
            power,
            _cgroups: cgroups,
        })
    }

    /// How often it has been started.
    pub(super) fn boots(&self) -> usize {
        lock(&self.power).ends.len() + 1
    }

    /// What its Node showed at the end of each boot.
    pub(super) fn ends(&self) -> Vec<AtEnd> {
        lock(&self.power).ends.clone()
    }

    /// Cuts the power: nothing on the machine is told. It starts again at once.
    pub(super) fn cut_power(&self) {
        let mut power = lock(&self.power);
        power.is_cut = true;
        power.process.kill();
    }

    /// Lets its next boots have these further words of the kernel's command line, if it is a computer.
    pub(super) fn set_kernel_words(&self, disk: &Path, words: &[&str]) {
        lock(&self.power).line = CommandLine::new("nsenter")
            .arg(format!("--net=/proc/{}/ns/net", self.network))
            .args(computer::words(disk, words));
    }

    /// Waits until it is off for good, and returns why.
    pub(super) async fn is_off(&self) -> anyhow::Error {
        let mut turns = tokio::time::interval(LOOK_EVERY);
        loop {
            let _ = turns.tick().await;
            if let Some(why) = &lock(&self.power).off {
                return anyhow!("the machine is off: {why}");
            }
        }
    }

    /// Runs these words on the machine, and returns what they print.
    pub(super) async fn run(&self, words: &[&str], bound: Duration) -> Result<String> {
        match self.kind {
            Kind::Busybox | Kind::Nspawn => self.line(words)?.run("", bound).await,
            Kind::Qemu => computer::run(self.network, words, bound).await,
        }
    }

    /// A command line that runs these words in the machine's namespaces.
    fn line(&self, words: &[&str]) -> Result<CommandLine> {
        let mut init = {
            let power = lock(&self.power);
            if let Some(why) = &power.off {
                return Err(anyhow!("the machine is off: {why}"));
            }
            power.process.id().to_string()
        };
        for _ in 0..self.kind.depth_of_init() {
            let path = format!("/proc/{init}/task/{init}/children");
            let children =
                std::fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
            let first = children.split(' ').next().filter(|id| !id.is_empty());
            first.context("the machine boots")?.clone_into(&mut init);
        }
        Ok(CommandLine::new("nsenter")
            .args(["--target", &init])
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

/// Starts the machine again each time it asks for that, until it stays off. Between, `observe` tells what its Node shows.
async fn reboots<F>(kind: Kind, power: Arc<Mutex<Power>>, kennel: Kennel, observe: impl Fn() -> F)
where
    F: Future<Output = Result<AtEnd>>,
{
    let mut turns = tokio::time::interval(LOOK_EVERY);
    loop {
        let _ = turns.tick().await;
        let ended = {
            let mut power = lock(&power);
            power.process.exited().map(|status| (status, power.is_cut))
        };
        let Some((status, is_cut)) = ended else {
            continue;
        };
        // Nothing on the machine writes to its Node any more, so this is what it showed at the end.
        let seen = observe().await;
        let mut power = lock(&power);
        let started = if is_cut || kind.wants_to_boot(status) {
            seen.and_then(|seen| Ok((seen, kennel.start(MACHINE, &power.line)?)))
        } else {
            Err(anyhow!("it has ended and asked for no boot ({status})"))
        };
        match started {
            Ok((seen, process)) => {
                power.ends.push(seen);
                power.process = process;
                power.is_cut = false;
            }
            Err(error) => {
                power.off = Some(format!("{error:#}; its log ends:\n{}", power.process.log_tail()));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs::{self, Program};

    /// A machine that is this script, and is started again as one with busybox's init. What it was until it stayed off.
    async fn stays_off(script: &str) -> (usize, String) {
        let [leash] = programs::build([Program::Leash]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let kennel = Kennel::new(&leash, directory.path()).unwrap();
        let line = CommandLine::new("/bin/sh").args(["-c", script]);
        let power = Arc::new(Mutex::new(Power {
            process: kennel.start(MACHINE, &line).unwrap(),
            line,
            is_cut: false,
            off: None,
            ends: Vec::new(),
        }));
        let observe = || async {
            Ok(AtEnd {
                pods: Vec::new(),
                unschedulable: true,
                sealed: true,
            })
        };
        reboots(Kind::Busybox, Arc::clone(&power), kennel, observe).await;
        let machine = Machine {
            kind: Kind::Busybox,
            network: 0,
            power,
            _cgroups: None,
        };
        let refused = machine.line(&["true"]).unwrap_err().to_string();
        let said = machine.is_off().await.to_string();
        assert_eq!(refused, said);
        (machine.boots(), said)
    }

    #[tokio::test]
    async fn a_machine_that_ends_without_asking_for_a_boot_stays_off_and_says_how_it_ended() {
        let (boots, said) = stays_off("echo it burns; exit 3").await;
        assert_eq!(boots, 1);
        assert!(
            said.contains("exit status: 3") && said.contains("it burns"),
            "{said}"
        );
    }

    /// Its logs cannot be written any more.
    #[tokio::test]
    async fn a_machine_that_cannot_be_started_again_says_why() {
        let (boots, said) = stays_off("rm -r logs; kill -HUP $$").await;
        assert_eq!(boots, 1);
        assert!(
            said.contains("failed to open") && said.contains("machine.log"),
            "{said}"
        );
    }

    #[tokio::test]
    async fn a_machine_is_started_again_each_time_it_asks_for_that() {
        let (boots, said) =
            stays_off("echo x >>boots; [ $(wc -l <boots) = 3 ] && exit 4; kill -HUP $$").await;
        assert_eq!(boots, 3);
        assert!(said.contains("exit status: 4"), "{said}");
    }
}
