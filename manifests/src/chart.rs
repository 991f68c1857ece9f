//! The chart: rendered without Helm, and the files of it that are generated.
//!
//! Not here: NOTES.txt and the chart's tests, which only Helm reads.

use serde::Serialize;
use serde_json::{Value, json};

use crate::page;
use crate::template::{TemplateError, Templates};
use crate::values::Values;
use crate::{alerts, cel, dashboard, flags};

/// The templates that are written by hand. The order is that of the files in the chart.
const TEMPLATES: [(&str, &str); 24] = [
    ("_helpers.tpl", include_str!("../chart/templates/_helpers.tpl")),
    (
        "namespace.yaml",
        include_str!("../chart/templates/namespace.yaml"),
    ),
    (
        "service-accounts.yaml",
        include_str!("../chart/templates/service-accounts.yaml"),
    ),
    (
        "resource-quota.yaml",
        include_str!("../chart/templates/resource-quota.yaml"),
    ),
    (
        "rbac-agent.yaml",
        include_str!("../chart/templates/rbac-agent.yaml"),
    ),
    (
        "rbac-webhook.yaml",
        include_str!("../chart/templates/rbac-webhook.yaml"),
    ),
    (
        "rbac-events.yaml",
        include_str!("../chart/templates/rbac-events.yaml"),
    ),
    (
        "rbac-people.yaml",
        include_str!("../chart/templates/rbac-people.yaml"),
    ),
    (
        "people-policy.yaml",
        include_str!("../chart/templates/people-policy.yaml"),
    ),
    (
        "rbac-kured.yaml",
        include_str!("../chart/templates/rbac-kured.yaml"),
    ),
    (
        "rbac-lock.yaml",
        include_str!("../chart/templates/rbac-lock.yaml"),
    ),
    ("certs.yaml", include_str!("../chart/templates/certs.yaml")),
    (
        "certificate.yaml",
        include_str!("../chart/templates/certificate.yaml"),
    ),
    (
        "deployment.yaml",
        include_str!("../chart/templates/deployment.yaml"),
    ),
    ("service.yaml", include_str!("../chart/templates/service.yaml")),
    (
        "daemonset.yaml",
        include_str!("../chart/templates/daemonset.yaml"),
    ),
    (
        "network-policy.yaml",
        include_str!("../chart/templates/network-policy.yaml"),
    ),
    (
        "monitoring.yaml",
        include_str!("../chart/templates/monitoring.yaml"),
    ),
    (
        "webhook-configuration.yaml",
        include_str!("../chart/templates/webhook-configuration.yaml"),
    ),
    (
        "defer-webhook.yaml",
        include_str!("../chart/templates/defer-webhook.yaml"),
    ),
    (
        "defer-policy.yaml",
        include_str!("../chart/templates/defer-policy.yaml"),
    ),
    ("policy.yaml", include_str!("../chart/templates/policy.yaml")),
    (
        "uninstall.yaml",
        include_str!("../chart/templates/uninstall.yaml"),
    ),
    ("checks.yaml", include_str!("../chart/templates/checks.yaml")),
];

/// The release that a rendering is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Helm's name for it. No object is named by it.
    pub name: String,
    pub namespace: String,
}

/// One rendered file: YAML, of which each document is an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub name: String,
    pub text: String,
}

impl File {
    /// The objects in the file.
    pub fn objects(&self) -> Result<Vec<Value>, RenderError> {
        objects(&self.name, &self.text)
    }
}

/// Why there are no manifests.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error("the values cannot be written as JSON: {0}")]
    Values(#[source] serde_json::Error),
    #[error("{file} is not YAML once it is rendered: {problem}")]
    Yaml { file: String, problem: String },
}

/// Renders the chart. Files without an object are left out.
///
/// # Errors
///
/// What the chart has against these values, in the words that Helm would show.
pub fn render(values: &Values, release: &Release) -> Result<Vec<File>, RenderError> {
    let generated = generated_templates()?;
    let generated = generated.iter().map(|(name, text)| (*name, text.as_str()));
    let sources = generated.chain(TEMPLATES);
    let templates = Templates::parse(sources)?;
    let context = json!({
        "Values": serde_json::to_value(values).map_err(RenderError::Values)?,
        "Release": {"Name": release.name, "Namespace": release.namespace, "Service": "Helm"},
        "Chart": {"Name": "cordonhold", "Version": env!("CARGO_PKG_VERSION"), "AppVersion": env!("CARGO_PKG_VERSION")},
    });
    let mut files = Vec::new();
    for (name, text) in templates.render(&context)? {
        if !objects(&name, &text)?.is_empty() {
            files.push(File { name, text });
        }
    }
    Ok(files)
}

fn objects(file: &str, text: &str) -> Result<Vec<Value>, RenderError> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| RenderError::Yaml {
        file: file.to_owned(),
        problem: error.to_string(),
    })?;
    Ok(documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect())
}

/// The templates that come from [`cel`], [`alerts`] and [`dashboard`].
fn generated_templates() -> Result<[(&'static str, String); 3], RenderError> {
    Ok([
        ("_generated.tpl", cel::file()),
        ("prometheus-rule.yaml", alerts::template()),
        (
            "dashboard.yaml",
            dashboard::template().map_err(RenderError::Values)?,
        ),
    ])
}

/// The generated files of the chart, with their paths in it.
///
/// # Errors
///
/// Only if the types of the values cannot be written.
pub fn generated() -> Result<Vec<File>, RenderError> {
    let schema = schema();
    let metadata = Metadata {
        api_version: "v2",
        name: "cordonhold",
        description: "Keeps nodes cordoned while they are rebooted: an admission webhook in front of kured or of its own agents",
        kind: "application",
        version: env!("CARGO_PKG_VERSION"),
        app_version: env!("CARGO_PKG_VERSION"),
        // The oldest whose tokens name the node of their pod, see docs/install.md.
        kube_version: ">=1.32.0-0",
        keywords: ["reboot", "kured", "node", "admission"],
    };
    let yaml = |error: serde_saphyr::ser_error::Error| RenderError::Yaml {
        file: "the chart".to_owned(),
        problem: error.to_string(),
    };
    let values = serde_saphyr::to_string(&Values::default()).map_err(yaml)?;
    let mut schema_text = serde_json::to_string_pretty(&schema).map_err(RenderError::Values)?;
    schema_text.push('\n');
    let files = [
        (
            "Chart.yaml",
            format!("{WRITTEN}{}", serde_saphyr::to_string(&metadata).map_err(yaml)?),
        ),
        (
            "values.yaml",
            format!("{WRITTEN}{}", page::commented(&values, &schema)),
        ),
        ("values.schema.json", schema_text),
        ("README.md", page::table(&schema)),
    ];
    let files = files.map(|(name, text)| (name.to_owned(), text));
    let templates = generated_templates()?.map(|(name, text)| (format!("templates/{name}"), text));
    let all = files.into_iter().chain(templates);
    Ok(all.map(|(name, text)| File { name, text }).collect())
}

/// The first line of a generated YAML file.
pub(crate) const WRITTEN: &str = "# Written by `cargo manifests`.\n";

/// The JSON schema of the values. `configuration` knows every flag of the agent.
#[must_use]
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Values).to_value();
    for place in [
        "/properties/configuration",
        "/$defs/Pool/properties/configuration",
    ] {
        if let Some(property) = schema.pointer_mut(place).and_then(Value::as_object_mut) {
            property.retain(|key, _| key == "description" || key == "default");
            drop(property.insert("$ref".to_owned(), json!("#/$defs/Flags")));
        }
    }
    require_what_has_a_value(&mut schema);
    if let Some(definitions) = schema.pointer_mut("/$defs").and_then(Value::as_object_mut) {
        drop(definitions.insert("Flags".to_owned(), flags::schema()));
    }
    schema
}

/// Makes each value required but objects, which may be removed by `null`: Helm removes a default that somebody sets to `null`, and the templates
/// would take it for 0 or for an empty text. Pools have no defaults to remove.
fn require_what_has_a_value(schema: &mut Value) {
    let mut places = vec![String::new()];
    let definitions = schema["$defs"].as_object().into_iter().flatten();
    places.extend(
        definitions
            .filter(|(name, _)| *name != "Pool")
            .map(|(name, _)| format!("/$defs/{name}")),
    );
    for place in places {
        let Some(object) = schema.pointer_mut(&place).and_then(Value::as_object_mut) else {
            continue;
        };
        let properties = object
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        let required: Vec<Value> = properties
            .filter(|(_, property)| property["type"] != "object" || property.get("$ref").is_some())
            .map(|(name, _)| Value::from(name.as_str()))
            .collect();
        if !required.is_empty() {
            drop(object.insert("required".to_owned(), Value::Array(required)));
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    api_version: &'a str,
    name: &'a str,
    description: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    version: &'a str,
    app_version: &'a str,
    kube_version: &'a str,
    keywords: [&'a str; 4],
}

#[cfg(test)]
mod tests;
