//! Evictions under disruption budgets (kubernetes/kubernetes: pkg/registry/core/pod/storage/eviction.go).
//!
//! Not here: the real server's retries after a conflict.

use serde_json::{Value, json};

use super::{ApiServer, Cause, Deletion, Request, Resource, Status, Stored};

/// The Retry-After, in seconds, while the disruption controller has not caught up with the budget.
const RETRY_AFTER_SECONDS: u32 = 10;

impl ApiServer {
    pub(super) fn evict(&mut self, request: &Request, deletion: &Deletion) -> Result<(), Status> {
        let pod = self.existing(&request.key)?;
        let ends_anyway = matches!(
            pod.pod().status.phase.as_str(),
            "Succeeded" | "Failed" | "Pending"
        ) || pod.deletion_timestamp().is_some();
        if !ends_anyway {
            let mut budgets = self.budgets_of(&pod);
            match (budgets.pop(), budgets.is_empty()) {
                (None, _) => {}
                (Some(budget), true) => self.take_from(request, &budget, &pod)?,
                (Some(_), false) => {
                    return Err(Status::internal(
                        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
                    ));
                }
            }
        }
        super::check_uid(&pod, deletion, &request.key)?;
        self.say_why(request, &pod);
        self.delete(request, deletion)
    }

    /// Adds the pod's condition `DisruptionTarget`, in a separate write before the deletion.
    fn say_why(&mut self, request: &Request, pod: &Stored) {
        let mut value = pod.value.clone();
        let condition =
            json!({ "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI" });
        match value["status"]["conditions"].as_array_mut() {
            Some(conditions) if conditions.contains(&condition) => return,
            Some(conditions) => conditions.push(condition),
            None => value["status"]["conditions"] = json!([condition]),
        }
        drop(self.commit(request, Some(std::rc::Rc::clone(pod)), Some(value), true));
    }

    fn budgets_of(&self, pod: &Stored) -> Vec<Stored> {
        let selects = |budget: &&Stored| {
            let labels = budget.value["spec"]["selector"]["matchLabels"].as_object();
            budget.namespace() == pod.namespace()
                && labels.is_some_and(|labels| {
                    !labels.is_empty() && labels.iter().all(|(key, value)| pod.label(key) == value.as_str())
                })
        };
        self.all(Resource::PodDisruptionBudgets)
            .filter(selects)
            .cloned()
            .collect()
    }

    /// Takes one from the allowed disruptions of the budget. The error says why that is not allowed.
    fn take_from(&mut self, request: &Request, budget: &Stored, pod: &Stored) -> Result<(), Status> {
        let status = &budget.value["status"];
        let number = |field: &str| status[field].as_i64().unwrap_or(0);
        let blocked = |retry_after_seconds, message: String| Status {
            causes: vec![Cause {
                reason: "DisruptionBudget",
                message,
            }],
            retry_after_seconds,
            ..Status::new(
                429,
                "TooManyRequests",
                "Cannot evict pod as it would violate the pod's disruption budget.",
            )
        };
        let name = budget.name();
        if number("observedGeneration") < budget.value["metadata"]["generation"].as_i64().unwrap_or(0) {
            let message = format!("The disruption budget {name} is still being processed by the server.");
            return Err(blocked(RETRY_AFTER_SECONDS, message));
        }
        // While the budget is met, a pod that is not Ready may always be evicted.
        let is_kept = number("currentHealthy") >= number("desiredHealthy") && number("desiredHealthy") > 0;
        if is_kept && !pod.pod().is_ready() {
            return Ok(());
        }
        let allowed = number("disruptionsAllowed");
        if allowed == 0 {
            let message = format!(
                "The disruption budget {name} needs {} healthy pods and has {} currently",
                number("desiredHealthy"),
                number("currentHealthy")
            );
            return Err(blocked(0, message));
        }
        let mut value: Value = budget.value.clone();
        value["status"]["disruptionsAllowed"] = json!(allowed - 1);
        let key = super::Key::new(Resource::PodDisruptionBudgets, budget.namespace(), name);
        let write = Request {
            key,
            ..request.clone()
        };
        drop(self.commit(&write, Some(std::rc::Rc::clone(budget)), Some(value), true));
        Ok(())
    }
}
