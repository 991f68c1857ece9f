//! The two routers: admission for the API server, and probes and metrics for everybody else.

mod body;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::handler::Question;
use crate::metrics::Rejection;
use crate::{Handler, Limits, Metrics, Readiness};
use body::Bodies;
pub(crate) use body::discard;

/// What `POST /validate` and `POST /mutate` need.
struct Admission {
    handler: Arc<Handler>,
    bodies: Bodies,
    metrics: Arc<Metrics>,
}

/// The router of the admission port: `POST /validate`, and `POST /mutate` for mode `defer`.
pub fn admission_router(handler: Arc<Handler>, limits: &Limits, metrics: Arc<Metrics>) -> Router {
    let admission = Admission {
        handler,
        bodies: Bodies::new(limits),
        metrics: Arc::clone(&metrics),
    };
    let router = Router::new()
        .route("/validate", post(validate))
        .route("/mutate", post(mutate))
        .with_state(Arc::new(admission));
    with_fallbacks(router, metrics)
}

/// The router of the admin port: `GET /livez`, `/readyz` and `/metrics`.
pub fn admin_router(readiness: Arc<Readiness>, metrics: Arc<Metrics>) -> Router {
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(render_metrics).with_state(Arc::clone(&metrics)));
    with_fallbacks(router, metrics)
}

fn with_fallbacks(router: Router, metrics: Arc<Metrics>) -> Router {
    let for_methods = Arc::clone(&metrics);
    router
        .fallback(move || async move { reject(&metrics, Rejection::NotFound) })
        .method_not_allowed_fallback(move || async move { reject(&for_methods, Rejection::Method) })
}

async fn validate(State(admission): State<Arc<Admission>>, request: Request) -> Response {
    answer(&admission, Question::Validate, request).await
}

async fn mutate(State(admission): State<Arc<Admission>>, request: Request) -> Response {
    answer(&admission, Question::Mutate, request).await
}

async fn answer(admission: &Admission, question: Question, request: Request) -> Response {
    match handle(admission, question, request).await {
        Ok(review) => ([(header::CONTENT_TYPE, "application/json")], review).into_response(),
        Err(rejection) => reject(&admission.metrics, rejection),
    }
}

/// The review with its response, or why the request is not answered with a review.
async fn handle(admission: &Admission, question: Question, request: Request) -> Result<Vec<u8>, Rejection> {
    let started = Instant::now();
    if !is_json(request.headers()) {
        return Err(Rejection::ContentType);
    }
    let body = admission.bodies.read(request.into_body()).await?;
    if !body.is_whole() {
        let bytes_max = admission.bodies.bytes_max();
        let response = admission
            .handler
            .handle_too_large(question, body.bytes(), bytes_max, started);
        return response.ok_or(Rejection::TooLarge);
    }
    let response = admission.handler.handle(question, body.bytes(), started).await;
    response.ok_or(Rejection::NoUid)
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

async fn readyz(State(readiness): State<Arc<Readiness>>) -> Response {
    let unmet = readiness.unmet();
    let (status, mut text) = if unmet.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        let text = format!("not ready: {}\n", unmet.join("; "));
        (StatusCode::SERVICE_UNAVAILABLE, text)
    };
    for warning in readiness.warnings() {
        text.extend(["warning: ", &warning, "\n"]);
    }
    (status, text).into_response()
}

async fn render_metrics(State(metrics): State<Arc<Metrics>>, headers: HeaderMap) -> Response {
    match metrics.render(&headers) {
        Ok(page) => ([(header::CONTENT_TYPE, page.content_type)], page.text).into_response(),
        Err(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics cannot be rendered\n",
        )
            .into_response(),
    }
}

/// Seconds after which the API server tries again. It does so after any 5xx that has this header.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// Counts a request that is not answered with a review, and answers it.
pub(crate) fn reject(metrics: &Metrics, rejection: Rejection) -> Response {
    metrics.rejected(rejection);
    rejection_response(rejection)
}

/// The answer to a request that is not answered with a review. The page lists them all.
fn rejection_response(rejection: Rejection) -> Response {
    let (status, text) = match rejection {
        Rejection::NotFound => (
            StatusCode::NOT_FOUND,
            "no such path: POST /validate and /mutate are on the admission port, GET /livez, /readyz and /metrics are on the admin port\n",
        ),
        Rejection::Method => (StatusCode::METHOD_NOT_ALLOWED, "this path takes another method\n"),
        Rejection::ContentType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/json\n"),
        Rejection::TooLarge => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body has more than 19 MiB, and no uid to answer to was found at its beginning\n",
        ),
        Rejection::Truncated => (StatusCode::BAD_REQUEST, "the body ended too early\n"),
        Rejection::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "the body took too long\n"),
        Rejection::NoUid => (
            StatusCode::BAD_REQUEST,
            "not an AdmissionReview, and no uid to answer to\n",
        ),
        Rejection::TooMany => (StatusCode::SERVICE_UNAVAILABLE, "too many requests at once\n"),
        Rejection::TooMuch => (
            StatusCode::SERVICE_UNAVAILABLE,
            "too many bytes of requests at once\n",
        ),
        Rejection::Timeout => (StatusCode::SERVICE_UNAVAILABLE, "the request took too long\n"),
        Rejection::Panic => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "a defect of cordonhold: its log has more\n",
        ),
    };
    let mut response = (status, text).into_response();
    if matches!(rejection, Rejection::TooMany | Rejection::TooMuch) {
        drop(response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lists_every_answer() {
        let manual = include_str!("../../docs/webhook.md");
        for &rejection in Rejection::ALL {
            let status = rejection_response(rejection).status().as_u16();
            let row = format!("| {status} | `{}` |", rejection.as_str());
            assert!(manual.contains(&row), "the page lacks {row}");
        }
    }
}
