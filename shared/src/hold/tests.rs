use super::*;

const TERMS: Terms = Terms {
    reboot: SignedDuration::ZERO,
    release: SignedDuration::ZERO,
};

fn node(json: &str) -> NodeView {
    serde_json::from_str(json).unwrap()
}

fn held(extra: &str) -> NodeView {
    node(&format!(
        r#"{{"metadata":{{"name":"a","uid":"u","resourceVersion":"7",
            "labels":{{"cordonhold.dev/phase":"draining"}},
            "annotations":{{"cordonhold.dev/holder":"u/2026-11-23T10:00:00.000000001Z"{extra}}}}},
            "spec":{{"unschedulable":true,"taints":[{{"key":"k","effect":"NoExecute","value":"v","timeAdded":"t"}},
            {{"key":"cordonhold.dev/rebooting","effect":"NoSchedule"}}]}}}}"#
    ))
}

#[test]
fn fail_safe_reading_what_cannot_be_read_is_held() {
    let cases = [
        ("{}", false),
        (
            r#"{"metadata":{"annotations":{"cordonhold.dev/until":"2026-11-23T10:00:00Z"}}}"#,
            false,
        ),
        (
            r#"{"metadata":{"annotations":{"cordonhold.dev/holder":"u/2026-11-23T10:00:00Z"}}}"#,
            true,
        ),
        (
            r#"{"metadata":{"labels":{"cordonhold.dev/phase":"wanted"}}}"#,
            true,
        ),
        (
            r#"{"metadata":{"labels":{"cordonhold.dev/phase":"wanted"},
                "annotations":{"cordonhold.dev/holder":"u/2026-11-23T10:00:00Z"}}}"#,
            false,
        ),
        (
            r#"{"metadata":{"labels":{"cordonhold.dev/phase":"wanted"},
                "annotations":{"cordonhold.dev/holder":"u/yesterday"}}}"#,
            true,
        ),
        (
            r#"{"metadata":{"labels":{"cordonhold.dev/phase":"pondering"},
                "annotations":{"cordonhold.dev/holder":"u/2026-11-23T10:00:00Z"}}}"#,
            true,
        ),
    ];
    for (json, expected) in cases {
        assert_eq!(is_held(&read(&node(json))), expected, "{json}");
    }
    for extra in [
        r#","cordonhold.dev/until":"soon""#,
        r#","cordonhold.dev/was-unschedulable":"maybe""#,
    ] {
        assert!(matches!(read(&held(extra)), Reading::Malformed(_)), "{extra}");
    }
}

#[test]
fn a_hold_lapses_only_after_until_grace_and_skew() {
    let hold = read(&held(r#","cordonhold.dev/until":"2026-11-23T10:10:00Z""#))
        .present()
        .unwrap();
    let skew = SignedDuration::from_secs(30);
    for (now, lapsed) in [
        ("2026-11-23T10:10:01Z", false),
        ("2026-11-23T10:15:30Z", false),
        ("2026-11-23T10:15:31Z", true),
    ] {
        assert_eq!(hold.has_lapsed(now.parse().unwrap(), skew), lapsed, "{now}");
    }
    let without = read(&held("")).present().unwrap();
    assert!(!without.has_lapsed(Timestamp::MAX, skew));
}

#[test]
fn a_patch_is_a_compare_and_swap_that_keeps_foreign_taints() {
    let node = held(r#","cordonhold.dev/was-unschedulable":"false""#);
    let hold = read(&node).present().unwrap();
    let body = NodePatch::give_back(&node, &hold).body(Timestamp::UNIX_EPOCH, &TERMS);
    assert_eq!(
        body,
        json!({
            "metadata": {
                "resourceVersion": "7",
                "annotations": {
                    keys::HOLDER: null,
                    keys::WAS_UNSCHEDULABLE: null,
                    keys::GIVEN_BACK: hold.holder.created,
                },
                "labels": { keys::PHASE: null },
            },
            "spec": {
                "unschedulable": null,
                "taints": [{ "key": "k", "effect": "NoExecute", "value": "v", "timeAdded": "t" }],
            },
        })
    );
}

#[test]
fn cordon_given_back_stays_where_a_person_asked_for_it_or_nobody_knows() {
    for extra in [
        r#","cordonhold.dev/was-unschedulable":"true""#,
        r#","cordonhold.dev/was-unschedulable":"false","cordonhold.dev/keep-cordoned":"""#,
        "",
    ] {
        let node = held(extra);
        let hold = read(&node).present().unwrap();
        let patch = NodePatch::give_back(&node, &hold);
        assert_eq!(patch.unschedulable, None, "{extra}");
        assert_eq!(patch.taints.map(|taints| taints.len()), Some(1), "{extra}");
    }
}

#[test]
fn c7_what_the_cordon_was_is_written_once() {
    // CORDON-GIVEN-BACK.
    let decided = held(r#","cordonhold.dev/was-unschedulable":"false""#);
    let hold = read(&decided).present().unwrap();
    let patch = NodePatch::cordon(&decided, &hold, "boot", true);
    assert!(!patch.annotations.contains_key(keys::WAS_UNSCHEDULABLE));
    // Stripped while we drain: the cordon that is there is our own, and says nothing.
    let mut undecided = held("");
    let hold = read(&undecided).present().unwrap();
    let patch = NodePatch::cordon(&undecided, &hold, "boot", true);
    assert!(!patch.annotations.contains_key(keys::WAS_UNSCHEDULABLE));
    let _ = undecided
        .metadata
        .labels
        .insert(keys::PHASE.to_owned(), "wanted".to_owned());
    let hold = read(&undecided).present().unwrap();
    let patch = NodePatch::cordon(&undecided, &hold, "boot", true);
    assert_eq!(
        patch.annotations.get(keys::WAS_UNSCHEDULABLE),
        Some(&Some("true".to_owned()))
    );
}

#[test]
fn a_stamp_takes_nothing_over_from_a_hold_that_was_lost() {
    let mut node = held(r#","cordonhold.dev/was-unschedulable":"false","cordonhold.dev/boot-id":"old""#);
    let holder = read(&node).present().unwrap().holder;
    let _ = node.metadata.annotations.remove(keys::HOLDER);
    let patch = NodePatch::stamp(&node, &holder);
    assert_eq!(patch.annotations.get(keys::WAS_UNSCHEDULABLE), Some(&None));
    assert_eq!(patch.annotations.get(keys::BOOT_ID), Some(&None));
}

#[test]
fn cordon_given_back_restores_a_cordon_that_others_cleared_unless_a_person_was_let_past() {
    let mut node = held(r#","cordonhold.dev/was-unschedulable":"true""#);
    node.spec.unschedulable = false;
    let hold = read(&node).present().unwrap();
    let patch = NodePatch::give_back(&node, &hold);
    assert_eq!(patch.unschedulable, Some(true));
    assert!(
        patch
            .taints
            .unwrap()
            .iter()
            .any(|taint| taint.is_no_schedule(keys::UNSCHEDULABLE_TAINT))
    );
    let cancel = format!("{} needed elsewhere", hold.holder.created);
    let _ = node.metadata.annotations.insert(keys::CANCEL.to_owned(), cancel);
    assert_eq!(NodePatch::give_back(&node, &hold).unschedulable, None);
}

#[test]
fn c8_the_patch_that_ends_a_wish_leaves_the_cordon_whatever_the_marks_say() {
    // CORDON-GIVEN-BACK.
    let mut node = held(r#","cordonhold.dev/was-unschedulable":"false""#);
    let _ = node
        .metadata
        .labels
        .insert(keys::PHASE.to_owned(), "wanted".to_owned());
    let hold = read(&node).present().unwrap();
    assert_eq!(NodePatch::give_back(&node, &hold).unschedulable, None);
}
