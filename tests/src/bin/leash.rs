//! Ends what the test harness started when the harness ends: kills a process (`--parent PID -- CMD…`), removes a directory (`--remove DIR`)
//! or cgroups (`--remove-cgroups NAME`).
//!
//! With `--parent` it becomes CMD (`exec`), which the kernel kills when its parent ends.
//! With the others it waits until its standard input ends, and then removes DIR, or NAME and all below it in each cgroup v1 hierarchy.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// How long removing is tried again: processes that were just killed may still write to the directory.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Where the hierarchies of cgroup v1 are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";
const REMOVE_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Parser)]
#[command(
    about = "Run a command that is killed when its parent ends, or remove a directory or cgroups when standard input ends"
)]
struct LeashArgs {
    /// Process id that the parent must have; the command is killed when the thread that started it ends
    #[arg(long, value_name = "PID", requires = "command", conflicts_with = "remove")]
    parent: Option<i32>,
    /// Directory to remove once standard input has ended
    #[arg(long, value_name = "DIR")]
    remove: Option<PathBuf>,
    /// Cgroups to remove once standard input has ended, below those that this is in
    #[arg(long, value_name = "NAME", conflicts_with_all = ["parent", "remove"])]
    remove_cgroups: Option<String>,
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
    match (args.parent, &args.remove, &args.remove_cgroups) {
        (Some(parent), _, _) => become_command(parent, &args.command),
        (None, Some(directory), _) => remove_at_end_of_input(std::slice::from_ref(directory), |path| {
            std::fs::remove_dir_all(path)
        }),
        (None, None, Some(name)) => remove_at_end_of_input(&cgroups(name)?, remove_cgroup),
        (None, None, None) => {
            bail!("nothing to do: give --parent PID -- CMD, --remove DIR or --remove-cgroups NAME")
        }
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

fn remove_at_end_of_input(
    directories: &[PathBuf],
    remove: fn(&Path) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let _: usize = std::io::stdin()
        .read_to_end(&mut Vec::new())
        .context("failed to read standard input")?;
    let deadline = Instant::now() + REMOVE_TIMEOUT;
    for directory in directories {
        while directory.exists() {
            match remove(directory) {
                Ok(()) => {}
                Err(_) if Instant::now() < deadline => std::thread::sleep(REMOVE_INTERVAL),
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!("failed to remove {}; remove it by hand", directory.display())
                    });
                }
            }
        }
    }
    Ok(())
}

/// The directories of this name below the cgroups that this process is in, one for each hierarchy of cgroup v1 (cgroups(7)).
fn cgroups(name: &str) -> anyhow::Result<Vec<PathBuf>> {
    let own = std::fs::read_to_string("/proc/self/cgroup").context("failed to read the own cgroups")?;
    let hierarchies = own.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, inside) = rest.split_once(':')?;
        (!controllers.is_empty()).then(|| {
            let controllers = controllers.trim_start_matches("name=");
            Path::new(CGROUPS)
                .join(controllers)
                .join(inside.trim_start_matches('/'))
                .join(name)
        })
    });
    Ok(hierarchies.collect())
}

/// Removes a cgroup and those below it. Its files are the kernel's, and go with it.
fn remove_cgroup(directory: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_cgroup(&entry.path())?;
        }
    }
    std::fs::remove_dir(directory)
}
