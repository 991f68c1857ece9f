//! A property of every Node and every set of flags: after a reboot that was called off, the Node is as it was before.

use std::collections::BTreeSet;

use super::*;
use crate::hold::conditions_patch;
use crate::node::Condition;

const LABELS: [&str; 3] = ["kured", "team", "example.com/role"];
const SOFT: &str = "weave.works/kured-node-reboot";

fn any_labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let key = proptest::sample::select(&LABELS).prop_map(str::to_owned);
    proptest::collection::btree_map(key, "[ab]?", 0..4)
}

fn any_signs() -> impl Strategy<Value = Signs> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (flags, any_labels(), any_labels()).prop_map(
        |((annotates, protects, softens, shows_conditions), before, after)| Signs {
            annotates,
            pre_reboot_labels: before,
            post_reboot_labels: after,
            soft_taint: softens.then(|| SOFT.to_owned()),
            protects,
            shows_conditions,
        },
    )
}

fn any_protections() -> impl Strategy<Value = BTreeMap<String, String>> {
    let key = proptest::sample::select(&PROTECTIONS).prop_map(str::to_owned);
    proptest::collection::btree_map(key, "(true|false|.{0,3})", 0..3)
}

/// Any Node without marks and signs, cordoned or not.
fn any_node() -> impl Strategy<Value = NodeView> {
    let taints = proptest::sample::subsequence(vec!["a", "example.com/b"], 0..=2);
    (any_protections(), any_labels(), taints, any::<bool>()).prop_map(
        |(annotations, labels, taints, cordon)| {
            let mut node = NodeView::default();
            node.metadata.annotations = annotations;
            node.metadata.labels = labels;
            let soft = taints.iter().map(|key| Taint::prefer_no_schedule(key));
            let hard = taints.iter().map(|key| Taint::no_schedule(key));
            node.spec.taints = soft.chain(hard).collect();
            node.spec.unschedulable = cordon;
            node.spec
                .taints
                .extend(cordon.then(|| Taint::no_schedule(keys::UNSCHEDULABLE_TAINT)));
            node
        },
    )
}

/// The Node without the annotations that stay after a reboot or a wish.
fn but_for_traces(mut node: NodeView) -> NodeView {
    for key in [keys::GIVEN_BACK, keys::KURED_MOST_RECENT_REBOOT_NEEDED] {
        drop(node.metadata.annotations.remove(key));
    }
    node.metadata.uid.clear();
    node
}

/// The labels or annotations to expect at the end if others changed some while the Node was held: a change of others stays, unless it has
/// the value that the sign wrote.
fn expected(
    before: &BTreeMap<String, String>,
    held: &BTreeMap<String, String>,
    changes: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut expected = before.clone();
    let theirs = changes
        .iter()
        .filter(|(key, value)| held.get(*key) != Some(*value));
    expected.extend(theirs.map(|(key, value)| (key.clone(), value.clone())));
    expected
}

proptest! {
    #[test]
    fn cordon_given_back_a_reboot_that_was_called_off_leaves_what_was_there_before(
        signs in any_signs(), before in any_node(), is_cordoned in any::<bool>(),
    ) {
        let held = if is_cordoned { cordoned(&signs, before.clone()) } else { wished(&signs, before.clone()) };
        let after = given_back(&signs, held, false);
        prop_assert_eq!(but_for_traces(after.clone()), before);
        prop_assert_eq!(signs.leftover(&after), None);
    }

    #[test]
    fn what_others_changed_while_the_node_was_held_stays_as_they_left_it(
        signs in any_signs(), before in any_node(), labels in any_labels(), annotations in any_protections(),
    ) {
        let mut held = cordoned(&signs, before.clone());
        let was_held = held.metadata.clone();
        held.metadata.labels.extend(labels.clone());
        held.metadata.annotations.extend(annotations.clone());
        let after = but_for_traces(given_back(&signs, held, false)).metadata;
        prop_assert_eq!(after.labels, expected(&before.metadata.labels, &was_held.labels, &labels));
        let expected = expected(&before.metadata.annotations, &was_held.annotations, &annotations);
        prop_assert_eq!(after.annotations, expected);
    }

    #[test]
    fn after_a_reboot_nothing_but_the_labels_is_left_of_the_signs(signs in any_signs(), before in any_node()) {
        let after = but_for_traces(given_back(&signs, cordoned(&signs, before.clone()), true));
        let mut expected = before;
        expected.metadata.labels.extend(signs.pre_reboot_labels);
        expected.metadata.labels.extend(signs.post_reboot_labels);
        prop_assert_eq!(after, expected);
    }
}

/// Something that is written on the Node of an agent with `--protect-from-autoscaler` and `--node-conditions`.
#[derive(Clone, Copy, Debug)]
enum Write {
    Wish,
    /// The next phase of the hold.
    Next,
    GiveBack(bool),
    /// The conditions, by the task that follows the Node.
    Conditions,
    /// A process that starts removes what an earlier one has left on a Node without marks.
    Tidy,
}

fn any_write() -> impl Strategy<Value = Write> {
    prop_oneof![
        2 => Just(Write::Wish),
        4 => Just(Write::Next),
        2 => any::<bool>().prop_map(Write::GiveBack),
        4 => Just(Write::Conditions),
        1 => Just(Write::Tidy),
    ]
}

/// Carries a write out on this version of the Node, if it is decided on now. Each write is a compare-and-swap, so one that was decided
/// on an older version changes nothing, and a crash leaves the Node between two writes.
fn carry_out(write: Write, signs: &Signs, node: &mut NodeView) {
    let hold = read(node).present();
    match (write, hold) {
        (Write::Wish, None) => *node = wished(signs, node.clone()),
        (Write::Next, Some(hold)) if hold.phase == Phase::Wanted => {
            let leaves = draining(node, &hold);
            let patch = signs.cordoned(NodePatch::cordon(node, leaves, true), node, &hold);
            apply(node, &patch);
        }
        (Write::Next, Some(hold)) => {
            let next = match hold.phase {
                Phase::Wanted | Phase::Draining => Phase::Delaying,
                Phase::Delaying => Phase::Sealed,
                Phase::Sealed | Phase::Returning => Phase::Returning,
            };
            let patch = NodePatch::returning(node, hold.written(next, Proof::new(9)));
            apply(node, &patch);
        }
        (Write::GiveBack(has_rebooted), Some(_)) => *node = given_back(signs, node.clone(), has_rebooted),
        (Write::Tidy, None) => {
            if let Some(patch) = signs.leftover(node) {
                apply(node, &patch);
            }
        }
        (Write::Conditions, _) => show(signs, node),
        (Write::Wish | Write::Tidy, Some(_)) | (Write::Next | Write::GiveBack(_), None) => {}
    }
}

/// Writes the conditions as the API server does with a strategic merge patch.
fn show(signs: &Signs, node: &mut NodeView) {
    let Some(patch) = conditions_patch(node, signs, CREATED.parse().unwrap()) else {
        return;
    };
    let annotations = patch["metadata"]["annotations"].as_object().into_iter().flatten();
    for (key, value) in annotations {
        drop(match value.as_str() {
            Some(value) => node.metadata.annotations.insert(key.clone(), value.to_owned()),
            None => node.metadata.annotations.remove(key),
        });
    }
    for condition in patch["status"]["conditions"].as_array().into_iter().flatten() {
        let condition: Condition = serde_json::from_value(condition.clone()).unwrap();
        node.status
            .conditions
            .retain(|shown| shown.kind != condition.kind);
        node.status.conditions.push(condition);
    }
}

proptest! {
    #[test]
    fn while_conditions_show_autoscalers_leave_the_node_in_each_order_of_the_writes_and_then_all_is_as_before(
        mut signs in any_signs(), before in any_node(), writes in proptest::collection::vec(any_write(), 0..24),
    ) {
        (signs.protects, signs.shows_conditions) = (true, true);
        let mut node = before.clone();
        for write in writes {
            carry_out(write, &signs, &mut node);
            // That a node is held invites no autoscaler.
            let invites = |shown: &Condition| shown.status == "True" && shown.kind != keys::HELD_CONDITION;
            let is_shown = node.status.conditions.iter().any(invites);
            let is_protected = PROTECTIONS.iter().all(|key| node.annotation(key) == Some("true"));
            prop_assert!(!is_shown || is_protected, "after {:?}: {:?}", write, node);
        }
        for write in [Write::GiveBack(false), Write::Conditions, Write::Conditions] {
            carry_out(write, &signs, &mut node);
        }
        let keys: BTreeSet<&str> = PROTECTIONS.into_iter().chain([keys::REPLACED]).collect();
        let shown = |node: &NodeView| -> Vec<Option<String>> {
            keys.iter().map(|key| node.annotation(key).map(str::to_owned)).collect()
        };
        prop_assert_eq!(shown(&node), shown(&before));
        prop_assert_eq!(conditions_patch(&node, &signs, CREATED.parse().unwrap()), None);
    }
}
