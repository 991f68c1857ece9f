//! What the log, the metrics and the cache of permissions take from a request and its verdict, beside outcome and reason.

use super::*;

fn verdict_on(request: &Request, facts: &Facts, policy: &Policy) -> Verdict {
    match decide(request, facts, policy, now()) {
        Decision::Verdict(verdict) => verdict,
        Decision::Need(need) => panic!("needs {need:?}"),
    }
}

fn of_lock(old: &str, new: &str) -> Request {
    let locks = |text: &str| [(keys::KURED_LOCK.to_owned(), text.to_owned())].into();
    Request {
        requester: stranger(),
        operation: Operation::UpdateDaemonSet(LockEdit {
            namespace: "kube-system".to_owned(),
            name: "kured".to_owned(),
            old: locks(old),
            new: locks(new),
        }),
        is_of_status: false,
        is_dry_run: false,
    }
}

#[test]
fn a_verdict_lists_what_the_request_changes() {
    let mut cordoned = uncordoned(free());
    cordoned.spec.unschedulable = true;
    for (old, new, expected) in [
        (held(), uncordoned(held()), "uncordon"),
        (uncordoned(free()), cordoned.clone(), "cordon"),
        (cordoned.clone(), cordoned, ""),
        (uncordoned(free()), uncordoned(free()), ""),
        (held(), uncordoned(untainted(held())), "uncordon,taint"),
        (held(), stripped(held()), "hold,taint"),
        (held(), cancelled(held()), "cancel"),
        (free(), requested(free()), "request"),
    ] {
        let facts = Facts {
            may_override: Known::Is(true),
            may_reboot: Known::Is(true),
            ..Facts::default()
        };
        let request = Request::update(stranger(), old, new);
        let verdict = verdict_on(&request, &facts, &policy());
        assert_eq!(verdict.change.to_string(), expected);
        let defect = Verdict::defect(&request, &policy(), "a bug");
        assert_eq!(defect.change, verdict.change);
    }
}

#[test]
fn every_verdict_is_on_record_but_those_on_nothing_of_ours() {
    assert!(verdict(stranger(), held(), uncordoned(held())).is_on_record());
    assert!(verdict(stranger(), free(), uncordoned(free())).is_on_record());
    assert!(!verdict(stranger(), free(), free()).is_on_record());
}

#[test]
fn a_verdict_concerns_kured_if_its_lock_its_marks_or_itself_played_a_part() {
    let uncordon = |old: NodeView| Request::update(stranger(), old.clone(), uncordoned(old));
    let concerns =
        |request: &Request, facts: &Facts, policy: &Policy| verdict_on(request, facts, policy).concerns_kured;
    let none = Facts::default();
    assert!(!concerns(&uncordon(held()), &none, &kured_policy()));
    assert!(!concerns(&uncordon(free()), &none, &policy()));
    // An edit of what may be kured's lock, although no lock is read.
    assert!(concerns(&of_lock("", "{}"), &none, &policy()));
    // The mark alone denies.
    let marked = annotate(free(), keys::KURED_REBOOT_IN_PROGRESS, "x");
    assert!(concerns(&uncordon(marked), &none, &kured::marks_only()));
    // The lock was read, and names other nodes.
    let other = || Known::Is(kured::seen(kured::locks(None)));
    let read = Facts {
        watched_kured_lock: other(),
        kured_lock: other(),
        ..Facts::default()
    };
    let request = uncordon(free());
    assert_eq!(
        verdict_on(&request, &read, &kured_policy()).reason,
        Reason::NotHeld
    );
    assert!(concerns(&request, &read, &kured_policy()));
}

#[test]
fn a_user_is_exempt_by_its_name_or_a_group() {
    let policy = Policy {
        exempt: Exempt {
            users: vec!["jo".to_owned()],
            groups: vec!["system:masters".to_owned()],
        },
        ..policy()
    };
    assert!(policy.exempts(&stranger()) && policy.exempts(&requester("jo", &[])));
    assert!(!policy.exempts(&requester("admin", &[])));
}

#[test]
fn the_policy_reads_its_own_keys_and_those_of_its_kured_and_no_others() {
    for (key, alone, with_kured) in [
        (keys::PHASE, true, true),
        (keys::KURED_LOCK, false, true),
        (keys::KURED_REBOOT_IN_PROGRESS, false, true),
        ("example.com/note", false, false),
    ] {
        assert_eq!(policy().reads(key), alone, "{key}");
        assert_eq!(kured_policy().reads(key), with_kured, "{key}");
    }
}

#[test]
fn an_identity_takes_the_memory_of_each_of_its_texts() {
    let extra = [("key".to_owned(), vec!["value".to_owned(), String::new()])];
    let requester = Requester {
        groups: vec!["ab".to_owned()],
        extra: extra.into(),
        ..requester("admin", &["n"])
    };
    // A group, a node, and a key with two values.
    let texts = 2 + 1 + 3 + 5;
    assert_eq!(requester.identity_bytes(), texts + 5 * size_of::<String>());
}

/// kured is whom the flags name. Whoever else runs on the node is not taken for it because kured's lock cannot be read.
#[test]
fn held_stays_cordoned_for_a_pod_that_the_flags_do_not_name_when_kureds_lock_cannot_be_read() {
    let mut policy = kured_policy();
    if let Some(kured) = policy.kured.as_mut() {
        kured.service_account = Some(ServiceAccount {
            namespace: "kube-system".to_owned(),
            name: "kured".to_owned(),
        });
    }
    let failed = || Known::Failed("no answer".to_owned());
    let facts = Facts {
        watched_kured_lock: failed(),
        kured_lock: failed(),
        ..Facts::default()
    };
    let who = requester("system:serviceaccount:ops:reboots", &[NODE]);
    let verdict = verdict_on(&Request::update(who, free(), uncordoned(free())), &facts, &policy);
    assert_eq!(
        (verdict.outcome, verdict.reason),
        (Outcome::Deny, Reason::LookupFailed)
    );
}

/// A policy that reads no lock has no more to say of one.
#[test]
fn a_denial_for_kured_names_the_node_where_no_lock_is_known() {
    let request = Request::update(stranger(), free(), uncordoned(free()));
    let (facts, policy) = (Facts::default(), policy());
    let evaluation = Evaluation::of(&request, &facts, &policy, now());
    let said = evaluation.denial(Reason::KuredHeld);
    assert!(said.contains("node node-0 is held by kured"), "{said}");
}
