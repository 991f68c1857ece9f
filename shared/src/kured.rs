//! Stock kured's DaemonSet: how it is recognized, and which ServiceAccount its pods run as.
//!
//! Not here: looking for it in the cluster (the webhook and the agent), its lock ([`crate::lock`], [`crate::reboot::lock_object`]), and
//! which Nodes that lock protects ([`crate::admission`]).

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::node::null_is_default;

/// kured's name in labels and image, as its manifest and its chart have it by default.
const KURED: &str = "kured";
/// The labels that hold kured's name: the first in its chart, the second in its manifest.
const NAME_LABELS: [&str; 2] = ["app.kubernetes.io/name", "name"];
/// The ServiceAccount of a pod that names none.
const DEFAULT_ACCOUNT: &str = "default";

/// kured's DaemonSet, as found in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kured {
    /// The namespace of the DaemonSet, and so of its pods.
    pub namespace: String,
    /// The name of the DaemonSet.
    pub name: String,
    /// The name of the ServiceAccount that the pods run as.
    pub service_account: String,
}

/// The DaemonSet as `namespace/name`.
impl fmt::Display for Kured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The fields of a DaemonSet that show whether it is kured's, and that hold kured's lock.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct DaemonSetView {
    /// The DaemonSet's `metadata`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "null_is_default")]
    spec: Spec,
}

/// Fields of the `metadata` of a DaemonSet or its pod template.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Metadata {
    /// The object's name.
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    /// The object's namespace.
    #[serde(default, deserialize_with = "null_is_default")]
    pub namespace: String,
    #[serde(default, deserialize_with = "null_is_default")]
    labels: BTreeMap<String, String>,
    /// The object's annotations by key.
    #[serde(default, deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Spec {
    #[serde(default, deserialize_with = "null_is_default")]
    template: Template,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Template {
    #[serde(default, deserialize_with = "null_is_default")]
    metadata: Metadata,
    #[serde(default, deserialize_with = "null_is_default")]
    spec: PodSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(default, deserialize_with = "null_is_default")]
    service_account_name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Container {
    #[serde(default, deserialize_with = "null_is_default")]
    image: String,
}

impl DaemonSetView {
    /// Namespace, name and ServiceAccount, if this is kured's DaemonSet.
    pub fn kured(&self) -> Kured {
        let account = self.spec.template.spec.service_account_name.as_str();
        Kured {
            namespace: self.metadata.namespace.clone(),
            name: self.metadata.name.clone(),
            service_account: Some(account)
                .filter(|account| !account.is_empty())
                .unwrap_or(DEFAULT_ACCOUNT)
                .to_owned(),
        }
    }

    /// Whether this is kured's DaemonSet by its labels, its pods' labels or its image. For a kured whose name is not configured.
    pub fn looks_like_kured(&self) -> bool {
        let labels = [&self.metadata.labels, &self.spec.template.metadata.labels];
        let is_labelled = |labels: &BTreeMap<String, String>| {
            let named = |key: &&str| labels.get(*key).is_some_and(|name| name == KURED);
            NAME_LABELS.iter().any(named)
        };
        let mut images = self.spec.template.spec.containers.iter();
        labels.into_iter().any(is_labelled) || images.any(|container| repository(&container.image) == KURED)
    }
}

/// The result of looking for kured's DaemonSet in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// kured's DaemonSet is where the flags say.
    Configured(Kured),
    /// There is no such DaemonSet where the flags say, but one elsewhere looks like kured's.
    Elsewhere(Kured),
    /// There is no such DaemonSet where the flags say, and several elsewhere look like kured's.
    Several(Vec<Kured>),
    /// There is no such DaemonSet where the flags say, and none elsewhere looks like kured's.
    Nowhere,
    /// There is no such DaemonSet where the flags say, and the program may not list others.
    Unsearched,
}

impl Whereabouts {
    /// The result for all `DaemonSets` of the cluster, if kured's is not where the flags say.
    pub fn among(daemon_sets: &[DaemonSetView]) -> Whereabouts {
        let alike = daemon_sets.iter().filter(|view| view.looks_like_kured());
        let mut alike: Vec<Kured> = alike.map(DaemonSetView::kured).collect();
        match alike.len() {
            0 => Whereabouts::Nowhere,
            1 => alike.pop().map_or(Whereabouts::Nowhere, Whereabouts::Elsewhere),
            _ => Whereabouts::Several(alike),
        }
    }

    /// The DaemonSet to take for kured's, if exactly one was found.
    pub fn kured(&self) -> Option<&Kured> {
        match self {
            Whereabouts::Configured(kured) | Whereabouts::Elsewhere(kured) => Some(kured),
            Whereabouts::Several(_) | Whereabouts::Nowhere | Whereabouts::Unsearched => None,
        }
    }
}

/// The last part of an image's name, without tag and digest.
fn repository(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or_default();
    let last = name.rsplit('/').next().unwrap_or_default();
    last.split(':').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn view(labels: &Value, pod_labels: &Value, image: &str, account: &Value) -> DaemonSetView {
        serde_json::from_value(json!({
            "metadata": { "name": "d", "namespace": "n", "labels": labels },
            "spec": { "template": {
                "metadata": { "labels": pod_labels },
                "spec": { "serviceAccountName": account, "containers": [{ "name": "c", "image": image }] },
            } },
        }))
        .unwrap()
    }

    #[test]
    fn found_p8_kured_is_told_by_labels_or_image_and_nothing_else_is() {
        let none = &Value::Null;
        let image = "example.org/a:1";
        for (labels, pod_labels, image, is_kured) in [
            // kured's manifest labels only its pods, its chart labels the DaemonSet too.
            (none, &json!({"name": "kured"}), image, true),
            (&json!({"app.kubernetes.io/name": "kured"}), none, image, true),
            (none, none, "ghcr.io/kubereboot/kured:1.23.0", true),
            (none, none, "registry.example:5000/mirror/kured@sha256:ab", true),
            (none, none, "kured", true),
            (none, none, "ghcr.io/kubereboot/kured-exporter:1", false),
            (none, none, "example.org/kured/exporter:kured", false),
            (
                &json!({"app.kubernetes.io/name": "kured-exporter"}),
                none,
                image,
                false,
            ),
            (
                &json!({"app.kubernetes.io/instance": "kured"}),
                none,
                image,
                false,
            ),
            (none, none, "", false),
        ] {
            let view = view(labels, pod_labels, image, none);
            assert_eq!(view.looks_like_kured(), is_kured, "{view:?}");
        }
        let empty: DaemonSetView = serde_json::from_str(r#"{"metadata":{},"spec":null}"#).unwrap();
        assert!(!empty.looks_like_kured());
    }

    #[test]
    fn found_p8_the_one_that_looks_like_kured_is_it_and_of_two_neither() {
        let other = || view(&Value::Null, &Value::Null, "example.org/a:1", &Value::Null);
        let kured = || view(&Value::Null, &Value::Null, "kured", &Value::Null);
        assert_eq!(Whereabouts::among(&[]), Whereabouts::Nowhere);
        assert_eq!(Whereabouts::among(&[other()]), Whereabouts::Nowhere);
        let one = Whereabouts::among(&[other(), kured()]);
        assert_eq!(one, Whereabouts::Elsewhere(kured().kured()));
        assert_eq!(one.kured(), Some(&kured().kured()));
        let two = Whereabouts::among(&[kured(), other(), kured()]);
        assert_eq!(two, Whereabouts::Several(vec![kured().kured(), kured().kured()]));
        assert_eq!(two.kured(), None);
    }

    #[test]
    fn found_e2_its_service_account_is_what_its_pods_say() {
        for (account, expected) in [
            (json!("my-release-kured"), "my-release-kured"),
            (Value::Null, "default"),
            (json!(""), "default"),
        ] {
            let kured = view(&Value::Null, &Value::Null, "kured", &account).kured();
            assert_eq!(kured.service_account, expected);
            assert_eq!(kured.to_string(), "n/d");
        }
    }
}
