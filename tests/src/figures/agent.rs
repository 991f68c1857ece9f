//! What an agent costs while it waits: its memory, and its requests, idle and while something blocks its reboot.
//!
//! It is the agent as it ships, on a real control plane whose audit log has the requests. It has no peer here, see `size`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};

use super::size::MEGABYTES;
use super::{Figure, Goal, megabytes};
use crate::audit::{self, Asked};
use crate::control_plane::{ControlPlane, Options};
use crate::install::{install, manifests};
use crate::machine::Machine;
use crate::{programs, wait};

/// Longest time to start. The agent first asks its host and the API server for a few things.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// The agent counts as started once it has sent no request for this long.
const SETTLED: SignedDuration = SignedDuration::from_secs(5);
const NODE: &str = "node-0";
/// What a blocked agent asks: one question of each kind that the API server answers. The first always blocks.
const BLOCKED: [&str; 4] = [
    // Each look at the sentinel is a round too. This is the default, which the machine shortens.
    "--period=1h",
    "--blocker-object=v1/Node/node-0: has(self.metadata)",
    "--blocking-pods=-n default -l app=batch",
    "--preflight",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Blocked,
}

/// Watches an agent for this long in each state.
pub async fn measure(window: Duration, tell: impl Fn(&str)) -> Result<Vec<Figure>> {
    tell("building the agent as it ships");
    let [program] = programs::build_shipped([programs::shipped("cordonhold-agent")?])?;
    let mut figures = Vec::new();
    for (state, name) in [(State::Idle, "idle"), (State::Blocked, "blocked")] {
        tell(&format!("{name}, for {window:?}"));
        let (memory, asked) = watched(&program, state, window).await?;
        let an_hour = |count: usize| {
            let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
            count * 3600.0 / window.as_secs_f64()
        };
        let of =
            |what: &str, value, unit, goal| Figure::alone(format!("agent-{what}-{name}"), value, unit, goal);
        figures.push(of("memory", memory, "MB", Goal::OursAtMost(MEGABYTES)));
        figures.push(of("requests", an_hour(asked.len()), "requests/h", Goal::None));
        for (kind, count) in audit::kinds(&asked) {
            tell(&format!("{:.0} an hour: {kind}", an_hour(count)));
        }
    }
    Ok(figures)
}

/// An agent's memory in megabytes after it was in this state for `window`, and its requests in that time.
async fn watched(program: &Path, state: State, window: Duration) -> Result<(f64, Vec<Asked>)> {
    let plane = ControlPlane::start(Options { nodes: 1 }).await?;
    drop(install(&plane, &manifests("base")).await?);
    let mut machine = Machine::new(&plane, NODE).await?;
    let flags = match state {
        State::Idle => Vec::new(),
        State::Blocked => {
            machine.request_reboot()?;
            BLOCKED.map(str::to_owned).to_vec()
        }
    };
    machine.start_program(program, &flags).await?;
    let before = wait::until("the agent to have started", IDLE_TIMEOUT, || async {
        let asked = plane.requests_of_agents()?;
        Ok(has_begun(state, &asked).then_some(asked.len()))
    })
    .await?;
    tokio::time::sleep(window).await;
    machine.check_agent().await?;
    let id = machine.agent_id().await.context("the agent has ended")?;
    Ok((
        proportional_set_size(id)?,
        plane.requests_of_agents()?.split_off(before),
    ))
}

fn has_begun(state: State, asked: &[Asked]) -> bool {
    match state {
        State::Idle => {
            let watches = asked.iter().any(|asked| asked.verb == "watch");
            let last = asked.iter().map(|asked| asked.at).max();
            watches && last.is_some_and(|at| Timestamp::now().duration_since(at) > SETTLED)
        }
        // The first round has looked up the kind too.
        State::Blocked => {
            let questions = asked
                .iter()
                .filter(|asked| asked.uri.contains("/poddisruptionbudgets"));
            questions.count() >= 2
        }
    }
}

/// The process's `Pss` in megabytes, from `/proc/PID/smaps_rollup`: shared pages count in proportion (man 5 `proc_pid_smaps`).
fn proportional_set_size(id: u32) -> Result<f64> {
    let path = format!("/proc/{id}/smaps_rollup");
    let text = std::fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    let kibibytes: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse().ok())
        .with_context(|| format!("{path} has no line `Pss:` in kB"))?;
    Ok(megabytes(kibibytes * 1024))
}
