//! The directory that stands for a machine: what an agent sees of its host, and what a reboot changes there.
//!
//! Not here: running the agent and carrying out reboots, see `machine`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use jiff::Timestamp;
use rustix::fs::{CWD, Mode, mkfifoat};

use crate::control_plane::random_id;

/// What the reboot command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RebootCommand {
    /// The machine goes down and comes back.
    Reboots,
    /// The command exits non-zero, and nothing happens.
    Fails,
    /// The command exits zero, and nothing happens.
    DoesNothing,
    /// The command waits until [`Host::let_reboot_go`] is called; then the machine goes down and comes back.
    Waits,
}

/// What a reboot changes of the things that identify a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootKind {
    /// Everything: a new boot id, another start time of PID 1, an empty `/run`.
    Ordinary,
    /// The boot id stays, as on some boards and in a container that plays a node. The rest changes.
    SameBootId,
    /// Only `/run` is emptied. The boot id and the start time of PID 1, counted from the boot, stay.
    SameEverything,
    /// Only userspace starts again, as by `systemctl soft-reboot`: `/run` stays, with the sentinel in it, and systemd's count of
    /// soft reboots goes up by one.
    Soft,
}

/// The file that [`RebootCommand::Waits`] waits for. A boot removes it with the rest of `/run`.
const GO: &str = "run/go";
/// The file that says that the reboot command was run. A boot removes it too.
const ASKED: &str = "run/reboot-asked";
/// What `systemctl is-system-running` prints.
const SYSTEM_STATE: &str = "run/system-state";
/// The value of logind's property `PreparingForShutdown`.
const PREPARING: &str = "run/preparing-for-shutdown";
const BOOT_ID: &str = "proc/sys/kernel/random/boot_id";
const INIT_STAT: &str = "proc/1/stat";
/// systemd's count of soft reboots. A real machine's init keeps it in memory.
const SOFT_REBOOTS: &str = "proc/1/soft-reboots";

/// The directory of one machine.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
    boot_kind: Arc<Mutex<BootKind>>,
}

impl Host {
    pub(crate) fn create(root: PathBuf) -> Result<Self> {
        let host = Self {
            root,
            boot_kind: Arc::new(Mutex::new(BootKind::Ordinary)),
        };
        for directory in [
            "run",
            "var",
            "proc/sys/kernel/random",
            "proc/1",
            "dev",
            "bin",
            "sbin",
        ] {
            let path = host.path(directory);
            std::fs::create_dir_all(&path).with_context(|| format!("failed to create {}", path.display()))?;
        }
        // An absolute link, as on real hosts: it leads to the right place only if it is resolved inside the root.
        std::os::unix::fs::symlink("/run", host.path("var/run")).context("failed to link var/run")?;
        mkfifoat(CWD, host.initctl(), Mode::RUSR | Mode::WUSR).context("failed to create dev/initctl")?;
        host.write(SOFT_REBOOTS, "0\n")?;
        host.write_systemd()?;
        host.boot()?;
        host.set_reboot_command(RebootCommand::Reboots)?;
        Ok(host)
    }

    /// The directory that is `/` to the machine.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of the sentinel file.
    pub fn sentinel(&self) -> PathBuf {
        self.path("run/reboot-required")
    }

    /// The path of the FIFO that the reboot command writes to.
    pub fn initctl(&self) -> PathBuf {
        self.path("dev/initctl")
    }

    pub fn boot_id(&self) -> Result<String> {
        self.read(BOOT_ID)
    }

    /// Sets the kind of all reboots from now on.
    pub fn set_boot_kind(&self, kind: BootKind) {
        *self.boot_kind.lock().unwrap_or_else(PoisonError::into_inner) = kind;
    }

    /// Sets whether logind reports a shutdown that inhibitors still delay. Init does not show such a shutdown.
    pub fn set_preparing_for_shutdown(&self, is_preparing: bool) -> Result<()> {
        self.write(PREPARING, &format!("{is_preparing}\n"))
    }

    pub fn set_reboot_command(&self, command: RebootCommand) -> Result<()> {
        let initctl = self.initctl();
        let script = match command {
            RebootCommand::Reboots => format!("echo reboot > '{}'\n", initctl.display()),
            RebootCommand::Fails => "echo 'Failed to start reboot.target' >&2\nexit 1\n".to_owned(),
            RebootCommand::DoesNothing => format!("echo ignore > '{}'\n", initctl.display()),
            // It ends with its machine too: a killed agent leaves its command behind.
            RebootCommand::Waits => format!(
                "while [ ! -e '{go}' ]; do [ -e '{initctl}' ] || exit 1; sleep 0.05; done\necho reboot > '{initctl}'\n",
                go = self.path(GO).display(),
                initctl = initctl.display()
            ),
        };
        let asked = self.path(ASKED);
        self.write("sbin/reboot", &format!("echo > '{}'\n{script}", asked.display()))
    }

    /// Whether the reboot command was run in this boot.
    pub fn is_reboot_asked(&self) -> bool {
        self.path(ASKED).exists()
    }

    /// Lets a command of [`RebootCommand::Waits`] go on.
    pub fn let_reboot_go(&self) -> Result<()> {
        self.write(GO, "")
    }

    /// The arguments that make an agent use this directory as its host.
    pub(crate) fn agent_arguments(&self) -> Vec<String> {
        let root = self.root.display();
        vec![
            format!("--host-root={root}"),
            // Run the scripts by a shell: executing a file that is still open for writing fails.
            "--host-exec=/bin/sh".to_owned(),
            // Not around the whole, because the agent takes such quotes off.
            format!("--reboot-command='{root}'/sbin/reboot"),
            format!("--shutdown-check-command='{root}/bin/systemctl' is-system-running"),
        ]
    }

    /// Takes systemd off the machine, or puts it back: without it nothing says whether the host is going down.
    pub fn set_systemd(&self, is_there: bool) -> Result<()> {
        if is_there {
            return self.write_systemd();
        }
        let path = self.path("bin/systemctl");
        std::fs::remove_file(&path).with_context(|| format!("failed to remove {}", path.display()))
    }

    pub(crate) fn request_reboot(&self) -> Result<()> {
        self.write("run/reboot-required", "")
    }

    pub(crate) fn begin_shutdown(&self) -> Result<()> {
        self.write(SYSTEM_STATE, "stopping\n")
    }

    /// Changes the directory as a boot does: `/run`, boot id, start of PID 1 and count of soft reboots, as the [`BootKind`] says.
    pub(crate) fn boot(&self) -> Result<()> {
        let kind = *self.boot_kind.lock().unwrap_or_else(PoisonError::into_inner);
        if kind == BootKind::Soft {
            let count: u64 = self
                .read(SOFT_REBOOTS)?
                .parse()
                .context("the count of soft reboots is not a number")?;
            self.write(SOFT_REBOOTS, &format!("{}\n", count + 1))?;
        } else {
            self.empty_run()?;
            self.write(SOFT_REBOOTS, "0\n")?;
        }
        if kind == BootKind::Ordinary {
            self.write(BOOT_ID, &format!("{}\n", random_id()?))?;
        }
        if matches!(kind, BootKind::Ordinary | BootKind::SameBootId) {
            self.start_init()?;
        }
        self.set_preparing_for_shutdown(false)?;
        self.write(SYSTEM_STATE, "running\n")
    }

    /// Writes `/proc/1/stat` with a start time that no other boot has.
    fn start_init(&self) -> Result<()> {
        let ticks = Timestamp::now().as_millisecond();
        let stat = format!("1 (init) S 0 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 {ticks} 1 1\n");
        self.write(INIT_STAT, &stat)
    }

    /// Writes scripts for `systemctl` and `busctl` that answer what an agent asks.
    fn write_systemd(&self) -> Result<()> {
        let path = |inside: &str| self.path(inside).display().to_string();
        let systemctl = format!(
            "case \"$1\" in\n\
             is-system-running) cat '{}';;\n\
             show) echo \"SoftRebootsCount=$(cat '{}')\";;\n\
             *) echo \"not understood: $*\" >&2; exit 1;;\n\
             esac\n",
            path(SYSTEM_STATE),
            path(SOFT_REBOOTS)
        );
        let busctl = format!(
            "case \"$*\" in\n\
             *PreparingForShutdown) echo \"v b $(cat '{}')\";;\n\
             *ScheduledShutdown) echo 'v (st) \"\" 0';;\n\
             *) echo \"not understood: $*\" >&2; exit 1;;\n\
             esac\n",
            path(PREPARING)
        );
        self.write("bin/systemctl", &systemctl)?;
        self.write("bin/busctl", &busctl)
    }

    fn empty_run(&self) -> Result<()> {
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
        Ok(())
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside)
    }

    fn read(&self, inside: &str) -> Result<String> {
        let path = self.path(inside);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    fn write(&self, inside: &str, content: &str) -> Result<()> {
        let path = self.path(inside);
        std::fs::write(&path, content).with_context(|| format!("failed to write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn asked(host: &Host, words: &[&str]) -> String {
        let output = Command::new("/bin/sh")
            .arg(host.path(words[0]))
            .args(&words[1..])
            .output();
        String::from_utf8(output.unwrap().stdout)
            .unwrap()
            .trim()
            .to_owned()
    }

    /// Boot id, `/proc/1/stat`, count of soft reboots, and whether a file in `/run` is still there.
    fn shown(host: &Host) -> (String, String, String, bool) {
        let count = asked(host, &["bin/systemctl", "show", "--property=SoftRebootsCount"]);
        let stays = host.sentinel().exists();
        (
            host.boot_id().unwrap(),
            host.read(INIT_STAT).unwrap(),
            count,
            stays,
        )
    }

    #[test]
    fn a_reboot_changes_what_its_kind_says() {
        let directory = tempfile::tempdir().unwrap();
        let host = Host::create(directory.path().join("root")).unwrap();
        let cases = [
            (BootKind::Ordinary, true, true, "SoftRebootsCount=0", false),
            (BootKind::SameBootId, false, true, "SoftRebootsCount=0", false),
            (BootKind::Soft, false, false, "SoftRebootsCount=1", true),
            (BootKind::Soft, false, false, "SoftRebootsCount=2", true),
            (
                BootKind::SameEverything,
                false,
                false,
                "SoftRebootsCount=0",
                false,
            ),
        ];
        for (kind, other_id, other_start, count, stays) in cases {
            host.request_reboot().unwrap();
            let before = shown(&host);
            // The start time counts milliseconds: two boots within one would look the same.
            std::thread::sleep(std::time::Duration::from_millis(2));
            host.set_boot_kind(kind);
            host.begin_shutdown().unwrap();
            assert_eq!(asked(&host, &["bin/systemctl", "is-system-running"]), "stopping");
            host.boot().unwrap();
            assert_eq!(asked(&host, &["bin/systemctl", "is-system-running"]), "running");
            let after = shown(&host);
            assert_eq!(before.0 != after.0, other_id, "{kind:?}");
            assert_eq!(before.1 != after.1, other_start, "{kind:?}");
            assert_eq!((after.2.as_str(), after.3), (count, stays), "{kind:?}");
        }
        assert_eq!(
            asked(&host, &["bin/busctl", "call", "PreparingForShutdown"]),
            "v b false"
        );
        host.set_preparing_for_shutdown(true).unwrap();
        assert_eq!(
            asked(&host, &["bin/busctl", "call", "PreparingForShutdown"]),
            "v b true"
        );
        assert_eq!(
            asked(&host, &["bin/busctl", "call", "ScheduledShutdown"]),
            "v (st) \"\" 0"
        );
    }
}
