//! The server of the pages: on loopback, read-only, under a path that nobody can guess.
//!
//! Any page in the user's browser can send requests to loopback. So a request counts only with the secret path, and with a `Host` of
//! loopback, which a foreign name that was pointed here (DNS rebinding) does not have. Nothing is written for any request.
//! Not here: what the pages show (`parts`).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST,
    REFERRER_POLICY, TRANSFER_ENCODING, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::Stream;
use futures_util::stream;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Snapshot, parts};
use crate::output;

/// Most open connections: some windows of one browser, each with one that stays open. A further one is closed at once.
const CONNECTIONS: usize = 32;
/// Longest time until the head of a request is there.
const HEADERS: Duration = Duration::from_secs(5);
/// Most bytes of a head.
const HEAD_BYTES: usize = 16 * 1024;
/// Longest life of a connection. A browser whose stream ends opens another, and so does one for its next page.
const AGE: Duration = Duration::from_secs(600);
/// Shortest time between two updates of a page: people do not read faster.
const UPDATE_PAUSE: Duration = Duration::from_millis(500);
/// Pause after an error on accept, mostly "too many open files".
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// What all requests share.
#[derive(Clone)]
pub(super) struct Site {
    port: u16,
    token: Arc<str>,
    shown: Receiver<Arc<Snapshot>>,
}

impl Site {
    pub(super) fn new(port: u16, token: String, shown: Receiver<Arc<Snapshot>>) -> Site {
        Site {
            port,
            token: token.into(),
            shown,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/{}/", self.port, self.token)
    }

    /// Whether this `Host` is ours. A browser sends the name that it was told to go to.
    fn is_own(&self, host: Option<&HeaderValue>) -> bool {
        let own = ["127.0.0.1", "localhost"].map(|name| format!("{name}:{}", self.port));
        host.is_some_and(|host| own.iter().any(|own| own.as_bytes() == host.as_bytes()))
    }
}

/// What a page shows: the fleet, or a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Fleet,
    Node(String),
}

/// Serves until this is dropped.
pub(super) async fn serve(listener: TcpListener, site: Site) -> Infallible {
    let router = router(site);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                output::note(&format!(
                    "{}: failed to accept a connection: {error}",
                    crate::PROGRAM
                ));
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        drop(tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS)
                .max_buf_size(HEAD_BYTES)
                .serve_connection(TokioIo::new(stream), service);
            // What a browser does to its connection is no news.
            drop(tokio::time::timeout(AGE, connection).await);
            drop(place);
        }));
    }
}

fn router(site: Site) -> Router {
    Router::new()
        .route("/{token}/", get(fleet))
        .route("/{token}/live", get(live))
        .route("/{token}/node/{name}", get(node))
        .route("/{token}/node/{name}/live", get(live_node))
        .layer(middleware::from_fn_with_state(site.clone(), guarded))
        .with_state(site)
}

/// Lets pass what comes from a page of ours, or from the user's own hand.
async fn guarded(State(site): State<Site>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
    let of_token = request.uri().path().split('/').nth(1);
    let mut answer = if !site.is_own(headers.get(HOST)) {
        (
            StatusCode::FORBIDDEN,
            "the Host of this request is not loopback\n",
        )
            .into_response()
    } else if of_token != Some(&*site.token) {
        (StatusCode::NOT_FOUND, "there is no such page\n").into_response()
    } else if request.method() != Method::GET {
        (
            StatusCode::METHOD_NOT_ALLOWED,
            [(ALLOW, "GET")],
            "nothing can be written here\n",
        )
            .into_response()
    } else if has_body {
        (StatusCode::PAYLOAD_TOO_LARGE, "no body is read here\n").into_response()
    } else {
        next.run(request).await
    };
    let is_refused = !answer.status().is_success();
    let headers = answer.headers_mut();
    drop(headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store")));
    drop(headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer")));
    drop(headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")));
    if is_refused {
        // An unread body must not become the next request.
        drop(headers.insert(CONNECTION, HeaderValue::from_static("close")));
    }
    answer
}

async fn fleet(State(site): State<Site>) -> Response {
    page(&site, &Page::Fleet).await
}

async fn node(State(site): State<Site>, Path((_, name)): Path<(String, String)>) -> Response {
    page(&site, &Page::Node(name)).await
}

/// A whole page, which shows all that is known now, also without scripts.
async fn page(site: &Site, page: &Page) -> Response {
    // The first page waits until the Nodes are there; the browser would show an empty one.
    let mut shown = site.shown.clone();
    let first = shown.wait_for(|snapshot| snapshot.fleet.is_some());
    drop(tokio::time::timeout(HEADERS, first).await);
    let snapshot = Arc::clone(&site.shown.borrow());
    // The path is the secret; the nonce is one too, so that no text of others becomes a script.
    let nonce = &site.token;
    let html = parts::whole(page, &snapshot, nonce);
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let status = if parts::is_there(page, &snapshot) {
        StatusCode::OK
    } else {
        StatusCode::NOT_FOUND
    };
    let mut answer = Response::new(Body::from(html));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    drop(headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        drop(headers.insert(CONTENT_SECURITY_POLICY, policy));
    }
    answer
}

async fn live(State(site): State<Site>) -> impl IntoResponse {
    updates(site.shown, Page::Fleet)
}

async fn live_node(State(site): State<Site>, Path((_, name)): Path<(String, String)>) -> impl IntoResponse {
    updates(site.shown, Page::Node(name))
}

/// The parts of a page, again and again as they change. It ends with the connection, after [`AGE`] at the latest.
fn updates(shown: Receiver<Arc<Snapshot>>, page: Page) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let next = move |(mut shown, ends): (Receiver<Arc<Snapshot>>, Instant)| {
        let page = page.clone();
        async move {
            timeout_at(ends, shown.changed()).await.ok()?.ok()?;
            let snapshot = Arc::clone(&shown.borrow_and_update());
            let text = parts::as_json(&page, &snapshot);
            sleep(UPDATE_PAUSE).await;
            Some((Ok(Event::default().data(text)), (shown, ends)))
        }
    };
    let mut shown = shown;
    // What is known already goes out at once: it may be newer than the page.
    shown.mark_changed();
    Sse::new(stream::unfold((shown, Instant::now() + AGE), next)).keep_alive(KeepAlive::new())
}

#[cfg(test)]
mod tests;
