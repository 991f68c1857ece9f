//! The objects in the cluster: reads them afresh, and writes each on the version that was read.
//!
//! A Secret that does not exist is created by server-side apply, because RBAC can allow that for one name; a POST has no name that RBAC
//! could look at. The field manager is another one for each process, so of two that create at once one gets a conflict.
//! Not here: what is written ([`super::keeper`]).

use std::collections::BTreeMap;

use cordonhold_rt::api::{CALL_BOUND, CallError, call, within};
use cordonhold_rt::pause;
use cordonhold_rt::watch::Target;
use cordonhold_shared::admission::trust::{Name, Write};
use cordonhold_shared::certificates::{MANAGER, OfCertManager};
use cordonhold_shared::keys;
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::client::Body;
use kube::core::params::{GetParams, Patch, PatchParams};
use kube::core::{Request, Status};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::config::Place;
use crate::tls;
use crate::trust::{asks, write};

/// Largest answer that is read: a Secret has at most 1 MiB of data (k8s.io/api: core/v1/types.go, `MaxSecretSize`), here in base64.
const SECRET_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// cert-manager writes the Secret with this annotation (pkg/apis/certmanager/v1/types.go).
const OF_CERTIFICATE: &str = "cert-manager.io/certificate-name";
/// With one of these on a configuration, cert-manager's cainjector writes its `caBundle`s (pkg/apis/certmanager/v1/types.go).
const INJECTED_FROM: [&str; 3] = [
    "cert-manager.io/inject-ca-from",
    "cert-manager.io/inject-ca-from-secret",
    "cert-manager.io/inject-apiserver-ca",
];

/// The two kinds of webhook configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Validating,
    Mutating,
}

/// One of the two Secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SecretOf {
    Authorities,
    Served,
}

/// Everything that was read.
pub(super) struct Snapshot {
    validating: Option<Configuration>,
    mutating: Option<Configuration>,
    pub(super) served: Option<Kept>,
    pub(super) authorities: Option<Kept>,
    /// The API server's time when it answered the last read.
    pub(super) server_time: Timestamp,
}

/// A webhook configuration, with those of its webhooks that are ours.
#[derive(Clone, Debug)]
pub(super) struct Configuration {
    pub(super) kind: Kind,
    pub(super) version: String,
    pub(super) uid: Option<String>,
    pub(super) webhooks: Vec<Webhook>,
    pub(super) writes: Vec<Write>,
    of_cert_manager: Option<OfCertManager>,
}

#[derive(Clone, Debug)]
pub(super) struct Webhook {
    pub(super) name: String,
    pub(super) bundle: Option<Vec<u8>>,
}

/// A Secret with the version that was read.
pub(super) struct Kept {
    pub(super) version: String,
    /// Kind and name, for people.
    pub(super) what: String,
    /// Whether this program has written it, as `managedFields` says.
    pub(super) is_ours: bool,
    of_cert_manager: Option<OfCertManager>,
    data: BTreeMap<String, ByteString>,
}

/// A request that failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {verb} {what}: {source}: {advice}")]
pub(super) struct RequestError {
    verb: &'static str,
    what: String,
    advice: &'static str,
    source: CallError,
}

/// The objects and a client for them.
pub(super) struct Cluster {
    client: Client,
    place: Place,
    /// The field manager of a Secret's creation.
    creator: String,
}

impl Kind {
    fn resource(self) -> &'static str {
        match self {
            Kind::Validating => "validatingwebhookconfigurations",
            Kind::Mutating => "mutatingwebhookconfigurations",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Validating => "ValidatingWebhookConfiguration",
            Kind::Mutating => "MutatingWebhookConfiguration",
        }
    }

    fn path(self) -> String {
        format!("/apis/admissionregistration.k8s.io/v1/{}", self.resource())
    }
}

impl Snapshot {
    pub(super) fn configurations(&self) -> impl Iterator<Item = &Configuration> {
        self.validating.iter().chain(&self.mutating)
    }

    /// The first object that cert-manager writes.
    pub(super) fn of_cert_manager(&self) -> Option<OfCertManager> {
        let served = self
            .served
            .iter()
            .filter_map(|secret| secret.of_cert_manager.as_ref());
        let configurations = self
            .configurations()
            .filter_map(|configuration| configuration.of_cert_manager.as_ref());
        served.chain(configurations).next().cloned()
    }
}

impl Configuration {
    /// The name of a webhook among those of all configurations.
    pub(super) fn label(&self, webhook: &str) -> String {
        match self.kind {
            Kind::Validating => webhook.to_owned(),
            Kind::Mutating => format!("{webhook} (mutating)"),
        }
    }
}

impl Kept {
    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        self.data.get(key).map(|value| value.0.as_slice())
    }
}

impl RequestError {
    /// Whether somebody else has written meanwhile, so that all there is to do is to look again.
    pub(super) fn is_conflict(&self) -> bool {
        self.source.code() == Some(409)
    }
}

impl Cluster {
    pub(super) fn new(client: Client, place: Place) -> Cluster {
        Cluster {
            client,
            place,
            creator: format!("{MANAGER}-{:016x}", pause::random()),
        }
    }

    pub(super) fn names(&self) -> &[Name] {
        &self.place.names
    }

    pub(super) fn configuration_name(&self) -> &str {
        &self.place.configuration
    }

    /// What to watch: the four objects, without their content.
    pub(super) fn targets(&self) -> [Target; 4] {
        let named = |name, path, object: &str| Target {
            only_metadata: true,
            ..Target::new(name, path, format!("metadata.name={object}"))
        };
        [
            named("validating", Kind::Validating.path(), &self.place.configuration),
            named("mutating", Kind::Mutating.path(), &self.place.configuration),
            named("served", self.secrets(), self.secret_name(SecretOf::Served)),
            named(
                "authorities",
                self.secrets(),
                self.secret_name(SecretOf::Authorities),
            ),
        ]
    }

    /// Reads everything. The CAs are read last: whatever another process has written into a `caBundle` or signed by then is in them.
    pub(super) async fn read(&self) -> Result<Snapshot, RequestError> {
        let validating: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
        let mutating: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let name = self.configuration_name();
        let failed = |kind: Kind| move |source| self.failed_to("read", kind.name(), name, source);
        let validating = within(CALL_BOUND, validating.get_opt(name))
            .await
            .map_err(failed(Kind::Validating))?;
        let mutating = within(CALL_BOUND, mutating.get_opt(name))
            .await
            .map_err(failed(Kind::Mutating))?;
        let (served, _) = self.read_secret(SecretOf::Served).await?;
        let (authorities, server_time) = self.read_secret(SecretOf::Authorities).await?;
        let of_validating = validating.map(|object| {
            let webhooks = object.webhooks.into_iter().flatten();
            let webhooks = webhooks.map(|webhook| (webhook.name, webhook.client_config));
            self.configuration(Kind::Validating, object.metadata, webhooks)
        });
        let of_mutating = mutating.map(|object| {
            let webhooks = object.webhooks.into_iter().flatten();
            let webhooks = webhooks.map(|webhook| (webhook.name, webhook.client_config));
            self.configuration(Kind::Mutating, object.metadata, webhooks)
        });
        Ok(Snapshot {
            validating: of_validating,
            mutating: of_mutating,
            served,
            authorities,
            server_time,
        })
    }

    /// A webhook is ours if the API server asks it for a name that our certificate has.
    fn configuration(
        &self,
        kind: Kind,
        metadata: ObjectMeta,
        webhooks: impl Iterator<Item = (String, WebhookClientConfig)>,
    ) -> Configuration {
        let ours = webhooks.filter(|(_, client)| self.place.names.contains(&asks(client)));
        let what = format!("{} {}", kind.name(), self.configuration_name());
        Configuration {
            kind,
            of_cert_manager: annotated(&metadata, &INJECTED_FROM, &what),
            version: metadata.resource_version.unwrap_or_default(),
            uid: metadata.uid,
            webhooks: ours
                .map(|(name, client)| Webhook {
                    name,
                    bundle: client.ca_bundle.map(|bundle| bundle.0),
                })
                .collect(),
            writes: metadata.managed_fields.into_iter().flatten().map(write).collect(),
        }
    }

    /// Writes this CA bundle, PEM, into these webhooks of a configuration. Lists of webhooks are merged by name.
    pub(super) async fn write_bundle(
        &self,
        configuration: &Configuration,
        webhooks: &[&str],
        bundle: &str,
    ) -> Result<(), RequestError> {
        let bundle = ByteString(bundle.as_bytes().to_vec());
        let webhooks = webhooks
            .iter()
            .map(|name| json!({ "name": name, "clientConfig": { "caBundle": bundle } }));
        let patch = Patch::Strategic(json!({
            "metadata": { "resourceVersion": configuration.version },
            "webhooks": webhooks.collect::<Vec<Value>>(),
        }));
        let name = self.configuration_name();
        let request = Request::new(configuration.kind.path()).patch(name, &by(MANAGER), &patch);
        let written: Result<Value, CallError> = call(&self.client, request).await;
        let failed =
            |source| self.failed_to("write the caBundle of", configuration.kind.name(), name, source);
        written.map(drop).map_err(failed)
    }

    /// Writes these keys of a Secret on the version that was read, or creates it if there was none.
    pub(super) async fn write_secret(
        &self,
        of: SecretOf,
        read: Option<&Kept>,
        data: &[(&str, &str)],
    ) -> Result<(), RequestError> {
        let name = self.secret_name(of);
        let data: BTreeMap<&str, ByteString> = data
            .iter()
            .map(|(key, value)| (*key, ByteString(value.as_bytes().to_vec())))
            .collect();
        let request = Request::new(self.secrets());
        let request = if let Some(read) = read {
            let patch = json!({ "metadata": { "resourceVersion": read.version }, "data": data });
            request.patch(name, &by(MANAGER), &Patch::Merge(patch))
        } else {
            let secret = json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": { "name": name, "labels": { keys::PART_OF.0: keys::PART_OF.1 } },
                "type": of.kind(),
                "data": data,
            });
            request.patch(name, &by(&self.creator), &Patch::Apply(secret))
        };
        let written: Result<Value, CallError> = call(&self.client, request).await;
        written
            .map(drop)
            .map_err(|source| self.failed_to("write", "Secret", name, source))
    }

    /// Reads a Secret, and the API server's time.
    async fn read_secret(&self, of: SecretOf) -> Result<(Option<Kept>, Timestamp), RequestError> {
        let name = self.secret_name(of);
        let read = within(CALL_BOUND, self.dated(name)).await;
        let (secret, time) = read.map_err(|source| self.failed_to("read", "Secret", name, source))?;
        let what = format!("Secret {}/{name}", self.place.namespace);
        let kept = secret.map(|secret| {
            let writes = secret.metadata.managed_fields.iter().flatten();
            let mut managers = writes.filter_map(|entry| entry.manager.as_deref());
            Kept {
                is_ours: managers.any(is_by_us),
                of_cert_manager: annotated(&secret.metadata, &[OF_CERTIFICATE], &what),
                what,
                version: secret.metadata.resource_version.unwrap_or_default(),
                data: secret.data.unwrap_or_default(),
            }
        });
        Ok((kept, time))
    }

    async fn dated(&self, name: &str) -> Result<(Option<Secret>, Timestamp), CallError> {
        let request = Request::new(self.secrets()).get(name, &GetParams::default())?;
        let response = self.client.send(request.map(Body::from)).await?;
        // Every answer of Go's HTTP server has a Date.
        let date = response
            .headers()
            .get(http::header::DATE)
            .and_then(|date| date.to_str().ok());
        let time = date
            .and_then(|date| rfc2822::parse(date).ok())
            .map(|time| time.timestamp());
        let status = response.status();
        let body = Limited::new(response.into_body(), SECRET_BYTES_MAX)
            .collect()
            .await;
        let body = body.map_err(kube::Error::Service)?.to_bytes();
        let time = time.ok_or_else(|| refusal(502, "an answer without a Date, perhaps from a proxy"))?;
        if status.is_success() {
            let secret = serde_json::from_slice(&body).map_err(kube::Error::SerdeError)?;
            return Ok((Some(secret), time));
        }
        if status == http::StatusCode::NOT_FOUND {
            return Ok((None, time));
        }
        let said: Option<Status> = serde_json::from_slice(&body).ok();
        Err(said.map_or_else(
            || refusal(status.as_u16(), "no Status"),
            |said| CallError::Answered(Box::new(said)),
        ))
    }

    fn secrets(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets", self.place.namespace)
    }

    fn secret_name(&self, of: SecretOf) -> &str {
        match of {
            SecretOf::Authorities => &self.place.authorities_secret,
            SecretOf::Served => &self.place.served_secret,
        }
    }

    fn failed_to(&self, verb: &'static str, kind: &str, name: &str, source: CallError) -> RequestError {
        let advice = match source.code() {
            Some(403) => "allow the ServiceAccount of this part what docs/certificates.md lists",
            Some(409) => "somebody else has written it meanwhile, and it is read again",
            Some(404) => "create the namespace, or name another with --namespace",
            Some(_) => "change what the API server refuses",
            None => "check the way to the API server",
        };
        let what = match kind {
            "Secret" => format!("the Secret {}/{name}", self.place.namespace),
            kind => format!("the {kind} {name}"),
        };
        RequestError {
            verb,
            what,
            advice,
            source,
        }
    }
}

impl SecretOf {
    fn kind(self) -> &'static str {
        match self {
            SecretOf::Authorities => "Opaque",
            SecretOf::Served => tls::SECRET_TYPE,
        }
    }
}

fn annotated(metadata: &ObjectMeta, with: &[&'static str], what: &str) -> Option<OfCertManager> {
    let annotations = metadata.annotations.as_ref()?;
    let annotation = with.iter().find(|key| annotations.contains_key(**key))?;
    Some(OfCertManager {
        what: what.to_owned(),
        annotation,
    })
}

/// Whether this is the field manager of an update of ours, or of the process that created a Secret.
fn is_by_us(manager: &str) -> bool {
    let rest = manager.strip_prefix(MANAGER);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn by(manager: &str) -> PatchParams {
    PatchParams {
        field_manager: Some(manager.to_owned()),
        ..PatchParams::default()
    }
}

fn refusal(code: u16, message: &str) -> CallError {
    CallError::Answered(Box::new(Status {
        code,
        message: message.to_owned(),
        ..Status::default()
    }))
}
