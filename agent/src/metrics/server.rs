//! The agent's HTTP endpoint: `/metrics`, `/livez`, `/readyz`, and `/healthz`, which is `/livez`.
//!
//! It is meant for a scraper and a kubelet: one request a connection, few connections, each with a short life.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cordonhold_rt::listen;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::Metrics;
use super::health::Said;

/// Further ones wait in the kernel's queue.
pub(super) const CONNECTIONS_MAX: usize = 32;
/// Longest life of a connection, the look at the sentinel included.
pub(crate) const CONNECTION_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a request's head: whoever is silent keeps no place from a probe.
const HEAD_MAX: Duration = Duration::from_secs(2);
const HEADERS_MAX: usize = 64;
/// hyper's least.
const BUFFER_MAX: usize = 8 * 1024;
/// After an accept error, mostly "too many open files": spinning would not free one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

const PLAIN: &str = "text/plain; charset=utf-8";

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
#[error(
    "failed to serve metrics on {host:?} port {port}: another program may have the port (with hostNetwork, any on the node): choose another with --metrics-port, an address with --metrics-host, or --metrics-port=0 for no metrics"
)]
pub struct ListenError {
    host: String,
    port: u16,
    source: io::Error,
}

/// Takes the port. An empty host is every address, of IPv6 and IPv4 where the node has both.
pub(crate) async fn listen(host: &str, port: u16) -> Result<TcpListener, ListenError> {
    open(host, port).await.map_err(|source| ListenError {
        host: host.to_owned(),
        port,
        source,
    })
}

async fn open(host: &str, port: u16) -> io::Result<TcpListener> {
    if host.is_empty() {
        return listen::bind(SocketAddr::from((listen::EVERY_ADDRESS, port)));
    }
    let mut result = Err(io::Error::other("the name has no address"));
    for address in lookup_host((host, port)).await? {
        result = listen::bind(address);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Serves for ever; `life` bounds each connection.
pub(crate) async fn serve(listener: TcpListener, metrics: Arc<Metrics>, life: Duration) -> Infallible {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let metrics = Arc::clone(&metrics);
                drop(tokio::spawn(async move {
                    if timeout(life, connection(stream, metrics)).await.is_err() {
                        debug!("a connection took too long");
                    }
                    drop(slot);
                }));
            }
            Err(error) => {
                warn!(
                    event = "metrics_accept_failed",
                    why = %error,
                    "failed to accept a connection for the metrics"
                );
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, metrics: Arc<Metrics>) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .header_read_timeout(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_MAX)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(|request: Request<Incoming>| {
                let metrics = Arc::clone(&metrics);
                async move { Ok::<_, Infallible>(answer(&request, &metrics).await) }
            }),
        );
    if let Err(error) = served.await {
        debug!(%error, "a connection ended");
    }
}

async fn answer(request: &Request<Incoming>, metrics: &Metrics) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return page(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET\n".to_owned());
    }
    match request.uri().path() {
        "/metrics" => match metrics.render(request.headers()).await {
            Ok(rendered) => page(StatusCode::OK, rendered.content_type, rendered.text),
            Err(_) => page(
                StatusCode::INTERNAL_SERVER_ERROR,
                PLAIN,
                "the metrics cannot be rendered\n".to_owned(),
            ),
        },
        "/livez" | "/healthz" => probe(&metrics.health.live(Instant::now())),
        "/readyz" => probe(&metrics.health.ready(Instant::now())),
        _ => page(
            StatusCode::NOT_FOUND,
            PLAIN,
            "here are /metrics, /livez and /readyz\n".to_owned(),
        ),
    }
}

fn probe(said: &Said) -> Response<Full<Bytes>> {
    let status = if said.is_well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    page(status, PLAIN, format!("{}\n", said.text))
}

fn page(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let _ = response
        .headers_mut()
        .insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}
