//! Which pods leave, and when each is evicted.

use super::*;

fn pod(uid: &str) -> PodView {
    let mut pod = PodView::default();
    uid.clone_into(&mut pod.metadata.uid);
    "default".clone_into(&mut pod.metadata.namespace);
    "web".clone_into(&mut pod.metadata.name);
    pod
}

fn ending(uid: &str) -> PodView {
    let mut pod = pod(uid);
    pod.metadata.deletion_timestamp = Some("2026-01-01T00:00:00Z".to_owned());
    pod
}

fn mirror(uid: &str) -> PodView {
    let mut pod = pod(uid);
    let _ = pod
        .metadata
        .annotations
        .insert("kubernetes.io/config.mirror".to_owned(), "x".to_owned());
    pod
}

fn listed(pods: &[PodView]) -> (Pods, Duration) {
    let now = Duration::ZERO;
    let mut all = Pods::default();
    let _ = all.observe(Change::Listed(pods.to_vec()), now);
    (all, now)
}

fn uids(pods: &[PodView]) -> Vec<&str> {
    pods.iter().map(|pod| pod.metadata.uid.as_str()).collect()
}

fn blocked(by: &str) -> Evicted {
    Evicted::Blocked {
        by: by.to_owned(),
        retry_after: None,
    }
}

#[test]
fn a_drain_is_not_over_before_the_first_list() {
    assert!(!Pods::default().is_listed_and_empty());
    assert!(listed(&[mirror("a")]).0.is_listed_and_empty());
}

#[test]
fn pods_that_are_ending_are_waited_for_and_not_evicted() {
    let (mut pods, now) = listed(&[ending("a"), pod("b")]);
    assert_eq!(uids(&pods.take_due(now, 9)), ["b"]);
    let _ = pods.observe(Change::Gone(pod("b")), now);
    assert!(!pods.is_listed_and_empty());
    let _ = pods.observe(Change::Gone(ending("a")), now);
    assert!(pods.is_listed_and_empty());
}

#[test]
fn no_more_are_evicted_at_once_than_there_is_room() {
    let (mut pods, now) = listed(&[pod("a"), pod("b"), pod("c")]);
    assert_eq!(uids(&pods.take_due(now, 2)), ["a", "b"]);
    assert_eq!(uids(&pods.take_due(now, 2)), ["c"]);
    assert!(pods.take_due(now, 2).is_empty());
    assert_eq!(pods.next_due(), None);
}

#[test]
fn a_pod_that_arrives_late_is_named_once_and_evicted() {
    let (mut pods, now) = listed(&[]);
    assert_eq!(pods.observe(Change::Present(pod("a")), now), ["default/web"]);
    assert!(pods.observe(Change::Present(pod("a")), now).is_empty());
    assert!(pods.observe(Change::Listed(vec![pod("a")]), now).is_empty());
    assert_eq!(uids(&pods.take_due(now, 9)), ["a"]);
}

#[test]
fn a_list_after_a_gap_forgets_who_left_and_finds_who_came() {
    let (mut pods, now) = listed(&[pod("a"), pod("b")]);
    assert!(pods.observe(Change::Gap, now).is_empty());
    assert_eq!(
        pods.observe(Change::Listed(vec![pod("b"), pod("c")]), now).len(),
        1
    );
    assert_eq!(uids(&pods.take_due(now, 9)), ["b", "c"]);
}

#[test]
fn a_blocked_pod_is_tried_again_after_a_bounded_pause_and_told_of_once() {
    let (mut pods, mut now) = listed(&[pod("a")]);
    for round in 0..20 {
        assert_eq!(pods.take_due(now, 9).len(), 1, "round {round}");
        assert_eq!(pods.note("a", &blocked("budget web"), now, 100), round == 0);
        assert!(pods.take_due(now, 9).is_empty());
        let due = pods.next_due().unwrap();
        assert!(due > now && due <= now + PAUSE_MAX, "round {round}");
        now = due;
    }
    assert_eq!(pods.progress(5).blockers, ["budget web"]);
    let _ = pods.take_due(now, 9);
    assert!(pods.note("a", &blocked("budget db"), now, 100));
}

#[test]
fn an_accepted_eviction_that_ends_nothing_is_sent_again() {
    let (mut pods, now) = listed(&[pod("a")]);
    let _ = pods.take_due(now, 9);
    let _ = pods.note("a", &Evicted::Accepted, now, 100);
    assert_eq!(pods.next_due(), Some(now + AGAIN));
    let _ = pods.observe(Change::Present(ending("a")), now);
    assert_eq!(pods.next_due(), None);
}

#[test]
fn an_answer_that_comes_after_the_pod_ended_changes_nothing() {
    let (mut pods, now) = listed(&[pod("a")]);
    let _ = pods.take_due(now, 9);
    let _ = pods.observe(Change::Present(ending("a")), now);
    let _ = pods.note("a", &blocked("budget web"), now, 100);
    assert_eq!(pods.next_due(), None);
    let _ = pods.observe(Change::Gone(ending("a")), now);
    assert!(!pods.note("a", &blocked("budget web"), now, 100));
    assert_eq!(pods.progress(5).left, 0);
}
