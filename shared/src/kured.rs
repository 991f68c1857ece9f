//! Stock kured's DaemonSet: how it is told from others, and whose pods are kured's.
//!
//! Not here: who looks for it and when (the shells), its lock ([`crate::lock`], [`crate::reboot::lock_object`]), and what that lock
//! holds ([`crate::admission`]).

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::node::null_is_default;

/// Its name in its manifest and chart, where nobody chose another: of labels, container and image.
const KURED: &str = "kured";
/// The labels that say so: the chart's, and its manifest's.
const NAME_LABELS: [&str; 2] = ["app.kubernetes.io/name", "name"];
/// Whom a pod runs as that names nobody.
const DEFAULT_ACCOUNT: &str = "default";

/// kured as the cluster shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kured {
    /// Of its DaemonSet, and so of its pods.
    pub namespace: String,
    /// Of its DaemonSet.
    pub name: String,
    /// The name of the ServiceAccount that its pods run as.
    pub service_account: String,
}

/// As `namespace/name`.
impl fmt::Display for Kured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A DaemonSet, as far as it says whether it is kured's, and carries kured's lock.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct DaemonSetView {
    /// Its `metadata`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "null_is_default")]
    spec: Spec,
}

/// Of `metadata`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Metadata {
    /// Its name.
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    /// Its namespace.
    #[serde(default, deserialize_with = "null_is_default")]
    pub namespace: String,
    #[serde(default, deserialize_with = "null_is_default")]
    labels: BTreeMap<String, String>,
    /// Its annotations by key.
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
    /// Where it is, and whom its pods run as.
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

    /// Whether it is kured's by its labels, its pods' labels, or its image: for one whose name nobody told.
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

/// Where kured is, as far as the cluster shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// Where it was looked for.
    Configured(Kured),
    /// Not there, and one DaemonSet elsewhere looks like it.
    Elsewhere(Kured),
    /// Not there, and more than one looks like it.
    Several(Vec<Kured>),
    /// Not there, and none looks like it.
    Nowhere,
    /// Not there, and the others may not be looked at.
    Unsearched,
}

impl Whereabouts {
    /// What a look at all `DaemonSets` comes to, where kured is not where it was looked for.
    pub fn among(daemon_sets: &[DaemonSetView]) -> Whereabouts {
        let alike = daemon_sets.iter().filter(|view| view.looks_like_kured());
        let mut alike: Vec<Kured> = alike.map(DaemonSetView::kured).collect();
        match alike.len() {
            0 => Whereabouts::Nowhere,
            1 => alike.pop().map_or(Whereabouts::Nowhere, Whereabouts::Elsewhere),
            _ => Whereabouts::Several(alike),
        }
    }

    /// The DaemonSet to go by.
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
            // kured's manifest labels its pods alone, and its chart both.
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
