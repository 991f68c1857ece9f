//! What is left of an object or of a text in an archive for a bug report, which may be sent to strangers: no secrets, and of other people's
//! labels and annotations nothing.
//!
//! Objects are cut by a list of what stays, texts by patterns of what goes.
//! Not here: what is collected (the kubectl plugin). Secrets and `ConfigMaps` are not even read.

use std::sync::LazyLock;

use regex_lite::{Captures, Regex};
use serde_json::{Map, Value, json};

use crate::keys;

/// Stands for what was left out.
const LEFT_OUT: &str = "[left-out]";
/// Words in a name that make its value a secret.
const SECRET_WORDS: &str = "token|passw(?:or)?d|passphrase|[_-]pass|pwd|secret|(?:api|access|client|private|account|signing)[-_]?key|credential|authorization|signature";
/// Fields whose name has such a word, and whose value is a name.
const NAMES_OF_SECRETS: [&str; 1] = ["secretName"];
/// How the keys of kured's annotations begin.
const KUREDS: [&str; 2] = ["weave.works/kured", "kured.dev/"];
/// Labels and annotations of others that say how something was installed.
const TOLD: [&str; 3] = [
    "app.kubernetes.io/",
    "deployment.kubernetes.io/revision",
    "pod-security.kubernetes.io/",
];

/// What goes from a text, in this order.
struct Patterns {
    private_key: Regex,
    url: Regex,
    bearer: Regex,
    jwt: Regex,
    authorization: Regex,
    named: Regex,
    flag: Regex,
    is_named: Regex,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    let pattern = |text: &str| Regex::new(text).expect("the pattern is one of ours, and a test uses it");
    Patterns {
        private_key: pattern(
            r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
        ),
        url: pattern(r#"([A-Za-z][A-Za-z0-9+.-]*)://([^\s"<>\\]*)"#),
        bearer: pattern(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"),
        jwt: pattern(r"eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)*"),
        // Whatever its kind, to the end of the line or of the quoted text.
        authorization: pattern(r#"(?i)(authorization\\?["']?\s*[=:]\s*\\?["']?)[^"\n]+"#),
        named: pattern(&format!(
            r#"(?i)([A-Za-z0-9_.-]*(?:{SECRET_WORDS})[A-Za-z0-9_.-]*\\?["']?\s*[=:]\s*)(?:\\"[^"]*"|"(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s,}}]+)"#
        )),
        flag: pattern(&format!(
            r"(?i)(--?[A-Za-z0-9-]*(?:{SECRET_WORDS})[A-Za-z0-9-]*\s+)\S+"
        )),
        is_named: pattern(&format!("(?i)(?:{SECRET_WORDS})")),
    }
});

/// The text without tokens, passwords and private keys. Of an address of HTTP stay scheme, host and port, of any other its scheme: in those of
/// chats and mails each part may be a secret.
pub fn text(text: &str) -> String {
    let patterns = &*PATTERNS;
    let text = patterns.private_key.replace_all(text, LEFT_OUT);
    let text = patterns
        .url
        .replace_all(&text, |found: &Captures<'_>| address(&found[1], &found[2]));
    let text = patterns.bearer.replace_all(&text, format!("$1 {LEFT_OUT}"));
    let text = patterns.jwt.replace_all(&text, LEFT_OUT);
    let cut = format!("${{1}}{LEFT_OUT}");
    let text = patterns.authorization.replace_all(&text, cut.as_str());
    let text = patterns.named.replace_all(&text, cut.as_str());
    patterns.flag.replace_all(&text, cut.as_str()).into_owned()
}

/// Whether something in this text is a token, a password or a private key, by its shape or by its name. Addresses do not count.
pub fn names_a_secret(text: &str) -> bool {
    let patterns = &*PATTERNS;
    [
        &patterns.private_key,
        &patterns.bearer,
        &patterns.jwt,
        &patterns.authorization,
        &patterns.named,
        &patterns.flag,
    ]
    .iter()
    .any(|pattern| pattern.is_match(text))
}

fn address(scheme: &str, rest: &str) -> String {
    if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return format!("{scheme}://{LEFT_OUT}");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // A password that has one of these signs ends there for whoever reads it as an address.
    if rest.contains('@') && !authority.contains('@') {
        return format!("{scheme}://{LEFT_OUT}");
    }
    let host = authority.rsplit('@').next().unwrap_or_default();
    let more = if authority.len() < rest.len() { "/…" } else { "" };
    format!("{scheme}://{host}{more}")
}

/// An object of the installation. Of its metadata stay names, our own labels and annotations, and those that say how it was installed; the
/// arguments and variables of its containers have no secrets.
pub fn object(object: &Value) -> Value {
    let mut cut = walked(object, "");
    if let Some(metadata) = cut.get_mut("metadata") {
        *metadata = of_metadata(metadata);
    }
    if let Some(metadata) = cut.pointer_mut("/spec/template/metadata") {
        *metadata = of_metadata(metadata);
    }
    cut
}

/// Any value, with all its texts cut.
pub fn value(value: &Value) -> Value {
    walked(value, "")
}

/// A Node: its marks and what others read beside them, its conditions, and what the kubelet says of the machine.
pub fn node(node: &Value) -> Value {
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    let conditions: Vec<Value> = conditions
        .map(|condition| {
            kept(
                condition,
                &["type", "status", "lastTransitionTime", "lastHeartbeatTime"],
            )
        })
        .collect();
    let info = kept(
        &node["status"]["nodeInfo"],
        &[
            "bootID",
            "kubeletVersion",
            "kernelVersion",
            "osImage",
            "architecture",
            "containerRuntimeVersion",
        ],
    );
    json!({
        "metadata": of_metadata(&node["metadata"]),
        "spec": kept(&node["spec"], &["unschedulable", "taints"]),
        "status": { "conditions": conditions, "nodeInfo": info },
    })
}

/// An Event, or another object of which only texts are wanted.
pub fn event(event: &Value) -> Value {
    let fields = [
        "type",
        "reason",
        "message",
        "note",
        "count",
        "series",
        "firstTimestamp",
        "lastTimestamp",
        "eventTime",
        "reportingComponent",
        "reportingController",
        "reportingInstance",
        "involvedObject",
        "regarding",
        "action",
    ];
    walked(&kept(event, &fields), "")
}

/// These fields of an object.
fn kept(object: &Value, fields: &[&str]) -> Value {
    let there = fields
        .iter()
        .filter_map(|field| Some(((*field).to_owned(), object.get(*field)?.clone())));
    Value::Object(there.collect())
}

fn of_metadata(metadata: &Value) -> Value {
    let names = [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
    ];
    let mut cut = kept(metadata, &names);
    for map in ["labels", "annotations"] {
        let all = metadata[map].as_object().into_iter().flatten();
        let ours = all
            .filter(|(key, _)| is_told(key))
            .map(|(key, value)| (key.clone(), walked(value, "")));
        let ours: Map<String, Value> = ours.collect();
        if !ours.is_empty() {
            cut[map] = Value::Object(ours);
        }
    }
    cut
}

fn is_told(key: &str) -> bool {
    keys::is_ours(key) || KUREDS.iter().chain(&TOLD).any(|begin| key.starts_with(begin))
}

/// The value with all its texts cut. `under` is the name of the field that it is in.
fn walked(value: &Value, under: &str) -> Value {
    match value {
        // Base64 of certificates, which are public and have no address in them.
        Value::String(_) if under == "caBundle" => value.clone(),
        Value::String(_) if PATTERNS.is_named.is_match(under) && !NAMES_OF_SECRETS.contains(&under) => {
            json!(LEFT_OUT)
        }
        Value::String(said) => Value::String(text(said)),
        Value::Array(items) if ["args", "command"].contains(&under) => Value::Array(arguments(items)),
        Value::Array(items) => Value::Array(items.iter().map(|item| walked(item, under)).collect()),
        Value::Object(fields) if ["env", "httpHeaders"].contains(&under) => variable(fields),
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(key, _)| key.as_str() != "managedFields");
            Value::Object(
                fields
                    .map(|(key, value)| (key.clone(), walked(value, key)))
                    .collect(),
            )
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// Arguments. What follows a flag whose name says that it is a secret is one.
fn arguments(items: &[Value]) -> Vec<Value> {
    let is_secret = |item: &Value| {
        let flag = item
            .as_str()
            .filter(|text| text.starts_with('-') && !text.contains('='));
        flag.is_some_and(|flag| PATTERNS.is_named.is_match(flag))
    };
    let before = std::iter::once(&Value::Null).chain(items);
    let pairs = items.iter().zip(before);
    let cut = pairs.map(|(item, before)| {
        if is_secret(before) {
            json!(LEFT_OUT)
        } else {
            walked(item, "")
        }
    });
    cut.collect()
}

/// A variable, or a header of a probe. A reference to a Secret stays: it has a name, and no value.
fn variable(fields: &Map<String, Value>) -> Value {
    let mut cut = fields.clone();
    let name = fields.get("name").and_then(Value::as_str).unwrap_or_default();
    if let Some(value) = cut.get_mut("value") {
        *value = if PATTERNS.is_named.is_match(name) {
            json!(LEFT_OUT)
        } else {
            walked(value, "")
        };
    }
    Value::Object(cut)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "Zx81-s3cr3t";

    #[test]
    fn a_text_keeps_what_is_no_secret() {
        for (before, after) in [
            ("the drain is blocked by db/pg", "the drain is blocked by db/pg"),
            ("https://10.0.0.1:443", "https://10.0.0.1:443"),
            (
                "https://hooks.example.org/services/T0/B1/x",
                "https://hooks.example.org/…",
            ),
            (
                "https://jo:pw@prometheus:9090/api?x=y",
                "https://prometheus:9090/…",
            ),
            ("slack://token@channel", "slack://[left-out]"),
            ("--slack-channel=ops", "--slack-channel=ops"),
            ("--lock-on=lease", "--lock-on=lease"),
            ("/etc/cordonhold/tls/tls.key", "/etc/cordonhold/tls/tls.key"),
        ] {
            assert_eq!(text(before), after);
        }
    }

    #[test]
    fn a_secret_leaves_each_kind_of_text() {
        let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln";
        for said in [
            format!("slack://hook:{SECRET}@webhook"),
            format!("smtp://user:{SECRET}@mail.example.org:25/?from=a"),
            format!("https://user:{SECRET}@example.org/"),
            format!("https://example.org/bot{SECRET}/send?token={SECRET}"),
            format!("Authorization: Bearer {SECRET}"),
            format!("authorization: basic {SECRET}"),
            format!("--api-token={SECRET}"),
            format!("{{\"password\":\"{SECRET}\"}}"),
            format!("{{\\\"client_secret\\\": \\\"{SECRET}\\\"}}"),
            format!("-----BEGIN EC PRIVATE KEY-----\n{SECRET}\n-----END EC PRIVATE KEY-----"),
            format!("-----BEGIN PRIVATE KEY-----\n{SECRET}"),
            format!("the token is {jwt}"),
            format!("--password='{SECRET}'"),
            format!("password: 'a {SECRET}'"),
            format!("{{'password': '{SECRET}'}}"),
            format!("password=\"a {SECRET}\""),
            format!("password=a;{SECRET}"),
            format!("curl --token {SECRET} https://example.org"),
            format!("Authorization: token {SECRET}"),
            format!("authorization: ApiKey a, {SECRET}"),
            format!("SMTP_PASS={SECRET}"),
            format!("DB_PWD={SECRET}"),
            format!("client_key: {SECRET}"),
            format!("https://jo:a/{SECRET}@host/"),
            format!("https://jo:a#{SECRET}@host/"),
            format!("https://jo:a'{SECRET}@host/"),
            format!("slack://a'{SECRET}@c"),
        ] {
            let cut = text(&said);
            assert!(!cut.contains(SECRET) && !cut.contains("eyJ"), "{said}: {cut}");
        }
    }

    #[test]
    fn a_field_whose_name_says_that_it_is_a_secret_has_no_value() {
        let whole = json!({
            "password": SECRET, "volumeAttributes": { "clientSecret": SECRET }, "secretName": "tls",
            "httpGet": { "httpHeaders": [{ "name": "Authorization", "value": SECRET }, { "name": "Host", "value": "h" }] },
        });
        let cut = value(&whole);
        assert!(!cut.to_string().contains(SECRET), "{cut}");
        assert_eq!(cut["secretName"], "tls");
        assert_eq!(cut["httpGet"]["httpHeaders"][1]["value"], "h");
    }

    #[test]
    fn an_object_keeps_flags_and_loses_values_that_are_secrets() {
        let container = json!({
            "name": "agent", "image": "example.org/agent:1",
            "args": ["--period=1m", format!("--notify-url=slack://{SECRET}@x"), "--password", SECRET],
            "env": [
                { "name": "API_TOKEN", "value": SECRET },
                { "name": "URL", "value": format!("https://{SECRET}@h/") },
                { "name": "FROM", "valueFrom": { "secretKeyRef": { "name": "notify", "key": "url" } } },
                { "name": "MODE", "value": "audit" },
            ],
        });
        let applied =
            json!({ "kubectl.kubernetes.io/last-applied-configuration": SECRET, keys::PAUSE: "why" });
        let whole = json!({
            "metadata": { "name": "d", "annotations": applied, "labels": { "team": SECRET }, "managedFields": [SECRET] },
            "spec": { "template": {
                "metadata": { "annotations": { "other": SECRET }, "labels": { "app.kubernetes.io/name": "d" } },
                "spec": { "containers": [container] },
            } },
        });
        let cut = object(&whole);
        assert!(!cut.to_string().contains(SECRET), "{cut}");
        assert_eq!(cut["metadata"]["annotations"], json!({ keys::PAUSE: "why" }));
        let container = &cut["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["args"][0], "--period=1m");
        assert_eq!(container["args"][3], LEFT_OUT);
        assert_eq!(container["env"][2]["valueFrom"]["secretKeyRef"]["name"], "notify");
        assert_eq!(container["env"][3]["value"], "audit");
    }

    #[test]
    fn a_node_keeps_its_marks_and_nothing_of_others() {
        let whole = json!({
            "metadata": {
                "name": "n", "labels": { keys::PHASE: "draining", "team": SECRET },
                "annotations": { keys::HOLDER: "h", "weave.works/kured-reboot-in-progress": "t", "other": SECRET },
            },
            "spec": { "unschedulable": true, "providerID": SECRET, "taints": [] },
            "status": {
                "addresses": [{ "address": SECRET }], "images": [{ "names": [SECRET] }],
                "conditions": [{ "type": "Ready", "status": "True", "message": SECRET }],
                "nodeInfo": { "bootID": "b", "machineID": SECRET },
            },
        });
        let cut = node(&whole);
        assert!(!cut.to_string().contains(SECRET), "{cut}");
        assert_eq!(cut["metadata"]["labels"], json!({ keys::PHASE: "draining" }));
        assert_eq!(cut["metadata"]["annotations"].as_object().unwrap().len(), 2);
        assert_eq!(cut["status"]["nodeInfo"], json!({ "bootID": "b" }));
    }

    proptest! {
        /// Whatever stands around it: a URL of a chat keeps nothing behind its scheme, and cutting twice changes nothing more.
        #[test]
        fn a_url_of_a_chat_keeps_its_scheme_alone(before in "[a-z =]{0,8}", inside in "[A-Za-z0-9@:/?&=-]{1,20}") {
            let cut = text(&format!("{before} slack://Q{inside}Q"));
            prop_assert!(!cut.contains(&format!("Q{inside}Q")), "{}", cut);
            prop_assert_eq!(text(&cut), cut);
        }

        #[test]
        fn any_text_and_object_is_cut_without_a_panic(said in "\\PC{0,60}") {
            drop(text(&said));
            drop(object(&json!({ said.clone(): [said.clone()], "metadata": said.clone(), "env": [said] })));
        }
    }

    #[test]
    fn an_event_keeps_its_words_and_loses_what_it_is_not_asked_for() {
        let said = json!({
            "reason": "RebootBlocked", "note": format!("https://jo:{SECRET}@host/"), "count": 3, "regarding": { "name": "n" },
            "metadata": { "name": "x" },
        });
        let expected = json!({ "reason": "RebootBlocked", "note": "https://host/…", "count": 3, "regarding": { "name": "n" } });
        assert_eq!(event(&said), expected);
    }

    #[test]
    fn the_certificates_of_a_ca_bundle_stay_whole() {
        // Base64 that begins as what is cut elsewhere.
        let bundle = "QUJDRtoken==".to_owned();
        assert_ne!(text(&bundle), bundle);
        assert_eq!(
            walked(&json!({ "caBundle": bundle }), "")["caBundle"],
            bundle.as_str()
        );
    }

    #[test]
    fn what_follows_a_flag_with_its_value_is_no_secret() {
        let cut = walked(
            &json!({ "args": ["--api-token=x", "--mode=audit", "--api-token", "x", "token", "y"] }),
            "",
        );
        assert_eq!(
            cut["args"],
            json!([
                "--api-token=[left-out]",
                "--mode=audit",
                "--api-token",
                "[left-out]",
                "token",
                "y"
            ])
        );
    }
}
