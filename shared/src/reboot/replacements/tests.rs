//! Evictions, and the pods that replace them.

use jiff::SignedDuration;
use serde_json::json;

use super::*;

/// So many seconds after the beginning, on both clocks.
fn at(second: u64) -> Moment {
    let wall: Timestamp = "2026-11-29T12:00:00.5Z".parse().unwrap();
    Moment {
        now: Uptime::after(Duration::from_secs(second)),
        wall: wall + SignedDuration::from_secs(i64::try_from(second).unwrap()),
    }
}

/// A pod on our node, of this kind of controller, with these labels.
fn pod(kind: &str, labels: &serde_json::Value) -> PodView {
    let owner = json!({ "kind": kind, "name": "web", "uid": "c", "controller": true });
    let metadata = json!({ "name": "web-1", "namespace": "ns", "uid": "p", "labels": labels, "ownerReferences": [owner] });
    serde_json::from_value(json!({ "metadata": metadata })).unwrap()
}

fn web() -> PodView {
    pod("ReplicaSet", &json!({ "pod-template-hash": "abc", "app": "web" }))
}

/// A pod of the controller `c` that was created then, and is Ready since then.
fn made(uid: &str, created: u64, ready: Option<u64>) -> Candidate {
    made_by("c", uid, created, ready)
}

fn made_by(controller: &str, uid: &str, created: u64, ready: Option<u64>) -> Candidate {
    let time = |second| format!("{:.0}", at(second).wall.round(jiff::Unit::Second).unwrap());
    let status = if ready.is_some() { "True" } else { "False" };
    let condition =
        json!({ "type": "Ready", "status": status, "lastTransitionTime": time(ready.unwrap_or_default()) });
    let owner = json!({ "kind": "ReplicaSet", "name": "web", "uid": controller, "controller": true });
    let metadata = json!({ "uid": uid, "creationTimestamp": time(created), "ownerReferences": [owner] });
    serde_json::from_value(json!({ "metadata": metadata, "status": { "conditions": [condition] } })).unwrap()
}

/// Lists the one controller that is followed.
fn list(replacements: &mut Replacements, pods: &[Candidate], second: u64) -> Vec<Outcome> {
    let controller = replacements.take_due(at(second).now, 0).expect("a list is due");
    replacements.listed(&controller, &Listed::Pods(pods.to_vec()), at(second))
}

/// The same pod, with another uid.
fn other(pod: PodView, uid: &str) -> PodView {
    let metadata = crate::reboot::pod::Metadata {
        uid: uid.to_owned(),
        ..pod.metadata
    };
    PodView { metadata, ..pod }
}

fn seconds(outcomes: &[Outcome]) -> Vec<u64> {
    let seconds = outcomes.iter().map(|outcome| match outcome {
        Outcome::Replaced(took) => took.as_secs(),
        Outcome::Unmeasured(_) => panic!("{outcome:?}"),
    });
    seconds.collect()
}

#[test]
fn an_eviction_is_measured_up_to_when_its_replacement_became_ready() {
    let mut replacements = Replacements::default();
    assert_eq!(replacements.evicted(&web(), at(0)), None);
    assert_eq!(replacements.next_due(0), Some(at(10).now));
    assert_eq!(replacements.take_due(at(9).now, 0), None);
    let controller = replacements.take_due(at(10).now, 0).unwrap();
    assert_eq!(
        (controller.namespace.as_str(), controller.labels.as_str()),
        ("ns", "pod-template-hash=abc")
    );
    let not_yet = [made("new", 2, None)];
    let not_yet = Listed::Pods(not_yet.to_vec());
    assert_eq!(replacements.listed(&controller, &not_yet, at(10)), []);
    let outcomes = list(&mut replacements, &[made("new", 2, Some(13))], 20);
    assert_eq!(seconds(&outcomes), [13]);
    assert_eq!(replacements.next_due(0), None);
}

#[test]
fn a_pod_that_was_there_before_that_another_made_or_that_is_not_ready_replaces_nothing() {
    let mut replacements = Replacements::default();
    assert_eq!(replacements.evicted(&web(), at(100)), None);
    let others = [
        made("before", 50, Some(60)),
        made_by("other", "others", 105, Some(106)),
        made("unready", 105, None),
    ];
    assert_eq!(list(&mut replacements, &others, 110), []);
    assert_eq!(replacements.next_due(0), Some(at(120).now));
}

#[test]
fn each_replacement_counts_once_and_in_the_order_of_the_evictions() {
    let mut replacements = Replacements::default();
    for second in [0, 5, 6] {
        let pod = other(web(), &second.to_string());
        assert_eq!(replacements.evicted(&pod, at(second)), None);
    }
    assert_eq!(replacements.waiting(), 3);
    let first = made("a", 3, Some(8));
    assert_eq!(
        seconds(&list(&mut replacements, std::slice::from_ref(&first), 10)),
        [8]
    );
    let all = [made("c", 9, Some(19)), first, made("b", 7, Some(12))];
    assert_eq!(replacements.waiting(), 2);
    assert_eq!(seconds(&list(&mut replacements, &all, 20)), [7, 13]);
    assert_eq!((replacements.waiting(), replacements.next_due(0)), (0, None));
}

#[test]
fn other_clocks_count_only_within_the_time_that_has_passed() {
    for (ready, took) in [(500, 10), (1, 1)] {
        let mut replacements = Replacements::default();
        assert_eq!(replacements.evicted(&web(), at(0)), None);
        let pods = [made("new", 1, Some(ready))];
        assert_eq!(seconds(&list(&mut replacements, &pods, 10)), [took]);
    }
}

#[test]
fn what_is_not_replaced_in_time_is_not_measured_also_if_the_lists_fail() {
    let mut replacements = Replacements::default();
    assert_eq!(replacements.evicted(&web(), at(0)), None);
    let mut second = 0;
    let outcomes = loop {
        second += 10;
        let outcomes = list(&mut replacements, &[], second);
        if !outcomes.is_empty() {
            break outcomes;
        }
    };
    assert_eq!(outcomes, [Outcome::Unmeasured(Unmeasured::TooLong)]);
    assert_eq!((second, replacements.next_due(0)), (900, None));
}

#[test]
fn only_pods_that_a_controller_replaces_elsewhere_are_followed() {
    let mut replacements = Replacements::default();
    let hash = json!({ "pod-template-hash": "abc" });
    for (pod, why) in [
        (PodView::default(), None),
        (pod("DaemonSet", &hash), None),
        (pod("Job", &hash), None),
        (
            pod("ReplicaSet", &json!({ "app": "web" })),
            Some(Unmeasured::Unlabelled),
        ),
    ] {
        assert_eq!(replacements.evicted(&pod, at(0)), why);
        assert_eq!(replacements.next_due(0), None);
    }
    let db = json!({ "statefulset.kubernetes.io/pod-name": "db-0", "app": "db" });
    assert_eq!(
        replacements.evicted(&other(pod("StatefulSet", &db), "q"), at(0)),
        None
    );
    let controller = replacements.take_due(at(10).now, 0).unwrap();
    assert_eq!(controller.labels, "statefulset.kubernetes.io/pod-name=db-0");
}

#[test]
fn controllers_evictions_and_lists_are_bounded() {
    let mut replacements = Replacements::default();
    let mut uids = 0..;
    let mut evict = |controller: usize, second| {
        let labels = json!({ "pod-template-hash": controller.to_string() });
        let pod = other(pod("ReplicaSet", &labels), &uids.next().unwrap().to_string());
        replacements.evicted(&pod, at(second))
    };
    for number in 0..FOLLOWED_MAX {
        assert_eq!(evict(number, 0), None);
    }
    for _ in 1..EVICTIONS_MAX {
        assert_eq!(evict(0, 0), None);
    }
    for number in [0, FOLLOWED_MAX] {
        assert_eq!(evict(number, 0), Some(Unmeasured::TooMany));
    }
    for number in 0..KNOWN_MAX - FOLLOWED_MAX - EVICTIONS_MAX - 1 {
        assert_eq!(evict(1 + number % (FOLLOWED_MAX - 1), 0), None);
    }
    assert_eq!(evict(1, 0), Some(Unmeasured::TooMany));
    assert_eq!(evict(1, FOLLOWED_FOR.as_secs()), None);
    assert!(replacements.take_due(at(10).now, LISTS_MAX - 1).is_some());
    assert_eq!(replacements.take_due(at(10).now, LISTS_MAX), None);
    assert_eq!(replacements.next_due(LISTS_MAX), None);
}

#[test]
fn a_pod_that_is_evicted_again_is_followed_once() {
    let mut replacements = Replacements::default();
    for second in [0, 5] {
        assert_eq!(replacements.evicted(&web(), at(second)), None);
    }
    let new = made("new", 2, Some(8));
    assert_eq!(seconds(&list(&mut replacements, &[new], 10)), [8]);
    // It has not gone yet, and its replacement is there.
    assert_eq!(replacements.evicted(&web(), at(20)), None);
    assert_eq!(replacements.next_due(0), None);
}

#[test]
fn a_controller_whose_list_is_too_long_is_followed_no_longer() {
    let mut replacements = Replacements::default();
    for uid in ["p", "q"] {
        assert_eq!(replacements.evicted(&other(web(), uid), at(0)), None);
    }
    let controller = replacements.take_due(at(10).now, 0).unwrap();
    let outcomes = replacements.listed(&controller, &Listed::TooLong, at(10));
    assert_eq!(outcomes, [Outcome::Unmeasured(Unmeasured::TooMany); 2]);
    assert_eq!(replacements.next_due(0), None);
}
