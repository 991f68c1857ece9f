//! The same programs against a real agent: it drains its node, reboots its machine and gives the cordon back, while the program asks.
//!
//! Not here: the phases that an agent passes too fast for a program to start in, see [`Stage::play_all`].

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;

use super::client::Client;
use super::{AFTER_TIMEOUT, Cell, Line, Stage, name, world};
use crate::machine::Machine;
use crate::marks::Marks;

/// Longest time until the agent is in a phase, until the machine reboots, and until the hold is over: seconds, and more on a busy machine.
const PHASE_TIMEOUT: Duration = Duration::from_secs(90);
/// How long the agent stays in the phase in which the program asks: long enough for a Go program to start on a busy machine.
const LONG: &str = "12s";

impl Stage<'_> {
    /// Plays a cell of the phase `delaying` or `returning` on a node with a machine and an agent.
    ///
    /// It is an error if the machine does not reboot once, or reboots while the node is not cordoned.
    pub async fn play_live(&self, cell: &Cell) -> Result<Line> {
        let phase = cell.phase.context("a node without a hold has no phase")?;
        let node = format!("live-{}", world::node_name(cell));
        world::prepare(self.plane, cell, &node).await?;
        let token = world::token(self.plane, &cell.row, &node).await?;
        let marks = Marks::of(self.plane, &node).await?;
        let mut machine = Machine::new(self.plane, &node).await?;
        machine.start_agent(&arguments(phase)).await?;
        machine.request_reboot()?;
        wait_phase(&machine, &marks, Some(phase)).await?;
        let mut client = Client::start(&self.program, self.plane, &cell.row, &node, token)?;
        let is_answered = client
            .hear(PHASE_TIMEOUT, |heard| {
                heard.first.is_some() || heard.then.is_some()
            })
            .await?;
        ensure!(is_answered, "the program has asked nothing in {PHASE_TIMEOUT:?}");
        let reboot = machine.wait_for_reboot(1, PHASE_TIMEOUT).await?;
        ensure!(reboot.unschedulable, "rebooted while schedulable: {reboot:?}");
        wait_phase(&machine, &marks, None).await?;
        let _ = client.hear(AFTER_TIMEOUT, |heard| heard.then.is_some()).await?;
        let heard = client.end().await?;
        let view = marks.view().await?;
        let reboots = machine.reboots();
        ensure!(reboots.len() == 1, "{reboots:?}");
        machine.check_agent().await?;
        drop(machine);
        world::remove(self.plane, &node).await?;
        Ok(Line {
            row: cell.row.id.clone(),
            phase: name(cell.phase).to_owned(),
            before: cell.before,
            mode: self.mode.flag().to_owned(),
            verdict: self.verdict(&heard, cell.phase, &node).await?,
            then: heard.then.context("the client ended without a word")?,
            schedulable: !view.spec.unschedulable,
            factor: cell.row.factor,
        })
    }
}

/// The agent's words, so that it stays in this phase for a while.
fn arguments(phase: Phase) -> Vec<String> {
    let long = match phase {
        Phase::Returning => "--soak",
        Phase::Wanted | Phase::Draining | Phase::Delaying | Phase::Sealed => "--reboot-delay",
    };
    // No node waits for another.
    vec![
        "--concurrency=500".to_owned(),
        "--log-format=json".to_owned(),
        format!("{long}={LONG}"),
    ]
}

/// Waits until the Node shows this phase; with `None`, until it shows none.
async fn wait_phase(machine: &Machine, marks: &Marks, phase: Option<Phase>) -> Result<()> {
    let what = format!("{} to be in the phase {}", machine.node(), name(phase));
    let look = || async {
        let node = marks.view().await?;
        Ok((node.label(keys::PHASE) == phase.map(Phase::as_str)).then_some(()))
    };
    machine.wait_until(&what, PHASE_TIMEOUT, look).await
}
