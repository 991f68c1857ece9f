//! The edges of what each source tells: what counts, what does not, and what is lost.

use super::shown::pod;
use super::*;

/// The reboots of node n, of which this is known.
fn reboots(annotations: &Value, told: &[Told], logs: &Logs) -> Vec<Timeline> {
    let record = Record {
        nodes: vec![node(annotations)],
        told: told.to_vec(),
        logs: logs.clone(),
        ..Record::default()
    };
    history(&record).reboots
}

/// The uncordons in the reboot of [`account`] that these entries of an audit log tell of.
fn of_audit(entries: &[Value]) -> Vec<Uncordon> {
    let mut logs = Logs::default();
    for entry in entries {
        logs.audit_line(&entry.to_string());
    }
    let last = json!({ keys::LAST_REBOOT: account().to_string() });
    reboots(&last, &[], &logs).remove(0).uncordons
}

/// An entry with these fields in the place of its own.
fn changed(mut entry: Value, fields: &[(&str, Value)]) -> Value {
    for (pointer, value) in fields {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        entry.pointer_mut(parent).unwrap()[key] = value.clone();
    }
    entry
}

fn shown_uncordon() -> Value {
    let shown = json!({ "spec": { "unschedulable": null } });
    serde_json::from_str(&entry("02:10:00", "jo", 200, &Value::Null, &shown)).unwrap()
}

#[test]
fn of_sixty_one_reboots_of_a_node_the_oldest_is_left_out_and_that_is_said() {
    for (count, says) in [
        (60, None),
        (61, Some("older reboots of node n (1)")),
        (63, Some("older reboots of node n (3)")),
    ] {
        let told: Vec<Told> = (0..count)
            .map(|index| {
                told(
                    &format!("01:{:02}:{:02}", index / 2, index % 2 * 30),
                    "RebootWanted",
                    "",
                )
            })
            .collect();
        let history = history(&Record {
            told,
            ..Record::default()
        });
        assert_eq!(history.reboots.len(), 60, "of {count}");
        let unseen: Vec<&str> = history.unseen.iter().map(|one| one.what.as_str()).collect();
        assert_eq!(unseen, says.into_iter().collect::<Vec<_>>(), "of {count}");
    }
}

#[test]
fn a_summary_counts_each_answer_that_was_given_and_the_pods_that_went_down() {
    let mut timeline = picture_of(&[
        (Answer::Denied, "02:05:00", "a"),
        (Answer::Denied, "02:06:00", "a"),
        (Answer::Unknown, "02:07:00", "a"),
    ]);
    assert_eq!(timeline.uncordons_in_words(), "2 denied, 1 unknown");
    for (on, says) in [
        (0, "; no pod was on it when it went down"),
        (1, "; 1 pod went down with it"),
        (2, "; 2 pods went down with it"),
    ] {
        timeline.pods = vec![Pods {
            at: at("02:06:00"),
            on,
            about: false,
        }];
        let expected = format!(
            "rebooted, took 19 min; asked by file /run/reboot-required; uncordons: 2 denied, 1 unknown{says}"
        );
        assert_eq!(timeline.summary(), expected);
    }
    timeline.why = String::new();
    timeline.uncordons.clear();
    timeline.pods.clear();
    assert_eq!(timeline.summary(), "rebooted, took 19 min; no uncordon is known");
}

#[test]
fn without_a_drain_the_cordon_is_from_the_first_phase_after_the_wait() {
    let mut timeline = picture_of(&[
        (Answer::Denied, "02:06:00", "a"),
        (Answer::Passed, "02:10:00", "a"),
    ]);
    drop(timeline.spans.drain(1..2));
    assert_eq!(timeline.cordoned(), [(at("02:09:00"), at("02:10:00"))]);
    timeline.uncordons.truncate(1);
    assert_eq!(timeline.cordoned(), [(at("02:09:00"), at("02:20:00"))]);
    timeline.spans.truncate(1);
    assert_eq!(timeline.cordoned(), []);
}

#[test]
fn what_an_own_source_has_seen_is_a_moment_of_one_line() {
    let mut timeline = Timeline::default();
    timeline.happened(at("02:00:00"), Event::Failed, "two\nlines");
    let expected = Moment {
        at: at("02:00:00"),
        what: Event::Failed,
        says: "two lines".to_owned(),
    };
    assert_eq!(timeline.moments, [expected]);
}

#[test]
fn the_lines_of_a_reboot_say_how_many_pods_are_on_the_node_and_are_bad_if_there_are_any() {
    let mut timeline = picture_of(&[]);
    timeline.moments.clear();
    timeline.happened(at("02:14:00"), Event::Locked, "no reboot");
    for (on, says, reboot, is_bad) in [
        (Some(0), "", "no pod is on the node", false),
        (Some(1), "", "1 pod is on the node", true),
        (
            Some(2),
            "the command was run",
            "the command was run; 2 pods are on the node",
            true,
        ),
        (None, "the command was run", "the command was run", false),
    ] {
        timeline.pods = on
            .map(|on| Pods {
                at: at("02:06:00"),
                on,
                about: false,
            })
            .into_iter()
            .collect();
        timeline.moments.truncate(1);
        timeline.happened(at("02:14:01"), Event::Reboot, says);
        let lines = timeline.lines();
        let of = |what: &str| lines.iter().find(|line| line.what == what).unwrap();
        assert_eq!(
            (of("reboot").detail.as_str(), of("reboot").is_bad),
            (reboot, is_bad)
        );
        assert_eq!(
            (of("locked").detail.as_str(), of("locked").is_bad),
            ("no reboot", false)
        );
    }
}

#[test]
fn only_the_first_drain_says_how_many_pods_were_evicted_and_refused_if_any_were() {
    let mut timeline = picture_of(&[]);
    let mut again = timeline.spans[1];
    (again.from, again.to) = (at("02:11:00"), at("02:12:00"));
    timeline.spans.insert(3, again);
    for (evicted, refused, says) in [
        (
            Some(40),
            Some(3),
            "for 4 min; 40 pods evicted; 3 evictions refused",
        ),
        (Some(0), Some(0), "for 4 min"),
        (None, None, "for 4 min"),
    ] {
        (timeline.evicted, timeline.refused) = (evicted, refused);
        let lines = timeline.lines();
        let details = |phase: &str| -> Vec<&str> {
            let own = lines.iter().filter(|line| line.what == phase);
            own.map(|line| line.detail.as_str()).collect()
        };
        assert_eq!(details("draining"), [says, "for 1 min"]);
        assert_eq!(details("wanted"), ["for 5 min"]);
    }
}

#[test]
fn uncordons_at_the_very_time_of_another_line_stay_one_line() {
    // The drain begins at 02:05:00, and the delay at 02:09:00: the first of two is not before it.
    let timeline = picture_of(&[
        (Answer::Denied, "02:09:00", "a"),
        (Answer::Denied, "02:09:30", "a"),
    ]);
    let lines = timeline.lines();
    let denied: Vec<&str> = lines
        .iter()
        .filter(|line| line.what == "denied")
        .map(|line| line.detail.as_str())
        .collect();
    assert_eq!(
        denied,
        ["an uncordon by a (held), 2 times until 2026-11-28T02:09:30Z"]
    );
}

#[test]
fn the_name_of_a_service_account_is_its_last_part_and_another_user_is_whole() {
    for (user, name) in [
        ("system:serviceaccount:gpu:operator", "operator"),
        ("system:serviceaccount:broken", "system:serviceaccount:broken"),
        ("jo", "jo"),
    ] {
        assert_eq!(by_user(user), name);
    }
}

#[test]
fn an_account_that_is_partial_or_disturbed_gives_its_phases_about() {
    for (field, value, about) in [
        ("why", json!("x"), false),
        ("partial", json!(true), true),
        ("disturbed", json!({ "uncordoned": 1 }), true),
    ] {
        let account = changed(json!({ "a": account() }), &[(&format!("/a/{field}"), value)])["a"].clone();
        let last = json!({ keys::LAST_REBOOT: account.to_string() });
        let one = reboots(&last, &[], &Logs::default()).remove(0);
        assert!(
            one.spans.iter().all(|span| span.about == about),
            "{field}: {one:?}"
        );
    }
}

#[test]
fn a_phase_that_took_no_time_is_a_phase_too() {
    let account = changed(
        json!({ "a": account() }),
        &[(
            "/a/seconds",
            json!({ "wanted": 600, "delaying": 0, "sealed": 600 }),
        )],
    );
    let last = json!({ keys::LAST_REBOOT: account["a"].to_string() });
    let one = reboots(&last, &[], &Logs::default()).remove(0);
    let expected = [
        ("wanted", "02:00:00"),
        ("delaying", "02:10:00"),
        ("sealed", "02:10:00"),
    ];
    assert_eq!(
        phases(&one),
        expected.map(|(phase, time)| (phase, format!("2026-11-28T{time}Z")))
    );
}

#[test]
fn an_event_at_the_time_of_a_phase_of_the_account_takes_its_place() {
    // The account's drain began at 02:05:00.5, its wait at 02:00:00.5.
    let mut drained = told("02:05:00", "RebootDrained", "");
    drained.since = "2026-11-28T02:05:00.5Z".parse().unwrap();
    let last = json!({ keys::LAST_REBOOT: account().to_string() });
    let one = reboots(&last, &[drained], &Logs::default()).remove(0);
    assert_eq!(
        phases(&one).iter().map(|(phase, _)| *phase).collect::<Vec<_>>(),
        ["wanted", "delaying"]
    );
}

#[test]
fn an_event_belongs_to_a_reboot_within_two_seconds_of_it_and_else_to_one_of_its_own() {
    let last = json!({ keys::LAST_REBOOT: account().to_string() });
    for (time, count) in [("01:59:58", 2), ("01:59:59", 1), ("02:20:02", 1), ("02:20:03", 2)] {
        let found = reboots(&last, &[told(time, "RebootDrainBlocked", "x")], &Logs::default());
        assert_eq!(found.len(), count, "{time}: {found:?}");
        // One that only an Event tells of is of this node, and as long as its Events.
        let own = found.iter().find(|one| one.hold.is_none());
        assert!(
            own.is_none_or(|own| own.node == "n" && own.to == at(time)),
            "{time}: {own:?}"
        );
    }
}

#[test]
fn the_reboot_of_an_account_keeps_its_hold_its_wish_and_its_counts() {
    let last = json!({ keys::LAST_REBOOT: account().to_string() });
    let one = reboots(&last, &[], &Logs::default()).remove(0);
    assert_eq!(one.hold.as_deref(), Some("2026-11-28T02:00:00.5Z"));
    assert_eq!(
        (one.why.as_str(), one.evicted, one.refused),
        ("file /run/reboot-required", Some(40), Some(3))
    );
    let given_back: Vec<Timestamp> = one
        .moments
        .iter()
        .filter(|moment| moment.what == Event::GivenBack)
        .map(|moment| moment.at)
        .collect();
    assert_eq!(given_back, [at("02:20:00")]);
}

#[test]
fn a_reboot_ends_when_its_cordon_was_given_back_whatever_else_was_said() {
    let last = json!({ keys::LAST_REBOOT: account().to_string() });
    let to = |told: &[Told]| reboots(&last, told, &Logs::default()).remove(0).to;
    assert_eq!(to(&[told("02:20:02", "RebootGivenBack", "")]), at("02:20:02"));
    assert_eq!(to(&[told("02:19:00", "RebootGivenBack", "")]), at("02:20:00"));
    assert_eq!(to(&[told("02:20:01", "RebootNodeReady", "")]), at("02:20:00"));
}

#[test]
fn what_only_events_tell_of_was_called_off_if_one_says_so() {
    let outcome = |reasons: &[&str]| {
        let told: Vec<Told> = reasons
            .iter()
            .map(|reason| told("01:00:00", reason, ""))
            .collect();
        history(&Record {
            told,
            ..Record::default()
        })
        .reboots
        .remove(0)
        .outcome
    };
    assert_eq!(outcome(&["RebootWanted", "RebootGivenBack"]), Outcome::Unknown);
    assert_eq!(
        outcome(&["RebootWanted", "RebootCalledOff", "RebootGivenBack"]),
        Outcome::CalledOff
    );
    assert_eq!(
        outcome(&["RebootWanted", "Rebooted", "RebootGivenBack"]),
        Outcome::Rebooted
    );
}

#[test]
fn a_hold_without_an_account_goes_on_in_its_phase_since_it_began() {
    let node: NodeView = serde_json::from_value(json!({ "metadata": {
        "name": "n", "uid": "u", "annotations": { keys::HOLDER: "u/2026-11-28T02:30:00Z" }, "labels": { keys::PHASE: "delaying" },
    } }))
    .unwrap();
    let found = history(&Record {
        nodes: vec![node],
        ..Record::default()
    })
    .reboots;
    let expected = Timeline {
        node: "n".to_owned(),
        hold: Some("2026-11-28T02:30:00Z".to_owned()),
        from: at("02:30:00"),
        to: now(),
        outcome: Outcome::GoesOn,
        spans: vec![Span {
            phase: Phase::Delaying,
            from: at("02:30:00"),
            to: now(),
            about: true,
        }],
        evicted: Some(0),
        refused: Some(0),
        ..Timeline::default()
    };
    assert_eq!(found, [expected], "nobody has given it back");
}

#[test]
fn a_hold_that_only_a_line_of_a_log_tells_of_is_of_its_node_and_ends_with_that_line() {
    let mut logs = Logs::default();
    logs.webhook_line(&decision("02:11:00", "deny", "held", "jo", "1"));
    let found = history(&Record {
        logs,
        ..Record::default()
    })
    .reboots;
    let one = &found[0];
    assert_eq!(
        (one.node.as_str(), one.to, one.uncordons.len()),
        ("n", at("02:11:00"), 1)
    );
}

#[test]
fn an_event_about_one_uncordon_has_no_last_and_one_about_anything_else_is_none() {
    let of = |note: &str, count: u64| {
        let denial = Told {
            at: at("02:10:10"),
            count,
            ..told("02:10:00", "Held", note)
        };
        let record = Record {
            nodes: vec![rebooted()],
            denials: vec![denial],
            ..Record::default()
        };
        history(&record).reboots.remove(0).uncordons
    };
    let one = of("Denied jo: held: node n is held", 1);
    assert_eq!((one.len(), one[0].until), (1, None));
    assert_eq!(
        of("Denied jo: held: node n is held", 2)[0].until,
        Some(at("02:10:10"))
    );
    assert_eq!(of("Denied jo: tampered-taint: a taint", 1), []);
}

#[test]
fn a_log_given_twice_counts_once_but_entries_without_an_id_count_each() {
    let own = shown_uncordon();
    assert_eq!(of_audit(&[own.clone(), own.clone()]).len(), 1);
    let without = changed(own, &[("/auditID", json!(""))]);
    assert_eq!(of_audit(&[without.clone(), without]).len(), 2);
    // One that tells of nothing takes nobody's id.
    let news = shown_uncordon();
    let nothing = changed(news.clone(), &[("/requestObject", json!({}))]);
    assert_eq!(of_audit(&[nothing, news]).len(), 1);
}

#[test]
fn an_entry_counts_when_it_is_complete_is_no_dry_run_and_is_about_a_write_of_a_node() {
    let cases: &[(&str, Value, usize)] = &[
        ("/stage", json!("ResponseComplete"), 1),
        ("/stage", json!(""), 1),
        ("/stage", json!("RequestReceived"), 0),
        ("/requestURI", json!("/api/v1/nodes/n?fieldManager=x"), 1),
        (
            "/requestURI",
            json!("/api/v1/nodes/n?fieldManager=x&dryRun=All"),
            0,
        ),
        ("/verb", json!("update"), 0),
        ("/verb", json!("get"), 0),
        ("/objectRef/resource", json!("pods"), 0),
        ("/objectRef/subresource", json!("status"), 0),
    ];
    for (field, value, count) in cases {
        let entry = changed(shown_uncordon(), &[(field, value.clone())]);
        assert_eq!(of_audit(&[entry]).len(), *count, "{field}: {value}");
    }
}

#[test]
fn the_body_of_a_patch_shows_whether_it_clears_the_cordon() {
    let operation = |op: &str, path: &str, value: Value| json!([{ "op": op, "path": path, "value": value }]);
    let cordon = "/spec/unschedulable";
    for (body, count) in [
        (json!({ "spec": { "unschedulable": null } }), 1),
        (json!({ "spec": { "unschedulable": false } }), 1),
        (json!({ "spec": { "unschedulable": true } }), 0),
        (json!({ "spec": {} }), 0),
        (json!([{ "op": "remove", "path": cordon }]), 1),
        (json!([{ "op": "remove", "path": "/spec/taints" }]), 0),
        (operation("replace", cordon, json!(false)), 1),
        (operation("replace", cordon, json!(true)), 0),
        (operation("add", "/spec/other", json!(false)), 0),
    ] {
        let entry = changed(shown_uncordon(), &[("/requestObject", body.clone())]);
        assert_eq!(of_audit(&[entry]).len(), count, "{body}");
    }
}

#[test]
fn the_answer_of_an_entry_is_what_the_webhook_noted_and_else_what_the_code_says() {
    use Answer::{Deferred, Denied, Passed};
    let noted = |verdict: &str, reason: &str| json!({ "nodes.cordonhold.dev/verdict": verdict, "nodes.cordonhold.dev/reason": reason });
    let forbidden = json!({ "authorization.k8s.io/decision": "forbid" });
    let allowed = json!({ "authorization.k8s.io/decision": "allow", "other": "forbid" });
    for (annotations, code, answer) in [
        (noted("deny", "held"), 500, Some(Denied)),
        (noted("flag", "deferred"), 200, Some(Deferred)),
        (noted("flag", "lapsed"), 200, Some(Passed)),
        (noted("flag", "lapsed"), 403, Some(Denied)),
        (noted("allow", "nothing-of-ours"), 200, None),
        (Value::Null, 422, Some(Denied)),
        (allowed, 403, Some(Denied)),
        (forbidden, 403, None),
        (Value::Null, 409, None),
    ] {
        let fields = [
            ("/annotations", annotations.clone()),
            ("/responseStatus/code", json!(code)),
        ];
        let found = of_audit(&[changed(shown_uncordon(), &fields)]);
        let answers = found.iter().map(|one| one.answer);
        assert_eq!(
            answers.collect::<Vec<_>>(),
            answer.into_iter().collect::<Vec<_>>(),
            "{annotations} {code}"
        );
    }
}

#[test]
fn of_what_happened_to_pods_only_what_was_done_within_the_reboot_counts_and_a_pod_leaves_once() {
    let on = |lines: &[String]| -> Vec<u64> {
        let mut logs = Logs::default();
        for line in lines {
            logs.audit_line(line);
        }
        let mut account = account();
        account["evicted"] = json!(0);
        let last = json!({ keys::LAST_REBOOT: account.to_string() });
        reboots(&last, &[], &logs)[0]
            .pods
            .iter()
            .map(|pods| pods.on)
            .collect()
    };
    let evicted = |time: &str, name: &str, node: &str| pod(time, name, "create", "eviction", node);
    let bound = |time: &str, name: &str, node: &str| pod(time, name, "create", "binding", node);
    let deleted = |time: &str, name: &str| pod(time, name, "delete", "", "x");
    let (a, refused) = (
        evicted("02:06:00", "a", "n"),
        evicted("02:06:10", "b", "n").replace("201", "429"),
    );
    // Nothing was evicted, and no log tells of a pod: nothing is known.
    assert_eq!(on(&[]), [] as [u64; 0]);
    assert_eq!(on(&[a.clone(), refused]), [1, 0]);
    assert_eq!(
        on(&[
            evicted("01:59:00", "z", "n"),
            a.clone(),
            evicted("02:21:00", "y", "n")
        ]),
        [1, 0]
    );
    // Evicted twice, after it came; deleted, and then evicted; evicted from another node before.
    let twice = [
        bound("02:06:00", "b", "n"),
        evicted("02:07:00", "b", "n"),
        evicted("02:07:30", "b", "n"),
    ];
    assert_eq!(on(&twice), [0, 1, 0]);
    assert_eq!(
        on(&[deleted("02:06:00", "c"), evicted("02:07:00", "c", "n"), a.clone()]),
        [1, 0]
    );
    assert_eq!(
        on(&[evicted("02:05:30", "d", "other"), evicted("02:07:00", "d", "n")]),
        [1, 0]
    );
    assert_eq!(
        on(&[bound("02:05:30", "e", "other"), evicted("02:07:00", "e", "n")]),
        [1, 0]
    );
    let not_a_pod = a.replace("\"pods\"", "\"nodes\"");
    assert_eq!(on(&[not_a_pod]), [] as [u64; 0]);
}

#[test]
fn a_drain_that_is_over_has_its_sums_and_one_that_goes_on_its_progress() {
    let progress = "38 gone, 2 left";
    for (phase, seconds, expected) in [
        ("draining", json!({ "wanted": 60 }), vec![40, 2]),
        ("delaying", json!({ "wanted": 60, "draining": 60 }), vec![7, 0]),
    ] {
        let open = json!({
            "created": "2026-11-28T02:40:00Z", "phase": phase, "since": "2026-11-28T02:50:00Z", "seconds": seconds, "evicted": 7,
        });
        let marks = json!({ keys::REBOOT_ACCOUNT: open.to_string(), keys::DRAIN_PROGRESS: progress });
        let one = reboots(&marks, &[], &Logs::default()).remove(0);
        assert_eq!(
            one.pods.iter().map(|pods| pods.on).collect::<Vec<_>>(),
            expected,
            "{phase}"
        );
    }
    // The drain of a reboot that is over may be the last that is known of it.
    let over = json!({
        "created": "2026-11-28T02:00:00Z", "ended": "2026-11-28T02:20:00Z", "seconds": { "wanted": 60, "draining": 60 }, "evicted": 7,
    });
    let marks = json!({ keys::LAST_REBOOT: over.to_string(), keys::DRAIN_PROGRESS: progress });
    let one = reboots(&marks, &[], &Logs::default()).remove(0);
    assert_eq!(one.pods.iter().map(|pods| pods.on).collect::<Vec<_>>(), [7, 0]);
}

#[test]
fn what_is_more_than_a_log_may_have_is_counted() {
    let mut logs = Logs::default();
    let line = pod("02:06:00", "a", "delete", "", "x").replace("02:06:00a", "");
    for _ in 0..100_002 {
        logs.audit_line(&line);
    }
    let unseen = logs.unseen();
    assert_eq!(unseen.len(), 1, "{unseen:?}");
    assert_eq!(unseen[0].what, "lines of the logs (2)");
    assert!(
        unseen[0].says.starts_with("there are more than 100000 of a kind"),
        "{unseen:?}"
    );
}
