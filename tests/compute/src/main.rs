//! `cordonhold-compute`: what one review costs the webhook from the bytes of the review to the bytes of the answer, without network, beside decoding
//! all of it with `serde_json` into Kubernetes' types, which is what most webhooks begin with.
//!
//! A crate of its own: it links the webhook, optimised as that is, and its allocator counts. Not here: what the reviews are, and how the figures are
//! shown (`cordonhold_tests::figures`).

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use cordonhold_rt::logging::LogFormat;
use cordonhold_rt::{duration, exit, logging};
use cordonhold_shared::admission::{Known, KuredSeen, Locks, Requester};
use cordonhold_shared::keys;
use cordonhold_webhook::{Handler, Lookup, Metrics, Question, policy_of};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use k8s_openapi::api::core::v1::Node;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Measure one review, without network, beside decoding it into Kubernetes' types
///
/// The log goes to standard output, as the webhook's does.
#[derive(Parser)]
#[command(name = "cordonhold-compute")]
struct Args {
    /// The review, which must be of an uncordon that is denied
    #[arg(long, value_name = "FILE")]
    body: PathBuf,
    /// kured's lock, as the webhook's watch has it
    #[arg(long, value_name = "FILE")]
    kured_lock: Option<PathBuf>,
    /// How often each of the two is measured, by turns; the median counts
    #[arg(long, value_name = "N", default_value_t = 20)]
    rounds: u32,
    /// How long, each time, in time of a core
    #[arg(long = "for", value_name = "DURATION", default_value = "250ms", value_parser = duration::parse)]
    time: Duration,
    /// Where to write the figures
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

/// What is written: ours and the other's.
#[derive(Serialize)]
struct Figures {
    ours: Cost,
    theirs: Cost,
}

/// The cost of one review. Times are in microseconds, and those of a core.
#[derive(Serialize)]
struct Cost {
    p50: f64,
    p99: f64,
    /// On one core.
    per_second: f64,
    allocations: u64,
    allocated_bytes: u64,
}

/// What a round saw.
struct Round {
    p50: f64,
    p99: f64,
    per_second: f64,
}

/// Knows kured's lock, and nothing else.
struct Watched(Known<KuredSeen>);

impl Lookup for Watched {
    fn may<'a>(&'a self, _: &'static str, _: &'a Requester, _: &'a str) -> BoxFuture<'a, Known<bool>> {
        ready(Known::Is(false)).boxed()
    }

    fn watched_kured_lock(&self) -> Known<KuredSeen> {
        self.0.clone()
    }

    fn kured_lock(&self) -> BoxFuture<'_, Known<KuredSeen>> {
        ready(self.0.clone()).boxed()
    }
}

#[derive(Deserialize)]
struct WholeReview {
    request: WholeRequest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WholeRequest {
    object: Node,
    old_object: Node,
}

fn main() -> ExitCode {
    match exit::parse_args("cordonhold-compute") {
        Ok(args) => exit::code("cordonhold-compute", run(&args)),
        Err(code) => code,
    }
}

fn run(args: &Args) -> Result<()> {
    // Dropped last, so that the last lines of the log are written too.
    let _flush = logging::init_queued(LogFormat::Json)?;
    let body =
        std::fs::read(&args.body).with_context(|| format!("failed to read {}", args.body.display()))?;
    let handler = handler(args.kured_lock.as_deref())?;
    let ours = || {
        let answer = handler.handle(Question::Validate, &body, Instant::now());
        answer.now_or_never().flatten().unwrap_or_default()
    };
    let theirs = || serde_json::from_slice::<WholeReview>(&body);
    let answer = String::from_utf8(ours())?;
    ensure!(
        answer.contains("\"allowed\":false"),
        "the review was not denied: {answer}"
    );
    let nodes = theirs().context("the review has no Nodes")?.request;
    ensure!(
        nodes.object.metadata.name == nodes.old_object.metadata.name,
        "the review has two Nodes"
    );
    let [mut of_ours, mut of_theirs] = [Vec::new(), Vec::new()];
    for _ in 0..args.rounds.max(1) {
        of_ours.push(measured(args.time, ours));
        of_theirs.push(measured(args.time, theirs));
    }
    let figures = Figures {
        ours: cost(&of_ours, ours),
        theirs: cost(&of_theirs, theirs),
    };
    std::fs::write(&args.to, serde_json::to_vec(&figures)?)
        .with_context(|| format!("failed to write {}", args.to.display()))
}

/// The webhook's handler as it is shipped, but for the cluster around it.
fn handler(kured_lock: Option<&Path>) -> Result<Handler> {
    // It reads neither file for a policy.
    let mut arguments = vec![
        "--tls-cert-file=tls.crt".to_owned(),
        "--tls-private-key-file=tls.key".to_owned(),
    ];
    let mut locks = Locks::new();
    if let Some(path) = kured_lock {
        let lock =
            std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
        drop(locks.insert(keys::KURED_LOCK.to_owned(), lock));
        arguments.push("--protect-kured=lock".to_owned());
    }
    let policy = policy_of(&arguments, "cordonhold")?;
    let seen = Known::Is(KuredSeen { found: None, locks });
    Ok(Handler::new(
        policy,
        Box::new(Watched(seen)),
        Arc::new(Metrics::new()),
    ))
}

fn measured<T>(time: Duration, mut work: impl FnMut() -> T) -> Round {
    let mut each = Vec::new();
    let begun = spent();
    while spent().saturating_sub(begun) < time || each.is_empty() {
        let started = spent();
        drop(black_box(work()));
        each.push(spent().saturating_sub(started));
    }
    let per_second = count(each.len()) / spent().saturating_sub(begun).as_secs_f64();
    each.sort_unstable();
    let at = |percent: usize| each[(each.len() * percent / 100).min(each.len() - 1)].as_secs_f64() * 1e6;
    Round {
        p50: at(50),
        p99: at(99),
        per_second,
    }
}

/// How long this thread has had a core. What others do meanwhile does not count.
fn spent() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

fn cost<T>(rounds: &[Round], work: impl FnOnce() -> T) -> Cost {
    let allocated = allocation_counter::measure(|| drop(black_box(work())));
    let of = |field: fn(&Round) -> f64| median(rounds.iter().map(field).collect());
    Cost {
        p50: of(|round| round.p50),
        p99: of(|round| round.p99),
        per_second: of(|round| round.per_second),
        allocations: allocated.count_total,
        allocated_bytes: allocated.bytes_total,
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn count(done: usize) -> f64 {
    done as f64
}
