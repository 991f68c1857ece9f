//! The agent: it observes one node and its host for the cycle of [`cordonhold_shared::cycle`], and carries out what that asks for.
//!
//! It decides nothing itself, and never relies on the webhook.

use cordonhold_rt::client::{self, ClientError};
use cordonhold_rt::shutdown::{ListenError, Signals};
use tracing::{info, warn};

pub mod args;
pub mod controller;
pub mod host;
pub mod permissions;
pub mod pool;

mod api;
mod clock;
mod conditions;
mod drain;
mod report;
mod watch;

use api::Api;
use args::Config;
use controller::{Controller, ControllerError};
use host::{Host, HostError};
use permissions::PermissionError;
use pool::PoolError;

/// Why the agent ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("no client for the API server")]
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
    Controller(ControllerError),
}

/// Runs until a signal comes.
pub async fn run(config: Config) -> Result<(), RunError> {
    let mut signals = Signals::listen().map_err(RunError::Signals)?;
    let node = config.policy.node.clone();
    info!(
        event = "started",
        node,
        version = env!("CARGO_PKG_VERSION"),
        "starting"
    );
    for warning in &config.warnings {
        warn!(event = "argument_warning", node, "{warning}");
    }
    let controller = tokio::select! {
        signal = signals.next() => {
            info!(event = "stopping", node, signal, "ending before anything began");
            return Ok(());
        }
        controller = begin(config) => controller?,
    };
    controller.run(&mut signals).await.map_err(RunError::Controller)
}

/// Everything that must be there before the node is touched.
async fn begin(config: Config) -> Result<Controller, RunError> {
    let client = client::build(config.process.kubeconfig.as_deref())
        .await
        .map_err(RunError::Client)?;
    let api = Api::new(client, &config.policy, config.lock, config.drain.clone());
    let host = Host::take(config.host).await.map_err(RunError::Host)?;
    let carrier = pool::chosen(&api).await;
    permissions::check(&api, carrier, config.returning.node_conditions)
        .await
        .map_err(RunError::Permissions)?;
    pool::check(&api, carrier).await.map_err(RunError::Pool)?;
    Ok(Controller {
        policy: config.policy,
        api,
        carrier,
        host,
        sentinel: config.sentinel,
        timing: config.timing,
        drain: config.drain,
        shows_conditions: config.returning.node_conditions,
    })
}
