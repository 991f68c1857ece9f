//! What is left of a node: nothing.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use cordonhold_tests::wait;

use crate::site::PATIENCE;

/// The node's cgroups, in each hierarchy that this process is in.
fn cgroups_of_nodes() -> Result<Vec<PathBuf>> {
    let own = std::fs::read_to_string("/proc/self/cgroup")?;
    let mut found = Vec::new();
    for line in own.lines() {
        let Some((controllers, inside)) = line.split_once(':').and_then(|(_, rest)| rest.split_once(':'))
        else {
            continue;
        };
        let parent = Path::new("/sys/fs/cgroup")
            .join(controllers.trim_start_matches("name="))
            .join(inside.trim_start_matches('/'));
        for entry in std::fs::read_dir(&parent).into_iter().flatten() {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("cordonhold-") {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

/// As if the test had panicked or been killed. Other tests have nodes at the same time, so it looks at its own alone.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_node_whose_harness_is_killed() -> Result<()> {
    let before = cgroups_of_nodes()?;
    let mut harness = Command::new(env!("CARGO_BIN_EXE_real-node"))
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    let id = harness.id();
    let lines = BufReader::new(harness.stdout.take().context("no output")?).lines();
    let mut disk = None;
    for line in lines {
        let line = line?;
        if let Some(path) = line.strip_prefix("export DISK=") {
            disk = Some(PathBuf::from(path));
        }
        if line == "READY" {
            break;
        }
    }
    let disk = disk.context("it ended before it was ready")?;
    let directory = disk.parent().context("a disk is in a directory")?;
    let processes = std::fs::read_to_string(directory.join("processes"))?;
    let network = processes.lines().find_map(|line| line.strip_prefix("network "));
    let ours = format!("cordonhold-{}", network.context("no network")?);
    let mine = || -> Result<Vec<PathBuf>> {
        let mut all = cgroups_of_nodes()?;
        all.retain(|path| path.ends_with(&ours) && !before.contains(path));
        Ok(all)
    };
    let cgroups = mine()?;
    ensure!(!cgroups.is_empty(), "it has no cgroups");
    let inside = std::fs::read_to_string(cgroups[0].join("cgroup.procs"))?;
    ensure!(!inside.is_empty(), "nothing runs in {}", cgroups[0].display());

    harness.kill()?;
    let _ = harness.wait()?;
    wait::until(&format!("everything of process {id} to go"), PATIENCE, || async {
        let are_gone = inside.lines().all(|id| !Path::new("/proc").join(id).exists());
        Ok((are_gone && mine()?.is_empty() && !directory.exists()).then_some(()))
    })
    .await
}
