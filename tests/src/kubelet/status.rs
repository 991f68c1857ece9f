//! The status of a pod, as a kubelet would write it.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::network::Address;

/// The state of a pod's one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// It has no process, for this reason.
    Waiting {
        reason: &'static str,
        message: String,
    },
    Running {
        since: Timestamp,
    },
    Terminated {
        code: i32,
        since: Timestamp,
        at: Timestamp,
    },
}

/// What is shown of a pod.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) state: State,
    pub(super) is_ready: bool,
    /// How its process ended the last time, if it was started again.
    pub(super) last: Option<State>,
    pub(super) restarts: u32,
    /// Whether no process will be started any more.
    pub(super) is_over: bool,
    pub(super) address: Address,
    pub(super) host: Address,
}

impl Shown {
    /// A patch of the pod's status; `None` if the pod shows all of it.
    pub(super) fn patch(&self, pod: &Pod) -> Option<Value> {
        let actual = serde_json::to_value(&pod.status).unwrap_or_default();
        let mut wanted = self.status(pod);
        if is_in(&wanted, &actual) {
            return None;
        }
        for condition in wanted["conditions"].as_array_mut().into_iter().flatten() {
            let others = actual["conditions"].as_array().into_iter().flatten();
            let same = others.into_iter().find(|other| is_in(condition, other));
            condition["lastTransitionTime"] = match same {
                Some(same) => same["lastTransitionTime"].clone(),
                None => time(Timestamp::now()),
            };
        }
        if actual["startTime"].is_null() {
            wanted["startTime"] = time(Timestamp::now());
        }
        Some(json!({ "status": wanted }))
    }

    /// What tells one status from the next.
    pub(super) fn state_and_ready(&self) -> (State, bool) {
        (self.state.clone(), self.is_ready)
    }

    fn status(&self, pod: &Pod) -> Value {
        let (container, image) = pod
            .spec
            .iter()
            .flat_map(|spec| &spec.containers)
            .next()
            .map(|container| (container.name.clone(), container.image.clone()))
            .unwrap_or_default();
        let is_running = matches!(self.state, State::Running { .. });
        let has_run = is_running || self.last.is_some() || self.is_over;
        let is_ready = is_running && self.is_ready;
        let mut status = json!({
            "phase": self.phase(has_run),
            "hostIP": self.host.shown(),
            "hostIPs": [{ "ip": self.host.shown() }],
            "conditions": [condition("Initialized", true), condition("Ready", is_ready), condition("ContainersReady", is_ready)],
            "containerStatuses": [{
                "name": container, "image": image, "imageID": "", "ready": is_ready, "started": is_running,
                "restartCount": self.restarts, "state": self.state.shown(),
            }],
        });
        if let Some(last) = &self.last {
            status["containerStatuses"][0]["lastState"] = last.shown();
        }
        if has_run {
            status["podIP"] = json!(self.address.shown());
            status["podIPs"] = json!([{ "ip": self.address.shown() }]);
        }
        status
    }

    fn phase(&self, has_run: bool) -> &'static str {
        match &self.state {
            State::Terminated { code: 0, .. } if self.is_over => "Succeeded",
            State::Terminated { .. } if self.is_over => "Failed",
            State::Running { .. } | State::Terminated { .. } => "Running",
            State::Waiting { .. } if has_run => "Running",
            State::Waiting { .. } => "Pending",
        }
    }
}

impl State {
    fn shown(&self) -> Value {
        match self {
            Self::Waiting { reason, message } => {
                json!({ "waiting": { "reason": reason, "message": message } })
            }
            Self::Running { since } => json!({ "running": { "startedAt": time(*since) } }),
            Self::Terminated { code, since, at } => json!({ "terminated": {
                "exitCode": code, "reason": if *code == 0 { "Completed" } else { "Error" }, "startedAt": time(*since), "finishedAt": time(*at),
            } }),
        }
    }
}

fn condition(kind: &str, is_true: bool) -> Value {
    json!({ "type": kind, "status": if is_true { "True" } else { "False" } })
}

fn time(at: Timestamp) -> Value {
    json!(format!("{at:.0}"))
}

/// Whether all of `wanted` is in `actual`. Items of a list may be in any order, and there may be others.
fn is_in(wanted: &Value, actual: &Value) -> bool {
    match (wanted, actual) {
        (Value::Object(wanted), Value::Object(actual)) => wanted
            .iter()
            .all(|(key, value)| actual.get(key).is_some_and(|other| is_in(value, other))),
        (Value::Array(wanted), Value::Array(actual)) => wanted
            .iter()
            .all(|value| actual.iter().any(|other| is_in(value, other))),
        _ => wanted == actual,
    }
}
