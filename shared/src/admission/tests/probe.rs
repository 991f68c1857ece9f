//! The probe: who is answered, and who is denied.

use super::*;

fn probe(node: NodeView) -> NodeView {
    annotate(node, keys::PROBE, "2026-01-01T00:05:00Z doctor")
}

fn asked(old: NodeView, new: NodeView, is_dry_run: bool, policy: &Policy) -> Verdict {
    let request = Request {
        is_dry_run,
        ..Request::update(stranger(), old, new)
    };
    match decide(&request, &Facts::default(), policy, now()) {
        Decision::Verdict(verdict) => verdict,
        Decision::Need(fact) => panic!("it needs {fact:?}"),
    }
}

/// Whatever the Node's state is, and in every mode: the answer says who has answered.
#[test]
fn a_dry_run_of_the_probe_is_answered_in_every_state_and_mode() {
    let nodes = [
        free(),
        uncordoned(free()),
        held(),
        cancelled(held()),
        cancelled(held_in("sealed")),
        annotate(free(), keys::PROBE, "left over"),
    ];
    for mode in [Mode::Enforce, Mode::Defer, Mode::Warn, Mode::Audit] {
        for node in &nodes {
            let policy = Policy {
                modes: mode.into(),
                ..policy()
            };
            let verdict = asked(node.clone(), probe(node.clone()), true, &policy);
            assert_eq!(
                (verdict.outcome, verdict.reason),
                (Outcome::Allow, Reason::Probed)
            );
            let [warning] = verdict.warnings.as_slice() else {
                panic!("{:?}", verdict.warnings)
            };
            let answer = ProbeAnswer::read(warning).unwrap_or_else(|| panic!("{warning}"));
            assert_eq!(answer.version, env!("CARGO_PKG_VERSION"));
            assert_eq!(
                (answer.mode.as_str(), answer.replica.as_str()),
                (mode.as_str(), "webhook-0")
            );
        }
    }
}

#[test]
fn a_probe_that_is_written_is_denied_and_says_how_to_ask() {
    for node in [free(), held(), cancelled(held())] {
        let verdict = asked(node.clone(), probe(node), false, &policy());
        assert_eq!(
            (verdict.outcome, verdict.reason),
            (Outcome::Deny, Reason::StrayProbe)
        );
        assert!(verdict.message.contains("dryRun=All"), "{}", verdict.message);
    }
    let of_status = Request {
        is_of_status: true,
        is_dry_run: true,
        ..Request::update(stranger(), free(), probe(free()))
    };
    let Decision::Verdict(verdict) = decide(&of_status, &Facts::default(), &policy(), now()) else {
        panic!()
    };
    assert_eq!(verdict.reason, Reason::StrayProbe);
}

/// A probe opens nothing: what is denied without it is denied with it.
#[test]
fn a_probe_beside_another_change_changes_no_denial() {
    for (old, new, reason) in [
        (held(), uncordoned(held()), Reason::Held),
        (held(), stripped(held()), Reason::TamperedHold),
        (free(), held(), Reason::SpoofedHold),
        (held(), cancelled(held()), Reason::CancelAlone),
    ] {
        for is_dry_run in [true, false] {
            let verdict = asked(old.clone(), probe(new.clone()), is_dry_run, &policy());
            assert_eq!((verdict.outcome, verdict.reason), (Outcome::Deny, reason));
        }
    }
}

/// Whoever finds one on a Node may take it off.
#[test]
fn a_probe_that_was_left_is_removed_by_anyone() {
    let verdict = asked(probe(held()), held(), false, &policy());
    assert_eq!(verdict.reason, Reason::NothingOfOurs);
}

#[test]
fn other_warnings_are_no_answer() {
    for text in [
        "",
        "cordonhold: the hold of node n was not renewed in time",
        "the probe has reached the webhook: version 1, mode enforce, replica r",
        "cordonhold: the probe has reached the webhook: version 1, mode enforce",
    ] {
        assert_eq!(ProbeAnswer::read(text), None, "{text}");
    }
}
