//! Ends what the test harness started when the harness ends: kills a process (`--parent PID -- CMD…`) or removes a directory
//! (`--remove DIR`).
//!
//! With `--parent` it becomes CMD (`exec`), which the kernel kills when its parent ends.
//! With `--remove` it waits until its standard input ends, and then removes DIR.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// How long removing is tried again: processes that were just killed may still write to the directory.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(10);
const REMOVE_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Parser)]
#[command(
    about = "Run a command that is killed when its parent ends, or remove a directory when standard input ends"
)]
struct LeashArgs {
    /// Process id that the parent must have; the command is killed when the thread that started it ends
    #[arg(long, value_name = "PID", requires = "command", conflicts_with = "remove")]
    parent: Option<i32>,
    /// Directory to remove once standard input has ended
    #[arg(long, value_name = "DIR")]
    remove: Option<PathBuf>,
    /// The command to run
    #[arg(last = true)]
    command: Vec<OsString>,
}

fn main() -> ExitCode {
    match run(&LeashArgs::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leash: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &LeashArgs) -> anyhow::Result<()> {
    match (args.parent, &args.remove) {
        (Some(parent), _) => become_command(parent, &args.command),
        (None, Some(directory)) => remove_at_end_of_input(directory),
        (None, None) => bail!("nothing to do: give --parent PID -- CMD, or --remove DIR"),
    }
}

fn become_command(parent: i32, command: &[OsString]) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .context("failed to ask the kernel for a signal when the parent ends")?;
    // If the parent ended before we asked for the signal, the signal would never come.
    let actual = getppid().map(|pid| pid.as_raw_nonzero().get());
    ensure!(
        actual == Some(parent),
        "the parent {parent} has ended; the parent of this process is now {actual:?}"
    );
    let (program, arguments) = command
        .split_first()
        .context("no command given; put it after --")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("failed to run {}", program.display()))
}

fn remove_at_end_of_input(directory: &PathBuf) -> anyhow::Result<()> {
    let _: usize = std::io::stdin()
        .read_to_end(&mut Vec::new())
        .context("failed to read standard input")?;
    let deadline = Instant::now() + REMOVE_TIMEOUT;
    while directory.exists() {
        match std::fs::remove_dir_all(directory) {
            Ok(()) => {}
            Err(_) if Instant::now() < deadline => std::thread::sleep(REMOVE_INTERVAL),
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("failed to remove {}; remove it by hand", directory.display()));
            }
        }
    }
    Ok(())
}
