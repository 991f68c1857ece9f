//! What is known of a reboot from each source, and that each uncordon is there once.

use serde_json::{Value, json};

use super::*;
use crate::keys;

mod shown;
mod sources;

const NOW: &str = "2026-11-28T03:00:00Z";

pub(super) fn at(time: &str) -> Timestamp {
    format!("2026-11-28T{time}Z").parse().unwrap()
}

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn node(annotations: &Value) -> NodeView {
    serde_json::from_value(json!({ "metadata": { "name": "n", "uid": "u", "annotations": annotations } }))
        .unwrap()
}

/// The account of a reboot that began at 02:00:00 and took 20 min.
fn account() -> Value {
    json!({
        "created": "2026-11-28T02:00:00.5Z", "why": "file /run/reboot-required", "ended": "2026-11-28T02:20:00Z",
        "seconds": { "wanted": 300, "draining": 240, "delaying": 300, "sealed": 300, "returning": 60 }, "evicted": 40, "refused": 3,
    })
}

fn rebooted() -> NodeView {
    node(&json!({ keys::LAST_REBOOT: account().to_string() }))
}

fn told(time: &str, reason: &str, note: &str) -> Told {
    Told {
        node: "n".to_owned(),
        reason: reason.to_owned(),
        note: note.to_owned(),
        since: at(time),
        at: at(time),
        count: 1,
    }
}

fn history(record: &Record) -> History {
    History::of(record, None, now())
}

fn decision(time: &str, verdict: &str, reason: &str, user: &str, uid: &str) -> String {
    json!({
        "timestamp": format!("2026-11-28T{time}Z"), "message": "decision", "verdict": verdict, "reason": reason, "uid": uid,
        "user": user, "node": "n", "effect": "uncordon", "holder": "u/2026-11-28T02:00:00.500000000Z", "dry_run": false,
    })
    .to_string()
}

/// An entry of an audit log about a patch of the Node.
fn entry(time: &str, user: &str, code: u16, annotations: &Value, body: &Value) -> String {
    json!({
        "kind": "Event", "stage": "ResponseComplete", "auditID": format!("{time}-{user}"), "verb": "patch", "requestURI": "/api/v1/nodes/n",
        "user": { "username": user }, "objectRef": { "resource": "nodes", "name": "n" }, "responseStatus": { "code": code },
        "annotations": annotations, "requestObject": body, "requestReceivedTimestamp": format!("2026-11-28T{time}Z"),
    })
    .to_string()
}

fn phases(timeline: &Timeline) -> Vec<(&'static str, String)> {
    let spans = timeline.spans.iter();
    spans
        .map(|span| (span.phase.as_str(), format!("{:.0}", span.from)))
        .collect()
}

#[test]
fn an_account_alone_gives_every_phase_its_time() {
    let history = history(&Record {
        nodes: vec![rebooted()],
        ..Record::default()
    });
    let [one] = history.reboots.as_slice() else {
        panic!("{history:?}")
    };
    let expected = [
        ("wanted", "02:00:00"),
        ("draining", "02:05:00"),
        ("delaying", "02:09:00"),
        ("sealed", "02:14:00"),
        ("returning", "02:19:00"),
    ];
    let expected: Vec<(&str, String)> = expected
        .map(|(phase, time)| (phase, format!("2026-11-28T{time}Z")))
        .to_vec();
    assert_eq!(phases(one), expected);
    assert_eq!((one.outcome, one.to), (Outcome::Rebooted, at("02:20:00")));
    let ends: Vec<Timestamp> = one.spans.iter().map(|span| span.to).collect();
    assert_eq!(ends.last(), Some(&at("02:20:00")));
    // The sums of the drain do not say whether pods came afterwards.
    assert_eq!((one.pods.len(), one.pods_at_reboot()), (2, None));
    assert_eq!(one.cordoned(), [(one.spans[1].from, one.to)]);
}

#[test]
fn a_reboot_that_goes_on_has_the_phase_that_the_node_shows() {
    let account = json!({
        "created": "2026-11-28T02:00:00Z", "phase": "draining", "since": "2026-11-28T02:50:00Z", "seconds": { "wanted": 2990 },
    });
    let node = node(&json!({
        keys::REBOOT_ACCOUNT: account.to_string(), keys::DRAIN_PROGRESS: "38 gone, 2 left; blocked by budget db/pg",
    }));
    let history = history(&Record {
        nodes: vec![node],
        ..Record::default()
    });
    let one = &history.reboots[0];
    assert_eq!(
        (one.outcome, one.stands(), one.to),
        (Outcome::GoesOn, "draining", now())
    );
    // The wait lasts until the drain began, also if its seconds are older.
    assert_eq!(
        (one.spans[0].to, one.spans[1].from),
        (at("02:50:00"), at("02:50:00"))
    );
    let on: Vec<u64> = one.pods.iter().map(|pods| pods.on).collect();
    assert_eq!(on, [40, 2]);
}

#[test]
fn events_know_each_phase_that_came_again_and_the_account_what_was_before_them() {
    let told = [
        ("02:05:10", "RebootDraining"),
        ("02:06:00", "RebootDrained"),
        ("02:06:30", "RebootDisturbed"),
        ("02:06:31", "RebootDraining"),
        ("02:07:00", "RebootDrained"),
        ("02:14:00", "RebootSealed"),
        ("02:14:01", "Rebooting"),
        ("02:19:00", "Rebooted"),
        ("02:20:00", "RebootGivenBack"),
    ]
    .map(|(time, reason)| told(time, reason, "says"));
    let history = history(&Record {
        nodes: vec![rebooted()],
        told: told.to_vec(),
        ..Record::default()
    });
    let [one] = history.reboots.as_slice() else {
        panic!("{history:?}")
    };
    let names: Vec<&str> = one.spans.iter().map(|span| span.phase.as_str()).collect();
    assert_eq!(
        names,
        [
            "wanted",
            "draining",
            "delaying",
            "draining",
            "delaying",
            "sealed",
            "returning"
        ]
    );
    // Without a gap, each until the next.
    for pair in one.spans.windows(2) {
        assert_eq!(pair[0].to, pair[1].from);
    }
    assert_eq!(one.reboot(), Some(at("02:14:01")));
    let given_back = one
        .moments
        .iter()
        .filter(|moment| moment.what == Event::GivenBack);
    assert_eq!(given_back.count(), 1);
}

#[test]
fn events_without_an_account_are_reboots_that_end_with_the_cordon_given_back() {
    let told = [
        ("01:00:00", "RebootWanted"),
        ("01:01:00", "RebootDraining"),
        ("01:02:00", "RebootCalledOff"),
        ("01:02:01", "RebootGivenBack"),
        ("01:30:00", "RebootWanted"),
        ("01:31:00", "RebootDraining"),
    ]
    .map(|(time, reason)| told(time, reason, ""));
    let history = history(&Record {
        told: told.to_vec(),
        ..Record::default()
    });
    let found: Vec<(Timestamp, Outcome)> = history
        .reboots
        .iter()
        .map(|one| (one.from, one.outcome))
        .collect();
    let expected = [
        (at("01:30:00"), Outcome::Unknown),
        (at("01:00:00"), Outcome::CalledOff),
    ];
    assert_eq!(found, expected);
}

#[test]
fn an_uncordon_that_three_sources_tell_of_is_there_once() {
    let user = "system:serviceaccount:gpu:op";
    let mut logs = Logs::default();
    for (index, time) in ["02:10:00", "02:10:05", "02:10:10"].iter().enumerate() {
        let line = decision(time, "deny", "held", user, &index.to_string());
        logs.webhook_line(&format!("[pod/webhook-1] {line}"));
        // A log that is given twice.
        logs.webhook_line(&line);
        let annotations =
            json!({ "nodes.cordonhold.dev/verdict": "deny", "nodes.cordonhold.dev/reason": "held" });
        logs.audit_line(&entry(time, user, 403, &annotations, &Value::Null));
    }
    // Only this source has it.
    let shown = json!({ "spec": { "unschedulable": null } });
    logs.audit_line(&entry("02:12:00", "jo", 200, &Value::Null, &shown));
    let denial = Told {
        at: at("02:10:10"),
        count: 3,
        ..told(
            "02:10:00",
            "Held",
            &format!("Denied {user}: held: node n is held"),
        )
    };
    let history = history(&Record {
        nodes: vec![rebooted()],
        denials: vec![denial.clone()],
        logs,
        ..Record::default()
    });
    let [one] = history.reboots.as_slice() else {
        panic!("{history:?}")
    };
    assert_eq!(
        (one.count(Answer::Denied), one.count(Answer::Passed)),
        (3, 1),
        "{one:?}"
    );
    assert_eq!(one.uncordons.len(), 4);
    assert!(
        history.others.is_empty() && history.unseen.is_empty(),
        "{history:?}"
    );

    // The Event alone counts as many.
    let history = History::of(
        &Record {
            nodes: vec![rebooted()],
            denials: vec![denial],
            ..Record::default()
        },
        Some("n"),
        now(),
    );
    assert_eq!(history.reboots[0].count(Answer::Denied), 3);
    assert_eq!(history.reboots[0].uncordons[0].until, Some(at("02:10:10")));
}

#[test]
fn what_is_no_foreign_uncordon_is_left_out() {
    let mut logs = Logs::default();
    logs.webhook_line(&decision("02:20:00", "allow", "owner", "agent", "1"));
    let dry =
        decision("02:10:00", "deny", "held", "jo", "2").replace("\"dry_run\":false", "\"dry_run\":true");
    logs.webhook_line(&dry);
    logs.webhook_line(
        &decision("02:10:00", "deny", "held", "jo", "3")
            .replace("\"effect\":\"uncordon\"", "\"effect\":\"taint\""),
    );
    let shown = json!({ "spec": { "unschedulable": null } });
    let agent = "system:serviceaccount:cordonhold:cordonhold-agent";
    let of_agent = |node: &str| {
        let mut own: Value =
            serde_json::from_str(&entry("02:20:00", agent, 200, &Value::Null, &shown)).unwrap();
        own["user"]["extra"] = json!({ keys::NODE_NAME_EXTRA: [node] });
        own.to_string()
    };
    logs.audit_line(&of_agent("n"));
    let forbidden = json!({ "authorization.k8s.io/decision": "forbid" });
    logs.audit_line(&entry("02:10:01", "jo", 403, &forbidden, &shown));
    logs.audit_line(&entry("02:10:02", "jo", 409, &Value::Null, &shown));
    logs.audit_line(&entry(
        "02:10:03",
        "jo",
        200,
        &Value::Null,
        &json!({ "metadata": {} }),
    ));
    let all = history(&Record {
        nodes: vec![rebooted()],
        logs: logs.clone(),
        ..Record::default()
    });
    assert!(all.reboots[0].uncordons.is_empty(), "{all:?}");
    assert!(all.unseen.is_empty());
    // The agent of another node is no agent of this one.
    let mut stolen = Logs::default();
    stolen.audit_line(&of_agent("other"));
    let shown = history(&Record {
        nodes: vec![rebooted()],
        logs: stolen,
        ..Record::default()
    });
    assert_eq!(shown.reboots[0].uncordons.len(), 1, "{shown:?}");
    // What is no log at all is counted.
    logs.webhook_line("E1128 klog line");
    logs.audit_line("{\"half\":");
    let lost = logs.unseen();
    assert!(lost[0].what.ends_with("logs (2)"), "{lost:?}");
}

#[test]
fn what_a_webhook_allowed_was_written_or_denied_by_another_as_the_audit_log_says() {
    let mut logs = Logs::default();
    for (time, uid) in [("02:10:00", "1"), ("02:11:00", "2"), ("02:12:00", "3")] {
        logs.webhook_line(&decision(time, "flag", "held", "jo", uid));
    }
    let noted = json!({ "nodes.cordonhold.dev/verdict": "flag", "nodes.cordonhold.dev/reason": "held" });
    logs.audit_line(&entry("02:11:00", "jo", 403, &noted, &Value::Null));
    logs.audit_line(&entry("02:12:01", "jo", 200, &noted, &Value::Null));
    let history = history(&Record {
        nodes: vec![rebooted()],
        logs,
        ..Record::default()
    });
    let answers = history.reboots[0].uncordons.iter().map(|one| one.answer);
    assert_eq!(
        answers.collect::<Vec<_>>(),
        [Answer::Allowed, Answer::Denied, Answer::Passed]
    );
}

#[test]
fn one_line_of_the_webhooks_log_is_one_uncordon_of_the_audit_log_however_near_the_next_one_is() {
    let mut logs = Logs::default();
    logs.webhook_line(&decision("02:10:00", "deny", "held", "jo", "1"));
    let noted = json!({ "nodes.cordonhold.dev/verdict": "deny", "nodes.cordonhold.dev/reason": "held" });
    for time in ["02:10:00", "02:10:01"] {
        logs.audit_line(&entry(time, "jo", 403, &noted, &Value::Null));
    }
    let history = history(&Record {
        nodes: vec![rebooted()],
        logs,
        ..Record::default()
    });
    assert_eq!(history.reboots[0].count(Answer::Denied), 2, "{history:?}");
}

#[test]
fn of_an_event_that_counts_many_those_that_no_log_has_are_left() {
    let denial = Told {
        at: at("02:10:10"),
        count: 5,
        ..told("02:10:00", "Held", "Denied jo: held: node n is held")
    };
    let mut logs = Logs::default();
    for (time, uid) in [("02:10:05", "1"), ("02:10:10", "2")] {
        logs.webhook_line(&decision(time, "deny", "held", "jo", uid));
    }
    // Of somebody else, and too late for the Event.
    logs.webhook_line(&decision("02:10:06", "deny", "held", "al", "3"));
    logs.webhook_line(&decision("02:10:13", "deny", "held", "jo", "4"));
    let history = history(&Record {
        nodes: vec![rebooted()],
        denials: vec![denial],
        logs,
        ..Record::default()
    });
    let counts = history.reboots[0]
        .uncordons
        .iter()
        .map(|one| (one.count, one.by.as_str()));
    assert_eq!(
        counts.collect::<Vec<_>>(),
        [(3, "jo"), (1, "jo"), (1, "al"), (1, "jo"), (1, "jo")]
    );
}

#[test]
fn an_audit_log_shows_each_pod_that_left_and_came() {
    let mut logs = Logs::default();
    let entry = |time: &str, name: &str, verb: &str, subresource: &str, node: &str| {
        json!({
            "stage": "ResponseComplete", "auditID": format!("{time}{subresource}"), "verb": verb, "requestURI": "/x",
            "user": { "username": "x", "extra": { keys::NODE_NAME_EXTRA: [node] } },
            "objectRef": { "resource": "pods", "subresource": subresource, "namespace": "web", "name": name },
            "responseStatus": { "code": 201 }, "requestObject": { "target": { "name": node } },
            "requestReceivedTimestamp": format!("2026-11-28T{time}Z"),
        })
        .to_string()
    };
    let all = [
        ("02:06:00", "a", "create", "eviction", "n"),
        ("02:06:01", "b", "create", "eviction", "n"),
        // What was evicted is deleted by its kubelet, and leaves once.
        ("02:06:02", "b", "delete", "", "n"),
        ("02:06:03", "other", "create", "eviction", "other"),
        ("02:07:00", "b", "create", "binding", "n"),
        ("02:07:01", "c", "create", "binding", "n"),
        ("02:07:02", "d", "create", "binding", "other"),
        ("02:07:03", "d", "delete", "", "x"),
        ("02:07:04", "c", "delete", "", "x"),
        ("02:10:00", "e", "create", "binding", "n"),
    ];
    for (time, name, verb, subresource, node) in all {
        logs.audit_line(&entry(time, name, verb, subresource, node));
    }
    let history = history(&Record {
        nodes: vec![rebooted()],
        logs,
        ..Record::default()
    });
    let one = &history.reboots[0];
    let on: Vec<u64> = one.pods.iter().map(|pods| pods.on).collect();
    assert_eq!(on, [2, 1, 0, 1, 2, 1, 2]);
    assert_eq!(one.pods_at_reboot(), Some(2));
    assert!(
        one.summary().contains("2 pods went down with it"),
        "{}",
        one.summary()
    );
}

#[test]
fn a_hold_that_only_a_log_tells_of_is_a_reboot_and_an_uncordon_without_a_hold_is_none() {
    let mut logs = Logs::default();
    let old = |time: &str, uid: &str| {
        decision(time, "deny", "held", "jo", uid).replace("02:00:00.500000000", "00:10:00.000000000")
    };
    logs.webhook_line(&old("00:11:00", "1"));
    logs.webhook_line(&old("00:12:00", "2"));
    let free =
        decision("00:30:00", "allow", "not-held", "jo", "3").replace("u/2026-11-28T02:00:00.500000000Z", "");
    logs.webhook_line(&free);
    let history = history(&Record {
        logs,
        ..Record::default()
    });
    let [one] = history.reboots.as_slice() else {
        panic!("{history:?}")
    };
    assert_eq!(
        (one.from, one.to, one.count(Answer::Denied)),
        (at("00:10:00"), at("00:12:00"), 2)
    );
    assert_eq!(one.outcome, Outcome::Unknown);
    let [other] = history.others.as_slice() else {
        panic!("{history:?}")
    };
    assert_eq!(
        (other.node.as_str(), other.uncordon.answer),
        ("n", Answer::Allowed)
    );
}

#[test]
fn uncordons_in_a_row_are_one_line_until_something_else_happens() {
    let mut timeline = picture_of(&[]);
    let ask = |time: &str| Uncordon {
        at: at(time),
        until: None,
        count: 1,
        by: "jo".to_owned(),
        answer: Answer::Denied,
        reason: "held".to_owned(),
    };
    timeline.uncordons = ["02:06:00", "02:06:30", "02:10:00"].map(ask).to_vec();
    let lines: Vec<String> = timeline
        .lines()
        .iter()
        .filter(|line| line.what == "denied")
        .map(|line| line.detail.clone())
        .collect();
    assert_eq!(
        lines,
        [
            "an uncordon by jo (held), 2 times until 2026-11-28T02:06:30Z",
            "an uncordon by jo (held)"
        ]
    );
}

#[test]
fn a_passed_uncordon_ends_the_cordon_until_the_next_drain() {
    let mut timeline = picture_of(&[(Answer::Passed, "02:10:00", "jo")]);
    assert_eq!(
        timeline.cordoned(),
        [(at("02:05:00"), at("02:10:00"))],
        "{timeline:?}"
    );
    timeline.spans.push(Span {
        phase: Phase::Draining,
        from: at("02:11:00"),
        to: at("02:12:00"),
        about: false,
    });
    assert_eq!(timeline.cordoned().len(), 2);
    assert_eq!(timeline.cordoned()[1], (at("02:11:00"), at("02:20:00")));
}

/// The reboot of [`account`], with these uncordons.
pub(super) fn picture_of(uncordons: &[(Answer, &str, &str)]) -> Timeline {
    let record = Record {
        nodes: vec![rebooted()],
        ..Record::default()
    };
    let mut timeline = history(&record).reboots.remove(0);
    // In whole seconds, as most pictures below count.
    for span in &mut timeline.spans {
        let whole = |at: Timestamp| Timestamp::from_second(at.as_second()).unwrap();
        (span.from, span.to) = (whole(span.from), whole(span.to));
    }
    let asked = uncordons.iter().map(|(answer, time, by)| Uncordon {
        at: at(time),
        until: None,
        count: 1,
        by: (*by).to_owned(),
        answer: *answer,
        reason: "held".to_owned(),
    });
    timeline.uncordons = asked.collect();
    timeline
}
