//! Reviews like those that API servers send: the uncordon of a held Node, of a given size.

use cordonhold_shared::hold::{Holder, Phase};
use cordonhold_shared::keys;
use serde_json::{Value, json};

/// The uid of the Node.
const UID: &str = "0f1e2d3c-0000-4000-8000-000000000001";
/// Of one image in a Node's status, both Nodes together, in bytes. Images are what makes real Nodes large.
const OF_IMAGE: usize = 2 * 200;

/// A review of about this many KiB.
pub(super) fn review(kib: usize) -> String {
    let images = kib * 1024 / OF_IMAGE;
    uncordon(&node(true, images), &node(false, images))
}

/// The same of a Node that has no hold.
pub(super) fn unheld(kib: usize) -> String {
    let images = kib * 1024 / OF_IMAGE;
    let [old, new] = [true, false].map(|is_cordoned| {
        let mut node = node(is_cordoned, images);
        node["metadata"]["labels"] = json!({ "kubernetes.io/hostname": "node-0" });
        node["metadata"]["annotations"] = json!({});
        node
    });
    uncordon(&old, &new)
}

fn uncordon(old: &Value, new: &Value) -> String {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": { "group": "", "version": "v1", "kind": "Node" },
            "resource": { "group": "", "version": "v1", "resource": "nodes" },
            "requestKind": { "group": "", "version": "v1", "kind": "Node" },
            "requestResource": { "group": "", "version": "v1", "resource": "nodes" },
            "name": "node-0",
            "operation": "UPDATE",
            "userInfo": { "username": "system:serviceaccount:ops:controller", "groups": ["system:authenticated"] },
            "object": new,
            "oldObject": old,
            "dryRun": false,
            "options": { "apiVersion": "meta.k8s.io/v1", "kind": "UpdateOptions" },
        },
    })
    .to_string()
}

fn node(is_cordoned: bool, images: usize) -> Value {
    let holder = Holder {
        node_uid: UID.to_owned(),
        created: "2026-01-01T00:00:00.000000000Z".to_owned(),
    };
    let images: Vec<Value> = (0..images).map(image).collect();
    let mut node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": "node-0",
            "uid": UID,
            "resourceVersion": "1",
            "labels": { "kubernetes.io/hostname": "node-0", keys::PHASE: Phase::Draining.as_str() },
            "annotations": {
                keys::HOLDER: holder.to_string(),
                // So far ahead that it does not lapse while it is measured.
                keys::UNTIL: "2100-01-01T00:00:00Z",
                keys::WAS_UNSCHEDULABLE: "false",
            },
        },
        "spec": {
            "podCIDR": "10.0.0.0/24",
            "taints": [{ "key": keys::REBOOTING, "effect": keys::NO_SCHEDULE }],
        },
        "status": { "images": images },
    });
    if is_cordoned {
        node["spec"]["unschedulable"] = json!(true);
    }
    node
}

/// An image in a Node's status.
pub(super) fn image(number: usize) -> Value {
    let name = format!("registry.example.com/team-{number}/service-{number}");
    json!({
        "names": [format!("{name}@sha256:{number:064x}"), format!("{name}:v1.{number}.0")],
        "sizeBytes": 123_456_789 + number,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_has_about_the_size_that_it_is_asked_for() {
        for kib in [5, 40, 200] {
            let length = review(kib).len();
            assert!(
                (kib * 1024 * 9 / 10..kib * 1024 * 3 / 2).contains(&length),
                "{kib}: {length}"
            );
        }
    }
}
