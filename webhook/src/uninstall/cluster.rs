//! The cluster, as the uninstall sees and writes it.
//!
//! Not here: what is written ([`cordonhold_shared::uninstall`]).

use std::collections::{BTreeMap, BTreeSet};

use cordonhold_rt::api::{CALL_BOUND, CallError, call, each, within};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::lock_object::{Carrier, CarrierView, LockObject, Metadata, SeenLock};
use cordonhold_shared::uninstall::{Kind, Object, Seen, Step, Write};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::Request;
use kube::core::params::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::Value;

use crate::config::UninstallPlace;

/// The Deployment that makes certificates.
const CERTS: &str = "cordonhold-certs";
/// The label with the name of what a pod belongs to.
const NAME: &str = "app.kubernetes.io/name";

/// A request that failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {what}: {source}: {advice}")]
pub(super) struct RequestError {
    what: String,
    advice: &'static str,
    source: CallError,
}

impl RequestError {
    fn new(what: String, source: CallError) -> RequestError {
        let advice = match source.code() {
            Some(403) => {
                "allow it the ServiceAccount cordonhold-uninstall, as the chart's templates/uninstall.yaml does; if the webhook denied it, the \
                 text says what to do"
            }
            Some(500) => {
                "if the webhook does not answer, bring it back, or remove it with kubectl delete validatingwebhookconfiguration cordonhold"
            }
            Some(_) => "change what the API server refuses",
            None => "check the way to the API server",
        };
        RequestError { what, advice, source }
    }

    /// Whether somebody else has written meanwhile.
    pub(super) fn is_conflict(&self) -> bool {
        self.source.code() == Some(409)
    }
}

pub(super) struct Cluster {
    client: Client,
    place: UninstallPlace,
}

impl Cluster {
    pub(super) fn new(client: Client, place: UninstallPlace) -> Cluster {
        Cluster { client, place }
    }

    /// Looks at everything. The Nodes come last: an entry of the lock is over if its Node, read after the lock, says so.
    pub(super) async fn look(&self) -> Result<Seen, RequestError> {
        let mut seen = Seen::default();
        self.look_at_leases(&mut seen).await?;
        self.look_at_daemon_sets(&mut seen).await?;
        self.look_at_certificates(&mut seen).await?;
        seen.pods_on = self.nodes_with_pods().await?;
        seen.nodes = self
            .list::<NodeView>("/api/v1/nodes", ListParams::default())
            .await?;
        Ok(seen)
    }

    async fn look_at_leases(&self, seen: &mut Seen) -> Result<(), RequestError> {
        let path = path(Kind::Lease, &self.place.namespace);
        let leases: Vec<Lease> = self.list(&path, ListParams::default()).await?;
        let ours = leases.into_iter().map(|lease| lease.metadata).filter(|lease| {
            let mut annotations = lease.annotations.iter().flatten();
            annotations.any(|(key, _)| keys::is_ours(key))
        });
        seen.locks
            .extend(ours.map(|lease| seen_lock(Carrier::Lease, keys::LOCK, lease)));
        Ok(())
    }

    async fn look_at_daemon_sets(&self, seen: &mut Seen) -> Result<(), RequestError> {
        let sets: Vec<DaemonSet> = self
            .list("/apis/apps/v1/daemonsets", ListParams::default())
            .await?;
        for set in sets {
            let object = object(Kind::DaemonSet, &set.metadata);
            if self.place.kured.as_ref() == Some(&(object.namespace.clone(), object.name.clone())) {
                let lock = seen_lock(
                    Carrier::DaemonSet,
                    &self.place.lock_annotation,
                    set.metadata.clone(),
                );
                seen.locks.push(lock);
            }
            if object.namespace == self.place.namespace && is_agents(&object.name) && is_part(&set.metadata) {
                seen.workloads.push(object);
            } else if selects_by_our_label(&set) {
                seen.selecting.push(object);
            }
        }
        Ok(())
    }

    /// The Deployment that makes certificates, and the Secrets that it has made.
    async fn look_at_certificates(&self, seen: &mut Seen) -> Result<(), RequestError> {
        let namespace = &self.place.namespace;
        let failed = |what: &str, name: &str| {
            let what = format!("read {what} {namespace}/{name}");
            move |source| RequestError::new(what, source)
        };
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        let certs = within(CALL_BOUND, deployments.get_metadata_opt(CERTS)).await;
        let certs = certs.map_err(failed("Deployment", CERTS))?;
        seen.workloads
            .extend(certs.map(|certs| object(Kind::Deployment, &certs.metadata)));
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        for name in &self.place.secrets {
            let secret = within(CALL_BOUND, secrets.get_metadata_opt(name)).await;
            let secret = secret.map_err(failed("Secret", name))?;
            let made = secret.filter(|secret| is_part(&secret.metadata));
            seen.secrets
                .extend(made.map(|secret| object(Kind::Secret, &secret.metadata)));
        }
        Ok(())
    }

    /// The nodes with a pod of the agents or of what makes certificates.
    async fn nodes_with_pods(&self) -> Result<BTreeSet<String>, RequestError> {
        let path = format!("/api/v1/namespaces/{}/pods", self.place.namespace);
        let params = ListParams::default().labels(&format!("{}={}", keys::PART_OF.0, keys::PART_OF.1));
        let pods: Vec<Pod> = self.list(&path, params).await?;
        let ours = pods.into_iter().filter(|pod| {
            let labels = pod.metadata.labels.as_ref();
            let name = labels.and_then(|labels| labels.get(NAME));
            name.is_some_and(|name| is_agents(name) || name == CERTS)
        });
        Ok(ours
            .filter_map(|pod| pod.spec.and_then(|spec| spec.node_name))
            .collect())
    }

    async fn list<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        params: ListParams,
    ) -> Result<Vec<T>, RequestError> {
        let mut items = Vec::new();
        each(&self.client, path, params, |item| items.push(item))
            .await
            .map_err(|source| RequestError::new(format!("list {path}"), source))?;
        Ok(items)
    }

    /// Makes one write. An object that is gone already is as good as deleted.
    pub(super) async fn carry_out(&self, step: &Step) -> Result<(), RequestError> {
        let Object {
            kind,
            namespace,
            name,
        } = &step.object;
        let request = Request::new(path(*kind, namespace));
        let by = PatchParams {
            field_manager: Some(keys::UNINSTALL_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let built = match &step.write {
            Write::Patch(body) => request.patch(name, &by, &Patch::Merge(body)),
            Write::Status(body) => request.patch_subresource("status", name, &by, &Patch::Strategic(body)),
            Write::Delete => request.delete(name, &DeleteParams::background()),
        };
        let answer: Result<Value, CallError> = call(&self.client, built).await;
        match answer {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some(404) => Ok(()),
            Err(source) => {
                let verb = match step.write {
                    Write::Patch(_) => "patch",
                    Write::Status(_) => "patch the status of",
                    Write::Delete => "delete",
                };
                Err(RequestError::new(format!("{verb} {}", step.object), source))
            }
        }
    }
}

/// The path of the objects of this kind; for Nodes the namespace is left out.
fn path(kind: Kind, namespace: &str) -> String {
    match kind {
        Kind::Node => "/api/v1/nodes".to_owned(),
        Kind::Lease => format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"),
        Kind::DaemonSet => format!("/apis/apps/v1/namespaces/{namespace}/daemonsets"),
        Kind::Deployment => format!("/apis/apps/v1/namespaces/{namespace}/deployments"),
        Kind::Secret => format!("/api/v1/namespaces/{namespace}/secrets"),
    }
}

fn object(kind: Kind, metadata: &ObjectMeta) -> Object {
    Object {
        kind,
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}

fn seen_lock(carrier: Carrier, key: &str, metadata: ObjectMeta) -> SeenLock {
    let name = metadata.name.unwrap_or_default();
    SeenLock {
        object: LockObject {
            carrier,
            namespace: metadata.namespace.unwrap_or_default(),
            name: name.clone(),
            key: key.to_owned(),
        },
        view: CarrierView {
            metadata: Metadata {
                name,
                resource_version: metadata.resource_version.unwrap_or_default(),
                annotations: metadata.annotations.unwrap_or_default(),
            },
        },
    }
}

fn is_part(metadata: &ObjectMeta) -> bool {
    let value = metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(keys::PART_OF.0));
    value.is_some_and(|value| value == keys::PART_OF.1)
}

fn is_agents(name: &str) -> bool {
    name.strip_prefix(keys::AGENTS)
        .is_some_and(|pool| pool.is_empty() || pool.starts_with('-'))
}

/// Whether the DaemonSet's pods run only on nodes with a label of ours, as kured's do while a fleet moves to the agents.
fn selects_by_our_label(set: &DaemonSet) -> bool {
    let pod = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let selector: Option<&BTreeMap<String, String>> = pod.and_then(|pod| pod.node_selector.as_ref());
    selector.is_some_and(|selector| selector.keys().any(|key| keys::is_ours(key)))
}
