//! Tests of each step by itself; a walk through years of them is in `walk`.

use super::*;

mod walk;

const NOW: &str = "2026-11-29T12:00:00Z";
const DAY: Duration = Duration::from_hours(24);

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

pub(super) fn lifetimes() -> Lifetimes {
    Lifetimes::new(365 * DAY, 90 * DAY, 60 * DAY, Duration::from_mins(3)).unwrap()
}

fn id(name: &str) -> Id {
    Id(name.to_owned())
}

/// A CA that began so many days ago, valid for a year.
fn authority(name: &str, age: i64, signed_for: Option<i64>) -> Authority {
    Authority {
        id: id(name),
        validity: Validity {
            from: now() - days(age),
            to: now() + days(365 - age),
        },
        has_key: true,
        signed_until: signed_for.map(|left| now() + days(left)),
    }
}

fn leaf(by: &str, left: i64) -> Leaf {
    Leaf {
        issuer: Some(id(by)),
        validity: Validity {
            from: now() + days(left - 90),
            to: now() + days(left),
        },
        fits: true,
        is_ours: true,
        of: "Secret n/tls".to_owned(),
    }
}

fn bundle(webhook: &str, of: &[&Authority]) -> Bundle {
    let trusted = of.iter().map(|ca| Trusted {
        id: ca.id.clone(),
        validity: ca.validity,
    });
    Bundle {
        webhook: webhook.to_owned(),
        trusted: Reading::Present(trusted.collect()),
        is_ours: true,
    }
}

fn bare(webhook: &str) -> Bundle {
    Bundle {
        webhook: webhook.to_owned(),
        trusted: Reading::Absent,
        is_ours: false,
    }
}

fn at(uptime: Duration) -> Clocks {
    Clocks {
        here: now(),
        server: now(),
        uptime: Uptime::after(uptime),
    }
}

/// What is planned if the `caBundle`s have stood like this for an hour.
fn settled_plan(seen: &Seen) -> Plan {
    decide(seen, &settling(seen), at(Duration::from_hours(1)), &lifetimes())
}

/// What is planned if the `caBundle`s were just read for the first time.
fn fresh_plan(seen: &Seen) -> Plan {
    decide(seen, &settling(seen), at(Duration::ZERO), &lifetimes())
}

fn settling(seen: &Seen) -> Settling {
    let mut settling = Settling::default();
    let known = seen.authorities.as_ref().present().into_iter().flatten();
    settling.see(known.map(|authority| &authority.id), &seen.bundles, Uptime::START);
    settling
}

fn seen(authorities: Vec<Authority>, leaf: Option<Leaf>, bundles: Vec<Bundle>) -> Seen {
    Seen {
        authorities: if authorities.is_empty() {
            Reading::Absent
        } else {
            Reading::Present(authorities)
        },
        leaf: leaf.map_or(Reading::Absent, Reading::Present),
        bundles,
        of_cert_manager: None,
    }
}

fn to_write(webhooks: &[&str]) -> Step {
    to_write_also(webhooks, &[])
}

fn to_write_also(webhooks: &[&str], also: &[&str]) -> Step {
    Step::WriteBundles {
        webhooks: webhooks.iter().map(|name| (*name).to_owned()).collect(),
        also: also.iter().map(|name| id(name)).collect(),
    }
}

/// The names of the CAs that the next step adds a CA beside.
fn kept_beside_a_new_one(plan: &Plan) -> Vec<&str> {
    let [Step::AddAuthority { keep, .. }] = &plan.steps[..] else {
        panic!("{plan:?}")
    };
    keep.iter().map(|ca| ca.id.0.as_str()).collect()
}

fn signs(plan: &Plan) -> Option<(&str, Timestamp)> {
    plan.steps.iter().find_map(|step| match step {
        Step::SignLeaf { by, validity } => Some((by.0.as_str(), validity.to)),
        _ => None,
    })
}

#[test]
fn a_first_start_makes_a_ca_then_writes_it_then_signs() {
    let a = authority("a", 0, None);
    let plan = fresh_plan(&seen(vec![], None, vec![bare("w"), bare("d")]));
    let [Step::AddAuthority { validity, keep }] = plan.steps.as_slice() else {
        panic!("{plan:?}")
    };
    assert_eq!(keep, &[]);
    assert_eq!(validity.to, now() + days(365));
    assert_eq!(validity.from, now() - SignedDuration::from_mins(10));
    let plan = fresh_plan(&seen(vec![a.clone()], None, vec![bare("w"), bare("d")]));
    assert_eq!(plan.steps, [to_write(&["w", "d"])]);
    let plan = fresh_plan(&seen(vec![a.clone()], None, vec![bundle("w", &[&a]), bare("d")]));
    assert_eq!(plan.steps, [to_write(&["d"])]);
    let bundles = vec![bundle("w", &[&a]), bundle("d", &[&a])];
    let plan = fresh_plan(&seen(vec![a.clone()], None, bundles.clone()));
    assert_eq!(signs(&plan), Some(("a", now() + days(90))));
    let done = seen(vec![authority("a", 0, Some(90))], Some(leaf("a", 90)), bundles);
    assert_eq!(settled_plan(&done).steps, []);
    assert_eq!(settled_plan(&done).wait, Some(30 * DAY));
}

#[test]
fn a_certificate_is_renewed_60_days_before_its_end_by_a_ca_that_has_settled() {
    let a = authority("a", 30, Some(60));
    let at_60 = seen(vec![a.clone()], Some(leaf("a", 60)), vec![bundle("w", &[&a])]);
    assert_eq!(signs(&settled_plan(&at_60)), Some(("a", now() + days(90))));
    assert_eq!(fresh_plan(&at_60).steps, [], "just started: it waits");
    assert_eq!(fresh_plan(&at_60).wait, Some(Duration::from_mins(3)));
    let before = seen(vec![a.clone()], Some(leaf("a", 61)), vec![bundle("w", &[&a])]);
    assert_eq!(settled_plan(&before).steps, []);
}

#[test]
fn the_next_ca_is_added_written_and_settled_before_it_signs_and_the_old_one_stays_as_long_as_its_certificates()
 {
    let old = authority("a", 245, Some(90));
    let one = seen(vec![old.clone()], Some(leaf("a", 90)), vec![bundle("w", &[&old])]);
    assert!(
        matches!(settled_plan(&one).steps.as_slice(), [Step::AddAuthority { .. }]),
        "{one:?}"
    );
    let young = authority("a", 244, Some(90));
    let early = seen(
        vec![young.clone()],
        Some(leaf("a", 90)),
        vec![bundle("w", &[&young])],
    );
    assert_eq!(settled_plan(&early).steps, []);

    let (old, next) = (authority("a", 275, Some(60)), authority("b", 0, None));
    let half = seen(
        vec![old.clone(), next.clone()],
        Some(leaf("a", 60)),
        vec![bundle("w", &[&old])],
    );
    let plan = settled_plan(&half);
    assert_eq!(plan.steps[0], to_write(&["w"]));
    assert_eq!(
        signs(&plan),
        Some(("a", now() + days(90))),
        "the new one is not everywhere yet"
    );
    let both = seen(
        vec![old.clone(), next.clone()],
        Some(leaf("a", 60)),
        vec![bundle("w", &[&old, &next])],
    );
    assert_eq!(fresh_plan(&both).steps, [], "not settled");
    assert_eq!(signs(&settled_plan(&both)), Some(("b", now() + days(90))));

    let next = authority("b", 30, Some(90));
    let over = |left| Authority {
        signed_until: Some(now() + left),
        ..old.clone()
    };
    let backdate = signed(BACKDATE);
    for (left, is_over) in [
        (days(1), false),
        (-backdate + SignedDuration::from_secs(1), false),
        (-backdate, true),
    ] {
        let old = over(left);
        let seen = seen(
            vec![old.clone(), next.clone()],
            Some(leaf("b", 90)),
            vec![bundle("w", &[&old, &next])],
        );
        let expected: &[Step] = if is_over {
            &[Step::DropAuthorities(vec![id("a")])]
        } else {
            &[]
        };
        assert_eq!(settled_plan(&seen).steps, expected, "{left:?}");
    }
}

#[test]
fn a_bundle_that_lacks_or_has_too_much_is_written_again() {
    let a = authority("a", 10, Some(80));
    let stranger = authority("x", 10, None);
    for wrong in [
        bare("w"),
        bundle("w", &[&stranger]),
        bundle("w", &[&a, &stranger]),
        Bundle {
            trusted: Reading::Malformed("not PEM".to_owned()),
            ..bare("w")
        },
    ] {
        let seen = seen(
            vec![a.clone()],
            Some(leaf("a", 80)),
            vec![bundle("v", &[&a]), wrong.clone()],
        );
        assert_eq!(settled_plan(&seen).steps, [to_write(&["w"])], "{wrong:?}");
    }
    let (a, b) = (authority("a", 245, Some(90)), authority("b", 0, None));
    let order = seen(
        vec![a.clone(), b.clone()],
        Some(leaf("a", 80)),
        vec![bundle("w", &[&b, &a])],
    );
    assert_eq!(settled_plan(&order).steps, [], "the order does not matter");
}

#[test]
fn a_deleted_secret_of_cas_is_made_anew_and_what_is_served_stays_trusted() {
    let (a, b) = (authority("a", 250, Some(80)), authority("b", 5, Some(85)));
    // Ours: the old one stays too, because a replica may still serve what it has signed.
    let ours = seen(vec![], Some(leaf("b", 85)), vec![bundle("w", &[&a, &b])]);
    let [Step::AddAuthority { keep, .. }] = &settled_plan(&ours).steps[..] else {
        panic!()
    };
    let until = Some(now() + days(90) + SignedDuration::from_mins(10));
    let kept: Vec<_> = keep
        .iter()
        .map(|ca| (ca.id.0.as_str(), ca.has_key, ca.signed_until))
        .collect();
    assert_eq!(kept, [("a", false, until), ("b", false, until)]);
    // Somebody else's: only what has signed the certificate in the Secret, so a first start beside a certificate made by hand breaks nothing.
    let theirs = Bundle {
        is_ours: false,
        ..bundle("w", &[&a, &b])
    };
    let by_hand = seen(vec![], Some(leaf("b", 85)), vec![theirs]);
    assert_eq!(kept_beside_a_new_one(&settled_plan(&by_hand)), ["b"]);

    let kept = Authority { has_key: false, ..b };
    let new = authority("c", 0, None);
    let after = seen(
        vec![kept.clone(), new.clone()],
        Some(leaf("b", 85)),
        vec![bundle("w", &[&kept, &new])],
    );
    assert_eq!(fresh_plan(&after).steps, [], "the new CA has not settled");
    assert_eq!(
        signs(&settled_plan(&after)),
        Some(("c", now() + days(90))),
        "its CA cannot renew it"
    );
    // Even without a certificate in the Secret: the replicas still serve one.
    let no_leaf = Seen {
        leaf: Reading::Absent,
        ..after
    };
    assert_eq!(fresh_plan(&no_leaf).steps, []);
    assert_eq!(signs(&settled_plan(&no_leaf)), Some(("c", now() + days(90))));
}

#[test]
fn a_ca_that_is_only_in_a_bundle_but_has_signed_what_is_served_is_kept_before_anything_is_written() {
    let (ours, hand) = (authority("a", 5, None), authority("h", 50, None));
    let seen = seen(
        vec![ours.clone()],
        Some(leaf("h", 40)),
        vec![bundle("w", &[&hand]), bare("v")],
    );
    let plan = settled_plan(&seen);
    let [Step::Keep(keep)] = plan.steps.as_slice() else {
        panic!("{plan:?}")
    };
    assert_eq!((keep[0].id.0.as_str(), keep[0].has_key), ("h", false));
}

#[test]
fn a_deleted_or_unusable_certificate_is_signed_again_at_once_by_a_ca_that_api_servers_know() {
    let (a, b) = (authority("a", 250, Some(80)), authority("b", 0, None));
    let bundles = vec![bundle("w", &[&a, &b])];
    for unusable in [
        None,
        Some(leaf("a", 0)),
        Some(Leaf {
            fits: false,
            ..leaf("a", 80)
        }),
        Some(Leaf {
            issuer: None,
            ..leaf("a", 80)
        }),
    ] {
        let seen = seen(vec![a.clone(), b.clone()], unusable.clone(), bundles.clone());
        assert_eq!(
            signs(&fresh_plan(&seen)),
            Some(("a", now() + days(90))),
            "{unusable:?}"
        );
    }
    let unreadable = Seen {
        leaf: Reading::Malformed("x".to_owned()),
        ..seen(vec![a, b], None, bundles)
    };
    assert!(signs(&fresh_plan(&unreadable)).is_some());
}

#[test]
fn after_everything_has_ended_a_suspended_machine_begins_anew() {
    let a = authority("a", 400, Some(-100));
    let seen1 = seen(vec![a.clone()], Some(leaf("a", -100)), vec![bundle("w", &[&a])]);
    assert!(matches!(
        settled_plan(&seen1).steps.as_slice(),
        [Step::AddAuthority { .. }]
    ));
    let b = authority("b", 0, None);
    let seen2 = seen(
        vec![a.clone(), b.clone()],
        Some(leaf("a", -100)),
        vec![bundle("w", &[&a, &b])],
    );
    assert_eq!(signs(&fresh_plan(&seen2)), Some(("b", now() + days(90))));
}

/// At this moment an API server stops to accept it.
#[test]
fn a_ca_that_ends_now_is_neither_kept_nor_signs_nor_is_what_it_has_signed_still_served() {
    let (a, b) = (authority("a", 365, Some(0)), authority("b", 0, None));
    let lost = seen(vec![], None, vec![bundle("w", &[&a])]);
    assert_eq!(kept_beside_a_new_one(&settled_plan(&lost)), [""; 0]);

    let both = vec![bundle("w", &[&a, &b])];
    let no_leaf = seen(vec![a.clone(), b.clone()], None, both.clone());
    assert_eq!(signs(&fresh_plan(&no_leaf)), Some(("b", now() + days(90))));

    let longer = seen(vec![a.clone(), b.clone()], Some(leaf("a", 80)), both);
    assert_eq!(signs(&settled_plan(&longer)), Some(("b", now() + days(90))));
}

#[test]
fn a_ca_that_has_not_settled_signs_at_once_when_the_last_served_certificate_has_just_ended() {
    let kept = Authority {
        has_key: false,
        ..authority("a", 50, Some(0))
    };
    let new = authority("b", 0, None);
    let seen = seen(
        vec![kept.clone(), new.clone()],
        None,
        vec![bundle("w", &[&kept, &new])],
    );
    assert_eq!(signs(&fresh_plan(&seen)), Some(("b", now() + days(90))));
}

/// Somebody has taken out of the Secret until when it is needed.
#[test]
fn a_ca_is_needed_as_long_as_it_and_the_certificate_in_the_secret_are_valid_whatever_was_noted() {
    let unnoted = |age| authority("a", age, None);
    let new = authority("b", 0, None);
    let dropped = |old: &Authority, left| {
        // Another certificate is still served, so that the new CA does not sign before it has settled.
        let served = Authority {
            has_key: false,
            ..authority("c", 50, Some(40))
        };
        let all = [old, &new, &served];
        let bundles = vec![bundle("w", &all)];
        let seen = seen(all.map(Clone::clone).to_vec(), Some(leaf("a", left)), bundles);
        fresh_plan(&seen).steps
    };
    let keyless = Authority {
        has_key: false,
        ..unnoted(50)
    };
    assert_eq!(dropped(&keyless, 80), []);
    let over = [Step::DropAuthorities(vec![id("a")])];
    assert_eq!(dropped(&keyless, 0), over);
    assert_eq!(dropped(&unnoted(365), 80), over);
}

#[test]
fn a_write_repairs_a_bundle_that_somebody_else_has_changed_and_no_first_write_or_change_of_ours_does() {
    let (a, stranger) = (authority("a", 10, None), authority("x", 10, None));
    let known = [a.clone()];
    let of_others = |bundle| Bundle {
        is_ours: false,
        ..bundle
    };
    let unreadable = Bundle {
        trusted: Reading::Malformed("not PEM".to_owned()),
        ..bare("w")
    };
    for (bundle, was_right, is_repaired) in [
        (bare("w"), false, false),
        (bare("w"), true, true),
        (of_others(bundle("w", &[&a])), false, false),
        (of_others(bundle("w", &[&a])), true, true),
        (of_others(bundle("w", &[&a, &stranger])), false, true),
        (unreadable, false, true),
        (bundle("w", &[&a, &stranger]), true, false),
        (bundle("w", &[&stranger]), false, false),
    ] {
        assert_eq!(
            bundle.is_repaired(&known, was_right),
            is_repaired,
            "{bundle:?}, {was_right}"
        );
    }
}

#[test]
fn only_a_write_of_bundles_names_webhooks() {
    assert_eq!(to_write(&["v", "w"]).webhooks(), ["v", "w"]);
    assert_eq!(Step::DropAuthorities(vec![id("a")]).webhooks(), [""; 0]);
}

#[test]
fn a_clock_that_is_wrong_changes_nothing_but_a_bundle() {
    let a = authority("a", 10, Some(20));
    let seen1 = seen(vec![a.clone()], Some(leaf("a", 20)), vec![bare("w")]);
    let clocks = |here: &str, server: &str| Clocks {
        here: here.parse().unwrap(),
        server: server.parse().unwrap(),
        uptime: Uptime::after(Duration::from_hours(1)),
    };
    for (here, server, code) in [
        ("1970-01-01T00:00:10Z", "1970-01-01T00:00:11Z", "clock-behind"),
        ("2026-11-19T11:59:59Z", "2026-11-19T11:59:59Z", "clock-behind"),
        ("2026-11-29T12:05:01Z", NOW, "clocks-differ"),
        ("2026-11-29T11:54:59Z", NOW, "clocks-differ"),
        ("2099-01-01T00:00:00Z", NOW, "clocks-differ"),
    ] {
        let plan = decide(&seen1, &settling(&seen1), clocks(here, server), &lifetimes());
        assert_eq!(plan.steps, [to_write(&["w"])], "{here}");
        assert_eq!(plan.problem.map(|problem| problem.code()), Some(code), "{here}");
    }
    for here in ["2026-11-29T12:05:00Z", "2026-11-29T11:55:00Z"] {
        let plan = decide(&seen1, &settling(&seen1), clocks(here, NOW), &lifetimes());
        assert_eq!(plan.problem, None, "{here} is near enough");
    }
    // The CA of a certificate that was made by hand ends after ours; by a clock that is far ahead, it has ended too, and it stays.
    let hand = authority("h", 50, None);
    let by_hand = seen(
        vec![a.clone()],
        Some(leaf("h", 40)),
        vec![bundle("w", &[&hand]), bare("v")],
    );
    let plan = decide(
        &by_hand,
        &settling(&by_hand),
        clocks("2099-01-01T00:00:00Z", NOW),
        &lifetimes(),
    );
    assert_eq!(plan.steps, [to_write_also(&["w", "v"], &["h"])]);
    let both = seen(
        vec![a.clone()],
        Some(leaf("h", 40)),
        vec![bundle("w", &[&hand, &a]), bundle("v", &[&a, &hand])],
    );
    let plan = decide(
        &both,
        &settling(&both),
        clocks("2099-01-01T00:00:00Z", NOW),
        &lifetimes(),
    );
    assert_eq!(plan.steps, [], "written once");
    let none = seen(vec![], None, vec![bare("w")]);
    let plan = decide(
        &none,
        &settling(&none),
        clocks("1970-01-01T00:00:10Z", NOW),
        &lifetimes(),
    );
    assert_eq!(plan.steps, [], "no CA of 1970");
}

#[test]
fn a_record_that_cannot_be_read_is_left_alone() {
    let seen = Seen {
        authorities: Reading::Malformed("line 1".to_owned()),
        ..seen(vec![], None, vec![bare("w")])
    };
    let plan = settled_plan(&seen);
    assert_eq!(plan.steps, []);
    let problem = plan.problem.unwrap();
    assert_eq!(problem.code(), "record-unreadable");
    assert!(problem.to_string().contains("delete it"), "{problem}");
}

#[test]
fn a_ca_near_its_end_signs_what_it_can_and_not_again_and_again() {
    let a = authority("a", 345, Some(20));
    let seen1 = seen(vec![a.clone()], None, vec![bundle("w", &[&a])]);
    assert_eq!(signs(&settled_plan(&seen1)), Some(("a", now() + days(20))));
    let seen2 = seen(vec![a.clone()], Some(leaf("a", 20)), vec![bundle("w", &[&a])]);
    assert!(matches!(
        settled_plan(&seen2).steps.as_slice(),
        [Step::AddAuthority { .. }]
    ));
}

/// With lifetimes of seconds, CAs once stayed for ten minutes each, and then none was added any more.
#[test]
fn many_cas_never_keep_the_next_one_from_being_added() {
    let ending = authority("z", 250, Some(80));
    let mut known: Vec<Authority> = (0..20)
        .map(|n| authority(&format!("a{n}"), 260, Some(1)))
        .collect();
    known.push(ending.clone());
    let all: Vec<&Authority> = known.iter().collect();
    let seen1 = seen(known.clone(), Some(leaf("z", 80)), vec![bundle("w", &all)]);
    let plan = settled_plan(&seen1);
    assert!(
        matches!(plan.steps.as_slice(), [Step::AddAuthority { .. }]),
        "{plan:?}"
    );
    let short = Lifetimes::new(DAY, DAY / 3, DAY / 4, Duration::from_mins(3)).unwrap();
    assert_eq!(short.grace(), BACKDATE);
    let seconds = Duration::from_secs;
    assert_eq!(
        Lifetimes::new(seconds(80), seconds(40), seconds(26), seconds(11))
            .unwrap()
            .grace(),
        seconds(10)
    );
}

#[test]
fn of_too_many_cas_the_one_of_what_is_served_and_the_newest_are_kept() {
    let old: Vec<Authority> = (0..20)
        .map(|n| authority(&format!("c{n:02}"), 300 - n, None))
        .collect();
    let all: Vec<&Authority> = old.iter().collect();
    let plan = settled_plan(&seen(vec![], Some(leaf("c00", 40)), vec![bundle("w", &all)]));
    let kept = kept_beside_a_new_one(&plan);
    assert_eq!(kept.len(), AUTHORITIES_MAX - 1);
    assert_eq!((kept[0], kept[1]), ("c00", "c06"), "the oldest is served");
    assert_eq!(kept.last(), Some(&"c19"));

    // Even if there is no room at all.
    let (ours, hand) = (&old[..AUTHORITIES_MAX], authority("h", 50, None));
    let full = seen(ours.to_vec(), Some(leaf("h", 40)), vec![bundle("w", &[&hand])]);
    let plan = settled_plan(&full);
    let [Step::Keep(keep)] = plan.steps.as_slice() else {
        panic!("{plan:?}")
    };
    assert_eq!(keep[0].id, id("h"));
}

#[test]
fn while_nobody_knows_who_signed_what_is_in_the_secret_every_ca_is_kept_and_the_new_one_settles() {
    let hand = authority("h", 50, None);
    let theirs = Bundle {
        is_ours: false,
        ..bundle("w", &[&hand])
    };
    let unknown = |leaf| Seen {
        leaf,
        ..seen(vec![], None, vec![theirs.clone()])
    };
    let expired = Leaf {
        issuer: None,
        is_ours: false,
        ..leaf("x", -1)
    };
    for leaf in [
        Reading::Malformed("RSA with 512 bits".to_owned()),
        Reading::Present(expired),
    ] {
        assert_eq!(
            kept_beside_a_new_one(&settled_plan(&unknown(leaf.clone()))),
            ["h"],
            "{leaf:?}"
        );
    }
    assert_eq!(
        kept_beside_a_new_one(&settled_plan(&unknown(Reading::Absent))),
        [""; 0]
    );
    let kept = Authority {
        has_key: false,
        signed_until: Some(now() + days(90)),
        ..hand
    };
    let new = authority("c", 0, None);
    let after = Seen {
        leaf: Reading::Malformed("RSA with 512 bits".to_owned()),
        ..seen(
            vec![kept.clone(), new.clone()],
            None,
            vec![bundle("w", &[&kept, &new])],
        )
    };
    assert_eq!(fresh_plan(&after).steps, [], "no hurry");
    assert_eq!(signs(&settled_plan(&after)), Some(("c", now() + days(90))));
}

#[test]
fn nothing_of_others_is_written() {
    let a = authority("a", 10, Some(80));
    let stripped = seen(vec![a.clone()], Some(leaf("a", 20)), vec![bare("w")]);
    assert_eq!(settled_plan(&stripped).steps.first(), Some(&to_write(&["w"])));
    let plan = settled_plan(&Seen {
        of_cert_manager: Some(OfCertManager {
            what: "Secret n/tls".to_owned(),
            annotation: "cert-manager.io/certificate-name",
        }),
        ..stripped
    });
    let problem = plan.problem.as_ref().unwrap();
    assert_eq!((plan.steps.as_slice(), problem.code()), (&[][..], "cert-manager"));
    let text = problem.to_string();
    assert!(
        text.contains("the Secret n/tls")
            && text.contains("take the annotation cert-manager.io/certificate-name off"),
        "{text}"
    );

    let hand = authority("h", 50, None);
    let theirs = Leaf {
        issuer: None,
        is_ours: false,
        ..leaf("h", 40)
    };
    let bought = seen(
        vec![],
        Some(theirs.clone()),
        vec![bare("w"), bundle("v", &[&hand])],
    );
    let plan = settled_plan(&bought);
    let problem = plan.problem.as_ref().unwrap();
    assert_eq!(
        (plan.steps.as_slice(), problem.code()),
        (&[][..], "foreign-certificate")
    );
    let text = problem.to_string();
    assert!(
        text.contains("leave `cordonhold-webhook certs` out") && text.contains("delete the Secret n/tls"),
        "{text}"
    );
    for (taken_over, why) in [
        (
            Leaf {
                is_ours: true,
                ..theirs.clone()
            },
            "ours",
        ),
        (
            Leaf {
                issuer: Some(id("h")),
                ..theirs.clone()
            },
            "its CA is in a caBundle",
        ),
        (
            Leaf {
                validity: leaf("h", 0).validity,
                ..theirs
            },
            "it ends now",
        ),
    ] {
        let plan = settled_plan(&Seen {
            leaf: Reading::Present(taken_over),
            ..bought.clone()
        });
        assert_eq!((plan.problem, plan.steps.len()), (None, 1), "{why}");
    }
}

#[test]
fn lifetimes_must_go_together() {
    let hours = Duration::from_hours;
    for (authority, leaf, before, settle, says) in [
        (20, 10, 10, 1, "--renew-before"),
        (20, 10, 5, 5, "--settle"),
        (17, 10, 5, 1, "--ca-lifetime"),
        (20, 0, 5, 1, "--leaf-lifetime"),
    ] {
        let error = Lifetimes::new(hours(authority), hours(leaf), hours(before), hours(settle)).unwrap_err();
        assert!(error.to_string().starts_with(says), "{error}");
    }
    assert!(Lifetimes::new(hours(20), hours(10), hours(5), hours(1)).is_ok());
    let settled_for = |settle| Lifetimes::new(hours(20), hours(10), hours(5), settle);
    let error = settled_for(SETTLE_MIN.saturating_sub(Duration::from_millis(1))).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("--settle is 9.999s: write at least 10s"),
        "{error}"
    );
    assert!(settled_for(SETTLE_MIN).is_ok());
}

#[test]
fn a_record_is_read_as_it_was_written_and_its_debug_output_has_no_key() {
    let stored = record::Stored {
        certificate: "C".to_owned(),
        key: Some("SECRET".to_owned()),
        signed_until: Some(now()),
    };
    let only_trusted = record::Stored {
        key: None,
        signed_until: None,
        ..stored.clone()
    };
    let text = record::render(&[stored.clone(), only_trusted.clone()]).unwrap();
    assert_eq!(
        text,
        r#"[{"certificate":"C","key":"SECRET","signedUntil":"2026-11-29T12:00:00Z"},{"certificate":"C"}]"#
    );
    assert_eq!(
        record::read(Some(text.as_bytes())),
        Reading::Present(vec![stored.clone(), only_trusted])
    );
    assert_eq!(record::read(None), Reading::Absent);
    assert_eq!(record::read(Some(b"")), Reading::Absent);
    let Reading::Malformed(why) = record::read(Some(br#"[{"key":"SECRET"}]"#)) else {
        panic!()
    };
    assert!(
        !why.contains("SECRET") && !format!("{stored:?}").contains("SECRET"),
        "{why}"
    );
}

fn write(manager: &str, second: i64, ca_of: &[&str]) -> crate::admission::trust::Write {
    crate::admission::trust::Write {
        manager: manager.to_owned(),
        operation: "Update".to_owned(),
        at: Timestamp::from_second(second).ok(),
        ca_of: ca_of.iter().map(|name| (*name).to_owned()).collect(),
    }
}

#[test]
fn whoever_owns_the_bundle_is_named_else_whoever_wrote_last_but_never_we() {
    let ours = write(MANAGER, 9, &["v"]);
    let owner = Suspect::find(
        &[
            ours.clone(),
            write("kubectl-patch", 1, &["w"]),
            write("helm", 5, &[]),
        ],
        "w",
    );
    assert_eq!(
        (owner.meddler(), owner.text().as_str()),
        (
            Meddler::Kubectl,
            "changed by the field manager kubectl-patch (Update) at 1970-01-01T00:00:01Z"
        )
    );
    let removed = Suspect::find(
        &[
            ours.clone(),
            write("argocd-controller", 7, &[]),
            write("helm", 5, &[]),
        ],
        "w",
    );
    assert_eq!(removed.meddler(), Meddler::ArgoCd);
    assert!(
        removed.text().contains("argocd-controller") && removed.text().contains("perhaps"),
        "{removed:?}"
    );
    let nobody = Suspect::find(&[ours], "w");
    assert_eq!(nobody.meddler(), Meddler::Unknown);
    assert_eq!(
        [&owner, &removed, &nobody].map(Suspect::manager),
        ["kubectl-patch", "argocd-controller", ""]
    );
    for (manager, meddler) in [
        ("kustomize-controller", Meddler::Flux),
        ("argocd-application-controller", Meddler::ArgoCd),
        ("cert-manager-cainjector", Meddler::CertManager),
        ("somebody", Meddler::Other),
    ] {
        assert_eq!(Meddler::of(manager), meddler);
    }
}

#[test]
fn advice_comes_with_the_third_repair_within_an_hour_and_once_an_hour() {
    let mut repairs = Repairs::default();
    let minutes = |minutes| Uptime::after(Duration::from_mins(minutes));
    let told = [0, 40, 80, 90, 95, 99, 130, 150, 151].map(|at| repairs.note(minutes(at)).is_advised);
    assert_eq!(
        told,
        [false, false, false, true, false, false, false, false, true]
    );
}

#[test]
fn in_a_fight_each_repair_is_followed_by_a_pause_and_only_counted() {
    let mut repairs = Repairs::default();
    let mut note = |second| repairs.note(Uptime::after(Duration::from_secs(second)));
    for second in 0..9 {
        let noted = note(second);
        assert_eq!((noted.is_told, noted.pause), (true, None), "{second}");
    }
    let tenth = note(9);
    assert_eq!((tenth.is_told, tenth.pause), (true, Some(Repairs::PAUSE)));
    // A minute apart from here on, until the advice of the next hour.
    let mut at = 9;
    let mut counted = 0;
    loop {
        at += 61;
        let noted = note(at);
        assert_eq!(
            (noted.is_told, noted.pause),
            (false, Some(Repairs::PAUSE)),
            "{at}"
        );
        if noted.is_advised {
            assert_eq!(noted.untold, counted);
            break;
        }
        counted += 1;
    }
    assert_eq!(counted, 58);
    assert!(!note(at + 61).is_told);
    assert!(!note(at + 61 + 120).is_told, "not longer than two pauses");
    // Over, and the next repair has a line again, with those that had none.
    let noted = note(at + 61 + 120 + 121);
    assert_eq!((noted.is_told, noted.untold, noted.pause), (true, 3, None));
    assert_eq!(note(at + 61 + 120 + 122).untold, 0);
}
