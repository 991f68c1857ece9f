//! A proxy between one agent and the API server: it notes each request, and disturbs one. To the agent it is the API server.
//!
//! It speaks HTTP/1.1 over TLS on loopback. The agent's credentials are passed on as they are.
//! Not here: which step is disturbed and how, see [`super::fault`].

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::body::{Body, Bytes, to_bytes};
use cordonhold_rt::client::{CONNECT_TIMEOUT, READ_TIMEOUT, WRITE_TIMEOUT};
use futures_util::stream::{StreamExt as _, iter, unfold};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::{Client, Config};
use rustix::process::Signal;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::fault::{Fault, LATE, PAUSE};
use super::step::{Step, What};
use super::{Cell, clock, locked};
use crate::identity::Endpoint;
use crate::machine::{Machine, replace};
use crate::tls;

/// Largest body of a request. Those of agents have some kilobytes.
const BODY_MAX: usize = 1024 * 1024;
/// Largest answer that is truncated. A list of this cluster has some hundred kilobytes.
const ANSWER_MAX: usize = 16 * 1024 * 1024;
/// Longest time until an agent has refused a certificate that it cannot trust yet.
const REFUSED_BOUND: Duration = Duration::from_mins(1);
/// Most requests that are kept for a report.
const NOTED_MAX: usize = 500;

/// A request that the proxy has seen.
#[derive(Clone, Debug)]
pub(super) struct Noted {
    pub(super) step: Step,
    /// The status that the API server gave, if the request was forwarded and answered.
    pub(super) given: Option<u16>,
    /// What the agent was told; empty while it is not.
    pub(super) told: String,
}

impl fmt::Display for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.step)?;
        match self.given {
            Some(code) => write!(f, "{code}")?,
            None => f.write_str("not answered")?,
        }
        if self.given.map(|code| code.to_string()).as_ref() != Some(&self.told) {
            write!(f, ", told {}", self.told)?;
        }
        Ok(())
    }
}

/// The proxy. It ends when it is dropped.
pub(super) struct Proxy {
    endpoint: Endpoint,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    node: String,
    machine: Machine,
    /// The file that sets the agent's clock.
    clock: PathBuf,
    /// The file with the CA that the agent trusts.
    ca_file: PathBuf,
    /// What makes handshakes. Another one ends every connection.
    acceptor: watch::Sender<TlsAcceptor>,
    /// How the handshakes with it ended.
    handshakes: watch::Sender<Handshakes>,
    upstreams: Vec<Client>,
    state: Mutex<State>,
    /// How many requests were answered.
    answered: watch::Sender<usize>,
    /// What becomes of the watches that are open.
    watches: watch::Sender<Watches>,
    /// Whether requests wait before they are forwarded.
    is_held: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    noted: Vec<Noted>,
    last_write: Option<What>,
    plan: Option<Cell>,
}

/// How many handshakes have ended how, since there was another certificate.
#[derive(Clone, Copy, Debug, Default)]
struct Handshakes {
    refused: usize,
    done: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watches {
    Go,
    End,
    TooOld,
    Silent,
}

/// A request, so that it can be sent more than once.
struct Asked {
    /// Its place among those noted.
    number: usize,
    what: What,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

type Answer = Result<Response<Body>, io::Error>;

/// A client of this API server without credentials of its own.
pub(super) fn upstream(endpoint: &Endpoint) -> Result<Client> {
    let pem = std::fs::read(&endpoint.ca_file)
        .with_context(|| format!("failed to read {}", endpoint.ca_file.display()))?;
    let ca = CertificateDer::from_pem_slice(&pem).context("failed to read a CA")?;
    let mut config = Config::new(endpoint.url.parse().context("failed to read a URL")?);
    config.root_cert = Some(vec![ca.to_vec()]);
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.write_timeout = Some(WRITE_TIMEOUT);
    config.reset_reader_on_write = true;
    Client::try_from(config).context("failed to build a client")
}

impl Proxy {
    /// Starts a proxy for the agent of this machine, which forwards to these API servers in turn. It writes its CA into this directory.
    pub(super) async fn start(machine: Machine, directory: &Path, upstreams: Vec<Client>) -> Result<Self> {
        let (acceptor, issued) = tls::acceptor()?;
        let node = machine.node().to_owned();
        let ca_file = directory.join(format!("{node}.ca.crt"));
        std::fs::write(&ca_file, issued.ca_pem)
            .with_context(|| format!("failed to write {}", ca_file.display()))?;
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .context("failed to open a port on 127.0.0.1")?;
        let address = listener.local_addr().context("failed to read a port")?;
        let shared = Arc::new(Shared {
            machine,
            clock: directory.join(format!("{node}.clock")),
            ca_file: ca_file.clone(),
            acceptor: watch::channel(acceptor).0,
            handshakes: watch::channel(Handshakes::default()).0,
            node,
            upstreams,
            state: Mutex::default(),
            answered: watch::channel(0).0,
            watches: watch::channel(Watches::Go).0,
            is_held: watch::channel(false).0,
        });
        Ok(Self {
            endpoint: Endpoint {
                url: format!("https://{address}"),
                ca_file,
            },
            task: tokio::spawn(accept(listener, Arc::clone(&shared))),
            shared,
        })
    }

    /// The file that sets the agent's clock.
    pub(super) fn clock(&self) -> &Path {
        &self.shared.clock
    }

    /// Where the agent finds it.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Lets this fault happen when this step comes next.
    pub(super) fn plan(&self, cell: Cell) {
        locked(&self.shared.state).plan = Some(cell);
    }

    /// Waits until the planned step has come. If its fault is one of all agents, every request then waits until [`Self::go_on`].
    pub(super) async fn wait_held(&self, bound: Duration) -> Result<()> {
        let mut is_held = self.shared.is_held.subscribe();
        let held = tokio::time::timeout(bound, is_held.wait_for(|is_held| *is_held)).await;
        drop(
            held.context("the step never came")?
                .context("the proxy has ended")?,
        );
        Ok(())
    }

    /// Lets what waits go on.
    pub(super) fn go_on(&self) {
        let _ = self.shared.is_held.send_replace(false);
    }

    /// Whether what was planned has happened.
    pub(super) fn has_happened(&self) -> bool {
        locked(&self.shared.state).plan.is_none()
    }

    /// Waits until the agent has refused the certificate of another CA, and then trusted it.
    pub(super) async fn wait_trusted(&self, bound: Duration) -> Result<()> {
        let trusted = self
            .shared
            .ended(bound, |ended| ended.refused > 0 && ended.done > 0)
            .await;
        trusted.with_context(|| format!("the agent of {} does not trust the other CA", self.shared.node))
    }

    /// All requests so far, in the order in which they came.
    pub(super) fn noted(&self) -> Vec<Noted> {
        locked(&self.shared.state).noted.clone()
    }

    /// Waits until the API server has accepted such a write, whatever the agent was told.
    pub(super) async fn wait_written(&self, what: What, bound: Duration) -> Result<()> {
        let mut answered = self.shared.answered.subscribe();
        let is_written = |_: &usize| {
            let state = locked(&self.shared.state);
            let mut noted = state.noted.iter();
            noted.any(|noted| noted.step.what == what && noted.given.is_some_and(is_success))
        };
        let written = tokio::time::timeout(bound, answered.wait_for(is_written)).await;
        let what = Step::new(what, None);
        let in_vain = || format!("waited {bound:?} in vain for {} to {what}", self.shared.node);
        drop(written.with_context(in_vain)?.context("the proxy has ended")?);
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn is_success(code: u16) -> bool {
    (200..300).contains(&code)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(stream, Arc::clone(&shared)))),
            Err(_) => tokio::time::sleep(tls::ACCEPT_PAUSE).await,
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut acceptors = shared.acceptor.subscribe();
    let acceptor = acceptors.borrow_and_update().clone();
    let stream = tokio::time::timeout(tls::HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
    if acceptors.has_changed().unwrap_or(true) {
        return;
    }
    let Ok(Ok(stream)) = stream else {
        shared.handshakes.send_modify(|ended| ended.refused += 1);
        return;
    };
    shared.handshakes.send_modify(|ended| ended.done += 1);
    let service = service_fn(move |request| Arc::clone(&shared).take(request));
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // A connection that is cut ends with an error.
        _ = served => {}
        _ = acceptors.changed() => {}
    }
}

impl Shared {
    /// Answers a request. An error cuts the connection.
    async fn take(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        let body = to_bytes(Body::new(body), BODY_MAX).await;
        let body = body.map_err(io::Error::other)?;
        let what = What::of(&self.node, &parts.method, &parts.uri, &body);
        let (number, fault) = self.note(what);
        let asked = Asked {
            number,
            what,
            method: parts.method,
            uri: parts.uri,
            headers: parts.headers,
            body,
        };
        if fault.is_some_and(Fault::is_shared) {
            let _ = self.is_held.send_replace(true);
        }
        let mut is_held = self.is_held.subscribe();
        drop(is_held.wait_for(|is_held| !is_held).await);
        // A task of its own: what has reached the proxy goes on when the agent dies.
        let answered = tokio::spawn(async move {
            let answer = match fault {
                None => self.forward(&asked).await,
                Some(fault) => Arc::clone(&self).disturb(fault, asked).await,
            };
            self.told(number, fault, &answer);
            answer
        });
        answered.await.map_err(io::Error::other)?
    }

    /// Notes a request, and says which fault happens to it.
    fn note(&self, what: What) -> (usize, Option<Fault>) {
        let mut state = locked(&self.state);
        let step = Step::new(what, state.last_write);
        let cell = state.plan.filter(|cell| cell.step == step);
        if cell.is_some() {
            state.plan = None;
        }
        let number = state.noted.len();
        if number < NOTED_MAX {
            state.noted.push(Noted {
                step,
                given: None,
                told: String::new(),
            });
        }
        (number, cell.map(|cell| cell.fault))
    }

    /// Notes what the agent is told.
    fn told(&self, number: usize, fault: Option<Fault>, answer: &Answer) {
        let told = match answer {
            Ok(response) => response.status().as_u16().to_string(),
            Err(error) => error.to_string(),
        };
        if let Some(noted) = locked(&self.state).noted.get_mut(number) {
            noted.told = fault.map_or(told.clone(), |fault| format!("{told} ({})", fault.name()));
        }
        self.answered.send_modify(|count| *count += 1);
    }

    async fn disturb(self: Arc<Self>, fault: Fault, asked: Asked) -> Answer {
        match fault {
            Fault::KilledBefore => {
                self.kill().await;
                cut()
            }
            Fault::KilledAfter => {
                drop(self.forward(&asked).await);
                self.kill().await;
                cut()
            }
            Fault::Paused => {
                let answer = self.forward(&asked).await;
                self.pause().await;
                answer
            }
            Fault::CutBefore => cut(),
            Fault::CutAfter => {
                drop(self.forward(&asked).await);
                cut()
            }
            Fault::Delayed => {
                tokio::time::sleep(LATE).await;
                self.forward(&asked).await
            }
            Fault::LandsLate => {
                drop(tokio::spawn(async move {
                    tokio::time::sleep(LATE).await;
                    drop(self.forward(&asked).await);
                }));
                cut()
            }
            Fault::Twice => {
                drop(self.forward(&asked).await);
                self.forward(&asked).await
            }
            Fault::Answered(code) => refusal(code),
            Fault::AnsweredAfter(code) => {
                drop(self.forward(&asked).await);
                refusal(code)
            }
            Fault::Page => page(),
            Fault::Truncated => truncated(self.forward(&asked).await?).await,
            Fault::WatchesCut => self.disturb_watches(Watches::End, &asked).await,
            Fault::WatchesTooOld => self.disturb_watches(Watches::TooOld, &asked).await,
            Fault::WatchesSilent => self.disturb_watches(Watches::Silent, &asked).await,
            Fault::ClockAhead => self.set_clock(clock::AHEAD, &asked).await,
            Fault::ClockBehind => self.set_clock(clock::BEHIND, &asked).await,
            Fault::CaChanged => self.change_ca(&asked).await,
            // They do not happen to a request of one agent.
            Fault::KilledInReboot
            | Fault::RebootFails
            | Fault::RebootDoesNothing
            | Fault::ApiServerStopped
            | Fault::ApiServerPaused
            | Fault::EtcdStopped
            | Fault::EtcdPaused
            | Fault::EtcdLeaderStopped
            | Fault::EtcdLeaderPaused
            | Fault::WebhookDead
            | Fault::WebhookIgnored
            | Fault::WebhookDeleted
            | Fault::WebhookAhead
            | Fault::WebhookBehind
            | Fault::ServerLags
            | Fault::ServerFrozen => self.forward(&asked).await,
        }
    }

    async fn set_clock(&self, offset: &str, asked: &Asked) -> Answer {
        clock::set(&self.clock, offset).map_err(io::Error::other)?;
        self.forward(asked).await
    }

    /// Forwards the request, ends every connection, and serves a certificate of another CA from now on. As a kubelet does, replaces the file
    /// with the CA later: once the agent has refused that certificate.
    async fn change_ca(self: &Arc<Self>, asked: &Asked) -> Answer {
        drop(self.forward(asked).await);
        let (acceptor, issued) = tls::acceptor().map_err(io::Error::other)?;
        drop(self.acceptor.send_replace(acceptor));
        let _ = self.handshakes.send_replace(Handshakes::default());
        let shared = Arc::clone(self);
        drop(tokio::spawn(async move {
            let refused = shared.ended(REFUSED_BOUND, |ended| ended.refused > 0).await;
            let replaced = refused
                .context("nobody refused the certificate of another CA")
                .and_then(|()| replace(&shared.ca_file, &issued.ca_pem));
            if let Err(error) = replaced {
                eprintln!("faults: {error:#}");
            }
        }));
        cut()
    }

    /// Waits until handshakes have ended like that.
    async fn ended(&self, bound: Duration, like_that: impl FnMut(&Handshakes) -> bool) -> Result<()> {
        let mut handshakes = self.handshakes.subscribe();
        let ended = tokio::time::timeout(bound, handshakes.wait_for(like_that)).await;
        drop(
            ended
                .with_context(|| format!("waited {bound:?} in vain"))?
                .context("the proxy has ended")?,
        );
        Ok(())
    }

    async fn disturb_watches(&self, watches: Watches, asked: &Asked) -> Answer {
        let _ = self.watches.send_replace(watches);
        self.forward(asked).await
    }

    /// Kills the agent and starts it again, as a kubelet does.
    async fn kill(&self) {
        if let Err(error) = self.machine.restart_agent().await {
            eprintln!("faults: {error:#}");
        }
    }

    /// Stops the agent, and lets it go on later, whether it is still there or not.
    async fn pause(&self) {
        let machine = self.machine.again();
        if machine.signal_agent(Signal::STOP).await.is_err() {
            return;
        }
        drop(tokio::spawn(async move {
            tokio::time::sleep(PAUSE).await;
            drop(machine.signal_agent(Signal::CONT).await);
        }));
    }

    async fn forward(&self, asked: &Asked) -> Answer {
        let mut request = Request::new(kube::client::Body::from(asked.body.to_vec()));
        request.method_mut().clone_from(&asked.method);
        request.uri_mut().clone_from(&asked.uri);
        request.headers_mut().clone_from(&asked.headers);
        for name in [header::HOST, header::CONNECTION] {
            drop(request.headers_mut().remove(name));
        }
        let upstream = self.upstreams.get(asked.number % self.upstreams.len().max(1));
        let upstream = upstream.ok_or_else(|| io::Error::other("no API server"))?;
        let response = upstream.send(request).await.map_err(io::Error::other)?;
        let (mut parts, body) = response.into_parts();
        for name in [header::TRANSFER_ENCODING, header::CONNECTION] {
            drop(parts.headers.remove(name));
        }
        self.given(asked, parts.status);
        let mut body = Body::new(body);
        if asked.what.is_watch() {
            body = self.watched(body);
        }
        Ok(Response::from_parts(parts, body))
    }

    /// Notes what the API server answered.
    fn given(&self, asked: &Asked, status: StatusCode) {
        let mut state = locked(&self.state);
        if status.is_success() && asked.what.is_write() {
            state.last_write = Some(asked.what);
        }
        if let Some(noted) = state.noted.get_mut(asked.number) {
            noted.given = Some(status.as_u16());
        }
        drop(state);
        self.answered.send_modify(|count| *count += 1);
    }

    /// The events of a watch, until something is done to the watches.
    fn watched(&self, body: Body) -> Body {
        let start = (body.into_data_stream(), self.watches.subscribe(), false);
        Body::from_stream(unfold(start, async |(mut events, mut watches, is_over)| {
            if is_over {
                return None;
            }
            tokio::select! {
                biased;
                changed = watches.changed() => {
                    let now = *watches.borrow_and_update();
                    let last = match (changed, now) {
                        (Ok(()), Watches::Silent) => std::future::pending().await,
                        (Ok(()), Watches::TooOld) => Ok(Bytes::from(too_old())),
                        _ => Err(io::Error::other("cut")),
                    };
                    Some((last, (events, watches, true)))
                }
                event = events.next() => event.map(|event| {
                    (event.map_err(io::Error::other), (events, watches, false))
                }),
            }
        }))
    }
}

fn cut() -> Answer {
    Err(io::Error::other("cut"))
}

/// What the API server answers with this status.
fn refusal(code: u16) -> Answer {
    let reason = match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    let retry = u32::from(code == 429);
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": "a fault that was made", "details": { "retryAfterSeconds": retry },
    });
    // A 404 of something on the way, which does not know the API.
    let text = if code == 404 {
        "404 page not found\n".to_owned()
    } else {
        status.to_string()
    };
    let kind = if code == 404 {
        "text/plain"
    } else {
        "application/json"
    };
    let mut response = Response::builder()
        .status(code)
        .header(header::CONTENT_TYPE, kind);
    if retry > 0 {
        response = response.header(header::RETRY_AFTER, retry);
    }
    response.body(Body::from(text)).map_err(io::Error::other)
}

fn page() -> Answer {
    let page = "<!doctype html><title>Sign in</title>";
    let response = Response::builder().header(header::CONTENT_TYPE, "text/html");
    response.body(Body::from(page)).map_err(io::Error::other)
}

/// The first half of this answer. The connection ends within it. A watch is cut before its first event.
async fn truncated(answer: Response<Body>) -> Answer {
    let (parts, body) = answer.into_parts();
    let whole = if parts.headers.contains_key(header::CONTENT_LENGTH) {
        to_bytes(body, ANSWER_MAX).await.map_err(io::Error::other)?
    } else {
        Bytes::new()
    };
    let half = whole.slice(..whole.len() / 2);
    let pieces = [Ok(half), Err(io::Error::other("cut"))];
    Ok(Response::from_parts(parts, Body::from_stream(iter(pieces))))
}

/// The event of a watch whose version the API server no longer has.
fn too_old() -> String {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410, "reason": "Expired",
        "message": "too old resource version",
    });
    format!("{}\n", json!({ "type": "ERROR", "object": status }))
}
