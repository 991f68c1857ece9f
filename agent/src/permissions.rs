//! The check of the agent's permissions at its start, so that a missing one is named before any node is touched.
//!
//! Not here: the roles that grant them, see `manifests/`.

pub(crate) mod node_claim;
mod rules;

use cordonhold_shared::reboot::lock_object::Carrier;
use kube::core::Request;
use kube::core::params::PostParams;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tracing::{error, warn};

use self::rules::{Access, Shown};
use crate::api::{Api, CallError, Meaning as _};

/// The agent does not start, because these permissions are missing.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} permissions are missing ({}): grant them to the agent's ServiceAccount, as manifests/base/rbac-agent.yaml does, \
     manifests/components/lock-on-daemonset does for a lock on kured's DaemonSet, and manifests/components/volume-detach for --volume-detach-timeout; \
     docs/kured.md lists what kured's own ServiceAccount lacks", .missing.len(), .missing.join(", ")
)]
pub struct PermissionError {
    missing: Vec<String>,
}

/// A permission that the agent needs.
struct Needed {
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: Scope,
}

#[derive(Clone, Copy, PartialEq, Eq)]
/// On which objects a permission is needed, and what for.
enum Scope {
    /// On all objects of the cluster.
    Cluster,
    /// On all objects of the cluster, but only with `--volume-detach-timeout`.
    Volumes,
    /// On all objects of the cluster, but only with `--preflight`.
    Preflight,
    /// Only on the object that carries the lock.
    One(Carrier),
    /// On all Leases in the namespace of the pool's Lease.
    Leases,
    /// On all `DaemonSets`, for `--lock-on=auto`. Dispensable: without it, nothing warns of a kured elsewhere.
    Search,
    /// For Events, and for the names of budgets in messages. Dispensable: the log has the rest.
    Notices,
    /// For the Node's conditions, only with `--node-conditions`. Dispensable: the marks on the Node say the same.
    Conditions,
}

/// What flags ask for that the API calls do not know of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wants {
    /// `--node-conditions`.
    pub(crate) conditions: bool,
    /// `--preflight`.
    pub(crate) preflight: bool,
}

const NODES: &str = "nodes";
const LEASES: &str = "coordination.k8s.io";

/// The permissions that are needed whichever object carries the lock.
const NEEDED: [Needed; 14] = [
    needed("get", "", NODES, "", Scope::Cluster),
    needed("list", "", NODES, "", Scope::Cluster),
    needed("watch", "", NODES, "", Scope::Cluster),
    needed("patch", "", NODES, "", Scope::Cluster),
    needed("list", "", "pods", "", Scope::Cluster),
    needed("watch", "", "pods", "", Scope::Cluster),
    needed("create", "", "pods", "eviction", Scope::Cluster),
    needed("get", "apps", "daemonsets", "", Scope::Cluster),
    needed("list", "storage.k8s.io", "volumeattachments", "", Scope::Volumes),
    needed("get", "", "persistentvolumeclaims", "", Scope::Volumes),
    needed("list", "policy", "poddisruptionbudgets", "", Scope::Preflight),
    needed("list", "policy", "poddisruptionbudgets", "", Scope::Notices),
    needed("create", "events.k8s.io", "events", "", Scope::Notices),
    needed("patch", "", NODES, "status", Scope::Conditions),
];

/// The permissions for a lock on a Lease.
const ON_LEASE: [Needed; 6] = [
    needed("get", LEASES, "leases", "", Scope::One(Carrier::Lease)),
    // To check at the start whether another pool selects the Node.
    needed("list", LEASES, "leases", "", Scope::Leases),
    needed("list", LEASES, "leases", "", Scope::One(Carrier::Lease)),
    needed("watch", LEASES, "leases", "", Scope::One(Carrier::Lease)),
    needed("create", LEASES, "leases", "", Scope::One(Carrier::Lease)),
    needed("patch", LEASES, "leases", "", Scope::One(Carrier::Lease)),
];

/// The permissions for a lock on kured's DaemonSet.
const ON_DAEMON_SET: [Needed; 4] = [
    DAEMON_SET_SEEN,
    needed("list", "apps", "daemonsets", "", Scope::One(Carrier::DaemonSet)),
    needed("watch", "apps", "daemonsets", "", Scope::One(Carrier::DaemonSet)),
    needed("patch", "apps", "daemonsets", "", Scope::One(Carrier::DaemonSet)),
];

/// With `auto`, the agent checks whether kured's DaemonSet exists.
const DAEMON_SET_SEEN: Needed = needed("get", "apps", "daemonsets", "", Scope::One(Carrier::DaemonSet));

/// With `auto`, the agent searches for a kured elsewhere.
const SEARCHED: Needed = needed("list", "apps", "daemonsets", "", Scope::Search);

/// Checks each permission, and fails if one that the reboot needs is missing. If the API server does not answer, the check is skipped.
///
/// What the rules that the API server shows do not grant is asked for one by one.
pub(crate) async fn check(api: &Api, carrier: Carrier, wants: Wants) -> Result<(), PermissionError> {
    let is_auto = api.lock_objects().is_auto();
    let lock = match carrier {
        Carrier::Lease => ON_LEASE.as_slice(),
        Carrier::DaemonSet => ON_DAEMON_SET.as_slice(),
    };
    let on_auto = [&DAEMON_SET_SEEN, &SEARCHED]
        .into_iter()
        .filter(|_| is_auto && carrier == Carrier::Lease);
    let is_wanted = |needed: &&Needed| match needed.scope {
        Scope::Conditions => wants.conditions,
        Scope::Preflight => wants.preflight,
        Scope::Volumes => api.waits_for_volumes(),
        _ => true,
    };
    let mut missing = Vec::new();
    let mut shown = Shown::default();
    for needed in NEEDED.iter().filter(is_wanted).chain(lock).chain(on_auto) {
        let name = needed.name(api);
        let access = needed.access(api);
        let answer = match shown.grants(api, access).await {
            Ok(false) => is_granted(api, access).await,
            answer => answer,
        };
        match answer {
            Ok(true) => {}
            Ok(false) if needed.is_dispensable() => {
                warn!(
                    event = "permission_missing",
                    permission = name,
                    "a permission is missing, but the reboot does not need it: going on"
                );
            }
            Ok(false) => {
                error!(
                    event = "permission_missing",
                    permission = name,
                    "a permission is missing"
                );
                missing.push(name);
            }
            Err(error) => {
                let why = error.with_fix();
                warn!(
                    event = "permissions_unknown",
                    why, "the permissions cannot be asked for: going on without the check"
                );
                break;
            }
        }
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(PermissionError { missing })
    }
}

const fn needed(
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: Scope,
) -> Needed {
    Needed {
        verb,
        group,
        resource,
        subresource,
        scope,
    }
}

impl Needed {
    /// Whether the agent can do its work without this permission.
    fn is_dispensable(&self) -> bool {
        matches!(self.scope, Scope::Notices | Scope::Conditions | Scope::Search)
    }

    /// The permission on the objects of this agent.
    fn access<'a>(&'a self, api: &'a Api) -> Access<'a> {
        let (namespace, name) = match self.scope {
            Scope::Cluster | Scope::Volumes | Scope::Preflight | Scope::Conditions | Scope::Search => {
                ("", "")
            }
            Scope::One(carrier) => {
                let lock = api.lock_object(carrier);
                (lock.namespace.as_str(), lock.name.as_str())
            }
            Scope::Leases => (api.lock_object(Carrier::Lease).namespace.as_str(), ""),
            Scope::Notices => ("default", ""),
        };
        Access {
            needed: self,
            namespace,
            name,
        }
    }

    /// The permission as an error names it, like `patch nodes`.
    fn name(&self, api: &Api) -> String {
        let slash = if self.subresource.is_empty() { "" } else { "/" };
        let resource = format!("{} {}{slash}{}", self.verb, self.resource, self.subresource);
        match self.scope {
            Scope::Cluster
            | Scope::Volumes
            | Scope::Preflight
            | Scope::Notices
            | Scope::Conditions
            | Scope::Search => resource,
            Scope::One(carrier) => {
                let lock = api.lock_object(carrier);
                format!("{resource} {}/{}", lock.namespace, lock.name)
            }
            Scope::Leases => format!("{resource} in {}", api.lock_object(Carrier::Lease).namespace),
        }
    }
}

/// Asks the API server whether the agent may do this.
async fn is_granted(api: &Api, access: Access<'_>) -> Result<bool, CallError> {
    let Access {
        needed,
        namespace,
        name,
    } = access;
    let spec = json!({ "resourceAttributes": {
        "verb": needed.verb,
        "group": needed.group,
        "resource": needed.resource,
        "subresource": needed.subresource,
        "namespace": namespace,
        "name": name,
    } });
    let answer: Value = review(api, "SelfSubjectAccessReview", &spec).await?;
    Ok(answer["status"]["allowed"].as_bool().unwrap_or(false))
}

/// Has the API server answer this kind of question about the agent's permissions.
async fn review<T: DeserializeOwned>(api: &Api, kind: &str, spec: &Value) -> Result<T, CallError> {
    let body = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec });
    let path = format!("/apis/authorization.k8s.io/v1/{}s", kind.to_lowercase());
    let request = Request::new(path).create(&PostParams::default(), body.to_string().into_bytes());
    api.call(request).await
}

#[cfg(test)]
mod tests;
