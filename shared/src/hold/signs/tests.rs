//! Tests of the signs: what each flag writes, what is put back when a hold ends, and what a forged list of replaced values cannot do.

use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::hold::{Holder, Proof, Terms, read};
use crate::names::{is_key, is_value};

mod properties;

const CREATED: &str = "2026-11-23T10:00:00.000000001Z";

fn all() -> Signs {
    Signs {
        annotates: true,
        pre_reboot_labels: labels(&[("kured", "rebooting"), ("team", "ops")]),
        post_reboot_labels: labels(&[("kured", "done")]),
        soft_taint: Some("weave.works/kured-node-reboot".to_owned()),
        protects: true,
        shows_conditions: false,
    }
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// Applies a patch as the API server does.
fn apply(node: &mut NodeView, patch: &NodePatch) {
    let terms = Terms {
        reboot: SignedDuration::from_mins(30),
        release: SignedDuration::from_mins(5),
    };
    *node = patch.applied(node, CREATED.parse().unwrap(), &terms);
}

/// The Node after the wish of an agent with these signs.
fn wished(signs: &Signs, mut node: NodeView) -> NodeView {
    node.metadata.uid = "uid".to_owned();
    let holder = Holder {
        node_uid: "uid".to_owned(),
        created: CREATED.to_owned(),
    };
    let wish = signs.wished(
        NodePatch::stamp(&node, Hold::wish(holder, Proof::new(1))),
        &node,
        CREATED,
    );
    apply(&mut node, &wish);
    node
}

/// The marks that the cordon patch leaves.
fn draining(node: &NodeView, hold: &Hold) -> Hold {
    Hold {
        was_unschedulable: hold.was_unschedulable.or(Some(node.spec.unschedulable)),
        ..hold.written(Phase::Draining, Proof::new(2))
    }
}

/// The Node after wish and cordon of an agent with these signs.
fn cordoned(signs: &Signs, node: NodeView) -> NodeView {
    let mut node = wished(signs, node);
    let hold = read(&node).present().unwrap();
    let cordon = signs.cordoned(
        NodePatch::cordon(&node, draining(&node, &hold), true),
        &node,
        &hold,
    );
    apply(&mut node, &cordon);
    node
}

fn given_back(signs: &Signs, mut node: NodeView, has_rebooted: bool) -> NodeView {
    let hold = read(&node).present().unwrap();
    let patch = signs.given_back(
        NodePatch::give_back(&node, &hold, Proof::new(3)),
        &node,
        has_rebooted,
    );
    apply(&mut node, &patch);
    node
}

#[test]
fn the_signs_are_kureds_and_the_autoscalers() {
    let node = cordoned(&all(), NodeView::default());
    // The time of the wish, to the second, as Go writes RFC 3339.
    for key in [
        "weave.works/kured-reboot-in-progress",
        "weave.works/kured-most-recent-reboot-needed",
    ] {
        assert_eq!(node.annotation(key), Some("2026-11-23T10:00:00Z"));
    }
    for key in [
        "cluster-autoscaler.kubernetes.io/scale-down-disabled",
        "karpenter.sh/do-not-disrupt",
        "karpenter.sh/do-not-repair",
    ] {
        assert_eq!(node.annotation(key), Some("true"));
    }
    assert_eq!(
        (node.label("kured"), node.label("team")),
        (Some("rebooting"), Some("ops"))
    );
    let soft = Taint::prefer_no_schedule("weave.works/kured-node-reboot");
    assert!(node.spec.taints.contains(&soft), "{:?}", node.spec.taints);
}

/// The agent was rolled out with other flags meanwhile. Labels stay, because only the current flags say which labels are signs.
#[test]
fn signs_whose_flags_are_gone_are_put_back() {
    for (held, labels_left) in [
        (wished(&all(), NodeView::default()), labels(&[])),
        (cordoned(&all(), NodeView::default()), all().pre_reboot_labels),
    ] {
        let node = given_back(&Signs::default(), held, false);
        let left: Vec<&str> = node.metadata.annotations.keys().map(String::as_str).collect();
        assert_eq!(left, [keys::GIVEN_BACK, keys::KURED_MOST_RECENT_REBOOT_NEEDED]);
        assert!(node.spec.taints.is_empty(), "{node:?}");
        assert_eq!(node.metadata.labels, labels_left);
    }
}

#[test]
fn after_a_reboot_the_labels_say_so_and_the_rest_is_gone() {
    for was_cordoned in [false, true] {
        let mut node = NodeView::default();
        node.spec.unschedulable = was_cordoned;
        let node = given_back(&all(), cordoned(&all(), node), true);
        // Cordoned or not, unlike kured, which sets its labels only if it uncordons.
        assert_eq!(
            (node.label("kured"), node.label("team")),
            (Some("done"), Some("ops"))
        );
        assert_eq!(node.spec.unschedulable, was_cordoned);
        let left: Vec<&str> = node.metadata.annotations.keys().map(String::as_str).collect();
        assert_eq!(left, [keys::GIVEN_BACK, keys::KURED_MOST_RECENT_REBOOT_NEEDED]);
        assert_eq!(node.spec.taints.len(), usize::from(was_cordoned));
    }
}

#[test]
fn a_reboot_that_was_called_off_leaves_everything_as_it_was() {
    let mut before = NodeView::default();
    before.metadata.labels = labels(&[("kured", "done"), ("kubernetes.io/os", "linux")]);
    before.metadata.annotations = labels(&[(keys::SCALE_DOWN_DISABLED, "false"), ("other", "x")]);
    before.spec.taints = vec![Taint::no_schedule("somebody-elses")];
    let after = given_back(&all(), cordoned(&all(), before.clone()), false);
    assert_eq!(after.metadata.labels, before.metadata.labels);
    assert_eq!(after.spec.taints, before.spec.taints);
    let mut annotations = after.metadata.annotations;
    for key in [keys::GIVEN_BACK, keys::KURED_MOST_RECENT_REBOOT_NEEDED] {
        assert!(annotations.remove(key).is_some(), "{key}");
    }
    assert_eq!(annotations, before.metadata.annotations);
}

#[test]
fn what_a_person_has_set_stays() {
    let mut node = NodeView::default();
    node.metadata.annotations = labels(&[(keys::DO_NOT_DISRUPT, "true")]);
    let mut node = cordoned(&all(), node);
    // Others change another one while the node is held.
    drop(
        node.metadata
            .annotations
            .insert(keys::SCALE_DOWN_DISABLED.to_owned(), "a person's".to_owned()),
    );
    drop(node.metadata.labels.insert("team".to_owned(), "other".to_owned()));
    for has_rebooted in [false, true] {
        let node = given_back(&all(), node.clone(), has_rebooted);
        assert_eq!(node.annotation(keys::DO_NOT_DISRUPT), Some("true"));
        assert_eq!(node.annotation(keys::SCALE_DOWN_DISABLED), Some("a person's"));
        assert_eq!(node.label("team"), Some("other"));
        assert_eq!(node.annotation(keys::REPLACED), None);
    }
}

/// The agent may have other flags after the reboot.
#[test]
fn what_was_replaced_is_put_back_without_the_flag_that_replaced_it() {
    let other_value = Signs {
        pre_reboot_labels: labels(&[("kured", "draining")]),
        ..Signs::default()
    };
    let node = given_back(&other_value, cordoned(&all(), NodeView::default()), false);
    assert_eq!(node.metadata.labels, labels(&[("team", "ops")]));
    for key in PROTECTIONS.into_iter().chain([keys::REPLACED]) {
        assert_eq!(node.annotation(key), None, "{key}");
    }
}

#[test]
fn what_was_replaced_is_decided_once() {
    let node = cordoned(&all(), NodeView::default());
    let hold = read(&node).present().unwrap();
    let again = all().cordoned(
        NodePatch::cordon(&node, draining(&node, &hold), true),
        &node,
        &hold,
    );
    assert!(!again.annotations.contains_key(keys::REPLACED) && again.labels.is_empty());
}

/// A second try does not change since when the node wants a reboot.
#[test]
fn a_wish_that_kureds_annotation_shows_keeps_its_time() {
    let mut node = NodeView::default();
    node.metadata.annotations = labels(&[(keys::KURED_REBOOT_IN_PROGRESS, "2026-11-20T10:00:00Z")]);
    let node = cordoned(&all(), node);
    assert_eq!(
        node.annotation(keys::KURED_REBOOT_IN_PROGRESS),
        Some("2026-11-20T10:00:00Z")
    );
}

#[test]
fn signs_of_a_hold_that_was_lost_are_found() {
    let mut node = cordoned(&all(), NodeView::default());
    for key in keys::MARK_ANNOTATIONS {
        drop(node.metadata.annotations.remove(key));
    }
    drop(node.metadata.labels.remove(keys::PHASE));
    let tidy = all().leftover(&node).unwrap();
    assert_eq!((tidy.phase, tidy.unschedulable), (None, None));
    apply(&mut node, &tidy);
    assert!(node.metadata.labels.is_empty());
    assert_eq!(all().leftover(&node), None);
    assert_eq!(all().leftover(&NodeView::default()), None);
}

/// A held Node on which somebody wrote this text into `replaced`.
fn planted(replaced: &serde_json::Value) -> NodeView {
    let mut node = cordoned(&all(), NodeView::default());
    let text = (keys::REPLACED.to_owned(), replaced.to_string());
    node.metadata.annotations.extend([text]);
    node
}

/// The patches of an agent with these signs that end a hold or tidy up after one.
fn ends(signs: &Signs, node: &NodeView) -> Vec<NodePatch> {
    let given_back = |has_rebooted| signs.given_back(NodePatch::of(node), node, has_rebooted);
    let mut patches = vec![given_back(true), given_back(false)];
    patches.extend(signs.leftover(node));
    patches
}

#[test]
fn found_s1_no_mark_is_written_from_what_was_replaced() {
    let node = cordoned(&all(), NodeView::default());
    let marks = keys::MARK_ANNOTATIONS
        .into_iter()
        .chain(keys::OWNERS_ANNOTATIONS)
        .chain([keys::CANCEL, keys::PAUSE]);
    for key in marks {
        for was in [json!("evil/2026-01-01T00:00:00Z"), json!(null)] {
            let by = node.annotation(key).unwrap_or("planted too");
            let mut node = planted(&json!({ "annotations": { key: { "was": was, "by": by } } }));
            if key != keys::REPLACED {
                drop(node.metadata.annotations.insert(key.to_owned(), by.to_owned()));
            }
            for patch in ends(&all(), &node) {
                let written = patch.annotations.get(key);
                assert!(key == keys::REPLACED || written.is_none(), "{key}: {written:?}");
            }
        }
    }
    let mut node = planted(&json!({ "labels": { keys::PHASE: { "was": "sealed", "by": "draining" } } }));
    for phase in ["draining", "gone"] {
        drop(
            node.metadata
                .labels
                .insert(keys::PHASE.to_owned(), phase.to_owned()),
        );
        for patch in ends(&all(), &node) {
            assert!(!patch.labels.contains_key(keys::PHASE), "{patch:?}");
        }
    }
}

/// Otherwise the API server would refuse the whole patch each time, with code 422.
#[test]
fn found_s1_a_label_gets_no_value_that_is_none() {
    let long = "v".repeat(64);
    for was in ["evil/2026-01-01T00:00:00Z", "a b", "-", long.as_str()] {
        let change = json!({ "was": was, "by": "rebooting" });
        let node = planted(&json!({ "labels": { "kured": change } }));
        for patch in ends(&all(), &node) {
            let written = patch.labels.get("kured");
            let is_legal = |value: &Option<String>| value.as_deref().is_none_or(is_value);
            assert!(written.is_none_or(is_legal), "{written:?}");
        }
    }
}

#[test]
fn found_s1_a_label_or_annotation_of_others_is_left_alone() {
    let change = json!({ "was": "control-plane", "by": "x" });
    let both = json!({ "example.org/role": change, "kubernetes.io/hostname": change });
    let mut node = planted(&json!({ "annotations": both, "labels": both }));
    for key in ["example.org/role", "kubernetes.io/hostname"] {
        node.metadata
            .annotations
            .extend([(key.to_owned(), "x".to_owned())]);
        node.metadata.labels.extend([(key.to_owned(), "x".to_owned())]);
    }
    for patch in ends(&all(), &node) {
        for key in ["example.org/role", "kubernetes.io/hostname"] {
            assert!(!patch.annotations.contains_key(key), "{patch:?}");
            assert!(!patch.labels.contains_key(key), "{patch:?}");
        }
    }
}

#[test]
fn found_s1_no_taint_but_a_soft_one_of_somebodys_choice_goes() {
    let keys_of_others = [
        keys::REBOOTING,
        "node.kubernetes.io/unreachable",
        "node-role.kubernetes.io/control-plane",
        "kubernetes.io/x",
        "x.k8s.io/y",
    ];
    let mut node = planted(&json!({ "taints": keys_of_others }));
    let soft = keys_of_others.map(Taint::prefer_no_schedule);
    let hard = keys_of_others.map(Taint::no_schedule);
    node.spec.taints = soft.into_iter().chain(hard).collect();
    for patch in ends(&all(), &node) {
        assert_eq!(patch.taints, None);
    }
    // Replacements that are planted for keys that do not exist are not kept.
    let wish = wished(&Signs::default(), NodeView::default());
    let mut node = wish.clone();
    let text = json!({ "taints": ["a", "b"], "annotations": { keys::DO_NOT_DISRUPT: { "by": "true" } } });
    node.metadata
        .annotations
        .extend([(keys::REPLACED.to_owned(), text.to_string())]);
    let hold = read(&node).present().unwrap();
    let patch = Signs::default().cordoned(NodePatch::of(&node), &node, &hold);
    assert_eq!(patch.annotations.get(keys::REPLACED), Some(&None));
}

/// A replacement as somebody might plant it. `v` is the value that each key of [`tempting`] has.
fn any_change() -> impl Strategy<Value = serde_json::Value> {
    let was = proptest::option::of(prop_oneof![
        Just("legal".to_owned()),
        Just("evil/2026-01-01T00:00:00Z".to_owned()),
        Just("v".repeat(64)),
        ".{0,8}",
    ]);
    let by = proptest::sample::select(vec!["v", "true", "rebooting", "ops", "other"]);
    (was, by).prop_map(|(was, by)| json!({ "was": was, "by": by }))
}

fn tempting() -> Vec<&'static str> {
    let ours = keys::MARK_ANNOTATIONS
        .into_iter()
        .chain(keys::OWNERS_ANNOTATIONS)
        .chain([keys::PHASE, keys::AGENT, keys::PAUSE, keys::REBOOTING]);
    let others = [
        keys::KURED_REBOOT_IN_PROGRESS,
        keys::SCALE_DOWN_DISABLED,
        keys::DO_NOT_DISRUPT,
        keys::DO_NOT_REPAIR,
        keys::UNSCHEDULABLE_TAINT,
        "kured",
        "team",
        "example.org/x",
        "no key",
        "",
    ];
    ours.chain(others).collect()
}

fn any_replaced() -> impl Strategy<Value = String> {
    let changes = || {
        let keys = proptest::sample::select(tempting()).prop_map(str::to_owned);
        proptest::collection::btree_map(keys, any_change(), 0..6)
    };
    let taints = proptest::collection::vec(proptest::sample::select(tempting()), 0..6);
    let planted = (changes(), changes(), taints).prop_map(|(annotations, labels, taints)| {
        json!({ "annotations": annotations, "labels": labels, "taints": taints }).to_string()
    });
    prop_oneof![4 => planted, 1 => ".{0,40}"]
}

/// A Node that has every tempting key, so that anything planted could take effect.
fn tempted(phase: &str, values: &str, replaced: &str) -> NodeView {
    let mut node = NodeView::default();
    let all = || {
        tempting()
            .into_iter()
            .map(|key| (key.to_owned(), values.to_owned()))
    };
    node.metadata.annotations.extend(all());
    node.metadata.labels.extend(all());
    let own = [
        (keys::HOLDER, "uid/2026-11-23T10:00:00Z"),
        (keys::REPLACED, replaced),
    ];
    node.metadata.annotations.extend(labels(&own));
    for key in [keys::UNTIL, keys::WAS_UNSCHEDULABLE, keys::ATTEMPT, keys::WRITE] {
        drop(node.metadata.annotations.remove(key));
    }
    node.metadata.labels.extend(labels(&[(keys::PHASE, phase)]));
    for key in tempting() {
        node.spec
            .taints
            .extend([Taint::no_schedule(key), Taint::prefer_no_schedule(key)]);
    }
    node
}

fn is_of_kubernetes(key: &str) -> bool {
    key.split_once('/')
        .is_some_and(|(prefix, _)| prefix.ends_with("kubernetes.io") || prefix.ends_with("k8s.io"))
}

/// Asserts that a patch touches only what signs may touch, and that the API server would accept it.
fn is_harmless(patch: &NodePatch, node: &NodeView, signs: &Signs) {
    let annotations = [
        keys::REPLACED,
        keys::KURED_REBOOT_IN_PROGRESS,
        keys::SCALE_DOWN_DISABLED,
        keys::DO_NOT_DISRUPT,
        keys::DO_NOT_REPAIR,
    ];
    for key in patch.annotations.keys() {
        assert!(annotations.contains(&key.as_str()), "{key}");
    }
    for (key, value) in &patch.labels {
        let is_todays =
            signs.pre_reboot_labels.contains_key(key) || signs.post_reboot_labels.contains_key(key);
        assert!(
            is_todays && value.as_deref().is_none_or(is_value),
            "{key}: {value:?}"
        );
    }
    let taints = patch.taints.iter().flatten();
    assert!(
        taints.clone().all(|taint| node.spec.taints.contains(taint)),
        "a new taint"
    );
    for dropped in node
        .spec
        .taints
        .iter()
        .filter(|taint| !taints.clone().any(|left| left == *taint))
    {
        let is_soft = dropped.effect == keys::PREFER_NO_SCHEDULE && is_key(&dropped.key);
        let is_anybodys = !dropped.key.starts_with(keys::DOMAIN) && !is_of_kubernetes(&dropped.key);
        assert!(patch.taints.is_none() || is_soft && is_anybodys, "{dropped:?}");
    }
}

proptest! {
    #[test]
    fn found_s1_whatever_was_planted_a_patch_touches_signs_only_and_is_legal(
        replaced in any_replaced(), values in proptest::sample::select(vec!["v", "true", "rebooting"]),
        has_flags in any::<bool>(),
    ) {
        let signs = if has_flags { all() } else { Signs::default() };
        let node = tempted("delaying", values, &replaced);
        for patch in ends(&signs, &node) {
            is_harmless(&patch, &node, &signs);
            prop_assert_eq!(patch.annotations.get(keys::REPLACED), Some(&None));
        }
        let wish = tempted("wanted", values, &replaced);
        let hold = read(&wish).present().unwrap();
        let patch = signs.cordoned(NodePatch::of(&wish), &wish, &hold);
        is_harmless(&patch, &wish, &signs);
        // The patches after it act on what it recorded, and are harmless too.
        let mut cordoned = wish.clone();
        apply(&mut cordoned, &patch);
        for patch in ends(&signs, &cordoned) {
            is_harmless(&patch, &cordoned, &signs);
        }
    }
}
