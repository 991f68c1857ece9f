//! The command line: what is refused, and that `explain` ends without serving.

use std::process::Command;

use super::process::{BINARY, Files, issue};
use super::reviews::{node, review};

fn refused(files: &Files, args: &[&str]) -> String {
    let mut command = Command::new(BINARY);
    let output = files.given(command.args(args)).output().unwrap();
    assert!(!output.status.success());
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.starts_with("cordonhold-webhook: "), "{line}");
    line
}

#[test]
fn bad_input_is_one_line_that_names_the_thing_and_the_fix() {
    let files = Files::new(&issue());
    for (args, parts) in [
        (
            &["--mode=maybe"][..],
            &["maybe", "--mode", "enforce, defer, warn, audit"][..],
        ),
        (&["--listen=here"], &["here", "--listen"]),
        (&["--listen=192.0.2.1:1"], &["192.0.2.1:1", "--listen", "free"]),
        (&["--shutdown-delay=5"], &["--shutdown-delay", "5s"]),
        (&["--no-such-flag"], &["--no-such-flag", "--help"]),
    ] {
        let line = refused(&files, args);
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
            Some(contents) => files.write(file, contents),
            None => std::fs::remove_file(files.path(file)).unwrap(),
        }
        let line = refused(&files, &[]);
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
        files.write_pair_and_kubeconfig(&issue());
    }
}

/// Runs `explain` with these arguments; returns its exit code, output and error.
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

#[test]
fn certs_refuses_lifetimes_that_do_not_go_together_and_names_that_are_none() {
    for (args, parts) in [
        (
            &["--renew-before=2160h"][..],
            &["--renew-before", "--leaf-lifetime"][..],
        ),
        (&["--ca-lifetime=3000h"], &["--ca-lifetime", "outlive"]),
        (&["--settle=1440h"], &["--settle", "--renew-before"]),
        (&["--settle=9s"], &["--settle is 9s", "write at least 10s"]),
        (
            &["--ca-secret=one", "--certificate-secret=one"],
            &[
                "--ca-secret and --certificate-secret are both one",
                "name two Secrets",
            ],
        ),
        (
            &["--also-for=https://host"],
            &["--also-for", "neither a DNS name nor an IP address"],
        ),
        (&["--leaf-lifetime=90d"], &["--leaf-lifetime", "unknown unit"]),
    ] {
        let output = Command::new(BINARY).arg("certs").args(args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.lines().count() == 1 && parts.iter().all(|part| said.contains(part)),
            "{said}"
        );
    }
    let help = Command::new(BINARY).args(["certs", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("--ca-lifetime") && help.contains("8760h"), "{help}");
}
