//! Tests of the rules for stock kured: its lock in every format, its marks, its own uncordon, and who may edit the lock.

use super::*;
use crate::kured::Kured;
use crate::lock::OUR_TTL;

pub(super) fn on_failure(on_lookup_failure: OnLookupFailure) -> Policy {
    let mut policy = kured_policy();
    if let Some(lock) = policy.kured.as_mut().and_then(|kured| kured.lock.as_mut()) {
        lock.on_lookup_failure = on_lookup_failure;
    }
    policy
}

pub(super) fn marks_only() -> Policy {
    let mut policy = kured_policy();
    if let Some(kured) = policy.kured.as_mut() {
        kured.lock = None;
        kured.service_account = Some(ServiceAccount {
            namespace: "kube-system".to_owned(),
            name: "kured".to_owned(),
        });
    }
    policy
}

/// These locks, on the DaemonSet of kured's manifest.
pub(super) fn seen(locks: Locks) -> KuredSeen {
    let found = Kured {
        namespace: "kube-system".to_owned(),
        name: "kured".to_owned(),
        service_account: "kured".to_owned(),
    };
    KuredSeen {
        found: Some(found),
        locks,
    }
}

pub(super) fn known(locks: Known<Locks>) -> Known<KuredSeen> {
    match locks {
        Known::Is(locks) => Known::Is(seen(locks)),
        Known::Failed(why) => Known::Failed(why),
        Known::Unasked => Known::Unasked,
    }
}

pub(super) fn locks(text: Option<&str>) -> Locks {
    text.map(|text| (keys::KURED_LOCK.to_owned(), text.to_owned()))
        .into_iter()
        .collect()
}

pub(super) fn single(node: &str, ttl: i64) -> String {
    format!(
        r#"{{"nodeID":"{node}","metadata":{{"unschedulable":false}},"created":"2026-01-01T00:00:00Z","TTL":{ttl}}}"#
    )
}

fn multi(entries: &[&str]) -> String {
    format!(r#"{{"maxOwners":2,"locks":[{}]}}"#, entries.join(","))
}

/// The decision about an uncordon of this node, given the locks that the watch shows and those of a fresh read.
pub(super) fn uncordon(
    who: Requester,
    node: &NodeView,
    watched: Known<Locks>,
    fresh: Known<Locks>,
    policy: &Policy,
) -> Decision {
    let facts = Facts {
        watched_kured_lock: known(watched),
        kured_lock: known(fresh),
        ..Facts::default()
    };
    let new = uncordoned(node.clone());
    ask(who, node.clone(), new, &facts, policy, now())
}

pub(super) fn verdict_of(decision: Decision) -> Verdict {
    match decision {
        Decision::Verdict(verdict) => verdict,
        Decision::Need(need) => panic!("needs {need:?}"),
    }
}

pub(super) fn silent() -> Known<Locks> {
    Known::Failed("the watch is silent".to_owned())
}

fn stranger_under(node: &NodeView, lock: Option<&str>) -> (Outcome, Reason) {
    let fresh = Known::Is(locks(lock));
    let v = verdict_of(uncordon(stranger(), node, silent(), fresh, &kured_policy()));
    (v.outcome, v.reason)
}

const FIVE_MINUTES: i64 = 300_000_000_000;
/// How far the clocks of kured's node and of the webhook may differ.
const SKEW_NANOS: i64 = 30_000_000_000;
/// The TTL of an entry that has expired five minutes after it was written, by any of the clocks; and the longest TTL of one that may have
/// expired by kured's clock.
pub(super) const SURELY_OVER: i64 = FIVE_MINUTES - SKEW_NANOS;
const PERHAPS_OVER: i64 = FIVE_MINUTES + SKEW_NANOS;

#[test]
fn held_stays_cordoned_for_a_node_that_kureds_lock_names() {
    let held = (Outcome::Deny, Reason::KuredHeld);
    let free_to_go = (Outcome::Allow, Reason::NotHeld);
    let expired = (Outcome::Flag, Reason::KuredExpired);
    let unreadable = (Outcome::Deny, Reason::LockUnreadable);
    let other = single("node-1", 0);
    for (lock, expected) in [
        (None, free_to_go),
        (Some(single(NODE, 0)), held),
        (Some(single(NODE, SURELY_OVER + 1)), held),
        (Some(single(NODE, SURELY_OVER)), expired),
        (Some(single("node-00", 0)), free_to_go),
        (Some(single("node-00", SURELY_OVER)), free_to_go),
        (Some(multi(&[&other, &single(NODE, 0)])), held),
        (Some(multi(&[&other, &single(NODE, SURELY_OVER)])), expired),
        (Some(multi(&[&single(NODE, SURELY_OVER), &single(NODE, 0)])), held),
        (Some(multi(&[&other])), free_to_go),
        (Some(multi(&[])), free_to_go),
        (Some(r#"{"maxOwners":2,"locks":null}"#.to_owned()), free_to_go),
        // A very old format without dates: the entry never expires.
        (Some(format!(r#"{{"nodeID":"{NODE}"}}"#)), held),
        (
            Some(format!(r#"{{"nodeID":"{NODE}","created":"","TTL":0}}"#)),
            held,
        ),
        // An entry whose `created` cannot be read never expires either.
        (
            Some(format!(r#"{{"nodeID":"{NODE}","created":"once","TTL":1}}"#)),
            held,
        ),
        (Some("{".to_owned()), unreadable),
        (Some(String::new()), unreadable),
        (Some("[]".to_owned()), unreadable),
        (Some(r#"{"maxOwners":2,"locks":7}"#.to_owned()), unreadable),
        (
            Some(r#"{"locks":[{"created":"2026-01-01T00:00:00Z"}]}"#.to_owned()),
            unreadable,
        ),
    ] {
        assert_eq!(stranger_under(&free(), lock.as_deref()), expected, "{lock:?}");
    }
}

#[test]
fn found_a4_an_uncordon_that_only_the_ttl_lets_pass_is_flagged_and_told() {
    let over = single(NODE, SURELY_OVER);
    let gets = |node: &NodeView, who: Requester, fresh: &str, policy: &Policy| {
        verdict_of(uncordon(
            who,
            node,
            silent(),
            Known::Is(locks(Some(fresh))),
            policy,
        ))
    };
    let v = gets(&free(), stranger(), &over, &kured_policy());
    assert_eq!((v.outcome, v.reason), (Outcome::Flag, Reason::KuredExpired));
    let warning = &v.warnings[0];
    for part in [NODE, "kured may still be at work", "--lock-ttl", "drain"] {
        assert!(warning.contains(part), "{part} is missing in: {warning}");
    }
    // The watch alone lets nothing pass: a fresh read is needed.
    let watched = Known::Is(locks(Some(&over)));
    let asked = uncordon(stranger(), &free(), watched, Known::Unasked, &kured_policy());
    assert_eq!(asked, Decision::Need(Fact::KuredLock));
    // The lock says more than kured's mark, which only says that a reboot is wanted.
    let marked = annotate(free(), keys::KURED_REBOOT_IN_PROGRESS, "x");
    let v = gets(&marked, stranger(), &over, &kured_policy());
    assert_eq!(v.reason, Reason::KuredExpired);
}

/// If another reason lets the uncordon pass or denies it, the expired entry is not reported.
#[test]
fn found_a4_an_entry_that_is_over_is_not_told_beside_another_reason() {
    let over = single(NODE, SURELY_OVER);
    let both = |v2: &str| {
        let both = [(keys::KURED_LOCK, over.as_str()), (keys::KURED_V2_LOCK, v2)];
        Known::Is(Locks::from(
            both.map(|(key, text)| (key.to_owned(), text.to_owned())),
        ))
    };
    for (v2, reason) in [
        (single(NODE, 0), Reason::KuredHeld),
        ("{".to_owned(), Reason::LockUnreadable),
        (single("node-1", 0), Reason::KuredExpired),
    ] {
        let v = verdict_of(uncordon(
            stranger(),
            &free(),
            silent(),
            both(&v2),
            &kured_policy(),
        ));
        assert_eq!(v.reason, reason, "{v2}");
    }
    let reason = |who: Requester, node: NodeView, now: Timestamp| {
        let facts = Facts {
            watched_kured_lock: known(silent()),
            kured_lock: Known::Is(seen(locks(Some(&over)))),
            ..Facts::default()
        };
        let new = uncordoned(node.clone());
        verdict_of(ask(who, node, new, &facts, &kured_policy(), now)).reason
    };
    let late = at("2026-01-01T00:20:31Z");
    assert_eq!(reason(stranger(), held(), late), Reason::Lapsed);
    assert_eq!(reason(stranger(), cancelled(held()), now()), Reason::Cancelled);
    assert_eq!(reason(stranger(), held(), now()), Reason::Held);
    assert_eq!(
        reason(requester(KURED, &[NODE]), free(), now()),
        Reason::KuredOwner
    );
    // An entry of ours never expires.
    let ours = format!(r#"{{"nodeID":"{NODE}","created":"2026-01-01T00:00:00Z","TTL":{OUR_TTL}}}"#);
    assert_eq!(stranger_under(&free(), Some(&ours)).1, Reason::NotHeld);
}

#[test]
fn found_p17_a_lock_that_cannot_be_read_is_shown_with_its_place_and_the_fix() {
    let broken = r#"{"nodeID":"node-1","TTL":"';id;'"}"#;
    let seen = || Known::Is(locks(Some(broken)));
    for (watched, fresh) in [(seen(), Known::Unasked), (silent(), seen())] {
        let v = verdict_of(uncordon(stranger(), &free(), watched, fresh, &kured_policy()));
        assert_eq!((v.outcome, v.reason), (Outcome::Deny, Reason::LockUnreadable));
        for part in [
            "daemonset kube-system/kured, annotation weave.works/kured-node-lock: TTL of it is ",
            "the manual lock is {\"nodeID\":\"manual\"}",
            "To repair it: kubectl -n kube-system edit daemonset kured",
        ] {
            assert!(v.message.contains(part), "{part} is missing in: {}", v.message);
        }
        assert!(!v.message.contains("';id;'"), "{}", v.message);
    }
    let pod = || requester(KURED, &[NODE]);
    for (old, new, part) in [
        (
            Some(broken),
            None,
            "annotation weave.works/kured-node-lock before this edit: TTL of it",
        ),
        (
            None,
            Some(broken),
            "annotation weave.works/kured-node-lock after this edit: TTL of it",
        ),
    ] {
        let v = edit(pod(), old, new);
        assert_eq!(v.reason, Reason::LockUnreadable);
        assert!(v.message.contains(part), "{part} is missing in: {}", v.message);
    }
    // Read like Go reads it, the first names the node. The manual lock in quotes names none.
    let other_case = single(NODE, 0)
        .replace("nodeID", "NodeId")
        .replace("false", "null");
    assert_eq!(
        stranger_under(&free(), Some(&other_case)),
        (Outcome::Deny, Reason::KuredHeld)
    );
    assert_eq!(
        stranger_under(&free(), Some(r#"'{"nodeID":"manual"}'"#)),
        (Outcome::Allow, Reason::NotHeld)
    );
}

#[test]
fn the_manual_lock_holds_no_node() {
    let manual = r#"{"nodeID":"manual"}"#;
    assert_eq!(
        stranger_under(&free(), Some(manual)),
        (Outcome::Allow, Reason::NotHeld)
    );
}

#[test]
fn either_lock_annotation_holds() {
    let naming = single(NODE, 0);
    for (v1, v2, reason) in [
        (naming.as_str(), "{}", Reason::KuredHeld),
        ("{", naming.as_str(), Reason::KuredHeld),
        (r#"{"nodeID":"manual"}"#, naming.as_str(), Reason::KuredHeld),
        (r#"{"nodeID":"manual"}"#, "{", Reason::LockUnreadable),
        (
            r#"{"nodeID":"manual"}"#,
            r#"{"nodeID":"node-1"}"#,
            Reason::NotHeld,
        ),
    ] {
        let both = [(keys::KURED_LOCK, v1), (keys::KURED_V2_LOCK, v2)];
        let both = both.map(|(key, text)| (key.to_owned(), text.to_owned()));
        let fresh = Known::Is(Locks::from(both));
        let v = verdict_of(uncordon(stranger(), &free(), silent(), fresh, &kured_policy()));
        assert_eq!(v.reason, reason, "{v1} {v2}");
    }
    // An annotation that is not configured does not count as a lock.
    let other = Known::Is(Locks::from([("example.org/lock".to_owned(), naming)]));
    let v = verdict_of(uncordon(stranger(), &free(), silent(), other, &kured_policy()));
    assert_eq!(v.reason, Reason::NotHeld);
}

#[test]
fn a_watch_denies_without_a_request_and_lets_nothing_pass() {
    let ask_with = |watched| uncordon(stranger(), &free(), watched, Known::Unasked, &kured_policy());
    assert_eq!(ask_with(Known::Unasked), Decision::Need(Fact::WatchedKuredLock));
    let naming = single(NODE, 0);
    for (lock, reason) in [
        (naming.as_str(), Reason::KuredHeld),
        ("{", Reason::LockUnreadable),
    ] {
        let v = verdict_of(ask_with(Known::Is(locks(Some(lock)))));
        assert_eq!((v.outcome, v.reason), (Outcome::Deny, reason));
    }
    for watched in [Known::Is(locks(None)), silent()] {
        assert_eq!(ask_with(watched), Decision::Need(Fact::KuredLock));
    }
    // The fresh read decides.
    let fresh = Known::Is(locks(Some(&naming)));
    let v = verdict_of(uncordon(
        stranger(),
        &free(),
        Known::Is(locks(None)),
        fresh,
        &kured_policy(),
    ));
    assert_eq!(v.reason, Reason::KuredHeld);
}

#[test]
fn a_lookup_that_failed_denies_and_by_flag_only_flags() {
    let failed = || Known::Failed("daemonsets is forbidden".to_owned());
    let gets = |policy: &Policy| verdict_of(uncordon(stranger(), &free(), silent(), failed(), policy));
    let denied = gets(&on_failure(OnLookupFailure::Deny));
    assert_eq!(
        (denied.outcome, denied.reason),
        (Outcome::Deny, Reason::LookupFailed)
    );
    assert!(
        denied.message.contains("daemonsets is forbidden") && denied.message.contains("kube-system/kured"),
        "{}",
        denied.message
    );
    let flagged = gets(&on_failure(OnLookupFailure::Allow));
    assert_eq!(
        (flagged.outcome, flagged.reason),
        (Outcome::Flag, Reason::LookupFailed)
    );
    assert!(
        flagged.warnings[0].contains("daemonsets is forbidden"),
        "{flagged:?}"
    );
    // If the watch shows that kured holds the node, no fresh read is needed.
    let watched = Known::Is(locks(Some(&single(NODE, 0))));
    let allowing = on_failure(OnLookupFailure::Allow);
    let v = verdict_of(uncordon(stranger(), &free(), watched, failed(), &allowing));
    assert_eq!((v.outcome, v.reason), (Outcome::Deny, Reason::KuredHeld));
    // If the permission to cancel cannot be checked, the cancel is denied, whatever the flag says.
    let facts = Facts {
        may_override: failed_permission(),
        ..Facts::default()
    };
    let v = verdict_of(ask(
        stranger(),
        held(),
        cancelled(held()),
        &facts,
        &allowing,
        now(),
    ));
    assert_eq!((v.outcome, v.reason), (Outcome::Deny, Reason::LookupFailed));
}

fn failed_permission() -> Known<bool> {
    Known::Failed("no answer".to_owned())
}

#[test]
fn kureds_mark_flags_beside_its_lock_and_denies_without() {
    let not_named = Known::Is(locks(None));
    for key in [keys::KURED_REBOOT_IN_PROGRESS, keys::KURED_V2_REBOOT_IN_PROGRESS] {
        let marked = annotate(free(), key, "2026-01-01T00:00:00Z");
        let flagged = verdict_of(uncordon(
            stranger(),
            &marked,
            silent(),
            not_named.clone(),
            &kured_policy(),
        ));
        assert_eq!(
            (flagged.outcome, flagged.reason),
            (Outcome::Flag, Reason::KuredMarked)
        );
        assert!(
            flagged.warnings[0].contains("kured wants to reboot"),
            "{flagged:?}"
        );
        assert_eq!(
            stranger_under(&marked, Some(&single(NODE, 0))),
            (Outcome::Deny, Reason::KuredHeld)
        );

        let without_lookup = |who| {
            verdict_of(uncordon(
                who,
                &marked,
                Known::Unasked,
                Known::Unasked,
                &marks_only(),
            ))
        };
        let denied = without_lookup(stranger());
        assert_eq!(
            (denied.outcome, denied.reason),
            (Outcome::Deny, Reason::KuredMarked)
        );
        assert!(
            denied
                .message
                .contains(&format!("kubectl annotate node {NODE} {key}-")),
            "{}",
            denied.message
        );
        assert_eq!(
            without_lookup(requester(KURED, &[NODE])).reason,
            Reason::KuredOwner
        );
        // Anybody may remove kured's mark.
        let v = verdict(stranger(), marked.clone(), without(marked, key));
        assert_eq!(v.reason, Reason::NothingOfOurs);
    }
    let v = verdict_of(uncordon(
        stranger(),
        &free(),
        Known::Unasked,
        Known::Unasked,
        &marks_only(),
    ));
    assert_eq!((v.outcome, v.reason), (Outcome::Allow, Reason::NotHeld));
}

#[test]
fn kured_uncordons_its_own_node() {
    let named = || Known::Is(locks(Some(&single(NODE, 0))));
    let gets = |claim: &[&str], node: &NodeView| {
        let who = requester(KURED, claim);
        let v = verdict_of(uncordon(who, node, named(), named(), &kured_policy()));
        (v.outcome, v.reason)
    };
    assert_eq!(gets(&[NODE], &free()), (Outcome::Allow, Reason::KuredOwner));
    for claim in [&[][..], &["node-1"], &[NODE, "node-1"]] {
        assert_eq!(gets(claim, &free()), (Outcome::Deny, Reason::KuredHeld));
    }
    // kured may not end a hold of ours.
    assert_eq!(gets(&[NODE], &held()), (Outcome::Deny, Reason::Held));
}

/// Otherwise anybody who may create a token for kured's ServiceAccount could uncordon every node.
#[test]
fn found_s12_a_token_of_kureds_without_a_node_is_kureds_by_flag_only() {
    let named = || Known::Is(locks(Some(&single(NODE, 0))));
    let believing = |policy: Policy| Policy {
        kured: policy.kured.map(|kured| KuredPolicy {
            is_believed_without_node: true,
            ..kured
        }),
        ..policy
    };
    let gets = |user: &str, claim: &[&str], node: &NodeView, policy: &Policy| {
        let who = requester(user, claim);
        verdict_of(uncordon(who, node, named(), named(), policy))
    };
    let marked = annotate(free(), keys::KURED_REBOOT_IN_PROGRESS, "x");
    let by_lock = [kured_policy(), told_by_flag()];
    let cases = by_lock
        .into_iter()
        .map(|policy| (policy, free(), Reason::KuredHeld));
    for (policy, node, denied) in cases.chain([(marks_only(), marked, Reason::KuredMarked)]) {
        let v = gets(KURED, &[], &node, &policy);
        assert_eq!((v.outcome, v.reason), (Outcome::Deny, denied));
        for part in [
            "You are kured",
            "names no node",
            "--kured-token-without-node=allow",
        ] {
            assert!(v.message.contains(part), "{part} is missing in: {}", v.message);
        }
        let other = gets("system:serviceaccount:ops:other", &[], &node, &policy);
        assert!(!other.message.contains("You are kured"), "{}", other.message);
        let policy = believing(policy);
        assert_eq!(gets(KURED, &[], &node, &policy).reason, Reason::KuredOwner);
        assert_eq!(gets(KURED, &[NODE], &node, &policy).reason, Reason::KuredOwner);
        for claim in [&["node-1"][..], &[NODE, "node-1"]] {
            assert_eq!(gets(KURED, claim, &node, &policy).reason, denied);
        }
    }
}

/// The policy that reads kured's lock and takes kured's ServiceAccount from the flag.
fn told_by_flag() -> Policy {
    let mut told = kured_policy();
    if let Some(kured) = told.kured.as_mut() {
        kured.service_account = marks_only().kured.and_then(|kured| kured.service_account);
    }
    told
}

/// kured as the chart installs it for the release `my-release` in the namespace `ops`.
fn released(locks: Locks) -> Known<KuredSeen> {
    let found = Kured {
        namespace: "ops".to_owned(),
        name: "my-release-kured".to_owned(),
        service_account: "my-release-kured".to_owned(),
    };
    Known::Is(KuredSeen {
        found: Some(found),
        locks,
    })
}

fn uncordon_seeing(
    who: Requester,
    watched: Known<KuredSeen>,
    fresh: Known<KuredSeen>,
    policy: &Policy,
) -> Decision {
    let facts = Facts {
        watched_kured_lock: watched,
        kured_lock: fresh,
        ..Facts::default()
    };
    ask(who, free(), uncordoned(free()), &facts, policy, now())
}

#[test]
fn found_e2_kured_is_whom_its_daemon_set_says_on_its_own_node() {
    const RELEASED: &str = "system:serviceaccount:ops:my-release-kured";
    let named = || locks(Some(&single(NODE, 0)));
    let gets = |user: &str, claim: &[&str]| {
        let (watched, fresh) = (released(named()), released(named()));
        verdict_of(uncordon_seeing(
            requester(user, claim),
            watched,
            fresh,
            &kured_policy(),
        ))
        .reason
    };
    assert_eq!(gets(RELEASED, &[NODE]), Reason::KuredOwner);
    for claim in [&[][..], &["node-1"]] {
        assert_eq!(gets(RELEASED, claim), Reason::KuredHeld);
    }
    // Other names of kured's ServiceAccount, and the same name in another namespace.
    for other in [
        KURED,
        "system:serviceaccount:kube-system:my-release-kured",
        "system:serviceaccount:ops:kured",
    ] {
        assert_eq!(gets(other, &[NODE]), Reason::KuredHeld, "{other}");
    }
    // kured's ServiceAccount is read afresh: a rollout may just have changed it.
    let who = || requester(RELEASED, &[NODE]);
    let watched = Known::Is(seen(named()));
    let asked = uncordon_seeing(who(), watched.clone(), Known::Unasked, &kured_policy());
    assert_eq!(asked, Decision::Need(Fact::KuredLock));
    let v = verdict_of(uncordon_seeing(
        who(),
        watched,
        released(named()),
        &kured_policy(),
    ));
    assert_eq!(v.reason, Reason::KuredOwner);
    // The flag wins over the DaemonSet.
    let told = told_by_flag();
    let v = verdict_of(uncordon_seeing(who(), released(named()), Known::Unasked, &told));
    assert_eq!(v.reason, Reason::KuredHeld);
    assert!(v.message.contains("--kured-service-account"), "{}", v.message);
}

#[test]
fn found_e2_whoever_looks_like_kured_is_told_who_kured_is_taken_for() {
    let named = || released(locks(Some(&single(NODE, 0))));
    let message = |who: Requester| {
        let v = verdict_of(uncordon_seeing(who, named(), named(), &kured_policy()));
        assert_eq!((v.outcome, v.reason), (Outcome::Deny, Reason::KuredHeld));
        v.message
    };
    let told = message(requester("system:serviceaccount:ops:reboots", &[NODE]));
    for part in [
        "You look like kured, system:serviceaccount:ops:reboots",
        "daemonset ops/my-release-kured says that kured is the ServiceAccount my-release-kured",
        "--ds-namespace and --ds-name",
    ] {
        assert!(told.contains(part), "{part} is missing in: {told}");
    }
    // The whole message is about the DaemonSet that was found.
    assert!(!told.contains("kube-system"), "{told}");
    for other in [
        requester("system:serviceaccount:ops:reboots", &["node-1"]),
        requester("system:serviceaccount:ops:reboots", &[]),
        stranger(),
        requester("admin", &[NODE]),
    ] {
        let told = message(other);
        assert!(!told.contains("You look like kured"), "{told}");
    }
    // With marks only, nothing is read from the cluster: the flags say who kured is.
    let marked = annotate(free(), keys::KURED_REBOOT_IN_PROGRESS, "x");
    let who = requester("system:serviceaccount:ops:reboots", &[NODE]);
    let v = verdict_of(uncordon(
        who,
        &marked,
        Known::Unasked,
        Known::Unasked,
        &marks_only(),
    ));
    assert_eq!(v.reason, Reason::KuredMarked);
    for part in ["You look like kured", "--kured-service-account", KURED] {
        assert!(v.message.contains(part), "{part} is missing in: {}", v.message);
    }
}

/// A kured that cannot uncordon its node keeps its lock, so that no other node is rebooted. So it must not depend on a lookup.
#[test]
fn found_e2_a_pod_on_its_own_node_passes_where_kured_cannot_be_looked_up() {
    let gets = |who: Requester| {
        let v = verdict_of(uncordon(who, &free(), silent(), silent(), &kured_policy()));
        (v.outcome, v.reason, v.warnings.len())
    };
    let reason = Reason::LookupFailed;
    assert_eq!(gets(requester(KURED, &[NODE])), (Outcome::Flag, reason, 1));
    for other in [
        requester(KURED, &["node-1"]),
        requester(KURED, &[]),
        requester("admin", &[NODE]),
        stranger(),
    ] {
        assert_eq!(gets(other.clone()), (Outcome::Deny, reason, 0), "{other:?}");
    }
    // It may not end a hold of ours.
    let v = verdict_of(uncordon(
        requester(KURED, &[NODE]),
        &held(),
        silent(),
        silent(),
        &kured_policy(),
    ));
    assert_eq!((v.outcome, v.reason), (Outcome::Deny, Reason::Held));
}

/// The annotation shows which DaemonSet is kured's, so the rule needs no name.
#[test]
fn found_p8_an_edit_of_kureds_lock_is_judged_on_whichever_daemon_set_it_is() {
    let own = single(NODE, 0);
    for (namespace, name) in [("ops", "my-release-kured"), ("kube-system", "kured")] {
        let edit = LockEdit {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            old: locks(Some(&own)),
            new: Locks::new(),
        };
        let v = edited(requester(KURED, &["node-1"]), edit, &kured_policy());
        assert_eq!((v.outcome, v.reason), (Outcome::Deny, Reason::NotOwnEntry));
        assert!(
            v.message.contains(&format!("daemonset {namespace}/{name}")),
            "{}",
            v.message
        );
    }
}

#[test]
fn a_lapsed_or_cancelled_hold_of_ours_does_not_open_kureds() {
    let facts = Facts {
        watched_kured_lock: Known::Is(seen(locks(Some(&single(NODE, 0))))),
        ..Facts::default()
    };
    let late = at("2026-01-01T00:20:31Z");
    for (node, now, ours) in [
        (held(), late, Reason::Lapsed),
        (cancelled(held()), now(), Reason::Cancelled),
    ] {
        let gets = |new: NodeView, policy: &Policy| {
            verdict_of(ask(stranger(), node.clone(), new, &facts, policy, now)).reason
        };
        let uncordon = uncordoned(node.clone());
        assert_eq!(gets(uncordon.clone(), &kured_policy()), Reason::KuredHeld);
        assert_eq!(gets(uncordon, &policy()), ours);
    }
    // Removing marks is no uncordon, so kured's lock does not matter.
    let node = cancelled(held());
    let v = verdict_of(ask(
        stranger(),
        node.clone(),
        stripped(node),
        &facts,
        &kured_policy(),
        now(),
    ));
    assert_eq!(v.reason, Reason::Cancelled);
}

#[test]
fn our_own_wish_in_kureds_lock_holds_nothing() {
    let wish = untainted(held_in("wanted"));
    let lock = |ttl: i64| format!(r#"{{"nodeID":"{NODE}","created":"{CREATED}","TTL":{ttl}}}"#);
    assert_eq!(stranger_under(&wish, Some(&lock(OUR_TTL))).1, Reason::NotHeld);
    assert_eq!(stranger_under(&wish, Some(&lock(0))).1, Reason::KuredHeld);
}

pub(super) fn edit(who: Requester, old: Option<&str>, new: Option<&str>) -> Verdict {
    let edit = LockEdit {
        namespace: "kube-system".to_owned(),
        name: "kured".to_owned(),
        old: locks(old),
        new: locks(new),
    };
    edited(who, edit, &kured_policy())
}

fn edited(who: Requester, edit: LockEdit, policy: &Policy) -> Verdict {
    let request = Request {
        requester: who,
        operation: Operation::UpdateDaemonSet(edit),
        is_of_status: false,
        is_dry_run: false,
    };
    verdict_of(decide(&request, &Facts::default(), policy, now()))
}

const OURS: &str = r#"{"nodeID":"node-3","metadata":{"unschedulable":false},"created":"2026-01-01T00:00:00.100000000Z","TTL":-1,"sealed":true,"bootID":"b"}"#;

#[test]
fn a_pods_token_edits_the_entry_of_its_own_node_and_drops_expired_ones() {
    let (own, other) = (single(NODE, 0), single("node-1", 0));
    let expired = single("node-2", PERHAPS_OVER);
    // kured rewrites a list with the fields that it knows, and drops trailing zeros of fractions.
    let ours_by_kured = r#"{"nodeID":"node-3","metadata":{"unschedulable":false},"created":"2026-01-01T00:00:00.1Z","TTL":-1}"#;
    for (old, new) in [
        (None, Some(own.clone())),
        (Some(own.clone()), None),
        (Some(expired.clone()), Some(own.clone())),
        (Some(multi(&[])), Some(multi(&[&own]))),
        (Some(multi(&[&own])), Some(multi(&[]))),
        (Some(multi(&[&other])), Some(multi(&[&other, &own]))),
        (Some(multi(&[&other, &own])), Some(multi(&[&other]))),
        (Some(multi(&[&expired, &other])), Some(multi(&[&other, &own]))),
        (Some(multi(&[OURS])), Some(multi(&[ours_by_kured, &own]))),
    ] {
        let v = edit(requester(KURED, &[NODE]), old.as_deref(), new.as_deref());
        let got = (v.outcome, v.reason);
        assert_eq!(got, (Outcome::Allow, Reason::OwnEntry), "{old:?} {new:?}");
    }
}

#[test]
fn one_node_one_agent_a_pods_token_edits_no_other_entry() {
    let (own, other) = (single(NODE, 0), single("node-1", 0));
    let expired = single("node-2", FIVE_MINUTES);
    for (old, new) in [
        (Some(other.clone()), None),
        (Some(other.clone()), Some(own.clone())),
        (Some(other.clone()), Some(single("node-1", 1))),
        (Some(other.clone()), Some(other.replace("00:00:00Z", "00:00:01Z"))),
        (Some(other.clone()), Some(other.replace("false", "true"))),
        (None, Some(other.clone())),
        (Some(multi(&[&other, &own])), Some(multi(&[&own]))),
        (Some(multi(&[&other])), Some(multi(&[]))),
        (
            Some(expired.clone()),
            Some(expired.replace("00:00:00Z", "00:04:00Z")),
        ),
        (Some(single("node-2", PERHAPS_OVER + 1)), None),
        (Some(multi(&[OURS])), None),
        (Some(r#"{"nodeID":"manual"}"#.to_owned()), None),
    ] {
        let v = edit(requester(KURED, &[NODE]), old.as_deref(), new.as_deref());
        let got = (v.outcome, v.reason);
        assert_eq!(got, (Outcome::Deny, Reason::NotOwnEntry), "{old:?} {new:?}");
        let message = v.message;
        assert!(
            message.contains("kube-system/kured") && message.contains(KURED),
            "{message}"
        );
    }
    for (old, new) in [
        (Some("{"), None),
        (None, Some("{")),
        (Some(own.as_str()), Some("")),
    ] {
        let v = edit(requester(KURED, &[NODE]), old, new);
        assert_eq!((v.outcome, v.reason), (Outcome::Deny, Reason::LockUnreadable));
    }
}

#[test]
fn people_edit_the_lock_with_a_flag_and_agents_freely() {
    let own = single(NODE, 0);
    for new in [None, Some("{"), Some(r#"{"nodeID":"manual"}"#)] {
        let v = edit(stranger(), Some(&own), new);
        assert_eq!((v.outcome, v.reason), (Outcome::Flag, Reason::LockEdited));
        assert!(v.warnings[0].contains("kube-system/kured"), "{v:?}");
    }
    let v = edit(requester(AGENT, &["node-1"]), Some(&own), None);
    assert_eq!((v.outcome, v.reason), (Outcome::Allow, Reason::Owner));
    // A token that names two nodes counts for neither.
    let v = edit(requester(KURED, &[NODE, "node-1"]), Some(&own), None);
    assert_eq!(v.reason, Reason::NotOwnEntry);
    let exempting = Policy {
        exempt: Exempt {
            users: vec![KURED.to_owned()],
            groups: Vec::new(),
        },
        ..kured_policy()
    };
    let removal = |namespace: &str, name: &str, new: Locks| LockEdit {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        old: locks(Some(&own)),
        new,
    };
    let neighbour = || requester(KURED, &["node-1"]);
    let at_kured = || removal("kube-system", "kured", Locks::new());
    assert_eq!(edited(neighbour(), at_kured(), &exempting).reason, Reason::Exempt);
    for (edit, policy) in [
        (removal("kube-system", "kured", locks(Some(&own))), kured_policy()),
        (at_kured(), marks_only()),
        (at_kured(), policy()),
    ] {
        assert_eq!(edited(neighbour(), edit, &policy).reason, Reason::NothingOfOurs);
    }
    // Each annotation counts.
    let mut both = removal("kube-system", "kured", locks(Some(&own)));
    drop(both.old.insert(keys::KURED_V2_LOCK.to_owned(), own.clone()));
    assert_eq!(
        edited(neighbour(), both, &kured_policy()).reason,
        Reason::NotOwnEntry
    );
}

proptest! {
    #[test]
    fn any_edit_of_the_lock_has_a_verdict_and_no_neighbour_frees_a_living_entry(
        texts in proptest::collection::vec(any_text(), 2), policy in any_policy(), now in any_time(),
    ) {
        let edit = LockEdit {
            namespace: "kube-system".to_owned(),
            name: "kured".to_owned(),
            old: locks(Some(&multi(&[&single(NODE, 0)]))),
            new: locks(texts.first().map(String::as_str)),
        };
        let is_watched = policy.kured.as_ref().is_some_and(|kured| kured.lock.is_some());
        let request = Request {
            requester: requester(KURED, &["node-1"]),
            operation: Operation::UpdateDaemonSet(edit),
            is_of_status: false,
            is_dry_run: false,
        };
        let verdict = verdict_of(decide(&request, &Facts::default(), &policy, now));
        let is_denied = verdict.outcome == Outcome::Deny;
        prop_assert_eq!(is_denied, is_watched && verdict.mode.denies());
    }
}
