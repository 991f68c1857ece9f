//! A port that runs in the test's own process, with the test's limits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use clap::Parser;
use cordonhold_certs_dev::Issued;
use cordonhold_shared::admission::{Known, KuredSeen, Requester};
use cordonhold_webhook::{
    Args, Closing, Config, Handler, Limits, Lookup, Metrics, Port, Readiness, Transport, admin_router,
    admission_router, serve,
};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// Far above what anything here takes, so that a hang is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// A short limit, which a test can wait for.
pub(crate) const SHORT: Duration = Duration::from_millis(300);
const NEVER: Duration = Duration::from_hours(1);
/// More bytes than any socket buffers.
pub(crate) const LARGE: usize = 64 * 1_024 * 1_024;

pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) closing: Closing,
    pub(crate) tasks: TaskTracker,
    pub(crate) issued: Issued,
    /// Lets as many `POST /wait` end as it has permits.
    pub(crate) gate: Arc<Semaphore>,
    /// Gets a permit for each `POST /wait` that has begun.
    pub(crate) entered: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// The production limits, with all time limits out of the way.
pub(crate) fn timeless() -> Limits {
    Limits {
        handshake: NEVER,
        first_request: NEVER,
        headers: NEVER,
        body: NEVER,
        request: NEVER,
        write: NEVER,
        idle: NEVER,
        age: 2 * NEVER,
        drain: NEVER,
        ..Limits::default()
    }
}

/// Starts a port with HTTPS.
pub(crate) async fn start(limits: Limits) -> Served {
    let issued = cordonhold_certs_dev::issue(&["localhost".to_owned()]).unwrap();
    let chain = CertificateDer::pem_slice_iter(issued.cert_pem.as_bytes()).collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.unwrap(), key)
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let transport = Transport::Tls(TlsAcceptor::from(Arc::new(config)));
    listen(limits, transport, issued).await
}

pub(crate) async fn start_plain(limits: Limits) -> Served {
    let issued = cordonhold_certs_dev::issue(&["localhost".to_owned()]).unwrap();
    listen(limits, Transport::Plain, issued).await
}

async fn listen(limits: Limits, transport: Transport, issued: Issued) -> Served {
    let metrics = Arc::new(Metrics::new());
    let (gate, entered) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (closing, tasks) = (Closing::default(), TaskTracker::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = admission(&limits, &metrics).merge(routes(&gate, &entered));
    let port = Port {
        transport,
        router,
        limits,
        metrics: Arc::clone(&metrics),
        closing: closing.clone(),
        tasks: tasks.clone(),
    };
    drop(tasks.spawn(serve(listener, port)));
    Served {
        address,
        closing,
        tasks,
        issued,
        gate,
        entered,
        metrics,
    }
}

fn admission(limits: &Limits, metrics: &Arc<Metrics>) -> Router {
    let args = Args::parse_from([
        "cordonhold-webhook",
        "--tls-cert-file=-",
        "--tls-private-key-file=-",
    ]);
    let handler = Handler::new(Config::from(args).policy, Box::new(Nobody), Arc::clone(metrics));
    admission_router(Arc::new(handler), limits, Arc::clone(metrics))
}

fn routes(gate: &Arc<Semaphore>, entered: &Arc<Semaphore>) -> Router {
    let (gate, entered) = (Arc::clone(gate), Arc::clone(entered));
    let wait = async move || {
        entered.add_permits(1);
        gate.acquire().await.unwrap().forget();
        "waited\n"
    };
    Router::new()
        .route("/ok", get(async || "ok\n"))
        .route("/wait", post(wait))
        .route("/large", get(async || Body::from(vec![b'.'; LARGE])))
        .route("/panic", get(panicking))
}

async fn panicking() -> &'static str {
    panic!("on purpose")
}

/// A lookup without a cluster.
struct Nobody;

impl Lookup for Nobody {
    fn may<'a>(&'a self, _: &'static str, _: &'a Requester, _: &'a str) -> BoxFuture<'a, Known<bool>> {
        Box::pin(async { Known::Failed("there is no cluster".to_owned()) })
    }

    fn watched_kured_lock(&self) -> Known<KuredSeen> {
        Known::Failed("there is no cluster".to_owned())
    }

    fn kured_lock(&self) -> BoxFuture<'_, Known<KuredSeen>> {
        Box::pin(async { Known::Failed("there is no cluster".to_owned()) })
    }
}

impl Served {
    /// The metrics page.
    pub(crate) async fn metrics(&self) -> String {
        let request = http::Request::get("/metrics").body(Body::empty()).unwrap();
        let router = admin_router(Arc::new(Readiness::default()), Arc::clone(&self.metrics));
        let page = router
            .oneshot(request)
            .await
            .unwrap()
            .into_body()
            .collect()
            .await
            .unwrap();
        String::from_utf8(page.to_bytes().to_vec()).unwrap()
    }

    /// Waits until the metrics have this line.
    pub(crate) async fn counted(&self, line: &str) {
        let wanted = format!("cordonhold_webhook_{line}");
        let seen = async {
            while !self.metrics().await.lines().any(|seen| seen == wanted) {
                tokio::task::yield_now().await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, seen).await;
        assert!(in_time.is_ok(), "{wanted} is missing in {}", self.metrics().await);
    }

    pub(crate) async fn refused(&self, reason: &str) {
        self.counted(&format!("connections_refused_total{{reason=\"{reason}\"}} 1"))
            .await;
    }

    pub(crate) async fn rejected(&self, reason: &str) {
        self.counted(&format!("requests_rejected_total{{reason=\"{reason}\"}} 1"))
            .await;
    }

    pub(crate) async fn has_open(&self, connections: usize) {
        self.counted(&format!("connections {connections}")).await;
    }
}
