//! Sends one review again and again over connections that are kept, as an API server does.
//!
//! Closed loop: each connection sends the next review when it has its answer, so what is measured is the capacity. Open loop (`--rate`): reviews are due at
//! a constant rate, whether or not others are answered, and a latency runs from when its review was due. A server that stands still cannot hide that
//! by making us wait ("coordinated omission"). If we stand still ourselves, because somebody else has our core, the latencies of that time are left out
//! (`stall.rs`).

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use cordonhold_rt::duration;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio_rustls::TlsConnector;

use crate::latency::{LONGEST, Latencies};
use crate::stall::Stalls;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What the servers answer is a hundred times smaller.
const ANSWER_MAX: usize = 1_048_576;

/// Send one review again and again, and print the latencies as one object of JSON
#[derive(clap::Args)]
pub(crate) struct SendArgs {
    /// Where the server listens
    #[arg(long, value_name = "ADDRESS")]
    address: SocketAddr,
    /// The path of the request
    #[arg(long, value_name = "PATH", default_value = "/validate")]
    path: String,
    /// The CA of the server's certificate, in PEM. The certificate must name the address
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// The review
    #[arg(long, value_name = "FILE")]
    body: PathBuf,
    /// Connections
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
    /// How long to send
    #[arg(long = "for", value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    time: Duration,
    /// Reviews a second. Without it, as many as the connections can
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
}

pub(crate) fn run(args: &SendArgs) -> Result<()> {
    // One thread: the load has a core of its own, and shares no lock.
    // It never sleeps there (`watch`): to wake a sleeping core takes a server longer than to send its answer, above all on a virtual machine.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    LocalSet::new().block_on(&runtime, send(args))
}

async fn send(args: &SendArgs) -> Result<()> {
    let body =
        std::fs::read(&args.body).with_context(|| format!("failed to read {}", args.body.display()))?;
    let review = Review {
        path: args.path.clone(),
        host: args.address.to_string(),
        body: Bytes::from(body),
    };
    let connector = TlsConnector::from(Arc::new(client_config(args)?));
    let mut connections = Vec::new();
    for _ in 0..args.connections {
        connections.push(Connection::open(args.address, &connector).await?);
    }
    let due = Rc::new(Due {
        begin: Instant::now(),
        time: args.time,
        every: args.rate.map(|rate| Duration::from_secs(1) / rate),
        next: Cell::new(0),
    });
    let seen = Rc::new(Seen {
        latencies: RefCell::new(Latencies::new()?),
        unproven: RefCell::default(),
    });
    let watching = tokio::task::spawn_local(watch(Rc::clone(&seen)));
    let mut sending = JoinSet::new();
    for mut connection in connections {
        let (due, seen, review) = (Rc::clone(&due), Rc::clone(&seen), review.clone());
        drop(sending.spawn_local(async move { connection.send_all(&due, &seen, &review).await }));
    }
    while let Some(ended) = sending.join_next().await {
        ended.context("a connection's task ended")?;
    }
    while !seen.unproven.borrow().is_empty() {
        tokio::task::yield_now().await;
    }
    watching.abort();
    let all = seen.latencies.borrow();
    let measured = all.measured(due.begin.elapsed());
    println!("{}", serde_json::to_string(&measured)?);
    if let Some(why) = all.why() {
        eprintln!("the first failure: {why}");
    }
    Ok(())
}

/// What was answered.
struct Seen {
    latencies: RefCell<Latencies>,
    /// When each of the last reviews was due, and its latency, until it is known whether we stood still meanwhile.
    unproven: RefCell<Vec<(Instant, Duration)>>,
}

/// Keeps the thread from sleeping, and counts what was answered while it ran.
async fn watch(seen: Rc<Seen>) {
    let mut stalls = Stalls::begin();
    loop {
        tokio::task::yield_now().await;
        stalls.look();
        let mut latencies = seen.latencies.borrow_mut();
        for (due, latency) in seen.unproven.borrow_mut().drain(..) {
            if stalls.is_after(due) {
                latencies.answered(latency);
            } else {
                latencies.disturbed();
            }
        }
    }
}

fn client_config(args: &SendArgs) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let cas = CertificateDer::pem_file_iter(&args.ca)
        .with_context(|| format!("failed to read {}", args.ca.display()))?;
    for ca in cas {
        roots.add(ca?).context("failed to take a CA")?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("no TLS 1.3")?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// The request that is sent.
#[derive(Clone)]
struct Review {
    path: String,
    host: String,
    body: Bytes,
}

impl Review {
    fn request(&self) -> Result<http::Request<Full<Bytes>>> {
        let request = http::Request::post(&self.path)
            .header(http::header::HOST, &self.host)
            .header(http::header::CONTENT_TYPE, "application/json");
        Ok(request.body(Full::new(self.body.clone()))?)
    }
}

/// When the next review is due.
struct Due {
    begin: Instant,
    time: Duration,
    /// `None`: at once.
    every: Option<Duration>,
    next: Cell<u32>,
}

impl Due {
    /// Waits until the next review is due, and returns when that was. `None`: there is no further one.
    async fn next(&self) -> Option<Instant> {
        let Some(every) = self.every else {
            let now = Instant::now();
            return (now.duration_since(self.begin) < self.time).then_some(now);
        };
        let number = self.next.get();
        self.next.set(number + 1);
        let after = every * number;
        if after >= self.time {
            return None;
        }
        let due = self.begin + after;
        // A timer of tokio is late by up to a millisecond, which is longer than most answers take.
        while Instant::now() < due {
            tokio::task::yield_now().await;
        }
        Some(due)
    }
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    async fn open(address: SocketAddr, connector: &TlsConnector) -> Result<Self> {
        let open = async {
            let stream = TcpStream::connect(address).await.context("failed to connect")?;
            stream.set_nodelay(true)?;
            let name = ServerName::IpAddress(address.ip().into());
            let stream = connector
                .connect(name, stream)
                .await
                .context("failed to make TLS")?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // It ends with the sender. An error is the request's too.
            drop(tokio::task::spawn_local(async move { drop(connection.await) }));
            Ok(Self { sender })
        };
        tokio::time::timeout(CONNECT_TIMEOUT, open)
            .await
            .with_context(|| format!("no connection to {address} within {CONNECT_TIMEOUT:?}"))?
    }

    async fn send_all(&mut self, due: &Due, seen: &Seen, review: &Review) {
        while let Some(due) = due.next().await {
            match self.send(review).await {
                Ok(()) => seen.unproven.borrow_mut().push((due, due.elapsed())),
                Err(why) => {
                    seen.latencies.borrow_mut().failed(&why);
                    if self.sender.is_closed() {
                        break;
                    }
                }
            }
        }
    }

    async fn send(&mut self, review: &Review) -> Result<()> {
        let answer = async {
            self.sender.ready().await?;
            let answer = self.sender.send_request(review.request()?).await?;
            ensure!(
                answer.status() == http::StatusCode::OK,
                "status {}",
                answer.status()
            );
            let body = http_body_util::Limited::new(answer.into_body(), ANSWER_MAX);
            let body = body.collect().await.map_err(|error| anyhow::anyhow!("{error}"))?;
            ensure!(!body.to_bytes().is_empty(), "an empty answer");
            Ok(())
        };
        match tokio::time::timeout(LONGEST, answer).await {
            Ok(answered) => answered,
            Err(_) => bail!("no answer within {LONGEST:?}"),
        }
    }
}
