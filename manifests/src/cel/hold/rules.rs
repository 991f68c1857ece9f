//! The rules of the policies: what must be true, for which reason, and what somebody is told.
//!
//! Not here: the variables that they look at ([`super`]).

use cordonhold_shared::admission::Reason;
use cordonhold_shared::keys;

use super::super::{
    AGENT_ACCOUNT, LONGEST_MARK, TIME, all_of, annotation, any_of, in_parentheses, indented, not,
};
use super::{
    about_the_node, cancel_command, deeper, is_marked, names_the_hold, text, with_the_hold,
    with_the_hold_alone,
};

/// One rule: what must be true, and what somebody is told for whom it is not.
struct Rule {
    reason: Reason,
    holds: String,
    /// The message as a CEL expression, without the reason's code.
    told: String,
    /// What is told if the expression fails, in a few words.
    instead: &'static str,
}

/// The rules as YAML.
fn validations(rules: &[Rule]) -> String {
    let each = rules.iter().map(|rule| {
        let code = rule.reason.code();
        format!(
            "- expression: |-\n{}\n  reason: Forbidden\n  message: '{code}: {}'\n  messageExpression: |-\n{}",
            deeper(&rule.holds),
            rule.instead,
            deeper(&format!("'{code}: ' + {}", rule.told))
        )
    });
    each.collect::<Vec<_>>().join("\n")
}

// The rules, in the core's order: the first one that is broken is what somebody is told.

pub(super) fn of_an_update() -> String {
    let touches = "(variables.changesMarks || variables.changesTaint)";
    let mut rules = vec![not_own_node()];
    rules.extend(of_a_cancel(touches));
    rules.push(Rule {
        reason: Reason::SpoofedHold,
        holds: format!("variables.isMarked || !{touches}"),
        told: about_the_node(
            "node ",
            &format!(
                " carries no hold, and only its own agent may write one: nobody else may write {} or the other marks",
                keys::HOLDER
            ),
        ),
        instead: "only the agent of a node may write the marks of a hold",
    });
    rules.push(Rule {
        reason: Reason::ForgedWish,
        holds: "variables.wish != 'forged' || (variables.isOpen && variables.wanted == '')".to_owned(),
        told: about_the_node(
            &format!("{} of node ", keys::UNCORDON_WANTED),
            " is written by an uncordon of a held node, and removed by its agent or by whom it names",
        ),
        instead: "a kept uncordon is written by an uncordon alone",
    });
    rules.extend(of_a_held_node());
    rules.extend(of_a_request(
        "variables.changesRequest",
        "oldObject.metadata.name",
    ));
    validations(&rules)
}

/// An agent on its own node is not sent here: what is left writes another one.
fn not_own_node() -> Rule {
    Rule {
        reason: Reason::NotOwnNode,
        holds: "!variables.isAgent".to_owned(),
        told: about_the_node(
            &format!("{AGENT_ACCOUNT} is not the agent of node "),
            ": an agent may change only the node that its token names",
        ),
        instead: "an agent may change only the node that its token names",
    }
}

fn of_a_cancel(touches: &str) -> Vec<Rule> {
    let may = format!(
        "authorizer.group('{}').resource('{}').name(oldObject.metadata.name).check('{}').allowed()",
        keys::OVERRIDE_GROUP,
        keys::OVERRIDE_RESOURCE,
        keys::OVERRIDE_VERB
    );
    let cancel = annotation("object", keys::CANCEL);
    let right = any_of(&[
        "!variables.changesCancel".to_owned(),
        format!("!{cancel}.hasValue()"),
        in_parentheses(&all_of(&[
            "variables.isMarked".to_owned(),
            names_the_hold(&cancel),
        ])),
    ]);
    vec![
        Rule {
            reason: Reason::CancelAlone,
            holds: format!(
                "!variables.changesCancel || !(variables.uncordons || {touches} || variables.changesWish)"
            ),
            told: about_the_node(
                &format!("{} of node ", keys::CANCEL),
                " must be changed in a request of its own: first the cancel, then the uncordon or the change of marks",
            ),
            instead: "a cancel must be changed in a request of its own",
        },
        Rule {
            reason: Reason::NoOverride,
            holds: format!("!variables.changesCancel || {may}"),
            told: about_the_node(
                &format!("{} of node ", keys::CANCEL),
                &format!(
                    " may be written with the RBAC verb {} on {}.{} alone. Bind the ClusterRole cordonhold-override to those who may cancel",
                    keys::OVERRIDE_VERB,
                    keys::OVERRIDE_RESOURCE,
                    keys::OVERRIDE_GROUP
                ),
            ),
            instead: "a cancel needs the ClusterRole cordonhold-override",
        },
        Rule {
            reason: Reason::BadCancel,
            holds: right,
            told: format!(
                "(variables.isMarked\n  ? {} + {}\n  : {})",
                text(
                    "this cancel does nothing: it must name the hold and give a reason. To cancel the current reboot: "
                ),
                cancel_command(),
                about_the_node(
                    "this cancel does nothing: the node carries no hold. To keep it from its next reboot: kubectl annotate node ",
                    &format!(" {}='<your reason>'", keys::PAUSE),
                )
            ),
            instead: "this cancel does nothing",
        },
    ]
}

/// The rules of the request for a reboot, which count where `changes` holds, on the Node of this `name`.
fn of_a_request(changes: &str, name: &str) -> [Rule; 2] {
    let may = format!(
        "authorizer.group('{}').resource('{}').name({name}).check('{}').allowed()",
        keys::OVERRIDE_GROUP,
        keys::OVERRIDE_RESOURCE,
        keys::REBOOT_VERB
    );
    let request = annotation("object", keys::REBOOT_WANTED);
    let is_right = all_of(&[
        format!("asked.split(' ', 2)[0].size() <= {LONGEST_MARK}"),
        format!("asked.split(' ', 2)[0].matches('^{TIME}$')"),
        r"asked.matches('(?s)^[^ ]+ .*\\S')".to_owned(),
    ]);
    let told = |after: &str| {
        format!(
            "{} + {name} + {}",
            text(&format!("{} of node ", keys::REBOOT_WANTED)),
            text(after)
        )
    };
    [
        Rule {
            reason: Reason::NoRequest,
            holds: format!("!{changes} || {may}"),
            told: told(&format!(
                " may be written with the RBAC verb {} on {}.{} alone. Bind the ClusterRole cordonhold-reboot to those who may ask for reboots",
                keys::REBOOT_VERB,
                keys::OVERRIDE_RESOURCE,
                keys::OVERRIDE_GROUP
            )),
            instead: "a request for a reboot needs the ClusterRole cordonhold-reboot",
        },
        Rule {
            reason: Reason::BadRequest,
            holds: format!(
                "!{changes} || !{request}.hasValue() || [{request}.orValue('')].exists(asked,\n{}\n)",
                indented(&is_right)
            ),
            told: told(
                " leads to no reboot: it must begin with the time, such as 2026-11-30T08:00:00Z, and give a reason. \
                 kubectl cordonhold reboot writes it",
            ),
            instead: "a request for a reboot must begin with the time and give a reason",
        },
    ]
}

fn of_a_held_node() -> [Rule; 4] {
    let is_open = "variables.isOpen";
    // A cancel that is too late has its own words, for the cordon and for the marks.
    let is_ended =
        "variables.isCancelled && variables.isSealed && !variables.changesCancel && !variables.setsMarks"
            .to_owned();
    let is_asked = any_of(&[
        "(variables.uncordons && variables.isHeld)".to_owned(),
        "(variables.isMarked && (variables.changesMarks || variables.changesTaint))".to_owned(),
    ]);
    let too_late = all_of(&[is_ended, in_parentheses(&is_asked)]);
    let of_mark = |change: &str| format!("!variables.isMarked || !variables.{change} || {is_open}");
    [
        Rule {
            reason: Reason::TooLate,
            holds: not(&too_late),
            told: format!(
                "{}\n+ {} + {}",
                with_the_hold_alone(
                    "the hold of node ",
                    " was cancelled too late, because its reboot is under way: wait until the node is back",
                ),
                text(
                    ". If it is not back half a minute after this time, write the cancel once more, with another reason, and then send this again: "
                ),
                cancel_command()
            ),
            instead: "the reboot is under way: wait until the node is back",
        },
        Rule {
            reason: Reason::Held,
            holds: format!("!variables.uncordons || !variables.isHeld || variables.isLapsed || {is_open}"),
            told: with_the_hold("node ", " is held for a reboot and stays cordoned"),
            instead: "the node is held for a reboot and stays cordoned",
        },
        Rule {
            reason: Reason::TamperedHold,
            holds: of_mark("changesMarks"),
            told: with_the_hold(
                "only the agent of node ",
                " may change the marks of the hold, and what it wrote beside them",
            ),
            instead: "only the agent of the node may change the marks of its hold",
        },
        Rule {
            reason: Reason::TamperedTaint,
            holds: of_mark("changesTaint"),
            told: with_the_hold(
                "only the agent of node ",
                &format!(" may change the taint {} of the hold", keys::REBOOTING),
            ),
            instead: "only the agent of the node may change the taint of its hold",
        },
    ]
}

pub(super) fn of_a_creation() -> String {
    let spoofed = Rule {
        reason: Reason::SpoofedHold,
        holds: not(&is_marked("object")),
        told: format!(
            "{} + object.metadata.name + {}",
            text("node "),
            text(&format!(
                " may not be created with the marks of a hold: only its own agent writes them, once it runs there. Leave out the label {}, \
                 the taint {} and the annotations {}",
                keys::PHASE,
                keys::REBOOTING,
                keys::MARK_ANNOTATIONS.join(", ")
            ))
        ),
        instead: "a node may not be created with the marks of a hold",
    };
    let is_requested = format!("{}.hasValue()", annotation("object", keys::REBOOT_WANTED));
    let [no_request, bad_request] = of_a_request(&is_requested, "object.metadata.name");
    validations(&[spoofed, no_request, bad_request])
}

pub(super) fn of_a_deletion() -> String {
    validations(&[
        Rule {
            reason: Reason::TooLate,
            holds: "variables.isLapsed || !variables.isCancelled || !variables.isSealed".to_owned(),
            told: with_the_hold_alone(
                "node ",
                " is in a reboot that was cancelled too late, and may not be deleted before it is over",
            ),
            instead: "the reboot is under way: wait until the node is back",
        },
        Rule {
            reason: Reason::HeldDeleted,
            holds: "variables.isLapsed || variables.isCancelled".to_owned(),
            told: with_the_hold("node ", " is held for a reboot and may not be deleted"),
            instead: "the node is held for a reboot and may not be deleted",
        },
    ])
}
