//! A property of every Node and every set of flags: after a reboot that was called off, the Node is as it was before.

use super::*;

const PROTECTIONS: [&str; 2] = [keys::SCALE_DOWN_DISABLED, keys::DO_NOT_DISRUPT];
const LABELS: [&str; 3] = ["kured", "team", "example.com/role"];
const SOFT: &str = "weave.works/kured-node-reboot";

fn any_labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let key = proptest::sample::select(&LABELS).prop_map(str::to_owned);
    proptest::collection::btree_map(key, "[ab]?", 0..4)
}

fn any_signs() -> impl Strategy<Value = Signs> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (flags, any_labels(), any_labels()).prop_map(|((annotates, protects, softens), before, after)| Signs {
        annotates,
        pre_reboot_labels: before,
        post_reboot_labels: after,
        soft_taint: softens.then(|| SOFT.to_owned()),
        protects,
    })
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
