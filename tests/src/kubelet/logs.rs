//! Answers the API server as the server of a kubelet does: `kubectl logs`, with `--follow`, `--tail`, and a `--since` that is before the log's begin,
//! because its lines have no times here. The log has all processes of the pod.
//!
//! Not here: its other options; they are refused.

use std::future::ready;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use futures_util::stream;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{PodName, Shared, lock};

/// What `kubectl logs` may ask for: these, or these with this one value, which the API server adds itself.
const PLAYED: [(&str, Option<&str>); 4] = [
    ("follow", None),
    ("sinceSeconds", None),
    ("tailLines", None),
    ("stream", Some("All")),
];
/// How often a log that is followed is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Most connections that wait for their handshake: the API server opens one for each `kubectl logs`.
const WAITING_MAX: usize = 16;
/// Longest handshake, so that a silent peer does not keep the next one out.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);

/// Where connections of the API server to a node go.
pub(super) type Connections = mpsc::Sender<UnixStream>;

/// Where to send connections, and what serves them for ever.
pub(super) fn server(shared: Arc<Shared>) -> Result<(Connections, impl Future<Output = Result<()>>)> {
    // The API server does not check it, as on many clusters.
    let issued = cordonhold_certs_dev::issue(&["localhost".to_owned()])
        .context("failed to issue the kubelets' certificate")?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(issued.cert_pem.as_bytes())
        .collect::<Result<_, _>>()
        .context("failed to read the kubelets' certificate")?;
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes())
        .context("failed to read the kubelets' key")?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .context("failed to set up TLS")?;
    let (sender, connections) = mpsc::channel(WAITING_MAX);
    let listener = TlsListener {
        connections,
        acceptor: TlsAcceptor::from(Arc::new(config)),
    };
    let router = Router::new()
        .route("/containerLogs/{namespace}/{pod}/{container}", get(logs))
        .with_state(shared);
    let serving = async move {
        // It ends with its listener, which never does.
        axum::serve(listener, router)
            .await
            .context("failed to serve logs")
    };
    Ok((sender, serving))
}

async fn logs(
    State(shared): State<Arc<Shared>>,
    Path((namespace, name, _)): Path<(String, String, String)>,
    uri: Uri,
) -> Response {
    let query = uri.query().unwrap_or_default();
    if let Some(other) = unplayed(query) {
        let played = PLAYED.map(|(name, _)| name).join(", ");
        return refuse(
            StatusCode::BAD_REQUEST,
            &format!("the log's option {other} is not played here, only {played}"),
        );
    }
    let pod = PodName { namespace, name };
    let path = shared.log_path(&pod);
    let log = match std::fs::read(&path) {
        Ok(log) => log,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return refuse(
                StatusCode::NOT_FOUND,
                &format!("the pod {pod} has no process yet"),
            );
        }
        Err(error) => {
            return refuse(
                StatusCode::INTERNAL_SERVER_ERROR,
                &format!("failed to read {}: {error}", path.display()),
            );
        }
    };
    let since = value(query, "sinceSeconds").and_then(|seconds| seconds.parse().ok());
    if since.is_some_and(|seconds| !is_younger(&path, Duration::from_secs(seconds))) {
        return refuse(
            StatusCode::BAD_REQUEST,
            "the log is older than sinceSeconds, and its lines have no times here",
        );
    }
    let tail = value(query, "tailLines").and_then(|count| count.parse().ok());
    let start = tail.map_or(0, |count| begin_of_last(&log, count));
    let shown = Bytes::copy_from_slice(&log[start..]);
    if value(query, "follow") != Some("true") {
        return Body::from(shown).into_response();
    }
    let rest = Follow {
        shared,
        pod,
        path,
        at: log.len(),
    };
    let rest = stream::unfold(rest, async |mut rest: Follow| Some((rest.next().await?, rest)));
    let all = stream::StreamExt::chain(stream::once(ready(Ok(shown))), rest);
    Body::from_stream(all).into_response()
}

fn is_younger(path: &std::path::Path, age: Duration) -> bool {
    let created = std::fs::metadata(path).and_then(|metadata| metadata.created());
    created.is_ok_and(|created| created.elapsed().is_ok_and(|elapsed| elapsed < age))
}

fn refuse(status: StatusCode, why: &str) -> Response {
    (status, format!("{why}\n")).into_response()
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    pairs(query)
        .find(|(other, _)| *other == name)
        .map(|(_, value)| value)
}

/// The first option that would be ignored.
fn unplayed(query: &str) -> Option<&str> {
    let is_played = |name: &str, value: &str| {
        let known = PLAYED.iter().find(|(other, _)| *other == name);
        known.is_some_and(|(_, only)| only.is_none_or(|only| only == value))
    };
    pairs(query)
        .find(|(name, value)| !is_played(name, value))
        .map(|(name, _)| name)
}

/// Where the last `count` lines begin.
fn begin_of_last(log: &[u8], count: usize) -> usize {
    let ends = log.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let begins: Vec<usize> = ends
        .map(|(at, _)| at + 1)
        .filter(|begin| *begin < log.len())
        .collect();
    match begins.len().checked_sub(count) {
        _ if count == 0 => log.len(),
        None => 0,
        Some(at) => begins.get(at).copied().unwrap_or(0),
    }
}

/// What is written to a log from now on.
struct Follow {
    shared: Arc<Shared>,
    pod: PodName,
    path: PathBuf,
    at: usize,
}

impl Follow {
    /// The next part; `None` once the pod has no process and all is read.
    async fn next(&mut self) -> Option<std::io::Result<Bytes>> {
        loop {
            let runs = self.runs();
            match self.read() {
                Ok(part) if part.is_empty() && !runs => return None,
                Ok(part) if part.is_empty() => tokio::time::sleep(LOOK_EVERY).await,
                Ok(part) => {
                    self.at += part.len();
                    return Some(Ok(part.into()));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn read(&self) -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(&self.path)?;
        let _: u64 = file.seek(SeekFrom::Start(self.at.try_into().unwrap_or(u64::MAX)))?;
        let mut part = Vec::new();
        let _: usize = file.read_to_end(&mut part)?;
        Ok(part)
    }

    fn runs(&self) -> bool {
        let nodes = self.shared.nodes();
        let mut slots = nodes.values().filter_map(|node| node.slots.get(&self.pod));
        slots.any(|slot| lock(slot).is_some())
    }
}

/// Takes over connections, with TLS.
struct TlsListener {
    connections: mpsc::Receiver<UnixStream>,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<UnixStream>;
    type Addr = ();

    async fn accept(&mut self) -> (Self::Io, ()) {
        loop {
            let Some(stream) = self.connections.recv().await else {
                return std::future::pending().await;
            };
            let accepted = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.acceptor.accept(stream)).await;
            if let Ok(Ok(stream)) = accepted {
                return (stream, ());
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{begin_of_last, unplayed, value};

    #[test]
    fn an_option_that_would_be_ignored_is_named() {
        for (query, expected) in [
            ("", None),
            ("follow=true&tailLines=5&stream=All", None),
            ("stream=Stderr", Some("stream")),
            ("follow=true&timestamps=true", Some("timestamps")),
            ("previous=true", Some("previous")),
        ] {
            assert_eq!(unplayed(query), expected, "{query}");
        }
        assert_eq!(value("follow=true&tailLines=5", "tailLines"), Some("5"));
        assert_eq!(value("follow=true", "tailLines"), None);
    }

    #[test]
    fn the_last_lines_are_the_last_lines() {
        for (log, count, expected) in [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc\n", 3, "a\nb\nc\n"),
            ("a\nb\nc\n", 9, "a\nb\nc\n"),
            ("a\nb\nc", 1, "c"),
            ("a\n", 0, ""),
            ("", 5, ""),
        ] {
            let begin = begin_of_last(log.as_bytes(), count);
            assert_eq!(&log[begin..], expected, "{log:?} {count}");
        }
    }
}
