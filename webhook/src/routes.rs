//! The two routers: admission for the API server, and probes and metrics for everybody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use crate::{Judge, Metrics};

/// The API server takes requests of 3 MiB, and a review holds two objects.
const MAX_BODY_BYTES: usize = 8 * 1_024 * 1_024;
const BODY_TIMEOUT: Duration = Duration::from_secs(2);
/// Behind the bounds of body and lookup, and below the 5 s of the webhook configuration.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(4_500);

/// Whether the API server may be sent here.
#[derive(Debug, Default)]
pub struct Readiness(AtomicBool);

impl Readiness {
    pub fn set_ready(&self, is_ready: bool) {
        self.0.store(is_ready, Ordering::SeqCst);
    }

    fn is_ready(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// `POST /validate`.
pub fn admission_router(judge: Arc<Judge>) -> Router {
    Router::new()
        .route("/validate", post(validate))
        .with_state(judge)
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            REQUEST_TIMEOUT,
        ))
        .layer(CatchPanicLayer::new())
}

/// `GET /livez`, `/readyz` and `/metrics`.
pub fn admin_router(readiness: Arc<Readiness>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(render_metrics).with_state(metrics))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            REQUEST_TIMEOUT,
        ))
        .layer(CatchPanicLayer::new())
}

async fn validate(State(judge): State<Arc<Judge>>, request: Request) -> Response {
    let started = Instant::now();
    if !is_json(request.headers()) {
        return plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/json\n");
    }
    let body = match read_body(request.into_body()).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    match judge.answer(&body, started).await {
        Some(answer) => ([(header::CONTENT_TYPE, "application/json")], answer).into_response(),
        None => plain(
            StatusCode::BAD_REQUEST,
            "not an AdmissionReview, and no uid to answer to\n",
        ),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

async fn read_body(body: Body) -> Result<axum::body::Bytes, Response> {
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(plain(
            StatusCode::PAYLOAD_TOO_LARGE,
            "a review has at most 8 MiB\n",
        )),
        Ok(Err(_)) => Err(plain(StatusCode::BAD_REQUEST, "the body ended too early\n")),
        Err(_) => Err(plain(StatusCode::REQUEST_TIMEOUT, "the body took too long\n")),
    }
}

async fn readyz(State(readiness): State<Arc<Readiness>>) -> Response {
    if readiness.is_ready() {
        plain(StatusCode::OK, "ok\n")
    } else {
        plain(StatusCode::SERVICE_UNAVAILABLE, "starting or shutting down\n")
    }
}

async fn render_metrics(State(metrics): State<Arc<Metrics>>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match metrics.render() {
        Ok(page) => ([(header::CONTENT_TYPE, OPEN_METRICS)], page).into_response(),
        Err(_) => plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics cannot be rendered\n",
        ),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    (status, text).into_response()
}
