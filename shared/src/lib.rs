//! The core of Cordonhold: its keys, its records and its decisions.
//!
//! Every decision is a function of its arguments, so that tests, the model and the simulation run the same code as a node.
//! The webhook and the agent read the cluster and the host, ask this crate what to do, and do it.
//! Not here: I/O, clocks, async and the Kubernetes client (`shared/rt`, the webhook and the agent).

#![warn(missing_docs)]

// What both programs use.
pub mod backoff;
pub mod claim;
pub mod hold;
pub mod host;
pub mod keys;
pub mod kured;
pub mod lock;
pub mod names;
pub mod node;
pub mod quote;
pub mod selector;
pub mod span;
pub mod watch;

// What the webhook decides.
pub mod admission;
pub mod certificates;

// What the agent decides.
pub mod reboot;

// What takes both off a cluster.
pub mod uninstall;

// What people are told of a fleet, and what they may do to it.
pub mod cordoner;
pub mod doctor;
pub mod fleet;
pub mod history;
pub mod migration;
pub mod redaction;
pub mod release;

#[cfg(test)]
mod generated;

/// The result of reading a value that somebody else may have written. All three outcomes are regular ones, none is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reading<T> {
    /// There is no value.
    #[default]
    Absent,
    /// The value, parsed.
    Present(T),
    /// There is a value, but it cannot be parsed. It counts as held by somebody else. The text says what is wrong.
    Malformed(String),
}

impl<T> Reading<T> {
    /// The value, if it could be parsed.
    pub fn present(self) -> Option<T> {
        match self {
            Reading::Present(value) => Some(value),
            Reading::Absent | Reading::Malformed(_) => None,
        }
    }

    /// This reading, with a reference to the value.
    pub fn as_ref(&self) -> Reading<&T> {
        match self {
            Reading::Absent => Reading::Absent,
            Reading::Present(value) => Reading::Present(value),
            Reading::Malformed(why) => Reading::Malformed(why.clone()),
        }
    }
}
