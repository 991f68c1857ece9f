//! The CEL of the manifests: which requests the webhook is asked about, what the policy of mode defer does, and what the policy denies. Every key comes from
//! [`cordonhold_shared::keys`], so that a new mark is added in one place.
//!
//! An expression may use only what Kubernetes 1.30 knows in `matchConditions`, and the policy what 1.36 knows; and CEL has a cost budget,
//! so nothing looks at each taint before they are counted.
//! Not here: who decides for a request that is sent ([`cordonhold_shared::admission`]), and the objects around ([`crate::chart`]).

mod deferral;
pub(crate) mod guard;
mod hold;
mod kured;
mod people;

use cordonhold_shared::keys;

/// The agent's `ServiceAccount`.
const AGENT_ACCOUNT: &str = "cordonhold-agent";
/// More taints than this, before and after counted together, are not looked at one by one.
const MOST_TAINTS: usize = 1000;
/// RFC 3339 in UTC, from 2000 on, as our programs write it.
const TIME: &str = "(2[0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|(2[0-9](0[48]|[2468][048]|[13579][26])|2[048]00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z";

/// Longest text that is compared with a pattern: the longest mark that an agent writes, holder, has under 80 characters. CEL counts the length of
/// text and pattern as cost; a text of 182,000 characters would use all of it up, and a policy that fails denies.
const LONGEST_MARK: usize = 200;

/// A named template of the chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    pub name: &'static str,
    pub text: String,
}

/// All expressions.
#[must_use]
pub fn definitions() -> Vec<Definition> {
    let mut all = vec![
        define("not-the-agent-on-its-own-node", not_the_agent_on_its_own_node()),
        define(
            "uncordons-a-held-node-or-touches-a-hold",
            uncordons_or_touches(&uncordons_a_held_node()),
        ),
        define(
            "deletes-a-node-with-a-hold",
            all_of(&[in_parentheses(&has_a_hold()), not(&only_a_wish())]),
        ),
        define("creates-a-node-with-a-mark", creates_a_node_with_a_mark()),
    ];
    all.extend(kured::definitions());
    all.extend(deferral::definitions());
    all.extend(hold::definitions());
    all.extend(people::definitions());
    all
}

/// The file of the chart that has them all, and the keys that other templates name.
#[must_use]
pub fn file() -> String {
    let keys = [
        ("key.agent", keys::AGENT),
        ("key.disabled", keys::DISABLED),
        ("key.phase", keys::PHASE),
        ("key.pause", keys::PAUSE),
        ("key.keep-cordoned", keys::KEEP_CORDONED),
        ("key.cancel", keys::CANCEL),
        ("key.reboot-wanted", keys::REBOOT_WANTED),
    ];
    let keys = keys.map(|(name, key)| (name.to_owned(), key.to_owned()));
    let expressions = definitions()
        .into_iter()
        .map(|Definition { name, text }| (format!("cel.{name}"), text));
    let defined = keys.into_iter().chain(expressions).map(|(name, inside)| {
        format!("{{{{- define \"cordonhold.{name}\" -}}}}\n{inside}\n{{{{- end -}}}}\n")
    });
    let defined: Vec<String> = defined.collect();
    format!("{HEAD}{}", defined.concat())
}

const HEAD: &str = "{{/* Written by `cargo manifests` from manifests/src/cel.rs: which requests are sent to the webhook, and what the policies do. */}}\n";

fn define(name: &'static str, text: String) -> Definition {
    Definition { name, text }
}

// How expressions are put together.

fn all_of(parts: &[String]) -> String {
    parts.join("\n&& ")
}

fn any_of(parts: &[String]) -> String {
    parts.join("\n|| ")
}

fn not(inner: &str) -> String {
    format!("!{}", in_parentheses(inner))
}

fn in_parentheses(inner: &str) -> String {
    format!("(\n{}\n)", indented(inner))
}

fn indented(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

fn quoted(keys: &[&str]) -> String {
    let quoted: Vec<String> = keys.iter().map(|key| format!("'{key}'")).collect();
    format!("[{}]", quoted.join(", "))
}

// The words that expressions are made of.

/// The value of an annotation as an optional, of `object` or `oldObject`.
fn annotation(object: &str, key: &str) -> String {
    format!("{object}.metadata.?annotations[?'{key}']")
}

fn label(object: &str, key: &str) -> String {
    format!("{object}.metadata.?labels[?'{key}']")
}

fn has_the_agents_name() -> String {
    format!("request.userInfo.username.matches('^system:serviceaccount:[^:]+:{AGENT_ACCOUNT}$')")
}

/// The requester's token is bound to a pod on the Node that is written.
fn is_on_this_node() -> String {
    format!(
        "request.userInfo.?extra[?'{}'].orValue([]) == [object.metadata.name]",
        keys::NODE_NAME_EXTRA
    )
}

fn may(verb: &str) -> String {
    format!(
        "authorizer.group('{}').resource('{}').check('{verb}').allowed()",
        keys::OVERRIDE_GROUP,
        keys::OVERRIDE_RESOURCE
    )
}

/// An agent has the verb `own`. Whoever may do everything has it too, but then also `override`, which no agent has.
fn has_the_agents_rights() -> [String; 2] {
    [may(keys::OWN_VERB), format!("!{}", may(keys::OVERRIDE_VERB))]
}

fn not_the_agent_on_its_own_node() -> String {
    let [own, no_override] = has_the_agents_rights();
    not(&all_of(&[
        has_the_agents_name(),
        is_on_this_node(),
        own,
        no_override,
    ]))
}

fn uncordons() -> [String; 2] {
    [
        "oldObject.spec.?unschedulable.orValue(false)".to_owned(),
        "!object.spec.?unschedulable.orValue(false)".to_owned(),
    ]
}

fn has_a_hold() -> String {
    any_of(&[
        format!("{}.hasValue()", label("oldObject", keys::PHASE)),
        format!("{}.hasValue()", annotation("oldObject", keys::HOLDER)),
    ])
}

/// The annotation that was there has this form, and at most `longest` characters.
fn matches_old(key: &str, otherwise: &str, longest: usize, pattern: &str) -> String {
    let value = format!("{}.orValue('{otherwise}')", annotation("oldObject", key));
    all_of(&[
        format!("{value}.size() <= {longest}"),
        format!("{value}.matches('{pattern}')"),
    ])
}

/// The marks can be read: what every reading of a hold or a wish needs.
fn marks_can_be_read() -> [String; 3] {
    [
        matches_old(keys::HOLDER, "", LONGEST_MARK, &format!("^[^/]+/{TIME}$")),
        matches_old(keys::UNTIL, "", LONGEST_MARK, &format!("^{TIME}$")),
        format!(
            "{}.orValue('true') in ['true', 'false']",
            annotation("oldObject", keys::WAS_UNSCHEDULABLE)
        ),
    ]
}

/// A wish holds nothing, but only one that can be fully read is one. No wish has an attempt.
fn only_a_wish() -> String {
    let mut parts = vec![format!(
        "{}.orValue('') == 'wanted'",
        label("oldObject", keys::PHASE)
    )];
    parts.extend(marks_can_be_read());
    parts.push(format!("!{}.hasValue()", annotation("oldObject", keys::ATTEMPT)));
    all_of(&parts)
}

fn uncordons_a_held_node() -> String {
    let [was, is] = uncordons();
    all_of(&[was, is, in_parentheses(&has_a_hold()), not(&only_a_wish())])
}

/// The number of taints of these objects is too large to look at each.
fn too_many_taints(objects: &[&str]) -> String {
    let sizes: Vec<String> = objects
        .iter()
        .map(|object| format!("{object}.spec.?taints.orValue([]).size()"))
        .collect();
    format!("{} > {MOST_TAINTS}", sizes.join(" + "))
}

fn has_our_taint(object: &str) -> String {
    format!(
        "{object}.spec.?taints.orValue([]).exists(t, t.key == '{}' && t.effect == '{}')",
        keys::REBOOTING,
        keys::NO_SCHEDULE
    )
}

fn some_annotation_changes(among: &[&str]) -> String {
    format!(
        "{}\n  .exists(key, object.metadata.?annotations[?key] != oldObject.metadata.?annotations[?key])",
        quoted(among)
    )
}

fn no_annotation_changes(among: &[&str]) -> String {
    format!(
        "{}\n  .all(key, object.metadata.?annotations[?key] == oldObject.metadata.?annotations[?key])",
        quoted(among)
    )
}

fn disables_the_agent() -> String {
    let [now, before] = ["object", "oldObject"].map(|object| label(object, keys::AGENT));
    all_of(&[
        format!("{now}.orValue('') == '{}'", keys::DISABLED),
        format!("{before}.orValue('') != '{}'", keys::DISABLED),
    ])
}

/// Any mark that a Node can carry, as `object` has it.
fn has_a_mark(object: &str) -> String {
    any_of(&[
        format!("{}.hasValue()", label(object, keys::PHASE)),
        format!(
            "{}\n  .exists(key, {object}.metadata.?annotations[?key].hasValue())",
            quoted(&keys::MARK_ANNOTATIONS)
        ),
        too_many_taints(&[object]),
        has_our_taint(object),
    ])
}

/// The question whether the webhook is there. That it is removed needs nobody's answer.
fn writes_the_probe() -> String {
    let [now, before] = ["object", "oldObject"].map(|object| annotation(object, keys::PROBE));
    all_of(&[format!("{now}.hasValue()"), format!("{now} != {before}")])
}

/// Everybody but the owner is asked about who changes a mark, a cancel, a request, a deferred uncordon, or what the agent obeys beside them.
fn touches_a_hold() -> String {
    let watched: Vec<&str> = keys::MARK_ANNOTATIONS
        .into_iter()
        .chain([keys::CANCEL, keys::REBOOT_WANTED, keys::UNCORDON_WANTED])
        .collect();
    let phases = ["object", "oldObject"].map(|object| label(object, keys::PHASE));
    let taints = any_of(&[
        too_many_taints(&["object", "oldObject"]),
        format!("{}\n  != {}", has_our_taint("object"), has_our_taint("oldObject")),
    ]);
    let taint_changes = all_of(&[
        "object.spec.?taints != oldObject.spec.?taints".to_owned(),
        in_parentheses(&taints),
    ]);
    let owners = any_of(&[
        in_parentheses(&disables_the_agent()),
        some_annotation_changes(&keys::OWNERS_ANNOTATIONS),
    ]);
    // While the Node carries marks, only its owner changes these; without marks, people may.
    let owners_change = all_of(&[in_parentheses(&owners), in_parentheses(&has_a_mark("oldObject"))]);
    any_of(&[
        format!("{} != {}", phases[0], phases[1]),
        some_annotation_changes(&watched),
        in_parentheses(&writes_the_probe()),
        in_parentheses(&taint_changes),
        in_parentheses(&owners_change),
    ])
}

/// An agent never writes another Node, so whatever it changes there is sent.
fn uncordons_or_touches(uncordons: &str) -> String {
    any_of(&[has_the_agents_name(), in_parentheses(uncordons), touches_a_hold()])
}

/// Or with a request, which takes a permission.
fn creates_a_node_with_a_mark() -> String {
    any_of(&[
        has_a_mark("object"),
        format!("{}.hasValue()", annotation("object", keys::REBOOT_WANTED)),
    ])
}

#[cfg(test)]
mod tests;
