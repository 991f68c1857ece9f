//! Mode defer: which uncordons the webhook changes, and the policy that does the same without a webhook.
//!
//! The policy has no clock: it defers only while the Node is Ready and its last heartbeat is before the hold's `until`.
//! What it leaves alone, the validating webhook decides.

use cordonhold_shared::hold::DEFERRED_MAX_BYTES;
use cordonhold_shared::keys;

use super::{
    Definition, LONGEST_MARK, TIME, all_of, annotation, any_of, define, has_our_taint, has_the_agents_name,
    in_parentheses, indented, label, marks_can_be_read, matches_old, no_annotation_changes, not,
    too_many_taints, uncordons,
};

/// The phases in which a node is held.
const HELD_PHASES: [&str; 4] = ["draining", "delaying", "sealed", "returning"];
/// The longest user name that is kept: an annotation has room for it beside what else is in it.
const LONGEST_NAME: usize = 250;

pub(super) fn definitions() -> Vec<Definition> {
    let deferred = deferred_by_the_policy();
    vec![
        define("uncordons-a-held-node", uncordons_what_may_be_held()),
        define(
            "not-an-agent-elsewhere-and-a-name-that-can-be-kept",
            name_can_be_kept(),
        ),
        define(
            "uncordons-a-node-that-is-held-by-marks-that-can-be-read",
            all_of(&{
                let [was, is] = uncordons();
                [vec![is, was], held_by_readable_marks()].concat()
            }),
        ),
        define("is-not-cancelled", is_not_cancelled()),
        define("changes-no-mark", changes_no_mark()),
        define("changes-no-deferred-uncordon", changes_no_deferred_uncordon()),
        define("the-machine-is-up", the_machine_is_up()),
        define("the-taint-stays", the_taint_stays()),
        define("is-kept", is_kept()),
        define("asked", asked()),
        define("keep-the-uncordon", keep_the_uncordon()),
        define("not-deferred-by-the-policy", not(&deferred)),
        define("deferred-by-the-policy", deferred),
    ]
}

fn wanted(object: &str) -> String {
    annotation(object, keys::UNCORDON_WANTED)
}

/// The hold's `created`, which stands behind the `/` of the holder.
fn created() -> String {
    format!(
        "{}.orValue('/').split('/')[1]",
        annotation("oldObject", keys::HOLDER)
    )
}

/// A wish (phase wanted) holds nothing.
fn uncordons_what_may_be_held() -> String {
    let [was, is] = uncordons();
    all_of(&[
        was,
        is,
        format!("{}.hasValue()", annotation("oldObject", keys::HOLDER)),
        format!(
            "{}.orValue('wanted') != 'wanted'",
            label("oldObject", keys::PHASE)
        ),
    ])
}

fn name_can_be_kept() -> String {
    let size = "request.userInfo.username.size()";
    all_of(&[
        format!("!{}", has_the_agents_name()),
        format!("{size} > 0"),
        format!("{size} <= {LONGEST_NAME}"),
    ])
}

pub(super) fn held_by_readable_marks() -> Vec<String> {
    let phases: Vec<String> = HELD_PHASES.iter().map(|phase| format!("'{phase}'")).collect();
    let [holder, until, was_unschedulable] = marks_can_be_read();
    vec![
        format!(
            "{}.orValue('') in [{}]",
            label("oldObject", keys::PHASE),
            phases.join(", ")
        ),
        holder,
        format!(
            "{}.orValue('').startsWith(oldObject.metadata.uid + '/')",
            annotation("oldObject", keys::HOLDER)
        ),
        until,
        was_unschedulable,
        matches_old(keys::ATTEMPT, "0", LONGEST_MARK, "^[0-9]{1,2}$"),
    ]
}

/// A hold that was cancelled is open, unless its reboot is under way.
fn is_not_cancelled() -> String {
    any_of(&[
        format!("{}.orValue('') == 'sealed'", label("oldObject", keys::PHASE)),
        format!(
            "!{}.orValue('')\n  .startsWith({} + ' ')",
            annotation("oldObject", keys::CANCEL),
            created()
        ),
    ])
}

fn changes_no_mark() -> String {
    let [now, before] = ["object", "oldObject"].map(|object| label(object, keys::PHASE));
    let [agent, agent_before] = ["object", "oldObject"].map(|object| label(object, keys::AGENT));
    let guarded: Vec<&str> = keys::MARK_ANNOTATIONS
        .into_iter()
        .chain([keys::CANCEL, keys::REBOOT_WANTED])
        .chain(keys::OWNERS_ANNOTATIONS)
        .collect();
    all_of(&[
        format!("{now} == {before}"),
        format!(
            "({agent}.orValue('') != '{0}' || {agent_before}.orValue('') == '{0}')",
            keys::DISABLED
        ),
        no_annotation_changes(&guarded),
    ])
}

/// What this policy wrote before another webhook uncordoned again.
fn wrote_it_just_now() -> String {
    format!("{}.orValue('')\n  == ({})", wanted("object"), asked())
}

fn changes_no_deferred_uncordon() -> String {
    let just_now = all_of(&[wrote_it_just_now(), not(&is_kept())]);
    any_of(&[
        format!("{} == {}", wanted("object"), wanted("oldObject")),
        in_parentheses(&just_now),
    ])
}

fn the_machine_is_up() -> String {
    let up = all_of(&[
        "c.type == 'Ready' && c.status == 'True'".to_owned(),
        format!(
            "timestamp(c.lastHeartbeatTime) < timestamp({}.orValue(''))",
            annotation("oldObject", keys::UNTIL)
        ),
    ]);
    format!(
        "oldObject.?status.?conditions.orValue([]).exists(c,\n{}\n)",
        indented(&up)
    )
}

/// A policy cannot put a taint back into a list: a taint that comes off with the cordon is left to the validation.
fn the_taint_stays() -> String {
    all_of(&[
        too_many_taints(&["object", "oldObject"]).replace('>', "<="),
        format!("{}\n  == {}", has_our_taint("object"), has_our_taint("oldObject")),
    ])
}

/// The first uncordon stays, whoever asks again.
fn is_kept() -> String {
    all_of(&[
        matches_old(
            keys::UNCORDON_WANTED,
            "",
            DEFERRED_MAX_BYTES,
            &format!("^[^ ]+ (-|{TIME}) ."),
        ),
        format!(
            "{}.orValue('')\n  .startsWith({} + ' ')",
            wanted("oldObject"),
            created()
        ),
    ])
}

/// What the policy writes: it has no clock, so a `-` stands for the time.
fn asked() -> String {
    format!("{} + ' - ' + request.userInfo.username", created())
}

fn keep_the_uncordon() -> String {
    let key = keys::UNCORDON_WANTED;
    [
        "[JSONPatch{op: 'add', path: '/spec/unschedulable', value: true}]".to_owned(),
        "+ (variables.isKept".to_owned(),
        "  ? []".to_owned(),
        format!("  : [JSONPatch{{op: 'add', path: '/metadata/annotations/' + jsonpatch.escapeKey('{key}'), value: variables.asked}}])"),
    ]
    .join("\n")
}

/// Exactly what the policy has just deferred, and nothing beside it.
fn deferred_by_the_policy() -> String {
    let mut parts = vec![
        "request.?subResource.orValue('') == ''".to_owned(),
        "object.spec.?unschedulable.orValue(false)".to_owned(),
        "object.spec.?taints == oldObject.spec.?taints".to_owned(),
        format!("{} != {}", wanted("object"), wanted("oldObject")),
        wrote_it_just_now(),
        format!("!{}", has_the_agents_name()),
        not(&is_kept()),
        "oldObject.spec.?unschedulable.orValue(false)".to_owned(),
    ];
    parts.extend(held_by_readable_marks());
    parts.push(changes_no_mark());
    all_of(&parts)
}
