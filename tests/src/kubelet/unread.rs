//! A container runtime that does not read what a pod prints, as with a full disk.
//!
//! Not here: logs that are read, see `logs`.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::{CWD, Mode, mkfifoat};

use super::{PodName, Shared, Slot, lock};
use crate::process::Process;
use crate::wait;

/// Longest time until a process that was killed is started again: the first time that comes at once.
const STARTED_TIMEOUT: Duration = Duration::from_secs(10);

/// What a pod has printed and nobody has read. The kernel keeps 64 KiB of it; then the pod's writes wait.
#[derive(Debug)]
pub struct UnreadLog {
    pipe: File,
    log: PathBuf,
}

/// Kills the process of a pod. The next one prints into a pipe; the pod's log has what was printed before.
pub(super) async fn start(shared: &Shared, pod: &PodName) -> Result<UnreadLog> {
    let slot = slot(shared, pod).with_context(|| format!("the pod {pod} has no process"))?;
    let log = shared.log_path(pod);
    let (kept, pipe_path) = (log.with_extension("kept"), log.with_extension("pipe"));
    rename(&log, &kept)?;
    mkfifoat(CWD, &log, Mode::RUSR | Mode::WUSR).context("failed to make a pipe")?;
    // For writing too, so that neither this nor the process waits for the other end.
    let pipe = File::options().read(true).write(true).open(&log);
    let pipe = pipe.with_context(|| format!("failed to open {}", log.display()))?;
    let before = lock(&slot).as_mut().map(|process| {
        process.kill();
        process.id()
    });
    wait::until("the pod to start again", STARTED_TIMEOUT, || async {
        let id = lock(&slot).as_ref().map(Process::id);
        Ok((id.is_some() && id != before).then_some(()))
    })
    .await?;
    rename(&log, &pipe_path)?;
    rename(&kept, &log)?;
    Ok(UnreadLog { pipe, log })
}

fn slot(shared: &Shared, pod: &PodName) -> Option<Slot> {
    let nodes = shared.nodes();
    nodes.values().find_map(|node| node.slots.get(pod).cloned())
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).with_context(|| format!("failed to rename {}", from.display()))
}

impl UnreadLog {
    /// Reads it from now on, and adds it to the pod's log.
    pub fn read_again(mut self) -> Result<()> {
        let mut log = File::options()
            .append(true)
            .open(&self.log)
            .with_context(|| format!("failed to open {}", self.log.display()))?;
        drop(std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(count) = self.pipe.read(&mut part) {
                if log.write_all(&part[..count]).is_err() {
                    return;
                }
            }
        }));
        Ok(())
    }
}
