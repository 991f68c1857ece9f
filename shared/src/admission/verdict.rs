//! The answer to a request, and what was seen of it: whoever logs it or shows it only prints.
//!
//! Not here: how it is reached ([`super::decide`]) and how it looks on the wire (the webhook's).

use std::collections::BTreeMap;

use super::{Change, Mode, Policy, Reason, Request, text};
use crate::quote;

/// An audit annotation, as the ones below: what became of the request. The API server puts the webhook's name before each key.
pub const AUDIT_VERDICT: &str = "verdict";
/// The reason's code.
pub const AUDIT_REASON: &str = "reason";
/// As on the Node.
pub const AUDIT_HOLDER: &str = "holder";
/// As on the Node.
pub const AUDIT_PHASE: &str = "phase";
/// Seconds since the hold was stamped, with the unit: `90s`.
pub const AUDIT_AGE: &str = "age";
/// Of a request that should not pass.
pub const AUDIT_MODE: &str = "mode";

/// Audit annotations by key.
pub type Audit = BTreeMap<&'static str, String>;

/// What becomes of the request, the gravest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It passes.
    Allow,
    /// It passes and is worth a look: a cancel was used, a held Node deleted, or the mode does not deny.
    Flag,
    /// It is denied.
    Deny,
}

/// The whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What becomes of the request.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// The mode of the reason.
    pub mode: Mode,
    /// For the person whose request was denied; empty where it passes.
    pub message: String,
    /// For whoever sent the request, up to 256 characters each; `kubectl` shows them.
    pub warnings: Vec<String>,
    /// For the audit log of the API server.
    pub audit: Audit,
    /// What the update of a Node changes of ours.
    pub change: Change,
    /// Whether stock kured's lock, marks or identity took part.
    pub concerns_kured: bool,
}

impl Outcome {
    /// Its name in log, metrics and audit annotations.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Allow => "allow",
            Outcome::Flag => "flag",
            Outcome::Deny => "deny",
        }
    }
}

impl Verdict {
    /// A request that could not be judged: denied as far as the mode denies. `why` says what to fix.
    pub fn unjudged(reason: Reason, mode: Mode, why: &str) -> Verdict {
        let why = quote::one_line(why, text::FAILURE_MAX_CHARS);
        let audit = Audit::from([(AUDIT_REASON, reason.code().to_owned())]);
        let message = format!("cordonhold cannot judge this request: {why}");
        Verdict::denies(reason, mode, &message, audit)
    }

    /// A request that a defect of cordonhold kept from being judged.
    pub fn defect(request: &Request, policy: &Policy, why: &str) -> Verdict {
        let reason = Reason::InternalError;
        Verdict {
            change: request.change(),
            ..Verdict::unjudged(reason, policy.modes.of(reason), why)
        }
    }

    /// Whether anything of ours took part: then it is logged, and it has audit annotations.
    pub fn is_on_record(&self) -> bool {
        self.reason != Reason::NothingOfOurs
    }

    /// The whole of a verdict that has nothing to say.
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

    /// What should not pass, as far as the mode denies.
    pub(super) fn denies(reason: Reason, mode: Mode, message: &str, mut audit: Audit) -> Verdict {
        drop(audit.insert(AUDIT_MODE, mode.as_str().to_owned()));
        let (outcome, message, warnings) = match mode {
            Mode::Enforce => (Outcome::Deny, format!("{}: {message}", reason.code()), Vec::new()),
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
