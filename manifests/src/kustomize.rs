//! The plain kustomize base, its components and its overlays: each component is the difference that one value makes.
//!
//! Not here: the overlays that people write around them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::chart::{self, File, Release, RenderError, WRITTEN};
use crate::difference::{self, DifferenceError, Patch};
use crate::values::{Values, put_over};

/// The namespace in the base. An overlay's `namespace:` moves everything out of it.
pub(crate) const NAMESPACE: &str = "cordonhold";

/// Why the kustomizations cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum KustomizeError {
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error("component {component}: {problem}")]
    Difference {
        component: &'static str,
        #[source]
        problem: DifferenceError,
    },
    #[error(
        "component {component}: {file} has objects that were there before and others that were not: put them into files of their own"
    )]
    MixedFile { component: &'static str, file: String },
    #[error("component {component}: its values are none: {problem}")]
    Values {
        component: &'static str,
        problem: serde_json::Error,
    },
    #[error("a patch cannot be written as YAML: {0}")]
    Yaml(#[from] serde_saphyr::ser_error::Error),
}

/// A component: what it is for, and the values without and with it, each beside those of the base.
struct Component {
    name: &'static str,
    about: &'static str,
    without: fn() -> Value,
    with: fn() -> Value,
}

/// An overlay: the base with components.
struct Overlay {
    name: &'static str,
    about: &'static str,
    components: &'static [&'static str],
}

fn nothing() -> Value {
    json!({})
}

const COMPONENTS: [Component; 19] = [
    Component {
        name: "protect-kured",
        about: "Also keeps the nodes cordoned that stock kured's lock names. That lock is on kured's DaemonSet and not on the Node, so every uncordon must go to the webhook.",
        without: || json!({"agent": {"lockOnDaemonset": true}}),
        with: || json!({"mode": "mixed"}),
    },
    Component {
        name: "lock-on-daemonset",
        about: "The agents may write the lock on kured's DaemonSet, so that kured's nodes and theirs share one budget (--lock-on=daemonset or auto).",
        without: nothing,
        with: || json!({"agent": {"lockOnDaemonset": true}}),
    },
    Component {
        name: "without-agent",
        about: "Removes the agents' DaemonSet and RBAC. Their ServiceAccount stays: the webhook takes whoever uses it for an agent, so its name must not be free for others.",
        without: || json!({"mode": "mixed"}),
        with: || json!({"mode": "protect-kured"}),
    },
    Component {
        name: "without-webhook",
        about: "Removes the webhook, its configuration and its RBAC. Its ServiceAccount stays, without any rights.",
        without: nothing,
        with: || json!({"mode": "agents-only"}),
    },
    Component {
        name: "audit",
        about: "The webhook denies nothing: it notes what it would deny, and requests pass while it does not answer. For a first week. It does not go together with refuse-delete and policy, which deny.",
        without: nothing,
        with: || json!({"webhook": {"mode": "audit"}}),
    },
    Component {
        name: "refuse-delete",
        about: "Denies the DELETE of a held Node instead of only flagging it. Autoscalers then wait until the hold ends or is cancelled.",
        without: nothing,
        with: || json!({"webhook": {"onDelete": "deny"}}),
    },
    Component {
        name: "defer",
        about: "Mode defer: an uncordon of a held Node passes with all else that is in it, but the cordon stays, and the uncordon is done when the hold ends. The validating webhook stays as it is: it denies what was not deferred. For the same without a running replica: components/defer-by-policy.",
        without: nothing,
        with: || json!({"webhook": {"mode": "defer", "deferBy": "webhook"}}),
    },
    Component {
        name: "defer-by-policy",
        about: "Mode defer, carried by a policy of the API server (Kubernetes 1.36 or later): it defers also while no replica of the webhook runs. It can be used alone, with components/defer, or with the agents alone.",
        without: nothing,
        with: || json!({"webhook": {"mode": "defer", "deferBy": "policy"}}),
    },
    Component {
        name: "policy",
        about: "Policies of the API server deny what the webhook denies about Cordonhold's own holds, as far as CEL can see it: also while no replica of the webhook runs. It can be used beside the webhook, or with the agents alone. docs/policy.md has the differences.",
        without: nothing,
        with: || json!({"policy": {"enabled": true}}),
    },
    Component {
        name: "policy-refuse-delete",
        about: "For components/policy, in place of refuse-delete: webhook and policy deny the DELETE of a held Node.",
        without: || json!({"policy": {"enabled": true}}),
        with: || json!({"policy": {"enabled": true}, "webhook": {"onDelete": "deny"}}),
    },
    Component {
        name: "volume-detach",
        about: "The agent waits up to 5 minutes for the node's volumes to be detached after the drain (--volume-detach-timeout), with the rights to see them.",
        without: nothing,
        with: || json!({"configuration": {"volumeDetachTimeout": "5m"}}),
    },
    Component {
        name: "node-conditions",
        about: "The agent shows on its Node how far the reboot is, as the conditions of KEP-5683. RBAC cannot limit the right to write nodes/status to the agent's own node, so the base does not grant it.",
        without: nothing,
        with: || json!({"configuration": {"nodeConditions": true}}),
    },
    Component {
        name: "reboot-by-logind",
        about: "logind reboots the host (--reboot-method=logind), so the agent needs none of the host's namespaces and no capability: root's own rights to the host's /run are enough. No command runs on the host: leave out --reboot-sentinel-command, and each --sentinel-preset that runs one.",
        without: nothing,
        with: || json!({"configuration": {"rebootMethod": "logind"}}),
    },
    Component {
        name: "reboot-by-signal",
        about: "A signal to the host's init reboots the host (--reboot-method=signal), and systemd and logind are asked over D-Bus. So the agent needs the host's PIDs, but no capability. No command runs on the host: leave out --reboot-sentinel-command, and each --sentinel-preset that runs one.",
        without: nothing,
        with: || json!({"configuration": {"rebootMethod": "signal"}}),
    },
    Component {
        name: "events-in-default",
        about: "Both programs may write Events only in the namespace default, where Events about Nodes are. Do not use it with a `namespace:` in an overlay or in a GitOps tool: that moves these RoleBindings out of default, and no Event is written.",
        without: nothing,
        with: || json!({"events": {"onlyInDefault": true}}),
    },
    Component {
        name: "network-policy",
        about: "Only pods of the namespace monitoring reach the webhook's probes and metrics.",
        without: nothing,
        with: || json!({"networkPolicy": {"enabled": true}}),
    },
    Component {
        name: "own-certificate",
        about: "You issue the webhook's certificate: a Secret cordonhold-webhook-tls of type kubernetes.io/tls, and its CA in each caBundle. Removes what does it otherwise.",
        without: nothing,
        with: || json!({"tls": {"source": "secret"}}),
    },
    Component {
        name: "cert-manager",
        about: "cert-manager makes the webhook's certificate, from a CA for it alone, and writes that CA into each webhook. Do not use it with a `namespace:`: kustomize changes neither the annotation nor the name in the certificate.",
        without: nothing,
        with: || json!({"tls": {"source": "cert-manager"}}),
    },
    Component {
        name: "uninstall",
        about: "A Job that ends the holds, and takes off the cluster what Cordonhold has written there. Apply it last, and delete everything once the Job is complete: docs/install.md has the steps.",
        without: with_kureds_lock,
        with: || json!({"agent": {"lockOnDaemonset": true}, "uninstall": {"enabled": true}}),
    },
];

/// What the Job must be allowed depends on the agents. A component cannot see which others are used with it, so this one allows the most.
fn with_kureds_lock() -> Value {
    json!({"agent": {"lockOnDaemonset": true}})
}

const OVERLAYS: [Overlay; 5] = [
    Overlay {
        name: "protect-kured",
        about: "The webhook alone, in front of stock kured: it protects the nodes that kured's lock names.",
        components: &["protect-kured", "without-agent"],
    },
    Overlay {
        name: "agent-alone",
        about: "The agents without the webhook.",
        components: &["without-webhook"],
    },
    Overlay {
        name: "kured-beside-agents",
        about: "A mixed fleet, for moving from kured to the agents: both use one lock, and the webhook protects the nodes of both. A node runs only one of the two: before you apply this, label kured's nodes cordonhold.dev/agent=disabled.",
        components: &["protect-kured", "lock-on-daemonset"],
    },
    Overlay {
        name: "lock-on-daemonset",
        about: "The base, with the lock on kured's DaemonSet.",
        components: &["lock-on-daemonset"],
    },
    Overlay {
        name: "node-conditions",
        about: "The base, with the conditions of KEP-5683 on the Node.",
        components: &["node-conditions"],
    },
];

/// A way to install Cordonhold: a row of the table in docs/install.md.
#[derive(Debug)]
pub struct Mode {
    /// The chart's name for it.
    pub name: &'static str,
    /// The folder of its kustomization, below manifests/.
    pub folder: &'static str,
    /// The chart's values for it, beside those of the base: see [`values`].
    pub values: fn() -> Value,
}

/// Each way to install Cordonhold.
pub const MODES: [Mode; 4] = [
    Mode {
        name: "agents",
        folder: "base",
        values: nothing,
    },
    Mode {
        name: "agents-only",
        folder: "overlays/agent-alone",
        values: || json!({"mode": "agents-only"}),
    },
    Mode {
        name: "mixed",
        folder: "overlays/kured-beside-agents",
        values: || json!({"mode": "mixed"}),
    },
    Mode {
        name: "protect-kured",
        folder: "overlays/protect-kured",
        values: || json!({"mode": "protect-kured"}),
    },
];

/// The values of a rendering: those of the base, with these over them. The base makes its namespace, denies from the start, leaves it to
/// the webhook to find kured, because kustomize cannot ask the cluster, and has no Job that Helm would run at the end.
///
/// # Errors
///
/// If there is no such value.
pub fn values(with: Value) -> Result<Values, serde_json::Error> {
    let mut all = json!({
        "namespace": {"create": true},
        "webhook": {"mode": "enforce"},
        "kured": {"foundBy": "webhook"},
        "uninstall": {"enabled": false},
    });
    put_over(&mut all, with);
    Values::with(all)
}

/// All generated files below `manifests/`, with their paths there.
///
/// # Errors
///
/// The first component that cannot be one.
pub fn files() -> Result<Vec<File>, KustomizeError> {
    let mut files = base()?;
    for component in &COMPONENTS {
        files.extend(component.files()?);
    }
    for overlay in &OVERLAYS {
        files.push(overlay.file());
    }
    Ok(files)
}

/// The release that the base is a rendering for.
#[must_use]
pub fn release() -> Release {
    Release {
        name: "cordonhold".to_owned(),
        namespace: NAMESPACE.to_owned(),
    }
}

fn rendered(name: &'static str, with: Value) -> Result<Vec<File>, KustomizeError> {
    let values = values(with).map_err(|problem| KustomizeError::Values {
        component: name,
        problem,
    })?;
    Ok(chart::render(&values, &release())?)
}

fn base() -> Result<Vec<File>, KustomizeError> {
    let rendered = rendered("base", nothing())?;
    let names: Vec<String> = rendered
        .iter()
        .map(|file| format!("  - {}\n", file.name))
        .collect();
    let kustomization = format!(
        "{WRITTEN}apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n# For another namespace, set `namespace:` in an overlay.\nnamespace: {NAMESPACE}\nresources:\n{}",
        names.concat()
    );
    let mut files = vec![File {
        name: "base/kustomization.yaml".to_owned(),
        text: kustomization,
    }];
    files.extend(rendered.into_iter().map(|file| resource("base", &file)));
    Ok(files)
}

/// A rendered file in a folder.
fn resource(folder: &str, file: &File) -> File {
    File {
        name: format!("{folder}/{}", file.name),
        text: format!("{WRITTEN}{}", without_empty_lines(&file.text)),
    }
}

/// The text without the empty lines that a template's actions leave.
#[must_use]
pub fn without_empty_lines(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.flat_map(|line| [line, "\n"]).collect()
}

impl Component {
    fn files(&self) -> Result<Vec<File>, KustomizeError> {
        let without = rendered(self.name, (self.without)())?;
        let with = rendered(self.name, (self.with)())?;
        let before = all_objects(&without)?;
        let after = all_objects(&with)?;
        let folder = format!("components/{}", self.name);
        let mut files = Vec::new();
        for file in &with {
            let objects = file.objects()?;
            let new = objects
                .iter()
                .filter(|object| find(&before, object).is_none())
                .count();
            if new == objects.len() {
                files.push(resource(&folder, file));
            } else if new != 0 {
                files.push(self.only_new(&folder, file, &before)?);
            }
        }
        let mut patches = Vec::new();
        let mut removed = Vec::new();
        for object in &before {
            match find(&after, object) {
                None => removed.push(difference::identity(object)),
                Some(changed) => patches.extend(difference::patch(object, changed).map_err(|problem| {
                    KustomizeError::Difference {
                        component: self.name,
                        problem,
                    }
                })?),
            }
        }
        let resources: Vec<&str> = files
            .iter()
            .filter_map(|file| file.name.rsplit('/').next())
            .collect();
        let kustomization = self.kustomization(&resources, &removed, &patches)?;
        files.insert(
            0,
            File {
                name: format!("{folder}/kustomization.yaml"),
                text: kustomization,
            },
        );
        Ok(files)
    }

    /// The documents of a file that the base does not have.
    fn only_new(&self, folder: &str, file: &File, before: &[Value]) -> Result<File, KustomizeError> {
        let mut documents = Vec::new();
        for document in file.text.split("\n---\n") {
            let part = File {
                name: file.name.clone(),
                text: document.to_owned(),
            };
            let objects = part.objects()?;
            if objects.iter().any(|object| find(before, object).is_none()) {
                documents.push(document.trim());
            }
        }
        if documents.is_empty() {
            return Err(KustomizeError::MixedFile {
                component: self.name,
                file: file.name.clone(),
            });
        }
        Ok(resource(
            folder,
            &File {
                name: file.name.clone(),
                text: documents.join("\n---\n"),
            },
        ))
    }

    fn kustomization(
        &self,
        resources: &[&str],
        removed: &[(String, String)],
        patches: &[Patch],
    ) -> Result<String, KustomizeError> {
        let mut parts = vec![
            WRITTEN.to_owned(),
            comment(self.about),
            "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n".to_owned(),
        ];
        if !resources.is_empty() {
            parts.push("resources:\n".to_owned());
            parts.extend(resources.iter().map(|name| format!("  - {name}\n")));
        }
        if !removed.is_empty() || !patches.is_empty() {
            parts.push("patches:\n".to_owned());
        }
        if !removed.is_empty() {
            parts.push(REMOVED.to_owned());
        }
        let names: BTreeSet<&String> = removed.iter().map(|(_, name)| name).collect();
        parts.extend(names.into_iter().map(|name| {
            let kinds = removed.iter().filter(|(_, known)| known == name);
            let kinds: Vec<&str> = kinds.map(|(kind, _)| kind.as_str()).collect();
            format!(
                "  - target: {{kind: \"{}\", name: {name}}}\n    patch: |-\n      {{apiVersion: v1, kind: any, metadata: {{name: any}}, $patch: delete}}\n",
                kinds.join("|")
            )
        }));
        for Patch {
            kind,
            name,
            operations,
        } in patches
        {
            parts.push(format!(
                "  - target: {{kind: {kind}, name: {name}}}\n    patch: |-\n"
            ));
            let operations = serde_saphyr::to_string(operations)?;
            parts.extend(operations.lines().map(|line| format!("      {line}\n")));
        }
        Ok(parts.concat())
    }
}

const REMOVED: &str = "  # The target selects what is deleted; kind and name in the patch are only there because a patch must have them.\n";

impl Overlay {
    fn file(&self) -> File {
        let components = self
            .components
            .iter()
            .map(|name| format!("  - ../../components/{name}\n"));
        let components: Vec<String> = components.collect();
        File {
            name: format!("overlays/{}/kustomization.yaml", self.name),
            text: format!(
                "{WRITTEN}{}apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n  - ../../base\ncomponents:\n{}",
                comment(self.about),
                components.concat()
            ),
        }
    }
}

/// Each sentence on a line of its own.
fn comment(about: &str) -> String {
    let sentences = about.replace(". ", ".\n");
    let lines: Vec<String> = sentences.lines().map(|line| format!("# {line}\n")).collect();
    lines.concat()
}

fn all_objects(files: &[File]) -> Result<Vec<Value>, RenderError> {
    let mut objects = Vec::new();
    for file in files {
        objects.extend(file.objects()?);
    }
    Ok(objects)
}

fn find<'a>(among: &'a [Value], object: &Value) -> Option<&'a Value> {
    let wanted = difference::identity(object);
    among.iter().find(|known| difference::identity(known) == wanted)
}
