//! What is read of a review, and the answer to each kind of bad review.

use cordonhold_shared::admission::{Exempt, Mode, OnDelete, Reason, ServiceAccount};
use serde_json::{Value, json};

use super::*;

mod cost;

fn policy() -> Policy {
    let (namespace, name) = ("cordonhold".to_owned(), "cordonhold-agent".to_owned());
    Policy {
        modes: Mode::Enforce.into(),
        agent: ServiceAccount { namespace, name },
        exempt: Exempt::default(),
        on_delete: OnDelete::Flag,
        kured: None,
        replica: "webhook-0".to_owned(),
    }
}

fn node(unschedulable: bool) -> Value {
    json!({
        "metadata": {
            "name": "n", "uid": "u", "labels": {keys::PHASE: "delaying", "other": "x"},
            "annotations": {keys::HOLDER: "u/2026-01-01T00:00:00Z", "other": "y"},
        },
        "spec": {
            "unschedulable": unschedulable,
            "taints": [{"key": keys::REBOOTING, "effect": "NoSchedule"}, {"key": "other", "effect": "NoExecute"}],
        },
    })
}

fn review() -> Value {
    let extra = json!({keys::NODE_NAME_EXTRA: ["m"], "k": ["v", "w"]});
    json!({
        "apiVersion": API_VERSION, "kind": KIND,
        "request": {
            "uid": "r-1", "kind": {"group": "", "version": "v1", "kind": "Node"}, "name": "n", "operation": "UPDATE",
            "userInfo": {"username": "who", "uid": "w", "groups": ["g"], "extra": extra},
            "object": node(false), "oldObject": node(true), "dryRun": true,
            "options": {"kind": "PatchOptions", "fieldManager": "kubectl-\"edit\""},
        },
    })
}

/// The review as the API server writes it, with the uid first.
fn body(mut review: Value) -> Vec<u8> {
    let request = review.get_mut("request").and_then(Value::as_object_mut);
    let uid = request.and_then(|request| request.remove("uid"));
    let text = review.to_string();
    match uid {
        Some(uid) => text
            .replacen("\"request\":{", &format!("\"request\":{{\"uid\":{uid},"), 1)
            .into_bytes(),
        None => text.into_bytes(),
    }
}

/// The review with another value at this JSON pointer.
fn with(pointer: &str, value: Value) -> Vec<u8> {
    let mut review = review();
    *review.pointer_mut(pointer).unwrap() = value;
    body(review)
}

/// The review without this field of the object at this JSON pointer.
fn without(parent: &str, key: &str) -> Vec<u8> {
    let mut review = review();
    let parent = review.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    assert!(parent.remove(key).is_some());
    body(review)
}

fn replaced(from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(body(review())).unwrap();
    assert!(text.contains(from), "{text}");
    text.replacen(from, to, 1).into_bytes()
}

#[test]
fn what_the_decision_needs_is_read_and_nothing_else() {
    let review = read(&body(review()), &policy()).unwrap();
    assert_eq!(
        (
            review.uid.as_str(),
            review.operation.as_str(),
            review.request.is_dry_run
        ),
        ("r-1", "UPDATE", true)
    );
    assert_eq!(
        (review.verb, review.field_manager.as_str()),
        ("patch", "kubectl-\"edit\"")
    );
    let requester = &review.request.requester;
    assert_eq!((requester.user.as_str(), requester.uid.as_str()), ("who", "w"));
    assert_eq!(
        (&requester.groups, &requester.node_claim),
        (&vec!["g".to_owned()], &vec!["m".to_owned()])
    );
    assert_eq!(requester.extra["k"], ["v", "w"]);
    let Operation::UpdateNode { old, new } = &review.request.operation else {
        panic!()
    };
    assert_eq!((old.name(), old.metadata.uid.as_str()), ("n", "u"));
    assert_eq!((old.spec.unschedulable, new.spec.unschedulable), (true, false));
    assert_eq!(
        (old.label(keys::PHASE), old.annotation(keys::HOLDER)),
        (Some("delaying"), Some("u/2026-01-01T00:00:00Z"))
    );
    assert!(old.is_tainted(keys::REBOOTING));
    assert_eq!(
        (
            old.metadata.labels.len(),
            old.metadata.annotations.len(),
            old.spec.taints.len()
        ),
        (1, 1, 1)
    );
}

/// A patch can add a taint only to a list that is there, and a write of the status is no uncordon.
#[test]
fn whether_there_are_taints_and_whether_it_is_the_status_is_read() {
    let reads = |body: &[u8]| {
        let review = read(body, &policy()).unwrap();
        (review.has_taints, review.request.is_of_status)
    };
    assert_eq!(reads(&body(review())), (true, false));
    assert_eq!(
        reads(&with("/request/object/spec/taints", json!([]))),
        (true, false)
    );
    assert_eq!(
        reads(&with("/request/object/spec/taints", Value::Null)),
        (false, false)
    );
    assert_eq!(reads(&without("/request/object/spec", "taints")), (false, false));
    let of_status = |name: &str| {
        let mut review = review();
        review["request"]["subResource"] = json!(name);
        reads(&body(review))
    };
    assert_eq!(of_status("status"), (true, true));
    assert_eq!(of_status(""), (true, false));
}

#[test]
fn null_is_empty() {
    for place in [
        "metadata/labels",
        "metadata/annotations",
        "spec/taints",
        "spec/unschedulable",
        "metadata",
        "spec",
    ] {
        let nulled = with(&format!("/request/object/{place}"), Value::Null);
        assert!(read(&nulled, &policy()).is_ok(), "{place}");
    }
    // As Go writes a nil slice.
    for place in ["groups", "extra", "extra/k"] {
        let nulled = with(&format!("/request/userInfo/{place}"), Value::Null);
        assert!(read(&nulled, &policy()).is_ok(), "{place}");
    }
    let at_most = with("/request/userInfo/groups", json!(vec!["g"; 1_000]));
    assert_eq!(answer(&at_most), Answer::Judged);
}

/// As long as anything that the API server could send.
const LONG: usize = 3 * 1024 * 1024;

/// How a bad review is answered.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// Judged as if nothing were wrong.
    Judged,
    /// Denied as `malformed-review`, with its own uid.
    Denied,
    /// 400, because there is no uid to answer to.
    BadRequest,
}

fn answer(body: &[u8]) -> Answer {
    match read(body, &policy()) {
        Ok(_) => Answer::Judged,
        Err(Unreadable { head, why }) => {
            let Some(uid) = head.uid else {
                return Answer::BadRequest;
            };
            assert_eq!(uid, "r-1");
            let verdict = Verdict::unjudged(Reason::MalformedReview, Mode::Enforce, &why);
            let rendered = render(&uid, &verdict);
            assert!(rendered.len() < 4096, "an answer at any length");
            let rendered: Value = serde_json::from_slice(&rendered).unwrap();
            assert_eq!(
                (
                    &rendered["response"]["allowed"],
                    &rendered["response"]["status"]["code"]
                ),
                (&json!(false), &json!(403))
            );
            Answer::Denied
        }
    }
}

type Row = (&'static str, Answer, Vec<Vec<u8>>);

/// Each row of the page's table of bad reviews, with bodies of that kind.
fn bad_reviews() -> impl Iterator<Item = Row> {
    let rows = broken().into_iter().chain(misdirected());
    rows.chain(oversized()).chain(misshapen())
}

fn broken() -> Vec<Row> {
    let whole = body(review());
    let mut not_utf8 = replaced("\"other\":\"x\"", "\"other\":\"?\"");
    let question = not_utf8.iter().position(|byte| *byte == b'?').unwrap();
    not_utf8[question] = 0xff;
    let start: &[u8] = br#"{"kind":"AdmissionReview","request" : { "uid" : "r-1", "obj"#;
    let no_start: &[u8] = br#"{"kind":"AdmissionReview","requ"#;
    vec![
        (
            "cut off, not JSON or not UTF-8, but its uid can be found",
            Answer::Denied,
            vec![whole[..whole.len() - 1].to_vec(), start.to_vec(), not_utf8],
        ),
        (
            "cut off, not JSON or not UTF-8, and no uid can be found",
            Answer::BadRequest,
            vec![Vec::new(), b"[]".to_vec(), b"\xff".to_vec(), no_start.to_vec()],
        ),
        (
            "a uid that is missing, empty, not a string, or longer than 128 characters",
            Answer::BadRequest,
            vec![
                without("/request", "uid"),
                with("/request/uid", json!("")),
                with("/request/uid", json!(7)),
                with("/request/uid", json!("u".repeat(129))),
                without("", "request"),
            ],
        ),
    ]
}

fn misdirected() -> Vec<Row> {
    let long = "x".repeat(LONG);
    vec![
        (
            "another API version or kind",
            Answer::Denied,
            vec![
                with("/apiVersion", json!("admission.k8s.io/v1beta1")),
                with("/kind", json!("x".repeat(4_096))),
                without("", "apiVersion"),
            ],
        ),
        (
            "a resource or operation that the configurations do not name",
            Answer::Denied,
            vec![
                with("/request/kind/kind", json!("Pod")),
                with("/request/kind/group", json!("apps")),
                with("/request/operation", json!("CONNECT")),
                with("/request/operation", json!(long)),
            ],
        ),
        (
            "no `object`, `oldObject` or `userInfo` where it is needed",
            Answer::Denied,
            vec![
                without("/request", "object"),
                with("/request/oldObject", Value::Null),
                without("/request", "userInfo"),
            ],
        ),
    ]
}

/// Values that would take more memory than they have bytes on the wire, or would be kept.
fn oversized() -> Vec<Row> {
    let many = |count: usize| json!(vec![""; count]);
    let group = "g".repeat(128 * 1_024);
    let keys = |count: usize, values: usize| -> Value {
        (0..count)
            .map(|number| (number.to_string(), many(values)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    vec![(
        "over 1 KiB in a name or uid of the user or the Node, 256 KiB in any string that is read, 2 MiB in the name of a field, 128 KiB in groups and extra together; over 1,000 groups, 100 keys in extra, or 100 values for one key",
        Answer::Denied,
        vec![
            with("/request/userInfo/username", json!("u".repeat(1_025))),
            with("/request/userInfo/uid", json!("u".repeat(1_025))),
            with("/request/oldObject/metadata/name", json!("n".repeat(1_025))),
            with("/request/oldObject/metadata/uid", json!("u".repeat(1_025))),
            with("/request/userInfo/groups", json!([group])),
            with("/request/userInfo/extra", json!({"k": [group]})),
            with("/request/userInfo/groups", many(1_001)),
            with("/request/userInfo/extra", keys(1, 101)),
            with("/request/userInfo/extra", keys(101, 1)),
            // Nothing but empty strings.
            with("/request/userInfo/extra", keys(100, 100)),
            with(
                "/request/object/metadata/annotations",
                json!({keys::HOLDER: "h".repeat(256 * 1_024 + 1)}),
            ),
            with(
                "/request/object/metadata/labels",
                json!({keys::PHASE: "p".repeat(256 * 1_024 + 1)}),
            ),
            // Each has an escape, so that it cannot be borrowed.
            with(
                "/request/object/metadata/labels",
                json!({"k".repeat(2 * 1_024 * 1_024) + "\n": "x"}),
            ),
            with(
                "/request/userInfo/groups",
                json!(["g".repeat(256 * 1_024) + "\n"]),
            ),
        ],
    )]
}

fn misshapen() -> Vec<Row> {
    let long = "x".repeat(LONG);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    vec![
        (
            "a field that is read has the wrong type",
            Answer::Denied,
            vec![
                with("/request/object/metadata/labels", json!({keys::PHASE: 1})),
                with("/request/object/metadata/annotations", json!(["a"])),
                with("/request/object/spec/taints", json!([{"key": 1, "effect": "e"}])),
                with("/request/object/spec", json!(long)),
                with("/request/object/spec/unschedulable", json!("true")),
                with("/request/oldObject/spec/taints", json!({})),
                replaced("\"labels\":{", &format!("\"labels\":{deep},\"annotations\":{{")),
            ],
        ),
        (
            "a field that is read occurs twice",
            Answer::Denied,
            vec![
                replaced(
                    "\"unschedulable\":true",
                    "\"unschedulable\":true,\"unschedulable\":false",
                ),
                replaced("\"dryRun\":true", "\"dryRun\":true,\"dryRun\":false"),
            ],
        ),
        (
            "a label or annotation occurs twice",
            Answer::Judged,
            vec![replaced("\"other\":\"x\"", "\"other\":\"x\",\"other\":\"z\"")],
        ),
        (
            "unknown fields, however deeply nested and long",
            Answer::Judged,
            vec![
                replaced("\"dryRun\"", &format!("\"newer\":{deep},\"dryRun\"")),
                replaced(
                    "\"unschedulable\"",
                    &format!("\"newer\":\"{long}\",\"unschedulable\""),
                ),
                replaced("\"other\":\"x\"", &format!("\"other\":\"{long}\"")),
            ],
        ),
    ]
}

/// What others put on a Node is not kept, so there cannot be too much of it.
#[test]
fn found_s9_s10_what_nobody_reads_is_passed_over_however_much_of_it_there_is() {
    let mut review = review();
    let mut taints: Vec<Value> = (0..70_000)
        .map(|number| json!({"key": format!("t{number}"), "effect": "NoSchedule"}))
        .collect();
    taints.push(json!({"key": keys::REBOOTING, "effect": "NoExecute"}));
    review["request"]["object"]["spec"]["taints"] = json!(taints);
    taints.push(json!({"key": keys::REBOOTING, "effect": "NoSchedule"}));
    review["request"]["oldObject"]["spec"]["taints"] = json!(taints);
    for place in ["labels", "annotations"] {
        // That goes for keys too that begin like ours.
        let entries = review["request"]["object"]["metadata"][place]
            .as_object_mut()
            .unwrap();
        for number in 0..60_000 {
            drop(entries.insert(format!("{}{number}", keys::DOMAIN), json!("x")));
        }
        drop(entries.insert("newer".to_owned(), json!({"than": ["this"]})));
    }
    // As the API server escapes it.
    let message = "\\u003c".repeat(700_000);
    let text = String::from_utf8(body(review)).unwrap();
    let text = text.replacen(
        "\"spec\":",
        &format!("\"status\":{{\"conditions\":[{{\"message\":\"{message}\"}}]}},\"spec\":"),
        1,
    );
    let review = read(text.as_bytes(), &policy()).unwrap();
    let Operation::UpdateNode { old, new } = review.request.operation else {
        panic!()
    };
    assert!(old.is_tainted(keys::REBOOTING) && !new.is_tainted(keys::REBOOTING));
    for kept in [
        old.spec.taints.len(),
        new.metadata.labels.len(),
        new.metadata.annotations.len(),
    ] {
        assert_eq!(kept, 1);
    }
    assert_eq!(new.label(keys::PHASE), Some("delaying"));
}

#[test]
fn found_s9_a_review_says_whose_it_is_before_it_breaks_off() {
    let whole = concat!(
        r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"r-1","kind":{"group":"","version":"v1","kind":"Node"},"#,
        r#""name":"n","operation":"DELETE","userInfo":{"username":"who","groups":["g"]},"object":null,"oldObject":{"metadata":{"uid":"other","name":"other"}},"uid":"late"}}"#
    );
    let head = Head {
        uid: Some("r-1".to_owned()),
        operation: "DELETE".to_owned(),
        name: "n".to_owned(),
        user: "who".to_owned(),
    };
    let user = whole.find("},\"object\"").unwrap();
    for end in user..=whole.len() {
        assert_eq!(Head::of(&whole.as_bytes()[..end]), head, "{}", &whole[..end]);
    }
    // A string that breaks off does not count.
    for end in 0..user {
        let found = Head::of(&whole.as_bytes()[..end]);
        for (found, whole) in [
            (found.operation, &head.operation),
            (found.name, &head.name),
            (found.user, &head.user),
            (found.uid.unwrap_or_default(), &"r-1".to_owned()),
        ] {
            assert!(found.is_empty() || found == *whole, "{found}");
        }
    }
}

#[test]
fn a_create_is_read_with_the_node_that_is_to_be() {
    let mut review = review();
    review["request"]["operation"] = json!("CREATE");
    review["request"]["oldObject"] = Value::Null;
    review["request"]["options"]["kind"] = json!("CreateOptions");
    let review = read(&body(review), &policy()).unwrap();
    assert_eq!((review.operation.as_str(), review.verb), ("CREATE", "create"));
    let Operation::CreateNode { new } = review.request.operation else {
        panic!()
    };
    assert_eq!((new.name(), new.label(keys::PHASE)), ("n", Some("delaying")));
}

#[test]
fn each_kind_of_bad_review_has_its_answer() {
    for (kind, expected, bodies) in bad_reviews() {
        for body in bodies {
            let start = String::from_utf8_lossy(&body[..body.len().min(400)]).into_owned();
            assert_eq!(answer(&body), expected, "{kind}: {start}");
        }
    }
}

#[test]
fn the_page_has_each_kind_of_bad_review_with_its_answer() {
    let (_, table) = include_str!("../../../docs/webhook.md")
        .split_once("| what is wrong | answer |\n| --- | --- |\n")
        .unwrap();
    let table: Vec<&str> = table.lines().take_while(|row| row.starts_with('|')).collect();
    let rows: Vec<String> = bad_reviews()
        .map(|(kind, answer, _)| {
            let answer = match answer {
                Answer::Judged => "judged as usual",
                Answer::Denied => "denied, `malformed-review`",
                Answer::BadRequest => "400",
            };
            format!("| {kind} | {answer} |")
        })
        .collect();
    assert_eq!(table, rows);
}

#[test]
fn the_last_of_two_equal_keys_counts() {
    let twice = replaced(
        "\"cordonhold.dev/phase\":\"delaying\"",
        "\"cordonhold.dev/phase\":\"a\",\"cordonhold.dev/phase\":\"b\"",
    );
    let review = read(&twice, &policy()).unwrap();
    let Operation::UpdateNode { new, .. } = review.request.operation else {
        panic!()
    };
    assert_eq!(new.label(keys::PHASE), Some("b"));
}
