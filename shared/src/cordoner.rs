//! Who cordoned a node, as far as the Node itself says it: the field manager that set `spec.unschedulable`, and the annotations and labels
//! by which programs note that they cordoned it.
//!
//! Neither is proof. Anybody may name any field manager, and may write any annotation. So this is for people alone, and nothing is decided
//! by it.
//! Not here: the hold of Cordonhold ([`crate::hold`]), and stock kured's lock ([`crate::lock`]).

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::keys;
use crate::node::NodeView;
use crate::quote::{QUOTED_MAX, one_line, quoted_to};

/// The write that set `spec.unschedulable` as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Author {
    /// The field manager, which is the name that the client gave itself: for most the name of its program.
    pub manager: String,
    /// When it last wrote, if the API server has noted that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// What is known by that name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known: Option<&'static str>,
}

/// What a program has noted on the Node about its cordon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// The program.
    pub program: &'static str,
    /// What the note means.
    pub means: &'static str,
    /// The annotation or label.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// Names of field managers, and what is known by them. A client that names none has the first word of its user agent
/// (k8s.io/apiserver: `pkg/endpoints/handlers/create.go`, `managerOrUserAgent`).
const MANAGERS: [(&str, &str); 7] = [
    (keys::FIELD_MANAGER, "the node's reboot agent"),
    (keys::KUBECTL_MANAGER, "kubectl cordonhold"),
    (keys::UNINSTALL_MANAGER, "the uninstall of Cordonhold"),
    (
        "kubectl",
        "a person or a script, by kubectl cordon, uncordon or drain",
    ),
    ("kubectl-patch", "a person or a script, by kubectl patch"),
    ("kubectl-edit", "a person, by kubectl edit"),
    ("kured", "stock kured"),
];

/// How a note is recognised.
enum Mark {
    /// An annotation with this key, with any value but those that say the contrary.
    Annotation(&'static str),
    /// An annotation whose key begins so.
    Prefix(&'static str),
    /// An annotation with this key whose value begins so.
    Value(&'static str, &'static str),
}

/// A program, how it notes its cordon, and what the note means.
struct Owner {
    program: &'static str,
    mark: Mark,
    means: &'static str,
}

/// The programs that note their cordons. After each row, where that is written down.
const OWNERS: [Owner; 11] = [
    // kairos-io/kairos-operator v0.1.3: internal/controller/nodeop_controller.go
    Owner {
        program: "kairos-operator",
        mark: Mark::Annotation("operator.kairos.io/cordoned-by"),
        means: "the NodeOp that cordoned it",
    },
    // NVIDIA/nodewright: operator/internal/wrapper/node.go. It also adopts cordons of others.
    Owner {
        program: "nodewright",
        mark: Mark::Prefix("skyhook.nvidia.com/cordon_"),
        means: "a Skyhook needs it cordoned, whoever cordoned it",
    },
    // NVIDIA/nodewright issue 275: the name after Skyhook.
    Owner {
        program: "nodewright",
        mark: Mark::Prefix("nodewright.nvidia.com/cordon_"),
        means: "a custom resource of it needs the node cordoned, whoever cordoned it",
    },
    // NVIDIA/k8s-operator-libs: pkg/upgrade/consts.go, for the GPU driver; NVIDIA/k8s-driver-manager pull request 258 does the same.
    Owner {
        program: "NVIDIA GPU operator",
        mark: Mark::Annotation("nvidia.com/gpu-driver-upgrade.node-initial-state.unschedulable"),
        means: "the node was cordoned before its driver upgrade, and is to stay so",
    },
    // NVIDIA/NVSentinel: fault-quarantine
    Owner {
        program: "NVSentinel",
        mark: Mark::Value("quarantineHealthEventIsCordoned", "True"),
        means: "it cordoned the node because of a health event",
    },
    // siderolabs/talos: pkg/machinery/constants
    Owner {
        program: "Talos",
        mark: Mark::Value("talos.dev/cordoned", "true"),
        means: "Talos cordoned the node, and uncordons it when it is up again",
    },
    // cybozu-go/cke: op/reboot.go
    Owner {
        program: "CKE",
        mark: Mark::Annotation("cke.cybozu.com/reboot"),
        means: "CKE drains the node for a reboot of its own queue",
    },
    // flatcar/flatcar-linux-update-operator: pkg/constants/constants.go
    Owner {
        program: "Flatcar Linux update operator",
        mark: Mark::Value(
            "flatcar-linux-update.v1.flatcar-linux.net/agent-made-unschedulable",
            "true",
        ),
        means: "its agent cordoned the node for an update",
    },
    // openshift/machine-config-operator: pkg/daemon/constants/constants.go
    Owner {
        program: "OpenShift machine-config-operator",
        mark: Mark::Value("machineconfiguration.openshift.io/desiredDrain", "drain-"),
        means: "it wants the node drained for a new configuration",
    },
    // kubereboot/kured: cmd/kured/main.go
    Owner {
        program: "kured",
        mark: Mark::Annotation(keys::KURED_REBOOT_IN_PROGRESS),
        means: "kured, or an agent with --annotate-nodes, wants to reboot the node since then",
    },
    // kubereboot/kured pull request 1000
    Owner {
        program: "kured",
        mark: Mark::Annotation(keys::KURED_V2_REBOOT_IN_PROGRESS),
        means: "kured wants to reboot the node since then",
    },
];

/// Who set `spec.unschedulable`, from `metadata.managedFields` of a Node. If several managers share the field, the one that wrote last.
pub fn author(managed_fields: &Value) -> Option<Author> {
    let entries = managed_fields.as_array()?.iter();
    let of_cordon = entries.filter(|entry| entry["fieldsV1"]["f:spec"].get("f:unschedulable").is_some());
    let authors = of_cordon.map(|entry| {
        let manager = entry["manager"].as_str().unwrap_or_default();
        let known = MANAGERS.iter().find(|(name, _)| *name == manager);
        Author {
            manager: one_line(manager, QUOTED_MAX),
            at: entry["time"].as_str().and_then(|time| time.parse().ok()),
            known: known.map(|(_, words)| *words),
        }
    });
    authors.max_by_key(|author| author.at)
}

/// What programs have noted about their cordon of this Node.
pub fn claims(node: &NodeView) -> Vec<Claim> {
    let annotations = &node.metadata.annotations;
    let of_owner = |owner: &'static Owner| {
        let is_its = move |(key, value): &(&String, &String)| match owner.mark {
            Mark::Annotation(known) => key.as_str() == known,
            Mark::Prefix(known) => key.starts_with(known),
            Mark::Value(known, word) => key.as_str() == known && value.starts_with(word),
        };
        annotations.iter().filter(is_its).map(move |(key, value)| Claim {
            program: owner.program,
            means: owner.means,
            key: one_line(key, QUOTED_MAX),
            value: quoted_to(value, QUOTED_MAX),
        })
    };
    OWNERS.iter().flat_map(of_owner).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, time: &str, fields: &Value) -> Value {
        json!({ "manager": manager, "operation": "Update", "time": time, "fieldsV1": fields })
    }

    #[test]
    fn the_author_is_who_wrote_the_field_last_and_a_stranger_is_named_too() {
        let cordon = json!({ "f:spec": { "f:unschedulable": {} } });
        let fields = json!([
            entry("kubelet", "2026-11-29T12:00:00Z", &json!({ "f:status": {} })),
            entry("kubectl", "2026-11-29T10:00:00Z", &cordon),
            entry("x'y", "2026-11-29T11:00:00Z", &cordon),
        ]);
        let author = author(&fields).unwrap();
        assert_eq!((author.manager.as_str(), author.known), ("x'y", None));
        assert_eq!(author.at, "2026-11-29T11:00:00Z".parse().ok());
        let by_kubectl = super::author(&json!([fields[1]])).unwrap();
        assert!(
            by_kubectl.known.unwrap().contains("kubectl cordon"),
            "{by_kubectl:?}"
        );
        for nobody in [json!(null), json!([]), json!([fields[0]]), json!([7])] {
            assert_eq!(super::author(&nobody), None, "{nobody}");
        }
    }

    #[test]
    fn each_program_of_the_table_is_told_by_what_it_notes_and_by_nothing_else() {
        for (key, value, program) in [
            (
                "operator.kairos.io/cordoned-by",
                "default/op-1",
                Some("kairos-operator"),
            ),
            ("skyhook.nvidia.com/cordon_a", "true", Some("nodewright")),
            ("nodewright.nvidia.com/cordon_a", "true", Some("nodewright")),
            ("skyhook.nvidia.com/status_a", "complete", None),
            (
                "nvidia.com/gpu-driver-upgrade.node-initial-state.unschedulable",
                "true",
                Some("NVIDIA GPU operator"),
            ),
            ("quarantineHealthEventIsCordoned", "True", Some("NVSentinel")),
            ("quarantineHealthEventIsCordoned", "False", None),
            ("talos.dev/cordoned", "true", Some("Talos")),
            ("cke.cybozu.com/reboot", "true", Some("CKE")),
            (
                "flatcar-linux-update.v1.flatcar-linux.net/agent-made-unschedulable",
                "true",
                Some("Flatcar Linux update operator"),
            ),
            (
                "flatcar-linux-update.v1.flatcar-linux.net/agent-made-unschedulable",
                "false",
                None,
            ),
            (
                "machineconfiguration.openshift.io/desiredDrain",
                "drain-abc",
                Some("OpenShift machine-config-operator"),
            ),
            (
                "machineconfiguration.openshift.io/desiredDrain",
                "uncordon-abc",
                None,
            ),
            (
                keys::KURED_REBOOT_IN_PROGRESS,
                "2026-11-29T10:00:00Z",
                Some("kured"),
            ),
            (
                keys::KURED_V2_REBOOT_IN_PROGRESS,
                "2026-11-29T10:00:00Z",
                Some("kured"),
            ),
            (keys::PAUSE, "x", None),
        ] {
            let mut node = NodeView::default();
            drop(node.metadata.annotations.insert(key.to_owned(), value.to_owned()));
            let claims = claims(&node);
            assert_eq!(
                claims.first().map(|claim| claim.program),
                program,
                "{key}={value}"
            );
            assert!(claims.len() < 2, "{claims:?}");
        }
    }

    #[test]
    fn what_others_wrote_is_bounded_and_on_one_line() {
        let mut node = NodeView::default();
        let key = format!("skyhook.nvidia.com/cordon_{}", "k".repeat(1_000));
        drop(node.metadata.annotations.insert(key, "a\nb".repeat(1_000)));
        let text = format!("{:?}", claims(&node));
        assert!(text.len() < 600 && !text.contains('\n'), "{text}");
    }
}
