//! What a node that is back lacks: the Node is read first, then expressions are asked, then the pods are listed.

use super::*;
use crate::node::Condition;
use crate::reboot::object::ObjectName;
use crate::reboot::pod::PodView;
use crate::reboot::readiness::{Missing, Readiness};

/// A driver that waits for these.
fn waiting_for(wanted: &[&str]) -> Shell {
    let mut shell = Shell::idle();
    shell.node.status.conditions.push(Condition {
        kind: "Ready".to_owned(),
        status: "True".to_owned(),
        since: String::new(),
    });
    shell.driver.setup.ready_when = wanted.iter().map(|text| text.parse().unwrap()).collect();
    shell
}

/// Answers the read of the Node; the next call, unless the request has its answer.
fn after_the_node(shell: &mut Shell) -> Option<Call> {
    let read = shell.ask(Ask::ListMissing);
    assert_eq!(read, Some(Call::ReadNode("node-0".to_owned())));
    let reply = shell.carry_out(read.unwrap());
    shell.replied(reply);
    next_question(shell)
}

fn missing(shell: &mut Shell) -> Vec<Missing> {
    match shell.answer() {
        Some(Answer::Missing(Ok(missing))) => missing,
        answer => panic!("{answer:?}"),
    }
}

const ALL: [&str; 4] = [
    "daemonset-pods",
    "cel=self.spec.podCIDR != ''",
    "cel=has(self.status)",
    "condition=Ready=Unknown",
];

#[test]
fn a_condition_that_is_missing_spares_the_rest() {
    let mut shell = waiting_for(&ALL);
    assert_eq!(after_the_node(&mut shell), None);
    let found = missing(&mut shell);
    assert!(
        matches!(&found[..], [Missing::Condition { kind, .. }] if kind == "Ready"),
        "{found:?}"
    );
}

#[test]
fn a_node_that_is_no_longer_ready_lacks_that_whatever_else_is_there() {
    let mut shell = waiting_for(&["daemonset-pods"]);
    shell.node.status.conditions.clear();
    assert_eq!(after_the_node(&mut shell), None);
    assert_eq!(missing(&mut shell), [Missing::Ready]);
}

#[test]
fn each_expression_is_asked_about_our_node_before_the_pods_are_listed() {
    let mut shell = waiting_for(&ALL[..3]);
    let Some(Call::AskObject(asked)) = after_the_node(&mut shell) else {
        panic!("no expression is asked")
    };
    assert_eq!(asked.object, ObjectName::node("node-0"));
    assert_eq!(asked.expression.to_string(), "self.spec.podCIDR != ''");
    shell.replied(Reply::Found(Ok(Found::Truth(true))));
    assert!(
        matches!(next_question(&mut shell), Some(Call::AskObject(asked)) if asked.expression.to_string() == "has(self.status)")
    );
    shell.replied(Reply::Found(Ok(Found::Truth(true))));
    assert_eq!(next_question(&mut shell), Some(Call::ListAllPods));
    shell.replied(Reply::Pods(Ok(Vec::<PodView>::new())));
    assert_eq!(missing(&mut shell), []);
}

#[test]
fn an_expression_that_is_false_or_cannot_be_told_is_missing_with_the_reason() {
    for (answer, why) in [
        (Ok(Found::Truth(false)), None),
        (
            Err("no such key: podCIDR".to_owned()),
            Some("no such key: podCIDR".to_owned()),
        ),
    ] {
        let mut shell = waiting_for(&ALL[..2]);
        assert!(matches!(after_the_node(&mut shell), Some(Call::AskObject(_))));
        shell.replied(Reply::Found(answer));
        let text = "self.spec.podCIDR != ''".to_owned();
        assert_eq!(missing(&mut shell), [Missing::Expression { text, why }]);
    }
}

#[test]
fn without_pods_to_look_at_none_are_listed() {
    let mut shell = waiting_for(&["cel=true"]);
    assert_eq!(
        shell.driver.setup.ready_when[0]
            .expression()
            .map(ToString::to_string),
        Some("true".to_owned())
    );
    assert!(!shell.driver.setup.ready_when.contains(&Readiness::DaemonSetPods));
    assert!(matches!(after_the_node(&mut shell), Some(Call::AskObject(_))));
    shell.replied(Reply::Found(Ok(Found::Truth(true))));
    assert_eq!(missing(&mut shell), []);
}
