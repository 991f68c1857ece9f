//! Abuse of the webhook's port on a real control plane: thousands of connections that ask for nothing, ask slowly or ask for nonsense, while
//! the API server asks it for verdicts.
//!
//! Not here: each bound of the server by itself (`webhook/tests/serving`), and clients of the API server ([`crate::hostile`]).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cordonhold_shared::hold::Phase;
use kube::Client;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::control_plane::{ControlPlane, Options as PlaneOptions};
use crate::identity::Identity;
use crate::install::{install, manifests};
use crate::marks::Marks;
use crate::wait;
use crate::webhook::{Mode, Protection, Webhook, http_get};

mod connection;

pub use connection::Kind;
use connection::{End, Target};

/// What is played.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many connections are tried.
    pub attempts: usize,
    /// How many of them at once.
    pub at_once: usize,
    /// How many a second, at most. The clients need as much of the processors as the webhook does.
    pub rate: u32,
}

impl Default for Options {
    /// More at once than the webhook has places.
    fn default() -> Self {
        Self {
            attempts: 10_000,
            at_once: 1_500,
            rate: 500,
        }
    }
}

/// What was counted.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Outcome {
    /// The connections that were tried, by what they did.
    pub attempts: BTreeMap<Kind, u64>,
    /// Those that did not come about, by why.
    pub not_connected: BTreeMap<String, u64>,
    /// Those that the webhook left open.
    pub left_open: BTreeMap<Kind, u64>,
    /// How the webhook ended connections before they were done, by the reason of its metric.
    pub refused: BTreeMap<String, u64>,
    /// The most connections that the webhook had open at once.
    pub most_open: u64,
    /// How many it had open before, and afterwards.
    pub open_before: u64,
    pub open_afterwards: u64,
    /// Its memory before, and the most that it ever had.
    pub memory_before_kib: u64,
    pub memory_peak_kib: u64,
    /// Uncordons that were tried before, and meanwhile.
    pub before: Times,
    pub meanwhile: Times,
    /// Those that the webhook did not deny.
    pub not_denied: BTreeMap<String, u64>,
    /// Whether the webhook denied one afterwards.
    pub is_denied_afterwards: bool,
    /// The slowest answer of the admin port.
    #[serde(serialize_with = "as_millis")]
    pub slowest_probe: Duration,
    /// How long the abuse went on.
    #[serde(serialize_with = "as_millis")]
    pub took: Duration,
}

/// How long requests took.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub struct Times {
    pub count: usize,
    #[serde(serialize_with = "as_millis")]
    pub median: Duration,
    /// All but one in a hundred were faster.
    #[serde(serialize_with = "as_millis")]
    pub percentile_99: Duration,
    #[serde(serialize_with = "as_millis")]
    pub slowest: Duration,
}

fn as_millis<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64() * 1000.0)
}

const NODE: &str = "abused";
/// How many clients ask the API server to uncordon the node, again and again.
const CLIENTS: usize = 2;
/// How long they do so before the abuse begins.
const QUIET: Duration = Duration::from_secs(3);
/// Longest time for one of them.
pub const REVIEW_MAX: Duration = Duration::from_secs(1);
/// The most memory that the webhook may need: half of its limit in the manifests.
pub const MEMORY_MAX_KIB: u64 = 64 * 1024;
/// The pause between two looks at the webhook's metrics.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Longest time until the last connection is gone.
const GONE_BOUND: Duration = Duration::from_secs(30);
/// The connections to the admin port, which the metric counts too.
const PROBES: u64 = 2;
/// Descriptors beside those of the connections.
const SPARE_FILES: u64 = 500;

/// Plays it.
pub async fn play(options: Options) -> Result<Outcome> {
    allow_files(options.at_once)?;
    let plane = ControlPlane::start(PlaneOptions { nodes: 0 }).await?;
    let rendered = install(&plane, &manifests("base")).await?;
    plane.add_node(NODE).await?;
    let webhook = Webhook::start(&plane, Mode::Enforce, Protection::OwnHolds).await?;
    webhook.register(&plane, &rendered, NODE).await?;
    drop(Marks::of(&plane, NODE).await?.hold(Phase::Delaying).await?);
    let client = plane.client_from(&plane.kubeconfig(Identity::Controller)).await?;

    let mut outcome = Outcome::default();
    let quiet = Asking::start(&client);
    tokio::time::sleep(QUIET).await;
    outcome.before = quiet.stop(&mut outcome.not_denied).await?;
    outcome.open_before = metrics(&webhook).await?.open;
    outcome.memory_before_kib = webhook.memory_kib("VmRSS")?;

    let asking = Asking::start(&client);
    let began = Instant::now();
    let target = Target::new(webhook.admission_address(), webhook.ca_pem())?;
    {
        let mut looking = Box::pin(look(&webhook, &mut outcome));
        tokio::select! {
            looked = &mut looking => looked?,
            ends = abuse(&target, options) => {
                drop(looking);
                outcome.count(ends?);
            }
        }
    }
    outcome.took = began.elapsed();
    outcome.meanwhile = asking.stop(&mut outcome.not_denied).await?;

    outcome.open_afterwards = gone(&webhook, outcome.open_before).await?;
    outcome.is_denied_afterwards = uncordon(&client).await.is_ok();
    outcome.refused = metrics(&webhook).await?.refused;
    outcome.memory_peak_kib = webhook.memory_kib("VmHWM")?;
    Ok(outcome)
}

/// Lets this process and its children have as many files open as this many connections need.
fn allow_files(connections: usize) -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = u64::try_from(connections)?.max(connection::WEBHOOK_MAX) + SPARE_FILES;
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    ensure!(
        limit.maximum.is_none_or(|most| most >= wanted),
        "{connections} connections need {wanted} open files, and {:?} are allowed: raise `ulimit -Hn`",
        limit.maximum
    );
    limit.current = Some(wanted);
    setrlimit(Resource::Nofile, limit).context("failed to allow more open files")
}

/// Clients that try to uncordon the held node.
struct Asking {
    is_over: Arc<AtomicBool>,
    clients: JoinSet<Result<(Vec<Duration>, Vec<String>)>>,
}

impl Asking {
    fn start(client: &Client) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (client, is_over) = (client.clone(), Arc::clone(&is_over));
            drop(clients.spawn(async move {
                let (mut times, mut wrong) = (Vec::new(), Vec::new());
                while !is_over.load(Ordering::SeqCst) {
                    let began = Instant::now();
                    let denied = uncordon(&client).await;
                    times.push(began.elapsed());
                    wrong.extend(denied.err().map(|why| format!("{why:#}")));
                }
                Ok((times, wrong))
            }));
        }
        Self { is_over, clients }
    }

    /// Ends the clients, and returns how long each request took. What was not denied goes to `wrong`.
    async fn stop(mut self, wrong: &mut BTreeMap<String, u64>) -> Result<Times> {
        self.is_over.store(true, Ordering::SeqCst);
        let mut all = Vec::new();
        while let Some(client) = self.clients.join_next().await {
            let (times, not_denied) = client.context("a client ended early")??;
            all.extend(times);
            for why in not_denied {
                *wrong.entry(why).or_default() += 1;
            }
        }
        Ok(Times::of(all))
    }
}

impl Times {
    fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        let at = |hundredth: usize| all.get((all.len() * hundredth / 100).min(all.len().saturating_sub(1)));
        let at = |hundredth: usize| at(hundredth).copied().unwrap_or_default();
        Self {
            count: all.len(),
            median: at(50),
            percentile_99: at(99),
            slowest: at(100),
        }
    }
}

/// Tries to uncordon the node, and checks that the webhook denies it because the node is held.
async fn uncordon(client: &Client) -> Result<()> {
    let request = http::Request::patch(format!("/api/v1/nodes/{NODE}"))
        .header("Content-Type", "application/merge-patch+json")
        .body(
            json!({ "spec": { "unschedulable": null } })
                .to_string()
                .into_bytes(),
        )?;
    match client.request::<Value>(request).await {
        Ok(_) => anyhow::bail!("it passed"),
        Err(kube::Error::Api(status)) => {
            let is_denial = status
                .message
                .contains("cordonhold.dev\" denied the request: held: ");
            ensure!(
                status.code == 403 && is_denial,
                "{} {}",
                status.code,
                status.message
            );
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Opens all connections, and returns what each did and how it ended.
async fn abuse(target: &Target, options: Options) -> Result<Vec<(Kind, End)>> {
    let next = Arc::new(AtomicUsize::new(0));
    let (began, every) = (
        tokio::time::Instant::now(),
        Duration::from_secs(1) / options.rate.max(1),
    );
    let mut clients = JoinSet::new();
    for _ in 0..options.at_once {
        let (next, target) = (Arc::clone(&next), target.clone());
        drop(clients.spawn(async move {
            let mut ends = Vec::new();
            loop {
                let turn = next.fetch_add(1, Ordering::SeqCst);
                if turn >= options.attempts {
                    return ends;
                }
                tokio::time::sleep_until(began + every * u32::try_from(turn).unwrap_or(u32::MAX)).await;
                let kind = Kind::nth(turn);
                ends.push((kind, kind.attempt(&target, turn / Kind::ALL.len()).await));
            }
        }));
    }
    let mut all = Vec::new();
    while let Some(ends) = clients.join_next().await {
        all.extend(ends.context("an abusive client ended early")?);
    }
    Ok(all)
}

/// What the webhook's metrics say of its connections.
struct Connections {
    open: u64,
    refused: BTreeMap<String, u64>,
}

async fn metrics(webhook: &Webhook) -> Result<Connections> {
    let (code, page) = http_get(webhook.admin_address(), "/metrics").await?;
    ensure!(code == 200, "the metrics: {code}");
    let mut open = None;
    let mut refused = BTreeMap::new();
    for line in page.lines() {
        if let Some(count) = line.strip_prefix("cordonhold_webhook_connections ") {
            open = Some(count.parse().context("a count of connections")?);
        } else if let Some(rest) = line.strip_prefix("cordonhold_webhook_connections_refused_total{reason=\"")
            && let Some((reason, count)) = rest.split_once("\"} ")
        {
            let count: u64 = count.parse().context("a count of refusals")?;
            if count > 0 {
                let _ = refused.insert(reason.to_owned(), count);
            }
        }
    }
    Ok(Connections {
        open: open.context("the metrics lack the open connections")?,
        refused,
    })
}

/// Looks at the metrics until this is dropped, as Prometheus and a kubelet's probe do.
async fn look(webhook: &Webhook, outcome: &mut Outcome) -> Result<()> {
    loop {
        let began = Instant::now();
        let now = metrics(webhook).await?;
        outcome.slowest_probe = outcome.slowest_probe.max(began.elapsed());
        outcome.most_open = outcome.most_open.max(now.open);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until the webhook has no more connections than before, and returns how many it has.
async fn gone(webhook: &Webhook, before: u64) -> Result<u64> {
    wait::until("the connections to be gone", GONE_BOUND, || async {
        let open = metrics(webhook).await?.open;
        Ok((open <= before).then_some(open))
    })
    .await
}

impl Outcome {
    /// Whether the webhook held out: each uncordon was denied in time, within its memory, and no connection stayed.
    pub fn holds(&self) -> bool {
        let all = [&self.before, &self.meanwhile];
        self.not_denied.is_empty()
            && self.is_denied_afterwards
            && all
                .iter()
                .all(|times| times.count > 0 && times.slowest <= REVIEW_MAX)
            && self.slowest_probe <= REVIEW_MAX
            && self.memory_peak_kib <= MEMORY_MAX_KIB
            && self.left_open.is_empty()
            && self.not_connected.is_empty()
            && self.most_open <= connection::WEBHOOK_MAX + connection::LEAVING_MAX + PROBES
            && self.open_afterwards <= self.open_before
    }

    /// Whether all places of the webhook were taken.
    pub fn is_full(&self) -> bool {
        self.most_open >= connection::WEBHOOK_MAX
    }

    /// How many connections were tried.
    pub fn tried(&self) -> u64 {
        self.attempts.values().sum()
    }

    fn count(&mut self, ends: Vec<(Kind, End)>) {
        for (kind, end) in ends {
            *self.attempts.entry(kind).or_default() += 1;
            match end {
                End::Closed => {}
                End::NotConnected(why) => *self.not_connected.entry(why).or_default() += 1,
                End::LeftOpen => *self.left_open.entry(kind).or_default() += 1,
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "connections      {} in {:.1?}", self.tried(), self.took)?;
        for (kind, count) in &self.attempts {
            writeln!(f, "                 {count:>6} {kind:?}")?;
        }
        writeln!(f, "not connected    {:?}", self.not_connected)?;
        writeln!(f, "cut off          {:?}", self.refused)?;
        writeln!(
            f,
            "open at once     {}, before {}, afterwards {}; left open {:?}",
            self.most_open, self.open_before, self.open_afterwards, self.left_open
        )?;
        writeln!(
            f,
            "memory           {} KiB at most, before {} KiB",
            self.memory_peak_kib, self.memory_before_kib
        )?;
        writeln!(f, "uncordons        before     {}", self.before)?;
        writeln!(f, "                 meanwhile  {}", self.meanwhile)?;
        writeln!(
            f,
            "                 {:.1} times as long in the median, {:.1} times at the slowest",
            ratio(self.meanwhile.median, self.before.median),
            ratio(self.meanwhile.slowest, self.before.slowest)
        )?;
        writeln!(
            f,
            "not denied       {:?}, afterwards {}",
            self.not_denied,
            if self.is_denied_afterwards {
                "denied"
            } else {
                "not denied"
            }
        )?;
        write!(f, "slowest metrics  {:.1?}", self.slowest_probe)
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, median {:.1?}, of a hundred 99 within {:.1?}, slowest {:.1?}",
            self.count, self.median, self.percentile_99, self.slowest
        )
    }
}

fn ratio(of: Duration, to: Duration) -> f64 {
    of.as_secs_f64() / to.as_secs_f64().max(f64::EPSILON)
}
