//! One request: counted, bounded in time, answered, whatever happens.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Version, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tower::ServiceExt;

use super::Serving;
use super::clock::{Clock, OpenRequest, Protocol};
use crate::metrics::Rejection;
use crate::routes::{discard, reject};

/// What hyper hands the requests of one connection to.
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
            let (mut response, place) = respond(request.map(Body::new), &serving).await;
            let is_leaving = serving.port.closing.lame_duck.is_cancelled() || clock.is_retiring();
            if is_leaving && clock.protocol() == Protocol::Http1 {
                let headers = response.headers_mut();
                drop(headers.insert(header::CONNECTION, HeaderValue::from_static("close")));
            }
            Ok(response.map(|body| {
                Body::new(OpenBody {
                    body,
                    splits: clock.protocol() == Protocol::Http2,
                    last: None,
                    _place: place,
                    _open: open,
                })
            }))
        })
    }
}

/// The response, and the place that it takes until it is sent.
async fn respond(request: Request<Body>, serving: &Serving) -> (Response, Option<OwnedSemaphorePermit>) {
    let port = &serving.port;
    let Ok(place) = Arc::clone(&serving.requests).try_acquire_owned() else {
        // HTTP/1.1 has no other way to be answered before the body is sent, and to keep the connection:
        // a new handshake would cost more than the answer.
        if request.version() < Version::HTTP_2 {
            discard(request.into_body(), &port.limits).await;
        }
        return (reject(&port.metrics, Rejection::TooMany), None);
    };
    let routed = AssertUnwindSafe(port.router.clone().oneshot(request)).catch_unwind();
    let response = match tokio::time::timeout(port.limits.request, routed).await {
        Ok(Ok(response)) => response.into_response(),
        Ok(Err(_)) => {
            port.metrics.panicked();
            reject(&port.metrics, Rejection::Panic)
        }
        Err(_) => reject(&port.metrics, Rejection::Timeout),
    };
    (response, Some(place))
}

/// The body of an answer, which holds its request open until it is sent.
///
/// Over HTTP/2 hyper takes a frame as soon as the peer has room for one byte of it, and keeps the rest. So the last byte goes
/// by itself: it is taken when the peer has room for all of them.
struct OpenBody {
    body: Body,
    splits: bool,
    last: Option<Bytes>,
    _place: Option<OwnedSemaphorePermit>,
    _open: OpenRequest,
}

impl HttpBody for OpenBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(last) = self.last.take() {
            return Poll::Ready(Some(Ok(Frame::data(last))));
        }
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let splits = self.splits;
        let frame = polled.map(|frame| {
            frame.map(|frame| {
                frame.map_data(|mut data| {
                    if splits && data.len() > 1 {
                        self.last = Some(data.split_off(data.len() - 1));
                    }
                    data
                })
            })
        });
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.last.is_none() && self.body.is_end_stream()
    }

    /// Asked for once, before the first frame.
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
