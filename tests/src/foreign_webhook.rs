//! A mutating webhook of somebody else: an HTTPS server on loopback that changes each Node which it is asked about, as its path says.
//!
//! It makes one handshake at a time, which is enough for one API server.
//! Not here: its configuration at the API server, which says when it is asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use axum::extract::State;
use axum::routing::post;
use axum::serve::Listener;
use axum::{Json, Router};
use cordonhold_shared::keys;
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::tls;

/// What it does to a Node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It removes the annotation of an uncordon that is kept.
    Strips,
    /// It clears the cordon.
    Uncordons,
}

/// The server. It ends when it is dropped.
pub struct ForeignWebhook {
    address: SocketAddr,
    ca_bundle: String,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl ForeignWebhook {
    /// Starts the server on a free port, with a certificate of a CA of its own.
    pub async fn start() -> Result<Self> {
        let (acceptor, issued) = tls::acceptor()?;
        let tcp = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .context("failed to open a port on 127.0.0.1")?;
        let address = tcp.local_addr().context("failed to read a port")?;
        let asked = Arc::new(AtomicUsize::new(0));
        let router = Router::new()
            .route(Deed::Strips.path(), post(strip))
            .route(Deed::Uncordons.path(), post(uncordon))
            .with_state(Arc::clone(&asked));
        let listener = TlsListener { tcp, acceptor };
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("the foreign webhook has ended: {error}");
            }
        });
        Ok(Self {
            address,
            ca_bundle: issued.ca_bundle(),
            asked,
            task,
        })
    }

    /// The URL at which it does this.
    pub fn url(&self, deed: Deed) -> String {
        format!("https://{}{}", self.address, deed.path())
    }

    /// The CA bundle for its configuration.
    pub fn ca_bundle(&self) -> &str {
        &self.ca_bundle
    }

    /// How often it was asked so far.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for ForeignWebhook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Deed {
    fn path(self) -> &'static str {
        match self {
            Self::Strips => "/strip",
            Self::Uncordons => "/uncordon",
        }
    }
}

/// Accepts HTTPS.
struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, peer)) = self.tcp.accept().await else {
                tokio::time::sleep(tls::ACCEPT_PAUSE).await;
                continue;
            };
            // A client that fails in the handshake sees so itself.
            if let Ok(Ok(stream)) =
                tokio::time::timeout(tls::HANDSHAKE_TIMEOUT, self.acceptor.accept(stream)).await
            {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

async fn strip(State(asked): State<Arc<AtomicUsize>>, Json(review): Json<Value>) -> Json<Value> {
    let annotations = &review["request"]["object"]["metadata"]["annotations"];
    let is_there = annotations.get(keys::UNCORDON_WANTED).is_some();
    // A slash in a key is `~1` in a path (RFC 6901).
    let path = format!(
        "/metadata/annotations/{}",
        keys::UNCORDON_WANTED.replace('/', "~1")
    );
    answer(&asked, &review, is_there.then_some(path))
}

async fn uncordon(State(asked): State<Arc<AtomicUsize>>, Json(review): Json<Value>) -> Json<Value> {
    let is_cordoned = review["request"]["object"]["spec"]["unschedulable"] == true;
    let path = is_cordoned.then(|| "/spec/unschedulable".to_owned());
    answer(&asked, &review, path)
}

/// The review's answer, which removes this path from the Node, if there is one.
fn answer(asked: &AtomicUsize, review: &Value, removes: Option<String>) -> Json<Value> {
    let _ = asked.fetch_add(1, Ordering::Relaxed);
    let mut response = json!({ "uid": review["request"]["uid"], "allowed": true });
    if let Some(path) = removes {
        let patch = json!([{ "op": "remove", "path": path }]);
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(ByteString(patch.to_string().into_bytes()));
    }
    Json(json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response }))
}
