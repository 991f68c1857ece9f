//! Answers one request, within its time, even if there are too many or the code panics.
//!
//! Not here: what is answered ([`crate::routes`]).

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use tower::ServiceExt;

use super::Serving;
use super::clock::Clock;
use crate::metrics::Rejection;
use crate::routes::{discard, reject};

/// The service to which hyper hands the requests of one connection.
pub(super) struct Requests {
    serving: Arc<Serving>,
    clock: Arc<Clock>,
}

impl Requests {
    pub(super) fn new(serving: Arc<Serving>, clock: Arc<Clock>) -> Requests {
        Requests { serving, clock }
    }
}

impl hyper::service::Service<Request<Incoming>> for Requests {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let open = self.clock.open_request();
        let (serving, clock) = (Arc::clone(&self.serving), Arc::clone(&self.clock));
        Box::pin(async move {
            let mut response = respond(request.map(Body::new), &serving).await;
            let is_leaving = serving.port.closing.lame_duck.is_cancelled() || clock.is_retiring();
            if is_leaving {
                let headers = response.headers_mut();
                drop(headers.insert(header::CONNECTION, HeaderValue::from_static("close")));
            }
            // From here on hyper has the answer, and the clock bounds how long the peer may leave it unread.
            drop(open);
            Ok(response)
        })
    }
}

async fn respond(request: Request<Body>, serving: &Serving) -> Response {
    let port = &serving.port;
    let Ok(_place) = serving.requests.try_acquire() else {
        // In HTTP/1.1 a connection can be kept only if the whole body has been read, and a new handshake would cost more.
        discard(request.into_body(), &port.limits).await;
        return reject(&port.metrics, Rejection::TooMany);
    };
    let routed = AssertUnwindSafe(port.router.clone().oneshot(request)).catch_unwind();
    match tokio::time::timeout(port.limits.request, routed).await {
        Ok(Ok(response)) => response.into_response(),
        Ok(Err(_)) => {
            port.metrics.panicked();
            reject(&port.metrics, Rejection::Panic)
        }
        Err(_) => reject(&port.metrics, Rejection::Timeout),
    }
}
