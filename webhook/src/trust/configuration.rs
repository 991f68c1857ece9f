//! Reads the webhook configurations from the cluster, by name, every few seconds: the validating one and, for mode `defer`, the mutating one.
//!
//! They are small objects, so a watch would save nothing. No mutating one is no problem: a policy of the API server may be in its place.
//! Not here: what is wrong with it ([`cordonhold_shared::admission::trust`]).

use std::sync::Arc;
use std::time::{Duration, Instant};

use cordonhold_rt::api::{CallError, within};
use cordonhold_rt::exit::one_line;
use cordonhold_shared::admission::trust::{self, Name, Webhook, Write};
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use kube::{Api, Client};
use serde_json::Value;

use super::{Trust, chain, server};
use crate::metrics::{LookupKind, LookupOutcome};
use crate::tls::Certificate;

pub(crate) const READ_EVERY: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last configuration that was read still counts after reads have begun to fail.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// The last reading of the configuration.
#[derive(Debug, Default)]
pub(crate) enum Found {
    /// It has not been read yet.
    #[default]
    Nothing,
    /// Reading it has failed for [`FORGET_AFTER`], and why.
    Failed(String),
    /// The cluster has no such configuration.
    Missing,
    /// It is there.
    Present {
        uid: Option<String>,
        webhooks: Vec<Registered>,
        writes: Vec<Write>,
        /// Whether there is a mutating one, if anybody looked.
        mutates: Option<bool>,
    },
}

/// A webhook of the configuration: its name, the host name that the API server calls, its `caBundle`, and whether it has `matchConditions`.
#[derive(Debug)]
pub(crate) struct Registered {
    name: String,
    asks: Name,
    bundle: Option<Vec<u8>>,
    has_conditions: bool,
}

impl Found {
    pub(super) fn uid(&self) -> Option<&str> {
        match self {
            Found::Present { uid, .. } => uid.as_deref(),
            Found::Nothing | Found::Failed(_) | Found::Missing => None,
        }
    }

    /// The configuration with each `caBundle` checked against this certificate.
    pub(super) fn seen_from(&self, certificate: &Certificate, now: Timestamp) -> trust::Configuration {
        let (webhooks, writes, mutates) = match self {
            Found::Nothing => return trust::Configuration::Unread,
            Found::Failed(why) => return trust::Configuration::Unreadable(why.clone()),
            Found::Missing => return trust::Configuration::Missing,
            Found::Present {
                webhooks,
                writes,
                mutates,
                ..
            } => (webhooks, writes, *mutates),
        };
        let served = certificate.facts().validity;
        let webhooks = webhooks.iter().map(|webhook| Webhook {
            name: webhook.name.clone(),
            asks: webhook.asks.clone(),
            ca: chain::ca(webhook.bundle.as_deref(), certificate.chain(), served, now),
            has_conditions: webhook.has_conditions,
        });
        trust::Configuration::Present {
            webhooks: webhooks.collect(),
            writes: writes.clone(),
            mutates,
        }
    }

    /// What was read. The mutating one counts as looked for if an uncordon may be deferred.
    fn of(
        validating: ValidatingWebhookConfiguration,
        mutating: Option<MutatingWebhookConfiguration>,
        defers: bool,
    ) -> Found {
        let ObjectMeta {
            uid, managed_fields, ..
        } = validating.metadata;
        let mutates = defers.then_some(mutating.is_some());
        let mutating = mutating.unwrap_or_default();
        let of_mutating = mutating.webhooks.into_iter().flatten();
        let webhooks = validating.webhooks.into_iter().flatten();
        let webhooks = webhooks
            .map(|webhook| (webhook.name, webhook.client_config, webhook.match_conditions))
            .chain(
                of_mutating.map(|webhook| (webhook.name, webhook.client_config, webhook.match_conditions)),
            );
        let writes = managed_fields.into_iter().chain(mutating.metadata.managed_fields);
        Found::Present {
            uid,
            webhooks: webhooks.map(registered).collect(),
            writes: writes.flatten().map(write).collect(),
            mutates,
        }
    }
}

fn registered(
    (name, client, conditions): (String, WebhookClientConfig, Option<Vec<MatchCondition>>),
) -> Registered {
    Registered {
        has_conditions: conditions.is_some_and(|conditions| !conditions.is_empty()),
        name,
        asks: asks(&client),
        bundle: client.ca_bundle.map(|bundle| bundle.0),
    }
}

/// The name that the API server looks for in the certificate.
pub(crate) fn asks(client: &WebhookClientConfig) -> Name {
    if let Some(service) = &client.service {
        return Name::Dns(format!("{}.{}.svc", service.name, service.namespace));
    }
    let url: Option<http::Uri> = client.url.as_deref().and_then(|url| url.parse().ok());
    let host = url.as_ref().and_then(http::Uri::host).unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse().map_or_else(|_| Name::Dns(host.to_owned()), Name::Ip)
}

/// Who wrote the `caBundle`s of this configuration last, or the configuration, in words.
pub fn bundle_writer(configuration: &ValidatingWebhookConfiguration) -> Option<String> {
    let entries = configuration.metadata.managed_fields.iter().flatten();
    let writes: Vec<Write> = entries.cloned().map(write).collect();
    let names = configuration.webhooks.iter().flatten();
    let names: Vec<&str> = names.map(|webhook| webhook.name.as_str()).collect();
    trust::last_write(&writes, &names)
}

/// Who wrote, from an entry of `metadata.managedFields`, and of which webhooks it owns the `caBundle`.
pub(crate) fn write(entry: ManagedFieldsEntry) -> Write {
    let fields = entry.fields_v1.map(|fields| fields.0).unwrap_or_default();
    let webhooks = fields.get("f:webhooks").and_then(Value::as_object);
    let owned = webhooks.into_iter().flatten().filter_map(|(key, of_webhook)| {
        let _ = of_webhook.get("f:clientConfig")?.get("f:caBundle")?;
        let key: Value = serde_json::from_str(key.strip_prefix("k:")?).ok()?;
        Some(key.get("name")?.as_str()?.to_owned())
    });
    Write {
        ca_of: owned.collect(),
        manager: entry.manager.unwrap_or_default(),
        operation: entry.operation.unwrap_or_default(),
        at: entry.time.map(|time| time.0),
    }
}

/// Reads the configurations for ever, with a pause of `every` between two reads; the mutating one only if uncordons are deferred.
pub(crate) async fn poll(client: Client, trust: Arc<Trust>, every: Duration, defers: bool) {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let mutating: Option<Api<MutatingWebhookConfiguration>> = defers.then(|| Api::all(client.clone()));
    let (name, metrics) = (&trust.installation.configuration, &trust.metrics);
    let mut failing_since = None;
    loop {
        match read(&api, mutating.as_ref(), name).await {
            Ok(found) => {
                metrics.looked_up(LookupKind::Configuration, LookupOutcome::Answered);
                failing_since = None;
                // Before the questions, whose answers may be long in coming.
                trust.learn(found);
                trust.know(server::asked(&client, trust.server(), defers).await);
            }
            Err(error) => {
                metrics.looked_up(LookupKind::Configuration, LookupOutcome::Failed);
                let since = *failing_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= FORGET_AFTER {
                    trust.learn(Found::Failed(one_line(&error)));
                }
            }
        }
        tokio::time::sleep(every).await;
    }
}

async fn read(
    validating: &Api<ValidatingWebhookConfiguration>,
    mutating: Option<&Api<MutatingWebhookConfiguration>>,
    name: &str,
) -> Result<Found, CallError> {
    let Some(validating) = within(READ_TIMEOUT, validating.get_opt(name)).await? else {
        return Ok(Found::Missing);
    };
    let defers = mutating.is_some();
    let mutating = match mutating {
        Some(api) => within(READ_TIMEOUT, api.get_opt(name)).await?,
        None => None,
    };
    Ok(Found::of(validating, mutating, defers))
}

#[cfg(test)]
mod tests;
