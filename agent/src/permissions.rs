//! The agent's permissions, asked for at the start: a role that is too small is named before any node is touched.

use kube::core::Request;
use kube::core::params::PostParams;
use serde_json::{Value, json};
use tracing::{error, warn};

use crate::api::{Api, CallError};

/// Why the agent does not begin.
#[derive(Debug, thiserror::Error)]
#[error("{} permissions are missing ({}): grant them to the agent's ServiceAccount, as manifests/base/rbac-agent.yaml does", .missing.len(), .missing.join(", "))]
pub struct PermissionError {
    missing: Vec<String>,
}

struct Needed {
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: Scope,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Cluster,
    /// The lock object alone.
    Lock,
    /// Events: without them the log still tells all.
    Notices,
    /// Conditions on the Node: only where they are wanted, and without them the marks still tell all.
    Conditions,
}

const NODES: &str = "nodes";
const LEASES: &str = "coordination.k8s.io";

const NEEDED: [Needed; 14] = [
    needed("get", "", NODES, "", Scope::Cluster),
    needed("list", "", NODES, "", Scope::Cluster),
    needed("watch", "", NODES, "", Scope::Cluster),
    needed("patch", "", NODES, "", Scope::Cluster),
    needed("list", "", "pods", "", Scope::Cluster),
    needed("watch", "", "pods", "", Scope::Cluster),
    needed("create", "", "pods", "eviction", Scope::Cluster),
    needed("get", LEASES, "leases", "", Scope::Lock),
    needed("list", LEASES, "leases", "", Scope::Lock),
    needed("watch", LEASES, "leases", "", Scope::Lock),
    needed("create", LEASES, "leases", "", Scope::Lock),
    needed("patch", LEASES, "leases", "", Scope::Lock),
    needed("create", "events.k8s.io", "events", "", Scope::Notices),
    needed("patch", "", NODES, "status", Scope::Conditions),
];

/// Names each permission that is missing. An API server that cannot say is no reason to stay away.
pub(crate) async fn check(api: &Api, shows_conditions: bool) -> Result<(), PermissionError> {
    let mut missing = Vec::new();
    let is_wanted = |needed: &&Needed| needed.scope != Scope::Conditions || shows_conditions;
    for needed in NEEDED.iter().filter(is_wanted) {
        let name = needed.name(api);
        match needed.is_granted(api).await {
            Ok(true) => {}
            Ok(false) if needed.is_dispensable() => {
                warn!(
                    event = "permission_missing",
                    permission = name,
                    "a permission is missing that the reboot does not need: going on"
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
                let why = cordonhold_rt::exit::one_line(&error);
                warn!(
                    event = "permissions_unknown",
                    why, "the permissions cannot be asked for: going on"
                );
                return Ok(());
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
    /// Whether the agent does its work without it.
    fn is_dispensable(&self) -> bool {
        matches!(self.scope, Scope::Notices | Scope::Conditions)
    }

    async fn is_granted(&self, api: &Api) -> Result<bool, CallError> {
        let (namespace, name) = match self.scope {
            Scope::Cluster | Scope::Conditions => ("", ""),
            Scope::Lock => (api.lock_namespace(), api.lock_name()),
            Scope::Notices => ("default", ""),
        };
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": {
                "verb": self.verb,
                "group": self.group,
                "resource": self.resource,
                "subresource": self.subresource,
                "namespace": namespace,
                "name": name,
            } },
        });
        let request = Request::new("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
            .create(&PostParams::default(), body.to_string().into_bytes());
        let answer: Value = api.call(request).await?;
        Ok(answer["status"]["allowed"].as_bool().unwrap_or(false))
    }

    fn name(&self, api: &Api) -> String {
        let slash = if self.subresource.is_empty() { "" } else { "/" };
        let resource = format!("{} {}{slash}{}", self.verb, self.resource, self.subresource);
        match self.scope {
            Scope::Cluster | Scope::Notices | Scope::Conditions => resource,
            Scope::Lock => format!("{resource} {}/{}", api.lock_namespace(), api.lock_name()),
        }
    }
}
