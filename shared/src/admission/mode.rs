//! The modes: whether a request that breaks a rule is denied, kept for later, or passes with a warning or only with audit annotations. There
//! is one mode for all reasons, and exceptions for single reasons, users and groups.
//!
//! Not here: the flags `--mode` and `--mode-for…` (the webhook's), how a mode turns a denial into a warning ([`super::Verdict`]), and how an
//! uncordon is kept ([`super::Deferral`]).

use std::collections::BTreeMap;

use super::{Reason, Requester};

/// What happens to a request that should not pass. Ordered by strictness: a later variant is more lenient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// The request is denied.
    Enforce,
    /// An uncordon passes without its cordon, and is done when the hold ends. Everything else is denied, and so is an uncordon that nothing
    /// has changed on its way.
    Defer,
    /// The request passes, with a warning and audit annotations.
    Warn,
    /// The request passes, with audit annotations only.
    Audit,
}

/// The mode of every reason and requester: a usual one, and exceptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modes {
    usual: Mode,
    exceptions: BTreeMap<Reason, Mode>,
    users: BTreeMap<String, Mode>,
    groups: BTreeMap<String, Mode>,
}

impl Mode {
    /// The mode's name in flags and audit annotations.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Enforce => "enforce",
            Mode::Defer => "defer",
            Mode::Warn => "warn",
            Mode::Audit => "audit",
        }
    }

    /// Whether a request that should not pass, and that nothing has changed on its way, is denied.
    pub fn denies(self) -> bool {
        match self {
            Mode::Enforce | Mode::Defer => true,
            Mode::Warn | Mode::Audit => false,
        }
    }

    /// The mode as it applies to this reason: where there is nothing to keep for later, to defer is to deny.
    fn for_reason(self, reason: Reason) -> Mode {
        match self {
            Mode::Defer if !reason.takes_defer() => Mode::Enforce,
            Mode::Enforce | Mode::Defer | Mode::Warn | Mode::Audit => self,
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

    /// Sets the mode of one user, for every reason; a later call for the same user replaces it.
    #[must_use]
    pub fn with_user(mut self, user: &str, mode: Mode) -> Modes {
        let _ = self.users.insert(user.to_owned(), mode);
        self
    }

    /// Sets the mode of the members of one group, for every reason; a later call for the same group replaces it.
    #[must_use]
    pub fn with_group(mut self, group: &str, mode: Mode) -> Modes {
        let _ = self.groups.insert(group.to_owned(), mode);
        self
    }

    /// The mode of every reason and requester that has no mode of its own.
    pub fn usual(&self) -> Mode {
        self.usual
    }

    /// Whether any uncordon by anybody is deferred.
    pub fn may_defer(&self) -> bool {
        let of_names = self.users.values().chain(self.groups.values());
        let mut modes = self.exceptions.values().chain(of_names).chain([&self.usual]);
        modes.any(|mode| *mode == Mode::Defer)
    }

    /// The mode of this reason, for a request of which nobody knows the user.
    pub fn of(&self, reason: Reason) -> Mode {
        let mode = self.exceptions.get(&reason).copied().unwrap_or(self.usual);
        mode.for_reason(reason)
    }

    /// The mode of this reason for this requester. The most specific one counts: the user's, else the strictest of the user's groups, else
    /// the reason's, else the usual one.
    pub fn of_requester(&self, reason: Reason, requester: &Requester) -> Mode {
        let by_group = || {
            requester
                .groups
                .iter()
                .filter_map(|group| self.groups.get(group))
                .min()
        };
        let own = self.users.get(&requester.user).or_else(by_group);
        own.map_or_else(|| self.of(reason), |mode| mode.for_reason(reason))
    }
}

impl From<Mode> for Modes {
    fn from(usual: Mode) -> Modes {
        Modes {
            usual,
            exceptions: BTreeMap::new(),
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }
}
