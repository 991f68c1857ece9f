//! Enters the host's mount namespace and runs a command there: `cordonhold-agent enter-host NAMESPACE -- COMMAND…`.
//!
//! By the default of `--host-exec` the agent starts itself again in this way for each command on the host, so its image needs no nsenter.
//! Only a process with one thread can change its mount namespace (setns(2)), so `main` calls this before anything else has begun.
//! Not here: which commands run on the host, and what their ends mean ([`super`]).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Why a command did not run in the host's mount namespace.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum EnterError {
    #[error(
        "{WORD} needs a namespace, `--` and a command: leave --host-exec at its default, or write {DEFAULT:?}"
    )]
    Words,
    #[error(
        "failed to open the mount namespace {}: set hostPID on the agents' pods, and run as root with the capability SYS_PTRACE, or name another way with --host-exec",
        .namespace.display()
    )]
    Open { namespace: PathBuf, source: io::Error },
    #[error(
        "failed to enter the mount namespace {}: run as root with the capabilities SYS_ADMIN and SYS_CHROOT, or name another way with --host-exec",
        .namespace.display()
    )]
    Enter { namespace: PathBuf, source: io::Error },
    #[error("failed to run `{}` in the mount namespace {}: check that the host has this program", .program.display(), .namespace.display())]
    Run {
        program: OsString,
        namespace: PathBuf,
        source: io::Error,
    },
}

/// The program's first word, which asks for this instead of an agent.
pub const WORD: &str = "enter-host";
/// The default of `--host-exec`. The program that starts it is the agent itself, wherever the image has it.
pub(crate) const DEFAULT: &str = "/proc/self/exe enter-host /proc/1/ns/mnt --";
/// The exit codes for a program that is not found, and for any other failure before the command ran. A shell and nsenter have the same, so
/// they are not taken for the command's own.
const NOT_FOUND: u8 = 127;
const FAILED: u8 = 126;

impl EnterError {
    /// The exit code to end with.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            EnterError::Run { source, .. } if source.kind() == io::ErrorKind::NotFound => NOT_FOUND,
            EnterError::Run { .. }
            | EnterError::Words
            | EnterError::Open { .. }
            | EnterError::Enter { .. } => FAILED,
        })
    }
}

/// Becomes the command that `words`, the program's words after [`WORD`], name, in the mount namespace that they name. Returns only if
/// that fails.
pub fn enter(words: impl IntoIterator<Item = OsString>) -> EnterError {
    let words: Vec<OsString> = words.into_iter().collect();
    let [namespace, dashes, program, arguments @ ..] = &words[..] else {
        return EnterError::Words;
    };
    if dashes != OsStr::new("--") {
        return EnterError::Words;
    }
    let namespace = PathBuf::from(namespace);
    let file = match File::open(&namespace) {
        Ok(file) => file,
        Err(source) => return EnterError::Open { namespace, source },
    };
    // The kernel also makes the namespace's root the root and the working directory of this process.
    if let Err(error) = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Mount)) {
        let source = error.into();
        return EnterError::Enter { namespace, source };
    }
    EnterError::Run {
        source: Command::new(program).args(arguments).exec(),
        program: program.clone(),
        namespace,
    }
}
