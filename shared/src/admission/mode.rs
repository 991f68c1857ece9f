//! The modes: whether a request that breaks a rule is denied, or passes with a warning or only with audit annotations. There is one mode for
//! all reasons, and exceptions for single ones.
//!
//! Not here: the flags `--mode` and `--mode-for` (the webhook's), and how a mode turns a denial into a warning ([`super::Verdict`]).

use std::collections::BTreeMap;

use super::Reason;

/// What happens to a request that should not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The request is denied.
    Enforce,
    /// The request passes, with a warning and audit annotations.
    Warn,
    /// The request passes, with audit annotations only.
    Audit,
}

/// The mode of every reason: a usual one, and exceptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modes {
    usual: Mode,
    exceptions: BTreeMap<Reason, Mode>,
}

impl Mode {
    /// The mode's name in flags and audit annotations.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Enforce => "enforce",
            Mode::Warn => "warn",
            Mode::Audit => "audit",
        }
    }
}

impl Modes {
    /// Sets the mode of one reason; a later call for the same reason replaces it. No effect on a reason that always passes.
    #[must_use]
    pub fn with(mut self, reason: Reason, mode: Mode) -> Modes {
        let _ = self.exceptions.insert(reason, mode);
        self
    }

    /// The mode of every reason that has no mode of its own.
    pub fn usual(&self) -> Mode {
        self.usual
    }

    /// The mode of this reason.
    pub fn of(&self, reason: Reason) -> Mode {
        self.exceptions.get(&reason).copied().unwrap_or(self.usual)
    }
}

impl From<Mode> for Modes {
    fn from(usual: Mode) -> Modes {
        Modes {
            usual,
            exceptions: BTreeMap::new(),
        }
    }
}
