//! Tests of mode `defer`: each case says what becomes of a write on its way, and what the validation answers to the changed and to the
//! unchanged one; and properties of any request.

use super::*;

const WANTED: &str = keys::UNCORDON_WANTED;
const ADMIN: &str = "admin";

/// What an uncordon by `admin` writes at [`now`].
pub(super) fn by_admin() -> String {
    format!("{CREATED} 2026-01-01T00:05:00Z admin")
}

/// An uncordon that another user asked for a minute before.
pub(super) fn earlier() -> String {
    format!("{CREATED} 2026-01-01T00:04:00Z system:serviceaccount:gpu-operator:nvidia-driver")
}

pub(super) fn wanted(node: NodeView, text: &str) -> NodeView {
    annotate(node, WANTED, text)
}

fn deferring() -> Policy {
    Policy {
        modes: Mode::Defer.into(),
        ..policy()
    }
}

fn judged(request: &Request, policy: &Policy, now: Timestamp) -> Verdict {
    let facts = Facts {
        may_override: Known::Is(true),
        may_reboot: Known::Is(true),
        ..Facts::default()
    };
    match decide(request, &facts, policy, now) {
        Decision::Verdict(verdict) => verdict,
        Decision::Need(need) => panic!("needs {need:?}"),
    }
}

fn answer(verdict: &Verdict) -> (Outcome, Reason) {
    (verdict.outcome, verdict.reason)
}

const KEPT: (Outcome, Reason) = (Outcome::Flag, Reason::Deferred);
const NOTHING: (Outcome, Reason) = (Outcome::Allow, Reason::NothingOfOurs);
const HELD: (Outcome, Reason) = (Outcome::Deny, Reason::Held);

/// One row: old and new Node, the annotation that the changed write leaves, and the verdicts on the changed and the unchanged write.
type Deferred = (
    &'static str,
    NodeView,
    NodeView,
    String,
    (Outcome, Reason),
    (Outcome, Reason),
);

/// The rows of uncordons that are kept anew: `admin` is the first to ask.
fn kept_anew() -> Vec<Deferred> {
    let kept = |case, old: NodeView, new: NodeView| (case, old, new, by_admin(), KEPT, HELD);
    let beside = |case, text: &str| {
        let old = wanted(held(), text);
        kept(case, old.clone(), uncordoned(old))
    };
    let mut tidied = uncordoned(held());
    let labels = &mut tidied.metadata.labels;
    drop(labels.insert("plan".to_owned(), "done".to_owned()));
    let done = format!("{CREATED} done:2026-01-01T00:04:00Z jo");
    vec![
        kept("an uncordon", held(), uncordoned(held())),
        kept("one that carries a label", held(), tidied),
        kept(
            "one that takes the taint off",
            held(),
            uncordoned(untainted(held())),
        ),
        beside("one beside that of an earlier hold", "2025-01-01T00:00:00Z - jo"),
        beside("one beside what cannot be read", "soon"),
        beside("one after another that was done", &done),
    ]
}

fn deferred_cases() -> Vec<Deferred> {
    let (taken, own) = (wanted(held(), &earlier()), format!("{CREATED} - admin"));
    let (sealed, mine) = (cancelled(held_in("sealed")), wanted(held(), &own));
    let too_late = (Outcome::Deny, Reason::TooLate);
    let (second, late) = ("a second one", "one of a hold cancelled too late");
    let again = "one that another webhook has done again";
    let taken_back = "one by its author, who takes the earlier one back in the same write";
    let others = [
        (second, taken.clone(), uncordoned(taken), earlier(), NOTHING, HELD),
        (
            late,
            sealed.clone(),
            uncordoned(sealed),
            by_admin(),
            KEPT,
            too_late,
        ),
        (again, held(), uncordoned(mine.clone()), own.clone(), KEPT, HELD),
        (taken_back, mine, uncordoned(held()), own, NOTHING, HELD),
    ];
    kept_anew().into_iter().chain(others).collect()
}

#[test]
fn last_wish_an_uncordon_is_kept_with_cordon_and_taint_and_what_came_with_it_passes() {
    for (case, old, new, text, passes, unchanged) in deferred_cases() {
        let request = Request::update(stranger(), old.clone(), new.clone());
        let deferral = defer(&request, &deferring(), now()).unwrap_or_else(|| panic!("{case}"));
        let after = deferral.changed(&request);
        let Operation::UpdateNode { new: written, .. } = &after.operation else {
            panic!()
        };
        assert!(written.spec.unschedulable, "{case}");
        assert_eq!(
            written.is_tainted(keys::REBOOTING),
            old.is_tainted(keys::REBOOTING),
            "{case}"
        );
        assert_eq!(written.annotation(WANTED), Some(text.as_str()), "{case}");
        assert_eq!(written.metadata.labels, new.metadata.labels, "{case}");
        let verdict = judged(&after, &deferring(), now());
        assert_eq!(answer(&verdict), passes, "{case}");
        assert_eq!(
            answer(&judged(&request, &deferring(), now())),
            unchanged,
            "{case}"
        );
        // One uncordon is one line: of the validation, or of the change if the validation sees nothing.
        assert_eq!(deferral.record.is_some(), passes == NOTHING, "{case}");
        if let Some(record) = &deferral.record {
            assert_eq!(answer(record), KEPT, "{case}");
        }
        // In mode enforce nothing is changed, and what somebody else has changed is denied as the uncordon that it was.
        let enforcing = policy();
        assert_eq!(defer(&request, &enforcing, now()), None, "{case}");
        let expected = if passes == KEPT { unchanged } else { NOTHING };
        assert_eq!(answer(&judged(&after, &enforcing, now())), expected, "{case}");
    }
}

/// One row: old and new Node, and the verdict on the unchanged write.
type Refused = (&'static str, NodeView, NodeView, (Outcome, Reason));

fn deny(reason: Reason) -> (Outcome, Reason) {
    (Outcome::Deny, reason)
}

/// Writes of `admin` that are not deferred, because of the hold.
fn refused_for_the_hold() -> Vec<Refused> {
    let pass = |reason| (Outcome::Allow, reason);
    let alone = |case, old: NodeView, verdict| (case, old.clone(), uncordoned(old), verdict);
    let flagged = (Outcome::Flag, Reason::Cancelled);
    let foreign = annotate(held(), keys::HOLDER, &format!("another/{CREATED}"));
    vec![
        alone("no hold", free(), pass(Reason::NotHeld)),
        alone(
            "an agent's wish",
            untainted(held_in("wanted")),
            pass(Reason::NotHeld),
        ),
        alone("a cancelled hold", cancelled(held()), flagged),
        alone(
            "one that cannot be read",
            annotate(held(), keys::UNTIL, "tomorrow"),
            HELD,
        ),
        alone("marks that name another Node", foreign, HELD),
    ]
}

/// Writes of `admin` that are not deferred, because of what is in them.
fn refused_for_the_write() -> Vec<Refused> {
    let later = annotate(held(), keys::UNTIL, "2027-01-01T00:00:00Z");
    let taken = wanted(held(), &earlier());
    let with = |case, new: NodeView, reason| (case, held(), uncordoned(new), deny(reason));
    vec![
        with("a stale PUT", stripped(held()), Reason::TamperedHold),
        with("a mark that is changed with it", later, Reason::TamperedHold),
        with(
            "a cancel that is written with it",
            cancelled(held()),
            Reason::CancelAlone,
        ),
        (
            "somebody else's uncordon goes",
            taken,
            uncordoned(held()),
            deny(Reason::ForgedWish),
        ),
        (
            "the taint alone",
            held(),
            untainted(held()),
            deny(Reason::TamperedTaint),
        ),
    ]
}

#[test]
fn what_cannot_be_kept_is_judged_as_without_the_mode() {
    for (case, old, new, expected) in refused_for_the_hold().into_iter().chain(refused_for_the_write()) {
        let request = Request::update(stranger(), old, new);
        assert_eq!(defer(&request, &deferring(), now()), None, "{case}");
        assert_eq!(answer(&judged(&request, &deferring(), now())), expected, "{case}");
    }
    for (who, expected) in [
        (requester(AGENT, &["node-1"]), deny(Reason::NotOwnNode)),
        (requester(AGENT, &[NODE]), (Outcome::Allow, Reason::Owner)),
        // No annotation can name this one.
        (requester("", &[]), HELD),
    ] {
        let request = Request::update(who, held(), uncordoned(held()));
        assert_eq!(defer(&request, &deferring(), now()), None, "{request:?}");
        assert_eq!(
            answer(&judged(&request, &deferring(), now())),
            expected,
            "{request:?}"
        );
    }
    let late = at("2026-01-01T00:20:31Z");
    let lapsed = Request::update(stranger(), held(), uncordoned(untainted(held())));
    assert_eq!(defer(&lapsed, &deferring(), late), None);
    assert_eq!(
        answer(&judged(&lapsed, &deferring(), late)),
        deny(Reason::TamperedTaint)
    );
    let exempt = Policy {
        exempt: Exempt {
            users: vec![ADMIN.to_owned()],
            groups: Vec::new(),
        },
        ..deferring()
    };
    let request = Request::update(stranger(), held(), uncordoned(held()));
    assert_eq!(defer(&request, &exempt, now()), None);
    let delete = Request {
        requester: stranger(),
        operation: Operation::DeleteNode { old: held() },
        is_of_status: false,
        is_dry_run: false,
    };
    assert_eq!(defer(&delete, &deferring(), now()), None);
}

/// An uncordon that passes because the hold has lapsed is noted in the same write: the agent was not there to see it.
#[test]
fn last_wish_an_uncordon_of_a_lapsed_hold_is_noted_as_done() {
    let late = at("2026-01-01T00:20:31Z");
    for old in [held(), wanted(held(), &earlier())] {
        let request = Request::update(stranger(), old.clone(), uncordoned(old));
        let denied = Policy {
            modes: Modes::from(Mode::Defer).with_user(ADMIN, Mode::Enforce),
            ..policy()
        };
        assert_eq!(
            defer(&request, &policy(), late),
            None,
            "where nothing is deferred"
        );
        for policy in [deferring(), denied] {
            let deferral = defer(&request, &policy, late).unwrap();
            let after = deferral.changed(&request);
            let Operation::UpdateNode { new: written, .. } = &after.operation else {
                panic!()
            };
            assert!(!written.spec.unschedulable);
            assert_eq!(
                written.annotation(WANTED),
                Some(format!("{CREATED} done:2026-01-01T00:20:31Z admin").as_str())
            );
            assert_eq!(
                answer(&judged(&after, &policy, late)),
                (Outcome::Flag, Reason::Lapsed)
            );
        }
    }
}

/// What anybody writes into the annotation by hand, and what becomes of it.
#[test]
fn forged_wish_nobody_writes_one_for_others_for_another_hold_or_over_an_earlier_one() {
    let forged = (Outcome::Deny, Reason::ForgedWish);
    let own = format!("{CREATED} - admin");
    let done = format!("{CREATED} done:- admin");
    let taken = || wanted(held(), &earlier());
    for (case, old, new, expected) in [
        ("one's own uncordon", held(), wanted(held(), &own), KEPT),
        ("another's", held(), wanted(held(), &earlier()), forged),
        (
            "of an earlier hold",
            held(),
            wanted(held(), "2025-01-01T00:00:00Z - admin"),
            forged,
        ),
        ("no uncordon", held(), wanted(held(), "now"), forged),
        ("nothing", held(), wanted(held(), ""), forged),
        ("without a hold", free(), wanted(free(), &own), forged),
        (
            "under an agent's wish",
            untainted(held_in("wanted")),
            wanted(untainted(held_in("wanted")), &own),
            forged,
        ),
        (
            "under a hold that cannot be read",
            annotate(held(), keys::UNTIL, "tomorrow"),
            wanted(annotate(held(), keys::UNTIL, "tomorrow"), &own),
            forged,
        ),
        ("done, without an uncordon", held(), wanted(held(), &done), forged),
        ("over an earlier one", taken(), wanted(held(), &own), forged),
        ("another's taken away", taken(), held(), forged),
        ("one's own taken back", wanted(held(), &own), held(), KEPT),
        (
            "one's own changed",
            wanted(held(), &own),
            wanted(held(), &by_admin()),
            forged,
        ),
        (
            "another's taken away after a cancel",
            cancelled(taken()),
            cancelled(held()),
            (Outcome::Flag, Reason::Cancelled),
        ),
        ("one of no hold taken away", wanted(free(), &own), free(), NOTHING),
        (
            "one of an earlier hold taken away",
            wanted(held(), "2025-01-01T00:00:00Z - jo"),
            held(),
            NOTHING,
        ),
        (
            "a cancel with it",
            held(),
            wanted(cancelled(held()), &own),
            (Outcome::Deny, Reason::CancelAlone),
        ),
        (
            "a mark with it",
            held(),
            wanted(annotate(held(), keys::ATTEMPT, "2"), &own),
            (Outcome::Deny, Reason::TamperedHold),
        ),
    ] {
        let request = Request::update(stranger(), old, new);
        assert_eq!(answer(&judged(&request, &deferring(), now())), expected, "{case}");
    }
}

/// Whoever may only patch `nodes/status` may not lift an admin's cordon by way of the agent.
#[test]
fn forged_wish_no_write_of_the_status_keeps_an_uncordon() {
    let own = format!("{CREATED} - admin");
    for (old, new) in [(held(), wanted(held(), &own)), (wanted(held(), &own), held())] {
        let request = Request {
            is_of_status: true,
            is_dry_run: false,
            ..Request::update(stranger(), old, new)
        };
        let verdict = judged(&request, &deferring(), now());
        assert_eq!(answer(&verdict), (Outcome::Deny, Reason::ForgedWish));
        assert!(verdict.message.contains("nodes/status"), "{}", verdict.message);
    }
}

#[test]
fn the_owner_writes_and_removes_it_as_it_likes() {
    for (old, new) in [
        (wanted(held(), &earlier()), held()),
        (held(), wanted(held(), &earlier())),
        (wanted(held(), &earlier()), uncordoned(stripped(free()))),
    ] {
        let verdict = verdict(requester(AGENT, &[NODE]), old, new);
        assert_eq!(answer(&verdict), (Outcome::Allow, Reason::Owner));
    }
}

/// A program that never asks whose cordon it is can be denied while others are deferred. The most specific mode counts.
#[test]
fn a_user_has_a_mode_of_its_own_and_so_has_a_group() {
    let of = |user: &str, groups: &[&str]| Requester {
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ..requester(user, &[])
    };
    let modes = Modes::from(Mode::Defer)
        .with(Reason::TamperedHold, Mode::Warn)
        .with_user("nvidia", Mode::Enforce)
        .with_group("ops", Mode::Warn)
        .with_group("strict", Mode::Enforce);
    let policy = Policy { modes, ..deferring() };
    for (who, mode, outcome) in [
        (of("nvidia", &["ops"]), Mode::Enforce, Outcome::Deny),
        (of("jo", &["ops"]), Mode::Warn, Outcome::Flag),
        (of("jo", &["ops", "strict"]), Mode::Enforce, Outcome::Deny),
        (of("jo", &[]), Mode::Defer, Outcome::Deny),
    ] {
        let request = Request::update(who, held(), uncordoned(held()));
        let verdict = judged(&request, &policy, now());
        assert_eq!((verdict.mode, verdict.outcome), (mode, outcome), "{request:?}");
        assert_eq!(defer(&request, &policy, now()).is_some(), mode == Mode::Defer);
    }
    let tampering = |who| Request::update(who, held(), without(held(), keys::ATTEMPT));
    assert_eq!(judged(&tampering(of("jo", &[])), &policy, now()).mode, Mode::Warn);
    assert_eq!(
        judged(&tampering(of("nvidia", &[])), &policy, now()).mode,
        Mode::Enforce
    );
}

/// Where a reason has another mode than `defer`, that mode decides as ever: what it denies is not kept.
#[test]
fn a_mode_for_a_reason_keeps_what_it_denies_from_being_deferred() {
    let with = |modes: Modes| Policy { modes, ..policy() };
    let both = Request::update(stranger(), held(), uncordoned(untainted(held())));
    let alone = Request::update(stranger(), held(), uncordoned(held()));
    let held_alone = with(Modes::from(Mode::Enforce).with(Reason::Held, Mode::Defer));
    let deferral = defer(&alone, &held_alone, now()).unwrap();
    let verdict = judged(&deferral.changed(&alone), &held_alone, now());
    assert_eq!(answer(&verdict), KEPT);
    assert_eq!(verdict.audit[AUDIT_MODE], "defer");
    assert_eq!(defer(&both, &held_alone, now()), None);
    assert_eq!(
        answer(&judged(&both, &held_alone, now())),
        (Outcome::Deny, Reason::TamperedTaint)
    );
    let warned = with(Modes::from(Mode::Defer).with(Reason::Held, Mode::Warn));
    assert_eq!(defer(&alone, &warned, now()), None);
    assert_eq!(defer(&both, &warned, now()), None);
    assert_eq!(
        answer(&judged(&alone, &warned, now())),
        (Outcome::Flag, Reason::Held)
    );
}

#[test]
fn the_requester_is_warned_who_holds_and_how_to_keep_the_cordon() {
    let request = Request::update(stranger(), held(), uncordoned(held()));
    let deferral = defer(&request, &deferring(), now()).unwrap();
    let verdict = judged(&deferral.changed(&request), &deferring(), now());
    assert_eq!(
        verdict.warnings,
        [
            "cordonhold: node node-0 stays cordoned: its agent holds it for a reboot (delaying for 4 min). \
             The uncordon is kept, and done when the hold ends, unless somebody sets cordonhold.dev/keep-cordoned on the node"
        ]
    );
    assert_eq!(verdict.audit[AUDIT_MODE], "defer");
    assert_eq!(verdict.audit[AUDIT_REASON], "deferred");
    let unchanged = judged(&request, &deferring(), now());
    assert!(
        unchanged.message.starts_with("held: node node-0"),
        "{}",
        unchanged.message
    );
    assert!(
        unchanged.message.contains("nothing has changed this request"),
        "{}",
        unchanged.message
    );
    let enforced = judged(&request, &policy(), now());
    assert!(!enforced.message.contains("Mode defer"), "{}", enforced.message);
    // One that takes a mark with it could not have been kept, although the mark is only warned of.
    let warned = Policy {
        modes: Modes::from(Mode::Defer).with(Reason::TamperedHold, Mode::Warn),
        ..policy()
    };
    let takes_mark = uncordoned(without(held(), keys::BOOT_ID));
    let denied = judged(&Request::update(stranger(), held(), takes_mark), &warned, now());
    assert!(
        denied.message.starts_with("held: node node-0")
            && !denied.message.contains("nothing has changed this request"),
        "{}",
        denied.message
    );
}

#[test]
fn whoever_takes_an_uncordon_back_is_told_that_the_agent_may_have_a_copy() {
    let own = wanted(held(), &format!("{CREATED} - admin"));
    let request = Request::update(stranger(), own, held());
    let verdict = judged(&request, &deferring(), now());
    assert_eq!(answer(&verdict), KEPT);
    assert!(
        verdict.warnings[0].contains("is removed from the Node; its agent may have a copy"),
        "{:?}",
        verdict.warnings
    );
}

/// Once a holder is dead and its marks are removed by hand, nobody does the uncordon: whoever cleans up must know of it.
#[test]
fn whoever_cleans_up_by_hand_is_told_of_the_uncordon() {
    let late = at("2026-01-01T00:16:00Z");
    let said = |node: NodeView| {
        let request = Request::update(stranger(), node.clone(), uncordoned(node));
        judged(&request, &policy(), late).message
    };
    let had = |node| annotate(node, keys::WAS_UNSCHEDULABLE, "true");
    let message = said(had(wanted(held(), &earlier())));
    for part in [
        "kubectl uncordon node-0; kubectl taint node",
        "cordonhold.dev/uncordon-wanted-",
        "It is uncordoned: system:serviceaccount:gpu-operator:nvidia-driver asked for that at 2026-01-01T00:04:00Z",
    ] {
        assert!(message.contains(part), "{part} is missing in: {message}");
    }
    let kept = said(annotate(
        had(wanted(held(), &earlier())),
        keys::KEEP_CORDONED,
        "true",
    ));
    assert!(
        !kept.contains("kubectl uncordon") && kept.contains("keep-cordoned"),
        "{kept}"
    );
    let done = format!("{CREATED} done:2026-01-01T00:04:00Z jo");
    let done = said(wanted(held(), &done));
    assert!(
        !done.contains("kubectl uncordon") && done.contains("Its cordon stays as it is: it was uncordoned"),
        "{done}"
    );
    let none = said(had(held()));
    assert!(
        !none.contains("kubectl uncordon") && !none.contains(WANTED),
        "{none}"
    );
}

#[test]
fn the_patch_adds_to_a_list_only_if_there_is_one() {
    let request = Request::update(stranger(), held(), uncordoned(untainted(held())));
    let deferral = defer(&request, &deferring(), now()).unwrap();
    let taint = serde_json::json!({"key": keys::REBOOTING, "effect": "NoSchedule"});
    let expected = |taints: serde_json::Value| {
        serde_json::json!([
            {"op": "add", "path": "/spec/unschedulable", "value": true},
            taints,
            {"op": "add", "path": "/metadata/annotations/cordonhold.dev~1uncordon-wanted", "value": by_admin()},
        ])
    };
    assert_eq!(
        deferral.json_patch(true),
        expected(serde_json::json!({"op": "add", "path": "/spec/taints/-", "value": taint}))
    );
    assert_eq!(
        deferral.json_patch(false),
        expected(serde_json::json!({"op": "add", "path": "/spec/taints", "value": [taint]}))
    );
}

proptest! {
    /// What is deferred changes no cordon and no mark, passes the validation, and the next one like it changes nothing to the byte.
    #[test]
    fn last_wish_after_a_deferral_cordon_and_marks_are_what_they_were(
        who in any_requester(), old in any_node(), new in any_node(), is_near in any::<bool>(), policy in any_policy(), now in any_time(),
    ) {
        // Two Nodes at random share no hold, so often the new one is the old one without its cordon.
        let old = if is_near { annotate(old, keys::HOLDER, &format!("{UID}/{CREATED}")) } else { old };
        let new = if is_near { uncordoned(old.clone()) } else { new };
        let request = Request::update(who.clone(), old.clone(), new);
        let Some(deferral) = defer(&request, &policy, now) else { return Ok(()) };
        let after = deferral.changed(&request);
        let Operation::UpdateNode { new: written, .. } = &after.operation else { panic!() };
        let change = Change::between(&old, written);
        if deferral.cordons {
            prop_assert!(!change.uncordons && !change.touches_marks() && !change.cancel);
            let verdict = judged(&after, &policy, now);
            prop_assert!(verdict.outcome != Outcome::Deny, "{:?}", verdict);
            let again = Request::update(who, written.clone(), uncordoned(written.clone()));
            if let Some(second) = defer(&again, &policy, now) {
                prop_assert_eq!(second.applied(&uncordoned(written.clone())), written.clone());
                prop_assert!(second.record.is_some());
            }
        } else {
            prop_assert!(change.uncordons && !change.touches_marks());
        }
    }

    /// Whatever a stranger writes in mode `defer`, only its own uncordon for the present hold gets onto a held Node.
    #[test]
    fn forged_wish_only_the_requesters_own_uncordon_is_let_through(
        new in any_node(), text in any_text(), before in proptest::option::of(any_text()), is_of_status in any::<bool>(),
    ) {
        let old = before.into_iter().fold(held(), |node, text| wanted(node, &text));
        let new = wanted(new, &text);
        let request = Request { is_of_status, ..Request::update(stranger(), old.clone(), new.clone()) };
        let verdict = judged(&request, &deferring(), now());
        if verdict.outcome != Outcome::Deny && old.annotation(WANTED) != new.annotation(WANTED) {
            let written = hold::deferred_uncordon(&new).present();
            prop_assert!(!is_of_status && hold::deferred_of_hold(&old).is_none());
            let written = written.expect("an uncordon that can be read");
            prop_assert_eq!(written.user, "admin");
            prop_assert_eq!(written.created, CREATED);
        }
    }
}
