//! What happens to a request that should not pass: for all reasons, or for one.

use std::collections::BTreeMap;

use super::Reason;

/// What happens to a request that should not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It is denied.
    Enforce,
    /// It passes, with a warning and audit annotations.
    Warn,
    /// It passes, with audit annotations.
    Audit,
}

/// A mode for every reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modes {
    usual: Mode,
    exceptions: BTreeMap<Reason, Mode>,
}

impl Mode {
    /// Its name in flags and audit annotations.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Enforce => "enforce",
            Mode::Warn => "warn",
            Mode::Audit => "audit",
        }
    }
}

impl Modes {
    /// This reason has this mode, whatever the others have; the last word counts. A reason that always passes has none.
    #[must_use]
    pub fn with(mut self, reason: Reason, mode: Mode) -> Modes {
        let _ = self.exceptions.insert(reason, mode);
        self
    }

    /// Of every reason that has none of its own.
    pub fn usual(&self) -> Mode {
        self.usual
    }

    /// The mode for this reason.
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
