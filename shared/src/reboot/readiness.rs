//! What must be there, beside the Node's Ready, before the cordon of a rebooted node is given back: `--ready-when`.
//!
//! Not here: when that is looked at ([`crate::reboot::cycle`]), and how it is read ([`crate::reboot::driver`]).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::node::NodeView;
use crate::quote::{QUOTED_MAX, always_quoted, quoted};
use crate::reboot::blocker::listed;
use crate::reboot::expression::Expression;
use crate::reboot::pod::{self, PodView};

/// One thing that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// A condition of the Node.
    Condition {
        /// Its type, such as `NetworkUnavailable`.
        kind: String,
        /// The status that it must have: `True`, `False` or `Unknown`.
        status: String,
    },
    /// An expression that must be true of the Node.
    Expression(Expression),
    /// Each pod on the node that a `DaemonSet` controls is Ready.
    DaemonSetPods,
}

/// What is not there yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Missing {
    /// No kubelet of this boot has reported the Node as Ready.
    Ready,
    /// A condition of the Node has another status.
    Condition {
        /// Its type.
        kind: String,
        /// The status that it must have.
        status: String,
        /// The status that it has; `None` if the Node has no such condition.
        found: Option<String>,
    },
    /// An expression is not true of the Node.
    Expression {
        /// The expression.
        text: String,
        /// Why it cannot be told whether it is true; `None` if it is false.
        why: Option<String>,
    },
    /// These pods of `DaemonSets` are not Ready, as `namespace/name`.
    Pods(BTreeSet<String>),
    /// It could not be found out what is missing, for this reason.
    Unknown(String),
}

/// Why a text is no [`Readiness`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum ReadinessError {
    #[error(
        "not something to wait for: write condition=TYPE, condition=TYPE=STATUS, cel=EXPRESSION or daemonset-pods, such as condition=NetworkUnavailable=False"
    )]
    Unknown,
    #[error("a condition with the status {status:?}, and a status is True, False or Unknown")]
    Status { status: String },
    #[error("no expression that can be used: {why}")]
    Expression { why: String },
}

/// The statuses that a condition can have (k8s.io/api: core/v1/types.go, `ConditionStatus`).
const STATUSES: [&str; 3] = ["True", "False", "Unknown"];

impl FromStr for Readiness {
    type Err = ReadinessError;

    /// Reads `daemonset-pods`, `cel=` and an expression, or a condition as `kubectl wait --for` takes it.
    fn from_str(text: &str) -> Result<Readiness, ReadinessError> {
        if text == "daemonset-pods" {
            return Ok(Readiness::DaemonSetPods);
        }
        if let Some(expression) = text.strip_prefix("cel=") {
            let expression = Expression::parse(expression.trim());
            let expression = expression.map_err(|why| ReadinessError::Expression { why })?;
            return Ok(Readiness::Expression(expression));
        }
        let condition = text.strip_prefix("condition=").ok_or(ReadinessError::Unknown)?;
        let (kind, status) = condition.split_once('=').unwrap_or((condition, "True"));
        if kind.is_empty() {
            return Err(ReadinessError::Unknown);
        }
        // In any case, as kubectl does.
        let known = STATUSES.iter().find(|known| known.eq_ignore_ascii_case(status));
        let status = known.ok_or_else(|| ReadinessError::Status {
            status: status.to_owned(),
        })?;
        Ok(Readiness::Condition {
            kind: kind.to_owned(),
            status: (*status).to_owned(),
        })
    }
}

impl Readiness {
    /// The expression, if it is one.
    pub fn expression(&self) -> Option<&Expression> {
        match self {
            Readiness::Expression(expression) => Some(expression),
            Readiness::Condition { .. } | Readiness::DaemonSetPods => None,
        }
    }
}

/// Which conditions of these this Node lacks.
pub fn missing_on_node<'a>(wanted: impl IntoIterator<Item = &'a Readiness>, node: &NodeView) -> Vec<Missing> {
    let missing = |readiness: &'a Readiness| match readiness {
        Readiness::Condition { kind, status } => {
            let found = node.condition(kind).map(|condition| condition.status.clone());
            (found.as_ref() != Some(status)).then(|| Missing::Condition {
                kind: kind.clone(),
                status: status.clone(),
                found,
            })
        }
        Readiness::Expression(_) | Readiness::DaemonSetPods => None,
    };
    wanted.into_iter().filter_map(missing).collect()
}

/// The pods of `DaemonSets` in this list that are not Ready, if there are any. One that is being deleted is not: its successor will be.
pub fn missing_pods(pods: &[PodView]) -> Vec<Missing> {
    let is_missing = |pod: &&PodView| {
        pod::daemon_set(pod).is_some() && (pod.metadata.deletion_timestamp.is_some() || !pod.is_ready())
    };
    let names: BTreeSet<String> = pods.iter().filter(is_missing).map(pod::name).collect();
    let missing = (!names.is_empty()).then_some(Missing::Pods(names));
    missing.into_iter().collect()
}

impl Missing {
    /// Its kind in one word.
    pub fn kind(&self) -> &'static str {
        match self {
            Missing::Ready => "ready",
            Missing::Condition { .. } => "condition",
            Missing::Expression { .. } => "cel",
            Missing::Pods(_) => "daemonset_pods",
            Missing::Unknown(_) => "unknown",
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missing::Ready => f.write_str("the Node is not Ready: look at the kubelet"),
            Missing::Condition { kind, status, found } => {
                write!(f, "the Node's condition {} must be {status}, and ", quoted(kind))?;
                match found {
                    Some(found) => write!(f, "is {}", quoted(found)),
                    None => f.write_str("is not there: look at the program that reports it"),
                }
            }
            Missing::Expression { text, why } => {
                let text = always_quoted(text, QUOTED_MAX);
                match why {
                    Some(why) => write!(f, "whether {text} is true of the Node cannot be told: {why}"),
                    None => write!(f, "{text} is not true of the Node"),
                }
            }
            Missing::Pods(names) => write!(
                f,
                "pods of DaemonSets on this node are not Ready: {}",
                listed(names)
            ),
            Missing::Unknown(why) => write!(f, "what is missing could not be found out: {why}"),
        }
    }
}

#[cfg(test)]
mod tests;
