//! A rolling restart of two replicas under load, with a balancer between that learns of readiness late, as kube-proxy does.
//!
//! The clients keep connections as Go's `http.Transport` does for a POST: one that was closed meanwhile is replaced, and a request
//! is sent again only if nothing of it had been written. Anything else that goes wrong is a failed review.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::block_in_place;

use super::client::{ask, get, tls, trusting};
use super::port::PATIENCE;
use super::process::{Files, Webhook, issue};

/// How late the balancer learns that a replica's readiness has changed.
const LAG: Duration = Duration::from_secs(1);
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// The pause of each client between two reviews: a few clients are busy, a few mostly idle.
const PAUSES_MS: [u64; 8] = [1, 1, 2, 5, 20, 100, 200, 400];

/// Where the replicas are, and which of them the balancer sends new connections to.
#[derive(Default)]
struct View {
    replicas: [Mutex<Option<(SocketAddr, SocketAddr)>>; 2],
    ready: [Mutex<Option<SocketAddr>>; 2],
    next: AtomicUsize,
}

impl View {
    fn place(&self, index: usize, webhook: &Webhook) {
        *self.replicas[index].lock().unwrap() = Some((webhook.listen, webhook.admin));
    }

    fn choose(&self) -> Option<SocketAddr> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        (first..first + 2).find_map(|index| *self.ready[index % 2].lock().unwrap())
    }

    async fn shows(&self, index: usize, listen: SocketAddr) {
        let shown = async {
            while *self.ready[index].lock().unwrap() != Some(listen) {
                tokio::time::sleep(PROBE_EVERY).await;
            }
        };
        tokio::time::timeout(PATIENCE, shown).await.unwrap();
    }

    /// Probes a replica for ever, and takes over each result after [`LAG`].
    async fn watch(self: Arc<View>, index: usize) {
        let mut seen: VecDeque<(Instant, Option<SocketAddr>)> = VecDeque::new();
        loop {
            let replica = *self.replicas[index].lock().unwrap();
            let is_ready = match replica {
                Some((_, admin)) => is_ready(admin).await,
                None => false,
            };
            seen.push_back((
                Instant::now(),
                replica.filter(|_| is_ready).map(|(listen, _)| listen),
            ));
            while let Some((_, ready)) = seen.pop_front_if(|(at, _)| at.elapsed() >= LAG) {
                *self.ready[index].lock().unwrap() = ready;
            }
            tokio::time::sleep(PROBE_EVERY).await;
        }
    }
}

async fn is_ready(admin: SocketAddr) -> bool {
    match TcpStream::connect(admin).await {
        Ok(mut stream) => {
            ask(
                &mut stream,
                &get("/readyz").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"),
            )
            .await
            .status
                == 200
        }
        Err(_) => false,
    }
}

/// Passes each connection on to a replica that the view says is ready.
async fn balance(listener: TcpListener, view: Arc<View>) {
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let to = view.choose();
        drop(tokio::spawn(async move {
            if let Some(to) = to
                && let Ok(mut replica) = TcpStream::connect(to).await
            {
                // Either side may end as it likes: the client sees it.
                drop(copy_bidirectional(&mut client, &mut replica).await);
            }
        }));
    }
}

fn review(uid: &str) -> Bytes {
    let node = |unschedulable: bool| {
        json!({
            "metadata": {
                "name": "node-0", "uid": "n-1", "labels": {"cordonhold.dev/phase": "delaying"},
                "annotations": {"cordonhold.dev/holder": "n-1/2026-01-01T00:00:00.5Z", "cordonhold.dev/until": "9000-01-01T00:00:00Z"},
            },
            "spec": {"unschedulable": unschedulable},
        })
    };
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": uid, "kind": {"group": "", "version": "v1", "kind": "Node"}, "operation": "UPDATE", "name": "node-0",
            "userInfo": {"username": "controller"}, "oldObject": node(true), "object": node(false),
        },
    });
    Bytes::from(review.to_string())
}

/// A client with one connection, as an API server has it.
struct Client {
    balancer: SocketAddr,
    ca_pem: String,
    kept: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let stream = tls(self.balancer, trusting(&self.ca_pem))
            .await
            .map_err(|error| format!("handshake: {error}"))?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        drop(tokio::spawn(connection));
        Ok(sender)
    }

    /// Fails unless the answer is the denial of this review.
    async fn ask(&mut self, uid: &str) -> Result<(), String> {
        let mut request = Request::post("/validate?timeout=5s")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(review(uid)))
            .unwrap();
        let (answer, sender) = loop {
            let kept = match self.kept.take() {
                Some(mut kept) => kept.ready().await.is_ok().then_some(kept),
                None => None,
            };
            let is_kept = kept.is_some();
            let mut sender = match kept {
                Some(kept) => kept,
                None => self.connect().await?,
            };
            match sender.try_send_request(request).await {
                Ok(answer) => break (answer, sender),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if is_kept => request = unsent,
                    _ => return Err(format!("{}, kept: {is_kept}", error.into_error())),
                },
            }
        };
        let status = answer.status();
        let body = answer
            .into_body()
            .collect()
            .await
            .map_err(|error| error.to_string())?
            .to_bytes();
        self.kept = Some(sender);
        let answer: Value = serde_json::from_slice(&body).map_err(|error| format!("{status}: {error}"))?;
        let response = &answer["response"];
        let is_right = response["uid"] == uid && response["status"]["code"] == 403;
        is_right
            .then_some(())
            .ok_or_else(|| format!("{status}: {answer}"))
    }
}

/// Sends reviews one after another until the end. Returns how many succeeded, and what went wrong.
async fn load(mut client: Client, name: usize, is_over: Arc<AtomicBool>) -> (usize, Vec<String>) {
    let (mut right, mut wrong) = (0, Vec::new());
    while !is_over.load(Ordering::Relaxed) {
        match client.ask(&format!("{name}-{right}")).await {
            Ok(()) => right += 1,
            Err(error) => wrong.push(error),
        }
        tokio::time::sleep(Duration::from_millis(PAUSES_MS[name])).await;
    }
    (right, wrong)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_review_fails_while_two_replicas_are_restarted_in_turn() {
    let issued = issue();
    let files = Files::new(&issued);
    let start = || {
        block_in_place(|| {
            let (cert, key) = (files.path("tls.crt"), files.path("tls.key"));
            let mut webhook =
                Webhook::start_on(&cert, &key, &files, issued.clone(), &["--shutdown-delay=6s"]);
            webhook.ignore_log();
            webhook
        })
    };
    let mut replicas = [start(), start()];
    let view = Arc::new(View::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let balancer = listener.local_addr().unwrap();
    let mut helpers = vec![tokio::spawn(balance(listener, Arc::clone(&view)))];
    for (index, replica) in replicas.iter().enumerate() {
        view.place(index, replica);
        helpers.push(tokio::spawn(Arc::clone(&view).watch(index)));
        view.shows(index, replica.listen).await;
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..PAUSES_MS.len())
        .map(|name| {
            let client = Client {
                balancer,
                ca_pem: issued.ca_pem.clone(),
                kept: None,
            };
            tokio::spawn(load(client, name, Arc::clone(&is_over)))
        })
        .collect();
    for (index, replica) in replicas.iter_mut().enumerate() {
        replica.terminate();
        assert!(replica.wait().await.success());
        *replica = start();
        view.place(index, replica);
        view.shows(index, replica.listen).await;
    }
    is_over.store(true, Ordering::Relaxed);
    let (mut right, mut wrong) = (0, Vec::new());
    for client in clients {
        let (some_right, some_wrong) = client.await.unwrap();
        right += some_right;
        wrong.extend(some_wrong);
    }
    for helper in helpers {
        helper.abort();
    }
    println!("{right} reviews answered, {} failed", wrong.len());
    assert!(
        wrong.is_empty(),
        "{} of {}: {:?}",
        wrong.len(),
        right + wrong.len(),
        &wrong[..wrong.len().min(5)]
    );
    assert!(right >= 300, "only {right} reviews: that is no load");
}
