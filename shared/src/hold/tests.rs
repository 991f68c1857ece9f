//! Tests of the marks: how they are read, when a hold lapses, and what each patch writes.

use serde_json::json;

use super::*;

mod properties;

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
    let body = NodePatch::give_back(&node, &hold, Proof::new(1)).body(Timestamp::UNIX_EPOCH, &TERMS);
    assert_eq!(
        body,
        json!({
            "metadata": {
                "resourceVersion": "7",
                "annotations": {
                    keys::HOLDER: null,
                    keys::WAS_UNSCHEDULABLE: null,
                    keys::GIVEN_BACK: format!("{} {:032x}", hold.holder.created, 1),
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
        let patch = NodePatch::give_back(&node, &hold, Proof::new(1));
        assert_eq!(patch.unschedulable, None, "{extra}");
        assert_eq!(patch.taints.map(|taints| taints.len()), Some(1), "{extra}");
    }
}

#[test]
fn every_write_of_the_marks_writes_all_of_them() {
    // Marks that somebody else has planted.
    let planted = held(
        r#","cordonhold.dev/was-unschedulable":"true","cordonhold.dev/boot-id":"x","cordonhold.dev/attempt":"9","cordonhold.dev/write":"y""#,
    );
    let hold = read(&planted).present().unwrap();
    let wish = Hold::wish(hold.holder.clone(), Proof::new(1));
    let ours = Hold {
        boot_id: Some("boot/1.0".to_owned()),
        was_unschedulable: Some(false),
        attempts: 1,
        ..wish.written(Phase::Draining, Proof::new(2))
    };
    let patches = [
        NodePatch::cordon(&planted, ours.clone(), true),
        NodePatch::delay(&planted, ours.clone()),
        NodePatch::delay_forced(&planted, ours.clone(), "x"),
        NodePatch::renew(&planted, ours.clone(), None),
        NodePatch::seal(&planted, ours.clone()),
        NodePatch::returning(&planted, ours.clone()),
    ];
    for patch in patches {
        let written = |key: &str| patch.annotations[key].clone().unwrap();
        assert_eq!(patch.phase, Some(Some(Phase::Draining)));
        assert_eq!(written(keys::WAS_UNSCHEDULABLE), "false");
        assert_eq!(written(keys::BOOT_ID), "boot/1.0");
        assert_eq!(written(keys::ATTEMPT), "1");
        assert_eq!(written(keys::WRITE), format!("{:032x}", 2));
    }
    let patch = NodePatch::renew(&planted, wish, None);
    for key in [keys::WAS_UNSCHEDULABLE, keys::BOOT_ID, keys::ATTEMPT] {
        assert_eq!(patch.annotations.get(key), Some(&None), "{key}");
    }
}

#[test]
fn a_set_of_marks_is_compared_whole_but_for_until() {
    let one = Hold::wish(Holder::parse("u/2026-11-23T10:00:00Z").unwrap(), Proof::new(1));
    assert!(one.is_same(&one.clone()));
    let later = Hold {
        until: Some(Timestamp::MAX),
        ..one.clone()
    };
    assert!(one.is_same(&later));
    for other in [
        Hold {
            attempts: 1,
            ..one.clone()
        },
        Hold {
            write: None,
            ..one.clone()
        },
        Hold {
            phase: Phase::Draining,
            ..one.clone()
        },
        Hold {
            was_unschedulable: Some(true),
            ..one.clone()
        },
        Hold {
            boot_id: Some("b".to_owned()),
            ..one.clone()
        },
    ] {
        assert!(!one.is_same(&other), "{other:?}");
        assert!(
            other.write.is_some() || !other.is_same(&other),
            "a set without a proof is nobody's"
        );
    }
}

#[test]
fn a_stamp_takes_nothing_over_from_a_hold_that_was_lost() {
    let mut node = held(r#","cordonhold.dev/was-unschedulable":"false","cordonhold.dev/boot-id":"old""#);
    let holder = read(&node).present().unwrap().holder;
    drop(node.metadata.annotations.remove(keys::HOLDER));
    let patch = NodePatch::stamp(&node, Hold::wish(holder, Proof::new(1)));
    assert_eq!(patch.annotations.get(keys::WAS_UNSCHEDULABLE), Some(&None));
    assert_eq!(patch.annotations.get(keys::BOOT_ID), Some(&None));
}

#[test]
fn cordon_given_back_restores_a_cordon_that_others_cleared_unless_a_person_was_let_past() {
    let mut node = held(r#","cordonhold.dev/was-unschedulable":"true""#);
    node.spec.unschedulable = false;
    let hold = read(&node).present().unwrap();
    let patch = NodePatch::give_back(&node, &hold, Proof::new(1));
    assert_eq!(patch.unschedulable, Some(true));
    assert!(
        patch
            .taints
            .unwrap()
            .iter()
            .any(|taint| taint.is_no_schedule(keys::UNSCHEDULABLE_TAINT))
    );
    let cancel = format!("{} needed elsewhere", hold.holder.created);
    drop(node.metadata.annotations.insert(keys::CANCEL.to_owned(), cancel));
    assert_eq!(
        NodePatch::give_back(&node, &hold, Proof::new(1)).unschedulable,
        None
    );
}

#[test]
fn c8_the_patch_that_ends_a_wish_leaves_the_cordon_whatever_the_marks_say() {
    // CORDON-GIVEN-BACK.
    let mut node = held(r#","cordonhold.dev/was-unschedulable":"false""#);
    drop(
        node.metadata
            .labels
            .insert(keys::PHASE.to_owned(), "wanted".to_owned()),
    );
    let hold = read(&node).present().unwrap();
    assert_eq!(
        NodePatch::give_back(&node, &hold, Proof::new(1)).unschedulable,
        None
    );
}

#[test]
fn last_wish_the_cordon_is_given_back_by_precedence_whatever_it_was() {
    const DEFERRED: &str = r#","cordonhold.dev/uncordon-wanted":"2026-11-23T10:00:00Z - jo""#;
    const KEPT: &str = r#","cordonhold.dev/keep-cordoned":"disk""#;
    let created = read(&held("")).present().unwrap().holder.created;
    let cancel = format!(r#","cordonhold.dev/cancel":"{created} no""#);
    for was in [None, Some(true), Some(false)] {
        for cancel in ["", &cancel] {
            let mut extra = was.map_or_else(String::new, |was| {
                format!(r#","cordonhold.dev/was-unschedulable":"{was}""#)
            });
            extra.push_str(cancel);
            extra.push_str(&DEFERRED.replace("2026-11-23T10:00:00Z", &created));
            let after = |extra: &str| {
                let node = held(extra);
                let hold = read(&node).present().unwrap();
                let patch = NodePatch::give_back(&node, &hold, Proof::new(1));
                let after = patch.applied(&node, Timestamp::UNIX_EPOCH, &TERMS);
                (
                    after.spec.unschedulable,
                    after.is_tainted(keys::UNSCHEDULABLE_TAINT),
                )
            };
            assert_eq!(after(&extra), (false, false), "{extra}");
            assert!(after(&format!("{extra}{KEPT}")).0, "{extra}");
        }
    }
}

#[test]
fn last_wish_a_cordon_after_an_uncordon_that_was_done_under_the_hold_stays() {
    let created = read(&held("")).present().unwrap().holder.created;
    let done = format!(r#","cordonhold.dev/uncordon-wanted":"{created} done:- jo""#);
    for was in [true, false] {
        for is_cordoned in [false, true] {
            let mut node = held(&format!(r#"{done},"cordonhold.dev/was-unschedulable":"{was}""#));
            node.spec.unschedulable = is_cordoned;
            let hold = read(&node).present().unwrap();
            let after = |patch: NodePatch| patch.applied(&node, Timestamp::UNIX_EPOCH, &TERMS);
            let back = after(NodePatch::give_back(&node, &hold, Proof::new(1)));
            assert_eq!(back.spec.unschedulable, is_cordoned, "was {was}");
            assert_eq!(back.annotation(keys::UNCORDON_WANTED), None);
            // The agent goes on, and cordons it again.
            let again = after(NodePatch::cordon(&node, hold, true));
            let deferred = deferred_of_hold(&again).map(|deferred| deferred.user);
            assert_eq!(deferred.as_deref(), (!is_cordoned).then_some("jo"));
        }
    }
}

#[test]
fn a_later_write_leaves_no_until_of_the_write_before() {
    let hold = read(&held(r#","cordonhold.dev/until":"2026-11-23T11:00:00Z""#))
        .present()
        .unwrap();
    assert!(hold.until.is_some());
    assert_eq!(hold.written(Phase::Sealed, Proof::new(1)).until, None);
}

#[test]
fn an_entry_that_is_kept_is_due_for_release_at_the_time_on_the_node() {
    let due = |extra: &str| release_at(&held(extra)).map(|time| time.to_string());
    let kept = r#","cordonhold.dev/release-at":"2026-11-23T10:00:00.000000001Z 2026-11-23T10:30:00Z""#;
    assert_eq!(due(kept).as_deref(), Some("2026-11-23T10:30:00Z"));
    for unreadable in ["", &kept.replace("10:30:00Z", "soon"), &kept.replace(' ', "_")] {
        assert_eq!(due(unreadable), None, "{unreadable}");
    }
}

#[test]
fn a_seal_lapses_after_the_time_of_a_reboot_and_any_other_write_after_that_of_a_renewal() {
    let node = held("");
    let hold = read(&node).present().unwrap();
    let terms = Terms {
        reboot: SignedDuration::from_hours(2),
        ..TERMS
    };
    let until = |patch: NodePatch| {
        let body = patch.body(Timestamp::UNIX_EPOCH, &terms);
        body["metadata"]["annotations"][keys::UNTIL]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        until(NodePatch::seal(&node, hold.written(Phase::Sealed, Proof::new(1)))),
        "1970-01-01T02:00:00Z"
    );
    let renewed = until(NodePatch::renew(&node, hold, None));
    let ahead = Timestamp::UNIX_EPOCH.saturating_add(UNTIL_AHEAD).unwrap();
    assert_eq!(renewed, format!("{ahead:.0}"));
}

#[test]
fn last_wish_a_cordon_keeps_the_uncordon_that_it_cannot_read_but_not_over_a_wish() {
    let unreadable = r#","cordonhold.dev/uncordon-wanted":"of another tool""#;
    let left = |node: &NodeView| {
        let hold = read(node).present().unwrap();
        let after = NodePatch::cordon(node, hold, true).applied(node, Timestamp::UNIX_EPOCH, &TERMS);
        after.annotation(keys::UNCORDON_WANTED).map(str::to_owned)
    };
    let mut node = held(unreadable);
    assert_eq!(left(&node).as_deref(), Some("of another tool"));
    drop(
        node.metadata
            .labels
            .insert(keys::PHASE.to_owned(), "wanted".to_owned()),
    );
    assert_eq!(left(&node), None);
}

#[test]
fn an_uncordon_that_was_done_under_the_hold_of_another_node_object_counts_for_nothing() {
    let created = read(&held("")).present().unwrap().holder.created;
    let mut node = held(&format!(
        r#","cordonhold.dev/uncordon-wanted":"{created} done:- jo""#
    ));
    let hold = read(&node).present().unwrap();
    assert!(done_before_end(&node, &hold).is_some());
    node.metadata.uid = "another".to_owned();
    assert_eq!(done_before_end(&node, &hold), None);
}

#[test]
fn a_patch_is_empty_only_if_no_part_of_it_would_change_anything() {
    let bare = node(r#"{"metadata":{"name":"a","uid":"u","resourceVersion":"7"}}"#);
    assert!(NodePatch::end_release_delay(&bare).is_empty());
    let created = "2026-11-23T10:00:00.000000001Z";
    let hold = Hold::wish(
        Holder {
            node_uid: "u".to_owned(),
            created: created.to_owned(),
        },
        Proof::new(1),
    );
    let nothing = || NodePatch::end_release_delay(&bare);
    let due = node(&format!(
        r#"{{"metadata":{{"annotations":{{"cordonhold.dev/release-at":"{created} soon"}}}}}}"#
    ));
    let parts = [
        ("a time of release", nothing().keeping_entry(&hold)),
        ("the reboots", nothing().noting_reboot(&bare, 3)),
        ("an annotation", NodePatch::end_release_delay(&due)),
    ];
    for (part, patch) in parts {
        let body = patch.body(Timestamp::UNIX_EPOCH, &TERMS);
        assert!(
            !patch.is_empty() && body["metadata"]["annotations"].is_object(),
            "{part}: {body}"
        );
    }
}

#[test]
fn the_condition_of_a_hold_is_removed_by_its_type_where_it_is() {
    let mut node = held("");
    assert_eq!(condition_removed(&node), None);
    node.status.conditions =
        serde_json::from_value(json!([{ "type": keys::HELD_CONDITION, "status": "True" }])).unwrap();
    let conditions = json!([{ "type": keys::HELD_CONDITION, "$patch": "delete" }]);
    assert_eq!(
        condition_removed(&node),
        Some(json!({ "status": { "conditions": conditions } }))
    );
}
