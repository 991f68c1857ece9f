//! Child processes that cannot outlive the harness, each with a log file of its own.
//!
//! The kernel kills a child when the *thread* that started it ends, so one thread that never ends starts all children.
//! Also programs that only print something, see [`CommandLine::run`]: they need neither log nor leash.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncWriteExt as _;

/// How many lines of a log an error shows: enough for the first frames of a Go panic, or for a clap error.
const LOG_TAIL_LINES: usize = 15;
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Environment variables, name and value.
pub type Environment = Vec<(OsString, OsString)>;

/// A program to run, with its arguments and environment variables.
#[derive(Debug, Clone)]
pub struct CommandLine {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Environment,
    directory: Option<PathBuf>,
}

impl CommandLine {
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: None,
        }
    }

    /// The same for another program.
    #[must_use]
    pub fn of(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub fn envs(mut self, variables: &Environment) -> Self {
        self.environment.extend(variables.iter().cloned());
        self
    }

    /// Lets the program run in this directory.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Runs the program to its end with this standard input, and returns what it prints. It is killed once it takes longer than `bound`.
    /// The error of a program that fails has both of its outputs.
    pub async fn run(&self, input: &str, bound: Duration) -> Result<String> {
        let what = format!(
            "{} {}",
            self.program.display(),
            self.arguments.join(OsStr::new(" ")).display()
        );
        let mut command = tokio::process::Command::new(&self.program);
        if let Some(directory) = &self.directory {
            let _ = command.current_dir(directory);
        }
        let mut child = command
            .args(&self.arguments)
            .env_clear()
            .envs(kept_environment())
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to start {what}"))?;
        let mut stdin = child.stdin.take().context("a program has no standard input")?;
        let ends = async {
            // A program that needs no input may end before it has read any; one that fails says why itself.
            let (_, output) = tokio::join!(
                async move { stdin.write_all(input.as_bytes()).await },
                child.wait_with_output()
            );
            output
        };
        let output = tokio::time::timeout(bound, ends)
            .await
            .with_context(|| format!("{what} took over {bound:?}"))?
            .with_context(|| format!("failed to wait for {what}"))?;
        let printed = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "{what} failed ({}): {}{printed}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(printed.into_owned())
    }
}

/// Starts the processes of one control plane under `leash`, and keeps their logs.
#[derive(Debug, Clone)]
pub struct Kennel {
    leash: PathBuf,
    directory: PathBuf,
}

impl Kennel {
    /// Creates a kennel. It writes `logs/NAME.log` and a file `processes` with a line `NAME PID` for each process to `directory`.
    pub fn new(leash: &Path, directory: &Path) -> Result<Self> {
        let logs = directory.join("logs");
        std::fs::create_dir_all(&logs).with_context(|| format!("failed to create {}", logs.display()))?;
        Ok(Self {
            leash: leash.to_owned(),
            directory: directory.to_owned(),
        })
    }

    /// The path of the log of the process with this name. A restart appends to it.
    pub fn log_path(&self, name: &str) -> PathBuf {
        self.directory.join("logs").join(format!("{name}.log"))
    }

    /// Starts a process. The kernel kills it when this process ends, even by SIGKILL.
    pub fn start(&self, name: &str, line: &CommandLine) -> Result<Process> {
        let log_path = self.log_path(name);
        let log = append(&log_path)?;
        let errors = log
            .try_clone()
            .with_context(|| format!("failed to share {}", log_path.display()))?;
        let mut command = Command::new(&self.leash);
        let _ = command
            .arg("--parent")
            .arg(std::process::id().to_string())
            .arg("--")
            .arg(&line.program)
            .args(&line.arguments)
            .env_clear()
            .envs(kept_environment())
            // No program may find the configuration files of the user who runs the tests.
            .env("HOME", &self.directory)
            .envs(line.environment.iter().cloned())
            .current_dir(line.directory.as_ref().unwrap_or(&self.directory))
            // Ctrl-C on the terminal reaches only the harness, which then ends its children in order.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        let child =
            spawn(command).with_context(|| format!("failed to start {name} ({})", line.program.display()))?;
        // From here on it ends with an error too.
        let process = Process {
            name: name.to_owned(),
            log_path,
            child,
        };
        let mut list = append(&self.directory.join("processes"))?;
        writeln!(list, "{name} {}", process.id()).context("failed to note a process id")?;
        Ok(process)
    }
}

/// A running child; dropping it kills it and waits until it is gone.
#[derive(Debug)]
pub struct Process {
    name: String,
    log_path: PathBuf,
    child: Child,
}

impl Process {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// A line of its status, such as `VmHWM`, in KiB (proc(5)).
    pub fn memory_kib(&self, line: &str) -> Result<u64> {
        let path = format!("/proc/{}/status", self.id());
        let status = std::fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
        let value = status.lines().find_map(|found| {
            found
                .strip_prefix(line)?
                .strip_prefix(':')?
                .trim()
                .strip_suffix(" kB")
        });
        let value = value.with_context(|| format!("{path} has no {line}"))?;
        value.parse().with_context(|| format!("{line} of {path}"))
    }

    /// The exit status, if the process has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Checks that the process still runs. The error has the end of its log.
    pub fn check_running(&mut self) -> Result<()> {
        match self.exited() {
            None => Ok(()),
            Some(status) => bail!(
                "{} ended early ({status}); the end of its log:\n{}",
                self.name,
                self.log_tail()
            ),
        }
    }

    /// Kills the process (SIGKILL) and waits for its end. Does nothing if it has ended already.
    pub fn kill(&mut self) {
        // Both calls fail only if the child is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("process id out of range")?;
        kill_process(id, signal).with_context(|| format!("failed to send {signal:?} to {}", self.name))
    }

    /// Sends SIGTERM and waits at most `bound` for the end.
    pub async fn terminate(&mut self, bound: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.exited() {
            return Ok(status);
        }
        self.signal(Signal::TERM)?;
        self.wait(bound).await
    }

    /// Waits at most `bound` for the process to end by itself.
    pub async fn wait(&mut self, bound: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + bound;
        loop {
            if let Some(status) = self.exited() {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!(
                    "{} (process {}) still runs after {bound:?}; its log: {}",
                    self.name,
                    self.id(),
                    self.log_path.display()
                );
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// The last lines of the process's log.
    pub fn log_tail(&self) -> String {
        log_tail(&self.log_path)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A directory that is removed when this is dropped, and also when the process is killed.
#[derive(Debug)]
pub struct TemporaryDirectory {
    path: PathBuf,
    _remover: Remover,
}

impl TemporaryDirectory {
    pub fn new(leash: &Path) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("cordonhold-")
            .tempdir()
            .context("failed to create a temporary directory; set TMPDIR to one that can be written")?;
        let remover = Remover::start(leash, "--remove", directory.path().as_os_str())?;
        Ok(Self {
            path: directory.keep(),
            _remover: remover,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A process that removes something when this is dropped, and also when this process is killed.
#[derive(Debug)]
pub(crate) struct Remover(Child);

impl Remover {
    /// Lets `leash` remove what this flag of it names.
    pub(crate) fn start(leash: &Path, flag: &str, what: &OsStr) -> Result<Self> {
        let mut command = Command::new(leash);
        let _ = command
            .arg(flag)
            .arg(what)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit());
        let remover = spawn(command).with_context(|| format!("failed to start {}", leash.display()))?;
        Ok(Self(remover))
    }
}

impl Drop for Remover {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // The remover gives up by itself after a while, so this wait ends.
        drop(self.0.wait());
    }
}

/// The last lines of a log file.
pub fn log_tail(path: &Path) -> String {
    let text = std::fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}

fn append(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("failed to open {}", path.display()))
}

fn kept_environment() -> impl Iterator<Item = (OsString, OsString)> {
    ["PATH", "TMPDIR", "RUST_LOG", "RUST_BACKTRACE"]
        .into_iter()
        .filter_map(|name| std::env::var_os(name).map(|value| (name.into(), value)))
}

type Request = (Command, SyncSender<std::io::Result<Child>>);

fn spawn(command: Command) -> Result<Child> {
    static SPAWNER: OnceLock<Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = channel::<Request>();
        drop(std::thread::spawn(move || {
            for (mut command, answer) in requests {
                // Cannot fail: who asked waits for the answer.
                drop(answer.send(command.spawn()));
            }
        }));
        sender
    });
    let (answer, child) = sync_channel(1);
    spawner
        .send((command, answer))
        .context("the thread that starts processes has ended")?;
    Ok(child
        .recv()
        .context("the thread that starts processes has ended")??)
}
