//! Tests of the uninstall: the whole way by its own writes, and each Node that must keep it from going on.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::lock::Entry;
use crate::reboot::lock_object::{CarrierView, LockObject, Metadata};

const CREATED: &str = "2026-11-23T10:00:00.000000001Z";
/// The agent has just renewed its hold.
const FRESH: &str = "2026-11-23T10:10:00Z";
/// It has not for long.
const OLD: &str = "2026-11-23T09:00:00Z";
const BOOT: &str = "boot-1";

fn now() -> Timestamp {
    "2026-11-23T10:00:30Z".parse().unwrap()
}

fn node(value: &Value) -> NodeView {
    let mut node: NodeView = serde_json::from_value(value.clone()).unwrap();
    node.metadata.uid = "u".to_owned();
    node.metadata.name = "a".to_owned();
    node.status.node_info.boot_id = BOOT.to_owned();
    node
}

/// A held Node as its agent left it, before the reboot; it was schedulable before.
fn held(phase: &str, until: &str) -> NodeView {
    node(&json!({
        "metadata": {
            "resourceVersion": "7",
            "labels": { "cordonhold.dev/phase": phase, "zone": "z" },
            "annotations": {
                "cordonhold.dev/holder": format!("u/{CREATED}"), "cordonhold.dev/until": until, "cordonhold.dev/write": "0",
                "cordonhold.dev/boot-id": format!("{BOOT}/1.0"), "cordonhold.dev/was-unschedulable": "false", "other": "o",
            },
        },
        "spec": { "unschedulable": true, "taints": [
            { "key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule" },
            { "key": "cordonhold.dev/rebooting", "effect": "NoSchedule" },
            { "key": "others", "effect": "NoSchedule" },
        ] },
    }))
}

fn with(mut node: NodeView, key: &str, value: &str) -> NodeView {
    drop(node.metadata.annotations.insert(key.to_owned(), value.to_owned()));
    node
}

fn lease(entries: Vec<Entry>) -> SeenLock {
    let record = Record {
        entries,
        max_owners: None,
    };
    let text = record.render();
    lock(Carrier::Lease, keys::LOCK, text.map(|text| (keys::LOCK, text)))
}

fn lock(
    carrier: Carrier,
    key: &str,
    annotations: impl IntoIterator<Item = (&'static str, String)>,
) -> SeenLock {
    let annotations: BTreeMap<String, String> = annotations
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    SeenLock {
        object: LockObject {
            carrier,
            namespace: "n".to_owned(),
            name: "l".to_owned(),
            key: key.to_owned(),
        },
        view: CarrierView {
            metadata: Metadata {
                name: "l".to_owned(),
                resource_version: "3".to_owned(),
                annotations,
            },
        },
    }
}

fn agents() -> Object {
    Object {
        kind: Kind::DaemonSet,
        namespace: "n".to_owned(),
        name: "cordonhold-agent".to_owned(),
    }
}

/// A cluster with a running agent and its paused lock.
fn seen(node: NodeView) -> Seen {
    let mut lease = lease(vec![entry()]);
    pause(&mut lease);
    Seen {
        locks: vec![lease],
        workloads: vec![agents()],
        pods_on: BTreeSet::from(["a".to_owned()]),
        nodes: vec![node],
        ..Seen::default()
    }
}

fn pause(lock: &mut SeenLock) {
    drop(
        lock.view
            .metadata
            .annotations
            .insert(keys::PAUSE.to_owned(), REASON.to_owned()),
    );
}

fn entry() -> Entry {
    Entry {
        boot_id: BOOT.to_owned(),
        ..Entry::new("a", "u", CREATED, false)
    }
}

fn steps(seen: &Seen, dead: DeadHolds) -> Vec<Step> {
    match next(seen, dead, now()) {
        Next::Write(steps) => steps,
        other => panic!("{other:?}"),
    }
}

fn stops(seen: &Seen, dead: DeadHolds) -> String {
    match next(seen, dead, now()) {
        Next::Stop(why) => why.join("; "),
        other => panic!("{other:?}"),
    }
}

fn waits(seen: &Seen) -> String {
    match next(seen, DeadHolds::GiveBack, now()) {
        Next::Wait(what) => what.join("; "),
        other => panic!("{other:?}"),
    }
}

/// Carries out a step, as the API server does it.
fn carry_out(seen: &mut Seen, step: &Step) {
    let is_it = |object: &Object| *object == step.object;
    match &step.write {
        Write::Delete => {
            seen.workloads.retain(|object| !is_it(object));
            seen.secrets.retain(|object| !is_it(object));
            seen.locks.retain(|lock| target(lock) != step.object);
            if step.object.kind == Kind::DaemonSet {
                seen.pods_on.clear();
            }
        }
        Write::Status(_) => seen.nodes[0].status.conditions.clear(),
        Write::Patch(body) if step.object.kind == Kind::Node => {
            let node = &mut seen.nodes[0];
            merge(&mut node.metadata.annotations, &body["metadata"]["annotations"]);
            merge(&mut node.metadata.labels, &body["metadata"]["labels"]);
            if let Some(unschedulable) = body["spec"].get("unschedulable") {
                node.spec.unschedulable = unschedulable == true;
            }
            if let Some(taints) = body["spec"].get("taints") {
                node.spec.taints = serde_json::from_value(taints.clone()).unwrap_or_default();
            }
        }
        Write::Patch(body) => {
            let mut locks = seen.locks.iter_mut();
            let lock = locks.find(|lock| target(lock) == step.object).unwrap();
            merge(
                &mut lock.view.metadata.annotations,
                &body["metadata"]["annotations"],
            );
        }
    }
}

fn merge(map: &mut BTreeMap<String, String>, changes: &Value) {
    for (key, value) in changes.as_object().into_iter().flatten() {
        drop(match value.as_str() {
            Some(value) => map.insert(key.clone(), value.to_owned()),
            None => map.remove(key),
        });
    }
}

/// Goes on until nothing is left to do, without any agent. Returns what it said.
fn to_the_end(seen: &mut Seen, dead: DeadHolds) -> Vec<String> {
    let mut said = Vec::new();
    for _ in 0..20 {
        match next(seen, dead, now()) {
            Next::Write(steps) => {
                for step in steps {
                    carry_out(seen, &step);
                    said.push(step.says);
                }
            }
            Next::Done => return said,
            other => panic!("{other:?} after {said:#?}"),
        }
    }
    panic!("it goes round: {said:#?}")
}

#[test]
fn reboots_are_paused_before_anything_else_and_a_persons_pause_stays_theirs() {
    let mut seen = seen(held("draining", FRESH));
    drop(seen.locks[0].view.metadata.annotations.remove(keys::PAUSE));
    let first = steps(&seen, DeadHolds::Stop);
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!(first[0].object.kind, Kind::Lease);
    assert_eq!(
        first[0].write,
        Write::Patch(json!({"metadata": {"annotations": {"cordonhold.dev/pause": REASON}}}))
    );
    carry_out(&mut seen, &first[0]);
    assert_eq!(resumed(&seen).len(), 1);

    let annotations = &mut seen.locks[0].view.metadata.annotations;
    drop(annotations.insert(keys::PAUSE.to_owned(), "sale".to_owned()));
    assert_eq!(steps(&seen, DeadHolds::Stop)[0].object.kind, Kind::Node);
    assert_eq!(resumed(&seen), []);
}

#[test]
fn a_hold_up_to_its_delay_is_cancelled_once_and_its_agent_ends_it() {
    for phase in ["draining", "delaying", "wanted"] {
        let mut seen = seen(held(phase, FRESH));
        let cancel = steps(&seen, DeadHolds::GiveBack);
        assert_eq!(
            cancel[0].write,
            Write::Patch(
                json!({"metadata": {"annotations": {"cordonhold.dev/cancel": format!("{CREATED} {REASON}")}}})
            )
        );
        carry_out(&mut seen, &cancel[0]);
        let waits = waits(&seen);
        assert!(
            waits.contains("node a: its hold is cancelled"),
            "{phase}: {waits}"
        );
    }
}

#[test]
fn a_reboot_that_is_under_way_is_waited_for_and_not_cancelled() {
    for (phase, says) in [
        ("sealed", "its reboot is under way"),
        ("returning", "back from its reboot"),
    ] {
        let waits = waits(&seen(held(phase, FRESH)));
        assert!(waits.contains(says), "{phase}: {waits}");
    }
}

#[test]
fn a_dead_hold_stops_it_before_anything_is_written() {
    for phase in ["draining", "delaying", "returning"] {
        let mut seen = seen(held(phase, OLD));
        drop(seen.locks[0].view.metadata.annotations.remove(keys::PAUSE));
        let why = stops(&seen, DeadHolds::Stop);
        assert!(
            why.contains("node a") && why.contains("--dead-holds=give-back"),
            "{why}"
        );
    }
}

#[test]
fn no_blind_reboot_a_sealed_node_is_never_given_back_unless_it_has_booted() {
    let mut seen = seen(held("sealed", OLD));
    for dead in [DeadHolds::Stop, DeadHolds::GiveBack] {
        let why = stops(&seen, dead);
        assert!(why.contains("may be rebooting"), "{why}");
    }
    seen.nodes[0].status.node_info.boot_id.clear();
    let why = stops(&seen, DeadHolds::GiveBack);
    assert!(why.contains("may be rebooting"), "{why}");

    seen.nodes[0].status.node_info.boot_id = "boot-2".to_owned();
    let why = stops(&seen, DeadHolds::Stop);
    assert!(why.contains("--dead-holds=give-back"), "{why}");
    drop(to_the_end(&mut seen, DeadHolds::GiveBack));
    assert!(!seen.nodes[0].spec.unschedulable);
}

#[test]
fn fail_safe_reading_marks_of_no_hold_and_an_unreadable_lock_stop_it() {
    let broken = with(held("draining", OLD), keys::HOLDER, "u/yesterday");
    let foreign = with(held("draining", OLD), keys::HOLDER, &format!("v/{CREATED}"));
    for node in [broken, foreign] {
        let why = stops(&seen(node), DeadHolds::GiveBack);
        assert!(why.contains("no hold of this Node"), "{why}");
    }
    let mut seen = seen(node(&json!({})));
    let annotations = &mut seen.locks[0].view.metadata.annotations;
    drop(annotations.insert(keys::LOCK.to_owned(), "{".to_owned()));
    let why = stops(&seen, DeadHolds::GiveBack);
    assert!(why.contains("mend it"), "{why}");
}

#[test]
fn a_daemon_set_that_runs_only_where_our_label_is_stops_it() {
    let mut seen = seen(node(&json!({})));
    seen.selecting.push(agents());
    let why = stops(&seen, DeadHolds::Stop);
    assert!(why.contains("cordonhold.dev/agent"), "{why}");
}

#[test]
fn cordon_given_back_a_dead_hold_ends_as_its_agent_would_have_ended_it() {
    let deferred = format!("{CREATED} - jo");
    let done = format!("{CREATED} done:2026-11-23T09:59:00Z jo");
    for (annotations, expected) in [
        (vec![], false),
        (vec![(keys::KEEP_CORDONED, "the disk")], true),
        (vec![(keys::WAS_UNSCHEDULABLE, "true")], true),
        (
            vec![
                (keys::WAS_UNSCHEDULABLE, "true"),
                (keys::UNCORDON_WANTED, deferred.as_str()),
            ],
            false,
        ),
        (
            vec![
                (keys::KEEP_CORDONED, "the disk"),
                (keys::UNCORDON_WANTED, deferred.as_str()),
            ],
            true,
        ),
        (vec![(keys::UNCORDON_WANTED, done.as_str())], true),
    ] {
        let node = annotations
            .iter()
            .fold(held("delaying", OLD), |node, (key, value)| with(node, key, value));
        let mut seen = seen(node);
        let said = to_the_end(&mut seen, DeadHolds::GiveBack);
        let node = &seen.nodes[0];
        assert_eq!(node.spec.unschedulable, expected, "{annotations:?}: {said:#?}");
        assert_eq!(node.is_tainted(keys::UNSCHEDULABLE_TAINT), expected);
        is_clean(&seen, &said);
    }
}

/// Checks that nothing of ours is left, and what is not ours is.
fn is_clean(seen: &Seen, said: &[String]) {
    assert_eq!(seen.carriers(), 0, "{said:#?}");
    let node = &seen.nodes[0];
    assert_eq!(node.annotation("other"), Some("o"));
    assert_eq!(node.label("zone"), Some("z"));
    assert!(node.is_tainted("others"));
    assert!(seen.workloads.is_empty() && seen.secrets.is_empty());
}

#[test]
fn an_agents_marks_go_only_after_a_cancel_that_no_other_write_carries() {
    let mut seen = seen(held("draining", OLD));
    let cancel = steps(&seen, DeadHolds::GiveBack);
    carry_out(&mut seen, &cancel[0]);
    let end = steps(&seen, DeadHolds::GiveBack);
    let Write::Patch(body) = &end[0].write else {
        panic!("{end:?}")
    };
    assert_eq!(body["metadata"]["resourceVersion"], "7");
    let annotations = body["metadata"]["annotations"].as_object().unwrap();
    assert!(!annotations.contains_key(keys::CANCEL), "{body}");
    // The webhook lets nobody but the agent write one of these.
    assert!(annotations.values().all(Value::is_null), "{body}");
}

#[test]
fn agents_go_before_nodes_are_cleaned_and_a_lost_node_keeps_nobody_waiting() {
    let wish = held("wanted", OLD);
    let mut seen = seen(wish);
    seen.locks[0] = lease(vec![]);
    pause(&mut seen.locks[0]);
    let first = steps(&seen, DeadHolds::Stop);
    assert_eq!(first[0].object, agents());
    seen.workloads.clear();
    let ready: crate::node::Condition =
        serde_json::from_value(json!({"type": "Ready", "status": "True"})).unwrap();
    seen.nodes[0].status.conditions = vec![ready];
    let waits = waits(&seen);
    assert!(waits.contains("has not ended"), "{waits}");
    "Unknown".clone_into(&mut seen.nodes[0].status.conditions[0].status);
    let said = to_the_end(&mut seen, DeadHolds::Stop);
    assert!(
        seen.nodes[0].spec.unschedulable,
        "a wish has not touched the cordon"
    );
    is_clean(&seen, &said);
}

#[test]
fn a_confirmed_entry_of_this_boot_is_waited_for_and_a_kept_one_is_not() {
    let clean = node(
        &json!({"metadata": {"labels": {"zone": "z"}, "annotations": {"other": "o"}},
        "spec": {"taints": [{"key": "others", "effect": "NoSchedule"}]}}),
    );
    let mut seen = seen(clean);
    let confirmed = Entry {
        sealed: true,
        ..entry()
    };
    seen.locks[0] = lease(vec![confirmed.clone()]);
    pause(&mut seen.locks[0]);
    let waits = waits(&seen);
    assert!(
        waits.contains("node a: its place in the lock is not over"),
        "{waits}"
    );
    seen.locks[0] = lease(vec![Entry {
        given_back: true,
        ..confirmed
    }]);
    pause(&mut seen.locks[0]);
    let said = to_the_end(&mut seen, DeadHolds::Stop);
    is_clean(&seen, &said);
    assert!(seen.locks.is_empty());
}

#[test]
fn kureds_lock_keeps_kureds_entries_and_loses_ours() {
    let kureds = Entry {
        ttl_nanos: 0,
        ..Entry::new("b", "", "2026-11-23T09:00:00Z", false)
    };
    let gone = Entry::new("gone", "x", CREATED, false);
    let record = Record {
        entries: vec![kureds.clone(), gone],
        max_owners: Some(2),
    };
    let annotations = [
        (keys::KURED_LOCK, record.render().unwrap()),
        (keys::LOCK_WRITTEN, "t".to_owned()),
        (keys::LAST_REBOOT, "2026-11-23T09:00:00Z".to_owned()),
        ("theirs", "t".to_owned()),
    ];
    let mut seen = seen(node(
        &json!({"metadata": {"annotations": {"other": "o"}, "labels": {"zone": "z"}},
        "spec": {"taints": [{"key": "others", "effect": "NoSchedule"}]}}),
    ));
    seen.locks = vec![lock(Carrier::DaemonSet, keys::KURED_LOCK, annotations)];
    let said = to_the_end(&mut seen, DeadHolds::Stop);
    is_clean(&seen, &said);
    let left = &seen.locks[0].view.metadata.annotations;
    let left_record = Record::read(left.get(keys::KURED_LOCK).map(String::as_str)).present();
    assert_eq!(left_record.map(|record| record.entries), Some(vec![kureds]));
    assert_eq!(
        left.keys().collect::<Vec<_>>(),
        ["theirs", keys::KURED_LOCK],
        "{said:#?}"
    );
}

#[test]
fn every_key_of_ours_goes_from_a_node_whoever_wrote_it() {
    let mut seen = seen(node(&json!({
        "metadata": {
            "labels": { "cordonhold.dev/agent": "disabled", "zone": "z" },
            "annotations": {
                "other": "o", "cordonhold.dev/given-back": "x", "cordonhold.dev/last-reboot": "{}", "cordonhold.dev/pause": "",
                "cordonhold.dev/cancel": "x y", "cordonhold.dev/a-key-of-tomorrow": "x", "cordonhold.dev/keep-cordoned": "true",
                "cordonhold.dev/replaced":
                    r#"{"annotations":{"cluster-autoscaler.kubernetes.io/scale-down-disabled":{"was":null,"by":"true"}}}"#,
                "cluster-autoscaler.kubernetes.io/scale-down-disabled": "true",
            },
        },
        "spec": { "unschedulable": true, "taints": [
            { "key": "others", "effect": "NoSchedule" }, { "key": "cordonhold.dev/rebooting", "effect": "NoSchedule" },
        ] },
        "status": { "conditions": [{ "type": "cordonhold.dev/Held", "status": "False" }] },
    })));
    seen.locks.clear();
    seen.secrets.push(Object {
        kind: Kind::Secret,
        namespace: "n".to_owned(),
        name: "cordonhold-ca".to_owned(),
    });
    let said = to_the_end(&mut seen, DeadHolds::Stop);
    is_clean(&seen, &said);
    let node = &seen.nodes[0];
    assert!(node.spec.unschedulable, "somebody else's cordon stays");
    assert_eq!(node.annotation(keys::SCALE_DOWN_DISABLED), None);
    assert_eq!(
        said.last().map(String::as_str),
        Some("deleted Secret n/cordonhold-ca")
    );
}

#[test]
fn nodes_that_carry_something_of_ours_are_counted() {
    let mut seen = seen(held("draining", OLD));
    assert_eq!(seen.carriers(), 1);
    seen.nodes.push(held("wanted", OLD));
    seen.nodes
        .push(node(&json!({ "metadata": { "labels": { "zone": "z" } } })));
    assert_eq!(seen.carriers(), 2);
    seen.nodes.clear();
    assert_eq!(seen.carriers(), 0);
}

#[test]
fn marks_that_no_agent_is_left_for_are_cancelled_first_and_end_only_then() {
    let mut seen = seen(held("wanted", OLD));
    seen.locks.clear();
    seen.workloads.clear();
    seen.pods_on.clear();
    let look = |seen: &Seen| steps(seen, DeadHolds::GiveBack).remove(0);
    let cancel = look(&seen);
    let Write::Patch(body) = &cancel.write else {
        panic!("{cancel:?}")
    };
    let annotations = body["metadata"]["annotations"].as_object().unwrap();
    assert_eq!(annotations.keys().collect::<Vec<_>>(), [keys::CANCEL]);
    carry_out(&mut seen, &cancel);
    let end = look(&seen);
    let Write::Patch(body) = &end.write else {
        panic!("{end:?}")
    };
    assert_eq!(
        body["metadata"]["annotations"][keys::HOLDER],
        Value::Null,
        "{body}"
    );
    assert!(
        body["metadata"]["annotations"]
            .as_object()
            .unwrap()
            .contains_key(keys::HOLDER),
        "{body}"
    );
}
