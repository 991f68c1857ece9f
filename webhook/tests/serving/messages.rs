//! Every message with which the webhook or `explain` ends or waits names the thing, what was tried, and the fix.
//!
//! Not here: messages of a running webhook and of its lookups ([`waiting`]).

mod waiting;

use std::process::Command;

use serde_json::{Value, json};

use super::cluster::{Cluster, Says, Through};
use super::kubeconfig::{base64, explain, kubeconfig, version_1};
use super::process::{BINARY, Files, issue};

/// The parts of a message: the thing, what was tried, and the fix.
type Parts<'a> = [&'a str; 3];
/// Arguments, environment variables, and the parts of the message.
type Row<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], Parts<'a>);

fn check(case: &dyn std::fmt::Debug, said: &str, parts: Parts<'_>) {
    assert_eq!(said.lines().count(), 1, "{case:?}: {said}");
    assert!(said.starts_with("cordonhold-webhook: "), "{case:?}: {said}");
    for part in parts {
        assert!(said.contains(part), "{case:?}: {part:?} is not in {said}");
    }
}

/// The exit code of the server, and its message.
fn refused(files: &Files, words: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(BINARY);
    let command = files.given(command.args(words)).envs(variables.iter().copied());
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn found_e8_every_word_that_the_webhook_refuses_names_thing_try_and_fix() {
    let files = Files::new(&issue());
    let table: [Row<'_>; 20] = [
        (
            &["--mode=maybe"],
            &[],
            ["--mode", "maybe", "enforce, defer, warn, audit"],
        ),
        (
            &[],
            &[("CORDONHOLD_MODE", "maybe")],
            ["CORDONHOLD_MODE", "maybe", "enforce, defer, warn, audit"],
        ),
        (
            &["--mode-for=hold=warn"],
            &[],
            ["--mode-for", "\"hold\" is not a reason", "use one of"],
        ),
        (&["--listen=here"], &[], ["--listen", "\"here\"", "0.0.0.0:8443"]),
        (
            &["--admin-listen=8080"],
            &[],
            ["--admin-listen", "\"8080\"", "[::]:8443"],
        ),
        (
            &["--shutdown-delay=5"],
            &[],
            ["--shutdown-delay", "lacks a unit", "5s"],
        ),
        (
            &["--ds-namespace=Kured!"],
            &[],
            ["--ds-namespace", "\"Kured!\"", "lower case"],
        ),
        (&["--ds-name="], &[], ["--ds-name", "\"\"", "lower case"]),
        (
            &["--agent-service-account=a b"],
            &[],
            ["--agent-service-account", "\"a b\"", "lower case"],
        ),
        (
            &["--exempt-user="],
            &[],
            ["--exempt-user", "is empty or in quotes", "leave the flag out"],
        ),
        (
            &["--ds-name=\"kured\""],
            &[],
            ["--ds-name", "quotes around", "`- --ds-name=kured`"],
        ),
        (
            &["--mode=\"\""],
            &[],
            ["--mode", "two quote characters", "`- --mode=`"],
        ),
        (
            &[],
            &[("CORDONHOLD_MODE", "warn\n")],
            ["CORDONHOLD_MODE", "line end", "set it to warn"],
        ),
        (
            &["--kubeconfig='/k'"],
            &[],
            ["--kubeconfig", "quotes around", "`- --kubeconfig=/k`"],
        ),
        (
            &["--client-ca-file="],
            &[],
            ["--client-ca-file", "empty", "leave it out"],
        ),
        (
            &["--mode warn"],
            &[],
            ["--mode", "one argument", "write --mode=warn"],
        ),
        (&["warn"], &[], ["\"warn\"", "belongs to no flag", "--flag=VALUE"]),
        (&["-mode=warn"], &[], ["-m", "two dashes", "--help"]),
        (
            &["--no-such-flag"],
            &[],
            ["--no-such-flag", "unexpected", "--help"],
        ),
        (
            &["--client-allowed-names=a"],
            &[],
            ["--client-ca-file", "not provided", "--help"],
        ),
    ];
    for (words, variables, parts) in table {
        let (code, said) = refused(&files, words, variables);
        assert_eq!(code, Some(2), "{words:?}: {said}");
        check(&(words, variables), &said, parts);
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let admin = format!("--admin-listen={address}");
    let (code, said) = refused(&files, &[&admin], &[]);
    assert_eq!(code, Some(1), "{said}");
    check(&admin, &said, ["--admin-listen", &address, "whose port is free"]);
    let (code, said) = refused(&files, &[], &[("CORDONHOLD_LOG", "info,x=loud")]);
    assert_eq!(code, Some(1), "{said}");
    check(
        &"log",
        &said,
        ["CORDONHOLD_LOG", "info,x=loud", "write one like info"],
    );
    let output = Command::new(BINARY).env_clear().output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    check(&"nothing", &said, ["--tls-cert-file", "not provided", "--help"]);
}

#[test]
fn found_e8_every_file_that_the_webhook_refuses_names_thing_try_and_fix() {
    let files = Files::new(&issue());
    let other = issue().key_pem;
    let table: [(&str, Option<&str>, Parts<'_>); 7] = [
        ("tls.crt", None, ["tls.crt", "No such file", "--tls-cert-file"]),
        (
            "tls.crt",
            Some("garbage"),
            ["tls.crt", "certificate", "--tls-cert-file"],
        ),
        (
            "tls.key",
            Some("garbage"),
            ["tls.key", "key", "--tls-private-key-file"],
        ),
        (
            "tls.key",
            Some(&other),
            ["tls.key", "do not belong together", "issue both anew"],
        ),
        ("kubeconfig", None, ["kubeconfig", "No such file", "--kubeconfig"]),
        ("kubeconfig", Some("{"), ["kubeconfig", "YAML", "--kubeconfig"]),
        (
            "kubeconfig",
            Some("{}"),
            ["kubeconfig", "current context", "config view"],
        ),
    ];
    for (file, contents, parts) in table {
        match contents {
            Some(contents) => files.write(file, contents),
            None => std::fs::remove_file(files.path(file)).unwrap(),
        }
        let (code, said) = refused(&files, &[], &[]);
        assert_eq!(code, Some(1), "{file}: {said}");
        check(&file, &said, parts);
        files.write_pair_and_kubeconfig(&issue());
    }
    let mut command = Command::new(BINARY);
    let output = files
        .given(&mut command)
        .env_remove("CORDONHOLD_KUBECONFIG")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    check(
        &"in-cluster",
        &said,
        ["no in-cluster configuration", "environment", "--kubeconfig"],
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn found_e8_every_kubeconfig_that_cannot_be_used_names_thing_try_and_fix() {
    let (pair, (old, old_key)) = (issue(), version_1());
    let ca = pair.ca_bundle();
    let server = || json!({"server": "https://127.0.0.1:1", "certificate-authority-data": ca});
    let token = || json!({"token": "t"});
    let with = |mut base: Value, key: &str, value: Value| {
        base[key] = value;
        base
    };
    let cert = |cert: &str, key: &str| json!({"client-certificate-data": base64(cert), "client-key-data": base64(key)});
    let exec = |command: &str| json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": command, "interactiveMode": "Never"}});
    let table: [(Value, Value, Parts<'_>); 14] = [
        (
            server(),
            cert(&old, &old_key),
            ["client certificate", "version 1", "-extfile"],
        ),
        (
            server(),
            cert(&pair.cert_pem, &issue().key_pem),
            ["client key", "do not belong together", "one pair"],
        ),
        (
            server(),
            cert(&pair.cert_pem, "garbage"),
            ["client key", "not PEM", "openssl pkey"],
        ),
        (
            server(),
            cert("garbage", &pair.key_pem),
            ["client certificate", "not PEM", "client-certificate-data"],
        ),
        (
            server(),
            json!({"client-certificate": "/nowhere/c", "client-key": "/nowhere/k"}),
            ["/nowhere/c", "failed to", "config"],
        ),
        (
            server(),
            json!({"tokenFile": "/nowhere/token"}),
            ["/nowhere/token", "failed to read", "tokenFile"],
        ),
        (
            server(),
            exec("/nowhere/login"),
            ["exec", "No such file", "by hand"],
        ),
        (server(), exec("/bin/false"), ["exec", "/bin/false", "by hand"]),
        (
            with(
                server(),
                "certificate-authority-data",
                json!(base64(
                    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
                )),
            ),
            token(),
            ["cluster's CA", "cannot be used", "certificate-authority-data"],
        ),
        (
            with(server(), "tls-server-name", json!("a b")),
            token(),
            ["tls-server-name", "not a host name", "API server's certificate"],
        ),
        (
            with(server(), "proxy-url", json!("ftp://p")),
            token(),
            ["proxy-url", "\"ftp\"", "http, https or socks5"],
        ),
        (
            with(server(), "proxy-url", json!("socks5://u:p@p")),
            token(),
            ["proxy-url", "with a user", "HTTP proxy"],
        ),
        (
            json!({}),
            token(),
            ["config", "cluster url is missing", "config view"],
        ),
        (
            json!({"server": "a b"}),
            token(),
            ["config", "cluster url", "config view"],
        ),
    ];
    for (cluster, user, parts) in &table {
        let (code, said) = explain(&kubeconfig(cluster, user), &[], &[]);
        assert_eq!(code, Some(2), "{cluster} {user}: {said}");
        check(&(cluster, user), &said, *parts);
    }
    let proxied = [("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "a,,b")];
    let (code, said) = explain(&kubeconfig(&server(), &token()), &[], &proxied);
    assert_eq!(code, Some(2), "{said}");
    check(&proxied, &said, ["NO_PROXY", "cannot be read", "comma"]);
}

#[test]
fn found_e8_every_answer_that_explain_cannot_use_names_thing_try_and_fix() {
    let ca = issue().ca_bundle();
    let refused = kubeconfig(
        &json!({"server": "https://127.0.0.1:1", "certificate-authority-data": ca}),
        &json!({"token": "t"}),
    );
    let (code, said) = explain(&refused, &[], &[]);
    assert_eq!(code, Some(2), "{said}");
    check(
        &"refused",
        &said,
        ["https://127.0.0.1:1", "refused", "can be reached from here"],
    );
    for (says, words, parts) in [
        (
            Says::status(401, "Unauthorized"),
            &[][..],
            ["node n", "Unauthorized (code 401)", "log in anew"],
        ),
        (
            Says::status(403, "nodes is forbidden"),
            &[],
            ["node n", "forbidden (code 403)", "may get nodes"],
        ),
        (
            Says::status(404, "nodes \"n\" not found"),
            &[],
            ["node n", "not found (code 404)", "kubectl get nodes"],
        ),
        (
            Says::status(410, "gone"),
            &[],
            ["node n", "gone (code 410)", "ask again later"],
        ),
        (
            Says::status(500, "no leader"),
            &[],
            ["node n", "no leader (code 500)", "ask again later"],
        ),
        (
            Says::status(503, "shutting down"),
            &[],
            ["node n", "shutting down (code 503)", "ask again later"],
        ),
        (
            Says {
                code: 200,
                body: json!("text"),
            },
            &[],
            ["node n", "invalid type", "an API server of Kubernetes"],
        ),
        (
            Says::node("n"),
            &["--at=noon"],
            ["--at", "\"noon\"", "2026-01-31T"],
        ),
        (
            Says::node("n"),
            &["--kured-lock={}"],
            ["--kured-lock", "not read", "--protect-kured=lock"],
        ),
    ] {
        let api = Cluster::start(Through::Nothing, None, says);
        let server = json!({"server": format!("http://{}", api.address)});
        let (code, said) = explain(&kubeconfig(&server, &json!({"token": "t"})), words, &[]);
        assert_eq!(code, Some(2), "{parts:?}: {said}");
        check(&parts, &said, parts);
    }
}

#[test]
fn found_e8_every_review_that_explain_cannot_use_names_thing_try_and_fix() {
    let files = Files::new(&issue());
    let path = files.path("review.json").to_string_lossy().into_owned();
    let of_another_kind = json!({"apiVersion": "v1", "kind": "Node"}).to_string();
    let too_long = " ".repeat(20 * 1_024 * 1_024);
    let table: [(Option<&str>, Parts<'_>); 4] = [
        (None, ["review.json", "No such file", "name a file, or -"]),
        (
            Some("{"),
            [
                "review.json",
                "the server answers 400",
                "as the API server sends it",
            ],
        ),
        (
            Some(&of_another_kind),
            [
                "review.json",
                "the server answers 400",
                "as the API server sends it",
            ],
        ),
        (
            Some(&too_long),
            ["review.json", "longer than", "as the API server sends it"],
        ),
    ];
    for (text, parts) in table {
        if let Some(text) = text {
            files.write("review.json", text);
        }
        let output = Command::new(BINARY).args(["explain", &path]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{parts:?}");
        check(&parts, &String::from_utf8(output.stderr).unwrap(), parts);
    }
    let output = Command::new(BINARY).arg("explain").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    check(&"nothing", &said, ["nothing to explain", "a review", "--node"]);
}

/// The flags that a first try needs are seen without scrolling; the list of reasons comes last.
#[test]
fn found_x1_the_first_screen_of_help_has_the_flags_that_a_first_try_needs() {
    let help = |words: &[&str]| {
        let output = Command::new(BINARY).args(words).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let common = [
        "--tls-cert-file",
        "--tls-private-key-file",
        "--mode",
        "--protect-kured",
        "--kubeconfig",
    ];
    let (short, long) = (help(&["-h"]), help(&["--help"]));
    assert!(short.lines().count() <= 45, "{short}");
    let first: Vec<&str> = long.lines().take(45).collect();
    for flag in common {
        let is_named = |line: &&str| line.trim_start().starts_with(flag);
        assert!(first.iter().any(is_named), "{flag}: {long}");
        assert!(short.lines().any(|line| is_named(&line)), "{flag}: {short}");
    }
    let reasons = long.find("held-deleted: ").unwrap();
    let last_flag = long.rfind("\n      --").unwrap();
    assert!(last_flag < reasons && !short.contains("held-deleted: "), "{long}");
    let told = help(&["explain", "-h"]);
    assert!(
        told.contains("--node") && !told.contains("held-deleted: "),
        "{told}"
    );
}
