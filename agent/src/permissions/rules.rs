//! The rules that the API server shows for the agent, so that one question answers for many permissions.
//!
//! What no rule grants may be granted all the same, because not every authorizer shows its rules: it is asked for by itself, see
//! [`super::check`]. Not here: an authorizer that denies what a rule of another one grants. That shows at the first such request.

use std::collections::BTreeMap;

use cordonhold_shared::reboot::cycle::Failure;
use serde::Deserialize;
use serde_json::json;
use tracing::debug;

use super::{Needed, review};
use crate::api::{Api, CallError, Meaning as _};

/// A namespace without a `Role` for the agent, so what is shown for it holds in the whole cluster. It need not exist.
const NOWHERE: &str = "cordonhold-no-namespace";

/// What was shown so far, by namespace.
#[derive(Default)]
pub(super) struct Shown(BTreeMap<String, Vec<Rule>>);

/// A permission on certain objects, as an authorizer is asked about it.
#[derive(Clone, Copy)]
pub(super) struct Access<'a> {
    pub(super) needed: &'a Needed,
    /// Empty: the whole cluster.
    pub(super) namespace: &'a str,
    /// Empty: all objects.
    pub(super) name: &'a str,
}

/// A rule in the status of a `SelfSubjectRulesReview`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    verbs: Vec<String>,
    api_groups: Vec<String>,
    resources: Vec<String>,
    /// None: all objects.
    resource_names: Vec<String>,
}

#[derive(Deserialize)]
struct Review {
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    resource_rules: Option<Vec<Rule>>,
}

impl Shown {
    /// Whether a rule that the API server shows grants this. Asks for the rules of a namespace at most once.
    pub(super) async fn grants(&mut self, api: &Api, access: Access<'_>) -> Result<bool, CallError> {
        let is_shown = self.shows(api, NOWHERE, access).await?;
        Ok(is_shown || (!access.namespace.is_empty() && self.shows(api, access.namespace, access).await?))
    }

    async fn shows(&mut self, api: &Api, namespace: &str, access: Access<'_>) -> Result<bool, CallError> {
        if !self.0.contains_key(namespace) {
            drop(self.0.insert(namespace.to_owned(), ask(api, namespace).await?));
        }
        let mut rules = self.0.get(namespace).into_iter().flatten();
        Ok(rules.any(|rule| rule.grants(access)))
    }
}

/// The rules that hold in a namespace. None if the API server refuses to show them.
async fn ask(api: &Api, namespace: &str) -> Result<Vec<Rule>, CallError> {
    let spec = json!({ "namespace": namespace });
    match review::<Review>(api, "SelfSubjectRulesReview", &spec).await {
        Ok(review) => Ok(review.status.resource_rules.unwrap_or_default()),
        Err(error) if matches!(error.failure(), Failure::Refused(_) | Failure::NotFound) => {
            let why = error.with_fix();
            debug!(namespace, why, "the API server does not show the agent's rules");
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

impl Rule {
    /// Whether RBAC grants this by the rule (k8s.io/kubernetes: `pkg/apis/rbac/v1/evaluation_helpers.go`).
    fn grants(&self, access: Access<'_>) -> bool {
        let has = |all: &[String], one: &str| all.iter().any(|each| each == "*" || each == one);
        let needed = access.needed;
        let has_resource = match needed.subresource {
            "" => has(&self.resources, needed.resource),
            subresource => {
                has(&self.resources, &format!("{}/{subresource}", needed.resource))
                    || self.resources.contains(&format!("*/{subresource}"))
            }
        };
        let is_named =
            self.resource_names.is_empty() || self.resource_names.iter().any(|name| name == access.name);
        has_resource && has(&self.verbs, needed.verb) && has(&self.api_groups, needed.group) && is_named
    }
}

#[cfg(test)]
mod tests {
    use cordonhold_shared::reboot::lock_object::Carrier;

    use super::super::{LEASES, Scope, needed};
    use super::*;

    const EVICTION: Access<'_> = Access {
        needed: &needed("create", "", "pods", "eviction", Scope::Cluster),
        namespace: "",
        name: "",
    };
    const LEASE: Access<'_> = Access {
        needed: &needed("patch", LEASES, "leases", "", Scope::One(Carrier::Lease)),
        namespace: "ns",
        name: "lock",
    };

    fn rule(verb: &str, group: &str, resource: &str, name: Option<&str>) -> Rule {
        Rule {
            verbs: vec![verb.to_owned()],
            api_groups: vec![group.to_owned()],
            resources: vec!["secrets".to_owned(), resource.to_owned()],
            resource_names: Vec::from_iter(name.map(str::to_owned)),
        }
    }

    #[test]
    fn a_rule_grants_what_rbac_grants_by_it() {
        let group = "coordination.k8s.io";
        for (rule, access, grants) in [
            (rule("create", "", "pods/eviction", None), EVICTION, true),
            (rule("*", "*", "*", None), EVICTION, true),
            (rule("create", "", "*/eviction", None), EVICTION, true),
            (rule("create", "", "pods", None), EVICTION, false),
            (rule("create", "", "pods/*", None), EVICTION, false),
            (rule("create", "", "nodes/eviction", None), EVICTION, false),
            (rule("get", "", "pods/eviction", None), EVICTION, false),
            (rule("create", "policy", "pods/eviction", None), EVICTION, false),
            (rule("create", "", "pods/eviction", Some("a")), EVICTION, false),
            (rule("patch", group, "leases", None), LEASE, true),
            (rule("patch", group, "leases", Some("lock")), LEASE, true),
            (rule("patch", group, "leases", Some("other")), LEASE, false),
            (rule("patch", group, "leases/lock", None), LEASE, false),
        ] {
            let shown = format!("{:?} {:?} {:?}", rule.verbs, rule.api_groups, rule.resources);
            assert_eq!(rule.grants(access), grants, "{shown} {:?}", rule.resource_names);
        }
    }
}
