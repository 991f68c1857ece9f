//! What is sent to the webhook to protect stock kured: every uncordon, and edits of kured's lock.

use cordonhold_shared::keys;

use super::{
    Definition, all_of, annotation, any_of, define, has_a_hold, has_the_agents_name, has_the_agents_rights,
    indented, is_on_this_node, label, not, uncordons, uncordons_or_touches,
};

/// The annotations that carry kured's lock, as CEL: a template of the chart, because people may name their own.
const LOCKS: &str = "{{ include \"cordonhold.kured-locks\" . }}";
/// One entry of kured's lock, exactly as kured writes it (kubereboot/kured: pkg/daemonsetlock).
const ENTRY: &str = r#"\{"nodeID":"[^"\\]+","metadata":\{"unschedulable":(?:true|false)\},"created":"[^"\\]+","TTL":[0-9]+\}"#;
/// A longer text of the lock, of about a hundred entries, would use up CEL's cost budget.
const LONGEST_LOCK: usize = 16384;

pub(super) fn definitions() -> Vec<Definition> {
    let agent = all_of(&[vec![has_the_agents_name()], has_the_agents_rights().to_vec()].concat());
    vec![
        define(
            "default-kured-locks",
            super::quoted(&[keys::KURED_LOCK, keys::KURED_V2_LOCK]),
        ),
        define(
            "uncordons-or-touches-a-hold",
            uncordons_or_touches(&uncordons_from_elsewhere()),
        ),
        define(
            "uncordons-the-node-that-its-token-names",
            uncordons_its_own_node(),
        ),
        define("changes-kureds-lock", changes_kureds_lock()),
        define("not-an-agent", not(&agent)),
        define("by-the-token-of-a-pod", by_a_pod()),
        define("not-its-own-entry-alone", not_its_own_entry_alone()),
        define("by-hand", format!("!{}", by_a_pod())),
    ]
}

/// Every uncordon, except by a pod on this very node while the node carries no hold of ours: kured's own uncordon is one of these.
fn uncordons_from_elsewhere() -> String {
    let [was, is] = uncordons();
    let own = all_of(&[
        "request.userInfo.username.startsWith('system:serviceaccount:')".to_owned(),
        is_on_this_node(),
        format!("!{}.hasValue()", label("oldObject", keys::PHASE)),
        format!("!{}.hasValue()", annotation("oldObject", keys::HOLDER)),
    ]);
    all_of(&[was, is, not(&own)])
}

fn uncordons_its_own_node() -> String {
    let [was, is] = uncordons();
    all_of(&[
        was,
        is,
        "request.userInfo.username.startsWith('system:serviceaccount:')".to_owned(),
        is_on_this_node(),
        not(&has_a_hold()),
    ])
}

fn changes_kureds_lock() -> String {
    format!(
        "{LOCKS}\n  .exists(key, object.metadata.?annotations[?key] != oldObject.metadata.?annotations[?key])"
    )
}

fn by_a_pod() -> String {
    format!("request.userInfo.?extra[?'{}'].hasValue()", keys::NODE_NAME_EXTRA)
}

/// False, so that the webhook is not asked, if both texts are exactly what kured writes and differ only in the entry of the token's node.
fn not_its_own_entry_alone() -> String {
    let node = keys::NODE_NAME_EXTRA;
    let written = [
        format!("texts.all(text, text.size() <= {LONGEST_LOCK}"),
        r#" && text.matches('^(' + entry + r'|\{"maxOwners":[0-9]+,"locks":(null|\[(' + entry + '(,' + entry + r')*)?\])\})$'))"#.to_owned(),
    ]
    .concat();
    let others = "texts[0].findAll(entry).filter(e, !e.startsWith(own)) == texts[1].findAll(entry).filter(e, !e.startsWith(own))";
    let exactly = all_of(&[written, others.to_owned()]);
    let texts = format!(
        "[[oldObject, object].map(o, o.metadata.?annotations[?key].orValue('{{\"maxOwners\":0,\"locks\":null}}'))].all(texts,\n{}\n)",
        indented(&exactly)
    );
    let each_key = format!("{LOCKS}.all(key,\n{}\n)", indented(&texts));
    let each_entry = format!("[r'{ENTRY}'].all(entry,\n{}\n)", indented(&each_key));
    let own = format!(
        "!['{{\"nodeID\":\"' + request.userInfo.extra['{node}'][0] + '\",'].all(own,\n{}\n)",
        indented(&each_entry)
    );
    any_of(&[
        format!("request.userInfo.?extra[?'{node}'].orValue([]).size() != 1"),
        own,
    ])
}
