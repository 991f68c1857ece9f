//! A decision that panics is a denied review and a count, not a dropped connection.

#![expect(clippy::panic, reason = "the panic is the point")]

use std::sync::Arc;

use cordonhold_shared::admission::{
    Exempt, Known, KuredSeen, Mode, OnDelete, Policy, Requester, ServiceAccount,
};
use cordonhold_webhook::{Handler, Limits, Lookup, Metrics, Readiness, admin_router, admission_router};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

struct Panicking;

impl Lookup for Panicking {
    fn may<'a>(&'a self, _: &'static str, _: &'a Requester, _: &'a str) -> BoxFuture<'a, Known<bool>> {
        panic!("on purpose")
    }

    fn watched_kured_lock(&self) -> Known<KuredSeen> {
        panic!("on purpose")
    }

    fn kured_lock(&self) -> BoxFuture<'_, Known<KuredSeen>> {
        panic!("on purpose")
    }
}

#[tokio::test]
async fn a_panic_is_denied_with_its_uid_and_counted() {
    let agent = ServiceAccount {
        namespace: "n".to_owned(),
        name: "a".to_owned(),
    };
    let policy = Policy {
        modes: Mode::Enforce.into(),
        agent,
        exempt: Exempt::default(),
        on_delete: OnDelete::Flag,
        kured: None,
        replica: "webhook-0".to_owned(),
    };
    let metrics = Arc::new(Metrics::new());
    let handler = Handler::new(policy, Box::new(Panicking), Arc::clone(&metrics));
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "r-1", "kind": {"kind": "Node"}, "operation": "UPDATE", "userInfo": {},
            "oldObject": {"metadata": {"name": "a"}},
            "object": {"metadata": {"name": "a", "annotations": {"cordonhold.dev/cancel": "x y"}}},
        },
    });
    let request = http::Request::post("/validate")
        .header("content-type", "application/json; charset=utf-8")
        .body(axum::body::Body::from(review.to_string()))
        .unwrap();
    let answer = admission_router(Arc::new(handler), &Limits::default(), Arc::clone(&metrics))
        .oneshot(request)
        .await
        .unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer["response"]["uid"], "r-1");
    assert_eq!(answer["response"]["allowed"], false);
    assert_eq!(answer["response"]["auditAnnotations"]["reason"], "internal-error");

    let request = http::Request::get("/metrics")
        .body(axum::body::Body::empty())
        .unwrap();
    let page = admin_router(Arc::new(Readiness::default()), metrics)
        .oneshot(request)
        .await
        .unwrap();
    let page = page.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&page).contains("cordonhold_webhook_panics_total 1"));
}
