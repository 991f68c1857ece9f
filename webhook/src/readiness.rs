//! Whether the API server may be sent here: every named condition is met.
//!
//! Each part of the process owns its condition and says why it is not met. Nothing here decides what makes one true.

use std::sync::{Arc, Mutex};

use cordonhold_rt::sync::locked;
use tokio::sync::Notify;
use tracing::{info, warn};

/// The conditions that `/readyz` asks for. Without any it is ready.
#[derive(Debug, Default)]
pub struct Readiness {
    conditions: Mutex<Vec<Condition>>,
    /// What is wrong and keeps nobody from being ready.
    warnings: Mutex<Vec<String>>,
    changed: Arc<Notify>,
}

/// One of them; clones share it.
#[derive(Clone, Debug)]
pub struct Condition {
    name: &'static str,
    state: Arc<Mutex<Option<Unmet>>>,
    changed: Arc<Notify>,
}

/// Why a condition is not met.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unmet {
    /// The same as long as the reason is, though its text counts days.
    key: String,
    why: String,
}

impl Readiness {
    /// A new condition, not met at first, for this reason.
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

    /// What is to be said beside, ready or not.
    pub(crate) fn warn(&self, warnings: Vec<String>) {
        *locked(&self.warnings) = warnings;
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        locked(&self.warnings).clone()
    }

    /// Those that are not met, each with its reason.
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

    /// Logs how it stands, and then each change, one line each.
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
    /// It no longer keeps the webhook from being ready.
    pub fn met(&self) {
        self.set(None);
    }

    /// `key` stays the same as long as the reason does; `why` is for people.
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
