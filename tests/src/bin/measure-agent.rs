//! `cargo measure-agent`: measures the agent's program size, and its memory and requests while it is idle or, with `--blocked`, while
//! something postpones its reboot.
//!
//! It measures the agent as it is shipped (cargo profile `agent`), on a real control plane.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use cordonhold_rt::{duration, exit};
use cordonhold_tests::audit::Asked;
use cordonhold_tests::control_plane::{ControlPlane, Options};
use cordonhold_tests::install::{install, manifests};
use cordonhold_tests::machine::Machine;
use cordonhold_tests::{programs, wait};
use jiff::{SignedDuration, Timestamp};

/// Limit for the size of the program and for its memory, in megabytes (a million bytes).
const BOUND_MEGABYTES: f64 = 12.0;
/// Longest time to start. The agent first asks its host and the API server for a few things.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// The agent counts as started once it has sent no request for this long.
const SETTLED: SignedDuration = SignedDuration::from_secs(5);
const NODE: &str = "node-0";
/// What is asked with `--blocked`: one question of each kind that the API server answers. The first always blocks.
const BLOCKED: [&str; 4] = [
    // Each look at the sentinel is a round too. This is the default, which the machine shortens.
    "--period=1h",
    "--blocker-object=v1/Node/node-0: has(self.metadata)",
    "--blocking-pods=-n default -l app=batch",
    "--preflight",
];

/// Measure the agent: size of its program, and memory and requests while it is idle.
///
/// Exit code: 0 if program and memory are both under the limit, 1 if not.
#[derive(Parser)]
#[command(name = "measure-agent")]
struct MeasureArgs {
    /// How long to watch the idle agent. Its watch restarts about every five minutes, so use more than that.
    #[arg(long = "for", value_name = "DURATION", default_value = "11m", value_parser = duration::parse)]
    window: Duration,
    /// Count the requests of an agent whose reboot something postpones, by the hour, instead of an idle agent's.
    #[arg(long)]
    blocked: bool,
}

fn main() -> ExitCode {
    match exit::parse_args::<MeasureArgs>("measure-agent") {
        Ok(args) => exit::code("measure-agent", measure(&args)),
        Err(code) => code,
    }
}

fn measure(args: &MeasureArgs) -> Result<()> {
    let program = programs::build_shipped_agent()?;
    let bytes = std::fs::metadata(&program)
        .with_context(|| format!("failed to look at {}", program.display()))?
        .len();
    let size = megabytes(bytes);
    println!("program, stripped                 {}", beside_bound(size));
    let runtime = tokio::runtime::Runtime::new()?;
    if args.blocked {
        let (memory, asked) = runtime.block_on(blocked(&program, args.window))?;
        println!("memory while blocked (Pss)        {}", beside_bound(memory));
        tell_requests(&asked, args.window);
        return ensure_small(size, memory);
    }
    let (memory, asked) = runtime.block_on(idle(&program, args.window))?;
    println!("memory while idle (Pss)           {}", beside_bound(memory));
    let minutes = args.window.as_secs_f64() / 60.0;
    let watches = asked.iter().filter(|asked| asked.verb == "watch").count();
    let others: Vec<String> = asked
        .iter()
        .filter(|asked| asked.verb != "watch")
        .map(|asked| format!("{} {}", asked.verb, asked.uri))
        .collect();
    let restarts = f64::from(u32::try_from(watches)?) / minutes;
    println!("restarts of its one watch         {restarts:.2} a minute ({watches} in {minutes:.1} minutes)");
    println!("other requests while idle         {}", others.len());
    for other in &others {
        println!("  {other}");
    }
    ensure_small(size, memory)
}

fn ensure_small(size: f64, memory: f64) -> Result<()> {
    anyhow::ensure!(
        size < BOUND_MEGABYTES && memory < BOUND_MEGABYTES,
        "the agent must stay under {BOUND_MEGABYTES} MB, its program and its memory each"
    );
    Ok(())
}

/// Prints how many requests an hour these are, in all and of each kind.
fn tell_requests(asked: &[Asked], window: Duration) {
    let an_hour = |count: usize| {
        let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        format!("{:5.0} an hour", count * 3600.0 / window.as_secs_f64())
    };
    println!("requests while blocked            {}", an_hour(asked.len()));
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for asked in asked {
        let path = asked.uri.split('?').next().unwrap_or_default();
        *kinds.entry(format!("{} {path}", asked.verb)).or_default() += 1;
    }
    for (kind, count) in kinds {
        println!("  {}  {kind}", an_hour(count));
    }
}

fn beside_bound(megabytes: f64) -> String {
    format!(
        "{megabytes:.1} MB, {:.0} % of the limit of {BOUND_MEGABYTES} MB",
        megabytes / BOUND_MEGABYTES * 100.0
    )
}

/// Bytes in megabytes (a million bytes), in steps of 1000 bytes. Values of 4 TB and more are cut off.
fn megabytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1000).unwrap_or(u32::MAX)) / 1000.0
}

/// Lets an agent be idle for `window`; returns its memory in megabytes and its requests in that time.
async fn idle(program: &Path, window: Duration) -> Result<(f64, Vec<Asked>)> {
    let plane = ControlPlane::start(Options { nodes: 1 }).await?;
    drop(install(&plane, &manifests("base")).await?);
    let mut machine = Machine::new(&plane, NODE).await?;
    machine.start_program(program, &[]).await?;
    let before = wait::until("the agent to have started", IDLE_TIMEOUT, || async {
        let asked = plane.requests_of_agents()?;
        let watches = asked.iter().any(|asked| asked.verb == "watch");
        let last = asked.iter().map(|asked| asked.at).max();
        let settled = last.is_some_and(|at| Timestamp::now().duration_since(at) > SETTLED);
        Ok((watches && settled).then_some(asked.len()))
    })
    .await?;
    watched(&plane, &machine, before, window).await
}

/// Lets an agent be blocked for `window`; returns its memory in megabytes and its requests in that time.
async fn blocked(program: &Path, window: Duration) -> Result<(f64, Vec<Asked>)> {
    let plane = ControlPlane::start(Options { nodes: 1 }).await?;
    drop(install(&plane, &manifests("base")).await?);
    let mut machine = Machine::new(&plane, NODE).await?;
    machine.request_reboot()?;
    machine
        .start_program(program, &BLOCKED.map(str::to_owned))
        .await?;
    let is_question = |asked: &&Asked| asked.uri.contains("/poddisruptionbudgets");
    let before = wait::until("the agent to have asked", IDLE_TIMEOUT, || async {
        let asked = plane.requests_of_agents()?;
        // The first round has looked up the kind too.
        let rounds = asked.iter().filter(is_question).count();
        Ok((rounds >= 2).then_some(asked.len()))
    })
    .await?;
    watched(&plane, &machine, before, window).await
}

/// Waits for `window`; returns the agent's memory in megabytes, and its requests after the first `before`.
async fn watched(
    plane: &ControlPlane,
    machine: &Machine,
    before: usize,
    window: Duration,
) -> Result<(f64, Vec<Asked>)> {
    tokio::time::sleep(window).await;
    machine.check_agent().await?;
    let id = machine.agent_id().await.context("the agent has ended")?;
    let asked = plane.requests_of_agents()?.split_off(before);
    Ok((proportional_set_size(id)?, asked))
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
