//! The objects of an installation that no Helm makes: what `kubectl cordonhold install` applies.
//!
//! They are the chart's, but for the Job that only `helm uninstall` runs, and with the namespace, which Helm makes itself.
//! Not here: applying them (the kubectl plugin).

use serde_json::{Map, Value, json};

use crate::chart::{self, Release, RenderError};
use crate::flags;
use crate::kustomize;
use crate::values::{Values, put_over};

/// The annotation of what Helm applies only at a certain moment.
const HOOK: &str = "helm.sh/hook";

/// Why there are no objects.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("these are no values of the chart: {0}")]
    Values(#[from] serde_json::Error),
    #[error(
        "{place} has no flag {key}: docs/flags.md has all, and the chart sets those of the node, the pool and kured's place itself"
    )]
    Flag { place: String, key: String },
    #[error(transparent)]
    Render(#[from] RenderError),
}

/// The objects for these values over the chart's defaults, the namespace first.
///
/// # Errors
///
/// If there is no such value or flag, or what the chart has against the values.
pub fn objects(over: &Value, namespace: &str) -> Result<Vec<Value>, InstallError> {
    let mut all = json!({ "namespace": { "create": true }, "uninstall": { "enabled": false } });
    put_over(&mut all, over.clone());
    let values = Values::with(all)?;
    check("configuration", &values.configuration)?;
    for pool in &values.pools {
        check(
            &format!("the configuration of the pool {}", pool.name),
            &pool.configuration,
        )?;
    }
    let release = Release {
        namespace: namespace.to_owned(),
        ..kustomize::release()
    };
    let mut objects = Vec::new();
    for file in chart::render(&values, &release)? {
        objects.extend(file.objects()?);
    }
    objects.retain(|object| object["metadata"]["annotations"][HOOK].is_null());
    objects.sort_by_key(|object| object["kind"] != "Namespace");
    Ok(objects)
}

/// Helm asks the schema; a flag that does not exist would end the agents.
fn check(place: &str, configuration: &Map<String, Value>) -> Result<(), InstallError> {
    let schema = flags::schema();
    match configuration
        .keys()
        .find(|key| schema["properties"].get(key.as_str()).is_none())
    {
        Some(key) => Err(InstallError::Flag {
            place: place.to_owned(),
            key: key.clone(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::difference::identity;

    #[test]
    fn an_installation_has_its_namespace_first_and_no_job_of_helms() {
        let found = objects(&json!({ "uninstall": { "enabled": true } }), "here").expect("it renders");
        assert_eq!(identity(&found[0]), ("Namespace".to_owned(), "here".to_owned()));
        for object in &found {
            let (kind, name) = identity(object);
            assert_ne!(name, "cordonhold-uninstall", "{kind}");
        }
        let names: Vec<(String, String)> = found.iter().map(identity).collect();
        for name in ["cordonhold-webhook", "cordonhold-certs"] {
            assert!(
                names.contains(&("Deployment".to_owned(), name.to_owned())),
                "{names:?}"
            );
        }
    }

    #[test]
    fn a_value_or_a_flag_that_does_not_exist_is_named() {
        for (values, says) in [
            (json!({ "mod": "mixed" }), "unknown field `mod`"),
            (
                json!({ "configuration": { "perid": "1h" } }),
                "configuration has no flag perid",
            ),
            (
                json!({ "configuration": { "dsName": "k" } }),
                "configuration has no flag dsName",
            ),
            (
                json!({ "pools": [{ "name": "a", "nodeLabel": "b", "configuration": { "x": 1 } }] }),
                "the pool a has no flag x",
            ),
            (json!({ "mode": "mixed" }), "set kured.namespace and kured.name"),
        ] {
            let said = objects(&values, "here").expect_err("it is refused").to_string();
            assert!(said.contains(says), "{said}");
        }
    }
}
