//! Runs a command on the host, with a time limit, and logs its output.
//!
//! Not here: which commands run, and what their answers mean ([`super`]).

use std::fmt;
use std::io;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use cordonhold_shared::quote::clipped;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Child;
use tokio::task::JoinError;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

/// A command as words, the program first.
#[derive(Clone, Debug)]
pub(super) struct Command {
    words: Vec<String>,
}

/// Why a command failed, or gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("the command was called off before it ran")]
    CalledOff,
    #[error("failed to run `{command}`: check that its program is on the host and that --host-exec fits it")]
    Spawn { command: String, source: io::Error },
    #[error("failed to wait for the end of `{command}`")]
    Wait { command: String, source: io::Error },
    #[error("`{command}` did not end within {bound:?}")]
    TooLong { command: String, bound: Duration },
    #[error("`{command}` failed with {status}: {said}")]
    Failed {
        command: String,
        status: ExitStatus,
        said: String,
    },
    #[error(
        "`{command}` gave no usable answer: it ended with {status}, printed {stdout:?}, and on standard error {stderr:?}"
    )]
    NoAnswer {
        command: String,
        status: ExitStatus,
        stdout: String,
        stderr: String,
    },
}

/// Most bytes that are kept of each output of a command.
const OUTPUT_MAX: u64 = 16 * 1024;
/// How long to wait for the output after a command has ended, because a daemon that it left behind may keep the pipes open.
const PIPE_PAUSE: Duration = Duration::from_secs(1);
/// Most bytes of each output in a message, for a line of the log that people read.
const SAID_MAX: usize = 1024;

/// A command that has ended, with its output, trimmed of white space.
#[derive(Debug)]
pub(super) struct Ended {
    command: String,
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    stderr: String,
}

impl Ended {
    /// The error for a command whose output does not answer the question.
    pub(super) fn no_answer(self) -> CommandError {
        CommandError::NoAnswer {
            command: self.command,
            status: self.status,
            stdout: clipped(&self.stdout, SAID_MAX).to_owned(),
            stderr: clipped(&self.stderr, SAID_MAX).to_owned(),
        }
    }
}

/// The process group of a question that has not ended. It is killed if the question is given up, so that no question that hangs stays
/// behind when the next one is asked.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            debug!(%error, "nothing is left of a question that was given up");
        }
    }
}

impl CommandError {
    /// Whether the command certainly had no effect: it never ran, or its own exit code says that it failed.
    /// A command that a signal ended may have worked, because a host that goes down kills what runs on it.
    pub(super) fn shows_failure(&self) -> bool {
        match self {
            CommandError::CalledOff | CommandError::Spawn { .. } => true,
            CommandError::Failed { status, .. } => status.code().is_some(),
            CommandError::Wait { .. } | CommandError::TooLong { .. } | CommandError::NoAnswer { .. } => false,
        }
    }

    /// Whether the command's program does not exist.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, CommandError::Spawn { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl Command {
    pub(super) fn new(words: Vec<String>) -> Command {
        Command { words }
    }

    /// Runs the command and gives its output, whatever its exit code. The command is killed, with what it has started, if it takes longer
    /// than `bound`.
    pub(super) async fn output(&self, bound: Duration) -> Result<Ended, CommandError> {
        let child = self.spawn(true)?;
        let id = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let finish = pin!(self.finish(child));
        // After `finish`, so that it is dropped first: while the command has not ended, nothing else can have its id.
        let mut group = Group(id);
        let Ok(ended) = timeout(bound, finish).await else {
            return Err(CommandError::TooLong {
                command: self.to_string(),
                bound,
            });
        };
        group.0 = None;
        let ended = ended?;
        let (stdout, stderr) = (&ended.stdout, &ended.stderr);
        debug!(event = "host_output", command = %self, status = %ended.status, stdout, stderr, "a command ended");
        Ok(ended)
    }

    /// Runs the command unless `is_too_late` says so, which is asked just before. If the command still runs after `bound`, it is left
    /// running and counts as a success.
    pub(super) async fn run_unless(
        &self,
        commands: &TaskTracker,
        bound: Duration,
        is_too_late: impl FnOnce() -> bool,
    ) -> Result<(), CommandError> {
        if is_too_late() {
            return Err(CommandError::CalledOff);
        }
        let child = self.spawn(false)?;
        let command = self.clone();
        // A task of its own, so that the command goes on even if the caller is dropped.
        let finish = commands.spawn(async move { command.finish(child).await });
        let Ok(finished) = timeout(bound, finish).await else {
            return Ok(());
        };
        let finished = finished.map_err(|error| CommandError::Wait {
            command: self.to_string(),
            source: io::Error::other(error),
        })??;
        let (stdout, stderr) = (&finished.stdout, &finished.stderr);
        info!(event = "host_output", command = %self, status = %finished.status, stdout, stderr, "a command ended");
        if finished.status.success() {
            return Ok(());
        }
        let said = if finished.stderr.is_empty() {
            finished.stdout
        } else {
            finished.stderr
        };
        let said = if said.is_empty() {
            "it printed nothing".to_owned()
        } else {
            said
        };
        Err(CommandError::Failed {
            command: self.to_string(),
            status: finished.status,
            said: clipped(&said, SAID_MAX).to_owned(),
        })
    }

    /// Starts the command. A question is in a process group of its own, and is killed if nobody waits for its end any more.
    fn spawn(&self, is_question: bool) -> Result<Child, CommandError> {
        let (program, arguments) = self
            .words
            .split_first()
            .map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
        let mut command = tokio::process::Command::new(program);
        let _ = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(is_question);
        if is_question {
            let _ = command.process_group(0);
        }
        command.spawn().map_err(|source| CommandError::Spawn {
            command: self.to_string(),
            source,
        })
    }

    /// Waits for the command's end and its output.
    async fn finish(&self, mut child: Child) -> Result<Ended, CommandError> {
        let stdout = tokio::spawn(read(child.stdout.take()));
        let stderr = tokio::spawn(read(child.stderr.take()));
        let status = child.wait().await.map_err(|source| CommandError::Wait {
            command: self.to_string(),
            source,
        })?;
        let (stdout, stderr) = tokio::join!(timeout(PIPE_PAUSE, stdout), timeout(PIPE_PAUSE, stderr));
        Ok(Ended {
            command: self.to_string(),
            status,
            stdout: text(stdout),
            stderr: text(stderr),
        })
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words.join(" "))
    }
}

/// Reads a pipe to its end, and keeps at most [`OUTPUT_MAX`] bytes.
async fn read(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // A read error is the end of the output. What exceeds the limit is read and dropped, so that the command never blocks on a full pipe.
        drop((&mut pipe).take(OUTPUT_MAX).read_to_end(&mut bytes).await);
        drop(tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await);
    }
    bytes
}

/// The output as text, trimmed; empty if the pipe was not closed in time.
fn text(bytes: Result<Result<Vec<u8>, JoinError>, Elapsed>) -> String {
    let bytes = bytes.ok().and_then(Result::ok).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}
