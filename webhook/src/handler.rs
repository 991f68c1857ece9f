//! Handles one review: reads it, decides, counts, logs, writes an Event, and answers.
//!
//! Not here: the answer of the mutation (`mutate.rs`), and the decision ([`cordonhold_shared::admission`]). It says which facts it needs;
//! they are looked up, and it is asked again.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use cordonhold_shared::admission::{
    self, Decision, Fact, Facts, Known, Outcome, Policy, Reason, Request, Verdict,
};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use futures_util::FutureExt;
use jiff::Timestamp;

use crate::events::{Recorder, Told};
use crate::metrics::{LookupKind, LookupOutcome};
use crate::review::{self, Review, Unreadable};
use crate::trail::LogLine;
use crate::{Lookup, Metrics};

mod mutate;

/// What a review is sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether the request may pass.
    Validate,
    /// How the request is to be changed.
    Mutate,
}

/// How many facts there are; a decision asks for each at most once.
const MAX_LOOKUPS: usize = 4;

/// Handles reviews under one policy.
pub struct Handler {
    policy: Policy,
    lookup: Box<dyn Lookup>,
    metrics: Arc<Metrics>,
    recorder: Option<Recorder>,
}

impl Handler {
    /// A handler that writes no Events.
    pub fn new(policy: Policy, lookup: Box<dyn Lookup>, metrics: Arc<Metrics>) -> Handler {
        Handler {
            policy,
            lookup,
            metrics,
            recorder: None,
        }
    }

    /// A handler that also writes an Event on the Node for each denial.
    #[must_use]
    pub fn with_events(self, recorder: Recorder) -> Handler {
        Handler {
            recorder: Some(recorder),
            ..self
        }
    }

    /// The response to a review, or `None` if not even a uid to respond to can be found.
    pub async fn handle(&self, question: Question, body: &[u8], started: Instant) -> Option<Vec<u8>> {
        match (review::read(body, &self.policy), question) {
            (Ok(review), Question::Validate) => Some(self.handle_review(&review, started).await),
            (Ok(review), Question::Mutate) => Some(self.mutate(&review, started)),
            (Err(unreadable), _) => self.handle_unreadable(question, unreadable, started),
        }
    }

    /// The response to a review that is too large and of which only the beginning was read; `None` if no uid can be found in it.
    pub(crate) fn handle_too_large(
        &self,
        question: Question,
        beginning: &[u8],
        bytes_max: usize,
        started: Instant,
    ) -> Option<Vec<u8>> {
        self.handle_unreadable(question, review::too_large(beginning, bytes_max), started)
    }

    async fn handle_review(&self, review: &Review, started: Instant) -> Vec<u8> {
        // A panic that ended the request would be no answer, and `failurePolicy: Ignore` lets a request without an answer pass.
        let decided = AssertUnwindSafe(self.decide(&review.request)).catch_unwind();
        let verdict = decided.await.unwrap_or_else(|_| {
            self.metrics.panicked();
            let why =
                "the decision panicked, which is a defect of cordonhold: report it with the webhook's log";
            Verdict::defect(&review.request, &self.policy, why)
        });
        self.record(review, &verdict, started);
        review::render(&review.uid, &verdict)
    }

    fn handle_unreadable(
        &self,
        question: Question,
        unreadable: Unreadable,
        started: Instant,
    ) -> Option<Vec<u8>> {
        match question {
            Question::Validate => self.deny_unreadable(unreadable, started),
            Question::Mutate => self.leave_unreadable(unreadable),
        }
    }

    fn deny_unreadable(&self, unreadable: Unreadable, started: Instant) -> Option<Vec<u8>> {
        let reason = Reason::MalformedReview;
        let verdict = Verdict::unjudged(reason, self.policy.modes.of(reason), &unreadable.why);
        let latency = started.elapsed();
        self.metrics.decided(&verdict, latency);
        LogLine::unreadable(&unreadable).write(&verdict, latency);
        unreadable.head.uid.map(|uid| review::render(&uid, &verdict))
    }

    async fn decide(&self, request: &Request) -> Verdict {
        let mut facts = Facts::default();
        for _ in 0..=MAX_LOOKUPS {
            match admission::decide(request, &facts, &self.policy, Timestamp::now()) {
                Decision::Verdict(verdict) => return verdict,
                Decision::Need(Fact::Override) => {
                    let node = request.node().map(NodeView::name).unwrap_or_default();
                    let verb = keys::OVERRIDE_VERB;
                    facts.may_override = self.lookup.may(verb, &request.requester, node).await;
                    self.count(LookupKind::Override, &facts.may_override);
                }
                Decision::Need(Fact::Reboot) => {
                    let node = request.node().map(NodeView::name).unwrap_or_default();
                    let verb = keys::REBOOT_VERB;
                    facts.may_reboot = self.lookup.may(verb, &request.requester, node).await;
                    self.count(LookupKind::Reboot, &facts.may_reboot);
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
        let why = "the decision asked for the same fact twice, which is a defect of cordonhold: report it with the webhook's log";
        Verdict::defect(request, &self.policy, why)
    }

    /// Counts and logs a verdict, and tells it by an Event.
    fn record(&self, review: &Review, verdict: &Verdict, started: Instant) {
        let latency = started.elapsed();
        self.metrics.decided(verdict, latency);
        if verdict.is_on_record() {
            LogLine::of(review, verdict).write(verdict, latency);
        }
        self.tell(review, verdict);
    }

    /// Writes an Event about a denial or a deferred uncordon on its Node, if that exists. A dry run leaves no Event.
    fn tell(&self, review: &Review, verdict: &Verdict) {
        let (Some(recorder), Some(node)) = (&self.recorder, review.request.existing_node()) else {
            return;
        };
        let is_denied = verdict.outcome == Outcome::Deny;
        if !(is_denied || verdict.reason == Reason::Deferred) || review.request.is_dry_run {
            return;
        }
        let message = if is_denied {
            Some(&verdict.message)
        } else {
            verdict.warnings.first()
        };
        recorder.tell(Told {
            is_denied,
            node: node.name().to_owned(),
            uid: node.metadata.uid.clone(),
            reason: verdict.reason,
            user: review.request.requester.user.clone(),
            message: message.cloned().unwrap_or_default(),
        });
    }

    fn count<T>(&self, kind: LookupKind, fact: &Known<T>) {
        let outcome = match fact {
            Known::Is(_) => LookupOutcome::Answered,
            Known::Unasked | Known::Failed(_) => LookupOutcome::Failed,
        };
        self.metrics.looked_up(kind, outcome);
    }
}
