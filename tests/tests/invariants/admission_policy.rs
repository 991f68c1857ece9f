//! Creates admission of other projects: policies, which deny something to everybody with 403 or change it, and webhooks.

use anyhow::{Context, Result};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
    ValidatingWebhookConfiguration,
};
use kube::api::{ApiResource, DeleteParams, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::json;

/// The requests that a policy or webhook is for, and its CEL expression. A policy denies where the expression is false.
pub(crate) struct Rule<'a> {
    pub(crate) operation: &'a str,
    pub(crate) resource: &'a str,
    /// The CEL expression.
    pub(crate) expression: &'a str,
    pub(crate) message: &'a str,
}

impl Rule<'_> {
    /// A rule for evictions: a policy denies those for which the expression is false, a webhook is called for those for which it
    /// is true.
    pub(crate) fn of_evictions(expression: &str) -> Rule<'_> {
        Rule {
            operation: "CREATE",
            resource: "pods/eviction",
            expression,
            message: "",
        }
    }
}

/// Creates a policy and its binding. The API server takes a moment to apply it.
pub(crate) async fn create(client: &Client, name: &str, rule: &Rule<'_>) -> Result<()> {
    let policy: ValidatingAdmissionPolicy = serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": {
            "matchConstraints": { "resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": [rule.operation], "resources": [rule.resource],
            }] },
            "validations": [{ "expression": rule.expression, "message": rule.message, "reason": "Forbidden" }],
        },
    }))?;
    let binding: ValidatingAdmissionPolicyBinding = serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": { "policyName": name, "validationActions": ["Deny"] },
    }))?;
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let created = policies.create(&PostParams::default(), &policy).await;
    drop(created.with_context(|| format!("failed to create the policy {name}"))?);
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    let created = bindings.create(&PostParams::default(), &binding).await;
    created
        .map(drop)
        .with_context(|| format!("failed to bind the policy {name}"))
}

pub(crate) async fn remove(client: &Client, name: &str) -> Result<()> {
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    let removed = bindings.delete(name, &DeleteParams::default()).await;
    drop(removed.with_context(|| format!("failed to unbind the policy {name}"))?);
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let removed = policies.delete(name, &DeleteParams::default()).await;
    removed
        .map(drop)
        .with_context(|| format!("failed to delete the policy {name}"))
}

/// A policy that changes each update of a Node for which its condition is true.
pub(crate) struct Mutation<'a> {
    pub(crate) name: &'a str,
    /// The CEL expression for which updates it is.
    pub(crate) condition: &'a str,
    /// The CEL expression of a JSON patch.
    pub(crate) patch: &'a str,
    /// Whether it is asked again after the changes of others: `Never` or `IfNeeded`.
    pub(crate) reinvocation: &'a str,
}

/// Creates a policy that changes something, and its binding. The API server takes a moment to apply it.
pub(crate) async fn create_mutation(client: &Client, mutation: &Mutation<'_>) -> Result<()> {
    let Mutation {
        name,
        condition,
        patch,
        reinvocation,
    } = mutation;
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": { "name": name },
        "spec": {
            "matchConstraints": { "resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["nodes"],
            }] },
            "matchConditions": [{ "name": "one", "expression": condition }],
            "reinvocationPolicy": reinvocation,
            "failurePolicy": "Fail",
            "mutations": [{ "patchType": "JSONPatch", "jsonPatch": { "expression": patch } }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding", "metadata": { "name": name },
        "spec": { "policyName": name },
    });
    for (object, plural) in [
        (policy, "mutatingadmissionpolicies"),
        (binding, "mutatingadmissionpolicybindings"),
    ] {
        let created = mutations(client, &object, plural)
            .create(&PostParams::default(), &serde_json::from_value(object.clone())?)
            .await;
        drop(created.with_context(|| format!("failed to create the {plural} {name}"))?);
    }
    Ok(())
}

/// The kinds of policies that change something are newer than our types of the API.
fn mutations(client: &Client, object: &serde_json::Value, plural: &str) -> Api<DynamicObject> {
    let kind = object["kind"].as_str().unwrap_or_default();
    let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
    Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, plural))
}

/// Deletes a policy that [`create_mutation`] made.
pub(crate) async fn remove_mutation(client: &Client, name: &str) -> Result<()> {
    for (kind, plural) in [
        (
            "MutatingAdmissionPolicyBinding",
            "mutatingadmissionpolicybindings",
        ),
        ("MutatingAdmissionPolicy", "mutatingadmissionpolicies"),
    ] {
        let removed = mutations(client, &json!({ "kind": kind }), plural)
            .delete(name, &DeleteParams::default())
            .await;
        drop(removed.with_context(|| format!("failed to delete the {kind} {name}"))?);
    }
    Ok(())
}

/// Creates a webhook at this URL. The API server calls it where the rule's expression is true.
pub(crate) async fn create_webhook(
    client: &Client,
    name: &str,
    url: &str,
    failure_policy: &str,
    rule: &Rule<'_>,
) -> Result<()> {
    let webhook: ValidatingWebhookConfiguration = serde_json::from_value(json!({
        "metadata": { "name": name },
        "webhooks": [{
            "name": format!("{name}.example.com"),
            "clientConfig": { "url": url },
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": [rule.operation], "resources": [rule.resource],
            }],
            "matchConditions": [{ "name": "one", "expression": rule.expression }],
            "failurePolicy": failure_policy,
            "sideEffects": "None",
            "timeoutSeconds": 30,
            "admissionReviewVersions": ["v1"],
        }],
    }))?;
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let created = webhooks.create(&PostParams::default(), &webhook).await;
    created
        .map(drop)
        .with_context(|| format!("failed to create the webhook {name}"))
}

/// Creates a webhook at this URL, with this CA bundle, that changes each update of a Node for which the CEL expression is true. The API server
/// asks webhooks in the order of their configurations' names, and with `IfNeeded` once more after the changes of others.
pub(crate) async fn create_mutating_webhook(
    client: &Client,
    name: &str,
    (url, ca_bundle): (&str, &str),
    reinvocation: &str,
    condition: &str,
) -> Result<()> {
    let webhook: MutatingWebhookConfiguration = serde_json::from_value(json!({
        "metadata": { "name": name },
        "webhooks": [{
            "name": format!("{name}.example.com"),
            "clientConfig": { "url": url, "caBundle": ca_bundle },
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["nodes"] }],
            "matchConditions": [{ "name": "one", "expression": condition }],
            "reinvocationPolicy": reinvocation,
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }],
    }))?;
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let created = webhooks.create(&PostParams::default(), &webhook).await;
    created
        .map(drop)
        .with_context(|| format!("failed to create the webhook {name}"))
}

/// Deletes the webhook with this name.
pub(crate) async fn remove_webhook(client: &Client, name: &str) -> Result<()> {
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let removed = webhooks.delete(name, &DeleteParams::default()).await;
    removed
        .map(drop)
        .with_context(|| format!("failed to delete the webhook {name}"))
}
