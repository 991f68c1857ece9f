//! The admission webhook: an HTTPS server around [`cordonhold_shared::admission::decide`].
//!
//! It observes and answers; it decides nothing of its own, and writes nothing to the cluster but Events about denials.

mod args;
mod events;
mod judge;
mod lookup;
mod metrics;
mod review;
mod routes;
mod server;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cordonhold_rt::{client, crypto, logging, shutdown};
use kube::Client;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

pub use args::{Args, EvidenceArgs, ModeArg};
pub use events::Recorder;
pub use judge::Judge;
pub use lookup::Lookup;
pub use metrics::Metrics;
pub use routes::{Readiness, admin_router, admission_router};
pub use tls::{Pair, PairError};

/// Requests that are still being answered get this long at the end; none takes longer than the API server waits.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the webhook could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Crypto(crypto::AlreadyInstalled),
    #[error(transparent)]
    Logging(logging::LoggingError),
    #[error("failed to start the runtime")]
    Runtime(#[source] std::io::Error),
    #[error(transparent)]
    Certificate(tls::PairError),
    #[error(transparent)]
    Tls(tls::ConfigError),
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
}

/// Serves until SIGTERM or SIGINT; a second signal ends the graceful part.
pub async fn run(args: &Args) -> Result<(), Error> {
    let mut signals = shutdown::Signals::listen().map_err(Error::Signals)?;
    let metrics = Arc::new(Metrics::new());
    let pair = Pair::new(&args.tls_cert_file, &args.tls_private_key_file);
    let certificate =
        tls::ReloadingCertificate::load(pair, Arc::clone(&metrics)).map_err(Error::Certificate)?;
    let acceptor = tls::acceptor(&certificate).map_err(Error::Tls)?;
    let kube = client::build(args.kubeconfig.as_deref())
        .await
        .map_err(Error::Client)?;
    let policy = args.policy();
    let lookup = lookup::ClusterLookup::new(kube.clone(), policy.kured.as_ref());
    let judge = Judge::new(policy, Box::new(lookup), Arc::clone(&metrics));
    let judge = Arc::new(with_events(judge, &args.evidence, kube, &metrics));

    let (admission, listening) = listen("--listen", args.listen).await?;
    let (admin, admin_listening) = listen("--admin-listen", args.admin_listen).await?;
    let readiness = Arc::new(Readiness::default());
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let server = |listener, transport, router| {
        server::serve(
            listener,
            transport,
            router,
            Arc::clone(&metrics),
            tasks.clone(),
            stop.clone(),
        )
    };
    let admission = tokio::spawn(server(
        admission,
        server::Transport::Tls(acceptor),
        admission_router(judge),
    ));
    let admin_router = admin_router(Arc::clone(&readiness), Arc::clone(&metrics));
    let admin = tokio::spawn(server(admin, server::Transport::Plain, admin_router));
    let poller = tokio::spawn(certificate.poll());
    readiness.set_ready(true);
    info!(listen = %listening, admin_listen = %admin_listening, mode = ?args.mode, protect_kured = args.protect_kured, "ready");

    let signal = signals.next().await;
    info!(signal, delay = ?args.shutdown_delay, "shutting down");
    readiness.set_ready(false);
    tokio::select! {
        () = tokio::time::sleep(args.shutdown_delay) => {}
        signal = signals.next() => warn!(signal, "second signal: closing at once"),
    }
    stop.cancel();
    let _ = tasks.close();
    tokio::select! {
        () = tasks.wait() => info!("stopped"),
        () = tokio::time::sleep(DRAIN_TIMEOUT) => warn!("stopped with requests unanswered"),
        signal = signals.next() => warn!(signal, "second signal: stopped with requests unanswered"),
    }
    for task in [admission, admin, poller] {
        task.abort();
    }
    Ok(())
}

/// Tells denials by Events too, unless the flags say no. The task that writes them ends with the judge.
fn with_events(judge: Judge, args: &EvidenceArgs, kube: Client, metrics: &Arc<Metrics>) -> Judge {
    if args.no_events {
        return judge;
    }
    let (recorder, writer) = Recorder::new(kube, args.instance.clone(), Arc::clone(metrics));
    drop(tokio::spawn(writer));
    judge.with_events(recorder)
}

/// The socket and its address: port 0 asks for any free one.
async fn listen(flag: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Listen {
        flag,
        address,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
