//! What a review costs, compared in the same run with decoding all of it, by `serde_json` and by Kubernetes' own decoders.
//!
//! `cargo test -p cordonhold-webhook --lib cost -- --nocapture` prints the figures.

use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cordonhold_shared::admission::{Known, KuredSeen};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::Node;
use serde::Deserialize;

use super::*;
use crate::handler::Question;
use crate::{Handler, Lookup, Metrics};

/// How many rounds are measured. The fastest one shows the time of the code itself, whatever else the machine does.
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
    fn may<'a>(&'a self, _: &'static str, _: &'a Requester, _: &'a str) -> BoxFuture<'a, Known<bool>> {
        panic!("a held Node needs no lookup")
    }

    fn watched_kured_lock(&self) -> Known<KuredSeen> {
        panic!("a held Node needs no lookup")
    }

    fn kured_lock(&self) -> BoxFuture<'_, Known<KuredSeen>> {
        panic!("a held Node needs no lookup")
    }
}

/// A review as a cluster sends it: 50 images, 5 field managers, 40 KiB.
fn real_review() -> Vec<u8> {
    let big = |mut node: Value| {
        node["apiVersion"] = json!("v1");
        node["kind"] = json!("Node");
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

fn timed<T>(fastest: &mut Duration, work: impl FnOnce() -> T) {
    let started = Instant::now();
    drop(black_box(work()));
    *fastest = started.elapsed().min(*fastest);
}

/// The time that other webhooks' decoding takes, by the Go module `review-decode`. The first call compiles it, which takes a minute.
fn decoded_in_go(body: &[u8]) -> Duration {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/review-decode");
    let mut go = Command::new("go")
        .args(["run", "-buildvcs=false", "."])
        .current_dir(module)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Go is to be installed as README.md says");
    go.stdin.take().unwrap().write_all(body).unwrap();
    let output = go.wait_with_output().unwrap();
    assert!(output.status.success(), "go says why above");
    let nanoseconds = String::from_utf8(output.stdout).unwrap();
    Duration::from_nanos(nanoseconds.trim().parse().unwrap())
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
    let handler = Handler::new(policy.clone(), Box::new(NoLookup), Arc::new(Metrics::new()));
    // With its log line, as in production, into nowhere.
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(std::io::sink)
        .finish();
    let [mut reading, mut whole, mut value, mut typed] = [Duration::MAX; 4];
    tracing::subscriber::with_default(subscriber, || {
        // By turns, so that whatever else the machine does slows all of them.
        for _ in 0..ROUNDS {
            timed(&mut reading, || read(black_box(&body), &policy).unwrap());
            timed(&mut whole, || {
                let answer = handler.handle(Question::Validate, black_box(&body), Instant::now());
                answer.now_or_never().flatten().unwrap()
            });
            timed(&mut value, || {
                serde_json::from_slice::<Value>(black_box(&body)).unwrap()
            });
            timed(&mut typed, || {
                let review: WholeReview = serde_json::from_slice(black_box(&body)).unwrap();
                (review.request.object, review.request.old_object)
            });
        }
    });
    let go = decoded_in_go(&body);
    println!(
        "{size} bytes: read {reading:?}, read and judged and logged {whole:?}; all of it as a Value {value:?}, both Nodes as types {typed:?}, in Go {go:?}"
    );
    assert!(whole * 10 < go, "{whole:?} to {go:?}");
    // Measured alone: a sixth and less than a quarter. Nearly all of it is skipping, and safe code that skips faster is not at hand.
    assert!(reading * 3 < value, "{reading:?} to {value:?}");
    assert!(reading * 2 < typed, "{reading:?} to {typed:?}");
    assert!(whole * 2 < value, "{whole:?} to {value:?}");
}
