//! What a review costs, beside what decoding all of it costs in the same run.
//!
//! `cargo test -p cordonhold-webhook --lib cost -- --nocapture` prints the figures.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cordonhold_shared::admission::{Known, Locks};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::Node;

use super::*;
use crate::{Judge, Lookup, Metrics};

/// The fastest of so many is the code's own time, whatever else the machine does.
const ROUNDS: u32 = 400;

const CONDITIONS: [&str; 5] = [
    "MemoryPressure",
    "DiskPressure",
    "PIDPressure",
    "NetworkUnavailable",
    "Ready",
];

struct NoLookup;

impl Lookup for NoLookup {
    fn may_override<'a>(&'a self, _: &'a Requester, _: &'a str) -> BoxFuture<'a, Known<bool>> {
        panic!("a held Node needs no lookup")
    }

    fn watched_kured_lock(&self) -> Known<Locks> {
        panic!("a held Node needs no lookup")
    }

    fn kured_lock(&self) -> BoxFuture<'_, Known<Locks>> {
        panic!("a held Node needs no lookup")
    }
}

/// A review as a cluster sends it: 50 images, 5 field managers, 40 KiB.
fn real_review() -> Vec<u8> {
    let big = |mut node: Value| {
        node["metadata"]["managedFields"] = (0..5).map(field_manager).collect();
        for flag in 0..40 {
            node["metadata"]["labels"][format!("feature.node.kubernetes.io/cpu-cpuid.FLAG{flag}")] =
                json!("true");
        }
        node["metadata"]["annotations"]["csi.volume.kubernetes.io/nodeid"] =
            json!("{\"ebs.csi.aws.com\":\"i-0\"}");
        let conditions = CONDITIONS.map(condition);
        let images: Vec<Value> = (0..50).map(image).collect();
        node["status"] = json!({"conditions": conditions, "images": images});
        node
    };
    let mut review = review();
    review["request"]["object"] = big(node(false));
    review["request"]["oldObject"] = big(node(true));
    super::body(review)
}

fn image(number: u64) -> Value {
    let name = format!("registry.example.com/team-{number}/service-{number}");
    json!({"names": [format!("{name}@sha256:{number:064x}"), format!("{name}:v1.{number}.0")], "sizeBytes": 123_456_789 + number})
}

fn field_manager(number: u64) -> Value {
    let labels: serde_json::Map<String, Value> = (0..20)
        .map(|label| {
            (
                format!("f:feature.node.kubernetes.io/cpu-{number}-{label}"),
                json!({}),
            )
        })
        .collect();
    json!({
        "manager": format!("manager-{number}"), "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:labels": labels}},
    })
}

fn condition(kind: &str) -> Value {
    json!({
        "type": kind, "status": "False", "reason": "KubeletHasNoneOfIt", "message": "kubelet has none of it",
        "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

fn fastest<T>(mut work: impl FnMut() -> T) -> Duration {
    let once = |_| {
        let started = Instant::now();
        drop(black_box(work()));
        started.elapsed()
    };
    (0..ROUNDS).map(once).min().unwrap()
}

#[derive(Deserialize)]
struct WholeReview {
    request: WholeRequest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WholeRequest {
    object: Node,
    old_object: Node,
}

#[test]
fn a_real_review_costs_a_fraction_of_decoding_it() {
    let body = real_review();
    let size = body.len();
    assert!((36 * 1024..48 * 1024).contains(&size), "{size} bytes");
    let policy = policy();
    let read = fastest(|| read(black_box(&body), &policy).unwrap());
    let value = fastest(|| serde_json::from_slice::<Value>(black_box(&body)).unwrap());
    let typed = fastest(|| {
        let whole: WholeReview = serde_json::from_slice(black_box(&body)).unwrap();
        (whole.request.object, whole.request.old_object)
    });
    let judge = Judge::new(policy, Box::new(NoLookup), Arc::new(Metrics::new()));
    // With its log line, as in production, into nowhere.
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(std::io::sink)
        .finish();
    let whole = tracing::subscriber::with_default(subscriber, || {
        fastest(|| {
            judge
                .answer(black_box(&body), Instant::now())
                .now_or_never()
                .flatten()
                .unwrap()
        })
    });
    println!(
        "{size} bytes: read {read:?}, read and judged and logged {whole:?}; all of it as a Value {value:?}, both Nodes as types {typed:?}"
    );
    // Measured alone: a sixth and less than a quarter. Nearly all of it is skipping, and safe code that skips faster is not at hand.
    assert!(read * 4 < value, "{read:?} to {value:?}");
    assert!(read * 3 < typed, "{read:?} to {typed:?}");
    assert!(whole * 2 < value, "{whole:?} to {value:?}");
}
