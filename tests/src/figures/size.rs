//! What the programs take: bytes of program and image, resident memory, the time from the start to ready, and to a changed certificate.
//!
//! The webhook is beside a plain one in Go, stripped and packed in the same way. The agent has no peer here: kured's module could not be
//! had. Not here: what an agent asks for and keeps while it waits (`agent`).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cordonhold_release::program as shipped;
use cordonhold_release::{image, images};
use tokio::net::TcpStream;

use super::peer::{Certificate, LISTENS_TIMEOUT, Server, free_address, listens};
use super::{Figure, Goal, median, megabytes, review, written};
use crate::control_plane::ControlPlane;
use crate::install::{Rendered, manifests};
use crate::process::CommandLine;
use crate::programs::{self, Program};
use crate::tls::connector;
use crate::webhook::{Mode, Protection, Webhook};
use crate::{go_module, wait};

/// Most of a program, and of its memory, in megabytes (a million bytes).
pub(super) const MEGABYTES: f64 = 12.0;
/// Longest start, in milliseconds.
const START: f64 = 100.0;
const PEER: &str = "plain-webhook";
/// What the busy webhooks answer: a usual Node's reviews, over this many connections.
const KIB: usize = 40;
const CONNECTIONS: u16 = 32;
const BUSY: Duration = Duration::from_secs(5);
const BUSY_TIMEOUT: Duration = Duration::from_secs(40);
const SERVED_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of programs differ by what a compiler's next version does.
const BYTES_MARGIN: f64 = 1.05;
const MEMORY_MARGIN: f64 = 1.3;
/// The noise of some milliseconds on a machine that others use too.
const START_MARGIN: f64 = 2.5;

/// Ours, and the peer.
struct Bench {
    webhook: Webhook,
    peer: CommandLine,
    peer_at: Server,
    load: PathBuf,
    review: PathBuf,
    plane: ControlPlane,
    directory: tempfile::TempDir,
}

/// Measures the programs as they ship, each start this often.
pub async fn measure(rounds: u32, tell: impl Fn(&str)) -> Result<Vec<Figure>> {
    tell("building both programs as they ship, which takes a quarter of an hour the first time");
    let [webhook, agent] = ["cordonhold-webhook", "cordonhold-agent"].map(programs::shipped);
    let [webhook, agent] = [webhook?, agent?];
    let [our_path, agent_path] = programs::build_shipped([webhook, agent])?;
    let directory = tempfile::tempdir().context("failed to create a directory")?;
    let peer_path = go_module::build_shipped(PEER, directory.path())?;
    let mut figures = Vec::new();
    figures.extend(of_files(webhook, &our_path, Some(&peer_path))?);
    figures.extend(of_files(agent, &agent_path, None)?);
    let mut bench = Bench::set(&our_path, &peer_path, directory).await?;
    tell("starting, and memory");
    figures.extend(bench.starts(rounds).await?);
    figures.extend(bench.memory().await?);
    tell("a changed certificate");
    let mut served = Vec::new();
    for _ in 0..rounds {
        served.push(bench.change_certificate().await?.as_secs_f64());
    }
    figures.push(Figure::alone(
        "size-certificate-webhook",
        median(served),
        "s",
        Goal::None,
    ));
    Ok(figures)
}

/// Bytes of the program, and of its image without its name.
fn of_files(program: &shipped::Program, ours: &Path, theirs: Option<&Path>) -> Result<[Figure; 2]> {
    let name = program.name.trim_start_matches("cordonhold-");
    let (our_size, our_image) = sizes(program, ours)?;
    let theirs = theirs.map(|path| sizes(program, path)).transpose()?;
    let figure = |what: &str, ours, theirs: Option<f64>, goal| {
        let name = format!("size-{what}-{name}");
        match theirs {
            Some(theirs) => Figure::new(name, (ours, theirs), "MB", goal),
            None => Figure::alone(name, ours, "MB", goal),
        }
        .within(BYTES_MARGIN)
    };
    Ok([
        figure(
            "program",
            our_size,
            theirs.map(|(size, _)| size),
            Goal::OursAtMost(MEGABYTES),
        ),
        figure("image", our_image, theirs.map(|(_, image)| image), Goal::None),
    ])
}

/// The size of this file, and of an image with it as this program, in megabytes.
fn sizes(program: &shipped::Program, path: &Path) -> Result<(f64, f64)> {
    let bytes = std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    let contents = program.image.as_ref().context("the program has no image")?;
    let arch = shipped::Arch::of_host().context("images cannot be made for this CPU")?;
    let made = image::make(program.name, contents, arch, &bytes, None).context("failed to make an image")?;
    let tar = made.to_tar(&images::name(images::NO_REPOSITORY, program.name))?;
    Ok((megabytes(bytes.len() as u64), megabytes(tar.len() as u64)))
}

impl Bench {
    async fn set(ours: &Path, theirs: &Path, directory: tempfile::TempDir) -> Result<Self> {
        let [load] = programs::build([Program::Load])?;
        let plane = ControlPlane::start_alone().await?;
        let rendered = Rendered::from_directory(&plane.assets().kubectl, &manifests("base")).await?;
        rendered.apply_objects(&plane.client()).await?;
        let webhook = Webhook::start_program(ours, &plane, Mode::Enforce, Protection::OwnHolds, &[]).await?;
        let certificate = Certificate::issue(directory.path())?;
        let peer_at = Server {
            address: free_address()?,
            ca: certificate.ca.clone(),
        };
        Ok(Self {
            webhook,
            peer: certificate.command(CommandLine::new(theirs), peer_at.address),
            peer_at,
            load,
            review: written(directory.path(), "review.json", review::review(KIB).as_bytes())?,
            plane,
            directory,
        })
    }

    /// Ours until it says that it is ready, the peer until it listens.
    async fn starts(&mut self, rounds: u32) -> Result<[Figure; 1]> {
        let mut seen: [Vec<f64>; 2] = Default::default();
        for _ in 0..rounds {
            self.webhook.kill();
            seen[0].push(self.webhook.start_timed().await?.as_secs_f64() * 1e3);
            let begun = Instant::now();
            let mut peer = self.plane.kennel().start(PEER, &self.peer)?;
            while TcpStream::connect(self.peer_at.address).await.is_err() {
                peer.check_running()?;
                ensure!(
                    begun.elapsed() < LISTENS_TIMEOUT,
                    "{PEER} did not listen in {LISTENS_TIMEOUT:?}"
                );
            }
            seen[1].push(begun.elapsed().as_secs_f64() * 1e3);
        }
        let [ours, theirs] = seen.map(median);
        let goal = Goal::OursAtMost(START);
        Ok([Figure::new("size-start-webhook", (ours, theirs), "ms", goal).within(START_MARGIN)])
    }

    /// Resident memory after the start, and the most while it is busy.
    async fn memory(&mut self) -> Result<[Figure; 2]> {
        self.webhook.kill();
        self.webhook.start_again().await?;
        let peer = self.plane.kennel().start(PEER, &self.peer)?;
        listens(self.peer_at.address).await?;
        let idle = [self.webhook.memory_kib("VmRSS")?, peer.memory_kib("VmRSS")?];
        self.send(&Server::of(&self.webhook, self.directory.path())?)
            .await?;
        self.send(&self.peer_at).await?;
        let busy = [self.webhook.memory_kib("VmHWM")?, peer.memory_kib("VmHWM")?];
        let figure = |name: &str, [ours, theirs]: [u64; 2]| {
            let both = (megabytes(ours * 1024), megabytes(theirs * 1024));
            Figure::new(name, both, "MB", Goal::OursAtMost(MEGABYTES)).within(MEMORY_MARGIN)
        };
        Ok([
            figure("size-idle-webhook", idle),
            figure("size-busy-webhook", busy),
        ])
    }

    async fn send(&self, to: &Server) -> Result<()> {
        let line = to.load(CommandLine::new(&self.load), &self.review, CONNECTIONS, BUSY);
        line.run("", BUSY_TIMEOUT).await.map(drop)
    }

    /// Until a client that trusts the new CA alone is served.
    async fn change_certificate(&mut self) -> Result<Duration> {
        let tls = connector(&self.webhook.change_certificate(&self.plane)?)?;
        let address = self.webhook.admission_address();
        let begun = Instant::now();
        let is_served = || async {
            let stream = TcpStream::connect(address).await?;
            Ok(tls.connect(address.ip().into(), stream).await.ok().map(drop))
        };
        wait::until("the changed certificate", SERVED_TIMEOUT, is_served).await?;
        Ok(begun.elapsed())
    }
}
