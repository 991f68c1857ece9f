//! Plays the programs that are known to uncordon nodes against a node in a phase of a hold, and notes what each is told, what it does then,
//! and how the node ends.
//!
//! The programs are clients in Go (`tests/adversaries`), one row of a table each. The hold's marks are written as the agent writes them;
//! for some rows a real agent does so, see [`Stage::play_live`].
//! Not here: the page that says all of it to people, see [`page`].

mod client;
mod live;
pub mod page;
mod world;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::admission::Reason;
use cordonhold_shared::hold::Phase;
use futures_util::stream::{self, StreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::client::{Client, Heard};
use crate::control_plane::ControlPlane;
use crate::marks::Marks;
use crate::webhook::Mode;
use crate::{assets, wait};

/// An endless row is heard this often before the hold ends: then it has been denied, and asks again.
const TRIES_BEFORE_END: usize = 5;
/// Longest time until a row has given up or has asked that often. The longest patience here takes 10 s.
const HELD_TIMEOUT: Duration = Duration::from_secs(90);
/// How long a row goes on after the hold. The pauses of its work queue have grown to a few seconds by then, and to 20 s on a busy machine.
const AFTER_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time until a decision is in the log, on a busy machine.
const LOG_TIMEOUT: Duration = Duration::from_secs(10);

/// One program that uncordons, as the Go program lists it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Row {
    pub id: String,
    pub who: String,
    /// Who sends its requests.
    #[serde(rename = "as")]
    pub identity: RowIdentity,
    /// What it sends, in words.
    pub request: String,
    /// What it does after a denial, in words.
    pub patience: String,
    /// How many times faster it runs here than by itself.
    pub factor: u32,
    /// Whether it asks as long as its uncordon fails.
    pub endless: bool,
    /// Whether it looks again whether its uncordon took.
    pub looks: bool,
    /// The annotation without which it takes a cordon for somebody else's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owns: Option<String>,
    /// A taint of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taint: Option<String>,
    /// How long the hold lasts, if that is not up to the row's patience.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_seconds: Option<f64>,
}

/// Who sends a row's requests.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct RowIdentity {
    /// The user name; `NODE` stands for the node's name.
    pub user: String,
    pub groups: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<RowToken>,
    /// The `namespace:name` of the `ServiceAccount` that impersonates the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// Whether the program's own identity is not known, and this one is a guess.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub guess: bool,
}

/// A token that a row needs. Without one, an admin's client impersonates its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RowToken {
    /// One of its `ServiceAccount`, bound to a pod on the node.
    Pod,
    /// One of a proxy, which impersonates its user.
    Proxy,
}

/// What the node was before the hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Before {
    Schedulable,
    /// The program itself had cordoned it.
    Cordoned,
}

/// One thing to try: a row, a phase (`None` without a hold), and what the node was before.
#[derive(Clone, Debug)]
pub struct Cell {
    pub row: Row,
    pub phase: Option<Phase>,
    pub before: Before,
}

/// What became of one cell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Line {
    pub row: String,
    /// The phase of the hold; `none` without one.
    pub phase: String,
    pub before: Before,
    pub mode: String,
    /// The answer to the first uncordon, with the webhook's reason if it has been asked.
    pub verdict: String,
    /// What the program did then.
    pub then: String,
    /// Whether the node is schedulable at the end.
    pub schedulable: bool,
    /// How many times faster the program ran than by itself.
    pub factor: u32,
}

/// A control plane with the webhook, and the rows that are played on it.
pub struct Stage<'a> {
    plane: &'a ControlPlane,
    webhook_log: PathBuf,
    mode: Mode,
    program: PathBuf,
    rows: Vec<Row>,
}

impl<'a> Stage<'a> {
    /// Builds the clients if need be, and lets each of them update Nodes.
    pub async fn new(plane: &'a ControlPlane, webhook_log: PathBuf, mode: Mode) -> Result<Self> {
        let program = assets::adversaries()?;
        let rows = client::list(&program).await?;
        world::grant(plane, &rows).await?;
        Ok(Self {
            plane,
            webhook_log,
            mode,
            program,
            rows,
        })
    }

    /// Every row, in the order of the table.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// All cells of these rows and phases. An error names a row that is not there.
    pub fn cells(&self, ids: &[String], phases: &[Option<Phase>]) -> Result<Vec<Cell>> {
        for id in ids {
            ensure!(
                self.rows.iter().any(|row| row.id == *id),
                "there is no row {id:?}"
            );
        }
        let mut cells = Vec::new();
        for row in self
            .rows
            .iter()
            .filter(|row| ids.is_empty() || ids.contains(&row.id))
        {
            for phase in phases {
                for before in [Before::Schedulable, Before::Cordoned] {
                    cells.push(Cell {
                        row: row.clone(),
                        phase: *phase,
                        before,
                    });
                }
            }
        }
        Ok(cells)
    }

    /// Plays these cells, so many at a time, and returns their lines in the order of the cells. `told` is called for each as it ends.
    pub async fn play_all(
        &self,
        cells: Vec<Cell>,
        at_once: usize,
        told: impl Fn(&Line),
    ) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        let mut played = stream::iter(cells)
            .map(async |cell| {
                let line = self.play(&cell).await;
                line.with_context(|| format!("row {}, {}, {:?}", cell.row.id, name(cell.phase), cell.before))
            })
            .buffered(at_once);
        while let Some(line) = played.next().await {
            let line = line?;
            told(&line);
            lines.push(line);
        }
        Ok(lines)
    }

    async fn play(&self, cell: &Cell) -> Result<Line> {
        let node = world::node_name(cell);
        world::prepare(self.plane, cell, &node).await?;
        let token = world::token(self.plane, &cell.row, &node).await?;
        let marks = Marks::of(self.plane, &node).await?;
        if let Some(phase) = cell.phase {
            drop(marks.hold(phase).await?);
        }
        world::settle(self.plane, &node).await?;
        let mut client = Client::start(&self.program, self.plane, &cell.row, &node, token)?;
        while_held(&mut client, &cell.row).await?;
        if let Some(phase) = cell.phase {
            marks.finish(phase).await?;
        }
        let _ = client.hear(AFTER_TIMEOUT, |heard| heard.then.is_some()).await?;
        let heard = client.end().await?;
        let view = marks.view().await?;
        let line = Line {
            row: cell.row.id.clone(),
            phase: name(cell.phase).to_owned(),
            before: cell.before,
            mode: self.mode.flag().to_owned(),
            verdict: self.verdict(&heard, cell.phase, &node).await?,
            then: heard.then.context("the client ended without a word")?,
            schedulable: !view.spec.unschedulable,
            factor: cell.row.factor,
        };
        world::remove(self.plane, &node).await?;
        Ok(line)
    }

    /// The answer to the first uncordon, in words.
    async fn verdict(&self, heard: &Heard, phase: Option<Phase>, node: &str) -> Result<String> {
        let Some(answer) = &heard.first else {
            return Ok("nothing sent".to_owned());
        };
        let is_judged = phase.is_some_and(|phase| phase != Phase::Wanted);
        let reason = if is_judged {
            let what = format!("a decision about {node} in the webhook's log");
            let look = || async { self.reason(node) };
            Some(wait::until(&what, LOG_TIMEOUT, look).await?)
        } else {
            self.reason(node)?
        };
        let reason = reason.filter(|reason| reason != Reason::NotHeld.code());
        let with_reason = |word: &str| match &reason {
            Some(reason) => format!("{word}: {reason}"),
            None => word.to_owned(),
        };
        match answer.code {
            200 => Ok(with_reason("allowed")),
            403 => {
                ensure!(
                    answer.message.contains("admission webhook"),
                    "refused, but not by the webhook: {}",
                    answer.message
                );
                Ok(with_reason("denied"))
            }
            other => Ok(format!("refused: {other}")),
        }
    }

    /// The reason of the first decision about this node.
    fn reason(&self, node: &str) -> Result<Option<String>> {
        let log = std::fs::read(&self.webhook_log).context("failed to read the webhook's log")?;
        let decision = String::from_utf8_lossy(&log)
            .lines()
            .filter(|line| line.contains(node))
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|line| line["message"] == "decision" && line["node"] == node);
        Ok(decision.and_then(|decision| decision["reason"].as_str().map(ToOwned::to_owned)))
    }
}

/// Lets the client ask until the hold is to end: it has given up, has asked often enough, or the hold's own time is over.
async fn while_held(client: &mut Client, row: &Row) -> Result<()> {
    if let Some(seconds) = row.hold_seconds {
        let _ = client
            .hear(Duration::from_secs_f64(seconds), |heard| heard.then.is_some())
            .await?;
        return Ok(());
    }
    let is_endless = row.endless;
    let is_over = client
        .hear(HELD_TIMEOUT, |heard| {
            heard.then.is_some() || (is_endless && heard.tries >= TRIES_BEFORE_END)
        })
        .await?;
    ensure!(
        is_over,
        "it neither gave up nor asked {TRIES_BEFORE_END} times within {HELD_TIMEOUT:?}"
    );
    Ok(())
}

/// The name of a phase; `none` without a hold.
pub fn name(phase: Option<Phase>) -> &'static str {
    phase.map_or("none", Phase::as_str)
}

/// Every phase, and no hold.
pub fn every_phase() -> Vec<Option<Phase>> {
    std::iter::once(None)
        .chain(Phase::ALL.into_iter().map(Some))
        .collect()
}
