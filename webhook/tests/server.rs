//! The webhook's binary over real TLS, without a cluster behind it: what it answers, logs and counts, and how it ends.
//!
//! What the API server makes of the answers is tested on a real one, in the workspace's `tests/`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where something is not as it must be"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cordonhold_certs_dev::Issued;
use cordonhold_shared::keys;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};

/// Far above what anything here takes, so that a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(20);
const BINARY: &str = env!("CARGO_BIN_EXE_cordonhold-webhook");

struct Webhook {
    child: Child,
    log: BufReader<ChildStdout>,
    listen: SocketAddr,
    admin: SocketAddr,
    tls: Arc<ClientConfig>,
    dir: tempfile::TempDir,
}

impl Drop for Webhook {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn issue() -> Issued {
    cordonhold_certs_dev::issue(&["localhost".to_owned()]).unwrap()
}

fn trusting(issued: &Issued) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(issued.ca_pem.as_bytes()).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// A kubeconfig of an API server that is not there: port 1 refuses.
fn write_inputs(dir: &Path, issued: &Issued) {
    std::fs::write(dir.join("tls.crt"), &issued.cert_pem).unwrap();
    std::fs::write(dir.join("tls.key"), &issued.key_pem).unwrap();
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "c", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    });
    std::fs::write(dir.join("kubeconfig"), kubeconfig.to_string()).unwrap();
}

/// Everything that must be given, through the environment, so that a flag can be tried on top.
fn command(dir: &Path) -> Command {
    let mut command = Command::new(BINARY);
    let _ = command
        .env_remove("CORDONHOLD_LOG")
        .env("CORDONHOLD_LISTEN", "127.0.0.1:0")
        .env("CORDONHOLD_ADMIN_LISTEN", "127.0.0.1:0")
        .env("CORDONHOLD_TLS_CERT_FILE", dir.join("tls.crt"))
        .env("CORDONHOLD_TLS_PRIVATE_KEY_FILE", dir.join("tls.key"))
        .env("CORDONHOLD_KUBECONFIG", dir.join("kubeconfig"));
    command
}

fn start(args: &[&str]) -> Webhook {
    let dir = tempfile::tempdir().unwrap();
    let issued = issue();
    write_inputs(dir.path(), &issued);
    let mut child = command(dir.path())
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stdout.take().unwrap());
    let ready = log_line(&mut log, "ready");
    let address = |key: &str| ready[key].as_str().unwrap().parse().unwrap();
    let (listen, admin) = (address("listen"), address("admin_listen"));
    Webhook {
        child,
        log,
        listen,
        admin,
        tls: trusting(&issued),
        dir,
    }
}

/// The next line of the log with this message.
fn log_line(log: &mut BufReader<ChildStdout>, message: &str) -> Value {
    loop {
        let mut line = String::new();
        assert!(
            log.read_line(&mut line).unwrap() > 0,
            "the log ended before {message:?}"
        );
        let line: Value = serde_json::from_str(&line).unwrap();
        if line["message"] == message {
            return line;
        }
    }
}

fn exchange(mut stream: impl Read + Write, head: &str, body: &[u8]) -> (u16, String) {
    let head = format!(
        "{head}\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    // A server that refuses early may close before it has read everything.
    let sent = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body));
    let mut answer = Vec::new();
    let received = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        panic!("{sent:?} {received:?} {answer:?}")
    };
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

impl Webhook {
    fn tls_stream(&self, tls: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
        let connection = ClientConnection::new(Arc::clone(tls), "localhost".try_into().unwrap()).unwrap();
        StreamOwned::new(connection, connect(self.listen))
    }

    fn send(&self, line: &str, content_type: &str, body: &[u8]) -> (u16, String) {
        let head = format!("{line} HTTP/1.1\r\nContent-Type: {content_type}");
        exchange(self.tls_stream(&self.tls), &head, body)
    }

    fn validate(&self, body: &[u8]) -> Value {
        let (status, body) = self.send("POST /validate?timeout=5s", "application/json", body);
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    fn admin(&self, path: &str) -> (u16, String) {
        exchange(connect(self.admin), &format!("GET {path} HTTP/1.1"), b"")
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn terminate(&self) {
        let killed = Command::new("kill")
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(killed.success());
    }
}

fn node(unschedulable: bool, cancel: Option<&str>) -> Value {
    let mut node = json!({
        "apiVersion": "v1", "kind": "Node", "newer": {"field": [1]},
        "metadata": {
            "name": "node-0", "uid": "n-1", "labels": {keys::PHASE: "delaying"},
            "annotations": {keys::HOLDER: "n-1/2026-01-01T00:00:00.5Z", keys::UNTIL: "9000-01-01T00:00:00Z"},
        },
        "spec": {"unschedulable": unschedulable, "taints": null, "podCIDR": "10.0.0.0/24"},
        "status": {"images": [{"names": ["x"]}]},
    });
    if let Some(cancel) = cancel {
        node["metadata"]["annotations"][keys::CANCEL] = json!(cancel);
    }
    node
}

fn review(old: &Value, new: &Value) -> Vec<u8> {
    let user = json!({"username": "controller", "groups": ["a", "b"], "extra": {"k": ["v"]}});
    let kind = json!({"group": "", "version": "v1", "kind": "Node"});
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "r-1", "kind": kind, "operation": "UPDATE", "name": "node-0", "userInfo": user,
            "oldObject": old, "object": new, "dryRun": true,
        },
    })
    .to_string()
    .into_bytes()
}

#[test]
fn held_stays_cordoned_over_the_wire() {
    let mut webhook = start(&[]);
    let answer = webhook.validate(&review(&node(true, None), &node(false, None)));
    assert_eq!(
        (&answer["apiVersion"], &answer["kind"]),
        (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
    );
    let response = &answer["response"];
    assert_eq!(
        (&response["uid"], &response["allowed"]),
        (&json!("r-1"), &json!(false))
    );
    assert_eq!(
        (&response["status"]["code"], &response["status"]["reason"]),
        (&json!(403), &json!("Forbidden"))
    );
    assert!(
        response["status"]["message"]
            .as_str()
            .unwrap()
            .contains("kubectl annotate")
    );
    assert_eq!(response["auditAnnotations"]["reason"], "held");

    let line = log_line(&mut webhook.log, "decision");
    for (field, value) in [
        ("user", json!("controller")),
        ("groups", json!("a,b")),
        ("operation", json!("UPDATE")),
        ("node", json!("node-0")),
        ("holder", json!("n-1/2026-01-01T00:00:00.5Z")),
        ("phase", json!("delaying")),
        ("until", json!("9000-01-01T00:00:00Z")),
        ("verdict", json!("deny")),
        ("reason", json!("held")),
        ("mode", json!("enforce")),
        ("dry_run", json!(true)),
        ("effect", json!("uncordon")),
        ("kured", json!(false)),
        ("uid", json!("r-1")),
    ] {
        assert_eq!(line[field], value, "{field} in {line}");
    }
    assert!(line["latency_us"].is_u64());

    // Nothing of ours changes: no line, which the next decision's line shows.
    let answer = webhook.validate(&review(&node(true, None), &node(true, None)));
    assert_eq!(answer["response"]["allowed"], true);
    // The API server is not there, so a permission cannot be looked up.
    let answer = webhook.validate(&review(&node(true, None), &node(true, Some("x y"))));
    assert_eq!(answer["response"]["allowed"], false);
    assert_eq!(log_line(&mut webhook.log, "decision")["reason"], "lookup-failed");

    let (status, page) = webhook.admin("/metrics");
    assert_eq!(status, 200);
    for metric in [
        "cordonhold_webhook_decisions_total{verdict=\"deny\",reason=\"held\"} 1",
        "cordonhold_webhook_decisions_total{verdict=\"allow\",reason=\"nothing-of-ours\"} 1",
        "cordonhold_webhook_decision_latency_seconds_count 3",
        "cordonhold_webhook_certificate_expiry_timestamp_seconds 1",
        "cordonhold_webhook_build_info{version=",
        "# EOF",
    ] {
        assert!(page.contains(metric), "{metric} is missing in {page}");
    }
}

#[test]
fn warn_and_audit_let_pass_and_say_so() {
    for (mode, warnings) in [("warn", 1), ("audit", 0)] {
        let webhook = start(&["--mode", mode]);
        let response = webhook.validate(&review(&node(true, None), &node(false, None)))["response"].take();
        assert_eq!(response["allowed"], true);
        assert_eq!(
            response["warnings"].as_array().map_or(0, Vec::len),
            warnings,
            "{mode}"
        );
        assert_eq!(response["auditAnnotations"]["reason"], "held");
    }
}

#[test]
fn a_review_that_cannot_be_read_is_denied_with_its_uid_and_logged() {
    let mut webhook = start(&[]);
    let whole = review(&node(true, None), &node(false, None));
    let mut bad_label = node(false, None);
    bad_label["metadata"]["labels"] = json!({"a": 1});
    let start_of_one = br#"{"kind":"AdmissionReview","request":{"uid":"r-1","object":"#;
    let bodies = [
        start_of_one.to_vec(),
        review(&Value::Null, &node(false, None)),
        review(&node(true, None), &bad_label),
    ];
    for body in bodies {
        let response = webhook.validate(&body)["response"].take();
        assert_eq!(
            (&response["uid"], &response["allowed"]),
            (&json!("r-1"), &json!(false))
        );
        assert_eq!(response["auditAnnotations"]["reason"], "malformed-review");
        let line = log_line(&mut webhook.log, "decision");
        assert_eq!((&line["uid"], &line["verdict"]), (&json!("r-1"), &json!("deny")));
        assert!(!line["error"].as_str().unwrap().is_empty());
    }
    assert_eq!(webhook.send("POST /validate", "application/json", b"{}").0, 400);
    assert_eq!(webhook.send("GET /validate", "application/json", b"").0, 405);
    assert_eq!(webhook.send("POST /elsewhere", "application/json", &whole).0, 404);
    assert_eq!(webhook.send("POST /validate", "text/plain", &whole).0, 415);
    let huge = vec![b' '; 8 * 1_024 * 1_024 + 1];
    assert_eq!(webhook.send("POST /validate", "application/json", &huge).0, 413);
}

#[test]
fn it_is_ready_then_unready_then_gone() {
    let mut webhook = start(&["--shutdown-delay=1s"]);
    assert_eq!(webhook.admin("/livez").0, 200);
    assert_eq!(webhook.admin("/readyz").0, 200);
    webhook.terminate();
    let _ = log_line(&mut webhook.log, "shutting down");
    let begun = Instant::now();
    while webhook.admin("/readyz").0 != 503 {
        assert!(begun.elapsed() < PATIENCE, "still ready");
    }
    let answer = webhook.validate(&review(&node(true, None), &node(false, None)));
    assert_eq!(answer["response"]["allowed"], false, "a lame duck still answers");
    assert!(webhook.child.wait().unwrap().success());
}

#[test]
fn a_changed_certificate_is_served_and_a_broken_one_is_not() {
    let mut webhook = start(&[]);
    std::fs::write(webhook.path("tls.crt"), "garbage").unwrap();
    let _ = log_line(&mut webhook.log, "kept the last good certificate");
    assert_eq!(webhook.send("GET /", "x", b"").0, 404);
    let renewed = issue();
    write_inputs(webhook.dir.path(), &renewed);
    let _ = log_line(&mut webhook.log, "serving a new certificate");
    webhook.tls = trusting(&renewed);
    assert_eq!(webhook.send("GET /", "x", b"").0, 404);
}

fn refused(dir: &Path, args: &[&str]) -> String {
    let output: Output = command(dir).args(args).output().unwrap();
    assert!(!output.status.success());
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.starts_with("cordonhold-webhook: "), "{line}");
    line
}

#[test]
fn bad_input_is_one_line_that_names_the_thing_and_the_fix() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_inputs(dir, &issue());
    for (args, parts) in [
        (
            &["--mode=maybe"][..],
            &["maybe", "--mode", "enforce, warn, audit"][..],
        ),
        (&["--listen=here"], &["here", "--listen"]),
        (&["--listen=192.0.2.1:1"], &["192.0.2.1:1", "--listen", "free"]),
        (&["--shutdown-delay=5"], &["--shutdown-delay", "5s"]),
        (&["--no-such-flag"], &["--no-such-flag", "--help"]),
    ] {
        let line = refused(dir, args);
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
    }
    for (file, contents, parts) in [
        ("tls.crt", Some("garbage"), &["tls.crt", "--tls-cert-file"][..]),
        ("tls.key", Some("garbage"), &["tls.key", "--tls-private-key-file"]),
        (
            "tls.key",
            Some(issue().key_pem.as_str()),
            &["tls.crt", "tls.key", "do not belong together"],
        ),
        ("tls.crt", None, &["tls.crt", "--tls-cert-file", "No such file"]),
        ("kubeconfig", Some("{"), &["kubeconfig", "--kubeconfig"]),
        ("kubeconfig", Some("{}"), &["kubeconfig", "current-context"]),
        ("kubeconfig", None, &["kubeconfig", "--kubeconfig"]),
    ] {
        match contents {
            Some(contents) => std::fs::write(dir.join(file), contents).unwrap(),
            None => std::fs::remove_file(dir.join(file)).unwrap(),
        }
        let line = refused(dir, &[]);
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
        write_inputs(dir, &issue());
    }
}

/// `explain` with these words, and what it ends with.
fn explain(words: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(BINARY).arg("explain").args(words).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn explain_ends_with_0_1_or_2_and_is_no_server() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("review.json");
    let path = file.to_str().unwrap();
    std::fs::write(&file, review(&node(true, None), &node(false, None))).unwrap();
    let (code, told, _) = explain(&[path]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("verdict: denied\nreason:  held\n"), "{told}");
    let (code, told, _) = explain(&[path, "--mode=audit"]);
    assert_eq!(code, Some(0), "{told}");
    std::fs::write(&file, "{").unwrap();
    for (words, part) in [
        (&[path][..], "no uid to answer to"),
        (&["/nowhere/review.json"], "/nowhere/review.json"),
        (&[], "name the file of a review, or a node with --node"),
        (&["--node=n", "--kubeconfig=/nowhere/config"], "/nowhere/config"),
        (&[path, "--mode-for=x=y"], "is not a reason"),
    ] {
        let (code, _, said) = explain(words);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(part) && said.lines().count() == 1, "{said}");
    }
    let (code, help, _) = explain(&["--help"]);
    assert!(code == Some(0) && help.contains("AdmissionReview"), "{help}");
}
