//! The bare hop: reviews over TLS 1.3 and HTTP/1.1, one core for the server and one for the load. Ours beside a plain webhook in Go, and both beside the
//! floor, which is TLS and HTTP alone.
//!
//! Ours is as it ships (cargo profile `release`), with its log. The peer logs nothing.
//! All servers have real-time priority if that is allowed (`chrt`): without it, what else the machine does on their core shows in the tails. The load
//! leaves out the time in which it stood still itself. Not here: what the API server adds on its way (`api.rs`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use super::peer::{Certificate, Server};
use super::{Figure, Goal, median, review, written};
use crate::control_plane::ControlPlane;
use crate::go_module;
use crate::install::{Rendered, manifests};
use crate::process::{CommandLine, Process};
use crate::programs;
use crate::webhook::{Mode, Protection, Webhook};

/// The cores of the servers and of the load.
const CORES: [&str; 2] = ["0", "1"];
/// Connections of a closed loop, and most at once of an open one.
const CONNECTIONS: u16 = 32;
/// Sizes of the reviews.
const KIB: [usize; 3] = [5, 40, 200];
/// The size that is sent in the open loop: a usual Node's.
const USUAL: usize = 40;
/// Parts of the peer's capacity, in percent.
const PARTS: [u32; 3] = [20, 50, 80];
/// Added to the time of a load for its start and end.
const LOAD_MARGIN: Duration = Duration::from_secs(40);

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How often each server is measured, by turns.
    pub rounds: u32,
    /// How long, each time.
    pub time: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Ours,
    Theirs,
    Floor,
}

const ALL: [Who; 3] = [Who::Ours, Who::Theirs, Who::Floor];

/// What the load prints. Latencies are in microseconds.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Measured {
    answered: u64,
    /// Of these, those whose latency is left out, because the load stood still.
    disturbed: u64,
    failed: u64,
    seconds: f64,
    p50: f64,
    p99: f64,
    p999: f64,
}

/// The three servers, which wait for reviews, and the load.
struct Bench {
    load: PathBuf,
    servers: [Server; 3],
    options: Options,
    /// Ends after the processes that use it.
    directory: TempDir,
    _processes: [Process; 2],
    _webhook: Webhook,
    _plane: ControlPlane,
}

/// Measures the hop.
pub async fn measure(options: Options, tell: impl Fn(&str)) -> Result<Vec<Figure>> {
    tell("building the webhook as it ships, the load and the peer");
    let bench = Bench::set(options).await?;
    let mut figures = Vec::new();
    let mut capacity = 0.0;
    for kib in KIB {
        tell(&format!("closed loop, {kib} KiB"));
        let [ours, theirs, floor] = bench.capacities(kib).await?;
        if kib == USUAL {
            capacity = theirs;
        }
        let goal = Goal::AtLeast((0.8 * floor / theirs).min(12.0));
        figures.push(Figure::new(
            format!("hop-throughput-{kib}k"),
            (ours, theirs),
            "reviews/s",
            goal,
        ));
        figures.push(Figure::new(
            format!("hop-floor-{kib}k"),
            (ours, floor),
            "reviews/s",
            Goal::None,
        ));
    }
    for part in PARTS {
        tell(&format!("open loop, {part} % of the peer's capacity"));
        figures.extend(bench.latencies(capacity, part).await?);
    }
    Ok(figures)
}

impl Bench {
    async fn set(options: Options) -> Result<Self> {
        let [webhook, load] = programs::build_released(["cordonhold-webhook", "cordonhold-load"])?;
        let directory = tempfile::tempdir().context("failed to create a directory")?;
        let peer = go_module::build("plain-webhook", directory.path())?;
        let plane = ControlPlane::start_alone().await?;
        let rendered = Rendered::from_directory(&plane.assets().kubectl, &manifests("base")).await?;
        rendered.apply_objects(&plane.client()).await?;
        let pinned = on_its_core(directory.path(), &webhook)?;
        let webhook =
            Webhook::start_program(&pinned, &plane, Mode::Enforce, Protection::OwnHolds, &[]).await?;
        let ours = Server::of(&webhook, directory.path())?;
        for kib in KIB {
            drop(written(
                directory.path(),
                &format!("{kib}.json"),
                review::review(kib).as_bytes(),
            )?);
        }
        let certificate = Certificate::issue(directory.path())?;
        let line = CommandLine::new(on_its_core(directory.path(), &peer)?);
        let (peer, theirs) = certificate.serve(&plane, "plain-webhook", line).await?;
        let line = CommandLine::new(on_its_core(directory.path(), &load)?).arg("floor");
        let (floor, least) = certificate.serve(&plane, "floor", line).await?;
        Ok(Self {
            load,
            servers: [ours, theirs, least],
            options,
            directory,
            _processes: [peer, floor],
            _webhook: webhook,
            _plane: plane,
        })
    }

    /// Reviews a second that each takes, ours, theirs and the floor.
    async fn capacities(&self, kib: usize) -> Result<[f64; 3]> {
        let mut seen: [Vec<f64>; 3] = Default::default();
        for _ in 0..self.options.rounds {
            for (who, rates) in ALL.into_iter().zip(&mut seen) {
                let measured = self.send(who, kib, None).await?;
                rates.push(count(measured.answered) / measured.seconds);
            }
        }
        Ok(seen.map(median))
    }

    /// All at this part of the peer's capacity, in percent. The floor's are shown beside ours: what the machine itself needs.
    async fn latencies(&self, capacity: f64, part: u32) -> Result<Vec<Figure>> {
        let rate = (capacity * f64::from(part) / 100.0).max(1.0);
        let mut seen: [[Vec<f64>; 3]; 3] = Default::default();
        for _ in 0..self.options.rounds {
            for (who, latencies) in ALL.into_iter().zip(&mut seen) {
                let measured = self.send(who, USUAL, Some(rate)).await?;
                for (all, one) in latencies
                    .iter_mut()
                    .zip([measured.p50, measured.p99, measured.p999])
                {
                    all.push(one / 1000.0);
                }
            }
        }
        let [ours, theirs, floor] = seen.map(|latencies| latencies.map(median));
        let rows = [
            ("p50", Goal::None),
            ("p99", Goal::AtMost(0.125)),
            ("p99.9", Goal::AtMost(0.25)),
        ];
        let mut figures = Vec::new();
        for (((quantile, goal), ours), (theirs, floor)) in
            rows.into_iter().zip(ours).zip(theirs.into_iter().zip(floor))
        {
            let name = format!("hop-{quantile}-at-{part}%");
            figures.push(Figure::new(
                format!("{name}-floor"),
                (ours, floor),
                "ms",
                Goal::None,
            ));
            figures.push(Figure::new(name, (ours, theirs), "ms", goal));
        }
        Ok(figures)
    }

    async fn send(&self, who: Who, kib: usize, rate: Option<f64>) -> Result<Measured> {
        let server = &self.servers[who as usize];
        let body = self.directory.path().join(format!("{kib}.json"));
        let line = CommandLine::new("taskset").args(["-c", CORES[1]]).arg(&self.load);
        let mut line = server.load(line, &body, CONNECTIONS, self.options.time);
        if let Some(rate) = rate {
            line = line.args(["--rate".to_owned(), format!("{rate:.0}")]);
        }
        let printed = line.run("", self.options.time + LOAD_MARGIN).await?;
        let measured: Measured = serde_json::from_str(&printed).context("the load printed something else")?;
        ensure!(measured.failed == 0, "{who:?}: {measured:?}");
        ensure!(
            rate.is_none() || measured.disturbed * 2 < measured.answered,
            "others had the load's core most of the time ({measured:?}): measure on a machine that has two cores for this alone"
        );
        Ok(measured)
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn count(answered: u64) -> f64 {
    answered as f64
}

/// A program that starts this server on its core, before others if that is allowed.
fn on_its_core(directory: &Path, server: &Path) -> Result<PathBuf> {
    let name = server.file_name().context("a server without a name")?;
    let text = format!(
        "#!/bin/sh\nchrt --rr --pid 1 $$ 2>/dev/null\nexec taskset -c {} '{}' \"$@\"\n",
        CORES[0],
        server.display()
    );
    let name = format!("{}.sh", name.display());
    let path = written(directory, &name, text.as_bytes())?;
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, executable).context("failed to make the script executable")?;
    Ok(path)
}
