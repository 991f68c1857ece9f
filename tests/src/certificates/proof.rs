//! Admissions without a failure while CAs and certificates change every few seconds and the replicas are restarted in turn.
//!
//! Requests come in bursts, wider than the pool of connections that the API server keeps, so that most of them need a new handshake.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kube::Client;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{Certs, Replicas, admit, plane};
use crate::identity::Identity;
use crate::wait;

/// Requests at once. The API server keeps 25 idle connections to a webhook (k8s.io/apiserver: pkg/util/webhook/client.go).
const BURST: usize = 40;
const BURST_PAUSE: Duration = Duration::from_millis(50);
/// Longest time until the API server calls the replicas: it learns of the `caBundle` by a watch.
const TRUSTED_TIMEOUT: Duration = Duration::from_secs(30);

/// What is to be shown.
#[derive(Clone, Debug)]
pub struct Proof {
    /// At least so many admissions.
    pub admissions: u64,
    /// At least so many times another CA has taken over.
    pub rotations: usize,
    /// The lifetimes, as flags of `certs`. A CA must settle for longer than the replicas take to read the configuration, 10 s.
    pub flags: Vec<String>,
    /// The pause between two restarts of a replica.
    pub restart_every: Duration,
    /// After so many restarts of a replica `certs` is killed and started again; `None`: never.
    pub kill_after: Option<usize>,
    /// Longest time for all of it.
    pub bound: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Shown {
    pub admissions: u64,
    pub failed: u64,
    /// The texts of failures, with how often each came. At most `TEXTS_MAX`.
    pub failures: BTreeMap<String, u64>,
    pub rotations: usize,
    pub certificates: usize,
    pub restarts: usize,
    pub kills: usize,
    /// Connections that the API server has opened to the replicas, each with a handshake.
    pub connections: u64,
    pub took: Duration,
}

const TEXTS_MAX: usize = 10;

/// The flags for a leaf of this lifetime, and a CA of twice as much.
pub fn flags(leaf: Duration, renew_before: Duration, settle: Duration) -> Vec<String> {
    vec![
        format!("--ca-lifetime={}s", 2 * leaf.as_secs()),
        format!("--leaf-lifetime={}s", leaf.as_secs()),
        format!("--renew-before={}s", renew_before.as_secs()),
        format!("--settle={}s", settle.as_secs()),
    ]
}

/// Runs until everything is shown. `tell` gets the progress.
pub async fn run(proof: &Proof, tell: impl Fn(&Shown)) -> Result<Shown> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let plane = plane(&format!("https://{}", listener.local_addr()?)).await?;
    let flags: Vec<&str> = proof.flags.iter().map(String::as_str).collect();
    let mut certs = Certs::start(&plane, "certs", &flags).await?;
    let mut replicas = Replicas::start(&plane, 2, listener).await?;
    let controller = plane.client_from(&plane.kubeconfig(Identity::Controller)).await?;
    wait::until(
        "the API server to trust the replicas",
        TRUSTED_TIMEOUT,
        || async { admit(&controller).await.map(Some) },
    )
    .await?;
    let load = Load::start(controller);
    let started = Instant::now();
    let mut shown = Shown::default();
    loop {
        tokio::time::sleep(proof.restart_every).await;
        replicas.restart_next().await?;
        replicas.check()?;
        shown.restarts += 1;
        if proof.kill_after.is_some_and(|every| shown.restarts % every == 0) {
            certs.kill();
            certs.start_again()?;
            shown.kills += 1;
        }
        shown.rotations = certs.signers()?.len().saturating_sub(1);
        shown.certificates = certs.logged("signed a certificate")?.len();
        shown.admissions = load.answered.load(Ordering::Relaxed);
        shown.failed = load.failed.load(Ordering::Relaxed);
        shown.connections = replicas.connections();
        shown.took = started.elapsed();
        tell(&shown);
        let is_shown = shown.admissions >= proof.admissions && shown.rotations >= proof.rotations;
        if is_shown || shown.took >= proof.bound {
            break;
        }
    }
    let (answered, failures) = load.stop().await?;
    shown.admissions = answered;
    shown.failed = failures.values().sum();
    shown.failures = failures;
    Ok(shown)
}

/// Bursts of requests until it is stopped.
struct Load {
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<Result<BTreeMap<String, u64>>>,
}

impl Load {
    fn start(controller: Client) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (answered, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let task = tokio::spawn(bursts(
            controller,
            Arc::clone(&is_over),
            Arc::clone(&answered),
            Arc::clone(&failed),
        ));
        Self {
            is_over,
            answered,
            failed,
            task,
        }
    }

    async fn stop(self) -> Result<(u64, BTreeMap<String, u64>)> {
        self.is_over.store(true, Ordering::Relaxed);
        let failures = self.task.await.context("the load ended")??;
        Ok((self.answered.load(Ordering::Relaxed), failures))
    }
}

async fn bursts(
    controller: Client,
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
) -> Result<BTreeMap<String, u64>> {
    let mut failures: BTreeMap<String, u64> = BTreeMap::new();
    while !is_over.load(Ordering::Relaxed) {
        let mut burst = JoinSet::new();
        for _ in 0..BURST {
            let controller = controller.clone();
            drop(burst.spawn(async move { admit(&controller).await }));
        }
        while let Some(ended) = burst.join_next().await {
            if let Err(error) = ended.context("a request ended")? {
                let _ = failed.fetch_add(1, Ordering::Relaxed);
                let text = format!("{error:#}");
                let is_full = failures.len() >= TEXTS_MAX && !failures.contains_key(&text);
                let text = if is_full { "and others".to_owned() } else { text };
                *failures.entry(text).or_default() += 1;
            } else {
                let _ = answered.fetch_add(1, Ordering::Relaxed);
            }
        }
        tokio::time::sleep(BURST_PAUSE).await;
    }
    Ok(failures)
}
