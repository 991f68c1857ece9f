//! Which trust problems are reported, where, and how often. The API server here is a function.

use std::convert::Infallible;
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use k8s_openapi::ByteString;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::tls::Certificate;

const SERVICE: &str = "cordonhold-webhook.cordonhold.svc";
const OFTEN: Duration = Duration::from_millis(5);
/// Far above what anything here takes, so that a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(60);
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events?";
const OWN_TOKEN: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews?";
const CONFIGURATION: &str =
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/cordonhold";

/// An API server with a configuration whose CA can be changed; it keeps the Events that are written.
struct Cluster {
    client: Client,
    ca_bundle: Arc<Mutex<Option<Vec<u8>>>>,
    events: mpsc::UnboundedReceiver<Value>,
}

fn configuration(ca_bundle: Option<Vec<u8>>) -> Value {
    let mut client = json!({"service": {"name": "cordonhold-webhook", "namespace": "cordonhold"}});
    if let Some(bundle) = ca_bundle {
        client["caBundle"] = serde_json::to_value(ByteString(bundle)).unwrap();
    }
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "cordonhold", "uid": "u-1", "managedFields": [
            {"manager": "kustomize-controller", "operation": "Apply", "time": "2026-11-28T02:00:00Z", "fieldsV1": {}},
        ]},
        "webhooks": [{"name": "nodes.cordonhold.dev", "clientConfig": client, "sideEffects": "None", "admissionReviewVersions": ["v1"],
                      "matchConditions": [{"name": "some", "expression": "true"}]}],
    })
}

fn cluster() -> Cluster {
    let ca_bundle = Arc::new(Mutex::new(None));
    let (written, events) = mpsc::unbounded_channel();
    let now = Arc::clone(&ca_bundle);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (now, written) = (Arc::clone(&now), written.clone());
        async move {
            let (method, path) = (request.method().clone(), request.uri().to_string());
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let answer = if path == OWN_TOKEN {
                json!({"status": {"userInfo": {"username": "system:serviceaccount:cordonhold:cordonhold-webhook"}}})
            } else if method == Method::POST {
                assert_eq!(path, EVENTS);
                let event: Value = serde_json::from_slice(&body).unwrap();
                written.send(event.clone()).unwrap();
                event
            } else {
                assert_eq!(path, CONFIGURATION);
                configuration(now.lock().unwrap().clone())
            };
            let response = Response::new(Body::from(answer.to_string().into_bytes()));
            Ok::<_, Infallible>(response)
        }
    });
    Cluster {
        client: Client::new(service, "default"),
        ca_bundle,
        events,
    }
}

/// Waits until what `/readyz` shows, unmet conditions and warnings, is as expected.
async fn until(readiness: &Readiness, is_so: impl Fn(&[String], &[String]) -> bool) {
    let waiting = async {
        while !is_so(&readiness.unmet(), &readiness.warnings()) {
            tokio::time::sleep(OFTEN).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(
        in_time.is_ok(),
        "{:?} {:?}",
        readiness.unmet(),
        readiness.warnings()
    );
}

#[tokio::test]
async fn found_e3_a_ca_that_is_taken_away_is_told_once_with_who_did_it() {
    let mut cluster = cluster();
    let metrics = Arc::new(Metrics::new());
    let readiness = Arc::new(Readiness::default());
    let client = cluster.client.clone();
    let (recorder, writer) = Recorder::new(client, events::SERVER, "w".to_owned(), Arc::clone(&metrics));
    let issued = cordonhold_certs_dev::issue(&[SERVICE.to_owned()]).unwrap();
    let other = cordonhold_certs_dev::issue(&[SERVICE.to_owned()]).unwrap();
    let certificate = Certificate::from_pem(issued.cert_pem.as_bytes(), issued.key_pem.as_bytes());
    let installation = Installation {
        configuration: "cordonhold".to_owned(),
        namespace: "cordonhold".to_owned(),
    };
    let trust = Arc::new(Trust::new(installation, &readiness, &metrics, Some(recorder)));
    trust.slot().install(certificate.unwrap());
    let set = |pem: Option<&str>| {
        *cluster.ca_bundle.lock().unwrap() = pem.map(|pem| pem.as_bytes().to_vec());
    };
    set(Some(&issued.ca_pem));
    let tasks = [
        tokio::spawn(writer),
        tokio::spawn(poll(cluster.client.clone(), trust, OFTEN, false)),
    ];
    until(&readiness, |unmet, warnings| {
        unmet.is_empty() && warnings.is_empty()
    })
    .await;

    // Removed: the webhook stays ready, because an install needs that, and the problem is reported.
    set(None);
    until(&readiness, |unmet, warnings| {
        unmet.is_empty() && !warnings.is_empty()
    })
    .await;
    let event = cluster.events.recv().await.unwrap();
    assert_eq!(event["reason"], "CaMissing");
    assert_eq!(event["regarding"]["kind"], "ValidatingWebhookConfiguration");
    assert_eq!(event["regarding"]["uid"], "u-1");
    let note = event["note"].as_str().unwrap();
    for part in [
        "\"kustomize-controller\" (Apply)",
        "nodes.cordonhold.dev",
        "kubectl patch ",
    ] {
        assert!(note.contains(part), "{note}");
    }
    let problem = |code: &str, value: u8| {
        let page = metrics.render(&http::HeaderMap::new()).unwrap().text;
        page.contains(&format!(
            "cordonhold_webhook_trust_problem{{problem=\"{code}\"}} {value}\n"
        ))
    };
    assert!(problem("ca-missing", 1));

    // Another CA: the API server cannot call the webhook, so it is not ready.
    set(Some(&other.ca_pem));
    until(&readiness, |unmet, _| {
        unmet.iter().any(|why| why.contains("has not signed"))
    })
    .await;
    assert_eq!(cluster.events.recv().await.unwrap()["reason"], "CaIsAnother");
    assert!(problem("ca-missing", 0) && problem("ca-is-another", 1));

    // Back again: the problem is over, and nothing was reported twice.
    set(Some(&issued.ca_pem));
    until(&readiness, |unmet, warnings| {
        unmet.is_empty() && warnings.is_empty()
    })
    .await;
    assert!(cluster.events.try_recv().is_err());
    for task in tasks {
        assert!(!task.is_finished());
        task.abort();
    }
}

#[test]
fn the_page_lists_every_problem() {
    let manual = include_str!("../../../docs/certificates.md");
    for problem in trust::Problem::ALL {
        let code = format!("`{}`", problem.code());
        assert!(manual.contains(&code), "the page lacks {code}");
    }
}

#[test]
fn a_bundle_ends_with_its_last_ca_and_garbage_in_it_is_passed_over() {
    let issue = || {
        cordonhold_certs_dev::issue(&["a.example".to_owned()])
            .unwrap()
            .ca_pem
    };
    let (one, other) = (issue(), issue());
    let end = |text: &str| bundle_end(text.as_bytes());
    let both = format!("{one}\n{other}");
    assert!(end(&one).is_some_and(|end| end > Timestamp::now()));
    assert_eq!(end(&both), end(&one).max(end(&other)));
    let garbage = "-----BEGIN CERTIFICATE-----\neA==\n-----END CERTIFICATE-----\n";
    assert_eq!(end(&format!("{garbage}{one}")), end(&one));
    assert_eq!((end(garbage), end(""), end("x")), (None, None, None));
}
