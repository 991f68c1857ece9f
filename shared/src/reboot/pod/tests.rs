//! kubectl drain's rules, pod by pod.

use super::*;

fn pod(json: &str) -> PodView {
    serde_json::from_str(json).unwrap()
}

fn of_daemon_set(api_version: &str, phase: &str) -> PodView {
    pod(&format!(
        r#"{{"metadata":{{"name":"p","namespace":"ns","ownerReferences":
            [{{"apiVersion":"{api_version}","kind":"DaemonSet","name":"log","controller":true}}]}},"status":{{"phase":"{phase}"}}}}"#
    ))
}

fn log() -> DaemonSet {
    DaemonSet {
        namespace: "ns".to_owned(),
        name: "log".to_owned(),
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_drain_evicts_all_but_daemon_set_and_mirror_pods() {
    let replica_set = r#"{"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"r","controller":true}]}}"#;
    let not_its_controller =
        r#"{"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","kind":"DaemonSet","name":"log"}]}}"#;
    let empty_dir = r#"{"spec":{"volumes":[{"name":"scratch","emptyDir":{}}]}}"#;
    let cases = [
        (pod(r#"{"metadata":{"name":"bare"}}"#), Fate::Evict),
        (pod(replica_set), Fate::Evict),
        (pod(not_its_controller), Fate::Evict),
        (pod(empty_dir), Fate::Evict),
        (of_daemon_set("apps/v1", "Running"), Fate::DaemonSet(log())),
        (of_daemon_set("apps/v1", "Failed"), Fate::Evict),
        (of_daemon_set("apps/v1", "Succeeded"), Fate::Evict),
        (of_daemon_set("apps.kruise.io/v1alpha1", "Running"), Fate::Stay),
        (
            pod(r#"{"metadata":{"annotations":{"kubernetes.io/config.mirror":"x"}}}"#),
            Fate::Stay,
        ),
        (pod(r#"{"status":{"phase":"Succeeded"}}"#), Fate::Evict),
    ];
    for (pod, expected) in cases {
        assert_eq!(classify(&pod), expected, "{pod:?}");
    }
}

#[test]
fn pods_of_a_daemon_set_that_does_not_exist_are_left() {
    let pods = [of_daemon_set("apps/v1", "Running")];
    let now = at("2026-01-01T00:00:00Z");
    assert_eq!(daemon_sets(&pods), BTreeSet::from([log()]));
    assert!(left(&pods, &BTreeSet::new(), &BTreeSet::new(), None, now).is_empty());
    assert_eq!(
        left(&pods, &BTreeSet::from([log()]), &BTreeSet::new(), None, now),
        ["ns/p"]
    );
}

#[test]
fn a_pod_that_should_have_been_gone_for_long_is_not_waited_for() {
    let pod = pod(r#"{"metadata":{"name":"p","namespace":"ns","deletionTimestamp":"2026-01-01T00:00:00Z"}}"#);
    let skip = Some(SignedDuration::from_secs(60));
    let cases = [
        ("2025-12-31T23:59:50Z", 70),
        ("2026-01-01T00:00:10Z", 50),
        ("2026-01-01T00:01:00Z", 0),
        ("2026-01-02T00:00:00Z", 0),
    ];
    for (now, seconds) in cases {
        let left_to_wait = SignedDuration::from_secs(seconds);
        assert_eq!(patience(&pod, skip, at(now)), Some(left_to_wait), "{now}");
        let is_left = !left(
            std::slice::from_ref(&pod),
            &BTreeSet::new(),
            &BTreeSet::new(),
            skip,
            at(now),
        )
        .is_empty();
        assert_eq!(is_left, seconds > 0, "{now}");
    }
    assert_eq!(patience(&pod, None, at("2030-01-01T00:00:00Z")), None);
    assert_eq!(
        patience(&PodView::default(), skip, at("2030-01-01T00:00:00Z")),
        None
    );
}

/// The scheduler's rule, for the taint of a cordon and ours.
#[test]
fn found_p4_a_pod_tolerates_the_drain_if_it_tolerates_cordon_and_taint() {
    let both = r#"[{"key":"node.kubernetes.io/unschedulable","operator":"Exists","effect":"NoSchedule"},
                   {"key":"cordonhold.dev/rebooting","effect":"NoSchedule"}]"#;
    let cases = [
        (r#"[{"operator":"Exists"}]"#, true),
        (r#"[{"operator":"Exists","effect":"NoSchedule"}]"#, true),
        (both, true),
        (r#"[{"operator":"Exists","effect":"NoExecute"}]"#, false),
        (
            r#"[{"key":"node.kubernetes.io/unschedulable","operator":"Exists"}]"#,
            false,
        ),
        (
            r#"[{"key":"cordonhold.dev/rebooting","operator":"Exists"}]"#,
            false,
        ),
        (r#"[{"operator":"Equal"}]"#, false),
        (
            r#"[{"key":"cordonhold.dev/rebooting","value":"x"},{"key":"node.kubernetes.io/unschedulable"}]"#,
            false,
        ),
        (r#"[{"operator":"Lt"}]"#, false),
        (r#"[{"key":"example.com/other","operator":"Exists"}]"#, false),
        ("null", false),
    ];
    for (tolerations, expected) in cases {
        let pod = pod(&format!(r#"{{"spec":{{"tolerations":{tolerations}}}}}"#));
        assert_eq!(tolerates_drain(&pod), expected, "{tolerations}");
    }
}

#[test]
fn found_p4_only_tolerant_pods_of_an_owner_that_is_kept_stay() {
    let of = |name: &str, tolerations: &str| {
        pod(&format!(
            r#"{{"metadata":{{"name":"p","namespace":"ns","ownerReferences":
                [{{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"{name}","controller":true}}]}},
                "spec":{{"tolerations":{tolerations}}}}}"#
        ))
    };
    let all = r#"[{"operator":"Exists"}]"#;
    let kept = BTreeSet::from(["ReplicaSet ns/operator".to_owned()]);
    for (pod, stays) in [
        (of("operator", all), true),
        (of("operator", "[]"), false),
        (of("web", all), false),
    ] {
        let left = left(&[pod], &BTreeSet::new(), &kept, None, at("2026-01-01T00:00:00Z"));
        assert_eq!(left.is_empty(), stays);
    }
}
