//! What narrows the role for people who pause: RBAC must grant `patch` on Nodes for `kubectl annotate`, and the policy leaves only the annotations
//! that are for people.

use cordonhold_shared::keys;

use super::{Definition, all_of, any_of, define, in_parentheses, may, quoted};

pub(super) fn definitions() -> Vec<Definition> {
    vec![
        define(
            "not-a-kubelet",
            "!('system:nodes' in request.userInfo.?groups.orValue([]))".to_owned(),
        ),
        define(
            "may-only-annotate",
            all_of(&[
                may(keys::ANNOTATE_VERB),
                "!authorizer.requestResource.check('update').allowed()".to_owned(),
            ]),
        ),
        define(
            "peoples-annotations",
            format!(
                "{}\n+ ({} ? {} : [])\n+ ({} ? {} : [])",
                quoted(&[keys::PAUSE, keys::KEEP_CORDONED, keys::PROBE]),
                may(keys::OVERRIDE_VERB),
                quoted(&[keys::CANCEL]),
                may(keys::REBOOT_VERB),
                quoted(&[keys::REBOOT_WANTED])
            ),
        ),
        define(
            "changes-annotations-alone",
            all_of(
                &[
                    "object.?spec",
                    "object.metadata.?labels",
                    "object.metadata.?finalizers",
                    "object.metadata.?ownerReferences",
                ]
                .map(|field| format!("{field} == oldO{}", &field[1..])),
            ),
        ),
        define(
            "changes-peoples-annotations-alone",
            changes_peoples_annotations_alone(),
        ),
    ]
}

fn changes_peoples_annotations_alone() -> String {
    let same = any_of(&[
        "key in variables.keys".to_owned(),
        "variables.before[?key] == variables.after[?key]".to_owned(),
    ]);
    let each = |annotations: &str| format!("variables.{annotations}.all(key, {})", in_parentheses(&same));
    all_of(&[each("after"), each("before")])
}
