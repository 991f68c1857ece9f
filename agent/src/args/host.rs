//! The flags of the group "The host": what asks for a reboot, how the host is rebooted, and how the agent reaches the host.
//!
//! Not here: the work itself, see [`crate::host`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::PossibleValue;

use super::ArgsError;
use super::value::{self, Words};
use crate::host::enter;
use crate::host::init::InitSignal;
use crate::host::preset::Preset;
use crate::host::sentinel::{Meaning, SentinelConfig};
use crate::host::{HostConfig, Reboot, ShutdownCheck, is_systemctl};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The host")]
pub(super) struct HostArgs {
    /// File on the host whose presence asks for a reboot; symlinks are followed inside the host's root
    #[arg(long, env = "KURED_REBOOT_SENTINEL", value_name = "PATH", default_value = SENTINEL, value_parser = value::absolute_path)]
    reboot_sentinel: PathBuf,
    /// Command to run on the host instead of checking the file: exit code 0 asks for a reboot, any other does not, and 126, 127, a signal or more than a minute is no answer; split into words as a shell does
    #[arg(long, env = "KURED_REBOOT_SENTINEL_COMMAND", value_name = "COMMAND", default_value = "", value_parser = value::words)]
    reboot_sentinel_command: Words,
    /// Use a distribution's own check in place of --reboot-sentinel and --reboot-sentinel-command
    #[arg(long, env = "CORDONHOLD_SENTINEL_PRESET", value_enum)]
    sentinel_preset: Option<Preset>,
    /// Reboot the node also when a person asks for it by the annotation cordonhold.dev/reboot-wanted (`kubectl cordonhold reboot`), once for each request; without the webhook or the policy anybody who may patch Nodes can ask
    #[arg(long, env = "CORDONHOLD_REBOOT_REQUESTS")]
    pub(super) reboot_requests: bool,
    /// How the host is rebooted
    #[arg(long, env = "KURED_REBOOT_METHOD", value_enum, default_value = "command")]
    reboot_method: RebootMethod,
    /// Command that reboots the host; split into words as a shell does
    #[arg(long, env = "KURED_REBOOT_COMMAND", value_name = "COMMAND", default_value = "/bin/systemctl reboot", value_parser = value::command)]
    reboot_command: Words,
    /// Number of the signal that makes the host's init reboot, for --reboot-method=signal; 39 is SIGRTMIN+5, with which systemd reboots
    #[arg(long, env = "KURED_REBOOT_SIGNAL", value_name = "NUMBER", default_value = "39", allow_negative_numbers = true, value_parser = signal)]
    reboot_signal: InitSignal,
    /// How the host is asked whether it is shutting down; by default over D-Bus with --reboot-method=logind, unless --shutdown-check-command is set, else by command
    #[arg(long, env = "CORDONHOLD_SHUTDOWN_CHECK", value_enum)]
    shutdown_check: Option<Check>,
    /// Command that tells whether the host is shutting down: it prints `stopping` if so, `unknown`, `offline` or nothing if it cannot tell, and any other word if not; the default uses the systemctl of --reboot-command, if that runs systemctl
    #[arg(long, env = "CORDONHOLD_SHUTDOWN_CHECK_COMMAND", value_name = "COMMAND", default_value = SHUTDOWN_CHECK, value_parser = value::command)]
    shutdown_check_command: Words,
    /// Words put before each command so that it runs on the host, such as `/usr/bin/nsenter -m/proc/1/ns/mnt --`; none runs it in the agent's own container. By default the agent starts itself again and enters the host's mount namespace, so the image needs no nsenter
    #[arg(long, env = "CORDONHOLD_HOST_EXEC", value_name = "COMMAND", default_value = enter::DEFAULT, value_parser = value::words)]
    host_exec: Words,
    /// The host's root directory as the agent sees it
    #[arg(long, env = "CORDONHOLD_HOST_ROOT", value_name = "PATH", default_value = "/proc/1/root", value_parser = value::absolute_path)]
    host_root: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RebootMethod {
    /// Run --reboot-command
    Command,
    /// Send --reboot-signal to the host's init, which is PID 1 of a pod with hostPID
    Signal,
    /// Call logind on the host's D-Bus system bus; the reboot waits for programs that have told logind to block it
    Logind,
    /// As logind if it is on the bus at that moment, else run --reboot-command
    Auto,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Check {
    /// Run --shutdown-check-command and, if that or --reboot-command runs systemctl, ask logind by busctl
    Command,
    /// Ask systemd and logind on the host's D-Bus system bus, for which no command runs
    Dbus,
}

const SENTINEL: &str = "/var/run/reboot-required";
const SHUTDOWN_CHECK: &str = "/bin/systemctl is-system-running";

impl HostArgs {
    /// What asks for a reboot: the preset, else the command, else the file. As in kured a command wins over a file, but a preset beside
    /// either is an error, because nobody can tell which one was meant.
    pub(super) fn sentinel(&self) -> Result<SentinelConfig, ArgsError> {
        let has_command = !self.reboot_sentinel_command.is_empty();
        let other = [
            ("--reboot-sentinel-command", has_command),
            ("--reboot-sentinel", self.reboot_sentinel != Path::new(SENTINEL)),
        ];
        if let Some(preset) = self.sentinel_preset {
            let set = other.into_iter().find(|(_, is_set)| *is_set);
            return match set {
                Some((flag, _)) => Err(ArgsError::TwoSentinels(flag)),
                None => Ok(preset.sentinel()),
            };
        }
        Ok(if has_command {
            SentinelConfig::Command {
                words: self.reboot_sentinel_command.clone(),
                meaning: Meaning::ZeroAsks,
            }
        } else {
            SentinelConfig::File(self.reboot_sentinel.clone())
        })
    }

    /// What asks for a reboot, in words, for the account on the Node. Of a command only the program: its arguments are the operator's, and
    /// more people may read Nodes than the agent's arguments.
    pub(super) fn asked_by(&self) -> String {
        if let Some(preset) = self.sentinel_preset {
            let preset = preset.to_possible_value();
            return format!("preset {}", preset.as_ref().map_or("", PossibleValue::get_name));
        }
        match self.reboot_sentinel_command.first() {
            Some(program) => format!("command {program}"),
            None => format!("file {}", self.reboot_sentinel.display()),
        }
    }

    /// Whether logind may reboot the host, so that what it holds back for others counts.
    pub(super) fn is_by_logind(&self) -> bool {
        match self.reboot_method {
            RebootMethod::Logind | RebootMethod::Auto => true,
            RebootMethod::Command | RebootMethod::Signal => false,
        }
    }

    /// Makes the host's configuration. A scheduled shutdown that begins within `shutdown_within` counts as under way.
    pub(super) fn config(self, shutdown_within: Duration) -> Result<HostConfig, ArgsError> {
        Ok(HostConfig {
            shutdown_check: self.shutdown_check()?,
            root: self.host_root,
            exec: self.host_exec,
            reboot: match self.reboot_method {
                RebootMethod::Command => Reboot::Command(self.reboot_command),
                RebootMethod::Signal => Reboot::Signal(self.reboot_signal),
                RebootMethod::Logind => Reboot::Logind,
                RebootMethod::Auto => Reboot::Auto(self.reboot_command),
            },
            shutdown_within,
        })
    }

    /// How the host is asked about a shutdown. Where logind reboots it, logind is asked too, as long as no command is named.
    fn shutdown_check(&self) -> Result<ShutdownCheck, ArgsError> {
        let is_default = self.shutdown_check_command.iter().eq(SHUTDOWN_CHECK.split(' '));
        let check = self.shutdown_check.unwrap_or(match self.reboot_method {
            RebootMethod::Logind if is_default => Check::Dbus,
            RebootMethod::Logind | RebootMethod::Command | RebootMethod::Signal | RebootMethod::Auto => {
                Check::Command
            }
        });
        match check {
            Check::Dbus if !is_default => Err(ArgsError::TwoShutdownChecks),
            Check::Dbus => Ok(ShutdownCheck::Bus),
            Check::Command => Ok(ShutdownCheck::Command(self.check_words(is_default))),
        }
    }

    /// The words of the shutdown check. If it is the default and the reboot command names a systemctl, the check uses that one,
    /// because some hosts have systemctl elsewhere than `/bin`.
    fn check_words(&self, is_default: bool) -> Words {
        let mut check = self.shutdown_check_command.clone();
        let systemctl = self
            .reboot_command
            .first()
            .filter(|program| is_default && is_systemctl(program));
        if let (Some(program), Some(systemctl)) = (check.first_mut(), systemctl) {
            systemctl.clone_into(program);
        }
        check
    }
}

/// Parses the number of a signal that init may be sent.
fn signal(text: &str) -> Result<InitSignal, String> {
    let number = value::integer::<1, 64>(text)?;
    let signal = i32::try_from(number).ok().and_then(InitSignal::numbered);
    signal.ok_or_else(|| {
        format!("signal {number} is the C library's own: write another, like 39, with which systemd reboots")
    })
}
