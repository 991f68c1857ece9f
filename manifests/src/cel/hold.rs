//! The policy that keeps held nodes cordoned with no replica of the webhook running: the rules of [`cordonhold_shared::admission`] as far as
//! CEL can follow them.
//!
//! It errs to "held". It has no clock: the time is what the Node itself shows, the last heartbeat of its kubelet or, for a hold that somebody
//! cancelled, also the last write that the API server has noted in `managedFields`.
//! Here is what the rules look at, as variables. Not here: the rules (`rules.rs`), and stock kured's holds, which are on kured's DaemonSet, where no policy sees them.

use cordonhold_shared::admission::{SKEW, UNREADABLE};
use cordonhold_shared::hold::{DEFERRED_MAX_BYTES, UNTIL_GRACE};
use cordonhold_shared::keys;

use super::deferral::held_by_readable_marks;
use super::{
    Definition, LONGEST_MARK, TIME, all_of, annotation, any_of, define, disables_the_agent, has_a_hold,
    has_our_taint, has_the_agents_name, has_the_agents_rights, in_parentheses, indented, label, not,
    only_a_wish, quoted, some_annotation_changes, too_many_taints, uncordons,
};

mod rules;

/// A variable of a policy. The API server computes it when it is first used.
type Variable = (&'static str, String);

pub(super) fn definitions() -> Vec<Definition> {
    vec![
        define("hold-variables", variables(&of_the_hold())),
        define("change-variables", variables(&of_the_change())),
        define("hold-validations", rules::of_an_update()),
        define("created-hold-validations", rules::of_a_creation()),
        define("deleted-hold-validations", rules::of_a_deletion()),
    ]
}

/// The variables as YAML.
fn variables(all: &[Variable]) -> String {
    let each = all
        .iter()
        .map(|(name, text)| format!("- name: {name}\n  expression: |-\n{}", deeper(text)));
    each.collect::<Vec<_>>().join("\n")
}

fn deeper(text: &str) -> String {
    indented(&indented(text))
}

fn is_time(variable: &str) -> String {
    format!("{variable}.size() <= {LONGEST_MARK} && {variable}.matches('^{TIME}$')")
}

/// A text of CEL, between quotes that its commands do not use.
fn text(inside: &str) -> String {
    format!("\"{inside}\"")
}

// What is on the Node before the write.

fn of_the_hold() -> Vec<Variable> {
    vec![
        (
            "phase",
            format!("{}.orValue('')", label("oldObject", keys::PHASE)),
        ),
        (
            "until",
            format!("{}.orValue('')", annotation("oldObject", keys::UNTIL)),
        ),
        (
            "created",
            format!(
                "({}.orValue('') + '/').split('/', 2)[1].replace('/', '')",
                annotation("oldObject", keys::HOLDER)
            ),
        ),
        ("isCreatedReadable", is_time("variables.created")),
        ("isUntilReadable", is_time("variables.until")),
        (
            "isHeld",
            all_of(&[in_parentheses(&has_a_hold()), not(&only_a_wish())]),
        ),
        ("isReadable", all_of(&held_by_readable_marks())),
        ("isLapsed", is_lapsed()),
        (
            "isCancelled",
            names_the_hold(&annotation("oldObject", keys::CANCEL)),
        ),
        ("isSealed", is_sealed()),
        ("name", "oldObject.metadata.name".to_owned()),
        (
            "cancelName",
            format!("variables.isCreatedReadable ? variables.created : '{UNREADABLE}'"),
        ),
        ("told", told()),
        ("wayOut", way_out()),
    ]
}

/// A heartbeat of the kubelet that is later than `until` and this many seconds.
fn heartbeat_is_after(seconds: i64) -> String {
    let after = all_of(&[
        "c.type == 'Ready'".to_owned(),
        "dyn(c).?lastHeartbeatTime.orValue(null) != null".to_owned(),
        format!("timestamp(dyn(c).lastHeartbeatTime) > timestamp(variables.until) + duration('{seconds}s')"),
    ]);
    format!(
        "oldObject.?status.?conditions.orValue([]).exists(c,\n{}\n)",
        indented(&after)
    )
}

/// Agent and kubelet of a node have the same clock.
fn is_lapsed() -> String {
    let grace = UNTIL_GRACE.as_secs() + SKEW.as_secs();
    all_of(&["variables.isReadable".to_owned(), heartbeat_is_after(grace)])
}

/// A cancel needs a permission, so here also the time of the last write counts, which whoever may write the Node can forge in `managedFields`:
/// without it, a cancelled node whose kubelet is gone would stay cordoned for ever.
fn is_sealed() -> String {
    let seconds = SKEW.as_secs();
    let written = all_of(&[
        "dyn(m).?time.orValue(null) != null".to_owned(),
        format!("timestamp(dyn(m).time) > timestamp(variables.until) + duration('{seconds}s')"),
    ]);
    let is_over = any_of(&[
        heartbeat_is_after(seconds),
        format!(
            "oldObject.metadata.?managedFields.orValue([]).exists(m,\n{}\n)",
            indented(&written)
        ),
    ]);
    let is_before = all_of(&["variables.isUntilReadable".to_owned(), not(&is_over)]);
    all_of(&[
        "variables.phase == 'sealed'".to_owned(),
        format!(
            "({}.hasValue() ? {} : variables.isCreatedReadable)",
            annotation("oldObject", keys::UNTIL),
            in_parentheses(&is_before)
        ),
    ])
}

/// Whether a cancel, as an optional, names the hold and gives a reason.
fn names_the_hold(cancel: &str) -> String {
    let of_created = "(variables.created != '' && cancel.startsWith(variables.created + ' '))";
    let of_unreadable = format!("(!variables.isCreatedReadable && cancel.startsWith('{UNREADABLE} '))");
    let named = all_of(&[
        in_parentheses(&any_of(&[of_created.to_owned(), of_unreadable])),
        r"cancel.matches('(?s)^[^ ]+ .*\\S')".to_owned(),
    ]);
    format!("[{cancel}.orValue('')].exists(cancel,\n{}\n)", indented(&named))
}

// What people are told.

/// The hold in words. Only what has a form that can be checked is shown.
fn told() -> String {
    [
        "'its agent holds it for a reboot (phase ' + (variables.phase == '' ? 'none' : variables.phase)",
        "+ ', since ' + (variables.isCreatedReadable ? variables.created : 'nobody can read when')",
        "+ ', until ' + (variables.isUntilReadable ? variables.until : 'its agent ends it') + ')'",
    ]
    .join("\n")
}

fn cancel_command() -> String {
    format!(
        "{} + variables.name + {} + variables.cancelName + {}",
        text("kubectl annotate --overwrite node "),
        text(&format!(" {}='", keys::CANCEL)),
        text(" <your reason>'")
    )
}

/// What to do about a hold. The marks go one by one, as the webhook prints it.
fn way_out() -> String {
    let marks: Vec<String> = keys::MARK_ANNOTATIONS
        .iter()
        .map(|key| format!("{key}-"))
        .collect();
    [
        format!("{} + {}", text(". To call the reboot off: "), cancel_command()),
        format!(
            "+ {} + variables.name + {} + variables.name + {} + variables.name + {}",
            text(
                ". If no agent works on it, then uncordon the node as it should be, and: kubectl taint node "
            ),
            text(&format!(
                " {}:{}-; kubectl label node ",
                keys::REBOOTING,
                keys::NO_SCHEDULE
            )),
            text(&format!(" {}-; kubectl annotate node ", keys::PHASE)),
            text(&format!(
                " {}. If this policy is the problem: docs/policy.md says how to turn it off",
                marks.join(" ")
            ))
        ),
    ]
    .join("\n")
}

/// `before`, the node's name, `after`.
fn about_the_node(before: &str, after: &str) -> String {
    format!("{} + variables.name + {}", text(before), text(after))
}

fn with_the_hold(before: &str, after: &str) -> String {
    format!("{}\n+ variables.wayOut", with_the_hold_alone(before, after))
}

/// Without the way out, for whom it is denied just then.
fn with_the_hold_alone(before: &str, after: &str) -> String {
    format!(
        "{}\n+ variables.told",
        about_the_node(before, &format!("{after}: "))
    )
}

// What the write changes.

fn of_the_change() -> Vec<Variable> {
    let [was, is] = uncordons();
    let wanted = ["object", "oldObject"].map(|object| annotation(object, keys::UNCORDON_WANTED));
    let cancel = ["object", "oldObject"].map(|object| annotation(object, keys::CANCEL));
    let request = ["object", "oldObject"].map(|object| annotation(object, keys::REBOOT_WANTED));
    let agent = all_of(&[vec![has_the_agents_name()], has_the_agents_rights().to_vec()].concat());
    vec![
        ("isAgent", agent),
        ("isMarked", is_marked("oldObject")),
        ("uncordons", all_of(&[was, is])),
        ("changesMarks", changes_marks()),
        ("changesTaint", changes_taint()),
        ("setsMarks", sets_marks()),
        ("changesCancel", format!("{} != {}", cancel[0], cancel[1])),
        ("changesRequest", format!("{} != {}", request[0], request[1])),
        ("isOpen", "variables.isCancelled && !variables.isSealed && !variables.changesCancel && !variables.setsMarks".to_owned()),
        ("wanted", format!("{}.orValue('')", wanted[0])),
        ("wantedBefore", format!("{}.orValue('')", wanted[1])),
        ("isOfTheHold", is_of_the_hold()),
        ("changesWish", format!(
            "{} != {}\n&& ({}.hasValue() || variables.isOfTheHold)",
            wanted[0], wanted[1], wanted[0]
        )),
        ("wish", wish()),
    ]
}

/// Any mark, as the core sees it. A taint among very many is not looked for: CEL has a cost budget.
fn is_marked(object: &str) -> String {
    let taint = all_of(&[few_taints(&[object]), has_our_taint(object)]);
    any_of(&[
        format!("{}.hasValue()", label(object, keys::PHASE)),
        format!(
            "{}\n  .exists(key, {object}.metadata.?annotations[?key].hasValue())",
            quoted(&keys::MARK_ANNOTATIONS)
        ),
        in_parentheses(&taint),
    ])
}

fn few_taints(objects: &[&str]) -> String {
    too_many_taints(objects).replace('>', "<=")
}

fn phase_changes() -> String {
    let [now, before] = ["object", "oldObject"].map(|object| label(object, keys::PHASE));
    format!("{now} != {before}")
}

/// An annotation that is a mark, the phase, or what only the owner changes beside them.
fn changes_marks() -> String {
    let beside = any_of(&[
        in_parentheses(&disables_the_agent()),
        some_annotation_changes(&keys::OWNERS_ANNOTATIONS),
    ]);
    any_of(&[
        phase_changes(),
        some_annotation_changes(&keys::MARK_ANNOTATIONS),
        in_parentheses(&all_of(&[
            "variables.isMarked".to_owned(),
            in_parentheses(&beside),
        ])),
    ])
}

/// On a held Node with very many taints, any change of them counts.
fn changes_taint() -> String {
    let both = ["object", "oldObject"];
    let many = all_of(&[too_many_taints(&both), in_parentheses(&has_a_hold())]);
    let few = all_of(&[
        few_taints(&both),
        format!("{}\n  != {}", has_our_taint("object"), has_our_taint("oldObject")),
    ]);
    all_of(&[
        "object.spec.?taints != oldObject.spec.?taints".to_owned(),
        in_parentheses(&any_of(&[in_parentheses(&many), in_parentheses(&few)])),
    ])
}

/// A mark is added or gets another value.
fn sets_marks() -> String {
    let is_set = |among: &[&str]| {
        format!(
            "{}\n  .exists(key, object.metadata.?annotations[?key].hasValue() && object.metadata.?annotations[?key] != oldObject.metadata.?annotations[?key])",
            quoted(among)
        )
    };
    let phase = all_of(&[
        format!("{}.hasValue()", label("object", keys::PHASE)),
        phase_changes(),
    ]);
    let beside = any_of(&[
        in_parentheses(&disables_the_agent()),
        is_set(&keys::OWNERS_ANNOTATIONS),
    ]);
    let taint = all_of(&[few_taints(&["object"]), has_our_taint("object")]);
    any_of(&[
        in_parentheses(&phase),
        is_set(&keys::MARK_ANNOTATIONS),
        in_parentheses(&all_of(&[
            "variables.isMarked".to_owned(),
            in_parentheses(&beside),
        ])),
        in_parentheses(&all_of(&[
            "variables.changesTaint".to_owned(),
            in_parentheses(&taint),
        ])),
    ])
}

/// An uncordon of a held node that is kept on it, or noted as done: `<created> <time> <user>`.
fn has_the_form_of_a_wish(variable: &str) -> String {
    all_of(&[
        format!("{variable}.size() <= {DEFERRED_MAX_BYTES}"),
        format!("{variable}.matches('^[^ ]+ (done:)?(-|{TIME}) .')"),
        format!("{variable}.startsWith(variables.created + ' ')"),
    ])
}

fn is_of_the_hold() -> String {
    all_of(&[
        "variables.isReadable".to_owned(),
        has_the_form_of_a_wish("variables.wantedBefore"),
    ])
}

/// What the write does to the uncordon that is kept: nothing, `asked`, `done`, `back` or `forged`, as the core's `deferred_change`.
fn wish() -> String {
    let is_own = all_of(&[
        "variables.isReadable".to_owned(),
        has_the_form_of_a_wish("variables.wanted"),
        "variables.wanted.split(' ', 3)[2] == request.userInfo.username".to_owned(),
    ]);
    [
        "!variables.changesWish ? ''".to_owned(),
        ": request.?subResource.orValue('') != '' ? 'forged'".to_owned(),
        ": variables.wanted == '' ? (variables.isOfTheHold && variables.wantedBefore.split(' ', 3)[2] == request.userInfo.username ? 'back' : 'forged')".to_owned(),
        format!(": !{} ? 'forged'", in_parentheses(&is_own)),
        ": variables.wanted.split(' ', 3)[1].startsWith('done:') ? (variables.uncordons ? 'done' : 'forged')".to_owned(),
        ": variables.isOfTheHold && !variables.wantedBefore.split(' ', 3)[1].startsWith('done:') ? 'forged'".to_owned(),
        ": 'asked'".to_owned(),
    ]
    .join("\n")
}
