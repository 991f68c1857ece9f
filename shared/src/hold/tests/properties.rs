//! Properties of every Node: marks are read as they were written, and no garbage makes a held Node count as free.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::node::Taint;

const OTHERS: [&str; 4] = ["team", "example.com/role", "kubernetes.io/os", "other"];

/// Applies a JSON merge patch (RFC 7396), as the API server does.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            drop(target.as_object_mut().unwrap().remove(key));
        } else {
            merge(&mut target[key], value);
        }
    }
}

fn view(node: &Value) -> NodeView {
    serde_json::from_value(node.clone()).unwrap()
}

/// The Node after this patch.
fn patched(node: &Value, patch: &NodePatch) -> NodeView {
    let mut node = node.clone();
    merge(&mut node, &patch.body(Timestamp::UNIX_EPOCH, &TERMS));
    view(&node)
}

fn any_text() -> impl Strategy<Value = String> {
    let near = [
        "",
        "wanted",
        "draining",
        "Sealed",
        "true",
        "256",
        "u/2026-11-23T10:00:00Z",
        "/2026-11-23T10:00:00Z",
        "u/soon",
        "2026-11-23T10:00:00Z",
    ];
    prop_oneof![
        proptest::sample::select(near.to_vec()).prop_map(str::to_owned),
        ".{0,8}"
    ]
}

/// A Node with any marks, and with labels, annotations and taints of others.
fn any_node() -> impl Strategy<Value = Value> {
    let keys: Vec<&str> = keys::MARK_ANNOTATIONS
        .into_iter()
        .chain([
            keys::CANCEL,
            keys::DRAIN_PROGRESS,
            keys::RELEASE_AT,
            keys::GIVEN_BACK,
            keys::UNCORDON_WANTED,
            keys::KEEP_CORDONED,
        ])
        .chain(OTHERS)
        .collect();
    let annotations = proptest::collection::btree_map(proptest::sample::select(keys), any_text(), 0..8);
    let labels = proptest::collection::btree_map(proptest::sample::select(&OTHERS), any_text(), 0..3);
    let phase = proptest::option::of(any_text());
    let taints = proptest::sample::subsequence(
        vec![
            json!({ "key": "k", "effect": "NoExecute", "value": "v", "timeAdded": "t" }),
            json!({ "key": keys::REBOOTING, "effect": "NoSchedule" }),
            json!({ "key": "soft", "effect": "PreferNoSchedule" }),
        ],
        0..=3,
    );
    (annotations, labels, phase, taints, any::<bool>()).prop_map(|(annotations, labels, phase, taints, cordon)| {
        let mut node = json!({
            "metadata": { "name": "a", "uid": "u", "resourceVersion": "7", "annotations": annotations, "labels": labels },
            "spec": { "unschedulable": cordon, "taints": taints },
        });
        if let Some(phase) = phase {
            node["metadata"]["labels"][keys::PHASE] = json!(phase);
        }
        if cordon {
            let taints = node["spec"]["taints"].as_array_mut().unwrap();
            taints.push(json!(Taint::no_schedule(keys::UNSCHEDULABLE_TAINT)));
        }
        node
    })
}

fn any_hold() -> impl Strategy<Value = Hold> {
    let holder = ("[a-f0-9-]{1,8}", 0..2_000_000_000_i64, 0..1_000_000_000_i32);
    let phase = proptest::sample::select(&Phase::ALL);
    let was = proptest::option::of(any::<bool>());
    let boot = proptest::option::of("[a-f0-9-]{0,8}/[0-9.]{0,8}");
    (holder, phase, was, boot, any::<u8>(), any::<u128>()).prop_map(
        |((node_uid, second, nanosecond), phase, was_unschedulable, boot_id, attempts, write)| Hold {
            holder: Holder {
                node_uid,
                created: format!("{:.9}", Timestamp::new(second, nanosecond).unwrap()),
            },
            phase,
            until: None,
            boot_id,
            was_unschedulable,
            attempts,
            write: Some(Proof::new(write)),
        },
    )
}

/// All patches that leave marks, for a Node that shows this hold's holder.
fn writes(node: &NodeView, leaves: &Hold) -> Vec<NodePatch> {
    let leaves = || leaves.clone();
    vec![
        NodePatch::stamp(node, leaves()),
        NodePatch::cordon(node, leaves(), true),
        NodePatch::delay(node, leaves()),
        NodePatch::delay_forced(node, leaves(), "a pod"),
        NodePatch::renew(node, leaves(), Some("1 left")),
        NodePatch::seal(node, leaves()),
        NodePatch::returning(node, leaves()),
    ]
}

/// The parts of a Node that belong to others and that no patch may touch.
fn of_others(node: &NodeView) -> (Vec<Option<&str>>, Vec<&Taint>) {
    let ours = [keys::REBOOTING, keys::UNSCHEDULABLE_TAINT];
    let taints = node
        .spec
        .taints
        .iter()
        .filter(|taint| !ours.contains(&taint.key.as_str()));
    let texts = OTHERS
        .iter()
        .flat_map(|key| [node.annotation(key), node.label(key)]);
    (texts.collect(), taints.collect())
}

proptest! {
    #[test]
    fn marks_are_read_as_they_were_written_whatever_stood_there(node in any_node(), hold in any_hold()) {
        let mut node = node;
        node["metadata"]["annotations"][keys::HOLDER] = json!(hold.holder.to_string());
        let before = view(&node);
        for patch in writes(&before, &hold) {
            let after = patched(&node, &patch);
            let Reading::Present(read) = read(&after) else {
                return Err(TestCaseError::fail(format!("{:?}: {after:?}", patch.kind)));
            };
            prop_assert!(read.is_same(&hold) && read.until.is_some(), "{:?}: {:?}", patch.kind, read);
            prop_assert!(patch.is_shown_on(&after));
            prop_assert_eq!(&patch.applied(&before, Timestamp::UNIX_EPOCH, &TERMS), &after);
            prop_assert_eq!(of_others(&after), of_others(&before));
            let other = Hold { write: Some(Proof::new(0)), ..hold.clone() };
            let is_twin = writes(&before, &other).iter().any(|twin| twin.is_copy(&patch));
            prop_assert!(is_twin);
        }
    }

    #[test]
    fn cordon_given_back_nothing_of_a_hold_is_left(
        node in any_node(), hold in any_hold(), now_cordoned in any::<bool>(), is_deferred in any::<bool>(),
    ) {
        let (mut node, mut hold) = (node, hold);
        node["metadata"]["annotations"][keys::HOLDER] = json!(hold.holder.to_string());
        node["spec"]["unschedulable"] = json!(now_cordoned);
        if is_deferred {
            "u".clone_into(&mut hold.holder.node_uid);
            node["metadata"]["annotations"][keys::UNCORDON_WANTED] = json!(format!("{} - jo", hold.holder.created));
        }
        let before = view(&node);
        let write = Proof::new(7);
        let patch = NodePatch::give_back(&before, &hold, write.clone());
        let after = patched(&node, &patch);
        prop_assert_eq!(&patch.applied(&before, Timestamp::UNIX_EPOCH, &TERMS), &after);
        prop_assert_eq!(read(&after), Reading::Absent);
        prop_assert!(!has_marks(&after) && patch.has_ended(&after) && patch.is_shown_on(&after));
        prop_assert!(was_given_back(&after, &hold.holder.created, &write));
        prop_assert!(!was_given_back(&after, &hold.holder.created, &Proof::new(8)));
        prop_assert_eq!(of_others(&after), of_others(&before));
        prop_assert_eq!(after.annotation(keys::UNCORDON_WANTED), None);
        let is_cancelled = cancelled(&before, &hold.holder).is_some();
        let is_kept = before.annotation(keys::KEEP_CORDONED).is_some();
        let expected = match hold.was_unschedulable {
            _ if deferred_until_end(&before, &hold).is_some() && !is_kept => false,
            Some(false) if is_kept => now_cordoned,
            Some(was) if hold.phase != Phase::Wanted && !(was && is_cancelled) => was,
            _ => now_cordoned,
        };
        prop_assert!(!is_deferred || hold.phase == Phase::Wanted || deferred_until_end(&before, &hold).is_some());
        prop_assert_eq!(after.spec.unschedulable, expected);
    }

    #[test]
    fn fail_safe_reading_only_no_marks_or_a_wish_that_can_be_read_leave_a_node_free(node in any_node()) {
        let node = view(&node);
        let reading = read(&node);
        let is_bare = node.annotation(keys::HOLDER).is_none() && node.label(keys::PHASE).is_none();
        prop_assert_eq!(reading == Reading::Absent, is_bare);
        let is_wish = node.label(keys::PHASE) == Some("wanted") && matches!(reading, Reading::Present(_));
        prop_assert_eq!(is_held(&reading), !is_bare && !is_wish);
    }

    #[test]
    fn fail_safe_reading_no_damage_to_the_marks_makes_a_held_node_free(
        hold in any_hold(), until in proptest::option::of(any_text()), phase in proptest::option::of(any_text()),
        damage in proptest::collection::btree_map(
            proptest::sample::select(&keys::MARK_ANNOTATIONS), proptest::option::of(any_text()), 0..4,
        ),
    ) {
        let phase = phase.filter(|phase| phase != "wanted");
        let is_wish = hold.phase == Phase::Wanted;
        let hold = Hold { phase: if is_wish { Phase::Draining } else { hold.phase }, ..hold };
        let bare = json!({ "metadata": { "name": "a" } });
        let mut node = patched(&bare, &NodePatch::stamp(&view(&bare), hold));
        prop_assert!(is_held(&read(&node)));
        let annotations = &mut node.metadata.annotations;
        let until = until.map(|until| (keys::UNTIL, Some(until)));
        for (key, value) in damage.into_iter().chain(until) {
            match value {
                Some(value) => drop(annotations.insert(key.to_owned(), value)),
                None => drop(annotations.remove(key)),
            }
        }
        if let Some(phase) = phase {
            drop(node.metadata.labels.insert(keys::PHASE.to_owned(), phase));
        }
        // The phase label is there, with any value.
        prop_assert!(is_held(&read(&node)), "{:?}", node);
    }
}
