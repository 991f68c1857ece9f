//! The admission webhook: an HTTPS server around [`cordonhold_shared::admission::decide`].
//!
//! It looks up facts and answers. It has no rules of its own, and writes nothing to the cluster but Events.
//! Beside it, each in a process of its own, [`keep_certificates`] makes what it serves, and [`uninstall()`] takes Cordonhold off a cluster.

#![warn(missing_docs)]

mod args;
mod certs;
mod config;
mod events;
mod explain;
mod handler;
mod limits;
mod lookup;
mod metrics;
mod readiness;
mod review;
mod routes;
mod server;
mod tls;
mod trail;
mod trust;
mod uninstall;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cordonhold_rt::{client, crypto, listen, logging, shutdown};
use kube::Client;
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use cordonhold_shared::admission::Policy;
use tls::Tls;
use trust::Trust;

pub use args::{Args, CertsArgs, CertsArgsError, ExplainArgs, ExplainArgsError, UninstallArgs, policy_of};
pub use certs::keep_certificates;
pub use config::{
    CertsConfig, ClientConfig, Config, Place, TlsConfig, TlsVersion, UninstallConfig, UninstallPlace,
};
pub use events::{Part, Recorder};
pub use explain::{
    ExplainConfig, ExplainError, Explanation, Outlook, Subject, explain, explanation, foresee, read_request,
    whoami,
};
pub use handler::{Handler, Question};
pub use limits::Limits;
use lookup::KuredWatch;
pub use lookup::Lookup;
pub use metrics::Metrics;
pub use readiness::{Condition, Readiness};
pub use routes::{admin_router, admission_router};
pub use server::{Closing, Port, Transport, serve};
pub use tls::TlsError;
pub use trust::{bundle_end, bundle_writer};
pub use uninstall::uninstall;

/// Added to the time in which every connection should have ended.
const END_MARGIN: Duration = Duration::from_secs(1);

/// Why the webhook could not start, or ended with an error.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum Error {
    #[error(transparent)]
    Crypto(crypto::AlreadyInstalled),
    #[error(transparent)]
    Logging(logging::LoggingError),
    #[error("failed to start the runtime")]
    Runtime(#[source] std::io::Error),
    #[error(transparent)]
    Tls(TlsError),
    #[error(transparent)]
    Client(client::ClientError),
    #[error(
        "failed to listen on {flag} {address}: {source}: name an address of this machine whose port is free"
    )]
    Listen {
        flag: &'static str,
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error(transparent)]
    Signals(shutdown::ListenError),
    #[error("stopped at once by a second signal ({0}): requests may be unanswered")]
    SecondSignal(&'static str),
    #[error(
        "a background task ended, which is a defect of cordonhold: report it with the webhook's log; the process ends so that it is started again"
    )]
    TaskEnded(#[source] Option<JoinError>),
}

/// Serves until SIGTERM or SIGINT; a second signal ends it at once.
pub async fn run(config: Config) -> Result<(), Error> {
    let mut signals = shutdown::Signals::listen().map_err(Error::Signals)?;
    let metrics = Arc::new(Metrics::new());
    let readiness = Arc::new(Readiness::default());
    let is_running = readiness.condition("running", "it is starting");
    let kube = client::build(config.kubeconfig.as_deref())
        .await
        .map_err(Error::Client)?;
    let recorder = recorder(config.events_from, kube.clone(), &metrics);
    let trust = Trust::new(config.installation, &readiness, &metrics, recorder.clone());
    let trust = Arc::new(trust);
    let tls = Tls::load(&config.tls, Arc::clone(&trust), Arc::clone(&metrics))
        .await
        .map_err(Error::Tls)?;
    let policy = config.policy;
    let (mode, protect_kured) = (policy.modes.usual(), protection(&policy));
    let defers = policy.modes.may_defer();
    let kured_lock = policy.kured_lock();
    let lookup = lookup::ClusterLookup::new(kube.clone(), kured_lock, &metrics);
    let kured_watch = lookup.kured_watch().map(|watch| {
        let is_listed = readiness.condition("kured-lock", "kured's DaemonSet has not been read yet: if reading it fails, the line of its watch in the log says why, and what to do");
        (watch, is_listed)
    });
    let handler = Handler::new(policy, Box::new(lookup), Arc::clone(&metrics));
    let handler = Arc::new(match recorder {
        Some(recorder) => handler.with_events(recorder),
        None => handler,
    });

    let (admission, listening) = open("--listen", config.listen)?;
    let (admin, admin_listening) = open("--admin-listen", config.admin_listen)?;
    let (closing, tasks) = (Closing::default(), TaskTracker::new());
    let port = |transport, router, limits| Port {
        transport,
        router,
        limits,
        metrics: Arc::clone(&metrics),
        closing: closing.clone(),
        tasks: tasks.clone(),
    };
    let limits = Limits::default();
    let router = admission_router(handler, &limits, Arc::clone(&metrics));
    let admission_port = port(Transport::Tls(tls.acceptor()), router, limits);
    let router = admin_router(Arc::clone(&readiness), Arc::clone(&metrics));
    let admin_port = port(Transport::Plain, router, Limits::admin());
    drop(tasks.spawn(serve(admission, admission_port)));
    drop(tasks.spawn(serve(admin, admin_port)));
    // These tasks run until the last connection is closed, and end when this function drops the set.
    let mut background = JoinSet::new();
    drop(background.spawn(tls.poll()));
    if let Some((watch, is_listed)) = kured_watch {
        drop(background.spawn(watch_kured(watch, is_listed)));
    }
    drop(background.spawn(trust::poll(kube, trust, trust::READ_EVERY, defers)));
    let (listen, admin_listen) = (listening.to_string(), admin_listening.to_string());
    info!(listen, admin_listen, ?mode, %protect_kured, "listening");
    is_running.met();
    drop(background.spawn(async move { readiness.report(&listen, &admin_listen).await }));

    let signal = tokio::select! {
        signal = signals.next() => signal,
        Some(ended) = background.join_next() => return Err(Error::TaskEnded(ended.err())),
    };
    is_running.unmet("ending", "it is shutting down");
    info!(signal, delay = ?config.shutdown_delay, "shutting down");
    closing.begin();
    tokio::select! {
        () = close(config.shutdown_delay, &closing, &tasks) => Ok(()),
        signal = signals.next() => Err(Error::SecondSignal(signal)),
    }
}

/// Keeps serving for `delay`, so that clients can learn that the webhook is ending; then closes the ports and waits for open connections.
async fn close(delay: Duration, closing: &Closing, tasks: &TaskTracker) {
    tokio::time::sleep(delay).await;
    closing.stop();
    let _ = tasks.close();
    // Each connection bounds its own end; this bound is for a defect in that.
    let bound = Limits::default().drain + END_MARGIN;
    if tokio::time::timeout(bound, tasks.wait()).await.is_ok() {
        info!("stopped");
    } else {
        warn!("stopped with requests unanswered");
    }
}

/// Starts the task that writes Events as `instance`; it ends with the last recorder. `None`: no Events are written.
fn recorder(instance: Option<String>, kube: Client, metrics: &Arc<Metrics>) -> Option<Recorder> {
    let (recorder, writer) = Recorder::new(kube, events::SERVER, instance?, Arc::clone(metrics));
    drop(tokio::spawn(writer));
    Some(recorder)
}

/// The value of `--protect-kured`, for the log.
fn protection(policy: &Policy) -> &'static str {
    match (&policy.kured, policy.kured_lock()) {
        (None, _) => "Off",
        (Some(_), None) => "Marks",
        (Some(_), Some(_)) => "Lock",
    }
}

/// Watches kured's lock; `is_listed` is met after the first list.
async fn watch_kured(watch: Arc<KuredWatch>, is_listed: Condition) {
    let listed = async {
        watch.listed().await;
        is_listed.met();
    };
    let ((), ()) = tokio::join!(watch.run(), listed);
}

/// Opens a listening socket. Returns its address too, because port 0 asks for any free port.
fn open(flag: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Listen {
        flag,
        address,
        source,
    };
    let listener = listen::bind(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
