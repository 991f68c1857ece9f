//! Messages of a running webhook and of `explain` about answers of the cluster.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use serde_json::{Value, json};

use super::super::client::post;
use super::super::cluster::{Cluster, Says};
use super::super::kubeconfig::{base64, explain, kubeconfig};
use super::super::port::PATIENCE;
use super::super::process::{BINARY, Files, Webhook, issue};
use super::super::reviews::{node, review};
use super::super::tls::of_version_1;
use super::{Parts, check};

const KURED: &str = "GET /apis/apps/v1/namespaces/kube-system/daemonsets/kured";
const DAEMON_SETS: &str = "GET /apis/apps/v1/daemonsets?";
const CONFIGURATION: &str =
    "GET /apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/cordonhold";
const ASK_PERMISSION: &str = "POST /apis/authorization.k8s.io/v1/subjectaccessreviews";
/// The name by which the API server calls the webhook.
const NAME: &str = "cordonhold-webhook.cordonhold.svc";
const DAY: Duration = Duration::from_hours(24);

/// The beginning of a request line, and the answer to such a request.
type Rule = (&'static str, Says);

/// An API server that answers by these rules, and every other request with 404.
fn cluster(says: Vec<Rule>) -> Cluster {
    Cluster::answering(move |line| {
        let said = says.iter().find(|(start, _)| line.starts_with(start));
        said.map_or_else(|| Says::status(404, "not found"), |(_, says)| says.clone())
    })
}

fn config(api: &Cluster) -> String {
    let server = json!({"server": format!("http://{}", api.address)});
    kubeconfig(&server, &json!({"token": "t"}))
}

/// The files of a webhook that uses this API server, with any certificate.
fn files(api: &Cluster) -> Files {
    let files = Files::new(&issue());
    files.write("kubeconfig", &config(api));
    files
}

/// Checks that the first matching line of the log has these parts. The webhook keeps running meanwhile.
fn waits_with(
    files: &Files,
    words: &[&str],
    is_meant: fn(&Value, &str) -> bool,
    what: &str,
    parts: Parts<'_>,
) {
    let mut command = Command::new(BINARY);
    let command = files.given(command.args(words)).stdout(Stdio::piped());
    let mut webhook = command.spawn().unwrap();
    let log = BufReader::new(webhook.stdout.take().unwrap()).lines();
    let (tell, told) = channel();
    let meant = what.to_owned();
    let reader = std::thread::spawn(move || {
        let mut all = String::new();
        for text in log.map_while(Result::ok) {
            let line: Value = serde_json::from_str(&text).unwrap();
            all = all + "\n" + &text;
            if is_meant(&line, &meant) {
                // Once is enough, and the test may be over.
                drop(tell.send(text));
            }
        }
        all
    });
    let line = told.recv_timeout(PATIENCE);
    let still_runs = webhook.try_wait().unwrap().is_none();
    webhook.kill().unwrap();
    let _ = webhook.wait().unwrap();
    let log = reader.join().unwrap();
    let line = line.unwrap_or_else(|_| panic!("{what} is not in the log:{log}"));
    assert!(still_runs, "{line}");
    for part in parts {
        assert!(line.contains(part), "{what}: {part:?} is not in {line}");
    }
}

fn begins(line: &Value, text: &str) -> bool {
    line["message"]
        .as_str()
        .is_some_and(|message| message.starts_with(text))
}

fn is_problem(line: &Value, code: &str) -> bool {
    line["problem"] == code
}

/// Runs all rows in parallel.
fn all<T: Send>(table: Vec<T>, row: impl Fn(T) + Send + Copy) {
    std::thread::scope(|scope| {
        for it in table {
            drop(scope.spawn(move || row(it)));
        }
    });
}

/// A CA, and a certificate with its key, each with the row's change.
fn pair(of_ca: fn(&mut CertificateParams), of_leaf: fn(&mut CertificateParams)) -> [String; 3] {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    of_ca(&mut params);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    of_leaf(&mut params);
    let key = KeyPair::generate().unwrap();
    [
        ca.pem(),
        params.signed_by(&key, &ca).unwrap().pem(),
        key.serialize_pem(),
    ]
}

fn as_it_is(_: &mut CertificateParams) {}

fn ends_in(params: &mut CertificateParams, time: Duration) {
    params.not_after = (SystemTime::now() + time).into();
}

fn has_ended(params: &mut CertificateParams) {
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
}

fn is_early(params: &mut CertificateParams) {
    params.not_before = rcgen::date_time_ymd(4000, 1, 1);
}

/// A configuration with one webhook that has this `caBundle`.
fn configuration(bundle: Option<&str>) -> Says {
    let service = json!({"name": "cordonhold-webhook", "namespace": "cordonhold"});
    let client = json!({"service": service, "caBundle": bundle.map(base64)});
    let webhook = json!({
        "name": "nodes.cordonhold.dev", "clientConfig": client,
        "admissionReviewVersions": ["v1"], "sideEffects": "None",
    });
    Says::ok(json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "cordonhold"}, "webhooks": [webhook],
    }))
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn found_e8_every_certificate_that_the_api_server_does_not_take_names_thing_try_and_fix() {
    const THING: &str = "the serving certificate";
    const SECRET: &str = "kubectl -n cordonhold create secret tls";
    type Row = (fn(&mut CertificateParams), &'static str, Parts<'static>);
    let table: Vec<Row> = vec![
        (
            |leaf| leaf.subject_alt_names.clear(),
            "certificate-without-names",
            [THING, "has no subject alternative name", "issue it anew for"],
        ),
        (
            |leaf| {
                leaf.subject_alt_names = CertificateParams::new(["a.example".to_owned()])
                    .unwrap()
                    .subject_alt_names;
            },
            "certificate-for-other-name",
            [
                "the serving certificate is for a.example",
                "expects the name cordonhold-webhook.cordonhold.svc",
                "issue it anew for that name",
            ],
        ),
        (
            |leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            "certificate-not-for-servers",
            [
                THING,
                "extended key usage without serverAuth",
                "issue it anew with serverAuth",
            ],
        ),
        (
            is_early,
            "certificate-not-yet-valid",
            [THING, "is valid only from 4000", "look at the clock of this node"],
        ),
        (
            |leaf| ends_in(leaf, 20 * DAY),
            "certificate-ends-in-30-days",
            [THING, "in 19 d", SECRET],
        ),
        (
            |leaf| ends_in(leaf, 5 * DAY),
            "certificate-ends-in-7-days",
            [THING, "in 4 d", SECRET],
        ),
        (
            |leaf| ends_in(leaf, DAY / 2),
            "certificate-ends-in-1-day",
            [THING, "in 11 h", SECRET],
        ),
        (
            has_ended,
            "certificate-ended",
            [THING, "ended 2020-01-01T00:00:00Z", SECRET],
        ),
    ];
    all(table, |(change, problem, parts)| {
        let [ca, cert, key] = pair(as_it_is, change);
        let files = files(&cluster(vec![(CONFIGURATION, configuration(Some(&ca)))]));
        files.write("tls.crt", &cert);
        files.write("tls.key", &key);
        waits_with(&files, &[], is_problem, problem, parts);
    });
    let key = KeyPair::generate().unwrap();
    let files = files(&cluster(vec![]));
    files.write("tls.crt", &of_version_1(&key));
    files.write("tls.key", &key.serialize_pem());
    let parts = [
        "the serving certificate is of X.509 version 1",
        "the API server refuses",
        "-extfile",
    ];
    waits_with(&files, &[], is_problem, "certificate-version-1", parts);
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn found_e8_every_configuration_by_which_nobody_is_trusted_names_thing_try_and_fix() {
    const THING: &str = "the caBundle of nodes.cordonhold.dev in the configuration cordonhold";
    const PATCH: &str = "kubectl patch $kind cordonhold";
    type Row = (
        fn(&mut CertificateParams),
        fn(&str) -> Says,
        &'static str,
        Parts<'static>,
    );
    let signed: fn(&str) -> Says = |ca| configuration(Some(ca));
    let table: Vec<Row> = vec![
        (
            as_it_is,
            |_| configuration(None),
            "ca-missing",
            [THING, "is missing, so the API server", PATCH],
        ),
        (
            as_it_is,
            |_| configuration(Some("garbage")),
            "ca-unreadable",
            [THING, "cannot be read (it has no certificate)", PATCH],
        ),
        (
            as_it_is,
            |_| configuration(Some(&issue().ca_pem)),
            "ca-is-another",
            [THING, "has not signed the certificate that is served", PATCH],
        ),
        (
            is_early,
            signed,
            "ca-not-yet-valid",
            [THING, "is not valid yet", PATCH],
        ),
        (
            |ca| ends_in(ca, 20 * DAY),
            signed,
            "ca-ends-in-30-days",
            [THING, "in 19 d", PATCH],
        ),
        (
            |ca| ends_in(ca, 5 * DAY),
            signed,
            "ca-ends-in-7-days",
            [THING, "in 4 d", PATCH],
        ),
        (
            |ca| ends_in(ca, DAY / 2),
            signed,
            "ca-ends-in-1-day",
            [THING, "in 11 h", PATCH],
        ),
        (
            has_ended,
            signed,
            "ca-ended",
            [THING, "ended 2020-01-01T00:00:00Z", PATCH],
        ),
        (
            as_it_is,
            |_| Says::status(404, "not found"),
            "configuration-missing",
            [
                "there is no ValidatingWebhookConfiguration cordonhold",
                "every uncordon passes",
                "apply it, or name another with --webhook-configuration",
            ],
        ),
    ];
    all(table, |(of_ca, says, problem, parts)| {
        let [ca, cert, key] = pair(of_ca, as_it_is);
        let files = files(&cluster(vec![(CONFIGURATION, says(&ca))]));
        files.write("tls.crt", &cert);
        files.write("tls.key", &key);
        waits_with(&files, &[], is_problem, problem, parts);
    });
}

/// A DaemonSet that looks like kured's.
fn kured(namespace: &str) -> Value {
    json!({"metadata": {"namespace": namespace, "name": "k", "labels": {"app.kubernetes.io/name": "kured"}}})
}

fn listed(kureds: &[Value]) -> Says {
    Says::ok(json!({"metadata": {"resourceVersion": "1"}, "items": kureds}))
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn found_e8_wherever_kured_is_not_and_cannot_be_looked_for_is_named_with_the_fix() {
    const MISSING: &str = "there is no daemonset kube-system/kured";
    const WATCH: &str = "the watch of kured's DaemonSet failed and is tried again";
    const THING: &str = "\"daemonset\":\"kube-system/kured\"";
    const ALLOW: &str = "allow the webhook's ServiceAccount to get, list and watch daemonsets";
    let table: Vec<(Vec<Rule>, &str, Parts<'_>)> = vec![
        (
            vec![(DAEMON_SETS, listed(&[]))],
            MISSING,
            [
                MISSING,
                "no other looks like kured",
                "or leave out --protect-kured",
            ],
        ),
        (
            vec![(DAEMON_SETS, listed(&[kured("ops")]))],
            MISSING,
            [
                MISSING,
                "taken to be daemonset ops/k",
                "--ds-namespace=ops --ds-name=k",
            ],
        ),
        (
            vec![(DAEMON_SETS, listed(&[kured("a"), kured("b")]))],
            MISSING,
            [
                MISSING,
                "daemonset a/k and daemonset b/k look like kured",
                "name one with --ds-namespace",
            ],
        ),
        (
            vec![(DAEMON_SETS, Says::status(403, "no"))],
            MISSING,
            [MISSING, "may not look elsewhere", "kubectl create clusterrole"],
        ),
        (
            vec![(KURED, Says::status(401, "Unauthorized"))],
            WATCH,
            [
                THING,
                "Unauthorized (code 401)",
                "check the way to the API server",
            ],
        ),
        (
            vec![(KURED, Says::status(403, "daemonsets is forbidden"))],
            WATCH,
            [THING, "daemonsets is forbidden (code 403)", ALLOW],
        ),
        (
            vec![(KURED, Says::status(410, "gone"))],
            WATCH,
            [THING, "gone (code 410)", ALLOW],
        ),
        (
            vec![(KURED, Says::status(500, "no leader"))],
            WATCH,
            [THING, "no leader (code 500)", ALLOW],
        ),
        (
            vec![(KURED, Says::ok(json!("text")))],
            WATCH,
            [THING, "invalid type", "check the way to the API server"],
        ),
        (
            vec![(KURED, Says::silence())],
            WATCH,
            [
                THING,
                "the API server did not answer within 10s",
                "check the way to the API server",
            ],
        ),
        (
            vec![(KURED, Says::status(403, "no"))],
            "not ready",
            [
                "kured-lock: kured's DaemonSet",
                "has not been read yet",
                "the line of its watch in the log says why",
            ],
        ),
    ];
    all(table, |(says, message, parts)| {
        waits_with(
            &files(&cluster(says)),
            &["--protect-kured=lock"],
            begins,
            message,
            parts,
        );
    });
    let files = Files::new(&issue());
    let parts = [THING, "https://127.0.0.1:1: ", "check the way to the API server"];
    waits_with(&files, &["--protect-kured=lock"], begins, WATCH, parts);
}

#[test]
fn found_e8_every_file_that_is_not_taken_over_names_thing_try_and_fix() {
    const PAIR: &str = "kept the last good certificate";
    let other = issue().cert_pem;
    let table: Vec<(&str, Option<&str>, &str, Parts<'_>)> = vec![
        (
            "tls.crt",
            None,
            PAIR,
            ["tls.crt", "No such file", "--tls-cert-file"],
        ),
        (
            "tls.crt",
            Some("garbage"),
            PAIR,
            ["tls.crt", "no readable PEM certificate", "--tls-cert-file"],
        ),
        (
            "tls.key",
            Some("garbage"),
            PAIR,
            ["tls.key", "no readable PEM private key", "--tls-private-key-file"],
        ),
        (
            "tls.crt",
            Some(&other),
            PAIR,
            ["tls.crt", "do not belong together", "issue both anew"],
        ),
        (
            "ca.crt",
            Some("garbage"),
            "kept the last good client CAs",
            ["ca.crt", "no usable PEM certificate", "--client-ca-file"],
        ),
    ];
    all(table, |(file, contents, message, parts)| {
        let issued = issue();
        let files = Files::new(&issued);
        files.write("ca.crt", &issued.ca_pem);
        let ca = format!("--client-ca-file={}", files.path("ca.crt").display());
        let (cert, key) = (files.path("tls.crt"), files.path("tls.key"));
        let mut webhook = Webhook::start_on(&cert, &key, &files, issued, &[&ca]);
        match contents {
            Some(contents) => files.write(file, contents),
            None => std::fs::remove_file(files.path(file)).unwrap(),
        }
        let line = webhook.log_line(message).to_string();
        for part in parts {
            assert!(line.contains(part), "{file}: {part:?} is not in {line}");
        }
    });
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
async fn found_e8_every_lookup_that_brings_nothing_names_thing_try_and_fix() {
    const RIGHT: &str = "failed to look up whether the requester may override";
    const LOCK: &str = "failed to look up the lock on daemonset kube-system/kured";
    const GET_LOCK: &str = "check --ds-namespace and --ds-name";
    const CREATE: &str = "allow the webhook's ServiceAccount to create subjectaccessreviews";
    let cancel = review(&node(true, None), &node(true, Some("x y")));
    let plain = |unschedulable: bool| json!({"metadata": {"name": "n", "uid": "u"}, "spec": {"unschedulable": unschedulable}});
    let uncordon = review(&plain(true), &plain(false));
    let table: Vec<(&'static str, Says, &String, Parts<'_>)> = vec![
        (
            ASK_PERMISSION,
            Says::status(403, "subjectaccessreviews is forbidden"),
            &cancel,
            [RIGHT, "subjectaccessreviews is forbidden (code 403)", CREATE],
        ),
        (
            ASK_PERMISSION,
            Says::status(500, "no leader"),
            &cancel,
            [RIGHT, "no leader (code 500)", CREATE],
        ),
        (
            ASK_PERMISSION,
            Says::ok(json!("text")),
            &cancel,
            [RIGHT, "invalid type", CREATE],
        ),
        (
            ASK_PERMISSION,
            Says::silence(),
            &cancel,
            [
                RIGHT,
                "the API server did not answer within 2s",
                "look at its load",
            ],
        ),
        (
            KURED,
            Says::status(403, "daemonsets is forbidden"),
            &uncordon,
            [LOCK, "daemonsets is forbidden (code 403)", GET_LOCK],
        ),
        (
            KURED,
            Says::status(500, "no leader"),
            &uncordon,
            [LOCK, "no leader (code 500)", GET_LOCK],
        ),
        (
            KURED,
            Says::silence(),
            &uncordon,
            [
                LOCK,
                "the API server did not answer within 2s",
                "look at its load",
            ],
        ),
        (
            DAEMON_SETS,
            listed(&[kured("a"), kured("b")]),
            &uncordon,
            [
                "there is no daemonset kube-system/kured",
                "daemonset a/k and daemonset b/k look like kured",
                "name one with --ds-namespace and --ds-name",
            ],
        ),
    ];
    for (start, says, review, parts) in table {
        let issued = issue();
        let files = files(&cluster(vec![(start, says)]));
        files.write("tls.crt", &issued.cert_pem);
        files.write("tls.key", &issued.key_pem);
        let (cert, key) = (files.path("tls.crt"), files.path("tls.key"));
        let webhook = Webhook::start_on(&cert, &key, &files, issued, &["--protect-kured=lock"]);
        let request = post("/validate?timeout=5s", review.len()) + review;
        let answer: Value = serde_json::from_slice(&webhook.ask(&request).await.body).unwrap();
        let said = answer["response"]["status"]["message"].to_string();
        for part in parts {
            assert!(said.contains(part), "{part:?} is not in {answer}");
        }
    }
}

#[test]
fn found_e8_whatever_explain_cannot_ask_names_thing_try_and_fix() {
    let whoami = "POST /apis/authentication.k8s.io/v1/selfsubjectreviews";
    let get_node = "GET /api/v1/nodes/n";
    let (code, said) = explain(
        &config(&cluster(vec![
            (get_node, Says::node("n")),
            (whoami, Says::status(403, "it is forbidden")),
        ])),
        &[],
        &[],
    );
    assert_eq!(code, Some(2), "{said}");
    let parts = [
        "who the kubeconfig's user is",
        "it is forbidden (code 403)",
        "name a user with --as",
    ];
    check(&"whoami", &said, parts);
    let asked = ["--as=alice", "--protect-kured=lock"];
    let table: [(&'static str, Says, Parts<'_>); 2] = [
        (
            KURED,
            Says::status(403, "daemonsets is forbidden"),
            [
                "the lock on daemonset kube-system/kured",
                "daemonsets is forbidden (code 403)",
                "check --ds-namespace and --ds-name",
            ],
        ),
        (
            DAEMON_SETS,
            listed(&[kured("a"), kured("b")]),
            [
                "there is no daemonset kube-system/kured",
                "daemonset a/k and daemonset b/k look like kured",
                "name one with --ds-namespace",
            ],
        ),
    ];
    for (start, says, parts) in table {
        let api = cluster(vec![(get_node, Says::node("n")), (start, says)]);
        let (code, said) = explain(&config(&api), &asked, &[]);
        assert_eq!(code, Some(1), "{said}");
        for part in parts {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
    }
}
