//! The desk of an on-call person: a shell with kubectl, our plugin and helm, and the pages of `docs/`, whose commands are run as they stand there.
//!
//! Not here: what is wrong with the cluster, and what mends it (`rehearsal`, `failures`).

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cordonhold_tests::assets;
use cordonhold_tests::cluster::Cluster;
use cordonhold_tests::install::manifests;
use cordonhold_tests::process::CommandLine;
use cordonhold_tests::programs::{self, Program};

/// Longest run of a command of a page. `cancel` follows what the agent does.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct Desk {
    /// A directory with kubectl, its plugin, and helm.
    programs: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl Desk {
    pub(crate) fn of(cluster: &Cluster) -> Result<Self> {
        let [plugin] = programs::build([Program::Kubectl])?;
        let programs = cluster.programs(&assets::helm()?)?;
        std::os::unix::fs::symlink(plugin, programs.join(Program::Kubectl.name()))?;
        Ok(Self {
            programs,
            kubeconfig: cluster.admin(),
            home: cluster.plane.directory().to_owned(),
        })
    }

    /// Runs a line of a shell as an admin, and returns what it prints.
    pub(crate) async fn run(&self, command: &str) -> Result<String> {
        let path = std::env::var("PATH").context("no PATH")?;
        let line = CommandLine::new("bash").args(["-euo", "pipefail", "-c", command]);
        line.env("PATH", format!("{}:{path}", self.programs.display()))
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.home)
            // Nothing is broken into lines.
            .env("COLUMNS", "500")
            .run("", COMMAND_TIMEOUT)
            .await
    }
}

/// A page of `docs/`.
pub(crate) fn page(name: &str) -> Result<String> {
    let path = manifests(&format!("../docs/{name}"));
    std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
}

/// The section of a page below this line, up to the next heading of its level or above.
pub(crate) fn section<'a>(page: &'a str, heading: &str) -> Result<&'a str> {
    let (_, below) = page
        .split_once(&format!("\n{heading}\n"))
        .with_context(|| format!("no section {heading:?}"))?;
    let level = heading.chars().take_while(|mark| *mark == '#').count();
    let ends = (1..=level).filter_map(|level| below.find(&format!("\n{} ", "#".repeat(level))));
    Ok(&below[..ends.min().unwrap_or(below.len())])
}

/// What stands in a text between backticks and begins so.
pub(crate) fn spans<'a>(text: &'a str, begin: &str) -> Vec<&'a str> {
    let spans = text.split('`').skip(1).step_by(2);
    spans.filter(|span| span.starts_with(begin)).collect()
}

/// A command of a page, about this node.
pub(crate) fn filled(command: &str, node: &str) -> Result<String> {
    let filled = command
        .replace(" NAME", &format!(" {node}"))
        .replace(" TEXT", " 'a rehearsal'");
    ensure!(
        !filled.contains("NAME") && !filled.contains("TEXT") && !filled.contains("POOL"),
        "{command} has a word to fill in that is not understood"
    );
    Ok(filled)
}
