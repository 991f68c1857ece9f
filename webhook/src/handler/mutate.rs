//! The answer to a review that is sent to be changed: an uncordon that is kept for the end of the hold, or a request as it is.
//!
//! Whatever goes wrong here leaves the request as it is, and is counted: the validation stands behind it, and denies what should not pass.
//! Not here: what is kept and how ([`admission::defer`]).

use std::panic::{self, AssertUnwindSafe};
use std::time::Instant;

use cordonhold_shared::admission::{self, Deferral};
use jiff::Timestamp;

use super::Handler;
use crate::metrics::MutationOutcome;
use crate::review::{self, Review, Unreadable};

impl Handler {
    pub(super) fn mutate(&self, review: &Review, started: Instant) -> Vec<u8> {
        let deciding = || admission::defer(&review.request, &self.policy, Timestamp::now());
        let decided = panic::catch_unwind(AssertUnwindSafe(deciding));
        let outcome = match &decided {
            Ok(deferral) => outcome(deferral.as_ref()),
            Err(_) => MutationOutcome::Panic,
        };
        if decided.is_err() {
            self.metrics.panicked();
        }
        self.metrics.mutated(outcome);
        let deferral = decided.ok().flatten();
        // Nobody else records an uncordon of which the validation sees nothing.
        if let Some(verdict) = deferral.as_ref().and_then(|deferral| deferral.record.as_ref()) {
            self.record(review, verdict, started);
        }
        review::render_mutation(&review.uid, deferral.as_ref(), review.has_taints)
    }

    /// The answer that leaves an unreadable review as it is; `None` if no uid to answer to was found in it.
    pub(super) fn leave_unreadable(&self, unreadable: Unreadable) -> Option<Vec<u8>> {
        self.metrics.mutated(MutationOutcome::Unreadable);
        let uid = unreadable.head.uid?;
        Some(review::render_mutation(&uid, None, false))
    }
}

fn outcome(deferral: Option<&Deferral>) -> MutationOutcome {
    match deferral {
        None => MutationOutcome::Unchanged,
        Some(deferral) if !deferral.cordons => MutationOutcome::Done,
        Some(deferral) if deferral.record.is_some() => MutationOutcome::DeferredBefore,
        Some(_) => MutationOutcome::Deferred,
    }
}
