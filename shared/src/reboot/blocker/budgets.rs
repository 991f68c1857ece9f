//! Which `PodDisruptionBudgets` would refuse an eviction of a pod on the node now (`--preflight`). Nothing is evicted to find out.
//!
//! The rules are those by which the API server answers an eviction (kubernetes/kubernetes: pkg/registry/core/pod/storage/eviction.go).
//! Not here: which pods a drain evicts ([`crate::reboot::pod`]), and how pods and budgets are listed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::listed;
use crate::reboot::pod::{self, DaemonSet, PodView};

/// A `PodDisruptionBudget`: the fields that say which evictions it allows (k8s.io/api: policy/v1/types.go).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct BudgetView {
    /// Its `metadata`.
    pub metadata: Metadata,
    /// Its `spec`.
    #[serde(default)]
    pub spec: Spec,
    /// Its `status`, as the disruption controller wrote it last.
    #[serde(default)]
    pub status: Status,
}

/// The fields of a budget's `metadata` that are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// Its namespace, which is that of its pods.
    pub namespace: String,
    /// Counts the changes of its `spec`.
    #[serde(default)]
    pub generation: i64,
}

/// The fields of a budget's `spec` that are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Which pods it protects. Without one it protects none; the empty one selects every pod of the namespace.
    #[serde(default)]
    pub selector: Option<LabelSelector>,
    /// `AlwaysAllow` if it does not protect pods that are not Ready.
    #[serde(default)]
    pub unhealthy_pod_eviction_policy: Option<String>,
}

/// A label selector as objects have it (k8s.io/apimachinery: pkg/apis/meta/v1/types.go).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that a pod must have, each with this value.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
    /// What else is demanded of a pod's labels.
    #[serde(default)]
    pub match_expressions: Vec<Requirement>,
}

/// What is demanded of the label with a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Requirement {
    /// The key.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// The values of the first two.
    #[serde(default)]
    pub values: Vec<String>,
}

/// The fields of a budget's `status` that are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The generation of the `spec` that this status is about.
    #[serde(default)]
    pub observed_generation: i64,
    /// How many evictions are allowed now.
    #[serde(default)]
    pub disruptions_allowed: i64,
    /// How many pods are Ready.
    #[serde(default)]
    pub current_healthy: i64,
    /// How many have to be.
    #[serde(default)]
    pub desired_healthy: i64,
}

/// What was read to find the budgets that refuse evictions.
#[derive(Clone, Debug, Default)]
pub struct Drainable {
    /// The pods on the node that a drain looks at.
    pub pods: Vec<PodView>,
    /// Which of their `DaemonSets` do not exist.
    pub missing: BTreeSet<DaemonSet>,
    /// The budgets of their namespaces.
    pub budgets: Vec<BudgetView>,
}

/// Budgets that refuse to let pods go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Refusal {
    /// The budgets as `namespace/name`. Pods that have several can never be evicted.
    pub budgets: BTreeSet<String>,
    /// The pods, as `namespace/name`.
    pub pods: BTreeSet<String>,
    /// Whether the disruption controller has yet to look at a change of the budget.
    pub is_stale: bool,
}

impl Drainable {
    /// The budgets that would refuse an eviction of a drain that begins now, each with the pods that it keeps.
    pub fn refusals(&self, skip_wait: Option<SignedDuration>, now: Timestamp) -> Vec<Refusal> {
        let mut found: BTreeMap<(BTreeSet<String>, bool), BTreeSet<String>> = BTreeMap::new();
        // A drain that has yet to begin has seen no pod come back.
        let kept = BTreeSet::new();
        let leaving = pod::leaving(&self.pods, &self.missing, &kept, skip_wait, now);
        for pod in leaving.filter(|pod| !is_unprotected(pod)) {
            let its: Vec<&BudgetView> = self.budgets.iter().filter(|budget| budget.takes(pod)).collect();
            let is_stale = match its.as_slice() {
                [] => continue,
                [budget] if budget.allows(pod) => continue,
                [budget] => budget.is_stale(),
                [..] => false,
            };
            let names = its.iter().map(|budget| budget.name()).collect();
            let _ = found.entry((names, is_stale)).or_default().insert(pod::name(pod));
        }
        let refusals = found.into_iter().map(|((budgets, is_stale), pods)| Refusal {
            budgets,
            pods,
            is_stale,
        });
        refusals.collect()
    }
}

/// Whether no budget protects the pod: it has ended, has not begun, or is on its way out (`canIgnorePDB`).
fn is_unprotected(pod: &PodView) -> bool {
    pod.metadata.deletion_timestamp.is_some()
        || matches!(pod.status.phase.as_str(), "Succeeded" | "Failed" | "Pending")
}

impl BudgetView {
    /// The budget as `namespace/name`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.metadata.namespace, self.metadata.name)
    }

    /// Whether it protects this pod.
    pub fn takes(&self, pod: &PodView) -> bool {
        let selector = self.spec.selector.as_ref();
        self.metadata.namespace == pod.metadata.namespace
            && selector.is_some_and(|selector| selector.takes(&pod.metadata.labels))
    }

    /// Whether it lets this pod go now.
    fn allows(&self, pod: &PodView) -> bool {
        let status = &self.status;
        let always = self.spec.unhealthy_pod_eviction_policy.as_deref() == Some("AlwaysAllow");
        if !pod.is_ready() {
            let is_healthy = status.current_healthy >= status.desired_healthy && status.desired_healthy > 0;
            if always || is_healthy {
                return true;
            }
        }
        !self.is_stale() && status.disruptions_allowed > 0
    }

    /// Whether its `status` is about an earlier `spec`. Until it is not, nothing is evicted.
    fn is_stale(&self) -> bool {
        self.status.observed_generation < self.metadata.generation
    }
}

impl LabelSelector {
    /// Whether it selects an object with these labels. An operator that we do not know selects, so that nothing is missed.
    fn takes(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |(key, value): (&String, &String)| labels.get(key) == Some(value);
        self.match_labels.iter().all(has)
            && self.match_expressions.iter().all(|requirement| {
                let value = labels.get(&requirement.key);
                match requirement.operator.as_str() {
                    "In" => value.is_some_and(|value| requirement.values.contains(value)),
                    "NotIn" => value.is_none_or(|value| !requirement.values.contains(value)),
                    "Exists" => value.is_some(),
                    "DoesNotExist" => value.is_none(),
                    _ => true,
                }
            })
    }
}

/// As a sentence of a blocker.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (budgets, pods) = (listed(&self.budgets), listed(&self.pods));
        if self.budgets.len() > 1 {
            write!(
                f,
                "each of these pods has the budgets {budgets}, and a pod with several is never evicted ({pods}): take it out of all but one"
            )
        } else if self.is_stale {
            write!(
                f,
                "the budget {budgets} was changed, and the disruption controller has yet to look at it ({pods})"
            )
        } else {
            write!(f, "the budget {budgets} allows no eviction now ({pods})")
        }
    }
}

#[cfg(test)]
mod tests;
