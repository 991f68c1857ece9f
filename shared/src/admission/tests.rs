//! Tests of every rule of the decision and every mode, and properties of any request.

use proptest::prelude::*;

use super::*;
use crate::hold;
use crate::node::Taint;

mod deferral;
mod kured;
mod page;
mod probe;
mod trail;

const UID: &str = "7f1c";
const CREATED: &str = "2026-01-01T00:00:00.123456789Z";
const NODE: &str = "node-0";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Ten minutes before `until` of [`held`].
fn now() -> Timestamp {
    at("2026-01-01T00:05:00Z")
}

fn free() -> NodeView {
    let mut node = NodeView::default();
    node.metadata.name = NODE.to_owned();
    node.metadata.uid = UID.to_owned();
    node.spec.unschedulable = true;
    node
}

fn annotate(mut node: NodeView, key: &str, value: &str) -> NodeView {
    drop(node.metadata.annotations.insert(key.to_owned(), value.to_owned()));
    node
}

fn without(mut node: NodeView, key: &str) -> NodeView {
    assert!(node.metadata.annotations.remove(key).is_some());
    node
}

fn phase(mut node: NodeView, phase: &str) -> NodeView {
    drop(
        node.metadata
            .labels
            .insert(keys::PHASE.to_owned(), phase.to_owned()),
    );
    node
}

fn held_in(name: &str) -> NodeView {
    let mut node = annotate(phase(free(), name), keys::HOLDER, &format!("{UID}/{CREATED}"));
    node = annotate(node, keys::UNTIL, "2026-01-01T00:15:00Z");
    node = annotate(node, keys::BOOT_ID, "b-1");
    node = annotate(node, keys::WAS_UNSCHEDULABLE, "false");
    node = annotate(node, keys::WRITE, "0f");
    node = annotate(node, keys::ATTEMPT, "1");
    node.spec.taints.push(Taint::no_schedule(keys::REBOOTING));
    node
}

fn held() -> NodeView {
    held_in("delaying")
}

fn cancelled(node: NodeView) -> NodeView {
    annotate(node, keys::CANCEL, &format!("{CREATED} wrong node"))
}

fn uncordoned(mut node: NodeView) -> NodeView {
    node.spec.unschedulable = false;
    node
}

fn stripped(mut node: NodeView) -> NodeView {
    for key in keys::MARK_ANNOTATIONS {
        drop(node.metadata.annotations.remove(key));
    }
    drop(node.metadata.labels.remove(keys::PHASE));
    node.spec.taints.clear();
    node
}

fn untainted(mut node: NodeView) -> NodeView {
    node.spec.taints.clear();
    node
}

fn requester(user: &str, node_claim: &[&str]) -> Requester {
    Requester {
        user: user.to_owned(),
        node_claim: node_claim.iter().map(|claim| (*claim).to_owned()).collect(),
        ..Requester::default()
    }
}

fn stranger() -> Requester {
    Requester {
        groups: vec!["system:masters".to_owned()],
        ..requester("admin", &[])
    }
}

const AGENT: &str = "system:serviceaccount:cordonhold:cordonhold-agent";
const KURED: &str = "system:serviceaccount:kube-system:kured";

fn policy() -> Policy {
    Policy {
        modes: Mode::Enforce.into(),
        agent: ServiceAccount {
            namespace: "cordonhold".to_owned(),
            name: "cordonhold-agent".to_owned(),
        },
        exempt: Exempt::default(),
        on_delete: OnDelete::Flag,
        kured: None,
        replica: "webhook-0".to_owned(),
    }
}

fn kured_policy() -> Policy {
    let lock = KuredLock {
        ds_namespace: "kube-system".to_owned(),
        ds_name: "kured".to_owned(),
        annotations: vec![keys::KURED_LOCK.to_owned(), keys::KURED_V2_LOCK.to_owned()],
        on_lookup_failure: OnLookupFailure::Deny,
    };
    let kured = KuredPolicy {
        service_account: None,
        is_believed_without_node: false,
        marks: vec![
            keys::KURED_REBOOT_IN_PROGRESS.to_owned(),
            keys::KURED_V2_REBOOT_IN_PROGRESS.to_owned(),
        ],
        lock: Some(lock),
    };
    Policy {
        kured: Some(kured),
        ..policy()
    }
}

fn ask(
    who: Requester,
    old: NodeView,
    new: NodeView,
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
) -> Decision {
    decide(&Request::update(who, old, new), facts, policy, now)
}

fn verdict(who: Requester, old: NodeView, new: NodeView) -> Verdict {
    match ask(who, old, new, &Facts::default(), &policy(), now()) {
        Decision::Verdict(verdict) => verdict,
        Decision::Need(need) => panic!("needs {need:?}"),
    }
}

fn stranger_gets(old: &NodeView, new: NodeView) -> (Outcome, Reason) {
    let verdict = verdict(stranger(), old.clone(), new);
    (verdict.outcome, verdict.reason)
}

#[test]
fn held_stays_cordoned_in_every_phase_beyond_a_wish() {
    for name in [
        "draining",
        "delaying",
        "sealed",
        "returning",
        "a-phase-of-tomorrow",
        "",
    ] {
        let node = held_in(name);
        assert_eq!(
            stranger_gets(&node, uncordoned(node.clone())),
            (Outcome::Deny, Reason::Held),
            "{name}"
        );
    }
    let wish = untainted(held_in("wanted"));
    assert_eq!(
        stranger_gets(&wish, uncordoned(wish.clone())),
        (Outcome::Allow, Reason::NotHeld)
    );
    assert_eq!(
        stranger_gets(&free(), uncordoned(free())),
        (Outcome::Allow, Reason::NotHeld)
    );
}

#[test]
fn held_stays_cordoned_whatever_is_changed_with_it() {
    let mut labelled = uncordoned(held());
    drop(
        labelled
            .metadata
            .labels
            .insert("plan".to_owned(), "done".to_owned()),
    );
    for new in [
        labelled,
        uncordoned(stripped(held())),
        uncordoned(untainted(held())),
    ] {
        assert_eq!(stranger_gets(&held(), new), (Outcome::Deny, Reason::Held));
    }
}

#[test]
fn fail_safe_reading_marks_that_cannot_be_read_are_held() {
    let broken = [
        without(held(), keys::HOLDER),
        annotate(held(), keys::HOLDER, "garbage"),
        annotate(held(), keys::HOLDER, ""),
        annotate(held(), keys::UNTIL, "tomorrow"),
        annotate(held_in("wanted"), keys::UNTIL, "2026-02-31T00:00:00Z"),
        annotate(held(), keys::WAS_UNSCHEDULABLE, "perhaps"),
    ];
    for node in broken {
        assert_eq!(
            stranger_gets(&node, uncordoned(node.clone())),
            (Outcome::Deny, Reason::Held),
            "{node:?}"
        );
    }
}

#[test]
fn the_uncordon_alone_passes_after_until_and_its_grace_and_the_skew() {
    let gets = |old: NodeView, new: NodeView, now: &str| {
        let Decision::Verdict(v) = ask(stranger(), old, new, &Facts::default(), &policy(), at(now)) else {
            panic!()
        };
        (v.outcome, v.reason)
    };
    assert_eq!(
        gets(held(), uncordoned(held()), "2026-01-01T00:20:30Z"),
        (Outcome::Deny, Reason::Held)
    );
    assert_eq!(
        gets(held(), uncordoned(held()), "2026-01-01T00:20:31Z"),
        (Outcome::Flag, Reason::Lapsed)
    );
}

#[test]
fn c4c_an_until_without_a_hold_holds_nothing_and_has_a_way_out() {
    let node = annotate(free(), keys::UNTIL, "2026-01-01T00:15:00Z");
    assert_eq!(
        stranger_gets(&node, uncordoned(node.clone())),
        (Outcome::Allow, Reason::NotHeld)
    );
    let node = annotate(node, keys::CANCEL, &format!("{UNREADABLE} left over"));
    assert_eq!(
        stranger_gets(&node, without(node.clone(), keys::UNTIL)),
        (Outcome::Flag, Reason::Cancelled)
    );
}

#[test]
fn c5_the_marks_of_an_expired_hold_stay_their_owners() {
    // AT-MOST-N: removed, they would free the lock while the node is down.
    let gets = |who: Requester, new: NodeView| {
        let late = at("2027-01-01T00:00:00Z");
        let Decision::Verdict(v) = ask(who, held_in("sealed"), new, &Facts::default(), &policy(), late)
        else {
            panic!()
        };
        (v.outcome, v.reason)
    };
    let sealed = held_in("sealed");
    let mut unlabelled = sealed.clone();
    unlabelled.metadata.labels.clear();
    for new in [
        without(sealed.clone(), keys::HOLDER),
        unlabelled,
        stripped(sealed.clone()),
        uncordoned(stripped(sealed.clone())),
    ] {
        assert_eq!(
            gets(stranger(), new.clone()),
            (Outcome::Deny, Reason::TamperedHold)
        );
        assert_eq!(
            gets(requester(AGENT, &[NODE]), new),
            (Outcome::Allow, Reason::Owner)
        );
    }
    for new in [untainted(sealed.clone()), uncordoned(untainted(sealed.clone()))] {
        assert_eq!(gets(stranger(), new), (Outcome::Deny, Reason::TamperedTaint));
    }
    assert_eq!(
        gets(stranger(), uncordoned(sealed)),
        (Outcome::Flag, Reason::Lapsed)
    );
}

#[test]
fn each_mark_is_the_owners_alone() {
    for key in keys::MARK_ANNOTATIONS {
        for new in [
            annotate(held(), key, "x"),
            annotate(held(), key, ""),
            without(held(), key),
        ] {
            assert_eq!(
                stranger_gets(&held(), new),
                (Outcome::Deny, Reason::TamperedHold),
                "{key}"
            );
        }
    }
    assert_eq!(
        stranger_gets(&held(), phase(held(), "wanted")),
        (Outcome::Deny, Reason::TamperedHold)
    );
    assert_eq!(
        stranger_gets(&held(), untainted(held())),
        (Outcome::Deny, Reason::TamperedTaint)
    );
    let wish = untainted(held_in("wanted"));
    assert_eq!(
        stranger_gets(&wish, stripped(wish.clone())),
        (Outcome::Deny, Reason::TamperedHold)
    );
}

fn labelled(mut node: NodeView, key: &str, value: &str) -> NodeView {
    drop(node.metadata.labels.insert(key.to_owned(), value.to_owned()));
    node
}

/// This Node, once for each change that only its agent may make beside the marks: the label `agent` set to `disabled`, and each of the
/// annotations [`keys::OWNERS_ANNOTATIONS`] changed, emptied and removed.
fn changes_beside_marks(node: &NodeView) -> Vec<NodeView> {
    let mut changed = vec![labelled(node.clone(), keys::AGENT, keys::DISABLED)];
    for key in keys::OWNERS_ANNOTATIONS {
        changed.extend([
            annotate(node.clone(), key, "x"),
            annotate(node.clone(), key, ""),
            without(node.clone(), key),
        ]);
    }
    changed
}

fn with_all_beside(node: NodeView) -> NodeView {
    let annotate = |node, key: &&str| annotate(node, key, "before");
    keys::OWNERS_ANNOTATIONS
        .iter()
        .fold(labelled(node, keys::AGENT, "here"), annotate)
}

/// The annotations and the label beside the marks that the agent obeys: nobody else may change them on a Node that is held, carries a wish,
/// shows an unknown phase, or has only one mark left.
#[test]
fn found_s1_s7_what_the_agent_obeys_is_the_owners_while_the_node_carries_marks() {
    let mut only_tainted = stripped(held());
    only_tainted.spec.taints.push(Taint::no_schedule(keys::REBOOTING));
    let marked = [
        held(),
        held_in("sealed"),
        untainted(held_in("wanted")),
        phase(free(), "of-tomorrow"),
        only_tainted,
    ];
    let marked = marked
        .into_iter()
        .chain(keys::MARK_ANNOTATIONS.map(|key| annotate(free(), key, "x")));
    for node in marked.map(with_all_beside) {
        for new in changes_beside_marks(&node) {
            let got = stranger_gets(&node, new.clone());
            assert_eq!(got, (Outcome::Deny, Reason::TamperedHold), "{new:?}");
            let owner = verdict(requester(AGENT, &[NODE]), node.clone(), new);
            assert_eq!(owner.reason, Reason::Owner);
        }
    }
}

#[test]
fn found_s1_s7_without_marks_they_are_a_persons_and_hold_nothing() {
    let node = with_all_beside(free());
    assert_eq!(
        stranger_gets(&node, uncordoned(node.clone())),
        (Outcome::Allow, Reason::NotHeld)
    );
    for new in changes_beside_marks(&node) {
        assert_eq!(stranger_gets(&node, new), (Outcome::Allow, Reason::NothingOfOurs));
    }
}

#[test]
fn the_account_of_a_reboot_holds_nothing_and_is_anybodys_whatever_the_node_carries() {
    for key in [keys::REBOOT_ACCOUNT, keys::LAST_REBOOT] {
        assert!(!policy().reads(key), "{key}");
        let node = annotate(free(), key, "x");
        assert!(!hold::has_marks(&node) && hold::read(&node) == Reading::Absent);
        let got = stranger_gets(&node, uncordoned(node.clone()));
        assert_eq!(got, (Outcome::Allow, Reason::NotHeld));
        for node in [node, annotate(held(), key, "x")] {
            for new in [annotate(node.clone(), key, "y"), without(node.clone(), key)] {
                let got = stranger_gets(&node, new);
                assert_eq!(got, (Outcome::Allow, Reason::NothingOfOurs));
            }
        }
    }
}

/// After a cancel, anybody may remove the annotations beside the marks, as with the marks themselves, but may not write them.
#[test]
fn found_s1_s7_a_cancelled_hold_lets_them_go_and_not_be_written() {
    let node = cancelled(with_all_beside(held()));
    for new in changes_beside_marks(&node) {
        let is_removal = new.metadata.annotations.len() + new.metadata.labels.len()
            < node.metadata.annotations.len() + node.metadata.labels.len();
        let expected = if is_removal {
            (Outcome::Flag, Reason::Cancelled)
        } else {
            (Outcome::Deny, Reason::TamperedHold)
        };
        assert_eq!(stranger_gets(&node, new.clone()), expected, "{new:?}");
    }
    let together = annotate(cancelled(held()), keys::RELEASE_AT, "x");
    assert_eq!(
        stranger_gets(&held(), together),
        (Outcome::Deny, Reason::CancelAlone)
    );
}

#[test]
fn found_s7_whoever_takes_the_agent_off_a_held_node_is_told_why_not_and_how() {
    let message = verdict(stranger(), held(), labelled(held(), keys::AGENT, "disabled")).message;
    for part in [
        "the label cordonhold.dev/agent of node node-0 may not be set to disabled while a hold is on the node",
        "nobody would end the hold",
        &format!("kubectl annotate --overwrite node node-0 cordonhold.dev/cancel='{CREATED} <your reason>'"),
        "Then set the label once the label cordonhold.dev/phase is gone",
    ] {
        assert!(message.contains(part), "{part} is missing in: {message}");
    }
    // If the request does more, the message is about the marks, which come first.
    let both = labelled(stripped(held()), keys::AGENT, "disabled");
    let message = verdict(stranger(), held(), both).message;
    assert!(message.contains("the marks of the hold"), "{message}");
    for key in keys::OWNERS_ANNOTATIONS {
        let message = verdict(stranger(), held(), annotate(held(), key, "x")).message;
        assert!(message.contains(key), "{message}");
    }
}

#[test]
fn a_hold_is_stamped_by_the_nodes_own_agent_only() {
    let mut tainted = free();
    tainted.spec.taints.push(Taint::no_schedule(keys::REBOOTING));
    for new in [
        held(),
        annotate(free(), keys::HOLDER, ""),
        phase(free(), "wanted"),
        tainted,
    ] {
        assert_eq!(stranger_gets(&free(), new), (Outcome::Deny, Reason::SpoofedHold));
    }
    assert_eq!(
        verdict(requester(AGENT, &[NODE]), free(), held()).reason,
        Reason::Owner
    );
}

#[test]
fn one_node_one_agent() {
    for change in [
        uncordoned(held()),
        stripped(held()),
        untainted(held()),
        cancelled(held()),
    ] {
        assert_eq!(
            verdict(requester(AGENT, &[NODE]), held(), change.clone()).outcome,
            Outcome::Allow
        );
        for claim in [&[][..], &["node-1"], &["node-00"], &[NODE, "node-1"], &[""]] {
            let verdict = verdict(requester(AGENT, claim), held(), change.clone());
            assert_eq!(
                (verdict.outcome, verdict.reason),
                (Outcome::Deny, Reason::NotOwnNode),
                "{claim:?}"
            );
        }
    }
    // Not even the uncordon of a free node. A ServiceAccount of the same name in another namespace is not the agent.
    let verdict_free = verdict(requester(AGENT, &["node-1"]), free(), uncordoned(free()));
    assert_eq!(verdict_free.reason, Reason::NotOwnNode);
    let namesake = requester("system:serviceaccount:other:cordonhold-agent", &[NODE]);
    assert_eq!(verdict(namesake, held(), uncordoned(held())).reason, Reason::Held);
}

/// Updates that do not concern Cordonhold: labels, annotations, taints, a cordon, the status, and no change at all.
fn nothing_of_ours(node: &NodeView) -> Vec<NodeView> {
    let mut labelled = node.clone();
    drop(labelled.metadata.labels.insert("team".to_owned(), "a".to_owned()));
    let mut tainted = node.clone();
    tainted.spec.taints.push(Taint {
        effect: "NoExecute".to_owned(),
        ..Taint::no_schedule("example.org/away")
    });
    let mut cordoned = node.clone();
    cordoned.spec.unschedulable = true;
    let mut reported = node.clone();
    reported.status.node_info.boot_id = "b-2".to_owned();
    let mut written = vec![labelled, tainted, cordoned, reported, node.clone()];
    written.extend(
        [keys::PAUSE, keys::KEEP_CORDONED, "example.org/note"].map(|key| annotate(node.clone(), key, "x")),
    );
    written
}

#[test]
fn found_s2_no_agent_writes_another_node_whatever_it_writes() {
    let mut schedulable = free();
    schedulable.spec.unschedulable = false;
    for node in [schedulable, free(), held()] {
        for new in nothing_of_ours(&node) {
            for claim in [&[][..], &["node-1"], &["node-00"], &[NODE, "node-1"], &[""]] {
                let v = verdict(requester(AGENT, claim), node.clone(), new.clone());
                assert_eq!(
                    (v.outcome, v.reason),
                    (Outcome::Deny, Reason::NotOwnNode),
                    "{claim:?} {new:?}"
                );
            }
            for who in [requester(AGENT, &[NODE]), stranger()] {
                let v = verdict(who, node.clone(), new.clone());
                assert_eq!(
                    (v.outcome, v.reason),
                    (Outcome::Allow, Reason::NothingOfOurs),
                    "{new:?}"
                );
            }
        }
    }
}

/// An agent's RBAC does not permit the DELETE of a Node, but somebody may grant it. The webhook then denies the DELETE of another node's
/// Node.
#[test]
fn found_s2_no_agent_deletes_another_node() {
    for (claim, node, expected) in [
        ("node-1", free(), Reason::NotOwnNode),
        ("node-1", held(), Reason::NotOwnNode),
        (NODE, free(), Reason::NothingOfOurs),
        (NODE, held(), Reason::HeldDeleted),
    ] {
        let request = Request {
            requester: requester(AGENT, &[claim]),
            operation: Operation::DeleteNode { old: node },
            is_of_status: false,
            is_dry_run: false,
        };
        let Decision::Verdict(v) = decide(&request, &Facts::default(), &policy(), now()) else {
            panic!()
        };
        assert_eq!(v.reason, expected, "{claim}");
    }
}

/// With `not-own-node` set to warn, an agent that writes another node's Node is denied whatever anybody else would be denied.
#[test]
fn found_s2_an_agent_elsewhere_that_is_only_warned_opens_no_hold() {
    let policy = Policy {
        modes: Modes::from(Mode::Enforce).with(Reason::NotOwnNode, Mode::Warn),
        ..policy()
    };
    let gets = |old: NodeView, new: NodeView| {
        let who = requester(AGENT, &["node-1"]);
        let Decision::Verdict(v) = ask(who, old, new, &Facts::default(), &policy, now()) else {
            panic!()
        };
        (v.outcome, v.reason)
    };
    assert_eq!(gets(held(), uncordoned(held())), (Outcome::Deny, Reason::Held));
    assert_eq!(
        gets(held(), stripped(held())),
        (Outcome::Deny, Reason::TamperedHold)
    );
    assert_eq!(gets(free(), held()), (Outcome::Deny, Reason::SpoofedHold));
    assert_eq!(
        gets(free(), uncordoned(free())),
        (Outcome::Flag, Reason::NotOwnNode)
    );
    for new in nothing_of_ours(&held()) {
        assert_eq!(gets(held(), new), (Outcome::Flag, Reason::NotOwnNode));
    }
    for (on_delete, expected) in [
        (OnDelete::Flag, Reason::NotOwnNode),
        (OnDelete::Deny, Reason::HeldDeleted),
    ] {
        let request = Request {
            requester: requester(AGENT, &["node-1"]),
            operation: Operation::DeleteNode { old: held() },
            is_of_status: false,
            is_dry_run: false,
        };
        let policy = Policy {
            on_delete,
            ..policy.clone()
        };
        let Decision::Verdict(v) = decide(&request, &Facts::default(), &policy, now()) else {
            panic!()
        };
        assert_eq!(v.reason, expected);
    }
}

#[test]
fn a_cancel_needs_its_own_permission_and_comes_alone() {
    let gets = |old: NodeView, new: NodeView, may_override: Known<bool>| {
        let facts = Facts {
            may_override,
            ..Facts::default()
        };
        ask(stranger(), old, new, &facts, &policy(), now())
    };
    for (old, new) in [
        (held(), cancelled(held())),
        (cancelled(held()), held()),
        (annotate(free(), keys::CANCEL, "left over"), free()),
    ] {
        assert_eq!(
            gets(old.clone(), new.clone(), Known::Unasked),
            Decision::Need(Fact::Override)
        );
        for (fact, outcome, reason) in [
            (Known::Is(true), Outcome::Allow, Reason::Override),
            (Known::Is(false), Outcome::Deny, Reason::NoOverride),
            (
                Known::Failed("no answer".to_owned()),
                Outcome::Deny,
                Reason::LookupFailed,
            ),
        ] {
            let Decision::Verdict(v) = gets(old.clone(), new.clone(), fact) else {
                panic!()
            };
            assert_eq!((v.outcome, v.reason), (outcome, reason));
        }
    }
    for new in [
        uncordoned(cancelled(held())),
        cancelled(stripped(held())),
        cancelled(untainted(held())),
    ] {
        let Decision::Verdict(v) = gets(held(), new, Known::Is(true)) else {
            panic!()
        };
        assert_eq!((v.outcome, v.reason), (Outcome::Deny, Reason::CancelAlone));
    }
}

const REQUEST: &str = "2026-01-01T00:04:00Z jo: a new kernel";

fn requested(node: NodeView) -> NodeView {
    annotate(node, keys::REBOOT_WANTED, REQUEST)
}

#[test]
fn a_request_for_a_reboot_needs_its_own_permission_to_be_written_changed_or_removed() {
    let gets = |old: NodeView, new: NodeView, may_reboot: Known<bool>| {
        let facts = Facts {
            may_reboot,
            // Who may cancel may not ask for a reboot by that.
            may_override: Known::Is(true),
            ..Facts::default()
        };
        ask(stranger(), old, new, &facts, &policy(), now())
    };
    let another = annotate(free(), keys::REBOOT_WANTED, "2026-01-01T00:05:00Z al: me too");
    for (old, new) in [
        (free(), requested(free())),
        (requested(free()), another),
        (requested(free()), free()),
        (held(), requested(held())),
    ] {
        let (old, new) = (|| old.clone(), || new.clone());
        assert_eq!(gets(old(), new(), Known::Unasked), Decision::Need(Fact::Reboot));
        for (fact, outcome, reason) in [
            (Known::Is(true), Outcome::Allow, Reason::Requested),
            (Known::Is(false), Outcome::Deny, Reason::NoRequest),
            (
                Known::Failed("no answer".to_owned()),
                Outcome::Deny,
                Reason::LookupFailed,
            ),
        ] {
            let Decision::Verdict(v) = gets(old(), new(), fact) else {
                panic!()
            };
            assert_eq!((v.outcome, v.reason), (outcome, reason));
        }
    }
    // The node's own agent takes it off.
    let Decision::Verdict(v) = ask(
        requester(AGENT, &["node-0"]),
        requested(held()),
        held(),
        &Facts::default(),
        &policy(),
        now(),
    ) else {
        panic!()
    };
    assert_eq!((v.outcome, v.reason), (Outcome::Allow, Reason::Owner));
}

#[test]
fn a_request_for_a_reboot_opens_nothing_and_hides_nothing_beside_it() {
    for (may, old, new, reason) in [
        (true, held(), requested(uncordoned(held())), Reason::Held),
        (false, held(), requested(uncordoned(held())), Reason::Held),
        (true, held(), requested(stripped(held())), Reason::TamperedHold),
        (true, free(), requested(uncordoned(free())), Reason::Requested),
        (false, free(), requested(uncordoned(free())), Reason::NoRequest),
        (
            true,
            free(),
            annotate(free(), keys::REBOOT_WANTED, "please"),
            Reason::BadRequest,
        ),
        (
            false,
            free(),
            annotate(free(), keys::REBOOT_WANTED, "please"),
            Reason::NoRequest,
        ),
        // More than a day ago, and hours ahead.
        (
            true,
            free(),
            annotate(free(), keys::REBOOT_WANTED, "2025-12-31T00:00:00Z jo: late"),
            Reason::BadRequest,
        ),
        (
            true,
            free(),
            annotate(free(), keys::REBOOT_WANTED, "2026-01-01T06:00:00Z jo: tonight"),
            Reason::BadRequest,
        ),
    ] {
        let facts = Facts {
            may_reboot: Known::Is(may),
            ..Facts::default()
        };
        let policy = Policy {
            kured: None,
            ..policy()
        };
        let Decision::Verdict(v) = ask(stranger(), old, new, &facts, &policy, now()) else {
            panic!("{reason:?}")
        };
        assert_eq!(v.reason, reason, "{may}");
        assert_eq!(
            v.outcome == Outcome::Deny,
            reason.outcome() == Outcome::Deny,
            "{reason:?}"
        );
    }
}

#[test]
fn a_node_is_created_with_a_request_by_those_alone_who_may_ask() {
    let created = |new: NodeView, may: bool| {
        let request = Request {
            requester: stranger(),
            operation: Operation::CreateNode { new },
            is_of_status: false,
            is_dry_run: false,
        };
        let facts = Facts {
            may_reboot: Known::Is(may),
            ..Facts::default()
        };
        match decide(&request, &facts, &policy(), now()) {
            Decision::Verdict(verdict) => verdict.reason,
            need @ Decision::Need(_) => panic!("{need:?}"),
        }
    };
    assert_eq!(created(requested(free()), true), Reason::Requested);
    assert_eq!(created(requested(free()), false), Reason::NoRequest);
    assert_eq!(created(requested(held()), true), Reason::SpoofedHold);
    assert_eq!(created(held(), true), Reason::SpoofedHold);
    assert_eq!(created(free(), false), Reason::NothingOfOurs);
}

#[test]
fn marks_that_are_only_warned_of_neither_hide_behind_a_request_nor_let_one_pass_that_is_denied() {
    let policy = Policy {
        modes: Modes::from(Mode::Enforce).with(Reason::SpoofedHold, Mode::Warn),
        ..policy()
    };
    for (may, expected) in [
        (true, (Outcome::Flag, Reason::SpoofedHold)),
        (false, (Outcome::Deny, Reason::NoRequest)),
    ] {
        let request = Request {
            requester: stranger(),
            operation: Operation::CreateNode {
                new: requested(held()),
            },
            is_of_status: false,
            is_dry_run: false,
        };
        let facts = Facts {
            may_reboot: Known::Is(may),
            ..Facts::default()
        };
        let Decision::Verdict(verdict) = decide(&request, &facts, &policy, now()) else {
            panic!("{may}")
        };
        assert_eq!((verdict.outcome, verdict.reason), expected);
    }
}

#[test]
fn an_uncordon_that_is_only_warned_of_does_not_hide_behind_a_request() {
    let policy = Policy {
        modes: Modes::from(Mode::Enforce).with(Reason::Held, Mode::Warn),
        ..policy()
    };
    let facts = Facts {
        may_reboot: Known::Is(true),
        ..Facts::default()
    };
    let new = requested(uncordoned(held()));
    let Decision::Verdict(verdict) = ask(stranger(), held(), new, &facts, &policy, now()) else {
        panic!("it needs no more")
    };
    assert_eq!((verdict.outcome, verdict.reason), (Outcome::Flag, Reason::Held));
}

#[test]
fn c9_a_cancel_planted_before_the_hold_needs_the_permission_and_opens_no_hold() {
    // HELD-STAYS-CORDONED: any controller may write annotations that do not concern us, but not a cancel.
    let unpermitted = Facts {
        may_override: Known::Is(false),
        ..Facts::default()
    };
    let gets = |old: &NodeView, new: NodeView| {
        let Decision::Verdict(v) = ask(stranger(), old.clone(), new, &unpermitted, &policy(), now()) else {
            panic!()
        };
        (v.outcome, v.reason)
    };
    let old_one = "2025-01-01T00:00:00Z old";
    for node in [free(), untainted(held_in("wanted"))] {
        for planted in [
            cancelled(node.clone()),
            annotate(node.clone(), keys::CANCEL, old_one),
        ] {
            assert_eq!(gets(&node, planted), (Outcome::Deny, Reason::NoOverride));
        }
    }
    // A permitted cancel of an earlier hold does not open this hold, and cannot be changed without permission to do so.
    let node = annotate(held(), keys::CANCEL, old_one);
    assert_eq!(
        gets(&node, uncordoned(node.clone())),
        (Outcome::Deny, Reason::Held)
    );
    assert_eq!(
        gets(&node, cancelled(node.clone())),
        (Outcome::Deny, Reason::NoOverride)
    );
}

#[test]
fn a_cancelled_hold_is_uncordoned_and_stripped_by_anyone_and_changed_by_nobody() {
    let node = cancelled(held());
    for new in [
        uncordoned(node.clone()),
        stripped(node.clone()),
        untainted(node.clone()),
    ] {
        assert_eq!(stranger_gets(&node, new), (Outcome::Flag, Reason::Cancelled));
    }
    let rewritten = annotate(node.clone(), keys::HOLDER, "7f1c/2026-01-01T00:00:01Z");
    assert_eq!(
        stranger_gets(&node, rewritten.clone()),
        (Outcome::Deny, Reason::TamperedHold)
    );
    assert_eq!(
        stranger_gets(&node, uncordoned(rewritten)),
        (Outcome::Deny, Reason::Held)
    );
    // A cancel of another hold, or without a reason, has no effect.
    for text in ["2025-01-01T00:00:00Z old", CREATED, "", "*"] {
        let node = annotate(held(), keys::CANCEL, text);
        assert_eq!(
            stranger_gets(&node, uncordoned(node.clone())),
            (Outcome::Deny, Reason::Held),
            "{text}"
        );
    }
}

#[test]
fn the_printed_way_out_works_step_by_step() {
    let mut node = cancelled(held());
    let mut steps = vec![uncordoned(node.clone())];
    steps.push(untainted(steps[0].clone()));
    let mut unlabelled = steps[1].clone();
    assert!(unlabelled.metadata.labels.remove(keys::PHASE).is_some());
    steps.push(unlabelled);
    steps.push(stripped(steps[2].clone()));
    for next in steps {
        assert_eq!(
            stranger_gets(&node, next.clone()),
            (Outcome::Flag, Reason::Cancelled)
        );
        node = next;
    }
    assert!(!hold::has_marks(&node));
}

#[test]
fn broken_marks_have_a_way_out() {
    let broken = without(held(), keys::HOLDER);
    assert_eq!(cancel_name(&broken), UNREADABLE);
    let verdict = verdict(stranger(), broken.clone(), uncordoned(broken.clone()));
    assert!(
        verdict
            .message
            .contains("cordonhold.dev/cancel='unreadable <your reason>'"),
        "{}",
        verdict.message
    );
    let node = annotate(broken, keys::CANCEL, "unreadable by hand");
    assert_eq!(
        stranger_gets(&node, uncordoned(stripped(node.clone()))),
        (Outcome::Flag, Reason::Cancelled)
    );
}

#[test]
fn a_sealed_hold_is_cancelled_too_late() {
    let node = cancelled(held_in("sealed"));
    let gets = |new: NodeView, now: &str| {
        let Decision::Verdict(v) = ask(
            stranger(),
            node.clone(),
            new,
            &Facts::default(),
            &policy(),
            at(now),
        ) else {
            panic!()
        };
        (v.outcome, v.reason)
    };
    for new in [uncordoned(node.clone()), stripped(node.clone())] {
        assert_eq!(
            gets(new.clone(), "2026-01-01T00:15:30Z"),
            (Outcome::Deny, Reason::TooLate)
        );
        assert_eq!(
            gets(new, "2026-01-01T00:15:31Z"),
            (Outcome::Flag, Reason::Cancelled)
        );
    }
    let back = cancelled(held_in("returning"));
    assert_eq!(
        stranger_gets(&back, uncordoned(back.clone())),
        (Outcome::Flag, Reason::Cancelled)
    );
}

#[test]
fn only_enforce_denies() {
    for (mode, outcome, warnings) in [
        (Mode::Enforce, Outcome::Deny, 0),
        (Mode::Warn, Outcome::Flag, 1),
        (Mode::Audit, Outcome::Flag, 0),
    ] {
        let policy = Policy {
            modes: mode.into(),
            ..policy()
        };
        let decision = ask(
            stranger(),
            held(),
            uncordoned(held()),
            &Facts::default(),
            &policy,
            now(),
        );
        let Decision::Verdict(v) = decision else { panic!() };
        assert_eq!(
            (v.outcome, v.reason, v.warnings.len()),
            (outcome, Reason::Held, warnings)
        );
        assert_eq!(v.message.is_empty(), mode != Mode::Enforce);
        assert_eq!(v.audit[AUDIT_REASON], "held");
        assert_eq!(v.audit["mode"], mode.as_str());
        assert!(
            v.warnings
                .iter()
                .all(|warning| warning.chars().count() <= 256 && warning.contains(NODE))
        );
        let unjudged = Verdict::unjudged(Reason::MalformedReview, mode, "no object");
        assert_eq!(unjudged.outcome, outcome);
    }
}

#[test]
fn a_denial_names_the_hold_and_prints_the_way_out() {
    let message = verdict(stranger(), held(), uncordoned(held())).message;
    for part in [
        NODE,
        &format!("holder {UID}/{CREATED}"),
        "phase delaying",
        &format!("since {CREATED}"),
        "until 2026-01-01T00:15:00Z",
        &format!("kubectl annotate --overwrite node node-0 cordonhold.dev/cancel='{CREATED} <your reason>'"),
    ] {
        assert!(message.contains(part), "{part} is missing in: {message}");
    }
}

/// The message for a stranger whose uncordon is denied at this time.
fn told(node: &NodeView, now: &str) -> String {
    let new = uncordoned(node.clone());
    match ask(
        stranger(),
        node.clone(),
        new,
        &Facts::default(),
        &policy(),
        at(now),
    ) {
        Decision::Verdict(verdict) => verdict.message,
        Decision::Need(need) => panic!("needs {need:?}"),
    }
}

#[test]
fn found_e7_who_how_long_how_far_and_what_blocks_come_first() {
    let progress = "38 gone, 2 left; blocked by db/pg (0 allowed)";
    let node = annotate(held_in("draining"), keys::DRAIN_PROGRESS, progress);
    let first = told(&node, "2026-01-01T00:05:00Z");
    let first = first.lines().next().unwrap();
    assert!(
        first.starts_with(
            "held: node node-0 is held for a reboot and stays cordoned: its agent has held it for 4 min, \
             phase draining ('38 gone, 2 left; blocked by db/pg (0 allowed)'), since "
        ),
        "{first}"
    );
    // Also in a warning, which is cut at 256 characters.
    let warn = Policy {
        modes: Mode::Warn.into(),
        ..policy()
    };
    let decision = ask(
        stranger(),
        node.clone(),
        uncordoned(node),
        &Facts::default(),
        &warn,
        now(),
    );
    let Decision::Verdict(v) = decision else { panic!() };
    assert!(v.warnings[0].contains("blocked by db/pg"), "{:?}", v.warnings);
}

/// The hold is renewed until 00:15, so at 00:11 its agent has missed two renewals.
#[test]
fn found_e7_the_way_out_by_hand_is_for_a_hold_whose_agent_is_silent_and_right_for_its_node() {
    let (alive, silent) = ("2026-01-01T00:11:30Z", "2026-01-01T00:11:31Z");
    let (uncordon, by_hand) = (
        "kubectl uncordon node-0",
        "kubectl taint node node-0 cordonhold.dev/rebooting:NoSchedule-",
    );
    let before = |was: &str| annotate(held(), keys::WAS_UNSCHEDULABLE, was);
    let of_another = format!("00000000-0000-4000-8000-000000000000/{CREATED}");
    let before_another = |was: &str| annotate(before(was), keys::HOLDER, &of_another);
    let kept = annotate(held(), keys::KEEP_CORDONED, "the disk is next");
    let sealed = |was: &str| annotate(held_in("sealed"), keys::WAS_UNSCHEDULABLE, was);
    let no_until = without(held(), keys::UNTIL);
    for (node, now, has_by_hand, uncordons) in [
        (held(), alive, false, false),
        (held(), silent, true, true),
        (before("true"), alive, false, false),
        (before("true"), silent, true, false),
        (kept, silent, true, false),
        // A sealed hold is not renewed until its reboot is over.
        (sealed("false"), "2026-01-01T00:15:30Z", false, false),
        (sealed("false"), "2026-01-01T00:15:31Z", true, true),
        (sealed("true"), "2026-01-01T00:15:31Z", true, false),
        (no_until, alive, true, true),
        // No agent works on marks that it cannot read, or that name another Node.
        (before_another("true"), alive, true, false),
        (before("perhaps"), alive, true, false),
        (without(before("true"), keys::HOLDER), alive, true, false),
        (without(held(), keys::WAS_UNSCHEDULABLE), silent, true, false),
    ] {
        let message = told(&node, now);
        assert!(message.starts_with("held: "), "{message}");
        assert_eq!(
            (message.contains(by_hand), message.contains(uncordon)),
            (has_by_hand, uncordons),
            "{node:?} {now}: {message}"
        );
        assert_eq!(
            message.contains("not renewed by its agent") || has_by_hand,
            has_by_hand
        );
        assert_eq!(
            has_by_hand && !uncordons,
            message.contains("It stays cordoned: "),
            "{message}"
        );
    }
}

#[test]
fn a_denial_says_whose_marks_they_are_and_when_their_agent_does_not_renew_them() {
    let (alive, silent) = ("2026-01-01T00:11:30Z", "2026-01-01T00:11:31Z");
    let renewed = "not renewed by its agent";
    assert!(!told(&held(), alive).contains(renewed));
    assert!(told(&held(), silent).contains(renewed));
    let others = "its marks name another Node";
    assert!(!told(&held(), alive).contains(others));
    let of_another = format!("00000000-0000-4000-8000-000000000000/{CREATED}");
    assert!(told(&annotate(held(), keys::HOLDER, &of_another), alive).contains(others));
}

#[test]
fn found_e7_each_phase_has_its_own_way_out() {
    let now = "2026-01-01T00:05:00Z";
    for (node, part) in [
        (held_in("draining"), "To call the reboot off"),
        (held_in("delaying"), "To call the reboot off"),
        (held_in("sealed"), "a cancel comes too late"),
        (held_in("returning"), "To end that wait"),
    ] {
        let message = told(&node, now);
        assert_eq!(message.matches("kubectl annotate").count(), 1, "{message}");
        assert!(message.contains(part), "{part} is missing in: {message}");
    }
    let node = cancelled(held_in("sealed"));
    let late = verdict(stranger(), node.clone(), stripped(node));
    assert!(
        late.message.contains("passes then") && late.message.contains("by 2026-01-01T00:15:30Z"),
        "{}",
        late.message
    );
    assert!(!late.message.contains("kubectl"), "{}", late.message);
}

/// Text that others wrote (marks, a user name, the reason of a cancel) can neither end the quotes around it nor begin a line that looks like
/// one of ours.
#[test]
fn found_s8_what_others_wrote_breaks_out_of_no_message() {
    let evil = "';id;'\nheld: nothing is held\u{202e}";
    let mut nodes = vec![annotate(held(), keys::HOLDER, &format!("{UID}/{evil}"))];
    nodes.push(annotate(held(), keys::HOLDER, &format!("{UID}/';id;'")));
    nodes.push(annotate(held(), keys::HOLDER, &format!("{evil}/{CREATED}")));
    for key in [keys::UNTIL, keys::DRAIN_PROGRESS, keys::CANCEL] {
        nodes.push(annotate(held(), key, evil));
    }
    nodes.push(held_in(evil));
    for node in &nodes {
        let message = told(node, "2026-01-01T00:12:00Z");
        assert!(
            !message.contains("';id;'") && !message.contains('\u{202e}'),
            "{message}"
        );
        assert!(
            !message.lines().any(|line| line.starts_with("held: nothing")),
            "{message}"
        );
        assert_eq!(message.matches('\'').count() % 2, 0, "{message}");
    }
    // A holder without a timestamp is cancelled by the word `unreadable`.
    let node = annotate(held(), keys::HOLDER, &format!("{UID}/';id;'"));
    assert_eq!(cancel_name(&node), UNREADABLE);
    assert!(told(&node, "2026-01-01T00:05:00Z").contains("cordonhold.dev/cancel='unreadable <your reason>'"));
    let node = annotate(node, keys::CANCEL, "unreadable by hand");
    assert_eq!(
        stranger_gets(&node, uncordoned(node.clone())),
        (Outcome::Flag, Reason::Cancelled)
    );

    let v = verdict(requester(evil, &[]), free(), held());
    assert_eq!(v.reason, Reason::SpoofedHold);
    assert!(
        v.message.contains("'’;id;’ held: nothing is held '"),
        "{}",
        v.message
    );
    let cancelled = annotate(held(), keys::CANCEL, &format!("{CREATED} {evil}"));
    let v = verdict(stranger(), cancelled.clone(), uncordoned(cancelled));
    assert!(
        v.warnings[0].contains("was cancelled: '’;id;’"),
        "{:?}",
        v.warnings
    );
}

#[test]
fn found_e6_a_cancel_that_ends_nothing_is_refused_with_the_right_line() {
    let gets = |old: &NodeView, text: &str, may_override: bool, modes: Modes| {
        let facts = Facts {
            may_override: Known::Is(may_override),
            ..Facts::default()
        };
        let policy = Policy { modes, ..policy() };
        let new = annotate(old.clone(), keys::CANCEL, text);
        let Decision::Verdict(v) = ask(stranger(), old.clone(), new, &facts, &policy, now()) else {
            panic!()
        };
        v
    };
    let enforce = || Modes::from(Mode::Enforce);
    let right = format!("kubectl annotate --overwrite node node-0 cordonhold.dev/cancel='{CREATED} ");
    for (text, line) in [
        ("disk", "disk'"),
        ("the disk is broken", "the disk is broken'"),
        ("2025-01-01T00:00:00Z an older one", "an older one'"),
        (CREATED, "<your reason>'"),
        ("", "<your reason>'"),
    ] {
        for node in [held(), held_in("sealed"), untainted(held_in("wanted"))] {
            let v = gets(&node, text, true, enforce());
            assert_eq!(
                (v.outcome, v.reason),
                (Outcome::Deny, Reason::BadCancel),
                "{text}"
            );
            assert!(v.message.ends_with(&format!("{right}{line}")), "{}", v.message);
            assert_eq!(gets(&node, text, false, enforce()).reason, Reason::NoOverride);
        }
        // A faulty cancel that was written while the webhook was down is pointed out when the uncordon is denied.
        let message = told(&annotate(held(), keys::CANCEL, text), "2026-01-01T00:05:00Z");
        assert!(message.contains("The cancel on it does nothing: "), "{message}");
    }
    let v = gets(&free(), "disk", true, enforce());
    assert_eq!((v.outcome, v.reason), (Outcome::Deny, Reason::BadCancel));
    assert!(
        v.message.contains("carries no hold") && v.message.contains(keys::PAUSE),
        "{}",
        v.message
    );
    let good = gets(&held(), &format!("{CREATED} disk"), true, enforce());
    assert_eq!((good.outcome, good.reason), (Outcome::Allow, Reason::Override));
    assert!(!told(&held(), "2026-01-01T00:05:00Z").contains("The cancel on it"));
    // If one of the two reasons only warns, the other still denies.
    let warn = |reason| enforce().with(reason, Mode::Warn);
    let v = gets(&held(), "disk", false, warn(Reason::NoOverride));
    assert_eq!((v.outcome, v.reason), (Outcome::Deny, Reason::BadCancel));
    let v = gets(&held(), "disk", false, warn(Reason::BadCancel));
    assert_eq!((v.outcome, v.reason), (Outcome::Deny, Reason::NoOverride));
    let v = gets(&held(), "disk", true, warn(Reason::BadCancel));
    assert_eq!((v.outcome, v.reason), (Outcome::Flag, Reason::BadCancel));
}

#[test]
fn an_exempt_user_or_group_passes_whatever_is_held() {
    let exempting = |users: &[&str], groups: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Policy {
            exempt: Exempt {
                users: owned(users),
                groups: owned(groups),
            },
            ..kured_policy()
        }
    };
    let gets = |policy: &Policy, new: NodeView| {
        let Decision::Verdict(v) = ask(stranger(), held(), new, &Facts::default(), policy, now()) else {
            panic!()
        };
        (v.outcome, v.reason)
    };
    for new in [
        uncordoned(held()),
        stripped(held()),
        uncordoned(stripped(held())),
        cancelled(held()),
    ] {
        for policy in [
            exempting(&["admin"], &[]),
            exempting(&[], &["other", "system:masters"]),
        ] {
            assert_eq!(gets(&policy, new.clone()), (Outcome::Allow, Reason::Exempt));
        }
    }
    // Names of users and groups are not mixed up, and match only as a whole.
    for policy in [
        exempting(&[], &[]),
        exempting(&["system:masters", "admi", "administrator"], &["admin"]),
    ] {
        assert_eq!(gets(&policy, uncordoned(held())), (Outcome::Deny, Reason::Held));
    }
    assert_eq!(
        gets(&exempting(&["admin"], &[]), held()),
        (Outcome::Allow, Reason::NothingOfOurs)
    );
}

fn deleted(node: &NodeView, policy: &Policy, now: Timestamp) -> Verdict {
    judged(
        stranger(),
        Operation::DeleteNode { old: node.clone() },
        policy,
        now,
    )
}

fn judged(requester: Requester, operation: Operation, policy: &Policy, now: Timestamp) -> Verdict {
    let request = Request {
        requester,
        operation,
        is_of_status: false,
        is_dry_run: false,
    };
    match decide(&request, &Facts::default(), policy, now) {
        Decision::Verdict(verdict) => verdict,
        Decision::Need(need) => panic!("needs {need:?}"),
    }
}

/// One mark is enough to fill a slot. No agent can be its writer, because none runs on a Node that does not exist yet.
#[test]
fn found_s11_no_node_is_created_with_a_mark() {
    let of = |who: Requester, node: NodeView, policy: &Policy| {
        judged(who, Operation::CreateNode { new: node }, policy, now())
    };
    let one_mark = keys::MARK_ANNOTATIONS
        .into_iter()
        .map(|key| (key, annotate(free(), key, "x")))
        .chain([
            (keys::PHASE, phase(free(), "draining")),
            (keys::PHASE, phase(free(), "")),
        ]);
    let mut tainted = free();
    tainted.spec.taints = vec![Taint::no_schedule(keys::REBOOTING)];
    for (mark, node) in one_mark.chain([(keys::REBOOTING, tainted)]) {
        for who in [stranger(), requester(AGENT, &[NODE]), requester(AGENT, &[])] {
            let denied = of(who, node.clone(), &policy());
            assert_eq!(
                (denied.outcome, denied.reason),
                (Outcome::Deny, Reason::SpoofedHold),
                "{mark}"
            );
            assert!(
                denied.message.contains("Leave out ") && denied.message.contains(mark),
                "{}",
                denied.message
            );
        }
        let exempting = Policy {
            exempt: Exempt {
                users: vec!["admin".to_owned()],
                groups: Vec::new(),
            },
            ..policy()
        };
        let passes = of(stranger(), node.clone(), &exempting);
        assert_eq!(
            (passes.outcome, passes.reason),
            (Outcome::Allow, Reason::Exempt),
            "{mark}"
        );
        let warned = Policy {
            modes: Mode::Warn.into(),
            ..policy()
        };
        assert_eq!(of(stranger(), node, &warned).outcome, Outcome::Flag, "{mark}");
    }
    // Anybody may create a Node with what is not a mark.
    let mut other = annotate(free(), keys::PAUSE, "x");
    other.spec.taints = vec![Taint::no_schedule("example.com/other")];
    other.spec.unschedulable = true;
    let passes = of(stranger(), other, &policy());
    assert_eq!(
        (passes.outcome, passes.reason),
        (Outcome::Allow, Reason::NothingOfOurs)
    );
}

#[test]
fn a_held_node_is_deleted_with_a_flag_and_by_flag_not_at_all() {
    let deny = Policy {
        on_delete: OnDelete::Deny,
        ..policy()
    };
    for name in ["draining", "delaying", "sealed", "returning", "of-tomorrow"] {
        let flagged = deleted(&held_in(name), &policy(), now());
        assert_eq!(
            (flagged.outcome, flagged.reason),
            (Outcome::Flag, Reason::HeldDeleted),
            "{name}"
        );
        assert!(
            flagged.warnings[0].contains("is deleted while it is held"),
            "{flagged:?}"
        );
        let denied = deleted(&held_in(name), &deny, now());
        assert_eq!(
            (denied.outcome, denied.reason),
            (Outcome::Deny, Reason::HeldDeleted),
            "{name}"
        );
        assert!(
            denied.message.contains("--on-delete=deny") && denied.message.contains(keys::CANCEL),
            "{}",
            denied.message
        );
    }
    for node in [free(), untainted(held_in("wanted"))] {
        assert_eq!(deleted(&node, &deny, now()).reason, Reason::NothingOfOurs);
    }
    let gone = at("2026-01-01T00:20:31Z");
    for (node, now, reason) in [
        (cancelled(held()), now(), Reason::Cancelled),
        (cancelled(held_in("sealed")), now(), Reason::TooLate),
        (held_in("sealed"), gone, Reason::Lapsed),
    ] {
        assert_eq!(deleted(&node, &deny, now).reason, reason);
    }
    let warn = Policy {
        modes: Mode::Warn.into(),
        ..deny
    };
    assert_eq!(deleted(&held(), &warn, now()).outcome, Outcome::Flag);
}

#[test]
fn audit_annotations_say_who_holds_and_for_how_long() {
    let v = verdict(stranger(), held(), uncordoned(held()));
    // Stamped at 00:00:00.1, asked at 00:05:00.
    let expected = [
        (AUDIT_VERDICT, "deny"),
        (AUDIT_REASON, "held"),
        (AUDIT_HOLDER, "7f1c/2026-01-01T00:00:00.123456789Z"),
        (AUDIT_PHASE, "delaying"),
        (AUDIT_AGE, "299s"),
        (AUDIT_MODE, "enforce"),
    ];
    assert_eq!(
        v.audit,
        expected.map(|(key, value)| (key, value.to_owned())).into()
    );
    let early = at("2025-12-31T00:00:00Z");
    let Decision::Verdict(v) = ask(
        stranger(),
        held(),
        uncordoned(held()),
        &Facts::default(),
        &policy(),
        early,
    ) else {
        panic!()
    };
    assert_eq!(v.audit[AUDIT_AGE], "0s");
}

#[test]
fn one_reason_can_have_a_mode_of_its_own() {
    let policy = Policy {
        modes: Modes::from(Mode::Enforce).with(Reason::TamperedTaint, Mode::Audit),
        ..policy()
    };
    let gets = |new| {
        let Decision::Verdict(v) = ask(stranger(), held(), new, &Facts::default(), &policy, now()) else {
            panic!()
        };
        (v.outcome, v.reason, v.audit[AUDIT_MODE].clone())
    };
    assert_eq!(
        gets(untainted(held())),
        (Outcome::Flag, Reason::TamperedTaint, "audit".to_owned())
    );
    assert_eq!(
        gets(uncordoned(held())),
        (Outcome::Deny, Reason::Held, "enforce".to_owned())
    );
}

/// A rule that only warns must not let through what another rule denies.
#[test]
fn a_reason_that_only_warns_lets_nothing_pass_that_another_denies() {
    let gets = |lenient: &[Reason], old: NodeView, new: NodeView, facts: &Facts, policy: Policy| {
        let warn = |modes: Modes, reason: &Reason| modes.with(*reason, Mode::Warn);
        let policy = Policy {
            modes: lenient.iter().fold(Modes::from(Mode::Enforce), warn),
            ..policy
        };
        match ask(stranger(), old, new, facts, &policy, now()) {
            Decision::Verdict(verdict) => (verdict.outcome, verdict.reason),
            Decision::Need(need) => panic!("needs {need:?}"),
        }
    };
    let none = Facts::default();
    let (uncordon, both) = (uncordoned(held()), stripped(uncordoned(held())));
    let with_cancel = uncordoned(cancelled(held()));
    let marks = [Reason::Held, Reason::TamperedHold, Reason::TamperedTaint];
    for (lenient, new, expected) in [
        (&marks[..1], &uncordon, (Outcome::Flag, Reason::Held)),
        (&marks[..1], &both, (Outcome::Deny, Reason::TamperedHold)),
        (&marks[..2], &both, (Outcome::Deny, Reason::TamperedTaint)),
        (&marks, &both, (Outcome::Flag, Reason::Held)),
        (
            &[Reason::CancelAlone],
            &with_cancel,
            (Outcome::Deny, Reason::Held),
        ),
    ] {
        assert_eq!(
            gets(lenient, held(), new.clone(), &none, policy()),
            expected,
            "{lenient:?}"
        );
    }

    // kured's hold counts in addition to ours.
    let lock = format!(r#"{{"nodeID":"{NODE}","created":"{CREATED}","TTL":0}}"#);
    let kureds = Facts {
        watched_kured_lock: Known::Is(kured::seen([(keys::KURED_LOCK.to_owned(), lock)].into())),
        ..Facts::default()
    };
    for (lenient, expected) in [
        (&[Reason::Held][..], (Outcome::Deny, Reason::KuredHeld)),
        (&[Reason::Held, Reason::KuredHeld], (Outcome::Flag, Reason::Held)),
    ] {
        let verdict = gets(lenient, held(), uncordon.clone(), &kureds, kured_policy());
        assert_eq!(verdict, expected, "{lenient:?}");
    }
}

#[test]
fn what_could_not_be_judged_is_told_at_a_bounded_length() {
    let v = Verdict::unjudged(Reason::MalformedReview, Mode::Enforce, &"x".repeat(10_000));
    assert!(
        v.message
            .starts_with("malformed-review: cordonhold cannot judge this request: xxx")
    );
    assert!(v.message.chars().count() < 1_000);
}

#[test]
fn the_page_has_every_reason_with_its_verdict_and_its_rule() {
    let manual = include_str!("../../../docs/webhook.md");
    let (_, table) = manual
        .split_once("| reason | verdict | when |\n| --- | --- | --- |\n")
        .unwrap();
    let table: Vec<&str> = table.lines().take_while(|line| line.starts_with('|')).collect();
    let rows: Vec<String> = Reason::ALL
        .iter()
        .map(|reason| {
            format!(
                "| `{}` | {} | {} |",
                reason.code(),
                reason.outcome().as_str(),
                reason.rule()
            )
        })
        .collect();
    assert_eq!(table, rows);
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just(format!("{UID}/{CREATED}")),
        Just(format!("{CREATED} why")),
        Just(format!("{CREATED} - admin")),
        Just(format!("{CREATED} 2026-01-01T00:04:00Z admin")),
        Just(format!("{CREATED} done:2026-01-01T00:04:00Z admin")),
        Just("2026-01-01T00:15:00Z".to_owned()),
        Just("true".to_owned()),
        Just("sealed".to_owned()),
        Just("wanted".to_owned()),
        ".{0,40}",
    ]
}

fn any_node() -> impl Strategy<Value = NodeView> {
    let all: Vec<&str> = keys::MARK_ANNOTATIONS
        .into_iter()
        .chain(keys::OWNERS_ANNOTATIONS)
        .chain(keys::TOLD_ANNOTATIONS)
        .chain([
            keys::CANCEL,
            keys::REBOOT_WANTED,
            keys::UNCORDON_WANTED,
            keys::PROBE,
            keys::PAUSE,
            "other",
        ])
        .collect();
    let annotations = proptest::collection::btree_map(proptest::sample::select(all), any_text(), 0..6);
    let label = proptest::option::of(any_text());
    let taints = proptest::collection::vec(proptest::sample::select(vec![keys::REBOOTING, "other"]), 0..3);
    let agent = proptest::option::of(any_text());
    (annotations, label, agent, taints, any::<bool>(), ".{0,8}").prop_map(
        |(annotations, label, agent, taints, cordon, name)| {
            let mut node = free();
            node.metadata.name = name;
            node.spec.unschedulable = cordon;
            node.spec.taints = taints.into_iter().map(Taint::no_schedule).collect();
            for (key, value) in annotations {
                node = annotate(node, key, &value);
            }
            if let Some(label) = label {
                node = phase(node, &label);
            }
            if let Some(agent) = agent {
                node = labelled(node, keys::AGENT, &agent);
            }
            node
        },
    )
}

fn any_requester() -> impl Strategy<Value = Requester> {
    let users = vec![
        AGENT.to_owned(),
        KURED.to_owned(),
        "admin".to_owned(),
        String::new(),
    ];
    (
        proptest::sample::select(users),
        proptest::collection::vec(".{0,8}", 0..3),
    )
        .prop_map(|(user, node_claim)| Requester {
            user,
            node_claim,
            ..Requester::default()
        })
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let permitted = || {
        prop_oneof![
            Just(Known::Unasked),
            any::<bool>().prop_map(Known::Is),
            any_text().prop_map(Known::Failed)
        ]
    };
    let locks = || {
        let keys = proptest::sample::select(vec![keys::KURED_LOCK, keys::KURED_V2_LOCK]);
        let locks = proptest::collection::btree_map(keys.prop_map(str::to_owned), any_text(), 0..3);
        prop_oneof![
            Just(Known::Unasked),
            locks.prop_map(|locks| Known::Is(kured::seen(locks))),
            any_text().prop_map(Known::Failed)
        ]
    };
    (permitted(), permitted(), locks(), locks()).prop_map(
        |(may_override, may_reboot, watched_kured_lock, kured_lock)| Facts {
            may_override,
            may_reboot,
            watched_kured_lock,
            kured_lock,
        },
    )
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let modes = proptest::sample::select(vec![Mode::Enforce, Mode::Defer, Mode::Warn, Mode::Audit]);
    let failures = proptest::sample::select(vec![OnLookupFailure::Deny, OnLookupFailure::Allow]);
    let deletes = proptest::sample::select(vec![OnDelete::Flag, OnDelete::Deny]);
    let modes = (
        modes.clone(),
        proptest::collection::vec((proptest::sample::select(Reason::ALL), modes.clone()), 0..3),
        proptest::option::of(modes),
    )
        .prop_map(|(usual, exceptions, of_user)| {
            let add = |modes: Modes, (reason, mode)| modes.with(reason, mode);
            let modes = exceptions.into_iter().fold(Modes::from(usual), add);
            of_user
                .into_iter()
                .fold(modes, |modes, mode| modes.with_user("admin", mode))
        });
    (modes, failures, deletes, 0..3_u8).prop_map(|(modes, on_lookup_failure, on_delete, protection)| {
        let base = match protection {
            0 => policy(),
            1 => kured::marks_only(),
            _ => kured::on_failure(on_lookup_failure),
        };
        Policy {
            modes,
            on_delete,
            ..base
        }
    })
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    (Timestamp::MIN.as_second()..=Timestamp::MAX.as_second())
        .prop_map(|second| Timestamp::from_second(second).unwrap_or(Timestamp::MAX))
}

proptest! {
    #[test]
    fn any_request_has_a_decision_and_a_bounded_one(
        who in any_requester(), old in any_node(), new in any_node(),
        facts in any_facts(), policy in any_policy(), now in any_time(),
    ) {
        let decision = ask(who, old, new, &facts, &policy, now);
        if let Decision::Verdict(verdict) = decision {
            prop_assert!(verdict.warnings.iter().all(|warning| warning.chars().count() <= 256));
            prop_assert!(verdict.outcome != Outcome::Deny || verdict.mode.denies());
            let code = format!("{}: ", verdict.reason.code());
            prop_assert_eq!(verdict.outcome == Outcome::Deny, verdict.message.starts_with(&code));
            let says = |key| verdict.audit.get(key).map(String::as_str);
            let is_of_ours = verdict.reason != Reason::NothingOfOurs;
            prop_assert_eq!(says(AUDIT_VERDICT), is_of_ours.then(|| verdict.outcome.as_str()));
            prop_assert_eq!(says(AUDIT_REASON), is_of_ours.then(|| verdict.reason.code()));
        }
    }

    #[test]
    fn a_decision_rests_on_nothing_that_the_policy_does_not_read(
        who in any_requester(), old in any_node(), new in any_node(),
        facts in any_facts(), policy in any_policy(), now in any_time(),
    ) {
        let seen = |mut node: NodeView| {
            node.metadata.annotations.retain(|key, _| policy.reads(key));
            node.metadata.labels.retain(|key, _| policy.reads(key));
            node.spec.taints.retain(|taint| taint.key == keys::REBOOTING);
            node
        };
        let whole = ask(who.clone(), old.clone(), new.clone(), &facts, &policy, now);
        prop_assert_eq!(whole, ask(who, seen(old), seen(new), &facts, &policy, now));
    }

    #[test]
    fn never_in_the_way_of_a_request_that_changes_nothing_of_ours(
        who in any_requester(), old in any_node(), facts in any_facts(), policy in any_policy(), now in any_time(),
        cordons in any::<bool>(), other in any_text(),
    ) {
        let mut new = annotate(old.clone(), "other", &other);
        new.spec.unschedulable |= cordons;
        new.spec.taints.push(Taint::no_schedule("another"));
        // An agent on another node is the one exception.
        let is_elsewhere = who.user == policy.agent.user() && !who.is_on(old.name());
        let expected = if is_elsewhere { Reason::NotOwnNode } else { Reason::NothingOfOurs };
        let Decision::Verdict(verdict) = ask(who, old, new, &facts, &policy, now) else { panic!("needs a fact") };
        prop_assert_eq!(verdict.reason, expected);
        prop_assert!(is_elsewhere || verdict.outcome == Outcome::Allow);
    }

    #[test]
    fn held_stays_cordoned_against_every_update_of_a_stranger(
        claim in proptest::collection::vec(".{0,8}", 0..3), new in any_node(), facts in any_facts(),
        kured in any::<bool>(),
    ) {
        let policy = if kured { kured_policy() } else { policy() };
        let who = Requester { node_claim: claim, ..stranger() };
        let old = held();
        let new = uncordoned(new);
        let Decision::Verdict(verdict) = ask(who, old, new, &facts, &policy, now()) else { panic!("needs a fact") };
        prop_assert_eq!(verdict.outcome, Outcome::Deny);
    }
}
