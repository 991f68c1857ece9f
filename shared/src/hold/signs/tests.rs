use super::*;
use crate::hold::{Holder, read};

const CREATED: &str = "2026-11-23T10:00:00.000000001Z";

fn all() -> Signs {
    Signs {
        annotates: true,
        pre_reboot_labels: labels(&[("kured", "rebooting"), ("team", "ops")]),
        post_reboot_labels: labels(&[("kured", "done")]),
        soft_taint: Some("weave.works/kured-node-reboot".to_owned()),
        protects: true,
    }
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// What the API server makes of a patch.
fn apply(node: &mut NodeView, patch: &NodePatch) {
    fn merge(map: &mut BTreeMap<String, String>, changes: &BTreeMap<String, Option<String>>) {
        for (key, value) in changes {
            match value {
                Some(value) => drop(map.insert(key.clone(), value.clone())),
                None => drop(map.remove(key)),
            }
        }
    }
    merge(&mut node.metadata.annotations, &patch.annotations);
    merge(&mut node.metadata.labels, &patch.labels);
    if let Some(phase) = patch.phase {
        let phase = (keys::PHASE.to_owned(), phase.map(|phase| phase.to_string()));
        merge(&mut node.metadata.labels, &BTreeMap::from([phase]));
    }
    if let Some(taints) = &patch.taints {
        node.spec.taints.clone_from(taints);
    }
    if let Some(unschedulable) = patch.unschedulable {
        node.spec.unschedulable = unschedulable;
    }
}

/// Wished, by an agent with these signs.
fn wished(signs: &Signs, mut node: NodeView) -> NodeView {
    node.metadata.uid = "uid".to_owned();
    let holder = Holder {
        node_uid: "uid".to_owned(),
        created: CREATED.to_owned(),
    };
    let wish = signs.wished(NodePatch::stamp(&node, &holder), &node, CREATED);
    apply(&mut node, &wish);
    node
}

/// Wished and cordoned.
fn cordoned(signs: &Signs, node: NodeView) -> NodeView {
    let mut node = wished(signs, node);
    let hold = read(&node).present().unwrap();
    let cordon = signs.cordoned(NodePatch::cordon(&node, &hold, "boot-1", true), &node, &hold);
    apply(&mut node, &cordon);
    node
}

fn given_back(signs: &Signs, mut node: NodeView, has_rebooted: bool) -> NodeView {
    let hold = read(&node).present().unwrap();
    let patch = signs.given_back(NodePatch::give_back(&node, &hold), &node, has_rebooted);
    apply(&mut node, &patch);
    node
}

#[test]
fn the_signs_are_kureds_and_the_autoscalers() {
    let node = cordoned(&all(), NodeView::default());
    // Of the wish, to the second, as Go writes RFC 3339.
    for key in [
        "weave.works/kured-reboot-in-progress",
        "weave.works/kured-most-recent-reboot-needed",
    ] {
        assert_eq!(node.annotation(key), Some("2026-11-23T10:00:00Z"));
    }
    for key in [
        "cluster-autoscaler.kubernetes.io/scale-down-disabled",
        "karpenter.sh/do-not-disrupt",
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

/// The agent was rolled out with other flags meanwhile.
#[test]
fn signs_whose_flags_are_gone_are_put_back() {
    for held in [
        wished(&all(), NodeView::default()),
        cordoned(&all(), NodeView::default()),
    ] {
        let node = given_back(&Signs::default(), held, false);
        let left: Vec<&str> = node.metadata.annotations.keys().map(String::as_str).collect();
        assert_eq!(left, [keys::GIVEN_BACK, keys::KURED_MOST_RECENT_REBOOT_NEEDED]);
        assert!(
            node.spec.taints.is_empty() && node.metadata.labels.is_empty(),
            "{node:?}"
        );
    }
}

#[test]
fn after_a_reboot_the_labels_say_so_and_the_rest_is_gone() {
    for was_cordoned in [false, true] {
        let mut node = NodeView::default();
        node.spec.unschedulable = was_cordoned;
        let node = given_back(&all(), cordoned(&all(), node), true);
        // Cordoned or not: kured sets its labels only where it uncordons.
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
    // And another one while the node is held.
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

/// The flags may be others when the agent is back.
#[test]
fn what_was_replaced_is_put_back_without_the_flag_that_replaced_it() {
    let node = given_back(&Signs::default(), cordoned(&all(), NodeView::default()), false);
    assert!(node.metadata.labels.is_empty());
    for key in [keys::SCALE_DOWN_DISABLED, keys::DO_NOT_DISRUPT, keys::REPLACED] {
        assert_eq!(node.annotation(key), None, "{key}");
    }
}

#[test]
fn what_was_replaced_is_decided_once() {
    let node = cordoned(&all(), NodeView::default());
    let hold = read(&node).present().unwrap();
    let again = all().cordoned(NodePatch::cordon(&node, &hold, "boot-1", true), &node, &hold);
    assert!(!again.annotations.contains_key(keys::REPLACED) && again.labels.is_empty());
}

/// Since when the node wants a reboot does not change when the reboot is tried again.
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
        let _ = node.metadata.annotations.remove(key);
    }
    let _ = node.metadata.labels.remove(keys::PHASE);
    let tidy = all().leftover(&node).unwrap();
    assert_eq!((tidy.phase, tidy.unschedulable), (None, None));
    apply(&mut node, &tidy);
    assert!(node.metadata.labels.is_empty());
    assert_eq!(all().leftover(&node), None);
    assert_eq!(all().leftover(&NodeView::default()), None);
}
