//! Runs the Go program `adversaries`, and reads what it prints.
//!
//! Not here: what it does, see `tests/adversaries`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::Instant;

use super::Row;
use crate::control_plane::ControlPlane;
use crate::identity::Identity;

/// Longest end of a client that was told to stop.
const END_TIMEOUT: Duration = Duration::from_secs(20);
const CONFLICT: u16 = 409;

/// The answer of the API server to a write.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Answer {
    pub(super) code: u16,
    #[serde(default)]
    pub(super) message: String,
}

/// A line that the client prints.
#[derive(Debug, Deserialize)]
struct Said {
    #[serde(default)]
    r#try: usize,
    answer: Option<Answer>,
    then: Option<String>,
}

/// What a client has said so far.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// How often it has tried.
    pub(super) tries: usize,
    /// The answer to its first uncordon. A conflict is none.
    pub(super) first: Option<Answer>,
    /// What it did, once it has ended.
    pub(super) then: Option<String>,
}

/// A client at work on one node.
pub(super) struct Client {
    child: Child,
    /// Closing it tells the client to stop; so does the end of this process.
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    heard: Heard,
}

/// The rows that the program has.
pub(super) async fn list(program: &Path) -> Result<Vec<Row>> {
    let output = Command::new(program)
        .arg("list")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("failed to run {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{} list ended with {}",
        program.display(),
        output.status
    );
    let text = String::from_utf8(output.stdout).context("the list of rows is no UTF-8")?;
    text.lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("failed to read the row {line}")))
        .collect()
}

impl Client {
    pub(super) fn start(
        program: &Path,
        plane: &ControlPlane,
        row: &Row,
        node: &str,
        token: Option<String>,
    ) -> Result<Self> {
        let mut command = Command::new(program);
        let _ = command
            .args(["run", &row.id, node])
            .env("KUBECONFIG", plane.kubeconfig(Identity::Admin))
            .env("KUBECTL", &plane.assets().kubectl)
            .env("TOKEN", token.unwrap_or_default())
            // kubectl keeps what it learns of the API there.
            .env("HOME", plane.directory())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .with_context(|| format!("failed to run {}", program.display()))?;
        let stdout = child.stdout.take().context("the client has no standard output")?;
        Ok(Self {
            stdin: child.stdin.take(),
            child,
            lines: BufReader::new(stdout).lines(),
            heard: Heard::default(),
        })
    }

    /// Listens until what was heard is enough; `false` if the time is over first.
    pub(super) async fn hear(&mut self, bound: Duration, is_enough: impl Fn(&Heard) -> bool) -> Result<bool> {
        let deadline = Instant::now() + bound;
        while !is_enough(&self.heard) {
            let Ok(line) = tokio::time::timeout_at(deadline, self.lines.next_line()).await else {
                return Ok(false);
            };
            let line = line.context("failed to read what the client prints")?;
            let line = line.context("the client ended early; its error is above")?;
            let said: Said = serde_json::from_str(&line)
                .with_context(|| format!("failed to read what the client prints: {line}"))?;
            self.heard.take(said);
        }
        Ok(true)
    }

    /// Tells the client to stop, and returns all that it has said.
    pub(super) async fn end(mut self) -> Result<Heard> {
        drop(self.stdin.take());
        let has_ended = self.hear(END_TIMEOUT, |heard| heard.then.is_some()).await?;
        ensure!(has_ended, "the client did not stop within {END_TIMEOUT:?}");
        let ended = tokio::time::timeout(END_TIMEOUT, self.child.wait()).await;
        let status = ended
            .context("the client did not exit")?
            .context("failed to wait for the client")?;
        ensure!(status.success(), "the client ended with {status}");
        Ok(self.heard)
    }
}

impl Heard {
    fn take(&mut self, said: Said) {
        self.tries = self.tries.max(said.r#try);
        if self.first.is_none() {
            self.first = said.answer.filter(|answer| answer.code != CONFLICT);
        }
        self.then = self.then.take().or(said.then);
    }
}
