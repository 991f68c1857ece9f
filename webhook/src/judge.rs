//! One review: read, decided, logged, counted, answered.
//!
//! No policy here: the shell looks up what the decision asks for and asks again.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use cordonhold_shared::admission::{
    self, Decision, Fact, Facts, Known, Operation, Outcome, Policy, Reason, Request, Verdict,
};
use cordonhold_shared::node::NodeView;
use futures_util::FutureExt;
use jiff::Timestamp;

use crate::events::{Denial, Recorder};
use crate::metrics::{LookupKind, LookupOutcome};
use crate::review::{self, Review, Unreadable};
use crate::trail::Entry;
use crate::{Lookup, Metrics};

/// A decision needs each fact at most once.
const MAX_LOOKUPS: usize = 3;

/// Judges reviews by one policy.
pub struct Judge {
    policy: Policy,
    lookup: Box<dyn Lookup>,
    metrics: Arc<Metrics>,
    recorder: Option<Recorder>,
}

/// A verdict and the facts it rests on.
struct Judged {
    verdict: Verdict,
    is_about_kured: bool,
}

impl Judge {
    pub fn new(policy: Policy, lookup: Box<dyn Lookup>, metrics: Arc<Metrics>) -> Judge {
        Judge {
            policy,
            lookup,
            metrics,
            recorder: None,
        }
    }

    /// Denials are also told by Events on their Nodes.
    #[must_use]
    pub fn with_events(self, recorder: Recorder) -> Judge {
        Judge {
            recorder: Some(recorder),
            ..self
        }
    }

    /// The answer to a review's bytes, or `None` where not even a uid can be found to answer to.
    pub(crate) async fn answer(&self, body: &[u8], started: Instant) -> Option<Vec<u8>> {
        match review::read(body, &self.policy) {
            Ok(review) => Some(self.answer_review(&review, started).await),
            Err(unreadable) => self.answer_unreadable(unreadable, started),
        }
    }

    /// The answer to a review of which only the beginning was taken, or `None` as above.
    pub(crate) fn answer_too_large(
        &self,
        beginning: &[u8],
        bytes_max: usize,
        started: Instant,
    ) -> Option<Vec<u8>> {
        self.answer_unreadable(review::too_large(beginning, bytes_max), started)
    }

    async fn answer_review(&self, review: &Review, started: Instant) -> Vec<u8> {
        let judged = AssertUnwindSafe(self.judge(&review.request)).catch_unwind().await.unwrap_or_else(|_| {
            self.metrics.panicked();
            let why = "the decision panicked, which is a defect of cordonhold: report it with the webhook's log";
            let verdict = self.defect(why);
            Judged { verdict, is_about_kured: false }
        });
        let latency = started.elapsed();
        self.metrics.decided(&judged.verdict, latency);
        let reason = judged.verdict.reason;
        if reason != Reason::NothingOfOurs {
            Entry::of(review, judged.is_about_kured).write(
                &judged.verdict,
                self.policy.modes.of(reason),
                latency,
            );
        }
        self.record(review, &judged.verdict);
        review::render(&review.uid, &judged.verdict)
    }

    fn answer_unreadable(&self, unreadable: Unreadable, started: Instant) -> Option<Vec<u8>> {
        let mode = self.policy.modes.of(Reason::MalformedReview);
        let verdict = Verdict::unjudged(Reason::MalformedReview, mode, &unreadable.why);
        let latency = started.elapsed();
        self.metrics.decided(&verdict, latency);
        Entry::unreadable(&unreadable).write(&verdict, mode, latency);
        unreadable.head.uid.map(|uid| review::render(&uid, &verdict))
    }

    async fn judge(&self, request: &Request) -> Judged {
        let mut facts = Facts::default();
        for _ in 0..=MAX_LOOKUPS {
            match admission::decide(request, &facts, &self.policy, Timestamp::now()) {
                Decision::Verdict(verdict) => {
                    let is_about_kured = facts.watched_kured_lock != Known::Unasked
                        || facts.kured_lock != Known::Unasked
                        || matches!(verdict.reason, Reason::KuredOwner | Reason::KuredMarked)
                        || matches!(request.operation, Operation::UpdateDaemonSet(_));
                    return Judged {
                        verdict,
                        is_about_kured,
                    };
                }
                Decision::Need(Fact::Override) => {
                    let node = request.node().map(NodeView::name).unwrap_or_default();
                    facts.may_override = self.lookup.may_override(&request.requester, node).await;
                    self.count(LookupKind::Override, &facts.may_override);
                }
                Decision::Need(Fact::KuredLock) => {
                    facts.kured_lock = self.lookup.kured_lock().await;
                    self.count(LookupKind::KuredLock, &facts.kured_lock);
                }
                Decision::Need(Fact::WatchedKuredLock) => {
                    facts.watched_kured_lock = self.lookup.watched_kured_lock();
                }
            }
        }
        let why = "the decision asked for the same fact twice, which is a defect of cordonhold";
        let verdict = self.defect(why);
        Judged {
            verdict,
            is_about_kured: false,
        }
    }

    fn defect(&self, why: &str) -> Verdict {
        let reason = Reason::InternalError;
        Verdict::unjudged(reason, self.policy.modes.of(reason), why)
    }

    /// A dry run leaves no trace in the cluster.
    fn record(&self, review: &Review, verdict: &Verdict) {
        let Some(recorder) = &self.recorder else { return };
        if verdict.outcome != Outcome::Deny || review.dry_run {
            return;
        }
        let requester = &review.request.requester;
        // An Event is about a Node that is there; a create and an edit of kured's lock have their line in the log.
        let (Operation::UpdateNode { old, .. } | Operation::DeleteNode { old }) = &review.request.operation
        else {
            return;
        };
        recorder.tell(Denial {
            node: old.name().to_owned(),
            uid: old.metadata.uid.clone(),
            reason: verdict.reason,
            user: requester.user.clone(),
            message: verdict.message.clone(),
        });
    }

    fn count<T>(&self, kind: LookupKind, answer: &Known<T>) {
        let outcome = match answer {
            Known::Is(_) => LookupOutcome::Answered,
            Known::Unasked | Known::Failed(_) => LookupOutcome::Failed,
        };
        self.metrics.looked_up(kind, outcome);
    }
}
