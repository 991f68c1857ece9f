//! Checks whether the API server can trust this webhook, and reports problems by readiness, log, Event and metric.
//!
//! It repairs nothing: that is the part of [`crate::certs`], if it runs.
//! Not here: what counts as a problem ([`cordonhold_shared::admission::trust`]).

mod chain;
mod configuration;
mod server;

use std::sync::{Arc, Mutex};

use cordonhold_rt::sync::locked;
use cordonhold_shared::admission::trust::{self, Finding, Installation, Server};
use jiff::Timestamp;
use tracing::{info, warn};

use crate::Metrics;
use crate::events::{self, Recorder};
use crate::readiness::{Condition, Readiness};
use crate::tls::Slot;
pub use chain::bundle_end;
pub(crate) use chain::{certificate_facts, has_signed, validity};
use configuration::Found;
pub use configuration::bundle_writer;
pub(crate) use configuration::{READ_EVERY, asks, poll, write};

/// What is checked, and where problems are reported.
pub(crate) struct Trust {
    slot: Arc<Slot>,
    installation: Installation,
    readiness: Arc<Readiness>,
    is_trusted: Condition,
    metrics: Arc<Metrics>,
    recorder: Option<Recorder>,
    state: Mutex<State>,
}

/// What the last check saw.
#[derive(Default)]
struct State {
    found: Found,
    server: Server,
    /// The problems that have been reported and still exist.
    told: Vec<Finding>,
}

impl Trust {
    pub(crate) fn new(
        installation: Installation,
        readiness: &Arc<Readiness>,
        metrics: &Arc<Metrics>,
        recorder: Option<Recorder>,
    ) -> Trust {
        Trust {
            slot: Arc::new(Slot::new(Arc::clone(metrics))),
            installation,
            is_trusted: readiness.condition("certificate", "none is served yet"),
            readiness: Arc::clone(readiness),
            metrics: Arc::clone(metrics),
            recorder,
            state: Mutex::default(),
        }
    }

    /// The slot of the certificate that is checked. Whoever installs another certificate must call [`Trust::check`].
    pub(crate) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// What the API server has shown of itself so far.
    fn server(&self) -> Server {
        locked(&self.state).server.clone()
    }

    /// Takes what the API server shows of itself, and checks.
    fn know(&self, server: Server) {
        locked(&self.state).server = server;
        self.check(Timestamp::now());
    }

    /// Takes a new reading of the configuration, and checks.
    fn learn(&self, found: Found) {
        locked(&self.state).found = found;
        self.check(Timestamp::now());
    }

    /// Looks for problems, and reports those that are new or over. Must be called regularly, because a certificate ends without
    /// anybody touching it.
    pub(crate) fn check(&self, now: Timestamp) {
        let Some(certificate) = self.slot.served() else {
            return;
        };
        let mut state = locked(&self.state);
        let configuration = state.found.seen_from(&certificate, now);
        let findings = trust::findings(
            certificate.facts(),
            &configuration,
            &state.server,
            &self.installation,
            now,
        );
        self.show(&findings);
        let is_in = |finding: &Finding, among: &[Finding]| {
            let is_same =
                |other: &Finding| (other.problem, &other.about) == (finding.problem, &finding.about);
            among.iter().any(is_same)
        };
        for over in state.told.iter().filter(|told| !is_in(told, &findings)) {
            info!(
                problem = over.problem.code(),
                about = over.about,
                "no longer a problem"
            );
        }
        for new in findings.iter().filter(|finding| !is_in(finding, &state.told)) {
            self.tell(new, state.found.uid());
        }
        state.told = findings;
    }

    /// Updates readiness and metrics.
    fn show(&self, findings: &[Finding]) {
        self.metrics
            .problems(findings.iter().map(|finding| finding.problem));
        let (blocking, others): (Vec<&Finding>, Vec<&Finding>) =
            findings.iter().partition(|finding| finding.blocks);
        self.readiness
            .warn(others.iter().map(|finding| finding.text.clone()).collect());
        if blocking.is_empty() {
            self.is_trusted.met();
        } else {
            let keys: Vec<&str> = blocking.iter().map(|finding| finding.problem.code()).collect();
            let texts: Vec<&str> = blocking.iter().map(|finding| finding.text.as_str()).collect();
            self.is_trusted.unmet(&keys.join(","), &texts.join("; "));
        }
    }

    /// Reports a new problem in the log and by an Event.
    fn tell(&self, finding: &Finding, uid: Option<&str>) {
        let problem = finding.problem.code();
        warn!(
            problem,
            why = finding.text,
            "the API server does not trust this webhook, or soon will not"
        );
        if let Some(recorder) = &self.recorder {
            recorder.tell(events::problem(
                &self.installation.configuration,
                uid,
                problem,
                &finding.text,
            ));
        }
    }
}

#[cfg(test)]
mod tests;
