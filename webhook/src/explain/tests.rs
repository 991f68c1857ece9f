//! The text and the exit code of `explain`. Not here: whether the verdicts are right, which the decision's own tests show.

use clap::Parser;
use cordonhold_shared::keys;
use serde_json::{Value, json};

use super::*;
use crate::args::{ExplainArgs, ExplainArgsError};

const CREATED: &str = "2026-01-01T00:00:00Z";

fn node(unschedulable: bool, annotations: &Value) -> Value {
    json!({
        "metadata": {"name": "n", "uid": "u", "annotations": annotations},
        "spec": {"unschedulable": unschedulable},
    })
}

fn held(unschedulable: bool) -> Value {
    let annotations = json!({keys::HOLDER: format!("u/{CREATED}"), keys::UNTIL: "2026-01-01T00:10:00Z"});
    let mut node = node(unschedulable, &annotations);
    node["metadata"]["labels"] = json!({keys::PHASE: "delaying"});
    node
}

fn config<'a>(line: impl Iterator<Item = &'a &'a str>) -> Result<ExplainConfig, ExplainArgsError> {
    ExplainArgs::try_parse_from(line).unwrap().try_into()
}

/// The explanation of an update from `old` to `new`, with these flags.
fn explained(old: &Value, new: &Value, flags: &[&str]) -> Explanation {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "r-1", "kind": {"kind": "Node"}, "operation": "UPDATE", "userInfo": {"username": "somebody"},
            "oldObject": old, "object": new,
        },
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), review.to_string()).unwrap();
    let path = file.path().to_str().unwrap();
    let line = ["explain", path, "--at=2026-01-01T00:05:00Z"];
    let config = config(line.iter().chain(flags)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(explanation(&config, None)).unwrap()
}

#[test]
fn a_denial_is_told_with_its_rule_its_hold_and_the_way_out() {
    let Explanation { text, may_be_denied } = explained(&held(true), &held(false), &[]);
    assert!(may_be_denied);
    for part in [
        "update of node n (uncordon) by somebody",
        "verdict: denied",
        "reason:  held",
        "rule:    an uncordon of a held Node",
        "mode:    enforce",
        "holder:  u/2026-01-01T00:00:00Z",
        "phase:   delaying",
        "age:     300s",
        "kubectl annotate --overwrite node n cordonhold.dev/cancel='2026-01-01T00:00:00Z <your reason>'",
        "Not looked at: the matchConditions",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_mode_of_its_own_lets_it_pass_and_shows_the_warning() {
    let Explanation { text, may_be_denied } = explained(&held(true), &held(false), &["--mode-for=held=warn"]);
    assert!(!may_be_denied);
    assert!(
        text.contains("verdict: passes, flagged") && text.contains("mode:    warn"),
        "{text}"
    );
    assert!(
        text.contains("warning: cordonhold would deny this (held): "),
        "{text}"
    );
}

#[test]
fn a_deferral_is_told_with_what_it_changes_and_the_verdict_on_that() {
    let deferred = |old: &Value, new: &Value, flags: &[&str]| {
        let Explanation { text, may_be_denied } = explained(old, new, flags);
        assert!(!may_be_denied, "{text}");
        text
    };
    let text = deferred(&held(true), &held(false), &["--mode=defer"]);
    for part in [
        "update of node n (uncordon) by somebody",
        "changed: the cordon stays; cordonhold.dev/uncordon-wanted becomes '2026-01-01T00:00:00Z 2026-01-01T00:05:00Z somebody'",
        "without it, the uncordon is denied",
        "verdict: passes, flagged",
        "reason:  deferred",
        "mode:    defer",
        "warning: cordonhold: node n stays cordoned",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let by_another = |mut node: Value| {
        node["metadata"]["annotations"][keys::UNCORDON_WANTED] = json!(format!("{CREATED} - another"));
        node
    };
    let text = deferred(
        &by_another(held(true)),
        &by_another(held(false)),
        &["--mode=defer"],
    );
    assert!(
        text.contains("cordonhold.dev/uncordon-wanted stays as it is") && text.contains("reason:  deferred"),
        "{text}"
    );
    let text = explained(
        &held(true),
        &held(false),
        &["--mode=defer", "--mode-for-user=somebody=enforce"],
    )
    .text;
    assert!(
        text.contains("verdict: denied") && !text.contains("changed:"),
        "{text}"
    );
}

#[test]
fn what_nobody_could_be_asked_is_told_both_ways() {
    let (old, mut new) = (held(true), held(true));
    new["metadata"]["annotations"][keys::CANCEL] = json!(format!("{CREATED} because"));
    let Explanation { text, may_be_denied } = explained(&old, &new, &[]);
    assert!(may_be_denied, "it may be");
    for part in [
        "If somebody has the verb override on rebootholds.cordonhold.dev:",
        "reason:  override\n",
        "If somebody does not have the verb override on rebootholds.cordonhold.dev:",
        "reason:  no-override\n",
        "--may-override",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let Explanation { text, may_be_denied } = explained(&old, &new, &["--may-override=yes"]);
    assert!(!may_be_denied && !text.contains("If somebody"), "{text}");
    assert!(explained(&old, &new, &["--may-override=no"]).may_be_denied);
}

#[test]
fn kureds_lock_is_told_both_ways_or_as_given() {
    let (old, new) = (node(true, &json!({})), node(false, &json!({})));
    let by_lock = "--protect-kured=lock";
    let Explanation { text, may_be_denied } = explained(&old, &new, &[by_lock]);
    assert!(may_be_denied);
    for part in [
        "If kured's lock names node n:",
        "reason:  kured-held\n",
        "If kured's lock does not name node n:",
        "reason:  not-held\n",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let Explanation { text, may_be_denied } =
        explained(&old, &new, &[by_lock, "--kured-lock={\"nodeID\":\"m\"}"]);
    assert!(!may_be_denied);
    assert!(
        text.contains(
            "kured:   not looked for, taken to be daemonset kube-system/kured, ServiceAccount kured"
        ),
        "{text}"
    );
    assert!(explained(&old, &new, &[by_lock, "--kured-lock={\"nodeID\":\"n\"}"]).may_be_denied);
    assert!(!explained(&old, &new, &[by_lock, "--kured-lock="]).may_be_denied);
}

#[test]
fn a_lock_that_nobody_reads_is_refused() {
    for (flags, is_unread) in [
        (&["--kured-lock={}"][..], true),
        (&["--kured-lock={}", "--protect-kured=marks"], true),
        (&["--kured-lock={}", "--protect-kured=lock"], false),
        (&[], false),
    ] {
        let line = ["explain", "review.json"].iter().chain(flags);
        let refused = matches!(config(line), Err(ExplainArgsError::UnreadLock));
        assert_eq!(refused, is_unread, "{flags:?}");
    }
}
