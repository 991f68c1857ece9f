//! Whether the API server may be sent here: every named condition is met.
//!
//! Each part of the process owns its condition. Nothing here decides what makes one true.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The conditions that `/readyz` asks for. Without any it is ready.
#[derive(Debug, Default)]
pub struct Readiness(Mutex<Vec<(&'static str, Condition)>>);

/// One of them; clones share it.
#[derive(Clone, Debug)]
pub struct Condition(Arc<AtomicBool>);

impl Readiness {
    /// A new condition, unmet at first. Its name is what `/readyz` shows while it is.
    pub fn condition(&self, name: &'static str) -> Condition {
        let condition = Condition(Arc::default());
        let mut conditions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        conditions.push((name, condition.clone()));
        condition
    }

    /// The names of those that are not met.
    pub(crate) fn unmet(&self) -> Vec<&'static str> {
        let conditions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unmet = conditions.iter().filter(|(_, condition)| !condition.is_met());
        unmet.map(|(name, _)| *name).collect()
    }
}

impl Condition {
    pub fn set(&self, is_met: bool) {
        self.0.store(is_met, Ordering::SeqCst);
    }

    fn is_met(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_when_every_condition_is_met() {
        let readiness = Readiness::default();
        let (first, second) = (readiness.condition("first"), readiness.condition("second"));
        assert_eq!(readiness.unmet(), ["first", "second"]);
        second.set(true);
        assert_eq!(readiness.unmet(), ["first"]);
        first.set(true);
        assert!(readiness.unmet().is_empty());
        second.clone().set(false);
        assert_eq!(readiness.unmet(), ["second"]);
    }
}
