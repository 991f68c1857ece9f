//! The accept loop, for both ports. Every wait in it is bounded, and so is the number of connections.
//!
//! It replaces `axum::serve`, which bounds neither handshakes nor headers. It offers HTTP/1.1 only, and every API server uses that if a
//! webhook offers nothing else.
//! Not here: what is answered ([`crate::routes`]).

mod clock;
mod connection;
mod requests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use cordonhold_rt::places::Places;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::metrics::Refusal;
use crate::{Limits, Metrics};

/// What the port speaks.
#[derive(Clone)]
pub enum Transport {
    /// HTTP.
    Plain,
    /// HTTPS.
    Tls(TlsAcceptor),
}

/// Ends the ports in two steps, [`begin`](Closing::begin) and [`stop`](Closing::stop). Clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Closing {
    lame_duck: CancellationToken,
    stop: CancellationToken,
}

impl Closing {
    /// From now on each answer closes its connection; new connections are still accepted.
    pub fn begin(&self) {
        self.lame_duck.cancel();
    }

    /// Closes the ports, and each connection once it has answered.
    pub fn stop(&self) {
        self.lame_duck.cancel();
        self.stop.cancel();
    }
}

/// One port: what it serves, and within which limits.
pub struct Port {
    /// HTTP or HTTPS.
    pub transport: Transport,
    /// Answers the requests.
    pub router: Router,
    /// The bounds of this port.
    pub limits: Limits,
    /// Counts connections and requests.
    pub metrics: Arc<Metrics>,
    /// Tells the port to end.
    pub closing: Closing,
    /// Tracks the task of each connection, so that the end can wait for them.
    pub tasks: TaskTracker,
}

/// A port with its bounded places for connections and requests.
struct Serving {
    port: Port,
    connections: Places,
    /// Has a permit for each connection, whether it has its place or has lost it.
    open: Arc<Semaphore>,
    requests: Semaphore,
}

/// Accepts connections until [`Closing::stop`]. Those that are open then end by themselves, within [`Limits::drain`].
pub async fn serve(listener: TcpListener, port: Port) {
    let serving = Arc::new(Serving {
        connections: Places::new(port.limits.connections),
        open: Arc::new(Semaphore::new(port.limits.connections + port.limits.leaving)),
        requests: Semaphore::new(port.limits.requests),
        port,
    });
    let stop = serving.port.closing.stop.clone();
    let accepting = async {
        loop {
            // Whoever has lost its place ends as soon as it runs.
            let permit = Arc::clone(&serving.open).acquire_owned().await.ok();
            match listener.accept().await {
                Ok((stream, peer)) => admit(stream, peer, &serving, permit),
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    warn!(%error, "failed to accept a connection");
                    serving.port.metrics.refused(Refusal::AcceptError);
                    tokio::time::sleep(serving.port.limits.accept_pause).await;
                }
            }
        }
    };
    let _ = stop.run_until_cancelled(accepting).await;
    if let Err(error) = admit_waiting(listener, &serving) {
        warn!(%error, "lost the connections that were waiting to be accepted");
    }
}

/// Whether an error concerns only the connection that was about to be accepted, and not the port.
fn is_the_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// Accepts the connections that the kernel has already established: closing the socket would reset them.
fn admit_waiting(listener: TcpListener, serving: &Arc<Serving>) -> io::Result<()> {
    let listener = listener.into_std()?;
    for _ in 0..serving.port.limits.connections {
        match listener.accept() {
            Ok((stream, peer)) => {
                stream.set_nonblocking(true)?;
                let permit = Arc::clone(&serving.open).try_acquire_owned().ok();
                admit(TcpStream::from_std(stream)?, peer, serving, permit);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn admit(stream: TcpStream, peer: SocketAddr, serving: &Arc<Serving>, permit: Option<OwnedSemaphorePermit>) {
    let Some(place) = serving.connections.take(peer.ip()) else {
        serving.port.metrics.refused(Refusal::TooMany);
        return;
    };
    let serving = Arc::clone(serving);
    let open = serving.port.metrics.connection_opened();
    drop(serving.port.tasks.clone().spawn(async move {
        let place = Arc::new(place);
        tokio::select! {
            // First, so that a connection without a place does no more work.
            biased;
            () = place.lost() => serving.port.metrics.refused(Refusal::Displaced),
            () = connection::serve(stream, &serving, &place) => {}
        }
        drop((open, place, permit));
    }));
}
