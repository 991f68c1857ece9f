//! The agent's HTTP endpoint: `/metrics`, `/livez`, `/readyz`, and `/healthz`, which is the same as `/livez`.
//!
//! It is meant for a scraper and a kubelet: few connections, one request on each, and a short time limit.
//! A failure never ends the agent: if it cannot listen on the port, it tries again for as long as it runs.
//! Not here: the contents of the answers ([`super`], [`super::health`]).

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cordonhold_rt::places::{Place, Places};
use cordonhold_rt::{listen, pause};
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::Metrics;
use super::health::Said;

/// Most connections at once. A further one replaces one that waits for its peer, or is closed if all are being answered.
pub(super) const CONNECTIONS_MAX: usize = 32;
/// Longest life of a connection, including the check of the sentinel.
pub(crate) const CONNECTION_MAX: Duration = Duration::from_secs(10);
/// Longest wait for the head of a request, so that a silent peer does not keep a probe out.
const HEAD_MAX: Duration = Duration::from_secs(2);
/// Most headers of a request.
const HEADERS_MAX: usize = 64;
/// The node's loopback address. IPv4 works also on a node whose pods have only IPv6.
const LOOPBACK: &str = "127.0.0.1";
/// Bytes of a connection's buffer: the least that hyper allows.
const BUFFER_MAX: usize = 8 * 1024;
/// The pause after a failed accept. It mostly means "too many open files", and trying at once would not help.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

const PLAIN: &str = "text/plain; charset=utf-8";

/// Serves on this address for ever, and also on the loopback address, where the DaemonSet's probes ask. Only processes in the same
/// network namespace reach the loopback. An empty host is every address, IPv6 and IPv4 if the node has both.
pub(crate) async fn run(host: &str, port: u16, metrics: &Arc<Metrics>) -> Infallible {
    let named = serve_on(host, port, metrics);
    // Listening on every address includes the loopback, and a name may resolve to it: then a second listener would fail.
    let is_elsewhere = |address: IpAddr| !address.is_unspecified() && !address.is_loopback();
    if host.parse().is_ok_and(is_elsewhere) {
        tokio::select! {
            never = named => never,
            never = serve_on(LOOPBACK, port, metrics) => never,
        }
    } else {
        named.await
    }
}

async fn serve_on(host: &str, port: u16, metrics: &Arc<Metrics>) -> Infallible {
    let listener = listen(host, port).await;
    serve(listener, Arc::clone(metrics), CONNECTION_MAX).await
}

/// Listens on the port, and tries again until that works. The first failure is logged, and then the success.
pub(super) async fn listen(host: &str, port: u16) -> TcpListener {
    let mut failures = 0;
    loop {
        match open(host, port).await {
            Ok(listener) => {
                if failures > 0 {
                    info!(
                        event = "metrics_served",
                        host, port, "metrics and probes are served now"
                    );
                }
                return listener;
            }
            Err(error) => {
                if failures == 0 {
                    warn!(
                        event = "metrics_unserved",
                        host,
                        port,
                        why = %error,
                        "failed to listen for metrics and probes: trying again for ever; another program may have the port \
                         (with hostNetwork, any on the node), or no interface has the address: \
                         choose another with --metrics-port or --metrics-host, or --metrics-port=0 for no metrics"
                    );
                }
                sleep(pause::before_retry(failures)).await;
                failures = failures.saturating_add(1);
            }
        }
    }
}

/// Listens on the first address of the host that works.
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

/// Serves connections for ever, each for at most `life`.
pub(crate) async fn serve(listener: TcpListener, metrics: Arc<Metrics>, life: Duration) -> Infallible {
    let places = Places::new(CONNECTIONS_MAX);
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Some(place) = places.take(peer.ip()) else {
                    debug!("closed a new connection: all others are being answered");
                    continue;
                };
                let metrics = Arc::clone(&metrics);
                drop(tokio::spawn(async move {
                    tokio::select! {
                        served = timeout(life, connection(stream, metrics, &place)) => {
                            if served.is_err() {
                                debug!("a connection took too long");
                            }
                        }
                        () = place.lost() => debug!("closed a connection: another took its place"),
                    }
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

async fn connection(stream: TcpStream, metrics: Arc<Metrics>, place: &Place) {
    let service = service_fn(|request: Request<Incoming>| {
        let metrics = Arc::clone(&metrics);
        place.works();
        async move {
            let answer = answer(&request, &metrics).await;
            // From here on the connection waits for its peer to read the answer, so another may take its place.
            place.waits();
            Ok::<_, Infallible>(answer)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .header_read_timeout(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        debug!(%error, "a connection ended");
    }
}

async fn answer(request: &Request<Incoming>, metrics: &Metrics) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return page(
            StatusCode::METHOD_NOT_ALLOWED,
            PLAIN,
            "only GET and HEAD are allowed\n".to_owned(),
        );
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
            "not found: try /metrics, /livez or /readyz\n".to_owned(),
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
    drop(
        response
            .headers_mut()
            .insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type)),
    );
    response
}
