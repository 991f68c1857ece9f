//! What can be waited for, and what is missing of it.

use serde_json::json;

use super::*;
use crate::reboot::blocker::{kinds, sentences};

fn node(conditions: &[(&str, &str)]) -> NodeView {
    let conditions: Vec<_> = conditions
        .iter()
        .map(|(kind, status)| json!({ "type": kind, "status": status }))
        .collect();
    serde_json::from_value(json!({ "metadata": { "name": "a" }, "status": { "conditions": conditions } }))
        .unwrap()
}

fn pod(name: &str, owner: &str, ready: &str) -> PodView {
    serde_json::from_value(json!({
        "metadata": {
            "name": name,
            "namespace": "kube-system",
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": owner, "name": "o", "controller": true }],
        },
        "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": ready }] },
    }))
    .unwrap()
}

fn read(text: &str) -> Readiness {
    text.parse().unwrap()
}

#[test]
fn a_condition_is_written_as_kubectl_wait_takes_it() {
    let condition = |kind: &str, status: &str| Readiness::Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
    };
    for (text, expected) in [
        ("daemonset-pods", Readiness::DaemonSetPods),
        ("condition=NetworkReady", condition("NetworkReady", "True")),
        (
            "condition=NetworkUnavailable=false",
            condition("NetworkUnavailable", "False"),
        ),
        (
            "condition=example.com/gpu=Unknown",
            condition("example.com/gpu", "Unknown"),
        ),
    ] {
        assert_eq!(read(text), expected, "{text}");
    }
}

#[test]
fn what_nobody_can_wait_for_is_refused_with_the_fix() {
    for (text, fix) in [
        ("", "condition=TYPE"),
        ("condition=", "condition=TYPE"),
        ("condition==True", "condition=TYPE"),
        ("daemonset", "daemonset-pods"),
        ("Ready", "condition=TYPE"),
        ("condition=Ready=yes", "True, False or Unknown"),
        ("cel=", "expression"),
        ("cel=self.spec.", "column"),
    ] {
        let error = text.parse::<Readiness>().unwrap_err().to_string();
        assert!(error.contains(fix), "{text}: {error}");
    }
}

#[test]
fn a_condition_with_another_status_or_none_is_missing_by_name() {
    let wanted = [
        read("condition=NetworkReady"),
        read("condition=DiskPressure=False"),
        read("daemonset-pods"),
    ];
    let all = node(&[("NetworkReady", "True"), ("DiskPressure", "False")]);
    assert_eq!(missing_on_node(&wanted, &all), []);
    let missing = missing_on_node(&wanted, &node(&[("DiskPressure", "Unknown")]));
    assert_eq!(
        sentences(&missing),
        "the Node's condition NetworkReady must be True, and is not there: look at the program that reports it; \
         the Node's condition DiskPressure must be False, and is Unknown"
    );
    assert_eq!(kinds(missing.iter().map(Missing::kind)), "condition");
}

#[test]
fn each_pod_of_a_daemon_set_must_be_ready_and_no_other_pod() {
    let mut going = pod("cni-old", "DaemonSet", "True");
    going.metadata.deletion_timestamp = Some("2026-11-29T10:00:00Z".to_owned());
    let ready = [pod("cni", "DaemonSet", "True"), pod("web", "ReplicaSet", "False")];
    assert_eq!(missing_pods(&ready), []);
    let pods = [
        pod("gpu", "DaemonSet", "False"),
        going,
        pod("log", "DaemonSet", "Unknown"),
        pod("cni", "DaemonSet", "True"),
    ];
    let missing = missing_pods(&pods);
    assert_eq!(
        sentences(&missing),
        "pods of DaemonSets on this node are not Ready: kube-system/cni-old, kube-system/gpu, kube-system/log"
    );
}
