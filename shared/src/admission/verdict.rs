//! The answer to a request, complete with message, warnings and audit annotations: the caller only prints and sends it.
//!
//! Not here: how the answer is reached ([`super::decide`]), and its JSON (the webhook's `review`).

use std::collections::BTreeMap;

use super::{Change, Mode, Policy, Reason, Request, text};
use crate::quote;

/// Audit annotation: the outcome, see [`Outcome::as_str`]. The API server puts the webhook's name before this and every other key.
pub const AUDIT_VERDICT: &str = "verdict";
/// Audit annotation: the code of the reason.
pub const AUDIT_REASON: &str = "reason";
/// Audit annotation: the holder, as written on the Node.
pub const AUDIT_HOLDER: &str = "holder";
/// Audit annotation: the phase of the hold, as written on the Node.
pub const AUDIT_PHASE: &str = "phase";
/// Audit annotation: seconds since the hold was stamped, with the unit: `90s`.
pub const AUDIT_AGE: &str = "age";
/// Audit annotation: the mode, on requests that mode `enforce` denies, and on deferred ones.
pub const AUDIT_MODE: &str = "mode";

/// Audit annotations by key.
pub type Audit = BTreeMap<&'static str, String>;

/// Whether the request passes. Ordered by severity: a later variant is graver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The request passes.
    Allow,
    /// The request passes, and an operator should know: a cancel was used, a held Node was deleted, or the mode does not deny.
    Flag,
    /// The request is denied.
    Deny,
}

/// The complete answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the request passes.
    pub outcome: Outcome,
    /// Why it passes or is denied.
    pub reason: Reason,
    /// The mode that is set for the reason.
    pub mode: Mode,
    /// The text for whoever sent a denied request; empty if it passes.
    pub message: String,
    /// Warnings for whoever sent the request, up to 256 characters each; `kubectl` shows them.
    pub warnings: Vec<String>,
    /// Annotations for the audit log of the API server.
    pub audit: Audit,
    /// What the update of a Node changes in cordon, marks and cancel. Nothing for other requests.
    pub change: Change,
    /// Whether stock kured's lock, marks or identity played a part in the decision.
    pub concerns_kured: bool,
}

impl Outcome {
    /// The outcome's name in log, metrics and audit annotations.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Allow => "allow",
            Outcome::Flag => "flag",
            Outcome::Deny => "deny",
        }
    }
}

impl Verdict {
    /// The verdict on a request that could not be judged: denied in mode `enforce` and `defer`, flagged in the others. `why` says what to fix.
    pub fn unjudged(reason: Reason, mode: Mode, why: &str) -> Verdict {
        let why = quote::one_line(why, text::FAILURE_MAX_CHARS);
        let audit = Audit::from([(AUDIT_REASON, reason.code().to_owned())]);
        let message = format!("cordonhold cannot judge this request: {why}");
        Verdict::denies(reason, mode, &message, audit)
    }

    /// The verdict on a request that could not be judged because of a bug in cordonhold.
    pub fn defect(request: &Request, policy: &Policy, why: &str) -> Verdict {
        let reason = Reason::InternalError;
        Verdict {
            change: request.change(),
            ..Verdict::unjudged(reason, policy.modes.of_requester(reason, &request.requester), why)
        }
    }

    /// Whether the verdict is logged and has audit annotations: every one but [`Reason::NothingOfOurs`].
    pub fn is_on_record(&self) -> bool {
        self.reason != Reason::NothingOfOurs
    }

    /// A verdict without message and warnings.
    pub(super) fn new(outcome: Outcome, reason: Reason, mode: Mode, mut audit: Audit) -> Verdict {
        if reason != Reason::NothingOfOurs {
            drop(audit.insert(AUDIT_VERDICT, outcome.as_str().to_owned()));
        }
        Verdict {
            outcome,
            reason,
            mode,
            message: String::new(),
            warnings: Vec::new(),
            audit,
            change: Change::default(),
            concerns_kured: false,
        }
    }

    /// The verdict on a request that should not pass: denied in mode `enforce` and `defer`, flagged in the others.
    pub(super) fn denies(reason: Reason, mode: Mode, message: &str, mut audit: Audit) -> Verdict {
        drop(audit.insert(AUDIT_MODE, mode.as_str().to_owned()));
        let (outcome, message, warnings) = match mode {
            Mode::Enforce | Mode::Defer => {
                (Outcome::Deny, format!("{}: {message}", reason.code()), Vec::new())
            }
            Mode::Warn => (
                Outcome::Flag,
                String::new(),
                vec![text::would_deny(reason, message)],
            ),
            Mode::Audit => (Outcome::Flag, String::new(), Vec::new()),
        };
        Verdict {
            message,
            warnings,
            ..Verdict::new(outcome, reason, mode, audit)
        }
    }
}
