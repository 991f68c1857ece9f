//! Readiness: the webhook is ready for reviews if every named condition is met.
//!
//! Each part of the process owns its condition and says why it is not met. Not here: what makes a condition true.

use std::sync::{Arc, Mutex};

use cordonhold_rt::sync::locked;
use tokio::sync::Notify;
use tracing::{info, warn};

/// The conditions that `/readyz` looks at. Without any the webhook is ready.
#[derive(Debug, Default)]
pub struct Readiness {
    conditions: Mutex<Vec<Condition>>,
    /// Problems that do not make the webhook unready.
    warnings: Mutex<Vec<String>>,
    changed: Arc<Notify>,
}

/// A condition for being ready. Clones share its state.
#[derive(Clone, Debug)]
pub struct Condition {
    name: &'static str,
    state: Arc<Mutex<Option<Unmet>>>,
    changed: Arc<Notify>,
}

/// Why a condition is not met.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unmet {
    /// Stays the same as long as the reason does, even if `why` changes because it counts days.
    key: String,
    why: String,
}

impl Readiness {
    /// A new condition that is not met at first, because of `why`.
    pub fn condition(&self, name: &'static str, why: &str) -> Condition {
        let condition = Condition {
            name,
            state: Arc::default(),
            changed: Arc::clone(&self.changed),
        };
        condition.unmet(why, why);
        locked(&self.conditions).push(condition.clone());
        condition
    }

    /// Replaces the warnings that `/readyz` shows, ready or not.
    pub(crate) fn warn(&self, warnings: Vec<String>) {
        *locked(&self.warnings) = warnings;
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        locked(&self.warnings).clone()
    }

    /// The conditions that are not met, each as `name: why`.
    pub(crate) fn unmet(&self) -> Vec<String> {
        self.reasons()
            .into_iter()
            .map(|(name, unmet)| format!("{name}: {}", unmet.why))
            .collect()
    }

    fn reasons(&self) -> Vec<(&'static str, Unmet)> {
        let conditions = locked(&self.conditions);
        let unmet = conditions.iter().map(|it| (it.name, locked(&it.state).clone()));
        unmet.filter_map(|(name, unmet)| Some((name, unmet?))).collect()
    }

    /// Logs whether the webhook is ready, and then each change, one line each.
    pub(crate) async fn report(&self, listen: &str, admin_listen: &str) {
        let mut last = None;
        loop {
            let reasons = self.reasons();
            let keys: Vec<_> = reasons
                .iter()
                .map(|(name, unmet)| (*name, unmet.key.clone()))
                .collect();
            if last.as_ref() != Some(&keys) {
                if keys.is_empty() {
                    info!(listen, admin_listen, "ready");
                } else {
                    let why = self.unmet().join("; ");
                    warn!(why, "not ready");
                }
                last = Some(keys);
            }
            self.changed.notified().await;
        }
    }
}

impl Condition {
    /// Marks the condition as met.
    pub fn met(&self) {
        self.set(None);
    }

    /// Marks the condition as not met. `key` stays the same as long as the reason does; `why` is for people.
    pub fn unmet(&self, key: &str, why: &str) {
        self.set(Some(Unmet {
            key: key.to_owned(),
            why: why.to_owned(),
        }));
    }

    fn set(&self, state: Option<Unmet>) {
        *locked(&self.state) = state;
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_when_every_condition_is_met() {
        let readiness = Readiness::default();
        let first = readiness.condition("first", "not yet");
        let second = readiness.condition("second", "not yet");
        assert_eq!(readiness.unmet(), ["first: not yet", "second: not yet"]);
        second.met();
        assert_eq!(readiness.unmet(), ["first: not yet"]);
        first.met();
        assert!(readiness.unmet().is_empty());
        second.clone().unmet("over", "it is over");
        assert_eq!(readiness.unmet(), ["second: it is over"]);
    }
}
