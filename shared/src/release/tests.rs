//! Which write comes next, in each phase and for each agent; and when none may be made.

use super::*;

const CREATED: &str = "2026-11-29T10:00:00.000000001Z";
const NOW: &str = "2026-11-29T11:00:00Z";

/// A Node of this phase that was cordoned by its agent, whose `until` was over at 10:30.
fn held(phase: Phase, was: Option<bool>) -> NodeView {
    let mut node = NodeView::default();
    node.metadata.name = "n".to_owned();
    node.metadata.uid = "u".to_owned();
    node.metadata.resource_version = "7".to_owned();
    set(&mut node, keys::HOLDER, &format!("u/{CREATED}"));
    set(&mut node, keys::UNTIL, "2026-11-29T10:30:00Z");
    set(&mut node, keys::BOOT_ID, "b1/1.0");
    if let Some(was) = was {
        set(&mut node, keys::WAS_UNSCHEDULABLE, &was.to_string());
    }
    drop(
        node.metadata
            .labels
            .insert(keys::PHASE.to_owned(), phase.to_string()),
    );
    node.spec.unschedulable = phase != Phase::Wanted;
    node.spec.taints = vec![crate::node::Taint::no_schedule(keys::REBOOTING)];
    ready(&mut node, true);
    "b1".clone_into(&mut node.status.node_info.boot_id);
    node
}

fn set(node: &mut NodeView, key: &str, value: &str) {
    drop(node.metadata.annotations.insert(key.to_owned(), value.to_owned()));
}

fn ready(node: &mut NodeView, is: bool) {
    node.status.conditions = vec![crate::node::Condition {
        kind: "Ready".to_owned(),
        status: if is { "True" } else { "Unknown" }.to_owned(),
        since: String::new(),
    }];
}

fn cancelled(mut node: NodeView) -> NodeView {
    let text = format!("{} gone", hold::cancel_name(&node));
    set(&mut node, keys::CANCEL, &text);
    node
}

fn judge(node: &NodeView, agent: Agent) -> Release {
    Release::of(node, agent, "the agent is gone", NOW.parse().unwrap())
}

fn write(node: &NodeView) -> Step {
    match judge(node, Agent::Gone) {
        Release::Write(step) => step,
        other => panic!("{other:?}"),
    }
}

fn refused(node: &NodeView, agent: Agent) -> (String, String) {
    match judge(node, agent) {
        Release::Refused { why, instead } => (why, instead),
        other => panic!("{other:?}"),
    }
}

fn merged(step: &Step) -> &Value {
    match &step.body {
        Body::Merge(body) => body,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_cancel_comes_first_and_names_the_hold_that_was_seen() {
    let step = write(&held(Phase::Draining, Some(false)));
    assert_eq!(step.part, Part::Cancel);
    assert_eq!(
        step.body,
        Body::Json(json!([
            { "op": "test", "path": "/metadata/annotations/cordonhold.dev~1holder", "value": format!("u/{CREATED}") },
            { "op": "test", "path": "/metadata/labels/cordonhold.dev~1phase", "value": "draining" },
            { "op": "add", "path": "/metadata/annotations/cordonhold.dev~1cancel",
              "value": format!("{CREATED} the agent is gone") },
        ]))
    );
    // A cancel of another hold is none.
    let mut other = held(Phase::Draining, Some(false));
    set(&mut other, keys::CANCEL, "2025-01-01T00:00:00Z old");
    assert_eq!(write(&other).part, Part::Cancel);
}

#[test]
fn the_cordon_is_given_back_as_the_agent_would_have_done() {
    for (phase, was, more, says, unschedulable) in [
        (
            Phase::Draining,
            Some(false),
            None,
            "it was schedulable before",
            Some(Value::Null),
        ),
        (
            Phase::Delaying,
            Some(true),
            None,
            "somebody had cordoned it before",
            None,
        ),
        (Phase::Delaying, None, None, "do not say whether", None),
        (
            Phase::Draining,
            Some(false),
            Some((keys::KEEP_CORDONED, "disk".to_owned())),
            "somebody wants it kept so",
            None,
        ),
        (
            Phase::Draining,
            Some(true),
            Some((keys::UNCORDON_WANTED, format!("{CREATED} - jo"))),
            "jo asked for that",
            Some(Value::Null),
        ),
        (Phase::Wanted, None, None, "leave it schedulable", None),
    ] {
        let mut node = held(phase, was);
        if let Some((key, value)) = &more {
            set(&mut node, key, value);
        }
        let step = write(&cancelled(node));
        assert_eq!(step.part, Part::GiveBack);
        assert!(
            step.says.contains(says),
            "{phase} {was:?} {more:?}: {}",
            step.says
        );
        let body = merged(&step);
        assert_eq!(body["metadata"]["resourceVersion"], "7");
        assert_eq!(
            body.pointer("/spec/unschedulable"),
            unschedulable.as_ref(),
            "{body}"
        );
        assert_eq!(body["metadata"]["labels"][keys::PHASE], Value::Null);
        assert!(
            body["metadata"]["annotations"]
                .as_object()
                .unwrap()
                .contains_key(keys::HOLDER)
        );
        // The webhook lets the marks go only while the cancel is there.
        assert!(
            body["metadata"]["annotations"].get(keys::CANCEL).is_none(),
            "{body}"
        );
    }
}

#[test]
fn no_hold_is_released_whose_agent_may_be_alive_or_whose_host_may_be_rebooting() {
    let alive = |phase| {
        let mut node = held(phase, Some(false));
        set(&mut node, keys::UNTIL, "2026-11-29T11:08:00Z");
        node
    };
    for phase in [Phase::Wanted, Phase::Draining, Phase::Delaying, Phase::Returning] {
        let (why, instead) = refused(&alive(phase), Agent::Gone);
        assert!(
            why.contains("its agent is alive") && instead.contains("cancel n"),
            "{phase}: {why} {instead}"
        );
        // A pod that is Ready, and does not renew.
        let (why, _) = refused(&held(phase, Some(false)), Agent::Ready);
        assert!(why.contains("a pod of an agent is Ready"), "{phase}: {why}");
        assert_eq!(write(&held(phase, Some(false))).part, Part::Cancel);
    }
    let mut sealed = alive(Phase::Sealed);
    let (why, _) = refused(&sealed, Agent::Gone);
    assert!(
        why.contains("its reboot is under way: wait until it is back"),
        "{why}"
    );
    // The agent has just come back, and has not renewed it.
    "b2".clone_into(&mut sealed.status.node_info.boot_id);
    let (why, _) = refused(&sealed, Agent::Gone);
    assert!(
        why.contains("wait until its agent ends the hold, or until 2026-11-29T11:08:30Z"),
        "{why}"
    );
}

#[test]
fn a_sealed_node_is_released_only_in_another_boot_however_late_it_is_and_however_ready() {
    for is_ready in [false, true] {
        for boot in ["b1", ""] {
            let mut node = held(Phase::Sealed, Some(false));
            ready(&mut node, is_ready);
            boot.clone_into(&mut node.status.node_info.boot_id);
            for agent in [Agent::Gone, Agent::SaidGone, Agent::Ready, Agent::Unseen] {
                let (why, instead) = refused(&node, agent);
                assert!(why.contains("sealed"), "{why}");
                assert_eq!(instead, "kubectl cordonhold why n");
            }
        }
        let mut back = held(Phase::Sealed, Some(false));
        ready(&mut back, is_ready);
        "b2".clone_into(&mut back.status.node_info.boot_id);
        assert_eq!(write(&back).part, Part::Cancel);
    }
}

#[test]
fn fail_safe_reading_marks_that_seal_the_node_keep_it_as_they_do_for_the_webhook() {
    let sealed = |until: Option<&str>, holder: &str| {
        let mut node = held(Phase::Sealed, Some(false));
        "b2".clone_into(&mut node.status.node_info.boot_id);
        set(&mut node, keys::HOLDER, holder);
        match until {
            Some(until) => set(&mut node, keys::UNTIL, until),
            None => drop(node.metadata.annotations.remove(keys::UNTIL)),
        }
        node
    };
    let ours = format!("u/{CREATED}");
    for (until, holder, says) in [
        (None, ours.as_str(), "do not say until when"),
        (Some("2026-11-29T11:08:00Z"), "x", "or until 2026-11-29T11:08:30Z"),
        (
            Some("2026-11-29T11:08:00Z"),
            ours.as_str(),
            "or until 2026-11-29T11:08:30Z",
        ),
    ] {
        let (why, _) = refused(&sealed(until, holder), Agent::Gone);
        assert!(why.contains(says), "{until:?} {holder}: {why}");
    }
    for (until, holder) in [
        (Some("2026-11-29T10:30:00Z"), ours.as_str()),
        (Some("2026-11-29T10:30:00Z"), "x"),
        // Broken marks must have a way out.
        (None, "x"),
        (Some("soon"), ours.as_str()),
    ] {
        assert_eq!(
            write(&sealed(until, holder)).part,
            Part::Cancel,
            "{until:?} {holder}"
        );
    }
}

#[test]
fn an_agent_that_was_not_looked_for_is_not_gone_unless_a_person_says_so() {
    let node = held(Phase::Draining, Some(false));
    let (why, _) = refused(&node, Agent::Unseen);
    assert!(
        why.contains("could not be seen") && why.contains("--agent-is-gone"),
        "{why}"
    );
    assert!(matches!(judge(&node, Agent::SaidGone), Release::Write(_)));
}

#[test]
fn fail_safe_reading_marks_that_cannot_be_read_are_removed_and_the_cordon_stays() {
    let mut foreign = held(Phase::Draining, Some(false));
    "another".clone_into(&mut foreign.metadata.uid);
    let mut unreadable = held(Phase::Draining, Some(false));
    set(&mut unreadable, keys::HOLDER, "x");
    let mut taint_alone = NodeView::default();
    "n".clone_into(&mut taint_alone.metadata.name);
    "7".clone_into(&mut taint_alone.metadata.resource_version);
    taint_alone.spec.taints = vec![crate::node::Taint::no_schedule(keys::REBOOTING)];
    ready(&mut taint_alone, true);
    for node in [foreign, unreadable, taint_alone] {
        // An agent that is there waits for a person.
        let Release::Write(step) = judge(&node, Agent::Ready) else {
            panic!()
        };
        assert_eq!(step.part, Part::Cancel);
        let step = write(&cancelled(node.clone()));
        assert_eq!(step.part, Part::GiveBack);
        assert!(merged(&step).pointer("/spec/unschedulable").is_none(), "{step:?}");
        let mut down = node;
        ready(&mut down, false);
        assert!(refused(&down, Agent::Gone).0.contains("look at the machine"));
    }
}

#[test]
fn a_cancel_without_a_holder_names_the_version_that_was_seen() {
    let mut node = NodeView::default();
    "7".clone_into(&mut node.metadata.resource_version);
    let patch = cancel_patch(&node, "why");
    assert_eq!(
        patch,
        json!([
            { "op": "test", "path": "/metadata/resourceVersion", "value": "7" },
            { "op": "add", "path": "/metadata/annotations", "value": { keys::CANCEL: "unreadable why" } },
        ])
    );
}

#[test]
fn conditions_and_the_cancel_are_left_behind_by_nobody() {
    let mut node = NodeView::default();
    node.metadata.resource_version = "9".to_owned();
    node.metadata.name = "n".to_owned();
    node.spec.unschedulable = true;
    assert_eq!(judge(&node, Agent::Gone), Release::Nothing);
    set(&mut node, keys::CANCEL, &format!("{CREATED} gone"));
    node.status.conditions = vec![crate::node::Condition {
        kind: keys::HELD_CONDITION.to_owned(),
        status: "True".to_owned(),
        since: String::new(),
    }];
    let step = write(&node);
    assert_eq!(step.part, Part::Conditions);
    let Body::Status(body) = &step.body else {
        panic!("{step:?}")
    };
    assert_eq!(body["metadata"]["resourceVersion"], "9");
    assert_eq!(body["status"]["conditions"][0]["status"], "False");
    "False".clone_into(&mut node.status.conditions[0].status);
    let step = write(&node);
    assert_eq!((step.part, step.says.contains("cancel")), (Part::Tidy, true));
}

#[test]
fn the_plan_has_every_write_and_a_refusal_has_none() {
    let parts = |node: &NodeView| {
        let steps = plan(node, Agent::Gone, "x", NOW.parse().unwrap()).unwrap();
        steps.iter().map(|step| step.part).collect::<Vec<_>>()
    };
    let mut node = held(Phase::Draining, Some(false));
    assert_eq!(parts(&node), [Part::Cancel, Part::GiveBack, Part::Tidy]);
    node.status.conditions.push(crate::node::Condition {
        kind: keys::HELD_CONDITION.to_owned(),
        status: "True".to_owned(),
        since: String::new(),
    });
    assert_eq!(
        parts(&node),
        [Part::Cancel, Part::GiveBack, Part::Conditions, Part::Tidy]
    );
    assert_eq!(
        parts(&cancelled(node)),
        [Part::GiveBack, Part::Conditions, Part::Tidy]
    );
    let (why, _) = plan(
        &held(Phase::Draining, None),
        Agent::Ready,
        "x",
        NOW.parse().unwrap(),
    )
    .unwrap_err();
    assert!(why.contains("Ready"), "{why}");
}

#[test]
fn a_wish_is_given_back_with_the_cordon_that_was_there_before_it() {
    let mut node = cancelled(held(Phase::Wanted, None));
    node.spec.unschedulable = true;
    let says = write(&node).says;
    assert!(
        says.contains("leave its cordon, which was there before"),
        "{says}"
    );
}

mod cancelling {
    use super::*;

    fn alive(phase: Phase) -> NodeView {
        let mut node = held(phase, Some(false));
        set(&mut node, keys::UNTIL, "2026-11-29T11:09:00Z");
        node
    }

    fn judge(node: &NodeView, is_stuck: bool) -> Change {
        cancelled_by(node, "pg", is_stuck, NOW.parse().unwrap())
    }

    fn refused(node: &NodeView) -> (String, String) {
        match judge(node, false) {
            Change::Refused { why, instead } => (why, instead),
            other => panic!("{other:?}"),
        }
    }

    fn passes(node: &NodeView, is_stuck: bool) {
        let Change::Write { body, .. } = judge(node, is_stuck) else {
            panic!("{:?}", judge(node, is_stuck))
        };
        assert_eq!(body[0]["op"], "test");
        let phase = node.label(keys::PHASE).unwrap();
        assert_eq!(
            (&body[1]["op"], &body[1]["value"]),
            (&json!("test"), &json!(phase))
        );
        assert_eq!(body[2]["value"], format!("{CREATED} pg"));
    }

    #[test]
    fn a_hold_is_cancelled_up_to_the_seal_and_after_two_commands_in_vain() {
        for phase in [Phase::Wanted, Phase::Draining, Phase::Delaying, Phase::Returning] {
            passes(&alive(phase), false);
        }
        let (why, _) = refused(&alive(Phase::Sealed));
        assert!(why.contains("too late"), "{why}");
        passes(&alive(Phase::Sealed), true);
        let mut twice = alive(Phase::Sealed);
        set(&mut twice, keys::ATTEMPT, "2");
        passes(&twice, false);
        passes(&held(Phase::Sealed, Some(false)), false);
    }

    #[test]
    fn where_nobody_would_act_on_it_a_cancel_is_refused_with_what_to_do() {
        for (node, says, verb) in [
            (NodeView::default(), "nothing to cancel", "pause"),
            (held(Phase::Draining, None), "nobody would act", "release"),
            (
                {
                    let mut node = alive(Phase::Draining);
                    set(&mut node, keys::HOLDER, "x");
                    node
                },
                "no hold of this Node",
                "release",
            ),
            (
                {
                    let mut node = alive(Phase::Draining);
                    "another".clone_into(&mut node.metadata.uid);
                    node
                },
                "no hold of this Node",
                "release",
            ),
            (
                {
                    let mut node = NodeView::default();
                    set(&mut node, keys::BOOT_ID, "b1/1.0");
                    node
                },
                "no hold of this Node",
                "release",
            ),
        ] {
            let (why, instead) = refused(&node);
            assert!(why.contains(says), "{why}");
            assert!(instead.starts_with(&format!("{PLUGIN} {verb} ")), "{instead}");
        }
    }

    #[test]
    fn a_cancel_says_what_the_agent_does_about_it() {
        let then = |phase| match judge(&alive(phase), true) {
            Change::Write { then, .. } => then,
            other => panic!("{other:?}"),
        };
        let all = [
            Phase::Wanted,
            Phase::Draining,
            Phase::Delaying,
            Phase::Sealed,
            Phase::Returning,
        ]
        .map(then);
        assert!(all[0].contains("leaves the cordon as it is"), "{all:?}");
        assert!(all[1].contains("stops") && all[1] == all[2], "{all:?}");
        assert!(all[3].contains("if the host is not going down"), "{all:?}");
        assert!(all[4].contains("waits no longer"), "{all:?}");
    }

    #[test]
    fn a_hold_that_is_cancelled_already_is_not_cancelled_again() {
        let there = judge(&cancelled(alive(Phase::Draining)), false);
        assert_eq!(
            there,
            Change::There {
                reason: "gone".to_owned()
            }
        );
    }

    #[test]
    fn what_follows_is_told_by_the_node() {
        let mut over = NodeView::default();
        assert_eq!(After::of(&over, CREATED), After::Over { cordoned: false });
        over.spec.unschedulable = true;
        assert_eq!(After::of(&over, CREATED), After::Over { cordoned: true });
        assert_eq!(After::of(&alive(Phase::Draining), CREATED), After::Going);
        assert_eq!(After::of(&alive(Phase::Sealed), CREATED), After::TooLate);
        let mut unreadable = alive(Phase::Draining);
        set(&mut unreadable, keys::HOLDER, "x");
        assert_eq!(After::of(&unreadable, CREATED), After::Going);
        assert_eq!(
            After::of(&alive(Phase::Wanted), "2026-11-29T09:00:00Z"),
            After::Another
        );
    }
}
