//! The host's init, and the signal that makes it reboot the host (`--reboot-method=signal`).
//!
//! Not here: what is recorded and checked before ([`super`]).

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use rustix_libc_wrappers::process::SignalExt as _;

/// A signal to the process that reboots the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitSignal {
    /// The process that gets the signal: PID 1, except in tests.
    pub to: Pid,
    /// The signal.
    pub signal: Signal,
}

/// Why the host's init cannot be sent a signal.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum InitError {
    #[error(
        "PID 1 is not the host's init but one of a container, because the PID namespace here is not the machine's first: set hostPID: true on the agents' pods; on nodes that are containers themselves use --reboot-method=command"
    )]
    NotTheHosts,
    #[error(
        "failed to find out from {OWN_NAMESPACE} whether PID 1 is the host's init: mount /proc in the agent's container, or use --reboot-method=command"
    )]
    Namespace(#[source] io::Error),
    #[error(
        "failed to send signal {number} to the host's init: run as root, or with the capability KILL, or use --reboot-method=command"
    )]
    Send { number: i32, source: io::Error },
}

/// The agent's own PID namespace. Anybody may look at their own.
const OWN_NAMESPACE: &str = "/proc/self/ns/pid";
/// The inode of the machine's first PID namespace, in which the host's init is PID 1. No other namespace gets this number
/// (Linux: `PROC_PID_INIT_INO` in `include/linux/proc_ns.h`).
const FIRST_NAMESPACE: u64 = 0xEFFF_FFFC;

impl InitSignal {
    /// The signal of this number to PID 1; `None` if no program may send it.
    pub fn numbered(number: i32) -> Option<InitSignal> {
        let signal = Signal::from_raw(number)?;
        Some(InitSignal {
            to: Pid::INIT,
            signal,
        })
    }

    pub(super) fn number(self) -> i32 {
        self.signal.as_raw()
    }

    /// Checks that the signal would reach the host's init, and not PID 1 of a container: the agent must be in the machine's first PID
    /// namespace, as a pod with hostPID is. Another process id cannot be mistaken for it.
    pub(super) fn check(self) -> Result<(), InitError> {
        if self.to == Pid::INIT {
            check_namespace(Path::new(OWN_NAMESPACE))
        } else {
            Ok(())
        }
    }

    /// Sends the signal. The kernel drops one for which init has no handler, without an error.
    pub(super) fn send(self) -> Result<(), InitError> {
        kill_process(self.to, self.signal).map_err(|error| InitError::Send {
            number: self.number(),
            source: error.into(),
        })
    }
}

fn check_namespace(path: &Path) -> Result<(), InitError> {
    let namespace = std::fs::metadata(path).map_err(InitError::Namespace)?;
    if namespace.ino() == FIRST_NAMESPACE {
        Ok(())
    } else {
        Err(InitError::NotTheHosts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pid_1_of_the_machines_first_namespace_is_the_hosts_init() {
        // Another kind of namespace has another number, as another PID namespace has.
        let other = check_namespace(Path::new("/proc/self/ns/mnt"));
        let said = other.unwrap_err().to_string();
        assert!(
            said.contains("hostPID: true") && said.contains("--reboot-method=command"),
            "{said}"
        );
        let missing = check_namespace(Path::new("/nowhere/ns/pid"));
        assert!(matches!(missing, Err(InitError::Namespace(_))), "{missing:?}");
    }
}
