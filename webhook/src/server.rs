//! The accept loop, for both ports. Every wait in it is bounded, and so is the number of connections.
//!
//! `axum::serve` bounds neither handshakes nor headers, which is why the loop is ours. HTTP/1.1 only: the API server
//! asks for nothing more, and HTTP/2 is a wide door.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::Metrics;
use crate::metrics::Refusal;

/// On each port. An idle TLS connection costs about 21 KiB, so this is some 20 MiB at worst.
const MAX_CONNECTIONS: usize = 1_024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// From the first wait for a request until its headers are complete, so an idle connection ends after it too.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The API server sends about ten.
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 16 * 1_024;
/// After an accept error, mostly "too many open files": spinning would not free one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// What the port speaks.
#[derive(Clone)]
pub(crate) enum Transport {
    Plain,
    Tls(TlsAcceptor),
}

/// Accepts until `stop`, then lets each connection finish its request. Ends when it no longer accepts.
pub(crate) async fn serve(
    listener: TcpListener,
    transport: Transport,
    router: Router,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "failed to accept a connection");
                metrics.refused(Refusal::AcceptError);
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            metrics.refused(Refusal::TooMany);
            continue;
        };
        let (transport, router, stop) = (transport.clone(), router.clone(), stop.clone());
        let metrics = Arc::clone(&metrics);
        drop(tasks.spawn(async move {
            let open = metrics.connection_opened();
            connection(stream, transport, router, &metrics, stop).await;
            drop((open, slot));
        }));
    }
}

async fn connection(
    stream: TcpStream,
    transport: Transport,
    router: Router,
    metrics: &Metrics,
    stop: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "failed to set TCP_NODELAY");
    }
    match transport {
        Transport::Plain => http(stream, router, stop).await,
        Transport::Tls(acceptor) => {
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => http(stream, router, stop).await,
                Ok(Err(error)) => {
                    debug!(%error, "failed TLS handshake");
                    metrics.refused(Refusal::Handshake);
                }
                Err(_) => metrics.refused(Refusal::HandshakeTimeout),
            }
        }
    }
}

async fn http<S>(stream: S, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
    );
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        debug!(%error, "connection ended");
    }
}
