//! The agent: it watches one node and its host, and carries out what the cycle in [`cordonhold_shared::reboot::cycle`] decides.
//!
//! Not here: the decisions. The agent makes none itself, and never relies on the webhook.

#![warn(missing_docs)]

use std::convert::Infallible;
use std::sync::Arc;

use cordonhold_rt::client::{self, ClientError};
use cordonhold_rt::shutdown::{ListenError, Signals};
use cordonhold_shared::reboot::driver::Setup;
use cordonhold_shared::reboot::line::PATIENCE;
use cordonhold_shared::reboot::window::Windows;
use jiff::Timestamp;
use tracing::{info, warn};

pub mod agent;
pub mod args;
pub mod config;
pub mod host;
pub mod http_api;
pub mod notify;
pub mod permissions;
pub mod pool;

mod api;
mod clock;
mod conditions;
#[cfg(test)]
mod logged;
#[cfg(test)]
mod manual;
mod metrics;
mod prometheus;
mod replacements;
mod report;
mod silence;

use agent::{AgentError, Parts};
use api::Api;
use config::{Config, MetricsConfig};
use host::{Host, HostError};
use http_api::HttpApiError;
use metrics::Metrics;
use metrics::server;
use notify::TrustError;
use notify::outbox::outbox;
use permissions::{PermissionError, Wants};
use pool::PoolError;
use prometheus::Prometheus;
use silence::silences;

/// Why the agent ended.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum RunError {
    #[error("failed to make a client for the API server")]
    Client(#[source] ClientError),
    #[error(transparent)]
    Signals(ListenError),
    #[error(transparent)]
    Host(HostError),
    #[error(transparent)]
    Permissions(PermissionError),
    #[error(transparent)]
    Pool(PoolError),
    #[error(transparent)]
    HttpApi(HttpApiError),
    #[error(transparent)]
    Notify(TrustError),
    #[error(transparent)]
    Agent(AgentError),
}

/// Runs the agent until a signal comes. An error means that it could not start, or that a part of it broke.
pub async fn run(config: Config) -> Result<(), RunError> {
    let mut signals = Signals::listen().map_err(RunError::Signals)?;
    let node = config.settings.node.clone();
    info!(
        event = "started",
        node,
        version = env!("CARGO_PKG_VERSION"),
        "starting"
    );
    for warning in &config.warnings {
        warn!(event = "argument_warning", node, "{warning}");
    }
    tell_windows(&node, &config.windows, Timestamp::now());
    let metrics = Arc::new(Metrics::new(&node, config.windows.clone()));
    let served = config.process.metrics.clone();
    tokio::select! {
        worked = work(config, &metrics, &mut signals) => worked,
        never = serve_metrics(served.as_ref(), &metrics) => match never {},
    }
}

/// Logs the windows and, if none is open, when one opens.
fn tell_windows(node: &str, windows: &Windows, now: Timestamp) {
    let opens = windows.opens_next(now);
    info!(
        event = "window",
        node,
        window = %windows,
        is_open = windows.is_open(now),
        opens = opens.map(|opens| windows.show(opens)),
        "when reboots may begin"
    );
}

/// Serves metrics and probes for ever, if there are any to serve.
async fn serve_metrics(served: Option<&MetricsConfig>, metrics: &Arc<Metrics>) -> Infallible {
    match served {
        None => std::future::pending().await,
        Some(MetricsConfig { host, port }) => server::run(host, *port, metrics).await,
    }
}

/// Starts the agent and runs it until a signal comes.
async fn work(config: Config, metrics: &Arc<Metrics>, signals: &mut Signals) -> Result<(), RunError> {
    let node = config.settings.node.clone();
    let parts = tokio::select! {
        signal = signals.next() => {
            info!(event = "stopping", node, signal, "ending before anything has begun");
            return Ok(());
        }
        parts = begin(config, metrics) => parts?,
    };
    parts.run(signals).await.map_err(RunError::Agent)
}

/// Makes and checks everything that must be in order before the node is touched: the client, the host, the permissions, the pool.
async fn begin(config: Config, metrics: &Arc<Metrics>) -> Result<Parts, RunError> {
    let client = client::build(config.process.kubeconfig.as_deref())
        .await
        .map_err(RunError::Client)?;
    let prometheus = config.blockers.prometheus.as_ref().map(Prometheus::new);
    let prometheus = prometheus.transpose().map_err(RunError::HttpApi)?;
    let (node, reboot_timeout) = (&config.settings.node, config.timing.reboot_timeout);
    let silences = silences(config.silence, node, reboot_timeout, metrics);
    let api = Api::new(client, &config.settings, config.lock, config.drain.clone());
    let host = Host::take(config.host).await.map_err(RunError::Host)?;
    let sentinel = host.sentinel(config.sentinel, &config.settings.node);
    if let Some(path) = sentinel.unreachable().await {
        warn!(
            event = "sentinel_unreachable",
            node = config.settings.node,
            path = %path.display(),
            "the sentinel's directory is neither on the host nor mounted here, so nothing can ask for a reboot: \
             mount it, or name the file by its path on the host with --reboot-sentinel"
        );
    }
    metrics.watch_sentinel(sentinel.clone());
    let carrier = pool::chosen(&api).await;
    let wants = Wants {
        conditions: config.settings.signs.shows_conditions,
        preflight: config.blockers.rules.preflight.is_some(),
    };
    permissions::check(&api, carrier, wants)
        .await
        .map_err(RunError::Permissions)?;
    permissions::node_claim::check(&api, &config.settings.node).await;
    pool::check(&api, carrier).await.map_err(RunError::Pool)?;
    let messages = outbox(config.notify, &config.settings.node, host.told()).map_err(RunError::Notify)?;
    metrics.kureds_elsewhere(pool::kureds_elsewhere(&api, carrier).await);
    Ok(Parts {
        setup: Setup {
            settings: config.settings,
            timing: config.timing,
            drain: config.drain.options.clone(),
            rules: config.blockers.rules,
            ready_when: config.ready_when,
            lock: api.lock_objects().clone(),
            carrier,
            windows: config.windows,
            must_end: config.must_end,
            patience: PATIENCE,
            takes_requests: config.takes_requests,
        },
        api,
        host,
        sentinel,
        prometheus,
        messages,
        silences,
        metrics: Arc::clone(metrics),
    })
}
