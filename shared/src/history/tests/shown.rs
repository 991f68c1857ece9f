//! What a history of several nodes shows: its page (`page.html`, for a browser), and its JSON (`history.json`). Both files are looked at
//! when they change.

use super::*;
use crate::generated::assert_written;

/// A line of the webhook's log about another node and hold than [`decision`] has.
fn elsewhere(line: &str, node: &str, holder: &str) -> String {
    let mut line: Value = serde_json::from_str(line).unwrap();
    (line["node"], line["holder"]) = (json!(node), json!(holder));
    line.to_string()
}

/// An entry of an audit log about a pod.
pub(super) fn pod(time: &str, name: &str, verb: &str, subresource: &str, node: &str) -> String {
    json!({
        "stage": "ResponseComplete", "auditID": format!("{time}{name}{subresource}"), "verb": verb, "requestURI": "/x",
        "user": { "username": "x", "extra": { keys::NODE_NAME_EXTRA: [node] } },
        "objectRef": { "resource": "pods", "subresource": subresource, "namespace": "web", "name": name },
        "responseStatus": { "code": 201 }, "requestObject": { "target": { "name": node } },
        "requestReceivedTimestamp": format!("2026-11-28T{time}Z"),
    })
    .to_string()
}

/// The uncordons of node n, one of each answer, and its pods: five leave one by one, two come after the uncordon that passed, one of these
/// leaves again.
fn logs() -> Logs {
    let operator = "system:serviceaccount:gpu:operator";
    let mut logs = Logs::default();
    for (time, verdict, reason, user) in [
        ("02:06:00", "deny", "held", operator),
        ("02:06:05", "deny", "held", operator),
        ("02:06:10", "deny", "held", operator),
        ("02:07:00", "flag", "deferred", "jo <jo@example.org>"),
        ("02:10:00", "flag", "lapsed", "al"),
        ("02:12:00", "allow", "cancelled", "kim"),
        ("02:13:00", "", "held", "someone"),
        ("02:15:00", "deny", "too-late", operator),
    ] {
        logs.webhook_line(&decision(time, verdict, reason, user, time));
    }
    let noted = json!({ "nodes.cordonhold.dev/verdict": "flag", "nodes.cordonhold.dev/reason": "lapsed" });
    logs.audit_line(&entry("02:10:00", "al", 200, &noted, &Value::Null));
    for (time, name) in [
        ("02:05:05", "a"),
        ("02:05:40", "b"),
        ("02:06:30", "c"),
        ("02:07:30", "d"),
        ("02:08:50", "e"),
    ] {
        logs.audit_line(&pod(time, name, "create", "eviction", "n"));
    }
    logs.audit_line(&pod("02:10:01", "f", "create", "binding", "n"));
    logs.audit_line(&pod("02:10:02", "g", "create", "binding", "n"));
    logs.audit_line(&pod("02:10:20", "f", "create", "eviction", "n"));
    let old = decision("00:11:00", "deny", "held", "jo", "old");
    logs.webhook_line(&elsewhere(&old, "log-only", "u/2026-11-28T00:10:00Z"));
    let free = decision("00:30:00", "allow", "not-held", "jo", "free");
    logs.webhook_line(&elsewhere(&free, "nobody-holds-it", ""));
    let earlier = decision("00:20:00", "allow", "not-held", "<b>al</b>", "earlier");
    logs.webhook_line(&elsewhere(&earlier, "nobody-holds-it", ""));
    logs.webhook_line("I1128 a line of something else");
    logs
}

fn called(name: &str, annotations: &Value, labels: &Value) -> NodeView {
    serde_json::from_value(
        json!({ "metadata": { "name": name, "uid": "u", "annotations": annotations, "labels": labels } }),
    )
    .unwrap()
}

fn nodes() -> Vec<NodeView> {
    let called_off = json!({
        "created": "2026-11-28T01:00:00Z", "why": "command /usr/bin/needs-restarting -r", "ended": "2026-11-28T01:40:00Z",
        "seconds": { "wanted": 600, "draining": 1740, "delaying": 0 }, "evicted": 12, "disturbed": { "uncordoned": 1 },
    });
    let goes_on = json!({
        "created": "2026-11-27T20:00:00Z", "phase": "draining", "since": "2026-11-28T02:50:00Z", "seconds": { "wanted": 24600 },
    });
    let bare = json!({ keys::HOLDER: "u/2026-11-28T02:30:00Z" });
    let mut rebooted = account();
    rebooted["evicted"] = json!(6);
    vec![
        node(&json!({ keys::LAST_REBOOT: rebooted.to_string() })),
        called(
            "called-off",
            &json!({ keys::LAST_REBOOT: called_off.to_string() }),
            &json!({}),
        ),
        called(
            "goes-on",
            &json!({ keys::REBOOT_ACCOUNT: goes_on.to_string(), keys::DRAIN_PROGRESS: "38 gone, 2 left" }),
            &json!({}),
        ),
        called("no-account", &bare, &json!({ keys::PHASE: "delaying" })),
    ]
}

fn events() -> Vec<Told> {
    let of = |node: &str, all: &[(&str, &str, &str)]| -> Vec<Told> {
        let told = all.iter().map(|(time, reason, note)| Told {
            node: node.to_owned(),
            ..told(time, reason, note)
        });
        told.collect()
    };
    let mut events = of(
        "n",
        &[
            ("02:04:58", "RebootLocked", "1 of 1 in pool default"),
            ("02:05:00", "RebootDraining", ""),
            (
                "02:06:30",
                "RebootDrainBlocked",
                "budget web/a allows no eviction",
            ),
            ("02:09:00", "RebootDrained", ""),
            ("02:10:01", "RebootDisturbed", "somebody uncordoned the node"),
            ("02:10:02", "RebootDraining", ""),
            ("02:10:40", "RebootDrained", ""),
            ("02:14:00", "RebootSealed", ""),
            ("02:14:30", "Rebooting", "the command was run"),
            ("02:19:00", "Rebooted", ""),
            ("02:19:40", "RebootNodeReady", ""),
            ("02:20:00", "RebootGivenBack", ""),
        ],
    );
    events.extend(of(
        "events-only",
        &[
            ("01:50:00", "RebootWanted", ""),
            ("01:51:00", "RebootDraining", ""),
            ("01:53:00", "RebootForced", "after 2 min"),
            ("01:53:00", "RebootSealed", ""),
            ("01:53:01", "Rebooting", ""),
            ("01:55:00", "RebootStuck", "the command had no effect"),
            ("01:58:00", "Rebooted", ""),
            ("01:58:10", "RebootGivenBack", ""),
        ],
    ));
    events
}

/// All that a history can tell of.
fn rich() -> History {
    let denial = Told {
        at: at("02:08:30"),
        count: 3,
        ..told("02:08:00", "Held", "Denied machines: held: node n is held")
    };
    let unseen = |what: &str, needs: Option<&str>, says: &str| Unseen {
        what: what.to_owned(),
        needs: needs.map(str::to_owned),
        says: says.to_owned(),
    };
    history(&Record {
        nodes: nodes(),
        told: events(),
        denials: vec![denial],
        logs: logs(),
        unseen: vec![
            unseen("the Events", Some("list events"), "bind the role cordonhold-view"),
            unseen("the webhook's log", None, "no such file"),
        ],
    })
}

#[test]
fn the_page_of_a_history_shows_each_reboot_and_all_that_is_known_of_it() {
    let page = page::of_history(&rich());
    assert_written("src/history/tests/page.html", &page, "shown");
}

#[test]
fn the_json_of_a_history_has_each_reboot_and_leaves_out_what_is_not_known() {
    let text = serde_json::to_string_pretty(&rich()).unwrap() + "\n";
    assert_written("src/history/tests/history.json", &text, "shown");
}

#[test]
fn a_page_without_reboots_says_so_and_has_no_empty_parts() {
    let nothing = history(&Record::default());
    assert_eq!(page::of_reboots(&nothing.reboots), "<p>No reboot is known.</p>\n");
    assert_eq!(
        (page::of_others(&[]), page::of_unseen(&[])),
        (String::new(), String::new())
    );
    let page = page::of_history(&nothing);
    assert!(page.contains("<h1>Reboots</h1>"), "{page}");
    assert!(!page.contains("<section"), "{page}");
}

#[test]
fn a_page_says_how_many_more_there_are_than_it_shows() {
    for (all, says) in [
        (49, ""),
        (50, ""),
        (51, "<p>Things that are not shown: 1.</p>\n"),
        (60, "<p>Things that are not shown: 10.</p>\n"),
    ] {
        assert_eq!(page::more(all, 50, "Things"), says, "of {all}");
    }
    let reboots = vec![Timeline::default(); 52];
    let page = page::of_reboots(&reboots);
    assert_eq!(page.matches("<section").count(), 50);
    assert!(page.ends_with("<p>Older reboots that are not shown: 2.</p>\n"));
    let other = rich().others.remove(0);
    let page = page::of_others(&vec![other; 51]);
    assert_eq!(page.matches("<tr>").count(), 50);
    assert!(page.contains("<p>More uncordons that are not shown: 1.</p>"));
}
